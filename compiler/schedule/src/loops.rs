//! One piece of an equation as a kernel: loops opened, conditions placed, reductions carried in variables.
//!
//! ```text
//! y[b, f] = sum[c | c <= b] x[b, c] * w[c, f]
//!   grid b: lanes f: %acc = 0; for c in 0..min(C, b + 1): %acc += x * w;  y[b, f] = %acc
//! ```
//!
//! A condition that bounds a serial loop becomes the loop's bound. In a vectorised loop an affine condition guards the loads and
//! selects the value, so that nothing branches. Anything else is an `If` as far outside as its indices allow.

use crate::builder::Builder;
use crate::error::Error;
use crate::form;
use crate::layout::Storage;
use crate::nest::{Extent, FEW, Lanes, Loop, Nest};
use crate::scalar::{Env, Rows, Val, Writer, malformed, non_negative};
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan::{self as plan, Address, Bound, LoopMode, ValueId, ValueOp, ValueType};
use std::collections::HashSet;

/// A kernel for `piece` of the equation that computes `out`.
pub(crate) fn piece_kernel(
    program: &eq::Program,
    storage: &mut Storage,
    out: eq::TensorId,
    piece: &eq::Piece,
    origin: &eq::Origin,
) -> Result<(plan::Kernel, Vec<plan::Slice>), Error> {
    let nest = Nest::of(program, storage, out, piece);
    let layout = storage.place(program, out).clone();
    let name = program.tensors[out.0 as usize].name.clone();
    let (grid_name, grid) = match nest.free.first() {
        None => ("once".to_string(), Dim::one()),
        Some(first) => (loop_name(piece, first), extent_size(storage, &first.extent)),
    };
    let grid_lanes = nest.free.len() == 1 && nest.lanes == Lanes::Free;
    let grid_mode = if grid_lanes { LoopMode::Lanes } else { LoopMode::Serial };
    let builder = Builder::new(&name, &grid_name, grid, grid_mode, HashSet::from([layout.buffer]));
    let count = piece.indices.len();
    let env = Env {
        piece,
        bind: vec![Address::default(); count],
        open: vec![false; count],
        rows: None,
        lane_guards: Vec::new(),
        origin,
    };
    let writer = Writer { program, storage, builder, forwards: Vec::new() };
    let mut piece_writer = PieceWriter { writer, env, nest, out, filters: piece.filter.iter().collect(), in_lanes: grid_lanes };
    if let Some(first) = piece_writer.nest.free.first().cloned() {
        piece_writer.bind(&first, form::index(Builder::GRID));
    }
    piece_writer.free(1)?;
    Ok(piece_writer.writer.builder.finish())
}

struct PieceWriter<'p, 's> {
    writer: Writer<'p, 's>,
    env: Env<'p>,
    nest: Nest,
    out: eq::TensorId,
    /// Not yet applied.
    filters: Vec<&'p eq::Condition>,
    in_lanes: bool,
}

/// The running result of a reduction.
enum Running {
    Fold { variable: plan::VariableId, monoid: plan::Monoid, ty: ValueType },
    /// Largest (or smallest) value so far, where it was found, and whether there was any.
    Best { best: plan::VariableId, at: plan::VariableId, seen: plan::VariableId, ty: ValueType, index: eq::IndexId, largest: bool },
    /// Nothing bound: the value itself, where the filter holds.
    Plain { variable: plan::VariableId, ty: ValueType },
}

