//! Small programs: the plan computes what the interpreter says, and has the shape it should have.

mod support;
use support::{Numbers, batch, launches, parse, plan_of, same};

#[test]
fn a_dense_layer_is_one_contraction_with_an_epilogue() {
    let plan = same(
        "program dense
         size B batch
         input x: real[B, 12] per example
         param w: real[12, 8]
         param v: real[8]
         value s: real[B, 8]
         value h: real[B, 8]
         value y: real[B, 8]
         s[b < B, f < 8] = sum[c < 12] x[b, c] * w[c, f]
         h[b < B, f < 8] = s[b, f] + v[f]
         y[b < B, f < 8] = if h[b, f] > 0 then h[b, f] else 0
         output y = y",
        &batch(5),
    );
    assert_eq!(launches(&plan), ["contract+epilogue"]);
}

#[test]
fn softmax_is_one_kernel_over_rows() {
    let plan = same(
        "program softmax
         size B batch
         input x: real[B, 40] per example
         value m: real[B]
         value e: real[B, 40]
         value s: real[B]
         value y: real[B, 40]
         m[b < B] = max[j < 40] x[b, j]
         e[b < B, j < 40] = exp(x[b, j] - m[b])
         s[b < B] = sum[j < 40] e[b, j]
         y[b < B, j < 40] = e[b, j] / s[b]
         output y = y",
        &batch(3),
    );
    assert_eq!(launches(&plan), ["kernel"]);
}

#[test]
fn a_convolution_reads_overlapping_rows_and_clips_the_ends() {
    let plan = same(
        "program conv
         size B batch
         input x: real[B, 9, 3] per example
         param w: real[4, 3, 5]
         value y: real[B, 9, 5]
         y[b < B, t < 9, f < 5] = sum[k < 4, c < 3] x[b, t + k - 2, c else 0] * w[k, c, f]
         output y = y",
        &batch(2),
    );
    assert_eq!(launches(&plan), ["contract"]);
    let bdl_plan::Op::Contract(c) = &plan.launches[0].op else { panic!() };
    assert_eq!(c.clips.len(), 1);
    assert_eq!(c.a.offset, bdl_dims::Dim::from(-6));
}

#[test]
fn the_gradient_of_a_convolution_by_its_input_walks_forwards() {
    let plan = same(
        "program conv_back
         size B batch
         input dy: real[B, 9, 5] per example
         param w: real[4, 3, 5]
         value dx: real[B, 12, 3]
         dx[b < B, t < 12, c < 3] = sum[k < 4, f < 5] dy[b, t - k, f else 0] * w[k, c, f]
         output dx = dx",
        &batch(2),
    );
    assert_eq!(launches(&plan), ["kernel", "contract"]);
    let bdl_plan::Op::Contract(c) = &plan.launches[1].op else { panic!() };
    let sums: Vec<_> =
        c.axes.iter().filter(|a| a.role == bdl_plan::AxisRole::K).map(|a| (a.a.to_string(), a.b.to_string())).collect();
    assert_eq!(sums, [("5".to_string(), "15".to_string()), ("1".to_string(), "3".to_string())]);
}

#[test]
fn adam_updates_everything_in_one_pass_in_place() {
    let plan = same(
        "program adam
         size B batch
         input x: real[B, 6] per example
         input dy: real[B, 4] per example
         param w: real[6, 4]
         state m: real[6, 4]
         state v: real[6, 4]
         value g: real[6, 4]
         value m2: real[6, 4]
         value v2: real[6, 4]
         value w2: real[6, 4]
         g[c < 6, f < 4] = sum[b < B] x[b, c] * dy[b, f]
         m2[c < 6, f < 4] = 0.9 * m[c, f] + 0.1 * g[c, f]
         v2[c < 6, f < 4] = 0.99 * v[c, f] + 0.01 * g[c, f] * g[c, f]
         w2[c < 6, f < 4] = w[c, f] - 0.1 * m2[c, f] / (sqrt(v2[c, f]) + 1e-3)
         update w = w2
         update m = m2
         update v = v2",
        &batch(7),
    );
    assert_eq!(launches(&plan), ["contract+epilogue"]);
}

