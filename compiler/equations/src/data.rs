//! The data type of the IR: plain data, no behaviour.
//!
//! A convolution `y[t, f] = sum[k, c] x[t + k, c] * w[k, c, f]` is one [`Equation`] with one [`Piece`]: free indices `t f`, bound
//! indices `k c`, body `Binary(Mul, Read(x, [t + k, c]), Read(w, [k, c, f]))`.
//!
//! Before `batch` a program speaks of one example; after it every per-example tensor has a leading axis `B` and every equation
//! that computes one has a leading free index over it. Sizes are [`Dim`]s; a name in a `Dim` is declared in [`Program::sizes`].
//!
//! # Whose size
//! An index whose range is exactly the size [`BATCH`] is a *batch index*. Before batching such an index runs over the other examples
//! (`other in batch`): bound by a reduction over the batch, or free in a tensor that has one value for each of them. The *main* batch
//! index of a piece is its first free one, or else its first bound one. A per-example size name such as `T` in an affine form, a number
//! or an index range without `example` is that of the main batch index; before batching, in a piece without a batch index, it is that
//! of the example at hand.
//!
//! # Stopping gradients
//! `freeze(x)` is [`UnaryOp::Freeze`]: the identity for values, without derivative. It stays until every differentiation is done;
//! `simplify` (its last pass, `thaw`) removes it, so schedules never see one.

use bdl_dims::Dim;
use std::sync::Arc;

pub type Name = Arc<str>;

/// The name of the number of examples in a batch. Declared in [`Program::sizes`] (kind [`SizeKind::Batch`]) by every batched program
/// and by unbatched programs that reduce over the batch.
pub const BATCH: &str = "B";

/// The place of the example at hand in the batch, as a size of the example: before batching only, in subscripts along an axis over the batch.
/// `e@o[self, s]` reads a tensor e of example o that has one value for each example (and each position of its own) at the example at hand.
pub const SELF: &str = "self";

/// A named list of nodes over tensors, in an order in which every tensor is computed before it is read. Programs of one model
/// (`init`, `step`, `eval`, `predict`) share parameters and state by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub name: Name,
    pub sizes: Vec<SizeName>,
    /// Indexed by [`TensorId`]. Names are unique.
    pub tensors: Vec<Tensor>,
    pub nodes: Vec<Node>,
    /// What the caller reads afterwards, by name.
    pub outputs: Vec<(Name, TensorId)>,
    /// `(parameter or state, its new value)`; all take effect together, after the last node.
    pub updates: Vec<(TensorId, TensorId)>,
}

/// A size that is not a number yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeName {
    pub name: Name,
    pub kind: SizeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SizeKind {
    /// One number for the whole model, folded once it is known (symbolic only under `bdl check` without data).
    Built,
    /// The number of examples in the batch.
    Batch,
    /// Belongs to the example: `T` in a batched program means `T[b]`, the size of the example that the free batch index names.
    PerExample,
    /// The step number of the enclosing [`Scan`], a number in `0..extent` inside its body.
    Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub u32);

#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: Name,
    pub dtype: DType,
    pub shape: Vec<Dim>,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// The working precision: f32 unless `--precision` says otherwise. Products are accumulated in it.
    Real,
    F32,
    /// What meets it in arithmetic is converted first ([`UnaryOp::ToF64`]); nothing is converted in silence.
    F64,
    /// Reals of 8 binary digits; in arithmetic they are of the working precision. What is stored as one is rounded before ([`UnaryOp::ToBf16`]).
    BF16,
    /// Integers: categories, letters, indices, counts of things.
    I32,
    Bool,
}

/// Where a tensor's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A field of the data, one value an example (gets the batch axis), or a number that the trainer supplies.
    Input {
        per_example: bool,
        /// The data says that it is letters or classes as rows with a single 1. That decides how convolutions of it are computed, never what they mean: a
        /// row may hold anything.
        one_hot: bool,
    },
    /// Trained. Shared by all examples.
    Param,
    /// Carried from step to step (running statistics, optimiser moments). Shared by all examples.
    State,
    /// Written by exactly one node.
    Computed,
}

/// Where in the user's file a node came from, also after differentiation. `what` reads as in "gradient of the product at line 7".
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Origin {
    pub file: u32,
    pub start: u32,
    pub end: u32,
    pub what: Option<Name>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Equation(Equation),
    Scan(Scan),
    Iterate(Iterate),
    Draw(Draw),
    View(View),
    Sort(Sort),
    Literal(Literal),
    Library(Library),
}

