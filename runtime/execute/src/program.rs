//! A plan with its code, memory and tables: made once, run once a batch.
//!
//! A run binds parameters by name in the [`Store`], inputs by name in [`Inputs`], computes the tables, and goes through the launches in one
//! parallel region. The arena grows to the largest batch seen and is used again by smaller ones, and so do the lists of pointers, sizes and
//! lengths that workers see: after the first run of a size nothing is allocated (`tests/allocation.rs`; an `iterate` keeps what it decides).

use crate::compiled::{Compiled, CompiledKind, compile};
use crate::error::Error;
use crate::launch::{self, Run};
use crate::memory::{ALIGN, Buffer, Element, Memory, dtype_name, read_number, size_of_dtype};
use crate::pool::{Executor, Worker};
use crate::store::Store;
use crate::tables::{self, Scratch};
use bdl_plan::{CompiledKernels, DType, Origin, Place, Plan, Products, SizeKind};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a run is given.
#[derive(Clone, Debug, Default)]
pub struct Inputs<'i> {
    /// The number of examples.
    pub batch: usize,
    /// By name of a per-example size: its value for each example.
    pub lengths: Vec<(&'i str, &'i [i64])>,
    /// By name of a size given with the run.
    pub sizes: Vec<(&'i str, i64)>,
    /// By name of an input buffer. Data of another type is converted.
    pub buffers: Vec<(&'i str, Data<'i>)>,
    /// The run's seed, for draws.
    pub seed: u64,
    /// The training step, for draws.
    pub step: u64,
    /// Each example's position in the epoch, for draws; none counts as 0, 1, 2, ..
    pub positions: Option<&'i [i64]>,
}

