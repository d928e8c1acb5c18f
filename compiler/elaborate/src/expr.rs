//! Expressions: each kind of HIR expression as a [`Value`].
//!
//! Element-wise arithmetic stays a formula over the placeholders of its operands; only what cannot be one scalar formula (reductions,
//! draws, concatenations, `let`s that are worth storing) becomes a node of the program.
//!
//! Conditions that are constants here, `training` above all, are decided, so that a program for evaluation holds no dropout and no
//! batch statistics.

use crate::context::{Elaborator, Part, Result, Scope, broken, dtype_of, origin};
use crate::value::{Pointwise, Value, number};
use bdl_check::hir::{self, Ambient, ExprKind};
use bdl_equations::{Affine, BATCH, BinaryOp, CompareOp, DType, Expr, IndexId, Literal, Node, SizeKind, UnaryOp};
use bdl_grammar::Span;

impl<'h> Elaborator<'h> {
    pub fn expr(&mut self, scope: &mut Scope<'h>, expr: &'h hir::Expr) -> Result<Value> {
        let value = self.as_written(scope, expr)?;
        Ok(self.of_type(value, &expr.ty))
    }

    /// The value in the precision of what it is made of.
    fn as_written(&mut self, scope: &mut Scope<'h>, expr: &'h hir::Expr) -> Result<Value> {
        let plain = matches!(expr.kind, ExprKind::Local(_) | ExprKind::OfExample(_, _) | ExprKind::Number(_));
        if !plain && let Some(other) = self.belongs_to(scope, expr) {
            return self.at_home(scope, other, expr);
        }
        match &expr.kind {
            ExprKind::Field(base, name) => {
                let Value::Record(fields) = self.expr(scope, base)? else {
                    return Err(broken(expr.span, "a field is read from something that is not a record"));
                };
                let found = fields.into_iter().find(|(n, _)| n == name).map(|(_, v)| v);
                found.ok_or_else(|| broken(expr.span, "a record lacks a field that is read from it"))
            }
            ExprKind::Record(fields) => {
                let mut values = Vec::new();
                for (name, field) in fields {
                    values.push((name.clone(), self.expr(scope, field)?));
                }
                Ok(Value::Record(values))
            }
            ExprKind::Local(id) => match scope.locals.get(id.0 as usize).cloned().flatten() {
                Some(value) => Ok(self.seen_from_home(value)),
                None => Err(broken(expr.span, "a name is read before it has a value")),
            },
            ExprKind::Block { lets, value } => {
                self.lets(scope, lets)?;
                self.expr(scope, value)
            }
            ExprKind::For { indices, body } => self.for_each(scope, indices, body),
            ExprKind::If(condition, yes, no) => self.choice(scope, condition, yes, no, expr),
            ExprKind::Apply { function, args } => self.apply(scope, *function, args, expr.span),
            ExprKind::Subscript { base, subs } => self.subscript(scope, base, subs, expr.span),
            ExprKind::OfExample(index, inner) => self.of_example(scope, *index, inner),
            ExprKind::Builtin(builtin, args) => self.builtin(scope, builtin, args, expr),
            ExprKind::Scan(scan) => self.scan(scope, scan, expr),
            ExprKind::Iterate(iterate) => self.iterate(scope, iterate, expr),
            ExprKind::Number(_)
            | ExprKind::Bool(_)
            | ExprKind::Size(_)
            | ExprKind::Index(_)
            | ExprKind::Param(_)
            | ExprKind::State(_)
            | ExprKind::NextState(_)
            | ExprKind::Const(_)
            | ExprKind::Ambient(_)
            | ExprKind::Reduce { .. }
            | ExprKind::Unary(_, _)
            | ExprKind::Binary(_, _, _)
            | ExprKind::List(_) => Ok(Value::Tensor(self.numeric(scope, expr)?)),
        }
    }

    /// An expression that is a tensor.
    pub fn tensor(&mut self, scope: &mut Scope<'h>, expr: &'h hir::Expr) -> Result<Pointwise> {
        match self.expr(scope, expr)? {
            Value::Tensor(tensor) => Ok(tensor),
            Value::Record(_) => Err(broken(expr.span, "a record stands where a tensor should")),
        }
    }

    /// An expression that is a single number (or truth value).
    pub fn scalar(&mut self, scope: &mut Scope<'h>, expr: &'h hir::Expr) -> Result<Expr> {
        let value = self.tensor(scope, expr)?;
        if !value.axes.is_empty() {
            return Err(broken(expr.span, "a tensor stands where a single value should"));
        }
        Ok(value.body)
    }

