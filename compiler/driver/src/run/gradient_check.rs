//! Does the gradient agree with finite differences? Asked once a program, on its first batch, in f64.
//!
//! For each parameter tensor w and a random direction u of length 1:  <dL/dw, u>  against the slopes
//! (L(w + h u) - L(w)) / h  and  (L(w) - L(w - h u)) / h  for four steps h from 6e-6 to 3e-8 times the scale of w, in f64.
//!
//! Their mean is the central difference. At a kink (relu, max) within h of w the two slopes differ and the gradient is one of them; so the
//! gradient agrees if it equals either slope or their mean, and is wrong only where the slopes agree with each other at two steps and
//! not with it. Everything else decides nothing, and another direction is tried; a parameter for which three directions decide nothing
//! is reported as such, never as wrong.

use super::engine::Engine;
use super::fed::Fed;
use super::machine;
use super::prepared::Prepared;
use crate::error::Failure;
use bdl_execute::{Executor, Store};
use bdl_kernels::philox::{DrawKey, fill_normal_f64};
use bdl_plan::Products;
use bdl_schedule::Real;
use bdl_train::{Array, Moment};

/// What the check found.
#[derive(Clone, Debug, PartialEq)]
pub enum GradientCheck {
    /// The largest relative error, and at which parameter.
    Agrees {
        worst: f64,
        at: String,
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
/// Rows looked at: enough for every equation to take part, few enough to cost nothing.
const ROWS: usize = 8;
/// Relative to the scale of the parameter.
const STEPS: [f64; 4] = [6e-6, 1e-6, 1.7e-7, 3e-8];
/// Directions tried for a parameter before it counts as undecided.
const DIRECTIONS: usize = 3;

/// Checks the gradient program of an objective at the parameters given (f32 or f64, by name).
pub fn check(
    prepared: &Prepared,
    gradient: &bdl_equations::Program,
    weights: &[Array],
    seed: u64,
) -> Result<GradientCheck, Failure> {
    let executor = Executor::new(1);
    let mut store = Store::new();
    machine::initialise(&prepared.programs.init, Real::F64, &executor, &mut store, seed)?;
    let mut engine = Engine::Processor(executor, Products::Exact);
    let mut fed = Fed::new(&mut engine, gradient, Real::F64, prepared)?;
    for array in weights {
        if store.entry(&array.name).is_some() {
            store.set(&array.name, &array.values.to_f64()).map_err(|error| Failure::bug(error.to_string()))?;
        }
    }
    let rows: Vec<u32> = prepared.parts.train.iter().copied().take(ROWS).collect();
    let moment = Moment { seed, epochs: 1, steps: 1, ..Moment::default() };

    let gradients: Vec<(String, Vec<f64>)> = {
        let outputs = fed.run(&mut engine, &mut store, &prepared.data, &rows, moment)?;
        let names: Vec<String> =
            outputs.names().iter().filter_map(|name| name.strip_prefix("grad.").map(str::to_string)).collect();
        names.into_iter().filter_map(|name| Some((name.clone(), outputs.numbers(&format!("grad.{name}"))?))).collect()
    };
    let here = {
        let outputs = fed.run(&mut engine, &mut store, &prepared.data, &rows, moment)?;
        outputs.number("loss").ok_or_else(|| Failure::bug("the gradient program has no loss"))?
    };
    if !here.is_finite() || gradients.iter().any(|(_, gradient)| gradient.iter().any(|g| !g.is_finite())) {
        // The first training step says so, with the equation's name.
        return Ok(GradientCheck::Nothing);
    }
    let scale = gradients.iter().map(|(_, g)| norm(g)).fold(0.0, f64::max);
    let mut result = GradientCheck::Nothing;
    let mut worst_seen = -1.0;
    for (site, (name, gradient)) in gradients.iter().enumerate() {
        let Some(start) = store.get(name).map(|buffer| buffer.to_f64()) else { continue };
        let mut differing = Vec::new();
        let mut agreed = None;
        for attempt in 0..DIRECTIONS {
            let direction = random_direction(start.len(), seed, (site * DIRECTIONS + attempt) as u32);
            let predicted: f64 = gradient.iter().zip(&direction).map(|(g, u)| g * u).sum();
            let mut slopes = Vec::new();
            for h in STEPS.map(|step| step * norm(&start).max(1.0)) {
                let mut at = |sign: f64| -> Result<f64, Failure> {
                    let moved: Vec<f64> = start.iter().zip(&direction).map(|(w, u)| w + sign * h * u).collect();
                    store.set(name, &moved).map_err(|error| Failure::bug(error.to_string()))?;
                    let outputs = fed.run(&mut engine, &mut store, &prepared.data, &rows, moment)?;
                    outputs.number("loss").ok_or_else(|| Failure::bug("the gradient program has no loss"))
                };
                slopes.push(((at(1.0)? - here) / h, (here - at(-1.0)?) / h));
            }
            store.set(name, &start).map_err(|error| Failure::bug(error.to_string()))?;
            match compare(predicted, &slopes, scale) {
                Verdict::Agrees(error) => agreed = Some(error),
                Verdict::Differs(difference) => differing.push((predicted, difference)),
                Verdict::Undecided => {}
            }
            if agreed.is_some() || differing.len() == 2 {
                break;
            }
        }
        match (agreed, differing.as_slice()) {
            (Some(error), _) => {
                if error > worst_seen && !matches!(result, GradientCheck::Undecided { .. }) {
                    worst_seen = error;
                    result = GradientCheck::Agrees { worst: error, at: name.clone() };
                }
            }
            (None, [_, (gradient, difference)]) => {
                return Ok(GradientCheck::Differs { at: name.clone(), gradient: *gradient, difference: *difference });
            }
            (None, _) => result = GradientCheck::Undecided { at: name.clone() },
        }
    }
    Ok(result)
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

fn random_direction(length: usize, seed: u64, site: u32) -> Vec<f64> {
    let mut direction = vec![0.0; length];
    fill_normal_f64(DrawKey { seed, step: u64::MAX, site }, 0, 0, &mut direction);
    let size = norm(&direction).max(f64::MIN_POSITIVE);
    direction.iter_mut().for_each(|u| *u /= size);
    direction
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
