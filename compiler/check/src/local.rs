//! Functions inside a body: they read the names around them.
//!
//! A body of the HIR reads nothing of another one. What a local function reads from around it becomes inputs that its applications
//! fill in, also through bodies that lie between (a local function given to a layer as a hyper-parameter):
//!
//! ```text
//! layer L(k: dim)(x: f32[n]) -> f32[n] {     fn near(y: f32[n], scale: f32) -> f32[n]
//!   let scale = max[i] x[i]              ->  let scale = max[i] x[i]
//!   fn near(y: f32[n]) -> f32[n] { .. }      near(x, scale)
//!   near(x)
//! }
//! ```
//!
//! Sizes, numbers, layers and other things known when the model is built are taken as they are.

use crate::apply::Source;
use crate::checker::{Binding, Body, BodyKind, Checker};
use crate::hir::{self, ExprKind};
use crate::scope::FileAt;
use crate::value::{Callable, Value};
use crate::walk;
use bdl_grammar::ast;
use bdl_grammar::{Diagnostic, Span};
use std::collections::HashSet;
use std::rc::Rc;

/// A function written inside a body, and what the names around it meant there.
#[derive(Clone, Debug)]
pub(crate) struct LocalFn<'a> {
    pub def: &'a ast::Fn,
    pub file: FileAt,
    /// Of the names around it, those that it mentions.
    names: Vec<(&'a str, Binding<'a>)>,
    /// Which of the open bodies it was written in.
    home: usize,
}

/// An input that an application fills in with what it stands for where the function was written.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// The body in which `of` means something, and what it is there.
    home: usize,
    of: hir::Expr,
    local: hir::LocalId,
    /// What the application gives, in the body below.
    arg: hir::Expr,
}

impl<'a> Checker<'a> {
    /// `fn f(x: f32) -> f32 { .. }` among the statements of a block.
    pub fn local_fn(&mut self, def: &'a ast::Fn) {
        let mut mentioned: Vec<&'a ast::Name> = Vec::new();
        let mut note = |name| mentioned.push(name);
        walk::function(def, &mut note);
        let own: HashSet<&str> = def.inputs.iter().map(|input| input.name.text.as_str()).collect();
        let called_itself =
            mentioned.iter().find(|name| name.text == def.name.text && !own.contains(name.text.as_str()));
        if let Some(place) = called_itself {
            let diagnostic = crate::scope::recursion(&def.name.text, place.span);
            self.say(diagnostic);
            self.body().bind(&def.name.text, Binding::Value(Value::Error));
            return;
        }
        let mut names: Vec<(&'a str, Binding<'a>)> = Vec::new();
        for name in mentioned {
            let name = name.text.as_str();
            if own.contains(name) || names.iter().any(|(known, _)| *known == name) {
                continue;
            }
            if let Some(binding) = self.here().find(name) {
                names.push((name, binding.clone()));
            }
        }
        let (file, home) = (self.here().file, self.bodies.len() - 1);
        let local = Rc::new(LocalFn { def, file, names, home });
        self.body().bind(&def.name.text, Binding::Value(Value::callable(Callable::Local(local.clone()))));
        if self.generic {
            self.local_fn_alone(&local);
        }
    }

    /// Checks a local function on its own where its layer is: one that nothing applies is checked too.
    fn local_fn_alone(&mut self, local: &LocalFn<'a>) {
        let functions = self.hir.functions.len();
        let (draws, ordinals) = (self.here().draws, self.here().ordinals.clone());
        let store = self.store.clone();
        let applied = self.applied.clone();
        let laws = self.here().laws.clone();
        let around: Vec<(&'a str, Value<'a>)> = local
            .names
            .iter()
            .filter_map(|(name, binding)| match binding {
                Binding::Value(value) if value.is_static() => Some((*name, value.clone())),
                Binding::Value(_) | Binding::Index(_) | Binding::Declared(_) | Binding::Other(_) => None,
            })
            .collect();
        if let Some(sources) = self.symbolic_inputs(&local.def.inputs, &around) {
            let want = self.symbolic_result(&local.def.result, &local.def.inputs, &around);
            self.apply_local(local, sources, local.def.name.span, want.as_ref());
        }
        self.hir.functions.truncate(functions);
        self.store = store;
        self.applied = applied;
        let body = self.body();
        body.laws = laws;
        body.draws = draws;
        body.ordinals = ordinals;
        for declared in &mut body.declared {
            declared.made = None;
        }
    }

