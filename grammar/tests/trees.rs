//! What the grammar makes of a text: precedence, separators, the kinds of nodes.
//!
//! Trees are compared as S-expressions, written by [`show`].

mod common;

use bdl_grammar::ast::*;
use common::parsed;

/// The value of `let it = TEXT` inside a block, as an S-expression.
fn value(text: &str) -> String {
    let file = parsed("test.bdl", &format!("fn f() -> f32 {{\n  let it = {text}\n}}\n"));
    let ItemKind::Fn(item) = &file.items[0].kind else { panic!("not a fn") };
    assert_eq!(item.body.stmts.len(), 1, "{text} is several statements");
    let StmtKind::Let(it) = &item.body.stmts[0].kind else { panic!("not a let") };
    show(&it.value)
}

/// The statements of a block, as S-expressions.
fn statements(text: &str) -> Vec<String> {
    let file = parsed("test.bdl", &format!("fn f() -> f32 {{\n{text}\n}}\n"));
    let ItemKind::Fn(item) = &file.items[0].kind else { panic!("not a fn") };
    let show = |stmt: &Stmt| match &stmt.kind {
        StmtKind::Let(it) => format!("let {} {}", it.name, show(&it.value)),
        StmtKind::Expr(value) => show(value),
        StmtKind::Next { name, value } => format!("next {name} {}", show(value)),
        StmtKind::Update { name, value } => format!("update {name} {}", show(value)),
        StmtKind::Emit(value) => format!("emit {}", show(value)),
        StmtKind::Param(it) => format!("param {}", it.names[0]),
        StmtKind::State(it) => format!("state {}", it.names[0]),
        StmtKind::Const(it) => format!("const {}", it.name),
        StmtKind::Fn(it) => format!("fn {}", it.name),
        StmtKind::Error => "error".to_string(),
    };
    item.body.stmts.iter().map(show).collect()
}

fn show(expr: &Expr) -> String {
    let all = |exprs: &[Expr]| exprs.iter().map(show).collect::<Vec<_>>().join(" ");
    match &expr.kind {
        ExprKind::Name(name) => name.text.clone(),
        ExprKind::Int(value) => value.to_string(),
        ExprKind::Float(value) => format!("{value:?}"),
        ExprKind::Str(text) => format!("{text:?}"),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::Quantity { value, unit } => format!("(quantity {} {unit})", show(value)),
        ExprKind::Next(name) => format!("(next {name})"),
        ExprKind::Unary { op: UnaryOp::Neg, value } => format!("(neg {})", show(value)),
        ExprKind::Unary { op: UnaryOp::Not, value } => format!("(not {})", show(value)),
        ExprKind::Binary { op, left, right } => format!("({} {} {})", op.text(), show(left), show(right)),
        ExprKind::Pipe { value, into } => format!("(|> {} {})", show(value), show(into)),
        ExprKind::Call { callee, args } => {
            let args: Vec<String> = args.iter().map(show_arg).collect();
            format!("({}! {})", show(callee), args.join(" "))
        }
        ExprKind::Subscript { base, subs } => {
            let subs: Vec<String> = subs.iter().map(show_sub).collect();
            format!("{}[{}]", show(base), subs.join(" "))
        }
        ExprKind::Field { base, field } => format!("{}.{field}", show(base)),
        ExprKind::List(values) => format!("(list {})", all(values)),
        ExprKind::Record(fields) => {
            let field = |field: &RecordField| match &field.name {
                Some(name) => format!("{name}: {}", show(&field.value)),
                None => show(&field.value),
            };
            format!("(record {})", fields.iter().map(field).collect::<Vec<_>>().join(" "))
        }
        ExprKind::For { binders, body } => format!("(for {}: {})", show_binders(binders), show(body)),
        ExprKind::Reduce { op, binders, filter, default, body, .. } => {
            let filter = filter.as_ref().map_or(String::new(), |filter| format!(" if {}", show(filter)));
            let default = default.as_ref().map_or(String::new(), |default| format!(" else {}", show(default)));
            format!("({}[{}{filter}{default}] {})", op.text(), show_binders(binders), show(body))
        }
        ExprKind::If { condition, then, other } => {
            format!("(if {} {} {})", show(condition), show(then), show(other))
        }
        ExprKind::Else { value, default } => format!("(else {} {})", show(value), show(default)),
        ExprKind::Except { value, except } => format!("(except {} {})", show(value), all(except)),
        ExprKind::Block(block) => format!("(block {})", block.stmts.len()),
        ExprKind::Scan(scan) => {
            let reversed = match &scan.reversed {
                Reversed::No => String::new(),
                Reversed::Always(_) => " reversed".to_string(),
                Reversed::If(condition) => format!(" reversed-if {}", show(condition)),
            };
            let carried: Vec<String> =
                scan.carried.iter().map(|carried| format!("{}={}", carried.name, show(&carried.init))).collect();
            let checkpoint = scan.checkpoint.as_ref().map_or(String::new(), |every| format!(" every {}", show(every)));
            format!("(scan {} {}{reversed} [{}]{checkpoint})", scan.index, show(&scan.extent), carried.join(" "))
        }
        ExprKind::Iterate(it) => {
            format!("(iterate {} until {} most {})", it.carried.len(), show(&it.until), show(&it.at_most))
        }
        ExprKind::Error => "error".to_string(),
    }
}

