//! Sums of a million numbers in f32 are near those in f64.

use bdl::Real;
use bdl::command::Context;
use bdl::repl::Repl;

fn prompt(real: Real) -> Repl {
    Repl::new(Context {
        global: bdl::cli::Global { threads: Some(1), quiet: true, ..Default::default() },
        coloured: false,
        real,
        products: Default::default(),
    })
}

/// What is typed before, what is asked for, and over how many numbers it is summed.
const SUMS: [(&str, &str, f64); 13] = [
    ("", "sum[i] x[i]", 1e6),
    ("", "mean[i] x[i]", 1e6),
    ("let m = mean[i] x[i]", "mean[i] square(x[i] - m)", 1e6),
    ("", "sum[i] y[i]", 1e6),
    ("", "norm(y)", 1e6),
    ("", "logsumexp[i] y[i]", 1e6),
    ("let z = for i < 250000, c < 4: 1000.3", "for c: mean[i] z[i, c]", 250e3),
    ("let z = for i < 1000, j < 1000: 1000 + x[1000 * i + j] / 7", "mean[i, j] z[i, j]", 1e6),
    ("let c = cumsum(y[0..20000])", "c[last]", 2e4),
    // One pass: a sum for each of a million places would not end.
    ("let c = cumsum(x)", "c[last]", 1e6),
    ("let g = grad(sum[i] y[i] * cumsum(x)[i], x)", "g[0]", 1e6),
    ("let b = [1, 2]", "grad(sum[i, c] (x[i] + b[c]) * y[i] * b[c], b)", 1e6),
    ("let b = [1, 2]", "grad(sum[c, i] x[i] * b[c] * b[c], b)", 1e6),
];

/// An f64 in f32: the same digits as where all is f64.
#[test]
fn in_f64() {
    let asked = |real: Real| -> Vec<f64> {
        ["sum[i] f64(x[i])", "mean[i] square(f64(x[i]))", "sum[i] x[i] * f64(0.1)", "sum[i] 1000 / f64(x[i])"]
            .iter()
            .map(|sum| {
                let mut prompt = prompt(real);
                for line in ["let x = for i < 1000000: 1000 + (i * 7919 % 8192) / 8192", sum] {
                    let answer = prompt.answer(line);
                    assert!(!answer.failed, "{line}: {}", answer.text);
                }
                assert_eq!(prompt.session.last_type(), "f64");
                prompt.session.last_elements()[0].parse().unwrap()
            })
            .collect()
    };
    for (single, double) in asked(Real::F32).into_iter().zip(asked(Real::F64)) {
        let error = (single - double).abs() / double;
        assert!(error < 1e-12, "{single} in f32, {double} in f64");
    }
}

#[test]
fn a_million_numbers() {
    let asked = |real: Real| -> Vec<Vec<f64>> {
        SUMS.iter()
            .map(|(before, sum, _)| {
                let mut prompt = prompt(real);
                let x = "let x = for i < 1000000: 1000 + (i * 7919 % 10007) / 10007";
                for line in [x, "let y = for i < 1000000: 0.1", before, sum] {
                    let answer = prompt.answer(line);
                    assert!(!answer.failed, "{line}: {}", answer.text);
                }
                prompt.session.last_elements().iter().map(|number| number.parse().unwrap()).collect()
            })
            .collect()
    };
    for (((_, sum, count), single), double) in SUMS.iter().zip(asked(Real::F32)).zip(asked(Real::F64)) {
        assert_eq!(single.len(), double.len());
        for (a, b) in single.iter().zip(double) {
            // An ulp is at most 2^-23 of the number. Added one after the other these lose 5 to 60 times as much.
            let error = (a - b).abs() / b.abs() / 2f64.powi(-23);
            assert!(error < 0.5 * count.sqrt(), "{sum}: {a} in f32, {b} in f64: {error:.0} ulps");
        }
    }
}
