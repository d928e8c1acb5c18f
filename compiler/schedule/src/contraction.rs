//! A sum of a product of two reads as the plan's contraction.
//!
//! The role of an index follows from where it occurs: free and in both reads `batch`, free and in one read `m` or `n`, summed `k`.
//! Strides follow from composing the subscripts with the layouts, guards of reads and affine filters become clips:
//!
//! ```text
//! y[b, t, f] = sum[k, c] x[b, t + k - 4 else 0, c] * w[k, c, f]
//!   a = x from -16    m: b (240), t (4)    k: k (4), c (1)     rows of x overlap: no im2col
//!   b = w             k: k (128), c (32)   n: f (1)
//!   clip 0 <= t + k - 4 < 60
//! ```
//!
//! Where the sum walks backwards through the left operand (the input gradient of a convolution reads `dy[t - k]`), or the right one
//! lies in another order than the left, and the right one is a shared tensor, it is copied once into the order of the sum
//! ([`repack`]): then the axes of the sum run together, of a convolution over a map those of a line of its window.
//!
//! Deliberately absent: which axes merge into one matrix dimension and how clips are peeled (the executor's), and epilogues (`fuse`).

use crate::layout::{Layout, Storage};
use crate::nest;
use crate::scalar::{is_index, runs_along};
use crate::{Target, algorithm};
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan as plan;

/// What the plan allows (`bdl_plan::verify`).
const MOST_AXES: usize = 11;
const MOST_CLIPS: usize = 6;

/// A recognised contraction, over the indices of its piece.
pub(crate) struct Contraction {
    pub axes: Vec<Axis>,
    pub out: Operand,
    pub a: Operand,
    pub b: Operand,
    /// Forms over `axes` by position.
    pub clips: Vec<plan::Clip>,
    pub algorithm: plan::Algorithm,
}

pub(crate) struct Axis {
    pub indices: Vec<eq::IndexId>,
    pub name: String,
    pub role: plan::AxisRole,
    pub extent: Dim,
    pub strides: [Dim; 3],
    pub offsets: Option<plan::Tables>,
}

pub(crate) struct Operand {
    pub tensor: eq::TensorId,
    pub offset: Dim,
}

impl Contraction {
    pub fn to_plan(&self, program: &eq::Program, storage: &mut Storage) -> plan::Contraction {
        let operand =
            |o: &Operand| plan::Slice { buffer: storage.place(program, o.tensor).buffer, offset: o.offset.clone() };
        self.of([&self.out, &self.a, &self.b].map(operand))
    }

    fn of(&self, [out, a, b]: [plan::Slice; 3]) -> plan::Contraction {
        let axis = |axis: &Axis| plan::ContractionAxis {
            name: axis.name.as_str().into(),
            role: axis.role,
            extent: axis.extent.clone(),
            out: axis.strides[0].clone(),
            a: axis.strides[1].clone(),
            b: axis.strides[2].clone(),
            offsets: axis.offsets,
        };
        plan::Contraction {
            out,
            a,
            b,
            axes: self.axes.iter().map(axis).collect(),
            clips: self.clips.clone(),
            accumulate: false,
            algorithm: self.algorithm,
            epilogue: None,
        }
    }

    /// Chooses the algorithm: while axes are those that were written.
    fn choose(&mut self, storage: &Storage) {
        let nowhere = || plan::Slice { buffer: plan::BufferId(0), offset: Dim::zero() };
        let written = self.of([nowhere(), nowhere(), nowhere()]);
        self.algorithm = algorithm::algorithm(&written, storage.target, storage.real);
    }
}

/// The factors of a product.
pub(crate) fn factors<'e>(expr: &'e eq::Expr, into: &mut Vec<&'e eq::Expr>) {
    match expr {
        eq::Expr::Binary(eq::BinaryOp::Mul, a, b) => {
            factors(a, into);
            factors(b, into);
        }
        eq::Expr::Const(_)
        | eq::Expr::Number(_)
        | eq::Expr::Read(_)
        | eq::Expr::Unary(_, _)
        | eq::Expr::Binary(_, _, _)
        | eq::Expr::Compare(_, _, _)
        | eq::Expr::Select(_, _, _) => into.push(expr),
    }
}

