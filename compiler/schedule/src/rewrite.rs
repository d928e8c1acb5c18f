//! Equations made ready for loops: rewriting that keeps every value and belongs to storage and kernels, not to mathematics.
//!
//! | pass | from | to |
//! |---|---|---|
//! | [`selects`] | `sum[if 1 == a[t]] d[t]` with nothing bound | `if 1 == a[t] then d[t] else 0`, which vectorises |
//! | [`reuse`] | a formula that an earlier tensor already holds | a read of that tensor; `x + v > 0` where `h = relu(x + v)` is known: `h > 0` |
//! | [`copies`] | reads of a tensor that only shows elements of another | reads of the other |
//! | [`phases`] | `h` in pieces, `y = f(h)` element by element | `y` in the same pieces, no `h` |
//! | [`unread`] | nodes that nothing reads | nothing |
//!
//! Deliberately absent: algebra (`bdl_equations::simplify`).

use bdl_dims::Dim;
use bdl_equations as eq;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

/// All passes, over the nodes of one level. `kept` is read from elsewhere.
pub(crate) fn rewrite(program: &eq::Program, mut nodes: Vec<eq::Node>, kept: &HashSet<eq::TensorId>) -> Vec<eq::Node> {
    for node in &mut nodes {
        if let eq::Node::Equation(equation) = node {
            equation.pieces.iter_mut().for_each(|p| selects(program, p));
        }
    }
    reuse(program, &mut nodes);
    copies(program, &mut nodes);
    unread(&mut nodes, kept);
    phases(program, &mut nodes, kept);
    unread(&mut nodes, kept);
    nodes
}

fn equations(nodes: &mut [eq::Node]) -> impl Iterator<Item = &mut eq::Equation> {
    nodes.iter_mut().filter_map(|n| match n {
        eq::Node::Equation(equation) => Some(equation),
        eq::Node::Scan(_)
        | eq::Node::Iterate(_)
        | eq::Node::Draw(_)
        | eq::Node::View(_)
        | eq::Node::Sort(_)
        | eq::Node::Literal(_)
        | eq::Node::Library(_) => None,
    })
}

// ------------------------------------------------------------------------------------------------ conditions

/// Does every read stay inside whatever the conditions say?
fn always_inside(program: &eq::Program, piece: &eq::Piece) -> bool {
    piece.reads().iter().all(|read| {
        read.otherwise.is_some()
            || read.subs.iter().zip(&program.get(read.tensor).shape).all(|(sub, dim)| match sub {
                eq::Sub::Affine(affine) => match affine.as_index() {
                    Some(index) => crate::scalar::runs_along(program, piece, index, dim, &read.subs),
                    None => matches!((affine.as_number(), dim.as_const()), (Some(at), Some(n)) if 0 <= at && at < n),
                },
                eq::Sub::Data(_) => false,
            })
    })
}

fn selects(program: &eq::Program, piece: &mut eq::Piece) {
    if piece.bound() > 0 || piece.filter.is_empty() || !always_inside(program, piece) {
        return;
    }
    let otherwise = eq::Expr::Const(piece.empty.unwrap_or(0.0));
    let mut body = std::mem::replace(&mut piece.body, eq::Expr::Const(0.0));
    for condition in piece.filter.drain(..).rev() {
        let holds = match condition {
            eq::Condition::NonNegative(form) => eq::Expr::Number(form).compare(eq::CompareOp::Ge, eq::Expr::Const(0.0)),
            eq::Condition::Equal(form, data) => eq::Expr::Number(form).compare(eq::CompareOp::Eq, data),
            eq::Condition::Holds(holds) => holds,
        };
        body = holds.select(body, otherwise.clone());
    }
    piece.body = body;
    piece.empty = None;
}

// ------------------------------------------------------------------------------------------------ formulas that are known already

/// A tensor that holds a formula: `formula` over indices `0..ranges.len()` is `read` there.
struct Held {
    formula: eq::Expr,
    ranges: Vec<eq::Index>,
    becomes: eq::Expr,
}

