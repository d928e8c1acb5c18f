//! The data type of plans.
//!
//! A dense layer with relu on a batch is one [`Contraction`] with an epilogue kernel:
//!
//! ```text
//! contract h[B, 64] = x[B, 100] * w[100, 64]   m: B (64, 100, 0)  n: 64 (1, 0, 1)  k: 100 (0, 1, 64)
//!   then kernel relu_bias(h, bias) over B rows
//! ```
//!
//! Sizes are [`Dim`]s over the names in [`Plan::sizes`]; the executor knows their values when a batch is at hand, and a new value
//! compiles nothing. All strides, offsets and extents count elements, not bytes.

use bdl_dims::Dim;
use std::sync::Arc;

pub type Name = Arc<str>;

/// One program (init, step, eval, predict) ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub name: Name,
    pub sizes: Vec<SizeName>,
    pub buffers: Vec<Buffer>,
    /// Lengths of the arena's slots. Slots lie one after the other, each aligned to 64 bytes; buffers whose lifetimes do not meet share one.
    /// In bytes.
    pub slots: Vec<Dim>,
    pub kernels: Vec<Kernel>,
    /// Run in order; each sees everything that the ones before it wrote.
    pub launches: Vec<Launch>,
    /// What the caller reads afterwards, by name. Their buffers stay untouched until the next run.
    pub outputs: Vec<(Name, BufferId)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeName {
    pub name: Name,
    pub kind: SizeKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SizeKind {
    /// A number for the whole model that is given with the run (rare: built sizes are folded).
    Built,
    /// The number of examples in the batch.
    Batch,
    /// The sum over the examples of the batch of a product of per-example sizes (`T`, `T * T`): the packed length of a ragged tensor.
    Total(Dim),
    /// A per-example size: one number an example. In a [`Contraction`] with a ragged batch axis, and in tables, it means that example's.
    PerExample,
    /// The step number of the enclosing [`Op::Scan`] or [`Op::Iterate`].
    Step,
    /// How many rows take part in the step at hand of an enclosing loop over [`Running`] examples.
    Running,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Unique. Parameters, state and inputs carry their own names (`net.dense_1.w`, `dna`): the executor binds them by it.
    pub name: Name,
    pub dtype: DType,
    /// In elements. A ragged tensor is packed: `rows_T * 32`.
    pub len: Dim,
    /// Shape as the user sees it, for reports (per-example names included). Row-major; an axis of per-example length that is the only one lies
    /// outermost after the batch.
    pub shape: Vec<Dim>,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    F32,
    F64,
    BF16,
    I32,
    I64,
    /// One byte, 0 or 1.
    Bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Trained, shared by all programs of a model, bound by name.
    Param,
    /// Carried from step to step, shared likewise.
    State,
    /// Filled by the caller before each run.
    Input { per_example: bool },
    /// Part of the arena.
    Slot(SlotId),
    /// Nowhere as a whole: products that stand next to each other make and read it some rows at a time (see [`blocks`](crate::blocks)). No GPU's
    /// plan has any.
    Blocks,
    /// Numbers written in the program.
    Literal(Arc<[f64]>),
    /// Computed by the executor once a batch, before the first launch.
    Table(Table),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub u32);

/// What the prologue computes once a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Table {
    /// `I64[B]`: a per-example size, or a polynomial of such, of each example.
    Lengths(Dim),
    /// `I64[B + 1]`: sums of the sizes of the examples before each one; the last entry is the total.
    Offsets(Dim),
    /// `I32[total]`: the example that each packed row belongs to.
    Owner(Dim),
    /// `I32[n]`: the positions `0..n` of `keys`, stably sorted by key (within each example where the keys are ragged).
    SortedBy { keys: BufferId },
    /// `I32[groups + 1]`: where each key's run begins in `SortedBy`; the last entry is n.
    Runs { keys: BufferId, groups: Dim },
    /// `I64[B]`: the position of each example in the epoch (keys of random draws).
    Positions,
}

impl Plan {
    /// The groups of the runs over these keys, which the order that sorts them has, too.
    pub fn groups_of(&self, keys: BufferId) -> Option<&Dim> {
        self.buffers.iter().find_map(|buffer| match &buffer.place {
            Place::Table(Table::Runs { keys: of, groups }) if *of == keys => Some(groups),
            Place::Table(_)
            | Place::Param
            | Place::State
            | Place::Input { .. }
            | Place::Slot(_)
            | Place::Blocks
            | Place::Literal(_) => None,
        })
    }

