//! Printing: `print(parse(print(file))) == print(file)`, and the canonical form of what people write otherwise.

mod common;

use bdl_grammar::print;
use common::{parsed, programs};

/// Prints, parses what was printed, prints again.
fn printed_twice(name: &str, text: &str) -> String {
    let once = print(&parsed(name, text));
    let twice = print(&parsed(&format!("{name}, printed"), &once));
    assert_eq!(once, twice, "{name} prints differently the second time");
    once
}

#[test]
fn canonical_files_print_as_they_are() {
    let files = programs("tests/snippets");
    assert_eq!(files.len(), 5, "snippets were added or lost");
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(printed_twice(&path.display().to_string(), &text), text, "{}", path.display());
    }
}

#[test]
fn every_program_of_the_project_prints_to_a_fixed_point() {
    let folders = ["../stdlib", "../examples", "../tests", "../../shared/design/programs"];
    let mut count = 0;
    for folder in folders {
        let files = programs(folder);
        if files.is_empty() {
            eprintln!("SKIPPED: no programs under {folder}");
        }
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            // Programs of tests may hold mistakes on purpose.
            if folder == "../tests" && common::diagnostics(&text).iter().any(|diagnostic| diagnostic.is_error()) {
                continue;
            }
            printed_twice(&path.display().to_string(), &text);
            count += 1;
        }
    }
    eprintln!("{count} programs");
}

#[track_caller]
fn prints(text: &str, expected: &str) {
    assert_eq!(printed_twice("test.bdl", text), expected);
}

#[test]
fn layout_is_regular() {
    prints(
        "let   x=1;let y = [ 1,2 , 3, ]\n\n\n\nlet z = f( a,b:c )",
        "let x = 1\nlet y = [1, 2, 3]\n\nlet z = f(a, b: c)\n",
    );
    prints("fn f(x:f32)->f32{x+1}", "fn f(x: f32) -> f32 { x + 1 }\n");
    prints("fn f(x: f32) -> f32 {\n\n\n  let y = x\n\n\n  y }", "fn f(x: f32) -> f32 {\n  let y = x\n\n  y\n}\n");
    prints("model M(x: f32) -> f32\n{ x }", "model M(x: f32) -> f32 { x }\n");
    prints("", "");
    prints("// only a comment", "// only a comment\n");
}

#[test]
fn parentheses_are_kept_and_added_where_needed() {
    prints("let x = ((a)) + (b * c)", "let x = (a) + (b * c)\n");
    prints("let x = (sum[i] a[i]) * b", "let x = (sum[i] a[i]) * b\n");
    prints("let x = (if a then b else c) + 1", "let x = (if a then b else c) + 1\n");
}

#[test]
fn long_lines_break_where_they_can() {
    let long = "layer Convolution(units: dim, kernel: dim, stride: dim = 1, dilation: dim = 1, bias: bool = true)(x: f32[T, C]) -> f32[T, units] { x }";
    prints(
        long,
        "layer Convolution(units: dim, kernel: dim, stride: dim = 1, dilation: dim = 1, bias: bool = true)(
  x: f32[T, C],
) -> f32[T, units] { x }
",
    );
    prints(
        "let x = alpha_alpha_alpha_alpha * beta_beta_beta_beta + gamma_gamma_gamma * delta_delta_delta - epsilon_epsilon",
        "let x = alpha_alpha_alpha_alpha * beta_beta_beta_beta
  + gamma_gamma_gamma * delta_delta_delta
  - epsilon_epsilon
",
    );
    prints(
        "let x = dna |> Conv1d(320, kernel: 26) |> relu |> MaxPool1d(13) |> Conv1d(320, kernel: 26) |> relu |> flatten",
        "let x = dna
  |> Conv1d(320, kernel: 26)
  |> relu
  |> MaxPool1d(13)
  |> Conv1d(320, kernel: 26)
  |> relu
  |> flatten
",
    );
    for line in print(&parsed("long", long)).lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn aligned_definitions_stay_aligned() {
    prints("let a   = 1\nlet bbb = 2\n", "let a = 1\nlet bbb = 2\n");
    prints(
        "fn f(x: f32) -> f32 {\n  let a   = 1\n  let bb  = 2\n  let c = 3\n}",
        "fn f(x: f32) -> f32 {\n  let a  = 1\n  let bb = 2\n  let c = 3\n}\n",
    );
}

#[test]
fn a_tree_that_was_not_parsed_prints() {
    let mut file = parsed("test.bdl", "fn f(x: f32) -> f32 {\n  let y = (x + 1) * 2.50\n\n  y\n}\n");
    file.layout = Default::default();
    assert_eq!(print(&file), "fn f(x: f32) -> f32 {\n  let y = (x + 1) * 2.5\n  y\n}\n");
}
