//! Each node of a program as launches, in order; then updates, outputs and memory.

use crate::error::Error;
use crate::kernels::Kernels;
use crate::layout::{Layout, Storage, UNPLACED};
use crate::{Options, Real, contraction, loops, memory};
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan as plan;

pub(crate) fn plan(program: &eq::Program, options: &Options) -> Result<plan::Plan, Error> {
    let real = match options.real {
        Real::F32 => plan::DType::F32,
        Real::F64 => plan::DType::F64,
    };
    let program = program.clone();
    let storage = Storage::new(&program, real);
    let mut scheduler = Scheduler { program, storage, kernels: Kernels::default(), launches: Vec::new() };
    let nodes = scheduler.program.nodes.clone();
    scheduler.nodes(&nodes)?;
    scheduler.updates()?;
    let outputs = scheduler.outputs()?;
    let mut plan = plan::Plan {
        name: scheduler.program.name.clone(),
        sizes: scheduler.storage.sizes,
        buffers: scheduler.storage.buffers,
        slots: Vec::new(),
        kernels: scheduler.kernels.list,
        launches: scheduler.launches,
        outputs,
    };
    memory::place(&mut plan);
    Ok(plan)
}

struct Scheduler {
    program: eq::Program,
    storage: Storage,
    kernels: Kernels,
    launches: Vec<plan::Launch>,
}

impl Scheduler {
    fn layout(&mut self, tensor: eq::TensorId) -> Layout {
        self.storage.place(&self.program, tensor).clone()
    }

    fn launch(&mut self, op: plan::Op, what: &str, origin: &eq::Origin) {
        let what = origin.what.clone().unwrap_or_else(|| what.into());
        let origin = plan::Origin { what, file: origin.file, start: origin.start, end: origin.end };
        self.launches.push(plan::Launch { op, origin });
    }

    fn nodes(&mut self, nodes: &[eq::Node]) -> Result<(), Error> {
        for node in nodes {
            self.node(node)?;
        }
        Ok(())
    }

    fn node(&mut self, node: &eq::Node) -> Result<(), Error> {
        match node {
            eq::Node::Equation(equation) => self.equation(equation),
            eq::Node::Scan(scan) => self.scan(scan),
            eq::Node::Iterate(iterate) => {
                Err(Error::NotBuilt { construct: "`iterate`".to_string(), origin: iterate.origin.clone() })
            }
            eq::Node::Draw(draw) => self.draw(draw),
            eq::Node::View(view) => self.view(view),
            eq::Node::Sort(sort) => self.sort(sort),
            eq::Node::Literal(literal) => {
                let t = &self.program.tensors[literal.out.0 as usize];
                let place = plan::Place::Literal(literal.values.clone().into());
                let buffer = self.storage.buffer(&t.name, t.dtype, &t.shape, place);
                let layout = self.storage.row_major(&t.shape, buffer, Dim::zero());
                self.storage.layouts[literal.out.0 as usize] = Some(layout);
                Ok(())
            }
            eq::Node::Library(library) => self.library(library),
        }
    }

    fn equation(&mut self, equation: &eq::Equation) -> Result<(), Error> {
        let tensor = self.program.tensors[equation.out.0 as usize].clone();
        if !covered(&tensor.shape, &equation.pieces) {
            let buffer = self.whole(equation.out, &equation.origin)?;
            self.launch(plan::Op::Clear { buffer }, &tensor.name, &equation.origin);
        }
        for piece in &equation.pieces {
            self.piece(equation.out, piece, &equation.origin)?;
        }
        Ok(())
    }

