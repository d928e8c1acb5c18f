//! Contractions on the kernels of `bdl-kernels`.
//!
//! ```text
//! nest of axes ── split over workers (rows, columns, or parts of the sum)
//!   └ boxes without clips (see `nest`)
//!       └ one m, one n, two k axes to the kernel; loops over what is left
//! ```
//!
//! **Order of sums.** Within a box the axes of the sum run in the plan's order; the two innermost go to one kernel call. A sum that is
//! long while its result is small (a weight gradient) is cut into parts, a number that is a function of the extents alone, unless the result
//! is rows of a batch, whose bits must not depend on how many there are; the parts are added pairwise in a tree. Workers take rows, columns or parts, never a share of one sum: bits do not depend on threads.
//!
//! The epilogue runs on blocks of rows while they are in cache where a chunk has whole rows, else in a phase of its own.

use crate::chains::Chains;
use crate::nest::{Axis, Clip, MAX_AXES, Nest};
use crate::packed::Packing;
use crate::parts::{in_parts, parts};
use crate::pool::{Gone, Worker};
use crate::real::Real;
use crate::size::Size;
use crate::stretch::stretch;
use bdl_kernels::contraction::{MOST_STRETCHES, Matrix, MatrixMut, Mode, Panels, Stretch, Taps, fetching};
use bdl_plan::AxisRole;

/// Multiply-adds below which one worker does all.
const SMALL: i64 = 1 << 16;
/// Bytes of output rows after which the epilogue runs.
const BLOCK_BYTES: i64 = 256 << 10;
/// The same where the sum is long.
const LONG_SUM_BLOCK_BYTES: i64 = 1 << 20;
const SHORT_SUM: i64 = 256;
const LONG_SUM: i64 = 1024;
/// Columns of a worker's share that are worth more than whole rows of an inner axis.
const WIDE_SHARE: i64 = 64;
/// Bytes of a passing result that are kept as a whole, so that columns may be shared.
const PASSED_WHOLE: i64 = 1 << 20;

/// A contraction of the plan with sizes made quick to evaluate.
pub struct Form {
    pub axes: Vec<FormAxis>,
    pub clips: Vec<FormClip>,
    pub accumulate: bool,
}

/// `0 <= sum of coefficient * axis + offset < extent`.
pub struct FormClip {
    pub terms: Vec<(usize, i64)>,
    pub offset: Size,
    pub extent: Size,
}

pub struct FormAxis {
    pub role: AxisRole,
    pub extent: Size,
    pub out: Size,
    pub a: Size,
    pub b: Size,
    /// The tables that say where each example begins in the result, the left and the right operand.
    pub offsets: Option<[usize; 3]>,
}

impl Form {
    /// The axis over examples of different length, if there is one, and its tables.
    pub fn ragged(&self) -> Option<(usize, [usize; 3])> {
        self.axes.iter().enumerate().find_map(|(i, axis)| axis.offsets.map(|tables| (i, tables)))
    }

    /// The nest at these sizes, from the starts of the operands on.
    pub fn nest(&self, sizes: &[i64], out: i64, a: i64, b: i64) -> Nest {
        let mut nest = Nest::new(out, a, b);
        nest.is_one_of_many = self.axes.iter().any(|axis| axis.role != AxisRole::K && !axis.extent.is_constant());
        for axis in &self.axes {
            let (mut role, extent) = (axis.role, axis.extent.at(sizes).max(0));
            let (out, a, b) = (axis.out.at(sizes), axis.a.at(sizes), axis.b.at(sizes));
            // A batch axis that the right operand does not have is an axis of rows.
            if role == AxisRole::Batch && b == 0 {
                role = AxisRole::M;
            }
            nest.push(Axis { role, extent, out, a, b });
        }
        for FormClip { terms, offset, extent } in &self.clips {
            let mut coefficients = [0; MAX_AXES];
            for (axis, coefficient) in terms {
                coefficients[*axis] += coefficient;
            }
            nest.push_clip(Clip { coefficients, offset: offset.at(sizes), extent: extent.at(sizes) });
        }
        nest
    }
}

