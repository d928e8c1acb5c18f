//! Loops over examples of different length, and loops whose end is data: values, gradients, and the same bits in every batch.

mod support;

use bdl_equations as eq;
use support::{Numbers, alone_as_together, launches, lengths, parse, same, same_program};

/// A recurrent layer with every kind of use of its values.
const RECURRENT: &str = "program recurrent
    size B batch
    size T example
    size t step
    input x: real[B, T, 4] per example
    param w: real[4, 5]
    param u: real[5, 5]
    value xw: real[B, T, 5]
    value h0: real[B, 5]
    value h: real[B, 5]
    value s: real[B, 5]
    value next: real[B, 5]
    value last: real[B, 5]
    value all: real[B, T, 5]
    value before: real[B, T, 5]
    h0[b < B, i < 5] = 0.5 * number(i)
    xw[b < B, p < T, i < 5] = sum[c < 4] x[b, p, c] * w[c, i]
    scan t < T {
      carry h from h0 next next last last
      s[b < B, i < 5] = sum[j < 5] h[b, j] * u[j, i]
      next[b < B, i < 5] = tanh(s[b, i] + xw[b, @t, i])
      stack next as all
      stack h as before
    }
    output last = last
    output all = all
    output before = before";

const LENGTHS: [&[i64]; 5] = [&[3, 1, 4, 4, 2], &[2], &[0, 3], &[0, 0], &[7, 0, 1]];

#[test]
fn each_example_runs_its_own_steps() {
    for text in [RECURRENT.to_string(), RECURRENT.replace("t < T {", "t < T reversed {")] {
        for lengths_of in LENGTHS {
            let plan = same(&text, &lengths("T", lengths_of));
            // The input is projected for all rows at once, and the step is one contraction over the rows that run.
            assert_eq!(launches(&plan).iter().filter(|l| l.starts_with("contract")).count(), 2, "{plan}");
        }
        alone_as_together(&parse(&text), &lengths("T", &[3, 1, 4, 0, 4, 2]), &["last", "all", "before"]);
    }
}

/// The program with the gradient of `loss` by each of these as outputs.
fn with_gradients(text: &str, loss: &str, by: &[&str]) -> eq::Program {
    let mut program = parse(text);
    let out = program.find(loss).unwrap();
    let ids: Vec<eq::TensorId> = by.iter().map(|name| program.find(name).unwrap()).collect();
    let gradients = eq::differentiate(&mut program, out, &ids).unwrap_or_else(|e| panic!("{e}"));
    for (name, gradient) in by.iter().zip(gradients) {
        program.outputs.push((format!("d_{name}").as_str().into(), gradient));
    }
    program
}

