//! Text tables: `.csv` and `.tsv`, plain or gzipped, read into memory as trimmed text cells.
//!
//! Reading is two steps, so that only the columns that somebody wants are kept: [`open`] reads the header, the caller
//! chooses columns, [`TableReader::read`] reads the rows. Cells of the kept columns lie one after the other in one string,
//! row by row, with one 32-bit end a cell. Parsing is the `csv` crate's; what a cell means is not known here.
//!
//! Blank lines are skipped, blanks around a cell are not part of it, a byte order mark is ignored. Places of faults are not
//! recorded while reading but found again when there is a fault (`locate.rs`).

use crate::error::{DataError, DataResult};
use crate::join::JoinedColumn;
use crate::locate;
use crate::spec::{Column, Separator, TableSource};
use flate2::read::MultiGzDecoder;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

/// Bytes read from the disk at once.
const READ_BLOCK: usize = 1 << 18;

/// The file's bytes, decompressed if they begin like gzip.
pub(crate) fn content(source: &TableSource) -> DataResult<Box<dyn Read>> {
    let file = File::open(&source.path).map_err(|error| not_opened(source, &error))?;
    let mut reader = BufReader::with_capacity(READ_BLOCK, file);
    let begin = reader.fill_buf().map_err(|error| not_read(source, &error))?;
    let compressed = begin.starts_with(&[0x1f, 0x8b]);
    Ok(if compressed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

fn not_opened(source: &TableSource, error: &std::io::Error) -> Box<DataError> {
    if error.kind() != std::io::ErrorKind::NotFound {
        return not_read(source, error);
    }
    let path = &source.path;
    let mut fault = DataError::new("file-not-found", format!("there is no file `{}`", path.display()));
    let names = path.parent().map(names_in).unwrap_or_default();
    if let Some(near) = path.file_name().and_then(|name| nearest(&name.to_string_lossy(), &names)) {
        fault = fault.help(format!("its folder has `{near}`"));
    } else {
        fault =
            fault.help("paths are relative to the folder of the `.bdl` file; `--data NAME=PATH` gives another place");
    }
    fault
}

fn names_in(folder: &std::path::Path) -> Vec<String> {
    let folder = if folder.as_os_str().is_empty() { std::path::Path::new(".") } else { folder };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn not_read(source: &TableSource, error: &std::io::Error) -> Box<DataError> {
    let damaged = matches!(error.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData);
    if damaged || error.kind() == std::io::ErrorKind::UnexpectedEof {
        return DataError::new("bad-gzip", format!("the compressed data is damaged or cut off ({error})"))
            .in_file(&source.path)
            .help("copy or download the file again");
    }
    DataError::new("unreadable-file", format!("`{}` cannot be read: {error}", source.path.display()))
}

/// A `csv` reader with the options of the source. `flexible`: rows of unequal length are no error.
pub(crate) fn csv_reader<R: Read>(source: &TableSource, content: R, flexible: bool) -> csv::Reader<R> {
    csv::ReaderBuilder::new()
        .delimiter(source.separator.byte())
        .has_headers(false)
        .flexible(flexible)
        .comment(source.comment.and_then(|mark| u8::try_from(mark).ok()))
        .buffer_capacity(READ_BLOCK)
        .from_reader(content)
}

/// The columns of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// Names by position; without a header the numbers `1`, `2`, ...
    pub names: Vec<String>,
    pub named: bool,
}

impl Columns {
    /// The position of a column, from 0. Errors: `missing-column` with the nearest name.
    pub fn find(&self, column: &Column, source: &TableSource) -> DataResult<usize> {
        match column {
            Column::Number(number) if (1..=self.names.len()).contains(number) => Ok(number - 1),
            Column::Number(number) => Err(DataError::new(
                "missing-column",
                format!("there is no column {number}: the file has {} columns, counted from 1", self.names.len()),
            )
            .in_file(&source.path)),
            Column::Name(_) if !self.named => {
                Err(DataError::new("missing-column", "columns have no names with `header: false`".to_string())
                    .in_file(&source.path)
                    .help(format!("give a number from 1 to {}", self.names.len())))
            }
            Column::Name(name) => match self.names.iter().position(|known| known == name) {
                Some(position) => Ok(position),
                None => Err(self.missing(name, source)),
            },
            // The caller knows the other tables.
            Column::Of(lookup, _) => {
                let text = format!("a column of `{}` cannot be named here", lookup.table);
                Err(DataError::new("wrong-step", text).help("name a column of the file itself"))
            }
        }
    }

    fn missing(&self, name: &str, source: &TableSource) -> Box<DataError> {
        let fault = DataError::new("missing-column", format!("the file has no column `{name}`"))
            .in_file(&source.path)
            .at_line(1);
        let other = [(',', Separator::Tab, "csv"), ('\t', Separator::Comma, "tsv"), (';', Separator::Comma, "")];
        if let [only] = self.names.as_slice() {
            for (mark, read_as, function) in other {
                if source.separator == read_as && only.contains(mark) {
                    let what = if mark == '\t' { "tabs".into() } else { format!("`{mark}`") };
                    let way = if function.is_empty() {
                        format!("say so: `separator: \"{mark}\"`")
                    } else {
                        format!("read it with `{function}(...)`")
                    };
                    return fault.help(format!("the cells of this file are separated by {what}: {way}"));
                }
            }
        }
        match nearest(name, &self.names) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => {
                let shown: Vec<String> = self.names.iter().take(12).map(|name| format!("`{name}`")).collect();
                let more =
                    if self.names.len() > 12 { format!(" and {} more", self.names.len() - 12) } else { String::new() };
                fault.help(format!("the columns are {}{more}", shown.join(", ")))
            }
        }
    }

    /// The positions of `columns(include except except)`: pattern after pattern as they are written, and of one pattern in the order of the file.
    /// `*` stands for any run of characters.
    /// Errors: `missing-column` if a pattern matches nothing.
    pub fn matching(&self, include: &[String], except: &[String], source: &TableSource) -> DataResult<Vec<usize>> {
        for pattern in include.iter().chain(except) {
            if !self.names.iter().any(|name| matches(pattern, name)) {
                if !pattern.contains('*') {
                    return Err(self.missing(pattern, source));
                }
                let shown: Vec<String> = self.names.iter().take(12).map(|name| format!("`{name}`")).collect();
                return Err(DataError::new("missing-column", format!("no column matches `{pattern}`"))
                    .in_file(&source.path)
                    .at_line(1)
                    .help(format!("the columns begin {}", shown.join(", "))));
            }
        }
        let mut positions: Vec<usize> = Vec::new();
        let mut is_taken: Vec<bool> = self.names.iter().map(|name| except.iter().any(|p| matches(p, name))).collect();
        for pattern in include {
            for (at, name) in self.names.iter().enumerate() {
                if !is_taken[at] && matches(pattern, name) {
                    is_taken[at] = true;
                    positions.push(at);
                }
            }
        }
        if positions.is_empty() {
            let text = format!("every column of `{}` is excepted", include.join("`, `"));
            return Err(DataError::new("missing-column", text).in_file(&source.path));
        }
        Ok(positions)
    }
}

/// Does the name fit a pattern in which `*` stands for any run of characters, also an empty one?
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((begin, rest)) => match name.strip_prefix(begin) {
            None => false,
            Some(tail) => {
                tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| matches(rest, &tail[at..]))
            }
        },
    }
}

