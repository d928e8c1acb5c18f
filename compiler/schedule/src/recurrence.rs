//! Scans and iterations.
//!
//! A scan keeps its carried values in buffers of their own. A tensor of the body that is stacked lies in its place of the stack, which
//! moves with the step; a next value is written over the carried one where nobody needs that any more (see `ends`), and for the others the
//! step ends with copies:
//!
//! ```text
//! copy h = h0;  scan t in 6 { contract s = h * w, then next(s, x, all + 4 * t);  h = all + 4 * t }
//! ```
//!
//! **Examples of different length.** The rows of such a loop are the examples that run, longest first (see `layout`). Carried values
//! and what the body computes lie by rows, one after the other, so that `h * w` is a contraction over those that run; stacks and inputs lie
//! by example, as everywhere. What has finished keeps its carried values, because rows behind `running` are not touched:
//!
//! ```text
//! order o by T;  gather h[r] = h0[o[r]]
//! scan t in T rows running of o { contract s = h * w;  next[r] = .. x[o[r], t] ..;  all[o[r], t] = next[r];  h = next }
//! scatter last[o[r]] = h[r]
//! ```
//!
//! **Iterations.** Which examples are left is data, so their rows change from step to step: carried values lie as in the loop around.
//!
//! Deliberately absent: hoisting and gradients (`bdl_equations`).

use crate::error::Error;
use crate::layout::{Frame, Layout, UNPLACED};
use crate::nodes::{Scheduler, identity_piece};
use crate::rewrite;
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan as plan;
use rustc_hash::FxHashSet as HashSet;

impl Scheduler {
    /// Carried values are buffers; a stacked tensor of the body lives in its slice of the stack. The step ends with copies.
    pub fn scan(&mut self, scan: &eq::Scan) -> Result<(), Error> {
        if self.storage.names_example(&scan.extent) {
            return self.ragged_scan(scan);
        }
        for carried in &scan.carried {
            self.copy(carried.start, carried.inside, &scan.origin)?;
        }
        if scan.ends.is_some() {
            // Steps that are not run leave 0 in the stacks.
            for (_, outside) in &scan.stacks {
                let buffer = self.whole(*outside, &scan.origin)?;
                self.launch(plan::Op::Clear { buffer }, "stack", &scan.origin);
            }
        }
        let mut copied = Vec::new();
        for (inside, outside) in &scan.stacks {
            let slice = self.slice_of_stack(scan, *inside, *outside)?;
            let carried_inside = scan.carried.iter().any(|c| c.inside == *inside);
            let taken = self.storage.layouts[inside.0 as usize].is_some();
            let shape = &self.program.tensors[inside.0 as usize].shape;
            let whole_only = scan.body.iter().any(|n| needs_whole(n, *inside, shape));
            // A row of the loop around lies elsewhere than the example's place in a packed stack.
            let elsewhere = self.storage.depth() > 0 && slice.packed.is_some();
            if carried_inside || taken || whole_only || elsewhere {
                let place = self.temporary("stacked", *inside);
                self.storage.layouts[place.0 as usize] = Some(slice);
                copied.push((*inside, place));
            } else {
                self.storage.layouts[inside.0 as usize] = Some(slice);
            }
        }
        let outside = std::mem::take(&mut self.launches);
        let mut kept: HashSet<eq::TensorId> = scan.stacks.iter().map(|(inside, _)| *inside).collect();
        kept.extend(scan.carried.iter().map(|c| c.next));
        let mut inner = scan.body.clone();
        let until = self.ending(scan, &mut inner);
        kept.extend(until);
        // A carried value may be overwritten by what computes the next one, unless it is wanted after the body: in a stack, or as another's next.
        let after = scan.stacks.iter().map(|(inside, _)| *inside).chain(scan.carried.iter().map(|c| c.next));
        let after: HashSet<eq::TensorId> = after.map(|t| self.storage.view_of(t)).collect();
        let updates = scan.carried.iter().map(|c| (c.inside, c.next)).filter(|(inside, _)| !after.contains(inside));
        let updates: Vec<_> = updates.collect();
        self.steps.push(scan.step.clone());
        let done = self.nodes(inner, &kept, &updates)?;
        self.steps.pop();
        let ends = match (scan.ends, until) {
            (Some(eq::Ends::When { steps, .. }), Some(until)) => {
                let until = self.whole(until, &scan.origin)?;
                Some(plan::Ends::When { until, steps: self.whole(steps, &scan.origin)? })
            }
            (Some(eq::Ends::After(steps)), _) => Some(plan::Ends::After(self.whole(steps, &scan.origin)?)),
            (_, _) => None,
        };
        for (inside, place) in copied {
            self.copy(inside, place, &scan.origin)?;
        }
        self.advance(&scan.carried, &done, &scan.origin)?;
        let body = std::mem::replace(&mut self.launches, outside);
        let (step, extent, reversed) = (scan.step.clone(), scan.extent.clone(), scan.reversed);
        let op = plan::Op::Scan(plan::Scan { step, extent, reversed, running: None, ends, body });
        self.launch(op, "scan", &scan.origin);
        for carried in &scan.carried {
            self.storage.layouts[carried.last.0 as usize] = Some(self.layout(carried.inside));
        }
        Ok(())
    }

