//! `model net = Effect() from "trunk.safetensors" { net.trunk.* = "trunk.*" }`: where first values come from.
//!
//! Names on the left are those of the program and are looked up here; what the file holds is the driver's business.

use super::entries::Entries;
use crate::checker::Checker;
use crate::hir;
use bdl_grammar::Diagnostic;
use bdl_grammar::ast;

impl<'a> Checker<'a> {
    /// The transfers of a block, once every parameter is known.
    pub(super) fn transfers(&mut self, entries: &Entries<'a>) -> Vec<hir::Transfer> {
        let mut transfers = Vec::new();
        for (model, written) in &entries.transfers {
            let mut map = Vec::new();
            for renaming in &written.map {
                map.extend(self.renaming(model, renaming));
            }
            transfers.push(hir::Transfer {
                model: model.text.as_str().into(),
                file: written.file.text.clone(),
                span: written.file.span,
                map,
            });
        }
        transfers
    }

    fn renaming(&mut self, model: &ast::Name, written: &'a ast::Renaming) -> Option<hir::Renaming> {
        let path = written.path.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(".");
        let place = written.path.first().map_or(written.span, |first| first.span);
        if written.path.first().is_some_and(|first| first.text != model.text) {
            self.say(
                Diagnostic::error("unknown-name", format!("`{path}` is no part of `{model}`"))
                    .primary(place, format!("a path that begins with `{model}` is expected"))
                    .help("each model has a map of its own"),
            );
            return None;
        }
        let params = self.store.params.iter().map(|param| (&param.path, &param.ty));
        let tensors: Vec<(hir::Name, usize)> = params
            .chain(self.store.states.iter().map(|state| (&state.path, &state.ty)))
            .map(|(path, ty)| (path.clone(), ty.shape.len()))
            .collect();
        let named = |known: &hir::Name| if written.all { hir::is_under(known, &path) } else { **known == *path };
        let Some((_, rank)) = tensors.iter().find(|(known, _)| named(known)) else {
            let paths: Vec<&str> =
                tensors.iter().map(|(path, _)| &**path).filter(|path| hir::is_under(path, &model.text)).collect();
            let mut diagnostic = Diagnostic::error(
                "unknown-name",
                format!("no parameter {} `{path}`", if written.all { "lies under" } else { "is called" }),
            )
            .primary(written.span, "nothing to give values to")
            .note(format!("there are {}", paths.join(", ")));
            if let Some(near) = crate::suggest::nearest(&path, paths.iter().copied()) {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            self.say(diagnostic);
            return None;
        };
        let stored_all = written.stored.text.ends_with('*');
        if written.all != stored_all {
            self.say(
                Diagnostic::error("wrong-arguments", "a `*` stands on one side only")
                    .primary(written.span, "what stands for it on the other side?")
                    .help("write `net.trunk.* = \"trunk.*\"`"),
            );
            return None;
        }
        let axes = match (written.indices.as_slice(), written.stored_indices.as_slice()) {
            ([], []) => None,
            (indices, stored) => {
                let places: Option<Vec<usize>> =
                    indices.iter().map(|index| stored.iter().position(|other| other.text == index.text)).collect();
                let distinct = |names: &[ast::Name]| {
                    names.iter().enumerate().all(|(at, name)| names[..at].iter().all(|other| other.text != name.text))
                };
                let fits = indices.len() == stored.len() && distinct(indices) && distinct(stored);
                match places.filter(|_| fits && !written.all && indices.len() == *rank) {
                    Some(axes) => Some(axes),
                    None => {
                        let shown = if *rank == 1 { "1 axis".to_string() } else { format!("{rank} axes") };
                        let help = if written.all {
                            "an order of axes needs a line of its own for each parameter".to_string()
                        } else {
                            format!("`{path}` has {shown}: name each once on both sides")
                        };
                        self.say(
                            Diagnostic::error("wrong-arguments", "the indices on both sides do not match")
                                .primary(written.span, "one is the other in another order")
                                .help(help),
                        );
                        return None;
                    }
                }
            }
        };
        Some(hir::Renaming { path: path.into(), all: written.all, stored: written.stored.text.clone(), axes })
    }
}
