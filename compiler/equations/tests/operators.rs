//! Every operator and every reduction: first and second derivatives by value against central differences, and `<u, J v> = <Jᵀ u, v>`.
//! (Binary operators and reductions inside of loops: `second_derivatives.rs`.)

mod support;

use bdl_equations::interpret::{Array, Value, World, scalar};
use bdl_equations::{
    BinaryOp, DType, Expr, Monoid, PieceBuilder, Program, Role, TensorId, UnaryOp, differentiate, text,
};
use support::{Numbers, check_gradient, check_gradient_of, check_second, parse};

/// loss = sum[i < n] op(x[i]) * w[i], at the given places.
fn unary_gradient(op: UnaryOp, places: &[f64]) {
    let mut program = Program::new("unary");
    let n = places.len() as i64;
    let x = program.tensor("x", DType::Real, [n.into()], Role::Param);
    let w = program.tensor("w", DType::Real, [n.into()], Role::Param);
    let mut piece = PieceBuilder::new();
    let i = piece.bound("i", n);
    let body = Expr::read(x, [i]).unary(op) * Expr::read(w, [i]);
    program.define("loss", DType::Real, piece.sum(body), Default::default());
    let mut world = World::new();
    world.set("x", Array::new([places.len()], places));
    support::fill(&program, &mut world, &[], 5);
    let d = check_gradient_of(&mut program, &mut world, "loss", &["x"], 1e-6);
    check_second(&mut program, &mut world, d[0], &["x", "w"]);
}

#[test]
fn unary_operators() {
    let wide = [-2.6, -1.1, -0.3, 0.2, 0.9, 3.1];
    let positive = [0.2, 0.7, 1.0, 2.3, 5.5];
    for op in [
        UnaryOp::Neg,
        UnaryOp::Exp,
        UnaryOp::Expm1,
        UnaryOp::Tanh,
        UnaryOp::Sigmoid,
        UnaryOp::Softplus,
        UnaryOp::Erf,
        UnaryOp::Sin,
        UnaryOp::Cos,
        UnaryOp::Abs,
        UnaryOp::Floor,
        UnaryOp::Round,
        UnaryOp::Sign,
        UnaryOp::ToReal,
    ] {
        unary_gradient(op, &wide);
    }
    for op in [UnaryOp::Log, UnaryOp::Log1p, UnaryOp::Sqrt, UnaryOp::Lgamma, UnaryOp::Digamma, UnaryOp::Trigamma] {
        unary_gradient(op, &positive);
    }
    // Between the poles of the gamma functions.
    for op in [UnaryOp::Digamma, UnaryOp::Trigamma] {
        unary_gradient(op, &[-0.4, -1.3, -2.6]);
    }
}

/// loss = sum[i] real(f64(x) ^ 3 * f64(w)): a conversion's adjoint has the precision of what was converted, at every order.
#[test]
fn conversions() {
    let mut program = Program::new("test");
    let x = program.tensor("x", DType::Real, [4.into()], Role::Param);
    let w = program.tensor("w", DType::F64, [4.into()], Role::Param);
    let mut piece = PieceBuilder::new();
    let i = piece.bound("i", 4);
    let wide = || Expr::read(x, [i]).unary(UnaryOp::ToF64);
    let body = (wide() * wide() * wide() * Expr::read(w, [i])).unary(UnaryOp::ToReal);
    program.define("loss", DType::Real, piece.sum(body), Default::default());
    let mut world = World::new();
    support::fill(&program, &mut world, &[], 5);
    let d = check_gradient_of(&mut program, &mut world, "loss", &["x", "w"], 1e-6);
    assert_eq!(d.iter().map(|id| program.get(*id).dtype).collect::<Vec<_>>(), [DType::Real, DType::F64]);
    check_second(&mut program.clone(), &mut world, d[0], &["x", "w"]);
    check_second(&mut program, &mut world, d[1], &["x", "w"]);
}

