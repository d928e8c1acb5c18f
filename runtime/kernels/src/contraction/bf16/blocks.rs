//! The loops around a tile.
//!
//! ```text
//! chunk of k (512, 256 pairs)
//!   group of columns (256): copied as panels of pairs
//!     block of rows (168): copied as pairs, each row by itself or side by side, as it lies in A
//!       panel of columns (2 vectors)
//!         tile
//! ```
//!
//! A group and a block stay in the second-level cache while they are used.

use super::super::pack::{Chunk, gather, run_at, scratch};
use super::super::tile::Target;
use super::super::{CHUNK, Job};
use super::pairs::{Pairs, bits};
use super::tile::{Left, Right, Tiles};
use crate::vector_math::lanes::Lanes;

/// Rows of a block, a multiple of a tile's on every instruction set.
const BLOCK_ROWS: usize = 168;
/// Panels of a group.
const GROUP: usize = 8;
/// Pairs of a chunk, and the same with a cache line more, so that lines do not fall on the same places of the first-level cache.
const PAIRS: usize = CHUNK / 2;
const PITCH: usize = PAIRS + 16;

/// One operand: element of line i (a row of A, a column of B) at a step of the sum.
#[derive(Clone, Copy)]
struct Side {
    ptr: *const f32,
    /// From a line to the next, from a step to the next, from a tap to the next.
    line: isize,
    step: isize,
    tap: isize,
    /// Steps of a tap.
    k: usize,
}

impl Side {
    fn left(job: &Job<f32>) -> Side {
        Side { ptr: job.a.ptr, line: job.a.row, step: job.a.col, tap: job.taps.a, k: job.k }
    }

    fn right(job: &Job<f32>) -> Side {
        Side { ptr: job.b.ptr, line: job.b.col, step: job.b.row, tap: job.taps.b, k: job.k }
    }

    #[inline(always)]
    fn at(self, line: usize, tap: usize, step: usize) -> *const f32 {
        let offset = line as isize * self.line + tap as isize * self.tap + step as isize * self.step;
        self.ptr.wrapping_offset(offset)
    }

    /// Lines `from..from + count`, each one its pairs one after the other, `pitch` pairs from a line to the next.
    ///
    /// # Safety
    /// The operand is readable; `out` has room for the lines.
    #[inline(always)]
    unsafe fn lines<P: Pairs>(self, chunk: Chunk, from: usize, count: usize, out: *mut u32, pitch: usize) {
        for i in 0..count {
            let out: *mut u16 = out.wrapping_add(i * pitch).cast();
            let mut done = 0;
            while done < chunk.len {
                let (place, tap, step, run) = run_at(chunk, self.k, done);
                done += run;
                let source = self.at(from + i, tap, step);
                // SAFETY: the steps of this run in this line; places below the chunk's length.
                unsafe {
                    if self.step == 1 {
                        P::line(source, run, out.add(place));
                    } else {
                        for s in 0..run {
                            *out.add(place + s) = bits(*source.offset(s as isize * self.step));
                        }
                    }
                }
            }
            if chunk.len % 2 == 1 {
                // SAFETY: the second half of the last pair.
                unsafe { *out.add(chunk.len) = 0 }
            }
        }
    }

    /// Lines `from..from + count` side by side: `width` of them a pair, `panel` from so many lines to the next; zeros where there are no more.
    ///
    /// # Safety
    /// The operand is readable; `out` has room for the panels, `width` being a multiple of N, and `turn` for `width` lines of [`PITCH`] pairs.
    #[inline(always)]
    unsafe fn side_by_side<P: Pairs>(
        self,
        chunk: Chunk,
        (from, count): (usize, usize),
        width: usize,
        (out, panel): (*mut u32, usize),
        turn: *mut u32,
    ) {
        let n = P::L::N;
        if self.line != 1 {
            for first in (0..count).step_by(width) {
                let own = (count - first).min(width);
                let pairs = chunk.len.div_ceil(2);
                // SAFETY: these lines through `turn`, which has room for them; bits are moved as if they were f32.
                unsafe {
                    self.lines::<P>(chunk, from + first, own, turn, PITCH);
                    let to = out.add(first / width * panel);
                    gather::<P::L>(turn.cast(), PITCH as isize, 1, own, width, pairs, to.cast());
                }
            }
            return;
        }
        let (mut tap, mut step) = (chunk.from / self.k, chunk.from % self.k);
        let mut next = || {
            let here = self.at(from, tap, step);
            step += 1;
            if step == self.k {
                (tap, step) = (tap + 1, 0);
            }
            here
        };
        for pair in 0..chunk.len.div_ceil(2) {
            let one = next();
            let other = if 2 * pair + 1 < chunk.len { Some(next()) } else { None };
            for first in (0..count).step_by(width) {
                let to = out.wrapping_add(first / width * panel + pair * width);
                let own = (count - first).min(width);
                let whole = if other.is_some() { own / n * n } else { 0 };
                // SAFETY: elements of these steps in lines that exist; the panel has room for `width` of each pair.
                unsafe {
                    if let Some(other) = other {
                        for v in (0..whole).step_by(n) {
                            P::interleave(one.add(first + v), other.add(first + v), to.add(v));
                        }
                    }
                    for v in whole..own {
                        let high = other.map_or(0, |other| bits(*other.add(first + v)));
                        *to.add(v) = u32::from(bits(*one.add(first + v))) | u32::from(high) << 16;
                    }
                    for v in own..width {
                        *to.add(v) = 0;
                    }
                }
            }
        }
    }
}

