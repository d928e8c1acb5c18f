//! Allocations: their bytes, which of them were written, who touched each piece last, and what an asynchronous copy will still fill.

use crate::Fault;
use crate::turns::Turns;
use std::cell::Cell;

/// Who touches memory, and when: enough to say whether a barrier lies between two accesses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub launch: u32,
    pub block: u32,
    pub thread: u32,
    pub warp: u32,
    /// Barriers of the block, and of the warp, that the thread has passed.
    pub barriers: u32,
    pub warp_barriers: u32,
    /// Fences that the thread has passed.
    pub fences: u32,
}

const NOBODY: Access = Access { launch: 0, block: 0, thread: 0, warp: 0, barriers: 0, warp_barriers: 0, fences: 0 };
/// More than one block, warp or thread.
pub const SEVERAL: u32 = u32::MAX;

impl Access {
    /// Is `self` over before `now` begins, whatever the order of threads?
    pub fn is_before(&self, now: &Access) -> bool {
        if self.launch != now.launch {
            return true;
        }
        if self.block != now.block {
            return false;
        }
        let of_one_thread = self.thread == now.thread && self.thread != SEVERAL;
        if of_one_thread || self.barriers < now.barriers {
            return true;
        }
        self.warp == now.warp && self.warp_barriers < now.warp_barriers
    }
}

#[derive(Clone, Copy)]
struct Touched {
    write: Access,
    /// When, as the allocation counts writes.
    written_at: u64,
    read: Access,
    /// The launch that read it as what does not change while it runs.
    constant: u32,
    /// The launch that counted there by atomic operations.
    counted: u32,
}

const UNTOUCHED: Touched = Touched { write: NOBODY, written_at: 0, read: NOBODY, constant: 0, counted: 0 };

impl Touched {
    /// In one launch a place is for atomic operations or for others.
    fn is_no_counter(&self, what: &str, at: usize, now: &Access) -> Result<(), Fault> {
        if self.counted == now.launch {
            return Err(Fault::new(format!("{what} byte {at}, where this launch counts by atomic operations")));
        }
        Ok(())
    }
}

/// Where bytes of an asynchronous copy will come: who began it, on which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    pub thread: u32,
    pub line: usize,
}

/// The unit of what is kept about incoming copies: none is smaller.
const INCOMING_BYTES: usize = 4;

/// Up to 16 bytes, and which of them were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    pub bits: [u8; 16],
    pub written: [bool; 16],
}

pub struct Allocation {
    base: u64,
    bytes: Vec<u8>,
    written: Vec<bool>,
    /// By pieces of `unit` bytes, the smallest that was ever touched; made when first needed.
    touched: Vec<Touched>,
    unit: usize,
    /// By pieces of [`INCOMING_BYTES`]; made when first needed.
    incoming: Vec<Option<Incoming>>,
    /// Writes so far.
    writes: u64,
    /// What the block that runs knows of others.
    turns: Turns,
}

impl Allocation {
    pub fn new(base: u64, len: usize) -> Allocation {
        let (bytes, written) = (vec![0xa5; len], vec![false; len]);
        Allocation {
            base,
            bytes,
            written,
            touched: Vec::new(),
            unit: 4,
            incoming: Vec::new(),
            writes: 0,
            turns: Turns::default(),
        }
    }

    /// Where an access of `len` bytes lies.
    fn place(&self, address: u64, len: usize, alignment: usize) -> Result<usize, Fault> {
        let inside = address.checked_sub(self.base).filter(|at| *at as usize + len <= self.bytes.len());
        let at = inside.ok_or_else(|| {
            let from = address.wrapping_sub(self.base) as i64;
            Fault::new(format!("{len} bytes at {from} of memory that has {}", self.bytes.len()))
        })?;
        if !address.is_multiple_of(alignment as u64) {
            return Err(Fault::new(format!("{alignment} bytes at {at}, which is not aligned")));
        }
        Ok(at as usize)
    }

    /// The pieces that `len` bytes from `at` touch.
    fn touched(&mut self, at: usize, len: usize) -> &mut [Touched] {
        let unit = match (at | len) % 4 {
            0 => 4,
            2 => 2,
            _ => 1,
        };
        if self.touched.is_empty() {
            self.unit = unit;
            self.touched = vec![UNTOUCHED; self.bytes.len().div_ceil(unit)];
        } else if unit < self.unit {
            let finer = self.unit / unit;
            self.touched = self.touched.iter().flat_map(|piece| std::iter::repeat_n(*piece, finer)).collect();
            self.unit = unit;
        }
        &mut self.touched[at / self.unit..(at + len).div_ceil(self.unit)]
    }

