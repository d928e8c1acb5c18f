//! `bdl check FILE`: messages, or the table of shapes, parameters, arithmetic and memory.

use super::{Context, print};
use crate::error::Failure;
use crate::explain;
use crate::pipeline::{self, Checked, ReadData};
use crate::show::shapes;
use bdl_check::EntryRequest;
use bdl_data::Source;
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::ItemKind;
use std::path::Path;

pub fn run(context: &Context, file: Option<&Path>, code: Option<&str>) -> Result<u8, Failure> {
    if let Some(code) = code {
        return print(&explain::page(code)?);
    }
    let Some(file) = file else { return Err(Failure::user("missing-file", "which file?")) };
    let mut request = context.request(None);
    request.read_data = ReadData::WhereThere;
    let checked = pipeline::check(file, &request)?;
    checked.require_sound(context.coloured)?;
    if !checked.diagnostics.is_empty() && !context.global.quiet {
        eprintln!(
            "{}",
            bdl_grammar::render_all(&checked.diagnostics, &checked.source.sources, context.coloured).trim_end()
        );
    }
    let mut text = String::new();
    for train in &checked.hir.trains {
        let (programs, gradients) =
            pipeline::beside_gradients(&checked, train, || pipeline::elaborate(&checked, train))?;
        context.warn(&bdl_elaborate::warnings(&gradients, train), &checked.source.sources);
        if context.global.json {
            text.push_str(&format!("{}\n", shapes::json(&checked.hir, train, &programs, context.real)?));
        } else {
            text.push_str(&shapes::table(&checked.hir, train, &programs, context.real)?);
        }
    }
    definitions(context, file, &checked)?;
    for block in &checked.data {
        if let (None, Source::Table(table), false) = (&block.dataset, &block.spec.source, context.global.json) {
            text.push_str(&format!(
                "  note: there is no file `{}`, so sizes with a `?` are not known and what is asked of them is assumed\n",
                table.path.display()
            ));
        }
    }
    if text.is_empty() && !context.global.json {
        text.push_str("no mistakes found\n");
    }
    print(&text)
}

/// Refuses what a definition of the file says and this version has not built. `train` blocks say so about what they apply; this is for what none
/// does. A definition that cannot be looked at alone (it takes a layer, or its shape belongs to the place of use) is left out.
fn definitions(context: &Context, file: &Path, checked: &Checked) -> Result<(), Failure> {
    let mut names: Vec<String> = Vec::new();
    for item in &checked.source.modules.main.items {
        if let ItemKind::Fn(def) = &item.kind {
            names.push(def.name.text.clone());
        } else if let ItemKind::Layer(def) | ItemKind::Model(def) = &item.kind {
            names.push(def.name.text.clone());
        }
    }
    // All in one go; one by one only where one of them cannot be looked at alone.
    if !names.is_empty() && !are_built(context, file, &names)? {
        for name in names {
            are_built(context, file, &[name])?;
        }
    }
    Ok(())
}

/// False if one of the definitions cannot be looked at alone. Errors: `not-built-yet`.
fn are_built(context: &Context, file: &Path, names: &[String]) -> Result<bool, Failure> {
    let mut request = context.request(None);
    request.read_data = ReadData::Never;
    request.entries = names.iter().map(|name| EntryRequest { name: name.clone(), sizes: Vec::new() }).collect();
    let alone = pipeline::check(file, &request)?;
    if alone.diagnostics.iter().any(Diagnostic::is_error) {
        return Ok(false);
    }
    for entry in &alone.hir.entries {
        match bdl_elaborate::entry(&alone.hir, entry, true) {
            Err(diagnostic) if diagnostic.code == "not-built-yet" => {
                return Err(Failure::program(&[diagnostic], &alone.source.sources, context.coloured));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(true)
}
