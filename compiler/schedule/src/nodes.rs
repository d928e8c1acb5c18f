//! Each node of a program as launches, in order; then updates, outputs and memory.

use crate::error::Error;
use crate::fuse::{self, Cluster, Unit};
use crate::kernels::Kernels;
use crate::layout::{Layout, Storage};
use crate::recompute::Late;
use crate::{
    Options, Target, blocks, contraction, cumulative, ends, factors, loops, memory, overwrite, places, rewrite,
};
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan as plan;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use std::collections::BTreeSet;

pub(crate) fn plan(program: &eq::Program, options: &Options) -> Result<plan::Plan, Error> {
    let real = options.real.stored(eq::DType::Real);
    let program = program.clone();
    let storage = Storage::new(&program, real, options.target);
    let mut scheduler = Scheduler {
        program,
        storage,
        kernels: Kernels::default(),
        launches: Vec::new(),
        settled: HashSet::default(),
        steps: Vec::new(),
        recomputes: options.target == Target::Processor,
    };
    let nodes = std::mem::take(&mut scheduler.program.nodes);
    let updates = scheduler.program.updates.clone();
    let mut kept: HashSet<eq::TensorId> = scheduler.program.outputs.iter().map(|(_, t)| *t).collect();
    kept.extend(updates.iter().map(|(_, value)| *value));
    let done = scheduler.nodes(nodes, &kept, &updates)?;
    // Outputs show parameters and state as they were.
    let outputs = scheduler.outputs()?;
    scheduler.updates(&updates, &done)?;
    let mut plan = plan::Plan {
        name: scheduler.program.name.clone(),
        sizes: scheduler.storage.sizes,
        buffers: scheduler.storage.buffers,
        slots: Vec::new(),
        kernels: scheduler.kernels.list,
        launches: scheduler.launches,
        outputs,
    };
    memory::drop_unused(&mut plan);
    if options.target == Target::Processor {
        blocks::in_blocks(&mut plan);
        overwrite::overwrite(&mut plan);
        memory::drop_unused(&mut plan);
    }
    memory::place(&mut plan);
    Ok(plan)
}

pub(crate) struct Scheduler {
    pub program: eq::Program,
    pub storage: Storage,
    kernels: Kernels,
    pub launches: Vec<plan::Launch>,
    /// Values computed in the place of what they replace.
    settled: HashSet<eq::TensorId>,
    /// Steps of the loops around, outermost first.
    pub steps: Vec<plan::Name>,
    /// May values be computed again rather than kept?
    recomputes: bool,
}

/// `(parameter or state, its new value)`.
pub(crate) type Update = (eq::TensorId, eq::TensorId);

impl Scheduler {
    pub fn layout(&mut self, tensor: eq::TensorId) -> Layout {
        self.storage.place(&self.program, tensor).clone()
    }

    pub fn launch(&mut self, op: plan::Op, what: &str, origin: &eq::Origin) {
        let what = origin.what.clone().unwrap_or_else(|| what.into());
        let origin = plan::Origin { what, file: origin.file, start: origin.start, end: origin.end };
        self.launches.push(plan::Launch { op, origin });
    }

