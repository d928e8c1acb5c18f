//! Other examples with lengths of their own: first and second derivatives of what reads them, against central differences; machine code on
//! one and on several threads (the same bits), and PTX, against the interpreter.
//!
//! A case is the body of `fn M(x: f32[T, 2], q: f32[2]) -> f32`. The loss is the sum of the squares of its values; its gradient by x and q is
//! compared with differences, and so is the gradient of the sum of that one's squares.

mod support;

use bdl_equations::interpret::World;
use bdl_equations::{Affine, DType, Expr, Origin, PieceBuilder, Program, TensorId, batch, differentiate, verify};
use std::collections::BTreeMap;
use support::{Given, Numbers, checked, machine, run};

const LENGTHS: [usize; 4] = [3, 1, 4, 2];

/// `(name, body)`.
const CASES: &[(&str, &str)] = &[
    ("sum of sums", "sum[other in batch] sum[s, c] sin(other.x[s, c])"),
    ("pooled", "logsumexp[other in batch] (sum[c] q[c] * (mean[s] other.x[s, c]))"),
    ("pairs of positions", "sum[other in batch, s, t] sin(x[t, 0] * other.x[s, 1])"),
    ("mean over pairs", "mean[other in batch, s, t] tanh(x[t, 0] + other.x[s, 1] * q[0])"),
    ("within each other", "sum[other in batch] logsumexp[s] (q[0] * other.x[s, 0] + q[1] * other.x[s, 1])"),
    ("largest within each", "logsumexp[other in batch] (max[s] q[0] * other.x[s, 0])"),
    ("largest of all", "max[other in batch, s] (x[0, 0] * other.x[s, 1])"),
    ("guarded", "sum[t < T, other in batch] x[t, 0] * sin(other.x[t + 1 else 0, 1])"),
    ("clamped", "sum[t < T, other in batch] x[t, 0] * sin(other.x[clamp(t), 1])"),
    ("reversed", "sum[t < T, other in batch, s] x[t, 0] * other.x[other.T - 1 - s, 1] * exp(-abs(s - t) / other.T)"),
    (
        "last",
        "let end = sum[c] x[last, c] * q[c]
sum[other in batch] end * sin(other.end) * other.x[last, 0]",
    ),
    ("longer ones", "sum[other in batch if other.T >= T] (mean[s] other.x[s, 0]) * x[0, 1]"),
    ("filtered by both", "sum[other in batch] sum[s if other.x[s, 0] > x[0, 0]] other.x[s, 1] * q[0]"),
    ("a product", "sum[other in batch] (prod[s] cos(other.x[s, 0] * q[0]))"),
    ("a function", "sum[other in batch] pooled(other.x, q) * pooled(x, q)"),
    ("a function of both", "sum[other in batch] met(other.x, x)"),
    ("a product of both, largest", "sum[other in batch] (max[s] (sum[c] q[c] * other.x[s, c]))"),
    ("attention", "sum[other in batch] attended(other.x, q)"),
    (
        "attention of ends",
        "let end = x[last, 0]
sum[other in batch] {
  let a[s] = exp(end * x[T - 1, 1] * other.x[s, 0] * other.T / T)
  let r[s] = sum[c] a[s] * q[c] * other.x[other.T - 1 - s, c]
  (sum[s] r[s] * other.x[s, 1]) / (sum[s] a[s])
}",
    ),
    ("running sums", "sum[other in batch] sum[s] cumsum(for i: other.x[i, 0] * q[0])[s] * other.x[s, 1]"),
    (
        "attention in a loop",
        "let s = scan t in T from (h = q) {
  next h = for c: tanh(h[c] / 2 + x[t, c] * (mean[other in batch] attended(other.x, h)))
}
s.h[0] * s.h[1]",
    ),
    ("sums of sums", "sum[other in batch] (sum[t, s] (sum[c] sin(x[t, c] * other.x[s, c])))"),
    (
        "filtered sums of sums",
        "sum[other in batch] sum[t] sum[s if other.x[s, 0] > x[t, 0]] sum[c] x[t, c] * other.x[s, c]",
    ),
    ("a list of both", "sum[other in batch] sum[k] [x[0, 0], other.q[0], other.x[0, 1]][k] * sin(k * q[1])"),
    ("both joined", "sum[other in batch] sum[k] square(concat(q, other.q)[k]) * sin(k * x[0, 1])"),
    ("joined behind its own", "sum[other in batch] sum[k] square(concat(for t: x[t, 0], other.q)[k]) * sin(k * q[1])"),
    (
        "an iteration under for",
        "let y = for t < T: {
  let s = iterate from (h = x[t, 0] * q[0], k = 0) until k > 1 + t at most 5 { next h = sin(h) + x[t, 1] / 3
    next k = k + 1 }
  s.h
}
sum[t] y[t] * x[t, 0]",
    ),
    (
        "a gradient at each position",
        "let g = for t < T: {
  let xt = x[t]
  grad(sin(sum[c] q[c] * xt[c] * xt[c]) * exp(xt[0] * x[t - 1 else 0, 1]), xt)
}
sum[t, c] g[t, c] * (c + 1) * sin(x[t, 1])",
    ),
    (
        "optional values in a loop",
        "let s = scan t in T from (h = if x[0, 0] > 0.5 then q[0] else missing) {
  next h = if x[t, 0] > 0 then x[t, 1] * q[1] + (h else q[0]) else h
  emit if x[t, 1] > 0 then sin((next h else 0.3) * x[t, 0]) else missing
}
sum[t < T if known(s[t])] square(s[t] else 0)",
    ),
    ("two others", "sum[a in batch, b in batch] (mean[s] a.x[s, 0]) * (sum[u] sin(b.x[u, 1])) * q[0]"),
    (
        "others of others",
        "sum[a in batch] (max[s] a.x[s, 0]) * (sum[b in batch] sum[u] (for i: sin(b.x[i, 1] * q[1]))[u] * a.q[0])",
    ),
    ("the first of each", "sum[other in batch] other.x[0, 0] * x[0, 1]"),
    ("a range", "sum[other in batch] sum[s] (sum[c] other.x[0..other.T - 0, c][s] * sin(q[c] * s))"),
    ("windows", "sum[other in batch] sum[s < other.T] tanh(sum[k < 3, c] other.x[s + k - 1 else 0, c] * q[c])"),
    ("wrapped", "sum[t < T, other in batch] x[t, 0] * other.x[mod(t + 1), 1]"),
    ("nearest", "sum[t < T] log(1 + (sum[other in batch, s] exp(-square(x[t, 0] - other.x[s, 0]))))"),
    ("chosen by data", "sum[other in batch] (let_best(other.x)) * x[0, 0]"),
    (
        "a loop",
        "let h = last_of(x)
sum[other in batch] h * last_of(other.x)",
    ),
    ("sorted", "sum[other in batch] sum[s] sort(for i: other.x[i, 0])[s] * sin(s * q[0])"),
    ("joined", "sum[other in batch] sum[s] concat(for i: other.x[i, 0], for i: other.x[i, 1])[s] * sin(s * q[0])"),
    (
        "inside of a loop",
        "let s = scan t in T from (h = 0) {
  next h = tanh(h + x[t, 0] * (mean[other in batch] sin(other.x[t else 0, 1] * q[0])))
}
s.h",
    ),
    (
        "others in a loop",
        "let s = scan t in T from (h = 0) {
  next h = tanh(h + x[t, 0] * (sum[other in batch] sin(other.q[0] + q[1])))
}
s.h",
    ),
    (
        "the batch in a loop",
        "let s = scan t in T from (h = 0) {
  next h = tanh(h + x[t, 0] * (mean[batch] sin(q[0] * q[1])))
}
s.h",
    ),
    (
        "what is guarded of the batch in a loop",
        "let s = scan t in T from (h = 0) {
  next h = tanh(h + x[t, 0] * (mean[batch] sin(q[0] * x[t + 1 else 0, 0])))
}
s.h",
    ),
    (
        "a window of the batch in a loop",
        "let s = scan t in T from (h = 0) {
  next h = tanh(h + x[t, 0] * (mean[batch, k < 3] sin(q[0] * k + x[t + k - 1 else 0.5, 1])))
}
s.h",
    ),
    (
        "the ends of the batch in a loop",
        "let s = scan t in T reversed from (h = 0) {
  next h = tanh(h + x[t, 0] * (mean[batch] sin(q[0] + x[T - t - 2 else 0, 1])))
}
s.h",
    ),
    (
        "a length of another in a loop",
        "let s = scan t in T from (h = 0) {
  next h = tanh(h + x[t, 0] * (sum[other in batch] (mean[s] other.x[s, 1] * q[0])))
}
s.h",
    ),
];

