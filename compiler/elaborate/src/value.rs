//! What an HIR expression is while it is being elaborated: a scalar formula over index variables.
//!
//! A tensor-valued expression is kept as a [`Pointwise`]: one placeholder index for each axis and the scalar that stands there.
//! Subscripting substitutes the placeholders, so reshuffled, sliced and broadcast tensors cost nothing and mean nothing until an
//! equation reads them. `x[t + 1]` of a matrix x with columns is
//!
//! ```text
//! axes: [c]     body: Read(x, [t + 1, c])
//! ```
//!
//! Index variables are numbered across the whole elaboration ([`crate::context::Var`]) and become a piece's own indices when an
//! equation is made. Records exist at this stage only.

use bdl_equations::{Affine, BinaryOp, DType, Expr, IndexId, Name, Read, Sub, UnaryOp};
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Tensor(Pointwise),
    Record(Vec<(Name, Value)>),
}

/// A tensor as the scalar `body` at the point that `axes` name.
#[derive(Clone, Debug)]
pub(crate) struct Pointwise {
    pub axes: Vec<IndexId>,
    pub body: Expr,
    pub dtype: DType,
    /// Of an optional value: is it there? A truth value over the same axes; where it is not, `body` is 0.
    pub known: Option<Expr>,
    /// What to call it when it becomes a tensor (the layer or function that made it).
    pub hint: Option<Name>,
}

impl Pointwise {
    pub fn scalar(body: Expr, dtype: DType) -> Pointwise {
        Pointwise { axes: Vec::new(), body, dtype, known: None, hint: None }
    }

    /// The scalar at these subscripts, one for each axis.
    pub fn at(&self, subs: &[Sub]) -> Expr {
        debug_assert_eq!(self.axes.len(), subs.len());
        let map: Vec<(IndexId, &Sub)> = self.axes.iter().copied().zip(subs).collect();
        substitute(&self.body, &map)
    }

    /// Whether the value is there, at these subscripts.
    pub fn known_at(&self, subs: &[Sub]) -> Option<Expr> {
        let map: Vec<(IndexId, &Sub)> = self.axes.iter().copied().zip(subs).collect();
        self.known.as_ref().map(|known| substitute(known, &map))
    }

    /// Whether the value is there, as a tensor of truth values.
    pub fn whether_known(&self) -> Option<Pointwise> {
        let known = self.known.clone()?;
        Some(Pointwise { axes: self.axes.clone(), body: known, dtype: DType::Bool, known: None, hint: None })
    }

    /// The scalar with the placeholders replaced by other index variables.
    pub fn at_indices(&self, indices: &[IndexId]) -> Expr {
        let subs: Vec<Sub> = indices.iter().map(|i| Sub::from(*i)).collect();
        self.at(&subs)
    }

    /// Is it free to write this down again wherever it is used: a constant, a number, or a read without data subscripts?
    pub fn is_plain(&self) -> bool {
        match &self.body {
            Expr::Const(_) | Expr::Number(_) => true,
            Expr::Read(read) => read.subs.iter().all(|s| matches!(s, Sub::Affine(_))),
            Expr::Unary(UnaryOp::Freeze, inner) => matches!(**inner, Expr::Read(_)),
            Expr::Unary(_, _) | Expr::Binary(_, _, _) | Expr::Compare(_, _, _) | Expr::Select(_, _, _) => false,
        }
    }

    /// Is the body a few operators without functions, so that computing it twice costs less than storing it?
    pub fn is_cheap(&self) -> bool {
        let mut weight = 0;
        self.body.visit(&mut |e| {
            weight += match e {
                Expr::Const(_) | Expr::Number(_) => 0,
                Expr::Read(read) => 1 + 8 * read.subs.iter().filter(|s| matches!(s, Sub::Data(_))).count(),
                Expr::Unary(op, _) if op.is_costly() => 16,
                Expr::Unary(_, _) => 1,
                Expr::Binary(op, _, _) => match op {
                    BinaryOp::Add
                    | BinaryOp::Sub
                    | BinaryOp::Mul
                    | BinaryOp::Min
                    | BinaryOp::Max
                    | BinaryOp::And
                    | BinaryOp::Or => 1,
                    BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Rem => 4,
                    BinaryOp::Pow => 16,
                },
                Expr::Compare(_, _, _) | Expr::Select(_, _, _) => 1,
            };
        });
        weight <= 6
    }

