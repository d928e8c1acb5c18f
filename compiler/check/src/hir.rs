//! The HIR: resolved and typed, each layer or function once for every way in which it is applied.
//!
//! `Conv1d(32, kernel: 9)` applied to `f32[60, 4]` is a [`Function`] of its own with the hyper-parameters filled in, `..` expanded to
//! indices, `if pad == same` decided, and dimensions as numbers where they are known and as polynomials over named sizes where they
//! are not. Parameters and state belong to layer *instances* (`net.conv1d_1`) and stand in tables of the training program, so that an
//! instance that is used twice shares them.
//!
//! Nothing here speaks of a batch but [`IndexKind::Batch`]; a value is one example's.

pub mod text;
pub mod visit;

use bdl_dims::Dim;
use bdl_grammar::Span;
use std::sync::Arc;

pub type Name = Arc<str>;

// ------------------------------------------------------------------------------------------------ types

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Tensor(TensorType),
    Record(Vec<(Name, Type)>),
    /// Something was wrong and has been said; absorbs further errors. Never reaches elaboration.
    Error,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TensorType {
    pub scalar: Scalar,
    /// `T?`: elements may be missing.
    pub optional: bool,
    pub shape: Vec<Axis>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub size: Dim,
    /// Names of the elements along the axis, from data (genes, classes).
    pub names: Option<Arc<Vec<String>>>,
    /// Where the size comes from, for messages: the latest reason first.
    pub origin: Option<Arc<SizeOrigin>>,
}

/// "919 comes from here".
#[derive(Clone, Debug, PartialEq)]
pub struct SizeOrigin {
    pub span: Span,
    pub why: String,
    pub before: Option<Arc<SizeOrigin>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// The working precision.
    F32,
    F64,
    BF16,
    I32,
    Bool,
    /// One of this many classes, with their names where the data gives them.
    Category(Dim, Option<Arc<Vec<String>>>),
    /// A natural number below this.
    Index(Dim),
    /// A letter: alphabet and number of letters.
    Letter(Name, i64),
    /// Arithmetic on these three gives F32.
    Logit,
    Prob,
    Count,
}

// ------------------------------------------------------------------------------------------------ functions

/// The body of one application: a closed term over its inputs, the parameter table and random draws.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// As the user wrote it: `Conv1d`, `softmax`, `loss`.
    pub name: Name,
    /// `Conv1d(32, kernel: 9)`: with its hyper-parameters, for tables.
    pub shown: String,
    /// The instance's path for a layer (`net.conv1d_1`); `None` for a `fn`.
    pub path: Option<Name>,
    /// Indexed by [`LocalId`]: inputs, `let`s, carried values.
    pub locals: Vec<Local>,
    /// Indexed by [`IndexId`].
    pub indices: Vec<IndexVar>,
    pub inputs: Vec<LocalId>,
    pub body: Expr,
    /// `update mu = ...`: take effect after the step, once a step.
    pub updates: Vec<(StateId, Expr)>,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionId(pub u32);
/// A local of the enclosing function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalId(pub u32);
/// An index of the enclosing function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexId(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConstId(pub u32);

#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    pub name: Name,
    pub ty: Type,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct IndexVar {
    pub name: Name,
    pub kind: IndexKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum IndexKind {
    /// Runs over `0..size`.
    Range(Dim),
    /// Runs over the examples of the batch (`mean[batch, t]`): every per-example value in the body is that example's.
    Batch,
    /// `other in batch`: only what is read through it (`other.time`, [`ExprKind::OfExample`]) is that example's.
    Other,
    /// The step of a scan, `0..size`.
    Step(Dim),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub ty: Type,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number of the expression's scalar type; a category or letter by its id.
    Number(f64),
    Bool(bool),
    /// A dimension as a number (`sqrt(D / heads)`): integer-valued; division in a value is [`BinaryOp::Div`] of two such.
    Size(Dim),
    /// An index as a number.
    Index(IndexId),
    Local(LocalId),
    Param(ParamId),
    State(StateId),
    /// `next m`: the value that an `update` of this step gives.
    NextState(StateId),
    Const(ConstId),
    Ambient(Ambient),
    /// Statements, then a value.
    Block {
        lets: Vec<Let>,
        value: Box<Expr>,
    },
    /// The tensor of `body` at every value of the indices; the body's own axes come last.
    For {
        indices: Vec<IndexId>,
        body: Box<Expr>,
    },
    /// The reduction of `body` (a scalar, or element by element of a tensor) over the indices where `filter` holds.
    /// `default` is the value of an empty reduction.
    Reduce {
        op: Reduction,
        indices: Vec<IndexId>,
        filter: Option<Box<Expr>>,
        default: Option<Box<Expr>>,
        body: Box<Expr>,
    },
    /// Leading axes are subscripted; axes left out stay.
    Subscript {
        base: Box<Expr>,
        subs: Vec<Sub>,
    },
    /// On scalars, or element by element on tensors.
    Unary(UnaryOp, Box<Expr>),
    /// Element by element: equal shapes, a scalar, or one shape a suffix of the other.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `if .0 then .1 else .2`, element by element; a condition known when the model is built is already decided.
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    Record(Vec<(Name, Expr)>),
    Field(Box<Expr>, Name),
    /// `e` of the example that the index names (`other.time`).
    OfExample(IndexId, Box<Expr>),
    /// An application: the callee's inputs are the arguments. The same instance applied at two places is two functions with the same parameters.
    Apply {
        function: FunctionId,
        args: Vec<Expr>,
    },
    Builtin(Builtin, Vec<Expr>),
    /// A tensor written out, row-major; each element a scalar.
    List(Vec<Expr>),
    Scan(Box<Scan>),
    Iterate(Box<Iterate>),
}

/// `let local = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    pub local: LocalId,
    pub value: Expr,
}