/// A block of rows as pairs.
///
/// # Safety
/// A is readable; `out` has room for a block.
#[inline(always)]
unsafe fn copy_block<P: Pairs>(job: &Job<f32>, chunk: Chunk, row: usize, rows: usize, out: *mut u32) -> Left {
    let side = Side::left(job);
    // SAFETY: the caller's promise; a width of `BLOCK_ROWS` has room for all rows, so `turn` is not used where lines are not side by side.
    unsafe {
        if side.line == 1 && side.step != 1 {
            let width = rows.next_multiple_of(P::L::N);
            side.side_by_side::<P>(chunk, (row, rows), width, (out, 0), std::ptr::null_mut());
            Left { ptr: out, row: 1, step: width as isize }
        } else {
            side.lines::<P>(chunk, row, rows, out, PITCH);
            Left { ptr: out, row: PITCH as isize, step: 1 }
        }
    }
}

/// Words of a block.
const BLOCK: usize = (BLOCK_ROWS + 16) * PITCH;

/// A panel of columns, and where they are.
#[derive(Clone, Copy)]
struct Columns {
    right: Right,
    vectors: usize,
    col: usize,
    cols: usize,
}

/// The tiles of a block with one panel.
///
/// # Safety
/// The contract of a contraction; `left` holds the block's rows.
#[inline(always)]
unsafe fn tiles<T: Tiles>(
    job: &Job<f32>,
    chunk: Chunk,
    (row, rows): (usize, usize),
    left: Left,
    columns: Columns,
    add: bool,
) {
    let count = rows.div_ceil(<T::P as Pairs>::ROWS);
    for tile in 0..count {
        // Tiles that differ by at most one row.
        let (from, to) = (tile * rows / count, (tile + 1) * rows / count);
        let left = Left { ptr: left.ptr.wrapping_offset(from as isize * left.row), ..left };
        let offset = (row + from) as isize * job.c.row + columns.col as isize * job.c.col;
        let c = job.c.ptr.wrapping_offset(offset);
        let target = Target { c, row: job.c.row, col: job.c.col, cols: columns.cols, add };
        // SAFETY: the tile lies inside the copies and C.
        unsafe { T::run(to - from, columns.vectors, left, columns.right, chunk.len.div_ceil(2), &target) }
    }
}

/// What no products are summed for; true where that was all.
///
/// # Safety
/// C is writable.
#[inline(always)]
unsafe fn nothing(job: &Job<f32>) -> bool {
    if job.m == 0 || job.n == 0 {
        return true;
    }
    let is_empty = job.taps.count * job.k == 0;
    if is_empty && !job.add {
        for i in 0..job.m as isize {
            for j in 0..job.n as isize {
                // SAFETY: the caller's promise.
                unsafe { *job.c.ptr.offset(i * job.c.row + j * job.c.col) = 0.0 }
            }
        }
    }
    is_empty
}

/// # Safety
/// The contract of a contraction, on a processor with the instruction set of T.
#[inline(always)]
unsafe fn contract<T: Tiles>(job: &Job<f32>) {
    // SAFETY: the caller's promise.
    if unsafe { nothing(job) } {
        return;
    }
    let n = <T::P as Pairs>::L::N;
    let total = job.taps.count * job.k;
    let panel = 2 * n * PAIRS;
    let group_columns = 2 * n * GROUP;
    let panels = job.n.min(group_columns).div_ceil(2 * n);
    let turn: *mut u32 = scratch(2 * n * PITCH + panels * panel + BLOCK);
    let group = turn.wrapping_add(2 * n * PITCH);
    let block = group.wrapping_add(panels * panel);
    let mut from = 0;
    while from < total {
        let chunk = Chunk { from, len: (total - from).min(CHUNK) };
        let add = job.add || from > 0;
        let pairs = chunk.len.div_ceil(2);
        for first in (0..job.n).step_by(group_columns) {
            let cols = (job.n - first).min(group_columns);
            let width = if cols <= n { n } else { 2 * n };
            // SAFETY: the scratch holds a group of columns and a line for each column of a panel.
            unsafe {
                let side = Side::right(job);
                side.side_by_side::<T::P>(chunk, (first, cols), width, (group, panel), turn);
            }
            for row in (0..job.m).step_by(BLOCK_ROWS) {
                let rows = (job.m - row).min(BLOCK_ROWS);
                // SAFETY: the scratch holds a block of rows.
                let left = unsafe { copy_block::<T::P>(job, chunk, row, rows, block) };
                for col in (0..cols).step_by(width) {
                    let ptr = group.wrapping_add(col / width * panel).cast_const();
                    let right = Right { ptr, step: width as isize, first: 0, of_tap: pairs, skip: 0 };
                    let own = (cols - col).min(width);
                    let columns = Columns { right, vectors: own.div_ceil(n), col: first + col, cols: own };
                    // SAFETY: the caller's promise.
                    unsafe { tiles::<T>(job, chunk, (row, rows), left, columns, add) }
                }
            }
        }
        from += chunk.len;
    }
}

