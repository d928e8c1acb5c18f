//! One element of an equation's output in a kernel: its reduction, its conditions, its type.
//!
//! ```text
//! y[b, f] = sum[c | c <= b] x[b, c] * w[c, f]
//!   %acc = 0; for c in 0..min(C, b + 1): %acc += x * w
//! ```
//!
//! A condition that bounds a serial loop becomes the loop's bound. In a vectorised loop an affine condition guards the loads and
//! selects the value, so that nothing branches. Anything else is an `If` as far outside as its indices allow. Bound loops of a few
//! iterations are written out.

use crate::builder::value_type;
use crate::error::Error;
use crate::form;
use crate::layout::Storage;
use crate::loops::{Part, loop_name};
use crate::nest::{Extent, FEW, Loop};
use crate::scalar::{Env, Rows, Val, Writer, is_index, malformed, non_negative};
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan::{self as plan, Address, Bound, LoopMode, ValueId, ValueOp, ValueType};

/// A piece while its kernel is written.
pub(crate) struct Member<'p> {
    pub out: eq::TensorId,
    pub env: Env<'p>,
    pub bound: Vec<Loop>,
    pub stored: bool,
    sorted: Option<Sorted>,
    /// Conditions not yet applied.
    filters: Vec<&'p eq::Condition>,
    in_lanes: bool,
}

/// A reduction over the points whose key is a free index, by a table that holds the points sorted by key.
#[derive(Clone, Debug)]
pub(crate) struct Sorted {
    /// Which condition of the filter the table stands for.
    filter: usize,
    group: eq::IndexId,
    order: plan::BufferId,
    runs: plan::BufferId,
    /// Keys and groups within each example: the batch index, the groups of an example, the keys of an example.
    within: Option<(eq::IndexId, Dim, Dim)>,
}

/// `sum[b, t | v == token[b, t]]` over all of an input's keys, in order, is a loop over a run of a table. So is
/// `m[b, v] = sum[e | v == dst[b, e]]` where the groups v belong to the example.
pub(crate) fn sorted(program: &eq::Program, storage: &mut Storage, piece: &eq::Piece) -> Option<Sorted> {
    let keyed = piece.filter.iter().enumerate().filter_map(|(at, c)| match c {
        eq::Condition::Equal(form, eq::Expr::Read(keys)) => Some((at, form.as_index()?, keys)),
        eq::Condition::Equal(_, _) | eq::Condition::NonNegative(_) | eq::Condition::Holds(_) => None,
    });
    for (filter, group, keys) in keyed {
        let tensor = &program.tensors[keys.tensor.0 as usize];
        let given = matches!(tensor.role, eq::Role::Input { .. }) && tensor.dtype == eq::DType::I32;
        if !given || (group.0 as usize) >= piece.free || keys.otherwise.is_some() || piece.bound() == 0 {
            continue;
        }
        let groups = piece.range(group).clone();
        let batch = piece
            .free_ids()
            .find(|i| keys.subs.first().is_some_and(|s| is_index(s, *i)) && storage.is_batch(piece.range(*i)));
        // Tables hold the keys of all examples, also of those that do not run.
        if storage.depth() > 0 && batch.is_none() {
            continue;
        }
        let skip = usize::from(batch.is_some());
        let (subs, shape) = (keys.subs.get(skip..)?, tensor.shape.get(skip..)?);
        let all_keys = subs.len() == piece.bound()
            && piece.bound_ids().zip(subs).all(|(i, s)| is_index(s, i))
            && piece.bound_ids().zip(shape).all(|(i, dim)| piece.range(i) == dim);
        let ragged = shape.iter().any(|d| storage.names_example(d)) || storage.names_example(&groups);
        if !all_keys || storage.is_batch(&groups) || (ragged && batch.is_none()) {
            continue;
        }
        let (all_groups, within) = match batch {
            None => (groups, None),
            Some(batch) => {
                let of_home = |i: eq::IndexId| piece.indices[i.0 as usize].example.is_none();
                let all = if storage.names_example(&groups) {
                    storage.total(&groups)
                } else {
                    piece.range(batch).clone() * groups.clone()
                };
                let counted = all.as_var().is_some() || !storage.names_example(&groups);
                if shape.len() != 1 || !of_home(group) || !piece.bound_ids().all(of_home) || !counted {
                    continue;
                }
                (all, Some((batch, groups, shape[0].clone())))
            }
        };
        let keys = storage.place(program, keys.tensor).buffer;
        // One way of grouping for each list of keys: the executor sorts it once.
        let other = |b: &plan::Buffer| matches!(&b.place, plan::Place::Table(plan::Table::Runs { keys: k, groups: g }) if *k == keys && *g != all_groups);
        if storage.buffers.iter().any(other) {
            continue;
        }
        let order = storage.table(plan::Table::SortedBy { keys });
        let runs = storage.table(plan::Table::Runs { keys, groups: all_groups });
        return Some(Sorted { filter, group, order, runs, within });
    }
    None
}

