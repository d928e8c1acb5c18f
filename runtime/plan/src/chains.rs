//! Long sums in f32 are taken in chains.
//!
//! Added one after the other, a million numbers lose four digits: the sum grows while what is added does not. A loop therefore sums
//! [`CHAIN`] iterations at a time, each time from 0, and adds up what these chains give, in order. Where several accumulators share a loop
//! (the lanes of a vector, threads of a GPU), each has chains of its own.
//!
//! ```text
//! for i in 0..n: s += x[i]      ->      for begin in (0..n) by 512:  { c = 0;  for i in begin..min(begin + 512, n): c += x[i];  s += c }
//! ```
//!
//! The plan says none of it: this is how a back end runs a loop, decided by the loop's text and extent alone, so that the same numbers
//! have the same sum on any number of threads and in any batch. The error falls from n to 512 + n / 512 roundings.

use crate::data::{Bound, Kernel, Monoid, Stmt, ValueOp, ValueType, VariableId};

/// Iterations of a chain.
pub const CHAIN: i64 = 512;

/// How many iterations a loop has, where that is a number.
pub fn constant_extent(from: &Bound, to: &Bound) -> Option<i64> {
    match (from, to) {
        (Bound::Size(from), Bound::Size(to)) => (to.clone() - from.clone()).as_const(),
        (Bound::Size(_) | Bound::Value(_), Bound::Size(_) | Bound::Value(_)) => None,
    }
}

/// Variables from outside of a loop that it sums in chains: f32, and only ever added to by the body. None where the loop is known to have
/// no more than `longest` iterations.
pub fn chained(kernel: &Kernel, extent: Option<i64>, longest: i64, body: &[Stmt]) -> Vec<VariableId> {
    if extent.is_some_and(|n| n <= longest) {
        return Vec::new();
    }
    let mut found = Found::default();
    found.look(body);
    let Found { mut summed, others } = found;
    summed.retain(|v| kernel.variables.get(v.0 as usize) == Some(&ValueType::F32) && !others.contains(v));
    summed
}

#[derive(Default)]
struct Found {
    summed: Vec<VariableId>,
    /// Declared inside, read, or changed otherwise.
    others: Vec<VariableId>,
}

impl Found {
    fn look(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Combine { variable, monoid: Monoid::Sum, value: _ } => {
                    if !self.summed.contains(variable) {
                        self.summed.push(*variable);
                    }
                }
                Stmt::Variable { variable, .. }
                | Stmt::Assign { variable, .. }
                | Stmt::Combine { variable, .. }
                | Stmt::Let { op: ValueOp::Variable(variable), .. } => self.others.push(*variable),
                Stmt::Loop { body, .. } | Stmt::If { body, .. } => self.look(body),
                Stmt::Let { .. } | Stmt::Store { .. } => {}
            }
        }
    }
}
