//! Nodes of items, statements and the entries of `data` and `train`.

use super::{Context, Tail};
use crate::ast::*;
use crate::diagnostic::Diagnostic;

impl Context {
    /// With one bracket only, it holds the inputs.
    pub fn layer(
        &self,
        name: Name,
        first: Vec<Param>,
        second: Option<Vec<Param>>,
        result: Type,
        laws: Vec<Law>,
        body: Block,
    ) -> Layer {
        let hyper_written = second.is_some();
        let (hyper, inputs) = match second {
            Some(inputs) => (first, inputs),
            None => (Vec::new(), first),
        };
        Layer { name, hyper, hyper_written, inputs, result, laws, body }
    }

    /// `f32[3]?`: said to be wrong, and read as `f32?[3]`.
    #[allow(clippy::too_many_arguments)]
    pub fn late_question(
        &mut self,
        start: u32,
        name: &str,
        name_end: u32,
        args: Vec<Expr>,
        dims: Vec<Dim>,
        question: u32,
        end: u32,
    ) -> TypeKind {
        self.diagnostics.push(
            Diagnostic::error("syntax", "the `?` stands before the brackets of the shape")
                .primary(self.span(question, end), "not here")
                .help(format!("write `{name}?[...]`: each element may be missing")),
        );
        TypeKind::Word { name: self.name(start, name, name_end), args, optional: true, dims: Some(dims) }
    }

    /// `let x: f32 = e`: said to be wrong, and read without the type.
    pub fn typed_let(&mut self, name: Name, start: u32, end: u32, value: Expr) -> Let {
        self.diagnostics.push(
            Diagnostic::error("syntax", "a `let` has no type: it follows from the value")
                .primary(self.span(start, end), "remove this")
                .help(format!("write `let {name} = ...`, or `let {name}[i, j] = ...` to define it index by index")),
        );
        Let { name, binders: None, value }
    }

    /// `next h = e`, or a definition without `let`: said to be wrong, and read as if it were there.
    pub fn assign(&mut self, left: Expr, start: u32, end: u32, value: Expr) -> StmtKind {
        let sign = self.span(start, end);
        let place = left.span;
        let (base, subs) = match left.kind {
            ExprKind::Next(name) => return StmtKind::Next { name, value },
            ExprKind::Subscript { base, subs } => (base.kind, Some(subs)),
            other => (other, None),
        };
        let ExprKind::Name(name) = base else {
            self.diagnostics.push(
                Diagnostic::error("syntax", "only a name can be defined")
                    .primary(place, "this is a value")
                    .secondary(sign, "`=` defines")
                    .help("write `let NAME = ...`; `==` compares"),
            );
            return StmtKind::Error;
        };
        self.diagnostics.push(
            Diagnostic::error("syntax", "a definition begins with `let`")
                .primary(place, "`let` is missing here")
                .help(format!(
                    "write `let {name}{} = ...`; `update {name} = ...` changes a state, `next {name} = ...` a carried value",
                    if subs.is_some() { "[...]" } else { "" }
                )),
        );
        let Some(subs) = subs else { return StmtKind::Let(Let { name, binders: None, value }) };
        let binders: Option<Vec<Binder>> = subs.into_iter().map(binder_of).collect();
        match binders {
            Some(binders) => StmtKind::Let(Let { name, binders: Some(binders), value }),
            None => StmtKind::Error,
        }
    }

    pub fn data_field(&mut self, start: u32, name: Name, ty: Option<Type>, value: Expr, end: u32) -> DataField {
        if name.text == "batch" {
            self.diagnostics.push(
                Diagnostic::error("reserved-word", "a field cannot be called `batch`")
                    .primary(name.span, "`batch` means the examples of one training step")
                    .help("call it otherwise, such as `plate`: `plate = category(column(\"batch\"))`"),
            );
        }
        DataField { name, ty, value, span: self.span(start, end) }
    }

    /// `weights: balanced(y)`, or a field's name and type alone: said to be wrong.
    pub fn no_value(&mut self, name: Name, start: u32, end: u32, ty: Type) -> DataEntryKind {
        let colon = self.span(start, end);
        let word = name.text.as_str();
        self.diagnostics.push(match what_it_takes(word) {
            Some(takes) => {
                Diagnostic::error("syntax", format!("`{word}` is a word and what it takes, with nothing between"))
                    .primary(colon, "remove this")
                    .help(takes)
            }
            None => Diagnostic::error("syntax", format!("the field `{name}` has a type and no value"))
                .primary(ty.span, "`= ...` is missing behind it")
                .help(format!("write `{name} = number(column(\"...\"))`; a type may stand before the `=`")),
        });
        DataEntryKind::Error
    }

    /// An entry of `data` that begins with a word of no rule's own.
    pub fn data_word(&mut self, word: Name, values: Vec<Expr>) -> DataEntryKind {
        match word.text.as_str() {
            "weights" => match self.single(&word, values) {
                Some(value) => DataEntryKind::Weights(value),
                None => DataEntryKind::Error,
            },
            _ => DataEntryKind::Word { word, values },
        }
    }

    /// An entry of `train` that begins with a word of no rule's own.
    pub fn train_word(&mut self, word: Name, values: Vec<Expr>) -> TrainEntryKind {
        let make = match word.text.as_str() {
            "split" => TrainEntryKind::Split,
            "penalty" => TrainEntryKind::Penalty,
            "epochs" => TrainEntryKind::Epochs,
            "batch" => |size| TrainEntryKind::Batch { size, parts: None },
            "average" => TrainEntryKind::Average,
            "weights" => TrainEntryKind::Weights,
            _ => return TrainEntryKind::Word { word, values },
        };
        self.single(&word, values).map_or(TrainEntryKind::Error, make)
    }