/// The running result of a reduction.
pub(crate) enum Running {
    Fold {
        variable: plan::VariableId,
        monoid: plan::Monoid,
        ty: ValueType,
    },
    /// Largest (or smallest) value so far, where it was found, and whether there was any.
    Best {
        best: plan::VariableId,
        at: plan::VariableId,
        seen: plan::VariableId,
        ty: ValueType,
        index: eq::IndexId,
        largest: bool,
    },
    /// Nothing bound: the value itself, where the conditions hold.
    Plain {
        variable: plan::VariableId,
        ty: ValueType,
    },
}

impl Running {
    pub fn result(&self) -> plan::VariableId {
        match self {
            Running::Fold { variable, .. } | Running::Plain { variable, .. } => *variable,
            Running::Best { at, .. } => *at,
        }
    }
}

impl<'p> Member<'p> {
    pub fn new(part: &Part<'p>, bound: Vec<Loop>, sorted: Option<Sorted>) -> Member<'p> {
        let count = part.piece.indices.len();
        let env = Env {
            piece: part.piece,
            bind: vec![Address::default(); count],
            open: vec![false; count],
            rows: None,
            depths: Vec::new(),
            lane_guards: Vec::new(),
            origin: part.origin,
        };
        let others =
            part.piece.filter.iter().enumerate().filter(|(at, _)| sorted.as_ref().is_none_or(|s| s.filter != *at));
        let filters = others.map(|(_, c)| c).collect();
        Member { out: part.out, env, bound, stored: true, sorted, filters, in_lanes: false }
    }

    /// The loop's indices are known from here on.
    pub fn bind(&mut self, writer: &mut Writer, l: &Loop, counter: &Address) {
        let Some((last, others)) = l.indices.split_last() else { return };
        for index in others {
            self.env.bind[index.0 as usize] = Address::default();
            self.env.open[index.0 as usize] = true;
        }
        self.env.bind[last.0 as usize] = counter.clone();
        self.env.open[last.0 as usize] = true;
        for index in &l.indices {
            let counter = if index == last { counter.clone() } else { Address::default() };
            self.bind_row(writer, *index, counter);
        }
        // The loop over packed rows, alone or merged with what lies behind it.
        let [batch, position, ..] = l.indices.as_slice() else { return };
        let range = &self.env.piece.indices[position.0 as usize].range;
        if !writer.storage.names_example(range) {
            return;
        }
        let row = if *position == *last { counter.clone() } else { Address::default() };
        self.env.rows = Some(Rows { batch: *batch, position: *position, rows: range.clone(), row: row.clone() });
        let owner = writer.storage.table(plan::Table::Owner(range.clone()));
        let offsets = writer.storage.table(plan::Table::Offsets(range.clone()));
        let owner = form::value(writer.table_load(owner, row.clone()));
        let start = form::value(writer.table_load(offsets, owner.clone()));
        self.env.bind[batch.0 as usize] = owner;
        self.env.bind[position.0 as usize] = form::add(row, &form::scale(&start, &Dim::from(-1)));
    }

    /// In a loop over running examples a batch index counts its rows; what they are in the loops around is in the orders.
    fn bind_row(&mut self, writer: &mut Writer, index: eq::IndexId, row: Address) {
        let is_batch = writer.storage.is_batch(&self.env.piece.indices[index.0 as usize].range);
        if writer.storage.depth() == 0 || !is_batch {
            return;
        }
        let mut forms = vec![row];
        for frame in writer.storage.frames.clone().iter().rev() {
            let inner = forms[forms.len() - 1].clone();
            forms.push(form::value(writer.table_load(frame.order, inner)));
        }
        forms.reverse();
        self.env.bind[index.0 as usize] = forms[0].clone();
        self.env.depths.retain(|(known, _)| *known != index);
        self.env.depths.push((index, forms));
    }

    /// The loops over these indices are closed.
    pub fn leave(&mut self, indices: std::ops::Range<usize>) {
        self.env.open[indices].fill(false);
    }

    pub fn loop_bound(&self, writer: &mut Writer, extent: &Extent) -> Result<Bound, Error> {
        Ok(match extent {
            Extent::Size(size) => Bound::Size(size.clone()),
            Extent::Rows(rows) => Bound::Size(writer.storage.total(rows)),
            Extent::PerExample(dim, example) => {
                let form = writer.size_form(&self.env, dim, Some(*example))?;
                Bound::Value(writer.builder.number(&form))
            }
        })
    }

    fn element_type(&self, writer: &Writer) -> ValueType {
        value_type(writer.storage.dtype(writer.program.tensors[self.out.0 as usize].dtype))
    }

    /// In what a sum of the elements is taken.
    pub fn sum_type(&self, writer: &Writer) -> ValueType {
        numeric(self.element_type(writer))
    }

    /// What one point adds to a sum.
    pub fn summand(&self, writer: &mut Writer, ty: ValueType) -> Result<ValueId, Error> {
        writer.write_for(self.element_type(writer));
        let value = writer.expr(&self.env, &self.env.piece.body)?;
        Ok(writer.typed(value, ty))
    }

    /// The precision in which places are compared, of which the result does not tell.
    fn compared_type(&self, writer: &Writer) -> ValueType {
        let of_f64 = eq::types::of_expr(writer.program, &self.env.piece.body) == Ok(eq::types::Kind::F64);
        if of_f64 { ValueType::F64 } else { writer.real() }
    }

    pub fn to_element_type(&self, writer: &mut Writer, value: ValueId) -> ValueId {
        let ty = self.element_type(writer);
        writer.typed(Val::Is(value), ty)
    }

    /// The output's parameter and the address of this element.
    pub fn address(&self, writer: &mut Writer) -> Result<(u32, Address), Error> {
        let layout = writer.storage.place(writer.program, self.out).clone();
        let shape = &writer.program.tensors[self.out.0 as usize].shape;
        let subs: Vec<eq::Sub> = self.env.piece.at.iter().cloned().map(eq::Sub::Affine).collect();
        let forms = writer.subscripts(&self.env, &subs, shape, false)?;
        let at = writer.address(&self.env, &layout, &subs, &forms.forms);
        Ok((writer.parameter(&layout), at))
    }

    /// One element of the output.
    pub fn value(&mut self, writer: &mut Writer, in_lanes: bool, lanes_inside: bool) -> Result<ValueId, Error> {
        self.in_lanes = in_lanes;
        writer.write_for(self.element_type(writer));
        let piece = self.env.piece;
        if piece.bound() == 0 && piece.filter.is_empty() {
            let value = writer.expr(&self.env, &piece.body)?;
            let ty = self.element_type(writer);
            return Ok(writer.typed(value, ty));
        }
        let running = self.start(writer)?;
        // Is there a point at all? Only asked where the answer changes the value.
        let asked = piece.bound() > 0 && piece.empty.is_some_and(|e| e != piece.monoid.identity());
        let any = asked.then(|| writer.builder.variable(0.0, ValueType::Bool));
        match self.sorted.clone() {
            Some(sorted) => self.run_of_keys(writer, &sorted, &running, any)?,
            None => self.bound(writer, 0, lanes_inside, &running, any)?,
        }
        let result = writer.builder.read_variable(running.result());
        let (Some(any), Some(empty)) = (any, piece.empty) else { return Ok(result) };
        let any = writer.builder.read_variable(any);
        let ty = writer.builder.ty(result);
        let empty = writer.builder.constant(empty, ty);
        Ok(writer.builder.value(ValueOp::Select(any, result, empty), ty))
    }

    /// Declares the variables of the reduction.
    pub fn start(&self, writer: &mut Writer) -> Result<Running, Error> {
        let (piece, ty, compared) = (self.env.piece, self.element_type(writer), self.compared_type(writer));
        let builder = &mut writer.builder;
        if piece.bound() == 0 {
            let variable = builder.variable(piece.empty.unwrap_or(0.0), ty);
            return Ok(Running::Plain { variable, ty });
        }
        let (monoid, start, ty) = match piece.monoid {
            eq::Monoid::Sum => (plan::Monoid::Sum, 0.0, numeric(ty)),
            eq::Monoid::Prod => (plan::Monoid::Prod, 1.0, numeric(ty)),
            eq::Monoid::Max => (plan::Monoid::Max, lowest(numeric(ty)), numeric(ty)),
            eq::Monoid::Min => (plan::Monoid::Min, highest(numeric(ty)), numeric(ty)),
            eq::Monoid::Any => (plan::Monoid::Any, 0.0, ValueType::Bool),
            eq::Monoid::All => (plan::Monoid::All, 1.0, ValueType::Bool),
            eq::Monoid::ArgMax(which) | eq::Monoid::ArgMin(which) => {
                let largest = matches!(piece.monoid, eq::Monoid::ArgMax(_));
                let ty = compared;
                let start = if largest { f64::NEG_INFINITY } else { f64::INFINITY };
                return Ok(Running::Best {
                    best: builder.variable(start, ty),
                    at: builder.variable(0.0, ValueType::I32),
                    seen: builder.variable(0.0, ValueType::Bool),
                    ty,
                    index: eq::IndexId(piece.free as u32 + which),
                    largest,
                });
            }
        };
        Ok(Running::Fold { variable: builder.variable(start, ty), monoid, ty })
    }

    fn bound(
        &mut self,
        writer: &mut Writer,
        depth: usize,
        lanes_inside: bool,
        running: &Running,
        any: Option<plan::VariableId>,
    ) -> Result<(), Error> {
        let filters = self.filters.clone();
        let guards = self.env.lane_guards.len();
        let opened = self.apply_filters(writer)?;
        match self.bound.get(depth).cloned() {
            None => self.point(writer, running, any)?,
            Some(l) => self.bound_loop(writer, depth, &l, lanes_inside, running, any)?,
        }
        for _ in 0..opened {
            writer.builder.close();
        }
        self.filters = filters;
        self.env.lane_guards.truncate(guards);
        Ok(())
    }

    /// The points of one key, in order.
    fn run_of_keys(
        &mut self,
        writer: &mut Writer,
        sorted: &Sorted,
        running: &Running,
        any: Option<plan::VariableId>,
    ) -> Result<(), Error> {
        let mut group = self.env.bind[sorted.group.0 as usize].clone();
        let rows = self.env.rows.clone();
        if let Some((batch, groups, _)) = &sorted.within {
            let example = self.env.bind[batch.0 as usize].clone();
            let first = if writer.storage.names_example(groups) {
                let offsets = writer.storage.table(plan::Table::Offsets(groups.clone()));
                form::value(writer.table_load(offsets, example))
            } else {
                form::scale(&example, groups)
            };
            group = form::add(group, &first);
        }
        let from = writer.table_load(sorted.runs, group.clone());
        let to = writer.table_load(sorted.runs, form::add(group, &form::constant(Dim::one())));
        let [from, to] = [from, to].map(|v| writer.builder.convert(v, ValueType::I64));
        let counter = writer.builder.open_loop("n", Bound::Value(from), Bound::Value(to), LoopMode::Serial);
        let mut rest = form::value(writer.table_load_here(sorted.order, form::index(counter)));
        let loops = self.bound.clone();
        if let (Some((batch, _, keys)), [only]) = (&sorted.within, loops.as_slice()) {
            // A place among all keys of the batch, less where the example's begin.
            let example = self.env.bind[batch.0 as usize].clone();
            let (row, position) = (rest.clone(), only.indices[0]);
            let start = if writer.storage.names_example(keys) {
                self.env.rows = Some(Rows { batch: *batch, position, rows: keys.clone(), row });
                let offsets = writer.storage.table(plan::Table::Offsets(keys.clone()));
                form::value(writer.table_load(offsets, example))
            } else {
                form::scale(&example, keys)
            };
            rest = form::add(rest, &form::scale(&start, &Dim::from(-1)));
            self.env.bind[position.0 as usize] = rest.clone();
            self.env.open[position.0 as usize] = true;
            self.bound(writer, loops.len(), false, running, any)?;
            self.leave(self.env.piece.free..self.env.piece.indices.len());
            self.env.rows = rows;
            writer.builder.close();
            return Ok(());
        }
        let innermost_first: Vec<&Loop> = loops.iter().rev().collect();
        for (at, l) in innermost_first.iter().enumerate() {
            let Extent::Size(extent) = &l.extent else {
                return Err(malformed(&self.env, "keys of examples of different length".to_string()));
            };
            if at + 1 == innermost_first.len() {
                self.bind(writer, l, &rest);
                break;
            }
            let (number, by) = (writer.builder.number(&rest), writer.builder.size(extent));
            let place = writer.builder.value(ValueOp::Binary(plan::BinaryOp::Rem, number, by), ValueType::I64);
            rest = form::value(
                writer.builder.value(ValueOp::Binary(plan::BinaryOp::FloorDiv, number, by), ValueType::I64),
            );
            self.bind(writer, l, &form::value(place));
        }
        self.bound(writer, loops.len(), false, running, any)?;
        self.leave(self.env.piece.free..self.env.piece.indices.len());
        writer.builder.close();
        Ok(())
    }

    fn bound_loop(
        &mut self,
        writer: &mut Writer,
        depth: usize,
        l: &Loop,
        lanes_inside: bool,
        running: &Running,
        any: Option<plan::VariableId>,
    ) -> Result<(), Error> {
        let last = depth + 1 == self.bound.len();
        let argument = crate::nest::is_argument(self.env.piece.monoid);
        let lanes = lanes_inside
            && last
            && !argument
            && !crate::nest::is_few(l)
            && crate::nest::may_be_lanes(self.env.piece, l);
        if let (false, [index], Extent::Size(size)) = (lanes, l.indices.as_slice(), &l.extent)
            && let Some(count) = size.as_const().filter(|n| *n <= FEW / 2)
        {
            for at in 0..count {
                self.env.bind[index.0 as usize] = form::constant(Dim::from(at));
                self.env.open[index.0 as usize] = true;
                self.bound(writer, depth + 1, lanes_inside, running, any)?;
            }
            self.env.open[index.0 as usize] = false;
            return Ok(());
        }
        let mut from = Bound::Size(Dim::zero());
        let mut to = self.loop_bound(writer, &l.extent)?;
        if let (false, [index]) = (lanes, l.indices.as_slice()) {
            self.narrow(writer, *index, &mut from, &mut to)?;
        }
        let mode = if lanes { LoopMode::Lanes } else { LoopMode::Serial };
        let counter = writer.builder.open_loop(&loop_name(self.env.piece, l), from, to, mode);
        let (was, rows) = (self.in_lanes, self.env.rows.clone());
        self.in_lanes |= lanes;
        self.bind(writer, l, &form::index(counter));
        self.bound(writer, depth + 1, lanes_inside, running, any)?;
        for index in &l.indices {
            self.env.open[index.0 as usize] = false;
        }
        self.env.rows = rows;
        self.in_lanes = was;
        writer.builder.close();
        Ok(())
    }

    // -------------------------------------------------------------------------------------------- conditions

    /// Conditions whose indices are all known: an `If` each, or a guard in lanes. Returns how many `If`s.
    fn apply_filters(&mut self, writer: &mut Writer) -> Result<usize, Error> {
        let mut opened = 0;
        // Those that data decide come last: the others may say where the data are there.
        let (affine, by_data): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.filters).into_iter().partition(|c| matches!(c, eq::Condition::NonNegative(_)));
        for filter in affine.into_iter().chain(by_data) {
            if !self.known(writer, filter) || self.reads_too_early(filter) {
                self.filters.push(filter);
                continue;
            }
            if let (true, eq::Condition::NonNegative(affine)) = (self.in_lanes, filter) {
                let form = writer.affine(&self.env, affine)?;
                self.env.lane_guards.push(non_negative(form));
                continue;
            }
            let condition = writer.condition(&self.env, filter)?;
            writer.builder.open_if(condition);
            opened += 1;
        }
        Ok(opened)
    }