/// Elements that the caller owns. Truth values are bytes.
#[derive(Clone, Copy, Debug)]
pub enum Data<'i> {
    F32(&'i [f32]),
    F64(&'i [f64]),
    I32(&'i [i32]),
    I64(&'i [i64]),
    Bool(&'i [u8]),
}

impl Data<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Data::F32(x) => x.len(),
            Data::F64(x) => x.len(),
            Data::I32(x) => x.len(),
            Data::I64(x) => x.len(),
            Data::Bool(x) => x.len(),
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
            Data::I32(_) => DType::I32,
            Data::I64(_) => DType::I64,
            Data::Bool(_) => DType::Bool,
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        // SAFETY: numbers without padding, as long as the slice that they are borrowed from.
        unsafe { std::slice::from_raw_parts(self.pointer(), self.len() * size_of_dtype(self.dtype())) }
    }

    pub(crate) fn pointer(&self) -> *const u8 {
        match self {
            Data::F32(x) => x.as_ptr().cast(),
            Data::F64(x) => x.as_ptr().cast(),
            Data::I32(x) => x.as_ptr().cast(),
            Data::I64(x) => x.as_ptr().cast(),
            Data::Bool(x) => x.as_ptr(),
        }
    }

    pub(crate) fn number(&self, i: usize) -> f64 {
        match self {
            Data::F32(x) => f64::from(x[i]),
            Data::F64(x) => x[i],
            Data::I32(x) => f64::from(x[i]),
            Data::I64(x) => x[i] as f64,
            Data::Bool(x) => f64::from(x[i]),
        }
    }
}

/// A plan ready to run.
pub struct Program {
    plan: Arc<Plan>,
    compiled: Arc<Compiled>,
    /// Keeps the code of the launches alive.
    _kernels: CompiledKernels,
    arena: Memory,
    scratch: Memory,
    /// Where in the scratch copies that loops hold begin.
    held: usize,
    /// Copies of parameters that stay from run to run; none where they may change.
    kept: Option<Vec<launch::Kept>>,
    /// Memory of literals, tables and converted inputs, by buffer.
    owned: Vec<Option<Buffer>>,
    /// Where the slots begin in the arena.
    slots: Vec<usize>,
    /// Slots by themselves, where memory is guarded.
    guarded: Vec<Memory>,
    tables: Scratch,
    /// What workers were given in earlier runs, to be used again.
    runs: Vec<Arc<Run>>,
    sizes: Vec<i64>,
    lengths: HashMap<usize, Vec<i64>>,
    pointers: Vec<*mut u8>,
    lens: Vec<usize>,
    positions: Vec<i64>,
    profile: Option<Vec<Duration>>,
    flop: Vec<u64>,
    /// For each `iterate`: how many examples it left at its bound since that was last asked.
    unfinished: Vec<usize>,
    /// The store and inputs of the last run may be gone; only then are outputs reachable.
    output_of: HashMap<Arc<str>, usize>,
}

// SAFETY: the pointers lead into memory that the program owns, or are set anew at the start of each run.
unsafe impl Send for Program {}

impl Program {
    /// Errors: [`Error::Plan`] if plan and kernels do not fit together.
    pub fn new(plan: Arc<Plan>, kernels: CompiledKernels) -> Result<Program, Error> {
        Program::with(plan, kernels, Products::Exact)
    }

    /// As [`new`](Program::new), with the products of contractions as exact as said. Errors: [`Error::Plan`] also for tf32, which no processor has.
    pub fn with(plan: Arc<Plan>, kernels: CompiledKernels, products: Products) -> Result<Program, Error> {
        let compiled = Arc::new(compile(&plan, products, &|kernel| kernels.get(kernel))?);
        let mut owned: Vec<Option<Buffer>> = Vec::new();
        for buffer in &plan.buffers {
            owned.push(match &buffer.place {
                Place::Literal(values) => {
                    let mut memory = Buffer::zeros(buffer.dtype, values.len())?;
                    memory.set(&buffer.name, values.iter().copied())?;
                    Some(memory)
                }
                Place::Param
                | Place::State
                | Place::Input { .. }
                | Place::Slot(_)
                | Place::Blocks
                | Place::Table(_) => None,
            });
        }
        let output_of = plan.outputs.iter().map(|(name, id)| (name.clone(), id.0 as usize)).collect();
        let count = plan.buffers.len();
        Ok(Program {
            sizes: vec![0; plan.sizes.len()],
            lengths: HashMap::new(),
            pointers: vec![std::ptr::null_mut(); count],
            lens: vec![0; count],
            positions: Vec::new(),
            arena: Memory::new(0)?,
            scratch: Memory::new(0)?,
            held: 0,
            kept: None,
            owned,
            slots: Vec::new(),
            guarded: Vec::new(),
            tables: Scratch::default(),
            runs: Vec::new(),
            profile: None,
            flop: Vec::new(),
            unfinished: vec![0; compiled.iterations.len()],
            output_of,
            plan,
            compiled,
            _kernels: kernels,
        })
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// From now on, parameters and state have the values that they have at the next run: what contractions copy of them to read it faster is
    /// copied once. To be called again after a change.
    pub fn keep_weights(&mut self) {
        self.kept = Some(Vec::new());
    }

    /// Measure the time of each launch from now on, or stop. Measuring makes every launch a phase of its own.
    pub fn set_profile(&mut self, on: bool) {
        self.profile = on.then(|| vec![Duration::ZERO; self.compiled.launch_count]);
    }

    /// The summed time of each launch since profiling was turned on: launches in order, those of a loop after it.
    pub fn profile(&self) -> Option<&[Duration]> {
        self.profile.as_deref()
    }

    /// The iterations that reached their bound before their condition held, and for how many examples, since this was last asked.
    pub fn take_unfinished(&mut self) -> Vec<(Origin, usize)> {
        self.compiled.take_unfinished(&mut self.unfinished)
    }

    /// For each contraction of the plan, in the order of its launches (those of a loop after it): the floating-point operations that the last
    /// run spent in it. A product with an addition counts as two.
    pub fn flop(&self) -> &[u64] {
        &self.flop
    }

    /// Bytes of copies that contractions work with: panels of right operands, partial sums, rows that only pass. Beside what [`peak_bytes`] predicts.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch.len()
    }

    /// The same with the copies of weights that stay (see [`keep_weights`](Program::keep_weights)).
    pub fn copied_bytes(&self) -> usize {
        self.scratch.len() + self.kept.iter().flatten().map(|kept| kept.memory.len()).sum::<usize>()
    }

    /// Bytes that this program holds now: arena, tables, literals, scratch.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.copied_bytes() + self.owned.iter().flatten().map(Buffer::bytes).sum::<usize>()
    }

    /// Runs the plan. Parameters and state that the store lacks are made of zeros first.
    pub fn run<'r>(
        &'r mut self,
        executor: &Executor,
        store: &'r mut Store,
        inputs: &Inputs,
    ) -> Result<Outputs<'r>, Error> {
        bind_sizes(&self.compiled, inputs, &mut self.sizes, &mut self.lengths, &mut self.positions)?;
        self.bind_buffers(store, inputs)?;
        tables::fill(
            &self.compiled,
            &self.plan,
            &self.sizes,
            &self.lengths,
            inputs,
            &mut self.owned,
            &mut self.pointers,
            &mut self.tables,
        )?;
        let [scratch, held] = launch::scratch_bytes(&self.compiled, &mut self.sizes, inputs.batch, executor.threads());
        if scratch + held > self.scratch.len() {
            self.scratch = Memory::new(scratch + held)?;
        }
        self.held = scratch;
        if let Some(kept) = &mut self.kept {
            let is_stored = |at: usize| matches!(self.plan.buffers[at].place, Place::Param | Place::State);
            launch::keep(&self.compiled, &self.sizes, &self.pointers, &is_stored, kept)?;
        }
        let run = self.lent(inputs, executor);
        if launch::all_small(&run) {
            // A team of one is never gone, but for an interrupt.
            let _ = launch::run(&run, &mut Worker::alone());
        } else {
            executor.region(run.clone());
        }
        if run.is_interrupted() {
            return Err(Error::Interrupted);
        }
        self.flop.clear();
        self.flop.extend(run.flop.iter().map(|flop| flop.load(Ordering::Acquire)));
        for (total, found) in self.unfinished.iter_mut().zip(&run.unfinished) {
            *total += found.load(Ordering::Acquire);
        }
        if let (Some(total), Some(times)) = (&mut self.profile, &run.times) {
            let times = times.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            total.iter_mut().zip(times.iter()).for_each(|(total, time)| *total += *time);
        }
        self.runs.push(run);
        Ok(Outputs { program: self, _store: store })
    }

    /// What workers are given. A run that a worker still holds (it slept through the end of its region) is left alone.
    fn lent(&mut self, inputs: &Inputs, executor: &Executor) -> Arc<Run> {
        let free = self.runs.iter_mut().position(|run| Arc::get_mut(run).is_some());
        let mut run = match free {
            Some(at) => self.runs.swap_remove(at),
            None => Arc::new(Run::new(self.compiled.clone())),
        };
        if let Some(run) = Arc::get_mut(&mut run) {
            run.pointers.clone_from(&self.pointers);
            run.lens.clone_from(&self.lens);
            run.sizes.clone_from(&self.sizes);
            for (at, lengths) in &self.lengths {
                run.lengths.entry(*at).or_default().clone_from(lengths);
            }
            run.scratch = self.scratch.pointer();
            run.held = self.scratch.pointer().wrapping_add(self.held);
            run.kept.clear();
            let kept = self.kept.iter().flatten();
            run.kept.extend(kept.map(|kept| (kept.number, kept.memory.pointer())));
            (run.seed, run.step) = (inputs.seed, inputs.step);
            run.positions.clone_from(&self.positions);
            run.interrupt = executor.interrupt();
            run.begin(self.profile.is_some());
        }
        run
    }

    fn bind_buffers(&mut self, store: &mut Store, inputs: &Inputs) -> Result<(), Error> {
        let arena = arena_bytes(&self.compiled, &self.sizes, &mut self.slots);
        let is_guarded = crate::memory::is_guarded();
        if is_guarded {
            let kept = self.compiled.slots.iter().zip(&self.compiled.kept_slots);
            let lengths = kept.map(|(slot, kept)| if *kept { slot.at(&self.sizes).max(0) as usize } else { 0 });
            self.guarded = lengths.map(Memory::new).collect::<Result<_, _>>()?;
        } else {
            self.guarded.clear();
            if arena > self.arena.len() {
                // The old arena goes first, so that both are never held.
                self.arena = Memory::new(0)?;
                self.arena = Memory::new(arena)?;
            }
        }
        let plan = self.plan.clone();
        for (at, buffer) in plan.buffers.iter().enumerate() {
            let compiled = &self.compiled.buffers[at];
            let len = compiled.len.at(&self.sizes).max(0);
            self.lens[at] = len as usize;
            self.pointers[at] = match &buffer.place {
                Place::Param | Place::State => {
                    let sizes = &self.sizes;
                    let shape = || {
                        let shape: Vec<i64> = compiled.shape.iter().map(|d| d.at(sizes)).collect();
                        if shape.iter().product::<i64>() == len { shape } else { vec![len] }
                    };
                    let entry = store.bind(&buffer.name, buffer.dtype, len, shape)?;
                    entry.trained |= matches!(buffer.place, Place::Param);
                    entry.buffer.pointer()
                }
                Place::Input { .. } => {
                    let found = inputs.buffers.iter().find(|(n, _)| *n == &*buffer.name);
                    let (_, data) =
                        found.ok_or_else(|| Error::Missing { what: "input", name: buffer.name.to_string() })?;
                    if data.len() as i64 != len {
                        let (name, found) = (buffer.name.to_string(), data.len() as i64);
                        return Err(Error::Length { name, expected: len, found });
                    }
                    if data.dtype() == buffer.dtype && data.len() > 0 && !is_guarded {
                        // Kernels only read inputs.
                        data.pointer().cast_mut()
                    } else {
                        let own = self.own(at, buffer.dtype, data.len())?;
                        for i in 0..data.len() {
                            // SAFETY: `own` has room for the elements.
                            unsafe { crate::memory::write_number(own, buffer.dtype, i, data.number(i)) }
                        }
                        own
                    }
                }
                Place::Slot(slot) => {
                    let offset = self.slots[slot.0 as usize];
                    let room = self.compiled.slots[slot.0 as usize].at(&self.sizes).max(0);
                    if len * size_of_dtype(buffer.dtype) as i64 > room {
                        return Err(Error::Plan(format!("`{}` is longer than its slot", buffer.name)));
                    }
                    match self.guarded.get(slot.0 as usize) {
                        Some(memory) => memory.pointer(),
                        None => self.arena.pointer().wrapping_add(offset),
                    }
                }
                // The workers of its group have the rows at hand.
                Place::Blocks => std::ptr::null_mut(),
                Place::Literal(values) => {
                    if values.len() as i64 != len {
                        return Err(Error::Plan(format!("`{}` has {} numbers", buffer.name, values.len())));
                    }
                    self.owned[at].as_ref().map_or(std::ptr::null_mut(), Buffer::pointer)
                }
                Place::Table(_) => self.own(at, buffer.dtype, len as usize)?,
            };
        }
        Ok(())
    }

    /// Memory of the program for a buffer, at least `len` elements, kept from run to run.
    fn own(&mut self, at: usize, dtype: DType, len: usize) -> Result<*mut u8, Error> {
        let slot = &mut self.owned[at];
        match slot {
            Some(buffer) if buffer.len() >= len => Ok(buffer.pointer()),
            Some(_) | None => Ok(slot.insert(Buffer::zeros(dtype, len)?).pointer()),
        }
    }
}