/// How the work of a nest is shared. `Parts` is a function of the extents alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    One,
    Axis(usize),
    /// The sum over this axis in a number of parts.
    Parts {
        axis: usize,
        parts: i64,
    },
}

/// What a nest needs of the scratch, in elements.
struct Needs {
    /// Partial sums, of parts or of chains.
    parts: usize,
    chains: Option<Chains>,
    /// The right operand in panels.
    packing: Option<Packing>,
    /// Rows that only pass to the epilogue: those of one worker.
    rows: usize,
    /// All rows are kept, so that they may be shared in any way.
    all_rows: bool,
    /// The right operand of one matrix of a batch in panels: each worker's.
    own_panels: usize,
}

impl Needs {
    fn of<T: Real>(nest: &Nest, workers: usize, is_passing: bool) -> Needs {
        let result = nest.extent(AxisRole::Batch) * nest.extent(AxisRole::M) * nest.extent(AxisRole::N);
        let chains = Chains::of::<T>(nest, workers);
        let of_chains = chains.map_or(0, |chains| chains.count as usize * chains.size());
        let parts = parts(nest).map_or(of_chains, |(_, parts)| (result * parts) as usize);
        let packing = if parts == 0 && !is_small(nest) { Packing::of::<T>(nest) } else { None };
        let all_rows = is_passing && (parts > 0 || packing.is_none() && result * size_of::<T>() as i64 <= PASSED_WHOLE);
        let rows = match (is_passing, all_rows) {
            (false, _) => 0,
            (true, true) => result as usize,
            (true, false) => (block_rows::<T>(nest, 1) * nest.extent(AxisRole::N)) as usize,
        };
        let own = if parts == 0 && packing.is_none() { Packing::of_one::<T>(nest) } else { None };
        Needs { parts, chains, packing, rows, all_rows, own_panels: own.map_or(0, |own| own.len()) }
    }

    /// Elements before the workers' panels, and all of them.
    fn sizes(&self, workers: usize) -> (usize, usize) {
        let before = self.parts + self.packed() + self.rows * if self.all_rows { 1 } else { workers };
        (before, before + self.own_panels * workers)
    }

    fn packed(&self) -> usize {
        self.packing.as_ref().map_or(0, Packing::len)
    }
}

/// Rows of a block that an epilogue follows, where it reads so many tensors of the result's size. A block of a short sum stays in the cache with
/// all of them; that of a long one is worth more rows than that, because each block reads the right operand once more.
fn block_rows<T>(nest: &Nest, tensors: i64) -> i64 {
    let row_bytes = (nest.extent(AxisRole::N) * size_of::<T>() as i64).max(1);
    let bytes = match nest.extent(AxisRole::K) {
        ..=SHORT_SUM => BLOCK_BYTES / tensors,
        LONG_SUM.. => LONG_SUM_BLOCK_BYTES,
        _ => BLOCK_BYTES,
    };
    // Whole tiles, of 6 or of 14 rows.
    let block = (bytes / row_bytes / 42 * 42).max(42);
    // Blocks end where the innermost axis of rows does: a few rows more cost less than a block of a few rows, which copies the right operand again.
    let is_row = |axis: &&Axis| matches!(axis.role, AxisRole::Batch | AxisRole::M) && axis.extent > 1;
    let inner = nest.axes().iter().rev().find(is_row).map_or(1, |axis| axis.extent);
    if (block..=block * 5 / 4).contains(&inner) { inner } else { block }
}

/// Elements of scratch that [`run`] needs for this nest.
pub fn scratch<T: Real>(nest: &Nest, workers: usize, is_passing: bool) -> usize {
    let needs = Needs::of::<T>(nest, workers, is_passing);
    needs.sizes(workers).1
}

/// Multiply-adds.
pub fn work(nest: &Nest) -> i64 {
    nest.axes().iter().map(|a| a.extent).product()
}

/// Worth more than one worker?
pub fn is_small(nest: &Nest) -> bool {
    work(nest) < SMALL
}