/// Numbers that the run supplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ambient {
    /// A truth value: in a training step or not.
    Training,
    /// Steps done since the start of the run (0 in the first step), and how many there will be.
    Step,
    Steps,
    /// Epochs begun before this one (0 in the first), and how many there will be at most.
    Epoch,
    Epochs,
    /// The number of examples in the batch.
    BatchSize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Sub {
    /// `sum of coefficient * index + offset`.
    Affine { terms: Vec<(IndexId, i64)>, offset: Dim, outside: Outside },
    /// An integer-valued scalar expression.
    Data { index: Box<Expr>, outside: Outside },
    /// `a..b`: the axis stays, with `len` elements from `from`.
    Range { from: Dim, len: Dim },
    /// The whole axis.
    All,
}

/// What a subscript gives when it leaves the axis.
#[derive(Clone, Debug, PartialEq)]
pub enum Outside {
    /// It provably does not, or the data was checked.
    Never,
    /// This value (a scalar expression, usually a constant) instead of the element.
    Else(Box<Expr>),
    /// The nearest element of the axis.
    Clamp,
    /// The axis repeats.
    Mod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    Sum,
    Prod,
    Min,
    Max,
    Mean,
    Any,
    All,
    Argmax,
    Argmin,
    Logsumexp,
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
    Softplus,
    Erf,
    Sin,
    Cos,
    Abs,
    Floor,
    Round,
    Sign,
    Lgamma,
    Digamma,
    /// Of a category, index, integer or truth value; of a number of another precision. The type says to which.
    ToReal,
    ToInt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    /// Real division, also of sizes and indices.
    Div,
    /// `div(a, b)`: rounded down.
    FloorDiv,
    Rem,
    Pow,
    Min,
    Max,
    And,
    Or,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Builtin {
    /// Along axis `.0`.
    Concat(usize),
    /// A new axis `.0`.
    Stack(usize),
    /// Row-major alias under the expression's own shape (also `flatten`).
    Reshape,
    /// Axis i of the result is axis `.0[i]` of the argument.
    Transpose(Vec<usize>),
    /// Tensors of the expression's shape.
    Fill(f64),
    /// The unit matrix.
    Eye,
    /// Draws of the expression's shape; `site` is the number of the draw: hash of instance path and ordinal in the layer.
    Normal {
        site: u32,
    },
    Uniform {
        site: u32,
    },
    /// `p` is the argument.
    Bernoulli {
        site: u32,
    },
    /// Below the argument.
    Below {
        site: u32,
    },
    /// Of probabilities along the last axis.
    Categorical {
        site: u32,
    },
    Permutation {
        site: u32,
    },
    /// Orthonormal matrix (initialisation only).
    Orthogonal {
        site: u32,
    },
    /// Letters or categories to one axis more.
    OneHot,
    /// Record (values, indices) of the k largest along the last axis.
    TopK(i64),
    Sort,
    Argsort,
    Cumsum,
    /// Gradients stop here.
    Freeze,
    /// d first / d second (a local or parameter).
    Grad,
    /// Is the optional value there?
    Known,
    /// First where it is known, else second.
    OrElse,
    /// A value that is not there.
    Missing,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    pub index: IndexId,
    pub extent: Dim,
    pub reversed: bool,
    /// `(local inside the body, start value)`.
    pub carried: Vec<(LocalId, Expr)>,
    pub lets: Vec<Let>,
    /// One for each carried value, in order. `next h` in an expression reads a local of `lets`.
    pub next: Vec<Expr>,
    /// What is stacked; without it the value is the record of last carried values.
    pub emit: Option<Expr>,
    pub checkpoint: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Iterate {
    pub carried: Vec<(LocalId, Expr)>,
    pub until: Expr,
    pub at_most: Dim,
    pub lets: Vec<Let>,
    pub next: Vec<Expr>,
}

// ------------------------------------------------------------------------------------------------ programs

/// Everything that a file defines and that can be run.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Hir {
    /// Indexed by [`FunctionId`].
    pub functions: Vec<Function>,
    pub trains: Vec<Train>,
    /// Models and functions that were asked for by name, applied to inputs of symbolic or given shape: `bdl check` tables and value tests.
    pub entries: Vec<Entry>,
    /// Names that dimensions mention and what is known of them.
    pub sizes: Vec<(Name, SizeKind)>,
    /// Sizes of other examples (`other.T`): they stand in ranges and types, and are none of `sizes`.
    pub others: Vec<OtherSize>,
    /// What the sizes of every example must satisfy; what could be proved is not among them.
    pub laws: Vec<SizeLaw>,
    /// Files of the standard library: a message points at what the user wrote.
    pub library: Vec<bdl_grammar::FileId>,
    /// What the statements are that were to be computed on their own; where they have a value it is an entry.
    pub evaluated: Option<Evaluated>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// Nothing of it waits for the running program: a size, a layer, a list of numbers.
    pub is_static: bool,
    /// A type, or the value that is known now.
    pub shown: String,
}

/// `other.T`: what `T` is of the example that `other in batch` names.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherSize {
    /// The name by which dimensions mention it.
    pub name: Name,
    /// The size whose it is: a name of `sizes`, or again of an other example.
    pub of: Name,
    /// The name of the [`IndexKind::Other`] index.
    pub example: Name,
}

