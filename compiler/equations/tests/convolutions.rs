//! Convolutions with fewer products have the values and the gradients of those that were written.

mod support;

use bdl_equations::convolution::{fewer_products, in_phases};
use bdl_equations::interpret::{World, interpret};
use bdl_equations::{Program, differentiate, simplify, text};
use support::{Numbers, check_valid, error, fill, parse};

/// `y[n, t, u] = sum[k, c] x[n, t + d k - p, c] w[k, c, u]` of two sequences, and a loss whose gradient by y is not the same everywhere.
#[derive(Clone, Copy, Debug)]
struct Case {
    positions: i64,
    taps: i64,
    dilation: i64,
    /// What is added at each end. Without it nothing outside of x is read, and there is no `else`.
    pad: i64,
    channels: i64,
    units: i64,
}

impl Case {
    fn program(self) -> Program {
        let Case { positions, taps, dilation, pad, channels, units } = self;
        let length = positions + dilation * (taps - 1) - 2 * pad;
        let (by, otherwise) = match (dilation, pad) {
            (1, 0) => ("k".to_string(), ""),
            (_, 0) => (format!("{dilation} * k"), ""),
            (_, _) => (format!("{dilation} * k - {pad}"), " else 0"),
        };
        parse(&format!(
            "program convolution
             param x: real[2, {length}, {channels}]
             param w: real[{taps}, {channels}, {units}]
             param g: real[{positions}, {units}]
             value y: real[2, {positions}, {units}]
             value loss: real

             y[n < 2, t < {positions}, u < {units}] = sum[k < {taps}, c < {channels}] w[k, c, u] * x[n, t + {by}, c{otherwise}]
             loss = sum[n < 2, t < {positions}, u < {units}] y[n, t, u] * (y[n, t, u] + g[t, u])
             output y = y
             output loss = loss"
        ))
    }
}

/// The outputs, and the gradients of the loss by x and w.
fn values(program: &Program) -> Vec<Vec<f64>> {
    let mut program = program.clone();
    let wanted: Vec<_> = ["loss", "x", "w"].iter().map(|name| program.find(name).unwrap()).collect();
    let gradients = differentiate(&mut program, wanted[0], &wanted[1..]).unwrap_or_else(|e| panic!("{e}"));
    for (name, gradient) in ["d_x", "d_w"].iter().zip(gradients) {
        program.outputs.push(((*name).into(), gradient));
    }
    simplify(&mut program);
    check_valid(&program);
    let mut world = World::new();
    fill(&program, &mut world, &[], 5);
    let found = interpret(&program, &world).unwrap_or_else(|e| panic!("{e}\n{}", text::print(&program)));
    program.outputs.iter().map(|(name, _)| found.output(name).unwrap().flat().clone()).collect()
}

fn check(case: Case, phases: i64) -> usize {
    let written = case.program();
    let mut program = written.clone();
    let changes = in_phases(&mut program, phases);
    check_valid(&program);
    let (found, expected) = (values(&program), values(&written));
    for (found, expected) in found.iter().zip(&expected) {
        let gap = error(found, expected);
        assert!(gap < 1e-13, "{case:?} in {phases} phases: {gap}\n{}", text::print(&program));
    }
    changes
}

#[test]
fn values_and_gradients_stay() {
    let mut numbers = Numbers::new(3);
    let mut below = |from: i64, to: i64| from + (numbers.uniform() * (to - from) as f64) as i64;
    let mut rewritten = [0; 3];
    for _ in 0..120 {
        let (taps, dilation) = (below(2, 13), below(1, 4));
        let pad = below(0, 2) * below(0, dilation * (taps - 1) / 2 + 1);
        let case = Case { positions: below(2, 40), taps, dilation, pad, channels: below(1, 4), units: below(1, 4) };
        for (count, phases) in rewritten.iter_mut().zip([2, 4, 8]) {
            *count += check(case, phases);
        }
    }
    // Where a length is no multiple and nothing stands for what lies outside, a convolution stays as it is.
    assert!(rewritten[0] > 50 && rewritten[1] > 30 && rewritten[2] > 10, "{rewritten:?}");
}

