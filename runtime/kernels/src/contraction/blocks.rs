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

use super::ahead::{Ahead, Lines, MOST_TURNS, NextRows, Stretch, put_back, stretches};
use super::ones::{by_ones, rows_at_once};
use super::pack::{Chunk, copy_a, copy_side_by_side, pack_b, scratch};
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
    // SAFETY: the caller's promise; nothing is empty.
    let rows = unsafe { rows_at_once::<T::L>(job) };
    for first in (0..job.m).step_by(rows) {
        let part = rows_of(job, first, rows);
        let mut from = 0;
        while from < total {
            let chunk = Chunk { from, len: (total - from).min(CHUNK) };
            // SAFETY: the caller's promise.
            unsafe {
                if in_registers {
                    few_rows::<T>(&part, chunk);
                } else if !by_ones::<T>(&part, chunk, None) {
                    contract_chunk::<T>(&part, chunk);
                }
            }
            from += chunk.len;
        }
    }
}

/// At most `count` rows of a job, from one on.
#[inline(always)]
fn rows_of<E: Copy>(job: &Job<E>, first: usize, count: usize) -> Job<E> {
    let mut part = Job { m: count.min(job.m - first), ..*job };
    part.a.ptr = job.a.ptr.wrapping_offset(first as isize * job.a.row);
    part.c.ptr = job.c.ptr.wrapping_offset(first as isize * job.c.row);
    part
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

/// Does B have to be copied? Not if vectors can be loaded from it. A tile of few rows does little work a step, so it is slowed by steps
/// that lie far apart; there a copy pays for itself after a dozen tiles.
fn copy_columns<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>) -> bool {
    let many_small_tiles = T::ROWS < 8 && job.m > 12 * T::ROWS;
    job.b.col != 1 || many_small_tiles
}

/// How the rows of a block of A are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Where they lie.
    InPlace,
    /// From a copy with rows a little longer than a chunk, because they fall on the same places of the first-level cache: a tile's rows on four of them
    /// where they lie 1 KB apart, which pays from four panels on, on one where they lie 4 KB apart.
    Lines,
    /// From a copy of tile after tile, step after step, because steps lie far apart (`xᵀ dy`): a cache line for each, of which a tile needs a part.
    SideBySide,
}

fn left<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>) -> Left {
    let line = job.a.row.unsigned_abs() * size_of::<<T::L as Lanes>::Elem>();
    if job.a.row == 1 && job.a.col != 1 && job.m >= T::ROWS && job.n >= if T::FETCHES { 32 } else { 16 } * T::L::N {
        Left::SideBySide
    } else if job.a.col == 1
        && job.k >= 32
        && job.m > 1
        && job.n >= if line.is_multiple_of(4096) { 4 } else { 8 } * T::L::N
        && line.is_multiple_of(1024)
        && line > 0
    {
        Left::Lines
    } else {
        Left::InPlace
    }
}

impl Left {
    /// From a row of the copy to the next where it is in lines: a cache line longer than a chunk, so that they do not collide again.
    fn line<E>(chunk: Chunk) -> usize {
        chunk.len + 64 / size_of::<E>()
    }

    /// Elements of a copy of a block.
    fn room<T: Tiles>(self, job: &Job<<T::L as Lanes>::Elem>, chunk: Chunk) -> usize {
        let tiles = job.m.min(BLOCK_ROWS).div_ceil(T::ROWS) + 1;
        match self {
            Left::InPlace => 0,
            Left::Lines => Left::line::<<T::L as Lanes>::Elem>(chunk) * (tiles * T::ROWS),
            Left::SideBySide => tiles * T::ROWS * chunk.len,
        }
    }
}

/// Copies a block of rows, if they are read from a copy.
///
/// # Safety
/// [`contract`]'s; `out` has room for it.
#[inline(always)]
unsafe fn copy_block<T: Tiles>(
    job: &Job<<T::L as Lanes>::Elem>,
    chunk: Chunk,
    rows: Rows,
    block: &std::ops::Range<usize>,
    left: Left,
    out: *mut <T::L as Lanes>::Elem,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match left {
            Left::InPlace => {}
            Left::Lines => {
                let line = Left::line::<<T::L as Lanes>::Elem>(chunk);
                copy_a(job, chunk, rows.first(block.start), rows.first(block.end), out, line);
            }
            Left::SideBySide => {
                for tile in block.clone() {
                    let row = rows.first(tile);
                    let out = out.add((tile - block.start) * T::ROWS * chunk.len);
                    // The number of rows of a tile on this instruction set, as a constant.
                    if T::ROWS == 6 {
                        copy_side_by_side::<_, 6>(job, chunk, row, out);
                    } else {
                        copy_side_by_side::<_, 14>(job, chunk, row, out);
                    }
                }
            }
        }
    }
}

