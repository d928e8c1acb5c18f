//! Every metric equals scikit-learn's (SciPy's) value on recorded cases, and undefined values come with a sentence.

use bdl_train::metrics::{Confusion, Guess, METRICS, Score, Truth, auroc, bootstrap, score, wilson};
use serde_json::Value;

/// Sums are taken in another order than numpy's pairwise one; nothing here has more than 100 terms a sum.
const TOLERANCE: f64 = 1e-12;

fn cases(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("metrics/cases.json")).expect("json");
    all[kind].as_array().expect("a list").clone()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn width(case: &Value) -> usize {
    case["width"].as_u64().expect("a number") as usize
}

/// Compares values and baselines with the recorded ones; returns how many were compared.
fn compare(case: &Value, tolerance: f64, compute: impl Fn(&str) -> Score) -> usize {
    let mut compared = 0;
    for (metric, wanted) in case["scores"].as_object().expect("scores") {
        let found = compute(metric);
        let place = format!("{metric} of {}: {found:?}, wanted {wanted}", case["name"]);
        match wanted.as_f64() {
            Some(wanted) => assert!((found.value - wanted).abs() <= tolerance * wanted.abs().max(1.0), "{place}"),
            None => assert!(found.value.is_nan() && found.note.is_some(), "{place}"),
        }
        compared += 1;
    }
    for (metric, wanted) in case["baselines"].as_object().expect("baselines") {
        let (found, wanted) = (compute(metric).baseline, wanted.as_f64().expect("a number"));
        assert!(
            (found - wanted).abs() <= TOLERANCE * wanted.abs().max(1.0),
            "baseline of {metric} of {}: {found}",
            case["name"]
        );
        compared += 1;
    }
    compared
}

fn confusion(case: &Value) -> Vec<Vec<u64>> {
    let rows = case["confusion"].as_array().expect("rows");
    rows.iter().map(|row| floats(row).iter().map(|count| *count as u64).collect()).collect()
}

#[test]
fn choices_of_several_classes() {
    let mut compared = 0;
    for case in cases("classes") {
        let (guess, ids) = (floats(&case["guess"]), floats(&case["classes"]));
        let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        let names: Vec<String> = (0..width(&case)).map(|class| format!("c{class}")).collect();
        let compute = |metric: &str| {
            let truth = Truth::Classes { ids: &ids, names: &names };
            score(metric, Guess { values: &guess, width: width(&case) }, truth, &[]).expect("a score")
        };
        compared += compare(&case, TOLERANCE, compute);
        assert_eq!(compute("confusion").confusion.expect("a table").counts, confusion(&case), "{}", case["name"]);
    }
    assert_eq!(compared, 8 * 13);
}

#[test]
fn yes_or_no() {
    let mut compared = 0;
    for case in cases("yes") {
        let guess = floats(&case["guess"]);
        let yes: Vec<bool> = case["yes"].as_array().expect("a list").iter().map(|yes| yes == true).collect();
        let options = [("threshold", case["threshold"].as_f64().expect("a number"))];
        let compute = |metric: &str| {
            score(metric, Guess { values: &guess, width: width(&case) }, Truth::Yes(&yes), &options).expect("a score")
        };
        compared += compare(&case, TOLERANCE, compute);
        assert_eq!(compute("confusion").confusion.expect("a table").counts, confusion(&case), "{}", case["name"]);
    }
    assert_eq!(compared, 11 * 13);
}

#[test]
fn numbers() {
    let mut compared = 0;
    for case in cases("numbers") {
        let (guess, truth) = (floats(&case["guess"]), floats(&case["numbers"]));
        // With an offset of 1e9 the values themselves have only 1e-7 left after the point.
        let tolerance = if truth[0] > 1e8 { 1e-8 } else { TOLERANCE };
        let compute = |metric: &str| {
            score(metric, Guess { values: &guess, width: width(&case) }, Truth::Numbers(&truth), &[]).expect("a score")
        };
        compared += compare(&case, tolerance, compute);
    }
    assert_eq!(compared, 9 * 10);
}

#[test]
fn undefined_values_say_why() {
    let note = |metric: &str, guess: &[f64], truth: Truth| {
        let found = score(metric, Guess { values: guess, width: 1 }, truth, &[]).expect("a score");
        (found.value.is_nan(), found.note.unwrap_or_default())
    };
    let one = [true, true, true];
    assert_eq!(
        note("auroc", &[0.1, 0.2, 0.3], Truth::Yes(&one)),
        (true, "not defined: the examples are all of one class".into())
    );
    let (nan, text) = note("precision", &[0.1, 0.2, 0.3], Truth::Yes(&one));
    assert!(!nan && text == "yes is never called; its precision is counted as 0", "{text}");
    let (nan, text) = note("mcc", &[0.9, 0.2, 0.3], Truth::Yes(&one));
    assert!(!nan && text.contains("all of one class"), "{text}");
    assert_eq!(
        note("r2", &[1.0, 2.0], Truth::Numbers(&[3.0, 3.0])),
        (true, "not defined: the true values are all the same".into())
    );
    let same = note("pearson", &[1.0, 1.0], Truth::Numbers(&[3.0, 4.0]));
    assert_eq!(same, (true, "not defined: the predictions are all the same".into()));
    let (nan, text) = note("accuracy", &[f64::NAN, 0.2, 0.3], Truth::Yes(&one));
    assert!(nan && text.contains("NaN"));
    let names = ["a", "b", "c"].map(String::from);
    let truth = Truth::Classes { ids: &[0, 1], names: &names };
    let found =
        score("auroc", Guess { values: &[0.9, 0.1, 0.0, 0.2, 0.8, 0.0], width: 3 }, truth, &[]).expect("a score");
    assert_eq!(
        (found.value, found.note.as_deref()),
        (1.0, Some("without class c, of which there are no examples or nothing else"))
    );
}

