//! Linear forms over loop indices and values: arithmetic on the plan's [`Address`].
//!
//! A form is `sum of coefficient * term + offset` with symbolic coefficients. Subscripts, addresses and guards are all forms, so a
//! subscript `2 * t + k` of an axis with stride 32 becomes the address `64 * t + 32 * k` by [`scale`]. Terms are sorted and never zero:
//! equal forms are equal values, which is how a read of what the same iteration just computed is recognised.

use bdl_dims::Dim;
use bdl_plan::{Address, AddressTerm, LoopIndex, ValueId};

pub(crate) fn constant(offset: Dim) -> Address {
    Address { terms: Vec::new(), offset }
}

pub(crate) fn index(index: LoopIndex) -> Address {
    Address { terms: vec![(AddressTerm::Index(index), Dim::one())], offset: Dim::zero() }
}

pub(crate) fn value(value: ValueId) -> Address {
    Address { terms: vec![(AddressTerm::Value(value), Dim::one())], offset: Dim::zero() }
}

pub(crate) fn add(mut a: Address, b: &Address) -> Address {
    a.offset = a.offset + b.offset.clone();
    for (term, coefficient) in &b.terms {
        match a.terms.binary_search_by(|(t, _)| t.cmp(term)) {
            Ok(at) => a.terms[at].1 = a.terms[at].1.clone() + coefficient.clone(),
            Err(at) => a.terms.insert(at, (*term, coefficient.clone())),
        }
    }
    a.terms.retain(|(_, c)| !c.is_zero());
    a
}

pub(crate) fn scale(a: &Address, by: &Dim) -> Address {
    if by.is_zero() {
        return Address::default();
    }
    Address {
        terms: a.terms.iter().map(|(t, c)| (*t, c.clone() * by.clone())).collect(),
        offset: a.offset.clone() * by.clone(),
    }
}

/// The size this is, if it names no index and no value.
pub(crate) fn as_size(a: &Address) -> Option<&Dim> {
    a.terms.is_empty().then_some(&a.offset)
}