    fn piece(&mut self, out: eq::TensorId, piece: &eq::Piece, origin: &eq::Origin) -> Result<(), Error> {
        if let Some(mut found) = contraction::recognise(&self.program, &mut self.storage, out, piece) {
            if let Some(repack) = contraction::repack(piece, &found) {
                let source = self.program.tensors[repack.source.0 as usize].clone();
                let copy = self.temporary(&format!("{}_repacked", source.name), repack.source);
                self.program.tensors[copy.0 as usize].shape = repack.shape;
                self.piece(copy, &repack.copy, origin)?;
                let body = repack.piece.body.map_reads(&mut |mut read| {
                    if read.tensor == contraction::COPY {
                        read.tensor = copy;
                    }
                    eq::Expr::Read(read)
                });
                let piece = eq::Piece { body, ..repack.piece };
                if let Some(again) = contraction::recognise(&self.program, &mut self.storage, out, &piece) {
                    found = again;
                }
            }
            let name = self.program.tensors[out.0 as usize].name.clone();
            self.launch(plan::Op::Contract(found.to_plan()), &name, origin);
            return Ok(());
        }
        let (kernel, buffers) = loops::piece_kernel(&self.program, &mut self.storage, out, piece, origin)?;
        let kernel = self.kernels.add(kernel);
        let name = self.program.tensors[out.0 as usize].name.clone();
        self.launch(plan::Op::Kernel(plan::KernelUse { kernel, buffers }), &name, origin);
        Ok(())
    }

    /// The buffer of a tensor that fills one, for operations on whole buffers.
    fn whole(&mut self, tensor: eq::TensorId, origin: &eq::Origin) -> Result<plan::BufferId, Error> {
        let layout = self.layout(tensor);
        let shape = &self.program.tensors[tensor.0 as usize].shape;
        let usual = self.storage.row_major(shape, layout.buffer, Dim::zero());
        if layout != usual || self.storage.elements(shape) != self.storage.buffers[layout.buffer.0 as usize].len {
            let name = &self.program.tensors[tensor.0 as usize].name;
            return Err(Error::Malformed { problem: format!("`{name}` has no buffer of its own"), origin: origin.clone() });
        }
        Ok(layout.buffer)
    }

    /// A tensor for the scheduler's own use.
    fn temporary(&mut self, name: &str, like: eq::TensorId) -> eq::TensorId {
        let mut tensor = self.program.tensors[like.0 as usize].clone();
        tensor.name = self.storage.fresh(name).into();
        tensor.role = eq::Role::Computed;
        self.program.tensors.push(tensor);
        self.storage.layouts.push(None);
        eq::TensorId(self.program.tensors.len() as u32 - 1)
    }

    /// `to[..] = from[..]`, element by element.
    fn copy(&mut self, from: eq::TensorId, to: eq::TensorId, origin: &eq::Origin) -> Result<(), Error> {
        if let (Ok(from), Ok(to)) = (self.whole(from, origin), self.whole(to, origin)) {
            self.launch(plan::Op::Copy { from, to }, "copy", origin);
            return Ok(());
        }
        let shape = self.program.tensors[from.0 as usize].shape.clone();
        let piece = identity_piece(&shape, from);
        self.piece(to, &piece, origin)
    }

    // -------------------------------------------------------------------------------------------- other nodes

