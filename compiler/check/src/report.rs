//! What is measured: scores, reports, expectations, and the numbers of a `train` block.

use crate::checker::Checker;
use crate::hir::{
    self, BinaryOp, DataFacts, Expectation, Name, Part, Prediction, Report, ReportArg, Scalar, Score, Split, Type,
};
use crate::operators::op_of;
use crate::suggest::nearest;
use crate::train::{Entries, Stage};
use crate::value::{Value, show_type};
use crate::walk;
use bdl_grammar::ast::{self, ArgKind, ItemKind};
use bdl_grammar::{Diagnostic, Span};
use std::sync::Arc;

/// Metrics about classes and yes-or-no questions; the prediction holds probabilities.
const CHOICES: [&str; 11] = [
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "mcc",
    "auroc",
    "auprc",
    "log_loss",
    "brier",
    "confusion",
];
/// Metrics about quantities.
const QUANTITIES: [&str; 6] = ["mse", "rmse", "mae", "r2", "pearson", "spearman"];

pub(crate) fn metrics() -> impl Iterator<Item = &'static str> {
    CHOICES.into_iter().chain(QUANTITIES).chain(["concordance"])
}

impl<'a> Checker<'a> {
    /// A natural number of at least 1: epochs, batch.
    pub(crate) fn count(&mut self, e: &'a ast::Expr, what: &str) -> Option<i64> {
        let size = self.size(e)?;
        match size.dim.as_const() {
            Some(count) if count >= 1 => Some(count),
            Some(count) => {
                self.say(
                    Diagnostic::error("wrong-number", format!("`{what}` is at least 1, not {count}"))
                        .primary(e.span, "too small"),
                );
                None
            }
            None => {
                self.say(
                    Diagnostic::error("not-static", format!("`{what}` is a number known before the run"))
                        .primary(e.span, format!("this is {}", size.dim)),
                );
                None
            }
        }
    }

    pub(crate) fn plain_number(&mut self, e: &'a ast::Expr) -> Option<f64> {
        let value = self.eval(e, None);
        match value.as_number() {
            Some(number) => Some(number),
            None => {
                if !matches!(value, Value::Error) {
                    let shown = self.describe(&value);
                    self.say(
                        Diagnostic::error("not-static", "a number known before the run is expected")
                            .primary(e.span, format!("this is {shown}")),
                    );
                }
                None
            }
        }
    }

