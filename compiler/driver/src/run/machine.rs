//! The compiled programs of a `train` block over one store of parameters: what the training loop drives.

use super::fed::Fed;
pub use super::fed::memory as memory_error;
use super::fed::memory;
use super::prepared::Prepared;
use crate::error::Failure;
use bdl_data::Encoded;
use bdl_equations::{Node, Program};
use bdl_execute::{Executor, Inputs, Outputs, Store};
use bdl_plan::{DType, Place, Plan};
use bdl_schedule::Real;
use bdl_train::{Array, Evaluation, Machine, Moment, PredictionValues, RunError, RunResult, Sums, Values};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Rows that are evaluated at once, at least.
const EVALUATED_AT_ONCE: usize = 64;

/// Parameters, programs and threads.
pub struct CpuMachine {
    pub executor: Executor,
    pub store: Store,
    pub step: Option<Fed>,
    pub eval: Fed,
    data: Arc<Encoded>,
    batch: usize,
    seed: u64,
    /// Names that prediction needs.
    weights: HashSet<String>,
    /// What a trace of values that are not finite starts from.
    gradient: Program,
    lengths: crate::data::facts::Lengths,
    predictions: Vec<String>,
    real: Real,
}

impl CpuMachine {
    /// Compiles step and evaluation, and gives parameters and state their first values.
    pub fn new(
        prepared: &Prepared,
        real: Real,
        threads: usize,
        seed: u64,
        with_step: bool,
    ) -> Result<CpuMachine, Failure> {
        let executor = Executor::new(threads);
        let mut store = Store::new();
        initialise(&prepared.programs.init, real, &executor, &mut store, seed)?;
        let step = match &prepared.programs.step {
            Some(step) if with_step => Some(Fed::new(step, real, prepared)?),
            Some(_) | None => None,
        };
        let eval = Fed::new(&prepared.programs.eval, real, prepared)?;
        let shared = |fed: &Fed| {
            let buffers = fed.program.plan().buffers.iter();
            let names = buffers
                .filter(|buffer| matches!(buffer.place, Place::Param | Place::State))
                .map(|b| b.name.to_string());
            names.collect::<HashSet<_>>()
        };
        let weights = shared(&eval);
        Ok(CpuMachine {
            executor,
            store,
            step,
            eval,
            data: Arc::new(prepared.data.clone()),
            batch: prepared.train.batch.max(1) as usize,
            seed,
            weights,
            gradient: prepared.programs.gradient.clone(),
            lengths: prepared.lengths.clone(),
            predictions: prediction_names(&prepared.programs.eval),
            real,
        })
    }
}

impl CpuMachine {
    /// The plan of the training step.
    pub fn step_plan(&self) -> Option<Arc<Plan>> {
        self.step.as_ref().map(|step| step.program.plan().clone())
    }

    /// Bytes that parameters, state, and the tensors of step and evaluation take at this batch size.
    pub fn predicted_bytes(&self, batch: usize) -> usize {
        let size = |name: &str| (name == bdl_equations::BATCH).then_some(batch as i64);
        let fed = self.step.as_ref().unwrap_or(&self.eval);
        self.store.bytes() + bdl_execute::peak_bytes(fed.program.plan(), &size).unwrap_or(0)
    }

    /// Measures the launches of the training step from now on.
    pub fn set_profile(&mut self, on: bool) {
        if let Some(step) = &mut self.step {
            step.program.set_profile(on);
        }
    }

    /// Summed time of each launch since.
    pub fn profile(&self) -> Option<Vec<Duration>> {
        self.step.as_ref()?.program.profile().map(<[Duration]>::to_vec)
    }
}

/// Outputs of an evaluation that are predictions.
fn prediction_names(eval: &Program) -> Vec<String> {
    let names = eval.outputs.iter().map(|(name, _)| name.to_string());
    names.filter(|name| name != "loss_sum" && name != "per_sum").collect()
}

/// Runs `init` and copies its outputs into the store.
pub fn initialise(
    init: &Program,
    real: Real,
    executor: &Executor,
    store: &mut Store,
    seed: u64,
) -> Result<(), Failure> {
    let compiled = crate::pipeline::compile(init, real)?;
    let shapes: Vec<(String, Vec<i64>)> = init
        .outputs
        .iter()
        .map(|(name, id)| {
            let shape = &init.tensors[id.0 as usize].shape;
            (name.to_string(), shape.iter().map(|size| size.as_const().unwrap_or(1)).collect())
        })
        .collect();
    let mut program = bdl_execute::Program::new(Arc::new(compiled.plan), compiled.code.kernels())
        .map_err(|error| Failure::bug(error.to_string()))?;
    let mut scratch = Store::new();
    let given = Inputs { seed, ..Inputs::default() };
    let outputs = program.run(executor, &mut scratch, &given).map_err(|error| Failure::from(memory(error)))?;
    let dtype = match real {
        Real::F32 => DType::F32,
        Real::F64 => DType::F64,
    };
    for (name, shape) in shapes {
        let missing = || Failure::bug(format!("`{name}` has no first value"));
        let entry = store.insert(&name, dtype, shape).map_err(|error| Failure::bug(error.to_string()))?;
        // Copied as they are: a large layer's values are never held a third time.
        match real {
            Real::F32 => {
                let (from, to) = (
                    outputs.slice::<f32>(&name).ok_or_else(missing)?,
                    entry.buffer.slice_mut::<f32>().ok_or_else(missing)?,
                );
                to.copy_from_slice(from);
            }
            Real::F64 => {
                let (from, to) = (
                    outputs.slice::<f64>(&name).ok_or_else(missing)?,
                    entry.buffer.slice_mut::<f64>().ok_or_else(missing)?,
                );
                to.copy_from_slice(from);
            }
        }
    }
    Ok(())
}

