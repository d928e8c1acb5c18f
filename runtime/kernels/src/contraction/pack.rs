//! Copies blocks of the operands where a tile would be slow to read them.
//!
//! A copy holds, step after step, `width` neighbouring columns of B (or rows of A). Columns beyond the edge are zero;
//! their sums are computed and thrown away.

use super::Job;
use crate::vector_math::lanes::Lanes;
use std::cell::RefCell;

/// The part of the summed axis in one chunk: steps `from..from + len` of the count * k.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub from: usize,
    pub len: usize,
}

/// A stretch of a chunk within one tap: its first step in the chunk, the tap, its first k, its length.
pub(super) type Run = (usize, usize, usize, usize);

/// The stretch that begins `done` steps into the chunk.
#[inline(always)]
pub(super) fn run_at(chunk: Chunk, k: usize, done: usize) -> Run {
    let (tap, at) = ((chunk.from + done) / k, (chunk.from + done) % k);
    (done, tap, at, (chunk.len - done).min(k - at))
}

/// Panels of B for `cols` columns from `col`: panel p holds `width` columns, step after step, at `out + p * panel_len`.
///
/// # Safety
/// The job's B is readable; `out` has room for the chunk's steps of `width`, a multiple of N, in each panel.
#[inline(always)]
pub(super) unsafe fn pack_b<L: Lanes>(
    job: &Job<L::Elem>,
    chunk: Chunk,
    col: usize,
    cols: usize,
    width: usize,
    out: *mut L::Elem,
    panel_len: usize,
) {
    let mut done = 0;
    while done < chunk.len {
        let (step, tap, at, run) = run_at(chunk, job.k, done);
        done += run;
        let start =
            job.b.ptr.wrapping_offset(tap as isize * job.taps.b + at as isize * job.b.row + col as isize * job.b.col);
        // SAFETY: every element read is B[at + i, col + j] of this tap with i < run and j < cols, every element written lies
        // in its panel at a step below the chunk's length.
        unsafe {
            let out = out.add(step * width);
            if job.b.col == 1 {
                // Whole rows, so that memory is read in order.
                for i in 0..run {
                    let from = start.wrapping_offset(i as isize * job.b.row);
                    for first in (0..cols).step_by(width) {
                        let to = out.add(first / width * panel_len + i * width);
                        for v in (0..width).step_by(L::N) {
                            let count = cols.saturating_sub(first + v).min(L::N);
                            let from = from.wrapping_add(first + v);
                            let x = if count == L::N { L::load(from) } else { L::load_part(from, count) };
                            x.store(to.add(v));
                        }
                    }
                }
            } else {
                for first in (0..cols).step_by(width) {
                    let from = start.wrapping_offset(first as isize * job.b.col);
                    let to = out.add(first / width * panel_len);
                    gather::<L>(from, job.b.col, job.b.row, (cols - first).min(width), width, run, to);
                }
            }
        }
    }
}

/// Rows `row..end` of A at `out`, each of the chunk's steps one after the other, `line` from one row to the next.
///
/// # Safety
/// The job's A is readable with unit stride along k; `out` has room for the rows.
#[inline(always)]
pub(super) unsafe fn copy_a<E: Copy>(job: &Job<E>, chunk: Chunk, row: usize, end: usize, out: *mut E, line: usize) {
    for i in row..end {
        let mut done = 0;
        while done < chunk.len {
            let (step, tap, at, run) = run_at(chunk, job.k, done);
            done += run;
            let from = job.a.ptr.wrapping_offset(tap as isize * job.taps.a + at as isize + i as isize * job.a.row);
            // SAFETY: A[i, at..at + run] of this tap is readable, and scratch is not part of it.
            unsafe { std::ptr::copy_nonoverlapping(from, out.add((i - row) * line + step), run) }
        }
    }
}

/// The rows of a tile where A's rows lie side by side: `ROWS` of them from `row` on, step after step, at `out`. Where A ends before, the rest of a step
/// is left as it is.
///
/// # Safety
/// The job's A is readable with unit stride along its rows; `out` has room for `ROWS` elements a step.
#[inline(always)]
pub(super) unsafe fn copy_side_by_side<E: Copy, const ROWS: usize>(
    job: &Job<E>,
    chunk: Chunk,
    row: usize,
    out: *mut E,
) {
    let rows = job.m - row;
    let mut done = 0;
    while done < chunk.len {
        let (step, tap, at, run) = run_at(chunk, job.k, done);
        done += run;
        let from = job.a.ptr.wrapping_offset(tap as isize * job.taps.a + at as isize * job.a.col + row as isize);
        for i in 0..run {
            // SAFETY: `rows` elements of A at this step are readable (of a tile of fewer than ROWS, the next one's, too), and scratch is not part of it.
            unsafe {
                let (from, to) = (from.offset(i as isize * job.a.col), out.add((step + i) * ROWS));
                if rows >= ROWS {
                    std::ptr::copy_nonoverlapping(from, to, ROWS);
                } else {
                    std::ptr::copy_nonoverlapping(from, to, rows);
                }
            }
        }
    }
}

/// `to[i * width + j] = from[j * line + i * step]` for i < run and j < count, zero for j from count to width.
///
/// # Safety
/// Those elements are readable and writable.
#[inline(always)]
pub(super) unsafe fn gather<L: Lanes>(
    from: *const L::Elem,
    line: isize,
    step: isize,
    count: usize,
    width: usize,
    run: usize,
    to: *mut L::Elem,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut done = 0;
        if step == 1 {
            // Square blocks of the size of a cache line, so that lines read are used up while they are near.
            const SQUARE: usize = 8;
            while done + SQUARE <= run {
                if count >= SQUARE {
                    // The last square overlaps the one before rather than leave single lines.
                    for j in (0..count).step_by(SQUARE) {
                        let j = j.min(count - SQUARE);
                        L::transpose_8(from.offset(j as isize * line).add(done), line, to.add(done * width + j), width);
                    }
                } else {
                    for j in 0..count {
                        for i in done..done + SQUARE {
                            *to.add(i * width + j) = *from.offset(j as isize * line).add(i);
                        }
                    }
                }
                for j in count..width {
                    for i in done..done + SQUARE {
                        *to.add(i * width + j) = L::Elem::default();
                    }
                }
                done += SQUARE;
            }
        }
        for i in done..run {
            for j in 0..count {
                *to.add(i * width + j) = *from.offset(j as isize * line + i as isize * step);
            }
            for j in count..width {
                *to.add(i * width + j) = L::Elem::default();
            }
        }
    }
}

#[derive(Clone)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "only its bytes are used")] [u8; 64]);

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// This thread's scratch, of at least `len` elements, aligned to 64 bytes: good until the next call. (No closure is called with it: code in a
/// closure would not be compiled for the instruction set of the function around.)
#[inline(always)]
pub(super) fn scratch<T>(len: usize) -> *mut T {
    let lines = (len * size_of::<T>()).div_ceil(64);
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < lines {
            scratch.resize(lines, Line([0; 64]));
        }
        scratch.as_mut_ptr().cast()
    })
}
