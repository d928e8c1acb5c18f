//! From text to tree: items one by one, and what happens where one does not parse.
//!
//! The tokens of a file are cut at the statement ends outside all brackets; each piece is an item. Where the grammar
//! refuses a token, one message is made of it, the *statement* around it (from the `{` or statement end before it to the
//! one after it) becomes a single `BAD` token, and the item is read again:
//!
//! ```text
//! layer A() -> f32 {            layer A() -> f32 {
//!   let x = 1 2          ──>      BAD                  one message; x + 1 is in the tree
//!   x + 1                         x + 1
//! }                             }
//! ```
//!
//! A faulty header costs its whole item. Reading again is cheap (an item is a page at most), always ends (the tokens
//! become fewer) and, unlike recovery inside the LR machine, never swallows a bracket.

use crate::ast::{Block, Comment, File, Item, ItemKind, Layout};
use crate::build::Context;
use crate::diagnostic::Diagnostic;
use crate::grammar::ItemParser;
use crate::lex::{self, Lexeme, Token};
use crate::source::SourceMap;
use crate::span::{FileId, Span};
use crate::wording;
use lalrpop_util::ParseError;
use std::cell::Cell;

/// Parses one file of the map. There is always a tree; mistakes become `Error` nodes and messages, one each, in the
/// order of the text.
pub fn parse(sources: &SourceMap, file: FileId) -> (File, Vec<Diagnostic>) {
    let text = sources.text(file);
    let scanned = lex::scan::scan(text, file);
    let lines = lex::lines::separate(text, file, &scanned.tokens);
    let mut diagnostics = scanned.diagnostics;
    let line = |diagnostic: &Diagnostic| diagnostic.span().map(|span| sources.line_column(file, span.start).0);
    // A text without an end swallows the brackets behind it.
    let swallowed: Vec<_> = diagnostics.iter().filter(|found| found.code == "unclosed-text").map(line).collect();
    diagnostics.extend(lines.diagnostics.into_iter().filter(|found| !swallowed.contains(&line(found))));
    // What the grammar says of a line with a bad letter or bracket mostly follows from that.
    let bad_lines: Vec<_> = diagnostics.iter().map(line).collect();

    let parser = ItemParser::new();
    let mut reader = Reader { text, file, parser: &parser, layout: Layout::default(), diagnostics: Vec::new() };
    let mut items = Vec::new();
    let mut lost = false;
    for tokens in pieces(&lines.tokens) {
        let known = reader.diagnostics.len();
        let begins = tokens.first().is_some_and(|first| first.token.begins_item());
        items.push(reader.item(tokens));
        // After a piece that is no item, more of its kind follow from it.
        if !begins && lost {
            reader.diagnostics.truncate(known);
        }
        lost = !begins;
    }
    let in_doubt = |diagnostic: &Diagnostic| {
        let at = diagnostic.span().map_or(0, |span| span.start);
        bad_lines.contains(&line(diagnostic)) || lines.in_doubt.iter().any(|&(from, to)| from <= at && at <= to)
    };
    diagnostics.extend(reader.diagnostics.into_iter().filter(|diagnostic| !in_doubt(diagnostic)));

    let mut layout = reader.layout;
    let doc = documentation(scanned.comments, &mut items, &mut layout);
    layout.text = text.to_string();
    let span = Span::new(file, 0, text.len() as u32);
    (File { doc, items, layout, span }, one_a_line(diagnostics, sources))
}

/// Parses the text of a file of the map as statements, as they stand between the braces of a function: what is typed at a prompt.
///
/// ```
/// use bdl_grammar::{FileId, SourceMap, parse_statements};
/// let sources = SourceMap::of("input", "let a = 2\na * 3");
/// let (block, messages) = parse_statements(&sources, FileId(0));
/// assert!(block.stmts.len() == 2 && messages.is_empty());
/// ```
pub fn parse_statements(sources: &SourceMap, file: FileId) -> (Block, Vec<Diagnostic>) {
    let text = sources.text(file);
    let scanned = lex::scan::scan(text, file);
    let lines = lex::lines::separate(text, file, &scanned.tokens);
    let mut diagnostics = scanned.diagnostics;
    diagnostics.extend(lines.diagnostics);
    let span = Span::new(file, 0, text.len() as u32);
    let empty = Block { stmts: Vec::new(), span };
    if diagnostics.iter().any(Diagnostic::is_error) {
        return (empty, one_a_line(diagnostics, sources));
    }
    // Around them a function that nobody wrote.
    let before = [Token::Fn, Token::Id("statements"), Token::LParen, Token::RParen, Token::Arrow, Token::Id("f32")];
    let at = |token, place: u32| Lexeme { token, start: place, end: place };
    let mut tokens: Vec<Lexeme> = before.map(|token| at(token, 0)).to_vec();
    tokens.push(at(Token::LBrace, 0));
    tokens.extend(lines.tokens);
    tokens.push(at(Token::RBrace, span.end));
    let parser = ItemParser::new();
    let mut reader = Reader { text, file, parser: &parser, layout: Layout::default(), diagnostics };
    let block = if let ItemKind::Fn(made) = reader.item(&tokens).kind { Block { span, ..made.body } } else { empty };
    (block, one_a_line(reader.diagnostics, sources))
}

