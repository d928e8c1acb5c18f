//! The kind of number that an expression is: real, integer or truth value.

use crate::data::{Affine, BinaryOp, DType, Expr, Program, Sub, UnaryOp};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Real,
    Integer,
    Truth,
    /// A whole number that is written in the program (a constant, an index, a size): fits reals and integers.
    Whole,
}

impl Kind {
    pub fn fits(self, wanted: Kind) -> bool {
        self == wanted || (self == Kind::Whole && matches!(wanted, Kind::Real | Kind::Integer))
    }

    /// The kind of arithmetic between the two.
    fn meet(self, other: Kind) -> Option<Kind> {
        match (self, other) {
            (Kind::Truth, _) | (_, Kind::Truth) => (self == other).then_some(Kind::Truth),
            (Kind::Whole, kind) | (kind, Kind::Whole) => Some(kind),
            (Kind::Real, Kind::Real) => Some(Kind::Real),
            (Kind::Integer, Kind::Integer) => Some(Kind::Integer),
            (Kind::Real, Kind::Integer) | (Kind::Integer, Kind::Real) => None,
        }
    }
}

pub fn of_dtype(dtype: DType) -> Kind {
    match dtype {
        DType::Real | DType::F32 | DType::F64 | DType::BF16 => Kind::Real,
        DType::I32 => Kind::Integer,
        DType::Bool => Kind::Truth,
    }
}

/// The kind of an expression, or what does not fit.
pub fn of_expr(program: &Program, e: &Expr) -> Result<Kind, String> {
    let number = |kind: Kind, what: &str| {
        if kind == Kind::Truth { Err(format!("{what} of a truth value")) } else { Ok(kind) }
    };
    match e {
        Expr::Const(value) if value.fract() == 0.0 => Ok(Kind::Whole),
        Expr::Const(_) => Ok(Kind::Real),
        Expr::Number(Affine { .. }) => Ok(Kind::Whole),
        Expr::Read(read) => {
            for sub in &read.subs {
                match sub {
                    Sub::Affine(_) => {}
                    Sub::Data(data) => {
                        if !matches!(of_expr(program, data)?, Kind::Integer | Kind::Whole) {
                            return Err("a data subscript that is not an integer".into());
                        }
                    }
                }
            }
            Ok(of_dtype(program.get(read.tensor).dtype))
        }
        Expr::Unary(op, a) => {
            let kind = of_expr(program, a)?;
            match op {
                UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign => number(kind, "arithmetic"),
                UnaryOp::Freeze => Ok(kind),
                UnaryOp::Not if kind == Kind::Truth => Ok(Kind::Truth),
                UnaryOp::Not => Err("`not` of a number".into()),
                UnaryOp::ToReal => Ok(Kind::Real),
                UnaryOp::ToInt => Ok(Kind::Integer),
                UnaryOp::Exp
                | UnaryOp::Expm1
                | UnaryOp::Log
                | UnaryOp::Log1p
                | UnaryOp::Sqrt
                | UnaryOp::Tanh
                | UnaryOp::Sigmoid
                | UnaryOp::Softplus
                | UnaryOp::Erf
                | UnaryOp::Sin
                | UnaryOp::Cos
                | UnaryOp::Floor
                | UnaryOp::Round
                | UnaryOp::Lgamma
                | UnaryOp::Digamma
                | UnaryOp::Trigamma => {
                    if kind.fits(Kind::Real) {
                        Ok(Kind::Real)
                    } else {
                        Err(format!("{op:?} of {kind:?} (write `real(..)`)"))
                    }
                }
            }
        }
        Expr::Binary(op, a, b) => {
            let (ka, kb) = (of_expr(program, a)?, of_expr(program, b)?);
            let met = ka.meet(kb).ok_or_else(|| format!("{op:?} of {ka:?} and {kb:?} (write `real(..)`)"))?;
            match op {
                BinaryOp::And | BinaryOp::Or if met == Kind::Truth => Ok(met),
                BinaryOp::And | BinaryOp::Or => Err(format!("{op:?} of numbers")),
                BinaryOp::Add
                | BinaryOp::Sub
                | BinaryOp::Mul
                | BinaryOp::FloorDiv
                | BinaryOp::Rem
                | BinaryOp::Min
                | BinaryOp::Max => number(met, "arithmetic"),
                BinaryOp::Div | BinaryOp::Pow if met == Kind::Integer => {
                    Err(format!("{op:?} of integers (write `real(..)`)"))
                }
                BinaryOp::Div | BinaryOp::Pow => number(met, "arithmetic").map(|_| Kind::Real),
            }
        }
        Expr::Compare(_, a, b) => {
            let (ka, kb) = (of_expr(program, a)?, of_expr(program, b)?);
            ka.meet(kb).map(|_| Kind::Truth).ok_or_else(|| format!("a comparison of {ka:?} and {kb:?}"))
        }
        Expr::Select(c, a, b) => {
            if of_expr(program, c)? != Kind::Truth {
                return Err("the condition of `if` is not Boolean".into());
            }
            let (ka, kb) = (of_expr(program, a)?, of_expr(program, b)?);
            ka.meet(kb).ok_or_else(|| format!("the branches of `if` are {ka:?} and {kb:?}"))
        }
    }
}
