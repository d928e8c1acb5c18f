//! Subscripts: substitution of placeholders, and what stands outside a tensor.
//!
//! `x[t + k - 4 else 0, c]` of a stored tensor is one guarded read. A guard on something that is not a plain read (a sum of two
//! tensors, a second guard) first stores that as a tensor. Several guards with one constant are one guarded read; a default that is
//! not a constant is chosen by comparing the subscript with the axis.

use crate::context::{Elaborator, Result, Scope, broken, origin};
use crate::expr::binary;
use crate::value::{Pointwise, Value, as_subscript, number};
use bdl_check::hir::{self, Outside};
use bdl_dims::Dim;
use bdl_equations::{Affine, BinaryOp, CompareOp, Expr, IndexId, Read, Sub};
use bdl_grammar::Span;

/// A subscript that may leave its axis, and what stands there.
struct Guard {
    /// Position of the axis in the subscripted value.
    axis: usize,
    sub: Sub,
    size: Dim,
    /// The size as a number.
    length: Expr,
    otherwise: Expr,
}

impl<'h> Elaborator<'h> {
    pub fn subscript(
        &mut self,
        scope: &mut Scope<'h>,
        base: &'h hir::Expr,
        subs: &'h [hir::Sub],
        span: Span,
    ) -> Result<Value> {
        let mut value = self.tensor(scope, base)?;
        if subs.len() > value.axes.len() {
            return Err(broken(span, "there are more subscripts than axes"));
        }
        let mut places = Vec::new();
        let mut kept = Vec::new();
        let mut guards = Vec::new();
        for (axis, sub) in subs.iter().enumerate() {
            let along = value.axes[axis];
            let size = self.range(along).clone();
            let (place, outside) = match sub {
                hir::Sub::Affine { terms, offset, outside } => {
                    let mut form = Affine::zero();
                    for (index, coefficient) in terms {
                        form = form + self.index(scope, *index, span)?.scale(*coefficient);
                    }
                    let offset = self.number_beside(&value, offset, span)?;
                    (as_subscript(binary(hir::BinaryOp::Add, number(form), offset)), outside)
                }
                hir::Sub::Data { index, outside } => (as_subscript(self.scalar(scope, index)?), outside),
                hir::Sub::Range { from, len } => {
                    let var = self.sized_var(&self.var_name(along), len, span)?;
                    kept.push(var);
                    let from = self.number_beside(&value, from, span)?;
                    places.push(as_subscript(binary(hir::BinaryOp::Add, Expr::number(var), from)));
                    continue;
                }
                hir::Sub::All => {
                    let var = self.var_like(along);
                    kept.push(var);
                    places.push(var.into());
                    continue;
                }
            };
            match outside {
                Outside::Never => places.push(place),
                Outside::Clamp => {
                    let size = self.number_of_range(along)?;
                    places.push(Sub::Data(Box::new(clamped(scalar_of(place), size))));
                }
                Outside::Mod => {
                    let wrapped = scalar_of(place).binary(BinaryOp::Rem, self.number_of_range(along)?);
                    places.push(Sub::Data(Box::new(wrapped)));
                }
                Outside::Else(default) => {
                    let otherwise = self.tensor(scope, default)?;
                    let otherwise = self.in_precision(otherwise, value.dtype).body;
                    let length = self.number_of_range(along)?;
                    guards.push(Guard { axis, sub: place.clone(), size, length, otherwise });
                    places.push(place);
                }
            }
        }
        for axis in subs.len()..value.axes.len() {
            let var = self.var_like(value.axes[axis]);
            kept.push(var);
            places.push(var.into());
        }
        let takes = self.takes_guards(&value, &guards)
            && value.whether_known().is_none_or(|known| self.takes_guards(&known, &guards));
        if !guards.is_empty() && !takes {
            let hint = format!("{}.guarded", scope.prefix);
            value = self.kept(&value, &hint, origin(base.span, "tensor that is read with a guard".into()))?;
        }
        let dtype = value.dtype;
        let body = guarded(value.at(&places), &guards);
        // What stands outside the axis is there.
        let there: Vec<Guard> = guards.into_iter().map(|g| Guard { otherwise: Expr::Const(1.0), ..g }).collect();
        let known = value.known_at(&places).map(|known| guarded(known, &there));
        Ok(Value::Tensor(Pointwise { axes: kept, body, dtype, known, hint: None }))
    }

    /// A size as a number in a subscript of the value. Beside a read of the example at hand it may stand as it is: it is that example's.
    fn number_beside(&mut self, value: &Pointwise, size: &Dim, span: Span) -> Result<Expr> {
        let own = |read: &&Read| read.example.is_none() && self.is_per_example(read.tensor);
        match self.sized(size, span) {
            Ok((size, None)) if value.body.reads().iter().any(own) => Ok(number(Affine::from(size))),
            Ok(_) | Err(_) => self.number_of(size, span),
        }
    }

    /// Is the value one read in which each guarded axis is exactly an axis of the tensor?
    fn takes_guards(&self, value: &Pointwise, guards: &[Guard]) -> bool {
        let Expr::Read(read) = &value.body else { return false };
        if read.otherwise.is_some() {
            return false;
        }
        let shape = &self.program.get(read.tensor).shape;
        guards.iter().all(|guard| {
            let placeholder = value.axes[guard.axis];
            let holders: Vec<usize> = (0..read.subs.len()).filter(|s| mentions(&read.subs[*s], placeholder)).collect();
            let [at] = holders.as_slice() else { return false };
            let plain = matches!(&read.subs[*at], Sub::Affine(form) if form.as_index() == Some(placeholder));
            plain && shape[*at] == guard.size
        })
    }
}

fn mentions(sub: &Sub, index: IndexId) -> bool {
    match sub {
        Sub::Affine(form) => form.mentions(index),
        Sub::Data(data) => data.mentions(index),
    }
}

/// The read with its guards.
fn guarded(read: Expr, guards: &[Guard]) -> Expr {
    let Some(first) = guards.first() else { return read };
    let Expr::Read(read) = read else { return read };
    let constants: Option<Vec<f64>> = guards.iter().map(|g| g.otherwise.as_const()).collect();
    if let Some(constants) = constants
        && constants.iter().all(|c| c.to_bits() == constants[0].to_bits())
    {
        return Expr::Read(Read { otherwise: first.otherwise.as_const(), ..read });
    }
    // The first subscript that leaves decides.
    let inner = Expr::Read(Read { otherwise: Some(0.0), ..read });
    guards.iter().rev().fold(inner, |value, guard| {
        let at = scalar_of(guard.sub.clone());
        let low = at.clone().compare(CompareOp::Ge, Expr::Const(0.0));
        let high = at.compare(CompareOp::Lt, guard.length.clone());
        low.binary(BinaryOp::And, high).select(value, guard.otherwise.clone())
    })
}

fn scalar_of(sub: Sub) -> Expr {
    match sub {
        Sub::Affine(form) => number(form),
        Sub::Data(data) => *data,
    }
}

/// The nearest place of an axis of `size` elements.
fn clamped(at: Expr, size: Expr) -> Expr {
    let last = binary(hir::BinaryOp::Sub, size, Expr::Const(1.0));
    at.binary(BinaryOp::Max, Expr::Const(0.0)).binary(BinaryOp::Min, last)
}
