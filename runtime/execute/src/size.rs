//! Sizes made quick to evaluate: names become positions in an array of numbers.

use crate::error::Error;
use bdl_dims::{Atom, Dim};
use std::sync::Arc;

/// A [`Dim`] over positions in the array of sizes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Size {
    constant: i64,
    terms: Vec<(i64, Vec<Factor>)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Factor {
    Name(usize),
    Floor(Size, Size),
}

impl Size {
    /// Errors: a name that is not in `names`.
    pub fn new(dim: &Dim, names: &[Arc<str>]) -> Result<Size, Error> {
        let mut size = Size::default();
        for (monomial, coefficient) in dim.terms() {
            if monomial.is_empty() {
                size.constant += coefficient;
                continue;
            }
            let factors = monomial
                .iter()
                .map(|atom| match atom {
                    Atom::Var(name) => names
                        .iter()
                        .position(|n| n == name)
                        .map(Factor::Name)
                        .ok_or_else(|| Error::Plan(format!("the size `{name}` is not declared"))),
                    Atom::Floor(n, d) => Ok(Factor::Floor(Size::new(n, names)?, Size::new(d, names)?)),
                })
                .collect::<Result<_, _>>()?;
            size.terms.push((coefficient, factors));
        }
        Ok(size)
    }

    /// The value; arithmetic wraps and division by zero gives 0 (as generated code does).
    pub fn at(&self, sizes: &[i64]) -> i64 {
        let mut total = self.constant;
        for (coefficient, factors) in &self.terms {
            let mut product = *coefficient;
            for factor in factors {
                product = product.wrapping_mul(match factor {
                    Factor::Name(at) => sizes[*at],
                    Factor::Floor(n, d) => match d.at(sizes) {
                        0 => 0,
                        d => n.at(sizes).wrapping_div_euclid(d),
                    },
                });
            }
            total = total.wrapping_add(product);
        }
        total
    }

    pub fn is_constant(&self) -> bool {
        self.terms.iter().all(|(_, factors)| factors.is_empty())
    }

    /// Does it name one of these positions?
    pub fn mentions(&self, position: usize) -> bool {
        self.terms.iter().any(|(_, factors)| {
            factors.iter().any(|factor| match factor {
                Factor::Name(at) => *at == position,
                Factor::Floor(n, d) => n.mentions(position) || d.mentions(position),
            })
        })
    }
}
