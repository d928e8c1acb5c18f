//! What is said where the grammar refuses a token.
//!
//! LALRPOP says which token came and which could have come. The second is turned into the user's terms (`a value`, `a
//! name`, `` `then` ``), and the mistakes that people make most are recognised by the tokens around the place and answered
//! with what to write instead. Each recogniser is one function that either speaks or passes.

use crate::diagnostic::Diagnostic;
use crate::lex::token;
use crate::lex::{Lexeme, Token};
use crate::span::{FileId, Span};

/// The message for token `at` (the end, if there is none), given the names of the terminals that could have come.
pub fn syntax_error(text: &str, file: FileId, tokens: &[Lexeme], at: usize, expected: &[String]) -> Diagnostic {
    let place = Place { text, file, tokens, at, expected };
    let recognisers = [
        no_item,
        foreign_statement,
        reduction_without_indices,
        bare_underscore,
        half_a_number,
        compound_assignment,
        missing_then,
        missing_else,
        equals_for_equality,
        colon_for_range,
        chained_comparison,
        reserved_word,
        needs_parentheses,
        missing_operand,
        missing_type,
        missing_result,
        two_values,
    ];
    recognisers.iter().find_map(|recognise| recognise(&place)).unwrap_or_else(|| in_general(&place))
}

/// A refused token and everything around it.
struct Place<'a, 's> {
    text: &'a str,
    file: FileId,
    tokens: &'a [Lexeme<'s>],
    at: usize,
    expected: &'a [String],
}

impl<'s> Place<'_, 's> {
    fn found(&self) -> Option<Token<'s>> {
        self.token(self.at)
    }

    fn before(&self) -> Option<Token<'s>> {
        self.at.checked_sub(1).and_then(|at| self.token(at))
    }

    fn token(&self, at: usize) -> Option<Token<'s>> {
        self.tokens.get(at).map(|lexeme| lexeme.token)
    }

    fn text_of(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |lexeme| &self.text[lexeme.start as usize..lexeme.end as usize])
    }

    fn text_before(&self) -> &str {
        self.at.checked_sub(1).map_or("", |at| self.text_of(at))
    }

    fn span_of(&self, at: usize) -> Span {
        match self.tokens.get(at) {
            Some(lexeme) if lexeme.end > lexeme.start => Span::new(self.file, lexeme.start, lexeme.end),
            // What was inserted, and the end, show after the token before.
            _ => {
                let end = at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(0, |lexeme| lexeme.end);
                Span::new(self.file, end, end)
            }
        }
    }

    fn span(&self) -> Span {
        self.span_of(self.at)
    }

    /// The token in words: `` `foo` ``, or "the end of the line".
    fn found_words(&self) -> String {
        match self.found() {
            None => "the end of the line".to_string(),
            Some(Token::Sep) if self.text_of(self.at).is_empty() => "the end of the line".to_string(),
            Some(Token::Str(_)) => "a text".to_string(),
            Some(_) => format!("`{}`", self.text_of(self.at)),
        }
    }

    fn ends_line(&self) -> bool {
        matches!(self.found(), None | Some(Token::Sep))
    }

    fn expects(&self, terminal: &str) -> bool {
        self.expected.iter().any(|name| name.trim_matches('"') == terminal)
    }

    fn expects_value(&self) -> bool {
        self.expects("INT")
    }

    fn expects_name(&self) -> bool {
        self.expects("ID") && !self.expects_value()
    }

    fn expects_operator(&self) -> bool {
        self.expects("+")
    }

    /// Going back from here, the last token of this statement, outside brackets closed since, that `wanted` takes.
    fn last_in_statement(&self, wanted: impl Fn(&Token) -> bool) -> Option<usize> {
        let mut closed = 0usize;
        for at in (0..self.at).rev() {
            let token = self.token(at)?;
            if token.is_closer() {
                closed += 1;
            } else if token.closer().is_some() {
                if closed == 0 && token == Token::LBrace {
                    return None;
                }
                closed = closed.saturating_sub(1);
            } else if closed == 0 && token == Token::Sep {
                return None;
            }
            if closed == 0 && wanted(&token) {
                return Some(at);
            }
        }
        None
    }

    /// The innermost bracket that is open here.
    fn innermost(&self) -> Option<usize> {
        let mut closed = 0usize;
        for at in (0..self.at).rev() {
            let token = self.token(at)?;
            if token.is_closer() {
                closed += 1;
            } else if token.closer().is_some() {
                if closed == 0 {
                    return Some(at);
                }
                closed -= 1;
            }
        }
        None
    }
}

