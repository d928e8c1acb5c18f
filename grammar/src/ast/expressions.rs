//! Expressions, and the indices they bind.

use super::{Block, Name};
use crate::span::Span;

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
