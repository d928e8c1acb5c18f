//! Class weights, SMOTE, splits by identity and of elements.

use crate::common::{CATEGORY, columns, csv, field};
use bdl_data::{Alphabet, EntriesSplit, IdentitySplit, Smote, SplitSpec, Step};
use std::collections::HashSet;

/// 4 rows of `a`, 9 of `b`; numbers that make neighbours plain.
fn table() -> String {
    let mut text = String::from("x,y,k\n");
    (0..4).for_each(|at| text += &format!("{},{},a\n", at * 10, at % 2));
    (0..9).for_each(|at| text += &format!("{},{},b\n", 100 + at, at));
    text
}

#[test]
fn balanced_classes_count_the_same_and_rows_outside_count_one() {
    let data = csv(table()).field("x", "x", Step::Number).field("k", "k", CATEGORY).data();
    let train = [0, 1, 4, 5, 6, 7, 8, 9];
    let mut encoded = data.encode(&data.fit(&train).unwrap()).unwrap();
    let weights = encoded.balance("k", &train, "w").unwrap();
    // n / (K n_c) = 8 / (2 * 2) and 8 / (2 * 6).
    assert_eq!(weights.classes, [("a".to_string(), 2.0), ("b".to_string(), 8.0 / 12.0)]);
    let mut w = [0.0; 4];
    encoded.field("w").unwrap().fill_f64(&[0, 4, 2, 10], &mut w);
    assert_eq!(w, [2.0, 8.0 / 12.0, 1.0, 1.0]);
}

#[test]
fn smote_makes_rows_between_a_row_and_one_of_its_nearest() {
    let data = csv(table()).and(columns("v", &["x", "y"], &[])).field("k", "k", CATEGORY).data();
    let train: Vec<u32> = (0..13).collect();
    let encoded = data.encode(&data.fit(&train).unwrap()).unwrap();
    let smote = Smote { field: "k", inputs: &["v"], neighbours: 1, seed: 3 };
    let made = |seed: u64| {
        let mut encoded = encoded.clone();
        let bases = encoded.smote(&Smote { seed, ..smote }, &train).unwrap();
        let rows: Vec<u32> = (13..13 + bases.len() as u32).collect();
        let mut v = vec![0.0; 2 * rows.len()];
        encoded.field("v").unwrap().fill_f64(&rows, &mut v);
        let mut k = vec![9; rows.len()];
        encoded.field("k").unwrap().fill_i32(&rows, &mut k);
        assert!(k.iter().all(|class| *class == 0), "the class of the row it is made from");
        (bases, v)
    };
    let (bases, v) = made(3);
    // As many rows of `a` as of `b`: 5 new ones, each row once and one again.
    assert_eq!(bases.len(), 5);
    assert_eq!(bases[..4], [0, 1, 2, 3]);
    for (base, v) in bases.iter().zip(v.chunks(2)) {
        // The nearest of x = 0 is 10, of 10 is 0 (the first of equals), of 20 is 10, of 30 is 20; y = x / 10 % 2.
        let (x, other) = ([0.0, 10.0, 20.0, 30.0][*base as usize], [10.0, 0.0, 10.0, 20.0][*base as usize]);
        let share = (v[0] - x) / (other - x);
        assert!((0.0..1.0).contains(&share), "{base}: {v:?}");
        let (y, other_y) = (x / 10.0 % 2.0, other / 10.0 % 2.0);
        assert!((v[1] - (y + share * (other_y - y))).abs() < 1e-12, "on the line between both");
    }
    assert_eq!(made(3), made(3));
    assert_ne!(made(3).1, made(4).1);
    let mut words = csv(table()).field("t", "k", Step::Text).field("k", "k", CATEGORY).field("x", "x", CATEGORY).data();
    let fault = words.encode(&words.fit(&train).unwrap()).unwrap().smote(&Smote { inputs: &["x"], ..smote }, &train);
    assert_eq!(fault.unwrap_err().code, "smote-needs-numbers");
    words = csv("x,k\n1,a\n2,b\n3,b\n").field("x", "x", Step::Number).field("k", "k", CATEGORY).data();
    let fault =
        words.encode(&words.fit(&[0, 1, 2]).unwrap()).unwrap().smote(&Smote { inputs: &["x"], ..smote }, &[0, 1, 2]);
    assert_eq!(fault.unwrap_err().code, "class-too-small");
}

#[test]
fn similar_sequences_stay_together() {
    // Four families of five, each of a random-looking word with one letter changed.
    let families = ["ACDEFGHIKLMNPQRSTVWY", "YWVTSRQPNMLKIHGFEDCA", "MMKKLLAAVVGGPPTTSSRR", "CHCHWFWFYMYMDEDENQNQ"];
    let mut text = String::from("s\n");
    for changed in 0..5 {
        for family in families {
            let mut letters: Vec<char> = family.chars().collect();
            letters[changed * 4] = 'A';
            text += &letters.iter().collect::<String>();
            text.push('\n');
        }
    }
    let data = csv(text).field("s", "s", Step::Letters(Alphabet::protein())).data();
    let identity = |below: f64, folds: usize| {
        SplitSpec::Identity(IdentitySplit {
            field: "s".into(),
            below,
            train: 0.5,
            valid: 0.25,
            test: 0.25,
            folds,
            balance: None,
            seed: 0,
        })
    };
    let parts = &data.split(&identity(0.7, 1)).unwrap()[0];
    let families_of = |rows: &[u32]| rows.iter().map(|row| row % 4).collect::<HashSet<u32>>();
    let [train, valid, test] = parts.named().map(|(_, rows)| families_of(rows));
    assert_eq!((train.len(), valid.len(), test.len()), (2, 1, 1));
    assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
    let folds = data.split(&identity(0.7, 4)).unwrap();
    assert!(folds.iter().all(|fold| families_of(&fold.test).len() == 1 && fold.test.len() == 5));
    let fault = data.split(&identity(0.01, 1)).unwrap_err();
    assert_eq!(fault.code, "too-few-groups");
    assert!(fault.to_string().contains("form 1 clusters") && fault.to_string().contains("larger `below:`"), "{fault}");
}

#[test]
fn elements_of_a_field_are_shared_out_by_class() {
    let labels: Vec<&str> = (0..40).map(|at| if at % 4 == 0 { "rare" } else { "common" }).collect();
    let tokens = Step::Tokens { classes: None, unknown: None };
    let data = csv(format!("y\n{}\n", labels.join(" "))).and(field("y", "y", tokens)).data();
    let split = EntriesSplit { field: "y".into(), train: 0.5, valid: 0.2, test: 0.3, seed: 0 };
    let part_of = data.entry_parts(&split).unwrap();
    let count = |part: u8, class: &str| (0..40).filter(|at| part_of[*at] == part && labels[*at] == class).count();
    assert_eq!([0, 1, 2].map(|part| count(part, "rare")), [5, 2, 3]);
    assert_eq!([0, 1, 2].map(|part| count(part, "common")), [15, 6, 9]);
    let mut encoded = data.encode(&data.fit(&[0]).unwrap()).unwrap();
    encoded.in_parts("y", &part_of);
    let parts = &data.split(&SplitSpec::Entries(split)).unwrap()[0];
    assert_eq!((parts.train.as_slice(), parts.valid.as_slice(), parts.test.as_slice()), (&[0][..], &[1][..], &[2][..]));
    for part in 0..3u8 {
        let mut known = [0u8; 40];
        encoded.field("y").unwrap().fill_known(&[u32::from(part)], &mut known);
        assert!((0..40).all(|at| (known[at] == 1) == (part_of[at] == part)), "part {part}");
    }
}
