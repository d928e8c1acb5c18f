//! The shape of a loop nest: which indices run together as one loop, in which order, and which loop is vectorised.
//!
//! Adjacent indices merge where every access walks through them with one stride: `y[b, t, f] = relu(x[b, t, f])` is one loop over
//! `B * T * F` elements, `x[b, t, f] + v[f]` two, over `B * T` rows and `f`. A batch index and the per-example index behind it run
//! together over all packed rows. An index that is used as a number, in a filter or in a guarded subscript stays alone.
//!
//! The vectorised loop (`lanes`) is the innermost free loop or the innermost bound loop, whichever walks through memory element by
//! element in more accesses; never a reduction of a few elements.

use crate::layout::Storage;
use crate::scalar::is_index;
use bdl_dims::Dim;
use bdl_equations as eq;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub(crate) struct Loop {
    /// Outermost first. The loop's counter is the last one's; the others are 0 then, which is right where they merge.
    pub indices: Vec<eq::IndexId>,
    pub extent: Extent,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Extent {
    Size(Dim),
    /// A size of the example that the index names.
    PerExample(Dim, eq::IndexId),
    /// A batch index and a per-example index together: all packed rows; of one example, the size given.
    Rows(Dim),
}

/// Which loop of a piece wants to be vectorised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    None,
    /// The innermost free loop.
    Free,
    /// The innermost bound loop.
    Bound,
}

/// A few: reductions of at most so many elements are not vectorised but unrolled.
pub(crate) const FEW: i64 = 8;

/// Strides of every access of a piece, by index; `stays` are the indices that cannot merge.
pub(crate) struct Walk {
    strides: Vec<BTreeMap<eq::IndexId, Dim>>,
    stays: BTreeSet<eq::IndexId>,
}

/// The batch index and the per-example index that can run together over packed rows.
///
/// Not in a loop over running examples: the rows of those that have finished lie between the others.
pub(crate) fn rows(program: &eq::Program, storage: &Storage, piece: &eq::Piece) -> Option<(eq::IndexId, eq::IndexId)> {
    if storage.depth() > 0 {
        return None;
    }
    let mut found = None;
    for (at, pair) in piece.indices.windows(2).enumerate() {
        let (batch, position) = (eq::IndexId(at as u32), eq::IndexId(at as u32 + 1));
        let own = storage.names_example(&pair[1].range) && pair[1].example.is_none_or(|e| e == batch);
        if storage.is_batch(&pair[0].range) && own && at + 1 != piece.free {
            found = Some((batch, position));
            break;
        }
    }
    let (batch, position) = found?;
    // Another index over a per-example size needs its example by itself.
    let others = piece
        .indices
        .iter()
        .enumerate()
        .any(|(i, index)| i as u32 != position.0 && storage.names_example(&index.range));
    let batches = piece.indices.iter().filter(|i| storage.is_batch(&i.range)).count();
    // On the axis of its range: elsewhere it counts no rows.
    let plain = |read: &eq::Read| {
        let shape = &program.tensors[read.tensor.0 as usize].shape;
        read.subs
            .iter()
            .zip(shape)
            .all(|(sub, dim)| !mentions(sub, position) || is_index(sub, position) && dim == piece.range(position))
    };
    let mut all_plain = true;
    let mut numbers = BTreeSet::new();
    visit(piece, &mut |read| all_plain &= plain(read), &mut |affine| numbers.extend(affine.terms.iter().map(|t| t.0)));
    let fine = !others && batches == 1 && all_plain && !numbers.contains(&position) && !numbers.contains(&batch);
    fine.then_some((batch, position))
}

fn mentions(sub: &eq::Sub, index: eq::IndexId) -> bool {
    matches!(sub, eq::Sub::Affine(a) if a.terms.iter().any(|(i, _)| *i == index))
}

/// Calls `read` for every read of a piece and `number` for every affine form outside of subscripts.
pub(crate) fn visit(piece: &eq::Piece, read: &mut dyn FnMut(&eq::Read), number: &mut dyn FnMut(&eq::Affine)) {
    visit_expr(&piece.body, read, number);
    for condition in &piece.filter {
        match condition {
            eq::Condition::NonNegative(affine) => number(affine),
            eq::Condition::Equal(affine, expr) => {
                number(affine);
                visit_expr(expr, read, number);
            }
            eq::Condition::Holds(expr) => visit_expr(expr, read, number),
        }
    }
}

pub(crate) fn visit_expr(expr: &eq::Expr, read: &mut dyn FnMut(&eq::Read), number: &mut dyn FnMut(&eq::Affine)) {
    match expr {
        eq::Expr::Const(_) => {}
        eq::Expr::Number(affine) => number(affine),
        eq::Expr::Read(r) => {
            read(r);
            for sub in &r.subs {
                if let eq::Sub::Data(data) = sub {
                    visit_expr(data, read, number);
                }
            }
        }
        eq::Expr::Unary(_, a) => visit_expr(a, read, number),
        eq::Expr::Binary(_, a, b) | eq::Expr::Compare(_, a, b) => {
            visit_expr(a, read, number);
            visit_expr(b, read, number);
        }
        eq::Expr::Select(c, a, b) => {
            visit_expr(c, read, number);
            visit_expr(a, read, number);
            visit_expr(b, read, number);
        }
    }
}

