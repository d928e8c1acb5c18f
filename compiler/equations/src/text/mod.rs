//! The text form: every program prints, and parses back to the identical value.
//!
//! ```text
//! program forward
//! size B batch
//! input x: real[B, 60, 4] per example
//! param w: real[9, 4, 32]
//! value y: real[B, 52, 32]
//!
//! y[b < B, t < 52, f < 32] = sum[k < 9, c < 4] x[b, t + k, c] * w[k, c, f]   // @0:12..40 product
//! output y = y
//! ```
//!
//! - Declarations come first, in the order of their ids. `input`, `param`, `state`, `value` say the role.
//! - `y[2 * u + 1, c for u < 4, c < 3] = ...` names the subscripts and then the free indices; `also y[...] = ...` is the next piece.
//! - `sum[k < 9, t < T of b if t + k - 4 >= 0 and v == dst[e] and holds(...) else 0] body`; `argmax.1[...]` gives bound index 1.
//! - `x[b, t + k else 0]` reads 0 outside; `x@o[t]` reads example `o`; `data(...)` is a data subscript that is not one read.
//! - A bare name is an index, else a size, else a tensor without axes; `x[]` is always a tensor, `@T` always a size.
//! - `number(...)` is an affine form as a number. `-3` is a constant, `-(3)` its negation. Odd or reserved names stand in backquotes.
//! - `// @file:start..end what` is the origin of the node that it ends; other comments are skipped.
//!
//! [`print_bdl`] writes the same for people: no ids, no declarations of what equations define, no origins but their words.
//!
//! Deliberately absent: checking. A parsed program may be nonsense until `verify` has seen it.

mod lex;
mod parse;
mod print;

pub use parse::{ParseError, parse};
pub use print::{print, print_bdl, print_node};

use crate::data::{BinaryOp, CompareOp, DType, Monoid, Routine, UnaryOp};

/// Words with a meaning inside expressions; tensors and indices of that name are written in backquotes.
const RESERVED: [&str; 17] = [
    "if", "then", "else", "and", "or", "not", "inf", "nan", "for", "of", "also", "sum", "prod", "max", "min", "any",
    "all",
];

fn is_word(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_') && chars.all(is_word_char)
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '\'')
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name.starts_with("argmax.") || name.starts_with("argmin.")
}

const UNARY: [(UnaryOp, &str); 24] = [
    (UnaryOp::Exp, "exp"),
    (UnaryOp::Expm1, "expm1"),
    (UnaryOp::Log, "log"),
    (UnaryOp::Log1p, "log1p"),
    (UnaryOp::Sqrt, "sqrt"),
    (UnaryOp::Tanh, "tanh"),
    (UnaryOp::Sigmoid, "sigmoid"),
    (UnaryOp::Softplus, "softplus"),
    (UnaryOp::Erf, "erf"),
    (UnaryOp::Sin, "sin"),
    (UnaryOp::Cos, "cos"),
    (UnaryOp::Abs, "abs"),
    (UnaryOp::Floor, "floor"),
    (UnaryOp::Round, "round"),
    (UnaryOp::Sign, "sign"),
    (UnaryOp::Lgamma, "lgamma"),
    (UnaryOp::Digamma, "digamma"),
    (UnaryOp::Trigamma, "trigamma"),
    (UnaryOp::ToReal, "real"),
    (UnaryOp::ToF64, "f64"),
    (UnaryOp::ToBf16, "bf16"),
    (UnaryOp::ToInt, "int"),
    (UnaryOp::Freeze, "freeze"),
    (UnaryOp::Not, "not"),
];

/// Operators written as calls.
const CALLS: [(BinaryOp, &str); 4] =
    [(BinaryOp::FloorDiv, "div"), (BinaryOp::Pow, "pow"), (BinaryOp::Min, "min"), (BinaryOp::Max, "max")];

/// Operators written between their operands, with how tightly they bind.
const INFIX: [(BinaryOp, &str, u8); 7] = [
    (BinaryOp::Or, "or", 1),
    (BinaryOp::And, "and", 2),
    (BinaryOp::Add, "+", 5),
    (BinaryOp::Sub, "-", 5),
    (BinaryOp::Mul, "*", 6),
    (BinaryOp::Div, "/", 6),
    (BinaryOp::Rem, "%", 6),
];

const COMPARE: [(CompareOp, &str); 6] = [
    (CompareOp::Eq, "=="),
    (CompareOp::Ne, "!="),
    (CompareOp::Lt, "<"),
    (CompareOp::Le, "<="),
    (CompareOp::Gt, ">"),
    (CompareOp::Ge, ">="),
];

const DTYPES: [(DType, &str); 6] = [
    (DType::Real, "real"),
    (DType::F32, "f32"),
    (DType::F64, "f64"),
    (DType::BF16, "bf16"),
    (DType::I32, "i32"),
    (DType::Bool, "bool"),
];

const MONOIDS: [(Monoid, &str); 6] = [
    (Monoid::Sum, "sum"),
    (Monoid::Prod, "prod"),
    (Monoid::Max, "max"),
    (Monoid::Min, "min"),
    (Monoid::Any, "any"),
    (Monoid::All, "all"),
];

const ROUTINES: [(Routine, &str); 1] = [(Routine::Orthogonal, "orthogonal")];

/// The word for `key` in one of the tables above.
fn word<K: PartialEq + Copy>(table: &[(K, &'static str)], key: K) -> &'static str {
    table.iter().find(|(k, _)| *k == key).map_or("?", |(_, w)| w)
}

/// What `text` names in one of the tables above.
fn meaning<K: Copy>(table: &[(K, &'static str)], text: &str) -> Option<K> {
    table.iter().find(|(_, w)| *w == text).map(|(k, _)| *k)
}