/// A law that depends on sizes which only the data know: a `where`, or what an expression needs to have a value.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeLaw {
    /// Must not be negative.
    pub least: Dim,
    /// `T >= K`, in the names of its author.
    pub shown: String,
    /// The author's words, or what there would be none of.
    pub message: String,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeKind {
    /// One number for all examples.
    Built,
    PerExample,
}

/// Parameters, state and fixed knowledge of the instances of one training program or entry.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Store {
    pub params: Vec<Param>,
    pub states: Vec<State>,
    pub consts: Vec<Const>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// `net.conv1d_1.w`.
    pub path: Name,
    pub ty: TensorType,
    /// A function without inputs that gives the first value.
    pub init: FunctionId,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub path: Name,
    pub ty: TensorType,
    pub init: FunctionId,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Const {
    pub path: Name,
    pub ty: TensorType,
    pub values: Vec<f64>,
}

/// A model or function applied to named inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: Name,
    pub function: FunctionId,
    pub store: Store,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    pub name: Name,
    pub span: Span,
    /// The effective hyper-parameters, for the run's record: `lr = 0.001`, `net.width = 32`.
    pub hyper: Vec<(String, String)>,
    /// `(net, shown)`: models by the name they have here.
    pub models: Vec<(Name, String)>,
    pub data: Name,
    pub store: Store,
    /// Fields of the data that anything below reads: the inputs, in this order, of `loss`, `per`, and every prediction.
    pub inputs: Vec<Field>,
    /// What is made small: one a `step`, in the order written; a block without `step` has one, with an empty name.
    pub objectives: Vec<Objective>,
    pub predictions: Vec<Prediction>,
    /// Numbers found after training, in the order in which they may read each other.
    pub fits: Vec<Fit>,
    /// Parts of models that do not move.
    pub frozen: Vec<Frozen>,
    /// Where models take their first values from.
    pub transfers: Vec<Transfer>,
    /// Decay of the moving average of the parameters (a scalar function without inputs), kept in states `average.PATH`.
    pub average: Option<FunctionId>,
    /// A batch is computed in so many parts, its gradient summed in states `accumulated.PATH`.
    pub parts: i64,
    pub epochs: i64,
    pub batch: i64,
    pub stop: Option<Stop>,
    pub keep: Option<Score>,
    pub split: Option<Split>,
    /// Training rows repeated, left out or made up, so that the classes of a field come equally often.
    pub resample: Option<Resample>,
    /// A field whose classes count the same in the loss of a training step: each example has the weight `row.weight`.
    pub weights: Option<Name>,
    pub reports: Vec<Report>,
    pub expectations: Vec<Expectation>,
}

