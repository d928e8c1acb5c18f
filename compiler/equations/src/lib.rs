//! Equations: the heart of bdl. A program is a list of index-notation equations over named tensors.
//!
//! `out[free] = monoid[bound | filter] body` covers dense layers, convolutions, pooling, attention, message passing and all their
//! derivatives; reshape, slice, pad and broadcast are only subscripts. See [`data`] for the exact meaning of every node.
//!
//! Deliberately absent: layers, shapes inference, machines, buffers, loop orders.

pub mod affine;
pub mod batch;
pub mod bounds;
pub mod builder;
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
