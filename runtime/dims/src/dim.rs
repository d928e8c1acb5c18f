//! The normal form and its arithmetic.

use std::collections::BTreeMap;
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

/// A polynomial over named sizes with integer coefficients: monomial -> coefficient, no zero coefficients.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dim {
    terms: BTreeMap<Monomial, i64>,
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
        Dim { terms: BTreeMap::from([(vec![atom], 1)]) }
    }

    /// Monomials and their coefficients, constants first.
    pub fn terms(&self) -> impl Iterator<Item = (&Monomial, i64)> {
        self.terms.iter().map(|(m, c)| (m, *c))
    }

    /// The number this is, when no name is left in it.
    pub fn as_const(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    /// The constant term.
    pub fn constant(&self) -> i64 {
        self.terms.get(&Vec::new()).copied().unwrap_or(0)
    }

    pub fn is_zero(&self) -> bool {
        self.terms.is_empty()
    }

    /// The single name this is, if it is exactly one name.
    pub fn as_var(&self) -> Option<&Arc<str>> {
        let (monomial, coefficient) = self.terms.iter().next()?;
        match (self.terms.len(), coefficient, monomial.as_slice()) {
            (1, 1, [Atom::Var(name)]) => Some(name),
            (_, _, _) => None,
        }
    }

    fn add_term(&mut self, monomial: Monomial, coefficient: i64) {
        if coefficient == 0 {
            return;
        }
        let entry = self.terms.entry(monomial).or_insert(0);
        *entry = entry.saturating_add(coefficient);
        if *entry == 0 {
            self.terms.retain(|_, c| *c != 0);
        }
    }

    /// Every coefficient times `factor`. What is too large for 64 bits stays at the largest number, here as in sums and products.
    pub fn scale(&self, factor: i64) -> Dim {
        if factor == 0 {
            return Dim::zero();
        }
        Dim { terms: self.terms.iter().map(|(m, c)| (m.clone(), c.saturating_mul(factor))).collect() }
    }

    /// `self / by`, rounded towards minus infinity. Folded when both are numbers or when every coefficient divides; the multiples
    /// of `by` are taken out of the floor: `(2 * T + 5) / 2` is `T + 2`. Division by zero stays opaque and evaluates to `None`.
    pub fn floor_div(&self, by: &Dim) -> Dim {
        if let Some(1) = by.as_const() {
            return self.clone();
        }
        if let Some(divisor) = by.as_const().filter(|d| *d > 0) {
            let (mut whole, mut rest) = (Dim::zero(), Dim::zero());
            for (monomial, coefficient) in &self.terms {
                whole.add_term(monomial.clone(), coefficient.div_euclid(divisor));
                rest.add_term(monomial.clone(), coefficient.rem_euclid(divisor));
            }
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
        if by.terms.len() != 1 {
            return (self == by).then(Dim::one);
        }
        let (divisor, factor) = by.terms.iter().next()?;
        let mut quotient = Dim::zero();
        for (monomial, coefficient) in &self.terms {
            let mut left = monomial.clone();
            for atom in divisor {
                left.remove(left.iter().position(|a| a == atom)?);
            }
            if coefficient % factor != 0 {
                return None;
            }
            quotient.add_term(left, coefficient / factor);
        }
        Some(quotient)
    }

    /// `self - by * (self / by)`.
    pub fn rem(&self, by: &Dim) -> Dim {
        self.clone() - by.clone() * self.floor_div(by)
    }

    /// The value when `size` knows every name; `None` for an unknown name or a division by zero.
    pub fn eval(&self, size: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        let mut total = 0i64;
        for (monomial, coefficient) in &self.terms {
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
        let mut total = Dim::zero();
        for (monomial, coefficient) in &self.terms {
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

    fn collect_names(&self, names: &mut std::collections::BTreeSet<Arc<str>>) {
        for atom in self.terms.keys().flatten() {
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
        self.names().iter().any(|n| &**n == name)
    }

    /// Is `self >= other` for all natural sizes, seen from the coefficients alone? (A sufficient test, used to share memory.)
    pub fn dominates(&self, other: &Dim) -> bool {
        (self.clone() - other.clone()).terms.values().all(|c| *c >= 0)
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Dim {
        let mut dim = Dim::zero();
        dim.add_term(Vec::new(), value);
        dim
    }
}

impl Add for Dim {
    type Output = Dim;
    fn add(mut self, other: Dim) -> Dim {
        for (monomial, coefficient) in other.terms {
            self.add_term(monomial, coefficient);
        }
        self
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
        let mut product = Dim::zero();
        for (m1, c1) in &self.terms {
            for (m2, c2) in &other.terms {
                let mut monomial = m1.clone();
                monomial.extend(m2.iter().cloned());
                monomial.sort();
                product.add_term(monomial, c1.saturating_mul(*c2));
            }
        }
        product
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