fn reuse(program: &eq::Program, nodes: &mut [eq::Node]) {
    let mut held: HashMap<u64, Vec<Held>> = HashMap::default();
    for equation in equations(nodes) {
        for piece in &mut equation.pieces {
            let indices = piece.indices.clone();
            let known = |e: &eq::Expr| match e {
                // No formula that is held is one of these.
                eq::Expr::Const(_) | eq::Expr::Number(_) | eq::Expr::Read(_) => None,
                eq::Expr::Unary(_, _)
                | eq::Expr::Binary(_, _, _)
                | eq::Expr::Compare(_, _, _)
                | eq::Expr::Select(_, _, _) => held.get(&skeleton(e))?.iter().find_map(|h| instance(h, e, &indices)),
            };
            // A condition stays as it is: filters want their own form.
            let body = std::mem::replace(&mut piece.body, eq::Expr::Const(0.0));
            piece.body = body.rewrite(&mut |e| known(&e).unwrap_or(e));
        }
        let [piece] = equation.pieces.as_slice() else { continue };
        // A size of the example may be another example's where the formula stands again.
        let mut shared = true;
        piece.body.visit_affine(&mut |form| shared &= !program.is_per_example_size(&form.offset));
        if !piece.is_pointwise() || !shared {
            continue;
        }
        let own = eq::Expr::read(equation.out, piece.free_ids());
        let mut hold = |formula: &eq::Expr, becomes: eq::Expr| {
            let entry = Held { formula: formula.clone(), ranges: piece.indices.clone(), becomes };
            held.entry(skeleton(formula)).or_default().push(entry);
        };
        if operators(&piece.body) >= 2 {
            hold(&piece.body, own.clone());
        }
        // relu: its sign is its argument's.
        if let eq::Expr::Select(condition, yes, no) = &piece.body
            && let eq::Expr::Compare(eq::CompareOp::Gt, x, zero) = &**condition
            && (x, zero.as_const(), no.as_const()) == (yes, Some(0.0), Some(0.0))
        {
            hold(condition, own.compare(eq::CompareOp::Gt, eq::Expr::Const(0.0)));
        }
    }
}

fn operators(e: &eq::Expr) -> usize {
    let mut count = 0;
    e.visit(&mut |e| {
        count += match e {
            eq::Expr::Const(_) | eq::Expr::Number(_) | eq::Expr::Read(_) => 0,
            eq::Expr::Unary(_, _)
            | eq::Expr::Binary(_, _, _)
            | eq::Expr::Compare(_, _, _)
            | eq::Expr::Select(_, _, _) => 1,
        };
    });
    count
}

/// A hash of the formula without its indices.
fn skeleton(e: &eq::Expr) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = rustc_hash::FxHasher::default();
    e.visit(&mut |e| {
        std::mem::discriminant(e).hash(&mut hasher);
        match e {
            eq::Expr::Const(x) => x.to_bits().hash(&mut hasher),
            eq::Expr::Read(read) => {
                (read.tensor, read.subs.len(), read.otherwise.map(f64::to_bits)).hash(&mut hasher);
            }
            eq::Expr::Unary(op, _) => op.hash(&mut hasher),
            eq::Expr::Binary(op, _, _) => op.hash(&mut hasher),
            eq::Expr::Compare(op, _, _) => op.hash(&mut hasher),
            eq::Expr::Number(_) | eq::Expr::Select(_, _, _) => {}
        }
    });
    hasher.finish()
}

