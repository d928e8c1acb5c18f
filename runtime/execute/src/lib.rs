//! Running plans: memory, threads, tables, launches. Knows nothing of how a plan came to be.
//!
//! ```text
//! let executor = Executor::new(2);
//! let mut step = Program::new(plan, code.kernels())?;
//! let out = step.run(&executor, &mut store, &Inputs { batch: 64, buffers: vec![("x", Data::F32(&x))], ..Default::default() })?;
//! out.number("loss")
//! ```
//!
//! | module | job |
//! |---|---|
//! | `pool` | worker threads, one parallel region a step, phases of chunks that whoever is there takes |
//! | `simulated` | what a larger team would take, by how phases divide |
//! | `program` | a plan with code and memory; inputs, outputs, the arena |
//! | `mapped` | files as memory |
//! | `store` | parameters and state by name, shared by programs |
//! | `tables` | lengths, offsets, owners and sorted keys of a batch |
//! | `launch` | launches in order, each worker its share |
//! | `rows`, `iterate` | loops over examples of different length, loops whose end is data |
//! | `contract`, `chains`, `nest` | contractions on the kernels of `bdl-kernels` |
//! | `winograd` | convolutions of images with fewer products |
//! | `draw`, `library` | random buffers, sorting, orthogonal matrices |
//! | `device`, `cuda` | the same on a device with memory of its own; an NVIDIA GPU as one |
//! | `reference` | a slow interpreter of kernels that checks every access: the meaning of a plan, for tests |
//!
//! **Results do not depend on the number of threads**: how work is cut is a function of the sizes wherever the cut could be seen in a bit.
//!
//! Deliberately absent: decisions about fusion or storage (in the plan), files, and what a batch is made of.

mod beside;
mod blocks;
mod chains;
mod compiled;
mod contract;
pub mod cuda;
pub mod device;
mod draw;
mod ends;
mod error;
mod iterate;
mod launch;
mod library;
mod mapped;
mod memory;
mod nest;
mod packed;
mod parts;
mod pool;
mod program;
mod real;
pub mod reference;
mod rows;
mod simulated;
mod size;
mod store;
mod stretch;
mod tables;
mod winograd;

pub use error::Error;
pub use mapped::Mapped;
pub use memory::{Buffer, Element, guard_memory};
pub use pool::{Executor, Gone, Job, Worker};
pub use program::{Data, Inputs, Outputs, Program, is_ragged, peak_bytes, peak_formula};
pub use simulated::Simulated;
pub use store::{Entry, Store};
