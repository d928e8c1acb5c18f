//! What is suspicious about the data of a run, as messages at the fields of the program.

use super::lengths::field_span;
use crate::load::Source;
use bdl_data::Warning;
use bdl_grammar::ast::ItemKind;
use bdl_grammar::{Diagnostic, Span};

/// One message a warning, at its field, or at the block where it concerns none.
pub fn diagnostics(source: &Source, block: &str, warnings: &[Warning]) -> Vec<Diagnostic> {
    let made = warnings.iter().map(|warning| {
        let field = warning.field.as_deref().and_then(|field| field_span(source, block, field));
        let diagnostic = Diagnostic::warning(warning.code, warning.message.clone()).help(warning.help.clone());
        match field.or_else(|| block_span(source, block)) {
            Some(span) => diagnostic.primary(span, ""),
            None => diagnostic,
        }
    });
    made.collect()
}

fn block_span(source: &Source, block: &str) -> Option<Span> {
    source.modules.main.items.iter().find_map(|item| {
        let ItemKind::Data(data) = &item.kind else { return None };
        (data.name.text == block).then_some(data.name.span)
    })
}
