//! From syntax to meaning: names, types, dimensions, and every message about them.
//!
//! The result is the HIR ([`hir`]): each application of a layer or function with everything about it known.
//!
//! Deliberately absent: files (the driver reads them and hands over facts), equations and everything below.

mod apply;
mod builtin;
mod checker;
mod declare;
mod draw;
pub mod evaluation;
mod explain;
mod expr;
pub mod fixed;
mod function;
mod generic;
pub mod hir;
mod hyper;
mod instance;
mod item;
mod laws;
mod local;
mod nonempty;
mod operators;
mod optimizer;
mod others;
pub mod prove;
mod range;
mod recurrence;
mod reduce;
mod report;
mod scope;
mod signature;
mod split;
pub mod stack;
mod subscript;
mod suggest;
mod suspect;
mod table;
mod train;
mod types;
mod value;
mod walk;

pub use builtin::NAMES as BUILT_IN;
pub use explain::{codes, explain};
pub use split::SPLITS;
pub use suspect::last_batch;
pub use table::{Row, Table, model_of, table};
pub use train::entries::WORDS as TRAIN_WORDS;
pub use train::fits::FITS;
pub use value::show_type;

use bdl_grammar::{Diagnostic, FileId, SourceMap, Span, ast};
use hir::{DataFacts, Hir};

/// Every file of a compilation, parsed.
#[derive(Clone, Debug)]
pub struct Modules {
    pub main: ast::File,
    /// Files that `use "..."` brings in, each once.
    pub used: Vec<ast::File>,
    /// Which file each `use "..."` means.
    pub links: Vec<Link>,
    /// The standard library; its public names are in scope everywhere, and a file's own names come first.
    pub stdlib: Vec<StdFile>,
}

/// `use "path"` in the file `from` is the file `to`.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub from: FileId,
    /// As written.
    pub path: String,
    pub to: FileId,
}

/// A file of the standard library: `use std.nn` names it.
#[derive(Clone, Debug)]
pub struct StdFile {
    /// `nn`.
    pub name: String,
    pub file: ast::File,
}

/// What is asked of a program beside its messages.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Models, layers or functions to apply on their own.
    pub entries: Vec<EntryRequest>,
    /// Statements to compute on their own.
    pub evaluation: Option<evaluation::Evaluation>,
    /// Only this `train` block; all without.
    pub train: Option<String>,
    /// Contents of the files that constants name.
    pub files: Vec<fixed::FileTable>,
}

/// Apply `name`, with hyper-parameters at their defaults, to inputs of the types in its signature.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryRequest {
    pub name: String,
    /// Sizes of the signature that are numbers. The others keep their names.
    pub sizes: Vec<(String, i64)>,
}

/// A file that another one uses.
#[derive(Clone, Debug, PartialEq)]
pub struct UsedPath {
    pub path: String,
    pub span: Span,
}

/// The files that `file` uses by path, in order, for the driver to load.
pub fn uses(file: &ast::File) -> Vec<UsedPath> {
    let paths = file.items.iter().filter_map(|item| match &item.kind {
        ast::ItemKind::Use(ast::Use::File(text)) => Some(UsedPath { path: text.text.clone(), span: text.span }),
        ast::ItemKind::Use(ast::Use::Module(_))
        | ast::ItemKind::Data(_)
        | ast::ItemKind::Fn(_)
        | ast::ItemKind::Layer(_)
        | ast::ItemKind::Model(_)
        | ast::ItemKind::Optimizer(_)
        | ast::ItemKind::Train(_)
        | ast::ItemKind::Tune(_)
        | ast::ItemKind::Expect(_)
        | ast::ItemKind::Type(_)
        | ast::ItemKind::Alphabet(_)
        | ast::ItemKind::Const(_)
        | ast::ItemKind::Let(_)
        | ast::ItemKind::Error => None,
    });
    paths.collect()
}

/// Checks a program: its definitions once each, its `train` blocks on the data's types, and the entries asked for.
///
/// Errors among the diagnostics mean that the HIR must not be used. Never panics on any tree.
pub fn check(sources: &SourceMap, files: &Modules, facts: &[DataFacts], options: &Options) -> (Hir, Vec<Diagnostic>) {
    let run = || checker::check(sources, files, facts, options);
    std::thread::scope(|scope| stack::start(scope, &run)())
}