const FUNCTIONS: &str = "
fn pooled(x: f32[T, 2], q: f32[2]) -> f32 where T >= 1 else \"nothing is pooled\" {
  let a[t] = sum[c] x[t, c] * q[c]
  let e[t] = exp(a[t] - max[s] a[s])
  (sum[t] e[t] * x[t, 0]) / (sum[t] e[t])
}
fn attended(x: f32[T, 2], q: f32[2]) -> f32 where T >= 1 else \"nothing is read\" {
  let a[t] = sum[c] x[t, c] * q[c]
  let p = softmax(a)
  sum[t] p[t] * x[t, 1]
}
fn let_best(x: f32[T, 2]) -> f32 where T >= 1 else \"nothing\" { x[argmax[t] x[t, 0], 1] }
fn met(a: f32[S, 2], b: f32[T, 2]) -> f32 { sum[s, t] sin(a[s, 0] * b[t, 1]) / (1 + S) }
fn last_of(x: f32[T, 2]) -> f32 {
  let s = scan t in T from (h = 0) { next h = tanh(h + x[t, 0] * x[t, 1]) }
  s.h
}
";

fn forward(body: &str) -> Program {
    let text =
        format!("{FUNCTIONS}\nfn M(x: f32[T, 2], q: f32[2]) -> f32 where T >= 1 else \"nothing\" {{\n{body}\n}}\n");
    let mut hir = checked("case.bdl", &text, &["M"], &[]).unwrap_or_else(|messages| panic!("{messages}"));
    hir.sizes.retain(|(name, _)| &**name != "T");
    hir.sizes.push(("T".into(), bdl_check::hir::SizeKind::PerExample));
    let made = bdl_elaborate::differentiable_entry(&hir, &hir.entries[0], false);
    batch(&made.unwrap_or_else(|d| panic!("{}: {}", d.code, d.message)))
}