/// One operand: strides by index, start, and the guarded subscripts.
struct Walk {
    tensor: eq::TensorId,
    layout: Layout,
    offset: Dim,
    strides: Vec<Dim>,
    guarded: Vec<(eq::Affine, Dim)>,
    /// Rows of the examples, where the walk steps over packed examples.
    packed: Option<Dim>,
}

/// The contraction that `piece` is, if it is one worth a library call.
pub(crate) fn recognise(
    program: &eq::Program,
    storage: &mut Storage,
    out: eq::TensorId,
    piece: &eq::Piece,
) -> Option<Contraction> {
    if piece.monoid != eq::Monoid::Sum || piece.indices.len() == piece.free {
        return None;
    }
    let mut reads = Vec::new();
    factors(&piece.body, &mut reads);
    let [eq::Expr::Read(left), eq::Expr::Read(right)] = reads.as_slice() else { return None };
    if piece.empty.is_some_and(|e| e != 0.0)
        || [out, left.tensor, right.tensor].iter().any(|t| !is_real(program, storage, *t))
    {
        return None;
    }
    let rows = nest::rows(program, storage, piece);
    let at: Vec<eq::Sub> = piece.at.iter().cloned().map(eq::Sub::Affine).collect();
    let own = eq::Read { tensor: out, subs: at, otherwise: None, example: None };
    let mut walks = [
        walk(program, storage, piece, &own, rows)?,
        walk(program, storage, piece, left, rows)?,
        walk(program, storage, piece, right, rows)?,
    ];
    // `b` is the operand that walks along the output's innermost index.
    let innermost = (0..piece.free).rev().find(|i| walks[0].strides[*i].as_const() == Some(1));
    if innermost.is_some_and(|i| !walks[1].strides[i].is_zero() && walks[2].strides[i].is_zero()) {
        walks.swap(1, 2);
    }
    let axes = axes(storage, piece, &walks, rows)?;
    if !worth_it(&axes) {
        return None;
    }
    // Sizes of an example are known where one axis goes from example to example.
    let dims = axes.iter().flat_map(|axis| axis.strides.iter().chain([&axis.extent]));
    let of_example = dims.chain(walks.iter().map(|walk| &walk.offset)).any(|dim| storage.names_example(dim));
    let over_examples = axes.iter().filter(|axis| axis.offsets.is_some()).count();
    if over_examples > 1 || of_example && over_examples == 0 {
        return None;
    }
    let clips = clips(storage, piece, &walks, &axes)?;
    // On a GPU a clip belongs to what is copied, or to a result: none to a single product.
    if storage.target == Target::Gpu && clips.iter().any(|clip| is_of_products(clip, &axes)) {
        return None;
    }
    let [o, a, b] = walks;
    let operand = |w: Walk| Operand { tensor: w.tensor, offset: w.offset };
    let mut found = Contraction {
        axes,
        out: operand(o),
        a: operand(a),
        b: operand(b),
        clips,
        algorithm: plan::Algorithm::AsWritten,
    };
    found.choose(storage);
    match found.algorithm {
        plan::Algorithm::AsWritten => found.merge(),
        // Which axes are taps and channels must be seen.
        plan::Algorithm::Winograd => {}
    }
    (found.axes.len() <= MOST_AXES && found.clips.len() <= MOST_CLIPS).then_some(found)
}

fn is_real(program: &eq::Program, storage: &Storage, tensor: eq::TensorId) -> bool {
    storage.dtype(program.tensors[tensor.0 as usize].dtype) == storage.real
}