#[test]
fn packed_rows_run_together_and_a_mean_over_each_example_does_not() {
    let numbers = Numbers { examples: vec![vec![("T", 3)], vec![("T", 1)], vec![("T", 6)]], ..Numbers::default() };
    let plan = same(
        "program ragged
         size B batch
         size T example
         input x: real[B, T, 6] per example
         param w: real[6, 8]
         param v: real[8]
         value s: real[B, T, 8]
         value h: real[B, T, 8]
         value y: real[B, 8]
         s[b < B, t < T, f < 8] = sum[c < 6] x[b, t, c] * w[c, f]
         h[b < B, t < T, f < 8] = tanh(s[b, t, f] + v[f])
         y[b < B, f < 8] = sum[t < T] h[b, t, f] / T
         output y = y",
        &numbers,
    );
    assert_eq!(launches(&plan), ["contract+epilogue", "kernel"]);
}

#[test]
fn ragged_shifts_stay_inside_their_example() {
    let numbers = Numbers { examples: vec![vec![("T", 3)], vec![("T", 2)], vec![("T", 7)]], ..Numbers::default() };
    same(
        "program shift
         size B batch
         size T example
         input x: real[B, T, 5] per example
         param w: real[3, 5, 4]
         value y: real[B, T, 4]
         value z: real[B, T, 4]
         value r: real[B, T]
         y[b < B, t < T, f < 4] = sum[k < 3, c < 5] x[b, t + k - 1, c else 0] * w[k, c, f]
         z[b < B, t < T, f < 4] = y[b, T - 1 - t, f] + number(t) / T
         r[b < B, t < T] = sum[s < T if t - s >= 0] x[b, s, 0]
         output y = y
         output z = z
         output r = r",
        &numbers,
    );
}

/// Scores of two heads, their mix, and what the gradients of both ask for: all products of matrices, each example's as large as the example.
#[test]
fn products_between_the_positions_of_an_example_are_contractions() {
    let lengths = |t: i64, s: i64| vec![("T", t), ("S", s)];
    let examples = vec![lengths(3, 2), lengths(1, 5), lengths(0, 1), lengths(6, 0), lengths(4, 4)];
    let numbers = Numbers { examples, ..Numbers::default() };
    let plan = same(
        "program attention
         size B batch
         size T example
         size S example
         input q: real[B, T, 2, 4] per example
         input k: real[B, S, 2, 4] per example
         value s: real[B, 2, T, S]
         value o: real[B, T, 2, 4]
         value d: real[B, 2, T, S]
         value g: real[B, S, 2, 4]
         value t: real[B, T, 2, S]
         s[b < B, h < 2, i < T, j < S] = sum[e < 4] q[b, i, h, e] * k[b, j, h, e]
         o[b < B, i < T, h < 2, e < 4] = sum[j < S] s[b, h, i, j] * k[b, j, h, e]
         d[b < B, h < 2, i < T, j < S] = sum[e < 4] o[b, i, h, e] * k[b, j, h, e]
         g[b < B, j < S, h < 2, e < 4] = sum[i < T] d[b, h, i, j] * q[b, i, h, e]
         t[b < B, i < T, h < 2, j < S] = sum[m < T] q[b, m, h, 0] * d[b, h, i, j] * number(i)
         output s = s
         output o = o
         output d = d
         output g = g
         output t = t",
        &numbers,
    );
    assert_eq!(launches(&plan)[..4], ["contract"; 4]);
}

