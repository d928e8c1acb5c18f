//! Columns: definitions below each other whose `=` (or type) was aligned by hand stay aligned.
//!
//! A [`Row`] is a statement cut into cells before its signs: `param gain:`, `f32[C]`, `= ones`. Neighbouring rows whose cells
//! ended in the same column of the text, at least one of them by padding, are padded to one width again.

use super::doc::{Doc, docs};

/// One statement or entry.
pub struct Row {
    /// The word of an entry, padded to the longest word of its block.
    pub word: Option<String>,
    /// What stands before each aligned sign.
    pub cells: Vec<Cell>,
    /// From the last aligned sign on.
    pub rest: Doc,
    /// It ends with lines in braces, which need no padding before them.
    pub braces: bool,
    /// Comments and empty lines before it.
    pub before: Vec<Doc>,
    /// Comments at the end of its last line.
    pub after: Vec<Doc>,
    /// It follows the row before it directly.
    pub joined: bool,
}

pub struct Cell {
    pub text: String,
    /// Where the next cell stood in the text.
    pub next: u32,
}

impl Row {
    pub fn of(rest: Doc) -> Row {
        Row { word: None, cells: Vec::new(), rest, braces: false, before: Vec::new(), after: Vec::new(), joined: false }
    }

    pub fn cells(cells: Vec<Cell>, rest: Doc) -> Row {
        Row { cells, ..Row::of(rest) }
    }

    /// An entry that begins with a word.
    pub fn word(self, word: impl Into<String>) -> Row {
        Row { word: Some(word.into()), ..self }
    }

    pub fn finish(self) -> Doc {
        let mut line = self.before;
        if let Some(word) = self.word {
            let alone = self.rest == Doc::nil() && self.cells.is_empty();
            line.push(if alone { Doc::text(word.trim_end()) } else { docs![word, " "] });
        }
        for cell in self.cells {
            line.push(docs![cell.text, " "]);
        }
        line.push(self.rest);
        line.extend(self.after);
        Doc::Concat(line)
    }
}

/// Pads words and cells. `place` gives the column of an offset, `gap` the blanks before it.
pub fn align(rows: &mut [Row], place: impl Fn(u32) -> usize, gap: impl Fn(u32) -> usize) {
    let words = rows.iter().filter(|row| !row.braces).filter_map(|row| row.word.as_ref());
    let width = words.map(|word| word.len()).max().unwrap_or(0);
    for row in rows.iter_mut().filter(|row| !row.braces) {
        if let Some(word) = &mut row.word {
            word.push_str(&" ".repeat(width - word.len()));
        }
    }
    for cell in 0..2 {
        let column = |row: &Row| row.cells.get(cell).map(|cell| place(cell.next));
        let mut from = 0;
        while from < rows.len() {
            let Some(first) = column(&rows[from]) else {
                from += 1;
                continue;
            };
            let belongs = |row: &&Row| row.joined && column(row) == Some(first);
            let to = from + 1 + rows[from + 1..].iter().take_while(belongs).count();
            let padded = rows[from..to].iter().any(|row| gap(row.cells[cell].next) >= 2);
            if padded && to > from + 1 {
                pad(&mut rows[from..to], cell);
            }
            from = to;
        }
    }
}

fn pad(rows: &mut [Row], cell: usize) {
    let width = |row: &Row| -> usize {
        let word = row.word.as_ref().map_or(0, |word| word.len() + 1);
        word + row.cells[..=cell].iter().map(|cell| cell.text.chars().count() + 1).sum::<usize>()
    };
    let widest = rows.iter().map(width).max().unwrap_or(0);
    for row in rows {
        let room = widest - width(row);
        row.cells[cell].text.push_str(&" ".repeat(room));
    }
}
