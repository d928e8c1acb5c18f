//! Reverse-mode differentiation of programs: the adjoint of an equation is an equation.
//!
//! ```text
//! y[b, t, f] = sum[k, c] x[b, t + k, c] * w[k, c, f]
//!     d_w[k, c, f] = sum[b, t] d_y[b, t, f] * x[b, t + k, c]            read the other operand where the output was
//!     d_x[b, t, c] = sum[f, k] d_y[b, t - k else 0, f] * w[k, c, f]     swap output and read, invert the affine map
//! ```
//!
//! The nodes are walked from the last to the first. Each reads the adjoint of what it wrote and contributes to the adjoints of what it
//! read: [`rules`] says what a scalar expression contributes to each of its reads, `transpose` collects that over the points of the
//! equation at the subscripts of the read, `combine` adds the contributions to one tensor. A `scan` becomes a scan in the opposite
//! direction over saved values (`scan`); what its body reads from outside is collected after it by ordinary equations.
//!
//! The result is ordinary equations, appended in dependency order: print them, or differentiate them again.
//!
//! Deliberately absent: forward mode, and what to keep or to compute again (the schedule decides).

mod activity;
mod blocks;
mod combine;
mod iterate;
mod lengths;
mod polygamma;
pub mod rules;
mod scan;
mod shared;
mod transpose;

use crate::bounds::main_batch_index;
use crate::builder::PieceBuilder;
use crate::data::{
    Affine, Condition, DType, Equation, Expr, Index, IndexId, Monoid, Node, Origin, Piece, Program, Read, TensorId,
    View,
};
use crate::simplify::{Known, hoist, tidy};
use crate::types::{self, Kind};
use combine::Part;
use lengths::Lengths;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use scan::Deferred;
use std::fmt;

/// Why a program has no gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DifferentiateError {
    /// Only tensors of real numbers have gradients.
    NotReal { tensor: String },
    /// A library routine or another node without a derivative stands between the loss and what it is differentiated by.
    NoDerivative { what: &'static str, origin: Origin },
    /// A program that reads other examples can be differentiated after batching only.
    BatchFirst { origin: Origin },
}

impl DifferentiateError {
    /// Where in the user's file the fault lies.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            DifferentiateError::NotReal { .. } => None,
            DifferentiateError::NoDerivative { origin, .. } | DifferentiateError::BatchFirst { origin } => Some(origin),
        }
    }
}

impl fmt::Display for DifferentiateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DifferentiateError::NotReal { tensor } => write!(f, "`{tensor}` does not hold real numbers"),
            DifferentiateError::NoDerivative { what, .. } => write!(f, "no derivative: {what}"),
            DifferentiateError::BatchFirst { .. } => {
                f.write_str("a value that depends on other examples is differentiated after batching")
            }
        }
    }
}

impl std::error::Error for DifferentiateError {}

/// Appends equations for the derivative of `loss` (the sum of its elements) by each tensor of `wrt`, and gives the tensors that hold
/// them, in the same order. They are called `d_x`. What `loss` does not depend on has the derivative 0.
///
/// Nothing flows through `freeze(..)`, integers, truth values, draws and subscripts.
///
/// Errors: see [`DifferentiateError`]; the program is then left as it was.
pub fn differentiate(
    program: &mut Program,
    loss: TensorId,
    wrt: &[TensorId],
) -> Result<Vec<TensorId>, DifferentiateError> {
    let mut changed = program.clone();
    let found = differentiate_in_place(&mut changed, loss, wrt)?;
    *program = changed;
    Ok(found)
}

