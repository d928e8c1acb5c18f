//! Do the rows of a scan keep to themselves? A row is an example, or of a loop over running examples the place where one lies.
//!
//! ```text
//! z[row * 512 + j], j < 512                        the row's own 512 elements
//! z_steps[row * 51200 + 512 * t + j], t < 100      the row's own
//! emitted[offsets[order[row]] * 128 + 128 * t + j] the example's own: those of the step
//! h[other * 128 + j]                               no
//! ```
//!
//! Every element that the scan writes must belong to one row, whichever launch reads or writes it. Blocks with rows of their own then never wait for
//! each other. What the scan only reads may lie anywhere.

use super::extents::Extents;
use crate::emit::definitions;
use bdl_dims::Dim;
use bdl_plan::{
    Access, Address, AddressTerm, BufferId, Contraction, KernelUse, Launch, LoopIndex, Name, Op, Place, Plan, Slice,
    Table, ValueOp,
};
use std::collections::HashMap;

/// Whose a place in a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// So many elements for each row.
    Row(i64),
    /// For each example.
    Example(i64),
    /// For each element of an example's length, which is the number of steps.
    Packed(i64),
}

pub struct Apart<'p> {
    pub plan: &'p Plan,
    /// The size that counts rows.
    pub rows: Name,
    /// The size that counts steps.
    pub step: Name,
    /// How many steps there are, where that is a number.
    pub steps: Option<i64>,
    /// Which example a row is.
    pub order: Option<BufferId>,
}

