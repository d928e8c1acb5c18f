//! Reductions: each is an equation of its own.
//!
//! ```text
//! logsumexp[k] x[k]        m = max[k] x[k]; s = sum[k] exp(x[k] - freeze(m)); freeze(m) + log(s)
//! mean[batch, t] x[t, c]   n = sum[b] T;    s[c] = sum[b, t] x@b[t, c];       s[c] / n
//! sum[e if dst[e] == v]    a filter that compares data with an index stays one, so that it can run as a segment reduction
//! ```
//!
//! The shift of `logsumexp` is frozen because its derivative is zero: what remains of the gradient is the softmax, exactly.

use crate::context::{Elaborator, Reducing, Result, Scope, broken, origin};
use crate::expr::{as_form, dtype_of_expr};
use crate::value::{Pointwise, number};
use bdl_check::hir::{self, IndexKind, Reduction};
use bdl_dims::Dim;
use bdl_equations::{Affine, BinaryOp, CompareOp, Condition, DType, Expr, IndexId, Monoid, UnaryOp};

/// A reduction with its indices bound and its operands elaborated.
struct Parts {
    bound: Vec<IndexId>,
    filter: Vec<Condition>,
    default: Option<Expr>,
    value: Pointwise,
    batch: Option<IndexId>,
}

impl<'h> Elaborator<'h> {
    #[allow(clippy::too_many_arguments)] // the fields of one HIR node
    pub fn reduce(
        &mut self,
        scope: &mut Scope<'h>,
        op: Reduction,
        indices: &'h [hir::IndexId],
        filter: Option<&'h hir::Expr>,
        default: Option<&'h hir::Expr>,
        body: &'h hir::Expr,
        expr: &'h hir::Expr,
    ) -> Result<Pointwise> {
        let (open, around) = (self.others.len(), scope.open.len());
        let bound = self.bind_indices(scope, indices, expr.span)?;
        scope.open.extend(&bound);
        let reduced = self.reduce_over(scope, op, &bound, indices, filter, default, body, expr);
        scope.open.truncate(around);
        self.others.truncate(open);
        reduced
    }

    #[allow(clippy::too_many_arguments)] // the fields of one HIR node
    fn reduce_over(
        &mut self,
        scope: &mut Scope<'h>,
        op: Reduction,
        bound: &[IndexId],
        indices: &'h [hir::IndexId],
        filter: Option<&'h hir::Expr>,
        default: Option<&'h hir::Expr>,
        body: &'h hir::Expr,
        expr: &'h hir::Expr,
    ) -> Result<Pointwise> {
        let mut bound = bound.to_vec();
        let mut inner = Vec::new();
        let value = self.reduced_value(scope, op, &mut bound, &mut inner, body)?;
        let bound = bound.as_slice();
        if bound.is_empty() && filter.is_none() && !matches!(op, Reduction::Argmax | Reduction::Argmin) {
            return Ok(value);
        }
        let mut conditions = Vec::new();
        for filter in filter.into_iter().chain(inner) {
            let filter = self.scalar(scope, filter)?;
            conditions.extend(self.conditions(filter));
        }
        let filter = conditions;
        let dtype = Elaborator::met_type(std::slice::from_ref(&value), dtype_of_expr(expr)?);
        let default = match default {
            Some(default) => {
                let default = self.tensor(scope, default)?;
                if !default.axes.is_empty() {
                    return Err(broken(expr.span, "a tensor stands where a single value should"));
                }
                Some(self.in_precision(default, dtype).body)
            }
            None => None,
        };
        let kinds = indices.iter().map(|i| &scope.function.indices[i.0 as usize].kind);
        let batch = kinds.zip(bound).find(|(kind, _)| matches!(kind, IndexKind::Batch)).map(|(_, v)| *v);
        let mut parts = Parts { bound: bound.to_vec(), filter, default, value, batch };
        if parts.batch.is_some() {
            self.moves(&parts.value, &parts.filter, bound, body.span)?;
        }
        self.own_by_batch(&mut parts);
        let made = origin(expr.span, format!("{} in `{}`", word(op), scope.prefix));
        let hint = format!("{}.{}", scope.prefix, word(op));
        self.reduced(op, parts, &hint, dtype, made)
    }