    /// Nobody may touch what an asynchronous copy fills.
    fn settled(&self, what: &str, at: usize, len: usize) -> Result<(), Fault> {
        if self.incoming.is_empty() {
            return Ok(());
        }
        let pieces = &self.incoming[at / INCOMING_BYTES..(at + len).div_ceil(INCOMING_BYTES)];
        match pieces.iter().flatten().next() {
            None => Ok(()),
            Some(Incoming { thread, line }) => Err(Fault::new(format!(
                "{what} byte {at}, where the asynchronous copy of line {line} may still run: thread {thread} has not waited for it"
            ))),
        }
    }

    fn reads(&mut self, at: usize, len: usize, now: &Access) -> Result<(), Fault> {
        self.settled("reads", at, len)?;
        let mut unordered: Vec<Access> = Vec::new();
        let turns = self.turns.clone();
        for touched in self.touched(at, len) {
            touched.is_no_counter("reads", at, now)?;
            if !touched.write.is_before(now) {
                unordered.push(touched.write);
            }
            let read = &mut touched.read;
            if read.is_before(now) || read.block != now.block && turns.knows(read, now) {
                *read = *now;
                continue;
            }
            for (own, other) in
                [(&mut read.block, now.block), (&mut read.warp, now.warp), (&mut read.thread, now.thread)]
            {
                if *own != other {
                    *own = SEVERAL;
                }
            }
            read.barriers = read.barriers.max(now.barriers);
            read.warp_barriers = read.warp_barriers.max(now.warp_barriers);
            read.fences = read.fences.max(now.fences);
        }
        match unordered.into_iter().find(|write| !turns.knows(write, now)) {
            None => Ok(()),
            Some(Access { block, thread, .. }) => Err(Fault::new(format!(
                "reads byte {at}, which thread {thread} of block {block} wrote, and no barrier lies between"
            ))),
        }
    }

    fn writes(&mut self, at: usize, len: usize, now: &Access) -> Result<(), Fault> {
        self.settled("writes", at, len)?;
        self.writes += 1;
        let written_at = self.writes;
        let turns = self.turns.clone();
        for touched in self.touched(at, len) {
            touched.is_no_counter("writes", at, now)?;
            if touched.constant == now.launch {
                return Err(Fault::new(format!("writes byte {at}, which this launch reads as what does not change")));
            }
            for (what, before) in [("wrote", touched.write), ("read", touched.read)] {
                if !before.is_before(now) && !turns.knows(&before, now) {
                    let who = match (before.thread, before.block) {
                        (SEVERAL, _) => "other threads".to_string(),
                        (thread, block) => format!("thread {thread} of block {block}"),
                    };
                    return Err(Fault::new(format!(
                        "writes byte {at}, which {who} {what}, and no barrier lies between"
                    )));
                }
            }
            touched.write = *now;
            touched.written_at = written_at;
        }
        Ok(())
    }

    /// Writes so far: a moment.
    pub fn now(&self) -> u64 {
        self.writes
    }

    /// Do tensor cores that are asked `now` see what was written there? `fences`: of each thread, when it told them of what it had written.
    pub fn told_to_tensor_cores(
        &mut self,
        address: u64,
        len: usize,
        now: &Access,
        fences: &[Vec<(u64, Access)>],
    ) -> Result<(), Fault> {
        let at = self.place(address, len, len)?;
        for touched in self.touched(at, len).iter().filter(|touched| touched.write.launch == now.launch) {
            let of_thread = fences.get(touched.write.thread as usize);
            let last = of_thread.into_iter().flatten().rev().find(|(_, fence)| fence.is_before(now));
            if last.is_none_or(|(moment, _)| *moment < touched.written_at) {
                return Err(Fault::new(format!(
                    "tensor cores read byte {at}, which thread {} wrote: no `fence.proxy.async` and barrier lie between",
                    touched.write.thread
                )));
            }
        }
        Ok(())
    }

    /// Has nobody written there since?
    pub fn was_left_alone(&mut self, address: u64, len: usize, since: &Access) -> bool {
        let Ok(at) = self.place(address, len, len) else { return false };
        self.touched(at, len).iter().all(|touched| touched.write.is_before(since))
    }

