//! `bdl train FILE[:NAME]`: the whole road, with what the user sees of it.

use super::{Context, print};
use crate::cli::target;
use crate::data::warnings::diagnostics;
use crate::error::{Failure, What};
use crate::interrupt;
use crate::memory;
use crate::pipeline::{self, Checked};
use crate::run::gradient_check::{self, GradientCheck};
use crate::run::prepared::{data_warnings, folds, freezes, shown, watch};
use crate::run::{ModelMachine, Prepared, fits, outputs, prepare, record, scores, transfer};
use crate::show::{banner, number, progress::Progress, result, unfinished};
use bdl_check::hir::{self, BinaryOp, Expectation, Objective, Part, StopWhen, Train};
use bdl_equations::Program;
use bdl_grammar::Diagnostic;
use bdl_train::metrics::Score;
use bdl_train::training::{Goal, Side};
use bdl_train::{Array, Control, Event, Machine, Position, RunError, RunFolder, Settings, checkpoint, train};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where runs are kept, below the working folder.
pub const RUNS: &str = "runs";

/// What the command line says about a run beyond the program.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// The run folder, if not below [`RUNS`].
    pub out: Option<PathBuf>,
    pub resume: bool,
    pub save_every: Option<Duration>,
}

pub fn run(context: &Context, written: &str, manner: &Manner) -> Result<u8, Failure> {
    let (file, name) = target(written);
    let report = run_file(context, &file, name, manner)?;
    Ok(u8::from(report.expectations_missed))
}

/// What a finished run found.
pub struct Report {
    pub expectations_missed: bool,
    pub folder: PathBuf,
    pub prepared: Prepared,
    pub measured: outputs::Measured,
}

pub fn run_file(context: &Context, file: &Path, name: Option<String>, manner: &Manner) -> Result<Report, Failure> {
    Run::open(context, file, name)?.train(manner)
}

/// A checked program, about to be trained once or once a fold.
pub struct Run<'c> {
    context: &'c Context,
    file: PathBuf,
    checked: Checked,
    pub train: Train,
}

