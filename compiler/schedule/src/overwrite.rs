//! Values that overwrite what they are made of.
//!
//! ```text
//! s[b, t, g] = sum x w      later, once for each t:   z[b, t, g] = s[b, t, g] + sum h u      nobody else reads s
//! s and z are one buffer: its elements hold s, then z
//! ```
//!
//! A buffer of its own would be brought to the cache only to be written over, and be memory that nobody needs. What a kernel reads may become what it
//! writes where
//!
//! - nobody touches the old value later, or the new one earlier (what is made outside of a loop and read inside is gone after the step that reads it, so
//!   the addresses must say that each step has elements of its own; what is made in each step of a loop must not be what a step leaves);
//! - all is done in one loop, whose iterations read no elements but those that they write, and before they do.
//!
//! Then both are one parameter of the kernel, which it updates.
//!
//! Deliberately absent: loops that end early or whose rows change, iterations, launches that run in blocks, and the plans of GPUs, whose back end takes
//! kernels apart.

use crate::layout::UNPLACED;
use crate::memory::rename_op;
use bdl_dims::Dim;
use bdl_plan::*;

/// Where a launch stands: its place in the plan, or that of a loop, then its place in the loop's body, and so on. Their order is that of time.
type Moment = Vec<usize>;

/// Joins buffers, in the order of the launches that write the new values.
pub(crate) fn overwrite(plan: &mut Plan) {
    let groups = blocks::groups(plan).unwrap_or_default();
    let passes = passing(plan);
    let mut moments = Vec::new();
    each_moment(&plan.launches, &mut Vec::new(), &mut |moment, _| moments.push(moment.clone()));
    let mut touched = touched(plan);
    for moment in moments {
        if groups.iter().any(|group| group.launches.contains(&moment[0])) {
            continue;
        }
        while let Some(join) = find(plan, &touched, &passes, &moment) {
            apply(plan, &moment, &join);
            let new = std::mem::take(&mut touched[join.new.0 as usize]);
            touched[join.old.0 as usize].extend(new.into_iter().filter(|at| at != &moment));
        }
    }
}

/// Visits the launches, and instead of a loop whose steps are all run those of its body.
fn each_moment<'p>(launches: &'p [Launch], before: &mut Moment, visit: &mut dyn FnMut(&Moment, &'p Launch)) {
    for (at, launch) in launches.iter().enumerate() {
        before.push(at);
        match plain_scan(launch) {
            Some(scan) => each_moment(&scan.body, before, visit),
            None => visit(before, launch),
        }
        before.pop();
    }
}

/// A loop whose steps are all run, for all rows.
fn plain_scan(launch: &Launch) -> Option<&Scan> {
    if let Op::Scan(scan) = &launch.op { Some(scan).filter(|s| s.running.is_none() && s.ends.is_none()) } else { None }
}

fn launch_at<'p>(plan: &'p Plan, moment: &[usize]) -> Option<&'p Launch> {
    let (first, inside) = moment.split_first()?;
    inside.iter().try_fold(plan.launches.get(*first)?, |launch, at| plain_scan(launch)?.body.get(*at))
}

/// When each buffer is touched, in order.
fn touched(plan: &Plan) -> Vec<Vec<Moment>> {
    let mut touched: Vec<Vec<Moment>> = vec![Vec::new(); plan.buffers.len()];
    each_moment(&plan.launches, &mut Vec::new(), &mut |moment, launch| {
        touches(plan, launch, &mut |buffer, _| {
            let all = &mut touched[buffer.0 as usize];
            if all.last() != Some(moment) {
                all.push(moment.clone());
            }
        });
    });
    touched
}

fn launch_at_mut<'p>(plan: &'p mut Plan, moment: &[usize]) -> Option<&'p mut Launch> {
    let (first, inside) = moment.split_first()?;
    inside.iter().try_fold(plan.launches.get_mut(*first)?, |launch, at| {
        if let Op::Scan(scan) = &mut launch.op { scan.body.get_mut(*at) } else { None }
    })
}

/// [`Launch::kernel`], to change it.
fn kernel_of(launch: &mut Launch) -> Option<&mut KernelUse> {
    if matches!(launch.op, Op::Kernel(_)) {
        let Op::Kernel(used) = &mut launch.op else { return None };
        Some(used)
    } else {
        let Op::Contract(contraction) = &mut launch.op else { return None };
        contraction.epilogue.as_mut()
    }
}

/// A buffer that becomes another one, which are parameters of a kernel.
struct Join {
    old: BufferId,
    new: BufferId,
    /// The parameters.
    from: usize,
    to: usize,
}

