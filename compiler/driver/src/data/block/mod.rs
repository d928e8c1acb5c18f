//! A `data` block of the syntax tree as the plain [`DataSpec`] that the reader takes.
//!
//! `site = category(column("class"))` becomes origin `class` and the step `Category`; `|>` adds steps from left to right. What
//! computes with several columns, `log(a / b)`, becomes a [`Formula`](bdl_data::Formula) over fields; columns that have no name of
//! their own in it become hidden fields. `rows`, `weights` and `augment` belong to training and are the checker's.
//! Everything that the language page lists but the reader does not know yet is said to be so (`not-built-yet`).

mod condition;
mod constant;
mod encoder;
mod field;
mod formula;
mod lookup;
mod source;

pub use encoder::ENCODERS;
pub use source::SOURCES;

use crate::error::Failure;
use bdl_data::{DataSpec, FieldSpec, Missing, RowGroup, SideTable, Source, Step};
use bdl_grammar::ast::{Arg, ArgKind, Data, DataEntryKind, Expr, ExprKind, Item, ItemKind, Let};
use bdl_grammar::{Diagnostic, SourceMap, Span};
use std::path::{Path, PathBuf};

/// `--data NAME=PATH` names a data block or a table of the file. Errors: `unknown-name`.
pub fn require_known(replaced: &[(String, PathBuf)], items: &[Item]) -> Result<(), Failure> {
    let mut known: Vec<&str> = Vec::new();
    for item in items {
        if let ItemKind::Let(binding) = &item.kind {
            known.push(&binding.name.text);
        }
        let ItemKind::Data(data) = &item.kind else { continue };
        known.push(&data.name.text);
        for entry in &data.entries {
            if let DataEntryKind::Let(binding) = &entry.kind {
                known.push(&binding.name.text);
            }
        }
    }
    match replaced.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => {
            let there = if known.is_empty() {
                "it has no data block".to_string()
            } else {
                format!("it has {}", known.join(", "))
            };
            Err(Failure::user(
                "unknown-name",
                format!("`--data {name}=..`: the file has no data block or table `{name}`"),
            )
            .help(there))
        }
    }
}

/// A block's spec, as far as it makes sense, and what is wrong with it. `folder` is where relative paths begin.
/// `replaced` are other files for those that the program names (`--data NAME=PATH`).
pub fn lower(
    data: &Data,
    sources: &SourceMap,
    folder: &Path,
    replaced: &[(String, PathBuf)],
    items: &[Item],
) -> (Option<DataSpec>, Vec<Diagnostic>) {
    let mut lower = Lower {
        sources,
        folder,
        replaced,
        items,
        diagnostics: Vec::new(),
        fields: Vec::new(),
        made: Vec::new(),
        numbers: Vec::new(),
        tables: Vec::new(),
        broken_tables: Vec::new(),
    };
    let path = replaced.iter().find(|(name, _)| *name == data.name.text).map(|(_, path)| path.as_path());
    let source = lower.source(&data.source, path);
    let group = data.group.as_ref().and_then(|group| {
        let by = lower.column_named(&group.per)?;
        let sorted = match &group.sorted_by {
            Some(sorted) => Some(lower.column_named(sorted)?),
            None => None,
        };
        if !matches!(source, Some(Source::Table(_))) {
            lower.say(group.span, "data-source", "`rows per` needs a table");
        }
        Some(RowGroup { by, sorted })
    });
    let Some(source) = source else { return (None, lower.diagnostics) };
    let mut spec = DataSpec::new(&data.name.text, source);
    spec.pos = lower.position(data.name.span);
    spec.group = group;
    for entry in &data.entries {
        match &entry.kind {
            DataEntryKind::Field(field) => {
                if !lower.is_taken(&data.name.text, &field.name.text, field.name.span) {
                    lower.named(&field.name.text, &field.value, field.name.span, false);
                }
                lower.fields.push(field.name.text.clone());
            }
            DataEntryKind::Keep(condition) => {
                if lower.is_plain(condition) {
                    spec.keep.extend(lower.condition(condition));
                } else {
                    spec.keep_where.extend(lower.formula("keep", condition));
                }
            }
            DataEntryKind::Distinct(names) => {
                for name in names {
                    let ExprKind::Name(field) = &name.kind else {
                        lower.say(name.span, "data-expression", "`distinct` takes names of fields");
                        continue;
                    };
                    if lower.fields.contains(&field.text) {
                        spec.distinct.push(field.text.clone());
                    } else {
                        lower.unknown_field(name.span);
                    }
                }
            }
            DataEntryKind::Let(binding) => lower.binding(&data.name.text, binding),
            DataEntryKind::Rows(_) | DataEntryKind::Weights(_) | DataEntryKind::Augment(_) | DataEntryKind::Error => {}
            DataEntryKind::Word { word, .. } => {
                let message = format!("a data block has no entry `{}`", word.text);
                lower.diagnostics.push(
                    Diagnostic::error("unknown-entry", message).primary(word.span, "not known here").help(
                        "a data block holds fields `NAME = ...`, `let`, `keep CONDITION`, `distinct FIELD`, `rows`, `weights` and `augment`",
                    ),
                );
            }
        }
    }
    spec.fields = lower.made;
    spec.tables = lower.tables;
    let wrong = lower.diagnostics.iter().any(Diagnostic::is_error);
    ((!wrong).then_some(spec), lower.diagnostics)
}

