//! The instructions of one thread.

use crate::Fault;
use crate::instruction::{Binary, Compare, Join, Op, Operand, Rounding, Space, Special, Type, Unary};
use crate::launch::Block;
use crate::memory::Memory;

pub struct Thread {
    /// The number of the next instruction.
    pub at: usize,
    /// Instructions since this was last taken.
    pub count: u64,
    registers: Vec<u64>,
    /// Was it computed from what somebody wrote?
    known: Vec<bool>,
}

/// Why a thread stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Done,
    /// At a barrier of the block.
    Barrier,
    /// At an exchange or a barrier of the warp.
    Exchange,
}

impl Thread {
    pub fn new(registers: usize) -> Thread {
        Thread { at: 0, count: 0, registers: vec![0; registers], known: vec![false; registers] }
    }

    pub fn restart(&mut self) {
        (self.at, self.count) = (0, 0);
        self.known.fill(false);
    }

    pub fn value(&self, operand: Operand, thread: u32, block: [u32; 2]) -> (u64, bool) {
        match operand {
            Operand::Register(r) => (self.registers[r as usize], self.known[r as usize]),
            Operand::Number(bits) => (bits, true),
            Operand::Special(Special::Thread) => (u64::from(thread), true),
            Operand::Special(Special::BlockX) => (u64::from(block[0]), true),
            Operand::Special(Special::BlockY) => (u64::from(block[1]), true),
        }
    }

