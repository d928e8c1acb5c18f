//! The library API: bdl inside a Rust program.

use crate::data::facts::Length;
use crate::data::laws;
use crate::data::packed::PackedOrder;
use crate::error::Failure;
use crate::load;
use crate::pipeline::{self, ReadData, Request};
use bdl_check::EntryRequest;
use bdl_check::hir::{self, Scalar, SizeLaw, Type};
use bdl_dims::Dim;
use bdl_equations::{Program, SizeKind};
use bdl_execute::{Data, Executor, Inputs, Outputs, Store};
use bdl_schedule::Real;
use bdl_train::{Array, checkpoint};
use std::borrow::Cow;
use std::collections::BTreeMap;
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
/// // `n` is not given, so it belongs to the example. In a batch the examples come first.
/// let mut model = Model::from_source(source, "distance", &[])?;
/// let a = Tensor::new(&[2, 3], &[0.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
/// let b = Tensor::new(&[2, 3], &[1.0, 2.0, 2.0, 1.0, 2.0, 2.0]);
/// let result = model.run(&[("a", a), ("b", b)])?;
/// assert_eq!(result[0].1.values, [3.0, 0.0]);
///
/// // Examples of different sizes are run together, too.
/// let short = [("a", Tensor::new(&[1], &[5.0])), ("b", Tensor::new(&[1], &[1.0]))];
/// let long = [("a", Tensor::new(&[2], &[0.0, 0.0])), ("b", Tensor::new(&[2], &[3.0, 4.0]))];
/// let results = model.run_each(&[&short, &long])?;
/// assert_eq!(results[0][0].1.values, [4.0]);
/// assert_eq!(results[1][0].1.values, [5.0]);
/// # Ok(())
/// # }
/// ```
pub struct Model {
    program: bdl_execute::Program,
    equations: Program,
    inputs: Vec<Input>,
    /// What the sizes of every example must satisfy.
    laws: Vec<SizeLaw>,
    store: Store,
    executor: Executor,
}

/// An input of the signature.
struct Input {
    name: String,
    shape: Vec<Dim>,
    /// Values must be natural numbers below this.
    below: Option<Dim>,
}

/// A result, as the equations have it.
struct Output {
    name: String,
    /// Of one example, or of the batch.
    shape: Vec<Dim>,
    of_example: bool,
    order: Option<PackedOrder>,
}

/// Numbers with a shape, row-major. Classes, indices and truth values are numbers too.
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

