//! A `Lanes` loop: blocks of vectors, then the rest one by one.
//!
//! ```text
//! if from < to:
//!   values that all lanes share, once
//!   for i in from..main step L:   L lanes in vectors          L = 4, 8 or 16
//!   for i in main..to:            scalar
//!   accumulators into their variables
//! ```
//!
//! **Order of a reduction.** Lane i of the loop, i < 8 * floor(n / 8), is combined into accumulator i % 8; the remaining lanes
//! directly into the variable, in order; then the accumulators are joined as `((a0+a4)+(a2+a6)) + ((a1+a5)+(a3+a7))` and the result
//! combined into the variable. The order depends on the extent n alone.
//!
//! A loop that sums in f32 is cut into loops of 512 * 8 lanes first (see [`bdl_plan::chains`]).
//!
//! A loop whose control flow differs from lane to lane ([`Facts::divergent`](crate::facts::Facts)) runs in scalar code, with
//! the accumulators in memory: same order, same bits. A body that calls slice functions is cut into tiles (see `tiles`).

use super::rep::{Rep, lanes_of, scalar_type, vector_type};
use super::wide::{Wide, operations};
use super::{ACCUMULATORS, Accumulator, Emit, Emitter, Place, accumulator_vectors, memory};
use crate::facts::call_of;
use bdl_plan::{CHAIN, LoopIndex, Monoid, Stmt, ValueType, VariableId, chained};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, StackSlot, Value};
use cranelift_frontend::Variable;

/// Bodies with more statements than this are not unrolled twice.
const SMALL_BODY: usize = 24;

/// A variable that a `Lanes` loop reduces into.
pub struct Reduction {
    pub variable: VariableId,
    pub monoid: Monoid,
}

impl<'a> Emitter<'a> {
    pub fn lanes_loop(
        &mut self,
        index: LoopIndex,
        from: Value,
        to: Value,
        extent: Option<i64>,
        body: &'a [Stmt],
    ) -> Emit<()> {
        // Each accumulator has chains of its own.
        let longest = CHAIN * ACCUMULATORS as i64;
        if chained(self.kernel, extent, longest, body).is_empty() {
            return self.lanes_of(index, from, to, extent, body);
        }
        let extent = extent.filter(|n| n % longest == 0).map(|_| longest);
        self.counted(from, to, longest, |e, from| {
            let end = e.b.ins().iadd_imm_s(from, longest);
            let to = e.b.ins().smin(end, to);
            e.lanes_of(index, from, to, extent, body)
        })
    }

    fn lanes_of(
        &mut self,
        index: LoopIndex,
        from: Value,
        to: Value,
        extent: Option<i64>,
        body: &'a [Stmt],
    ) -> Emit<()> {
        let (inside, exit) = (self.b.create_block(), self.b.create_block());
        let some = self.b.ins().icmp(IntCC::SignedLessThan, from, to);
        self.b.ins().brif(some, inside, &[], exit, &[]);
        self.enter(inside);
        let mut reductions = Vec::new();
        self.find_reductions(body, &mut reductions);
        if self.facts.divergent[index.0 as usize] {
            self.lane_by_lane(index, from, to, body, &reductions)?;
        } else {
            let mut rest = Vec::new();
            for stmt in body {
                match stmt {
                    Stmt::Let { value, op } if !self.facts.varies(*value) => self.define(*value, op)?,
                    Stmt::Let { .. }
                    | Stmt::Loop { .. }
                    | Stmt::Variable { .. }
                    | Stmt::Combine { .. }
                    | Stmt::Assign { .. }
                    | Stmt::Store { .. }
                    | Stmt::If { .. } => rest.push(stmt),
                }
            }
            let tiled = rest.iter().any(|stmt| matches!(stmt, Stmt::Let { op, .. } if call_of(op).is_some()));
            let lanes = self.block_lanes(&rest, extent, !reductions.is_empty());
            self.begin_reductions(&reductions)?;
            let wide =
                self.wide_builder(index, extent, operations(&rest), &reductions, false).and_then(|mut builder| {
                    rest.iter().try_for_each(|stmt| builder.statement(stmt))?;
                    builder.finish()
                });
            let wide = wide.and_then(|body| self.import_wide(body, extent));
            if wide.is_none() && tiled {
                self.tiled_loop(index, from, to, extent, lanes, &rest)?;
            } else {
                let in_tile = |_: &mut Self, key| Err(format!("{key:?} in a loop without tiles"));
                let call = |e: &mut Self, wide: &Wide<'a>, n| e.call_wide(wide, index, from, n, &in_tile);
                self.wide_or_blocks(wide.as_ref(), call, from, to, lanes, extent, |e, i, in_block| {
                    let rep = if in_block { Rep::Ramp { base: i, step: 1 } } else { Rep::Uniform(i) };
                    e.indices[index.0 as usize] = Some((rep, e.depth));
                    rest.iter().try_for_each(|stmt| e.stmt(stmt))
                })?;
            }
            self.end_reductions(&reductions, from, to)?;
        }
        self.indices[index.0 as usize] = None;
        self.b.ins().jump(exit, &[]);
        self.enter(exit);
        Ok(())
    }

