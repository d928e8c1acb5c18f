//! The loops around a tile.
//!
//! ```text
//! chunk of k (512)
//!   block of rows (168): copied once if the rows of A collide in the cache
//!     panel of columns (2 vectors): copied if B lies badly
//!       tile (14 rows x 2 vectors)
//! ```
//!
//! A panel stays in the second-level cache while the tiles of a block go over it, so copying it costs a few percent of a
//! block at most, and most operands are read where they lie. None of the sizes but [`CHUNK`] shows in a result.

use super::pack::{Chunk, copy_a, pack_b, with_scratch};
use super::tile::{Panel, Steps, Target, Tiles};
use super::{CHUNK, Job};
use crate::vector_math::lanes::Lanes;

/// Rows of a block: 12 tiles in AVX-512, 28 elsewhere.
const BLOCK_ROWS: usize = 168;

/// # Safety
/// The contract of a contraction, on a processor with the instruction set of T.
#[inline(always)]
unsafe fn contract<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>) {
    let total = job.taps.count * job.k;
    if job.m == 0 || job.n == 0 {
        return;
    }
    if total == 0 {
        if !job.add {
            // SAFETY: C[i, j] is writable.
            unsafe { clear(job) }
        }
        return;
    }
    let mut from = 0;
    while from < total {
        let chunk = Chunk { from, len: (total - from).min(CHUNK) };
        // SAFETY: the caller's promise.
        unsafe { contract_chunk::<T>(job, chunk) }
        from += chunk.len;
    }
}

/// # Safety
/// C is writable.
unsafe fn clear<E: Copy + Default>(job: &Job<E>) {
    for i in 0..job.m as isize {
        for j in 0..job.n as isize {
            // SAFETY: the caller's promise.
            unsafe { *job.c.ptr.offset(i * job.c.row + j * job.c.col) = E::default() }
        }
    }
}

/// Rows of A at the first step of a chunk, without packing.
#[inline(always)]
fn steps<E>(job: &Job<E>, chunk: Chunk, row: usize) -> Steps<E> {
    let (tap, first) = (chunk.from / job.k, chunk.from % job.k);
    let offset = tap as isize * job.taps.a + first as isize * job.a.col + row as isize * job.a.row;
    Steps {
        a: job.a.ptr.wrapping_offset(offset),
        row: job.a.row,
        col: job.a.col,
        k: job.k,
        first,
        tap: job.taps.a,
        len: chunk.len,
    }
}

/// Does B have to be copied? Not if vectors can be loaded from it and its steps are even.
fn copy_columns<E>(job: &Job<E>) -> bool {
    job.b.col != 1 || !(job.taps.count == 1 || job.taps.b == job.k as isize * job.b.row)
}

/// Is a block of A copied? Pays where its rows fall on the same places of the first-level cache.
fn copy_rows<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>) -> bool {
    let line = job.a.row.unsigned_abs() * size_of::<<T::L as Lanes>::Elem>();
    job.a.col == 1 && job.k >= 32 && job.m > 1 && job.n >= 8 * T::L::N && line.is_multiple_of(1024) && line > 0
}

/// One chunk.
///
/// # Safety
/// [`contract`]'s.
#[inline(always)]
unsafe fn contract_chunk<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>, chunk: Chunk) {
    let n = T::L::N;
    let add = job.add || chunk.from > 0;
    let (copy_rows, copy_columns) = (copy_rows::<T>(job), copy_columns(job));
    // A tile of few rows needs more vectors for enough chains to run side by side.
    let most_vectors = if job.m <= 3 && job.n >= T::WIDE * n { T::WIDE } else { 2 };
    // The rows of tiles differ by at most one.
    let tiles = job.m.div_ceil(T::ROWS);
    let rows_of = |tile: usize| (tile * job.m / tiles, (tile + 1) * job.m / tiles);
    // Steps of the taps lie evenly where B is not copied, so the chunk starts this far from the first.
    let b = job.b.ptr.wrapping_offset(chunk.from as isize * job.b.row);
    // Rows of the copy of A are a cache line longer than a chunk, so that they do not collide again.
    let line = chunk.len + 64 / size_of::<<T::L as Lanes>::Elem>();
    let room = chunk.len * most_vectors * n + if copy_rows { BLOCK_ROWS * line } else { 0 };
    with_scratch(room, |panel: *mut <T::L as Lanes>::Elem| {
        let block = panel.wrapping_add(chunk.len * most_vectors * n);
        for first in (0..tiles).step_by(BLOCK_ROWS / T::ROWS) {
            let last = (first + BLOCK_ROWS / T::ROWS).min(tiles);
            let (first_row, end_row) = (rows_of(first).0, rows_of(last - 1).1);
            // SAFETY: the scratch holds a panel and a block of the chunk; tiles stay inside A, B or its copy, and C.
            unsafe {
                if copy_rows {
                    copy_a(job, chunk, first_row, end_row, block, line);
                }
                let mut col = 0;
                while col < job.n {
                    let left = job.n - col;
                    let vectors = if left > n { most_vectors.min(left.div_ceil(n).max(2)) } else { 1 };
                    let vectors = if vectors == most_vectors { vectors } else { vectors.min(2) };
                    let cols = left.min(vectors * n);
                    let mut source = Panel { b: b.wrapping_offset(col as isize * job.b.col), step: job.b.row };
                    if copy_columns || cols < vectors * n {
                        pack_b::<T::L>(job, chunk, col, cols, vectors * n, panel);
                        source = Panel { b: panel, step: (vectors * n) as isize };
                    }
                    for tile in first..last {
                        let (row, end) = rows_of(tile);
                        let mut steps = steps(job, chunk, row);
                        if copy_rows {
                            let a = block.add((row - first_row) * line);
                            steps =
                                Steps { a, row: line as isize, col: 1, k: chunk.len, first: 0, tap: 0, len: chunk.len };
                        }
                        let c = job.c.ptr.wrapping_offset(row as isize * job.c.row + col as isize * job.c.col);
                        let target = Target { c, row: job.c.row, col: job.c.col, cols, add };
                        T::run(end - row, vectors, &steps, source, &target);
                    }
                    col += cols;
                }
            }
        }
    });
}

macro_rules! compiled_for {
    ($(#[$feature:meta])* $name:ident $Tiles:ident $T:ty) => {
        /// # Safety
        /// [`contract`]'s.
        $(#[$feature])*
        pub(super) unsafe fn $name(job: &Job<$T>) {
            // SAFETY: the caller's promise.
            unsafe { contract::<super::tile::$Tiles>(job) }
        }
    };
}
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")] avx512_f32 Avx512TilesF32 f32 }
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")] avx512_f64 Avx512TilesF64 f64 }
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx2,fma")] avx2_f32 Avx2TilesF32 f32 }
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx2,fma")] avx2_f64 Avx2TilesF64 f64 }
compiled_for! { portable_f32 PortableTilesF32 f32 }
compiled_for! { portable_f64 PortableTilesF64 f64 }
