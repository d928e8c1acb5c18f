//! What the language knows without a definition: layouts, constants, draws, sorting, stopping and taking gradients.
//!
//! | builtin | becomes |
//! |---|---|
//! | `concat`, `stack` | one tensor in disjoint pieces |
//! | `reshape`, `flatten` | a `View` |
//! | `transpose` | other subscripts |
//! | `bernoulli(p)` | uniform < p |
//! | `below(n)` | floor(n * uniform) |
//! | `categorical(p)` | how many of the running sums of p are at most a uniform number |
//! | `permutation(n)` | the sorted order of n uniform numbers |
//! | `top_k`, `sort` | reads through a `Sort` |
//! | `cumsum` | a sum over the positions up to here |
//! | `grad` | the derivative of the equations made so far |

use crate::context::{Elaborator, Part, Reducing, Result, Scope, broken, not_built, origin};
use crate::expr::{compare, dtype_of_expr};
use crate::names;
use crate::value::{Pointwise, Value, as_subscript};
use bdl_check::hir::{self, Builtin};
use bdl_dims::Dim;
use bdl_equations::{
    Affine, BinaryOp, CompareOp, Condition, DType, Distribution, Draw, Expr, IndexId, Library, Monoid, Name, Node,
    Routine, Sort, Sub, TensorId, UnaryOp, View,
};
use bdl_grammar::Span;

