//! Each node of a program as launches, in order; then updates, outputs and memory.

use crate::error::Error;
use crate::fuse::{self, Cluster, Unit};
use crate::kernels::Kernels;
use crate::layout::{Layout, Storage, UNPLACED};
use crate::loops::is_identity;
use crate::{Options, Real, contraction, factors, loops, memory, rewrite};
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan as plan;
use std::collections::{BTreeSet, HashMap, HashSet};

pub(crate) fn plan(program: &eq::Program, options: &Options) -> Result<plan::Plan, Error> {
    let real = match options.real {
        Real::F32 => plan::DType::F32,
        Real::F64 => plan::DType::F64,
    };
    let program = program.clone();
    let storage = Storage::new(&program, real);
    let mut scheduler = Scheduler { program, storage, kernels: Kernels::default(), launches: Vec::new() };
    let nodes = scheduler.program.nodes.clone();
    let updates = scheduler.program.updates.clone();
    let mut kept: HashSet<eq::TensorId> = scheduler.program.outputs.iter().map(|(_, t)| *t).collect();
    kept.extend(updates.iter().map(|(_, value)| *value));
    let done = scheduler.nodes(&nodes, &kept, &updates)?;
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
    memory::place(&mut plan);
    Ok(plan)
}

struct Scheduler {
    program: eq::Program,
    storage: Storage,
    kernels: Kernels,
    launches: Vec<plan::Launch>,
}

/// `(parameter or state, its new value)`.
type Update = (eq::TensorId, eq::TensorId);

impl Scheduler {
    fn layout(&mut self, tensor: eq::TensorId) -> Layout {
        self.storage.place(&self.program, tensor).clone()
    }

    fn launch(&mut self, op: plan::Op, what: &str, origin: &eq::Origin) {
        let what = origin.what.clone().unwrap_or_else(|| what.into());
        let origin = plan::Origin { what, file: origin.file, start: origin.start, end: origin.end };
        self.launches.push(plan::Launch { op, origin });
    }