/// The inputs of one example, by name.
pub type Example<'e> = &'e [(&'e str, Tensor)];
/// Results by name: `y`, or the fields of a record.
pub type Results = Vec<(String, Tensor)>;

impl Model {
    /// Compiles `name` of a program given as text. `sizes` are the sizes of its signature that are the same for all examples, `("L", 60)`: all that
    /// parameters depend on must be among them; the others may differ from example to example. Parameters have their
    /// initial values, drawn with seed 0.
    ///
    /// Errors: every message of the compiler about the program, rendered; a size that must be given and is not.
    pub fn from_source(source: &str, name: &str, sizes: &[(&str, usize)]) -> Result<Model, Failure> {
        let source = load::text_in("<source>", source, Path::new(""))?;
        let sizes = sizes.iter().map(|(name, size)| ((*name).to_string(), *size as i64)).collect();
        let request = Request {
            read_data: ReadData::Never,
            entries: vec![EntryRequest { name: name.to_string(), sizes }],
            ..Request::default()
        };
        let checked = pipeline::check_source(source, &request)?;
        checked.require_sound(false)?;
        let hir = &checked.hir;
        let entry = hir.entries.iter().find(|entry| &*entry.name == name).ok_or_else(|| {
            Failure::user("unknown-name", format!("the program has no model, layer or function `{name}`"))
        })?;
        if let Some(param) = entry.store.params.iter().find(|param| !is_fixed(&param.ty)) {
            let open: Vec<String> =
                param.ty.shape.iter().flat_map(|axis| axis.size.names()).map(|n| format!("`{n}`")).collect();
            let message = format!("`{}` depends on {}, which is not given", param.path, open.join(" and "));
            return Err(Failure::user("size-not-given", message).help("give its size beside the name of the model"));
        }
        let function =
            hir.functions.get(entry.function.0 as usize).ok_or_else(|| Failure::bug("an entry without function"))?;
        let inputs = inputs_of(function)?;
        let internal = |diagnostic| Failure::program(&[diagnostic], &checked.source.sources, false);
        let one = bdl_elaborate::entry(hir, entry, false).map_err(internal)?;
        let init = bdl_elaborate::entry_init(hir, entry).map_err(internal)?;
        let equations = bdl_equations::batch(&one);
        let executor = Executor::new(0);
        let mut store = Store::new();
        crate::run::machine::initialise(&init, Real::F32, &executor, &mut store, 0)?;
        let compiled = pipeline::compile(&equations, Real::F32)?;
        let mut program = bdl_execute::Program::new(Arc::new(compiled.plan), compiled.code.kernels())
            .map_err(|error| Failure::bug(error.to_string()))?;
        program.keep_weights();
        Ok(Model { program, equations, inputs, laws: hir.laws.clone(), store, executor })
    }

    /// Computes on this many threads from now on; 0 counts as the number of processors. The results stay the same to the bit.
    pub fn use_threads(&mut self, threads: usize) {
        self.executor = Executor::new(threads);
    }

    /// Takes parameters from a safetensors file: names and shapes must fit; all that do not are listed at once. Those in f32 are not copied: the
    /// file is mapped, its pages are read when they are first used, and it may be replaced meanwhile, but not cut short or written to.
    pub fn load_weights(&mut self, path: &Path) -> Result<(), Failure> {
        checkpoint::open(path)?.into_store(&mut self.store)?;
        self.program.keep_weights();
        Ok(())
    }

    /// The parameters and state by name.
    pub fn weights(&self) -> Vec<Array> {
        crate::run::machine::arrays(&self.store, |_| true)
    }

    /// The results for a batch of examples of one size: the first axis of every input and result is the batch.
    ///
    /// Errors: an input that is not given, whose shape does not fit the signature or the others, or that holds an index out of range.
    pub fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Results, Failure> {
        let batch = inputs.first().and_then(|(_, tensor)| tensor.shape.first().copied()).unwrap_or(1);
        if let Some((name, tensor)) = inputs.iter().find(|(_, tensor)| tensor.shape.first() != Some(&batch)) {
            return Err(wrong(format!("`{name}` has shape {:?} in a batch of {batch}", tensor.shape)));
        }
        let sizes = self.sizes_of(inputs.iter().map(|(name, tensor)| (*name, &tensor.shape[1..])))?;
        for (name, tensor) in inputs {
            self.require_values(name, &tensor.values, tensor.shape.iter().product(), &sizes)?;
        }
        let mut packed: Vec<(&str, Cow<'_, [f32]>)> = Vec::new();
        for (name, tensor) in inputs {
            let values = match self.packed_order(&self.input(name)?.shape) {
                None => Cow::Borrowed(tensor.values.as_slice()),
                Some(order) => {
                    let shape = &tensor.shape[1..];
                    let each = tensor.values.chunks(shape.iter().product::<usize>().max(1));
                    Cow::Owned(each.flat_map(|values| order.pack(values, shape)).collect())
                }
            };
            packed.push((name, values));
        }
        let values: Vec<(&str, &[f32])> = packed.iter().map(|(name, values)| (*name, &**values)).collect();
        let outputs: Vec<Output> = self.outputs();
        let made = self.run_packed(batch, &values, &vec![sizes.clone(); batch])?;
        let mut results = Vec::new();
        for output in &outputs {
            let mut shape = shape_of(&output.shape, batch, &sizes);
            let mut values: Vec<f32> =
                made.numbers(&output.name).unwrap_or_default().into_iter().map(|value| value as f32).collect();
            if let Some(order) = &output.order {
                let each = values.chunks(shape.iter().product::<usize>().max(1));
                values = each.flat_map(|values| order.unpack(values, &shape)).collect();
            }
            if output.of_example {
                shape.insert(0, batch);
            }
            results.push((output.name.clone(), Tensor { shape, values }));
        }
        Ok(results)
    }

    /// The results of each example, which may have sizes of their own; they are run as one batch, without padding.
    ///
    /// Errors as for [`Model::run`].
    pub fn run_each(&mut self, examples: &[Example<'_>]) -> Result<Vec<Results>, Failure> {
        let mut sizes = Vec::new();
        let mut packed: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
        for example in examples {
            let own = self.sizes_of(example.iter().map(|(name, tensor)| (*name, tensor.shape.as_slice())))?;
            for (name, tensor) in *example {
                self.require_values(name, &tensor.values, tensor.shape.iter().product(), &own)?;
                let values = packed.entry(name).or_default();
                match self.packed_order(&self.input(name)?.shape) {
                    Some(order) => values.extend(order.pack(&tensor.values, &tensor.shape)),
                    None => values.extend_from_slice(&tensor.values),
                }
            }
            sizes.push(own);
        }
        let values: Vec<(&str, &[f32])> = packed.iter().map(|(name, values)| (*name, values.as_slice())).collect();
        let outputs: Vec<Output> = self.outputs();
        let made = self.run_packed(examples.len(), &values, &sizes)?;
        let mut results: Vec<Results> = vec![Vec::new(); examples.len()];
        for output in &outputs {
            let all = made.numbers(&output.name).unwrap_or_default();
            let mut rest = all.as_slice();
            for (own, results) in sizes.iter().zip(&mut results) {
                let shape = shape_of(&output.shape, examples.len(), own);
                let (first, others) = rest.split_at(shape.iter().product::<usize>().min(rest.len()));
                // What is the same for the whole batch is every example's.
                rest = if output.of_example { others } else { rest };
                let mut values: Vec<f32> = first.iter().map(|value| *value as f32).collect();
                if let Some(order) = &output.order {
                    values = order.unpack(&values, &shape);
                }
                results.push((output.name.clone(), Tensor { shape, values }));
            }
        }
        Ok(results)
    }

    fn outputs(&self) -> Vec<Output> {
        let outputs = self.equations.outputs.iter().map(|(name, id)| {
            let dims = &self.equations.get(*id).shape;
            let of_example = dims.first().is_some_and(is_batch);
            let shape = if of_example { dims[1..].to_vec() } else { dims.clone() };
            Output { name: name.to_string(), order: self.packed_order(&shape), of_example, shape }
        });
        outputs.collect()
    }

    fn packed_order(&self, shape: &[Dim]) -> Option<PackedOrder> {
        let own = |name: &str| self.equations.sizes.iter().any(|s| s.kind == SizeKind::PerExample && &*s.name == name);
        PackedOrder::of(shape, own)
    }

    fn input(&self, name: &str) -> Result<&Input, Failure> {
        self.inputs.iter().find(|input| input.name == name).ok_or_else(|| wrong(format!("there is no input `{name}`")))
    }

    /// The floating-point operations that the last run spent in contractions (matrix products, convolutions): a product with an addition
    /// counts as two.
    pub fn flop(&self) -> u64 {
        self.program.flop().iter().sum()
    }

    /// The sizes that the shapes of one example's inputs give to the names of the signature.
    fn sizes_of<'s>(&self, given: impl Iterator<Item = (&'s str, &'s [usize])>) -> Result<Sizes, Failure> {
        let given: Vec<(&str, &[usize])> = given.collect();
        if let Some((name, _)) = given.iter().find(|(name, _)| self.inputs.iter().all(|input| input.name != *name)) {
            let known: Vec<String> = self.inputs.iter().map(|input| format!("`{}`", input.name)).collect();
            return Err(wrong(format!("there is no input `{name}`; there are {}", known.join(", "))));
        }
        let mut sizes = Sizes::new();
        let mut shapes = Vec::new();
        for input in &self.inputs {
            let Some((_, shape)) = given.iter().find(|(name, _)| *name == input.name) else {
                return Err(wrong(format!("the input `{}` is not given", input.name)));
            };
            if shape.len() != input.shape.len() {
                return Err(wrong(format!(
                    "`{}` is {}, but an example of shape {shape:?} was given",
                    input.name,
                    input.shown()
                )));
            }
            for (dim, size) in input.shape.iter().zip(*shape) {
                if let Some(name) = dim.as_var() {
                    sizes.entry(name.to_string()).or_insert(*size as i64);
                }
            }
            shapes.push((input, *shape));
        }
        for (input, shape) in shapes {
            let fits = |(dim, size): (&Dim, &usize)| eval(dim, &sizes) == Some(*size as i64);
            if !input.shape.iter().zip(shape).all(fits) {
                let known: Vec<String> = sizes.iter().map(|(name, size)| format!("{name} is {size}")).collect();
                let known = if known.is_empty() { String::new() } else { format!(", where {}", known.join(" and ")) };
                return Err(wrong(format!(
                    "`{}` is {}{known}, but an example of shape {shape:?} was given",
                    input.name,
                    input.shown()
                )));
            }
        }
        Ok(sizes)
    }

    fn require_values(&self, name: &str, values: &[f32], wanted: usize, sizes: &Sizes) -> Result<(), Failure> {
        if values.len() != wanted {
            return Err(wrong(format!("`{name}` has {} values where its shape says {wanted}", values.len())));
        }
        let below = self.inputs.iter().find(|input| input.name == name).and_then(|input| input.below.as_ref());
        let Some(below) = below.and_then(|dim| eval(dim, sizes)) else { return Ok(()) };
        let is_index = |value: &&f32| {
            value.fract() != 0.0 || **value < 0.0 || f64::from(**value) >= below as f64 || value.is_nan()
        };
        match values.iter().find(is_index) {
            Some(value) => {
                Err(wrong(format!("`{name}` holds {value}; it must be a whole number from 0 to {}", below - 1)))
            }
            None => Ok(()),
        }
    }

    /// Runs examples whose values lie end to end.
    fn run_packed(&mut self, batch: usize, values: &[(&str, &[f32])], sizes: &[Sizes]) -> Result<Outputs<'_>, Failure> {
        let names: Vec<String> = self
            .equations
            .sizes
            .iter()
            .filter(|size| size.kind == SizeKind::PerExample)
            .map(|size| size.name.to_string())
            .collect();
        let of = |name: &str| sizes.iter().map(|own| own.get(name).copied().unwrap_or(0)).collect::<Vec<i64>>();
        let lengths: Vec<(String, Vec<i64>)> = names.into_iter().map(|name| (name.clone(), of(&name))).collect();
        let known: Vec<Length> = lengths
            .iter()
            .map(|(name, of_row)| Length {
                name: name.as_str().into(),
                of_row: Arc::new(of_row.iter().map(|size| *size as u32).collect()),
                axes: Vec::new(),
            })
            .collect();
        if let Some(broken) = laws::broken(&self.laws, &known).first() {
            let what = broken.what("example", broken.example + 1);
            return Err(Failure::user("law-violated", format!("{}: {what}", broken.law.message)));
        }
        let given = Inputs {
            batch,
            lengths: lengths.iter().map(|(name, lengths)| (name.as_str(), lengths.as_slice())).collect(),
            buffers: values.iter().map(|(name, values)| (*name, Data::F32(values))).collect(),
            ..Inputs::default()
        };
        self.program.run(&self.executor, &mut self.store, &given).map_err(|error| wrong(error.to_string()))
    }
}

type Sizes = BTreeMap<String, i64>;

impl Input {
    /// `[T, 4]`
    fn shown(&self) -> String {
        let dims: Vec<String> = self.shape.iter().map(Dim::to_string).collect();
        if dims.is_empty() { "one number".into() } else { format!("[{}]", dims.join(", ")) }
    }
}

fn wrong(message: String) -> Failure {
    Failure::user("inputs", message)
}

fn is_fixed(ty: &hir::TensorType) -> bool {
    ty.shape.iter().all(|axis| axis.size.as_const().is_some())
}

fn is_batch(dim: &Dim) -> bool {
    dim.as_var().is_some_and(|name| &**name == bdl_equations::BATCH)
}

fn eval(dim: &Dim, sizes: &Sizes) -> Option<i64> {
    dim.eval(&|name| sizes.get(name).copied())
}

fn shape_of(dims: &[Dim], batch: usize, sizes: &Sizes) -> Vec<usize> {
    let size = |name: &str| if name == bdl_equations::BATCH { Some(batch as i64) } else { sizes.get(name).copied() };
    dims.iter().map(|dim| dim.eval(&size).unwrap_or(0).max(0) as usize).collect()
}

/// The tensors of the signature; records by their fields.
fn inputs_of(function: &hir::Function) -> Result<Vec<Input>, Failure> {
    fn add(name: &str, ty: &Type, inputs: &mut Vec<Input>) -> Result<(), Failure> {
        match ty {
            Type::Tensor(tensor) => {
                let below = match &tensor.scalar {
                    Scalar::Letter(_, letters) => Some(Dim::from(*letters)),
                    Scalar::Bool => Some(Dim::from(2)),
                    other => other.below(),
                };
                let shape = tensor.shape.iter().map(|axis| axis.size.clone()).collect();
                inputs.push(Input { name: name.to_string(), shape, below });
                Ok(())
            }
            Type::Record(fields) => {
                fields.iter().try_for_each(|(field, ty)| add(&format!("{name}.{field}"), ty, inputs))
            }
            Type::Error => Err(Failure::bug("an input without a type")),
        }
    }
    let mut inputs = Vec::new();
    for id in &function.inputs {
        let local = function.locals.get(id.0 as usize).ok_or_else(|| Failure::bug("an input without a name"))?;
        add(&local.name, &local.ty, &mut inputs)?;
    }
    Ok(inputs)
}
