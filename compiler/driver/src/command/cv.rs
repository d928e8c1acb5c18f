//! `bdl cv FILE[:NAME]`: trains and tests every fold of a split, and says how much the score moves from fold to fold.
//!
//! Each fold is a run like any other, in a folder of its own, fitted on its own training rows. The summary gives mean and sample standard
//! deviation over the folds; it is no interval for new data, because folds share most of their training rows.

use super::train::{Manner, Report, Run, finite, judge_value, part_name};
use super::{Context, print};
use crate::cli::target;
use crate::error::Failure;
use crate::show::number;
use bdl_check::hir::Train;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// Values of one score in the folds.
struct Folds {
    name: String,
    values: Vec<f64>,
}

impl Folds {
    /// Those that could be computed: a single row has no AUROC.
    fn known(&self) -> impl Iterator<Item = f64> {
        self.values.iter().copied().filter(|value| value.is_finite())
    }

    fn mean(&self) -> f64 {
        self.known().sum::<f64>() / self.known().count() as f64
    }

    /// `sqrt(sum (x - mean)^2 / (n - 1))`; not a number for one fold.
    fn deviation(&self) -> f64 {
        let mean = self.mean();
        (self.known().map(|value| (value - mean).powi(2)).sum::<f64>() / (self.known().count() as f64 - 1.0)).sqrt()
    }

    /// `auroc      0.995 ± 0.006   0.986    1.000`
    fn row(&self, width: usize) -> String {
        let missing = self.values.len() - self.known().count();
        if missing == self.values.len() {
            return format!("{:<width$}   not to be computed in any fold", self.name);
        }
        let (least, most) = self.known().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        let mean = self.mean();
        // As many digits as a mean below 1 has; large ones as they come.
        let shown = |value: f64| if mean.abs() < 10.0 { format!("{value:.3}") } else { number::score(value) };
        let deviation = self.deviation();
        let spread =
            if deviation.is_finite() { format!("{} ± {}", shown(mean), shown(deviation)) } else { shown(mean) };
        let note = if missing > 0 { format!("   not in {missing} of the folds") } else { String::new() };
        format!("{:<width$}   {spread:<16}   {:<7}   {:<7}{note}", self.name, shown(least), shown(most))
            .trim_end()
            .to_string()
    }
}

/// ```text
///   test    of 5 folds   mean ± deviation   lowest    highest
///           accuracy     0.979 ± 0.005      0.973     0.982
/// ```
fn table(folds: usize, scores: &[Folds]) -> String {
    let head = format!("of {folds} folds");
    let width = scores.iter().map(|score| score.name.chars().count()).max().unwrap_or(0).max(head.len());
    let mut text = format!("  test    {head:<width$}   mean ± deviation   lowest    highest\n");
    for score in scores {
        text.push_str(&format!("          {}\n", score.row(width)));
    }
    text
}

pub fn run(context: &Context, written: &str, manner: &Manner) -> Result<u8, Failure> {
    let (file, name) = target(written);
    let started = Instant::now();
    let run = Run::open(context, &file, name)?;
    let folds = run.folds()?;
    if folds < 2 {
        return Err(Failure::user("no-folds", format!("`train {}` has no split into folds", run.train.name))
            .help("write `split kfold(5)` (with `balance:` or `groups:`), or `split leave_one_out`"));
    }
    let say = |text: &str| if context.global.json { Ok(0) } else { print(text) };
    let mut reports: Vec<Report> = Vec::new();
    for fold in 0..folds {
        let report = run.fold(manner, fold, folds)?;
        if !context.global.quiet {
            say(&line(&report, fold, folds))?;
        }
        reports.push(report);
    }
    let test = of_part(&reports, "test");
    say(&table(folds, &test))?;
    let mut missed = false;
    let mut judged = Vec::new();
    for expectation in &run.train.expectations {
        let part = part_name(expectation);
        let all = of_part(&reports, part);
        let mean = all.iter().find(|score| *score.name == *expectation.score.metric).map(Folds::mean);
        let (text, met) = judge_value(&run.train, expectation, mean)?;
        missed |= !met;
        say(&format!("  expect  mean of {text}\n"))?;
        judged.push(json!({"expect": expectation.shown, "met": met}));
    }
    let folder = reports.last().and_then(|report| report.folder.parent()).unwrap_or(Path::new(".")).to_path_buf();
    let summary = summary(&run.train, &reports, &test, judged);
    let text = serde_json::to_string_pretty(&summary).map_err(|error| Failure::bug(error.to_string()))?;
    bdl_train::folder::write_whole(&folder.join("cv.json"), text.as_bytes())?;
    if context.global.json {
        print(&format!("{summary}\n"))?;
    }
    let seconds = number::seconds(started.elapsed().as_secs_f64());
    let at = folder.display();
    say(&format!("  saved   {at}   ({seconds})   next: bdl predict {at}/fold-1 NEW.csv\n"))?;
    Ok(u8::from(missed))
}

