//! Calls and pipes: what is applied to what.
//!
//! `x |> f(a)` applies the layer `f(a)` to x, or the function f to x and a; `_` says where x goes where there are more inputs. A chain
//! applies its layers one after the other. [`instance`](crate::instance) builds what an application comes to.

use crate::builtin::Given;
use crate::checker::{Binding, Checker};
use crate::hir::{self, ExprKind, Type};
use crate::types::Meeting;
use crate::value::{Callable, Value, expr, show_type};
use crate::walk;
use bdl_grammar::ast::{self, ArgKind};
use bdl_grammar::{Diagnostic, Span};

/// An argument before it meets a signature.
pub(crate) struct Source<'a> {
    pub name: Option<&'a ast::Name>,
    pub what: What<'a>,
    pub span: Span,
}

pub(crate) enum What<'a> {
    Value(Value<'a>),
    Expr(&'a ast::Expr),
}

impl<'a> Checker<'a> {
    pub fn call(&mut self, callee: &'a ast::Expr, args: &'a [ast::Arg], span: Span, want: Option<&Type>) -> Value<'a> {
        if let ast::ExprKind::Name(name) = &callee.kind
            && self.here().find(&name.text).is_none()
            && self.items.find(self.here().file, &name.text).is_none()
        {
            if crate::draw::is_draw(&name.text) {
                return self.draw(name, args, Vec::new(), span);
            }
            if let Some(builtin) = crate::builtin::name_of(&name.text) {
                return self.call_builtin(builtin, None, args, span, want);
            }
        }
        let value = self.eval(callee, None);
        let Value::Callable(callable) = value else {
            if matches!(value, Value::Error) {
                return Value::Error;
            }
            let shown = value.shown();
            return self.fail(
                Diagnostic::error(
                    "not-a-function",
                    format!("`{}` is {shown} and cannot be applied", self.text(callee.span)),
                )
                .primary(callee.span, "neither a function nor a layer")
                .help("a tensor's elements are read with brackets: `x[t]`"),
            );
        };
        match &*callable {
            Callable::Fn(def, file) => match self.plain_sources(args) {
                Some(sources) => self.apply_fn(def, *file, sources, span, want),
                None => self.partial(Value::Callable(callable), args),
            },
            Callable::Local(local) => match self.plain_sources(args) {
                Some(sources) => self.apply_local(local, sources, span, want),
                None => self.partial(Value::Callable(callable), args),
            },
            Callable::Builtin(name) => self.call_builtin(name, None, args, span, want),
            Callable::LayerDef(def, file) => {
                if def.hyper.is_empty() && !def.hyper_written && !args.is_empty() {
                    let layer = self.configure(def, *file, &[], span);
                    return match self.plain_sources(args) {
                        Some(sources) => self.apply(&layer, sources, span, want),
                        None => self.partial(layer, args),
                    };
                }
                self.configure(def, *file, args, span)
            }
            Callable::Layer(_) | Callable::Chain(_) | Callable::Partial { .. } | Callable::Unknown { .. } => {
                match self.plain_sources(args) {
                    Some(sources) => self.apply(&Value::Callable(callable), sources, span, want),
                    None => self.partial(Value::Callable(callable), args),
                }
            }
        }
    }

    fn call_builtin(
        &mut self,
        builtin: &'static str,
        piped: Option<Source<'a>>,
        args: &'a [ast::Arg],
        span: Span,
        want: Option<&Type>,
    ) -> Value<'a> {
        if piped.is_none()
            && let Some(value) = self.special_call(builtin, args, span)
        {
            return value;
        }
        let mut given = Vec::new();
        let mut placed = false;
        for arg in args {
            let (name, e) = match &arg.kind {
                ArgKind::Positional(e) => (None, e),
                ArgKind::Named { name, value } => (Some(name), value),
                ArgKind::Hole => {
                    if let Some(Source { what: What::Value(value), .. }) = &piped {
                        given.push(Given { name: None, value: value.clone(), span });
                        placed = true;
                    }
                    continue;
                }
                ArgKind::Each { .. } => {
                    return self.fail(
                        Diagnostic::error("wrong-arguments", "only `chain` repeats")
                            .primary(arg.span, "`in` has no place here"),
                    );
                }
            };
            let value = match (builtin, &e.kind) {
                // The new shape is read as sizes: `/` rounds down.
                ("reshape", ast::ExprKind::List(sizes)) => {
                    let sizes: Option<Vec<Value<'a>>> =
                        sizes.iter().map(|size| self.size(size).map(Value::Size)).collect();
                    sizes.map_or(Value::Error, Value::List)
                }
                (_, _) => self.eval(e, None),
            };
            given.push(Given { name, value, span: e.span });
        }
        if let (Some(Source { what: What::Value(value), span: at, .. }), false) = (piped, placed) {
            given.insert(0, Given { name: None, value, span: at });
        }
        self.apply_builtin(builtin, given, span, want)
    }

    /// Arguments without a hole; `None` if there is one.
    fn plain_sources(&mut self, args: &'a [ast::Arg]) -> Option<Vec<Source<'a>>> {
        let mut sources = Vec::new();
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(e) => sources.push(Source { name: None, what: What::Expr(e), span: e.span }),
                ArgKind::Named { name, value } => {
                    sources.push(Source { name: Some(name), what: What::Expr(value), span: value.span })
                }
                ArgKind::Hole => return None,
                ArgKind::Each { .. } => {
                    self.say(
                        Diagnostic::error("wrong-arguments", "only `chain` repeats")
                            .primary(arg.span, "`in` has no place here"),
                    );
                    sources.push(Source { name: None, what: What::Value(Value::Error), span: arg.span });
                }
            }
        }
        Some(sources)
    }

    /// `GinLayer(128)(_, src, dst)` waits for what the hole stands for.
    fn partial(&mut self, callee: Value<'a>, args: &'a [ast::Arg]) -> Value<'a> {
        let mut waiting = Vec::new();
        for arg in args {
            match &arg.kind {
                ArgKind::Hole => waiting.push(None),
                ArgKind::Positional(e) => {
                    let value = self.eval(e, None);
                    let value = match value {
                        Value::Run(term) => Value::Run(self.hoist("given", term)),
                        value => value,
                    };
                    waiting.push(Some(value));
                }
                ArgKind::Named { .. } | ArgKind::Each { .. } => {
                    return self.fail(
                        Diagnostic::error("wrong-arguments", "beside a hole `_` the other inputs stand in order")
                            .primary(arg.span, "an input without a name is expected"),
                    );
                }
            }
        }
        if matches!(callee, Value::Error) {
            return Value::Error;
        }
        Value::callable(Callable::Partial { callee, waiting, home: self.bodies.len() - 1 })
    }

    /// `x |> f(a) |> g`: left to right, without nesting.
    pub fn pipe(&mut self, e: &'a ast::Expr, want: Option<&Type>) -> Value<'a> {
        let mut stages = Vec::new();
        let mut first = e;
        while let ast::ExprKind::Pipe { value, into } = &first.kind {
            stages.push((&**into, first.span));
            first = value;
        }
        stages.reverse();
        let mut value = self.eval(first, None);
        let mut at = first.span;
        let count = stages.len();
        for (position, (into, span)) in stages.into_iter().enumerate() {
            let want = if position + 1 == count { want } else { None };
            if matches!(value, Value::Error) {
                // What comes later may still hold a mistake of its own, but not one about this value.
                return Value::Error;
            }
            value = self.pipe_into(value, at, into, want);
            if let Value::Run(term) = value {
                let name = self.stage_name(&term);
                let applied = matches!(term.kind, ExprKind::Apply { .. } | ExprKind::Builtin(_, _) | ExprKind::Scan(_));
                let mut term = if applied { self.hoist(&name, term) } else { term };
                term.span = into.span;
                value = Value::Run(term);
            }
            at = into.span;
            let _ = span;
        }
        value
    }

    fn stage_name(&self, term: &hir::Expr) -> String {
        let ExprKind::Apply { function, .. } = &term.kind else { return "value".to_string() };
        let function = &self.hir.functions[function.0 as usize];
        let last = function.path.as_deref().and_then(|path| path.rsplit('.').next());
        last.unwrap_or(&function.name).to_string()
    }

    fn pipe_into(&mut self, value: Value<'a>, at: Span, into: &'a ast::Expr, want: Option<&Type>) -> Value<'a> {
        let source = Source { name: None, what: What::Value(value), span: into.span };
        let _ = at;
        if let ast::ExprKind::Call { callee, args } = &into.kind {
            if let ast::ExprKind::Name(name) = &callee.kind
                && self.here().find(&name.text).is_none()
                && self.items.find(self.here().file, &name.text).is_none()
                && let Some(builtin) = crate::builtin::name_of(&name.text)
                && builtin != "chain"
                && !crate::draw::is_draw(builtin)
            {
                return self.call_builtin(builtin, Some(source), args, into.span, want);
            }
            let holes = args.iter().any(|arg| matches!(arg.kind, ArgKind::Hole));
            if !holes {
                let chain = walk::as_name(callee)
                    .is_some_and(|name| name.text == "chain" && self.here().find("chain").is_none());
                let callee_value = if chain { Value::Bool(true) } else { self.eval(callee, None) };
                if let Value::Callable(callable) = &callee_value {
                    match &**callable {
                        Callable::Fn(def, file) => {
                            let Some(mut sources) = self.plain_sources(args) else { return Value::Error };
                            sources.insert(0, source);
                            return self.apply_fn(def, *file, sources, into.span, want);
                        }
                        Callable::Local(local) => {
                            let Some(mut sources) = self.plain_sources(args) else { return Value::Error };
                            sources.insert(0, source);
                            return self.apply_local(local, sources, into.span, want);
                        }
                        Callable::LayerDef(def, file) => {
                            let layer = self.configure(def, *file, args, into.span);
                            return self.apply(&layer, vec![source], into.span, want);
                        }
                        Callable::Builtin(_)
                        | Callable::Layer(_)
                        | Callable::Chain(_)
                        | Callable::Partial { .. }
                        | Callable::Unknown { .. } => {
                            let Some(mut sources) = self.plain_sources(args) else { return Value::Error };
                            sources.insert(0, source);
                            return self.apply(&callee_value, sources, into.span, want);
                        }
                    }
                }
                if matches!(callee_value, Value::Error) {
                    return Value::Error;
                }
            }
        }
        let callee = self.eval(into, None);
        self.apply(&callee, vec![source], into.span, want)
    }

    /// Applies whatever can be applied.
    pub fn apply(
        &mut self,
        callee: &Value<'a>,
        mut sources: Vec<Source<'a>>,
        span: Span,
        want: Option<&Type>,
    ) -> Value<'a> {
        let Value::Callable(callable) = callee else {
            if matches!(callee, Value::Error) {
                return Value::Error;
            }
            return self.fail(
                Diagnostic::error("not-a-function", format!("{} cannot be applied", callee.shown()))
                    .primary(span, "neither a function nor a layer"),
            );
        };
        match &**callable {
            Callable::Fn(def, file) => self.apply_fn(def, *file, sources, span, want),
            Callable::Local(local) => self.apply_local(local, sources, span, want),
            Callable::Builtin(name) => {
                let given = sources.into_iter().map(|source| {
                    let (name, at) = (source.name, source.span);
                    Given { name, value: self.value_of(source), span: at }
                });
                let given = given.collect();
                self.apply_builtin(name, given, span, want)
            }
            Callable::LayerDef(def, file) => {
                let layer = self.configure(def, *file, &[], span);
                self.apply(&layer, sources, span, want)
            }
            Callable::Layer(layer) => self.apply_layer(layer, sources, span, want),
            Callable::Chain(layers) => {
                let last = layers.len();
                for (position, layer) in layers.iter().enumerate() {
                    let want = if position + 1 == last { want } else { None };
                    let mut value = self.apply(layer, sources, span, want);
                    if let Value::Run(term) = value {
                        let name = self.stage_name(&term);
                        value = Value::Run(self.hoist(&name, term));
                    }
                    if matches!(value, Value::Error) {
                        return Value::Error;
                    }
                    sources = vec![Source { name: None, what: What::Value(value), span }];
                }
                match sources.pop() {
                    Some(source) if sources.is_empty() => self.value_of(source),
                    Some(_) | None => self.fail(
                        Diagnostic::error("wrong-arguments", "a chain takes one value")
                            .primary(span, "given otherwise"),
                    ),
                }
            }
            Callable::Partial { callee, waiting, home } => {
                let mut filled = Vec::new();
                let mut given = sources.into_iter();
                for slot in waiting {
                    match slot {
                        Some(Value::Run(term)) => match self.carry("given", term.clone(), *home, span) {
                            Some(term) => filled.push(Source { name: None, what: What::Value(Value::Run(term)), span }),
                            None => return Value::Error,
                        },
                        Some(value) => filled.push(Source { name: None, what: What::Value(value.clone()), span }),
                        None => match given.next() {
                            Some(source) => filled.push(source),
                            None => {
                                return self.fail(
                                    Diagnostic::error("wrong-arguments", "a hole `_` is left open")
                                        .primary(span, "more holes than values"),
                                );
                            }
                        },
                    }
                }
                self.apply(callee, filled, span, want)
            }
            Callable::Unknown { result, inputs } => self.apply_unknown(result, inputs, sources, span),
        }
    }

    pub fn value_of(&mut self, source: Source<'a>) -> Value<'a> {
        match source.what {
            What::Value(value) => value,
            What::Expr(e) => self.eval(e, None),
        }
    }

    /// A layer-valued hyper-parameter in a definition that is checked on its own: only its type is known.
    fn apply_unknown(
        &mut self,
        result: &'a ast::Type,
        inputs: &'a [ast::Type],
        sources: Vec<Source<'a>>,
        span: Span,
    ) -> Value<'a> {
        for (source, ty) in sources.into_iter().zip(inputs) {
            let at = source.span;
            let value = self.value_of(source);
            let term = self.term_of(value, at, None);
            if term.is_error() {
                return Value::Error;
            }
            self.bind_type(ty, &term.ty);
            if self.fit(ty, &term.ty, &Meeting { span: at, what: "this takes" }).is_none() {
                return Value::Error;
            }
        }
        // What only the result names is any size.
        let mut free = Vec::new();
        walk::type_names(result, &mut |name| free.push(name));
        for name in free {
            if self.is_free(name) {
                let dim = bdl_dims::Dim::var(name.text.as_str());
                let size = crate::value::Size::from(dim, crate::checker::because(name.span, ""));
                self.body().bind_outermost(&name.text, Binding::Value(Value::Size(size)));
            }
        }
        match self.read_type(result) {
            Some(ty) => Value::Run(expr(ExprKind::Number(f64::NAN), ty, span)),
            None => Value::Error,
        }
    }

    pub fn describe(&self, value: &Value<'a>) -> String {
        match value {
            Value::Run(term) => show_type(&term.ty),
            value => value.shown(),
        }
    }
}
