//! The adjoint of a scan: a scan over the same steps in the opposite direction.
//!
//! ```text
//! scan t < T { carry h from h0 next h1 last h2;  h1[j] = tanh(sum[i] h[i] * u[i, j] + x[t, j]);  stack h1 as hs }
//!
//! scan t < T reversed { carry d_h from d_h2 next ..;  d_h1[j] = d_h[j] + d_hs[t, j];  ..;  stack d_z as d_zs }
//! d_u[i, j] = sum[t] d_zs[t, j] * h_steps[t, i]
//! ```
//!
//! The carried values of the adjoint scan are the adjoints of the carried values. What its body needs of the forward body is saved by
//! stacks of the forward scan. What the forward body reads from outside (weights, inputs) is not accumulated step by step: the adjoint of
//! the equation that reads it is stacked, the equation is *lifted* (the step becomes a free index, values of the body become their
//! stacks) and transposed after the loop like any other, so that a weight gradient is one contraction over all steps.

use super::combine::{self, Part};
use super::{Adjoint, Done, Scope, Tape, Task, gradient_of};
use crate::DifferentiateError;
use crate::builder::PieceBuilder;
use crate::data::{
    Affine, BinaryOp, Carried, CompareOp, Condition, Ends, Equation, Expr, IndexId, Name, Node, Origin, Piece, Program,
    Scan, SizeKind, TensorId, UnaryOp,
};
use crate::lift::{Steps, lift};
use crate::types;
use bdl_dims::Dim;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

/// A contribution to tensors outside the loop, worked out after it.
pub(super) enum Deferred {
    /// `value` is what the piece wrote, as a read, when it is point-wise.
    Piece {
        piece: Box<Piece>,
        value: Option<Expr>,
        out: TensorId,
        up: TensorId,
        only: HashSet<TensorId>,
        origin: Origin,
    },
    /// `up` has so many axes of steps (behind the batch), over which the view's adjoint is the sum.
    View { input: TensorId, up: TensorId, steps: usize, origin: Origin },
}

