//! Every code that any message carries has a page, and a test that shows the message.

use bdl_tests::{files, root};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How messages with a code are made, up to the code.
const MADE: [&str; 12] = [
    "Diagnostic::error(",
    "Diagnostic::warning(",
    "Diagnostic::note_of(",
    "Diagnostic::new(",
    "Failure::user(",
    "DataError::new(",
    "RunError::new(",
    "Error::user(",
    "refuse(",
    "error(",
    "warning(",
    "code: ",
];

/// Codes of the sources, each with a file that says it.
fn said() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in ["grammar/src", "compiler", "runtime"] {
        for path in files(&root().join(folder), ".rs") {
            let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
            if shown.contains("/tests/") || shown.contains("/examples/") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("readable");
            // Unit tests at the end of a file make messages of their own.
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            for code in codes_in(&code.join("\n")) {
                found.entry(code).or_insert(shown.clone());
            }
        }
    }
    found
}

fn codes_in(text: &str) -> BTreeSet<String> {
    let is_code = |word: &str| {
        word.len() > 2
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit())
            && !word.starts_with('-')
    };
    let mut found = BTreeSet::new();
    for start in MADE {
        for (at, _) in text.match_indices(start) {
            let rest = text[at + start.len()..].trim_start().trim_start_matches("Severity::Warning, ").trim_start();
            if let Some((word, after)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'))
                && is_code(word)
                && (after.trim_start().starts_with(',') || start == "code: ")
            {
                found.insert(word.to_string());
            }
        }
    }
    found
}

/// Not the user's: they ask to report a bug.
const BUGS: [&str; 2] = ["bug", "internal"];

/// Said by a stage for what the stage before it refuses: no program is known that shows it.
const UNREACHED: [&str; 1] = ["no-derivative"];

#[test]
fn every_code_has_a_page() {
    let said = said();
    assert!(said.len() > 120, "only {} codes", said.len());
    let without: Vec<String> = said
        .iter()
        .filter(|(code, _)| !BUGS.contains(&code.as_str()))
        .filter(|(code, _)| bdl::explain::page(code).is_err())
        .map(|(code, file)| format!("  {code}  ({file})"))
        .collect();
    assert!(without.is_empty(), "{} codes without a page:\n{}", without.len(), without.join("\n"));
}

/// Everything that shows a message: the ui programs, and the recorded messages and assertions of the tests.
fn shown() -> String {
    let mut all = String::new();
    // The reference shows what is refused.
    let page = std::fs::read_to_string(root().join("grammar/README.md")).unwrap_or_default();
    for line in page.lines() {
        all.push_str(&line.strip_prefix("```bdl refused ").map_or(String::new(), |code| format!("[{code}]\n")));
    }
    for path in files(&root().join("tests/ui"), ".bdl") {
        let code = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().to_string());
        all.push_str(&format!("[{}]\n", code.unwrap_or_default()));
    }
    for folder in ["compiler", "runtime", "grammar", "tests"] {
        for path in files(&root().join(folder), "") {
            let name = path.display().to_string();
            let is_test = name.contains("/tests/") && !name.contains("/parity/");
            if is_test
                && [".rs", ".snap", ".screen"].iter().any(|end| name.ends_with(end))
                && !name.ends_with("tests/codes.rs")
            {
                all.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
            } else if name.ends_with(".rs") {
                // Unit tests beside the code.
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                all.push_str(text.split_once("#[cfg(test)]\nmod tests").map_or("", |(_, tests)| tests));
            }
        }
    }
    all
}

#[test]
fn every_code_has_a_test() {
    let shown = shown();
    let is_shown = |code: &str| {
        [format!("[{code}]"), format!("\"{code}\""), format!("{code}]:")]
            .iter()
            .any(|text| shown.contains(text.as_str()))
    };
    let without: Vec<String> = said()
        .iter()
        .filter(|(code, _)| !BUGS.contains(&code.as_str()) && !UNREACHED.contains(&code.as_str()) && !is_shown(code))
        .map(|(code, file)| format!("  {code}  ({file})"))
        .collect();
    assert!(without.is_empty(), "{} codes that no test shows:\n{}", without.len(), without.join("\n"));
}