    /// Schedules nodes. `kept` is read after them; `updates` are done in place where that is possible, and those are returned.
    pub fn nodes(
        &mut self,
        nodes: Vec<eq::Node>,
        kept: &HashSet<eq::TensorId>,
        updates: &[Update],
    ) -> Result<Vec<Update>, Error> {
        let nodes = rewrite::rewrite(&self.program, nodes, kept);
        let (nodes, late) = if self.recomputes && self.steps.is_empty() {
            self.recompute(nodes, kept)
        } else {
            (nodes, Late::default())
        };
        let mut units = Vec::new();
        for node in &nodes {
            self.units(node, &mut units)?;
        }
        let mut fusion = fuse::clusters(&self.program, &self.storage, &units, &late);
        let done = ends::in_place(&mut fusion, &self.program, &self.storage, &units, updates);
        let early: BTreeSet<usize> = done.iter().map(|(_, _, cluster)| *cluster).collect();
        let order = fusion.sorted(&fusion.freeing(early));
        let clusters = fusion.clusters;
        if order.len() != clusters.len() {
            let problem = "the order of execution has a circle".to_string();
            return Err(Error::Malformed { problem, origin: eq::Origin::default() });
        }
        for (target, value, _) in &done {
            self.storage.layouts[value.0 as usize] = Some(self.layout(*target));
            self.settled.insert(*value);
        }
        // Who reads a tensor, to know what must be stored.
        let mut readers: HashMap<eq::TensorId, BTreeSet<usize>> = HashMap::default();
        for (at, cluster) in clusters.iter().enumerate() {
            for tensor in cluster.units.iter().flat_map(|u| units[*u].reads()) {
                readers.entry(tensor).or_default().insert(at);
                let root = self.storage.view_of(tensor);
                if root != tensor {
                    // Through a view only what is in memory is seen.
                    readers.entry(root).or_default().insert(usize::MAX);
                }
            }
        }
        let kept: HashSet<eq::TensorId> = kept.iter().map(|t| self.storage.view_of(*t)).collect();
        for at in order {
            let needed =
                |t: eq::TensorId| kept.contains(&t) || readers.get(&t).is_some_and(|r| r.iter().any(|c| *c != at));
            self.cluster(&units, &clusters[at], &needed)?;
        }
        Ok(done.into_iter().map(|(target, value, _)| (target, value)).collect())
    }

    /// What a node is scheduled as. Views and literals are only places.
    fn units(&mut self, node: &eq::Node, units: &mut Vec<Unit>) -> Result<(), Error> {
        match node {
            eq::Node::Equation(equation) => {
                let shape = &self.program.tensors[equation.out.0 as usize].shape;
                if !rewrite::covered(shape, &equation.pieces) {
                    units.push(Unit::Clear { out: equation.out, origin: equation.origin.clone() });
                }
                for piece in &equation.pieces {
                    self.piece_units(equation.out, piece, &equation.origin, units);
                }
                Ok(())
            }
            eq::Node::View(view) => match self.view(view)? {
                Some(copy) => self.units(&eq::Node::Equation(copy), units),
                None => Ok(()),
            },
            eq::Node::Literal(literal) => {
                let t = &self.program.tensors[literal.out.0 as usize];
                let place = plan::Place::Literal(literal.values.clone().into());
                let buffer = self.storage.buffer(&t.name, t.dtype, &t.shape, place);
                let layout = self.storage.row_major(&t.shape, buffer, Dim::zero());
                self.storage.layouts[literal.out.0 as usize] = Some(layout);
                Ok(())
            }
            eq::Node::Scan(_) | eq::Node::Iterate(_) | eq::Node::Draw(_) | eq::Node::Sort(_) | eq::Node::Library(_) => {
                units.push(Unit::Other(node.clone()));
                Ok(())
            }
        }
    }

    fn piece_units(&mut self, out: eq::TensorId, piece: &eq::Piece, origin: &eq::Origin, units: &mut Vec<Unit>) {
        if let Some(found) = cumulative::recognise(&self.storage, piece) {
            units.push(Unit::Cumulative { out, piece: piece.clone(), origin: origin.clone(), found });
            return;
        }
        let mut piece = piece.clone();
        let mut found = contraction::recognise(&self.program, &mut self.storage, out, &piece);
        if let Some(repack) = found.as_ref().and_then(|f| contraction::repack(&piece, f)) {
            let source = self.program.tensors[repack.source.0 as usize].clone();
            let copy = self.temporary(&format!("{}_repacked", source.name), repack.source);
            self.program.tensors[copy.0 as usize].shape = repack.shape;
            piece = reading(repack.piece, copy);
            found = contraction::recognise(&self.program, &mut self.storage, out, &piece);
            units.push(Unit::Piece { out: copy, piece: repack.copy, origin: origin.clone(), contraction: None });
        }
        if found.is_none()
            && (self.gathered_units(out, &piece, origin, units) || self.split_units(out, &piece, origin, units))
        {
            return;
        }
        if found.is_none()
            && let Some((one, shape, two)) = rewrite::two_steps(&self.program, &piece)
        {
            let name = format!("{}.parts", self.program.tensors[out.0 as usize].name);
            let partial = self.temporary(&name, out);
            self.program.tensors[partial.0 as usize].shape = shape;
            units.push(Unit::Piece { out: partial, piece: one, origin: origin.clone(), contraction: None });
            piece = reading(two, partial);
        }
        units.push(Unit::Piece { out, piece, origin: origin.clone(), contraction: found });
    }

