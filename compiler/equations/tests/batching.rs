//! Batching: many examples at once give what each gives alone.

mod support;

use bdl_equations::interpret::{Value, World, interpret};
use bdl_equations::{Program, batch, text};
use support::{check_valid, fill, parse};

const LENGTHS: [i64; 3] = [4, 1, 3];

/// Runs the program on each example alone and all of them batched, and compares every per-example tensor.
fn check_alone_and_together(source: &str) -> Program {
    let program = parse(source);
    check_valid(&program);
    let batched = batch(&program);
    check_valid(&batched);
    assert_eq!(batch(&batched), batched, "batching twice changes nothing");
    let sizes: Vec<Vec<(&str, i64)>> = LENGTHS.iter().map(|n| vec![("T", *n)]).collect();
    let mut together = World::new();
    fill(&batched, &mut together, &sizes, 11);
    let all = interpret(&batched, &together).unwrap_or_else(|e| panic!("{e}\n{}", text::print(&batched)));
    for (e, own) in sizes.iter().enumerate() {
        let mut alone = World::new();
        for id in program.ids() {
            let name = &program.get(id).name;
            if let Some(value) = together.get(name) {
                let array =
                    if batched.is_per_example(id) { value.examples()[e].clone() } else { value.examples()[0].clone() };
                alone.set(name, array);
            }
        }
        alone.examples(vec![own.clone()]);
        let one = interpret(&program, &alone).unwrap_or_else(|e| panic!("{e}\n{}", text::print(&program)));
        // What lives inside a loop holds whatever its last step left.
        for id in program.nodes.iter().flat_map(bdl_equations::Node::writes) {
            let (Some(Value::Shared(found)), Some(expected)) = (one.tensor(id), all.tensor(id)) else { continue };
            if batched.is_per_example(id) {
                assert_eq!(found, &expected.examples()[e], "`{}` of example {e}", program.get(id).name);
            }
        }
    }
    batched
}

#[test]
fn dense_and_mean() {
    let batched = check_alone_and_together(
        "program ragged
         size T example
         input x: real[T, 2] per example
         param w: real[2, 3]
         param v: real[3]
         value w2: real[2, 3]
         value h: real[T, 3]
         value m: real[3]
         value r: real[T]
         w2[c < 2, f < 3] = w[c, f] * 2
         h[t < T, f < 3] = sum[c < 2] x[t, c] * w2[c, f] + v[f] / 2
         m[f < 3] = sum[t < T] h[t, f] / number(T)
         r[t < T] = x[T - 1 - t, 0]
         output m = m",
    );
    let shown = text::print(&batched);
    assert!(shown.contains("h[b < B, t < T, f < 3] = sum[c < 2] x[b, t, c] * w2[c, f] + v[f] / 2"), "{shown}");
    // What no example reaches stays shared.
    assert!(shown.contains("value w2: real[2, 3]"), "{shown}");
}

#[test]
fn loops_over_lengths() {
    let batched = check_alone_and_together(
        "program ragged
         size T example
         size t step
         input x: real[T, 2] per example
         param h0: real[2]
         param u: real[2, 2]
         value h: real[2]
         value h1: real[2]
         value last: real[2]
         value hs: real[T, 2]
         scan t < T {
           carry h from h0 next h1 last last
           h1[j < 2] = sum[i < 2] tanh(h[i] * u[i, j]) + x[t, j]
           stack h1 as hs
         }
         output last = last",
    );
    // The shared start value is spread over the examples.
    assert!(text::print(&batched).contains("h0_2[b < B, i < 2] = h0[i]"), "{}", text::print(&batched));
}

#[test]
fn reductions_over_the_batch() {
    let program = parse(
        "program statistics
         size B batch
         size T example
         input x: real[T, 2] per example
         input time: real per example
         value count: real
         value mean: real[2]
         value centred: real[T, 2]
         value risk: real
         value above: real
         count = sum[o < B, t < T of o] 1
         mean[c < 2] = sum[o < B, t < T of o] x@o[t, c] / count
         centred[t < T, c < 2] = x[t, c] - mean[c]
         risk = sum[t < T] centred[t, 0]
         above = sum[o < B if holds(time@o >= time)] exp(risk@o)
         output above = above",
    );
    let batched = batch(&program);
    check_valid(&batched);
    let shown = text::print(&batched);
    assert!(shown.contains("mean[c < 2] = sum[o < B, t < T of o] x[o, t, c] / count"), "{shown}");
    assert!(shown.contains("above[b < B] = sum[o < B if holds(time[o] >= time[b])] exp(risk[o])"), "{shown}");
    let sizes: Vec<Vec<(&str, i64)>> = LENGTHS.iter().map(|n| vec![("T", *n)]).collect();
    let mut world = World::new();
    fill(&batched, &mut world, &sizes, 5);
    let values = interpret(&batched, &world).unwrap_or_else(|e| panic!("{e}\n{shown}"));
    let centred = values.named(&batched, "centred").expect("centred").flat();
    let sum: f64 = centred.iter().step_by(2).sum();
    assert!(sum.abs() < 1e-12, "{sum}");
    assert_eq!(values.named(&batched, "count").and_then(Value::scalar), Some(8.0));
}

#[test]
fn gradients_across_the_batch() {
    // A partial likelihood: every example's value depends on the others.
    let source = "program cox
        size B batch
        size T example
        input x: real[T, 2] per example
        input time: real per example
        param w: real[2]
        value mean: real[2]
        value risk: real
        value above: real
        value loss: real
        mean[c < 2] = sum[o < B, t < T of o] x@o[t, c] / number(B)
        risk = sum[t < T, c < 2] (x[t, c] - mean[c]) * w[c] / number(T)
        above = sum[o < B if holds(time@o >= time)] exp(risk@o)
        loss = sum[o < B] risk@o - log(above@o)
        output loss = loss";
    let mut program = batch(&parse(source));
    check_valid(&program);
    let sizes: Vec<Vec<(&str, i64)>> = LENGTHS.iter().map(|n| vec![("T", *n)]).collect();
    let mut world = World::new();
    fill(&program, &mut world, &sizes, 5);
    support::check_gradient_of(&mut program, &mut world, "loss", &["x", "w"], 1e-7);
}
