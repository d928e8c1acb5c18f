//! Fields that are computed from earlier ones.

use crate::common::{CATEGORY, columns, csv, field, numbers};
use bdl_data::{FieldSpec, Formula, Function, Impute, Missing, Operator, Origin, Precision, Step};

fn f(name: &str) -> Box<Formula> {
    Box::new(Formula::Field(name.into()))
}

fn n(value: f64) -> Box<Formula> {
    Box::new(Formula::Number(value))
}

fn computed(name: &str, formula: Formula) -> FieldSpec {
    FieldSpec::new(name, Origin::Formula(formula))
}

fn divided(a: &str, b: &str) -> Formula {
    Formula::Binary(Operator::Divide, f(a), f(b))
}

const TABLE: &str = "a,b,k\n8,2,x\n9,3,y\n1,4,x\n6,0,y\n";

#[test]
fn a_value_that_is_not_defined_is_an_error_only_where_it_is_used() {
    let given = csv(TABLE).field("a", "a", Step::Number).field("b", "b", Step::Number);
    let fault = given.and(computed("r", divided("a", "b"))).fault();
    assert_eq!((fault.code, fault.line), ("out-of-domain", Some(5)));
    assert!(fault.message.contains("`a` is 6 and `b` is 0"), "{fault}");

    let positive = Box::new(Formula::Binary(Operator::Greater, f("b"), n(0.0)));
    let guarded = Formula::If(positive, Box::new(divided("a", "b")), n(-1.0));
    let given = csv(TABLE).field("a", "a", Step::Number).field("b", "b", Step::Number);
    assert_eq!(numbers(&given.and(computed("r", guarded)).data(), "r", &[0, 1, 2, 3]), [4.0, 3.0, 0.25, -1.0]);
}

#[test]
fn comparisons_are_truth_values_and_classes_are_compared_by_name() {
    let is = Formula::Is { field: "k".into(), text: "x".into() };
    let large = Formula::Binary(Operator::Greater, f("a"), n(5.0));
    let both = Formula::Binary(Operator::And, Box::new(is.clone()), Box::new(large));
    let data = csv(TABLE).field("a", "a", Step::Number).field("k", "k", CATEGORY).and(computed("t", both)).data();
    assert_eq!(numbers(&data, "t", &[0, 1, 2, 3]), [1.0, 0.0, 0.0, 0.0]);
    let facts = data.facts();
    let field = facts.field("t").unwrap();
    assert_eq!((&field.kind, field.classes[1].count), (&bdl_data::Kind::Truth, 1));
    let other = Formula::Is { field: "k".into(), text: "z".into() };
    assert_eq!(csv(TABLE).field("k", "k", CATEGORY).and(computed("t", other)).fault().code, "unknown-category");
    let mixed = Formula::Apply(Function::Not, f("a"));
    assert_eq!(csv(TABLE).field("a", "a", Step::Number).and(computed("t", mixed)).fault().code, "wrong-step");
}

#[test]
fn what_is_missing_stays_missing_until_it_is_filled() {
    let text = "a,b\n1,2\n,2\n3,\n";
    let kept = |name: &str| field(name, name, Step::Number).missing(Missing::Keep);
    let given = csv(text).and(kept("a")).and(kept("b"));
    let sum = Formula::Binary(Operator::Add, f("a"), f("b"));
    let data = given.and(computed("s", sum.clone())).and(computed("e", Formula::Else(Box::new(sum), n(9.0)))).data();
    assert!(data.facts().field("s").unwrap().optional && !data.facts().field("e").unwrap().optional);
    assert_eq!(numbers(&data, "e", &[0, 1, 2]), [3.0, 9.0, 9.0]);
    let known = Formula::Apply(Function::Known, f("a"));
    let data = csv(text).and(kept("a")).and(computed("k", known)).data();
    assert_eq!(numbers(&data, "k", &[0, 1, 2]), [1.0, 0.0, 1.0]);
    // A text that is missing is no answer.
    let is = Formula::Is { field: "a".into(), text: "1".into() };
    let fault = csv("a,b\n1,2\n,2\n").field("a", "a", Step::Text).and(computed("t", is)).fault();
    assert_eq!((fault.code, fault.line), ("missing-value", Some(3)));
}

#[test]
fn columns_meet_columns_and_one_value_a_row() {
    let given = csv("g1,g2,size\n2,4,2\n9,3,3\n").and(columns("g", &["g*"], &[])).field("size", "size", Step::Number);
    let data = given.and(computed("share", divided("g", "size"))).data();
    assert_eq!(numbers(&data, "share", &[0, 1]), [1.0, 2.0, 3.0, 1.0]);
    let facts = data.facts();
    assert_eq!(facts.field("share").unwrap().axis_names, facts.field("g").unwrap().axis_names);
    let given = csv("a,b,c\n1,2,3\n").and(columns("x", &["a", "b"], &[])).and(columns("y", &["*"], &[]));
    assert_eq!(given.and(computed("z", divided("x", "y"))).fault().code, "shape-differs");
}

