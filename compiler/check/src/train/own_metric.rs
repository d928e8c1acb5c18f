//! `report within(p, y)` where `within` is a `fn` of the program: a number or truth value of one example, averaged over the part.
//!
//! If it names `batch` it sees the whole part, because that is then evaluated as one batch.

use super::{Stage, Wanted};
use crate::checker::Checker;
use crate::hir::{Name, Report};
use crate::report::metrics;
use crate::walk;
use bdl_grammar::ast::{self, ItemKind};

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

    pub(crate) fn own_metric(&mut self, e: &'a ast::Expr, by: Option<Name>, stage: &mut Stage<'a>) -> Option<Report> {
        let (name, _) = walk::application(e)?;
        let function = self.objective(stage, &name.text, e, Wanted::Metric);
        Some(Report {
            metric: name.text.as_str().into(),
            args: Vec::new(),
            own: Some(function?),
            options: Vec::new(),
            by,
            span: e.span,
        })
    }
}
