//! What the tests of the whole share: where the tree is, its programs, the examples of the reference, and how a text says what it is worth.
//!
//! The tests are data beside this crate: `ui/` (messages), `run/` (values), `ir/` (passes), `parity/` (PyTorch), `repl/` (transcripts), and the
//! blocks of `grammar/README.md`. The crates below have their own runners for theirs, because a mistake in one is then found without building
//! all; here stands what needs the whole.

pub mod rules;

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
    /// The first word of the fence: `bdl`, `csv`.
    pub language: String,
    /// What follows it: `refused dim-mismatch`, `patients.csv`.
    pub mark: String,
    pub text: String,
}

/// The blocks of a Markdown text.
pub fn blocks(page: &str) -> Vec<Block> {
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
                let (language, mark) = fence.split_once(' ').unwrap_or((fence, ""));
                let (language, mark) = (language.to_string(), mark.to_string());
                open = Some(Block { line: at + 2, language, mark, text: String::new() });
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The rows of the tables of a page whose header has a column of that name: the section, the first cell, and the cell of that column.
pub fn table_rows(page: &str, column: &str) -> Vec<TableRow> {
    let cells = |line: &str| -> Vec<String> {
        // `\|` is a bar within a cell.
        let line = line.replace("\\|", "\u{1}");
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
    };
    let mut rows = Vec::new();
    let mut section = String::new();
    // The place of the column in the table at hand.
    let mut place = None;
    let mut within = false;
    for (at, line) in page.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.to_string();
        }
        if !line.starts_with('|') {
            (within, place) = (false, None);
            continue;
        }
        let found = cells(line);
        if !within {
            within = true;
            place = found.iter().position(|cell| cell == column);
            continue;
        }
        if let (Some(place), false) = (place, line.starts_with("|---"))
            && let (Some(first), Some(cell)) = (found.first(), found.get(place))
        {
            rows.push(TableRow { line: at + 1, section: section.clone(), first: first.clone(), cell: cell.clone() });
        }
    }
    rows
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRow {
    pub line: usize,
    pub section: String,
    pub first: String,
    pub cell: String,
}

/// What stands between back-quotes.
pub fn code_spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
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
        (Ok(a), Ok(b)) => a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 2e-6 * a.abs().max(b.abs()).max(0.5),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => found == wanted,
    }
}
