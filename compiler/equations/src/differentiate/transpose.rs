//! Collecting a sum over points at the subscripts of a read: the adjoint of reading.
//!
//! Given the points of a piece, a read `x[s(point)]` and a value at every point, `transpose` gives pieces of an equation over x:
//! `d_x[o] = sum[points with s(point) == o] value`. One axis of x after the other, plain subscripts first:
//!
//! - **data** `x[tok[t]]`: a new free index `o` with the filter `o == tok[t]`, a segment reduction;
//! - **unit coefficient** `x[t + k]`: solve for one index, `t = o - k`, with filters for its range;
//! - **stride** `x[2 t + k]`: `o = 2 u + p`, `k = 2 v + q`, one piece a phase `p`, then unit coefficients: `t = u - v`;
//! - **constant** `x[1]`: written there;
//! - **nothing left to solve** `x[t, t]`: a diagonal, the filter `o == s`.
//!
//! Where several indices could be solved for, it is the one whose range is unknown when the model is built, or else the longest.

use super::lengths::{self, Lengths};
use crate::bounds::Domain;
use crate::data::{Affine, Condition, Expr, Index, IndexId, Monoid, Piece, Program, Read, Sub};
use crate::simplify::Known;
use bdl_dims::Dim;

/// A stride whose phases would be more pieces than this is left to filters.
const MOST_PHASES: i64 = 64;

/// Pieces of an equation for a tensor of the read's shape; they may overlap. `value` is an expression at the points of `piece`, whose
/// own body, monoid and output subscripts are not looked at.
///
/// Errors: a size that could not be read as a value, where another example is the main one in the gradient.
pub fn transpose(
    program: &mut Program,
    lengths: &mut Lengths,
    piece: &Piece,
    read: &Read,
    value: Expr,
    known: &Known,
) -> Result<Vec<Piece>, &'static str> {
    let tensor = program.get(read.tensor).clone();
    let rank = tensor.shape.len();
    let main = crate::bounds::main_batch_index(program, piece);
    let first = piece.indices.len() as u32;
    // Every index says whose size its range is.
    let mut indices: Vec<Index> = piece.indices.clone();
    for index in &mut indices {
        if program.is_per_example_size(&index.range) {
            index.example = index.example.or(main);
        }
    }
    let batched = program.is_per_example(read.tensor);
    const NAMES: [&str; 6] = ["i", "j", "k", "l", "m", "n"];
    for (axis, dim) in tensor.shape.iter().enumerate() {
        let wanted = match &read.subs[axis] {
            Sub::Affine(form) => form.terms.first().map(|(i, _)| piece.indices[i.0 as usize].name.to_string()),
            Sub::Data(_) => None,
        };
        // The index that will be solved gives its name to the new one; taken names are settled at the end.
        let name = wanted.unwrap_or_else(|| NAMES[axis % NAMES.len()].to_string());
        let example = (batched && program.is_per_example_size(dim)).then_some(IndexId(first));
        indices.push(Index { name: name.into(), range: dim.clone(), example });
    }
    let mut uses_main = false;
    piece.visit_affine(&mut |form| uses_main |= program.is_per_example_size(&form.offset));
    value.visit_affine(&mut |form| uses_main |= program.is_per_example_size(&form.offset));
    let job = Job {
        alive: (0..indices.len()).map(|i| i < first as usize).collect(),
        indices,
        subs: read.subs.clone(),
        at: vec![None; rank],
        filter: piece.filter.clone(),
        body: value,
        limits: Vec::new(),
        sized_by: main.filter(|_| uses_main),
        first,
        read_example: read.subs.first().and_then(|s| match s {
            Sub::Affine(form) if batched => form.as_index(),
            Sub::Affine(_) | Sub::Data(_) => None,
        }),
    };
    let plain = |axis: &usize| match &read.subs[*axis] {
        Sub::Affine(form) => form.as_index().is_none(),
        Sub::Data(_) => true,
    };
    let mut order: Vec<usize> = (0..rank).collect();
    order.sort_by_key(plain);
    let mut jobs = vec![job];
    for axis in order {
        let mut next = Vec::new();
        for job in jobs {
            job.axis(program, known, axis, &mut next);
        }
        jobs = next;
    }
    jobs.into_iter().map(|job| job.finish(program, lengths, known)).collect()
}

