//! Loops over lanes on vectors of 512 bits (AVX-512) or 256 (AVX2), which Cranelift does not have: its widest are 128 bits.
//!
//! `emit/wide` sees which loops are straight-line f32 code and gives them as [`block::Block`]s; here each becomes a function in machine code,
//! which the kernel's code calls in place of the loop. The operations and their order are those of the narrow code, so the bits are, too.

pub mod block;
mod encode;
pub mod function;
pub mod instruction;
mod print;
mod select;

#[cfg(test)]
mod tests;
