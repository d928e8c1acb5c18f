//! Building and rewriting scalar expressions.
//!
//! ```
//! use bdl_equations::{Expr, IndexId, TensorId, UnaryOp};
//! let (x, i) = (TensorId(0), IndexId(0));
//! // tanh(x[i]) * 1 + 2
//! let e = Expr::read(x, [i]).unary(UnaryOp::Tanh) * Expr::Const(1.0) + Expr::Const(2.0);
//! assert_eq!(e.reads().len(), 1);
//! ```
//!
//! The operators fold only what is exact for every value: `1 * x`, `x + 0`, arithmetic of two constants. `0 * x` stays, because it is
//! NaN where x is infinite.

use crate::data::{Affine, BinaryOp, CompareOp, Expr, IndexId, Read, Sub, TensorId, UnaryOp};
use bdl_dims::Dim;

impl Expr {
    /// `tensor[subs]`, promised never to leave the tensor.
    pub fn read<S: Into<Sub>>(tensor: TensorId, subs: impl IntoIterator<Item = S>) -> Expr {
        Expr::Read(Read::new(tensor, subs))
    }

    /// `tensor[subs else otherwise]`.
    pub fn read_or<S: Into<Sub>>(tensor: TensorId, subs: impl IntoIterator<Item = S>, otherwise: f64) -> Expr {
        Expr::Read(Read { otherwise: Some(otherwise), ..Read::new(tensor, subs) })
    }

    /// An index, a size or an affine form as a number.
    pub fn number(form: impl Into<Affine>) -> Expr {
        Expr::Number(form.into())
    }

    pub fn unary(self, op: UnaryOp) -> Expr {
        Expr::Unary(op, Box::new(self))
    }

    pub fn binary(self, op: BinaryOp, other: Expr) -> Expr {
        Expr::Binary(op, Box::new(self), Box::new(other))
    }

    pub fn compare(self, op: CompareOp, other: Expr) -> Expr {
        Expr::Compare(op, Box::new(self), Box::new(other))
    }

    /// `if self then yes else no`.
    pub fn select(self, yes: Expr, no: Expr) -> Expr {
        Expr::Select(Box::new(self), Box::new(yes), Box::new(no))
    }

    pub fn squared(self) -> Expr {
        self.clone() * self
    }

    /// The constant this is, also when it was written as a number without indices and sizes.
    pub fn as_const(&self) -> Option<f64> {
        match self {
            Expr::Const(value) => Some(*value),
            Expr::Number(form) => form.as_number().map(|n| n as f64),
            Expr::Read(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _) => None,
        }
    }

    /// Calls `f` on this expression and everything inside it, outer first, also inside data subscripts.
    pub fn visit<'e>(&'e self, f: &mut dyn FnMut(&'e Expr)) {
        f(self);
        match self {
            Expr::Const(_) | Expr::Number(_) => {}
            Expr::Read(read) => {
                for sub in &read.subs {
                    match sub {
                        Sub::Affine(_) => {}
                        Sub::Data(data) => data.visit(f),
                    }
                }
            }
            Expr::Unary(_, a) => a.visit(f),
            Expr::Binary(_, a, b) | Expr::Compare(_, a, b) => {
                a.visit(f);
                b.visit(f);
            }
            Expr::Select(c, a, b) => {
                c.visit(f);
                a.visit(f);
                b.visit(f);
            }
        }
    }

    /// Every read, also those inside data subscripts, in order, with repetition.
    pub fn reads(&self) -> Vec<&Read> {
        let mut reads = Vec::new();
        self.visit(&mut |e| {
            if let Expr::Read(read) = e {
                reads.push(read);
            }
        });
        reads
    }

    /// Calls `f` on every affine form: numbers and subscripts.
    pub fn visit_affine<'e>(&'e self, f: &mut dyn FnMut(&'e Affine)) {
        self.visit(&mut |e| match e {
            Expr::Number(form) => f(form),
            Expr::Read(read) => {
                for sub in &read.subs {
                    match sub {
                        Sub::Affine(form) => f(form),
                        Sub::Data(_) => {}
                    }
                }
            }
            Expr::Const(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _) => {}
        });
    }

    /// Does the index occur (in a number, a subscript, or as the example of a read)?
    pub fn mentions(&self, index: IndexId) -> bool {
        let mut found = false;
        self.visit_affine(&mut |form| found |= form.mentions(index));
        found || self.reads().iter().any(|r| r.example == Some(index))
    }

    /// The number of operators, reads and constants: a measure of how much work and text it is.
    pub fn size(&self) -> usize {
        let mut count = 0;
        self.visit(&mut |_| count += 1);
        count
    }

    /// Rewrites bottom-up: children first (also inside data subscripts), then the expression made of them.
    pub fn rewrite(mut self, f: &mut dyn FnMut(Expr) -> Expr) -> Expr {
        self.rewrite_here(f);
        self
    }