/// Does the text need another line: is a bracket open, or can its last line not end there?
///
/// ```
/// assert!(bdl_grammar::is_unfinished("softmax([1, 2,"));
/// assert!(bdl_grammar::is_unfinished("1 +"));
/// assert!(!bdl_grammar::is_unfinished("1 + 2"));
/// ```
pub fn is_unfinished(text: &str) -> bool {
    let scanned = lex::scan::scan(text, FileId(0));
    scanned.diagnostics.is_empty() && lex::lines::is_unfinished(&scanned.tokens)
}

/// Does a line that begins so go on with the line before: `|> f`, `then ..`, `+ 1`?
pub fn goes_on(line: &str) -> bool {
    let scanned = lex::scan::scan(line, FileId(0));
    lex::lines::goes_on(line, &scanned.tokens)
}

/// Cuts at the statement ends outside all brackets.
fn pieces<'t, 's>(tokens: &'t [Lexeme<'s>]) -> Vec<&'t [Lexeme<'s>]> {
    let mut pieces = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, lexeme) in tokens.iter().enumerate() {
        if lexeme.token.closer().is_some() {
            depth += 1;
        } else if lexeme.token.is_closer() {
            depth = depth.saturating_sub(1);
        } else if lexeme.token == Token::Sep && depth == 0 {
            pieces.push(&tokens[start..at]);
            start = at + 1;
        }
    }
    pieces.push(&tokens[start..]);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// How deep a tree may be, so that whoever walks it has stack enough.
const DEEPEST: usize = 500;

/// The token at which a tree would become deeper than [`DEEPEST`]: brackets that are open, and what stands between
/// commas and statement ends in each of them.
fn too_deep<'t, 's>(piece: &'t [Lexeme<'s>]) -> Option<&'t Lexeme<'s>> {
    let mut levels = vec![0usize];
    let mut depth = 0;
    for lexeme in piece {
        let level = levels.last_mut()?;
        if matches!(lexeme.token, Token::Sep | Token::Comma) {
            depth -= *level;
            *level = 0;
        } else if lexeme.token.is_closer() {
            depth -= levels.pop()?;
        } else {
            // Every second token at most makes a node: an operator, a word before a value.
            let nests = !matches!(lexeme.token, Token::Id(_) | Token::Int(_) | Token::Float(_) | Token::Str(_));
            *level += usize::from(nests);
            depth += usize::from(nests);
            if lexeme.token.closer().is_some() {
                levels.push(0);
            }
        }
        if depth > DEEPEST {
            return Some(lexeme);
        }
    }
    None
}

struct Reader<'a> {
    text: &'a str,
    file: FileId,
    parser: &'a ItemParser,
    layout: Layout,
    diagnostics: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn item(&mut self, piece: &[Lexeme]) -> Item {
        if let Some(deep) = too_deep(piece) {
            self.diagnostics.push(
                Diagnostic::error("too-deep", format!("more than {DEEPEST} brackets and operators inside each other"))
                    .primary(Span::new(self.file, deep.start, deep.end), "here it becomes too much")
                    .help("give parts of it names with `let`"),
            );
            return self.lost_item(piece);
        }
        let mut tokens = piece.to_vec();
        loop {
            let mut context = Context::new(self.file);
            let read = Cell::new(0);
            let input = tokens.iter().map(|lexeme| {
                read.set(read.get() + 1);
                Ok((lexeme.start, lexeme.token, lexeme.end))
            });
            let error = match self.parser.parse(&mut context, input) {
                Ok(item) => {
                    self.diagnostics.extend(context.diagnostics);
                    self.layout.parentheses.extend(context.parentheses);
                    return item;
                }
                Err(error) => error,
            };
            let (at, expected) = match error {
                ParseError::UnrecognizedEof { expected, .. } => (tokens.len(), expected),
                ParseError::UnrecognizedToken { expected, .. } => (read.get() - 1, expected),
                ParseError::ExtraToken { .. } => (read.get() - 1, Vec::new()),
                ParseError::InvalidToken { .. } => (tokens.len(), Vec::new()),
                ParseError::User { error } => match error {},
            };
            if tokens.get(at).map(|lexeme| lexeme.token) != Some(Token::Bad) {
                self.diagnostics.push(wording::syntax_error(self.text, self.file, &tokens, at, &expected));
            }
            if !give_up_statement(&mut tokens, at) {
                return self.lost_item(piece);
            }
        }
    }

    fn lost_item(&self, piece: &[Lexeme]) -> Item {
        let span = Span::new(self.file, piece[0].start, piece[piece.len() - 1].end);
        Item { kind: ItemKind::Error, doc: Vec::new(), span }
    }
}

