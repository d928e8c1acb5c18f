//! What a message to the user is made of, for every crate that finds mistakes.
//!
//! A [`Diagnostic`] is data: a severity, a word as its code, one sentence, labels that point into the text, notes and a
//! help line. Words are chosen where the mistake is found; looks are decided here and nowhere else.
//!
//! ```
//! use bdl_grammar::{Diagnostic, FileId, SourceMap, Span};
//! let sources = SourceMap::of("net.bdl", "let y = x[t + 1]\n");
//! let error = Diagnostic::error("out-of-range", "this read may leave `x`")
//!     .primary(Span::new(FileId(0), 8, 16), "t + 1 may be 10, but `x` has 10 elements")
//!     .help("say what is there: `x[t + 1 else 0]`");
//! assert!(error.render(&sources).starts_with("error[out-of-range]: this read may leave `x`\n"));
//! ```

use crate::source::SourceMap;
use crate::span::Span;
use codespan_reporting::diagnostic as shown;
use codespan_reporting::term;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Note,
    Warning,
    Error,
}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One message. `code` is a word such as `dim-mismatch`; it never changes once users have seen it.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: &'static str,
    pub message: String,
    pub labels: Vec<Label>,
    pub notes: Vec<String>,
    pub help: Option<String>,
}

/// A place in the text and what is to be said about it. The primary one is where the mistake shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub span: Span,
    pub message: String,
    pub primary: bool,
}

impl Diagnostic {
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic { severity, code, message: message.into(), labels: Vec::new(), notes: Vec::new(), help: None }
    }

    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Error, code, message)
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Warning, code, message)
    }

    pub fn note_of(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Note, code, message)
    }

    /// Where the mistake shows: underlined with `^`.
    pub fn primary(mut self, span: Span, message: impl Into<String>) -> Self {
        self.labels.push(Label { span, message: message.into(), primary: true });
        self
    }

    /// Another place that has to do with it: underlined with `-`.
    pub fn secondary(mut self, span: Span, message: impl Into<String>) -> Self {
        self.labels.push(Label { span, message: message.into(), primary: false });
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// What to try. One line; a second call replaces the first.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The span of the first primary label, or of the first label at all.
    pub fn span(&self) -> Option<Span> {
        self.labels.iter().find(|label| label.primary).or(self.labels.first()).map(|label| label.span)
    }

    /// The message as plain text with the lines of source it points at.
    pub fn render(&self, sources: &SourceMap) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail, and a span outside its file is shown without source below.
        match term::emit_to_string(&mut out, &term_config(), sources, &self.shown(sources)) {
            Ok(()) => tidy(&out),
            Err(_) => format!("{}[{}]: {}\n", self.severity.word(), self.code, self.message),
        }
    }

    /// As [`render`](Self::render), with ANSI colours for a terminal.
    pub fn render_coloured(&self, sources: &SourceMap) -> String {
        let mut out = term::termcolor::Ansi::new(Vec::new());
        match term::emit_to_write_style(&mut out, &term_config(), sources, &self.shown(sources)) {
            Ok(()) => tidy(&String::from_utf8_lossy(&out.into_inner())),
            Err(_) => self.render(sources),
        }
    }

    fn shown(&self, sources: &SourceMap) -> shown::Diagnostic<crate::FileId> {
        let severity = match self.severity {
            Severity::Note => shown::Severity::Note,
            Severity::Warning => shown::Severity::Warning,
            Severity::Error => shown::Severity::Error,
        };
        let labels = self.labels.iter().filter(|label| sources.text(label.span.file).get(label.span.range()).is_some());
        let labels = labels.map(|label| {
            let style = if label.primary { shown::LabelStyle::Primary } else { shown::LabelStyle::Secondary };
            shown::Label::new(style, label.span.file, label.span.range()).with_message(&label.message)
        });
        let mut notes = self.notes.clone();
        notes.extend(self.help.iter().map(|help| format!("help: {help}")));
        shown::Diagnostic::new(severity)
            .with_code(self.code)
            .with_message(&self.message)
            .with_labels(labels.collect())
            .with_notes(notes)
    }

    /// One JSON object on one line: `severity`, `code`, `message`, `labels` (each with `file`, `line`, `column`, `end_line`,
    /// `end_column`, `start`, `end` in bytes, `message`, `primary`), `notes`, `help` (text or null).
    pub fn to_json(&self, sources: &SourceMap) -> String {
        let mut out = String::new();
        let _ = write!(out, "{{\"severity\":\"{}\",\"code\":{}", self.severity.word(), json_text(self.code));
        let _ = write!(out, ",\"message\":{},\"labels\":[", json_text(&self.message));
        for (at, label) in self.labels.iter().enumerate() {
            let Span { file, start, end } = label.span;
            let (line, column) = sources.line_column(file, start);
            let (end_line, end_column) = sources.line_column(file, end);
            let _ = write!(out, "{}{{\"file\":{}", if at == 0 { "" } else { "," }, json_text(sources.name(file)));
            let _ =
                write!(out, ",\"line\":{line},\"column\":{column},\"end_line\":{end_line},\"end_column\":{end_column}");
            let _ = write!(out, ",\"start\":{start},\"end\":{end},\"message\":{}", json_text(&label.message));
            let _ = write!(out, ",\"primary\":{}}}", label.primary);
        }
        let notes: Vec<String> = self.notes.iter().map(|note| json_text(note)).collect();
        let help = self.help.as_deref().map_or("null".to_string(), json_text);
        let _ = write!(out, "],\"notes\":[{}],\"help\":{help}}}", notes.join(","));
        out
    }
}

