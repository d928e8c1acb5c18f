//! Which buffers share memory.
//!
//! Every computed buffer lives from the launch that first touches it to the last one that does (outputs: to the end; what a loop's
//! body touches: for the whole loop). The largest buffers are placed first, each in the first slot that is free for its life and
//! provably large enough for every batch ([`Dim::dominates`]); sizes that cannot be compared get slots of their own.
//!
//! Deliberately absent: addresses. The executor lays the slots one after the other.

use crate::layout::UNPLACED;
use bdl_dims::Dim;
use bdl_plan::*;
use std::collections::BTreeMap;

/// First and last moment of a buffer's life; launches are counted through, bodies of loops included.
#[derive(Clone, Copy, Debug)]
struct Life {
    from: usize,
    to: usize,
}

/// Removes the buffers that no launch and no output names, but those that the caller knows by name.
pub(crate) fn drop_unused(plan: &mut Plan) {
    let mut used = vec![false; plan.buffers.len()];
    for launch in &plan.launches {
        let mut touched = Vec::new();
        touches(plan, launch, &mut |buffer, _| touched.push(buffer));
        touched.iter().for_each(|b| used[b.0 as usize] = true);
    }
    plan.outputs.iter().for_each(|(_, b)| used[b.0 as usize] = true);
    for at in 0..plan.buffers.len() {
        if let (true, Place::Table(Table::SortedBy { keys } | Table::Runs { keys, .. })) =
            (used[at], &plan.buffers[at].place)
        {
            used[keys.0 as usize] = true;
        }
    }
    let mut next = 0;
    let renamed: Vec<BufferId> = used
        .iter()
        .map(|used| {
            let id = BufferId(next);
            next += u32::from(*used);
            id
        })
        .collect();
    let mut keep = used.iter();
    plan.buffers.retain(|_| keep.next() == Some(&true));
    let rename = |b: &mut BufferId| *b = renamed[b.0 as usize];
    for buffer in &mut plan.buffers {
        if let Place::Table(Table::SortedBy { keys } | Table::Runs { keys, .. }) = &mut buffer.place {
            rename(keys);
        }
    }
    plan.outputs.iter_mut().for_each(|(_, b)| rename(b));
    plan.launches.iter_mut().for_each(|l| rename_op(&mut l.op, &rename));
}

pub(crate) fn rename_op(op: &mut Op, rename: &dyn Fn(&mut BufferId)) {
    let kernel = |k: &mut KernelUse| k.buffers.iter_mut().for_each(|s| rename(&mut s.buffer));
    match op {
        Op::Kernel(k) => kernel(k),
        Op::Contract(c) => {
            [&mut c.out, &mut c.a, &mut c.b].into_iter().for_each(|s| rename(&mut s.buffer));
            let tables = c.axes.iter_mut().filter_map(|a| a.offsets.as_mut());
            tables.flat_map(|t| [&mut t.out, &mut t.a, &mut t.b]).for_each(rename);
            c.epilogue.iter_mut().for_each(kernel);
        }
        Op::Draw(draw) => std::iter::once(&mut draw.out).chain(&mut draw.offsets).for_each(rename),
        Op::Copy { from, to } => [from, to].into_iter().for_each(rename),
        Op::Clear { buffer } => rename(buffer),
        Op::Order { out, by: _ } => rename(out),
        Op::Scan(scan) => {
            scan.running.iter_mut().for_each(|r| rename(&mut r.order));
            match &mut scan.ends {
                None => {}
                Some(Ends::When { until, steps }) => [until, steps].into_iter().for_each(rename),
                Some(Ends::After(steps)) => rename(steps),
            }
            scan.body.iter_mut().for_each(|l| rename_op(&mut l.op, rename));
        }
        Op::Iterate(n) => {
            n.running.iter_mut().for_each(|r| rename(&mut r.order));
            rename(&mut n.until);
            n.condition.iter_mut().chain(&mut n.body).for_each(|l| rename_op(&mut l.op, rename));
        }
        Op::Sort(sort) => {
            [&mut sort.out, &mut sort.input].into_iter().chain(&mut sort.offsets).for_each(rename);
        }
        Op::Library { out, inputs, .. } => {
            rename(out);
            inputs.iter_mut().for_each(rename);
        }
    }
}

