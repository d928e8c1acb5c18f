//! Arithmetic, comparison, logic and `if`: on what is known now, and on terms of the running program.
//!
//! Element by element: shapes are equal, or one side is a scalar, or one shape is the tail of the other (`f32[T, C] + f32[C]`).
//! Nothing else broadcasts. Arithmetic on logits, probabilities and counts gives `f32`; whole numbers (indices, `i32`) stay whole under
//! `+ - * %` and become real where they meet a real number or are divided.

use crate::checker::Checker;
use crate::hir::{self, Axis, BinaryOp, Builtin, Expr, ExprKind, Scalar, TensorType, Type, UnaryOp};
use crate::range::{Affine, Ix, Read, with_origin};
use crate::suggest::nearest;
use crate::value::{Size, Value, axis, error_expr, expr, scalar_type, show_tensor, show_type};
use bdl_dims::Dim;
use bdl_grammar::{Diagnostic, Span, ast};

/// An operand: its value and where it stands.
pub(crate) type Operand<'a> = (Value<'a>, Span);

pub(crate) fn op_of(op: ast::BinaryOp) -> BinaryOp {
    match op {
        ast::BinaryOp::Add => BinaryOp::Add,
        ast::BinaryOp::Sub => BinaryOp::Sub,
        ast::BinaryOp::Mul => BinaryOp::Mul,
        ast::BinaryOp::Div => BinaryOp::Div,
        ast::BinaryOp::Rem => BinaryOp::Rem,
        ast::BinaryOp::Eq => BinaryOp::Eq,
        ast::BinaryOp::Ne => BinaryOp::Ne,
        ast::BinaryOp::Lt => BinaryOp::Lt,
        ast::BinaryOp::Le => BinaryOp::Le,
        ast::BinaryOp::Gt => BinaryOp::Gt,
        ast::BinaryOp::Ge => BinaryOp::Ge,
        ast::BinaryOp::And => BinaryOp::And,
        ast::BinaryOp::Or => BinaryOp::Or,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Family {
    Arithmetic,
    Comparison,
    Logic,
}

fn family(op: BinaryOp) -> Family {
    match op {
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::Mul
        | BinaryOp::Div
        | BinaryOp::FloorDiv
        | BinaryOp::Rem
        | BinaryOp::Pow
        | BinaryOp::Min
        | BinaryOp::Max => Family::Arithmetic,
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => Family::Comparison,
        BinaryOp::And | BinaryOp::Or => Family::Logic,
    }
}

impl<'a> Checker<'a> {
    pub fn binary(&mut self, op: BinaryOp, left: Operand<'a>, right: Operand<'a>, span: Span) -> Value<'a> {
        if let Some(known) = self.binary_now(op, &left.0, &right.0) {
            return known;
        }
        if matches!(left.0, Value::Error) || matches!(right.0, Value::Error) {
            return Value::Error;
        }
        if let Some(compared) = self.compare_with_text(op, &left, &right, span) {
            return compared;
        }
        let (left, right) = self.both_run(left, right);
        self.binary_run(op, left, right, span).map_or(Value::Error, Value::Run)
    }

    /// The result where it is known now.
    fn binary_now(&mut self, op: BinaryOp, left: &Value<'a>, right: &Value<'a>) -> Option<Value<'a>> {
        match (left, right) {
            (Value::Size(a), Value::Size(b)) => self.sizes_now(op, a, b),
            (Value::Bool(a), Value::Bool(b)) => Some(Value::Bool(match op {
                BinaryOp::And => *a && *b,
                BinaryOp::Or => *a || *b,
                BinaryOp::Eq => a == b,
                BinaryOp::Ne => a != b,
                BinaryOp::Add
                | BinaryOp::Sub
                | BinaryOp::Mul
                | BinaryOp::Div
                | BinaryOp::FloorDiv
                | BinaryOp::Rem
                | BinaryOp::Pow
                | BinaryOp::Min
                | BinaryOp::Max
                | BinaryOp::Lt
                | BinaryOp::Le
                | BinaryOp::Gt
                | BinaryOp::Ge => return None,
            })),
            // One side may decide alone.
            (Value::Bool(known), other) | (other, Value::Bool(known)) => match (op, known) {
                (BinaryOp::And, true) | (BinaryOp::Or, false) => Some(other.clone()),
                (BinaryOp::And, false) => Some(Value::Bool(false)),
                (BinaryOp::Or, true) => Some(Value::Bool(true)),
                (_, _) => None,
            },
            (Value::Text(a), Value::Text(b)) => same(op, a == b),
            (Value::Text(_), Value::Size(_) | Value::Number(_))
            | (Value::Size(_) | Value::Number(_), Value::Text(_)) => same(op, false),
            (_, _) => {
                let (a, b) = (left.as_number()?, right.as_number()?);
                numbers_now(op, a, b)
            }
        }
    }

    fn sizes_now(&mut self, op: BinaryOp, a: &Size, b: &Size) -> Option<Value<'a>> {
        let (x, y) = (&a.dim, &b.dim);
        let made = |dim: Dim| Some(Value::Size(Size::of(dim)));
        match op {
            BinaryOp::Add => made(x.clone() + y.clone()),
            BinaryOp::Sub => made(x.clone() - y.clone()),
            BinaryOp::Mul => made(x.clone() * y.clone()),
            BinaryOp::FloorDiv if y.as_const() != Some(0) => made(x.floor_div(y)),
            BinaryOp::Rem if y.as_const() != Some(0) => made(x.rem(y)),
            BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Rem | BinaryOp::Pow | BinaryOp::Min | BinaryOp::Max => {
                let (a, b) = (x.as_const()?, y.as_const()?);
                match op {
                    BinaryOp::Min => Some(Value::size(Dim::from(a.min(b)))),
                    BinaryOp::Max => Some(Value::size(Dim::from(a.max(b)))),
                    BinaryOp::Add
                    | BinaryOp::Sub
                    | BinaryOp::Mul
                    | BinaryOp::Div
                    | BinaryOp::FloorDiv
                    | BinaryOp::Rem
                    | BinaryOp::Pow
                    | BinaryOp::And
                    | BinaryOp::Or
                    | BinaryOp::Eq
                    | BinaryOp::Ne
                    | BinaryOp::Lt
                    | BinaryOp::Le
                    | BinaryOp::Gt
                    | BinaryOp::Ge => numbers_now(op, a as f64, b as f64),
                }
            }
            BinaryOp::Eq | BinaryOp::Ne => {
                if self.facts().proves_equal(x, y) {
                    Some(Value::Bool(op == BinaryOp::Eq))
                } else if self.facts().proves_different(x, y) {
                    Some(Value::Bool(op == BinaryOp::Ne))
                } else {
                    None
                }
            }
            BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => {
                let least = at_least(op, x, y)?;
                if self.facts().proves(&least) {
                    Some(Value::Bool(true))
                } else if self.facts().proves(&(-least - Dim::one())) {
                    Some(Value::Bool(false))
                } else {
                    None
                }
            }
            BinaryOp::And | BinaryOp::Or => None,
        }
    }

    /// `site == "EI"`.
    fn compare_with_text(
        &mut self,
        op: BinaryOp,
        left: &Operand<'a>,
        right: &Operand<'a>,
        span: Span,
    ) -> Option<Value<'a>> {
        let (Value::Run(value), Value::Text(text), at) = (match (&left.0, &right.0) {
            (Value::Text(_), Value::Run(_)) => (&right.0, &left.0, left.1),
            (_, _) => (&left.0, &right.0, right.1),
        }) else {
            return None;
        };
        let tensor = value.tensor()?.clone();
        if !matches!(op, BinaryOp::Eq | BinaryOp::Ne) {
            return None;
        }
        let names: Vec<String> = match &tensor.scalar {
            Scalar::Category(_, Some(names)) => names.to_vec(),
            Scalar::Category(count, None) => {
                // Without data the classes have no names yet.
                if !self.generic {
                    self.say(
                        Diagnostic::error("unknown-class", format!("the {count} classes have no names here"))
                            .primary(at, "compared with a name")
                            .help("classes get their names from the data: `category(column(..))`"),
                    );
                    return Some(Value::Error);
                }
                vec![text.to_string()]
            }
            Scalar::Letter(alphabet, _) => self.letters_of(alphabet),
            Scalar::F32
            | Scalar::F64
            | Scalar::BF16
            | Scalar::I32
            | Scalar::Bool
            | Scalar::Index(_)
            | Scalar::Logit
            | Scalar::Prob
            | Scalar::Count => return None,
        };
        let Some(id) = names.iter().position(|name| **name == **text) else {
            let near = nearest(text, names.iter().map(String::as_str));
            let shown = names.iter().take(12).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let mut diagnostic = Diagnostic::error("unknown-class", format!("there is no class `{text}`"))
                .primary(at, "not one of the classes")
                .note(format!("the classes are {shown}{}", if names.len() > 12 { ", .." } else { "" }));
            if let Some(near) = near {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            return Some(self.fail(diagnostic));
        };
        let constant = expr(ExprKind::Number(id as f64), scalar_type(tensor.scalar.clone()), at);
        let ty = Type::Tensor(TensorType { scalar: Scalar::Bool, optional: false, shape: tensor.shape });
        Some(Value::Run(expr(ExprKind::Binary(op, Box::new(value.clone()), Box::new(constant)), ty, span)))
    }

    /// The names of the classes or letters, where they have any.
    pub fn class_names(&self, scalar: &Scalar) -> Option<Vec<String>> {
        match scalar {
            Scalar::Category(_, names) => names.as_ref().map(|names| names.to_vec()),
            Scalar::Letter(alphabet, _) => Some(self.letters_of(alphabet)),
            Scalar::F32
            | Scalar::F64
            | Scalar::BF16
            | Scalar::I32
            | Scalar::Bool
            | Scalar::Index(_)
            | Scalar::Logit
            | Scalar::Prob
            | Scalar::Count => None,
        }
    }

    fn letters_of(&self, alphabet: &str) -> Vec<String> {
        if let Some((_, letters)) = crate::types::ALPHABETS.iter().find(|(name, _)| *name == alphabet) {
            return letters.chars().map(String::from).collect();
        }
        match self.items.find(self.here().file, alphabet).map(|def| &def.item.kind) {
            Some(ast::ItemKind::Alphabet(own)) => own.letters.iter().map(|letter| letter.text.clone()).collect(),
            Some(_) | None => Vec::new(),
        }
    }

    /// Both operands as terms; a size that meets a whole number is one.
    fn both_run(&mut self, left: Operand<'a>, right: Operand<'a>) -> (Expr, Expr) {
        let whole = |value: &Value| matches!(value, Value::Run(e) if e.tensor().is_some_and(|t| t.scalar.is_whole()));
        let (left_whole, right_whole) = (whole(&left.0), whole(&right.0));
        let left = self.run_as(left, right_whole);
        let right = self.run_as(right, left_whole);
        (left, right)
    }

    fn run_as(&mut self, operand: Operand<'a>, whole: bool) -> Expr {
        match operand {
            (Value::Size(size), span) if whole => size_expr(size.dim, Scalar::I32, span),
            (value, span) => self.term_of(value, span, None),
        }
    }

    pub fn binary_run(&mut self, op: BinaryOp, left: Expr, right: Expr, span: Span) -> Option<Expr> {
        let (Some(a), Some(b)) = (self.operand_type(&left)?, self.operand_type(&right)?) else { return None };
        self.range_by_equality(op, &left, &right);
        let (left, right, scalar) = match family(op) {
            Family::Arithmetic => self.arithmetic(op, left, right, &a, &b, span)?,
            Family::Comparison => self.comparison(op, left, right, &a, &b, span)?,
            Family::Logic => {
                for (side, ty) in [(&left, &a), (&right, &b)] {
                    if ty.scalar != Scalar::Bool {
                        self.say(
                            Diagnostic::error("type-mismatch", "`and` and `or` join truth values")
                                .primary(side.span, format!("this is {}", show_tensor(ty)))
                                .help("compare it with something: `x > 0`"),
                        );
                        return None;
                    }
                }
                (left, right, Scalar::Bool)
            }
        };
        let shape = self.broadcast(&a.shape, &b.shape, left.span, right.span, span)?;
        let ty = Type::Tensor(TensorType { scalar, optional: false, shape });
        Some(expr(ExprKind::Binary(op, Box::new(left), Box::new(right)), ty, span))
    }

    /// The tensor type of an operand that must be there; `Some(None)` cannot happen beside an error that has been said.
    fn operand_type(&mut self, operand: &Expr) -> Option<Option<TensorType>> {
        match &operand.ty {
            Type::Tensor(tensor) if tensor.optional => {
                self.say(
                    Diagnostic::error("optional-value", "this value may be missing")
                        .primary(operand.span, format!("this is {}", show_tensor(tensor)))
                        .help(format!("say what it is then: `({} else 0)`", self.text(operand.span))),
                );
                None
            }
            Type::Tensor(tensor) => Some(Some(tensor.clone())),
            Type::Record(_) => {
                self.say(
                    Diagnostic::error("type-mismatch", "a record is no number")
                        .primary(operand.span, format!("this is {}", show_type(&operand.ty)))
                        .help("read one of its fields with a dot"),
                );
                None
            }
            Type::Error => None,
        }
    }

    fn arithmetic(
        &mut self,
        op: BinaryOp,
        left: Expr,
        right: Expr,
        a: &TensorType,
        b: &TensorType,
        span: Span,
    ) -> Option<(Expr, Expr, Scalar)> {
        let _ = span;
        for (side, ty) in [(&left, a), (&right, b)] {
            if !ty.scalar.is_real() && !ty.scalar.is_whole() {
                let text = self.text(side.span);
                let help = if ty.scalar == Scalar::Bool {
                    format!("write `f32({text})` to count yes as 1, or `if {text} then .. else ..`")
                } else {
                    format!("`onehot({text})` gives one number for each class or letter")
                };
                self.say(
                    Diagnostic::error("type-mismatch", "arithmetic needs numbers")
                        .primary(side.span, format!("this is {}", show_tensor(ty)))
                        .help(help),
                );
                return None;
            }
        }
        let real = matches!(op, BinaryOp::Div | BinaryOp::Pow);
        if a.scalar.is_whole() && b.scalar.is_whole() && !real {
            return Some((left, right, Scalar::I32));
        }
        let scalar = wider(&a.scalar, &b.scalar);
        Some((to_real(left), to_real(right), scalar))
    }

    fn comparison(
        &mut self,
        op: BinaryOp,
        left: Expr,
        right: Expr,
        a: &TensorType,
        b: &TensorType,
        span: Span,
    ) -> Option<(Expr, Expr, Scalar)> {
        let (x, y) = (&a.scalar, &b.scalar);
        let ordered = !matches!(op, BinaryOp::Eq | BinaryOp::Ne);
        if (x.is_real() || x.is_whole()) && (y.is_real() || y.is_whole()) {
            let whole = x.is_whole() && y.is_whole();
            return Some(if whole {
                (left, right, Scalar::Bool)
            } else {
                (to_real(left), to_real(right), Scalar::Bool)
            });
        }
        let alike = match (x, y) {
            (Scalar::Bool, Scalar::Bool) => !ordered,
            (Scalar::Category(m, names), Scalar::Category(n, others)) => {
                if let (false, Some(names), Some(others)) = (ordered, names, others)
                    && names != others
                {
                    let shown = |names: &[String]| {
                        let first = names.iter().take(6).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                        if names.len() > 6 { format!("{first}, ..") } else { first }
                    };
                    self.say(
                        Diagnostic::error("type-mismatch", "the classes of these have different names")
                            .primary(right.span, format!("its classes are {}", shown(others)))
                            .secondary(left.span, format!("its classes are {}", shown(names)))
                            .help(
                                "give both the same classes where they are read: `category(column(..), classes: [..])`",
                            ),
                    );
                    return None;
                }
                !ordered && self.proves_equal(m, n)
            }
            (Scalar::Letter(m, _), Scalar::Letter(n, _)) => !ordered && m == n,
            (Scalar::Index(_) | Scalar::I32, Scalar::Category(_, _) | Scalar::Letter(_, _))
            | (Scalar::Category(_, _) | Scalar::Letter(_, _), Scalar::Index(_) | Scalar::I32) => !ordered,
            (_, _) => false,
        };
        if alike {
            return Some((left, right, Scalar::Bool));
        }
        self.say(
            Diagnostic::error("type-mismatch", "these cannot be compared")
                .primary(span, format!("{} against {}", show_tensor(a), show_tensor(b))),
        );
        None
    }

    /// `dst[e] == v` gives the index v the range of what dst holds.
    fn range_by_equality(&mut self, op: BinaryOp, left: &Expr, right: &Expr) {
        if op != BinaryOp::Eq {
            return;
        }
        for (index, data) in [(left, right), (right, left)] {
            let ExprKind::Index(id) = index.kind else { continue };
            if matches!(data.kind, ExprKind::Index(_)) || self.here().index(id).range.is_some() {
                continue;
            }
            if let Some(below) = data.tensor().and_then(|tensor| tensor.scalar.below()) {
                let read = Read {
                    index: Ix::Affine(Affine::of_index(id)),
                    axis: axis(below),
                    span: data.span,
                    tensor: self.text(data.span).to_string(),
                    only_range: true,
                };
                self.body().reads.push(read);
            }
        }
    }

    /// The shape of an element-wise result.
    pub fn broadcast(&mut self, a: &[Axis], b: &[Axis], left: Span, right: Span, span: Span) -> Option<Vec<Axis>> {
        let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
        let mut shape = long.to_vec();
        let skip = long.len() - short.len();
        for (position, axis) in short.iter().enumerate() {
            let other = &long[skip + position];
            if !self.agree(&axis.size, &other.size, span) {
                let (x, y) = (crate::value::show_shape(a), crate::value::show_shape(b));
                let diagnostic = Diagnostic::error(
                    "dim-mismatch",
                    format!("shapes {x} and {y} do not go together element by element"),
                )
                .primary(span, format!("{} meets {}", other.size, axis.size))
                .secondary(left, format!("shape {x}"))
                .secondary(right, format!("shape {y}"));
                let diagnostic = with_origin(with_origin(diagnostic, other), axis);
                self.say(diagnostic.help(
                    "shapes must be equal, or one the tail of the other; index notation says the rest: `for t, c: a[t, c] + b[t]`",
                ));
                return None;
            }
            self.names_agree(other, axis, left, right);
            if shape[skip + position].names.is_none() {
                shape[skip + position].names.clone_from(&axis.names);
            }
        }
        Some(shape)
    }

    pub fn negate(&mut self, value: Operand<'a>, span: Span) -> Value<'a> {
        match value {
            (Value::Size(size), _) => Value::Size(Size::from(-size.dim, size.origin)),
            (Value::Number(number), _) => Value::Number(-number),
            (Value::Error, _) => Value::Error,
            (value, at) => {
                let operand = self.term_of(value, at, None);
                let Some(Some(ty)) = self.operand_type(&operand) else { return Value::Error };
                if ty.scalar.is_whole() {
                    let ty = Type::Tensor(TensorType { scalar: Scalar::I32, ..ty });
                    return Value::Run(expr(ExprKind::Unary(UnaryOp::Neg, Box::new(operand)), ty, span));
                }
                self.unary_real(UnaryOp::Neg, operand, Scalar::F32, span)
            }
        }
    }

    pub fn not(&mut self, value: Operand<'a>, span: Span) -> Value<'a> {
        match value {
            (Value::Bool(truth), _) => Value::Bool(!truth),
            (Value::Error, _) => Value::Error,
            (value, at) => {
                let operand = self.term_of(value, at, None);
                let Some(Some(ty)) = self.operand_type(&operand) else { return Value::Error };
                if ty.scalar != Scalar::Bool {
                    return self.fail(
                        Diagnostic::error("type-mismatch", "`not` needs a truth value")
                            .primary(at, format!("this is {}", show_tensor(&ty))),
                    );
                }
                Value::Run(expr(ExprKind::Unary(UnaryOp::Not, Box::new(operand)), Type::Tensor(ty), span))
            }
        }
    }

    /// A function of one real number, element by element; its result has the scalar kind `gives` (in the operand's precision).
    pub fn unary_real(&mut self, op: UnaryOp, operand: Expr, gives: Scalar, span: Span) -> Value<'a> {
        let Some(Some(ty)) = self.operand_type(&operand) else { return Value::Error };
        if !ty.scalar.is_real() && !ty.scalar.is_whole() {
            let text = self.text(operand.span);
            let help = if ty.scalar == Scalar::Bool {
                format!("write `f32({text})` to count yes as 1 and no as 0")
            } else {
                format!("`onehot({text})` gives one number for each class or letter")
            };
            return self.fail(
                Diagnostic::error("type-mismatch", "this function needs numbers")
                    .primary(operand.span, format!("this is {}", show_tensor(&ty)))
                    .help(help),
            );
        }
        let scalar = match (&ty.scalar, gives) {
            (Scalar::F64 | Scalar::BF16, Scalar::F32) => ty.scalar.clone(),
            (_, gives) => gives,
        };
        let shape = ty.shape;
        let result = Type::Tensor(TensorType { scalar, optional: false, shape });
        Value::Run(expr(ExprKind::Unary(op, Box::new(to_real(operand))), result, span))
    }

    /// `if condition then a else b` of terms.
    pub fn if_run(&mut self, condition: Expr, then: Expr, other: Expr, span: Span) -> Expr {
        let Some(Some(test)) = self.operand_type(&condition) else { return error_expr(span) };
        if test.scalar != Scalar::Bool {
            return self.fail_expr(
                Diagnostic::error("type-mismatch", "`if` needs a truth value")
                    .primary(condition.span, format!("this is {}", show_tensor(&test)))
                    .help("compare it with something: `if x > 0 then .. else ..`"),
                span,
            );
        }
        if let (Type::Record(a), Type::Record(b)) = (&then.ty, &other.ty) {
            // Field by field.
            let names: Vec<hir::Name> = a.iter().map(|(name, _)| name.clone()).collect();
            if test.shape.is_empty() && names.iter().eq(b.iter().map(|(name, _)| name)) {
                let Some(ty) = self.joined_type(&then.ty, &other.ty) else {
                    return self.fail_expr(
                        Diagnostic::error("type-mismatch", "the two branches differ in kind or shape")
                            .primary(span, format!("{} or {}", show_type(&then.ty), show_type(&other.ty)))
                            .help("both branches of an `if` give the same kind of value"),
                        span,
                    );
                };
                return expr(ExprKind::If(Box::new(condition), Box::new(then), Box::new(other)), ty, span);
            }
        }
        let (Some(Some(a)), Some(Some(b))) = (self.branch_type(&then), self.branch_type(&other)) else {
            return error_expr(span);
        };
        let (then, other, scalar) = match self.common_scalar(then, other, &a, &b) {
            Some(found) => found,
            None => {
                return self.fail_expr(
                    Diagnostic::error("type-mismatch", "the two branches differ in kind")
                        .primary(span, format!("{} or {}", show_tensor(&a), show_tensor(&b)))
                        .help("both branches of an `if` give the same kind of value"),
                    span,
                );
            }
        };
        let Some(shape) = self.broadcast(&a.shape, &b.shape, then.span, other.span, span) else {
            // In a definition checked on its own the condition may decide about sizes.
            return error_expr(span);
        };
        let Some(shape) = self.broadcast(&shape, &test.shape, then.span, condition.span, span) else {
            return error_expr(span);
        };
        let ty = Type::Tensor(TensorType { scalar, optional: a.optional || b.optional, shape });
        expr(ExprKind::If(Box::new(condition), Box::new(then), Box::new(other)), ty, span)
    }

    /// What both are, where a value may be the one or the other.
    fn joined_type(&mut self, a: &Type, b: &Type) -> Option<Type> {
        match (a, b) {
            (Type::Tensor(x), Type::Tensor(y)) => {
                let scalar = self.joined_scalar(&x.scalar, &y.scalar)?;
                let alike = x.shape.len() == y.shape.len() && x.scalar.is_real() == y.scalar.is_real();
                if !alike || !x.shape.iter().zip(&y.shape).all(|(x, y)| self.proves_equal(&x.size, &y.size)) {
                    return None;
                }
                Some(Type::Tensor(TensorType { scalar, optional: x.optional || y.optional, shape: x.shape.clone() }))
            }
            (Type::Record(x), Type::Record(y)) => {
                let fields: Option<Vec<_>> = x
                    .iter()
                    .map(|(name, of)| {
                        let (_, other) = y.iter().find(|(other, _)| other == name)?;
                        Some((name.clone(), self.joined_type(of, other)?))
                    })
                    .collect();
                fields.filter(|fields| fields.len() == y.len()).map(Type::Record)
            }
            (Type::Error, _) | (_, Type::Error) => Some(Type::Error),
            (Type::Tensor(_), Type::Record(_)) | (Type::Record(_), Type::Tensor(_)) => None,
        }
    }

    /// The kind of values of which some are of the one kind and some of the other. Indices below different sizes are whole numbers.
    pub fn joined_scalar(&self, a: &Scalar, b: &Scalar) -> Option<Scalar> {
        let number = |scalar: &Scalar| scalar.is_real() || scalar.is_whole();
        match (a, b) {
            (a, b) if a == b => Some(a.clone()),
            (Scalar::Index(m), Scalar::Index(n)) if self.proves_equal(m, n) => Some(a.clone()),
            (a, b) if a.is_whole() && b.is_whole() => Some(Scalar::I32),
            (a, b) if number(a) && number(b) => Some(wider(a, b)),
            (Scalar::Category(m, names), Scalar::Category(n, others)) if self.proves_equal(m, n) => {
                Some(Scalar::Category(m.clone(), names.clone().or(others.clone())))
            }
            (_, _) => None,
        }
    }

    fn branch_type(&mut self, branch: &Expr) -> Option<Option<TensorType>> {
        match &branch.ty {
            Type::Tensor(tensor) => Some(Some(tensor.clone())),
            Type::Record(_) => self.operand_type(branch),
            Type::Error => None,
        }
    }

    fn common_scalar(
        &mut self,
        then: Expr,
        other: Expr,
        a: &TensorType,
        b: &TensorType,
    ) -> Option<(Expr, Expr, Scalar)> {
        let (x, y) = (&a.scalar, &b.scalar);
        let number = |scalar: &Scalar| scalar.is_real() || scalar.is_whole();
        if x == y {
            return Some((then, other, x.clone()));
        }
        // `missing` is of any kind.
        if let ExprKind::Builtin(Builtin::Missing, _) = other.kind {
            return Some((then, retyped(other, x), x.clone()));
        }
        if let ExprKind::Builtin(Builtin::Missing, _) = then.kind {
            return Some((retyped(then, y), other, y.clone()));
        }
        if number(x) && number(y) {
            if x.is_whole() && y.is_whole() {
                return Some((then, other, Scalar::I32));
            }
            // A written number takes the kind of the other branch.
            let scalar = match (&then.kind, &other.kind) {
                (ExprKind::Number(_), _) if y.is_real() => y.clone(),
                (_, ExprKind::Number(_)) if x.is_real() => x.clone(),
                (_, _) => wider(x, y),
            };
            return Some((to_real(then), to_real(other), scalar));
        }
        match (x, y) {
            (Scalar::Category(m, names), Scalar::Category(n, others)) if self.proves_equal(m, n) => {
                Some((then, other, Scalar::Category(m.clone(), names.clone().or(others.clone()))))
            }
            (_, _) => None,
        }
    }
}