/// Every array of a store, or those that are wanted, by name.
pub fn arrays(store: &Store, wanted: impl Fn(&str) -> bool) -> Vec<Array> {
    store
        .iter()
        .filter(|entry| wanted(&entry.name))
        .map(|entry| {
            let values = match entry.buffer.slice::<f32>() {
                Some(values) => Values::F32(values.to_vec()),
                None => match entry.buffer.slice::<i32>() {
                    Some(values) => Values::I32(values.to_vec()),
                    None => Values::F64(entry.buffer.to_f64()),
                },
            };
            let shape = entry.shape.iter().map(|size| (*size).max(0) as usize).collect();
            Array { name: entry.name.to_string(), shape, values }
        })
        .collect()
}

impl Machine for CpuMachine {
    fn step(&mut self, rows: &[u32], moment: Moment) -> RunResult<Sums> {
        let Some(step) = &mut self.step else {
            return Err(RunError::new(
                "bug",
                "this is a bug in bdl: a program without an optimiser was asked to train",
            ));
        };
        let outputs = step.run(&self.executor, &mut self.store, &self.data, rows, moment)?;
        Ok(sums(&outputs))
    }

    fn evaluate(&mut self, rows: &[u32]) -> RunResult<Evaluation> {
        let data = self.data.clone();
        evaluate(&mut self.eval, &self.executor, &mut self.store, &data, rows, self.batch, self.seed, &self.predictions)
    }

    fn everything(&self) -> Vec<Array> {
        arrays(&self.store, |_| true)
    }

    fn weights(&self) -> Vec<Array> {
        arrays(&self.store, |name| self.weights.contains(name))
    }

    fn restore(&mut self, arrays: &[Array]) -> RunResult<()> {
        for array in arrays {
            if self.store.entry(&array.name).is_none() {
                // State of the optimiser comes into being with the first step; its values must be there before.
                let shape = array.shape.iter().map(|size| *size as i64).collect();
                let dtype = match array.values {
                    Values::F32(_) => DType::F32,
                    Values::F64(_) => DType::F64,
                    Values::I32(_) => DType::I32,
                };
                self.store.insert(&array.name, dtype, shape).map_err(memory)?;
            }
            self.store.set(&array.name, &array.values.to_f64()).map_err(memory)?;
        }
        Ok(())
    }

    fn first_not_finite(&mut self, rows: &[u32], moment: Moment) -> Option<String> {
        let program = observed(&self.gradient);
        let compiled = crate::pipeline::compile(&program, self.real).ok()?;
        let mut fed = Fed::of(compiled, &self.data, &self.lengths).ok()?;
        let outputs = fed.run(&self.executor, &mut self.store, &self.data, rows, moment).ok()?;
        program.outputs.iter().find_map(|(name, id)| {
            let values = outputs.numbers(name)?;
            let bad = values.iter().find(|value| !value.is_finite())?;
            Some(format!("`{}`, which holds {bad}{}", name, place(&program, *id)))
        })
    }
}

fn sums(outputs: &Outputs<'_>) -> Sums {
    Sums { loss: outputs.number("loss_sum").unwrap_or(f64::NAN), per: outputs.number("per_sum").unwrap_or(f64::NAN) }
}

/// Loss and predictions of rows, batch by batch, in order.
pub fn evaluate(
    fed: &mut Fed,
    executor: &Executor,
    store: &mut Store,
    data: &Encoded,
    rows: &[u32],
    batch: usize,
    seed: u64,
    predictions: &[String],
) -> RunResult<Evaluation> {
    let mut evaluation = Evaluation {
        sums: Sums::default(),
        predictions: predictions
            .iter()
            .map(|name| PredictionValues { name: name.clone(), width: None, offsets: vec![0], values: Vec::new() })
            .collect(),
    };
    for (at, rows) in rows.chunks(batch.max(EVALUATED_AT_ONCE)).enumerate() {
        let moment = Moment { seed, first: (at * batch.max(EVALUATED_AT_ONCE)) as u64, ..Moment::default() };
        let outputs = fed.run(executor, store, data, rows, moment)?;
        let part = sums(&outputs);
        evaluation.sums.loss += part.loss;
        evaluation.sums.per += part.per;
        for made in &mut evaluation.predictions {
            let values = outputs.numbers(&made.name).unwrap_or_default();
            let width = values.len() / rows.len();
            let start = made.values.len();
            made.offsets.extend((1..=rows.len()).map(|row| start + row * width));
            made.width = Some(width);
            made.values.extend(values);
        }
    }
    Ok(evaluation)
}

/// The program with every tensor that it computes as an output, in order.
fn observed(program: &Program) -> Program {
    let mut observed = program.clone();
    observed.outputs = observed
        .nodes
        .iter()
        .filter_map(|node| match node {
            Node::Equation(equation) => Some(equation.out),
            Node::Draw(draw) => Some(draw.out),
            Node::Library(library) => Some(library.out),
            Node::Scan(_) | Node::Iterate(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) => None,
        })
        .map(|id| (observed.tensors[id.0 as usize].name.clone(), id))
        .collect();
    observed
}

/// ` (gradient of the product, bytes 12 to 40 of the program)`: what an equation says of its origin.
fn place(program: &Program, id: bdl_equations::TensorId) -> String {
    let origin = program.nodes.iter().find_map(|node| match node {
        Node::Equation(equation) if equation.out == id => equation.origin.what.clone(),
        Node::Equation(_)
        | Node::Draw(_)
        | Node::Library(_)
        | Node::Scan(_)
        | Node::Iterate(_)
        | Node::View(_)
        | Node::Sort(_)
        | Node::Literal(_) => None,
    });
    origin.map_or_else(String::new, |what| format!(" ({what})"))
}
