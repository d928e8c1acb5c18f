//! The right operand of a contraction in panels, copied once for all rows.
//!
//! The kernel wants vectors of columns side by side, step after step. Left to itself it copies what it needs on every call; but a
//! contraction is many calls, for blocks of rows, examples and boxes. So where there are rows enough, the workers copy the operand together
//! first, and then each runs its rows. Axes of the sum keep their places: a box that begins in the middle of one begins there in the panels too.
//!
//! ```text
//! k: tap (11), channel (32)      step = 32 tap + channel       panel p, step s, columns 16 p .. 16 p + 16  at  (352 p + s) * 16
//! ```
//!
//! Factors of bf16 lie in pairs of steps, as `Real::STEPS` says: step s is at half of that. A box must then begin with a pair, and so must a tap.

use crate::contract::share;
use crate::nest::{Axis, MAX_AXES, Nest};
use crate::pool::{Gone, Worker};
use crate::real::Real;
use bdl_kernels::contraction::Matrix;
use bdl_plan::AxisRole;

/// Fewer rows, and the copy costs more than it saves.
const LEAST_ROWS: i64 = 192;
/// The same where one copy is for all steps of a loop.
const LEAST_ROWS_IN_LOOP: i64 = 4;
/// Steps of a loop that are worth a copy.
pub const LEAST_STEPS: i64 = 4;
const LEAST_COLUMNS: i64 = 8;
/// Elements of a copy at most: what stays in the last-level cache.
const MOST: i64 = 1 << 20;

/// Do the steps that share a place in a panel always belong together? Where a sum has one axis, and no box begins inside of it, or an inner one that
/// is whole and a multiple of them.
fn keeps_together<T: Real>(nest: &Nest) -> bool {
    let axes = nest.axes();
    let mut sums = (0..axes.len()).rev().filter(|i| axes[*i].role == AxisRole::K && axes[*i].extent > 1);
    let Some(inner) = sums.next() else { return true };
    T::STEPS == 1 || !nest.is_clipped(inner) && (sums.next().is_none() || axes[inner].extent % T::STEPS == 0)
}

#[derive(Clone, Copy)]
pub struct Packing {
    /// With the copy in place of the right operand.
    pub nest: Nest,
    /// Elements from a panel to the next.
    pub panel: usize,
    panels: i64,
    width: i64,
    columns: i64,
    /// From a column to the next in the operand itself.
    column: i64,
    /// Where the operand itself begins.
    start: i64,
    /// Axes of the sum: how many, and from one to the next in the operand itself and in the copy's steps.
    steps: [(i64, i64, i64); MAX_AXES],
    count: usize,
}

impl Packing {
    /// Elements of the copy.
    pub fn len(&self) -> usize {
        self.panel * self.panels as usize
    }

    /// How the nest reads a copy, if one pays that is for it alone.
    pub fn of<T: Real>(nest: &Nest) -> Option<Packing> {
        Packing::with::<T>(nest, LEAST_ROWS)
    }

    /// The same for a copy that all steps of a loop share.
    pub fn in_loop<T: Real>(nest: &Nest) -> Option<Packing> {
        Packing::with::<T>(nest, LEAST_ROWS_IN_LOOP)
    }

    /// The same for one matrix of a batch of them, whose rows a worker takes block by block.
    pub fn of_one<T: Real>(nest: &Nest) -> Option<Packing> {
        let mut one = *nest;
        one.axes_mut().iter_mut().filter(|axis| axis.role == AxisRole::Batch).for_each(|axis| axis.extent = 1);
        if nest.extent(AxisRole::Batch) > 1 { Packing::of::<T>(&one) } else { None }
    }

    /// How a block of rows of such a matrix reads the copy.
    pub fn of_block<T: Real>(block: &Nest) -> Option<Packing> {
        Packing::with::<T>(block, 1)
    }

