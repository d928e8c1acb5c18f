//! The normal form and its arithmetic.

use std::cmp::Ordering;
use std::ops::{Add, Mul, Neg, Sub};
use std::sync::Arc;

/// A factor of a monomial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// A named size. The name is its identity.
    Var(Arc<str>),
    /// `numerator / denominator`, rounded down; kept opaque.
    Floor(Box<Dim>, Box<Dim>),
}

/// A product of atoms, sorted, with repetition for powers. The empty product is 1.
pub type Monomial = Vec<Atom>;

/// The monomial of the constant term.
static ONE: Monomial = Vec::new();

/// A polynomial over named sizes with integer coefficients. Most sizes are numbers, and all are copied often: a number needs no
/// memory of its own, and copies of a polynomial share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Dim {
    constant: i64,
    /// The other terms, sorted by monomial, no coefficient zero; nothing for a number.
    rest: Option<Arc<[(Monomial, i64)]>>,
}

impl Dim {
    pub fn zero() -> Dim {
        Dim::default()
    }

    pub fn one() -> Dim {
        Dim::from(1)
    }

    /// The named size `name`.
    pub fn var(name: impl Into<Arc<str>>) -> Dim {
        Dim::atom(Atom::Var(name.into()))
    }

    pub fn atom(atom: Atom) -> Dim {
        Dim { constant: 0, rest: Some(Arc::from([(vec![atom], 1)])) }
    }

    /// From terms in any order, several of which may be of one monomial.
    fn from_terms(constant: i64, mut terms: Vec<(Monomial, i64)>) -> Dim {
        terms.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut dim = Dim::from(constant);
        let mut kept: Vec<(Monomial, i64)> = Vec::with_capacity(terms.len());
        for (monomial, coefficient) in terms {
            match kept.last_mut() {
                Some((last, sum)) if *last == monomial => *sum = sum.saturating_add(coefficient),
                Some(_) | None if monomial.is_empty() => dim.constant = dim.constant.saturating_add(coefficient),
                Some(_) | None => kept.push((monomial, coefficient)),
            }
        }
        kept.retain(|(_, coefficient)| *coefficient != 0);
        dim.rest = (!kept.is_empty()).then(|| Arc::from(kept));
        dim
    }

    /// The terms that are no numbers.
    fn rest(&self) -> &[(Monomial, i64)] {
        self.rest.as_deref().unwrap_or_default()
    }

    /// Monomials and their coefficients, constants first.
    pub fn terms(&self) -> impl Iterator<Item = (&Monomial, i64)> {
        let constant = (self.constant != 0).then_some((&ONE, self.constant));
        constant.into_iter().chain(self.rest().iter().map(|(m, c)| (m, *c)))
    }

    /// The number this is, when no name is left in it.
    pub fn as_const(&self) -> Option<i64> {
        self.rest.is_none().then_some(self.constant)
    }

    /// The constant term.
    pub fn constant(&self) -> i64 {
        self.constant
    }

    pub fn is_zero(&self) -> bool {
        self.as_const() == Some(0)
    }

    /// The single name this is, if it is exactly one name.
    pub fn as_var(&self) -> Option<&Arc<str>> {
        match (self.constant, self.rest()) {
            (0, [(monomial, 1)]) => match monomial.as_slice() {
                [Atom::Var(name)] => Some(name),
                [] | [Atom::Floor(_, _)] | [_, _, ..] => None,
            },
            (_, _) => None,
        }
    }

    /// Every coefficient times `factor`. What is too large for 64 bits stays at the largest number, here as in sums and products.
    pub fn scale(&self, factor: i64) -> Dim {
        match factor {
            0 => Dim::zero(),
            1 => self.clone(),
            _ => Dim {
                constant: self.constant.saturating_mul(factor),
                rest: self
                    .rest
                    .as_ref()
                    .map(|t| t.iter().map(|(m, c)| (m.clone(), c.saturating_mul(factor))).collect()),
            },
        }
    }

    /// `self / by`, rounded towards minus infinity. Folded when both are numbers or when every coefficient divides; the multiples
    /// of `by` are taken out of the floor: `(2 * T + 5) / 2` is `T + 2`. Division by zero stays opaque and evaluates to `None`.
    pub fn floor_div(&self, by: &Dim) -> Dim {
        if let Some(1) = by.as_const() {
            return self.clone();
        }
        if let Some(divisor) = by.as_const().filter(|d| *d > 0) {
            let part = |of: fn(i64, i64) -> i64| {
                let terms = self.rest().iter().map(|(m, c)| (m.clone(), of(*c, divisor))).collect();
                Dim::from_terms(of(self.constant, divisor), terms)
            };
            let (whole, rest) = (part(i64::div_euclid), part(i64::rem_euclid));
            if rest.as_const().is_some() {
                return whole;
            }
            return whole + Dim::atom(Atom::Floor(Box::new(rest), Box::new(by.clone())));
        }
        if let Some(quotient) = self.exact_div(by) {
            return quotient;
        }
        Dim::atom(Atom::Floor(Box::new(self.clone()), Box::new(by.clone())))
    }

    /// `self / by` when `by` is one monomial that divides every term.
    fn exact_div(&self, by: &Dim) -> Option<Dim> {
        let mut divisors = by.terms();
        let (divisor, factor) = match (divisors.next(), divisors.next()) {
            (Some(only), None) => only,
            (Some(_), Some(_)) | (None, _) => return (self == by).then(Dim::one),
        };
        let mut quotient = Vec::new();
        for (monomial, coefficient) in self.terms() {
            let mut left = monomial.clone();
            for atom in divisor {
                left.remove(left.iter().position(|a| a == atom)?);
            }
            if coefficient % factor != 0 {
                return None;
            }
            quotient.push((left, coefficient / factor));
        }
        Some(Dim::from_terms(0, quotient))
    }