/// loss = sum[i] w[i] bf16(x[i])^2, rounded in an expression and in a tensor: the gradient is that of the rounded value, as if rounding did nothing,
/// the second derivative too. Central differences see steps, so the expected values are written out.
#[test]
fn rounding_to_bf16() {
    let places = [0.1, -1.003, 257.0, 3.0e-3];
    let weights = [1.5, -0.5, 2.0, 1.0];
    let near = |x: f64| scalar::stored(DType::BF16, x);
    assert!(places.iter().all(|x| near(*x) != *x));
    for stored in [false, true] {
        let mut program = Program::new("test");
        let x = program.tensor("x", DType::Real, [4.into()], Role::Param);
        let w = program.tensor("w", DType::Real, [4.into()], Role::Param);
        let mut piece = PieceBuilder::new();
        let i = piece.free("i", 4);
        let rounded = Expr::read(x, [i]).unary(UnaryOp::ToBf16);
        let y = program.define("y", DType::BF16, piece.sum(rounded.clone()), Default::default());
        let mut piece = PieceBuilder::new();
        let i = piece.bound("i", 4);
        let value = if stored { Expr::read(y, [i]) } else { Expr::read(x, [i]).unary(UnaryOp::ToBf16) };
        let loss =
            program.define("loss", DType::Real, piece.sum(value.squared() * Expr::read(w, [i])), Default::default());
        let mut world = World::new();
        world.set("x", Array::new([4], places));
        world.set("w", Array::new([4], weights));
        let [d] = differentiate(&mut program, loss, &[x]).unwrap()[..] else { panic!("one gradient") };
        assert_eq!(program.get(d).dtype, DType::Real, "gradients are not rounded");
        let expected = places.iter().zip(weights).map(|(x, w)| 2.0 * near(*x) * w);
        assert_eq!(support::run(&program, &world, d).flat(), expected.collect::<Vec<_>>());
        let mut piece = PieceBuilder::new();
        let i = piece.bound("i", 4);
        let of = program.define("of", DType::Real, piece.sum(Expr::read(d, [i]).squared()), Default::default());
        let [second] = differentiate(&mut program, of, &[x]).unwrap()[..] else { panic!("one gradient") };
        let expected: Vec<f64> = places.iter().zip(weights).map(|(x, w)| 8.0 * near(*x) * w * w).collect();
        assert!(support::error(&support::run(&program, &world, second).flat(), &expected) < 1e-15);
        support::check_valid(&program);
        let plain = bdl_equations::simplify::unrounded(&program);
        support::check_valid(&plain);
        let expected: Vec<f64> = places.iter().zip(weights).map(|(x, w)| 2.0 * x * w).collect();
        assert!(support::error(&support::run(&plain, &world, d).flat(), &expected) < 1e-15);
    }
}

/// Every operator inside a recurrence, twice: h = op(h / 4 + x[t]) w, over sequences of different length.
#[test]
fn unary_operators_in_a_scan() {
    for (name, start) in [
        ("neg", 0.4),
        ("exp", -0.5),
        ("expm1", 0.2),
        ("tanh", 0.3),
        ("sigmoid", 0.3),
        ("softplus", 0.3),
        ("erf", 0.3),
        ("sin", 0.3),
        ("cos", 0.3),
        ("abs", 0.7),
        ("log", 2.5),
        ("log1p", 1.5),
        ("sqrt", 1.5),
        ("lgamma", 2.5),
        ("digamma", 2.5),
        ("trigamma", 2.5),
    ] {
        let source = format!(
            "program recurrence
             size B batch
             size T example
             size t step
             input x: real[B, T] per example
             param w: real
             value h0: real[B]
             value h: real[B]
             value h1: real[B]
             value last: real[B]
             value loss: real
             h0[b < B] = 0
             scan t < T {{
               carry h from h0 next h1 last last
               h1[b < B] = {}
             }}
             loss = sum[b < B] last[b] * last[b]",
            match name {
                "neg" => "-(tanh(h[b]) / 4 + x[b, t]) * w".to_string(),
                op => format!("{op}(tanh(h[b]) / 4 + x[b, t]) * w"),
            }
        );
        let mut world = World::new();
        world.set("w", Array::scalar(0.8));
        let near = |by: f64| start + by;
        let rows = [vec![near(0.1), near(0.0), near(0.2)], vec![near(0.05)], vec![]];
        world.set("x", Value::PerExample(rows.iter().map(|r| Array::new([r.len()], r.as_slice())).collect()));
        let lengths = [vec![("T", 3)], vec![("T", 1)], vec![("T", 0)]];
        let (mut program, d) = check_gradient(&source, &mut world, &lengths, &["x", "w"]);
        check_second(&mut program, &mut world, d[0], &["x", "w"]);
    }
}

