//! The files a compilation has read, by number.
//!
//! This crate touches no disk: whoever read a file hands over its name and its text. The name is what messages show, so
//! a path relative to where the user stands is the friendly choice.

use crate::span::{FileId, Span};
use codespan_reporting::files::{self, Files};

/// Names and texts of all files of one compilation.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    sources: Vec<Source>,
}

/// One file: the name that messages show, its text, and where its lines begin.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl SourceMap {
    pub fn new() -> Self {
        SourceMap::default()
    }

    /// A map of one file, which gets the number 0.
    ///
    /// ```
    /// let sources = bdl_grammar::SourceMap::of("net.bdl", "let x = 1\nlet y = 2\n");
    /// assert_eq!(sources.line_column(bdl_grammar::FileId(0), 14), (2, 5));
    /// ```
    pub fn of(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut map = SourceMap::new();
        map.add(name, text);
        map
    }

    /// Adds a file and returns its number. A file may be added twice; the two then have different numbers.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        let text = text.into();
        let line_starts = files::line_starts(&text).collect();
        self.sources.push(Source { name: name.into(), text, line_starts });
        FileId((self.sources.len() - 1) as u32)
    }

    /// The name of a file; `?` if the number is not one of this map's.
    pub fn name(&self, file: FileId) -> &str {
        self.sources.get(file.0 as usize).map_or("?", |source| &source.name)
    }

    /// The text of a file; empty if the number is not one of this map's.
    pub fn text(&self, file: FileId) -> &str {
        self.sources.get(file.0 as usize).map_or("", |source| &source.text)
    }

    /// The text a span covers; empty if the span does not fit its file.
    pub fn slice(&self, span: Span) -> &str {
        self.text(span.file).get(span.range()).unwrap_or("")
    }

    /// Line and column of a byte offset, both counted from 1, columns in characters.
    pub fn line_column(&self, file: FileId, offset: u32) -> (usize, usize) {
        let Some(source) = self.sources.get(file.0 as usize) else { return (1, 1) };
        let offset = (offset as usize).min(source.text.len());
        let line = source.line_of(offset);
        let before = source.text.get(source.line_starts[line]..offset).unwrap_or("");
        (line + 1, before.chars().count() + 1)
    }

    pub fn files(&self) -> impl Iterator<Item = (FileId, &str)> {
        self.sources.iter().enumerate().map(|(at, source)| (FileId(at as u32), source.name.as_str()))
    }
}

impl Source {
    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset).saturating_sub(1)
    }
}

impl<'a> Files<'a> for SourceMap {
    type FileId = FileId;
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, id: FileId) -> Result<&'a str, files::Error> {
        self.sources.get(id.0 as usize).map(|source| source.name.as_str()).ok_or(files::Error::FileMissing)
    }

    fn source(&'a self, id: FileId) -> Result<&'a str, files::Error> {
        self.sources.get(id.0 as usize).map(|source| source.text.as_str()).ok_or(files::Error::FileMissing)
    }

    fn line_index(&'a self, id: FileId, byte_index: usize) -> Result<usize, files::Error> {
        self.sources.get(id.0 as usize).map(|source| source.line_of(byte_index)).ok_or(files::Error::FileMissing)
    }

    fn line_range(&'a self, id: FileId, line_index: usize) -> Result<std::ops::Range<usize>, files::Error> {
        let source = self.sources.get(id.0 as usize).ok_or(files::Error::FileMissing)?;
        let last = source.line_starts.len() - 1;
        let start =
            *source.line_starts.get(line_index).ok_or(files::Error::LineTooLarge { given: line_index, max: last })?;
        let end = source.line_starts.get(line_index + 1).copied().unwrap_or(source.text.len());
        Ok(start..end)
    }
}