fn split(nest: &Nest, workers: usize) -> Split {
    if let Some((axis, parts)) = parts(nest) {
        return Split::Parts { axis, parts };
    }
    if workers == 1 { Split::One } else { shared_axis(nest, workers).map_or(Split::One, Split::Axis) }
}

/// The axis of the result that workers share best. No bit depends on the choice.
pub fn shared_axis(nest: &Nest, workers: usize) -> Option<usize> {
    // Where a clip cuts the sum itself, the cuts depend on all of its axes: none of them may be shared.
    axis_to_share(nest, workers, nest.boxes_overlap())
}

/// The same; with `whole_clips`, among axes without clips.
fn axis_to_share(nest: &Nest, workers: usize, whole_clips: bool) -> Option<usize> {
    let workers = workers as i64;
    // The longer side of the result is shared, so that each worker packs a share of the larger operand.
    let rows = nest.extent(AxisRole::Batch) * nest.extent(AxisRole::M);
    let columns = nest.extent(AxisRole::N);
    let balance = |extent: i64| {
        let rounds = (extent + workers - 1) / workers;
        extent as f64 / (rounds * workers) as f64
    };
    let best = |wanted: &dyn Fn(AxisRole) -> bool| {
        let free = |i: usize| !(whole_clips && nest.is_clipped(i));
        let axes = || nest.axes().iter().enumerate().filter(|(i, a)| wanted(a.role) && a.extent > 1 && free(*i));
        let balanced = |least: f64| axes().find(|(_, a)| balance(a.extent) > least);
        balanced(0.95).or_else(|| balanced(0.85)).or_else(|| axes().max_by_key(|(_, a)| a.extent)).map(|(i, _)| i)
    };
    let is_row = |role| matches!(role, AxisRole::Batch | AxisRole::M);
    let (row, column) = (best(&is_row), best(&|role| role == AxisRole::N));
    // An inner axis of rows leaves each worker pieces of the outer ones (some letters of every tap), which make no long rows of tiles.
    let is_inner = |row: usize| nest.axes()[..row].iter().any(|a| is_row(a.role) && a.extent > 1);
    let is_wide = columns >= WIDE_SHARE * workers;
    if columns > rows || is_wide && row.is_some_and(is_inner) { column.or(row) } else { row.or(column) }
}

/// A chunk's share of the result, over all of one example's part of the sum: columns where each chunk has whole panels of them, for these leave rows
/// to whole tiles. No bit depends on it, nor does it on the example (whose length says whether boxes overlap, hence axes without clips alone): a chunk has the
/// same elements of all of them. `None` where nothing is left for the chunk.
pub fn share_of_result<T: Real>(nest: &Nest, chunk: usize, chunks: usize) -> Option<Nest> {
    let panel = T::panel_width() as i64;
    let columns = (0..nest.axes().len()).find(|axis| {
        let ax = nest.axes()[*axis];
        ax.role == AxisRole::N && ax.extent >= panel * chunks as i64 && !nest.is_clipped(*axis)
    });
    let (axis, step) = match columns {
        Some(axis) => (Some(axis), panel),
        None => (axis_to_share(nest, chunks, true), 1),
    };
    let Some(axis) = axis else { return (chunk == 0).then_some(*nest) };
    let (from, to) = share(nest.axes()[axis].extent, chunk, chunks, step);
    let mut part = *nest;
    part.restrict(axis, from, to);
    (from < to).then_some(part)
}

/// Share number `index` of `0..n` in `count` shares, in whole steps of `step`.
pub fn share(n: i64, index: usize, count: usize, step: i64) -> (i64, i64) {
    let steps = (n + step - 1) / step;
    let (index, count) = (index as i64, count as i64);
    ((steps * index / count * step).min(n), (steps * (index + 1) / count * step).min(n))
}

/// The three operands.
#[derive(Clone, Copy)]
pub struct Operands<T> {
    pub out: *mut T,
    pub a: *const T,
    pub b: *const T,
    /// From a panel of `b` to the next, where it lies in panels (see `packed`); 0 where it is a matrix.
    pub panel: usize,
}

/// What follows a contraction: `(begin, end, out)` for rows whose results are complete, each row once, with the result as if it began at `out`.
pub type Epilogue<'e, T> = &'e mut dyn FnMut(i64, i64, *mut T);

