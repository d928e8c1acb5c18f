//! Which products run together, block by block, so that what passes between them is never in memory as a whole.
//!
//! ```text
//! p = softmax(q k)      then, somewhere, o = p v            p is larger than q, k, v and o: its rows go to o while they are in the cache
//! ```
//!
//! The groups are found from the launches as they stand: for a result that is large beside what it is made of, all that touch it are brought next to each
//! other, as far as nothing between them stands in the way, and the plan's own rule ([`group`]) says whether they are one. Other large results of the
//! same launches join.
//!
//! Deliberately absent: how many rows a block has, and who takes it. The executor knows the numbers.

use crate::layout::UNPLACED;
use crate::memory::typical;
use bdl_dims::Dim;
use bdl_plan::blocks::group;
use bdl_plan::*;

/// Smaller results stay in the cache anyway.
const LEAST_ELEMENTS: i64 = 1 << 20;
/// A launch is brought over this many others at most.
const FAR: usize = 64;

/// Puts buffers in blocks, and the launches that touch them next to each other.
pub(crate) fn in_blocks(plan: &mut Plan) {
    let mut order: Vec<usize> = (0..plan.launches.len()).collect();
    let mut found = Vec::new();
    {
        let list = Touched::of(plan);
        for first in 0..plan.launches.len() {
            let Some(buffer) = candidate(plan, &plan.launches[first]) else { continue };
            if found.contains(&buffer) || !list.of_buffer(buffer).starts_with(&[first]) {
                continue;
            }
            // By itself, or with the result of a product whose epilogue reads it.
            let results = || list.of_buffer(buffer).iter().filter_map(|at| candidate(plan, &plan.launches[*at]));
            let pairs = results().filter(|other| *other != buffer).map(|other| vec![buffer, other]);
            let mut begin = std::iter::once(vec![buffer]).chain(pairs);
            let start = begin.find_map(|buffers| Some((list.together(plan, &mut order, &buffers, &found)?, buffers)));
            let Some((mut members, mut buffers)) = start else { continue };
            // Whatever else of their results can.
            let mut at = 0;
            while at < members.len() {
                let more = candidate(plan, &plan.launches[members[at]]).filter(|buffer| !buffers.contains(buffer));
                at += 1;
                let Some(more) = more else { continue };
                buffers.push(more);
                match list.together(plan, &mut order, &buffers, &found) {
                    Some(grown) => (members, at) = (grown, 0),
                    None => {
                        buffers.pop();
                    }
                }
            }
            found.extend(buffers);
        }
    }
    if found.is_empty() {
        return;
    }
    found.iter().for_each(|buffer| plan.buffers[buffer.0 as usize].place = Place::Blocks);
    let mut launches: Vec<Option<Launch>> = std::mem::take(&mut plan.launches).into_iter().map(Some).collect();
    plan.launches = order.iter().filter_map(|at| launches[*at].take()).collect();
}

/// The result of a launch, if it is worth a group: larger than what it is a product of.
fn candidate(plan: &Plan, launch: &Launch) -> Option<BufferId> {
    let Op::Contract(c) = &launch.op else { return None };
    let is_output = plan.outputs.iter().any(|(_, buffer)| *buffer == c.out.buffer);
    let size = |role: &dyn Fn(AxisRole) -> bool| -> i64 {
        typical(&c.axes.iter().filter(|axis| role(axis.role)).map(|axis| axis.extent.clone()).product::<Dim>())
    };
    let result = size(&|role| role != AxisRole::K);
    let left = size(&|role| role != AxisRole::N);
    let right = size(&|role| role != AxisRole::M);
    let is_wide = result >= left.saturating_add(right);
    let is_free = plan.buffers[c.out.buffer.0 as usize].place == UNPLACED && !is_output;
    (is_free && is_wide && result >= LEAST_ELEMENTS).then_some(c.out.buffer)
}

/// What each launch touches: `(buffer, writes)`.
struct Touched {
    by_launch: Vec<Vec<(BufferId, bool)>>,
    by_buffer: Vec<Vec<usize>>,
}

impl Touched {
    fn of(plan: &Plan) -> Touched {
        let mut all = Touched { by_launch: Vec::new(), by_buffer: vec![Vec::new(); plan.buffers.len()] };
        for (at, launch) in plan.launches.iter().enumerate() {
            let mut here = Vec::new();
            touches(plan, launch, &mut |buffer, writes| {
                here.push((buffer, writes));
                let list = &mut all.by_buffer[buffer.0 as usize];
                if list.last() != Some(&at) {
                    list.push(at);
                }
            });
            all.by_launch.push(here);
        }
        all
    }

    fn of_buffer(&self, buffer: BufferId) -> &[usize] {
        &self.by_buffer[buffer.0 as usize]
    }

    /// Must two launches stay in their order?
    fn meet(&self, one: usize, other: usize) -> bool {
        self.by_launch[one]
            .iter()
            .any(|(buffer, writes)| self.by_launch[other].iter().any(|(b, w)| b == buffer && (*writes || *w)))
    }

    /// All launches that touch the buffers, brought together in `order`, if they are a group then. `taken`: buffers of other groups.
    fn together(
        &self,
        plan: &Plan,
        order: &mut Vec<usize>,
        buffers: &[BufferId],
        taken: &[BufferId],
    ) -> Option<Vec<usize>> {
        let is_member = |at: &usize| buffers.iter().any(|buffer| self.of_buffer(*buffer).contains(at));
        let is_taken = |at: usize| self.by_launch[at].iter().any(|(buffer, _)| taken.contains(buffer));
        let from = order.iter().position(is_member)?;
        let to = order.iter().rposition(is_member)?;
        let count = order[from..=to].iter().filter(|at| is_member(at)).count();
        if to + 1 - from > count + FAR || count < 2 {
            return None;
        }
        // What stands between them goes before them, if nothing keeps it from it, or else behind.
        let (mut before, mut members, mut behind) = (Vec::new(), Vec::new(), Vec::new());
        let meets_any = |list: &[usize], at: usize| list.iter().any(|other| self.meet(*other, at));
        for at in &order[from..=to] {
            if !is_member(at) {
                let stays = meets_any(&members, *at) || meets_any(&behind, *at);
                (if stays { &mut behind } else { &mut before }).push(*at);
            } else if is_taken(*at) || meets_any(&behind, *at) {
                return None;
            } else {
                members.push(*at);
            }
        }
        let launches: Vec<&Launch> = members.iter().map(|at| &plan.launches[*at]).collect();
        group(plan, &launches, buffers).ok()?;
        order.splice(from..=to, before.iter().chain(&members).chain(&behind).copied());
        Some(members)
    }
}
