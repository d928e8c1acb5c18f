//! The tokens, found by logos.
//!
//! Three kinds of words: reserved ones (`let`, `for`, `if`, ...) never are names; the names of reductions are names only
//! after a dot, as a named argument or as the name of a result; all others (`data`, `loss`, `from`, ...) mean something
//! only where the grammar asks for them and are names elsewhere. Two tokens come from no text: [`Token::Sep`] where a
//! line ends a statement and closing brackets that were forgotten, both from [`lines`](super::lines).
//!
//! Tokens are the one enumeration of this crate that is matched with `_`: most questions concern three of ninety.

use crate::ast::Reduction;
use logos::Logos;

/// One token; `'s` is the text it was found in.
#[derive(Logos, Clone, Copy, Debug, PartialEq)]
#[logos(skip r"[ \t\r\u{feff}]+")]
pub enum Token<'s> {
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*")]
    Id(&'s str),
    #[regex(r"[0-9][0-9_]*")]
    Int(&'s str),
    #[regex(r"[0-9][0-9_]*\.[0-9][0-9_]*([eE][+-]?[0-9]+)?")]
    #[regex(r"[0-9][0-9_]*[eE][+-]?[0-9]+")]
    Float(&'s str),
    #[regex(r#""([^"\\\n]|\\[^\n])*""#)]
    Str(&'s str),
    #[regex(
        "sum|prod|min|max|mean|any|all|argmax|argmin|logsumexp",
        |lex| Reduction::from_text(lex.slice()),
        priority = 100
    )]
    Reduce(Reduction),
    /// The end of a statement: `;`, or inserted at a line end.
    #[token(";")]
    Sep,
    /// A statement that did not parse; put there by `parse`.
    Bad,

    // What no program holds in the end; `scan` says so and replaces or drops it.
    #[regex(r"[0-9][0-9_]*\.[0-9][0-9A-Za-z_]*", priority = 3)]
    #[regex(r"[0-9][0-9A-Za-z_]*", priority = 1)]
    BadNumber(&'s str),
    #[regex(r#""([^"\\\n]|\\[^\n])*"#)]
    UnclosedText(&'s str),
    #[regex(r"'[^'\n]*'")]
    QuotedText(&'s str),
    /// A word of another language's operators: `&&`, `^`, `**`, `!`, `≤`.
    #[regex(r"&&|\|\||\*\*|[!^]|≤|≥|≠|−|×|÷|·|→")]
    Foreign(&'s str),
    #[regex(r"//[^\n]*", allow_greedy = true)]
    Comment(&'s str),
    #[regex(r"#[^\n]*", allow_greedy = true)]
    HashComment(&'s str),
    #[regex(r"/\*([^*]|\*[^/])*\*/")]
    BlockComment(&'s str),
    #[token("\n")]
    Newline,

    // Reserved words.
    #[token("fn")]
    Fn,
    #[token("let")]
    Let,
    #[token("for")]
    For,
    #[token("if")]
    If,
    #[token("then")]
    Then,
    #[token("else")]
    Else,
    #[token("scan")]
    Scan,
    #[token("iterate")]
    Iterate,
    #[token("next")]
    Next,
    #[token("emit")]
    Emit,
    #[token("in")]
    In,
    #[token("where")]
    Where,
    #[token("and")]
    And,
    #[token("or")]
    Or,
    #[token("not")]
    Not,
    #[token("true")]
    True,
    #[token("false")]
    False,

    // Words that begin an item.
    #[token("use")]
    Use,
    #[token("data")]
    Data,
    #[token("layer")]
    Layer,
    #[token("model")]
    Model,
    #[token("optimizer")]
    Optimizer,
    #[token("train")]
    Train,
    #[token("tune")]
    Tune,
    #[token("expect")]
    Expect,
    #[token("type")]
    Type,
    #[token("alphabet")]
    Alphabet,
    #[token("const")]
    Const,

    // Words that begin a statement or an entry.
    #[token("param")]
    Param,
    #[token("state")]
    State,
    #[token("update")]
    Update,
    #[token("step")]
    Step,
    #[token("keep")]
    Keep,
    #[token("distinct")]
    Distinct,
    #[token("rows")]
    Rows,
    #[token("augment")]
    Augment,
    #[token("loss")]
    Loss,
    #[token("predict")]
    Predict,
    #[token("report")]
    Report,
    #[token("stop")]
    Stop,
    #[token("fit")]
    Fit,
    #[token("frozen")]
    Frozen,
    #[token("clip")]
    Clip,
    #[token("search")]
    Search,
    #[token("method")]
    Method,
    #[token("score")]
    Score,

    // Words in the middle of something.
    #[token("from")]
    From,
    #[token("reversed")]
    Reversed,
    #[token("checkpoint")]
    Checkpoint,
    #[token("every")]
    Every,
    #[token("until")]
    Until,
    #[token("at")]
    At,
    #[token("most")]
    Most,
    #[token("over")]
    Over,
    #[token("when")]
    When,
    #[token("stalls")]
    Stalls,
    #[token("with")]
    With,
    #[token("inside")]
    Inside,
    #[token("as")]
    As,
    #[token("by")]
    By,
    #[token("on")]
    On,
    #[token("per")]
    Per,
    #[token("sorted")]
    Sorted,
    #[token("except")]
    Except,

    #[token("(")]
    LParen,
    #[token(")")]
    RParen,
    #[token("[")]
    LBracket,
    #[token("]")]
    RBracket,
    #[token("{")]
    LBrace,
    #[token("}")]
    RBrace,
    #[token(",")]
    Comma,
    #[token(":")]
    Colon,
    #[token("=")]
    Assign,
    #[token("->")]
    Arrow,
    #[token("|>")]
    Pipe,
    #[token("..")]
    DotDot,
    #[token(".")]
    Dot,
    #[token("?")]
    Question,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("==")]
    EqEq,
    #[token("!=")]
    NotEq,
    #[token("<")]
    Less,
    #[token("<=")]
    LessEq,
    #[token(">")]
    Greater,
    #[token(">=")]
    GreaterEq,
    #[token("_", priority = 100)]
    Underscore,
}

impl<'s> Token<'s> {
    /// The word, where this token may stand for a name.
    pub fn as_name(&self, text: &'s str) -> Option<&'s str> {
        let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        (is_word && !self.is_reserved() && !matches!(self, Token::Reduce(_) | Token::Underscore)).then_some(text)
    }

    /// Words that never are names.
    pub fn is_reserved(&self) -> bool {
        use Token::*;
        matches!(
            self,
            Fn | Let
                | For
                | If
                | Then
                | Else
                | Scan
                | Iterate
                | Next
                | Emit
                | In
                | Where
                | And
                | Or
                | Not
                | True
                | False
        )
    }

    /// Words that begin an item at the outermost level.
    pub fn begins_item(&self) -> bool {
        use Token::*;
        matches!(
            self,
            Use | Data | Layer | Model | Optimizer | Train | Tune | Expect | Type | Alphabet | Const | Fn | Let
        )
    }

    pub fn is_comparison(&self) -> bool {
        use Token::*;
        matches!(self, EqEq | NotEq | Less | LessEq | Greater | GreaterEq)
    }

    /// What closes this opening bracket.
    pub fn closer(&self) -> Option<Token<'static>> {
        BRACKETS.iter().find(|(open, ..)| open == self).map(|(_, _, close, _)| *close)
    }

    pub fn is_closer(&self) -> bool {
        matches!(self, Token::RParen | Token::RBracket | Token::RBrace)
    }
}

/// Opening brackets and what closes them, each with its text.
pub const BRACKETS: [(Token, &str, Token, &str); 3] = [
    (Token::LParen, "(", Token::RParen, ")"),
    (Token::LBracket, "[", Token::RBracket, "]"),
    (Token::LBrace, "{", Token::RBrace, "}"),
];

/// The words of the language, reserved or not; names of reductions and of entries of a `train` block stand with those.
pub fn words() -> impl Iterator<Item = &'static str> {
    const WORDS: &str = "fn let for if then else scan iterate next emit in where and or not true false use data layer model \
                         optimizer train tune expect type alphabet const param state update step keep distinct rows augment \
                         loss predict report stop fit frozen clip search method score from reversed checkpoint every until at \
                         most over when stalls with inside as by on per sorted except";
    WORDS.split_whitespace()
}
