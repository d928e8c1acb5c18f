//! Statements on their own, over values that are known: what is typed at a prompt, and what a test computes.
//!
//! The last expression becomes the entry [`EVALUATION`], a function of the known values that it mentions. What was defined before stands in
//! front of it in the order of definition, so that a later definition of a name hides an earlier one.

use crate::checker::{Binding, Body, BodyKind, Checker};
use crate::function::Head;
use crate::hir::{self, Name, Type};
use crate::value::Value;
use crate::walk;
use bdl_grammar::{Diagnostic, ast};

/// The name of the entry that an evaluation becomes.
pub const EVALUATION: &str = "it";

/// What is to be computed.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// In the order of definition.
    pub known: Vec<Known>,
    /// Its last statement is the value.
    pub block: ast::Block,
}

/// A name that the statements may use.
#[derive(Clone, Debug)]
pub enum Known {
    /// `let net = Dense(3)`, `let n = 4`: no value of the running program.
    Let(ast::Let),
    /// A value that was computed before, of this type.
    Value(Name, Type),
}

impl<'a> Checker<'a> {
    pub(crate) fn evaluation(&mut self, asked: &'a Evaluation) {
        self.start_program();
        let mut mentioned: Vec<&'a str> = Vec::new();
        walk::block(&asked.block, &mut |name| mentioned.push(&name.text));
        for known in asked.known.iter().rev() {
            if let Known::Let(binding) = known
                && mentioned.contains(&binding.name.text.as_str())
            {
                walk::names(&binding.value, &mut |name| mentioned.push(&name.text));
            }
        }
        let span = asked.block.span;
        self.bodies.push(Body::new(self.items.main(), BodyKind::Objective, None));
        let mut inputs = Vec::new();
        for known in &asked.known {
            match known {
                Known::Let(binding) if mentioned.contains(&binding.name.text.as_str()) => self.let_statement(binding),
                Known::Value(name, ty) if mentioned.contains(&&**name) => {
                    // A value that is hidden is no input.
                    let later = asked.known.iter().rev().find(|other| other.name() == &**name);
                    if !later.is_some_and(|later| std::ptr::eq(later, known)) {
                        continue;
                    }
                    let local = self.body().new_local(name.clone(), ty.clone(), span);
                    inputs.push(local);
                    let value = self.here().local(local, span);
                    self.body().bind(name, Binding::Value(Value::Run(value)));
                }
                Known::Let(_) | Known::Value(_, _) => {}
            }
        }
        let before = self.errors();
        let value = self.statements(&asked.block, None);
        self.finish_statement();
        let value = match value {
            Some(value) => value,
            None if self.errors() > before => Value::Error,
            None => self.fail(
                Diagnostic::error("no-value", "these statements have no value")
                    .primary(span, "the last one is no expression"),
            ),
        };
        let is_static = value.is_static() && !matches!(value, Value::Error);
        let shown = value.shown();
        let applied = matches!(value, Value::Callable(_) | Value::Text(_));
        let term = match value {
            Value::Error => None,
            // Said as what it is, without a value of the running program.
            _ if applied => None,
            value => Some(self.term_of(value, span, None)).filter(|term| !term.is_error()),
        };
        self.finish_statement();
        let Some(done) = self.bodies.pop() else { return };
        self.calls.clear();
        self.hir.evaluated = Some(hir::Evaluated { is_static, shown });
        let Some(term) = term else { return };
        let head = Head { name: EVALUATION.into(), shown: EVALUATION.to_string(), path: None, inputs, span };
        let function = self.keep_function(head, done, term);
        let store = std::mem::take(&mut self.store);
        self.hir.entries.push(hir::Entry { name: EVALUATION.into(), function, store });
    }
}

impl Known {
    pub fn name(&self) -> &str {
        match self {
            Known::Let(binding) => &binding.name.text,
            Known::Value(name, _) => name,
        }
    }
}
