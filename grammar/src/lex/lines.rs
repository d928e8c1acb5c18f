//! The second pass: where a line ends a statement, and brackets that were forgotten.
//!
//! A line end becomes [`Token::Sep`] unless the innermost open bracket is `(` or `[`, the line cannot end there (it ends
//! with an operator, a comma, an opening bracket, a reserved word), or the next line cannot begin there (it begins with
//! `|>`, a binary operator, `then`, `else`, `per`, `where`, a closing bracket, ...). `-x` at the start of a line begins a
//! statement, `- x` goes on with the one before.
//!
//! ```text
//! let y = x          let ID = ID
//!   |> relu             |> ID Sep          the line begins with `|>`: no end before it
//! -y                    - ID               a new statement
//! ```
//!
//! An open `(` or `[` ends where a line begins with `let`, `param` or `emit`, and every open bracket where a line begins
//! with an item word at the margin: one forgotten bracket is one message, and the next statement is read as usual.
//! Afterwards brackets balance.

use super::token::BRACKETS;
use super::{Lexeme, Token};
use crate::diagnostic::Diagnostic;
use crate::span::{FileId, Span};

#[derive(Debug, Default)]
pub struct Lines<'s> {
    pub tokens: Vec<Lexeme<'s>>,
    pub diagnostics: Vec<Diagnostic>,
    /// From a bracket without a partner to where that showed: syntax errors in between follow from it.
    pub in_doubt: Vec<(u32, u32)>,
}

pub fn separate<'s>(text: &str, file: FileId, scanned: &[Lexeme<'s>]) -> Lines<'s> {
    let mut pass = Pass { text, file, out: Lines::default(), open: Vec::new(), indent: 0 };
    let mut first = true;
    for (at, lexeme) in scanned.iter().enumerate() {
        if lexeme.token == Token::Newline {
            first = true;
            continue;
        }
        let next = scanned[at + 1..].iter().find(|next| next.token != Token::Newline);
        if first {
            pass.begin_line(lexeme, next, &scanned[at..]);
        }
        pass.push(lexeme);
        first = false;
    }
    if !pass.open.is_empty() {
        pass.close_down_to(0, text.len() as u32, "the file ends here");
    }
    while matches!(pass.out.tokens.last(), Some(last) if last.token == Token::Sep) {
        pass.out.tokens.pop();
    }
    pass.out
}

/// Is a bracket open at the end, or is the last token one that no statement ends with?
pub fn is_unfinished(scanned: &[Lexeme]) -> bool {
    let mut open = 0usize;
    for lexeme in scanned {
        if lexeme.token.closer().is_some() {
            open += 1;
        } else if lexeme.token.is_closer() {
            open = open.saturating_sub(1);
        }
    }
    let last = scanned.iter().rev().find(|lexeme| lexeme.token != Token::Newline);
    open > 0 || last.is_some_and(|last| !can_end(last.token) && last.token != Token::Sep)
}

/// Is a line that begins with these tokens the continuation of the one before?
pub fn goes_on(text: &str, scanned: &[Lexeme]) -> bool {
    let pass = Pass { text, file: FileId(0), out: Lines::default(), open: Vec::new(), indent: 0 };
    let mut tokens = scanned.iter().filter(|lexeme| lexeme.token != Token::Newline);
    tokens.next().is_some_and(|first| !pass.can_begin(first, tokens.next()))
}

struct Pass<'t, 's> {
    text: &'t str,
    file: FileId,
    out: Lines<'s>,
    open: Vec<Lexeme<'s>>,
    /// Columns before the first token of the line at hand.
    indent: usize,
}

