//! How a value of the plan lives in registers, and the conversions between these forms.
//!
//! In scalar code every value is one register. In a block of L lanes a value is one register when all lanes agree
//! ([`Rep::Uniform`]), a base and a step when it counts with the lane ([`Rep::Ramp`]), or several 128-bit vectors, lane 0 first:
//!
//! ```text
//! L = 8:  f32 -> 2 x f32x4   f64 -> 4 x f64x2   i32 -> 2 x i32x4   i64 -> 4 x i64x2   Bool -> 2 x i32x4 or 4 x i64x2 (0 or -1)
//! ```

use super::{Emit, Emitter};
use bdl_plan::{ValueId, ValueType};
use cranelift_codegen::ir::immediates::V128Imm;
use cranelift_codegen::ir::types::{F32, F32X4, F64, F64X2, I8, I8X16, I16X8, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value};

#[derive(Clone, Debug)]
pub enum Rep {
    Uniform(Value),
    /// `I64`: base + lane * step.
    Ramp {
        base: Value,
        step: i64,
    },
    Lanes(Vec<Value>),
}

pub fn scalar_type(ty: ValueType) -> Type {
    match ty {
        ValueType::F32 => F32,
        ValueType::F64 => F64,
        ValueType::I32 => I32,
        ValueType::I64 => I64,
        ValueType::Bool => I8,
    }
}

/// The vector of a type; truth values as masks of 32 bits.
pub fn vector_type(ty: ValueType) -> Type {
    match ty {
        ValueType::F32 => F32X4,
        ValueType::F64 => F64X2,
        ValueType::I32 | ValueType::Bool => I32X4,
        ValueType::I64 => I64X2,
    }
}

/// Lanes in one vector of a type.
pub fn lanes_of(ty: ValueType) -> usize {
    vector_type(ty).lane_count() as usize
}

pub fn is_float(ty: ValueType) -> bool {
    match ty {
        ValueType::F32 | ValueType::F64 => true,
        ValueType::I32 | ValueType::I64 | ValueType::Bool => false,
    }
}

/// Bits of a vector seen as another type.
pub fn reinterpret() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

