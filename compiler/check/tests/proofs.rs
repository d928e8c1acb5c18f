//! The proof engine: what it must prove, and that it never proves what a number refutes.

use bdl_check::prove::Facts;
use bdl_dims::Dim;
use proptest::prelude::*;

fn dim(text: &str) -> Dim {
    text.parse().expect("a size")
}

fn facts(least: &[&str], positive: &[&str]) -> Facts {
    let mut facts = Facts::default();
    least.iter().for_each(|fact| facts.assume(dim(fact)));
    positive.iter().for_each(|name| facts.assume_positive(name));
    facts
}

#[test]
fn what_follows_from_laws_is_proved() {
    let cases: [(&[&str], &[&str], &str); 14] = [
        (&[], &[], "T"),
        (&[], &["T"], "T - 1"),
        (&["T - 9"], &[], "T - 8"),
        (&["T - K"], &[], "T - K + 1"),
        (&["T - K", "K - S"], &[], "T - S"),
        // floor(n / 2) <= n, and it is never negative
        (&[], &[], "T - T / 2"),
        (&[], &[], "T / 2"),
        (&["T - 2"], &[], "T / 2 - 1"),
        (&[], &[], "T - 1 - (L - 1) / 2 + L"),
        // the windows of a pooling stay inside
        (&["T - W"], &["S", "W"], "T - 1 - S * ((T - W) / S) - W + 1"),
        (&["T - W"], &["S", "W"], "(T - W) / S + 1"),
        // a convolution with stride and dilation
        (&["T - D * K + D - 1"], &["S", "D", "K"], "(T - D * K + D - 1) / S + 1"),
        // a product of sizes by sign only
        (&["T - K"], &[], "C * T - C * K"),
        // both halves of a chain
        (&[], &[], "L - L / 2"),
    ];
    for (least, positive, goal) in cases {
        assert!(facts(least, positive).proves(&dim(goal)), "{least:?} {positive:?} should prove {goal} >= 0");
    }
}

#[test]
fn what_does_not_follow_is_not_proved() {
    let cases: [(&[&str], &[&str], &str); 8] = [
        (&[], &[], "T - 1"),
        (&["T - 9"], &[], "T - 10"),
        (&[], &[], "T - K"),
        (&[], &[], "T / 2 - 1"),
        (&["T - 1"], &[], "T / 2 - 1"),
        (&[], &["T"], "T - 2"),
        (&[], &[], "T * T - T - 1"),
        (&["T - W"], &["S", "W"], "T - 2 - S * ((T - W) / S) - W + 1"),
    ];
    for (least, positive, goal) in cases {
        assert!(!facts(least, positive).proves(&dim(goal)), "{least:?} {positive:?} should not prove {goal} >= 0");
    }
}

#[test]
fn equal_sizes_written_differently_are_equal() {
    let facts = facts(&["D - H * (D / H)", "H * (D / H) - D"], &[]);
    assert!(facts.proves_equal(&dim("H * (D / H)"), &dim("D")));
    assert!(facts.proves_equal(&dim("2 * (T + 1)"), &dim("2 * T + 2")));
    assert!(!facts.proves_equal(&dim("T"), &dim("D")));
    assert!(facts.proves_different(&dim("T"), &dim("T + 1")));
    assert!(!facts.proves_different(&dim("T"), &dim("D")));
}

/// Small random sizes over A, B, C with floor divisions.
fn random_dim() -> impl Strategy<Value = Dim> {
    let leaf = prop_oneof![(-6i64..7).prop_map(Dim::from), prop_oneof!["A", "B", "C"].prop_map(Dim::var)];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a + b),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a - b),
            (inner.clone(), -3i64..4).prop_map(|(a, k)| a.scale(k)),
            (inner.clone(), 1i64..4).prop_map(|(a, k)| a.floor_div(&Dim::from(k))),
            (inner, prop_oneof!["A", "B"]).prop_map(|(a, name)| a * Dim::var(name)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// No counterexample among small sizes to anything that is proved.
    #[test]
    fn nothing_false_is_proved(goal in random_dim(), law in random_dim()) {
        let mut facts = Facts::default();
        facts.assume(law.clone());
        facts.assume_positive("C");
        if facts.proves(&goal) {
            for a in 0..6i64 {
                for b in 0..6i64 {
                    for c in 1..5i64 {
                        let size = |name: &str| match name { "A" => Some(a), "B" => Some(b), "C" => Some(c), _ => None };
                        let (holds, value) = (law.eval(&size), goal.eval(&size));
                        if holds.is_some_and(|least| least >= 0) {
                            prop_assert!(value.is_none_or(|value| value >= 0), "{goal} is {value:?} at A = {a}, B = {b}, C = {c}, law {law}");
                        }
                    }
                }
            }
        }
    }
}
