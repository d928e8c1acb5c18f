//! One piece of an equation: loops over its points, and the scalar expression at a point.

use super::scalar;
use super::{Array, InterpretError, Value, World};
use crate::data::{Affine, Condition, DType, Equation, Expr, Index, Monoid, Name, Piece, Program, Read, Sub, TensorId};
use bdl_dims::Dim;

pub(super) type Outcome<T> = Result<T, InterpretError>;

/// What a run knows at some moment.
pub(super) struct State<'r> {
    pub program: &'r Program,
    pub world: &'r World<'r>,
    pub tensors: Vec<Option<Value>>,
    /// Step names and numbers of the enclosing loops, outermost first.
    pub steps: Vec<(Name, i64)>,
    /// Which examples take part in the enclosing loop's step; empty outside loops.
    pub running: Vec<bool>,
}

impl State<'_> {
    pub fn name(&self, id: TensorId) -> Name {
        self.program.get(id).name.clone()
    }

    /// The number that a size is, for one example.
    pub fn size(&self, dim: &Dim, example: usize) -> Outcome<i64> {
        if let Some(n) = dim.as_const() {
            return Ok(n);
        }
        let lookup = |name: &str| self.named_size(name, example);
        dim.eval(&lookup).ok_or_else(|| {
            let unknown = dim.names().into_iter().find(|n| self.named_size(n, example).is_none());
            InterpretError::UnknownSize { size: unknown.map_or_else(|| dim.to_string(), |n| n.to_string()) }
        })
    }

    fn named_size(&self, name: &str, example: usize) -> Option<i64> {
        if let Some((_, number)) = self.steps.iter().rev().find(|(step, _)| **step == *name) {
            return Some(*number);
        }
        match self.program.size_kind(name)? {
            crate::SizeKind::Batch => Some(self.world.batch() as i64),
            crate::SizeKind::Built => self.world.sizes.get(name).copied(),
            crate::SizeKind::PerExample => self.world.examples.get(example)?.get(name).copied(),
            crate::SizeKind::Step => None,
        }
    }

    pub fn is_running(&self, example: usize) -> bool {
        self.running.get(example).copied().unwrap_or(true)
    }

    pub fn shape(&self, dims: &[Dim], example: usize) -> Outcome<Vec<usize>> {
        dims.iter().map(|d| self.size(d, example).map(|n| n.max(0) as usize)).collect()
    }

    /// A value of the tensor's shape, filled.
    pub fn filled(&self, id: TensorId, value: f64) -> Outcome<Value> {
        let tensor = self.program.get(id);
        if !self.program.is_per_example(id) {
            return Ok(Value::Shared(Array::filled(self.shape(&tensor.shape, 0)?, value)));
        }
        let arrays = (0..self.world.batch()).map(|e| Ok(Array::filled(self.shape(&tensor.shape[1..], e)?, value)));
        Ok(Value::PerExample(arrays.collect::<Outcome<_>>()?))
    }

    pub fn value(&self, id: TensorId) -> Outcome<&Value> {
        self.tensors[id.0 as usize].as_ref().ok_or_else(|| InterpretError::NotComputed { tensor: self.name(id) })
    }

    pub fn equation(&self, equation: &Equation) -> Outcome<Value> {
        let mut out = self.filled(equation.out, 0.0)?;
        let mut written: Vec<Vec<bool>> = out.examples().iter().map(|a| vec![false; a.data.len()]).collect();
        for piece in &equation.pieces {
            let mut points = Points {
                state: self,
                piece,
                main: main_batch_index(self.program, piece),
                at: vec![0; piece.indices.len()],
                dtype: self.program.get(equation.out).dtype,
                out: &mut out,
                written: &mut written,
                name: self.name(equation.out),
            };
            points.free(0)?;
        }
        Ok(out)
    }
}

/// The position of the free batch index, or else of the first bound one.
pub(super) fn main_batch_index(program: &Program, piece: &Piece) -> Option<usize> {
    piece.indices.iter().position(|i| program.is_batch(&i.range))
}

struct Points<'p, 'r> {
    state: &'p State<'r>,
    piece: &'p Piece,
    main: Option<usize>,
    at: Vec<i64>,
    dtype: DType,
    out: &'p mut Value,
    written: &'p mut [Vec<bool>],
    name: Name,
}

/// A reduction under way: the value so far, and for `argmax` the winner's index.
#[derive(Clone, Copy)]
struct Reduced {
    value: f64,
    winner: i64,
}

impl Points<'_, '_> {
    fn example(&self, index: Option<usize>) -> usize {
        index.or(self.main).map_or(0, |i| self.at[i] as usize)
    }

    /// Runs `f` at every value of index number `depth`.
    fn each(&mut self, depth: usize, f: &mut dyn FnMut(&mut Self) -> Outcome<()>) -> Outcome<()> {
        let Index { range, example, .. } = &self.piece.indices[depth];
        let count = self.state.size(range, self.example(example.map(|e| e.0 as usize)))?;
        let batch = self.state.program.is_batch(range);
        for n in 0..count {
            if batch && !self.state.is_running(n as usize) {
                continue;
            }
            self.at[depth] = n;
            f(self)?;
        }
        Ok(())
    }

    fn free(&mut self, depth: usize) -> Outcome<()> {
        if depth < self.piece.free {
            return self.each(depth, &mut |points| points.free(depth + 1));
        }
        let mut reduced = None;
        self.bound(depth, &mut reduced)?;
        let value = match (reduced, self.piece.bound(), self.piece.empty) {
            (Some(Reduced { winner, .. }), 1.., _)
                if matches!(self.piece.monoid, Monoid::ArgMax(_) | Monoid::ArgMin(_)) =>
            {
                winner as f64
            }
            (Some(Reduced { value, .. }), _, _) => value,
            (None, _, Some(empty)) => empty,
            (None, 0, None) => 0.0,
            (None, _, None) => self.piece.monoid.identity(),
        };
        self.store(value)
    }

