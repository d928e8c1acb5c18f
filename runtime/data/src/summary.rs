//! What `bdl data` shows: the fields with their types, classes and ranges, the first rows, and what looks suspicious.
//!
//! ```text
//! Junctions   splice.csv   3,186 rows
//!   dna   f32[60, 4]   `sequence`
//!   site  category(3)  `class`     EI 767 · IE 765 · N 1,654
//!
//!   class  sequence
//!   N      CTAGGCTCCAGATAGCCATAGAAGAACC…
//!
//! warning[duplicates]: 185 rows repeat an earlier one in `dna`
//!   = help: `distinct dna` drops them
//! ```

use crate::dataset::Dataset;
use crate::error::DataResult;
use crate::facts::{Class, FieldDim, FieldFacts, Kind};
use crate::field::Values;
use crate::spec::{DataSpec, Precision, Source};
use crate::{suspicious, table};
use serde::Serialize;
use std::fmt::Write;

/// Rows of the file that are shown.
const SHOWN_ROWS: usize = 4;
/// Columns of the file that are shown, and characters of a cell.
const SHOWN_COLUMNS: usize = 8;
const SHOWN_WIDTH: usize = 28;

/// What a data block reads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub name: String,
    pub file: Option<String>,
    pub rows: usize,
    /// Rows of the file, before `keep` and `distinct`.
    pub rows_read: usize,
    pub fields: Vec<FieldSummary>,
    /// All columns of the file.
    pub columns: Vec<String>,
    /// Columns that no field reads.
    pub unused: Vec<String>,
    /// The first rows of the file, as text.
    pub first_rows: Vec<Vec<String>>,
    pub warnings: Vec<Warning>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldSummary {
    pub name: String,
    /// As written in a program: `f32[60, 4]`, `category(3)`, `f32?`.
    #[serde(rename = "type")]
    pub type_name: String,
    pub columns: Vec<String>,
    /// Missing cells.
    pub missing: usize,
    pub classes: Vec<Class>,
    /// Smallest and largest known number, before anything fitted.
    pub range: Option<(f64, f64)>,
    /// Shortest and longest row, where they differ.
    pub lengths: Option<(u32, u32)>,
}

/// Something that looks wrong and need not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    pub code: &'static str,
    pub field: Option<String>,
    pub column: Option<String>,
    pub message: String,
    pub help: String,
}

impl Summary {
    /// Reads the source of a block. Errors: those of [`Dataset::open`].
    pub fn of(spec: &DataSpec) -> DataResult<Self> {
        let data = Dataset::open(spec, Precision::F64)?;
        let (columns, first_rows) = match &spec.source {
            Source::Table(source) => {
                let reader = table::open(source)?;
                (reader.columns.names.clone(), reader.head(SHOWN_ROWS))
            }
            Source::Synthetic { .. } => (vec![], vec![]),
        };
        let used = |position: &usize| {
            data.looked_up.contains(position) || data.fields.iter().any(|field| field.columns.contains(position))
        };
        let unused = (0..columns.len()).filter(|at| !used(at)).map(|at| columns[at].clone()).collect();
        let facts = data.facts();
        Ok(Summary {
            name: facts.name,
            file: facts.file.map(|file| file.display().to_string()),
            rows: facts.rows,
            rows_read: facts.rows_read,
            fields: data
                .fields
                .iter()
                .filter(|field| !field.hidden)
                .map(|field| field_summary(&field.facts, &field.values))
                .collect(),
            columns,
            unused,
            first_rows,
            warnings: data.warnings()?,
        })
    }

    /// The summary as aligned text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let file = self.file.as_deref().unwrap_or("synthetic");
        // Writing into a string cannot fail.
        let _ = write!(text, "{}   {file}   {}", self.name, count(self.rows, "row"));
        if self.rows != self.rows_read {
            let _ = write!(text, " of {}", thousands(self.rows_read));
        }
        text.push('\n');
        let lines: Vec<Vec<String>> = self.fields.iter().map(FieldSummary::cells).collect();
        text.push_str(&aligned(&lines));
        if !self.unused.is_empty() {
            let shown: Vec<String> = self.unused.iter().take(SHOWN_COLUMNS).map(|name| format!("`{name}`")).collect();
            let more = self.unused.len().saturating_sub(SHOWN_COLUMNS);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let _ = writeln!(text, "  not read: {}{more}", shown.join(", "));
        }
        if !self.first_rows.is_empty() {
            let cut = |row: &Vec<String>| {
                let mut cells: Vec<String> = row.iter().take(SHOWN_COLUMNS).map(|cell| shortened(cell)).collect();
                if row.len() > SHOWN_COLUMNS {
                    cells.push("…".into());
                }
                cells
            };
            let lines: Vec<Vec<String>> = [&self.columns].into_iter().chain(&self.first_rows).map(cut).collect();
            text.push('\n');
            text.push_str(&aligned(&lines));
        }
        for warning in &self.warnings {
            let _ = write!(text, "\nwarning[{}]: {}\n  = help: {}\n", warning.code, warning.message, warning.help);
        }
        text
    }
}

impl Dataset {
    /// Columns that look wrong; see the codes in [`WARNINGS`].
    pub fn warnings(&self) -> DataResult<Vec<Warning>> {
        Ok(limited(suspicious::warnings(&self.fields, self.rows(), self.places.own_columns())?))
    }
}