    /// The groups of one example, where so many groups are those of all: a total, or a multiple of the batch. Else all examples share them.
    pub fn groups_of_each(&self, groups: &Dim) -> Option<Dim> {
        self.sizes.iter().find_map(|size| match &size.kind {
            SizeKind::Total(per_example) if groups.as_var() == Some(&size.name) => Some(per_example.clone()),
            SizeKind::Batch if groups.mentions(&size.name) => {
                Some(groups.substitute(&|name| (name == &*size.name).then(Dim::one)))
            }
            SizeKind::Total(_)
            | SizeKind::Batch
            | SizeKind::Built
            | SizeKind::PerExample
            | SizeKind::Step
            | SizeKind::Running => None,
        })
    }
}

// ------------------------------------------------------------------------------------------------ launches

#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    pub op: Op,
    /// For profiles and errors: the equation's output and the source span it came from.
    pub origin: Origin,
}

impl Launch {
    /// The kernel that it runs: all that it is, or what follows a contraction. Those in the body of a loop are launches of their own.
    pub fn kernel(&self) -> Option<&KernelUse> {
        match &self.op {
            Op::Kernel(used) => Some(used),
            Op::Contract(contraction) => contraction.epilogue.as_ref(),
            Op::Draw(_)
            | Op::Copy { .. }
            | Op::Clear { .. }
            | Op::Order { .. }
            | Op::Scan(_)
            | Op::Iterate(_)
            | Op::Sort(_)
            | Op::Library { .. } => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Origin {
    pub what: Name,
    pub file: u32,
    pub start: u32,
    pub end: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Generated code, over the kernel's grid.
    Kernel(KernelUse),
    Contract(Contraction),
    Draw(Draw),
    /// `to = from`, whole buffers of one length.
    Copy {
        from: BufferId,
        to: BufferId,
    },
    /// All elements 0.
    Clear {
        buffer: BufferId,
    },
    /// `out[0..n]` (I32) becomes the rows of the enclosing loop that run now (outside of loops: the examples), longest first by `by`, a size
    /// of the example; rows of one length stay in their order.
    Order {
        out: BufferId,
        by: Dim,
    },
    Scan(Scan),
    Iterate(Iterate),
    Sort(Sort),
    Library {
        routine: Routine,
        out: BufferId,
        inputs: Vec<BufferId>,
        rows: Dim,
        columns: Dim,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct KernelUse {
    pub kernel: KernelId,
    /// One for each parameter of the kernel, in order.
    pub buffers: Vec<Slice>,
}

/// A buffer from an element on. The offset may name the step of an enclosing loop.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub buffer: BufferId,
    pub offset: Dim,
}

/// `body` runs once for every value of the size `step`, counting up (or down when reversed).
/// Carried values are ordinary buffers; the body ends with the copies or swaps that make `next` current.
///
/// With `running`, `extent` may belong to the example, and step `t` is run for the examples with `t < extent` alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    pub step: Name,
    pub extent: Dim,
    pub reversed: bool,
    pub running: Option<Running>,
    pub ends: Option<Ends>,
    pub body: Vec<Launch>,
}

/// Where a scan ends before its extent, for all rows together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ends {
    /// After the first step at whose end `until` (`Bool`) holds: one truth value, or one for each row of the loop around. `steps` (one `I32`)
    /// becomes the number of steps before that one, or the extent.
    When { until: BufferId, steps: BufferId },
    /// Only steps below this number (one `I32`) are run.
    After(BufferId),
}

impl Ends {
    pub fn buffers(self) -> impl Iterator<Item = BufferId> {
        let (first, second) = match self {
            Ends::When { until, steps } => (until, Some(steps)),
            Ends::After(steps) => (steps, None),
        };
        std::iter::once(first).chain(second)
    }
}

/// The examples that take part in a step of a loop are its *rows* `0..count`: buffers that only the loop's body sees hold a row
/// where others hold an example, so that what has finished costs nothing and what runs lies together.
///
/// ```text
/// lengths 2 5 3      order 1 2 0      t = 0, 1: count 3      t = 2: count 2 (examples 1, 2)      t = 3, 4: count 1 (example 1)
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// `I32`: the row of the enclosing loop (outside of loops: the example) that each row is. For a scan filled by [`Op::Order`] before it;
    /// an iteration fills it itself.
    pub order: BufferId,
    /// Its size of kind [`SizeKind::Running`].
    pub count: Name,
}

/// `condition` then `body`, until `until` holds, at most `at_most` times.
///
/// Without `running`, `until` is one truth value. With it, `until` has one for each row: at first all rows of the enclosing loop take part,
/// and the ones for which it holds leave before the body is run; the others keep their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Iterate {
    pub step: Name,
    pub at_most: Dim,
    pub running: Option<Running>,
    pub condition: Vec<Launch>,
    pub until: BufferId,
    pub body: Vec<Launch>,
}