    /// `self - by * (self / by)`.
    pub fn rem(&self, by: &Dim) -> Dim {
        self.clone() - by.clone() * self.floor_div(by)
    }

    /// The value when `size` knows every name; `None` for an unknown name or a division by zero.
    pub fn eval(&self, size: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        let mut total = self.constant;
        for (monomial, coefficient) in self.rest() {
            let mut product = *coefficient;
            for atom in monomial {
                product = product.checked_mul(match atom {
                    Atom::Var(name) => size(name)?,
                    Atom::Floor(n, d) => {
                        let divisor = d.eval(size)?;
                        if divisor == 0 {
                            return None;
                        }
                        n.eval(size)?.div_euclid(divisor)
                    }
                })?;
            }
            total = total.checked_add(product)?;
        }
        Some(total)
    }

    /// Replace names by expressions; names for which `with` has none stay.
    pub fn substitute(&self, with: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        let mut total = Dim::from(self.constant);
        for (monomial, coefficient) in self.rest() {
            let mut product = Dim::from(*coefficient);
            for atom in monomial {
                product = product
                    * match atom {
                        Atom::Var(name) => with(name).unwrap_or_else(|| Dim::atom(atom.clone())),
                        Atom::Floor(n, d) => n.substitute(with).floor_div(&d.substitute(with)),
                    };
            }
            total = total + product;
        }
        total
    }

    /// Every name, also inside floor divisions, each once, in order.
    pub fn names(&self) -> Vec<Arc<str>> {
        let mut names = std::collections::BTreeSet::new();
        self.collect_names(&mut names);
        names.into_iter().collect()
    }

    fn atoms(&self) -> impl Iterator<Item = &Atom> {
        self.rest().iter().flat_map(|(monomial, _)| monomial)
    }

    fn collect_names(&self, names: &mut std::collections::BTreeSet<Arc<str>>) {
        for atom in self.atoms() {
            match atom {
                Atom::Var(name) => {
                    names.insert(name.clone());
                }
                Atom::Floor(n, d) => {
                    n.collect_names(names);
                    d.collect_names(names);
                }
            }
        }
    }

    pub fn mentions(&self, name: &str) -> bool {
        self.atoms().any(|atom| match atom {
            Atom::Var(var) => &**var == name,
            Atom::Floor(n, d) => n.mentions(name) || d.mentions(name),
        })
    }

    /// Is one of its names such?
    pub fn mentions_any(&self, such: &dyn Fn(&str) -> bool) -> bool {
        self.atoms().any(|atom| match atom {
            Atom::Var(var) => such(var),
            Atom::Floor(n, d) => n.mentions_any(such) || d.mentions_any(such),
        })
    }

    /// Is `self >= other` for all natural sizes, seen from the coefficients alone? (A sufficient test, used to share memory.)
    pub fn dominates(&self, other: &Dim) -> bool {
        let coefficient = |of: &Dim, monomial: &Monomial| {
            let at = of.rest().binary_search_by(|(m, _)| m.cmp(monomial));
            at.map_or(0, |at| of.rest()[at].1)
        };
        self.constant >= other.constant
            && self.rest().iter().all(|(monomial, c)| *c >= coefficient(other, monomial))
            && other.rest().iter().all(|(monomial, c)| coefficient(self, monomial) >= *c)
    }
}

impl From<i64> for Dim {
    fn from(constant: i64) -> Dim {
        Dim { constant, rest: None }
    }
}

/// As lists of terms.
impl Ord for Dim {
    fn cmp(&self, other: &Dim) -> Ordering {
        match (&self.rest, &other.rest) {
            (None, None) if self.constant != 0 && other.constant != 0 => self.constant.cmp(&other.constant),
            (_, _) => self.terms().cmp(other.terms()),
        }
    }
}

impl PartialOrd for Dim {
    fn partial_cmp(&self, other: &Dim) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Add for Dim {
    type Output = Dim;
    fn add(self, other: Dim) -> Dim {
        let constant = self.constant.saturating_add(other.constant);
        match (self.rest, other.rest) {
            (rest, None) | (None, rest) => Dim { constant, rest },
            (Some(a), Some(b)) => Dim::from_terms(constant, a.iter().chain(&*b).cloned().collect()),
        }
    }
}

impl Neg for Dim {
    type Output = Dim;
    fn neg(self) -> Dim {
        self.scale(-1)
    }
}

impl Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        self + -other
    }
}

impl Mul for Dim {
    type Output = Dim;
    fn mul(self, other: Dim) -> Dim {
        match (self.as_const(), other.as_const()) {
            (Some(factor), _) => return other.scale(factor),
            (None, Some(factor)) => return self.scale(factor),
            (None, None) => {}
        }
        let mut products = Vec::new();
        for (m1, c1) in self.terms() {
            for (m2, c2) in other.terms() {
                let mut monomial = [m1.as_slice(), m2.as_slice()].concat();
                monomial.sort();
                products.push((monomial, c1.saturating_mul(c2)));
            }
        }
        Dim::from_terms(0, products)
    }
}

impl std::iter::Product for Dim {
    fn product<I: Iterator<Item = Dim>>(dims: I) -> Dim {
        dims.fold(Dim::one(), |a, b| a * b)
    }
}

impl std::iter::Sum for Dim {
    fn sum<I: Iterator<Item = Dim>>(dims: I) -> Dim {
        dims.fold(Dim::zero(), |a, b| a + b)
    }
}
