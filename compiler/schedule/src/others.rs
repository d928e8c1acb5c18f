//! Nodes that are not equations, as launches: draws, views, sorts, library calls and scans.
//!
//! A scan keeps its carried values in buffers of their own. A tensor of the body that is stacked lies in its place of the stack, which
//! moves with the step; the step ends with copies that make the next values current:
//!
//! ```text
//! copy h = h0;  scan t in 6 { contract s = h * w, then next(s, x, all + 4 * t);  h = all + 4 * t }
//! ```

use crate::error::Error;
use crate::nodes::Scheduler;
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan as plan;
use std::collections::HashSet;

impl Scheduler {
    pub fn draw(&mut self, draw: &eq::Draw) -> Result<(), Error> {
        let out = self.whole(draw.out, &draw.origin)?;
        let shape = &self.program.tensors[draw.out.0 as usize].shape;
        let per_example = match shape.split_first() {
            Some((first, rest)) if self.storage.is_batch(first) => Some(rest.iter().cloned().product()),
            Some(_) | None => None,
        };
        let distribution = match draw.distribution {
            eq::Distribution::Normal => plan::Distribution::Normal,
            eq::Distribution::Uniform => plan::Distribution::Uniform,
        };
        let op = plan::Op::Draw(plan::Draw { out, distribution, site: draw.site, per_example });
        self.launch(op, "draw", &draw.origin);
        Ok(())
    }

    pub fn view(&mut self, view: &eq::View) -> Result<(), Error> {
        if self.storage.alias(&self.program, view.out, view.input)? {
            return Ok(());
        }
        Err(Error::NotBuilt {
            construct: "a reshape that moves an axis of per-example length".to_string(),
            origin: view.origin.clone(),
        })
    }

    pub fn sort(&mut self, sort: &eq::Sort) -> Result<(), Error> {
        let (out, input) = (self.whole(sort.out, &sort.origin)?, self.whole(sort.input, &sort.origin)?);
        let shape = self.program.tensors[sort.input.0 as usize].shape.clone();
        let Some((columns, rest)) = shape.split_last() else {
            return Err(Error::Malformed { problem: "a sort of a scalar".to_string(), origin: sort.origin.clone() });
        };
        if self.storage.names_example(columns) {
            let construct = "a sort along an axis of per-example length".to_string();
            return Err(Error::NotBuilt { construct, origin: sort.origin.clone() });
        }
        let rows = self.storage.elements(rest);
        let op = plan::Op::Sort(plan::Sort { out, input, rows, columns: columns.clone(), descending: sort.descending });
        self.launch(op, "sort", &sort.origin);
        Ok(())
    }

    pub fn library(&mut self, library: &eq::Library) -> Result<(), Error> {
        let out = self.whole(library.out, &library.origin)?;
        let mut inputs = Vec::new();
        for input in &library.inputs {
            inputs.push(self.whole(*input, &library.origin)?);
        }
        // The array counts as a matrix of its first axis by all others.
        let shape = &self.program.tensors[library.out.0 as usize].shape;
        if shape.first().is_some_and(|d| self.storage.is_batch(d)) {
            let construct = "a library call for each example".to_string();
            return Err(Error::NotBuilt { construct, origin: library.origin.clone() });
        }
        let (rows, columns) = match shape.split_first() {
            None => (Dim::one(), Dim::one()),
            Some((first, rest)) => (first.clone(), rest.iter().cloned().product()),
        };
        let routine = match library.routine {
            eq::Routine::Orthogonal => plan::Routine::Orthogonal,
        };
        self.launch(plan::Op::Library { routine, out, inputs, rows, columns }, "library call", &library.origin);
        Ok(())
    }

    // -------------------------------------------------------------------------------------------- scans

    /// Carried values are buffers; a stacked tensor of the body lives in its slice of the stack. The step ends with copies.
    pub fn scan(&mut self, scan: &eq::Scan) -> Result<(), Error> {
        if self.storage.names_example(&scan.extent) {
            return Err(Error::NotBuilt {
                construct: "a `scan` over a length that differs from example to example".to_string(),
                origin: scan.origin.clone(),
            });
        }
        for carried in &scan.carried {
            self.copy(carried.start, carried.inside, &scan.origin)?;
        }
        let carried_inside = |t: eq::TensorId| scan.carried.iter().any(|c| c.inside == t);
        let mut copied = Vec::new();
        for (inside, outside) in &scan.stacks {
            let stack = self.layout(*outside);
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
            let mut slice = stack.clone();
            let stride = slice.strides.remove(axis);
            slice.offset = slice.offset + Dim::var(scan.step.clone()) * stride;
            let taken = self.storage.layouts[inside.0 as usize].is_some();
            let whole_only = scan.body.iter().any(|n| needs_whole(n, *inside));
            if carried_inside(*inside) || taken || whole_only {
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
        self.nodes(&scan.body, &kept, &[])?;
        for (inside, place) in copied {
            self.copy(inside, place, &scan.origin)?;
        }
        // A next value that is another carried value is saved before it is overwritten.
        let mut next = Vec::new();
        for carried in &scan.carried {
            let from = if carried_inside(carried.next) && carried.next != carried.inside {
                let saved = self.temporary("next", carried.next);
                self.copy(carried.next, saved, &scan.origin)?;
                saved
            } else {
                carried.next
            };
            next.push((from, carried.inside));
        }
        for (from, to) in next {
            if from != to {
                self.copy(from, to, &scan.origin)?;
            }
        }
        let body = std::mem::replace(&mut self.launches, outside);
        let op = plan::Op::Scan(plan::Scan {
            step: scan.step.clone(),
            extent: scan.extent.clone(),
            reversed: scan.reversed,
            body,
        });
        self.launch(op, "scan", &scan.origin);
        for carried in &scan.carried {
            self.storage.layouts[carried.last.0 as usize] = Some(self.layout(carried.inside));
        }
        Ok(())
    }
}

/// Nodes that work on whole buffers.
fn needs_whole(node: &eq::Node, out: eq::TensorId) -> bool {
    match node {
        eq::Node::Equation(_) => false,
        eq::Node::Draw(draw) => draw.out == out,
        eq::Node::View(view) => view.out == out || view.input == out,
        eq::Node::Sort(sort) => sort.out == out || sort.input == out,
        eq::Node::Literal(literal) => literal.out == out,
        eq::Node::Library(library) => library.out == out || library.inputs.contains(&out),
        eq::Node::Scan(scan) => {
            scan.carried.iter().any(|c| [c.start, c.last].contains(&out)) || scan.stacks.iter().any(|s| s.1 == out)
        }
        eq::Node::Iterate(_) => true,
    }
}
