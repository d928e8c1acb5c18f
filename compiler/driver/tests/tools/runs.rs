//! Finished runs: listed, compared, repeated, reported.

use crate::common::{Folder, small_splice, windows};
use serde_json::Value;

fn two_runs() -> Folder {
    let folder = small_splice(3);
    folder.ok(&["train", "splice.bdl", "--quiet", "--threads", "1"]);
    folder.ok(&["train", "splice.bdl", "--quiet", "--threads", "1", "--set", "net.width=4", "--out", "narrow"]);
    folder
}

#[test]
fn runs_are_listed_compared_and_reported() {
    let folder = two_runs();
    let listed = folder.ok(&["runs", "."]);
    assert!(
        listed.starts_with("splice\n") && listed.contains("narrow") && listed.contains("test.accuracy"),
        "{listed}"
    );
    // What differs between the runs is a column.
    assert!(listed.contains("net.width"), "{listed}");
    let lines = folder.ok(&["runs", ".", "--json"]);
    let runs: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(runs.len(), 2);
    assert!(runs[0]["scores"]["accuracy"].is_f64() && runs[0]["epochs"] == 3, "{lines}");

    let compared = folder.ok(&["compare", "runs/splice/latest", "narrow"]);
    assert!(
        compared.contains("test rows are in both")
            && compared.contains("McNemar")
            && compared.contains("95 % interval"),
        "{compared}"
    );
    assert!(compared.lines().any(|line| line.trim_start().starts_with("+ ") && line.contains("4")), "{compared}");
    let json: Value =
        serde_json::from_str(folder.ok(&["compare", "runs/splice/latest", "narrow", "--json"]).trim()).unwrap();
    let accuracy = &json["scores"][0];
    let (low, high) = (accuracy["interval"][0].as_f64().unwrap(), accuracy["interval"][1].as_f64().unwrap());
    let difference = accuracy["difference"].as_f64().unwrap();
    assert!(low <= difference && difference <= high, "{json}");
    // A run is no better than itself.
    let same: Value = serde_json::from_str(folder.ok(&["compare", "narrow", "narrow", "--json"]).trim()).unwrap();
    assert_eq!(
        (&same["mcnemar"]["p"], &same["scores"][0]["interval"]),
        (&Value::from(1.0), &serde_json::json!([0.0, 0.0]))
    );

    assert!(folder.ok(&["report", "narrow"]).contains("narrow/report.html"));
    let page = std::fs::read_to_string(folder.file("narrow/report.html")).unwrap();
    for part in ["<svg", "Confusion", "Calibration", "SpliceNet", "test accuracy", "bdl repeat"] {
        assert!(page.contains(part), "no {part}");
    }
    assert!(!page.contains("http://") && !page.contains("src=") && !page.contains("NaN"), "the page stands alone");

    // Other rows, other files: not to be compared.
    std::fs::write(folder.file("other.csv"), windows(90, 20)).unwrap();
    folder.ok(&["train", "splice.bdl", "--quiet", "--data", "Junctions=other.csv", "--out", "other"]);
    assert!(folder.fails(&["compare", "narrow", "other"]).contains("error[other-data]"));
    let text = std::fs::read_to_string(folder.file("splice.bdl")).unwrap();
    let elsewhere = text.replace("train: 0.7, valid: 0.15, test: 0.15", "train: 0.9, valid: 0.08, test: 0.02");
    assert_ne!(text, elsewhere);
    std::fs::write(folder.file("few.bdl"), elsewhere.replace(", seed: 0", "")).unwrap();
    let output = folder.run(&["train", "few.bdl", "--quiet", "--out", "few"]);
    if output.status.success() {
        let compared = folder.run(&["compare", "narrow", "few"]);
        let said = String::from_utf8_lossy(&compared.stderr).to_string() + &String::from_utf8_lossy(&compared.stdout);
        assert!(said.contains("error[nothing-in-common]") || said.contains(" of 18 and "), "{said}");
    }
}

#[test]
fn a_run_is_repeated_to_the_bit_and_a_difference_is_found() {
    let folder = two_runs();
    let said = folder.ok(&["repeat", "narrow", "--threads", "2"]);
    assert!(said.contains("the same bits:"), "{said}");
    assert!(!folder.file("narrow/repeat").exists());
    // Trained once more into the same folder, the run has one log, not two.
    let epochs = |folder: &Folder| std::fs::read_to_string(folder.file("narrow/log.jsonl")).unwrap().lines().count();
    let once = epochs(&folder);
    folder.ok(&["train", "splice.bdl", "--quiet", "--set", "net.width=4", "--out", "narrow"]);
    assert_eq!(epochs(&folder), once);
    let said = folder.ok(&["repeat", "narrow"]);
    assert!(said.contains("the same bits:"), "{said}");
    // Another program in the folder gives other numbers.
    let path = folder.file("narrow/program.bdl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("lr: f32 = 1e-2", "lr: f32 = 2e-2")).unwrap();
    let output = folder.run(&["repeat", "narrow"]);
    let said = String::from_utf8_lossy(&output.stdout).to_string();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the loss of epoch 1 differs"), "{said}");
}
