//! Each definition of the user's files checked once on its own, and entries: definitions applied by name.
//!
//! On its own a definition's sizes are names: `f32[T, 4]` has T positions, a `dim` hyper-parameter is a size of its own name and at
//! least 1, other hyper-parameters have their defaults or are unknown. What is built here is thrown away; only messages stay.

use crate::apply::{Source, What};
use crate::checker::{Binding, Body, BodyKind, Checker, because};
use crate::hir::{self, Axis, Scalar, TensorType};
use crate::scope::FileAt;
use crate::types::{Kind, kind_of};
use crate::value::{Callable, Layer, Size, Value, expr};
use crate::walk;
use crate::{EntryRequest, hir::ExprKind};
use bdl_dims::Dim;
use bdl_grammar::ast::{self, ItemKind, TypeKind};
use bdl_grammar::{Diagnostic, Severity};

impl<'a> Checker<'a> {
    /// Checks every definition of the user's files.
    pub fn definitions(&mut self) {
        let files: Vec<FileAt> = self.items.users().collect();
        for file in files {
            for item in self.items.of(file) {
                self.definition(item, file);
            }
        }
    }

    /// Checks the definitions of the standard library too (for its own tests).
    pub fn definition(&mut self, item: &'a ast::Item, file: FileAt) {
        let name = match &item.kind {
            ItemKind::Fn(def) => &def.name,
            ItemKind::Layer(def) | ItemKind::Model(def) => &def.name,
            ItemKind::Optimizer(def) => &def.name,
            ItemKind::Let(_)
            | ItemKind::Const(_)
            | ItemKind::Use(_)
            | ItemKind::Data(_)
            | ItemKind::Train(_)
            | ItemKind::Tune(_)
            | ItemKind::Expect(_)
            | ItemKind::Type(_)
            | ItemKind::Alphabet(_)
            | ItemKind::Error => return,
        };
        if self.items.is_recursive(file, &name.text) || name.text.is_empty() {
            return;
        }
        let before = self.errors();
        let functions = self.hir.functions.len();
        self.start_program();
        self.generic = true;
        self.bodies.push(Body::new(file, BodyKind::Objective, None));
        let mut built = Value::Error;
        match &item.kind {
            ItemKind::Fn(def) => {
                if self.sizes_can_be_found(&[], &def.inputs, &def.result, file)
                    && let Some(sources) = self.symbolic_inputs(&def.inputs, &[])
                {
                    // A shape that only the place of use knows (`-> f32[..]`) is one axis here.
                    let want = self.symbolic_result(&def.result, &def.inputs, &[]);
                    built = self.apply_fn(def, file, sources, name.span, want.as_ref());
                }
            }
            ItemKind::Layer(def) | ItemKind::Model(def) => {
                if self.sizes_can_be_found(&def.hyper, &def.inputs, &def.result, file)
                    && let Some(layer) = self.symbolic_layer(def, file)
                    && let Some(sources) = self.symbolic_inputs(&def.inputs, &layer.hyper)
                {
                    let layer = Value::callable(Callable::Layer(layer));
                    let result = self.apply(&layer, sources, name.span, None);
                    if let (Value::Run(_), false) = (&result, self.errors() > before) {
                        self.unread_inputs(&def.inputs, &def.body);
                        self.unread_hyper(def);
                    }
                    built = result;
                }
            }
            ItemKind::Optimizer(def) => self.symbolic_optimizer(def, file),
            ItemKind::Use(_)
            | ItemKind::Data(_)
            | ItemKind::Train(_)
            | ItemKind::Tune(_)
            | ItemKind::Expect(_)
            | ItemKind::Type(_)
            | ItemKind::Alphabet(_)
            | ItemKind::Const(_)
            | ItemKind::Let(_)
            | ItemKind::Error => {}
        }
        self.bodies.clear();
        self.calls.clear();
        self.generic = false;
        if let Value::Run(hir::Expr { kind: ExprKind::Apply { function, .. }, .. }) = built
            && self.errors() == before
        {
            self.suspect(function, crate::suspect::Rows::default());
        }
        self.hir.functions.truncate(functions);
        if self.errors() > before {
            self.poisoned.insert((file, name.text.clone()));
        }
    }

