//! What is fitted once training has ended: `fit cut = threshold(p, y, recall: 0.9) on valid`.
//!
//! Each number goes into the state that predictions read it from, and with the weights to the run folder.

use super::machine::ModelMachine;
use super::prepared::Prepared;
use crate::error::Failure;
use crate::show::number;
use bdl_check::hir::{Fit, FitKind, Part};
use bdl_data::{EncodedField, Kind};
use bdl_train::calibrate::{Answers, Goal, LARGEST_TEMPERATURE, conformal, temperature, threshold};
use bdl_train::{Machine, PredictionValues, RunError};

/// Fits every number, in order, and puts it into the machine. Gives a line for each.
pub fn fit_all(prepared: &Prepared, machine: &mut ModelMachine) -> Result<Vec<String>, Failure> {
    let mut said = Vec::new();
    for fit in &prepared.train.fits {
        let (rows, part) = match fit.part {
            Part::Train => (&prepared.parts.train, "train"),
            Part::Valid => (&prepared.parts.valid, "valid"),
            Part::Test => (&prepared.parts.test, "test"),
        };
        if rows.is_empty() {
            return Err(Failure::user("empty-part", format!("`{}` is fitted on {part}, which has no rows", fit.name)));
        }
        // A later one may read what an earlier one has found.
        let found = machine.evaluate(rows)?;
        let name = bdl_elaborate::fit_output(&fit.name);
        let made = found.predictions.iter().find(|made| made.name == name);
        let made = made.ok_or_else(|| Failure::bug(format!("`{name}` was not evaluated")))?;
        let field = prepared.data.field(&fit.truth)?;
        let value = fitted(fit, made, field, rows)?;
        // A fit that nothing reads has no state.
        machine.set(&fit.state, &[value])?;
        let bound = match fit.kind {
            FitKind::Temperature if value > LARGEST_TEMPERATURE * 0.999 => {
                "; the largest that is looked at: the scores say nothing about the truth here"
            }
            FitKind::Temperature if value * LARGEST_TEMPERATURE < 1.001 => {
                "; the smallest that is looked at: every row is told right, so no temperature is too small"
            }
            FitKind::Temperature
            | FitKind::Recall(_)
            | FitKind::Precision(_)
            | FitKind::Specificity(_)
            | FitKind::Conformal(_) => "",
        };
        said.push(format!("{} = {}   ({} on {part}{bound})", fit.name, number::score(value), goal(&fit.kind)));
    }
    Ok(said)
}

fn goal(kind: &FitKind) -> String {
    match kind {
        FitKind::Recall(share) => format!("recall {share}"),
        FitKind::Precision(share) => format!("precision {share}"),
        FitKind::Specificity(share) => format!("specificity {share}"),
        FitKind::Temperature => "least log loss".to_string(),
        FitKind::Conformal(share) => format!("covers {share}"),
    }
}

fn fitted(fit: &Fit, made: &PredictionValues, field: &EncodedField, rows: &[u32]) -> Result<f64, Failure> {
    let mut known = vec![1u8; rows.len()];
    if field.facts().optional {
        field.fill_known(rows, &mut known);
    }
    let places: Vec<usize> = (0..rows.len()).filter(|at| known[*at] == 1).collect();
    if places.is_empty() {
        return Err(Failure::user(
            "empty-part",
            format!("no row knows `{}`, which `{}` is fitted to", fit.truth, fit.name),
        ));
    }
    let of_row = |at: usize| made.values.get(made.offsets[at]..made.offsets[at + 1]).unwrap_or_default();
    let values: Vec<f64> = places.iter().flat_map(|at| of_row(*at).iter().copied()).collect();
    if values.iter().any(|value| value.is_nan()) {
        return Err(Failure::from(RunError::new(
            "metric",
            format!("`{}` cannot be fitted: some predictions are NaN", fit.name),
        )));
    }
    let width = values.len() / places.len();
    let yes = || -> Vec<bool> {
        let mut all = vec![0u8; rows.len()];
        field.fill_bool(rows, &mut all);
        places.iter().map(|at| all[*at] == 1).collect()
    };
    let ids = || -> Vec<u32> {
        let mut all = vec![0i32; rows.len()];
        field.fill_i32(rows, &mut all);
        places.iter().map(|at| all[*at] as u32).collect()
    };
    let truth = field.facts().kind == Kind::Truth;
    let reach = |goal: Goal| threshold(&values, &yes(), goal).map_err(Failure::from);
    Ok(match fit.kind {
        FitKind::Recall(share) => reach(Goal::Recall(share))?,
        FitKind::Precision(share) => reach(Goal::Precision(share))?,
        FitKind::Specificity(share) => reach(Goal::Specificity(share))?,
        FitKind::Temperature if truth => temperature(&values, Answers::Yes(&yes())),
        FitKind::Temperature => temperature(&values, Answers::Classes { ids: &ids(), width }),
        FitKind::Conformal(share) => {
            let misfits: Vec<f64> = if field.facts().kind == Kind::Number {
                let mut all = vec![0.0; rows.len()];
                field.fill_f64(rows, &mut all);
                values.iter().zip(&places).map(|(value, at)| (value - all[*at]).abs()).collect()
            } else {
                values.chunks(width).zip(ids()).map(|(p, id)| 1.0 - p[id as usize]).collect()
            };
            conformal(&misfits, share)
        }
    })
}
