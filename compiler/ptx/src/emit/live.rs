//! How many registers the values of a kernel take at once.
//!
//! A value lives from its definition to its last use, and through a loop where it comes from outside of it. What instructions need on the way
//! (addresses, steps of a function) is not counted.

use bdl_plan::{Address, AddressTerm, Bound, Kernel, LoopIndex, Stmt, ValueId, ValueOp, ValueType, VariableId};
use std::collections::HashMap;

/// What takes a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Value(ValueId),
    Variable(VariableId),
}

/// From where to where each lives.
#[derive(Default)]
struct Lives {
    at: usize,
    of: HashMap<Holder, (usize, usize)>,
}

/// The most registers of 32 bits at once, when `count` points are taken together: values that differ between them (`varies`) are held for each.
/// Values before the loops of the grid count like all others.
pub fn most_live(kernel: &Kernel, varies: &[bool], count: usize) -> usize {
    let mut lives = Lives::default();
    lives.look(&kernel.body);
    let mut changes = vec![0i64; lives.at + 2];
    for (holder, (from, to)) in &lives.of {
        let (ty, differs) = match holder {
            Holder::Value(v) => (kernel.values[v.0 as usize], varies[v.0 as usize]),
            Holder::Variable(v) => (kernel.variables[v.0 as usize], true),
        };
        let each = match ty {
            ValueType::F32 | ValueType::I32 => 1,
            ValueType::F64 | ValueType::I64 => 2,
            // Predicates have registers of their own.
            ValueType::Bool => 0,
        };
        let registers = each * if differs { count as i64 } else { 1 };
        changes[*from] += registers;
        changes[*to + 1] -= registers;
    }
    let mut now = 0;
    let totals = changes.iter().map(|change| {
        now += change;
        now
    });
    totals.max().unwrap_or(0).unsigned_abs() as usize
}

impl Lives {
    fn begin(&mut self, holder: Holder) {
        self.of.insert(holder, (self.at, self.at));
    }

    fn used(&mut self, holder: Holder) {
        if let Some((_, to)) = self.of.get_mut(&holder) {
            *to = self.at;
        }
    }

    fn look(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.at += 1;
            match stmt {
                Stmt::Let { value, op } => {
                    operands(op, &mut |used| self.used(used));
                    // Numbers in the text and names of registers that are there anyway.
                    if !matches!(op, ValueOp::Const(_) | ValueOp::Size(_) | ValueOp::Index(LoopIndex(_))) {
                        self.begin(Holder::Value(*value));
                    }
                }
                Stmt::Variable { variable, start } => {
                    self.used(Holder::Value(*start));
                    self.begin(Holder::Variable(*variable));
                }
                Stmt::Combine { variable, value, .. } | Stmt::Assign { variable, value } => {
                    self.used(Holder::Value(*value));
                    self.used(Holder::Variable(*variable));
                }
                Stmt::Store { at, value, .. } => {
                    self.used(Holder::Value(*value));
                    of_address(at, &mut |used| self.used(used));
                }
                Stmt::If { condition, body } => {
                    self.used(Holder::Value(*condition));
                    self.look(body);
                }
                Stmt::Loop { from, to, body, .. } => {
                    let first = self.at;
                    for bound in [from, to] {
                        if let Bound::Value(value) = bound {
                            self.used(Holder::Value(*value));
                        }
                    }
                    self.look(body);
                    self.at += 1;
                    let last = self.at;
                    // The next round uses it again.
                    for (from, to) in self.of.values_mut() {
                        if *from < first && *to >= first {
                            *to = last;
                        }
                    }
                }
            }
        }
    }
}

fn operands(op: &ValueOp, used: &mut impl FnMut(Holder)) {
    match op {
        ValueOp::Const(_) | ValueOp::Size(_) | ValueOp::Index(_) => {}
        ValueOp::Variable(variable) => used(Holder::Variable(*variable)),
        ValueOp::Load { at, guards, .. } => {
            of_address(at, used);
            guards.iter().for_each(|guard| of_address(&guard.form, used));
        }
        ValueOp::Unary(_, a) | ValueOp::Convert(a) => used(Holder::Value(*a)),
        ValueOp::Binary(_, a, b) | ValueOp::Compare(_, a, b) => {
            [a, b].into_iter().for_each(|v| used(Holder::Value(*v)))
        }
        ValueOp::Select(a, b, c) => [a, b, c].into_iter().for_each(|v| used(Holder::Value(*v))),
    }
}

fn of_address(at: &Address, used: &mut impl FnMut(Holder)) {
    for (term, _) in &at.terms {
        if let AddressTerm::Value(value) = term {
            used(Holder::Value(*value));
        }
    }
}
