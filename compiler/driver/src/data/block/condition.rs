//! `keep CONDITION`: what is asked of the cells of a row.

use super::{Lower, call};
use bdl_data::{Column, Comparison, Condition, Constant, Operand, Origin, Step};
use bdl_grammar::ast::{BinaryOp, Expr, ExprKind, UnaryOp};

impl Lower<'_> {
    /// Does the condition look at cells as they are? Then rows are left out before anything of them is read.
    pub(super) fn is_plain(&self, condition: &Expr) -> bool {
        let of_cell = |value: &Expr| {
            let ExprKind::Name(name) = &value.kind else { return matches!(call(value), Some(("column", _))) };
            self.made.iter().any(|field| {
                let encoders = field.steps.iter().all(|step| {
                    matches!(
                        step,
                        Step::Number | Step::Counts | Step::Truth { .. } | Step::Category { .. } | Step::Text
                    ) || matches!(step, Step::Letters(_) | Step::OneHotText(_))
                });
                let own = matches!(&field.origin, Origin::Column(Column::Name(_) | Column::Number(_)));
                field.name == name.text && !field.hidden && encoders && own
            })
        };
        if let ExprKind::Binary { op: BinaryOp::And | BinaryOp::Or, left, right } = &condition.kind {
            return self.is_plain(left) && self.is_plain(right);
        }
        if let ExprKind::Unary { op: UnaryOp::Not, value } = &condition.kind {
            return self.is_plain(value);
        }
        if let ExprKind::Binary { left, right, .. } = &condition.kind {
            return of_cell(left) && (matches!(right.kind, ExprKind::Str(_)) || self.constant(right).is_some());
        }
        match call(condition) {
            Some(("known", args)) => super::only(args).is_some_and(of_cell),
            Some(_) | None => false,
        }
    }

    /// A condition that [`is_plain`](Self::is_plain).
    pub(super) fn condition(&mut self, condition: &Expr) -> Option<Condition> {
        if let ExprKind::Unary { op: UnaryOp::Not, value } = &condition.kind {
            return Some(Condition::Not(Box::new(self.condition(value)?)));
        }
        let ExprKind::Binary { op, left, right } = &condition.kind else {
            if let Some(("known", args)) = call(condition)
                && let Some(value) = super::only(args)
            {
                return Some(Condition::Known(self.operand(value)?));
            }
            self.say(condition.span, "data-expression", "`keep` takes a comparison or `known(...)`");
            return None;
        };
        let comparison = match op {
            BinaryOp::And => return Some(Condition::And(vec![self.condition(left)?, self.condition(right)?])),
            BinaryOp::Or => return Some(Condition::Or(vec![self.condition(left)?, self.condition(right)?])),
            BinaryOp::Eq => Comparison::Equal,
            BinaryOp::Ne => Comparison::NotEqual,
            BinaryOp::Lt => Comparison::Less,
            BinaryOp::Le => Comparison::LessEqual,
            BinaryOp::Gt => Comparison::Greater,
            BinaryOp::Ge => Comparison::GreaterEqual,
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => {
                self.say(condition.span, "data-expression", "`keep` takes a comparison: `keep score > 100`");
                return None;
            }
        };
        let left = self.operand(left)?;
        let right = if let ExprKind::Str(text) = &right.kind {
            Constant::Text(text.clone())
        } else {
            Constant::Number(self.number(right)?)
        };
        Some(Condition::Compare { left, comparison, right })
    }

    fn operand(&mut self, value: &Expr) -> Option<Operand> {
        if let ExprKind::Name(name) = &value.kind {
            if self.fields.contains(&name.text) {
                return Some(Operand::Field(name.text.clone()));
            }
            self.unknown_field(value.span);
            return None;
        }
        if let Some(("column", args)) = call(value)
            && let Some(column) = super::only(args)
        {
            return Some(Operand::Column(self.column(column)?));
        }
        self.say(value.span, "data-expression", "`keep` looks at `column(..)` or at a field above");
        None
    }
}