impl<'h> Elaborator<'h> {
    pub fn builtin(
        &mut self,
        scope: &mut Scope<'h>,
        builtin: &'h Builtin,
        args: &'h [hir::Expr],
        expr: &'h hir::Expr,
    ) -> Result<Value> {
        if let (Builtin::Freeze, [inner]) = (builtin, args) {
            let value = self.expr(scope, inner)?;
            return Ok(frozen(value));
        }
        if let Builtin::TopK(count) = builtin {
            return self.top_k(scope, *count, args, expr);
        }
        let dtype = dtype_of_expr(expr)?;
        let hint = |word: &str| names::inside(&scope.prefix, word);
        let value = match builtin {
            Builtin::Concat(axis) => {
                let hint = hint("concat");
                let parts = self.tensors(scope, args, dtype)?;
                self.concat(*axis, parts, &hint, dtype, expr)?
            }
            Builtin::Stack(axis) => {
                let hint = hint("stack");
                let parts = self.tensors(scope, args, dtype)?;
                self.stack(*axis, parts, &hint, dtype, expr)?
            }
            Builtin::Reshape => {
                let hint = hint("reshape");
                let value = self.one(scope, args, expr.span)?;
                let dtype = value.dtype;
                self.reshape(value, &hint, dtype, expr)?
            }
            Builtin::Transpose(order) => {
                let value = self.one(scope, args, expr.span)?;
                let axes = order.iter().map(|axis| value.axes.get(*axis).copied()).collect::<Option<Vec<_>>>();
                let axes = axes.ok_or_else(|| broken(expr.span, "a transposition of axes that are not there"))?;
                Pointwise { axes, ..value }
            }
            Builtin::Fill(value) => self.filled(*value, expr, dtype)?,
            Builtin::Eye => {
                let filled = self.filled(0.0, expr, dtype)?;
                let [.., i, j] = filled.axes.as_slice() else {
                    return Err(broken(expr.span, "a unit matrix that is not a matrix"));
                };
                let same = Expr::number(*i).compare(CompareOp::Eq, Expr::number(*j));
                filled.map(dtype, |_| same.select(Expr::Const(1.0), Expr::Const(0.0)))
            }
            Builtin::Normal { site } => self.draw(Distribution::Normal, *site, &hint("normal"), expr)?,
            Builtin::Uniform { site } => self.draw(Distribution::Uniform, *site, &hint("uniform"), expr)?,
            Builtin::Bernoulli { site } => {
                let hint = hint("bernoulli");
                let chance = self.one(scope, args, expr.span)?;
                let chance = self.in_precision(chance, DType::Real);
                let uniform = self.draw(Distribution::Uniform, *site, &hint, expr)?;
                self.broadcast(vec![uniform, chance], DType::Bool, expr.span, |mut sides| {
                    let (Some(chance), Some(u)) = (sides.pop(), sides.pop()) else { return Expr::Const(0.0) };
                    u.compare(CompareOp::Lt, chance)
                })?
            }
            Builtin::Below { site } => {
                let hint = hint("below");
                let limit = self.scalar(scope, the(args, 0, expr.span)?)?;
                let uniform = self.draw(Distribution::Uniform, *site, &hint, expr)?;
                uniform.map(dtype, |u| below(u, limit))
            }
            Builtin::Categorical { site } => self.categorical(scope, *site, args, expr, dtype)?,
            Builtin::Permutation { site } => {
                let hint = hint("permutation");
                let uniform = self.draw(Distribution::Uniform, *site, &hint, expr)?;
                self.sorted(&uniform, false, &hint, expr.span)?
            }
            Builtin::Orthogonal { site } => self.orthogonal(*site, &hint("orthogonal"), expr)?,
            Builtin::OneHot => {
                let value = self.one(scope, args, expr.span)?;
                let filled = self.filled(0.0, expr, dtype)?;
                let Some((last, leading)) = filled.axes.split_last() else {
                    return Err(broken(expr.span, "one-hot numbers without an axis"));
                };
                let here = compare(CompareOp::Eq, value.at_indices(leading), Expr::number(*last));
                filled.map(dtype, |_| here.select(Expr::Const(1.0), Expr::Const(0.0)))
            }
            Builtin::Sort => {
                let hint = hint("sort");
                let value = self.one(scope, args, expr.span)?;
                let value = self.tensor_of(&value, &hint, expr.span)?;
                let order = self.sorted(&value, false, &hint, expr.span)?;
                at_order(&value, &order)
            }
            Builtin::Argsort => {
                let hint = hint("argsort");
                let value = self.one(scope, args, expr.span)?;
                self.sorted(&value, false, &hint, expr.span)?
            }
            Builtin::Cumsum => {
                let hint = hint("cumsum");
                let value = self.one(scope, args, expr.span)?;
                let dtype = Elaborator::met_type(std::slice::from_ref(&value), dtype);
                self.cumsum(&value, &hint, dtype, expr.span)?
            }
            Builtin::Grad => self.grad(scope, args, expr)?,
            Builtin::Known => {
                let value = self.one(scope, args, expr.span)?;
                value.whether_known().unwrap_or_else(|| value.map(DType::Bool, |_| Expr::Const(1.0)))
            }
            Builtin::OrElse => {
                let value = self.one(scope, args, expr.span)?;
                let default = self.tensor(scope, the(args, 1, expr.span)?)?;
                match value.whether_known() {
                    None => value,
                    Some(known) => {
                        let value = Pointwise { known: None, ..value };
                        let dtype = Elaborator::met_type(&[value.clone(), default.clone()], dtype);
                        let [value, default] = [value, default].map(|side| self.in_precision(side, dtype));
                        self.broadcast(vec![known, value, default], dtype, expr.span, |mut sides| {
                            let (Some(d), Some(x), Some(known)) = (sides.pop(), sides.pop(), sides.pop()) else {
                                return Expr::Const(0.0);
                            };
                            // Of truth values, whose constants are numbers: known and x, or not known and d.
                            let truth = |op, a, b| crate::expr::binary(op, a, b);
                            match dtype {
                                DType::Bool => {
                                    let absent = crate::expr::unary(hir::UnaryOp::Not, known.clone());
                                    let there = truth(hir::BinaryOp::And, known, x);
                                    truth(hir::BinaryOp::Or, there, truth(hir::BinaryOp::And, absent, d))
                                }
                                DType::Real | DType::F32 | DType::F64 | DType::BF16 | DType::I32 => known.select(x, d),
                            }
                        })?
                    }
                }
            }
            Builtin::Missing => {
                let value = self.filled(0.0, expr, dtype)?;
                Pointwise { known: Some(Expr::Const(0.0)), ..value }
            }
            Builtin::Freeze | Builtin::TopK(_) => {
                return Err(broken(expr.span, "a builtin with the wrong number of arguments"));
            }
        };
        Ok(Value::Tensor(value))
    }

    fn tensors(&mut self, scope: &mut Scope<'h>, args: &'h [hir::Expr], dtype: DType) -> Result<Vec<Pointwise>> {
        let mut values = Vec::new();
        for arg in args {
            let value = self.tensor(scope, arg)?;
            values.push(self.in_precision(value, dtype));
        }
        Ok(values)
    }

    fn one(&mut self, scope: &mut Scope<'h>, args: &'h [hir::Expr], span: Span) -> Result<Pointwise> {
        self.tensor(scope, the(args, 0, span)?)
    }

    // ------------------------------------------------------------------------------------------------ layouts