    /// Says what is right by its types and hardly meant, once a place.
    pub fn suspect(&mut self, function: hir::FunctionId, rows: crate::suspect::Rows) {
        let items = &self.items;
        let own = |span: bdl_grammar::Span| !items.is_stdlib(span.file);
        let found = crate::suspect::warnings(&self.hir.functions, function, rows, &own);
        found.into_iter().for_each(|diagnostic| self.say(diagnostic));
    }

    fn symbolic_layer(&mut self, def: &'a ast::Layer, file: FileAt) -> Option<Layer<'a>> {
        let mut hyper: Vec<(&'a str, Value<'a>)> = Vec::new();
        self.bodies.push(Body::new(file, BodyKind::Init, None));
        for param in &def.hyper {
            let value = match (kind_of(&param.ty), &param.default) {
                (Kind::Dim, default) => {
                    let zero = default.as_ref().and_then(|e| self.try_size(e)).is_some_and(|size| size.dim.is_zero());
                    if !zero {
                        self.assume_positive(&param.name.text);
                    }
                    Value::Size(Size::from(Dim::var(param.name.text.as_str()), because(param.name.span, "")))
                }
                (_, Some(default)) => match self.hyper_value(param, default) {
                    Some(value) => value,
                    None => {
                        self.bodies.pop();
                        return None;
                    }
                },
                (_, None) => self.unknown_hyper_value(param),
            };
            self.body().bind(&param.name.text, Binding::Value(value.clone()));
            hyper.push((&param.name.text, value));
        }
        let positive = self.here().laws.clone();
        self.bodies.pop();
        self.body().laws = positive;
        Some(Layer { def, file, hyper, shown: def.name.text.clone(), path: None })
    }

    fn assume_positive(&mut self, name: &str) {
        self.body().laws.assume_positive(name);
    }

    /// One argument for each input, its sizes named as in the signature. `None` after a message.
    pub fn symbolic_inputs(
        &mut self,
        inputs: &'a [ast::Param],
        hyper: &[(&'a str, Value<'a>)],
    ) -> Option<Vec<Source<'a>>> {
        let file = self.here().file;
        let mut scratch = Body::new(file, BodyKind::Init, None);
        for (name, value) in hyper {
            scratch.bind(name, Binding::Value(value.clone()));
        }
        // `..` of a signature checked on its own is one axis.
        scratch.pack = Some(vec![Axis { size: Dim::var("N"), names: None, origin: None }]);
        self.bodies.push(scratch);
        let mut types = Vec::new();
        let mut failed = false;
        for input in inputs {
            match kind_of(&input.ty) {
                Kind::Scalar | Kind::Tensor | Kind::Record => {
                    self.bind_free(&input.ty);
                    match self.read_type(&input.ty) {
                        Some(ty) => types.push(Some(ty)),
                        None => failed = true,
                    }
                }
                Kind::Dim | Kind::Padding | Kind::Word | Kind::Schedule | Kind::List | Kind::Function => {
                    types.push(None)
                }
                Kind::Error => failed = true,
            }
        }
        self.bodies.pop();
        if failed {
            return None;
        }
        let mut sources = Vec::new();
        for (input, ty) in inputs.iter().zip(types) {
            let value = match ty {
                Some(ty) => {
                    let local = self.body().new_local(input.name.text.as_str(), ty.clone(), input.name.span);
                    Value::Run(expr(ExprKind::Local(local), ty, input.name.span))
                }
                None => self.unknown_hyper_value(input),
            };
            sources.push(Source { name: Some(&input.name), what: What::Value(value), span: input.span });
        }
        Some(sources)
    }

    pub fn symbolic_result(
        &mut self,
        result: &'a ast::Type,
        inputs: &'a [ast::Param],
        around: &[(&'a str, Value<'a>)],
    ) -> Option<hir::Type> {
        let file = self.here().file;
        let mut scratch = Body::new(file, BodyKind::Init, None);
        for (name, value) in around {
            scratch.bind(name, Binding::Value(value.clone()));
        }
        scratch.pack = Some(vec![Axis { size: Dim::var("N"), names: None, origin: None }]);
        self.bodies.push(scratch);
        inputs.iter().for_each(|input| self.bind_free(&input.ty));
        self.bind_free(result);
        let ty = match kind_of(result) {
            Kind::Scalar | Kind::Tensor | Kind::Record => self.read_type(result),
            Kind::Dim | Kind::Padding | Kind::Word | Kind::Schedule | Kind::List | Kind::Function | Kind::Error => None,
        };
        self.bodies.pop();
        ty
    }

