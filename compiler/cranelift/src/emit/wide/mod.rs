//! Which loops over lanes become wide functions (see `crate::wide`), and how the kernel's code calls them.
//!
//! A loop is wide when its body is code on f32 and i32 without branches: loads and stores of neighbouring elements, guards that all lanes
//! share, arithmetic, comparisons and choices, reductions of them, and loops that add up for each lane what lies in rows. The code around
//! puts what the function needs in a table: pointers, counts, scalars, truth values, accumulators.
//!
//! ```text
//! for j in 0..n lanes:  v1 = load x[r * 64 + j]; v2 = mul c, v1; store y[j] = v2
//!   table = { x + r * 64, y, c };  wide(table, n)
//! ```
//!
//! Loads of one buffer whose addresses differ by a number share a pointer.

mod builder;

pub use builder::operations;

use super::rep::{Rep, vector_type};
use super::tiles::Key;
use super::{Accumulator, Emit, Emitter};
use crate::wide::block::Block;
use bdl_plan::{Address, AddressTerm, Bound, Guard, LoopIndex, ValueId, ValueType, VariableId};
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, ExtFuncData, ExternalName, FuncRef, InstBuilder, Signature, UserExternalName, Value,
};
use cranelift_codegen::isa::CallConv;

/// A loop that is a function of its own.
pub struct Wide<'a> {
    function: FuncRef,
    body: Body<'a>,
}

impl Wide<'_> {
    /// Does it leave lanes behind the last whole vector to others?
    pub fn leaves_rest(&self) -> bool {
        !self.body.block.takes_rest()
    }
}

/// What a pointer of the table points at, at the loop's first lane.
#[derive(Clone, Copy, PartialEq)]
enum Stream<'a> {
    /// Without the term of a number that a loop inside reads: the function adds it.
    Buffer(u32, &'a Address, Option<ValueId>),
    /// Where the guards fail, another pointer stands in for it, and nothing of what is read there counts.
    Guarded(u32, &'a Address, &'a [Guard]),
    Tile(Key),
}

/// A scalar of the table.
#[derive(Clone, Copy, PartialEq)]
enum Scalar {
    Value(ValueId),
    Bits(u32),
}

/// A truth value of the table.
#[derive(Clone, Copy, PartialEq)]
enum Truth<'a> {
    Value(ValueId),
    /// Do all of them hold?
    Guards(&'a [Guard]),
}

/// A loop inside of the lanes.
#[derive(Clone, Copy)]
struct Inner<'a> {
    index: LoopIndex,
    from: &'a Bound,
    to: &'a Bound,
}

/// A loop's body as a block, and what its table holds.
pub struct Body<'a> {
    block: Block,
    /// Number and bytes behind it of a pointer at which all lanes may be read.
    spare: Option<(usize, i32)>,
    streams: Vec<Stream<'a>>,
    scalars: Vec<Scalar>,
    truths: Vec<Truth<'a>>,
    inner: Vec<Inner<'a>>,
    reductions: Vec<VariableId>,
}

