//! Results that only pass: what a contraction computes for its own epilogue and no one else.
//!
//! ```text
//! g[i, j] = sum b: x[b, i] * dy[b, j]      then  m, v, w updated from g at rows i       nobody else reads g
//! ```
//!
//! Such a result need not be in memory as a whole: an executor may keep a block of rows at a time, and the scheduler lets its slot be shared by
//! others of its kind alone. Nothing in a plan says so, for it follows from the plan; an executor that stores the result is right too.

use crate::data::*;
use bdl_dims::Dim;

/// For each buffer: does it only pass from a contraction to its epilogue, row by row?
pub fn passing(plan: &Plan) -> Vec<bool> {
    let mut touched = vec![0; plan.buffers.len()];
    let mut candidates = Vec::new();
    count(&plan.launches, &mut touched, &mut candidates);
    plan.outputs.iter().for_each(|(_, buffer)| add(&mut touched, *buffer));
    let mut passing = vec![false; plan.buffers.len()];
    for buffer in candidates {
        let at = buffer.0 as usize;
        if touched.get(at) == Some(&1) && matches!(plan.buffers[at].place, Place::Slot(_)) {
            passing[at] = true;
        }
    }
    passing
}

/// For each slot: does it hold something that does not only pass?
pub fn kept_slots(plan: &Plan) -> Vec<bool> {
    let mut kept = vec![false; plan.slots.len()];
    for (buffer, passes) in plan.buffers.iter().zip(passing(plan)) {
        if let (Place::Slot(slot), false) = (&buffer.place, passes)
            && let Some(kept) = kept.get_mut(slot.0 as usize)
        {
            *kept = true;
        }
    }
    kept
}

/// Is the result row-major over its axes as they stand, all rows (batch, m) before all columns (n), from the buffer's start on, without examples
/// of different length? Then any block of rows is a stretch of the buffer.
pub(crate) fn has_plain_rows(c: &Contraction) -> bool {
    if c.axes.iter().any(|axis| axis.offsets.is_some()) {
        return false;
    }
    let mut stride = Dim::one();
    let mut seen_row = false;
    for axis in c.axes.iter().rev().filter(|axis| axis.role != AxisRole::K) {
        let is_row = axis.role != AxisRole::N;
        if axis.out != stride || seen_row && !is_row {
            return false;
        }
        seen_row |= is_row;
        stride = stride * axis.extent.clone();
    }
    seen_row && c.out.offset.is_zero() && !c.accumulate
}

fn add(touched: &mut [usize], buffer: BufferId) {
    if let Some(count) = touched.get_mut(buffer.0 as usize) {
        *count += 1;
    }
}

/// How many launches touch each buffer, and which are results that could pass.
fn count(launches: &[Launch], touched: &mut [usize], candidates: &mut Vec<BufferId>) {
    for launch in launches {
        let mut here: Vec<BufferId> = Vec::new();
        match &launch.op {
            Op::Kernel(used) => here.extend(used.buffers.iter().map(|slice| slice.buffer)),
            Op::Contract(c) => {
                here.extend([c.out.buffer, c.a.buffer, c.b.buffer]);
                here.extend(c.axes.iter().filter_map(|axis| axis.offsets).flat_map(Tables::all));
                if [c.a.buffer, c.b.buffer].contains(&c.out.buffer) {
                    here.extend([c.out.buffer]);
                }
                if let Some(epilogue) = &c.epilogue {
                    let from_start = |slice: &Slice| slice.buffer != c.out.buffer || slice.offset.is_zero();
                    if has_plain_rows(c)
                        && epilogue.buffers.iter().all(from_start)
                        && ![c.a.buffer, c.b.buffer].contains(&c.out.buffer)
                    {
                        candidates.push(c.out.buffer);
                    }
                    here.extend(epilogue.buffers.iter().map(|slice| slice.buffer));
                }
            }
            Op::Draw(draw) => here.push(draw.out),
            Op::Copy { from, to } => here.extend([*from, *to]),
            Op::Clear { buffer } => here.push(*buffer),
            Op::Order { out, .. } => here.push(*out),
            Op::Scan(scan) => {
                here.extend(scan.running.iter().map(|running| running.order));
                here.extend(scan.ends.iter().flat_map(|ends| ends.buffers()));
                count(&scan.body, touched, candidates);
            }
            Op::Iterate(n) => {
                here.extend(n.running.iter().map(|running| running.order));
                here.push(n.until);
                count(&n.condition, touched, candidates);
                count(&n.body, touched, candidates);
            }
            Op::Sort(sort) => {
                here.extend([sort.out, sort.input]);
                here.extend(sort.offsets);
            }
            Op::Library { out, inputs, .. } => {
                here.push(*out);
                here.extend(inputs);
            }
        }
        here.sort();
        here.dedup();
        here.iter().for_each(|buffer| add(touched, *buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_plan;

    const PLAN: &str = "plan p
size B batch
slot 256 * B
slot 256 * B
buffer x: f32[B, 100] len 100 * B; input per_example
buffer w: f32[100, 64] len 6400; param
buffer h: f32[B, 64] len 64 * B; slot 0
buffer y: f32[B, 64] len 64 * B; slot 1
OUTPUT

kernel double(h: f32 read, y: f32 write) sizes(B) indices(r, c) {
  for r in B {
    for c in 0..64 lanes {
      %0: f32 = load h[r * 64 + c]
      %1: f32 = add %0, %0
      store y[r * 64 + c] = %1
    }
  }
}

contract h = x * w {
  m b: B (out 64, a 100, b 0)
  n f: 64 (out 1, a 0, b 1)
  k c: 100 (out 0, a 1, b 64)
  then double(h, y)
} at \"dense\" 0 12 30
";

    #[test]
    fn what_the_epilogue_alone_reads_passes_and_an_output_stays() {
        let names = |output: &str| {
            let plan = parse_plan(&PLAN.replace("OUTPUT", output)).unwrap();
            let passing = passing(&plan);
            let names = plan.buffers.iter().zip(passing).filter(|(_, passes)| *passes);
            names.map(|(buffer, _)| buffer.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names("output y = y"), ["h"]);
        assert_eq!(names("output y = y\noutput h = h"), [] as [&str; 0]);
    }
}
