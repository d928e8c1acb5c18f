//! Instructions as a disassembler writes them, in Intel's syntax.

use super::instruction::{Arithmetic, Fused, General, Instruction, Mask, Memory, Predicate, Shift, Vector, Vectors};
use std::fmt;

impl Instruction {
    /// With the names of these registers.
    pub fn display(self, vectors: Vectors) -> impl fmt::Display {
        Shown(self, vectors)
    }
}

impl Fused {
    fn name(self) -> &'static str {
        match self {
            Fused::SumToProduct => "vfmadd213ps",
            Fused::ProductToSum => "vfmadd231ps",
            Fused::SumLessProduct => "vfnmadd213ps",
            Fused::ProductFromSum => "vfnmadd231ps",
        }
    }
}

impl Shift {
    fn name(self) -> &'static str {
        match self {
            Shift::Left => "vpslld",
            Shift::Right => "vpsrld",
        }
    }
}

impl Predicate {
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
            Arithmetic::Or => "vpord",
            Arithmetic::Xor => "vpxord",
            Arithmetic::AddIntegers => "vpaddd",
            Arithmetic::SubIntegers => "vpsubd",
            Arithmetic::MulIntegers => "vpmulld",
        }
    }
}

struct Shown(Instruction, Vectors);

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
        let Shown(instruction, vectors) = self;
        let (name, word) = match vectors {
            Vectors::Ymm | Vectors::YmmAvx2 => ("ymm", "ymmword"),
            Vectors::Zmm => ("zmm", "zmmword"),
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
            I::LoadBy { to, at, mask } => write!(f, "vmaskmovps {}, {}, {word} ptr {at}", v(to), v(mask)),
            I::Store { at, from, lanes: None } => write!(f, "vmovups {word} ptr {at}, {}", v(from)),
            I::Store { at, from, lanes: Some(m) } => write!(f, "vmovups {word} ptr {at} {{{m}}}, {}", v(from)),
            I::Prefetch(at) => write!(f, "prefetcht0 byte ptr {at}"),
            I::Broadcast { to, at } => write!(f, "vbroadcastss {}, dword ptr {at}", v(to)),
            I::Arithmetic { op, to, a, b } => {
                // Those on bits have a size only beside masks.
                let name = op.name();
                let name = if vectors.has_masks() { name } else { name.strip_suffix(of_bits(op)).unwrap_or(name) };
                write!(f, "{name} {}, {}, {}", v(to), v(a), v(b))
            }
            I::Fused { form, to, a, b } => write!(f, "{} {}, {}, {}", form.name(), v(to), v(a), v(b)),
            I::Shift { to, from, shift, by } => write!(f, "{} {}, {}, {by}", shift.name(), v(to), v(from)),
            I::Sqrt { to, from } => write!(f, "vsqrtps {}, {}", v(to), v(from)),
            I::Round { to, from, rounding } => {
                let name = if vectors.has_masks() { "vrndscaleps" } else { "vroundps" };
                write!(f, "{name} {}, {}, {}", v(to), v(from), rounding.immediate())
            }
            I::Compare { to, predicate, a, b } => write!(f, "vcmp{}ps {to}, {}, {}", predicate.name(), v(a), v(b)),
            I::CompareIntegers { to, predicate, a, b } => {
                write!(f, "vpcmp{}d {to}, {}, {}", predicate.name(), v(a), v(b))
            }
            I::CompareLanes { to, predicate, a, b } => {
                write!(f, "vcmp{}ps {}, {}, {}", predicate.name(), v(to), v(a), v(b))
            }
            I::EqualIntegers { to, a, b } => write!(f, "vpcmpeqd {}, {}, {}", v(to), v(a), v(b)),
            I::GreaterIntegers { to, a, b } => write!(f, "vpcmpgtd {}, {}, {}", v(to), v(a), v(b)),
            I::BlendBy { to, mask, no, yes } => {
                write!(f, "vblendvps {}, {}, {}, {}", v(to), v(no), v(yes), v(mask))
            }
            I::ToLowest { to, from } => write!(f, "vmovd xmm{}, {}", to.0, low(from)),
            I::SpreadLowest { to, from } => write!(f, "vpbroadcastd {}, xmm{}", v(to), from.0),
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
            I::AndGeneral { to, from } => write!(f, "and {to}, {from}"),
            I::OnesIfBelow(r) => write!(f, "sbb {r}, {r}"),
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

/// What ends the name of an operation on bits beside masks.
fn of_bits(op: Arithmetic) -> &'static str {
    match op {
        Arithmetic::And | Arithmetic::Or | Arithmetic::Xor => "d",
        Arithmetic::Add
        | Arithmetic::Sub
        | Arithmetic::Mul
        | Arithmetic::Div
        | Arithmetic::Max
        | Arithmetic::Min
        | Arithmetic::AddIntegers
        | Arithmetic::SubIntegers
        | Arithmetic::MulIntegers => "",
    }
}