impl Walk {
    pub fn of(
        program: &eq::Program,
        storage: &mut Storage,
        out: eq::TensorId,
        piece: &eq::Piece,
        rows: Option<(eq::IndexId, eq::IndexId)>,
    ) -> Walk {
        let mut accesses = Vec::new();
        let mut stays = BTreeSet::new();
        visit(
            piece,
            &mut |read| accesses.push((read.tensor, read.subs.clone(), read.otherwise.is_some())),
            &mut |affine| {
                stays.extend(affine.terms.iter().map(|t| t.0));
            },
        );
        let at = piece.at.iter().cloned().map(eq::Sub::Affine).collect();
        accesses.push((out, at, false));
        // Whose sizes are asked for must be known by itself (as a row, where it runs together with its positions).
        let home = piece.indices.iter().position(|i| storage.is_batch(&i.range)).map(|at| eq::IndexId(at as u32));
        piece.visit_affine(&mut |affine| {
            if storage.names_example(&affine.offset) {
                stays.extend(home);
            }
        });
        for (i, index) in piece.indices.iter().enumerate() {
            if storage.names_example(&index.range) && rows.is_none_or(|(_, position)| position.0 as usize != i) {
                stays.insert(eq::IndexId(i as u32));
                stays.extend(index.example.or(home));
            }
        }
        let mut strides = Vec::new();
        for (tensor, subs, guarded) in accesses {
            let layout = storage.place(program, tensor).clone();
            let shape = &program.tensors[tensor.0 as usize].shape;
            let mut walk: BTreeMap<eq::IndexId, Dim> = BTreeMap::new();
            let packed_rows = match (rows, &layout.packed) {
                (Some((batch, position)), Some(packed))
                    if packed.rows == piece.indices[position.0 as usize].range
                        && is_index(&subs[0], batch)
                        // A row found by data (`x[order[t], c]`) is another one than that of the position.
                        && subs[1..].iter().any(|sub| is_index(sub, position)) =>
                {
                    walk.insert(position, packed.inner.clone());
                    Some(position)
                }
                (_, _) => None,
            };
            for (axis, sub) in subs.iter().enumerate() {
                let eq::Sub::Affine(affine) = sub else { continue };
                if packed_rows.is_some_and(|p| axis == 0 || is_index(sub, p)) {
                    continue;
                }
                // Through the order of a loop a row lies anywhere.
                let elsewhere = axis == 0 && storage.is_batch(&shape[0]) && layout.depth != storage.depth();
                let unsure = elsewhere
                    || (axis == 0 && layout.packed.is_some())
                    || storage.names_example(&layout.strides[axis])
                    || rows.is_some_and(|(b, t)| affine.terms.iter().any(|(i, _)| *i == b || *i == t))
                    || (guarded && !plainly_inside(program, piece, affine, &shape[axis], &subs));
                for (index, coefficient) in &affine.terms {
                    if unsure {
                        stays.insert(*index);
                    }
                    let stride = layout.strides[axis].scale(*coefficient);
                    let sum = walk.entry(*index).or_default();
                    *sum = sum.clone() + stride;
                }
            }
            strides.push(walk);
        }
        Walk { strides, stays }
    }

    fn stride(access: &BTreeMap<eq::IndexId, Dim>, index: eq::IndexId) -> Option<&Dim> {
        access.get(&index).filter(|d| !d.is_zero())
    }

    /// Accesses that step one element at a time along this index, less those that step further.
    fn smoothness(&self, index: eq::IndexId) -> i64 {
        let score = |access| match Walk::stride(access, index) {
            None => 0,
            Some(stride) if stride.as_const() == Some(1) => 1,
            Some(_) => -1,
        };
        self.strides.iter().map(score).sum()
    }
}

fn plainly_inside(program: &eq::Program, piece: &eq::Piece, affine: &eq::Affine, dim: &Dim, subs: &[eq::Sub]) -> bool {
    match affine.terms.as_slice() {
        [(index, 1)] => affine.offset.is_zero() && crate::scalar::runs_along(program, piece, *index, dim, subs),
        _other => false,
    }
}

