//! Fields: where a value comes from, and which steps follow.

use super::lookup::{self, What};
use super::{Lower, call, only};
use bdl_data::{Alphabet, Arith, Column, Draw, FieldSpec, Function, Lookup, Origin, Step};
use bdl_grammar::ast::{Arg, ArgKind, BinaryOp, Expr, ExprKind, SubKind};

impl Lower<'_> {
    pub(super) fn field(&mut self, name: &str, value: &Expr) -> Option<FieldSpec> {
        if let Some(column) = self.column_expr(value) {
            return Some(FieldSpec::new(name, Origin::Column(column?)));
        }
        match &value.kind {
            ExprKind::Pipe { value: inner, into } => {
                let field = self.field(name, inner)?;
                let Some((word, args)) = word_and_args(into) else {
                    self.say(into.span, "data-expression", "after `|>` comes an encoder such as `standardize`");
                    return None;
                };
                self.step(field, word, args, into.span)
            }
            ExprKind::Binary { op, left, right } => match self.with_constant(*op, left, right) {
                Some((step, of)) => Some(self.field(name, of)?.step(Step::Arith(step))),
                None => self.computed(name, value),
            },
            ExprKind::Unary { .. } | ExprKind::If { .. } | ExprKind::Else { .. } | ExprKind::Bool(_) => {
                self.computed(name, value)
            }
            ExprKind::Name(field) if self.fields.contains(&field.text) => {
                Some(FieldSpec::new(name, Origin::Field(field.text.clone())))
            }
            ExprKind::Name(word) if matches!(word.text.as_str(), "normal" | "uniform") => self.draw(name, value, &[]),
            ExprKind::Name(_) => {
                self.unknown_field(value.span);
                None
            }
            ExprKind::Subscript { base, subs } => {
                let mut dims = Vec::new();
                for sub in subs {
                    match &sub.kind {
                        SubKind::Expr(size) => dims.push(self.natural(size)? as usize),
                        SubKind::Else { .. } | SubKind::Rest | SubKind::Range { .. } => {
                            self.say(sub.span, "data-expression", "the shape of a draw is written in numbers");
                            return None;
                        }
                    }
                }
                self.draw(name, base, &dims)
            }
            ExprKind::Call { callee, .. } if matches!(callee.kind, ExprKind::Name(_)) => self.encoder(name, value),
            ExprKind::Call { callee, args } => {
                let written = lookup::written(value);
                match (written, &callee.kind) {
                    (Some(written), _) if matches!(written.what, What::Columns) => {
                        let of = self.lookup(&written)?;
                        self.columns(name, Some(of), args)
                    }
                    (_, ExprKind::Field { .. }) => {
                        self.not_built(value.span, "a value of this kind in a data block");
                        None
                    }
                    (_, _) => self.no_field(value),
                }
            }
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Str(_)
            | ExprKind::Quantity { .. }
            | ExprKind::Next(_)
            | ExprKind::Field { .. }
            | ExprKind::List(_)
            | ExprKind::Record(_)
            | ExprKind::For { .. }
            | ExprKind::Reduce { .. }
            | ExprKind::Except { .. }
            | ExprKind::Block(_)
            | ExprKind::Scan(_)
            | ExprKind::Iterate(_)
            | ExprKind::Error => self.no_field(value),
        }
    }

    fn no_field(&mut self, value: &Expr) -> Option<FieldSpec> {
        self.say(value.span, "data-expression", "a field is a column with an encoder: `number(column(\"x\"))`");
        None
    }

    /// `column("x")`, `column(5)`, or one of another table. `None`: something else; `Some(None)` after a message.
    pub(super) fn column_expr(&mut self, value: &Expr) -> Option<Option<Column>> {
        if let Some(("column", args)) = call(value) {
            return Some(match only(args) {
                Some(column) => self.column(column),
                None => {
                    self.say(value.span, "data-expression", "`column` takes a name or a number: `column(\"x\")`");
                    None
                }
            });
        }
        let written = lookup::written(value)?;
        match &written.what {
            What::Columns => None,
            What::Column(_) | What::Named(_) => Some(self.looked_up(&written)),
            // `normal[24, 40]` is a draw with a shape.
            What::Other if matches!(value.kind, ExprKind::Subscript { .. }) => {
                let ExprKind::Subscript { base, .. } = &value.kind else { return None };
                let ExprKind::Name(table) = &base.kind else { return None };
                if self.is_table(&table.text) { Some(self.looked_up(&written)) } else { None }
            }
            What::Other => None,
        }
    }

    fn encoder(&mut self, name: &str, value: &Expr) -> Option<FieldSpec> {
        let (word, args) = call(value)?;
        let first = args.first().and_then(|arg| match &arg.kind {
            ArgKind::Positional(first) => Some(first),
            ArgKind::Named { .. } | ArgKind::Each { .. } | ArgKind::Hole => None,
        });
        match word {
            "columns" => self.columns(name, None, args),
            "normal" | "uniform" | "bernoulli" => self.draw(name, value, &[]),
            "category" | "letters" | "index" if args.len() == 1 && first.is_some_and(|first| !is_cells(first)) => {
                self.draw(name, value, &[])
            }
            "min" | "max" | "pow" => self.computed(name, value),
            word if Function::named(word).is_some() && !is_step(word) => self.computed(name, value),
            _ => {
                let (Some(inner), Some((_, rest))) = (first, args.split_first()) else {
                    self.say(
                        value.span,
                        "data-expression",
                        format!("`{word}` needs a column: `{word}(column(\"x\"))`"),
                    );
                    return None;
                };
                let field = self.field(name, inner)?;
                self.step(field, word, rest, value.span)
            }
        }
    }

    fn columns(&mut self, name: &str, of: Option<Lookup>, args: &[Arg]) -> Option<FieldSpec> {
        let (mut include, mut except) = (Vec::new(), Vec::new());
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(Expr { kind: ExprKind::Except { value, except: left_out }, .. }) => {
                    include.push(self.text(value)?);
                    for text in left_out {
                        except.push(self.text(text)?);
                    }
                }
                ArgKind::Positional(text) => include.push(self.text(text)?),
                ArgKind::Named { .. } | ArgKind::Each { .. } | ArgKind::Hole => {
                    self.say(arg.span, "data-expression", "`columns` takes patterns: `columns(\"x*\" except \"x9\")`");
                    return None;
                }
            }
        }
        Some(FieldSpec::new(name, Origin::Columns { of, include, except }))
    }

    /// Arithmetic of one value with a number, which can be undone (`predict .. as`), and the value.
    fn with_constant<'e>(&self, op: BinaryOp, left: &'e Expr, right: &'e Expr) -> Option<(Arith, &'e Expr)> {
        let (of, constant, of_first) = match (self.constant(left), self.constant(right)) {
            (None, Some(c)) => (left, c, true),
            (Some(c), None) => (right, c, false),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        let step = match (op, of_first) {
            (BinaryOp::Add, _) => Arith::Add(constant),
            (BinaryOp::Sub, true) => Arith::Add(-constant),
            (BinaryOp::Sub, false) => Arith::SubtractFrom(constant),
            (BinaryOp::Mul, _) => Arith::Multiply(constant),
            (BinaryOp::Div, true) => Arith::Divide(constant),
            (BinaryOp::Div, false) => Arith::DivideInto(constant),
            (
                BinaryOp::Rem
                | BinaryOp::Eq
                | BinaryOp::Ne
                | BinaryOp::Lt
                | BinaryOp::Le
                | BinaryOp::Gt
                | BinaryOp::Ge
                | BinaryOp::And
                | BinaryOp::Or,
                _,
            ) => return None,
        };
        Some((step, of))
    }

    pub(super) fn draw(&mut self, name: &str, value: &Expr, dims: &[usize]) -> Option<FieldSpec> {
        let Some((word, args)) = word_and_args(value) else {
            self.say(
                value.span,
                "data-expression",
                "brackets give a draw its shape, `normal[24, 40]`; elements of a field are read in a model or loss",
            );
            return None;
        };
        let positional: Vec<&Expr> = args
            .iter()
            .filter_map(|arg| match &arg.kind {
                ArgKind::Positional(value) => Some(value),
                ArgKind::Named { .. } | ArgKind::Each { .. } | ArgKind::Hole => None,
            })
            .collect();
        let draw = match (word, positional.as_slice()) {
            ("normal", []) => Draw::Normal,
            ("uniform", []) => Draw::Uniform,
            ("bernoulli", [p]) => Draw::Bernoulli(self.number(p)?),
            ("category", [k]) => Draw::Category(self.natural(k)? as usize),
            ("index", [n]) => Draw::Index(self.natural(n)? as usize),
            ("letters", [alphabet]) => Draw::Letters(self.alphabet(alphabet)?),
            (_, _) => {
                self.say(
                    value.span,
                    "data-expression",
                    "not a draw: normal, uniform, bernoulli(p), category(k), index(n) and letters(DNA) are (elements of a field are read in a model or loss)",
                );
                return None;
            }
        };
        Some(FieldSpec::new(name, Origin::Draw { draw, dims: dims.to_vec() }))
    }
}