/// Where an operand begins may depend on the example: the head of a score by number, a sequence read from its end, a map of pairs from the row
/// before.
#[test]
fn products_begin_where_the_length_of_the_example_says() {
    let plan = same(
        "program offsets
         size B batch
         size T example
         input s: real[B, 2, T, T] per example
         input x: real[B, T, 4] per example
         input z: real[B, T, T, 3] per example
         input dz: real[B, T, T, 5] per example
         param w: real[3, 3, 3, 5]
         param u: real[4, 6]
         value y: real[B, T, 4]
         value r: real[B, 6, T]
         value m: real[B, T, T, 5]
         value g: real[3, 3, 3, 5]
         y[b < B, i < T, c < 4] = sum[j < T] s[b, 1, i, j] * x[b, j, c]
         r[b < B, f < 6, i < T] = sum[c < 4] x[b, T - 1 - i, c] * u[c, f]
         m[b < B, i < T, j < T, f < 5] = sum[k < 3, l < 3, c < 3] z[b, i + k - 1, j + l - 1, c else 0] * w[k, l, c, f]
         g[k < 3, l < 3, c < 3, f < 5] = sum[b < B, i < T, j < T] z[b, i + k - 1, j + l - 1, c else 0] * dz[b, i, j, f]
         output y = y
         output r = r
         output m = m
         output g = g",
        &Numbers { examples: [3, 1, 0, 6, 2].iter().map(|t| vec![("T", *t)]).collect(), ..Numbers::default() },
    );
    assert_eq!(launches(&plan), ["contract"; 4]);
}

/// Weights of a padded convolution and of pairs, over examples shorter than the window, too. A GPU's plan has loops for them.
#[test]
fn a_gradient_of_weights_sums_over_examples_of_different_length() {
    let examples = [3, 1, 0, 12, 2].iter().map(|t| vec![("T", *t)]).collect();
    let numbers = Numbers { examples, ..Numbers::default() };
    let text = "program weights
         size B batch
         size T example
         input x: real[B, T, 6] per example
         input dy: real[B, T, 5] per example
         input z: real[B, T, T, 4] per example
         input dz: real[B, 3, T, T] per example
         value g: real[5, 6, 5]
         value w: real[4, 3]
         g[k < 5, c < 6, f < 5] = sum[b < B, t < T] x[b, t + k - 2, c else 0] * dy[b, t, f]
         w[c < 4, h < 3] = sum[b < B, i < T, j < T] z[b, i, j, c] * dz[b, h, i, j]
         output g = g
         output w = w";
    let plan = same(text, &numbers);
    assert_eq!(launches(&plan), ["contract", "contract"]);
    let none = Numbers { examples: vec![vec![("T", 0)], vec![("T", 0)]], ..Numbers::default() };
    same(text, &none);
    let options = bdl_schedule::Options { real: bdl_schedule::Real::F64, target: bdl_schedule::Target::Gpu };
    let plan = bdl_schedule::schedule(&support::parse(text), &options).unwrap();
    assert!(launches(&plan).iter().all(|launch| *launch == "kernel"), "{:?}", launches(&plan));
}

#[test]
fn pooling_and_its_place_share_a_kernel() {
    let plan = same(
        "program pool
         size B batch
         input x: real[B, 9, 5] per example
         input dp: real[B, 4, 5] per example
         value p: real[B, 4, 5]
         value a: i32[B, 4, 5]
         value dx: real[B, 9, 5]
         p[b < B, t < 4, c < 5] = max[k < 2] x[b, 2 * t + k, c]
         a[b < B, t < 4, c < 5] = argmax.0[k < 2] x[b, 2 * t + k, c]
         dx[b, 2 * u, c for b < B, u < 4, c < 5] = if a[b, u, c] == 0 then dp[b, u, c] else 0
         also dx[b, 2 * u + 1, c for b < B, u < 4, c < 5] = if a[b, u, c] == 1 then dp[b, u, c] else 0
         output p = p
         output dx = dx",
        &batch(3),
    );
    assert_eq!(launches(&plan).iter().filter(|l| **l == "kernel").count(), 1, "{:?}", launches(&plan));
}

