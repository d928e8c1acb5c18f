//! `bdl check FILE`: messages, or the table of shapes, parameters, arithmetic and memory.

use super::{Context, print};
use crate::error::Failure;
use crate::explain;
use crate::pipeline::{self, ReadData};
use crate::show::shapes;
use bdl_data::Source;
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
