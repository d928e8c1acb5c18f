//! Loop nests to machine code, with Cranelift and, for loops over lanes, with instructions of our own.
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
//! | `emit/wide` | which loops over lanes become wide functions, and how code calls them |
//! | `wide` | blocks of steps as functions on vectors of 256 or 512 bits |
//! | `calls` | the slice functions of `bdl-kernels` that code calls |
//!
//! Cranelift has 128-bit vectors and does not vectorise. `Lanes` loops become wide functions where they can; else they are written as blocks of 4 to
//! 16 lanes, and what needs wide vectors (exp, tanh, ...) is called on tiles. Scalar, narrow and wide code give the same bits, so a value
//! does not depend on where in a loop it falls, nor on the processor.
//!
//! Deliberately absent: decisions about fusion, storage or threads (the plan holds them), and everything about equations.

mod calls;
mod code;
mod emit;
mod facts;
mod wide;

pub use code::{Code, Error, asm_text, clif_text, compile, compile_on, host_isa};