fn differentiate_in_place(
    program: &mut Program,
    loss: TensorId,
    wrt: &[TensorId],
) -> Result<Vec<TensorId>, DifferentiateError> {
    for id in wrt.iter().chain([&loss]) {
        let tensor = program.get(*id);
        if !types::of_dtype(tensor.dtype).is_real() {
            return Err(DifferentiateError::NotReal { tensor: tensor.name.to_string() });
        }
    }
    // What does not depend on a loop's carried values has no business in its adjoint: of an `iterate` before it is unrolled, of a block after
    // it is cut.
    while hoist(program) > 0 {}
    // Loops with checkpoints become loops over blocks; what a block computes once is then moved out of its inner loop.
    let nodes = std::mem::take(&mut program.nodes);
    let active = activity::active(program, &nodes, wrt);
    let nodes = iterate::unroll_active(program, nodes, &active);
    program.nodes = blocks::cut_active(program, nodes, &active);
    while hoist(program) > 0 {}
    let mut nodes = std::mem::take(&mut program.nodes);
    shared::copy_in(program, &mut nodes);
    let active = activity::active(program, &nodes, wrt);
    let mut tape = Tape { program, active, known: Known::default(), lengths: Lengths::default() };
    tape.note(&nodes);
    let mut scope = Scope::default();
    let ones = combine::filled(tape.program, loss, 1.0);
    scope.add(loss, Part { pieces: vec![ones], origin: gradient_of(&Origin::default(), "loss") });
    tape.backward(&mut nodes, &mut scope)?;
    let mut found = Vec::new();
    for id in wrt {
        let adjoint = tape.adjoint(&mut scope, *id);
        found.push(match adjoint {
            Some(adjoint) => tape.materialise(&mut scope, *id, adjoint),
            None => tape.zero(&mut scope, *id),
        });
    }
    let mut all = tape.lengths.nodes;
    all.append(&mut nodes);
    all.append(&mut scope.nodes);
    tape.program.nodes = all;
    Ok(found)
}

/// The derivative of the loss by a tensor.
#[derive(Clone, Debug)]
enum Adjoint {
    Tensor(TensorId),
    /// So cheap that every use may repeat it: an expression of the tensor's axes, as indices 0, 1...
    Inline(Expr),
}

/// The nodes of one level: the program, or the body of a loop.
#[derive(Default)]
struct Scope {
    /// Inside a loop: what the body defines. Contributions to anything else are put off until after the loop.
    local: Option<HashSet<TensorId>>,
    /// Inside a loop of the example's own length.
    is_ragged: bool,
    parts: HashMap<TensorId, Vec<Part>>,
    adjoints: HashMap<TensorId, Adjoint>,
    /// The adjoint nodes, in order.
    nodes: Vec<Node>,
    deferred: Vec<Deferred>,
}

impl Scope {
    fn add(&mut self, id: TensorId, part: Part) {
        self.parts.entry(id).or_default().push(part);
    }

    fn is_local(&self, id: TensorId) -> bool {
        self.local.as_ref().is_none_or(|l| l.contains(&id))
    }
}

struct Tape<'p> {
    /// Its nodes are held apart while the tape runs.
    program: &'p mut Program,
    active: Vec<bool>,
    known: Known,
    lengths: Lengths,
}

type Done<T> = Result<T, DifferentiateError>;

