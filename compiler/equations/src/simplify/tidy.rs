//! Making one piece simpler without changing its value.
//!
//! - A filter that always holds goes; a piece whose filter never holds goes altogether.
//! - An index with one point is that point.
//! - A bound index that a filter ties to data is that data, a gather:
//!   `sum[v < V, e < E if v == dst[e]] dm[v, d]` is `sum[e < E] dm[dst[e] else 0, d]`.
//! - A filter that says no more than that a read stays inside its tensor becomes the read's guard, when the body vanishes with the
//!   read: `sum[k < 9 if s - k >= 0 and T - 9 - s + k >= 0] dy[s - k] * w[k]` is `sum[k < 9] dy[s - k else 0] * w[k]`.
//!
//! The last two regard values of tensors as finite: a product with 0 is 0. A factor that need not be finite where its reads are (a
//! quotient, `exp`, `log`) keeps its filter.

use crate::bounds::{self, Domain};
use crate::data::{
    Affine, BinaryOp, CompareOp, Condition, Equation, Expr, Index, IndexId, Monoid, Piece, Program, Read, Sub,
    TensorId, UnaryOp,
};
use crate::types::{self, Kind};
use bdl_dims::Dim;
use rustc_hash::FxHashMap as HashMap;

/// What is known at a place of the program.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Sizes that are at least 0: `extent - 1 - step` inside a loop.
    pub sizes: Vec<Dim>,
    /// Integer tensors whose values lie in `0..size`.
    pub below: HashMap<TensorId, Dim>,
}

impl Known {
    /// Notes what the equation promises of its values: an `argmax` gives one of the index's values.
    pub fn note(&mut self, equation: &Equation) {
        let [piece] = equation.pieces.as_slice() else { return };
        match piece.monoid {
            Monoid::ArgMax(n) | Monoid::ArgMin(n) if piece.empty.is_none() => {
                // (Whose size it is, where it is not that of the main batch index, the name does not say.)
                if let Some(index) = piece.indices.get(piece.free + n as usize)
                    && index.example.is_none()
                {
                    self.below.insert(equation.out, index.range.clone());
                }
            }
            Monoid::ArgMax(_) | Monoid::ArgMin(_) => {}
            Monoid::Sum | Monoid::Prod | Monoid::Max | Monoid::Min | Monoid::Any | Monoid::All => {}
        }
    }
}

/// Would [`tidy`] leave the piece as it is? Most pieces are like that, and need no copy to find out.
pub(super) fn is_tidy(program: &Program, piece: &Piece) -> bool {
    let is_plain = piece.bound() > 0 || (piece.monoid == Monoid::Sum && piece.empty.is_none());
    piece.filter.is_empty() && is_plain && single_point(piece).is_none() && needless_index(program, piece).is_none()
}

/// The simplest form of the piece, or `None` when it writes nothing but zeros (and may therefore be left out).
pub fn tidy(program: &Program, piece: Piece, known: &Known) -> Option<Piece> {
    let mut piece = piece;
    loop {
        let before = piece.clone();
        piece = settle_filters(program, piece, known)?;
        piece = single_points(piece);
        piece = needless_indices(program, piece);
        piece = tie_indices(program, piece, known);
        if piece == before {
            break;
        }
    }
    Some(guard_instead_of_filter(program, piece, known))
}

/// Does a point that takes no part leave 0 behind?
fn absent_is_zero(piece: &Piece) -> bool {
    let sums = piece.bound() == 0 || matches!(piece.monoid, Monoid::Sum | Monoid::Any);
    sums && piece.empty.is_none_or(|e| e == 0.0)
}

/// Drops filters that always hold. `None` when one never does and the piece then only writes zeros.
fn settle_filters(program: &Program, mut piece: Piece, known: &Known) -> Option<Piece> {
    // Each filter once; affine ones first, so that they protect the reads of the others.
    let mut kept: Vec<Condition> = Vec::new();
    for condition in std::mem::take(&mut piece.filter) {
        if !kept.contains(&condition) {
            kept.push(condition);
        }
    }
    kept.sort_by_key(|c| !matches!(c, Condition::NonNegative(_)));
    piece.filter = kept;
    let mut at = 0;
    while at < piece.filter.len() {
        let verdict = match &piece.filter[at] {
            Condition::NonNegative(form) => {
                let position = piece.filter[..at].iter().filter(|c| matches!(c, Condition::NonNegative(_))).count();
                let domain = Domain::of(program, &piece, &known.sizes);
                if domain.without_filter(position).nonnegative(form) {
                    Some(true)
                } else if domain.without_filter(position).always_negative(form) {
                    Some(false)
                } else {
                    None
                }
            }
            Condition::Equal(form, data) => match (form.as_number(), data.as_const()) {
                (Some(a), Some(b)) => Some(a as f64 == b),
                (_, _) => None,
            },
            Condition::Holds(e) => super::truth(e),
        };
        match verdict {
            Some(true) => {
                piece.filter.remove(at);
            }
            Some(false) if absent_is_zero(&piece) => return None,
            Some(false) | None => at += 1,
        }
    }
    Some(piece)
}

