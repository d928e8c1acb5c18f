//! Instructions that read memory or change it, for some lanes of a warp.

use crate::Fault;
use crate::access::{Access, SEVERAL};
use crate::allocation::{Allocation, Elements};
use crate::arithmetic::each;
use crate::copies;
use crate::instruction::{Base, Register, Space, Transfer};
use crate::launch::Block;
use crate::memory::Memory;
use crate::registers::{LANES, Lanes, Mask, lanes};
use crate::touches::PAGE;
use crate::warp::Warp;

impl Warp {
    /// The addresses that lanes have in a register.
    fn addresses(
        &self,
        (line, mask): (usize, Mask),
        block: &Block,
        (base, offset): (Base, i64),
    ) -> Result<Lanes<u64>, Fault> {
        let (base, known) = match base {
            Base::Word(register) => {
                (each(self.registers.words().at(register), u64::from), self.registers.words().known(register))
            }
            Base::Long(register) => (*self.registers.longs().at(register), self.registers.longs().known(register)),
        };
        if mask & !known != 0 {
            return Err(self.fault(block, line, mask & !known, "an address from what nobody wrote"));
        }
        Ok(each(&base, |base| base.wrapping_add_signed(offset)))
    }

    /// What changes memory, or reads it.
    pub fn transfer(
        &mut self,
        what: &Transfer,
        (line, mask): (usize, Mask),
        block: &mut Block,
        memory: &mut Memory,
    ) -> Result<(), Fault> {
        match what {
            Transfer::Fence => {
                for thread in lanes(mask).map(|lane| self.first + lane) {
                    memory.fence(block.access(thread));
                    block.fence(thread);
                }
            }
            Transfer::ProxyFence => lanes(mask).for_each(|lane| block.proxy_fence(self.first + lane)),
            Transfer::AtomicIncrement { to, base, offset, most } => {
                let addresses = self.addresses((line, mask), block, (*base, *offset))?;
                let (most, known) = (*self.registers.words().at(*most), self.registers.words().known(*most));
                if mask & !known != 0 {
                    return Err(self.fault(block, line, mask & !known, "a bound from what nobody wrote"));
                }
                let mut old = [0; LANES];
                for lane in lanes(mask) {
                    let (address, who) = (addresses[lane], block.access(self.first + lane));
                    let found = memory.at(address).and_then(|a| a.increment(address, most[lane], &who));
                    old[lane] = found.map_err(|fault| self.fault(block, line, 1 << lane, fault.what))?;
                }
                self.registers.set_words(*to, &old, Mask::MAX, mask);
            }
            Transfer::Copy { bytes, to, from, filled } => {
                let to = self.addresses((line, mask), block, *to)?;
                let from = self.addresses((line, mask), block, *from)?;
                let (filled, known) = (*self.registers.words().at(*filled), self.registers.words().known(*filled));
                if mask & !known != 0 {
                    return Err(self.fault(block, line, mask & !known, "a size from what nobody wrote"));
                }
                for lane in lanes(mask) {
                    let filled = filled[lane] as usize;
                    let copy = copies::Copy { to: to[lane], from: from[lane], size: *bytes, filled, line };
                    let who = block.access(self.first + lane);
                    let begun = self.copies[lane].begin(copy, &mut block.shared, memory, &who);
                    begun.map_err(|fault| self.fault(block, line, 1 << lane, fault.what))?;
                }
            }
            Transfer::CommitCopies => lanes(mask).for_each(|lane| self.copies[lane].commit()),
            Transfer::AwaitCopies { left } => {
                for lane in lanes(mask) {
                    let who = block.access(self.first + lane);
                    let waited = self.copies[lane].wait(*left, &mut block.shared, memory, &who);
                    waited.map_err(|fault| self.fault(block, line, 1 << lane, fault.what))?;
                }
            }
            Transfer::Load { space, constant, bytes, to, base, offset } => {
                let addresses = self.addresses((line, mask), block, (*base, *offset))?;
                let from = Load { space: *space, is_constant: *constant, size: *bytes, count: to.len() };
                let fault =
                    |block: &Block, (lane, fault): (usize, Fault)| self.fault(block, line, 1 << lane, fault.what);
                if *bytes == 8 {
                    let bits_of = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                    let loaded = self.load(mask, block, memory, &from, (&addresses, bits_of));
                    let loaded = loaded.map_err(|found| fault(block, found))?;
                    for (i, to) in to.iter().enumerate() {
                        self.registers.set_longs(*to, &loaded.bits[i], loaded.known[i], mask);
                    }
                } else {
                    let bits_of = |bytes: &[u8]| match *bytes {
                        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
                        ref few => few.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte)),
                    };
                    let loaded = self.load(mask, block, memory, &from, (&addresses, bits_of));
                    let loaded = loaded.map_err(|found| fault(block, found))?;
                    for (i, to) in to.iter().enumerate() {
                        self.registers.set_words(*to, &loaded.bits[i], loaded.known[i], mask);
                    }
                }
            }
            Transfer::Store { space, bytes, from, base, offset } => {
                let addresses = self.addresses((line, mask), block, (*base, *offset))?;
                self.store(mask, block, memory, (*space, *bytes, from), &addresses)
                    .map_err(|(lane, fault)| self.fault(block, line, 1 << lane, fault.what))?;
            }
        }
        Ok(())
    }

    /// Loads for lanes at these addresses: the bits of each element, and where all of its bytes were written. Errors: with the lane.
    fn load<T: Copy + Default>(
        &self,
        mask: Mask,
        block: &mut Block,
        memory: &mut Memory,
        from: &Load,
        (addresses, bits_of): (&Lanes<u64>, impl Fn(&[u8]) -> T),
    ) -> Result<Loaded<T>, (usize, Fault)> {
        let Load { space, is_constant, size, count } = *from;
        let of_lane = size * count;
        let mut found = Loaded { bits: [[T::default(); LANES]; MOST_ELEMENTS], known: [0; MOST_ELEMENTS] };
        let mut left = mask;
        while left != 0 {
            let group = Group::next(left, addresses, of_lane, true);
            left &= !group.mask;
            let elements = group.elements(addresses, size, count);
            let now = group.access(&self.access(block, group.first));
            let mut load = |elements: &Elements, now: &Access| {
                aligned(elements)?;
                holding(space, block, memory, elements.address)?.load(elements, now, is_constant)
            };
            let at = match load(&elements, &now) {
                Ok(at) => at,
                // Lane by lane, to say which of them; or for what one of them knows, and not all.
                Err(fault) => {
                    let mut first = Err((group.first, fault));
                    for lane in lanes(group.mask) {
                        let now = Access { thread: (self.first + lane) as u16, ..now };
                        let at = load(&Group::alone(lane).elements(addresses, size, count), &now);
                        first = first.or(Ok(at.map_err(|fault| (lane, fault))?));
                    }
                    first?
                }
            };
            let allocation = holding(space, block, memory, elements.address).map_err(|fault| (group.first, fault))?;
            let (bytes, written) = allocation.loaded(at, elements.span());
            let lanes_of_group = group.first..group.first + group.mask.count_ones() as usize;
            if group.stride == 0 {
                for (bits, element) in found.bits.iter_mut().zip(bytes.chunks_exact(size)) {
                    bits[lanes_of_group.clone()].fill(bits_of(element));
                }
            } else {
                for (lane, bytes) in lanes_of_group.zip(bytes.chunks(group.stride)) {
                    for (bits, element) in found.bits.iter_mut().zip(bytes[..of_lane].chunks_exact(size)) {
                        bits[lane] = bits_of(element);
                    }
                }
            }
            // Without an end on the way, which is quicker: nearly always all of them were.
            if written.iter().fold(true, |all, w| all & *w) {
                found.known.iter_mut().for_each(|known| *known |= group.mask);
            } else {
                for (behind, lane) in lanes(group.mask).enumerate() {
                    let written = &written[group.stride * behind..];
                    for (known, element) in found.known.iter_mut().zip(written.chunks_exact(size).take(count)) {
                        *known |= Mask::from(element.iter().all(|w| *w)) << lane;
                    }
                }
            }
        }
        Ok(found)
    }

    /// Stores for lanes at these addresses. Errors: with the lane.
    fn store(
        &mut self,
        mask: Mask,
        block: &mut Block,
        memory: &mut Memory,
        (space, size, from): (Space, usize, &[Register]),
        addresses: &Lanes<u64>,
    ) -> Result<(), (usize, Fault)> {
        let (words, longs) = (self.registers.words(), self.registers.longs());
        let mut left = mask;
        while left != 0 {
            let group = Group::next(left, addresses, size * from.len(), false);
            left &= !group.mask;
            let elements = group.elements(addresses, size, from.len());
            let now = self.access(block, group.first);
            let mut store = |elements: &Elements, now: &Access| {
                aligned(elements)?;
                holding(space, block, memory, elements.address)?.store(elements, now)
            };
            let at = store(&elements, &now).or_else(|fault| {
                // Of which lane?
                for lane in lanes(group.mask) {
                    let now = Access { thread: (self.first + lane) as u16, ..now };
                    store(&Group::alone(lane).elements(addresses, size, from.len()), &now)
                        .map_err(|fault| (lane, fault))?;
                }
                Err((group.first, fault))
            })?;
            let allocation = holding(space, block, memory, elements.address).map_err(|fault| (group.first, fault))?;
            for (behind, lane) in lanes(group.mask).enumerate() {
                for (i, from) in from.iter().enumerate() {
                    let (bits, known) = match size {
                        8 => (longs.at(*from)[lane], longs.known(*from)),
                        _ => (u64::from(words.at(*from)[lane]), words.known(*from)),
                    };
                    allocation.put(at + group.stride * behind + size * i, size, bits, known >> lane & 1 == 1);
                }
            }
        }
        Ok(())
    }

    fn access(&self, block: &Block, lane: usize) -> Access {
        block.access(self.first + lane)
    }
}

