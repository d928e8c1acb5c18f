//! What the name of a definition stands for where a value is expected. Constants are evaluated anew at each mention, so one that is made of
//! itself is found here, by what is open; functions, layers and types are searched before ([`crate::scope`]).

use crate::checker::Checker;
use crate::scope::{Def, FileAt, made_of_itself};
use crate::value::{Callable, Value};
use bdl_grammar::ast::{self, ItemKind};
use bdl_grammar::{Diagnostic, Span};
use std::collections::HashMap;

/// Constants that are being evaluated, and those that are known to be made of themselves.
#[derive(Default)]
pub(crate) struct Constants<'a> {
    /// Outermost first.
    open: Vec<(FileAt, &'a str)>,
    /// What was said of each; one message for a circle.
    circular: HashMap<(FileAt, &'a str), Diagnostic>,
}

impl<'a> Checker<'a> {
    /// The value of a definition that is mentioned at `span`. Errors: a constant that is made of itself.
    pub fn item_value(&mut self, def: Def<'a>, span: Span) -> Value<'a> {
        let name = if let ItemKind::Let(binding) = &def.item.kind {
            binding.name.text.as_str()
        } else if let ItemKind::Const(constant) = &def.item.kind {
            constant.name.text.as_str()
        } else {
            return self.item_stands_for(def.item, def.file, span);
        };
        let key = (def.file, name);
        if let Some(first) = self.constants.open.iter().position(|open| *open == key) {
            for member in self.constants.open.split_off(first) {
                self.constants.open.push(member);
                self.constants.circular.entry(member).or_insert_with(|| made_of_itself(name, span));
            }
        }
        if let Some(message) = self.constants.circular.get(&key) {
            // What is tried in silence is said where it counts.
            if !self.diagnostics.contains(message) {
                self.diagnostics.push(message.clone());
            }
            return Value::Error;
        }
        self.constants.open.push(key);
        let value = self.item_stands_for(def.item, def.file, span);
        self.constants.open.pop();
        value
    }

    fn item_stands_for(&mut self, item: &'a ast::Item, file: FileAt, span: Span) -> Value<'a> {
        match &item.kind {
            ItemKind::Fn(def) => Value::callable(Callable::Fn(def, file)),
            ItemKind::Layer(def) | ItemKind::Model(def) => Value::callable(Callable::LayerDef(def, file)),
            ItemKind::Let(binding) if binding.binders.is_none() => {
                self.in_file(file, |checker| checker.eval(&binding.value, None))
            }
            ItemKind::Const(constant) => self.in_file(file, |checker| {
                if let Some(value) = checker.const_of_file(constant) {
                    return value;
                }
                let ty = constant.ty.as_ref().and_then(|ty| checker.read_type(ty));
                checker.eval(&constant.value, ty.as_ref())
            }),
            ItemKind::Optimizer(def) => self.fail(
                Diagnostic::error("type-mismatch", format!("`{}` is an optimizer", def.name))
                    .primary(span, "only `optimizer` in a `train` block applies it"),
            ),
            ItemKind::Type(_) | ItemKind::Alphabet(_) => self.fail(
                Diagnostic::error(
                    "type-mismatch",
                    format!("`{}` is a type, where a value is expected", self.text(span)),
                )
                .primary(span, "a type"),
            ),
            ItemKind::Let(_)
            | ItemKind::Use(_)
            | ItemKind::Data(_)
            | ItemKind::Train(_)
            | ItemKind::Tune(_)
            | ItemKind::Expect(_)
            | ItemKind::Error => Value::Error,
        }
    }
}
