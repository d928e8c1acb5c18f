//! `bdl data FILE`: what the data blocks read.

use super::{Context, print};
use crate::data::block;
use crate::error::Failure;
use crate::load;
use bdl_data::Summary;
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::ItemKind;
use std::path::Path;

pub fn run(context: &Context, file: &Path) -> Result<u8, Failure> {
    let source = load::file(file)?;
    let request = context.request(None);
    let mut diagnostics = source.diagnostics.clone();
    let mut specs = Vec::new();
    for item in &source.modules.main.items {
        let ItemKind::Data(written) = &item.kind else { continue };
        let replaced = request.data.iter().find(|(name, _)| *name == written.name.text).map(|(_, path)| path.as_path());
        let (spec, messages) =
            block::lower(written, &source.sources, &source.folder, replaced, &source.modules.main.items);
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
        let summary = Summary::of(spec)?;
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