fn syntax(message: impl Into<String>) -> Diagnostic {
    Diagnostic::error("syntax", message)
}

/// A piece at the outermost level that does not begin with an item word.
fn no_item(place: &Place) -> Option<Diagnostic> {
    const ITEMS: [&str; 13] = [
        "use",
        "data",
        "fn",
        "layer",
        "model",
        "optimizer",
        "train",
        "tune",
        "expect",
        "type",
        "alphabet",
        "const",
        "let",
    ];
    if place.at != 0 {
        return None;
    }
    let word = place.text_of(0);
    let error =
        syntax(format!("`{word}` begins no definition")).primary(place.span_of(0), "a definition was expected here");
    Some(match word {
        "def" | "func" | "function" | "define" | "fun" => {
            error.help("write `fn NAME(x: f32) -> f32 { ... }`, or `layer` where there are parameters")
        }
        "class" | "struct" | "module" => {
            error.help("write `layer NAME(...)(x: f32[T]) -> f32[T] { ... }`, or `type NAME = (...)`")
        }
        "import" | "from" | "include" | "require" => {
            error.help("write `use \"./blocks.bdl\"`; the standard library is there without")
        }
        "param" | "state" | "update" | "next" | "emit" => {
            error.help(format!("`{word}` stands inside the braces of a layer"))
        }
        _ => match ITEMS.iter().find(|item| nearly(word, item)) {
            Some(item) => error.help(format!("did you mean `{item}`?")),
            None => error.help(format!("a definition begins with one of: {}", ITEMS.join(", "))),
        },
    })
}

/// `return x`, `var x = 1`, `elif`: words that begin statements elsewhere.
fn foreign_statement(place: &Place) -> Option<Diagnostic> {
    let word = place.text_before();
    let begins = match place.at.checked_sub(2).and_then(|at| place.token(at)) {
        None => true,
        Some(before) => {
            matches!(before, Token::Sep | Token::LBrace | Token::Colon | Token::Then | Token::Else | Token::Assign)
        }
    };
    if !begins || place.before() != Some(Token::Id(word)) {
        return None;
    }
    let help = match word {
        "return" => "the last expression of a block is its value: write it without `return`",
        "var" | "val" | "mut" | "auto" | "def" => "write `let NAME = ...`",
        "while" => "write `iterate from (x = x0) until cond at most n { next x = ... }`",
        "lambda" => "name it: `fn NAME(x: f32) -> f32 { ... }`",
        "elif" | "elsif" => "write `else if c then ...`",
        "print" | "assert" => "there is nothing to print or assert in a model; `expect` blocks state what must hold",
        _ => return None,
    };
    let span = place.span_of(place.at - 1);
    Some(syntax(format!("there is no `{word}`")).primary(span, "this is read as a name").help(help))
}

fn reduction_without_indices(place: &Place) -> Option<Diagnostic> {
    let Some(Token::Reduce(op)) = place.before() else { return None };
    if !place.expects("[") {
        return None;
    }
    let word = op.text();
    let error = syntax(format!("`{word}` needs its indices in brackets"))
        .primary(place.span_of(place.at - 1), format!("`{word}[i]` was expected"));
    Some(error.help(format!("write `{word}[i] x[i]`; as a name `{word}` can stand only after a dot")))
}