    /// The bits of `len` bytes, and whether all of them were written.
    pub fn load(&mut self, address: u64, len: usize, now: &Access) -> Result<(u64, bool), Fault> {
        let at = self.place(address, len, len)?;
        self.reads(at, len, now)?;
        let mut bits = [0u8; 8];
        bits[..len].copy_from_slice(&self.bytes[at..at + len]);
        Ok((u64::from_le_bytes(bits), self.written[at..at + len].iter().all(|w| *w)))
    }

    /// As [`Allocation::load`], of what nobody writes in this launch.
    pub fn load_constant(&mut self, address: u64, len: usize, now: &Access) -> Result<(u64, bool), Fault> {
        let loaded = self.load(address, len, now)?;
        let at = (address - self.base) as usize;
        for touched in self.touched(at, len) {
            if touched.write.launch == now.launch {
                return Err(Fault::new(format!("reads byte {at} as what does not change, but this launch wrote it")));
            }
            touched.constant = now.launch;
        }
        Ok(loaded)
    }

    /// Up to 16 bytes.
    pub fn read(&mut self, address: u64, len: usize, alignment: usize, now: &Access) -> Result<Bytes, Fault> {
        let at = self.place(address, len, alignment)?;
        self.reads(at, len, now)?;
        let mut found = Bytes::default();
        found.bits[..len].copy_from_slice(&self.bytes[at..at + len]);
        found.written[..len].copy_from_slice(&self.written[at..at + len]);
        Ok(found)
    }

    pub fn store(&mut self, address: u64, len: usize, bits: u64, known: bool, now: &Access) -> Result<(), Fault> {
        let at = self.place(address, len, len)?;
        self.writes(at, len, now)?;
        self.bytes[at..at + len].copy_from_slice(&bits.to_le_bytes()[..len]);
        self.written[at..at + len].fill(known);
        Ok(())
    }

    /// Adds one to 32 bits, or makes them 0 where they are `most` or more, in one step; gives what they were.
    pub fn increment(&mut self, address: u64, most: u32, now: &Access) -> Result<u32, Fault> {
        let at = self.place(address, 4, 4)?;
        self.settled("counts at", at, 4)?;
        for touched in self.touched(at, 4) {
            if touched.write.launch == now.launch || touched.read.launch == now.launch {
                return Err(Fault::new(format!(
                    "counts at byte {at} by an atomic operation, where this launch reads or writes without one"
                )));
            }
            touched.counted = now.launch;
        }
        if self.written[at..at + 4].contains(&false) {
            return Err(Fault::new(format!("counts on at byte {at} from what nobody wrote")));
        }
        let bytes = &mut self.bytes[at..at + 4];
        let old = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let new = if old >= most { 0 } else { old + 1 };
        bytes.copy_from_slice(&new.to_le_bytes());
        self.turns.take(address, *now);
        Ok(old)
    }

    /// From now on a copy may write these bytes, at any time until [`Allocation::receive`].
    pub fn expect(&mut self, address: u64, len: usize, copy: Incoming, now: &Access) -> Result<(), Fault> {
        let at = self.place(address, len, len)?;
        self.writes(at, len, now)?;
        if self.incoming.is_empty() {
            self.incoming = vec![None; self.bytes.len().div_ceil(INCOMING_BYTES)];
        }
        self.incoming[at / INCOMING_BYTES..(at + len) / INCOMING_BYTES].fill(Some(copy));
        Ok(())
    }

    /// The end of a copy: the thread that began it has waited for it.
    pub fn receive(&mut self, address: u64, len: usize, bytes: &Bytes, now: &Access) -> Result<(), Fault> {
        let at = self.place(address, len, len)?;
        self.incoming[at / INCOMING_BYTES..(at + len) / INCOMING_BYTES].fill(None);
        self.writes(at, len, now)?;
        self.bytes[at..at + len].copy_from_slice(&bytes.bits[..len]);
        self.written[at..at + len].copy_from_slice(&bytes.written[..len]);
        Ok(())
    }
}

/// The memory of a device.
#[derive(Default)]
pub struct Memory {
    /// By address.
    allocations: Vec<Allocation>,
    next: u64,
    launches: u32,
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
        self.next = (base + len as u64 + 0x1000).next_multiple_of(256);
        let mut allocation = Allocation::new(base, len);
        allocation.turns = self.turns.clone();
        self.allocations.push(allocation);
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

    pub fn next_launch(&mut self) -> u32 {
        self.turns.next_launch();
        self.launches += 1;
        self.launches
    }
}
