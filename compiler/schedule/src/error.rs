//! What scheduling can refuse.

use bdl_equations::Origin;
use std::fmt;

/// Why a program has no plan. Scheduling does not check the user's program; either a construct is not built yet, or an earlier stage
/// handed over a program that breaks the rules of the equation IR (a bug of ours, and the text says so).
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// `construct` is legal and has no implementation in this back end yet.
    NotBuilt { construct: String, origin: Origin },
    /// The program is not well formed.
    Malformed { problem: String, origin: Origin },
}

impl Error {
    pub fn origin(&self) -> &Origin {
        match self {
            Error::NotBuilt { origin, .. } | Error::Malformed { origin, .. } => origin,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotBuilt { construct, .. } => write!(f, "{construct}: not built yet"),
            Error::Malformed { problem, .. } => write!(f, "internal error while scheduling: {problem}"),
        }
    }
}

impl std::error::Error for Error {}
