//! The loops around a tile: chunks of k, then blocks of columns of B that are packed, then blocks of rows.
//!
//! None of the sizes here but [`CHUNK`] shows in a result; they are chosen for caches.

use super::pack::{Chunk, pack_a, pack_b, with_scratch};
use super::tile::{Panel, Steps, Target, Tiles};
use super::{CHUNK, Job};
use crate::vector_math::lanes::Lanes;

/// Bytes of packed B kept in the second-level cache.
const PACKED_BYTES: usize = 640 * 1024;

/// Up to so many rows B is read where it lies.
const IN_PLACE_ROWS: usize = 160;

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
        unsafe {
            if in_place::<T>(job) {
                unpacked::<T>(job, chunk);
            } else {
                packed::<T>(job, chunk);
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

/// One chunk, over packed panels of B.
///
/// # Safety
/// [`contract`]'s.
#[inline(always)]
unsafe fn packed<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>, chunk: Chunk) {
    let n = T::L::N;
    let add = job.add || chunk.from > 0;
    // A tile of few rows needs more vectors for enough chains to run side by side.
    let vectors = if job.m <= 3 && job.n >= T::WIDE * n { T::WIDE } else { 2 };
    let width = vectors * n;
    let block_cols = (PACKED_BYTES / size_of::<<T::L as Lanes>::Elem>() / CHUNK / width).max(1) * width;
    let most_cols = job.n.min(block_cols).next_multiple_of(width);
    // Rows of a block differ by at most one.
    let row_blocks = job.m.div_ceil(T::ROWS);
    with_scratch(chunk.len * (most_cols + T::ROWS), |scratch: *mut <T::L as Lanes>::Elem| {
        let mut col = 0;
        while col < job.n {
            let cols = (job.n - col).min(block_cols);
            // A last panel of at most one vector is packed as such.
            let wide = cols / width * width;
            let (wide, narrow) = if cols - wide > n { (cols, 0) } else { (wide, cols - wide) };
            // SAFETY: the scratch holds `most_cols` columns, then ROWS rows, of the chunk; tiles stay inside A, B's panels
            // and C.
            unsafe {
                let narrow_panel = scratch.add(chunk.len * wide.next_multiple_of(width));
                if wide > 0 {
                    pack_b::<T::L>(job, chunk, col, wide, width, scratch);
                }
                if narrow > 0 {
                    pack_b::<T::L>(job, chunk, col + wide, narrow, n, narrow_panel);
                }
                let packed_rows = scratch.add(chunk.len * most_cols);
                let pack_rows = worth_packing(job, wide.div_ceil(width) + usize::from(narrow > 0));
                for block in 0..row_blocks {
                    let (row, end) = (block * job.m / row_blocks, (block + 1) * job.m / row_blocks);
                    let rows = end - row;
                    let mut steps = steps(job, chunk, row);
                    if pack_rows {
                        pack_a::<T::L>(job, chunk, row, rows, packed_rows);
                        steps = Steps {
                            a: packed_rows,
                            row: 1,
                            col: rows as isize,
                            k: chunk.len,
                            first: 0,
                            tap: 0,
                            len: chunk.len,
                        };
                    }
                    let c = job.c.ptr.wrapping_offset(row as isize * job.c.row + col as isize * job.c.col);
                    let target = |at: usize, cols: usize| Target {
                        c: c.wrapping_offset(at as isize * job.c.col),
                        row: job.c.row,
                        col: job.c.col,
                        cols,
                        add,
                    };
                    let mut at = 0;
                    while at < wide {
                        let panel = Panel { b: scratch.add(at * chunk.len), step: width as isize };
                        T::run(rows, vectors, &steps, panel, &target(at, (wide - at).min(width)));
                        at += width;
                    }
                    if narrow > 0 {
                        let panel = Panel { b: narrow_panel, step: n as isize };
                        T::run(rows, 1, &steps, panel, &target(wide, narrow));
                    }
                }
            }
            col += cols;
        }
    });
}

/// Is a block of A packed before its panels are run? Costs about a panel's time; pays where the rows of A fall on the
/// same places of the first-level cache, or where each step is on another page.
fn worth_packing<E>(job: &Job<E>, panels: usize) -> bool {
    let bytes = |stride: isize| stride.unsigned_abs() * size_of::<E>();
    let collide = job.a.col.unsigned_abs() * size_of::<E>() < 64 && bytes(job.a.row).is_multiple_of(1024);
    let far = bytes(job.a.col) >= 1024;
    job.m > 1 && panels >= 4 && (collide || far)
}

/// Are there so few rows that copying B costs more than reading it where it lies?
fn in_place<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>) -> bool {
    let even_steps = job.taps.count == 1 || job.taps.b == job.k as isize * job.b.row;
    job.m <= IN_PLACE_ROWS && job.b.col == 1 && even_steps
}

/// One chunk, over B as it lies; only columns that do not fill a vector are packed.
///
/// # Safety
/// [`contract`]'s, where [`in_place`] holds.
#[inline(always)]
unsafe fn unpacked<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>, chunk: Chunk) {
    let n = T::L::N;
    let add = job.add || chunk.from > 0;
    let row_blocks = job.m.div_ceil(T::ROWS);
    // The steps of all taps lie evenly, so the chunk's first is this far from the first of all.
    let b = job.b.ptr.wrapping_offset(chunk.from as isize * job.b.row);
    // SAFETY: whole vectors lie inside the rows of B; what is left over is packed.
    unsafe {
        let run_rows = |col: usize, cols: usize, vectors: usize, panel: Panel<<T::L as Lanes>::Elem>| {
            for block in 0..row_blocks {
                let (row, end) = (block * job.m / row_blocks, (block + 1) * job.m / row_blocks);
                let c = job.c.ptr.wrapping_offset(row as isize * job.c.row + col as isize * job.c.col);
                let target = Target { c, row: job.c.row, col: job.c.col, cols, add };
                T::run(end - row, vectors, &steps(job, chunk, row), panel, &target);
            }
        };
        let mut col = 0;
        while col + n <= job.n {
            let left = job.n - col;
            let vectors = if job.m <= 3 && left >= T::WIDE * n { T::WIDE } else { (left / n).min(2) };
            run_rows(col, vectors * n, vectors, Panel { b: b.wrapping_add(col), step: job.b.row });
            col += vectors * n;
        }
        if col < job.n {
            with_scratch(chunk.len * n, |scratch: *mut <T::L as Lanes>::Elem| {
                pack_b::<T::L>(job, chunk, col, job.n - col, n, scratch);
                run_rows(col, job.n - col, 1, Panel { b: scratch, step: n as isize });
            });
        }
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
