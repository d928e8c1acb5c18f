//! Expressions over several columns or fields: `log(a / b)`, `if age > 65 then 1 else 0`, `x else 0`.

use super::{Lower, call, only};
use bdl_data::{FieldSpec, Formula, Function, Missing, Operator, Origin, Step};
use bdl_grammar::ast::{Arg, ArgKind, BinaryOp, Expr, ExprKind, UnaryOp};
use bdl_grammar::{Diagnostic, Span};

impl Lower<'_> {
    pub(super) fn computed(&mut self, name: &str, value: &Expr) -> Option<FieldSpec> {
        Some(FieldSpec::new(name, Origin::Formula(self.formula(name, value)?)))
    }

    /// The expression; columns in it become hidden fields, named after their `owner`.
    pub(super) fn formula(&mut self, owner: &str, value: &Expr) -> Option<Formula> {
        if let Some(number) = self.constant(value) {
            return Some(Formula::Number(number));
        }
        let boxed = |formula| Box::new(formula);
        match &value.kind {
            ExprKind::Bool(truth) => Some(Formula::Truth(*truth)),
            ExprKind::Str(_) => {
                self.diagnostics.push(
                    Diagnostic::error("data-expression", "an expression gives numbers or truth values, not texts")
                        .primary(value.span, "a text")
                        .help("texts are compared, `sex == \"M\"`; a truth value makes two classes"),
                );
                None
            }
            ExprKind::Name(word) if word.text == "missing" => Some(Formula::Missing),
            ExprKind::Binary { op: op @ (BinaryOp::Eq | BinaryOp::Ne), left, right } => {
                let texts = (text_of(left), text_of(right));
                let (of, text) = match texts {
                    (None, Some(text)) => (left, text),
                    (Some(text), None) => (right, text),
                    (Some(_), Some(_)) | (None, None) => return self.binary(owner, *op, left, right),
                };
                let field = self.text_field(owner, of)?;
                let is = Formula::Is { field, text: text.to_string() };
                Some(if *op == BinaryOp::Eq { is } else { Formula::Apply(Function::Not, boxed(is)) })
            }
            ExprKind::Binary { op, left, right } => self.binary(owner, *op, left, right),
            ExprKind::Unary { op, value } => {
                let function = match op {
                    UnaryOp::Neg => Function::Negate,
                    UnaryOp::Not => Function::Not,
                };
                Some(Formula::Apply(function, boxed(self.formula(owner, value)?)))
            }
            ExprKind::If { condition, then, other } => Some(Formula::If(
                boxed(self.formula(owner, condition)?),
                boxed(self.formula(owner, then)?),
                boxed(self.formula(owner, other)?),
            )),
            ExprKind::Else { value, default } => {
                let first = self.made.len();
                let filled = self.formula(owner, value)?;
                // A column that is filled here may have gaps.
                let parts = self.made[first..].iter_mut();
                parts.filter(|part| part.missing == Missing::Error).for_each(|part| part.missing = Missing::Keep);
                Some(Formula::Else(boxed(filled), boxed(self.formula(owner, default)?)))
            }
            ExprKind::Call { .. } => self.call(owner, value),
            ExprKind::Name(_)
            | ExprKind::Pipe { .. }
            | ExprKind::Subscript { .. }
            | ExprKind::Field { .. }
            | ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Quantity { .. }
            | ExprKind::Next(_)
            | ExprKind::List(_)
            | ExprKind::Record(_)
            | ExprKind::For { .. }
            | ExprKind::Reduce { .. }
            | ExprKind::Except { .. }
            | ExprKind::Block(_)
            | ExprKind::Scan(_)
            | ExprKind::Iterate(_)
            | ExprKind::Error => self.part(owner, value, Step::Number).map(Formula::Field),
        }
    }

    fn call(&mut self, owner: &str, value: &Expr) -> Option<Formula> {
        let (word, args) = match call(value) {
            Some(parts) => parts,
            None => return self.part(owner, value, Step::Number).map(Formula::Field),
        };
        let pair = match word {
            "min" => Some(Operator::Min),
            "max" => Some(Operator::Max),
            "pow" => Some(Operator::Power),
            _ => None,
        };
        if let Some(operator) = pair {
            let [Arg { kind: ArgKind::Positional(a), .. }, Arg { kind: ArgKind::Positional(b), .. }] = args else {
                self.say(value.span, "data-expression", format!("`{word}` takes two values: `{word}(a, b)`"));
                return None;
            };
            let (a, b) = (self.formula(owner, a)?, self.formula(owner, b)?);
            return Some(Formula::Binary(operator, Box::new(a), Box::new(b)));
        }
        let Some(function) = Function::named(word) else {
            return self.part(owner, value, Step::Number).map(Formula::Field);
        };
        let Some(of) = only(args) else {
            self.say(value.span, "data-expression", format!("`{word}` takes one value"));
            return None;
        };
        let first = self.made.len();
        let of = match (function, self.column_expr(of)) {
            // Whether a cell is there may be asked of any column.
            (Function::Known, Some(column)) => {
                let field = FieldSpec::new("", Origin::Column(column?)).step(Step::Text);
                let name = self.hide(owner, field, value.span);
                Formula::Is { field: name, text: String::new() }
            }
            (_, _) => self.formula(owner, of)?,
        };
        if function == Function::Known {
            let parts = self.made[first..].iter_mut();
            parts.filter(|part| part.missing == Missing::Error).for_each(|part| part.missing = Missing::Keep);
        }
        Some(Formula::Apply(function, Box::new(of)))
    }

    fn binary(&mut self, owner: &str, op: BinaryOp, left: &Expr, right: &Expr) -> Option<Formula> {
        let operator = match op {
            BinaryOp::Add => Operator::Add,
            BinaryOp::Sub => Operator::Subtract,
            BinaryOp::Mul => Operator::Multiply,
            BinaryOp::Div => Operator::Divide,
            BinaryOp::Rem => Operator::Remainder,
            BinaryOp::Eq => Operator::Equal,
            BinaryOp::Ne => Operator::NotEqual,
            BinaryOp::Lt => Operator::Less,
            BinaryOp::Le => Operator::LessEqual,
            BinaryOp::Gt => Operator::Greater,
            BinaryOp::Ge => Operator::GreaterEqual,
            BinaryOp::And => Operator::And,
            BinaryOp::Or => Operator::Or,
        };
        let (left, right) = (self.formula(owner, left)?, self.formula(owner, right)?);
        Some(Formula::Binary(operator, Box::new(left), Box::new(right)))
    }

    /// The name of the field that a part of a formula reads: a field that there is, or a hidden one. A bare column is read as `bare` says.
    fn part(&mut self, owner: &str, value: &Expr, bare: Step) -> Option<String> {
        if let ExprKind::Name(name) = &value.kind {
            if self.fields.contains(&name.text) {
                return Some(name.text.clone());
            }
            self.unknown_field(value.span);
            return None;
        }
        let mut field = self.field("", value)?;
        if field.steps.is_empty() && matches!(field.origin, Origin::Column(_)) {
            field.steps.push(bare);
        }
        Some(self.hide(owner, field, value.span))
    }

    /// What is compared with a text.
    fn text_field(&mut self, owner: &str, value: &Expr) -> Option<String> {
        self.part(owner, value, Step::Text)
    }

    /// A field without a name of its own.
    pub(super) fn hide(&mut self, owner: &str, mut field: FieldSpec, span: Span) -> String {
        let number = self.made.iter().filter(|known| known.hidden).count() + 1;
        field.name = format!("{owner}.{number}");
        field.pos = self.position(span);
        field.hidden = true;
        let name = field.name.clone();
        self.made.push(field);
        name
    }
}

fn text_of(value: &Expr) -> Option<&str> {
    if let ExprKind::Str(text) = &value.kind { Some(text) } else { None }
}