#[test]
fn no_metric_panics_on_degenerate_input() {
    let names = ["a", "b"].map(String::from);
    for metric in METRICS {
        for values in [[0.0, 0.0], [1.0, 1.0], [f64::INFINITY, f64::NEG_INFINITY], [f64::NAN, 0.5], [-1e308, 1e308]] {
            for truth in [
                Truth::Yes(&[true, true]),
                Truth::Yes(&[false, true]),
                Truth::Numbers(&[0.0, 0.0]),
                Truth::Numbers(&[f64::MAX, -f64::MAX]),
                Truth::Classes { ids: &[1], names: &names },
            ] {
                let width = if matches!(truth, Truth::Classes { .. }) { 2 } else { 1 };
                let _ = score(metric.name, Guess { values: &values, width }, truth, &[]);
            }
        }
    }
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let message = |metric: &str, width: usize, values: &[f64], truth: Truth, options: &[(&str, f64)]| {
        score(metric, Guess { values, width }, truth, options).expect_err("refused").to_string()
    };
    assert!(message("acuracy", 1, &[0.5], Truth::Yes(&[true]), &[]).contains("accuracy, balanced_accuracy"));
    assert!(message("accuracy", 1, &[0.5], Truth::Numbers(&[1.0]), &[]).contains("rmse"));
    assert!(message("r2", 1, &[0.5], Truth::Yes(&[true]), &[]).contains("with numbers"));
    assert!(message("accuracy", 1, &[0.5, 0.5], Truth::Yes(&[true]), &[]).contains("1 numbers, and got 2"));
    assert!(message("accuracy", 1, &[], Truth::Yes(&[]), &[]).contains("no examples"));
    assert!(message("accuracy", 1, &[0.5], Truth::Yes(&[true]), &[("cut", 1.0)]).contains("no option `cut`"));
    let names = ["a", "b", "c"].map(String::from);
    let truth = Truth::Classes { ids: &[0], names: &names };
    assert!(message("accuracy", 2, &[0.5, 0.5], truth, &[]).contains("3 classes with 2 probabilities"));
}

#[test]
fn intervals() {
    // scipy.stats.binomtest(hits, n).proportion_ci(method="wilson")
    for (hits, n, low, high) in
        [(460, 478, 0.9412645797899868, 0.9760495946311889), (3, 4, 0.30064184258240184, 0.9544127391902995)]
    {
        let found = wilson(hits, n);
        assert!((found.0 - low).abs() < 1e-14 && (found.1 - high).abs() < 1e-14, "{found:?}");
    }
    assert_eq!((wilson(0, 0), wilson(0, 10).0, wilson(10, 10).1), ((0.0, 1.0), 0.0, 1.0));
    let accuracy = score(
        "accuracy",
        Guess { values: &[0.9, 0.8, 0.3, 0.2], width: 1 },
        Truth::Yes(&[true, true, false, true]),
        &[],
    );
    assert_eq!(accuracy.expect("a score").interval, Some(wilson(3, 4)));

    let scores: Vec<f64> = (0..200).map(|at| f64::from(at * 37 % 101)).collect();
    let yes: Vec<bool> = (0..200).map(|at| scores[at] + f64::from((at as u32 * 53) % 60) > 75.0).collect();
    let measure = |rows: &[usize]| {
        let p: Vec<f64> = rows.iter().map(|row| scores[*row]).collect();
        auroc(&p, &rows.iter().map(|row| yes[*row]).collect::<Vec<_>>())
    };
    let value = auroc(&scores, &yes);
    let (low, high) = bootstrap(200, 500, 1, measure).expect("an interval");
    assert!(low < value && value < high && high - low < 0.15, "{low} {value} {high}");
    assert_eq!(bootstrap(200, 500, 1, measure), Some((low, high)));
    assert_eq!(bootstrap(5, 100, 1, |_| f64::NAN), None);
}

#[test]
fn a_confusion_table_by_hand() {
    let names = ["EI", "IE", "N"].map(String::from);
    let table = Confusion::of(&[0, 0, 1, 2, 2, 2], &[0, 1, 1, 2, 2, 0], &names);
    assert_eq!(table.counts, [vec![1, 0, 1], vec![1, 1, 0], vec![0, 0, 2]]);
    assert_eq!((table.true_counts(), table.decided_counts()), (vec![2, 2, 2], vec![2, 1, 3]));
    assert_eq!((table.precision(2), table.recall(2), table.f1(1)), (2.0 / 3.0, 1.0, 2.0 / 3.0));
}
