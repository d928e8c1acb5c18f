//! Launches in order, as phases of a region.
//!
//! All workers walk the same list and evaluate the same sizes, so they agree without talking about what each launch is: cut into a chunk
//! for each worker, or so small that one worker does it all. Small launches that follow each other are one phase of one chunk, and so
//! is a scan whose launches are all small.

use crate::compiled::{
    Compiled, CompiledContraction, CompiledLaunch, CompiledOp, CompiledRunning, CompiledUse, Factors,
};
use crate::contract::{self, Operands, share};
use crate::error::Error;
use crate::memory::{ALIGN, Memory, size_of_dtype};
use crate::nest::Nest;
use crate::packed::Packing;
use crate::pool::{Gone, Work, Worker};
use crate::program::set_example;
use crate::real::{Real, Rounded};
use crate::rows::{Decisions, Longest, Rows};
use crate::{blocks, draw, ends, iterate, library, winograd};
use bdl_kernels::contraction::{MOST_STRETCHES, Stretch};
use bdl_plan::AxisRole;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Operations of a kernel below which one worker does all: about two microseconds.
const SMALL_KERNEL: i64 = 8 << 10;
/// Bytes below which one worker copies or clears.
const SMALL_BYTES: usize = 64 << 10;
/// Elements below which one worker draws or sorts.
const SMALL_COUNT: i64 = 1024;
/// Chunks for each worker that a few rows or examples are shared in: examples of different length differ in work.
pub(crate) const UNEVEN_CHUNKS: usize = 16;
/// The same for rows of a kernel, which may be light.
const UNEVEN_ROUNDS: usize = 4;
/// Grid points go to workers in multiples of this: whole vectors, whole cache lines.
const GRAIN: i64 = 16;

/// One run, the same for all workers. Owned by the region's job, so that a worker that comes back late finds it.
pub struct Run {
    pub compiled: Arc<Compiled>,
    pub pointers: Vec<*mut u8>,
    pub lens: Vec<usize>,
    pub sizes: Vec<i64>,
    pub lengths: HashMap<usize, Vec<i64>>,
    pub scratch: *mut u8,
    /// Where copies that loops hold begin.
    pub held: *mut u8,
    /// Copies of right operands that stay from run to run: of which contraction, and where.
    pub kept: Vec<(usize, *mut u8)>,
    pub seed: u64,
    pub step: u64,
    pub positions: Vec<i64>,
    /// Where the caller leaves the time of each launch, when they are measured.
    pub times: Option<Mutex<Vec<Duration>>>,
    /// Whoever sees this set leaves before the next launch. Nobody waits for a worker that left: others do its chunks, or leave too.
    pub interrupt: Option<&'static AtomicBool>,
    /// What iterations decided.
    pub decisions: Decisions,
    /// For each iteration, examples that reached its bound.
    pub unfinished: Vec<AtomicUsize>,
    /// For each contraction, its floating-point operations so far.
    pub flop: Vec<AtomicU64>,
}

impl Run {
    /// Not yet any run: [`Program`](crate::Program) fills in what belongs to one.
    pub fn new(compiled: Arc<Compiled>) -> Run {
        Run {
            pointers: Vec::new(),
            lens: Vec::new(),
            sizes: Vec::new(),
            lengths: HashMap::new(),
            scratch: std::ptr::null_mut(),
            held: std::ptr::null_mut(),
            kept: Vec::new(),
            seed: 0,
            step: 0,
            positions: Vec::new(),
            times: None,
            interrupt: None,
            decisions: Decisions::default(),
            unfinished: (0..compiled.iterations.len()).map(|_| AtomicUsize::new(0)).collect(),
            flop: (0..compiled.contraction_count).map(|_| AtomicU64::new(0)).collect(),
            compiled,
        }
    }

    /// Nothing is decided or counted yet.
    pub fn begin(&mut self, is_measured: bool) {
        self.times = is_measured.then(Mutex::default);
        self.decisions.clear();
        self.unfinished.iter_mut().for_each(|count| *count.get_mut() = 0);
        self.flop.iter_mut().for_each(|count| *count.get_mut() = 0);
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|set| set.load(Ordering::Relaxed))
    }

    /// So many multiply-adds of a contraction.
    pub(crate) fn count(&self, c: &CompiledContraction, products: i64) {
        self.flop[c.number].fetch_add(2 * products as u64, Ordering::Relaxed);
    }
}

// SAFETY: what the pointers lead to is touched inside of chunks only: while the region is open, hence while the program and the store
// that own it are borrowed by `Program::run`; and chunks write disjoint elements.
unsafe impl Send for Run {}
// SAFETY: as above.
unsafe impl Sync for Run {}

