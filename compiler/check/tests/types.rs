//! What programs mean: types, ranges, parameters, and the HIR that is built.

mod support;

use bdl_check::hir::{self, ExprKind, IndexKind, Outside, Sub, text, visit};
use bdl_check::{model_of, show_type, table};

/// The result type of a definition with the sizes of its signature as names.
fn result(program: &str) -> String {
    let checked = support::entry(program, "f");
    let entry = &checked.hir.entries[0];
    show_type(&checked.hir.functions[entry.function.0 as usize].body.ty)
}

#[test]
fn result_types() {
    let cases = [
        ("fn f(x: f32[n, m]) -> f32[m, n] { for j, i: x[i, j] }", "f32[m, n]"),
        (
            "fn f(x: f32[T, C], w: f32[K, C, F]) -> f32[T - K + 1, F] where T >= K - 1 { for t, u: sum[k, c] x[t + k, c] * w[k, c, u] }",
            "f32[T - K + 1, F]",
        ),
        ("fn f(x: f32[T]) -> f32[T] { for t < T: x[t - 1 else 0] + x[clamp(t + 1)] * x[mod(t + 2)] }", "f32[T]"),
        ("fn f(x: f32[T]) -> f32 where T >= 1 { x[last] }", "f32"),
        ("fn f(x: f32[T]) -> f32[3] where T >= 5 { x[2..5] }", "f32[3]"),
        ("fn f(x: f32[T, C]) -> f32[C] where T >= 2 { x[1] }", "f32[C]"),
        ("fn f(x: f32[2 * T]) -> f32[T] { for t < T: x[2 * t] + x[2 * t + 1] }", "f32[T]"),
        ("fn f(x: f32[T]) -> f32[2 * T] { for t < 2 * T: x[t / 2] }", "f32[2 * T]"),
        ("fn f(x: f32[T]) -> f32[T] { for t: x[T - 1 - t] }", "f32[T]"),
        ("fn f(x: f32[V, C], t: index(V)[E]) -> f32[E, C] { for e, c: x[t[e], c] }", "f32[E, C]"),
        (
            "fn f(h: f32[V, C], s: index(V)[E], d: index(V)[E]) -> f32[V, C] { for v, c: sum[e if d[e] == v] h[s[e], c] }",
            "f32[V, C]",
        ),
        ("fn f(x: f32[n]) -> index(n) where n >= 1 { argmax[i] x[i] }", "index(n)"),
        ("fn f(x: f32[n]) -> bool { any[i] (x[i] > 0) }", "bool"),
        ("fn f(x: f32[a, n], y: f32[a, m]) -> f32[a, n + m] { concat(x, y) }", "f32[a, m + n]"),
        ("fn f(x: f32[n], y: f32[n]) -> f32[2, n] { stack(x, y) }", "f32[2, n]"),
        ("fn f(x: f32[h, w, c]) -> f32[c, h * w] { reshape(transpose(x, [2, 0, 1]), [c, h * w]) }", "f32[c, h * w]"),
        ("fn f(x: DNA[T]) -> f32[T, 4] { onehot(x) }", "f32[T, 4]"),
        ("fn f(x: f32[T, C]) -> f32[T, C] { x |> softmax |> log }", "f32[T, C]"),
        ("fn f(x: f32?[n]) -> f32[n] { x else 0 }", "f32[n]"),
        ("fn f(x: f32?) -> f32 { if known(x) then 1 else 0 }", "f32"),
        ("fn f(x: logit[n], y: f32[n]) -> f32[n] { x * y }", "f32[n]"),
        (
            "fn f(g: Graph[V, E]) -> f32[V] { for v: sum[e if g.dst[e] == v] 1 }\ntype Graph[V, E] = (src: index(V)[E], dst: index(V)[E])",
            "f32[V]",
        ),
        ("fn f(x: f32[T]) -> (h: f32) { scan t in T from (h = 0) { next h = h + x[t] } }", "(h: f32)"),
        ("fn f(x: f32[T]) -> f32[T] { scan t in T from (h = 0) { next h = h + x[t]; emit next h } }", "f32[T]"),
        ("fn f(x: f32) -> f32 { let r = iterate from (y = x) until y < 1 at most 9 { next y = y / 2 }; r.y }", "f32"),
        ("fn f(x: f32[n]) -> f32[n] { let y = sum[i] square(x[i]); grad(y, x) }", "f32[n]"),
        ("fn f(x: f32[n]) -> f32[n] { freeze(x) + 1 }", "f32[n]"),
        (
            "fn f(x: f32[n]) -> (values: f32[3], indices: index(n)[3]) where n >= 3 { top_k(x, 3) }",
            "(values: f32[3], indices: index(n)[3])",
        ),
        ("fn f(x: f32[n]) -> f32[n] { x + normal[n] * zeros[n] }", "f32[n]"),
        (
            "fn f(time: f32, risk: f32) -> f32 { (logsumexp[other in batch if other.time >= time] other.risk) - risk }",
            "f32",
        ),
        ("fn f(x: f32[T, C]) -> f32[C] where T >= 1 { mean[batch] (for c: mean[t] x[t, c]) }", "f32[C]"),
        ("fn f(D: dim, x: f32[n]) -> f32[n] { for i: x[i] * sin(i / pow(10000, i / n)) * sqrt(n / 2) }", "f32[n]"),
        ("layer f(k: dim = 3)(x: f32[T, C]) -> f32[T, k * C] { x |> Dense(k * C) |> relu }", "f32[T, 3 * C]"),
        ("layer f(inner: layer(f32[C]) -> f32[D] = Dense(7))(x: f32[C]) -> f32[D] { x |> inner }", "f32[7]"),
        ("layer f()(x: f32[T, C]) -> f32[T, 6] { x |> Bidirectional(Lstm(2), Gru(4, reverse: true)) }", "f32[T, 6]"),
        ("layer f(act: fn(f32) -> f32 = tanh)(x: f32[C]) -> f32[C] { x |> act }", "f32[C]"),
        ("layer f(widths: [dim] = [3, 5])(x: f32[C]) -> f32[5] { x |> chain(w in widths: Dense(w)) }", "f32[5]"),
        ("let k = 4\nfn f(x: f32[k]) -> f32 { x[k - 1] }", "f32"),
    ];
    for (program, wanted) in cases {
        assert_eq!(result(program), wanted, "{program}");
    }
}

