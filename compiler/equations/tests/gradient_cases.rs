//! The cases of the design's executable sketch: every gradient against central differences, many of them twice.

mod support;

use bdl_equations::interpret::{Array, World};
use bdl_equations::text;
use support::{check_gradient, check_second};

fn ints(world: &mut World, name: &str, values: &[f64]) {
    world.set(name, Array::new([values.len()], values));
}

#[test]
fn dense_and_tanh() {
    let mut world = World::new();
    let (mut program, d) = check_gradient(
        "program dense
         size B batch
         input x: real[B, 3] per example
         param w: real[3, 4]
         param v: real[4]
         value h: real[B, 4]
         value y: real[B, 4]
         value loss: real
         h[b < B, f < 4] = sum[c < 3] x[b, c] * w[c, f]
         y[b < B, f < 4] = tanh(h[b, f] + v[f])
         loss = sum[b < B, f < 4] y[b, f] * y[b, f]",
        &mut world,
        &[vec![], vec![]],
        &["x", "w", "v"],
    );
    // Two plain contractions.
    let shown = text::print(&program);
    assert!(shown.contains("d_x[b < B, c < 3] = sum[f < 4] d_h[b, f] * w[c, f]"), "{shown}");
    assert!(shown.contains("d_w[c < 3, f < 4] = sum[b < B] d_h[b, f] * x[b, c]"), "{shown}");
    check_second(&mut program, &mut world, d[0], &["w", "v"]);
}

fn convolution(taps: &str, out: &str, length: i64, wrt_second: bool) -> String {
    let source = format!(
        "program convolution
         size B batch
         size T example
         input x: real[B, T, 3] per example
         param w: real[3, 3, 4]
         value y: real[B, {out}, 4]
         value loss: real
         y[b < B, t < {out}, f < 4] = sum[k < 3, c < 3] x[b, {taps}] * w[k, c, f]
         loss = sum[b < B, t < {out}, f < 4] y[b, t, f] * y[b, t, f] * tanh(y[b, t, f])"
    );
    let mut world = World::new();
    let (mut program, d) =
        check_gradient(&source, &mut world, &[vec![("T", length)], vec![("T", length + 2)]], &["x", "w"]);
    if wrt_second {
        check_second(&mut program, &mut world, d[0], &["w", "x"]);
    }
    text::print(&program)
}

#[test]
fn convolution_valid() {
    let shown = convolution("t + k, c", "T - 2", 6, true);
    assert!(
        shown.contains("d_w[k < 3, c < 3, f < 4] = sum[b < B, t < T - 2] d_y[b, t, f] * x[b, k + t, c]"),
        "{shown}"
    );
    assert!(
        shown.contains("d_x[b < B, t < T, c < 3] = sum[f < 4, k < 3] d_y[b, t - k, f else 0] * w[k, c, f]"),
        "{shown}"
    );
}

#[test]
fn convolution_same_padding() {
    let shown = convolution("t + k - 1, c else 0", "T", 5, false);
    assert!(
        shown.contains("d_w[k < 3, c < 3, f < 4] = sum[b < B, t < T] d_y[b, t, f] * x[b, k + t - 1, c else 0]"),
        "{shown}"
    );
    assert!(
        shown.contains("d_x[b < B, t < T, c < 3] = sum[f < 4, k < 3] d_y[b, t - k + 1, f else 0] * w[k, c, f]"),
        "{shown}"
    );
}

#[test]
fn convolution_strides_and_dilation() {
    let shown = convolution("2 * t + k, c", "(T - 1) / 2", 7, true);
    // Even positions have two taps, odd ones have one.
    assert!(shown.contains("d_x[b, 2 * t, c for"), "{shown}");
    assert!(shown.contains("also d_x[b, 2 * t + 1, c for"), "{shown}");
    convolution("t + 2 * k, c", "T - 4", 7, false);
    convolution("3 * t + k, c", "T / 3", 7, false);
    convolution("2 * t + 3 * k, c else 0", "T / 2", 7, false);
}

#[test]
fn convolution_over_built_sizes() {
    for (taps, out, length, k) in [("3 * t + k", 3, 12, 5), ("2 * t + k", 3, 7, 3), ("2 * t + 2 * k", 2, 7, 2)] {
        let source = format!(
            "program convolution
             param x: real[{length}, 2]
             param w: real[{k}, 2, 2]
             value y: real[{out}, 2]
             value loss: real
             y[t < {out}, f < 2] = sum[k < {k}, c < 2] tanh(x[{taps}, c]) * w[k, c, f]
             loss = sum[t < {out}, f < 2] y[t, f] * y[t, f]"
        );
        let mut world = World::new();
        let (mut program, d) = check_gradient(&source, &mut world, &[], &["x", "w"]);
        check_second(&mut program, &mut world, d[0], &["w", "x"]);
    }
}

