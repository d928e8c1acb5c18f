//! Nothing makes the front end panic, and what it prints it can read.

mod common;

use bdl_grammar::{FileId, SourceMap, parse, print};
use proptest::prelude::*;

/// Parses, renders every message both ways, and prints; all of it must come back.
fn survives(text: &str) {
    let sources = SourceMap::of("random.bdl", text);
    let (file, diagnostics) = parse(&sources, FileId(0));
    for diagnostic in &diagnostics {
        assert!(diagnostic.render(&sources).contains(&diagnostic.message));
        assert!(diagnostic.to_json(&sources).starts_with('{'));
    }
    let printed = print(&file);
    if diagnostics.is_empty() {
        let sources = SourceMap::of("printed.bdl", printed.clone());
        let (again, diagnostics) = parse(&sources, FileId(0));
        assert!(diagnostics.is_empty(), "{text:?} printed as {printed:?}: {}", diagnostics[0].render(&sources));
        assert_eq!(print(&again), printed, "{text:?}");
    }
}

/// Words and signs that make something now and then.
fn soup() -> impl Strategy<Value = String> {
    let words = "let x y t = + - * / ( ) [ ] { } , : ; \n |> if then else for in sum max [ k ] fn layer model train data use \
                 param state update next emit scan from reversed iterate until at most where -> f32 .. . ? _ 1 2.5 1e-3 \"a\" \
                 == < not and or loss per epochs stop when stalls keep predict report by step over every 'q' # // ! & ^ 3x";
    let words: Vec<String> = words.split(' ').map(str::to_string).chain(["\n".to_string()]).collect();
    prop::collection::vec(prop::sample::select(words), 0..60).prop_map(|words| words.join(" "))
}

/// Expressions that parse, from the grammar itself.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "x", "y[t]", "1", "2.50", "1_000", "\"s\"", "true", "next h", "f()", "x.mean", "[1, 2]",
    ]);
    leaf.prop_map(str::to_string).prop_recursive(6, 48, 4, |inner| {
        let operator = prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "<", "and", "or", "|>", "else"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("(({a}) {op} ({b}))")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) + {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} * ({b})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.clone().prop_map(|a| format!("(not ({a}))")),
            inner.clone().prop_map(|a| format!("sum[k, j < 3] ({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("max[e if ({a}) else 0] ({b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("(if {a} then ({b}) else {c})")),
            inner.clone().prop_map(|a| format!("(for i, ..: {a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("f({a}, name: {b}, _)")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("x[{a}, ({b}) else 0, ..]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(a: {a}, b: {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("scan t in T from (h = {a}) {{ next h = {b} }}")),
            inner.prop_map(|a| format!("{{ let q = {a}\nq }}")),
        ]
    })
}

/// 400 of each, or as many as `PROPTEST_CASES` says.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_letters(text in "\\PC{0,120}") {
        survives(&text);
    }

    #[test]
    fn token_soup(text in soup()) {
        survives(&text);
    }

    #[test]
    fn token_soup_in_a_layer(text in soup()) {
        survives(&format!("layer A(x: f32) -> f32 {{\n  {text}\n}}\nfn g() -> f32 {{ 1 }}\n"));
    }

    #[test]
    fn expressions_print_to_a_fixed_point(text in expression()) {
        let text = format!("fn f(x: f32) -> f32 {{\n  let it = {text}\n}}\n");
        let (file, messages) = common::parsed_with_messages("expression.bdl", &text);
        prop_assert!(messages.is_empty(), "{text}{messages}");
        let printed = print(&file);
        let again = common::parsed("printed.bdl", &printed);
        prop_assert_eq!(print(&again), printed);
    }

    #[test]
    fn without_layout_the_tree_stays_the_same(text in expression()) {
        let text = format!("fn f(x: f32) -> f32 {{\n  let it = {text}\n}}\n");
        let mut file = common::parsed("expression.bdl", &text);
        file.layout = Default::default();
        let printed = print(&file);
        let mut again = common::parsed("printed.bdl", &printed);
        again.layout = Default::default();
        prop_assert_eq!(print(&again), printed);
        prop_assert_eq!(without_spans(&again), without_spans(&file));
    }

    #[test]
    fn comments_survive_anywhere(program in 0usize..5, places in prop::collection::vec((0usize..120, any::<bool>()), 1..8)) {
        let path = &common::programs("tests/snippets")[program];
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        for (at, (line, own)) in places.iter().enumerate() {
            let line = line % lines.len();
            lines[line] = if *own { format!("// NOTE{at}\n{}", lines[line]) } else { format!("{} // NOTE{at}", lines[line]) };
        }
        let text = lines.join("\n");
        let printed = print(&common::parsed("commented.bdl", &text));
        for at in 0..places.len() {
            prop_assert_eq!(printed.matches(&format!("NOTE{at}")).count(), 1, "{}", printed);
        }
        prop_assert_eq!(print(&common::parsed("printed.bdl", &printed)), printed, "{}", text);
    }

    #[test]
    fn cut_programs(at in 0usize..4000, program in 0usize..5) {
        let path = &common::programs("tests/snippets")[program];
        let text = std::fs::read_to_string(path).unwrap();
        let end = (0..=at.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        survives(&text[..end]);
        survives(&text[end..]);
    }
}

#[test]
fn depth_is_bounded() {
    let deep = |open: &str, middle: &str, close: &str, count: usize| {
        let text = format!("let x = {}{middle}{}", open.repeat(count), close.repeat(count));
        survives(&text);
        common::diagnostics(&text).first().map(|diagnostic| diagnostic.code)
    };
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("f(", "1", ")"),
        ("x[", "1", "]"),
        ("-", "1", ""),
        ("not ", "a", ""),
        ("for i: ", "1", ""),
        ("sum[i] ", "1", ""),
        ("if a then b else ", "1", ""),
        ("1 + ", "1", ""),
        ("a |> ", "b", ""),
        ("a else ", "b", ""),
        ("{ let y = ", "1", " }"),
        ("", "a", ".b"),
        ("", "a", "()"),
    ] {
        assert_eq!(deep(open, middle, close, 100), None, "{open}");
        assert_eq!(deep(open, middle, close, 20_000), Some("too-deep"), "{open}");
        // As deep as it goes.
        for count in [150, 230, 245, 480] {
            deep(open, middle, close, count);
        }
    }
    // Long is not deep.
    assert_eq!(deep("", "[1", ", 1", 1), Some("unclosed-bracket"));
    let list = format!("let x = [{}]", "-1.5, ".repeat(20_000));
    assert!(common::diagnostics(&list).is_empty());
}

/// The tree in Rust's own notation, without places.
fn without_spans(file: &bdl_grammar::ast::File) -> String {
    let text = format!("{:?}", file.items);
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("Span {") {
        out.push_str(&rest[..at]);
        rest = rest[at..].find('}').map_or("", |close| &rest[at + close + 1..]);
    }
    out + rest
}
