//! Text to tokens, in two passes: [`scan`] finds tokens and comments, [`lines`] decides where a line ends a statement
//! and closes brackets that were forgotten. After them brackets always balance, so the grammar can recover from
//! whatever else is wrong.

pub mod lines;
pub mod scan;
pub mod token;

pub use token::Token;

/// A token and the bytes it covers; inserted tokens cover none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lexeme<'s> {
    pub token: Token<'s>,
    pub start: u32,
    pub end: u32,
}
