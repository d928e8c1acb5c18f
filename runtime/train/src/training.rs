//! The training loop: epochs of shuffled batches, scores on held-out rows, checkpoints, early stopping, resuming.
//!
//! Everything random is a function of seed, epoch, step and row, nothing of time; so a run that is interrupted anywhere and resumed
//! from its last checkpoint ends with the bits of one that was not.
//!
//! Deliberately absent: what a step computes ([`Machine`]), how progress looks (the observer), which metrics are asked for (`score`).

use crate::checkpoint::{self, Array, Position};
use crate::error::{RunError, RunResult};
use crate::folder::RunFolder;
use bdl_data::Parts;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What the loop asks of a compiled model.
pub trait Machine {
    /// One step of each objective whose turn it is on these rows. Returns each objective's sums of loss and weight over the batch, zero where
    /// it was not its turn.
    fn step(&mut self, rows: &[u32], moment: Moment) -> RunResult<Vec<Sums>>;
    /// Loss and predictions of these rows, nothing changed.
    fn evaluate(&mut self, rows: &[u32]) -> RunResult<Evaluation>;
    /// Everything that a step changes: parameters, state, the optimiser's state.
    ///
    /// Errors: where the values lie on a device that is lost.
    fn everything(&mut self) -> RunResult<Vec<Array>>;
    /// Parameters and the layers' state: what prediction needs.
    fn weights(&mut self) -> RunResult<Vec<Array>>;
    /// Puts arrays back, by name; those that are not given stay.
    fn restore(&mut self, arrays: &[Array]) -> RunResult<()>;
    /// Which equation first gave a value that is not finite in the step on these rows.
    fn first_not_finite(&mut self, rows: &[u32], moment: Moment) -> Option<String>;
}

/// Where in the run a step stands: the keys of its random draws and the numbers that schedules read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub seed: u64,
    pub step: u64,
    pub steps: u64,
    pub epoch: u64,
    pub epochs: u64,
    /// Position of the batch's first example in the epoch.
    pub first: u64,
}

/// Loss of a batch: `loss` over `per`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    pub loss: f64,
    pub per: f64,
}

impl Sums {
    /// The loss; not a number where nothing was summed.
    pub fn ratio(&self) -> f64 {
        self.loss / self.per
    }
}

/// What [`Machine::evaluate`] found on a part of the data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// One an objective.
    pub sums: Vec<Sums>,
    /// Predictions by name: row-major, in the order of the rows asked for.
    pub predictions: Vec<PredictionValues>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PredictionValues {
    pub name: String,
    /// Elements of one example where all have the same number of them, otherwise `None`.
    pub width: Option<usize>,
    /// Where each example's elements begin; one entry more than examples.
    pub offsets: Vec<usize>,
    pub values: Vec<f64>,
    /// Which of the values are there, where they may be missing.
    pub known: Option<Vec<bool>>,
}

/// How long to train and what to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub seed: u64,
    /// What the loss of each objective is called: `loss`, or the names of the steps.
    pub losses: Vec<String>,
    pub epochs: u64,
    pub batch: u64,
    /// Score (by name: `valid.loss`, `valid.auroc`) and number of epochs without improvement after which the run stops.
    pub stop: Option<(Watch, u64)>,
    /// The run stops after an epoch in which a score is on this side of a number.
    pub goal: Option<Goal>,
    /// The score whose best epoch is kept. Without it the last epoch is the best.
    pub keep: Option<Watch>,
    /// Epochs that end sooner after the last save than this, or than ten times what that save took, are not saved: a killed run then
    /// goes on from an earlier epoch, to the same bits. Zero saves every epoch, whatever it takes.
    pub save_every: Duration,
}

impl Settings {
    /// What [`Settings::save_every`] is unless somebody says otherwise.
    pub const SAVE_EVERY: Duration = Duration::from_millis(500);
}

/// `valid.loss < 0.1`
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    pub name: String,
    pub side: Side,
    pub value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Goal {
    /// NaN reaches nothing.
    fn is_reached(&self, score: f64) -> bool {
        match self.side {
            Side::Below => score < self.value,
            Side::AtMost => score <= self.value,
            Side::Above => score > self.value,
            Side::AtLeast => score >= self.value,
        }
    }
}

/// A score that the loop compares from epoch to epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub name: String,
    pub higher_is_better: bool,
}

impl Watch {
    /// NaN never improves on anything.
    fn improves(&self, new: f64, old: Option<f64>) -> bool {
        match old {
            None => !new.is_nan(),
            Some(old) if self.higher_is_better => new > old,
            Some(old) => new < old,
        }
    }
}