/// Removes bound indices that have one point. (A free one keeps its axis.)
fn single_points(piece: Piece) -> Piece {
    if matches!(piece.monoid, Monoid::ArgMax(_) | Monoid::ArgMin(_)) {
        return piece;
    }
    match single_point(&piece) {
        Some(index) => single_points(replace_index(piece, index, &Affine::zero())),
        None => plain_monoid(piece),
    }
}

fn single_point(piece: &Piece) -> Option<IndexId> {
    if matches!(piece.monoid, Monoid::ArgMax(_) | Monoid::ArgMin(_)) {
        return None;
    }
    let single = |i: &IndexId| piece.range(*i).as_const() == Some(1) && may_lose_one(piece);
    piece.bound_ids().find(single)
}

/// An element without bound indices whose filter fails is 0: not so the product, or the maximum, of nothing.
fn may_lose_one(piece: &Piece) -> bool {
    piece.bound() > 1 || piece.filter.is_empty() || piece.empty.is_some() || piece.monoid.identity() == 0.0
}

/// Where nothing is bound and nothing filtered, the monoid and the value of nothing say nothing.
fn plain_monoid(mut piece: Piece) -> Piece {
    if piece.bound() == 0 && piece.filter.is_empty() {
        (piece.monoid, piece.empty) = (Monoid::Sum, None);
    }
    piece
}

/// Removes bound indices that nothing names: the sum over one is a product, the maximum over one that has points is the value.
fn needless_indices(program: &Program, piece: Piece) -> Piece {
    let Some(index) = needless_index(program, &piece) else { return piece };
    let (range, sums) = (piece.range(index).as_const().unwrap_or(1), piece.monoid == Monoid::Sum);
    let mut less = replace_index(piece, index, &Affine::zero());
    if sums {
        less.body = less.body * Expr::Const(range as f64);
    }
    needless_indices(program, less)
}

fn needless_index(program: &Program, piece: &Piece) -> Option<IndexId> {
    let needless = |i: &IndexId| {
        let range = piece.range(*i);
        // Where there may be no points, the body must not be looked at.
        let points = range.as_const().is_some_and(|n| n > 0) && !program.is_batch(range);
        let removable = match piece.monoid {
            Monoid::Sum => piece.empty.is_none(),
            Monoid::Max | Monoid::Min | Monoid::Any | Monoid::All => true,
            Monoid::Prod | Monoid::ArgMax(_) | Monoid::ArgMin(_) => false,
        };
        points && removable && may_lose_one(piece) && !piece.uses(*i)
    };
    piece.bound_ids().find(needless)
}

/// The piece without the index, which is `by` everywhere (a form of the other indices, in the old numbering).
pub fn replace_index(piece: Piece, index: IndexId, by: &Affine) -> Piece {
    let renumber = |form: &Affine| {
        let terms = form.terms.iter().map(|(i, c)| (if *i > index { IndexId(i.0 - 1) } else { *i }, *c)).collect();
        Affine { terms, offset: form.offset.clone() }
    };
    let replace = |i: IndexId| renumber(&if i == index { by.clone() } else { i.into() });
    let form = |a: &Affine| a.replace(&replace);
    let moved = |i: IndexId| if i > index { IndexId(i.0 - 1) } else { i };
    let mut indices: Vec<Index> = piece.indices;
    indices.remove(index.0 as usize);
    for other in &mut indices {
        other.example = other.example.filter(|e| *e != index).map(moved);
    }
    let free = piece.free - usize::from((index.0 as usize) < piece.free);
    let at = piece.at.iter().map(form).collect();
    let filter = piece.filter.into_iter().map(|c| c.replace_indices(&replace)).collect();
    Piece { indices, free, at, filter, body: piece.body.replace_indices(&replace), ..piece }
}

