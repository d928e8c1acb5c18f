//! What can be proved about affine forms over the points of a piece.
//!
//! Every index of a piece runs over a box, every filter `a >= 0` cuts it. Over the box the least value of an affine form is a size:
//! `t + k` with `t < T - 8`, `k < 9` is at most `(T - 9) + 8 = T - 1`, so a read `x[t + k]` of `x: [T]` never leaves. Sizes are known to
//! be natural numbers, ranges to be at least 1 where a point exists, and a floor division `q = n / d` to obey `d q <= n <= d q + d - 1`.
//!
//! All answers are one-sided: `true` is a proof, `false` is "not found".
//!
//! Deliberately absent: the checker's solver. Programs arrive checked; this finds out which guards and filters are needed.

use crate::data::{Affine, Condition, IndexId, Piece, Program, Read, SizeKind, Sub};
use bdl_dims::{Atom, Dim};

/// The points of a piece: ranges, filters and what is known of sizes.
#[derive(Clone, Debug)]
pub struct Domain {
    /// One range an index, with sizes of other examples than the main one marked (`T@2` is the T that index 2 names).
    ranges: Vec<Dim>,
    filters: Vec<Affine>,
    facts: Vec<Dim>,
    main: Option<IndexId>,
}

/// The free batch index of a piece, or else its first bound one.
pub fn main_batch_index(program: &Program, piece: &Piece) -> Option<IndexId> {
    piece.ids().find(|i| program.is_batch(piece.range(*i)))
}

impl Domain {
    /// The points of `piece`. `known` are sizes that are at least 0 there, such as `extent - 1 - step` inside a scan.
    pub fn of(program: &Program, piece: &Piece, known: &[Dim]) -> Domain {
        let main = main_batch_index(program, piece);
        let mut domain = Domain { ranges: Vec::new(), filters: Vec::new(), facts: known.to_vec(), main };
        for index in &piece.indices {
            let range = domain.of_example(program, &index.range, index.example);
            domain.facts.push(range.clone() - Dim::one());
            domain.ranges.push(range);
        }
        for condition in &piece.filter {
            match condition {
                Condition::NonNegative(form) => domain.filters.push(form.clone()),
                Condition::Equal(_, _) | Condition::Holds(_) => {}
            }
        }
        for size in &program.sizes {
            match size.kind {
                SizeKind::Built | SizeKind::Batch => domain.facts.push(Dim::var(size.name.clone()) - Dim::one()),
                SizeKind::PerExample | SizeKind::Step => {}
            }
        }
        domain
    }

    /// The same points without filter number `at` (counted among the `NonNegative` ones).
    pub fn without_filter(&self, at: usize) -> Domain {
        let mut domain = self.clone();
        if at < domain.filters.len() {
            domain.filters.remove(at);
        }
        domain
    }

    /// The same points without any filter.
    pub fn unfiltered(&self) -> Domain {
        Domain { filters: Vec::new(), ..self.clone() }
    }

    /// Marks per-example names that belong to another example than the main one.
    fn of_example(&self, program: &Program, dim: &Dim, example: Option<IndexId>) -> Dim {
        match example {
            Some(other) if self.main != Some(other) => dim.substitute(&|name| {
                (program.size_kind(name) == Some(SizeKind::PerExample)).then(|| Dim::var(format!("{name}@{}", other.0)))
            }),
            Some(_) | None => dim.clone(),
        }
    }

    /// The shape of the tensor that is read, in this domain's names. The first subscript says whose sizes are meant.
    pub fn shape(&self, program: &Program, read: &Read) -> Vec<Dim> {
        let tensor = program.get(read.tensor);
        let example = match read.subs.first() {
            Some(Sub::Affine(form)) if program.is_per_example(read.tensor) => form.as_index(),
            Some(Sub::Affine(_) | Sub::Data(_)) | None => read.example,
        };
        tensor.shape.iter().map(|d| self.of_example(program, d, example)).collect()
    }