/// The input of training programs that says what a row counts.
pub const ROW_WEIGHT: &str = "row.weight";

/// `rows smote(y)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Resample {
    pub field: Name,
    pub how: ResampleHow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResampleHow {
    /// Rows of small classes are repeated.
    Over,
    /// Rows of large classes are left out.
    Under,
    /// Rows of small classes are made up between neighbours.
    Smote { neighbours: i64 },
}

/// A loss and what makes it small.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// `critic`; empty where the block has no `step`.
    pub name: Name,
    /// It runs on every so many batches.
    pub every: i64,
    /// `over judge`: paths of what it trains and whose state it moves; empty for everything.
    pub over: Vec<Name>,
    /// Of one example: a scalar.
    pub loss: FunctionId,
    /// Of one example: a scalar. The loss of a batch is the sum of `loss` over the sum of this.
    pub per: FunctionId,
    /// Added once a step, without inputs; scalar.
    pub penalties: Vec<FunctionId>,
    /// `None`: the program only evaluates.
    pub optimizer: Option<Optimizer>,
    pub clip: Option<Clip>,
}

/// `frozen net.trunk until epoch 3`: its parameters and state stay, and in it `training` is false.
#[derive(Clone, Debug, PartialEq)]
pub struct Frozen {
    pub path: Name,
    /// Without: always.
    pub until: Option<Until>,
}

/// How long something is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// In so many first epochs.
    Epoch(i64),
    /// In so many first steps of the run, that is batches.
    Step(i64),
}

/// `fit cut = threshold(p, y, recall: 0.9) on valid`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    pub name: Name,
    /// The state that holds it: `fit.cut`.
    pub state: Name,
    pub kind: FitKind,
    /// Of one example: probabilities, logits or a number.
    pub of: FunctionId,
    /// The field that it is compared with.
    pub truth: Name,
    pub part: Part,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FitKind {
    /// A threshold that reaches this recall.
    Recall(f64),
    Precision(f64),
    Specificity(f64),
    /// What the logits are divided by.
    Temperature,
    /// The quantile of misfits that covers this share.
    Conformal(f64),
}

/// `from "trunk.safetensors" { .. }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    pub model: Name,
    /// As written, relative to the program.
    pub file: String,
    pub span: Span,
    /// Empty: every name is the file's too.
    pub map: Vec<Renaming>,
}

/// `net.trunk.conv_1.w[k, c, f] = "stem.conv.weight"[f, c, k]`, or `net.trunk.* = "trunk.*"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Renaming {
    pub path: Name,
    pub all: bool,
    /// The file's name, with its `*`.
    pub stored: String,
    /// Axis i of the parameter is axis `axes[i]` of the file's tensor.
    pub axes: Option<Vec<usize>>,
}

impl Train {
    /// The functions of the block's losses and predictions, in the order written.
    pub fn roots(&self) -> impl Iterator<Item = FunctionId> + '_ {
        let of = |objective: &Objective| [objective.loss, objective.per].into_iter().chain(objective.penalties.clone());
        let predictions = self.predictions.iter().map(|prediction| prediction.function);
        self.objectives
            .iter()
            .flat_map(of)
            .chain(predictions)
            .chain(self.fits.iter().map(|fit| fit.of))
            .chain(self.reports.iter().filter_map(|report| report.own))
    }

    /// The block has an optimiser.
    pub fn trains(&self) -> bool {
        self.objectives.iter().any(|objective| objective.optimizer.is_some())
    }
}

/// Names that a score may have: the loss, or that of each step by its name, and what is reported.
pub fn measured(objectives: &[Objective], reports: &[Report]) -> Vec<String> {
    let losses = objectives.iter().map(Objective::loss_name);
    losses.chain(reports.iter().map(|report| report.metric.to_string())).collect()
}

impl Objective {
    /// `loss`, or the step's name.
    pub fn loss_name(&self) -> String {
        if self.name.is_empty() { "loss".to_string() } else { self.name.to_string() }
    }
}

/// The state that holds the moving average of a parameter.
pub fn average_of(path: &str) -> Name {
    format!("average.{path}").into()
}