/// The loops over `indices`, adjacent ones merged where every walk allows it. The indices are numbered alike in all walks.
pub(crate) fn merge(
    storage: &mut Storage,
    piece: &eq::Piece,
    indices: &[eq::IndexId],
    walks: &[&Walk],
    rows: Option<(eq::IndexId, eq::IndexId)>,
) -> Vec<Loop> {
    let stays = |index: &eq::IndexId| walks.iter().any(|w| w.stays.contains(index));
    let mut loops: Vec<Loop> = Vec::new();
    for index in indices {
        let info = &piece.indices[index.0 as usize];
        if let Some((batch, _)) = rows.filter(|(_, position)| position == index) {
            loops.pop();
            loops.push(Loop { indices: vec![batch, *index], extent: Extent::Rows(info.range.clone()) });
            continue;
        }
        let extent = if storage.names_example(&info.range) {
            let home = piece.indices.iter().position(|i| storage.is_batch(&i.range)).unwrap_or(0);
            Extent::PerExample(info.range.clone(), info.example.unwrap_or(eq::IndexId(home as u32)))
        } else {
            Extent::Size(storage.range_here(&info.range))
        };
        // Not all rows that there is room for run.
        let cut = storage.depth() > 0 && storage.is_batch(&info.range);
        let outer = loops.last_mut().filter(|outer| {
            !cut && !stays(index)
                && !outer.indices.iter().any(stays)
                && outer.indices.last().is_some_and(|last| {
                    walks.iter().flat_map(|w| &w.strides).all(|access| {
                        let of = |i| Walk::stride(access, i).cloned().unwrap_or_default();
                        of(*last) == of(*index) * info.range.clone()
                    })
                })
        });
        match (outer, &extent) {
            (Some(outer), Extent::Size(size)) => {
                outer.indices.push(*index);
                outer.extent = match &outer.extent {
                    Extent::Size(so_far) => Extent::Size(so_far.clone() * size.clone()),
                    Extent::Rows(rows) => Extent::Size(storage.total(rows) * size.clone()),
                    Extent::PerExample(so_far, example) => Extent::PerExample(so_far.clone() * size.clone(), *example),
                };
            }
            (_, _) => loops.push(Loop { indices: vec![*index], extent }),
        }
    }
    loops
}

/// The loops over the bound indices of one piece.
pub(crate) fn bound_loops(
    storage: &mut Storage,
    piece: &eq::Piece,
    walk: &Walk,
    rows: Option<(eq::IndexId, eq::IndexId)>,
) -> Vec<Loop> {
    let indices: Vec<eq::IndexId> = piece.bound_ids().collect();
    let rows = rows.filter(|(batch, _)| indices.contains(batch));
    if is_argument(piece.monoid) {
        // The place of the winner is asked for by index: none may merge.
        return indices.iter().flat_map(|i| merge(storage, piece, &[*i], &[walk], None)).collect();
    }
    merge(storage, piece, &indices, &[walk], rows)
}

pub(crate) fn is_argument(monoid: eq::Monoid) -> bool {
    matches!(monoid, eq::Monoid::ArgMax(_) | eq::Monoid::ArgMin(_))
}

/// Reductions of at most a few elements.
pub(crate) fn is_few(l: &Loop) -> bool {
    matches!(&l.extent, Extent::Size(size) if size.as_const().is_some_and(|n| n <= FEW))
}

/// Which loop the piece wants vectorised, the innermost of `free` or the innermost of `bound`.
pub(crate) fn lanes(piece: &eq::Piece, free: Option<&Loop>, bound: Option<&Loop>, walk: &Walk) -> Lanes {
    let smooth = |l: &Loop| l.indices.last().map_or(i64::MIN, |i| walk.smoothness(*i));
    let bound = bound.filter(|l| !is_argument(piece.monoid) && may_be_lanes(piece, l) && !is_few(l));
    match (free.filter(|l| may_be_lanes(piece, l)), bound) {
        (None, None) => Lanes::None,
        (Some(_), None) => Lanes::Free,
        (None, Some(_)) => Lanes::Bound,
        (Some(f), Some(b)) if is_few(f) && smooth(b) > 0 => Lanes::Bound,
        (Some(f), Some(b)) if smooth(b) > smooth(f) => Lanes::Bound,
        (Some(_), Some(_)) => Lanes::Free,
    }
}

/// A condition that differs from lane to lane must be affine.
pub(crate) fn may_be_lanes(piece: &eq::Piece, l: &Loop) -> bool {
    piece.filter.iter().all(|c| matches!(c, eq::Condition::NonNegative(_)) || !l.indices.iter().any(|i| names(c, *i)))
}

fn names(condition: &eq::Condition, index: eq::IndexId) -> bool {
    let has = |affine: &eq::Affine| affine.terms.iter().any(|(i, _)| *i == index);
    let (expr, mut found) = match condition {
        eq::Condition::NonNegative(affine) => return has(affine),
        eq::Condition::Equal(affine, expr) => (expr, has(affine)),
        eq::Condition::Holds(expr) => (expr, false),
    };
    let mut in_reads = false;
    visit_expr(expr, &mut |read| in_reads |= read.subs.iter().any(|s| mentions(s, index)), &mut |affine| {
        found |= has(affine)
    });
    found || in_reads
}