#[test]
fn max_pooling() {
    for (pool, stride, out) in [(2, 2, "T / 2"), (3, 2, "(T - 1) / 2"), (3, 1, "T - 2")] {
        let source = format!(
            "program pool
             size B batch
             size T example
             input x: real[B, T, 2] per example
             value y: real[B, {out}, 2]
             value loss: real
             y[b < B, t < {out}, c < 2] = max[k < {pool}] x[b, {stride} * t + k, c]
             loss = sum[b < B, t < {out}, c < 2] y[b, t, c] * y[b, t, c]"
        );
        let mut world = World::new();
        check_gradient(&source, &mut world, &[vec![("T", 7)], vec![("T", 4)]], &["x"]);
    }
}

#[test]
fn max_pooling_in_two_directions() {
    let mut world = World::new();
    check_gradient(
        "program pool
         param x: real[6, 4]
         value y: real[3, 2]
         value loss: real
         y[i < 3, j < 2] = max[p < 2, q < 2] x[2 * i + p, 2 * j + q]
         loss = sum[i < 3, j < 2] y[i, j] * y[i, j]",
        &mut world,
        &[],
        &["x"],
    );
}

#[test]
fn ties_go_to_the_first() {
    let source = "program ties
         param x: real[4]
         value y: real
         y = max[i < 4] x[i]";
    let mut program = support::parse(source);
    let (x, y) = (program.find("x").expect("x"), program.find("y").expect("y"));
    let d = bdl_equations::differentiate(&mut program, y, &[x]).expect("a gradient")[0];
    let mut world = World::new();
    world.set("x", Array::new([4], [1.0, 5.0, 5.0, 5.0]));
    assert_eq!(support::run(&program, &world, d).flat(), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn softmax() {
    let mut world = World::new();
    let (mut program, d) = check_gradient(
        "program softmax
         param x: real[2, 3]
         value m: real[2]
         value e: real[2, 3]
         value s: real[2]
         value y: real[2, 3]
         value loss: real
         m[i < 2] = max[j < 3] x[i, j]
         e[i < 2, j < 3] = exp(x[i, j] - m[i])
         s[i < 2] = sum[j < 3] e[i, j]
         y[i < 2, j < 3] = e[i, j] / s[i]
         loss = sum[i < 2, j < 3] y[i, j] * y[i, j]",
        &mut world,
        &[],
        &["x"],
    );
    check_second(&mut program, &mut world, d[0], &["x"]);
}

#[test]
fn layer_norm() {
    let mut world = World::new();
    check_gradient(
        "program norm
         size B batch
         size T example
         input x: real[B, T, 3] per example
         param g: real[3]
         value m: real[B, T]
         value v: real[B, T]
         value y: real[B, T, 3]
         value loss: real
         m[b < B, t < T] = sum[j < 3] x[b, t, j] / 3
         v[b < B, t < T] = sum[j < 3] pow(x[b, t, j] - m[b, t], 2) / 3
         y[b < B, t < T, j < 3] = (x[b, t, j] - m[b, t]) / sqrt(v[b, t] + 0.001) * g[j]
         loss = sum[b < B, t < T, j < 3] y[b, t, j] * y[b, t, j] / number(T)",
        &mut world,
        &[vec![("T", 2)], vec![("T", 1)]],
        &["x", "g"],
    );
}

#[test]
fn embedding() {
    let mut world = World::new();
    ints(&mut world, "tok", &[1.0, 3.0, 1.0, 0.0]);
    let (mut program, d) = check_gradient(
        "program embedding
         param w: real[5, 2]
         input tok: i32[4]
         value y: real[4, 2]
         value loss: real
         y[t < 4, d < 2] = tanh(w[tok[t], d])
         loss = sum[t < 4, d < 2] y[t, d] * y[t, d]",
        &mut world,
        &[],
        &["w"],
    );
    let shown = text::print(&program);
    assert!(shown.contains("d_w[i < 5, d < 2] = sum[t < 4 if i == tok[t]]"), "{shown}");
    check_second(&mut program, &mut world, d[0], &["w"]);
}

const MESSAGES: &str = "program messages
    param h: real[4, 2]
    input src: i32[5]
    input dst: i32[5]
    value m: real[4, 2]
    value n: real[4, 2]
    value loss: real
    m[v < 4, d < 2] = sum[e < 5 if v == dst[e]] tanh(h[src[e], d])
    n[v < 4, d < 2] = tanh(m[v, d])
    loss = sum[v < 4, d < 2] n[v, d] * n[v, d]";

#[test]
fn message_passing() {
    let mut world = World::new();
    ints(&mut world, "src", &[0.0, 1.0, 2.0, 3.0, 1.0]);
    ints(&mut world, "dst", &[1.0, 2.0, 3.0, 0.0, 0.0]);
    let (mut program, d) = check_gradient(MESSAGES, &mut world, &[], &["h"]);
    let shown = text::print(&program);
    // The filtered sum becomes a gather, the gather a filtered sum: nowhere a loop over nodes and edges.
    assert!(shown.contains("d_h[i < 4, d < 2] = sum[e < 5 if i == src[e]] d_m[dst[e], d else 0]"), "{shown}");
    check_second(&mut program, &mut world, d[0], &["h"]);
}

#[test]
fn data_outside_the_range_matches_nothing() {
    let mut world = World::new();
    ints(&mut world, "src", &[0.0, 1.0, 2.0, 3.0, 1.0]);
    ints(&mut world, "dst", &[1.0, -1.0, 3.0, 7.0, 0.0]);
    check_gradient(MESSAGES, &mut world, &[], &["h"]);
}

#[test]
fn segment_max() {
    let mut world = World::new();
    ints(&mut world, "src", &[0.0, 1.0, 2.0, 3.0, 1.0]);
    ints(&mut world, "dst", &[1.0, 2.0, 3.0, 0.0, 0.0]);
    check_gradient(
        "program segments
         param h: real[4, 2]
         input src: i32[5]
         input dst: i32[5]
         value m: real[6, 2]
         value loss: real
         m[v < 6, d < 2] = max[e < 5 if v == dst[e] else 0] h[src[e], d]
         loss = sum[v < 6, d < 2] m[v, d] * m[v, d]",
        &mut world,
        &[],
        &["h"],
    );
}

#[test]
fn slices_and_diagonals() {
    let mut world = World::new();
    let (mut program, d) = check_gradient(
        "program slices
         param x: real[2, 3]
         value z: real[2, 3]
         value y: real[3]
         value loss: real
         z[g < 2, j < 3] = tanh(x[g, j])
         y[j < 3] = z[1, j] * z[0, j]
         loss = sum[j < 3] y[j] * y[j]",
        &mut world,
        &[],
        &["x"],
    );
    assert!(text::print(&program).contains("also d_z[0, j for j < 3]"), "{}", text::print(&program));
    check_second(&mut program, &mut world, d[0], &["x"]);
    let mut world = World::new();
    check_gradient(
        "program diagonal
         param x: real[4, 4]
         param w: real[4, 4]
         value loss: real
         loss = sum[t < 4, k < 2] x[t, t] * x[t, t] * w[t, t + k else 0] * w[3 - t, 1]",
        &mut world,
        &[],
        &["x", "w"],
    );
}

#[test]
fn concat_as_pieces() {
    let mut world = World::new();
    check_gradient(
        "program concat
         param a: real[2]
         param b: real[3]
         value y: real[5]
         value loss: real
         y[i for i < 2] = a[i]
         also y[i + 2 for i < 3] = tanh(b[i])
         loss = sum[i < 5] y[i] * y[i] * y[i]",
        &mut world,
        &[],
        &["a", "b"],
    );
}

#[test]
fn products() {
    let mut world = World::new();
    let (mut program, d) = check_gradient(
        "program product
         param x: real[2, 4]
         value y: real[2]
         value loss: real
         y[i < 2] = prod[j < 4] tanh(x[i, j])
         loss = sum[i < 2] y[i] * y[i]",
        &mut world,
        &[],
        &["x"],
    );
    check_second(&mut program, &mut world, d[0], &["x"]);
    // A factor of 0 leaves the product of the others.
    let mut world = World::new();
    world.set("x", Array::new([2, 3], [0.0, 2.0, 3.0, 0.0, 0.0, 5.0]));
    check_gradient(
        "program product
         param x: real[2, 3]
         value loss: real
         loss = prod[j < 3] x[0, j] + x[1, j]",
        &mut world,
        &[],
        &["x"],
    );
    let mut world = World::new();
    check_gradient(
        "program product
         param x: real[2, 3]
         value loss: real
         loss = prod[i < 2, j < 3 if i + j - 1 >= 0] x[i, j]",
        &mut world,
        &[],
        &["x"],
    );
}

#[test]
fn the_branch_not_taken_is_not_a_product_with_zero() {
    let mut world = World::new();
    world.set("x", Array::new([3], [-0.5, 2.0, -1.0]));
    check_gradient(
        "program branch
         param x: real[3]
         value loss: real
         loss = sum[i < 3] if x[i] > 0 then log(x[i]) * 3 / x[i] else -x[i] * 2",
        &mut world,
        &[],
        &["x"],
    );
}

#[test]
fn freeze_stops() {
    let mut program = support::parse(
        "program frozen
         param x: real[3]
         value loss: real
         loss = sum[i < 3] x[i] * freeze(x[i])",
    );
    let (x, loss) = (program.find("x").expect("x"), program.find("loss").expect("loss"));
    let d = bdl_equations::differentiate(&mut program, loss, &[x]).expect("a gradient")[0];
    let mut world = World::new();
    world.set("x", Array::new([3], [1.0, 2.0, 3.0]));
    assert_eq!(support::run(&program, &world, d).flat(), [1.0, 2.0, 3.0]);
}
