//! The text cases in `tests/ir/*.eq`: a program, a pass, and the nodes expected after it.
//!
//! ```text
//! // pass: tidy
//! // Words about the case.
//! program ..
//! ----
//! the nodes, outputs and updates that `print` shows afterwards
//! ```
//!
//! Passes: `fold tidy clamps inline share merge hoist drop thaw quotients simplify batch`, `phases N` (convolutions so many positions at a time), `differentiate LOSS by X ..` (the expectation is what it appends) and
//! `verify` (the expectation is the first line of the message). `BDL_BLESS=1` writes what was found into the files: read the difference.

use bdl_equations::convolution::in_phases;
use bdl_equations::simplify as passes;
use bdl_equations::{Program, batch, differentiate, simplify, text, verify};
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ir");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "eq"))
        .collect();
    files.sort();
    files
}

/// Everything after the declarations.
fn nodes(program: &Program) -> String {
    let printed = text::print(program);
    printed.split_once("\n\n").map_or(String::new(), |(_, nodes)| nodes.trim_end().to_string())
}

fn apply(pass: &str, mut program: Program) -> String {
    let mut words = pass.split_whitespace();
    let first = words.next().unwrap_or("");
    match first {
        "fold" => drop(passes::fold(&mut program)),
        "tidy" => drop(passes::tidy_pieces(&mut program)),
        "clamps" => drop(passes::split_clamps(&mut program)),
        "inline" => drop(passes::inline_copies(&mut program)),
        "share" => drop(passes::share_invariants(&mut program)),
        "merge" => drop(passes::merge_equal(&mut program)),
        "hoist" => drop(passes::hoist(&mut program)),
        "drop" => drop(passes::drop_unused(&mut program)),
        "quotients" => drop(passes::read_quotients(&mut program)),
        "thaw" => drop(passes::thaw(&mut program)),
        "phases" => {
            let phases = words.next().and_then(|word| word.parse().ok()).unwrap_or(2);
            in_phases(&mut program, phases);
        }
        "simplify" => simplify(&mut program),
        "batch" => program = batch(&program),
        "verify" => {
            let error = verify(&program).expect_err("a broken invariant");
            return error.to_string().lines().next().unwrap_or("").to_string();
        }
        "differentiate" => {
            let names: Vec<&str> = words.filter(|w| *w != "by").collect();
            let ids: Vec<_> = names.iter().map(|n| program.find(n).unwrap_or_else(|| panic!("no `{n}`"))).collect();
            let before = program.nodes.len();
            differentiate(&mut program, ids[0], &ids[1..]).unwrap_or_else(|e| panic!("{e}"));
            check(&program);
            program.nodes.drain(..before);
            return nodes(&program);
        }
        other => panic!("no pass is called `{other}`"),
    }
    check(&program);
    nodes(&program)
}

fn check(program: &Program) {
    verify(program).unwrap_or_else(|e| panic!("{e}\n{}", text::print(program)));
    let printed = text::print(program);
    assert_eq!(text::parse(&printed).as_ref(), Ok(program), "does not read back:\n{printed}");
}

#[test]
fn every_case() {
    let bless = std::env::var_os("BDL_BLESS").is_some();
    let mut faults = Vec::new();
    let files = files();
    assert!(files.len() >= 15, "{} cases", files.len());
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let source = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (input, expected) = source.split_once("\n----\n").unwrap_or((source.trim_end(), ""));
        let pass = input.lines().next().and_then(|l| l.strip_prefix("// pass: "));
        let pass = pass.unwrap_or_else(|| panic!("{name}: the first line must be `// pass: ..`"));
        let program = text::parse(input).unwrap_or_else(|e| panic!("{name}: {e}"));
        if pass != "verify" {
            verify(&program).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let found = apply(pass, program);
        if found.trim_end() == expected.trim_end() {
            continue;
        }
        if bless {
            std::fs::write(&path, format!("{input}\n----\n{found}\n")).unwrap_or_else(|e| panic!("{name}: {e}"));
        } else {
            faults.push(format!("== {name} ({pass})\nexpected:\n{expected}\nfound:\n{found}\n"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
