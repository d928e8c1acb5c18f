//! The line that is edited: history, completion, brackets that are still open.

use super::commands::{COMMANDS, Command};
use super::{Answer, Repl};
use crate::command::print;
use crate::error::Failure;
use crate::show::highlight::{Kind, parts};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::borrow::Cow;
use std::path::PathBuf;

/// Inputs that the history keeps.
const HISTORY: usize = 2000;

pub fn run(repl: &mut Repl) -> Result<u8, Failure> {
    let config = Config::builder().completion_type(CompletionType::List).tab_stop(2);
    let config = config.max_history_size(HISTORY).map_err(|error| bug(&error))?.build();
    let mut editor = Editor::<Words, DefaultHistory>::with_config(config).map_err(|error| bug(&error))?;
    let history = history_file();
    // Without a history the session works all the same.
    if let Some(path) = &history {
        let _ = editor.load_history(path);
    }
    print(&format!(
        "bdl {}   an expression, a definition, or :help; Tab completes, Ctrl-D leaves\n",
        env!("CARGO_PKG_VERSION")
    ))?;
    loop {
        editor.set_helper(Some(Words::of(repl)));
        let plain = super::PROMPT.to_string();
        let shown = if repl.context.coloured { format!("\x1b[36m{plain}\x1b[0m") } else { plain.clone() };
        match editor.readline(&(plain, shown)) {
            Ok(input) => {
                if input.trim().is_empty() {
                    continue;
                }
                let _ = editor.add_history_entry(input.as_str());
                if let Some(path) = &history {
                    let _ = std::fs::create_dir_all(path.parent().unwrap_or(path));
                    let _ = editor.save_history(path);
                }
                let Answer { text, failed: _, quit } = repl.answer(&input);
                print(&text)?;
                if quit {
                    return Ok(0);
                }
            }
            // Ctrl-C at the prompt drops the line.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(0),
            Err(error) => return Err(Failure::user("terminal", format!("the terminal cannot be read: {error}"))),
        }
    }
}

fn bug(error: &ReadlineError) -> Failure {
    Failure::user("terminal", format!("the terminal cannot be used: {error}"))
        .help("pipe a text into `bdl repl` instead")
}

/// `$XDG_STATE_HOME/bdl/history`, by default below `~/.local/state`.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = state.or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
    Some(folder.join("bdl").join("history"))
}

/// What can be completed, as it was when the line began.
struct Words {
    names: Vec<String>,
    fields: Vec<(String, Vec<String>)>,
    coloured: bool,
}

impl Words {
    fn of(repl: &Repl) -> Words {
        let mut names = repl.session.names();
        let fields = names.iter().map(|name| (name.clone(), repl.session.fields(name)));
        let fields = fields.filter(|(_, fields)| !fields.is_empty()).collect();
        names.extend(bdl_grammar::words().chain(bdl_check::BUILT_IN).map(str::to_string));
        names.sort();
        names.dedup();
        Words { names, fields, coloured: repl.context.coloured }
    }

    /// Where the word at `pos` begins, and what it may become.
    fn candidates(&self, line: &str, pos: usize) -> (usize, Vec<String>) {
        let before = &line[..pos];
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let start = before
            .rfind(|c: char| !is_name(c))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let word = &before[start..];
        let lead = before[..start].trim_start();
        if lead == ":" {
            let commands = COMMANDS.iter().filter(|command| command.word.starts_with(word));
            // What takes something is followed by it.
            let whole =
                |command: &Command| format!("{}{}", command.word, if command.takes.is_empty() { "" } else { " " });
            return (start, commands.map(whole).collect());
        }
        if let Some(path) = lead.strip_prefix(":load ").or_else(|| lead.strip_prefix(":save ")) {
            let typed = format!("{path}{word}");
            let begin = pos - typed.len();
            return (begin, files(&typed));
        }
        if let Some(owner) = before[..start].strip_suffix('.') {
            let owner_start = owner.rfind(|c: char| !is_name(c)).map_or(0, |at| at + 1);
            let known = self.fields.iter().find(|(name, _)| *name == owner[owner_start..]);
            let fields = known.map(|(_, fields)| fields.clone()).unwrap_or_default();
            return (start, fields.into_iter().filter(|field| field.starts_with(word)).collect());
        }
        if word.is_empty() {
            return (start, Vec::new());
        }
        (start, self.names.iter().filter(|name| name.starts_with(word)).cloned().collect())
    }
}

/// Files and folders that begin so; of files only programs.
fn files(typed: &str) -> Vec<String> {
    let (folder, start) = typed.rfind('/').map_or(("", typed), |at| (&typed[..=at], &typed[at + 1..]));
    let read = std::fs::read_dir(if folder.is_empty() { "." } else { folder });
    let mut found: Vec<String> = read
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let is_folder = entry.file_type().ok()?.is_dir();
            let fits = name.starts_with(start) && !name.starts_with('.') && (is_folder || name.ends_with(".bdl"));
            fits.then(|| format!("{folder}{name}{}", if is_folder { "/" } else { "" }))
        })
        .collect();
    found.sort();
    found
}

impl Helper for Words {}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, words) = self.candidates(line, pos);
        Ok((start, words.into_iter().map(|word| Pair { display: word.clone(), replacement: word }).collect()))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        let input = context.input();
        let unfinished = !input.trim_start().starts_with(':') && bdl_grammar::is_unfinished(input);
        Ok(if unfinished { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Highlighter for Words {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if self.coloured { Cow::Owned(coloured(line)) } else { Cow::Borrowed(line) }
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        self.coloured
    }
}

/// Words of the language in bold, numbers and texts in colour, comments dim.
fn coloured(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 32);
    for (kind, part) in parts(line) {
        let style = match kind {
            Kind::Word => "1",
            Kind::Number => "33",
            Kind::Text => "32",
            Kind::Comment => "2",
            Kind::Type | Kind::Plain => {
                out.push_str(part);
                continue;
            }
        };
        out.push_str(&format!("\x1b[{style}m{part}\x1b[0m"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        let names = ["softmax", "softplus", "graph"].map(str::to_string).to_vec();
        Words { names, fields: vec![("graph".into(), vec!["nodes".into(), "src".into()])], coloured: false }
    }

    #[test]
    fn names_fields_and_commands_are_completed() {
        let of = |line: &str| words().candidates(line, line.len());
        assert_eq!(of("1 + softm"), (4, vec!["softmax".to_string()]));
        assert_eq!(of("graph.").1, ["nodes", "src"]);
        assert_eq!(of("sum[i] graph.s").1, ["src"]);
        assert_eq!(of(":ty"), (1, vec!["type ".to_string()]));
        assert_eq!(of("1 + ").1.len(), 0);
    }

    #[test]
    fn a_terminal_that_cannot_be_used_has_a_way_out() {
        let said = bug(&ReadlineError::Eof).to_string();
        assert!(said.starts_with("error[terminal]") && said.contains("bdl repl"), "{said}");
    }

    #[test]
    fn colours_change_no_letter() {
        let plain = |text: &str| {
            let mut parts = text.split('\x1b');
            let first = parts.next().unwrap_or_default().to_string();
            parts.fold(first, |all, part| all + part.split_once('m').map_or("", |(_, rest)| rest))
        };
        for line in ["let x = \"a\" // b", "sum[i] é + 3.5e-2 * f(\"", "for i: x[i]"] {
            assert_eq!(plain(&coloured(line)), line);
        }
    }
}