impl<'p> PieceWriter<'p, '_> {
    fn bind(&mut self, l: &Loop, counter: Address) {
        let Some((last, others)) = l.indices.split_last() else { return };
        for index in others {
            self.env.bind[index.0 as usize] = Address::default();
            self.env.open[index.0 as usize] = true;
        }
        self.env.bind[last.0 as usize] = counter.clone();
        self.env.open[last.0 as usize] = true;
        // The loop over packed rows, alone or merged with what lies behind it.
        if let [batch, position, ..] = l.indices.as_slice() {
            let range = &self.env.piece.indices[position.0 as usize].range;
            if self.writer.storage.names_example(range) {
                let row = if *position == *last { counter } else { Address::default() };
                let rows = Rows { batch: *batch, position: *position, rows: range.clone(), row: row.clone() };
                let owner = self.writer.storage.table(plan::Table::Owner(range.clone()));
                let offsets = self.writer.storage.table(plan::Table::Offsets(range.clone()));
                let owner = form::value(self.writer.table_load(owner, row.clone()));
                let start = form::value(self.writer.table_load(offsets, owner.clone()));
                self.env.bind[batch.0 as usize] = owner;
                self.env.bind[position.0 as usize] = form::add(row, &form::scale(&start, &Dim::from(-1)));
                self.env.rows = Some(rows);
            }
        }
    }

    /// Conditions whose indices are all open: an `If` each. Returns how many.
    fn apply_filters(&mut self) -> Result<usize, Error> {
        let mut opened = 0;
        for filter in std::mem::take(&mut self.filters) {
            if !self.known(filter) {
                self.filters.push(filter);
                continue;
            }
            if let (true, eq::Condition::NonNegative(affine)) = (self.in_lanes, filter) {
                let form = self.writer.affine(&self.env, affine)?;
                self.env.lane_guards.push(non_negative(form));
                continue;
            }
            let condition = self.writer.condition(&self.env, filter)?;
            self.writer.builder.open_if(condition);
            opened += 1;
        }
        Ok(opened)
    }

    fn known(&self, condition: &eq::Condition) -> bool {
        let mut known = true;
        let mut affine = |a: &eq::Affine| known &= a.terms.iter().all(|(i, _)| self.env.open[i.0 as usize]);
        match condition {
            eq::Condition::NonNegative(a) => affine(a),
            eq::Condition::Equal(a, expr) => {
                affine(a);
                known &= self.expr_known(expr);
            }
            eq::Condition::Holds(expr) => known &= self.expr_known(expr),
        }
        known
    }

    fn expr_known(&self, expr: &eq::Expr) -> bool {
        let open = |a: &eq::Affine| a.terms.iter().all(|(i, _)| self.env.open[i.0 as usize]);
        let (mut in_reads, mut in_numbers) = (true, true);
        crate::nest::visit_expr(
            expr,
            &mut |read| in_reads &= read.subs.iter().all(|s| matches!(s, eq::Sub::Data(_)) || matches!(s, eq::Sub::Affine(a) if open(a))),
            &mut |affine| in_numbers &= open(affine),
        );
        in_reads && in_numbers
    }

    fn loop_bound(&mut self, extent: &Extent) -> Result<Bound, Error> {
        Ok(match extent {
            Extent::Size(size) => Bound::Size(size.clone()),
            Extent::Rows(rows) => Bound::Size(self.writer.storage.total(rows)),
            Extent::PerExample(dim, example) => {
                let form = self.writer.size_form(&self.env, dim, Some(*example))?;
                Bound::Value(self.writer.builder.number(&form))
            }
        })
    }

    // -------------------------------------------------------------------------------------------- free loops

    fn free(&mut self, depth: usize) -> Result<(), Error> {
        let Some(l) = self.nest.free.get(depth).cloned() else { return self.element() };
        let lanes = depth + 1 == self.nest.free.len() && self.nest.lanes == Lanes::Free;
        let to = self.loop_bound(&l.extent)?;
        let mode = if lanes { LoopMode::Lanes } else { LoopMode::Serial };
        let index = self.writer.builder.open_loop(&loop_name(self.env.piece, &l), Bound::Size(Dim::zero()), to, mode);
        self.in_lanes |= lanes;
        self.bind(&l, form::index(index));
        self.free(depth + 1)?;
        self.writer.builder.close();
        Ok(())
    }

    /// One element of the output.
    fn element(&mut self) -> Result<(), Error> {
        let piece = self.env.piece;
        let layout = self.writer.storage.place(self.writer.program, self.out).clone();
        let tensor = &self.writer.program.tensors[self.out.0 as usize];
        let ty = crate::builder::value_type(self.writer.storage.dtype(tensor.dtype));
        let value = if self.nest.bound.is_empty() && piece.filter.is_empty() {
            let value = self.writer.expr(&self.env, &piece.body)?;
            self.writer.typed(value, ty)
        } else {
            let value = self.reduction(ty)?;
            self.writer.typed(Val::Is(value), ty)
        };
        let subs: Vec<eq::Sub> = piece.at.iter().cloned().map(eq::Sub::Affine).collect();
        let (at, _, _, _) = self.writer.address(&self.env, &layout, &tensor.shape, &subs, false)?;
        let buffer = &self.writer.storage.buffers[layout.buffer.0 as usize];
        let parameter = self.writer.builder.buffer(layout.buffer, &layout.offset, &buffer.name, buffer.dtype);
        self.writer.builder.store(parameter, at, value);
        Ok(())
    }

    // -------------------------------------------------------------------------------------------- reductions

    fn reduction(&mut self, ty: ValueType) -> Result<ValueId, Error> {
        let piece = self.env.piece;
        let running = self.start(ty)?;
        // Is there a point at all? Only asked where the answer changes the value.
        let asked = !self.nest.bound.is_empty() && piece.empty.is_some_and(|e| Some(e) != identity(piece.monoid));
        let any = asked.then(|| self.writer.builder.variable(0.0, ValueType::Bool));
        self.bound(0, &running, any)?;
        let result = match &running {
            Running::Fold { variable, .. } | Running::Plain { variable, .. } => self.writer.builder.read_variable(*variable),
            Running::Best { at, .. } => self.writer.builder.read_variable(*at),
        };
        let (Some(any), Some(empty)) = (any, piece.empty) else { return Ok(result) };
        let any = self.writer.builder.read_variable(any);
        let result_ty = self.writer.builder.ty(result);
        let empty = self.writer.builder.constant(empty, result_ty);
        Ok(self.writer.builder.value(ValueOp::Select(any, result, empty), result_ty))
    }

    fn start(&mut self, ty: ValueType) -> Result<Running, Error> {
        let piece = self.env.piece;
        let builder = &mut self.writer.builder;
        if self.nest.bound.is_empty() {
            let variable = builder.variable(piece.empty.unwrap_or(0.0), ty);
            return Ok(Running::Plain { variable, ty });
        }
        Ok(match piece.monoid {
            eq::Monoid::ArgMax(which) | eq::Monoid::ArgMin(which) => {
                let largest = matches!(piece.monoid, eq::Monoid::ArgMax(_));
                let ty = self.writer.real();
                let builder = &mut self.writer.builder;
                let start = if largest { f64::NEG_INFINITY } else { f64::INFINITY };
                Running::Best {
                    best: builder.variable(start, ty),
                    at: builder.variable(0.0, ValueType::I32),
                    seen: builder.variable(0.0, ValueType::Bool),
                    ty,
                    index: eq::IndexId(piece.free as u32 + which),
                    largest,
                }
            }
            eq::Monoid::Sum
            | eq::Monoid::Prod
            | eq::Monoid::Max
            | eq::Monoid::Min
            | eq::Monoid::Any
            | eq::Monoid::All => {
                let (monoid, start, ty) = match piece.monoid {
                    eq::Monoid::Prod => (plan::Monoid::Prod, 1.0, numeric(ty)),
                    eq::Monoid::Max => (plan::Monoid::Max, lowest(numeric(ty)), numeric(ty)),
                    eq::Monoid::Min => (plan::Monoid::Min, highest(numeric(ty)), numeric(ty)),
                    eq::Monoid::Any => (plan::Monoid::Any, 0.0, ValueType::Bool),
                    eq::Monoid::All => (plan::Monoid::All, 1.0, ValueType::Bool),
                    eq::Monoid::Sum | eq::Monoid::ArgMax(_) | eq::Monoid::ArgMin(_) => (plan::Monoid::Sum, 0.0, numeric(ty)),
                };
                Running::Fold { variable: builder.variable(start, ty), monoid, ty }
            }
        })
    }

    fn bound(&mut self, depth: usize, running: &Running, any: Option<plan::VariableId>) -> Result<(), Error> {
        let filters = self.filters.clone();
        let guards = self.env.lane_guards.len();
        let opened = self.apply_filters()?;
        match self.nest.bound.get(depth).cloned() {
            None => self.point(running, any)?,
            Some(l) => self.bound_loop(depth, &l, running, any)?,
        }
        for _ in 0..opened {
            self.writer.builder.close();
        }
        self.filters = filters;
        self.env.lane_guards.truncate(guards);
        Ok(())
    }

    fn bound_loop(&mut self, depth: usize, l: &Loop, running: &Running, any: Option<plan::VariableId>) -> Result<(), Error> {
        let lanes = depth + 1 == self.nest.bound.len() && self.nest.lanes == Lanes::Bound;
        if let (false, [index], Extent::Size(size)) = (lanes, l.indices.as_slice(), &l.extent)
            && let Some(count) = size.as_const().filter(|n| *n <= FEW / 2)
        {
            for at in 0..count {
                self.env.bind[index.0 as usize] = form::constant(Dim::from(at));
                self.env.open[index.0 as usize] = true;
                self.bound(depth + 1, running, any)?;
            }
            self.env.open[index.0 as usize] = false;
            return Ok(());
        }
        let mut from = Bound::Size(Dim::zero());
        let mut to = self.loop_bound(&l.extent)?;
        if let (false, [index]) = (lanes, l.indices.as_slice()) {
            self.narrow(*index, &mut from, &mut to)?;
        }
        let mode = if lanes { LoopMode::Lanes } else { LoopMode::Serial };
        let counter = self.writer.builder.open_loop(&loop_name(self.env.piece, l), from, to, mode);
        let was = self.in_lanes;
        self.in_lanes |= lanes;
        let rows = self.env.rows.clone();
        self.bind(l, form::index(counter));
        self.bound(depth + 1, running, any)?;
        for index in &l.indices {
            self.env.open[index.0 as usize] = false;
        }
        self.env.rows = rows;
        self.in_lanes = was;
        self.writer.builder.close();
        Ok(())
    }

    /// Affine conditions on a serial loop's index become its bounds.
    fn narrow(&mut self, index: eq::IndexId, from: &mut Bound, to: &mut Bound) -> Result<(), Error> {
        for filter in std::mem::take(&mut self.filters) {
            let usable = match filter {
                eq::Condition::NonNegative(affine) => {
                    let others = affine.terms.iter().all(|(i, _)| *i == index || self.env.open[i.0 as usize]);
                    let own = affine.terms.iter().find(|(i, c)| *i == index && c.abs() == 1);
                    own.filter(|_| others).map(|(_, coefficient)| (affine, *coefficient))
                }
                eq::Condition::Equal(_, _) | eq::Condition::Holds(_) => None,
            };
            let Some((affine, coefficient)) = usable else {
                self.filters.push(filter);
                continue;
            };
            let mut rest = affine.clone();
            rest.terms.retain(|(i, _)| *i != index);
            let rest = self.writer.affine(&self.env, &rest)?;
            // index >= -rest, or index < rest + 1.
            if coefficient == 1 {
                let low = form::scale(&rest, &Dim::from(-1));
                *from = self.tighter(from, &low, plan::BinaryOp::Max);
            } else {
                let high = form::add(rest, &form::constant(Dim::one()));
                *to = self.tighter(to, &high, plan::BinaryOp::Min);
            }
        }
        Ok(())
    }

    fn tighter(&mut self, bound: &Bound, other: &Address, op: plan::BinaryOp) -> Bound {
        if let (Bound::Size(a), Some(b)) = (bound, form::as_size(other))
            && let (Some(a), Some(b)) = (a.as_const(), b.as_const())
        {
            return Bound::Size(Dim::from(if op == plan::BinaryOp::Max { a.max(b) } else { a.min(b) }));
        }
        let builder = &mut self.writer.builder;
        let a = match bound {
            Bound::Size(size) => builder.size(size),
            Bound::Value(value) => *value,
        };
        let b = builder.number(other);
        Bound::Value(builder.value(ValueOp::Binary(op, a, b), ValueType::I64))
    }

    /// One point of the bound indices.
    fn point(&mut self, running: &Running, any: Option<plan::VariableId>) -> Result<(), Error> {
        if let Some(filter) = self.filters.first() {
            return Err(malformed(&self.env, format!("a filter names an index that is never bound: {filter:?}")));
        }
        let value = self.writer.expr(&self.env, &self.env.piece.body)?;
        // In lanes a condition selects instead of branching.
        let mut holds: Option<ValueId> = None;
        for guard in self.env.lane_guards.clone() {
            let builder = &mut self.writer.builder;
            let (number, zero) = (builder.number(&guard.form), builder.constant(0.0, ValueType::I64));
            let one = builder.value(ValueOp::Compare(plan::CompareOp::Ge, number, zero), ValueType::Bool);
            holds = Some(match holds {
                None => one,
                Some(others) => builder.value(ValueOp::Binary(plan::BinaryOp::And, others, one), ValueType::Bool),
            });
        }
        if let Some(any) = any {
            let yes = match holds {
                None => self.writer.builder.constant(1.0, ValueType::Bool),
                Some(holds) => holds,
            };
            self.writer.builder.combine(any, plan::Monoid::Any, yes);
        }
        match running {
            Running::Fold { variable, monoid, ty } => {
                let mut value = self.writer.typed(value, *ty);
                if let Some(holds) = holds {
                    let neutral = match monoid {
                        plan::Monoid::Sum | plan::Monoid::Any => 0.0,
                        plan::Monoid::Prod | plan::Monoid::All => 1.0,
                        plan::Monoid::Max => lowest(*ty),
                        plan::Monoid::Min => highest(*ty),
                    };
                    let neutral = self.writer.builder.constant(neutral, *ty);
                    value = self.writer.builder.value(ValueOp::Select(holds, value, neutral), *ty);
                }
                self.writer.builder.combine(*variable, *monoid, value);
            }
            Running::Plain { variable, ty } => {
                let mut value = self.writer.typed(value, *ty);
                if let Some(holds) = holds {
                    let otherwise = self.writer.builder.constant(self.env.piece.empty.unwrap_or(0.0), *ty);
                    value = self.writer.builder.value(ValueOp::Select(holds, value, otherwise), *ty);
                }
                self.writer.builder.assign(*variable, value);
            }
            Running::Best { best, at, seen, ty, index, largest } => {
                let value = self.writer.typed(value, *ty);
                let here = self.env.bind[index.0 as usize].clone();
                let builder = &mut self.writer.builder;
                let here = builder.number(&here);
                let here = builder.convert(here, ValueType::I32);
                let so_far = builder.read_variable(*best);
                // NaN counts as better than any number, and nothing is better than NaN.
                let worse = if *largest { plan::CompareOp::Le } else { plan::CompareOp::Ge };
                let worse = builder.value(ValueOp::Compare(worse, value, so_far), ValueType::Bool);
                let better = builder.value(ValueOp::Unary(plan::UnaryOp::Not, worse), ValueType::Bool);
                let number = builder.value(ValueOp::Compare(plan::CompareOp::Eq, so_far, so_far), ValueType::Bool);
                let better = builder.value(ValueOp::Binary(plan::BinaryOp::And, better, number), ValueType::Bool);
                let before = builder.read_variable(*seen);
                let none = builder.value(ValueOp::Unary(plan::UnaryOp::Not, before), ValueType::Bool);
                let mut take = builder.value(ValueOp::Binary(plan::BinaryOp::Or, better, none), ValueType::Bool);
                if let Some(holds) = holds {
                    take = builder.value(ValueOp::Binary(plan::BinaryOp::And, take, holds), ValueType::Bool);
                }
                let new_best = builder.value(ValueOp::Select(take, value, so_far), *ty);
                let place = builder.read_variable(*at);
                let new_place = builder.value(ValueOp::Select(take, here, place), ValueType::I32);
                let now = builder.value(ValueOp::Binary(plan::BinaryOp::Or, before, take), ValueType::Bool);
                builder.assign(*best, new_best);
                builder.assign(*at, new_place);
                builder.assign(*seen, now);
            }
        }
        Ok(())
    }
}

