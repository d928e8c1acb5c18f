//! `bdl data FILE`: what the data blocks read.

use super::{Context, print};
use crate::data::block;
use crate::error::Failure;
use crate::load;
use crate::pipeline;
use crate::run::{prepare, prepared};
use bdl_data::{Summary, Warning};
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::ItemKind;
use std::path::Path;

pub fn run(context: &Context, file: &Path) -> Result<u8, Failure> {
    let source = load::file(file)?;
    let request = context.request(None);
    block::require_known(&request.data, &source.modules.main.items)?;
    let mut diagnostics = source.diagnostics.clone();
    let mut specs = Vec::new();
    for item in &source.modules.main.items {
        let ItemKind::Data(written) = &item.kind else { continue };
        let (spec, messages) =
            block::lower(written, &source.sources, &source.folder, &request.data, &source.modules.main.items);
        diagnostics.extend(messages);
        specs.extend(spec);
    }
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Failure::program(&diagnostics, &source.sources, context.coloured));
    }
    if specs.is_empty() {
        return Err(Failure::user("no-data", "the file has no `data` block")
            .help("add `data NAME = csv(\"file.csv\") { x = number(column(\"x\")) }`"));
    }
    let mut text = String::new();
    for (at, spec) in specs.iter().enumerate() {
        let mut summary = Summary::of(spec)?;
        summary.warnings.extend(leaks(context, file, &spec.name));
        if context.global.json {
            let json = serde_json::to_string(&summary).map_err(|e| Failure::bug(e.to_string()))?;
            text.push_str(&json);
            text.push('\n');
            continue;
        }
        if at > 0 {
            text.push('\n');
        }
        text.push_str(&summary.to_text());
    }
    print(&text)
}

/// What the `train` blocks that read a block make suspicious about it. A program with mistakes is looked at by `bdl check`.
fn leaks(context: &Context, file: &Path, block: &str) -> Vec<Warning> {
    let mut found: Vec<Warning> = Vec::new();
    let Ok(checked) = pipeline::check(file, &context.request(None)) else { return found };
    if checked.require_sound(false).is_err() {
        return found;
    }
    for train in checked.hir.trains.iter().filter(|train| *train.data == *block) {
        let Ok(prepared) = prepare(&checked, train, None, 0) else { continue };
        let new = prepared::leaks(&checked, &prepared).unwrap_or_default();
        let new: Vec<Warning> = new.into_iter().filter(|warning| !found.contains(warning)).collect();
        found.extend(new);
    }
    found
}