impl<'a> Emitter<'a> {
    /// Imports the function of a block; `None` when its values need more registers than there are.
    pub fn import_wide(&mut self, body: Body<'a>, extent: Option<i64>) -> Option<Wide<'a>> {
        let code = body.block.function(extent).ok()?;
        let number = match self.wide_functions.iter().position(|known| *known == code) {
            Some(number) => number,
            None => {
                self.wide_functions.push(code);
                self.wide_functions.len() - 1
            }
        };
        // What the function is written for, on every system.
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params = vec![AbiParam::new(I64); 2];
        let signature = self.b.import_signature(signature);
        let name = self.b.func.declare_imported_user_function(UserExternalName::new(0, number as u32));
        let function = self.b.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            colocated: false,
            patchable: false,
        });
        Some(Wide { function, body })
    }

    /// Runs a wide loop over lanes `from..from + n`; the tiles begin at lane `from`.
    pub fn call_wide(
        &mut self,
        wide: &Wide<'a>,
        index: LoopIndex,
        from: Value,
        n: Value,
        tile: &dyn Fn(&mut Self, Key) -> Emit<Value>,
    ) -> Emit<()> {
        let Wide { function, body } = wide;
        let slot = self.slot(body.block.table_bytes().max(1));
        let lanes = self.lanes.take();
        self.indices[index.0 as usize] = Some((Rep::Uniform(from), self.depth));
        for (number, inner) in body.inner.iter().enumerate() {
            let (begin, end) = (self.bound(inner.from)?, self.bound(inner.to)?);
            self.indices[inner.index.0 as usize] = Some((Rep::Uniform(begin), self.depth));
            let count = self.b.ins().isub(end, begin);
            self.b.ins().stack_store(I64, count, slot, body.block.count_at(number));
        }
        let mut pointers = Vec::with_capacity(body.streams.len());
        for stream in &body.streams {
            pointers.push(match *stream {
                Stream::Buffer(buffer, at, None) | Stream::Guarded(buffer, at, _) => self.slice(buffer, at)?,
                Stream::Buffer(buffer, at, Some(number)) => {
                    let mut at = at.clone();
                    at.terms.retain(|(term, _)| *term != AddressTerm::Value(number));
                    self.slice(buffer, &at)?
                }
                Stream::Tile(key) => tile(self, key)?,
            });
        }
        for (number, stream) in body.streams.iter().enumerate() {
            let pointer = match (*stream, body.spare) {
                (Stream::Guarded(_, _, guards), Some((spare, displacement))) => {
                    let spare = self.b.ins().iadd_imm_s(pointers[spare], i64::from(displacement));
                    let holds = self.guards_hold(guards)?;
                    self.b.ins().select(holds, pointers[number], spare)
                }
                (Stream::Buffer(..) | Stream::Guarded(..) | Stream::Tile(_), _) => pointers[number],
            };
            self.b.ins().stack_store(I64, pointer, slot, 8 * number as i32);
        }
        for (number, scalar) in body.scalars.iter().enumerate() {
            let value = match *scalar {
                Scalar::Value(value) => self.uniform(value)?,
                Scalar::Bits(bits) => self.b.ins().iconst(I32, i64::from(bits)),
            };
            self.b.ins().stack_store(I64, value, slot, body.block.scalar_at(number));
        }
        for (number, truth) in body.truths.iter().enumerate() {
            let holds = match *truth {
                Truth::Value(value) => self.uniform(value)?,
                Truth::Guards(guards) => self.guards_hold(guards)?,
            };
            let mask = self.b.ins().bmask(I32, holds);
            self.b.ins().stack_store(I64, mask, slot, body.block.truth_at(number));
        }
        body.inner.iter().for_each(|inner| self.indices[inner.index.0 as usize] = None);
        for (number, variable) in body.reductions.iter().enumerate() {
            // A lane of neutral ones is enough for all; what a tile before left is not.
            let parts = self.accumulator_of(*variable)?;
            let stored = if body.block.begins { 1 } else { parts.len() };
            for (part, register) in parts.into_iter().take(stored).enumerate() {
                let value = self.b.use_var(register);
                let at = body.block.accumulator_at(number) + 16 * part as i32;
                self.b.ins().stack_store(I64, value, slot, at);
            }
        }
        let table = self.b.ins().stack_addr(I64, slot, 0);
        self.b.ins().call(*function, &[table, n]);
        for (number, variable) in body.reductions.iter().enumerate() {
            for (part, register) in self.accumulator_of(*variable)?.into_iter().enumerate() {
                let at = body.block.accumulator_at(number) + 16 * part as i32;
                let value = self.b.ins().stack_load(I64, vector_type(ValueType::F32), slot, at);
                self.b.def_var(register, value);
            }
        }
        self.lanes = lanes;
        Ok(())
    }

    fn accumulator_of(&self, variable: VariableId) -> Emit<Vec<cranelift_frontend::Variable>> {
        match self.accumulators.get(&variable) {
            Some(Accumulator::Vectors(registers)) => Ok(registers.clone()),
            Some(Accumulator::Slot(_)) | None => Err("a wide reduction without accumulators".to_string()),
        }
    }

    /// How many lanes a wide loop takes.
    pub fn wide_lanes(&mut self, wide: &Wide, from: Value, to: Value) -> Value {
        let n = self.b.ins().isub(to, from);
        let whole = wide.body.block.vectors.lanes();
        if wide.leaves_rest() { self.b.ins().band_imm_s(n, -whole) } else { n }
    }
}
