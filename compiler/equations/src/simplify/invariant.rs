//! Out of elements: what is the same for many elements is computed once for them.
//!
//! ```text
//! w1[i, j] = w[i, j] * (1 - (1 + cos(step / steps)) * 0.01)          once = 1 - (1 + cos(step / steps)) * 0.01
//!                                                               ->  w1[i, j] = w[i, j] * once
//! y[b, t, c] = (x[b, t, c] - m[c]) / sqrt(v[c] + eps)                once[c] = sqrt(v[c] + eps)
//! ```
//!
//! Only expressions with a function, a power or a quotient of values are worth a tensor, and only where an index with more than one
//! point is missing from them.
//!
//! Deliberately absent: sums that do not depend on an index (a reduction is an equation of its own already).

use super::Pass;
use crate::bounds::{Domain, main_batch_index};
use crate::data::{
    Affine, BinaryOp, DType, Equation, Expr, Index, IndexId, Monoid, Name, Node, Origin, Piece, Program, Sub, TensorId,
    UnaryOp,
};
use crate::types::{self, Kind};

/// Gives expensive expressions that miss an index of their equation an equation of their own, before it.
pub fn share_invariants(program: &mut Program) -> Pass {
    let nodes = std::mem::take(&mut program.nodes);
    let mut changes = 0;
    let nodes = share_in(program, nodes, &mut Vec::new(), &mut changes);
    program.nodes = nodes;
    changes
}

/// `steps` are those of the loops around that an example runs by itself; `None` is a loop out of which nothing is hoisted.
fn share_in(program: &mut Program, nodes: Vec<Node>, steps: &mut Vec<Option<Name>>, changes: &mut Pass) -> Vec<Node> {
    let mut done = Vec::with_capacity(nodes.len());
    for node in nodes {
        match node {
            Node::Equation(mut equation) => {
                let origin = equation.origin.clone();
                for piece in &mut equation.pieces {
                    let body = std::mem::replace(&mut piece.body, Expr::Const(0.0));
                    let is_real = is_real(program, equation.out, &body);
                    let mut sharing =
                        Sharing { program: &mut *program, piece, origin: &origin, steps, is_real, made: Vec::new() };
                    let body = sharing.visit(body);
                    *changes += sharing.made.len();
                    done.append(&mut sharing.made);
                    piece.body = body;
                }
                done.push(Node::Equation(equation));
            }
            Node::Scan(mut scan) => {
                let before = steps.len();
                steps.extend(program.is_per_example_size(&scan.extent).then(|| Some(scan.step.clone())));
                scan.body = share_in(program, std::mem::take(&mut scan.body), steps, changes);
                steps.truncate(before);
                done.push(Node::Scan(scan));
            }
            Node::Iterate(mut iterate) => {
                let before = steps.len();
                steps.extend(program.is_per_example_size(&iterate.at_most).then_some(None));
                iterate.condition = share_in(program, std::mem::take(&mut iterate.condition), steps, changes);
                iterate.body = share_in(program, std::mem::take(&mut iterate.body), steps, changes);
                steps.truncate(before);
                done.push(Node::Iterate(iterate));
            }
            other @ (Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_)) => {
                done.push(other);
            }
        }
    }
    done
}

struct Sharing<'s> {
    program: &'s mut Program,
    piece: &'s Piece,
    origin: &'s Origin,
    steps: &'s [Option<Name>],
    /// Nothing of the equation is an f64.
    is_real: bool,
    made: Vec<Node>,
}

fn is_real(program: &Program, out: TensorId, body: &Expr) -> bool {
    let mut found = program.get(out).dtype != DType::F64;
    body.visit(&mut |e| {
        found &= match e {
            Expr::Read(read) => program.get(read.tensor).dtype != DType::F64,
            Expr::Unary(op, _) => *op != UnaryOp::ToF64,
            Expr::Const(_) | Expr::Number(_) | Expr::Binary(_, _, _) | Expr::Compare(_, _, _) => true,
            Expr::Select(_, _, _) => true,
        };
    });
    found
}

