//! Plans on a device with memory of its own: a GPU, or in tests a machine that interprets PTX.
//!
//! ```text
//! host                                    device
//! inputs, tables, lengths     ──write──>  one arena, literals, inputs, tables
//! launches in order           ──launch─>  functions of the plan's PTX, loaded once each
//! parameters and state        <──fetch──  stay there from run to run
//! outputs                     <──read───
//! ```
//!
//! | module | job |
//! |---|---|
//! | `program` | a plan with its functions and memory; binding, tables, outputs |
//! | `launches` | launches in order; loops run on the host |
//! | `recurrence` | a scan that is one function |
//! | `recorded` | launches that are made again as they were |
//! | `profile` | the time of each launch |
//! | `resident` | parameters and state on the device |
//!
//! Sorting and orthogonal matrices are computed on the host. An `iterate` reads its condition back at every step.

mod launches;
mod profile;
mod program;
mod recorded;
mod recurrence;
mod resident;

pub use program::{DeviceOutputs, DeviceProgram, Need};
pub use resident::Resident;

use crate::error::Error;
use bdl_plan::DeviceKernel;

/// A function that a device has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded(pub usize);

/// Launches, copies and clears that a device makes again as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording(pub usize);

/// A moment: everything that was asked for before is done, nothing that was asked for after it has begun.
#[derive(Debug, PartialEq, Eq)]
pub struct Mark(pub usize);

/// What a device can do. Everything happens in the order in which it was asked for.
pub trait Device {
    /// Compiles functions; those with the same text are compiled once.
    fn load(&mut self, kernels: &[&DeviceKernel]) -> Result<Vec<Loaded>, Error>;
    /// Bytes of shared memory that a block may have.
    fn most_shared(&self) -> u32;
    /// Memory of so many bytes (at least one), aligned to 256.
    fn allocate(&mut self, bytes: usize) -> Result<u64, Error>;
    fn free(&mut self, address: u64);
    fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), Error>;
    fn read(&mut self, from: u64, into: &mut [u8]) -> Result<(), Error>;
    fn copy(&mut self, to: u64, from: u64, bytes: usize) -> Result<(), Error>;
    /// Zeros.
    fn clear(&mut self, at: u64, bytes: usize) -> Result<(), Error>;
    fn launch(&mut self, function: Loaded, blocks: [u32; 2], threads: u32, parameters: &[u64]) -> Result<(), Error>;

    /// Can it make launches again?
    fn records(&self) -> bool {
        false
    }

    /// From now on launches, copies and clears are written down and not made; nothing else may be asked for.
    fn begin_recording(&mut self) -> Result<(), Error> {
        Err(Error::Device("this device records nothing".to_string()))
    }

    fn end_recording(&mut self) -> Result<Recording, Error> {
        Err(Error::Device("this device records nothing".to_string()))
    }

    fn replay(&mut self, _recording: Recording) -> Result<(), Error> {
        Err(Error::Device("this device records nothing".to_string()))
    }

    fn throw_away(&mut self, _recording: Recording) {}

    /// The moment at which what was asked for so far is done.
    fn mark(&mut self) -> Result<Mark, Error> {
        Err(Error::Device("this device measures no time".to_string()))
    }

    /// Seconds from each first mark to its second one. Waits until all are past, and takes them back.
    fn seconds(&mut self, _spans: Vec<(Mark, Mark)>) -> Result<Vec<f64>, Error> {
        Err(Error::Device("this device measures no time".to_string()))
    }

    /// The arena is used anew: a device that looks for mistakes takes its content for unwritten.
    fn forget(&mut self, _at: u64, _bytes: usize) -> Result<(), Error> {
        Ok(())
    }

    /// Does each slot of the arena get memory of its own? Only to find accesses outside of it.
    fn separates_slots(&self) -> bool {
        false
    }
}
