//! `train` blocks: entries in any order, each meaning one thing, to one [`hir::Train`].
//!
//! The loss, what it is divided by, penalties and predictions are functions of one example whose inputs are the fields of the data.
//! Each is built in a body of its own; parameters meet in the program's table by their paths. The order is: models, loss (which
//! makes the parameters that are trained), penalties, predictions, optimisers.

use crate::checker::{Binding, Body, BodyKind, Checker, with_lets};
use crate::hir::{self, FunctionId, Name, Scalar, TensorType, Type};
use crate::scope::FileAt;
use crate::suggest::nearest;
use crate::value::{Callable, Size, Value, number, show_type};
use crate::walk;
use bdl_grammar::ast::{self, ItemKind, TrainEntryKind};
use bdl_grammar::{Diagnostic, Span};
use std::collections::HashMap;

/// The entries of a block, sorted by what they are.
#[derive(Default)]
pub(crate) struct Entries<'a> {
    pub models: Vec<(&'a ast::Name, &'a ast::Expr)>,
    pub data: Option<&'a ast::Name>,
    pub lets: Vec<&'a ast::Let>,
    pub split: Option<&'a ast::Expr>,
    pub loss: Option<(&'a ast::Expr, Option<&'a ast::Expr>)>,
    pub penalties: Vec<&'a ast::Expr>,
    pub optimizers: Vec<(&'a ast::Expr, &'a [ast::Expr])>,
    pub epochs: Option<&'a ast::Expr>,
    pub batch: Option<&'a ast::Expr>,
    pub stop: Option<(&'a ast::Expr, &'a ast::Stall)>,
    pub keep: Option<&'a ast::Expr>,
    pub clip: Option<(&'a ast::Name, &'a ast::Expr)>,
    pub predictions: Vec<(&'a ast::Name, &'a ast::Expr)>,
    pub reports: Vec<(&'a ast::Expr, Option<&'a ast::Expr>)>,
}

/// What every function of the block sees.
pub(crate) struct Stage<'a> {
    pub file: FileAt,
    pub hyper: Vec<(&'a str, Value<'a>)>,
    pub models: Vec<(&'a str, Value<'a>)>,
    pub fields: Vec<hir::Field>,
    pub lets: Vec<&'a ast::Let>,
    /// Sizes of the models' signatures, once the loss has applied them: `per T`.
    pub sizes: Vec<(&'a str, Size)>,
}

