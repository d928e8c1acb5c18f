//! `fit cut = threshold(p, y, recall: 0.9) on valid`: a number found once, after training, on rows that were not trained on.
//!
//! It is kept as a state, `fit.cut`, beside the weights. What is written after it may read it; before training has ended it has a
//! plain value (1/2 for a threshold, 1 for a temperature, 0 for a conformal quantile).

use super::entries::Entries;
use super::{Stage, Wanted};
use crate::checker::Checker;
use crate::hir::{self, DataFacts, FitKind, Scalar, TensorType, Type};
use crate::value::{Value, number, scalar_type, show_type};
use crate::walk;
use bdl_grammar::ast::{self, ArgKind};
use bdl_grammar::{Diagnostic, Span};

/// What may be fitted after training, by its word.
pub const FITS: [&str; 3] = ["threshold", "temperature", "conformal"];

/// One as it is written.
pub(crate) struct Written<'a> {
    pub name: &'a ast::Name,
    pub value: &'a ast::Expr,
    pub on: Option<&'a ast::Name>,
    /// How many predictions stand before it.
    pub after: usize,
}

impl<'a> Checker<'a> {
    /// The fits that stand before the prediction of this number.
    pub(super) fn fits(
        &mut self,
        entries: &Entries<'a>,
        after: usize,
        stage: &mut Stage<'a>,
        facts: &DataFacts,
        fits: &mut Vec<hir::Fit>,
    ) {
        for written in entries.fits.iter().filter(|written| written.after == after) {
            let fit = self.fit_entry(written, stage, facts);
            let value = match &fit {
                Some(fit) => {
                    let initial = match fit.kind {
                        FitKind::Recall(_) | FitKind::Precision(_) | FitKind::Specificity(_) => 0.5,
                        FitKind::Temperature => 1.0,
                        FitKind::Conformal(_) => 0.0,
                    };
                    self.fitted_state(&fit.state, initial, written.name.span)
                }
                None => Value::Error,
            };
            stage.fitted.push((&written.name.text, value));
            fits.extend(fit);
        }
    }