fn given(program: &Program) -> Given {
    let mut seed = 7u64;
    let mut number = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
    };
    let mut numbers = |shape: &[usize]| {
        let values = (0..shape.iter().product::<usize>()).map(|_| number()).collect();
        Numbers { shape: shape.to_vec(), values }
    };
    let example =
        |length: usize| BTreeMap::from([("x".to_string(), numbers(&[length, 2])), ("q".to_string(), numbers(&[2]))]);
    let examples: Vec<_> = LENGTHS.into_iter().map(example).collect();
    Given::each(program, &examples, &BTreeMap::new()).unwrap()
}

/// The sum of the squares of all elements of these tensors, as a new tensor.
fn squares(program: &mut Program, name: &str, of: &[TensorId]) -> TensorId {
    let mut parts = Vec::new();
    for (at, tensor) in of.iter().enumerate() {
        let shape = program.get(*tensor).shape.clone();
        let mut piece = PieceBuilder::new();
        let axes: Vec<Affine> = shape.iter().map(|d| piece.bound("z", d.clone()).into()).collect();
        let piece = piece.sum(Expr::read(*tensor, axes).squared());
        parts.push(program.define(&format!("{name}.{at}"), DType::Real, piece, Origin::default()));
    }
    let none = Vec::<bdl_equations::Sub>::new;
    let sum = parts.into_iter().fold(Expr::Const(0.0), |sum, part| sum + Expr::read(part, none()));
    program.define(name, DType::Real, PieceBuilder::new().sum(sum), Origin::default())
}

fn value(program: &Program, world: &World, of: TensorId) -> Vec<f64> {
    run(program, world).tensor(of).unwrap().flat()
}