/// What a load is of.
struct Load {
    space: Space,
    is_constant: bool,
    /// Bytes of an element.
    size: usize,
    /// Elements of a lane.
    count: usize,
}

/// Of each element of a lane: its bits, and where they were written.
struct Loaded<T> {
    bits: [Lanes<T>; MOST_ELEMENTS],
    known: [Mask; MOST_ELEMENTS],
}

/// Lanes without a gap that load or store at equal distances, or all the same.
#[derive(Clone, Copy)]
struct Group {
    first: usize,
    mask: Mask,
    /// Bytes from each to the next; 0 where all have the same.
    stride: usize,
}

impl Group {
    fn alone(lane: usize) -> Group {
        Group { first: lane, mask: 1 << lane, stride: 0 }
    }

    /// The first lanes of those that are left. `bytes`: of each lane.
    #[inline]
    fn next(left: Mask, addresses: &Lanes<u64>, bytes: usize, may_share: bool) -> Group {
        let first = left.trailing_zeros() as usize;
        // As many as there are without a gap.
        let there = (!(left >> first)).trailing_zeros() as usize;
        let start = addresses[first];
        if there < 2 {
            return Group::alone(first);
        }
        let stride = addresses[first + 1].wrapping_sub(start);
        if stride == 0 && !may_share || stride != 0 && !(bytes as u64..PAGE as u64).contains(&stride) {
            return Group::alone(first);
        }
        let left_in_page = PAGE as u64 - start % PAGE as u64;
        let mut count = 1;
        while count < there {
            let behind = count as u64 * stride;
            if addresses[first + count] != start.wrapping_add(behind) || behind + bytes as u64 > left_in_page {
                break;
            }
            count += 1;
        }
        let mask = (Mask::MAX >> (LANES - count)) << first;
        Group { first, mask, stride: if count > 1 { stride as usize } else { 0 } }
    }