    /// The stop condition of a scan that has one, as a value of the body's rows. One from elsewhere is copied.
    fn ending(&mut self, scan: &eq::Scan, body: &mut Vec<eq::Node>) -> Option<eq::TensorId> {
        let Some(eq::Ends::When { until, steps: _ }) = scan.ends else { return None };
        if body.iter().any(|node| node.writes().contains(&until)) {
            return Some(until);
        }
        let here = self.temporary("until", until);
        let shape = self.program.tensors[here.0 as usize].shape.clone();
        let pieces = vec![identity_piece(&shape, until)];
        body.push(eq::Node::Equation(eq::Equation { out: here, pieces, origin: scan.origin.clone() }));
        Some(here)
    }

    fn ragged_scan(&mut self, scan: &eq::Scan) -> Result<(), Error> {
        let around = self.all_rows(&scan.origin)?;
        let running = self.running(&scan.step);
        let op = plan::Op::Order { out: running.order, by: scan.extent.clone() };
        self.launch(op, "longest first", &scan.origin);
        let frame = |count: Dim| Frame { order: running.order, count };
        let mut body = scan.body.clone();
        let mut kept: HashSet<eq::TensorId> = scan.carried.iter().map(|c| c.next).collect();
        let mut places = Vec::new();
        for (inside, outside) in &scan.stacks {
            places.push((*inside, self.slice_of_stack(scan, *inside, *outside)?));
        }
        for carried in &scan.carried {
            self.layout(carried.last);
        }

        self.storage.frames.push(frame(around.clone()));
        for carried in &scan.carried {
            self.copy(carried.start, carried.inside, &scan.origin)?;
        }
        self.storage.frames.pop();

        self.storage.frames.push(frame(Dim::var(running.count.clone())));
        // What is stacked is stored by whoever computes it, also in the stack.
        for (inside, slice) in places {
            let place = self.temporary("stacked", inside);
            self.storage.layouts[place.0 as usize] = Some(slice);
            let shape = self.program.tensors[inside.0 as usize].shape.clone();
            let pieces = vec![identity_piece(&shape, inside)];
            body.push(eq::Node::Equation(eq::Equation { out: place, pieces, origin: scan.origin.clone() }));
            kept.insert(place);
        }
        let outside = std::mem::take(&mut self.launches);
        let updates: Vec<_> = scan.carried.iter().map(|c| (c.inside, c.next)).collect();
        self.steps.push(scan.step.clone());
        let done = self.nodes(body, &kept, &updates)?;
        self.steps.pop();
        self.advance(&scan.carried, &done, &scan.origin)?;
        let body = std::mem::replace(&mut self.launches, outside);
        self.storage.frames.pop();
        let op = plan::Op::Scan(plan::Scan {
            step: scan.step.clone(),
            extent: scan.extent.clone(),
            reversed: scan.reversed,
            running: Some(running.clone()),
            // Each example ends by itself.
            ends: None,
            body,
        });
        self.launch(op, "scan", &scan.origin);

        self.storage.frames.push(frame(around));
        for carried in &scan.carried {
            self.copy(carried.inside, carried.last, &scan.origin)?;
        }
        self.storage.frames.pop();
        Ok(())
    }

    pub fn iterate(&mut self, iterate: &eq::Iterate) -> Result<(), Error> {
        // Carried values first, in the rows of the loop around.
        for carried in &iterate.carried {
            self.copy(carried.start, carried.inside, &iterate.origin)?;
        }
        let by_example = self.program.tensors[iterate.until.0 as usize].shape.len() == 1
            || self.storage.names_example(&iterate.at_most);
        let running = if by_example { Some(self.running(&iterate.step)) } else { None };
        if let Some(running) = &running {
            self.all_rows(&iterate.origin)?;
            self.storage.frames.push(Frame { order: running.order, count: Dim::var(running.count.clone()) });
        }
        let outside = std::mem::take(&mut self.launches);
        self.steps.push(iterate.step.clone());
        let inner = self.steps_of(iterate);
        self.steps.pop();
        let body = std::mem::replace(&mut self.launches, outside);
        if running.is_some() {
            self.storage.frames.pop();
        }
        let (until, condition) = inner?;
        let (step, at_most) = (iterate.step.clone(), iterate.at_most.clone());
        let op = plan::Op::Iterate(plan::Iterate { step, at_most, running, condition, until, body });
        self.launch(op, "iterate", &iterate.origin);
        for carried in &iterate.carried {
            self.storage.layouts[carried.last.0 as usize] = Some(self.layout(carried.inside));
        }
        Ok(())
    }

