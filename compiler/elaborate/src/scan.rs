//! Loops: `scan` and `iterate` as regions of the program.
//!
//! The step number is a size name inside the body; carried values are tensors with the axes of the value, after those `for` indices
//! around the loop on which the loop depends. Which these are is known only when the body has been elaborated, so a loop whose body
//! turns out to depend on more of them than its start values is elaborated again with those added.

use crate::context::{Elaborator, Result, Scope, broken, origin};
use crate::names;
use crate::value::{Pointwise, Value};
use bdl_check::hir::{self, Type};
use bdl_dims::Dim;
use bdl_equations::{
    Affine, Carried, Ends, Expr, IndexId, Iterate, Name, Node, Origin, Read, Scan, SizeKind, Sub, TensorId,
};
use bdl_grammar::Span;

/// A carried tensor while its loop is made. Of an optional value there are two, the second saying where it is known.
struct Loop {
    name: Name,
    is_known: bool,
    start: Pointwise,
    start_tensor: TensorId,
    inside: TensorId,
    axes: Vec<IndexId>,
}

/// What a body left: the next values, and what is emitted.
struct Body {
    nodes: Vec<Node>,
    next: Vec<Pointwise>,
    next_tensors: Vec<TensorId>,
    emitted: Vec<Emitted>,
}

/// A tensor that each step gives: where in the record, whether it says where the one before it is known, and what it is.
struct Emitted {
    path: Vec<Name>,
    is_known: bool,
    value: Pointwise,
    tensor: TensorId,
}

impl<'h> Elaborator<'h> {
    pub fn scan(&mut self, scope: &mut Scope<'h>, scan: &'h hir::Scan, expr: &'h hir::Expr) -> Result<Value> {
        let made = origin(expr.span, format!("scan in `{}`", scope.prefix));
        let starts = self.starts(scope, &scan.carried)?;
        if scan.extent.is_zero() {
            return Ok(match scan.emit {
                Some(_) => self.nothing(&expr.ty, expr.span)?,
                None => unmoved(scope, &scan.carried, starts, &expr.ty),
            });
        }
        let extent = self.steps_of(&scan.extent, expr.span)?;
        let mut context = self.loop_context(&starts);
        loop {
            let before = self.save();
            let loops = self.enter(scope, &scan.carried, &starts, &context, &made)?;
            let index = &scope.function.indices[scan.index.0 as usize];
            let step = self.step_name(&index.name);
            scope.indices[scan.index.0 as usize] = Some(Affine::from(Dim::var(step.clone())));
            let body = self.scan_body(scope, scan, &extent, &loops, &context, expr.span)?;
            let missing = self.missing(&body, &context);
            if !missing.is_empty() {
                self.restore(before);
                context.extend(missing);
                context.sort();
                continue;
            }
            let (carried, last) = self.leave(&loops, &body, &context);
            self.declare_sizes(&extent);
            let mut stacks = Vec::new();
            let mut values: Paths = Vec::new();
            for Emitted { path, is_known, value, tensor: inside } in &body.emitted {
                let mut shape = vec![extent.clone()];
                shape.extend(self.program.get(*inside).shape.iter().cloned());
                let name = names::inside(&scope.prefix, path.last().map_or("emitted", |n| n));
                let name = self.unique(&if *is_known { names::known(&name) } else { name });
                let outside = self.program.computed(&name, value.dtype, shape);
                self.mark_per_example(outside);
                stacks.push((*inside, outside));
                let at = self.var(&index.name, extent.clone());
                let fresh = self.fresh_axes(&value.axes);
                let subs = std::iter::once(at).chain(context.iter().copied()).chain(fresh.iter().copied());
                let body = Expr::Read(Read::new(outside, subs.map(Sub::from)));
                let axes = std::iter::once(at).chain(fresh.iter().copied()).collect();
                let stacked = Pointwise { axes, body, dtype: value.dtype, known: None, hint: None };
                match values.last_mut() {
                    Some((_, last)) if *is_known => last.known = Some(stacked.at_indices(&last.axes)),
                    Some(_) | None => values.push((path.clone(), stacked)),
                }
            }
            let node = Scan {
                step,
                extent,
                reversed: scan.reversed,
                carried,
                body: body.nodes,
                stacks,
                checkpoint: scan.checkpoint.map(Dim::from),
                ends: None,
                origin: made,
            };
            self.add(Node::Scan(node));
            return if scan.emit.is_some() { Ok(nested(values)) } else { Ok(by_name(last, &expr.ty)) };
        }
    }