fn bare_underscore(place: &Place) -> Option<Diagnostic> {
    if place.found() != Some(Token::Underscore) {
        return None;
    }
    Some(
        syntax("`_` can only be an argument of a call")
            .primary(place.span(), "")
            .help("`x |> f(1)(_, y)` says where the piped value goes"),
    )
}

/// `.5` and `1.`
fn half_a_number(place: &Place) -> Option<Diagnostic> {
    if place.found() != Some(Token::Dot) {
        // `1.` is refused at what follows the dot.
        let before = place.at.checked_sub(2)?;
        if place.before() != Some(Token::Dot) || !matches!(place.token(before), Some(Token::Int(_))) {
            return None;
        }
        let digits = place.text_of(before);
        let span = place.span_of(before).to(place.span_of(place.at - 1));
        let error = Diagnostic::error("bad-number", "digits are missing after the point").primary(span, "");
        return Some(error.help(format!("write `{digits}.0`")));
    }
    let digits = place.text_of(place.at + 1);
    if !place.expects_value() || !matches!(place.token(place.at + 1), Some(Token::Int(_) | Token::Float(_))) {
        return None;
    }
    let span = place.span().to(place.span_of(place.at + 1));
    Some(
        Diagnostic::error("bad-number", "a number begins with a digit")
            .primary(span, "")
            .help(format!("write `0.{digits}`")),
    )
}

/// `x += 1`
fn compound_assignment(place: &Place) -> Option<Diagnostic> {
    let operator = matches!(place.before(), Some(Token::Plus | Token::Minus | Token::Star | Token::Slash));
    if place.found() != Some(Token::Assign) || !operator || place.span_of(place.at - 1).end != place.span().start {
        return None;
    }
    let sign = place.text_before();
    let name = place.at.checked_sub(2).map_or("x", |at| place.text_of(at));
    Some(
        syntax(format!("there is no `{sign}=`"))
            .primary(place.span_of(place.at - 1).to(place.span()), "names do not change")
            .help(format!(
                "write `update {name} = {name} {sign} ...` for a state, `next {name} = {name} {sign} ...` in a scan"
            )),
    )
}

fn missing_then(place: &Place) -> Option<Diagnostic> {
    if !place.expects("then")
        || place.found() == Some(Token::Assign)
        || place.found().is_some_and(|t| t.is_comparison())
    {
        return None;
    }
    let mut error =
        syntax("`then` is missing after the condition of an `if`").primary(place.span(), "`then` was expected here");
    if let Some(at) = place.last_in_statement(|token| *token == Token::If) {
        error = error.secondary(place.span_of(at), "the condition begins here");
    }
    Some(error.help("write `if c then a else b`"))
}

fn missing_else(place: &Place) -> Option<Diagnostic> {
    let ends = place.ends_line() || place.found().is_some_and(|found| found.is_closer() || found == Token::Comma);
    let at = place.last_in_statement(|token| *token == Token::Then)?;
    if !place.expects("else") || !ends {
        return None;
    }
    Some(
        syntax("this `if` has no `else`")
            .primary(place.span(), "`else` was expected here")
            .secondary(place.span_of(at), "what holds otherwise?")
            .help("an `if` is a value, so it needs both branches: `if c then a else b`"),
    )
}

fn equals_for_equality(place: &Place) -> Option<Diagnostic> {
    if place.found() != Some(Token::Assign) || !place.expects_operator() {
        return None;
    }
    let error = syntax("`=` cannot stand here").primary(place.span(), "`=` defines a name");
    Some(error.help("write `==` to compare"))
}

fn colon_for_range(place: &Place) -> Option<Diagnostic> {
    let bracket = place.innermost()?;
    if place.found() != Some(Token::Colon) || place.token(bracket) != Some(Token::LBracket) || !place.expects("]") {
        return None;
    }
    let error = syntax("`:` cannot stand here").primary(place.span(), "no range");
    Some(error.help("write a range with two points: `x[a .. b]`, all of an axis by leaving it out or as `x[.., c]`"))
}