    /// As [`blocks`](Self::blocks) where the loop is not wide. Where it is, `call` runs so many lanes, and `body` is for those left over.
    #[allow(clippy::too_many_arguments)]
    pub fn wide_or_blocks(
        &mut self,
        wide: Option<&Wide<'a>>,
        call: impl FnOnce(&mut Self, &Wide<'a>, Value) -> Emit<()>,
        from: Value,
        to: Value,
        lanes: usize,
        extent: Option<i64>,
        mut body: impl FnMut(&mut Self, Value, bool) -> Emit<()>,
    ) -> Emit<()> {
        let Some(wide) = wide else { return self.blocks(from, to, lanes, extent, body) };
        let n = self.wide_lanes(wide, from, to);
        call(self, wide, n)?;
        if wide.leaves_rest() && extent.is_none_or(|n| n % ACCUMULATORS as i64 != 0) {
            let rest = self.b.ins().iadd(from, n);
            self.counted(rest, to, 1, |e, i| body(e, i, false))?;
        }
        Ok(())
    }

    /// Writes `body` twice: for blocks of `lanes` and for the lanes left over.
    pub fn blocks(
        &mut self,
        from: Value,
        to: Value,
        lanes: usize,
        extent: Option<i64>,
        mut body: impl FnMut(&mut Self, Value, bool) -> Emit<()>,
    ) -> Emit<()> {
        let mut rest = from;
        if lanes > 1 {
            let n = self.b.ins().isub(to, from);
            let whole = self.b.ins().band_imm_s(n, -(lanes as i64));
            let main = self.b.ins().iadd(from, whole);
            self.lanes = Some(lanes);
            self.counted(from, main, lanes as i64, |e, i| body(e, i, true))?;
            self.lanes = None;
            rest = main;
        }
        if lanes == 1 || extent.is_none_or(|n| n % lanes as i64 != 0) {
            self.counted(rest, to, 1, |e, i| body(e, i, false))?;
        }
        Ok(())
    }

    /// How many lanes a block has; 1 for scalar code only.
    fn block_lanes(&self, body: &[&Stmt], extent: Option<i64>, reduces: bool) -> usize {
        let mut size = 0;
        let mut wide = false;
        for stmt in body {
            self.measure(stmt, &mut size, &mut wide);
        }
        let most = if reduces || wide || size > SMALL_BODY { 8 } else { 16 };
        match extent {
            None => most,
            Some(n) if reduces => {
                if n < ACCUMULATORS as i64 {
                    1
                } else {
                    most
                }
            }
            Some(n) => [16, 8, 4]
                .into_iter()
                .filter(|&l| l <= most && l as i64 <= n)
                .find(|&l| n % l as i64 == 0 || n >= 4 * l as i64 || l == 4)
                .unwrap_or(1),
        }
    }

    fn measure(&self, stmt: &Stmt, size: &mut usize, wide: &mut bool) {
        *size += 1;
        match stmt {
            Stmt::Let { value, op: _ } => {
                *wide |= self.facts.varies(*value) && self.type_of(*value) == ValueType::F64;
            }
            Stmt::Loop { body, .. } | Stmt::If { body, .. } => body.iter().for_each(|s| self.measure(s, size, wide)),
            Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } | Stmt::Store { .. } => {}
        }
    }

    // ---------------------------------------------------------------- reductions

    /// Variables declared outside that the body combines into.
    pub fn find_reductions(&self, body: &[Stmt], found: &mut Vec<Reduction>) {
        for stmt in body {
            match stmt {
                Stmt::Combine { variable, monoid, value: _ } => {
                    let outer = !self.facts.lane_variable[variable.0 as usize];
                    if outer && found.iter().all(|r| r.variable != *variable) {
                        found.push(Reduction { variable: *variable, monoid: *monoid });
                    }
                }
                Stmt::Loop { body, .. } | Stmt::If { body, .. } => self.find_reductions(body, found),
                Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Assign { .. } | Stmt::Store { .. } => {}
            }
        }
    }

    fn begin_reductions(&mut self, reductions: &[Reduction]) -> Emit<()> {
        for Reduction { variable, monoid } in reductions {
            let ty = self.kernel.variables[variable.0 as usize];
            let identity = self.identity(*monoid, ty);
            let part = self.splat(identity, ty);
            let vectors = self.new_variables(vector_type(ty), &vec![part; accumulator_vectors(ty)]);
            self.accumulators.insert(*variable, Accumulator::Vectors(vectors));
        }
        Ok(())
    }

