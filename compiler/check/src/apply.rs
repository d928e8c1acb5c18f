//! Applications: calls, pipes, hyper-parameters, and the building of one function of the HIR for each.

use crate::builtin::Given;
use crate::checker::{Binding, Body, BodyKind, Checker, because, with_lets};
use crate::hir::{self, ExprKind, FunctionId, Type};
use crate::laws::LawPlace;
use crate::scope::FileAt;
use crate::suggest::nearest;
use crate::types::{Kind, Meeting, kind_of};
use crate::value::{Callable, Layer, Size, Value, expr, show_type};
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

/// What is applied: its signature and body.
struct Signature<'a> {
    name: &'a ast::Name,
    hyper: &'a [ast::Param],
    inputs: &'a [ast::Param],
    result: &'a ast::Type,
    laws: &'a [ast::Law],
    body: &'a ast::Block,
    file: FileAt,
    shown: String,
}

/// Applications nested deeper than this are taken for endless.
const DEEPEST: usize = 300;

impl<'a> Checker<'a> {
    // -------------------------------------------------------------------------------------------- calls and pipes

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
            Callable::Layer(_) | Callable::Chain(_) | Callable::Partial(_, _) | Callable::Unknown { .. } => {
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
        Value::callable(Callable::Partial(callee, waiting))
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
        match &term.kind {
            ExprKind::Apply { function, .. } => {
                let function = &self.hir.functions[function.0 as usize];
                let last = function.path.as_deref().and_then(|path| path.rsplit('.').next());
                last.unwrap_or(&function.name).to_string()
            }
            _ => "value".to_string(),
        }
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
                let callee_value = match &callee.kind {
                    ast::ExprKind::Name(name) if name.text == "chain" && self.here().find("chain").is_none() => {
                        Value::Bool(true)
                    }
                    _ => self.eval(callee, None),
                };
                if let Value::Callable(callable) = &callee_value {
                    match &**callable {
                        Callable::Fn(def, file) => {
                            let Some(mut sources) = self.plain_sources(args) else { return Value::Error };
                            sources.insert(0, source);
                            return self.apply_fn(def, *file, sources, into.span, want);
                        }
                        Callable::LayerDef(def, file) => {
                            let layer = self.configure(def, *file, args, into.span);
                            return self.apply(&layer, vec![source], into.span, want);
                        }
                        Callable::Builtin(_)
                        | Callable::Layer(_)
                        | Callable::Chain(_)
                        | Callable::Partial(_, _)
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
            Callable::Partial(callee, waiting) => {
                let mut filled = Vec::new();
                let mut given = sources.into_iter();
                for slot in waiting {
                    match slot {
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

    fn value_of(&mut self, source: Source<'a>) -> Value<'a> {
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
        match self.read_type(result) {
            Some(ty) => Value::Run(expr(ExprKind::Number(f64::NAN), ty, span)),
            None => Value::Error,
        }
    }

    // -------------------------------------------------------------------------------------------- hyper-parameters

    /// A layer with its hyper-parameters: `Conv1d(32, kernel: 9)`.
    pub fn configure(&mut self, def: &'a ast::Layer, file: FileAt, args: &'a [ast::Arg], span: Span) -> Value<'a> {
        match self.hypers(&def.name, &def.hyper, &def.inputs, file, args, span) {
            Some((hyper, shown)) => Value::callable(Callable::Layer(Layer { def, file, hyper, shown, path: None })),
            None => Value::Error,
        }
    }

    /// Hyper-parameters by name, defaults filled in, and how the application is written. `None` after a message.
    #[allow(clippy::type_complexity)]
    pub fn hypers(
        &mut self,
        name: &'a ast::Name,
        params: &'a [ast::Param],
        inputs: &'a [ast::Param],
        file: FileAt,
        args: &'a [ast::Arg],
        span: Span,
    ) -> Option<(Vec<(&'a str, Value<'a>)>, String)> {
        let mut given: Vec<Option<Value<'a>>> = params.iter().map(|_| None).collect();
        for (position, arg) in args.iter().enumerate() {
            let (slot, e) = match &arg.kind {
                ArgKind::Positional(e) if position == 0 => {
                    if params.is_empty() {
                        self.say(too_many(name, "hyper-parameters", arg.span));
                        return None;
                    }
                    (0, e)
                }
                ArgKind::Positional(e) => {
                    // A bare name `dilation` means `dilation: dilation`.
                    let slot = match &e.kind {
                        ast::ExprKind::Name(name) => params.iter().position(|hyper| hyper.name.text == name.text),
                        _ => None,
                    };
                    // Layers given to a layer stand in order: `Bidirectional(Lstm(320), Lstm(320, reverse: true))`.
                    let in_order =
                        params.get(position).filter(|hyper| kind_of(&hyper.ty) == Kind::Function).map(|_| position);
                    let Some(slot) = slot.or(in_order) else {
                        let known = params.get(position).map(|hyper| hyper.name.text.as_str());
                        let mut diagnostic = Diagnostic::error(
                            "wrong-arguments",
                            "only the first hyper-parameter may stand without its name",
                        )
                        .primary(arg.span, "which one is this?");
                        if let Some(known) = known {
                            diagnostic = diagnostic.help(format!("write `{known}: {}`", self.text(e.span)));
                        }
                        self.say(diagnostic);
                        return None;
                    };
                    (slot, e)
                }
                ArgKind::Named { name: hyper, value } => {
                    match params.iter().position(|known| known.name.text == hyper.text) {
                        Some(slot) => (slot, value),
                        None => {
                            self.unknown_hyper(name, params, inputs, hyper);
                            return None;
                        }
                    }
                }
                ArgKind::Each { .. } | ArgKind::Hole => {
                    self.say(
                        Diagnostic::error("wrong-arguments", format!("`{name}` takes hyper-parameters here"))
                            .primary(arg.span, "not a hyper-parameter")
                            .help("inputs stand in a second bracket: `GinLayer(128)(_, src, dst)`"),
                    );
                    return None;
                }
            };
            if given[slot].is_some() {
                self.say(
                    Diagnostic::error("duplicate-name", format!("`{}` is given twice", params[slot].name))
                        .primary(arg.span, "here again"),
                );
                return None;
            }
            given[slot] = Some(self.hyper_value(&params[slot], e)?);
        }
        self.with_defaults(name, params, given, file, span)
    }

    /// Defaults may speak of the hyper-parameters before them, and of nothing of the caller's.
    #[allow(clippy::type_complexity)]
    fn with_defaults(
        &mut self,
        name: &'a ast::Name,
        params: &'a [ast::Param],
        given: Vec<Option<Value<'a>>>,
        file: FileAt,
        span: Span,
    ) -> Option<(Vec<(&'a str, Value<'a>)>, String)> {
        let mut shown = Vec::new();
        for (slot, value) in given.iter().enumerate() {
            if let Some(value) = value {
                let text = value.shown().replace('`', "");
                shown.push(if slot == 0 { text } else { format!("{}: {text}", params[slot].name) });
            }
        }
        let shown = format!("{name}({})", shown.join(", "));
        let mut hyper: Vec<(&'a str, Value<'a>)> = Vec::new();
        let laws = self.here().laws.clone();
        let mut body = Body::new(file, BodyKind::Init, None);
        body.laws = laws;
        self.bodies.push(body);
        let mut complete = true;
        for (param, value) in params.iter().zip(given) {
            let value = match (value, &param.default) {
                (Some(value), _) => Some(value),
                (None, Some(default)) => self.hyper_value(param, default),
                (None, None) => {
                    self.say(
                        Diagnostic::error("missing-argument", format!("`{name}` needs `{}`", param.name))
                            .primary(span, "not given here")
                            .secondary(param.span, "it has no default")
                            .help(format!("write `{name}({}: ..)`", param.name)),
                    );
                    None
                }
            };
            let Some(value) = value else {
                complete = false;
                break;
            };
            self.body().bind(&param.name.text, Binding::Value(value.clone()));
            hyper.push((&param.name.text, value));
        }
        self.bodies.pop();
        if complete { Some((hyper, shown)) } else { None }
    }

    fn unknown_hyper(
        &mut self,
        of: &ast::Name,
        params: &'a [ast::Param],
        inputs: &'a [ast::Param],
        name: &'a ast::Name,
    ) {
        let names: Vec<&str> = params.iter().map(|hyper| hyper.name.text.as_str()).collect();
        let input = inputs.iter().any(|input| input.name.text == name.text);
        let mut diagnostic = Diagnostic::error("unknown-argument", format!("`{of}` has no hyper-parameter `{name}`"))
            .primary(
                name.span,
                if names.is_empty() { "it has none".to_string() } else { format!("it has {}", names.join(", ")) },
            );
        if let Some(near) = nearest(&name.text, names) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        } else if input {
            diagnostic = diagnostic.help(format!("`{name}` is an input: write `x |> {of}(..)`"));
        }
        self.say(diagnostic);
    }

    /// A hyper-parameter's value by its kind. `None` after a message.
    pub fn hyper_value(&mut self, param: &'a ast::Param, e: &'a ast::Expr) -> Option<Value<'a>> {
        match kind_of(&param.ty) {
            Kind::Dim => {
                let size = self.size(e)?;
                if size.dim.as_const().is_some_and(|n| n < 0) {
                    self.say(
                        Diagnostic::error(
                            "negative-size",
                            format!("`{}` is a size and cannot be {}", param.name, size.dim),
                        )
                        .primary(e.span, "negative"),
                    );
                    return None;
                }
                Some(Value::Size(Size { origin: size.origin.or_else(|| because(e.span, "")), ..size }))
            }
            Kind::Padding | Kind::Word => {
                if let ast::ExprKind::Name(word) = &e.kind
                    && self.is_unbound(word)
                {
                    if kind_of(&param.ty) == Kind::Padding && !["same", "valid"].contains(&word.text.as_str()) {
                        self.say(
                            Diagnostic::error("unknown-name", format!("`{word}` is no kind of padding"))
                                .primary(e.span, "`same`, `valid` or a number of zeros is expected"),
                        );
                        return None;
                    }
                    return Some(Value::Text(word.text.as_str().into()));
                }
                match self.eval(e, None) {
                    Value::Error => None,
                    value @ (Value::Text(_) | Value::Size(_)) => Some(value),
                    value => self.wrong_hyper(param, e, &value, "a word"),
                }
            }
            Kind::Schedule | Kind::Scalar => {
                let value = self.eval(e, None);
                self.scalar_hyper(param, e, value)
            }
            Kind::Tensor | Kind::Record => match self.eval(e, None) {
                Value::Error => None,
                value => Some(value),
            },
            Kind::List => match self.eval(e, None) {
                Value::Error => None,
                value @ Value::List(_) => Some(value),
                value => self.wrong_hyper(param, e, &value, "a list: `[1, 2, 4]`"),
            },
            Kind::Function => match self.eval(e, None) {
                Value::Error => None,
                Value::Callable(callable) => match &*callable {
                    Callable::LayerDef(def, file) => match self.configure(def, *file, &[], e.span) {
                        Value::Error => None,
                        layer => Some(layer),
                    },
                    Callable::Partial(_, waiting) if waiting.iter().flatten().any(|value| !value.is_static()) => {
                        self.say(
                            Diagnostic::error(
                                "not-built-yet",
                                "a layer with inputs filled in cannot be a hyper-parameter yet",
                            )
                            .primary(e.span, "it holds values of the running model"),
                        );
                        None
                    }
                    Callable::Fn(_, _)
                    | Callable::Builtin(_)
                    | Callable::Layer(_)
                    | Callable::Chain(_)
                    | Callable::Partial(_, _)
                    | Callable::Unknown { .. } => Some(Value::Callable(callable)),
                },
                value => self.wrong_hyper(param, e, &value, "a layer or function"),
            },
            Kind::Error => None,
        }
    }

    fn scalar_hyper(&mut self, param: &'a ast::Param, e: &'a ast::Expr, value: Value<'a>) -> Option<Value<'a>> {
        let is_bool = matches!(&param.ty.kind, ast::TypeKind::Word { name, .. } if name.text == "bool");
        match value {
            Value::Error => None,
            value @ Value::Bool(_) if is_bool => Some(value),
            value @ (Value::Size(_) | Value::Number(_)) if !is_bool => Some(value),
            // What the run supplies (`step`, `epochs`) may move; values of the model may not come in this way.
            Value::Run(term) if self.is_closed(&term) => Some(Value::Run(term)),
            value => {
                let expected = if is_bool { "`true` or `false`" } else { "a number" };
                self.wrong_hyper(param, e, &value, expected)
            }
        }
    }

    fn wrong_hyper(
        &mut self,
        param: &'a ast::Param,
        e: &'a ast::Expr,
        value: &Value<'a>,
        expected: &str,
    ) -> Option<Value<'a>> {
        let late = matches!(value, Value::Run(_));
        let code = if late { "not-static" } else { "type-mismatch" };
        let mut diagnostic =
            Diagnostic::error(code, format!("`{}` is {expected}, known when the model is built", param.name))
                .primary(e.span, format!("this is {}", value.shown()));
        if late {
            diagnostic = diagnostic.help("values of the running model are inputs: give the layer a second input");
        }
        self.say(diagnostic);
        None
    }

    /// Nothing of the enclosing function is in it.
    fn is_closed(&self, term: &hir::Expr) -> bool {
        let mut closed = true;
        hir::visit::each(term, &mut |part| {
            closed &= !matches!(
                part.kind,
                ExprKind::Local(_) | ExprKind::Index(_) | ExprKind::Block { .. } | ExprKind::OfExample(_, _)
            );
        });
        closed
    }

    // -------------------------------------------------------------------------------------------- instances

    /// The callable as an instance with the name `prefix`.
    pub fn named(&self, callable: &Callable<'a>, prefix: &str) -> Value<'a> {
        match callable {
            Callable::Layer(layer) if layer.path.is_none() => {
                Value::callable(Callable::Layer(Layer { path: Some(prefix.into()), ..layer.clone() }))
            }
            Callable::Chain(layers) => {
                let mut counts: Vec<(String, usize)> = Vec::new();
                let named = layers.iter().map(|value| {
                    let Value::Callable(inner) = value else { return value.clone() };
                    let Some(kind) = kind_name(inner) else { return value.clone() };
                    let count = match counts.iter_mut().find(|(known, _)| *known == kind) {
                        Some((_, count)) => {
                            *count += 1;
                            *count
                        }
                        None => {
                            counts.push((kind.clone(), 1));
                            1
                        }
                    };
                    self.named(inner, &format!("{prefix}.{kind}_{count}"))
                });
                Value::callable(Callable::Chain(named.collect()))
            }
            Callable::Partial(Value::Callable(inner), waiting) => {
                Value::callable(Callable::Partial(self.named(inner, prefix), waiting.clone()))
            }
            Callable::Fn(_, _)
            | Callable::Builtin(_)
            | Callable::LayerDef(_, _)
            | Callable::Layer(_)
            | Callable::Partial(_, _)
            | Callable::Unknown { .. } => Value::callable(callable.clone()),
        }
    }

    /// `let f = Lstm(320)` makes an instance called f.
    pub fn named_instance(&mut self, callable: &Callable<'a>, name: &'a ast::Name) -> Value<'a> {
        let prefix = match &self.here().path {
            Some(path) if !path.is_empty() => format!("{path}.{name}"),
            Some(_) | None => name.text.clone(),
        };
        self.named(callable, &prefix)
    }

    /// A fresh path for a layer applied in place: `net.conv1d_2`.
    fn fresh_path(&mut self, def: &ast::Layer) -> String {
        let kind = snake_case(&def.name.text);
        let body = self.body();
        let ordinal = body.ordinals.entry(kind.clone()).or_insert(0);
        *ordinal += 1;
        match &body.path {
            Some(path) if !path.is_empty() => format!("{path}.{kind}_{ordinal}"),
            Some(_) | None => format!("{kind}_{ordinal}"),
        }
    }

    // -------------------------------------------------------------------------------------------- application

    pub fn apply_fn(
        &mut self,
        def: &'a ast::Fn,
        file: FileAt,
        sources: Vec<Source<'a>>,
        span: Span,
        want: Option<&Type>,
    ) -> Value<'a> {
        let signature = Signature {
            name: &def.name,
            hyper: &[],
            inputs: &def.inputs,
            result: &def.result,
            laws: &def.laws,
            body: &def.body,
            file,
            shown: def.name.text.clone(),
        };
        let caller = self.here();
        let mut body = Body::new(file, BodyKind::Fn, caller.path.clone());
        body.application = caller.application;
        self.build(&signature, body, sources, span, want, None)
    }

    fn apply_layer(
        &mut self,
        layer: &Layer<'a>,
        sources: Vec<Source<'a>>,
        span: Span,
        want: Option<&Type>,
    ) -> Value<'a> {
        let def = layer.def;
        let signature = Signature {
            name: &def.name,
            hyper: &def.hyper,
            inputs: &def.inputs,
            result: &def.result,
            laws: &def.laws,
            body: &def.body,
            file: layer.file,
            shown: layer.shown.clone(),
        };
        let path: hir::Name = match &layer.path {
            Some(path) => path.clone(),
            None => self.fresh_path(def).into(),
        };
        let mut body = Body::new(layer.file, BodyKind::Layer, Some(path.clone()));
        let count = self.applied.entry(path.clone()).or_insert(0);
        body.application = *count;
        *count += 1;
        for (param, (name, value)) in def.hyper.iter().zip(&layer.hyper) {
            // A layer given as an argument is one instance, called after the hyper-parameter.
            if kind_of(&param.ty) == Kind::Function {
                body.promises.push((join(&path, name).into(), &param.ty));
            }
            let value = match value {
                Value::Callable(callable) => self.named(callable, &join(&path, name)),
                value => value.clone(),
            };
            body.bind(name, Binding::Value(value));
        }
        let value = self.build(&signature, body, sources, span, want, Some(path.clone()));
        self.keep_promise(&path, value)
    }

    /// A layer given as a hyper-parameter gives what its type there says; names of that type are bound.
    fn keep_promise(&mut self, path: &hir::Name, value: Value<'a>) -> Value<'a> {
        let promise = self.here().promises.iter().find(|(known, _)| known == path).map(|(_, ty)| *ty);
        let (Some(promise), Value::Run(term)) = (promise, &value) else { return value };
        let ast::TypeKind::Layer { inputs: _, result } = &promise.kind else { return value };
        self.bind_type(result, &term.ty);
        if !self.is_bound_type(result) {
            return value;
        }
        let name = path.rsplit('.').next().unwrap_or(path);
        match self.fit(result, &term.ty, &Meeting { span: term.span, what: &format!("`{name}` gives") }) {
            Some(_) => value,
            None => Value::Error,
        }
    }

    /// Builds the function of one application and applies it.
    fn build(
        &mut self,
        signature: &Signature<'a>,
        mut body: Body<'a>,
        sources: Vec<Source<'a>>,
        span: Span,
        want: Option<&Type>,
        path: Option<hir::Name>,
    ) -> Value<'a> {
        let name = &signature.name.text;
        if self.items.is_recursive(signature.file, name) || self.poisoned.contains(&(signature.file, name.clone())) {
            for source in sources {
                self.value_of(source);
            }
            return Value::Error;
        }
        if self.calls.len() > DEEPEST {
            return self.fail(
                Diagnostic::error("recursion", format!("`{name}` is applied inside itself, more than {DEEPEST} deep"))
                    .primary(span, "this would go on for ever")
                    .help("repeat a layer with `chain(_ in n: ..)`, and a step with `scan` or `iterate`"),
            );
        }
        let Some(values) = self.meet(signature, sources, span) else { return Value::Error };
        if path.is_none() {
            // A function goes on counting where its caller is, and its arguments have just made instances and draws of their own.
            body.draws = self.here().draws;
            body.ordinals = self.here().ordinals.clone();
        }
        body.laws = self.here().laws.clone();
        let known_laws = body.laws.count();
        self.bodies.push(body);
        self.calls.push((span, format!("`{}`", signature.shown)));
        let built = self.build_inside(signature, values, span, want);
        self.calls.pop();
        let Some(mut done) = self.bodies.pop() else { return Value::Error };
        // Laws that were taken for granted inside hold for the caller from here on.
        let learnt = done.laws.since(known_laws);
        let caller = self.body();
        caller.laws.extend(learnt);
        if caller.kind == BodyKind::Objective && path.is_some() {
            // A loss may speak of the sizes of the models that it applies: `per T`.
            for (name, binding) in done.scopes.first().into_iter().flatten() {
                let free = caller.find(name).is_none() && signature.hyper.iter().all(|hyper| hyper.name.text != *name);
                if let (Binding::Value(Value::Size(_)), true, Some(scope)) = (binding, free, caller.scopes.first_mut())
                {
                    scope.insert(name, binding.clone());
                }
            }
        }
        if path.is_none() {
            caller.draws = done.draws;
            caller.ordinals = std::mem::take(&mut done.ordinals);
        }
        let Some((value, inputs, args)) = built else { return Value::Error };
        let value = match value {
            Value::Run(value) => value,
            value => return value,
        };
        let ty = self.explained(&value.ty, span, &signature.shown);
        let function = hir::Function {
            name: name.as_str().into(),
            shown: signature.shown.clone(),
            path,
            locals: done.locals,
            indices: done
                .indices
                .into_iter()
                .map(|info| hir::IndexVar { name: info.name, kind: info.kind, span: info.span })
                .collect(),
            inputs,
            body: with_lets(done.blocks.into_iter().next().unwrap_or_default(), value),
            updates: done.updates,
            span: signature.name.span,
        };
        self.hir.functions.push(function);
        let id = FunctionId((self.hir.functions.len() - 1) as u32);
        Value::Run(expr(ExprKind::Apply { function: id, args }, ty, span))
    }

    /// Inputs bound, laws met, body evaluated, result fitted; with the callee's body on top of the stack.
    #[allow(clippy::type_complexity)]
    fn build_inside(
        &mut self,
        signature: &Signature<'a>,
        values: Vec<Option<(Value<'a>, Span)>>,
        span: Span,
        want: Option<&Type>,
    ) -> Option<(Value<'a>, Vec<hir::LocalId>, Vec<hir::Expr>)> {
        let (mut inputs, mut args) = (Vec::new(), Vec::new());
        // Names and `..` first, wherever they stand plain.
        for solving in [false, true] {
            self.body().solving = solving;
            for (param, value) in signature.inputs.iter().zip(&values) {
                if let Some((Value::Run(term), _)) = value {
                    self.bind_type(&param.ty, &term.ty);
                }
            }
        }
        self.body().solving = false;
        if let Some(want) = want {
            self.bind_type(signature.result, want);
        }
        let many = signature.inputs.len() > 1;
        for (param, value) in signature.inputs.iter().zip(values) {
            let Some((value, at)) = value else {
                let bound = self.default_input(param)?;
                self.body().bind(&param.name.text, Binding::Value(bound));
                continue;
            };
            let what = if many {
                format!("`{}` takes for `{}`", signature.name, param.name)
            } else {
                format!("`{}` takes", signature.name)
            };
            match value {
                Value::Run(term) => {
                    let ty = self.fit(&param.ty, &term.ty, &Meeting { span: at, what: &what })?;
                    let local = self.body().new_local(param.name.text.as_str(), ty, param.name.span);
                    inputs.push(local);
                    args.push(term);
                    let bound = self.here().local(local, param.name.span);
                    self.body().bind(&param.name.text, Binding::Value(Value::Run(bound)));
                }
                known => self.body().bind(&param.name.text, Binding::Value(known)),
            }
        }
        for law in signature.laws {
            self.meet_law(law, &LawPlace { call: span, shown: &signature.shown })?;
        }
        let wanted = if self.is_bound_type(signature.result) { self.read_type(signature.result) } else { None };
        let value = self.statements(signature.body, wanted.as_ref());
        self.finish_statement();
        let result_span = signature.body.stmts.last().map_or(signature.body.span, |stmt| stmt.span);
        let value = match value {
            Some(Value::Error) => return None,
            Some(value) => value,
            None => {
                self.say(
                    Diagnostic::error("no-value", format!("`{}` has no value", signature.name))
                        .primary(result_span, "the body does not end with an expression")
                        .secondary(signature.result.span, "promised here"),
                );
                return None;
            }
        };
        let scalar = kind_of(signature.result) == Kind::Scalar || kind_of(signature.result) == Kind::Dim;
        if scalar
            && value.is_static()
            && !matches!(value, Value::Callable(_) | Value::List(_) | Value::Text(_))
            && args.is_empty()
        {
            return Some((value, inputs, args));
        }
        let term = self.term_of(value, result_span, wanted.as_ref());
        if term.is_error() {
            return None;
        }
        self.bind_type(signature.result, &term.ty);
        if !self.is_bound_type(signature.result)
            && self.here().promises.iter().any(|(_, ty)| matches!(ty.kind, ast::TypeKind::Layer { .. }))
        {
            // A size of the result belongs to a layer that was given as an argument and has no type of its own.
            return Some((Value::Run(term), inputs, args));
        }
        let what = format!("`{}` gives", signature.name);
        let term = self.fit_result(signature.result, term, &Meeting { span: result_span, what: &what })?;
        Some((Value::Run(term), inputs, args))
    }

    /// The term with the type that was declared for it.
    pub fn fit_result(&mut self, declared: &'a ast::Type, term: hir::Expr, meeting: &Meeting) -> Option<hir::Expr> {
        let ty = self.fit(declared, &term.ty, meeting)?;
        Some(hir::Expr { ty, ..term })
    }

    /// An input that was left out and has a default.
    fn default_input(&mut self, param: &'a ast::Param) -> Option<Value<'a>> {
        let default = param.default.as_ref()?;
        match kind_of(&param.ty) {
            Kind::Tensor | Kind::Record => {
                let ty = self.read_type(&param.ty)?;
                let value = self.eval(default, Some(&ty));
                let term = match value {
                    Value::Error => return None,
                    value => self.term_of(value, default.span, Some(&ty)),
                };
                let fitted =
                    self.fit(&param.ty, &term.ty, &Meeting { span: default.span, what: "this input takes" })?;
                let local = self.let_local(&param.name.text, hir::Expr { ty: fitted, ..term }, param.name.span);
                Some(Value::Run(self.here().local(local, param.name.span)))
            }
            Kind::Dim | Kind::Padding | Kind::Word | Kind::Schedule | Kind::Scalar | Kind::List | Kind::Function => {
                self.hyper_value(param, default)
            }
            Kind::Error => None,
        }
    }

    /// Arguments to inputs, evaluated by the caller. `None` in a place means: take the default.
    fn meet(
        &mut self,
        signature: &Signature<'a>,
        sources: Vec<Source<'a>>,
        span: Span,
    ) -> Option<Vec<Option<(Value<'a>, Span)>>> {
        let mut values: Vec<Option<(Value<'a>, Span)>> = signature.inputs.iter().map(|_| None).collect();
        let mut next = 0;
        let mut failed = false;
        for source in sources {
            let slot = match source.name {
                Some(name) => match signature.inputs.iter().position(|input| input.name.text == name.text) {
                    Some(slot) => slot,
                    None => {
                        let names: Vec<&str> = signature.inputs.iter().map(|input| input.name.text.as_str()).collect();
                        let mut diagnostic = Diagnostic::error(
                            "unknown-argument",
                            format!("`{}` has no input `{name}`", signature.name),
                        )
                        .primary(name.span, format!("it has {}", names.join(", ")));
                        if let Some(near) = nearest(&name.text, names) {
                            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                        }
                        self.say(diagnostic);
                        return None;
                    }
                },
                None => {
                    next += 1;
                    next - 1
                }
            };
            let Some(param) = signature.inputs.get(slot) else {
                self.say(too_many(signature.name, "inputs", source.span));
                return None;
            };
            if values[slot].is_some() {
                self.say(
                    Diagnostic::error("duplicate-name", format!("`{}` is given twice", param.name))
                        .primary(source.span, "here again"),
                );
                return None;
            }
            let at = source.span;
            match self.input_value(param, source) {
                Some(value) => values[slot] = Some((value, at)),
                None => failed = true,
            }
        }
        if failed {
            return None;
        }
        for (param, value) in signature.inputs.iter().zip(&values) {
            if value.is_none() && param.default.is_none() {
                self.say(
                    Diagnostic::error("missing-argument", format!("`{}` needs `{}`", signature.name, param.name))
                        .primary(span, "not given here")
                        .help(match signature.inputs {
                            [_] => format!("write `x |> {}`", signature.shown),
                            [_, ..] | [] => format!(
                                "its inputs are {}",
                                signature.inputs.iter().map(|p| p.name.text.as_str()).collect::<Vec<_>>().join(", ")
                            ),
                        }),
                );
                return None;
            }
        }
        Some(values)
    }

    /// One argument by the kind of its input: known now where the input is a single number, word, size, layer; else a term.
    fn input_value(&mut self, param: &'a ast::Param, source: Source<'a>) -> Option<Value<'a>> {
        let at = source.span;
        let kind = kind_of(&param.ty);
        let value = match (kind, source.what) {
            (Kind::Dim | Kind::Padding | Kind::Word | Kind::Function | Kind::List, What::Expr(e)) => {
                return self.hyper_value(param, e);
            }
            (_, What::Expr(e)) => self.eval(e, None),
            (_, What::Value(value)) => value,
        };
        match (kind, value) {
            (_, Value::Error) => None,
            (Kind::Scalar | Kind::Schedule, value @ (Value::Size(_) | Value::Number(_))) => {
                let number = !matches!(&param.ty.kind, ast::TypeKind::Word { name, .. } if name.text == "bool");
                if number {
                    return Some(value);
                }
                let shown = value.shown();
                self.say(
                    Diagnostic::error("type-mismatch", format!("`{}` is a truth value", param.name))
                        .primary(at, format!("this is {shown}")),
                );
                None
            }
            (Kind::Scalar, value @ Value::Bool(_)) if matches!(&param.ty.kind, ast::TypeKind::Word { name, .. } if name.text == "bool") => {
                Some(value)
            }
            (Kind::Dim | Kind::Padding | Kind::Word | Kind::Function | Kind::List, value) => Some(value),
            (Kind::Scalar | Kind::Schedule | Kind::Tensor | Kind::Record, value) => {
                let term = self.term_of(value, at, None);
                if term.is_error() { None } else { Some(Value::Run(term)) }
            }
            (Kind::Error, _) => None,
        }
    }

    /// Sizes of a result that the standard library computed come, for the user, from the application.
    fn explained(&self, ty: &Type, span: Span, shown: &str) -> Type {
        match ty {
            Type::Tensor(tensor) => {
                let mut tensor = tensor.clone();
                for axis in &mut tensor.shape {
                    let foreign = axis
                        .origin
                        .as_ref()
                        .is_none_or(|origin| self.items.is_stdlib(origin.span.file) || origin.span.file != span.file);
                    if foreign && !self.items.is_stdlib(span.file) {
                        axis.origin = because(span, format!("`{shown}` gives this size"));
                    }
                }
                Type::Tensor(tensor)
            }
            Type::Record(fields) => {
                Type::Record(fields.iter().map(|(name, ty)| (name.clone(), self.explained(ty, span, shown))).collect())
            }
            Type::Error => Type::Error,
        }
    }

    pub fn describe(&self, value: &Value<'a>) -> String {
        match value {
            Value::Run(term) => show_type(&term.ty),
            value => value.shown(),
        }
    }
}

fn too_many(name: &ast::Name, what: &str, span: Span) -> Diagnostic {
    Diagnostic::error("wrong-arguments", format!("`{name}` takes fewer {what}")).primary(span, "one too many")
}

/// A path and what is inside it; the path of an entry's own model is empty.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

fn kind_name(callable: &Callable) -> Option<String> {
    match callable {
        Callable::Layer(layer) => Some(snake_case(&layer.def.name.text)),
        Callable::Partial(Value::Callable(inner), _) => kind_name(inner),
        Callable::Chain(_) => Some("chain".to_string()),
        Callable::Fn(_, _)
        | Callable::Builtin(_)
        | Callable::LayerDef(_, _)
        | Callable::Partial(_, _)
        | Callable::Unknown { .. } => None,
    }
}

/// `ResidualUnit` as `residual_unit`, `Conv1d` as `conv1d`, `MLPBlock` as `mlp_block`.
pub(crate) fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| letters.get(before));
        let starts = letter.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_numeric()
                    || (before.is_uppercase() && letters.get(at + 1).is_some_and(|next| next.is_lowercase()))
            });
        if starts {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn layers_are_called_by_their_names_in_snake_case() {
        for (name, wanted) in [
            ("Conv1d", "conv1d"),
            ("ResidualUnit", "residual_unit"),
            ("MLPBlock", "mlp_block"),
            ("Lstm", "lstm"),
            ("Rk4", "rk4"),
        ] {
            assert_eq!(snake_case(name), wanted);
        }
    }
}
