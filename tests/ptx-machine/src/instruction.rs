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
    Lane,
    BlockX,
    BlockY,
    BlockZ,
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
    /// The upper half of the product.
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
    Xor,
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
    Down,
    Up,
    Index,
}

/// The numbers whose products tensor cores sum, and with them the shape: m16n8k8 of tf32, m16n8k16 of bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    Tf32,
    Bf16,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Move {
        to: u32,
        from: Operand,
    },
    /// A register of twice `bits` in two halves, and back.
    Split {
        bits: u32,
        low: u32,
        high: u32,
        from: Operand,
    },
    Pair {
        bits: u32,
        to: u32,
        low: Operand,
        high: Operand,
    },
    Load {
        space: Space,
        /// Nobody writes there in this launch.
        constant: bool,
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
        /// With another truth value, or its opposite.
        join: Option<(Join, Operand, bool)>,
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
    /// Of an f32 to the nearest tf32, ties away from zero.
    ToTf32 {
        to: u32,
        a: Operand,
    },
    /// Of an f32 to the nearest bf16, ties to even; of two to a pair.
    ToBf16 {
        to: u32,
        high: Option<Operand>,
        low: Operand,
    },
    /// Four of the eight bytes of `b` and `a`, as the nibbles of `choice` say.
    Permute {
        to: u32,
        a: Operand,
        b: Operand,
        choice: Operand,
    },
    /// Bit by bit, any function of three bits by its table.
    Logic {
        to: u32,
        a: Operand,
        b: Operand,
        c: Operand,
        table: u8,
    },
    /// An asynchronous copy of `filled` of `bytes` bytes from global to shared memory; the rest become zero.
    Copy {
        bytes: usize,
        to: (Operand, i64),
        from: (Operand, i64),
        filled: Operand,
    },
    /// The thread's copies since the last such instruction become a group.
    CommitCopies,
    /// Until at most this many groups are left; without a number until all copies are over.
    AwaitCopies {
        left: Option<usize>,
    },
    /// What the thread wrote before is seen by whoever learns, by an atomic operation behind it, that the thread has come so far.
    Fence,
    /// `to = memory; memory = memory >= most ? 0 : memory + 1`, of 32 bits in global memory, as one.
    AtomicIncrement {
        to: u32,
        base: Operand,
        offset: i64,
        most: Operand,
    },
    Branch {
        to: usize,
    },
    Return,
    /// Of the block.
    Barrier,
    Collective(Collective),
    OfWarpgroup(OfWarpgroup),
    /// What the thread wrote to shared memory before is seen by tensor cores that are asked behind a barrier.
    ProxyFence,
}

/// What the four warps of a warpgroup do together.
#[derive(Clone, Debug, PartialEq)]
pub enum OfWarpgroup {
    /// Sums that were written are told to tensor cores.
    Fence,
    /// `sums += a * b` of matrices in shared memory, from now on; `sums = a * b` where `adds` is false.
    Multiply { factor: Factor, sums: Vec<u32>, a: Operand, b: Operand, adds: Operand },
    /// The products since the last such instruction become a group.
    Commit,
    /// Until at most this many groups are left.
    Await { left: usize },
}

/// What the lanes of a warp do together.
#[derive(Clone, Debug, PartialEq)]
pub enum Collective {
    Barrier,
    Shuffle {
        exchange: Exchange,
        to: u32,
        a: Operand,
        which: Operand,
    },
    /// Of all lanes of the warp.
    Reduce {
        op: Binary,
        ty: Type,
        to: u32,
        a: Operand,
    },
    /// `d = a * b + c` of the warp's fragments.
    MultiplyMatrices {
        factor: Factor,
        d: [u32; 4],
        a: [u32; 4],
        b: [u32; 2],
        c: [Operand; 4],
    },
    /// As many matrices of 8 x 8 elements of 16 bits as registers, from shared memory.
    LoadMatrices {
        transposed: bool,
        to: Vec<u32>,
        base: Operand,
        offset: i64,
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
    /// For no other processor than that.
    pub only: bool,
    /// All are of 64 bits.
    pub parameters: Vec<String>,
    pub code: Vec<Instruction>,
    pub registers: usize,
    /// Bytes of shared memory that the text declares.
    pub shared: usize,
    /// Is there a name for shared memory whose size the launch says?
    pub has_dynamic_shared: bool,
    /// Of that name's address.
    pub dynamic_alignment: usize,
    /// Threads a block at most.
    pub threads: u32,
}