fn with_loss(text: &str) -> String {
    text.replace("output last = last", "output last = last\n    output loss = loss").replace(
        "    h0[b < B",
        "    value loss: real
    loss = sum[b < B, p < T, i < 5] all[b, p, i] * all[b, p, i] * last[b, i] * (1 + before[b, p, 0])
    h0[b < B",
    )
}

/// Equations in order: the loss after what it reads.
fn loss_last(text: &str) -> String {
    let line = text.lines().find(|l| l.trim_start().starts_with("loss = ")).unwrap().to_string();
    let without: Vec<&str> = text.lines().filter(|l| *l != line).collect();
    let at = without.iter().position(|l| l.trim_start().starts_with("output")).unwrap();
    let mut lines: Vec<String> = without.iter().map(|l| l.to_string()).collect();
    lines.insert(at, line);
    lines.join("\n")
}

#[test]
fn gradients_run_backwards_over_the_same_steps() {
    for direction in ["t < T {", "t < T reversed {"] {
        let text = loss_last(&with_loss(&RECURRENT.replace("t < T {", direction)));
        let program = with_gradients(&text, "loss", &["w", "u", "x"]);
        let mut simple = program.clone();
        eq::simplify(&mut simple);
        for lengths_of in LENGTHS {
            same_program(&program, &lengths("T", lengths_of));
            same_program(&simple, &lengths("T", lengths_of));
        }
        alone_as_together(&simple, &lengths("T", &[3, 1, 4, 0, 4, 2]), &["last", "d_x"]);
    }
}

/// Memory for time: less is kept, and the loss keeps every bit. Gradients are summed block by block.
#[test]
fn a_loop_with_checkpoints_keeps_less() {
    let lstm = "program lstm
        size B batch
        size T example
        size t step
        input x: real[B, T, 8] per example
        param w: real[8, 4, 8]
        param u: real[8, 4, 8]
        value h0: real[B, 8]
        value c0: real[B, 8]
        value h: real[B, 8]
        value c: real[B, 8]
        value xw: real[B, 4, 8]
        value hu: real[B, 4, 8]
        value z: real[B, 4, 8]
        value c1: real[B, 8]
        value h1: real[B, 8]
        value h2: real[B, 8]
        value c2: real[B, 8]
        value loss: real
        h0[b < B, i < 8] = 0
        c0[b < B, i < 8] = 0
        scan t < T {
          carry h from h0 next h1 last h2
          carry c from c0 next c1 last c2
          xw[b < B, g < 4, i < 8] = sum[j < 8] x[b, @t, j] * w[j, g, i]
          hu[b < B, g < 4, i < 8] = sum[j < 8] h[b, j] * u[j, g, i]
          z[b < B, g < 4, i < 8] = xw[b, g, i] + hu[b, g, i]
          c1[b < B, i < 8] = sigmoid(z[b, 0, i]) * c[b, i] + sigmoid(z[b, 1, i]) * tanh(z[b, 2, i])
          h1[b < B, i < 8] = sigmoid(z[b, 3, i]) * tanh(c1[b, i])
        }
        loss = sum[b < B, i < 8] h2[b, i] * h2[b, i]
        output loss = loss";
    let numbers = lengths("T", &[3, 1, 9, 0, 4, 8]);
    let fixed = |steps: &str| lstm.replace("        size T example\n", "").replace('T', steps);
    // Of lengths of their own, of a fixed length with a rest, and without.
    // With gradients that overwrite the values they are made of, also in loops: 19.7 MB and 5.6 to 7.1 MB without.
    let (of_own, fixed_at_most) = ((1_250_000, 730_000), (13_200_000, 5_400_000));
    for (whole, every, at_most) in
        [(lstm.to_string(), 4, of_own), (fixed("1603"), 40, fixed_at_most), (fixed("1600"), 40, fixed_at_most)]
    {
        let mut found = Vec::new();
        let cut = ["t < T {", "t < 1603 {", "t < 1600 {"].iter().fold(whole.clone(), |text, start| {
            text.replace(start, &start.replace("{", &format!("checkpoint {every} {{")))
        });
        for text in [&whole, &cut] {
            let mut program = with_gradients(text, "loss", &["w", "u", "x"]);
            eq::simplify(&mut program);
            let plan = support::plan_of(&program);
            let bytes = bdl_schedule::peak(&plan).eval(&|name| Some(if name == "B" { 16 } else { 1600 })).unwrap();
            // Long loops are for counting bytes.
            let mut short = with_gradients(&text.replace("1603", "83").replace("1600", "80"), "loss", &["w", "u", "x"]);
            eq::simplify(&mut short);
            let plan = same_program(&short, &numbers);
            found.push((bytes, support::run(&short, &plan, &numbers, 1, &["loss", "d_x", "d_w", "d_u"])));
        }
        let [(all, whole), (less, cut)] = found.as_slice() else { unreachable!() };
        assert!(*all <= at_most.0 && *less <= at_most.1, "{all} and {less} bytes");
        for ((name, whole), (_, cut)) in whole.iter().zip(cut) {
            let largest = whole.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            let apart = whole.iter().zip(cut).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
            let allowed = if name.as_str() == "loss" { 0.0 } else { 1e-14 * largest };
            assert!(apart <= allowed, "{name}: {apart} of {largest}");
        }
    }
}

/// The gradient penalty of a recurrent net: the derivative of `|d loss / d x|^2`, through the adjoint loop.
#[test]
fn second_derivatives_go_through_loops() {
    for direction in ["t < T {", "t < T reversed {"] {
        let text = loss_last(&with_loss(&RECURRENT.replace("t < T {", direction)));
        let mut program = with_gradients(&text, "loss", &["x"]);
        let d_x = program.outputs.last().unwrap().1;
        let mut piece = eq::PieceBuilder::new();
        let shape = program.get(d_x).shape.clone();
        let at: Vec<eq::IndexId> = shape.into_iter().map(|dim| piece.bound("z", dim)).collect();
        let piece = piece.sum(eq::Expr::read(d_x, at).squared());
        let penalty = program.define("penalty", eq::DType::Real, piece, eq::Origin::default());
        let by: Vec<eq::TensorId> = ["w", "u", "x"].iter().map(|name| program.find(name).unwrap()).collect();
        let second = eq::differentiate(&mut program, penalty, &by).unwrap_or_else(|e| panic!("{e}"));
        program.outputs.extend(second.iter().enumerate().map(|(at, id)| (format!("second_{at}").as_str().into(), *id)));
        let mut simple = program.clone();
        eq::simplify(&mut simple);
        for lengths_of in LENGTHS {
            same_program(&program, &lengths("T", lengths_of));
            same_program(&simple, &lengths("T", lengths_of));
        }
    }
}

#[test]
fn draws_differ_from_step_to_step_and_belong_to_the_example() {
    let text = "program walk
        size B batch
        size T example
        size t step
        input x: real[B, T] per example
        value h0: real[B, 2]
        value h: real[B, 2]
        value n: real[B, 2]
        value h1: real[B, 2]
        value h2: real[B, 2]
        value all: real[B, T, 2]
        h0[b < B, i < 2] = 0
        scan t < T {
          carry h from h0 next h1 last h2
          draw n = normal(7)
          h1[b < B, i < 2] = h[b, i] + n[b, i] * x[b, @t]
          stack n as all
        }
        output all = all
        output h2 = h2";
    let program = parse(text);
    let numbers = lengths("T", &[3, 5, 1]);
    alone_as_together(&program, &numbers, &["all", "h2"]);
    let found = support::run(&program, &support::plan_of(&program), &numbers, 1, &["all"]);
    let mut values: Vec<u64> = found[0].1.iter().map(|x| x.to_bits()).collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), 18, "{found:?}");
}

