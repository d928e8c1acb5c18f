//! `grad(f(x), x)`: the derivative of the equations made so far, added to them.
//!
//! What is differentiated by is a tensor of its own, so that the derivative is by that name alone: in `h(x, x)` with
//! `fn h(a: f32[n], b: f32[n]) -> f32[n] { grad(sum[i] a[i] * b[i], a) }` it is b.
//!
//! Under `for t` both the number and what it is differentiated by are tensors along t. What is named inside the `for` is read at its own t
//! only, so the sum of the numbers has, along t, the derivatives that are asked for:
//!
//! ```text
//! for t: { let xt = x[t]; grad(u(xt, w), xt) }         xt[t, c] = x[t, c]
//!                                                      of[t] = u(xt[t, ..], w)
//!                                                      g[t, c] = d (sum[t] of[t]) / d xt[t, c]
//! ```
//!
//! A value from outside of the `for` is copied for each t where it is read in the number itself. Where the number depends on it by something
//! that was computed before, there is no copy to read, and the gradient is refused.

use crate::builtin::the;
use crate::context::{Elaborator, Reducing, Result, Scope, broken, not_built, origin};
use crate::names;
use crate::value::{Pointwise, Value};
use bdl_check::hir::{self, Builtin, ExprKind};
use bdl_equations::{DType, IndexId, Name, Node, Origin, TensorId};
use bdl_grammar::{Diagnostic, Span};
use rustc_hash::FxHashSet as HashSet;
use std::collections::BTreeSet;

/// A number and what it is differentiated by, as tensors, each with the variables along its leading axes.
struct Sides {
    of: TensorId,
    of_context: Vec<IndexId>,
    by: TensorId,
    by_context: Vec<IndexId>,
    by_axes: Vec<IndexId>,
}

impl Sides {
    /// The variables that the number differs by and what it is differentiated by does not.
    fn lacking(&self) -> Vec<IndexId> {
        self.of_context.iter().copied().filter(|var| !self.by_context.contains(var)).collect()
    }
}

impl<'h> Elaborator<'h> {
    pub fn grad(&mut self, scope: &mut Scope<'h>, args: &'h [hir::Expr], expr: &'h hir::Expr) -> Result<Pointwise> {
        let by = the(args, 1, expr.span)?;
        let before = (!scope.open.is_empty()).then(|| self.save());
        let mut sides = self.sides(scope, args, expr.span)?;
        let lacking = sides.lacking();
        if !lacking.is_empty() {
            let (Some(before), false) = (before, lacking.iter().any(|var| self.is_batch_var(*var))) else {
                return Err(self.of_each(&lacking, by, expr.span));
            };
            self.restore(before);
            sides = self.by_copy(scope, args, &lacking, expr.span)?;
        }
        if let ExprKind::Param(param) = &by.kind
            && self.copies.iter().any(|(of, _)| of == param)
        {
            let from = BTreeSet::from([self.param(*param)]);
            if self.depends(sides.of, &from, sides.by) {
                return Err(self.of_each(&scope.open.clone(), by, expr.span));
            }
        }
        if self.depends_before(&sides) {
            let what = "a gradient in a loop of what was computed before the loop";
            return Err(Box::new(
                not_built(expr.span, what)
                    .help("compute inside of the loop what is differentiated, or take the gradient before the loop"),
            ));
        }
        let gradient = self.differentiated(sides.of, &[sides.by], expr.span)?;
        match gradient.first() {
            Some(tensor) => {
                let dtype = self.program.get(*tensor).dtype;
                Ok(self.read_back(*tensor, &sides.by_context, &sides.by_axes, dtype))
            }
            None => self.filled(0.0, expr, DType::Real),
        }
    }

    /// In what follows the parameters by which gradients are taken are copies of their own for each value of the open indices.
    pub fn copy_params(&mut self, scope: &mut Scope<'h>, body: &'h hir::Expr) -> Result<()> {
        let mut found = Vec::new();
        hir::visit::each(body, &mut |expr| {
            if let ExprKind::Builtin(Builtin::Grad, args) = &expr.kind
                && let Some(by @ hir::Expr { kind: ExprKind::Param(param), .. }) = args.get(1)
                && !found.iter().any(|(known, _)| known == param)
            {
                found.push((*param, by.span));
            }
        });
        let own = scope.open.iter().copied().filter(|var| !self.is_batch_var(*var)).collect::<Vec<_>>();
        for (param, span) in found {
            let path = self.store.params[param.0 as usize].path.clone();
            let name = path.rsplit('.').next().unwrap_or(&path);
            let before = self.copies.iter().rev().find(|(of, _)| *of == param).map(|(_, copy)| copy.clone());
            let original = match before {
                Some(copy) => copy,
                None => {
                    let tensor = self.param(param);
                    self.whole(tensor)
                }
            };
            let hint = names::inside(&scope.prefix, name);
            let copy = self.apart(&original, &own, &hint, origin(span, format!("`{name}`")))?;
            self.copies.push((param, copy));
        }
        Ok(())
    }

    fn sides(&mut self, scope: &mut Scope<'h>, args: &'h [hir::Expr], span: Span) -> Result<Sides> {
        let value = self.tensor(scope, the(args, 0, span)?)?;
        let with = self.tensor(scope, the(args, 1, span)?)?;
        let made = origin(span, "value that is differentiated".into());
        let hint = names::inside(&scope.prefix, "grad");
        let (of, of_context) = self.whole_tensor(&value, &names::inside(&hint, "of"), made.clone())?;
        let (by, by_context) = self.whole_tensor(&with, &names::inside(&hint, "by"), made)?;
        Ok(Sides { of, of_context, by, by_context, by_axes: with.axes })
    }

