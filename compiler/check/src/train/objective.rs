//! Functions of one example: losses, what they are divided by, penalties, predictions.
//!
//! The fields of the data are their inputs. Each is built in a body of its own; what the block's `let`s and a model's sizes are called is
//! known inside.

use super::Stage;
use crate::checker::{Binding, Body, BodyKind, Checker};
use crate::function::Head;
use crate::hir::{self, FunctionId, Scalar, TensorType, Type};
use crate::value::{Value, number, show_type};
use crate::walk;
use bdl_grammar::ast;
use bdl_grammar::{Diagnostic, Span};

/// What an objective must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Number,
    Count,
    /// A number or a truth value, to be averaged.
    Metric,
    Any,
}

impl<'a> Checker<'a> {
    /// A function of one example: fields in, the expression's value out.
    pub(crate) fn objective(
        &mut self,
        stage: &mut Stage<'a>,
        name: &str,
        e: &'a ast::Expr,
        wanted: Wanted,
    ) -> Option<FunctionId> {
        self.applied.clear();
        self.mentioned.clear();
        walk::names(e, &mut |name| _ = self.mentioned.insert(&name.text));
        for binding in &stage.lets {
            walk::names(&binding.value, &mut |name| _ = self.mentioned.insert(&name.text));
        }
        for (_, value) in &stage.augment {
            walk::names(value, &mut |name| _ = self.mentioned.insert(&name.text));
        }
        self.first_application = stage.step;
        let mut body = Body::new(stage.file, BodyKind::Objective, None);
        // Each step draws numbers of its own.
        body.application = stage.step;
        for (name, value) in stage.hyper.iter().chain(&stage.models) {
            body.bind(name, Binding::Value(value.clone()));
        }
        for (name, size) in &stage.sizes {
            body.bind(name, Binding::Value(Value::Size(size.clone())));
        }
        for (name, value) in &stage.fitted {
            body.bind(name, Binding::Value(value.clone()));
        }
        self.bodies.push(body);
        let mut inputs = Vec::new();
        for field in stage.fields.clone() {
            let local = self.body().new_local(field.name.clone(), field.ty, e.span);
            inputs.push((field.name, local));
        }
        // Names of fields live as long as the program's facts do.
        for (name, local) in &inputs {
            let known = self.facts.iter().flat_map(|facts| &facts.fields).find(|field| field.name == *name);
            if let Some(field) = known {
                let value = self.here().local(*local, e.span);
                let name: &'a str = &field.name;
                self.body().bind(name, Binding::Value(Value::Run(value)));
            }
        }
        let term = self.objective_term(stage, e, wanted);
        let done = self.bodies.pop()?;
        for (name, binding) in done.scopes.first().into_iter().flatten() {
            if let Binding::Value(Value::Size(size)) = binding
                && !stage.sizes.iter().any(|(known, _)| known == name)
                && !stage.hyper.iter().any(|(known, _)| known == name)
            {
                stage.sizes.push((name, size.clone()));
            }
        }
        let term = term?;
        let inputs = inputs.into_iter().map(|(_, local)| local).collect();
        let head = Head { name: name.into(), shown: name.to_string(), path: None, inputs, span: e.span };
        Some(self.keep_function(head, done, term))
    }

    fn objective_term(&mut self, stage: &Stage<'a>, e: &'a ast::Expr, wanted: Wanted) -> Option<hir::Expr> {
        let mut needed: Vec<&str> = Vec::new();
        walk::names(e, &mut |name| needed.push(&name.text));
        // What a metric speaks of has the names of predictions, which speak of the `let`s.
        for (name, value) in stage.predicted.iter().rev() {
            if needed.contains(&name.text.as_str()) {
                walk::names(value, &mut |name| needed.push(&name.text));
            }
        }
        for binding in stage.lets.iter().rev() {
            if needed.contains(&binding.name.text.as_str()) {
                walk::names(&binding.value, &mut |name| needed.push(&name.text));
            }
        }
        self.augment(stage, &needed);
        for binding in &stage.lets {
            if needed.contains(&binding.name.text.as_str()) {
                let statement = match &binding.binders {
                    Some(binders) => self.for_each(binders, &binding.value, binding.value.span),
                    None => self.eval(&binding.value, None),
                };
                self.bind_named(&binding.name, statement);
            }
        }
        for (name, value) in &stage.predicted {
            if needed.contains(&name.text.as_str()) {
                let value = self.eval(value, None);
                self.bind_named(name, value);
            }
        }
        // A loss in braces may take the sizes that its lines found.
        let value = match (&e.kind, stage.metric_args) {
            (ast::ExprKind::Block(block), _) => self.statements(block, None).unwrap_or_else(|| {
                self.fail(
                    Diagnostic::error("no-value", "this block has no value")
                        .primary(e.span, "it does not end with an expression"),
                )
            }),
            (ast::ExprKind::Call { callee, args: _ }, Some(args)) => self.call(callee, args, e.span, None),
            (_, _) => self.eval(e, None),
        };
        if matches!(value, Value::Error) {
            self.finish_statement();
            return None;
        }
        let term = self.term_of(value, e.span, None);
        self.finish_statement();
        match wanted {
            Wanted::Any if term.is_error() => None,
            Wanted::Any => Some(term),
            Wanted::Number | Wanted::Count | Wanted::Metric => self.single_number(term, e, wanted),
        }
    }

