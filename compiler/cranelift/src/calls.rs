//! Which element functions generated code does not compute itself, and where it calls instead.
//!
//! The callee works on slices (`f(n, x, y)`), with wide vectors chosen at run time; see [`bdl_kernels::vector_math`].

use bdl_kernels::{Float, vector_math};
use bdl_plan::{UnaryOp, ValueType};

/// The name of the slice function, for operations from `Exp` on.
pub fn unary_name(op: UnaryOp) -> Option<&'static str> {
    match op {
        UnaryOp::Neg
        | UnaryOp::Not
        | UnaryOp::Abs
        | UnaryOp::Floor
        | UnaryOp::Round
        | UnaryOp::Sign
        | UnaryOp::Bf16
        | UnaryOp::Sqrt => None,
        UnaryOp::Exp => Some("exp"),
        UnaryOp::Expm1 => Some("expm1"),
        UnaryOp::Log => Some("log"),
        UnaryOp::Log1p => Some("log1p"),
        UnaryOp::Tanh => Some("tanh"),
        UnaryOp::Sigmoid => Some("sigmoid"),
        UnaryOp::Softplus => Some("softplus"),
        UnaryOp::Erf => Some("erf"),
        UnaryOp::Sin => Some("sin"),
        UnaryOp::Cos => Some("cos"),
        UnaryOp::Lgamma => Some("lgamma"),
        UnaryOp::Digamma => Some("digamma"),
        UnaryOp::Trigamma => Some("trigamma"),
    }
}

/// The address of a slice function for a type, on this machine.
pub fn address(name: &str, ty: ValueType) -> Option<*const u8> {
    let float = match ty {
        ValueType::F32 => Float::F32,
        ValueType::F64 => Float::F64,
        ValueType::I32 | ValueType::I64 | ValueType::Bool => return None,
    };
    vector_math::entry(name, float)
}
