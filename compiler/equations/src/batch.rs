//! Batching: from a program of one example to one of `B` examples.
//!
//! Every per-example tensor gets a leading axis `B` and every equation that computes one a leading free index `b`:
//!
//! ```text
//! h[f < 8] = sum[t < T] x[t, f]            h[b < B, f < 8] = sum[t < T] x[b, t, f]
//! loss = sum[o < B] h@o[0]           ->    loss = sum[o < B] h[o, 0]
//! ```
//!
//! A tensor is *shared* when nothing per-example reaches it except through a reduction over the batch; shared tensors (parameters,
//! state, statistics and losses of the batch) get no axis. Per-example are: inputs that say so, draws, tensors whose shape names a
//! per-example size, what names the step of a loop over such a size, and what reads any of these at the example at hand.
//!
//! A tensor of another example with one value for each example is read at the example at hand, whose place is called `self`:
//!
//! ```text
//! e[h < B, s < T] = q@h[0] * x[s]          e[b < B, h < B, s < T] = q[h, 0] * x[b, s]
//! y = sum[o < B, s < T of o] e@o[self, s]  y[b < B] = sum[o < B, s < T of o] e[o, b, s]
//! ```
//!
//! A loop whose number of steps belongs to the example carries per-example values. Where such a loop starts from a shared value, the
//! value is spread over the examples by an equation of its own.
//!
//! Deliberately absent: how examples lie in memory.

use crate::builder::fresh_index;
use crate::data::{
    Affine, BATCH, Carried, DType, Equation, Expr, Index, IndexId, Iterate, Name, Node, Origin, Piece, Program, Read,
    Role, SELF, Scan, SizeKind, SizeName, TensorId,
};
use bdl_dims::Dim;

/// The batched form of a program of one example. A program that already has a batched tensor is returned as it is.
pub fn batch(program: &Program) -> Program {
    let mut program = program.clone();
    if is_batched(&program) {
        return program;
    }
    let owned = owned_tensors(&program);
    if program.size_kind(BATCH).is_none() {
        program.sizes.insert(0, SizeName { name: BATCH.into(), kind: SizeKind::Batch });
    }
    for (tensor, own) in program.tensors.iter_mut().zip(&owned) {
        if *own {
            tensor.shape.insert(0, Dim::var(BATCH));
        }
    }
    let nodes = std::mem::take(&mut program.nodes);
    program.sizes.retain(|size| &*size.name != SELF);
    let mut batching = Batching { program, owned };
    let nodes = batching.nodes(nodes);
    batching.program.nodes = nodes;
    batching.program
}

/// Do the inputs, or without any the draws, have their axis `B` already? (Another tensor may have one before: one number for each `other in batch`.)
fn is_batched(program: &Program) -> bool {
    let own = |id: &TensorId| matches!(program.get(*id).role, Role::Input { per_example: true, .. });
    let mut inputs = program.ids().filter(own).peekable();
    if inputs.peek().is_some() {
        return inputs.any(|id| program.is_per_example(id));
    }
    program.ids().any(|id| program.is_per_example(id))
}

/// Which tensors have a value for every example.
fn owned_tensors(program: &Program) -> Vec<bool> {
    let mut owned: Vec<bool> = program
        .tensors
        .iter()
        .map(|t| {
            matches!(t.role, Role::Input { per_example: true, .. })
                || t.shape.iter().any(|d| program.is_per_example_size(d))
        })
        .collect();
    loop {
        let before = owned.clone();
        mark(program, &program.nodes, &mut owned, &mut Vec::new());
        if owned == before {
            return owned;
        }
    }
}

/// `steps` are those of the loops around that an example runs by itself: what names one is the example's.
fn mark(program: &Program, nodes: &[Node], owned: &mut Vec<bool>, steps: &mut Vec<Name>) {
    let set = |owned: &mut Vec<bool>, id: TensorId, own: bool| owned[id.0 as usize] |= own;
    for node in nodes {
        match node {
            Node::Equation(n) => {
                let own = n.pieces.iter().any(|p| piece_is_owned(program, p, owned, steps));
                set(owned, n.out, own);
            }
            Node::Draw(n) => set(owned, n.out, true),
            Node::View(n) => set(owned, n.out, owned[n.input.0 as usize]),
            Node::Sort(n) => set(owned, n.out, owned[n.input.0 as usize]),
            Node::Literal(_) => {}
            Node::Library(n) => {
                let own = n.inputs.iter().any(|i| owned[i.0 as usize]);
                set(owned, n.out, own);
            }
            Node::Scan(n) => {
                let ragged = program.is_per_example_size(&n.extent);
                let before = steps.len();
                steps.extend(ragged.then(|| n.step.clone()));
                mark(program, &n.body, owned, steps);
                steps.truncate(before);
                mark_carried(&n.carried, ragged, owned);
                for (inside, outside) in &n.stacks {
                    let own = ragged || owned[inside.0 as usize];
                    set(owned, *outside, own);
                }
            }
            Node::Iterate(n) => {
                mark(program, &n.condition, owned, steps);
                mark(program, &n.body, owned, steps);
                let ragged = program.is_per_example_size(&n.at_most) || owned[n.until.0 as usize];
                mark_carried(&n.carried, ragged, owned);
            }
        }
    }
}

fn mark_carried(carried: &[Carried], ragged: bool, owned: &mut [bool]) {
    for c in carried {
        let own = ragged || [c.start, c.inside, c.next, c.last].iter().any(|id| owned[id.0 as usize]);
        owned[c.inside.0 as usize] |= own;
        owned[c.last.0 as usize] |= own;
    }
}

