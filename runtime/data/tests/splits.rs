//! Splits: sizes, balance, groups, folds, determinism, and rows that stand on both sides.

mod common;
#[path = "splits/leaks.rs"]
mod leaks;
#[path = "splits/scaffold.rs"]
mod scaffold;
#[path = "splits/training_rows.rs"]
mod training_rows;

use bdl_data::{Dataset, KfoldSplit, Parts, RandomSplit, SplitSpec, Step, TimeSplit};
use common::{CATEGORY, csv};

fn random(train: f64, valid: f64, test: f64) -> RandomSplit {
    RandomSplit { train, valid, test, balance: None, groups: None, seed: 0 }
}

fn split(data: &Dataset, split: RandomSplit) -> Parts {
    data.split(&SplitSpec::Random(split)).expect("a split").remove(0)
}

fn sizes(parts: &Parts) -> [usize; 3] {
    [parts.train.len(), parts.valid.len(), parts.test.len()]
}

/// Each row stands in exactly one part.
fn assert_partition(parts: &Parts, rows: usize) {
    let mut all: Vec<u32> = parts.named().iter().flat_map(|(_, rows)| rows.to_vec()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..rows as u32).collect::<Vec<_>>());
}

fn table(rows: usize, kind: impl Fn(usize) -> usize, patient: impl Fn(usize) -> usize) -> Dataset {
    let mut text = String::from("k,p\n");
    (0..rows).for_each(|row| text.push_str(&format!("c{},p{}\n", kind(row), patient(row))));
    csv(&text).field("k", "k", CATEGORY).field("p", "p", Step::Text).data()
}

/// A group of 30 in parts of 80, 10 and 10 rows: it trains, and the others make the parts exact.
#[test]
fn a_large_group_goes_where_it_fits() {
    let groups = |row: usize| {
        if row < 30 {
            0
        } else if row < 55 {
            1
        } else {
            row
        }
    };
    let data = table(100, |_| 0, groups);
    let parts = split(&data, RandomSplit { groups: Some("p".into()), ..random(0.8, 0.1, 0.1) });
    assert_eq!(sizes(&parts), [80, 10, 10]);
    assert!((0..55).all(|row| parts.train.contains(&row)));
}

#[test]
fn random_parts_are_exact_and_repeatable() {
    let data = table(3186, |row| row % 3, |row| row);
    let parts = split(&data, random(0.7, 0.15, 0.15));
    assert_eq!(sizes(&parts), [2230, 478, 478]);
    assert_partition(&parts, 3186);
    assert_eq!(parts, split(&data, random(0.7, 0.15, 0.15)));
    assert_ne!(parts, split(&data, RandomSplit { seed: 1, ..random(0.7, 0.15, 0.15) }));
    assert_eq!(sizes(&split(&table(10, |_| 0, |_| 0), random(0.7, 0.0, 0.3))), [7, 0, 3]);
    assert_eq!(data.split(&SplitSpec::None).expect("all"), [Parts::all(3186)]);
}

#[test]
fn balanced_parts_have_the_same_proportions() {
    // The classes of the splice table: 767, 765 and 1654 rows.
    let kind = |row| if row < 767 { 0 } else { usize::from(row >= 1532) + 1 };
    let data = table(3186, kind, |row| row);
    let parts = split(&data, RandomSplit { balance: Some("k".into()), ..random(0.7, 0.15, 0.15) });
    assert_eq!(sizes(&parts), [2230, 478, 478]);
    assert_partition(&parts, 3186);
    let of_class = |rows: &[u32], class| rows.iter().filter(|row| kind(**row as usize) == class).count();
    assert_eq!([0, 1, 2].map(|class| of_class(&parts.test, class)), [115, 115, 248]);
    assert_eq!([0, 1, 2].map(|class| of_class(&parts.train, class)), [537, 535, 1158]);
    // Many small classes: what rounding takes in one class it gives back in another.
    let data = table(60, |row| row / 2, |row| row);
    let parts = split(&data, RandomSplit { balance: Some("k".into()), ..random(0.7, 0.15, 0.15) });
    assert_eq!(sizes(&parts), [42, 9, 9]);
}