/// Warnings of one kind about one field that are shown.
const SHOWN_ALIKE: usize = 3;

/// Of many warnings of one kind about one field the first, the last of which says how many more there are.
pub(crate) fn limited(found: Vec<Warning>) -> Vec<Warning> {
    let mut kept: Vec<Warning> = vec![];
    let mut more: Vec<usize> = vec![];
    for warning in found {
        let alike = |known: &&Warning| known.code == warning.code && known.field == warning.field;
        // Two fields may read one column.
        if warning.column.is_some() && kept.iter().any(|k| k.code == warning.code && k.column == warning.column) {
            continue;
        }
        if kept.iter().filter(alike).count() < SHOWN_ALIKE {
            kept.push(warning);
            more.push(0);
        } else if let Some(last) = kept.iter().rposition(|known| alike(&known)) {
            more[last] += 1;
        }
    }
    for (warning, more) in kept.iter_mut().zip(more).filter(|(_, more)| *more > 0) {
        let columns = if more == 1 { "column is" } else { "columns are" };
        warning.message.push_str(&format!("; {} more {columns} like it", thousands(more)));
    }
    kept
}

pub use crate::suspicious::WARNINGS;

impl FieldSummary {
    fn cells(&self) -> Vec<String> {
        let from = match self.columns.as_slice() {
            [] => String::new(),
            [only] => format!("`{only}`"),
            [first, .., last] => format!("{} columns, `{first}` to `{last}`", thousands(self.columns.len())),
        };
        let mut says = vec![];
        if !self.classes.is_empty() {
            let shown = self.classes.iter().take(10).map(|class| format!("{} {}", class.name, thousands(class.count)));
            let more = self.classes.len().saturating_sub(10);
            let more = (more > 0).then(|| format!("{more} more"));
            says.push(shown.chain(more).collect::<Vec<_>>().join(" · "));
        }
        if let Some((low, high)) = self.range {
            says.push(format!("{} to {}", short(low), short(high)));
        }
        if let Some((least, most)) = self.lengths {
            says.push(format!("lengths {least} to {most}"));
        }
        if self.missing > 0 {
            says.push(format!("{} missing", thousands(self.missing)));
        }
        vec![self.name.clone(), self.type_name.clone(), from, says.join(", ")]
    }
}

fn field_summary(facts: &FieldFacts, values: &Values) -> FieldSummary {
    let range = |known: &mut dyn Iterator<Item = f64>| {
        known.filter(|x| !x.is_nan()).fold(None, |range: Option<(f64, f64)>, x| {
            Some(range.map_or((x, x), |(low, high)| (low.min(x), high.max(x))))
        })
    };
    let range = match values {
        Values::F32(values) => range(&mut values.iter().map(|x| f64::from(*x))),
        Values::F64(values) => range(&mut values.iter().copied()),
        Values::Truth(_) | Values::Ids(_) | Values::Letters(_) => None,
    };
    let lengths = facts.dims.iter().find_map(|dim| match dim {
        FieldDim::Fixed(_) => None,
        FieldDim::PerRow(lengths) => lengths.iter().min().copied().zip(lengths.iter().max().copied()),
    });
    let classes = if facts.kind == Kind::Text { vec![] } else { facts.classes.clone() };
    FieldSummary {
        name: facts.name.clone(),
        type_name: type_name(facts),
        columns: facts.columns.clone(),
        missing: facts.missing,
        classes,
        range,
        lengths,
    }
}

/// The type as a program writes it; an axis that differs from row to row is called `T`.
pub fn type_name(facts: &FieldFacts) -> String {
    let value = match &facts.kind {
        Kind::Number => "f32".to_string(),
        Kind::Truth => "bool".to_string(),
        Kind::Category => format!("category({})", facts.classes.len()),
        Kind::Letters { alphabet, .. } => alphabet.clone(),
        Kind::Index(n) => format!("index({n})"),
        Kind::IndexOf(field) => format!("index({field}.len)"),
        Kind::Text => "text".to_string(),
    };
    let optional = if facts.optional { "?" } else { "" };
    if facts.dims.is_empty() {
        return format!("{value}{optional}");
    }
    let dims = facts.dims.iter().map(|dim| match dim {
        FieldDim::Fixed(size) => size.to_string(),
        FieldDim::PerRow(_) => "T".to_string(),
    });
    format!("{value}{optional}[{}]", dims.collect::<Vec<_>>().join(", "))
}

/// `3186` as `3,186`.
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// Four digits that matter.
fn short(x: f64) -> String {
    if x == 0.0 || (1e-3..1e7).contains(&x.abs()) {
        let places = (3 - x.abs().max(1e-3).log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{x:.places$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
    } else {
        format!("{x:.3e}")
    }
}

fn shortened(cell: &str) -> String {
    if cell.chars().count() <= SHOWN_WIDTH {
        return cell.to_string();
    }
    cell.chars().take(SHOWN_WIDTH - 1).chain(['…']).collect()
}

/// Columns of text, two blanks before each, blanks at line ends removed.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(row, "  {cell:<width$}");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1234567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 1.0, 0.05263, 2501.0, 1e9, -0.5].map(short), ["0", "1", "0.05263", "2501", "1.000e9", "-0.5"]);
    }
}
