//! A sum of a product that is not yet of two plain reads, made so where that pays.
//!
//! ```text
//! d_w[c, f] = sum[b] (if h[b, f] > 0 then d[b, f] else 0) * x[b, c] / B
//!     g[b, f] = if h[b, f] > 0 then d[b, f] else 0           a factor of its own, computed once an element
//!     s[c, f] = sum[b] g[b, f] * x[b, c]                     a contraction
//!     d_w[c, f] = s[c, f] / B                                what the sum does not bind, outside of it (an epilogue)
//! ```
//!
//! A factor is only stored if it is read at plain indices: then it has as many elements as its operands. A factor over `t + k` would
//! be stored once for every k; such a sum stays a loop.

use bdl_dims::Dim;
use bdl_equations as eq;
use std::collections::BTreeSet;

/// `factors[0] * factors[1]` summed, each factor stored first unless it is a plain read; then `post` around the sum.
pub(crate) struct Split {
    /// Each with the indices it depends on, in order.
    pub factors: [(eq::Expr, Vec<eq::IndexId>); 2],
    /// Around the sum, outermost last.
    pub post: Vec<Post>,
}

#[derive(Clone)]
pub(crate) enum Post {
    Times(eq::Expr),
    Over(eq::Expr),
    Negated,
}

fn indices_of(e: &eq::Expr) -> BTreeSet<eq::IndexId> {
    let mut all = BTreeSet::new();
    e.visit_affine(&mut |a| all.extend(a.terms.iter().map(|t| t.0)));
    all
}

pub(crate) fn split(program: &eq::Program, piece: &eq::Piece) -> Option<Split> {
    if piece.monoid != eq::Monoid::Sum || piece.bound() == 0 || piece.empty.is_some_and(|e| e != 0.0) {
        return None;
    }
    let bound: BTreeSet<eq::IndexId> = piece.bound_ids().collect();
    let (mut factors, mut post) = (Vec::new(), Vec::new());
    product(&piece.body, &bound, &mut factors, &mut post);
    if factors.len() < 2 {
        return None;
    }
    let sets: Vec<BTreeSet<eq::IndexId>> = factors.iter().map(indices_of).collect();
    // The two factors that need the most indices between them; the others go along with one of these.
    let mut pairs: Vec<(usize, usize)> =
        (0..factors.len()).flat_map(|i| (i + 1..factors.len()).map(move |j| (i, j))).collect();
    pairs.sort_by_key(|(i, j)| std::cmp::Reverse((sets[*i].union(&sets[*j]).count(), sets[*i].len() + sets[*j].len())));
    let (first, second) = *pairs.first()?;
    let size = |at: usize| sets[at].iter().any(|i| piece.range(*i).as_const().is_none());
    let mut groups = [vec![first], vec![second]];
    for other in (0..factors.len()).filter(|f| *f != first && *f != second) {
        let fits = |into: usize| sets[other].is_subset(&sets[into]);
        // Into the operand that does not grow with the batch, if there is a choice.
        let into = match (fits(first), fits(second)) {
            (true, true) => usize::from(size(first) && !size(second)),
            (true, false) => 0,
            (false, true) => 1,
            (false, false) => return None,
        };
        groups[into].push(other);
    }
    let build = |group: &[usize]| {
        let all: BTreeSet<eq::IndexId> = group.iter().flat_map(|f| sets[*f].iter().copied()).collect();
        let body = group.iter().map(|f| factors[*f].clone()).reduce(|a, b| a * b)?;
        let plain = matches!(&body, eq::Expr::Read(r) if r.subs.iter().all(|s| matches!(s, eq::Sub::Affine(_))));
        (plain || storable(program, piece, &body, &all)).then(|| (body, all.into_iter().collect()))
    };
    Some(Split { factors: [build(&groups[0])?, build(&groups[1])?], post })
}

