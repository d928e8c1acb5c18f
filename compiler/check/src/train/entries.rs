//! The entries of a `train` block, sorted by what they are: what may stand once stands once, and what is not built is said.

use crate::checker::Checker;
use crate::suggest::nearest;
use bdl_grammar::ast::{self, Reported, TrainEntryKind};
use bdl_grammar::{Diagnostic, Span};
use std::collections::HashMap;

/// The entries of a block, sorted by what they are.
#[derive(Default)]
pub(crate) struct Entries<'a> {
    pub models: Vec<(&'a ast::Name, &'a ast::Expr)>,
    /// `from "trunk.safetensors" { .. }`, with the model it belongs to.
    pub transfers: Vec<(&'a ast::Name, &'a ast::Transfer)>,
    pub data: Option<&'a ast::Name>,
    pub split: Option<&'a ast::Expr>,
    /// What stands in the block itself, beside its steps.
    pub own: Objective<'a>,
    /// `step critic over judge { .. }`.
    pub steps: Vec<Objective<'a>>,
    pub epochs: Option<&'a ast::Expr>,
    pub batch: Option<(&'a ast::Expr, Option<&'a ast::Expr>)>,
    pub average: Option<&'a ast::Expr>,
    pub stop: Option<(&'a ast::Expr, Option<&'a ast::Stall>)>,
    pub keep: Option<&'a ast::Expr>,
    pub frozen: Vec<(&'a ast::Expr, Option<&'a ast::Until>)>,
    pub predictions: Vec<(&'a ast::Name, &'a ast::Expr)>,
    /// What each is predicted `as`.
    pub units_of: Vec<Option<&'a ast::Expr>>,
    pub fits: Vec<super::fits::Written<'a>>,
    pub reports: Vec<(&'a ast::Expr, Option<&'a ast::Expr>)>,
    pub training_rows: Written<'a>,
    /// A word that is no entry stood there: what else is missing may have been meant by it.
    pub has_unknown: bool,
}

/// `rows`, `weights` and `augment` as they are written.
#[derive(Clone, Default)]
pub(crate) struct Written<'a> {
    pub rows: Option<&'a ast::Expr>,
    pub weights: Option<&'a ast::Expr>,
    pub augment: Vec<&'a ast::DataField>,
}

/// What makes one loss small: the entries of a `step`, or of a block without.
#[derive(Default)]
pub(crate) struct Objective<'a> {
    pub name: Option<&'a ast::Name>,
    pub over: &'a [ast::Expr],
    pub every: Option<&'a ast::Expr>,
    pub lets: Vec<&'a ast::Let>,
    pub loss: Option<(&'a ast::Expr, Option<&'a ast::Expr>)>,
    pub penalties: Vec<&'a ast::Expr>,
    pub optimizers: Vec<(&'a ast::Expr, &'a [ast::Expr])>,
    pub clip: Option<(&'a ast::Name, &'a ast::Expr)>,
}

impl<'a> Entries<'a> {
    /// The objectives that are trained: the steps, or else the block itself.
    pub fn objectives(&self) -> impl Iterator<Item = &Objective<'a>> {
        let own = if self.steps.is_empty() { Some(&self.own) } else { None };
        own.into_iter().chain(&self.steps)
    }
}

/// What the entries of a `train` block begin with.
pub const WORDS: [&str; 21] = [
    "model",
    "data",
    "let",
    "split",
    "loss",
    "penalty",
    "optimizer",
    "epochs",
    "batch",
    "average",
    "stop",
    "keep",
    "clip",
    "predict",
    "report",
    "fit",
    "frozen",
    "step",
    "rows",
    "weights",
    "augment",
];
/// Words that may stand in a `step`.
const STEP_WORDS: [&str; 5] = ["let", "loss", "penalty", "optimizer", "clip"];

