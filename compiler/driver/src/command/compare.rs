//! `bdl compare RUN RUN`: two runs on the rows that both held out, and how their programs differ.
//!
//! Only rows that are in the last part of both are looked at, each run's predictions for them side by side. The difference of a score has a
//! 95 % interval from a paired bootstrap (rows drawn with replacement, both scores of the same rows); decisions about classes are compared by
//! McNemar's exact test, which looks only at the rows where one run is right and the other wrong.

use super::{Context, print};
use crate::error::Failure;
use crate::run::outputs::MeasuredPart;
use crate::run::reopened::{self, Reopened};
use crate::run::scores::{self, Asked};
use crate::show::number;
use bdl_train::metrics;
use serde_json::json;
use similar::{ChangeTag, TextDiff};
use std::path::Path;

/// Resamples of the rows.
const REPEATS: u64 = 1000;

/// A score of both runs.
struct Compared {
    name: String,
    a: f64,
    b: f64,
    /// Of b - a.
    interval: Option<(f64, f64)>,
    higher_is_better: bool,
}

/// Rows that only one of the runs decides rightly.
struct Decisions {
    only_a: u64,
    only_b: u64,
    p: f64,
}

pub fn run(context: &Context, a: &Path, b: &Path) -> Result<u8, Failure> {
    let (first, second) = (reopened::open(context, a)?, reopened::open(context, b)?);
    let (part_a, part_b) = (last_part(&first, a)?, last_part(&second, b)?);
    same_data(&first, &second, a, b)?;
    let common = common_rows(&first, part_a, &second, part_b);
    if common.is_empty() {
        return Err(Failure::user("nothing-in-common", "no row is held out in both runs")
            .help("runs are compared on the same rows: give both the same `split`"));
    }
    let (places_a, places_b): (Vec<usize>, Vec<usize>) = common.iter().copied().unzip();
    let mut compared = Vec::new();
    for asked in &first.prepared.asked {
        let Some(other) = second.prepared.asked.iter().find(|other| other.name == asked.name) else { continue };
        let score = |run: &Reopened, part: &MeasuredPart, asked: &Asked, places: &[usize]| {
            scores::of_rows(asked, &part.evaluation, &run.prepared.data, &part.rows, places)
        };
        let whole_a = score(&first, part_a, asked, &places_a)?;
        let whole_b = score(&second, part_b, other, &places_b)?;
        if whole_a.confusion.is_some() {
            continue;
        }
        let interval = metrics::bootstrap(common.len(), REPEATS, 0, |drawn| {
            let of = |places: &[usize]| drawn.iter().map(|at| places[*at]).collect::<Vec<usize>>();
            let a = score(&first, part_a, asked, &of(&places_a)).map_or(f64::NAN, |score| score.value);
            let b = score(&second, part_b, other, &of(&places_b)).map_or(f64::NAN, |score| score.value);
            b - a
        });
        let higher_is_better = whole_a.higher_is_better;
        compared.push(Compared {
            name: asked.name.clone(),
            a: whole_a.value,
            b: whole_b.value,
            interval,
            higher_is_better,
        });
    }
    let decisions = decisions(&first, part_a, &places_a, &second, part_b, &places_b);
    let difference = difference(&first.checked.source.text, &second.checked.source.text);
    if context.global.json {
        let scores = compared.iter().map(|one| {
            json!({"metric": one.name, "a": one.a, "b": one.b, "difference": one.b - one.a,
                "interval": one.interval.map(|(low, high)| [low, high]), "higher_is_better": one.higher_is_better})
        });
        let line = json!({"a": a.display().to_string(), "b": b.display().to_string(), "part": part_a.name, "rows": common.len(),
            "scores": scores.collect::<Vec<_>>(),
            "mcnemar": decisions.as_ref().map(|d| json!({"only_a": d.only_a, "only_b": d.only_b, "p": d.p})),
            "program": difference});
        return print(&format!("{line}\n"));
    }
    print(&text(a, b, part_a, part_b, common.len(), &compared, decisions.as_ref(), &difference, &(&first, &second)))
}

fn last_part<'r>(run: &'r Reopened, path: &Path) -> Result<&'r MeasuredPart, Failure> {
    run.measured
        .final_part()
        .ok_or_else(|| Failure::user("empty-part", format!("`{}` has no rows to compare on", path.display())))
}

/// The rows of two files are the same rows only if the files are.
fn same_data(first: &Reopened, second: &Reopened, a: &Path, b: &Path) -> Result<(), Failure> {
    let source = |run: &Reopened| -> Result<Option<String>, Failure> {
        let block = run.checked.data(&run.prepared.train.data)?;
        Ok(crate::run::record::data_hash(&block.spec.source).ok())
    };
    if source(first)? == source(second)? {
        return Ok(());
    }
    Err(Failure::user("other-data", format!("`{}` and `{}` read different data", a.display(), b.display()))
        .help("`--data NAME=FILE` gives both the same file"))
}

/// Places in both parts of the rows that both hold, in the order of the first.
fn common_rows(a: &Reopened, part_a: &MeasuredPart, b: &Reopened, part_b: &MeasuredPart) -> Vec<(usize, usize)> {
    let number = |run: &Reopened, row: u32| run.prepared.shown_rows[row as usize];
    let of_b: std::collections::HashMap<u32, usize> =
        part_b.rows.iter().enumerate().map(|(at, row)| (number(b, *row), at)).collect();
    let pairs = part_a.rows.iter().enumerate().filter_map(|(at, row)| Some((at, *of_b.get(&number(a, *row))?)));
    pairs.collect()
}

