//! Adding what several readers contribute to the adjoint of one tensor.
//!
//! - One contribution is the adjoint. If it is as cheap as a number or a read, it is not even stored.
//! - Contributions that write different places (slices, phases, halves of a concat) are pieces of one equation.
//! - Several that write the same slice or phase are added there: reductions among them are stored at that size.
//! - Otherwise reductions are stored and added, together with everything point-wise, in one equation.

use super::{Adjoint, Scope, Tape};
use crate::bounds::{Domain, disjoint};
use crate::builder::PieceBuilder;
use crate::data::{
    Affine, BinaryOp, CompareOp, Condition, Equation, Expr, IndexId, Name, Node, Origin, Piece, Program, Read, Sub,
    TensorId, UnaryOp,
};
use crate::simplify::Known;
use crate::types;
use bdl_dims::Dim;

/// One contribution: pieces that do not overlap, over the shape of the tensor.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub pieces: Vec<Piece>,
    pub origin: Origin,
}

impl Part {
    /// Does a piece of it write every element of a tensor of this shape?
    fn covers(&self, shape: &[Dim]) -> bool {
        self.pieces.iter().any(|piece| {
            let ranges = piece.indices[..piece.free].iter().map(|index| &index.range);
            piece.is_plain() && piece.filter.is_empty() && ranges.eq(shape)
        })
    }

    /// The value as an expression of the axes, when it is one: nothing bound, plain subscripts.
    fn pointwise(&self, program: &Program, known: &Known) -> Option<Expr> {
        let [piece] = self.pieces.as_slice() else { return None };
        if piece.bound() > 0 || !piece.is_plain() {
            return None;
        }
        let body = piece.body.clone();
        let Some(holds) = piece.filter.iter().map(condition).reduce(|a, b| a.binary(BinaryOp::And, b)) else {
            return Some(body);
        };
        // A filter keeps reads from happening, an `if` does not: what it kept inside is now guarded.
        let domain = Domain::of(program, piece, &known.sizes).unfiltered();
        let guarded = |mut read: Read| {
            let shape = domain.shape(program, &read);
            let inside = read.subs.iter().zip(&shape).all(|(sub, dim)| match sub {
                Sub::Affine(form) => domain.inside(form, dim),
                Sub::Data(_) => false,
            });
            if !inside && read.otherwise.is_none() {
                read.otherwise = Some(0.0);
            }
            Expr::Read(read)
        };
        Some(holds.map_reads(&mut |r| guarded(r)).select(body.map_reads(&mut |r| guarded(r)), Expr::Const(0.0)))
    }
}

/// A filter as a Boolean expression.
fn condition(filter: &Condition) -> Expr {
    match filter {
        Condition::NonNegative(form) => Expr::number(form.clone()).compare(CompareOp::Ge, Expr::Const(0.0)),
        Condition::Equal(form, data) => Expr::number(form.clone()).compare(CompareOp::Eq, data.clone()),
        Condition::Holds(e) => e.clone(),
    }
}

/// Cheap enough to be repeated at every use: a number, a read, or one of these negated or scaled by a number.
fn cheap(e: &Expr) -> bool {
    match e {
        Expr::Const(_) => true,
        Expr::Number(form) => form.terms.is_empty(),
        Expr::Read(read) => read.subs.iter().all(|s| match s {
            Sub::Affine(_) => true,
            Sub::Data(_) => false,
        }),
        Expr::Unary(UnaryOp::Neg, a) => cheap(a),
        Expr::Binary(BinaryOp::Mul | BinaryOp::Div, a, b) => {
            let number = |e: &Expr| e.as_const().is_some() || matches!(e, Expr::Number(f) if f.terms.is_empty());
            cheap(a) && number(b) || number(a) && cheap(b)
        }
        Expr::Unary(_, _) | Expr::Binary(_, _, _) | Expr::Compare(_, _, _) | Expr::Select(_, _, _) => false,
    }
}

/// The piece that writes `value(axes)` everywhere in a tensor like `id`.
pub(super) fn whole(program: &Program, id: TensorId, value: &dyn Fn(&[IndexId]) -> Expr) -> Piece {
    whole_named(program, id, &[], value)
}

