use super::verify;
use crate::parse_plan;

const GOOD: &str = r"
plan p
size B batch
size T per_example
size rows_T total T
size s step
slot 4 * rows_T
buffer x: f32[B, T] len rows_T; input per_example
buffer w: f32[4, 4] len 16; param
buffer y: f32[B, T] len rows_T; slot 0
buffer n: i64[B] len B; lengths T
buffer off: i64[B + 1] len B + 1; offsets T
buffer tok: i32[7] len 7; input shared
buffer runs: i32[4] len 4; runs tok, 3
output y = y
kernel k(x: f32 read, y: f32 update) sizes(rows_T) indices(g, c) {
  for g in rows_T {
    %0: f32 = const 0.0
    variable @0: f32 = %0
    for c in 0..4 lanes {
      %1: f32 = load x[c + g]
      @0 sum= %1
    }
    %2: f32 = read @0
    %3: bool = lt %2, %0
    if %3 {
      store y[g] = %2
    }
  }
}
run k(x, y)
scan s in 3 {
  run k(x, y + s)
}
contract w = w * w + 2 {
  m m: 4 (out 4, a 4, b 0)
  n n: 4 (out 1, a 0, b 1)
  k k: 4 (out 0, a 1, b 4)
  clip 1 * #0 + 1 * #2 + (-1) < 4;
}
";

#[test]
fn a_good_plan_passes() {
    verify(&parse_plan(GOOD).unwrap()).unwrap();
}

