//! Ranges of indices, and the proof that no read leaves its tensor.
//!
//! `let y[t, f] = sum[k, c] x[t + k, c] * w[k, c, f]` says nowhere how far `t` runs. Every unguarded subscript leaves a [`Read`];
//! when a reduction, `for` or `let` with indices ends, its indices get their ranges:
//!
//! ```text
//! c, k, f stand alone in a subscript      c < C   k < K   f < F       (all such subscripts must agree)
//! t + k < T with k < K                    t < T - K + 1               (the rest, in order)
//! x[t + k, c] may not leave x             0 <= t + k <= T - 1         (proved for every read that has not given a range)
//! ```
//!
//! A reduction whose index waits for one further out (`x[t + k]`, `t` still open) hands its reads on. Guarded subscripts
//! (`else`, `clamp`, `mod`) leave nothing, and no `if` protects a read.

use crate::checker::Checker;
use crate::hir::{Axis, IndexId, IndexKind};
use crate::prove::Facts;
use crate::value::axis;
use bdl_dims::Dim;
use bdl_grammar::{Diagnostic, Span};

/// An unguarded subscript: `index` must stay below the size of `axis`.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub index: Ix,
    pub axis: Axis,
    /// The subscript.
    pub span: Span,
    /// The tensor, as written.
    pub tensor: String,
    /// `dst[e] == v` gives v the range of what dst holds, but reads nothing.
    pub only_range: bool,
}

/// A whole-numbered term over indices, as far as its bounds are understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ix {
    Affine(Affine),
    /// Rounded down.
    Div(Box<Ix>, Dim),
    Rem(Box<Ix>, Dim),
    Add(Box<Ix>, Box<Ix>),
    Times(Box<Ix>, Dim),
    /// From data: a natural number below this, where its type says so.
    Data(Option<Dim>),
}

/// `sum of coefficient * index + offset`.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Affine {
    pub terms: Vec<(IndexId, Dim)>,
    pub offset: Dim,
}

impl Affine {
    pub fn of_index(index: IndexId) -> Affine {
        Affine { terms: vec![(index, Dim::one())], offset: Dim::zero() }
    }

    pub fn of_size(offset: Dim) -> Affine {
        Affine { terms: Vec::new(), offset }
    }

    pub fn plus(mut self, other: &Affine) -> Affine {
        for (index, coefficient) in &other.terms {
            match self.terms.iter_mut().find(|(known, _)| known == index) {
                Some((_, sum)) => *sum = sum.clone() + coefficient.clone(),
                None => self.terms.push((*index, coefficient.clone())),
            }
        }
        self.terms.retain(|(_, coefficient)| !coefficient.is_zero());
        self.offset = self.offset + other.offset.clone();
        self
    }

    pub fn times(mut self, factor: &Dim) -> Affine {
        for (_, coefficient) in &mut self.terms {
            *coefficient = coefficient.clone() * factor.clone();
        }
        self.terms.retain(|(_, coefficient)| !coefficient.is_zero());
        self.offset = self.offset * factor.clone();
        self
    }

    /// The index, if it is nothing but one index.
    pub fn alone(&self) -> Option<IndexId> {
        match self.terms.as_slice() {
            [(index, coefficient)] if *coefficient == Dim::one() && self.offset.is_zero() => Some(*index),
            [] | [_] | [_, ..] => None,
        }
    }
}

impl Ix {
    fn indices(&self, out: &mut Vec<IndexId>) {
        match self {
            Ix::Affine(affine) => out.extend(affine.terms.iter().map(|(index, _)| *index)),
            Ix::Div(inner, _) | Ix::Rem(inner, _) | Ix::Times(inner, _) => inner.indices(out),
            Ix::Add(left, right) => {
                left.indices(out);
                right.indices(out);
            }
            Ix::Data(_) => {}
        }
    }
}

/// Smallest and largest value, where they are known.
type Bounds = (Option<Dim>, Option<Dim>);

impl<'a> Checker<'a> {
    /// The size of the range, when it is known.
    pub fn range_of(&self, index: IndexId) -> Option<Dim> {
        self.here().index(index).range.as_ref().map(|axis| axis.size.clone())
    }

