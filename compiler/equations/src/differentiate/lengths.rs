//! Sizes of several examples in one equation.
//!
//! A size in an affine form is that of the main batch index ([`crate::data`]). Where the gradient of what reads two examples needs that of
//! another one, it is a value that is read there:
//!
//! ```text
//! y[b] = sum[o < B, t < T] x[b, t] * z[o, t + 1 else 0]
//! d_z[o, u] = sum[b < B if u - 1 >= 0, u - 1 < length[b]] d_y[b] * x[b, u - 1]          length[b] = T
//! ```
//!
//! In a loop of the example's own length an equation speaks of the examples that run. Out of the loop, over all of its steps, it says so
//! of every example beside the main one: step t is below its length.

use crate::bounds::{Domain, main_batch_index};
use crate::builder::PieceBuilder;
use crate::data::{
    Affine, CompareOp, Condition, DType, Equation, Expr, IndexId, Node, Origin, Piece, Program, Read, SizeKind, Sub,
    TensorId,
};
use bdl_dims::Dim;
use rustc_hash::FxHashMap as HashMap;

/// Sizes as values, one an example.
#[derive(Default)]
pub struct Lengths {
    known: HashMap<Dim, TensorId>,
    /// What computes them: before everything else, so that loops find them, too.
    pub nodes: Vec<Node>,
}

impl Lengths {
    /// The size of the example that `example` names.
    fn read(&mut self, program: &mut Program, size: &Dim, example: IndexId) -> Option<Expr> {
        let names_step = size.mentions_any(&|name| program.size_kind(name) == Some(SizeKind::Step));
        let batch = program.sizes.iter().find(|s| s.kind == SizeKind::Batch).map(|s| Dim::var(s.name.clone()))?;
        if names_step {
            return None;
        }
        let tensor = match self.known.get(size) {
            Some(tensor) => *tensor,
            None => {
                let mut piece = PieceBuilder::new();
                piece.free("b", batch.clone());
                let pieces = vec![piece.sum(Expr::Number(Affine::from(size.clone())))];
                let out = program.computed("length", DType::I32, [batch]);
                self.nodes.push(Node::Equation(Equation { out, pieces, origin: Origin::default() }));
                self.known.insert(size.clone(), out);
                out
            }
        };
        Some(Expr::read(tensor, [Affine::from(example)]))
    }

    /// `form < size of that example`
    pub fn below(&mut self, program: &mut Program, form: &Affine, size: &Dim, example: IndexId) -> Option<Condition> {
        let size = self.read(program, size, example)?;
        Some(Condition::Holds(Expr::Number(form.clone()).compare(CompareOp::Lt, size)))
    }

    /// The piece, whose affine forms mention sizes of `example`, with these sizes as values: another batch index may be the main one. The
    /// conditions with the numbers `except` stay.
    pub fn as_values(
        &mut self,
        program: &mut Program,
        mut piece: Piece,
        example: IndexId,
        except: &[usize],
    ) -> Option<Piece> {
        let sized = |program: &Program, form: &Affine| program.is_per_example_size(&form.offset);
        if piece.at.iter().any(|form| sized(program, form)) {
            return None;
        }
        let mut sizes: Vec<Dim> = Vec::new();
        piece.visit_affine(&mut |form| {
            if sized(program, form) && !sizes.contains(&form.offset) {
                sizes.push(form.offset.clone());
            }
        });
        let mut values: HashMap<Dim, Expr> = HashMap::default();
        for size in sizes {
            let value = self.read(program, &size, example)?;
            values.insert(size, value);
        }
        let number = |form: &Affine| {
            let value = values.get(&form.offset)?;
            let rest = Affine { terms: form.terms.clone(), offset: Dim::zero() };
            Some(if rest == Affine::zero() { value.clone() } else { Expr::Number(rest) + value.clone() })
        };
        let expr = |e: Expr| {
            e.rewrite(&mut |e| match e {
                Expr::Number(form) => number(&form).unwrap_or(Expr::Number(form)),
                Expr::Read(mut read) => {
                    for sub in &mut read.subs {
                        if let Sub::Affine(form) = sub
                            && let Some(value) = number(form)
                        {
                            *sub = Sub::Data(Box::new(value));
                        }
                    }
                    Expr::Read(read)
                }
                other @ (Expr::Const(_)
                | Expr::Unary(_, _)
                | Expr::Binary(_, _, _)
                | Expr::Compare(_, _, _)
                | Expr::Select(_, _, _)) => other,
            })
        };
        let condition = |condition: Condition| match condition {
            Condition::NonNegative(form) => match number(&form) {
                Some(value) => Condition::Holds(value.compare(CompareOp::Ge, Expr::Const(0.0))),
                None => Condition::NonNegative(form),
            },
            Condition::Equal(form, data) => match number(&form) {
                Some(value) => Condition::Holds(value.compare(CompareOp::Eq, expr(data))),
                None => Condition::Equal(form, expr(data)),
            },
            Condition::Holds(holds) => Condition::Holds(expr(holds)),
        };
        let filter = std::mem::take(&mut piece.filter).into_iter().enumerate();
        piece.filter = filter.map(|(at, c)| if except.contains(&at) { c } else { condition(c) }).collect();
        piece.body = expr(piece.body);
        Some(piece)
    }

    /// A piece that was lifted out of a loop of these many steps (of the example's own), `step` being its index now: of every example beside
    /// the main one that it names, the steps that this one runs.
    pub fn that_run(&mut self, program: &mut Program, mut piece: Piece, step: IndexId, extent: &Dim) -> Option<Piece> {
        let main = main_batch_index(program, &piece);
        let others: Vec<IndexId> =
            piece.ids().filter(|i| Some(*i) != main && program.is_batch(piece.range(*i))).collect();
        for other in &others {
            let runs = self.below(program, &step.into(), extent, *other)?;
            piece.filter.push(runs);
        }
        if others.is_empty() { Some(piece) } else { Some(guarded(program, piece, &[])) }
    }
}

/// The piece with a guard at every read that only a condition keeps inside: nobody can prove what a condition on values says.
pub fn guarded(program: &Program, piece: Piece, known: &[Dim]) -> Piece {
    let domain = Domain::of(program, &piece, known);
    piece.map_exprs(&mut |e| {
        e.map_reads(&mut |read| {
            let inside = read.subs.iter().zip(domain.shape(program, &read)).all(|(sub, dim)| match sub {
                Sub::Affine(form) => domain.inside(form, &dim),
                // What is subscripted by data is checked where it is read.
                Sub::Data(_) => true,
            });
            let otherwise = if inside { read.otherwise } else { read.otherwise.or(Some(0.0)) };
            Expr::Read(Read { otherwise, ..read })
        })
    })
}