fn find(plan: &Plan, touched: &[Vec<Moment>], passes: &[bool], moment: &Moment) -> Option<Join> {
    let launch = launch_at(plan, moment)?;
    let used = launch.kernel()?;
    let kernel = plan.kernels.get(used.kernel.0 as usize)?;
    let is_operand = |buffer: BufferId| matches!(&launch.op, Op::Contract(c) if [c.out.buffer, c.a.buffer, c.b.buffer].contains(&buffer));
    let is_own = |buffer: BufferId| {
        let given = used.buffers.iter().filter(|slice| slice.buffer == buffer).count();
        let place = &plan.buffers[buffer.0 as usize].place;
        given == 1 && *place == UNPLACED && !passes[buffer.0 as usize] && !is_operand(buffer)
    };
    let with = |access: fn(Access) -> bool| {
        let all = used.buffers.iter().zip(&kernel.buffers).enumerate();
        all.filter(move |(_, (_, declared))| access(declared.access)).map(|(at, (slice, _))| (at, slice.buffer))
    };
    let olds: Vec<_> = with(|access| access == Access::Read)
        .filter(|(_, old)| {
            let all = &touched[old.0 as usize];
            is_own(*old) && all.last() == Some(moment) && !plan.outputs.iter().any(|(_, out)| out == old)
        })
        .collect();
    let mut news = with(|access| access != Access::Read)
        .filter(|(_, new)| is_own(*new) && touched[new.0 as usize].first() == Some(moment));
    news.find_map(|(to, new)| {
        let same = |old: BufferId| {
            let (old, new) = (&plan.buffers[old.0 as usize], &plan.buffers[new.0 as usize]);
            old.dtype == new.dtype && old.len == new.len
        };
        olds.iter().filter(|(_, old)| same(*old)).find_map(|(from, old)| {
            let stores = each_reads_what_it_writes(kernel, used, *from, to)?;
            // Loops around that the old value is made outside of. In the others each step makes it again, on top of what is not only that step's.
            let is_inside = |buffer: BufferId, depth: usize| {
                touched[buffer.0 as usize].iter().all(|at| at.starts_with(&moment[..depth]))
            };
            let (made_again, crossed): (Vec<usize>, Vec<usize>) =
                (1..moment.len()).partition(|depth| is_inside(*old, *depth));
            let is_output = plan.outputs.iter().any(|(_, out)| *out == new);
            let is_kept = |depth: &usize| is_output || !is_inside(new, *depth);
            let is_free = match crossed.as_slice() {
                _ if made_again.iter().any(is_kept) => false,
                [] => true,
                [depth] => {
                    let scan = plain_scan(launch_at(plan, &moment[..*depth])?)?;
                    steps_are_apart(scan, &stores, &used.buffers[to].offset)
                }
                [_, _, ..] => false,
            };
            is_free.then_some(Join { old: *old, new, from: *from, to })
        })
    })
}

/// An access of a kernel: the bodies around it, which of all statements it is, and where the loops around it end.
struct Found {
    bodies: Vec<usize>,
    order: usize,
    at: Address,
    loops: Vec<(LoopIndex, Option<i64>)>,
}

/// The stores to parameter `to`, if the kernel reads `from` at these addresses alone, in the iterations that store there, before they do.
fn each_reads_what_it_writes(kernel: &Kernel, used: &KernelUse, from: usize, to: usize) -> Option<Vec<Found>> {
    let (mut loads, mut stores) = (Vec::new(), Vec::new());
    let mut walk = Walk { order: 0, bodies: Vec::new(), loops: Vec::new() };
    walk.body(&kernel.body, &mut |is_load, buffer, found| match (is_load, buffer as usize) {
        (true, buffer) if buffer == from => loads.push(found),
        (false, buffer) if buffer == to => stores.push(found),
        (true | false, _) => {}
    });
    let first = stores.first()?;
    let apart = used.buffers[from].offset.clone() - used.buffers[to].offset.clone();
    let together = loads.iter().chain(&stores).all(|found| found.bodies == first.bodies);
    let before = loads.iter().all(|load| stores.iter().all(|store| load.order < store.order));
    let meets = |load: &Found| stores.iter().any(|store| is_same(&load.at, &apart, &store.at));
    (!loads.is_empty() && together && before && loads.iter().all(meets)).then_some(stores)
}

/// Is `a`, so many elements on, the address `b`?
fn is_same(a: &Address, more: &Dim, b: &Address) -> bool {
    let mut terms = (a.terms.clone(), b.terms.clone());
    terms.0.sort_by_key(|(term, _)| *term);
    terms.1.sort_by_key(|(term, _)| *term);
    terms.0 == terms.1 && a.offset.clone() + more.clone() == b.offset
}

struct Walk {
    order: usize,
    bodies: Vec<usize>,
    loops: Vec<(LoopIndex, Option<i64>)>,
}

impl Walk {
    /// Visits loads (`true`) and stores in order.
    fn body(&mut self, body: &[Stmt], visit: &mut dyn FnMut(bool, u32, Found)) {
        self.bodies.push(self.order);
        for statement in body {
            self.order += 1;
            let mut found = |is_load, buffer, at: &Address| {
                let (bodies, loops) = (self.bodies.clone(), self.loops.clone());
                visit(is_load, buffer, Found { bodies, order: self.order, at: at.clone(), loops });
            };
            match statement {
                Stmt::Let { op: ValueOp::Load { buffer, at, .. }, .. } => found(true, *buffer, at),
                Stmt::Store { buffer, at, .. } => found(false, *buffer, at),
                Stmt::Loop { index, from, to, body, .. } => {
                    let extent = match (from, to) {
                        (Bound::Size(from), Bound::Size(to)) if from.is_zero() => to.as_const(),
                        (Bound::Size(_) | Bound::Value(_), _) => None,
                    };
                    self.loops.push((*index, extent));
                    self.body(body, visit);
                    self.loops.pop();
                }
                Stmt::If { body, .. } => self.body(body, visit),
                Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } => {}
            }
        }
        self.bodies.pop();
    }
}

