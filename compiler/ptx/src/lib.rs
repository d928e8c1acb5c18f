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
//! | `draw` | counter-based random numbers |
//! | `size` | sizes, folded or computed once |
//! | `turn` | which of several blocks comes last |
//! | `text` | registers, labels, lines |
//!
//! Every operation that rounds is spelled out (`.rn`, `fma` where the CPU fuses), so results are the CPU's to the bit wherever the order of a
//! reduction does not come in.
//!
//! Deliberately absent: decisions about fusion, storage or what runs where (the plan holds them; a GPU that needs another schedule needs another
//! plan), and everything about equations.

mod code;
mod contract;
mod draw;
mod emit;
mod fission;
mod size;
mod text;
mod turn;

pub use code::{Error, compile, kernels, module};
pub use contract::Products;
pub use emit::mapping::accumulators;
