//! Arithmetic on constants, and identities that hold for every number (also infinite ones and NaN, up to the sign of zero).
//!
//! `x * 1`, `x + 0`, `--x`, `if 3 > 2 then a else b`, `pow(x, 2)`. Not `0 * x`, which is NaN where x is infinite.

use super::{Pass, each_equation};
use crate::data::{BinaryOp, CompareOp, Expr, Program, UnaryOp};
use crate::interpret::scalar;
use crate::types;

/// A base larger than this is not repeated for a power.
const LARGEST_BASE: usize = 12;

/// Folds every expression of the program.
pub fn fold(program: &mut Program) -> Pass {
    let mut changes = 0;
    each_equation(&mut program.nodes, &mut |equation| {
        for piece in &mut equation.pieces {
            // Most are folded already, and need no copy to find out.
            let mut folded = true;
            piece.visit_exprs(&mut |e| e.visit(&mut |e| folded &= stays(e)));
            if folded {
                debug_assert_eq!(format!("{:?}", piece.clone().map_exprs(&mut fold_expr)), format!("{piece:?}"));
                continue;
            }
            let new = piece.clone().map_exprs(&mut fold_expr);
            if new != *piece {
                changes += 1;
                *piece = new;
            }
        }
    });
    changes
}

pub fn fold_expr(e: Expr) -> Expr {
    e.rewrite(&mut fold_one)
}

/// Does [`fold_one`] leave the expression as it is, whose parts it has left as they are? False where that takes more than a look.
fn stays(e: &Expr) -> bool {
    // A sum, difference, product or quotient with one of these is something simpler.
    let neutral = |e: &Expr| matches!(e, Expr::Const(c) if *c == 0.0 || c.abs() == 1.0);
    let is_const = |e: &Expr| matches!(e, Expr::Const(_));
    match e {
        Expr::Const(_) | Expr::Read(_) | Expr::Compare(_, _, _) => true,
        Expr::Number(form) => form.as_number().is_none(),
        Expr::Unary(UnaryOp::ToBf16, a) => matches!(&**a, Expr::Read(_)),
        Expr::Unary(op, a) => match &**a {
            Expr::Read(_) | Expr::Binary(_, _, _) | Expr::Select(_, _, _) => true,
            Expr::Number(_) => *op != UnaryOp::ToReal,
            Expr::Unary(UnaryOp::Neg | UnaryOp::Not, _) | Expr::Const(_) => false,
            Expr::Compare(_, _, _) => *op != UnaryOp::Not,
            Expr::Unary(_, _) => true,
        },
        Expr::Binary(op, a, b) => match op {
            BinaryOp::And | BinaryOp::Or => truth(a).is_none() && truth(b).is_none() && a != b,
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div => {
                let both = is_const(a) && is_const(b);
                !both && !neutral(a) && !neutral(b) && !matches!(**b, Expr::Unary(UnaryOp::Neg, _))
            }
            BinaryOp::Pow => !is_const(b),
            BinaryOp::FloorDiv | BinaryOp::Rem => !is_const(a) || !is_const(b),
            BinaryOp::Min | BinaryOp::Max => (!is_const(a) || !is_const(b)) && a != b,
        },
        Expr::Select(c, a, b) => truth(c).is_none() && a != b && !matches!(**c, Expr::Unary(UnaryOp::Not, _)),
    }
}

/// The expression, whose parts are folded already.
fn fold_one(e: Expr) -> Expr {
    match e {
        Expr::Const(_) | Expr::Read(_) | Expr::Compare(_, _, _) => e,
        Expr::Number(ref form) => match form.as_number() {
            Some(n) => Expr::Const(n as f64),
            None => e,
        },
        Expr::Unary(op, a) => unary(op, *a),
        Expr::Binary(op, a, b) => binary(op, *a, *b),
        Expr::Select(c, a, b) => match (truth(&c), *c) {
            (Some(true), _) => *a,
            (Some(false), _) => *b,
            (None, _) if a == b => *a,
            (None, Expr::Unary(UnaryOp::Not, c)) => c.select(*b, *a),
            (None, c) => c.select(*a, *b),
        },
    }
}

