//! Launches in order, each worker its share.
//!
//! All workers walk the same list and evaluate the same sizes, so they agree without talking about what each launch is: shared by all, or so
//! small that worker 0 does it alone. They meet at a barrier before a launch unless it and the one before it are both worker 0's.

use crate::compiled::{Compiled, CompiledContraction, CompiledLaunch, CompiledOp, CompiledUse};
use crate::contract::{self, Operands, Real, share};
use crate::memory::size_of_dtype;
use crate::pool::Worker;
use crate::program::set_example;
use crate::{draw, library};
use bdl_plan::DType;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Operations of a kernel below which one worker does all: about two microseconds.
const SMALL_KERNEL: i64 = 8 << 10;
/// Bytes below which one worker copies or clears.
const SMALL_BYTES: usize = 64 << 10;
/// Grid points go to workers in multiples of this: whole vectors, whole cache lines.
const GRAIN: i64 = 16;

/// A view of pointers that workers share.
pub struct Pointers<'p>(pub &'p [*mut u8]);
// SAFETY: what is behind them is written in disjoint parts; see `KernelFn` and the plan's contract for launches.
unsafe impl Sync for Pointers<'_> {}

pub struct Scratch(pub *mut u8);
// SAFETY: as above.
unsafe impl Sync for Scratch {}

/// One run, the same for all workers.
pub struct Run<'r> {
    pub compiled: &'r Compiled,
    pub pointers: Pointers<'r>,
    pub lens: &'r [usize],
    pub lengths: &'r HashMap<usize, Vec<i64>>,
    pub scratch: Scratch,
    pub seed: u64,
    pub step: u64,
    pub positions: &'r [i64],
    pub profile: bool,
}

/// What a worker has for itself.
#[derive(Default)]
pub struct WorkerState {
    pub sizes: Vec<i64>,
    buffers: Vec<*mut u8>,
    arguments: Vec<i64>,
    /// Was the last launch worker 0's alone?
    alone: bool,
    started: bool,
    pub times: Vec<Duration>,
}

impl WorkerState {
    pub fn begin(&mut self, compiled: &Compiled, sizes: &[i64]) {
        self.sizes.clear();
        self.sizes.extend_from_slice(sizes);
        self.buffers.reserve(compiled.most_buffers);
        self.arguments.reserve(compiled.most_sizes);
        self.times.clear();
        self.times.resize(compiled.launch_count, Duration::ZERO);
        (self.alone, self.started) = (true, false);
    }

    /// Meets the others where the next launch must see what the last one wrote. True for workers that take part.
    fn enter(&mut self, worker: &Worker, alone: bool) -> bool {
        if self.started && !(self.alone && alone) {
            worker.barrier();
        }
        self.started = true;
        self.alone = alone;
        !alone || worker.index == 0
    }
}

pub fn launches(run: &Run, worker: &Worker, state: &mut WorkerState, list: &[CompiledLaunch]) {
    for launch in list {
        if let CompiledOp::Scan { step, extent, reversed, body } = &launch.op {
            let extent = extent.at(&state.sizes);
            for i in 0..extent {
                state.sizes[*step] = if *reversed { extent - 1 - i } else { i };
                launches(run, worker, state, body);
            }
            continue;
        }
        let start = run.profile.then(|| {
            state.enter(worker, false);
            worker.barrier();
            Instant::now()
        });
        one(run, worker, state, &launch.op);
        if let Some(start) = start {
            worker.barrier();
            state.times[launch.number] += start.elapsed();
        }
    }
}

