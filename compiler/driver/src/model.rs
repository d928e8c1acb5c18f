//! The library API: bdl inside a Rust program.

use crate::error::Failure;
use crate::load;
use crate::pipeline::{self, ReadData, Request};
use bdl_check::EntryRequest;
use bdl_check::hir::{Axis, Scalar, TensorType, Type};
use bdl_dims::Dim;
use bdl_equations::Program;
use bdl_execute::{Data, Executor, Inputs, Store};
use bdl_schedule::Real;
use bdl_train::{Array, checkpoint};
use std::path::Path;
use std::sync::Arc;

/// A model or function of a program, compiled, with its parameters.
///
/// ```
/// use bdl::{Model, Tensor};
/// # fn main() -> Result<(), bdl::Failure> {
/// let source = "
///     /// Distance of two points.
///     fn distance(a: f32[n], b: f32[n]) -> f32 { sqrt(sum[i] square(a[i] - b[i])) }
/// ";
/// // Shapes are those of one example; the batch comes first in what is given and returned.
/// let mut model = Model::from_source(source, "distance", &[&[3], &[3]])?;
/// let a = Tensor::new(&[2, 3], &[0.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
/// let b = Tensor::new(&[2, 3], &[1.0, 2.0, 2.0, 1.0, 2.0, 2.0]);
/// let result = model.run(&[("a", a), ("b", b)])?;
/// assert_eq!(result[0].1.values, [3.0, 0.0]);
/// # Ok(())
/// # }
/// ```
pub struct Model {
    program: bdl_execute::Program,
    equations: Program,
    store: Store,
    executor: Executor,
}

/// Numbers with a shape, row-major. In [`Model::run`] the first axis is the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Tensor {
    pub fn new(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor { shape: shape.to_vec(), values: values.to_vec() }
    }
}

impl Model {
    /// Compiles `name` of a program given as text, for inputs of these shapes (of one example, in the order of its signature).
    /// Parameters have their initial values, drawn with seed 0.
    ///
    /// Errors: every message of the compiler about the program, rendered.
    pub fn from_source(source: &str, name: &str, shapes: &[&[usize]]) -> Result<Model, Failure> {
        let source = load::text_in("<source>", source, Path::new(""))?;
        let inputs = shapes.iter().map(|shape| tensor_type(shape)).collect();
        let request = Request {
            read_data: ReadData::Never,
            entries: vec![EntryRequest { name: name.to_string(), inputs }],
            ..Request::default()
        };
        let checked = pipeline::check_source(source, &request)?;
        checked.require_sound(false)?;
        let entry = checked.hir.entries.iter().find(|entry| &*entry.name == name).ok_or_else(|| {
            Failure::user("unknown-name", format!("the program has no model, layer or function `{name}`"))
        })?;
        let internal = |diagnostic| Failure::program(&[diagnostic], &checked.source.sources, false);
        let one = bdl_elaborate::entry(&checked.hir, entry, false).map_err(internal)?;
        let init = bdl_elaborate::entry_init(&checked.hir, entry).map_err(internal)?;
        let equations = bdl_equations::batch(&one);
        let executor = Executor::new(bdl_kernels::machine::allowed_processors().len().max(1));
        let mut store = Store::new();
        crate::run::machine::initialise(&init, Real::F32, &executor, &mut store, 0)?;
        let compiled = pipeline::compile(&equations, Real::F32)?;
        let program = bdl_execute::Program::new(Arc::new(compiled.plan), compiled.code.kernels())
            .map_err(|error| Failure::bug(error.to_string()))?;
        Ok(Model { program, equations, store, executor })
    }

    /// Reads parameters from a safetensors file: names and shapes must fit; all that do not are listed at once.
    pub fn load_weights(&mut self, path: &Path) -> Result<(), Failure> {
        let (weights, _) = checkpoint::load(path)?;
        crate::run::stored::put(&mut self.store, &weights)
    }

    /// The parameters and state by name.
    pub fn weights(&self) -> Vec<Array> {
        crate::run::machine::arrays(&self.store, |_| true)
    }

    /// The results for a batch of inputs, by name: `y`, or the fields of a record.
    ///
    /// Errors: an input that is not given, or has another shape than the model was compiled for.
    pub fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>, Failure> {
        let batch = inputs.first().and_then(|(_, tensor)| tensor.shape.first().copied()).unwrap_or(1);
        for (name, tensor) in inputs {
            if tensor.shape.first().copied().unwrap_or(1) != batch
                || tensor.shape.iter().product::<usize>() != tensor.values.len()
            {
                return Err(Failure::user(
                    "inputs",
                    format!(
                        "`{name}` has shape {:?} and {} values in a batch of {batch}",
                        tensor.shape,
                        tensor.values.len()
                    ),
                ));
            }
        }
        let given = Inputs {
            batch,
            buffers: inputs.iter().map(|(name, tensor)| (*name, Data::F32(&tensor.values))).collect(),
            ..Inputs::default()
        };
        let made = self
            .program
            .run(&self.executor, &mut self.store, &given)
            .map_err(|error| Failure::user("inputs", error.to_string()))?;
        let mut results = Vec::new();
        for (name, id) in &self.equations.outputs {
            let size = |name: &str| (name == bdl_equations::BATCH).then_some(batch as i64);
            let shape = self.equations.tensors[id.0 as usize]
                .shape
                .iter()
                .map(|dim| dim.eval(&size).unwrap_or(0) as usize)
                .collect();
            let values = made.numbers(name).unwrap_or_default().into_iter().map(|value| value as f32).collect();
            results.push((name.to_string(), Tensor { shape, values }));
        }
        Ok(results)
    }
}

fn tensor_type(shape: &[usize]) -> Type {
    let axis = |size: &usize| Axis { size: Dim::from(*size as i64), names: None, origin: None };
    Type::Tensor(TensorType { scalar: Scalar::F32, optional: false, shape: shape.iter().map(axis).collect() })
}