impl<'a> Checker<'a> {
    /// Sorts the entries of a block.
    pub(super) fn entries(&mut self, train: &'a ast::Train) -> Entries<'a> {
        let mut entries = Entries::default();
        let mut seen = HashMap::new();
        for entry in &train.entries {
            self.block_entry(entry, &mut entries, &mut seen);
        }
        if let Some(step) = entries.steps.first().and_then(|step| step.name) {
            self.beside_steps(train, step);
        }
        entries
    }

    /// One objective stands in the block, several in steps: not both.
    fn beside_steps(&mut self, train: &'a ast::Train, step: &'a ast::Name) {
        for entry in &train.entries {
            let word = match &entry.kind {
                TrainEntryKind::Loss { .. } => "loss",
                TrainEntryKind::Penalty(_) => "penalty",
                TrainEntryKind::Optimizer { .. } => "optimizer",
                TrainEntryKind::Clip { .. } => "clip",
                TrainEntryKind::Model { .. }
                | TrainEntryKind::Data(_)
                | TrainEntryKind::Let(_)
                | TrainEntryKind::Split(_)
                | TrainEntryKind::Epochs(_)
                | TrainEntryKind::Batch { .. }
                | TrainEntryKind::Average(_)
                | TrainEntryKind::Stop { .. }
                | TrainEntryKind::Keep { .. }
                | TrainEntryKind::Predict { .. }
                | TrainEntryKind::Report(_)
                | TrainEntryKind::Fit { .. }
                | TrainEntryKind::Frozen { .. }
                | TrainEntryKind::Step { .. }
                | TrainEntryKind::Rows(_)
                | TrainEntryKind::Weights(_)
                | TrainEntryKind::Augment(_)
                | TrainEntryKind::Word { .. }
                | TrainEntryKind::Error => continue,
            };
            self.say(
                Diagnostic::error("misplaced-statement", format!("`{word}` stands beside a `step`"))
                    .primary(entry.span, "belongs to no step")
                    .secondary(step.span, "a block with steps has its losses in them")
                    .help(format!("move it into a step: `step main {{ {word} .. }}`")),
            );
            return;
        }
    }

    /// Where two entries stand that may stand once.
    fn once(&mut self, seen: &mut HashMap<&'static str, Span>, word: &'static str, span: Span) {
        if let Some(first) = seen.insert(word, span) {
            self.say(
                Diagnostic::error("duplicate-name", format!("`{word}` stands twice"))
                    .primary(span, "here again")
                    .secondary(first, "first here"),
            );
        }
    }

    fn step_entries(
        &mut self,
        name: &'a ast::Name,
        over: &'a [ast::Expr],
        every: Option<&'a ast::Expr>,
        list: &'a [ast::TrainEntry],
    ) -> Objective<'a> {
        let mut step = Objective { name: Some(name), over, every, ..Objective::default() };
        let mut seen = HashMap::new();
        for entry in list {
            if !self.objective_entry(entry, &mut step, &mut seen) {
                self.say(
                    Diagnostic::error("misplaced-statement", format!("this cannot stand in the step `{name}`"))
                        .primary(entry.span, "an entry of the whole block")
                        .note(format!("a step has {}", STEP_WORDS.join(", ")))
                        .help("move it out of the braces of the step"),
                );
            }
        }
        step
    }

    /// An entry that belongs to one objective. False if it is none.
    fn objective_entry(
        &mut self,
        entry: &'a ast::TrainEntry,
        into: &mut Objective<'a>,
        seen: &mut HashMap<&'static str, Span>,
    ) -> bool {
        match &entry.kind {
            TrainEntryKind::Let(binding) => into.lets.push(binding),
            TrainEntryKind::Loss { value, per } => {
                self.once(seen, "loss", entry.span);
                into.loss = Some((value, per.as_ref()));
            }
            TrainEntryKind::Penalty(value) => into.penalties.push(value),
            TrainEntryKind::Optimizer { value, over } => into.optimizers.push((value, over)),
            TrainEntryKind::Clip { word, value } => {
                self.once(seen, "clip", entry.span);
                into.clip = Some((word, value));
            }
            TrainEntryKind::Error => {}
            TrainEntryKind::Model { .. }
            | TrainEntryKind::Data(_)
            | TrainEntryKind::Split(_)
            | TrainEntryKind::Epochs(_)
            | TrainEntryKind::Batch { .. }
            | TrainEntryKind::Average(_)
            | TrainEntryKind::Stop { .. }
            | TrainEntryKind::Keep { .. }
            | TrainEntryKind::Predict { .. }
            | TrainEntryKind::Report(_)
            | TrainEntryKind::Fit { .. }
            | TrainEntryKind::Frozen { .. }
            | TrainEntryKind::Step { .. }
            | TrainEntryKind::Rows(_)
            | TrainEntryKind::Weights(_)
            | TrainEntryKind::Augment(_)
            | TrainEntryKind::Word { .. } => return false,
        }
        true
    }

