//! What a test would know too much of.

use crate::common::{CATEGORY, columns, csv, field};
use bdl_data::{Alphabet, Dataset, Parts, Roles, Step};

fn codes(
    data: &Dataset,
    inputs: &[&str],
    targets: &[&str],
    groups: Option<&str>,
    parts: &Parts,
) -> Vec<(&'static str, String)> {
    let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect::<Vec<String>>();
    let (inputs, targets) = (names(inputs), names(targets));
    // What is in both lists is what the model is given and scored on.
    let scored: Vec<String> = inputs.iter().filter(|name| targets.contains(name)).cloned().collect();
    let found = data.leaks(&Roles { inputs: &inputs, targets: &targets, scored: &scored, groups }, parts);
    found.into_iter().map(|warning| (warning.code, warning.message)).collect()
}

fn halves(rows: u32) -> Parts {
    Parts { train: (0..rows / 2).collect(), valid: vec![], test: (rows / 2..rows).collect() }
}

#[test]
fn a_column_that_feeds_both_sides_and_one_that_tells_the_answer() {
    let mut text = String::from("patient,a,b,y\n");
    for at in 0..80 {
        let yes = at % 2;
        text +=
            &format!("p{},{},{},{}\n", at % 7, at * 37 % 80, yes * 100 + at, if yes == 1 { "case" } else { "control" });
    }
    let given = csv(text).and(columns("x", &["a", "b"], &[])).field("y", "y", CATEGORY);
    let data = given.and(field("again", "y", CATEGORY)).and(field("who", "patient", Step::Text)).data();
    let found = codes(&data, &["x", "again"], &["y"], None, &halves(80));
    let only: Vec<&str> = found.iter().map(|(code, _)| *code).collect();
    assert_eq!(only, ["label-in-inputs", "group-straddles", "too-good"]);
    assert_eq!(found[0].1, "column `y` feeds the input `again` and the target `y`");
    assert_eq!(found[1].1, "7 values of column `patient` stand in train and in test");
    assert_eq!(found[2].1, "`b` alone tells `y` control with an AUROC of 1.000");
    // A split that keeps patients together is not asked about them, and an input that is the target itself is an autoencoder.
    assert_eq!(codes(&data, &["x"], &["x"], Some("who"), &halves(80)), []);
    // A class that is given and scored is the answer.
    let found = codes(&data, &["x", "y"], &["y"], Some("who"), &halves(80));
    assert_eq!(
        found[0],
        ("label-in-inputs", "`y` is an input of the model and what its prediction is measured by".to_string())
    );
}

#[test]
fn the_other_strand_and_near_twins() {
    let own = "ACGGTTACAGGATCCTTAGGCATTACGGACCATTGACCAG";
    let other: String = own
        .chars()
        .rev()
        .map(|c| match c {
            'A' => 'T',
            'C' => 'G',
            'G' => 'C',
            _ => 'A',
        })
        .collect();
    let near = own.replacen("GGATCC", "GGATAC", 1);
    let far = "TTTTTTTTTTAAAAAAAAAACCCCCCCCCCGGGGGGGGGG";
    let text = format!("s\n{own}\n{far}\n{other}\n{near}\n");
    let parts = Parts { train: vec![0, 1], valid: vec![], test: vec![2, 3] };
    for step in [Step::OneHotText(Alphabet::dna()), Step::Letters(Alphabet::dna())] {
        let data = csv(&text).field("s", "s", step).data();
        let found = codes(&data, &["s"], &[], None, &parts);
        assert_eq!(
            found,
            [
                ("rc-duplicate", "1 test row is the reverse complement of a training row in `s`".to_string()),
                ("near-duplicates", "1 test row differs from a training row in at most 5 % of `s`".to_string()),
            ]
        );
    }
    let data = csv(&text).field("s", "s", Step::Letters(Alphabet::dna())).data();
    assert_eq!(codes(&data, &["s"], &[], None, &Parts { test: vec![1], ..parts }), []);
}

fn suspicious(text: &str, step: Step) -> Vec<(&'static str, String)> {
    let found = csv(text).field("x", "x", step).data().warnings().unwrap();
    found.into_iter().map(|warning| (warning.code, warning.message)).collect()
}

#[test]
fn values_that_mean_something_else() {
    let column = |values: &mut dyn Iterator<Item = String>| format!("x\n{}\n", values.collect::<Vec<_>>().join("\n"));
    let logs = column(&mut (0..30).map(|at| format!("{}.5", at % 7)));
    assert!(suspicious(&logs, Step::Counts).contains(&("already-log", "`x` is read as counts and holds 0.5".into())));
    assert!(!suspicious(&logs, Step::Number).iter().any(|(code, _)| *code == "already-log"));
    let pressure =
        column(&mut (0..60).map(|at| if at % 20 == 0 { "0".into() } else { (60 + at * 7 % 40).to_string() }));
    let mut found = suspicious(&pressure, Step::Number);
    found.retain(|(code, _)| *code != "duplicates");
    assert_eq!(found, [("zero-is-missing", "`x` is 0 in 3 rows, far from its other values".into())]);
    // Zeros of a count, of a share and of a dose are zeros.
    for values in [
        column(&mut (0..60).map(|at| (at * at % 17).to_string())),
        column(&mut (0..60).map(|at| format!("0.{:02}", at * 7 % 60))),
        column(&mut (0..60).map(|at| (at % 4 * 5).to_string())),
    ] {
        assert_eq!(suspicious(&values, Step::Number).iter().filter(|(code, _)| *code == "zero-is-missing").count(), 0);
    }
    let names = column(&mut (0..30).map(|at| ["chr1", "1", "chr2"][at % 3].to_string()));
    assert_eq!(suspicious(&names, CATEGORY)[0], ("mixed-names", "`x` has `chr1` and `1`".into()));
}

#[test]
fn rows_of_numbers_that_were_rounded_otherwise() {
    let mut text = String::from("a,b,c\n");
    (0..40).for_each(|at| text += &format!("{}.25,{},{}\n", at * 37 % 40, at * 11 % 40, at * 7 % 40));
    text += "37.2501,11,7\n37.25,11,7\n5.5,5.5,5.5\n";
    let data = csv(text).and(columns("x", &["*"], &[])).data();
    let parts = Parts { train: (0..40).collect(), valid: vec![], test: vec![40, 41, 42] };
    let found = codes(&data, &["x"], &[], None, &parts);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.starts_with("1 test row differs from a training row by less than a thousandth"), "{found:?}");
}