    /// The least value over the box, filters not regarded.
    pub fn least(&self, form: &Affine) -> Dim {
        form.terms.iter().filter(|(_, c)| *c < 0).fold(form.offset.clone(), |sum, (i, c)| sum + self.last(*i).scale(*c))
    }

    fn last(&self, index: IndexId) -> Dim {
        self.ranges.get(index.0 as usize).map_or_else(Dim::zero, |r| r.clone() - Dim::one())
    }

    /// Is the form at least 0 at every point?
    pub fn nonnegative(&self, form: &Affine) -> bool {
        self.nonnegative_within(form, 2)
    }

    fn nonnegative_within(&self, form: &Affine, depth: usize) -> bool {
        if nonnegative(&self.least(form), &self.facts) {
            return true;
        }
        depth > 0
            && self.filters.iter().any(|f| {
                // Only a filter that takes a hindering term away can help.
                let helps = f.terms.iter().any(|(i, c)| form.coefficient(*i).signum() == c.signum())
                    || f.terms.is_empty()
                    || !form.offset.is_zero();
                helps && self.nonnegative_within(&(form.clone() - f.clone()), depth - 1)
            })
    }

    /// Is the form inside `0..size` at every point?
    pub fn inside(&self, form: &Affine, size: &Dim) -> bool {
        self.nonnegative(form) && self.nonnegative(&(Affine::from(size.clone()) - Affine::from(1) - form.clone()))
    }

    /// Is the form below 0 at some point of the box, for all sizes for which the box has points?
    pub fn somewhere_negative(&self, form: &Affine) -> bool {
        nonnegative(&(-self.least(form) - Dim::one()), &self.facts)
    }

    /// Is the form below 0 at every point?
    pub fn always_negative(&self, form: &Affine) -> bool {
        self.nonnegative(&(-form.clone() - Affine::from(1)))
    }
}

