//! The first pass: tokens, comments and line ends, and messages about what is none of these.
//!
//! What cannot be a token is replaced by what was probably meant (`&&` by `and`) or left out, so that it costs one
//! message and not two.

use super::{Lexeme, Token};
use crate::ast::Comment;
use crate::diagnostic::Diagnostic;
use crate::span::{FileId, Span};
use logos::Logos;

/// What the first pass found. `tokens` still holds [`Token::Newline`].
#[derive(Debug, Default)]
pub struct Scanned<'s> {
    pub tokens: Vec<Lexeme<'s>>,
    /// All comments, documentation too.
    pub comments: Vec<Comment>,
    pub diagnostics: Vec<Diagnostic>,
}

pub fn scan(text: &str, file: FileId) -> Scanned<'_> {
    let mut scanned = Scanned::default();
    let mut bad: Option<Span> = None;
    let mut line_empty = true;
    for (token, range) in Token::lexer(text).spanned() {
        let (start, end) = (range.start as u32, range.end as u32);
        let span = Span::new(file, start, end);
        let Ok(token) = token else {
            // Letters that stand together are one mistake.
            bad = Some(bad.filter(|before| before.end == start).map_or(span, |before| before.to(span)));
            continue;
        };
        if let Some(span) = bad.take() {
            scanned.diagnostics.push(bad_letter(&text[span.range()], span));
        }
        let comment = |text: &str| Comment { text: text.trim_end().to_string(), span, own_line: line_empty };
        match token {
            Token::Comment(found) => {
                scanned.comments.push(comment(found));
                continue;
            }
            Token::HashComment(found) => {
                scanned.diagnostics.push(
                    Diagnostic::error("bad-letter", "a comment begins with `//`")
                        .primary(first_letter(span), "not with `#`"),
                );
                scanned.comments.push(comment(&format!("//{}", &found[1..])));
                continue;
            }
            Token::BlockComment(_) => {
                scanned.diagnostics.push(
                    Diagnostic::error("bad-letter", "a comment begins with `//` and ends with its line")
                        .primary(Span::new(file, start, start + 2), "there are no `/* */` comments"),
                );
                continue;
            }
            Token::Newline => line_empty = true,
            _ => line_empty = false,
        }
        let (token, diagnostic) = replace(token, span);
        scanned.diagnostics.extend(diagnostic);
        scanned.tokens.push(Lexeme { token, start, end });
    }
    if let Some(span) = bad {
        scanned.diagnostics.push(bad_letter(&text[span.range()], span));
    }
    scanned
}

fn first_letter(span: Span) -> Span {
    Span::new(span.file, span.start, span.start + 1)
}

fn bad_letter(found: &str, span: Span) -> Diagnostic {
    let message = match found.chars().count() {
        1 => format!("`{found}` is no letter of the language"),
        _ => format!("`{found}` are no letters of the language"),
    };
    let error = Diagnostic::error("bad-letter", message).primary(span, "");
    match found.chars().next() {
        Some('\'' | '“' | '”' | '‘' | '’' | '`') => {
            error.help("text stands between straight double quotes: `\"text\"`")
        }
        Some('&') => error.help("write `and`"),
        Some('|') => error.help("write `or` between truth values, `|>` to pass a value on"),
        Some('\\') => error.help("a line that ends with an operator or a comma continues on the next one by itself"),
        Some('@') => error.help("a matrix product is a sum: `sum[k] a[i, k] * b[k, j]`"),
        Some(letter) if letter.is_alphabetic() => error.help(
            "names are made of the letters a to z, A to Z, digits and `_`; text and comments may hold any letter",
        ),
        _ => error,
    }
}

/// What to go on with instead of a token that is no part of the language.
fn replace<'s>(token: Token<'s>, span: Span) -> (Token<'s>, Option<Diagnostic>) {
    match token {
        Token::BadNumber(found) => {
            let error = Diagnostic::error("bad-number", format!("`{found}` is not a number")).primary(span, "");
            let help = if found.starts_with("0x") || found.starts_with("0b") {
                "numbers are written in base ten"
            } else if found.to_lowercase().ends_with('e') {
                "an exponent needs digits: `1e-3`"
            } else {
                "numbers look like `12`, `1_000`, `0.5` and `1e-3`; a name cannot begin with a digit"
            };
            (Token::Int("0"), Some(error.help(help)))
        }
        Token::UnclosedText(found) => {
            let error = Diagnostic::error("unclosed-text", "this text has no closing `\"`")
                .primary(span, "the line ends before the text does");
            (Token::Str(found), Some(error))
        }
        Token::QuotedText(found) => {
            let inside = &found[1..found.len() - 1];
            let error = Diagnostic::error("bad-letter", "text stands between double quotes")
                .primary(span, "")
                .help(format!("write `\"{inside}\"`"));
            (Token::Str(found), Some(error))
        }
        Token::Foreign(found) => {
            let (meant, help) = match found {
                "&&" => (Token::And, "write `and`"),
                "||" => (Token::Or, "write `or`"),
                "!" => (Token::Not, "write `not`"),
                "^" | "**" => (Token::Star, "write `pow(x, 3)`, or `square(x)` for the second power"),
                "≤" => (Token::LessEq, "write `<=`"),
                "≥" => (Token::GreaterEq, "write `>=`"),
                "≠" => (Token::NotEq, "write `!=`"),
                "−" => (Token::Minus, "write `-`, the sign on the keyboard"),
                "÷" => (Token::Slash, "write `/`"),
                "→" => (Token::Arrow, "write `->`"),
                _ => (Token::Star, "write `*`"),
            };
            let error = Diagnostic::error("bad-letter", format!("`{found}` is no operator of the language"));
            (meant, Some(error.primary(span, "").help(help)))
        }
        Token::Int(found) if found.replace('_', "").parse::<i64>().is_err() => {
            let error = Diagnostic::error("bad-number", format!("`{found}` is too large for a whole number"))
                .primary(span, "whole numbers go up to 9223372036854775807")
                .help("write it with an exponent, as in `1e20`");
            (Token::Int("0"), Some(error))
        }
        Token::Float(found) if found.replace('_', "").parse::<f64>().is_ok_and(f64::is_infinite) => {
            let error = Diagnostic::error("bad-number", format!("`{found}` is too large for a number"))
                .primary(span, "the largest is about 1.8e308");
            (Token::Float("0.0"), Some(error))
        }
        _ => (token, None),
    }
}