    pub fn map(self, dtype: DType, f: impl FnOnce(Expr) -> Expr) -> Pointwise {
        Pointwise { axes: self.axes, body: f(self.body), dtype, known: self.known, hint: None }
    }
}

/// The index variables that an expression mentions, also as the example of a read.
pub(crate) fn mentioned(expr: &Expr) -> BTreeSet<IndexId> {
    let mut found = BTreeSet::new();
    expr.visit_affine(&mut |form| found.extend(form.terms.iter().map(|(i, _)| *i)));
    found.extend(expr.reads().iter().filter_map(|r| r.example));
    found
}

/// `expr` with index variables replaced by subscripts, all at once.
pub(crate) fn substitute(expr: &Expr, map: &[(IndexId, &Sub)]) -> Expr {
    if map.is_empty() {
        return expr.clone();
    }
    match expr {
        Expr::Const(value) => Expr::Const(*value),
        Expr::Number(form) => match into_form(form, map) {
            Sub::Affine(form) => number(form),
            Sub::Data(data) => *data,
        },
        Expr::Read(read) => {
            let subs = read
                .subs
                .iter()
                .map(|sub| match sub {
                    Sub::Affine(form) => into_form(form, map),
                    Sub::Data(data) => as_subscript(substitute(data, map)),
                })
                .collect();
            Expr::Read(Read { tensor: read.tensor, subs, otherwise: read.otherwise, example: read.example })
        }
        Expr::Unary(op, a) => Expr::Unary(*op, Box::new(substitute(a, map))),
        Expr::Binary(op, a, b) => Expr::Binary(*op, Box::new(substitute(a, map)), Box::new(substitute(b, map))),
        Expr::Compare(op, a, b) => Expr::Compare(*op, Box::new(substitute(a, map)), Box::new(substitute(b, map))),
        Expr::Select(c, a, b) => {
            Expr::Select(Box::new(substitute(c, map)), Box::new(substitute(a, map)), Box::new(substitute(b, map)))
        }
    }
}

/// An affine form after substitution: affine again unless data was put in.
fn into_form(form: &Affine, map: &[(IndexId, &Sub)]) -> Sub {
    let mut affine = Affine { terms: Vec::new(), offset: form.offset.clone() };
    let mut data: Vec<(i64, &Expr)> = Vec::new();
    for (index, coefficient) in &form.terms {
        match map.iter().find(|(i, _)| i == index).map(|(_, sub)| sub) {
            None => affine = affine + Affine::from(*index) * *coefficient,
            Some(Sub::Affine(by)) => affine = affine + by.scale(*coefficient),
            Some(Sub::Data(by)) => data.push((*coefficient, by)),
        }
    }
    let Some(((first, expr), rest)) = data.split_first() else { return Sub::Affine(affine) };
    let scaled = |c: i64, e: &Expr| if c == 1 { e.clone() } else { Expr::Const(c as f64) * e.clone() };
    let mut total = rest.iter().fold(scaled(*first, expr), |sum, (c, e)| sum + scaled(*c, e));
    if affine != Affine::zero() {
        total = total + number(affine);
    }
    Sub::Data(Box::new(total))
}

/// An affine form as a scalar, a constant where it is one.
pub(crate) fn number(form: Affine) -> Expr {
    match form.as_number() {
        Some(value) => Expr::Const(value as f64),
        None => Expr::Number(form),
    }
}

/// A scalar as a subscript: affine where it is one.
pub(crate) fn as_subscript(expr: Expr) -> Sub {
    match expr {
        Expr::Number(form) => Sub::Affine(form),
        Expr::Const(value) => Sub::Affine(Affine::from(value as i64)),
        other @ (Expr::Read(_)
        | Expr::Unary(_, _)
        | Expr::Binary(_, _, _)
        | Expr::Compare(_, _, _)
        | Expr::Select(_, _, _)) => Sub::Data(Box::new(other)),
    }
}
