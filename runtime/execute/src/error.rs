//! What can go wrong when a plan runs. User mistakes were found before; what is left names the buffer or table at fault.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A plan that does not fit this executor or its kernels: a bug of the compiler.
    Plan(String),
    /// The caller did not give an input, size, or list of lengths.
    Missing { what: &'static str, name: String },
    /// An input, parameter or table of another length than the plan says.
    Length { name: String, expected: i64, found: i64 },
    /// A parameter of another element type than the plan says.
    Type { name: String, expected: &'static str, found: &'static str },
    /// A key that is no index of what it selects from. `position` counts through the packed batch.
    Key { name: String, position: usize, key: i64, keys: i64 },
    /// Not enough memory.
    Memory { bytes: usize },
    /// The executor's flag was set while the plan ran. Outputs and state are not those of a whole run.
    Interrupted,
    /// What a device or its driver said.
    Device(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Plan(what) => write!(f, "invalid plan: {what}"),
            Error::Missing { what, name } => write!(f, "no {what} `{name}` was given"),
            Error::Length { name, expected, found } => {
                write!(f, "`{name}` has {found} elements where the plan expects {expected}")
            }
            Error::Type { name, expected, found } => {
                write!(f, "`{name}` holds {found} where the plan expects {expected}")
            }
            Error::Key { name, position, key, keys } => {
                write!(f, "`{name}` holds {key} at position {position}; it must be in 0..{keys}")
            }
            Error::Interrupted => write!(f, "interrupted"),
            Error::Memory { bytes } => write!(f, "cannot allocate {} MB", bytes >> 20),
            Error::Device(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}