    fn fitted_state(&mut self, path: &hir::Name, initial: f64, span: Span) -> Value<'a> {
        self.hir.functions.push(hir::Function {
            name: "initial".into(),
            shown: format!("initial {path}"),
            path: None,
            locals: Vec::new(),
            indices: Vec::new(),
            inputs: Vec::new(),
            body: number(initial, span),
            updates: Vec::new(),
            span,
        });
        let init = hir::FunctionId((self.hir.functions.len() - 1) as u32);
        let ty = TensorType { scalar: Scalar::F32, optional: false, shape: Vec::new() };
        self.store.states.push(hir::State { path: path.clone(), ty, init, span });
        let id = hir::StateId((self.store.states.len() - 1) as u32);
        Value::Run(crate::value::expr(hir::ExprKind::State(id), scalar_type(Scalar::F32), span))
    }

    fn fit_entry(&mut self, written: &Written<'a>, stage: &mut Stage<'a>, facts: &DataFacts) -> Option<hir::Fit> {
        let call = walk::application(written.value).filter(|(name, _)| FITS.contains(&name.text.as_str()));
        let Some((word, args)) = call else {
            self.say(
                Diagnostic::error("wrong-arguments", "this cannot be fitted")
                    .primary(written.value.span, "`threshold`, `temperature` or `conformal` is expected")
                    .help("write `fit cut = threshold(p, y, recall: 0.9) on valid`"),
            );
            return None;
        };
        let part = match written.on.map(|on| (on.text.as_str(), on.span)) {
            None | Some(("valid", _)) => hir::Part::Valid,
            Some(("train", _)) => hir::Part::Train,
            Some(("test", span)) => {
                self.say(
                    Diagnostic::error("test-leak", "the test part may not be fitted on")
                        .primary(span, "read before it is reported")
                        .note("a choice made on the test rows makes their score too good, and nothing is left to tell by how much")
                        .help("write `on valid`"),
                );
                return None;
            }
            Some((other, span)) => {
                self.say(
                    Diagnostic::error("unknown-name", format!("there is no part `{other}`"))
                        .primary(span, "parts are train, valid and test"),
                );
                return None;
            }
        };
        let usage = match word.text.as_str() {
            "threshold" => "threshold(p, y, recall: 0.9)",
            "temperature" => "temperature(scores, y)",
            _ => "conformal(p, y, cover: 0.9)",
        };
        let (mut positional, mut named) = (Vec::new(), Vec::new());
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(value) => positional.push(value),
                ArgKind::Named { name, value } => named.push((name.text.as_str(), value)),
                ArgKind::Each { .. } | ArgKind::Hole => {}
            }
        }
        if word.text == "conformal" && positional.len() == 3 {
            named.extend(positional.pop().map(|cover| ("cover", cover)));
        }
        let wrong = |checker: &mut Self| {
            checker.say(
                Diagnostic::error("wrong-arguments", format!("`{word}` has other arguments"))
                    .primary(written.value.span, "not these")
                    .help(format!("write `fit {} = {usage} on valid`", written.name)),
            );
        };
        let [of, truth] = positional.as_slice() else {
            wrong(self);
            return None;
        };
        let kind = match (word.text.as_str(), named.as_slice()) {
            ("threshold", [(goal @ ("recall" | "precision" | "specificity"), share)]) => {
                let share = self.share(share)?;
                match *goal {
                    "recall" => FitKind::Recall(share),
                    "precision" => FitKind::Precision(share),
                    _ => FitKind::Specificity(share),
                }
            }
            ("temperature", []) => FitKind::Temperature,
            ("conformal", [("cover", share)]) => FitKind::Conformal(self.share(share)?),
            _ => {
                wrong(self);
                return None;
            }
        };
        let truth_name = self.field_name(truth, facts)?;
        let field = facts.fields.iter().find(|field| field.name == truth_name)?;
        let function = self.objective(stage, "fitted", of, Wanted::Any)?;
        let made = self.hir.functions[function.0 as usize].body.ty.clone();
        if !fits_together(&kind, &made, &field.ty) {
            let (shown, truth_shown) = (show_type(&made), show_type(&field.ty));
            self.say(
                Diagnostic::error("metric-argument", format!("`{word}` cannot compare {shown} with {truth_shown}"))
                    .primary(of.span, format!("this is {shown}"))
                    .secondary(truth.span, format!("this is {truth_shown}"))
                    .help(match word.text.as_str() {
                        "threshold" => "it takes one probability and a truth value",
                        "temperature" => "it takes logits, before `softmax` or `sigmoid`, and classes or a truth value",
                        _ => "it takes one probability a class and a category, or a number and a number",
                    }),
            );
            return None;
        }
        Some(hir::Fit {
            name: written.name.text.as_str().into(),
            state: format!("fit.{}", written.name).into(),
            kind,
            of: function,
            truth: truth_name,
            part,
            span: written.value.span,
        })
    }

    fn share(&mut self, e: &'a ast::Expr) -> Option<f64> {
        let share = self.plain_number(e)?;
        if !(0.0..1.0).contains(&(1.0 - share)) || share == 0.0 {
            self.say(
                Diagnostic::error("wrong-number", format!("a share is above 0 and at most 1, not {share}"))
                    .primary(e.span, "a share of the rows"),
            );
            return None;
        }
        Some(share)
    }
}

/// One probability and truth; logits and classes; probabilities and classes or two numbers.
fn fits_together(kind: &FitKind, made: &Type, truth: &Type) -> bool {
    let (Type::Tensor(made), Type::Tensor(truth)) = (made, truth) else { return false };
    if !truth.shape.is_empty() {
        return false;
    }
    let classes = if let Scalar::Category(count, _) = &truth.scalar { Some(count) } else { None };
    let one_a_class = match (made.shape.as_slice(), classes) {
        ([axis], Some(count)) => axis.size == *count,
        ([] | [_, ..], _) => false,
    };
    let yes = made.shape.is_empty() && truth.scalar == Scalar::Bool;
    match kind {
        FitKind::Recall(_) | FitKind::Precision(_) | FitKind::Specificity(_) => yes && made.scalar == Scalar::Prob,
        FitKind::Temperature => made.scalar == Scalar::Logit && (yes || one_a_class),
        FitKind::Conformal(_) => {
            let numbers = made.shape.is_empty() && made.scalar.is_real() && truth.scalar.is_real();
            numbers || one_a_class && made.scalar == Scalar::Prob
        }
    }
}
