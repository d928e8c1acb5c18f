//! The entries of `data`, `train`, `tune` and `expect`.

use super::{Expr, Let, Name, Param, Text, Type};
use crate::span::Span;

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
    /// `batch 64`, `batch 64 in 4 parts`.
    Batch {
        size: Expr,
        parts: Option<Expr>,
    },
    /// `average 0.999`.
    Average(Expr),
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
    /// `report accuracy(kind, site) by hospital, auroc(kind, site)`.
    Report(Vec<Reported>),
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

/// Metrics of a `report` and the `by` behind them, which holds for all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    pub values: Vec<Expr>,
    pub by: Option<Expr>,
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
