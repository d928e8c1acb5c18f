//! A long sum whose result is small, in parts that workers share and that are added in a tree. How many there are is a function of the extents alone.

use crate::contract::{Operands, share, shared_axis, whole};
use crate::nest::Nest;
use crate::pool::{Gone, Worker};
use crate::real::Real;
use bdl_plan::AxisRole;
use std::ops::Range;

/// Results up to this many elements may be computed in parts of the sum.
const PARTS_RESULT: i64 = 1 << 15;
/// Shortest sum that is cut into parts, and shortest part.
const PARTS_SUM: i64 = 1024;
const PART: i64 = 512;
const MAX_PARTS: i64 = 16;

/// The parts of the sum, if it is to be cut.
pub fn parts(nest: &Nest) -> Option<(usize, i64)> {
    let result = nest.extent(AxisRole::Batch) * nest.extent(AxisRole::M) * nest.extent(AxisRole::N);
    let sum = nest.extent(AxisRole::K);
    if nest.is_one_of_many {
        return None;
    }
    if result == 0 || result > PARTS_RESULT || sum < PARTS_SUM || nest.extent(AxisRole::Batch) >= 8 {
        return None;
    }
    let axis = (0..nest.axes().len())
        .find(|&i| nest.axes()[i].role == AxisRole::K && nest.axes()[i].extent > 1 && !nest.is_clipped(i))?;
    let extent = nest.axes()[axis].extent;
    let most = (sum / PART).min(MAX_PARTS).min(extent);
    // Of the counts that two and four workers share best, in steps of the axis (6 examples: 6 parts, not 4), the largest.
    let rounds = |parts: i64, workers: i64| (parts + workers - 1) / workers * ((extent + parts - 1) / parts) * workers;
    let parts = (2..=most).rev().min_by_key(|parts| rounds(*parts, 2) + rounds(*parts, 4))?;
    Some((axis, parts))
}

/// Partial sums into scratch, then their tree into the result.
///
/// # Safety
/// [`contract::run`](crate::contract::run)'s.
pub unsafe fn in_parts<T: Real>(
    nest: &Nest,
    operands: Operands<T>,
    scratch: *mut T,
    accumulate: bool,
    worker: &mut Worker,
    axis: usize,
    parts: i64,
) -> Result<(), Gone> {
    let mut dense = *nest;
    dense.out = 0;
    let mut size = 1;
    for ax in dense.axes_mut().iter_mut().rev() {
        if ax.role != AxisRole::K {
            ax.out = size;
            size *= ax.extent;
        }
    }
    let extent = nest.axes()[axis].extent;
    // Fewer parts than workers: the rows or columns of each part are shared too.
    let wanted = (worker.count as i64 / parts).max(1);
    let side = if wanted > 1 { shared_axis(&dense, wanted as usize) } else { None };
    let shares = if side.is_some() { wanted } else { 1 };
    worker.phase((parts * shares) as usize, |chunk| {
        let (part, team) = (chunk as i64 / shares, chunk as i64 % shares);
        let mut nest = dense;
        if let Some(side) = side {
            let (from, to) = share(dense.axes()[side].extent, team as usize, shares as usize, 1);
            nest.restrict(side, from, to);
        }
        nest.restrict(axis, extent * part / parts, extent * (part + 1) / parts);
        let out = scratch.wrapping_add((part * size) as usize);
        // SAFETY: each part has its own `size` elements of scratch, each share its own of these; a and b as the caller promised.
        unsafe { whole(&nest, Operands { out, ..operands }, false) };
    })?;
    let chunks = worker.count;
    worker.phase(chunks, |chunk| {
        let (first, last) = share(size, chunk, chunks, LANES as i64);
        // SAFETY: all parts were written in the phase before; each element of the result is one chunk's.
        unsafe { add_parts(nest, (scratch, size as usize), parts as usize, operands.out, accumulate, first..last) }
    })
}

/// Elements whose parts are added side by side.
const LANES: usize = 16;

/// Elements of the result (as if it were dense), each the tree of its parts. `from`: where they lie, and how many elements each has.
///
/// # Safety
/// The parts hold what `from` says; the nest's accesses are inside `out`, and nothing else touches those elements.
unsafe fn add_parts<T: Real>(
    nest: &Nest,
    from: (*const T, usize),
    parts: usize,
    out: *mut T,
    accumulate: bool,
    elements: Range<i64>,
) {
    // What lies side by side in the result, too.
    let inner = nest.axes().iter().rev().find(|axis| axis.role != AxisRole::K && axis.extent > 1);
    let run = inner.filter(|axis| axis.out == 1).map_or(1, |axis| axis.extent);
    let mut i = elements.start;
    while i < elements.end {
        let count = (run - i % run).min(elements.end - i).min(LANES as i64) as usize;
        let mut sums = [[T::default(); LANES]; MAX_PARTS as usize];
        for (part, sums) in sums[..parts].iter_mut().enumerate() {
            let from = from.0.wrapping_add(part * from.1 + i as usize);
            for (lane, sum) in sums[..count].iter_mut().enumerate() {
                // SAFETY: inside the part.
                *sum = unsafe { *from.add(lane) };
            }
        }
        let mut n = parts;
        while n > 1 {
            for j in 0..n / 2 {
                let (a, b) = (sums[2 * j], sums[2 * j + 1]);
                sums[j] = std::array::from_fn(|lane| a[lane] + b[lane]);
            }
            if n % 2 == 1 {
                sums[n / 2] = sums[n - 1];
            }
            n = n.div_ceil(2);
        }
        let (mut at, mut rest) = (nest.out, i);
        for axis in nest.axes().iter().rev().filter(|axis| axis.role != AxisRole::K) {
            at += rest % axis.extent * axis.out;
            rest /= axis.extent;
        }
        let to = out.wrapping_offset(at as isize);
        for (lane, sum) in sums[0][..count].iter().enumerate() {
            // SAFETY: an element of the result, inside by the caller's promise.
            unsafe {
                let to = to.add(lane);
                *to = if accumulate { *to + *sum } else { *sum };
            }
        }
        i += count as i64;
    }
}