/// The function of the only entry, and a place to look its parameters up.
fn function(checked: &support::Checked) -> &hir::Function {
    &checked.hir.functions[checked.hir.entries[0].function.0 as usize]
}

#[test]
fn ranges_follow_from_reads() {
    let checked = support::entry(
        "fn f(x: f32[T, C], w: f32[K, C]) -> f32[T - K + 1] where T >= K { for t: sum[k, c] x[t + k, c] * w[k, c] }",
        "f",
    );
    let ranges: Vec<String> = function(&checked)
        .indices
        .iter()
        .map(|index| match &index.kind {
            IndexKind::Range(size) => format!("{} < {size}", index.name),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(ranges, ["t < T - K + 1", "k < K", "c < C"]);
    let laws: Vec<String> = checked.hir.laws.iter().map(|law| law.least.to_string()).collect();
    assert_eq!(laws, ["T - K"]);
}

#[test]
fn guarded_reads_say_what_is_outside() {
    let checked =
        support::entry("fn f(x: f32[T]) -> f32[T] { for t < T: x[t - 1 else 7] + x[clamp(t + 1)] + x[t] }", "f");
    let mut outsides = Vec::new();
    visit::each(&function(&checked).body, &mut |part| {
        if let ExprKind::Subscript { subs, .. } = &part.kind {
            for sub in subs {
                if let Sub::Affine { outside, offset, .. } = sub {
                    outsides.push((
                        offset.to_string(),
                        matches!(outside, Outside::Never),
                        matches!(outside, Outside::Clamp),
                    ));
                }
            }
        }
    });
    assert_eq!(
        outsides,
        [("-1".to_string(), false, false), ("1".to_string(), false, true), ("0".to_string(), true, false)]
    );
}

#[test]
fn paths_of_parameters_are_stable() {
    let program = "
layer Unit(width: dim)(x: f32[C]) -> f32[width] { x |> Dense(width) |> relu |> Dense(width) |> relu }
model f(x: f32[5]) -> f32[2] {
  let trunk = Dense(3)
  let pair = chain(_ in 2: Unit(3))
  let h = x |> trunk |> relu |> pair
  h |> Unit(4) |> chain(w in [1, 2]: Dense(w))
}";
    let checked = support::entry(program, "f");
    let paths: Vec<&str> = checked.hir.entries[0]
        .store
        .params
        .iter()
        .map(|param| &*param.path)
        .filter(|path| path.ends_with(".w"))
        .collect();
    assert_eq!(
        paths,
        [
            "trunk.w",
            "pair.unit_1.dense_1.w",
            "pair.unit_1.dense_2.w",
            "pair.unit_2.dense_1.w",
            "pair.unit_2.dense_2.w",
            "unit_1.dense_1.w",
            "unit_1.dense_2.w",
            "dense_1.w",
            "dense_2.w",
        ]
    );
}

#[test]
fn an_instance_is_shared_and_an_unread_parameter_is_not_made() {
    let program = "model f(x: f32[4], y: f32[4]) -> f32[2] { let g = Dense(2, bias: false); g(x) + g(y) }";
    let checked = support::entry(program, "f");
    let paths: Vec<&str> = checked.hir.entries[0].store.params.iter().map(|param| &*param.path).collect();
    assert_eq!(paths, ["g.w"]);
}

#[test]
fn two_draws_of_one_layer_have_sites_of_their_own() {
    let program = "model f(x: f32[4]) -> f32[4] { let d = Twice(); x |> d |> d }
layer Twice()(x: f32[C]) -> f32[C] { x |> dropout(0.5) |> dropout(0.5) }";
    let checked = support::entry(program, "f");
    let mut sites = std::collections::BTreeSet::new();
    let mut count = 0;
    for function in &checked.hir.functions {
        visit::each(&function.body, &mut |part| {
            if let ExprKind::Builtin(hir::Builtin::Uniform { site }, _) = &part.kind {
                sites.insert(*site);
                count += 1;
            }
        });
    }
    assert_eq!((count, sites.len()), (4, 4));
}

#[test]
fn laws_that_only_data_can_decide_are_handed_on() {
    let checked = support::entry(
        "model f(x: f32[T, 4]) -> f32[4, 2] { x |> Conv1d(2, kernel: 9) |> pick }\nfn pick(x: f32[T, C]) -> f32[4, C] where T >= 4 else \"four\" { x[0..4] }",
        "f",
    );
    let laws: Vec<String> = checked.hir.laws.iter().map(|law| format!("{} >= 0: {}", law.least, law.message)).collect();
    assert_eq!(laws, ["T - 9 >= 0: the sequence must be as long as the kernel", "T - 12 >= 0: four"]);
    assert_eq!(checked.hir.sizes, [("T".into(), hir::SizeKind::PerExample)]);
}

/// Without the file the data's sizes are names: what must be true of them is kept for when they are known.
#[test]
fn sizes_of_absent_data_are_taken_to_fit() {
    let program =
        TRAIN.replace("f32[60, 4], site = category(EI IE N)", "f32[dna.len, 4], site = category(site.classes)");
    let checked = support::check(&program);
    assert!(checked.diagnostics.is_empty(), "{}", checked.rendered());
    let laws: Vec<&str> = checked.hir.laws.iter().map(|law| law.message.as_str()).collect();
    assert_eq!(
        laws,
        ["the sequence must be as long as the kernel", "3 must be site.classes", "3 must be site.classes"]
    );
}

#[test]
fn a_size_that_a_parameter_needs_is_one_number() {
    let checked = support::entry("model f(x: f32[L, 4]) -> f32[3] { x |> flatten |> Dense(3) }", "f");
    assert_eq!(checked.hir.sizes, [("L".into(), hir::SizeKind::Built)]);
}

const TRAIN: &str = r#"
// data D: dna = f32[60, 4], site = category(EI IE N), unused = f32[7]
data D = csv("d.csv") { dna = onehot(column("s"), DNA); site = category(column("y")); unused = columns("z*") }
model Net(width: dim = 8)(dna: f32[L, 4]) -> logit[3] { dna |> Conv1d(width, kernel: 3) |> BatchNorm() |> relu |> flatten |> Dense(3) }
train t(lr: f32 = 1e-3) {
  model     net = Net()
  data      D
  loss      cross_entropy(net(dna), site)
  penalty   1e-4 * l2(net.dense_1.w)
  optimizer adamw(cosine(lr))
  epochs    3
  clip      norm 1.0
  predict   kind = softmax(net(dna))
  report    accuracy(kind, site)
}
"#;

#[test]
fn a_train_block_as_data() {
    let checked = support::check(TRAIN);
    assert!(checked.diagnostics.is_empty(), "{}", checked.rendered());
    let train = &checked.hir.trains[0];
    assert_eq!(train.hyper, [("lr".to_string(), "0.001".to_string()), ("net.width".to_string(), "8".to_string())]);
    assert_eq!(train.inputs.iter().map(|field| &*field.name).collect::<Vec<_>>(), ["dna", "site"]);
    assert_eq!((train.epochs, train.batch), (3, 32));
    let params: Vec<&str> = train.store.params.iter().map(|param| &*param.path).collect();
    assert_eq!(
        params,
        [
            "net.conv1d_1.w",
            "net.conv1d_1.b",
            "net.batch_norm_1.gain",
            "net.batch_norm_1.bias",
            "net.dense_1.w",
            "net.dense_1.b"
        ]
    );
    let states: Vec<&str> = train.store.states.iter().map(|state| &*state.path).take(4).collect();
    assert_eq!(
        states,
        ["net.batch_norm_1.mu", "net.batch_norm_1.var", "optimizer.net.conv1d_1.w.m", "optimizer.net.conv1d_1.w.v"]
    );
    assert_eq!(train.objectives[0].optimizer.as_ref().map(|optimizer| optimizer.parts.len()), Some(6));
    let names = train.predictions[0].classes.as_ref().map(|names| names.to_vec());
    assert_eq!(names, Some(vec!["EI".to_string(), "IE".to_string(), "N".to_string()]));
    let printed = text::print(&checked.hir);
    assert!(printed.contains("update net.batch_norm_1.mu ="), "{printed}");
}

#[test]
fn the_table_counts_parameters_and_work() {
    let checked = support::check(TRAIN);
    let train = &checked.hir.trains[0];
    let model = model_of(&checked.hir, train.objectives[0].loss, "net").expect("the model");
    let table = table(&checked.hir, &train.store, model).expect("a table");
    let rows: Vec<String> = table
        .rows
        .iter()
        .map(|row| format!("{} {} {} {}", row.shown, show_type(&row.result), row.parameters, row.kept))
        .collect();
    assert_eq!(
        rows,
        ["Conv1d(8, kernel: 3) f32[58, 8] 104 464", "BatchNorm() f32[58, 8] 16 464", "Dense(3) f32[3] 1395 3"]
    );
    // Two operations for each of 58 * 8 outputs and 3 * 4 taps, and one for the bias.
    assert_eq!(table.rows[0].flops.as_const(), Some(58 * 8 * (12 * 2 + 1)));
    assert_eq!(table.parameters.as_const(), Some(104 + 16 + 1395));
}

#[test]
fn a_reduction_counts_once_for_indices_that_it_does_not_mention() {
    let start = TRAIN.find("model Net").unwrap();
    let end = start + TRAIN[start..].find('\n').unwrap();
    let of = |body: &str| {
        let layer = format!("layer L(x: f32[T, C]) -> f32[T, C] {{\n{body}\n}}\n");
        let model = "model Net(dna: f32[T, 4]) -> logit[3] { dna |> L() |> flatten |> Dense(3) }";
        let checked = support::check(&format!("{}{layer}{model}{}", &TRAIN[..start], &TRAIN[end..]));
        assert!(checked.diagnostics.is_empty(), "{}", checked.rendered());
        let train = &checked.hir.trains[0];
        let model = model_of(&checked.hir, train.objectives[0].loss, "net").expect("the model");
        table(&checked.hir, &train.store, model).expect("a table").rows[0].flops.as_const().unwrap()
    };
    // 60 places of 4 channels: a difference for each, and the maximum over all channels, once a place.
    assert_eq!(of("for t, c: x[t, c] - max[k] x[t, k]"), 60 * 4 + 60 * 4);
    // Through a local that names the index, and one that does not.
    assert_eq!(of("for t, c: { let a = x[t, c]\n sum[k] a * x[t, k] }"), 60 * 4 * 4 * 2);
    assert_eq!(of("for t, c: { let a = x[t, 0 else 0]\n x[t, c] + sum[k] a * x[t, k] }"), 60 * 4 + 60 * 4 * 2);
}

/// A file and everything it says stays a `Result`: cut and shuffled programs give messages, never a panic.
#[test]
fn broken_programs_give_messages() {
    let programs =
        [TRAIN, include_str!("../../../tests/ui/dim-mismatch/residual.bdl"), include_str!("../../../stdlib/nn.bdl")];
    let mut random = 12345u64;
    let mut next = move |below: usize| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as usize % below.max(1)
    };
    for program in programs {
        let start = program.find("\ndata D").unwrap_or(0);
        let (header, program) = program.split_at(start);
        let words: Vec<&str> = program.split_inclusive([' ', '\n', '(', ')', '[', ']', ',']).collect();
        for _ in 0..25 {
            let mut broken = words.clone();
            for _ in 0..1 + next(3) {
                let (a, b) = (next(broken.len()), next(broken.len()));
                match next(3) {
                    0 => drop(broken.remove(a)),
                    1 => broken.swap(a, b),
                    _ => broken[a] = broken[b],
                }
            }
            let text = format!("{header}{}", broken.concat());
            let (sources, modules, _) = support::load("broken.bdl", &text, &[]);
            let (_, messages) =
                bdl_check::check(&sources, &modules, &support::facts(header), &bdl_check::Options::default());
            assert!(messages.len() < 200);
        }
    }
}