    /// In a loop over running examples: a contraction of operands that lie by example, once they lie by row. False leaves everything as
    /// it was.
    fn gathered_units(
        &mut self,
        out: eq::TensorId,
        piece: &eq::Piece,
        origin: &eq::Origin,
        units: &mut Vec<Unit>,
    ) -> bool {
        let Some(gathers) = contraction::elsewhere(&self.program, &mut self.storage, piece) else { return false };
        let before = self.program.tensors.len();
        let mut made = Vec::new();
        let mut piece = piece.clone();
        for contraction::Gather { read, indices, copy } in gathers {
            let name = format!("{}.rows", self.program.tensors[read.tensor.0 as usize].name);
            let rows = self.temporary(&name, read.tensor);
            self.program.tensors[rows.0 as usize].shape = copy.indices.iter().map(|i| i.range.clone()).collect();
            let here = eq::Expr::read(rows, indices);
            piece = piece.map_exprs(&mut |e| {
                e.map_reads(&mut |other| if other == read { here.clone() } else { eq::Expr::Read(other) })
            });
            made.push(Unit::Piece { out: rows, piece: copy, origin: origin.clone(), contraction: None });
        }
        if contraction::recognise(&self.program, &mut self.storage, out, &piece).is_none() {
            self.program.tensors.truncate(before);
            self.storage.layouts.truncate(before);
            return false;
        }
        units.extend(made);
        self.piece_units(out, &piece, origin, units);
        true
    }

    /// A contraction of factors that are stored first, if the piece can be made one. False leaves everything as it was.
    fn split_units(
        &mut self,
        out: eq::TensorId,
        piece: &eq::Piece,
        origin: &eq::Origin,
        units: &mut Vec<Unit>,
    ) -> bool {
        let Some(split) = factors::split(&self.program, piece) else { return false };
        if !piece.is_plain() || (split.post.is_empty() && split.is_plain(0) && split.is_plain(1)) {
            return false;
        }
        let before = (self.program.tensors.len(), units.len());
        let name = self.program.tensors[out.0 as usize].name.clone();
        let mut factors = Vec::new();
        for at in 0..2 {
            let (body, indices) = &split.factors[at];
            if split.is_plain(at) {
                factors.push(body.clone());
                continue;
            }
            let (made, shape) = split.factor(piece, at);
            let factor = self.temporary(&format!("{name}.factor"), out);
            self.program.tensors[factor.0 as usize].shape = shape;
            factors.push(eq::Expr::read(factor, indices.iter().copied()));
            units.push(Unit::Piece { out: factor, piece: made, origin: origin.clone(), contraction: None });
        }
        let Ok(factors) = <[eq::Expr; 2]>::try_from(factors) else { return false };
        let sum = split.sum(piece, factors);
        let result = if split.post.is_empty() { out } else { self.temporary(&format!("{name}.sum"), out) };
        if contraction::recognise(&self.program, &mut self.storage, result, &sum).is_none() {
            self.program.tensors.truncate(before.0);
            self.storage.layouts.truncate(before.0);
            units.truncate(before.1);
            return false;
        }
        self.piece_units(result, &sum, origin, units);
        if result != out {
            let around = split.around(piece, result);
            units.push(Unit::Piece { out, piece: around, origin: origin.clone(), contraction: None });
        }
        true
    }

