//! `C[m, n] (+)= sum k: A[m, k] * B[k, n]` of f32 whose factors are rounded to bf16: exact products, summed in f32.
//!
//! **Definition.** Each factor is rounded once, half to even ([`rounded`]; what is smaller than the smallest normal number becomes zero). k is taken
//! in chunks of [`CHUNK`] as in f32, and each chunk in pairs from its first step on. A chunk's sum starts at 0; a pair `(2i, 2i + 1)` adds the
//! product of its *second* step, then that of its first, each by a fused multiply-add in f32, and a sum below the smallest normal number becomes
//! zero. A step that is missing in the last pair counts as 0 * 0. Chunk sums are added to C in order, in f32. So an element of C is a function of
//! its row of A, its column of B, k and its old value, with the same bits among any other rows and columns, for any strides, and with operands
//! exchanged.
//!
//! That is what `vdpbf16ps` computes (Intel SDM, "VDPBF16PS": two fused multiply-adds, the odd one first, round to nearest even, denormals are zero
//! going in and coming out, whatever MXCSR says). A processor without it computes the same by two multiply-adds and a comparison each. One case is
//! left open: a sum that lies below the smallest normal number and rounds up to it (2^-126) may be that number or zero.
//!
//! ```
//! use bdl_kernels::contraction::{Mode, bf16};
//! let (a, b) = ([1.0, 1.0 + 1.0 / 512.0], [3.0, 3.0]); // 1 + 2^-9 has no place in 8 binary digits
//! let mut c = [0.0];
//! bf16::product(1, 1, 2, &a, &b, &mut c, Mode::Write);
//! assert_eq!(c, [6.0]);
//! ```
//!
//! | file | job |
//! |---|---|
//! | `pairs.rs` | how two pairs are multiplied and how pairs are made, for each instruction set |
//! | `tile.rs` | the innermost loop: rows x 2 vectors of C in registers |
//! | `blocks.rs` | the loops around it; copies of both operands as pairs |
//!
//! Both operands are always copied, since both are rounded. A row that overlaps the next one is copied with its overlap.
//!
//! Measured with `examples/contraction_speed.rs` (one core of a Zen 4, GFLOP/s, bf16 / f32 in the same run): 64 x 512 x 2000 188 / 114, its input
//! gradient 179 / 103, its weight gradient 183 / 112; 32-channel convolution 185 / 113, its weight gradient 165 / 115, dilated 122 / 115; 1024³ 150
//! / 80; 1 x 1024 x 2400 10 / 17. `vdpbf16ps` by itself reaches 234. Without it (AVX2) about 22, where f32 reaches 100.

use super::{Job, Matrix, MatrixMut, Mode, Panels, Taps};
use crate::isa::Isa;

#[cfg(doc)]
use super::CHUNK;

mod blocks;
mod pairs;
mod tile;

pub use pairs::{bits, rounded};

/// The code that this processor can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    /// With `vdpbf16ps`.
    #[cfg(target_arch = "x86_64")]
    Dot,
    /// Multiply-adds of AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

fn code() -> Code {
    match Isa::current() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if is_x86_feature_detected!("avx512bf16") => Code::Dot,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx2 => Code::Avx2,
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512 | Isa::Avx2 => Code::Portable,
        Isa::Portable => Code::Portable,
    }
}

/// Does this processor multiply bf16 by an instruction of its own? Otherwise the same bits take longer than products of f32.
pub fn is_native() -> bool {
    match code() {
        #[cfg(target_arch = "x86_64")]
        Code::Dot => true,
        #[cfg(target_arch = "x86_64")]
        Code::Avx2 => false,
        Code::Portable => false,
    }
}

/// Columns of a panel on this processor: see [`pack_panels`].
pub fn panel_width() -> usize {
    match code() {
        #[cfg(target_arch = "x86_64")]
        Code::Dot => 32,
        #[cfg(target_arch = "x86_64")]
        Code::Avx2 => 16,
        Code::Portable => 16,
    }
}

