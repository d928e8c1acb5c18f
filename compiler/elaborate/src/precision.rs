//! Values of three precisions: the working one, f64, and bf16.
//!
//! `f32 op f64` is an f64, and what is stored as one of the two is converted to it. Equations convert nothing in silence, so this is where
//! conversions come from:
//!
//! ```text
//! f64(x[i]) * w[i]       f64(x[i]) * f64(w[i])
//! ```
//!
//! A constant takes the precision of what it meets.
//!
//! A bf16 is a real of the working precision, rounded. What is computed from bf16 is computed in the working precision, and rounded once where
//! its type says bf16; a value whose `dtype` is bf16 has been rounded (`bdl_equations::types::is_bf16` holds of its body).
//!
//! ```text
//! x[i] * y[i] + z[i]     bf16(bf16(x[i] * y[i]) + z[i])            all three bf16
//! sum[i] x[i] * y[i]     s = sum[i < n] bf16(x[i] * y[i]); bf16(s)
//! ```

use crate::context::{Elaborator, dtype_of};
use crate::expr;
use crate::value::{Pointwise, Value};
use bdl_check::hir;
use bdl_equations::interpret::scalar;
use bdl_equations::{DType, Expr, UnaryOp, types};

impl Elaborator<'_> {
    /// The value in the precision of the type; values of other kinds as they are.
    pub fn of_type(&self, value: Value, ty: &hir::Type) -> Value {
        match (value, ty) {
            (Value::Tensor(tensor), hir::Type::Tensor(ty)) => {
                Value::Tensor(self.in_precision(tensor, dtype_of(&ty.scalar)))
            }
            (Value::Record(fields), hir::Type::Record(types)) => {
                let fitted = fields.into_iter().map(|(name, field)| match types.iter().find(|(of, _)| *of == name) {
                    Some((_, ty)) => {
                        let field = self.of_type(field, ty);
                        (name, field)
                    }
                    None => (name, field),
                });
                Value::Record(fitted.collect())
            }
            (value, hir::Type::Tensor(_) | hir::Type::Record(_) | hir::Type::Error) => value,
        }
    }

    /// A value that is or becomes an f64 or a bf16, as one of type `to`. What has nothing to do with these stays as it is.
    pub fn in_precision(&self, value: Pointwise, to: DType) -> Pointwise {
        match (value.dtype, to) {
            (DType::F64, DType::BF16) => {
                let body = shortened(self.rounded(value.body));
                Pointwise { body, dtype: to, ..value }
            }
            (DType::Real | DType::F32, DType::BF16) => {
                let already = types::is_bf16(&self.program, &value.body);
                let body = if already { value.body } else { shortened(value.body) };
                Pointwise { body, dtype: to, ..value }
            }
            (DType::I32 | DType::Bool, DType::BF16) => {
                let real = expr::unary(hir::UnaryOp::ToReal, value.body);
                Pointwise { body: shortened(real), dtype: to, ..value }
            }
            (DType::BF16, DType::Real | DType::F32) => Pointwise { dtype: to, ..value },
            (DType::F64, DType::Real | DType::F32) => {
                let body = self.rounded(value.body);
                Pointwise { body, dtype: to, ..value }
            }
            (DType::Real | DType::F32 | DType::BF16 | DType::I32 | DType::Bool, DType::F64) => {
                let body = self.widened(value.body);
                Pointwise { body, dtype: to, ..value }
            }
            (_, _) => value,
        }
    }

    /// Operands of an operator: if one is an f64, all are.
    pub fn met(&self, operands: Vec<Pointwise>) -> Vec<Pointwise> {
        if operands.iter().all(|operand| operand.dtype != DType::F64) {
            return operands;
        }
        operands.into_iter().map(|operand| self.in_precision(operand, DType::F64)).collect()
    }

    /// What arithmetic on the operands gives, where its type says `said`: nothing is a bf16 before it has been rounded.
    pub fn met_type(operands: &[Pointwise], said: DType) -> DType {
        let is_f64 = operands.iter().any(|operand| operand.dtype == DType::F64);
        match said {
            DType::Real | DType::F32 | DType::F64 | DType::BF16 if is_f64 => DType::F64,
            DType::F64 | DType::BF16 => DType::Real,
            DType::Real | DType::F32 | DType::I32 | DType::Bool => said,
        }
    }

    /// An f64 in the working precision.
    fn rounded(&self, body: Expr) -> Expr {
        match body {
            Expr::Const(_) => body,
            other @ (Expr::Number(_)
            | Expr::Read(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _)) => other.unary(UnaryOp::ToReal),
        }
    }

    /// Any number or truth value as an f64; a whole number on its way to a real one without rounding it twice.
    pub fn widened(&self, body: Expr) -> Expr {
        let is_whole = |e: &Expr| types::of_expr(&self.program, e).is_ok_and(|kind| !kind.is_real());
        match body {
            Expr::Const(_) => body,
            Expr::Unary(UnaryOp::ToReal, inner) if is_whole(&inner) => inner.unary(UnaryOp::ToF64),
            Expr::Select(c, a, b) => {
                let (a, b) = (self.widened(*a), self.widened(*b));
                // Two constants meet nothing that says their precision.
                let alone = a.as_const().is_some() && b.as_const().is_some();
                c.select(if alone { a.unary(UnaryOp::ToF64) } else { a }, b)
            }
            other @ (Expr::Number(_)
            | Expr::Read(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)) => other.unary(UnaryOp::ToF64),
        }
    }
}

/// A real of the working precision as the nearest bf16.
fn shortened(body: Expr) -> Expr {
    match body.as_const() {
        Some(value) => Expr::Const(scalar::unary(UnaryOp::ToBf16, value)),
        None => body.unary(UnaryOp::ToBf16),
    }
}
