//! Expressions: what each construct means, and the statements of a block.

use crate::checker::{Binding, BodyKind, Checker, because, with_lets};
use crate::hir::{self, Ambient, Builtin, Expr, ExprKind, Scalar, TensorType, Type, UnaryOp};
use crate::operators::{op_of, size_expr};
use crate::scope::FileAt;
use crate::suggest::nearest;
use crate::value::{Callable, Size, Value, axis, error_expr, expr, number, scalar_type, show_type, tensor};
use crate::walk;
use bdl_dims::Dim;
use bdl_grammar::ast::{self, ItemKind, StmtKind};
use bdl_grammar::{Diagnostic, Span};
use std::collections::HashMap;

impl<'a> Checker<'a> {
    /// What an expression is. `want` is the type that its place asks for, where it asks for one.
    pub fn eval(&mut self, e: &'a ast::Expr, want: Option<&Type>) -> Value<'a> {
        match &e.kind {
            ast::ExprKind::Name(name) => self.name(name, e.span, want),
            ast::ExprKind::Int(value) => Value::Size(Size::from(Dim::from(*value), because(e.span, ""))),
            ast::ExprKind::Float(value) => Value::Number(*value),
            ast::ExprKind::Str(text) => Value::Text(text.as_str().into()),
            ast::ExprKind::Bool(truth) => Value::Bool(*truth),
            ast::ExprKind::Quantity { value, unit } => self.quantity(value, unit, e.span),
            ast::ExprKind::Next(name) => self.next_value(name, e.span),
            ast::ExprKind::Unary { op, value } => {
                let operand = (self.eval(value, None), value.span);
                match op {
                    ast::UnaryOp::Neg => self.negate(operand, e.span),
                    ast::UnaryOp::Not => self.not(operand, e.span),
                }
            }
            ast::ExprKind::Binary { op, left, right } => self.binary_written(*op, left, right, e.span),
            ast::ExprKind::Pipe { .. } => self.pipe(e, want),
            ast::ExprKind::Call { callee, args } => self.call(callee, args, e.span, want),
            ast::ExprKind::Subscript { base, subs } => self.subscript(base, subs, e.span, want),
            ast::ExprKind::Field { base, field } => self.field(base, field, e.span),
            ast::ExprKind::List(items) => self.list(items, e.span),
            ast::ExprKind::Record(fields) => self.record(fields, e.span, want),
            ast::ExprKind::For { binders, body } => self.for_each(binders, body, e.span),
            ast::ExprKind::Reduce { op, op_span, binders, filter, default, body } => {
                let parts = crate::reduce::Parts {
                    op: *op,
                    op_span: *op_span,
                    binders,
                    filter: filter.as_deref(),
                    default: default.as_deref(),
                    body,
                    span: e.span,
                };
                self.reduce(&parts)
            }
            ast::ExprKind::If { condition, then, other } => self.if_written(condition, then, other, e.span, want),
            ast::ExprKind::Else { value, default } => self.or_else(value, default, e.span, want),
            ast::ExprKind::Except { .. } => self.fail(
                Diagnostic::error("type-mismatch", "`except` selects columns and has no place here")
                    .primary(e.span, "not in `columns(..)`"),
            ),
            ast::ExprKind::Block(block) => self.block(block, want, e.span),
            ast::ExprKind::Scan(scan) => self.scan(scan, e.span),
            ast::ExprKind::Iterate(iterate) => self.iterate(iterate, e.span),
            ast::ExprKind::Error => Value::Error,
        }
    }

    /// The expression as a term of the running program.
    pub fn run(&mut self, e: &'a ast::Expr, want: Option<&Type>) -> Expr {
        let value = self.eval(e, want);
        self.term_of(value, e.span, want)
    }

    /// A value as a term. `want` gives `zeros` and initial-value functions their shape.
    pub fn term_of(&mut self, value: Value<'a>, span: Span, want: Option<&Type>) -> Expr {
        match value {
            Value::Run(expr) => expr,
            Value::Size(size) => size_expr(size.dim, Scalar::F32, span),
            Value::Number(value) => number(value, span),
            Value::Bool(truth) => expr(ExprKind::Bool(truth), scalar_type(Scalar::Bool), span),
            Value::Text(text) => self.fail_expr(
                Diagnostic::error("type-mismatch", format!("`{text}` is a word, where a number is expected"))
                    .primary(span, "a word can be compared: `site == \"EI\"`"),
                span,
            ),
            Value::List(items) => self.list_to_run(items, span),
            Value::Callable(callable) => {
                if let Callable::Fn(def, file) = &*callable
                    && def.inputs.iter().all(|input| input.default.is_some())
                {
                    let value = self.apply_fn(def, *file, Vec::new(), span, want);
                    return match value {
                        Value::Callable(_) => error_expr(span),
                        value => self.term_of(value, span, want),
                    };
                }
                if let Callable::Builtin("orthogonal") = &*callable {
                    return self.orthogonal(span, want);
                }
                let shown = callable.shown();
                self.fail_expr(
                    Diagnostic::error("type-mismatch", format!("{shown} is applied to nothing here"))
                        .primary(span, "a value is expected")
                        .help("apply it: `f(x)` or `x |> f`"),
                    span,
                )
            }
            Value::Error => error_expr(span),
        }
    }

    // -------------------------------------------------------------------------------------------- names

    pub fn name(&mut self, name: &'a ast::Name, span: Span, want: Option<&Type>) -> Value<'a> {
        match self.here().find(&name.text).cloned() {
            Some(Binding::Value(value)) => return self.bound_value(value, span),
            Some(Binding::Index(id)) => return Value::Run(self.index_value(id, span)),
            Some(Binding::Declared(at)) => return self.read_declared(at, span),
            Some(Binding::Other(_)) => {
                return self.fail(
                    Diagnostic::error("type-mismatch", format!("`{name}` names another example, not a value"))
                        .primary(span, "read something of it")
                        .help(format!("`{name}.x` is x of that example")),
                );
            }
            None => {}
        }
        if let Some(value) = self.word(&name.text, span, want) {
            return value;
        }
        match self.items.find(self.here().file, &name.text) {
            Some(def) => self.item_value(def, span),
            None => match crate::builtin::name_of(&name.text) {
                Some(builtin) => Value::callable(Callable::Builtin(builtin)),
                None => self.unknown_name(name),
            },
        }
    }

    fn bound_value(&mut self, value: Value<'a>, span: Span) -> Value<'a> {
        match value {
            Value::Run(mut expr) => {
                expr.span = span;
                Value::Run(expr)
            }
            value => value,
        }
    }

    pub fn index_value(&self, id: hir::IndexId, span: Span) -> Expr {
        let scalar = match &self.here().index(id).range {
            Some(range) => Scalar::Index(range.size.clone()),
            None => Scalar::I32,
        };
        expr(ExprKind::Index(id), scalar_type(scalar), span)
    }

    /// Words with a meaning of their own.
    fn word(&mut self, word: &str, span: Span, want: Option<&Type>) -> Option<Value<'a>> {
        let ambient = |ambient, scalar| Some(Value::Run(expr(ExprKind::Ambient(ambient), scalar_type(scalar), span)));
        match word {
            "training" => ambient(Ambient::Training, Scalar::Bool),
            "step" => ambient(Ambient::Step, Scalar::F32),
            "steps" => ambient(Ambient::Steps, Scalar::F32),
            "epoch" => ambient(Ambient::Epoch, Scalar::F32),
            "epochs" => ambient(Ambient::Epochs, Scalar::F32),
            "pi" => Some(Value::Number(std::f64::consts::PI)),
            "inf" => Some(Value::Number(f64::INFINITY)),
            "missing" => {
                let scalar = match want {
                    Some(Type::Tensor(wanted)) => wanted.scalar.clone(),
                    Some(Type::Record(_) | Type::Error) | None => Scalar::F32,
                };
                let ty = Type::Tensor(TensorType { scalar, optional: true, shape: Vec::new() });
                Some(Value::Run(expr(ExprKind::Builtin(Builtin::Missing, Vec::new()), ty, span)))
            }
            "zeros" | "ones" => Some(match want {
                Some(Type::Tensor(wanted)) => {
                    let value = if word == "zeros" { 0.0 } else { 1.0 };
                    if let Some(below) = wanted.scalar.below() {
                        let what = format!("there is no {value} among {}", crate::value::show_scalar(&wanted.scalar));
                        self.need_positive(&(below - Dim::from(value as i64)), what, span);
                    }
                    let ty = Type::Tensor(TensorType { optional: false, ..wanted.clone() });
                    Value::Run(expr(ExprKind::Builtin(Builtin::Fill(value), Vec::new()), ty, span))
                }
                Some(Type::Record(_) | Type::Error) | None => self.fail(
                    Diagnostic::error("shape-unknown", format!("`{word}` of which shape?"))
                        .primary(span, "nothing here says it")
                        .help(format!("write the shape: `{word}[H]`")),
                ),
            }),
            "batch" => Some(self.fail(
                Diagnostic::error("reserved-word", "`batch` is the examples of a step and has no value of its own")
                    .primary(span, "used as a value")
                    .help("`mean[batch] x` is a mean over the examples; for a field of the data choose another name, such as `plate`"),
            )),
            _ => None,
        }
    }

    /// Evaluates with the names of a file only, none of the body's own.
    pub fn in_file<T>(&mut self, file: FileAt, inside: impl FnOnce(&mut Self) -> T) -> T {
        let body = self.body();
        let (old_file, scopes) = (body.file, std::mem::replace(&mut body.scopes, vec![HashMap::new()]));
        body.file = file;
        let result = inside(self);
        let body = self.body();
        body.file = old_file;
        body.scopes = scopes;
        result
    }

    fn unknown_name(&mut self, name: &'a ast::Name) -> Value<'a> {
        if name.text.is_empty() {
            return Value::Error;
        }
        let file = self.here().file;
        if let Some(private) = self.items.find_private(file, &name.text) {
            let place = private.span;
            return self.fail(
                Diagnostic::error("private-name", format!("`{name}` is private to its file"))
                    .primary(name.span, "used from another file")
                    .secondary(place, "defined here")
                    .help("a name that begins with `_` stays in its file; drop the `_` to share it"),
            );
        }
        if let Some(diagnostic) = only_elsewhere(name) {
            return self.fail(diagnostic);
        }
        if self.here().kind == BodyKind::Objective && self.texts.iter().any(|text| **text == name.text) {
            return self.fail(
                Diagnostic::error("unknown-name", format!("`{name}` is text, which nothing computes with"))
                    .primary(name.span, "text")
                    .help("say in the data block what it holds: `number(column(..))` for numbers, `category(column(..))` for classes, `onehot(column(..), DNA)` for letters"),
            );
        }
        let mut known: Vec<String> =
            self.here().scopes.iter().flat_map(|scope| scope.keys().map(|k| k.to_string())).collect();
        known.extend(self.items.visible(file).iter().map(|name| name.to_string()));
        known.extend(crate::builtin::NAMES.iter().map(|name| name.to_string()));
        known.sort();
        let near = nearest(&name.text, known.iter().map(String::as_str)).map(str::to_string);
        let mut diagnostic = Diagnostic::error("unknown-name", format!("nothing here is called `{name}`"))
            .primary(name.span, "not known");
        diagnostic = match near {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help("define it with `let`, as an input, or as an index of `for` or a reduction"),
        };
        self.fail(diagnostic)
    }

    fn next_value(&mut self, name: &'a ast::Name, span: Span) -> Value<'a> {
        let step = self.here().steps.iter().rev().find_map(|step| step.get(name.text.as_str()).copied());
        match step {
            Some(Some(local)) => Value::Run(self.here().local(local, span)),
            Some(None) => self.fail(
                Diagnostic::error("unknown-name", format!("`next {name}` is not known yet"))
                    .primary(span, "read before it is given")
                    .help(format!("put `next {name} = ..` before this line")),
            ),
            None => self.next_state(name, span),
        }
    }

    /// `5 epochs` is a number of steps.
    fn quantity(&mut self, value: &'a ast::Expr, unit: &'a ast::Name, span: Span) -> Value<'a> {
        let count = (self.eval(value, None), value.span);
        match unit.text.as_str() {
            "step" | "steps" => count.0,
            "epoch" | "epochs" => {
                let ambient = |a| Value::Run(expr(ExprKind::Ambient(a), scalar_type(Scalar::F32), span));
                let product = self.binary(hir::BinaryOp::Mul, count, (ambient(Ambient::Steps), span), span);
                self.binary(hir::BinaryOp::Div, (product, span), (ambient(Ambient::Epochs), span), span)
            }
            _ => self.fail(
                Diagnostic::error("unknown-name", format!("`{unit}` is no unit of time"))
                    .primary(unit.span, "a duration is in `steps` or `epochs`"),
            ),
        }
    }

    // -------------------------------------------------------------------------------------------- operators

    fn binary_written(
        &mut self,
        op: ast::BinaryOp,
        left: &'a ast::Expr,
        right: &'a ast::Expr,
        span: Span,
    ) -> Value<'a> {
        // `pad == same`: a word that names nothing is itself, beside a word.
        let (l, r) = if matches!(op, ast::BinaryOp::Eq | ast::BinaryOp::Ne) {
            let l = self.eval_or_word(left, right);
            let r = self.eval_or_word(right, left);
            (l, r)
        } else {
            let l = self.eval(left, None);
            if let (ast::BinaryOp::And, Value::Bool(false)) | (ast::BinaryOp::Or, Value::Bool(true)) = (op, &l) {
                return l;
            }
            (l, self.eval(right, None))
        };
        self.binary(op_of(op), (l, left.span), (r, right.span), span)
    }

    fn eval_or_word(&mut self, e: &'a ast::Expr, beside: &'a ast::Expr) -> Value<'a> {
        if let (ast::ExprKind::Name(word), ast::ExprKind::Name(hyper)) = (&e.kind, &beside.kind)
            && self.is_unbound(word)
            && matches!(self.here().find(&hyper.text), Some(Binding::Value(Value::Text(_) | Value::Size(_))))
        {
            return Value::Text(word.text.as_str().into());
        }
        self.eval(e, None)
    }

    /// The name means nothing at all here.
    pub fn is_unbound(&self, name: &ast::Name) -> bool {
        self.here().find(&name.text).is_none()
            && self.items.find(self.here().file, &name.text).is_none()
            && crate::builtin::name_of(&name.text).is_none()
    }

    fn if_written(
        &mut self,
        condition: &'a ast::Expr,
        then: &'a ast::Expr,
        other: &'a ast::Expr,
        span: Span,
        want: Option<&Type>,
    ) -> Value<'a> {
        let test = self.eval(condition, None);
        match test {
            Value::Bool(true) => self.eval(then, want),
            Value::Bool(false) => self.eval(other, want),
            Value::Error => {
                // The branches may hold mistakes of their own.
                let (a, _) = (self.eval(then, want), self.eval(other, want));
                let _ = a;
                Value::Error
            }
            test => {
                let test = self.term_of(test, condition.span, None);
                let known = self.facts().count();
                let outside = self.body().laws.enter_branch();
                let holds = self.condition_fact(condition, true);
                self.body().laws.extend(holds);
                let then = self.in_block(|checker| checker.run(then, want));
                self.body().laws.forget(known);
                let fails = self.condition_fact(condition, false);
                self.body().laws.extend(fails);
                let other = self.in_block(|checker| checker.run(other, want));
                self.body().laws.forget(known);
                self.body().laws.leave_branch(outside);
                if self.generic && mentions_size(&test) {
                    // Sizes decide which branch there will be: the two need not have one shape.
                    if then.is_error() || other.is_error() {
                        return Value::Error;
                    }
                    // Where the condition makes the shapes equal, the other branch has the one that holds without it.
                    let holds = self.condition_fact(condition, true);
                    self.body().laws.extend(holds);
                    let same = self.same_shape(&then, &other);
                    self.body().laws.forget(known);
                    return Value::Run(if same { other } else { then });
                }
                let result = self.if_run(test, then, other, span);
                if result.is_error() { Value::Error } else { Value::Run(result) }
            }
        }
    }

