//! Instructions as bytes.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, sections 2.3 (VEX) and 2.7 (EVEX).

use super::instruction::{
    Arithmetic, Fused, General, Instruction, Mask, Memory, Predicate, Rounding, Shift, Vector, Vectors,
};

/// The map of an opcode: which escape bytes it would have had before vectors had prefixes.
#[derive(Clone, Copy)]
enum Map {
    X0F = 1,
    X0F38 = 2,
    X0F3A = 3,
}

/// The prefix byte that is part of the opcode.
#[derive(Clone, Copy)]
enum Prefix {
    None = 0,
    X66 = 1,
}

enum Operand {
    Register(u8),
    /// With the size that a short displacement counts in.
    Memory(Memory, i32),
}

/// An instruction on vectors.
struct Coded {
    map: Map,
    prefix: Prefix,
    opcode: u8,
    register: u8,
    second: u8,
    operand: Operand,
    mask: u8,
    zeroing: bool,
    /// Of the vectors: 0 for 128 bits, 1 for 256, 2 for 512.
    length: u8,
    vectors: Vectors,
}

impl Instruction {
    /// Appends the bytes.
    pub fn encode(&self, vectors: Vectors, code: &mut Vec<u8>) {
        use Instruction as I;
        let vector = |map, prefix, opcode, register: Vector, second: u8, operand| Coded {
            map,
            prefix,
            opcode,
            register: register.0,
            second,
            operand,
            mask: 0,
            zeroing: false,
            length: (vectors.bytes() / 32) as u8,
            vectors,
        };
        let register = |v: Vector| Operand::Register(v.0);
        let full = vectors.bytes() as i32;
        match *self {
            I::Load { to, at, lanes } => Coded {
                mask: lanes.map_or(0, |m| m.0),
                zeroing: lanes.is_some(),
                ..vector(Map::X0F, Prefix::None, 0x10, to, 0, Operand::Memory(at, full))
            }
            .encode(code),
            I::LoadInto { to, at, mask } => {
                let plain = vector(Map::X0F, Prefix::None, 0x10, to, 0, Operand::Memory(at, full));
                Coded { mask: mask.0, ..plain }.encode(code);
            }
            I::LoadBy { to, at, mask } => {
                vector(Map::X0F38, Prefix::X66, 0x2c, to, mask.0, Operand::Memory(at, full)).encode(code);
            }
            I::Store { at, from, lanes } => Coded {
                mask: lanes.map_or(0, |m| m.0),
                ..vector(Map::X0F, Prefix::None, 0x11, from, 0, Operand::Memory(at, full))
            }
            .encode(code),
            I::Prefetch(at) => {
                let extended = at.index.map_or(0, |i| i.0 >> 3) << 1 | at.base.0 >> 3;
                code.extend((extended != 0).then_some(0x40 | extended));
                code.extend([0x0f, 0x18]);
                memory(1, at, 1, code);
            }
            I::Broadcast { to, at } => {
                vector(Map::X0F38, Prefix::X66, 0x18, to, 0, Operand::Memory(at, 4)).encode(code);
            }
            I::Arithmetic { op, to, a, b } => {
                let (map, prefix, opcode) = match op {
                    Arithmetic::Add => (Map::X0F, Prefix::None, 0x58),
                    Arithmetic::Mul => (Map::X0F, Prefix::None, 0x59),
                    Arithmetic::Sub => (Map::X0F, Prefix::None, 0x5c),
                    Arithmetic::Min => (Map::X0F, Prefix::None, 0x5d),
                    Arithmetic::Div => (Map::X0F, Prefix::None, 0x5e),
                    Arithmetic::Max => (Map::X0F, Prefix::None, 0x5f),
                    Arithmetic::And => (Map::X0F, Prefix::X66, 0xdb),
                    Arithmetic::Or => (Map::X0F, Prefix::X66, 0xeb),
                    Arithmetic::Xor => (Map::X0F, Prefix::X66, 0xef),
                    Arithmetic::AddIntegers => (Map::X0F, Prefix::X66, 0xfe),
                    Arithmetic::SubIntegers => (Map::X0F, Prefix::X66, 0xfa),
                    Arithmetic::MulIntegers => (Map::X0F38, Prefix::X66, 0x40),
                };
                vector(map, prefix, opcode, to, a.0, register(b)).encode(code);
            }
            I::Fused { form, to, a, b } => {
                let opcode = match form {
                    Fused::SumToProduct => 0xa8,
                    Fused::ProductToSum => 0xb8,
                    Fused::SumLessProduct => 0xac,
                    Fused::ProductFromSum => 0xbc,
                };
                vector(Map::X0F38, Prefix::X66, opcode, to, a.0, register(b)).encode(code);
            }
            I::Shift { to, from, shift, by } => {
                let operation = match shift {
                    Shift::Left => 6,
                    Shift::Right => 2,
                };
                // The result's register stands where other instructions have a second operand.
                vector(Map::X0F, Prefix::X66, 0x72, Vector(operation), to.0, register(from)).encode(code);
                code.push(by);
            }
            I::Sqrt { to, from } => vector(Map::X0F, Prefix::None, 0x51, to, 0, register(from)).encode(code),
            I::Round { to, from, rounding } => {
                vector(Map::X0F3A, Prefix::X66, 0x08, to, 0, register(from)).encode(code);
                code.push(rounding.immediate());
            }
            I::Compare { to, predicate, a, b } => {
                vector(Map::X0F, Prefix::None, 0xc2, Vector(to.0), a.0, register(b)).encode(code);
                code.push(predicate.immediate());
            }
            I::CompareIntegers { to, predicate, a, b } => {
                vector(Map::X0F3A, Prefix::X66, 0x1f, Vector(to.0), a.0, register(b)).encode(code);
                code.push(predicate.immediate());
            }
            I::CompareLanes { to, predicate, a, b } => {
                vector(Map::X0F, Prefix::None, 0xc2, to, a.0, register(b)).encode(code);
                code.push(predicate.immediate());
            }
            I::EqualIntegers { to, a, b } => vector(Map::X0F, Prefix::X66, 0x76, to, a.0, register(b)).encode(code),
            I::GreaterIntegers { to, a, b } => vector(Map::X0F, Prefix::X66, 0x66, to, a.0, register(b)).encode(code),
            I::BlendBy { to, mask, no, yes } => {
                vector(Map::X0F3A, Prefix::X66, 0x4a, to, no.0, register(yes)).encode(code);
                code.push(mask.0 << 4);
            }
            I::ToLowest { to, from } => {
                let lowest = vector(Map::X0F, Prefix::X66, 0x6e, to, 0, Operand::Register(from.0));
                Coded { length: 0, ..lowest }.encode(code);
            }
            I::SpreadLowest { to, from } => {
                vector(Map::X0F38, Prefix::X66, 0x58, to, 0, register(from)).encode(code);
            }
            I::Copy { to, from } => vector(Map::X0F, Prefix::None, 0x28, to, 0, register(from)).encode(code),
            I::Blend { to, mask, no, yes } => {
                Coded { mask: mask.0, ..vector(Map::X0F38, Prefix::X66, 0x65, to, no.0, register(yes)) }.encode(code);
            }
            I::Keep { to, mask, from } => {
                let plain = vector(Map::X0F, Prefix::None, 0x28, to, 0, register(from));
                Coded { mask: mask.0, zeroing: true, ..plain }.encode(code);
            }
            I::MaskAnd { to, a, b } => of_masks(0x41, to, Some(a), b.0, code),
            I::MaskOr { to, a, b } => of_masks(0x45, to, Some(a), b.0, code),
            I::MaskNot { to, from } => of_masks(0x44, to, None, from.0, code),
            I::MaskFrom { to, from } => of_masks(0x92, to, None, from.0, code),
            I::MaskLoad { to, at } => {
                code.extend([0xc5, 0xf8, 0x90]);
                memory(to.0, at, 1, code);
            }
            I::ZeroUpper => code.extend([0xc5, 0xf8, 0x77]),
            I::Push(r) => short(0x50, r, code),
            I::Pop(r) => short(0x58, r, code),
            I::LoadGeneral { to, at } => {
                code.extend([0x48 | (to.0 >> 3) << 2 | at.base.0 >> 3, 0x8b]);
                memory(to.0, at, 1, code);
            }
            I::LoadSigned { to, at } => {
                code.extend([0x48 | (to.0 >> 3) << 2 | at.base.0 >> 3, 0x63]);
                memory(to.0, at, 1, code);
            }
            I::AddGeneral { to, from } => general(0x01, from.0, to, code),
            I::AddFrom { to, at } => {
                code.extend([0x48 | (to.0 >> 3) << 2 | at.base.0 >> 3, 0x03]);
                memory(to.0, at, 1, code);
            }
            I::Multiply { to, from, value } => {
                general(0x69, to.0, from, code);
                code.extend(value.to_le_bytes());
            }
            I::CompareWith { a, value } => immediate(7, a, value, code),
            I::AndGeneral { to, from } => general(0x21, from.0, to, code),
            I::OnesIfBelow(r) => general(0x19, r.0, r, code),
            I::Move { to, from } => general(0x89, from.0, to, code),
            I::Set { to, value } => {
                if to.0 > 7 {
                    code.push(0x41);
                }
                code.push(0xb8 | to.0 & 7);
                code.extend(value.to_le_bytes());
            }
            I::AddTo { to, value } => immediate(0, to, value, code),
            I::AndWith { to, value } => immediate(4, to, value, code),
            I::ShiftLeft { to, by } => {
                general(0xc1, 4, to, code);
                code.push(by);
            }
            I::ShiftLeftByCount { to } => general(0xd3, 4, to, code),
            I::CompareGeneral { a, b } => general(0x39, b.0, a, code),
            I::MoveIfGreater { to, from } => {
                code.extend([0x48 | (to.0 >> 3) << 2 | from.0 >> 3, 0x0f, 0x4f, 0xc0 | (to.0 & 7) << 3 | from.0 & 7]);
            }
            I::Test(r) => general(0x85, r.0, r, code),
            I::JumpIfBelow(by) => jump(0x82, by, code),
            I::JumpIfNotBelow(by) => jump(0x83, by, code),
            I::JumpIfZero(by) => jump(0x84, by, code),
            I::JumpIfNotZero(by) => jump(0x85, by, code),
            I::JumpIfNotAboveZero(by) => jump(0x8e, by, code),
            I::JumpIfAboveZero(by) => jump(0x8f, by, code),
            I::Return => code.push(0xc3),
        }
    }
}