    fn numeric(&mut self, scope: &mut Scope<'h>, expr: &'h hir::Expr) -> Result<Pointwise> {
        let dtype = dtype_of_expr(expr)?;
        match &expr.kind {
            ExprKind::Number(value) => self.filled(*value, expr, dtype),
            ExprKind::Bool(value) => self.filled(f64::from(*value), expr, dtype),
            ExprKind::Size(size) => {
                let size = self.number_of(size, expr.span)?;
                let is_real = dtype != DType::I32 && !matches!(size, Expr::Const(_) | Expr::Number(_));
                let as_real = |size: Expr| if is_real { size.unary(UnaryOp::ToReal) } else { size };
                Ok(match dtype {
                    DType::F64 => Pointwise::scalar(self.widened(size), dtype),
                    DType::BF16 => Pointwise::scalar(as_real(size), DType::Real),
                    DType::Real | DType::F32 | DType::I32 | DType::Bool => Pointwise::scalar(as_real(size), dtype),
                })
            }
            ExprKind::Index(index) => Ok(Pointwise::scalar(number(self.index(scope, *index, expr.span)?), dtype)),
            ExprKind::Param(id) => {
                if let Some((_, copy)) = self.copies.iter().rev().find(|(of, _)| of == id) {
                    return Ok(copy.clone());
                }
                let tensor = self.param(*id);
                Ok(self.whole(tensor))
            }
            ExprKind::State(id) => {
                let tensor = self.state(*id);
                Ok(self.whole(tensor))
            }
            ExprKind::NextState(id) => self.next_state(scope, *id, expr.span),
            ExprKind::Const(id) => {
                let tensor = self.constant(*id);
                Ok(self.whole(tensor))
            }
            ExprKind::Ambient(ambient) => Ok(self.ambient_value(scope, *ambient, dtype)),
            ExprKind::Reduce { op, indices, filter, default, body } => {
                self.reduce(scope, *op, indices, filter.as_deref(), default.as_deref(), body, expr)
            }
            ExprKind::Unary(op, inner) => {
                let inner = self.tensor(scope, inner)?;
                let converts = matches!(dtype, DType::F64 | DType::BF16) || inner.dtype == DType::BF16;
                if *op == hir::UnaryOp::ToReal && converts {
                    return Ok(self.in_precision(inner, dtype));
                }
                let made = match op {
                    hir::UnaryOp::ToReal => dtype,
                    hir::UnaryOp::ToInt | hir::UnaryOp::Not => dtype,
                    hir::UnaryOp::Neg
                    | hir::UnaryOp::Exp
                    | hir::UnaryOp::Expm1
                    | hir::UnaryOp::Log
                    | hir::UnaryOp::Log1p
                    | hir::UnaryOp::Sqrt
                    | hir::UnaryOp::Tanh
                    | hir::UnaryOp::Sigmoid
                    | hir::UnaryOp::Softplus
                    | hir::UnaryOp::Erf
                    | hir::UnaryOp::Sin
                    | hir::UnaryOp::Cos
                    | hir::UnaryOp::Abs
                    | hir::UnaryOp::Floor
                    | hir::UnaryOp::Round
                    | hir::UnaryOp::Sign
                    | hir::UnaryOp::Lgamma
                    | hir::UnaryOp::Digamma => Elaborator::met_type(std::slice::from_ref(&inner), dtype),
                };
                Ok(inner.map(made, |e| unary(*op, e)))
            }
            ExprKind::Binary(op, left, right) => {
                let left = self.tensor(scope, left)?;
                let right = self.tensor(scope, right)?;
                let sides = self.met(vec![left, right]);
                let dtype = Elaborator::met_type(&sides, dtype);
                self.broadcast(sides, dtype, expr.span, |mut args| {
                    let (Some(b), Some(a)) = (args.pop(), args.pop()) else { return Expr::Const(0.0) };
                    binary(*op, a, b)
                })
            }
            ExprKind::List(elements) => self.list(scope, elements, expr, dtype),
            ExprKind::Local(_)
            | ExprKind::Block { .. }
            | ExprKind::For { .. }
            | ExprKind::Subscript { .. }
            | ExprKind::If(_, _, _)
            | ExprKind::Record(_)
            | ExprKind::Field(_, _)
            | ExprKind::OfExample(_, _)
            | ExprKind::Apply { .. }
            | ExprKind::Builtin(_, _)
            | ExprKind::Scan(_)
            | ExprKind::Iterate(_) => Err(broken(expr.span, "not a plain tensor expression")),
        }
    }

