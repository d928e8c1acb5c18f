//! Lifting: the equation of one step of a loop as an equation over all steps.
//!
//! `xw[g, j] = sum[i] x[t, i] * w[i, g, j]` at step `t` becomes `xw_steps[t, g, j] = sum[i] x[t, i] * w[i, g, j]` with `t` a free index.
//! Values of the body that it reads become reads of their stacks. Used to hoist and to collect weight gradients after a loop.

use crate::builder::fresh_index;
use crate::data::{Affine, Condition, Expr, Index, IndexId, Name, Piece, Program, TensorId};
use bdl_dims::{Atom, Dim};
use rustc_hash::FxHashMap as HashMap;

/// The steps of a loop.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'s> {
    pub step: &'s Name,
    pub extent: &'s Dim,
}

/// The piece over all steps. `own` says that it writes a per-example tensor: the step then stands behind the batch index. `saved` maps
/// values of the body to their stacks. `None` when the step occurs in a way that is not linear.
pub fn lift(
    program: &Program,
    piece: &Piece,
    steps: Steps,
    own: bool,
    saved: &HashMap<TensorId, TensorId>,
) -> Option<Piece> {
    let Steps { step, extent } = steps;
    let position = u32::from(own && piece.free > 0);
    let s = IndexId(position);
    let moved = |i: IndexId| if i.0 >= position { IndexId(i.0 + 1) } else { i };
    // Every offset is split into its part in the step and the rest; a fault is remembered.
    let linear = std::cell::Cell::new(true);
    let form = |a: &Affine| {
        let terms: Vec<(IndexId, i64)> = a.terms.iter().map(|(i, c)| (moved(*i), *c)).collect();
        let Some((times, rest)) = split_step(&a.offset, step) else {
            linear.set(false);
            return a.clone();
        };
        Affine { terms, offset: rest } + Affine::from(s).scale(times)
    };
    let mut indices: Vec<Index> = Vec::new();
    let mut filter = Vec::new();
    for (at, index) in piece.indices.iter().enumerate() {
        let (times, rest) = split_step(&index.range, step)?;
        let mut index = Index { example: index.example.map(moved), ..index.clone() };
        if times != 0 {
            // As long as at the longest step, cut by a filter: range(s) - 1 - i >= 0.
            let i = moved(IndexId(at as u32));
            let range = Affine { terms: vec![(s, times)], offset: rest.clone() };
            filter.push(Condition::NonNegative(range - Affine::from(1) - i.into()));
            let longest = if times > 0 { extent.clone() - Dim::one() } else { Dim::zero() };
            index.range = rest + longest.scale(times);
        }
        indices.push(index);
    }
    let name = fresh_index(&indices, step);
    indices.insert(position as usize, Index { name, range: extent.clone(), example: None });
    let mut expr = |e: Expr| {
        e.map_affine(&form).map_reads(&mut |mut read| {
            if let Some(stack) = saved.get(&read.tensor) {
                read.subs.insert(usize::from(program.is_per_example(read.tensor)), s.into());
                read.tensor = *stack;
            }
            Expr::Read(read)
        })
    };
    filter.extend(piece.filter.iter().cloned().map(|c| c.map(&form, &mut expr)));
    let body = expr(piece.body.clone());
    let mut at: Vec<Affine> = piece.at.iter().map(form).collect();
    at.insert(position as usize, s.into());
    let lifted = Piece { indices, free: piece.free + 1, at, monoid: piece.monoid, filter, body, empty: piece.empty };
    linear.get().then_some(lifted)
}

/// `dim = times * step + rest`.
fn split_step(dim: &Dim, step: &Name) -> Option<(i64, Dim)> {
    if !dim.mentions(step) {
        return Some((0, dim.clone()));
    }
    let own = [Atom::Var(step.clone())];
    let times = dim.terms().find(|(m, _)| m.as_slice() == own).map_or(0, |(_, c)| c);
    let rest = dim.clone() - Dim::var(step.clone()).scale(times);
    (!rest.mentions(step)).then_some((times, rest))
}