/// Copies rows `0..k` and columns `0..n` of B into panels of pairs, the first of them to `out`: panel p holds columns `p * width` and on, pair after
/// pair of steps, `width` pairs of 4 bytes side by side. Of an odd number of steps the last pair has zeros.
///
/// # Safety
/// Those elements of B are readable, and `out` has room for `k.div_ceil(2) * width` elements in each panel, which `panel` lies apart.
pub unsafe fn pack_panels(k: usize, n: usize, b: Matrix<f32>, out: *mut f32, panel: usize) {
    if k == 0 || n == 0 {
        return;
    }
    let (a, c) =
        (Matrix { ptr: std::ptr::null(), row: 0, col: 0 }, MatrixMut { ptr: std::ptr::null_mut(), row: 0, col: 0 });
    let job = Job { m: 0, n, k, taps: Taps::ONE, a, b, c, add: false };
    // SAFETY: the caller's promise about memory; `code` only names what the processor has.
    unsafe {
        match code() {
            #[cfg(target_arch = "x86_64")]
            Code::Dot => blocks::dot_pack(&job, out.cast(), panel),
            #[cfg(target_arch = "x86_64")]
            Code::Avx2 => blocks::avx2_pack(&job, out.cast(), panel),
            Code::Portable => blocks::portable_pack(&job, out.cast(), panel),
        }
    }
}

/// The contraction with a right operand in panels of pairs: the same bits as without. [`Panels::row`] and [`Taps::b`] count half a line of the panel
/// a step; with several taps k is even.
///
/// # Safety
/// As for the contraction with taps; B was packed on this processor for at least n columns.
#[allow(clippy::too_many_arguments, reason = "extents, operands, mode: a struct would only rename them")]
pub unsafe fn contract_panels(
    m: usize,
    n: usize,
    k: usize,
    taps: Taps,
    a: Matrix<f32>,
    b: Panels<f32>,
    c: MatrixMut<f32>,
    mode: Mode,
) {
    let panel = b.panel;
    let b = Matrix { ptr: b.ptr, row: b.row, col: 1 };
    let mut job = Job { m, n, k, taps, a, b, c, add: mode == Mode::Add };
    job.join_taps();
    // SAFETY: the caller's promise about memory; `code` only names what the processor has.
    unsafe {
        match code() {
            #[cfg(target_arch = "x86_64")]
            Code::Dot => blocks::dot_panels(&job, panel),
            #[cfg(target_arch = "x86_64")]
            Code::Avx2 => blocks::avx2_panels(&job, panel),
            Code::Portable => blocks::portable_panels(&job, panel),
        }
    }
}

/// The contraction with an outer summed axis (see [`Taps`]).
///
/// # Safety
/// Every element of A and B that the extents and strides reach is readable and every `C[i, j]` writable; elements of C are distinct and not part of
/// A or B; with [`Mode::Add`] C is initialised.
#[allow(clippy::too_many_arguments, reason = "extents, operands, mode: a struct would only rename them")]
pub unsafe fn contract_taps(
    m: usize,
    n: usize,
    k: usize,
    taps: Taps,
    a: Matrix<f32>,
    b: Matrix<f32>,
    c: MatrixMut<f32>,
    mode: Mode,
) {
    let job = Job { m, n, k, taps, a, b, c, add: mode == Mode::Add }.normalised();
    // SAFETY: the caller's promise about memory; `code` only names what the processor has.
    unsafe {
        match code() {
            #[cfg(target_arch = "x86_64")]
            Code::Dot => blocks::dot(&job),
            #[cfg(target_arch = "x86_64")]
            Code::Avx2 => blocks::avx2(&job),
            Code::Portable => blocks::portable(&job),
        }
    }
}

/// The contraction of row-major slices: A [m, k], B [k, n], C [m, n].
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn product(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32], mode: Mode) {
    assert_eq!((a.len(), b.len(), c.len()), (m * k, k * n, m * n), "slices hold their matrices");
    let (a, b) = (Matrix::rows(a, k), Matrix::rows(b, n));
    // SAFETY: the lengths were checked, and a unique borrow overlaps nothing.
    unsafe { contract_taps(m, n, k, Taps::ONE, a, b, MatrixMut::rows(c, n), mode) }
}

#[cfg(test)]
mod tests;
