//! Text with choices: where a line may break, and where it must.
//!
//! A small member of the family of Wadler's "A prettier printer" (2003). A [`Doc`] is built once; [`render`] then decides for
//! each group whether it fits on the rest of the line, and breaks all lines of a group or none:
//!
//! ```text
//! group( "f(" indent( soft "a," line "b" ) soft ")" )      f(a, b)      or      f(
//!                                                                                 a,
//!                                                                                 b
//!                                                                               )
//! ```
//!
//! Comments run to the end of a line, so a group with one in it always breaks.

/// How many columns a line has.
pub const WIDTH: usize = 100;
/// Columns of one step of indentation.
const STEP: usize = 2;

#[derive(Clone, Debug, PartialEq)]
pub enum Doc {
    Text(String),
    /// A blank, or a line end where the group is broken.
    Line,
    /// Nothing, or a line end where the group is broken.
    Soft,
    /// A comma where the group is broken.
    TrailingComma,
    /// A line end.
    Hard,
    /// An empty line, unless one stands there already. Comes before `Hard`.
    Blank,
    /// A comment, marker included; only a line end may follow.
    Comment(String),
    Indent(Box<Doc>),
    Concat(Vec<Doc>),
    Group {
        doc: Box<Doc>,
        /// It holds a line end or a comment.
        broken: bool,
    },
}

impl Doc {
    pub fn text(text: impl Into<String>) -> Doc {
        Doc::Text(text.into())
    }

    pub fn nil() -> Doc {
        Doc::Concat(Vec::new())
    }

    pub fn indent(self) -> Doc {
        Doc::Indent(Box::new(self))
    }

    pub fn group(self) -> Doc {
        let broken = self.must_break();
        Doc::Group { doc: Box::new(self), broken }
    }

    pub fn must_break(&self) -> bool {
        match self {
            Doc::Hard | Doc::Comment(_) => true,
            Doc::Text(_) | Doc::Line | Doc::Soft | Doc::TrailingComma | Doc::Blank => false,
            Doc::Indent(doc) => doc.must_break(),
            Doc::Concat(docs) => docs.iter().any(Doc::must_break),
            Doc::Group { broken, .. } => *broken,
        }
    }

    /// As it reads without any line break.
    pub fn flat(&self) -> String {
        match self {
            Doc::Text(text) | Doc::Comment(text) => text.clone(),
            Doc::Line | Doc::Hard => " ".to_string(),
            Doc::Soft | Doc::TrailingComma | Doc::Blank => String::new(),
            Doc::Indent(doc) | Doc::Group { doc, .. } => doc.flat(),
            Doc::Concat(docs) => docs.iter().map(Doc::flat).collect(),
        }
    }
}

/// `docs![a, "text", b]`: one after the other.
macro_rules! docs {
    ($($part:expr),* $(,)?) => { $crate::print::doc::Doc::Concat(vec![$($crate::print::doc::Doc::from($part)),*]) };
}
pub(super) use docs;

impl From<&str> for Doc {
    fn from(text: &str) -> Doc {
        Doc::text(text)
    }
}

impl From<String> for Doc {
    fn from(text: String) -> Doc {
        Doc::Text(text)
    }
}

impl From<&String> for Doc {
    fn from(text: &String) -> Doc {
        Doc::text(text.as_str())
    }
}

impl From<Vec<Doc>> for Doc {
    fn from(docs: Vec<Doc>) -> Doc {
        Doc::Concat(docs)
    }
}

#[derive(Default)]
struct Line {
    text: String,
    comment: Option<String>,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.text.trim().is_empty() && self.comment.is_none()
    }
}