    /// What is reduced. A sum of sums along the lengths of two examples is one sum: `sum[t, s] (sum[c] x[t, c] * other.x[s, c])` needs no tensor
    /// along both. The inner one's indices and filter are added.
    fn reduced_value(
        &mut self,
        scope: &mut Scope<'h>,
        op: Reduction,
        bound: &mut Vec<IndexId>,
        filter: &mut Vec<&'h hir::Expr>,
        body: &'h hir::Expr,
    ) -> Result<Pointwise> {
        let inner =
            if let hir::ExprKind::Reduce { op: Reduction::Sum, indices, filter, default: None, body } = &body.kind {
                Some((indices, filter, body))
            } else {
                None
            };
        let inner = inner.filter(|_| op == Reduction::Sum && !self.others.is_empty());
        let Some((indices, inner_filter, inner)) = inner else { return self.tensor(scope, body) };
        let before = self.save();
        let apart = self.tensor(scope, body);
        if apart.is_ok() || !std::mem::take(&mut self.along_two) {
            return apart;
        }
        self.restore(before);
        bound.extend(self.bind_indices(scope, indices, body.span)?);
        filter.extend(inner_filter.as_deref());
        self.reduced_value(scope, op, bound, filter, inner)
    }

    /// Under a bare `batch` every per-example value in the body is that example's.
    fn own_by_batch(&mut self, parts: &mut Parts) {
        let Some(batch) = parts.batch else { return };
        parts.value.body = self.of(parts.value.body.clone(), batch);
        parts.filter = parts.filter.drain(..).map(|c| c.map(&Affine::clone, &mut |e| self.of(e, batch))).collect();
        for var in parts.bound.clone() {
            if self.example_of(var).is_none() {
                self.set_example(var, batch);
            }
        }
    }

    fn reduced(
        &mut self,
        op: Reduction,
        parts: Parts,
        hint: &str,
        dtype: DType,
        made: bdl_equations::Origin,
    ) -> Result<Pointwise> {
        match op {
            Reduction::Sum => self.fold(&parts, Monoid::Sum, &parts.value, hint, dtype, made, true),
            Reduction::Prod => self.fold(&parts, Monoid::Prod, &parts.value, hint, dtype, made, true),
            Reduction::Min => self.fold(&parts, Monoid::Min, &parts.value, hint, dtype, made, true),
            Reduction::Max => self.fold(&parts, Monoid::Max, &parts.value, hint, dtype, made, true),
            Reduction::Any => self.fold(&parts, Monoid::Any, &parts.value, hint, dtype, made, true),
            Reduction::All => self.fold(&parts, Monoid::All, &parts.value, hint, dtype, made, true),
            Reduction::Argmax => self.argument(&parts, Monoid::ArgMax, hint, dtype, made),
            Reduction::Argmin => self.argument(&parts, Monoid::ArgMin, hint, dtype, made),
            Reduction::Mean => {
                let count = self.count(&parts, hint, &made)?;
                let total = self.fold(&parts, Monoid::Sum, &parts.value, hint, dtype, made.clone(), false)?;
                let number = self.in_precision(Pointwise::scalar(count.clone(), DType::Real), dtype).body;
                let mean = total.map(dtype, |sum| sum / number);
                let counted = if parts.filter.is_empty() { None } else { Some(count) };
                self.with_default(&parts, mean, counted, hint, made)
            }
            Reduction::Logsumexp => {
                let again = parts.value.is_cheap() || self.is_foreign(&parts.value);
                let shared = if again || parts.batch.is_some() || self.under_other(&parts) {
                    parts.value.clone()
                } else {
                    self.materialise(&parts.value, &format!("{hint}.x"), made.clone())?
                };
                let parts = Parts { value: shared, ..parts };
                let largest =
                    self.fold(&parts, Monoid::Max, &parts.value, &format!("{hint}.max"), dtype, made.clone(), false)?;
                // All -inf, or one inf: shift by nothing, so that the sum is 0 or inf and its logarithm -inf or inf.
                let infinite = Expr::Const(f64::INFINITY);
                let shift = largest.map(dtype, |m| {
                    let is_finite = m.clone().unary(UnaryOp::Abs).compare(CompareOp::Lt, infinite);
                    is_finite.select(m, Expr::Const(0.0)).unary(UnaryOp::Freeze)
                });
                let shift = self.materialise(&shift, &format!("{hint}.shift"), made.clone())?;
                let raised = Pointwise {
                    body: (parts.value.body.clone() - shift.at_indices(&parts.value.axes)).unary(UnaryOp::Exp),
                    dtype,
                    ..parts.value.clone()
                };
                let total = self.fold(&parts, Monoid::Sum, &raised, hint, dtype, made.clone(), false)?;
                let value =
                    Pointwise { body: shift.at_indices(&total.axes) + total.body.clone().unary(UnaryOp::Log), ..total };
                self.with_default(&parts, value, None, hint, made)
            }
        }
    }