impl Rounding {
    /// With the bit that keeps the exception flags as they are.
    pub fn immediate(self) -> u8 {
        match self {
            Rounding::NearestEven => 8,
            Rounding::Down => 9,
        }
    }
}

impl Predicate {
    fn immediate(self) -> u8 {
        match self {
            Predicate::Equal => 0,
            Predicate::Less => 1,
            Predicate::LessOrEqual => 2,
            Predicate::Unordered => 3,
            Predicate::NotEqual => 4,
        }
    }
}

impl Coded {
    fn encode(&self, code: &mut Vec<u8>) {
        let not = |bits: u8, at: u8| !(bits >> at) & 1;
        // Bits 4 and 3 of the operand: of a register both its own, of an address those of index and base.
        let (x, b) = match &self.operand {
            Operand::Register(r) => (not(*r, 4), not(*r, 3)),
            Operand::Memory(at, _) => (at.index.map_or(1, |i| not(i.0, 3)), not(at.base.0, 3)),
        };
        if !self.vectors.has_masks() {
            // VEX, whose registers are 16 and whose displacements count bytes.
            code.push(0xc4);
            code.push(not(self.register, 3) << 7 | x << 6 | b << 5 | self.map as u8);
            code.push((!self.second & 15) << 3 | self.length << 2 | self.prefix as u8);
            code.push(self.opcode);
            match &self.operand {
                Operand::Register(r) => code.push(0xc0 | (self.register & 7) << 3 | r & 7),
                Operand::Memory(at, _) => memory(self.register, *at, 1, code),
            }
            return;
        }
        code.push(0x62);
        code.push(not(self.register, 3) << 7 | x << 6 | b << 5 | not(self.register, 4) << 4 | self.map as u8);
        code.push((!self.second & 15) << 3 | 4 | self.prefix as u8);
        code.push(u8::from(self.zeroing) << 7 | self.length << 5 | not(self.second, 4) << 3 | self.mask);
        code.push(self.opcode);
        match &self.operand {
            Operand::Register(r) => code.push(0xc0 | (self.register & 7) << 3 | r & 7),
            Operand::Memory(at, size) => memory(self.register, *at, *size, code),
        }
    }
}

