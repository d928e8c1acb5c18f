//! Printing, and parsing back: `2 * T * C - 8 + (T - 1) / 2`.

use crate::dim::{Atom, Dim};
use std::fmt;
use std::str::FromStr;

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        // Names before the constant: `T - 8`, not `-8 + T`; a positive term first where there is one.
        let mut terms: Vec<_> = self.terms().filter(|(m, _)| !m.is_empty()).collect();
        terms.sort_by_key(|(_, c)| *c < 0);
        if let Some(constant) = self.terms().find(|(m, _)| m.is_empty()) {
            terms.push(constant);
        }
        for (position, (monomial, coefficient)) in terms.into_iter().enumerate() {
            match (position, coefficient < 0) {
                (0, false) => {}
                (0, true) => f.write_str("-")?,
                (_, false) => f.write_str(" + ")?,
                (_, true) => f.write_str(" - ")?,
            }
            let size = coefficient.unsigned_abs();
            let mut first = true;
            if size != 1 || monomial.is_empty() {
                write!(f, "{size}")?;
                first = false;
            }
            for atom in monomial {
                if !first {
                    f.write_str(" * ")?;
                }
                first = false;
                match atom {
                    Atom::Var(name) => f.write_str(name)?,
                    Atom::Floor(n, d) => {
                        // Alone, a quotient needs no brackets: `T / 2`, but `2 * (T / 2)`, and `-(T / 2)` is not `-T / 2`.
                        let alone = size == 1 && monomial.len() == 1 && (position > 0 || coefficient > 0);
                        let (open, close) = if alone { ("", "") } else { ("(", ")") };
                        write!(f, "{open}{} / {}{close}", Factor(n), Factor(d))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A size as an operand of a quotient: in brackets unless it is a name or a number.
struct Factor<'d>(&'d Dim);

impl fmt::Display for Factor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.0.as_var().is_some() || self.0.as_const().is_some_and(|n| n >= 0);
        if plain { write!(f, "{}", self.0) } else { write!(f, "({})", self.0) }
    }
}

/// Where and why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseDimError {
    pub at: usize,
    pub expected: &'static str,
}

impl fmt::Display for ParseDimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {}", self.expected, self.at)
    }
}

impl std::error::Error for ParseDimError {}

impl FromStr for Dim {
    type Err = ParseDimError;
    fn from_str(text: &str) -> Result<Dim, ParseDimError> {
        let mut parser = Parser { text, at: 0 };
        let dim = parser.sum()?;
        match parser.peek() {
            None => Ok(dim),
            Some(_) => Err(parser.expected("the end")),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed.chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expected(&self, expected: &'static str) -> ParseDimError {
        ParseDimError { at: self.at, expected }
    }

    fn sum(&mut self) -> Result<Dim, ParseDimError> {
        let mut total = self.product()?;
        loop {
            if self.eat('+') {
                total = total + self.product()?;
            } else if self.eat('-') {
                total = total - self.product()?;
            } else {
                return Ok(total);
            }
        }
    }

    fn product(&mut self) -> Result<Dim, ParseDimError> {
        let mut product = self.factor()?;
        loop {
            if self.eat('*') {
                product = product * self.factor()?;
            } else if self.eat('/') {
                product = product.floor_div(&self.factor()?);
            } else {
                return Ok(product);
            }
        }
    }

    fn factor(&mut self) -> Result<Dim, ParseDimError> {
        if self.eat('-') {
            return Ok(-self.factor()?);
        }
        if self.eat('(') {
            let inner = self.sum()?;
            return if self.eat(')') { Ok(inner) } else { Err(self.expected("`)`")) };
        }
        let Some(first) = self.peek() else { return Err(self.expected("a size")) };
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '\'' | '?');
        let rest = &self.text[self.at..];
        let token = &rest[..rest.find(|c| !word(c)).unwrap_or(rest.len())];
        if first.is_ascii_digit() {
            let number = token.parse::<i64>().map_err(|_| self.expected("a number below 2^63"))?;
            self.at += token.len();
            return Ok(Dim::from(number));
        }
        if token.is_empty() {
            return Err(self.expected("a size"));
        }
        self.at += token.len();
        Ok(Dim::var(token))
    }
}