#[test]
fn reductions_of_every_kind() {
    same(
        "program reductions
         size B batch
         input x: real[B, 11] per example
         input k: i32[B, 11] per example
         input t: bool[B, 11] per example
         value a: real[B]
         value c: real[B]
         value d: real[B]
         value e: i32[B]
         value f: i32[B]
         value g: bool[B]
         value h: bool[B]
         value n: real
         value o: real[3]
         value q: real[B]
         a[b < B] = prod[i < 11] x[b, i]
         c[b < B] = max[i < 11] x[b, i]
         d[b < B] = min[i < 11 if 1 == k[b, i] else 7] x[b, i]
         e[b < B] = argmax.0[i < 11] x[b, i]
         f[b < B] = argmin.0[i < 11 if i - 2 >= 0] x[b, i]
         g[b < B] = any[i < 11] t[b, i]
         h[b < B] = all[i < 11] x[b, i] > -2
         n = sum[b < B, i < 11] x[b, i] * x[b, i]
         o[v < 3] = sum[b < B, i < 11 if v == k[b, i]] x[b, i]
         q[b < B] = sum[i < 11, j < 11 if i - j - 1 >= 0 and 3 - i + j >= 0] x[b, i] * x[b, j]
         output a = a
         output c = c
         output d = d
         output e = e
         output f = f
         output g = g
         output h = h
         output n = n
         output o = o
         output q = q",
        &batch(4),
    );
}

#[test]
fn the_gradient_of_an_embedding_sums_runs_of_sorted_keys() {
    let mut numbers = batch(4);
    numbers.below = vec![("tok", 6)];
    let plan = same(
        "program embedding
         size B batch
         input tok: i32[B, 7] per example
         input dy: real[B, 7, 5] per example
         param w: real[6, 5]
         value y: real[B, 7, 5]
         value dw: real[6, 5]
         value most: real[6]
         y[b < B, t < 7, d < 5] = w[tok[b, t], d]
         dw[v < 6, d < 5] = sum[b < B, t < 7 if v == tok[b, t]] dy[b, t, d] * y[b, t, d]
         most[v < 6] = max[b < B, t < 7 if v == tok[b, t] else -1] dy[b, t, 0]
         output y = y
         output dw = dw
         output most = most",
        &numbers,
    );
    assert!(plan.buffers.iter().any(|b| matches!(b.place, bdl_plan::Place::Table(bdl_plan::Table::Runs { .. }))));
}

#[test]
fn messages_within_an_example() {
    let mut numbers =
        Numbers { examples: vec![vec![("V", 3), ("E", 4)], vec![("V", 3), ("E", 9)]], ..Numbers::default() };
    numbers.below = vec![("src", 3), ("dst", 3)];
    same(
        "program messages
         size B batch
         size V example
         size E example
         input h: real[B, V, 5] per example
         input src: i32[B, E] per example
         input dst: i32[B, E] per example
         value m: real[B, V, 5]
         value g: real[B, 5]
         input kind: i32[B, E] per example
         value k: real[B, 4]
         m[b < B, v < V, d < 5] = sum[e < E if v == dst[b, e]] tanh(h[b, src[b, e], d])
         g[b < B, d < 5] = sum[v < V] m[b, v, d] / V
         k[b < B, v < 4] = sum[e < E if v == kind[b, e]] h[b, src[b, e], 1]
         output m = m
         output k = k
         output g = g",
        &numbers,
    );
}

#[test]
fn a_product_of_formulas_becomes_a_contraction_of_stored_factors() {
    let plan = same(
        "program factors
         size B batch
         input h: real[B, 9] per example
         input d: real[B, 9] per example
         input x: real[B, 6] per example
         param s: real[9]
         value dw: real[6, 9]
         dw[c < 6, f < 9] = sum[b < B] (if h[b, f] > 0 then d[b, f] else 0) * x[b, c] * s[f] / B
         output dw = dw",
        &batch(5),
    );
    assert_eq!(launches(&plan), ["kernel", "contract+epilogue"]);
}