/// B at the first step of a chunk, without packing.
#[inline(always)]
fn first_of_b<E>(job: &Job<E>, chunk: Chunk) -> *const E {
    let (tap, first) = (chunk.from / job.k, chunk.from % job.k);
    job.b.ptr.wrapping_offset(tap as isize * job.taps.b + first as isize * job.b.row)
}

/// Tiles of rows that differ by at most one row, in blocks.
#[derive(Clone, Copy)]
struct Rows {
    m: usize,
    tiles: usize,
}

impl Rows {
    fn first(self, tile: usize) -> usize {
        tile * self.m / self.tiles
    }
}

/// A panel of columns, wherever it lies.
#[derive(Clone, Copy)]
struct Columns<E> {
    panel: Panel<E>,
    vectors: usize,
    /// The first one, and how many there are.
    col: usize,
    cols: usize,
    /// In B itself, where the panels lie side by side.
    is_in_place: bool,
}

/// So many tiles of rows do too little with a panel for the next one to be fetched unasked.
const FEW_TILES: usize = 12;

/// The tiles of a block of rows with one panel.
///
/// # Safety
/// [`contract`]'s; `copy` holds the block's rows as `left` says.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "what a block is made of")]
unsafe fn tiles<T: Tiles>(
    job: &Job<<T::L as Lanes>::Elem>,
    chunk: Chunk,
    rows: Rows,
    block: &std::ops::Range<usize>,
    left: Left,
    copy: *const <T::L as Lanes>::Elem,
    columns: Columns<<T::L as Lanes>::Elem>,
    add: bool,
    mut next: Option<&mut NextRows>,
) {
    let block_row = rows.first(block.start);
    // Copies have no taps.
    let of_copy = Steps { a: copy, row: 1, col: 1, k: chunk.len, first: 0, tap: 0, len: chunk.len };
    let panel = if left == Left::InPlace { columns.panel } else { Panel { skip: 0, ..columns.panel } };
    // Only tiles of two vectors fetch.
    let mut turns = [Lines::NOTHING; MOST_TURNS];
    let mut beside = if T::FETCHES && columns.vectors == 2 { stretches() } else { None };
    for tile in block.clone() {
        let (row, row_end) = (rows.first(tile), rows.first(tile + 1));
        let steps = match left {
            Left::InPlace => steps(job, chunk, row),
            Left::Lines => {
                let line = Left::line::<<T::L as Lanes>::Elem>(chunk);
                Steps { a: copy.wrapping_add((row - block_row) * line), row: line as isize, ..of_copy }
            }
            Left::SideBySide => {
                let a = copy.wrapping_add((tile - block.start) * T::ROWS * chunk.len);
                Steps { a, col: T::ROWS as isize, ..of_copy }
            }
        };
        let c = job.c.ptr.wrapping_offset(row as isize * job.c.row + columns.col as isize * job.c.col);
        let target = Target { c, row: job.c.row, col: job.c.col, cols: columns.cols, add };
        let asked = beside.as_mut().and_then(|stretches| stretches.next(&steps, &mut turns));
        let ahead = match asked {
            Some(ahead) => ahead,
            None if T::FETCHES && columns.vectors == 2 => match &mut next {
                // Panels are read in order, which the processor sees.
                Some(next) if !columns.is_in_place => Ahead::result(&steps, &target, row_end - row, next, &mut turns),
                Some(_) | None => {
                    // A few tiles of many columns: while the last one runs, the panel beside this one is fetched.
                    let next_panel = columns.is_in_place && tile + 1 == block.end && rows.tiles <= FEW_TILES;
                    let below = (left == Left::InPlace && job.a.row == 1).then_some(T::ROWS);
                    Ahead::operands(&steps, &panel, 2 * T::L::N, next_panel, below)
                }
            },
            None => Ahead::nothing(&steps),
        };
        // SAFETY: the tile lies inside A, B or their copies, and C.
        unsafe { T::run(row_end - row, columns.vectors, &steps, panel, &target, &ahead) }
    }
    if beside.is_some() {
        put_back(beside);
    }
}