fn loop_name(piece: &eq::Piece, l: &Loop) -> String {
    l.indices.iter().map(|i| &*piece.indices[i.0 as usize].name).collect::<Vec<_>>().join("_")
}

fn extent_size(storage: &mut Storage, extent: &Extent) -> Dim {
    match extent {
        Extent::Size(size) => size.clone(),
        Extent::Rows(rows) => storage.total(rows),
        // The first free index of a batched equation is the batch.
        Extent::PerExample(dim, _) => dim.clone(),
    }
}

/// The value of a reduction over nothing.
pub(crate) fn identity(monoid: eq::Monoid) -> Option<f64> {
    match monoid {
        eq::Monoid::Sum | eq::Monoid::Any => Some(0.0),
        eq::Monoid::Prod | eq::Monoid::All => Some(1.0),
        eq::Monoid::Max => Some(f64::NEG_INFINITY),
        eq::Monoid::Min => Some(f64::INFINITY),
        eq::Monoid::ArgMax(_) | eq::Monoid::ArgMin(_) => Some(0.0),
    }
}

fn numeric(ty: ValueType) -> ValueType {
    if ty == ValueType::Bool { ValueType::I32 } else { ty }
}

fn lowest(ty: ValueType) -> f64 {
    match ty {
        ValueType::F32 | ValueType::F64 => f64::NEG_INFINITY,
        ValueType::I32 | ValueType::I64 | ValueType::Bool => f64::from(i32::MIN),
    }
}

fn highest(ty: ValueType) -> f64 {
    match ty {
        ValueType::F32 | ValueType::F64 => f64::INFINITY,
        ValueType::I32 | ValueType::I64 | ValueType::Bool => f64::from(i32::MAX),
    }
}
