//! Matrices that are never in memory as a whole.
//!
//! ```text
//! p[b, h, i, j] = sum e: q[b, i, h, e] * k[b, j, h, e]   then softmax       for each b, h, and for every so many rows i:
//! o[b, i, h, e] = sum j: p[b, h, i, j] * v[b, j, h, e]                        these rows of p, then those of o
//! ```
//!
//! A buffer in [`Place::Blocks`] is the result of a product, a row-major matrix for each of the outer axes, and only products that stand next to
//! each other touch it. They are a *group*: an executor runs all of them for some rows of one matrix, then for the next rows, and has memory for
//! these rows alone. [`groups`] finds them and says why something is none.
//!
//! What must hold, so that it makes no difference: every product of the group goes through the matrices and through their rows, along one axis each
//! (rows may be summed, then the blocks' sums are added in order); what it reads and writes of the buffers in blocks, its epilogue included, belongs
//! to the row at hand; and what else a product of the group writes, no other one of it touches.

use crate::data::*;
use crate::touches::touches;
use bdl_dims::Dim;
use std::ops::Range;

/// Buffers of a group that are in blocks at most.
pub const MOST_BUFFERS: usize = 4;

/// Products that run together, block by block.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// In the plan's list.
    pub launches: Range<usize>,
    /// Extents of the axes of the matrices, outermost first, and of their rows.
    pub matrices: Vec<Dim>,
    pub rows: Dim,
    /// The buffers in blocks, and elements of a row of each.
    pub buffers: Vec<(BufferId, Dim)>,
    /// For each launch, its axes.
    pub members: Vec<Member>,
}

/// Positions of axes of a product of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub matrices: Vec<usize>,
    pub rows: usize,
}

/// The groups of a plan in order, or what is wrong with a buffer in blocks.
pub fn groups(plan: &Plan) -> Result<Vec<Group>, String> {
    let in_blocks: Vec<bool> = plan.buffers.iter().map(|buffer| buffer.place == Place::Blocks).collect();
    if !in_blocks.contains(&true) {
        return Ok(Vec::new());
    }
    if let Some((name, _)) = plan.outputs.iter().find(|(_, buffer)| in_blocks.get(buffer.0 as usize) == Some(&true)) {
        return Err(format!("the output `{name}` is in blocks"));
    }
    let touched: Vec<Vec<BufferId>> =
        plan.launches.iter().map(|launch| in_blocks_of(plan, launch, &in_blocks)).collect();
    let last = |buffer: BufferId| touched.iter().rposition(|list| list.contains(&buffer));
    let mut found = Vec::new();
    let mut at = 0;
    while at < touched.len() {
        if touched[at].is_empty() {
            at += 1;
            continue;
        }
        let (mut end, mut next) = (at + 1, at);
        let mut buffers: Vec<BufferId> = Vec::new();
        while next < end {
            for buffer in &touched[next] {
                if !buffers.contains(buffer) {
                    buffers.push(*buffer);
                    end = end.max(last(*buffer).map_or(0, |last| last + 1));
                }
            }
            next += 1;
        }
        let members: Vec<&Launch> = plan.launches[at..end].iter().collect();
        let mut group = group(plan, &members, &buffers)?;
        group.launches = at..end;
        found.push(group);
        at = end;
    }
    Ok(found)
}

fn in_blocks_of(plan: &Plan, launch: &Launch, in_blocks: &[bool]) -> Vec<BufferId> {
    let mut found = Vec::new();
    touches(plan, launch, &mut |buffer, _| {
        if in_blocks.get(buffer.0 as usize) == Some(&true) && !found.contains(&buffer) {
            found.push(buffer);
        }
    });
    found
}