    /// The size of the range as it will be, where a read has fixed it already.
    pub fn range_or_read(&self, index: IndexId) -> Option<Dim> {
        let fixes = |read: &Read| matches!(&read.index, Ix::Affine(affine) if affine.alone() == Some(index));
        self.range_of(index)
            .or_else(|| self.here().reads.iter().find(|read| fixes(read)).map(|read| read.axis.size.clone()))
    }

    /// Gives the indices of `own` their ranges as far as they follow already.
    pub fn resolve(&mut self, own: &[IndexId], finish: bool) {
        if finish {
            return self.resolve_from(own, 0);
        }
        self.resolve_all(own.to_vec(), false);
    }

    /// Gives every index made since `first` its range, or says that it has none.
    pub fn resolve_from(&mut self, own: &[IndexId], first: usize) {
        let mut waiting = own.to_vec();
        waiting.extend((first..self.here().indices.len()).map(|at| IndexId(at as u32)).filter(|id| !own.contains(id)));
        self.resolve_all(waiting, true);
    }

    fn resolve_all(&mut self, waiting: Vec<IndexId>, finish: bool) {
        let waiting: Vec<IndexId> = waiting.into_iter().filter(|&id| self.here().index(id).range.is_none()).collect();
        let waiting: Vec<IndexId> = waiting.into_iter().filter(|&id| is_ranged(&self.here().index(id).kind)).collect();
        self.fix_alone(&waiting);
        // The rest in order, as often as one more becomes known.
        while waiting.iter().any(|&id| self.range_of(id).is_none() && self.fix_by_solving(id)) {}
        if finish {
            let unknown: Vec<IndexId> = waiting.into_iter().filter(|&id| self.range_of(id).is_none()).collect();
            self.no_range(&unknown);
        }
        self.check_reads();
    }

    fn fix_alone(&mut self, waiting: &[IndexId]) {
        for &id in waiting {
            let axes: Vec<(Axis, Span, String)> = self
                .here()
                .reads
                .iter()
                .filter_map(|read| match &read.index {
                    Ix::Affine(affine) if affine.alone() == Some(id) => {
                        Some((read.axis.clone(), read.span, read.tensor.clone()))
                    }
                    Ix::Affine(_) | Ix::Div(_, _) | Ix::Rem(_, _) | Ix::Add(_, _) | Ix::Times(_, _) | Ix::Data(_) => {
                        None
                    }
                })
                .collect();
            let Some((first, span, tensor)) = axes.first().cloned() else { continue };
            let named =
                axes.iter().map(|(axis, _, _)| axis).find(|axis| axis.names.is_some()).unwrap_or(&first).clone();
            self.set_range(id, Axis { origin: first.origin.clone(), ..named });
            self.body().indices[id.0 as usize].fixed_by = Some((span, tensor.clone()));
            for (axis, other_span, other) in &axes[1..] {
                if !self.proves_equal(&first.size, &axis.size) {
                    self.ranges_differ(id, (&first, span, &tensor), (axis, *other_span, other));
                    break;
                }
                self.names_agree(&first, axis, span, *other_span);
            }
        }
    }

    /// Solves `a * id + rest + offset < size` for `id`, the others being known.
    fn fix_by_solving(&mut self, id: IndexId) -> bool {
        let mut found: Vec<(Dim, Axis, Span, String)> = Vec::new();
        let mut solved: Vec<usize> = Vec::new();
        for (at, read) in self.here().reads.iter().enumerate() {
            let Ix::Affine(affine) = &read.index else { continue };
            if let Some(bound) = self.solve(affine, &read.axis.size, id) {
                found.push((bound, read.axis.clone(), read.span, read.tensor.clone()));
                solved.push(at);
            }
        }
        let Some((bound, from, span, tensor)) = found.first().cloned() else { return false };
        if !self.natural(&bound, id, span) {
            self.body().indices[id.0 as usize].failed = true;
        }
        self.set_range(id, axis(bound.clone()));
        for (other, other_axis, other_span, other_tensor) in &found[1..] {
            if !self.proves_equal(&bound, other) {
                let left = Axis { size: bound.clone(), ..from.clone() };
                let right = Axis { size: other.clone(), ..other_axis.clone() };
                self.ranges_differ(id, (&left, span, &tensor), (&right, *other_span, other_tensor));
                break;
            }
        }
        true
    }

