//! Where something stands in the text of a file.
//!
//! A [`Span`] is a file id and two byte offsets into that file's text, start inclusive and end exclusive. Every node of
//! the syntax tree, every token and every label of a message carries one. Lines and columns are computed from the text
//! by the [`SourceMap`](crate::SourceMap) when a message is shown, never stored.
//!
//! ```
//! use bdl_grammar::{FileId, Span};
//! let whole = Span::new(FileId(0), 4, 9).to(Span::new(FileId(0), 12, 15));
//! assert_eq!((whole.start, whole.end), (4, 15));
//! ```

/// The number of a file in a [`SourceMap`](crate::SourceMap).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A stretch of one file's text: bytes `start..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    pub file: FileId,
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(file: FileId, start: u32, end: u32) -> Self {
        Span { file, start, end }
    }

    /// From the first byte of `self` to the last byte of `other`, both in one file.
    pub fn to(self, other: Span) -> Span {
        Span { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

impl<T> Spanned<T> {
    pub fn new(value: T, span: Span) -> Self {
        Spanned { value, span }
    }
}