    pub fn set(&mut self, register: u32, bits: u64, known: bool) {
        self.registers[register as usize] = bits;
        self.known[register as usize] = known;
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
            Op::Return => return Ok(Stop::Done),
            Op::Branch { to } => {
                thread.at = *to;
                continue;
            }
            Op::Barrier => return Ok(Stop::Barrier),
            Op::WarpBarrier | Op::Shuffle { .. } => return Ok(Stop::Exchange),
            Op::Move { to, from } => {
                let (bits, known) = read(thread, from);
                thread.set(*to, bits, known);
            }
            Op::Split { low, high, from } => {
                let (bits, known) = read(thread, from);
                thread.set(*low, bits & 0xffff_ffff, known);
                thread.set(*high, bits >> 32, known);
            }
            Op::Pair { to, low, high } => {
                let ((low, low_known), (high, high_known)) = (read(thread, low), read(thread, high));
                thread.set(*to, high << 32 | low, low_known && high_known);
            }
            Op::Load { space, bytes, to, base, offset } => {
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
                        let sum = a.wrapping_mul(b).wrapping_add(c);
                        if *wide { sum } else { narrow(sum, *ty) }
                    }
                };
                thread.set(*to, bits, a_known && b_known && c_known);
            }
            Op::SetPredicate { compare, ty, to, a, b, join } => {
                let ((a, a_known), (b, b_known)) = (read(thread, a), read(thread, b));
                let mut truth = compared(*compare, *ty, a, b);
                let mut known = a_known && b_known;
                if let Some((join, other)) = join {
                    let (other, other_known) = read(thread, other);
                    // What decides alone, decides also beside what nobody wrote.
                    let (decides, result) = match join {
                        Join::And => (other_known && other == 0, truth && other != 0),
                        Join::Or => (other_known && other != 0, truth || other != 0),
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

fn f32_of(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// The low bits that a type has.
fn narrow(bits: u64, ty: Type) -> u64 {
    match ty {
        Type::Pred => bits & 1,
        Type::B16 => bits & 0xffff,
        Type::U32 | Type::S32 | Type::F32 => bits & 0xffff_ffff,
        Type::U64 | Type::S64 | Type::F64 => bits,
    }
}

/// As a number with sign.
fn signed(bits: u64, ty: Type) -> i64 {
    match ty {
        Type::S32 => i64::from(bits as u32 as i32),
        Type::Pred | Type::B16 | Type::U32 | Type::U64 | Type::S64 | Type::F32 | Type::F64 => bits as i64,
    }
}

fn unary(op: Unary, ty: Type, a: u64) -> u64 {
    match (op, ty) {
        (Unary::Neg, Type::F32) => u64::from((-f32_of(a)).to_bits()),
        (Unary::Abs, Type::F32) => u64::from(f32_of(a).abs().to_bits()),
        (Unary::Sqrt, Type::F32) => u64::from(f32_of(a).sqrt().to_bits()),
        (Unary::Neg, Type::F64) => (-f64::from_bits(a)).to_bits(),
        (Unary::Abs, Type::F64) => f64::from_bits(a).abs().to_bits(),
        (Unary::Sqrt, Type::F64) => f64::from_bits(a).sqrt().to_bits(),
        (Unary::Neg, ty) => narrow(a.wrapping_neg(), ty),
        (Unary::Abs | Unary::Sqrt, ty) => narrow(signed(a, ty).wrapping_abs() as u64, ty),
        (Unary::Not, ty) => narrow(!a, ty),
    }
}

fn binary(op: Binary, ty: Type, a: u64, b: u64) -> u64 {
    macro_rules! real {
        ($x:expr, $y:expr) => {{
            let (x, y) = ($x, $y);
            match op {
                Binary::Add => x + y,
                Binary::Sub => x - y,
                Binary::Mul => x * y,
                _ => x / y,
            }
        }};
    }
    match ty {
        Type::F32 => return u64::from(real!(f32_of(a), f32_of(b)).to_bits()),
        Type::F64 => return real!(f64::from_bits(a), f64::from_bits(b)).to_bits(),
        Type::Pred | Type::B16 | Type::U32 | Type::S32 | Type::U64 | Type::S64 => {}
    }
    let is_signed = matches!(ty, Type::S32 | Type::S64);
    let (x, y) = (signed(a, ty), signed(b, ty));
    let width = 8 * ty.bytes() as u64;
    let bits = match op {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul | Binary::MulWide => a.wrapping_mul(b),
        Binary::MulHigh => a.wrapping_mul(b) >> 32,
        Binary::Div if is_signed => x.wrapping_div(y) as u64,
        Binary::Div => a / b,
        Binary::Rem if is_signed => x.wrapping_rem(y) as u64,
        Binary::Rem => a % b,
        Binary::Min if is_signed => x.min(y) as u64,
        Binary::Min => a.min(b),
        Binary::Max if is_signed => x.max(y) as u64,
        Binary::Max => a.max(b),
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        Binary::ShiftLeft => a.checked_shl(b as u32).filter(|_| b < width).unwrap_or(0),
        Binary::ShiftRight if is_signed => (x >> b.min(width - 1)) as u64,
        Binary::ShiftRight => a.checked_shr(b as u32).filter(|_| b < width).unwrap_or(0),
    };
    if op == Binary::MulWide { bits } else { narrow(bits, ty) }
}

fn compared(compare: Compare, ty: Type, a: u64, b: u64) -> bool {
    let order = match ty {
        Type::F32 => f32_of(a).partial_cmp(&f32_of(b)),
        Type::F64 => f64::from_bits(a).partial_cmp(&f64::from_bits(b)),
        Type::S32 | Type::S64 => Some(signed(a, ty).cmp(&signed(b, ty))),
        Type::Pred | Type::B16 | Type::U32 | Type::U64 => Some(a.cmp(&b)),
    };
    match compare {
        Compare::Eq => order.is_some_and(|o| o.is_eq()),
        Compare::Ne => order.is_some_and(|o| o.is_ne()),
        Compare::Lt => order.is_some_and(|o| o.is_lt()),
        Compare::Le => order.is_some_and(|o| o.is_le()),
        Compare::Gt => order.is_some_and(|o| o.is_gt()),
        Compare::Ge => order.is_some_and(|o| o.is_ge()),
        Compare::NotEqualUnordered => order.is_none_or(|o| o.is_ne()),
        Compare::NotNumber => order.is_none(),
    }
}

fn convert(rounding: Rounding, to: Type, from: Type, a: u64) -> Option<u64> {
    let real = match from {
        Type::F32 => f64::from(f32_of(a)),
        Type::F64 => f64::from_bits(a),
        Type::Pred | Type::B16 | Type::U32 | Type::S32 | Type::U64 | Type::S64 => 0.0,
    };
    let whole = match rounding {
        Rounding::ToNearest => real.round_ties_even(),
        Rounding::Down => real.floor(),
        Rounding::ToZero => real.trunc(),
        Rounding::None | Rounding::Nearest => real,
    };
    let is_integer = |ty: Type| matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64 | Type::B16);
    Some(match (rounding, to, from) {
        // Between integers: low bits, or the sign carried on.
        (Rounding::None, _, _) if is_integer(to) && is_integer(from) => narrow(signed(a, from) as u64, to),
        (Rounding::None, Type::F64, Type::F32) => real.to_bits(),
        (Rounding::Nearest, Type::F32, Type::F64) => u64::from((real as f32).to_bits()),
        (Rounding::Nearest, Type::F32, Type::S32 | Type::S64) => u64::from((signed(a, from) as f32).to_bits()),
        (Rounding::Nearest, Type::F32, Type::U32 | Type::U64) => u64::from((a as f32).to_bits()),
        (Rounding::Nearest, Type::F64, Type::S32 | Type::S64) => (signed(a, from) as f64).to_bits(),
        (Rounding::Nearest, Type::F64, Type::U32 | Type::U64) => (a as f64).to_bits(),
        (Rounding::ToNearest | Rounding::Down | Rounding::ToZero, Type::F32, Type::F32) => {
            u64::from((whole as f32).to_bits())
        }
        (Rounding::ToNearest | Rounding::Down | Rounding::ToZero, Type::F64, Type::F64) => whole.to_bits(),
        // The nearest number of the type where it is out of range; NaN becomes 0.
        (Rounding::ToNearest | Rounding::Down | Rounding::ToZero, Type::S32, Type::F32 | Type::F64) => {
            u64::from(whole as i32 as u32)
        }
        (Rounding::ToNearest | Rounding::Down | Rounding::ToZero, Type::S64, Type::F32 | Type::F64) => {
            whole as i64 as u64
        }
        (_, _, _) => return None,
    })
}