    fn solve(&self, affine: &Affine, size: &Dim, id: IndexId) -> Option<Dim> {
        let (_, coefficient) = affine.terms.iter().find(|(index, _)| *index == id)?;
        let facts = self.facts_about(affine.terms.iter().map(|(index, _)| *index).filter(|index| *index != id));
        let mut rest = Affine { terms: affine.terms.clone(), offset: affine.offset.clone() };
        rest.terms.retain(|(index, _)| *index != id);
        let (low, high) = self.affine_bounds(&rest, &facts);
        if facts.proves_positive(coefficient) {
            // a * i <= size - 1 - high(rest)
            Some((size.clone() - Dim::one() - high?).floor_div(coefficient) + Dim::one())
        } else if facts.proves_positive(&-coefficient.clone()) {
            // |a| * i <= low(rest): the subscript may not become negative.
            Some(low?.floor_div(&-coefficient.clone()) + Dim::one())
        } else {
            None
        }
    }

    /// A size that an index runs to must not be negative.
    pub fn natural(&mut self, bound: &Dim, id: IndexId, span: Span) -> bool {
        if self.facts().proves(bound) {
            return true;
        }
        let name = self.here().index(id).name.clone();
        let law = format!("where {} >= 0", bound);
        self.say(
            Diagnostic::error("negative-size", format!("`{name}` would run to `{bound}`, which may be negative"))
                .primary(span, format!("`{name} < {bound}` follows from this read"))
                .help(format!("state what the sizes must satisfy: `{law} else \"..\"` after the result's type")),
        );
        false
    }

    pub fn set_range(&mut self, id: IndexId, axis: Axis) {
        let info = &mut self.body().indices[id.0 as usize];
        info.kind = match &info.kind {
            IndexKind::Range(_) => IndexKind::Range(axis.size.clone()),
            IndexKind::Step(_) => IndexKind::Step(axis.size.clone()),
            IndexKind::Batch => IndexKind::Batch,
            IndexKind::Other => IndexKind::Other,
        };
        info.range = Some(axis);
    }

    /// One message for all indices that are left without a range.
    fn no_range(&mut self, unknown: &[IndexId]) {
        let open: Vec<(IndexId, crate::hir::Name, Span)> = unknown
            .iter()
            .map(|&id| (id, self.here().index(id)))
            .filter(|(_, info)| !info.failed)
            .map(|(id, info)| (id, info.name.clone(), info.span))
            .collect();
        if let Some((_, first, _)) = open.first() {
            let names: Vec<String> = open.iter().map(|(_, name, _)| format!("`{name}`")).collect();
            let verb = if open.len() == 1 { "does" } else { "do" };
            let mut diagnostic =
                Diagnostic::error("range-unknown", format!("how far {verb} {} run?", names.join(" and ")));
            for (at, (_, _, span)) in open.iter().enumerate() {
                diagnostic = if at == 0 {
                    diagnostic.primary(*span, "no read without `else` says it")
                } else {
                    diagnostic.secondary(*span, "nor here")
                };
            }
            let waits = self.here().reads.iter().find(|read| {
                let mut indices = Vec::new();
                read.index.indices(&mut indices);
                open.iter().any(|(id, _, _)| indices.contains(id))
            });
            if let Some(read) = waits {
                diagnostic = diagnostic
                    .secondary(read.span, format!("this read of `{}` leaves more than one index open", read.tensor));
            }
            self.say(diagnostic.help(format!("write its range: `{first} < n`, with the size that it stays below")));
        }
        for id in unknown {
            let info = &mut self.body().indices[id.0 as usize];
            info.failed = true;
            info.range = Some(axis(Dim::var("?")));
            info.kind = IndexKind::Range(Dim::var("?"));
        }
    }

