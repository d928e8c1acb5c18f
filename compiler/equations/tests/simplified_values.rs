//! Passes that compute the same values in another way: before and after, in the interpreter.

mod support;

use bdl_equations::interpret::{World, interpret};
use bdl_equations::{Program, simplify, text};
use support::{check_valid, error, fill, parse};

/// Runs the program and what `pass` makes of it, in `changes` places, on examples of these lengths.
fn same(source: &str, pass: fn(&mut Program) -> usize, changes: usize, lengths: &[i64]) {
    let program = parse(source);
    let mut changed = program.clone();
    assert_eq!(pass(&mut changed), changes, "{}", text::print(&changed));
    check_valid(&changed);
    let examples: Vec<Vec<(&str, i64)>> = lengths.iter().map(|t| vec![("T", *t)]).collect();
    let mut world = World::new();
    fill(&program, &mut world, &examples, 7);
    let before = interpret(&program, &world).unwrap();
    let after = interpret(&changed, &world).unwrap_or_else(|e| panic!("{e}\n{}", text::print(&changed)));
    for (name, _) in &program.outputs {
        let [found, expected] = [&after, &before].map(|run| run.output(name).unwrap().flat());
        assert!(expected.iter().any(|x| *x != 0.0), "{name} says nothing");
        assert!(error(&found, &expected) < 1e-13, "{name}: {found:?} {expected:?}\n{}", text::print(&changed));
    }
}

/// A sum by a clamped form of two positions, for the first `count` values of the clamp.
fn by_distance(form: &str, last: i64, count: i64) -> String {
    format!(
        "program distances
         size B batch
         size T example
         input d: real[B, 3, T, T] per example
         value g: real[3, {count}]
         g[h < 3, r < {count}] = sum[b < B, i < T, j < T if r == min(max(number({form}), 0), {last})] d[b, h, i, j]
         output g = g"
    )
}

#[test]
fn sums_by_a_clamped_distance() {
    for (form, last) in [("j - i + 4", 8), ("i - j + 4", 8), ("j - i + 2", 9), ("-j - i + 9", 5), ("2 * i - j", 3)] {
        same(&by_distance(form, last, last + 1), simplify::split_clamps, 1, &[5, 1, 0, 12]);
    }
    // Not all values of the index, and an index whose form no bound one solves.
    for (form, count) in [("j - i + 4", 7), ("2 * i - 2 * j", 9)] {
        same(&by_distance(form, 8, count), simplify::split_clamps, 0, &[5, 1, 0, 12]);
    }
}

#[test]
fn the_numerator_of_a_softmax() {
    let source = "program softmax
        size B batch
        size T example
        input x: real[B, T, 3] per example
        input d_a: real[B, T, 3] per example
        value e: real[B, T, 3]
        value s: real[B, T]
        value a: real[B, T, 3]
        value d_x: real[B, 3, T]
        e[b < B, i < T, j < 3] = exp(x[b, i, j])
        s[b < B, i < T] = sum[k < 3] e[b, i, k]
        a[b < B, i < T, j < 3] = e[b, i, j] / s[b, i]
        d_x[b < B, j < 3, i < T] = d_a[b, i, j] * e[b, i, j] + a[b, i, j]
        output d_x = d_x
        output a = a";
    same(source, simplify::read_quotients, 1, &[5, 1, 0, 12]);
}
