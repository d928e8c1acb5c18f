//! Definitions in a terminal.

use super::{Entry, Module};
use std::fmt::Write as _;

const WIDTH: usize = 100;

/// All modules: signature, then what it says. With one definition also its text.
pub fn show(modules: &[Module], coloured: bool) -> String {
    let style = |code: &str, text: &str| if coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() };
    let mut out = String::new();
    let single = modules.iter().map(|module| module.entries.len()).sum::<usize>() == 1;
    for module in modules {
        if !single {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}", style("1;36", &module.name));
            for line in &module.doc {
                let _ = writeln!(out, "  {}", style("2", line));
            }
            out.push('\n');
        }
        for entry in &module.entries {
            let _ = writeln!(out, "{}", style("1", &signature(entry)));
            for line in &entry.doc {
                let _ = writeln!(out, "  {line}");
            }
            if single && entry.text.trim() != entry.signature.trim() {
                let _ = writeln!(out, "\n{}", style("2", &entry.text));
            }
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// On one line where that fits; else broken between brackets and before the result.
fn signature(entry: &Entry) -> String {
    let whole = entry.signature.split_whitespace().collect::<Vec<_>>().join(" ");
    if whole.chars().count() <= WIDTH {
        return whole;
    }
    whole.replacen(")(", ")\n    (", 1).replacen(") -> ", ")\n    -> ", 1).replacen(" where ", "\n    where ", 1)
}