/// The rows of A after a block, in shares for its tiles. None where a tile has something else to fetch (the one below it, taps of B), or nothing,
/// because its result is written in order.
fn next_rows<T: Tiles>(
    job: &Job<<T::L as Lanes>::Elem>,
    chunk: Chunk,
    rows: Rows,
    block: &std::ops::Range<usize>,
    left: Left,
) -> Option<NextRows> {
    let has_below = left == Left::InPlace && job.a.row == 1;
    let has_taps = job.taps.count > 1 && job.taps.b != job.k as isize * job.b.row;
    if !T::FETCHES || has_below || has_taps || job.n <= 2 * T::L::N {
        return None;
    }
    let bytes = size_of::<<T::L as Lanes>::Elem>();
    let next = rows.first(block.end)..rows.first((block.end + BLOCK_ROWS / T::ROWS).min(rows.tiles));
    let in_lines = job.a.col == 1 && job.taps.count == 1;
    let stretch = Stretch {
        at: steps(job, chunk, next.start).a.cast(),
        bytes: if in_lines { chunk.len * bytes } else { 0 },
        stride: job.a.row.unsigned_abs() * bytes,
        rows: next.len(),
    };
    Some(NextRows::new(stretch, block.len() * job.n.div_ceil(2 * T::L::N), chunk.len))
}

/// Elements of a chunk of B that are copied at once, for all blocks of rows, rather than again for each.
const COPIED_AT_ONCE: usize = 1 << 19;

/// One chunk.
///
/// # Safety
/// [`contract`]'s.
#[inline(always)]
unsafe fn contract_chunk<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>, chunk: Chunk) {
    let n = T::L::N;
    let add = job.add || chunk.from > 0;
    let even_steps = job.taps.count == 1 || job.taps.b == job.k as isize * job.b.row;
    let copy_columns = copy_columns::<T>(job);
    // Rows without taps go with columns without: a copy of one, where steps of the other are uneven, would not fit.
    let left = if copy_columns || even_steps { left::<T>(job) } else { Left::InPlace };
    // A tile of few rows needs more vectors for enough chains to run side by side.
    let most_vectors = if job.m <= 3 && job.n >= T::WIDE * n { T::WIDE } else { 2 };
    let width = most_vectors * n;
    let all_columns = job.n.next_multiple_of(width);
    let group = match most_vectors {
        2 if copy_columns && job.m > BLOCK_ROWS && all_columns * chunk.len <= COPIED_AT_ONCE => all_columns,
        2 => GROUP * width,
        _ => width,
    };
    let rows = Rows { m: job.m, tiles: job.m.div_ceil(T::ROWS) };
    let b = first_of_b(job, chunk);
    let skip = if job.taps.count == 1 { 0 } else { job.taps.b - job.k as isize * job.b.row };
    let columns_room = chunk.len * group.min(all_columns);
    let columns_copy: *mut <T::L as Lanes>::Elem = scratch(columns_room + left.room::<T>(job, chunk));
    let rows_copy = columns_copy.wrapping_add(columns_room);
    for block in (0..rows.tiles).step_by(BLOCK_ROWS / T::ROWS) {
        let block = block..(block + BLOCK_ROWS / T::ROWS).min(rows.tiles);
        // SAFETY: the scratch holds a block of rows.
        unsafe { copy_block::<T>(job, chunk, rows, &block, left, rows_copy) }
        let mut next = next_rows::<T>(job, chunk, rows, &block, left);
        for first in (0..job.n).step_by(group) {
            let end = (first + group).min(job.n);
            // Columns from here on are copied; that is always so for those that do not fill a vector.
            let whole = if copy_columns { first } else { first + (end - first) / n * n };
            let copy_width = if end - whole <= n { n } else { width };
            let is_there = group >= all_columns && block.start > 0;
            if whole < end && !is_there {
                let panel_len = copy_width * chunk.len;
                // SAFETY: the scratch holds a group of columns.
                unsafe { pack_b::<T::L>(job, chunk, whole, end - whole, copy_width, columns_copy, panel_len) }
            }
            let mut col = first;
            while col < end {
                let columns = if col < whole {
                    let left = (whole - col) / n;
                    let vectors = if left >= most_vectors { most_vectors } else { left.min(2) };
                    let panel = Panel { b: b.wrapping_add(col), step: job.b.row, skip };
                    Columns { panel, vectors, col, cols: vectors * n, is_in_place: true }
                } else {
                    let b = columns_copy.wrapping_add((col - whole) * chunk.len);
                    let step = copy_width as isize;
                    let panel = Panel { b: b.cast_const(), step, skip: 0 };
                    Columns {
                        panel,
                        vectors: copy_width / n,
                        col,
                        cols: (end - col).min(copy_width),
                        is_in_place: false,
                    }
                };
                // SAFETY: the caller's promise.
                unsafe { tiles::<T>(job, chunk, rows, &block, left, rows_copy, columns, add, next.as_mut()) }
                col += columns.cols;
            }
        }
    }
}