/// Random numbers of site `site`: element i of example b is a function of seed, training step, site, the loops' steps, the example's position in
/// the epoch and i.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    pub out: BufferId,
    pub distribution: Distribution,
    pub site: u32,
    /// Steps of the loops around, outermost first: other steps, other numbers.
    pub steps: Vec<Name>,
    /// Elements an example (rows of `out`); `None`: the draw is shared and counts as example 0.
    pub per_example: Option<Dim>,
    /// Where each example's elements begin, if their number differs from example to example.
    pub offsets: Option<BufferId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    Normal,
    Uniform,
}

/// Each row of `columns` elements of `input` sorted, stably: `out` holds the positions.
///
/// With `offsets`, examples of different length: example b begins at `offsets[b] * rows`, `columns` is a size of its own, and its rows lie
/// side by side (element c of row r at `c * rows + r`).
#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    pub out: BufferId,
    pub input: BufferId,
    pub offsets: Option<BufferId>,
    pub rows: Dim,
    pub columns: Dim,
    pub descending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Routine {
    Orthogonal,
}

// ------------------------------------------------------------------------------------------------ contractions

/// `out[batch, m, n] (+)= sum over k of a[batch, m, k] * b[batch, k, n]`, every access an offset plus stride times axis. With an axis over examples of
/// different length, offsets, strides, extents and clips may name the example's sizes.
///
/// Rows of `a` and `b` may overlap (a convolution reads a view whose row stride is less than its row length); elements of `out` may
/// not. Axes of one role need not merge into one stride: the executor loops over what does not. The order of the sum over k is fixed
/// by the extents of the k axes alone, so that the bits of a row depend neither on the other rows nor on threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Contraction {
    pub out: Slice,
    pub a: Slice,
    pub b: Slice,
    /// Outermost first within each role.
    pub axes: Vec<ContractionAxis>,
    /// Points where a clipped form leaves its range contribute nothing (taps of a padded convolution outside the example).
    pub clips: Vec<Clip>,
    /// Add to what `out` holds instead of replacing it.
    pub accumulate: bool,
    pub algorithm: Algorithm,
    /// Runs on rows of `out` while they are in cache: a kernel whose grid is the flattened (batch, m) axes.
    pub epilogue: Option<KernelUse>,
}

/// How a contraction's products are computed. The sums are the same but for rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    #[default]
    AsWritten,
    /// Two by two positions of an image by 16 products where 36 are written; of contractions that are such convolutions
    /// ([`image`](crate::image::image)), on processors. Where factors are rounded ([`Products`](crate::Products)) it is as written: sums of
    /// neighbours would be rounded before they are multiplied.
    Winograd,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ContractionAxis {
    pub name: Name,
    pub role: AxisRole,
    pub extent: Dim,
    pub out: Dim,
    pub a: Dim,
    pub b: Dim,
    /// An axis over examples of different length, which are results of their own or summed: example i begins at `table[i] * stride` of each operand, instead of `i * stride`.
    pub offsets: Option<Tables>,
}

/// The table of offsets for each operand of a contraction: they differ where one has `T` rows of an example and another `T * T`. What an
/// operand with stride 0 has does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    pub out: BufferId,
    pub a: BufferId,
    pub b: BufferId,
}