#[test]
fn a_draw_of_its_own_length_belongs_to_the_example() {
    let text = "program noise
        size B batch
        size T example
        input x: real[B, T] per example
        value n: real[B, T, 2]
        value y: real[B, T, 2]
        draw n = normal(7)
        y[b < B, t < T, i < 2] = n[b, t, i] * x[b, t]
        output n = n
        output y = y";
    let program = parse(text);
    let numbers = lengths("T", &[3, 0, 5, 1]);
    alone_as_together(&program, &numbers, &["n", "y"]);
    let found = support::run(&program, &support::plan_of(&program), &numbers, 1, &["n"]);
    let mut values: Vec<u64> = found[0].1.iter().map(|x| x.to_bits()).collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), 18, "{found:?}");
}

#[test]
fn loops_over_examples_nest() {
    // Words of different length in sentences of different length; a loop of fixed length in between.
    let text = "program nested
        size B batch
        size S example
        size T example
        size s step
        size k step
        size t step
        input x: real[B, T, 2] per example
        input y: real[B, S, 2] per example
        param u: real[4, 4]
        value g0: real[B, 4]
        value g: real[B, 4]
        value gk: real[B, 4]
        value gk1: real[B, 4]
        value g1: real[B, 4]
        value g2: real[B, 4]
        value h: real[B, 4]
        value m: real[B, 4]
        value h1: real[B, 4]
        value h2: real[B, 4]
        value each: real[B, S, 4]
        value inner: real[B, T, 4]
        value inners: real[B, S, T, 4]
        g0[b < B, i < 4] = 0.25 + number(i) / 8
        scan s < S {
          carry g from g0 next gk1 last g2
          scan t < T reversed {
            carry h from g next h1 last h2
            m[b < B, i < 4] = sum[j < 4] h[b, j] * u[j, i] / 4 + g[b, i] / 4
            h1[b < B, i < 4] = tanh(m[b, i] + x[b, @t, 0] * y[b, @s, 1])
            stack h1 as inner
          }
          scan k < 3 {
            carry gk from h2 next g1 last gk1
            g1[b < B, i < 4] = sum[j < 4] gk[b, j] * u[i, j]
          }
          stack gk1 as each
          stack inner as inners
        }
        output each = each
        output g2 = g2
        output inners = inners";
    let examples = |all: &[(i64, i64)]| Numbers {
        examples: all.iter().map(|(s, t)| vec![("S", *s), ("T", *t)]).collect(),
        ..Numbers::default()
    };
    for all in [&[(2, 3), (3, 1), (0, 2), (2, 0), (1, 4)][..], &[(1, 1)], &[(0, 0)]] {
        same(text, &examples(all));
    }
    alone_as_together(&parse(text), &examples(&[(2, 3), (3, 1), (1, 4), (2, 2)]), &["each", "g2", "inners"]);
}