    fn under_other(&self, parts: &Parts) -> bool {
        parts.bound.iter().any(|v| self.is_batch_var(*v))
    }

    /// One reduction equation. A constant default becomes the value of the empty reduction, another is chosen where nothing took part.
    #[allow(clippy::too_many_arguments)]
    fn fold(
        &mut self,
        parts: &Parts,
        monoid: Monoid,
        value: &Pointwise,
        hint: &str,
        dtype: DType,
        made: bdl_equations::Origin,
        with_default: bool,
    ) -> Result<Pointwise> {
        let constant = parts.default.as_ref().and_then(Expr::as_const).filter(|_| with_default);
        let how = Reducing { monoid, bound: parts.bound.clone(), filter: parts.filter.clone(), empty: constant };
        let context = self.reduced_context(parts, value);
        let result = self.computed(hint, dtype, &context, &value.axes, &how, &value.body, made.clone())?;
        if with_default && constant.is_none() { self.with_default(parts, result, None, hint, made) } else { Ok(result) }
    }

    /// The context variables that body and filter mention.
    fn reduced_context(&self, parts: &Parts, value: &Pointwise) -> Vec<IndexId> {
        let mut forms: Vec<Expr> = vec![value.body.clone()];
        for condition in &parts.filter {
            match condition {
                Condition::NonNegative(form) => forms.push(Expr::Number(form.clone())),
                Condition::Equal(form, e) => forms.extend([Expr::Number(form.clone()), e.clone()]),
                Condition::Holds(e) => forms.push(e.clone()),
            }
        }
        // (Sizes that bound indices run to need their example, too.)
        let except: Vec<IndexId> = parts.bound.iter().chain(&value.axes).copied().collect();
        self.context_of(&forms.iter().collect::<Vec<_>>(), &except)
    }

    /// `value` where anything took part, the default elsewhere. `count` is how many did, where that is known already.
    fn with_default(
        &mut self,
        parts: &Parts,
        value: Pointwise,
        count: Option<Expr>,
        hint: &str,
        made: bdl_equations::Origin,
    ) -> Result<Pointwise> {
        let Some(default) = parts.default.clone() else { return Ok(value) };
        let count = match count {
            Some(count) => count,
            None => {
                let one = Pointwise::scalar(Expr::Const(1.0), DType::Real);
                self.fold(parts, Monoid::Sum, &one, &format!("{hint}.count"), DType::Real, made, false)?.body
            }
        };
        let dtype = value.dtype;
        Ok(value.map(dtype, |v| count.compare(CompareOp::Gt, Expr::Const(0.0)).select(v, default)))
    }

    /// How many points take part, as a scalar.
    fn count(&mut self, parts: &Parts, hint: &str, made: &bdl_equations::Origin) -> Result<Expr> {
        let one = Pointwise::scalar(Expr::Const(1.0), DType::Real);
        let hint = format!("{hint}.count");
        let others: Vec<IndexId> = parts.bound.iter().copied().filter(|v| self.is_batch_var(*v)).collect();
        // Whose positions are counted: those of the examples that are bound here, or of one around.
        let own = |v: &IndexId| self.foreign(*v).filter(|owner| others.contains(owner));
        let (inner, outer): (Vec<IndexId>, Vec<IndexId>) =
            parts.bound.iter().filter(|v| !others.contains(v)).copied().partition(|v| own(v).is_some());
        if !parts.filter.is_empty() || others.len() > 1 && !inner.is_empty() {
            return Ok(self.fold(parts, Monoid::Sum, &one, &hint, DType::Real, made.clone(), false)?.body);
        }
        let mut count = Expr::Const(1.0);
        for var in &outer {
            let size = self.number_of_range(*var)?;
            let whole = matches!(size, Expr::Const(_) | Expr::Number(_));
            let size = if whole { size } else { size.unary(UnaryOp::ToReal) };
            count = crate::expr::binary(hir::BinaryOp::Mul, count, size);
        }
        if others.is_empty() {
            return Ok(count);
        }
        let examples = if inner.is_empty() && self.running == 0 {
            self.size(others.iter().map(|v| self.range(*v).clone()).product())
        } else if inner.is_empty() {
            // In a loop that not every example runs to its end, those that run.
            let parts = Parts { bound: others, filter: Vec::new(), default: None, value: one.clone(), batch: None };
            self.fold(&parts, Monoid::Sum, &one, &hint, DType::Real, made.clone(), false)?.body
        } else {
            // The positions of all examples: the sum over the batch of how many each has.
            let positions: Dim = inner.iter().map(|v| self.range(*v).clone()).product();
            let how = Reducing { monoid: Monoid::Sum, bound: others, filter: Vec::new(), empty: None };
            let body = number(Affine::from(positions));
            let tensor = self.equation(&hint, DType::Real, &[], &how, &body, made.clone())?;
            Expr::read(tensor, Vec::<bdl_equations::Sub>::new())
        };
        Ok(crate::expr::binary(hir::BinaryOp::Mul, count, examples))
    }