    fn known(&self, writer: &Writer, condition: &eq::Condition) -> bool {
        // A size of the example is known when the example is.
        let home = writer.home(&self.env).is_none_or(|h| self.env.open[h.0 as usize]);
        let open = |a: &eq::Affine| {
            let sizes = home || !writer.storage.names_example(&a.offset);
            sizes && a.terms.iter().all(|(i, _)| self.env.open[i.0 as usize])
        };
        let in_expr = |e: &eq::Expr| {
            let mut known = true;
            e.visit_affine(&mut |a| known &= open(a));
            known
        };
        match condition {
            eq::Condition::NonNegative(a) => open(a),
            eq::Condition::Equal(a, e) => open(a) && in_expr(e),
            eq::Condition::Holds(e) => in_expr(e),
        }
    }

    /// Does it read data at indices of which a condition that still waits may say where the data are there?
    fn reads_too_early(&self, condition: &eq::Condition) -> bool {
        let (eq::Condition::Equal(_, data) | eq::Condition::Holds(data)) = condition else { return false };
        let mut read_at: Vec<eq::IndexId> = Vec::new();
        data.visit_affine(&mut |at| read_at.extend(at.terms.iter().map(|(index, _)| *index)));
        self.filters.iter().any(|waits| match waits {
            eq::Condition::NonNegative(form) => form.terms.iter().any(|(index, _)| read_at.contains(index)),
            eq::Condition::Equal(_, _) | eq::Condition::Holds(_) => false,
        })
    }