/// All chunks of a product whose B lies in panels of pairs.
///
/// # Safety
/// The contract of a contraction over panels, on a processor with the instruction set of T.
#[inline(always)]
unsafe fn contract_panels<T: Tiles>(job: &Job<f32>, panel: usize) {
    // SAFETY: the caller's promise.
    if unsafe { nothing(job) } {
        return;
    }
    let n = <T::P as Pairs>::L::N;
    let width = 2 * n;
    let total = job.taps.count * job.k;
    let block: *mut u32 = scratch(BLOCK);
    let of_tap = if job.taps.count == 1 { usize::MAX / 2 } else { job.k / 2 };
    let skip = if job.taps.count == 1 { 0 } else { job.taps.b - job.k as isize * job.b.row };
    let mut from = 0;
    while from < total {
        let chunk = Chunk { from, len: (total - from).min(CHUNK) };
        let (tap, first) = (from / job.k, from % job.k);
        let start = job.b.ptr.wrapping_offset(tap as isize * job.taps.b + first as isize * job.b.row);
        for row in (0..job.m).step_by(BLOCK_ROWS) {
            let rows = (job.m - row).min(BLOCK_ROWS);
            // SAFETY: the scratch holds a block of rows.
            let left = unsafe { copy_block::<T::P>(job, chunk, row, rows, block) };
            for col in (0..job.n).step_by(width) {
                let cols = (job.n - col).min(width);
                let ptr = start.wrapping_add(col / width * panel).cast();
                let first = if job.taps.count == 1 { 0 } else { first / 2 };
                let right = Right { ptr, step: 2 * job.b.row, first, of_tap, skip };
                let columns = Columns { right, vectors: cols.div_ceil(n), col, cols };
                // SAFETY: the caller's promise; what a panel has beyond the last column is readable.
                unsafe { tiles::<T>(job, chunk, (row, rows), left, columns, job.add || from > 0) }
            }
        }
        from += chunk.len;
    }
}

/// # Safety
/// B is readable; `out` has room for its panels.
#[inline(always)]
unsafe fn pack<P: Pairs>(job: &Job<f32>, out: *mut u32, panel: usize) {
    let width = 2 * P::L::N;
    let turn: *mut u32 = scratch(width * PITCH);
    for from in (0..job.k).step_by(CHUNK) {
        let chunk = Chunk { from, len: (job.k - from).min(CHUNK) };
        let out = out.wrapping_add(from / 2 * width);
        // SAFETY: the caller's promise, for the steps of this chunk.
        unsafe { Side::right(job).side_by_side::<P>(chunk, (0, job.n), width, (out, panel), turn) }
    }
}

macro_rules! compiled_for {
    ($(#[$feature:meta])* $name:ident $panels:ident $pack:ident $Tiles:ident) => {
        /// # Safety
        /// [`contract`]'s.
        $(#[$feature])*
        pub(super) unsafe fn $name(job: &Job<f32>) {
            // SAFETY: the caller's promise.
            unsafe { contract::<super::tile::$Tiles>(job) }
        }

        /// # Safety
        /// [`contract_panels`]'s.
        $(#[$feature])*
        pub(super) unsafe fn $panels(job: &Job<f32>, panel: usize) {
            // SAFETY: the caller's promise.
            unsafe { contract_panels::<super::tile::$Tiles>(job, panel) }
        }

        /// # Safety
        /// [`pack`]'s.
        $(#[$feature])*
        pub(super) unsafe fn $pack(job: &Job<f32>, out: *mut u32, panel: usize) {
            // SAFETY: the caller's promise.
            unsafe { pack::<<super::tile::$Tiles as Tiles>::P>(job, out, panel) }
        }
    };
}
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")] dot dot_panels dot_pack DotTiles }
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx2,fma")] avx2 avx2_panels avx2_pack Avx2Tiles }
compiled_for! { portable portable_panels portable_pack PortableTiles }
