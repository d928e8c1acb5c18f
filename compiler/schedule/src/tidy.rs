//! A kernel without what it does not need: values that nothing uses, loops that do nothing, parameters that are not touched.
//!
//! Emission is generous (the example of a packed row is looked up whether or not anyone asks for it); this pass pays for it. It also
//! says of each buffer how it is accessed, and which sizes are arguments, from what is left.

use bdl_dims::Dim;
use bdl_plan::*;
use std::collections::BTreeSet;

/// Tidies `kernel` and the slices it is launched with.
pub(crate) fn tidy(kernel: &mut Kernel, slices: &mut Vec<Slice>) {
    let mut used = vec![false; kernel.values.len()];
    let mut body = std::mem::take(&mut kernel.body);
    // What a body uses is only known when everything after and inside has been seen: a value may die because its user does.
    loop {
        used.fill(false);
        uses(&body, &mut used);
        if !prune(&mut body, &used) {
            break;
        }
    }
    kernel.body = body;
    let mut facts =
        Facts { reads: vec![false; slices.len()], writes: vec![false; slices.len()], sizes: BTreeSet::new() };
    facts.dim(&kernel.grid);
    facts.body(&kernel.body);
    let mut renamed = vec![0; slices.len()];
    let mut kept = Vec::new();
    for (at, new) in renamed.iter_mut().enumerate() {
        let access = match (facts.reads[at], facts.writes[at]) {
            (false, false) => continue,
            (true, false) => Access::Read,
            (false, true) => Access::Write,
            (true, true) => Access::Update,
        };
        kernel.buffers[at].access = access;
        *new = kept.len() as u32;
        kept.push(at);
    }
    *slices = kept.iter().map(|at| slices[*at].clone()).collect();
    kernel.buffers = kept.iter().map(|at| kernel.buffers[*at].clone()).collect();
    rename(&mut kernel.body, &renamed);
    kernel.sizes = facts.sizes.into_iter().collect();
    renumber(kernel);
}

fn of_form(form: &Address, used: &mut [bool]) {
    for (term, _) in &form.terms {
        if let AddressTerm::Value(value) = term {
            used[value.0 as usize] = true;
        }
    }
}

fn uses(body: &[Stmt], used: &mut [bool]) {
    for stmt in body {
        match stmt {
            Stmt::Loop { from, to, body, .. } => {
                for bound in [from, to] {
                    if let Bound::Value(value) = bound {
                        used[value.0 as usize] = true;
                    }
                }
                uses(body, used);
            }
            Stmt::Let { op, .. } => match op {
                ValueOp::Const(_) | ValueOp::Size(_) | ValueOp::Index(_) | ValueOp::Variable(_) => {}
                ValueOp::Load { at, guards, .. } => {
                    of_form(at, used);
                    guards.iter().for_each(|g| of_form(&g.form, used));
                }
                ValueOp::Unary(_, a) | ValueOp::Convert(a) => used[a.0 as usize] = true,
                ValueOp::Binary(_, a, b) | ValueOp::Compare(_, a, b) => {
                    [a, b].into_iter().for_each(|v| used[v.0 as usize] = true)
                }
                ValueOp::Select(c, a, b) => [c, a, b].into_iter().for_each(|v| used[v.0 as usize] = true),
            },
            Stmt::Variable { start, .. } => used[start.0 as usize] = true,
            Stmt::Combine { value, .. } | Stmt::Assign { value, .. } => used[value.0 as usize] = true,
            Stmt::Store { at, value, .. } => {
                of_form(at, used);
                used[value.0 as usize] = true;
            }
            Stmt::If { condition, body } => {
                used[condition.0 as usize] = true;
                uses(body, used);
            }
        }
    }
}

/// Removes unused values and empty bodies. Was there anything?
fn prune(body: &mut Vec<Stmt>, used: &[bool]) -> bool {
    let before = body.len();
    let mut changed = false;
    for stmt in body.iter_mut() {
        if let Stmt::Loop { body, .. } | Stmt::If { body, .. } = stmt {
            changed |= prune(body, used);
        }
    }
    body.retain(|stmt| match stmt {
        Stmt::Let { value, .. } => used[value.0 as usize],
        Stmt::Loop { body, .. } | Stmt::If { body, .. } => !body.is_empty(),
        Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } | Stmt::Store { .. } => true,
    });
    changed || body.len() != before
}

