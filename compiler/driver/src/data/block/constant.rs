//! Words, texts and numbers as the arguments of encoders and options.

use super::{Lower, call};
use bdl_data::{Alphabet, Column, Missing};
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::{Arg, ArgKind, BinaryOp, Expr, ExprKind, ItemKind, UnaryOp};

impl Lower<'_> {
    pub(super) fn column(&mut self, column: &Expr) -> Option<Column> {
        if let ExprKind::Str(name) = &column.kind {
            return Some(Column::Name(name.clone()));
        }
        if let ExprKind::Int(number @ 1..) = &column.kind {
            return Some(Column::Number(*number as usize));
        }
        self.say(column.span, "data-expression", "a column is named by a text, or numbered from 1");
        None
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
        if let ExprKind::Str(text) = &value.kind {
            return Some(Missing::Text(text.clone()));
        }
        if let ExprKind::Name(word) = &value.kind {
            match word.text.as_str() {
                "error" => return Some(Missing::Error),
                "keep" => return Some(Missing::Keep),
                _ => {}
            }
        }
        Some(Missing::Number(self.number(value)?))
    }

    /// A value as it stands in a cell: `yes: "M"`, `yes: 1`.
    pub(super) fn cell(&mut self, value: &Expr) -> Option<String> {
        if let ExprKind::Int(number) = &value.kind { Some(number.to_string()) } else { self.text(value) }
    }

    pub(super) fn text(&mut self, value: &Expr) -> Option<String> {
        if let ExprKind::Str(text) = &value.kind {
            return Some(text.clone());
        }
        self.say(value.span, "data-expression", "a text in quotes is expected here");
        None
    }

    pub(super) fn texts(&mut self, value: &Expr) -> Option<Vec<String>> {
        if let ExprKind::List(items) = &value.kind {
            return items.iter().map(|item| self.text(item)).collect();
        }
        Some(vec![self.text(value)?])
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
        if let Some(number) = number_of(value) {
            return Some(number);
        }
        if let ExprKind::Unary { op: UnaryOp::Neg, value } = &value.kind {
            return Some(-self.constant(value)?);
        }
        if let ExprKind::Name(name) = &value.kind
            && !self.fields.contains(&name.text)
        {
            if let Some((_, number)) = self.numbers.iter().find(|(known, _)| *known == name.text) {
                return Some(*number);
            }
            return self.items.iter().find_map(|item| {
                let (known, value) = if let ItemKind::Let(binding) = &item.kind {
                    (&binding.name, &binding.value)
                } else if let ItemKind::Const(constant) = &item.kind {
                    (&constant.name, &constant.value)
                } else {
                    return None;
                };
                if known.text == name.text { number_of(value) } else { None }
            });
        }
        let ExprKind::Binary { op, left, right } = &value.kind else { return None };
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
}

/// A number as it is written.
fn number_of(value: &Expr) -> Option<f64> {
    if let ExprKind::Int(number) = &value.kind {
        return Some(*number as f64);
    }
    if let ExprKind::Float(number) = &value.kind {
        return Some(*number);
    }
    let ExprKind::Unary { op: UnaryOp::Neg, value } = &value.kind else { return None };
    Some(-number_of(value)?)
}
