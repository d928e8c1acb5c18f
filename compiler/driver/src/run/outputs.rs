//! What a run leaves in its folder beside weights: the runnable program, the split, predictions and metrics.

use super::machine::ModelMachine;
use super::prepared::Prepared;
use super::scores;
use crate::data::constants;
use crate::error::Failure;
use crate::pipeline::Checked;
use crate::predictions;
use bdl_check::fixed::file_of;
use bdl_data::{Source, Units};
use bdl_grammar::ast::{ArgKind, DataEntryKind, ExprKind, ItemKind, TrainEntryKind, Use};
use bdl_train::metrics::Score;
use bdl_train::{Evaluation, Machine, PredictionValues, RunFolder};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Loss, metrics and predictions of each part that has rows.
pub struct Measured {
    pub parts: Vec<MeasuredPart>,
}

pub struct MeasuredPart {
    pub name: &'static str,
    pub rows: Vec<u32>,
    /// By name: `loss`, or one a step.
    pub losses: Vec<(String, f64)>,
    pub scores: Vec<(String, Score)>,
    pub evaluation: Evaluation,
}

impl Measured {
    /// The part that is shown at the end: held out as far as possible.
    pub fn final_part(&self) -> Option<&MeasuredPart> {
        self.parts.last()
    }

    /// `test.accuracy`
    pub fn value(&self, part: &str, metric: &str) -> Option<f64> {
        let part = self.parts.iter().find(|measured| measured.name == part)?;
        if let Some((_, loss)) = part.losses.iter().find(|(name, _)| name == metric) {
            return Some(*loss);
        }
        part.scores.iter().find(|(name, _)| name == metric).map(|(_, score)| score.value)
    }
}

/// Evaluates every part that has rows.
pub fn measure(prepared: &Prepared, machine: &mut ModelMachine) -> Result<Measured, Failure> {
    let mut parts = Vec::new();
    for (name, rows) in prepared.parts.named() {
        if rows.is_empty() {
            continue;
        }
        let evaluation = machine.evaluate(rows)?;
        let mut scores = scores::scores(&prepared.asked, &evaluation, &prepared.data, rows)?;
        let mut alone = |rows: &[u32]| machine.evaluate(rows);
        let alone: Option<&mut dyn FnMut(&[u32]) -> bdl_train::RunResult<Evaluation>> =
            if prepared.programs.eval_at_once { Some(&mut alone) } else { None };
        scores.extend(scores::grouped(&prepared.asked, &evaluation, &prepared.data, rows, alone)?);
        parts.push(MeasuredPart {
            name,
            rows: rows.to_vec(),
            losses: losses(prepared, &evaluation),
            scores,
            evaluation,
        });
    }
    Ok(Measured { parts })
}

/// What is predicted, each in its units, without what only scores need.
pub fn predicted(evaluation: &Evaluation, units: &[(String, Units)]) -> Evaluation {
    let of_scores = |name: &str| name.starts_with("metric.") || name.starts_with("fit.");
    let mut predictions: Vec<PredictionValues> =
        evaluation.predictions.iter().filter(|made| !of_scores(&made.name)).cloned().collect();
    for made in &mut predictions {
        if let Some((_, units)) = units.iter().find(|(name, _)| *name == made.name) {
            units.apply(&mut made.values);
        }
    }
    Evaluation { sums: Vec::new(), predictions }
}

/// The loss of each objective by its name.
pub fn losses(prepared: &Prepared, evaluation: &Evaluation) -> Vec<(String, f64)> {
    let names = prepared.train.objectives.iter().map(bdl_check::hir::Objective::loss_name);
    names.zip(evaluation.sums.iter().map(bdl_train::Sums::ratio)).collect()
}

/// Writes `predictions.tsv` and `metrics.json`.
pub fn write(folder: &RunFolder, prepared: &Prepared, measured: &Measured) -> Result<(), Failure> {
    let mut text = String::new();
    for (at, part) in measured.parts.iter().enumerate() {
        let rows: Vec<u32> = part.rows.iter().map(|row| prepared.shown_rows[*row as usize]).collect();
        predictions::tsv(
            &mut text,
            &prepared.train.predictions,
            &predicted(&part.evaluation, &prepared.units),
            &rows,
            Some(part.name),
            at == 0,
        );
    }
    folder.write("predictions.tsv", text.as_bytes())?;
    let metrics =
        serde_json::to_string_pretty(&metrics_json(measured)).map_err(|error| Failure::bug(error.to_string()))?;
    folder.write("metrics.json", metrics.as_bytes())?;
    Ok(())
}

