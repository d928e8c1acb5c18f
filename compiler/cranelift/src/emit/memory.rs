//! Addresses, loads, stores and guards.
//!
//! An address is a sum of stride times term. Its parts are added in order of loop depth, so that what does not change in an inner
//! loop is computed outside of it; constants go into the instruction's offset. In a block of lanes the step from lane to lane
//! decides: 0 is one scalar load for all, 1 a vector load or store, anything else lane by lane.
//!
//! Nothing is read where a guard fails: a guard that all lanes share is a branch around the load; one that differs from lane to lane is
//! tested for the whole block (all inside: the fast path; all outside: the default), and lane by lane only for blocks on the border.

use super::rep::{Rep, lanes_of, reinterpret, scalar_type, vector_type};
use super::{DimValue, Emit, Emitter};
use bdl_plan::{Address, AddressTerm, DType, Guard, ValueId, ValueType};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, F64, F64X2, I8, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Value};

/// The type of a loaded element.
pub fn register_type(dtype: DType) -> ValueType {
    match dtype {
        DType::F32 | DType::BF16 => ValueType::F32,
        DType::F64 => ValueType::F64,
        DType::I32 => ValueType::I32,
        DType::I64 => ValueType::I64,
        DType::Bool => ValueType::Bool,
    }
}

fn shift_of(dtype: DType) -> i64 {
    match dtype {
        DType::F32 | DType::I32 => 2,
        DType::F64 | DType::I64 => 3,
        DType::BF16 => 1,
        DType::Bool => 0,
    }
}

pub fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// `base + constant + lane * step + varying[lane]`, in bytes for an address and units for a guard.
struct Sum {
    base: Value,
    constant: i64,
    step: DimValue,
    varying: Vec<(Vec<Value>, DimValue)>,
}

impl Sum {
    fn is_uniform(&self) -> bool {
        self.varying.is_empty() && self.step.as_const() == Some(0)
    }
}

