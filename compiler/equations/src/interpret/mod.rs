//! The f64 interpreter: it defines what a program means. Compiled code is tested against it.
//!
//! Every value is held as f64; `I32` and `Bool` are exact in it, `F32` and `BF16` tensors are rounded when they are stored. Sums run
//! in the order of the bound indices. Nothing is fast here, and nothing is clever.
//!
//! A tensor whose first axis is the batch is held as one array an example, because the other axes may differ from example to example.
//!
//! ```
//! use bdl_equations::{interpret::*, text};
//! let program = text::parse("
//!     program mean
//!     size B batch
//!     size T example
//!     input x: real[B, T] per example
//!     value y: real[B]
//!     y[b < B] = sum[t < T] x[b, t] / T
//!     output y = y
//! ").unwrap();
//! let mut world = World::new();
//! world.examples(vec![vec![("T", 2)], vec![("T", 3)]]);
//! world.set("x", Value::PerExample(vec![Array::new([2], [1.0, 3.0]), Array::new([3], [0.0, 0.0, 6.0])]));
//! let values = interpret(&program, &world).unwrap();
//! assert_eq!(values.output("y").unwrap().examples()[1].data, [2.0]);
//! ```
//!
//! Deliberately absent: files, seeds (a [`DrawSource`] supplies random numbers), and speed.

mod evaluate;
mod run;
pub mod scalar;

pub use run::interpret;

use crate::data::{Distribution, Name, Program, TensorId};
use rustc_hash::FxHashMap as HashMap;
use std::fmt;

/// Numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    /// # Panics
    /// If the number of values is not the product of the shape.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Vec<f64>>) -> Array {
        let (shape, data) = (shape.into(), data.into());
        assert_eq!(shape.iter().product::<usize>(), data.len(), "{shape:?} does not hold {} values", data.len());
        Array { shape, data }
    }

    pub fn scalar(value: f64) -> Array {
        Array { shape: Vec::new(), data: vec![value] }
    }

    pub fn filled(shape: impl Into<Vec<usize>>, value: f64) -> Array {
        let shape = shape.into();
        let count = shape.iter().product();
        Array { shape, data: vec![value; count] }
    }

    /// Where the element at these subscripts lies, unless they leave the array.
    pub fn position(&self, subs: &[i64]) -> Option<usize> {
        if subs.len() != self.shape.len() {
            return None;
        }
        subs.iter()
            .zip(&self.shape)
            .try_fold(0usize, |at, (&sub, &dim)| usize::try_from(sub).ok().filter(|s| *s < dim).map(|s| at * dim + s))
    }
}

/// The value of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One array for all examples, or (before batching) for the one example.
    Shared(Array),
    /// After batching: one array an example, without the batch axis.
    PerExample(Vec<Array>),
}

impl Value {
    /// All arrays: one, or one an example.
    pub fn examples(&self) -> &[Array] {
        match self {
            Value::Shared(array) => std::slice::from_ref(array),
            Value::PerExample(arrays) => arrays,
        }
    }

    pub fn examples_mut(&mut self) -> &mut [Array] {
        match self {
            Value::Shared(array) => std::slice::from_mut(array),
            Value::PerExample(arrays) => arrays,
        }
    }

    /// All numbers, one example after the other.
    pub fn flat(&self) -> Vec<f64> {
        self.examples().iter().flat_map(|a| a.data.iter().copied()).collect()
    }

    /// The number, when it is a single one.
    pub fn scalar(&self) -> Option<f64> {
        match self.examples() {
            [one] if one.data.len() == 1 => Some(one.data[0]),
            _ => None,
        }
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Value {
        Value::Shared(array)
    }
}

/// What a program is run in: sizes, examples, inputs, parameters and state by name.
#[derive(Default)]
pub struct World<'w> {
    /// Sizes of kind built.
    sizes: HashMap<String, i64>,
    /// The per-example sizes of each example; the batch has as many examples. Empty means one example without sizes of its own.
    examples: Vec<HashMap<String, i64>>,
    values: HashMap<String, Value>,
    draws: Option<&'w dyn DrawSource>,
}

