//! Words, texts and numbers as the arguments of encoders and options.

use super::{Lower, call};
use bdl_data::{Alphabet, Column, Missing};
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::{Arg, ArgKind, BinaryOp, Expr, ExprKind, ItemKind, UnaryOp};

impl Lower<'_> {
    pub(super) fn column(&mut self, column: &Expr) -> Option<Column> {
        match &column.kind {
            ExprKind::Str(name) => Some(Column::Name(name.clone())),
            ExprKind::Int(number) if *number >= 1 => Some(Column::Number(*number as usize)),
            _ => {
                self.say(column.span, "data-expression", "a column is named by a text, or numbered from 1");
                None
            }
        }
    }

    /// `patient`, `"patient id"` or `column("patient")`.
    pub(super) fn column_named(&mut self, value: &Expr) -> Option<Column> {
        match (&value.kind, call(value)) {
            (ExprKind::Name(name), _) => Some(Column::name(&name.text)),
            (_, Some(("column", [Arg { kind: ArgKind::Positional(column), .. }]))) => self.column(column),
            (_, _) => self.column(value),
        }
    }

    pub(super) fn alphabet(&mut self, name: &Expr) -> Option<Alphabet> {
        if let ExprKind::Name(word) = &name.kind {
            let own = self.items.iter().find_map(|item| match &item.kind {
                ItemKind::Alphabet(own) if own.name.text == word.text => Some(own),
                _ => None,
            });
            if let Some(own) = own {
                let letters: Vec<String> = own.letters.iter().map(|letter| letter.text.clone()).collect();
                return Alphabet::custom(&own.name.text, &letters)
                    .map_err(|what| self.say(name.span, "data-expression", what))
                    .ok();
            }
            if let Some(alphabet) = Alphabet::by_name(&word.text) {
                return Some(alphabet);
            }
        }
        self.diagnostics.push(
            Diagnostic::error("unknown-name", format!("there is no alphabet `{}`", self.sources.slice(name.span)))
                .primary(name.span, "not an alphabet")
                .help("alphabets are DNA, RNA, Protein and those that the file defines: `alphabet Codon = \"AAA\" \"AAC\" ..`"),
        );
        None
    }

    pub(super) fn missing(&mut self, value: &Expr) -> Option<Missing> {
        Some(match &value.kind {
            ExprKind::Name(word) if word.text == "error" => Missing::Error,
            ExprKind::Name(word) if word.text == "keep" => Missing::Keep,
            ExprKind::Str(text) => Missing::Text(text.clone()),
            _ => Missing::Number(self.number(value)?),
        })
    }

    /// A value as it stands in a cell: `yes: "M"`, `yes: 1`.
    pub(super) fn cell(&mut self, value: &Expr) -> Option<String> {
        match &value.kind {
            ExprKind::Str(text) => Some(text.clone()),
            ExprKind::Int(number) => Some(number.to_string()),
            _ => self.text(value),
        }
    }

    pub(super) fn text(&mut self, value: &Expr) -> Option<String> {
        if let ExprKind::Str(text) = &value.kind {
            return Some(text.clone());
        }
        self.say(value.span, "data-expression", "a text in quotes is expected here");
        None
    }

    pub(super) fn texts(&mut self, value: &Expr) -> Option<Vec<String>> {
        match &value.kind {
            ExprKind::List(items) => items.iter().map(|item| self.text(item)).collect(),
            _ => Some(vec![self.text(value)?]),
        }
    }

    pub(super) fn letter(&mut self, value: &Expr) -> Option<char> {
        let text = self.text(value)?;
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => Some(letter),
            (_, _) => {
                self.say(value.span, "data-expression", "one character is expected here");
                None
            }
        }
    }

    pub(super) fn truth(&mut self, value: &Expr) -> Option<bool> {
        if let ExprKind::Bool(truth) = value.kind {
            return Some(truth);
        }
        self.say(value.span, "data-expression", "`true` or `false` is expected here");
        None
    }

    pub(super) fn natural(&mut self, value: &Expr) -> Option<u64> {
        if let ExprKind::Int(number) = value.kind
            && number >= 0
        {
            return Some(number as u64);
        }
        self.say(value.span, "data-expression", "a whole number is expected here");
        None
    }

    pub(super) fn number(&mut self, value: &Expr) -> Option<f64> {
        let number = self.constant(value);
        if number.is_none() {
            self.say(value.span, "data-expression", "a number is expected here");
        }
        number
    }

    /// A number that is known without looking at any data; names are those of `let`s of the block and of the file.
    pub(super) fn constant(&self, value: &Expr) -> Option<f64> {
        match &value.kind {
            ExprKind::Int(number) => Some(*number as f64),
            ExprKind::Float(number) => Some(*number),
            ExprKind::Unary { op: UnaryOp::Neg, value } => Some(-self.constant(value)?),
            ExprKind::Binary { op, left, right } => {
                let (a, b) = (self.constant(left)?, self.constant(right)?);
                match op {
                    BinaryOp::Add => Some(a + b),
                    BinaryOp::Sub => Some(a - b),
                    BinaryOp::Mul => Some(a * b),
                    BinaryOp::Div => Some(a / b).filter(|x| x.is_finite()),
                    BinaryOp::Rem
                    | BinaryOp::Eq
                    | BinaryOp::Ne
                    | BinaryOp::Lt
                    | BinaryOp::Le
                    | BinaryOp::Gt
                    | BinaryOp::Ge
                    | BinaryOp::And
                    | BinaryOp::Or => None,
                }
            }
            ExprKind::Name(name) if !self.fields.contains(&name.text) => {
                if let Some((_, number)) = self.numbers.iter().find(|(known, _)| *known == name.text) {
                    return Some(*number);
                }
                self.items.iter().find_map(|item| match &item.kind {
                    ItemKind::Let(binding) if binding.name.text == name.text => number_of(&binding.value),
                    ItemKind::Const(constant) if constant.name.text == name.text => number_of(&constant.value),
                    _ => None,
                })
            }
            _ => None,
        }
    }
}

fn number_of(value: &Expr) -> Option<f64> {
    match &value.kind {
        ExprKind::Int(number) => Some(*number as f64),
        ExprKind::Float(number) => Some(*number),
        ExprKind::Unary { op: UnaryOp::Neg, value } => Some(-number_of(value)?),
        _ => None,
    }
}
