//! The loops around a tile.
//!
//! ```text
//! chunk of k (512)
//!   block of rows (168): copied if rows of A collide in the cache
//!     group of columns (4 panels): copied if B lies badly
//!       panel of columns (2 vectors)
//!         tile (14 rows)
//! ```
//!
//! A block and a group stay in the second-level cache while they are used. Most operands are read where they lie. None of
//! the sizes but [`CHUNK`] shows in a result.

use super::pack::{Chunk, copy_a, pack_b, with_scratch};
use super::tile::{Panel, Steps, Target, Tiles};
use super::{CHUNK, Job};
use crate::vector_math::lanes::Lanes;

/// Rows of a block, a multiple of a tile's on every instruction set.
const BLOCK_ROWS: usize = 168;
/// Panels of a group.
const GROUP: usize = 4;

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
    let in_registers = job.m <= 3 && job.n >= 8 && job.b.row == 1 && job.b.col != 1 && job.taps.count == 1;
    let mut from = 0;
    while from < total {
        let chunk = Chunk { from, len: (total - from).min(CHUNK) };
        // SAFETY: the caller's promise.
        unsafe {
            if in_registers {
                few_rows::<T>(job, chunk);
            } else {
                contract_chunk::<T>(job, chunk);
            }
        }
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

/// Does B have to be copied? Not if vectors can be loaded from it and its steps are even. A tile of few rows does little work
/// a step, so it is slowed by steps that lie far apart; there a copy pays for itself after a dozen tiles.
fn copy_columns<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>) -> bool {
    let even_steps = job.taps.count == 1 || job.taps.b == job.k as isize * job.b.row;
    let many_small_tiles = T::ROWS < 8 && job.m > 12 * T::ROWS;
    job.b.col != 1 || !even_steps || many_small_tiles
}

/// Are the rows of A copied? Pays where they fall on the same places of the first-level cache.
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
    let (copy_rows, copy_columns) = (copy_rows::<T>(job), copy_columns::<T>(job));
    // A tile of few rows needs more vectors for enough chains to run side by side.
    let most_vectors = if job.m <= 3 && job.n >= T::WIDE * n { T::WIDE } else { 2 };
    let width = most_vectors * n;
    let group = if most_vectors == 2 { GROUP * width } else { width };
    // The rows of tiles differ by at most one.
    let tiles = job.m.div_ceil(T::ROWS);
    let rows_of = |tile: usize| (tile * job.m / tiles, (tile + 1) * job.m / tiles);
    // Steps of the taps lie evenly where B is not copied, so the chunk starts this far from the first.
    let b = job.b.ptr.wrapping_offset(chunk.from as isize * job.b.row);
    // Rows of the copy of A are a cache line longer than a chunk, so that they do not collide again.
    let line = chunk.len + 64 / size_of::<<T::L as Lanes>::Elem>();
    let columns_room = chunk.len * group.min(job.n.next_multiple_of(width));
    let rows_room = if copy_rows { line * BLOCK_ROWS.min(job.m) } else { 0 };
    with_scratch(columns_room + rows_room, |columns_copy: *mut <T::L as Lanes>::Elem| {
        let rows_copy = columns_copy.wrapping_add(columns_room);
        for block in (0..tiles).step_by(BLOCK_ROWS / T::ROWS) {
            let block_end = (block + BLOCK_ROWS / T::ROWS).min(tiles);
            let block_row = rows_of(block).0;
            if copy_rows {
                // SAFETY: the scratch holds a block of rows.
                unsafe { copy_a(job, chunk, block_row, rows_of(block_end - 1).1, rows_copy, line) }
            }
            for first in (0..job.n).step_by(group) {
                let end = (first + group).min(job.n);
                // Columns from here on are copied; that is always so for those that do not fill a vector.
                let whole = if copy_columns { first } else { first + (end - first) / n * n };
                let copy_width = if end - whole <= n { n } else { width };
                if whole < end {
                    // SAFETY: the scratch holds a group of columns.
                    unsafe { pack_b::<T::L>(job, chunk, whole, end - whole, copy_width, columns_copy) }
                }
                let mut col = first;
                while col < end {
                    let (panel, vectors, cols) = if col < whole {
                        let left = (whole - col) / n;
                        let vectors = if left >= most_vectors { most_vectors } else { left.min(2) };
                        (Panel { b: b.wrapping_add(col), step: job.b.row }, vectors, vectors * n)
                    } else {
                        let b = columns_copy.wrapping_add((col - whole) * chunk.len);
                        (Panel { b, step: copy_width as isize }, copy_width / n, (end - col).min(copy_width))
                    };
                    for tile in block..block_end {
                        let (row, row_end) = rows_of(tile);
                        let mut steps = steps(job, chunk, row);
                        if copy_rows {
                            let a = rows_copy.wrapping_add((row - block_row) * line);
                            steps =
                                Steps { a, row: line as isize, col: 1, k: chunk.len, first: 0, tap: 0, len: chunk.len };
                        }
                        let c = job.c.ptr.wrapping_offset(row as isize * job.c.row + col as isize * job.c.col);
                        let target = Target { c, row: job.c.row, col: job.c.col, cols, add };
                        // SAFETY: the tile lies inside A, B or their copies, and C.
                        unsafe { T::run(row_end - row, vectors, &steps, panel, &target) }
                    }
                    col += cols;
                }
            }
        }
    });
}

/// One chunk of a product of at most three rows with columns of B that run along k: squares of B are turned in passing, for
/// a copy would cost as much as the work.
///
/// # Safety
/// [`contract`]'s, with one tap and unit stride along the columns of B.
#[inline(always)]
unsafe fn few_rows<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>, chunk: Chunk) {
    let add = job.add || chunk.from > 0;
    let steps = steps(job, chunk, 0);
    let width = T::TURNED_WIDTH;
    for col in (0..job.n).step_by(width) {
        let b = job.b.ptr.wrapping_offset(chunk.from as isize + col as isize * job.b.col);
        let c = job.c.ptr.wrapping_offset(col as isize * job.c.col);
        let target = Target { c, row: job.c.row, col: job.c.col, cols: (job.n - col).min(width), add };
        // SAFETY: the tile lies inside A, B and C.
        unsafe { T::run_turned(job.m, &steps, Panel { b, step: job.b.col }, &target) }
    }
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