#[test]
fn a_body_may_look_at_another_sequence() {
    // A decoder: each step attends to an encoded sequence of another length.
    let text = "program decoder
        size B batch
        size S example
        size T example
        size t step
        input keys: real[B, S, 4] per example
        input x: real[B, T, 4] per example
        param w: real[4, 4]
        value h0: real[B, 4]
        value h: real[B, 4]
        value q: real[B, 4]
        value score: real[B, S]
        value top: real[B]
        value e: real[B, S]
        value total: real[B]
        value seen: real[B, 4]
        value h1: real[B, 4]
        value h2: real[B, 4]
        value all: real[B, T, 4]
        value scores: real[B, T, S]
        h0[b < B, i < 4] = 0.1
        scan t < T {
          carry h from h0 next h1 last h2
          q[b < B, i < 4] = sum[j < 4] h[b, j] * w[j, i]
          score[b < B, p < S] = sum[i < 4] q[b, i] * keys[b, p, i]
          top[b < B] = max[p < S] score[b, p]
          e[b < B, p < S] = exp(score[b, p] - top[b])
          total[b < B] = sum[p < S] e[b, p]
          seen[b < B, i < 4] = sum[p < S] e[b, p] * keys[b, p, i] / total[b]
          h1[b < B, i < 4] = tanh(seen[b, i] + x[b, @t, i])
          stack h1 as all
          stack score as scores
        }
        output h2 = h2
        output all = all
        output scores = scores";
    let numbers = Numbers {
        examples: [(2, 3), (3, 1), (5, 0), (1, 4)].iter().map(|(s, t)| vec![("S", *s), ("T", *t)]).collect(),
        ..Numbers::default()
    };
    same(text, &numbers);
    alone_as_together(&parse(text), &numbers, &["h2", "all", "scores"]);
}

#[test]
fn an_operand_from_outside_is_gathered_for_a_contraction() {
    let text = "program gathered
        size B batch
        size T example
        size t step
        input x: real[B, T, 6] per example
        param w: real[6, 5]
        value h0: real[B, 5]
        value h: real[B, 5]
        value s: real[B, 5]
        value next: real[B, 5]
        value last: real[B, 5]
        h0[b < B, i < 5] = 0
        scan t < T {
          carry h from h0 next next last last
          s[b < B, i < 5] = sum[c < 6] x[b, @t, c] * w[c, i]
          next[b < B, i < 5] = tanh(s[b, i] + h[b, i])
        }
        output last = last";
    let plan = same(text, &lengths("T", &[2, 4, 1, 3]));
    assert!(launches(&plan).contains(&"contract+epilogue"), "{plan}");
}

#[test]
fn statistics_of_the_running_examples_and_scalars_are_carried() {
    same(
        "program statistics
         size B batch
         size T example
         size t step
         input x: real[B, T] per example
         value a0: real[B]
         value a: real[B]
         value mean: real
         value a1: real[B]
         value a2: real[B]
         value n0: i32[B]
         value n: i32[B]
         value n1: i32[B]
         value n2: i32[B]
         a0[b < B] = 1
         n0[b < B] = 0
         scan t < T {
           carry a from a0 next a1 last a2
           carry n from n0 next n1 last n2
           mean = sum[o < B] a[o] * x[o, @t]
           a1[b < B] = a[b] / 2 + mean
           n1[b < B] = if x[b, @t] > 0 then n[b] + 1 else n[b]
         }
         output a2 = a2
         output n2 = n2",
        &lengths("T", &[2, 5, 0, 3]),
    );
}

#[test]
fn lists_of_different_length_are_sorted() {
    let text = "program sorted
        size B batch
        size T example
        input x: real[B, T] per example
        input y: real[B, 3, T] per example
        value p: i32[B, T]
        value q: i32[B, 3, T]
        value v: real[B, T]
        value w: real[B, 3, T]
        sort p = x descending
        sort q = y
        v[b < B, i < T] = x[b, p[b, i]]
        w[b < B, c < 3, i < T] = y[b, c, q[b, c, i]]
        output v = v
        output w = w
        output p = p";
    for lengths_of in LENGTHS {
        same(text, &lengths("T", lengths_of));
    }
    alone_as_together(&parse(text), &lengths("T", &[3, 1, 4, 0]), &["v", "w"]);
}