/// The document as text, each line ended.
pub fn render(doc: &Doc) -> String {
    let mut lines = vec![Line::default()];
    // What is still to come, last first: indentation, whether lines break, the piece.
    let mut rest: Vec<(usize, bool, &Doc)> = vec![(0, true, doc)];
    while let Some((indent, broken, doc)) = rest.pop() {
        match doc {
            Doc::Text(text) if text.is_empty() => {}
            Doc::Text(text) => {
                if lines.last().is_some_and(|line| line.comment.is_some()) {
                    lines.push(Line::default());
                }
                if let Some(line) = lines.last_mut() {
                    if line.text.is_empty() {
                        line.text = " ".repeat(indent);
                    }
                    line.text.push_str(text);
                }
            }
            Doc::Comment(text) => {
                if let Some(line) = lines.last_mut() {
                    if line.text.is_empty() {
                        line.text = " ".repeat(indent);
                    }
                    match &mut line.comment {
                        Some(comment) => *comment = format!("{comment} {text}"),
                        None => line.comment = Some(text.clone()),
                    }
                }
            }
            Doc::Hard => lines.push(Line::default()),
            Doc::Line | Doc::Soft if broken => lines.push(Line::default()),
            Doc::Line => {
                if let Some(line) = lines.last_mut() {
                    line.text.push(' ');
                }
            }
            Doc::Soft => {}
            Doc::TrailingComma => {
                if let (true, Some(line)) = (broken, lines.last_mut()) {
                    line.text.push(',');
                }
            }
            Doc::Blank => {
                if let [.., before, last] = lines.as_slice()
                    && last.is_empty()
                    && !before.is_empty()
                {
                    lines.push(Line::default());
                }
            }
            Doc::Indent(doc) => rest.push((indent + STEP, broken, doc)),
            Doc::Concat(docs) => rest.extend(docs.iter().rev().map(|doc| (indent, broken, doc))),
            Doc::Group { doc, broken: must } => {
                let used = lines.last().map_or(0, |line| line.text.chars().count().max(indent));
                let breaks = *must || !fits(WIDTH.saturating_sub(used), doc, &rest);
                rest.push((indent, breaks, doc));
            }
        }
    }
    write_lines(lines)
}

/// Whether `doc` without breaks, and what follows it up to the next line end, has room.
fn fits(room: usize, doc: &Doc, rest: &[(usize, bool, &Doc)]) -> bool {
    let mut room = room as isize;
    // Pieces to come: whether lines break, whether it is what follows, the piece.
    let mut stack = vec![(false, false, doc)];
    let mut after = rest.iter().rev();
    while let Some((broken, follows, doc)) =
        stack.pop().or_else(|| after.next().map(|&(_, broken, doc)| (broken, true, doc)))
    {
        match doc {
            Doc::Text(text) => room -= text.chars().count() as isize,
            Doc::Hard | Doc::Comment(_) => return room >= 0,
            Doc::Line | Doc::Soft if broken => return room >= 0,
            Doc::Line => room -= 1,
            Doc::Soft | Doc::TrailingComma | Doc::Blank => {}
            Doc::Indent(doc) => stack.push((broken, follows, doc)),
            Doc::Concat(docs) => stack.extend(docs.iter().rev().map(|doc| (broken, follows, doc))),
            // A group that follows may break at its first chance.
            Doc::Group { doc, broken: must } => stack.push((*must || follows, follows, doc)),
        }
        if room < 0 {
            return false;
        }
    }
    true
}

/// Writes lines, comments of neighbouring lines below each other.
fn write_lines(mut lines: Vec<Line>) -> String {
    let mut from = 0;
    while from < lines.len() {
        let run =
            lines[from..].iter().take_while(|line| line.comment.is_some() && !line.text.trim().is_empty()).count();
        let width = |line: &Line| line.text.trim_end().chars().count();
        let column = lines[from..from + run].iter().map(width).max().unwrap_or(0) + 2;
        for line in &mut lines[from..from + run] {
            let room = column - width(line);
            let comment = line.comment.take().unwrap_or_default();
            line.text = format!("{}{}{comment}", line.text.trim_end(), " ".repeat(room));
        }
        from += run.max(1);
    }
    let mut out = String::new();
    for line in lines {
        out.push_str(format!("{}{}", line.text, line.comment.unwrap_or_default()).trim_end());
        out.push('\n');
    }
    // Exactly one line end at the end, none in an empty file.
    let kept = out.trim_end_matches('\n').len();
    out.truncate(if kept == 0 { 0 } else { kept + 1 });
    out
}
