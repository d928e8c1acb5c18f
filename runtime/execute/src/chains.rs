//! A long sum of few rows: workers take the chains that it is made of, which are a whole number of the right operand's rows, and not its columns.
//!
//! A weight is then read by the worker that takes the same rows of its gradient and updates it: where two caches hold a line, writing it
//! costs several times what it costs where one does. The chains are those of the kernel ([`CHUNK`] steps) and are added in its order, so that
//! the sum has the same bits.

use crate::contract::{Epilogue, Operands, share, whole};
use crate::nest::{Axis, Nest};
use crate::parts::parts;
use crate::pool::{Gone, Worker};
use crate::real::Real;
use bdl_plan::AxisRole;
use std::ops::RangeInclusive;

/// Steps of a chain.
const CHUNK: i64 = bdl_kernels::contraction::CHUNK as i64;
/// More rows, and what the chains take in memory is more than a quarter of the right operand.
const MOST_ROWS: i64 = 128;
/// Elements of a right operand that caches keep from its use to its update and on to the next use.
const OPERAND: RangeInclusive<i64> = 1 << 17..=1 << 22;

/// The chains of a nest.
#[derive(Clone, Copy)]
pub struct Chains {
    /// Axes of rows, columns and the sum.
    row: Axis,
    column: Axis,
    sum: usize,
    pub count: i64,
}

impl Chains {
    pub fn of<T: Real>(nest: &Nest, workers: usize) -> Option<Chains> {
        let long = |role| {
            let mut axes =
                (0..nest.axes().len()).filter(move |i| nest.axes()[*i].role == role && nest.axes()[*i].extent > 1);
            axes.next().filter(|_| axes.next().is_none())
        };
        let (row, column, sum) = (long(AxisRole::M)?, long(AxisRole::N)?, long(AxisRole::K)?);
        let (row, column, extent) = (nest.axes()[row], nest.axes()[column], nest.axes()[sum].extent);
        let count = (extent + CHUNK - 1) / CHUNK;
        let most = (count + workers as i64 - 1) / workers as i64 * CHUNK;
        let is_even = 10 * extent >= 9 * most * workers as i64;
        let fits = T::STEPS == 1
            && workers > 1
            && nest.extent(AxisRole::Batch) == 1
            && nest.clips().is_empty()
            && parts(nest).is_none()
            && row.extent <= MOST_ROWS
            && OPERAND.contains(&(column.extent * extent))
            && column.out == 1
            && is_even;
        fits.then_some(Chains { row, column, sum, count })
    }

    /// Elements of one chain's results.
    pub fn size(&self) -> usize {
        (self.row.extent * self.column.extent) as usize
    }

    /// The chains into scratch, then their sums in order, and what follows.
    ///
    /// # Safety
    /// [`run`]'s.
    pub unsafe fn run<T: Real>(
        &self,
        nest: &Nest,
        operands: Operands<T>,
        scratch: *mut T,
        accumulate: bool,
        worker: &mut Worker,
        mut epilogue: Option<Epilogue<T>>,
    ) -> Result<(), Gone> {
        let mut dense = *nest;
        dense.out = 0;
        for axis in dense.axes_mut() {
            axis.out = match axis.role {
                AxisRole::N => 1,
                AxisRole::M => self.column.extent,
                AxisRole::Batch | AxisRole::K => 0,
            };
        }
        let extent = nest.axes()[self.sum].extent;
        worker.phase(self.count as usize, |chain| {
            let mut part = dense;
            let from = chain as i64 * CHUNK;
            part.restrict(self.sum, from, (from + CHUNK).min(extent));
            let out = scratch.wrapping_add(chain * self.size());
            // SAFETY: each chain has its own part of the scratch; a and b as the caller promised.
            unsafe { whole(&part, Operands { out, ..operands }, false) };
        })?;
        let chunks = worker.count;
        worker.phase(chunks, |chunk| {
            let (begin, end) = share(self.row.extent, chunk, chunks, 1);
            let columns = self.column.extent as usize;
            for row in begin..end {
                let out = operands.out.wrapping_offset((nest.out + row * self.row.out) as isize);
                for chain in 0..self.count as usize {
                    let from = scratch.wrapping_add(chain * self.size() + row as usize * columns);
                    for column in 0..columns {
                        // SAFETY: an element of the result, in a row that is this chunk's, and one that was written in the phase before.
                        unsafe {
                            let (sum, term) = (out.add(column), *from.add(column));
                            *sum = if chain > 0 || accumulate { *sum + term } else { term };
                        }
                    }
                }
            }
            if let Some(epilogue) = &mut epilogue
                && begin < end
            {
                epilogue(begin, end, operands.out);
            }
        })
    }
}