    /// The same number at every element of the expression's shape; one that is to be a bf16 is not rounded yet.
    pub fn filled(&mut self, value: f64, expr: &hir::Expr, dtype: DType) -> Result<Pointwise> {
        let axes = match &expr.ty {
            hir::Type::Tensor(ty) => self.sized_axes(ty, expr.span)?,
            hir::Type::Record(_) | hir::Type::Error => Vec::new(),
        };
        let dtype = if dtype == DType::BF16 { DType::Real } else { dtype };
        Ok(Pointwise { axes, body: Expr::Const(value), dtype, known: None, hint: None })
    }

    /// One fresh placeholder an axis of the type.
    pub fn sized_axes(&mut self, ty: &hir::TensorType, span: Span) -> Result<Vec<IndexId>> {
        let axes = self.axes(&vec![bdl_dims::Dim::zero(); ty.shape.len()]);
        let named = axes.iter().map(|axis| self.var_name(*axis)).collect::<Vec<_>>();
        named.iter().zip(&ty.shape).map(|(name, axis)| self.sized_var(name, &axis.size, span)).collect()
    }

    pub fn index(&self, scope: &Scope, index: hir::IndexId, span: Span) -> Result<Affine> {
        let found = scope.indices.get(index.0 as usize).cloned().flatten();
        found.ok_or_else(|| broken(span, "an index is used where nothing binds it"))
    }

    fn ambient_value(&mut self, scope: &Scope<'h>, ambient: Ambient, dtype: DType) -> Pointwise {
        match ambient {
            Ambient::Training => {
                let frozen = self.frozen.iter().any(|path| hir::is_under(&scope.prefix, path));
                Pointwise::scalar(Expr::Const(f64::from(self.training && !frozen)), DType::Bool)
            }
            Ambient::Step => self.ambient("step"),
            Ambient::Steps => self.ambient("steps"),
            Ambient::Epoch => self.ambient("epoch"),
            Ambient::Epochs => self.ambient("epochs"),
            Ambient::BatchSize => {
                let size = self.program.size(BATCH, SizeKind::Batch);
                Pointwise::scalar(Expr::number(size), dtype)
            }
        }
    }

    // ------------------------------------------------------------------------------------------------ structure

    pub fn lets(&mut self, scope: &mut Scope<'h>, lets: &'h [hir::Let]) -> Result<()> {
        for hir::Let { local, value: expr } in lets {
            let value = self.expr(scope, expr)?;
            let name = &scope.function.locals[local.0 as usize].name;
            let hint = format!("{}.{name}", scope.prefix);
            let own = scope.roots.contains(local).then_some(scope.open.as_slice());
            let what = format!("`{name}`");
            let value = self.bind(unhinted(value), &hint, own, expr.span, what)?;
            scope.locals[local.0 as usize] = Some(value);
        }
        Ok(())
    }

    /// A value that gets a name: stored as a tensor unless it is free (or, for a single value, cheap) to write it down again.
    /// `own` asks for a tensor of its own in any case, one for each value of these variables.
    pub fn bind(
        &mut self,
        value: Value,
        hint: &str,
        own: Option<&[IndexId]>,
        span: Span,
        what: String,
    ) -> Result<Value> {
        match value {
            Value::Record(fields) => {
                let mut bound = Vec::new();
                for (name, field) in fields {
                    let field =
                        self.bind(field, &format!("{hint}.{name}"), own, span, format!("`{name}` of {what}"))?;
                    bound.push((name, field));
                }
                Ok(Value::Record(bound))
            }
            Value::Tensor(tensor) => {
                if let Some(known) = tensor.whether_known() {
                    let plain = Pointwise { known: None, ..tensor };
                    let value = self.bind(Value::Tensor(plain), hint, own, span, what.clone())?;
                    let known = self.bind(Value::Tensor(known), &crate::names::known(hint), None, span, what)?;
                    let (Value::Tensor(value), Value::Tensor(known)) = (value, known) else {
                        return Err(broken(span, "a record stands where a tensor should"));
                    };
                    let known = known.at_indices(&value.axes);
                    return Ok(Value::Tensor(Pointwise { known: Some(known), ..value }));
                }
                // Along another example's axis a value is computed where it is read.
                let inlined =
                    tensor.is_plain() || (tensor.axes.is_empty() && tensor.is_cheap()) || self.is_foreign(&tensor);
                if let Some(open) = own {
                    return Ok(Value::Tensor(self.apart(&tensor, open, hint, origin(span, what))?));
                }
                if inlined {
                    return Ok(Value::Tensor(tensor));
                }
                Ok(Value::Tensor(self.materialise(&tensor, hint, origin(span, what))?))
            }
        }
    }

