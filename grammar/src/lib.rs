//! The front of bdl: text to syntax tree, and the words in which every crate speaks of mistakes.
//!
//! ```text
//! text ── scan ──> tokens, comments ── lines ──> statement ends, balanced brackets ── parse ──> ast::File + diagnostics
//! ```
//!
//! - `lex` finds tokens and comments (logos) and decides where a line ends a statement;
//! - `bdl.lalrpop` is the grammar, LR(1); `build` makes the nodes, `parse` reads item by item and recovers, `wording` says
//!   what is wrong;
//! - [`ast`] is the tree, [`print()`] writes it as canonical text;
//! - [`SourceMap`], [`Span`] and [`Diagnostic`] are shared by the crates above.
//!
//! Deliberately absent: types, names, files on disk. Parsing never fails: it yields a tree and messages.
//!
//! ```
//! use bdl_grammar::{FileId, SourceMap, parse};
//! let sources = SourceMap::of("net.bdl", "model Net(x: f32[C]) -> logit[3] {\n  x |> Dense(3)\n}\n");
//! let (file, diagnostics) = parse(&sources, FileId(0));
//! assert!(diagnostics.is_empty());
//! assert_eq!(bdl_grammar::print(&file), "model Net(x: f32[C]) -> logit[3] {\n  x |> Dense(3)\n}\n");
//! ```

pub mod ast;
mod build;
mod diagnostic;
mod lex;
mod parse;
mod print;
mod source;
mod span;
mod wording;

pub use diagnostic::{Diagnostic, Label, Severity, render_all};
pub use lex::token::words;
pub use parse::{goes_on, is_unfinished, parse, parse_statements};
pub use print::print;
pub use source::{Source, SourceMap};
pub use span::{FileId, Span, Spanned};

/// What LALRPOP makes of `bdl.lalrpop`.
#[allow(clippy::all, unused)]
mod grammar {
    lalrpop_util::lalrpop_mod!(bdl);
    pub use bdl::ItemParser;
}