/// The term as one of another kind of scalar.
fn retyped(term: Expr, scalar: &Scalar) -> Expr {
    let ty = match term.ty {
        Type::Tensor(tensor) => Type::Tensor(TensorType { scalar: scalar.clone(), ..tensor }),
        other @ (Type::Record(_) | Type::Error) => other,
    };
    Expr { ty, ..term }
}

/// The term where a value of the type is wanted. A bf16 that becomes another real is converted, so that it is rounded before.
pub(crate) fn of_type(term: Expr, ty: Type) -> Expr {
    let scalar = |ty: &Type| match ty {
        Type::Tensor(tensor) => Some(tensor.scalar.clone()),
        Type::Record(_) | Type::Error => None,
    };
    match (scalar(&term.ty), scalar(&ty)) {
        (Some(Scalar::BF16), Some(wanted)) if wanted != Scalar::BF16 => {
            let span = term.span;
            expr(ExprKind::Unary(UnaryOp::ToReal, Box::new(term)), ty, span)
        }
        (_, _) => Expr { ty, ..term },
    }
}

/// The precision of a result; anything but `f64` and `bf16` is the working precision.
fn wider(a: &Scalar, b: &Scalar) -> Scalar {
    if *a == Scalar::F64 || *b == Scalar::F64 {
        Scalar::F64
    } else if *a == Scalar::BF16 && *b == Scalar::BF16 {
        Scalar::BF16
    } else {
        Scalar::F32
    }
}

