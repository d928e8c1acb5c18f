//! From syntax to meaning: names, types, dimensions, and every message about them.
//!
//! The result is the HIR ([`hir`]): each application of a layer or function with everything about it known.
//!
//! Deliberately absent: files (the driver reads them and hands over facts), equations and everything below.

pub mod hir;