/// Newton's iteration for a root, an example at a time.
const NEWTON: &str = "program newton
    size B batch
    size n step
    input x: real[B, 3] per example
    param w: real[3, 3]
    value y0: real[B, 3]
    value y: real[B, 3]
    value off: real[B]
    value done: bool[B]
    value m: real[B, 3]
    value y1: real[B, 3]
    value y2: real[B, 3]
    y0[b < B, i < 3] = x[b, i]
    iterate n < 7 until done {
      carry y from y0 next y1 last y2
      condition {
        off[b < B] = sum[i < 3] y[b, i] * y[b, i]
        done[b < B] = off[b] < 0.1
      }
      m[b < B, i < 3] = sum[j < 3] y[b, j] * w[j, i]
      y1[b < B, i < 3] = m[b, i] / 2 + y[b, i] / 4 + 0.01 * off[b]
    }
    output y2 = y2";

#[test]
fn iterations_end_for_each_example() {
    for examples in [5, 1] {
        let plan = same(NEWTON, &support::batch(examples));
        assert!(launches(&plan).contains(&"iterate"), "{plan}");
    }
    alone_as_together(&parse(NEWTON), &support::batch(5), &["y2"]);
}

/// A differentiated iteration makes the steps of the example that needs most, as machine code too.
#[test]
fn a_differentiated_iteration_ends_early() {
    let text = "program shrinking
        size B batch
        size n step
        param w: real
        input a: real[B] per example
        value x0: real[B]
        value x: real[B]
        value done: bool[B]
        value x1: real[B]
        value root: real[B]
        value loss: real
        x0[b < B] = 2 + a[b]
        iterate n < MOST until done {
          carry x from x0 next x1 last root
          condition {
            done[b < B] = x[b] < 0.05
          }
          x1[b < B] = x[b] * (0.4 + w * w / 10) + a[b] / 100
        }
        loss = sum[b < B] root[b] * root[b] * root[b]
        output loss = loss";
    for most in ["12", "100000"] {
        let mut program = with_gradients(&text.replace("MOST", most), "loss", &["a", "w"]);
        let steps =
            program.nodes.iter().find_map(|node| if let eq::Node::Scan(scan) = node { scan.ends } else { None });
        let Some(eq::Ends::When { steps, .. }) = steps else { panic!("{}", eq::text::print(&program)) };
        program.outputs.push(("steps".into(), steps));
        let plan = same_program(&program, &support::batch(3));
        let shown = plan.to_string();
        assert!(shown.contains("ends when") && shown.contains("ends after"), "{shown}");
    }
}

/// A mean over the examples that still run, in the body and in the condition: the loop with its rows dropped, and the loop that is differentiated.
#[test]
fn an_iteration_takes_statistics_of_those_that_run() {
    let text = "program thinning
        size B batch
        size n step
        param w: real
        input a: real[B] per example
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
        x0[b < B] = 2 + a[b]
        iterate n < 6 until done {
          carry x from x0 next x1 last end
          condition {
            many = sum[b < B] 1
            mean = sum[b < B] x[b] / many
            done[b < B] = x[b] > mean + 0.2
          }
          running = sum[b < B] 1
          m = sum[b < B] x[b] * x[b] / running
          x1[b < B] = x[b] * (0.8 + w * w / 10) + sin(m) / running
        }
        loss = sum[b < B] end[b] * end[b]
        output end = end
        output loss = loss";
    let program = with_gradients(text, "loss", &["a", "w"]);
    let mut simple = program.clone();
    eq::simplify(&mut simple);
    for examples in [5, 2, 1] {
        let numbers = support::batch(examples);
        let plain = parse(text);
        same_program(&plain, &numbers);
        same_program(&program, &numbers);
        same_program(&simple, &numbers);
        let [rows, held] = [&plain, &simple].map(|p| support::run(p, &support::plan_of(p), &numbers, 1, &["end"]));
        for (a, b) in rows[0].1.iter().zip(&held[0].1) {
            assert!((a - b).abs() <= 1e-14 * a.abs(), "{rows:?} {held:?}");
        }
    }
}
