//! Equations: the heart of bdl. A program is a list of index-notation equations over named tensors.
//!
//! `out[free] = monoid[bound | filter] body` covers dense layers, convolutions, pooling, attention, message passing and all their
//! derivatives; reshape, slice, pad and broadcast are only subscripts. See [`data`] for the exact meaning of every node.
//!
//! | module | what |
//! |---|---|
//! | [`data`], [`builder`], [`affine`], [`expr`], [`walk`] | the type, making programs, arithmetic of subscripts, rewriting |
//! | [`text`] | printing, and parsing back to the identical value |
//! | [`verify`](mod@verify) | the invariants |
//! | [`interpret`] | the meaning, in f64 |
//! | [`batch`](mod@batch) | from one example to many |
//! | [`differentiate`](mod@differentiate) | adjoints, as equations again; every rule in [`differentiate::rules`] |
//! | [`convolution`] | convolutions with fewer products |
//! | [`simplify`](mod@simplify) | passes that keep the value; what is known of subscripts in [`bounds`], kinds of numbers in [`types`] |
//! | [`lift`] | from one step of a loop to all of them |
//! | [`random`] | programs for property tests |
//!
//! ```
//! use bdl_equations::{differentiate, text};
//! let mut program = text::parse("
//!     program dense
//!     size B batch
//!     input x: real[B, 4] per example
//!     param w: real[4, 3]
//!     value y: real[B, 3]
//!     value loss: real
//!     y[b < B, f < 3] = sum[c < 4] x[b, c] * w[c, f]
//!     loss = sum[b < B, f < 3] y[b, f] * y[b, f]
//! ").unwrap();
//! let (loss, w) = (program.find("loss").unwrap(), program.find("w").unwrap());
//! let gradient = differentiate(&mut program, loss, &[w]).unwrap()[0];
//! assert_eq!(&*program.get(gradient).name, "d_w");
//! assert!(text::print_bdl(&program).contains("d_w[c < 4, f < 3] = sum[b < B] 2 * y[b, f] * x[b, c]"));
//! ```
//!
//! Deliberately absent: layers, shape inference, machines, buffers, loop orders.

pub mod affine;
pub mod batch;
pub mod bounds;
pub mod builder;
pub mod convolution;
pub mod data;
pub mod differentiate;
pub mod expr;
pub mod interpret;
pub mod lift;
pub mod random;
pub mod simplify;
pub mod text;
pub mod types;
pub mod verify;
pub mod walk;

pub use batch::batch;
pub use builder::PieceBuilder;
pub use data::*;
pub use differentiate::{DifferentiateError, differentiate};
pub use simplify::simplify;
pub use verify::verify;