/// Would one worker do all of these launches while the others wait? Then they need not be asked: on a busy machine a worker that is only
/// waited for costs a time slice.
pub fn all_alone(run: &Run, sizes: &mut [i64], list: &[CompiledLaunch]) -> bool {
    list.iter().all(|launch| match &launch.op {
        CompiledOp::Kernel(kernel) => kernel.grid.at(sizes).saturating_mul(kernel.cost.at(sizes)) < SMALL_KERNEL,
        CompiledOp::Contract(c) => c.form.ragged().is_none() && contract::is_small(&c.form.nest(sizes, 0, 0, 0)),
        CompiledOp::Draw { out, .. } => run.lens[*out] < 1024,
        CompiledOp::Copy { from, to } => {
            run.lens[*to].min(run.lens[*from]) * size_of_dtype(run.compiled.buffers[*to].dtype) < SMALL_BYTES
        }
        CompiledOp::Clear { buffer } => {
            run.lens[*buffer] * size_of_dtype(run.compiled.buffers[*buffer].dtype) < SMALL_BYTES
        }
        CompiledOp::Scan { step, body, .. } => {
            sizes[*step] = 0;
            all_alone(run, sizes, body)
        }
        CompiledOp::Sort { rows, columns, .. } => rows.at(sizes) * columns.at(sizes) < 1024,
        CompiledOp::Library { .. } => true,
    })
}

fn one(run: &Run, worker: &Worker, state: &mut WorkerState, op: &CompiledOp) {
    match op {
        CompiledOp::Kernel(kernel) => {
            let grid = kernel.grid.at(&state.sizes);
            let alone = worker.count == 1 || grid.saturating_mul(kernel.cost.at(&state.sizes)) < SMALL_KERNEL;
            if state.enter(worker, alone) {
                let (begin, end) = if alone { (0, grid) } else { grid_share(kernel, grid, worker) };
                // SAFETY: a share of the grid; the plan's launches are in bounds.
                unsafe { kernel_range(run, state, kernel, begin, end) }
            }
        }
        CompiledOp::Contract(contraction) => match contraction.dtype {
            DType::F64 => contract::<f64>(run, worker, state, contraction),
            DType::F32 | DType::BF16 | DType::I32 | DType::I64 | DType::Bool => {
                contract::<f32>(run, worker, state, contraction);
            }
        },
        CompiledOp::Draw { out, distribution, site, per_example } => {
            let len = run.lens[*out];
            let alone = worker.count == 1 || len < 1024;
            if state.enter(worker, alone) {
                let (begin, end) =
                    if alone { (0, len as i64) } else { share(len as i64, worker.index, worker.count, 64) };
                let rows = per_example.as_ref().map(|d| d.at(&state.sizes));
                let key = bdl_kernels::philox::DrawKey { seed: run.seed, step: run.step, site: *site };
                let dtype = run.compiled.buffers[*out].dtype;
                // SAFETY: each worker fills its own part of the buffer.
                unsafe {
                    draw::fill(
                        run.pointers.0[*out],
                        dtype,
                        *distribution,
                        key,
                        rows,
                        run.positions,
                        begin as usize,
                        end as usize,
                    );
                }
            }
        }
        CompiledOp::Copy { from, to } => {
            let bytes = run.lens[*to].min(run.lens[*from]) * size_of_dtype(run.compiled.buffers[*to].dtype);
            let alone = worker.count == 1 || bytes < SMALL_BYTES;
            if state.enter(worker, alone) {
                let (begin, end) =
                    if alone { (0, bytes as i64) } else { share(bytes as i64, worker.index, worker.count, 64) };
                // SAFETY: both buffers hold at least `bytes`; they are the same or apart.
                unsafe {
                    let (from, to) =
                        (run.pointers.0[*from].offset(begin as isize), run.pointers.0[*to].offset(begin as isize));
                    std::ptr::copy(from, to, (end - begin) as usize);
                }
            }
        }
        CompiledOp::Clear { buffer } => {
            let bytes = run.lens[*buffer] * size_of_dtype(run.compiled.buffers[*buffer].dtype);
            let alone = worker.count == 1 || bytes < SMALL_BYTES;
            if state.enter(worker, alone) {
                let (begin, end) =
                    if alone { (0, bytes as i64) } else { share(bytes as i64, worker.index, worker.count, 64) };
                // SAFETY: inside the buffer.
                unsafe { run.pointers.0[*buffer].offset(begin as isize).write_bytes(0, (end - begin) as usize) }
            }
        }
        CompiledOp::Sort { out, input, rows, columns, descending } => {
            let (rows, columns) = (rows.at(&state.sizes).max(0), columns.at(&state.sizes).max(0));
            let alone = worker.count == 1 || rows * columns < 1024;
            if state.enter(worker, alone) {
                let (begin, end) = if alone { (0, rows) } else { share(rows, worker.index, worker.count, 1) };
                let dtype = run.compiled.buffers[*input].dtype;
                // SAFETY: rows of `columns` elements each, a worker its own.
                unsafe {
                    library::sort_rows(
                        run.pointers.0[*input],
                        dtype,
                        run.pointers.0[*out].cast(),
                        begin as usize,
                        end as usize,
                        columns as usize,
                        *descending,
                    );
                }
            }
        }
        CompiledOp::Library { routine, out, input, rows, columns } => {
            let (rows, columns) = (rows.at(&state.sizes).max(0), columns.at(&state.sizes).max(0));
            if state.enter(worker, true) {
                let (from, to) = (run.compiled.buffers[*input].dtype, run.compiled.buffers[*out].dtype);
                // SAFETY: both buffers hold rows * columns elements.
                unsafe {
                    library::routine(
                        *routine,
                        (run.pointers.0[*input], from),
                        (run.pointers.0[*out], to),
                        rows as usize,
                        columns as usize,
                    );
                }
            }
        }
        CompiledOp::Scan { .. } => {}
    }
}

