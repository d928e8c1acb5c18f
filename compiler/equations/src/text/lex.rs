//! Tokens of the text form.

use super::is_word_char;
use crate::data::Origin;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    /// A name in backquotes: never a keyword.
    Quoted(String),
    Number(f64, bool),
    Sign(&'static str),
    /// `// @file:start..end what`
    Origin(Origin),
}

const SIGNS: [&str; 24] = [
    "<=", ">=", "==", "!=", "[", "]", "(", ")", "{", "}", ",", ":", "=", "<", ">", "+", "-", "*", "/", "%", "@", "..",
    ";", "|",
];

/// Tokens with the byte at which each begins, or where and why the text has none.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, (usize, String)> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if let Some(comment) = rest.strip_prefix("//") {
            let line = comment.lines().next().unwrap_or("");
            if let Some(origin) = line.trim_start().strip_prefix('@') {
                let origin = parse_origin(origin).ok_or((at, "an origin `@file:start..end what`".to_string()))?;
                out.push((Token::Origin(origin), at));
            }
            at += 2 + line.len();
        } else if first.is_ascii_digit() {
            let length = number_length(rest);
            let digits = &rest[..length];
            let value = digits.parse().map_err(|_| (at, "a number".to_string()))?;
            out.push((Token::Number(value, digits.bytes().all(|b| b.is_ascii_digit())), at));
            at += length;
        } else if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c| !is_word_char(c)).unwrap_or(rest.len());
            out.push((Token::Word(rest[..length].to_string()), at));
            at += length;
        } else if first == '`' {
            let length = rest[1..].find('`').ok_or((at, "a closing backquote".to_string()))?;
            out.push((Token::Quoted(rest[1..=length].to_string()), at));
            at += length + 2;
        } else if let Some(sign) = SIGNS.iter().find(|s| rest.starts_with(**s)) {
            out.push((Token::Sign(sign), at));
            at += sign.len();
        } else {
            return Err((at, format!("no `{first}`")));
        }
    }
    Ok(out)
}

/// Digits, a fraction, an exponent.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let mut at = digits(0);
    if bytes.get(at) == Some(&b'.') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at = digits(at + 1);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'-' | b'+')));
        if bytes.get(at + 1 + sign).is_some_and(u8::is_ascii_digit) {
            at = digits(at + 1 + sign);
        }
    }
    at
}

fn parse_origin(text: &str) -> Option<Origin> {
    let (place, what) = match text.split_once(' ') {
        Some((place, what)) => (place, Some(what)),
        None => (text.trim_end(), None),
    };
    let (file, span) = place.split_once(':')?;
    let (start, end) = span.split_once("..")?;
    let what = match what.map(str::trim) {
        None | Some("") => None,
        Some(quoted) if quoted.starts_with('"') => Some(unquote(quoted)?.into()),
        Some(plain) => Some(plain.into()),
    };
    Some(Origin { file: file.parse().ok()?, start: start.parse().ok()?, end: end.parse().ok()?, what })
}

/// Undoes `{:?}` of a string.
fn unquote(text: &str) -> Option<String> {
    let mut inner = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut out = String::new();
    while let Some(c) = inner.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match inner.next()? {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            '0' => out.push('\0'),
            'u' => {
                let code: String = inner.by_ref().take_while(|c| *c != '}').filter(|c| *c != '{').collect();
                out.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
            }
            other => out.push(other),
        }
    }
    Some(out)
}
