//! A kernel as CLIF: one function over a range of the grid.
//!
//! ```text
//! fn(buffers, sizes, begin, end):
//!   entry      pointers of the buffers, every size that is not a number
//!   grid       for i in begin..end, or in blocks of lanes (see `lanes`)
//!     body     statements in order; `rep` says how values live in registers
//! ```
//!
//! The same emitter writes scalar code and code for a block of lanes; [`Emitter::lanes`] says which is being written.

mod chains;
mod lanes;
mod memory;
mod ops;
mod rep;
mod tiles;
mod wide;

use crate::calls;
use crate::facts::Facts;
use crate::wide::function::Function;
use bdl_dims::{Atom, Dim};
use bdl_plan::{
    Bound, CHAIN, Kernel, LoopIndex, LoopMode, Monoid, Stmt, ValueId, ValueOp, ValueType, VariableId, chained,
    constant_extent,
};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I64, Type};
use cranelift_codegen::ir::{AbiParam, BlockArg, InstBuilder, SigRef, Signature, StackSlot, Value};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use rep::{Rep, lanes_of, scalar_type, vector_type};
use std::collections::HashMap;
use std::sync::Arc;

/// What went wrong while writing code: the plan is invalid (a verified plan is not) or uses what is not supported.
pub type Emit<T> = Result<T, String>;

/// Accumulators of a reduction over a `Lanes` loop: lane i of the loop adds to number i % 8.
pub const ACCUMULATORS: usize = 8;

/// A size: folded, or computed on entry.
#[derive(Clone, Copy, Debug)]
pub enum DimValue {
    Const(i64),
    Value(Value),
}

impl DimValue {
    pub fn as_const(self) -> Option<i64> {
        match self {
            DimValue::Const(c) => Some(c),
            DimValue::Value(_) => None,
        }
    }

    pub fn value(self, e: &mut Emitter) -> Value {
        match self {
            DimValue::Const(c) => e.b.ins().iconst(I64, c),
            DimValue::Value(v) => v,
        }
    }

    fn times(self, by: i64, e: &mut Emitter) -> DimValue {
        match self {
            DimValue::Const(c) => DimValue::Const(c * by),
            DimValue::Value(v) if by == 1 => DimValue::Value(v),
            DimValue::Value(v) => DimValue::Value(e.b.ins().imul_imm_s(v, by)),
        }
    }

    fn plus(self, other: DimValue, e: &mut Emitter) -> DimValue {
        match (self, other) {
            (DimValue::Const(a), DimValue::Const(b)) => DimValue::Const(a + b),
            (DimValue::Const(0), v) | (v, DimValue::Const(0)) => v,
            (a, b) => {
                let (a, b) = (a.value(e), b.value(e));
                DimValue::Value(e.b.ins().iadd(a, b))
            }
        }
    }
}

/// Where a variable of the plan lives.
#[derive(Clone, Debug)]
enum Place {
    /// One register: scalar code, or declared outside of the lanes.
    Scalar(Variable),
    /// One a lane.
    Lanes(Vec<Variable>),
}

/// The state of a reduction while a `Lanes` loop is being written.
#[derive(Clone, Debug)]
enum Accumulator {
    /// Vectors, `ACCUMULATORS` lanes together.
    Vectors(Vec<Variable>),
    /// In memory, for a loop that runs lane by lane.
    Slot(StackSlot),
}

pub struct Emitter<'a> {
    kernel: &'a Kernel,
    facts: &'a Facts<'a>,
    b: FunctionBuilder<'a>,
    buffers: Vec<Value>,
    sizes: HashMap<Arc<str>, Value>,
    dims: HashMap<&'a Dim, Value>,
    /// With the depth of the loop that defines each, so that addresses add up from the outside in.
    indices: Vec<Option<(Rep, u32)>>,
    values: Vec<Option<(Rep, u32)>>,
    variables: Vec<Option<Place>>,
    /// Lanes of the block being written; `None` in scalar code.
    lanes: Option<usize>,
    depth: u32,
    accumulators: HashMap<VariableId, Accumulator>,
    /// In a loop that runs lane by lane: which lane, and how many lanes belong to whole blocks.
    lane_position: Option<(Value, Value)>,
    signatures: [Option<SigRef>; 2],
    call_conv: cranelift_codegen::isa::CallConv,
    /// Called by their number in here.
    wide_functions: Vec<Function>,
}