    fn cluster(
        &mut self,
        units: &[Unit],
        cluster: &Cluster,
        needed: &dyn Fn(eq::TensorId) -> bool,
    ) -> Result<(), Error> {
        let mut parts = Vec::new();
        let mut head = None;
        for unit in &cluster.units {
            match &units[*unit] {
                Unit::Piece { out, piece, origin, contraction: None } => {
                    parts.push(loops::Part { out: *out, piece, origin })
                }
                Unit::Piece { out, origin, contraction: Some(contraction), .. } => {
                    head = Some((*out, contraction, origin))
                }
                Unit::Cumulative { out, piece, origin, found } => {
                    let name = self.program.tensors[out.0 as usize].name.clone();
                    let part = loops::Part { out: *out, piece, origin };
                    let (kernel, buffers) = cumulative::kernel(&self.program, &mut self.storage, &name, &part, *found)?;
                    let kernel = self.kernels.add(kernel);
                    self.launch(plan::Op::Kernel(plan::KernelUse { kernel, buffers }), &name, origin);
                }
                Unit::Clear { out, origin } => {
                    let buffer = self.whole(*out, origin)?;
                    let name = self.program.tensors[out.0 as usize].name.clone();
                    self.launch(plan::Op::Clear { buffer }, &name, origin);
                }
                Unit::Other(node) => self.other(node)?,
            }
        }
        let kernel = match parts.first() {
            None => None,
            Some(first) => {
                let origin = first.origin;
                let wanted = loops::Wanted {
                    name: self.kernel_name(&parts, needed),
                    prefix: cluster.rows.unwrap_or(cluster.prefix.len().min(first.piece.free)),
                    flat: head.is_some(),
                    parts,
                    needed,
                };
                let head = head.map(|(out, _, _)| out);
                places::share(&self.program, &mut self.storage, head, &wanted, &self.settled);
                let name = wanted.name.clone();
                let (kernel, buffers) = loops::kernel(&self.program, &mut self.storage, &wanted)?;
                let kernel = self.kernels.add(kernel);
                Some((plan::KernelUse { kernel, buffers }, name, origin))
            }
        };
        match (head, kernel) {
            (Some((out, contraction, origin)), kernel) => {
                let mut contraction = contraction.to_plan(&self.program, &mut self.storage);
                contraction.epilogue = kernel.map(|(kernel, _, _)| kernel);
                let name = self.program.tensors[out.0 as usize].name.clone();
                self.launch(plan::Op::Contract(contraction), &name, origin);
            }
            (None, Some((kernel, name, origin))) => self.launch(plan::Op::Kernel(kernel), &name, origin),
            (None, None) => {}
        }
        Ok(())
    }

    /// The names of what the kernel leaves behind.
    fn kernel_name(&self, parts: &[loops::Part], needed: &dyn Fn(eq::TensorId) -> bool) -> String {
        // The last words of a path: `gain.next` of `net.batch_norm_1.gain.next`.
        let name = |p: &loops::Part| {
            let path = &self.program.tensors[p.out.0 as usize].name;
            let from = path.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
            path[from..].to_string()
        };
        let mut names: Vec<String> = parts.iter().filter(|p| needed(p.out)).map(name).collect();
        if names.is_empty() {
            names.extend(parts.last().map(name));
        }
        names.dedup();
        if names.len() > 3 {
            let more = names.len() - 2;
            names.truncate(2);
            names.push(format!("and_{more}_more"));
        }
        names.join("_")
    }

    fn other(&mut self, node: &eq::Node) -> Result<(), Error> {
        match node {
            eq::Node::Scan(scan) => self.scan(scan),
            eq::Node::Iterate(iterate) => self.iterate(iterate),
            eq::Node::Draw(draw) => self.draw(draw),
            eq::Node::Sort(sort) => self.sort(sort),
            eq::Node::Library(library) => self.library(library),
            eq::Node::Equation(_) | eq::Node::View(_) | eq::Node::Literal(_) => Ok(()),
        }
    }