impl<'w> World<'w> {
    pub fn new() -> World<'w> {
        World::default()
    }

    /// Sets a size that is one number for the whole model.
    pub fn size(&mut self, name: &str, value: i64) {
        self.sizes.insert(name.to_string(), value);
    }

    /// Sets the per-example sizes of every example; their number is the size of the batch.
    pub fn examples(&mut self, sizes: Vec<Vec<(&str, i64)>>) {
        self.examples =
            sizes.into_iter().map(|of| of.into_iter().map(|(name, n)| (name.to_string(), n)).collect()).collect();
    }

    /// Sets the value of an input, parameter or state.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_string(), value.into());
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.values.get_mut(name)
    }

    /// Where random numbers come from. Without one, a `draw` is an error.
    pub fn draws(&mut self, source: &'w dyn DrawSource) {
        self.draws = Some(source);
    }

    fn batch(&self) -> usize {
        self.examples.len().max(1)
    }
}

/// Everything a random number is a function of, besides seed and step of training.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawAt<'d> {
    pub distribution: Distribution,
    pub site: u32,
    /// The example's place in the batch; `None` for a shared tensor and before batching. A source knows the example's position in the
    /// epoch from it.
    pub example: Option<usize>,
    /// The step numbers of the enclosing scans, outermost first.
    pub steps: &'d [i64],
    /// The element's row-major position in the (example's own) array.
    pub element: usize,
}

/// Supplies random numbers. They must be the same function of the same place whenever they are asked for.
pub trait DrawSource {
    fn draw(&self, at: &DrawAt) -> f64;
}

/// Every tensor that the run computed, and what it would update.
#[derive(Clone, Debug)]
pub struct Values {
    tensors: Vec<Option<Value>>,
    outputs: Vec<(Name, TensorId)>,
    updates: Vec<(Name, Value)>,
}

impl Values {
    pub fn tensor(&self, id: TensorId) -> Option<&Value> {
        self.tensors.get(id.0 as usize)?.as_ref()
    }

    pub fn output(&self, name: &str) -> Option<&Value> {
        let (_, id) = self.outputs.iter().find(|(n, _)| &**n == name)?;
        self.tensor(*id)
    }

    /// The value of any tensor, by its name.
    pub fn named(&self, program: &Program, name: &str) -> Option<&Value> {
        self.tensor(program.find(name)?)
    }

    /// New values of parameters and state.
    pub fn updates(&self) -> &[(Name, Value)] {
        &self.updates
    }
}

/// Why a run has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterpretError {
    /// An input, parameter or state was not supplied.
    Missing { tensor: Name },
    /// A supplied value has another shape than the program says.
    Shape { tensor: Name, expected: Vec<i64>, found: Vec<usize> },
    /// A size was not supplied.
    UnknownSize { size: String },
    /// A read without `else` left its tensor.
    OutOfRange { tensor: Name, subs: Vec<i64>, shape: Vec<usize> },
    /// Two points of the free indices wrote the same element, or wrote outside the tensor.
    BadWrite { tensor: Name, subs: Vec<i64> },
    /// A tensor was read before it was computed.
    NotComputed { tensor: Name },
    /// A draw without a source of random numbers.
    NoDraws { tensor: Name },
    /// A view whose two shapes hold different numbers of elements, a literal with too few numbers, and the like.
    Count { tensor: Name, expected: usize, found: usize },
}

impl fmt::Display for InterpretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InterpretError::Missing { tensor } => write!(f, "`{tensor}` has no value"),
            InterpretError::Shape { tensor, expected, found } => {
                write!(f, "`{tensor}` has shape {found:?}, expected {expected:?}")
            }
            InterpretError::UnknownSize { size } => write!(f, "the size `{size}` is not known"),
            InterpretError::OutOfRange { tensor, subs, shape } => {
                write!(f, "a read of `{tensor}` at {subs:?} leaves its shape {shape:?}")
            }
            InterpretError::BadWrite { tensor, subs } => {
                write!(f, "`{tensor}` is written twice, or outside its shape, at {subs:?}")
            }
            InterpretError::NotComputed { tensor } => write!(f, "`{tensor}` is read before it is computed"),
            InterpretError::NoDraws { tensor } => write!(f, "`{tensor}` draws random numbers, but there is no source"),
            InterpretError::Count { tensor, expected, found } => {
                write!(f, "`{tensor}` needs {expected} elements and gets {found}")
            }
        }
    }
}

impl std::error::Error for InterpretError {}