    fn for_each(&mut self, scope: &mut Scope<'h>, indices: &'h [hir::IndexId], body: &'h hir::Expr) -> Result<Value> {
        let vars = self.bind_indices(scope, indices, body.span)?;
        let outer = self.draws.len();
        self.draws.extend(&vars);
        let (around, copies) = (scope.open.len(), self.copies.len());
        scope.open.extend(&vars);
        let copied = self.copy_params(scope, body);
        let value = copied.and_then(|()| self.expr(scope, body));
        scope.open.truncate(around);
        self.copies.truncate(copies);
        self.draws.truncate(outer);
        Ok(self.spread(value?, &vars))
    }

    /// Gives each index a variable of its own.
    pub fn bind_indices(
        &mut self,
        scope: &mut Scope<'h>,
        indices: &[hir::IndexId],
        span: Span,
    ) -> Result<Vec<IndexId>> {
        let mut vars = Vec::new();
        for index in indices {
            let Some(declared) = scope.function.indices.get(index.0 as usize) else {
                return Err(broken(span, "an index is not declared"));
            };
            let var = match &declared.kind {
                hir::IndexKind::Range(size) | hir::IndexKind::Step(size) => {
                    self.sized_var(&declared.name, size, span)?
                }
                hir::IndexKind::Batch => self.batch_var(&declared.name),
                hir::IndexKind::Other => {
                    let var = self.batch_var(&declared.name);
                    self.others.push((declared.name.clone(), var));
                    var
                }
            };
            scope.indices[index.0 as usize] = Some(var.into());
            vars.push(var);
        }
        Ok(vars)
    }

    /// The value at every value of `vars`, which become its leading axes.
    fn spread(&self, value: Value, vars: &[IndexId]) -> Value {
        match value {
            Value::Record(fields) => {
                Value::Record(fields.into_iter().map(|(name, field)| (name, self.spread(field, vars))).collect())
            }
            Value::Tensor(tensor) => {
                let axes = vars.iter().chain(&tensor.axes).copied().collect();
                Value::Tensor(Pointwise { axes, ..tensor })
            }
        }
    }

    fn choice(
        &mut self,
        scope: &mut Scope<'h>,
        condition: &'h hir::Expr,
        yes: &'h hir::Expr,
        no: &'h hir::Expr,
        expr: &'h hir::Expr,
    ) -> Result<Value> {
        let condition = self.tensor(scope, condition)?;
        if let Some(known) = condition.body.as_const() {
            let chosen = self.expr(scope, if known != 0.0 { yes } else { no })?;
            return self.stretched(chosen, expr);
        }
        let yes = self.expr(scope, yes)?;
        let no = self.expr(scope, no)?;
        self.select(condition, yes, no, expr.span)
    }

    /// A branch that was chosen, spread to the shape of the whole `if` (`if c then 0 else x`).
    fn stretched(&mut self, value: Value, expr: &hir::Expr) -> Result<Value> {
        let (Value::Tensor(tensor), hir::Type::Tensor(ty)) = (&value, &expr.ty) else { return Ok(value) };
        if tensor.axes.len() >= ty.shape.len() {
            return Ok(value);
        }
        let missing = ty.shape.len() - tensor.axes.len();
        let mut axes = self.sized_axes(ty, expr.span)?;
        axes.truncate(missing);
        Ok(self.spread(value, &axes))
    }