/// One change each, and what is said about it.
#[test]
fn each_fault_is_named() {
    for (from, to, wanted) in [
        ("size rows_T total T", "size rows_T total T\nsize B batch", "sizes: `B` is declared twice"),
        ("slot 4 * rows_T", "slot 4 * V", "slot 0: the size `V` is not declared"),
        ("slot 4 * rows_T", "slot 4 * T", "slot 0: `T` differs from example to example and has no value here"),
        ("len rows_T; slot 0", "len rows_T; slot 1", "buffer `y`: slot 1 does not exist"),
        ("buffer tok:", "buffer w: f32[] len 1; param\nbuffer tok:", "buffer `w`: another buffer has this name"),
        ("n: i64[B]", "n: i32[B]", "buffer `n`: such a table is of I64"),
        ("tok: i32[7]", "tok: f32[7]", "buffer `runs`: the keys `tok` are no integers"),
        ("run k(x, y)\n", "run k(x)\n", "launch 0 (): `k` takes 2 buffers and is given 1"),
        ("run k(x, y)\n", "run k(y, y)\n", "launch 0 (): `y` is given to `k` twice and written"),
        ("run k(x, y)\n", "run k(x, x)\n", "launch 0 (): `x` is written"),
        ("run k(x, y)\n", "run k(x, tok)\n", "launch 0 (): `tok` is of I32, `y` of `k` of F32"),
        ("run k(x, y)\n", "run k(x, y + s)\n", "launch 0 (): the step `s` is named outside of its loop"),
        ("run k(x, y)\n", "copy y = w\n", "launch 0 (): `w` is copied to `y`, which differs in type or length"),
        ("scan s in 3", "scan B in 3", "launch 1 (): `B` is not declared as a step"),
        (
            "m m: 4 (out 4, a 4, b 0)",
            "m m: 4 (out 4, a 4, b 1)",
            "launch 3 (): axis `m` of role M steps through the wrong operands",
        ),
        ("k k: 4", "k k: T", "launch 3 (): axis `k`: `T` differs from example to example and has no value here"),
        ("1 * #2 + (-1)", "1 * #3 + (-1)", "launch 3 (): a clip names an axis that does not exist"),
        ("contract w = w", "contract w = tok", "launch 3 (): a contraction of I32 into F32"),
        (
            "(-1) < 4;",
            "(-1) < 4;\n winograd",
            "launch 3 (): a contraction by Winograd's algorithm that is no convolution of an image with 3 x 3 taps",
        ),
        ("load x[c + g]", "load y[c + g] guard [c] < V", "kernel `k`: %1: the size `V` is no argument"),
        ("@0 sum= %1", "@0 any= %1", "kernel `k`: @0 of F32 is combined with Any"),
        ("@0 sum= %1", "@0 = %1", "kernel `k`: @0 is assigned in a Lanes loop"),
        ("@0 sum= %1", "@0 sum= %1\n@0 max= %1", "kernel `k`: @0 is combined with two monoids in one Lanes loop"),
        (
            "@0 sum= %1",
            "@0 sum= %1\n%4: f32 = read @0",
            "kernel `k`: @0 is read in the Lanes loop that combines into it",
        ),
        ("@0 sum= %1", "@0 sum= %2", "kernel `k`: %2 is not in scope"),
        ("%2: f32 = read @0", "%2: i32 = read @0", "kernel `k`: %2: is of F32 and declared as I32"),
        ("lt %2, %0", "lt %2, %1", "kernel `k`: %3: %1 is not in scope"),
        ("%3: bool = lt", "%3: f32 = add", "kernel `k`: %3 is of F32 where Bool is meant"),
        ("store y[g]", "store x[g]", "kernel `k`: buffer 0 is only read"),
        ("store y[g]", "store y[c]", "kernel `k`: index 1 is outside of its loop"),
        ("y: f32 update", "y: i32 update", "kernel `k`: %2 is of F32 where I32 is meant"),
        ("for g in rows_T {", "for g in rows_T lanes {", "kernel `k`: a Lanes loop inside another"),
        (
            "%0: f32 = const 0.0",
            "%0: f32 = const 0.0\n%0: f32 = const 1.0",
            "kernel `k`: %0 does not exist or is defined twice",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let plan = parse_plan(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        match verify(&plan) {
            Err(error) => assert_eq!(error.to_string(), wanted),
            Ok(()) => panic!("passes, and should say: {wanted}"),
        }
    }
}

const LOOPS: &str = r"
plan p
size B batch
size T per_example
size rows_T total T
size t step
size n running
slot 4 * B
slot 4 * B
slot B
buffer off: i64[B + 1] len B + 1; offsets T
buffer o: i32[B] len B; slot 0
buffer h: f32[B] len B; slot 1
buffer done: bool[B] len B; slot 2
kernel k(h: f32 write) sizes(n) indices(g) {
  for g in n {
    %0: f32 = const 0.0
    store h[g] = %0
  }
}
order o by T;
scan t in T rows n of o {
  run k(h)
}
iterate t in 9 rows n of o until done {
  clear done
} else {
  run k(h)
}
";

#[test]
fn faults_of_loops_are_named() {
    verify(&parse_plan(LOOPS).unwrap()).unwrap();
    for (from, to, wanted) in [
        ("rows n of o {\n  run", "{\n  run", "launch 1 (): `T` differs from example to example and has no value here"),
        ("order o by T", "order h by T", "launch 0 (): an order is of I32"),
        ("rows n of o until", "rows n of h until", "launch 3 (): an order is of I32"),
        ("rows n of o until", "rows t of o until", "launch 3 (): `t` is not declared as running"),
        ("scan t in T", "scan n in T", "launch 1 (): `n` is not declared as a step"),
        ("until done", "until o", "launch 3 (): a stop condition is of Bool"),
        (
            "} else {\n  run k(h)\n}",
            "} else {\n}\nrun k(h)",
            "launch 5 (): the rows `n` are named outside of their loop",
        ),
        (
            "  clear done",
            "  sort o = ascending h rows 1; columns T;",
            "launch 4 (): `T` differs from example to example and has no value here",
        ),
        (
            "  clear done",
            "  sort o = ascending h rows 1; columns T; offsets o",
            "launch 4 (): `o` is no table of offsets",
        ),
    ] {
        assert!(LOOPS.contains(from), "{from}");
        let plan = parse_plan(&LOOPS.replacen(from, to, 1)).unwrap_or_else(|e| panic!("{e}\n{from}"));
        match verify(&plan) {
            Err(error) => assert_eq!(error.to_string(), wanted),
            Ok(()) => panic!("passes, and should say: {wanted}"),
        }
    }
}
