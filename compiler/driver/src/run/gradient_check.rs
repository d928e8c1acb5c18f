//! Does the gradient agree with finite differences? Asked once a program, on its first batch, in f64.
//!
//! For each parameter tensor w and a random direction u of length 1 (signs drawn at random):  <dL/dw, u>  against the slopes
//! (L(w + h u) - L(w)) / h  and  (L(w) - L(w - h u)) / h  for up to four steps h from 6e-6 to 3e-8 times the scale of w, in f64.
//!
//! What is rounded to bf16 is not rounded here: its derivative is that of the value before.
//!
//! A large program takes long for a hundred parameters one by one. What is left when [`PATIENCE`] is over is moved together, in one direction
//! through all of it, and a program whose gradient alone takes long looks at fewer rows.
//!
//! Their mean is the central difference. At a kink (relu, max) within h of w the two slopes differ and the gradient is one of them; so the
//! gradient agrees if it equals either slope or their mean, and is wrong only where the slopes agree with each other at two steps and
//! not with it. Everything else decides nothing, and another direction is tried; a parameter for which three directions decide nothing
//! is reported as such, never as wrong.

use super::engine::{self, Engine};
use super::fed::Fed;
use super::machine;
use super::prepared::Prepared;
use crate::error::Failure;
use bdl_equations::Role;
use bdl_equations::simplify::{drop_unused, unrounded};
use bdl_execute::{Executor, Store};
use bdl_kernels::philox::{DrawKey, fill_uniform_f32};
use bdl_plan::Products;
use bdl_schedule::Real;
use bdl_train::Moment;
use std::time::{Duration, Instant};

/// What the check found.
#[derive(Clone, Debug, PartialEq)]
pub enum GradientCheck {
    /// The largest relative error, and at which parameter.
    Agrees {
        worst: f64,
        at: String,
        /// Parameters that were looked at in one direction for all of them.
        together: usize,
    },
    Differs {
        at: String,
        gradient: f64,
        difference: f64,
    },
    /// Nothing is trained.
    Nothing,
    /// Differences say nothing: the loss has too many kinks around this parameter.
    Undecided {
        at: String,
    },
}

/// Relative error up to which gradient and difference agree.
const TOLERANCE: f64 = 1e-4;
/// One at which no other step is looked at.
const WELL: f64 = 1e-6;
/// Rows looked at: enough for every equation to take part, few enough to cost nothing.
const ROWS: usize = 8;
/// Rows of a program that is slow on so many; statistics over the batch need two.
const FEW_ROWS: usize = 2;
/// A gradient of [`ROWS`] rows that takes longer is slow.
const SLOW: Duration = Duration::from_millis(100);
/// How long parameters are looked at one by one.
const PATIENCE: Duration = Duration::from_secs(2);
/// Relative to the scale of the parameter.
const STEPS: [f64; 4] = [6e-6, 1e-6, 1.7e-7, 3e-8];
/// Directions tried for a parameter before it counts as undecided.
const DIRECTIONS: usize = 3;

/// Checks the gradient program of an objective at the parameters given (f32 or f64, by name). Beside them and the gradients it keeps only the
/// program that runs: parameters may be most of the memory there is.
pub fn check(
    prepared: &Prepared,
    gradient: &bdl_equations::Program,
    weights: &Store,
    seed: u64,
    threads: usize,
) -> Result<GradientCheck, Failure> {
    // Differences see the steps of rounding, derivatives do not.
    let (init, gradient) = (unrounded(&prepared.programs.init), &unrounded(gradient));
    let executor = Executor::new(threads);
    let mut store = Store::new();
    machine::initialise(&init, Real::F64, &executor, &mut store, seed)?;
    let mut engine = Engine::Processor(executor, Products::Exact);
    let mut fed = Fed::new(&mut engine, gradient, Real::F64, prepared)?;
    let is_read = |name: &str| {
        gradient.tensors.iter().any(|tensor| matches!(tensor.role, Role::Param | Role::State) && *tensor.name == *name)
    };
    // Not the optimiser's state, which is larger than the parameters.
    for entry in weights.iter().filter(|entry| is_read(&entry.name)) {
        if let Some(buffer) = store.get_mut(&entry.name) {
            let numbers = (0..entry.buffer.len()).map(|i| entry.buffer.number(i));
            buffer.set(&entry.name, numbers).map_err(|error| Failure::bug(error.to_string()))?;
        }
    }
    let mut rows: Vec<u32> = prepared.parts.train.iter().copied().take(ROWS).collect();
    let moment = Moment { seed, epochs: 1, steps: 1, ..Moment::default() };
    let begun = Instant::now();
    let outputs = fed.run(&mut engine, &mut store, &prepared.data, &rows, moment)?;
    let mut gradients = if begun.elapsed() > SLOW && rows.len() > FEW_ROWS {
        drop(outputs);
        rows.truncate(FEW_ROWS);
        gradients_in(&fed.run(&mut engine, &mut store, &prepared.data, &rows, moment)?)
    } else {
        gradients_in(&outputs)
    };
    drop(fed);
    // The loss by itself: slopes need nothing else.
    let mut loss = gradient.clone();
    loss.outputs.retain(|(name, _)| &**name == "loss");
    loss.updates.clear();
    drop_unused(&mut loss);
    let fed = Fed::new(&mut engine, &loss, Real::F64, prepared)?;
    let mut slopes = Slopes { fed, engine, store, weights, prepared, rows: &rows, moment, here: 0.0 };
    slopes.here = slopes.loss()?;
    if !slopes.here.is_finite() || gradients.iter().any(|(_, gradient)| gradient.iter().any(|g| !g.is_finite())) {
        // The first training step says so, with the equation's name.
        return Ok(GradientCheck::Nothing);
    }
    gradients.retain(|(name, _)| slopes.store.entry(name).is_some() && weights.entry(name).is_some());
    let scale = gradients.iter().map(|(_, g)| norm(g)).fold(0.0, f64::max);
    let begun = Instant::now();
    let mut found = Found { result: GradientCheck::Nothing, worst: -1.0 };
    let mut rest = gradients.as_slice();
    let mut site = 0u32;
    while let Some((one, others)) = rest.split_first() {
        // The first is looked at by itself whatever it takes.
        if begun.elapsed() > PATIENCE && site > 0 && !others.is_empty() {
            let at = format!("{} and {} more together", one.0, others.len());
            let verdict = slopes.verdict(rest, scale, seed, site)?;
            if let Some(differs) = found.take(at, verdict) {
                return Ok(differs);
            }
            if let GradientCheck::Agrees { together, .. } = &mut found.result {
                *together = rest.len();
            }
            break;
        }
        let verdict = slopes.verdict(std::slice::from_ref(one), scale, seed, site)?;
        if let Some(differs) = found.take(one.0.clone(), verdict) {
            return Ok(differs);
        }
        rest = others;
        site += 1;
    }
    Ok(found.result)
}