/// `standardize`, or `impute(median)`.
fn word_and_args(value: &Expr) -> Option<(&str, &[Arg])> {
    if let ExprKind::Name(word) = &value.kind {
        return Some((&word.text, &[]));
    }
    call(value)
}

/// Functions that are steps too, so that a prediction can go back through them.
pub(super) fn is_step(word: &str) -> bool {
    matches!(word, "log" | "log1p" | "sqrt")
}

/// Does the expression come from cells of a file (rather than being the number of a draw)?
fn is_cells(value: &Expr) -> bool {
    match &value.kind {
        ExprKind::Name(name) => Alphabet::by_name(&name.text).is_none(),
        ExprKind::Call { .. }
        | ExprKind::Pipe { .. }
        | ExprKind::Binary { .. }
        | ExprKind::Field { .. }
        | ExprKind::Subscript { .. }
        | ExprKind::If { .. }
        | ExprKind::Else { .. }
        | ExprKind::Unary { .. } => true,
        ExprKind::Int(_)
        | ExprKind::Float(_)
        | ExprKind::Str(_)
        | ExprKind::Bool(_)
        | ExprKind::Quantity { .. }
        | ExprKind::Next(_)
        | ExprKind::List(_)
        | ExprKind::Record(_)
        | ExprKind::For { .. }
        | ExprKind::Reduce { .. }
        | ExprKind::Except { .. }
        | ExprKind::Block(_)
        | ExprKind::Scan(_)
        | ExprKind::Iterate(_)
        | ExprKind::Error => false,
    }
}