/// Replaces the statement around token `at` by `BAD`; false if that is the whole item.
fn give_up_statement(tokens: &mut Vec<Lexeme>, at: usize) -> bool {
    let mut open: Vec<usize> = Vec::new();
    for (index, lexeme) in tokens.iter().enumerate().take(at) {
        if lexeme.token.closer().is_some() {
            open.push(index);
        } else if lexeme.token.is_closer() {
            open.pop();
        }
    }
    // What follows a complete item is dropped, and the item kept.
    if open.is_empty() && at > 0 && at < tokens.len() && tokens[at - 1].token == Token::RBrace {
        tokens.truncate(at);
        return true;
    }
    while let Some(index) = open.pop() {
        if tokens[index].token != Token::LBrace {
            continue;
        }
        let (start, end) = statement(tokens, index, at);
        // Nothing, or nothing but a statement given up before: the fault lies further out.
        if end > start && !(end == start + 1 && tokens[start].token == Token::Bad) {
            let bad = Lexeme { token: Token::Bad, start: tokens[start].start, end: tokens[end - 1].end };
            tokens.splice(start..end, [bad]);
            return true;
        }
    }
    false
}

/// The statement of the block opened at token `open` that token `at` is in, or that it ends.
fn statement(tokens: &[Lexeme], open: usize, at: usize) -> (usize, usize) {
    let (mut depth, mut start) = (0usize, open + 1);
    for (index, lexeme) in tokens.iter().enumerate().skip(open + 1) {
        if lexeme.token.closer().is_some() {
            depth += 1;
        } else if lexeme.token.is_closer() && depth > 0 {
            depth -= 1;
        } else if lexeme.token.is_closer() || (lexeme.token == Token::Sep && depth == 0) {
            if index >= at || lexeme.token.is_closer() {
                return (start, index);
            }
            start = index + 1;
        }
    }
    (start, tokens.len())
}

/// Gives `//!` lines to the file and `///` lines to the items they stand before; the rest stay comments.
fn documentation(comments: Vec<Comment>, items: &mut [Item], layout: &mut Layout) -> Vec<String> {
    let line = |comment: &Comment| {
        let text = &comment.text[3..];
        text.strip_prefix(' ').unwrap_or(text).to_string()
    };
    let is_doc =
        |comment: &Comment| comment.own_line && comment.text.starts_with("///") && !comment.text.starts_with("////");
    let first = items.first().map_or(u32::MAX, |item| item.span.start);
    let (of_file, mut rest): (Vec<Comment>, Vec<Comment>) = comments
        .into_iter()
        .partition(|comment| comment.own_line && comment.text.starts_with("//!") && comment.span.start < first);
    let mut previous_end = 0;
    for item in items {
        let before = rest.partition_point(|comment| comment.span.start < item.span.start);
        let after_last = rest.partition_point(|comment| comment.span.start < previous_end);
        let docs = rest[after_last..before].iter().rev().take_while(|comment| is_doc(comment)).count();
        item.doc = rest.drain(before - docs..before).map(|comment| line(&comment)).collect();
        previous_end = item.span.end;
    }
    layout.comments = rest;
    of_file.iter().map(line).collect()
}

/// In the order of the text, and of several in one line the first: the others mostly follow from it.
fn one_a_line(mut diagnostics: Vec<Diagnostic>, sources: &SourceMap) -> Vec<Diagnostic> {
    let line = |diagnostic: &Diagnostic| diagnostic.span().map(|span| sources.line_column(span.file, span.start).0);
    diagnostics.sort_by_key(|diagnostic| diagnostic.span().map_or(0, |span| span.start));
    diagnostics.dedup_by(|later, kept| line(later) == line(kept));
    diagnostics
}