const WORDS: [&str; 16] = [
    "model",
    "data",
    "let",
    "split",
    "loss",
    "penalty",
    "optimizer",
    "epochs",
    "batch",
    "stop",
    "keep",
    "clip",
    "predict",
    "report",
    "fit",
    "frozen",
];

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
            lets: entries.lets.clone(),
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
        let facts = self.data_of(train, &entries, file)?;
        self.clashes(&facts, &stage, &entries);
        let texts = facts.texts.clone();
        stage.fields = self.read_fields(&facts.fields, &entries);
        if let Some(block) = self.items.find_data(file, &facts.name) {
            stage.fields.iter_mut().for_each(|field| from_data(field, block));
        }
        let Some((loss, per)) = entries.loss else {
            self.say(
                Diagnostic::error("missing-entry", format!("`{}` has no loss", train.name))
                    .primary(train.name.span, "nothing says what training makes small")
                    .help("add `loss cross_entropy(net(x), y)`"),
            );
            return None;
        };
        let loss_function = self.objective(&mut stage, "loss", loss, Wanted::Number);
        let per_function = match per {
            Some(per) => self.objective(&mut stage, "per", per, Wanted::Count),
            None => Some(self.one(&stage, loss.span)),
        };
        if loss_function.is_none() {
            // Penalties, predictions and scores speak of the same models: what is wrong with them now is most likely the same mistake.
            let trained = self.store.params.len();
            self.optimizers(&entries, &stage, trained, false);
            self.settings(train, &entries, &facts);
            return None;
        }
        let mut penalties = Vec::new();
        for penalty in &entries.penalties {
            let fields = std::mem::take(&mut stage.fields);
            penalties.extend(self.objective(&mut stage, "penalty", penalty, Wanted::Number));
            stage.fields = fields;
        }
        let trained = self.store.params.len();
        let mut predictions: Vec<hir::Prediction> = Vec::new();
        for (name, value) in &entries.predictions {
            if predictions.iter().any(|known| *known.name == *name.text) {
                self.say(
                    Diagnostic::error("duplicate-name", format!("`{name}` is predicted twice"))
                        .primary(name.span, "here again"),
                );
                continue;
            }
            let Some(function) = self.objective(&mut stage, &name.text, value, Wanted::Any) else { continue };
            let ty = self.hir.functions[function.0 as usize].body.ty.clone();
            predictions.push(hir::Prediction { name: name.text.as_str().into(), function, ty, classes: None });
        }
        self.untrained(trained, &entries);
        let reports = self.reports(&entries, &predictions, &facts);
        self.name_classes(&mut predictions, &reports, &facts);
        let optimizer = self.optimizers(&entries, &stage, trained, loss_function.is_some());
        let (epochs, batch, split) = self.settings(train, &entries, &facts);
        let metrics: Vec<String> = reports.iter().map(|report| report.metric.to_string()).collect();
        // A split with a mistake makes no parts to speak of.
        let parts_known = split.is_some() || entries.split.is_none();
        let stop = match entries.stop {
            Some((when, stall)) if parts_known => self.stop(when, stall, &metrics, split.as_ref()),
            Some(_) | None => None,
        };
        let keep = match entries.keep {
            Some(e) if parts_known => {
                self.score(e, &metrics, false).inspect(|score| self.has_part(score, split.as_ref()))
            }
            Some(_) | None => None,
        };
        let clip = match entries.clip {
            Some((word, value)) => self.clip(word, value, &mut stage),
            None => None,
        };
        if self.errors() > before {
            return None;
        }
        let store = std::mem::take(&mut self.store);
        Some(hir::Train {
            name: train.name.text.as_str().into(),
            span,
            hyper: shown_hyper,
            models,
            data: facts.name.clone(),
            store,
            inputs: stage.fields.iter().filter(|field| !texts.contains(&field.name)).cloned().collect(),
            loss: loss_function?,
            per: per_function?,
            penalties,
            predictions,
            optimizer,
            clip,
            epochs: epochs?,
            batch: batch?,
            stop,
            keep,
            split,
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
            None if entries.optimizers.is_empty() => Some(0),
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
            Some(e) => self.count(e, "batch"),
            None => Some(BATCH),
        };
        let split = match entries.split {
            Some(e) => self.split(e, facts),
            None => None,
        };
        (epochs, batch, split)
    }

    /// Sorts the entries; each that may stand once stands once, and what is not built is said.
    fn entries(&mut self, train: &'a ast::Train) -> Entries<'a> {
        let mut entries = Entries::default();
        let mut seen: HashMap<&'static str, Span> = HashMap::new();
        for entry in &train.entries {
            let mut once = |checker: &mut Self, word: &'static str| {
                if let Some(first) = seen.insert(word, entry.span) {
                    checker.say(
                        Diagnostic::error("duplicate-name", format!("`{word}` stands twice"))
                            .primary(entry.span, "here again")
                            .secondary(first, "first here"),
                    );
                }
            };
            match &entry.kind {
                TrainEntryKind::Model { name, value, from } => {
                    if let Some(from) = from {
                        self.not_built(
                            from.span,
                            "starting from stored weights (`from`)",
                            "train from the beginning for now",
                        );
                    }
                    entries.models.push((name, value));
                }
                TrainEntryKind::Data(name) => {
                    once(self, "data");
                    entries.data = Some(name);
                }
                TrainEntryKind::Let(binding) => entries.lets.push(binding),
                TrainEntryKind::Split(value) => {
                    once(self, "split");
                    entries.split = Some(value);
                }
                TrainEntryKind::Loss { value, per } => {
                    once(self, "loss");
                    entries.loss = Some((value, per.as_ref()));
                }
                TrainEntryKind::Penalty(value) => entries.penalties.push(value),
                TrainEntryKind::Optimizer { value, over } => entries.optimizers.push((value, over)),
                TrainEntryKind::Epochs(value) => {
                    once(self, "epochs");
                    entries.epochs = Some(value);
                }
                TrainEntryKind::Batch(value) => {
                    once(self, "batch");
                    entries.batch = Some(value);
                }
                TrainEntryKind::Stop { when, stalls: Some(stall) } => {
                    once(self, "stop");
                    entries.stop = Some((when, stall));
                }
                TrainEntryKind::Stop { when, stalls: None } => {
                    self.not_built(
                        when.span,
                        "`stop when` with a condition",
                        "write `stop when valid.loss stalls for 5 epochs`",
                    );
                }
                TrainEntryKind::Keep { word, value } => {
                    once(self, "keep");
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
                TrainEntryKind::Clip { word, value } => {
                    once(self, "clip");
                    entries.clip = Some((word, value));
                }
                TrainEntryKind::Predict { name, value, units_of } => {
                    if let Some(units) = units_of {
                        self.not_built(
                            units.span,
                            "`as` (predictions in the units of a column)",
                            "leave it out and scale the result by hand",
                        );
                    }
                    entries.predictions.push((name, value));
                }
                TrainEntryKind::Report { values, by } => {
                    entries.reports.extend(values.iter().map(|value| (value, by.as_ref())))
                }
                TrainEntryKind::Fit { name, .. } => {
                    self.not_built(name.span, "`fit`", "choose the number by hand and write it down")
                }
                TrainEntryKind::Frozen { .. } => self.not_built(entry.span, "`frozen`", "leave it out"),
                TrainEntryKind::Step { name, .. } => {
                    self.not_built(
                        name.span,
                        "`step` (several objectives in one `train`)",
                        "one `loss` and one `optimizer` for now",
                    );
                }
                TrainEntryKind::Rows(_) => self.not_built(entry.span, "`rows`", "leave it out"),
                TrainEntryKind::Weights(_) => {
                    self.not_built(
                        entry.span,
                        "`weights`",
                        "weigh inside the loss: `cross_entropy(net(x), y, class_weights: [1, 3])`",
                    );
                }
                TrainEntryKind::Augment(_) => self.not_built(entry.span, "`augment`", "leave it out"),
                TrainEntryKind::Word { word, .. } => {
                    let mut diagnostic =
                        Diagnostic::error("unknown-entry", format!("a `train` block has no entry `{word}`"))
                            .primary(word.span, "not known")
                            .note(format!("its entries are {}", WORDS.join(", ")));
                    if let Some(near) = nearest(&word.text, WORDS) {
                        diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                    }
                    self.say(diagnostic);
                }
                TrainEntryKind::Error => {}
            }
        }
        entries
    }

    /// `model net = SpliceNet()`: an instance called net.
    fn model(&mut self, name: &'a ast::Name, value: &'a ast::Expr) -> Value<'a> {
        let found = self.eval(value, None);
        let callable = match &found {
            Value::Callable(callable) => match &**callable {
                Callable::LayerDef(def, file) => self.configure(def, *file, &[], value.span),
                Callable::Layer(_) | Callable::Chain(_) => found.clone(),
                Callable::Fn(_, _) | Callable::Builtin(_) | Callable::Partial(_, _) | Callable::Unknown { .. } => {
                    Value::Bool(false)
                }
            },
            Value::Error => Value::Error,
            Value::Run(_) | Value::Size(_) | Value::Number(_) | Value::Bool(_) | Value::Text(_) | Value::List(_) => {
                Value::Bool(false)
            }
        };
        match callable {
            Value::Callable(callable) => self.named(&callable, &name.text),
            Value::Error => Value::Error,
            _ => {
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
    fn read_fields(&self, fields: &[hir::Field], entries: &Entries<'a>) -> Vec<hir::Field> {
        let mut read: Vec<&str> = Vec::new();
        let exprs = entries.loss.iter().flat_map(|(loss, per)| std::iter::once(*loss).chain(*per));
        let exprs = exprs
            .chain(entries.lets.iter().map(|binding| &binding.value))
            .chain(entries.predictions.iter().map(|(_, value)| *value));
        for e in exprs {
            walk::names(e, &mut |name| read.push(&name.text));
        }
        fields.iter().filter(|field| read.contains(&&*field.name)).cloned().collect()
    }

    /// A function of one example: fields in, the expression's value out.
    pub(crate) fn objective(
        &mut self,
        stage: &mut Stage<'a>,
        name: &str,
        e: &'a ast::Expr,
        wanted: Wanted,
    ) -> Option<FunctionId> {
        self.applied.clear();
        let mut body = Body::new(stage.file, BodyKind::Objective, None);
        for (name, value) in stage.hyper.iter().chain(&stage.models) {
            body.bind(name, Binding::Value(value.clone()));
        }
        for (name, size) in &stage.sizes {
            body.bind(name, Binding::Value(Value::Size(size.clone())));
        }
        self.bodies.push(body);
        let mut inputs = Vec::new();
        for field in stage.fields.clone() {
            let local = self.body().new_local(field.name.clone(), field.ty, e.span);
            inputs.push((field.name, local));
        }
        // Names of fields live as long as the program's facts do.
        for (name, local) in &inputs {
            let known = self.facts.iter().flat_map(|facts| &facts.fields).find(|field| field.name == *name);
            if let Some(field) = known {
                let value = self.here().local(*local, e.span);
                let name: &'a str = &field.name;
                self.body().bind(name, Binding::Value(Value::Run(value)));
            }
        }
        let term = self.objective_term(stage, e, wanted);
        let done = self.bodies.pop()?;
        for (name, binding) in done.scopes.first().into_iter().flatten() {
            if let Binding::Value(Value::Size(size)) = binding
                && !stage.sizes.iter().any(|(known, _)| known == name)
                && !stage.hyper.iter().any(|(known, _)| known == name)
            {
                stage.sizes.push((name, size.clone()));
            }
        }
        let term = term?;
        self.hir.functions.push(hir::Function {
            name: name.into(),
            shown: name.to_string(),
            path: None,
            locals: done.locals,
            indices: done
                .indices
                .into_iter()
                .map(|info| hir::IndexVar { name: info.name, kind: info.kind, span: info.span })
                .collect(),
            inputs: inputs.into_iter().map(|(_, local)| local).collect(),
            body: with_lets(done.blocks.into_iter().next().unwrap_or_default(), term),
            updates: done.updates,
            span: e.span,
        });
        Some(FunctionId((self.hir.functions.len() - 1) as u32))
    }

    fn objective_term(&mut self, stage: &Stage<'a>, e: &'a ast::Expr, wanted: Wanted) -> Option<hir::Expr> {
        let mut needed: Vec<&str> = Vec::new();
        walk::names(e, &mut |name| needed.push(&name.text));
        for binding in stage.lets.iter().rev() {
            if needed.contains(&binding.name.text.as_str()) {
                walk::names(&binding.value, &mut |name| needed.push(&name.text));
            }
        }
        for binding in &stage.lets {
            if needed.contains(&binding.name.text.as_str()) {
                let statement = match &binding.binders {
                    Some(binders) => self.for_each(binders, &binding.value, binding.value.span),
                    None => self.eval(&binding.value, None),
                };
                let value = match statement {
                    Value::Run(term) => {
                        let local = self.let_local(&binding.name.text, term, binding.name.span);
                        Value::Run(self.here().local(local, binding.name.span))
                    }
                    value => value,
                };
                self.body().bind(&binding.name.text, Binding::Value(value));
            }
        }
        // A loss in braces may take the sizes that its lines found.
        let value = match &e.kind {
            ast::ExprKind::Block(block) => self.statements(block, None).unwrap_or_else(|| {
                self.fail(
                    Diagnostic::error("no-value", "this block has no value")
                        .primary(e.span, "it does not end with an expression"),
                )
            }),
            _ => self.eval(e, None),
        };
        if matches!(value, Value::Error) {
            self.finish_statement();
            return None;
        }
        let term = self.term_of(value, e.span, None);
        self.finish_statement();
        match wanted {
            Wanted::Any if term.is_error() => None,
            Wanted::Any => Some(term),
            Wanted::Number | Wanted::Count => self.single_number(term, e, wanted),
        }
    }

    fn single_number(&mut self, term: hir::Expr, e: &'a ast::Expr, wanted: Wanted) -> Option<hir::Expr> {
        let what = if wanted == Wanted::Count { "what the loss is divided by" } else { "a loss" };
        match &term.ty {
            Type::Tensor(TensorType { scalar, optional: false, shape }) if shape.is_empty() => {
                if scalar.is_real() {
                    return Some(term);
                }
                if scalar.is_whole() {
                    return Some(crate::operators::to_real(term));
                }
                if *scalar == Scalar::Bool && wanted == Wanted::Count {
                    // `per event`: yes counts as 1.
                    let span = term.span;
                    let ty = crate::value::scalar_type(Scalar::F32);
                    return Some(crate::value::expr(
                        hir::ExprKind::Unary(hir::UnaryOp::ToReal, Box::new(term)),
                        ty,
                        span,
                    ));
                }
            }
            Type::Tensor(_) | Type::Record(_) => {}
            Type::Error => return None,
        }
        let shown = show_type(&term.ty);
        self.say(
            Diagnostic::error(
                "loss-not-a-number",
                format!("{what} is one number for one example, but this is {shown}"),
            )
            .primary(e.span, format!("this is {shown}"))
            .help("reduce it: `mean[t] ..` or `sum[t] .. per T`"),
        );
        None
    }

    /// `per 1`.
    fn one(&mut self, stage: &Stage<'a>, span: Span) -> FunctionId {
        let locals: Vec<hir::Local> = stage
            .fields
            .iter()
            .map(|field| hir::Local { name: field.name.clone(), ty: field.ty.clone(), span })
            .collect();
        let inputs = (0..locals.len()).map(|at| hir::LocalId(at as u32)).collect();
        self.hir.functions.push(hir::Function {
            name: "per".into(),
            shown: "per".into(),
            path: None,
            locals,
            indices: Vec::new(),
            inputs,
            body: number(1.0, span),
            updates: Vec::new(),
            span,
        });
        FunctionId((self.hir.functions.len() - 1) as u32)
    }

    /// Parameters that only predictions read are never trained.
    fn untrained(&mut self, trained: usize, entries: &Entries<'a>) {
        let paths: Vec<String> = self.store.params[trained..].iter().map(|param| param.path.to_string()).collect();
        let (Some(first), Some((name, value))) = (paths.first(), entries.predictions.first()) else { return };
        let _ = name;
        self.say(
            Diagnostic::warning("no-gradient", format!("`{first}` is not part of the loss and keeps its first value"))
                .primary(value.span, "predictions read parameters that the loss does not")
                .note(format!("not trained: {}", paths.join(", ")))
                .help("let the loss use the same instance as the prediction"),
        );
    }

    fn optimizers(
        &mut self,
        entries: &Entries<'a>,
        stage: &Stage<'a>,
        trained: usize,
        sound: bool,
    ) -> Option<hir::Optimizer> {
        let mut parts: Vec<hir::OptimizerPart> = Vec::new();
        let mut shown = Vec::new();
        for (value, over) in &entries.optimizers {
            let Some((def, file, args)) = self.optimizer_of(value) else { continue };
            let Some((hyper, text)) = self.hypers(&def.name, &def.hyper, &def.inputs, file, args, value.span) else {
                continue;
            };
            shown.push(text.clone());
            if !sound {
                continue;
            }
            let mut prefixes = Vec::new();
            for path in over.iter() {
                match path.as_path() {
                    Some(names) => {
                        prefixes.push(names.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join("."))
                    }
                    None => self.say(
                        Diagnostic::error("unknown-name", "`over` takes paths of parameters")
                            .primary(path.span, "such as `net.trunk`"),
                    ),
                }
            }
            let mut any = false;
            for at in 0..trained {
                let param = self.store.params[at].clone();
                let inside = |prefix: &String| *param.path == **prefix || param.path.starts_with(&format!("{prefix}."));
                if !prefixes.is_empty() && !prefixes.iter().any(inside) {
                    continue;
                }
                any = true;
                let id = hir::ParamId(at as u32);
                if parts.iter().any(|part| part.param == id) {
                    self.say(
                        Diagnostic::error("duplicate-name", format!("two optimizers change `{}`", param.path))
                            .primary(value.span, "this one too")
                            .help("divide the parameters with `over net.trunk`"),
                    );
                    break;
                }
                let Some(function) = self.optimizer_part(def, file, &hyper, &text, &param.ty, &param.path, value.span)
                else {
                    break;
                };
                parts.push(hir::OptimizerPart { param: id, function });
            }
            if !any && !prefixes.is_empty() {
                self.say(
                    Diagnostic::error(
                        "unknown-name",
                        format!("the loss reads no parameter under `{}`", prefixes.join("`, `")),
                    )
                    .primary(value.span, "nothing to train"),
                );
            }
        }
        let _ = stage;
        if entries.optimizers.is_empty() { None } else { Some(hir::Optimizer { shown: shown.join(", "), parts }) }
    }

    fn optimizer_of(&mut self, value: &'a ast::Expr) -> Option<(&'a ast::Optimizer, FileAt, &'a [ast::Arg])> {
        let Some((name, args)) = walk::application(value) else { return self.no_optimizer(value) };
        let file = self.here().file;
        match self.items.find(file, &name.text) {
            Some(def) => match &def.item.kind {
                ItemKind::Optimizer(optimizer) => {
                    if self.poisoned.contains(&(def.file, name.text.clone())) {
                        return None;
                    }
                    Some((optimizer, def.file, args))
                }
                _ => self.no_optimizer(value),
            },
            None => {
                let names: Vec<&str> = self.items.visible(file);
                let optimizers = names.into_iter().filter(|name| {
                    self.items.find(file, name).is_some_and(|def| matches!(def.item.kind, ItemKind::Optimizer(_)))
                });
                let optimizers: Vec<&str> = optimizers.collect();
                let mut diagnostic = Diagnostic::error("unknown-name", format!("there is no optimizer `{name}`"))
                    .primary(name.span, "not known")
                    .note(format!("there are {}", optimizers.join(", ")));
                if let Some(near) = nearest(&name.text, optimizers) {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                self.say(diagnostic);
                None
            }
        }
    }

    fn no_optimizer<T>(&mut self, value: &'a ast::Expr) -> Option<T> {
        self.say(
            Diagnostic::error("not-a-function", format!("`{}` is no optimizer", self.text(value.span)))
                .primary(value.span, "an `optimizer` is expected")
                .help("write `optimizer adam(1e-3)`"),
        );
        None
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

/// What an objective must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Number,
    Count,
    Any,
}
