//! What an instruction is, once its text is understood.

/// Types in instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Pred,
    B16,
    U32,
    S32,
    U64,
    S64,
    F32,
    F64,
}

impl Type {
    pub fn bytes(self) -> usize {
        match self {
            Type::Pred => 1,
            Type::B16 => 2,
            Type::U32 | Type::S32 | Type::F32 => 4,
            Type::U64 | Type::S64 | Type::F64 => 8,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    Register(u32),
    /// Bits of the instruction's type.
    Number(u64),
    Special(Special),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    Thread,
    BlockX,
    BlockY,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Global,
    Shared,
    Parameter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    MulHigh,
    /// 32 bits times 32 bits to 64.
    MulWide,
    Div,
    Rem,
    Min,
    Max,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Neg,
    Abs,
    Sqrt,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Not equal, or not comparable.
    NotEqualUnordered,
    /// Either is no number.
    NotNumber,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    And,
    Or,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    None,
    Nearest,
    /// To an integer: nearest, down, towards zero.
    ToNearest,
    Down,
    ToZero,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    Butterfly,
    Index,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Move {
        to: u32,
        from: Operand,
    },
    /// A 64-bit register in two halves, and back.
    Split {
        low: u32,
        high: u32,
        from: Operand,
    },
    Pair {
        to: u32,
        low: Operand,
        high: Operand,
    },
    Load {
        space: Space,
        bytes: usize,
        to: Vec<u32>,
        base: Operand,
        offset: i64,
    },
    Store {
        space: Space,
        bytes: usize,
        from: Vec<Operand>,
        base: Operand,
        offset: i64,
    },
    Unary {
        op: Unary,
        ty: Type,
        to: u32,
        a: Operand,
    },
    Binary {
        op: Binary,
        ty: Type,
        to: u32,
        a: Operand,
        b: Operand,
    },
    /// `a * b + c`: reals with one rounding, integers in their width; `wide` as in [`Binary::MulWide`].
    MultiplyAdd {
        ty: Type,
        wide: bool,
        to: u32,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    SetPredicate {
        compare: Compare,
        ty: Type,
        to: u32,
        a: Operand,
        b: Operand,
        join: Option<(Join, Operand)>,
    },
    Select {
        to: u32,
        a: Operand,
        b: Operand,
        condition: Operand,
    },
    Convert {
        rounding: Rounding,
        to_type: Type,
        from_type: Type,
        to: u32,
        a: Operand,
    },
    Branch {
        to: usize,
    },
    Return,
    /// Of the block.
    Barrier,
    /// Of the warp.
    WarpBarrier,
    Shuffle {
        exchange: Exchange,
        to: u32,
        a: Operand,
        which: Operand,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Only where this register is true (or false).
    pub guard: Option<(u32, bool)>,
    pub op: Op,
    pub line: usize,
}

/// A function that can be launched.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: String,
    pub version: (u32, u32),
    pub target: u32,
    /// All are of 64 bits.
    pub parameters: Vec<String>,
    pub code: Vec<Instruction>,
    pub registers: usize,
    /// Bytes of shared memory.
    pub shared: usize,
    /// Threads a block at most.
    pub threads: u32,
}