    fn concat(
        &mut self,
        axis: usize,
        values: Vec<Pointwise>,
        hint: &Name,
        dtype: DType,
        expr: &hir::Expr,
    ) -> Result<Pointwise> {
        let axes = self.result_axes(expr)?;
        let mut offset = Dim::zero();
        let mut parts = Vec::new();
        for value in values {
            let Some(joined) = value.axes.get(axis).copied() else {
                return Err(broken(expr.span, "a concatenation along an axis that is not there"));
            };
            let at = value.axes.iter().map(|a| {
                let form = Affine::from(*a);
                if *a == joined { form + offset.clone().into() } else { form }
            });
            let at = at.collect();
            offset = offset.clone() + self.range(joined).clone();
            parts.push(Part { axes: value.axes, body: value.body, at });
        }
        self.pieces(hint, dtype, &axes, parts, origin(expr.span, "concatenation".into()))
    }

    fn stack(
        &mut self,
        axis: usize,
        values: Vec<Pointwise>,
        hint: &Name,
        dtype: DType,
        expr: &hir::Expr,
    ) -> Result<Pointwise> {
        let axes = self.result_axes(expr)?;
        let mut parts = Vec::new();
        for (place, value) in values.into_iter().enumerate() {
            let mut at: Vec<Affine> = value.axes.iter().map(|a| Affine::from(*a)).collect();
            if axis > at.len() {
                return Err(broken(expr.span, "a stack along an axis that is not there"));
            }
            at.insert(axis, Affine::from(place as i64));
            parts.push(Part { axes: value.axes, body: value.body, at });
        }
        self.pieces(hint, dtype, &axes, parts, origin(expr.span, "stack".into()))
    }

    fn reshape(&mut self, value: Pointwise, hint: &Name, dtype: DType, expr: &hir::Expr) -> Result<Pointwise> {
        let axes = self.result_axes(expr)?;
        let same = value.axes.len() == axes.len()
            && value.axes.iter().zip(&axes).all(|(a, b)| self.range(*a) == self.range(*b));
        if same {
            return Ok(value);
        }
        let made = origin(expr.span, "reshaping".into());
        let (input, context) = self.whole_tensor(&value, &format!("{hint}.x"), made.clone())?;
        let shape: Vec<Dim> = context.iter().chain(&axes).map(|v| self.range(*v).clone()).collect();
        shape.iter().for_each(|s| self.declare_sizes(s));
        let name = self.unique(hint);
        let out = self.program.computed(&name, dtype, shape);
        if self.is_per_example(input) {
            self.mark_per_example(out);
        }
        self.add(Node::View(View { out, input, origin: made }));
        Ok(self.read_back(out, &context, &axes, dtype))
    }

    fn result_axes(&mut self, expr: &hir::Expr) -> Result<Vec<IndexId>> {
        match &expr.ty {
            hir::Type::Tensor(ty) => self.sized_axes(ty, expr.span),
            hir::Type::Record(_) | hir::Type::Error => Err(broken(expr.span, "a layout that is not a tensor")),
        }
    }

    // ------------------------------------------------------------------------------------------------ draws

    /// Random numbers of the expression's shape, one set for each value of the `for` indices that the draw belongs to. Axes whose length is the
    /// example's own come first in the tensor that is drawn: so they lie in memory, and numbers are drawn in that order.
    fn draw(&mut self, distribution: Distribution, site: u32, hint: &Name, expr: &hir::Expr) -> Result<Pointwise> {
        let axes = self.result_axes(expr)?;
        let mut order: Vec<IndexId> = self.draws.iter().chain(&axes).copied().collect();
        if let Some(var) = order.iter().find(|var| self.foreign(**var).is_some()) {
            let what = format!("a draw along another example's own length (`{}`)", self.var_name(*var));
            return Err(not_built(expr.span, &what));
        }
        order.sort_by_key(|v| (!self.is_batch_var(*v), !self.is_per_example_size(self.range(*v))));
        let shape = order.iter().map(|v| self.range(*v).clone()).collect();
        let out = self.drawn(distribution, site, hint, shape, expr.span);
        Ok(Pointwise { axes, body: Expr::read(out, order), dtype: DType::Real, known: None, hint: None })
    }

    fn draw_of(
        &mut self,
        distribution: Distribution,
        site: u32,
        hint: &Name,
        shape: Vec<Dim>,
        span: Span,
    ) -> (TensorId, Vec<IndexId>) {
        let context = self.draws.clone();
        let shape: Vec<Dim> = context.iter().map(|v| self.range(*v).clone()).chain(shape).collect();
        (self.drawn(distribution, site, hint, shape, span), context)
    }

