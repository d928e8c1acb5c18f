//! Loop nests to machine code, with Cranelift.
//!
//! ```text
//! kernel relu_bias(h: f32 update, b: f32 read)          movups (%rax), %xmm0
//!   for r in 0..rows                              ->    addps  (%rcx), %xmm0
//!     for c in 0..64 lanes: ...                         maxps  %xmm1, %xmm0 ...
//! ```
//!
//! | module | job |
//! |---|---|
//! | `code` | kernels in, functions out; equal kernels once; text for `bdl emit` |
//! | `facts` | which values differ from lane to lane |
//! | `emit` | statements, loops, blocks of lanes, tiles between calls, loads and stores |
//! | `calls` | the slice functions of `bdl-kernels` that code calls |
//!
//! Cranelift has 128-bit vectors and does not vectorise: `Lanes` loops are written as blocks of 4 to 16 lanes, and what needs wide
//! vectors (exp, tanh, ...) is called on tiles. Scalar and vector code give the same bits, so a value does not depend on
//! where in a loop it falls.
//!
//! Deliberately absent: decisions about fusion, storage or threads (the plan holds them), and everything about equations.

mod calls;
mod code;
mod emit;
mod facts;
mod wide;

pub use code::{Code, Error, asm_text, clif_text, compile, compile_on, host_isa};
