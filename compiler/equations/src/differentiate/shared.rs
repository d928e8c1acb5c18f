//! What all examples share inside a loop whose steps are the example's own: a mean over the examples that still run, say.
//!
//! ```text
//! scan t < T { carry h ..;  m[c] = sum[b] h[b, c] * g[c] / sum[b] 1;  h1[b, c] = tanh(h[b, c] - m[c] + x[b, t, c]) }
//! ```
//!
//! Nothing that examples share can be stacked along `T`, so
//!
//! - the adjoint body computes `m` again, over the same examples (`recompute`), and what it takes through a stack is a copy for each example;
//! - what `m` contributes to `g` is summed up from step to step, shared out evenly among the examples that run: a carried value belongs to
//!   an example. The sum over the batch after the loop is the whole;
//! - what such an equation reads of an example at a step (`x[b, t, c]`) is copied first, and the copy's adjoint is stacked like any other.

use super::combine::{self, Part};
use super::scan::Deferred;
use super::{Adjoint, Done, Scope, Tape, Task};
use crate::DifferentiateError;
use crate::builder::PieceBuilder;
use crate::data::{
    Affine, Carried, Equation, Expr, Index, IndexId, Monoid, Node, Origin, Piece, Program, Read, Scan, SizeKind, Sub,
    TensorId,
};
use crate::types;
use bdl_dims::Dim;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

// ------------------------------------------------------------------------------------------------ copies of what is read

/// In loops of the example's own length, shared equations read copies of what they take of an example from outside.
pub(super) fn copy_in(program: &mut Program, nodes: &mut [Node]) {
    for node in nodes {
        match node {
            Node::Scan(scan) if program.is_per_example_size(&scan.extent) => {
                let mut inside: HashSet<TensorId> = scan.body.iter().flat_map(Node::writes_deep).collect();
                inside.extend(scan.carried.iter().map(|c| c.inside));
                copy_in_body(program, &mut scan.body, &inside);
            }
            Node::Scan(scan) => copy_in(program, &mut scan.body),
            Node::Iterate(iterate) => copy_in(program, &mut iterate.body),
            Node::Equation(_) | Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_) => {
            }
        }
    }
}

fn copy_in_body(program: &mut Program, body: &mut Vec<Node>, inside: &HashSet<TensorId>) {
    let mut done = Vec::with_capacity(body.len());
    for node in std::mem::take(body) {
        match node {
            Node::Equation(mut equation) if !program.is_per_example(equation.out) => {
                let mut copies: Vec<(Read, TensorId)> = Vec::new();
                let mut values: Vec<(Piece, TensorId)> = Vec::new();
                for piece in &mut equation.pieces {
                    let plain = std::mem::replace(&mut piece.body, Expr::Const(0.0));
                    let points = piece.clone();
                    piece.body = plain.map_reads(&mut |read| {
                        let outside = program.is_per_example(read.tensor) && !inside.contains(&read.tensor);
                        if !outside {
                            return Expr::Read(read);
                        }
                        if read.otherwise.is_some() {
                            let read = valued(program, &points, read, &mut values, &mut done, &equation.origin);
                            return Expr::Read(read);
                        }
                        Expr::Read(copied(program, read, &mut copies, &mut done, &equation.origin))
                    });
                }
                done.push(Node::Equation(equation));
            }
            Node::Scan(mut scan) => {
                copy_in_body(program, &mut scan.body, inside);
                done.push(Node::Scan(scan));
            }
            other @ (Node::Equation(_)
            | Node::Iterate(_)
            | Node::Draw(_)
            | Node::View(_)
            | Node::Sort(_)
            | Node::Literal(_)
            | Node::Library(_)) => done.push(other),
        }
    }
    *body = done;
}

/// The same read of a copy without the axes at which the read names no index: `x[b, t, c]` of `x_now[b, c] = x[b, t, c]`.
fn copied(
    program: &mut Program,
    read: Read,
    copies: &mut Vec<(Read, TensorId)>,
    nodes: &mut Vec<Node>,
    origin: &Origin,
) -> Read {
    let fixed = |sub: &Sub| matches!(sub, Sub::Affine(form) if form.terms.is_empty());
    let tensor = program.get(read.tensor).clone();
    let mut piece = PieceBuilder::new();
    let mut subs: Vec<Sub> = Vec::new();
    let mut shape: Vec<Dim> = Vec::new();
    for (axis, sub) in read.subs.iter().enumerate() {
        if fixed(sub) && axis > 0 {
            subs.push(sub.clone());
            continue;
        }
        subs.push(piece.free("i", tensor.shape[axis].clone()).into());
        shape.push(tensor.shape[axis].clone());
    }
    let wanted = Read { subs, ..read.clone() };
    let kept: Vec<Sub> =
        read.subs.iter().enumerate().filter(|(axis, s)| *axis == 0 || !fixed(s)).map(|(_, s)| s.clone()).collect();
    let copy = match copies.iter().find(|(r, _)| *r == wanted) {
        Some((_, copy)) => *copy,
        None => {
            let out = program.computed(&format!("{}_now", tensor.name), tensor.dtype, shape);
            let pieces = vec![piece.sum(Expr::Read(wanted.clone()))];
            nodes.push(Node::Equation(Equation { out, pieces, origin: origin.clone() }));
            copies.push((wanted, out));
            out
        }
    };
    Read { tensor: copy, subs: kept, ..read }
}