    /// Affine conditions on a serial loop's index become its bounds.
    fn narrow(
        &mut self,
        writer: &mut Writer,
        index: eq::IndexId,
        from: &mut Bound,
        to: &mut Bound,
    ) -> Result<(), Error> {
        for filter in std::mem::take(&mut self.filters) {
            let usable = match filter {
                eq::Condition::NonNegative(affine) => {
                    let others = affine.terms.iter().all(|(i, _)| *i == index || self.env.open[i.0 as usize]);
                    let own = affine.coefficient(index);
                    let sizes = !writer.storage.names_example(&affine.offset)
                        || writer.home(&self.env).is_none_or(|h| self.env.open[h.0 as usize]);
                    (others && sizes && own.abs() == 1 && !self.in_lanes).then_some((affine, own))
                }
                eq::Condition::Equal(_, _) | eq::Condition::Holds(_) => None,
            };
            let Some((affine, coefficient)) = usable else {
                self.filters.push(filter);
                continue;
            };
            let rest = writer.affine(&self.env, &affine.without(index))?;
            // index >= -rest, or index < rest + 1.
            if coefficient == 1 {
                *from = tighter(writer, from, &form::scale(&rest, &Dim::from(-1)), plan::BinaryOp::Max);
            } else {
                *to = tighter(writer, to, &form::add(rest, &form::constant(Dim::one())), plan::BinaryOp::Min);
            }
        }
        Ok(())
    }

