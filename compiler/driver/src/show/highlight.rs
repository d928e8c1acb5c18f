//! bdl cut into what is shown alike, for the terminal and for pages. It reads text as it is typed, whole or not, so it never fails.

use bdl_grammar::ast::Reduction;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    Type,
    Number,
    Text,
    Comment,
    /// Names, signs and blanks.
    Plain,
}

const TYPES: [&str; 16] = [
    "f32", "f64", "bf16", "i32", "bool", "logit", "prob", "count", "category", "index", "dim", "schedule", "padding",
    "DNA", "RNA", "Protein",
];

/// The parts of a text in order; put together again they are the text.
pub fn parts(text: &str) -> Vec<(Kind, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, kind) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), Kind::Comment)
        } else if first == '"' {
            (rest[1..].find(['"', '\n']).map_or(rest.len(), |at| at + 2), Kind::Text)
        } else if first.is_ascii_digit() {
            (rest.find(|c: char| !(is_name(c) || c == '.')).unwrap_or(rest.len()), Kind::Number)
        } else if is_name(first) {
            let length = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
            (length, of_name(&rest[..length]))
        } else {
            (first.len_utf8(), Kind::Plain)
        };
        let (part, after) = rest.split_at(length);
        found.push((kind, part));
        rest = after;
    }
    found
}

fn of_name(name: &str) -> Kind {
    let is_word = bdl_grammar::words().any(|word| word == name)
        || bdl_check::TRAIN_WORDS.contains(&name)
        || Reduction::from_text(name).is_some();
    match (is_word, TYPES.contains(&name)) {
        (true, _) => Kind::Word,
        (false, true) => Kind::Type,
        (false, false) => Kind::Plain,
    }
}