#[test]
fn columns_of_one_name_meet_at_one_place() {
    let pairs = |x: [&str; 2], y: [&str; 2]| {
        let given = csv("a,b,c,d\n1,2,4,8\n").and(columns("x", &x, &[])).and(columns("y", &y, &[]));
        given.and(computed("z", divided("x", "y")))
    };
    // Before and after: place by place.
    assert_eq!(numbers(&pairs(["a", "b"], ["c", "d"]).data(), "z", &[0]), [0.25, 0.25]);
    // One has lost a column: `b` would meet `c`.
    let fault = pairs(["a", "b"], ["b", "c"]).fault();
    assert_eq!(fault.code, "columns-displaced");
    assert!(fault.message.contains("`b` is column 2 of the one and column 1 of the other"), "{fault}");
}

#[test]
fn what_is_fitted_is_fitted_in_order_and_on_training_rows_only() {
    let text = "a,b\n1,2\n3,5\n5,1\n100,7\n";
    let z = field("z", "a", Step::Number).step(Step::Standardize);
    let spec = csv(text).and(z).field("b", "b", Step::Number);
    let product = computed("w", Formula::Binary(Operator::Multiply, f("z"), f("b"))).step(Step::Standardize);
    let given = spec.and(product);
    let data = given.data();
    let fitted = data.fit(&[0, 1, 2]).unwrap();
    let encoded = data.encode(&fitted).unwrap();
    let mut w = [0.0; 4];
    encoded.field("w").unwrap().fill_f64(&[0, 1, 2, 3], &mut w);
    // By hand: mean 3 and sd of 1, 3, 5; then the product, then its own mean and sd over the three rows.
    let sd = (8.0f64 / 3.0).sqrt();
    let product: Vec<f64> =
        [(1.0, 2.0), (3.0, 5.0), (5.0, 1.0), (100.0, 7.0)].map(|(a, b)| (a - 3.0) / sd * b).to_vec();
    let mean = product[..3].iter().sum::<f64>() / 3.0;
    let own = (product[..3].iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 3.0).sqrt();
    for (found, product) in w.iter().zip(&product) {
        assert!((found - (product - mean) / own).abs() < 1e-12, "{w:?}");
    }
    // Replayed on another file, from json, to the same bits.
    let path = given.beside("new.csv", "b,a\n7,100\n");
    let stored = bdl_data::Fitted::from_json(&fitted.to_json()).unwrap();
    let source = bdl_data::Source::Table(bdl_data::TableSource::csv(&path));
    let new = bdl_data::DataSpec { source, ..given.spec() };
    let new = bdl_data::Dataset::open_like(&new, &stored, Some(&["w"]), Precision::F64).unwrap();
    let mut again = [0.0];
    new.encode(&stored).unwrap().field("w").unwrap().fill_f64(&[0], &mut again);
    assert_eq!(again[0].to_bits(), w[3].to_bits());
}

#[test]
fn an_impute_behind_a_formula_takes_what_is_missing_before_it() {
    let part = |name: &str| FieldSpec { hidden: true, ..field(name, name, Step::Number).missing(Missing::Keep) };
    let given = csv("a,b\n1,2\n,2\n9,3\n").and(part("a")).and(part("b"));
    let data = given.and(computed("r", divided("a", "b")).step(Step::Impute(Impute::Mean))).data();
    assert_eq!(numbers(&data, "r", &[0, 1, 2]), [0.5, 1.75, 3.0]);
    let facts = data.facts();
    assert_eq!(facts.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["r"]);
}

#[test]
fn lists_of_numbers_are_fitted_by_column() {
    let text = "x\n1 10 3 30\n5 50\n";
    let data = csv(text).and(field("x", "x", Step::Numbers { width: Some(2) }).step(Step::Standardize)).data();
    let sd = (8.0f64 / 3.0).sqrt();
    let x = numbers(&data, "x", &[0, 1]);
    for (found, wanted) in x.iter().zip([-2.0 / sd, -2.0 / sd, 0.0, 0.0, 2.0 / sd, 2.0 / sd]) {
        assert!((found - wanted).abs() < 1e-12, "{x:?}");
    }
}

#[test]
fn what_training_has_not_seen_is_of_the_class_unknown() {
    let unknown = Step::Category { classes: None, unknown: Some("other".into()) };
    let given = csv("k\na\nb\nc\na\n").field("k", "k", unknown);
    let data = given.data();
    let fitted = data.fit(&[0, 1]).unwrap();
    let classes = |data: &bdl_data::Dataset, rows: &[u32]| {
        let mut out = vec![0; rows.len()];
        data.encode(&fitted).unwrap().field("k").unwrap().fill_i32(rows, &mut out);
        out
    };
    assert_eq!(fitted.field("k").unwrap().classes, ["a", "b", "c", "other"]);
    assert_eq!(classes(&data, &[0, 1, 2, 3]), [0, 1, 3, 0]);
    let path = given.beside("new.csv", "k\nnever\nc\nb\n");
    let source = bdl_data::Source::Table(bdl_data::TableSource::csv(&path));
    let new = bdl_data::DataSpec { source, ..given.spec() };
    let new = bdl_data::Dataset::open_like(&new, &fitted, None, Precision::F64).unwrap();
    assert_eq!(classes(&new, &[0, 1, 2]), [3, 3, 1]);
}