// ------------------------------------------------------------------------------------------------ ties

/// Replaces a bound index by the data that a filter says it equals.
fn tie_indices(program: &Program, piece: Piece, known: &Known) -> Piece {
    if piece.monoid != Monoid::Sum || piece.empty.is_some() {
        return piece;
    }
    for (at, condition) in piece.filter.iter().enumerate() {
        let Condition::Equal(form, data) = condition else { continue };
        let Some(index) = form.as_index().filter(|i| i.0 as usize >= piece.free) else { continue };
        let is_example = piece.indices.iter().any(|i| i.example == Some(index)) || program.is_batch(piece.range(index));
        if data.mentions(index) || is_example {
            continue;
        }
        let (data, range) = (data.clone(), piece.range(index).clone());
        let mut tied = piece.clone();
        // Filters are tried in order: what came before protects the data, and comes before what will read with them.
        let mut later = tied.filter.split_off(at);
        later.remove(0);
        let (read_with_it, before): (Vec<_>, Vec<_>) = tied.filter.into_iter().partition(|c| c.mentions(index));
        let protected = before.len();
        tied.filter = [before, read_with_it, later].concat();
        let ragged = program.is_per_example_size(&range);
        let main = crate::bounds::main_batch_index(program, &piece);
        let owner = piece.indices[index.0 as usize].example.or(main).filter(|_| ragged);
        let known_inside = in_range(known, &data, &range)
            && (!ragged || owner == main && (owner.is_none() || reads_first(&data, owner)));
        if !known_inside && !guard_tied_reads(program, &mut tied, index, &range, owner) {
            if ragged && owner != main {
                // A size as a number is that of the main batch index.
                continue;
            }
            let at_least = data.clone().compare(CompareOp::Ge, Expr::Const(0.0));
            let below = data.clone().compare(CompareOp::Lt, Expr::number(range));
            tied.filter.splice(protected..protected, [Condition::Holds(at_least), Condition::Holds(below)]);
        }
        let bounds = left_bounds(program, &tied, index, known);
        let mut tied = put_data(program, tied, index, &data);
        tied.filter.splice(0..0, bounds);
        return replace_index(tied, index, &Affine::zero());
    }
    piece
}

/// What bounds on an index say of others, whatever it is in its range: data may be read where they say, once the bounds themselves are asked of data.
///
/// `2 m - i >= 0` for `m < 2` leaves `2 - i >= 0`.
fn left_bounds(program: &Program, piece: &Piece, index: IndexId, known: &Known) -> Vec<Condition> {
    let rest = Piece { filter: piece.filter.iter().filter(|c| !c.mentions(index)).cloned().collect(), ..piece.clone() };
    let domain = Domain::of(program, &rest, &known.sizes);
    let largest = piece.range(index).clone() - Dim::one();
    let left = |condition: &Condition| match condition {
        Condition::NonNegative(form) if form.mentions(index) => {
            let coefficient = form.coefficient(index);
            let mut left = form.without(index);
            if coefficient > 0 {
                left.offset = left.offset + largest.scale(coefficient);
            }
            (!domain.nonnegative(&left)).then_some(Condition::NonNegative(left))
        }
        Condition::NonNegative(_) | Condition::Equal(_, _) | Condition::Holds(_) => None,
    };
    piece.filter.iter().filter_map(left).collect()
}

/// Is the data known to be inside `0..range`: the winner of an `argmax` over that range?
fn in_range(known: &Known, data: &Expr, range: &Dim) -> bool {
    match data {
        Expr::Read(read) => read.otherwise.is_none() && known.below.get(&read.tensor) == Some(range),
        Expr::Const(_)
        | Expr::Number(_)
        | Expr::Unary(_, _)
        | Expr::Binary(_, _, _)
        | Expr::Compare(_, _, _)
        | Expr::Select(_, _, _) => false,
    }
}

/// Is the data read at the example that `owner` names?
fn reads_first(data: &Expr, owner: Option<IndexId>) -> bool {
    matches!(data, Expr::Read(read) if is_first(read, owner))
}

fn is_first(read: &Read, owner: Option<IndexId>) -> bool {
    matches!(read.subs.first(), Some(Sub::Affine(form)) if owner.is_some() && form.as_index() == owner)
}

