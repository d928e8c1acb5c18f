//! Scans, iterations, views and draws: values, batching and gradients.

mod support;

use bdl_equations::interpret::{Array, DrawAt, DrawSource, Value, World, interpret};
use bdl_equations::{batch, text};
use support::{check_gradient, check_second, check_valid, parse};

/// A plain recurrent layer over sequences of different lengths, with emitted and last values.
const RECURRENT: &str = "program recurrent
    size B batch
    size T example
    size t step
    input x: real[B, T, 2] per example
    param w: real[2, 3]
    param u: real[3, 3]
    param h0: real[B, 3]
    value h: real[B, 3]
    value z: real[B, 3]
    value h1: real[B, 3]
    value last: real[B, 3]
    value hs: real[B, T, 3]
    value loss: real
    scan t < T {DIRECTION {
      carry h from h0 next h1 last last
      z[b < B, j < 3] = sum[i < 3] h[b, i] * u[i, j]
      h1[b < B, j < 3] = tanh(z[b, j] + x[b, t, 0] * w[0, j] + x[b, t, 1] * w[1, j])
      stack h1 as hs
    }
    loss = sum[b < B, j < 3, s < T] hs[b, s, j] * last[b, j] * hs[b, s, j]";

#[test]
fn recurrent_networks() {
    for direction in ["", "reversed "] {
        let source = RECURRENT.replace("{DIRECTION ", direction);
        let mut world = World::new();
        let (mut program, d) = check_gradient(
            &source,
            &mut world,
            &[vec![("T", 3)], vec![("T", 1)], vec![("T", 4)]],
            &["x", "w", "u", "h0"],
        );
        let shown = text::print(&program);
        // The weight gradient is one contraction over all steps, after the loop.
        assert!(shown.contains("d_u[i < 3, j < 3] = sum[b < B, t < T] "), "{shown}");
        check_second(&mut program, &mut world, d[0], &["u", "x"]);
    }
}

/// Gates in one tensor, as an LSTM has them.
#[test]
fn long_short_term_memory() {
    let mut world = World::new();
    check_gradient(
        "program lstm
         size t step
         param x: real[4, 2]
         param w: real[2, 4, 3]
         param u: real[3, 4, 3]
         param b: real[4, 3]
         value xw: real[4, 4, 3]
         value h0: real[3]
         value c0: real[3]
         value h: real[3]
         value c: real[3]
         value z: real[4, 3]
         value c1: real[3]
         value h1: real[3]
         value hn: real[3]
         value cn: real[3]
         value hs: real[4, 3]
         value loss: real
         xw[t1 < 4, g < 4, j < 3] = sum[i < 2] x[t1, i] * w[i, g, j]
         h0[j < 3] = 0
         c0[j < 3] = 0
         scan t < 4 {
           carry h from h0 next h1 last hn
           carry c from c0 next c1 last cn
           z[g < 4, j < 3] = sum[i < 3] xw[t, g, j] / 3 + b[g, j] / 3 + h[i] * u[i, g, j]
           c1[j < 3] = sigmoid(z[1, j]) * c[j] + sigmoid(z[0, j]) * tanh(z[2, j])
           h1[j < 3] = sigmoid(z[3, j]) * tanh(c1[j])
           stack h1 as hs
         }
         loss = sum[t1 < 4, j < 3] hs[t1, j] * hs[t1, j] * (1 + cn[j])",
        &mut world,
        &[],
        &["x", "w", "u", "b"],
    );
}

#[test]
fn loops_in_loops() {
    let mut world = World::new();
    let (mut program, d) = check_gradient(
        "program nested
         size s step
         size t step
         param x: real[3, 4, 2]
         param w: real[2, 2]
         param a0: real[2]
         value a: real[2]
         value b: real[2]
         value b1: real[2]
         value bn: real[2]
         value a1: real[2]
         value an: real[2]
         value loss: real
         scan s < 3 {
           carry a from a0 next a1 last an
           scan t < 4 reversed {
             carry b from a next b1 last bn
             b1[j < 2] = sum[i < 2] sin(b[i] * w[i, j]) + x[s, t, j]
           }
           a1[j < 2] = bn[j] * a[j] + w[0, j]
         }
         loss = sum[j < 2] an[j] * an[j]",
        &mut world,
        &[],
        &["x", "w", "a0"],
    );
    check_second(&mut program, &mut world, d[2], &["w"]);
}

/// A statistic of the examples that still run, scaled by what all share, between steps of sequences of different length.
#[test]
fn shared_values_in_a_loop_of_the_examples_own_length() {
    let source = "program normed
        size B batch
        size T example
        size t step
        input x: real[B, T, 2] per example
        param w: real[2, 2]
        param g: real[2]
        param h0: real[B, 2]
        value h: real[B, 2]
        value n: real
        value g2: real[1, 2]
        value m: real[2]
        value v: real[2]
        value s: real[2]
        value z: real[B, 2]
        value h1: real[B, 2]
        value last: real[B, 2]
        value hs: real[B, T, 2]
        value loss: real
        scan t < T {
          carry h from h0 next h1 last last
          n = sum[b < B] 1
          view g2 = g
          m[j < 2] = sum[b < B] (h[b, j] * g2[0, j] + x[b, t, j] * x[b, t, 1 - j]) / n
          v[j < 2] = sum[b < B] (h[b, j] - m[j]) * (h[b, j] - m[j]) / n
          s[j < 2] = g[j] / sqrt(v[j] + 0.1)
          z[b < B, j < 2] = sum[i < 2] h[b, i] * s[i] * w[i, j]
          h1[b < B, j < 2] = tanh(z[b, j] - m[j] + x[b, t, j])
          stack h1 as hs
        }
        loss = sum[b < B, j < 2, r < T] hs[b, r, j] * last[b, j] * hs[b, r, j]";
    for direction in ["{", "reversed {"] {
        let source = source.replace("scan t < T {", &format!("scan t < T {direction}"));
        let mut world = World::new();
        let lengths = [vec![("T", 3)], vec![("T", 1)], vec![("T", 4)], vec![("T", 0)]];
        let (mut program, d) = check_gradient(&source, &mut world, &lengths, &["x", "w", "g", "h0"]);
        check_second(&mut program, &mut world, d[2], &["g", "w", "h0"]);
    }
}

/// Ranges and subscripts that depend on the step, a carried value that is only passed on, a view of a weight.
#[test]
fn steps_in_ranges_and_views() {
    let mut world = World::new();
    check_gradient(
        "program steps
         size t step
         param x: real[5]
         param w: real[6]
         param p0: real
         value w2: real[2, 3]
         value p: real
         value q: real
         value q1: real
         value pn: real
         value qn: real
         value qs: real[5]
         value loss: real
         scan t < 5 {
           carry p from p0 next q last pn
           carry q from p0 next q1 last qn
           view w2 = w
           q1 = sum[s < t + 1, i < 2, k < 3] x[s] * x[4 - t] * w2[i, k] * p * number(t + i) / 20 + q / 9
           stack q1 as qs
         }
         loss = sum[t1 < 5] qs[t1] * (qn + pn)",
        &mut world,
        &[],
        &["x", "w", "p0"],
    );
}

#[test]
fn zero_steps_give_the_start() {
    let source = RECURRENT.replace("{DIRECTION ", "");
    let mut program = parse(&source);
    let mut world = World::new();
    support::fill(&program, &mut world, &[vec![("T", 0)], vec![("T", 2)]], 3);
    let last = program.find("last").expect("last");
    let value = support::run(&program, &world, last);
    assert_eq!(value.examples()[0], world.get("h0").expect("h0").examples()[0]);
    support::check_gradient_of(&mut program, &mut world, "loss", &["u", "h0"], 1e-7);
}

/// Newton's method for the square root: examples stop at different steps.
#[test]
fn iterations() {
    let source = "program newton
        size B batch
        size n step
        input a: real[B] per example
        value x0: real[B]
        value x: real[B]
        value done: bool[B]
        value x1: real[B]
        value root: real[B]
        value loss: real
        x0[b < B] = a[b]
        iterate n < 12 until done {
          carry x from x0 next x1 last root
          condition {
            done[b < B] = abs(x[b] * x[b] - a[b]) < 0.00001
          }
          x1[b < B] = (x[b] + a[b] / x[b]) / 2
        }
        loss = sum[b < B] root[b] * root[b] * root[b]";
    let mut world = World::new();
    world.set("a", Value::PerExample([4.0, 9.0, 2.0].map(Array::scalar).to_vec()));
    let (mut program, d) = check_gradient(source, &mut world, &[vec![], vec![], vec![]], &["a"]);
    check_second(&mut program, &mut world, d[0], &["a"]);
    let root = support::run(&program, &world, program.find("root").expect("root")).flat();
    assert!((root[1] - 3.0).abs() < 1e-5 && (root[2] - 2f64.sqrt()).abs() < 1e-5, "{root:?}");
}

/// A mean over the examples that still run, in the body and in the condition, which would not go on holding: an example that has stopped rests
/// and takes no part, in the loop that is differentiated too.
#[test]
fn iterations_with_a_statistic_of_those_that_run() {
    let source = "program thinning
        size B batch
        size n step
        input a: real[B] per example
        param w: real
        value x0: real[B]
        value x: real[B]
        value many: real
        value mean: real
        value done: bool[B]
        value running: real
        value m: real
        value x1: real[B]
        value end: real[B]
        value loss: real
        x0[b < B] = a[b]
        iterate n < 6 until done {
          carry x from x0 next x1 last end
          condition {
            many = sum[b < B] 1
            mean = sum[b < B] x[b] / many
            done[b < B] = x[b] > mean + 0.5
          }
          running = sum[b < B] 1
          m = sum[b < B] x[b] * x[b] / running
          x1[b < B] = x[b] * w + sin(m) / running
        }
        loss = sum[b < B] end[b] * end[b]";
    let mut world = World::new();
    world.set("a", Value::PerExample([2.0, 1.4, 0.3, 0.2].map(Array::scalar).to_vec()));
    world.set("w", Array::scalar(0.9));
    let (mut program, d) = check_gradient(source, &mut world, &[vec![], vec![], vec![], vec![]], &["a", "w"]);
    check_second(&mut program, &mut world, d[1], &["a", "w"]);
    // The loop that is differentiated is no `iterate` any more, and its values are the same.
    let before = support::run(&parse(source), &world, program.find("end").expect("end")).flat();
    let after = support::run(&program, &world, program.find("end").expect("end")).flat();
    assert_eq!(before, after);
    assert_eq!(before[0], 2.0, "far above the mean of all at once");
    assert!(before[1] != 1.4 && before[3] != 0.2, "{before:?}");
}

/// The loop and its adjoint make the steps of the example that needs most and no more, alone and inside another loop.
#[test]
fn iterations_end_with_their_last_example() {
    let source = "program decay
        size B batch
        size n step
        size t step
        input a: real[B] per example
        param w: real[2]
        value y0: real[B]
        value y: real[B]
        value x: real[B]
        value done: bool[B]
        value x1: real[B]
        value end: real[B]
        value y1: real[B]
        value last: real[B]
        value loss: real
        y0[b < B] = a[b]
        scan t < 3 {
          carry y from y0 next y1 last last
          iterate n < 40 until done {
            carry x from y next x1 last end
            condition {
              done[b < B] = x[b] < number(t + 1) / 10
            }
            x1[b < B] = x[b] * w[0] / 2 + w[1] / 100
          }
          y1[b < B] = end[b] * 3 * tanh(w[1])
        }
        loss = sum[b < B] last[b] * last[b]";
    let mut world = World::new();
    world.set("a", Value::PerExample([1.7, 0.04, 0.45].map(Array::scalar).to_vec()));
    world.set("w", Array::new([2], [0.9, 0.8]));
    let (mut program, d) = check_gradient(source, &mut world, &[vec![], vec![], vec![]], &["a", "w"]);
    check_second(&mut program, &mut world, d[1], &["a", "w"]);
    let shown = text::print(&program);
    assert!(shown.contains("scan n < 40 ends when") && shown.contains("scan n < 40 reversed ends after"), "{shown}");
    // 1.7 is below 0.1 after 4 steps, whatever `at most` is.
    for at_most in [7, 40, 100_000] {
        let source = source.replace("n < 40", &format!("n < {at_most}")).replace("t < 3", "t < 1");
        let mut program = parse(&source);
        let ids: Vec<_> = ["loss", "w"].iter().filter_map(|n| program.find(n)).collect();
        bdl_equations::differentiate(&mut program, ids[0], &ids[1..]).expect("a gradient");
        let scan = program
            .nodes
            .iter()
            .flat_map(|node| node.inner())
            .find_map(|node| if let bdl_equations::Node::Scan(scan) = node { scan.ends } else { None });
        let Some(bdl_equations::Ends::When { steps, .. }) = scan else { panic!("{}", text::print(&program)) };
        // A number of the body, out of it as a stack.
        let outside = program.computed("counts", bdl_equations::DType::I32, [1.into()]);
        for node in &mut program.nodes {
            if let bdl_equations::Node::Scan(outer) = node
                && !outer.reversed
            {
                outer.stacks.push((steps, outside));
            }
        }
        assert_eq!(support::run(&program, &world, outside).flat(), [4.0]);
    }
}

#[test]
fn views_and_sorts() {
    let mut world = World::new();
    check_gradient(
        "program views
         param x: real[2, 6]
         value m: real[3, 4]
         value order: i32[3, 4]
         value y: real[3, 4]
         value loss: real
         view m = x
         sort order = m descending
         y[i < 3, r < 4] = m[i, order[i, r]]
         loss = sum[i < 3, r < 2] y[i, r] * y[i, r] * number(r + 1)",
        &mut world,
        &[],
        &["x"],
    );
}

/// Simplified programs with loops, before and after differentiation, have the same values.
#[test]
fn simplification_keeps_loops() {
    for direction in ["", "reversed "] {
        let source = RECURRENT
            .replace("{DIRECTION ", direction)
            .replace("z[b < B, j < 3] = sum[i < 3] h[b, i] * u[i, j]", "value: z");
        // The input's product is inside the loop, for `hoist` to take out, and a root is the same at every step.
        let source = source
            .replace("value h1: real[B, 3]", "value h1: real[B, 3]\nvalue xw: real[B, 3]\nvalue u2: real[3, 3]")
            .replace(
                "value: z",
                "u2[i < 3, j < 3] = sqrt(u[i, j] * u[i, j] + 0.1)
               xw[b < B, j < 3] = sum[c < 2] x[b, t, c] * w[c, j]
               z[b < B, j < 3] = sum[i < 3] h[b, i] * u2[i, j] + xw[b, j]",
            );
        let mut program = parse(&source);
        check_valid(&program);
        let mut world = World::new();
        support::fill(&program, &mut world, &[vec![("T", 3)], vec![("T", 0)], vec![("T", 2)]], 8);
        let ids: Vec<_> = ["x", "w", "u", "h0", "loss"].iter().filter_map(|n| program.find(n)).collect();
        let mut early = program.clone();
        bdl_equations::simplify::rounds(&mut early);
        assert!(text::print(&early).contains("xw_steps[b < B, t < T, j < 3] = sum[c < 2]"), "{}", text::print(&early));
        for program in [&mut program, &mut early] {
            let found = bdl_equations::differentiate(program, ids[4], &ids[..4]).expect("gradients");
            program.outputs.extend(found.into_iter().enumerate().map(|(n, id)| (format!("d{n}").into(), id)));
            program.outputs.push(("loss".into(), ids[4]));
        }
        let mut late = early.clone();
        bdl_equations::simplify(&mut late);
        let expected = interpret(&program, &world).expect("a run");
        for simplified in [&early, &late] {
            check_valid(simplified);
            let found = interpret(simplified, &world).unwrap_or_else(|e| panic!("{e}\n{}", text::print(simplified)));
            for (name, _) in &program.outputs {
                let [a, b] = [&found, &expected].map(|v| v.output(name).expect("a value").flat());
                assert!(support::error(&a, &b) < 1e-12, "{name}\n{}", text::print(simplified));
            }
        }
    }
}

struct Counting;

impl DrawSource for Counting {
    fn draw(&self, at: &DrawAt) -> f64 {
        let example = at.example.map_or(0, |e| e + 1);
        at.site as f64 * 1000.0
            + example as f64 * 100.0
            + at.steps.iter().sum::<i64>() as f64 * 10.0
            + at.element as f64
    }
}

#[test]
fn draws_come_from_the_source() {
    let source = "program draws
        size t step
        input x: real[2] per example
        value start: real
        value n: real[2]
        value a: real
        value a1: real
        value an: real
        value ns: real[3, 2]
        start = 0
        scan t < 3 {
          carry a from start next a1 last an
          draw n = normal(7)
          a1 = sum[i < 2] n[i] * x[i] / 2 + a / 2
          stack n as ns
        }
        output ns = ns";
    let program = parse(source);
    check_valid(&program);
    let batched = batch(&program);
    check_valid(&batched);
    let mut world = World::new();
    support::fill(&batched, &mut world, &[vec![], vec![]], 1);
    world.draws(&Counting);
    let values = interpret(&batched, &world).expect("a run");
    let ns = values.output("ns").expect("ns");
    assert_eq!(ns.examples()[1].data, [7200.0, 7201.0, 7210.0, 7211.0, 7220.0, 7221.0]);
    // Without a source of random numbers there is no value.
    let silent = {
        let mut world = World::new();
        support::fill(&batched, &mut world, &[vec![]], 1);
        interpret(&batched, &world).expect_err("no source")
    };
    assert!(silent.to_string().contains("random"), "{silent}");
}