impl Emitter<'_> {
    pub fn type_of(&self, value: ValueId) -> ValueType {
        self.kernel.values[value.0 as usize]
    }

    pub fn rep(&self, value: ValueId) -> Emit<Rep> {
        self.values
            .get(value.0 as usize)
            .and_then(|v| v.as_ref())
            .map(|(rep, _)| rep.clone())
            .ok_or_else(|| format!("v{} is used where it is not in scope", value.0))
    }

    /// The one register of a value that all lanes share.
    pub fn uniform(&self, value: ValueId) -> Emit<Value> {
        match self.rep(value)? {
            Rep::Uniform(v) => Ok(v),
            Rep::Ramp { .. } | Rep::Lanes(_) => Err(format!("v{} differs from lane to lane here", value.0)),
        }
    }

    /// A value as vectors.
    pub fn parts(&mut self, value: ValueId) -> Emit<Vec<Value>> {
        let rep = self.rep(value)?;
        self.parts_of(rep, self.type_of(value))
    }

    pub fn parts_of(&mut self, rep: Rep, ty: ValueType) -> Emit<Vec<Value>> {
        let lanes = self.lanes.ok_or("vectors in scalar code")?;
        match rep {
            Rep::Lanes(parts) => Ok(parts),
            Rep::Uniform(v) => {
                let part = self.splat(v, ty);
                Ok(vec![part; lanes / lanes_of(ty)])
            }
            Rep::Ramp { base, step } => {
                let base = self.b.ins().splat(I64X2, base);
                (0..lanes / 2)
                    .map(|p| {
                        let first = 2 * p as i64 * step;
                        let steps = self.i64x2(first, first + step);
                        Ok(self.b.ins().iadd(base, steps))
                    })
                    .collect()
            }
        }
    }

    /// All lanes of one vector equal to a scalar.
    pub fn splat(&mut self, v: Value, ty: ValueType) -> Value {
        match ty {
            ValueType::Bool => {
                let mask = self.b.ins().bmask(I32, v);
                self.b.ins().splat(I32X4, mask)
            }
            ValueType::F32 | ValueType::F64 | ValueType::I32 | ValueType::I64 => self.b.ins().splat(vector_type(ty), v),
        }
    }

    pub fn i64x2(&mut self, lane0: i64, lane1: i64) -> Value {
        let mut bytes = lane0.to_le_bytes().to_vec();
        bytes.extend(lane1.to_le_bytes());
        let constant = self.b.func.dfg.constants.insert(ConstantData::from(bytes));
        self.b.ins().vconst(I64X2, constant)
    }

    pub fn i32x4(&mut self, lanes: [i32; 4]) -> Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|l| l.to_le_bytes()).collect();
        let constant = self.b.func.dfg.constants.insert(ConstantData::from(bytes));
        self.b.ins().vconst(I32X4, constant)
    }

    /// The even 32-bit lanes of two vectors: 64-bit masks or integers made 32-bit.
    pub fn narrow_64(&mut self, low: Value, high: Value) -> Value {
        let mask = V128Imm([0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27]);
        let mask = self.b.func.dfg.immediates.push(ConstantData::from(mask.0.as_slice()));
        let low = self.b.ins().bitcast(I8X16, reinterpret(), low);
        let high = self.b.ins().bitcast(I8X16, reinterpret(), high);
        let joined = self.b.ins().shuffle(low, high, mask);
        self.b.ins().bitcast(I32X4, reinterpret(), joined)
    }

    /// Truth parts with 32 bits a lane.
    pub fn mask_32(&mut self, parts: &[Value]) -> Vec<Value> {
        match self.b.func.dfg.value_type(parts[0]) {
            I64X2 => parts.chunks(2).map(|pair| self.narrow_64(pair[0], pair[1])).collect(),
            _ => parts.to_vec(),
        }
    }

    /// Truth parts with 64 bits a lane.
    pub fn mask_64(&mut self, parts: &[Value]) -> Vec<Value> {
        match self.b.func.dfg.value_type(parts[0]) {
            I64X2 => parts.to_vec(),
            _ => parts
                .iter()
                .flat_map(|&p| {
                    let low = self.b.ins().swiden_low(p);
                    let high = self.b.ins().swiden_high(p);
                    [low, high]
                })
                .collect(),
        }
    }

    /// Truth parts as wide as the lanes of a type.
    pub fn mask_for(&mut self, parts: &[Value], ty: ValueType) -> Vec<Value> {
        match ty {
            ValueType::F64 | ValueType::I64 => self.mask_64(parts),
            ValueType::F32 | ValueType::I32 | ValueType::Bool => self.mask_32(parts),
        }
    }

    /// Lane `lane` of vectors of a type, as a scalar.
    pub fn lane(&mut self, parts: &[Value], ty: ValueType, lane: usize) -> Value {
        let width = self.b.func.dfg.value_type(parts[0]).lane_count() as usize;
        let element = self.b.ins().extractlane(parts[lane / width], (lane % width) as u8);
        match ty {
            ValueType::Bool => self.truth_of_mask(element),
            ValueType::F32 | ValueType::F64 | ValueType::I32 | ValueType::I64 => element,
        }
    }

    /// 0 or -1 to a scalar truth value.
    pub fn truth_of_mask(&mut self, mask: Value) -> Value {
        self.b.ins().icmp_imm_s(cranelift_codegen::ir::condcodes::IntCC::NotEqual, mask, 0)
    }

    /// Scalars, lane 0 first, to vectors.
    pub fn collect_lanes(&mut self, scalars: &[Value], ty: ValueType) -> Vec<Value> {
        let width = lanes_of(ty);
        scalars
            .chunks(width)
            .map(|chunk| {
                let lanes: Vec<Value> = chunk
                    .iter()
                    .map(|&s| match ty {
                        ValueType::Bool => self.b.ins().bmask(I32, s),
                        ValueType::F32 | ValueType::F64 | ValueType::I32 | ValueType::I64 => s,
                    })
                    .collect();
                let mut vector = self.b.ins().scalar_to_vector(vector_type(ty), lanes[0]);
                for (i, &lane) in lanes.iter().enumerate().skip(1) {
                    vector = self.b.ins().insertlane(vector, lane, i as u8);
                }
                vector
            })
            .collect()
    }

    /// Truth values stored as bytes 0 or 1, to masks: the low 4 or 8 bytes of `bytes` as I16X8 lanes.
    pub fn masks_of_wide_bytes(&mut self, bytes: Value) -> [Value; 2] {
        let zero = self.i32x4([0; 4]);
        let low = self.b.ins().uwiden_low(bytes);
        let high = self.b.ins().uwiden_high(bytes);
        [low, high].map(|v| self.b.ins().icmp(cranelift_codegen::ir::condcodes::IntCC::NotEqual, v, zero))
    }

    /// Masks of eight lanes to eight 16-bit lanes of 0 or 1.
    pub fn ones_16(&mut self, low: Value, high: Value) -> Value {
        let one = self.i32x4([1; 4]);
        let low = self.b.ins().band(low, one);
        let high = self.b.ins().band(high, one);
        let joined = self.b.ins().snarrow(low, high);
        debug_assert_eq!(self.b.func.dfg.value_type(joined), I16X8);
        joined
    }
}