/// Data outside the range of the index it replaces must contribute nothing. Where the index subscripts an axis of just that range in a
/// read with which the body vanishes, a guard of that read says so.
fn guard_tied_reads(program: &Program, piece: &mut Piece, index: IndexId, range: &Dim, owner: Option<IndexId>) -> bool {
    let covers = |read: &Read| {
        let shape = &program.get(read.tensor).shape;
        let of_owner = owner.is_none() || is_first(read, owner);
        of_owner
            && read.otherwise.is_none_or(|o| o == 0.0)
            && read.subs.iter().zip(shape).any(|(sub, dim)| match sub {
                Sub::Affine(form) => form.as_index() == Some(index) && dim == range,
                Sub::Data(_) => false,
            })
    };
    let only_plain = |form: &Affine| !form.mentions(index) || form.as_index() == Some(index);
    let mut plain = true;
    piece.visit_affine(&mut |form| plain &= only_plain(form));
    let mentioned = piece.filter.iter().any(|c| c.mentions(index));
    let safe = piece.body.reads().into_iter().any(|r| covers(r) && vanishes(&piece.body, r));
    if !plain || mentioned || !safe {
        return false;
    }
    let body = std::mem::replace(&mut piece.body, Expr::Const(0.0));
    piece.body = body.map_reads(&mut |mut read| {
        let touches = read.subs.iter().any(|s| matches!(s, Sub::Affine(form) if form.mentions(index)));
        if touches && read.otherwise.is_none() {
            read.otherwise = Some(0.0);
        }
        Expr::Read(read)
    });
    true
}

/// The piece with `index` replaced by data in every subscript, number and filter.
fn put_data(program: &Program, piece: Piece, index: IndexId, data: &Expr) -> Piece {
    let tie = Tie { program, index, data };
    let filter = piece
        .filter
        .into_iter()
        .map(|condition| match condition {
            Condition::NonNegative(form) if form.mentions(index) => {
                Condition::Holds(tie.value(&form).compare(CompareOp::Ge, Expr::Const(0.0)))
            }
            Condition::Equal(form, e) if form.mentions(index) => {
                Condition::Holds(tie.value(&form).compare(CompareOp::Eq, tie.put(e, true)))
            }
            Condition::NonNegative(form) => Condition::NonNegative(form),
            Condition::Equal(form, e) => Condition::Equal(form, tie.put(e, true)),
            Condition::Holds(e) => Condition::Holds(tie.put(e, false)),
        })
        .collect();
    let whole = tie.is_whole(&piece.body);
    Piece { filter, body: tie.put(piece.body, whole), ..piece }
}

/// An index and the data that it is.
struct Tie<'t> {
    program: &'t Program,
    index: IndexId,
    data: &'t Expr,
}