impl Tables {
    pub fn all(self) -> [BufferId; 3] {
        [self.out, self.a, self.b]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AxisRole {
    /// In both operands and the result.
    Batch,
    /// In `a` and the result.
    M,
    /// In `b` and the result.
    N,
    /// In both operands, summed.
    K,
}

/// `0 <= sum of coefficient * axis + offset < extent`, or the point contributes nothing. Axes by position.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub terms: Vec<(u32, i64)>,
    pub offset: Dim,
    pub extent: Dim,
}

// ------------------------------------------------------------------------------------------------ kernels

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelId(pub u32);

/// A loop nest. Its grid index is number 0; the executor hands each thread a range of it, so its iterations write disjoint elements.
///
/// Values are in single assignment and in scope in the statements after their `Let` in the same body and the bodies inside. In a
/// `Lanes` loop, iterations may run together in any number of lanes: they are independent but for `Combine` on variables declared
/// outside of it, whose order is fixed by the loop's extent alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    pub name: Name,
    pub buffers: Vec<KernelBuffer>,
    /// Sizes that the extents, addresses and values mention: 64-bit arguments, in this order.
    pub sizes: Vec<Name>,
    /// Names of the loop indices, for printing; number 0 is the grid.
    pub indices: Vec<Name>,
    pub grid: Dim,
    /// `Lanes` when the grid itself is element-wise.
    pub grid_mode: LoopMode,
    /// How many values and variables there are; their types.
    pub values: Vec<ValueType>,
    pub variables: Vec<ValueType>,
    pub body: Vec<Stmt>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KernelBuffer {
    pub name: Name,
    pub dtype: DType,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    Read,
    Write,
    /// Each element is read, if at all, by the iteration that writes it, before it does.
    Update,
}

/// Types in registers: `bf16` is widened to f32 when loaded; `Bool` is a truth value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    F32,
    F64,
    I32,
    I64,
    Bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoopMode {
    Serial,
    /// Vectorised. At most one `Lanes` loop on any path from the root; inside it only `Serial` loops.
    Lanes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoopIndex(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariableId(pub u32);

#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// `index` runs over `from..to`.
    Loop {
        index: LoopIndex,
        from: Bound,
        to: Bound,
        mode: LoopMode,
        body: Vec<Stmt>,
    },
    Let {
        value: ValueId,
        op: ValueOp,
    },
    /// Declare a variable with its first value.
    Variable {
        variable: VariableId,
        start: ValueId,
    },
    /// `variable = monoid(variable, value)`.
    Combine {
        variable: VariableId,
        monoid: Monoid,
        value: ValueId,
    },
    /// `variable = value`.
    Assign {
        variable: VariableId,
        value: ValueId,
    },
    Store {
        buffer: u32,
        at: Address,
        value: ValueId,
    },
    /// Runs `body` where the condition holds. In a `Lanes` loop the condition may differ from lane to lane.
    If {
        condition: ValueId,
        body: Vec<Stmt>,
    },
}

/// A loop bound: a size, or an integer value computed before (ragged rows: `offsets[b]`).
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    Size(Dim),
    Value(ValueId),
}

/// `sum of stride * term + offset`, in elements of the buffer.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Address {
    pub terms: Vec<(AddressTerm, Dim)>,
    pub offset: Dim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressTerm {
    Index(LoopIndex),
    /// An `I32` or `I64` value: a gather, or a packed row.
    Value(ValueId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Monoid {
    Sum,
    Prod,
    Max,
    Min,
    Any,
    All,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ValueOp {
    /// A number of the value's type.
    Const(f64),
    /// `I64`.
    Size(Dim),
    /// `I64`.
    Index(LoopIndex),
    Variable(VariableId),
    /// `otherwise` is the value where a guard fails; nothing is read there. Without guards the address is always inside.
    Load {
        buffer: u32,
        at: Address,
        guards: Vec<Guard>,
        otherwise: f64,
    },
    Unary(UnaryOp, ValueId),
    Binary(BinaryOp, ValueId, ValueId),
    /// `Bool`.
    Compare(CompareOp, ValueId, ValueId),
    Select(ValueId, ValueId, ValueId),
    /// To the value's type: integers to reals exactly where possible, reals to integers towards minus infinity, truth to 0 and 1.
    Convert(ValueId),
}

/// `0 <= form < extent`, the form an [`Address`]-like sum (strides are then coefficients).
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    pub form: Address,
    pub extent: Dim,
}

/// Element functions. Those from `Exp` on are evaluated on tiles by `bdl-kernels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    Neg,
    Not,
    Abs,
    Floor,
    Round,
    Sign,
    /// The nearest bf16 of an `F32`, half to even: what a store in a bf16 buffer keeps. NaN stays NaN, what is too large becomes infinite.
    Bf16,
    Sqrt,
    Exp,
    Expm1,
    Log,
    Log1p,
    Tanh,
    Sigmoid,
    Softplus,
    Erf,
    Sin,
    Cos,
    Lgamma,
    Digamma,
    Trigamma,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
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