#[test]
fn groups_stay_whole() {
    let data = table(1000, |row| usize::from(row % 7 == 0), |row| row * row % 83);
    for balance in [None, Some("k".to_string())] {
        let parts = split(&data, RandomSplit { groups: Some("p".into()), balance, ..random(0.7, 0.15, 0.15) });
        assert_partition(&parts, 1000);
        let groups = |rows: &[u32]| rows.iter().map(|row| row * row % 83).collect::<std::collections::BTreeSet<_>>();
        let (train, valid, test) = (groups(&parts.train), groups(&parts.valid), groups(&parts.test));
        assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
        let [train, valid, test] = sizes(&parts);
        assert!(
            train.abs_diff(700) <= 30 && valid.abs_diff(150) <= 30 && test.abs_diff(150) <= 30,
            "{train} {valid} {test}"
        );
    }
    let few = table(10, |_| 0, |row| row % 2);
    let fault = few.split(&SplitSpec::Random(RandomSplit { groups: Some("p".into()), ..random(0.6, 0.2, 0.2) }));
    assert_eq!(fault.map_err(|fault| fault.code), Err("too-few-groups"));
}

#[test]
fn folds_test_each_row_once_a_repeat() {
    let data = table(103, |row| usize::from(row % 4 == 0), |row| row / 3);
    for (balance, groups) in [(None, None), (Some("k"), None), (None, Some("p")), (Some("k"), Some("p"))] {
        let kfold = KfoldSplit {
            k: 5,
            repeats: 2,
            balance: balance.map(String::from),
            groups: groups.map(String::from),
            seed: 3,
        };
        let folds = data.split(&SplitSpec::Kfold(kfold)).expect("folds");
        assert_eq!(folds.len(), 10);
        for repeat in folds.chunks(5) {
            let mut tested: Vec<u32> = repeat.iter().flat_map(|fold| fold.test.clone()).collect();
            tested.sort_unstable();
            assert_eq!(tested, (0..103).collect::<Vec<_>>());
            repeat.iter().for_each(|fold| assert_partition(fold, 103));
            if groups.is_none() {
                assert!(repeat.iter().all(|fold| (20..=21).contains(&fold.test.len())));
            }
        }
        assert_ne!(folds[0], folds[5]);
    }
    let fault = data.split(&SplitSpec::Kfold(KfoldSplit { k: 1, repeats: 1, balance: None, groups: None, seed: 0 }));
    assert_eq!(fault.map_err(|fault| fault.code), Err("bad-split"));
}

#[test]
fn a_column_may_give_the_parts() {
    let given = csv("part\ntrain\ntest\nVAL\ntrain\n").field("part", "part", Step::Text);
    let parts = given.data().split(&SplitSpec::Given { field: "part".into() }).expect("parts");
    assert_eq!(parts, [Parts { train: vec![0, 3], valid: vec![2], test: vec![1] }]);
    let given = csv("part\ntrain\nhold-out\n").field("part", "part", Step::Text);
    let fault = given.data().split(&SplitSpec::Given { field: "part".into() }).expect_err("unknown part");
    assert_eq!((fault.code, fault.line), ("unknown-part", Some(3)));
}

#[test]
fn impossible_splits() {
    let data = table(10, |row| row / 5, |row| row);
    let code = |request: RandomSplit| data.split(&SplitSpec::Random(request)).map(|_| ()).map_err(|fault| fault.code);
    assert_eq!(code(random(0.7, 0.2, 0.2)), Err("bad-split"));
    assert_eq!(code(random(1.2, -0.1, -0.1)), Err("bad-split"));
    assert_eq!(code(random(0.0, 0.5, 0.5)), Err("bad-split"));
    assert_eq!(code(random(0.98, 0.01, 0.01)), Err("too-few-rows"));
    assert_eq!(code(RandomSplit { balance: Some("kind".into()), ..random(0.8, 0.1, 0.1) }), Err("unknown-field"));
    assert_eq!(code(RandomSplit { balance: Some("p".into()), ..random(0.8, 0.1, 0.1) }), Err("class-too-small"));
    assert_eq!(code(random(0.7, 0.15, 0.15)), Ok(()));
}

