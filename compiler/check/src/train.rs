//! `train` blocks: entries in any order, each meaning one thing, to one [`hir::Train`].
//!
//! The loss, what it is divided by, penalties and predictions are functions of one example whose inputs are the fields of the data.
//! Each is built in a body of its own; parameters meet in the program's table by their paths. The order is: models, loss (which
//! makes the parameters that are trained), penalties, predictions, optimisers.

use crate::checker::{Binding, Body, BodyKind, Checker};
use crate::hir::{self, Name, Type};
use crate::scope::FileAt;
use crate::suggest::nearest;
use crate::suspect::Rows;
use crate::value::{Callable, Size, Value};
use crate::walk;
use bdl_grammar::ast::{self, ItemKind};
use bdl_grammar::{Diagnostic, Span};
use std::collections::HashMap;

pub(crate) mod entries;
pub(crate) mod fits;
mod groups;
mod objective;
mod own_metric;
mod stop;
mod training_rows;
mod transfer;

pub(crate) use entries::Entries;
pub(crate) use objective::Wanted;

/// What every function of the block sees.
pub(crate) struct Stage<'a> {
    pub file: FileAt,
    pub hyper: Vec<(&'a str, Value<'a>)>,
    pub models: Vec<(&'a str, Value<'a>)>,
    pub fields: Vec<hir::Field>,
    pub lets: Vec<&'a ast::Let>,
    /// Predictions by name, where a metric may speak of them.
    pub predicted: Vec<(&'a ast::Name, &'a ast::Expr)>,
    /// Numbers fitted after training, by name.
    pub fitted: Vec<(&'a str, Value<'a>)>,
    /// What a metric of one's own is applied to, where that is not all that is written.
    pub metric_args: Option<&'a [ast::Arg]>,
    /// Which objective is at hand, from 0.
    pub step: usize,
    /// What fields become in training, where a loss is computed.
    pub augment: Vec<(&'a ast::Name, &'a ast::Expr)>,
    /// Sizes of the models' signatures, once the loss has applied them: `per T`.
    pub sizes: Vec<(&'a str, Size)>,
}

/// Examples a step where the block does not say.
const BATCH: i64 = 32;

impl<'a> Checker<'a> {
    pub fn trains(&mut self) {
        let file = self.items.main();
        let mut names: HashMap<&'a str, Span> = HashMap::new();
        for item in self.items.of(file) {
            match &item.kind {
                ItemKind::Train(train) => {
                    if let Some(first) = names.insert(&train.name.text, train.name.span) {
                        self.say(
                            Diagnostic::error("duplicate-name", format!("`{}` is defined twice", train.name))
                                .primary(train.name.span, "here again")
                                .secondary(first, "first here"),
                        );
                        continue;
                    }
                    if self.options.train.as_ref().is_some_and(|only| *only != train.name.text) {
                        continue;
                    }
                    if let Some(train) = self.train(train, item.span, file) {
                        self.hir.trains.push(train);
                    }
                    self.bodies.clear();
                    self.calls.clear();
                }
                ItemKind::Tune(tune) => self.not_built(
                    tune.name.span,
                    "`tune`",
                    "train once for each setting with `--set name=value` for now",
                ),
                ItemKind::Expect(_)
                | ItemKind::Use(_)
                | ItemKind::Data(_)
                | ItemKind::Fn(_)
                | ItemKind::Layer(_)
                | ItemKind::Model(_)
                | ItemKind::Optimizer(_)
                | ItemKind::Type(_)
                | ItemKind::Alphabet(_)
                | ItemKind::Const(_)
                | ItemKind::Let(_)
                | ItemKind::Error => {}
            }
        }
        self.expectations();
    }

    pub fn not_built(&mut self, span: Span, what: &str, instead: &str) {
        self.say(
            Diagnostic::error("not-built-yet", format!("{what} is part of the language but not built yet"))
                .primary(span, "not built yet")
                .help(instead.to_string()),
        );
    }