/// Elements of the copy of a right operand that all steps of a loop share; none where it would not pay.
pub fn held<T: Real>(nest: &Nest) -> Option<Packing> {
    if parts(nest).is_some() { None } else { Packing::in_loop::<T>(nest) }
}

/// Runs the nest as phases of a region. `beside`: what whoever comes after it goes through, row by row as the result's. With `is_passing`, the result is for the epilogue alone and `operands.out` is nowhere. `held`: the right
/// operand in panels, as [`held`] makes it.
///
/// # Safety
/// The nest's accesses are inside the operands; `scratch` has room for [`scratch`] elements; nothing else touches `out`. All workers
/// call it with the same arguments.
pub unsafe fn run<T: Real>(
    nest: &Nest,
    mut operands: Operands<T>,
    scratch: *mut T,
    accumulate: bool,
    worker: &mut Worker,
    mut epilogue: Option<Epilogue<T>>,
    beside: &[Stretch],
    is_passing: bool,
    held: Option<*const T>,
) -> Result<(), Gone> {
    let rows = nest.extent(AxisRole::Batch) * nest.extent(AxisRole::M);
    let chunks = worker.count;
    let needs = Needs::of::<T>(nest, worker.count, is_passing);
    let in_loop = held.zip(Packing::in_loop::<T>(nest)).filter(|_| needs.parts == 0 || needs.chains.is_some());
    let passed = scratch.wrapping_add(needs.parts + needs.packed());
    if needs.all_rows {
        operands.out = passed;
    }
    let out = operands.out;
    let panels = (needs.own_panels > 0).then(|| (scratch.wrapping_add(needs.sizes(chunks).0), needs.own_panels));
    if let Some((packed, packing)) = &in_loop {
        let operands = Operands { b: *packed, panel: packing.panel, ..operands };
        let own = (is_passing && !needs.all_rows).then_some((passed, needs.rows));
        // SAFETY: the caller's promise, with the copy in place of the right operand.
        return unsafe { by_blocks(&packing.nest, operands, accumulate, worker, epilogue, beside, own, None) };
    }
    if let Some(packing) = &needs.packing {
        let packed = scratch.wrapping_add(needs.parts);
        // SAFETY: the caller's promise; the scratch has room.
        unsafe { packing.copy(operands.b, packed, worker)? };
        let operands = Operands { b: packed.cast_const(), panel: packing.panel, ..operands };
        let own = (is_passing && !needs.all_rows).then_some((passed, needs.rows));
        // SAFETY: as above, with the copy in place of the right operand.
        return unsafe { by_blocks(&packing.nest, operands, accumulate, worker, epilogue, beside, own, None) };
    }
    if is_passing && !needs.all_rows {
        let own = Some((passed, needs.rows));
        // SAFETY: the caller's promise.
        return unsafe { by_blocks(nest, operands, accumulate, worker, epilogue, beside, own, panels) };
    }
    if let Some(chains) = needs.chains {
        // SAFETY: the caller's promise.
        return unsafe { chains.run(nest, operands, scratch, accumulate, worker, epilogue) };
    }
    let is_row = |a: &Axis| matches!(a.role, AxisRole::Batch | AxisRole::M);
    // Whole rows: the epilogue follows block by block. Where clips cut the sum, only the outermost axis of rows may be cut.
    let in_blocks = |axis: Option<usize>| {
        let outermost = |axis: usize| nest.axes()[..axis].iter().all(|a| !is_row(a) || a.extent == 1);
        axis.is_none_or(|axis| is_row(&nest.axes()[axis])) && (nest.clips().is_empty() || axis.is_some_and(outermost))
    };
    let axis = match split(nest, chunks) {
        Split::One if epilogue.is_some() && in_blocks(None) => {
            // SAFETY: the caller's promise.
            return unsafe { by_blocks(nest, operands, accumulate, worker, epilogue, beside, None, panels) };
        }
        Split::One => {
            return worker.phase(1, |_| {
                // SAFETY: the caller's promise.
                unsafe { whole(nest, operands, accumulate) };
                if let Some(epilogue) = &mut epilogue {
                    epilogue(0, rows, out);
                }
            });
        }
        Split::Parts { axis, parts } => {
            // SAFETY: the caller's promise.
            unsafe { in_parts(nest, operands, scratch, accumulate, worker, axis, parts)? };
            return by_rows(worker, rows, epilogue, out);
        }
        Split::Axis(axis) => axis,
    };
    let ax = nest.axes()[axis];
    let step = if ax.extent >= 64 * chunks as i64 { 16 } else { 1 };
    if epilogue.is_some() && in_blocks(Some(axis)) {
        // SAFETY: the caller's promise.
        return unsafe { by_blocks(nest, operands, accumulate, worker, epilogue, beside, None, panels) };
    }
    worker.phase(chunks, |chunk| {
        let (from, to) = share(ax.extent, chunk, chunks, step);
        if from < to {
            let mut part = *nest;
            part.restrict(axis, from, to);
            // SAFETY: the caller's promise, for a part of the result.
            unsafe { whole(&part, operands, accumulate) };
        }
    })?;
    by_rows(worker, rows, epilogue, out)
}