// ------------------------------------------------------------------------------------------------ equations

/// `out[at] = monoid[bound | filter] body`, in disjoint pieces. What no piece covers is 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Equation {
    pub out: TensorId,
    pub pieces: Vec<Piece>,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The free indices first (`0..free`), then the bound ones in the order in which they are reduced, outermost first.
    pub indices: Vec<Index>,
    pub free: usize,
    /// Subscripts of the output: affine and injective in the free indices. Usually just the free indices in order.
    pub at: Vec<Affine>,
    /// How the values at the points of the bound indices are combined. Irrelevant when nothing is bound.
    pub monoid: Monoid,
    /// Only points where all of these hold take part. With nothing bound, an output element whose filter fails is 0.
    pub filter: Vec<Condition>,
    pub body: Expr,
    /// The value where no point takes part; `None` is the monoid's identity (sum 0, prod 1, any false, all true; max -inf, min +inf).
    pub empty: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    /// Unique in its piece.
    pub name: Name,
    /// Runs over `0..range`.
    pub range: Dim,
    /// Whose size a per-example name in `range` is: a batch index of the same piece. `None` is the main batch index (see the module).
    /// Before batching a reduction such as `sum[o in batch, t] o.x[t]` says `Some(o)` at `t`.
    pub example: Option<IndexId>,
}

/// An index of the enclosing piece, by position in [`Piece::indices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexId(pub u32);

/// `sum of coefficient * index + offset`. Terms are sorted by index, without zeros. The offset may name sizes (and scan steps).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Affine {
    pub terms: Vec<(IndexId, i64)>,
    pub offset: Dim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Monoid {
    Sum,
    Prod,
    /// NaN is passed on.
    Max,
    Min,
    /// The value of bound index number `.0` (counted from the first bound one) at the first largest point, in reduction order.
    ArgMax(u32),
    ArgMin(u32),
    Any,
    All,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// An affine form `>= 0`: the domain is a box cut by these.
    NonNegative(Affine),
    /// An affine form equal to data (`dst[e] == v`): executed as a segment reduction over keys sorted once a batch.
    Equal(Affine, Expr),
    /// Anything else: a Boolean expression.
    Holds(Expr),
}

/// A scalar expression at one point of the indices.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Const(f64),
    /// An affine form of indices and sizes as a number.
    Number(Affine),
    Read(Read),
    Unary(UnaryOp, Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// Boolean.
    Compare(CompareOp, Box<Expr>, Box<Expr>),
    /// `if .0 then .1 else .2`; the branch not taken contributes neither value nor gradient (never `0 * inf`).
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
}