const RECURRENCE: &str = "program recurrence
    size B batch
    size t step
    input x: real[B, 6, 4] per example
    param w: real[4, 4]
    value h0: real[B, 4]
    value h: real[B, 4]
    value s: real[B, 4]
    value next: real[B, 4]
    value last: real[B, 4]
    value all: real[B, 6, 4]
    value before: real[B, 6, 4]
    h0[b < B, i < 4] = x[b, 0, i]
    scan t < 6 {
      carry h from h0 next next last last
      s[b < B, i < 4] = sum[j < 4] h[b, j] * w[j, i]
      next[b < B, i < 4] = tanh(s[b, i] + x[b, @t, i])
      stack next as all
      stack h as before
    }
    output last = last
    output all = all
    output before = before";

#[test]
fn a_scan_runs_its_body_on_buffers_that_stay() {
    let plan = same(RECURRENCE, &batch(3));
    assert!(launches(&plan).contains(&"scan"), "{:?}", launches(&plan));
    same(&RECURRENCE.replace("t < 6 {", "t < 6 reversed {"), &batch(3));
}

#[test]
fn a_scan_is_differentiated_through() {
    let text = RECURRENCE.replace(
        "output last = last",
        "loss = sum[b < B, t < 6, i < 4] all[b, t, i] * all[b, t, i]\n    output loss = loss",
    );
    let mut program = support::parse(&text.replace("h0[b < B", "value loss: real\n    h0[b < B"));
    let (loss, w) = (program.find("loss").unwrap(), program.find("w").unwrap());
    let gradient = bdl_equations::differentiate(&mut program, loss, &[w]).unwrap()[0];
    program.outputs.push(("d_w".into(), gradient));
    support::same_program(&program, &batch(3));
}

#[test]
fn sorts_views_literals_and_copies() {
    same(
        "program others
         size B batch
         input x: real[B, 3, 4] per example
         state k: real[5]
         value flat: real[B, 12]
         value order: i32[B, 12]
         value best: real[B, 3]
         value c: real[3]
         value turned: real[B, 4, 3]
         value y: real[B, 4, 3]
         value padded: real[B, 9]
         value k2: real[5]
         view flat = x
         sort order = flat descending
         literal c = [1, 2, 4]
         best[b < B, r < 3] = flat[b, order[b, r]]
         turned[b < B, i < 4, j < 3] = x[b, j, i]
         y[b < B, i < 4, j < 3] = turned[b, i, j] * c[j] + best[b, j]
         padded[b, i + 2 for b < B, i < 5] = flat[b, 2 * i + 1]
         k2[i < 5] = k[4 - i]
         output order = order
         output y = y
         output again = flat
         output padded = padded
         update k = k2",
        &batch(3),
    );
}

#[test]
fn updates_take_effect_together_and_outputs_show_what_was() {
    same(
        "program together
         size B batch
         input x: real[B, 4] per example
         param a: real[4]
         param b: real[4]
         state c: real[4]
         state d: real[4]
         state e: real[4]
         value a2: real[4]
         value b2: real[4]
         value c2: real[4]
         value y: real[B, 4]
         a2[i < 4] = b[i] + 1
         b2[i < 4] = a[i] * 2
         c2[i < 4] = sum[o < B] x[o, i] * a[i]
         y[o < B, i < 4] = x[o, i] * a[3 - i] + b[i]
         output y = y
         output old = a
         update a = a2
         update b = b2
         update c = c2
         update d = c2
         update e = d",
        &batch(3),
    );
}

#[test]
fn carried_values_may_change_places() {
    same(
        "program places
         size B batch
         size t step
         input x: real[B, 4] per example
         value p0: real[B, 4]
         value q0: real[B, 4]
         value p: real[B, 4]
         value q: real[B, 4]
         value r: real[B, 4]
         value p1: real[B, 4]
         value q1: real[B, 4]
         p0[b < B, i < 4] = x[b, i]
         q0[b < B, i < 4] = x[b, i] * 2
         scan t < 5 {
           carry p from p0 next q last p1
           carry q from q0 next r last q1
           r[b < B, i < 4] = p[b, i] + q[b, i] / (1 + number(@t))
         }
         output p1 = p1
         output q1 = q1",
        &batch(2),
    );
}