    fn draw(&mut self, draw: &eq::Draw) -> Result<(), Error> {
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

    fn view(&mut self, view: &eq::View) -> Result<(), Error> {
        if self.storage.alias(&self.program, view.out, view.input)? {
            return Ok(());
        }
        Err(Error::NotBuilt {
            construct: "a reshape that moves an axis of per-example length".to_string(),
            origin: view.origin.clone(),
        })
    }

    fn sort(&mut self, sort: &eq::Sort) -> Result<(), Error> {
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

    fn library(&mut self, library: &eq::Library) -> Result<(), Error> {
        let out = self.whole(library.out, &library.origin)?;
        let mut inputs = Vec::new();
        for input in &library.inputs {
            inputs.push(self.whole(*input, &library.origin)?);
        }
        let shape = &self.program.tensors[library.out.0 as usize].shape;
        let (columns, rows) = match shape.split_last() {
            None => (Dim::one(), Dim::one()),
            Some((last, rest)) => (last.clone(), rest.iter().cloned().product()),
        };
        let routine = match library.routine {
            eq::Routine::Orthogonal => plan::Routine::Orthogonal,
        };
        self.launch(plan::Op::Library { routine, out, inputs, rows, columns }, "library call", &library.origin);
        Ok(())
    }

    // -------------------------------------------------------------------------------------------- scans

    /// Carried values are buffers; a stacked tensor of the body lives in its slice of the stack. The step ends with copies.
    fn scan(&mut self, scan: &eq::Scan) -> Result<(), Error> {
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
        self.nodes(&scan.body)?;
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

    // -------------------------------------------------------------------------------------------- the end of a step

    /// All updates take effect together: values that are themselves updated are saved first.
    fn updates(&mut self) -> Result<(), Error> {
        let mut copies = Vec::new();
        for (target, value) in self.program.updates.clone() {
            let buffer = self.layout(value).buffer;
            let kept = matches!(self.storage.buffers[buffer.0 as usize].place, plan::Place::Param | plan::Place::State);
            let from = if kept {
                let saved = self.temporary("saved", value);
                self.copy(value, saved, &eq::Origin::default())?;
                saved
            } else {
                value
            };
            copies.push((from, target));
        }
        for (from, to) in copies {
            self.copy(from, to, &eq::Origin::default())?;
        }
        Ok(())
    }

    fn outputs(&mut self) -> Result<Vec<(plan::Name, plan::BufferId)>, Error> {
        let mut outputs: Vec<(plan::Name, plan::BufferId)> = Vec::new();
        for (name, tensor) in self.program.outputs.clone() {
            let origin = eq::Origin::default();
            let shape = self.program.tensors[tensor.0 as usize].shape.clone();
            let own = self.whole(tensor, &origin).ok().filter(|buffer| {
                let b = &self.storage.buffers[buffer.0 as usize];
                b.place == UNPLACED && (b.shape == shape || !outputs.iter().any(|(_, o)| o == buffer))
            });
            let buffer = match own {
                Some(buffer) => buffer,
                None => {
                    let kept = self.temporary(&name, tensor);
                    self.copy(tensor, kept, &origin)?;
                    self.whole(kept, &origin)?
                }
            };
            self.storage.buffers[buffer.0 as usize].shape = shape;
            outputs.push((name, buffer));
        }
        Ok(outputs)
    }
}

/// Do the pieces write every element? They are disjoint, so it is enough to count.
fn covered(shape: &[Dim], pieces: &[eq::Piece]) -> bool {
    let points = |p: &eq::Piece| -> Dim { p.indices[..p.free].iter().map(|i| i.range.clone()).product() };
    let written: Dim = pieces.iter().map(points).sum();
    written == shape.iter().cloned().product()
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
        eq::Node::Scan(scan) => scan.carried.iter().any(|c| [c.start, c.last].contains(&out)) || scan.stacks.iter().any(|s| s.1 == out),
        eq::Node::Iterate(_) => true,
    }
}

fn identity_piece(shape: &[Dim], from: eq::TensorId) -> eq::Piece {
    let own = |i: usize| eq::Affine { terms: vec![(eq::IndexId(i as u32), 1)], offset: Dim::zero() };
    let indices = shape
        .iter()
        .enumerate()
        .map(|(i, range)| eq::Index { name: format!("i{i}").into(), range: range.clone(), example: None })
        .collect();
    let at: Vec<eq::Affine> = (0..shape.len()).map(own).collect();
    let read = eq::Read { tensor: from, subs: at.iter().cloned().map(eq::Sub::Affine).collect(), otherwise: None, example: None };
    eq::Piece {
        indices,
        free: shape.len(),
        at,
        monoid: eq::Monoid::Sum,
        filter: Vec::new(),
        body: eq::Expr::Read(read),
        empty: None,
    }
}
