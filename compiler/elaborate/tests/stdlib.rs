//! The standard library parses without a message.

use bdl_grammar::{FileId, SourceMap, parse, render_all};

#[test]
fn stdlib_parses() {
    for name in ["init", "nn", "recurrent", "loss", "optim"] {
        let path = format!("{}/../../stdlib/{name}.bdl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        let sources = SourceMap::of(format!("{name}.bdl"), text);
        let (_, diagnostics) = parse(&sources, FileId(0));
        assert!(diagnostics.is_empty(), "{}", render_all(&diagnostics, &sources, false));
    }
}