fn grid_share(kernel: &CompiledUse, grid: i64, worker: &Worker) -> (i64, i64) {
    // Rows of a serial grid may be few and heavy.
    let grain = if kernel.lanes || grid >= 8 * GRAIN * worker.count as i64 { GRAIN } else { 1 };
    share(grid, worker.index, worker.count, grain)
}

/// # Safety
/// The range lies in the grid, and no other worker runs it.
unsafe fn kernel_range(run: &Run, state: &mut WorkerState, kernel: &CompiledUse, begin: i64, end: i64) {
    if begin >= end {
        return;
    }
    let WorkerState { sizes, buffers, arguments, .. } = state;
    buffers.clear();
    for (buffer, offset) in &kernel.buffers {
        let bytes = offset.at(sizes) * size_of_dtype(run.compiled.buffers[*buffer].dtype) as i64;
        buffers.push(run.pointers.0[*buffer].wrapping_offset(bytes as isize));
    }
    arguments.clear();
    arguments.extend(kernel.sizes.iter().map(|at| sizes[*at]));
    // SAFETY: pointers and sizes are those of the kernel, in order; the range is the caller's promise.
    unsafe { (kernel.function)(buffers.as_ptr(), arguments.as_ptr(), begin, end) }
}

fn operand<T>(run: &Run, sizes: &[i64], slice: &(usize, crate::size::Size)) -> *mut T {
    run.pointers.0[slice.0].cast::<T>().wrapping_offset(slice.1.at(sizes) as isize)
}

