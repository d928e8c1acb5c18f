//! Kernels as machine code: what a back end hands to the executor.
//!
//! A back end promises (in [`CompiledKernels::new`]) that function number i does what kernel number i of the plan says, and that
//! the code stays mapped as long as its owner lives. The executor calls it knowing neither CLIF nor PTX.

use crate::data::{KernelId, Name};
use std::any::Any;
use std::sync::Arc;

/// A kernel for which a back end has no code: its plan did not pass the verifier, or it uses what that machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelError {
    pub kernel: Name,
    pub what: String,
}

impl std::fmt::Display for KernelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "kernel `{}`: {}", self.kernel, self.what)
    }
}

impl std::error::Error for KernelError {}

/// Runs grid points `begin..end` of a kernel.
///
/// `buffers`: one pointer for each of the kernel's buffers, already moved to the slice's first element.
/// `sizes`: one number for each name in the kernel's `sizes`.
pub type KernelFn = unsafe extern "C" fn(buffers: *const *mut u8, sizes: *const i64, begin: i64, end: i64);

/// The functions of a plan's kernels, by [`KernelId`]. Cheap to clone.
#[derive(Clone)]
pub struct CompiledKernels {
    functions: Arc<[KernelFn]>,
    _owner: Arc<dyn Any + Send + Sync>,
}

impl CompiledKernels {
    /// # Safety
    /// `functions[i]` implements kernel i of the plans this is used with, may be called from any thread, and stays callable as
    /// long as `owner` lives.
    pub unsafe fn new(functions: Vec<KernelFn>, owner: Arc<dyn Any + Send + Sync>) -> CompiledKernels {
        CompiledKernels { functions: functions.into(), _owner: owner }
    }

    pub fn get(&self, kernel: KernelId) -> Option<KernelFn> {
        self.functions.get(kernel.0 as usize).copied()
    }

    pub fn len(&self) -> usize {
        self.functions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }
}

impl std::fmt::Debug for CompiledKernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} kernels", self.functions.len())
    }
}
