//! The type that a field says it has, `site: category(3)[T] = ..`, against what the data hold.
//!
//! Numbers must be the sizes. A name stands for one size of the block: fields that share it have the same size, row by row, and a row
//! that breaks this is named.

use bdl_data::{DataFacts, FieldDim, FieldFacts, Kind};
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::{Data, DataEntryKind, DataField, Dim, Expr, ExprKind, Type, TypeKind};
use std::collections::HashMap;

/// One message for each field whose type is another. `rows`: for each row its row in the file, from 0.
pub fn differences(data: &Data, facts: &DataFacts, rows: &[u32]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut names: HashMap<&str, (&DataField, FieldDim)> = HashMap::new();
    for entry in &data.entries {
        let DataEntryKind::Field(field) = &entry.kind else { continue };
        let (Some(ty), Some(own)) = (&field.ty, facts.field(&field.name.text)) else { continue };
        let shown = bdl_data::summary::type_name(own);
        let mut differs = |what: String| {
            found.push(
                Diagnostic::error("type-mismatch", format!("`{}` is {shown}, not what is written", field.name))
                    .primary(ty.span, what)
                    .help(format!("write `{}: {shown}`, or change how the field is read", field.name)),
            );
        };
        let TypeKind::Word { name, args, optional, dims } = &ty.kind else {
            differs("a field is a tensor".to_string());
            continue;
        };
        if let Some(what) = other_kind(&name.text, args, own) {
            differs(what);
            continue;
        }
        if own.optional && !optional {
            differs("values are missing: write a `?` before the brackets".to_string());
            continue;
        }
        let written: &[Dim] = dims.as_deref().unwrap_or_default();
        if written.iter().any(|dim| matches!(dim, Dim::Rest(_))) {
            continue;
        }
        if written.len() != own.dims.len() {
            differs(format!("{} here, {} in the data", axes(written.len()), axes(own.dims.len())));
            continue;
        }
        for (written, size) in written.iter().zip(&own.dims) {
            let Dim::Expr(expr) = written else { continue };
            if let ExprKind::Int(wanted) = &expr.kind
                && *size != FieldDim::Fixed((*wanted).max(0) as usize)
            {
                differs(format!("{wanted} is written, {} stands in the data", shown_size(size)));
                break;
            }
            let ExprKind::Name(name) = &expr.kind else { continue };
            let Some((first, known)) = names.get(name.text.as_str()) else {
                names.insert(&name.text, (field, size.clone()));
                continue;
            };
            let Some(row) = (0..facts.rows).find(|row| known.size(*row) != size.size(*row)) else { continue };
            let at = rows.get(row).map_or(row, |row| *row as usize) + 1;
            let (one, other) = (known.size(row), size.size(row));
            let message = format!("`{name}` is {one} in `{}` and {other} in `{}`, in row {at}", first.name, field.name);
            found.push(
                Diagnostic::error("shape-differs", message)
                    .primary(expr.span, "one name is one size")
                    .secondary(first.ty.as_ref().map_or(first.span, |ty: &Type| ty.span), "the first")
                    .help("correct the row, leave it out with `keep`, or give the sizes two names"),
            );
            break;
        }
    }
    found
}

/// What is wrong about the kind of value, if anything.
fn other_kind(word: &str, args: &[Expr], own: &FieldFacts) -> Option<String> {
    let is = match (&own.kind, word) {
        (Kind::Number, "f32" | "f64" | "bf16" | "count") | (Kind::Truth, "bool") | (Kind::Index(_), "index") => true,
        (Kind::IndexOf(_), "index") => true,
        (Kind::Letters { alphabet, .. }, word) => alphabet == word,
        (Kind::Category, "category") => match args {
            [Expr { kind: ExprKind::Int(wanted), .. }] if *wanted != own.classes.len() as i64 => {
                return Some(format!("{wanted} classes are written, the data have {}", own.classes.len()));
            }
            _ => true,
        },
        (Kind::Number | Kind::Truth | Kind::Category | Kind::Index(_) | Kind::IndexOf(_) | Kind::Text, _) => false,
    };
    (!is).then(|| format!("`{word}` is another kind of value"))
}

fn axes(count: usize) -> String {
    if count == 1 { "1 axis".to_string() } else { format!("{count} axes") }
}

fn shown_size(size: &FieldDim) -> String {
    match size {
        FieldDim::Fixed(size) => size.to_string(),
        FieldDim::PerRow(_) => "a size of each row's own".to_string(),
    }
}