    fn scan_body(
        &mut self,
        scope: &mut Scope<'h>,
        scan: &'h hir::Scan,
        extent: &Dim,
        loops: &[Loop],
        context: &[IndexId],
        span: Span,
    ) -> Result<Body> {
        self.open_loop();
        let ragged = usize::from(self.is_per_example_size(extent));
        self.running += ragged;
        let done = self.scan_inside(scope, scan, loops, context, span);
        self.running -= ragged;
        let nodes = self.close_loop();
        let (next, next_tensors, emitted) = done?;
        Ok(Body { nodes, next, next_tensors, emitted })
    }

    #[allow(clippy::type_complexity)] // the fields of `Body`
    fn scan_inside(
        &mut self,
        scope: &mut Scope<'h>,
        scan: &'h hir::Scan,
        loops: &[Loop],
        context: &[IndexId],
        span: Span,
    ) -> Result<(Vec<Pointwise>, Vec<TensorId>, Vec<Emitted>)> {
        self.lets(scope, &scan.lets)?;
        let (next, tensors) = self.next_values(scope, &scan.next, loops, context, span)?;
        let mut emitted = Vec::new();
        if let Some(emit) = &scan.emit {
            let value = self.expr(scope, emit)?;
            let mut flat = Vec::new();
            flatten(value, &mut Vec::new(), &mut flat);
            for (path, value) in flat {
                let hint = names::inside(&scope.prefix, "emit");
                let known = value.whether_known();
                for (value, is_known) in std::iter::once((value, false)).chain(known.map(|known| (known, true))) {
                    let hint = if is_known { names::known(&hint) } else { hint.clone() };
                    let made = origin(emit.span, "what the scan emits".into());
                    let tensor = self.over(&value, context, &hint, made)?;
                    emitted.push(Emitted { path: path.clone(), is_known, value, tensor });
                }
            }
        }
        Ok((next, tensors, emitted))
    }

    fn next_values(
        &mut self,
        scope: &mut Scope<'h>,
        next: &'h [hir::Expr],
        loops: &[Loop],
        context: &[IndexId],
        span: Span,
    ) -> Result<(Vec<Pointwise>, Vec<TensorId>)> {
        let (mut values, mut tensors) = (Vec::new(), Vec::new());
        let mut each = Vec::new();
        for (expr, optional) in next.iter().zip(optional(loops)) {
            let value = self.tensor(scope, expr)?;
            each.extend(parts(value, optional).into_iter().map(|value| (value, expr.span)));
        }
        for ((value, at), carried) in each.into_iter().zip(loops) {
            if value.axes.len() != carried.axes.len() {
                return Err(broken(span, "a carried value changes its shape"));
            }
            let hint = format!("{}.{}.next", scope.prefix, carried.name);
            tensors.push(self.over(&value, context, &hint, origin(at, format!("`next {}`", carried.name)))?);
            values.push(value);
        }
        Ok((values, tensors))
    }

    pub fn iterate(&mut self, scope: &mut Scope<'h>, iterate: &'h hir::Iterate, expr: &'h hir::Expr) -> Result<Value> {
        let made = origin(expr.span, format!("iteration in `{}`", scope.prefix));
        let starts = self.starts(scope, &iterate.carried)?;
        if iterate.at_most.is_zero() {
            return Ok(unmoved(scope, &iterate.carried, starts, &expr.ty));
        }
        let at_most = self.steps_of(&iterate.at_most, expr.span)?;
        let mut context = self.loop_context(&starts);
        loop {
            let before = self.save();
            let loops = self.enter(scope, &iterate.carried, &starts, &context, &made)?;
            let step = self.step_name("step");
            self.open_loop();
            // Examples that have stopped take no part in what follows, in the condition either.
            self.running += 1;
            let until = self.tensor(scope, &iterate.until).and_then(|until| {
                let hint = names::inside(&scope.prefix, "until");
                let tensor = self.over(&until, &context, &hint, origin(iterate.until.span, "stop condition".into()))?;
                Ok((until, tensor))
            });
            let condition = std::mem::take(&mut self.program.nodes);
            let done = until.and_then(|until| {
                self.lets(scope, &iterate.lets)?;
                let next = self.next_values(scope, &iterate.next, &loops, &context, expr.span)?;
                Ok((until, next))
            });
            self.running -= 1;
            let nodes = self.close_loop();
            let ((condition_value, until), (next, next_tensors)) = done?;
            let body = Body { nodes, next, next_tensors, emitted: Vec::new() };
            let mut missing = self.missing(&body, &context);
            missing.extend(self.loop_context(&[condition_value]).into_iter().filter(|v| !context.contains(v)));
            missing.sort();
            missing.dedup();
            if !missing.is_empty() {
                self.restore(before);
                context.extend(missing);
                context.sort();
                continue;
            }
            if !context.is_empty() {
                let nodes = condition.into_iter().chain(body.nodes.iter().cloned()).collect();
                return self.each_until(&loops, &Body { nodes, ..body }, &context, until, step, at_most, expr);
            }
            let (carried, last) = self.leave(&loops, &body, &context);
            self.declare_sizes(&at_most);
            self.add(Node::Iterate(Iterate {
                step,
                at_most,
                carried,
                condition,
                until,
                body: body.nodes,
                origin: made,
            }));
            return Ok(by_name(last, &expr.ty));
        }
    }

