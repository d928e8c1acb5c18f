//! The syntax tree: what was written, with its place, and nothing more.
//!
//! The tree is owned (no lifetimes), complete for the whole language, and always exists: where the text makes no sense
//! there is an `Error` node and the parser has said why, so later stages skip it in silence. Nothing is resolved here:
//! whether `Dense(3)` names a layer or a function, whether `data Junctions` exists and whether `epochs` makes sense is
//! the checker's business.
//!
//! `let y[t] = sum[k] x[t + k] * w[k]` becomes
//!
//! ```text
//! Let { name: y, binders: [t], value: Reduce { op: Sum, binders: [k],
//!     body: Binary(Mul, Subscript(x, [t + k]), Subscript(w, [k])) } }
//! ```
//!
//! Parentheses leave no node. A reduction's name, `batch`, `last` and `training` are ordinary [`Name`]s wherever they
//! stand as values.

use crate::span::Span;
use std::collections::BTreeSet;

/// An identifier and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

/// A text literal, escapes resolved. The span includes the quotes.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    pub text: String,
    pub span: Span,
}

/// One `.bdl` file.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// The `//!` lines, without the marker and one leading blank.
    pub doc: Vec<String>,
    pub items: Vec<Item>,
    /// Everything a printer needs beside the tree.
    pub layout: Layout,
    pub span: Span,
}

/// What was written but has no meaning, for a printer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// The text itself: how numbers were spelled, where lines were empty, what was aligned. Empty for a tree that was not
    /// parsed.
    pub text: String,
    /// Every `//` comment, and each `///` that documents no item, in order.
    pub comments: Vec<Comment>,
    /// Expressions that stood in parentheses of their own: start and end of what is inside.
    pub parentheses: BTreeSet<(u32, u32)>,
}

/// A comment, marker included: `// fitted on training rows only`.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    pub text: String,
    pub span: Span,
    /// Nothing but blanks stands before it on its line.
    pub own_line: bool,
}

/// A definition at the outermost level, with its `///` lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub kind: ItemKind,
    pub doc: Vec<String>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    Use(Use),
    Data(Data),
    Fn(Fn),
    Layer(Layer),
    /// As a layer, but it may be trained by name.
    Model(Layer),
    Optimizer(Optimizer),
    Train(Train),
    Tune(Tune),
    Expect(Expect),
    Type(TypeAlias),
    Alphabet(Alphabet),
    Const(Const),
    Let(Let),
    Error,
}

/// `use std.nn` or `use "./blocks.bdl"`.
#[derive(Clone, Debug, PartialEq)]
pub enum Use {
    Module(Vec<Name>),
    File(Text),
}

/// `fn NAME(inputs) -> result where laws { body }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fn {
    pub name: Name,
    pub inputs: Vec<Param>,
    pub result: Type,
    pub laws: Vec<Law>,
    pub body: Block,
}

/// `layer NAME(hyper)(inputs) -> result where laws { body }`; with one bracket only, it holds the inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub name: Name,
    /// Hyper-parameters. Empty both for `()` and for no bracket; see `hyper_written`.
    pub hyper: Vec<Param>,
    /// There were two brackets.
    pub hyper_written: bool,
    pub inputs: Vec<Param>,
    pub result: Type,
    pub laws: Vec<Law>,
    pub body: Block,
}

/// `optimizer NAME(hyper)(w: f32[..], g: f32[..]) { body }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    pub name: Name,
    pub hyper: Vec<Param>,
    pub inputs: Vec<Param>,
    pub laws: Vec<Law>,
    pub body: Block,
}

/// `type Molecule = (atoms: f32[V, A], ...)`, also `type Pair[V, E] = ...`.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeAlias {
    pub name: Name,
    pub dims: Vec<Name>,
    pub ty: Type,
}

/// `alphabet Codon = "AAA" "AAC" ...`.
#[derive(Clone, Debug, PartialEq)]
pub struct Alphabet {
    pub name: Name,
    pub letters: Vec<Text>,
}

/// `const NAME: type = value`, as an item or in a layer. The type may be left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Const {
    pub name: Name,
    pub ty: Option<Type>,
    pub value: Expr,
}

/// `NAME: type` or `NAME: type = default`.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    pub name: Name,
    pub ty: Type,
    pub default: Option<Expr>,
    pub span: Span,
}

/// `T >= K else "the sequence must be as long as the kernel"`, after `where`.
#[derive(Clone, Debug, PartialEq)]
pub struct Law {
    pub condition: Expr,
    pub message: Option<Text>,
    pub span: Span,
}

// ---------------------------------------------------------------------------------------------------------------------
// Types

