//! The text cases in `tests/ir/schedule/*.eq`: a program of equations, and the plan expected of it.
//!
//! ```text
//! // show: launches            (or: kernels, which shows both; launches of f32: reals are f64 otherwise)
//! // Words about the case.
//! program ..
//! ----
//! what the plan's text says after its buffers
//! ```
//!
//! `BDL_BLESS=1` writes what was found into the files: read the difference.

mod support;

use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ir/schedule");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "eq"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_case() {
    let bless = std::env::var_os("BDL_BLESS").is_some();
    let mut faults = Vec::new();
    let files = files();
    assert!(files.len() >= 7, "{} cases", files.len());
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let source = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (input, expected) = source.split_once("\n----\n").unwrap_or((source.trim_end(), ""));
        let show = input.lines().next().and_then(|l| l.strip_prefix("// show: "));
        let show = show.unwrap_or_else(|| panic!("{name}: the first line must be `// show: ..`"));
        let (show, real) = match show.strip_suffix(" of f32") {
            Some(show) => (show, bdl_schedule::Real::F32),
            None => (show, bdl_schedule::Real::F64),
        };
        let plan = support::plan_with(&support::parse(input), real);
        let text = plan.to_string();
        assert_eq!(bdl_plan::parse_plan(&text).as_ref(), Ok(&plan), "{name}: does not read back:\n{text}");
        // Buffers, then each kernel after an empty line, then the launches after another.
        let found = match show {
            "kernels" => text.split_once("\n\n").map_or(text.as_str(), |(_, rest)| rest),
            "launches" => text.rsplit_once("\n\n").map_or(text.as_str(), |(_, rest)| rest),
            other => panic!("{name}: nothing is called `{other}`"),
        };
        if found.trim_end() == expected.trim_end() {
            continue;
        }
        if bless {
            std::fs::write(&path, format!("{input}\n----\n{}\n", found.trim_end()))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        } else {
            faults.push(format!("== {name}\nexpected:\n{expected}\nfound:\n{found}\n"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