    /// A tensor of random numbers.
    fn drawn(&mut self, distribution: Distribution, site: u32, hint: &Name, shape: Vec<Dim>, span: Span) -> TensorId {
        shape.iter().for_each(|s| self.declare_sizes(s));
        let name = self.unique(hint);
        let out = self.program.computed(&name, DType::Real, shape);
        if self.draws_per_example {
            self.mark_per_example(out);
        }
        self.add(Node::Draw(Draw { out, distribution, site, origin: origin(span, "draw".into()) }));
        out
    }

    /// The number of running sums of the probabilities that a uniform number has passed.
    fn categorical(
        &mut self,
        scope: &mut Scope<'h>,
        site: u32,
        args: &'h [hir::Expr],
        expr: &'h hir::Expr,
        dtype: DType,
    ) -> Result<Pointwise> {
        let hint = names::inside(&scope.prefix, "categorical");
        let chances = self.one(scope, args, expr.span)?;
        let chances = self.in_precision(chances, DType::Real);
        let running = self.cumsum(&chances, &names::inside(&hint, "cumsum"), DType::Real, expr.span)?;
        let uniform = self.draw(Distribution::Uniform, site, &hint, expr)?;
        let Some((last, leading)) = running.axes.split_last() else {
            return Err(broken(expr.span, "a choice among probabilities without an axis"));
        };
        // Axes in front of those of the probabilities are choices of their own from the same ones.
        let axes = uniform.axes.clone();
        let chosen = [&axes[axes.len().saturating_sub(leading.len())..], &[*last]].concat();
        let passed = running.at_indices(&chosen).compare(CompareOp::Le, uniform.body.clone());
        let how = Reducing {
            monoid: Monoid::Sum,
            bound: vec![*last],
            filter: vec![Condition::Holds(passed.clone())],
            empty: None,
        };
        let context = self.context_of(&[&passed], &[axes.as_slice(), &[*last]].concat());
        let made = origin(expr.span, "draw".into());
        let counted = self.computed(&hint, DType::I32, &context, &axes, &how, &Expr::Const(1.0), made)?;
        let most = crate::expr::binary(hir::BinaryOp::Sub, self.number_of_range(*last)?, Expr::Const(1.0));
        Ok(counted.map(dtype, |n| n.binary(BinaryOp::Min, most)))
    }

    /// An orthonormal matrix; of more axes, the matrix whose rows are all but the last axis.
    fn orthogonal(&mut self, site: u32, hint: &Name, expr: &hir::Expr) -> Result<Pointwise> {
        let axes = self.result_axes(expr)?;
        let sizes: Vec<Dim> = axes.iter().map(|v| self.range(*v).clone()).collect();
        let Some((columns, rows)) = sizes.split_last().filter(|(_, rows)| !rows.is_empty()) else {
            return Err(not_built(expr.span, "an orthogonal tensor of fewer than two axes"));
        };
        let matrix = vec![rows.iter().cloned().product(), columns.clone()];
        let outer = std::mem::take(&mut self.draws);
        let (input, _) =
            self.draw_of(Distribution::Normal, site, &names::inside(hint, "normal"), matrix.clone(), expr.span);
        self.draws = outer;
        let made = origin(expr.span, "orthogonal matrix".into());
        let name = self.unique(hint);
        let out = self.program.computed(&name, DType::Real, matrix);
        let routine = Library { out, routine: Routine::Orthogonal, inputs: vec![input], origin: made.clone() };
        self.add(Node::Library(routine));
        if rows.len() == 1 {
            return Ok(self.read_back(out, &[], &axes, DType::Real));
        }
        let name = self.unique(&names::inside(hint, "shaped"));
        let shaped = self.program.computed(&name, DType::Real, sizes);
        self.add(Node::View(View { out: shaped, input: out, origin: made }));
        Ok(self.read_back(shaped, &[], &axes, DType::Real))
    }

    // ------------------------------------------------------------------------------------------------ order

    fn tensor_of(&mut self, value: &Pointwise, hint: &Name, span: Span) -> Result<Pointwise> {
        if matches!(value.body, Expr::Read(_)) {
            return Ok(value.clone());
        }
        self.materialise(value, &names::inside(hint, "x"), origin(span, "what is sorted".into()))
    }