    pub fn apply_local(
        &mut self,
        local: &LocalFn<'a>,
        sources: Vec<Source<'a>>,
        span: Span,
        want: Option<&hir::Type>,
    ) -> Value<'a> {
        let caller = self.here();
        let mut body = Body::new(local.file, BodyKind::Fn, caller.path.clone());
        body.application = caller.application;
        for (name, binding) in &local.names {
            let value = match binding {
                Binding::Value(Value::Run(term)) => self
                    .carry(name, term.clone(), local.home, span)
                    .map(|term| self.named_input(&mut body, name, local.home, term)),
                Binding::Value(value) => Some(Value::clone(value)),
                Binding::Index(id) => {
                    let value = self.at_home(local.home, |checker| checker.index_value(*id, span));
                    self.carry(name, value, local.home, span)
                        .map(|term| self.named_input(&mut body, name, local.home, term))
                }
                // Parameters and states are the same thing in every body.
                Binding::Declared(at) => {
                    let at = *at;
                    Some(self.at_home(local.home, |checker| checker.read_declared(at, span)))
                }
                Binding::Other(_) => {
                    self.say(
                        Diagnostic::error("type-mismatch", format!("`{name}` names another example, not a value"))
                            .primary(span, format!("`{}` reads it from around it", local.def.name))
                            .help(format!("give what is read of `{name}` as an input")),
                    );
                    None
                }
            };
            let Some(value) = value else { return Value::Error };
            body.bind(name, Binding::Value(value));
        }
        self.apply_fn_in(local.def, body, sources, span, want)
    }

    /// The body's name for a term of the body below it.
    fn named_input(&self, body: &mut Body<'a>, name: &str, home: usize, arg: hir::Expr) -> Value<'a> {
        if is_everywhere(&arg) {
            return Value::Run(arg);
        }
        let span = arg.span;
        let local = body.new_local_at(name, arg.ty.clone(), span, 1);
        let term = body.local(local, span);
        body.carried.push(Carried { home, of: arg.clone(), local, arg });
        Value::Run(term)
    }

    /// A term of the open body `home` as a term of the innermost one. `None` after a message.
    pub fn carry(&mut self, name: &str, term: hir::Expr, home: usize, span: Span) -> Option<hir::Expr> {
        if is_everywhere(&term) {
            return Some(term);
        }
        let mut here = term.clone();
        for at in home + 1..self.bodies.len() {
            let known = self.bodies[at].carried.iter().find(|carried| carried.home == home && same(&carried.of, &term));
            let local = match known {
                Some(known) => known.local,
                None => {
                    let body = &mut self.bodies[at];
                    if !matches!(body.kind, BodyKind::Fn | BodyKind::Layer) {
                        self.say(
                            Diagnostic::error(
                                "not-static",
                                format!("`{name}` is computed while the model runs, and is read before that"),
                            )
                            .primary(span, "applied here, when the model is built"),
                        );
                        return None;
                    }
                    let local = body.new_local_at(name, term.ty.clone(), span, 1);
                    body.carried.push(Carried { home, of: term.clone(), local, arg: here });
                    local
                }
            };
            here = self.bodies[at].local(local, span);
        }
        Some(here)
    }

    /// Runs `inside` as if the bodies above `home` were not open.
    fn at_home<T>(&mut self, home: usize, inside: impl FnOnce(&mut Self) -> T) -> T {
        let above = self.bodies.split_off(home + 1);
        let result = inside(self);
        self.bodies.extend(above);
        result
    }
}

impl Body<'_> {
    /// What the application gives beside the written inputs.
    pub fn take_carried(&mut self) -> impl Iterator<Item = (hir::LocalId, hir::Expr)> + use<> {
        std::mem::take(&mut self.carried).into_iter().map(|carried| (carried.local, carried.arg))
    }
}

/// Means the same in every body.
fn is_everywhere(term: &hir::Expr) -> bool {
    matches!(
        term.kind,
        ExprKind::Number(_)
            | ExprKind::Bool(_)
            | ExprKind::Size(_)
            | ExprKind::Ambient(_)
            | ExprKind::Param(_)
            | ExprKind::State(_)
            | ExprKind::Const(_)
    )
}

fn same(a: &hir::Expr, b: &hir::Expr) -> bool {
    a.kind == b.kind
}