/// The buffers that launches write.
pub fn written(plan: &Plan, body: &[Launch]) -> Vec<BufferId> {
    let mut found = Vec::new();
    let of_kernel = |used: &KernelUse, found: &mut Vec<BufferId>| {
        let kernel = &plan.kernels[used.kernel.0 as usize];
        for (slice, buffer) in used.buffers.iter().zip(&kernel.buffers) {
            match buffer.access {
                Access::Read => {}
                Access::Write | Access::Update => found.push(slice.buffer),
            }
        }
    };
    for launch in body {
        match &launch.op {
            Op::Kernel(used) => of_kernel(used, &mut found),
            Op::Contract(c) => {
                found.push(c.out.buffer);
                c.epilogue.iter().for_each(|used| of_kernel(used, &mut found));
            }
            Op::Copy { to, .. } => found.push(*to),
            Op::Clear { buffer } => found.push(*buffer),
            Op::Draw(_) | Op::Order { .. } | Op::Scan(_) | Op::Iterate(_) | Op::Sort(_) | Op::Library { .. } => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

impl Apart<'_> {
    /// Do the rows of these launches keep to themselves? `touched`: all buffers that they mention.
    pub fn holds(&self, body: &[Launch], touched: &[BufferId]) -> bool {
        let written = written(self.plan, body);
        let mut owners: HashMap<BufferId, Owner> = HashMap::new();
        let fits = body.iter().all(|launch| match &launch.op {
            Op::Kernel(used) => self.of_kernel(used, &written, &mut owners).is_some(),
            Op::Contract(c) => {
                self.of_contraction(c, &written, &mut owners).is_some()
                    && c.epilogue.iter().all(|used| self.of_kernel(used, &written, &mut owners).is_some())
            }
            Op::Copy { from, to } => [from, to]
                .into_iter()
                .all(|buffer| !written.contains(buffer) || self.whole(*buffer, &mut owners).is_some()),
            Op::Clear { buffer } => self.whole(*buffer, &mut owners).is_some(),
            Op::Draw(_) | Op::Order { .. } | Op::Scan(_) | Op::Iterate(_) | Op::Sort(_) | Op::Library { .. } => false,
        });
        fits && self.slots_are_apart(touched, &written, &owners)
    }

    /// A row's part of a whole buffer.
    fn whole(&self, buffer: BufferId, owners: &mut HashMap<BufferId, Owner>) -> Option<()> {
        let each = self.per_row(&self.plan.buffers[buffer.0 as usize].len)?;
        note(owners, buffer, Owner::Row(each))
    }

    /// `c` of `c * rows`.
    pub fn per_row(&self, dim: &Dim) -> Option<i64> {
        let rows = Dim::var(self.rows.clone());
        let each = dim.floor_div(&rows).as_const()?;
        (each > 0 && *dim == rows * Dim::from(each)).then_some(each)
    }

    fn of_kernel(&self, used: &KernelUse, written: &[BufferId], owners: &mut HashMap<BufferId, Owner>) -> Option<()> {
        let kernel = &self.plan.kernels[used.kernel.0 as usize];
        let each = self.per_row(&kernel.grid)?;
        let extents = Extents::of(kernel);
        let ops = definitions(kernel);
        let is_order = |value: u32| match ops.get(value as usize).copied().flatten() {
            Some(ValueOp::Load { buffer, at, guards, .. }) => {
                let one_row = matches!(at.terms.as_slice(), [(AddressTerm::Index(LoopIndex(0)), stride)] if stride.as_const() == Some(1));
                Some(used.buffers[*buffer as usize].buffer) == self.order
                    && each == 1
                    && one_row
                    && at.offset.is_zero()
                    && guards.is_empty()
            }
            Some(_) | None => false,
        };
        let is_begin = |value: u32| match ops.get(value as usize).copied().flatten() {
            Some(ValueOp::Load { buffer, at, guards, .. }) => {
                let table = &self.plan.buffers[used.buffers[*buffer as usize].buffer.0 as usize].place;
                let of_order = matches!(at.terms.as_slice(), [(AddressTerm::Value(v), stride)] if is_order(v.0) && stride.as_const() == Some(1));
                matches!(table, Place::Table(Table::Offsets(_))) && of_order && at.offset.is_zero() && guards.is_empty()
            }
            Some(_) | None => false,
        };
        for (buffer, at) in
            crate::emit::mapping::loads(&kernel.body).into_iter().chain(crate::emit::mapping::stores(&kernel.body))
        {
            let slice = used.buffers.get(buffer as usize)?;
            if !written.contains(&slice.buffer) {
                continue;
            }
            let owner = self.owner(slice, at, each, &extents, &is_order, &is_begin)?;
            note(owners, slice.buffer, owner)?;
        }
        Some(())
    }

    /// Whose the element is, if it is provably one row's.
    fn owner(
        &self,
        slice: &Slice,
        at: &Address,
        each: i64,
        extents: &Extents,
        is_order: &dyn Fn(u32) -> bool,
        is_begin: &dyn Fn(u32) -> bool,
    ) -> Option<Owner> {
        let mut row = None;
        let mut reach = 0;
        for (term, stride) in &at.terms {
            let stride = stride.as_const()?;
            match term {
                AddressTerm::Index(LoopIndex(0)) => {
                    row = Some(Owner::Row(stride * each));
                    reach += stride * (each - 1);
                }
                AddressTerm::Index(index) => reach += stride * (extents.of_index(*index)? - 1),
                AddressTerm::Value(value) if is_order(value.0) => row = Some(Owner::Example(stride)),
                AddressTerm::Value(value) if is_begin(value.0) => row = Some(Owner::Packed(stride)),
                AddressTerm::Value(_) => return None,
            }
            if stride < 0 {
                return None;
            }
        }
        self.inside(row?, reach, &(slice.offset.clone() + at.offset.clone()))
    }

    /// The owner, if `0..=reach` from the offset on lies inside of its elements at every step.
    fn inside(&self, owner: Owner, reach: i64, offset: &Dim) -> Option<Owner> {
        let step = Dim::var(self.step.clone());
        let begin = offset.substitute(&|name| (*name == *self.step).then(Dim::zero)).as_const()?;
        let each = (offset.clone() - Dim::from(begin)).floor_div(&step).as_const()?;
        if *offset != step * Dim::from(each) + Dim::from(begin) || begin < 0 {
            return None;
        }
        match owner {
            Owner::Row(own) | Owner::Example(own) => {
                let last = if each == 0 { 0 } else { self.steps? - 1 };
                (each >= 0 && begin + reach + each * last < own).then_some(owner)
            }
            // A step is an element of the example's length.
            Owner::Packed(own) => (each == own && begin + reach < own).then_some(owner),
        }
    }

    fn of_contraction(
        &self,
        c: &Contraction,
        written: &[BufferId],
        owners: &mut HashMap<BufferId, Owner>,
    ) -> Option<()> {
        let (number, each) = self.row_axis(c)?;
        for (slice, stride) in operands(c) {
            if !written.contains(&slice.buffer) {
                continue;
            }
            let own = stride(number, c).as_const()?;
            let mut reach = own * (each - 1);
            for i in (0..c.axes.len()).filter(|i| *i != number) {
                let (extent, stride) = (c.axes[i].extent.as_const()?, stride(i, c).as_const()?);
                if stride < 0 {
                    return None;
                }
                reach += stride * (extent - 1);
            }
            let owner = self.inside(Owner::Row(own * each), reach, &slice.offset)?;
            note(owners, slice.buffer, owner)?;
        }
        Some(())
    }

    /// The axis that runs over the rows, and its elements for each of them. All other extents must be numbers.
    pub fn row_axis(&self, c: &Contraction) -> Option<(usize, i64)> {
        let mut rows = c.axes.iter().enumerate().filter_map(|(i, axis)| Some((i, self.per_row(&axis.extent)?)));
        let found = rows.next()?;
        let plain = c.clips.is_empty() && c.axes.iter().all(|axis| axis.offsets.is_none());
        let others = c.axes.iter().enumerate().all(|(i, axis)| i == found.0 || axis.extent.as_const().is_some());
        let is_sum = c.axes[found.0].role == bdl_plan::AxisRole::K;
        (plain && others && !is_sum && rows.next().is_none()).then_some(found)
    }

    /// Buffers in one slot: those of one row must lie where those of the same row lie in the other.
    fn slots_are_apart(&self, touched: &[BufferId], written: &[BufferId], owners: &HashMap<BufferId, Owner>) -> bool {
        let bytes = |buffer: BufferId| match owners.get(&buffer) {
            Some(Owner::Row(own)) => Some(own * crate::emit::bytes_of(self.plan.buffers[buffer.0 as usize].dtype)),
            Some(Owner::Example(_) | Owner::Packed(_)) | None => None,
        };
        let slot = |buffer: BufferId| match &self.plan.buffers[buffer.0 as usize].place {
            Place::Slot(slot) => Some(*slot),
            Place::Param | Place::State | Place::Input { .. } | Place::Blocks | Place::Literal(_) | Place::Table(_) => {
                None
            }
        };
        written.iter().all(|one| {
            slot(*one).is_some()
                && touched
                    .iter()
                    .filter(|other| *other != one && slot(**other) == slot(*one))
                    .all(|other| written.contains(other) && bytes(*one).is_some() && bytes(*one) == bytes(*other))
        })
    }
}

type Stride = fn(usize, &Contraction) -> &Dim;

/// Result and operands with their strides.
fn operands(c: &Contraction) -> [(&Slice, Stride); 3] {
    [(&c.out, |i, c| &c.axes[i].out), (&c.a, |i, c| &c.axes[i].a), (&c.b, |i, c| &c.axes[i].b)]
}

fn note(owners: &mut HashMap<BufferId, Owner>, buffer: BufferId, owner: Owner) -> Option<()> {
    (*owners.entry(buffer).or_insert(owner) == owner).then_some(())
}
