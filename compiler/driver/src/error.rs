//! Why a command ended without its result: what is shown, and the exit code.

use bdl_data::DataError;
use bdl_grammar::{Diagnostic, SourceMap};
use bdl_train::RunError;
use std::fmt;

/// A command's failure. Exit code 1 where the program or the data is wrong, 101 where bdl itself is.
#[derive(Debug)]
pub struct Failure {
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    /// Messages about the program, rendered.
    Program {
        text: String,
        json: Vec<String>,
    },
    Data(Box<DataError>),
    Run(RunError),
    /// One sentence, with a code and perhaps a hint.
    Plain {
        code: &'static str,
        message: String,
        help: Option<String>,
    },
    /// A bug of ours: an invariant that did not hold.
    Bug(String),
    /// Ctrl-C; everything is saved.
    Interrupted(String),
}

impl Failure {
    /// The user can do something about it.
    pub fn user(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { what: What::Plain { code, message: message.into(), help: None } }
    }

    pub fn bug(message: impl Into<String>) -> Failure {
        Failure { what: What::Bug(message.into()) }
    }

    pub fn help(mut self, hint: impl Into<String>) -> Failure {
        if let What::Plain { help, .. } = &mut self.what {
            *help = Some(hint.into());
        }
        self
    }

    /// Messages of which at least one is an error.
    pub fn program(diagnostics: &[Diagnostic], sources: &SourceMap, coloured: bool) -> Failure {
        let text = bdl_grammar::render_all(diagnostics, sources, coloured);
        let json = diagnostics.iter().map(|diagnostic| diagnostic.to_json(sources)).collect();
        Failure { what: What::Program { text, json } }
    }

    pub fn exit_code(&self) -> u8 {
        match self.what {
            What::Program { .. } | What::Data(_) | What::Run(_) | What::Plain { .. } => 1,
            What::Bug(_) => 101,
            What::Interrupted(_) => 130,
        }
    }

    /// One JSON object a message.
    pub fn to_json(&self) -> Vec<String> {
        let one = |code: &str, message: &str, help: Option<&str>| {
            vec![serde_json::json!({"severity": "error", "code": code, "message": message, "help": help}).to_string()]
        };
        match &self.what {
            What::Program { json, .. } => json.clone(),
            What::Data(error) => {
                let place = serde_json::json!({
                    "severity": "error", "code": error.code, "message": error.message,
                    "file": error.file.as_ref().map(|file| file.display().to_string()),
                    "line": error.line, "column": error.column, "help": error.help,
                });
                vec![place.to_string()]
            }
            What::Run(error) => one(error.code, &error.message, error.help.as_deref()),
            What::Plain { code, message, help } => one(code, message, help.as_deref()),
            What::Bug(message) => one("bug", message, None),
            What::Interrupted(message) => one("interrupted", message, None),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Program { text, .. } => f.write_str(text.trim_end()),
            What::Data(error) => write!(f, "{error}"),
            What::Run(error) => write!(f, "{error}"),
            What::Plain { code, message, help } => {
                write!(f, "error[{code}]: {message}")?;
                help.as_ref().map_or(Ok(()), |help| write!(f, "\n   = help: {help}"))
            }
            What::Bug(message) => {
                write!(
                    f,
                    "this is a bug in bdl, not in your program: {message}\nplease report it with the program that shows it"
                )
            }
            What::Interrupted(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Box<DataError>> for Failure {
    fn from(error: Box<DataError>) -> Failure {
        Failure { what: What::Data(error) }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        Failure { what: What::Run(error) }
    }
}
