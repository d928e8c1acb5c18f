//! Scaffolds: the same molecules together as RDKit puts together (`record_scaffolds.py`), and splits that never cut a scaffold.

use super::{assert_partition, sizes};
use crate::common::csv;
use bdl_data::molecule::{read, scaffold};
use bdl_data::{Dataset, ScaffoldSplit, SplitSpec, Step};
use std::collections::{HashMap, HashSet};

/// Name, three spellings and RDKit's scaffold.
const RECORDED: &str = include_str!("scaffolds.tsv");

#[test]
fn scaffolds_are_those_of_rdkit() {
    let (mut of_theirs, mut of_ours) = (HashMap::new(), HashMap::new());
    for line in RECORDED.lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let [name, first, second, third, theirs] = cells[..] else { panic!("{line}") };
        for spelling in [first, second, third] {
            let molecule = read(spelling).unwrap_or_else(|wrong| panic!("{name} {spelling}: {wrong}"));
            let ours = scaffold(&molecule);
            assert_eq!(ours.is_empty(), theirs.is_empty(), "{name} {spelling}");
            let known = of_theirs.entry(theirs).or_insert_with(|| ours.clone());
            assert_eq!(*known, ours, "{name} {spelling}: one scaffold, {theirs}, has two keys");
            let known = *of_ours.entry(ours).or_insert(theirs);
            assert_eq!(known, theirs, "{name} {spelling}: two scaffolds have one key");
        }
    }
    assert!(of_theirs.len() > 50, "{}", of_theirs.len());
}

#[test]
fn what_is_no_smiles_says_where() {
    for (text, at, part) in [
        ("c1ccccc", 2, "never closed"),
        ("CC(C", 3, "never closed"),
        ("CC)C", 3, "`)` without `(`"),
        ("C=", 3, "leads nowhere"),
        ("CQ", 2, "`Q` is no atom"),
        ("[Xx]", 2, "no element"),
        ("[NH4", 5, "`]` is expected"),
        ("C11", 3, "joined already"),
        ("C=1CCC#1", 8, "different bonds"),
        ("", 1, "no atom"),
        ("=C", 1, "without an atom"),
        ("C%1", 4, "two digits"),
    ] {
        let wrong = read(text).expect_err(text);
        assert!(wrong.at == at && wrong.what.contains(part), "{text}: {wrong}");
    }
    // Bytes of any kind are an answer or an error, never a panic.
    let mut state = 9u64;
    for length in 0..400 {
        let letters = b"CcNnOo[]()=#%123+-@H.:/\\*\xff ";
        let text: Vec<u8> = (0..length % 24)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                letters[(state >> 33) as usize % letters.len()]
            })
            .collect();
        if let Ok(molecule) = read(&String::from_utf8_lossy(&text)) {
            scaffold(&molecule);
        }
    }
}

fn molecules(copies: usize) -> Dataset {
    let mut text = String::from("smiles,class\n");
    for copy in 0..copies {
        for (row, line) in RECORDED.lines().enumerate() {
            let spelling = line.split('\t').nth(1 + copy % 3).expect("a spelling");
            text.push_str(&format!("{spelling},c{}\n", row % 2));
        }
    }
    csv(&text).field("smiles", "smiles", Step::Text).field("class", "class", super::CATEGORY).data()
}

fn by_scaffold(folds: usize) -> ScaffoldSplit {
    let (train, valid, test) = if folds > 1 { (1.0, 0.0, 0.0) } else { (0.7, 0.15, 0.15) };
    ScaffoldSplit { field: "smiles".into(), train, valid, test, folds, balance: None, seed: 0 }
}

#[test]
fn no_scaffold_is_cut() {
    let data = molecules(3);
    let count = RECORDED.lines().count();
    let theirs: Vec<&str> = RECORDED.lines().map(|line| line.rsplit('\t').next().expect("a scaffold")).collect();
    let parts = data.split(&SplitSpec::Scaffold(by_scaffold(1))).expect("a split").remove(0);
    assert_partition(&parts, 3 * count);
    let scaffolds = |rows: &[u32]| -> HashSet<&str> { rows.iter().map(|row| theirs[*row as usize % count]).collect() };
    let [train, valid, test] = [&parts.train, &parts.valid, &parts.test].map(|rows| scaffolds(rows));
    assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
    // As near the shares as whole scaffolds allow.
    let wanted = [0.7, 0.15, 0.15].map(|share| share * 3.0 * count as f64);
    let near = sizes(&parts).iter().zip(wanted).all(|(size, wanted)| (*size as f64 - wanted).abs() < 12.0);
    assert!(near, "{:?} for {wanted:?}", sizes(&parts));

    let folds = data.split(&SplitSpec::Scaffold(by_scaffold(4))).expect("folds");
    assert_eq!(folds.len(), 4);
    for fold in &folds {
        assert!(scaffolds(&fold.train).is_disjoint(&scaffolds(&fold.test)) && !fold.test.is_empty());
    }
}

#[test]
fn a_row_that_is_no_molecule_is_named() {
    let given = csv("smiles\nCCO\nc1ccccc\n").field("smiles", "smiles", Step::Text);
    let fault = given.data().split(&SplitSpec::Scaffold(by_scaffold(1))).expect_err("no SMILES");
    assert_eq!(fault.code, "not-a-molecule");
    let said = given.said(&fault);
    assert!(said.contains(":3") && said.contains("letter 2: ring 1 is opened and never closed"), "{said}");
}