/// A whole number as a real one.
pub(crate) fn to_real(value: Expr) -> Expr {
    match value.tensor() {
        Some(tensor) if !tensor.scalar.is_real() => {
            let ty = Type::Tensor(TensorType { scalar: Scalar::F32, ..tensor.clone() });
            let span = value.span;
            match value.kind {
                ExprKind::Number(number) => expr(ExprKind::Number(number), ty, span),
                ExprKind::Size(dim) => expr(ExprKind::Size(dim), ty, span),
                kind => {
                    let inner = Expr { kind, ty: value.ty, span };
                    expr(ExprKind::Unary(UnaryOp::ToReal, Box::new(inner)), ty, span)
                }
            }
        }
        Some(_) | None => value,
    }
}

/// A size as a number of the given kind.
pub(crate) fn size_expr(dim: Dim, scalar: Scalar, span: Span) -> Expr {
    let kind = match dim.as_const() {
        Some(constant) => ExprKind::Number(constant as f64),
        None => ExprKind::Size(dim),
    };
    expr(kind, scalar_type(scalar), span)
}

/// The expression that is not negative exactly when `left op right`.
pub(crate) fn at_least(op: BinaryOp, left: &Dim, right: &Dim) -> Option<Dim> {
    let (left, right) = (left.clone(), right.clone());
    match op {
        BinaryOp::Lt => Some(right - left - Dim::one()),
        BinaryOp::Le => Some(right - left),
        BinaryOp::Gt => Some(left - right - Dim::one()),
        BinaryOp::Ge => Some(left - right),
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::Mul
        | BinaryOp::Div
        | BinaryOp::FloorDiv
        | BinaryOp::Rem
        | BinaryOp::Pow
        | BinaryOp::Min
        | BinaryOp::Max
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Eq
        | BinaryOp::Ne => None,
    }
}

