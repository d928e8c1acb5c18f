//! `--set NAME=VALUE` and `--data NAME=PATH` as edits of the program's text.
//!
//! The edited text is what is parsed, hashed, trained and stored as `program.bdl`, so a run can be repeated without its options.
//! `lr` is a hyper-parameter of the `train` block, `net.width` one of the model that is called `net` there: the argument in
//! `net = SpliceNet(width: 32)` is replaced, or added where it is left to its default.

use crate::error::Failure;
use crate::load;
use bdl_check::StdFile;
use bdl_grammar::ast::{ArgKind, Expr, ExprKind, File, ItemKind, Layer, Train, TrainEntryKind};
use bdl_grammar::{FileId, SourceMap, Span};

/// The text with every override applied, one after the other, to the `train` block called `train`, or to all blocks.
pub fn apply(text: &str, train: Option<&str>, overrides: &[(String, String)]) -> Result<String, Failure> {
    let mut text = text.to_string();
    // A layer of the standard library may be the model.
    let library = if overrides.is_empty() { Vec::new() } else { load::stdlib(&mut SourceMap::new()).0 };
    for (name, value) in overrides {
        let sources = SourceMap::of("", text.clone());
        // Mistakes in the program are reported when the edited text is loaded.
        let (file, _) = bdl_grammar::parse(&sources, FileId(0));
        let blocks: Vec<&Train> = file
            .items
            .iter()
            .filter_map(|item| if let ItemKind::Train(block) = &item.kind { Some(block) } else { None })
            .filter(|block| train.is_none_or(|name| block.name.text == name))
            .collect();
        let mut edits: Vec<_> = blocks.iter().filter_map(|block| edit(&file, &library, block, name, value)).collect();
        if edits.is_empty() {
            return Err(unknown(&file, &library, &blocks, name));
        }
        // From the end, so that offsets before an edit stay true.
        edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
        for (span, new) in edits {
            text.replace_range(span.range(), &new);
        }
    }
    Ok(text)
}

/// The place in the text and what stands there instead.
fn edit(file: &File, library: &[StdFile], block: &Train, name: &str, value: &str) -> Option<(Span, String)> {
    let Some((model, hyper)) = name.split_once('.') else {
        let default = block.hyper.iter().find(|param| param.name.text == name)?.default.as_ref()?;
        return Some((default.span, value.to_string()));
    };
    let call = models(block).find(|(known, _)| *known == model).map(|(_, call)| call)?;
    let ExprKind::Call { callee, args } = &call.kind else { return None };
    let layer = definition(file, library, callee)?;
    let position = layer.hyper.iter().position(|param| param.name.text == hyper)?;
    for (at, arg) in args.iter().enumerate() {
        match &arg.kind {
            ArgKind::Named { name, value: old } if name.text == hyper => return Some((old.span, value.to_string())),
            ArgKind::Positional(old) if at == 0 && position == 0 => return Some((old.span, value.to_string())),
            ArgKind::Named { .. } | ArgKind::Positional(_) | ArgKind::Each { .. } | ArgKind::Hole => {}
        }
    }
    // Before the closing bracket of the call.
    let end = call.span.end - 1;
    let comma = if args.is_empty() { "" } else { ", " };
    Some((Span::new(call.span.file, end, end), format!("{comma}{hyper}: {value}")))
}

fn models(block: &Train) -> impl Iterator<Item = (&str, &Expr)> {
    block.entries.iter().filter_map(|entry| {
        let TrainEntryKind::Model { name, value, .. } = &entry.kind else { return None };
        Some((name.text.as_str(), value))
    })
}

fn definition<'f>(file: &'f File, library: &'f [StdFile], callee: &Expr) -> Option<&'f Layer> {
    let ExprKind::Name(wanted) = &callee.kind else { return None };
    let files = std::iter::once(file).chain(library.iter().map(|std| &std.file));
    files.flat_map(|file| &file.items).find_map(|item| {
        let (ItemKind::Model(layer) | ItemKind::Layer(layer)) = &item.kind else { return None };
        (layer.name.text == wanted.text).then_some(layer)
    })
}

fn unknown(file: &File, library: &[StdFile], blocks: &[&Train], name: &str) -> Failure {
    let mut known = Vec::new();
    for block in blocks {
        known.extend(block.hyper.iter().map(|param| param.name.text.clone()));
        for (model, call) in models(block) {
            if let ExprKind::Call { callee, .. } = &call.kind
                && let Some(layer) = definition(file, library, callee)
            {
                known.extend(layer.hyper.iter().map(|param| format!("{model}.{}", param.name.text)));
            }
        }
    }
    let failure =
        Failure::user("unknown-override", format!("`--set {name}=...`: there is no hyper-parameter `{name}`"));
    if known.is_empty() {
        failure.help("this program has no hyper-parameters")
    } else {
        failure.help(format!("there are: {}", known.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const PROGRAM: &str = "model Net(width: dim = 32, drop: f32 = 0.3)(x: f32[4]) -> f32 { x |> Dense(width) |> Neuron() }\n\
                           train net(lr: f32 = 1e-3) {\n  model net = Net()\n  model other = Net(8, drop: 0.1)\n}\n";

    fn set(overrides: &[(&str, &str)]) -> Result<String, Failure> {
        let overrides: Vec<_> = overrides.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        apply(PROGRAM, None, &overrides)
    }

    #[test]
    fn values_are_replaced_or_added() {
        let text =
            set(&[("lr", "0.1"), ("net.width", "64"), ("net.drop", "0"), ("other.width", "9"), ("other.drop", "0.5")])
                .unwrap();
        assert!(text.contains("train net(lr: f32 = 0.1)"), "{text}");
        assert!(text.contains("net = Net(width: 64, drop: 0)"), "{text}");
        assert!(text.contains("other = Net(9, drop: 0.5)"), "{text}");
    }

    #[test]
    fn a_layer_of_the_library_has_its_own() {
        let program = "train t {\n  model net = Neuron()\n}\n";
        let set = |name: &str, value: &str| apply(program, None, &[(name.to_string(), value.to_string())]);
        assert!(set("net.bias", "false").unwrap().contains("net = Neuron(bias: false)"));
        assert!(set("net.units", "3").unwrap_err().to_string().contains("there are: net.bias"));
    }

    #[test]
    fn the_last_value_counts() {
        assert!(set(&[("lr", "0.1"), ("lr", "0.2")]).unwrap().contains("lr: f32 = 0.2"));
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let error = set(&[("net.depth", "3")]).unwrap_err().to_string();
        assert!(error.contains("lr, net.width, net.drop, other.width, other.drop"), "{error}");
    }
}
