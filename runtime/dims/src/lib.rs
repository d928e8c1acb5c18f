//! Sizes as polynomials: what the checker proves things about, what equations and plans carry, what the runtime evaluates.
//!
//! A [`Dim`] is a natural-number expression over named sizes in normal form: a sum of monomials with integer coefficients, each
//! monomial a product of atoms, an atom a named size or an opaque floor division. Two expressions are equal for all sizes exactly
//! when their normal forms are equal, up to what floor divisions hide:
//!
//! ```
//! use bdl_dims::Dim;
//! let (t, k) = (Dim::var("T"), Dim::from(9));
//! assert_eq!((t.clone() - k + Dim::from(1)).to_string(), "T - 8");
//! assert_eq!(Dim::from(7).floor_div(&Dim::from(2)), Dim::from(3));
//! assert_eq!((t.clone() * Dim::from(4)).floor_div(&Dim::from(2)), t * Dim::from(2));
//! ```
//!
//! Deliberately absent: inequalities (the checker's solver owns them) and the meaning of a name (built, batch or per example).

mod dim;
mod text;

pub use dim::{Atom, Dim, Monomial};
pub use text::ParseDimError;