    fn end_reductions(&mut self, reductions: &[Reduction], from: Value, to: Value) -> Emit<()> {
        if reductions.is_empty() {
            return Ok(());
        }
        // Fewer lanes than accumulators: nothing was accumulated, and a neutral element must not touch -0.
        let n = self.b.ins().isub(to, from);
        let (join, exit) = (self.b.create_block(), self.b.create_block());
        let some = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, n, ACCUMULATORS as i64);
        self.b.ins().brif(some, join, &[], exit, &[]);
        self.enter(join);
        for Reduction { variable, monoid } in reductions {
            let ty = self.kernel.variables[variable.0 as usize];
            let Place::Scalar(outer) = self.place(*variable)? else {
                return Err("a reduction into lanes".to_string());
            };
            let total = match self.accumulators.remove(variable) {
                Some(Accumulator::Vectors(vs)) => self.join_vectors(&vs, *monoid, ty)?,
                Some(Accumulator::Slot(slot)) => self.join_slot(slot, *monoid, ty)?,
                None => return Err("a reduction without accumulators".to_string()),
            };
            let old = self.b.use_var(outer);
            let new = self.monoid(*monoid, old, total, ty)?;
            self.b.def_var(outer, new);
        }
        self.b.ins().jump(exit, &[]);
        self.enter(exit);
        Ok(())
    }

    fn join_vectors(&mut self, vs: &[Variable], monoid: Monoid, ty: ValueType) -> Emit<Value> {
        let mut parts: Vec<Value> = vs.iter().map(|v| self.b.use_var(*v)).collect();
        while parts.len() > 1 {
            let half = parts.len() / 2;
            parts = (0..half).map(|i| self.monoid(monoid, parts[i], parts[i + half], ty)).collect::<Emit<_>>()?;
        }
        let mut scalars: Vec<Value> = (0..lanes_of(ty)).map(|l| self.lane(&parts, ty, l)).collect();
        self.join_scalars(&mut scalars, monoid, ty)
    }

    fn join_slot(&mut self, slot: StackSlot, monoid: Monoid, ty: ValueType) -> Emit<Value> {
        let mut scalars: Vec<Value> =
            (0..ACCUMULATORS as i32).map(|i| self.b.ins().stack_load(I64, scalar_type(ty), slot, 8 * i)).collect();
        self.join_scalars(&mut scalars, monoid, ty)
    }

    fn join_scalars(&mut self, scalars: &mut Vec<Value>, monoid: Monoid, ty: ValueType) -> Emit<Value> {
        while scalars.len() > 1 {
            let half = scalars.len() / 2;
            *scalars =
                (0..half).map(|i| self.monoid(monoid, scalars[i], scalars[i + half], ty)).collect::<Emit<_>>()?;
        }
        Ok(scalars[0])
    }

    // ---------------------------------------------------------------- lane by lane

    fn lane_by_lane(
        &mut self,
        index: LoopIndex,
        from: Value,
        to: Value,
        body: &'a [Stmt],
        reductions: &[Reduction],
    ) -> Emit<()> {
        for Reduction { variable, monoid } in reductions {
            let ty = self.kernel.variables[variable.0 as usize];
            let identity = self.identity(*monoid, ty);
            let slot = self.slot(8 * ACCUMULATORS as u32);
            for i in 0..ACCUMULATORS as i32 {
                self.b.ins().stack_store(I64, identity, slot, 8 * i);
            }
            self.accumulators.insert(*variable, Accumulator::Slot(slot));
        }
        let n = self.b.ins().isub(to, from);
        let main = self.b.ins().band_imm_s(n, -(ACCUMULATORS as i64));
        let outer = self.lane_position.take();
        self.counted(from, to, 1, |e, i| {
            e.indices[index.0 as usize] = Some((Rep::Uniform(i), e.depth));
            let lane = e.b.ins().isub(i, from);
            e.lane_position = Some((lane, main));
            e.body(body)
        })?;
        self.lane_position = outer;
        self.end_reductions(reductions, from, to)
    }

    /// `Combine` in a loop that runs lane by lane.
    pub fn combine_in_slot(
        &mut self,
        outer: Variable,
        slot: StackSlot,
        combined: impl Fn(&mut Self, Value) -> Emit<Value>,
        ty: ValueType,
    ) -> Emit<()> {
        let (lane, main) = self.lane_position.ok_or("accumulators in memory outside of their loop")?;
        let (whole, rest, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let in_block = self.b.ins().icmp(IntCC::SignedLessThan, lane, main);
        self.b.ins().brif(in_block, whole, &[], rest, &[]);
        self.enter(whole);
        let number = self.b.ins().band_imm_s(lane, ACCUMULATORS as i64 - 1);
        let base = self.b.ins().stack_addr(I64, slot, 0);
        let off = self.b.ins().ishl_imm_u(number, 3);
        let at = self.b.ins().iadd(base, off);
        let old = self.b.ins().load(scalar_type(ty), memory::flags(), at, 0);
        let new = combined(self, old)?;
        self.b.ins().store(memory::flags(), new, at, 0);
        self.b.ins().jump(exit, &[]);
        self.enter(rest);
        let old = self.b.use_var(outer);
        let new = combined(self, old)?;
        self.b.def_var(outer, new);
        self.b.ins().jump(exit, &[]);
        self.enter(exit);
        Ok(())
    }
}
