//! Quotients: where a softmax is kept, its numerator need not be.
//!
//! ```text
//! e[i, j] = exp(x[i, j])       s[i] = sum[k] e[i, k]       a[i, j] = e[i, j] / s[i]
//! d_x[i, j] = d_e[i, j] * e[i, j]      ->      d_x[i, j] = d_e[i, j] * (a[i, j] * s[i])
//! ```
//!
//! The gradient of the exponential asks for `e`, that of everything behind the softmax for `a`: two tensors as large as attention's
//! scores, for each layer, from its forward to its backward pass. `a * s` is `e` to one rounding, for `s` is a sum of what `e` holds: it is never 0 where `a`
//! is a number.
//!
//! Deliberately absent: quotients whose denominator is anything else (it might be 0 or infinite where the numerator is needed), and those of
//! a loop's body, whose values reach the gradient as stacks.

use super::{Pass, map_exprs};
use crate::data::{
    Affine, BinaryOp, DType, Equation, Expr, IndexId, Monoid, Node, Piece, Program, Read, Sub, TensorId, UnaryOp,
};
use rustc_hash::FxHashMap as HashMap;

/// `a = e / s`, element by element.
struct Quotient {
    quotient: TensorId,
    denominator: TensorId,
    /// The quotient's indices that the denominator has.
    axes: Vec<IndexId>,
    /// Where the quotient is computed.
    at: usize,
}

/// Reads of a numerator behind its quotient become reads of the quotient, where that is read behind, too.
pub fn read_quotients(program: &mut Program) -> Pass {
    let found = quotients(program);
    let mut changes = 0;
    for (numerator, found) in found {
        let behind = &program.nodes[found.at + 1..];
        let reads = |id: TensorId| behind.iter().any(|node| node.reads_deep().contains(&id));
        if !reads(numerator) || !reads(found.quotient) || !behind.iter().all(|node| reads_plainly(node, numerator)) {
            continue;
        }
        let rest = program.nodes.split_off(found.at + 1);
        let before = std::mem::replace(&mut program.nodes, rest);
        changes += map_exprs(program, &mut |e| {
            e.map_reads(&mut |read| if read.tensor == numerator { found.product(read) } else { Expr::Read(read) })
        });
        let rest = std::mem::replace(&mut program.nodes, before);
        program.nodes.extend(rest);
    }
    changes
}

impl Quotient {
    /// What stands for a read of the numerator.
    fn product(&self, read: Read) -> Expr {
        let axes = self.axes.iter().map(|axis| read.subs[axis.0 as usize].clone()).collect::<Vec<_>>();
        Expr::Read(Read { tensor: self.quotient, ..read }) * Expr::read(self.denominator, axes)
    }
}

/// Does the node read the tensor in equations alone, and nowhere with a value for places outside?
fn reads_plainly(node: &Node, tensor: TensorId) -> bool {
    match node {
        Node::Equation(n) => {
            let all = n.pieces.iter().flat_map(Piece::reads);
            all.filter(|r| r.tensor == tensor).all(|r| r.otherwise.is_none() && r.example.is_none())
        }
        Node::Scan(_) | Node::Iterate(_) | Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) => {
            !node.reads_deep().contains(&tensor)
        }
        Node::Library(n) => !n.inputs.contains(&tensor),
    }
}

/// The quotients of the program itself, by their numerators, each numerator's first one.
fn quotients(program: &Program) -> Vec<(TensorId, Quotient)> {
    let mut exponentials: Vec<TensorId> = Vec::new();
    // Which sums are of which exponentials, over their last axis.
    let mut sums: HashMap<TensorId, TensorId> = HashMap::default();
    let mut found: Vec<(TensorId, Quotient)> = Vec::new();
    for (at, node) in program.nodes.iter().enumerate() {
        let Node::Equation(Equation { out, pieces, .. }) = node else { continue };
        let [piece] = pieces.as_slice() else { continue };
        if program.get(*out).dtype != DType::Real || !piece.is_plain() || !piece.filter.is_empty() {
            continue;
        }
        match &piece.body {
            Expr::Unary(UnaryOp::Exp, _) if piece.is_pointwise() => exponentials.push(*out),
            Expr::Read(read)
                if piece.monoid == Monoid::Sum && piece.bound() == 1 && is_own(read, piece.indices.len()) =>
            {
                let shape = &program.get(read.tensor).shape;
                let whole = shape.iter().zip(&piece.indices).all(|(dim, index)| *dim == index.range);
                if whole && exponentials.contains(&read.tensor) {
                    sums.insert(*out, read.tensor);
                }
            }
            Expr::Binary(BinaryOp::Div, e, s) if piece.is_pointwise() => {
                let (Expr::Read(e), Expr::Read(s)) = (e.as_ref(), s.as_ref()) else { continue };
                let axes = piece.free.saturating_sub(1);
                let is_new = found.iter().all(|(numerator, _)| *numerator != e.tensor);
                if is_new && is_own(e, piece.free) && is_own(s, axes) && sums.get(&s.tensor) == Some(&e.tensor) {
                    let axes = (0..axes as u32).map(IndexId).collect();
                    found.push((e.tensor, Quotient { quotient: *out, denominator: s.tensor, axes, at }));
                }
            }
            Expr::Const(_)
            | Expr::Number(_)
            | Expr::Read(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _) => {}
        }
    }
    found
}

/// Is it a read at the first `count` indices themselves, in order?
fn is_own(read: &Read, count: usize) -> bool {
    let own = |(at, sub): (usize, &Sub)| match sub {
        Sub::Affine(form) => Affine::as_index(form) == Some(IndexId(at as u32)),
        Sub::Data(_) => false,
    };
    read.subs.len() == count
        && read.otherwise.is_none()
        && read.example.is_none()
        && read.subs.iter().enumerate().all(own)
}