/// What `e` is by `held`, if it is its formula at some of the indices.
fn instance(held: &Held, e: &eq::Expr, indices: &[eq::Index]) -> Option<eq::Expr> {
    let mut bound: Vec<Option<eq::IndexId>> = vec![None; held.ranges.len()];
    let (mut pattern, mut found) = (Vec::new(), Vec::new());
    held.formula.visit_affine(&mut |a| pattern.push(a.clone()));
    e.visit_affine(&mut |a| found.push(a.clone()));
    if pattern.len() != found.len() {
        return None;
    }
    for (from, to) in pattern.iter().zip(&found) {
        if let (Some(from), Some(to)) = (from.as_index(), to.as_index()) {
            let slot = &mut bound[from.0 as usize];
            if slot.is_some_and(|s| s != to) {
                return None;
            }
            *slot = Some(to);
        }
    }
    let mut map = Vec::new();
    for (to, range) in bound.into_iter().zip(&held.ranges) {
        let to = to?;
        let target = indices.get(to.0 as usize)?;
        // The same range, of the same example.
        let same_example = match (range.example, target.example) {
            (None, None) => true,
            (Some(_), _) | (_, Some(_)) => false,
        };
        if target.range != range.range || !same_example {
            return None;
        }
        map.push(to);
    }
    let by = |i: eq::IndexId| eq::Affine::from(map[i.0 as usize]);
    (held.formula.clone().replace_indices(&by) == *e).then(|| held.becomes.clone().replace_indices(&by))
}

// ------------------------------------------------------------------------------------------------ copies

/// What a tensor only shows: one read with affine subscripts, or a number.
fn copies(program: &eq::Program, nodes: &mut [eq::Node]) {
    let mut shown: HashMap<eq::TensorId, eq::Piece> = HashMap::default();
    for equation in equations(nodes) {
        for piece in &mut equation.pieces {
            // Until nothing changes: copies of copies were replaced when they were noted.
            *piece = piece.clone().map_exprs(&mut |e| {
                e.map_reads(&mut |read| match shown.get(&read.tensor).and_then(|of| through(program, of, &read)) {
                    Some(other) => other,
                    None => eq::Expr::Read(read),
                })
            });
        }
        let [piece] = equation.pieces.as_slice() else { continue };
        let dtype = program.get(equation.out).dtype;
        let shows = piece.is_pointwise()
            && match &piece.body {
                eq::Expr::Const(_) => dtype != eq::DType::Bool,
                eq::Expr::Read(read) => {
                    program.get(read.tensor).dtype == dtype && read.subs.iter().all(|s| matches!(s, eq::Sub::Affine(_)))
                }
                eq::Expr::Number(_)
                | eq::Expr::Unary(_, _)
                | eq::Expr::Binary(_, _, _)
                | eq::Expr::Compare(_, _, _)
                | eq::Expr::Select(_, _, _) => false,
            };
        if shows {
            shown.insert(equation.out, piece.clone());
        }
    }
}

/// `read`, of a tensor that shows `of`, without it.
fn through(program: &eq::Program, of: &eq::Piece, read: &eq::Read) -> Option<eq::Expr> {
    let inner = match &of.body {
        eq::Expr::Const(x) => return (read.otherwise.is_none_or(|o| o == *x)).then_some(eq::Expr::Const(*x)),
        eq::Expr::Read(inner) => inner,
        eq::Expr::Number(_)
        | eq::Expr::Unary(_, _)
        | eq::Expr::Binary(_, _, _)
        | eq::Expr::Compare(_, _, _)
        | eq::Expr::Select(_, _, _) => return None,
    };
    let forms: Vec<Option<&eq::Affine>> = read
        .subs
        .iter()
        .map(|s| match s {
            eq::Sub::Affine(a) => Some(a),
            eq::Sub::Data(_) => None,
        })
        .collect();
    if read.otherwise.is_some() {
        // Leaving the copy must be leaving the original: every axis of the copy is an axis of it.
        let shape = &program.get(inner.tensor).shape;
        let covered = of
            .free_ids()
            .all(|i| inner.subs.iter().zip(shape).any(|(s, dim)| crate::scalar::is_index(s, i) && of.range(i) == dim));
        let fixed = inner.subs.iter().all(|s| matches!(s, eq::Sub::Affine(a) if a.as_index().is_some()));
        if !covered || !fixed || inner.otherwise.is_some() {
            return None;
        }
    }
    let mut subs = Vec::new();
    for sub in &inner.subs {
        let eq::Sub::Affine(form) = sub else { return None };
        let data = form.terms.iter().find(|(i, _)| forms[i.0 as usize].is_none());
        subs.push(match (data, form.as_index()) {
            (Some((i, _)), Some(_)) => read.subs[i.0 as usize].clone(),
            (Some(_), None) => return None,
            (None, _) => eq::Sub::Affine(form.replace(&|i| forms[i.0 as usize].cloned().unwrap_or_default())),
        });
    }
    // A size of the example in the copy's own subscripts would speak of another example here.
    if inner.subs.iter().any(|s| matches!(s, eq::Sub::Affine(a) if program.is_per_example_size(&a.offset)))
        && read.subs.first().is_none_or(|s| !crate::scalar::is_index(s, eq::IndexId(0)))
    {
        return None;
    }
    let otherwise = read.otherwise.or(inner.otherwise);
    Some(eq::Expr::Read(eq::Read { tensor: inner.tensor, subs, otherwise, example: None }))
}

