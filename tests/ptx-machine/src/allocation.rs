//! One allocation: its bytes, which of them were written, who touched them, and what an asynchronous copy will still fill.

use crate::Fault;
use crate::access::Access;
use crate::touches::{Run, Touches};
use crate::turns::Turns;

/// Where bytes of an asynchronous copy will come: who began it, on which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    pub thread: u16,
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

/// What lanes of a warp load or store together: each some neighbours, `stride` bytes behind those of the lane before. All of it lies in one page.
#[derive(Clone, Copy, Debug)]
pub struct Elements {
    pub address: u64,
    /// Bytes of an element.
    pub size: usize,
    /// Elements of a lane.
    pub count: usize,
    pub lanes: usize,
    pub stride: usize,
}

impl Elements {
    pub fn of_lane(&self) -> usize {
        self.size * self.count
    }

    /// From the first byte to the last, whatever lies between.
    pub fn span(&self) -> usize {
        self.stride * (self.lanes - 1) + self.of_lane()
    }

    fn run(&self, at: usize) -> Run {
        Run { at, len: self.of_lane(), lanes: self.lanes, stride: self.stride }
    }
}

/// What memory holds before anybody writes there.
const UNWRITTEN: u8 = 0xa5;

pub struct Allocation {
    pub(crate) base: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) written: Vec<bool>,
    touches: Touches,
    /// By pieces of [`INCOMING_BYTES`]; made when first needed.
    incoming: Vec<Option<Incoming>>,
    /// What the block that runs knows of others.
    turns: Turns,
}

impl Allocation {
    pub fn new(base: u64, len: usize, turns: Turns) -> Allocation {
        let (bytes, written) = (vec![UNWRITTEN; len], vec![false; len]);
        Allocation { base, bytes, written, touches: Touches::default(), incoming: Vec::new(), turns }
    }

    /// Shared memory of a block. `has_products`: tensor cores will ask when a piece was written.
    pub fn shared(len: usize, has_products: bool) -> Allocation {
        Allocation { touches: Touches::shared(has_products), ..Allocation::new(0, len, Turns::default()) }
    }

    /// Another launch.
    pub fn next_launch(&mut self) {
        self.touches.restart();
    }

    /// Another block, to which it is new memory.
    pub fn next_block(&mut self) {
        self.touches.restart();
        self.bytes.fill(UNWRITTEN);
        self.written.fill(false);
        self.incoming.fill(None);
    }

    /// Where an access of `len` bytes lies.
    #[inline]
    fn place(&self, address: u64, len: usize, alignment: usize) -> Result<usize, Fault> {
        let at = address.wrapping_sub(self.base) as usize;
        if at > self.bytes.len() || len > self.bytes.len() - at {
            return Err(self.outside(address, len));
        }
        if address & (alignment as u64 - 1) != 0 {
            return Err(Fault::new(format!("{alignment} bytes at {at}, which is not aligned")));
        }
        Ok(at)
    }

    #[cold]
    fn outside(&self, address: u64, len: usize) -> Fault {
        let from = address.wrapping_sub(self.base) as i64;
        Fault::new(format!("{len} bytes at {from} of memory that has {}", self.bytes.len()))
    }

    /// Nobody may touch what an asynchronous copy fills.
    #[inline]
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

    #[inline]
    fn reads(&mut self, at: usize, len: usize, now: &Access) -> Result<(), Fault> {
        self.settled("reads", at, len)?;
        self.touches.read(Run::single(at, len), self.bytes.len(), now, &self.turns)
    }

    #[inline]
    fn writes(&mut self, at: usize, len: usize, now: &Access) -> Result<(), Fault> {
        self.settled("writes", at, len)?;
        self.touches.write(Run::single(at, len), self.bytes.len(), now, &self.turns)
    }

