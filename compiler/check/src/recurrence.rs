//! `scan` and `iterate`: values carried from step to step.

use crate::checker::{Binding, Checker};
use crate::hir::{self, ExprKind, IndexKind, Iterate, LocalId, Scalar, Scan, TensorType, Type};
use crate::operators::of_type;
use crate::types::Meeting;
use crate::value::{Value, axis, error_expr, expr, show_type};
use bdl_grammar::ast::{self, Reversed};
use bdl_grammar::{Diagnostic, Span};
use std::collections::HashMap;

/// Carried values while the body of a scan is read: where each lives and what it starts with.
struct Carried {
    start: Vec<hir::Expr>,
}

impl<'a> Checker<'a> {
    pub fn scan(&mut self, scan: &'a ast::Scan, span: Span) -> Value<'a> {
        let Some(extent) = self.size(&scan.extent) else { return Value::Error };
        if !self.facts().proves(&extent.dim) {
            return self.fail(
                Diagnostic::error(
                    "negative-size",
                    format!("`{}` runs to {}, which may be negative", scan.index, extent.dim),
                )
                .primary(scan.extent.span, "nothing says that this is at least 0"),
            );
        }
        let reversed = match &scan.reversed {
            Reversed::No => false,
            Reversed::Always(_) => true,
            Reversed::If(condition) => match self.eval(condition, None) {
                Value::Bool(truth) => truth,
                Value::Error => return Value::Error,
                Value::Run(_) if self.generic => false,
                value => {
                    let shown = self.describe(&value);
                    return self.fail(
                        Diagnostic::error("not-static", "the direction of a scan is known when the model is built")
                            .primary(condition.span, format!("this is {shown}")),
                    );
                }
            },
        };
        let checkpoint = match &scan.checkpoint {
            None => None,
            Some(every) => match self.size(every).and_then(|size| size.dim.as_const()).filter(|n| *n >= 1) {
                Some(every) => Some(every),
                None => {
                    return self.fail(
                        Diagnostic::error("not-static", "`checkpoint every` takes a number of steps")
                            .primary(every.span, "at least 1, known when the model is built"),
                    );
                }
            },
        };
        let Some(carried) = self.starts(&scan.carried) else { return Value::Error };
        let range = hir::Axis { origin: extent.origin.clone(), ..axis(extent.dim.clone()) };
        if let Some(Binding::Index(open)) = self.here().find(&scan.index.text) {
            let at = self.here().index(*open).span;
            return self.fail(
                Diagnostic::error("index-rebound", format!("`{}` is already an index here", scan.index))
                    .primary(scan.index.span, "bound again inside its own range")
                    .secondary(at, "bound here")
                    .help("choose another letter for the inner one"),
            );
        }
        let index = self.body().new_index(
            &scan.index.text,
            IndexKind::Step(extent.dim.clone()),
            Some(range.clone()),
            true,
            scan.index.span,
        );
        let inside = self.steps_inside(&scan.carried, carried, &scan.body, Some((&scan.index, index)), None);
        let Some(inside) = inside else { return Value::Error };
        let value_type = match &inside.emit {
            Some(emit) => match stacked(&emit.ty, &range) {
                Some(ty) => ty,
                None => return Value::Error,
            },
            None => Type::Record(
                scan.carried
                    .iter()
                    .zip(&inside.carried)
                    .map(|(written, (_, start))| (written.name.text.as_str().into(), start.ty.clone()))
                    .collect(),
            ),
        };
        let scan = Scan {
            index,
            extent: extent.dim,
            reversed,
            carried: inside.carried,
            lets: inside.lets,
            next: inside.next,
            emit: inside.emit,
            checkpoint,
        };
        Value::Run(expr(ExprKind::Scan(Box::new(scan)), value_type, span))
    }

    pub fn iterate(&mut self, iterate: &'a ast::Iterate, span: Span) -> Value<'a> {
        let Some(at_most) = self.size(&iterate.at_most) else { return Value::Error };
        let Some(carried) = self.starts(&iterate.carried) else { return Value::Error };
        let Some(inside) = self.steps_inside(&iterate.carried, carried, &iterate.body, None, Some(&iterate.until))
        else {
            return Value::Error;
        };
        if let Some(emit) = &inside.emit {
            return self.fail(
                Diagnostic::error("misplaced-statement", "`emit` outside a `scan`")
                    .primary(emit.span, "`iterate` gives its last values"),
            );
        }
        let ty = Type::Record(
            iterate
                .carried
                .iter()
                .zip(&inside.carried)
                .map(|(written, (_, start))| (written.name.text.as_str().into(), start.ty.clone()))
                .collect(),
        );
        let Some(until) = inside.until else { return Value::Error };
        let iterate =
            Iterate { carried: inside.carried, until, at_most: at_most.dim, lets: inside.lets, next: inside.next };
        Value::Run(expr(ExprKind::Iterate(Box::new(iterate)), ty, span))
    }

    fn starts(&mut self, carried: &'a [ast::Carried]) -> Option<Carried> {
        let mut start = Vec::new();
        for one in carried {
            let mut value = self.run(&one.init, None);
            match &value.ty {
                Type::Tensor(tensor) => {
                    let has_own = matches!(tensor.scalar, Scalar::F64 | Scalar::BF16);
                    let scalar = if tensor.scalar.is_real() && !has_own { Scalar::F32 } else { tensor.scalar.clone() };
                    value.ty = Type::Tensor(TensorType { scalar, ..tensor.clone() });
                }
                Type::Record(_) => {
                    let shown = show_type(&value.ty);
                    self.say(
                        Diagnostic::error("type-mismatch", "a carried value is a tensor")
                            .primary(one.init.span, format!("this is {shown}"))
                            .help("carry each field by itself: `from (a = r.a, b = r.b)`"),
                    );
                    return None;
                }
                Type::Error => return None,
            }
            start.push(value);
        }
        Some(Carried { start })
    }

    fn steps_inside(
        &mut self,
        written: &'a [ast::Carried],
        carried: Carried,
        block: &'a ast::Block,
        index: Option<(&'a ast::Name, hir::IndexId)>,
        until: Option<&'a ast::Expr>,
    ) -> Option<Inside> {
        self.body().blocks.push(Vec::new());
        self.body().scopes.push(HashMap::new());
        if let Some((name, id)) = index {
            self.body().bind(&name.text, Binding::Index(id));
        }
        let mut locals: Vec<(LocalId, hir::Expr)> = Vec::new();
        let mut step: HashMap<&'a str, Option<LocalId>> = HashMap::new();
        for (one, start) in written.iter().zip(carried.start) {
            let local = self.body().new_local(one.name.text.as_str(), start.ty.clone(), one.name.span);
            let value = self.here().local(local, one.name.span);
            self.body().bind(&one.name.text, Binding::Value(Value::Run(value)));
            if step.insert(&one.name.text, None).is_some() {
                self.say(
                    Diagnostic::error("duplicate-name", format!("`{}` is carried twice", one.name))
                        .primary(one.name.span, "here again"),
                );
            }
            locals.push((local, start));
        }
        self.body().steps.push(step);
        self.body().emits.push(None);
        let until = until.map(|until| self.run(until, None));
        let value = self.statements(block, None);
        if let Some(Value::Run(value)) = &value {
            let span = value.span;
            self.say(
                Diagnostic::error("misplaced-statement", "a step gives its values with `next` and `emit`")
                    .primary(span, "this value goes nowhere")
                    .help("write `emit` before it"),
            );
        }
        let emit = self.body().emits.pop().flatten();
        let step = self.body().steps.pop().unwrap_or_default();
        self.body().scopes.pop();
        let mut next = Vec::new();
        let mut failed = matches!(value, Some(Value::Error)) || emit.as_ref().is_some_and(hir::Expr::is_error);
        for one in written {
            match step.get(one.name.text.as_str()).copied().flatten() {
                Some(local) => {
                    let value = self.here().local(local, one.name.span);
                    failed |= value.is_error();
                    next.push(value);
                }
                None => {
                    self.say(
                        Diagnostic::error(
                            "missing-next",
                            format!("`{}` is carried, but no step gives its next value", one.name),
                        )
                        .primary(one.span, "stays as it is for ever")
                        .help(format!("add `next {} = ..`", one.name)),
                    );
                    failed = true;
                }
            }
        }
        let lets = self.body().blocks.pop().unwrap_or_default();
        if let Some(until) = &until {
            let truth =
                matches!(&until.ty, Type::Tensor(TensorType { scalar: Scalar::Bool, shape, .. }) if shape.is_empty());
            if !truth && !until.is_error() {
                let shown = show_type(&until.ty);
                self.say(
                    Diagnostic::error("type-mismatch", "`until` needs a truth value")
                        .primary(until.span, format!("this is {shown}")),
                );
            }
            failed |= !truth;
        }
        if failed {
            return None;
        }
        Some(Inside { carried: locals, lets, next, emit, until })
    }

    /// `next h = ..`.
    pub fn next_statement(&mut self, name: &'a ast::Name, value: &'a ast::Expr, span: Span) {
        let carried = self.here().steps.last().is_some_and(|step| step.contains_key(name.text.as_str()));
        if !carried {
            self.say(
                Diagnostic::error("misplaced-statement", format!("nothing carries `{name}` from step to step"))
                    .primary(span, "`next` names a value after `from`")
                    .help("a `state` is changed with `update`"),
            );
            self.eval(value, None);
            return;
        }
        let wanted = match self.here().find(&name.text) {
            Some(Binding::Value(Value::Run(term))) => term.ty.clone(),
            Some(Binding::Value(_) | Binding::Index(_) | Binding::Declared(_) | Binding::Other(_)) | None => {
                Type::Error
            }
        };
        let term = self.run(value, Some(&wanted));
        let own = |scalar: &Scalar| match (scalar == &Scalar::F64, scalar == &Scalar::BF16) {
            (true, _) => "f64",
            (_, true) => "bf16",
            (false, false) => "f32",
        };
        // A written number has the precision that is asked for.
        let is_written = matches!(term.kind, ExprKind::Number(_));
        let fitted = match (&wanted, &term.ty) {
            (Type::Tensor(wants), Type::Tensor(has))
                if !is_written
                    && has.scalar.is_real()
                    && has.scalar != wants.scalar
                    && (has.scalar == Scalar::F64 || wants.scalar == Scalar::BF16) =>
            {
                let (from, to) = (own(&wants.scalar), own(&has.scalar));
                let help = format!(
                    "let it be one from the start, `from ({name} = {to}(..))`, or round each step, `{from}(..)`"
                );
                self.say(
                    Diagnostic::error(
                        "type-mismatch",
                        format!("`{name}` is {}, but becomes an {to}", show_type(&wanted)),
                    )
                    .primary(value.span, format!("this is {}", show_type(&term.ty)))
                    .help(help),
                );
                None
            }
            (Type::Tensor(wants), Type::Tensor(has)) => {
                let what = format!("`{name}` is");
                self.fit_tensor(wants, has, None, &Meeting { span: value.span, what: &what })
                    .map(|_| of_type(term, wanted.clone()))
            }
            (_, _) => None,
        };
        let fitted = fitted.unwrap_or_else(|| error_expr(value.span));
        let local = self.let_local(&format!("next {name}"), fitted, span);
        if let Some(step) = self.body().steps.last_mut()
            && let Some(Some(_)) = step.insert(&name.text, Some(local))
        {
            self.say(
                Diagnostic::error("duplicate-name", format!("`next {name}` is given twice"))
                    .primary(span, "here again"),
            );
        }
    }

    /// `emit e`.
    pub fn emit_statement(&mut self, e: &'a ast::Expr) {
        if self.here().emits.is_empty() {
            self.say(
                Diagnostic::error("misplaced-statement", "`emit` outside a `scan`")
                    .primary(e.span, "nothing collects this"),
            );
            return;
        }
        let value = self.run(e, None);
        if let Some(slot) = self.body().emits.last_mut() {
            let twice = slot.is_some();
            *slot = Some(value);
            if twice {
                self.say(
                    Diagnostic::error("duplicate-name", "a step emits once")
                        .primary(e.span, "here again")
                        .help("emit a record: `emit (h: next h, c: next c)`"),
                );
            }
        }
    }
}

/// What the body of a scan or iterate came to.
struct Inside {
    carried: Vec<(LocalId, hir::Expr)>,
    lets: Vec<hir::Let>,
    next: Vec<hir::Expr>,
    emit: Option<hir::Expr>,
    until: Option<hir::Expr>,
}

/// The type with one more axis in front.
fn stacked(ty: &Type, range: &hir::Axis) -> Option<Type> {
    match ty {
        Type::Tensor(tensor) => {
            let mut shape = vec![range.clone()];
            shape.extend(tensor.shape.iter().cloned());
            Some(Type::Tensor(TensorType { shape, ..tensor.clone() }))
        }
        Type::Record(fields) => {
            let fields: Option<Vec<_>> =
                fields.iter().map(|(name, ty)| Some((name.clone(), stacked(ty, range)?))).collect();
            fields.map(Type::Record)
        }
        Type::Error => None,
    }
}