/// The gradient of every parameter by its name.
fn gradients_in(outputs: &engine::Found<'_>) -> Vec<(String, Vec<f64>)> {
    let names: Vec<String> =
        outputs.names().iter().filter_map(|name| name.strip_prefix("grad.").map(str::to_string)).collect();
    names.into_iter().filter_map(|name| Some((name.clone(), outputs.numbers(&format!("grad.{name}"))?))).collect()
}

/// What was found so far.
struct Found {
    result: GradientCheck,
    worst: f64,
}

impl Found {
    /// Takes one more verdict in; a difference ends the check.
    fn take(&mut self, at: String, verdict: Looked) -> Option<GradientCheck> {
        match verdict {
            Looked::Agrees(error) => {
                if error > self.worst && !matches!(self.result, GradientCheck::Undecided { .. }) {
                    self.worst = error;
                    self.result = GradientCheck::Agrees { worst: error, at, together: 0 };
                }
                None
            }
            Looked::Differs { gradient, difference } => Some(GradientCheck::Differs { at, gradient, difference }),
            Looked::Undecided => {
                self.result = GradientCheck::Undecided { at };
                None
            }
        }
    }
}

/// What all directions that were tried say.
enum Looked {
    Agrees(f64),
    Differs { gradient: f64, difference: f64 },
    Undecided,
}

/// The loss as a function of the parameters.
struct Slopes<'p> {
    fed: Fed,
    engine: Engine,
    store: Store,
    /// Where the parameters are.
    weights: &'p Store,
    prepared: &'p Prepared,
    rows: &'p [u32],
    moment: Moment,
    /// The loss where the parameters are.
    here: f64,
}