#[test]
fn identical_rows_on_both_sides_are_counted() {
    let text = "s,k\nACGT,a\nacgt,a\nAAAA,b\nCCCC,b\nAAAA,b\nACGT,b\n";
    let data = csv(text).field("s", "s", Step::OneHotText(bdl_data::Alphabet::dna())).field("k", "k", CATEGORY).data();
    let repeats = data.repeats(&["s"]).expect("s");
    assert_eq!((repeats.first.as_slice(), repeats.count()), ([0, 0, 2, 3, 2, 0].as_slice(), 3));
    let across = repeats.straddling(&Parts { train: vec![0, 3], valid: vec![1, 2], test: vec![4, 5] });
    assert_eq!((across.valid_in_train, across.test_in_train, across.test_in_valid), (1, 1, 2));
    assert_eq!(data.repeats(&["s", "k"]).expect("both").count(), 2);
    assert_eq!(data.repeats(&["z"]).map_err(|fault| fault.code), Err("unknown-field"));
}

#[test]
fn classes_without_a_training_row_are_reported() {
    let data = csv("k\na\na\nb\nc\n").field("k", "k", CATEGORY).data();
    let warnings = data.split_warnings(&Parts { train: vec![0, 2], valid: vec![1], test: vec![3] }, &["k".to_string()]);
    let found: Vec<(&str, &str)> = warnings.iter().map(|warning| (warning.code, warning.message.as_str())).collect();
    assert_eq!(found, [("class-not-in-training", "no training row has `k` c")]);
    assert_eq!(data.split_warnings(&Parts::all(4), &["k".to_string()]), []);
    // Nothing but the split reads it.
    assert_eq!(data.split_warnings(&Parts { train: vec![0], valid: vec![1], test: vec![3] }, &[]), []);
}

#[test]
fn named_values_validate_and_test() {
    let data = table(40, |row| row % 4, |row| row / 10);
    let by = |valid: &[&str], test: &[&str]| SplitSpec::By {
        field: "p".into(),
        valid: valid.iter().map(|name| name.to_string()).collect(),
        test: test.iter().map(|name| name.to_string()).collect(),
    };
    let parts = data.split(&by(&["p1"], &["p3"])).expect("a split").remove(0);
    assert_eq!((sizes(&parts), &parts.valid[..2], &parts.test[..2]), ([20, 10, 10], &[10, 11][..], &[30, 31][..]));
    assert_partition(&parts, 40);
    let fault = data.split(&by(&[], &["p7"])).expect_err("no such patient");
    assert_eq!((fault.code, fault.message.as_str()), ("unknown-category", "no row has `p7` as its `p`"));
    assert_eq!(data.split(&by(&["p0", "p1"], &["p2", "p3"])).expect_err("nothing left").code, "too-few-rows");
}

#[test]
fn time_goes_forward_and_days_are_not_cut() {
    // Days 9, 8, .. 0, two rows each.
    let text: String = (0..20).map(|row| format!("{}\n", 9 - row / 2)).collect();
    let data = csv(format!("day\n{text}")).field("day", "day", Step::Number).data();
    let time = |valid, test, gap, folds| SplitSpec::Time(TimeSplit { field: "day".into(), valid, test, gap, folds });
    let parts = data.split(&time(0.2, 0.2, 0.0, 1)).expect("a split").remove(0);
    assert_eq!((parts.test.clone(), parts.valid.clone()), (vec![0, 1, 2, 3], vec![4, 5, 6, 7]));
    assert_partition(&parts, 20);
    // A fifth of 20 rows and one day more would cut a day: the cut moves to its beginning.
    let parts = data.split(&time(0.0, 0.25, 0.0, 1)).expect("a split").remove(0);
    assert_eq!(sizes(&parts), [14, 0, 6]);
    // Two days lie between the parts.
    let parts = data.split(&time(0.2, 0.2, 2.0, 1)).expect("a split").remove(0);
    assert_eq!((sizes(&parts), parts.train.first()), ([10, 2, 4], Some(&10)));
    let folds = data.split(&time(0.0, 0.0, 0.0, 4)).expect("folds");
    assert_eq!(folds.iter().map(sizes).collect::<Vec<_>>(), [[4, 0, 4], [8, 0, 4], [12, 0, 4], [16, 0, 4]]);
    assert_eq!(data.split(&time(0.2, 0.2, 30.0, 1)).expect_err("nothing left").code, "too-few-rows");
}

#[test]
fn one_row_at_a_time_is_left_out() {
    let folds = table(3, |_| 0, |row| row).split(&SplitSpec::LeaveOneOut).expect("folds");
    assert_eq!(folds.len(), 3);
    assert_eq!((folds[1].train.clone(), folds[1].test.clone()), (vec![0, 2], vec![1]));
}