#[derive(Clone)]
struct Job {
    /// The indices of the piece, then one for each axis of the tensor, then parts of split indices.
    indices: Vec<Index>,
    /// Is the index still summed over?
    alive: Vec<bool>,
    subs: Vec<Sub>,
    at: Vec<Option<Affine>>,
    filter: Vec<Condition>,
    body: Expr,
    /// Which of the filters are forms that must stay below the size of an example.
    limits: Vec<(usize, Dim, IndexId)>,
    /// The batch index whose example's sizes stand in affine forms.
    sized_by: Option<IndexId>,
    /// The number of the index of the first axis.
    first: u32,
    /// The example that the read names.
    read_example: Option<IndexId>,
}

impl Job {
    fn axis_index(&self, axis: usize) -> IndexId {
        IndexId(self.first + axis as u32)
    }

    fn range(&self, index: IndexId) -> &Dim {
        &self.indices[index.0 as usize].range
    }

    fn alive(&self, index: IndexId) -> bool {
        self.alive[index.0 as usize]
    }

    /// How much the range asks to be solved for: unknown sizes before numbers, the batch first, long before short.
    fn weight(&self, program: &Program, index: IndexId) -> (u8, i64) {
        let range = self.range(index);
        match range.as_const() {
            Some(n) => (0, n),
            None if program.is_batch(range) => (3, 0),
            None if program.is_per_example_size(range) => (2, 0),
            None => (1, 0),
        }
    }

    fn axis(mut self, program: &Program, known: &Known, axis: usize, next: &mut Vec<Job>) {
        let o = self.axis_index(axis);
        let dim = self.range(o).clone();
        let form = match self.subs[axis].clone() {
            Sub::Data(data) => {
                self.filter.push(Condition::Equal(o.into(), *data));
                self.at[axis] = Some(o.into());
                next.push(self);
                return;
            }
            Sub::Affine(form) => form,
        };
        if form.terms.is_empty() {
            if Domain::of(program, &self.written(), &known.sizes).inside(&form, &dim) {
                self.at[axis] = Some(form);
                next.push(self);
            } else {
                self.diagonal(axis, &form, next);
            }
            return;
        }
        let heaviest = |of: &dyn Fn(i64) -> bool| {
            let terms = form.terms.iter().filter(|(i, c)| self.alive(*i) && of(c.abs()));
            terms.max_by_key(|(i, _)| (self.weight(program, *i), std::cmp::Reverse(*i))).copied()
        };
        let unit = heaviest(&|c| c == 1);
        let strided = heaviest(&|c| c > 1).filter(|(i, c)| self.can_split(&form, *i, c.abs()));
        match (unit, strided) {
            (Some((u, _)), Some((s, c))) if self.weight(program, s) > self.weight(program, u) => {
                self.phases(program, axis, &form, s, c, next);
            }
            (Some((u, c)), _) => self.unit(program, axis, &form, u, c, next),
            (None, Some((s, c))) => self.phases(program, axis, &form, s, c, next),
            (None, None) => self.diagonal(axis, &form, next),
        }
    }

    /// The points that the result is written at, as far as axes run over them. What the piece's filter says does not hold at all of them, nor that a
    /// summed index has values: there the sum is empty, but it is written.
    fn written(&self) -> Piece {
        let is_constant = |sub: &Sub| matches!(sub, Sub::Affine(form) if form.terms.is_empty());
        let axes =
            (0..self.subs.len()).filter(|axis| !is_constant(&self.subs[*axis])).map(|axis| self.axis_index(axis));
        let axes: Vec<IndexId> = axes.collect();
        let place = |i: IndexId| axes.iter().position(|axis| *axis == i).map(|at| IndexId(at as u32));
        let index = |axis: &IndexId| {
            let index = self.indices[axis.0 as usize].clone();
            Index { example: index.example.and_then(place), ..index }
        };
        let indices: Vec<Index> = axes.iter().map(index).collect();
        let (at, filter) = (indices.iter().zip(0..).map(|(_, i)| IndexId(i).into()).collect(), Vec::new());
        Piece { free: indices.len(), indices, at, monoid: Monoid::Sum, filter, body: Expr::Const(0.0), empty: None }
    }

    /// `o == form`, with nothing solved.
    fn diagonal(mut self, axis: usize, form: &Affine, next: &mut Vec<Job>) {
        let o: Affine = self.axis_index(axis).into();
        self.filter.push(Condition::NonNegative(o.clone() - form.clone()));
        self.filter.push(Condition::NonNegative(form.clone() - o.clone()));
        self.at[axis] = Some(o);
        next.push(self);
    }