/// What an observer is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'e> {
    Batch {
        epoch: u64,
        batch: u64,
        batches: u64,
        /// Of the epoch so far, one an objective.
        losses: &'e [f64],
        examples: u64,
    },
    Epoch {
        epoch: u64,
        losses: &'e [f64],
        scores: &'e [(String, f64)],
        /// The best epoch so far, where one is kept.
        improved: bool,
        seconds: f64,
        examples_per_second: f64,
    },
}

/// What an observer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Continue,
    /// Save and return (Ctrl-C).
    Interrupt,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub position: Position,
    pub interrupted: bool,
}

/// A run that is not saved for this long is saved in the middle of an epoch.
const LONG: Duration = Duration::from_secs(60);

/// The run folder's checkpoints, and what of them is not on disk yet.
struct Keeper<'f> {
    folder: &'f RunFolder,
    every: Duration,
    saved: Instant,
    took: Duration,
    /// Weights of the best epoch, with where the run stood.
    best: Option<(Vec<Array>, Position)>,
}

impl Keeper<'_> {
    fn is_due_after_an_epoch(&self) -> bool {
        self.every.is_zero() || self.saved.elapsed() > self.every.max(self.took * 10)
    }

    fn is_due_within_an_epoch(&self) -> bool {
        self.saved.elapsed() > self.every.max(LONG)
    }

    /// Writes the best weights that are not written yet, then everything.
    fn save(&mut self, machine: &mut dyn Machine, position: &Position) -> RunResult<()> {
        let begun = Instant::now();
        self.save_best()?;
        checkpoint::save(&self.folder.file("last.safetensors"), &machine.everything()?, position)?;
        self.took = begun.elapsed();
        self.saved = Instant::now();
        Ok(())
    }

    fn save_best(&mut self) -> RunResult<()> {
        if let Some((weights, position)) = self.best.take() {
            checkpoint::save(&self.folder.file("best.safetensors"), &weights, &position)?;
        }
        Ok(())
    }
}