    fn same_shape(&self, a: &Expr, b: &Expr) -> bool {
        let (Some(a), Some(b)) = (a.tensor(), b.tensor()) else { return false };
        a.shape.len() == b.shape.len() && a.shape.iter().zip(&b.shape).all(|(a, b)| self.proves_equal(&a.size, &b.size))
    }

    /// What a comparison of sizes says where it holds, or where it fails; of several joined by `and`, what each says where all hold.
    fn condition_fact(&mut self, condition: &'a ast::Expr, holds: bool) -> Vec<Dim> {
        if let ast::ExprKind::Unary { op: ast::UnaryOp::Not, value } = &condition.kind {
            return self.condition_fact(value, !holds);
        }
        let ast::ExprKind::Binary { op, left, right } = &condition.kind else { return Vec::new() };
        if matches!((op, holds), (ast::BinaryOp::And, true) | (ast::BinaryOp::Or, false)) {
            let mut facts = self.condition_fact(left, holds);
            facts.extend(self.condition_fact(right, holds));
            return facts;
        }
        let (Some(left), Some(right)) = (self.try_size(left), self.try_size(right)) else { return Vec::new() };
        let op = op_of(*op);
        if op == hir::BinaryOp::Eq && holds || op == hir::BinaryOp::Ne && !holds {
            let difference = left.dim - right.dim;
            return vec![difference.clone(), -difference];
        }
        match crate::operators::at_least(op, &left.dim, &right.dim) {
            Some(least) if holds => vec![least],
            Some(least) => vec![-least - Dim::one()],
            None => Vec::new(),
        }
    }

