//! Sources: `csv`, `tsv`, `synthetic`, with their options, and the tables in which rows are looked up.

use super::{Lower, call};
use bdl_data::{Column, Separator, SideTable, Source, TableSource};
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::{Arg, ArgKind, Expr};
use std::path::Path;

/// The sources of rows.
pub const SOURCES: [&str; 3] = ["csv", "tsv", "synthetic"];

/// Sources of the language page that this version does not read.
const NOT_READ: [&str; 13] =
    ["fasta", "fastq", "bed", "vcf", "bigwig", "h5ad", "mtx", "npy", "parquet", "pdb", "a3m", "png", "tiff"];

/// Is it the name of a source?
pub(super) fn is_source(word: &str) -> bool {
    SOURCES.contains(&word) || NOT_READ.contains(&word)
}

/// A table and, of one in which rows are looked up, the column of its key.
struct Written {
    table: TableSource,
    key: Option<Column>,
}

impl Lower<'_> {
    pub(super) fn source(&mut self, source: &Expr, replaced: Option<&Path>) -> Option<Source> {
        let Some((word, args)) = call(source) else {
            self.say(source.span, "data-source", "data comes from a source such as `csv(\"file.csv\")`");
            return None;
        };
        match word {
            "csv" | "tsv" => {
                let written = self.table(source, word, args, replaced)?;
                if written.key.is_some() {
                    self.say(
                        source.span,
                        "data-source",
                        "`key:` is for a table in which rows are looked up, `let t = csv(..)`",
                    );
                    return None;
                }
                Some(Source::Table(written.table))
            }
            "synthetic" => {
                let (mut rows, mut seed) = (None, 0);
                for arg in args {
                    match &arg.kind {
                        ArgKind::Named { name, value } if name.text == "rows" => rows = self.natural(value),
                        ArgKind::Named { name, value } if name.text == "seed" => seed = self.natural(value)?,
                        ArgKind::Named { .. } | ArgKind::Positional(_) | ArgKind::Each { .. } | ArgKind::Hole => {
                            self.say(arg.span, "data-source", "`synthetic` takes `rows:` and `seed:`")
                        }
                    }
                }
                let Some(rows) = rows else {
                    self.say(source.span, "data-source", "`synthetic` needs `rows: N`");
                    return None;
                };
                Some(Source::Synthetic { rows: rows as usize, seed })
            }
            word if NOT_READ.contains(&word) => {
                self.not_built(source.span, &format!("the source `{word}`"));
                None
            }
            other => {
                self.diagnostics.push(
                    Diagnostic::error("unknown-name", format!("there is no data source `{other}`"))
                        .primary(source.span, "not a source")
                        .help(format!("sources are {}", SOURCES.join(", "))),
                );
                None
            }
        }
    }

    /// `let alleles = csv("alleles.csv", key: "name")`. Without `key:` it is the first column.
    pub(super) fn side_table(&mut self, name: &str, value: &Expr, word: &str, args: &[Arg]) {
        if NOT_READ.contains(&word) {
            return self.not_built(value.span, &format!("the source `{word}`"));
        }
        if word == "synthetic" {
            return self.say(value.span, "data-source", "rows are looked up in a table: `csv(..)` or `tsv(..)`");
        }
        let replaced = self.replaced;
        let path = replaced.iter().find(|(known, _)| known == name).map(|(_, path)| path.as_path());
        let Some(written) = self.table(value, word, args, path) else { return };
        let key = written.key.unwrap_or(Column::Number(1));
        self.tables.push(SideTable { name: name.to_string(), source: written.table, key });
    }

    fn table(&mut self, source: &Expr, word: &str, args: &[Arg], replaced: Option<&Path>) -> Option<Written> {
        let mut table = if word == "csv" { TableSource::csv(Path::new("")) } else { TableSource::tsv(Path::new("")) };
        let (mut file, mut key) = (None, None);
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(value) => file = self.text(value),
                ArgKind::Named { name, value } => match name.text.as_str() {
                    "header" => table.header = self.truth(value)?,
                    "missing" => table.missing = self.texts(value)?,
                    "comment" => table.comment = Some(self.letter(value)?),
                    "decimal" => table.decimal = self.letter(value)?,
                    "key" => key = Some(self.column(value)?),
                    "separator" => {
                        table.separator = match self.text(value)?.as_bytes() {
                            b"," => Separator::Comma,
                            b"\t" => Separator::Tab,
                            [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\n\r".contains(byte) => {
                                Separator::Other(*byte)
                            }
                            _ => {
                                self.say(
                                    value.span,
                                    "data-source",
                                    "a separator is one character, such as \";\" or \"\\t\"",
                                );
                                return None;
                            }
                        }
                    }
                    _ => {
                        self.diagnostics.push(
                            Diagnostic::error("unknown-option", format!("`{word}` has no option `{}`", name.text))
                                .primary(name.span, "not an option")
                                .help("options are header, missing, comment, decimal and separator, and key of a table in which rows are looked up"),
                        );
                        return None;
                    }
                },
                ArgKind::Each { .. } | ArgKind::Hole => {
                    self.say(arg.span, "data-source", format!("`{word}` takes a file name and options"))
                }
            }
        }
        let Some(file) = file else {
            self.say(source.span, "data-source", format!("`{word}` needs a file name: `{word}(\"data.{word}\")`"));
            return None;
        };
        table.path = replaced.map_or_else(|| self.folder.join(file), Path::to_path_buf);
        Some(Written { table, key })
    }
}