/// Rows shared by the workers, in blocks that the epilogue follows while they are in cache. `passed`: memory for rows that nobody else sees, and
/// how much of it is each worker's. `panels`: the same for the right operand of one matrix of a batch, which all blocks of its rows read.
///
/// # Safety
/// [`run`]'s.
#[allow(clippy::too_many_arguments, reason = "what a product is made of")]
unsafe fn by_blocks<T: Real>(
    nest: &Nest,
    operands: Operands<T>,
    accumulate: bool,
    worker: &mut Worker,
    mut epilogue: Option<Epilogue<T>>,
    beside: &[Stretch],
    passed: Option<(*mut T, usize)>,
    panels: Option<(*mut T, usize)>,
) -> Result<(), Gone> {
    let rows = nest.extent(AxisRole::Batch) * nest.extent(AxisRole::M);
    let columns = nest.extent(AxisRole::N);
    let block = match &epilogue {
        None => rows,
        Some(_) => block_rows::<T>(nest, 1 + beside.iter().filter(|s| s.bytes > 0).count() as i64),
    };
    let chunks = worker.count;
    let step = if rows >= 42 * 8 * chunks as i64 { 42 } else { 1 };
    worker.phase(chunks, |chunk| {
        let (from, to) = share(rows, chunk, chunks, step);
        let mut copied = None;
        stretch(nest, from, to, block, &mut |part, begin, end| {
            let mut operands = operands;
            let mut part = *part;
            if let Some((panels, room)) = panels
                && let Some(packing) = Packing::of_block::<T>(&part)
            {
                let panels = panels.wrapping_add(chunk * room);
                if copied != Some(packing.start()) {
                    // SAFETY: the caller's promise; a chunk has room for one matrix.
                    unsafe { packing.copy_alone(operands.b, panels) };
                    copied = Some(packing.start());
                }
                operands = Operands { b: panels.cast_const(), panel: packing.panel, ..operands };
                part = packing.nest;
            }
            if let Some((passed, room)) = passed {
                // As if all rows before these were there.
                operands.out = passed.wrapping_add(chunk * room).wrapping_offset(-(begin * columns) as isize);
            }
            // Rows of what comes next are those of the result.
            let mut stretches = [Stretch::NOTHING; MOST_STRETCHES];
            for (part, all) in stretches.iter_mut().zip(beside) {
                let at = all.at.wrapping_add(begin as usize * all.stride);
                *part = Stretch { at, rows: (end - begin).max(0) as usize, ..*all };
            }
            // SAFETY: the caller's promise, for a part of the rows; a chunk has room for a block of its own.
            fetching(&stretches, || unsafe { whole(&part, operands, accumulate) });
            if let Some(epilogue) = &mut epilogue {
                epilogue(begin, end, operands.out);
            }
        });
    })
}

