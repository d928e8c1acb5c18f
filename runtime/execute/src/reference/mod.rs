//! The meaning of a plan, in plain Rust that checks every access: slow, for tests.
//!
//! Kernels are interpreted with the same operations as generated code, so results agree to the bit: same element functions, fused
//! multiply-adds exactly where a `Combine` sums a product, and the order of reductions over `Lanes` loops (lane i of whole blocks of 8 into
//! accumulator i % 8, the rest directly, accumulators joined in a tree at the end).
//!
//! Contractions are summed naively in f64, their factors rounded first where products are of tf32 or bf16 ([`RunInputs::products`]): they agree with
//! the kernels' results up to the rounding of sums.
//!
//! Every buffer has its own memory here, so a plan whose slots overlap wrongly gives other results than the executor. Memory that nobody
//! wrote holds NaN, or a very negative integer.

mod kernel;
mod plan;

pub use kernel::{Order, run_kernel, run_kernel_in};
pub use plan::{RunInputs, run_plan};

use bdl_plan::DType;

/// An access that should not have been, or a plan that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// The elements of a buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    F32(Vec<f32>),
    F64(Vec<f64>),
    BF16(Vec<u16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    Bool(Vec<u8>),
}

/// A number in a register.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    F32(f32),
    F64(f64),
    I32(i32),
    I64(i64),
    Bool(bool),
}

impl Array {
    /// Elements that nobody wrote.
    pub fn unwritten(dtype: DType, len: usize) -> Array {
        match dtype {
            DType::F32 => Array::F32(vec![f32::NAN; len]),
            DType::F64 => Array::F64(vec![f64::NAN; len]),
            DType::BF16 => Array::BF16(vec![0x7fc0; len]),
            DType::I32 => Array::I32(vec![i32::MIN / 2; len]),
            DType::I64 => Array::I64(vec![i64::MIN / 4; len]),
            DType::Bool => Array::Bool(vec![0; len]),
        }
    }

    pub fn from_f64(dtype: DType, numbers: &[f64]) -> Array {
        let mut array = Array::unwritten(dtype, numbers.len());
        numbers.iter().enumerate().for_each(|(i, n)| array.put(i, *n));
        array
    }

    pub fn len(&self) -> usize {
        match self {
            Array::F32(x) => x.len(),
            Array::F64(x) => x.len(),
            Array::BF16(x) => x.len(),
            Array::I32(x) => x.len(),
            Array::I64(x) => x.len(),
            Array::Bool(x) => x.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn dtype(&self) -> DType {
        match self {
            Array::F32(_) => DType::F32,
            Array::F64(_) => DType::F64,
            Array::BF16(_) => DType::BF16,
            Array::I32(_) => DType::I32,
            Array::I64(_) => DType::I64,
            Array::Bool(_) => DType::Bool,
        }
    }

    /// Element i as a number of f64. Panics outside.
    pub fn at(&self, i: usize) -> f64 {
        match self.load(i) {
            Number::F32(x) => f64::from(x),
            Number::F64(x) => x,
            Number::I32(x) => f64::from(x),
            Number::I64(x) => x as f64,
            Number::Bool(x) => f64::from(u8::from(x)),
        }
    }

    /// Rounds to the array's type. Panics outside.
    pub fn put(&mut self, i: usize, number: f64) {
        match self {
            Array::F32(x) => x[i] = number as f32,
            Array::F64(x) => x[i] = number,
            Array::BF16(x) => x[i] = crate::memory::bf16_of(number as f32),
            Array::I32(x) => x[i] = number as i32,
            Array::I64(x) => x[i] = number as i64,
            Array::Bool(x) => x[i] = u8::from(number != 0.0),
        }
    }

    fn load(&self, i: usize) -> Number {
        match self {
            Array::F32(x) => Number::F32(x[i]),
            Array::F64(x) => Number::F64(x[i]),
            Array::BF16(x) => Number::F32(crate::memory::f32_of(x[i])),
            Array::I32(x) => Number::I32(x[i]),
            Array::I64(x) => Number::I64(x[i]),
            Array::Bool(x) => Number::Bool(x[i] != 0),
        }
    }

    fn store(&mut self, i: usize, number: Number) -> Result<(), Fault> {
        match (self, number) {
            (Array::F32(x), Number::F32(n)) => x[i] = n,
            (Array::F64(x), Number::F64(n)) => x[i] = n,
            (Array::BF16(x), Number::F32(n)) => x[i] = crate::memory::bf16_of(n),
            (Array::I32(x), Number::I32(n)) => x[i] = n,
            (Array::I64(x), Number::I64(n)) => x[i] = n,
            (Array::Bool(x), Number::Bool(n)) => x[i] = u8::from(n),
            (array, number) => return Err(Fault(format!("{number:?} stored as {:?}", array.dtype()))),
        }
        Ok(())
    }

    /// As bytes, to hand to generated code.
    pub fn pointer(&mut self) -> *mut u8 {
        match self {
            Array::F32(x) => x.as_mut_ptr().cast(),
            Array::F64(x) => x.as_mut_ptr().cast(),
            Array::BF16(x) => x.as_mut_ptr().cast(),
            Array::I32(x) => x.as_mut_ptr().cast(),
            Array::I64(x) => x.as_mut_ptr().cast(),
            Array::Bool(x) => x.as_mut_ptr(),
        }
    }

    /// Equal to the bit, any NaN being like any other.
    pub fn same_bits(&self, other: &Array) -> bool {
        match (self, other) {
            (Array::F32(x), Array::F32(y)) => {
                x.len() == y.len()
                    && x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan())
            }
            (Array::F64(x), Array::F64(y)) => {
                x.len() == y.len()
                    && x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan())
            }
            (Array::BF16(x), Array::BF16(y)) => {
                let nan = |b: u16| b & 0x7fff > 0x7f80;
                x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x == y || nan(*x) && nan(*y))
            }
            (x, y) => x == y,
        }
    }
}