/// Splits a product into what the sum binds and what may stand outside of it.
fn product(e: &eq::Expr, bound: &BTreeSet<eq::IndexId>, factors: &mut Vec<eq::Expr>, post: &mut Vec<Post>) {
    let outside = |e: &eq::Expr| indices_of(e).is_disjoint(bound);
    match e {
        eq::Expr::Binary(eq::BinaryOp::Mul, a, b) => {
            product(a, bound, factors, post);
            product(b, bound, factors, post);
        }
        eq::Expr::Binary(eq::BinaryOp::Div, a, b) if outside(b) => {
            product(a, bound, factors, post);
            post.push(Post::Over((**b).clone()));
        }
        eq::Expr::Unary(eq::UnaryOp::Neg, a) => {
            product(a, bound, factors, post);
            post.push(Post::Negated);
        }
        eq::Expr::Const(_)
        | eq::Expr::Number(_)
        | eq::Expr::Read(_)
        | eq::Expr::Unary(_, _)
        | eq::Expr::Binary(_, _, _)
        | eq::Expr::Compare(_, _, _)
        | eq::Expr::Select(_, _, _) => {
            if outside(e) {
                post.push(Post::Times(e.clone()))
            } else {
                factors.push(e.clone())
            }
        }
    }
}

/// May the factor be computed at all points of its indices, with as many elements as it reads?
fn storable(program: &eq::Program, piece: &eq::Piece, body: &eq::Expr, indices: &BTreeSet<eq::IndexId>) -> bool {
    let plain = |read: &&eq::Read| {
        read.subs.iter().zip(&program.get(read.tensor).shape).all(|(sub, dim)| match sub {
            eq::Sub::Affine(a) => match a.as_index() {
                Some(index) => crate::scalar::runs_along(program, piece, index, dim, &read.subs),
                None => matches!((a.as_number(), dim.as_const()), (Some(at), Some(n)) if 0 <= at && at < n),
            },
            eq::Sub::Data(_) => false,
        })
    };
    let mut numbers = true;
    body.visit_affine(&mut |a| numbers &= !program.is_per_example_size(&a.offset));
    // An index of per-example length needs its batch index beside it, before any other one.
    let batch = indices.iter().copied().find(|i| program.is_batch(piece.range(*i)));
    let home = eq::bounds::main_batch_index(program, piece);
    let owner = |i: &eq::IndexId| piece.indices[i.0 as usize].example.or(home);
    let mut ragged = indices.iter().filter(|i| program.is_per_example_size(piece.range(**i)));
    numbers && body.reads().iter().all(plain) && ragged.all(|i| batch.is_some() && owner(i) == batch)
}

impl Split {
    /// The piece that stores factor number `at`, and its shape.
    pub fn factor(&self, piece: &eq::Piece, at: usize) -> (eq::Piece, Vec<Dim>) {
        let (body, indices) = &self.factors[at];
        let place = |i: eq::IndexId| eq::IndexId(indices.iter().position(|o| *o == i).unwrap_or(0) as u32);
        let own: Vec<eq::Index> = indices
            .iter()
            .map(|i| {
                let index = &piece.indices[i.0 as usize];
                eq::Index { example: None, ..index.clone() }
            })
            .collect();
        let shape = own.iter().map(|i| i.range.clone()).collect();
        let made = eq::Piece {
            free: own.len(),
            at: (0..own.len() as u32).map(|i| eq::IndexId(i).into()).collect(),
            indices: own,
            monoid: eq::Monoid::Sum,
            filter: Vec::new(),
            body: body.clone().replace_indices(&|i| place(i).into()),
            empty: None,
        };
        (made, shape)
    }

    /// Is factor number `at` a read that a contraction takes as it is?
    pub fn is_plain(&self, at: usize) -> bool {
        matches!(&self.factors[at].0, eq::Expr::Read(r) if r.subs.iter().all(|s| matches!(s, eq::Sub::Affine(_))))
    }

    /// The sum of the product, with the factors as given.
    pub fn sum(&self, piece: &eq::Piece, factors: [eq::Expr; 2]) -> eq::Piece {
        let [a, b] = factors;
        eq::Piece { body: a * b, empty: None, ..piece.clone() }
    }

    /// What stands around the sum, as an equation over the free indices; `sum` is the stored sum.
    pub fn around(&self, piece: &eq::Piece, sum: eq::TensorId) -> eq::Piece {
        let mut body = eq::Expr::read(sum, piece.free_ids());
        for post in &self.post {
            body = match post {
                Post::Times(e) => body * e.clone(),
                Post::Over(e) => body.binary(eq::BinaryOp::Div, e.clone()),
                Post::Negated => body.unary(eq::UnaryOp::Neg),
            };
        }
        eq::Piece { indices: piece.indices[..piece.free].to_vec(), filter: Vec::new(), body, ..piece.clone() }
    }
}
