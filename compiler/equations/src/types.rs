//! The kind of number that an expression is: real, `f64`, integer or truth value.
//!
//! An `f64` and a real of the working precision do not meet: one of them is converted, so that what an expression computes does not depend
//! on which tensors were stored on the way. What is written (`2.5`, a size) takes the precision of what it meets.
//!
//! A bf16 is a real of the working precision that happens to have 8 binary digits: it meets others as it is, and `bf16(..)` rounds. Every
//! body of a bf16 tensor is rounded ([`is_bf16`]), so that a value is the same whether it was stored or not.

use crate::data::{Affine, BinaryOp, DType, Expr, Program, Read, Sub, UnaryOp};
use crate::interpret::scalar::stored;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// In the working precision.
    Real,
    F64,
    Integer,
    Truth,
    /// A whole number that is written in the program (a constant, an index, a size): fits reals and integers.
    Whole,
    /// A number that is written in the program: fits reals of any precision.
    Written,
}

impl Kind {
    pub fn fits(self, wanted: Kind) -> bool {
        match self {
            Kind::Whole => matches!(wanted, Kind::Real | Kind::F64 | Kind::Integer | Kind::Whole | Kind::Written),
            Kind::Written => matches!(wanted, Kind::Real | Kind::F64 | Kind::Written),
            Kind::Real | Kind::F64 | Kind::Integer | Kind::Truth => self == wanted,
        }
    }

    /// A real number, of whatever precision.
    pub fn is_real(self) -> bool {
        match self {
            Kind::Real | Kind::F64 | Kind::Written => true,
            Kind::Integer | Kind::Truth | Kind::Whole => false,
        }
    }

    /// The kind of arithmetic between the two.
    fn meet(self, other: Kind) -> Option<Kind> {
        match (self, other) {
            (Kind::Truth, _) | (_, Kind::Truth) => (self == other).then_some(Kind::Truth),
            (Kind::Whole, kind) | (kind, Kind::Whole) => Some(kind),
            (Kind::Written, kind) | (kind, Kind::Written) => kind.is_real().then_some(kind),
            (Kind::Real, Kind::Real) | (Kind::F64, Kind::F64) | (Kind::Integer, Kind::Integer) => Some(self),
            (Kind::Real, Kind::F64 | Kind::Integer)
            | (Kind::F64, Kind::Real | Kind::Integer)
            | (Kind::Integer, Kind::Real | Kind::F64) => None,
        }
    }
}

pub fn of_dtype(dtype: DType) -> Kind {
    match dtype {
        DType::Real | DType::F32 | DType::BF16 => Kind::Real,
        DType::F64 => Kind::F64,
        DType::I32 => Kind::Integer,
        DType::Bool => Kind::Truth,
    }
}

/// The type of what is added up for a tensor of this type: gradients by a bf16 are reals of the working precision.
pub fn of_adjoint(dtype: DType) -> DType {
    match dtype {
        DType::BF16 => DType::Real,
        DType::Real | DType::F32 | DType::F64 | DType::I32 | DType::Bool => dtype,
    }
}

/// Does the expression give numbers of bf16 only, so that to round it changes nothing? `read` says which reads do.
pub fn gives_bf16(e: &Expr, read: &dyn Fn(&Read) -> bool) -> bool {
    match e {
        Expr::Const(value) => has_bf16(*value),
        Expr::Number(form) => form.as_number().is_some_and(|n| has_bf16(n as f64)),
        Expr::Read(of) => read(of) && of.otherwise.is_none_or(has_bf16),
        Expr::Unary(UnaryOp::ToBf16, _) => true,
        Expr::Unary(UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Freeze | UnaryOp::ToReal, a) => gives_bf16(a, read),
        Expr::Binary(BinaryOp::Min | BinaryOp::Max, a, b) | Expr::Select(_, a, b) => {
            gives_bf16(a, read) && gives_bf16(b, read)
        }
        Expr::Unary(_, _) | Expr::Binary(_, _, _) | Expr::Compare(_, _, _) => false,
    }
}

/// [`gives_bf16`] where tensors of the program are read.
pub fn is_bf16(program: &Program, e: &Expr) -> bool {
    gives_bf16(e, &|read| program.get(read.tensor).dtype == DType::BF16)
}

/// Is the number one of bf16?
pub fn has_bf16(value: f64) -> bool {
    value.is_nan() || stored(DType::BF16, value) == value
}

/// The kind of an expression, or what does not fit.
pub fn of_expr(program: &Program, e: &Expr) -> Result<Kind, String> {
    let number = |kind: Kind, what: &str| {
        if kind == Kind::Truth { Err(format!("{what} of a truth value")) } else { Ok(kind) }
    };
    match e {
        Expr::Const(value) if value.fract() == 0.0 => Ok(Kind::Whole),
        Expr::Const(_) => Ok(Kind::Written),
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
                UnaryOp::ToF64 => Ok(Kind::F64),
                UnaryOp::ToBf16 => match kind {
                    Kind::Real | Kind::Written | Kind::Whole => Ok(Kind::Real),
                    Kind::F64 | Kind::Integer | Kind::Truth => Err(format!("{op:?} of {kind:?} (write `real(..)`)")),
                },
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
                | UnaryOp::Trigamma => match kind {
                    Kind::Real | Kind::F64 | Kind::Written => Ok(kind),
                    Kind::Whole => Ok(Kind::Written),
                    Kind::Integer | Kind::Truth => Err(format!("{op:?} of {kind:?} (write `real(..)`)")),
                },
            }
        }
        Expr::Binary(op, a, b) => {
            let (ka, kb) = (of_expr(program, a)?, of_expr(program, b)?);
            let met = ka.meet(kb).ok_or_else(|| {
                let to = if ka == Kind::F64 || kb == Kind::F64 { "f64" } else { "real" };
                format!("{op:?} of {ka:?} and {kb:?} (write `{to}(..)`)")
            })?;
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
                BinaryOp::Div | BinaryOp::Pow if met == Kind::Whole => Ok(Kind::Written),
                BinaryOp::Div | BinaryOp::Pow => number(met, "arithmetic"),
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
