//! Every program in `tests/ui/CODE/` holds one mistake: it must give one message, with that code, as the snapshot beside it shows.

mod support;

use std::path::PathBuf;

fn programs() -> Vec<PathBuf> {
    let folder = support::root().join("tests/ui");
    let mut found = Vec::new();
    for code in std::fs::read_dir(folder).expect("tests/ui").map(|entry| entry.expect("an entry").path()) {
        if code.is_dir() {
            let files = std::fs::read_dir(&code).expect("a folder").map(|entry| entry.expect("an entry").path());
            found.extend(files.filter(|path| path.extension().is_some_and(|e| e == "bdl")));
        }
    }
    found.sort();
    found
}

#[test]
fn one_mistake_gives_one_message() {
    let programs = programs();
    assert!(programs.len() >= 50, "only {} programs", programs.len());
    let mut wrong = Vec::new();
    for path in programs {
        let code = path.parent().and_then(|p| p.file_name()).expect("a folder").to_string_lossy().to_string();
        let name = path.file_stem().expect("a name").to_string_lossy().to_string();
        let text = std::fs::read_to_string(&path).expect("readable");
        let checked = support::check_with(&format!("{name}.bdl"), &text, &[], &[]);
        if checked.codes() != [code.as_str()] {
            wrong.push(format!("---- {code}/{name}: {:?}\n{}", checked.codes(), checked.rendered()));
            continue;
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(path.parent().expect("a folder"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.remove_input_file();
        // The library grows without changing what this message says.
        settings.add_filter("the standard library has .*", "the standard library has [its parts]");
        settings.bind(|| insta::assert_snapshot!(name, checked.rendered()));
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// Codes that the sources say and the pages explain are the same.
#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let mut said = std::collections::BTreeSet::new();
    for folder in ["compiler/check/src", "grammar/src"] {
        let mut waiting = vec![support::root().join(folder)];
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()));
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("readable");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            for start in ["Diagnostic::error(", "Diagnostic::warning(", "Diagnostic::new(", "Diagnostic::note_of("] {
                for (at, _) in code.match_indices(start) {
                    let rest = code[at + start.len()..].trim_start().trim_start_matches("Severity::Warning, ");
                    let literal = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
                    said.extend(literal.filter(|(text, _)| *text != "code").map(|(text, _)| text.to_string()));
                }
            }
        }
    }
    let pages: std::collections::BTreeSet<String> = bdl_check::codes().iter().map(|code| code.to_string()).collect();
    assert_eq!(said, pages);
    for code in bdl_check::codes() {
        let page = bdl_check::explain(code).expect("a page");
        assert!(page.len() > 80, "the page of {code} says too little");
    }
}

#[test]
fn a_private_name_stays_in_its_file() {
    let checked = support::check_with(
        "main.bdl",
        "use \"./blocks.bdl\"\nfn f(x: f32[n]) -> f32[n] { _twice(x) }\n",
        &[(
            "blocks.bdl",
            "fn _twice(x: f32[n]) -> f32[n] { 2 * x }\nfn thrice(x: f32[n]) -> f32[n] { x + _twice(x) }\n",
        )],
        &[],
    );
    assert_eq!(checked.codes(), ["private-name"], "{}", checked.rendered());
    insta::assert_snapshot!("private_name", checked.rendered());
}

#[test]
fn files_may_not_use_each_other_in_a_circle() {
    let checked = support::check_with(
        "main.bdl",
        "use \"./a.bdl\"\nfn f(x: f32) -> f32 { g(x) }\n",
        &[
            ("a.bdl", "use \"./b.bdl\"\nfn g(x: f32) -> f32 { h(x) }\n"),
            ("b.bdl", "use \"./a.bdl\"\nfn h(x: f32) -> f32 { 2 * x }\n"),
        ],
        &[],
    );
    assert_eq!(checked.codes(), ["use-cycle"], "{}", checked.rendered());
    insta::assert_snapshot!("use_cycle", checked.rendered());
}

#[test]
fn a_files_own_definitions_come_before_the_standard_library() {
    let text = "fn relu(x: f32[..]) -> f32[..] { for ..: abs(x[..]) }\nfn f(x: f32[3]) -> f32[3] { x |> relu }\n";
    let checked = support::entry(text, "f");
    let printed = bdl_check::hir::text::print(&checked.hir);
    assert!(printed.contains("abs("), "{printed}");
}