    fn bound(&mut self, depth: usize, reduced: &mut Option<Reduced>) -> Outcome<()> {
        if depth < self.piece.indices.len() {
            return self.each(depth, &mut |points| points.bound(depth + 1, reduced));
        }
        for condition in &self.piece.filter {
            let holds = match condition {
                Condition::NonNegative(form) => self.affine(form)? >= 0,
                Condition::Equal(form, data) => self.affine(form)? as f64 == self.expr(data)?,
                Condition::Holds(e) => self.expr(e)? != 0.0,
            };
            if !holds {
                return Ok(());
            }
        }
        let value = self.expr(&self.piece.body)?;
        let winner = |n: u32, at: &[i64]| at[self.piece.free + n as usize];
        let monoid = self.piece.monoid;
        let first = Reduced {
            value,
            winner: match monoid {
                Monoid::ArgMax(n) | Monoid::ArgMin(n) if self.piece.bound() > 0 => winner(n, &self.at),
                Monoid::ArgMax(_) | Monoid::ArgMin(_) => 0,
                Monoid::Sum | Monoid::Prod | Monoid::Max | Monoid::Min | Monoid::Any | Monoid::All => 0,
            },
        };
        *reduced = Some(match *reduced {
            None => first,
            Some(old) => match monoid {
                Monoid::Sum => Reduced { value: old.value + value, ..old },
                Monoid::Prod => Reduced { value: old.value * value, ..old },
                Monoid::Max => Reduced { value: scalar::max(old.value, value), ..old },
                Monoid::Min => Reduced { value: scalar::min(old.value, value), ..old },
                Monoid::Any => Reduced { value: scalar::truth(old.value != 0.0 || value != 0.0), ..old },
                Monoid::All => Reduced { value: scalar::truth(old.value != 0.0 && value != 0.0), ..old },
                Monoid::ArgMax(_) if old.value.is_nan() => old,
                Monoid::ArgMax(_) if value > old.value || value.is_nan() => first,
                Monoid::ArgMin(_) if old.value.is_nan() => old,
                Monoid::ArgMin(_) if value < old.value || value.is_nan() => first,
                Monoid::ArgMax(_) | Monoid::ArgMin(_) => old,
            },
        });
        Ok(())
    }

    fn store(&mut self, value: f64) -> Outcome<()> {
        let subs: Vec<i64> = self.piece.at.iter().map(|a| self.affine(a)).collect::<Outcome<_>>()?;
        let bad = || InterpretError::BadWrite { tensor: self.name.clone(), subs: subs.clone() };
        let (array, rest) = match (&*self.out, subs.as_slice()) {
            (Value::Shared(_), all) => (0, all),
            (Value::PerExample(arrays), [e, rest @ ..]) if (*e as usize) < arrays.len() => (*e as usize, rest),
            (Value::PerExample(_), _) => return Err(bad()),
        };
        let position = self.out.examples()[array].position(rest).ok_or_else(bad)?;
        if std::mem::replace(&mut self.written[array][position], true) {
            return Err(bad());
        }
        self.out.examples_mut()[array].data[position] = scalar::stored(self.dtype, value);
        Ok(())
    }

    fn affine(&self, form: &Affine) -> Outcome<i64> {
        let offset = self.state.size(&form.offset, self.example(None))?;
        Ok(form.terms.iter().fold(offset, |sum, (i, c)| sum + c * self.at[i.0 as usize]))
    }

    fn read(&self, read: &Read) -> Outcome<f64> {
        let mut subs = Vec::with_capacity(read.subs.len());
        for sub in &read.subs {
            subs.push(match sub {
                Sub::Affine(form) => self.affine(form)?,
                Sub::Data(data) => self.expr(data)? as i64,
            });
        }
        let value = self.state.value(read.tensor)?;
        let (array, rest) = match (value, subs.as_slice()) {
            (Value::Shared(array), all) => (Some(array), all),
            (Value::PerExample(arrays), [e, rest @ ..]) => (usize::try_from(*e).ok().and_then(|e| arrays.get(e)), rest),
            (Value::PerExample(_), []) => (None, subs.as_slice()),
        };
        match array.and_then(|a| a.position(rest).map(|p| a.data[p])) {
            Some(number) => Ok(number),
            None => read.otherwise.ok_or_else(|| InterpretError::OutOfRange {
                tensor: self.state.name(read.tensor),
                subs: subs.clone(),
                shape: array.map(|a| a.shape.clone()).unwrap_or_default(),
            }),
        }
    }

    fn expr(&self, e: &Expr) -> Outcome<f64> {
        Ok(match e {
            Expr::Const(value) => *value,
            Expr::Number(form) => self.affine(form)? as f64,
            Expr::Read(read) => self.read(read)?,
            Expr::Unary(op, a) => scalar::unary(*op, self.expr(a)?),
            Expr::Binary(op, a, b) => scalar::binary(*op, self.expr(a)?, self.expr(b)?),
            Expr::Compare(op, a, b) => scalar::compare(*op, self.expr(a)?, self.expr(b)?),
            Expr::Select(c, a, b) => {
                if self.expr(c)? != 0.0 {
                    self.expr(a)?
                } else {
                    self.expr(b)?
                }
            }
        })
    }
}