    fn train(&mut self, train: &'a ast::Train, span: Span, file: FileAt) -> Option<hir::Train> {
        let before = self.errors();
        self.start_program();
        let entries = self.entries(train);
        self.bodies.push(Body::new(file, BodyKind::Objective, None));
        let mut stage = Stage {
            file,
            hyper: Vec::new(),
            models: Vec::new(),
            fields: Vec::new(),
            lets: entries.own.lets.clone(),
            predicted: Vec::new(),
            fitted: Vec::new(),
            metric_args: None,
            step: 0,
            augment: Vec::new(),
            sizes: Vec::new(),
        };
        let mut shown_hyper = Vec::new();
        for param in &train.hyper {
            let Some(default) = &param.default else {
                self.say(
                    Diagnostic::error("missing-argument", format!("`{}` has no value", param.name))
                        .primary(param.span, "a `train` block is applied by nobody")
                        .help(format!("give it a default: `{}: {} = ..`", param.name, self.text(param.ty.span))),
                );
                continue;
            };
            let Some(value) = self.hyper_value(param, default) else {
                // The name is there all the same: its uses are no mistakes of their own.
                self.body().bind(&param.name.text, Binding::Value(Value::Error));
                stage.hyper.push((&param.name.text, Value::Error));
                continue;
            };
            shown_hyper.push((param.name.text.clone(), value.shown().replace('`', "")));
            self.body().bind(&param.name.text, Binding::Value(value.clone()));
            stage.hyper.push((&param.name.text, value));
        }
        let mut models = Vec::new();
        for (name, value) in &entries.models {
            let value = self.model(name, value);
            if let Value::Callable(callable) = &value
                && let Callable::Layer(layer) = &**callable
            {
                for (hyper, value) in &layer.hyper {
                    shown_hyper.push((format!("{name}.{hyper}"), value.shown().replace('`', "")));
                }
                models.push((Name::from(name.text.as_str()), layer.shown.clone()));
            }
            self.body().bind(&name.text, Binding::Value(value.clone()));
            stage.models.push((&name.text, value));
        }
        let mut facts = self.data_of(train, &entries, file)?;
        entries_may_be_missing(&mut facts, &entries);
        self.clashes(&facts, &stage, &entries);
        let texts = facts.texts.clone();
        self.texts.clone_from(&texts);
        let training_rows = self.training_rows(&entries, &facts, file);
        stage.fields = self.read_fields(&facts.fields, &entries, &training_rows.augment);
        if let Some(block) = self.items.find_data(file, &facts.name) {
            stage.fields.iter_mut().for_each(|field| from_data(field, block));
        }
        let written: Vec<&entries::Objective<'a>> = entries.objectives().collect();
        let mut objectives = Vec::new();
        let mut missing = false;
        for (step, written) in written.iter().enumerate() {
            self.in_step(&mut stage, &entries, step, written);
            let Some((loss, per)) = written.loss else {
                missing = true;
                if entries.has_unknown {
                    continue;
                }
                let (what, span) = match written.name {
                    Some(name) => (format!("the step `{name}`"), name.span),
                    None => (format!("`{}`", train.name), train.name.span),
                };
                self.say(
                    Diagnostic::error("missing-entry", format!("{what} has no loss"))
                        .primary(span, "nothing says what training makes small")
                        .help("add `loss cross_entropy(net(x), y)`"),
                );
                continue;
            };
            stage.augment = training_rows.augment.clone();
            let loss_function = self.objective(&mut stage, "loss", loss, Wanted::Number);
            let per_function = match per {
                Some(per) => self.objective(&mut stage, "per", per, Wanted::Count),
                None => Some(self.one(&stage, loss.span)),
            };
            stage.augment.clear();
            let (Some(loss), Some(per)) = (loss_function, per_function) else { continue };
            objectives.push((
                step,
                hir::Objective {
                    name: written.name.map_or("".into(), |name| name.text.as_str().into()),
                    every: 1,
                    over: Vec::new(),
                    loss,
                    per,
                    penalties: Vec::new(),
                    optimizer: None,
                    clip: None,
                },
            ));
        }
        if objectives.len() < written.len() {
            // Penalties, predictions and scores speak of the same models: what is wrong with them now is most likely the same mistake.
            if !missing {
                written.iter().for_each(|written| self.optimizers_known(written));
                self.settings(train, &entries, &facts);
            }
            return None;
        }
        for (step, objective) in &mut objectives {
            let written = written[*step];
            self.in_step(&mut stage, &entries, *step, written);
            for penalty in &written.penalties {
                let fields = std::mem::take(&mut stage.fields);
                objective.penalties.extend(self.objective(&mut stage, "penalty", penalty, Wanted::Number));
                stage.fields = fields;
            }
        }
        let trained = self.store.params.len();
        stage.lets = entries.own.lets.clone();
        stage.step = 0;
        let mut predictions: Vec<hir::Prediction> = Vec::new();
        let mut fits = Vec::new();
        for (at, (name, value)) in entries.predictions.iter().enumerate() {
            self.fits(&entries, at, &mut stage, &facts, &mut fits);
            if predictions.iter().any(|known| *known.name == *name.text) {
                self.say(
                    Diagnostic::error("duplicate-name", format!("`{name}` is predicted twice"))
                        .primary(name.span, "here again"),
                );
                continue;
            }
            let made = self.objective(&mut stage, &name.text, value, Wanted::Any);
            // Later predictions and metrics may speak of it, unless the data has a field of that name.
            if facts.fields.iter().all(|field| *field.name != *name.text) {
                stage.predicted.push((name, value));
            }
            let Some(function) = made else { continue };
            let ty = self.hir.functions[function.0 as usize].body.ty.clone();
            let units_of = match entries.units_of.get(at).copied().flatten() {
                Some(units) => self.units_of(units, &ty, &facts),
                None => None,
            };
            predictions.push(hir::Prediction {
                name: name.text.as_str().into(),
                function,
                ty,
                units_of,
                classes: None,
            });
        }
        self.fits(&entries, entries.predictions.len(), &mut stage, &facts, &mut fits);
        self.untrained(trained, &entries);
        let reports = self.reports(&entries, &mut stage, &predictions, &facts);
        self.name_classes(&mut predictions, &reports, &facts);
        let frozen = self.frozen(&entries);
        for (step, objective) in &mut objectives {
            let written = written[*step];
            stage.predicted.clear();
            stage.fitted.clear();
            self.in_step(&mut stage, &entries, *step, written);
            objective.every = written.every.map_or(Some(1), |every| self.count(every, "every")).unwrap_or(1);
            objective.over = written.over.iter().filter_map(|path| self.path_of_parameters(path)).collect();
            objective.optimizer = self.optimizers(written, objective, &frozen);
            if let Some((word, value)) = written.clip {
                objective.clip = self.clip(word, value, &mut stage);
            }
        }
        let objectives: Vec<hir::Objective> = objectives.into_iter().map(|(_, objective)| objective).collect();
        if self.errors() == before {
            self.unmoved(&entries, &objectives, &frozen);
        }
        let transfers = self.transfers(&entries);
        let (epochs, batch, split) = self.settings(train, &entries, &facts);
        let parts = entries.batch.and_then(|(_, parts)| parts).map_or(Some(1), |parts| self.count(parts, "parts"));
        let average = entries.average.and_then(|decay| self.average(decay, &mut stage, &objectives));
        if let (Some(2..), Some((_, Some(written)))) = (parts, entries.batch) {
            self.accumulated(written.span, &objectives);
        }
        let metrics = hir::measured(&objectives, &reports);
        // A split with a mistake makes no parts to speak of.
        let parts_known = split.is_some() || entries.split.is_none();
        let stop = match entries.stop {
            Some((when, Some(stall))) if parts_known => self.stop(when, stall, &metrics, split.as_ref()),
            Some((when, None)) if parts_known => self.stop_at(when, &metrics, split.as_ref()),
            Some(_) | None => None,
        };
        for fit in fits.iter().filter(|_| parts_known) {
            let score = hir::Score { part: fit.part, metric: "loss".into(), span: fit.span };
            self.has_part(&score, split.as_ref());
        }
        let keep = match entries.keep {
            Some(e) if parts_known => {
                self.score(e, &metrics, false).inspect(|score| self.has_part(score, split.as_ref()))
            }
            Some(_) | None => None,
        };
        if self.errors() > before {
            return None;
        }
        let roots = objectives.iter().map(|objective| objective.loss);
        let roots: Vec<hir::FunctionId> = roots.chain(predictions.iter().map(|made| made.function)).collect();
        // Exactly how many rows train is known where all of them do; otherwise once they are split.
        let all = facts.rows.filter(|_| split.is_none() && training_rows.resample.is_none());
        let rows = match (batch, all) {
            (Some(batch), Some(rows)) => Rows::of_epoch(batch, parts.unwrap_or(1), rows as i64),
            (_, _) => Rows {
                batch,
                parts: parts.unwrap_or(1),
                trained: facts.rows.map(|rows| trained_rows(rows, split.as_ref())),
                last: None,
            },
        };
        roots.into_iter().for_each(|root| self.suspect(root, rows));
        let store = std::mem::take(&mut self.store);
        Some(hir::Train {
            name: train.name.text.as_str().into(),
            span,
            hyper: shown_hyper,
            models,
            data: facts.name.clone(),
            store,
            inputs: stage.fields.iter().filter(|field| !texts.contains(&field.name)).cloned().collect(),
            objectives,
            predictions,
            fits,
            frozen,
            transfers,
            average,
            parts: parts?,
            epochs: epochs?,
            batch: batch?,
            stop,
            keep,
            split,
            resample: training_rows.resample,
            weights: training_rows.weights,
            reports,
            expectations: Vec::new(),
        })
    }

