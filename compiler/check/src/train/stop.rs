//! `stop when ..` and `clip ..`.

use super::{Stage, Wanted};
use crate::checker::Checker;
use crate::hir::{self, BinaryOp, Split};
use crate::operators::op_of;
use bdl_grammar::Diagnostic;
use bdl_grammar::ast;

impl<'a> Checker<'a> {
    pub(super) fn stop(
        &mut self,
        when: &'a ast::Expr,
        stall: &'a ast::Stall,
        known: &[String],
        split: Option<&Split>,
    ) -> Option<hir::Stop> {
        let score = self.score(when, known, false)?;
        self.has_part(&score, split);
        let epochs = self.count(&stall.count, "stalls for")?;
        if !matches!(stall.unit.text.as_str(), "epoch" | "epochs") {
            self.say(
                Diagnostic::error("wrong-arguments", "`stop` counts epochs")
                    .primary(stall.unit.span, "scores are measured after each epoch, not after each of these")
                    .help("write `stalls for 5 epochs`"),
            );
            return None;
        }
        Some(hir::Stop { score, when: hir::StopWhen::Stalls(epochs) })
    }

    /// `stop when valid.loss < 0.1`.
    pub(super) fn stop_at(
        &mut self,
        when: &'a ast::Expr,
        known: &[String],
        split: Option<&Split>,
    ) -> Option<hir::Stop> {
        if let ast::ExprKind::Binary { op, left, right } = &when.kind
            && let op @ (BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge) = op_of(*op)
        {
            let score = self.score(left, known, false)?;
            self.has_part(&score, split);
            let value = self.plain_number(right)?;
            return Some(hir::Stop { score, when: hir::StopWhen::Is(op, value) });
        }
        self.say(
            Diagnostic::error("wrong-arguments", "`stop when` compares a score with a number")
                .primary(when.span, "not such a comparison")
                .help("write `stop when valid.loss < 0.1`, or `stop when valid.loss stalls for 5 epochs`"),
        );
        None
    }

    pub(super) fn clip(
        &mut self,
        word: &'a ast::Name,
        value: &'a ast::Expr,
        stage: &mut Stage<'a>,
    ) -> Option<hir::Clip> {
        let fields = std::mem::take(&mut stage.fields);
        let function = self.objective(stage, "clip", value, Wanted::Number);
        stage.fields = fields;
        if let Some(function) = function
            && let hir::ExprKind::Number(bound) = self.hir.functions[function.0 as usize].body.kind
            && (bound <= 0.0 || bound.is_nan())
        {
            self.say(
                Diagnostic::error("wrong-number", format!("`clip {word}` is above 0, not {bound}"))
                    .primary(
                        value.span,
                        if bound < 0.0 { "gradients would change their sign" } else { "nothing would train" },
                    )
                    .help("write a bound such as `clip norm 1.0`, or leave `clip` out"),
            );
            return None;
        }
        match word.text.as_str() {
            "norm" => Some(hir::Clip::Norm(function?)),
            "value" => Some(hir::Clip::Value(function?)),
            _ => {
                self.say(
                    Diagnostic::error("unknown-entry", format!("`clip {word}` means nothing"))
                        .primary(word.span, "`norm` or `value` is expected")
                        .help("write `clip norm 1.0`"),
                );
                None
            }
        }
    }
}