impl<'c> Run<'c> {
    /// Checks the program and says what there is to warn of.
    pub fn open(context: &'c Context, file: &Path, name: Option<String>) -> Result<Run<'c>, Failure> {
        Run::of(context, file, name.as_deref(), pipeline::check(file, &context.request(name.clone()))?)
    }

    /// As [`Run::open`] for a program that is checked already; `file` is its name for people.
    pub fn of(context: &'c Context, file: &Path, name: Option<&str>, checked: Checked) -> Result<Run<'c>, Failure> {
        checked.require_sound(context.coloured)?;
        context.warn(&checked.diagnostics, &checked.source.sources);
        let train = checked.train(name)?.clone();
        Ok(Run { context, file: file.to_path_buf(), checked, train })
    }

    /// How many folds the split has.
    pub fn folds(&self) -> Result<usize, Failure> {
        folds(&self.checked, &self.train)
    }

    /// Trains on the split, or on its first fold.
    pub fn train(&self, manner: &Manner) -> Result<Report, Failure> {
        self.part(manner, 0, None)
    }

    /// Trains on a fold, in a folder of its own below the run's: `fold-1` is the first.
    pub fn fold(&self, manner: &Manner, fold: usize, folds: usize) -> Result<Report, Failure> {
        self.part(manner, fold, Some(folds))
    }

    /// Trains on a fold in the folder given, without a word.
    pub fn silently(&self, manner: &Manner, fold: usize) -> Result<Report, Failure> {
        self.part_said(manner, fold, None, true)
    }

    fn part(&self, manner: &Manner, fold: usize, folds: Option<usize>) -> Result<Report, Failure> {
        self.part_said(manner, fold, folds, false)
    }

    fn part_said(
        &self,
        manner: &Manner,
        fold: usize,
        folds: Option<usize>,
        is_silent: bool,
    ) -> Result<Report, Failure> {
        let (context, checked, train) = (self.context, &self.checked, &self.train);
        // The first fold opens for all; the rest is said by whoever trains them all.
        let opening = &Say { context, is_fold: is_silent || fold > 0 };
        let say = &Say { context, is_fold: is_silent || folds.is_some() };
        let started = Instant::now();
        let (mut prepared, gradients) = match fold {
            0 => pipeline::beside_gradients(checked, train, || prepare(checked, train, None, fold))?,
            _ => (prepare(checked, train, None, fold)?, Vec::new()),
        };
        let seed = context.global.seed.unwrap_or(0);
        let threads = context.threads();
        // Before anything is said or written: there may be no GPU.
        let engine = context.engine()?;
        opening.text(&banner::opening(
            &self.file,
            threads,
            context.products,
            engine.gpu().as_deref(),
            &prepared,
            folds,
        ));
        if fold == 0 {
            context.warn(&bdl_elaborate::warnings(&gradients, train), &checked.source.sources);
            let suspicious = data_warnings(checked, &prepared)?;
            context.warn(&diagnostics(&checked.source, &train.data, &suspicious), &checked.source.sources);
        }
        let is_said = |code: &str| checked.diagnostics.iter().any(|said| said.code == code);
        if fold == 0 && train.trains() && !is_said("last-batch-of-one") {
            let found = bdl_check::last_batch(&prepared.hir, train, prepared.trained.train.len());
            context.warn(&found, &checked.source.sources);
        }
        if !is_said("part-of-batch")
            && prepared.programs.loss_across
            && (train.batch as usize) < prepared.parts.train.len()
            && train.trains()
        {
            let rows = number::grouped(prepared.parts.train.len() as u64);
            opening.text(&format!(
                "  loss    compares the examples of a batch, {} of the {rows} that train\n",
                train.batch
            ));
        }
        let transferred = transfer::read(train, &checked.source.folder)?;
        for (at, line) in transferred.said.iter().enumerate() {
            opening.text(&format!("  {}    {line}\n", if at == 0 { "from" } else { "    " }));
        }
        let files: Vec<PathBuf> =
            train.transfers.iter().map(|transfer| transfer::file(transfer, &checked.source.folder)).collect();
        let hash = record::hash(&checked.source.text, &checked.data, &files, seed, context.precision())
            .map_err(|error| Failure::user("missing-file", format!("could not read the data again: {error}")))?;
        let folder = RunFolder::create(Path::new(RUNS), &train.name, &hash, manner.out.as_deref())?;
        let below = folder.file(&format!("fold-{}", fold + 1));
        let folder = match folds {
            Some(_) => RunFolder::create(Path::new(RUNS), &train.name, &hash, Some(&below))?,
            None => folder,
        };
        let mut machine = ModelMachine::new(&prepared, context.real, engine, seed, true)?;
        machine.restore(&transferred.arrays)?;
        // Of many folds, those that were not begun begin now.
        let resume = manner.resume && (folds.is_none() || folder.has("last.safetensors"));
        let position = start(&folder, &mut machine, resume, &hash)?;
        let is_done = |line: &str| {
            let line: Option<Value> = serde_json::from_str(line).ok();
            line.and_then(|line| line["epoch"].as_u64()).is_some_and(|epoch| epoch <= position.epoch)
        };
        folder.keep_lines("log.jsonl", &is_done)?;
        let gpu = machine.engine.gpu();
        write_folder(&folder, checked, &prepared, &train.name, &hash, seed, gpu.as_deref(), context, fold)?;
        say.json(json!({"event": "start", "train": &*train.name, "run": folder.path().display().to_string(),
            "rows": {"train": prepared.parts.train.len(), "valid": prepared.parts.valid.len(), "test": prepared.parts.test.len()}}));

        if train.trains() && position.step == 0 && fold == 0 {
            check_gradient(opening, &prepared, &gradients, &mut machine, seed)?;
        }
        drop(gradients);
        prepared.programs.clear();
        memory::collect();
        let position =
            if train.trains() { fit(say, &prepared, &mut machine, &folder, position, seed, manner)? } else { position };
        let report = finish(say, prepared, &mut machine, &folder, &position, started);
        context.warn(&unfinished::warnings(machine.take_unfinished()), &checked.source.sources);
        if let (Some(keep), None, true) = (&train.keep, position.best, train.trains()) {
            context.warn(&[undefined(keep)], &checked.source.sources);
        }
        report
    }
}

/// The score of `keep best` was no number after any epoch.
fn undefined(keep: &hir::Score) -> Diagnostic {
    Diagnostic::warning("undefined-score", format!("{} was no number after any epoch", shown(keep)))
        .primary(keep.span, "the weights of the last epoch are kept")
        .help("are there rows of both kinds in the part, and no target missing in all of them?")
}

/// Where the run begins: at the start, or where its last checkpoint stands.
fn start(folder: &RunFolder, machine: &mut ModelMachine, resume: bool, hash: &str) -> Result<Position, Failure> {
    if !resume {
        return Ok(Position::default());
    }
    let same = "the program, its data, the seed and the precision must be those of the run; leave out `--resume` to start anew";
    if !folder.has("last.safetensors") {
        return Err(Failure::user("not-a-run", format!("there is nothing to resume in `{}`", folder.path().display()))
            .help(same));
    }
    let known: Option<Value> =
        std::fs::read(folder.file("run.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
    if known.as_ref().and_then(|run| run["hash"].as_str()).is_some_and(|known| known != hash) {
        let message = format!("`{}` is not a run of this program with this data and seed", folder.path().display());
        return Err(Failure::user("checkpoint-mismatch", message).help(same));
    }
    let (arrays, position) = checkpoint::load(&folder.file("last.safetensors"))?;
    // The optimiser's state is made by its first step; what the model has now must be in the file.
    let wanted: Vec<(String, Vec<usize>)> =
        machine.everything()?.into_iter().map(|array| (array.name, array.shape)).collect();
    let model: Vec<_> =
        arrays.iter().filter(|array| wanted.iter().any(|(name, _)| *name == array.name)).cloned().collect();
    if let Some(error) = checkpoint::mismatches(&wanted, model.iter().map(Array::named)) {
        return Err(Failure::from(error).help(same));
    }
    machine.restore(&arrays)?;
    Ok(position)
}

/// Each objective's gradient against finite differences, once.
fn check_gradient(
    say: &Say<'_>,
    prepared: &Prepared,
    gradients: &[Program],
    machine: &mut ModelMachine,
    seed: u64,
) -> Result<(), Failure> {
    for (objective, gradient) in prepared.train.objectives.iter().zip(gradients) {
        check_objective(say, prepared, machine, seed, objective, gradient)?;
    }
    Ok(())
}

fn check_objective(
    say: &Say<'_>,
    prepared: &Prepared,
    machine: &mut ModelMachine,
    seed: u64,
    objective: &Objective,
    gradient: &Program,
) -> Result<(), Failure> {
    let of = if objective.name.is_empty() { String::new() } else { format!(" of {}", objective.name) };
    let known = Path::new(RUNS).join(".gradients");
    let key = record::text_hash(&bdl_equations::text::print(gradient));
    if let Ok(found) = std::fs::read_to_string(&known)
        && let Some(line) = found.lines().find(|line| line.starts_with(&key))
    {
        let rest = line[key.len()..].trim();
        say.text(&format!("  check   gradients{of} agree with finite differences ({rest}; remembered)\n"));
        return Ok(());
    }
    let freezes = freezes(&prepared.hir, objective);
    match gradient_check::check(prepared, gradient, machine.values()?, seed, say.context.threads())? {
        GradientCheck::Nothing => {}
        GradientCheck::Undecided { at } => {
            say.text(&format!(
                "  check   finite differences{of} do not decide at {at}: the loss has too many kinks there\n"
            ));
        }
        GradientCheck::Agrees { worst, at, together } => {
            let together =
                if together > 0 { format!("; {together} parameters in one direction") } else { String::new() };
            let found = format!("worst {worst:.0e} at {at}{together}");
            say.text(&format!("  check   gradients{of} agree with finite differences ({found})\n"));
            // Only a convenience: a place that cannot be written costs the same check again next time.
            let line = format!("{key} {found}\n");
            let _ = std::fs::create_dir_all(RUNS);
            let _ = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&known)
                .and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
        }
        GradientCheck::Differs { at, .. } if freezes => {
            say.text(&format!(
                "  check   the gradient{of} by {at} is not the loss's slope: `freeze` stops a part of it\n"
            ));
        }
        GradientCheck::Differs { at, gradient, difference } => {
            return Err(Failure::bug(format!(
                "the gradient of the loss{of} by `{at}` is {gradient:.6e} along a random direction, but finite differences say {difference:.6e}"
            )));
        }
    }
    Ok(())
}

fn fit(
    say: &Say<'_>,
    prepared: &Prepared,
    machine: &mut ModelMachine,
    folder: &RunFolder,
    position: Position,
    seed: u64,
    manner: &Manner,
) -> Result<Position, Failure> {
    interrupt::listen();
    let train_block = &prepared.train;
    let losses: Vec<String> = train_block.objectives.iter().map(bdl_check::hir::Objective::loss_name).collect();
    let settings = Settings {
        seed,
        losses: losses.clone(),
        epochs: train_block.epochs.max(0) as u64,
        batch: train_block.batch.max(1) as u64,
        stop: train_block.stop.as_ref().and_then(|stop| match stop.when {
            StopWhen::Stalls(epochs) => Some((watch(&stop.score, &losses, &train_block.reports), epochs.max(1) as u64)),
            StopWhen::Is(_, _) => None,
        }),
        goal: train_block.stop.as_ref().and_then(|stop| match stop.when {
            StopWhen::Stalls(_) => None,
            StopWhen::Is(op, value) => Some(Goal { name: shown(&stop.score), side: side(op)?, value }),
        }),
        keep: train_block.keep.as_ref().map(|score| watch(score, &losses, &train_block.reports)),
        save_every: manner.save_every.unwrap_or(Settings::SAVE_EVERY),
    };
    let mut bar = Progress::new(
        settings.epochs,
        settings.losses.clone(),
        // Lines of epochs belong to one run; a bar goes away.
        say.context.global.quiet || say.context.global.json || say.is_fold && !std::io::stderr().is_terminal(),
    );
    let outcome = {
        let mut score = |machine: &mut dyn Machine| valid_scores(prepared, machine);
        let mut observe = |event: Event<'_>| {
            bar.event(&event);
            if let Event::Epoch { epoch, losses, scores, improved, seconds, examples_per_second } = &event {
                let loss = match losses {
                    [loss] => finite(*loss),
                    losses => {
                        let named = settings.losses.iter().cloned().zip(losses.iter().map(|loss| finite(*loss)));
                        Value::Object(named.collect())
                    }
                };
                let scores: serde_json::Map<String, Value> =
                    scores.iter().map(|(name, value)| (name.clone(), finite(*value))).collect();
                let line = json!({"event": "epoch", "epoch": epoch, "loss": loss, "scores": scores, "best": improved,
                    "seconds": seconds, "examples_per_second": examples_per_second});
                // The log is for people; training does not depend on it.
                let _ = folder.append_line("log.jsonl", &line.to_string());
                say.json(line);
            }
            if interrupt::is_set() { Control::Interrupt } else { Control::Continue }
        };
        train(machine, &settings, &prepared.trained, folder, position, &mut score, &mut observe)
    };
    bar.finish();
    let outcome = outcome.map_err(|error| lost(error, folder))?;
    if outcome.interrupted {
        let text = format!(
            "interrupted in epoch {}; everything is saved in {}   next: the same command with --resume",
            outcome.position.epoch + 1,
            folder.path().display()
        );
        return Err(Failure { what: What::Interrupted(text) });
    }
    let position = outcome.position;
    if position.stopped_early
        && let Some(stop) = &train_block.stop
    {
        let kept = if train_block.keep.is_some() {
            format!("; weights are those of epoch {}", position.best_epoch)
        } else {
            String::new()
        };
        let why = match stop.when {
            StopWhen::Stalls(epochs) => format!("{} has not improved for {epochs} epochs", shown(&stop.score)),
            StopWhen::Is(_, value) => format!("{} has reached {value}", shown(&stop.score)),
        };
        say.text(&format!("  stopped at epoch {}: {why}{kept}\n", position.epoch));
    } else if train_block.keep.is_some() && position.best_epoch != position.epoch {
        say.text(&format!("  kept    the weights of epoch {}\n", position.best_epoch));
    }
    if folder.has("best.safetensors") {
        let (arrays, _) = checkpoint::load(&folder.file("best.safetensors"))?;
        machine.restore(&arrays)?;
    }
    Ok(position)
}

/// A run whose GPU failed goes on from what was saved last.
fn lost(error: RunError, folder: &RunFolder) -> RunError {
    if error.code != "device-failed" {
        return error;
    }
    let saved = folder.path().display();
    error.help(format!("what was saved last is whole in {saved}; the same command with --resume goes on from there"))
}

/// The side of a number on which a comparison holds.
fn side(op: BinaryOp) -> Option<Side> {
    let sides = [(BinaryOp::Lt, Side::Below), (BinaryOp::Le, Side::AtMost), (BinaryOp::Gt, Side::Above)];
    sides.into_iter().chain([(BinaryOp::Ge, Side::AtLeast)]).find(|(known, _)| *known == op).map(|(_, side)| side)
}

/// `valid.loss` and every reported metric on the validation part.
fn valid_scores(prepared: &Prepared, machine: &mut dyn Machine) -> bdl_train::RunResult<Vec<(String, f64)>> {
    let rows = &prepared.parts.valid;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let found = machine.evaluate(rows)?;
    let losses = outputs::losses(prepared, &found);
    let mut all: Vec<(String, f64)> = losses.into_iter().map(|(name, loss)| (format!("valid.{name}"), loss)).collect();
    for (name, score) in scores::scores(&prepared.asked, &found, &prepared.data, rows)? {
        if score.confusion.is_none() {
            all.push((format!("valid.{name}"), score.value));
        }
    }
    Ok(all)
}

/// Scores of the parts, the files that hold them, and what was expected.
fn finish(
    say: &Say<'_>,
    prepared: Prepared,
    machine: &mut ModelMachine,
    folder: &RunFolder,
    position: &Position,
    started: Instant,
) -> Result<Report, Failure> {
    let fitted = fits::fit_all(&prepared, machine)?;
    if !fitted.is_empty() {
        for line in &fitted {
            say.text(&format!("  fit     {line}\n"));
        }
    }
    if !fitted.is_empty() || !prepared.train.trains() {
        // What only evaluates has weights too: those that it was given.
        checkpoint::save(&folder.file("best.safetensors"), &machine.weights()?, position)?;
    }
    let measured = outputs::measure(&prepared, machine)?;
    outputs::write(folder, &prepared, &measured)?;
    let part = measured.final_part();
    if let Some(part) = part {
        say.result(&result::scores(part.name, &part.scores, 100));
    }
    let mut missed = false;
    let mut judged = Vec::new();
    for expectation in &prepared.train.expectations {
        let (text, met) = judge(&prepared.train, expectation, &measured)?;
        missed |= !met;
        say.result(&format!("  expect  {text}\n"));
        judged.push(json!({"expect": expectation.shown, "met": met}));
    }
    let seconds = started.elapsed().as_secs_f64();
    let run = folder.path().display();
    let next = if part.is_some() { format!("bdl predict {run} NEW.csv") } else { format!("bdl eval {run}") };
    say.result(&format!("  saved   {run}   ({})   next: {next}\n", number::seconds(seconds)));
    let mut done = json!({"event": "done", "run": run.to_string(), "epochs": position.epoch, "best_epoch": position.best_epoch,
        "seconds": seconds, "expect": judged});
    for part in &measured.parts {
        let losses = part.losses.iter().map(|(name, loss)| (name.clone(), finite(*loss)));
        let values: serde_json::Map<String, Value> =
            losses.chain(part.scores.iter().map(|(name, score)| (name.clone(), score_json(score)))).collect();
        done[part.name] = Value::Object(values);
    }
    say.json(done);
    Ok(Report { expectations_missed: missed, folder: folder.path().to_path_buf(), prepared, measured })
}

/// A number, or null where it is not finite.
pub fn finite(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { Value::Null }
}

/// A score's value; a confusion table as rows of counts.
pub fn score_json(score: &Score) -> Value {
    match &score.confusion {
        Some(confusion) => json!({"classes": confusion.names, "counts": confusion.counts}),
        None => finite(score.value),
    }
}

/// `test.accuracy >= 0.93   ok`, or what it is instead.
pub fn judge(
    train: &Train,
    expectation: &Expectation,
    measured: &outputs::Measured,
) -> Result<(String, bool), Failure> {
    let part = part_name(expectation);
    judge_value(train, expectation, measured.value(part, &expectation.score.metric))
}

/// The part of the data that the expectation is about.
pub fn part_name(expectation: &Expectation) -> &'static str {
    match expectation.score.part {
        Part::Train => "train",
        Part::Valid => "valid",
        Part::Test => "test",
    }
}

/// The same for the score's value, if there is one.
pub fn judge_value(train: &Train, expectation: &Expectation, value: Option<f64>) -> Result<(String, bool), Failure> {
    let value = value.ok_or_else(|| {
        let part = part_name(expectation);
        Failure::user(
            "expect",
            format!("`{}` cannot be judged: the run has no {part} part or does not report it", expectation.shown),
        )
        .help(format!("add the metric to `report` in `train {}` and give the part a share of the split", train.name))
    })?;
    let met = match expectation.op {
        BinaryOp::Ge => value >= expectation.value,
        BinaryOp::Gt => value > expectation.value,
        BinaryOp::Le => value <= expectation.value,
        BinaryOp::Lt => value < expectation.value,
        BinaryOp::Eq => value == expectation.value,
        BinaryOp::Ne => value != expectation.value,
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::Mul
        | BinaryOp::Div
        | BinaryOp::FloorDiv
        | BinaryOp::Rem
        | BinaryOp::Pow
        | BinaryOp::Min
        | BinaryOp::Max
        | BinaryOp::And
        | BinaryOp::Or => return Err(Failure::bug("an expectation that is no comparison")),
    };
    let text = if met {
        format!("{}   ok", expectation.shown)
    } else {
        format!("{}   MISSED: it is {}", expectation.shown, number::score(value))
    };
    Ok((text, met))
}

fn write_folder(
    folder: &RunFolder,
    checked: &Checked,
    prepared: &Prepared,
    name: &str,
    hash: &str,
    seed: u64,
    gpu: Option<&str>,
    context: &Context,
    fold: usize,
) -> Result<(), Failure> {
    let hyper = &prepared.train.hyper;
    let threads = context.threads();
    let mut run = record::run_json(name, hash, seed, context.precision(), threads, gpu, hyper, &checked.data);
    // Which rows were held out: a later look at the run must not take others.
    run["fold"] = json!(fold);
    folder.write("program.bdl", outputs::runnable(checked).as_bytes())?;
    folder.write("fitted.json", prepared.fitted.to_json().as_bytes())?;
    folder.write("split.tsv", outputs::split_tsv(prepared).as_bytes())?;
    let text = serde_json::to_string_pretty(&run).map_err(|error| Failure::bug(error.to_string()))?;
    // Last: a folder with `run.json` is a whole run folder.
    folder.write("run.json", text.as_bytes())?;
    Ok(())
}

/// What is printed, and whether.
struct Say<'c> {
    context: &'c Context,
    /// One of many runs: whoever runs them all speaks for it.
    is_fold: bool,
}

impl Say<'_> {
    /// What is said on the way.
    fn text(&self, text: &str) {
        if !self.context.global.quiet {
            self.result(text);
        }
    }

    /// What the command was run for.
    fn result(&self, text: &str) {
        if !self.context.global.json && !self.is_fold {
            // A closed pipe is the reader's business.
            let _ = print(text);
        }
    }

    fn json(&self, line: Value) {
        if self.context.global.json {
            let _ = print(&format!("{line}\n"));
        }
    }
}