fn chained_comparison(place: &Place) -> Option<Diagnostic> {
    let found = place.found()?;
    if !found.is_comparison() || !place.expects_operator() {
        return None;
    }
    let at = place.last_in_statement(|token| token.is_comparison())?;
    Some(
        syntax("comparisons do not chain")
            .primary(place.span(), "a second comparison")
            .secondary(place.span_of(at), "the first one")
            .help("write `a < b and b < c`"),
    )
}

fn reserved_word(place: &Place) -> Option<Diagnostic> {
    let found = place.found()?;
    if !found.is_reserved() || !place.expects_name() {
        return None;
    }
    let word = place.text_of(place.at);
    Some(
        Diagnostic::error("reserved-word", format!("`{word}` is a word of the language and cannot be a name"))
            .primary(place.span(), "a name was expected here")
            .help(format!("choose another name, such as `{word}_`")),
    )
}

/// `x + if c then a else b`
fn needs_parentheses(place: &Place) -> Option<Diagnostic> {
    let found = place.found()?;
    let words = [
        (Token::If, "if", "(if c then a else b)"),
        (Token::For, "for", "(for i: x[i])"),
        (Token::Not, "not", "(not c)"),
    ];
    let (_, word, example) = words.into_iter().find(|(token, _, _)| *token == found)?;
    if !place.expects_value() {
        return None;
    }
    Some(
        syntax(format!("`{word}` needs parentheses here"))
            .primary(place.span(), format!("after `{}` nothing so loose can stand", place.text_before()))
            .help(format!("write `{example}`")),
    )
}

/// `x +` with nothing after it.
fn missing_operand(place: &Place) -> Option<Diagnostic> {
    let ends = place.ends_line() || place.found().is_some_and(|found| found.is_closer());
    if !ends || !place.expects_value() {
        return None;
    }
    let before = place.text_before();
    let span = place.span_of(place.at.checked_sub(1)?);
    let token = place.before()?;
    if token == Token::Comma {
        return Some(
            syntax("a comma with nothing after it")
                .primary(span, "remove it, or write what follows")
                .help("only inside brackets a comma may come last"),
        );
    }
    let opens = matches!(token, Token::LParen | Token::LBracket | Token::LBrace | Token::Sep);
    (!opens).then(|| syntax(format!("a value is missing after `{before}`")).primary(span, "nothing follows"))
}

/// `fn f(x) -> ...`
fn missing_type(place: &Place) -> Option<Diagnostic> {
    let ends = matches!(place.found(), Some(Token::Comma | Token::RParen | Token::Assign));
    if !ends || !place.expects(":") || place.expects_operator() {
        return None;
    }
    let name = place.text_before();
    Some(
        syntax(format!("`{name}` has no type")).primary(place.span_of(place.at - 1), "what is it?").help(format!(
            "write `{name}: f32[T, C]` for a tensor, `{name}: f32` for a number, `{name}: dim` for a size"
        )),
    )
}

fn missing_result(place: &Place) -> Option<Diagnostic> {
    if !place.expects("->") {
        return None;
    }
    let error = syntax("the type of the result is missing").primary(place.span(), "`->` was expected here");
    Some(match place.found() {
        Some(Token::Colon | Token::Minus | Token::Greater | Token::Assign) => error.help("write `-> f32[T, C]`"),
        _ => error.help("say what comes out, such as `-> f32[T, C]`, before the `{`"),
    })
}

