//! Progress of a training run: a bar on a terminal, a line an epoch elsewhere, nothing when quiet.

use super::number;
use bdl_train::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shows events as they come.
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    epochs: u64,
    /// What each loss is called.
    losses: Vec<String>,
    started: Instant,
    /// Epochs that were done when this run began.
    first: Option<f64>,
    /// What the last epoch reached: shown beside the bar until the next one.
    scores: String,
    rate: String,
}

impl Progress {
    pub fn new(epochs: u64, losses: Vec<String>, quiet: bool) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| {
            let bar = ProgressBar::with_draw_target(Some(epochs * 1000), ProgressDrawTarget::stderr_with_hz(15));
            // A template that does not parse would be a mistake of ours; the bar then looks plain.
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:34}  {msg}") {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar
        });
        let lines = !terminal && !quiet;
        Progress {
            bar,
            lines,
            epochs,
            losses,
            started: Instant::now(),
            first: None,
            scores: String::new(),
            rate: String::new(),
        }
    }

    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Batch { epoch, batch, batches, losses, .. } => {
                let Some(bar) = &self.bar else { return };
                let done = *epoch as f64 + *batch as f64 / *batches as f64;
                let first = *self.first.get_or_insert(done);
                let left = if done > first {
                    let per_epoch = self.started.elapsed().as_secs_f64() / (done - first);
                    format!(" · {} left", number::seconds(per_epoch * (self.epochs as f64 - done)))
                } else {
                    String::new()
                };
                bar.set_prefix(format!("epoch {}/{}", epoch + 1, self.epochs));
                bar.set_position((done * 1000.0) as u64);
                bar.set_message(format!("{}{}{}{left}", named(&self.losses, losses), self.scores, self.rate));
            }
            Event::Epoch { epoch, losses, scores, examples_per_second, improved, .. } => {
                self.scores = shown(scores);
                self.rate = format!(" · {} examples/s", number::short(*examples_per_second));
                if self.lines {
                    let best = if *improved { "  best" } else { "" };
                    let line = format!(
                        "  epoch {epoch:>3}/{}  {}{}{}{best}\n",
                        self.epochs,
                        named(&self.losses, losses),
                        self.scores,
                        self.rate
                    );
                    // A closed pipe is the reader's business; the run goes on.
                    let _ = std::io::stderr().write_all(line.as_bytes());
                }
            }
        }
    }

    /// Takes the bar away; what it showed stands in the log.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Keeps the bar moving while something else is computed.
    pub fn tick(&self) {
        if let Some(bar) = &self.bar {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
    }
}

/// `critic -0.41 · generator 0.2`: losses by name; one that no step has computed yet is left out.
fn named(names: &[String], losses: &[f64]) -> String {
    let known = names.iter().zip(losses).filter(|(_, loss)| !loss.is_nan());
    known.map(|(name, loss)| format!("{name} {}", number::score(*loss))).collect::<Vec<_>>().join(" · ")
}

/// ` · valid 0.131 · accuracy 0.957`, and with several losses ` · valid critic 0.4 · generator 0.2 · mse 1.3`: the scores of the validation part.
fn shown(scores: &[(String, f64)]) -> String {
    let mut text = String::new();
    for (name, value) in scores {
        let Some(metric) = name.strip_prefix("valid.") else { continue };
        let label = match (metric, text.is_empty()) {
            ("loss", _) => "valid".to_string(),
            (_, true) => format!("valid {metric}"),
            (_, false) => metric.to_string(),
        };
        text.push_str(&format!(" · {label} {}", number::score(*value)));
    }
    text
}
