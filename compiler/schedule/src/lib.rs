//! Equations to plans: which loops run, in which order, fused how, stored where.
//!
//! [`schedule`] turns a batched, differentiated and simplified program into a [`bdl_plan::Plan`]. A dense layer with relu
//!
//! ```text
//! h[b, f] = sum[c] x[b, c] * w[c, f]
//! y[b, f] = if h[b, f] + v[f] > 0 then h[b, f] + v[f] else 0
//! ```
//!
//! becomes one contraction with one epilogue kernel. In the order in which they work:
//!
//! | module | job |
//! |---|---|
//! | `nodes` | the list of passes; clusters become launches |
//! | `rewrite`, `factors` | equations made ready: known formulas read again, pieces along pieces, factors of contractions |
//! | `recompute` | what is computed twice rather than kept for long |
//! | `layout` | where a tensor lies: row-major, packed examples, views |
//! | `contraction` | sums of products, by the roles of their indices |
//! | `algorithm` | products computed otherwise than they are written |
//! | `fuse` | which pieces run together |
//! | `nest`, `loops`, `element`, `scalar` | a kernel: its loops, its members, one element, one expression |
//! | `places` | what of a kernel lies where another tensor of it did |
//! | `builder`, `tidy`, `form` | writing kernels: scopes, hoisting, dead values, linear forms |
//! | `recurrence`, `others`, `ends` | loops; draws and the rest; updates and outputs |
//! | `blocks` | products that run together, so that what passes between them is never whole |
//! | `kernels`, `memory` | equal kernels once; which buffers share a slot |
//!
//! **Costs.** There is no search: what fuses is decided by rules whose constants stand where they are used (`fuse::LEAST_PARALLEL`,
//! `nest::FEW`, `rewrite::two_steps`). A value is kept rather than computed twice, except signs of relu and plain copies, which cost less
//! than the memory they would need.
//!
//! Deliberately absent: machine code, and anything that depends on the size of a batch: a plan holds for all of them.

mod algorithm;
mod blocks;
mod builder;
mod contraction;
mod cumulative;
mod element;
mod ends;
mod error;
mod factors;
mod form;
mod fuse;
mod kernels;
mod layout;
mod loops;
mod memory;
mod nest;
mod nodes;
mod others;
mod overwrite;
mod places;
mod recompute;
mod recurrence;
mod rewrite;
mod scalar;
mod tidy;

pub use error::Error;
pub use memory::peak;

/// What `Real` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Real {
    F32,
    F64,
}

impl Real {
    /// How the elements of a tensor are stored.
    pub fn stored(self, dtype: bdl_equations::DType) -> bdl_plan::DType {
        use bdl_equations::DType as E;
        use bdl_plan::DType as P;
        match (dtype, self) {
            (E::Real, Real::F32) | (E::F32, _) => P::F32,
            (E::Real, Real::F64) | (E::F64, _) => P::F64,
            (E::BF16, _) => P::BF16,
            (E::I32, _) => P::I32,
            (E::Bool, _) => P::Bool,
        }
    }
}

/// Where a plan will run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    #[default]
    Processor,
    /// Contractions do not sum over examples of different length there: blocks share a sum by its places, and these differ.
    Gpu,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub real: Real,
    pub target: Target,
}

impl Default for Options {
    fn default() -> Options {
        Options { real: Real::F32, target: Target::Processor }
    }
}

/// The plan of a batched program.
///
/// Errors: [`Error::NotBuilt`] for what this back end lacks;
/// [`Error::Malformed`] if the program breaks the rules of the equation IR.
pub fn schedule(program: &bdl_equations::Program, options: &Options) -> Result<bdl_plan::Plan, Error> {
    nodes::plan(program, options)
}