/// Gives each unplaced buffer a slot.
pub(crate) fn place(plan: &mut Plan) {
    let mut lives: BTreeMap<u32, Life> = BTreeMap::new();
    let mut now = 0;
    // A group runs block by block: all of it is one moment.
    let groups = blocks::groups(plan).unwrap_or_default();
    let goes_on =
        |at: usize| groups.iter().any(|group| group.launches.contains(&at) && group.launches.contains(&(at + 1)));
    for (at, launch) in plan.launches.iter().enumerate() {
        let start = now;
        let mut touched = Vec::new();
        touches(plan, launch, &mut |buffer, _| touched.push(buffer));
        // Launches inside of loops are moments, too.
        each_launch(std::slice::from_ref(launch), &mut |_| now += 1);
        now -= 1;
        for buffer in touched {
            let life = lives.entry(buffer.0).or_insert(Life { from: start, to: now });
            life.to = now;
        }
        if !goes_on(at) {
            now += 1;
        }
    }
    for (_, buffer) in &plan.outputs {
        lives.entry(buffer.0).or_insert(Life { from: 0, to: now }).to = now;
    }
    let mut wanting: Vec<(i64, u32, Dim)> = Vec::new();
    for (at, buffer) in plan.buffers.iter().enumerate().filter(|(_, b)| b.place == UNPLACED) {
        let bytes = buffer.len.scale(bytes_of(buffer.dtype));
        wanting.push((-typical(&bytes), at as u32, bytes));
    }
    wanting.sort();
    // Results that only pass share slots among themselves: an executor that holds a block of their rows needs none of these.
    let passing = passing(plan);
    let mut slot_passes = Vec::new();
    let mut slots: Vec<(Dim, Vec<Life>)> = Vec::new();
    for (_, buffer, bytes) in wanting {
        // A buffer that nothing touches still needs a place to be named.
        let life = lives.get(&buffer).copied().unwrap_or(Life { from: now, to: now });
        let free = |lives: &[Life]| lives.iter().all(|l| l.to < life.from || life.to < l.from);
        let fits = |at: usize, size: &Dim| slot_passes[at] == passing[buffer as usize] && size.dominates(&bytes);
        let found = slots.iter().enumerate().position(|(at, (size, lives))| fits(at, size) && free(lives));
        let slot = match found {
            Some(slot) => slot,
            None => {
                slots.push((bytes, Vec::new()));
                slot_passes.push(passing[buffer as usize]);
                slots.len() - 1
            }
        };
        slots[slot].1.push(life);
        plan.buffers[buffer as usize].place = Place::Slot(SlotId(slot as u32));
    }
    plan.slots = slots.into_iter().map(|(size, _)| size).collect();
}

pub(crate) fn bytes_of(dtype: DType) -> i64 {
    match dtype {
        DType::F64 | DType::I64 => 8,
        DType::F32 | DType::I32 => 4,
        DType::BF16 => 2,
        DType::Bool => 1,
    }
}

/// A number to order sizes by: every name taken as a few hundred.
pub(crate) fn typical(dim: &Dim) -> i64 {
    dim.eval(&|name| Some(if name.starts_with("rows_") { 16_384 } else { 256 })).unwrap_or(i64::MAX)
}

/// Memory of one run in bytes, as a formula in the sizes' names: `c0 + B * c1`. Counts parameters, state, inputs, literals, tables and
/// the arena; not what the runtime itself needs.
pub fn peak(plan: &Plan) -> Dim {
    let kept = plan.slots.iter().zip(kept_slots(plan)).filter(|(_, kept)| *kept);
    let mut total: Dim = kept.map(|(size, _)| size.clone()).sum();
    for buffer in &plan.buffers {
        total = match buffer.place {
            Place::Slot(_) | Place::Blocks => total,
            Place::Param | Place::State | Place::Input { .. } | Place::Literal(_) | Place::Table(_) => {
                total + buffer.len.scale(bytes_of(buffer.dtype))
            }
        };
    }
    total
}