    fn with<T: Real>(nest: &Nest, least_rows: i64) -> Option<Packing> {
        let mut nest = *nest;
        nest.join_columns();
        let axes = nest.axes();
        let of = |role: AxisRole| (0..axes.len()).filter(move |i| axes[*i].role == role && axes[*i].extent > 1);
        let (rows, columns) = (nest.extent(AxisRole::M), nest.extent(AxisRole::N));
        let sum = nest.extent(AxisRole::K);
        let mut n = of(AxisRole::N);
        let n = n.next().filter(|_| n.next().is_none())?;
        let pays = rows >= least_rows && columns >= LEAST_COLUMNS && sum >= 4;
        if !pays || of(AxisRole::Batch).next().is_some() || axes[n].out != 1 || nest.is_clipped(n) {
            return None;
        }
        let width = T::panel_width() as i64;
        let panels = (columns + width - 1) / width;
        if !keeps_together::<T>(&nest) || sum.saturating_mul(panels * width) > MOST {
            return None;
        }
        let (column, start) = (axes[n].b, nest.b);
        let (mut steps, mut count, mut inner) = ([(1, 0, 0); MAX_AXES], 0, 1);
        let mut inside: Option<Axis> = None;
        nest.b = 0;
        for axis in nest.axes_mut().iter_mut().rev() {
            match axis.role {
                AxisRole::K => {
                    // Axes that the operands keep apart are kept apart by a gap: joined, their chains would have other lengths than where few rows
                    // read the operand itself.
                    if axis.extent > 1 {
                        if let Some(inside) = inside {
                            let goes_on = |outer: i64, inner: i64| outer == inner * inside.extent;
                            if goes_on(axis.a, inside.a) && !goes_on(axis.b, inside.b) {
                                inner += T::STEPS;
                            }
                        }
                        inside = Some(*axis);
                    }
                    // Innermost first; an axis that goes on where the one inside of it ends is one with it.
                    match steps[..count].last_mut() {
                        Some((extent, stride, _)) if axis.b == *stride * *extent => *extent *= axis.extent,
                        Some(_) | None => {
                            steps[count] = (axis.extent, axis.b, inner);
                            count += 1;
                        }
                    }
                    axis.b = inner * width / T::STEPS;
                    inner *= axis.extent;
                }
                AxisRole::N => axis.b = 1,
                AxisRole::M | AxisRole::Batch => {}
            }
        }
        let panel = ((inner + T::STEPS - 1) / T::STEPS * width) as usize;
        Some(Packing { nest, panel, panels, width, columns, column, start, steps, count })
    }

    /// Where the operand begins that is copied.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Copies, on the calling thread alone.
    ///
    /// # Safety
    /// [`copy`](Packing::copy)'s.
    pub unsafe fn copy_alone<T: Real>(&self, b: *const T, out: *mut T) {
        // SAFETY: the caller's promise, for all panels.
        unsafe { self.axis(self.count, b.wrapping_offset(self.start as isize), out, self.columns) }
    }

    /// Copies, all workers together.
    ///
    /// # Safety
    /// The nest's accesses are inside `b`; `out` has room for [`len`](Packing::len) elements.
    pub unsafe fn copy<T: Real>(&self, b: *const T, out: *mut T, worker: &mut Worker) -> Result<(), Gone> {
        let chunks = worker.count;
        worker.phase(chunks, |chunk| {
            let (from, to) = share(self.panels, chunk, chunks, 1);
            let columns = (to * self.width).min(self.columns) - from * self.width;
            if columns > 0 {
                let b = b.wrapping_offset((self.start + from * self.width * self.column) as isize);
                let out = out.wrapping_add(from as usize * self.panel);
                // SAFETY: the caller's promise, for the panels of this chunk.
                unsafe { self.axis(self.count, b, out, columns) }
            }
        })
    }

    /// The steps of the innermost `count` axes of the sum.
    unsafe fn axis<T: Real>(&self, count: usize, b: *const T, out: *mut T, columns: i64) {
        let (extent, stride, step) = self.steps[count.saturating_sub(1)];
        if count > 1 {
            for i in 0..extent {
                let b = b.wrapping_offset((i * stride) as isize);
                let out = out.wrapping_offset((i * step * self.width / T::STEPS) as isize);
                // SAFETY: a part of the caller's.
                unsafe { self.axis(count - 1, b, out, columns) }
            }
            return;
        }
        let b = Matrix { ptr: b, row: stride as isize, col: self.column as isize };
        // SAFETY: these steps and columns are the nest's; panels have room for all steps.
        unsafe { T::pack(extent as usize, columns as usize, b, out, self.panel) }
    }
}
