//! A `Lanes` loop whose body calls slice functions, where it is not wide as a whole (see `wide`): the body is cut into segments between the
//! calls, and a tile of lanes goes through all segments before the next tile begins, so that what crosses a cut stays in the first-level
//! cache.
//!
//! ```text
//! v1 = load x[i]; v2 = exp(v1); v3 = v2 + v1; store y[i] = v3        becomes, for tiles of 256 lanes,
//!
//!   call        exp(n, x + t, v2's tile)
//!   segment 1   for j in tile: v1 = load x[t + j]; v3 = v2's tile[j] + v1; store y[t + j] = v3
//! ```
//!
//! A load that nothing before it can change is made again in each segment that wants it, and a call whose operand lies in a buffer lane by lane
//! reads it there: neither takes a tile.
//!
//! Statements move to the earliest segment in which their operands exist, so that independent calls share a cut. Statements that
//! write (stores, inner loops, combines) keep their order, and a load from a buffer that the kernel writes keeps its place among them.

use super::ops::fused_factors;
use super::rep::Rep;
use super::wide::{Body, Wide, operations};
use super::{Emit, Emitter, Place};
use crate::facts::call_of;
use bdl_plan::{Access, Address, AddressTerm, Bound, DType, LoopIndex, Stmt, ValueId, ValueOp, ValueType, VariableId};
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, StackSlot, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Lanes of a tile when few values cross cuts; fewer when many do.
const TILE: i64 = 256;
/// Bytes of stack that the tiles of one loop may take before they shrink: within a first-level cache of 32 kB.
const TILE_BYTES: i64 = 20 << 10;

/// What lies between two calls.
#[derive(Default)]
struct Segment<'a> {
    stmts: Vec<&'a Stmt>,
    /// Made after the statements.
    calls: Vec<(ValueId, &'static str, Vec<ValueId>)>,
}

/// The cut body, and what crosses the cuts.
#[derive(Default)]
struct Cut<'a> {
    segments: Vec<Segment<'a>>,
    /// Values that live in tiles: where they appear, and the last segment that wants them.
    crossing: BTreeMap<ValueId, (usize, usize)>,
    variables: BTreeMap<VariableId, (usize, usize)>,
    /// Loads that are made again wherever they are wanted.
    again: BTreeSet<ValueId>,
    /// Those of them that calls read where they lie.
    in_place: BTreeSet<ValueId>,
}

impl Cut<'_> {
    /// Does the value need no tile, because each segment makes it by itself?
    fn is_made_again(&self, value: ValueId, emitter: &Emitter) -> bool {
        self.again.contains(&value) || emitter.is_recomputed(value)
    }
}

/// What statements read and write.
#[derive(Default)]
struct Uses {
    values: BTreeSet<ValueId>,
    variables: BTreeSet<VariableId>,
    changes: BTreeSet<VariableId>,
    loads: BTreeSet<u32>,
    stores: BTreeSet<u32>,
}

impl Uses {
    fn address(&mut self, at: &Address) {
        for (term, _) in &at.terms {
            match term {
                AddressTerm::Value(v) => {
                    self.values.insert(*v);
                }
                AddressTerm::Index(_) => {}
            }
        }
    }

    fn op(&mut self, op: &ValueOp) {
        match op {
            ValueOp::Const(_) | ValueOp::Size(_) | ValueOp::Index(_) => {}
            ValueOp::Variable(v) => {
                self.variables.insert(*v);
            }
            ValueOp::Load { buffer, at, guards, otherwise: _ } => {
                self.loads.insert(*buffer);
                self.address(at);
                guards.iter().for_each(|g| self.address(&g.form));
            }
            ValueOp::Unary(_, a) | ValueOp::Convert(a) => {
                self.values.insert(*a);
            }
            ValueOp::Binary(_, a, b) | ValueOp::Compare(_, a, b) => self.values.extend([*a, *b]),
            ValueOp::Select(c, a, b) => self.values.extend([*c, *a, *b]),
        }
    }
}