impl Emitter<'_> {
    /// The sum of an address from `start` on, every term shifted left.
    fn sum(&mut self, at: &Address, start: Option<Value>, shift: i64) -> Emit<Sum> {
        let mut uniform: Vec<(u32, Value, DimValue)> = Vec::new();
        let mut step = DimValue::Const(0);
        let mut varying = Vec::new();
        let mut constant = 0;
        match self.dim(&at.offset) {
            DimValue::Const(c) => constant = c << shift,
            DimValue::Value(v) => uniform.push((0, v, DimValue::Const(1))),
        }
        for (term, stride) in &at.terms {
            let stride = self.dim(stride);
            let ((rep, depth), narrow) = match term {
                AddressTerm::Index(index) => (self.index_at(*index)?, false),
                AddressTerm::Value(value) => (
                    self.values[value.0 as usize].clone().ok_or("an address uses a value out of scope")?,
                    self.type_of(*value) == ValueType::I32,
                ),
            };
            match rep {
                Rep::Uniform(v) => {
                    let v = if narrow { self.b.ins().sextend(I64, v) } else { v };
                    uniform.push((depth, v, stride));
                }
                Rep::Ramp { base, step: by } => {
                    uniform.push((depth, base, stride));
                    let more = stride.times(by, self);
                    step = step.plus(more, self);
                }
                Rep::Lanes(parts) => {
                    let parts = if narrow { self.mask_64(&parts) } else { parts };
                    varying.push((parts, stride));
                }
            }
        }
        uniform.sort_by_key(|(depth, _, _)| *depth);
        let mut base = start;
        for (_, v, stride) in uniform {
            let term = self.scaled(v, stride, shift);
            base = Some(match base {
                Some(base) => self.b.ins().iadd(base, term),
                None => term,
            });
        }
        let base = match base {
            Some(base) => base,
            None => self.b.ins().iconst(I64, 0),
        };
        let step = match step {
            DimValue::Const(c) => DimValue::Const(c << shift),
            DimValue::Value(_) => DimValue::Value(self.scaled_dim(step, shift)),
        };
        let varying = varying
            .into_iter()
            .map(|(parts, stride)| {
                let stride = match stride {
                    DimValue::Const(c) => DimValue::Const(c << shift),
                    DimValue::Value(_) => DimValue::Value(self.scaled_dim(stride, shift)),
                };
                (parts, stride)
            })
            .collect();
        Ok(Sum { base, constant, step, varying })
    }

    fn scaled_dim(&mut self, dim: DimValue, shift: i64) -> Value {
        let v = dim.value(self);
        if shift == 0 { v } else { self.b.ins().ishl_imm_u(v, shift) }
    }

    /// `(v * stride) << shift`.
    fn scaled(&mut self, v: Value, stride: DimValue, shift: i64) -> Value {
        match stride {
            DimValue::Const(1) if shift == 0 => v,
            DimValue::Const(c) if c > 0 && (c as u64).is_power_of_two() => {
                let total = i64::from(c.trailing_zeros()) + shift;
                if total == 0 { v } else { self.b.ins().ishl_imm_u(v, total) }
            }
            DimValue::Const(c) => self.b.ins().imul_imm_s(v, c << shift),
            DimValue::Value(s) => {
                let product = self.b.ins().imul(v, s);
                if shift == 0 { product } else { self.b.ins().ishl_imm_u(product, shift) }
            }
        }
    }

    /// The sum at one lane, as base and constant.
    fn sum_at(&mut self, sum: &Sum, lane: usize) -> (Value, i64) {
        let (mut base, mut constant) = (sum.base, sum.constant);
        match sum.step {
            DimValue::Const(c) => constant += c * lane as i64,
            DimValue::Value(s) if lane > 0 => {
                let off = self.b.ins().imul_imm_s(s, lane as i64);
                base = self.b.ins().iadd(base, off);
            }
            DimValue::Value(_) => {}
        }
        for (parts, stride) in &sum.varying {
            let element = self.lane(parts, ValueType::I64, lane);
            let term = self.scaled(element, *stride, 0);
            base = self.b.ins().iadd(base, term);
        }
        (base, constant)
    }

    /// Base with a constant that the instruction's offset cannot hold added to it.
    fn fold(&mut self, base: Value, constant: i64) -> (Value, i32) {
        // Room for the vectors of a block behind it.
        if (-(1 << 30)..1 << 30).contains(&constant) {
            (base, constant as i32)
        } else {
            (self.b.ins().iadd_imm_s(base, constant), 0)
        }
    }

    // ---------------------------------------------------------------- loads

    pub fn load(&mut self, buffer: u32, at: &Address, guards: &[Guard], otherwise: f64, ty: ValueType) -> Emit<Rep> {
        let dtype = self.dtype(buffer)?;
        if register_type(dtype) != ty {
            return Err(format!("a load of {dtype:?} gives no {ty:?}"));
        }
        let mut shared: Option<Value> = None;
        let mut by_lane = Vec::new();
        for guard in guards {
            let form = self.sum(&guard.form, None, 0)?;
            let extent = self.extent(&guard.extent);
            if form.is_uniform() {
                let inside = self.inside(&form, extent, 0);
                shared = Some(match shared {
                    Some(all) => self.b.ins().band(all, inside),
                    None => inside,
                });
            } else {
                by_lane.push((form, extent));
            }
        }
        let start = self.buffers[buffer as usize];
        let place = self.sum(at, Some(start), shift_of(dtype))?;
        if by_lane.is_empty() {
            let Some(inside) = shared else { return self.load_inside(&place, dtype) };
            return self.branch(
                inside,
                ty,
                place.is_uniform(),
                |e| e.load_inside(&place, dtype),
                |e| Ok(Rep::Uniform(e.constant(otherwise, ty))),
            );
        }
        let simple = by_lane.iter().all(|(form, _)| form.varying.is_empty());
        let guarded = |e: &mut Self| -> Emit<Rep> {
            if !simple {
                return e.load_by_lane(&place, &by_lane, dtype, otherwise);
            }
            let last = e.lanes.ok_or("a guard by lane in scalar code")? - 1;
            let (mut all, mut none): (Option<Value>, Option<Value>) = (None, None);
            for (form, extent) in &by_lane {
                let (first_in, last_in) = (e.inside(form, *extent, 0), e.inside(form, *extent, last));
                let both = e.b.ins().band(first_in, last_in);
                let ((f, fc), (l, lc)) = (e.sum_at(form, 0), e.sum_at(form, last));
                let (f, l) = (e.b.ins().iadd_imm_s(f, fc), e.b.ins().iadd_imm_s(l, lc));
                // Outside at the same end: both negative, or both at or past the extent.
                let signs = e.b.ins().band(f, l);
                let below = e.b.ins().icmp_imm_s(IntCC::SignedLessThan, signs, 0);
                let bound = extent.value(e);
                let (fp, lp) = (
                    e.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, f, bound),
                    e.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, l, bound),
                );
                let above = e.b.ins().band(fp, lp);
                let outside = e.b.ins().bor(below, above);
                all = Some(all.map_or(both, |a| e.b.ins().band(a, both)));
                none = Some(none.map_or(outside, |n| e.b.ins().bor(n, outside)));
            }
            let (Some(all), Some(none)) = (all, none) else { return Err("no guards".to_string()) };
            e.branch(
                all,
                ty,
                false,
                |e| e.load_inside(&place, dtype),
                |e| {
                    e.branch(
                        none,
                        ty,
                        false,
                        |e| Ok(Rep::Uniform(e.constant(otherwise, ty))),
                        |e| e.load_by_lane(&place, &by_lane, dtype, otherwise),
                    )
                },
            )
        };
        match shared {
            None => guarded(self),
            Some(inside) => self.branch(inside, ty, false, guarded, |e| Ok(Rep::Uniform(e.constant(otherwise, ty)))),
        }
    }

    /// Do guards that all lanes share hold?
    pub fn guards_hold(&mut self, guards: &[Guard]) -> Emit<Value> {
        let mut all: Option<Value> = None;
        for guard in guards {
            let form = self.sum(&guard.form, None, 0)?;
            let extent = self.extent(&guard.extent);
            let inside = self.inside(&form, extent, 0);
            all = Some(match all {
                Some(all) => self.b.ins().band(all, inside),
                None => inside,
            });
        }
        all.ok_or_else(|| "no guards".to_string())
    }

    /// `0 <= form < extent` at one lane; the extent is not negative.
    fn inside(&mut self, form: &Sum, extent: DimValue, lane: usize) -> Value {
        let (base, constant) = self.sum_at(form, lane);
        let at = if constant == 0 { base } else { self.b.ins().iadd_imm_s(base, constant) };
        match extent {
            DimValue::Const(c) => self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, at, c),
            DimValue::Value(v) => self.b.ins().icmp(IntCC::UnsignedLessThan, at, v),
        }
    }

    /// One of two values, each computed only where it is wanted.
    fn branch(
        &mut self,
        condition: Value,
        ty: ValueType,
        uniform: bool,
        yes: impl FnOnce(&mut Self) -> Emit<Rep>,
        no: impl FnOnce(&mut Self) -> Emit<Rep>,
    ) -> Emit<Rep> {
        let (then, other, join) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let uniform = uniform || self.lanes.is_none();
        let count = if uniform { 1 } else { self.lanes.unwrap_or(1) / lanes_of(ty) };
        let register = if uniform { scalar_type(ty) } else { vector_type(ty) };
        for _ in 0..count {
            self.b.append_block_param(join, register);
        }
        self.b.ins().brif(condition, then, &[], other, &[]);
        self.enter(then);
        let rep = yes(self)?;
        self.leave(rep, ty, uniform, join)?;
        self.enter(other);
        let rep = no(self)?;
        self.leave(rep, ty, uniform, join)?;
        self.enter(join);
        let params = self.b.block_params(join).to_vec();
        Ok(if uniform { Rep::Uniform(params[0]) } else { Rep::Lanes(params) })
    }

    /// Goes on in a block whose predecessors are complete.
    pub fn enter(&mut self, block: cranelift_codegen::ir::Block) {
        self.b.switch_to_block(block);
        self.b.seal_block(block);
    }

    fn leave(&mut self, rep: Rep, ty: ValueType, uniform: bool, join: cranelift_codegen::ir::Block) -> Emit<()> {
        let args: Vec<BlockArg> = match (rep, uniform) {
            (Rep::Uniform(v), true) => vec![v.into()],
            (Rep::Ramp { .. } | Rep::Lanes(_), true) => return Err("lanes where one value is meant".to_string()),
            (rep, false) => {
                let mut parts = self.parts_of(rep, ty)?;
                if ty == ValueType::Bool {
                    parts = self.mask_32(&parts);
                }
                parts.into_iter().map(BlockArg::from).collect()
            }
        };
        self.b.ins().jump(join, &args);
        Ok(())
    }

    /// A load of which all lanes are inside.
    /// Where what an address says lies, all of whose terms are the same for all lanes.
    pub fn slice(&mut self, buffer: u32, at: &Address) -> Emit<Value> {
        let dtype = self.dtype(buffer)?;
        let start = self.buffers[buffer as usize];
        let place = self.sum(at, Some(start), shift_of(dtype))?;
        let (base, offset) = self.fold(place.base, place.constant);
        Ok(if offset == 0 { base } else { self.b.ins().iadd_imm_s(base, i64::from(offset)) })
    }

    fn load_inside(&mut self, place: &Sum, dtype: DType) -> Emit<Rep> {
        if place.is_uniform() || self.lanes.is_none() {
            let (base, offset) = self.fold(place.base, place.constant);
            return Ok(Rep::Uniform(self.load_scalar(base, offset, dtype)));
        }
        let lanes = self.lanes.ok_or("lanes in scalar code")?;
        if place.varying.is_empty() && place.step.as_const() == Some(1 << shift_of(dtype)) {
            let (base, offset) = self.fold(place.base, place.constant);
            if let Some(parts) = self.load_vectors(base, offset, dtype, lanes) {
                return Ok(Rep::Lanes(parts));
            }
        }
        let scalars: Vec<Value> = (0..lanes)
            .map(|lane| {
                let (base, constant) = self.sum_at(place, lane);
                let (base, offset) = self.fold(base, constant);
                self.load_scalar(base, offset, dtype)
            })
            .collect();
        Ok(Rep::Lanes(self.collect_lanes(&scalars, register_type(dtype))))
    }

    /// Lane after lane in a small loop over a stack slot: blocks on the border of a guard.
    fn load_by_lane(&mut self, place: &Sum, guards: &[(Sum, DimValue)], dtype: DType, otherwise: f64) -> Emit<Rep> {
        let ty = register_type(dtype);
        let lanes = self.lanes.ok_or("lanes in scalar code")?;
        let result = self.slot(lanes as u32 * 8);
        // What differs irregularly goes through memory too.
        let mut spilled = Vec::new();
        for sum in guards.iter().map(|(sum, _)| sum).chain([place]) {
            let slots: Vec<(StackSlot, DimValue)> = sum
                .varying
                .iter()
                .map(|(parts, stride)| {
                    let slot = self.slot(lanes as u32 * 8);
                    for (p, &part) in parts.iter().enumerate() {
                        self.b.ins().stack_store(I64, part, slot, 16 * p as i32);
                    }
                    (slot, *stride)
                })
                .collect();
            spilled.push(slots);
        }
        let zero = self.b.ins().iconst(I64, 0);
        let end = self.b.ins().iconst(I64, lanes as i64);
        self.counted(zero, end, 1, |e, lane| {
            let at = |e: &mut Self, sum: &Sum, slots: &[(StackSlot, DimValue)]| {
                let off = e.scaled(lane, sum.step, 0);
                let mut v = e.b.ins().iadd(sum.base, off);
                v = e.b.ins().iadd_imm_s(v, sum.constant);
                for (slot, stride) in slots {
                    let base = e.b.ins().stack_addr(I64, *slot, 0);
                    let off = e.b.ins().ishl_imm_u(lane, 3);
                    let from = e.b.ins().iadd(base, off);
                    let element = e.b.ins().load(I64, flags(), from, 0);
                    let term = e.scaled(element, *stride, 0);
                    v = e.b.ins().iadd(v, term);
                }
                v
            };
            let mut ok: Option<Value> = None;
            for ((form, extent), slots) in guards.iter().zip(&spilled) {
                let v = at(e, form, slots);
                let bound = extent.value(e);
                let inside = e.b.ins().icmp(IntCC::UnsignedLessThan, v, bound);
                ok = Some(match ok {
                    Some(all) => e.b.ins().band(all, inside),
                    None => inside,
                });
            }
            let ok = ok.ok_or("no guards")?;
            let pointer = at(e, place, &spilled[guards.len()]);
            let saved = e.lanes.take();
            let rep = e.branch(
                ok,
                ty,
                true,
                |e| Ok(Rep::Uniform(e.load_scalar(pointer, 0, dtype))),
                |e| Ok(Rep::Uniform(e.constant(otherwise, ty))),
            );
            e.lanes = saved;
            let Rep::Uniform(v) = rep? else { return Err("a scalar load gave lanes".to_string()) };
            let base = e.b.ins().stack_addr(I64, result, 0);
            e.spill_scalar(v, base, lane, ty);
            Ok(())
        })?;
        let base = self.b.ins().stack_addr(I64, result, 0);
        Ok(Rep::Lanes(self.reload_vectors(base, ty, lanes)))
    }

    pub fn slot(&mut self, bytes: u32) -> StackSlot {
        self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 6))
    }

    pub fn dtype(&self, buffer: u32) -> Emit<DType> {
        self.kernel
            .buffers
            .get(buffer as usize)
            .map(|b| b.dtype)
            .ok_or_else(|| format!("buffer {buffer} does not exist"))
    }

    fn load_scalar(&mut self, base: Value, offset: i32, dtype: DType) -> Value {
        match dtype {
            DType::F32 => self.b.ins().load(F32, flags(), base, offset),
            DType::F64 => self.b.ins().load(F64, flags(), base, offset),
            DType::I32 => self.b.ins().load(I32, flags(), base, offset),
            DType::I64 => self.b.ins().load(I64, flags(), base, offset),
            DType::Bool => {
                let byte = self.b.ins().load(I8, flags(), base, offset);
                self.b.ins().icmp_imm_s(IntCC::NotEqual, byte, 0)
            }
            DType::BF16 => {
                let half = self.b.ins().uload16(I32, flags(), base, offset);
                let bits = self.b.ins().ishl_imm_u(half, 16);
                self.b.ins().bitcast(F32, MemFlagsData::new(), bits)
            }
        }
    }

    /// Contiguous lanes; `None` where lane by lane is as good (bytes of four lanes).
    fn load_vectors(&mut self, base: Value, offset: i32, dtype: DType, lanes: usize) -> Option<Vec<Value>> {
        let ty = match dtype {
            DType::F32 => F32X4,
            DType::F64 => F64X2,
            DType::I32 => I32X4,
            DType::I64 => I64X2,
            DType::Bool => {
                if lanes < 8 {
                    return None;
                }
                let mut parts = Vec::new();
                for group in 0..lanes / 8 {
                    let bytes = self.b.ins().uload8x8(flags(), base, offset + 8 * group as i32);
                    parts.extend(self.masks_of_wide_bytes(bytes));
                }
                return Some(parts);
            }
            DType::BF16 => {
                let parts = (0..lanes / 4).map(|p| {
                    let halves = self.b.ins().uload16x4(flags(), base, offset + 8 * p as i32);
                    let bits = self.b.ins().ishl_imm_u(halves, 16);
                    self.b.ins().bitcast(F32X4, reinterpret(), bits)
                });
                return Some(parts.collect());
            }
        };
        let parts = lanes / ty.lane_count() as usize;
        Some((0..parts).map(|p| self.b.ins().load(ty, flags(), base, offset + 16 * p as i32)).collect())
    }

    // ---------------------------------------------------------------- stores

    pub fn store(&mut self, buffer: u32, at: &Address, value: ValueId) -> Emit<()> {
        let dtype = self.dtype(buffer)?;
        let ty = self.type_of(value);
        if register_type(dtype) != ty {
            return Err(format!("a store of {ty:?} to {dtype:?}"));
        }
        let start = self.buffers[buffer as usize];
        let place = self.sum(at, Some(start), shift_of(dtype))?;
        let Some(lanes) = self.lanes else {
            let v = self.uniform(value)?;
            let (base, offset) = self.fold(place.base, place.constant);
            self.store_scalar(v, base, offset, dtype);
            return Ok(());
        };
        let parts = self.parts(value)?;
        if place.varying.is_empty() && place.step.as_const() == Some(1 << shift_of(dtype)) {
            let (base, offset) = self.fold(place.base, place.constant);
            if self.store_vectors(&parts, base, offset, dtype, lanes) {
                return Ok(());
            }
        }
        for lane in 0..lanes {
            let v = self.lane(&parts, ty, lane);
            let (base, constant) = self.sum_at(&place, lane);
            let (base, offset) = self.fold(base, constant);
            self.store_scalar(v, base, offset, dtype);
        }
        Ok(())
    }

    fn store_scalar(&mut self, v: Value, base: Value, offset: i32, dtype: DType) {
        match dtype {
            DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::Bool => {
                self.b.ins().store(flags(), v, base, offset);
            }
            DType::BF16 => {
                let half = self.bf16_bits(v);
                self.b.ins().istore16(flags(), half, base, offset);
            }
        }
    }

    /// The nearest bf16 of an f32, scalar or vector.
    pub fn rounded_to_bf16(&mut self, v: Value) -> Value {
        let upper = self.bf16_bits(v);
        let bits = self.b.ins().ishl_imm_u(upper, 16);
        if self.b.func.dfg.value_type(v).is_vector() {
            self.b.ins().bitcast(F32X4, reinterpret(), bits)
        } else {
            self.b.ins().bitcast(F32, MemFlagsData::new(), bits)
        }
    }

    /// The upper half of the bits of an f32, rounded half to even; of a NaN that of a quiet one. Scalar or vector.
    fn bf16_bits(&mut self, v: Value) -> Value {
        let vector = self.b.func.dfg.value_type(v).is_vector();
        let bits = if vector {
            self.b.ins().bitcast(I32X4, reinterpret(), v)
        } else {
            self.b.ins().bitcast(I32, MemFlagsData::new(), v)
        };
        let nan = self.b.ins().fcmp(FloatCC::Unordered, v, v);
        let constant = |c: i64, e: &mut Self| {
            let v = e.b.ins().iconst(I32, c);
            if vector { e.b.ins().splat(I32X4, v) } else { v }
        };
        let (one, most, quiet_bit) = (constant(1, self), constant(0x7fff, self), constant(0x40, self));
        let upper = self.b.ins().ushr_imm_u(bits, 16);
        let odd = self.b.ins().band(upper, one);
        let sum = self.b.ins().iadd(bits, most);
        let sum = self.b.ins().iadd(sum, odd);
        let rounded = self.b.ins().ushr_imm_u(sum, 16);
        let quiet = self.b.ins().bor(upper, quiet_bit);
        if vector { self.b.ins().bitselect(nan, quiet, rounded) } else { self.b.ins().select(nan, quiet, rounded) }
    }

    fn store_vectors(&mut self, parts: &[Value], base: Value, offset: i32, dtype: DType, lanes: usize) -> bool {
        match dtype {
            DType::F32 | DType::F64 | DType::I32 | DType::I64 => {
                for (p, &part) in parts.iter().enumerate() {
                    self.b.ins().store(flags(), part, base, offset + 16 * p as i32);
                }
                true
            }
            DType::Bool => {
                if lanes < 8 {
                    return false;
                }
                let masks = self.mask_32(parts);
                for (group, pair) in masks.chunks(2).enumerate() {
                    let ones = self.ones_16(pair[0], pair[1]);
                    let bytes = self.b.ins().snarrow(ones, ones);
                    let bytes = self.b.ins().bitcast(I64X2, reinterpret(), bytes);
                    let low = self.b.ins().extractlane(bytes, 0);
                    self.b.ins().store(flags(), low, base, offset + 8 * group as i32);
                }
                true
            }
            DType::BF16 => {
                for (p, &part) in parts.iter().enumerate() {
                    let halves = self.bf16_bits(part);
                    let packed = self.b.ins().unarrow(halves, halves);
                    let packed = self.b.ins().bitcast(I64X2, reinterpret(), packed);
                    let low = self.b.ins().extractlane(packed, 0);
                    self.b.ins().store(flags(), low, base, offset + 8 * p as i32);
                }
                true
            }
        }
    }

    // ---------------------------------------------------------------- stack slots: 4 or 8 bytes a lane, truth as 0 or -1 in 4

    /// log2 of the bytes of a lane in a stack slot.
    pub fn slot_shift(ty: ValueType) -> i64 {
        match ty {
            ValueType::F32 | ValueType::I32 | ValueType::Bool => 2,
            ValueType::F64 | ValueType::I64 => 3,
        }
    }

    pub fn slot_pointer(&mut self, base: Value, lane: Value, ty: ValueType) -> Value {
        let off = self.b.ins().ishl_imm_u(lane, Self::slot_shift(ty));
        self.b.ins().iadd(base, off)
    }

    pub fn spill_scalar(&mut self, v: Value, base: Value, lane: Value, ty: ValueType) {
        let to = self.slot_pointer(base, lane, ty);
        let v = if ty == ValueType::Bool { self.b.ins().bmask(I32, v) } else { v };
        self.b.ins().store(flags(), v, to, 0);
    }

    pub fn reload_scalar(&mut self, pointer: Value, ty: ValueType) -> Value {
        if ty == ValueType::Bool {
            let mask = self.b.ins().load(I32, flags(), pointer, 0);
            self.truth_of_mask(mask)
        } else {
            self.b.ins().load(scalar_type(ty), flags(), pointer, 0)
        }
    }

    pub fn spill_vectors(&mut self, parts: &[Value], pointer: Value, ty: ValueType) {
        let parts = if ty == ValueType::Bool { self.mask_32(parts) } else { parts.to_vec() };
        for (p, part) in parts.into_iter().enumerate() {
            self.b.ins().store(flags(), part, pointer, 16 * p as i32);
        }
    }

    pub fn reload_vectors(&mut self, pointer: Value, ty: ValueType, lanes: usize) -> Vec<Value> {
        let count = lanes / lanes_of(ty);
        (0..count).map(|p| self.b.ins().load(vector_type(ty), flags(), pointer, 16 * p as i32)).collect()
    }
}
