//! Training runs: steps, scores, checkpoints and the run folder.
//!
//! Deliberately absent: the compiler. Programs arrive compiled; this crate feeds them batches and keeps the books.

pub mod calibrate;
pub mod checkpoint;
pub mod error;
pub mod folder;
pub mod metrics;
pub mod training;

pub use checkpoint::{Array, Position, Values};
pub use error::{RunError, RunResult};
pub use folder::RunFolder;
pub use training::{
    Control, Evaluation, Event, Machine, Moment, Outcome, PredictionValues, Settings, Sums, Watch, train,
};
