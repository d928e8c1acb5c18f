//! The tree as canonical text: `print(parse(print(file))) == print(file)`.
//!
//! Two blanks of indentation, lines of at most 100 columns where they can break, one blank around operators, an empty line
//! between items. What people lay out by hand is kept: single empty lines between statements, `|>` at the start of a line,
//! parentheses, how a number is spelled, and definitions aligned below each other:
//!
//! ```text
//! let centre  = h |> Dense(latent)         the `=` stood in one column, and some had to be moved there:
//! let log_var = h |> Dense(latent)         aligned, to the column that the longest name needs
//! ```
//!
//! The words of `train` and `tune` entries are always padded to one width. Comments stay where they were: at the end of
//! their line, or on their own line before what follows. A tree that was not parsed prints as well; it has no layout.
//!
//! - `doc`: text with choices, and the choice;
//! - `expressions`, `entries`, `items`: what each node looks like;
//! - `align`: columns.

mod align;
mod doc;
mod entries;
mod expressions;
mod items;

use crate::ast::{Comment, Expr, File, Layout};
use crate::span::Span;
use align::Row;
use doc::{Doc, docs};

/// The canonical text of a file. What did not parse is written as it was.
pub fn print(file: &File) -> String {
    let mut printer = Printer { layout: &file.layout, next_comment: 0, hold: 0 };
    let doc = printer.file(file);
    doc::render(&doc)
}

/// Prints in the order of the text, so that each comment is met once.
struct Printer<'a> {
    layout: &'a Layout,
    /// How many of the layout's comments are written.
    next_comment: usize,
    /// Above 0 no comment may be written, since lines cannot break.
    hold: usize,
}