fn show_arg(arg: &Arg) -> String {
    match &arg.kind {
        ArgKind::Positional(value) => show(value),
        ArgKind::Named { name, value } => format!("{name}: {}", show(value)),
        ArgKind::Each { binder, list, body } => {
            let binder = binder.as_ref().map_or("_", |name| &name.text);
            format!("(each {binder} {} {})", show(list), show(body))
        }
        ArgKind::Hole => "_".to_string(),
    }
}

fn show_sub(sub: &Sub) -> String {
    match &sub.kind {
        SubKind::Expr(index) => show(index),
        SubKind::Else { index, default } => format!("(guarded {} {})", show(index), show(default)),
        SubKind::Rest => "..".to_string(),
        SubKind::Range { from, to } => format!("({}..{})", show(from), show(to)),
    }
}

fn show_binders(binders: &[Binder]) -> String {
    let show = |binder: &Binder| match &binder.kind {
        BinderKind::Rest => "..".to_string(),
        BinderKind::Name(name) => name.text.clone(),
        BinderKind::Bounded { name, bound } => format!("{name}<{}", show(bound)),
        BinderKind::In { name, extent } => format!("{name} in {}", show(extent)),
        BinderKind::Batch => "BATCH".to_string(),
    };
    binders.iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn operators_bind_as_in_mathematics() {
    assert_eq!(value("a + b * c - d / e % f"), "(- (+ a (* b c)) (% (/ d e) f))");
    assert_eq!(value("-a * b"), "(* (neg a) b)");
    assert_eq!(value("-a.b[1]"), "(neg a.b[1])");
    assert_eq!(value("not a == b and c or d"), "(or (and (not (== a b)) c) d)");
    assert_eq!(value("a + 1 |> f |> g(2)"), "(|> (|> (+ a 1) f) (g! 2))");
    assert_eq!(value("a or b |> f"), "(|> (or a b) f)");
    assert_eq!(value("next h + 1"), "(+ (next h) 1)");
}

#[test]
fn a_reduction_takes_a_product_and_ends_one() {
    assert_eq!(value("sum[c] x[c] * w[c] + b"), "(+ (sum[c] (* x[c] w[c])) b)");
    assert_eq!(value("a * sum[k] x[k] * y[k] - 1"), "(- (* a (sum[k] (* x[k] y[k]))) 1)");
    assert_eq!(value("-sum[z] -x[z]"), "(neg (sum[z] (neg x[z])))");
    assert_eq!(value("sum[i] sum[j] x[i, j]"), "(sum[i] (sum[j] x[i j]))");
    assert_eq!(value("(sum[i] a[i]) * b"), "(* (sum[i] a[i]) b)");
    assert_eq!(value("max(a, b) + max[i] a[i]"), "(+ (max! a b) (max[i] a[i]))");
    assert_eq!(value("sum[e if dst[e] == v else 0] h[src[e]]"), "(sum[e if (== dst[e] v) else 0] h[src[e]])");
    assert_eq!(value("min[i else 3] x[i]"), "(min[i else 3] x[i])");
    assert_eq!(value("mean[batch, t] x[t]"), "(mean[BATCH t] x[t])");
    assert_eq!(
        value("logsumexp[other in batch if other.time >= time] other.risk"),
        "(logsumexp[other in batch if (>= other.time time)] other.risk)"
    );
    assert_eq!(value("sum[k < K, .., j in n + 1] 1"), "(sum[k<K .. j in (+ n 1)] 1)");
}

#[test]
fn else_has_three_uses() {
    assert_eq!(value("if a then b else c"), "(if a b c)");
    assert_eq!(value("if a then if b then 1 else 2 else 3"), "(if a (if b 1 2) 3)");
    assert_eq!(value("age else 40"), "(else age 40)");
    assert_eq!(value("if a then b else c else d"), "(if a b (else c d))");
    assert_eq!(value("if a then (b else c) else d"), "(if a (else b c) d)");
    assert_eq!(value("x[t + 1 else 0, c]"), "x[(guarded (+ t 1) 0) c]");
    assert_eq!(value("x[(key else 0)]"), "x[(else key 0)]");
    assert_eq!(value("for i: x[i] else 0"), "(for i: (else x[i] 0))");
}

#[test]
fn subscripts_and_arguments() {
    assert_eq!(value("x[.., a..b, last, clamp(t + k)]"), "x[.. (a..b) last (clamp! (+ t k))]");
    assert_eq!(value("letters(DNA)[600]"), "(letters! DNA)[600]");
    assert_eq!(value("hg38.window(1000)"), "(hg38.window! 1000)");
    assert_eq!(value("f(_, mean: 1, x)"), "(f! _ mean: 1 x)");
    assert_eq!(value("impute(mean)"), "(impute! mean)");
    assert_eq!(value("f(x, max, sum[k] x[k])"), "(f! x max (sum[k] x[k]))");
    assert_eq!(value("chain(d in [1, 4]: R(8, dilation: d))"), "(chain! (each d (list 1 4) (R! 8 dilation: d)))");
    assert_eq!(value("chain(_ in 6: Block(256))"), "(chain! (each _ 6 (Block! 256)))");
    assert_eq!(
        value("columns(\"*\" except \"y\", \"id\", missing: keep)"),
        "(columns! (except \"*\" \"y\" \"id\") missing: keep)"
    );
    assert_eq!(value("ramp(0, 1, 400 epochs)"), "(ramp! 0 1 (quantity 400 epochs))");
    assert_eq!(value("(a)"), "a");
    assert_eq!(value("(a, b)"), "(record a b)");
    assert_eq!(value("(a,)"), "(record a)");
    assert_eq!(value("(mean: a, sum: b).mean"), "(record mean: a sum: b).mean");
}

#[test]
fn literals() {
    assert_eq!(value("1_000"), "1000");
    assert_eq!(value("1e-3"), "0.001");
    assert_eq!(value("12.5E+1"), "125.0");
    assert_eq!(value(r#""a \"b\" \\ \n""#), r#""a \"b\" \\ \n""#);
    assert_eq!(value("9223372036854775807"), "9223372036854775807");
    assert_eq!(value("true"), "true");
}

#[test]
fn recurrence() {
    assert_eq!(
        value("scan t in T + 1 reversed if r from (h = zeros[n], c = 0) checkpoint every 10 { next h = 1 }"),
        "(scan t (+ T 1) reversed-if r [h=zeros[n] c=0] every 10)"
    );
    assert_eq!(value("scan t in T reversed from (h = 0) { emit h }[1].x"), "(scan t T reversed [h=0])[1].x");
    assert_eq!(
        value("iterate from (x = x0) until x < 1 or y at most 2 * n { next x = x / 2 }"),
        "(iterate 1 until (or (< x 1) y) most (* 2 n))"
    );
}

#[test]
fn lines_end_statements_unless_they_cannot() {
    assert_eq!(statements("a\n- b\n-c"), ["(- a b)", "(neg c)"]);
    assert_eq!(statements("a; b;; c;"), ["a", "b", "c"]);
    assert_eq!(statements("x\n  |> f\n  |> g"), ["(|> (|> x f) g)"]);
    assert_eq!(statements("if a\n  then b\n  else c"), ["(if a b c)"]);
    assert_eq!(statements("f(\n  a,\n  b\n)\n(c, d)"), ["(f! a b)", "(record c d)"]);
    assert_eq!(statements("let a =\n  b +\n  c"), ["let a (+ b c)"]);
    assert_eq!(statements("a // one\n// two\n\n+ b"), ["(+ a b)"]);
    assert_eq!(statements("let a = f({\n let b = 1\n b\n})\na"), ["let a (f! (block 2))", "a"]);
    assert_eq!(statements("next h = 1\nemit next h\nupdate w = 2"), ["next h 1", "emit (next h)", "update w 2"]);
    assert_eq!(statements("a\r\nb\r\n"), ["a", "b"]);
}

#[test]
fn one_bracket_holds_inputs() {
    let file = parsed(
        "test.bdl",
        "layer A(x: f32) -> f32 { x }\nlayer B(n: dim)(x: f32, y: f32) -> f32 { x }\nlayer C()(x: f32) -> f32 { x }",
    );
    let brackets: Vec<(bool, usize, usize)> = file
        .items
        .iter()
        .map(|item| match &item.kind {
            ItemKind::Layer(layer) => (layer.hyper_written, layer.hyper.len(), layer.inputs.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(brackets, [(false, 0, 1), (true, 1, 2), (true, 0, 1)]);
}

#[test]
fn documentation_belongs_to_the_item_after_it() {
    let text = "//! Of the file.\n//!\n//! More.\n\n// a comment\n/// Of A.\n///   Indented.\nlet a = 1\n/// Of B.\nlet b = 2\n";
    let file = parsed("test.bdl", text);
    assert_eq!(file.doc, ["Of the file.", "", "More."]);
    assert_eq!(file.items[0].doc, ["Of A.", "  Indented."]);
    assert_eq!(file.items[1].doc, ["Of B."]);
    let comments: Vec<&str> = file.layout.comments.iter().map(|comment| comment.text.as_str()).collect();
    assert_eq!(comments, ["// a comment"]);
}

#[test]
fn spans_cover_what_was_written() {
    let text = "let y[t] = (a + b) * sum[k] x[t + k, 1e-3]";
    let file = parsed("test.bdl", text);
    let ItemKind::Let(it) = &file.items[0].kind else { panic!("not a let") };
    let slice = |span: bdl_grammar::Span| &text[span.range()];
    assert_eq!(slice(file.items[0].span), text);
    assert_eq!(slice(it.name.span), "y");
    assert_eq!(slice(it.value.span), "(a + b) * sum[k] x[t + k, 1e-3]");
    let ExprKind::Binary { left, right, .. } = &it.value.kind else { panic!("not a product") };
    assert_eq!(slice(left.span), "a + b");
    let ExprKind::Reduce { op_span, binders, body, .. } = &right.kind else { panic!("not a reduction") };
    assert_eq!((slice(*op_span), slice(binders[0].span), slice(body.span)), ("sum", "k", "x[t + k, 1e-3]"));
}

#[test]
fn entries_of_train() {
    let text = "train t(lr: f32 = 1) {\n  model net = N() from \"f\" { net.a.* = \"b.*\"; net.w[k, c] = \"w\"[c, k] }\n  loss a per b\n  \
                stop when x stalls for 5 epochs\n  stop when x stalls for n steps\n  epochs 3\n  batch 4\n  odd 1, 2\n  \
                step s over a.b, c every 5 { loss 1 }\n  frozen net until epoch 3\n  clip norm 1.0\n}";
    let file = parsed("test.bdl", text);
    let ItemKind::Train(train) = &file.items[0].kind else { panic!("not a train") };
    let [model, loss, stop, stop_named, epochs, batch, odd, step, frozen, clip] = train.entries.as_slice() else {
        panic!("{} entries", train.entries.len())
    };
    let TrainEntryKind::Model { from: Some(from), .. } = &model.kind else { panic!("{model:?}") };
    assert_eq!(
        (from.map[0].all, from.map[1].indices.len(), from.map[1].stored_indices[0].text.as_str()),
        (true, 2, "c")
    );
    assert!(matches!(&loss.kind, TrainEntryKind::Loss { per: Some(per), .. } if show(per) == "b"));
    let stall = |entry: &TrainEntry| match &entry.kind {
        TrainEntryKind::Stop { stalls: Some(stall), .. } => format!("{} {}", show(&stall.count), stall.unit),
        other => panic!("{other:?}"),
    };
    assert_eq!((stall(stop), stall(stop_named)), ("5 epochs".to_string(), "n steps".to_string()));
    assert!(matches!(&epochs.kind, TrainEntryKind::Epochs(Expr { kind: ExprKind::Int(3), .. })));
    assert!(matches!(&batch.kind, TrainEntryKind::Batch { size: Expr { kind: ExprKind::Int(4), .. }, parts: None }));
    assert!(matches!(&odd.kind, TrainEntryKind::Word { word, values } if word.text == "odd" && values.len() == 2));
    assert!(
        matches!(&step.kind, TrainEntryKind::Step { over, every: Some(_), entries, .. } if over.len() == 2 && entries.len() == 1)
    );
    assert!(matches!(&frozen.kind, TrainEntryKind::Frozen { until: Some(until), .. } if until.unit.text == "epoch"));
    assert!(matches!(&clip.kind, TrainEntryKind::Clip { word, .. } if word.text == "norm"));
}