#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    pub kind: TypeKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TypeKind {
    /// A word with what may follow it: `f32`, `f32[T, C]`, `category(3)[T]`, `bool?[12]`, `index(V)[E]`, `Graph[V, E]`, `dim`.
    Word {
        name: Name,
        /// What stands in parentheses; empty without.
        args: Vec<Expr>,
        /// A `?`: values may be missing.
        optional: bool,
        /// What stands in brackets; `None` without (a scalar, or the whole of a named type).
        dims: Option<Vec<Dim>>,
    },
    /// `(atoms: f32[V, A], bonds: f32[E, B])`.
    Record(Vec<FieldType>),
    /// `[dim]`: a list of hyper-parameters.
    List(Box<Type>),
    /// `layer(f32[G]) -> f32[G]`.
    Layer {
        inputs: Vec<Type>,
        result: Box<Type>,
    },
    /// `fn(f32) -> f32`.
    Fn {
        inputs: Vec<Type>,
        result: Box<Type>,
    },
    Error,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FieldType {
    pub name: Name,
    pub ty: Type,
    pub span: Span,
}

/// One place between the brackets of a type.
#[derive(Clone, Debug, PartialEq)]
pub enum Dim {
    /// `..`: any leading dimensions.
    Rest(Span),
    Expr(Expr),
}

// ---------------------------------------------------------------------------------------------------------------------
// Statements

/// `{ ... }`. Which statement is the value is the checker's business (the last one, if it is an expression).
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub stmts: Vec<Stmt>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    pub kind: StmtKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    Let(Let),
    /// `param w, v: f32[C] = zeros`.
    Param(Declare),
    /// `state mu: f32[C] = zeros`.
    State(Declare),
    Const(Const),
    /// `update mu = ...`.
    Update {
        name: Name,
        value: Expr,
    },
    /// `next h = ...`.
    Next {
        name: Name,
        value: Expr,
    },
    Emit(Expr),
    Expr(Expr),
    Error,
}

/// `let NAME = value` or `let NAME[binders] = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    pub name: Name,
    /// `None` without brackets.
    pub binders: Option<Vec<Binder>>,
    pub value: Expr,
}

/// Several names of one type and one initial value (each name gets its own draw).
#[derive(Clone, Debug, PartialEq)]
pub struct Declare {
    pub names: Vec<Name>,
    pub ty: Type,
    pub init: Expr,
}

/// An index where it is bound: after `let y`, in a reduction, after `for`.
#[derive(Clone, Debug, PartialEq)]
pub struct Binder {
    pub kind: BinderKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum BinderKind {
    /// `..`: the signature's pack of leading axes.
    Rest,
    /// `t`: its range follows from the reads.
    Name(Name),
    /// `t < T - K + 1`.
    Bounded { name: Name, bound: Expr },
    /// `t in T`, and `other in batch` where the extent is the name `batch`.
    In { name: Name, extent: Expr },
    /// The bare word `batch`.
    Batch,
}

// ---------------------------------------------------------------------------------------------------------------------
// Expressions

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    Name(Name),
    Int(i64),
    Float(f64),
    Str(String),
    Bool(bool),
    /// `400 epochs`: a number with a unit of time.
    Quantity {
        value: Box<Expr>,
        unit: Name,
    },
    /// `next m`: the value after the step.
    Next(Name),
    Unary {
        op: UnaryOp,
        value: Box<Expr>,
    },
    Binary {
        op: BinaryOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `x |> f(a)`.
    Pipe {
        value: Box<Expr>,
        into: Box<Expr>,
    },
    Call {
        callee: Box<Expr>,
        args: Vec<Arg>,
    },
    Subscript {
        base: Box<Expr>,
        subs: Vec<Sub>,
    },
    /// `net.trunk`.
    Field {
        base: Box<Expr>,
        field: Name,
    },
    /// `[1, 1, 4]`.
    List(Vec<Expr>),
    /// `(mean: m, log_var: v)` or `(a, b)`; a single value in parentheses is just that value.
    Record(Vec<RecordField>),
    /// `for i, j: body`.
    For {
        binders: Vec<Binder>,
        body: Box<Expr>,
    },
    /// `sum[e if dst[e] == v else 0] body`.
    Reduce {
        op: Reduction,
        op_span: Span,
        binders: Vec<Binder>,
        filter: Option<Box<Expr>>,
        /// The value of a reduction over nothing.
        default: Option<Box<Expr>>,
        body: Box<Expr>,
    },
    If {
        condition: Box<Expr>,
        then: Box<Expr>,
        other: Box<Expr>,
    },
    /// `x else d`: `d` where `x` is missing. Inside a subscript it is [`SubKind::Else`] instead.
    Else {
        value: Box<Expr>,
        default: Box<Expr>,
    },
    /// `"*" except "y", "id"`, only as an argument.
    Except {
        value: Box<Expr>,
        except: Vec<Expr>,
    },
    Block(Block),
    Scan(Box<Scan>),
    Iterate(Box<Iterate>),
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    Neg,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
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

/// One argument of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    pub kind: ArgKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ArgKind {
    Positional(Expr),
    Named {
        name: Name,
        value: Expr,
    },
    /// `d in [1, 1, 4]: body`; `binder` is `None` for `_ in 6: body`.
    Each {
        binder: Option<Name>,
        list: Expr,
        body: Expr,
    },
    /// `_`: where the piped value goes.
    Hole,
}

/// One place between the brackets of a subscript.
#[derive(Clone, Debug, PartialEq)]
pub struct Sub {
    pub kind: SubKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SubKind {
    /// `t + k`, `token[t]`, `last`, `clamp(t + k)`, `mod(t + k)`.
    Expr(Expr),
    /// `t + k - 4 else 0`.
    Else { index: Expr, default: Expr },
    /// `..`
    Rest,
    /// `a..b`
    Range { from: Expr, to: Expr },
}

#[derive(Clone, Debug, PartialEq)]
pub struct RecordField {
    pub name: Option<Name>,
    pub value: Expr,
    pub span: Span,
}

/// `scan t in T reversed if r from (h = h0) checkpoint every n { ... }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    pub index: Name,
    pub extent: Expr,
    pub reversed: Reversed,
    pub carried: Vec<Carried>,
    pub checkpoint: Option<Expr>,
    pub body: Block,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reversed {
    No,
    Always(Span),
    If(Expr),
}

/// `h = zeros[units]`: a value carried from step to step, and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    pub name: Name,
    pub init: Expr,
    pub span: Span,
}

/// `iterate from (x = x0) until cond at most n { next x = ... }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Iterate {
    pub carried: Vec<Carried>,
    pub until: Expr,
    pub at_most: Expr,
    pub body: Block,
}

