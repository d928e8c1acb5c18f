//! What the tests of the whole share: where the tree is, its programs, the examples of the reference, and how a text says what it is worth.
//!
//! The tests are data beside this crate: `ui/` (messages), `run/` (values), `ir/` (passes), `parity/` (PyTorch), `repl/` (transcripts), and the
//! blocks of `grammar/README.md`. The crates below have their own runners for theirs, because a mistake in one is then found without building
//! all; here stands what needs the whole.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Every file below a folder whose name ends so, in order; build outputs and runs are no part of the tree.
pub fn files(folder: &Path, ends: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().map(|name| name.to_string_lossy().to_string()).unwrap_or_default();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "runs" {
                    waiting.push(path);
                }
            } else if name.ends_with(ends) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A fenced block of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line after the fence, from 1.
    pub line: usize,
    /// What follows the language: `refused dim-mismatch`.
    pub mark: String,
    pub text: String,
}

/// The blocks of a Markdown text in a language.
pub fn blocks(page: &str, language: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(fence)) => {
                let (word, mark) = fence.split_once(' ').unwrap_or((fence, ""));
                // Other languages are blocks too, so that their ends are not taken for beginnings.
                let mark = if word == language { mark.to_string() } else { "other".to_string() };
                open = Some(Block { line: at + 2, mark, text: String::new() });
            }
            (None, None) => {}
        }
    }
    blocks.retain(|block| block.mark != "other");
    blocks
}

/// What a line says of itself after `//=` (its value) or `//:` (its type).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Value(String),
    Type(String),
}

/// The claim at the end of an input, if it makes one.
pub fn claim(text: &str) -> Option<Claim> {
    let line = text.lines().last()?;
    let of = |mark: &str| line.split_once(mark).map(|(_, claimed)| claimed.trim().to_string());
    of("//= ").map(Claim::Value).or_else(|| of("//: ").map(Claim::Type))
}

/// The numbers and words of a value that is written out, in order; names of fields are left out: `(a: 1, b: [2, true])` is 1, 2, true.
pub fn elements(value: &str) -> Vec<String> {
    let parts = value.split(|c: char| c.is_whitespace() || "[](),".contains(c));
    parts.filter(|part| !part.is_empty() && !part.ends_with(':')).map(str::to_string).collect()
}

/// Are two elements the same: as words, or as numbers to about six digits?
pub fn same(found: &str, wanted: &str) -> bool {
    match (found.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(a), Ok(b)) => a == b || (a - b).abs() <= 2e-6 * a.abs().max(b.abs()).max(0.5),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => found == wanted,
    }
}
