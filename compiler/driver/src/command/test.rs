//! `bdl test FILE`: are the file's expectations met? Trains what they need.

use super::train::{Manner, run_file};
use super::{Context, print};
use crate::error::Failure;
use crate::load;
use bdl_grammar::ast::ItemKind;
use std::path::Path;

pub fn run(context: &Context, file: &Path) -> Result<u8, Failure> {
    let source = load::file(file)?;
    if source.diagnostics.iter().any(bdl_grammar::Diagnostic::is_error) {
        return Err(Failure::program(&source.diagnostics, &source.sources, context.coloured));
    }
    let mut names: Vec<String> = Vec::new();
    for item in &source.modules.main.items {
        if let ItemKind::Expect(expect) = &item.kind
            && !names.contains(&expect.name.text)
        {
            names.push(expect.name.text.clone());
        }
    }
    if names.is_empty() {
        return Err(Failure::user("no-expect", "the file has no `expect` block, so there is nothing to test")
            .help("add `expect NAME { test.accuracy >= 0.9 }`"));
    }
    let mut missed = 0;
    for name in &names {
        missed += usize::from(run_file(context, file, Some(name.clone()), &Manner::default())?.expectations_missed);
    }
    if !context.global.json {
        print(&format!("{} of {} expect blocks hold\n", names.len() - missed, names.len()))?;
    }
    Ok(u8::from(missed > 0))
}