    /// Every name of the type that means nothing yet becomes a size of that name.
    fn bind_free(&mut self, ty: &'a ast::Type) {
        match &ty.kind {
            TypeKind::Word { name, args, optional: _, dims } => {
                if let Some(def) = self.items.find(self.here().file, &name.text)
                    && let ItemKind::Type(alias) = &def.item.kind
                    && !self.items.is_recursive(def.file, &name.text)
                {
                    self.bind_free(&alias.ty);
                }
                for e in args {
                    self.bind_names(e);
                }
                for dim in dims.iter().flatten() {
                    if let ast::Dim::Expr(e) = dim {
                        self.bind_names(e);
                    }
                }
            }
            TypeKind::Record(fields) => fields.iter().for_each(|field| self.bind_free(&field.ty)),
            TypeKind::List(_) | TypeKind::Layer { .. } | TypeKind::Fn { .. } | TypeKind::Error => {}
        }
    }

    fn bind_names(&mut self, e: &'a ast::Expr) {
        let mut names = Vec::new();
        walk::names(e, &mut |name| names.push(name));
        for name in names {
            if self.is_free(name) {
                let given = self.given_sizes.iter().find(|(given, _)| *given == name.text);
                let dim = given.map_or_else(|| Dim::var(name.text.as_str()), |(_, size)| Dim::from(*size));
                let size = Size::from(dim, because(name.span, ""));
                self.body().bind(&name.text, Binding::Value(Value::Size(size)));
            }
        }
    }