    /// `x else d` for a value that may be missing.
    fn or_else(&mut self, value: &'a ast::Expr, default: &'a ast::Expr, span: Span, want: Option<&Type>) -> Value<'a> {
        let value = self.run(value, want);
        let Some(ty) = value.tensor().cloned() else {
            self.run(default, want);
            return Value::Error;
        };
        let inner = Type::Tensor(TensorType { optional: false, ..ty.clone() });
        let given = self.eval(default, Some(&inner));
        let default = match self.as_class(&given, &ty.scalar, default.span) {
            Some(class) => class,
            None => self.term_of(given, default.span, Some(&inner)),
        };
        if !ty.optional {
            return Value::Run(value);
        }
        let Some(filler) = default.tensor().cloned() else { return Value::Error };
        let fits = filler.scalar == ty.scalar || (filler.scalar.is_real() && ty.scalar.is_real());
        if !fits {
            return self.fail(
                Diagnostic::error("type-mismatch", "the value after `else` is of another kind")
                    .primary(default.span, format!("this is {}", show_type(&default.ty)))
                    .secondary(value.span, format!("this is {}", show_type(&value.ty))),
            );
        }
        if self.broadcast(&ty.shape, &filler.shape, value.span, default.span, span).is_none() {
            return Value::Error;
        }
        Value::Run(expr(ExprKind::Builtin(Builtin::OrElse, vec![value, default]), inner, span))
    }

    /// A written number or name as a class, letter or index, where one is asked for.
    fn as_class(&mut self, value: &Value<'a>, scalar: &Scalar, span: Span) -> Option<Expr> {
        let count = scalar.below()?;
        let id = match value {
            // How many there are may be known to the data only.
            Value::Size(size) => {
                let id = size.dim.as_const().filter(|id| *id >= 0)?;
                let written = size_expr(size.dim.clone(), Scalar::I32, span);
                self.is_below(&written, &count, "a missing one is").then_some(id)?
            }
            Value::Text(_) if self.generic && matches!(scalar, Scalar::Category(_, None)) => 0,
            Value::Text(text) => self.class_names(scalar)?.iter().position(|name| **name == **text)? as i64,
            Value::Run(_) | Value::Number(_) | Value::Bool(_) | Value::List(_) | Value::Callable(_) | Value::Error => {
                return None;
            }
        };
        Some(expr(ExprKind::Number(id as f64), scalar_type(scalar.clone()), span))
    }

    // -------------------------------------------------------------------------------------------- composites

    fn field(&mut self, base: &'a ast::Expr, field: &'a ast::Name, span: Span) -> Value<'a> {
        if let ast::ExprKind::Name(name) = &base.kind
            && let Some(Binding::Other(id)) = self.here().find(&name.text).cloned()
        {
            return self.of_other(id, field, span);
        }
        if let Some(parameter) = self.parameter_path(base, field, span) {
            return parameter;
        }
        let base = self.eval(base, None);
        let base_span = span;
        let Value::Run(value) = base else {
            if let Value::Error = base {
                return Value::Error;
            }
            return self.fail(
                Diagnostic::error("unknown-field", format!("there is no field `{field}` here"))
                    .primary(field.span, format!("of {}", base.shown())),
            );
        };
        match &value.ty {
            Type::Record(fields) => match fields.iter().find(|(name, _)| **name == *field.text) {
                Some((name, ty)) => {
                    let (name, ty) = (name.clone(), ty.clone());
                    Value::Run(expr(ExprKind::Field(Box::new(value), name), ty, base_span))
                }
                None => {
                    let names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
                    let mut diagnostic = Diagnostic::error("unknown-field", format!("there is no field `{field}`"))
                        .primary(field.span, format!("the fields are {}", names.join(", ")));
                    if let Some(near) = nearest(&field.text, names) {
                        diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                    }
                    self.fail(diagnostic)
                }
            },
            Type::Tensor(_) => {
                let shown = show_type(&value.ty);
                self.fail(
                    Diagnostic::error("unknown-field", format!("`{field}` of something that has no fields"))
                        .primary(field.span, format!("this is {shown}")),
                )
            }
            Type::Error => Value::Error,
        }
    }

    fn list(&mut self, items: &'a [ast::Expr], span: Span) -> Value<'a> {
        let values: Vec<Value<'a>> = items.iter().map(|item| self.eval(item, None)).collect();
        if values.iter().any(|value| matches!(value, Value::Error)) {
            return Value::Error;
        }
        if values.iter().all(Value::is_static) {
            return Value::List(values);
        }
        let run = self.list_to_run(values, span);
        if run.is_error() { Value::Error } else { Value::Run(run) }
    }

    fn list_to_run(&mut self, items: Vec<Value<'a>>, span: Span) -> Expr {
        let elements: Vec<Expr> = items.into_iter().map(|item| self.term_of(item, span, None)).collect();
        if elements.iter().any(Expr::is_error) {
            return error_expr(span);
        }
        let Some(first) = elements.first().and_then(Expr::tensor).cloned() else {
            return self.fail_expr(
                Diagnostic::error("type-mismatch", "an empty list has no value").primary(span, "nothing stands in it"),
                span,
            );
        };
        let same = elements.iter().all(|e| {
            e.tensor().is_some_and(|t| {
                (t.scalar == first.scalar || t.scalar.is_real() && first.scalar.is_real()) && sizes(t) == sizes(&first)
            })
        });
        if !same {
            return self.fail_expr(
                Diagnostic::error("type-mismatch", "the elements of this list differ in kind or shape")
                    .primary(span, format!("the first is {}", crate::value::show_tensor(&first))),
                span,
            );
        }
        let mut shape = vec![axis(Dim::from(elements.len() as i64))];
        shape[0].origin = because(span, "");
        shape.extend(first.shape.iter().cloned());
        let has = |scalar: Scalar| elements.iter().any(|e| e.tensor().is_some_and(|t| t.scalar == scalar));
        let alike = elements.iter().all(|e| e.tensor().is_some_and(|t| t.scalar == first.scalar));
        let scalar = match (has(Scalar::F64), has(Scalar::BF16) && !alike) {
            (true, _) => Scalar::F64,
            (false, true) => Scalar::F32,
            (false, false) => first.scalar.clone(),
        };
        let ty = tensor(scalar, shape);
        if first.shape.is_empty() {
            return expr(ExprKind::List(elements), ty, span);
        }
        expr(ExprKind::Builtin(Builtin::Stack(0), elements), ty, span)
    }

    fn record(&mut self, fields: &'a [ast::RecordField], span: Span, want: Option<&Type>) -> Value<'a> {
        let mut values = Vec::new();
        for (position, field) in fields.iter().enumerate() {
            let name: hir::Name = match &field.name {
                Some(name) => name.text.as_str().into(),
                None => match walk::as_name(&field.value) {
                    Some(name) => name.text.as_str().into(),
                    None => format!("_{position}").into(),
                },
            };
            let wanted = match want {
                Some(Type::Record(wanted)) => wanted.iter().find(|(known, _)| *known == name).map(|(_, ty)| ty),
                Some(Type::Tensor(_) | Type::Error) | None => None,
            };
            let value = self.run(&field.value, wanted);
            if values.iter().any(|(known, _)| *known == name) {
                return self.fail(
                    Diagnostic::error("duplicate-name", format!("two fields are called `{name}`"))
                        .primary(field.span, "here again"),
                );
            }
            values.push((name, value));
        }
        if values.iter().any(|(_, value)| value.is_error()) {
            return Value::Error;
        }
        let ty = Type::Record(values.iter().map(|(name, value)| (name.clone(), value.ty.clone())).collect());
        Value::Run(expr(ExprKind::Record(values), ty, span))
    }

    // -------------------------------------------------------------------------------------------- blocks

    /// `{ statements, value }` as a term.
    fn block(&mut self, block: &'a ast::Block, want: Option<&Type>, span: Span) -> Value<'a> {
        self.body().blocks.push(Vec::new());
        let value = self.scoped(|checker| checker.statements(block, want));
        let lets = self.body().blocks.pop().unwrap_or_default();
        match value {
            Some(Value::Run(expr)) => Value::Run(with_lets(lets, expr)),
            Some(value) => {
                // A function of the block may go on reading them.
                if let (Value::Callable(_), Some(around)) = (&value, self.body().blocks.last_mut()) {
                    around.extend(lets);
                }
                value
            }
            None => self.fail(
                Diagnostic::error("no-value", "this block has no value")
                    .primary(span, "it does not end with an expression"),
            ),
        }
    }

    /// Runs the statements in the current scope; the value is the last statement's, if it is an expression.
    pub fn statements(&mut self, block: &'a ast::Block, want: Option<&Type>) -> Option<Value<'a>> {
        let mut value = None;
        let mut bound: HashMap<&'a str, Span> = HashMap::new();
        for (position, stmt) in block.stmts.iter().enumerate() {
            value = None;
            let last = position + 1 == block.stmts.len();
            match &stmt.kind {
                StmtKind::Let(binding) => {
                    if let Some(first) = bound.insert(&binding.name.text, binding.name.span) {
                        self.say(
                            Diagnostic::error("duplicate-name", format!("`{}` is defined twice", binding.name))
                                .primary(binding.name.span, "here again")
                                .secondary(first, "first here")
                                .help("a `let` never changes; give the new value another name"),
                        );
                    }
                    self.let_statement(binding);
                }
                StmtKind::Expr(e) => {
                    let result = self.eval(e, if last { want } else { None });
                    self.finish_statement();
                    if !last && !matches!(result, Value::Error) {
                        self.say(
                            Diagnostic::warning("unused-value", "this value goes nowhere")
                                .primary(e.span, "only the last expression of a block is its value")
                                .help("name it with `let`, or delete it"),
                        );
                    }
                    value = Some(result);
                }
                StmtKind::Param(declare) => self.declare(declare, false, stmt.span),
                StmtKind::State(declare) => self.declare(declare, true, stmt.span),
                StmtKind::Const(constant) => self.declare_const(constant),
                StmtKind::Fn(def) => {
                    if let Some(first) = bound.insert(&def.name.text, def.name.span) {
                        self.say(crate::scope::twice(&def.name, first));
                    }
                    self.local_fn(def);
                }
                StmtKind::Update { name, value } => self.update(name, value, stmt.span),
                StmtKind::Next { name, value } => self.next_statement(name, value, stmt.span),
                StmtKind::Emit(e) => self.emit_statement(e),
                StmtKind::Error => value = Some(Value::Error),
            }
        }
        value
    }

    /// What an expression statement leaves open is settled here.
    pub fn finish_statement(&mut self) {
        let open = self.here().pack_indices.is_empty() && self.here().blocks.len() == 1;
        if open {
            self.resolve(&[], true);
        }
    }

    pub(crate) fn let_statement(&mut self, binding: &'a ast::Let) {
        let name = &binding.name;
        let value = match &binding.binders {
            Some(binders) => self.for_each(binders, &binding.value, binding.value.span),
            None => self.eval(&binding.value, None),
        };
        self.finish_statement();
        let value = match value {
            Value::Run(term) => {
                let local = self.let_local(&name.text, term, name.span);
                Value::Run(self.here().local(local, name.span))
            }
            Value::Callable(callable) => self.named_instance(&callable, name),
            value => value,
        };
        if name.text == "_" {
            return;
        }
        self.body().bind(&name.text, Binding::Value(value));
    }

    // -------------------------------------------------------------------------------------------- sizes

    /// The expression as a size: whole numbers, `/` rounding down. `None` after a message.
    pub fn size(&mut self, e: &'a ast::Expr) -> Option<Size> {
        match self.size_of(e) {
            Ok(size) => Some(size),
            Err(Some(diagnostic)) => {
                self.say(*diagnostic);
                None
            }
            Err(None) => None,
        }
    }

    /// As [`size`](Self::size), saying nothing.
    pub fn try_size(&mut self, e: &'a ast::Expr) -> Option<Size> {
        self.size_of(e).ok()
    }

    fn size_of(&mut self, e: &'a ast::Expr) -> Result<Size, Option<Box<Diagnostic>>> {
        let complain = |message: String, label: &str| {
            Err(Some(Box::new(Diagnostic::error("not-a-size", message).primary(e.span, label))))
        };
        match &e.kind {
            ast::ExprKind::Int(value) => Ok(Size::from(Dim::from(*value), because(e.span, ""))),
            ast::ExprKind::Float(value) => {
                complain(format!("a size is a natural number, not {value}"), "not a whole number")
            }
            ast::ExprKind::Name(name) => match self.here().find(&name.text).cloned() {
                Some(Binding::Value(value)) => size_value(&value).ok_or_else(|| {
                    if matches!(value, Value::Error) {
                        return None;
                    }
                    Some(Box::new(
                        Diagnostic::error("not-a-size", format!("`{name}` is {}, not a size", value.shown()))
                            .primary(e.span, "a natural number, known when the model is built, is expected"),
                    ))
                }),
                Some(Binding::Index(_)) => Err(Some(Box::new(
                    Diagnostic::error("not-a-size", format!("`{name}` is an index, not a size"))
                        .primary(e.span, "a range may not depend on another index")
                        .help("use an `if` for a triangle: `sum[j] if j < i then .. else 0`"),
                ))),
                Some(Binding::Declared(_) | Binding::Other(_)) => complain(
                    format!("`{name}` is not a size"),
                    "a natural number, known when the model is built, is expected",
                ),
                None => {
                    if let Some(def) = self.items.find(self.here().file, &name.text)
                        && matches!(def.item.kind, ItemKind::Let(_) | ItemKind::Const(_))
                    {
                        let value = self.item_value(def, e.span);
                        if let Some(size) = size_value(&value) {
                            return Ok(size);
                        }
                        if matches!(value, Value::Error) {
                            return Err(None);
                        }
                    }
                    let known: Vec<String> = self
                        .here()
                        .scopes
                        .iter()
                        .flat_map(|scope| scope.iter())
                        .filter(|(_, binding)| matches!(binding, Binding::Value(Value::Size(_))))
                        .map(|(name, _)| name.to_string())
                        .collect();
                    let mut diagnostic = Diagnostic::error("unknown-name", format!("no size is called `{name}` here"))
                        .primary(e.span, "not a dimension of an input, nor a hyper-parameter of kind `dim`");
                    if name.text == "last" {
                        diagnostic = diagnostic
                            .help("`last` is a whole subscript, `x[last]`; a range ends before a size: `x[1 .. n]`");
                    } else if let Some(near) = nearest(&name.text, known.iter().map(String::as_str)) {
                        diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                    }
                    Err(Some(Box::new(diagnostic)))
                }
            },
            ast::ExprKind::Unary { op: ast::UnaryOp::Neg, value } => {
                let size = self.size_of(value)?;
                Ok(Size::from(-size.dim, size.origin))
            }
            ast::ExprKind::Binary { op, left, right } => {
                let (a, b) = (self.size_of(left)?, self.size_of(right)?);
                let divides = matches!(op, ast::BinaryOp::Div | ast::BinaryOp::Rem);
                if divides && b.dim.as_const().is_some_and(|by| by <= 0) {
                    return Err(Some(Box::new(
                        Diagnostic::error("not-a-size", format!("division by {}", b.dim))
                            .primary(right.span, "must be at least 1"),
                    )));
                }
                let too_large = |a: &Dim, b: &Dim| {
                    let large = |dim: &Dim| dim.terms().any(|(_, c)| c.unsigned_abs() > 1 << 30);
                    large(a) || large(b)
                };
                if too_large(&a.dim, &b.dim) {
                    return complain("this size is beyond what any machine holds".to_string(), "too large");
                }
                let dim = match op {
                    ast::BinaryOp::Add => a.dim + b.dim,
                    ast::BinaryOp::Sub => a.dim - b.dim,
                    ast::BinaryOp::Mul => a.dim * b.dim,
                    ast::BinaryOp::Div => a.dim.floor_div(&b.dim),
                    ast::BinaryOp::Rem => a.dim.rem(&b.dim),
                    ast::BinaryOp::Eq
                    | ast::BinaryOp::Ne
                    | ast::BinaryOp::Lt
                    | ast::BinaryOp::Le
                    | ast::BinaryOp::Gt
                    | ast::BinaryOp::Ge
                    | ast::BinaryOp::And
                    | ast::BinaryOp::Or => return complain("a truth value is no size".to_string(), "a truth value"),
                };
                Ok(Size::from(dim, because(e.span, "")))
            }
            ast::ExprKind::If { condition, then, other } => match self.eval(condition, None) {
                Value::Bool(true) => self.size_of(then),
                Value::Bool(false) => self.size_of(other),
                Value::Error => Err(None),
                Value::Run(_)
                | Value::Size(_)
                | Value::Number(_)
                | Value::Text(_)
                | Value::List(_)
                | Value::Callable(_) => Err(Some(Box::new(
                    Diagnostic::error("not-a-size", "this size is decided too late")
                        .primary(condition.span, "not known when the model is built"),
                ))),
            },
            ast::ExprKind::Error => Err(None),
            ast::ExprKind::Str(_)
            | ast::ExprKind::Bool(_)
            | ast::ExprKind::Quantity { .. }
            | ast::ExprKind::Next(_)
            | ast::ExprKind::Pipe { .. }
            | ast::ExprKind::Call { .. }
            | ast::ExprKind::Subscript { .. }
            | ast::ExprKind::Field { .. }
            | ast::ExprKind::List(_)
            | ast::ExprKind::Record(_)
            | ast::ExprKind::For { .. }
            | ast::ExprKind::Reduce { .. }
            | ast::ExprKind::Else { .. }
            | ast::ExprKind::Except { .. }
            | ast::ExprKind::Block(_)
            | ast::ExprKind::Scan(_)
            | ast::ExprKind::Unary { op: ast::UnaryOp::Not, .. }
            | ast::ExprKind::Iterate(_) => {
                let value = self.eval(e, None);
                match size_value(&value) {
                    Some(size) => Ok(size),
                    None if matches!(value, Value::Error) => Err(None),
                    None => complain(
                        format!("{} is not a size", value.shown()),
                        "a natural number, known when the model is built, is expected",
                    ),
                }
            }
        }
    }
}

/// A value that can be a size: sizes, whole numbers, and `valid`, which adds nothing.
pub(crate) fn size_value(value: &Value) -> Option<Size> {
    match value {
        Value::Size(size) => Some(size.clone()),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Some(Size::of(Dim::from(*number as i64)))
        }
        Value::Text(word) if &**word == "valid" => Some(Size::of(Dim::zero())),
        Value::Run(e) => {
            let whole = if let ExprKind::Unary(UnaryOp::ToReal, inner) = &e.kind { inner } else { e };
            if let ExprKind::Size(dim) = &whole.kind { Some(Size::of(dim.clone())) } else { None }
        }
        Value::Number(_) | Value::Text(_) | Value::Bool(_) | Value::List(_) | Value::Callable(_) | Value::Error => None,
    }
}

fn sizes(tensor: &TensorType) -> Vec<Dim> {
    tensor.shape.iter().map(|axis| axis.size.clone()).collect()
}

fn mentions_size(test: &Expr) -> bool {
    let mut found = false;
    hir::visit::each(test, &mut |part| found |= matches!(part.kind, ExprKind::Size(_)));
    found
}

/// Words that mean something in another place: reductions need indices, `last`, `clamp` and `mod` stand for a whole subscript.
fn only_elsewhere(name: &ast::Name) -> Option<Diagnostic> {
    let (what, label, help) = match name.text.as_str() {
        "last" => (
            "`last` is a whole subscript",
            "not a number",
            "write `x[last]`; the element before it is `x[n - 2]`, with n the size of the axis",
        ),
        "clamp" | "mod" => (
            "`clamp` and `mod` say what a subscript reads outside of its axis",
            "not a function",
            "write `x[clamp(i)]` with a tensor that has a name; of numbers, `max(0, min(a, b))` and `a % b`",
        ),
        word if ast::Reduction::from_text(word).is_some() => (
            "a reduction needs its indices",
            "applied like a function",
            "write `sum[i] x[i]`, or `mean[i, j] x[i, j]`: the name, the indices in brackets, then what is reduced",
        ),
        _ => return None,
    };
    Some(Diagnostic::error("unknown-name", what).primary(name.span, label).help(help))
}
