//! `keep CONDITION`: what is asked of the cells of a row.

use super::{Lower, call};
use bdl_data::{Column, Comparison, Condition, Constant, Operand, Origin, Step};
use bdl_grammar::ast::{Arg, ArgKind, BinaryOp, Expr, ExprKind, UnaryOp};

impl Lower<'_> {
    /// Does the condition look at cells as they are? Then rows are left out before anything of them is read.
    pub(super) fn is_plain(&self, condition: &Expr) -> bool {
        let of_cell = |value: &Expr| match &value.kind {
            ExprKind::Name(name) => self.made.iter().any(|field| {
                let encoders = field.steps.iter().all(|step| {
                    matches!(
                        step,
                        Step::Number | Step::Counts | Step::Truth { .. } | Step::Category { .. } | Step::Text
                    ) || matches!(step, Step::Letters(_) | Step::OneHotText(_))
                });
                let own = matches!(&field.origin, Origin::Column(Column::Name(_) | Column::Number(_)));
                field.name == name.text && !field.hidden && encoders && own
            }),
            _ => matches!(call(value), Some(("column", _))),
        };
        match &condition.kind {
            ExprKind::Binary { op: BinaryOp::And | BinaryOp::Or, left, right } => {
                self.is_plain(left) && self.is_plain(right)
            }
            ExprKind::Unary { op: UnaryOp::Not, value } => self.is_plain(value),
            ExprKind::Binary { left, right, .. } => {
                of_cell(left) && (matches!(right.kind, ExprKind::Str(_)) || self.constant(right).is_some())
            }
            _ => match call(condition) {
                Some(("known", args)) => super::only(args).is_some_and(of_cell),
                Some(_) | None => false,
            },
        }
    }

    pub(super) fn condition(&mut self, condition: &Expr) -> Option<Condition> {
        match &condition.kind {
            ExprKind::Binary { op: BinaryOp::And, left, right } => {
                Some(Condition::And(vec![self.condition(left)?, self.condition(right)?]))
            }
            ExprKind::Binary { op: BinaryOp::Or, left, right } => {
                Some(Condition::Or(vec![self.condition(left)?, self.condition(right)?]))
            }
            ExprKind::Unary { op: UnaryOp::Not, value } => Some(Condition::Not(Box::new(self.condition(value)?))),
            ExprKind::Binary { op, left, right } => {
                let comparison = match op {
                    BinaryOp::Eq => Comparison::Equal,
                    BinaryOp::Ne => Comparison::NotEqual,
                    BinaryOp::Lt => Comparison::Less,
                    BinaryOp::Le => Comparison::LessEqual,
                    BinaryOp::Gt => Comparison::Greater,
                    BinaryOp::Ge => Comparison::GreaterEqual,
                    BinaryOp::Add
                    | BinaryOp::Sub
                    | BinaryOp::Mul
                    | BinaryOp::Div
                    | BinaryOp::Rem
                    | BinaryOp::And
                    | BinaryOp::Or => {
                        self.say(condition.span, "data-expression", "`keep` takes a comparison: `keep score > 100`");
                        return None;
                    }
                };
                let left = self.operand(left)?;
                let right = match &right.kind {
                    ExprKind::Str(text) => Constant::Text(text.clone()),
                    _ => Constant::Number(self.number(right)?),
                };
                Some(Condition::Compare { left, comparison, right })
            }
            ExprKind::Call { .. } => match call(condition) {
                Some(("known", [Arg { kind: ArgKind::Positional(value), .. }])) => {
                    Some(Condition::Known(self.operand(value)?))
                }
                _ => {
                    self.say(condition.span, "data-expression", "`keep` takes a comparison or `known(...)`");
                    None
                }
            },
            _ => {
                self.say(condition.span, "data-expression", "`keep` takes a comparison: `keep score > 100`");
                None
            }
        }
    }

    pub(super) fn operand(&mut self, value: &Expr) -> Option<Operand> {
        match &value.kind {
            ExprKind::Name(name) if self.fields.contains(&name.text) => Some(Operand::Field(name.text.clone())),
            ExprKind::Name(_) => {
                self.unknown_field(value.span);
                None
            }
            ExprKind::Call { .. } => match call(value) {
                Some(("column", [Arg { kind: ArgKind::Positional(column), .. }])) => {
                    Some(Operand::Column(self.column(column)?))
                }
                _ => {
                    self.say(value.span, "data-expression", "`keep` looks at `column(..)` or at a field above");
                    None
                }
            },
            _ => {
                self.say(value.span, "data-expression", "`keep` looks at `column(..)` or at a field above");
                None
            }
        }
    }
}