    fn ranges_differ(&mut self, id: IndexId, left: (&Axis, Span, &str), right: (&Axis, Span, &str)) {
        self.body().indices[id.0 as usize].failed = true;
        let name = self.here().index(id).name.clone();
        let (a, b) = (&left.0.size, &right.0.size);
        let mut diagnostic =
            Diagnostic::error("range-differs", format!("`{name}` runs to {a} in one read and to {b} in another"))
                .primary(right.1, format!("here `{name} < {b}`, so that it stays inside `{}`", right.2))
                .secondary(left.1, format!("here `{name} < {a}`, so that it stays inside `{}`", left.2));
        diagnostic = with_origin(diagnostic, left.0);
        diagnostic = with_origin(diagnostic, right.0);
        let smaller = if self.facts().proves(&(a.clone() - b.clone())) { b } else { a };
        let help = self.own_length(a, b).unwrap_or_else(|| {
            format!(
                "nothing is cut to the shorter of two lengths in silence: write the range, `{name} < {smaller}`, or make the sizes equal"
            )
        });
        self.say(diagnostic.help(help));
    }

    /// Axes with names from the data meet only if the names agree.
    pub fn names_agree(&mut self, left: &Axis, right: &Axis, left_span: Span, right_span: Span) -> bool {
        let (Some(a), Some(b)) = (&left.names, &right.names) else { return true };
        if a == b {
            return true;
        }
        let at = a.iter().zip(b.iter()).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
        let name = |names: &[String]| names.get(at).map_or("nothing".to_string(), |name| format!("`{name}`"));
        let (first, second) = (name(a), name(b));
        self.say(
            Diagnostic::error(
                "axis-names-differ",
                format!("the names along these axes differ from place {} on", at + 1),
            )
            .primary(right_span, format!("{second} stands here"))
            .secondary(left_span, format!("{first} stands here"))
            .help("bring them into one order with `align(x, to: ..)`; where places are meant and not names, `reshape(x, [n])` has none"),
        );
        false
    }

    /// Facts here, and that the ranges of these indices are not empty (an empty range reads nothing).
    pub fn facts_about(&self, indices: impl Iterator<Item = IndexId>) -> Facts {
        let mut facts = self.facts().clone();
        for id in indices {
            if let Some(size) = self.range_of(id) {
                facts.assume(size - Dim::one());
            }
        }
        facts
    }

    fn affine_bounds(&self, affine: &Affine, facts: &Facts) -> Bounds {
        let (mut low, mut high) = (Some(affine.offset.clone()), Some(affine.offset.clone()));
        for (index, coefficient) in &affine.terms {
            let Some(size) = self.range_of(*index) else { return (None, None) };
            let reach = coefficient.clone() * (size - Dim::one());
            if facts.proves(coefficient) {
                high = high.map(|high| high + reach);
            } else if facts.proves(&-coefficient.clone()) {
                low = low.map(|low| low + reach);
            } else {
                return (None, None);
            }
        }
        (low, high)
    }

    fn bounds(&self, index: &Ix, facts: &Facts) -> Bounds {
        match index {
            Ix::Affine(affine) => self.affine_bounds(affine, facts),
            Ix::Div(inner, by) => {
                let (low, high) = self.bounds(inner, facts);
                if !facts.proves_positive(by) {
                    return (None, None);
                }
                (low.map(|low| low.floor_div(by)), high.map(|high| high.floor_div(by)))
            }
            Ix::Rem(inner, by) => {
                if !facts.proves_positive(by) {
                    return (None, None);
                }
                let _ = inner;
                (Some(Dim::zero()), Some(by.clone() - Dim::one()))
            }
            Ix::Add(left, right) => {
                let (a, b) = (self.bounds(left, facts), self.bounds(right, facts));
                (a.0.zip(b.0).map(|(a, b)| a + b), a.1.zip(b.1).map(|(a, b)| a + b))
            }
            Ix::Times(inner, by) => {
                let (low, high) = self.bounds(inner, facts);
                if facts.proves(by) {
                    (low.map(|low| low * by.clone()), high.map(|high| high * by.clone()))
                } else if facts.proves(&-by.clone()) {
                    (high.map(|high| high * by.clone()), low.map(|low| low * by.clone()))
                } else {
                    (None, None)
                }
            }
            Ix::Data(below) => match below {
                Some(below) => (Some(Dim::zero()), Some(below.clone() - Dim::one())),
                None => (None, None),
            },
        }
    }

