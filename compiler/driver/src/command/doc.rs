//! `bdl doc FILE|std [NAME]`: what definitions say of themselves.

use super::{Context, print};
use crate::doc;
use crate::error::Failure;
use serde_json::json;
use std::path::Path;

pub fn run(context: &Context, of: &str, name: Option<&str>, html: Option<&Path>) -> Result<u8, Failure> {
    let is_standard = of == "std" && !Path::new(of).is_file();
    let modules = if is_standard { doc::standard() } else { doc::of_file(Path::new(of), context.coloured)? };
    let modules = match name {
        Some(name) => doc::only(modules, name),
        None => modules,
    };
    if let (true, Some(name)) = (modules.is_empty(), name) {
        return Err(Failure::user("unknown-name", format!("`{of}` defines nothing called `{name}`"))
            .help(format!("`bdl doc {of}` prints all that it defines")));
    }
    if let Some(path) = html {
        let title = if is_standard { "bdl standard library".to_string() } else { of.to_string() };
        bdl_train::folder::write_whole(path, doc::html::show(&title, &modules).as_bytes())?;
        return print(&if context.global.quiet { String::new() } else { format!("wrote {}\n", path.display()) });
    }
    if context.global.json {
        let mut out = String::new();
        for module in &modules {
            for entry in &module.entries {
                let line = json!({"module": module.name, "kind": entry.kind, "name": entry.name,
                    "signature": entry.signature, "doc": entry.doc.join("\n")});
                out.push_str(&format!("{line}\n"));
            }
        }
        return print(&out);
    }
    let coloured = context.coloured && std::io::IsTerminal::is_terminal(&std::io::stdout());
    print(&doc::text::show(&modules, coloured))
}
