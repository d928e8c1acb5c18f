//! Sums by a clamped index: where the clamp does nothing, the index is solved for; its two ends are sums of their own.
//!
//! ```text
//! d_w[r < 33] = sum[i < T, j < T if r == min(max(j - i + 16, 0), 32)] d[i, j]
//!   d_w[r + 1], r < 31:   sum[i < T] d[i, i + r - 15 else 0]
//!   d_w[0]:               sum[i < T, j < T if i - j - 16 >= 0] d[i, j]
//!   d_w[32]:              sum[i < T, j < T if j - i - 16 >= 0] d[i, j]
//! ```
//!
//! This is the gradient of what a distance is read at (`RelativePositions`): instead of looking at every pair of positions for each of 33 distances, it walks
//! 31 diagonals and two corners.
//!
//! Deliberately absent: clamps of data, and of forms in which no bound index stands alone.

use super::{Pass, each_equation, replace_index};
use crate::bounds::main_batch_index;
use crate::data::{Affine, BinaryOp, Condition, Expr, IndexId, Monoid, Piece, Program};

/// Splits the pieces that sum by a clamped index.
pub fn split_clamps(program: &mut Program) -> Pass {
    let mut nodes = std::mem::take(&mut program.nodes);
    let mut changes = 0;
    each_equation(&mut nodes, &mut |equation| {
        for piece in std::mem::take(&mut equation.pieces) {
            match split(program, &piece) {
                Some(parts) => {
                    changes += 1;
                    equation.pieces.extend(parts);
                }
                None => equation.pieces.push(piece),
            }
        }
    });
    program.nodes = nodes;
    changes
}

/// `index == min(max(form, 0), last)`, the filter at a place.
struct Clamp {
    filter: usize,
    index: IndexId,
    form: Affine,
    last: i64,
}

fn split(program: &Program, piece: &Piece) -> Option<[Piece; 3]> {
    if piece.monoid != Monoid::Sum || piece.empty.is_some_and(|e| e != 0.0) {
        return None;
    }
    let Clamp { filter, index, form, last } = (0..piece.filter.len()).find_map(|at| clamp(piece, at))?;
    // The index alone may say which element is written, so that the parts write different ones.
    let writes = piece.at.iter().filter(|form| form.mentions(index)).count();
    if writes != 1 || !piece.at.iter().any(|form| form.as_index() == Some(index)) || piece.uses_but(index, filter) {
        return None;
    }
    // Of the bound indices that the form can be solved for, the last.
    let main = main_batch_index(program, piece);
    let solved = piece.bound_ids().filter(|id| {
        let own = &piece.indices[id.0 as usize];
        let of_other = own.example.is_some_and(|example| Some(example) != main);
        let is_example = program.is_batch(&own.range) || piece.indices.iter().any(|i| i.example == Some(*id));
        form.coefficient(*id).abs() == 1 && !of_other && !is_example
    });
    let solved = solved.last()?;
    let mut rest = piece.clone();
    rest.filter.remove(filter);

    let end = |at: i64, beyond: Affine| {
        let mut part = rest.clone();
        part.filter.insert(0, Condition::NonNegative(beyond));
        replace_index(part, index, &Affine::from(bdl_dims::Dim::from(at)))
    };
    let number = |n: i64| Affine::from(bdl_dims::Dim::from(n));
    let first_end = end(0, form.scale(-1));
    let last_end = end(last, form.clone() + number(-last));

    // coefficient * solved + others == index + 1
    let others = form.without(solved);
    let next = Affine::from(index) + number(1);
    let by = (next.clone() + others.scale(-1)).scale(form.coefficient(solved));
    let highest = Affine::from(piece.range(solved).clone()) + number(-1) + by.scale(-1);
    let mut inner = rest.clone();
    inner.indices[index.0 as usize].range = bdl_dims::Dim::from(last - 1);
    let forward = |id: IndexId| if id == index { next.clone() } else { Affine::from(id) };
    inner.at = inner.at.iter().map(|form| form.replace(&forward)).collect();
    inner.filter.splice(0..0, [Condition::NonNegative(by.clone()), Condition::NonNegative(highest)]);
    let inner = replace_index(inner, solved, &by);
    Some([first_end, inner, last_end])
}

/// The clamp that the filter at a place says, if an index of more than two values has all values of it.
fn clamp(piece: &Piece, at: usize) -> Option<Clamp> {
    let Condition::Equal(index, Expr::Binary(BinaryOp::Min, lower, last)) = &piece.filter[at] else { return None };
    let Expr::Binary(BinaryOp::Max, form, zero) = lower.as_ref() else { return None };
    let Expr::Number(form) = form.as_ref() else { return None };
    let index = index.as_index().filter(|id| (id.0 as usize) < piece.free)?;
    let last = last.as_const().filter(|last| last.fract() == 0.0)? as i64;
    let whole = piece.range(index).as_const() == Some(last + 1);
    let fits = zero.as_const() == Some(0.0) && whole && last >= 2 && !form.mentions(index);
    fits.then(|| Clamp { filter: at, index, form: form.clone(), last })
}

impl Piece {
    /// Does the index occur in the body or in another filter than this one?
    fn uses_but(&self, index: IndexId, filter: usize) -> bool {
        let mut other = self.clone();
        other.filter.remove(filter);
        other.uses(index)
    }
}