/// Sizes of the batch, per-example sizes by position, and each example's position in the epoch.
pub fn bind_sizes<F>(
    compiled: &Compiled<F>,
    inputs: &Inputs,
    sizes: &mut [i64],
    lengths: &mut HashMap<usize, Vec<i64>>,
    positions: &mut Vec<i64>,
) -> Result<(), Error> {
    for (at, (kind, name)) in compiled.kinds.iter().zip(&compiled.names).enumerate() {
        sizes[at] = match kind {
            CompiledKind::Built => {
                let found = inputs.sizes.iter().find(|(n, _)| *n == &**name);
                found.ok_or_else(|| Error::Missing { what: "size", name: name.to_string() })?.1
            }
            CompiledKind::Batch => inputs.batch as i64,
            CompiledKind::Total(_) | CompiledKind::Step | CompiledKind::Running => 0,
            CompiledKind::PerExample => {
                let found = inputs.lengths.iter().find(|(n, _)| *n == &**name);
                let (_, given) =
                    found.ok_or_else(|| Error::Missing { what: "list of sizes", name: name.to_string() })?;
                if given.len() != inputs.batch {
                    let (expected, found) = (inputs.batch as i64, given.len() as i64);
                    return Err(Error::Length { name: name.to_string(), expected, found });
                }
                let own = lengths.entry(at).or_default();
                own.clear();
                own.extend_from_slice(given);
                0
            }
        };
    }
    for (at, kind) in compiled.kinds.iter().enumerate() {
        if let CompiledKind::Total(dim) = kind {
            let mut total = 0;
            for example in 0..inputs.batch {
                set_example(sizes, lengths, example);
                total += dim.at(sizes);
            }
            sizes[at] = total;
        }
    }
    clear_example(sizes, lengths);
    positions.clear();
    match inputs.positions {
        Some(given) if given.len() != inputs.batch => {
            let (expected, found) = (inputs.batch as i64, given.len() as i64);
            return Err(Error::Length { name: "positions".into(), expected, found });
        }
        Some(given) => positions.extend_from_slice(given),
        None => positions.extend(0..inputs.batch as i64),
    }
    Ok(())
}

