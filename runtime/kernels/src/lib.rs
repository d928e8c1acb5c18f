//! What compiled models call: random numbers, functions of slices, contractions, key sorting, and questions about the machine.
//!
//! Generated code does loads, arithmetic and indexing itself. It comes here for the things that need wide vectors or a
//! well-tuned algorithm:
//!
//! | module | job |
//! |---|---|
//! | [`philox`] | random values that depend only on (seed, step, site, example, index) |
//! | [`vector_math`] | `exp`, `tanh`, `erf`, ... over slices |
//! | [`contraction`] | `C[m, n] (+)= sum k: A[m, k] * B[k, n]` over any strides |
//! | [`winograd`] | convolutions of images with 3 x 3 taps, with fewer products |
//! | [`sort`] | stable order of integer keys and the segments they form |
//! | [`machine`] | allowed processors, pinning, measured peak |
//! | [`isa`] | which instruction set the above use |
//!
//! **The same bits everywhere.** Every value is defined operation by operation (with fused multiply-adds where written), so
//! AVX-512, AVX2 and portable code agree to the bit, and no result depends on how a slice or a matrix was cut into pieces.
//! Changing that definition changes every recorded result: treat it as a format.
//!
//! This crate knows nothing of plans, equations or models. It keeps no state but a scratch buffer a thread, and starts threads
//! only to measure the machine.

pub mod contraction;
pub mod isa;
pub mod machine;
pub mod philox;
pub mod sort;
pub mod vector_math;
pub mod winograd;

/// The two floating types kernels exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Float {
    F32,
    F64,
}