/// What a thread has for itself, kept from run to run.
#[derive(Default)]
pub(crate) struct State {
    pub sizes: Vec<i64>,
    buffers: Vec<*mut u8>,
    arguments: Vec<i64>,
    times: Vec<Duration>,
    /// The batch, and the rows of each open loop over running examples.
    pub rows: Vec<Rows>,
    /// Memory of rows and orders of loops that are over.
    spare_rows: Vec<Rows>,
    spare_orders: Vec<Longest>,
    /// Copies of right operands that stay, and those that the open loops hold, by number of the contraction.
    held: Vec<Held>,
    /// How many decisions of iterations were seen.
    pub decided: usize,
}

/// A copy that a loop holds.
struct Held {
    /// Of the contraction.
    number: usize,
    copy: *mut u8,
    /// Where the next copy begins, from the first one on.
    end: usize,
}

impl State {
    /// To the profile.
    pub fn add_time(&mut self, launch: usize, time: Duration) {
        self.times[launch] += time;
    }

    /// Sizes and rows of the batch.
    fn begin(&mut self, run: &Run) {
        self.sizes.clear();
        self.sizes.extend_from_slice(&run.sizes);
        self.rows.truncate(1);
        if self.rows.is_empty() {
            self.rows.push(Rows::default());
        }
        self.rows[0].be_batch(run.positions.len());
        self.held.clear();
        self.held.extend(run.kept.iter().map(|(number, copy)| Held { number: *number, copy: *copy, end: 0 }));
    }
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

impl Work for Run {
    fn run(&self, worker: &mut Worker) -> Result<(), Gone> {
        run(self, worker)
    }
}

/// A worker's part of a run.
pub fn run(run: &Run, worker: &mut Worker) -> Result<(), Gone> {
    STATE.with_borrow_mut(|state| {
        state.begin(run);
        state.decided = 0;
        state.times.clear();
        state.times.resize(run.compiled.launch_count, Duration::ZERO);
        let list = &run.compiled.launches;
        let mut at = 0;
        for group in &run.compiled.groups {
            launches(run, worker, state, &list[at..group.launches.start])?;
            blocks::run(run, worker, state, group, &list[group.launches.clone()])?;
            at = group.launches.end;
        }
        launches(run, worker, state, &list[at..])?;
        if let (0, Some(times)) = (worker.index, &run.times) {
            times.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone_from(&state.times);
        }
        Ok(())
    })
}

pub(crate) fn launches(run: &Run, worker: &mut Worker, state: &mut State, list: &[CompiledLaunch]) -> Result<(), Gone> {
    let mut at = 0;
    while at < list.len() {
        if run.is_interrupted() {
            return Err(Gone);
        }
        let small = list[at..].iter().take_while(|launch| is_small(run, state, &launch.op)).count();
        // A profile sees each launch by itself.
        let group = if run.times.is_some() { small.min(1) } else { small };
        let start = run.times.is_some().then(Instant::now);
        if group > 0 {
            let group = &list[at..at + group];
            worker.phase(1, |_| {
                for launch in group {
                    // Nobody is gone in a team of one, but for an interrupt.
                    let _ = one(run, &mut Worker::alone(), state, &launch.op);
                }
            })?;
        } else {
            one(run, worker, state, &list[at].op)?;
        }
        if let Some(start) = start {
            state.times[list[at].number] += start.elapsed();
        }
        at += group.max(1);
    }
    Ok(())
}

/// Is one worker enough for all launches? Then the others need not be called.
pub fn all_small(run: &Run) -> bool {
    STATE.with_borrow_mut(|state| {
        state.begin(run);
        run.compiled.launches.iter().all(|launch| is_small(run, state, &launch.op))
    })
}

/// Is one worker enough?
fn is_small(run: &Run, state: &mut State, op: &CompiledOp) -> bool {
    let sizes = &state.sizes;
    let bytes = |buffer: &usize| run.lens[*buffer] * size_of_dtype(run.compiled.buffers[*buffer].dtype);
    let is_small_kernel =
        |kernel: &CompiledUse| kernel.grid.at(sizes).saturating_mul(kernel.cost.at(sizes)) < SMALL_KERNEL;
    match op {
        CompiledOp::Kernel(kernel) => is_small_kernel(kernel),
        CompiledOp::Contract(c) => {
            c.form.ragged().is_none()
                && contract::is_small(&c.form.nest(sizes, 0, 0, 0))
                && c.epilogue.as_ref().is_none_or(is_small_kernel)
        }
        CompiledOp::Draw { out, .. } => (run.lens[*out] as i64) < SMALL_COUNT,
        CompiledOp::Copy { to: buffer, .. } | CompiledOp::Clear { buffer } => bytes(buffer) < SMALL_BYTES,
        CompiledOp::Sort { out, .. } => (run.lens[*out] as i64) < SMALL_COUNT,
        CompiledOp::Library { .. } => true,
        // Judged by its first step; one whose sizes change with the step is not small. A profile looks inside.
        CompiledOp::Scan { step, running, body, .. } => {
            state.sizes[*step] = 0;
            all_rows(state, running);
            run.times.is_none()
                && !body_depends(body, *step)
                && body.iter().all(|launch| is_small(run, state, &launch.op))
        }
        CompiledOp::Iterate(n) => {
            state.sizes[n.step] = 0;
            all_rows(state, &n.running);
            let both = || n.condition.iter().chain(&n.body);
            run.times.is_none() && both().all(|launch| is_small(run, state, &launch.op))
        }
        CompiledOp::Order { .. } => true,
    }
}

fn one(run: &Run, worker: &mut Worker, state: &mut State, op: &CompiledOp) -> Result<(), Gone> {
    let chunks = worker.count;
    match op {
        CompiledOp::Kernel(kernel) => {
            let grid = kernel.grid.at(&state.sizes);
            // Rows of a serial grid may be few and heavy; those whose loops are as long as an example are unlike each other.
            let is_even = kernel.lanes || grid >= 8 * GRAIN * chunks as i64;
            let grain = if is_even { GRAIN } else { 1 };
            let rounds =
                if is_even || !kernel.is_uneven { 1 } else { (grid as usize / chunks).clamp(1, UNEVEN_ROUNDS) };
            let chunks = chunks * rounds;
            worker.phase(chunks, |chunk| {
                let (begin, end) = share(grid, chunk, chunks, grain);
                // SAFETY: a share of the grid; the plan's launches are in bounds.
                unsafe { kernel_range(run, state, kernel, begin, end) }
            })
        }
        CompiledOp::Contract(contraction) => match (contraction.factors, &contraction.winograd) {
            (Factors::F32, Some(image)) => winograd::run::<f32>(run, worker, state, contraction, image),
            (Factors::F64, Some(image)) => winograd::run::<f64>(run, worker, state, contraction, image),
            (Factors::F32, None) => contract::<f32>(run, worker, state, contraction),
            (Factors::F64, None) => contract::<f64>(run, worker, state, contraction),
            (Factors::Bf16, _) => contract::<Rounded>(run, worker, state, contraction),
        },
        CompiledOp::Draw { out, distribution, site, steps, per_example, offsets } => {
            let examples = match (per_example, offsets) {
                (None, _) => draw::Examples::Shared,
                (Some(_), Some(table)) => {
                    let starts = run.pointers[*table].cast::<i64>();
                    // SAFETY: a table of offsets holds as many 64-bit numbers, and nothing writes it while the plan runs.
                    draw::Examples::From(unsafe { std::slice::from_raw_parts(starts, run.lens[*table]) })
                }
                (Some(count), None) => draw::Examples::Equal(count.at(&state.sizes)),
            };
            let site = draw::site_at(*site, steps.iter().map(|at| state.sizes[*at]));
            let key = bdl_kernels::philox::DrawKey { seed: run.seed, step: run.step, site };
            let (dtype, len) = (run.compiled.buffers[*out].dtype, run.lens[*out]);
            worker.phase(chunks, |chunk| {
                let (begin, end) = share(len as i64, chunk, chunks, 64);
                let (begin, end) = (begin as usize, end as usize);
                // SAFETY: each chunk fills its own part of the buffer.
                unsafe {
                    draw::fill(run.pointers[*out], dtype, *distribution, key, examples, &run.positions, begin, end)
                }
            })
        }
        CompiledOp::Copy { from, to } => {
            let bytes = run.lens[*to].min(run.lens[*from]) * size_of_dtype(run.compiled.buffers[*to].dtype);
            worker.phase(chunks, |chunk| {
                let (begin, end) = share(bytes as i64, chunk, chunks, 64);
                let moved = |buffer: usize| run.pointers[buffer].wrapping_offset(begin as isize);
                // SAFETY: both buffers hold at least `bytes`; they are the same or apart.
                unsafe { std::ptr::copy(moved(*from), moved(*to), (end - begin) as usize) }
            })
        }
        CompiledOp::Clear { buffer } => {
            let bytes = run.lens[*buffer] * size_of_dtype(run.compiled.buffers[*buffer].dtype);
            worker.phase(chunks, |chunk| {
                let (begin, end) = share(bytes as i64, chunk, chunks, 64);
                // SAFETY: inside the buffer.
                unsafe { run.pointers[*buffer].offset(begin as isize).write_bytes(0, (end - begin) as usize) }
            })
        }
        CompiledOp::Sort { out, input, offsets: Some(table), rows, columns, descending } => {
            let rows = rows.at(&state.sizes).max(0) as usize;
            let dtype = run.compiled.buffers[*input].dtype;
            worker.phase(chunks, |chunk| {
                let (begin, end) = share(run.positions.len() as i64, chunk, chunks, 1);
                for example in begin..end {
                    set_example(&mut state.sizes, &run.lengths, example as usize);
                    let columns = columns.at(&state.sizes).max(0) as usize;
                    // SAFETY: an offsets table holds one entry for each example and the end.
                    let first = unsafe { *run.pointers[*table].cast::<i64>().offset(example as isize) } as usize * rows;
                    let from = run.pointers[*input].wrapping_add(first * size_of_dtype(dtype));
                    let to = run.pointers[*out].cast::<i32>().wrapping_add(first);
                    // SAFETY: the example's own elements.
                    unsafe { library::sort_side_by_side(from, dtype, to, rows, columns, *descending) }
                }
                crate::program::clear_example(&mut state.sizes, &run.lengths);
            })
        }
        CompiledOp::Sort { out, input, offsets: None, rows, columns, descending } => {
            let (rows, columns) = (rows.at(&state.sizes).max(0), columns.at(&state.sizes).max(0) as usize);
            let dtype = run.compiled.buffers[*input].dtype;
            worker.phase(chunks, |chunk| {
                let (begin, end) = share(rows, chunk, chunks, 1);
                let (begin, end) = (begin as usize, end as usize);
                let (from, to) = (run.pointers[*input], run.pointers[*out].cast());
                // SAFETY: rows of `columns` elements each, a chunk its own.
                unsafe { library::sort_rows(from, dtype, to, begin, end, columns, *descending) }
            })
        }
        CompiledOp::Library { routine, out, input, rows, columns } => {
            let (rows, columns) = (rows.at(&state.sizes).max(0) as usize, columns.at(&state.sizes).max(0) as usize);
            let with_type = |buffer: usize| (run.pointers[buffer], run.compiled.buffers[buffer].dtype);
            worker.phase(1, |_| {
                let (from, of) = with_type(*input);
                // SAFETY: both buffers hold rows * columns elements.
                unsafe { library::routine(*routine, (from, of), with_type(*out), rows, columns) }
            })
        }
        CompiledOp::Order { out, by } => {
            let longest = longest_first(run, state, by);
            let done = worker.phase(1, |_| {
                let out = run.pointers[*out].cast::<i32>();
                for (i, (row, _)) in longest.order.iter().enumerate() {
                    // SAFETY: an order has room for all examples of the batch.
                    unsafe { out.add(i).write(*row as i32) }
                }
            });
            state.spare_orders.push(longest);
            done
        }
        CompiledOp::Scan { step, extent, reversed, running: None, ends, body } => {
            let extent = ends::first(run, worker, state, ends, extent.at(&state.sizes))?;
            let outside = state.held.len();
            hold(run, worker, state, body, *step, extent)?;
            let mut done = Ok(());
            for i in 0..extent {
                state.sizes[*step] = if *reversed { extent - 1 - i } else { i };
                done = launches(run, worker, state, body);
                if done.is_err() {
                    break;
                }
                match ends::after(run, worker, state, ends, i) {
                    Ok(false) => {}
                    Ok(true) => break,
                    Err(gone) => {
                        done = Err(gone);
                        break;
                    }
                }
            }
            state.held.truncate(outside);
            done
        }
        CompiledOp::Scan { step, extent, reversed, running: Some(running), ends: _, body } => {
            let longest = longest_first(run, state, extent);
            let rows = state.spare_rows.pop().unwrap_or_default();
            all_rows(state, &Some(CompiledRunning { ..*running }));
            let outside = state.held.len();
            hold(run, worker, state, body, *step, longest.steps())?;
            state.rows.push(rows);
            let mut done = Ok(());
            for i in 0..longest.steps() {
                let now = if *reversed { longest.steps() - 1 - i } else { i };
                state.sizes[*step] = now;
                let count = longest.running(now);
                state.sizes[running.count] = count as i64;
                if let Some(rows) = state.rows.last_mut() {
                    longest.rows_into(count, rows);
                }
                done = launches(run, worker, state, body);
                if done.is_err() {
                    break;
                }
            }
            state.held.truncate(outside);
            state.spare_rows.extend(state.rows.pop());
            state.spare_orders.push(longest);
            done
        }
        CompiledOp::Iterate(iterate) => iterate::run(run, worker, state, iterate),
    }
}

/// Bytes of the copy of its right operand that the loop around a contraction holds.
fn held_bytes(c: &CompiledContraction, sizes: &[i64]) -> usize {
    if !c.is_fixed || c.winograd.is_some() {
        return 0;
    }
    let nest = c.form.nest(sizes, 0, 0, 0);
    let packing = held(c.factors, &nest);
    (packing.map_or(0, |packing| packing.len()) * c.factors.bytes()).next_multiple_of(ALIGN)
}

/// A copy of a right operand that a program keeps.
pub struct Kept {
    /// Of the contraction.
    pub number: usize,
    pub memory: Memory,
}

/// Copies of the right operands that are parameters or state, for contractions outside of loops that have none yet and would use one.
///
/// Errors: no memory for a copy.
pub fn keep(
    compiled: &Compiled,
    sizes: &[i64],
    pointers: &[*mut u8],
    is_stored: &dyn Fn(usize) -> bool,
    kept: &mut Vec<Kept>,
) -> Result<(), Error> {
    for launch in &compiled.launches {
        let CompiledOp::Contract(c) = &launch.op else { continue };
        if !c.is_fixed || c.winograd.is_some() || !is_stored(c.b.0) || kept.iter().any(|kept| kept.number == c.number) {
            continue;
        }
        let nest = c.form.nest(sizes, 0, 0, 0);
        let Some(packing) = held(c.factors, &nest).filter(|_| !contract::is_small(&nest)) else { continue };
        let memory = Memory::new(packing.len() * c.factors.bytes())?;
        let from = pointers[c.b.0].wrapping_offset(c.b.1.at(sizes) as isize * c.factors.bytes() as isize);
        let (from, to, worker) = (from.cast_const(), memory.pointer(), &mut Worker::alone());
        // SAFETY: the plan's accesses are in bounds, and the copy has room. Nobody is gone in a team of one.
        let _ = unsafe {
            match c.factors {
                Factors::F32 => packing.copy::<f32>(from.cast(), to.cast(), worker),
                Factors::F64 => packing.copy::<f64>(from.cast(), to.cast(), worker),
                Factors::Bf16 => packing.copy::<Rounded>(from.cast(), to.cast(), worker),
            }
        };
        kept.push(Kept { number: c.number, memory });
    }
    Ok(())
}

fn held(factors: Factors, nest: &Nest) -> Option<Packing> {
    match factors {
        Factors::F32 => contract::held::<f32>(nest),
        Factors::F64 => contract::held::<f64>(nest),
        Factors::Bf16 => contract::held::<Rounded>(nest),
    }
}

/// Copies the right operands that are the same in all steps of a loop, once. Whatever a step's number of rows, it finds them.
fn hold(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    body: &[CompiledLaunch],
    step: usize,
    steps: i64,
) -> Result<(), Gone> {
    if steps < crate::packed::LEAST_STEPS {
        return Ok(());
    }
    state.sizes[step] = 0;
    for launch in body {
        let CompiledOp::Contract(c) = &launch.op else { continue };
        let bytes = held_bytes(c, &state.sizes);
        if bytes == 0 {
            continue;
        }
        let begin = state.held.last().map_or(0, |held| held.end);
        let copy = run.held.wrapping_add(begin);
        let nest = c.form.nest(&state.sizes, 0, 0, 0);
        if let Some(packing) = held(c.factors, &nest) {
            // SAFETY: the plan's accesses are in bounds; `scratch_bytes` made room for what open loops hold.
            unsafe {
                match c.factors {
                    Factors::F32 => packing.copy(right::<f32>(run, state, c), copy.cast(), worker)?,
                    Factors::F64 => packing.copy(right::<f64>(run, state, c), copy.cast(), worker)?,
                    Factors::Bf16 => packing.copy(right::<Rounded>(run, state, c), copy.cast(), worker)?,
                }
            }
        }
        state.held.push(Held { number: c.number, copy, end: begin + bytes });
    }
    Ok(())
}

fn right<T>(run: &Run, state: &State, c: &CompiledContraction) -> *const T {
    operand::<T>(run, &state.sizes, &c.b).cast_const()
}

fn longest_first(run: &Run, state: &mut State, by: &crate::size::Size) -> Longest {
    static NONE: Rows = Rows { examples: Vec::new() };
    let State { sizes, rows, spare_orders, .. } = state;
    let mut longest = spare_orders.pop().unwrap_or_default();
    longest.find(rows.last().unwrap_or(&NONE), by, sizes, &run.lengths);
    longest
}

/// As many rows as the loop can have: to judge it before it runs.
fn all_rows(state: &mut State, running: &Option<CompiledRunning>) {
    if let Some(running) = running {
        state.sizes[running.count] = state.rows.first().map_or(0, |batch| batch.examples.len() as i64);
    }
}

/// # Safety
/// The range lies in the grid, and nobody else runs it.
unsafe fn kernel_range(run: &Run, state: &mut State, kernel: &CompiledUse, begin: i64, end: i64) {
    // SAFETY: the caller's promise.
    unsafe { kernel_range_with(run, state, kernel, begin, end, &[]) }
}

/// With buffers that are not where the run has them.
///
/// # Safety
/// As for [`kernel_range`].
pub(crate) unsafe fn kernel_range_with(
    run: &Run,
    state: &mut State,
    kernel: &CompiledUse,
    begin: i64,
    end: i64,
    places: &[(usize, *mut u8)],
) {
    if begin >= end {
        return;
    }
    let State { sizes, buffers, arguments, .. } = state;
    buffers.clear();
    for (buffer, offset) in &kernel.buffers {
        let bytes = offset.at(sizes) * size_of_dtype(run.compiled.buffers[*buffer].dtype) as i64;
        let place = places.iter().find(|(at, _)| at == buffer).map_or(run.pointers[*buffer], |(_, place)| *place);
        buffers.push(place.wrapping_offset(bytes as isize));
    }
    arguments.clear();
    arguments.extend(kernel.sizes.iter().map(|at| sizes[*at]));
    // SAFETY: pointers and sizes are those of the kernel, in order; the range is the caller's promise.
    unsafe { (kernel.function)(buffers.as_ptr(), arguments.as_ptr(), begin, end) }
}

/// Where the rows lie that whoever comes after a product goes through.
fn beside(run: &Run, state: &mut State, c: &CompiledContraction) -> [Stretch; MOST_STRETCHES] {
    let mut all = [Stretch::NOTHING; MOST_STRETCHES];
    let now = c.beside_next.as_ref().map(|next| state.sizes[next.step]);
    if let Some((next, now)) = c.beside_next.as_ref().zip(now) {
        if !(0..next.extent.at(&state.sizes)).contains(&(now + next.by)) {
            return all;
        }
        state.sizes[next.step] = now + next.by;
    }
    let sizes = &state.sizes;
    for (stretch, rows) in all.iter_mut().zip(&c.beside) {
        let pieces = || rows.pieces.iter().map(|(at, len)| (at.at(sizes), len.at(sizes)));
        let from = pieces().map(|(at, _)| at).min().unwrap_or(0);
        let to = pieces().map(|(at, len)| at + len).max().unwrap_or(0);
        let size = size_of_dtype(run.compiled.buffers[rows.buffer].dtype);
        let bytes = |elements: i64| elements.max(0) as usize * size;
        let at = run.pointers[rows.buffer].wrapping_add(bytes(rows.offset.at(sizes) + from)).cast_const();
        let (row, stride) = (bytes(to - from), bytes(rows.stride.at(sizes)));
        // How many rows there are is the product's to say.
        *stretch = Stretch { at, bytes: row.min(stride), stride, rows: 0 };
    }
    if let Some((next, now)) = c.beside_next.as_ref().zip(now) {
        state.sizes[next.step] = now;
    }
    all
}

pub(crate) fn operand<T>(run: &Run, sizes: &[i64], slice: &(usize, crate::size::Size)) -> *mut T {
    run.pointers[slice.0].cast::<T>().wrapping_offset(slice.1.at(sizes) as isize)
}

fn contract<T: Real>(run: &Run, worker: &mut Worker, state: &mut State, c: &CompiledContraction) -> Result<(), Gone> {
    let Some((axis, tables)) = c.form.ragged() else {
        let operands = Operands {
            out: operand::<T>(run, &state.sizes, &c.out),
            a: operand::<T>(run, &state.sizes, &c.a).cast_const(),
            b: operand::<T>(run, &state.sizes, &c.b).cast_const(),
            panel: 0,
        };
        let nest = c.form.nest(&state.sizes, 0, 0, 0);
        let held = state.held.iter().rev().find(|held| held.number == c.number).map(|held| held.copy);
        if worker.index == 0 {
            run.count(c, contract::work(&nest));
        }
        let beside = beside(run, state, c);
        let mut epilogue = |begin, end, out: *mut T| {
            if let Some(epilogue) = &c.epilogue {
                let passed = [(c.out.0, out.cast())];
                let places: &[(usize, *mut u8)] = if c.is_passing { &passed } else { &[] };
                // SAFETY: rows that are complete, each once.
                unsafe { kernel_range_with(run, state, epilogue, begin, end, places) }
            }
        };
        let epilogue = c.epilogue.as_ref().map(|_| &mut epilogue as contract::Epilogue<T>);
        let (scratch, accumulate) = (run.scratch.cast(), c.form.accumulate);
        let held = held.map(<*mut u8>::cast_const);
        // SAFETY: the plan's accesses are in bounds; `scratch_bytes` made room.
        return unsafe {
            contract::run(
                &nest,
                operands,
                scratch,
                accumulate,
                worker,
                epilogue,
                &beside,
                c.is_passing,
                held.map(<*const u8>::cast),
            )
        };
    };
    let whole = |(buffer, _): &(usize, crate::size::Size)| run.pointers[*buffer].cast::<T>();
    let operands = Operands { out: whole(&c.out), a: whole(&c.a).cast_const(), b: whole(&c.b).cast_const(), panel: 0 };
    let examples = c.form.axes[axis].extent.at(&state.sizes).max(0) as usize;
    let chunks = worker.count;
    if c.form.axes[axis].role == AxisRole::K {
        // Each worker sums its share of the result over all examples, in their order.
        worker.phase(chunks, |chunk| {
            let mut accumulate = c.form.accumulate;
            for example in 0..examples {
                let nest = nest_of_example(run, state, c, (axis, tables), example);
                if chunk == 0 {
                    run.count(c, contract::work(&nest));
                }
                if let Some(part) = contract::share_of_result::<T>(&nest, chunk, chunks) {
                    // SAFETY: one chunk's elements of the result.
                    unsafe { contract::whole(&part, operands, accumulate) };
                }
                accumulate = true;
            }
            crate::program::clear_example(&mut state.sizes, &run.lengths);
        })?;
    } else {
        // Examples go to whoever is there, a few at a time.
        let groups = examples.min(UNEVEN_CHUNKS * chunks);
        worker.phase(groups, |group| {
            for example in examples * group / groups..examples * (group + 1) / groups {
                let nest = nest_of_example(run, state, c, (axis, tables), example);
                run.count(c, contract::work(&nest));
                // SAFETY: one example's rows.
                unsafe { contract::whole(&nest, operands, c.form.accumulate) };
            }
            crate::program::clear_example(&mut state.sizes, &run.lengths);
        })?;
    }
    follow(run, worker, state, c, &[])
}

/// The epilogue, once all rows are complete: with buffers that are not where the run has them.
pub(crate) fn follow(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    c: &CompiledContraction,
    places: &[(usize, *mut u8)],
) -> Result<(), Gone> {
    let Some(epilogue) = &c.epilogue else { return Ok(()) };
    let (grid, chunks) = (epilogue.grid.at(&state.sizes), worker.count);
    worker.phase(chunks, |chunk| {
        let (begin, end) = share(grid, chunk, chunks, 1);
        // SAFETY: all rows are complete, and each is one chunk's.
        unsafe { kernel_range_with(run, state, epilogue, begin, end, places) }
    })
}

/// The nest of one example, whose sizes are set for it, along the axis over examples, from the starts of the operands' buffers on.
pub(crate) fn nest_of_example(
    run: &Run,
    state: &mut State,
    c: &CompiledContraction,
    (axis, tables): (usize, [usize; 3]),
    example: usize,
) -> Nest {
    // SAFETY: an offsets table holds one entry for each example and the end.
    let first = tables.map(|table| unsafe { *run.pointers[table].cast::<i64>().add(example) });
    set_example(&mut state.sizes, &run.lengths, example);
    let (sizes, ax) = (&state.sizes, &c.form.axes[axis]);
    let steps =
        [(&c.out, &ax.out), (&c.a, &ax.a), (&c.b, &ax.b)].map(|(slice, step)| (slice.1.at(sizes), step.at(sizes)));
    let [out, a, b] = [0, 1, 2].map(|operand| steps[operand].0 + first[operand] * steps[operand].1);
    let mut nest = c.form.nest(sizes, out, a, b);
    nest.axes_mut()[axis].extent = 1;
    nest
}

/// Bytes of what loops hold, those of loops inside of loops included.
fn held_room(list: &[CompiledLaunch], sizes: &mut [i64], batch: i64) -> usize {
    let own = |op: &CompiledOp, sizes: &[i64]| match op {
        CompiledOp::Contract(c) => held_bytes(c, sizes),
        CompiledOp::Kernel(_)
        | CompiledOp::Order { .. }
        | CompiledOp::Scan { .. }
        | CompiledOp::Iterate(_)
        | CompiledOp::Draw { .. }
        | CompiledOp::Copy { .. }
        | CompiledOp::Clear { .. }
        | CompiledOp::Sort { .. }
        | CompiledOp::Library { .. } => 0,
    };
    let mut most = 0;
    for launch in list {
        let (step, running, bodies) = match &launch.op {
            CompiledOp::Scan { step, running, body, .. } => (*step, running, [body.as_slice(), &[]]),
            CompiledOp::Iterate(n) => (n.step, &n.running, [n.condition.as_slice(), n.body.as_slice()]),
            CompiledOp::Kernel(_)
            | CompiledOp::Contract(_)
            | CompiledOp::Order { .. }
            | CompiledOp::Draw { .. }
            | CompiledOp::Copy { .. }
            | CompiledOp::Clear { .. }
            | CompiledOp::Sort { .. }
            | CompiledOp::Library { .. } => continue,
        };
        sizes[step] = 0;
        if let Some(running) = running {
            sizes[running.count] = batch;
        }
        for body in bodies {
            let here: usize = body.iter().map(|launch| own(&launch.op, sizes)).sum();
            most = most.max(here + held_room(body, sizes, batch));
        }
    }
    most
}

/// Bytes of scratch that a run needs: for its contractions one after the other, and for what its loops hold.
pub fn scratch_bytes(compiled: &Compiled, sizes: &mut [i64], batch: usize, workers: usize) -> [usize; 2] {
    fn walk(list: &[CompiledLaunch], sizes: &mut [i64], batch: i64, workers: usize, most: &mut usize) {
        for launch in list {
            match &launch.op {
                CompiledOp::Contract(c) => {
                    // Examples of different length are not cut into parts.
                    if let Some(image) = &c.winograd {
                        let elements = match c.factors {
                            Factors::F32 | Factors::Bf16 => winograd::scratch::<f32>(c, image, sizes, workers),
                            Factors::F64 => winograd::scratch::<f64>(c, image, sizes, workers),
                        };
                        *most = (*most).max(elements * c.factors.bytes());
                    } else if c.form.ragged().is_none() {
                        let nest = c.form.nest(sizes, 0, 0, 0);
                        let elements = match c.factors {
                            Factors::F32 => contract::scratch::<f32>(&nest, workers, c.is_passing),
                            Factors::F64 => contract::scratch::<f64>(&nest, workers, c.is_passing),
                            Factors::Bf16 => contract::scratch::<Rounded>(&nest, workers, c.is_passing),
                        };
                        *most = (*most).max(elements * c.factors.bytes());
                    }
                }
                // A step has at most as many rows as there are examples, and needs most with all of them.
                CompiledOp::Scan { step, running: Some(running), body, .. } => {
                    sizes[*step] = 0;
                    sizes[running.count] = batch;
                    walk(body, sizes, batch, workers, most);
                }
                CompiledOp::Scan { step, extent, running: None, body, .. } => {
                    for i in 0..extent.at(sizes) {
                        sizes[*step] = i;
                        walk(body, sizes, batch, workers, most);
                        if !body_depends(body, *step) {
                            break;
                        }
                    }
                    sizes[*step] = 0;
                }
                CompiledOp::Iterate(n) => {
                    sizes[n.step] = 0;
                    if let Some(running) = &n.running {
                        sizes[running.count] = batch;
                    }
                    walk(&n.condition, sizes, batch, workers, most);
                    walk(&n.body, sizes, batch, workers, most);
                }
                CompiledOp::Kernel(_)
                | CompiledOp::Order { .. }
                | CompiledOp::Draw { .. }
                | CompiledOp::Copy { .. }
                | CompiledOp::Clear { .. }
                | CompiledOp::Sort { .. }
                | CompiledOp::Library { .. } => {}
            }
        }
    }
    let mut most = 0;
    walk(&compiled.launches, sizes, batch as i64, workers, &mut most);
    for group in &compiled.groups {
        let list = &compiled.launches[group.launches.clone()];
        most = most.max(blocks::scratch_bytes(group, list, sizes, workers));
    }
    [most.next_multiple_of(ALIGN), held_room(&compiled.launches, sizes, batch as i64)]
}

/// Does an extent of a contraction in the body name the step?
fn body_depends(body: &[CompiledLaunch], step: usize) -> bool {
    body.iter().any(|launch| match &launch.op {
        CompiledOp::Contract(c) => c.form.axes.iter().any(|a| a.extent.mentions(step)),
        CompiledOp::Scan { extent, body, .. } => extent.mentions(step) || body_depends(body, step),
        CompiledOp::Iterate(n) => body_depends(&n.condition, step) || body_depends(&n.body, step),
        CompiledOp::Kernel(_)
        | CompiledOp::Order { .. }
        | CompiledOp::Draw { .. }
        | CompiledOp::Copy { .. }
        | CompiledOp::Clear { .. }
        | CompiledOp::Sort { .. }
        | CompiledOp::Library { .. } => false,
    })
}