    /// Fields become what `augment` makes of them, all of them from the fields as they were.
    fn augment(&mut self, stage: &Stage<'a>, needed: &[&str]) {
        let mut made = Vec::new();
        for (name, value) in stage.augment.iter().filter(|(name, _)| needed.contains(&name.text.as_str())) {
            let Some(Binding::Value(Value::Run(field))) = self.here().find(&name.text).cloned() else { continue };
            let value = self.eval(value, None);
            if matches!(value, Value::Error) {
                continue;
            }
            let value = self.term_of(value, name.span, Some(&field.ty));
            made.push((*name, self.augmented(name, value, field)));
        }
        for (name, value) in made {
            self.bind_named(name, Value::Run(value));
        }
    }

    fn bind_named(&mut self, name: &'a ast::Name, value: Value<'a>) {
        let value = match value {
            Value::Run(term) => {
                let local = self.let_local(&name.text, term, name.span);
                Value::Run(self.here().local(local, name.span))
            }
            value => value,
        };
        self.body().bind(&name.text, Binding::Value(value));
    }

    fn single_number(&mut self, term: hir::Expr, e: &'a ast::Expr, wanted: Wanted) -> Option<hir::Expr> {
        let what = match wanted {
            Wanted::Count => "what the loss is divided by",
            Wanted::Metric => "a metric",
            Wanted::Number | Wanted::Any => "a loss",
        };
        match &term.ty {
            // A loss or metric that may be missing skips the example; what the loss is divided by must be there.
            Type::Tensor(TensorType { scalar, optional, shape })
                if shape.is_empty() && (!optional || wanted != Wanted::Count && scalar.is_real()) =>
            {
                if scalar.is_real() {
                    return Some(term);
                }
                if scalar.is_whole() {
                    return Some(crate::operators::to_real(term));
                }
                if *scalar == Scalar::Bool && wanted != Wanted::Number {
                    // `per event`: yes counts as 1.
                    let span = term.span;
                    let ty = crate::value::scalar_type(Scalar::F32);
                    return Some(crate::value::expr(
                        hir::ExprKind::Unary(hir::UnaryOp::ToReal, Box::new(term)),
                        ty,
                        span,
                    ));
                }
            }
            Type::Tensor(_) | Type::Record(_) => {}
            Type::Error => return None,
        }
        let shown = show_type(&term.ty);
        self.say(
            Diagnostic::error(
                "loss-not-a-number",
                format!("{what} is one number for one example, but this is {shown}"),
            )
            .primary(e.span, format!("this is {shown}"))
            .help("reduce it: `mean[t] ..` or `sum[t] .. per T`"),
        );
        None
    }

    /// `per 1`.
    pub(super) fn one(&mut self, stage: &Stage<'a>, span: Span) -> FunctionId {
        let locals: Vec<hir::Local> = stage
            .fields
            .iter()
            .map(|field| hir::Local { name: field.name.clone(), ty: field.ty.clone(), span })
            .collect();
        let inputs = (0..locals.len()).map(|at| hir::LocalId(at as u32)).collect();
        self.hir.functions.push(hir::Function {
            name: "per".into(),
            shown: "per".into(),
            path: None,
            locals,
            indices: Vec::new(),
            inputs,
            body: number(1.0, span),
            updates: Vec::new(),
            span,
        });
        FunctionId((self.hir.functions.len() - 1) as u32)
    }
}
