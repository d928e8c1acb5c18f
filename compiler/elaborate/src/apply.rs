//! Applications: the callee's body in place of the call.
//!
//! A layer instance keeps its path, so what it computes is named `net.conv1d_1.sum`; a function's work is named after its caller.
//! A draw inside the callee varies with those outer `for` indices on which the call depends, that is, which its arguments mention: in
//! `for t: net(x)[t]` the network runs, and drops out, once.

use crate::context::{Elaborator, Result, Scope, broken};
use crate::names;
use crate::value::{Pointwise, Value, mentioned};
use bdl_check::hir;
use bdl_equations::{IndexId, Name};
use bdl_grammar::Span;
use rustc_hash::FxHashSet as HashSet;
use std::collections::{BTreeMap, BTreeSet};

impl<'h> Elaborator<'h> {
    pub fn function(&self, id: hir::FunctionId, span: Span) -> Result<&'h hir::Function> {
        let found = self.hir.functions.get(id.0 as usize);
        found.ok_or_else(|| broken(span, "a function that is applied does not exist"))
    }

    pub fn apply(
        &mut self,
        scope: &mut Scope<'h>,
        id: hir::FunctionId,
        args: &'h [hir::Expr],
        span: Span,
    ) -> Result<Value> {
        let function = self.function(id, span)?;
        let mut values = Vec::new();
        for arg in args {
            values.push((self.expr(scope, arg)?, arg.span));
        }
        self.calls.push(span);
        let value = self.call(function, values, &scope.prefix.clone(), span);
        self.calls.pop();
        value
    }

    /// The value of a function of these arguments. `caller` prefixes the names of what a `fn` computes.
    pub fn call(
        &mut self,
        function: &'h hir::Function,
        args: Vec<(Value, Span)>,
        caller: &Name,
        span: Span,
    ) -> Result<Value> {
        if args.len() != function.inputs.len() {
            return Err(broken(span, "an application has the wrong number of arguments"));
        }
        let prefix = function.path.clone().unwrap_or_else(|| names::inside(caller, &function.name));
        let mut scope = Scope {
            function,
            prefix: prefix.clone(),
            locals: vec![None; function.locals.len()],
            indices: vec![None; function.indices.len()],
            next: BTreeMap::new(),
            pending: HashSet::default(),
            roots: crate::gradient::roots(function),
            open: Vec::new(),
        };
        if !scope.roots.is_empty() {
            let mut found = BTreeSet::new();
            args.iter().for_each(|(value, _)| self.differs_by(value, &mut found));
            scope.open.extend(found);
        }
        for ((value, at), input) in args.into_iter().zip(&function.inputs) {
            let local = &function.locals[input.0 as usize];
            let (name, value) = (&local.name, self.of_type(value, &local.ty));
            let what = format!("`{name}` of `{}`", function.name);
            let own = scope.roots.contains(input).then_some(scope.open.as_slice());
            let bound = self.bind(value, &format!("{prefix}.{name}"), own, at, what)?;
            scope.locals[input.0 as usize] = Some(bound);
        }
        let outer = std::mem::take(&mut self.draws);
        self.draws = if function.inputs.is_empty() { outer.clone() } else { relevant(&outer, &scope) };
        let value = self.body(&mut scope);
        self.draws = outer;
        let hint = if function.path.is_some() { names::result(&prefix) } else { prefix };
        Ok(hinted(value?, &hint))
    }

    /// The variables in scope that a value mentions, without its own axes.
    fn differs_by(&self, value: &Value, found: &mut BTreeSet<IndexId>) {
        match value {
            Value::Tensor(tensor) => {
                let bodies: Vec<_> = std::iter::once(&tensor.body).chain(&tensor.known).collect();
                found.extend(self.context_of(&bodies, &tensor.axes));
            }
            Value::Record(fields) => fields.iter().for_each(|(_, field)| self.differs_by(field, found)),
        }
    }

    fn body(&mut self, scope: &mut Scope<'h>) -> Result<Value> {
        let function = scope.function;
        let value = self.expr(scope, &function.body)?;
        for (state, _) in &function.updates {
            let next = self.next_state(scope, *state, function.span)?;
            self.updates.insert(*state, next);
        }
        Ok(value)
    }

    /// What the `update` of this step gives a state: elaborated where it is first needed, then stored.
    pub fn next_state(&mut self, scope: &mut Scope<'h>, id: hir::StateId, span: Span) -> Result<Pointwise> {
        if let Some(known) = scope.next.get(&id) {
            return Ok(known.clone());
        }
        let Some((_, update)) = scope.function.updates.iter().find(|(state, _)| *state == id) else {
            return Err(broken(span, "`next` of a state that has no update"));
        };
        if !scope.pending.insert(id) {
            return Err(broken(span, "an update needs its own result"));
        }
        let value = self.tensor(scope, update)?;
        let path = &self.store.states[id.0 as usize].path;
        let what = format!("update of `{path}`");
        let bound = self.bind(Value::Tensor(value), &names::next(path), None, update.span, what)?;
        scope.pending.remove(&id);
        let Value::Tensor(next) = bound else { return Err(broken(span, "a state that is a record")) };
        scope.next.insert(id, next.clone());
        Ok(next)
    }
}

/// The outer `for` indices that the arguments mention.
fn relevant(outer: &[IndexId], scope: &Scope) -> Vec<IndexId> {
    let mut found = BTreeSet::new();
    for value in scope.locals.iter().flatten() {
        collect(value, &mut found);
    }
    outer.iter().copied().filter(|i| found.contains(i)).collect()
}

fn collect(value: &Value, found: &mut BTreeSet<IndexId>) {
    match value {
        Value::Tensor(tensor) => {
            found.extend(mentioned(&tensor.body));
            tensor.known.iter().for_each(|known| found.extend(mentioned(known)));
        }
        Value::Record(fields) => fields.iter().for_each(|(_, v)| collect(v, found)),
    }
}

fn hinted(value: Value, hint: &Name) -> Value {
    match value {
        Value::Tensor(tensor) => Value::Tensor(Pointwise { hint: Some(hint.clone()), ..tensor }),
        Value::Record(fields) => Value::Record(
            fields
                .into_iter()
                .map(|(name, v)| {
                    let inner = names::inside(hint, &name);
                    (name, hinted(v, &inner))
                })
                .collect(),
        ),
    }
}
