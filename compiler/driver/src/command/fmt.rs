//! `bdl fmt FILE ..`: programs in canonical layout, comments kept.
//!
//! A file with syntax errors is left as it is. A file is replaced as a whole, and only where its layout changes.

use super::{Context, print};
use crate::error::Failure;
use crate::load;
use bdl_grammar::{Diagnostic, SourceMap};
use std::path::{Path, PathBuf};

/// Formats files; with `check` only lists those that would change (exit code 1 if there are any).
pub fn run(context: &Context, files: &[PathBuf], check: bool) -> Result<u8, Failure> {
    let mut changed = 0;
    for path in files {
        let text = load::text_of(path)?;
        let formatted = format(&path.display().to_string(), &text, context.coloured)?;
        if formatted == text {
            continue;
        }
        changed += 1;
        if check {
            print(&format!("{} is not in canonical layout\n", path.display()))?;
            continue;
        }
        write(path, &formatted)?;
        if !context.global.quiet {
            print(&format!("formatted {}\n", path.display()))?;
        }
    }
    Ok(u8::from(check && changed > 0))
}

/// The text in canonical layout. Errors: the messages of a text that does not parse.
pub fn format(name: &str, text: &str, coloured: bool) -> Result<String, Failure> {
    let mut sources = SourceMap::new();
    let id = sources.add(name, text);
    let (file, diagnostics) = bdl_grammar::parse(&sources, id);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Failure::program(&diagnostics, &sources, coloured));
    }
    Ok(bdl_grammar::print(&file))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(bdl_train::folder::write_whole(path, text.as_bytes())?)
}
