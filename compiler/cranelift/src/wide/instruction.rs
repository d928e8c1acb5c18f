//! The instructions of wide blocks: AVX-512 (F, VL, DQ) on vectors of 8 or 16 f32, and the few scalar ones around them.
//!
//! Each prints as Intel writes it and encodes to bytes; a test reads the bytes back with a disassembler and compares.
//! Source of the encodings: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, sections 2.3 (VEX) and 2.7 (EVEX).

use std::fmt;

/// A vector register, 0 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector(pub u8);

/// A mask register, 1 to 7: 0 stands for "all lanes" where a mask is optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask(pub u8);

/// A general register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct General(pub u8);

pub const RAX: General = General(0);
pub const RCX: General = General(1);
pub const RDX: General = General(2);
pub const RBX: General = General(3);
pub const RBP: General = General(5);
pub const RSI: General = General(6);
pub const RDI: General = General(7);

/// Lanes of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Eight,
    Sixteen,
}

impl Width {
    pub fn lanes(self) -> i64 {
        match self {
            Width::Eight => 8,
            Width::Sixteen => 16,
        }
    }

    pub fn bytes(self) -> i64 {
        4 * self.lanes()
    }
}

/// `base + index + displacement`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub base: General,
    pub index: Option<General>,
    pub displacement: i32,
}

/// Which lanes a load or store touches: all, or those of a mask; a load gives 0 in the others.
pub type Lanes = Option<Mask>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    /// The second operand where one is NaN or both are zeros.
    Max,
    Min,
    /// Of bits.
    And,
    Xor,
    AddIntegers,
    SubIntegers,
    MulIntegers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predicate {
    Equal,
    Less,
    LessOrEqual,
    /// One of them is NaN.
    Unordered,
    NotEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    NearestEven,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    Load {
        to: Vector,
        at: Memory,
        lanes: Lanes,
    },
    /// Lanes of the mask; the others stay as they are.
    LoadInto {
        to: Vector,
        at: Memory,
        mask: Mask,
    },
    Store {
        at: Memory,
        from: Vector,
        lanes: Lanes,
    },
    /// Brings a line of memory nearer; the address need not exist.
    Prefetch(Memory),
    /// One f32 to all lanes.
    Broadcast {
        to: Vector,
        at: Memory,
    },
    Arithmetic {
        op: Arithmetic,
        to: Vector,
        a: Vector,
        b: Vector,
    },
    /// `to = a * b + to`, one rounding.
    MultiplyAdd {
        to: Vector,
        a: Vector,
        b: Vector,
    },
    Sqrt {
        to: Vector,
        from: Vector,
    },
    Round {
        to: Vector,
        from: Vector,
        rounding: Rounding,
    },
    Compare {
        to: Mask,
        predicate: Predicate,
        a: Vector,
        b: Vector,
    },
    /// Signed.
    CompareIntegers {
        to: Mask,
        predicate: Predicate,
        a: Vector,
        b: Vector,
    },
    Copy {
        to: Vector,
        from: Vector,
    },
    /// `yes` where the mask is set, else `no`.
    Blend {
        to: Vector,
        mask: Mask,
        no: Vector,
        yes: Vector,
    },
    /// `from` where the mask is set, else 0.
    Keep {
        to: Vector,
        mask: Mask,
        from: Vector,
    },
    MaskAnd {
        to: Mask,
        a: Mask,
        b: Mask,
    },
    MaskOr {
        to: Mask,
        a: Mask,
        b: Mask,
    },
    MaskNot {
        to: Mask,
        from: Mask,
    },
    MaskFrom {
        to: Mask,
        from: General,
    },
    /// 16 bits.
    MaskLoad {
        to: Mask,
        at: Memory,
    },
    /// Makes the upper parts of registers 0, which code with narrow vectors expects.
    ZeroUpper,
    Push(General),
    Pop(General),
    /// 32 bits with their sign.
    LoadSigned {
        to: General,
        at: Memory,
    },
    /// 64 bits.
    LoadGeneral {
        to: General,
        at: Memory,
    },
    Move {
        to: General,
        from: General,
    },
    /// 32 bits; the upper ones become 0.
    Set {
        to: General,
        value: i32,
    },
    AddTo {
        to: General,
        value: i32,
    },
    AndWith {
        to: General,
        value: i32,
    },
    ShiftLeft {
        to: General,
        by: u8,
    },
    /// By the low bits of `rcx`.
    ShiftLeftByCount {
        to: General,
    },
    AddGeneral {
        to: General,
        from: General,
    },
    AddFrom {
        to: General,
        at: Memory,
    },
    /// `to = from * value`
    Multiply {
        to: General,
        from: General,
        value: i32,
    },
    /// For what follows.
    CompareWith {
        a: General,
        value: i32,
    },
    /// 32 ones where the last comparison said below, unsigned, else 0.
    OnesIfBelow(General),
    /// For a jump.
    CompareGeneral {
        a: General,
        b: General,
    },
    /// `from` where the last comparison said greater, signed.
    MoveIfGreater {
        to: General,
        from: General,
    },
    /// The flags of a number against 0.
    Test(General),
    /// Forwards or backwards by so many bytes from the end of the instruction.
    JumpIfBelow(i32),
    JumpIfNotBelow(i32),
    JumpIfZero(i32),
    JumpIfNotZero(i32),
    /// Signed.
    JumpIfNotAboveZero(i32),
    JumpIfAboveZero(i32),
    Return,
}

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