impl Tape<'_> {
    pub(super) fn scan(&mut self, parent: &mut Scope, scan: &mut Scan) -> Done<()> {
        let mut reached = false;
        let mut lasts = Vec::new();
        for c in &scan.carried {
            let up = if self.is_active(c.last) { self.adjoint(parent, c.last) } else { None };
            reached |= up.is_some();
            lasts.push(up);
        }
        let shared = self.accumulated(scan, parent);
        let mut local = body_tensors(scan);
        local.extend(&shared);
        let is_ragged = parent.is_ragged || self.runs_apart(scan);
        let mut child = Scope { local: Some(local), is_ragged, ..Scope::default() };
        for (inside, outside) in &scan.stacks {
            if !self.is_active(*outside) {
                continue;
            }
            let Some(up) = self.adjoint(parent, *outside) else { continue };
            reached = true;
            self.seed_stack(&mut child, &scan.step, *inside, &up, &scan.origin);
        }
        if !reached {
            return Ok(());
        }
        let origin = gradient_of(&scan.origin, "scan");

        // The adjoints of carried values go backwards through the steps.
        let mut carried: Vec<(Carried, TensorId)> = Vec::new();
        for (c, up) in scan.carried.iter().zip(lasts) {
            if !self.is_active(c.inside) {
                continue;
            }
            let start = match up {
                Some(up) => self.materialise(parent, c.last, up),
                None => self.zero(parent, c.last),
            };
            let tensor = self.program.get(c.inside).clone();
            let hint = format!("d_{}", tensor.name);
            let dtype = types::of_adjoint(tensor.dtype);
            let inside = self.program.computed(&format!("{hint}_next"), dtype, tensor.shape.iter().cloned());
            let last = self.program.computed(&format!("{hint}_start"), dtype, tensor.shape);
            let piece = combine::whole(self.program, c.next, &|axes| Expr::read(inside, axes.iter().copied()));
            if child.is_local(c.next) {
                child.add(c.next, Part { pieces: vec![piece], origin: origin.clone() });
            } else {
                let piece = combine::whole(self.program, c.next, &|axes| Expr::read(c.next, axes.iter().copied()));
                let (only, origin) = (HashSet::from_iter([c.next]), scan.origin.clone());
                child.deferred.push(Deferred::Piece {
                    piece: Box::new(piece),
                    value: None,
                    out: c.next,
                    up: inside,
                    only,
                    origin,
                });
            }
            // `next` is known when the body has been walked.
            carried.push((Carried { start, inside, next: inside, last }, c.inside));
        }
        let known = scan.extent.clone() - Dim::one() - Dim::var(scan.step.clone());
        self.known.sizes.push(known);
        let walked = self.backward(&mut scan.body, &mut child);
        self.known.sizes.pop();
        walked?;
        let mut back = Vec::new();
        for (mut c, of) in carried {
            let adjoint = self.adjoint(&mut child, of);
            c.next = match adjoint {
                Some(adjoint) => self.materialise(&mut child, of, adjoint),
                None => self.zero(&mut child, of),
            };
            back.push((c, of));
        }
        for of in shared {
            back.extend(self.accumulate(parent, &mut child, of, &origin).map(|c| (c, of)));
        }

        // Stacks for what is worked out after the loop, then saved values for what the body reads.
        let mut forward = body_tensors(scan);
        let ragged = self.runs_apart(scan);
        let (by_step, jobs): (Vec<Deferred>, Vec<Deferred>) =
            std::mem::take(&mut child.deferred).into_iter().partition(|job| ragged && !self.is_of_an_example(job));
        let sums = self.summed_by_step(parent, &mut child, by_step, &origin)?;
        let (mut adjoint_stacks, mut copies) = (HashMap::default(), HashMap::default());
        let mut deferred = Vec::new();
        for job in jobs {
            deferred.push(self.lift_job(scan, &mut forward, (&mut adjoint_stacks, &mut copies), job)?);
        }
        let mut body = std::mem::take(&mut child.nodes);
        if scan.checkpoint.is_some() {
            let kept: HashSet<TensorId> =
                scan.carried.iter().map(|c| c.inside).chain(scan.stacks.iter().map(|s| s.0)).collect();
            body = self.recompute(scan, &forward, body, &kept);
        } else if ragged {
            // What all examples share has no stack.
            let kept = forward.iter().copied().filter(|id| self.program.is_per_example(*id)).collect();
            body = self.recompute(scan, &forward, body, &kept);
        }
        self.save(scan, &forward, &mut body);
        let mut stacks: Vec<(TensorId, TensorId)> = adjoint_stacks.into_iter().collect();
        stacks.sort();
        let starts: Vec<(TensorId, TensorId)> = back.iter().map(|(c, of)| (*of, c.last)).collect();
        parent.nodes.push(Node::Scan(Scan {
            step: scan.step.clone(),
            extent: scan.extent.clone(),
            reversed: !scan.reversed,
            carried: back.into_iter().map(|(c, _)| c).chain(sums.iter().map(|(c, _)| c.clone())).collect(),
            body,
            stacks,
            checkpoint: scan.checkpoint.clone(),
            ends: scan.ends.map(|ends| match ends {
                Ends::When { until: _, steps } => Ends::After(steps),
                after @ Ends::After(_) => after,
            }),
            origin: origin.clone(),
        }));

        for (of, last) in starts {
            // The adjoint of a carried value is one of its start; that of a tensor from outside is its own.
            let of = scan.carried.iter().find(|c| c.inside == of).map_or(of, |c| c.start);
            if !self.is_active(of) {
                continue;
            }
            if parent.is_local(of) {
                let piece = combine::whole(self.program, of, &|axes| Expr::read(last, axes.iter().copied()));
                parent.add(of, Part { pieces: vec![piece], origin: origin.clone() });
            } else {
                let piece = combine::whole(self.program, of, &|axes| Expr::read(of, axes.iter().copied()));
                let (only, origin) = (HashSet::from_iter([of]), scan.origin.clone());
                let piece = Box::new(piece);
                parent.deferred.push(Deferred::Piece { piece, value: None, out: of, up: last, only, origin });
            }
        }
        for (c, of) in sums {
            self.sum_of_steps(parent, of, c.last, &origin);
        }
        for job in deferred {
            self.after_loop(parent, job)?;
        }
        Ok(())
    }

    /// Does each of several examples take steps of its own? In the program of one example every value of the loop is that example's, and can be
    /// stacked like those of any other loop.
    fn runs_apart(&self, scan: &Scan) -> bool {
        let batched = self.program.sizes.iter().any(|size| size.kind == SizeKind::Batch);
        self.program.is_per_example_size(&scan.extent) && batched
    }

    fn is_of_an_example(&self, job: &Deferred) -> bool {
        match job {
            Deferred::Piece { out, .. } => self.program.is_per_example(*out),
            Deferred::View { up, .. } => self.program.is_per_example(*up),
        }
    }

    /// A stack's adjoint flows into the stacked value at its step.
    fn seed_stack(&mut self, child: &mut Scope, step: &Name, inside: TensorId, up: &Adjoint, origin: &Origin) {
        let axis = usize::from(self.program.is_per_example(inside));
        let number = Affine::from(Dim::var(step.clone()));
        let piece = match up {
            Adjoint::Tensor(id) => combine::whole(self.program, inside, &|axes| {
                let mut subs: Vec<Affine> = axes.iter().map(|i| Affine::from(*i)).collect();
                subs.insert(axis, number.clone());
                Expr::read(*id, subs)
            }),
            Adjoint::Inline(e) => combine::whole(self.program, inside, &|_| {
                e.clone().replace_indices(&|i| match (i.0 as usize).cmp(&axis) {
                    std::cmp::Ordering::Less => i.into(),
                    std::cmp::Ordering::Equal => number.clone(),
                    std::cmp::Ordering::Greater => IndexId(i.0 - 1).into(),
                })
            }),
        };
        let part = Part { pieces: vec![piece], origin: gradient_of(origin, "scan") };
        if child.is_local(inside) {
            child.add(inside, part);
            return;
        }
        // The same value at every step, from outside: each step's share goes there.
        let up = combine::emit(self.program, &mut child.nodes, inside, part.pieces, part.origin);
        let piece = combine::whole(self.program, inside, &|axes| Expr::read(inside, axes.iter().copied()));
        let (only, origin) = (HashSet::from_iter([inside]), origin.clone());
        child.deferred.push(Deferred::Piece { piece: Box::new(piece), value: None, out: inside, up, only, origin });
    }

    fn after_loop(&mut self, parent: &mut Scope, job: Deferred) -> Done<()> {
        match job {
            Deferred::Piece { piece, value, out, up, only, origin } => {
                let outside: HashSet<TensorId> = only.iter().copied().filter(|id| !parent.is_local(*id)).collect();
                let inside: HashSet<TensorId> = only.into_iter().filter(|id| parent.is_local(*id)).collect();
                if !outside.is_empty() {
                    let (piece, value, origin) = (piece.clone(), value.clone(), origin.clone());
                    parent.deferred.push(Deferred::Piece { piece, value, out, up, only: outside, origin });
                }
                let task = Task { piece: &piece, value, out, only: Some(inside), origin: &origin };
                self.piece(parent, task, &Adjoint::Tensor(up))
            }
            Deferred::View { input, up, steps, origin } => {
                if parent.is_local(input) {
                    let what = gradient_of(&origin, "view");
                    let up = self.over_steps(parent, up, steps, &what);
                    self.view(parent, input, up, what);
                } else {
                    parent.deferred.push(Deferred::View { input, up, steps, origin });
                }
                Ok(())
            }
        }
    }

    /// The sum over the axes of steps, which stand behind the batch.
    fn over_steps(&mut self, parent: &mut Scope, up: TensorId, steps: usize, origin: &Origin) -> TensorId {
        let tensor = self.program.get(up).clone();
        let own = usize::from(self.program.is_per_example(up));
        let summed = own..own + steps;
        let mut piece = PieceBuilder::new();
        let mut subs = vec![IndexId(0); tensor.shape.len()];
        for (axis, dim) in tensor.shape.iter().enumerate().filter(|(axis, _)| !summed.contains(axis)) {
            subs[axis] = piece.free("i", dim.clone());
        }
        for axis in summed {
            subs[axis] = piece.bound("t", tensor.shape[axis].clone());
        }
        let piece = piece.sum(Expr::read(up, subs));
        let shape: Vec<Dim> = piece.indices[..piece.free].iter().map(|i| i.range.clone()).collect();
        let out = self.program.computed(&format!("{}_sum", tensor.name), tensor.dtype, shape);
        parent.nodes.push(Node::Equation(Equation { out, pieces: vec![piece], origin: origin.clone() }));
        out
    }

    // ------------------------------------------------------------------------------------------------ accumulated adjoints

    /// Under `checkpoint`, and in a loop that ends before its extent, tensors from outside that the body reads the same at every step: their
    /// adjoints are summed up from step to step, so that nothing is kept, and no sum is taken, for all steps. (Where the steps are the
    /// example's own, what examples share is worked out after the loop.)
    fn accumulated(&self, scan: &Scan, parent: &Scope) -> Vec<TensorId> {
        if (scan.checkpoint.is_none() && scan.ends.is_none()) || self.runs_apart(scan) {
            return Vec::new();
        }
        let own: HashSet<TensorId> = scan.body.iter().flat_map(Node::writes_deep).collect();
        let own: HashSet<TensorId> = own.into_iter().chain(scan.carried.iter().map(|c| c.inside)).collect();
        let mut by_step: HashSet<TensorId> = HashSet::default();
        scan.body.iter().for_each(|node| read_at_step(node, &scan.step, &mut by_step));
        let mut found: Vec<TensorId> = scan.body.iter().flat_map(Node::reads_deep).collect();
        found.retain(|id| self.is_active(*id) && !own.contains(id) && !by_step.contains(id));
        // Inside another loop, whose steps may be the example's own, what all examples share is worked out after that one.
        let by_step_outside = parent.local.is_none() || (scan.ends.is_some() && !parent.is_ragged);
        found.retain(|id| by_step_outside || self.program.is_per_example(*id));
        found.sort();
        found.dedup();
        found
    }

    /// The carried sum of the adjoints of a tensor from outside; `None` where no step contributes.
    fn accumulate(&mut self, parent: &mut Scope, child: &mut Scope, of: TensorId, origin: &Origin) -> Option<Carried> {
        let adjoint = self.adjoint(child, of)?;
        let each = self.materialise(child, of, adjoint);
        let start = self.zero(parent, of);
        let tensor = self.program.get(of).clone();
        let hint = format!("d_{}", tensor.name);
        let dtype = types::of_adjoint(tensor.dtype);
        let inside = self.program.computed(&format!("{hint}_sum"), dtype, tensor.shape.iter().cloned());
        let last = self.program.computed(&format!("{hint}_all"), dtype, tensor.shape);
        let sum = combine::whole(self.program, of, &|axes| {
            Expr::read(inside, axes.iter().copied()) + Expr::read(each, axes.iter().copied())
        });
        let next = combine::emit(self.program, &mut child.nodes, of, vec![sum], origin.clone());
        Some(Carried { start, inside, next, last })
    }

    // ------------------------------------------------------------------------------------------------ saved values

    /// What the adjoint body needs of the forward body and is not `kept` is computed again. Under `checkpoint` only carried values are kept
    /// (and what is emitted anyway, and draws of the body).
    fn recompute(
        &mut self,
        scan: &Scan,
        forward: &HashSet<TensorId>,
        body: Vec<Node>,
        kept: &HashSet<TensorId>,
    ) -> Vec<Node> {
        let mut needed: HashSet<TensorId> = HashSet::default();
        let need = |ids: Vec<TensorId>, needed: &mut HashSet<TensorId>| {
            needed.extend(ids.into_iter().filter(|id| forward.contains(id) && !kept.contains(id)));
        };
        need(body.iter().flat_map(Node::reads_deep).collect(), &mut needed);
        let mut again: Vec<Node> = Vec::new();
        for node in scan.body.iter().rev() {
            let repeats =
                matches!(node, Node::Equation(_) | Node::View(_) | Node::Sort(_) | Node::Scan(_) | Node::Iterate(_));
            if repeats && node.writes().iter().any(|out| needed.contains(out)) {
                need(node.reads_deep(), &mut needed);
                again.push(node.clone());
            }
        }
        again.reverse();
        let mut names = HashMap::default();
        let again = again.iter().map(|node| super::blocks::copied(self.program, node, &mut names));
        let mut again: Vec<Node> = again.collect();
        let mut body = body;
        body.iter_mut().for_each(|node| crate::simplify::rename(node, &names));
        again.extend(body);
        again
    }

    /// The stack of a value of the forward body, made where there is none.
    fn saved(&mut self, scan: &mut Scan, inside: TensorId) -> TensorId {
        if let Some((_, outside)) = scan.stacks.iter().find(|(i, _)| *i == inside) {
            return *outside;
        }
        let outside = self.stack_like(inside, &scan.extent);
        scan.stacks.push((inside, outside));
        outside
    }

    fn stack_like(&mut self, inside: TensorId, extent: &Dim) -> TensorId {
        let tensor = self.program.get(inside).clone();
        let mut shape = tensor.shape;
        shape.insert(usize::from(self.program.is_per_example(inside)), extent.clone());
        self.program.computed(&format!("{}_steps", tensor.name), tensor.dtype, shape)
    }

    /// Reads of forward values in the adjoint body become reads of their stacks.
    fn save(&mut self, scan: &mut Scan, forward: &HashSet<TensorId>, body: &mut Vec<Node>) {
        let mut needed: Vec<TensorId> = Vec::new();
        for id in body.iter().flat_map(Node::reads_deep) {
            if forward.contains(&id) && !needed.contains(&id) {
                needed.push(id);
            }
        }
        let mut stacks = HashMap::default();
        for id in needed {
            stacks.insert(id, self.saved(scan, id));
        }
        let step = Affine::from(Dim::var(scan.step.clone()));
        let mut copies = Vec::new();
        let nodes = std::mem::take(body);
        let nodes = self.read_stacks(nodes, &stacks, &step, &mut copies);
        body.extend(copies);
        body.extend(nodes);
    }

    fn read_stacks(
        &mut self,
        nodes: Vec<Node>,
        stacks: &HashMap<TensorId, TensorId>,
        step: &Affine,
        copies: &mut Vec<Node>,
    ) -> Vec<Node> {
        let mut done = Vec::new();
        for node in nodes {
            let node = match node {
                Node::Equation(n) => {
                    let program: &Program = self.program;
                    let mut expr = |e: Expr| {
                        e.map_reads(&mut |mut read| {
                            if let Some(stack) = stacks.get(&read.tensor) {
                                read.subs.insert(usize::from(program.is_per_example(read.tensor)), step.clone().into());
                                read.tensor = *stack;
                            }
                            Expr::Read(read)
                        })
                    };
                    let pieces = n.pieces.into_iter().map(|p| p.map_exprs(&mut expr)).collect();
                    Node::Equation(Equation { pieces, ..n })
                }
                Node::Scan(mut n) => {
                    n.body = self.read_stacks(n.body, stacks, step, copies);
                    for c in &mut n.carried {
                        c.start = self.copied(c.start, stacks, step, copies);
                        c.next = self.copied(c.next, stacks, step, copies);
                    }
                    for (inside, _) in &mut n.stacks {
                        *inside = self.copied(*inside, stacks, step, copies);
                    }
                    if let Some(Ends::After(steps)) = &mut n.ends {
                        *steps = self.copied(*steps, stacks, step, copies);
                    }
                    Node::Scan(n)
                }
                Node::View(mut n) => {
                    n.input = self.copied(n.input, stacks, step, copies);
                    Node::View(n)
                }
                Node::Sort(mut n) => {
                    n.input = self.copied(n.input, stacks, step, copies);
                    Node::Sort(n)
                }
                same @ (Node::Iterate(_) | Node::Draw(_) | Node::Literal(_) | Node::Library(_)) => same,
            };
            done.push(node);
        }
        done
    }

    /// A forward value as a tensor of the adjoint body, for nodes that take whole tensors.
    fn copied(
        &mut self,
        id: TensorId,
        stacks: &HashMap<TensorId, TensorId>,
        step: &Affine,
        copies: &mut Vec<Node>,
    ) -> TensorId {
        let Some(stack) = stacks.get(&id) else { return id };
        let tensor = self.program.get(id);
        let (name, rank) = (format!("{}_now", tensor.name), tensor.shape.len() as u32);
        let mut subs: Vec<Affine> = (0..rank).map(|i| IndexId(i).into()).collect();
        subs.insert(usize::from(self.program.is_per_example(id)), step.clone());
        self.copy(copies, id, &name, Expr::read(*stack, subs), &Origin::default())
    }

    // ------------------------------------------------------------------------------------------------ lifting

    fn lift_job(
        &mut self,
        scan: &mut Scan,
        forward: &mut HashSet<TensorId>,
        (stacks, copies): (&mut HashMap<TensorId, TensorId>, &mut HashMap<TensorId, TensorId>),
        job: Deferred,
    ) -> Done<Deferred> {
        let mut stacked = |tape: &mut Self, up: TensorId| match stacks.get(&up) {
            Some(stack) => *stack,
            None => {
                let stack = tape.stack_like(up, &scan.extent);
                stacks.insert(up, stack);
                stack
            }
        };
        match job {
            Deferred::View { input, up, steps, origin } => {
                let up = stacked(self, up);
                Ok(Deferred::View { input, up, steps: steps + 1, origin })
            }
            Deferred::Piece { piece, value, out, up, only, origin } => {
                let up = stacked(self, up);
                let own = self.program.is_per_example(out);
                let piece = if self.runs_apart(scan) {
                    Box::new(self.for_each_example(scan, forward, copies, *piece))
                } else {
                    piece
                };
                let mut read: Vec<TensorId> = piece.reads().iter().map(|r| r.tensor).collect();
                read.extend(value.iter().flat_map(Expr::reads).map(|r| r.tensor));
                let saved: HashMap<TensorId, TensorId> =
                    read.into_iter().filter(|id| forward.contains(id)).map(|id| (id, self.saved(scan, id))).collect();
                let steps = Steps { step: &scan.step, extent: &scan.extent };
                let over_steps = |body: &Expr| {
                    let piece = Piece { body: body.clone(), ..(*piece).clone() };
                    lift(self.program, &piece, steps, own, &saved).ok_or_else(|| {
                        let what = "a subscript that is not linear in the step of its loop";
                        DifferentiateError::NoDerivative { what, origin: origin.clone() }
                    })
                };
                let lifted = over_steps(&piece.body)?;
                let value = value.map(|v| over_steps(&v)).transpose()?.map(|p| p.body);
                let mut lifted = lifted;
                let step = IndexId(u32::from(own && piece.free > 0));
                if let Some(ends) = scan.ends
                    && is_singular(&lifted.body)
                {
                    // Of steps that are not run, stacks hold 0, which must not be divided by. (Elsewhere 0 is what a step adds that is not run, and
                    // without a filter the sum over steps is a contraction.)
                    let (Ends::When { until: _, steps } | Ends::After(steps)) = ends;
                    let runs = Expr::number(step).compare(CompareOp::Lt, Expr::read(steps, [0i64; 0]));
                    lifted.filter.push(Condition::Holds(runs));
                }
                if self.runs_apart(scan) {
                    lifted = self.lengths.that_run(self.program, lifted, step, &scan.extent).ok_or_else(|| {
                        let what = "several examples in a loop whose length depends on the step of another loop";
                        DifferentiateError::NoDerivative { what, origin: origin.clone() }
                    })?;
                }
                Ok(Deferred::Piece { piece: Box::new(lifted), value, out, up, only, origin })
            }
        }
    }
}