    /// An `iterate` under `for`: each value of the indices stops by itself. A loop of all steps in which what has stopped keeps its value, and
    /// which ends when all have.
    #[allow(clippy::too_many_arguments)] // the parts of one loop
    fn each_until(
        &mut self,
        loops: &[Loop],
        body: &Body,
        context: &[IndexId],
        until: TensorId,
        step: Name,
        at_most: Dim,
        expr: &'h hir::Expr,
    ) -> Result<Value> {
        let made = origin(expr.span, "iteration under `for`".into());
        let over_batch = |node: &Node| matches!(node, Node::Equation(n) if self.program.is_over_batch(n));
        if body.nodes.iter().any(over_batch) {
            return Err(crate::context::not_built(expr.span, "a reduction over the batch in an `iterate` under `for`"));
        }
        if self.is_per_example_size(&at_most) {
            return Err(crate::context::not_built(
                expr.span,
                "`iterate` under `for` with a bound of the example's own",
            ));
        }
        let outside = std::mem::replace(&mut self.program.nodes, body.nodes.clone());
        let held = self.held(loops, body, context, until, &made);
        let mut nodes = std::mem::replace(&mut self.program.nodes, outside);
        let (next_tensors, done) = held?;
        let body = Body { nodes: Vec::new(), next: body.next.clone(), next_tensors, emitted: Vec::new() };
        let (carried, last) = self.leave(loops, &body, context);
        self.declare_sizes(&at_most);
        let steps = self.unique(&names::inside(&step, "steps"));
        let steps = self.program.computed(&steps, bdl_equations::DType::I32, []);
        self.add(Node::Scan(Scan {
            step,
            extent: at_most,
            reversed: false,
            carried,
            body: std::mem::take(&mut nodes),
            stacks: Vec::new(),
            checkpoint: None,
            ends: Some(Ends::When { until: done, steps }),
            origin: made,
        }));
        Ok(by_name(last, &expr.ty))
    }

    /// The next values of what goes on, the old ones of what has stopped; and whether all have.
    fn held(
        &mut self,
        loops: &[Loop],
        body: &Body,
        context: &[IndexId],
        until: TensorId,
        made: &Origin,
    ) -> Result<(Vec<TensorId>, TensorId)> {
        let none = crate::context::Reducing::none();
        let stop = Expr::read(until, context.iter().copied());
        let mut next_tensors = Vec::new();
        for (carried, next) in loops.iter().zip(&body.next_tensors) {
            let free: Vec<IndexId> = context.iter().chain(&carried.axes).copied().collect();
            let [old, new] = [carried.inside, *next].map(|tensor| Expr::read(tensor, free.iter().copied()));
            let value = stop.clone().select(old, new);
            let hint = format!("{}.held", carried.name);
            next_tensors.push(self.equation(&hint, carried.start.dtype, &free, &none, &value, made.clone())?);
        }
        let all = crate::context::Reducing { monoid: bdl_equations::Monoid::All, bound: context.to_vec(), ..none };
        let done = self.equation("done", bdl_equations::DType::Bool, &[], &all, &stop, made.clone())?;
        Ok((next_tensors, done))
    }

    /// How many steps a loop makes.
    fn steps_of(&self, extent: &Dim, span: Span) -> Result<Dim> {
        match self.sized(extent, span)? {
            (extent, None) => Ok(extent),
            (_, Some(_)) => Err(crate::context::not_built(
                span,
                "a loop over another example's own length that reads the example at hand, too,",
            )),
        }
    }