    /// One piece as a kernel of its own.
    fn piece(&mut self, out: eq::TensorId, piece: &eq::Piece, origin: &eq::Origin) -> Result<(), Error> {
        let name = self.program.tensors[out.0 as usize].name.clone();
        let wanted = loops::Wanted {
            name: name.to_string(),
            parts: vec![loops::Part { out, piece, origin }],
            prefix: piece.free,
            flat: false,
            needed: &|_| true,
        };
        let (kernel, buffers) = loops::kernel(&self.program, &mut self.storage, &wanted)?;
        let kernel = self.kernels.add(kernel);
        self.launch(plan::Op::Kernel(plan::KernelUse { kernel, buffers }), &name, origin);
        Ok(())
    }

    /// The buffer of a tensor that fills one, for operations on whole buffers.
    pub fn whole(&mut self, tensor: eq::TensorId, origin: &eq::Origin) -> Result<plan::BufferId, Error> {
        let layout = self.layout(tensor);
        let shape = &self.program.tensors[tensor.0 as usize].shape;
        let usual = Layout { depth: layout.depth, ..self.storage.row_major(shape, layout.buffer, Dim::zero()) };
        if layout != usual || self.storage.elements(shape) != self.storage.buffers[layout.buffer.0 as usize].len {
            let name = &self.program.tensors[tensor.0 as usize].name;
            return Err(Error::Malformed {
                problem: format!("`{name}` has no buffer of its own"),
                origin: origin.clone(),
            });
        }
        Ok(layout.buffer)
    }

    /// A tensor for the scheduler's own use.
    pub fn temporary(&mut self, name: &str, like: eq::TensorId) -> eq::TensorId {
        let mut tensor = self.program.tensors[like.0 as usize].clone();
        tensor.name = name.into();
        tensor.role = eq::Role::Computed;
        self.program.tensors.push(tensor);
        self.storage.layouts.push(None);
        eq::TensorId(self.program.tensors.len() as u32 - 1)
    }

    /// `to[..] = from[..]`, element by element.
    pub fn copy(&mut self, from: eq::TensorId, to: eq::TensorId, origin: &eq::Origin) -> Result<(), Error> {
        let shape = self.program.tensors[from.0 as usize].shape.clone();
        // Of the rows of a loop only those that run are copied.
        let by_rows = self.storage.depth() > 0 && shape.first().is_some_and(|d| self.storage.is_batch(d));
        if !by_rows && let (Ok(from), Ok(to)) = (self.whole(from, origin), self.whole(to, origin)) {
            self.launch(plan::Op::Copy { from, to }, "copy", origin);
            return Ok(());
        }
        let piece = identity_piece(&shape, from);
        self.piece(to, &piece, origin)
    }
}

/// The piece with its placeholder read replaced by reads of `tensor`.
fn reading(piece: eq::Piece, tensor: eq::TensorId) -> eq::Piece {
    piece.map_exprs(&mut |e| {
        e.map_reads(&mut |mut read| {
            if read.tensor == contraction::COPY {
                read.tensor = tensor;
            }
            eq::Expr::Read(read)
        })
    })
}

pub(crate) fn identity_piece(shape: &[Dim], from: eq::TensorId) -> eq::Piece {
    let own = |i: usize| eq::Affine { terms: vec![(eq::IndexId(i as u32), 1)], offset: Dim::zero() };
    let indices = shape
        .iter()
        .enumerate()
        .map(|(i, range)| eq::Index { name: format!("i{i}").into(), range: range.clone(), example: None })
        .collect();
    let at: Vec<eq::Affine> = (0..shape.len()).map(own).collect();
    let read = eq::Read {
        tensor: from,
        subs: at.iter().cloned().map(eq::Sub::Affine).collect(),
        otherwise: None,
        example: None,
    };
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