// ---------------------------------------------------------------------------------------------------------------------
// Data

/// `data NAME = source rows per KEY sorted by KEY { entries }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    pub name: Name,
    pub source: Expr,
    pub group: Option<RowGroup>,
    pub entries: Vec<DataEntry>,
}

/// `rows per patient sorted by day`: one example of several rows.
#[derive(Clone, Debug, PartialEq)]
pub struct RowGroup {
    pub per: Expr,
    pub sorted_by: Option<Expr>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DataEntry {
    pub kind: DataEntryKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum DataEntryKind {
    Field(DataField),
    Let(Let),
    /// `keep score > 100`.
    Keep(Expr),
    /// `distinct dna`.
    Distinct(Vec<Expr>),
    /// `rows smote(y)`.
    Rows(Expr),
    /// `weights balanced(y)`.
    Weights(Expr),
    Augment(Vec<DataField>),
    /// A word this grammar does not know, with what followed it.
    Word {
        word: Name,
        values: Vec<Expr>,
    },
    Error,
}

/// `NAME = value` or `NAME: type = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct DataField {
    pub name: Name,
    pub ty: Option<Type>,
    pub value: Expr,
    pub span: Span,
}

// ---------------------------------------------------------------------------------------------------------------------
// Train, tune, expect

/// `train NAME(hyper) { entries }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    pub name: Name,
    pub hyper: Vec<Param>,
    pub entries: Vec<TrainEntry>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TrainEntry {
    pub kind: TrainEntryKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TrainEntryKind {
    /// `model net = Net() from "trunk.safetensors" { map }`.
    Model {
        name: Name,
        value: Expr,
        from: Option<Transfer>,
    },
    /// `data Junctions`.
    Data(Name),
    Let(Let),
    Split(Expr),
    /// `loss A per B`; a loss in braces is an [`ExprKind::Block`].
    Loss {
        value: Expr,
        per: Option<Expr>,
    },
    Penalty(Expr),
    /// `optimizer adamw(lr) over net.trunk`; `over` is empty without.
    Optimizer {
        value: Expr,
        over: Vec<Expr>,
    },
    Epochs(Expr),
    Batch(Expr),
    /// `stop when valid.loss stalls for 5 epochs`, or `stop when condition`.
    Stop {
        when: Expr,
        stalls: Option<Stall>,
    },
    /// `keep best valid.loss`: a word and what it looks at.
    Keep {
        word: Name,
        value: Expr,
    },
    /// `clip norm 1.0`, `clip value 0.5`.
    Clip {
        word: Name,
        value: Expr,
    },
    /// `predict kind = softmax(net(dna))`, `predict profile = make(z) as expr`.
    Predict {
        name: Name,
        value: Expr,
        units_of: Option<Expr>,
    },
    /// `report accuracy(kind, site), auroc(kind, site) by hospital`.
    Report {
        values: Vec<Expr>,
        by: Option<Expr>,
    },
    /// `fit cut = threshold(p, y, recall: 0.9) on valid`.
    Fit {
        name: Name,
        value: Expr,
        on: Option<Name>,
    },
    /// `frozen net.trunk until epoch 3`.
    Frozen {
        values: Vec<Expr>,
        until: Option<Until>,
    },
    /// `step critic over judge every 5 { entries }`.
    Step {
        name: Name,
        over: Vec<Expr>,
        every: Option<Expr>,
        entries: Vec<TrainEntry>,
    },
    Rows(Expr),
    Weights(Expr),
    Augment(Vec<DataField>),
    /// A word this grammar does not know, with what followed it.
    Word {
        word: Name,
        values: Vec<Expr>,
    },
    Error,
}

/// `stalls for 5 epochs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stall {
    pub count: Expr,
    /// `epochs` or `steps`.
    pub unit: Name,
    pub span: Span,
}

/// `until epoch 3`.
#[derive(Clone, Debug, PartialEq)]
pub struct Until {
    pub unit: Name,
    pub count: Expr,
    pub span: Span,
}

/// `from "trunk.safetensors" { map }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    pub file: Text,
    pub map: Vec<Renaming>,
    pub span: Span,
}

