//! The memory of a device: its allocations, and what the host does with them.

use crate::Fault;
use crate::access::Access;
use crate::allocation::Allocation;
use crate::touches::PAGE;
use crate::turns::Turns;
use std::cell::Cell;

/// The memory of a device.
#[derive(Default)]
pub struct Memory {
    /// By address.
    allocations: Vec<Allocation>,
    next: u64,
    last: Cell<usize>,
    turns: Turns,
}

impl Memory {
    pub fn new() -> Memory {
        Memory { next: 0x7f00_0000_0000, ..Memory::default() }
    }

    /// New memory, that nobody wrote. Between two allocations lies a gap.
    pub fn allocate(&mut self, len: usize) -> u64 {
        let base = self.next;
        self.next = (base + len as u64 + 0x1000).next_multiple_of(PAGE as u64);
        self.allocations.push(Allocation::new(base, len, self.turns.clone()));
        base
    }

    /// Errors: no allocation begins there.
    pub fn free(&mut self, base: u64) -> Result<(), Fault> {
        let at = self.allocations.iter().position(|a| a.base == base);
        self.allocations.remove(at.ok_or(Fault::new(format!("{base:#x} is freed, but was not allocated")))?);
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.allocations.iter().map(|a| a.bytes.len()).sum()
    }

    /// The allocation of an address, or the one that ends just before it.
    #[inline]
    pub fn at(&mut self, address: u64) -> Result<&mut Allocation, Fault> {
        let last = self.last.get();
        let holds = |a: &Allocation| a.base <= address && address < a.base + a.bytes.len() as u64;
        let found = if self.allocations.get(last).is_some_and(holds) {
            last
        } else {
            let behind = self.allocations.partition_point(|a| a.base <= address);
            let nowhere = || Fault::new(format!("address {address:#x} lies in no allocation"));
            let at = behind.checked_sub(1).ok_or_else(nowhere)?;
            // Just behind the end, to say by how much.
            if address > self.allocations[at].base + self.allocations[at].bytes.len() as u64 + 0x800 {
                return Err(nowhere());
            }
            self.last.set(at);
            at
        };
        Ok(&mut self.allocations[found])
    }

    fn range(&mut self, address: u64, len: usize) -> Result<(&mut Allocation, usize), Fault> {
        let allocation = self.at(address)?;
        let at = (address - allocation.base) as usize;
        if at + len > allocation.bytes.len() {
            return Err(Fault::new(format!("{len} bytes at {at} of memory that has {}", allocation.bytes.len())));
        }
        Ok((allocation, at))
    }

    /// Another block runs.
    pub fn next_block(&mut self) {
        self.turns.next_block();
    }

    /// A thread of the block passes a fence.
    pub fn fence(&mut self, who: Access) {
        self.turns.fence(who);
    }

    /// From the host.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (allocation, at) = self.range(address, bytes.len())?;
        allocation.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        allocation.written[at..at + bytes.len()].fill(true);
        Ok(())
    }

    /// By the host. Errors: a byte that nobody wrote.
    pub fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), Fault> {
        if into.is_empty() {
            return Ok(());
        }
        let (allocation, at) = self.range(address, into.len())?;
        if let Some(unwritten) = allocation.written[at..at + into.len()].iter().position(|w| !w) {
            return Err(Fault::new(format!("the host reads byte {}, which nobody wrote", at + unwritten)));
        }
        into.copy_from_slice(&allocation.bytes[at..at + into.len()]);
        Ok(())
    }

    /// Within the device; what was not written stays so.
    pub fn copy(&mut self, to: u64, from: u64, len: usize) -> Result<(), Fault> {
        if len == 0 {
            return Ok(());
        }
        let (source, at) = self.range(from, len)?;
        let (bytes, written) = (source.bytes[at..at + len].to_vec(), source.written[at..at + len].to_vec());
        let (target, at) = self.range(to, len)?;
        target.bytes[at..at + len].copy_from_slice(&bytes);
        target.written[at..at + len].copy_from_slice(&written);
        Ok(())
    }

    /// As if nobody had written there: memory that is used again.
    pub fn forget(&mut self, address: u64, len: usize) -> Result<(), Fault> {
        if len > 0 {
            let (allocation, at) = self.range(address, len)?;
            allocation.written[at..at + len].fill(false);
        }
        Ok(())
    }

    pub fn next_launch(&mut self) {
        self.turns.next_launch();
        self.allocations.iter_mut().for_each(Allocation::next_launch);
    }
}