fn walk(
    program: &eq::Program,
    storage: &mut Storage,
    piece: &eq::Piece,
    read: &eq::Read,
    rows: Option<(eq::IndexId, eq::IndexId)>,
) -> Option<Walk> {
    if read.otherwise.is_some_and(|o| o != 0.0) {
        return None;
    }
    let layout = storage.place(program, read.tensor).clone();
    let shape = &program.tensors[read.tensor.0 as usize].shape;
    let mut walk = Walk {
        tensor: read.tensor,
        offset: layout.offset.clone(),
        strides: vec![Dim::zero(); piece.indices.len()],
        guarded: Vec::new(),
        packed: None,
        layout,
    };
    let by_example = shape.first().is_some_and(|d| storage.is_batch(d));
    if storage.depth() > 0 && by_example && walk.layout.depth != storage.depth() {
        return None;
    }
    for (axis, sub) in read.subs.iter().enumerate() {
        let eq::Sub::Affine(affine) = sub else { return None };
        if let (0, Some(packed)) = (axis, &walk.layout.packed) {
            // The example: an index by itself.
            let index = affine.as_index()?;
            walk.packed = Some(packed.rows.clone());
            if rows.is_none_or(|(batch, _)| batch != index) {
                walk.strides[index.0 as usize] = packed.inner.clone();
            }
            continue;
        }
        if rows.is_some_and(|(batch, _)| affine.mentions(batch)) {
            return None;
        }
        let stride = &walk.layout.strides[axis];
        // A step that the example's length makes is known where an axis goes from example to example.
        let is_apart = rows.is_none() && walk.packed.is_some() && read.example.is_none();
        if !is_apart && (storage.names_example(stride) || storage.names_example(&affine.offset) && !stride.is_zero()) {
            return None;
        }
        walk.offset = walk.offset + affine.offset.clone() * stride.clone();
        for (index, coefficient) in &affine.terms {
            let sum = &mut walk.strides[index.0 as usize];
            *sum = sum.clone() + stride.scale(*coefficient);
        }
        let inside = affine.as_index().is_some_and(|i| runs_along(program, piece, i, &shape[axis], &read.subs))
            || matches!((affine.as_number(), shape[axis].as_const()), (Some(at), Some(n)) if 0 <= at && at < n);
        if read.otherwise.is_some() && !inside {
            // How far an example reaches is asked for where it is the one whose rows are walked.
            let home = eq::bounds::main_batch_index(program, piece);
            if storage.names_example(&shape[axis]) && !home.is_some_and(|home| is_index(&read.subs[0], home)) {
                return None;
            }
            walk.guarded.push((affine.clone(), shape[axis].clone()));
        }
    }
    if let Some((batch, position)) = rows {
        // Both or neither: a row of the packed tensor, or something that is the same for all rows.
        let own = walk.packed.as_ref() == Some(piece.range(position));
        let plain = is_index(read.subs.first()?, batch) && read.subs.iter().any(|s| is_index(s, position));
        let none =
            read.subs.iter().all(|s| matches!(s, eq::Sub::Affine(a) if !a.mentions(batch) && !a.mentions(position)));
        if !(own && plain || none) {
            return None;
        }
    }
    Some(walk)
}

fn axes(
    storage: &mut Storage,
    piece: &eq::Piece,
    walks: &[Walk; 3],
    rows: Option<(eq::IndexId, eq::IndexId)>,
) -> Option<Vec<Axis>> {
    let mut axes = Vec::new();
    for (at, index) in piece.indices.iter().enumerate() {
        let id = eq::IndexId(at as u32);
        if rows.is_some_and(|(batch, _)| batch == id) {
            continue;
        }
        let strides = [0, 1, 2].map(|w: usize| walks[w].strides[at].clone());
        let (in_a, in_b) = (!strides[1].is_zero(), !strides[2].is_zero());
        let batch_index = storage.is_batch(&index.range);
        let packed: Vec<&Dim> =
            walks.iter().zip(&strides).filter(|(_, s)| !s.is_zero()).filter_map(|(w, _)| w.packed.as_ref()).collect();
        let mut offsets = None;
        if batch_index && rows.is_none() && !packed.is_empty() {
            // Whoever steps over examples does so by a table.
            let stepping = strides.iter().filter(|s| !s.is_zero()).count();
            if packed.len() != stepping {
                return None;
            }
            let any = packed[0].clone();
            let table = |w: usize, storage: &mut Storage| {
                let rows = walks[w].packed.clone().filter(|_| !strides[w].is_zero());
                storage.table(plan::Table::Offsets(rows.unwrap_or_else(|| any.clone())))
            };
            let [out, a, b] = [0, 1, 2].map(|w| table(w, storage));
            offsets = Some(plan::Tables { out, a, b });
        }
        let role = match (at < piece.free, in_a, in_b) {
            (true, true, true) => plan::AxisRole::Batch,
            (true, true, false) if offsets.is_some() => plan::AxisRole::Batch,
            (true, true, false) => plan::AxisRole::M,
            (true, false, true) if offsets.is_some() => return None,
            (true, false, true) => plan::AxisRole::N,
            (true, false, false) => return None,
            (false, _, _) if offsets.is_some() && storage.target == Target::Gpu => return None,
            (false, true, true) => plan::AxisRole::K,
            (false, _, _) => return None,
        };
        let (indices, name, extent) = match rows {
            Some((batch, position)) if position == id => {
                let first = &piece.indices[batch.0 as usize].name;
                (vec![batch, id], format!("{first}_{}", index.name), storage.total(&index.range))
            }
            Some(_) | None => (vec![id], index.name.to_string(), storage.range_here(&index.range)),
        };
        if storage.names_example(&extent) && index.example.is_some() {
            return None;
        }
        axes.push(Axis { indices, name, role, extent, strides, offsets });
    }
    Some(axes)
}

