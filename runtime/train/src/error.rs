//! What can go wrong around a run, in words for the user.

use std::fmt;
use std::path::Path;

/// A failure of a run: a word as code, one sentence, and what to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError {
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

/// Every code this crate reports, with a page for `bdl check --explain`.
pub const CODES: &[(&str, &str)] = &[
    (
        "no-loss",
        "In a whole epoch no training row had a loss: the target is missing in all of them, or what the loss is divided by (`per`) is 0. \
Nothing would be learned.",
    ),
    (
        "run-folder",
        "A run folder could not be made or written: the place is read-only, or the disk is full. Nothing that was saved \
before is touched: files are written beside their final name and renamed when complete. Free some space, or choose another place \
with `--out DIR`.",
    ),
    (
        "device-failed",
        "The GPU, or its driver, failed in the middle of the work: it fell off the bus, was reset, or another program took its memory. Nothing that was \
saved is touched: `bdl train .. --resume` goes on from the last checkpoint, on the GPU once it works again or on the processor without `--device cuda`. \
If it happens again at the same place, the kernel that the message names is wrong: please report it.",
    ),
    (
        "checkpoint-corrupted",
        "A checkpoint file is not what bdl wrote: cut short, changed, or another program's file. The other \
checkpoint of the run folder (`best.safetensors` beside `last.safetensors`) is usually intact; otherwise train again.",
    ),
    (
        "checkpoint-mismatch",
        "The tensors in a checkpoint do not fit the program: names or shapes differ. All differences are listed \
at once. The program was changed after the run, or the file belongs to another model.",
    ),
    (
        "transfer-mismatch",
        "The tensors of a file that a model begins from do not have the names or shapes that the map says; all of them are listed at \
once. `net.w[k, c] = \"stem.weight\"[c, k]` renames and reorders one, `net.trunk.* = \"trunk.*\"` everything below a path.",
    ),
    (
        "not-a-run",
        "The folder holds no run of bdl (no `run.json` or `program.bdl`). `bdl train` makes run folders under `runs/`; \
`runs/NAME/latest` is the newest.",
    ),
    (
        "not-finite",
        "The loss became infinite or NaN. The message names the first equation that produced such a value. Usual causes: a \
learning rate that is too high, the logarithm or division of zero, data that were not standardized.",
    ),
    (
        "empty-part",
        "A part of the split holds no rows, but the program needs it: `stop` and `keep` look at the validation part, \
`report` at the test part.",
    ),
    (
        "out-of-memory",
        "A batch, or the parameters alone, need more memory than the machine has. `bdl check` prints the need as a formula of the batch size. For a GPU the need is counted before anything is computed. Take a \
smaller `batch`, or a smaller model.",
    ),
    ("bug", "Something that cannot happen happened in bdl itself. Please report it with the program that shows it."),
    ("metric", "A metric could not be computed for these predictions."),
];

pub type RunResult<T> = Result<T, RunError>;

impl RunError {
    pub fn new(code: &'static str, message: impl Into<String>) -> RunError {
        debug_assert!(CODES.iter().any(|(known, _)| *known == code), "undocumented code {code}");
        RunError { code, message: message.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> RunError {
        self.help = Some(help.into());
        self
    }

    /// A file of the run folder could not be read or written.
    pub fn io(doing: &str, path: &Path, error: &std::io::Error) -> RunError {
        let reason = match error.kind() {
            std::io::ErrorKind::StorageFull => "the disk is full".to_string(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
            std::io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_string(),
            std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => "a file is in the way".to_string(),
            std::io::ErrorKind::NotFound => "there is no such file or folder".to_string(),
            _ => error.to_string(),
        };
        RunError::new("run-folder", format!("could not {doing} `{}`: {reason}", path.display()))
            .help("choose another place with `--out DIR`; what was saved before is intact")
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n   = help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for RunError {}