/// The same, with names for the axes (plain ones where there are none).
fn whole_named(program: &Program, id: TensorId, names: &[Name], value: &dyn Fn(&[IndexId]) -> Expr) -> Piece {
    if names.len() == program.get(id).shape.len() {
        let mut piece = PieceBuilder::new();
        let shape = program.get(id).shape.iter();
        let axes: Vec<IndexId> = shape.zip(names).map(|(dim, name)| piece.free(name, dim.clone())).collect();
        return piece.sum(value(&axes));
    }
    let mut piece = PieceBuilder::new();
    let shape = &program.get(id).shape;
    let axes = match shape.split_first() {
        Some((first, rest)) if program.is_batch(first) => {
            let batch = piece.free("b", first.clone());
            std::iter::once(batch).chain(piece.free_axes(rest)).collect()
        }
        Some(_) | None => piece.free_axes(shape),
    };
    piece.sum(value(&axes))
}

pub(super) fn filled(program: &Program, id: TensorId, value: f64) -> Piece {
    whole(program, id, &|_| Expr::Const(value))
}

/// Stores pieces as the adjoint `d_x` of `x`.
pub(super) fn emit(
    program: &mut Program,
    nodes: &mut Vec<Node>,
    of: TensorId,
    pieces: Vec<Piece>,
    origin: Origin,
) -> TensorId {
    let tensor = program.get(of).clone();
    let out = program.computed(&format!("d_{}", tensor.name), types::of_adjoint(tensor.dtype), tensor.shape);
    nodes.push(Node::Equation(Equation { out, pieces, origin }));
    out
}

/// Groups pieces that may overlap so that those of one group do not.
pub(super) fn layers(program: &Program, pieces: Vec<Piece>, known: &Known) -> Vec<Vec<Piece>> {
    let mut layers: Vec<Vec<Piece>> = Vec::new();
    for piece in pieces {
        let free = |layer: &&mut Vec<Piece>| layer.iter().all(|p| disjoint(program, p, &piece, &known.sizes));
        match layers.iter_mut().find(free) {
            Some(layer) => layer.push(piece),
            None => layers.push(vec![piece]),
        }
    }
    layers
}

