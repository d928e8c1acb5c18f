//! The instructions of one thread.

use crate::Fault;
use crate::arithmetic::{bf16, binary, compared, convert, f32_of, logic, narrow, permute, tf32, unary};
use crate::copies::{Copies, Copy};
use crate::instruction::{Binary, Join, Op, Operand, Space, Special, Type};
use crate::launch::Block;
use crate::memory::Memory;
use crate::warpgroup::{Products, WARPGROUP};

pub struct Thread {
    /// The number of the next instruction.
    pub at: usize,
    /// Instructions since this was last taken.
    pub count: u64,
    registers: Vec<u64>,
    /// Was it computed from what somebody wrote?
    known: Vec<bool>,
    copies: Copies,
    /// Of registers that are sums of products; empty where the function asks for none.
    sums: Vec<Sum>,
}

/// What tensor cores know of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    /// As much as the thread.
    Told,
    /// It was written, and they need not know.
    Written,
    /// A product may add to it at any time.
    Pending,
}

/// Why a thread stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Done,
    /// At a barrier of the block.
    Barrier,
    /// At an exchange or a barrier of the warp.
    Exchange,
    /// At an instruction of the warpgroup.
    Warpgroup,
}

impl Thread {
    pub fn new(registers: usize) -> Thread {
        let copies = Copies::default();
        let (registers, known) = (vec![0; registers], vec![false; registers]);
        Thread { at: 0, count: 0, registers, known, copies, sums: Vec::new() }
    }

    /// A register that a product is to add to: its bits, and whether somebody wrote them.
    pub fn take_sum(&mut self, register: u32, line: usize) -> Result<(u64, bool), String> {
        if self.sums.is_empty() {
            // Nothing was told yet.
            self.sums = vec![Sum::Told; self.registers.len()];
            return Err(format!("a product of line {line} without a `wgmma.fence` before it"));
        }
        match self.sums[register as usize] {
            Sum::Written => Err("a sum that was written, and no `wgmma.fence` lies between".to_string()),
            Sum::Told | Sum::Pending => Ok((self.registers[register as usize], self.known[register as usize])),
        }
    }

    /// What a product makes of it, once somebody has waited.
    pub fn give_sum(&mut self, register: u32, bits: u64, known: bool) {
        let at = register as usize;
        (self.registers[at], self.known[at], self.sums[at]) = (bits, known, Sum::Pending);
    }

    /// `wgmma.fence`
    pub fn tell_sums(&mut self) {
        if self.sums.is_empty() {
            self.sums = vec![Sum::Told; self.registers.len()];
        }
        self.sums.iter_mut().filter(|sum| **sum == Sum::Written).for_each(|sum| *sum = Sum::Told);
    }

    /// A wait is over: these registers are still added to, others no more.
    pub fn settle_sums(&mut self, pending: &[u32]) {
        let is_over = |register: usize| !pending.contains(&(register as u32));
        let own =
            self.sums.iter_mut().enumerate().filter(|(register, sum)| **sum == Sum::Pending && is_over(*register));
        own.for_each(|(_, sum)| *sum = Sum::Told);
    }

    fn is_pending(&self, register: u32) -> bool {
        self.sums.get(register as usize) == Some(&Sum::Pending)
    }

    pub fn restart(&mut self) {
        (self.at, self.count) = (0, 0);
        self.known.fill(false);
        self.copies.clear();
        self.sums.clear();
    }

    /// The bits of an operand in the thread of this number, and whether somebody wrote them.
    pub fn value(&self, operand: Operand, thread: u32, block: [u32; 3]) -> (u64, bool) {
        match operand {
            Operand::Register(r) => (self.registers[r as usize], self.known[r as usize] && !self.is_pending(r)),
            Operand::Number(bits) => (bits, true),
            Operand::Special(Special::Thread) => (u64::from(thread), true),
            Operand::Special(Special::Lane) => (u64::from(thread % 32), true),
            Operand::Special(Special::BlockX) => (u64::from(block[0]), true),
            Operand::Special(Special::BlockY) => (u64::from(block[1]), true),
            Operand::Special(Special::BlockZ) => (u64::from(block[2]), true),
        }
    }

    pub fn set(&mut self, register: u32, bits: u64, known: bool) {
        let known = known && !self.is_pending(register);
        self.registers[register as usize] = bits;
        self.known[register as usize] = known;
        if let Some(sum) = self.sums.get_mut(register as usize) {
            *sum = Sum::Written;
        }
    }
}

