//! The normal form agrees with evaluation, and text parses back.

use bdl_dims::Dim;
use proptest::prelude::*;

fn size(name: &str) -> Option<i64> {
    match name {
        "T" => Some(11),
        "K" => Some(3),
        "B" => Some(7),
        _ => None,
    }
}

#[test]
fn sizes_print_as_people_write_them() {
    let (t, k) = (Dim::var("T"), Dim::var("K"));
    assert_eq!((t.clone() - k.clone() + Dim::one()).to_string(), "T - K + 1");
    assert_eq!((t.clone() * k.clone() * Dim::from(2)).to_string(), "2 * K * T");
    assert_eq!((t.clone() - t.clone()).to_string(), "0");
    let half = t.floor_div(&Dim::from(2));
    assert_eq!(half.to_string(), "T / 2");
    assert_eq!((half.scale(2) * k.clone()).to_string(), "2 * K * (T / 2)");
    assert_eq!((-half.clone() + k.clone()).to_string(), "K - T / 2");
    assert_eq!((-half).to_string(), "-(T / 2)");
    assert_eq!((t.clone() - Dim::one()).floor_div(&k).to_string(), "(T - 1) / K");
    assert_eq!((k.clone() * t.clone()).floor_div(&k), t);
}

#[test]
fn unknown_names_and_division_by_zero_have_no_value() {
    assert_eq!(Dim::var("Q").eval(&size), None);
    assert_eq!(Dim::var("T").floor_div(&Dim::zero()).eval(&size), None);
    assert_eq!(Dim::var("T").floor_div(&Dim::from(2)).eval(&size), Some(5));
}

#[test]
fn bad_text_says_where() {
    assert_eq!("T - ".parse::<Dim>().unwrap_err().to_string(), "expected a size at byte 4");
    assert_eq!("(T".parse::<Dim>().unwrap_err().to_string(), "expected `)` at byte 2");
}

/// An expression tree and its plain evaluation, to compare with the normal form.
#[derive(Clone, Debug)]
enum Tree {
    Number(i64),
    Name(&'static str),
    Add(Box<Tree>, Box<Tree>),
    Sub(Box<Tree>, Box<Tree>),
    Mul(Box<Tree>, Box<Tree>),
    Div(Box<Tree>, i64),
}

impl Tree {
    fn dim(&self) -> Dim {
        match self {
            Tree::Number(n) => Dim::from(*n),
            Tree::Name(n) => Dim::var(*n),
            Tree::Add(a, b) => a.dim() + b.dim(),
            Tree::Sub(a, b) => a.dim() - b.dim(),
            Tree::Mul(a, b) => a.dim() * b.dim(),
            Tree::Div(a, d) => a.dim().floor_div(&Dim::from(*d)),
        }
    }
    fn value(&self) -> i64 {
        match self {
            Tree::Number(n) => *n,
            Tree::Name(n) => size(n).unwrap_or(0),
            Tree::Add(a, b) => a.value() + b.value(),
            Tree::Sub(a, b) => a.value() - b.value(),
            Tree::Mul(a, b) => a.value() * b.value(),
            Tree::Div(a, d) => a.value().div_euclid(*d),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf =
        prop_oneof![(-5i64..6).prop_map(Tree::Number), prop::sample::select(vec!["T", "K", "B"]).prop_map(Tree::Name)];
    leaf.prop_recursive(5, 24, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            pair.clone().prop_map(|(a, b)| Tree::Add(Box::new(a), Box::new(b))),
            pair.clone().prop_map(|(a, b)| Tree::Sub(Box::new(a), Box::new(b))),
            pair.prop_map(|(a, b)| Tree::Mul(Box::new(a), Box::new(b))),
            (inner, 1i64..5).prop_map(|(a, d)| Tree::Div(Box::new(a), d)),
        ]
    })
}

proptest! {
    #[test]
    fn normal_form_agrees_with_evaluation(t in tree()) {
        prop_assert_eq!(t.dim().eval(&size), Some(t.value()));
    }

    #[test]
    fn printed_is_parsed(t in tree()) {
        let dim = t.dim();
        prop_assert_eq!(dim.to_string().parse::<Dim>(), Ok(dim));
    }

    #[test]
    fn substitution_is_evaluation(t in tree()) {
        let filled = t.dim().substitute(&|n| size(n).map(Dim::from));
        prop_assert_eq!(filled.as_const(), Some(t.value()));
    }
}