impl<'a> Emitter<'a> {
    fn uses(&self, stmt: &Stmt, uses: &mut Uses) {
        match stmt {
            Stmt::Loop { index: _, from, to, mode: _, body } => {
                for bound in [from, to] {
                    match bound {
                        Bound::Value(v) => {
                            uses.values.insert(*v);
                        }
                        Bound::Size(_) => {}
                    }
                }
                body.iter().for_each(|s| self.uses(s, uses));
            }
            Stmt::Let { value: _, op } => uses.op(op),
            Stmt::Variable { variable, start } => {
                uses.values.insert(*start);
                uses.changes.insert(*variable);
            }
            Stmt::Combine { variable, monoid, value } => {
                let fused = fused_factors(self.facts.defs[value.0 as usize], self.type_of(*value), *monoid);
                match fused {
                    Some((x, y)) => uses.values.extend([x, y]),
                    None => {
                        uses.values.insert(*value);
                    }
                }
                uses.variables.insert(*variable);
                uses.changes.insert(*variable);
            }
            Stmt::Assign { variable, value } => {
                uses.values.insert(*value);
                uses.changes.insert(*variable);
            }
            Stmt::Store { buffer, at, value } => {
                uses.values.insert(*value);
                uses.address(at);
                uses.stores.insert(*buffer);
            }
            Stmt::If { condition, body } => {
                uses.values.insert(*condition);
                body.iter().for_each(|s| self.uses(s, uses));
            }
        }
    }

    /// Index values are cheaper to compute again than to keep.
    fn is_recomputed(&self, value: ValueId) -> bool {
        matches!(self.facts.defs[value.0 as usize], Some(ValueOp::Index(_)))
    }

    /// Loads in place of tiles, in a loop over `index`.
    fn make_again(&self, cut: &mut Cut<'a>, index: LoopIndex) {
        let mut stores = BTreeSet::new();
        let mut first_write = cut.segments.len();
        for (number, segment) in cut.segments.iter().enumerate() {
            for stmt in &segment.stmts {
                let mut uses = Uses::default();
                self.uses(stmt, &mut uses);
                if !uses.stores.is_empty() {
                    first_write = first_write.min(number);
                }
                stores.append(&mut uses.stores);
            }
        }
        for (value, (_, last)) in &cut.crossing {
            let Some(ValueOp::Load { buffer, at, guards, otherwise: _ }) = self.facts.defs[value.0 as usize] else {
                continue;
            };
            let by_index = at.terms.iter().all(|(term, _)| matches!(term, AddressTerm::Index(_)));
            let mut along = at.terms.iter().filter(|(term, _)| *term == AddressTerm::Index(index));
            let side_by_side =
                along.next().is_some_and(|(_, stride)| stride.as_const() == Some(1)) && along.next().is_none();
            if !guards.is_empty() || !by_index || !side_by_side || stores.contains(buffer) {
                continue;
            }
            // Segments end with their calls. What is written may be the memory that was read, at the same lane.
            let calls = |segment: &Segment| segment.calls.iter().any(|(_, _, operands)| operands.contains(value));
            let last_call = cut.segments.iter().rposition(calls);
            let as_it_lies = self.dtype(*buffer).is_ok_and(|dtype| {
                matches!((dtype, self.type_of(*value)), (DType::F32, ValueType::F32) | (DType::F64, ValueType::F64))
            });
            match last_call {
                Some(call) if !as_it_lies || call >= first_write || *last > first_write => continue,
                None if *last > first_write => continue,
                Some(_) => {
                    cut.in_place.insert(*value);
                }
                None => {}
            }
            cut.again.insert(*value);
        }
        for segment in &mut cut.segments {
            segment.stmts.retain(|stmt| !matches!(stmt, Stmt::Let { value, .. } if cut.again.contains(value)));
        }
    }