/// How many positions are computed at a time, after the cheapest scheme was chosen.
fn phases_chosen(positions: i64, taps: i64, channels: i64, units: i64) -> i64 {
    let pad = (taps - 1) / 2;
    let mut program = Case { positions, taps, dilation: 1, pad, channels, units }.program();
    fewer_products(&mut program);
    let phases = program.find("y.phases").map(|id| program.get(id).shape[2].as_const().unwrap());
    phases.unwrap_or(1)
}

#[test]
fn wide_convolutions_are_worth_it() {
    assert_eq!(phases_chosen(200, 11, 300, 200), 8);
    assert_eq!(phases_chosen(5000, 11, 32, 32), 2);
    // A one-hot sequence has too few channels, and a short filter too few taps for its width.
    assert_eq!(phases_chosen(600, 19, 4, 300), 1);
    assert_eq!(phases_chosen(128, 3, 32, 32), 1);
    assert_eq!(phases_chosen(200, 1, 300, 300), 1);
    // A filter that a few positions use is not worth its sums.
    assert_eq!(phases_chosen(8, 3, 512, 512), 1);
}

#[test]
fn what_is_no_convolution_of_fixed_length_stays() {
    let sources = [
        // The length is the example's own.
        "program own
         size B batch
         size T example
         input x: real[B, T, 300] per example
         param w: real[9, 300, 300]
         value y: real[B, T, 300]
         y[b < B, t < T, u < 300] = sum[k < 9, c < 300] x[b, t + k - 4, c else 0] * w[k, c, u]
         output y = y",
        // So is that of an axis beside it.
        "program beside
         size B batch
         size T example
         input x: real[B, T, 108, 300] per example
         param w: real[9, 300, 300]
         value y: real[B, T, 100, 300]
         y[b < B, s < T, t < 100, u < 300] = sum[k < 9, c < 300] x[b, s, t + k, c] * w[k, c, u]
         output y = y",
        // An image.
        "program image
         param x: real[16, 16, 512]
         param w: real[3, 3, 512, 512]
         value y: real[16, 16, 512]
         y[i < 16, j < 16, u < 512] = sum[k < 3, l < 3, c < 512] x[i + k - 1, j + l - 1, c else 0] * w[k, l, c, u]
         output y = y",
        // A stride.
        "program stride
         param x: real[208, 300]
         param w: real[9, 300, 300]
         value y: real[100, 300]
         y[t < 100, u < 300] = sum[k < 9, c < 300] x[2 * t + k, c] * w[k, c, u]
         output y = y",
        // Taps that read backwards.
        "program backwards
         param x: real[108, 300]
         param w: real[9, 300, 300]
         value y: real[100, 300]
         y[t < 100, u < 300] = sum[k < 9, c < 300] x[t - k + 8, c] * w[k, c, u]
         output y = y",
        // The largest, not the sum.
        "program pooling
         param x: real[108, 300]
         param w: real[9, 300, 300]
         value y: real[100, 300]
         y[t < 100, u < 300] = max[k < 9, c < 300] x[t + k, c] * w[k, c, u]
         output y = y",
        // A filter of each example's own.
        "program own_filter
         size B batch
         input x: real[B, 108, 300] per example
         input w: real[B, 9, 300, 300] per example
         value y: real[B, 100, 300]
         y[b < B, t < 100, u < 300] = sum[k < 9, c < 300] x[b, t + k, c] * w[b, k, c, u]
         output y = y",
        // An odd length whose last pair would read beyond the input.
        "program odd
         param x: real[109, 300]
         param w: real[9, 300, 300]
         value y: real[101, 300]
         y[t < 101, u < 300] = sum[k < 9, c < 300] x[t + k, c] * w[k, c, u]
         output y = y",
        // Letters: kernels add what they choose.
        "program letters
         size B batch
         input x: real[B, 108, 300] per example one_hot
         param w: real[9, 300, 300]
         value y: real[B, 100, 300]
         y[b < B, t < 100, u < 300] = sum[k < 9, c < 300] x[b, t + k, c] * w[k, c, u]
         output y = y",
        // Numbers of another precision.
        "program doubles
         param x: f64[108, 300]
         param w: f64[9, 300, 300]
         value y: f64[100, 300]
         y[t < 100, u < 300] = sum[k < 9, c < 300] x[t + k, c] * w[k, c, u]
         output y = y",
    ];
    for source in sources {
        let written = parse(source);
        check_valid(&written);
        let mut program = written.clone();
        assert_eq!(fewer_products(&mut program), 0, "{source}");
        assert_eq!(program, written);
    }
}
