//! A machine that runs PTX text on the processor, one instruction of a warp at a time, and finds what a GPU would let pass. For tests.
//!
//! It knows the instructions that `bdl-ptx` writes and few others; anything else is an error, so that what it has not understood is never believed.
//!
//! | found | how |
//! |---|---|
//! | access outside of a buffer, or not aligned | every access is looked up |
//! | use of what nobody wrote | every byte and register knows whether it was written; what is computed from such is such; a branch or an address that depends on it, or the host reading it, is a fault |
//! | two threads at one place without a barrier between them | every element knows who touched it last, and when |
//! | an access where another block wrote or read | only what it told by an atomic operation, with fences and barriers on both sides, has happened |
//! | a counter that is read or written beside its atomic operations | in one launch a place is for one or the other |
//! | a barrier, or an instruction of the warp, that some threads do not reach | all threads that are left wait, and not all at one place |
//! | use of what an asynchronous copy has yet to write | the bytes belong to nobody until the thread that began it waits |
//! | a copy that nobody waits for | a thread that returns has none left |
//! | a source that is written while a copy may run | it is read at the first and at the last possible moment |
//! | a product that goes on (`wgmma`): its sums used, what it reads written, or written and not told to tensor cores | `warpgroup` |
//! | an instruction that the text's `.version` or `.target` has not | a table |
//! | a function that never ends | a bound on instructions |
//!
//! Blocks and warps run one after the other in an order that a seed shuffles, each warp until a barrier. Lanes that are at one place go on together,
//! those further back first; in the first block of every eighth launch they begin one after the other instead, in an order that is shuffled, too. What is
//! found does not depend on the order: it is asked whether a barrier lies between two accesses, not which came first.
//!
//! | module | job |
//! |---|---|
//! | `parse` | text to instructions |
//! | `instruction` | what an instruction is |
//! | `access` | who touches memory, and when; what comes before what |
//! | `touches` | who touched each piece of an allocation last |
//! | `allocation` | bytes, what is written in them, loads and stores |
//! | `memory` | the allocations of a device |
//! | `launch` | blocks and their warps; barriers |
//! | `registers` | of a warp: the bits of all lanes, and where somebody wrote them |
//! | `warp` | a warp: which lanes go on, and where |
//! | `compute` | its instructions that change registers |
//! | `transfer` | its loads and stores, copies, fences |
//! | `arithmetic` | what they compute |
//! | `copies` | asynchronous copies of one thread, and the groups in which it waits for them |
//! | `exchange` | what the lanes of a warp do together: exchanges of registers, products of matrices |
//! | `warpgroup` | what four warps do together: products of matrices in shared memory, which go on meanwhile |
//! | `turns` | what blocks learn of each other by atomic operations |
//! | `device` | all of it as a device of the executor |

mod access;
mod allocation;
mod arithmetic;
mod compute;
mod copies;
mod device;
mod exchange;
mod instruction;
mod launch;
mod memory;
mod parse;
mod registers;
mod touches;
mod transfer;
mod turns;
mod warp;
mod warpgroup;

pub use device::Machine;
pub use instruction::Function;
pub use launch::{Count, Launch, launch};
pub use memory::Memory;
pub use parse::parse;

/// What went wrong, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub what: String,
    /// The line of the text, from 1; 0 where it is about no line.
    pub line: usize,
    /// Block and thread, where it is about one.
    pub thread: Option<(u32, u32)>,
}

impl Fault {
    pub fn new(what: impl Into<String>) -> Fault {
        Fault { what: what.into(), line: 0, thread: None }
    }

    pub fn at(line: usize, what: impl Into<String>) -> Fault {
        Fault { what: what.into(), line, thread: None }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if let Some((block, thread)) = self.thread {
            write!(f, "block {block}, thread {thread}: ")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}