/// Runs a thread until it stops.
pub fn run(thread: &mut Thread, block: &mut Block, number: u32, memory: &mut Memory, most: u64) -> Result<Stop, Fault> {
    let function = block.function;
    let place = block.place;
    loop {
        let Some(instruction) = function.code.get(thread.at) else {
            return Err(block.fault(0, number as usize, "ran behind the function's end"));
        };
        let line = instruction.line;
        thread.count += 1;
        if thread.count > most {
            return Err(block.fault(line, number as usize, "does not end"));
        }
        if let Some((register, holds)) = instruction.guard {
            let (bit, known) = (thread.registers[register as usize] != 0, thread.known[register as usize]);
            if !known {
                return Err(block.fault(line, number as usize, "decides by what nobody wrote"));
            }
            if bit != holds {
                thread.at += 1;
                continue;
            }
        }
        let read = |thread: &Thread, operand: &Operand| thread.value(*operand, number, place);
        match &instruction.op {
            Op::Return => {
                if let Some(copy) = thread.copies.unfinished() {
                    let what = format!("returns, and has not waited for the asynchronous copy of line {copy}");
                    return Err(block.fault(line, number as usize, what));
                }
                let products = block.products.get(number as usize / WARPGROUP);
                if let Some(product) = products.and_then(Products::unfinished) {
                    let what = format!("returns, and has not waited for the product of line {product}");
                    return Err(block.fault(line, number as usize, what));
                }
                return Ok(Stop::Done);
            }
            Op::Branch { to } => {
                thread.at = *to;
                continue;
            }
            Op::Barrier => return Ok(Stop::Barrier),
            Op::Fence => {
                memory.fence(block.access(number));
                block.fence(number);
            }
            Op::AtomicIncrement { to, base, offset, most } => {
                let ((base, known), (most, most_known)) = (read(thread, base), read(thread, most));
                if !(known && most_known) {
                    return Err(block.fault(line, number as usize, "an address or a bound from what nobody wrote"));
                }
                let (address, who) = (base.wrapping_add_signed(*offset), block.access(number));
                let old = memory.at(address).and_then(|a| a.increment(address, most as u32, &who));
                let old = old.map_err(|fault| block.fault(line, number as usize, fault.what))?;
                thread.set(*to, u64::from(old), true);
            }
            Op::Collective(_) => return Ok(Stop::Exchange),
            Op::OfWarpgroup(_) if number as usize / WARPGROUP < block.products.len() => return Ok(Stop::Warpgroup),
            Op::OfWarpgroup(_) => {
                return Err(block.fault(line, number as usize, "needs the 128 threads of a warpgroup"));
            }
            Op::ProxyFence => block.proxy_fence(number),
            Op::Move { to, from } => {
                let (bits, known) = read(thread, from);
                thread.set(*to, bits, known);
            }
            Op::Split { bits, low, high, from } => {
                let (both, known) = read(thread, from);
                thread.set(*low, both & ((1 << bits) - 1), known);
                thread.set(*high, both >> bits, known);
            }
            Op::Pair { bits, to, low, high } => {
                let ((low, low_known), (high, high_known)) = (read(thread, low), read(thread, high));
                thread.set(*to, high << bits | low, low_known && high_known);
            }
            Op::Copy { bytes, to, from, filled } => {
                let [(to, to_known), (from, from_known)] = [to, from].map(|(base, offset)| {
                    let (base, known) = read(thread, base);
                    (base.wrapping_add_signed(*offset), known)
                });
                let (filled, filled_known) = read(thread, filled);
                if !(to_known && from_known && filled_known) {
                    return Err(block.fault(line, number as usize, "an address or a size from what nobody wrote"));
                }
                let copy = Copy { to, from, size: *bytes, filled: filled as usize, line };
                let who = block.access(number);
                let begun = thread.copies.begin(copy, &mut block.shared, memory, &who);
                begun.map_err(|fault| block.fault(line, number as usize, fault.what))?;
            }
            Op::CommitCopies => thread.copies.commit(),
            Op::AwaitCopies { left } => {
                let who = block.access(number);
                let waited = thread.copies.wait(*left, &mut block.shared, memory, &who);
                waited.map_err(|fault| block.fault(line, number as usize, fault.what))?;
            }
            Op::Load { space, constant, bytes, to, base, offset } => {
                let (base, known) = read(thread, base);
                if !known {
                    return Err(block.fault(line, number as usize, "an address from what nobody wrote"));
                }
                let address = base.wrapping_add_signed(*offset);
                let who = block.access(number);
                vector_alignment(address, bytes * to.len(), *space)
                    .map_err(|what| block.fault(line, number as usize, what))?;
                for (i, register) in to.iter().enumerate() {
                    let at = address + (i * bytes) as u64;
                    let loaded = match space {
                        Space::Parameter => Ok((block.parameters[at as usize / 8], true)),
                        Space::Shared => block.shared.load(at, *bytes, &who),
                        Space::Global if *constant => memory.at(at).and_then(|a| a.load_constant(at, *bytes, &who)),
                        Space::Global => memory.at(at).and_then(|a| a.load(at, *bytes, &who)),
                    };
                    let (bits, known) = loaded.map_err(|fault| block.fault(line, number as usize, fault.what))?;
                    thread.set(*register, bits, known);
                }
            }
            Op::Store { space, bytes, from, base, offset } => {
                let (base, known) = read(thread, base);
                if !known {
                    return Err(block.fault(line, number as usize, "an address from what nobody wrote"));
                }
                let address = base.wrapping_add_signed(*offset);
                let who = block.access(number);
                vector_alignment(address, bytes * from.len(), *space)
                    .map_err(|what| block.fault(line, number as usize, what))?;
                for (i, operand) in from.iter().enumerate() {
                    let at = address + (i * bytes) as u64;
                    let (bits, known) = read(thread, operand);
                    let stored = match space {
                        Space::Parameter => Err(Fault::new("a parameter cannot be written")),
                        Space::Shared => block.shared.store(at, *bytes, bits, known, &who),
                        Space::Global => memory.at(at).and_then(|a| a.store(at, *bytes, bits, known, &who)),
                    };
                    stored.map_err(|fault| block.fault(line, number as usize, fault.what))?;
                }
            }
            Op::Unary { op, ty, to, a } => {
                let (a, known) = read(thread, a);
                thread.set(*to, unary(*op, *ty, a), known);
            }
            Op::Binary { op, ty, to, a, b } => {
                let ((a, a_known), (b, b_known)) = (read(thread, a), read(thread, b));
                if matches!(op, Binary::Div | Binary::Rem) && b == 0 && !matches!(ty, Type::F32 | Type::F64) {
                    return Err(block.fault(line, number as usize, "an integer is divided by 0"));
                }
                thread.set(*to, binary(*op, *ty, a, b), a_known && b_known);
            }
            Op::MultiplyAdd { ty, wide, to, a, b, c } => {
                let ((a, a_known), (b, b_known), (c, c_known)) = (read(thread, a), read(thread, b), read(thread, c));
                let bits = match ty {
                    Type::F32 => u64::from(f32_of(a).mul_add(f32_of(b), f32_of(c)).to_bits()),
                    Type::F64 => f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c)).to_bits(),
                    Type::Pred | Type::B16 | Type::U32 | Type::S32 | Type::U64 | Type::S64 => {
                        let product = if *wide { binary(Binary::MulWide, *ty, a, b) } else { a.wrapping_mul(b) };
                        let sum = product.wrapping_add(c);
                        if *wide { sum } else { narrow(sum, *ty) }
                    }
                };
                thread.set(*to, bits, a_known && b_known && c_known);
            }
            Op::SetPredicate { compare, ty, to, a, b, join } => {
                let ((a, a_known), (b, b_known)) = (read(thread, a), read(thread, b));
                let mut truth = compared(*compare, *ty, a, b);
                let mut known = a_known && b_known;
                if let Some((join, other, holds)) = join {
                    let (other, other_known) = read(thread, other);
                    let other = u64::from((other != 0) == *holds);
                    // What decides alone, decides also beside what nobody wrote.
                    let (decides, result) = match join {
                        Join::And => (other_known && other == 0, truth && other != 0),
                        Join::Or => (other_known && other != 0, truth || other != 0),
                        Join::Xor => (false, truth != (other != 0)),
                    };
                    known = known && other_known || decides;
                    truth = result;
                }
                thread.set(*to, u64::from(truth), known);
            }
            Op::Select { to, a, b, condition } => {
                let (condition, known) = read(thread, condition);
                let (bits, own) = read(thread, if condition != 0 { a } else { b });
                thread.set(*to, bits, known && own);
            }
            Op::Convert { rounding, to_type, from_type, to, a } => {
                let (a, known) = read(thread, a);
                let bits = convert(*rounding, *to_type, *from_type, a)
                    .ok_or_else(|| block.fault(line, number as usize, "a conversion that does not exist"))?;
                thread.set(*to, bits, known);
            }
            Op::ToTf32 { to, a } => {
                let (a, known) = read(thread, a);
                thread.set(*to, tf32(a), known);
            }
            Op::ToBf16 { to, high, low } => {
                let (high, high_known) = high.as_ref().map_or((0, true), |high| read(thread, high));
                let (low, low_known) = read(thread, low);
                thread.set(*to, bf16(high) << 16 | bf16(low), high_known && low_known);
            }
            Op::Permute { to, a, b, choice } => {
                let [(a, a_known), (b, b_known), (choice, known)] = [a, b, choice].map(|operand| read(thread, operand));
                thread.set(*to, permute(a, b, choice), a_known && b_known && known);
            }
            Op::Logic { to, a, b, c, table } => {
                let [(a, a_known), (b, b_known), (c, c_known)] = [a, b, c].map(|operand| read(thread, operand));
                thread.set(*to, logic(a, b, c, *table), a_known && b_known && c_known);
            }
        }
        thread.at += 1;
    }
}

fn vector_alignment(address: u64, bytes: usize, space: Space) -> Result<(), String> {
    if space != Space::Parameter && !address.is_multiple_of(bytes as u64) {
        return Err(format!("an access of {bytes} bytes at {address:#x} is not aligned"));
    }
    Ok(())
}
