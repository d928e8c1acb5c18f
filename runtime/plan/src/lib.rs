//! The plan: the contract between compiler and runtime. Buffers, kernels as loop nests, contractions, launches: plain data, free of
//! equations, CLIF and PTX. The scheduler writes it; back ends turn its kernels into code; the executor runs its launches in order.
//!
//! See [`data`] for the exact meaning of every part.
//!
//! Deliberately absent: decisions. Which loops are fused, stored, split or run in parallel is settled before a plan exists.

pub mod blocks;
pub mod chains;
pub mod code;
pub mod data;
pub mod device;
pub mod image;
mod passing;
mod products;
mod text;
mod touches;
pub mod traffic;
mod verify;

pub use chains::{CHAIN, chained, constant_extent};
pub use code::{CompiledKernels, KernelError, KernelFn};
pub use data::*;
pub use device::{
    Argument, DeviceCode, DeviceKernel, OF_EPILOGUE, Pack, Parts, Recurrence, Share, contractions, each_launch,
};
pub use passing::{kept_slots, passing};
pub use products::Products;
pub use text::{ParseError, parse_kernel, parse_plan};
pub use touches::touches;
pub use verify::{VerifyError, verify, verify_kernel};