/// All messages, one after the other, errors and warnings in the order given.
pub fn render_all(diagnostics: &[Diagnostic], sources: &SourceMap, coloured: bool) -> String {
    let render = |diagnostic: &Diagnostic| {
        if coloured { diagnostic.render_coloured(sources) } else { diagnostic.render(sources) }
    };
    diagnostics.iter().map(render).collect::<Vec<_>>().join("\n")
}

fn term_config() -> term::Config {
    term::Config { tab_width: 2, start_context_lines: 3, end_context_lines: 1, ..term::Config::default() }
}

/// Drops blanks at line ends and the empty line that codespan puts last.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// A JSON string literal.
fn json_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            letter if (letter as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", letter as u32);
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::FileId;

    fn example() -> (SourceMap, Diagnostic) {
        let sources = SourceMap::of("danq.bdl", "x\n    |> Dense(919)\nloss f(net(dna), labels)\n");
        let error = Diagnostic::error("dim-mismatch", "`Dense` adds 919 outputs, but there are 164 labels")
            .primary(Span::new(FileId(0), 25, 44), "logit[919] meets bool[164]")
            .secondary(Span::new(FileId(0), 15, 18), "919 comes from here")
            .note("labels are counted in the header")
            .help("write `Dense(164)`");
        (sources, error)
    }

    #[test]
    fn renders_both_places_and_the_way_out() {
        let (sources, error) = example();
        let expected = "\
error[dim-mismatch]: `Dense` adds 919 outputs, but there are 164 labels
  ┌─ danq.bdl:3:6
  │
2 │     |> Dense(919)
  │              --- 919 comes from here
3 │ loss f(net(dna), labels)
  │      ^^^^^^^^^^^^^^^^^^^ logit[919] meets bool[164]
  │
  = labels are counted in the header
  = help: write `Dense(164)`
";
        assert_eq!(error.render(&sources), expected);
        assert!(error.render_coloured(&sources).contains("\u{1b}["));
    }

    #[test]
    fn json_has_lines_columns_and_bytes() {
        let sources = SourceMap::of("a.bdl", "é = \"\t\"\nx");
        let warning = Diagnostic::warning("code", "a \"quoted\"\ttext").primary(Span::new(FileId(0), 3, 4), "here");
        assert_eq!(
            warning.to_json(&sources),
            r#"{"severity":"warning","code":"code","message":"a \"quoted\"\ttext","labels":[{"file":"a.bdl","line":1,"column":3,"end_line":1,"end_column":4,"start":3,"end":4,"message":"here","primary":true}],"notes":[],"help":null}"#
        );
    }

    #[test]
    fn a_span_outside_its_file_does_no_harm() {
        let (sources, error) = example();
        let error =
            error.primary(Span::new(FileId(0), 1000, 2000), "nowhere").primary(Span::new(FileId(7), 0, 1), "no file");
        assert!(error.render(&sources).contains("logit[919] meets bool[164]"));
        assert!(error.to_json(&sources).contains("\"file\":\"?\""));
    }
}
