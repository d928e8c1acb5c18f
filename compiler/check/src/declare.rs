//! `param`, `state`, `const`, `update`, and the reading of parameters by their paths.
//!
//! A declaration makes nothing yet: the parameter enters the program's table when an equation first reads it, so that one that no
//! equation reads is not created. An instance that is applied again finds its parameters by their paths.

use crate::checker::{Binding, Body, BodyKind, Checker, Declared};
use crate::function::Head;
use crate::hir::{self, Builtin, ExprKind, FunctionId, ParamId, Scalar, StateId, TensorType, Type};
use crate::operators::of_type;
use crate::suggest::nearest;
use crate::types::{Kind, Meeting, kind_of};
use crate::value::{Callable, Value, expr, show_scalar, show_tensor, show_type};
use bdl_grammar::ast;
use bdl_grammar::{Diagnostic, Span};
use std::collections::HashMap;

impl<'a> Checker<'a> {
    pub fn declare(&mut self, declare: &'a ast::Declare, is_state: bool, span: Span) {
        let kind = self.here().kind;
        let allowed = match kind {
            BodyKind::Layer => true,
            BodyKind::Optimizer => is_state,
            BodyKind::Fn | BodyKind::Objective | BodyKind::Init => false,
        };
        let word = if is_state { "state" } else { "param" };
        if !allowed || self.here().blocks.len() > 1 {
            let wrong = if !allowed { "here" } else { "inside a block" };
            self.say(
                Diagnostic::error("misplaced-statement", format!("`{word}` cannot stand {wrong}"))
                    .primary(span, "not at the outermost level of a layer or model")
                    .help("only layers and models own parameters: make this `fn` a `layer`"),
            );
            for name in &declare.names {
                self.body().bind(&name.text, Binding::Value(Value::Error));
            }
            return;
        }
        for name in &declare.names {
            let at = self.here().declared.len();
            if let Some(first) = self.here().declared.iter().find(|known| known.name.text == name.text) {
                let first = first.name.span;
                self.say(
                    Diagnostic::error("duplicate-name", format!("`{name}` is declared twice"))
                        .primary(name.span, "here again")
                        .secondary(first, "first here"),
                );
            }
            self.body().declared.push(Declared { name, declare, is_state, made: None, updated: None });
            self.body().bind(&name.text, Binding::Declared(at));
        }
        if self.generic {
            // On its own a definition is checked as a whole, read or not.
            let first = self.here().declared.len() - declare.names.len();
            let _ = self.make_declared(first);
        }
    }

    pub fn declare_const(&mut self, constant: &'a ast::Const) {
        if let Some(value) = self.const_of_file(constant) {
            self.body().bind(&constant.name.text, Binding::Value(value));
            return;
        }
        let ty = constant.ty.as_ref().and_then(|ty| self.read_type(ty));
        if let ast::ExprKind::Call { callee, .. } = &constant.value.kind
            && let ast::ExprKind::Name(name) = &callee.kind
            && ["mtx", "safetensors", "parquet"].contains(&name.text.as_str())
        {
            self.say(
                Diagnostic::error(
                    "not-built-yet",
                    format!("fixed knowledge from a file (`const .. = {name}(..)`) is not built yet"),
                )
                .primary(constant.value.span, "not built yet")
                .help("give it as a field of the data, or write the numbers out"),
            );
            self.body().bind(&constant.name.text, Binding::Value(Value::Error));
            return;
        }
        let mut value = self.eval(&constant.value, ty.as_ref());
        if let (Some(ty), false) = (&ty, matches!(value, Value::Error)) {
            let scalar = matches!(ty, Type::Tensor(tensor) if tensor.shape.is_empty());
            if !(scalar && value.is_static()) {
                let term = self.term_of(value, constant.value.span, Some(ty));
                let fitted = constant.ty.as_ref().and_then(|written| {
                    self.fit_result(written, term, &Meeting { span: constant.value.span, what: "this constant is" })
                });
                value = match fitted {
                    Some(term) => {
                        let local = self.let_local(&constant.name.text, term, constant.name.span);
                        Value::Run(self.here().local(local, constant.name.span))
                    }
                    None => Value::Error,
                };
            }
        }
        self.body().bind(&constant.name.text, Binding::Value(value));
    }