#[test]
fn binary_operators() {
    for op in [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Pow,
        BinaryOp::Min,
        BinaryOp::Max,
        BinaryOp::Rem,
        BinaryOp::FloorDiv,
    ] {
        let mut program = Program::new("binary");
        let [a, b] = ["a", "b"].map(|name| program.tensor(name, DType::Real, [4.into()], Role::Param));
        let mut piece = PieceBuilder::new();
        let i = piece.bound("i", 4);
        let body = Expr::read(a, [i]).binary(op, Expr::read(b, [i])).squared();
        program.define("loss", DType::Real, piece.sum(body), Default::default());
        let mut world = World::new();
        world.set("a", Array::new([4], [0.3, 1.7, 2.2, 5.1]));
        world.set("b", Array::new([4], [2.1, 0.6, -1.3, 1.9]));
        let d = check_gradient_of(&mut program, &mut world, "loss", &["a", "b"], 1e-6);
        for gradient in d {
            check_second(&mut program.clone(), &mut world, gradient, &["a", "b"]);
        }
    }
}

#[test]
fn powers() {
    let mut world = World::new();
    world.set("x", Array::new([3], [0.0, 2.0, -1.5]));
    world.set("y", Array::new([2], [0.0, 1.5]));
    check_gradient(
        "program powers
         param x: real[3]
         param y: real[2]
         param z: real[2]
         value loss: real
         loss = sum[i < 3, j < 2] pow(x[i], 2) + pow(x[i], 3) + pow(x[i], 1) + pow(y[j], 2 + z[j] * z[j])",
        &mut world,
        &[],
        &["x", "z"],
    );
}

#[test]
fn kinks() {
    // abs at 0, relu at 0, max(a, b) with a = b: the conventions of the language.
    let mut program = parse(
        "program kinks
         param x: real[3]
         param y: real[3]
         value loss: real
         loss = sum[i < 3] abs(x[i]) + (if x[i] > 0 then x[i] else 0) + max(x[i], y[i]) + min(x[i], y[i]) * 10",
    );
    let ids: Vec<TensorId> = ["x", "y"].iter().filter_map(|n| program.find(n)).collect();
    let loss = program.find("loss").expect("loss");
    let d = differentiate(&mut program, loss, &ids).expect("a gradient");
    let mut world = World::new();
    world.set("x", Array::new([3], [0.0, 1.0, -1.0]));
    world.set("y", Array::new([3], [0.0, 0.0, 0.0]));
    // At 0: 0 + 0 + 1 + 10; at 1: 1 + 1 + 1 + 0; at -1: -1 + 0 + 0 + 10.
    assert_eq!(support::run(&program, &world, d[0]).flat(), [11.0, 3.0, 9.0]);
    assert_eq!(support::run(&program, &world, d[1]).flat(), [0.0, 10.0, 1.0]);
}

