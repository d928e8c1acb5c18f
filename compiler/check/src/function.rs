//! What a body becomes once it is checked: a function of the HIR.

use crate::checker::{Body, Checker, with_lets};
use crate::hir::{self, FunctionId, LocalId, Name};
use bdl_grammar::Span;

/// A function as it is called and named.
pub(crate) struct Head {
    pub name: Name,
    /// As messages show it.
    pub shown: String,
    /// The instance that it belongs to.
    pub path: Option<Name>,
    pub inputs: Vec<LocalId>,
    pub span: Span,
}

impl<'a> Checker<'a> {
    /// Keeps a finished body, whose result is `value`, as a function.
    pub(crate) fn keep_function(&mut self, head: Head, body: Body<'a>, value: hir::Expr) -> FunctionId {
        let Head { name, shown, path, inputs, span } = head;
        let index =
            |info: crate::checker::IndexInfo| hir::IndexVar { name: info.name, kind: info.kind, span: info.span };
        self.hir.functions.push(hir::Function {
            name,
            shown,
            path,
            locals: body.locals,
            indices: body.indices.into_iter().map(index).collect(),
            inputs,
            body: with_lets(body.blocks.into_iter().next().unwrap_or_default(), value),
            updates: body.updates,
            span,
        });
        FunctionId((self.hir.functions.len() - 1) as u32)
    }
}
