//! bdl: a small model-description language and its compiler for deep learning in biology.
//!
//! A Rust program uses [`Model`]; the `bdl` binary uses the rest. `pipeline` is the road from text to machine code, `run` a training
//! run, `command` the commands, `show` what people see.

pub mod cli;
pub mod command;
pub mod data;
pub mod doc;
pub mod error;
pub mod explain;
pub mod interrupt;
pub mod load;
pub mod memory;
pub mod model;
pub mod npz;
pub mod overrides;
pub mod pipeline;
pub mod predictions;
pub mod repl;
pub mod report;
pub mod run;
pub mod show;

pub use bdl_schedule::Real;
pub use error::Failure;
pub use model::{Example, Model, Results, Tensor};
