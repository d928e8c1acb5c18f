//! Groups of products, block by block: see [`bdl_plan::blocks`].
//!
//! ```text
//! worker 0    matrix 0: rows 0 .. 512 of p, of o;  rows 512 .. 1024;  ..      matrix 1 ..
//! worker 1    matrix 4: ..
//! ```
//!
//! A worker takes a matrix, or a block of one where no product sums over its rows, through all products, and has memory for one block. Blocks of sums
//! over rows are whole chains, so that a sum in blocks has the bits of one at once. Where there is too little for the workers to share like that, they
//! share each product of each block instead.

use crate::compiled::{CompiledContraction, CompiledGroup, CompiledLaunch, CompiledOp, Factors};
use crate::contract::{self, Operands};
use crate::launch::{Run, State, kernel_range_with, operand};
use crate::memory::ALIGN;
use crate::nest::Nest;
use crate::pool::{Gone, Worker};
use crate::real::{Real, Rounded};
use bdl_kernels::contraction::CHUNK;
use bdl_plan::AxisRole;
use bdl_plan::blocks::{MOST_BUFFERS, Member};
use std::time::Instant;

/// Rows of a block.
const ROWS: i64 = CHUNK as i64;
/// Less of the workers' time than this in use, and they share products instead of blocks.
const LEAST_USE: f64 = 0.8;

/// A group with numbers for sizes.
struct Shape {
    matrices: i64,
    rows: i64,
    /// Rows of a block.
    block: i64,
    /// Blocks of a matrix that one worker takes, one after the other.
    in_turn: i64,
    /// Workers share each product.
    is_shared: bool,
}

impl Shape {
    fn of(group: &CompiledGroup, sizes: &[i64], workers: usize) -> Shape {
        let matrices = group.matrices.iter().map(|extent| extent.at(sizes).max(0)).product();
        let rows = group.rows.at(sizes).max(0);
        let block = rows.clamp(1, ROWS);
        let blocks = blocks(rows, block);
        let in_turn = if group.sums_rows { blocks } else { 1 };
        let workers = workers as i64;
        let tasks: i64 = matrices * (blocks / in_turn);
        let rounds = ((tasks + workers - 1) / workers).max(1);
        let in_use = tasks as f64 / (rounds * workers) as f64;
        Shape { matrices, rows, block, in_turn, is_shared: workers > 1 && in_use < LEAST_USE }
    }

    fn blocks(&self) -> i64 {
        blocks(self.rows, self.block)
    }
}

/// Blocks of a matrix; one that has no rows has an empty one, for a sum over nothing is 0.
fn blocks(rows: i64, block: i64) -> i64 {
    ((rows + block - 1) / block).max(1)
}

/// A block: rows of a matrix, and where those of each buffer of the group lie, as if all of the buffer was there.
struct Block {
    matrix: i64,
    from: i64,
    to: i64,
    places: [(usize, *mut u8); MOST_BUFFERS],
    count: usize,
}

impl Block {
    fn places(&self) -> &[(usize, *mut u8)] {
        &self.places[..self.count]
    }
}

const NOWHERE: (usize, *mut u8) = (usize::MAX, std::ptr::null_mut());

/// Bytes of scratch for the rows of a block, for what products need beside it, and of all workers.
struct Room {
    rows: usize,
    each: usize,
    all: usize,
}

fn room(group: &CompiledGroup, list: &[CompiledLaunch], sizes: &[i64], workers: usize) -> Room {
    let shape = Shape::of(group, sizes, workers);
    let team = if shape.is_shared { workers } else { 1 };
    // The last block of a matrix may be shorter, and a product of few rows needs other things.
    let ends = [shape.block.min(shape.rows), shape.rows - (shape.blocks() - 1) * shape.block];
    let (mut bytes, mut most) = (4, 0);
    for (launch, member) in list.iter().zip(&group.members) {
        let CompiledOp::Contract(c) = &launch.op else { continue };
        bytes = c.factors.bytes();
        for to in ends {
            let block = Block { matrix: 0, from: 0, to, places: [NOWHERE; MOST_BUFFERS], count: 0 };
            let nest = nest(c, member, group, &block, sizes);
            let elements = match c.factors {
                Factors::F32 => contract::scratch::<f32>(&nest, team, false),
                Factors::F64 => contract::scratch::<f64>(&nest, team, false),
                Factors::Bf16 => contract::scratch::<Rounded>(&nest, team, false),
            };
            most = most.max(elements * bytes);
        }
    }
    let of_buffer = |(_, columns): &(usize, crate::size::Size)| {
        ((shape.block * columns.at(sizes)).max(0) as usize * bytes).next_multiple_of(ALIGN)
    };
    let rows = group.buffers.iter().map(of_buffer).sum();
    let each = rows + most.next_multiple_of(ALIGN);
    Room { rows, each, all: each * if shape.is_shared { 1 } else { workers } }
}

/// Bytes of scratch that a group needs.
pub(crate) fn scratch_bytes(group: &CompiledGroup, list: &[CompiledLaunch], sizes: &[i64], workers: usize) -> usize {
    room(group, list, sizes, workers).all
}

