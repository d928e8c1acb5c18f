//! Simplification: passes that keep every value and make programs smaller.

mod tidy;

pub use tidy::{Known, apart, replace_index, tidy, vanishes};