/// Is it over rows, columns and sum, that is for every product another?
fn is_of_products(clip: &plan::Clip, axes: &[Axis]) -> bool {
    let is_over = |role| clip.terms.iter().any(|(axis, k)| *k != 0 && axes[*axis as usize].role == role);
    [plan::AxisRole::M, plan::AxisRole::N, plan::AxisRole::K].into_iter().all(is_over)
}

/// Is it matrix times matrix, of more than a few elements?
fn worth_it(axes: &[Axis]) -> bool {
    let extent = |role| -> Dim { axes.iter().filter(|a| a.role == role).map(|a| a.extent.clone()).product() };
    let more_than = |dim: Dim, few: i64| dim.as_const().is_none_or(|n| n > few);
    more_than(extent(plan::AxisRole::M), 1)
        && more_than(extent(plan::AxisRole::N), 1)
        && more_than(extent(plan::AxisRole::K), 3)
}

fn clips(storage: &Storage, piece: &eq::Piece, walks: &[Walk; 3], axes: &[Axis]) -> Option<Vec<plan::Clip>> {
    let mut clips: Vec<plan::Clip> = Vec::new();
    let on_axes = |affine: &eq::Affine, extent: Dim| -> Option<plan::Clip> {
        let mut terms = Vec::new();
        for (index, coefficient) in &affine.terms {
            let axis = axes.iter().position(|a| a.indices == [*index])?;
            terms.push((axis as u32, *coefficient));
        }
        terms.sort();
        Some(plan::Clip { terms, offset: affine.offset.clone(), extent })
    };
    for (affine, extent) in walks.iter().flat_map(|w| &w.guarded) {
        let clip = on_axes(affine, extent.clone())?;
        if !clips.contains(&clip) {
            clips.push(clip);
        }
    }
    let mut lower: Vec<&eq::Affine> = Vec::new();
    for condition in &piece.filter {
        let eq::Condition::NonNegative(affine) = condition else { return None };
        lower.push(affine);
    }
    // `form >= 0` and `n - 1 - form >= 0` are one clip.
    while let Some(form) = lower.first().copied() {
        lower.remove(0);
        let partner = lower.iter().position(|other| {
            other.terms.len() == form.terms.len()
                && other.terms.iter().zip(&form.terms).all(|(a, b)| a.0 == b.0 && a.1 == -b.1)
        });
        let clip = match partner {
            Some(at) => {
                let other = lower.remove(at);
                let extent = form.offset.clone() + other.offset.clone() + Dim::one();
                // Written from the side that begins with a positive coefficient.
                let form = if form.terms.first().is_some_and(|t| t.1 < 0) { other } else { form };
                on_axes(form, extent)?
            }
            None => {
                let highest: Dim = form
                    .terms
                    .iter()
                    .filter(|(_, c)| *c > 0)
                    .map(|(i, c)| (piece.range(*i).clone() - Dim::one()).scale(*c))
                    .sum();
                on_axes(form, highest + form.offset.clone() + Dim::one())?
            }
        };
        if storage.names_example(&clip.extent) && axes.iter().all(|a| a.offsets.is_none()) {
            return None;
        }
        if !clips.contains(&clip) {
            clips.push(clip);
        }
    }
    Some(clips)
}