    /// `batch 64 in 4 parts`.
    pub fn in_parts(&mut self, word: Name, values: Vec<Expr>, tail: Tail) -> TrainEntryKind {
        let (parts, unit) = match tail {
            Tail::Named(count, unit) => (count, Some(unit)),
            Tail::Quantity(Expr { kind: ExprKind::Quantity { value, unit }, .. }) => (*value, Some(unit)),
            Tail::Quantity(count) => (count, None),
        };
        if word.text != "batch" {
            self.diagnostics.push(
                Diagnostic::error("syntax", format!("`{word}` has no parts"))
                    .primary(parts.span, "only a batch is computed in parts")
                    .help("write `batch 64 in 4 parts`"),
            );
            return TrainEntryKind::Error;
        }
        if !unit.as_ref().is_some_and(|unit| matches!(unit.text.as_str(), "part" | "parts")) {
            let place = unit.map_or(parts.span, |unit| unit.span);
            self.diagnostics.push(
                Diagnostic::error("syntax", "a batch is computed in parts")
                    .primary(place, "`parts` is expected")
                    .help("write `batch 64 in 4 parts`"),
            );
            return TrainEntryKind::Error;
        }
        match self.single(&word, values) {
            Some(size) => TrainEntryKind::Batch { size, parts: Some(parts) },
            None => TrainEntryKind::Error,
        }
    }

    /// The one value of an entry that has exactly one.
    fn single(&mut self, word: &Name, mut values: Vec<Expr>) -> Option<Expr> {
        if values.len() == 1 {
            return values.pop();
        }
        let error = match values.get(1) {
            None => {
                Diagnostic::error("syntax", format!("`{word}` needs a value")).primary(word.span, "nothing follows")
            }
            Some(second) => Diagnostic::error("syntax", format!("`{word}` takes one value"))
                .primary(second.span, "this is one too many"),
        };
        self.diagnostics.push(error);
        None
    }

    /// `epochs = 40`: said to be wrong, and read as `epochs 40` where that needs no more than a value.
    pub fn equals_entry(&mut self, word: Name, start: u32, end: u32, value: Expr) -> TrainEntryKind {
        self.diagnostics.push(
            Diagnostic::error("syntax", "an entry of `train` is a word and its value, with nothing between")
                .primary(self.span(start, end), "remove this")
                .help(match word.text.as_str() {
                    "model" => "write `model net = ...`".to_string(),
                    "predict" | "fit" => format!("write `{word} NAME = ...`"),
                    "weights" | "rows" => what_it_takes(&word.text).unwrap_or_default().to_string(),
                    _ => format!("write `{word} ...`; `let {word} = ...` would define a name"),
                }),
        );
        match word.text.as_str() {
            "loss" => TrainEntryKind::Loss { value, per: None },
            "optimizer" => TrainEntryKind::Optimizer { value, over: Vec::new() },
            "split" | "penalty" | "epochs" | "batch" | "average" | "weights" => self.train_word(word, vec![value]),
            _ => TrainEntryKind::Error,
        }
    }

    /// `stop when valid.loss stalls for 5 epochs`.
    pub fn stop(&mut self, when: Expr, start: u32, tail: Tail, end: u32) -> TrainEntryKind {
        let span = self.span(start, end);
        let (count, unit) = match tail {
            Tail::Named(count, unit) => (count, unit),
            Tail::Quantity(Expr { kind: ExprKind::Quantity { value, unit }, .. }) => (*value, unit),
            Tail::Quantity(count) => {
                self.diagnostics.push(
                    Diagnostic::error("syntax", "how long it may stall needs a unit")
                        .primary(count.span, "epochs or steps?")
                        .help("write `stalls for 5 epochs`"),
                );
                return TrainEntryKind::Error;
            }
        };
        TrainEntryKind::Stop { when, stalls: Some(Stall { count, unit, span }) }
    }
}

/// What is written behind a word that begins an entry of `data`.
fn what_it_takes(word: &str) -> Option<&'static str> {
    match word {
        "weights" => Some(
            "write `weights balanced(y)`, where y is a category or truth value: a training row then counts rows / (classes * rows of its class)",
        ),
        "rows" => {
            Some("write `rows oversample(y)`, `rows undersample(y)` or `rows smote(y)`: each is about training rows")
        }
        "keep" => Some("write `keep CONDITION`: the rows for which it holds"),
        "distinct" => Some("write `distinct x, y`: the first of the rows that are equal in these fields"),
        "augment" => Some("write `augment { x = ... }`: the field as training sees it"),
        _ => None,
    }
}

/// A subscript read as what binds an index.
fn binder_of(sub: Sub) -> Option<Binder> {
    let kind = match sub.kind {
        SubKind::Rest => BinderKind::Rest,
        SubKind::Expr(Expr { kind: ExprKind::Name(name), .. }) => Context::binder(name),
        SubKind::Expr(Expr { kind: ExprKind::Binary { op: BinaryOp::Lt, left, right }, .. }) => {
            let ExprKind::Name(name) = left.kind else { return None };
            BinderKind::Bounded { name, bound: *right }
        }
        SubKind::Expr(_) | SubKind::Else { .. } | SubKind::Range { .. } => return None,
    };
    Some(Binder { kind, span: sub.span })
}
