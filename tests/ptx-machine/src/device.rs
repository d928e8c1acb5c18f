//! The machine as a device of the executor: whole plans run on it, every slot of the arena by itself.

use crate::{Fault, Function, Launch, Memory, launch, parse};
use bdl_execute::Error;
use bdl_execute::device::{Device, Loaded};
use bdl_plan::DeviceKernel;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of shared memory a block: those of the smallest GPU that multiplies on tensor cores.
const MOST_SHARED: u32 = 64 << 10;

/// Device memory and the functions that were loaded.
pub struct Machine {
    pub memory: Memory,
    /// With their texts, and the bytes of shared memory that a launch asks for.
    functions: Vec<(Function, Arc<str>, usize)>,
    by_text: HashMap<Arc<str>, usize>,
    /// Shuffles the order of threads.
    pub order: u64,
    /// Since this was made.
    pub instructions: u64,
    pub launches: u64,
}

impl Machine {
    pub fn new(order: u64) -> Machine {
        let memory = Memory::new();
        Machine { memory, functions: Vec::new(), by_text: HashMap::new(), order, instructions: 0, launches: 0 }
    }
}

/// A fault, with the line of the text it happened at.
fn error(fault: &Fault, text: &str) -> Error {
    let line = fault.line.checked_sub(1).and_then(|at| text.lines().nth(at)).unwrap_or("");
    Error::Device(format!("{fault}\n  {}", line.trim()))
}

fn plain(fault: Fault) -> Error {
    Error::Device(fault.to_string())
}

impl Device for Machine {
    fn load(&mut self, kernels: &[&DeviceKernel]) -> Result<Vec<Loaded>, Error> {
        let mut loaded = Vec::new();
        for kernel in kernels {
            let at = match self.by_text.get(&kernel.text) {
                Some(known) => *known,
                None => {
                    let function = parse(&kernel.text).map_err(|fault| error(&fault, &kernel.text))?;
                    self.functions.push((function, kernel.text.clone(), kernel.shared_in(MOST_SHARED) as usize));
                    self.by_text.insert(kernel.text.clone(), self.functions.len() - 1);
                    self.functions.len() - 1
                }
            };
            loaded.push(Loaded(at));
        }
        Ok(loaded)
    }

    fn most_shared(&self) -> u32 {
        MOST_SHARED
    }

    fn allocate(&mut self, bytes: usize) -> Result<u64, Error> {
        Ok(self.memory.allocate(bytes))
    }

    fn free(&mut self, address: u64) {
        self.memory.free(address).expect("what is freed was allocated");
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), Error> {
        self.memory.write(to, bytes).map_err(plain)
    }

    fn read(&mut self, from: u64, into: &mut [u8]) -> Result<(), Error> {
        self.memory.read(from, into).map_err(plain)
    }

    fn copy(&mut self, to: u64, from: u64, bytes: usize) -> Result<(), Error> {
        self.memory.copy(to, from, bytes).map_err(plain)
    }

    fn clear(&mut self, at: u64, bytes: usize) -> Result<(), Error> {
        self.memory.write(at, &vec![0; bytes]).map_err(plain)
    }

    fn launch(&mut self, function: Loaded, blocks: [u32; 2], threads: u32, parameters: &[u64]) -> Result<(), Error> {
        let (function, text, shared) = &self.functions[function.0];
        // Another order for every launch.
        self.launches += 1;
        let order = if self.order == 0 { 0 } else { self.order.wrapping_mul(2 * self.launches + 1) | 1 };
        let how = Launch { blocks: [blocks[0], blocks[1], 1], threads, shared: *shared, parameters, order };
        let count = launch(function, &mut self.memory, &how)
            .map_err(|fault| error(&fault, text))
            .map_err(|fault| Error::Device(format!("{} of {}", fault, function.name)))?;
        self.instructions += count.instructions;
        Ok(())
    }

    fn separates_slots(&self) -> bool {
        true
    }
}