    fn block_entry(
        &mut self,
        entry: &'a ast::TrainEntry,
        entries: &mut Entries<'a>,
        seen: &mut HashMap<&'static str, Span>,
    ) {
        match &entry.kind {
            TrainEntryKind::Let(_)
            | TrainEntryKind::Loss { .. }
            | TrainEntryKind::Penalty(_)
            | TrainEntryKind::Optimizer { .. }
            | TrainEntryKind::Clip { .. }
            | TrainEntryKind::Error => {
                self.objective_entry(entry, &mut entries.own, seen);
            }
            TrainEntryKind::Step { name, over, every, entries: list } => {
                if let Some(first) =
                    entries.steps.iter().filter_map(|step| step.name).find(|known| known.text == name.text)
                {
                    self.say(
                        Diagnostic::error("duplicate-name", format!("the step `{name}` stands twice"))
                            .primary(name.span, "here again")
                            .secondary(first.span, "first here"),
                    );
                    return;
                }
                let step = self.step_entries(name, over, every.as_ref(), list);
                entries.steps.push(step);
            }
            TrainEntryKind::Model { name, value, from } => {
                entries.transfers.extend(from.iter().map(|from| (name, from)));
                entries.models.push((name, value));
            }
            TrainEntryKind::Data(name) => {
                self.once(seen, "data", entry.span);
                // The first holds, so that what reads its fields is not refused too.
                entries.data.get_or_insert(name);
            }
            TrainEntryKind::Split(value) => {
                self.once(seen, "split", entry.span);
                entries.split = Some(value);
            }
            TrainEntryKind::Epochs(value) => {
                self.once(seen, "epochs", entry.span);
                entries.epochs = Some(value);
            }
            TrainEntryKind::Batch { size, parts } => {
                self.once(seen, "batch", entry.span);
                entries.batch = Some((size, parts.as_ref()));
            }
            TrainEntryKind::Average(value) => {
                self.once(seen, "average", entry.span);
                entries.average = Some(value);
            }
            TrainEntryKind::Stop { when, stalls } => {
                self.once(seen, "stop", entry.span);
                entries.stop = Some((when, stalls.as_ref()));
            }
            TrainEntryKind::Keep { word, value } => {
                self.once(seen, "keep", entry.span);
                if word.text == "best" {
                    entries.keep = Some(value);
                } else {
                    self.say(
                        Diagnostic::error("unknown-entry", format!("`keep {word}` means nothing"))
                            .primary(word.span, "`best` is expected")
                            .help("write `keep best valid.loss`"),
                    );
                }
            }
            TrainEntryKind::Predict { name, value, units_of } => {
                entries.units_of.push(units_of.as_ref());
                entries.predictions.push((name, value));
            }
            TrainEntryKind::Report(all) => {
                let each =
                    all.iter().flat_map(|Reported { values, by }| values.iter().map(|value| (value, by.as_ref())));
                entries.reports.extend(each);
            }
            TrainEntryKind::Fit { name, value, on } => entries.fits.push(super::fits::Written {
                name,
                value,
                on: on.as_ref(),
                after: entries.predictions.len(),
            }),
            TrainEntryKind::Frozen { values, until } => {
                entries.frozen.extend(values.iter().map(|value| (value, until.as_ref())))
            }
            TrainEntryKind::Rows(value) => {
                self.once(seen, "rows", entry.span);
                entries.training_rows.rows = Some(value);
            }
            TrainEntryKind::Weights(value) => {
                self.once(seen, "weights", entry.span);
                entries.training_rows.weights = Some(value);
            }
            TrainEntryKind::Augment(fields) => {
                self.once(seen, "augment", entry.span);
                entries.training_rows.augment = fields.iter().collect();
            }
            TrainEntryKind::Word { word, .. } => {
                entries.has_unknown = true;
                let mut diagnostic =
                    Diagnostic::error("unknown-entry", format!("a `train` block has no entry `{word}`"))
                        .primary(word.span, "not known")
                        .note(format!("its entries are {}", WORDS.join(", ")));
                if let Some(near) = nearest(&word.text, WORDS) {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                self.say(diagnostic);
            }
        }
    }
}