// ------------------------------------------------------------------------------------------------ pieces

fn readers(nodes: &[eq::Node]) -> HashMap<eq::TensorId, usize> {
    let mut count: HashMap<eq::TensorId, usize> = HashMap::default();
    for node in nodes {
        let all: HashSet<eq::TensorId> = node.reads_deep().into_iter().collect();
        all.into_iter().for_each(|t| *count.entry(t).or_insert(0) += 1);
    }
    count
}

fn phases(program: &eq::Program, nodes: &mut [eq::Node], kept: &HashSet<eq::TensorId>) {
    let readers = readers(nodes);
    let mut in_pieces: HashMap<eq::TensorId, Vec<eq::Piece>> = HashMap::default();
    for equation in equations(nodes) {
        if let [piece] = equation.pieces.as_slice()
            && piece.is_pointwise()
        {
            let reads: Vec<eq::Read> = piece.reads().into_iter().cloned().collect();
            let source = reads.iter().map(|r| r.tensor).find(|t| in_pieces.contains_key(t));
            if let Some(source) = source
                && readers.get(&source) == Some(&1)
                // All of it: one that takes the first rows only has no place for the others.
                && program.get(source).shape == program.get(equation.out).shape
                && reads.iter().filter(|r| r.tensor == source).all(|r| crate::loops::is_identity(r, piece.free))
            {
                let pieces = in_pieces[&source].iter().map(|part| along(piece, source, part)).collect();
                equation.pieces = pieces;
            }
        }
        let shape = &program.get(equation.out).shape;
        let whole = equation.pieces.len() > 1
            && !kept.contains(&equation.out)
            && covered(shape, &equation.pieces)
            && equation.pieces.iter().all(|p| p.bound() == 0 && p.filter.is_empty());
        if whole {
            in_pieces.insert(equation.out, equation.pieces.clone());
        }
    }
}

/// The points of `piece` that `part` of `source` writes, with what it writes there.
fn along(piece: &eq::Piece, source: eq::TensorId, part: &eq::Piece) -> eq::Piece {
    let body = piece.body.clone().replace_indices(&|i| part.at[i.0 as usize].clone());
    let body = body.map_reads(&mut |read| if read.tensor == source { part.body.clone() } else { eq::Expr::Read(read) });
    eq::Piece { body, ..part.clone() }
}

/// Do the pieces write every element? They are disjoint, so it is enough to count.
pub(crate) fn covered(shape: &[Dim], pieces: &[eq::Piece]) -> bool {
    let points = |p: &eq::Piece| -> Dim { p.indices[..p.free].iter().map(|i| i.range.clone()).product() };
    let written: Dim = pieces.iter().map(points).sum();
    written == shape.iter().cloned().product()
}

// ------------------------------------------------------------------------------------------------ what nothing reads