/// May the expression or a derivative of it be infinite or no number where what it reads, and its own value, is 0?
fn is_singular(e: &Expr) -> bool {
    let mut found = false;
    e.visit(&mut |e| {
        found |= match e {
            Expr::Binary(BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Rem, _, by) => !matches!(**by, Expr::Const(_)),
            Expr::Binary(BinaryOp::Pow, _, by) => !matches!(**by, Expr::Const(by) if by >= 1.0 || by == 0.0),
            Expr::Unary(op, _) => {
                matches!(op, UnaryOp::Sqrt | UnaryOp::Log | UnaryOp::Lgamma | UnaryOp::Digamma | UnaryOp::Trigamma)
            }
            Expr::Binary(_, _, _)
            | Expr::Const(_)
            | Expr::Number(_)
            | Expr::Read(_)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _) => false,
        }
    });
    found
}

/// Tensors that a node reads at the step of a loop around it.
fn read_at_step(node: &Node, step: &Name, found: &mut HashSet<TensorId>) {
    if let Node::Equation(equation) = node {
        for read in equation.reads() {
            let at_step = Expr::Read(read.clone());
            let mut named = false;
            at_step.visit_affine(&mut |form| named |= form.mentions_size(step));
            if named {
                found.insert(read.tensor);
            }
        }
    }
    node.inner().for_each(|node| read_at_step(node, step, found));
}

/// What a loop's body defines for itself.
fn body_tensors(scan: &Scan) -> HashSet<TensorId> {
    scan.body.iter().flat_map(Node::writes).chain(scan.carried.iter().map(|c| c.inside)).collect()
}
