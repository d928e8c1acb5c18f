use super::*;
use crate::data::Plan;

/// The example of the module's documentation.
fn example() -> String {
    let text = include_str!("mod.rs");
    let from = text.find("//! plan step").unwrap();
    let to = text[from..].find("//! ```").unwrap();
    text[from..from + to]
        .lines()
        .map(|l| l.strip_prefix("//!").unwrap())
        .map(|l| format!("{}\n", l.strip_prefix(' ').unwrap_or(l)))
        .collect()
}

fn round_trip(plan: &Plan) {
    let text = plan.to_string();
    let again = parse_plan(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(&again, plan, "{text}");
}

#[test]
fn the_documented_example_prints_as_written() {
    let plan = parse_plan(&example()).unwrap();
    assert_eq!(plan.to_string(), example());
    round_trip(&plan);
}

#[test]
fn everything_comes_back() {
    let text = r#"
plan "a plan, with \"quotes\""
size B batch
size T per_example
size rows_T total T
size tt total T * T
size K built
size s step
slot 4 * rows_T + 64
slot 0
buffer x: i32[B, T] len rows_T; input per_example
buffer lr: f32[] len 1; input shared
buffer m.w': bf16[K, K / 2] len K * (K / 2); state
buffer v: f64[2] len 2; literal [1.5, -inf]
buffer mask: bool[B] len B; slot 0
buffer len: i64[B] len B; lengths T + 1
buffer off: i64[B + 1] len B + 1; offsets T
buffer own: i32[rows_T] len rows_T; owner T
buffer order: i32[rows_T] len rows_T; sorted_by x
buffer runs: i32[11] len 11; runs x, 10
buffer where: i64[B] len B; positions
buffer y: f32[B, T] len rows_T; slot 0
output "the loss" = lr
output y = y

kernel k(x: i32 read, x: f32 write, "odd name": bool update) sizes(rows_T, i) indices(i, c, c) {
  for i#0 in rows_T - 1 lanes {
    %0: i64 = index i#0
    %1: f32 = const -0.0
    variable @0: f32 = %1
    for c#1 in 0..4 {
      %2: i32 = load x#0[i#0 * 4 + c#1 + %0 * (rows_T + 1) + (-3)] guard [i#0 + c#1 * (-1)] < rows_T guard [0] < (rows_T - 4) else NaN
      @0 sum= %1
      @0 = %1
    }
    for c#2 in %0..(2 * i) {
      %3: i64 = size (2 * i + 3)
    }
    %4: bool = lt %0, %3
    if %4 {
      %5: f32 = read @0
      %6: f32 = select %4, %5, %1
      %7: f32 = convert %0
      %8: f32 = trigamma %7
      store x#1[i#0] = %8
    }
  }
}

kernel k() indices(g) {
  for g in 7 {
  }
}

run k#0(x, y + 4, mask + (2 * s + 1)) at "what it is" 1 20 33
run k#1()
scan s in (rows_T - 1) reversed {
  copy y = lr
  scan s in 3 {
    clear y
  }
}
order y by 2 * T + 1;
scan s in T reversed rows n of y {
  iterate i in 9 rows n of y until mask {
    clear mask
  } else {
    copy y = lr
  }
}
iterate i in (K + 1) until mask {
} else {
}
draw y = normal site 7 per_example 3 * T; at "plain" 0 1 2
draw y = uniform site 4000000000 shared
scan s in 2 {
  draw y = normal site 1 steps s shared
}
sort order = descending y rows B; columns K;
sort order = ascending y rows B; columns 4 * K;
sort order = ascending y rows 4; columns T; offsets off
library y = orthogonal(y, lr) rows K; columns 2;
contract y + (4 * s) += x * lr + K {
  batch b: B (out T, a -4 * T, b 0) offsets off
  m "two words": (rows_T - 8) (out 1, a 1, b 0)
  k k: 9 (out 0, a 4, b -2)
  clip 1 * #1 + -2 * #2 + (-4) < rows_T;
  clip 3 * #2 + (2 * K) < 12;
  winograd
  then k#1()
}
"#;
    // NaN is not equal to itself: the texts are compared.
    let plan = parse_plan(text).unwrap();
    let printed = plan.to_string();
    assert_eq!(parse_plan(&printed).unwrap().to_string(), printed);
    let lines = |t: &str| t.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect::<Vec<_>>();
    assert_eq!(lines(&printed), lines(text));
}

#[test]
fn a_mistake_is_found_at_its_line() {
    for (text, line, expected) in [
        ("", 1, "`plan`"),
        ("plan p\nsize B huge", 2, "built, batch, total, per_example, step or running"),
        ("plan p\nbuffer x: f33[] len 1; param", 2, "an element type"),
        ("plan p\nbuffer x: f32[] len 1; nowhere", 2, "where the buffer lies"),
        ("plan p\n\n// words\nrun k()", 4, "the name of a kernel"),
        ("plan p\ncopy a = b", 2, "the name of a buffer"),
        ("plan p\nkernel k() indices(g) {\n  for g in 1 {\n    %0: f32 = fly %1\n  }\n}", 4, "an operation"),
        (
            "plan p\nkernel k() indices(g) {\n  for g in 1 {\n    %1: f32 = const 0\n  }\n}",
            6,
            "every value to be defined",
        ),
        ("plan p\nsize x total (", 2, "a size (expected a size at byte 1)"),
    ] {
        let error = parse_plan(text).unwrap_err();
        assert_eq!((error.line, error.expected.as_str()), (line, expected), "{text}");
    }
}
