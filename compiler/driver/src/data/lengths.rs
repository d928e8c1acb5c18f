//! Sizes that must be one number for all examples, but are not.
//!
//! A dimension that a parameter depends on (`flatten |> Dense(64)` needs a weight for every position) is built into the model. Rows of
//! different length then have no meaning; the message names the rows, the parameter, and what takes any length instead.

use crate::load::Source;
use crate::pipeline::DataBlock;
use bdl_check::hir::Hir;
use bdl_grammar::ast::{DataEntryKind, ItemKind};
use bdl_grammar::{Diagnostic, Span};

/// One message for each size of the data that differs from row to row and that a parameter depends on.
pub fn built_sizes_that_differ(hir: &Hir, data: &[DataBlock], source: &Source) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for train in &hir.trains {
        let Some(block) = data.iter().find(|block| *block.spec.name == *train.data) else { continue };
        for length in &block.lengths {
            let depends =
                |param: &&bdl_check::hir::Param| param.ty.shape.iter().any(|axis| axis.size.mentions(&length.name));
            let Some(param) = train.store.params.iter().find(depends) else { continue };
            let (Some(first), Some((field, axis))) = (length.of_row.first(), length.axes.first()) else { continue };
            let other = length.of_row.iter().position(|size| size != first).unwrap_or(0);
            let what = if *axis == 0 { "length".to_string() } else { format!("size along axis {}", axis + 1) };
            let message = format!(
                "`{}` needs one {what} of `{field}` for all rows, but row 1 has {first} and row {} has {}",
                param.path,
                other + 1,
                length.of_row[other]
            );
            let mut diagnostic = Diagnostic::error("built-length-differs", message).help(
                "reduce over the positions before the layer that needs their number, as `GlobalMaxPool()` does, or leave such rows out",
            );
            if let Some(span) = field_span(source, &block.spec.name, field) {
                diagnostic = diagnostic.primary(span, format!("the rows differ in {what}"));
            }
            found.push(diagnostic);
        }
    }
    found
}

/// Where a field of a data block is named.
pub fn field_span(source: &Source, block: &str, field: &str) -> Option<Span> {
    source.modules.main.items.iter().find_map(|item| {
        let ItemKind::Data(data) = &item.kind else { return None };
        if data.name.text != block {
            return None;
        }
        data.entries.iter().find_map(|entry| {
            let DataEntryKind::Field(written) = &entry.kind else { return None };
            (written.name.text == field).then_some(written.name.span)
        })
    })
}