struct Lower<'s> {
    sources: &'s SourceMap,
    folder: &'s Path,
    replaced: &'s [(String, PathBuf)],
    /// The program's items: alphabets, numbers and tables of its own.
    items: &'s [Item],
    diagnostics: Vec<Diagnostic>,
    /// Names of fields and of `let`s that are fields, as far as they stand above.
    fields: Vec<String>,
    made: Vec<FieldSpec>,
    /// `let scale = 3`.
    numbers: Vec<(String, f64)>,
    /// `let alleles = csv("alleles.csv")`.
    tables: Vec<SideTable>,
    /// Tables with a mistake, which has been said.
    broken_tables: Vec<String>,
}

impl Lower<'_> {
    fn position(&self, span: Span) -> String {
        let (line, column) = self.sources.line_column(span.file, span.start);
        format!("{}:{line}:{column}", self.sources.name(span.file))
    }

    fn say(&mut self, span: Span, code: &'static str, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(code, message).primary(span, ""));
    }

    fn not_built(&mut self, span: Span, what: &str) {
        self.diagnostics.push(
            Diagnostic::error("not-built-yet", format!("{what} is part of the language but not built yet"))
                .primary(span, "not built yet"),
        );
    }

    fn unknown_field(&mut self, span: Span) {
        let known = self.fields.join(", ");
        let message = format!("no field `{}` stands above", self.sources.slice(span));
        let help =
            if known.is_empty() { "fields may use those above them".into() } else { format!("fields so far: {known}") };
        self.diagnostics.push(Diagnostic::error("unknown-name", message).primary(span, "not a field").help(help));
    }

    fn is_taken(&mut self, block: &str, name: &str, span: Span) -> bool {
        let taken = self.fields.iter().any(|known| known == name)
            || self.numbers.iter().any(|(known, _)| known == name)
            || self.tables.iter().any(|known| known.name == name);
        if taken {
            self.diagnostics.push(
                Diagnostic::error("name-taken", format!("`{block}` already has something called `{name}`"))
                    .primary(span, "the second of that name"),
            );
        }
        taken
    }

    /// A field, or a `let` that is one.
    fn named(&mut self, name: &str, value: &Expr, span: Span, hidden: bool) {
        let first = self.made.len();
        let Some(mut field) = self.field(name, value) else { return };
        field.pos = self.position(span);
        field.hidden = hidden;
        // An `impute` behind a formula takes what is missing in the columns that it reads.
        if field.steps.iter().any(|step| matches!(step, Step::Impute(_))) {
            let parts = self.made[first..].iter_mut();
            parts.filter(|part| part.missing == Missing::Error).for_each(|part| part.missing = Missing::Keep);
        }
        self.made.push(field);
    }

    /// `let scale = 3`, `let alleles = csv("alleles.csv")`, `let ratio = number(column("a")) / 2`.
    fn binding(&mut self, block: &str, binding: &Let) {
        let name = &binding.name;
        if binding.binders.is_some() {
            return self.say(name.span, "data-expression", "a `let` of a data block has no indices");
        }
        if self.is_taken(block, &name.text, name.span) {
            return;
        }
        if let Some(number) = self.constant(&binding.value) {
            return self.numbers.push((name.text.clone(), number));
        }
        if let Some((word, args)) = call(&binding.value)
            && source::is_source(word)
        {
            self.side_table(&name.text, &binding.value, word, args);
            if self.tables.iter().all(|table| table.name != name.text) {
                self.broken_tables.push(name.text.clone());
            }
            return;
        }
        self.named(&name.text, &binding.value, name.span, true);
        self.fields.push(name.text.clone());
    }
}

/// `word(args)` as its parts.
fn call(value: &Expr) -> Option<(&str, &[Arg])> {
    let ExprKind::Call { callee, args } = &value.kind else { return None };
    let ExprKind::Name(word) = &callee.kind else { return None };
    Some((&word.text, args))
}

/// The only argument, if it is one without a name.
fn only(args: &[Arg]) -> Option<&Expr> {
    match args {
        [Arg { kind: ArgKind::Positional(value), .. }] => Some(value),
        _ => None,
    }
}