impl Tape<'_> {
    /// The adjoint of `id`, from what was contributed so far: asked for when no reader is left.
    pub(super) fn adjoint(&mut self, scope: &mut Scope, id: TensorId) -> Option<Adjoint> {
        if let Some(adjoint) = scope.adjoints.get(&id) {
            return Some(adjoint.clone());
        }
        let parts = scope.parts.remove(&id)?;
        let adjoint = self.combine(scope, id, parts);
        scope.adjoints.insert(id, adjoint.clone());
        Some(adjoint)
    }

    /// The adjoint as a tensor.
    pub(super) fn materialise(&mut self, scope: &mut Scope, id: TensorId, adjoint: Adjoint) -> TensorId {
        let e = match adjoint {
            Adjoint::Tensor(tensor) => return tensor,
            Adjoint::Inline(e) => e,
        };
        if let Expr::Read(read) = &e {
            // A plain read of a tensor of the same shape is that tensor.
            let plain = read.subs.iter().enumerate().all(|(axis, s)| match s {
                Sub::Affine(form) => form.as_index() == Some(IndexId(axis as u32)),
                Sub::Data(_) => false,
            });
            if plain && self.program.get(read.tensor).shape == self.program.get(id).shape {
                return read.tensor;
            }
        }
        let piece = whole(self.program, id, &|_| e.clone());
        let origin = super::gradient_of(&Origin::default(), "expression");
        let tensor = emit(self.program, &mut scope.nodes, id, vec![piece], origin);
        scope.adjoints.insert(id, Adjoint::Tensor(tensor));
        tensor
    }

    /// The parts, with the pieces that write the same part of the tensor added to the first of them.
    fn added_in_places(&mut self, scope: &mut Scope, id: TensorId, mut parts: Vec<Part>) -> Vec<Part> {
        let mut found: Vec<(Vec<Dim>, Vec<Affine>, Vec<(usize, usize)>)> = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            for (number, piece) in part.pieces.iter().enumerate() {
                let free = &piece.indices[..piece.free];
                let own = free.iter().any(|i| i.example.is_some() || self.program.is_per_example_size(&i.range));
                let batch_inside = free.iter().skip(1).any(|i| self.program.is_batch(&i.range));
                // A whole tensor is added as one.
                if piece.is_plain() || own || batch_inside {
                    continue;
                }
                let ranges = free.iter().map(|i| i.range.clone()).collect();
                match found.iter_mut().find(|(known, at, _)| *known == ranges && *at == piece.at) {
                    Some((_, _, pieces)) => pieces.push((at, number)),
                    None => found.push((ranges, piece.at.clone(), vec![(at, number)])),
                }
            }
        }
        let mut dropped: Vec<(usize, usize)> = Vec::new();
        for (_, _, pieces) in found.into_iter().filter(|(_, _, pieces)| pieces.len() > 1) {
            let mut total: Option<Piece> = None;
            for (at, number) in &pieces {
                let piece = parts[*at].pieces[*number].clone();
                let piece = self.in_its_place(scope, id, piece, &parts[*at].origin);
                total = Some(match total {
                    None => piece,
                    Some(sum) => Piece { body: super::rules::add(sum.body, piece.body), ..sum },
                });
            }
            if let (Some(total), [first, others @ ..]) = (total, pieces.as_slice()) {
                parts[first.0].pieces[first.1] = total;
                dropped.extend(others);
            }
        }
        for (at, part) in parts.iter_mut().enumerate() {
            let mut number = 0;
            part.pieces.retain(|_| {
                number += 1;
                !dropped.contains(&(at, number - 1))
            });
        }
        parts.retain(|part| !part.pieces.is_empty());
        parts
    }

    /// The piece with nothing bound or filtered: of a reduction the values are stored, as many as it writes.
    fn in_its_place(&mut self, scope: &mut Scope, id: TensorId, piece: Piece, origin: &Origin) -> Piece {
        if piece.bound() == 0 && piece.filter.is_empty() {
            return piece;
        }
        let free = piece.indices[..piece.free].to_vec();
        let at = piece.free_ids().map(Affine::from).collect();
        let tensor = self.program.get(id);
        let (name, dtype) = (format!("d_{}_part", tensor.name), types::of_adjoint(tensor.dtype));
        let out = self.program.computed(&name, dtype, free.iter().map(|i| i.range.clone()));
        let body = Expr::read(out, piece.free_ids());
        let written = piece.at.clone();
        let reduction = Piece { at, ..piece.clone() };
        scope.nodes.push(Node::Equation(Equation { out, pieces: vec![reduction], origin: origin.clone() }));
        Piece { indices: free, at: written, filter: Vec::new(), empty: None, body, ..piece }
    }

    fn combine(&mut self, scope: &mut Scope, id: TensorId, parts: Vec<Part>) -> Adjoint {
        let origin = parts.first().map(|p| p.origin.clone()).unwrap_or_default();
        let mut sum: Option<Expr> = None;
        let mut names: Vec<Name> = Vec::new();
        let (mut stored, mut covering): (Vec<Part>, Vec<Part>) = (Vec::new(), Vec::new());
        for part in self.added_in_places(scope, id, parts) {
            if names.is_empty()
                && let Some(piece) = part.pieces.first().filter(|p| p.is_plain())
            {
                names = piece.indices[..piece.free].iter().map(|i| i.name.clone()).collect();
            }
            match part.pointwise(self.program, &self.known) {
                Some(e) => sum = Some(sum.map_or(e.clone(), |s| super::rules::add(s, e))),
                // What covers the tensor is apart from nothing. (A weight that a deep chain reads at every level has as many of these.)
                None if part.covers(&self.program.get(id).shape) => covering.push(part),
                None => {
                    let apart = |other: &&mut Part| {
                        crate::simplify::apart(self.program, &other.pieces, &part.pieces, &self.known.sizes)
                    };
                    match stored.iter_mut().find(apart) {
                        Some(other) => other.pieces.extend(part.pieces),
                        None => stored.push(part),
                    }
                }
            }
        }
        stored.extend(covering);
        match (sum, stored.len()) {
            (Some(e), 0) if cheap(&e) => Adjoint::Inline(e),
            (Some(e), 0) => {
                let piece = whole_named(self.program, id, &names, &|_| e.clone());
                Adjoint::Tensor(emit(self.program, &mut scope.nodes, id, vec![piece], origin))
            }
            (None, 1) => {
                let part = stored.remove(0);
                Adjoint::Tensor(emit(self.program, &mut scope.nodes, id, part.pieces, part.origin))
            }
            (sum, _) => {
                let mut total = sum;
                for part in stored {
                    let tensor = self.program.get(id).clone();
                    let dtype = types::of_adjoint(tensor.dtype);
                    let out = self.program.computed(&format!("d_{}_part", tensor.name), dtype, tensor.shape);
                    let rank = self.program.get(out).shape.len() as u32;
                    scope.nodes.push(Node::Equation(Equation { out, pieces: part.pieces, origin: part.origin }));
                    let read = Expr::read(out, (0..rank).map(|axis| Affine::from(IndexId(axis))));
                    total = Some(total.map_or(read.clone(), |t| t + read));
                }
                let piece = whole_named(self.program, id, &names, &|_| total.clone().unwrap_or(Expr::Const(0.0)));
                Adjoint::Tensor(emit(self.program, &mut scope.nodes, id, vec![piece], origin))
            }
        }
    }
}