/// McNemar's test on the first prediction of classes.
fn decisions(
    first: &Reopened,
    part_a: &MeasuredPart,
    places_a: &[usize],
    second: &Reopened,
    part_b: &MeasuredPart,
    places_b: &[usize],
) -> Option<Decisions> {
    let of_classes = |run: &Reopened| {
        let about = |asked: &&Asked| {
            metrics::by_name(&asked.metric).is_some_and(|metric| metric.about == metrics::About::Choices)
        };
        let asked = run.prepared.asked.iter().find(about)?;
        Some(Asked { metric: "accuracy".into(), name: "accuracy".into(), options: Vec::new(), ..asked.clone() })
    };
    let (asked_a, asked_b) = (of_classes(first)?, of_classes(second)?);
    let right = |run: &Reopened, part: &MeasuredPart, asked: &Asked, place: usize| {
        let score = scores::of_rows(asked, &part.evaluation, &run.prepared.data, &part.rows, &[place]).ok()?;
        // Rows with several answers may be half right; the test is for one answer a row.
        (score.value == 0.0 || score.value == 1.0).then_some(score.value == 1.0)
    };
    let (mut only_a, mut only_b) = (0, 0);
    for (a, b) in places_a.iter().zip(places_b) {
        match (right(first, part_a, &asked_a, *a)?, right(second, part_b, &asked_b, *b)?) {
            (true, false) => only_a += 1,
            (false, true) => only_b += 1,
            (true, true) | (false, false) => {}
        }
    }
    Some(Decisions { only_a, only_b, p: mcnemar(only_a, only_b) })
}

/// The two-sided exact test that `only_a` of `only_a + only_b` is a fair coin's. Source: McNemar 1947, in its exact binomial form.
fn mcnemar(only_a: u64, only_b: u64) -> f64 {
    let (n, least) = (only_a + only_b, only_a.min(only_b));
    // Terms in logarithms, so that thousands of rows do not underflow.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=least {
        tail += log_term.exp();
        log_term += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// Lines that differ, with one line around them.
fn difference(a: &str, b: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(a, b);
    let mut lines = Vec::new();
    for (at, group) in diff.grouped_ops(1).iter().enumerate() {
        if at > 0 {
            lines.push("  …".to_string());
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            lines.push(format!("{sign} {}", change.value().trim_end()));
        }
    }
    lines
}

#[allow(clippy::too_many_arguments)]
fn text(
    a: &Path,
    b: &Path,
    part_a: &MeasuredPart,
    part_b: &MeasuredPart,
    rows: usize,
    compared: &[Compared],
    decisions: Option<&Decisions>,
    difference: &[String],
    runs: &(&Reopened, &Reopened),
) -> String {
    let mut out = format!("a  {}   seed {}\n", a.display(), runs.0.stored.seed);
    out.push_str(&format!("b  {}   seed {}\n", b.display(), runs.1.stored.seed));
    let held = number::grouped(rows as u64);
    let all = rows == part_a.rows.len() && rows == part_b.rows.len();
    let of = if all {
        String::new()
    } else {
        format!(" of {} and {}", number::grouped(part_a.rows.len() as u64), number::grouped(part_b.rows.len() as u64))
    };
    out.push_str(&format!("{held}{of} {} rows are in both\n\n", part_a.name));
    let width = compared.iter().map(|one| one.name.chars().count()).max().unwrap_or(0).max(8);
    out.push_str(&format!("  {:width$}  {:>9}  {:>9}  {:>9}   95 % interval\n", "", "a", "b", "b - a"));
    for one in compared {
        let better = match (one.interval, one.higher_is_better) {
            (Some((low, _)), true) if low > 0.0 => "b is better",
            (Some((_, high)), true) if high < 0.0 => "a is better",
            (Some((_, high)), false) if high < 0.0 => "b is better",
            (Some((low, _)), false) if low > 0.0 => "a is better",
            (Some(_), _) => "no difference that these rows could show",
            (None, _) => "",
        };
        let interval = one.interval.map_or("not defined".into(), |(low, high)| format!("{low:+.3} to {high:+.3}"));
        out.push_str(&format!(
            "  {:width$}  {:>9}  {:>9}  {:>+9.3}   {interval:16}  {better}\n",
            one.name,
            number::score(one.a),
            number::score(one.b),
            one.b - one.a
        ));
    }
    if let Some(Decisions { only_a, only_b, p }) = decisions {
        let p = if *p < 0.001 { format!("{p:.0e}") } else { format!("{p:.3}") };
        out.push_str(&format!(
            "  only a is right about {only_a} rows, only b about {only_b}: p = {p} (McNemar, exact)\n"
        ));
    }
    out.push_str("\nprogram\n");
    if difference.is_empty() {
        out.push_str("  the same\n");
    }
    difference.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_test_agrees_with_the_binomial() {
        // 2 * (C(10,0) + C(10,1) + C(10,2)) / 2^10
        assert!((mcnemar(2, 8) - 2.0 * 56.0 / 1024.0).abs() < 1e-12);
        assert_eq!(mcnemar(5, 5), 1.0);
        assert_eq!(mcnemar(0, 0), 1.0);
        assert!(mcnemar(0, 5000) < 1e-300);
        assert!((mcnemar(1, 0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_difference_shows_what_changed() {
        let lines = difference("a\nwidth 32\nb\nc\nd\ne\n", "a\nwidth 64\nb\nc\nd\nf\n");
        assert_eq!(lines, ["  a", "- width 32", "+ width 64", "  b", "  …", "  d", "- e", "+ f"]);
        assert!(difference("a\n", "a\n").is_empty());
    }
}