    fn cut(&self, body: &[&'a Stmt], index: LoopIndex) -> Cut<'a> {
        let mut available: BTreeMap<ValueId, usize> = BTreeMap::new();
        let mut variable_level: BTreeMap<VariableId, usize> = BTreeMap::new();
        let mut load_level: BTreeMap<u32, usize> = BTreeMap::new();
        let mut ordered = 0;
        let mut segments: Vec<Segment> = Vec::new();
        let mut cut = Cut::default();
        let at_level = |level: usize, segments: &mut Vec<Segment<'a>>| {
            while segments.len() <= level {
                segments.push(Segment::default());
            }
            level
        };
        for &stmt in body {
            let mut uses = Uses::default();
            self.uses(stmt, &mut uses);
            let mut level = 0;
            for value in &uses.values {
                level = level.max(available.get(value).copied().unwrap_or(0));
            }
            for variable in uses.variables.iter().chain(&uses.changes) {
                level = level.max(variable_level.get(variable).copied().unwrap_or(0));
            }
            let moves = match stmt {
                Stmt::Let { .. } => uses.loads.iter().any(|b| self.is_written(*b)),
                Stmt::Variable { .. } => false,
                Stmt::Loop { .. }
                | Stmt::Combine { .. }
                | Stmt::Assign { .. }
                | Stmt::Store { .. }
                | Stmt::If { .. } => true,
            };
            if moves {
                level = level.max(ordered);
                for buffer in &uses.stores {
                    level = level.max(load_level.get(buffer).copied().unwrap_or(0));
                }
                if !matches!(stmt, Stmt::Let { .. }) {
                    ordered = level;
                }
            }
            for buffer in &uses.loads {
                let entry = load_level.entry(*buffer).or_insert(0);
                *entry = (*entry).max(level);
            }
            for value in &uses.values {
                if let Some((_, last)) = cut.crossing.get_mut(value) {
                    *last = (*last).max(level);
                }
            }
            for variable in uses.variables.iter().chain(&uses.changes) {
                if let Some((_, last)) = cut.variables.get_mut(variable) {
                    *last = (*last).max(level);
                }
            }
            for variable in &uses.changes {
                variable_level.insert(*variable, level);
            }
            let level = at_level(level, &mut segments);
            match stmt {
                Stmt::Let { value, op } => match call_of(op) {
                    Some((name, operands)) => {
                        segments[level].calls.push((*value, name, operands));
                        // The result is there for the next segment.
                        available.insert(*value, level + 1);
                        cut.crossing.insert(*value, (level, level));
                        at_level(level + 1, &mut segments);
                    }
                    None => {
                        available.insert(*value, level);
                        cut.crossing.insert(*value, (level, level));
                        segments[level].stmts.push(stmt);
                    }
                },
                Stmt::Variable { variable, start: _ } => {
                    cut.variables.insert(*variable, (level, level));
                    segments[level].stmts.push(stmt);
                }
                Stmt::Loop { .. }
                | Stmt::Combine { .. }
                | Stmt::Assign { .. }
                | Stmt::Store { .. }
                | Stmt::If { .. } => {
                    segments[level].stmts.push(stmt);
                }
            }
        }
        // Operands of calls need a tile in any case; other values only when a later segment reads them.
        let operands: BTreeSet<ValueId> =
            segments.iter().flat_map(|s| s.calls.iter().flat_map(|(_, _, o)| o.iter().copied())).collect();
        let results: BTreeSet<ValueId> = segments.iter().flat_map(|s| s.calls.iter().map(|(v, _, _)| *v)).collect();
        cut.crossing.retain(|value, (first, last)| last > first || operands.contains(value) || results.contains(value));
        cut.variables.retain(|_, (first, last)| last > first);
        cut.segments = segments;
        self.make_again(&mut cut, index);
        cut
    }

    fn is_written(&self, buffer: u32) -> bool {
        match self.kernel.buffers.get(buffer as usize).map(|b| b.access) {
            Some(Access::Read) | None => false,
            Some(Access::Write | Access::Update) => true,
        }
    }

    pub fn tiled_loop(
        &mut self,
        index: LoopIndex,
        from: Value,
        to: Value,
        extent: Option<i64>,
        lanes: usize,
        body: &[&'a Stmt],
    ) -> Emit<()> {
        let cut = self.cut(body, index);
        let (slots, lane_bytes) = self.plan_slots(&cut);
        let mut tile = TILE;
        while tile > 64 && tile * lane_bytes > TILE_BYTES {
            tile /= 2;
        }
        if let Some(n) = extent {
            tile = tile.min((n + 15) & !15);
        }
        let physical: Vec<StackSlot> = slots.physical.iter().map(|shift| self.slot((tile << shift) as u32)).collect();
        let pointer = |e: &mut Self, key: Key| {
            let slot = physical[slots.of[&key]];
            e.b.ins().stack_addr(I64, slot, 0)
        };
        // Within a tile the rest is known only for a loop of one tile.
        let inner_extent = extent.filter(|n| *n <= tile || n % 16 == 0);
        let wide: Vec<Option<Wide>> = (0..cut.segments.len())
            .map(|number| {
                let body = self.wide_segment(index, inner_extent, number, &cut)?;
                self.import_wide(body, inner_extent)
            })
            .collect();
        self.counted(from, to, tile, |e, start| {
            let left = e.b.ins().isub(to, start);
            let most = e.b.ins().iconst(I64, tile);
            let n = e.b.ins().smin(left, most);
            for (number, segment) in cut.segments.iter().enumerate() {
                e.fill_uniform_operands(segment, &slots, &pointer, n, lanes, inner_extent)?;
                if !segment.stmts.is_empty() {
                    let zero = e.b.ins().iconst(I64, 0);
                    let call = |e: &mut Self, wide: &Wide<'a>, n| {
                        e.call_wide(wide, index, start, n, &|e, key| Ok(pointer(e, key)))
                    };
                    e.wide_or_blocks(wide[number].as_ref(), call, zero, n, lanes, inner_extent, |e, j, in_block| {
                        e.segment(index, start, j, in_block, number, segment, &cut, &pointer)
                    })?;
                }
                for (value, name, operands) in &segment.calls {
                    let ty = e.type_of(*value);
                    let mut inputs = Vec::with_capacity(operands.len());
                    for (i, operand) in operands.iter().enumerate() {
                        let key = if slots.of.contains_key(&Key::Value(*operand)) {
                            Key::Value(*operand)
                        } else {
                            Key::Operand(*value, i)
                        };
                        inputs.push(match e.facts.defs[operand.0 as usize] {
                            Some(ValueOp::Load { buffer, at, .. }) if cut.in_place.contains(operand) => {
                                e.indices[index.0 as usize] = Some((Rep::Uniform(start), e.depth));
                                e.slice(*buffer, at)?
                            }
                            Some(_) | None => pointer(e, key),
                        });
                    }
                    let out = pointer(e, Key::Value(*value));
                    e.call_slices(name, n, &inputs, out, ty)?;
                }
            }
            Ok(())
        })
    }

    /// A segment as a block of a wide function.
    fn wide_segment(&self, index: LoopIndex, extent: Option<i64>, number: usize, cut: &Cut<'a>) -> Option<Body<'a>> {
        let segment = &cut.segments[number];
        let mut reductions = Vec::new();
        let mut uses = Uses::default();
        for stmt in &segment.stmts {
            self.find_reductions(std::slice::from_ref(*stmt), &mut reductions);
            self.uses(stmt, &mut uses);
        }
        let mut builder = self.wide_builder(index, extent, operations(&segment.stmts), &reductions, true)?;
        for value in self.wanted(number, cut, &uses) {
            if cut.is_made_again(value, self) {
                builder.define(value, self.facts.defs[value.0 as usize]?)?;
            } else {
                builder.read_tile(value, Key::Value(value))?;
            }
        }
        for stmt in &segment.stmts {
            builder.statement(stmt)?;
            if let Stmt::Let { value, .. } = stmt
                && cut.crossing.contains_key(value)
                && !cut.is_made_again(*value, self)
            {
                builder.write_tile(*value, Key::Value(*value))?;
            }
        }
        (!segment.stmts.is_empty() && cut.variables.is_empty()).then(|| builder.finish())?
    }

    /// What earlier segments, or calls, left for a segment that uses this.
    fn wanted(&self, number: usize, cut: &Cut<'a>, uses: &Uses) -> Vec<ValueId> {
        let is_call = |value: ValueId| self.facts.defs[value.0 as usize].is_some_and(|op| call_of(op).is_some());
        let wanted = cut.crossing.iter().filter(|(value, (first, _))| {
            uses.values.contains(value) && (*first < number || is_call(**value) || cut.again.contains(value))
        });
        wanted.map(|(value, _)| *value).collect()
    }

    /// Operands of a call that do not vary are written once a tile.
    fn fill_uniform_operands(
        &mut self,
        segment: &Segment<'a>,
        slots: &Slots,
        pointer: &impl Fn(&mut Self, Key) -> Value,
        n: Value,
        lanes: usize,
        extent: Option<i64>,
    ) -> Emit<()> {
        for (value, _, operands) in &segment.calls {
            for (i, operand) in operands.iter().enumerate() {
                let key = Key::Operand(*value, i);
                if !slots.of.contains_key(&key) {
                    continue;
                }
                let ty = self.type_of(*operand);
                let rep = self.rep(*operand)?;
                let zero = self.b.ins().iconst(I64, 0);
                self.blocks(zero, n, lanes, extent, |e, j, in_block| {
                    let base = pointer(e, key);
                    e.spill(&rep, base, j, ty, in_block)
                })?;
            }
        }
        Ok(())
    }

    fn spill(&mut self, rep: &Rep, base: Value, j: Value, ty: ValueType, in_block: bool) -> Emit<()> {
        if in_block {
            let parts = self.parts_of(rep.clone(), ty)?;
            let at = self.slot_pointer(base, j, ty);
            self.spill_vectors(&parts, at, ty);
        } else {
            let Rep::Uniform(v) = rep else { return Err("lanes in scalar code".to_string()) };
            self.spill_scalar(*v, base, j, ty);
        }
        Ok(())
    }

    fn reload(&mut self, base: Value, j: Value, ty: ValueType, in_block: bool) -> Rep {
        let at = self.slot_pointer(base, j, ty);
        match self.lanes {
            Some(lanes) if in_block => Rep::Lanes(self.reload_vectors(at, ty, lanes)),
            Some(_) | None => Rep::Uniform(self.reload_scalar(at, ty)),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn segment(
        &mut self,
        index: LoopIndex,
        start: Value,
        j: Value,
        in_block: bool,
        number: usize,
        segment: &Segment<'a>,
        cut: &Cut<'a>,
        pointer: &impl Fn(&mut Self, Key) -> Value,
    ) -> Emit<()> {
        let i = self.b.ins().iadd(start, j);
        let rep = if in_block { Rep::Ramp { base: i, step: 1 } } else { Rep::Uniform(i) };
        self.indices[index.0 as usize] = Some((rep, self.depth));
        let mut uses = Uses::default();
        segment.stmts.iter().for_each(|s| self.uses(s, &mut uses));
        for value in self.wanted(number, cut, &uses) {
            let op = self.facts.defs[value.0 as usize];
            let again = cut.is_made_again(value, self);
            let rep = if again {
                let op = op.ok_or("a value without definition")?;
                self.op(op, self.type_of(value))?
            } else {
                let base = pointer(self, Key::Value(value));
                self.reload(base, j, self.type_of(value), in_block)
            };
            self.values[value.0 as usize] = Some((rep, self.depth));
        }
        for (variable, (first, last)) in &cut.variables {
            if *first < number && number <= *last {
                let ty = self.kernel.variables[variable.0 as usize];
                let base = pointer(self, Key::Variable(*variable));
                let rep = self.reload(base, j, ty, in_block);
                self.variables[variable.0 as usize] = Some(match rep {
                    Rep::Uniform(v) => Place::Scalar(self.new_variables(super::scalar_type(ty), &[v])[0]),
                    Rep::Lanes(parts) => Place::Lanes(self.new_variables(super::vector_type(ty), &parts)),
                    Rep::Ramp { .. } => return Err("a variable that counts".to_string()),
                });
            }
        }
        for stmt in &segment.stmts {
            self.stmt(stmt)?;
            if let Stmt::Let { value, .. } = stmt
                && cut.crossing.contains_key(value)
                && !cut.is_made_again(*value, self)
            {
                let rep = self.rep(*value)?;
                let base = pointer(self, Key::Value(*value));
                self.spill(&rep, base, j, self.type_of(*value), in_block)?;
            }
        }
        for (variable, (first, last)) in &cut.variables {
            if *first <= number && number < *last {
                let ty = self.kernel.variables[variable.0 as usize];
                let rep = self.read_variable(*variable)?;
                let base = pointer(self, Key::Variable(*variable));
                self.spill(&rep, base, j, ty, in_block)?;
            }
        }
        Ok(())
    }

    /// Which values share a tile: a tile is free again after the last segment that reads it.
    fn plan_slots(&self, cut: &Cut) -> (Slots, i64) {
        let mut slots = Slots::default();
        let mut free: Vec<usize> = Vec::new();
        let mut busy: Vec<(usize, usize)> = Vec::new();
        let take = |slots: &mut Slots, free: &mut Vec<usize>, shift: i64| match free
            .iter()
            .position(|s| slots.physical[*s] == shift)
        {
            Some(i) => free.swap_remove(i),
            None => {
                slots.physical.push(shift);
                slots.physical.len() - 1
            }
        };
        for (number, segment) in cut.segments.iter().enumerate() {
            busy.retain(|(last, slot)| {
                if *last < number {
                    free.push(*slot);
                }
                *last >= number
            });
            let mut defined: Vec<(Key, ValueType, usize)> = Vec::new();
            for (value, (first, last)) in &cut.crossing {
                let is_result = segment.calls.iter().any(|(v, _, _)| v == value);
                if *first == number && !is_result && !cut.is_made_again(*value, self) {
                    defined.push((Key::Value(*value), self.type_of(*value), *last));
                }
            }
            for (variable, (first, last)) in &cut.variables {
                if *first == number {
                    let ty = self.kernel.variables[variable.0 as usize];
                    defined.push((Key::Variable(*variable), ty, *last));
                }
            }
            for (value, _, operands) in &segment.calls {
                for (i, operand) in operands.iter().enumerate() {
                    let has_none = !cut.crossing.contains_key(operand) || cut.is_made_again(*operand, self);
                    if has_none && !cut.in_place.contains(operand) {
                        defined.push((Key::Operand(*value, i), self.type_of(*operand), number));
                    }
                }
                let last = cut.crossing.get(value).map_or(number, |(_, last)| *last);
                defined.push((Key::Value(*value), self.type_of(*value), last));
            }
            for (key, ty, last) in defined {
                let slot = take(&mut slots, &mut free, Self::slot_shift(ty));
                slots.of.insert(key, slot);
                busy.push((last, slot));
            }
        }
        let bytes = slots.physical.iter().map(|shift| 1 << shift).sum();
        (slots, bytes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Value(ValueId),
    Variable(VariableId),
    /// Operand number .1 of the call that gives .0, when it does not vary.
    Operand(ValueId, usize),
}

#[derive(Default)]
struct Slots {
    of: BTreeMap<Key, usize>,
    /// log2 of the bytes of a lane.
    physical: Vec<i64>,
}
