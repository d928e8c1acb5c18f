//! A `train` block as something that runs: data opened, program compiled, batches fed, scores taken.

pub mod prepared;
pub mod record;
pub mod scores;

pub use prepared::{Prepared, prepare};
