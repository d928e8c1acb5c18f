//! Does the gradient agree with finite differences? Asked once a program, on its first batch, in f64.
//!
//! For each parameter tensor w and a random direction u of length 1:  <dL/dw, u>  against  (L(w + h u) - L(w - h u)) / 2 h.
//! The step h is chosen so that rounding and curvature errors are about equal (h = 6e-6 times the scale of w, f64). A kink between
//! the two points (relu, max) makes the difference meaningless; such a direction is tried again with a smaller step before it counts.

use super::fed::Fed;
use super::machine;
use super::prepared::Prepared;
use crate::error::Failure;
use bdl_execute::{Executor, Store};
use bdl_kernels::philox::{DrawKey, fill_normal_f64};
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
}

/// Relative error up to which gradient and difference agree.
const TOLERANCE: f64 = 1e-4;
/// Rows looked at: enough for every equation to take part, few enough to cost nothing.
const ROWS: usize = 16;

/// Checks the gradient of the `train` block at the parameters given (f32 or f64, by name).
pub fn check(prepared: &Prepared, weights: &[Array], seed: u64) -> Result<GradientCheck, Failure> {
    let executor = Executor::new(1);
    let mut fed = Fed::new(&prepared.programs.gradient, Real::F64, prepared)?;
    let mut store = Store::new();
    machine::initialise(&prepared.programs.init, Real::F64, &executor, &mut store, seed)?;
    for array in weights {
        if store.entry(&array.name).is_some() {
            store.set(&array.name, &array.values.to_f64()).map_err(|error| Failure::bug(error.to_string()))?;
        }
    }
    let rows: Vec<u32> = prepared.parts.train.iter().copied().take(ROWS).collect();
    let moment = Moment { seed, epochs: 1, steps: 1, ..Moment::default() };

    let gradients: Vec<(String, Vec<f64>)> = {
        let outputs = fed.run(&executor, &mut store, &prepared.data, &rows, moment)?;
        let names: Vec<String> =
            outputs.names().filter_map(|name| name.strip_prefix("grad.").map(str::to_string)).collect();
        names.into_iter().filter_map(|name| Some((name.clone(), outputs.numbers(&format!("grad.{name}"))?))).collect()
    };
    let scale = gradients.iter().map(|(_, g)| norm(g)).fold(0.0, f64::max);
    let mut result = GradientCheck::Nothing;
    let mut worst_seen = -1.0;
    for (site, (name, gradient)) in gradients.iter().enumerate() {
        let Some(start) = store.get(name).map(|buffer| buffer.to_f64()) else { continue };
        let mut direction = vec![0.0; start.len()];
        fill_normal_f64(DrawKey { seed, step: u64::MAX, site: site as u32 }, 0, 0, &mut direction);
        let length = norm(&direction).max(f64::MIN_POSITIVE);
        direction.iter_mut().for_each(|u| *u /= length);
        let predicted: f64 = gradient.iter().zip(&direction).map(|(g, u)| g * u).sum();
        let size = norm(&start).max(1.0);
        let mut best = (f64::INFINITY, 0.0);
        for h in [6e-6 * size, 6e-7 * size, 6e-8 * size] {
            let mut at = |sign: f64| -> Result<f64, Failure> {
                let moved: Vec<f64> = start.iter().zip(&direction).map(|(w, u)| w + sign * h * u).collect();
                store.set(name, &moved).map_err(|error| Failure::bug(error.to_string()))?;
                let outputs = fed.run(&executor, &mut store, &prepared.data, &rows, moment)?;
                outputs.number("loss").ok_or_else(|| Failure::bug("the gradient program has no loss"))
            };
            let difference = (at(1.0)? - at(-1.0)?) / (2.0 * h);
            // Rounding leaves about 1e-16 |L| / h; a gradient far below the largest one is compared against that scale.
            let error =
                (predicted - difference).abs() / predicted.abs().max(difference.abs()).max(1e-4 * scale).max(1e-12);
            if error < best.0 {
                best = (error, difference);
            }
            if error < TOLERANCE * 0.1 {
                break;
            }
        }
        store.set(name, &start).map_err(|error| Failure::bug(error.to_string()))?;
        let (error, difference) = best;
        if !(error <= TOLERANCE) {
            return Ok(GradientCheck::Differs { at: name.clone(), gradient: predicted, difference });
        }
        if error > worst_seen {
            worst_seen = error;
            result = GradientCheck::Agrees { worst: error, at: name.clone() };
        }
    }
    Ok(result)
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}
