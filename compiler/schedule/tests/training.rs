//! Whole training steps: forward, gradient and update are few launches, and compute what the interpreter says.

mod support;
use bdl_equations as eq;
use support::{batch, compare, launches, parse, plan_of};

/// Adds the gradient of the scalar `loss` by every parameter, and plain gradient descent, by `rate` if the program has one.
fn step(text: &str) -> eq::Program {
    let mut program = parse(text);
    let loss = program.find("loss").unwrap();
    let params: Vec<eq::TensorId> = program.ids().filter(|t| program.get(*t).role == eq::Role::Param).collect();
    let gradients = eq::differentiate(&mut program, loss, &params).unwrap();
    for (param, gradient) in params.iter().zip(gradients) {
        let shape = program.get(*param).shape.clone();
        let mut piece = eq::PieceBuilder::new();
        let axes: Vec<eq::IndexId> = shape.iter().map(|d| piece.free("i", d.clone())).collect();
        let none: [eq::IndexId; 0] = [];
        let rate = program.find("rate").map_or(eq::Expr::Const(0.1), |rate| eq::Expr::read(rate, none));
        let body = eq::Expr::read(*param, axes.iter().copied()) - eq::Expr::read(gradient, axes) * rate;
        let name = format!("{}.new", program.get(*param).name);
        let new = program.define(&name, eq::DType::Real, piece.sum(body), eq::Origin::default());
        program.updates.push((*param, new));
    }
    program.outputs.push(("loss".into(), loss));
    eq::verify(&program).unwrap_or_else(|e| panic!("{e}"));
    program
}

const MLP: &str = "program mlp
    size B batch
    input x: real[B, 12] per example
    input site: i32[B] per example
    param w1: real[12, 16]
    param v1: real[16]
    param w2: real[16, 5]
    param v2: real[5]
    value s1: real[B, 16]
    value h1: real[B, 16]
    value s2: real[B, 5]
    value z: real[B, 5]
    value m: real[B]
    value s: real[B]
    value l: real[B]
    value loss: real
    s1[b < B, f < 16] = sum[c < 12] x[b, c] * w1[c, f]
    h1[b < B, f < 16] = if s1[b, f] + v1[f] > 0 then s1[b, f] + v1[f] else 0
    s2[b < B, f < 5] = sum[c < 16] h1[b, c] * w2[c, f]
    z[b < B, f < 5] = s2[b, f] + v2[f]
    m[b < B] = max[j < 5] z[b, j]
    s[b < B] = sum[j < 5] exp(z[b, j] - m[b])
    l[b < B] = m[b] + log(s[b]) - z[b, site[b]]
    loss = sum[b < B] l[b] / number(B)
";

#[test]
fn an_mlp_step_is_a_few_launches() {
    let program = step(MLP);
    let plan = plan_of(&program);
    let mut numbers = batch(6);
    numbers.below = vec![("site", 5)];
    compare(&program, &plan, &numbers);
    // Two layers (the loss and the gradient of its logits are the second one's epilogue), biases and weights with their updates.
    let (layer, rest) = ("contract+epilogue", "kernel");
    assert_eq!(launches(&plan), [layer, layer, rest, rest, layer, layer, rest, layer]);
}

const CONV: &str = "program conv
    size B batch
    input x: real[B, 20, 4] per example
    input site: i32[B] per example
    param w1: real[5, 4, 8]
    param v1: real[8]
    param w2: real[3, 8, 6]
    param v2: real[6]
    param w3: real[30, 3]
    param v3: real[3]
    value s1: real[B, 20, 8]
    value h1: real[B, 20, 8]
    value p1: real[B, 10, 8]
    value s2: real[B, 10, 6]
    value h2: real[B, 10, 6]
    value p2: real[B, 5, 6]
    value flat: real[B, 30]
    value s3: real[B, 3]
    value z: real[B, 3]
    value m: real[B]
    value s: real[B]
    value l: real[B]
    value loss: real
    s1[b < B, t < 20, f < 8] = sum[k < 5, c < 4] x[b, t + k - 2, c else 0] * w1[k, c, f]
    h1[b < B, t < 20, f < 8] = if s1[b, t, f] + v1[f] > 0 then s1[b, t, f] + v1[f] else 0
    p1[b < B, t < 10, f < 8] = max[k < 2] h1[b, 2 * t + k, f]
    s2[b < B, t < 10, f < 6] = sum[k < 3, c < 8] p1[b, t + k - 1, c else 0] * w2[k, c, f]
    h2[b < B, t < 10, f < 6] = if s2[b, t, f] + v2[f] > 0 then s2[b, t, f] + v2[f] else 0
    p2[b < B, t < 5, f < 6] = max[k < 2] h2[b, 2 * t + k, f]
    view flat = p2
    s3[b < B, f < 3] = sum[c < 30] flat[b, c] * w3[c, f]
    z[b < B, f < 3] = s3[b, f] + v3[f]
    m[b < B] = max[j < 3] z[b, j]
    s[b < B] = sum[j < 3] exp(z[b, j] - m[b])
    l[b < B] = m[b] + log(s[b]) - z[b, site[b]]
    loss = sum[b < B] l[b] / number(B)