/// Does each step of the loop write elements of its own? `row * R + t * c + inner`, with `inner` below `c` and all steps within `R`, says so.
fn steps_are_apart(scan: &Scan, stores: &[Found], offset: &Dim) -> bool {
    let at_step = |of: &Dim, step: i64| of.substitute(&|name| (*name == *scan.step).then(|| Dim::from(step)));
    let ranges = stores.iter().map(|store| {
        let start = store.at.offset.clone() + offset.clone();
        let [first, second, third] = [0, 1, 2].map(|step| at_step(&start, step));
        let stride = (second.clone() - first.clone()).as_const()?;
        if (third - second).as_const()? != stride || store.at.terms.iter().any(|(_, by)| by.mentions(&scan.step)) {
            return None;
        }
        let (mut row, mut last) = (0, first.as_const()?);
        for (term, by) in &store.at.terms {
            let (AddressTerm::Index(index), Some(by)) = (term, by.as_const()) else { return None };
            if index.0 == 0 {
                row = by;
                continue;
            }
            let (_, extent) = store.loops.iter().find(|(inner, _)| inner == index)?;
            last += by.max(0) * ((*extent)? - 1).max(0);
            if by < 0 {
                return None;
            }
        }
        Some((first.as_const()?, last, stride, row))
    });
    let Some(ranges) = ranges.collect::<Option<Vec<_>>>() else { return false };
    let (Some(first), Some(last)) = (ranges.iter().map(|r| r.0).min(), ranges.iter().map(|r| r.1).max()) else {
        return false;
    };
    let Some(steps) = scan.extent.as_const() else { return false };
    let (_, _, stride, row) = ranges[0];
    let alike = ranges.iter().all(|range| (range.2, range.3) == (stride, row));
    alike && stride > 0 && last - first < stride && (row == 0 || row >= stride.saturating_mul(steps))
}

/// Makes the new buffer the old one, in the kernel and everywhere: its name says what is kept the longest, such as an activation that its gradient
/// overwrites.
fn apply(plan: &mut Plan, moment: &Moment, join: &Join) {
    let Some(used) = launch_at(plan, moment).and_then(Launch::kernel).cloned() else { return };
    let mut uses = 0;
    each_launch(&plan.launches, &mut |launch| {
        uses += usize::from(launch.kernel().is_some_and(|other| other.kernel == used.kernel));
    });
    let apart = used.buffers[join.from].offset.clone() - used.buffers[join.to].offset.clone();
    let mut kernel = plan.kernels[used.kernel.0 as usize].clone();
    let to = (join.to - usize::from(join.from < join.to)) as u32;
    relink(&mut kernel.body, &mut |is_load, buffer, at| {
        if *buffer == join.from as u32 {
            debug_assert!(is_load, "a parameter that is read");
            at.offset = at.offset.clone() + apart.clone();
            *buffer = to;
        } else {
            *buffer -= u32::from(*buffer > join.from as u32);
        }
    });
    kernel.buffers.remove(join.from);
    kernel.buffers[to as usize].access = Access::Update;
    let named = apart.names().into_iter().filter(|name| !kernel.sizes.contains(name)).collect::<Vec<_>>();
    kernel.sizes.extend(named);
    let id = if uses == 1 {
        plan.kernels[used.kernel.0 as usize] = kernel;
        used.kernel
    } else {
        plan.kernels.push(kernel);
        KernelId(plan.kernels.len() as u32 - 1)
    };
    if let Some(used) = launch_at_mut(plan, moment).and_then(kernel_of) {
        used.kernel = id;
        used.buffers.remove(join.from);
    }
    let (old, new) = (join.old, join.new);
    let rename = |buffer: &mut BufferId| *buffer = if *buffer == new { old } else { *buffer };
    plan.outputs.iter_mut().for_each(|(_, buffer)| rename(buffer));
    plan.launches.iter_mut().for_each(|launch| rename_op(&mut launch.op, &rename));
}

/// Visits the parameter and the address of each load (`true`) and store.
fn relink(body: &mut [Stmt], visit: &mut dyn FnMut(bool, &mut u32, &mut Address)) {
    for statement in body {
        match statement {
            Stmt::Let { op: ValueOp::Load { buffer, at, .. }, .. } => visit(true, buffer, at),
            Stmt::Store { buffer, at, .. } => visit(false, buffer, at),
            Stmt::Loop { body, .. } | Stmt::If { body, .. } => relink(body, visit),
            Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } => {}
        }
    }
}