impl Contraction {
    /// Runs neighbouring axes together where every operand steps through both with one stride.
    fn merge(&mut self) {
        let mut at = 0;
        while at + 1 < self.axes.len() {
            let (outer, inner) = (&self.axes[at], &self.axes[at + 1]);
            let clipped = |axis: usize| self.clips.iter().any(|c| c.terms.iter().any(|(a, _)| *a as usize == axis));
            let joins = outer.role == inner.role
                && outer.offsets.is_none()
                && inner.offsets.is_none()
                && !clipped(at)
                && !clipped(at + 1)
                && (0..3).all(|w| outer.strides[w] == inner.strides[w].clone() * inner.extent.clone());
            if !joins {
                at += 1;
                continue;
            }
            let inner = self.axes.remove(at + 1);
            let outer = &mut self.axes[at];
            outer.name = format!("{}_{}", outer.name, inner.name);
            outer.indices.extend(inner.indices);
            outer.extent = outer.extent.clone() * inner.extent;
            outer.strides = inner.strides;
            for clip in &mut self.clips {
                for (axis, _) in &mut clip.terms {
                    if *axis as usize > at {
                        *axis -= 1;
                    }
                }
            }
        }
    }
}

/// A copy of the right operand in the order of the sum: `(the copy's piece, the piece that reads it, its shape)`.
///
/// `dx[b, t, c] = sum[k, f] dy[b, t - k, f] * w[k, c, f]` becomes, with `k = K - 1 - k'`,
/// `wr[k', f, c] = w[K - 1 - k', c, f]` and `dx[b, t, c] = sum[k', f] dy[b, t + k' - (K - 1), f] * wr[k', f, c]`.
pub(crate) struct Repack {
    pub source: eq::TensorId,
    pub shape: Vec<Dim>,
    pub copy: eq::Piece,
    /// The body reads tensor number `u32::MAX` for the copy.
    pub piece: eq::Piece,
}

/// A length that no axis of a filter has.
const LONG: i64 = 1009;

pub(crate) const COPY: eq::TensorId = eq::TensorId(u32::MAX);

pub(crate) fn repack(piece: &eq::Piece, found: &Contraction) -> Option<Repack> {
    let sums: Vec<&Axis> = found.axes.iter().filter(|a| a.role == plan::AxisRole::K).collect();
    let columns: Vec<&Axis> = found.axes.iter().filter(|a| a.role == plan::AxisRole::N).collect();
    if found.axes.iter().any(|a| a.role == plan::AxisRole::Batch && !a.strides[2].is_zero()) {
        return None;
    }
    // Shared, and of a size known when the model is built.
    let known = |a: &&Axis| a.extent.as_const().is_some() && a.indices.len() == 1;
    if !sums.iter().all(known) || !columns.iter().all(known) || sums.len() < 2 {
        return None;
    }
    // Which of two steps is larger and which way it goes: of an example's own size, as if that were long.
    let number = |d: &Dim| d.eval(&|_| Some(LONG)).unwrap_or(0);
    // Neighbours that run together, forwards, in both operands, once the clips are peeled: as the axes are,
    let together = sums
        .windows(2)
        .filter(|w| [1, 2].iter().all(|o| w[0].strides[*o] == w[1].strides[*o].clone() * w[1].extent.clone()))
        .count();
    // and in the order in which the left operand steps: largest stride outermost, always forwards, where the right one follows by being copied.
    let mut order = sums.clone();
    order.sort_by_key(|a| -number(&a.strides[1]).abs());
    let in_order = order
        .windows(2)
        .filter(|w| number(&w[0].strides[1]).abs() == number(&w[1].strides[1]).abs() * number(&w[1].extent))
        .count();
    if in_order <= together {
        return None;
    }
    let mut reads = Vec::new();
    factors(&piece.body, &mut reads);
    let [eq::Expr::Read(left), eq::Expr::Read(right)] = reads.as_slice() else { return None };
    let (left, right) = if right.tensor == found.b.tensor { (left, right) } else { (right, left) };
    if left.tensor == right.tensor || right.otherwise.is_some() || right.tensor != found.b.tensor {
        return None;
    }
    // New bound indices, in the new order; the free ones stay.
    let flip = |a: &Axis| number(&a.strides[1]) < 0;
    let old = |a: &Axis| a.indices[0];
    let position = |id: eq::IndexId| order.iter().position(|a| old(a) == id);
    let form = |id: eq::IndexId| match position(id) {
        None => eq::Affine::from(id),
        Some(at) => {
            let new = eq::Affine::from(eq::IndexId((piece.free + at) as u32));
            if flip(order[at]) { eq::Affine::from(order[at].extent.clone() - Dim::one()) + new * -1 } else { new }
        }
    };
    let mut indices = piece.indices[..piece.free].to_vec();
    indices.extend(order.iter().map(|a| piece.indices[old(a).0 as usize].clone()));
    let own = |id: u32| eq::Affine::from(eq::IndexId(id));
    let subs: Vec<eq::Sub> = (0..order.len())
        .map(|i| own((piece.free + i) as u32).into())
        .chain(columns.iter().map(|a| eq::Affine::from(old(a)).into()))
        .collect();
    let read = eq::Read { tensor: COPY, subs, otherwise: None, example: None };
    let new_left = eq::Expr::Read((*left).clone()).replace_indices(&form);
    let new_piece = eq::Piece {
        indices,
        filter: piece.filter.iter().cloned().map(|c| c.replace_indices(&form)).collect(),
        body: new_left * eq::Expr::Read(read),
        ..piece.clone()
    };
    // The copy: its free indices are the sums in the new order, then the columns.
    let in_copy = |id: eq::IndexId| match (position(id), columns.iter().position(|a| old(a) == id)) {
        (Some(at), _) if flip(order[at]) => {
            eq::Affine::from(order[at].extent.clone() - Dim::one()) + own(at as u32) * -1
        }
        (Some(at), _) => own(at as u32),
        (None, Some(at)) => own((order.len() + at) as u32),
        (None, None) => eq::Affine::from(id),
    };
    let copied: Vec<&&Axis> = order.iter().chain(&columns).collect();
    let copy = eq::Piece {
        indices: copied.iter().map(|a| piece.indices[old(a).0 as usize].clone()).collect(),
        free: copied.len(),
        at: (0..copied.len() as u32).map(own).collect(),
        monoid: eq::Monoid::Sum,
        filter: Vec::new(),
        body: eq::Expr::Read((*right).clone()).replace_indices(&in_copy),
        empty: None,
    };
    let shape = copied.iter().map(|a| a.extent.clone()).collect();
    Some(Repack { source: right.tensor, shape, copy, piece: new_piece })
}