/// Trains from `position` on. `score` turns the evaluation of the validation rows into named scores.
pub fn train(
    machine: &mut dyn Machine,
    settings: &Settings,
    parts: &Parts,
    folder: &RunFolder,
    mut position: Position,
    score: &mut dyn FnMut(&mut dyn Machine) -> RunResult<Vec<(String, f64)>>,
    observe: &mut dyn FnMut(Event<'_>) -> Control,
) -> RunResult<Outcome> {
    if parts.train.is_empty() {
        return Err(RunError::new("empty-part", "the training part holds no rows")
            .help("give `train:` a larger share of the split, or look at `keep` and `distinct` in the data block"));
    }
    let mut keeper =
        Keeper { folder, every: settings.save_every, saved: Instant::now(), took: Duration::ZERO, best: None };
    if position.step == 0 {
        // A run killed in its first epoch resumes too, and a value that is not finite can be traced from here.
        keeper.save(machine, &position)?;
    }
    let outcome = epochs(machine, settings, parts, &mut keeper, &mut position, score, observe);
    match outcome {
        Ok(interrupted) => {
            keeper.save(machine, &position)?;
            Ok(Outcome { position, interrupted })
        }
        Err(stopped) => {
            // The best epoch must not be lost with the run; if it cannot be written either, the first error says why.
            let kept = keeper.save_best();
            Err(match stopped {
                Stopped::NotFinite => not_finite(machine, settings, parts, &position, folder),
                Stopped::Error(error) => kept.err().unwrap_or(error),
            })
        }
    }
}

/// Why the epochs ended before their end.
enum Stopped {
    NotFinite,
    Error(RunError),
}

impl From<RunError> for Stopped {
    fn from(error: RunError) -> Stopped {
        Stopped::Error(error)
    }
}

/// The epochs themselves. True if the observer interrupted them.
fn epochs(
    machine: &mut dyn Machine,
    settings: &Settings,
    parts: &Parts,
    keeper: &mut Keeper<'_>,
    position: &mut Position,
    score: &mut dyn FnMut(&mut dyn Machine) -> RunResult<Vec<(String, f64)>>,
    observe: &mut dyn FnMut(Event<'_>) -> Control,
) -> Result<bool, Stopped> {
    let batch = settings.batch.max(1);
    let batches = (parts.train.len() as u64).div_ceil(batch);
    let (started, before) = (Instant::now(), position.seconds);
    while !position.finished && position.epoch < settings.epochs {
        let order = shuffled(&parts.train, settings.seed, position.epoch);
        let (epoch_started, first_batch) = (Instant::now(), position.batch);
        while position.batch < batches {
            let first = position.batch * batch;
            let rows = &order[first as usize..((first + batch) as usize).min(order.len())];
            let moment = moment(settings, batches, position);
            let sums = machine.step(rows, moment)?;
            if !sums.iter().all(is_finite) {
                return Err(Stopped::NotFinite);
            }
            position.sums.resize(sums.len(), Sums::default());
            for (all, sums) in position.sums.iter_mut().zip(&sums) {
                all.loss += sums.loss;
                all.per += sums.per;
            }
            position.batch += 1;
            position.step += 1;
            let losses: Vec<f64> = position.sums.iter().map(Sums::ratio).collect();
            let event = Event::Batch {
                epoch: position.epoch,
                batch: position.batch,
                batches,
                losses: &losses,
                examples: rows.len() as u64,
            };
            let interrupted = observe(event) == Control::Interrupt;
            position.seconds = before + started.elapsed().as_secs_f64();
            if interrupted {
                return Ok(true);
            }
            if keeper.is_due_within_an_epoch() {
                keeper.save(machine, position)?;
            }
        }
        let examples = parts.train.len() as u64 - (first_batch * batch).min(parts.train.len() as u64);
        let rate = examples as f64 / epoch_started.elapsed().as_secs_f64().max(1e-9);
        if position.sums.iter().all(|sums| sums.per == 0.0) {
            return Err(Stopped::Error(
                RunError::new("no-loss", "no training row has a loss, so nothing is learned").help(
                    "is the target missing in every row, or what the loss is divided by (`per`) 0 in all of them?",
                ),
            ));
        }
        let losses: Vec<f64> = position.sums.iter().map(Sums::ratio).collect();
        let names = settings.losses.iter().map(|name| format!("train.{name}"));
        let mut scores: Vec<(String, f64)> = names.zip(losses.iter().copied()).collect();
        scores.extend(score(machine)?);
        position.epoch += 1;
        position.batch = 0;
        position.sums.clear();
        let improved = note_scores(settings, position, &scores)?;
        position.seconds = before + started.elapsed().as_secs_f64();
        position.finished = position.stopped_early || position.epoch == settings.epochs;
        if improved {
            keeper.best = Some((machine.weights()?, position.clone()));
        }
        if keeper.is_due_after_an_epoch() {
            keeper.save(machine, position)?;
        }
        let event = Event::Epoch {
            epoch: position.epoch,
            losses: &losses,
            scores: &scores,
            improved: improved && position.best.is_some(),
            seconds: position.seconds,
            examples_per_second: rate,
        };
        if observe(event) == Control::Interrupt && !position.finished {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Brings the best score and the patience of `stop` up to date. True when this epoch is the best one so far.
fn note_scores(settings: &Settings, position: &mut Position, scores: &[(String, f64)]) -> RunResult<bool> {
    let find = |watched: &str| {
        scores.iter().find(|(name, _)| *name == watched).map(|(_, value)| *value).ok_or_else(|| {
            RunError::new("metric", format!("`{watched}` is not measured in this run")).help(
                "`stop` and `keep` may name `train.loss`, `valid.loss` or a metric of `report` on the validation part",
            )
        })
    };
    let improved = match &settings.keep {
        None => true,
        Some(watch) => {
            let value = find(&watch.name)?;
            let improved = watch.improves(value, position.best);
            if improved {
                position.best = Some(value);
            }
            // As long as the score is no number, the last epoch is kept.
            improved || position.best.is_none()
        }
    };
    if improved {
        position.best_epoch = position.epoch;
    }
    if let Some((watch, patience)) = &settings.stop {
        let value = find(&watch.name)?;
        if watch.improves(value, position.watched) {
            position.watched = Some(value);
            position.stalled = 0;
        } else {
            position.stalled += 1;
            position.stopped_early = position.stalled >= *patience;
        }
    }
    if let Some(goal) = &settings.goal {
        position.stopped_early |= goal.is_reached(find(&goal.name)?);
    }
    Ok(improved)
}

fn not_finite(
    machine: &mut dyn Machine,
    settings: &Settings,
    parts: &Parts,
    at: &Position,
    folder: &RunFolder,
) -> RunError {
    let place = trace(machine, settings, parts, at, folder).ok().flatten();
    let place = place.map_or_else(String::new, |place| format!("; the first such value is in {place}"));
    let error = RunError::new(
        "not-finite",
        format!("the loss is not a finite number in epoch {}, step {}{place}", at.epoch + 1, at.step + 1),
    );
    if folder.has("best.safetensors") {
        return error.help(
            "try a smaller learning rate, `clip norm 1.0`, or standardized inputs; the best epoch so far is saved",
        );
    }
    error.help("try a smaller learning rate, `clip norm 1.0`, or standardized inputs")
}

/// Runs again from the last checkpoint, to the same bits, until a step leaves a weight or a loss that is not finite, and asks the
/// machine which equation of that step it was.
fn trace(
    machine: &mut dyn Machine,
    settings: &Settings,
    parts: &Parts,
    until: &Position,
    folder: &RunFolder,
) -> RunResult<Option<String>> {
    let (arrays, mut position) = checkpoint::load(&folder.file("last.safetensors"))?;
    machine.restore(&arrays)?;
    let batch = settings.batch.max(1);
    let batches = (parts.train.len() as u64).div_ceil(batch);
    while position.step <= until.step {
        if position.batch == batches {
            position.epoch += 1;
            position.batch = 0;
        }
        let order = shuffled(&parts.train, settings.seed, position.epoch);
        let first = position.batch * batch;
        let rows = &order[first as usize..((first + batch) as usize).min(order.len())];
        let moment = moment(settings, batches, &position);
        let before = machine.everything()?;
        let sums = machine.step(rows, moment)?;
        if !sums.iter().all(is_finite) || !machine.everything()?.iter().all(|array| array.values.is_finite()) {
            machine.restore(&before)?;
            return Ok(machine.first_not_finite(rows, moment));
        }
        position.batch += 1;
        position.step += 1;
    }
    Ok(None)
}

fn is_finite(sums: &Sums) -> bool {
    sums.loss.is_finite() && sums.per.is_finite()
}

fn moment(settings: &Settings, batches: u64, position: &Position) -> Moment {
    Moment {
        seed: settings.seed,
        step: position.step,
        steps: settings.epochs * batches,
        epoch: position.epoch,
        epochs: settings.epochs,
        first: position.batch * settings.batch.max(1),
    }
}

/// The rows in the order of an epoch: a function of seed and epoch alone.
pub fn shuffled(rows: &[u32], seed: u64, epoch: u64) -> Vec<u32> {
    let order = bdl_kernels::philox::permutation(rows.len(), seed, epoch);
    order.into_iter().map(|at| rows[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Values;

    /// A machine whose single weight depends on every row of every batch and on the step, so that any lost or repeated step shows.
    #[derive(Clone)]
    struct Chain {
        weight: f64,
        not_finite_at: Option<u64>,
    }

    impl Machine for Chain {
        fn step(&mut self, rows: &[u32], moment: Moment) -> RunResult<Vec<Sums>> {
            for row in rows {
                self.weight = self.weight * 0.999 + f64::from(*row) + moment.step as f64 * 1e-3;
            }
            let loss = if self.not_finite_at == Some(moment.step) { f64::NAN } else { self.weight };
            Ok(vec![Sums { loss, per: rows.len() as f64 }])
        }
        fn evaluate(&mut self, rows: &[u32]) -> RunResult<Evaluation> {
            let loss = (self.weight * 1e3).sin() + rows.len() as f64;
            Ok(Evaluation { sums: vec![Sums { loss, per: 1.0 }], predictions: vec![] })
        }
        fn everything(&mut self) -> RunResult<Vec<Array>> {
            Ok(vec![Array { name: "w".into(), shape: vec![], values: Values::F64(vec![self.weight]) }])
        }
        fn weights(&mut self) -> RunResult<Vec<Array>> {
            self.everything()
        }
        fn restore(&mut self, arrays: &[Array]) -> RunResult<()> {
            self.weight = arrays[0].values.to_f64()[0];
            Ok(())
        }
        fn first_not_finite(&mut self, _: &[u32], _: Moment) -> Option<String> {
            Some("`y` (line 3)".into())
        }
    }

    fn parts() -> Parts {
        Parts { train: (0..23).collect(), valid: (23..30).collect(), test: vec![] }
    }

    fn settings() -> Settings {
        let watch = Watch { name: "valid.loss".into(), higher_is_better: false };
        Settings {
            seed: 5,
            losses: vec!["loss".into()],
            epochs: 9,
            batch: 4,
            stop: Some((watch.clone(), 6)),
            goal: None,
            keep: Some(watch),
            save_every: Settings::SAVE_EVERY,
        }
    }

    /// Trains until `stop_after` batches were seen in this life.
    fn live(machine: &mut Chain, folder: &RunFolder, position: Position, stop_after: u64) -> RunResult<Outcome> {
        let mut seen = 0;
        train(
            machine,
            &settings(),
            &parts(),
            folder,
            position,
            &mut |machine| {
                let found = machine.evaluate(&parts().valid)?;
                Ok(vec![("valid.loss".into(), found.sums[0].ratio())])
            },
            &mut |event| {
                if matches!(event, Event::Batch { .. }) {
                    seen += 1;
                }
                if seen >= stop_after { Control::Interrupt } else { Control::Continue }
            },
        )
    }

    #[test]
    fn interrupted_anywhere_and_resumed_ends_with_the_same_bits() {
        let base = tempfile::tempdir().unwrap();
        let whole_folder = RunFolder::create(base.path(), "whole", "0", None).unwrap();
        let mut whole = Chain { weight: 1.0, not_finite_at: None };
        let end = live(&mut whole, &whole_folder, Position::default(), u64::MAX).unwrap().position;
        for stop_after in 1..54 {
            let folder = RunFolder::create(base.path(), "cut", &stop_after.to_string(), None).unwrap();
            let mut first = Chain { weight: 1.0, not_finite_at: None };
            live(&mut first, &folder, Position::default(), stop_after).unwrap();
            let (arrays, position) = checkpoint::load(&folder.file("last.safetensors")).unwrap();
            let mut second = Chain { weight: f64::NAN, not_finite_at: None };
            second.restore(&arrays).unwrap();
            let resumed = live(&mut second, &folder, position, u64::MAX).unwrap().position;
            assert_eq!(second.weight.to_bits(), whole.weight.to_bits(), "cut after {stop_after}");
            assert_eq!(Position { seconds: 0.0, ..resumed }, Position { seconds: 0.0, ..end.clone() });
        }
    }

    #[test]
    fn a_loss_that_is_not_finite_stops_and_names_the_equation() {
        let base = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(base.path(), "nan", "0", None).unwrap();
        let mut machine = Chain { weight: 1.0, not_finite_at: Some(8) };
        let error = live(&mut machine, &folder, Position::default(), u64::MAX).unwrap_err();
        assert_eq!(error.code, "not-finite");
        assert!(error.message.contains("epoch 2, step 9") && error.message.contains("`y` (line 3)"), "{error}");
        assert!(folder.has("last.safetensors"), "the epoch before it is saved");
    }

    #[test]
    fn stop_counts_epochs_without_improvement() {
        let watch = Watch { name: "valid.loss".into(), higher_is_better: false };
        let settings = Settings {
            seed: 0,
            losses: vec!["loss".into()],
            epochs: 100,
            batch: 1,
            stop: Some((watch.clone(), 2)),
            goal: None,
            keep: Some(watch),
            save_every: Settings::SAVE_EVERY,
        };
        let mut position = Position::default();
        let mut best = Vec::new();
        for (epoch, loss) in [3.0, 2.0, 2.0, 1.5, f64::NAN, 1.6].into_iter().enumerate() {
            position.epoch = epoch as u64 + 1;
            best.push(note_scores(&settings, &mut position, &[("valid.loss".into(), loss)]).unwrap());
        }
        assert_eq!(best, [true, true, false, true, false, false]);
        assert!(position.stopped_early);
        assert_eq!((position.best_epoch, position.best), (4, Some(1.5)));
    }

    #[test]
    fn the_last_epoch_is_kept_while_the_score_is_no_number() {
        let settings = Settings { stop: None, ..settings() };
        let mut position = Position::default();
        for (loss, kept) in [(f64::NAN, 1), (f64::NAN, 2), (3.0, 3), (f64::NAN, 3), (4.0, 3)] {
            position.epoch += 1;
            note_scores(&settings, &mut position, &[("valid.loss".into(), loss)]).unwrap();
            assert_eq!(position.best_epoch, kept, "epoch {}", position.epoch);
        }
    }

    #[test]
    fn an_epoch_sees_every_row_once_in_an_order_of_its_own() {
        let rows: Vec<u32> = (100..150).collect();
        let (a, b) = (shuffled(&rows, 1, 0), shuffled(&rows, 1, 1));
        assert_ne!(a, b);
        assert_eq!(a, shuffled(&rows, 1, 0));
        let mut sorted = a;
        sorted.sort_unstable();
        assert_eq!(sorted, rows);
    }

    #[test]
    fn no_training_rows_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(base.path(), "none", "0", None).unwrap();
        let mut machine = Chain { weight: 1.0, not_finite_at: None };
        let no_rows = Parts::default();
        let end =
            train(&mut machine, &settings(), &no_rows, &folder, Position::default(), &mut |_| Ok(vec![]), &mut |_| {
                Control::Continue
            });
        assert_eq!(end.unwrap_err().code, "empty-part");
    }
}