fn same<'a>(op: BinaryOp, equal: bool) -> Option<Value<'a>> {
    match op {
        BinaryOp::Eq => Some(Value::Bool(equal)),
        BinaryOp::Ne => Some(Value::Bool(!equal)),
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::Mul
        | BinaryOp::Div
        | BinaryOp::FloorDiv
        | BinaryOp::Rem
        | BinaryOp::Pow
        | BinaryOp::Min
        | BinaryOp::Max
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Lt
        | BinaryOp::Le
        | BinaryOp::Gt
        | BinaryOp::Ge => None,
    }
}

fn numbers_now<'a>(op: BinaryOp, a: f64, b: f64) -> Option<Value<'a>> {
    Some(match op {
        BinaryOp::Add => Value::Number(a + b),
        BinaryOp::Sub => Value::Number(a - b),
        BinaryOp::Mul => Value::Number(a * b),
        BinaryOp::Div => Value::Number(a / b),
        BinaryOp::FloorDiv => Value::Number((a / b).floor()),
        BinaryOp::Rem => Value::Number(a - b * (a / b).floor()),
        BinaryOp::Pow => Value::Number(a.powf(b)),
        // As the equations: NaN is passed on, of equal ones the first is taken.
        BinaryOp::Min => Value::Number(if b < a || b.is_nan() { b } else { a }),
        BinaryOp::Max => Value::Number(if b > a || b.is_nan() { b } else { a }),
        BinaryOp::Eq => Value::Bool(a == b),
        BinaryOp::Ne => Value::Bool(a != b),
        BinaryOp::Lt => Value::Bool(a < b),
        BinaryOp::Le => Value::Bool(a <= b),
        BinaryOp::Gt => Value::Bool(a > b),
        BinaryOp::Ge => Value::Bool(a >= b),
        BinaryOp::And | BinaryOp::Or => return None,
    })
}