/// The epilogue, once all results are there.
fn by_rows<T>(worker: &mut Worker, rows: i64, epilogue: Option<Epilogue<T>>, out: *mut T) -> Result<(), Gone> {
    let Some(epilogue) = epilogue else { return Ok(()) };
    let chunks = worker.count;
    worker.phase(chunks, |chunk| {
        let (begin, end) = share(rows, chunk, chunks, 1);
        if begin < end {
            epilogue(begin, end, out);
        }
    })
}

/// A nest with clips, all of it, by the calling thread alone and without scratch.
///
/// # Safety
/// The nest's accesses are inside the operands; nothing else touches `out`.
pub unsafe fn whole<T: Real>(nest: &Nest, operands: Operands<T>, accumulate: bool) {
    if nest.clips().is_empty() {
        // SAFETY: the caller's promise.
        unsafe { unclipped(nest, operands, accumulate) };
        return;
    }
    let mut add = accumulate;
    if nest.boxes_overlap() && !accumulate {
        let mut nothing = *nest;
        nothing.axes_mut().iter_mut().filter(|a| a.role == AxisRole::K).for_each(|a| a.extent = 0);
        let mut zeros = Nest::new(nest.out, nest.a, nest.b);
        nothing.axes().iter().for_each(|a| {
            zeros.push(*a);
        });
        // SAFETY: writes the result's elements.
        unsafe { unclipped(&zeros, operands, false) };
        add = true;
    }
    // SAFETY: boxes are parts of the nest.
    nest.boxes(&mut |part| unsafe { unclipped(part, operands, add) });
}

/// A nest without clips.
unsafe fn unclipped<T: Real>(nest: &Nest, operands: Operands<T>, accumulate: bool) {
    let mut nest = *nest;
    if nest.axes().iter().any(|a| a.extent == 0 && a.role != AxisRole::K) {
        return;
    }
    if nest.axes().iter().any(|a| a.extent == 0) {
        if !accumulate {
            // SAFETY: the caller's promise.
            unsafe { clear(&nest, operands.out) };
        }
        return;
    }
    nest.merge();
    let axes = nest.axes();
    // The longest axis of each side for the kernel, the inner one where they are alike; the last two of the sum.
    let pick = |role: AxisRole| (0..axes.len()).filter(|i| axes[*i].role == role).max_by_key(|i| axes[*i].extent);
    let (m, n) = (pick(AxisRole::M), pick(AxisRole::N));
    let mut sums = (0..axes.len()).rev().filter(|i| axes[*i].role == AxisRole::K);
    let (k, taps) = (sums.next(), sums.next());
    let of = |i: Option<usize>| i.map_or(Axis { role: AxisRole::M, extent: 1, out: 0, a: 0, b: 0 }, |i| axes[i]);
    let (am, an, ak, at) = (of(m), of(n), of(k), of(taps));
    // What is left, sums innermost so that a result is finished before the next begins.
    let mut loops = [0usize; MAX_AXES];
    let mut loop_count = 0;
    for sum in [false, true] {
        for (i, axis) in axes.iter().enumerate() {
            let used = [m, n, k, taps].contains(&Some(i));
            if !used && (axis.role == AxisRole::K) == sum {
                loops[loop_count] = i;
                loop_count += 1;
            }
        }
    }
    let mut counter = [0i64; MAX_AXES];
    loop {
        let (mut out, mut a, mut b) = (nest.out, nest.a, nest.b);
        let mut first = true;
        for (position, &i) in loops[..loop_count].iter().enumerate() {
            out += counter[position] * axes[i].out;
            a += counter[position] * axes[i].a;
            b += counter[position] * axes[i].b;
            first &= axes[i].role != AxisRole::K || counter[position] == 0;
        }
        let mode = if accumulate || !first { Mode::Add } else { Mode::Write };
        let (rows, columns, sum) = (am.extent as usize, an.extent as usize, ak.extent as usize);
        let taps = Taps { count: at.extent as usize, a: at.a as isize, b: at.b as isize };
        let left = Matrix { ptr: operands.a.wrapping_offset(a as isize), row: am.a as isize, col: ak.a as isize };
        let right = operands.b.wrapping_offset(b as isize);
        let result = operands.out.wrapping_offset(out as isize);
        let result = MatrixMut { ptr: result, row: am.out as isize, col: an.out as isize };
        // SAFETY: every element that these extents and strides reach is one of the nest's.
        unsafe {
            if operands.panel > 0 {
                let right = Panels { ptr: right, row: ak.b as isize, panel: operands.panel };
                T::contract_panels(rows, columns, sum, taps, left, right, result, mode);
            } else {
                let right = Matrix { ptr: right, row: ak.b as isize, col: an.b as isize };
                T::contract(rows, columns, sum, taps, left, right, result, mode);
            }
        }
        // The next point of the loops, the last one fastest.
        let mut position = loop_count;
        loop {
            if position == 0 {
                return;
            }
            position -= 1;
            counter[position] += 1;
            if counter[position] < axes[loops[position]].extent {
                break;
            }
            counter[position] = 0;
        }
    }
}