/// These launches as a group with these buffers in blocks, wherever the launches stand, or why they are none. It is the caller's to know that no
/// other launch touches the buffers.
pub fn group(plan: &Plan, members: &[&Launch], buffers: &[BufferId]) -> Result<Group, String> {
    if buffers.len() > MOST_BUFFERS {
        return Err(format!("more than {MOST_BUFFERS} buffers in blocks pass between the same products"));
    }
    let name = |buffer: BufferId| plan.buffers.get(buffer.0 as usize).map_or("", |b| &b.name);
    let mut group: Option<Group> = None;
    let mut written: Vec<(BufferId, usize)> = Vec::new();
    for (at, launch) in members.iter().enumerate() {
        let Op::Contract(c) = &launch.op else {
            return Err(format!("`{}` stands between products in blocks", launch.origin.what));
        };
        let wrong = |what: &str| Err(format!("`{}` is a product in blocks {what}", name(c.out.buffer)));
        if c.algorithm != Algorithm::AsWritten {
            return wrong("by another algorithm");
        }
        if !c.clips.is_empty() || c.accumulate || c.axes.iter().any(|axis| axis.offsets.is_some()) {
            return wrong("with clips, examples of different length, or a result that is added to");
        }
        if [c.a.buffer, c.b.buffer].contains(&c.out.buffer) {
            return wrong("that writes what it reads");
        }
        if buffers.contains(&c.out.buffer) {
            let Some((matrices, rows, columns)) = matrices(c) else {
                return wrong("whose result is no matrix for each of its outer axes");
            };
            let group = group.get_or_insert_with(|| Group {
                launches: 0..0,
                matrices: matrices.clone(),
                rows: rows.clone(),
                buffers: Vec::new(),
                members: Vec::new(),
            });
            if group.matrices != matrices || group.rows != rows || group.buffers.iter().any(|(b, _)| *b == c.out.buffer)
            {
                return wrong("that has other rows than the group's, or a second one with this result");
            }
            group.buffers.push((c.out.buffer, columns));
        }
        let Some(group) = &mut group else { return wrong("before any result in blocks") };
        let member = member(c, group)?;
        if let Some(epilogue) = &c.epilogue
            && !follows_rows(plan, c, epilogue, group, &member)
        {
            return wrong("whose epilogue is not of the rows at hand");
        }
        group.members.push(member);
        let mut second = None;
        touches(plan, launch, &mut |buffer, writes| {
            if writes && !buffers.contains(&buffer) && !written.contains(&(buffer, at)) {
                written.push((buffer, at));
            }
            // The one that computes it comes first, and its epilogue alone may change it.
            let is_there = group.buffers.iter().any(|(b, _)| *b == buffer);
            if buffers.contains(&buffer) && (!is_there || writes && buffer != c.out.buffer) {
                second = Some(buffer);
            }
        });
        if let Some(buffer) = second {
            return Err(format!("`{}` is touched by `{}` as no block is", name(buffer), launch.origin.what));
        }
    }
    // What one writes no other touches, not even in the same place.
    let slot = |buffer: BufferId| match plan.buffers.get(buffer.0 as usize).map(|b| &b.place) {
        Some(Place::Slot(slot)) if (slot.0 as usize) < plan.slots.len() => Some(*slot),
        Some(_) | None => None,
    };
    for (at, launch) in members.iter().enumerate() {
        let mut clash = None;
        touches(plan, launch, &mut |buffer, _| {
            let same = |other: BufferId| other == buffer || slot(other).is_some() && slot(other) == slot(buffer);
            let from_other = |(other, by): &&(BufferId, usize)| same(*other) && (*by != at || *other != buffer);
            clash = clash.or(written.iter().find(from_other).map(|(other, _)| (*other, buffer)));
        });
        if let Some((one, other)) = clash {
            return Err(format!("`{}` and `{}` meet in a group of products in blocks", name(one), name(other)));
        }
    }
    group.ok_or_else(|| "no product in blocks".to_string())
}

/// The axes of the result's matrices, its rows and the elements of one, where it is a row-major matrix for each batch axis.
fn matrices(c: &Contraction) -> Option<(Vec<Dim>, Dim, Dim)> {
    let is = |role: AxisRole| move |axis: &&ContractionAxis| axis.role == role;
    let mut rows = c.axes.iter().filter(is(AxisRole::M));
    let row = rows.next().filter(|_| rows.next().is_none() && crate::passing::has_plain_rows(c))?;
    let outer: Vec<Dim> = c.axes.iter().filter(is(AxisRole::Batch)).map(|axis| axis.extent.clone()).collect();
    let before_rows = c.axes.iter().take_while(|axis| axis.role != AxisRole::M).filter(is(AxisRole::Batch)).count();
    let columns = c.axes.iter().filter(is(AxisRole::N)).map(|axis| axis.extent.clone()).product();
    (!outer.is_empty() && before_rows == outer.len()).then_some((outer, row.extent.clone(), columns))
}

