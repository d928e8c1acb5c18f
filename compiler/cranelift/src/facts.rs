//! What must be known about a kernel before code is written: which values differ from lane to lane, and which `Lanes` loops cannot
//! run in vectors because control flow differs from lane to lane.
//!
//! A value is *varying* when it depends on the index of the `Lanes` loop around it; all others are *uniform* and stay scalar.

use bdl_dims::Dim;
use bdl_plan::{Address, AddressTerm, BinaryOp, Bound, Guard, Kernel, LoopIndex, LoopMode, Stmt, ValueId, ValueOp};
use std::collections::BTreeSet;

pub struct Facts<'k> {
    /// By value: does it differ from lane to lane?
    pub varying: Vec<bool>,
    /// By value: how it is computed.
    pub defs: Vec<Option<&'k ValueOp>>,
    /// By variable: declared inside a `Lanes` loop, so that each lane has its own?
    pub lane_variable: Vec<bool>,
    /// By loop index: run this `Lanes` loop lane by lane.
    pub divergent: Vec<bool>,
    /// Sizes that are not numbers, in the order met: computed once on entry.
    pub dims: BTreeSet<&'k Dim>,
}

impl<'k> Facts<'k> {
    pub fn of(kernel: &'k Kernel) -> Facts<'k> {
        let mut facts = Facts {
            varying: vec![false; kernel.values.len()],
            defs: vec![None; kernel.values.len()],
            lane_variable: vec![false; kernel.variables.len()],
            divergent: vec![false; kernel.indices.len()],
            dims: BTreeSet::new(),
        };
        let mut walk = Walk { varying_index: vec![false; kernel.indices.len()], facts: &mut facts };
        let lanes = match kernel.grid_mode {
            LoopMode::Lanes => {
                walk.varying_index[0] = true;
                Some(LoopIndex(0))
            }
            LoopMode::Serial => None,
        };
        walk.body(&kernel.body, lanes);
        facts
    }

    pub fn varies(&self, value: ValueId) -> bool {
        self.varying[value.0 as usize]
    }
}

struct Walk<'k, 'f> {
    facts: &'f mut Facts<'k>,
    varying_index: Vec<bool>,
}

impl<'k> Walk<'k, '_> {
    fn body(&mut self, body: &'k [Stmt], lanes: Option<LoopIndex>) {
        for stmt in body {
            match stmt {
                Stmt::Loop { index, from, to, mode, body } => {
                    for bound in [from, to] {
                        match bound {
                            Bound::Size(dim) => self.dim(dim),
                            Bound::Value(value) => {
                                if self.facts.varies(*value) {
                                    self.varying_index[index.0 as usize] = true;
                                    self.diverge(lanes);
                                }
                            }
                        }
                    }
                    let inner = match mode {
                        LoopMode::Lanes => {
                            self.varying_index[index.0 as usize] = true;
                            Some(*index)
                        }
                        LoopMode::Serial => lanes,
                    };
                    self.body(body, inner);
                }
                Stmt::Let { value, op } => {
                    self.facts.defs[value.0 as usize] = Some(op);
                    self.facts.varying[value.0 as usize] = self.op(op);
                }
                Stmt::Variable { variable, start: _ } => {
                    self.facts.lane_variable[variable.0 as usize] = lanes.is_some();
                }
                Stmt::Combine { .. } | Stmt::Assign { .. } => {}
                Stmt::Store { buffer: _, at, value: _ } => {
                    self.address(at);
                }
                Stmt::If { condition, body } => {
                    if self.facts.varies(*condition) {
                        self.diverge(lanes);
                    }
                    self.body(body, lanes);
                }
            }
        }
    }

    fn diverge(&mut self, lanes: Option<LoopIndex>) {
        if let Some(index) = lanes {
            self.facts.divergent[index.0 as usize] = true;
        }
    }

    fn dim(&mut self, dim: &'k Dim) {
        if dim.as_const().is_none() {
            self.facts.dims.insert(dim);
        }
    }

    /// Does the address differ from lane to lane?
    fn address(&mut self, at: &'k Address) -> bool {
        self.dim(&at.offset);
        let mut varying = false;
        for (term, stride) in &at.terms {
            self.dim(stride);
            varying |= match term {
                AddressTerm::Index(index) => self.varying_index[index.0 as usize],
                AddressTerm::Value(value) => self.facts.varies(*value),
            };
        }
        varying
    }

    fn op(&mut self, op: &'k ValueOp) -> bool {
        match op {
            ValueOp::Const(_) => false,
            ValueOp::Size(dim) => {
                self.dim(dim);
                false
            }
            ValueOp::Index(index) => self.varying_index[index.0 as usize],
            ValueOp::Variable(variable) => self.facts.lane_variable[variable.0 as usize],
            ValueOp::Load { buffer: _, at, guards, otherwise: _ } => {
                let mut varying = self.address(at);
                for Guard { form, extent } in guards {
                    self.dim(extent);
                    varying |= self.address(form);
                }
                varying
            }
            ValueOp::Unary(_, a) | ValueOp::Convert(a) => self.facts.varies(*a),
            ValueOp::Binary(_, a, b) | ValueOp::Compare(_, a, b) => self.facts.varies(*a) || self.facts.varies(*b),
            ValueOp::Select(c, a, b) => self.facts.varies(*c) || self.facts.varies(*a) || self.facts.varies(*b),
        }
    }
}

/// The slice function of `bdl-kernels` that computes this operation, and its operands.
pub fn call_of(op: &ValueOp) -> Option<(&'static str, Vec<ValueId>)> {
    match op {
        ValueOp::Unary(unary, a) => crate::calls::unary_name(*unary).map(|name| (name, vec![*a])),
        ValueOp::Binary(BinaryOp::Pow, a, b) => Some(("pow", vec![*a, *b])),
        ValueOp::Binary(..)
        | ValueOp::Const(_)
        | ValueOp::Size(_)
        | ValueOp::Index(_)
        | ValueOp::Variable(_)
        | ValueOp::Load { .. }
        | ValueOp::Compare(..)
        | ValueOp::Select(..)
        | ValueOp::Convert(_) => None,
    }
}