    fn rewrite_here(&mut self, f: &mut dyn FnMut(Expr) -> Expr) {
        match self {
            Expr::Const(_) | Expr::Number(_) => {}
            Expr::Read(read) => read.subs.iter_mut().for_each(|sub| match sub {
                Sub::Affine(_) => {}
                Sub::Data(data) => data.rewrite_here(f),
            }),
            Expr::Unary(_, a) => a.rewrite_here(f),
            Expr::Binary(_, a, b) | Expr::Compare(_, a, b) => [a, b].into_iter().for_each(|e| e.rewrite_here(f)),
            Expr::Select(c, a, b) => [c, a, b].into_iter().for_each(|e| e.rewrite_here(f)),
        }
        *self = f(std::mem::replace(self, Expr::Const(0.0)));
    }

    /// Replaces every affine form (numbers and subscripts).
    pub fn map_affine(self, f: &dyn Fn(&Affine) -> Affine) -> Expr {
        self.rewrite(&mut |e| match e {
            Expr::Number(form) => Expr::Number(f(&form)),
            Expr::Read(mut read) => {
                for sub in &mut read.subs {
                    match sub {
                        Sub::Affine(form) => *form = f(form),
                        Sub::Data(_) => {}
                    }
                }
                Expr::Read(read)
            }
            other @ (Expr::Const(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _)) => other,
        })
    }

    /// Replaces every index by an affine form. The `example` of a read must stay an index and does so when `by` gives one.
    pub fn replace_indices(self, by: &dyn Fn(IndexId) -> Affine) -> Expr {
        self.map_affine(&|form| form.replace(by)).rewrite(&mut |e| match e {
            Expr::Read(mut read) => {
                read.example = read.example.map(|i| by(i).as_index().unwrap_or(i));
                Expr::Read(read)
            }
            other @ (Expr::Const(_)
            | Expr::Number(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _)) => other,
        })
    }

    /// Replaces reads; `f` sees each read with its data subscripts already rewritten.
    pub fn map_reads(self, f: &mut dyn FnMut(Read) -> Expr) -> Expr {
        self.rewrite(&mut |e| match e {
            Expr::Read(read) => f(read),
            other @ (Expr::Const(_)
            | Expr::Number(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _)) => other,
        })
    }
}

impl Read {
    pub fn new<S: Into<Sub>>(tensor: TensorId, subs: impl IntoIterator<Item = S>) -> Read {
        Read { tensor, subs: subs.into_iter().map(Into::into).collect(), otherwise: None, example: None }
    }
}

impl From<f64> for Expr {
    fn from(value: f64) -> Expr {
        Expr::Const(value)
    }
}

impl From<Read> for Expr {
    fn from(read: Read) -> Expr {
        Expr::Read(read)
    }
}

impl From<Affine> for Sub {
    fn from(form: Affine) -> Sub {
        Sub::Affine(form)
    }
}

impl From<IndexId> for Sub {
    fn from(index: IndexId) -> Sub {
        Sub::Affine(index.into())
    }
}

impl From<i64> for Sub {
    fn from(value: i64) -> Sub {
        Sub::Affine(value.into())
    }
}

impl From<Dim> for Sub {
    fn from(value: Dim) -> Sub {
        Sub::Affine(value.into())
    }
}

/// A data subscript.
impl From<Expr> for Sub {
    fn from(data: Expr) -> Sub {
        Sub::Data(Box::new(data))
    }
}

impl std::ops::Add for Expr {
    type Output = Expr;
    fn add(self, other: Expr) -> Expr {
        match (&self, &other) {
            (Expr::Const(a), Expr::Const(b)) => Expr::Const(a + b),
            (Expr::Const(0.0), _) => other,
            (_, Expr::Const(0.0)) => self,
            (_, Expr::Unary(UnaryOp::Neg, b)) => self.binary(BinaryOp::Sub, (**b).clone()),
            (_, _) => self.binary(BinaryOp::Add, other),
        }
    }
}

impl std::ops::Sub for Expr {
    type Output = Expr;
    fn sub(self, other: Expr) -> Expr {
        match (&self, &other) {
            (Expr::Const(a), Expr::Const(b)) => Expr::Const(a - b),
            (_, Expr::Const(0.0)) => self,
            (_, Expr::Unary(UnaryOp::Neg, b)) => self + (**b).clone(),
            (_, _) => self.binary(BinaryOp::Sub, other),
        }
    }
}

impl std::ops::Mul for Expr {
    type Output = Expr;
    fn mul(self, other: Expr) -> Expr {
        match (&self, &other) {
            (Expr::Const(a), Expr::Const(b)) => Expr::Const(a * b),
            (Expr::Const(1.0), _) => other,
            (_, Expr::Const(1.0)) => self,
            (Expr::Const(-1.0), _) => -other,
            (_, Expr::Const(-1.0)) => -self,
            (_, _) => self.binary(BinaryOp::Mul, other),
        }
    }
}

impl std::ops::Div for Expr {
    type Output = Expr;
    fn div(self, other: Expr) -> Expr {
        match (&self, &other) {
            (Expr::Const(a), Expr::Const(b)) => Expr::Const(a / b),
            (_, Expr::Const(1.0)) => self,
            (_, _) => self.binary(BinaryOp::Div, other),
        }
    }
}

impl std::ops::Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        match self {
            Expr::Const(value) => Expr::Const(-value),
            Expr::Unary(UnaryOp::Neg, inner) => *inner,
            other @ (Expr::Number(_)
            | Expr::Read(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _)) => other.unary(UnaryOp::Neg),
        }
    }
}
