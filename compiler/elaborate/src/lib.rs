//! HIR to equations: the only crate that knows both.
//!
//! A checked training program becomes a handful of equation programs that share parameters and state by name:
//!
//! ```text
//! loss, per, predictions (HIR, one example)
//!   │ elaborate: every reduction an equation of its own, calls inlined, broadcasts written out         expr.rs and friends
//! one example's equations
//!   │ bdl_equations::batch, then differentiate with respect to every parameter                         program.rs
//!   │ clip, optimiser (again HIR, elaborated over the gradients), state updates
//! init, step, eval, predict, gradient
//! ```
//!
//! [`programs`] (and [`gradients`]) does all of that for a `train` block, [`predict`] what a prediction needs of it, [`entry`] makes the forward equations of one function or model for value
//! tests and tables.
//!
//! Deliberately absent: types and dimensions (the checker has decided everything), derivatives (equations know how), loop orders,
//! machines.

mod apply;
mod builtin;
mod context;
mod expr;
mod gradient;
mod join;
mod names;
mod others;
mod precision;
mod program;
mod reduce;
mod scan;
mod subscript;
mod training;
mod value;

pub use program::{
    Objective, Programs, Since, Step, differentiable_entry, entry, entry_init, first_values, fit_output, gradients,
    metric_output, predict, programs, warnings,
};