/// A read that may leave its axis, which only the place says where it stands: a copy of the values themselves, one for each point of the
/// indices that the read mentions. `x[b, t + k else 0, c]` is read as `x_now[b, k, c]`, of `x_now[b, k, c] = x[b, t + k else 0, c]`.
fn valued(
    program: &mut Program,
    piece: &Piece,
    read: Read,
    values: &mut Vec<(Piece, TensorId)>,
    nodes: &mut Vec<Node>,
    origin: &Origin,
) -> Read {
    let Some(Sub::Affine(first)) = read.subs.first() else { return read };
    let Some(example) = first.as_index() else { return read };
    let at = Expr::Read(read.clone());
    let used: Vec<IndexId> = piece.ids().filter(|i| *i != example && at.mentions(*i)).collect();
    let main = crate::bounds::main_batch_index(program, piece);
    let owned = |i: &IndexId| {
        let index = &piece.indices[i.0 as usize];
        !program.is_per_example_size(&index.range) || index.example.or(main) == Some(example)
    };
    // Sizes in its subscripts are those of the example that is read, as in the copy.
    let mut sized = false;
    at.visit_affine(&mut |form| sized |= program.is_per_example_size(&form.offset));
    let two = used.iter().any(|i| program.is_batch(piece.range(*i))) || sized && main != Some(example);
    if two || !used.iter().all(owned) {
        return read;
    }
    let order: Vec<IndexId> = std::iter::once(example).chain(used).collect();
    let place = |i: IndexId| IndexId(order.iter().position(|o| *o == i).unwrap_or(0) as u32);
    let index = |i: &IndexId| Index { example: None, ..piece.indices[i.0 as usize].clone() };
    let copy = Piece {
        indices: order.iter().map(index).collect(),
        free: order.len(),
        at: (0..order.len() as u32).map(|i| IndexId(i).into()).collect(),
        monoid: Monoid::Sum,
        filter: Vec::new(),
        body: at.replace_indices(&|i| place(i).into()),
        empty: None,
    };
    let known = values.iter().find(|(known, _)| *known == copy).map(|(_, tensor)| *tensor);
    let tensor = known.unwrap_or_else(|| {
        let of = program.get(read.tensor).clone();
        let shape: Vec<Dim> = copy.indices.iter().map(|i| i.range.clone()).collect();
        let out = program.computed(&format!("{}_now", of.name), of.dtype, shape);
        nodes.push(Node::Equation(Equation { out, pieces: vec![copy.clone()], origin: origin.clone() }));
        values.push((copy, out));
        out
    });
    Read::new(tensor, order)
}

// ------------------------------------------------------------------------------------------------ sums from step to step

