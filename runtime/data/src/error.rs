//! The one error type of this crate: what is wrong in the user's data, where, and what to try.
//!
//! A [`DataError`] is data first (code, place, message, help) and prints in the manner of the compiler's messages:
//!
//! ```text
//! error[text-in-number]: `NA` in column `age` is not a number
//!    ┌─ patients.csv:17:9
//!    │
//! 17 │ anna,f,NA,1
//!    │        ^^ column 3, `age`
//!    │
//!    = asked for by `age` at model.bdl:5:3
//!    = help: write `missing: ["", "NA"]` in `csv(...)` if it means that the value is not known
//! ```
//!
//! Every code has a paragraph in [`CODES`], for `bdl check --explain`.

use std::fmt;
use std::path::{Path, PathBuf};

/// A result whose error is boxed, since errors carry a lot and are rare.
pub type DataResult<T> = Result<T, Box<DataError>>;

/// Something wrong with the user's data or with what the program asks of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DataError {
    /// A word, stable, one of [`CODES`].
    pub code: &'static str,
    pub message: String,
    pub file: Option<PathBuf>,
    /// Line in the file, from 1.
    pub line: Option<u64>,
    /// Position of the fault in the line, in characters from 1.
    pub column: Option<usize>,
    /// The text of the line and what the caret says, where the line is at hand.
    pub excerpt: Option<Excerpt>,
    /// Who asked: a field and its place in the user's program.
    pub asked_by: Option<String>,
    pub help: Option<String>,
}

/// The faulty part of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Excerpt {
    /// The line, cut to a readable length around the fault.
    pub text: String,
    /// First faulty character in `text`, from 0, and how many.
    pub start: usize,
    pub width: usize,
    /// What stands beside the carets.
    pub label: String,
}

impl DataError {
    /// An error without a place.
    pub fn new(code: &'static str, message: impl Into<String>) -> Box<Self> {
        debug_assert!(CODES.iter().any(|(known, _)| *known == code), "undocumented code {code}");
        Box::new(DataError {
            code,
            message: message.into(),
            file: None,
            line: None,
            column: None,
            excerpt: None,
            asked_by: None,
            help: None,
        })
    }

    /// The error with its file.
    pub fn in_file(mut self: Box<Self>, file: &Path) -> Box<Self> {
        self.file = Some(file.to_path_buf());
        self
    }

    /// The error with its line, from 1.
    pub fn at_line(mut self: Box<Self>, line: u64) -> Box<Self> {
        self.line = Some(line);
        self
    }

    /// The error with a way out.
    pub fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Self> {
        self.help = Some(help.into());
        self
    }

    /// The error with the field that asked, unless one is named already.
    pub fn asked_by(mut self: Box<Self>, field: &str, pos: &str) -> Box<Self> {
        if self.asked_by.is_none() {
            let place = if pos.is_empty() { String::new() } else { format!(" at {pos}") };
            self.asked_by = Some(format!("`{field}`{place}"));
        }
        self
    }
}

impl std::error::Error for DataError {}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        let number = self.line.map(|line| line.to_string()).unwrap_or_default();
        let margin = " ".repeat(number.len().max(2));
        if let Some(file) = &self.file {
            write!(f, "\n{margin} ┌─ {}", file.display())?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
                if let Some(column) = self.column {
                    write!(f, ":{column}")?;
                }
            }
        }
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{margin} │\n{number:>width$} │ {}", excerpt.text, width = margin.len())?;
            let (indent, carets) = (" ".repeat(excerpt.start), "^".repeat(excerpt.width.max(1)));
            write!(f, "\n{margin} │ {indent}{carets} {}", excerpt.label)?;
        }
        if self.file.is_some() && (self.asked_by.is_some() || self.help.is_some()) {
            write!(f, "\n{margin} │")?;
        }
        if let Some(field) = &self.asked_by {
            write!(f, "\n{margin} = asked for by {field}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{margin} = help: {help}")?;
        }
        Ok(())
    }
}