    /// Who touches what the first one has.
    fn access(&self, first: &Access) -> Access {
        match self.stride != 0 || self.mask.count_ones() == 1 {
            true => *first,
            false => Access { thread: SEVERAL, ..*first },
        }
    }

    fn elements(&self, addresses: &Lanes<u64>, size: usize, count: usize) -> Elements {
        let lanes = if self.stride == 0 { 1 } else { self.mask.count_ones() as usize };
        Elements { address: addresses[self.first], size, count, lanes, stride: self.stride }
    }
}

/// The allocation of an address.
#[inline]
fn holding<'m>(
    space: Space,
    block: &'m mut Block,
    memory: &'m mut Memory,
    address: u64,
) -> Result<&'m mut Allocation, Fault> {
    match space {
        Space::Shared => Ok(&mut block.shared),
        Space::Global => memory.at(address),
    }
}

/// Of a vector.
const MOST_ELEMENTS: usize = 4;

#[inline]
fn aligned(elements: &Elements) -> Result<(), Fault> {
    let (address, bytes) = (elements.address, elements.of_lane());
    // A stride that is not a multiple takes the next lane to where it is not aligned.
    let of_all = address | if elements.lanes > 1 { elements.stride as u64 } else { 0 };
    if !of_all.is_multiple_of(bytes as u64) {
        return Err(Fault::new(format!("an access of {bytes} bytes at {address:#x} is not aligned")));
    }
    Ok(())
}