    fn select(&mut self, condition: Pointwise, yes: Value, no: Value, span: Span) -> Result<Value> {
        match (yes, no) {
            (Value::Tensor(yes), Value::Tensor(no)) => {
                let alone = yes.body.as_const().is_some() && no.body.as_const().is_some();
                let dtype = Elaborator::met_type(&[yes.clone(), no.clone()], yes.dtype);
                let [mut yes, no] = [yes, no].map(|side| self.in_precision(side, dtype));
                if alone && dtype == DType::F64 {
                    // Two constants meet nothing that says their precision.
                    yes.body = yes.body.unary(UnaryOp::ToF64);
                }
                let known = if yes.known.is_some() || no.known.is_some() {
                    // A branch that cannot be missing is there.
                    let there = || Pointwise::scalar(Expr::Const(1.0), DType::Bool);
                    let sides = [yes.whether_known().unwrap_or_else(there), no.whether_known().unwrap_or_else(there)];
                    let [a, b] = sides;
                    let c = condition.clone();
                    Some(self.broadcast(vec![c, a, b], DType::Bool, span, |args| chosen(args, true))?)
                } else {
                    None
                };
                let value =
                    self.broadcast(vec![condition, yes, no], dtype, span, |args| chosen(args, dtype == DType::Bool))?;
                let known = known.map(|known| self.aligned(known, &value));
                Ok(Value::Tensor(Pointwise { known, ..value }))
            }
            (Value::Record(yes), Value::Record(no)) => {
                let mut fields = Vec::new();
                for ((name, a), (_, b)) in yes.into_iter().zip(no) {
                    fields.push((name, self.select(condition.clone(), a, b, span)?));
                }
                Ok(Value::Record(fields))
            }
            (Value::Tensor(_), Value::Record(_)) | (Value::Record(_), Value::Tensor(_)) => {
                Err(broken(span, "the branches of an `if` are a record and a tensor"))
            }
        }
    }

    /// The scalar of `value`, which may have fewer leading axes, over the axes of `of`.
    pub fn aligned(&self, value: Pointwise, of: &Pointwise) -> Expr {
        let missing = of.axes.len().saturating_sub(value.axes.len());
        value.at_indices(&of.axes[missing..])
    }

    /// Element by element over operands of equal shape, scalars, or shapes of which one is the end of the other.
    pub fn broadcast(
        &mut self,
        operands: Vec<Pointwise>,
        dtype: DType,
        span: Span,
        combine: impl FnOnce(Vec<Expr>) -> Expr,
    ) -> Result<Pointwise> {
        let longest = operands.iter().map(|o| o.axes.len()).max().unwrap_or(0);
        let Some(widest) = operands.iter().find(|o| o.axes.len() == longest) else {
            return Err(broken(span, "an operator without operands"));
        };
        let named = widest.axes.clone();
        let axes: Vec<IndexId> = named.iter().map(|axis| self.var_like(*axis)).collect();
        let bodies = operands.iter().map(|o| o.at_indices(&axes[longest - o.axes.len()..])).collect();
        Ok(Pointwise { axes, body: combine(bodies), dtype, known: None, hint: None })
    }

    fn list(
        &mut self,
        scope: &mut Scope<'h>,
        elements: &'h [hir::Expr],
        expr: &'h hir::Expr,
        dtype: DType,
    ) -> Result<Pointwise> {
        let hir::Type::Tensor(ty) = &expr.ty else {
            return Err(broken(expr.span, "a list that is not a tensor"));
        };
        let shape = crate::context::shape_of(ty);
        let mut bodies = Vec::new();
        for element in elements {
            let element = self.tensor(scope, element)?;
            if !element.axes.is_empty() {
                return Err(broken(expr.span, "a tensor stands where a single value should"));
            }
            bodies.push(self.in_precision(element, dtype).body);
        }
        let hint = format!("{}.list", scope.prefix);
        let made = origin(expr.span, "list".into());
        let constants: Option<Vec<f64>> = bodies.iter().map(Expr::as_const).collect();
        let axes = self.sized_axes(ty, expr.span)?;
        if let Some(values) = constants {
            let name = self.unique(&hint);
            let out = self.program.computed(&name, dtype, shape);
            self.add(Node::Literal(Literal { out, values, origin: made }));
            return Ok(self.read_back(out, &[], &axes, dtype));
        }
        // Element number n stands at the row-major position n: one piece each.
        let mut places = Vec::new();
        for position in 0..bodies.len() as i64 {
            places.push(row_major(position, &shape, expr.span)?);
        }
        let parts = bodies.into_iter().zip(places).map(|(body, at)| Part { axes: Vec::new(), body, at }).collect();
        self.pieces(&hint, dtype, &axes, parts, made)
    }
}