#[test]
fn reductions() {
    for monoid in [Monoid::Sum, Monoid::Prod, Monoid::Max, Monoid::Min] {
        let mut program = Program::new("reduction");
        let x = program.tensor("x", DType::Real, [3.into(), 4.into()], Role::Param);
        let mut piece = PieceBuilder::new();
        let (i, j) = (piece.free("i", 3), piece.bound("j", 4));
        let piece = piece.reduce(monoid, Expr::read(x, [i, j]).unary(UnaryOp::Sin));
        let y = program.define("y", DType::Real, piece, Default::default());
        let mut piece = PieceBuilder::new();
        let i = piece.bound("i", 3);
        program.define("loss", DType::Real, piece.sum(Expr::read(y, [i]).squared()), Default::default());
        let mut world = World::new();
        support::fill(&program, &mut world, &[], 9);
        let d = check_gradient_of(&mut program, &mut world, "loss", &["x"], 1e-7);
        check_second(&mut program, &mut world, d[0], &["x"]);
    }
}

/// `<u, J v> = <Jᵀ u, v>` for a layer with a convolution, a maximum and a softmax: J v by differences along v, Jᵀ u by the adjoint.
#[test]
fn adjoint_identity() {
    let mut program = parse(
        "program layer
         param x: real[9, 2]
         param w: real[3, 2, 3]
         param u: real[3, 3]
         value y: real[7, 3]
         value p: real[3, 3]
         value e: real[3, 3]
         value s: real[3]
         value z: real[3, 3]
         value loss: real
         y[t < 7, f < 3] = sum[k < 3, c < 2] x[t + k, c] * w[k, c, f]
         p[t < 3, f < 3] = max[k < 2] y[2 * t + k, f]
         e[t < 3, f < 3] = exp(p[t, f])
         s[t < 3] = sum[f < 3] e[t, f]
         z[t < 3, f < 3] = e[t, f] / s[t]
         loss = sum[t < 3, f < 3] u[t, f] * z[t, f]",
    );
    let (x, z, loss) =
        (program.find("x").expect("x"), program.find("z").expect("z"), program.find("loss").expect("loss"));
    let d = differentiate(&mut program, loss, &[x]).expect("a gradient")[0];
    let mut world = World::new();
    support::fill(&program, &mut world, &[], 21);
    let transposed = support::run(&program, &world, d).flat();
    let u = world.get("u").expect("u").flat();
    let mut numbers = Numbers::new(3);
    let v: Vec<f64> = transposed.iter().map(|_| numbers.normal()).collect();
    let step = 1e-6;
    let mut moved = |sign: f64| {
        let array = &mut world.get_mut("x").expect("x").examples_mut()[0];
        array.data.iter_mut().zip(&v).for_each(|(x, v)| *x += sign * v);
        support::run(&program, &world, z).flat()
    };
    let (up, down) = (moved(step), moved(-2.0 * step));
    let forward: f64 = up.iter().zip(&down).zip(&u).map(|((a, b), u)| (a - b) / (2.0 * step) * u).sum();
    let backward: f64 = transposed.iter().zip(&v).map(|(a, b)| a * b).sum();
    assert!(
        (forward - backward).abs() < 1e-8 * backward.abs().max(1.0),
        "{forward} {backward}\n{}",
        text::print(&program)
    );
}

/// Values of the functions against known constants.
#[test]
fn values() {
    let cases = [
        (UnaryOp::Expm1, 1e-12, 1.000_000_000_000_5e-12),
        (UnaryOp::Log1p, 1e-12, 9.999_999_999_995e-13),
        (UnaryOp::Sigmoid, 0.0, 0.5),
        (UnaryOp::Softplus, 0.0, std::f64::consts::LN_2),
        (UnaryOp::Softplus, -50.0, 1.928_749_847_963_918e-22),
        (UnaryOp::Lgamma, 5.0, 24f64.ln()),
        (UnaryOp::Erf, -1.0, -0.842_700_792_949_714_9),
        (UnaryOp::Sign, -3.0, -1.0),
        (UnaryOp::Round, -2.5, -2.0),
        (UnaryOp::ToInt, -0.5, -1.0),
    ];
    for (op, x, expected) in cases {
        let found = scalar::unary(op, x);
        assert!((found - expected).abs() <= 4e-16 * expected.abs(), "{op:?}({x}) = {found}, expected {expected}");
    }
}