    fn unit(mut self, program: &Program, axis: usize, form: &Affine, index: IndexId, c: i64, next: &mut Vec<Job>) {
        let o = self.axis_index(axis);
        let solution = (Affine::from(o) - form.without(index)).scale(c);
        let range = self.range(index).clone();
        let example = self.indices[index.0 as usize].example;
        let same_example = !program.is_per_example_size(&range) || example == self.read_example;
        if !(solution.as_index() == Some(o) && range == *self.range(o) && same_example) {
            self.limit(program, &solution, &range, example);
        }
        self.solve(index, &solution);
        self.at[axis] = Some(o.into());
        next.push(self);
    }

    /// The solved index must lie in its range.
    fn limit(&mut self, program: &Program, solution: &Affine, range: &Dim, example: Option<IndexId>) {
        let example = example.filter(|_| program.is_per_example_size(range));
        self.filter.push(Condition::NonNegative(solution.clone()));
        self.limits.extend(example.map(|example| (self.filter.len(), range.clone(), example)));
        self.filter.push(Condition::NonNegative(Affine::from(range.clone()) - Affine::from(1) - solution.clone()));
    }

    /// Replaces an index everywhere.
    fn solve(&mut self, index: IndexId, solution: &Affine) {
        self.alive[index.0 as usize] = false;
        let by = |i: IndexId| if i == index { solution.clone() } else { i.into() };
        for sub in &mut self.subs {
            *sub = match std::mem::replace(sub, Sub::Affine(Affine::zero())) {
                Sub::Affine(form) => form.replace(&by).into(),
                Sub::Data(data) => data.replace_indices(&by).into(),
            };
        }
        for at in self.at.iter_mut().flatten() {
            *at = at.replace(&by);
        }
        let filter = std::mem::take(&mut self.filter);
        self.filter = filter.into_iter().map(|c| c.replace_indices(&by)).collect();
        let body = std::mem::replace(&mut self.body, Expr::Const(0.0));
        self.body = body.replace_indices(&by);
        if let Some(new) = solution.as_index() {
            let limits = self.limits.iter_mut().map(|(_, _, example)| example);
            let examples = self.indices.iter_mut().filter_map(|i| i.example.as_mut());
            for id in self.sized_by.iter_mut().chain(limits).chain(examples) {
                if *id == index {
                    *id = new;
                }
            }
        }
    }

    /// The other live indices of the form whose coefficient the stride does not divide.
    fn odd_ones(&self, form: &Affine, strided: IndexId, stride: i64) -> Vec<IndexId> {
        form.terms.iter().filter(|(i, c)| *i != strided && self.alive(*i) && c % stride != 0).map(|(i, _)| *i).collect()
    }

    /// Are the phases of the offset known, and few?
    fn can_split(&self, form: &Affine, strided: IndexId, stride: i64) -> bool {
        let offset_known = form.offset.terms().all(|(m, c)| m.is_empty() || c % stride == 0);
        let solved_fit = form.terms.iter().all(|(i, c)| self.alive(*i) || c % stride == 0);
        let odd = self.odd_ones(form, strided, stride).len() as u32;
        let no_example = |i: &IndexId| self.indices.iter().all(|x| x.example != Some(*i));
        let splits = self.odd_ones(form, strided, stride).iter().all(no_example);
        offset_known && solved_fit && splits && stride.checked_pow(odd).is_some_and(|n| n <= MOST_PHASES)
    }