/// Next values of two carried ones, from `own` and `other`: element by element, from elsewhere in the row, as a contraction, after a
/// reduction, and not from itself.
const NEXT: [&str; 6] = [
    "0.5 * own[b, i] + other[b, i]",
    "0.5 * own[b, 3 - i] + other[b, i]",
    "sum[j < 4] own[b, j] * w[j, i]",
    "own[b, i] / (1 + size_own[b]) + 0.5 * other[b, i]",
    "0.5 * other[b, 3 - i] + own[b, i]",
    "tanh(other[b, i])",
];

#[test]
fn carried_values_are_overwritten_where_nobody_needs_them_any_more() {
    let program = |first: &str, second: &str, stack: &str| {
        let of = |next: &str, own: &str, other: &str| next.replace("own", own).replace("other", other);
        format!(
            "program steps
             size B batch
             size t step
             input x: real[B, 4] per example
             param w: real[4, 4]
             value p0: real[B, 4]
             value q0: real[B, 4]
             value p: real[B, 4]
             value q: real[B, 4]
             value size_p: real[B]
             value size_q: real[B]
             value r: real[B, 4]
             value s: real[B, 4]
             value p1: real[B, 4]
             value q1: real[B, 4]
             value kept: real[B, 5, 4]
             p0[b < B, i < 4] = x[b, i]
             q0[b < B, i < 4] = x[b, i] * 2
             scan t < 5 {{
               carry p from p0 next r last p1
               carry q from q0 next s last q1
               size_p[b < B] = sum[j < 4] p[b, j] * p[b, j]
               size_q[b < B] = sum[j < 4] q[b, j] * q[b, j]
               r[b < B, i < 4] = {}
               s[b < B, i < 4] = {}
               {stack}
             }}
             output p1 = p1
             output q1 = q1
             {}",
            of(first, "p", "q"),
            of(second, "q", "p"),
            if stack.is_empty() { "" } else { "output kept = kept" },
        )
    };
    let copies = |plan: &bdl_plan::Plan| {
        let scan = plan
            .launches
            .iter()
            .find_map(|launch| if let bdl_plan::Op::Scan(scan) = &launch.op { Some(&scan.body) } else { None });
        scan.unwrap().iter().filter(|launch| matches!(launch.op, bdl_plan::Op::Copy { .. })).count()
    };
    for first in NEXT {
        for second in NEXT {
            for stack in ["", "stack p as kept", "stack r as kept", "stack q as kept"] {
                same(&program(first, second, stack), &batch(3));
            }
        }
    }
    // One kernel reads both at their own places before it stores any; who is read at other places waits for the end of the step.
    let count = |first: usize, second: usize| copies(&same(&program(NEXT[first], NEXT[second], ""), &batch(3)));
    assert_eq!((count(0, 0), count(3, 3), count(1, 0), count(1, 1)), (0, 2, 1, 2));
}

#[test]
fn draws_are_made_once() {
    let program = support::parse(
        "program noise
         size B batch
         input x: real[B, 3] per example
         value u: real[B, 3]
         value y: real[B, 3]
         value z: real[B, 3]
         draw u = uniform(7)
         y[b < B, i < 3] = if u[b, i] < 0.5 then 0 else x[b, i] * 2
         z[b < B, i < 3] = u[b, i] * 2
         output u = u
         output y = y
         output z = z",
    );
    let plan = support::plan_of(&program);
    assert_eq!(launches(&plan), ["draw", "kernel"]);
}

#[test]
fn an_orthogonal_start_is_a_library_call() {
    let plan = same(
        "program init
         input x: real[6, 2, 2]
         value q: real[6, 2, 2]
         library q = orthogonal(x)
         output q = q",
        &batch(1),
    );
    let bdl_plan::Op::Library { rows, columns, .. } = &plan.launches[0].op else { panic!("{plan}") };
    assert_eq!((rows.as_const(), columns.as_const()), (Some(6), Some(4)));
}

