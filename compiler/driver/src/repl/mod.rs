//! `bdl repl`: definitions, values, shapes, gradients and pictures at a prompt.
//!
//! [`session`] keeps what is defined and turns a text into values by the road that programs take (parse, check, elaborate, compile, run);
//! [`commands`] are the words that begin with a colon; [`editor`] is the line at the bottom of the screen. What is typed may also come from a
//! file: then prompt and text are printed too, so that the output reads like the screen.

pub mod commands;
mod editor;
mod evaluate;
pub mod script;
pub mod session;

use crate::command::{Context, print};
use crate::error::{Failure, What};
use crate::interrupt;
use bdl_check::hir::Type;
use bdl_check::show_type;
use session::{Outcome, Session};
use std::io::{IsTerminal, Read};

pub const PROMPT: &str = "bdl> ";
pub const MORE: &str = "  .. ";

/// A session and what commands need beside it.
pub struct Repl {
    pub session: Session,
    context: Context,
    /// The file that was loaded last, while nothing else is defined.
    file: Option<std::path::PathBuf>,
}

/// What one input gives.
pub struct Answer {
    pub text: String,
    pub failed: bool,
    pub quit: bool,
}

impl Repl {
    pub fn new(context: Context) -> Repl {
        let seed = context.global.seed.unwrap_or(0);
        let session = Session::new(context.coloured, context.real, context.products, context.threads(), seed);
        Repl { session, context, file: None }
    }

    /// Answers one input: a definition, statements, or a command.
    pub fn answer(&mut self, input: &str) -> Answer {
        interrupt::clear();
        // A line that goes on where none is open goes on with the last value.
        let continued =
            input.trim_start().starts_with("|>").then(|| format!("{} {}", session::LAST, input.trim_start()));
        let input = continued.as_deref().unwrap_or(input);
        let found = match input.trim().strip_prefix(':') {
            Some(command) => commands::run(self, command),
            None => {
                let found = self.session.submit(input);
                if found.as_ref().is_ok_and(|outcomes| outcomes.iter().any(|one| matches!(one, Outcome::Defined(_)))) {
                    self.file = None;
                }
                found.map(|outcomes| Some(shown(&outcomes)))
            }
        };
        match found {
            Ok(Some(text)) => Answer { text, failed: false, quit: false },
            Ok(None) => Answer { text: String::new(), failed: false, quit: true },
            Err(failure) => {
                let failed = !matches!(failure.what, What::Interrupted(_));
                Answer { text: format!("{failure}\n"), failed, quit: false }
            }
        }
    }
}

/// The lines about what a text made.
fn shown(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    let mut defined: Vec<&str> = Vec::new();
    for outcome in outcomes {
        // Definitions that follow each other share a line.
        if matches!(outcome, Outcome::Kept { .. } | Outcome::Value { .. } | Outcome::Known(_)) {
            flush(&mut out, &mut defined);
        }
        match outcome {
            Outcome::Defined(name) => defined.push(name),
            Outcome::Kept { name, shown } => out.push_str(&format!("{name} = {}\n", shown.trim_matches('`'))),
            Outcome::Value { name: Some(name), value } => {
                let ty = show_type(&value.ty);
                match (&value.ty, value.elements().as_slice()) {
                    (Type::Tensor(tensor), [one]) if tensor.shape.is_empty() => {
                        out.push_str(&format!("{name} = {one}   {ty}\n"));
                    }
                    (Type::Tensor(_) | Type::Record(_) | Type::Error, _) => out.push_str(&format!("{name}: {ty}\n")),
                }
            }
            Outcome::Value { name: None, value } => out.push_str(&value.text()),
            Outcome::Known(shown) => out.push_str(&format!("{}\n", shown.trim_matches('`'))),
            Outcome::Warning(text) => out.push_str(&format!("{text}\n")),
        }
    }
    flush(&mut out, &mut defined);
    out
}

fn flush(out: &mut String, defined: &mut Vec<&str>) {
    if !defined.is_empty() {
        out.push_str(&format!("defined {}\n", defined.join(", ")));
        defined.clear();
    }
}

/// The command. A script (standard input that is no terminal) ends with exit code 1 if anything in it failed.
pub fn run(context: &Context) -> Result<u8, Failure> {
    let mut repl = Repl::new(context.clone());
    if std::io::stdin().is_terminal() {
        interrupt::listen();
        return editor::run(&mut repl);
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::user("not-text", format!("the input is no UTF-8 text: {error}")))?;
    interrupt::listen();
    let mut failed = false;
    for unit in script::units(&text) {
        if !context.global.quiet {
            print(&echoed(&unit.text))?;
        }
        let answer = repl.answer(&unit.text);
        print(&answer.text)?;
        failed |= answer.failed;
        if answer.quit {
            break;
        }
    }
    Ok(u8::from(failed))
}

/// An input as it stands on a screen.
fn echoed(text: &str) -> String {
    let prompts = std::iter::once(PROMPT).chain(std::iter::repeat(MORE));
    let lines = prompts.zip(text.lines()).map(|(prompt, line)| format!("{prompt}{line}\n"));
    lines.collect::<String>().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