/// The name that is most like the given one, if any is like it at all (edit distance at most a third of the length, case
/// not counted).
pub(crate) fn nearest(name: &str, known: &[String]) -> Option<String> {
    let wanted: Vec<char> = name.to_lowercase().chars().collect();
    let limit = (wanted.len() / 3).max(1);
    let (distance, best) = known.iter().map(|other| (edit_distance(&wanted, other), other)).min_by_key(|(d, _)| *d)?;
    (distance <= limit).then(|| best.clone())
}

/// Levenshtein 1966: the fewest insertions, deletions and replacements of a character, case not counted.
fn edit_distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            row.push((above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1));
        }
        above = row;
    }
    above[b.len()]
}

/// A file whose header was read.
pub struct TableReader {
    source: TableSource,
    reader: csv::Reader<Box<dyn Read>>,
    pub columns: Columns,
    /// The first record, where it is a row.
    first: Option<csv::ByteRecord>,
}

/// Opens a table and reads its header.
///
/// Errors: `file-not-found`, `unreadable-file`, `bad-gzip`, `empty-file`, `bad-utf8`, `duplicate-header`, `bad-option`.
pub fn open(source: &TableSource) -> DataResult<TableReader> {
    if let Some(mark) = source.comment.filter(|mark| !mark.is_ascii()) {
        return Err(DataError::new("bad-option", format!("the comment mark `{mark}` must be an ASCII character")));
    }
    let mut reader = csv_reader(source, content(source)?, false);
    let mut record = csv::ByteRecord::new();
    if !reader.read_byte_record(&mut record).map_err(|error| row_fault(source, error, 0))? {
        return Err(DataError::new("empty-file", "the file is empty")
            .in_file(&source.path)
            .help("a table has a line of column names and one line a row"));
    }
    check_utf8(source, &record, 0)?;
    let names: Vec<String> = record.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_string()).collect();
    if !source.header {
        let names = (1..=names.len()).map(|number| number.to_string()).collect();
        return Ok(TableReader {
            source: source.clone(),
            reader,
            columns: Columns { names, named: false },
            first: Some(record),
        });
    }
    let mut seen = HashMap::new();
    for (position, name) in names.iter().enumerate() {
        // Several unnamed columns (a row-name column, trailing separators) do no harm: nobody can ask for them.
        if let Some(first) = seen.insert(name.as_str(), position).filter(|_| !name.is_empty()) {
            let text = format!("columns {} and {} are both called `{name}`", first + 1, position + 1);
            let place = locate::Place { record: 0, column: Some(position), offset: 0, width: None };
            return Err(locate::placed(DataError::new("duplicate-header", text), source, &place, "again here")
                .help("rename one of them"));
        }
    }
    Ok(TableReader { source: source.clone(), reader, columns: Columns { names, named: true }, first: None })
}