/// All chunks of a product whose B lies in panels: `job.b.row` from a step to the next, `panel` from a panel to the next.
///
/// # Safety
/// The contract of a contraction over panels, on a processor with the instruction set of T.
#[inline(always)]
unsafe fn contract_panels<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>, panel: usize) {
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
    // SAFETY: the caller's promise; nothing is empty.
    let rows = unsafe { rows_at_once::<T::L>(job) };
    for first in (0..job.m).step_by(rows) {
        let part = rows_of(job, first, rows);
        let mut from = 0;
        while from < total {
            let chunk = Chunk { from, len: (total - from).min(CHUNK) };
            // SAFETY: the caller's promise.
            unsafe {
                if !by_ones::<T>(&part, chunk, Some(panel)) {
                    panels_chunk::<T>(&part, panel, chunk);
                }
            }
            from += chunk.len;
        }
    }
}

/// One chunk over panels.
///
/// # Safety
/// [`contract_panels`]'s.
#[inline(always)]
unsafe fn panels_chunk<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>, panel: usize, chunk: Chunk) {
    let n = T::L::N;
    let width = 2 * n;
    let rows = Rows { m: job.m, tiles: job.m.div_ceil(T::ROWS) };
    let skip = if job.taps.count == 1 { 0 } else { job.taps.b - job.k as isize * job.b.row };
    let left = if skip == 0 { left::<T>(job) } else { Left::InPlace };
    let b = first_of_b(job, chunk);
    let rows_copy: *mut <T::L as Lanes>::Elem = scratch(left.room::<T>(job, chunk));
    for block in (0..rows.tiles).step_by(BLOCK_ROWS / T::ROWS) {
        let block = block..(block + BLOCK_ROWS / T::ROWS).min(rows.tiles);
        // SAFETY: the scratch holds a block of rows.
        unsafe { copy_block::<T>(job, chunk, rows, &block, left, rows_copy) }
        let mut next = next_rows::<T>(job, chunk, rows, &block, left);
        for col in (0..job.n).step_by(width) {
            let cols = (job.n - col).min(width);
            let step = job.b.row;
            let panel = Panel { b: b.wrapping_add(col / width * panel), step, skip };
            let columns = Columns { panel, vectors: cols.div_ceil(n), col, cols, is_in_place: false };
            let add = job.add || chunk.from > 0;
            // SAFETY: the caller's promise; what a panel has beyond the last column is readable.
            unsafe { tiles::<T>(job, chunk, rows, &block, left, rows_copy, columns, add, next.as_mut()) }
        }
    }
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
        unsafe { T::run_turned(job.m, &steps, Panel { b, step: job.b.col, skip: 0 }, &target) }
    }
}

macro_rules! compiled_for {
    ($(#[$feature:meta])* $name:ident $panels:ident $pack:ident $Tiles:ident $T:ty) => {
        /// # Safety
        /// [`contract`]'s.
        $(#[$feature])*
        pub(super) unsafe fn $name(job: &Job<$T>) {
            // SAFETY: the caller's promise.
            unsafe { contract::<super::tile::$Tiles>(job) }
        }

        /// # Safety
        /// [`contract_panels`]'s.
        $(#[$feature])*
        pub(super) unsafe fn $panels(job: &Job<$T>, panel: usize) {
            // SAFETY: the caller's promise.
            unsafe { contract_panels::<super::tile::$Tiles>(job, panel) }
        }

        /// # Safety
        /// [`pack_b`]'s.
        $(#[$feature])*
        pub(super) unsafe fn $pack(job: &Job<$T>, col: usize, cols: usize, out: *mut $T, panel: usize) {
            let all = Chunk { from: 0, len: job.k };
            let width = 2 * <<super::tile::$Tiles as Tiles>::L as Lanes>::N;
            // SAFETY: the caller's promise.
            unsafe { pack_b::<<super::tile::$Tiles as Tiles>::L>(job, all, col, cols, width, out, panel) }
        }
    };
}
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")] avx512_f32 avx512_panels_f32 avx512_pack_f32 Avx512TilesF32 f32 }
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")] avx512_f64 avx512_panels_f64 avx512_pack_f64 Avx512TilesF64 f64 }
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx2,fma")] avx2_f32 avx2_panels_f32 avx2_pack_f32 Avx2TilesF32 f32 }
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx2,fma")] avx2_f64 avx2_panels_f64 avx2_pack_f64 Avx2TilesF64 f64 }
compiled_for! { portable_f32 portable_panels_f32 portable_pack_f32 PortableTilesF32 f32 }
compiled_for! { portable_f64 portable_panels_f64 portable_pack_f64 PortableTilesF64 f64 }
