//! Finds a cell of a table again, to show it in a message: line, position in the line, and the line's text.
//!
//! Tables are read at full speed without remembering where each cell stood; a fault is rare and may read the file again.
//! The record number leads to the record's first byte (through the `csv` crate, which knows about quotes), and a walk over
//! the raw bytes leads to the cell. What cannot be found again (a pipe, a file that changed meanwhile) is left out.

use crate::error::{DataError, Excerpt};
use crate::spec::TableSource;
use crate::table;
use std::io::Read;

/// Characters of a line that are shown on each side of the fault.
const AROUND: usize = 36;

/// A cell, or a part of it.
pub(crate) struct Place {
    /// From 0, the header included.
    pub record: u64,
    /// Position of the cell in the record; None for the whole record.
    pub column: Option<usize>,
    /// Characters from the beginning of the cell's trimmed text.
    pub offset: usize,
    /// Characters at fault; None for the rest of the cell.
    pub width: Option<usize>,
}

/// The error with file, line, column and excerpt of the place, as far as they can be found.
pub(crate) fn placed(fault: Box<DataError>, source: &TableSource, place: &Place, label: &str) -> Box<DataError> {
    let mut fault = fault.in_file(&source.path);
    let Some(found) = find(source, place) else { return fault };
    fault.line = Some(found.line);
    if place.column.is_some() {
        fault.column = Some(found.column + 1);
    }
    fault.excerpt = found.text.map(|text| cut(&text, found.column, found.width, label));
    fault
}

struct Found {
    line: u64,
    /// Characters before the fault in its line.
    column: usize,
    width: usize,
    /// The line, unless the record stands on several lines.
    text: Option<String>,
}

fn find(source: &TableSource, place: &Place) -> Option<Found> {
    let mut bytes = vec![];
    // A damaged gzip file still has a readable beginning.
    let _ = table::content(source).ok()?.read_to_end(&mut bytes);
    let (start, line) = record_start(source, &bytes, place.record)?;
    let cell = match place.column {
        Some(column) => cell_range(source, &bytes, start, column)?,
        None => start..line_end(&bytes, start),
    };
    let before = &bytes[start..cell.start];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(start, |at| start + at + 1);
    let line = line + before.iter().filter(|byte| **byte == b'\n').count() as u64;
    let end = line_end(&bytes, line_start);
    let whole = String::from_utf8_lossy(&bytes[line_start..end]).into_owned();
    let chars_before = String::from_utf8_lossy(&bytes[line_start..cell.start]).chars().count();
    let cell_text = String::from_utf8_lossy(&bytes[cell.start..cell.end.min(end)]).into_owned();
    let blanks = cell_text.chars().count() - cell_text.trim_start().chars().count();
    let rest = cell_text.trim().chars().count().saturating_sub(place.offset);
    Some(Found {
        line,
        column: chars_before + blanks.min(cell_text.chars().count()) + place.offset,
        width: place.width.unwrap_or(rest).max(1),
        text: (cell.end <= end).then_some(whole),
    })
}

/// The first byte of a record and its line.
fn record_start(source: &TableSource, bytes: &[u8], wanted: u64) -> Option<(usize, u64)> {
    let mut reader = table::csv_reader(source, bytes, true);
    let mut record = csv::ByteRecord::new();
    for _ in 0..wanted {
        reader.read_byte_record(&mut record).ok()?;
    }
    let (mut at, mut line) = (reader.position().byte() as usize, reader.position().line());
    // The reader stands behind the last record; line ends, blank lines and comments may follow before the next one.
    loop {
        match bytes.get(at)? {
            b'\n' => (at, line) = (at + 1, line + 1),
            b'\r' => at += 1,
            0xef if at == 0 && bytes.starts_with("\u{feff}".as_bytes()) => at += 3,
            byte if source.comment == Some(*byte as char) => at = line_end(bytes, at),
            _ => return Some((at, line)),
        }
    }
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    let end = bytes[from..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| from + at);
    if end > from && bytes[end - 1] == b'\r' { end - 1 } else { end }
}

/// The bytes of a cell, quotes not included.
fn cell_range(source: &TableSource, bytes: &[u8], start: usize, column: usize) -> Option<std::ops::Range<usize>> {
    let separator = source.separator.byte();
    let mut at = start;
    let mut left = column;
    loop {
        let quoted = bytes.get(at) == Some(&b'"');
        let begin = at + usize::from(quoted);
        let mut end = begin;
        let mut inside = quoted;
        loop {
            match bytes.get(end) {
                None => break,
                Some(b'"') if inside && bytes.get(end + 1) == Some(&b'"') => end += 2,
                Some(b'"') if inside => {
                    inside = false;
                    end += 1;
                }
                Some(byte) if !inside && (*byte == separator || *byte == b'\n' || *byte == b'\r') => break,
                Some(_) => end += 1,
            }
        }
        if left == 0 {
            let closed = quoted && end > begin && bytes[end - 1] == b'"';
            return Some(begin..end - usize::from(closed));
        }
        if bytes.get(end) != Some(&separator) {
            return None;
        }
        left -= 1;
        at = end + 1;
    }
}

/// The part of a line around the fault. Tabs become blanks so that the carets stand right.
fn cut(line: &str, start: usize, width: usize, label: &str) -> Excerpt {
    let chars: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let start = start.min(chars.len());
    let width = width.min(chars.len() - start).clamp(1, 2 * AROUND);
    let first = if start + width <= 2 * AROUND { 0 } else { start.saturating_sub(AROUND) };
    let last = chars.len().min(start + width + AROUND).max(first);
    let mut text: String = chars[first..last].iter().collect();
    let mut shift = 0;
    if first > 0 {
        text.insert(0, '…');
        shift = 1;
    }
    if last < chars.len() {
        text.push('…');
    }
    Excerpt { text, start: start - first + shift, width, label: label.into() }
}