fn piece_is_owned(program: &Program, piece: &Piece, owned: &[bool], steps: &[Name]) -> bool {
    let reads_own = piece.reads().iter().any(|r| r.example.is_none() && owned[r.tensor.0 as usize]);
    let ranges_own = piece.indices.iter().any(|i| i.example.is_none() && program.is_per_example_size(&i.range));
    let mut names_self = false;
    piece.visit_affine(&mut |form| names_self |= form.mentions_size(SELF));
    if reads_own || ranges_own || names_self {
        return true;
    }
    // Where a batch index is bound, a size in the body may be that of the example it names.
    if piece.indices.iter().any(|i| program.is_batch(&i.range)) {
        return false;
    }
    let mut names_own = false;
    piece.visit_affine(&mut |form| {
        names_own |= program.is_per_example_size(&form.offset) || steps.iter().any(|s| form.mentions_size(s));
    });
    names_own || piece.indices.iter().any(|i| steps.iter().any(|s| i.range.mentions(s)))
}

struct Batching {
    program: Program,
    owned: Vec<bool>,
}

impl Batching {
    fn owns(&self, id: TensorId) -> bool {
        self.owned.get(id.0 as usize).copied().unwrap_or(false)
    }

    fn nodes(&mut self, nodes: Vec<Node>) -> Vec<Node> {
        let mut done = Vec::with_capacity(nodes.len());
        for node in nodes {
            let node = match node {
                Node::Equation(n) => Node::Equation(self.equation(n)),
                Node::Scan(n) => {
                    let scan = self.scan(n, &mut done);
                    Node::Scan(scan)
                }
                Node::Iterate(n) => {
                    let iterate = self.iterate(n, &mut done);
                    Node::Iterate(iterate)
                }
                same @ (Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_)) => same,
            };
            done.push(node);
        }
        done
    }

    fn equation(&self, equation: Equation) -> Equation {
        let own = self.owns(equation.out);
        let pieces = equation.pieces.into_iter().map(|p| self.piece(p, own)).collect();
        Equation { pieces, ..equation }
    }

    fn piece(&self, piece: Piece, own: bool) -> Piece {
        let shift = u32::from(own);
        let moved = |i: IndexId| IndexId(i.0 + shift);
        let form = |a: &Affine| {
            let terms = a.terms.iter().map(|(i, c)| (moved(*i), *c)).collect();
            let plain = Affine { terms, offset: a.offset.clone() };
            plain.size_as_index(SELF, IndexId(0))
        };
        let read = |mut read: Read| {
            if self.owns(read.tensor) {
                let example = read.example.take().map_or(IndexId(0), moved);
                read.subs.insert(0, example.into());
            }
            read.example = None;
            Expr::Read(read)
        };
        let mut indices: Vec<Index> =
            piece.indices.iter().map(|i| Index { example: i.example.map(moved), ..i.clone() }).collect();
        let mut at: Vec<Affine> = piece.at.iter().map(form).collect();
        if own {
            let name = fresh_index(&indices, "b");
            indices.insert(0, Index { name, range: Dim::var(BATCH), example: None });
            at.insert(0, IndexId(0).into());
        }
        let mut expr = |e: Expr| e.map_affine(&form).map_reads(&mut |r| read(r));
        let filter = piece.filter.into_iter().map(|c| c.map(&form, &mut expr)).collect();
        let body = expr(piece.body);
        Piece { indices, free: piece.free + shift as usize, at, filter, body, ..piece }
    }

    /// A copy of a shared tensor for every example, computed in `nodes`.
    fn spread(&mut self, id: TensorId, nodes: &mut Vec<Node>, origin: &Origin) -> TensorId {
        if self.owns(id) {
            return id;
        }
        let (name, dtype, shape): (_, DType, Vec<Dim>) = {
            let tensor = self.program.get(id);
            (tensor.name.clone(), tensor.dtype, tensor.shape.clone())
        };
        let mut piece = crate::PieceBuilder::new();
        piece.free("b", Dim::var(BATCH));
        let subs = piece.free_axes(&shape);
        let piece = piece.sum(Expr::read(id, subs));
        let out = self.program.computed(&name, dtype, std::iter::once(Dim::var(BATCH)).chain(shape));
        self.owned.push(true);
        nodes.push(Node::Equation(Equation { out, pieces: vec![piece], origin: origin.clone() }));
        out
    }

    fn scan(&mut self, scan: Scan, before: &mut Vec<Node>) -> Scan {
        let mut body = self.nodes(scan.body);
        let carried = self.carried(scan.carried, before, &mut body, &scan.origin);
        let mut stacks = Vec::new();
        for (inside, outside) in scan.stacks {
            let inside = if self.owns(outside) { self.spread(inside, &mut body, &scan.origin) } else { inside };
            stacks.push((inside, outside));
        }
        Scan { body, carried, stacks, ..scan }
    }

    fn iterate(&mut self, iterate: Iterate, before: &mut Vec<Node>) -> Iterate {
        let condition = self.nodes(iterate.condition);
        let mut body = self.nodes(iterate.body);
        let carried = self.carried(iterate.carried, before, &mut body, &iterate.origin);
        Iterate { condition, body, carried, ..iterate }
    }

    fn carried(
        &mut self,
        carried: Vec<Carried>,
        before: &mut Vec<Node>,
        body: &mut Vec<Node>,
        origin: &Origin,
    ) -> Vec<Carried> {
        let mut done = Vec::new();
        for mut c in carried {
            if self.owns(c.inside) {
                c.start = self.spread(c.start, before, origin);
                c.next = self.spread(c.next, body, origin);
            }
            done.push(c);
        }
        done
    }
}