struct Facts {
    reads: Vec<bool>,
    writes: Vec<bool>,
    sizes: BTreeSet<Name>,
}

impl Facts {
    fn dim(&mut self, dim: &Dim) {
        self.sizes.extend(dim.names());
    }

    fn form(&mut self, form: &Address) {
        self.dim(&form.offset);
        form.terms.iter().for_each(|(_, c)| self.dim(c));
    }

    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Loop { from, to, body, .. } => {
                    for bound in [from, to] {
                        if let Bound::Size(size) = bound {
                            self.dim(size);
                        }
                    }
                    self.body(body);
                }
                Stmt::Let { op: ValueOp::Size(size), .. } => self.dim(size),
                Stmt::Let { op: ValueOp::Load { buffer, at, guards, .. }, .. } => {
                    self.reads[*buffer as usize] = true;
                    self.form(at);
                    for guard in guards {
                        self.form(&guard.form);
                        self.dim(&guard.extent);
                    }
                }
                Stmt::Store { buffer, at, .. } => {
                    self.writes[*buffer as usize] = true;
                    self.form(at);
                }
                Stmt::If { body, .. } => self.body(body),
                Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } => {}
            }
        }
    }
}

fn rename(body: &mut [Stmt], renamed: &[u32]) {
    for stmt in body {
        match stmt {
            Stmt::Loop { body, .. } | Stmt::If { body, .. } => rename(body, renamed),
            Stmt::Let { op: ValueOp::Load { buffer, .. }, .. } | Stmt::Store { buffer, .. } => {
                *buffer = renamed[*buffer as usize];
            }
            Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } => {}
        }
    }
}

/// Values numbered in the order of their definitions, without gaps.
fn renumber(kernel: &mut Kernel) {
    let mut new = vec![ValueId(0); kernel.values.len()];
    let mut types = Vec::new();
    let mut body = std::mem::take(&mut kernel.body);
    number(&mut body, &kernel.values, &mut new, &mut types);
    kernel.body = body;
    kernel.values = types;
}

fn number(body: &mut [Stmt], old_types: &[ValueType], new: &mut [ValueId], types: &mut Vec<ValueType>) {
    let form = |form: &mut Address, new: &[ValueId]| {
        for (term, _) in &mut form.terms {
            if let AddressTerm::Value(value) = term {
                *value = new[value.0 as usize];
            }
        }
        form.terms.sort_by_key(|(t, _)| *t);
    };
    for stmt in body {
        match stmt {
            Stmt::Loop { from, to, body, .. } => {
                for bound in [from, to] {
                    if let Bound::Value(value) = bound {
                        *value = new[value.0 as usize];
                    }
                }
                number(body, old_types, new, types);
            }
            Stmt::Let { value, op } => {
                match op {
                    ValueOp::Const(_) | ValueOp::Size(_) | ValueOp::Index(_) | ValueOp::Variable(_) => {}
                    ValueOp::Load { at, guards, .. } => {
                        form(at, new);
                        guards.iter_mut().for_each(|g| form(&mut g.form, new));
                    }
                    ValueOp::Unary(_, a) | ValueOp::Convert(a) => *a = new[a.0 as usize],
                    ValueOp::Binary(_, a, b) | ValueOp::Compare(_, a, b) => {
                        (*a, *b) = (new[a.0 as usize], new[b.0 as usize]);
                    }
                    ValueOp::Select(c, a, b) => {
                        (*c, *a, *b) = (new[c.0 as usize], new[a.0 as usize], new[b.0 as usize]);
                    }
                }
                types.push(old_types[value.0 as usize]);
                new[value.0 as usize] = ValueId(types.len() as u32 - 1);
                *value = new[value.0 as usize];
            }
            Stmt::Variable { start, .. } => *start = new[start.0 as usize],
            Stmt::Combine { value, .. } | Stmt::Assign { value, .. } => *value = new[value.0 as usize],
            Stmt::Store { at, value, .. } => {
                form(at, new);
                *value = new[value.0 as usize];
            }
            Stmt::If { condition, body } => {
                *condition = new[condition.0 as usize];
                number(body, old_types, new, types);
            }
        }
    }
}
