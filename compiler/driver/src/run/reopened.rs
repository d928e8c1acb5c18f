//! A finished run looked at again: its program, data and weights, and what it measures on its own parts.

use super::outputs::{self, Measured};
use super::stored::{self, Stored};
use super::{ModelMachine, Prepared, prepare};
use crate::command::Context;
use crate::error::Failure;
use crate::pipeline::{self, Checked};
use bdl_train::Machine;
use std::path::Path;

pub struct Reopened {
    pub stored: Stored,
    pub checked: Checked,
    pub prepared: Prepared,
    pub measured: Measured,
    /// Iterations that stopped at their bound.
    pub unfinished: Vec<(bdl_plan::Origin, usize)>,
}

/// Opens a run folder and evaluates its weights on its data, with its split, classes and fitted values.
pub fn open(context: &Context, run: &Path) -> Result<Reopened, Failure> {
    let stored = stored::open(run)?;
    let context = &context.of_run(&stored);
    let mut request = context.request(Some(stored.train.clone()));
    // The model's outputs are in the order of the classes that it was trained on, whatever classes this file has.
    request.fitted = Some(stored.fitted.clone());
    let checked = pipeline::check(&stored.program, &request)?;
    checked.require_sound(context.coloured)?;
    let train = checked.train(Some(&stored.train))?;
    let prepared = prepare(&checked, train, Some(stored.fitted.clone()), stored.fold)?;
    let mut machine = ModelMachine::new(&prepared, stored.real, context.engine()?, stored.seed, false)?;
    let wanted: Vec<(String, Vec<usize>)> =
        machine.weights()?.into_iter().map(|array| (array.name, array.shape)).collect();
    let mut weights = stored::weights(&stored.folder)?;
    if !stored.folder.has("best.safetensors") {
        weights.retain(|array| wanted.iter().any(|(name, _)| *name == array.name));
    }
    stored::put_wanted(&mut machine.store, &weights, &wanted)?;
    machine.restore(&weights)?;
    let measured = outputs::measure(&prepared, &mut machine)?;
    let unfinished = machine.take_unfinished();
    Ok(Reopened { stored, checked, prepared, measured, unfinished })
}