/// The bytes that say where in memory, with a displacement of one byte, in units of `size`, where it fits.
fn memory(register: u8, at: Memory, size: i32, code: &mut Vec<u8>) {
    let short = at.displacement % size == 0 && i8::try_from(at.displacement / size).is_ok();
    let form = if short { 0x40 } else { 0x80 };
    let register = (register & 7) << 3;
    match at.index {
        Some(index) => code.extend([form | register | 4, (index.0 & 7) << 3 | at.base.0 & 7]),
        // The number of rsp and r12 means that an index follows: 4 there is none.
        None if at.base.0 & 7 == 4 => code.extend([form | register | 4, 0x24]),
        None => code.push(form | register | at.base.0 & 7),
    }
    if short {
        code.push((at.displacement / size) as i8 as u8);
    } else {
        code.extend(at.displacement.to_le_bytes());
    }
}

/// Instructions of 16-bit masks; with two sources the length bit is set.
fn of_masks(opcode: u8, to: Mask, first: Option<Mask>, last: u8, code: &mut Vec<u8>) {
    let (second, length) = first.map_or((15, 0), |m| (!m.0 & 15, 4));
    code.extend([0xc5, 0x80 | second << 3 | length, opcode, 0xc0 | to.0 << 3 | last]);
}

fn short(opcode: u8, r: General, code: &mut Vec<u8>) {
    if r.0 > 7 {
        code.push(0x41);
    }
    code.push(opcode | r.0 & 7);
}

/// 64 bits, of two registers or of one and a part of the opcode.
fn general(opcode: u8, register: u8, other: General, code: &mut Vec<u8>) {
    code.extend([0x48 | (register >> 3) << 2 | other.0 >> 3, opcode, 0xc0 | (register & 7) << 3 | other.0 & 7]);
}

fn immediate(operation: u8, to: General, value: i32, code: &mut Vec<u8>) {
    general(0x81, operation, to, code);
    code.extend(value.to_le_bytes());
}

fn jump(condition: u8, by: i32, code: &mut Vec<u8>) {
    code.extend([0x0f, condition]);
    code.extend(by.to_le_bytes());
}
