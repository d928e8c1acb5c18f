//! The instructions of wide blocks: AVX-512 (F, VL) or AVX2 with FMA on vectors of 8 or 16 f32, and the few scalar ones around them.
//!
//! Each prints (`print`) and encodes to bytes (`encode`); a test reads the bytes back with a disassembler and compares.

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

/// Which registers vectors lie in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vectors {
    /// AVX-512: 32 registers of 512 bits, truth values in masks.
    #[default]
    Zmm,
    /// AVX-512: 32 registers of 256 bits, truth values in masks.
    Ymm,
    /// AVX2: 16 registers of 256 bits, truth values in them, all ones or 0.
    YmmAvx2,
}

impl Vectors {
    pub fn lanes(self) -> i64 {
        match self {
            Vectors::Zmm => 16,
            Vectors::Ymm | Vectors::YmmAvx2 => 8,
        }
    }

    pub fn bytes(self) -> i64 {
        4 * self.lanes()
    }

    pub fn registers(self) -> u8 {
        match self {
            Vectors::Zmm | Vectors::Ymm => 32,
            Vectors::YmmAvx2 => 16,
        }
    }

    pub fn has_masks(self) -> bool {
        match self {
            Vectors::Zmm | Vectors::Ymm => true,
            Vectors::YmmAvx2 => false,
        }
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
    Or,
    Xor,
    AddIntegers,
    SubIntegers,
    MulIntegers,
}

/// A product and a sum, rounded once; `to` is one of the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fused {
    /// `to = a * b + to`
    ProductToSum,
    /// `to = a * to + b`
    SumToProduct,
    /// `to = to - a * b`
    ProductFromSum,
    /// `to = b - a * to`
    SumLessProduct,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    Left,
    Right,
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
    /// Lanes whose sign bit is set in `mask`; the others become 0.
    LoadBy {
        to: Vector,
        at: Memory,
        mask: Vector,
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
    /// One rounding.
    Fused {
        form: Fused,
        to: Vector,
        a: Vector,
        b: Vector,
    },
    /// Of each lane, by so many bits, with zeros.
    Shift {
        to: Vector,
        from: Vector,
        shift: Shift,
        by: u8,
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
    /// All ones where it holds.
    CompareLanes {
        to: Vector,
        predicate: Predicate,
        a: Vector,
        b: Vector,
    },
    EqualIntegers {
        to: Vector,
        a: Vector,
        b: Vector,
    },
    /// Signed.
    GreaterIntegers {
        to: Vector,
        a: Vector,
        b: Vector,
    },
    /// `yes` where the sign bit of `mask` is set, else `no`.
    BlendBy {
        to: Vector,
        mask: Vector,
        no: Vector,
        yes: Vector,
    },
    /// 32 bits to the lowest lane.
    ToLowest {
        to: Vector,
        from: General,
    },
    /// The lowest lane to all.
    SpreadLowest {
        to: Vector,
        from: Vector,
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
    AndGeneral {
        to: General,
        from: General,
    },
    /// 64 ones where the last comparison said below, unsigned, else 0.
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