/// Every score of every part, with interval and baseline.
pub fn metrics_json(measured: &Measured) -> Value {
    let finite = |value: f64| if value.is_finite() { json!(value) } else { Value::Null };
    let mut all = serde_json::Map::new();
    for part in &measured.parts {
        let mut scores = serde_json::Map::new();
        scores.insert("rows".into(), json!(part.rows.len()));
        for (name, loss) in &part.losses {
            scores.insert(name.clone(), finite(*loss));
        }
        for (name, score) in &part.scores {
            let mut shown =
                json!({"value": finite(score.value), "baseline": finite(score.baseline), "constant": score.constant});
            if let Some((low, high)) = score.interval {
                shown["interval"] = json!([low, high]);
            }
            if let Some(confusion) = &score.confusion {
                shown["classes"] = json!(confusion.names);
                shown["counts"] = json!(confusion.counts);
            }
            if let Some(note) = &score.note {
                shown["note"] = json!(note);
            }
            scores.insert(name.clone(), shown);
        }
        all.insert(part.name.into(), Value::Object(scores));
    }
    Value::Object(all)
}

/// One line a row that is used: its number in the source (from 1; that of the example, where an example is several rows) and its part.
pub fn split_tsv(prepared: &Prepared) -> String {
    let mut rows: Vec<(u32, &str)> = Vec::new();
    for (name, numbers) in prepared.parts.named() {
        rows.extend(numbers.iter().map(|row| (prepared.shown_rows[*row as usize], name)));
    }
    rows.sort_unstable();
    let mut text = String::from("row\tpart\n");
    for (row, part) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\t{part}", row + 1);
    }
    text
}

/// `csv("rows.csv", ..)` with the whole path of its file: the place of the text, and the new one.
fn other_file(source: &bdl_grammar::ast::Expr, path: &std::path::Path) -> Option<(std::ops::Range<usize>, String)> {
    let ExprKind::Call { args, .. } = &source.kind else { return None };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let file = args.iter().find_map(|arg| match &arg.kind {
        ArgKind::Positional(value) if matches!(value.kind, ExprKind::Str(_)) => Some(value.span),
        ArgKind::Positional(_) | ArgKind::Named { .. } | ArgKind::Each { .. } | ArgKind::Hole => None,
    })?;
    Some((file.range(), format!("{:?}", path.display().to_string())))
}

/// The program's text with paths of data and weight files made absolute, so that it runs from the run's folder.
pub fn runnable(checked: &Checked) -> String {
    let mut text = checked.source.text.clone();
    let mut edits = Vec::new();
    let absolute = |written: &str| {
        let path = checked.source.folder.join(written);
        format!("{:?}", std::path::absolute(&path).unwrap_or(path).display().to_string())
    };
    for constant in constants::of(&checked.source.modules.main) {
        if let Some((_, file)) = file_of(constant) {
            edits.push((file.span.range(), absolute(file.text)));
        }
    }
    for item in &checked.source.modules.main.items {
        if let ItemKind::Use(Use::File(file)) = &item.kind {
            edits.push((file.span.range(), absolute(&file.text)));
        }
        if let ItemKind::Train(train) = &item.kind {
            let files = train.entries.iter().filter_map(|entry| {
                if let TrainEntryKind::Model { from: Some(from), .. } = &entry.kind { Some(&from.file) } else { None }
            });
            for file in files {
                edits.push((file.span.range(), absolute(&file.text)));
            }
        }
        let ItemKind::Data(data) = &item.kind else { continue };
        let Some(block) = checked.data.iter().find(|block| block.spec.name == data.name.text) else { continue };
        if let Source::Table(table) = &block.spec.source {
            edits.extend(other_file(&data.source, &table.path));
        }
        // The tables in which rows are looked up: of the block, or of the file.
        let own = data
            .entries
            .iter()
            .filter_map(|entry| if let DataEntryKind::Let(binding) = &entry.kind { Some(binding) } else { None });
        let of_file = checked
            .source
            .modules
            .main
            .items
            .iter()
            .filter_map(|item| if let ItemKind::Let(binding) = &item.kind { Some(binding) } else { None });
        for binding in own.chain(of_file) {
            if let Some(table) = block.spec.tables.iter().find(|table| table.name == binding.name.text) {
                edits.extend(other_file(&binding.value, &table.source.path));
            }
        }
    }
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    edits.dedup_by(|a, b| a.0 == b.0);
    for (range, new) in edits {
        text.replace_range(range, &new);
    }
    text
}