    /// Writes so far: a moment.
    pub fn now(&self) -> u64 {
        self.touches.now()
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
        let written = self.touches.written(at, len, self.bytes.len());
        for (write, moment) in written.filter(|(write, _)| !write.is_of_nobody()) {
            let of_thread = fences.get(usize::from(write.thread));
            let last = of_thread.into_iter().flatten().rev().find(|(_, fence)| fence.is_before(now));
            if last.is_none_or(|(told, _)| *told < moment) {
                return Err(Fault::new(format!(
                    "tensor cores read byte {at}, which thread {} wrote: no `fence.proxy.async` and barrier lie between",
                    write.thread
                )));
            }
        }
        Ok(())
    }

    /// Has nobody written there since?
    pub fn was_left_alone(&mut self, address: u64, len: usize, since: &Access) -> bool {
        let Ok(at) = self.place(address, len, len) else { return false };
        self.touches.written(at, len, self.bytes.len()).all(|(write, _)| write.is_before(since))
    }

    /// Where elements lie; errors are of the first element that is not right.
    #[inline]
    fn place_of(&self, elements: &Elements) -> Result<usize, Fault> {
        let Elements { address, size, count, lanes, .. } = *elements;
        self.place(address, elements.span(), size).or_else(|fault| {
            // Of one lane alone; the machine asks for one after the other where several are not right.
            (0..count).try_for_each(|i| self.place(address.wrapping_add((i * size) as u64), size, size).map(drop))?;
            if lanes > 1 { Err(fault) } else { self.place(address, size, size) }
        })
    }

    #[inline]
    fn all_settled(&self, what: &str, at: usize, elements: &Elements) -> Result<(), Fault> {
        if self.incoming.is_empty() {
            return Ok(());
        }
        (0..elements.lanes).try_for_each(|lane| self.settled(what, at + lane * elements.stride, elements.of_lane()))
    }

    /// Elements are read; gives where they lie. `now`: the first lane's thread. `is_constant`: nobody writes there in this launch.
    #[inline]
    pub fn load(&mut self, elements: &Elements, now: &Access, is_constant: bool) -> Result<usize, Fault> {
        let at = self.place_of(elements)?;
        let run = elements.run(at);
        self.all_settled("reads", at, elements)?;
        match is_constant {
            true => self.touches.read_constant(run, self.bytes.len())?,
            false => self.touches.read(run, self.bytes.len(), now, &self.turns)?,
        }
        Ok(at)
    }

    /// Bytes of what was loaded, and whether each was written.
    #[inline]
    pub fn loaded(&self, at: usize, len: usize) -> (&[u8], &[bool]) {
        (&self.bytes[at..at + len], &self.written[at..at + len])
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

    /// Elements are written; gives where they lie, for [`Allocation::put`].
    #[inline]
    pub fn store(&mut self, elements: &Elements, now: &Access) -> Result<usize, Fault> {
        let at = self.place_of(elements)?;
        let run = elements.run(at);
        self.all_settled("writes", at, elements)?;
        self.touches.write(run, self.bytes.len(), now, &self.turns)?;
        Ok(at)
    }

    #[inline]
    pub fn put(&mut self, at: usize, len: usize, bits: u64, known: bool) {
        self.bytes[at..at + len].copy_from_slice(&bits.to_le_bytes()[..len]);
        self.written[at..at + len].fill(known);
    }

    /// Adds one to 32 bits, or makes them 0 where they are `most` or more, in one step; gives what they were.
    pub fn increment(&mut self, address: u64, most: u32, now: &Access) -> Result<u32, Fault> {
        let at = self.place(address, 4, 4)?;
        self.settled("counts at", at, 4)?;
        self.touches.count(at, self.bytes.len())?;
        let (bytes, written) = self.loaded(at, 4);
        let old = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if written.contains(&false) {
            return Err(Fault::new(format!("counts on at byte {at} from what nobody wrote")));
        }
        let new = if old >= most { 0 } else { old + 1 };
        self.put(at, 4, u64::from(new), true);
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