    /// Schedules nodes. `kept` is read after them; `updates` are done in place where that is possible, and those are returned.
    fn nodes(
        &mut self,
        nodes: &[eq::Node],
        kept: &HashSet<eq::TensorId>,
        updates: &[Update],
    ) -> Result<Vec<Update>, Error> {
        let nodes = rewrite::rewrite(&self.program, nodes.to_vec(), kept);
        let mut units = Vec::new();
        for node in &nodes {
            self.units(node, &mut units)?;
        }
        let mut fusion = fuse::clusters(&self.program, &self.storage, &units);
        let done = in_place(&mut fusion, &self.program, &self.storage, &units, updates);
        let early: BTreeSet<usize> = done.iter().map(|(_, _, cluster)| *cluster).collect();
        let order = fusion.sorted(&early);
        let clusters = fusion.clusters;
        if order.len() != clusters.len() {
            let problem = "the order of execution has a circle".to_string();
            return Err(Error::Malformed { problem, origin: eq::Origin::default() });
        }
        for (target, value, _) in &done {
            self.storage.layouts[value.0 as usize] = Some(self.layout(*target));
        }
        // Who reads a tensor, to know what must be stored.
        let mut readers: HashMap<eq::TensorId, BTreeSet<usize>> = HashMap::new();
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
            eq::Node::View(view) => self.view(view),
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
        if found.is_none() && self.split_units(out, &piece, origin, units) {
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
                Unit::Clear { out, origin } => {
                    let buffer = self.whole(*out, origin)?;
                    let name = self.program.tensors[out.0 as usize].name.clone();
                    self.launch(plan::Op::Clear { buffer }, &name, origin);
                }
                Unit::Other(node) => self.other(node)?,
            }
        }
        if let (Some((out, _, _)), Some(rows)) = (head, cluster.rows)
            && !needed(out)
        {
            self.in_the_result(out, rows, &parts, needed);
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

    /// A tensor that an epilogue computes element by element may lie where the contraction's own result did, when all that read this
    /// result are in the same innermost loops.
    fn in_the_result(
        &mut self,
        out: eq::TensorId,
        rows: usize,
        parts: &[loops::Part],
        needed: &dyn Fn(eq::TensorId) -> bool,
    ) {
        let sweeps = loops::sweep_of_each(parts, rows);
        let reads = |p: &loops::Part| p.piece.reads().iter().any(|r| r.tensor == out);
        let mut reading = (0..parts.len()).filter(|i| reads(&parts[*i])).map(|i| sweeps[i]);
        let Some(sweep) = reading.next() else { return };
        if reading.any(|s| s != sweep) {
            return;
        }
        let own = self.program.tensors[out.0 as usize].clone();
        let plainly = |p: &loops::Part| {
            let all = p.piece.reads();
            p.piece.is_plain() && all.iter().filter(|r| r.tensor == out).all(|r| is_identity(r, p.piece.free))
        };
        if !parts.iter().all(|p| !reads(p) || plainly(p)) {
            return;
        }
        let heir = (0..parts.len()).find(|i| {
            let t = &self.program.tensors[parts[*i].out.0 as usize];
            let fits = t.shape == own.shape && t.dtype == own.dtype && parts[*i].piece.is_plain();
            let free_to_move = self.storage.layouts[parts[*i].out.0 as usize]
                .as_ref()
                .is_none_or(|l| self.storage.buffers[l.buffer.0 as usize].place == UNPLACED && l.offset.is_zero());
            sweeps[*i] == sweep && fits && free_to_move && needed(parts[*i].out)
        });
        if let Some(heir) = heir {
            let (result, heir) = (self.layout(out), parts[heir].out);
            let old = self.layout(heir);
            if (&old.strides, &old.packed, &old.offset) == (&result.strides, &result.packed, &result.offset) {
                self.storage.move_to(heir, result.buffer);
            }
        }
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
            eq::Node::Iterate(iterate) => {
                Err(Error::NotBuilt { construct: "`iterate`".to_string(), origin: iterate.origin.clone() })
            }
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
    fn whole(&mut self, tensor: eq::TensorId, origin: &eq::Origin) -> Result<plan::BufferId, Error> {
        let layout = self.layout(tensor);
        let shape = &self.program.tensors[tensor.0 as usize].shape;
        let usual = self.storage.row_major(shape, layout.buffer, Dim::zero());
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
    fn temporary(&mut self, name: &str, like: eq::TensorId) -> eq::TensorId {
        let mut tensor = self.program.tensors[like.0 as usize].clone();
        tensor.name = name.into();
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

    // -------------------------------------------------------------------------------------------- the end of a step

    /// All updates take effect together: values that are themselves updated are saved first.
    fn updates(&mut self, updates: &[Update], done: &[Update]) -> Result<(), Error> {
        let mut copies = Vec::new();
        for (target, value) in updates.iter().copied().filter(|u| !done.contains(u)) {
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

/// The updates that may write where the old value is: the new value is computed element by element in a kernel that all other readers
/// of the old value can precede. Returns `(target, value, cluster)` and orders the clusters.
fn in_place(
    fusion: &mut fuse::Fusion,
    program: &eq::Program,
    storage: &Storage,
    units: &[Unit],
    updates: &[Update],
) -> Vec<(eq::TensorId, eq::TensorId, usize)> {
    let mut done: Vec<(eq::TensorId, eq::TensorId, usize)> = Vec::new();
    for (target, value) in updates.iter().copied() {
        let read_at_end = program.outputs.iter().map(|(_, t)| t).chain(updates.iter().map(|(_, v)| v));
        let taken = done.iter().any(|(_, other, _)| *other == value) || storage.layouts[value.0 as usize].is_some();
        if taken || read_at_end.clone().any(|t| storage.view_of(*t) == target) {
            continue;
        }
        let writes = |c: &fuse::Cluster| c.units.iter().filter(|u| units[**u].writes().contains(&value)).count();
        let mut writing = (0..fusion.clusters.len()).filter(|c| writes(&fusion.clusters[*c]) > 0);
        let (Some(cluster), None) = (writing.next(), writing.next()) else { continue };
        let same_dtype = program.tensors[target.0 as usize].dtype == program.tensors[value.0 as usize].dtype;
        if writes(&fusion.clusters[cluster]) != 1 || !same_dtype {
            continue;
        }
        let mut free = None;
        let elementwise = fusion.clusters[cluster].units.iter().all(|u| match &units[*u] {
            Unit::Piece { piece, contraction: None, .. } => {
                let own = piece
                    .reads()
                    .iter()
                    .filter(|r| storage.view_of(r.tensor) == target)
                    .all(|r| r.tensor == target && is_identity(r, piece.free));
                own && piece.is_plain() && *free.get_or_insert(piece.free) == piece.free
            }
            Unit::Piece { piece, contraction: Some(_), .. } => {
                piece.reads().iter().all(|r| storage.view_of(r.tensor) != target)
            }
            Unit::Clear { .. } | Unit::Other(_) => false,
        });
        let readers: BTreeSet<usize> = (0..fusion.clusters.len())
            .filter(|c| *c != cluster)
            .filter(|c| {
                fusion.clusters[*c]
                    .units
                    .iter()
                    .any(|u| units[*u].reads().iter().any(|t| storage.view_of(*t) == target))
            })
            .collect();
        if !elementwise || readers.iter().any(|r| fusion.contradicts(*r, cluster)) {
            continue;
        }
        for reader in readers {
            fusion.order(reader, cluster);
        }
        done.push((target, value, cluster));
    }
    done
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

fn identity_piece(shape: &[Dim], from: eq::TensorId) -> eq::Piece {
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
