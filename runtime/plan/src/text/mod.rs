//! The text of a plan: printed by `bdl emit --stage plan`, parsed by tests. A plan that passes the verifier prints and parses back to
//! itself.
//!
//! ```text
//! plan step
//! size B batch
//! slot 256 * B
//! buffer x: f32[B, 100] len 100 * B; input per_example
//! buffer w: f32[100, 64] len 6400; param
//! buffer h: f32[B, 64] len 64 * B; slot 0
//! output h = h
//!
//! kernel relu(h: f32 update) sizes(B) indices(r, c) {
//!   for r in B {
//!     for c in 0..64 lanes {
//!       %0: f32 = load h[r * 64 + c]
//!       %1: f32 = const 0.0
//!       %2: f32 = max %0, %1
//!       store h[r * 64 + c] = %2
//!     }
//!   }
//! }
//!
//! contract h = x * w {
//!   m b: B (out 64, a 100, b 0)
//!   n f: 64 (out 1, a 0, b 1)
//!   k c: 100 (out 0, a 1, b 64)
//!   then relu(h)
//! } at "dense" 0 12 30
//! ```
//!
//! `%n` is a value, `@n` a variable. The grid is the outermost `for`. Names that are no words stand in quotes; a name that occurs twice
//! carries its number (`c#2`). `//` begins a comment.

mod parse;
mod print;

pub use parse::{ParseError, parse_kernel, parse_plan};

use crate::data::{BinaryOp, CompareOp, DType, Monoid, UnaryOp, ValueType};

pub(crate) const DTYPES: [(DType, &str); 6] = [
    (DType::F32, "f32"),
    (DType::F64, "f64"),
    (DType::BF16, "bf16"),
    (DType::I32, "i32"),
    (DType::I64, "i64"),
    (DType::Bool, "bool"),
];

pub(crate) const VALUE_TYPES: [(ValueType, &str); 5] = [
    (ValueType::F32, "f32"),
    (ValueType::F64, "f64"),
    (ValueType::I32, "i32"),
    (ValueType::I64, "i64"),
    (ValueType::Bool, "bool"),
];

pub(crate) const UNARY: [(UnaryOp, &str); 21] = [
    (UnaryOp::Neg, "neg"),
    (UnaryOp::Not, "not"),
    (UnaryOp::Abs, "abs"),
    (UnaryOp::Floor, "floor"),
    (UnaryOp::Round, "round"),
    (UnaryOp::Sign, "sign"),
    (UnaryOp::Bf16, "bf16"),
    (UnaryOp::Sqrt, "sqrt"),
    (UnaryOp::Exp, "exp"),
    (UnaryOp::Expm1, "expm1"),
    (UnaryOp::Log, "log"),
    (UnaryOp::Log1p, "log1p"),
    (UnaryOp::Tanh, "tanh"),
    (UnaryOp::Sigmoid, "sigmoid"),
    (UnaryOp::Softplus, "softplus"),
    (UnaryOp::Erf, "erf"),
    (UnaryOp::Sin, "sin"),
    (UnaryOp::Cos, "cos"),
    (UnaryOp::Lgamma, "lgamma"),
    (UnaryOp::Digamma, "digamma"),
    (UnaryOp::Trigamma, "trigamma"),
];

pub(crate) const BINARY: [(BinaryOp, &str); 11] = [
    (BinaryOp::Add, "add"),
    (BinaryOp::Sub, "sub"),
    (BinaryOp::Mul, "mul"),
    (BinaryOp::Div, "div"),
    (BinaryOp::FloorDiv, "floordiv"),
    (BinaryOp::Rem, "rem"),
    (BinaryOp::Pow, "pow"),
    (BinaryOp::Min, "min"),
    (BinaryOp::Max, "max"),
    (BinaryOp::And, "and"),
    (BinaryOp::Or, "or"),
];

pub(crate) const COMPARE: [(CompareOp, &str); 6] = [
    (CompareOp::Eq, "eq"),
    (CompareOp::Ne, "ne"),
    (CompareOp::Lt, "lt"),
    (CompareOp::Le, "le"),
    (CompareOp::Gt, "gt"),
    (CompareOp::Ge, "ge"),
];

pub(crate) const MONOIDS: [(Monoid, &str); 6] = [
    (Monoid::Sum, "sum"),
    (Monoid::Prod, "prod"),
    (Monoid::Max, "max"),
    (Monoid::Min, "min"),
    (Monoid::Any, "any"),
    (Monoid::All, "all"),
];

/// The word of an operation. Every operation stands in its table.
pub(crate) fn word_of<T: PartialEq + Copy>(table: &[(T, &'static str)], wanted: T) -> &'static str {
    table.iter().find(|(t, _)| *t == wanted).map_or("?", |(_, word)| word)
}

pub(crate) fn of_word<T: Copy>(table: &[(T, &'static str)], wanted: &str) -> Option<T> {
    table.iter().find(|(_, word)| *word == wanted).map(|(t, _)| *t)
}

/// Names as they appear: alone where that says which one is meant.
pub(crate) fn displayed(names: &[crate::data::Name], also: &[crate::data::Name]) -> Vec<String> {
    names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let others = names.iter().enumerate().filter(|(j, other)| *j != i && *other == name).count();
            let written = quoted(name);
            if others > 0 || also.contains(name) { format!("{written}#{i}") } else { written }
        })
        .collect()
}

/// A name as a word, or in quotes.
pub(crate) fn quoted(name: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '\'');
    let plain =
        name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(word) && !name.contains("..");
    if plain {
        return name.to_string();
    }
    let mut text = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests;