    /// A field of the data by its name.
    pub(crate) fn field_name(&mut self, e: &'a ast::Expr, facts: &DataFacts) -> Option<Name> {
        let names: Vec<Name> =
            facts.fields.iter().map(|field| field.name.clone()).chain(facts.texts.iter().cloned()).collect();
        if let ast::ExprKind::Name(name) = &e.kind {
            if let Some(found) = names.iter().find(|known| ***known == *name.text) {
                return Some(found.clone());
            }
            let near = nearest(&name.text, names.iter().map(|name| &**name));
            let mut diagnostic = Diagnostic::error("unknown-name", format!("`{}` has no field `{name}`", facts.name))
                .primary(name.span, "not a field of the data")
                .note(format!("its fields are {}", names.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(", ")));
            if let Some(near) = near {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            self.say(diagnostic);
            return None;
        }
        self.say(
            Diagnostic::error("wrong-arguments", "a field of the data is expected")
                .primary(e.span, "not the name of a field")
                .help("give the column a name in the data block first"),
        );
        None
    }

    // -------------------------------------------------------------------------------------------- scores

    /// `valid.loss`, `test.accuracy`. Only reports and expectations may read the test part.
    pub(crate) fn score(&mut self, e: &'a ast::Expr, metrics_known: &[String], test_allowed: bool) -> Option<Score> {
        let path = e.as_path();
        let names: Vec<&ast::Name> = path.unwrap_or_default();
        let [part, metric] = names.as_slice() else {
            self.say(
                Diagnostic::error("wrong-arguments", "a score is a part and what is measured on it")
                    .primary(e.span, "not a score")
                    .help("write `valid.loss` or the name of a reported metric, `valid.auroc`"),
            );
            return None;
        };
        let part = match part.text.as_str() {
            "train" => Part::Train,
            "valid" => Part::Valid,
            "test" if test_allowed => Part::Test,
            "test" => {
                self.say(
                    Diagnostic::error("test-leak", "the test part may not steer training")
                        .primary(e.span, "read before training has ended")
                        .note("a choice made on the test rows makes their score too good, and nothing is left to tell by how much")
                        .help(format!("use `valid.{metric}`")),
                );
                return None;
            }
            _ => {
                self.say(
                    Diagnostic::error("unknown-name", format!("there is no part `{part}`"))
                        .primary(part.span, "parts are train, valid and test"),
                );
                return None;
            }
        };
        if !metrics_known.contains(&metric.text) {
            if self.refused_metrics.contains(metric.text.as_str()) {
                return None;
            }
            // The losses come last, as what is always there.
            let mut known: Vec<&str> = metrics_known.iter().map(String::as_str).collect();
            if known.first() == Some(&"loss") {
                known.rotate_left(1);
            }
            let is_metric = metrics().any(|name| name == metric.text);
            let mut diagnostic = Diagnostic::error("unknown-metric", format!("`{metric}` is not measured here"))
                .primary(metric.span, format!("measured: {}", known.join(", ")));
            diagnostic = match nearest(&metric.text, known.iter().copied()) {
                _ if metric.text == "loss" => {
                    diagnostic.help(format!("each step has a loss of its own: write `{}.{}`", names[0], known[0]))
                }
                Some(near) if !is_metric => diagnostic.help(format!("did you mean `{near}`?")),
                Some(_) | None => diagnostic.help(format!("add it to the reports: `report {metric}(..)`")),
            };
            self.say(diagnostic);
            return None;
        }
        Some(Score { part, metric: metric.text.as_str().into(), span: e.span })
    }

    /// One mistake that several metrics or entries meet is said once.
    fn has_said(&self, code: &str, message: &str) -> bool {
        self.diagnostics.iter().any(|said| said.code == code && said.message == message)
    }

    /// A score on a part that the split does not make is never known.
    pub(crate) fn has_part(&mut self, score: &Score, split: Option<&Split>) {
        let there = match (score.part, split) {
            (Part::Train, _) => true,
            (_, None) => false,
            (Part::Valid, Some(Split::Random { valid, .. })) => *valid > 0.0,
            (Part::Test, Some(Split::Random { test, .. })) => *test > 0.0,
            (_, Some(Split::Given { .. })) => true,
            (Part::Valid, Some(Split::By { valid, .. })) => !valid.is_empty(),
            (Part::Test, Some(Split::By { test, .. })) => !test.is_empty(),
            (Part::Valid, Some(Split::Time { valid, .. })) => *valid > 0.0,
            (Part::Test, Some(Split::Time { test, folds, .. })) => *test > 0.0 || *folds > 1,
            (part, Some(Split::KFold { .. } | Split::LeaveOneOut)) => part == Part::Test,
            (
                Part::Valid,
                Some(Split::Identity { valid, .. } | Split::Scaffold { valid, .. } | Split::Entries { valid, .. }),
            ) => *valid > 0.0,
            (Part::Test, Some(Split::Identity { test, folds, .. } | Split::Scaffold { test, folds, .. })) => {
                *test > 0.0 || *folds > 1
            }
            (Part::Test, Some(Split::Entries { test, .. })) => *test > 0.0,
        };
        if !there {
            let part = if score.part == Part::Valid { "valid" } else { "test" };
            let message = format!("the split makes no {part} part");
            if self.has_said("no-such-part", &message) {
                return;
            }
            self.say(
                Diagnostic::error("no-such-part", message).primary(score.span, format!("`{part}` has no rows")).help(
                    format!(
                        "give it a share: `split random(train: 0.7, valid: 0.15, test: 0.15)`, or use `train.{}`",
                        score.metric
                    ),
                ),
            );
        }
    }

    // -------------------------------------------------------------------------------------------- reports

    pub(crate) fn reports(
        &mut self,
        entries: &Entries<'a>,
        stage: &mut Stage<'a>,
        predictions: &[Prediction],
        facts: &DataFacts,
    ) -> Vec<Report> {
        let mut reports = Vec::new();
        for (value, by) in &entries.reports {
            let by = match by {
                Some(by) => match self.field_name(by, facts) {
                    Some(field) => Some(field),
                    None => continue,
                },
                None => None,
            };
            let report = if self.is_own_metric(value) {
                self.own_metric(value, by, stage)
            } else {
                self.report(value, by, predictions, facts, entries)
            };
            match report {
                Some(report) => reports.push(report),
                None => self.refused_metrics.extend(walk::application(value).map(|(name, _)| name.text.as_str())),
            }
        }
        reports
    }

    fn report(
        &mut self,
        e: &'a ast::Expr,
        by: Option<Name>,
        predictions: &[Prediction],
        facts: &DataFacts,
        entries: &Entries<'a>,
    ) -> Option<Report> {
        let call = walk::application(e).filter(|_| matches!(e.kind, ast::ExprKind::Call { .. }));
        let Some((name, args)) = call else {
            self.say(
                Diagnostic::error("wrong-arguments", "a report is a metric of a prediction and a field")
                    .primary(e.span, "not a metric")
                    .help("write `report accuracy(kind, site)`"),
            );
            return None;
        };
        if !metrics().any(|known| known == name.text) {
            let mut diagnostic = Diagnostic::error("unknown-metric", format!("there is no metric `{name}`"))
                .primary(name.span, "not known")
                .note(format!("there are {}", metrics().collect::<Vec<_>>().join(", ")));
            if let Some(near) = nearest(&name.text, metrics()) {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            self.say(diagnostic);
            return None;
        }
        let (mut positional, mut options) = (Vec::new(), Vec::new());
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(value) => positional.push(value),
                ArgKind::Named { name: option, value } => {
                    if option.text != "threshold" {
                        self.say(
                            Diagnostic::error("unknown-argument", format!("`{name}` has no option `{option}`"))
                                .primary(option.span, "`threshold` is the only one"),
                        );
                        return None;
                    }
                    options.push((option.text.as_str().into(), self.plain_number(value)?));
                }
                ArgKind::Each { .. } | ArgKind::Hole => {
                    self.say(
                        Diagnostic::error("wrong-arguments", "a metric takes a prediction and a field")
                            .primary(arg.span, "neither"),
                    );
                    return None;
                }
            }
        }
        if name.text == "concordance" {
            return self.concordance(name, &positional, by, predictions, facts, entries, e.span);
        }
        let [guess, truth] = positional.as_slice() else {
            self.say(
                Diagnostic::error("wrong-arguments", format!("`{name}` takes a prediction and a field of the data"))
                    .primary(e.span, format!("{} given", positional.len()))
                    .help(format!("write `report {name}(kind, site)`")),
            );
            return None;
        };
        let prediction = self.prediction(guess, predictions, entries)?;
        let truth_name = self.field_name(truth, facts)?;
        let field = facts.fields.iter().find(|field| field.name == truth_name)?;
        self.metric_kinds(name, prediction, guess.span, field, truth.span)?;
        let args = vec![ReportArg::Prediction(prediction.name.clone()), ReportArg::Field(truth_name)];
        Some(Report {
            metric: name.text.as_str().into(),
            args,
            own: None,
            lower_is_better: false,
            options,
            by,
            span: e.span,
        })
    }