    /// The sides with a copy of the local or parameter, one for each value of these variables, in its place.
    fn by_copy(&mut self, scope: &mut Scope<'h>, args: &'h [hir::Expr], each: &[IndexId], span: Span) -> Result<Sides> {
        let by = the(args, 1, span)?;
        let original = self.tensor(scope, by)?;
        let local = if let ExprKind::Local(local) = &by.kind { Some(*local) } else { None };
        let param = if let ExprKind::Param(param) = &by.kind { Some(*param) } else { None };
        let name: Name = match (local, param) {
            (Some(local), _) => scope.function.locals[local.0 as usize].name.clone(),
            (None, Some(param)) => {
                let path = &self.store.params[param.0 as usize].path;
                path.rsplit('.').next().unwrap_or(path).into()
            }
            (None, None) => return Err(broken(by.span, "a gradient by an expression")),
        };
        let hint = names::inside(&scope.prefix, &name);
        let copy = self.apart(&original, each, &hint, origin(by.span, format!("`{name}`")))?;
        let sides = match (local, param) {
            (Some(local), _) => {
                let outside = scope.locals[local.0 as usize].replace(Value::Tensor(copy));
                let sides = self.sides(scope, args, span);
                scope.locals[local.0 as usize] = outside;
                sides?
            }
            (None, of) => {
                self.copies.extend(of.map(|param| (param, copy)));
                let sides = self.sides(scope, args, span);
                self.copies.pop();
                sides?
            }
        };
        let from: BTreeSet<TensorId> = original.body.reads().iter().map(|read| read.tensor).collect();
        if self.depends(sides.of, &from, sides.by) {
            return Err(self.of_each(each, by, span));
        }
        Ok(sides)
    }

    /// Is `tensor` computed from one of `from` by another way than through `except`?
    fn depends(&self, tensor: TensorId, from: &BTreeSet<TensorId>, except: TensorId) -> bool {
        let mut needed = HashSet::from_iter([tensor]);
        let every = self.around.iter().flatten().chain(&self.program.nodes);
        for node in every.rev() {
            let writes = node.writes();
            if !writes.contains(&except) && writes.iter().any(|written| needed.contains(written)) {
                needed.extend(node.reads_deep());
            }
        }
        from.iter().any(|source| needed.contains(source))
    }

    /// Does the number depend on what it is differentiated by through something made before the open loops? The derivative is taken of
    /// the innermost body alone.
    fn depends_before(&self, sides: &Sides) -> bool {
        if self.around.is_empty() {
            return false;
        }
        let mut needed = HashSet::from_iter([sides.of]);
        let is_needed = |node: &Node, needed: &HashSet<TensorId>| node.writes().iter().any(|out| needed.contains(out));
        for node in self.program.nodes.iter().rev() {
            if is_needed(node, &needed) {
                needed.extend(node.reads_deep());
            }
        }
        // Only what is needed from outside counts: what is differentiated by may be read inside directly.
        needed.remove(&sides.by);
        for node in self.around.iter().flatten().rev() {
            if is_needed(node, &needed) {
                let reads = node.reads_deep();
                if reads.contains(&sides.by) {
                    return true;
                }
                needed.extend(reads);
            }
        }
        false
    }

    /// The value as a tensor that nothing else reads, along these variables besides those that it mentions.
    pub fn apart(&mut self, value: &Pointwise, each: &[IndexId], hint: &str, made: Origin) -> Result<Pointwise> {
        let mut context = self.context_of(&[&value.body], &value.axes);
        let own = |var: &&IndexId| !self.is_batch_var(**var) && self.example_of(**var).is_none();
        context.extend(each.iter().filter(own));
        context.sort();
        context.dedup();
        context.retain(|var| !value.axes.contains(var));
        let free: Vec<IndexId> = context.iter().chain(&value.axes).copied().collect();
        let tensor = self.equation(hint, value.dtype, &free, &Reducing::none(), &value.body, made)?;
        Ok(self.read_back(tensor, &context, &value.axes, value.dtype))
    }

    fn of_each(&self, indices: &[IndexId], by: &hir::Expr, span: Span) -> Box<Diagnostic> {
        let each = indices.iter().map(|var| format!("`{}`", self.var_name(*var))).collect::<Vec<_>>().join(", ");
        let what = format!("a gradient for each {each} by a value that is the same for all of them");
        let diagnostic = not_built(span, &what).secondary(by.span, "made outside of the `for`");
        Box::new(diagnostic.help(
            "name it inside of the `for`, with `let`, and compute with that name what is differentiated: `for t: { let v = w; grad(f(v, x[t]), v) }`",
        ))
    }
}

/// Locals that a function takes gradients by: they must be tensors of their own before anything reads them.
pub(crate) fn roots(function: &hir::Function) -> HashSet<hir::LocalId> {
    let mut roots = HashSet::default();
    let mut look = |expr: &hir::Expr| {
        if let ExprKind::Builtin(Builtin::Grad, args) = &expr.kind
            && let Some(hir::Expr { kind: ExprKind::Local(local), .. }) = args.get(1)
        {
            roots.insert(*local);
        }
    };
    hir::visit::each(&function.body, &mut look);
    roots
}