/// `if .0 then .1 else .2`; of truth values, where constants decide.
fn chosen(mut args: Vec<Expr>, truth: bool) -> Expr {
    let (Some(b), Some(a), Some(c)) = (args.pop(), args.pop(), args.pop()) else { return Expr::Const(0.0) };
    match (a.as_const(), b.as_const()) {
        (Some(yes), Some(no)) if truth && yes == no => Expr::Const(yes),
        (Some(yes), Some(no)) if truth && yes > no => c,
        (Some(_), Some(_)) if truth => unary(hir::UnaryOp::Not, c),
        (Some(yes), None) if truth && yes != 0.0 => c.binary(BinaryOp::Or, b),
        (Some(_), None) if truth => unary(hir::UnaryOp::Not, c).binary(BinaryOp::And, b),
        (None, Some(no)) if truth && no != 0.0 => unary(hir::UnaryOp::Not, c).binary(BinaryOp::Or, a),
        (None, Some(_)) if truth => c.binary(BinaryOp::And, a),
        (_, _) => c.select(a, b),
    }
}

/// The subscripts of element number `position` of a tensor whose sizes are numbers.
fn row_major(position: i64, shape: &[bdl_dims::Dim], span: Span) -> Result<Vec<Affine>> {
    let mut left = position;
    let mut subs = Vec::new();
    for size in shape.iter().rev() {
        let Some(size) = size.as_const().filter(|s| *s > 0) else {
            return Err(broken(span, "a list with a size that is not a number"));
        };
        subs.push(Affine::from(left % size));
        left /= size;
    }
    subs.reverse();
    Ok(subs)
}

/// A `let` gives its own name to what it stores.
fn unhinted(value: Value) -> Value {
    match value {
        Value::Tensor(tensor) => Value::Tensor(Pointwise { hint: None, ..tensor }),
        Value::Record(fields) => Value::Record(fields.into_iter().map(|(n, v)| (n, unhinted(v))).collect()),
    }
}

pub(crate) fn dtype_of_expr(expr: &hir::Expr) -> Result<DType> {
    match &expr.ty {
        hir::Type::Tensor(ty) => Ok(dtype_of(&ty.scalar)),
        hir::Type::Record(_) => Err(broken(expr.span, "a record stands where a tensor should")),
        hir::Type::Error => Err(broken(expr.span, "an expression with an error reached elaboration")),
    }
}

// ------------------------------------------------------------------------------------------------ operators

pub(crate) fn unary(op: hir::UnaryOp, inner: Expr) -> Expr {
    let op = match op {
        hir::UnaryOp::Neg => return -inner,
        hir::UnaryOp::Not => match inner.as_const() {
            Some(value) => return Expr::Const(f64::from(value == 0.0)),
            None => UnaryOp::Not,
        },
        // An index, a size or a constant is a number already.
        hir::UnaryOp::ToReal => match inner {
            Expr::Const(_) | Expr::Number(_) => return inner,
            Expr::Read(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _) => UnaryOp::ToReal,
        },
        hir::UnaryOp::ToInt => match inner {
            Expr::Number(_) => return inner,
            Expr::Const(value) => return Expr::Const(value.floor()),
            Expr::Read(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _) => UnaryOp::ToInt,
        },
        hir::UnaryOp::Sqrt => match inner.as_const() {
            Some(value) => return Expr::Const(value.sqrt()),
            None => UnaryOp::Sqrt,
        },
        hir::UnaryOp::Exp => UnaryOp::Exp,
        hir::UnaryOp::Expm1 => UnaryOp::Expm1,
        hir::UnaryOp::Log => UnaryOp::Log,
        hir::UnaryOp::Log1p => UnaryOp::Log1p,
        hir::UnaryOp::Tanh => UnaryOp::Tanh,
        hir::UnaryOp::Sigmoid => UnaryOp::Sigmoid,
        hir::UnaryOp::Softplus => UnaryOp::Softplus,
        hir::UnaryOp::Erf => UnaryOp::Erf,
        hir::UnaryOp::Sin => UnaryOp::Sin,
        hir::UnaryOp::Cos => UnaryOp::Cos,
        hir::UnaryOp::Abs => UnaryOp::Abs,
        hir::UnaryOp::Floor => UnaryOp::Floor,
        hir::UnaryOp::Round => UnaryOp::Round,
        hir::UnaryOp::Sign => UnaryOp::Sign,
        hir::UnaryOp::Lgamma => UnaryOp::Lgamma,
        hir::UnaryOp::Digamma => UnaryOp::Digamma,
    };
    inner.unary(op)
}