/// Two values side by side.
fn two_values(place: &Place) -> Option<Diagnostic> {
    let found = place.found()?;
    let begins_value = matches!(
        found,
        Token::Id(_) | Token::Int(_) | Token::Float(_) | Token::Str(_) | Token::Reduce(_) | Token::True | Token::False
    ) || found.as_name(place.text_of(place.at)).is_some();
    if !begins_value || !place.expects_operator() {
        return None;
    }
    let before = place.text_before();
    let error = syntax(format!("{} cannot follow `{before}` directly", place.found_words()));
    let inside = place.innermost().and_then(|at| place.token(at));
    Some(match inside {
        Some(Token::LParen | Token::LBracket) => {
            error.primary(place.span(), "a comma or an operator is missing before this")
        }
        _ => error.primary(place.span(), "an operator or the end of the line is missing before this"),
    })
}

/// Anything else: what came, and what could have come.
fn in_general(place: &Place) -> Diagnostic {
    let wanted = wanted(place);
    let message = if place.ends_line() {
        "the line ends too early".to_string()
    } else if place.found().is_some_and(|found| found.is_closer()) && place.text_of(place.at).is_empty() {
        "something is missing".to_string()
    } else {
        format!("{} cannot stand here", place.found_words())
    };
    let label = match wanted.as_slice() {
        [] => "nothing more was expected".to_string(),
        [one] => format!("{one} was expected"),
        [all @ .., last] => format!("{} or {last} was expected", all.join(", ")),
    };
    let error = syntax(message).primary(place.span(), label);
    match (place.before(), place.found()) {
        (Some(Token::Comma), _) if place.ends_line() => error.help("remove the comma at the end"),
        (_, Some(Token::Colon)) if place.expects("=") => {
            error.help("`=` defines; `:` gives a type or names an argument")
        }
        _ => error,
    }
}

/// What could have come, in the user's terms, at most five.
fn wanted(place: &Place) -> Vec<String> {
    let mut wanted = Vec::new();
    if place.expects_value() {
        wanted.push("a value".to_string());
    } else if place.expects("ID") && place.expects("(") && place.expects("fn") && !place.expects("let") {
        return vec!["a type such as `f32[T, C]`".to_string()];
    } else if place.expects("ID") {
        wanted.push("a name".to_string());
    }
    if place.expects("STR") && !place.expects_value() {
        wanted.push("a text in quotes".to_string());
    }
    // Where a name may come the words that are names too may come, and say nothing.
    let words = token::words().filter(|word| place.expects(word) && !place.expects("ID"));
    wanted.extend(words.map(|word| format!("`{word}`")));
    let signs = [",", ":", "=", "->", ")", "]", "}", "{"].into_iter();
    // Where a call could begin a bracket says nothing either.
    let signs = signs.filter(|sign| place.expects(sign) && !(place.expects_value() && *sign == "{"));
    wanted.extend(signs.map(|sign| format!("`{sign}`")));
    if !place.expects_operator() && !place.expects_value() {
        wanted.extend(["(", "["].into_iter().filter(|sign| place.expects(sign)).map(|sign| format!("`{sign}`")));
    }
    if place.expects_operator() && !place.expects_value() {
        wanted.push("an operator".to_string());
    }
    if place.expects("SEP") && !place.expects("BAD") {
        wanted.push("the end of the line".to_string());
    }
    wanted.truncate(5);
    wanted
}

/// One letter more, less, other, or two swapped.
fn nearly(word: &str, item: &str) -> bool {
    if word.len() < 2 || word.len().abs_diff(item.len()) > 1 {
        return false;
    }
    let (word, item): (Vec<char>, Vec<char>) = (word.chars().collect(), item.chars().collect());
    let same_start = word.iter().zip(&item).take_while(|(a, b)| a == b).count();
    let same_end = word.iter().rev().zip(item.iter().rev()).take_while(|(a, b)| a == b).count();
    let longest = word.len().max(item.len());
    if same_start + same_end + 1 >= longest {
        return true;
    }
    word.len() == item.len()
        && same_start + same_end + 2 == longest
        && word[same_start] == item[same_start + 1]
        && word[same_start + 1] == item[same_start]
}