impl Tape<'_> {
    fn is_active(&self, id: TensorId) -> bool {
        self.active.get(id.0 as usize).copied().unwrap_or(false)
    }

    fn note(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Equation(n) => self.known.note(n),
                Node::Scan(n) => self.note(&n.body),
                Node::Iterate(n) => self.note(&n.body),
                Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_) => {}
            }
        }
    }

    fn backward(&mut self, nodes: &mut [Node], scope: &mut Scope) -> Done<()> {
        for node in nodes.iter_mut().rev() {
            match node {
                Node::Equation(n) => {
                    if !self.is_active(n.out) {
                        continue;
                    }
                    let Some(up) = self.adjoint(scope, n.out) else { continue };
                    for piece in &n.pieces {
                        let value = (piece.bound() == 0 && piece.filter.is_empty())
                            .then(|| Expr::read(n.out, piece.at.iter().cloned()));
                        let task = Task { piece, value, out: n.out, only: None, origin: &n.origin };
                        self.piece(scope, task, &up)?;
                    }
                }
                Node::View(n) => {
                    if !self.is_active(n.out) {
                        continue;
                    }
                    let Some(up) = self.adjoint(scope, n.out) else { continue };
                    let up = self.materialise(scope, n.out, up);
                    let origin = gradient_of(&n.origin, "view");
                    if scope.is_local(n.input) {
                        self.view(scope, n.input, up, origin);
                    } else {
                        scope.deferred.push(Deferred::View { input: n.input, up, steps: 0, origin: n.origin.clone() });
                    }
                }
                Node::Scan(n) => self.scan(scope, n)?,
                Node::Iterate(n) => {
                    if n.carried.iter().any(|c| self.is_active(c.last)) {
                        let what = "an `iterate` that could not be written as a scan";
                        return Err(DifferentiateError::NoDerivative { what, origin: n.origin.clone() });
                    }
                }
                Node::Library(n) => {
                    if self.is_active(n.out) && self.adjoint(scope, n.out).is_some() {
                        let what = "orthogonal matrices are made from draws, not from parameters";
                        return Err(DifferentiateError::NoDerivative { what, origin: n.origin.clone() });
                    }
                }
                Node::Draw(_) | Node::Sort(_) | Node::Literal(_) => {}
            }
        }
        Ok(())
    }

    /// The adjoint of `input` gets `up` under its own shape.
    fn view(&mut self, scope: &mut Scope, input: TensorId, up: TensorId, origin: Origin) {
        let tensor = self.program.get(input).clone();
        let out =
            self.program.computed(&format!("d_{}_view", tensor.name), types::of_adjoint(tensor.dtype), tensor.shape);
        scope.nodes.push(Node::View(View { out, input: up, origin: origin.clone() }));
        let piece = combine::whole(self.program, input, &|axes| Expr::read(out, axes.iter().copied()));
        scope.add(input, Part { pieces: vec![piece], origin });
    }

    /// What one piece of an equation contributes to the tensors it reads.
    fn piece(&mut self, scope: &mut Scope, task: Task, up: &Adjoint) -> Done<()> {
        let Task { piece, value, out, only, origin } = task;
        let wanted = |read: &Read| {
            self.is_active(read.tensor)
                && only.as_ref().is_none_or(|only: &HashSet<TensorId>| only.contains(&read.tensor))
        };
        if !rules::touches(&piece.body, &wanted) {
            return Ok(());
        }
        if piece.reads().iter().any(|r| r.example.is_some()) {
            return Err(DifferentiateError::BatchFirst { origin: origin.clone() });
        }
        let outside = |read: &Read| wanted(read) && !scope.is_local(read.tensor);
        if rules::touches(&piece.body, &outside) {
            let only = piece.body.reads().into_iter().filter(|r| outside(r)).map(|r| r.tensor).collect();
            let up = self.materialise(scope, out, up.clone());
            let (piece, value, origin) = (Box::new(piece.clone()), value.clone(), origin.clone());
            scope.deferred.push(Deferred::Piece { piece, value, out, up, only, origin });
        }
        let inside: HashSet<TensorId> = {
            let wanted = |read: &Read| {
                self.is_active(read.tensor)
                    && only.as_ref().is_none_or(|only: &HashSet<TensorId>| only.contains(&read.tensor))
            };
            let reads = piece.body.reads().into_iter();
            reads.filter(|r| wanted(r) && scope.is_local(r.tensor)).map(|r| r.tensor).collect()
        };
        let active = |read: &Read| inside.contains(&read.tensor);
        if !rules::touches(&piece.body, &active) {
            return Ok(());
        }
        let seed = match up {
            Adjoint::Tensor(id) => Expr::read(*id, piece.at.iter().cloned()),
            Adjoint::Inline(e) => e.clone().replace_indices(&|axis| piece.at[axis.0 as usize].clone()),
        };
        let what = gradient_of(origin, reduction_word(piece));
        let (points, seed) = self.points(scope, piece, seed, &what)?;
        let value = value.unwrap_or_else(|| piece.body.clone());
        let mut contributions = Vec::new();
        rules::spread(self.program, &piece.body, &value, seed, &active, &mut contributions);
        let mut merged: Vec<(Read, Expr)> = Vec::new();
        for (read, value) in contributions {
            match merged.iter_mut().find(|(r, _)| *r == read) {
                Some((_, sum)) => {
                    let old = std::mem::replace(sum, Expr::Const(0.0));
                    *sum = rules::add(old, value);
                }
                None => merged.push((read, value)),
            }
        }
        for (read, value) in merged {
            let pieces = transpose::transpose(self.program, &mut self.lengths, &points, &read, value, &self.known)
                .map_err(|reason| DifferentiateError::NoDerivative { what: reason, origin: origin.clone() })?;
            let pieces = pieces.into_iter().filter_map(|p| tidy(self.program, p, &self.known)).collect();
            for pieces in combine::layers(self.program, pieces, &self.known) {
                scope.add(read.tensor, Part { pieces, origin: what.clone() });
            }
        }
        Ok(())
    }

    /// The points at which the adjoint of a reduction flows, and what flows there.
    fn points(&mut self, scope: &mut Scope, piece: &Piece, seed: Expr, origin: &Origin) -> Done<(Piece, Expr)> {
        let mut points = piece.clone();
        if piece.bound() == 0 {
            return Ok((points, seed));
        }
        match piece.monoid {
            Monoid::Sum | Monoid::Any | Monoid::All | Monoid::ArgMax(_) | Monoid::ArgMin(_) => {}
            Monoid::Max | Monoid::Min => {
                for (number, index) in piece.bound_ids().enumerate() {
                    if piece.range(index).as_const() == Some(1) {
                        continue;
                    }
                    let n = number as u32;
                    let monoid = if piece.monoid == Monoid::Max { Monoid::ArgMax(n) } else { Monoid::ArgMin(n) };
                    let winner = self.winner(scope, piece, monoid, origin);
                    let subs: Vec<Affine> = piece.free_ids().map(Affine::from).collect();
                    points.filter.push(Condition::Equal(index.into(), Expr::read(winner, subs)));
                }
            }
            Monoid::Prod => {
                let (others, subs) = self.others(scope, piece, origin)?;
                return Ok((points, seed * Expr::read(others, subs)));
            }
        }
        Ok((points, seed))
    }

    /// The first point at which the largest or smallest value is reached, one tensor a bound index.
    fn winner(&mut self, scope: &mut Scope, piece: &Piece, monoid: Monoid, origin: &Origin) -> TensorId {
        let at = piece.free_ids().map(Affine::from).collect();
        let arg = Piece { at, monoid, empty: None, ..piece.clone() };
        let shape: Vec<_> = piece.indices[..piece.free].iter().map(|i| i.range.clone()).collect();
        let out = self.program.computed("winner", DType::I32, shape);
        let equation = Equation { out, pieces: vec![arg], origin: origin.clone() };
        self.known.note(&equation);
        scope.nodes.push(Node::Equation(equation));
        out
    }

    /// The product over all points but one: at every point, the product over a second copy of the bound indices.
    /// Gives the tensor and the subscripts at which a point of `piece` reads it.
    fn others(&mut self, scope: &mut Scope, piece: &Piece, origin: &Origin) -> Done<(TensorId, Vec<Affine>)> {
        let main = main_batch_index(self.program, piece);
        let bound_main = main.filter(|m| m.0 as usize >= piece.free);
        let mut names_main = false;
        piece.visit_affine(&mut |form| names_main |= self.program.is_per_example_size(&form.offset));
        if bound_main.is_some() && names_main {
            let what = "a product over the batch that names sizes of its examples";
            return Err(DifferentiateError::NoDerivative { what, origin: origin.clone() });
        }
        // A per-example tensor begins with its batch axis: the batch index whose sizes its other axes have goes first.
        let ragged = piece.indices.iter().filter(|index| self.program.is_per_example_size(&index.range));
        let mut owners: Vec<Option<IndexId>> = ragged.map(|index| index.example.or(main)).collect();
        owners.dedup();
        if owners.len() > 1 {
            let what = "a product over the positions of two examples (the sum of the logarithms has one)";
            return Err(DifferentiateError::NoDerivative { what, origin: origin.clone() });
        }
        let first = owners.first().copied().unwrap_or(main);
        let order: Vec<IndexId> = first.into_iter().chain(piece.ids().filter(|i| Some(*i) != first)).collect();
        let place = |i: IndexId| IndexId(order.iter().position(|o| *o == i).unwrap_or(0) as u32);
        let count = piece.indices.len() as u32;
        let copies: Vec<IndexId> = piece.bound_ids().collect();
        let copy = |i: IndexId| match copies.iter().position(|c| *c == i) {
            Some(at) => IndexId(count + at as u32),
            None => place(i),
        };
        let sized = |index: &Index| self.program.is_per_example_size(&index.range);
        let mut indices: Vec<Index> = Vec::new();
        for id in &order {
            let index = &piece.indices[id.0 as usize];
            indices.push(Index { example: index.example.map(place), ..index.clone() });
        }
        for id in &copies {
            let index = &piece.indices[id.0 as usize];
            let example = index.example.or(main).filter(|_| sized(index)).map(copy);
            let name = crate::builder::fresh_index(&indices, &index.name);
            indices.push(Index { name, example, ..index.clone() });
        }
        let by = |i: IndexId| Affine::from(copy(i));
        let same = copies.iter().map(|i| {
            let (own, other) = (Expr::number(place(*i)), Expr::number(copy(*i)));
            own.compare(crate::CompareOp::Eq, other)
        });
        let same = same.reduce(|a, b| a.binary(crate::BinaryOp::And, b)).unwrap_or(Expr::Const(0.0));
        let body = same.select(Expr::Const(1.0), piece.body.clone().replace_indices(&by));
        let filter = piece.filter.iter().map(|c| c.clone().replace_indices(&by)).collect();
        let at = (0..count).map(|i| IndexId(i).into()).collect();
        let shape: Vec<_> = indices[..count as usize].iter().map(|i| i.range.clone()).collect();
        let mut product = Piece { indices, free: count as usize, at, monoid: Monoid::Prod, filter, body, empty: None };
        if let Some(main) = main
            && first != Some(main)
            && names_main
        {
            product = self.lengths.as_values(self.program, product, place(main), &[]).ok_or_else(|| {
                let what = "a product that names the sizes of two examples";
                DifferentiateError::NoDerivative { what, origin: origin.clone() }
            })?;
        }
        let is_f64 = types::of_expr(self.program, &piece.body) == Ok(Kind::F64);
        let out = self.program.computed("others", if is_f64 { DType::F64 } else { DType::Real }, shape);
        scope.nodes.push(Node::Equation(Equation { out, pieces: vec![product], origin: origin.clone() }));
        Ok((out, order.into_iter().map(Affine::from).collect()))
    }

    fn zero(&mut self, scope: &mut Scope, id: TensorId) -> TensorId {
        let zero = combine::filled(self.program, id, 0.0);
        combine::emit(self.program, &mut scope.nodes, id, vec![zero], Origin::default())
    }

    /// A copy of `x` under another name, for places that need a tensor.
    fn copy(&mut self, nodes: &mut Vec<Node>, of: TensorId, hint: &str, value: Expr, origin: &Origin) -> TensorId {
        let tensor = self.program.get(of).clone();
        let mut piece = PieceBuilder::new();
        piece.free_axes(&tensor.shape);
        let out = self.program.computed(hint, tensor.dtype, tensor.shape);
        let pieces = vec![piece.sum(value)];
        nodes.push(Node::Equation(Equation { out, pieces, origin: origin.clone() }));
        out
    }
}

/// A piece to go back through.
struct Task<'t> {
    piece: &'t Piece,
    /// What it writes as a read, when it is point-wise: often simpler than its body.
    value: Option<Expr>,
    /// The tensor it writes.
    out: TensorId,
    /// The tensors whose adjoints are wanted; all active ones unless said.
    only: Option<HashSet<TensorId>>,
    origin: &'t Origin,
}

fn reduction_word(piece: &Piece) -> &'static str {
    match (piece.bound(), piece.monoid) {
        (0, _) => "expression",
        (_, Monoid::Sum) => "sum",
        (_, Monoid::Prod) => "product",
        (_, Monoid::Max | Monoid::ArgMax(_)) => "maximum",
        (_, Monoid::Min | Monoid::ArgMin(_)) => "minimum",
        (_, Monoid::Any | Monoid::All) => "condition",
    }
}

/// Where an adjoint comes from: the same place, called `gradient of the ..`.
fn gradient_of(origin: &Origin, otherwise: &str) -> Origin {
    let what = origin.what.as_deref().unwrap_or(otherwise);
    Origin { what: Some(format!("gradient of the {what}").into()), ..origin.clone() }
}
