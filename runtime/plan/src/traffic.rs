//! How many bytes a launch moves at least: each element that it reads or writes, once.
//!
//! This is what a profile holds against the memory's measured bandwidth. It is a floor and no count of loads: an element that many
//! iterations read counts once, as if it stayed in a register. Rows whose number is data count as all that the buffer holds.
//!
//! ```text
//! contract h[64, 512] = x[64, 2000] w[2000, 512]:   4 * (64 * 512 + 64 * 2000 + 2000 * 512) bytes
//! ```

use crate::data::*;
use bdl_dims::Dim;

/// Gives the value of a size.
type Sizes<'s> = &'s dyn Fn(&str) -> Option<i64>;

/// Bytes that one run of the launch moves. A loop moves nothing by itself: its body does.
pub fn bytes(plan: &Plan, op: &Op, sizes: Sizes) -> i64 {
    let whole = |buffer: BufferId| of_elements(plan, buffer, i64::MAX, sizes);
    match op {
        Op::Kernel(used) => kernel_bytes(plan, used, None, sizes),
        Op::Contract(c) => {
            let operand = |slice: &Slice, stride: &dyn Fn(&ContractionAxis) -> &Dim| {
                let extents = c.axes.iter().filter(|axis| !stride(axis).is_zero()).map(|axis| at(&axis.extent, sizes));
                of_elements(plan, slice.buffer, extents.fold(1, i64::saturating_mul), sizes)
            };
            let out = operand(&c.out, &|axis| &axis.out) * if c.accumulate { 2 } else { 1 };
            let read = operand(&c.a, &|axis| &axis.a) + operand(&c.b, &|axis| &axis.b);
            // Rows of the result are in cache when the epilogue sees them.
            let epilogue = c.epilogue.as_ref().map_or(0, |used| kernel_bytes(plan, used, Some(c.out.buffer), sizes));
            out + read + epilogue
        }
        Op::Draw(draw) => whole(draw.out),
        Op::Copy { from, to } => whole(*from) + whole(*to),
        Op::Clear { buffer } => whole(*buffer),
        Op::Sort(sort) => whole(sort.input) + whole(sort.out),
        Op::Library { out, inputs, .. } => inputs.iter().map(|input| whole(*input)).sum::<i64>() + whole(*out),
        Op::Order { .. } | Op::Scan(_) | Op::Iterate(_) => 0,
    }
}

/// A size that is not known (an example's own) counts as without bound; a buffer's length then is one.
fn at(size: &Dim, sizes: Sizes) -> i64 {
    size.eval(sizes).map_or(i64::MAX, |value| value.max(0))
}

/// Bytes of so many elements of a buffer, at most all of them.
fn of_elements(plan: &Plan, buffer: BufferId, count: i64, sizes: Sizes) -> i64 {
    let Some(buffer) = plan.buffers.get(buffer.0 as usize) else { return 0 };
    let size = match buffer.dtype {
        DType::F32 | DType::I32 => 4,
        DType::F64 | DType::I64 => 8,
        DType::BF16 => 2,
        DType::Bool => 1,
    };
    count.min(at(&buffer.len, sizes)).saturating_mul(size)
}

/// What the accesses of a kernel to one of its buffers cover.
#[derive(Clone, Copy)]
struct Cover {
    /// The sum over accesses of the elements of each.
    elements: i64,
    /// From the first to the last element that any of them can reach.
    first: i64,
    last: i64,
}

const NOTHING: Cover = Cover { elements: 0, first: i64::MAX, last: i64::MIN };

impl Cover {
    /// Accesses that overlap (the taps of a window) count once as far as the stretch that they share tells.
    fn count(&self) -> i64 {
        if self.elements == 0 { 0 } else { self.elements.min(self.last.saturating_sub(self.first).saturating_add(1)) }
    }
}

struct Walk<'k> {
    sizes: Sizes<'k>,
    /// By loop index: its first value and how many there are.
    ranges: Vec<(i64, i64)>,
    /// By buffer of the kernel.
    read: Vec<Cover>,
    written: Vec<Cover>,
}

fn kernel_bytes(plan: &Plan, used: &KernelUse, in_cache: Option<BufferId>, sizes: Sizes) -> i64 {
    let Some(kernel) = plan.kernels.get(used.kernel.0 as usize) else { return 0 };
    let mut walk = Walk {
        sizes,
        ranges: vec![(0, 1); kernel.indices.len().max(1)],
        read: vec![NOTHING; kernel.buffers.len()],
        written: vec![NOTHING; kernel.buffers.len()],
    };
    walk.ranges[0] = (0, at(&kernel.grid, sizes));
    walk.body(&kernel.body);
    let both = walk.read.iter().zip(&walk.written).zip(&used.buffers);
    both.filter(|(_, slice)| Some(slice.buffer) != in_cache)
        .map(|((read, written), slice)| {
            of_elements(plan, slice.buffer, read.count(), sizes)
                + of_elements(plan, slice.buffer, written.count(), sizes)
        })
        .fold(0, i64::saturating_add)
}

impl Walk<'_> {
    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Loop { index, from, to, body, .. } => {
                    let range = match (from, to) {
                        (Bound::Size(from), Bound::Size(to)) => {
                            let (from, to) = (at(from, self.sizes), at(to, self.sizes));
                            (from, to.saturating_sub(from).max(0))
                        }
                        (Bound::Size(_) | Bound::Value(_), Bound::Size(_) | Bound::Value(_)) => (0, i64::MAX),
                    };
                    if let Some(known) = self.ranges.get_mut(index.0 as usize) {
                        *known = range;
                    }
                    self.body(body);
                }
                Stmt::If { body, .. } => self.body(body),
                Stmt::Let { op: ValueOp::Load { buffer, at, .. }, .. } => {
                    let cover = self.cover(at);
                    add(&mut self.read, *buffer, cover);
                }
                Stmt::Store { buffer, at, .. } => {
                    let cover = self.cover(at);
                    add(&mut self.written, *buffer, cover);
                }
                Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } => {}
            }
        }
    }

    fn cover(&self, address: &Address) -> Cover {
        let mut cover = Cover { elements: 1, first: 0, last: 0 };
        for (term, stride) in &address.terms {
            let stride = stride.eval(self.sizes).unwrap_or(1);
            match term {
                AddressTerm::Index(index) if stride != 0 => {
                    let (from, count) = self.ranges.get(index.0 as usize).copied().unwrap_or((0, i64::MAX));
                    cover.elements = cover.elements.saturating_mul(count);
                    let ends = [from, from.saturating_add(count).saturating_sub(1)].map(|i| i.saturating_mul(stride));
                    cover.first = cover.first.saturating_add(ends[0].min(ends[1]));
                    cover.last = cover.last.saturating_add(ends[0].max(ends[1]));
                }
                AddressTerm::Index(_) => {}
                // Somewhere: as often as the kernel's grid goes there at most, and at most the whole buffer.
                AddressTerm::Value(_) => {
                    cover.elements = cover.elements.saturating_mul(self.ranges[0].1);
                    (cover.first, cover.last) = (0, i64::MAX - 1);
                }
            }
        }
        let offset = at(&address.offset, self.sizes);
        Cover { first: cover.first.saturating_add(offset), last: cover.last.saturating_add(offset), ..cover }
    }
}

fn add(covers: &mut [Cover], buffer: u32, new: Cover) {
    if let Some(cover) = covers.get_mut(buffer as usize) {
        *cover = Cover {
            elements: cover.elements.saturating_add(new.elements),
            first: cover.first.min(new.first),
            last: cover.last.max(new.last),
        };
    }
}