impl Slopes<'_> {
    fn loss(&mut self) -> Result<f64, Failure> {
        let outputs = self.fed.run(&mut self.engine, &mut self.store, &self.prepared.data, self.rows, self.moment)?;
        outputs.number("loss").ok_or_else(|| Failure::bug("the gradient program has no loss"))
    }

    /// The parameters at `w + by * u`. A distance of 0 puts them back.
    fn move_to(&mut self, gradients: &[(String, Vec<f64>)], direction: &Direction, by: f64) -> Result<(), Failure> {
        let mut along = direction.walk();
        for (name, _) in gradients {
            let start = self.weights.get(name).ok_or_else(|| Failure::bug(format!("`{name}` has no value")))?;
            let moved = self.store.get_mut(name).and_then(|buffer| buffer.slice_mut::<f64>());
            let moved = moved.ok_or_else(|| Failure::bug(format!("`{name}` is no f64")))?;
            for (i, moved) in moved.iter_mut().enumerate() {
                *moved = start.number(i) + by * along.next();
            }
        }
        Ok(())
    }

    /// Moves the parameters together in random directions until one decides.
    fn verdict(
        &mut self,
        gradients: &[(String, Vec<f64>)],
        scale: f64,
        seed: u64,
        site: u32,
    ) -> Result<Looked, Failure> {
        let starts = || gradients.iter().filter_map(|(name, _)| self.weights.get(name));
        let length: usize = starts().map(|start| start.len()).sum();
        let squares = starts().flat_map(|start| (0..start.len()).map(|i| start.number(i).powi(2)));
        let size = squares.sum::<f64>().sqrt().max(1.0);
        let mut differing = Vec::new();
        for attempt in 0..DIRECTIONS as u32 {
            let direction = Direction::new(length, seed, site * DIRECTIONS as u32 + attempt);
            let mut along = direction.walk();
            let predicted: f64 = gradients.iter().flat_map(|(_, gradient)| gradient).map(|g| g * along.next()).sum();
            let mut slopes = Vec::new();
            let mut verdict = Verdict::Undecided;
            for h in STEPS.map(|step| step * size) {
                let mut at = |by: f64| -> Result<f64, Failure> {
                    self.move_to(gradients, &direction, by)?;
                    self.loss()
                };
                let (after, before) = (at(h)?, at(-h)?);
                slopes.push(((after - self.here) / h, (self.here - before) / h));
                verdict = compare(predicted, &slopes, scale);
                // One step at which they agree well is enough; that they differ is asked of all.
                if matches!(verdict, Verdict::Agrees(error) if error <= WELL) {
                    break;
                }
            }
            self.move_to(gradients, &direction, 0.0)?;
            match verdict {
                Verdict::Agrees(error) => return Ok(Looked::Agrees(error)),
                Verdict::Differs(difference) => differing.push((predicted, difference)),
                Verdict::Undecided => {}
            }
            if let [_, (gradient, difference)] = differing.as_slice() {
                return Ok(Looked::Differs { gradient: *gradient, difference: *difference });
            }
        }
        Ok(Looked::Undecided)
    }
}

enum Verdict {
    Agrees(f64),
    /// The slope that both sides agree on.
    Differs(f64),
    Undecided,
}

/// Holds a predicted slope against those after and before w, for falling steps. `scale` is the norm of the largest gradient: slopes far
/// below it drown in its rounding.
fn compare(predicted: f64, slopes: &[(f64, f64)], scale: f64) -> Verdict {
    let size = |other: f64| predicted.abs().max(other.abs()).max(1e-4 * scale).max(1e-12);
    let error = |slope: f64| (predicted - slope).abs() / size(slope);
    let central = |(after, before): (f64, f64)| (after + before) / 2.0;
    let best =
        slopes.iter().map(|(after, before)| error(*after).min(error(*before)).min(error(central((*after, *before)))));
    let best = best.fold(f64::INFINITY, f64::min);
    if best <= TOLERANCE {
        return Verdict::Agrees(best);
    }
    let smooth = |(after, before): &(f64, f64)| {
        let middle = central((*after, *before));
        (after - before).abs() / size(middle) < 0.1 * error(middle)
    };
    match slopes.windows(2).find(|pair| pair.iter().all(smooth)) {
        Some(pair) => Verdict::Differs(central(pair[1])),
        None => Verdict::Undecided,
    }
}

/// A random direction of length 1, each component of which is as long as the others: it is made again whenever it is wanted, because it would take as
/// much memory as the parameters.
struct Direction {
    key: DrawKey,
    component: f64,
}

impl Direction {
    fn new(length: usize, seed: u64, site: u32) -> Direction {
        Direction { key: DrawKey { seed, step: u64::MAX, site }, component: 1.0 / (length.max(1) as f64).sqrt() }
    }

    fn walk(&self) -> Walk<'_> {
        Walk { direction: self, drawn: [0.0; Walk::PART], at: Walk::PART, first: 0 }
    }
}

/// The components of a direction, one after the other.
struct Walk<'d> {
    direction: &'d Direction,
    /// Some of its draws, uniform in [0, 1), and the position in these of the next.
    drawn: [f32; Walk::PART],
    at: usize,
    first: u64,
}

impl Walk<'_> {
    const PART: usize = 1024;

    fn next(&mut self) -> f64 {
        if self.at == Self::PART {
            fill_uniform_f32(self.direction.key, 0, self.first, &mut self.drawn);
            self.first += Self::PART as u64;
            self.at = 0;
        }
        let drawn = self.drawn[self.at];
        self.at += 1;
        if drawn < 0.5 { self.direction.component } else { -self.direction.component }
    }
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooth_slopes_beside_the_gradient_are_a_difference() {
        assert!(matches!(compare(1.0, &[(1.001, 0.999), (1.0001, 0.9999)], 1.0), Verdict::Agrees(_)));
        assert!(matches!(compare(1.0, &[(1.5, 1.49), (1.5, 1.5)], 1.0), Verdict::Differs(_)));
        assert!(matches!(compare(1.0, &[(1.01, 1.0101), (1.01, 1.01)], 1.0), Verdict::Differs(_)));
    }

    #[test]
    fn at_a_kink_the_gradient_is_one_of_the_slopes() {
        assert!(matches!(compare(1.0, &[(1.3, 1.0), (1.3, 1.0)], 1.0), Verdict::Agrees(_)));
        assert!(matches!(compare(1.0, &[(1.3, 1.1), (1.2, 1.1)], 1.0), Verdict::Undecided));
    }
}
