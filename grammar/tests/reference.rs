//! The language reference in README.md says only what parses: every example in its tables. Its blocks are run by `bdl-tests`.

mod common;

use common::parsed_with_messages;

const REFERENCE: &str = include_str!("../README.md");

/// The text between one `## ` heading and the next.
fn section(heading: &str) -> &'static str {
    let start = REFERENCE.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let text = &REFERENCE[start + 4..];
    &text[..text.find("\n## ").unwrap_or(text.len())]
}

/// What stands in backquotes in the last column of a section's tables; `...` stands for a value.
fn examples(heading: &str) -> Vec<String> {
    let rows = section(heading).lines().filter(|line| line.starts_with("| ") && !line.contains("example"));
    let cells =
        rows.map(|row| row.trim_end_matches('|').replace("\\|", "\u{1}")).map(|row| match row.rsplit_once('|') {
            Some((_, cell)) => cell.replace('\u{1}', "|"),
            None => String::new(),
        });
    let code =
        |cell: String| cell.split('`').skip(1).step_by(2).map(|code| code.replace("...", "x")).collect::<Vec<_>>();
    cells.flat_map(code).filter(|code| code.contains([' ', '(', '['])).collect()
}

#[track_caller]
fn all_parse(heading: &str, least: usize, wrap: impl Fn(&str) -> String) {
    let examples = examples(heading);
    assert!(examples.len() >= least, "{heading}: only {} examples", examples.len());
    for example in examples {
        let (_, messages) = parsed_with_messages(heading, &wrap(&example));
        assert!(messages.is_empty(), "{example}\n{messages}");
    }
}

#[test]
fn examples_of_the_reference_parse() {
    all_parse("Items", 10, str::to_string);
    all_parse("Types", 8, |ty| format!("type It = {ty}"));
    all_parse("Statements", 8, |statement| format!("fn f() -> f32 {{\n{statement}\n}}"));
    all_parse("Data", 7, |entry| format!("data D = csv(\"a\") {{\n{entry}\n}}"));
    all_parse("Train", 17, |entry| format!("train t {{\n{entry}\n}}"));
}