impl Printer<'_> {
    fn source(&self, span: Span) -> &str {
        self.layout.text.get(span.range()).unwrap_or("")
    }

    /// A number as it was spelled, if that still is its value.
    fn spelling(&self, expr: &Expr, is_value: impl Fn(&str) -> bool, usual: String) -> String {
        let written = self.source(expr.span);
        let number = written.starts_with(|first: char| first.is_ascii_digit()) && is_value(&written.replace('_', ""));
        if number { written.to_string() } else { usual }
    }

    /// Whether the sign between two places is the first of its line.
    fn begins_line_between(&self, from: u32, to: u32) -> bool {
        self.layout.text.get(from as usize..to as usize).is_some_and(|between| between.contains('\n'))
    }

    /// Whether an empty line stands before the line of this place.
    fn after_blank(&self, at: u32) -> bool {
        let mut lines = self.layout.text.get(..at as usize).unwrap_or("").rsplit('\n');
        lines.next().is_some_and(|before| before.trim().is_empty())
            && lines.next().is_some_and(|line| line.trim().is_empty())
    }

    /// Line, counted from 0, and column of a place.
    fn line_column(&self, at: u32) -> (usize, usize) {
        let before = self.layout.text.get(..at as usize).unwrap_or("");
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count(), before[start..].chars().count())
    }

    /// The comments before a place that are not written yet.
    fn take_comments(&mut self, before: u32) -> Vec<Comment> {
        self.take_comments_while(|comment| comment.span.start < before)
    }

    fn take_comments_while(&mut self, wanted: impl Fn(&Comment) -> bool) -> Vec<Comment> {
        if self.hold > 0 {
            return Vec::new();
        }
        let rest = &self.layout.comments[self.next_comment..];
        let taken: Vec<Comment> = rest.iter().take_while(|comment| wanted(comment)).cloned().collect();
        self.next_comment += taken.len();
        taken
    }

    /// The comments before a place where a line may end.
    fn comments_before(&mut self, at: u32) -> Doc {
        let mut docs = Vec::new();
        for comment in self.take_comments(at) {
            if comment.own_line {
                docs.push(Doc::Hard);
            }
            docs.push(Doc::Comment(comment.text));
        }
        Doc::Concat(docs)
    }

    /// What stands between braces: on one line if it was one thing on one line, else each on its own.
    ///
    /// `from` is where the header ends and `to` where the closing brace ends.
    fn braces<T>(
        &mut self,
        (from, to): (u32, u32),
        nodes: &[T],
        span: impl Fn(&T) -> Span,
        print: impl FnMut(&mut Self, &T) -> Row,
    ) -> Doc {
        let first = nodes.first().map_or(to, |node| span(node).start);
        let (open_line, _) = self.line_column(from);
        let layout = self.layout;
        let line_of = |at: u32| layout.text.get(..at as usize).unwrap_or("").matches('\n').count();
        let opening = self.take_comments_while(|comment| {
            comment.span.start < first && !comment.own_line && line_of(comment.span.start) == open_line
        });
        let opening: Vec<Doc> = opening.into_iter().map(|comment| Doc::Comment(comment.text)).collect();
        let one_line = !self.begins_line_between(from, to);
        let lines = self.sequence(nodes, span, print, to);
        if lines.is_empty() && opening.is_empty() {
            return Doc::text("{}");
        }
        let lines = Doc::Concat(lines);
        if nodes.len() == 1 && one_line && opening.is_empty() {
            return docs!["{", docs![Doc::Line, lines].indent(), Doc::Line, "}"].group();
        }
        docs!["{", opening, docs![Doc::Hard, lines].indent(), Doc::Hard, "}"]
    }

    /// Statements or entries, one to a line, with the comments and single empty lines between them.
    fn sequence<T>(
        &mut self,
        nodes: &[T],
        span: impl Fn(&T) -> Span,
        mut print: impl FnMut(&mut Self, &T) -> Row,
        end: u32,
    ) -> Vec<Doc> {
        let mut rows = Vec::with_capacity(nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            let here = span(node);
            let next = nodes.get(at + 1).map_or(end, |next| span(next).start);
            let before = self.comment_lines(here.start, at == 0);
            let blank = self.after_blank(here.start) && (at > 0 || !before.is_empty());
            let mut row = print(self, node);
            let (last_line, _) = self.line_column(here.end);
            let layout = self.layout;
            let after = self.take_comments_while(|comment| {
                let start = comment.span.start;
                let line = layout.text.get(..start as usize).unwrap_or("").matches('\n').count();
                start < here.end || (start < next && !comment.own_line && line == last_line)
            });
            row.joined = before.is_empty() && !blank && at > 0;
            row.before = before;
            if blank {
                row.before.push(Doc::Blank);
            }
            row.after = after.into_iter().map(|comment| Doc::Comment(comment.text)).collect();
            rows.push(row);
        }
        align::align(&mut rows, |at| self.line_column(at).1, |at| self.gap_before(at));
        let mut lines: Vec<Doc> = Vec::with_capacity(2 * rows.len());
        for row in rows {
            if !lines.is_empty() {
                lines.push(Doc::Hard);
            }
            lines.push(row.finish());
        }
        let last = self.comment_lines(end, lines.is_empty());
        if !last.is_empty() {
            if !lines.is_empty() {
                lines.push(Doc::Hard);
            }
            // No line end after the last one: the brace brings its own.
            lines.extend(
                last.into_iter().rev().skip_while(|doc| *doc == Doc::Hard).collect::<Vec<_>>().into_iter().rev(),
            );
        }
        lines
    }

    /// Comments before a place, each on a line of its own.
    fn comment_lines(&mut self, before: u32, first: bool) -> Vec<Doc> {
        let mut docs = Vec::new();
        for comment in self.take_comments(before) {
            if self.after_blank(comment.span.start) && !(first && docs.is_empty()) {
                docs.push(Doc::Blank);
            }
            docs.extend([Doc::Comment(comment.text), Doc::Hard]);
        }
        docs
    }

    /// Blanks between a place and what stands before it on its line.
    fn gap_before(&self, at: u32) -> usize {
        let before = self.layout.text.get(..at as usize).unwrap_or("");
        before.len() - before.trim_end_matches(' ').len()
    }
}
