//! What is said about mistakes: each snapshot holds the text and the message. One mistake, one message.

mod common;

use common::{diagnostics, parsed_with_messages};

/// The text, a rule, the messages; `count` of them.
#[track_caller]
fn shown(text: &str, count: usize) -> String {
    let (_, messages) = parsed_with_messages("net.bdl", text);
    assert_eq!(diagnostics(text).len(), count, "{messages}");
    format!("{text}\n----\n{messages}")
}

macro_rules! messages {
    ($($name:ident: $text:expr;)*) => { $(
        #[test]
        fn $name() {
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), shown($text, 1));
            });
        }
    )* };
}

messages! {
    unclosed_bracket: "layer A(x: f32[T]) -> f32[T] {\n  let a = f(x, g(1)\n  let b = a\n  b\n}";
    unclosed_brace: "layer A(x: f32) -> f32 {\n  x\n\nlayer B(x: f32) -> f32 { x }";
    unclosed_at_the_end: "layer A(x: f32) -> f32 {\n  f(x\n";
    wrong_bracket: "let a = f(x]";
    stray_bracket: "let a = f(x))";
    bad_letter: "let a = x $ 2";
    power: "fn f(x: f32) -> f32 { x ** 2 }";
    hash_comment: "# a comment\nlet a = 1";
    quotes: "data D = csv('a.csv') { x = number(column(\"x\")) }";
    unclosed_text: "let a = csv(\"a.csv)\nlet b = 2";
    bad_number: "let a = 3x";
    number_without_digit: "let a = .5";
    equals_for_equality: "fn f(x: f32) -> f32 { if x = 1 then 2 else 3 }";
    colon_for_range: "fn f(x: f32[T]) -> f32[2] { x[0:2] }";
    typed_let: "fn f(x: f32) -> f32 {\n  let y: f32 = x\n  y\n}";
    missing_let: "fn f(x: f32) -> f32 {\n  y = x\n  y\n}";
    compound_assignment: "optimizer o()(w: f32[..], g: f32[..]) { w -= g }";
    missing_then: "fn f(x: f32) -> f32 { if x > 0 { 1 } else { 2 } }";
    missing_else: "fn f(x: f32) -> f32 {\n  let y = if x > 0 then 1\n  y\n}";
    if_inside_a_sum: "fn f(x: f32) -> f32 { 1 + if x > 0 then 1 else 2 }";
    python: "import torch";
    python_function: "def f(x):\n  return x\n\nlet a = 1";
    return_statement: "fn f(x: f32) -> f32 { return x }";
    misspelled_item: "modle Net(x: f32) -> f32 { x }";
    reduction_without_indices: "fn f(x: f32[n]) -> f32 { sum x }";
    reduction_as_a_name: "fn f(x: f32[n]) -> f32 {\n  let mean = x\n  1\n}";
    reserved_word: "fn f(in: f32) -> f32 { 1 }";
    field_called_batch: "data D = csv(\"a.csv\") { batch = category(column(\"batch\")) }";
    keyword_argument: "model M(x: f32[C]) -> f32 { x |> Dense(3, bias = false) }";
    entry_with_equals: "train t {\n  epochs = 40\n}";
    weights_with_a_colon: "data D = csv(\"a.csv\") {\n  y = category(column(\"y\"))\n  weights: balanced(y)\n}";
    weights_with_a_colon_in_train: "train t {\n  data D\n  weights: balanced(y)\n}";
    field_without_value: "data D = csv(\"a.csv\") {\n  x: f32[3]\n}";
    entry_with_two_values: "train t { batch 64, 32 }";
    input_without_type: "layer A(x) -> f32 { x }";
    no_result: "layer A(x: f32) { x }";
    missing_comma: "let a = f(x y)";
    two_values: "fn f(x: f32) -> f32 {\n  let y = x 2\n  y\n}";
    chained_comparison: "fn f(x: f32) -> f32 { if 0 < x < 1 then 1 else 0 }";
    late_question: "fn f(x: f32[3]?) -> f32 { 1 }";
    stall_without_unit: "train t { stop when valid.loss stalls for 5 }";
    statement_outside: "param w: f32 = zeros";
    comma_at_the_end: "train t {\n  report a, b,\n}";
    trailing_operator: "fn f(x: f32) -> f32 { x + }";
    unknown_escape: "let a = csv(\"c:\\data.csv\")";
}

#[test]
fn several_mistakes() {
    let text = "\
layer A(x: f32[T]) -> f32[T] {
  let a = f(x y)
  let b: f32 = 3
  for t: a[t] +
}

data D = csv(\"a.csv\") {
  sum = number(column(\"a\"))
  y = = 2
  z = number(column(\"z\"))
}

mdoel N(x: f32) -> f32 { x }
train t {
  epochs: 3
  loss mse(a, b
  batch 3
}";
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("several_mistakes", shown(text, 8));
    });
}

#[test]
fn what_parses_stays_in_the_tree() {
    use bdl_grammar::ast::{ItemKind, StmtKind};
    let text = "layer A(x: f32) -> f32 {\n  let a = 1 2\n  let b = scan t in T form (h = 0) { next h = 1; emit h }\n  let c = 3\n  c\n}\nlet d = 1\n";
    let (file, _) = parsed_with_messages("net.bdl", text);
    assert_eq!(file.items.len(), 2);
    let ItemKind::Layer(layer) = &file.items[0].kind else { panic!("not a layer") };
    let kinds: Vec<&str> = layer
        .body
        .stmts
        .iter()
        .map(|stmt| match &stmt.kind {
            StmtKind::Let(_) => "let",
            StmtKind::Expr(_) => "expression",
            StmtKind::Error => "error",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["error", "error", "let", "expression"]);
    assert_eq!(diagnostics(text).len(), 2);
}

/// A statement that lost its indentation belongs where its brackets are, as long as they close.
#[test]
fn a_statement_at_the_margin_stays_in_its_block() {
    assert_eq!(
        diagnostics("train t {\n  model net = Net()\nlet k = 3\n  data D\n  epochs 1\n}\n\nfn f(x: f32) -> f32 { x }")
            .len(),
        0
    );
    assert_eq!(
        diagnostics("train t {\n  model net = Net()\n\nlet k = 3\nlet j = { 4 }\n\nfn f(x: f32) -> f32 { x }").len(),
        1
    );
    assert_eq!(diagnostics("train t {\n  model net = Net()\n\ndata D = csv(\"d.csv\") { x = column(\"x\") }").len(), 1);
}

#[test]
fn codes_and_places() {
    let first = |text: &str| {
        let diagnostic = diagnostics(text).remove(0);
        (diagnostic.code, diagnostic.span().map(|span| (span.start, span.end)))
    };
    assert_eq!(first("let a = f(x"), ("unclosed-bracket", Some((9, 10))));
    assert_eq!(first("let a = $"), ("bad-letter", Some((8, 9))));
    assert_eq!(first("let a = 1e"), ("bad-number", Some((8, 10))));
    assert_eq!(first("let a = 99999999999999999999"), ("bad-number", Some((8, 28))));
    assert_eq!(first("let sum = 1"), ("reserved-word", Some((4, 7))));
    assert_eq!(first("let a = \"x"), ("unclosed-text", Some((8, 10))));
    assert_eq!(first("let a = )"), ("unopened-bracket", Some((8, 9))));
    assert_eq!(first("let a = "), ("syntax", Some((6, 7))));
    assert_eq!(first("let a"), ("syntax", Some((5, 5))));
}