    /// What a loop without steps emits: tensors without elements.
    fn nothing(&mut self, ty: &Type, span: Span) -> Result<Value> {
        Ok(match ty {
            Type::Tensor(tensor) => {
                let axes = self.sized_axes(tensor, span)?;
                let dtype = crate::context::dtype_of(&tensor.scalar);
                Value::Tensor(Pointwise { axes, body: Expr::Const(0.0), dtype, known: None, hint: None })
            }
            Type::Record(fields) => {
                let each = fields.iter().map(|(name, ty)| Ok((name.clone(), self.nothing(ty, span)?)));
                Value::Record(each.collect::<Result<Vec<_>>>()?)
            }
            Type::Error => Value::Record(Vec::new()),
        })
    }

    // ------------------------------------------------------------------------------------------------ parts of a loop

    fn starts(&mut self, scope: &mut Scope<'h>, carried: &'h [(hir::LocalId, hir::Expr)]) -> Result<Vec<Pointwise>> {
        carried.iter().map(|(_, start)| self.tensor(scope, start)).collect()
    }

    fn loop_context(&self, values: &[Pointwise]) -> Vec<IndexId> {
        let parts = |v: &Pointwise| {
            let bodies: Vec<&Expr> = std::iter::once(&v.body).chain(&v.known).collect();
            self.context_of(&bodies, &v.axes)
        };
        let mut all: Vec<IndexId> = values.iter().flat_map(parts).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Context variables that the body depends on and the carried values do not have yet.
    fn missing(&self, body: &Body, context: &[IndexId]) -> Vec<IndexId> {
        let mut all = self.loop_context(&body.next);
        all.extend(body.emitted.iter().flat_map(|e| self.context_of(&[&e.value.body], &e.value.axes)));
        all.sort();
        all.dedup();
        all.retain(|v| !context.contains(v));
        all
    }

    /// Declares the start tensors and what the body reads, and binds the carried locals.
    fn enter(
        &mut self,
        scope: &mut Scope<'h>,
        carried: &'h [(hir::LocalId, hir::Expr)],
        starts: &[Pointwise],
        context: &[IndexId],
        made: &Origin,
    ) -> Result<Vec<Loop>> {
        let mut loops = Vec::new();
        for ((local, written), start) in carried.iter().zip(starts) {
            let name = scope.function.locals[local.0 as usize].name.clone();
            let optional = matches!(&written.ty, Type::Tensor(ty) if ty.optional);
            let mut value: Option<Pointwise> = None;
            for start in parts(start.clone(), optional) {
                let is_known = value.is_some();
                let name = if is_known { names::known(&name) } else { name.clone() };
                let hint = format!("{}.{name}", scope.prefix);
                let start_tensor = self.over(&start, context, &format!("{hint}.start"), made.clone())?;
                let shape = self.program.get(start_tensor).shape.clone();
                let unique = self.unique(&hint);
                let inside = self.program.computed(&unique, start.dtype, shape);
                if self.draws_per_example {
                    self.mark_per_example(inside);
                }
                let read = self.read_back(inside, context, &start.axes, start.dtype);
                value = Some(with_known(value, read));
                let axes = start.axes.clone();
                loops.push(Loop { name, is_known, start, start_tensor, inside, axes });
            }
            scope.locals[local.0 as usize] = value.map(Value::Tensor);
        }
        Ok(loops)
    }

    /// Declares the last values: the tensors, and the values by name.
    fn leave(&mut self, loops: &[Loop], body: &Body, context: &[IndexId]) -> (Vec<Carried>, Vec<(Name, Value)>) {
        let (mut nodes, mut values): (Vec<Carried>, Vec<(Name, Pointwise)>) = (Vec::new(), Vec::new());
        for (carried, next) in loops.iter().zip(&body.next_tensors) {
            let (inside, dtype) = (self.program.get(carried.inside).clone(), carried.start.dtype);
            let name = self.unique(&format!("{}.last", inside.name));
            let last = self.program.computed(&name, dtype, inside.shape);
            if self.is_per_example(carried.inside) {
                self.mark_per_example(last);
            }
            let value = self.read_back(last, context, &carried.axes, dtype);
            nodes.push(Carried { start: carried.start_tensor, inside: carried.inside, next: *next, last });
            match values.last_mut() {
                Some((_, of)) if carried.is_known => *of = with_known(Some(of.clone()), value),
                Some(_) | None => values.push((carried.name.clone(), value)),
            }
        }
        (nodes, values.into_iter().map(|(name, value)| (name, Value::Tensor(value))).collect())
    }

    /// The value as a tensor over exactly these context variables (those it mentions among them), then its own axes.
    fn over(&mut self, value: &Pointwise, context: &[IndexId], hint: &str, made: Origin) -> Result<TensorId> {
        let mentioned = self.context_of(&[&value.body], &value.axes);
        if mentioned == context {
            let (tensor, _) = self.whole_tensor(&Pointwise { hint: None, ..value.clone() }, hint, made.clone())?;
            if self.is_written_here(tensor) {
                return Ok(tensor);
            }
            // A carried value or a tensor from outside as the next value: a copy of its own.
        }
        let extra = mentioned.iter().filter(|v| !context.contains(v));
        let free: Vec<IndexId> = context.iter().chain(extra).chain(&value.axes).copied().collect();
        self.equation(hint, value.dtype, &free, &crate::context::Reducing::none(), &value.body, made)
    }

    fn is_written_here(&self, tensor: TensorId) -> bool {
        self.program.nodes.iter().any(|node| node.writes().contains(&tensor))
    }

    fn step_name(&mut self, hint: &str) -> Name {
        let mut number = 1u32;
        let mut name: Name = hint.into();
        while self.program.size_kind(&name).is_some() || self.hir.sizes.iter().any(|(n, _)| *n == name) {
            number += 1;
            name = format!("{hint}_{number}").into();
        }
        self.program.size(name.clone(), SizeKind::Step);
        name
    }

    fn fresh_axes(&mut self, axes: &[IndexId]) -> Vec<IndexId> {
        axes.iter().map(|a| self.var_like(*a)).collect()
    }
}

/// The carried values of a loop without steps.
fn unmoved(scope: &Scope, carried: &[(hir::LocalId, hir::Expr)], starts: Vec<Pointwise>, ty: &Type) -> Value {
    let name = |local: &hir::LocalId| scope.function.locals[local.0 as usize].name.clone();
    let fields = carried.iter().zip(starts).map(|((local, _), start)| (name(local), Value::Tensor(start)));
    by_name(fields.collect(), ty)
}

/// Which of the carried values are optional, in the order in which they are written.
fn optional(loops: &[Loop]) -> Vec<bool> {
    let after = loops.iter().skip(1).map(|l| l.is_known).chain([false]);
    loops.iter().zip(after).filter(|(l, _)| !l.is_known).map(|(_, known)| known).collect()
}

/// The tensors that carry a value: of an optional one the value and whether it is there.
fn parts(value: Pointwise, optional: bool) -> Vec<Pointwise> {
    if !optional {
        return vec![value];
    }
    let always = Pointwise {
        axes: value.axes.clone(),
        body: Expr::Const(1.0),
        dtype: bdl_equations::DType::Bool,
        known: None,
        hint: None,
    };
    let known = value.whether_known().unwrap_or(always);
    vec![Pointwise { known: None, ..value }, known]
}

/// The first of a carried value's tensors, or the value with what its second one says.
fn with_known(value: Option<Pointwise>, read: Pointwise) -> Pointwise {
    match value {
        None => read,
        Some(value) => Pointwise { known: Some(read.at_indices(&value.axes)), ..value },
    }
}

fn by_name(mut fields: Vec<(Name, Value)>, ty: &Type) -> Value {
    match (ty, fields.len()) {
        (Type::Tensor(_), 1) => fields.remove(0).1,
        (Type::Tensor(_) | Type::Record(_) | Type::Error, _) => Value::Record(fields),
    }
}

fn flatten(value: Value, path: &mut Vec<Name>, out: &mut Paths) {
    match value {
        Value::Tensor(tensor) => out.push((path.clone(), tensor)),
        Value::Record(fields) => {
            for (name, field) in fields {
                path.push(name);
                flatten(field, path, out);
                path.pop();
            }
        }
    }
}

/// Tensors by the path of field names that leads to them.
type Paths = Vec<(Vec<Name>, Pointwise)>;

/// Tensors by path as nested records again.
fn nested(values: Paths) -> Value {
    let mut groups: Vec<(Name, Paths)> = Vec::new();
    for (mut path, value) in values {
        if path.is_empty() {
            return Value::Tensor(value);
        }
        let head = path.remove(0);
        match groups.iter_mut().find(|(name, _)| *name == head) {
            Some((_, inner)) => inner.push((path, value)),
            None => groups.push((head, vec![(path, value)])),
        }
    }
    Value::Record(groups.into_iter().map(|(name, inner)| (name, nested(inner))).collect())
}
