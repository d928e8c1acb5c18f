//! A `train` block as something that runs: data opened, program compiled, batches fed, scores taken.

pub mod engine;
pub mod fed;
pub mod fits;
pub mod gradient_check;
pub mod machine;
pub mod outputs;
pub mod prepared;
pub mod record;
pub mod reopened;
pub mod roles;
pub mod scores;
pub mod stored;
pub mod transfer;

pub use engine::{Device, Engine};
pub use machine::ModelMachine;
pub use prepared::{Prepared, prepare};
