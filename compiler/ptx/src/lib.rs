//! Loop nests to PTX, the text that NVIDIA's driver compiles. Neither a GPU nor a CUDA toolkit is needed to write or to test it.
//!
//! ```text
//! kernel relu_bias(h: f32 update, b: f32 read)          // one thread for each r
//!   for r in 0..rows lanes                        ->    // %2: f32 = add %0, %1
//!     ...                                               add.rn.f32 %v2, %v0, %v1;
//! ```
//!
//! | module | job |
//! |---|---|
//! | `code` | a plan in, the functions of its kernels, contractions and draws out |
//! | `emit` | kernels: grid, loops, lanes of a warp, loads and stores, operations, element functions |
//! | `fission` | a kernel as several, where one would leave a GPU idle |
//! | `contract` | contractions: tiles in shared memory |
//! | `recurrence` | a scan as one function, where its rows keep to themselves |
//! | `draw` | counter-based random numbers |
//! | `size` | sizes, folded or computed once |
//! | `turn` | which of several blocks comes last |
//! | `text` | registers, labels, lines |
//!
//! Every operation that rounds is spelled out (`.rn`, `fma` where the CPU fuses), so results are the CPU's to the bit wherever the order of a
//! reduction does not come in.
//!
//! What runs where is decided here (`emit/mapping`, `fission`, the tiles of `contract`), from one kernel or contraction at a time: the plan is the
//! processor's, and says what is computed, fused and stored. A plan of its own for GPUs (`schedule` knowing the target) would be the better home
//! for fission and for epilogues inside of contractions; until there is one, this crate may only take apart what it can prove to be apart.
//!
//! Deliberately absent: fusion, storage, and everything about equations.

mod code;
mod contract;
mod draw;
mod emit;
mod fission;
mod recurrence;
mod size;
mod text;
mod turn;

pub use code::{Error, Generation, Wanted, compile, kernels, module};
pub use contract::runs_epilogue;
pub use emit::mapping::accumulators;