fn contract<T: Real>(run: &Run, worker: &Worker, state: &mut WorkerState, c: &CompiledContraction) {
    let operands = Operands {
        out: operand::<T>(run, &state.sizes, &c.out),
        a: operand::<T>(run, &state.sizes, &c.a).cast_const(),
        b: operand::<T>(run, &state.sizes, &c.b).cast_const(),
    };
    let scratch = run.scratch.0.cast::<T>();
    let Some((axis, table)) = c.form.ragged() else {
        let nest = c.form.nest(&state.sizes, 0, 0, 0);
        let alone = worker.count == 1 || contract::is_small(&nest);
        if state.enter(worker, alone) {
            let one = worker.alone();
            let team = if alone { &one } else { worker };
            let state = std::cell::RefCell::new(state);
            let epilogue = |begin, end| {
                if let Some(epilogue) = &c.epilogue {
                    // SAFETY: rows that are complete, each once.
                    unsafe { kernel_range(run, &mut state.borrow_mut(), epilogue, begin, end) }
                }
            };
            // SAFETY: the plan's accesses are in bounds; `scratch_bytes` made room.
            unsafe {
                contract::run(
                    &nest,
                    operands,
                    scratch,
                    c.form.accumulate,
                    team,
                    c.epilogue.as_ref().map(|_| &epilogue as &dyn Fn(i64, i64)),
                );
            }
        }
        return;
    };
    // Examples of different length: each worker takes whole examples, cut where the packed rows are shared evenly.
    state.enter(worker, false);
    let examples = c.form.axes[axis].extent.at(&state.sizes).max(0);
    // SAFETY: an offsets table holds one entry for each example and the end.
    let offset = |i: i64| unsafe { *run.pointers.0[table].cast::<i64>().offset(i as isize) };
    let total = offset(examples);
    let (from, to) = share(total, worker.index, worker.count, 1);
    for example in 0..examples {
        // An example belongs to the worker in whose share of the rows it begins; examples without rows to nobody.
        let begin = offset(example);
        if !(from..to).contains(&begin) || offset(example + 1) == begin {
            continue;
        }
        set_example(&mut state.sizes, run.lengths, example as usize);
        let sizes = &state.sizes;
        let ax = &c.form.axes[axis];
        let mut nest = c.form.nest(sizes, begin * ax.out.at(sizes), begin * ax.a.at(sizes), begin * ax.b.at(sizes));
        nest.axes_mut()[axis].extent = 1;
        // SAFETY: one example's rows.
        unsafe { contract::whole(&nest, operands, c.form.accumulate) };
    }
    crate::program::clear_example(&mut state.sizes, run.lengths);
    if let Some(epilogue) = &c.epilogue {
        worker.barrier();
        let grid = epilogue.grid.at(&state.sizes);
        let (begin, end) = share(grid, worker.index, worker.count, 1);
        // SAFETY: all rows are complete.
        unsafe { kernel_range(run, state, epilogue, begin, end) }
    }
}

/// Bytes of scratch that the contractions of a run need.
pub fn scratch_bytes(compiled: &Compiled, sizes: &mut [i64]) -> usize {
    fn walk(list: &[CompiledLaunch], sizes: &mut [i64], most: &mut usize) {
        for launch in list {
            match &launch.op {
                CompiledOp::Contract(c) => {
                    // Examples of different length are not cut into parts.
                    if c.form.ragged().is_none() {
                        let nest = c.form.nest(sizes, 0, 0, 0);
                        *most = (*most).max(contract::scratch(&nest) * size_of_dtype(c.dtype));
                    }
                }
                CompiledOp::Scan { step, extent, body, .. } => {
                    for i in 0..extent.at(sizes) {
                        sizes[*step] = i;
                        walk(body, sizes, most);
                        if !body_depends(body, *step) {
                            break;
                        }
                    }
                    sizes[*step] = 0;
                }
                CompiledOp::Kernel(_)
                | CompiledOp::Draw { .. }
                | CompiledOp::Copy { .. }
                | CompiledOp::Clear { .. }
                | CompiledOp::Sort { .. }
                | CompiledOp::Library { .. } => {}
            }
        }
    }
    let mut most = 0;
    walk(&compiled.launches, sizes, &mut most);
    most
}

/// Does an extent of a contraction in the body name the step?
fn body_depends(body: &[CompiledLaunch], step: usize) -> bool {
    body.iter().any(|launch| match &launch.op {
        CompiledOp::Contract(c) => c.form.axes.iter().any(|a| a.extent.mentions(step)),
        CompiledOp::Scan { extent, body, .. } => extent.mentions(step) || body_depends(body, step),
        CompiledOp::Kernel(_)
        | CompiledOp::Draw { .. }
        | CompiledOp::Copy { .. }
        | CompiledOp::Clear { .. }
        | CompiledOp::Sort { .. }
        | CompiledOp::Library { .. } => false,
    })
}
