//! The standard library parses without a message.

use bdl_grammar::{FileId, SourceMap, parse, render_all};

#[test]
fn stdlib_parses() {
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../stdlib")).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let sources = SourceMap::of(path.file_name().unwrap().to_string_lossy(), text);
        let (_, diagnostics) = parse(&sources, FileId(0));
        assert!(diagnostics.is_empty(), "{}", render_all(&diagnostics, &sources, false));
    }
}