/// `tensor[subs]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub tensor: TensorId,
    pub subs: Vec<Sub>,
    /// The value when a subscript leaves the tensor. `None` promises that none does; the verifier and interpreter hold it to that.
    pub otherwise: Option<f64>,
    /// Before batching: which batch index (over the other examples) names the example that is read; `None` is the example at hand.
    /// After batching it is always `None`: the first subscript says it.
    pub example: Option<IndexId>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Sub {
    Affine(Affine),
    /// An integer-valued expression, e.g. a read of `I32` data (a gather), or `mod` and `clamp` of an affine form.
    Data(Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    Neg,
    Not,
    Exp,
    Expm1,
    Log,
    Log1p,
    Sqrt,
    Tanh,
    Sigmoid,
    /// log(1 + exp x), without overflow.
    Softplus,
    Erf,
    Sin,
    Cos,
    Abs,
    Floor,
    /// Half to even.
    Round,
    /// -1, 0 or 1.
    Sign,
    Lgamma,
    Digamma,
    Trigamma,
    /// To the working precision: from an integer, a truth value (false 0, true 1) or an `F64`, which is rounded.
    ToReal,
    /// To `F64`, whatever the working precision.
    ToF64,
    /// A real of the working precision as the nearest `BF16`, half to even, by way of f32: what a store in a tensor of that type keeps. NaN
    /// stays NaN, what is too large becomes infinite.
    ToBf16,
    /// To an integer, towards minus infinity.
    ToInt,
    /// The value itself, through which no gradient flows. Gone after `simplify::thaw`.
    Freeze,
}

impl UnaryOp {
    /// Does it take many instructions, so that computing it once and keeping the result pays?
    pub fn is_costly(self) -> bool {
        match self {
            UnaryOp::Neg
            | UnaryOp::Not
            | UnaryOp::Abs
            | UnaryOp::Floor
            | UnaryOp::Round
            | UnaryOp::Sign
            | UnaryOp::ToReal
            | UnaryOp::ToF64
            | UnaryOp::ToBf16
            | UnaryOp::ToInt
            | UnaryOp::Freeze => false,
            UnaryOp::Exp
            | UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log1p
            | UnaryOp::Sqrt
            | UnaryOp::Tanh
            | UnaryOp::Sigmoid
            | UnaryOp::Softplus
            | UnaryOp::Erf
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Lgamma
            | UnaryOp::Digamma
            | UnaryOp::Trigamma => true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    /// Integer division towards minus infinity (also of reals: the floor of the quotient).
    FloorDiv,
    /// `a - b * floordiv(a, b)`: the sign of b.
    Rem,
    Pow,
    /// A tie goes to the first; NaN is passed on.
    Min,
    Max,
    And,
    Or,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

// ------------------------------------------------------------------------------------------------ other nodes

/// A recurrence: `carried` values go from step to step while `body` runs `extent` times.
/// Inside `body` the size name `step` is the step number (also when reversed: it then counts down).
/// When `extent` belongs to the example, each example runs its own steps (number `t` while `t < extent`): its carried values rest
/// outside them, and a reduction over the batch in the body takes only the examples that run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    pub step: Name,
    pub extent: Dim,
    pub reversed: bool,
    pub carried: Vec<Carried>,
    /// Nodes of one step. The tensors they define live in [`Program::tensors`] and exist per step.
    pub body: Vec<Node>,
    /// `(tensor of the body, tensor outside)`: outside\[step, ..\] = its value at that step. The tensor of the body may be a carried
    /// value (`inside`). In a batched program a per-example one is stacked behind its batch axis: outside\[b, step, ..\].
    pub stacks: Vec<(TensorId, TensorId)>,
    /// The adjoint keeps the carried values of every so many steps only and computes the rest again, and nothing is stored for all steps in
    /// front of the loop. (A loop whose body draws, and a loop without derivative, keeps every step's.)
    pub checkpoint: Option<Dim>,
    /// Where it ends before `extent`, data permitting.
    pub ends: Option<Ends>,
    pub origin: Origin,
}

/// Where a loop ends before its extent, for all examples together. Stacks of steps that are not run hold 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ends {
    /// After the first step at which `until` (a Boolean of the body) holds for all examples that run: from that step on no carried value
    /// changes. `steps` (I32, a scalar outside) is the number of steps before it.
    When { until: TensorId, steps: TensorId },
    /// Only steps below this number (I32, a scalar computed outside) are run.
    After(TensorId),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// Start value, computed outside.
    pub start: TensorId,
    /// What the body reads.
    pub inside: TensorId,
    /// What the body computes for the next step.
    pub next: TensorId,
    /// The value after the last step, outside.
    pub last: TensorId,
}

/// The bounded while loop: `body` runs until `until` (a Boolean of the carried values) holds, at most `at_most` times.
#[derive(Clone, Debug, PartialEq)]
pub struct Iterate {
    pub step: Name,
    pub at_most: Dim,
    pub carried: Vec<Carried>,
    /// Computes the stop condition from the carried values, before each step.
    pub condition: Vec<Node>,
    pub until: TensorId,
    pub body: Vec<Node>,
    pub origin: Origin,
}

/// Random numbers: the value at an index is a function of seed, step, `site`, the example's position in the epoch and the index.
/// Never inlined, merged or moved across a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    pub out: TensorId,
    pub distribution: Distribution,
    /// Number of the draw in the model: instance path and ordinal, hashed.
    pub site: u32,
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Mean 0, variance 1.
    Normal,
    /// In \[0, 1).
    Uniform,
}

/// `out` is `input`, row-major, under another shape with the same number of elements (an example).
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub out: TensorId,
    pub input: TensorId,
    pub origin: Origin,
}

/// `out[.., r]` (I32) is the position along the last axis of the r-th element of `input` in sorted order; stable.
#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    pub out: TensorId,
    pub input: TensorId,
    pub descending: bool,
    pub origin: Origin,
}

/// Numbers written in the program, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    pub out: TensorId,
    pub values: Vec<f64>,
    pub origin: Origin,
}

/// An algorithm that is not an equation.
#[derive(Clone, Debug, PartialEq)]
pub struct Library {
    pub out: TensorId,
    pub routine: Routine,
    pub inputs: Vec<TensorId>,
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Routine {
    /// Orthonormal columns (or rows) from a matrix of normal draws: the Q of its QR decomposition with positive diagonal of R.
    Orthogonal,
}