pub(crate) fn binary(op: hir::BinaryOp, a: Expr, b: Expr) -> Expr {
    if let Some(form) = affine(op, &a, &b) {
        return number(form);
    }
    match op {
        hir::BinaryOp::Add => a + b,
        hir::BinaryOp::Sub => a - b,
        hir::BinaryOp::Mul => a * b,
        hir::BinaryOp::Div => a / b,
        hir::BinaryOp::FloorDiv => a.binary(BinaryOp::FloorDiv, b),
        hir::BinaryOp::Rem => a.binary(BinaryOp::Rem, b),
        hir::BinaryOp::Pow => match b.as_const() {
            Some(1.0) => a,
            Some(2.0) if matches!(a, Expr::Read(_)) => a.squared(),
            Some(_) | None => a.binary(BinaryOp::Pow, b),
        },
        hir::BinaryOp::Min => a.binary(BinaryOp::Min, b),
        hir::BinaryOp::Max => a.binary(BinaryOp::Max, b),
        hir::BinaryOp::And => match (a.as_const(), b.as_const()) {
            (Some(0.0), _) | (_, Some(0.0)) => Expr::Const(0.0),
            (Some(_), _) => b,
            (_, Some(_)) => a,
            (None, None) => a.binary(BinaryOp::And, b),
        },
        hir::BinaryOp::Or => match (a.as_const(), b.as_const()) {
            (Some(0.0), _) => b,
            (_, Some(0.0)) => a,
            (Some(_), _) | (_, Some(_)) => Expr::Const(1.0),
            (None, None) => a.binary(BinaryOp::Or, b),
        },
        hir::BinaryOp::Eq => compare(CompareOp::Eq, a, b),
        hir::BinaryOp::Ne => compare(CompareOp::Ne, a, b),
        hir::BinaryOp::Lt => compare(CompareOp::Lt, a, b),
        hir::BinaryOp::Le => compare(CompareOp::Le, a, b),
        hir::BinaryOp::Gt => compare(CompareOp::Gt, a, b),
        hir::BinaryOp::Ge => compare(CompareOp::Ge, a, b),
    }
}

/// Sums, differences and multiples of indices and sizes stay affine forms.
fn affine(op: hir::BinaryOp, a: &Expr, b: &Expr) -> Option<Affine> {
    if !matches!(a, Expr::Number(_)) && !matches!(b, Expr::Number(_)) {
        return None;
    }
    let (a, b) = (as_form(a)?, as_form(b)?);
    match op {
        hir::BinaryOp::Add => Some(a + b),
        hir::BinaryOp::Sub => Some(a - b),
        hir::BinaryOp::Mul => match (a.as_number(), b.as_number()) {
            (_, Some(factor)) => Some(a.scale(factor)),
            (Some(factor), _) => Some(b.scale(factor)),
            (None, None) => Some(Affine::from(a.as_dim()?.clone() * b.as_dim()?.clone())),
        },
        hir::BinaryOp::Div
        | hir::BinaryOp::FloorDiv
        | hir::BinaryOp::Rem
        | hir::BinaryOp::Pow
        | hir::BinaryOp::Min
        | hir::BinaryOp::Max
        | hir::BinaryOp::And
        | hir::BinaryOp::Or
        | hir::BinaryOp::Eq
        | hir::BinaryOp::Ne
        | hir::BinaryOp::Lt
        | hir::BinaryOp::Le
        | hir::BinaryOp::Gt
        | hir::BinaryOp::Ge => None,
    }
}

/// The expression as an affine form: an index, a size, or a whole constant.
pub(crate) fn as_form(expr: &Expr) -> Option<Affine> {
    match expr {
        Expr::Number(form) => Some(form.clone()),
        Expr::Const(value) if value.fract() == 0.0 && value.abs() < 1e15 => Some(Affine::from(*value as i64)),
        Expr::Const(_)
        | Expr::Read(_)
        | Expr::Unary(_, _)
        | Expr::Binary(_, _, _)
        | Expr::Compare(_, _, _)
        | Expr::Select(_, _, _) => None,
    }
}

/// A comparison, decided where both sides are constants.
pub(crate) fn compare(op: CompareOp, a: Expr, b: Expr) -> Expr {
    match (a.as_const(), b.as_const()) {
        (Some(a), Some(b)) => Expr::Const(bdl_equations::interpret::scalar::compare(op, a, b)),
        (_, _) => a.compare(op, b),
    }
}