/// The axes along which a product goes through the group's matrices and rows.
fn member(c: &Contraction, group: &Group) -> Result<Member, String> {
    let wrong = || format!("a product in blocks reads or writes other rows than those at hand ({} axes)", c.axes.len());
    let steps: [(&Slice, fn(&ContractionAxis) -> &Dim); 3] =
        [(&c.out, |axis| &axis.out), (&c.a, |axis| &axis.a), (&c.b, |axis| &axis.b)];
    let mut found: Option<Member> = None;
    for (slice, step) in steps {
        let Some((_, columns)) = group.buffers.iter().find(|(buffer, _)| *buffer == slice.buffer) else { continue };
        let mut used: Vec<usize> = Vec::new();
        let axis = |stride: &Dim, extent: &Dim, used: &mut Vec<usize>| {
            let fits = |(at, axis): &(usize, &ContractionAxis)| {
                !used.contains(at) && step(axis) == stride && axis.extent == *extent
            };
            let at = c.axes.iter().enumerate().find(fits).map(|(at, _)| at)?;
            used.push(at);
            Some(at)
        };
        let mut stride = columns.clone() * group.rows.clone();
        let mut outer = Vec::new();
        for extent in group.matrices.iter().rev() {
            outer.push(axis(&stride, extent, &mut used).ok_or_else(wrong)?);
            stride = stride * extent.clone();
        }
        outer.reverse();
        let rows = axis(columns, &group.rows, &mut used).ok_or_else(wrong)?;
        // What is left goes along the row, from its first element on.
        let mut inside = Dim::one();
        for (at, axis) in c.axes.iter().enumerate().rev() {
            if !used.contains(&at) && !step(axis).is_zero() {
                if *step(axis) != inside {
                    return Err(wrong());
                }
                inside = inside * axis.extent.clone();
            }
        }
        if inside != *columns || !slice.offset.is_zero() || outer.iter().any(|at| c.axes[*at].role != AxisRole::Batch) {
            return Err(wrong());
        }
        let member = Member { matrices: outer, rows };
        if found.as_ref().is_some_and(|found| *found != member) {
            return Err(wrong());
        }
        found = Some(member);
    }
    found.ok_or_else(wrong)
}

/// Do the rows of the epilogue's grid follow one another as those of the group do, and does it touch of each buffer in blocks the row at hand?
fn follows_rows(plan: &Plan, c: &Contraction, epilogue: &KernelUse, group: &Group, member: &Member) -> bool {
    let Some(kernel) = plan.kernels.get(epilogue.kernel.0 as usize) else { return false };
    let rows = c.axes.iter().enumerate().filter(|(_, axis)| matches!(axis.role, AxisRole::Batch | AxisRole::M));
    let order = member.matrices.iter().copied().chain([member.rows]);
    if !rows.map(|(at, _)| at).eq(order) {
        return false;
    }
    epilogue.buffers.iter().enumerate().all(|(at, slice)| {
        let of_group = group.buffers.iter().find(|(buffer, _)| *buffer == slice.buffer);
        of_group.is_none_or(|(_, columns)| slice.offset.is_zero() && keeps_to_rows(kernel, at as u32, columns))
    })
}

/// Is every element of the buffer that an iteration of the grid touches in the row of its number?
fn keeps_to_rows(kernel: &Kernel, buffer: u32, columns: &Dim) -> bool {
    let Some(columns) = columns.as_const() else { return false };
    let mut extents: Vec<Option<i64>> = vec![None; kernel.indices.len()];
    let mut addresses = Vec::new();
    look(&kernel.body, buffer, &mut extents, &mut addresses);
    addresses.iter().all(|at| {
        let Some(mut last) = at.offset.as_const().filter(|offset| *offset >= 0) else { return false };
        let mut along_grid = 0;
        for (term, stride) in &at.terms {
            let Some(stride) = stride.as_const() else { return false };
            match term {
                AddressTerm::Index(LoopIndex(0)) => along_grid += stride,
                AddressTerm::Index(index) => match extents.get(index.0 as usize) {
                    Some(Some(extent)) if stride >= 0 => last += stride * (extent - 1).max(0),
                    Some(_) | None => return false,
                },
                AddressTerm::Value(_) => return false,
            }
        }
        along_grid == columns && last < columns
    })
}

