//! First and second derivatives of every binary operator and every reduction, by value against central differences in f64: outside of
//! loops, inside of a `scan` of fixed length (in both directions, also one that is cut into blocks), inside of one of the example's own
//! length, and inside of an `iterate`.
//!
//! A case is a few equations for `y[b]` out of `v[b, j]` and `w[j]` (4 of each); a place is a program around them. In a loop `v` depends on
//! what the loop carries, so that the derivative passes through every step. The first derivatives are compared by x and w; the
//! second ones as the derivative of `<u, gradient>` for a random u, which is the Hessian's product with u, by x and w together.

mod support;

use bdl_equations::interpret::{Array, Value, World};
use bdl_equations::{DType, Expr, PieceBuilder, Program, TensorId};
use support::{Numbers, check_gradient, check_gradient_of};

struct Case {
    name: &'static str,
    /// Where the elements of x and of w lie.
    x: (f64, f64),
    w: (f64, f64),
    /// Declarations of what the equations compute, `y` apart.
    values: &'static str,
    equations: &'static str,
}

/// The lengths of the examples where they are their own; elsewhere each has 3 steps.
const LENGTHS: [usize; 3] = [3, 1, 0];

#[derive(Clone, Copy, Debug)]
enum Place {
    Outside,
    /// What stands behind the range of a scan of three steps.
    Fixed(&'static str),
    /// What stands behind the range of a scan of the example's own length.
    Own(&'static str),
    Iterate,
}

const PLACES: [Place; 7] = [
    Place::Outside,
    Place::Fixed(""),
    Place::Fixed("reversed"),
    Place::Fixed("checkpoint 2"),
    Place::Own(""),
    Place::Own("reversed"),
    Place::Iterate,
];

impl Place {
    fn steps(self) -> &'static str {
        match self {
            Place::Outside => "1",
            Place::Fixed(_) | Place::Iterate => "3",
            Place::Own(_) => "T",
        }
    }

    fn lengths(self) -> [usize; 3] {
        match self {
            Place::Outside => [1; 3],
            Place::Fixed(_) | Place::Iterate => [3; 3],
            Place::Own(_) => LENGTHS,
        }
    }

    /// The loss reads every step's result and the last one, neither of them linearly.
    fn program(self, values: &str, equations: &str) -> String {
        let steps = self.steps();
        let head = format!(
            "program place
             size B batch
             size T example
             size t step
             input x: real[B, {steps}, 4] per example
             param w: real[4]
             input group: i32[4]
             input along_x: real[B, {steps}, 4] per example
             param along_w: real[4]
             value h0: real[B]
             value h: real[B]
             value v: real[B, 4]
             value y: real[B]
             value h1: real[B]
             value last: real[B]
             value hs: real[B, {steps}]
             value done: bool[B]
             value loss: real
             {values}
             h0[b < B] = 0.3
            "
        );
        let body = format!(
            "v[b < B, j < 4] = x[b, t, j] + sin(h[b]) / 8
             {equations}
             h1[b < B] = sin(y[b] / 2) + h[b] / 3"
        );
        let carry = "carry h from h0 next h1 last last";
        match self {
            Place::Outside => {
                format!(
                    "{head}
                     v[b < B, j < 4] = x[b, 0, j]
                     {equations}
                     loss = sum[b < B] sin(y[b] / 2) * y[b]"
                )
            }
            Place::Fixed(how) | Place::Own(how) => format!(
                "{head}
                 scan t < {steps} {how} {{
                   {carry}
                   {body}
                   stack h1 as hs
                 }}
                 loss = sum[b < B, s < {steps}] hs[b, s] * hs[b, s] * cos(last[b]) + hs[b, s] * last[b]"
            ),
            Place::Iterate => format!(
                "{head}
                 iterate t < 3 until done {{
                   {carry}
                   condition {{
                     done[b < B] = number(t + b) > 2
                   }}
                   {body}
                 }}
                 loss = sum[b < B] last[b] * last[b] * cos(last[b])"
            ),
        }
    }
}

/// `<u, gradient>`, whose derivative is the Hessian's product with u.
fn along(program: &mut Program, gradients: &[(TensorId, &str)]) {
    let mut sum: Option<Expr> = None;
    for (gradient, direction) in gradients {
        let direction = program.find(direction).unwrap_or_else(|| panic!("no `{direction}`"));
        let shape = program.get(*gradient).shape.clone();
        let mut piece = PieceBuilder::new();
        let axes: Vec<_> = shape.iter().map(|d| piece.bound("z", d.clone())).collect();
        let product = Expr::read(*gradient, axes.clone()) * Expr::read(direction, axes);
        let part = program.define("part", DType::Real, piece.sum(product), Default::default());
        let part = Expr::read(part, [0u32; 0].map(bdl_equations::IndexId));
        sum = Some(sum.map_or(part.clone(), |s| s + part));
    }
    let sum = sum.expect("a gradient");
    program.define("slope", DType::Real, PieceBuilder::new().sum(sum), Default::default());
}

fn check(case: &Case, place: Place) {
    let mut numbers = Numbers::new(0x5eed + case.name.bytes().map(u64::from).sum::<u64>());
    let mut between = |(low, high): (f64, f64)| low + (high - low) * numbers.uniform();
    let mut world = World::new();
    let x = place.lengths().map(|n| Array::new([n, 4], (0..4 * n).map(|_| between(case.x)).collect::<Vec<f64>>()));
    world.set("x", Value::PerExample(x.to_vec()));
    world.set("w", Array::new([4], [0; 4].map(|_| between(case.w))));
    // Group 1 is empty, and one element is in no group.
    world.set("group", Array::new([4], [0.0, 2.0, 0.0, 7.0]));
    let examples = place.lengths().map(|n| vec![("T", n as i64)]);
    println!("{}, {place:?}", case.name);
    let source = place.program(case.values, case.equations);
    let (mut program, found) = check_gradient(&source, &mut world, &examples, &["x", "w"]);
    along(&mut program, &[(found[0], "along_x"), (found[1], "along_w")]);
    check_gradient_of(&mut program, &mut world, "slope", &["x", "w"], 1e-6);
}

fn check_all(cases: &[Case]) {
    for case in cases {
        for place in PLACES {
            check(case, place);
        }
    }
}

/// p = op(v, w), and y the mean of its squares.
const fn binary(name: &'static str, x: (f64, f64), w: (f64, f64), equations: &'static str) -> Case {
    Case { name, x, w, values: "value p: real[B, 4]", equations }
}

/// Where high powers stay small: the differences are taken to 1e-7.
const TAME: (f64, f64) = (-0.9, 0.9);
const WIDE: (f64, f64) = (-2.0, 2.0);
const POSITIVE: (f64, f64) = (0.4, 2.5);
const NEGATIVE: (f64, f64) = (-2.5, -0.6);

macro_rules! of_elements {
    ($body:literal) => {
        concat!("p[b < B, j < 4] = ", $body, "\n y[b < B] = sum[j < 4] p[b, j] * p[b, j] / 4")
    };
}

#[test]
fn arithmetic() {
    check_all(&[
        binary("add", WIDE, WIDE, of_elements!("v[b, j] + w[j]")),
        binary("sub", WIDE, WIDE, of_elements!("v[b, j] - w[j]")),
        binary("mul", WIDE, WIDE, of_elements!("v[b, j] * w[j]")),
        binary("div", WIDE, POSITIVE, of_elements!("v[b, j] / w[j]")),
        binary("div by a negative", WIDE, NEGATIVE, of_elements!("w[j] / (v[b, j] + 4) + v[b, j] / w[j]")),
        binary("min", WIDE, WIDE, of_elements!("min(v[b, j], w[j])")),
        binary("max", WIDE, WIDE, of_elements!("max(v[b, j] * w[j], sin(w[j]))")),
    ]);
}

#[test]
fn floor_division_and_remainder() {
    check_all(&[
        binary("remainder", WIDE, POSITIVE, of_elements!("v[b, j] % w[j]")),
        binary("remainder by a negative", WIDE, NEGATIVE, of_elements!("v[b, j] * w[j] % w[j]")),
        binary("floor division", WIDE, POSITIVE, of_elements!("div(v[b, j], w[j]) * v[b, j] * w[j] + sin(v[b, j])")),
    ]);
}

#[test]
fn powers() {
    check_all(&[
        binary("pow", (0.4, 1.6), WIDE, of_elements!("pow(v[b, j], w[j])")),
        binary("pow of the parameter", WIDE, POSITIVE, of_elements!("pow(w[j], v[b, j])")),
        binary("square", TAME, WIDE, of_elements!("pow(v[b, j] * w[j], 2)")),
        binary("cube", TAME, TAME, of_elements!("pow(v[b, j] * w[j], 3)")),
        binary("first power", WIDE, WIDE, of_elements!("pow(v[b, j] * w[j], 1)")),
        binary("zeroth power", WIDE, WIDE, of_elements!("pow(v[b, j] * w[j], 0) * v[b, j]")),
        binary("inverse", POSITIVE, POSITIVE, of_elements!("pow(v[b, j] * w[j], -1)")),
        binary("root", POSITIVE, POSITIVE, of_elements!("pow(v[b, j] * w[j], 0.5)")),
    ]);
}

#[test]
fn branches() {
    check_all(&[
        binary("<", WIDE, WIDE, of_elements!("if v[b, j] < w[j] then v[b, j] * w[j] else sin(v[b, j])")),
        binary("<=", WIDE, WIDE, of_elements!("if v[b, j] <= w[j] then v[b, j] * w[j] else sin(w[j])")),
        binary(">", WIDE, WIDE, of_elements!("if v[b, j] > w[j] then exp(v[b, j]) * w[j] else v[b, j] * v[b, j]")),
        binary(">=", WIDE, WIDE, of_elements!("if v[b, j] * w[j] >= 0 then v[b, j] * w[j] else w[j] * w[j]")),
        binary("==", WIDE, WIDE, of_elements!("if v[b, j] == w[j] then 100 else v[b, j] * w[j] * w[j]")),
        binary("!=", WIDE, WIDE, of_elements!("if v[b, j] != w[j] then v[b, j] * w[j] * w[j] else 100")),
        binary(
            "and, or, not",
            WIDE,
            WIDE,
            of_elements!(
                "if v[b, j] > 0 and w[j] > 0 or not (v[b, j] > -1) then v[b, j] * w[j] * w[j] else v[b, j] * w[j]"
            ),
        ),
        // A logarithm that does not exist where its branch is not taken.
        binary(
            "guarded",
            (-1.5, 1.5),
            (0.3, 1.1),
            of_elements!("if v[b, j] > 0.3 then log(v[b, j]) / v[b, j] * w[j] else w[j] * v[b, j]"),
        ),
    ]);
}

const fn reduction(name: &'static str, x: (f64, f64), values: &'static str, equations: &'static str) -> Case {
    Case { name, x, w: WIDE, values, equations }
}

#[test]
fn sums_means_and_products() {
    check_all(&[
        reduction("sum", WIDE, "", "y[b < B] = sum[j < 4] sin(v[b, j] * w[j])"),
        reduction("mean", WIDE, "", "y[b < B] = sum[j < 4, i < 4] v[b, j] * v[b, j] * w[i] / 16"),
        reduction("prod", WIDE, "", "y[b < B] = prod[j < 4] (v[b, j] + sin(w[j]))"),
        reduction(
            "mean square deviation",
            WIDE,
            "value m: real[B]",
            "m[b < B] = sum[j < 4] v[b, j] * w[j] / 4
             y[b < B] = sum[j < 4] pow(v[b, j] * w[j] - m[b], 2) / 4",
        ),
        reduction(
            "norm",
            WIDE,
            "value s: real[B]",
            "s[b < B] = sum[j < 4] v[b, j] * v[b, j] * w[j] * w[j]
             y[b < B] = if s[b] > 0 then sqrt(s[b]) else 0",
        ),
        reduction(
            "cumulative sum",
            WIDE,
            "value c: real[B, 4]",
            "c[b < B, i < 4] = sum[j < 4 if i - j >= 0] v[b, j] * w[j]
             y[b < B] = sum[i < 4] c[b, i] * c[b, i] * w[i] / 8",
        ),
        reduction(
            "mean over the batch",
            WIDE,
            "value n: real
             value m: real[4]",
            "n = sum[b < B] 1
             m[j < 4] = sum[b < B] v[b, j] / n
             y[b < B] = sum[j < 4] (v[b, j] - m[j]) * (v[b, j] - m[j]) * w[j] / 4",
        ),
    ]);
}

#[test]
fn largest_and_smallest() {
    check_all(&[
        reduction(
            "max",
            WIDE,
            "value m: real[B]",
            "m[b < B] = max[j < 4] v[b, j] * w[j]
             y[b < B] = m[b] * m[b]",
        ),
        reduction(
            "min",
            WIDE,
            "value m: real[B]",
            "m[b < B] = min[j < 4] v[b, j] * w[j]
             y[b < B] = m[b] * m[b]",
        ),
        reduction(
            "argmax",
            WIDE,
            "value a: i32[B]",
            "a[b < B] = argmax.0[j < 4] v[b, j] * w[j]
             y[b < B] = v[b, a[b]] * v[b, a[b]] * w[a[b]]",
        ),
        reduction(
            "argmin",
            WIDE,
            "value a: i32[B]",
            "a[b < B] = argmin.0[j < 4] v[b, j]
             y[b < B] = v[b, a[b]] * v[b, a[b]] * w[a[b]]",
        ),
        reduction(
            "windows",
            WIDE,
            "value m: real[B, 3]",
            "m[b < B, i < 3] = max[k < 2] v[b, i + k] * w[k]
             y[b < B] = sum[i < 3] m[b, i] * m[b, i] * w[i] / 4",
        ),
    ]);
}

#[test]
fn exponentials_summed() {
    check_all(&[
        reduction(
            "logsumexp",
            WIDE,
            "value m: real[B]
             value s: real[B]",
            "m[b < B] = max[j < 4] v[b, j] * w[j]
             s[b < B] = sum[j < 4] exp(v[b, j] * w[j] - freeze(m[b]))
             y[b < B] = freeze(m[b]) + log(s[b])",
        ),
        reduction(
            "softmax",
            WIDE,
            "value m: real[B]
             value e: real[B, 4]
             value s: real[B]
             value p: real[B, 4]",
            "m[b < B] = max[j < 4] v[b, j]
             e[b < B, j < 4] = exp(v[b, j] - freeze(m[b]))
             s[b < B] = sum[j < 4] e[b, j]
             p[b < B, j < 4] = e[b, j] / s[b]
             y[b < B] = sum[j < 4] p[b, j] * p[b, j] * w[j]",
        ),
    ]);
}

#[test]
fn sorted() {
    check_all(&[
        reduction(
            "sort",
            WIDE,
            "value z: real[B, 4]
             value order: i32[B, 4]",
            "z[b < B, j < 4] = v[b, j] * w[j]
             sort order = z
             y[b < B] = sum[r < 4] z[b, order[b, r]] * z[b, order[b, r]] * w[r] / 8",
        ),
        reduction(
            "top_k",
            WIDE,
            "value order: i32[B, 4]
             value top: real[B, 2]",
            "sort order = v descending
             top[b < B, r < 2] = v[b, order[b, r]]
             y[b < B] = sum[r < 2] top[b, r] * top[b, r] * w[order[b, r]] / 4",
        ),
    ]);
}

#[test]
fn filtered() {
    check_all(&[
        reduction("filtered sum", WIDE, "", "y[b < B] = sum[j < 4 if holds(v[b, j] > w[j])] v[b, j] * v[b, j] * w[j]"),
        reduction(
            "filtered mean",
            WIDE,
            "value n: real[B]",
            "n[b < B] = sum[j < 4 if holds(v[b, j] > -1)] 1
             y[b < B] = sum[j < 4 if holds(v[b, j] > -1)] v[b, j] * v[b, j] * w[j] / max(n[b], 1)",
        ),
        reduction("filtered product", WIDE, "", "y[b < B] = prod[j < 4 if holds(v[b, j] > 0)] v[b, j] * w[j]"),
        reduction(
            "filtered max",
            WIDE,
            "value m: real[B]",
            "m[b < B] = max[j < 4 if holds(w[j] > 0) else 0.5] v[b, j] * w[j]
             y[b < B] = m[b] * m[b] * sin(w[0])",
        ),
        reduction("triangle", WIDE, "", "y[b < B] = prod[i < 4, j < 2 if i - j - 2 >= 0] (v[b, i] * w[j])"),
    ]);
}

#[test]
fn segments() {
    const GROUPS: &str = "value g: real[B, 3]";
    macro_rules! grouped {
        ($reduction:literal) => {
            concat!("g[b < B, i < 3] = ", $reduction, "\n y[b < B] = sum[i < 3] g[b, i] * g[b, i] * w[i + 1] / 4")
        };
    }
    check_all(&[
        reduction("segment sum", WIDE, GROUPS, grouped!("sum[j < 4 if i == group[j]] v[b, j] * w[j]")),
        reduction("segment product", WIDE, GROUPS, grouped!("prod[j < 4 if i == group[j]] (v[b, j] + w[j])")),
        reduction("segment max", WIDE, GROUPS, grouped!("max[j < 4 if i == group[j] else 0] v[b, j] * w[j]")),
        reduction("segment min", WIDE, GROUPS, grouped!("min[j < 4 if i == group[j] else 1] v[b, j] * w[j]")),
        reduction(
            "gather",
            WIDE,
            "",
            "y[b < B] = sum[j < 4] v[b, data(min(group[j], 3))] * v[b, j] * w[data(min(group[j], 3))]",
        ),
    ]);
}

/// Where a factor or a base is 0, by x alone: what the other factors leave, and powers whose exponent is data (0, 1, 2 and 3).
#[test]
fn at_zero() {
    for (x, equations) in [
        ([0.0, 2.0, -3.0, 0.7], "y = prod[i < 4] x[i]"),
        ([0.0, 2.0, 0.0, 0.7], "y = prod[i < 4] x[i]"),
        ([0.0, 0.0, 0.0, 0.7], "y = prod[i < 4] sin(x[i])"),
        ([0.0, 2.0, 0.0, 0.7], "y = prod[i < 4 if i - 1 >= 0] x[i]"),
        ([0.0, 0.0, 0.0, 0.0], "y = sum[i < 4] pow(x[i], real(n[i])) * w[i]"),
        ([0.0, 0.0, 0.0, 0.0], "y = sum[i < 4] pow(sin(x[i]), real(n[i])) * w[i]"),
        ([-1.5, -0.5, -1.2, -0.8], "y = sum[i < 4] pow(x[i], real(n[i])) * w[i]"),
        ([0.0, 0.5, -1.2, 0.0], "y = sum[i < 4] (pow(x[i], 0) + pow(x[i], 1) + pow(x[i], 2) + pow(x[i], 3)) * w[i]"),
    ] {
        let source = format!(
            "program zero
             param x: real[4]
             param w: real[4]
             param along_x: real[4]
             input n: i32[4]
             value y: real
             value loss: real
             {equations}
             loss = y * 2 + y * y"
        );
        let mut world = World::new();
        world.set("x", Array::new([4], x));
        world.set("n", Array::new([4], [0.0, 1.0, 2.0, 3.0]));
        println!("{equations} at {x:?}");
        let (mut program, found) = check_gradient(&source, &mut world, &[], &["x"]);
        along(&mut program, &[(found[0], "along_x")]);
        check_gradient_of(&mut program, &mut world, "slope", &["x"], 1e-6);
    }
}