/// `net.trunk.conv_1.w[k, c, f] = "stem.conv.weight"[f, c, k]` or `net.trunk.* = "trunk.*"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Renaming {
    pub path: Vec<Name>,
    /// The path ends with `.*`.
    pub all: bool,
    pub indices: Vec<Name>,
    pub stored: Text,
    pub stored_indices: Vec<Name>,
    pub span: Span,
}

/// `tune NAME { entries }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tune {
    pub name: Name,
    pub entries: Vec<TuneEntry>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TuneEntry {
    pub kind: TuneEntryKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TuneEntryKind {
    /// `search width in [16, 32], lr in log(1e-4, 1e-2)`.
    Search(Vec<SearchAxis>),
    /// `method bayes(trials: 40)`.
    Method(Expr),
    /// `score valid.auroc with kfold(5) inside split`.
    Score {
        value: Expr,
        with: Option<Expr>,
        inside: Option<Name>,
    },
    /// A word this grammar does not know, with what followed it.
    Word {
        word: Name,
        values: Vec<Expr>,
    },
    Error,
}

/// `width in [16, 32]`, `net.drop in 0.0 .. 0.5`.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchAxis {
    pub path: Vec<Name>,
    pub range: SearchRange,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SearchRange {
    /// A list, or a call such as `log(1e-4, 1e-2)`.
    Among(Expr),
    Between {
        from: Expr,
        to: Expr,
    },
}

/// `expect splice { test.accuracy >= 0.93 }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    pub name: Name,
    pub conditions: Vec<Expr>,
}

// ---------------------------------------------------------------------------------------------------------------------
// Words

impl Name {
    pub fn new(text: impl Into<String>, span: Span) -> Self {
        Name { text: text.into(), span }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expr {
    pub fn new(kind: ExprKind, span: Span) -> Self {
        Expr { kind, span }
    }

    /// `net.trunk.w` as its names; `None` for anything else.
    pub fn as_path(&self) -> Option<Vec<&Name>> {
        if let ExprKind::Name(name) = &self.kind {
            return Some(vec![name]);
        }
        let ExprKind::Field { base, field } = &self.kind else { return None };
        let mut path = base.as_path()?;
        path.push(field);
        Some(path)
    }
}

impl BinaryOp {
    pub fn text(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Rem => "%",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
        }
    }
}

impl Reduction {
    pub const ALL: [Reduction; 10] = [
        Reduction::Sum,
        Reduction::Prod,
        Reduction::Min,
        Reduction::Max,
        Reduction::Mean,
        Reduction::Any,
        Reduction::All,
        Reduction::Argmax,
        Reduction::Argmin,
        Reduction::Logsumexp,
    ];

    pub fn text(self) -> &'static str {
        match self {
            Reduction::Sum => "sum",
            Reduction::Prod => "prod",
            Reduction::Min => "min",
            Reduction::Max => "max",
            Reduction::Mean => "mean",
            Reduction::Any => "any",
            Reduction::All => "all",
            Reduction::Argmax => "argmax",
            Reduction::Argmin => "argmin",
            Reduction::Logsumexp => "logsumexp",
        }
    }

    pub fn from_text(text: &str) -> Option<Reduction> {
        Reduction::ALL.into_iter().find(|op| op.text() == text)
    }
}
