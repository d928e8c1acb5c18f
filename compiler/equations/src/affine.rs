//! Arithmetic of [`Affine`] forms: `2 * t + k - 3` is a sum of indices with coefficients and an offset that may name sizes.
//!
//! ```
//! use bdl_equations::{Affine, IndexId};
//! let (t, k) = (IndexId(0), IndexId(1));
//! let form = Affine::from(t) * 2 + k.into() + (-3).into();
//! assert_eq!(form.coefficient(t), 2);
//! // Substituting k := 2 k + 1, as a split into phases does.
//! assert_eq!(form.substitute(k, &(Affine::from(k) * 2 + 1.into())).offset, (-2).into());
//! ```
//!
//! Deliberately absent: ranges of indices and proofs about them (see `bounds`).

use crate::data::{Affine, IndexId};
use bdl_dims::Dim;
use std::ops::{Add, Mul, Neg, Sub};

impl Affine {
    pub fn zero() -> Affine {
        Affine::default()
    }

    /// How often `index` counts, 0 where it does not occur.
    pub fn coefficient(&self, index: IndexId) -> i64 {
        self.terms.iter().find(|(i, _)| *i == index).map_or(0, |(_, c)| *c)
    }

    pub fn mentions(&self, index: IndexId) -> bool {
        self.coefficient(index) != 0
    }

    /// The index this is, when it is one index and nothing else.
    pub fn as_index(&self) -> Option<IndexId> {
        match (self.terms.as_slice(), self.offset.is_zero()) {
            ([(index, 1)], true) => Some(*index),
            (_, _) => None,
        }
    }

    /// The size this is, when no index occurs.
    pub fn as_dim(&self) -> Option<&Dim> {
        self.terms.is_empty().then_some(&self.offset)
    }

    /// The number this is, when neither an index nor a size occurs.
    pub fn as_number(&self) -> Option<i64> {
        self.as_dim().and_then(Dim::as_const)
    }

    pub fn scale(&self, factor: i64) -> Affine {
        if factor == 0 {
            return Affine::zero();
        }
        Affine { terms: self.terms.iter().map(|(i, c)| (*i, c * factor)).collect(), offset: self.offset.scale(factor) }
    }

    /// This form without `index`.
    pub fn without(&self, index: IndexId) -> Affine {
        Affine { terms: self.terms.iter().copied().filter(|(i, _)| *i != index).collect(), offset: self.offset.clone() }
    }

    /// This form with `index` replaced by `by`.
    pub fn substitute(&self, index: IndexId, by: &Affine) -> Affine {
        match self.coefficient(index) {
            0 => self.clone(),
            c => self.without(index) + by.scale(c),
        }
    }

    /// This form with every index replaced, all at once.
    pub fn replace(&self, by: &dyn Fn(IndexId) -> Affine) -> Affine {
        let start = Affine { terms: Vec::new(), offset: self.offset.clone() };
        self.terms.iter().fold(start, |sum, (i, c)| sum + by(*i).scale(*c))
    }

    /// This form with sizes in its offset replaced; names for which `with` has none stay.
    pub fn replace_sizes(&self, with: &dyn Fn(&str) -> Option<Dim>) -> Affine {
        Affine { terms: self.terms.clone(), offset: self.offset.substitute(with) }
    }

    /// This form with the size `name`, which stands in its offset with a coefficient, as an index.
    pub fn size_as_index(self, name: &str, index: IndexId) -> Affine {
        if !self.mentions_size(name) {
            return self;
        }
        let with = |value: i64| self.offset.substitute(&|n| (n == name).then(|| Dim::from(value)));
        let (rest, one) = (with(0), with(1));
        let times = (one - rest.clone()).as_const().unwrap_or(1);
        Affine { terms: self.terms, offset: rest } + Affine::from(index).scale(times)
    }

    /// Does it name the size `name`?
    pub fn mentions_size(&self, name: &str) -> bool {
        self.offset.mentions(name)
    }
}

impl From<IndexId> for Affine {
    fn from(index: IndexId) -> Affine {
        Affine { terms: vec![(index, 1)], offset: Dim::zero() }
    }
}

impl From<i64> for Affine {
    fn from(value: i64) -> Affine {
        Affine { terms: Vec::new(), offset: Dim::from(value) }
    }
}

impl From<Dim> for Affine {
    fn from(offset: Dim) -> Affine {
        Affine { terms: Vec::new(), offset }
    }
}

impl Add for Affine {
    type Output = Affine;
    fn add(self, other: Affine) -> Affine {
        let mut terms = self.terms;
        for (index, coefficient) in other.terms {
            match terms.binary_search_by_key(&index, |(i, _)| *i) {
                Ok(at) => {
                    terms[at].1 += coefficient;
                    if terms[at].1 == 0 {
                        terms.remove(at);
                    }
                }
                Err(at) => terms.insert(at, (index, coefficient)),
            }
        }
        Affine { terms, offset: self.offset + other.offset }
    }
}

impl Neg for Affine {
    type Output = Affine;
    fn neg(self) -> Affine {
        self.scale(-1)
    }
}

impl Sub for Affine {
    type Output = Affine;
    fn sub(self, other: Affine) -> Affine {
        self + -other
    }
}

impl Mul<i64> for Affine {
    type Output = Affine;
    fn mul(self, factor: i64) -> Affine {
        self.scale(factor)
    }
}
