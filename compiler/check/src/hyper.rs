//! Hyper-parameters: what a layer, model or optimizer is configured with before it is applied.
//!
//! Only the first may stand without its name (and layers given to a layer, in order); a bare name `dilation` means
//! `dilation: dilation`. Every value is known when the model is built. A default may speak of the hyper-parameters before it.

use crate::checker::{Binding, Body, BodyKind, Checker, because};
use crate::hir::{self, ExprKind, Scalar};
use crate::operators::of_type;
use crate::scope::FileAt;
use crate::suggest::nearest;
use crate::types::{Kind, kind_of, listed_function};
use crate::value::{Callable, Layer, Size, Value, scalar_type};
use crate::walk;
use bdl_grammar::ast::{self, ArgKind};
use bdl_grammar::{Diagnostic, Span};

impl<'a> Checker<'a> {
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
                    let slot =
                        walk::as_name(e).and_then(|name| params.iter().position(|hyper| hyper.name.text == name.text));
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
                Value::List(items) if listed_function(&param.ty).is_some() => {
                    let found: Option<Vec<Value<'a>>> =
                        items.iter().map(|item| self.function_hyper(item, e.span)).collect();
                    match found {
                        Some(layers) if layers.iter().any(|layer| matches!(layer, Value::Error)) => None,
                        Some(layers) => Some(Value::List(layers)),
                        None => self.wrong_hyper(param, e, &Value::List(items), "a list of layers or functions"),
                    }
                }
                value @ Value::List(_) => Some(value),
                value if listed_function(&param.ty).is_some() => {
                    self.wrong_hyper(param, e, &value, "a list of layers or functions: `[Dense(8), Dense(8)]`")
                }
                value => self.wrong_hyper(param, e, &value, "a list: `[1, 2, 4]`"),
            },
            Kind::Function => match self.eval(e, None) {
                Value::Error => None,
                value => match self.function_hyper(&value, e.span) {
                    Some(Value::Error) => None,
                    Some(function) => Some(function),
                    None => self.wrong_hyper(param, e, &value, "a layer or function"),
                },
            },
            Kind::Error => None,
        }
    }

    /// A layer (with its hyper-parameters) or function; `None` if it is neither, an error after a message.
    fn function_hyper(&mut self, value: &Value<'a>, span: Span) -> Option<Value<'a>> {
        let Value::Callable(callable) = value else { return None };
        Some(match &**callable {
            Callable::LayerDef(def, file) => self.configure(def, *file, &[], span),
            Callable::Fn(_, _)
            | Callable::Local(_)
            | Callable::Builtin(_)
            | Callable::Layer(_)
            | Callable::Chain(_)
            | Callable::Partial { .. }
            | Callable::Unknown { .. } => value.clone(),
        })
    }

    fn scalar_hyper(&mut self, param: &'a ast::Param, e: &'a ast::Expr, value: Value<'a>) -> Option<Value<'a>> {
        let is_called = |word: &str| matches!(&param.ty.kind, ast::TypeKind::Word { name, .. } if name.text == word);
        let (is_bool, is_bf16) = (is_called("bool"), is_called("bf16"));
        match value {
            Value::Error => None,
            value @ Value::Bool(_) if is_bool => Some(value),
            value @ (Value::Size(_) | Value::Number(_)) if is_bf16 => {
                Some(self.in_own_precision(value, &param.ty, e.span))
            }
            value @ (Value::Size(_) | Value::Number(_)) if !is_bool => Some(value),
            // What the run supplies (`step`, `epochs`) may move; values of the model may not come in this way.
            Value::Run(term) if self.is_closed(&term) && is_bf16 => {
                Some(Value::Run(of_type(term, scalar_type(Scalar::BF16))))
            }
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
}

pub(crate) fn too_many(name: &ast::Name, what: &str, span: Span) -> Diagnostic {
    Diagnostic::error("wrong-arguments", format!("`{name}` takes fewer {what}")).primary(span, "one too many")
}