    /// `predict y = net(x) as open`: a field of numbers of the same shape.
    pub(crate) fn units_of(&mut self, e: &'a ast::Expr, ty: &Type, facts: &DataFacts) -> Option<Name> {
        let name = self.field_name(e, facts)?;
        let field = facts.fields.iter().find(|field| field.name == name)?;
        let sizes = |ty: &Type| match ty {
            Type::Tensor(t) if t.scalar.is_real() => {
                Some(t.shape.iter().map(|axis| axis.size.clone()).collect::<Vec<_>>())
            }
            Type::Tensor(_) | Type::Record(_) | Type::Error => None,
        };
        match (sizes(ty), sizes(&field.ty)) {
            (Some(made), Some(known)) if made == known => Some(name),
            (_, _) => {
                let (made, known) = (show_type(ty), show_type(&field.ty));
                self.say(
                    Diagnostic::error(
                        "type-mismatch",
                        format!("{made} cannot be in the units of `{name}`, which is {known}"),
                    )
                    .primary(e.span, format!("`{name}` is {known}"))
                    .help("`as` takes a field of numbers of the prediction's own shape"),
                );
                None
            }
        }
    }

    /// `concordance(risk, time, event)`.
    #[allow(clippy::too_many_arguments)]
    fn concordance(
        &mut self,
        name: &ast::Name,
        args: &[&'a ast::Expr],
        by: Option<Name>,
        predictions: &[Prediction],
        facts: &DataFacts,
        entries: &Entries<'a>,
        span: Span,
    ) -> Option<Report> {
        let [risk, time, event] = args else {
            self.say(
                Diagnostic::error("wrong-arguments", "`concordance` takes a risk, a time and whether it is an event's")
                    .primary(span, format!("{} given", args.len()))
                    .help("write `report concordance(risk, time, event)`"),
            );
            return None;
        };
        let prediction = self.prediction(risk, predictions, entries)?;
        let number = |ty: &Type| matches!(ty, Type::Tensor(t) if t.shape.is_empty() && t.scalar.is_real());
        if !number(&prediction.ty) {
            let shown = show_type(&prediction.ty);
            self.say(
                Diagnostic::error("metric-argument", format!("`concordance` takes one number, but this is {shown}"))
                    .primary(risk.span, "the higher, the sooner the event"),
            );
            return None;
        }
        let mut args = vec![ReportArg::Prediction(prediction.name.clone())];
        for (written, wanted) in [(time, "a number"), (event, "a truth value")] {
            let field = self.field_name(written, facts)?;
            let ty = &facts.fields.iter().find(|known| known.name == field)?.ty;
            let truth = matches!(ty, Type::Tensor(t) if t.shape.is_empty() && t.scalar == Scalar::Bool);
            if !(if wanted == "a number" { number(ty) } else { truth }) {
                let shown = show_type(ty);
                self.say(
                    Diagnostic::error(
                        "metric-argument",
                        format!("`{name}` wants {wanted} here, but `{field}` is {shown}"),
                    )
                    .primary(written.span, format!("this is {shown}"))
                    .help("write `concordance(risk, time, event)`"),
                );
                return None;
            }
            args.push(ReportArg::Field(field));
        }
        Some(Report {
            metric: name.text.as_str().into(),
            args,
            own: None,
            lower_is_better: false,
            options: Vec::new(),
            by,
            span,
        })
    }

    fn prediction<'p>(
        &mut self,
        e: &'a ast::Expr,
        predictions: &'p [Prediction],
        entries: &Entries<'a>,
    ) -> Option<&'p Prediction> {
        if let ast::ExprKind::Name(name) = &e.kind {
            if let Some(found) = predictions.iter().find(|prediction| *prediction.name == *name.text) {
                return Some(found);
            }
            // A prediction with a mistake of its own has been spoken of.
            if entries.predictions.iter().any(|(known, _)| known.text == name.text) {
                return None;
            }
        }
        let text = self.text(e.span).to_string();
        if !matches!(e.kind, ast::ExprKind::Name(_)) {
            self.say(
                Diagnostic::error("metric-argument", "a metric takes a prediction by its name")
                    .primary(e.span, "this is an expression")
                    .help(format!("name it: `predict decided = {text}`, then write `decided` here")),
            );
            return None;
        }
        let name = text.as_str();
        let names: Vec<&str> = entries.predictions.iter().map(|(name, _)| name.text.as_str()).collect();
        let mut diagnostic = Diagnostic::error("unknown-name", format!("`{name}` is not the name of a prediction"))
            .primary(
                e.span,
                if names.is_empty() {
                    "nothing is predicted".to_string()
                } else {
                    format!("predicted: {}", names.join(", "))
                },
            );
        diagnostic = match nearest(name, names) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help("name it first: `predict kind = softmax(net(dna))`"),
        };
        self.say(diagnostic);
        None
    }

    /// A metric of choices wants probabilities and classes or truth values; one of quantities wants numbers.
    fn metric_kinds(
        &mut self,
        metric: &ast::Name,
        prediction: &Prediction,
        guess: Span,
        field: &hir::Field,
        truth: Span,
    ) -> Option<()> {
        let (Type::Tensor(made), Type::Tensor(known)) = (&prediction.ty, &field.ty) else {
            self.say(
                Diagnostic::error("metric-argument", format!("`{metric}` takes a tensor"))
                    .primary(guess, format!("this is {}", show_type(&prediction.ty)))
                    .help("predict one field of the record: `predict p = net(x).p`"),
            );
            return None;
        };
        let shown = (show_type(&prediction.ty), show_type(&field.ty));
        let about_choices = CHOICES.contains(&metric.text.as_str());
        let classes = match &known.scalar {
            Scalar::Category(count, _) => Some(count.clone()),
            Scalar::Letter(_, count) => Some(bdl_dims::Dim::from(*count)),
            Scalar::Index(count) => Some(count.clone()),
            Scalar::F32
            | Scalar::F64
            | Scalar::BF16
            | Scalar::I32
            | Scalar::Bool
            | Scalar::Logit
            | Scalar::Prob
            | Scalar::Count => None,
        };
        let truth_fits =
            if about_choices { classes.is_some() || known.scalar == Scalar::Bool } else { known.scalar.is_real() };
        if !truth_fits {
            let (wants, help) = if about_choices {
                ("classes or truth values", "for quantities use mse, mae, r2, pearson or spearman")
            } else {
                ("numbers", "for classes use accuracy, auroc, log_loss or confusion")
            };
            self.say(
                Diagnostic::error(
                    "metric-argument",
                    format!("`{metric}` is about {wants}, but `{}` is {}", field.name, shown.1),
                )
                .primary(truth, format!("this is {}", shown.1))
                .help(help),
            );
            return None;
        }
        // Answers that are decided already can be counted, not ranked.
        let decided = made.scalar == Scalar::Bool
            && known.scalar == Scalar::Bool
            && !matches!(metric.text.as_str(), "auroc" | "auprc" | "log_loss" | "brier");
        if about_choices && made.scalar != Scalar::Prob && !decided {
            let call = if classes.is_some() { "softmax" } else { "sigmoid" };
            let message = format!("`{}` is {}, but metrics of classes take probabilities", prediction.name, shown.0);
            // Once for all metrics of it.
            if self.has_said("metric-argument", &message) {
                return None;
            }
            self.say(
                Diagnostic::error("metric-argument", message)
                    .primary(guess, format!("this is {}", shown.0))
                    .help(format!("predict probabilities: `predict {} = {call}(..)`", prediction.name)),
            );
            return None;
        }
        let mut wanted: Vec<bdl_dims::Dim> = known.shape.iter().map(|axis| axis.size.clone()).collect();
        wanted.extend(classes);
        let given: Vec<bdl_dims::Dim> = made.shape.iter().map(|axis| axis.size.clone()).collect();
        let fits = wanted.len() == given.len() && wanted.iter().zip(&given).all(|(a, b)| self.agree(a, b, guess));
        if !fits {
            let wanted = wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let message =
                format!("`{}` is {}, which does not fit `{}`, {}", prediction.name, shown.0, field.name, shown.1);
            if self.has_said("metric-argument", &message) {
                return None;
            }
            self.say(
                Diagnostic::error("metric-argument", message)
                    .primary(guess, format!("this is {}", shown.0))
                    .secondary(truth, format!("this is {}, so the prediction would be [{wanted}]", shown.1)),
            );
            return None;
        }
        Some(())
    }

    /// Predictions take the class names of the field they are compared with, or of the only category that fits.
    pub(crate) fn name_classes(&self, predictions: &mut [Prediction], reports: &[Report], facts: &DataFacts) {
        for prediction in predictions {
            let Type::Tensor(ty) = &prediction.ty else { continue };
            // Names of genes along a profile are no classes to choose from.
            let choice = matches!(ty.scalar, Scalar::Prob | Scalar::Logit);
            let own = ty.shape.last().filter(|_| choice).and_then(|axis| axis.names.clone());
            let compared = reports.iter().find_map(|report| match report.args.as_slice() {
                [ReportArg::Prediction(name), ReportArg::Field(field)] if *name == prediction.name => {
                    facts.fields.iter().find(|known| known.name == *field).and_then(class_names)
                }
                [] | [_, ..] => None,
            });
            let fitting: Vec<Arc<Vec<String>>> = facts
                .fields
                .iter()
                .filter_map(class_names)
                .filter(|names| ty.shape.last().is_some_and(|axis| axis.size.as_const() == Some(names.len() as i64)))
                .collect();
            let only = match fitting.as_slice() {
                [names] if choice => Some(names.clone()),
                [] | [_, ..] => None,
            };
            let category = if let Scalar::Category(_, names) = &ty.scalar { names.clone() } else { None };
            prediction.classes = category.or(own).or(compared).or(only);
        }
    }

    // -------------------------------------------------------------------------------------------- expectations

    /// `expect splice { test.accuracy >= 0.93 }`.
    pub(crate) fn expectations(&mut self) {
        let file = self.items.main();
        let trains: Vec<&'a str> = self
            .items
            .of(file)
            .iter()
            .filter_map(
                |item| if let ItemKind::Train(train) = &item.kind { Some(train.name.text.as_str()) } else { None },
            )
            .collect();
        for item in self.items.of(file) {
            let ItemKind::Expect(expect) = &item.kind else { continue };
            if !trains.contains(&expect.name.text.as_str()) {
                let mut diagnostic = Diagnostic::error("unknown-name", format!("there is no `train {}`", expect.name))
                    .primary(expect.name.span, "not defined");
                if let Some(near) = nearest(&expect.name.text, trains.iter().copied()) {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                self.say(diagnostic);
                continue;
            }
            let Some(at) = self.hir.trains.iter().position(|train| *train.name == *expect.name.text) else { continue };
            let known = hir::measured(&self.hir.trains[at].objectives, &self.hir.trains[at].reports);
            let split = self.hir.trains[at].split.clone();
            self.bodies.push(crate::checker::Body::new(file, crate::checker::BodyKind::Objective, None));
            for condition in &expect.conditions {
                if let Some(expectation) = self.expectation(condition, &known, split.as_ref()) {
                    self.hir.trains[at].expectations.push(expectation);
                }
            }
            self.bodies.pop();
        }
    }

    fn expectation(
        &mut self,
        condition: &'a ast::Expr,
        known: &[String],
        split: Option<&Split>,
    ) -> Option<Expectation> {
        if matches!(condition.kind, ast::ExprKind::Error) {
            return None;
        }
        let comparison = if let ast::ExprKind::Binary { op, left, right } = &condition.kind {
            Some((op_of(*op), left, right))
        } else {
            None
        };
        let Some((op @ (BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge | BinaryOp::Eq), left, right)) =
            comparison
        else {
            self.say(
                Diagnostic::error("wrong-arguments", "an expectation compares a score with a number")
                    .primary(condition.span, "not a comparison")
                    .help("write `test.accuracy >= 0.93`"),
            );
            return None;
        };
        let score = self.score(left, known, true)?;
        self.has_part(&score, split);
        let value = self.plain_number(right)?;
        Some(Expectation { score, op, value, shown: self.text(condition.span).to_string() })
    }
}

fn class_names(field: &hir::Field) -> Option<Arc<Vec<String>>> {
    let Type::Tensor(tensor) = &field.ty else { return None };
    if let Scalar::Category(_, names) = &tensor.scalar { names.clone() } else { None }
}