/// Zeros in every element of the result.
unsafe fn clear<T: Real>(nest: &Nest, out: *mut T) {
    let mut result = Nest::new(nest.out, 0, 0);
    for axis in nest.axes() {
        if axis.role != AxisRole::K {
            result.push(Axis { role: AxisRole::M, a: 0, b: 0, ..*axis });
        }
    }
    let axes = result.axes();
    let mut counter = [0i64; MAX_AXES];
    loop {
        let at: i64 = nest.out + axes.iter().zip(&counter).map(|(a, c)| a.out * c).sum::<i64>();
        // SAFETY: an element of the result.
        unsafe { *out.offset(at as isize) = T::default() };
        let mut position = axes.len();
        loop {
            if position == 0 {
                return;
            }
            position -= 1;
            counter[position] += 1;
            if counter[position] < axes[position].extent {
                break;
            }
            counter[position] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient of a padded convolution's weights for one example: 13 taps of 4 letters and `columns` channels over `length` places.
    fn weights(length: i64, columns: i64) -> Nest {
        let mut nest = Nest::new(0, 0, 0);
        for (role, extent, out) in [
            (AxisRole::M, 13, 4 * columns),
            (AxisRole::M, 4, columns),
            (AxisRole::N, columns, 1),
            (AxisRole::K, 1, 0),
            (AxisRole::K, length, 0),
        ] {
            nest.push(Axis { role, extent, out, a: 1, b: 1 });
        }
        let mut coefficients = [0; MAX_AXES];
        (coefficients[0], coefficients[4]) = (1, 1);
        nest.push_clip(Clip { coefficients, offset: -6, extent: length });
        nest
    }

    fn elements(part: &Nest) -> Vec<i64> {
        let mut all = vec![part.out];
        for axis in part.axes().iter().filter(|axis| axis.role != AxisRole::K) {
            all = all.iter().flat_map(|at| (0..axis.extent).map(move |i| at + i * axis.out)).collect();
        }
        all.sort();
        all
    }

    /// Workers go through the examples without waiting for each other, so an element belongs to one of them in all examples.
    #[test]
    fn a_chunk_has_the_same_elements_of_every_example() {
        let mut overlap = Vec::new();
        for columns in [1, 7, 20, 64, 300] {
            for chunks in 1..6 {
                let shares = |length: i64| -> Vec<Vec<i64>> {
                    let nest = weights(length, columns);
                    let share =
                        |chunk| share_of_result::<f32>(&nest, chunk, chunks).map_or(Vec::new(), |p| elements(&p));
                    (0..chunks).map(share).collect()
                };
                let first = shares(40);
                let mut all: Vec<i64> = first.concat();
                all.sort();
                assert_eq!(all, (0..13 * 4 * columns).collect::<Vec<_>>(), "{columns} columns, {chunks} chunks");
                for length in [0, 1, 5, 12, 13, 14, 400] {
                    assert_eq!(shares(length), first, "{columns} columns, {chunks} chunks, {length} places");
                    overlap.push(weights(length, columns).boxes_overlap());
                }
            }
        }
        // Some of them would have been shared along the taps, others not.
        assert!(overlap.contains(&true) && overlap.contains(&false));
    }
}
