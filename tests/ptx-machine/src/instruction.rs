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

/// Registers of one width, which are numbered by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Of 32 bits; those of 16 as well.
    Word,
    /// Of 64 bits.
    Long,
    Truth,
}

impl Type {
    pub fn class(self) -> Class {
        match self {
            Type::Pred => Class::Truth,
            Type::B16 | Type::U32 | Type::S32 | Type::F32 => Class::Word,
            Type::U64 | Type::S64 | Type::F64 => Class::Long,
        }
    }
}

/// A register of the class that the instruction's type has. Numbers and special registers that a text reads are registers too, behind the declared
/// ones: see [`Function::words`].
pub type Register = u32;

/// The register of an address: addresses of shared memory fit both widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    Word(Register),
    Long(Register),
}

/// What stands in a register that nobody writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Constant {
    Number(u64),
    Special(Special),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// What one lane does by itself, or a warp together.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Compute(Compute),
    Transfer(Transfer),
    Branch {
        to: usize,
    },
    Return,
    /// Of the block.
    Barrier,
    Collective(Collective),
    OfWarpgroup(OfWarpgroup),
}

/// What changes nothing but registers.
#[derive(Clone, Debug, PartialEq)]
pub enum Compute {
    Move {
        class: Class,
        to: Register,
        from: Register,
    },
    /// A register of twice `bits` in two halves, and back: of 16 bits from a word, of 32 from a long one.
    Split {
        bits: u32,
        low: Register,
        high: Register,
        from: Register,
    },
    Pair {
        bits: u32,
        to: Register,
        low: Register,
        high: Register,
    },
    /// The parameter of this number.
    Parameter {
        to: Register,
        number: usize,
    },
    Unary {
        op: Unary,
        ty: Type,
        to: Register,
        a: Register,
    },
    /// `b` of a shift is a word; the result of [`Binary::MulWide`] is long.
    Binary {
        op: Binary,
        ty: Type,
        to: Register,
        a: Register,
        b: Register,
    },
    /// `a * b + c`: reals with one rounding, integers in their width; `wide` as in [`Binary::MulWide`].
    MultiplyAdd {
        ty: Type,
        wide: bool,
        to: Register,
        a: Register,
        b: Register,
        c: Register,
    },
    SetPredicate {
        compare: Compare,
        ty: Type,
        to: Register,
        a: Register,
        b: Register,
        /// With another truth value, or its opposite.
        join: Option<(Join, Register, bool)>,
    },
    Select {
        class: Class,
        to: Register,
        a: Register,
        b: Register,
        condition: Register,
    },
    Convert {
        rounding: Rounding,
        to_type: Type,
        from_type: Type,
        to: Register,
        a: Register,
    },
    /// Of an f32 to the nearest tf32, ties away from zero.
    ToTf32 {
        to: Register,
        a: Register,
    },
    /// Of an f32 to the nearest bf16, ties to even; of two to a pair.
    ToBf16 {
        to: Register,
        high: Option<Register>,
        low: Register,
    },
    /// Four of the eight bytes of `b` and `a`, as the nibbles of `choice` say.
    Permute {
        to: Register,
        a: Register,
        b: Register,
        choice: Register,
    },
    /// Bit by bit, any function of three bits by its table.
    Logic {
        to: Register,
        a: Register,
        b: Register,
        c: Register,
        table: u8,
    },
}

/// What reads memory or changes it, and what orders that.
#[derive(Clone, Debug, PartialEq)]
pub enum Transfer {
    Load {
        space: Space,
        /// Nobody writes there in this launch.
        constant: bool,
        bytes: usize,
        to: Vec<Register>,
        base: Base,
        offset: i64,
    },
    Store {
        space: Space,
        bytes: usize,
        from: Vec<Register>,
        base: Base,
        offset: i64,
    },
    /// An asynchronous copy of `filled` of `bytes` bytes from global to shared memory; the rest become zero.
    Copy {
        bytes: usize,
        to: (Base, i64),
        from: (Base, i64),
        filled: Register,
    },
    /// The thread's copies since the last such instruction become a group.
    CommitCopies,
    /// Until at most this many groups are left; without a number until all copies are over.
    AwaitCopies {
        left: Option<usize>,
    },
    /// What the thread wrote before is seen by whoever learns, by an atomic operation behind it, that the thread has come so far.
    Fence,
    /// What the thread wrote to shared memory before is seen by tensor cores that are asked behind a barrier.
    ProxyFence,
    /// `to = memory; memory = memory >= most ? 0 : memory + 1`, of 32 bits in global memory, as one.
    AtomicIncrement {
        to: Register,
        base: Base,
        offset: i64,
        most: Register,
    },
}

/// What the four warps of a warpgroup do together.
#[derive(Clone, Debug, PartialEq)]
pub enum OfWarpgroup {
    /// Sums that were written are told to tensor cores.
    Fence,
    /// `sums += a * b` of matrices in shared memory, from now on; `sums = a * b` where `adds` is false.
    Multiply { factor: Factor, sums: Vec<Register>, a: Register, b: Register, adds: Register },
    /// The products since the last such instruction become a group.
    Commit,
    /// Until at most this many groups are left.
    Await { left: usize },
}

/// What the lanes of a warp do together, on words.
#[derive(Clone, Debug, PartialEq)]
pub enum Collective {
    Barrier,
    Shuffle {
        exchange: Exchange,
        to: Register,
        a: Register,
        which: Register,
    },
    /// Of all lanes of the warp.
    Reduce {
        op: Binary,
        ty: Type,
        to: Register,
        a: Register,
    },
    /// `d = a * b + c` of the warp's fragments.
    MultiplyMatrices {
        factor: Factor,
        d: [Register; 4],
        a: [Register; 4],
        b: [Register; 2],
        c: [Register; 4],
    },
    /// As many matrices of 8 x 8 elements of 16 bits as registers, from shared memory.
    LoadMatrices {
        transposed: bool,
        to: Vec<Register>,
        base: Base,
        offset: i64,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Only where this register is true (or false).
    pub guard: Option<(Register, bool)>,
    pub op: Op,
    pub line: usize,
}

/// The registers of one class: those that are declared, and behind them what nobody writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    pub declared: usize,
    pub constants: Vec<Constant>,
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
    pub words: Declared,
    pub longs: Declared,
    pub truths: usize,
    /// Bytes of shared memory that the text declares.
    pub shared: usize,
    /// Is there a name for shared memory whose size the launch says?
    pub has_dynamic_shared: bool,
    /// Of that name's address.
    pub dynamic_alignment: usize,
    /// Threads a block at most.
    pub threads: u32,
    /// Are there products that go on meanwhile (`wgmma`)?
    pub has_products: bool,
}