/// Can no element be written by both pieces (of one tensor)?
pub fn disjoint(program: &Program, a: &Piece, b: &Piece, known: &[Dim]) -> bool {
    let (da, db) = (Domain::of(program, a, known).unfiltered(), Domain::of(program, b, known).unfiltered());
    // The facts of both hold where both have points.
    let facts: Vec<Dim> = da.facts.iter().chain(&db.facts).cloned().collect();
    a.at.iter().zip(&b.at).any(|(x, y)| {
        let above = |dx: &Domain, x: &Affine, dy: &Domain, y: &Affine| {
            let gap = dx.least(x) + dy.least(&-y.clone()) - Dim::one();
            nonnegative(&gap, &facts)
        };
        if above(&da, x, &db, y) || above(&db, y, &da, x) {
            return true;
        }
        let step = x.terms.iter().chain(&y.terms).fold(0, |g, (_, c)| gcd(g, c.abs()));
        let gap = x.offset.clone() - y.offset.clone();
        let multiples = gap.terms().all(|(m, c)| m.is_empty() || (step != 0 && c % step == 0));
        step > 1 && multiples && gap.constant() % step != 0
    })
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Is the size at least 0, given sizes that are at least 0? Names are natural numbers.
pub fn nonnegative(dim: &Dim, facts: &[Dim]) -> bool {
    let mut all = facts.to_vec();
    floor_facts(dim, &mut all);
    for fact in facts {
        floor_facts(fact, &mut all);
    }
    search(dim, &all, 3)
}

/// `d q <= n` and `n <= d q + d - 1` for every floor division by a positive number.
fn floor_facts(dim: &Dim, facts: &mut Vec<Dim>) {
    for (monomial, _) in dim.terms() {
        for atom in monomial {
            match atom {
                Atom::Var(_) => {}
                Atom::Floor(n, d) => {
                    let whole = Dim::atom(atom.clone()) * (**d).clone();
                    let low = (**n).clone() - whole.clone();
                    if facts.contains(&low) || d.as_const().is_none_or(|d| d < 1) {
                        continue;
                    }
                    facts.push(whole + (**d).clone() - Dim::one() - (**n).clone());
                    facts.push(low);
                    floor_facts(n, facts);
                }
            }
        }
    }
}

/// Subtracts multiples of facts that cancel a hindering term, until the rest is plainly at least 0.
fn search(dim: &Dim, facts: &[Dim], depth: usize) -> bool {
    if dim.terms().all(|(m, c)| c >= 0 && m.iter().all(|a| matches!(a, Atom::Var(_)))) {
        return true;
    }
    if depth == 0 {
        return false;
    }
    let hindering = dim.terms().filter(|(m, c)| *c < 0 || m.iter().any(|a| matches!(a, Atom::Floor(_, _))));
    for (monomial, coefficient) in hindering {
        for fact in facts {
            let in_fact = fact.terms().find(|(m, _)| *m == monomial).map_or(0, |(_, c)| c);
            if in_fact == 0 || coefficient.signum() != in_fact.signum() {
                continue;
            }
            // A constant may be overshot, anything else is cancelled exactly.
            let times = if monomial.is_empty() {
                (coefficient.abs() + in_fact.abs() - 1) / in_fact.abs()
            } else if coefficient % in_fact == 0 {
                coefficient / in_fact
            } else {
                continue;
            };
            if search(&(dim.clone() - fact.scale(times)), facts, depth - 1) {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Expr, Role};
    use crate::{DType, PieceBuilder};

    fn dim(text: &str) -> Dim {
        text.parse().expect("a size")
    }

    #[test]
    fn sizes() {
        assert!(nonnegative(&dim("T"), &[]));
        assert!(!nonnegative(&dim("T - 1"), &[]));
        assert!(nonnegative(&dim("T - 1"), &[dim("T - 9")]));
        assert!(nonnegative(&dim("T - 2 * (T / 2)"), &[]));
        assert!(nonnegative(&dim("2 * (T / 2) - T + 1"), &[]));
        assert!(!nonnegative(&dim("2 * (T / 2) - T"), &[]));
        assert!(nonnegative(&dim("(T - 9) / 2"), &[dim("(T - 9) / 2 - 1")]));
    }

    #[test]
    fn pooling_stays_inside() {
        let mut program = Program::new("p");
        program.size("T", SizeKind::PerExample);
        let x = program.tensor("x", DType::Real, [dim("T")], Role::Param);
        let mut piece = PieceBuilder::new();
        let (t, k) = (piece.free("t", dim("T / 2")), piece.bound("k", 2));
        let form = Affine::from(t) * 2 + k.into();
        let piece = piece.sum(Expr::read(x, [form.clone()]));
        let domain = Domain::of(&program, &piece, &[]);
        assert!(domain.inside(&form, &dim("T")));
        assert!(!domain.inside(&(form.clone() + 1.into()), &dim("T")));
        assert!(!domain.inside(&(form - 1.into()), &dim("T")));
    }

    #[test]
    fn filters_help() {
        let program = Program::new("p");
        let mut piece = PieceBuilder::new();
        let (s, k) = (piece.free("s", 10), piece.bound("k", 3));
        let form = Affine::from(s) - k.into();
        piece.filter(Condition::NonNegative(form.clone()));
        piece.filter(Condition::NonNegative(Affine::from(7) - form.clone()));
        let domain = Domain::of(&program, &piece.sum(Expr::Const(1.0)), &[]);
        assert!(domain.inside(&form, &dim("8")));
        assert!(!domain.inside(&form, &dim("7")));
        assert!(!domain.unfiltered().inside(&form, &dim("8")));
    }

    #[test]
    fn pieces_apart() {
        let program = Program::new("p");
        let at = |coefficient: i64, offset: i64, range: i64| {
            let mut piece = PieceBuilder::new();
            let u = piece.free("u", range);
            piece.at([Affine::from(u) * coefficient + offset.into()]);
            piece.sum(Expr::Const(1.0))
        };
        assert!(disjoint(&program, &at(2, 0, 5), &at(2, 1, 5), &[]));
        assert!(disjoint(&program, &at(1, 0, 2), &at(1, 2, 3), &[]));
        assert!(!disjoint(&program, &at(1, 0, 3), &at(1, 2, 3), &[]));
        assert!(!disjoint(&program, &at(2, 0, 5), &at(3, 1, 5), &[]));
    }
}