#[test]
fn a_sum_runs_along_loops_over_an_example_of_its_own_length() {
    let numbers = Numbers { examples: vec![vec![("T", 1)], vec![("T", 2)]], ..Numbers::default() };
    let plan = same(
        "program along
         size B batch
         size T example
         param w: real[5]
         value y: real[B, 4, T]
         value s: real[B]
         value n: real
         value h: real[B, T / 2]
         y[b < B, i < 4, j < T] = min[k < T, m < 2 else 0.25] w[i + m]
         s[z < B] = sum[z1 < 4, z2 < T] sin(y[z, z1, z2])
         n = sum[z < B, z1 < 4, z2 < T of z] sin(y[z, z1, z2])
         h[b < B, k < T / 2] = y[b, 0, 2 * k + 1]
         output s = s
         output n = n
         output h = h",
        &numbers,
    );
    // The loop over h does not run for the first example; its sums are stored all the same.
    assert_eq!(launches(&plan), ["kernel", "kernel"], "{plan}");
}

/// A layer and the gradient of its weights, far apart: what the layer reads is `scaled`, which is `y` by arithmetic alone. `more` is written behind, and
/// `width` is the layer's.
fn read_late(scaled: &str, width: usize, more: &str) -> String {
    format!(
        "program late
         size B batch
         input x: real[B, 64, 64] per example
         param w: real[64, {width}]
         value y: real[B, 64, 64]
         value s: real[B, 64, 64]
         value h: real[B, 64, {width}]
         value d: real[B, 64, {width}]
         value dw: real[64, {width}]
         value z: real[64]
         y[b < B, t < 64, c < 64] = exp(x[b, t, c])
         s[b < B, t < 64, c < 64] = {scaled}
         h[b < B, t < 64, f < {width}] = sum[c < 64] s[b, t, c] * w[c, f]
         d[b < B, t < 64, f < {width}] = h[b, t, f] * h[b, t, f]
         dw[c < 64, f < {width}] = sum[b < B, t < 64] s[b, t, c] * d[b, t, f]
         {more}
         output dw = dw
         output z = z"
    )
}

/// The buffer in which a kernel leaves a value of this name.
fn place_of<'p>(plan: &'p bdl_plan::Plan, value: &str) -> Option<&'p str> {
    plan.launches.iter().find_map(|launch| {
        let used = launch.kernel()?;
        let declared = &plan.kernels[used.kernel.0 as usize].buffers;
        let at = declared.iter().position(|b| b.access != bdl_plan::Access::Read && &*b.name == value)?;
        Some(&*plan.buffers[used.buffers[at].buffer.0 as usize].name)
    })
}

#[test]
fn what_is_cheap_and_read_late_is_computed_again() {
    let again = |plan: &bdl_plan::Plan| place_of(plan, "s.again").is_some();
    let needs_y = "z[c < 64] = sum[b < B, t < 64] y[b, t, c] * y[b, t, c]";
    let plan = same(&read_late("y[b, t, c] * 2 - 1", 700, needs_y), &batch(1));
    assert!(again(&plan));
    // It is there when the second product runs, and the first value is not needed any more.
    let reads = |name: &str| {
        let products = plan.launches.iter().filter_map(|launch| match &launch.op {
            bdl_plan::Op::Contract(c) => Some(&*plan.buffers[c.a.buffer.0 as usize].name == name),
            _ => None,
        });
        products.collect::<Vec<bool>>()
    };
    // Nobody reads y any more: the value lies there.
    assert_eq!(place_of(&plan, "s.again"), Some("y"));
    assert_eq!((reads("s"), reads("y")), (vec![true, false], vec![false, true]));
    // A narrow layer, a function, and an operand that nobody else reads any more do not pay.
    let is_kept = |scaled, width, more| !again(&plan_of(&parse(&read_late(scaled, width, more))));
    assert!(is_kept("y[b, t, c] * 2 - 1", 600, needs_y));
    assert!(is_kept("log(y[b, t, c])", 700, needs_y));
    assert!(is_kept("y[b, t, c] * 2 - 1", 700, "z[c < 64] = w[c, 0]"));
    // An output is kept anyway.
    assert!(is_kept("y[b, t, c] * 2 - 1", 700, &format!("{needs_y}\n output s = s")));
}

