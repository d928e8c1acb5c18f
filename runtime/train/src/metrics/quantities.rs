//! Metrics of numbers: errors in the units of the truth, and correlations. With several quantities an example each metric is
//! the mean over quantities.

use super::ranking::ranks;
use super::{Guess, Outcome};

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean squared error, in squared units.
pub fn mse(guess: &[f64], truth: &[f64]) -> f64 {
    guess.iter().zip(truth).map(|(g, t)| (g - t) * (g - t)).sum::<f64>() / truth.len() as f64
}

/// Mean absolute error.
pub fn mae(guess: &[f64], truth: &[f64]) -> f64 {
    guess.iter().zip(truth).map(|(g, t)| (g - t).abs()).sum::<f64>() / truth.len() as f64
}

/// Coefficient of determination: 1 - sum (t - g)² / sum (t - mean t)². NaN if the truth is constant.
pub fn r2(guess: &[f64], truth: &[f64]) -> f64 {
    let centre = mean(truth);
    let variation: f64 = truth.iter().map(|t| (t - centre) * (t - centre)).sum();
    if variation == 0.0 { f64::NAN } else { 1.0 - mse(guess, truth) * truth.len() as f64 / variation }
}

/// Pearson's correlation. NaN if either side is constant.
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let product =
        |x: &[f64], mx: f64, y: &[f64], my: f64| x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>();
    let below = product(a, mean_a, a, mean_a).sqrt() * product(b, mean_b, b, mean_b).sqrt();
    let constant = |x: &[f64]| x.iter().all(|value| *value == x[0]);
    if below == 0.0 || constant(a) || constant(b) {
        return f64::NAN;
    }
    (product(a, mean_a, b, mean_b) / below).clamp(-1.0, 1.0)
}

/// Spearman's correlation: Pearson's of the ranks, ties sharing their mean rank. NaN if either side is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    pearson(&ranks(a), &ranks(b))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}

/// The metrics of numbers by name.
pub(super) fn by_name(name: &str, guess: Guess, truth: &[f64]) -> Outcome {
    let width = guess.width;
    let column = |values: &[f64], at: usize| values.iter().skip(at).step_by(width).copied().collect::<Vec<f64>>();
    let columns: Vec<(Vec<f64>, Vec<f64>)> =
        (0..width).map(|at| (column(guess.values, at), column(truth, at))).collect();
    let over =
        |measure: &dyn Fn(&[f64], &[f64]) -> f64| mean(&columns.iter().map(|(g, t)| measure(g, t)).collect::<Vec<_>>());
    let constant = |value: &dyn Fn(&[f64]) -> f64, measure: &dyn Fn(&[f64], &[f64]) -> f64| {
        over(&|_, truth| measure(&vec![value(truth); truth.len()], truth))
    };
    let rmse = |guess: &[f64], truth: &[f64]| mse(guess, truth).sqrt();
    let (value, baseline, word) = match name {
        "mse" => (over(&mse), constant(&mean, &mse), "mean"),
        "rmse" => (over(&rmse), constant(&mean, &rmse), "mean"),
        "mae" => (over(&mae), constant(&median, &mae), "median"),
        "r2" => (over(&r2), 0.0, "mean"),
        "spearman" => (over(&spearman), 0.0, "same"),
        _ => (over(&pearson), 0.0, "same"),
    };
    let note = value.is_nan().then(|| {
        let same = |values: &[f64]| values.iter().all(|value| *value == values[0]);
        let (truth_is, guess_is) = (columns.iter().any(|(_, t)| same(t)), columns.iter().any(|(g, _)| same(g)));
        let side = match (truth_is, guess_is) {
            (true, _) => "the true values are",
            (false, true) => "the predictions are",
            (false, false) => "too little differs: the values are nearly",
        };
        format!("not defined: {side} all the same")
    });
    let constant =
        if width == 1 && word != "same" { format!("always the {word}") } else { format!("always the {word} value") };
    Outcome { value, baseline, constant, note, ..Outcome::default() }
}