/// ```text
///   fold 1/5   455 train / 114 test · accuracy 0.974 · auroc 0.998
/// ```
fn line(report: &Report, fold: usize, folds: usize) -> String {
    let parts = &report.prepared.parts;
    let rows = |rows: &[u32]| number::grouped(rows.len() as u64);
    let number = format!("{}/{folds}", fold + 1);
    let width = 2 * folds.to_string().len() + 1;
    let mut text = format!("  fold {number:<width$}   {} train / {} test", rows(&parts.train), rows(&parts.test));
    if let Some(part) = report.measured.parts.iter().find(|part| part.name == "test") {
        for (name, loss) in &part.losses {
            text.push_str(&format!(" · {name} {}", number::score(*loss)));
        }
        for (name, score) in part.scores.iter().filter(|(_, score)| score.confusion.is_none()) {
            text.push_str(&format!(" · {name} {}", number::score(score.value)));
        }
    }
    text.push('\n');
    text
}

/// Losses and scores of one part, fold by fold.
fn of_part(reports: &[Report], part: &str) -> Vec<Folds> {
    let mut found: Vec<Folds> = Vec::new();
    for report in reports {
        let Some(measured) = report.measured.parts.iter().find(|measured| measured.name == part) else { continue };
        let losses = measured.losses.iter().map(|(name, loss)| (name.clone(), *loss));
        let scores = measured.scores.iter().filter(|(_, score)| score.confusion.is_none());
        for (name, value) in losses.chain(scores.map(|(name, score)| (name.clone(), score.value))) {
            match found.iter_mut().find(|known| known.name == name) {
                Some(known) => known.values.push(value),
                None => found.push(Folds { name, values: vec![value] }),
            }
        }
    }
    found
}

fn summary(train: &Train, reports: &[Report], test: &[Folds], expect: Vec<Value>) -> Value {
    let score = |folds: &Folds| {
        let values: Vec<Value> = folds.values.iter().map(|value| finite(*value)).collect();
        (
            folds.name.clone(),
            json!({"mean": finite(folds.mean()), "deviation": finite(folds.deviation()), "folds": values}),
        )
    };
    let runs: Vec<String> = reports.iter().map(|report| report.folder.display().to_string()).collect();
    let test: serde_json::Map<String, Value> = test.iter().map(score).collect();
    json!({"event": "done", "train": &*train.name, "folds": runs, "test": test, "expect": expect})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_the_folds_that_know() {
        let folds = Folds { name: "auroc".into(), values: vec![0.9, f64::NAN, 0.8, 1.0] };
        assert!((folds.mean() - 0.9).abs() < 1e-12);
        assert!((folds.deviation() - 0.1).abs() < 1e-12);
        let none = Folds { name: "loss".into(), values: vec![f64::NAN] };
        let expected = "  test    of 4 folds   mean ± deviation   lowest    highest\n          \
                        auroc        0.900 ± 0.100      0.800     1.000     not in 1 of the folds\n          \
                        loss         not to be computed in any fold\n";
        assert_eq!(table(4, &[folds, none]), expected);
    }
}
