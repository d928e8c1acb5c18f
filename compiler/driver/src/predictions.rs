//! Predictions as TSV: a line a row, class names for choices, a column an element otherwise.
//!
//! `kind = softmax(net(dna))` over the classes EI, IE and N becomes the columns `kind` (the most probable class), `kind.EI`, `kind.IE`
//! and `kind.N`; `p = sigmoid(net(x))` the column `p`. Rows whose number of elements is their own get one column, comma-separated.

use bdl_check::hir::Prediction;
use bdl_train::{Evaluation, PredictionValues, metrics};
use std::fmt::Write as _;

/// Appends the rows. `rows` are row numbers, printed from 1; `part` is a further column.
pub fn tsv(
    out: &mut String,
    asked: &[Prediction],
    evaluation: &Evaluation,
    rows: &[u32],
    part: Option<&str>,
    header: bool,
) {
    if header {
        out.push_str("row");
        if part.is_some() {
            out.push_str("\tpart");
        }
        for made in &evaluation.predictions {
            heading(out, classes(asked, made), made);
        }
        out.push('\n');
    }
    for (at, row) in rows.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(out, "{}", row + 1);
        if let Some(part) = part {
            let _ = write!(out, "\t{part}");
        }
        for made in &evaluation.predictions {
            let range = made.offsets[at]..made.offsets[at + 1];
            let known = made.known.as_ref().map(|known| &known[range.clone()]);
            cells(out, classes(asked, made), made.width, &made.values[range], known);
        }
        out.push('\n');
    }
}

/// The class names of a prediction, where it is one probability a class.
fn classes<'p>(asked: &'p [Prediction], made: &PredictionValues) -> Option<&'p [String]> {
    let prediction = asked.iter().find(|prediction| *prediction.name == *made.name)?;
    let names = prediction.classes.as_ref()?;
    (made.width == Some(names.len())).then_some(names.as_slice())
}

fn heading(out: &mut String, classes: Option<&[String]>, made: &PredictionValues) {
    match (classes, made.width) {
        (Some(names), _) => {
            let _ = write!(out, "\t{}", made.name);
            for name in names {
                let _ = write!(out, "\t{}.{name}", made.name);
            }
        }
        (None, Some(width)) if width > 1 => {
            for element in 1..=width {
                let _ = write!(out, "\t{}.{element}", made.name);
            }
        }
        (None, _) => {
            let _ = write!(out, "\t{}", made.name);
        }
    }
}

/// What is missing is an empty cell.
fn cells(out: &mut String, classes: Option<&[String]>, width: Option<usize>, values: &[f64], known: Option<&[bool]>) {
    let is_known = |at: usize| known.is_none_or(|known| known[at]);
    if let Some(names) = classes {
        let class = if (0..values.len()).all(is_known) { &*names[metrics::argmax(values) as usize] } else { "" };
        let _ = write!(out, "\t{class}");
    }
    let shown = |(at, value): (usize, &f64)| if is_known(at) { shortest(*value) } else { String::new() };
    let texts: Vec<String> = values.iter().enumerate().map(shown).collect();
    match width {
        Some(_) => texts.iter().for_each(|text| {
            let _ = write!(out, "\t{text}");
        }),
        None => {
            let _ = write!(out, "\t{}", texts.join(","));
        }
    }
}

/// Six significant digits, which is what an f32 holds.
fn shortest(value: f64) -> String {
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bdl_check::hir::{FunctionId, Type};
    use bdl_train::Sums;
    use std::sync::Arc;

    #[test]
    fn classes_are_named_and_numbers_are_columns() {
        let asked = [Prediction {
            name: "kind".into(),
            function: FunctionId(0),
            ty: Type::Error,
            units_of: None,
            classes: Some(Arc::new(vec!["EI".into(), "N".into()])),
        }];
        let kind = PredictionValues {
            name: "kind".into(),
            width: Some(2),
            offsets: vec![0, 2, 4],
            values: vec![0.25, 0.75, 0.9, 0.1],
            known: None,
        };
        let p = PredictionValues {
            name: "p".into(),
            width: Some(1),
            offsets: vec![0, 1, 2],
            values: vec![1e-7, 0.123456789],
            known: None,
        };
        let evaluation = Evaluation { sums: vec![Sums::default()], predictions: vec![kind, p] };
        let mut text = String::new();
        tsv(&mut text, &asked, &evaluation, &[4, 0], Some("test"), true);
        assert_eq!(
            text,
            "row\tpart\tkind\tkind.EI\tkind.N\tp\n5\ttest\tN\t0.25\t0.75\t0.0000001\n1\ttest\tEI\t0.9\t0.1\t0.123457\n"
        );
    }
}
