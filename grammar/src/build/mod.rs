//! What the grammar's actions call: small functions that make nodes of the tree.
//!
//! - here: the [`Context`] that all share, names and literals;
//! - [`expressions`](self): calls, reductions, parentheses;
//! - [`entries`](self): items, statements and the entries of `data` and `train`.
//!
//! They also speak of mistakes that the grammar accepts on purpose, because they are common and their meaning is plain:
//! `let x: f32 = 1`, `Conv1d(32, kernel = 9)`, `epochs = 40`. Nothing here looks beyond its own arguments.

mod entries;
mod expressions;

use crate::ast::*;
use crate::diagnostic::Diagnostic;
use crate::span::{FileId, Span};

/// What one run of the grammar over an item collects beside the tree. A run that is thrown away takes it along.
#[derive(Debug, Default)]
pub struct Context {
    pub file: FileId,
    pub diagnostics: Vec<Diagnostic>,
    pub parentheses: Vec<(u32, u32)>,
}

/// What stands after `stalls for`: `5 epochs`, or `patience epochs`.
pub enum Tail {
    Quantity(Expr),
    Named(Expr, Name),
}

impl Context {
    pub fn new(file: FileId) -> Self {
        Context { file, ..Context::default() }
    }

    pub fn span(&self, start: u32, end: u32) -> Span {
        // An empty rule may start after it ends.
        Span::new(self.file, start.min(end), end)
    }

    pub fn name(&self, start: u32, text: &str, end: u32) -> Name {
        Name::new(text, self.span(start, end))
    }

    /// A name of a reduction where a new name was expected.
    pub fn reserved_name(&mut self, start: u32, op: Reduction, end: u32) -> Name {
        let word = op.text();
        let span = self.span(start, end);
        let instead = match op {
            Reduction::Mean => "average",
            Reduction::Max => "largest",
            Reduction::Min => "smallest",
            Reduction::Sum => "total",
            Reduction::Prod => "product",
            Reduction::Any | Reduction::All => "found",
            Reduction::Argmax | Reduction::Argmin => "best",
            Reduction::Logsumexp => "log_total",
        };
        self.diagnostics.push(
            Diagnostic::error(
                "reserved-word",
                format!("`{word}` is the name of a reduction and cannot name anything else"),
            )
            .primary(span, format!("`{word}[i] x[i]` reduces"))
            .help(format!("choose another name, such as `{instead}`")),
        );
        Name::new(word, span)
    }

    /// The text of a literal: `\"`, `\\`, `\n` and `\t` stand for what they do elsewhere.
    pub fn text(&mut self, start: u32, literal: &str, end: u32) -> Text {
        let quoted = literal.len() >= 2 && literal.ends_with(['"', '\'']);
        let inside = literal.get(1..if quoted { literal.len() - 1 } else { literal.len() }).unwrap_or("");
        let mut text = String::with_capacity(inside.len());
        let mut letters = inside.char_indices();
        while let Some((at, letter)) = letters.next() {
            if letter != '\\' {
                text.push(letter);
                continue;
            }
            match letters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, same @ ('"' | '\\'))) => text.push(same),
                other => {
                    let from = start + 1 + at as u32;
                    let to = from + 1 + other.map_or(0, |(_, letter)| letter.len_utf8() as u32);
                    self.diagnostics.push(
                        Diagnostic::error(
                            "bad-letter",
                            "only `\\\"`, `\\\\`, `\\n` and `\\t` may follow a `\\` in a text",
                        )
                        .primary(self.span(from, to), "")
                        .help("write `\\\\` for one backslash"),
                    );
                    text.extend(other.map(|(_, letter)| letter));
                }
            }
        }
        Text { text, span: self.span(start, end) }
    }

    pub fn expr(&self, start: u32, kind: ExprKind, end: u32) -> Expr {
        Expr::new(kind, self.span(start, end))
    }

    pub fn int(&self, start: u32, literal: &str, end: u32) -> Expr {
        // The lexer has refused what does not fit.
        let value = literal.replace('_', "").parse().unwrap_or(0);
        self.expr(start, ExprKind::Int(value), end)
    }

    pub fn float(&self, start: u32, literal: &str, end: u32) -> Expr {
        let value: f64 = literal.replace('_', "").parse().unwrap_or(0.0);
        self.expr(start, ExprKind::Float(value), end)
    }

    /// `400 epochs`.
    pub fn quantity(&mut self, start: u32, literal: &str, middle: u32, unit: Name, end: u32) -> Expr {
        let value = self.int(start, literal, middle);
        if !["epoch", "epochs", "step", "steps", "part", "parts"].contains(&unit.text.as_str()) {
            self.diagnostics.push(
                Diagnostic::error("syntax", format!("`{unit}` cannot follow `{literal}` directly"))
                    .primary(unit.span, "here an operator or a comma is missing")
                    .help(format!("write `{literal} * {unit}` for a product; units of time are `epochs` and `steps`")),
            );
            return self.expr(start, ExprKind::Error, end);
        }
        self.expr(start, ExprKind::Quantity { value: Box::new(value), unit }, end)
    }
}