";

#[test]
fn a_convolutional_step_is_a_few_launches() {
    let program = step(CONV);
    let plan = plan_of(&program);
    // Forward: convolution, pool, convolution, pool, dense with loss. Backward: every contraction carries what follows it.
    let (layer, rest) = ("contract+epilogue", "kernel");
    let forward = [layer, rest, layer, rest, layer];
    let found = launches(&plan);
    assert_eq!(found[..5], forward);
    assert_eq!(found.iter().filter(|l| **l == layer).count(), 7, "{found:?}");
    assert_eq!(found.len(), 17, "{found:?}");
    let mut numbers = batch(3);
    numbers.below = vec![("site", 3)];
    compare(&program, &plan, &numbers);
}

/// Layers of 16 channels at 40 places, y = tanh(x w + v), the mean of the squares of the last, and a rate that falls.
fn deep(layers: usize) -> String {
    let mut text = "program deep\n size B batch\n input x0: real[B, 40, 16] per example\n state steps: real\n value rate: real\n value loss: real\n".to_string();
    for i in 1..=layers {
        text += &format!(" param w{i}: real[16, 16]\n param v{i}: real[16]\n");
        text += &format!(" value s{i}: real[B, 40, 16]\n value x{i}: real[B, 40, 16]\n");
    }
    for i in 1..=layers {
        let x = format!("x{}", i - 1);
        text += &format!(" s{i}[b < B, t < 40, f < 16] = sum[c < 16] {x}[b, t, c] * w{i}[c, f]\n");
        text += &format!(" x{i}[b < B, t < 40, f < 16] = tanh(s{i}[b, t, f] + v{i}[f])\n");
    }
    let last = format!("x{layers}[b, t, f]");
    text += " rate = exp(-steps)\n";
    text + &format!(" loss = sum[b < B, t < 40, f < 16] {last} * {last} / number(B)\n")
}

#[test]
fn what_a_layer_keeps_goes_when_its_gradient_is_done() {
    let bytes = |plan: &bdl_plan::Plan, examples: i64| {
        let peak = bdl_schedule::peak(plan);
        peak.eval(&|name| (name == "B").then_some(examples)).unwrap()
    };
    for layers in [3, 8] {
        let mut program = step(&deep(layers));
        // As elaborated programs are: what is of an example first, then sums over the batch.
        let of_example = |program: &eq::Program, node: &eq::Node| {
            node.writes().iter().any(|t| program.get(*t).shape.iter().any(|dim| dim.mentions("B")))
        };
        let (mut nodes, sums): (Vec<_>, Vec<_>) =
            std::mem::take(&mut program.nodes).into_iter().partition(|node| of_example(&program, node));
        nodes.extend(sums);
        program.nodes = nodes;
        eq::verify(&program).unwrap_or_else(|e| panic!("{e}"));
        let plan = plan_of(&program);
        compare(&program, &plan, &batch(5));
        // Of an example, in f64: the input, what each layer leaves, two gradients on their way, and sums over its places.
        let example = bytes(&plan, 1000) - bytes(&plan, 999);
        let (tensor, sums) = (40 * 16 * 8, 2 * 16 * 8);
        assert!(example <= (1 + layers as i64 + 2) * tensor + sums, "{layers} layers: {example}");
    }
}