impl Sharing<'_> {
    /// Largest expressions first.
    fn visit(&mut self, e: Expr) -> Expr {
        if !expensive(&e) {
            return e;
        }
        if let Some(read) = self.share(&e) {
            return read;
        }
        let mut boxed = |e: Box<Expr>| Box::new(self.visit(*e));
        match e {
            Expr::Const(_) | Expr::Number(_) | Expr::Read(_) => e,
            Expr::Unary(op, a) => Expr::Unary(op, boxed(a)),
            Expr::Binary(op, a, b) => Expr::Binary(op, boxed(a), boxed(b)),
            Expr::Compare(op, a, b) => Expr::Compare(op, boxed(a), boxed(b)),
            Expr::Select(c, a, b) => Expr::Select(boxed(c), boxed(a), boxed(b)),
        }
    }

    /// A read of a new tensor that holds the expression, if that is possible and pays.
    fn share(&mut self, e: &Expr) -> Option<Expr> {
        let dtype = match types::of_expr(self.program, e) {
            Ok(Kind::Real) if types::is_bf16(self.program, e) => DType::BF16,
            Ok(Kind::Real) => DType::Real,
            Ok(Kind::F64) => DType::F64,
            // What is made of indices and sizes takes the precision of where it stands.
            Ok(Kind::Written) if self.is_real => DType::Real,
            Ok(Kind::Written | Kind::Integer | Kind::Truth | Kind::Whole) | Err(_) => return None,
        };
        let piece = self.piece;
        let mut used: Vec<IndexId> = piece.ids().filter(|i| e.mentions(*i)).collect();
        // Sizes of an example need the example, and so do steps that not every example takes.
        let main = main_batch_index(self.program, piece);
        let mut sized =
            self.steps.contains(&None) || used.iter().any(|i| self.program.is_per_example_size(piece.range(*i)));
        e.visit_affine(&mut |form| {
            let own_step = self.steps.iter().flatten().any(|step| form.mentions_size(step));
            sized |= self.program.is_per_example_size(&form.offset) || own_step;
        });
        if sized && main.is_none() {
            return None;
        }
        if sized {
            used.extend(main.filter(|m| !used.contains(m)));
            let other = |i: &IndexId| piece.indices[i.0 as usize].example.is_some_and(|e| Some(e) != main);
            if used.iter().any(other) {
                return None;
            }
        }
        let repeated = piece.ids().any(|i| !used.contains(&i) && piece.range(i).as_const() != Some(1));
        if !repeated {
            return None;
        }
        // A batch axis stands first.
        used.sort_by_key(|i| (!self.program.is_batch(piece.range(*i)), *i));
        let batches = used.iter().filter(|i| self.program.is_batch(piece.range(**i))).count();
        if batches > 1 {
            return None;
        }
        let place = |i: IndexId| used.iter().position(|u| *u == i).map_or(IndexId(0), |n| IndexId(n as u32));
        let index = |i: &IndexId| Index { example: None, ..piece.indices[i.0 as usize].clone() };
        let own = Piece {
            indices: used.iter().map(index).collect(),
            free: used.len(),
            at: (0..used.len() as u32).map(|i| IndexId(i).into()).collect(),
            monoid: Monoid::Sum,
            filter: Vec::new(),
            body: e.clone().replace_indices(&|i| place(i).into()),
            empty: None,
        };
        if !stays_inside(self.program, &own) || own.reads().iter().any(|r| r.example.is_some()) {
            return None;
        }
        let shape: Vec<_> = own.indices.iter().map(|i| i.range.clone()).collect();
        let out = self.program.computed("once", dtype, shape);
        self.made.push(Node::Equation(Equation { out, pieces: vec![own], origin: self.origin.clone() }));
        Some(Expr::read(out, used.into_iter().map(Affine::from)))
    }
}

/// Is every read guarded, or seen to stay inside its tensor?
pub(super) fn stays_inside(program: &Program, piece: &Piece) -> bool {
    let domain = Domain::of(program, piece, &[]);
    piece.reads().into_iter().all(|read| {
        let shape = domain.shape(program, read);
        read.otherwise.is_some()
            || read.subs.iter().zip(&shape).all(|(sub, dim)| match sub {
                Sub::Affine(form) => domain.inside(form, dim),
                Sub::Data(_) => false,
            })
    })
}

/// Does it hold a function, a power, or a quotient with a value read?
fn expensive(e: &Expr) -> bool {
    let mut found = false;
    e.visit(&mut |e| {
        found |= match e {
            Expr::Const(_) | Expr::Number(_) | Expr::Read(_) | Expr::Compare(_, _, _) | Expr::Select(_, _, _) => false,
            Expr::Unary(op, _) => op.is_costly(),
            Expr::Binary(BinaryOp::Pow, _, _) => true,
            Expr::Binary(BinaryOp::Div, _, b) => {
                let mut reads = false;
                b.visit(&mut |e| reads |= matches!(e, Expr::Read(_)));
                reads
            }
            Expr::Binary(_, _, _) => false,
        };
    });
    found
}
