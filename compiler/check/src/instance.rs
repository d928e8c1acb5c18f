//! Instances: the function of the HIR that one application is, and the paths of parameters.
//!
//! Building one goes: arguments meet inputs (names and `..` of the signature are bound), laws are met, the body is evaluated in a
//! [`Body`] of its own, its value meets the declared result.

use crate::apply::{Source, What};
use crate::checker::{Binding, Body, BodyKind, Checker, because};
use crate::function::Head;
use crate::hir::{self, ExprKind, Scalar, Type};
use crate::hyper::too_many;
use crate::laws::LawPlace;
use crate::operators::of_type;
use crate::scope::FileAt;
use crate::suggest::nearest;
use crate::types::{Kind, Meeting, kind_of, listed_function};
use crate::value::{Callable, Layer, Value, expr};
use bdl_grammar::ast;
use bdl_grammar::{Diagnostic, Span};

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
            Callable::Partial { callee: Value::Callable(inner), waiting, home } => Value::callable(Callable::Partial {
                callee: self.named(inner, prefix),
                waiting: waiting.clone(),
                home: *home,
            }),
            Callable::Fn(_, _)
            | Callable::Local(_)
            | Callable::Builtin(_)
            | Callable::LayerDef(_, _)
            | Callable::Layer(_)
            | Callable::Partial { .. }
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

    pub fn apply_fn(
        &mut self,
        def: &'a ast::Fn,
        file: FileAt,
        sources: Vec<Source<'a>>,
        span: Span,
        want: Option<&Type>,
    ) -> Value<'a> {
        let caller = self.here();
        let mut body = Body::new(file, BodyKind::Fn, caller.path.clone());
        body.application = caller.application;
        self.apply_fn_in(def, body, sources, span, want)
    }

    /// As [`apply_fn`](Self::apply_fn), in a body that knows names already.
    pub fn apply_fn_in(
        &mut self,
        def: &'a ast::Fn,
        body: Body<'a>,
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
            file: body.file,
            shown: def.name.text.clone(),
        };
        self.build(&signature, body, sources, span, want, None)
    }

    pub fn apply_layer(
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
        let count = self.applied.entry(path.clone()).or_insert(self.first_application);
        body.application = *count;
        *count += 1;
        for (param, (name, value)) in def.hyper.iter().zip(&layer.hyper) {
            // A layer given as an argument is one instance, called after the hyper-parameter; of a list, each is one, numbered from 1.
            if kind_of(&param.ty) == Kind::Function {
                body.promises.push((join(&path, name).into(), &param.ty));
            }
            let value = match (value, listed_function(&param.ty)) {
                (Value::Callable(callable), _) => self.named(callable, &join(&path, name)),
                (Value::List(items), Some(each)) => {
                    let numbered = items.iter().enumerate().map(|(at, item)| {
                        let inside = format!("{}_{}", join(&path, name), at + 1);
                        body.promises.push((inside.as_str().into(), each));
                        match item {
                            Value::Callable(callable) => self.named(callable, &inside),
                            item => item.clone(),
                        }
                    });
                    Value::List(numbered.collect())
                }
                (value, _) => value.clone(),
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
        body.laws = self.facts_inside();
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
        let Some((value, mut inputs, mut args)) = built else { return Value::Error };
        for (input, arg) in done.take_carried() {
            inputs.push(input);
            args.push(arg);
        }
        let value = match value {
            Value::Run(value) => value,
            value => return value,
        };
        let ty = self.explained(&value.ty, span, &signature.shown);
        let head = Head {
            name: name.as_str().into(),
            shown: signature.shown.clone(),
            path,
            inputs,
            span: signature.name.span,
        };
        let id = self.keep_function(head, done, value);
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
        // What one input tells, another may need.
        for pass in 0..=signature.inputs.len() {
            self.body().solving = pass > 0;
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
                known => {
                    let known = self.in_own_precision(known, &param.ty, at);
                    self.body().bind(&param.name.text, Binding::Value(known));
                }
            }
        }
        for law in signature.laws {
            self.meet_law(law, &LawPlace { call: span, shown: &signature.shown })?;
        }
        let wanted = if self.is_bound_type(signature.result) { self.read_type(signature.result) } else { None };
        let value = self.statements(signature.body, wanted.as_ref());
        self.finish_statement();
        for at in 0..self.here().declared.len() {
            let declared = &self.here().declared[at];
            if declared.made.is_none() && self.mentioned.contains(declared.name.text.as_str()) {
                self.read_declared(at, declared.name.span);
            }
        }
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
            && !self.has_own_precision(signature.result)
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

    /// Is it a number of f64 or bf16?
    fn has_own_precision(&mut self, ty: &'a ast::Type) -> bool {
        let own =
            |ty: Option<Type>| matches!(ty, Some(Type::Tensor(ty)) if matches!(ty.scalar, Scalar::F64 | Scalar::BF16));
        kind_of(ty) == Kind::Scalar && self.is_bound_type(ty) && own(self.read_type(ty))
    }

    /// A number or size that is known here, as a term where its type has a precision of its own.
    pub fn in_own_precision(&mut self, value: Value<'a>, ty: &'a ast::Type, span: Span) -> Value<'a> {
        let kind = match (&value, value.as_number()) {
            (_, Some(number)) => ExprKind::Number(number),
            (Value::Size(size), None) => ExprKind::Size(size.dim.clone()),
            (_, None) => return value,
        };
        if !self.has_own_precision(ty) {
            return value;
        }
        self.read_type(ty).map_or(Value::Error, |ty| Value::Run(expr(kind, ty, span)))
    }

    /// The term with the type that was declared for it.
    pub fn fit_result(&mut self, declared: &'a ast::Type, term: hir::Expr, meeting: &Meeting) -> Option<hir::Expr> {
        let ty = self.fit(declared, &term.ty, meeting)?;
        Some(of_type(term, ty))
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
                let local = self.let_local(&param.name.text, of_type(term, fitted), param.name.span);
                Some(Value::Run(self.here().local(local, param.name.span)))
            }
            Kind::Dim | Kind::Padding | Kind::Word | Kind::Schedule | Kind::Scalar | Kind::List | Kind::Function => {
                let value = self.hyper_value(param, default)?;
                Some(self.in_own_precision(value, &param.ty, default.span))
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
}

/// A path and what is inside it; the path of an entry's own model is empty.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

fn kind_name(callable: &Callable) -> Option<String> {
    match callable {
        Callable::Layer(layer) => Some(snake_case(&layer.def.name.text)),
        Callable::Partial { callee: Value::Callable(inner), .. } => kind_name(inner),
        Callable::Chain(_) => Some("chain".to_string()),
        Callable::Fn(_, _)
        | Callable::Local(_)
        | Callable::Builtin(_)
        | Callable::LayerDef(_, _)
        | Callable::Partial { .. }
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