/// The signature of every kernel.
pub fn signature(isa: &dyn TargetIsa) -> Signature {
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params = vec![AbiParam::new(I64); 4];
    signature
}

/// Writes `kernel` into `func`; returns the wide functions that it calls, by the number it names them with.
pub fn kernel(
    kernel: &Kernel,
    isa: &dyn TargetIsa,
    func: &mut cranelift_codegen::ir::Function,
    context: &mut FunctionBuilderContext,
) -> Emit<Vec<Function>> {
    let facts = Facts::of(kernel);
    let mut b = FunctionBuilder::new(func, context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let params = b.block_params(entry).to_vec();
    let mut e = Emitter {
        kernel,
        facts: &facts,
        b,
        buffers: Vec::new(),
        sizes: HashMap::new(),
        dims: HashMap::new(),
        indices: vec![None; kernel.indices.len()],
        values: vec![None; kernel.values.len()],
        variables: vec![None; kernel.variables.len()],
        lanes: None,
        depth: 0,
        accumulators: HashMap::new(),
        lane_position: None,
        signatures: [None, None],
        call_conv: isa.default_call_conv(),
        wide_functions: Vec::new(),
    };
    for i in 0..kernel.buffers.len() {
        let pointer = e.b.ins().load(I64, memory::flags().with_readonly(), params[0], 8 * i as i32);
        e.buffers.push(pointer);
    }
    for (i, name) in kernel.sizes.iter().enumerate() {
        let size = e.b.ins().load(I64, memory::flags().with_readonly(), params[1], 8 * i as i32);
        e.sizes.insert(name.clone(), size);
    }
    for dim in &facts.dims {
        let value = e.evaluate(dim)?;
        e.dims.insert(dim, value);
    }
    let (begin, end) = (params[2], params[3]);
    match kernel.grid_mode {
        LoopMode::Serial => e.serial_loop(LoopIndex(0), begin, end, None, &kernel.body)?,
        LoopMode::Lanes => e.lanes_loop(LoopIndex(0), begin, end, None, &kernel.body)?,
    }
    e.b.ins().return_(&[]);
    e.b.finalize(isa.frontend_config());
    Ok(e.wide_functions)
}

impl<'a> Emitter<'a> {
    // ---------------------------------------------------------------- sizes

    fn evaluate(&mut self, dim: &Dim) -> Emit<Value> {
        let mut total: Option<Value> = None;
        for (monomial, coefficient) in dim.terms() {
            let mut product: Option<Value> = None;
            for atom in monomial {
                let factor = match atom {
                    Atom::Var(name) => {
                        *self.sizes.get(name).ok_or_else(|| format!("the size `{name}` is no argument"))?
                    }
                    Atom::Floor(n, d) => {
                        let (n, d) = (self.evaluate(n)?, self.evaluate(d)?);
                        self.floor_division(n, d)
                    }
                };
                product = Some(match product {
                    Some(p) => self.b.ins().imul(p, factor),
                    None => factor,
                });
            }
            let term = match product {
                Some(p) if coefficient == 1 => p,
                Some(p) => self.b.ins().imul_imm_s(p, coefficient),
                None => self.b.ins().iconst(I64, coefficient),
            };
            total = Some(match total {
                Some(t) => self.b.ins().iadd(t, term),
                None => term,
            });
        }
        Ok(match total {
            Some(t) => t,
            None => self.b.ins().iconst(I64, 0),
        })
    }

    fn dim(&self, dim: &Dim) -> DimValue {
        match dim.as_const() {
            Some(c) => DimValue::Const(c),
            // Every size of the kernel was met by `Facts` and evaluated on entry.
            None => DimValue::Value(self.dims[dim]),
        }
    }

    /// The extent of a guard, not below 0.
    fn extent(&mut self, dim: &Dim) -> DimValue {
        match self.dim(dim) {
            DimValue::Const(c) => DimValue::Const(c.max(0)),
            DimValue::Value(v) => {
                let zero = self.b.ins().iconst(I64, 0);
                DimValue::Value(self.b.ins().smax(v, zero))
            }
        }
    }

    fn index_at(&self, index: LoopIndex) -> Emit<(Rep, u32)> {
        self.indices
            .get(index.0 as usize)
            .and_then(Clone::clone)
            .ok_or_else(|| format!("loop index {} is used outside of its loop", index.0))
    }

    fn index(&self, index: LoopIndex) -> Emit<Rep> {
        Ok(self.index_at(index)?.0)
    }

    // ---------------------------------------------------------------- statements

    fn body(&mut self, body: &'a [Stmt]) -> Emit<()> {
        body.iter().try_for_each(|stmt| self.stmt(stmt))
    }

    fn stmt(&mut self, stmt: &'a Stmt) -> Emit<()> {
        match stmt {
            Stmt::Loop { index, from, to, mode, body } => {
                let (begin, end) = (self.bound(from)?, self.bound(to)?);
                let extent = constant_extent(from, to);
                match mode {
                    LoopMode::Serial => self.serial_loop(*index, begin, end, extent, body),
                    LoopMode::Lanes => self.lanes_loop(*index, begin, end, extent, body),
                }
            }
            Stmt::Let { value, op } => self.define(*value, op),
            Stmt::Variable { variable, start } => self.declare(*variable, *start),
            Stmt::Combine { variable, monoid, value } => self.combine(*variable, *monoid, *value),
            Stmt::Assign { variable, value } => self.assign(*variable, *value),
            Stmt::Store { buffer, at, value } => self.store(*buffer, at, *value),
            Stmt::If { condition, body } => {
                let condition = self.uniform(*condition)?;
                let (then, join) = (self.b.create_block(), self.b.create_block());
                self.b.ins().brif(condition, then, &[], join, &[]);
                self.enter(then);
                self.body(body)?;
                self.b.ins().jump(join, &[]);
                self.enter(join);
                Ok(())
            }
        }
    }

    fn define(&mut self, value: ValueId, op: &'a ValueOp) -> Emit<()> {
        let rep = self.op(op, self.type_of(value))?;
        self.values[value.0 as usize] = Some((rep, self.depth));
        Ok(())
    }

    fn bound(&mut self, bound: &'a Bound) -> Emit<Value> {
        match bound {
            Bound::Size(dim) => Ok(self.dim(dim).value(self)),
            Bound::Value(value) => {
                let v = self.uniform(*value)?;
                Ok(match self.type_of(*value) {
                    ValueType::I32 => self.b.ins().sextend(I64, v),
                    ValueType::I64 | ValueType::F32 | ValueType::F64 | ValueType::Bool => v,
                })
            }
        }
    }

    fn serial_loop(
        &mut self,
        index: LoopIndex,
        from: Value,
        to: Value,
        extent: Option<i64>,
        body: &'a [Stmt],
    ) -> Emit<()> {
        let sums = chained(self.kernel, extent, CHAIN, body);
        self.in_chains(&sums, from, to, |e, from, to| {
            e.counted(from, to, 1, |e, i| {
                e.indices[index.0 as usize] = Some((Rep::Uniform(i), e.depth));
                e.body(body)
            })
        })?;
        self.indices[index.0 as usize] = None;
        Ok(())
    }

    /// `for i in (from..to).step_by(step)`, tested once before and once after each round.
    fn counted(
        &mut self,
        from: Value,
        to: Value,
        step: i64,
        body: impl FnOnce(&mut Self, Value) -> Emit<()>,
    ) -> Emit<()> {
        let (round, exit) = (self.b.create_block(), self.b.create_block());
        let i = self.b.append_block_param(round, I64);
        let some = self.b.ins().icmp(IntCC::SignedLessThan, from, to);
        self.b.ins().brif(some, round, &[BlockArg::from(from)], exit, &[]);
        self.b.switch_to_block(round);
        self.depth += 1;
        body(self, i)?;
        self.depth -= 1;
        let next = self.b.ins().iadd_imm_s(i, step);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next, to);
        self.b.ins().brif(more, round, &[BlockArg::from(next)], exit, &[]);
        self.b.seal_block(round);
        self.enter(exit);
        Ok(())
    }

    // ---------------------------------------------------------------- variables

    fn declare(&mut self, variable: VariableId, start: ValueId) -> Emit<()> {
        let ty = self.kernel.variables[variable.0 as usize];
        let place = if self.lanes.is_some() {
            let mut parts = self.parts(start)?;
            if ty == ValueType::Bool {
                parts = self.mask_32(&parts);
            }
            Place::Lanes(self.new_variables(vector_type(ty), &parts))
        } else {
            let v = self.uniform(start)?;
            Place::Scalar(self.new_variables(scalar_type(ty), &[v])[0])
        };
        self.variables[variable.0 as usize] = Some(place);
        Ok(())
    }

    fn new_variables(&mut self, ty: Type, starts: &[Value]) -> Vec<Variable> {
        starts
            .iter()
            .map(|&start| {
                let v = self.b.declare_var(ty);
                self.b.def_var(v, start);
                v
            })
            .collect()
    }

    fn place(&self, variable: VariableId) -> Emit<Place> {
        self.variables
            .get(variable.0 as usize)
            .and_then(Clone::clone)
            .ok_or_else(|| format!("variable {} is used where it is not in scope", variable.0))
    }

    fn read_variable(&mut self, variable: VariableId) -> Emit<Rep> {
        Ok(match self.place(variable)? {
            Place::Scalar(v) => Rep::Uniform(self.b.use_var(v)),
            Place::Lanes(vs) => Rep::Lanes(vs.iter().map(|v| self.b.use_var(*v)).collect()),
        })
    }

    fn assign(&mut self, variable: VariableId, value: ValueId) -> Emit<()> {
        match self.place(variable)? {
            Place::Scalar(v) => {
                let new = self.uniform(value)?;
                self.b.def_var(v, new);
            }
            Place::Lanes(vs) => {
                let mut parts = self.parts(value)?;
                if self.type_of(value) == ValueType::Bool {
                    parts = self.mask_32(&parts);
                }
                for (v, part) in vs.iter().zip(parts) {
                    self.b.def_var(*v, part);
                }
            }
        }
        Ok(())
    }

    fn combine(&mut self, variable: VariableId, monoid: Monoid, value: ValueId) -> Emit<()> {
        let ty = self.kernel.variables[variable.0 as usize];
        let accumulator = self.accumulators.get(&variable).cloned();
        match (self.place(variable)?, accumulator) {
            (Place::Lanes(vs), _) => self.combine_parts(&vs, monoid, value, ty),
            (Place::Scalar(_), Some(Accumulator::Vectors(vs))) if self.lanes.is_some() => {
                self.combine_parts(&vs, monoid, value, ty)
            }
            (Place::Scalar(v), Some(Accumulator::Slot(slot))) => {
                self.combine_in_slot(v, slot, |e, old| e.combined(old, monoid, value, ty), ty)
            }
            (Place::Scalar(v), Some(Accumulator::Vectors(_)) | None) => {
                let old = self.b.use_var(v);
                let new = self.combined(old, monoid, value, ty)?;
                self.b.def_var(v, new);
                Ok(())
            }
        }
    }

    /// `monoid(old, value)` in scalars.
    fn combined(&mut self, old: Value, monoid: Monoid, value: ValueId, ty: ValueType) -> Emit<Value> {
        if let Some((x, y)) = self.fused_factors(monoid, value) {
            let (x, y) = (self.uniform(x)?, self.uniform(y)?);
            return Ok(self.b.ins().fma(x, y, old));
        }
        let v = self.uniform(value)?;
        self.monoid(monoid, old, v, ty)
    }

    /// Part p of the value goes to variable p, round and round.
    fn combine_parts(&mut self, vs: &[Variable], monoid: Monoid, value: ValueId, ty: ValueType) -> Emit<()> {
        if let Some((x, y)) = self.fused_factors(monoid, value) {
            let (x, y) = (self.parts(x)?, self.parts(y)?);
            for (p, (x, y)) in x.into_iter().zip(y).enumerate() {
                let v = vs[p % vs.len()];
                let old = self.b.use_var(v);
                let new = self.b.ins().fma(x, y, old);
                self.b.def_var(v, new);
            }
            return Ok(());
        }
        let mut parts = self.parts(value)?;
        if ty == ValueType::Bool {
            parts = self.mask_32(&parts);
        }
        for (p, part) in parts.into_iter().enumerate() {
            let v = vs[p % vs.len()];
            let old = self.b.use_var(v);
            let new = self.monoid(monoid, old, part, ty)?;
            self.b.def_var(v, new);
        }
        Ok(())
    }

    // ---------------------------------------------------------------- calls

    /// A slice function on the lanes at hand (one in scalar code), through a small stack slot.
    fn call(&mut self, name: &'static str, operands: &[ValueId], ty: ValueType) -> Emit<Rep> {
        let reps: Vec<Rep> = operands.iter().map(|v| self.rep(*v)).collect::<Emit<_>>()?;
        let uniform = reps.iter().all(|r| match r {
            Rep::Uniform(_) => true,
            Rep::Ramp { .. } | Rep::Lanes(_) => false,
        });
        let lanes = if uniform { 1 } else { self.lanes.ok_or("lanes in scalar code")? };
        let mut pointers = Vec::new();
        for rep in reps {
            let slot = self.slot((lanes * 8).max(16) as u32);
            let pointer = self.b.ins().stack_addr(I64, slot, 0);
            if uniform {
                if let Rep::Uniform(v) = rep {
                    self.b.ins().store(memory::flags(), v, pointer, 0);
                }
            } else {
                let parts = self.parts_of(rep, ty)?;
                self.spill_vectors(&parts, pointer, ty);
            }
            pointers.push(pointer);
        }
        let result = pointers[0];
        let n = self.b.ins().iconst(I64, lanes as i64);
        self.call_slices(name, n, &pointers, result, ty)?;
        Ok(if uniform {
            Rep::Uniform(self.reload_scalar(result, ty))
        } else {
            Rep::Lanes(self.reload_vectors(result, ty, lanes))
        })
    }

    /// `f(n, x.., y)`.
    fn call_slices(&mut self, name: &'static str, n: Value, inputs: &[Value], out: Value, ty: ValueType) -> Emit<()> {
        let address = calls::address(name, ty).ok_or_else(|| format!("no function `{name}` for {ty:?}"))?;
        let which = inputs.len() - 1;
        let signature = match self.signatures[which] {
            Some(signature) => signature,
            None => {
                let mut signature = Signature::new(self.call_conv);
                signature.params = vec![AbiParam::new(I64); inputs.len() + 2];
                let imported = self.b.import_signature(signature);
                self.signatures[which] = Some(imported);
                imported
            }
        };
        let callee = self.b.ins().iconst(I64, address as i64);
        let mut args = vec![n];
        args.extend(inputs);
        args.push(out);
        self.b.ins().call_indirect(signature, callee, &args);
        Ok(())
    }
}

/// Vectors of a type that hold the accumulators of a reduction.
fn accumulator_vectors(ty: ValueType) -> usize {
    ACCUMULATORS / lanes_of(ty)
}