impl Tie<'_> {
    /// `c * data + rest`, an integer expression.
    fn value(&self, form: &Affine) -> Expr {
        let scaled = match form.coefficient(self.index) {
            1 => self.data.clone(),
            -1 => self.data.clone().unary(UnaryOp::Neg),
            c => Expr::Const(c as f64).binary(BinaryOp::Mul, self.data.clone()),
        };
        let rest = form.without(self.index);
        if rest == Affine::zero() { scaled } else { scaled.binary(BinaryOp::Add, Expr::number(rest)) }
    }

    fn is_whole(&self, e: &Expr) -> bool {
        matches!(types::of_expr(self.program, e), Ok(Kind::Integer | Kind::Whole))
    }

    /// Replaces the index; a number becomes real where it stands among reals.
    fn put(&self, e: Expr, whole: bool) -> Expr {
        let both =
            |a: Box<Expr>, b: Box<Expr>, whole: bool| (Box::new(self.put(*a, whole)), Box::new(self.put(*b, whole)));
        match e {
            Expr::Const(_) => e,
            Expr::Number(form) if !form.mentions(self.index) => Expr::Number(form),
            Expr::Number(form) if whole => self.value(&form),
            Expr::Number(form) => self.value(&form).unary(UnaryOp::ToReal),
            Expr::Read(mut read) => {
                for sub in &mut read.subs {
                    *sub = match std::mem::replace(sub, Sub::Affine(Affine::zero())) {
                        Sub::Affine(form) if form.mentions(self.index) => self.value(&form).into(),
                        Sub::Affine(form) => form.into(),
                        Sub::Data(inner) => self.put(*inner, true).into(),
                    };
                }
                Expr::Read(read)
            }
            Expr::Unary(op, a) => {
                let inner = match op {
                    UnaryOp::ToReal | UnaryOp::ToF64 => self.is_whole(&a),
                    UnaryOp::ToInt | UnaryOp::ToBf16 => false,
                    UnaryOp::Neg
                    | UnaryOp::Not
                    | UnaryOp::Exp
                    | UnaryOp::Expm1
                    | UnaryOp::Log
                    | UnaryOp::Log1p
                    | UnaryOp::Sqrt
                    | UnaryOp::Tanh
                    | UnaryOp::Sigmoid
                    | UnaryOp::Softplus
                    | UnaryOp::Erf
                    | UnaryOp::Sin
                    | UnaryOp::Cos
                    | UnaryOp::Abs
                    | UnaryOp::Floor
                    | UnaryOp::Round
                    | UnaryOp::Sign
                    | UnaryOp::Lgamma
                    | UnaryOp::Digamma
                    | UnaryOp::Trigamma
                    | UnaryOp::Freeze => whole,
                };
                Expr::Unary(op, Box::new(self.put(*a, inner)))
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = both(a, b, whole && !matches!(op, BinaryOp::Div | BinaryOp::Pow));
                Expr::Binary(op, a, b)
            }
            Expr::Compare(op, a, b) => {
                let whole = self.is_whole(&a) && self.is_whole(&b);
                let (a, b) = both(a, b, whole);
                Expr::Compare(op, a, b)
            }
            Expr::Select(c, a, b) => {
                let (a, b) = both(a, b, whole);
                Expr::Select(Box::new(self.put(*c, false)), a, b)
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------ guards

/// Turns filters that are the bounds of a read into the guard of that read.
fn guard_instead_of_filter(program: &Program, piece: Piece, known: &Known) -> Piece {
    if piece.filter.is_empty() || !absent_is_zero(&piece) {
        return piece;
    }
    // Which filters are the bounds of a read with which the body vanishes, or that is compared with an index?
    let domain = Domain::of(program, &piece, &known.sizes);
    let bare = Piece { filter: Vec::new(), ..piece.clone() };
    let bare_domain = Domain::of(program, &bare, &known.sizes);
    let compared = |condition: &Condition| match condition {
        // A guard of -1 makes the comparison with a natural number fail.
        Condition::Equal(form, Expr::Read(read)) if bare_domain.nonnegative(form) => {
            (read.otherwise.is_none_or(|o| o == -1.0)).then(|| read.clone())
        }
        Condition::Equal(_, _) | Condition::NonNegative(_) | Condition::Holds(_) => None,
    };
    let mut guardable: Vec<Read> = piece.filter.iter().filter_map(compared).collect();
    for read in piece.body.reads() {
        if read.otherwise.is_none_or(|o| o == 0.0) && vanishes(&piece.body, read) {
            guardable.push(read.clone());
        }
    }
    let is_bound = |condition: &Condition| {
        let Condition::NonNegative(filter) = condition else { return false };
        guardable.iter().any(|read| {
            let shape = domain.shape(program, read);
            read.subs.iter().zip(&shape).any(|(sub, dim)| match sub {
                Sub::Affine(form) => {
                    form == filter || Affine::from(dim.clone()) - Affine::from(1) - form.clone() == *filter
                }
                Sub::Data(_) => false,
            })
        })
    };
    let (bounds, rest): (Vec<Condition>, Vec<Condition>) = piece.filter.iter().cloned().partition(is_bound);
    if bounds.is_empty() {
        return piece;
    }
    let wide = Piece { filter: rest, ..piece.clone() };
    let wide_domain = Domain::of(program, &wide, &known.sizes);
    let inside = |read: &Read| {
        let shape = wide_domain.shape(program, read);
        read.otherwise.is_some()
            || read.subs.iter().zip(&shape).all(|(sub, dim)| match sub {
                Sub::Affine(form) => wide_domain.inside(form, dim),
                // Data are in range by themselves, but not where an index is added that the filters keep small.
                Sub::Data(data) => !adds_index(data),
            })
    };
    // A data subscript or a filter that would itself be read outside keeps the filters.
    let mut inner_inside = true;
    wide.visit_exprs(&mut |e| {
        e.visit(&mut |e| {
            if let Expr::Read(read) = e {
                for sub in &read.subs {
                    if let Sub::Data(data) = sub {
                        inner_inside &= data.reads().into_iter().all(inside);
                    }
                }
            }
        });
    });
    for condition in &wide.filter {
        if let Condition::Equal(_, e) | Condition::Holds(e) = condition {
            inner_inside &= compared(condition).is_some() || e.reads().into_iter().all(inside);
        }
    }
    if !inner_inside {
        return piece;
    }
    let body = wide.body.clone().map_reads(&mut |mut read| {
        if !inside(&read) {
            read.otherwise = Some(0.0);
        }
        Expr::Read(read)
    });
    let filter = wide.filter.iter().cloned().map(|condition| match (compared(&condition), condition) {
        (Some(mut read), Condition::Equal(form, _)) => {
            if !inside(&read) {
                read.otherwise = Some(-1.0);
            }
            Condition::Equal(form, Expr::Read(read))
        }
        (_, other) => other,
    });
    Piece { filter: filter.collect(), body, ..wide }
}

/// Does an index stand in the expression as a number?
fn adds_index(e: &Expr) -> bool {
    let mut found = false;
    e.visit(&mut |e| found |= matches!(e, Expr::Number(form) if !form.terms.is_empty()));
    found
}

/// Is the expression 0 wherever the read is 0?
pub fn vanishes(e: &Expr, with: &Read) -> bool {
    match e {
        Expr::Read(read) => read == with,
        Expr::Unary(UnaryOp::Neg | UnaryOp::Freeze, a) => vanishes(a, with),
        Expr::Binary(BinaryOp::Mul, a, b) => (vanishes(a, with) && finite(b)) || (vanishes(b, with) && finite(a)),
        Expr::Binary(BinaryOp::Div, a, b) => {
            let nonzero = match &**b {
                Expr::Const(c) => *c != 0.0 && c.is_finite(),
                Expr::Number(form) => form.as_dim().is_some(),
                Expr::Read(_)
                | Expr::Unary(_, _)
                | Expr::Binary(_, _, _)
                | Expr::Compare(_, _, _)
                | Expr::Select(_, _, _) => false,
            };
            nonzero && vanishes(a, with)
        }
        Expr::Binary(BinaryOp::Add | BinaryOp::Sub, a, b) => vanishes(a, with) && vanishes(b, with),
        Expr::Select(_, a, b) => {
            let zero = |e: &Expr| e.as_const() == Some(0.0);
            (vanishes(a, with) || zero(a)) && (vanishes(b, with) || zero(b))
        }
        Expr::Const(_) | Expr::Number(_) | Expr::Unary(_, _) | Expr::Binary(_, _, _) | Expr::Compare(_, _, _) => false,
    }
}

/// Is the expression finite wherever what it reads is?
fn finite(e: &Expr) -> bool {
    match e {
        Expr::Const(value) => value.is_finite(),
        Expr::Number(_) | Expr::Read(_) | Expr::Compare(_, _, _) => true,
        Expr::Unary(op, a) => match op {
            UnaryOp::Neg
            | UnaryOp::Not
            | UnaryOp::Tanh
            | UnaryOp::Sigmoid
            | UnaryOp::Softplus
            | UnaryOp::Erf
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Abs
            | UnaryOp::Floor
            | UnaryOp::Round
            | UnaryOp::Sign
            | UnaryOp::ToReal
            | UnaryOp::ToF64
            | UnaryOp::ToBf16
            | UnaryOp::ToInt
            | UnaryOp::Freeze => finite(a),
            UnaryOp::Exp
            | UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log1p
            | UnaryOp::Sqrt
            | UnaryOp::Lgamma
            | UnaryOp::Digamma
            | UnaryOp::Trigamma => false,
        },
        Expr::Binary(op, a, b) => match op {
            BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Min
            | BinaryOp::Max
            | BinaryOp::And
            | BinaryOp::Or => finite(a) && finite(b),
            BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Rem | BinaryOp::Pow => false,
        },
        Expr::Select(_, a, b) => finite(a) && finite(b),
    }
}

/// Are the pieces of the two lists pairwise apart?
pub fn apart(program: &Program, a: &[Piece], b: &[Piece], known: &[Dim]) -> bool {
    a.iter().all(|x| b.iter().all(|y| bounds::disjoint(program, x, y, known)))
}
