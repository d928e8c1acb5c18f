//! The text form: odd names, exact numbers, messages.

mod support;

use bdl_equations::{
    Affine, Condition, DType, Equation, Expr, Index, IndexId, Monoid, Node, Origin, Piece, PieceBuilder, Program, Read,
    Role, SizeKind, UnaryOp, text,
};
use support::check_prints;

#[test]
fn odd_names_and_numbers() {
    let mut program = Program::new("odd names");
    let t = program.size("t", SizeKind::Step);
    program.size("T'", SizeKind::PerExample);
    let names = ["sum", "d net.x'", "t", "if", "value", "output", "übung", "data", "argmax.1"];
    let tensors: Vec<_> = names.iter().map(|n| program.tensor(n, DType::Real, [5.into()], Role::Param)).collect();
    let scalar = program.tensor("i", DType::Real, [], Role::Input { per_example: false, one_hot: false });
    let mut body = Expr::read(scalar, [0i64; 0]);
    let mut piece = PieceBuilder::new();
    // An index that hides a size, and one called like a tensor.
    let (hides, i) = (piece.free("t", 5), piece.free("i", 5));
    for id in tensors {
        body = body + Expr::read(id, [Affine::from(hides)]);
    }
    let numbers =
        [0.1, -0.0, 1e300, -1.5e-300, f64::INFINITY, f64::NEG_INFINITY, 1.0 / 3.0, 5e-324, 123456789.125, 1e15];
    for value in numbers {
        body = body.binary(bdl_equations::BinaryOp::Mul, Expr::Const(value));
    }
    body = body + Expr::number(t.clone()) + Expr::number(hides) + Expr::number(Affine::from(i) * 3 - t.into());
    body = body - Expr::Const(3.0).unary(UnaryOp::Neg) - Expr::Const(-3.0).unary(UnaryOp::Neg).unary(UnaryOp::Neg);
    let origin = Origin { file: 3, start: 10, end: 12, what: Some(" \"quoted\"\nwords ".into()) };
    let out = program.computed("y", DType::Real, [5.into(), 5.into()]);
    program.equation(out, piece.sum(body), origin);
    program.outputs.push(("the output".into(), out));
    program.updates.push((out, scalar));
    check_prints(&program);
}

#[test]
fn every_corner_of_a_piece() {
    let mut program = Program::new("corners");
    program.size("B", SizeKind::Batch);
    let n = program.size("N", SizeKind::Built);
    let x = program.tensor("x", DType::Real, [n.clone()], Role::State);
    let key = program.tensor("key", DType::I32, [n.clone()], Role::Input { per_example: true, one_hot: false });
    let y = program.computed("y", DType::Real, [n.scale(2)]);
    let index = |name: &str, range: bdl_dims::Dim, example| Index { name: name.into(), range, example };
    let (u, o, k) = (IndexId(0), IndexId(1), IndexId(2));
    let read = Read { otherwise: Some(f64::NEG_INFINITY), example: Some(o), ..Read::new(key, [k]) };
    let gather = Expr::Read(Read { otherwise: Some(0.0), ..Read::new(x, [Expr::Read(read.clone())]) });
    let condition = Expr::Read(read.clone()).compare(bdl_equations::CompareOp::Ne, Expr::number(u)).unary(UnaryOp::Not);
    let body = condition.clone().select(gather, Expr::Const(2.0)) * Expr::read(x, [Expr::number(k)]);
    let piece = Piece {
        indices: vec![
            index("u", n.clone(), None),
            index("o", "B".parse().expect("a size"), None),
            index("k", n, Some(o)),
        ],
        free: 1,
        at: vec![Affine::from(u) * 2],
        monoid: Monoid::Max,
        filter: vec![
            Condition::NonNegative(Affine::from(k) * -2 + 3.into()),
            Condition::Equal(u.into(), Expr::Read(read)),
            Condition::Holds(condition.clone().binary(bdl_equations::BinaryOp::Or, condition)),
        ],
        body,
        empty: Some(-1.0),
    };
    let mut other = piece.clone();
    other.at = vec![Affine::from(u) * 2 + 1.into()];
    other.monoid = Monoid::ArgMin(1);
    other.empty = None;
    program.nodes.push(Node::Equation(Equation { out: y, pieces: vec![piece, other], origin: Origin::default() }));
    let printed = text::print(&program);
    assert!(printed.contains("k < N of o if -2 * k + 3 >= 0 and u == key@o[k else -inf] and holds("), "{printed}");
    check_prints(&program);
}

#[test]
fn messages_say_where() {
    let message = |source: &str| text::parse(source).expect_err("not a program").to_string();
    assert_eq!(message("progam x"), "line 1, column 1: expected `program`");
    assert_eq!(message("program p\ny[i < 4] = 1"), "line 2, column 1: expected a declared tensor, not `y`");
    assert_eq!(
        message("program p\nvalue y: real[4]\ny[i < 4] = foo(2)"),
        "line 3, column 12: expected a function, not `foo`"
    );
    assert_eq!(message("program p\nvalue y: real[4\n"), "line 3, column 1: expected `,`");
    assert_eq!(
        message("program p\nvalue y: float"),
        "line 2, column 10: expected a type: `real`, `f32`, `f64`, `bf16`, `i32` or `bool`"
    );
    assert_eq!(
        message("program p\nvalue y: real[2]\ny[i < 2] = y[j]"),
        "line 3, column 14: expected an index, a size or a number, not `j`"
    );
    assert_eq!(message("program p ~"), "line 1, column 11: expected no `~`");
    assert_eq!(
        message("program p\nvalue a: real\nvalue a: real"),
        "line 3, column 8: expected another name: `a` is declared twice"
    );
}

/// Cut or disturbed texts give an error or another program, never a panic.
#[test]
fn disturbed_texts() {
    let case = bdl_equations::random::Case::new(12, Default::default());
    let printed = text::print(&case.program);
    let mut numbers = support::Numbers::new(4);
    for _ in 0..3000 {
        let mut bytes = printed.clone().into_bytes();
        let at = (numbers.bits() as usize) % bytes.len();
        match numbers.bits() % 3 {
            0 => bytes.truncate(at),
            1 => drop(bytes.remove(at)),
            _ => bytes[at] = b"[](){}<>=+-*/,@`.0x \n\"'"[(numbers.bits() % 23) as usize],
        }
        if let Ok(changed) = String::from_utf8(bytes)
            && let Ok(program) = text::parse(&changed)
        {
            let _ = bdl_equations::verify(&program);
        }
    }
}