    /// Epochs, batch size and split, which no other entry can spoil.
    fn settings(
        &mut self,
        train: &'a ast::Train,
        entries: &Entries<'a>,
        facts: &hir::DataFacts,
    ) -> (Option<i64>, Option<i64>, Option<hir::Split>) {
        let epochs = match entries.epochs {
            Some(e) => self.count(e, "epochs"),
            None if entries.objectives().all(|objective| objective.optimizers.is_empty()) => Some(0),
            None if entries.has_unknown => None,
            None => {
                self.say(
                    Diagnostic::error("missing-entry", format!("`{}` does not say how long to train", train.name))
                        .primary(train.name.span, "no `epochs`")
                        .help("add `epochs 40`"),
                );
                None
            }
        };
        let batch = match entries.batch {
            Some((e, _)) => self.count(e, "batch"),
            None => Some(BATCH),
        };
        let split = match entries.split {
            Some(e) => self.split(e, facts),
            None => None,
        };
        (epochs, batch, split)
    }

    /// `model net = SpliceNet()`: an instance called net.
    fn model(&mut self, name: &'a ast::Name, value: &'a ast::Expr) -> Value<'a> {
        let found = self.eval(value, None);
        let callable = match &found {
            Value::Callable(callable) => match &**callable {
                Callable::LayerDef(def, file) => self.configure(def, *file, &[], value.span),
                Callable::Layer(_) | Callable::Chain(_) => found.clone(),
                Callable::Fn(_, _)
                | Callable::Local(_)
                | Callable::Builtin(_)
                | Callable::Partial { .. }
                | Callable::Unknown { .. } => Value::Bool(false),
            },
            Value::Error => Value::Error,
            Value::Run(_) | Value::Size(_) | Value::Number(_) | Value::Bool(_) | Value::Text(_) | Value::List(_) => {
                Value::Bool(false)
            }
        };
        match callable {
            Value::Callable(callable) => self.named(&callable, &name.text),
            Value::Error => Value::Error,
            Value::Run(_) | Value::Size(_) | Value::Number(_) | Value::Bool(_) | Value::Text(_) | Value::List(_) => {
                let shown = self.describe(&found);
                self.fail(
                    Diagnostic::error("not-a-function", format!("`{name}` is no model"))
                        .primary(value.span, format!("this is {shown}"))
                        .help("write `model net = Net()`, with a `model` or `layer` of this file"),
                )
            }
        }
    }

    fn data_of(&mut self, train: &'a ast::Train, entries: &Entries<'a>, file: FileAt) -> Option<hir::DataFacts> {
        let Some(name) = entries.data else {
            if entries.has_unknown {
                return None;
            }
            self.say(
                Diagnostic::error("missing-entry", format!("`{}` has no data", train.name))
                    .primary(train.name.span, "nothing to train on")
                    .help("add `data NAME`, with the name of a `data` block"),
            );
            return None;
        };
        let facts = self.facts.iter().find(|facts| *facts.name == *name.text).cloned();
        if facts.is_none() && self.items.find_data(file, &name.text).is_none() {
            let names: Vec<String> = self.facts.iter().map(|facts| facts.name.to_string()).collect();
            let mut diagnostic = Diagnostic::error("unknown-name", format!("there is no data block `{name}`"))
                .primary(name.span, "not defined in this file");
            if let Some(near) = nearest(&name.text, names.iter().map(String::as_str)) {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            self.say(diagnostic);
        }
        // Without facts the data block had mistakes of its own, which have been said.
        facts
    }

    /// A hyper-parameter or model with the name of a field would hide it.
    fn clashes(&mut self, facts: &hir::DataFacts, stage: &Stage<'a>, entries: &Entries<'a>) {
        for (name, _) in stage.hyper.iter().chain(&stage.models) {
            if facts.fields.iter().any(|field| *field.name == **name) {
                let span = entries.models.iter().find(|(model, _)| model.text == *name).map(|(model, _)| model.span);
                let span = span.or(entries.data.map(|data| data.span)).unwrap_or_default();
                self.say(
                    Diagnostic::error(
                        "duplicate-name",
                        format!("`{name}` is a field of the data and a name of this block"),
                    )
                    .primary(span, format!("`{}` has a field `{name}` too", facts.name))
                    .help("give one of them another name"),
                );
            }
        }
    }

    /// The fields that the block reads, in the order of the data.
    fn read_fields(
        &self,
        fields: &[hir::Field],
        entries: &Entries<'a>,
        augment: &[(&'a ast::Name, &'a ast::Expr)],
    ) -> Vec<hir::Field> {
        let mut read: Vec<&str> = Vec::new();
        let mut exprs: Vec<&'a ast::Expr> = entries.predictions.iter().map(|(_, value)| *value).collect();
        exprs.extend(entries.fits.iter().map(|fit| fit.value));
        exprs.extend(entries.reports.iter().map(|(value, _)| *value).filter(|value| self.is_own_metric(value)));
        for objective in std::iter::once(&entries.own).chain(&entries.steps) {
            exprs.extend(objective.loss.iter().flat_map(|(loss, per)| std::iter::once(*loss).chain(*per)));
            exprs.extend(objective.lets.iter().map(|binding| &binding.value));
        }
        for e in exprs {
            walk::names(e, &mut |name| read.push(&name.text));
        }
        for (name, value) in augment {
            if read.contains(&name.text.as_str()) {
                walk::names(value, &mut |name| read.push(&name.text));
            }
        }
        fields.iter().filter(|field| read.contains(&&*field.name)).cloned().collect()
    }

    /// What an objective sees: the block's `let`s and its own.
    fn in_step(&mut self, stage: &mut Stage<'a>, entries: &Entries<'a>, step: usize, written: &entries::Objective<'a>) {
        stage.step = step;
        stage.lets = entries.own.lets.clone();
        if written.name.is_some() {
            stage.lets.extend(&written.lets);
        }
    }
}