#[test]
fn what_is_made_of_a_value_that_is_computed_again_is_kept() {
    let plan = plan_of(&parse(
        "program two
         size B batch
         input x: real[B, 64, 64] per example
         param w: real[64, 700]
         value y: real[B, 64, 64]
         value s: real[B, 64, 64]
         value u: real[B, 64, 64]
         value h: real[B, 64, 700]
         value g: real[B, 64, 700]
         value d: real[B, 64, 700]
         value dw: real[64, 700]
         value dv: real[64, 700]
         value z: real[64]
         y[b < B, t < 64, c < 64] = exp(x[b, t, c])
         s[b < B, t < 64, c < 64] = y[b, t, c] * 2 - 1
         u[b < B, t < 64, c < 64] = s[b, t, c] * 3
         h[b < B, t < 64, f < 700] = sum[c < 64] s[b, t, c] * w[c, f]
         g[b < B, t < 64, f < 700] = sum[c < 64] u[b, t, c] * w[c, f]
         d[b < B, t < 64, f < 700] = h[b, t, f] * g[b, t, f]
         dw[c < 64, f < 700] = sum[b < B, t < 64] s[b, t, c] * d[b, t, f]
         dv[c < 64, f < 700] = sum[b < B, t < 64] u[b, t, c] * d[b, t, f]
         z[c < 64] = sum[b < B, t < 64] y[b, t, c] * y[b, t, c]
         output dw = dw
         output dv = dv
         output z = z",
    ));
    let made = |name: &str| place_of(&plan, name).is_some();
    // With `u` computed again as well, `s` would stay after all.
    assert!(made("s.again") && !made("u.again"));
}

/// Attention with what a gradient reads of it, with `width` numbers for each of 64 positions.
fn scores(width: usize) -> String {
    format!(
        "program scores
         size B batch
         input x: real[B, 64, {width}] per example
         value q: real[B, 64, {width}]
         value s: real[B, 64, 64]
         value a: real[B, 64, 64]
         value o: real[B, 64, {width}]
         value y: real[B, 64, {width}]
         value d: real[B, 64, {width}]
         value dv: real[B, 64, {width}]
         value dq: real[B, 64, {width}]
         q[b < B, t < 64, c < {width}] = sin(x[b, t, c])
         s[b < B, i < 64, j < 64] = sum[c < {width}] q[b, i, c] * q[b, j, c]
         a[b < B, i < 64, j < 64] = exp(s[b, i, j] / 8 - 1)
         o[b < B, i < 64, c < {width}] = sum[j < 64] a[b, i, j] * q[b, j, c]
         y[b < B, i < 64, c < {width}] = sin(o[b, i, c])
         d[b < B, i < 64, c < {width}] = sum[t < 64] y[b, t, c] * x[b, i, c]
         dv[b < B, j < 64, c < {width}] = sum[i < 64] a[b, i, j] * d[b, i, c]
         dq[b < B, j < 64, c < {width}] = d[b, j, c] * q[b, j, c]
         output dv = dv
         output dq = dq"
    )
}

#[test]
fn scores_of_attention_are_computed_again_and_never_whole() {
    let place = |plan: &bdl_plan::Plan, name: &str| {
        plan.buffers.iter().find(|buffer| &*buffer.name == name).map(|buffer| buffer.place == bdl_plan::Place::Blocks)
    };
    let plan = same(&scores(8), &batch(2));
    assert_eq!((place(&plan, "s"), place(&plan, "s.again")), (Some(true), Some(true)), "{plan}");
    // Scores that are hardly larger than their factors are kept.
    let plan = same(&scores(16), &batch(1));
    assert_eq!((place(&plan, "s"), place(&plan, "s.again")), (Some(false), None), "{plan}");
}
