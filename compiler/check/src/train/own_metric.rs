//! `report within(p, y)` where `within` is a `fn` of the program: a number or truth value of one example, averaged over the part.
//!
//! If it names `batch` it sees the whole part, because that is then evaluated as one batch. Higher counts as better, unless its last
//! argument is `better: lower`.

use super::{Stage, Wanted};
use crate::checker::Checker;
use crate::hir::{Name, Report};
use crate::report::metrics;
use crate::walk;
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::{self, ArgKind, ItemKind};

impl<'a> Checker<'a> {
    /// Is it the call of a function that the program or the standard library defines and that is no metric of ours?
    pub(crate) fn is_own_metric(&self, e: &'a ast::Expr) -> bool {
        let call = walk::application(e).filter(|_| matches!(e.kind, ast::ExprKind::Call { .. }));
        let Some((name, _)) = call else { return false };
        let defined = self.items.find(self.here().file, &name.text);
        let own = defined.as_ref().is_some_and(|def| def.file == self.items.main());
        // A function of one's own comes before a metric of that name; one of the standard library does not.
        defined.is_some_and(|def| matches!(def.item.kind, ItemKind::Fn(_)))
            && (own || !metrics().any(|known| known == name.text))
    }

    /// `better: lower` or `better: higher`.
    fn is_lower_better(&mut self, value: &'a ast::Expr) -> bool {
        match walk::as_name(value).map(|word| word.text.as_str()) {
            Some("lower") => true,
            Some("higher") => false,
            Some(_) | None => {
                self.say(
                    Diagnostic::error("wrong-arguments", "`better` says which values are better")
                        .primary(value.span, "`lower` or `higher` is expected")
                        .help("write `report cost(p, y, better: lower)`"),
                );
                false
            }
        }
    }

    pub(crate) fn own_metric(&mut self, e: &'a ast::Expr, by: Option<Name>, stage: &mut Stage<'a>) -> Option<Report> {
        let (name, args) = walk::application(e)?;
        let lower_is_better = match args.split_last() {
            Some((last, before)) => match &last.kind {
                ArgKind::Named { name, value } if name.text == "better" => {
                    stage.metric_args = Some(before);
                    self.is_lower_better(value)
                }
                ArgKind::Named { .. } | ArgKind::Positional(_) | ArgKind::Each { .. } | ArgKind::Hole => false,
            },
            None => false,
        };
        let function = self.objective(stage, &name.text, e, Wanted::Metric);
        stage.metric_args = None;
        Some(Report {
            metric: name.text.as_str().into(),
            args: Vec::new(),
            own: Some(function?),
            lower_is_better,
            options: Vec::new(),
            by,
            span: e.span,
        })
    }
}