impl TableReader {
    /// The cells of the first rows, for people to look at; all columns. A faulty row ends the list.
    pub fn head(mut self, rows: usize) -> Vec<Vec<String>> {
        let text = |record: &csv::ByteRecord| {
            record.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_string()).collect()
        };
        let mut head: Vec<Vec<String>> = self.first.iter().map(text).collect();
        let mut record = csv::ByteRecord::new();
        while head.len() < rows && self.reader.read_byte_record(&mut record).unwrap_or(false) {
            head.push(text(&record));
        }
        head.truncate(rows);
        head
    }

    /// Reads all rows, keeping the columns at the given positions, in that order.
    ///
    /// Errors: `no-rows`, `unequal-rows`, `bad-utf8`, `unreadable-file`, `bad-gzip`.
    pub fn read(mut self, kept: &[usize]) -> DataResult<Table> {
        let mut table = Table {
            source: self.source,
            slots: self.columns.names.iter().enumerate().map(|(at, _)| kept.iter().position(|k| *k == at)).collect(),
            columns: self.columns,
            kept: kept.len(),
            text: String::new(),
            starts: vec![],
            ends: vec![],
            joined: vec![],
        };
        // A whole-file choice of columns is usual and needs no look-up by cell.
        let all = kept.iter().copied().eq(0..table.columns.names.len());
        let mut record = csv::ByteRecord::new();
        if let Some(first) = self.first.take() {
            table.push(&first, kept, all)?;
        }
        loop {
            match self.reader.read_byte_record(&mut record) {
                Ok(true) => table.push(&record, kept, all)?,
                Ok(false) => break,
                Err(error) => return Err(row_fault(&table.source, error, table.record_of(table.rows()))),
            }
        }
        if table.rows() == 0 {
            return Err(DataError::new("no-rows", "the file has column names and no rows").in_file(&table.source.path));
        }
        Ok(table)
    }
}

fn row_fault(source: &TableSource, error: csv::Error, record: u64) -> Box<DataError> {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => not_read(source, &error),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            let against = if source.header { "the header" } else { "the first row" };
            let cells = |n: u64| if n == 1 { "1 cell".to_string() } else { format!("{n} cells") };
            let text = format!("this row has {}, {against} has {}", cells(len), cells(expected_len));
            let extra = (len > expected_len).then_some(expected_len as usize);
            let place = locate::Place { record, column: extra, offset: 0, width: None };
            let label = if extra.is_some() { "the first cell too many" } else { "" };
            let fault = locate::placed(DataError::new("unequal-rows", text), source, &place, label);
            let multi_line = fault.excerpt.is_none();
            fault.help(if record == 1 && len == expected_len + 1 {
                "if the first cells are row names without a heading, give them one (in R: `write.csv(t, row.names = FALSE)`)"
            } else if multi_line {
                "a quote `\"` may not be closed"
            } else if len > expected_len {
                "put quotes around a cell that holds the separator"
            } else {
                "an empty cell still needs its separator"
            })
        }
        // The remaining kinds belong to interfaces of the csv crate that are not used here (strings, seeking, serde).
        other => DataError::new("unreadable-file", format!("`{}`: {other:?}", source.path.display())),
    }
}