/// An operand that lies elsewhere, as a copy by the rows of the loop: what is read, over which of the piece's indices, and the copy.
pub(crate) struct Gather {
    pub read: eq::Read,
    pub indices: Vec<eq::IndexId>,
    pub copy: eq::Piece,
}

/// The operands of a product that lie by example while the loop at hand counts rows, if there are any and each can be copied.
pub(crate) fn elsewhere(program: &eq::Program, storage: &mut Storage, piece: &eq::Piece) -> Option<Vec<Gather>> {
    if storage.depth() == 0 || piece.monoid != eq::Monoid::Sum || piece.bound() == 0 {
        return None;
    }
    let mut product = Vec::new();
    factors(&piece.body, &mut product);
    let mut gathers: Vec<Gather> = Vec::new();
    for factor in product {
        let eq::Expr::Read(read) = factor else { return None };
        let by_example = program.is_per_example(read.tensor);
        let here = storage.place(program, read.tensor).depth == storage.depth();
        if !by_example || here || gathers.iter().any(|g| g.read == *read) {
            continue;
        }
        let mut used: Vec<eq::IndexId> = Vec::new();
        for sub in &read.subs {
            let eq::Sub::Affine(form) = sub else { return None };
            used.extend(form.terms.iter().map(|(index, _)| *index));
        }
        used.sort();
        used.dedup();
        let batch = match read.subs.first()? {
            eq::Sub::Affine(form) => form.as_index()?,
            eq::Sub::Data(_) => return None,
        };
        used.retain(|index| *index != batch);
        used.insert(0, batch);
        let ranges = used.iter().map(|i| &piece.indices[i.0 as usize]);
        if ranges.clone().any(|i| i.example.is_some() || storage.names_example(&i.range)) {
            return None;
        }
        let place = |id: eq::IndexId| used.iter().position(|u| *u == id).unwrap_or(0) as u32;
        let copy = eq::Piece {
            indices: ranges.cloned().collect(),
            free: used.len(),
            at: (0..used.len() as u32).map(|i| eq::IndexId(i).into()).collect(),
            monoid: eq::Monoid::Sum,
            filter: Vec::new(),
            body: eq::Expr::Read(read.clone()).replace_indices(&|id| eq::IndexId(place(id)).into()),
            empty: None,
        };
        gathers.push(Gather { read: read.clone(), indices: used, copy });
    }
    (!gathers.is_empty()).then_some(gathers)
}