    /// The stop condition and what computes it; what the body does is left in `launches`.
    fn steps_of(&mut self, iterate: &eq::Iterate) -> Result<(plan::BufferId, Vec<plan::Launch>), Error> {
        let outside: HashSet<eq::TensorId> = iterate.carried.iter().map(|c| c.inside).collect();
        let made = |nodes: &[eq::Node]| nodes.iter().any(|n| n.writes().contains(&iterate.until));
        // Rows of its own, which a condition from elsewhere does not have.
        let mut condition = iterate.condition.clone();
        let mut until = iterate.until;
        if !made(&condition) || outside.contains(&until) {
            until = self.temporary("until", iterate.until);
            let shape = self.program.tensors[until.0 as usize].shape.clone();
            let pieces = vec![identity_piece(&shape, iterate.until)];
            let origin = iterate.origin.clone();
            condition.push(eq::Node::Equation(eq::Equation { out: until, pieces, origin }));
        }
        self.nodes(condition, &HashSet::from_iter([until]), &[])?;
        let until = self.whole(until, &iterate.origin)?;
        let condition = std::mem::take(&mut self.launches);
        // What the body needs of the condition is computed again, for the rows that are left.
        let body: Vec<eq::Node> = iterate.condition.iter().chain(&iterate.body).cloned().collect();
        let kept: HashSet<eq::TensorId> = iterate.carried.iter().map(|c| c.next).collect();
        self.nodes(body, &kept, &[])?;
        self.advance(&iterate.carried, &[], &iterate.origin)?;
        Ok((until, condition))
    }

    /// Makes the next values current. A next value that is another carried value is saved before it is overwritten.
    fn advance(
        &mut self,
        all: &[eq::Carried],
        done: &[(eq::TensorId, eq::TensorId)],
        origin: &eq::Origin,
    ) -> Result<(), Error> {
        let is_carried = |t: eq::TensorId| all.iter().any(|c| c.inside == t);
        let mut next = Vec::new();
        for carried in all.iter().filter(|c| !done.contains(&(c.inside, c.next))) {
            let overwritten = is_carried(carried.next) || done.iter().any(|(_, value)| *value == carried.next);
            let from = if overwritten && carried.next != carried.inside {
                let saved = self.temporary("next", carried.next);
                self.copy(carried.next, saved, origin)?;
                saved
            } else {
                carried.next
            };
            next.push((from, carried.inside));
        }
        for (from, to) in next {
            if from != to {
                self.copy(from, to, origin)?;
            }
        }
        Ok(())
    }

    /// Where the value of this step lies in a stack.
    fn slice_of_stack(
        &mut self,
        scan: &eq::Scan,
        inside: eq::TensorId,
        outside: eq::TensorId,
    ) -> Result<Layout, Error> {
        let mut slice = self.layout(outside);
        let shape = &self.program.tensors[outside.0 as usize].shape;
        let body = &self.program.tensors[inside.0 as usize].shape;
        let axis = (0..shape.len()).find(|axis| {
            let mut without = shape.clone();
            without.remove(*axis);
            shape[*axis] == scan.extent && without == *body
        });
        let Some(axis) = axis else {
            let problem = "a stack has no axis for the steps of its scan".to_string();
            return Err(Error::Malformed { problem, origin: scan.origin.clone() });
        };
        let stride = slice.strides.remove(axis);
        slice.offset = slice.offset + Dim::var(scan.step.clone()) * stride;
        Ok(slice)
    }

    /// A new order and its number of rows, for the loop over this step.
    fn running(&mut self, step: &str) -> plan::Running {
        let batch = self.storage.batch.clone().map_or_else(Dim::one, Dim::var);
        let count: plan::Name = self.storage.fresh(&format!("running_{step}")).into();
        self.storage.sizes.push(plan::SizeName { name: count.clone(), kind: plan::SizeKind::Running });
        let name = format!("order_{step}");
        let order = self.storage.buffer(&name, eq::DType::I32, std::slice::from_ref(&batch), UNPLACED);
        plan::Running { order, count }
    }

    /// The rows of the loop around: those of the examples, outside of loops.
    fn all_rows(&self, origin: &eq::Origin) -> Result<Dim, Error> {
        let Some(batch) = self.storage.batch.clone() else {
            let problem = "a loop over examples in a program without a batch".to_string();
            return Err(Error::Malformed { problem, origin: origin.clone() });
        };
        Ok(self.storage.range_here(&Dim::var(batch)))
    }
}

/// Nodes that work on whole buffers; so do equations whose pieces leave elements out, which are cleared first.
fn needs_whole(node: &eq::Node, out: eq::TensorId, shape: &[Dim]) -> bool {
    match node {
        eq::Node::Equation(equation) => equation.out == out && !rewrite::covered(shape, &equation.pieces),
        eq::Node::Draw(draw) => draw.out == out,
        eq::Node::View(view) => view.out == out || view.input == out,
        eq::Node::Sort(sort) => sort.out == out || sort.input == out,
        eq::Node::Literal(literal) => literal.out == out,
        eq::Node::Library(library) => library.out == out || library.inputs.contains(&out),
        eq::Node::Scan(scan) => {
            scan.ends.and_then(eq::Ends::writes) == Some(out)
                || scan.carried.iter().any(|c| [c.start, c.last].contains(&out))
                || scan.stacks.iter().any(|s| s.1 == out)
        }
        eq::Node::Iterate(iterate) => iterate.carried.iter().any(|c| [c.start, c.last].contains(&out)),
    }
}