fn check_utf8(source: &TableSource, record: &csv::ByteRecord, index: u64) -> DataResult<()> {
    if record.as_slice().is_ascii() {
        return Ok(());
    }
    for (column, cell) in record.iter().enumerate() {
        if let Err(error) = std::str::from_utf8(cell) {
            let byte = cell[error.valid_up_to()];
            let wide = index == 0 && matches!(record.as_slice(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
            let fault = DataError::new("bad-utf8", format!("byte {byte:#04x} is not UTF-8 text"));
            let place = locate::Place { record: index, column: Some(column), offset: 0, width: None };
            return Err(locate::placed(fault, source, &place, "in this cell").help(if wide {
                "the file is UTF-16 text; save it as UTF-8"
            } else {
                "save the file as UTF-8 (`iconv -f latin1 -t utf-8` converts from Latin-1)"
            }));
        }
    }
    Ok(())
}

/// A table in memory: the kept columns as text, and behind them those of other tables whose rows are looked up.
#[derive(Debug)]
pub struct Table {
    pub source: TableSource,
    pub columns: Columns,
    /// For each column of the file its place among the kept ones.
    slots: Vec<Option<usize>>,
    kept: usize,
    text: String,
    starts: Vec<usize>,
    /// Ends of the kept cells of all rows, relative to the row's start.
    ends: Vec<u32>,
    pub(crate) joined: Vec<Arc<JoinedColumn>>,
}

impl Table {
    fn push(&mut self, record: &csv::ByteRecord, kept: &[usize], all: bool) -> DataResult<()> {
        let index = self.record_of(self.rows());
        check_utf8(&self.source, record, index)?;
        let start = self.text.len();
        self.starts.push(start);
        let mut append = |text: &mut String, cell: &[u8]| {
            // Checked above: each cell is UTF-8. ASCII is the rule, and checking it again is cheap.
            text.push_str(std::str::from_utf8(cell).unwrap_or_default());
            self.ends.push((text.len() - start) as u32);
        };
        if all {
            record.iter().for_each(|cell| append(&mut self.text, cell));
        } else {
            kept.iter().for_each(|at| append(&mut self.text, record.get(*at).unwrap_or_default()));
        }
        match u32::try_from(self.text.len() - start) {
            Ok(_) => Ok(()),
            Err(_) => Err(DataError::new("unreadable-file", "a row is longer than 4 GB").in_file(&self.source.path)),
        }
    }

    pub fn rows(&self) -> usize {
        self.starts.len()
    }

    /// The record of the file, from 0, that holds a row.
    pub fn record_of(&self, row: usize) -> u64 {
        row as u64 + u64::from(self.source.header)
    }

    /// A cell without the blanks around it. `column` is the position in the file and must be among the kept ones, or that of a
    /// looked-up column.
    pub fn cell(&self, row: usize, column: usize) -> &str {
        let Some(slot) = self.slots.get(column) else { return self.looked_up(column).cell(row) };
        let Some(slot) = *slot else { return "" };
        let first = row * self.kept;
        let start = if slot == 0 { 0 } else { self.ends[first + slot - 1] as usize };
        let end = self.ends[first + slot] as usize;
        self.text[self.starts[row] + start..self.starts[row] + end].trim()
    }

    /// Is a cell's text one of those that mean a missing value?
    pub fn is_missing(&self, row: usize, column: usize) -> bool {
        if column >= self.slots.len() {
            return self.looked_up(column).is_missing(row);
        }
        let cell = self.cell(row, column);
        self.source.missing.iter().any(|text| text == cell)
    }

    /// The decimal mark of a column.
    pub fn decimal(&self, column: usize) -> char {
        if column < self.slots.len() { self.source.decimal } else { self.looked_up(column).table.source.decimal }
    }

    fn looked_up(&self, column: usize) -> &JoinedColumn {
        &self.joined[column - self.slots.len()]
    }

    /// An error at a cell. `offset`: how many characters into the cell; `width`: how many are at fault (all if None).
    pub fn fault_at(
        &self,
        fault: Box<DataError>,
        row: usize,
        column: usize,
        offset: usize,
        width: Option<usize>,
    ) -> Box<DataError> {
        let place = locate::Place { record: self.record_of(row), column: Some(column), offset, width };
        let name = if self.columns.named { format!(", `{}`", self.columns.names[column]) } else { String::new() };
        locate::placed(fault, &self.source, &place, &format!("column {}{name}", column + 1))
    }
}
