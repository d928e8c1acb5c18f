//! bdl: a model-description language and compiler for deep learning in biology.

pub mod cli;
pub mod command;
pub mod data;
pub mod error;
pub mod explain;
pub mod load;
pub mod npz;
pub mod overrides;
pub mod pipeline;
pub mod predictions;
pub mod run;
pub mod show;