/// Every code of this crate with the paragraph that `--explain` prints.
pub const CODES: &[(&str, &str)] = &[
    (
        "file-not-found",
        "The data file does not exist. Paths in a `data` block are relative to the folder of the `.bdl` file.",
    ),
    (
        "unreadable-file",
        "The data file exists but cannot be read: permissions, a folder in its place, or a fault of the disk.",
    ),
    ("bad-gzip", "The file begins like a gzip file, but its compressed data is damaged or cut off."),
    ("empty-file", "The data file holds nothing, not even a header."),
    ("no-rows", "The data file has a header and no rows."),
    ("no-rows-left", "No row passed the `keep` conditions."),
    ("bad-utf8", "The file is not UTF-8 text at this place. Save it as UTF-8; spreadsheets offer `CSV UTF-8`."),
    ("duplicate-header", "Two columns have the same name, so a name does not say which one is meant."),
    (
        "unequal-rows",
        "A row has more or fewer cells than the header. Often a separator stands inside an unquoted cell, or a quote is not closed.",
    ),
    ("missing-column", "A field reads a column that the file does not have."),
    (
        "missing-key",
        "A row is looked up in another table (`alleles[allele].column(\"sequence\")`) that has no row with this key. `alleles[allele else missing]` makes the value missing; `keep` leaves rows out.",
    ),
    (
        "duplicate-key",
        "Two rows of a table in which rows are looked up have the same key, so that the key does not say which one is meant.",
    ),
    (
        "text-in-number",
        "A cell of a numeric column is not a number. If the text means that the value is unknown, list it under `missing:` of the source.",
    ),
    (
        "not-finite",
        "A cell is NaN or infinite, or a number beyond what 64 bits hold. Neither can be trained on. If it means that the value is unknown, list it under `missing:` of the source.",
    ),
    ("out-of-domain", "A step such as `log` or `sqrt` was applied to a value for which it is not defined."),
    (
        "missing-value",
        "A cell is missing and the field does not say what that means. Use `missing: keep`, `missing: VALUE` or `impute(...)`.",
    ),
    ("unknown-letter", "A sequence holds a character that its alphabet does not have."),
    (
        "ambiguous-letter",
        "A sequence given as letters holds a code for several letters (such as N), and an index can only be one. `onehot` shares it out as fractions.",
    ),
    ("unknown-truth", "A cell is neither of the two texts of a truth value."),
    (
        "unknown-category",
        "A cell names a class that is not among the known ones: those listed in the program, or those found when the run was trained.",
    ),
    (
        "index-outside",
        "A position in a list (`index(column(\"src\"), of: atoms)`) points to an element that the row does not have. Positions begin with 0; `first: 1` says that the file counts from 1.",
    ),
    ("length-differs", "A sequence has another length than the model was built for."),
    (
        "columns-displaced",
        "Two fields of several columns are combined place by place, and a column of one name stands at another place in each, so that different columns would meet.",
    ),
    ("shape-differs", "The values of a field do not have the shape that another use asks for."),
    ("nothing-known", "A value is to be fitted (mean, range, median) and no training row knows the column."),
    ("wrong-step", "A step was applied to a field that it does not fit, such as `log1p` on text."),
    ("unknown-field", "The name of a field that does not exist."),
    ("absent-field", "A field is needed whose columns the input file does not have."),
    (
        "bad-draw",
        "A draw with impossible parameters or of more values than memory holds, or a draw in a field that reads a file.",
    ),
    ("bad-option", "An option of the source has an impossible value."),
    ("bad-split", "The fractions of a split must lie between 0 and 1 and sum to 1."),
    ("class-too-small", "A balanced split needs at least two rows of each class."),
    (
        "smote-needs-numbers",
        "`rows smote(y)` makes rows up between others, so every field that the model reads must be numbers that are there. `rows oversample(y)` repeats rows as they are.",
    ),
    ("too-few-groups", "A split by groups needs at least as many groups as parts, since a group is never cut."),
    ("too-few-rows", "A part of the split would have no row."),
    (
        "not-a-molecule",
        "`split scaffold(smiles, ..)` reads a molecule in each row, and this text is no SMILES. The message says at which letter it \
stops making sense: elements beside B C N O P S F Cl Br I stand in brackets (`[Na+]`), a ring number comes twice, brackets are closed.",
    ),
    ("unknown-part", "The column of `given(...)` must say `train`, `valid` or `test` in each row."),
    (
        "too-many-classes",
        "A category column has as many classes as rows: it is an identifier, or a number read as text.",
    ),
    ("wrong-fitted", "The stored fitted values do not belong to this data block."),
];