/// The state that sums the gradient of a parameter (or what the loss is divided by) over the parts of a batch.
pub fn accumulated(objective: &str, path: &str) -> Name {
    if objective.is_empty() {
        format!("accumulated.{path}").into()
    } else {
        format!("accumulated.{objective}.{path}").into()
    }
}

/// Does a path of dots lie at or below another?
pub fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: Name,
    pub ty: Type,
    /// Rows with a single 1, as its encoder makes them.
    pub one_hot: bool,
}

/// What `bdl predict` writes and metrics see. All predictions of a train share one function's work where they share terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    pub name: Name,
    pub function: FunctionId,
    pub ty: Type,
    /// `as expr`: it is written and measured in the units of this field's columns.
    pub units_of: Option<Name>,
    /// Class names along the last axis, or of the category.
    pub classes: Option<Arc<Vec<String>>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    pub shown: String,
    /// One for every trained parameter.
    pub parts: Vec<OptimizerPart>,
}

/// An optimiser applied to one parameter: a function of its value and gradient, with state of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerPart {
    pub param: ParamId,
    /// Inputs w and g. Its `updates` are those of its state; its value is the parameter's new value.
    pub function: FunctionId,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Clip {
    /// All gradients scaled so that their joint Euclidean norm is at most this (a scalar function without inputs).
    Norm(FunctionId),
    /// Each element kept within plus and minus this.
    Value(FunctionId),
}

/// `stop when valid.loss stalls for 5 epochs`, `stop when valid.loss < 0.1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    pub score: Score,
    pub when: StopWhen,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StopWhen {
    /// So many epochs without an improvement.
    Stalls(i64),
    /// A comparison with a number holds after an epoch.
    Is(BinaryOp, f64),
}

/// `valid.loss`, `valid.auroc`.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    pub part: Part,
    /// `loss` or the name of a reported metric.
    pub metric: Name,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    Train,
    Valid,
    Test,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Split {
    Random {
        train: f64,
        valid: f64,
        test: f64,
        balance: Option<Name>,
        groups: Option<Name>,
        seed: u64,
    },
    /// A text field whose values are `train`, `valid`, `test`.
    Given {
        field: Name,
    },
    KFold {
        folds: i64,
        repeats: i64,
        balance: Option<Name>,
        groups: Option<Name>,
        seed: u64,
    },
    LeaveOneOut,
    /// Rows whose field is one of these classes or texts validate or test; all others train.
    By {
        field: Name,
        valid: Vec<String>,
        test: Vec<String>,
    },
    /// In the order of a number: the last share tests, the share before validates; `gap` units before each are left out.
    Time {
        field: Name,
        valid: f64,
        test: f64,
        gap: f64,
        folds: i64,
    },
    /// Sequences of at least this identity stay together.
    Identity {
        field: Name,
        below: f64,
        train: f64,
        valid: f64,
        test: f64,
        /// Above 1: so many parts, each of which tests once.
        folds: i64,
        balance: Option<Name>,
        seed: u64,
    },
    /// Molecules of one scaffold stay together.
    Scaffold {
        field: Name,
        train: f64,
        valid: f64,
        test: f64,
        /// Above 1: so many parts, each of which tests once.
        folds: i64,
        balance: Option<Name>,
        seed: u64,
    },
    /// The elements of a field train, validate and test; the rows are in every part.
    Entries {
        field: Name,
        train: f64,
        valid: f64,
        test: f64,
        seed: u64,
    },
}

/// `accuracy(kind, site)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub metric: Name,
    pub args: Vec<ReportArg>,
    /// A metric of one's own: a scalar of one example, averaged over the part; `args` is then empty.
    pub own: Option<FunctionId>,
    /// Of a metric of one's own: `better: lower`.
    pub lower_is_better: bool,
    /// Named numbers (`threshold: 0.5`).
    pub options: Vec<(Name, f64)>,
    pub by: Option<Name>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ReportArg {
    Prediction(Name),
    Field(Name),
}

/// `test.accuracy >= 0.93`.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    pub score: Score,
    pub op: BinaryOp,
    pub value: f64,
    /// As written.
    pub shown: String,
}

/// What the driver found out about a data block before checking (or symbolic types where the file is not there).
#[derive(Clone, Debug, PartialEq)]
pub struct DataFacts {
    pub name: Name,
    pub rows: Option<usize>,
    pub fields: Vec<Field>,
    /// Fields of text, which no model can take, but splits and reports may name.
    pub texts: Vec<Name>,
}