/// Runs the launches of a group.
pub(crate) fn run(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    group: &CompiledGroup,
    list: &[CompiledLaunch],
) -> Result<(), Gone> {
    let shape = Shape::of(group, &state.sizes, worker.count);
    let room = room(group, list, &state.sizes, worker.count);
    let blocks = shape.blocks();
    if shape.is_shared {
        for at in 0..shape.matrices * blocks {
            let block = block(run, state, group, &shape, at, run.scratch);
            products(run, worker, state, group, list, &block, run.scratch.wrapping_add(room.rows))?;
        }
        return Ok(());
    }
    let own = run.scratch.wrapping_add(worker.index * room.each);
    let tasks = shape.matrices * blocks / shape.in_turn;
    worker.phase(tasks.max(0) as usize, |task| {
        for at in task as i64 * shape.in_turn..(task as i64 + 1) * shape.in_turn {
            let block = block(run, state, group, &shape, at, own);
            // Nobody is gone in a team of one.
            let _ = products(run, &mut Worker::alone(), state, group, list, &block, own.wrapping_add(room.rows));
        }
    })
}

/// Block number `at` of all matrices, with its rows at `own`.
fn block(run: &Run, state: &State, group: &CompiledGroup, shape: &Shape, at: i64, own: *mut u8) -> Block {
    let (matrix, from) = (at / shape.blocks(), at % shape.blocks() * shape.block);
    let mut begin = own;
    let mut places = [NOWHERE; MOST_BUFFERS];
    for ((buffer, columns), to) in group.buffers.iter().zip(&mut places) {
        let columns = columns.at(&state.sizes);
        let bytes = crate::memory::size_of_dtype(run.compiled.buffers[*buffer].dtype);
        let before = (matrix * shape.rows + from) * columns * bytes as i64;
        *to = (*buffer, begin.wrapping_offset(-before as isize));
        begin = begin.wrapping_add(((shape.block * columns).max(0) as usize * bytes).next_multiple_of(ALIGN));
    }
    Block { matrix, from, to: (from + shape.block).min(shape.rows), places, count: group.buffers.len() }
}

/// All products of the group for one block, on a team of workers.
fn products(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    group: &CompiledGroup,
    list: &[CompiledLaunch],
    block: &Block,
    scratch: *mut u8,
) -> Result<(), Gone> {
    if run.is_interrupted() {
        return Err(Gone);
    }
    for (launch, member) in list.iter().zip(&group.members) {
        let CompiledOp::Contract(c) = &launch.op else { continue };
        let start = run.times.is_some().then(Instant::now);
        match c.factors {
            Factors::F32 => product::<f32>(run, worker, state, c, (member, group, block), scratch)?,
            Factors::F64 => product::<f64>(run, worker, state, c, (member, group, block), scratch)?,
            Factors::Bf16 => product::<Rounded>(run, worker, state, c, (member, group, block), scratch)?,
        }
        if let Some(start) = start {
            state.add_time(launch.number, start.elapsed());
        }
    }
    Ok(())
}

/// The part of a product's nest that belongs to a block.
fn nest(c: &CompiledContraction, member: &Member, group: &CompiledGroup, block: &Block, sizes: &[i64]) -> Nest {
    let mut nest = c.form.nest(sizes, 0, 0, 0);
    let mut rest = block.matrix;
    for (axis, extent) in member.matrices.iter().zip(&group.matrices).rev() {
        let extent = extent.at(sizes).max(1);
        nest.restrict(*axis, rest % extent, rest % extent + 1);
        rest /= extent;
    }
    nest.restrict(member.rows, block.from, block.to);
    nest
}

fn product<T: Real>(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    c: &CompiledContraction,
    (member, group, block): (&Member, &CompiledGroup, &Block),
    scratch: *mut u8,
) -> Result<(), Gone> {
    let nest = nest(c, member, group, block, &state.sizes);
    if worker.index == 0 {
        run.count(c, contract::work(&nest));
    }
    let place = |slice: &(usize, crate::size::Size), state: &State| -> *mut T {
        match block.places().iter().find(|(buffer, _)| *buffer == slice.0) {
            Some((_, place)) => place.cast(),
            None => operand::<T>(run, &state.sizes, slice),
        }
    };
    let operands = Operands {
        out: place(&c.out, state),
        a: place(&c.a, state).cast_const(),
        b: place(&c.b, state).cast_const(),
        panel: 0,
    };
    let is_summed = c.form.axes[member.rows].role == AxisRole::K;
    let first = block.matrix * group.rows.at(&state.sizes) + block.from;
    let mut epilogue = |begin, end, _out: *mut T| {
        if let Some(epilogue) = &c.epilogue {
            // SAFETY: rows that are complete, each once; of buffers in blocks it touches these rows alone, which are there.
            unsafe { kernel_range_with(run, state, epilogue, first + begin, first + end, block.places()) }
        }
    };
    let epilogue = c.epilogue.as_ref().map(|_| &mut epilogue as contract::Epilogue<T>);
    // SAFETY: the plan's accesses are in bounds, those of buffers in blocks are to the rows of this block, for which there is room, as for the
    // product's own scratch; no other worker has this block, or all of the team share it.
    unsafe {
        contract::run(&nest, operands, scratch.cast(), is_summed && block.from > 0, worker, epilogue, &[], false, None)
    }
}