/// Per-example sizes set to those of one example.
pub fn set_example(sizes: &mut [i64], lengths: &HashMap<usize, Vec<i64>>, example: usize) {
    for (at, lengths) in lengths {
        sizes[*at] = lengths.get(example).copied().unwrap_or(0);
    }
}

pub fn clear_example(sizes: &mut [i64], lengths: &HashMap<usize, Vec<i64>>) {
    for at in lengths.keys() {
        sizes[*at] = 0;
    }
}

/// Bytes of the arena, and where each slot begins.
fn arena_bytes(compiled: &Compiled, sizes: &[i64], offsets: &mut Vec<usize>) -> usize {
    let mut at = 0usize;
    offsets.clear();
    for (slot, kept) in compiled.slots.iter().zip(&compiled.kept_slots) {
        offsets.push(at);
        if !kept {
            // Blocks of its rows are in the scratch, when they are made.
            continue;
        }
        // Too much for a number is too much for the memory, which says so.
        let bytes = (slot.at(sizes).max(0) as usize).checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX);
        at = at.saturating_add(bytes);
    }
    at
}

/// What a run left behind, until the next run.
pub struct Outputs<'r> {
    program: &'r Program,
    _store: &'r Store,
}

impl Outputs<'_> {
    /// An output's elements. `None` if there is no such output or it has another type.
    pub fn slice<T: Element>(&self, name: &str) -> Option<&[T]> {
        let at = *self.program.output_of.get(name)?;
        if self.program.compiled.buffers[at].dtype != T::DTYPE {
            return None;
        }
        let (pointer, len) = (self.program.pointers[at], self.program.lens[at]);
        // SAFETY: the run bound `len` elements of this type there, aligned; store and program are borrowed.
        Some(unsafe { std::slice::from_raw_parts(pointer.cast::<T>(), len) })
    }

    /// An output as numbers.
    pub fn numbers(&self, name: &str) -> Option<Vec<f64>> {
        let at = *self.program.output_of.get(name)?;
        let dtype = self.program.compiled.buffers[at].dtype;
        // SAFETY: as in `slice`.
        Some((0..self.program.lens[at]).map(|i| unsafe { read_number(self.program.pointers[at], dtype, i) }).collect())
    }

    /// The first element of an output: a loss, a count.
    pub fn number(&self, name: &str) -> Option<f64> {
        let at = *self.program.output_of.get(name)?;
        if self.program.lens[at] == 0 {
            return None;
        }
        // SAFETY: as in `slice`.
        Some(unsafe { read_number(self.program.pointers[at], self.program.compiled.buffers[at].dtype, 0) })
    }

    pub fn dtype(&self, name: &str) -> Option<&'static str> {
        let at = *self.program.output_of.get(name)?;
        Some(dtype_name(self.program.compiled.buffers[at].dtype))
    }

    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.program.plan.outputs.iter().map(|(name, _)| name)
    }

    /// The value of a size in this run.
    pub fn size(&self, name: &str) -> Option<i64> {
        let at = self.program.compiled.names.iter().position(|n| &**n == name)?;
        Some(self.program.sizes[at])
    }
}