    pub fn read_declared(&mut self, at: usize, span: Span) -> Value<'a> {
        match self.make_declared(at) {
            Some(mut term) => {
                term.span = span;
                Value::Run(term)
            }
            None => Value::Error,
        }
    }

    /// The parameter or state as a term; made when it is first read.
    fn make_declared(&mut self, at: usize) -> Option<hir::Expr> {
        let declared = self.here().declared.get(at)?.clone();
        if let Some(made) = declared.made {
            return if made.is_error() { None } else { Some(made) };
        }
        let made = self.make(&declared);
        let kept = made.clone().unwrap_or_else(|| crate::value::error_expr(declared.name.span));
        self.body().declared[at].made = Some(kept);
        made
    }

    fn make(&mut self, declared: &Declared<'a>) -> Option<hir::Expr> {
        let name = declared.name;
        let ty = match self.read_type(&declared.declare.ty)? {
            Type::Tensor(ty) => ty,
            ty @ (Type::Record(_) | Type::Error) => {
                self.say(
                    Diagnostic::error("type-mismatch", "a parameter is a tensor")
                        .primary(declared.declare.ty.span, format!("this is {}", show_type(&ty))),
                );
                return None;
            }
        };
        if !matches!(ty.scalar, Scalar::F32 | Scalar::F64 | Scalar::BF16) && !declared.is_state {
            self.say(
                Diagnostic::error("type-mismatch", "a parameter is made of real numbers")
                    .primary(declared.declare.ty.span, format!("this is {}", show_tensor(&ty)))
                    .help("write `f32[..]`; what is carried from step to step is a `state`"),
            );
            return None;
        }
        if let own @ (Scalar::F64 | Scalar::BF16) = &ty.scalar
            && !declared.is_state
        {
            let own = show_scalar(own);
            let instead = if ty.scalar == Scalar::F64 { ", or train all in f64 with `--precision f64`" } else { "" };
            self.say(
                Diagnostic::error("type-mismatch", "a parameter has the precision of the program")
                    .primary(declared.declare.ty.span, format!("{own} is another"))
                    .help(format!("write `f32[..]` and compute with `{own}({})`{instead}", declared.name)),
            );
            return None;
        }
        let path: hir::Name = match &self.here().path {
            Some(prefix) => crate::instance::join(prefix, &name.text).into(),
            None => name.text.as_str().into(),
        };
        if let Some(found) = self.stored(&path, declared.is_state) {
            let (kind, known) = found;
            let same = known.shape.len() == ty.shape.len()
                && known.shape.iter().zip(&ty.shape).all(|(a, b)| self.proves_equal(&a.size, &b.size));
            if !same {
                let call = self.calls.last().map_or(name.span, |(call, _)| *call);
                self.say(
                    Diagnostic::error("dim-mismatch", format!("`{path}` is shared, but would need two shapes"))
                        .primary(call, format!("here it would be {}", show_tensor(&ty)))
                        .secondary(declared.declare.ty.span, format!("made as {} by another use", show_tensor(&known)))
                        .help("every use of one instance shares its parameters; make a second instance"),
                );
                return None;
            }
            return Some(expr(kind, Type::Tensor(known), name.span));
        }
        let init = self.initial(declared, &ty, &path)?;
        let kind = if declared.is_state {
            self.store.states.push(hir::State { path, ty: ty.clone(), init, span: name.span });
            ExprKind::State(StateId((self.store.states.len() - 1) as u32))
        } else {
            self.store.params.push(hir::Param { path, ty: ty.clone(), init, span: name.span });
            ExprKind::Param(ParamId((self.store.params.len() - 1) as u32))
        };
        Some(expr(kind, Type::Tensor(ty), name.span))
    }

    fn stored(&self, path: &str, is_state: bool) -> Option<(ExprKind, TensorType)> {
        if is_state {
            let at = self.store.states.iter().position(|state| *state.path == *path)?;
            Some((ExprKind::State(StateId(at as u32)), self.store.states[at].ty.clone()))
        } else {
            let at = self.store.params.iter().position(|param| *param.path == *path)?;
            Some((ExprKind::Param(ParamId(at as u32)), self.store.params[at].ty.clone()))
        }
    }

    /// The function of an initial value: no inputs, the declared shape.
    fn initial(&mut self, declared: &Declared<'a>, ty: &TensorType, path: &hir::Name) -> Option<FunctionId> {
        let here = self.here();
        let mut body = Body::new(here.file, BodyKind::Init, Some(path.clone()));
        body.laws = here.laws.clone();
        body.pack.clone_from(&here.pack);
        // Sizes and hyper-parameters are known when the model is built; values of the running model are not.
        let mut known: HashMap<&'a str, Binding<'a>> = HashMap::new();
        for scope in &here.scopes {
            for (name, binding) in scope {
                match binding {
                    Binding::Value(value)
                        if value.is_static() || matches!(value, Value::Run(term) if is_number(term)) =>
                    {
                        known.insert(name, binding.clone());
                    }
                    Binding::Value(_) | Binding::Index(_) | Binding::Declared(_) | Binding::Other(_) => {
                        known.remove(name);
                    }
                }
            }
        }
        body.scopes.push(known);
        self.bodies.push(body);
        let want = Type::Tensor(ty.clone());
        let e = &declared.declare.init;
        let value = self.eval(e, Some(&want));
        let term = self.fill(value, e.span, ty);
        self.finish_statement();
        let fitted = term.and_then(|term| {
            let given = term.tensor()?.clone();
            let what = format!("`{}` is", declared.name);
            self.fit_tensor(ty, &given, Some(declared.declare.ty.span), &Meeting { span: e.span, what: &what })?;
            Some(of_type(term, want.clone()))
        });
        let done = self.bodies.pop()?;
        let value = fitted?;
        let shown = format!("initial {path}");
        let head = Head { name: "init".into(), shown, path: None, inputs: Vec::new(), span: e.span };
        Some(self.keep_function(head, done, value))
    }

    /// A single number fills the declared shape.
    fn fill(&mut self, value: Value<'a>, span: Span, ty: &TensorType) -> Option<hir::Expr> {
        if let (Some(number), false) = (value.as_number(), ty.shape.is_empty()) {
            return Some(expr(ExprKind::Builtin(Builtin::Fill(number), Vec::new()), Type::Tensor(ty.clone()), span));
        }
        let want = Type::Tensor(ty.clone());
        let term = self.term_of(value, span, Some(&want));
        if term.is_error() { None } else { Some(term) }
    }

    // -------------------------------------------------------------------------------------------- update

    pub fn update(&mut self, name: &'a ast::Name, value: &'a ast::Expr, span: Span) {
        let declared = match self.here().find(&name.text) {
            Some(Binding::Declared(at)) => Some(*at),
            Some(Binding::Value(_) | Binding::Index(_) | Binding::Other(_)) | None => None,
        };
        if self.here().blocks.len() > 1 {
            self.say(
                Diagnostic::error(
                    "misplaced-statement",
                    "`update` stands at the outermost level of a layer or optimizer",
                )
                .primary(span, "inside a block or scan")
                .help("it takes effect once a step, after the forward pass"),
            );
            return;
        }
        match declared {
            Some(at) if self.here().declared[at].is_state => self.update_state(at, name, value, span),
            Some(_) => self.say(
                Diagnostic::error("misplaced-statement", format!("`{name}` is a parameter and changes by training"))
                    .primary(span, "only a `state` is updated"),
            ),
            None if self.here().kind == BodyKind::Optimizer => self.update_parameter(name, value, span),
            None => {
                let states: Vec<String> =
                    self.here().declared.iter().filter(|d| d.is_state).map(|d| d.name.text.clone()).collect();
                let mut diagnostic = Diagnostic::error("unknown-name", format!("there is no state `{name}`"))
                    .primary(name.span, "not declared with `state`");
                if let Some(near) = nearest(&name.text, states.iter().map(String::as_str)) {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                self.say(diagnostic);
                self.eval(value, None);
            }
        }
    }

    fn update_state(&mut self, at: usize, name: &'a ast::Name, value: &'a ast::Expr, span: Span) {
        if let Some(first) = self.here().declared[at].updated {
            self.say(
                Diagnostic::error("duplicate-name", format!("`{name}` is updated twice"))
                    .primary(span, "here again")
                    .secondary(first, "first here"),
            );
            return;
        }
        self.body().declared[at].updated = Some(span);
        let Some(state) = self.make_declared(at) else { return };
        let ExprKind::State(id) = state.kind else { return };
        let Some(ty) = state.tensor().cloned() else { return };
        let wanted = state.ty.clone();
        let found = self.eval(value, Some(&wanted));
        if matches!(found, Value::Error) {
            return;
        }
        let Some(term) = self.fill(found, value.span, &ty) else { return };
        self.finish_statement();
        let Some(given) = term.tensor().cloned() else { return };
        let what = format!("`{name}` is");
        if self.fit_tensor(&ty, &given, None, &Meeting { span: value.span, what: &what }).is_none() {
            return;
        }
        if self.here().kind == BodyKind::Layer && self.is_per_example(&term) {
            self.say(
                Diagnostic::error(
                    "per-example-update",
                    format!("`{name}` is shared by all examples, but this value is one example's"),
                )
                .primary(value.span, "differs from example to example")
                .help("make one number of the batch: `mean[batch] ..`"),
            );
            return;
        }
        self.body().updates.push((id, of_type(term, wanted)));
    }

    /// `update w = ..` of an optimizer: the parameter's new value.
    fn update_parameter(&mut self, name: &'a ast::Name, value: &'a ast::Expr, span: Span) {
        let first = self.here().optimized.clone();
        let Some((input, ty)) = first else { return };
        if input != name.text {
            self.say(
                Diagnostic::error("unknown-name", format!("`{name}` is neither a state nor the parameter"))
                    .primary(name.span, format!("the parameter is `{input}`")),
            );
            return;
        }
        let wanted = Type::Tensor(ty.clone());
        let term = self.run(value, Some(&wanted));
        self.finish_statement();
        let Some(given) = term.tensor().cloned() else { return };
        let what = format!("`{name}` is");
        if self.fit_tensor(&ty, &given, None, &Meeting { span: value.span, what: &what }).is_none() {
            return;
        }
        if self.here().new_value.is_some() {
            self.say(
                Diagnostic::error("duplicate-name", format!("`{name}` is updated twice")).primary(span, "here again"),
            );
        }
        self.body().new_value = Some(of_type(term, wanted));
    }

    /// `next m` after `update m = ..`.
    pub fn next_state(&mut self, name: &'a ast::Name, span: Span) -> Value<'a> {
        let Some(Binding::Declared(at)) = self.here().find(&name.text).cloned() else {
            return self.fail(
                Diagnostic::error(
                    "unknown-name",
                    format!("`{name}` is no state, and nothing carries it from step to step"),
                )
                .primary(span, "`next` has nothing to look ahead to"),
            );
        };
        if self.here().declared[at].updated.is_none() {
            return self.fail(
                Diagnostic::error("unknown-name", format!("`next {name}` is not known yet"))
                    .primary(span, "read before it is given")
                    .help(format!("put `update {name} = ..` before this line")),
            );
        }
        match self.make_declared(at) {
            Some(hir::Expr { kind: ExprKind::State(id), ty, .. }) => {
                Value::Run(expr(ExprKind::NextState(id), ty, span))
            }
            Some(_) | None => Value::Error,
        }
    }

    /// Does the value differ from example to example? Inputs do, unless the batch is reduced over.
    pub fn is_per_example(&self, term: &hir::Expr) -> bool {
        let mut pending = vec![term];
        let mut seen: Vec<hir::LocalId> = Vec::new();
        while let Some(term) = pending.pop() {
            if let ExprKind::Local(id) = &term.kind {
                if seen.contains(id) {
                    continue;
                }
                seen.push(*id);
                match self.here().blocks.iter().flatten().find(|binding| binding.local == *id) {
                    Some(binding) => pending.push(&binding.value),
                    None => return true,
                }
                continue;
            }
            let shared = if let ExprKind::Reduce { indices, .. } = &term.kind {
                indices.iter().any(|&id| matches!(self.here().index(id).kind, hir::IndexKind::Batch))
            } else {
                false
            };
            if !shared {
                pending.extend(hir::visit::children(term));
            }
        }
        false
    }

    // -------------------------------------------------------------------------------------------- paths

    /// `net.genes.w` in a loss or penalty: a parameter by its path. `None` if the path does not begin with an instance.
    pub fn parameter_path(&mut self, base: &'a ast::Expr, field: &'a ast::Name, span: Span) -> Option<Value<'a>> {
        let mut path = base.as_path()?;
        path.push(field);
        let (root, rest) = path.split_first()?;
        let Some(Binding::Value(Value::Callable(callable))) = self.here().find(&root.text) else { return None };
        let Callable::Layer(layer) = &**callable else { return None };
        let prefix = layer.path.clone()?;
        let rest: Vec<&str> = rest.iter().map(|name| name.text.as_str()).collect();
        let full = format!("{prefix}.{}", rest.join("."));
        if let Some((kind, ty)) = self.stored(&full, false).or_else(|| self.stored(&full, true)) {
            return Some(Value::Run(expr(kind, Type::Tensor(ty), span)));
        }
        // Part of a longer path is looked at when the whole of it is.
        let known: Vec<String> = self.store.params.iter().map(|param| param.path.to_string()).collect();
        let near = nearest(&full, known.iter().map(String::as_str)).map(str::to_string);
        let mut diagnostic = Diagnostic::error("unknown-name", format!("there is no parameter `{full}`"))
            .primary(span, "not a parameter that the loss reads");
        diagnostic = match near {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => {
                let inside: Vec<&str> =
                    known.iter().filter(|path| path.starts_with(&*prefix)).take(12).map(String::as_str).collect();
                diagnostic.note(format!("parameters are {}", inside.join(", ")))
            }
        };
        Some(self.fail(diagnostic))
    }

    /// What an unknown hyper-parameter is taken for while a definition is checked on its own.
    pub fn unknown_hyper_value(&mut self, param: &'a ast::Param) -> Value<'a> {
        let run = |ty| Value::Run(expr(ExprKind::Number(f64::NAN), ty, param.span));
        match kind_of(&param.ty) {
            Kind::Dim => Value::size(bdl_dims::Dim::var(param.name.text.as_str())),
            Kind::Padding => Value::Text("valid".into()),
            Kind::Word => Value::Text("?".into()),
            Kind::Schedule => run(crate::value::scalar_type(Scalar::F32)),
            Kind::Scalar | Kind::Tensor | Kind::Record => match self.read_type(&param.ty) {
                Some(ty) => run(ty),
                None => Value::Error,
            },
            Kind::List => {
                let ast::TypeKind::List(inner) = &param.ty.kind else { return Value::Error };
                if kind_of(inner) == Kind::Dim {
                    return Value::List(vec![Value::size(bdl_dims::Dim::var(param.name.text.as_str()))]);
                }
                if let ast::TypeKind::Layer { inputs, result } | ast::TypeKind::Fn { inputs, result } = &inner.kind {
                    return Value::List(vec![Value::callable(Callable::Unknown { result, inputs })]);
                }
                self.read_type(inner).map_or(Value::Error, |ty| Value::List(vec![run(ty)]))
            }
            Kind::Function => {
                let (ast::TypeKind::Layer { inputs, result } | ast::TypeKind::Fn { inputs, result }) = &param.ty.kind
                else {
                    return Value::Error;
                };
                Value::callable(Callable::Unknown { result, inputs })
            }
            Kind::Error => Value::Error,
        }
    }
}

/// A number that stands for an unknown hyper-parameter, or a written one.
fn is_number(term: &hir::Expr) -> bool {
    matches!(term.kind, ExprKind::Number(_) | ExprKind::Bool(_) | ExprKind::Ambient(_))
}