    // -------------------------------------------------------------------------------------------- points

    /// One point of the bound indices.
    pub fn point(
        &mut self,
        writer: &mut Writer,
        running: &Running,
        any: Option<plan::VariableId>,
    ) -> Result<(), Error> {
        if let Some(filter) = self.filters.first() {
            return Err(malformed(&self.env, format!("a filter names an index that is never bound: {filter:?}")));
        }
        writer.write_for(self.element_type(writer));
        let value = writer.expr(&self.env, &self.env.piece.body)?;
        // In lanes a condition selects instead of branching.
        let mut holds: Option<ValueId> = None;
        for guard in self.env.lane_guards.clone() {
            let builder = &mut writer.builder;
            let (number, zero) = (builder.number(&guard.form), builder.constant(0.0, ValueType::I64));
            let one = builder.value(ValueOp::Compare(plan::CompareOp::Ge, number, zero), ValueType::Bool);
            holds = Some(match holds {
                None => one,
                Some(others) => builder.value(ValueOp::Binary(plan::BinaryOp::And, others, one), ValueType::Bool),
            });
        }
        if let Some(any) = any {
            let yes = match holds {
                None => writer.builder.constant(1.0, ValueType::Bool),
                Some(holds) => holds,
            };
            writer.builder.combine(any, plan::Monoid::Any, yes);
        }
        let select = |writer: &mut Writer, value: ValueId, otherwise: f64, ty: ValueType| match holds {
            None => value,
            Some(holds) => {
                let otherwise = writer.builder.constant(otherwise, ty);
                writer.builder.value(ValueOp::Select(holds, value, otherwise), ty)
            }
        };
        match running {
            Running::Fold { variable, monoid, ty } => {
                let neutral = match monoid {
                    plan::Monoid::Sum | plan::Monoid::Any => 0.0,
                    plan::Monoid::Prod | plan::Monoid::All => 1.0,
                    plan::Monoid::Max => lowest(*ty),
                    plan::Monoid::Min => highest(*ty),
                };
                let value = writer.typed(value, *ty);
                let value = select(writer, value, neutral, *ty);
                writer.builder.combine(*variable, *monoid, value);
            }
            Running::Plain { variable, ty } => {
                let value = writer.typed(value, *ty);
                let value = select(writer, value, self.env.piece.empty.unwrap_or(0.0), *ty);
                writer.builder.assign(*variable, value);
            }
            Running::Best { best, at, seen, ty, index, largest } => {
                let value = writer.typed(value, *ty);
                let here = self.env.bind[index.0 as usize].clone();
                let builder = &mut writer.builder;
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

fn tighter(writer: &mut Writer, bound: &Bound, other: &Address, op: plan::BinaryOp) -> Bound {
    if let (Bound::Size(a), Some(b)) = (bound, form::as_size(other))
        && let (Some(a), Some(b)) = (a.as_const(), b.as_const())
    {
        return Bound::Size(Dim::from(if op == plan::BinaryOp::Max { a.max(b) } else { a.min(b) }));
    }
    let builder = &mut writer.builder;
    let a = match bound {
        Bound::Size(size) => builder.size(size),
        Bound::Value(value) => *value,
    };
    let b = builder.number(other);
    Bound::Value(builder.value(ValueOp::Binary(op, a, b), ValueType::I64))
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