/// Bytes that a plan's memory takes at these sizes: the arena, and tables, literals and inputs of its own. Parameters and state are the
/// store's. `sizes` gives every size that the lengths name.
pub fn peak_bytes(plan: &Plan, sizes: &dyn Fn(&str) -> Option<i64>) -> Option<usize> {
    let mut total = 0usize;
    for (slot, _) in plan.slots.iter().zip(bdl_plan::kept_slots(plan)).filter(|(_, kept)| *kept) {
        total += (slot.eval(sizes)?.max(0) as usize).next_multiple_of(ALIGN);
    }
    for buffer in &plan.buffers {
        match buffer.place {
            Place::Literal(_) | Place::Table(_) => {
                let len = buffer.len.eval(sizes)?.max(0) as usize;
                total += (len * size_of_dtype(buffer.dtype)).max(1).next_multiple_of(ALIGN);
            }
            Place::Param | Place::State | Place::Input { .. } | Place::Slot(_) | Place::Blocks => {}
        }
    }
    Some(total)
}

/// The same as a formula, in bytes, rounding to cache lines left out: `slots + tables`.
pub fn peak_formula(plan: &Plan) -> bdl_dims::Dim {
    let kept = plan.slots.iter().zip(bdl_plan::kept_slots(plan)).filter(|(_, kept)| *kept);
    let slots: bdl_dims::Dim = kept.map(|(slot, _)| slot.clone()).sum();
    let owned = plan.buffers.iter().filter(|b| matches!(b.place, Place::Literal(_) | Place::Table(_)));
    slots + owned.map(|b| b.len.scale(size_of_dtype(b.dtype) as i64)).sum::<bdl_dims::Dim>()
}

/// Does the plan name sizes that differ from example to example?
pub fn is_ragged(plan: &Plan) -> bool {
    plan.sizes.iter().any(|s| s.kind == SizeKind::PerExample)
}