fn unread(nodes: &mut Vec<eq::Node>, kept: &HashSet<eq::TensorId>) {
    let mut needed = kept.clone();
    let mut keep = vec![false; nodes.len()];
    for (at, node) in nodes.iter().enumerate().rev() {
        keep[at] = node.writes().iter().any(|t| needed.contains(t));
        if keep[at] {
            needed.extend(node.reads_deep());
        }
    }
    let mut keep = keep.into_iter();
    nodes.retain(|_| keep.next() == Some(true));
}

// ------------------------------------------------------------------------------------------------ long sums to few places

/// A reduction to a few places over many examples in two steps, the first one for each example: `(step one, its shape, step two)`,
/// where step two reads tensor number `u32::MAX`.
///
/// `d[f] = sum[b, t] x[b, t, f]` becomes `p[b, f] = sum[t] x[b, t, f]` and `d[f] = sum[b] p[b, f]`. The order of the sums is a function of
/// the shapes alone.
pub(crate) fn two_steps(program: &eq::Program, piece: &eq::Piece) -> Option<(eq::Piece, Vec<Dim>, eq::Piece)> {
    let few: Dim = piece.free_ids().map(|i| piece.range(i).clone()).product();
    let mut inner: Vec<eq::IndexId> = piece.bound_ids().collect();
    if inner.len() < 2 || few.as_const().is_none() || !piece.is_plain() || !piece.filter.is_empty() {
        return None;
    }
    let splits = match piece.monoid {
        eq::Monoid::Sum | eq::Monoid::Max | eq::Monoid::Min | eq::Monoid::Prod | eq::Monoid::Any | eq::Monoid::All => {
            true
        }
        eq::Monoid::ArgMax(_) | eq::Monoid::ArgMin(_) => false,
    };
    let first = inner.remove(0);
    let points: Dim = inner.iter().map(|i| piece.range(*i).clone()).product();
    let many = |dim: &Dim, least: i64| dim.as_const().is_none_or(|n| n >= least);
    if !splits
        || piece.empty.is_some_and(|e| e != piece.monoid.identity())
        || !many(piece.range(first), 8)
        || !many(&points, 8)
    {
        return None;
    }
    let volume = points.as_const().zip(piece.range(first).as_const()).map(|(a, b)| a * b * few.as_const().unwrap_or(1));
    if volume.is_some_and(|n| n < 4096) {
        return None;
    }
    let moved = |i: eq::IndexId| {
        if i == first {
            eq::IndexId(0)
        } else if i < first {
            eq::IndexId(i.0 + 1)
        } else {
            i
        }
    };
    let mut indices = vec![eq::Index { example: None, ..piece.indices[first.0 as usize].clone() }];
    indices.extend(piece.free_ids().chain(inner.iter().copied()).map(|i| {
        let index = &piece.indices[i.0 as usize];
        eq::Index { example: index.example.map(moved), ..index.clone() }
    }));
    let free = piece.free + 1;
    let form = |i: eq::IndexId| eq::Affine::from(moved(i));
    let shape: Vec<Dim> = indices[..free].iter().map(|i| i.range.clone()).collect();
    if shape.iter().skip(1).any(|d| program.is_per_example_size(d)) {
        return None;
    }
    let one = eq::Piece {
        indices,
        free,
        at: (0..free as u32).map(|i| eq::IndexId(i).into()).collect(),
        filter: Vec::new(),
        body: piece.body.clone().replace_indices(&form),
        ..piece.clone()
    };
    let subs: Vec<eq::Sub> = std::iter::once(first).chain(piece.free_ids()).map(eq::Sub::from).collect();
    let two = eq::Piece {
        indices: piece.indices[..=piece.free].to_vec(),
        body: eq::Expr::Read(eq::Read { tensor: crate::contraction::COPY, subs, otherwise: None, example: None }),
        ..piece.clone()
    };
    Some((one, shape, two))
}
