//! What definitions say of themselves: signatures and doc comments, collected, as text for a terminal or as one page.

pub mod html;
pub mod text;

use crate::error::Failure;
use crate::load;
use bdl_grammar::ast::{self, Item, ItemKind};
use bdl_grammar::{Diagnostic, SourceMap, Span};
use std::path::Path;

/// The definitions of a file.
#[derive(Clone, Debug)]
pub struct Module {
    /// `nn`, or the file's name.
    pub name: String,
    /// The `//!` lines.
    pub doc: Vec<String>,
    pub entries: Vec<Entry>,
}

/// One definition.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `fn`, `layer`, ..
    pub kind: &'static str,
    pub name: String,
    /// As it was written, without the body.
    pub signature: String,
    pub doc: Vec<String>,
    /// All of it, as it was written.
    pub text: String,
}

/// The documented definitions of the standard library.
pub fn standard() -> Vec<Module> {
    let mut sources = SourceMap::new();
    let (files, _) = load::stdlib(&mut sources);
    files.iter().map(|std| module(&std.name, &std.file, &sources)).collect()
}

/// Those of a program and of the files that it uses.
pub fn of_file(path: &Path, coloured: bool) -> Result<Vec<Module>, Failure> {
    let source = load::file(path)?;
    if source.diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Failure::program(&source.diagnostics, &source.sources, coloured));
    }
    let files = std::iter::once(&source.modules.main).chain(&source.modules.used);
    let name = |file: &ast::File| {
        let name = source.sources.name(file.span.file);
        name.rsplit('/').next().unwrap_or(name).to_string()
    };
    Ok(files.map(|file| module(&name(file), file, &source.sources)).collect())
}

fn module(name: &str, file: &ast::File, sources: &SourceMap) -> Module {
    let entries = file.items.iter().filter_map(|item| entry(item, sources));
    let public = entries.filter(|entry| !entry.name.starts_with('_')).collect();
    Module { name: name.to_string(), doc: file.doc.clone(), entries: public }
}

fn entry(item: &Item, sources: &SourceMap) -> Option<Entry> {
    let (kind, name) = crate::repl::session::named(item)?;
    let whole = sources.slice(item.span);
    let text = match body(item) {
        Some(start) => sources.slice(Span { end: start, ..item.span }).trim_end().trim_end_matches('{').trim_end(),
        // Of what has no body the first line says what it is.
        None => whole.lines().next().unwrap_or_default().trim_end().trim_end_matches('{').trim_end(),
    };
    if kind == "use" {
        return None;
    }
    Some(Entry { kind, name, signature: text.to_string(), doc: item.doc.clone(), text: whole.to_string() })
}

/// Where the body of a definition begins.
pub fn body(item: &Item) -> Option<u32> {
    match &item.kind {
        ItemKind::Fn(def) => Some(def.body.span.start),
        ItemKind::Layer(def) | ItemKind::Model(def) => Some(def.body.span.start),
        ItemKind::Optimizer(def) => Some(def.body.span.start),
        ItemKind::Use(_)
        | ItemKind::Data(_)
        | ItemKind::Train(_)
        | ItemKind::Tune(_)
        | ItemKind::Expect(_)
        | ItemKind::Type(_)
        | ItemKind::Alphabet(_)
        | ItemKind::Const(_)
        | ItemKind::Let(_)
        | ItemKind::Error => None,
    }
}

/// Only what is called so; modules that then hold nothing are left out.
pub fn only(modules: Vec<Module>, name: &str) -> Vec<Module> {
    let chosen = modules.into_iter().map(|module| {
        // A module's own name asks for all of it.
        let all = module.name == name;
        let entries = module.entries.iter().filter(|entry| all || entry.name == name).cloned().collect();
        Module { entries, ..module }
    });
    chosen.filter(|module| !module.entries.is_empty()).collect()
}
