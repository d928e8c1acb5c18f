//! The text cases in `tests/ir/*.plan`: a plan and what is expected of it.
//!
//! The first line names the check. `print`: the plan verifies and prints as it is written. `verify`: after a line of dashes stands what the
//! verifier says. `parse`: after the dashes stands the parser's message.

use bdl_plan::{parse_plan, verify};
use std::path::Path;

#[test]
fn every_case_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ir");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "plan") {
            continue;
        }
        seen += 1;
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let (header, rest) = text.split_once('\n').unwrap();
        let (source, expected) = rest.split_once("----\n").unwrap_or((rest, ""));
        // Comments at the top explain the case.
        let source: String = source.lines().skip_while(|l| l.starts_with("//")).map(|l| format!("{l}\n")).collect();
        match header.strip_prefix("// check: ") {
            Some("print") => {
                let plan = parse_plan(&source).unwrap_or_else(|e| panic!("{name}: {e}"));
                verify(&plan).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(plan.to_string(), source, "{name}");
            }
            Some("verify") => {
                let plan = parse_plan(&source).unwrap_or_else(|e| panic!("{name}: {e}"));
                let found = verify(&plan).map_or_else(|e| e.to_string(), |()| "passes".to_string());
                assert_eq!(found, expected.trim_end(), "{name}");
            }
            Some("parse") => {
                let found = parse_plan(&source).map_or_else(|e| e.to_string(), |_| "parses".to_string());
                assert_eq!(found, expected.trim_end(), "{name}");
            }
            Some(other) => panic!("{name}: unknown check `{other}`"),
            None => panic!("{name}: the first line names no check"),
        }
    }
    assert!(seen >= 6, "{seen} cases in {}", folder.display());
}