struct Evex {
    map: Map,
    prefix: Prefix,
    opcode: u8,
    register: u8,
    second: u8,
    operand: Operand,
    mask: u8,
    zeroing: bool,
    width: Width,
}

impl Instruction {
    /// Appends the bytes.
    pub fn encode(&self, width: Width, code: &mut Vec<u8>) {
        use Instruction as I;
        let vector = |map, prefix, opcode, register: Vector, second: u8, operand| Evex {
            map,
            prefix,
            opcode,
            register: register.0,
            second,
            operand,
            mask: 0,
            zeroing: false,
            width,
        };
        let register = |v: Vector| Operand::Register(v.0);
        let full = width.bytes() as i32;
        match *self {
            I::Load { to, at, lanes } => Evex {
                mask: lanes.map_or(0, |m| m.0),
                zeroing: lanes.is_some(),
                ..vector(Map::X0F, Prefix::None, 0x10, to, 0, Operand::Memory(at, full))
            }
            .encode(code),
            I::LoadInto { to, at, mask } => {
                let plain = vector(Map::X0F, Prefix::None, 0x10, to, 0, Operand::Memory(at, full));
                Evex { mask: mask.0, ..plain }.encode(code);
            }
            I::Store { at, from, lanes } => Evex {
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
                    Arithmetic::Xor => (Map::X0F, Prefix::X66, 0xef),
                    Arithmetic::AddIntegers => (Map::X0F, Prefix::X66, 0xfe),
                    Arithmetic::SubIntegers => (Map::X0F, Prefix::X66, 0xfa),
                    Arithmetic::MulIntegers => (Map::X0F38, Prefix::X66, 0x40),
                };
                vector(map, prefix, opcode, to, a.0, register(b)).encode(code);
            }
            I::MultiplyAdd { to, a, b } => {
                vector(Map::X0F38, Prefix::X66, 0xb8, to, a.0, register(b)).encode(code);
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
            I::Copy { to, from } => vector(Map::X0F, Prefix::None, 0x28, to, 0, register(from)).encode(code),
            I::Blend { to, mask, no, yes } => {
                Evex { mask: mask.0, ..vector(Map::X0F38, Prefix::X66, 0x65, to, no.0, register(yes)) }.encode(code);
            }
            I::Keep { to, mask, from } => {
                let plain = vector(Map::X0F, Prefix::None, 0x28, to, 0, register(from));
                Evex { mask: mask.0, zeroing: true, ..plain }.encode(code);
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
            I::OnesIfBelow(r) => {
                code.extend([0x40 | (r.0 >> 3) << 2 | r.0 >> 3, 0x19, 0xc0 | (r.0 & 7) << 3 | r.0 & 7]);
            }
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

    /// With the names of registers of a width.
    pub fn display(self, width: Width) -> impl fmt::Display {
        Shown(self, width)
    }
}

impl Rounding {
    /// With the bit that keeps the exception flags as they are.
    fn immediate(self) -> u8 {
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

    fn name(self) -> &'static str {
        match self {
            Predicate::Equal => "eq",
            Predicate::Less => "lt",
            Predicate::LessOrEqual => "le",
            Predicate::Unordered => "unord",
            Predicate::NotEqual => "neq",
        }
    }
}

impl Arithmetic {
    fn name(self) -> &'static str {
        match self {
            Arithmetic::Add => "vaddps",
            Arithmetic::Sub => "vsubps",
            Arithmetic::Mul => "vmulps",
            Arithmetic::Div => "vdivps",
            Arithmetic::Max => "vmaxps",
            Arithmetic::Min => "vminps",
            Arithmetic::And => "vpandd",
            Arithmetic::Xor => "vpxord",
            Arithmetic::AddIntegers => "vpaddd",
            Arithmetic::SubIntegers => "vpsubd",
            Arithmetic::MulIntegers => "vpmulld",
        }
    }
}

impl Evex {
    fn encode(&self, code: &mut Vec<u8>) {
        let not = |bits: u8, at: u8| !(bits >> at) & 1;
        // Bits 4 and 3 of the operand: of a register both its own, of an address those of index and base.
        let (x, b) = match &self.operand {
            Operand::Register(r) => (not(*r, 4), not(*r, 3)),
            Operand::Memory(at, _) => (at.index.map_or(1, |i| not(i.0, 3)), not(at.base.0, 3)),
        };
        let length = match self.width {
            Width::Eight => 1,
            Width::Sixteen => 2,
        };
        code.push(0x62);
        code.push(not(self.register, 3) << 7 | x << 6 | b << 5 | not(self.register, 4) << 4 | self.map as u8);
        code.push((!self.second & 15) << 3 | 4 | self.prefix as u8);
        code.push(u8::from(self.zeroing) << 7 | length << 5 | not(self.second, 4) << 3 | self.mask);
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

struct Shown(Instruction, Width);

impl fmt::Display for General {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        const NAMES: [&str; 8] = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];
        match NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "r{}", self.0),
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "[{}", self.base)?;
        if let Some(index) = self.index {
            write!(f, " + {index}")?;
        }
        let hexadecimal = |size: i32| if size > 9 { format!("{size:#x}") } else { size.to_string() };
        match self.displacement {
            0 => {}
            d if d < 0 => write!(f, " - {}", hexadecimal(-d))?,
            d => write!(f, " + {}", hexadecimal(d))?,
        }
        f.write_str("]")
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        use Instruction as I;
        let Shown(instruction, width) = self;
        let (name, word) = match width {
            Width::Eight => ("ymm", "ymmword"),
            Width::Sixteen => ("zmm", "zmmword"),
        };
        let v = |r: Vector| format!("{name}{}", r.0);
        let low = |r: General| match r.to_string() {
            name if r.0 > 7 => format!("{name}d"),
            name => format!("e{}", &name[1..]),
        };
        match *instruction {
            I::Load { to, at, lanes: None } => write!(f, "vmovups {}, {word} ptr {at}", v(to)),
            I::Load { to, at, lanes: Some(m) } => write!(f, "vmovups {} {{{m}}} {{z}}, {word} ptr {at}", v(to)),
            I::LoadInto { to, at, mask } => write!(f, "vmovups {} {{{mask}}}, {word} ptr {at}", v(to)),
            I::Store { at, from, lanes: None } => write!(f, "vmovups {word} ptr {at}, {}", v(from)),
            I::Store { at, from, lanes: Some(m) } => write!(f, "vmovups {word} ptr {at} {{{m}}}, {}", v(from)),
            I::Prefetch(at) => write!(f, "prefetcht0 byte ptr {at}"),
            I::Broadcast { to, at } => write!(f, "vbroadcastss {}, dword ptr {at}", v(to)),
            I::Arithmetic { op, to, a, b } => write!(f, "{} {}, {}, {}", op.name(), v(to), v(a), v(b)),
            I::MultiplyAdd { to, a, b } => write!(f, "vfmadd231ps {}, {}, {}", v(to), v(a), v(b)),
            I::Sqrt { to, from } => write!(f, "vsqrtps {}, {}", v(to), v(from)),
            I::Round { to, from, rounding } => {
                write!(f, "vrndscaleps {}, {}, {}", v(to), v(from), rounding.immediate())
            }
            I::Compare { to, predicate, a, b } => write!(f, "vcmp{}ps {to}, {}, {}", predicate.name(), v(a), v(b)),
            I::CompareIntegers { to, predicate, a, b } => {
                write!(f, "vpcmp{}d {to}, {}, {}", predicate.name(), v(a), v(b))
            }
            I::Copy { to, from } => write!(f, "vmovaps {}, {}", v(to), v(from)),
            I::Blend { to, mask, no, yes } => write!(f, "vblendmps {} {{{mask}}}, {}, {}", v(to), v(no), v(yes)),
            I::Keep { to, mask, from } => write!(f, "vmovaps {} {{{mask}}} {{z}}, {}", v(to), v(from)),
            I::MaskAnd { to, a, b } => write!(f, "kandw {to}, {a}, {b}"),
            I::MaskOr { to, a, b } => write!(f, "korw {to}, {a}, {b}"),
            I::MaskNot { to, from } => write!(f, "knotw {to}, {from}"),
            I::MaskFrom { to, from } => write!(f, "kmovw {to}, {}", low(from)),
            I::MaskLoad { to, at } => write!(f, "kmovw {to}, word ptr {at}"),
            I::ZeroUpper => f.write_str("vzeroupper"),
            I::Push(r) => write!(f, "push {r}"),
            I::Pop(r) => write!(f, "pop {r}"),
            I::LoadGeneral { to, at } => write!(f, "mov {to}, qword ptr {at}"),
            I::LoadSigned { to, at } => write!(f, "movsxd {to}, dword ptr {at}"),
            I::AddGeneral { to, from } => write!(f, "add {to}, {from}"),
            I::AddFrom { to, at } => write!(f, "add {to}, qword ptr {at}"),
            I::Multiply { to, from, value } => write!(f, "imul {to}, {from}, {value}"),
            I::CompareWith { a, value } => write!(f, "cmp {a}, {value}"),
            I::OnesIfBelow(r) => write!(f, "sbb {}, {}", low(r), low(r)),
            I::Move { to, from } => write!(f, "mov {to}, {from}"),
            I::Set { to, value } => write!(f, "mov {}, {value}", low(to)),
            I::AddTo { to, value } => write!(f, "add {to}, {value}"),
            I::AndWith { to, value } => write!(f, "and {to}, {value}"),
            I::ShiftLeft { to, by } => write!(f, "shl {to}, {by}"),
            I::ShiftLeftByCount { to } => write!(f, "shl {to}, cl"),
            I::MoveIfGreater { to, from } => write!(f, "cmovg {to}, {from}"),
            I::Test(r) => write!(f, "test {r}, {r}"),
            I::CompareGeneral { a, b } => write!(f, "cmp {a}, {b}"),
            I::JumpIfBelow(by) => write!(f, "jb {by:+}"),
            I::JumpIfNotBelow(by) => write!(f, "jae {by:+}"),
            I::JumpIfZero(by) => write!(f, "je {by:+}"),
            I::JumpIfNotZero(by) => write!(f, "jne {by:+}"),
            I::JumpIfNotAboveZero(by) => write!(f, "jle {by:+}"),
            I::JumpIfAboveZero(by) => write!(f, "jg {by:+}"),
            I::Return => f.write_str("ret"),
        }
    }
}