    /// `o = g u + p` and every odd index `k = g v + q`: one job for each choice of the residues.
    fn phases(
        self,
        program: &Program,
        axis: usize,
        form: &Affine,
        strided: IndexId,
        coefficient: i64,
        next: &mut Vec<Job>,
    ) {
        let stride = coefficient.abs();
        let odd = self.odd_ones(form, strided, stride);
        let combinations = stride.pow(odd.len() as u32);
        'residues: for number in 0..combinations {
            let (mut job, mut form, mut left) = (self.clone(), form.clone(), number);
            for index in &odd {
                let residue = left % stride;
                left /= stride;
                let part = (job.range(*index).clone() - Dim::from(residue) + Dim::from(stride - 1))
                    .floor_div(&Dim::from(stride));
                if part.as_const().is_some_and(|n| n <= 0) {
                    continue 'residues;
                }
                let whole = job.indices[index.0 as usize].clone();
                let v = IndexId(job.indices.len() as u32);
                job.indices.push(Index { range: part, ..whole });
                job.alive.push(true);
                let split = Affine::from(v) * stride + residue.into();
                form = form.substitute(*index, &split);
                job.solve(*index, &split);
            }
            let phase = form.offset.constant().rem_euclid(stride);
            let o = job.axis_index(axis);
            // u = form' with unit coefficient in the strided index
            let shifted = form - phase.into();
            let divided = Affine {
                terms: shifted.terms.iter().map(|(i, c)| (*i, c / stride)).collect(),
                offset: shifted.offset.floor_div(&Dim::from(stride)),
            };
            let sign = coefficient.signum();
            let solution = (Affine::from(o) - divided.without(strided)).scale(sign);
            let dim = job.range(o).clone();
            let part = (dim - Dim::from(phase) + Dim::from(stride - 1)).floor_div(&Dim::from(stride));
            if part.as_const().is_some_and(|n| n <= 0) {
                continue;
            }
            job.indices[o.0 as usize].range = part;
            let range = job.range(strided).clone();
            let example = job.indices[strided.0 as usize].example;
            job.limit(program, &solution, &range, example);
            job.solve(strided, &solution);
            job.at[axis] = Some(Affine::from(o) * stride + phase.into());
            next.push(job);
        }
    }

    /// Numbers the indices that are left: those of the axes first, in their order, then the summed ones.
    fn finish(self, program: &mut Program, lengths: &mut Lengths, known: &Known) -> Result<Piece, &'static str> {
        const TWO: &str = "the gradient would need the sizes of two examples in one equation";
        let rank = self.at.len() as u32;
        let used = |o: &IndexId| self.at.iter().flatten().any(|a| a.mentions(*o));
        let free: Vec<IndexId> = (self.first..self.first + rank).map(IndexId).filter(used).collect();
        let bound = (0..self.indices.len() as u32).map(IndexId).filter(|i| self.alive(*i));
        let order: Vec<IndexId> = free.iter().copied().chain(bound).collect();
        let place = |i: IndexId| order.iter().position(|o| *o == i).map(|n| IndexId(n as u32));
        let by = |i: IndexId| place(i).map_or_else(Affine::zero, Affine::from);
        let mut indices: Vec<Index> = Vec::new();
        for id in &order {
            let Index { name, range, example } = self.indices[id.0 as usize].clone();
            let name = crate::builder::fresh_index(&indices, &name);
            indices.push(Index { name, range, example: example.and_then(place) });
        }
        let main = indices.iter().position(|i| program.is_batch(&i.range)).map(|n| IndexId(n as u32));
        for index in &mut indices {
            index.example = index.example.filter(|e| Some(*e) != main);
        }
        let at = self.at.iter().flatten().map(|a| a.replace(&by)).collect();
        // Sizes of another example than the one that is the main one now are read as values.
        let limited: Vec<usize> = self.limits.iter().map(|(number, _, _)| *number).collect();
        let mut limits: Vec<(usize, Affine, Dim, IndexId)> = Vec::new();
        for (number, size, example) in self.limits {
            let example = place(example).ok_or(TWO)?;
            if Some(example) != main
                && let Condition::NonNegative(form) = &self.filter[number]
            {
                // size - 1 - solution, without the size
                let solution = (Affine::from(size.clone()) - Affine::from(1) - form.clone()).replace(&by);
                limits.push((number, solution, size, example));
            }
        }
        let mut by_value = !limits.is_empty();
        let filter: Vec<Condition> = self.filter.into_iter().map(|c| c.replace_indices(&by)).collect();
        let body = self.body.replace_indices(&by);
        let mut piece = Piece { indices, free: free.len(), at, monoid: Monoid::Sum, filter, body, empty: None };
        if let Some(example) = self.sized_by
            && place(example) != main
        {
            let example = place(example).ok_or(TWO)?;
            piece = lengths.as_values(program, piece, example, &limited).ok_or(TWO)?;
            by_value = true;
        }
        for (number, form, size, example) in limits {
            piece.filter[number] = lengths.below(program, &form, &size, example).ok_or(TWO)?;
        }
        Ok(if by_value { lengths::guarded(program, piece, &known.sizes) } else { piece })
    }
}