/// The slope of `loss` by each element of an input.
fn differences(program: &Program, given: &Given, loss: TensorId, by: &str) -> Vec<f64> {
    let mut slopes = Vec::new();
    let step = 1e-5;
    for example in 0..LENGTHS.len() {
        for at in 0..given.values[by].examples()[example].data.len() {
            let at_distance = |distance: f64| {
                let mut moved = given.clone();
                let values = moved.values.get_mut(by).unwrap();
                values.examples_mut()[example].data[at] += distance;
                value(program, &moved.world(), loss)[0]
            };
            slopes.push((at_distance(step) - at_distance(-step)) / (2.0 * step));
        }
    }
    slopes
}

fn agree(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) -> Result<(), String> {
    let scale = wanted.iter().fold(1e-2f64, |m, x| m.max(x.abs()));
    let worst = found
        .iter()
        .zip(wanted)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |m, d| if d.is_nan() { d } else { f64::max(m, d) });
    match found.len() == wanted.len() && worst / scale < tolerance {
        true => Ok(()),
        false => Err(format!("{what}: off by {:e}\n  found  {found:?}\n  wanted {wanted:?}", worst / scale)),
    }
}

fn test(body: &str) -> Result<(), String> {
    let mut program = forward(body);
    let given = given(&program);
    let world = given.world();
    let (_, y) = program.outputs[0].clone();
    let wrt: Vec<(&str, TensorId)> =
        ["x", "q"].into_iter().filter_map(|name| program.find(name).map(|id| (name, id))).collect();
    let ids: Vec<TensorId> = wrt.iter().map(|(_, id)| *id).collect();
    let loss = squares(&mut program, "loss", &[y]);

    let plain = program.clone();
    let first = differentiate(&mut program, loss, &ids).map_err(|e| e.to_string())?;
    verify(&program).map_err(|e| format!("{e}\n{}", bdl_equations::text::print(&program)))?;
    for ((name, _), gradient) in wrt.iter().zip(&first) {
        let wanted = differences(&plain, &given, loss, name);
        agree(&format!("gradient by {name}"), &value(&program, &world, *gradient), &wanted, 1e-7)?;
    }

    let penalty = squares(&mut program, "penalty", &first);
    let plain = program.clone();
    let second = differentiate(&mut program, penalty, &ids).map_err(|e| e.to_string())?;
    verify(&program).map_err(|e| format!("{e}\n{}", bdl_equations::text::print(&program)))?;
    for ((name, _), gradient) in wrt.iter().zip(&second) {
        let wanted = differences(&plain, &given, penalty, name);
        agree(&format!("second derivative by {name}"), &value(&program, &world, *gradient), &wanted, 1e-6)?;
    }

    for (at, gradient) in first.iter().chain(&second).enumerate() {
        program.outputs.push((format!("gradient{at}").into(), *gradient));
    }
    let oracle = run(&program, &world);
    bdl_equations::simplify(&mut program);
    verify(&program).map_err(|e| format!("simplified: {e}\n{}", bdl_equations::text::print(&program)))?;
    let bits = |value: &bdl_equations::interpret::Value| value.flat().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let (one, several) = (machine::run_on_threads(&program, &given, 1)?, machine::run_on_threads(&program, &given, 3)?);
    let (ptx, again) = (machine::run_ptx(&program, &given, 0)?, machine::run_ptx(&program, &given, 7)?);
    for (name, _) in &program.outputs {
        let name = &**name;
        let wanted = oracle.output(name).ok_or("no output")?.flat();
        agree(&format!("compiled {name}"), &one[name].flat(), &wanted, 1e-11)?;
        agree(&format!("PTX's {name}"), &ptx[name].flat(), &wanted, 2e-4)?;
        if bits(&one[name]) != bits(&several[name]) || bits(&ptx[name]) != bits(&again[name]) {
            return Err(format!("{name} depends on the number or the order of threads"));
        }
    }
    Ok(())
}

#[test]
fn what_reads_others_has_them_through_a_driver() {
    machine::through_the_driver("what_reads_others_has_its_values_and_derivatives");
}

#[test]
fn what_reads_others_has_its_values_and_derivatives() {
    let only = std::env::var("CASE").ok();
    let mut failed = Vec::new();
    for (name, body) in CASES.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| name.contains(only))) {
        match std::panic::catch_unwind(|| test(body)) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => failed.push(format!("## {name}\n{why}")),
            Err(_) => failed.push(format!("## {name}\npanicked, see above")),
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}
