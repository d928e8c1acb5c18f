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

mod entries;
mod expressions;

pub use entries::*;
pub use expressions::*;

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
    /// A function of the block's own, which may read the names around it.
    Fn(Fn),
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