    /// The positions of the elements along the last axis in sorted order.
    fn sorted(&mut self, value: &Pointwise, descending: bool, hint: &Name, span: Span) -> Result<Pointwise> {
        let made = origin(span, "sorting".into());
        let (input, context) = self.whole_tensor(value, &names::inside(hint, "x"), made.clone())?;
        let shape = self.program.get(input).shape.clone();
        let name = self.unique(&names::inside(hint, "order"));
        let out = self.program.computed(&name, DType::I32, shape);
        if self.is_per_example(input) {
            self.mark_per_example(out);
        }
        self.add(Node::Sort(Sort { out, input, descending, origin: made }));
        Ok(self.read_back(out, &context, &value.axes, DType::I32))
    }

    fn top_k(
        &mut self,
        scope: &mut Scope<'h>,
        count: i64,
        args: &'h [hir::Expr],
        expr: &'h hir::Expr,
    ) -> Result<Value> {
        let hint = names::inside(&scope.prefix, "top_k");
        let value = self.one(scope, args, expr.span)?;
        let value = self.tensor_of(&value, &hint, expr.span)?;
        let order = self.sorted(&value, true, &hint, expr.span)?;
        let Some((_, leading)) = order.axes.split_last() else {
            return Err(broken(expr.span, "the largest of a single number"));
        };
        let mut axes = leading.to_vec();
        axes.push(self.var("k", Dim::from(count)));
        let body = order.at_indices(&axes);
        let indices = Pointwise { axes, body, dtype: DType::I32, known: None, hint: None };
        let values = at_order(&value, &indices);
        let names = match &expr.ty {
            hir::Type::Record(fields) => fields.iter().map(|(name, _)| name.clone()).collect(),
            hir::Type::Tensor(_) | hir::Type::Error => Vec::new(),
        };
        let [first, second] = <[Name; 2]>::try_from(names).unwrap_or(["values".into(), "indices".into()]);
        Ok(Value::Record(vec![(first, Value::Tensor(values)), (second, Value::Tensor(indices))]))
    }

    fn cumsum(&mut self, value: &Pointwise, hint: &Name, dtype: DType, span: Span) -> Result<Pointwise> {
        let Some((last, leading)) = value.axes.split_last() else {
            return Err(broken(span, "a running sum of a single number"));
        };
        let (upto, from) = (self.var_like(*last), self.var_like(*last));
        let within = Condition::NonNegative(Affine::from(upto) - Affine::from(from));
        let how = Reducing { monoid: Monoid::Sum, bound: vec![from], filter: vec![within], empty: None };
        let body = value.at_indices(&[leading, &[from]].concat());
        let axes = [leading, &[upto]].concat();
        let context = self.context_of(&[&body], &[axes.as_slice(), &[from]].concat());
        self.computed(hint, dtype, &context, &axes, &how, &body, origin(span, "running sum".into()))
    }
}

pub(crate) fn the(args: &[hir::Expr], place: usize, span: Span) -> Result<&hir::Expr> {
    args.get(place).ok_or_else(|| broken(span, "a builtin lacks an argument"))
}

fn frozen(value: Value) -> Value {
    match value {
        Value::Tensor(tensor) => {
            let dtype = tensor.dtype;
            Value::Tensor(tensor.map(dtype, |e| match e.as_const() {
                Some(_) => e,
                None => e.unary(UnaryOp::Freeze),
            }))
        }
        Value::Record(fields) => Value::Record(fields.into_iter().map(|(n, v)| (n, frozen(v))).collect()),
    }
}

/// floor(u n), kept below n where rounding would reach it.
fn below(uniform: Expr, limit: Expr) -> Expr {
    let real = match &limit {
        Expr::Const(_) | Expr::Number(_) => limit.clone(),
        Expr::Read(_) | Expr::Unary(_, _) | Expr::Binary(_, _, _) | Expr::Compare(_, _, _) | Expr::Select(_, _, _) => {
            limit.clone().unary(UnaryOp::ToReal)
        }
    };
    let most = limit - Expr::Const(1.0);
    (uniform * real).unary(UnaryOp::ToInt).binary(BinaryOp::Min, most)
}

/// The elements of `value` along its last axis in the given order.
fn at_order(value: &Pointwise, order: &Pointwise) -> Pointwise {
    let mut subs: Vec<Sub> = order.axes.iter().map(|a| Sub::from(*a)).collect();
    subs.pop();
    subs.push(as_subscript(order.body.clone()));
    Pointwise { axes: order.axes.clone(), body: value.at(&subs), dtype: value.dtype, known: None, hint: None }
}