    /// Does the type name only what is bound?
    pub fn is_bound_type(&self, ty: &'a ast::Type) -> bool {
        match &ty.kind {
            TypeKind::Word { name, args, optional: _, dims } => {
                if let Some(def) = self.items.find(self.here().file, &name.text)
                    && let ItemKind::Type(alias) = &def.item.kind
                    && !self.items.is_recursive(def.file, &name.text)
                {
                    return self.is_bound_type(&alias.ty);
                }
                let bound = |e: &'a ast::Expr| {
                    let mut bound = true;
                    walk::names(e, &mut |name| bound &= !self.is_free(name) || self.is_word(name));
                    bound
                };
                args.iter().all(bound)
                    && dims.iter().flatten().all(|dim| match dim {
                        ast::Dim::Rest(_) => self.here().pack.is_some(),
                        ast::Dim::Expr(e) => bound(e),
                    })
            }
            TypeKind::Record(fields) => fields.iter().all(|field| self.is_bound_type(&field.ty)),
            TypeKind::List(_) | TypeKind::Layer { .. } | TypeKind::Fn { .. } | TypeKind::Error => false,
        }
    }

    /// Words that stand in sizes and are none.
    pub fn is_word(&self, name: &ast::Name) -> bool {
        ["same", "valid"].contains(&name.text.as_str()) || crate::builtin::name_of(&name.text).is_some()
    }

    fn unread_inputs(&mut self, inputs: &'a [ast::Param], body: &'a ast::Block) {
        for input in inputs {
            let mut read = false;
            walk::block(body, &mut |name| read |= name.text == input.name.text);
            if !read && !input.name.text.starts_with('_') {
                self.say(
                    Diagnostic::new(Severity::Warning, "unused-input", format!("`{}` is never read", input.name))
                        .primary(input.name.span, "nothing depends on this input")
                        .help("use it or leave it out; a name that begins with `_` says that this is meant"),
                );
            }
        }
    }

    fn unread_hyper(&mut self, def: &'a ast::Layer) {
        let mut read: Vec<&'a str> = Vec::new();
        walk::block(&def.body, &mut |name| read.push(&name.text));
        def.laws.iter().for_each(|law| walk::names(&law.condition, &mut |name| read.push(&name.text)));
        def.hyper
            .iter()
            .filter_map(|param| param.default.as_ref())
            .for_each(|e| walk::names(e, &mut |name| read.push(&name.text)));
        let types = def
            .inputs
            .iter()
            .map(|input| &input.ty)
            .chain(def.hyper.iter().map(|param| &param.ty))
            .chain([&def.result]);
        types.for_each(|ty| walk::type_names(ty, &mut |name| read.push(&name.text)));
        for param in &def.hyper {
            if !read.contains(&param.name.text.as_str()) && !param.name.text.starts_with('_') {
                self.say(
                    Diagnostic::new(Severity::Warning, "unused-hyper", format!("`{}` changes nothing", param.name))
                        .primary(param.name.span, "this hyper-parameter is never read")
                        .help("use it or leave it out"),
                );
            }
        }
    }

    fn symbolic_optimizer(&mut self, def: &'a ast::Optimizer, file: FileAt) {
        let mut hyper = Vec::new();
        for param in &def.hyper {
            let value = match &param.default {
                Some(default) => self.hyper_value(param, default),
                None => Some(self.unknown_hyper_value(param)),
            };
            let Some(value) = value else { return };
            self.body().bind(&param.name.text, Binding::Value(value.clone()));
            hyper.push((param.name.text.as_str(), value));
        }
        let shape = vec![Axis { size: Dim::var("N"), names: None, origin: None }];
        let ty = TensorType { scalar: Scalar::F32, optional: false, shape };
        self.optimizer_part(def, file, &hyper, &def.name.text, &ty, "w", def.name.span);
    }

    // -------------------------------------------------------------------------------------------- entries

    pub fn entry(&mut self, request: &EntryRequest) {
        let file = self.items.main();
        let Some(def) = self.items.find(file, &request.name) else {
            let near = self.items.suggestion(file, &request.name).map(str::to_string);
            let mut diagnostic = Diagnostic::error("unknown-name", format!("nothing is called `{}`", request.name));
            if let Some(near) = near {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            self.say(diagnostic);
            return;
        };
        self.start_program();
        let scratch = Body::new(def.file, BodyKind::Objective, None);
        self.bodies.push(scratch);
        self.given_sizes.clone_from(&request.sizes);
        let value = self.entry_value(def.item, def.file, request);
        self.given_sizes.clear();
        self.bodies.clear();
        self.calls.clear();
        let Some(Value::Run(hir::Expr { kind: ExprKind::Apply { function, .. }, .. })) = value else { return };
        let store = std::mem::take(&mut self.store);
        self.hir.entries.push(hir::Entry { name: request.name.as_str().into(), function, store });
    }

    fn entry_value(&mut self, item: &'a ast::Item, file: FileAt, request: &EntryRequest) -> Option<Value<'a>> {
        match &item.kind {
            ItemKind::Fn(def) => {
                let sources = self.symbolic_inputs(&def.inputs, &[])?;
                Some(self.apply_fn(def, file, sources, def.name.span, None))
            }
            ItemKind::Layer(def) | ItemKind::Model(def) => {
                let layer = self.entry_layer(def, file)?;
                let sources = self.symbolic_inputs(&def.inputs, &layer.hyper)?;
                let layer = Value::callable(Callable::Layer(layer));
                Some(self.apply(&layer, sources, def.name.span, None))
            }
            ItemKind::Use(_)
            | ItemKind::Data(_)
            | ItemKind::Optimizer(_)
            | ItemKind::Train(_)
            | ItemKind::Tune(_)
            | ItemKind::Expect(_)
            | ItemKind::Type(_)
            | ItemKind::Alphabet(_)
            | ItemKind::Const(_)
            | ItemKind::Let(_)
            | ItemKind::Error => {
                self.say(
                    Diagnostic::error("not-a-function", format!("`{}` cannot be applied", request.name))
                        .primary(item.span, "neither a model, a layer nor a function"),
                );
                None
            }
        }
    }

    /// Hyper-parameters at their defaults; a size without a default keeps its name.
    fn entry_layer(&mut self, def: &'a ast::Layer, file: FileAt) -> Option<Layer<'a>> {
        let mut hyper: Vec<(&'a str, Value<'a>)> = Vec::new();
        let mut shown = Vec::new();
        for param in &def.hyper {
            let value = match &param.default {
                Some(default) => self.hyper_value(param, default)?,
                None if kind_of(&param.ty) == Kind::Dim => self.unknown_hyper_value(param),
                None => {
                    self.say(
                        Diagnostic::error("missing-argument", format!("`{}` needs `{}`", def.name, param.name))
                            .primary(param.span, "it has no default, so the layer cannot be looked at on its own"),
                    );
                    return None;
                }
            };
            self.body().bind(&param.name.text, Binding::Value(value.clone()));
            shown.push(format!("{} = {}", param.name, value.shown()));
            hyper.push((&param.name.text, value));
        }
        let shown =
            if shown.is_empty() { def.name.text.clone() } else { format!("{}({})", def.name, shown.join(", ")) };
        Some(Layer { def, file, hyper, shown, path: Some("".into()) })
    }
}