impl<'s> Pass<'_, 's> {
    fn begin_line(&mut self, lexeme: &Lexeme<'s>, next: Option<&Lexeme<'s>>, rest: &[Lexeme<'s>]) {
        let line_start = self.text[..lexeme.start as usize].rfind('\n').map_or(0, |at| at + 1);
        let indent = lexeme.start as usize - line_start;
        let brackets_only = self.open.iter().rposition(|open| open.token == Token::LBrace).map_or(0, |at| at + 1);
        if indent == 0 && self.begins_item(lexeme, next, rest) {
            self.close_down_to(0, lexeme.start, "before this begins");
        } else if begins_statement_for_sure(lexeme, next) {
            self.close_down_to(brackets_only, lexeme.start, "before this statement");
        }
        self.indent = indent;
        let innermost = self.open.last().map(|open| open.token);
        let inside = matches!(innermost, Some(Token::LParen | Token::LBracket));
        let Some(last) = self.out.tokens.last().copied() else { return };
        // Outside all brackets nothing begins with a text or a `(`: letters of an alphabet, the inputs of a layer.
        let goes_on = self.open.is_empty() && matches!(lexeme.token, Token::Str(_) | Token::LParen);
        if !inside && !goes_on && can_end(last.token) && self.can_begin(lexeme, next) {
            self.out.tokens.push(Lexeme { token: Token::Sep, start: lexeme.start, end: lexeme.start });
        }
    }

    /// An item word at the margin, followed by what follows it in an item. Words that also begin entries or statements
    /// close a brace only where the lines before were indented, and nothing closes it later.
    fn begins_item(&self, lexeme: &Lexeme<'s>, next: Option<&Lexeme<'s>>, rest: &[Lexeme<'s>]) -> bool {
        let Some(next) = next else { return false };
        let named = next.token.as_name(&self.text[next.start as usize..next.end as usize]).is_some();
        match lexeme.token {
            Token::Use => named || matches!(next.token, Token::Str(_)),
            word if is_entry_too(word) => named && self.indent > 0 && !self.is_closed_within(rest),
            word => named && word.begins_item(),
        }
    }

    /// Do the brackets that are open here close before a line begins with a word that begins items alone?
    fn is_closed_within(&self, rest: &[Lexeme<'s>]) -> bool {
        let mut open = self.open.len();
        let mut first = false;
        for lexeme in rest {
            let is_margin = first && self.text[..lexeme.start as usize].ends_with('\n');
            if is_margin && lexeme.token.begins_item() && !is_entry_too(lexeme.token) {
                return false;
            }
            first = lexeme.token == Token::Newline;
            if lexeme.token.closer().is_some() {
                open += 1;
            } else if lexeme.token.is_closer() {
                open = open.saturating_sub(1);
            }
            if open == 0 {
                return true;
            }
        }
        false
    }

    fn can_begin(&self, lexeme: &Lexeme<'s>, next: Option<&Lexeme<'s>>) -> bool {
        use Token::*;
        let defines = matches!(next.map(|next| next.token), Some(Assign | Colon));
        match lexeme.token {
            Pipe | Plus | Star | Slash | Percent | EqEq | NotEq | Less | LessEq | Greater | GreaterEq => false,
            Arrow | Comma | RParen | RBracket | RBrace | LBrace | Dot | Colon | Assign | Question | Sep => false,
            Minus => !self.text[lexeme.end as usize..].starts_with([' ', '\t', '\r', '\n']),
            // Also names, or taken for names: `per = number(column("per"))` begins a field.
            And | Or | Then | Else | Where | In | Per | From | Until | At | Most | Reversed | Checkpoint | Every
            | Over | With | Inside | As | By | On | Sorted | Stalls => defines,
            _ => true,
        }
    }

    fn push(&mut self, lexeme: &Lexeme<'s>) {
        if lexeme.token.closer().is_some() {
            self.open.push(*lexeme);
        } else if lexeme.token.is_closer() && !self.close(lexeme) {
            return;
        }
        let last = self.out.tokens.last().map(|last| last.token);
        if lexeme.token == Token::Sep && matches!(last, None | Some(Token::Sep)) {
            return;
        }
        self.out.tokens.push(*lexeme);
    }

    /// Takes note of a closing bracket; false if it is to be left out.
    fn close(&mut self, lexeme: &Lexeme<'s>) -> bool {
        let closes = |open: &Lexeme<'s>| open.token.closer() == Some(lexeme.token);
        if self.open.last().is_some_and(closes) {
            self.open.pop();
            return true;
        }
        // `)` and `]` do not reach out of the block they stand in.
        let block = self.open.iter().rposition(|open| open.token == Token::LBrace).map_or(0, |at| at + 1);
        let reach = if lexeme.token == Token::RBrace { 0 } else { block };
        if let Some(partner) = self.open[reach..].iter().rposition(closes) {
            self.close_down_to(reach + partner + 1, lexeme.start, "before this");
            self.open.pop();
            return true;
        }
        let found = bracket(lexeme.token);
        let span = Span::new(self.file, lexeme.start, lexeme.end);
        if let Some(open) = self.open.last().copied().filter(|_| reach < self.open.len())
            && let Some(closer) = open.token.closer()
        {
            self.out.diagnostics.push(
                Diagnostic::error("unclosed-bracket", format!("`{}` is closed by `{found}`", bracket(open.token)))
                    .primary(span, format!("`{}` belongs here", bracket(closer)))
                    .secondary(Span::new(self.file, open.start, open.end), "opened here"),
            );
            self.out.in_doubt.push((open.start, lexeme.end));
            self.open.pop();
            self.out.tokens.push(Lexeme { token: closer, start: lexeme.start, end: lexeme.end });
            return false;
        }
        self.out.diagnostics.push(
            Diagnostic::error("unopened-bracket", format!("`{found}` closes nothing"))
                .primary(span, "no bracket is open here")
                .help(format!("remove it, or open a `{}` before", opener(lexeme.token))),
        );
        self.out.in_doubt.push((lexeme.start, lexeme.end));
        false
    }

    /// Closes what is open above `keep`, with one message for all of it.
    fn close_down_to(&mut self, keep: usize, here: u32, why: &str) {
        if self.open.len() <= keep {
            return;
        }
        let forgotten = self.open.split_off(keep);
        let Some(innermost) = forgotten.last() else { return };
        let span = |lexeme: &Lexeme| Span::new(self.file, lexeme.start, lexeme.end);
        let closers: String = forgotten.iter().rev().filter_map(|open| open.token.closer()).map(bracket).collect();
        let mut error = Diagnostic::error("unclosed-bracket", format!("`{}` is not closed", bracket(innermost.token)))
            .primary(span(innermost), "opened here");
        for open in forgotten.iter().rev().skip(1).take(3) {
            error = error.secondary(span(open), format!("nor is this `{}`", bracket(open.token)));
        }
        let shown = Span::new(self.file, here, (here + 1).min(self.text.len() as u32));
        if !self.text.is_char_boundary(shown.end as usize) || shown.start == shown.end {
            error = error.help(format!("put `{closers}` at the end of the file"));
        } else {
            error = error.secondary(shown, format!("`{closers}` was expected {why}"));
        }
        self.out.diagnostics.push(error);
        // Within a block the statements are read as usual; within other brackets all is in doubt.
        if let Some(open) = forgotten.iter().find(|open| open.token != Token::LBrace) {
            self.out.in_doubt.push((open.start, here));
        }
        let end = self.out.tokens.last().map_or(here, |last| last.end);
        for open in forgotten.iter().rev() {
            self.out.tokens.extend(open.token.closer().map(|token| Lexeme { token, start: end, end }));
        }
    }
}

/// A line that begins so is no continuation, whatever is open.
fn begins_statement_for_sure(lexeme: &Lexeme, next: Option<&Lexeme>) -> bool {
    let param = lexeme.token == Token::Param && matches!(next.map(|next| next.token), Some(Token::Id(_)));
    param || matches!(lexeme.token, Token::Let | Token::Emit)
}

/// Words that begin items, and entries or statements as well.
fn is_entry_too(word: Token) -> bool {
    matches!(word, Token::Let | Token::Const | Token::Optimizer | Token::Model | Token::Data)
}

fn can_end(token: Token) -> bool {
    use Token::*;
    let operator = matches!(token, Pipe | Plus | Minus | Star | Slash | Percent) || token.is_comparison();
    let sign = matches!(token, Arrow | Assign | Colon | Comma | Dot | LParen | LBracket | LBrace | Sep | Newline);
    let word = token.is_reserved() && !matches!(token, True | False);
    !operator && !sign && !word
}

/// A bracket as text.
fn bracket(token: Token) -> &'static str {
    let opens = BRACKETS.iter().find(|(open, ..)| *open == token).map(|(_, text, ..)| *text);
    let closes = || BRACKETS.iter().find(|(.., close, _)| *close == token).map(|(.., text)| *text);
    opens.or_else(closes).unwrap_or("")
}

/// What opens what this closes.
fn opener(token: Token) -> &'static str {
    BRACKETS.iter().find(|(.., close, _)| *close == token).map_or("", |(_, text, ..)| text)
}
