//! How far a score may be from what many more examples would give: 95 % intervals.

use bdl_kernels::philox::{DrawKey, fill_below};

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Interval for a share, `hits` of `n` independent examples. Source: Wilson 1927, JASA 22, 209-212.
/// (0, 1) without examples.
pub fn wilson(hits: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (n as f64, hits as f64 / n as f64);
    let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At the ends the formula gives exactly 0 and 1, but its rounded form does not.
    (if hits == 0 { 0.0 } else { centre - half }, if p == 1.0 { 1.0 } else { centre + half })
}

/// Percentile interval of any metric: `measure` is given `repeats` lists of examples drawn with replacement. Repeats whose
/// value is NaN (one class only) are left out; None if fewer than half remain. Source: Efron 1979.
pub fn bootstrap(examples: usize, repeats: u64, seed: u64, measure: impl Fn(&[usize]) -> f64) -> Option<(f64, f64)> {
    let (mut drawn, mut values) = (vec![0; examples], vec![]);
    for repeat in 0..repeats {
        let key = DrawKey { seed, step: repeat, site: u32::MAX - 1 };
        fill_below(key, 0, 0, examples as u64, &mut drawn);
        let rows: Vec<usize> = drawn.iter().map(|row| *row as usize).collect();
        values.push(measure(&rows));
    }
    values.retain(|value| !value.is_nan());
    if values.is_empty() || (values.len() as u64) < repeats.div_ceil(2) {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let quantile = |q: f64| values[((values.len() - 1) as f64 * q).round() as usize];
    Some((quantile(0.025), quantile(0.975)))
}