    /// Proves every read whose indices all have ranges, and forgets it.
    fn check_reads(&mut self) {
        let reads = std::mem::take(&mut self.body().reads);
        let mut open = Vec::new();
        for read in reads {
            let mut indices = Vec::new();
            read.index.indices(&mut indices);
            if indices.iter().any(|&id| self.range_of(id).is_none()) {
                open.push(read);
            } else if !read.only_range && !indices.iter().any(|&id| self.here().index(id).failed) {
                self.check_read(&read, &indices);
            }
        }
        self.body().reads.extend(open);
        self.settle_needs();
    }

    fn check_read(&mut self, read: &Read, indices: &[IndexId]) {
        let size = &read.axis.size;
        // One index by itself must run along the whole axis, unless its range was written.
        if let Ix::Affine(affine) = &read.index
            && let [(id, _)] = affine.terms.as_slice()
            && !self.here().index(*id).written
        {
            let known = self.here().index(*id).range.clone().unwrap_or_else(|| axis(Dim::zero()));
            if let Some(bound) = self.solve(affine, size, *id)
                && !self.proves_equal(&bound, &known.size)
            {
                let (span, tensor) = (read.span, read.tensor.clone());
                let id = *id;
                let info = self.here().index(id);
                let (at, by) = info.fixed_by.clone().unwrap_or_else(|| (info.span, "the other reads".to_string()));
                let here = Axis { size: bound, ..read.axis.clone() };
                self.ranges_differ(id, (&known, at, &by), (&here, span, &tensor));
                return;
            }
        }
        let facts = self.facts_about(indices.iter().copied());
        let (low, high) = self.bounds(&read.index, &facts);
        let low_holds = low.as_ref().is_some_and(|low| facts.proves(low));
        let high_holds = high.as_ref().is_some_and(|high| facts.proves(&(size.clone() - Dim::one() - high.clone())));
        if low_holds && high_holds {
            return;
        }
        let shown = self.text(read.span);
        let tensor = &read.tensor;
        let why = match (&low, &high) {
            (Some(at), Some(last)) if at == last && at.as_const().is_some() && size.as_const().is_some() => {
                format!("there is no element {at}; `{tensor}` has {size}, the first is 0")
            }
            (Some(low), _) if !low_holds => format!("`{shown}` may be {low}"),
            (_, Some(high)) if !high_holds => format!("`{shown}` may be {high}, but `{tensor}` has {size} here"),
            (_, _) => format!("nothing says that `{shown}` stays below {size}"),
        };
        let span = read.span;
        let mut diagnostic =
            Diagnostic::error("out-of-range", format!("this read may leave `{tensor}`")).primary(span, why);
        for &id in indices {
            let info = self.here().index(id);
            if let (Some(range), true) = (&info.range, info.span.file == span.file) {
                diagnostic = diagnostic.secondary(info.span, format!("`{}` runs to {}", info.name, range.size));
            }
        }
        let ranges = indices.iter().filter_map(|&id| self.range_of(id));
        let of_two = ranges.into_iter().find_map(|range| self.own_length(&range, size));
        let help = if let Some(help) = of_two {
            help
        } else if shown == "last" {
            format!(
                "state that there is one, `where {size} >= 1 else \"..\"`, or say what is there otherwise: `last else 0`"
            )
        } else {
            format!(
                "say what is there: `{shown} else 0`, `clamp({shown})` or `mod({shown})`; or state the law on sizes that keeps it inside"
            )
        };
        self.say(with_origin(diagnostic, &read.axis).help(help));
    }
}

pub(crate) fn is_ranged(kind: &IndexKind) -> bool {
    match kind {
        IndexKind::Range(_) | IndexKind::Step(_) => true,
        IndexKind::Batch | IndexKind::Other => false,
    }
}

/// "919 comes from here".
pub(crate) fn with_origin(diagnostic: Diagnostic, axis: &Axis) -> Diagnostic {
    match &axis.origin {
        Some(origin) if diagnostic.labels.iter().all(|label| label.span != origin.span) => {
            diagnostic.secondary(origin.span, format!("{} comes from here{}", axis.size, reason(&origin.why)))
        }
        Some(_) | None => diagnostic,
    }
}

fn reason(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}