/// `split entries(y, ..)`: in each part the entries of the other parts are missing.
fn entries_may_be_missing(facts: &mut hir::DataFacts, entries: &Entries) {
    let Some((word, args)) = entries.split.and_then(walk::application) else { return };
    let (true, Some(ast::Arg { kind: ast::ArgKind::Positional(field), .. })) = (word.text == "entries", args.first())
    else {
        return;
    };
    let ast::ExprKind::Name(field) = &field.kind else { return };
    for known in facts.fields.iter_mut().filter(|known| *known.name == *field.text) {
        if let Type::Tensor(ty) = &mut known.ty {
            ty.optional = true;
        }
    }
}

/// Sizes of a field come from where it is written in the data block.
fn from_data(field: &mut hir::Field, block: &ast::Data) {
    let fields = block
        .entries
        .iter()
        .filter_map(|entry| if let ast::DataEntryKind::Field(known) = &entry.kind { Some(known) } else { None });
    let written = fields.into_iter().find(|known| *known.name.text == *field.name).map(|known| known.value.span);
    if let (Some(span), Type::Tensor(tensor)) = (written, &mut field.ty) {
        for axis in &mut tensor.shape {
            if axis.origin.is_none() {
                axis.origin = crate::checker::because(span, format!("`{}` has this size in the data", field.name));
            }
        }
    }
}

/// How many of so many rows train, about.
fn trained_rows(rows: usize, split: Option<&hir::Split>) -> i64 {
    let share = match split {
        None => 1.0,
        Some(hir::Split::Random { train, .. }) => *train,
        Some(hir::Split::Time { valid, test, .. }) => 1.0 - valid - test,
        Some(hir::Split::KFold { folds, .. }) => 1.0 - 1.0 / (*folds).max(2) as f64,
        Some(hir::Split::Identity { folds, .. } | hir::Split::Scaffold { folds, .. }) if *folds > 1 => {
            1.0 - 1.0 / *folds as f64
        }
        Some(hir::Split::Identity { train, .. } | hir::Split::Scaffold { train, .. }) => *train,
        // Elements are split, not rows.
        Some(hir::Split::Entries { .. }) => 1.0,
        // Which rows train is in the file.
        Some(hir::Split::Given { .. } | hir::Split::By { .. } | hir::Split::LeaveOneOut) => 0.0,
    };
    (rows as f64 * share).round() as i64
}
