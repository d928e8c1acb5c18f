//! Scores as text: `accuracy 0.962 (0.943 to 0.977; always N: 0.519) · auroc 0.991`, and confusion tables.

use super::number;
use bdl_train::metrics::Score;
use std::fmt::Write as _;

/// One line of scores, wrapped at `width` behind a label, then the tables.
pub fn scores(label: &str, scores: &[(String, Score)], width: usize) -> String {
    let lead = format!("  {label:<8}");
    let mut out = String::new();
    let mut line = lead.clone();
    let plain: Vec<_> = scores.iter().filter(|(_, score)| score.confusion.is_none()).collect();
    for (at, (name, score)) in plain.iter().enumerate() {
        let text = one(name, score);
        let joined = if at == 0 { text } else { format!(" · {text}") };
        if at > 0 && line.chars().count() + joined.chars().count() > width {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(lead.len()) + joined.trim_start_matches(" · ");
        } else {
            line.push_str(&joined);
        }
    }
    if !plain.is_empty() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for (_, score) in scores {
        if let Some(confusion) = &score.confusion {
            out.push_str(&table(&confusion.names, &confusion.counts));
        }
    }
    for (name, score) in scores {
        if let Some(note) = &score.note {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}{name}: {note}", " ".repeat(lead.len()));
        }
    }
    out
}

fn one(name: &str, score: &Score) -> String {
    let mut text = format!("{name} {}", number::score(score.value));
    let mut beside = Vec::new();
    if let Some((low, high)) = score.interval {
        beside.push(format!("{} to {}", number::score(low), number::score(high)));
    }
    if score.baseline.is_finite() && !score.constant.is_empty() {
        beside.push(format!("{}: {}", score.constant, number::score(score.baseline)));
    }
    if !beside.is_empty() {
        text.push_str(&format!(" ({})", beside.join("; ")));
    }
    text
}

/// Rows are what is true, columns what was predicted.
fn table(names: &[String], counts: &[Vec<u64>]) -> String {
    let shown: Vec<Vec<String>> = counts.iter().map(|row| row.iter().map(|n| number::grouped(*n)).collect()).collect();
    let first = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(4);
    let widths: Vec<usize> = (0..names.len())
        .map(|column| {
            let cells = shown.iter().map(|row| row[column].len());
            cells.chain([names[column].chars().count(), 4]).max().unwrap_or(4)
        })
        .collect();
    let mut out = format!("          {:first$}", "true");
    for (name, width) in names.iter().zip(&widths) {
        let _ = write!(out, "  {name:>width$}");
    }
    out.push_str("   (columns: predicted)\n");
    for (name, row) in names.iter().zip(&shown) {
        let _ = write!(out, "          {name:first$}");
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(out, "  {cell:>width$}");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use bdl_train::metrics::Confusion;

    #[test]
    fn scores_read_as_in_a_paper() {
        let accuracy = Score {
            value: 0.962,
            baseline: 0.519,
            constant: "always N".into(),
            interval: Some((0.943, 0.977)),
            higher_is_better: true,
            note: None,
            confusion: None,
        };
        let auroc =
            Score { value: 0.991, baseline: f64::NAN, constant: String::new(), interval: None, ..accuracy.clone() };
        let names = vec!["EI".to_string(), "N".to_string()];
        let confusion =
            Score { confusion: Some(Confusion { names, counts: vec![vec![111, 3], vec![4, 1239]] }), ..auroc.clone() };
        let all = [("accuracy".into(), accuracy), ("auroc".into(), auroc), ("confusion".into(), confusion)];
        let text = scores("test", &all, 100);
        let expected = "  test    accuracy 0.962 (0.943 to 0.977; always N: 0.519) · auroc 0.991\n          \
                        true    EI      N   (columns: predicted)\n          \
                        EI     111      3\n          \
                        N        4  1,239\n";
        assert_eq!(text, expected);
    }
}
