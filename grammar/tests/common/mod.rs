//! What the tests of this crate share.

use bdl_grammar::{Diagnostic, FileId, SourceMap, ast, parse};
use std::path::{Path, PathBuf};

/// Parses a text; panics with the rendered messages if there are any.
#[allow(dead_code)]
pub fn parsed(name: &str, text: &str) -> ast::File {
    let (file, messages) = parsed_with_messages(name, text);
    assert!(messages.is_empty(), "{messages}");
    file
}

/// Parses a text; the messages come rendered, an empty line between them.
#[allow(dead_code)]
pub fn parsed_with_messages(name: &str, text: &str) -> (ast::File, String) {
    let sources = SourceMap::of(name, text);
    let (file, diagnostics) = parse(&sources, FileId(0));
    (file, bdl_grammar::render_all(&diagnostics, &sources, false))
}

#[allow(dead_code)]
pub fn diagnostics(text: &str) -> Vec<Diagnostic> {
    parse(&SourceMap::of("test.bdl", text), FileId(0)).1
}

/// All `.bdl` files of a folder, given relative to this crate, and of the folders in it.
#[allow(dead_code)]
pub fn programs(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "bdl") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