    /// The place of the first largest point; of several indices their row-major number.
    fn argument(
        &mut self,
        parts: &Parts,
        monoid: fn(u32) -> Monoid,
        hint: &str,
        dtype: DType,
        made: bdl_equations::Origin,
    ) -> Result<Pointwise> {
        if let [_] = parts.bound.as_slice() {
            return self.fold(parts, monoid(0), &parts.value, hint, dtype, made, true);
        }
        let mut total: Option<Pointwise> = None;
        for (place, var) in parts.bound.iter().enumerate() {
            let one = self.fold(parts, monoid(place as u32), &parts.value, hint, dtype, made.clone(), false)?;
            total = Some(match total {
                None => one,
                Some(sum) => {
                    let size = self.number_of_range(*var)?;
                    let next = one.at_indices(&sum.axes);
                    sum.map(dtype, |s| s.binary(BinaryOp::Mul, size).binary(BinaryOp::Add, next))
                }
            });
        }
        match total {
            Some(total) => self.with_default(parts, total, None, hint, made),
            None => Ok(self.filled_like(&parts.value, 0.0, dtype)),
        }
    }

    /// A condition as the conditions of a domain: affine inequalities, integer data equal to an index, anything else.
    fn conditions(&self, filter: Expr) -> Vec<Condition> {
        match filter {
            Expr::Binary(BinaryOp::And, a, b) => {
                let mut all = self.conditions(*a);
                all.extend(self.conditions(*b));
                all
            }
            Expr::Const(value) if value != 0.0 => Vec::new(),
            Expr::Compare(op, a, b) => match (as_form(&a), as_form(&b)) {
                (Some(a), Some(b)) => match op {
                    CompareOp::Ge => vec![Condition::NonNegative(a - b)],
                    CompareOp::Le => vec![Condition::NonNegative(b - a)],
                    CompareOp::Gt => vec![Condition::NonNegative(a - b - 1.into())],
                    CompareOp::Lt => vec![Condition::NonNegative(b - a - 1.into())],
                    CompareOp::Eq => {
                        vec![Condition::NonNegative(a.clone() - b.clone()), Condition::NonNegative(b - a)]
                    }
                    CompareOp::Ne => vec![Condition::Holds(number(a).compare(CompareOp::Ne, number(b)))],
                },
                (Some(form), None) if op == CompareOp::Eq && self.is_key(&form, &b) => vec![Condition::Equal(form, *b)],
                (None, Some(form)) if op == CompareOp::Eq && self.is_key(&form, &a) => vec![Condition::Equal(form, *a)],
                (_, _) => vec![Condition::Holds(Expr::Compare(op, a, b))],
            },
            other @ (Expr::Const(_)
            | Expr::Number(_)
            | Expr::Read(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Select(_, _, _)) => vec![Condition::Holds(other)],
        }
    }

    /// Can the reduction run sorted by this data: is it read as it stands, integers, and compared with an index? That has to run over all
    /// values that the data may have: sorted, each of them has its place.
    fn is_key(&self, form: &Affine, data: &Expr) -> bool {
        match data {
            Expr::Read(read) => {
                let covered = match (self.bounds.get(&read.tensor), form.as_index()) {
                    (Some(bound), Some(index)) => self.range(index) == bound,
                    (Some(_), None) => false,
                    (None, _) => !form.terms.is_empty(),
                };
                covered && self.program.get(read.tensor).dtype == DType::I32
            }
            Expr::Const(_)
            | Expr::Number(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _) => false,
        }
    }

    fn filled_like(&mut self, value: &Pointwise, constant: f64, dtype: DType) -> Pointwise {
        let shape = self.shape(value);
        Pointwise { axes: self.axes(&shape), body: Expr::Const(constant), dtype, known: None, hint: None }
    }
}

fn word(op: Reduction) -> &'static str {
    match op {
        Reduction::Sum => "sum",
        Reduction::Prod => "prod",
        Reduction::Min => "min",
        Reduction::Max => "max",
        Reduction::Mean => "mean",
        Reduction::Any => "any",
        Reduction::All => "all",
        Reduction::Argmax => "argmax",
        Reduction::Argmin => "argmin",
        Reduction::Logsumexp => "logsumexp",
    }
}