impl Tape<'_> {
    /// Contributions of shared equations of a loop over running examples, summed up in its adjoint. Gives a carried value for each
    /// tensor from outside that gets any.
    pub(super) fn summed_by_step(
        &mut self,
        parent: &mut Scope,
        child: &mut Scope,
        jobs: Vec<Deferred>,
        origin: &Origin,
    ) -> Done<Vec<(Carried, TensorId)>> {
        let mut targets: Vec<TensorId> = Vec::new();
        for job in jobs {
            let (piece, value, out, up, only, origin) = match job {
                Deferred::Piece { piece, value, out, up, only, origin } => (piece, value, out, up, only, origin),
                Deferred::View { origin, .. } => {
                    let what = "a shared value under another shape, in a loop whose length belongs to the example";
                    return Err(DifferentiateError::NoDerivative { what, origin });
                }
            };
            let batched = self.program.sizes.iter().any(|s| s.kind == SizeKind::Batch);
            if !batched || only.iter().any(|id| self.program.is_per_example(*id)) {
                let what = "a value that all examples share, in a loop whose length belongs to the example";
                return Err(DifferentiateError::NoDerivative { what, origin });
            }
            targets.extend(&only);
            if let Some(local) = &mut child.local {
                local.extend(&only);
            }
            let task = Task { piece: &piece, value, out, only: Some(only), origin: &origin };
            self.piece(child, task, &Adjoint::Tensor(up))?;
        }
        targets.sort();
        targets.dedup();
        let mut sums = Vec::new();
        for of in targets {
            sums.extend(self.sum_by_step(parent, child, of, origin).map(|c| (c, of)));
        }
        Ok(sums)
    }

    /// `sum[b, ..] = sum[b, ..] + each[..] / number of examples that run`
    fn sum_by_step(&mut self, parent: &mut Scope, child: &mut Scope, of: TensorId, origin: &Origin) -> Option<Carried> {
        let adjoint = self.adjoint(child, of)?;
        let each = self.materialise(child, of, adjoint);
        let batch = self.program.sizes.iter().find(|s| s.kind == SizeKind::Batch).map(|s| Dim::var(s.name.clone()))?;
        let tensor = self.program.get(of).clone();
        let shape: Vec<Dim> = std::iter::once(batch.clone()).chain(tensor.shape.iter().cloned()).collect();
        let dtype = types::of_adjoint(tensor.dtype);
        let hint = format!("d_{}", tensor.name);
        let define = |tape: &mut Self, name: &str, nodes: &mut Vec<Node>, value: &dyn Fn(Vec<IndexId>) -> Expr| {
            let mut piece = PieceBuilder::new();
            let axes = piece.free_axes(&shape);
            let pieces = vec![piece.sum(value(axes))];
            let out = tape.program.computed(name, dtype, shape.iter().cloned());
            nodes.push(Node::Equation(Equation { out, pieces, origin: origin.clone() }));
            out
        };
        let start = define(self, &format!("{hint}_none"), &mut parent.nodes, &|_| Expr::Const(0.0));
        let inside = self.program.computed(&format!("{hint}_sum"), dtype, shape.iter().cloned());
        let last = self.program.computed(&format!("{hint}_all"), dtype, shape.iter().cloned());
        let mut piece = PieceBuilder::new();
        piece.bound("b", batch);
        let running = self.program.computed("running", dtype, []);
        let pieces = vec![piece.sum(Expr::Const(1.0))];
        child.nodes.push(Node::Equation(Equation { out: running, pieces, origin: origin.clone() }));
        let next = define(self, &format!("{hint}_next"), &mut child.nodes, &|axes| {
            let share = Expr::read(each, axes[1..].iter().copied()) / Expr::read(running, [0i64; 0]);
            Expr::read(inside, axes.iter().copied()) + share
        });
        Some(Carried { start, inside, next, last })
    }

    /// After the loop: the sum over the batch is the adjoint of `of`.
    pub(super) fn sum_of_steps(&mut self, parent: &mut Scope, of: TensorId, last: TensorId, origin: &Origin) {
        let shape = self.program.get(last).shape.clone();
        let mut piece = PieceBuilder::new();
        let axes = piece.free_axes(&shape[1..]);
        let b = piece.bound("b", shape[0].clone());
        let subs: Vec<Affine> = std::iter::once(b).chain(axes).map(Affine::from).collect();
        let piece = piece.sum(Expr::read(last, subs));
        if parent.is_local(of) {
            parent.add(of, Part { pieces: vec![piece], origin: origin.clone() });
            return;
        }
        let up = combine::emit(self.program, &mut parent.nodes, of, vec![piece], origin.clone());
        let same = combine::whole(self.program, of, &|axes| Expr::read(of, axes.iter().copied()));
        let (only, origin) = (HashSet::from_iter([of]), origin.clone());
        parent.deferred.push(Deferred::Piece { piece: Box::new(same), value: None, out: of, up, only, origin });
    }

    /// For an equation of an example that is lifted out of a loop over running examples: shared values of the body as copies for each
    /// example, which can be stacked.
    pub(super) fn for_each_example(
        &mut self,
        scan: &mut Scan,
        forward: &mut HashSet<TensorId>,
        copies: &mut HashMap<TensorId, TensorId>,
        piece: Piece,
    ) -> Piece {
        let shared: Vec<TensorId> = {
            let reads = piece.reads().into_iter().map(|r| r.tensor);
            reads.filter(|id| forward.contains(id) && !self.program.is_per_example(*id)).collect()
        };
        for id in shared {
            if copies.contains_key(&id) {
                continue;
            }
            let Some(batch) = self.program.sizes.iter().find(|s| s.kind == SizeKind::Batch) else { continue };
            let batch = Dim::var(batch.name.clone());
            let tensor = self.program.get(id).clone();
            let mut each = PieceBuilder::new();
            each.free("b", batch.clone());
            let axes = each.free_axes(&tensor.shape);
            let pieces = vec![each.sum(Expr::read(id, axes))];
            let shape = std::iter::once(batch).chain(tensor.shape);
            let out = self.program.computed(&format!("{}_each", tensor.name), tensor.dtype, shape);
            scan.body.push(Node::Equation(Equation { out, pieces, origin: scan.origin.clone() }));
            forward.insert(out);
            copies.insert(id, out);
        }
        piece.map_exprs(&mut |e| {
            e.map_reads(&mut |mut read| {
                if let Some(copy) = copies.get(&read.tensor) {
                    read.tensor = *copy;
                    read.subs.insert(0, IndexId(0).into());
                }
                Expr::Read(read)
            })
        })
    }
}