fn unary(op: UnaryOp, a: Expr) -> Expr {
    match (op, a) {
        (UnaryOp::Neg, a) => -a,
        // A truth value has no constant.
        (UnaryOp::Not, Expr::Unary(UnaryOp::Not, inner)) => *inner,
        (UnaryOp::Not, Expr::Compare(CompareOp::Eq, a, b)) => Expr::Compare(CompareOp::Ne, a, b),
        (UnaryOp::Not, Expr::Compare(CompareOp::Ne, a, b)) => Expr::Compare(CompareOp::Eq, a, b),
        (UnaryOp::ToReal, Expr::Number(form)) => Expr::Number(form),
        // It says the precision of a constant that meets others only.
        (UnaryOp::ToF64, a @ Expr::Const(_)) => a.unary(op),
        (UnaryOp::Not | UnaryOp::Freeze, a) => a.unary(op),
        // Rounded twice is rounded once; which tensors hold bf16 is not known here.
        (UnaryOp::ToBf16, a) if types::gives_bf16(&a, &|_| false) => a,
        (op, Expr::Const(value)) => Expr::Const(scalar::unary(op, value)),
        (UnaryOp::Abs, Expr::Unary(UnaryOp::Neg, inner)) => inner.unary(UnaryOp::Abs),
        (op, a) => a.unary(op),
    }
}

fn binary(op: BinaryOp, a: Expr, b: Expr) -> Expr {
    match (op, &a, &b) {
        (BinaryOp::And | BinaryOp::Or, _, _) => match (op, truth(&a), truth(&b)) {
            (BinaryOp::And, Some(true), _) | (BinaryOp::Or, Some(false), _) => b,
            (BinaryOp::And, _, Some(true)) | (BinaryOp::Or, _, Some(false)) => a,
            (BinaryOp::And, Some(false), _) | (BinaryOp::Or, Some(true), _) => a,
            (_, _, _) if a == b => a,
            (_, _, _) => a.binary(op, b),
        },
        (_, Expr::Const(x), Expr::Const(y)) => Expr::Const(scalar::binary(op, *x, *y)),
        (BinaryOp::Add, _, _) => a + b,
        (BinaryOp::Sub, _, _) => a - b,
        (BinaryOp::Mul, _, _) => a * b,
        (BinaryOp::Div, _, _) => a / b,
        (BinaryOp::Pow, _, Expr::Const(1.0)) => a,
        (BinaryOp::Pow, _, Expr::Const(2.0)) if a.size() <= LARGEST_BASE => a.squared(),
        (BinaryOp::Pow, _, Expr::Const(0.5)) => a.unary(UnaryOp::Sqrt),
        (BinaryOp::Pow, _, Expr::Const(-1.0)) => Expr::Const(1.0) / a,
        (BinaryOp::Min | BinaryOp::Max, _, _) if a == b => a,
        (BinaryOp::Pow | BinaryOp::FloorDiv | BinaryOp::Rem | BinaryOp::Min | BinaryOp::Max, _, _) => a.binary(op, b),
    }
}

/// Whether a condition holds, when that is known without reading anything.
pub fn truth(e: &Expr) -> Option<bool> {
    match e {
        Expr::Compare(op, a, b) => Some(scalar::compare(*op, a.as_const()?, b.as_const()?) != 0.0),
        Expr::Unary(UnaryOp::Not, a) => truth(a).map(|t| !t),
        Expr::Binary(BinaryOp::And, a, b) => match (truth(a), truth(b)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), other) | (other, Some(true)) => other,
            (None, None) => None,
        },
        Expr::Binary(BinaryOp::Or, a, b) => match (truth(a), truth(b)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), other) | (other, Some(false)) => other,
            (None, None) => None,
        },
        Expr::Const(value) => Some(*value != 0.0),
        Expr::Number(_) | Expr::Read(_) | Expr::Unary(_, _) | Expr::Binary(_, _, _) | Expr::Select(_, _, _) => None,
    }
}