fn look<'k>(stmts: &'k [Stmt], of: u32, extents: &mut Vec<Option<i64>>, addresses: &mut Vec<&'k Address>) {
    for stmt in stmts {
        match stmt {
            Stmt::Loop { index, from, to, body, .. } => {
                if let (Some(known), Bound::Size(from), Bound::Size(to)) = (extents.get_mut(index.0 as usize), from, to)
                {
                    *known = to.as_const().filter(|_| from.is_zero());
                }
                look(body, of, extents, addresses);
            }
            Stmt::If { body, .. } => look(body, of, extents, addresses),
            Stmt::Let { op: ValueOp::Load { buffer, at, .. }, .. } | Stmt::Store { buffer, at, .. } => {
                if *buffer == of {
                    addresses.push(at);
                }
            }
            Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{parse_plan, verify};

    const PLAN: &str = "plan p
size B batch
slot 256 * B
slot 2048 * B
slot 2048 * B
buffer q: f32[B, 64, 8] len 512 * B; input per_example
buffer k: f32[B, 64, 8] len 512 * B; input per_example
buffer p: f32[B, 64, 64] len 4096 * B; blocks
buffer m: f32[B, 64] len 64 * B; slot 0
buffer o: f32[B, 64, 8] len 512 * B; slot 1
buffer g: f32[B, 64, 8] len 512 * B; slot 2
output o = o
output g = g

kernel double(p: f32 update, m: f32 write) sizes(B) indices(row, j) {
  for row in 64 * B {
    %0: f32 = const 2.0
    for j in 0..64 lanes {
      %1: f32 = load p[row * 64 + j]
      %2: f32 = mul %1, %0
      store p[row * 64 + j] = %2
    }
    store m[row] = %0
  }
}

contract p = q * k {
  batch b: B (out 4096, a 512, b 512)
  m i: 64 (out 64, a 8, b 0)
  n j: 64 (out 1, a 0, b 8)
  k e: 8 (out 0, a 1, b 1)
  then double(p, m)
} at \"scores\" 0 0 0
contract o = p * k {
  batch b: B (out 512, a 4096, b 512)
  m i: 64 (out 8, a 64, b 0)
  n e: 8 (out 1, a 0, b 1)
  k j: 64 (out 0, a 1, b 8)
} at \"mean\" 0 0 0
contract g = p * q {
  batch b: B (out 512, a 4096, b 512)
  m j: 64 (out 8, a 1, b 0)
  n e: 8 (out 1, a 0, b 1)
  k i: 64 (out 0, a 64, b 8)
} at \"gradient\" 0 0 0
";

    #[test]
    fn products_next_to_each_other_are_a_group() {
        let plan = parse_plan(PLAN).unwrap();
        verify(&plan).unwrap();
        assert_eq!(parse_plan(&plan.to_string()).unwrap(), plan);
        let groups = super::groups(&plan).unwrap();
        assert_eq!(groups.len(), 1);
        assert_eq!((groups[0].launches.clone(), groups[0].rows.to_string()), (0..3, "64".to_string()));
        assert_eq!(groups[0].members.iter().map(|m| m.rows).collect::<Vec<_>>(), [1, 1, 3]);
    }

    #[test]
    fn what_is_no_group_is_told() {
        let told = |from: &str, to: &str| {
            assert!(PLAN.contains(from), "{from}");
            let plan = parse_plan(&PLAN.replace(from, to)).unwrap_or_else(|e| panic!("{e}"));
            let error = verify(&plan).unwrap_err();
            assert_eq!(error.place, "buffers in blocks");
            error.what
        };
        assert!(told("output g = g", "output p = p").contains("is in blocks"));
        assert!(told("contract g = p * q", "contract g = p * o").contains("`o` and `o` meet"));
        assert!(told("len 512 * B; slot 2", "len 512 * B; slot 1").contains("meet in a group"));
        assert!(
            told("contract o = p * k", "run double(p, m) at \"again\" 0 0 0\ncontract o = p * k")
                .contains("stands between")
        );
        assert!(told("store p[row * 64 + j]", "store p[row * 64 + j + 1]").contains("epilogue"));
        assert!(told("m i: 64 (out 8, a 64, b 0)", "m i: 64 (out 8, a 65, b 0)").contains("other rows"));
        assert!(told("m i: 64 (out 8, a 64, b 0)", "m i: 32 (out 8, a 64, b 0)").contains("other rows"));
    }
}
