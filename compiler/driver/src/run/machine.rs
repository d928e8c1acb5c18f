//! The compiled programs of a `train` block over one store of parameters: what the training loop drives.

use super::fed::Fed;
pub use super::fed::memory as memory_error;
use super::fed::memory;
use super::prepared::Prepared;
use crate::error::Failure;
use bdl_data::Encoded;
use bdl_elaborate::Programs;
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
    objectives: Vec<Objective>,
    pub eval: Fed,
    data: Arc<Encoded>,
    batch: usize,
    seed: u64,
    /// Names that prediction needs.
    weights: HashSet<String>,
    lengths: crate::data::facts::Lengths,
    outputs: Outcomes,
    real: Real,
}

/// The compiled steps of one objective.
struct Objective {
    /// It runs on every so many batches.
    every: u64,
    /// By the first epoch in which each holds.
    steps: Vec<(u64, Fed)>,
    /// What a trace of values that are not finite starts from.
    gradient: Program,
}

impl Objective {
    /// The objective's own count of steps, if it runs on this batch.
    fn turn(&self, moment: Moment) -> Option<Moment> {
        let due = (moment.step + 1).is_multiple_of(self.every);
        due.then(|| Moment { step: moment.step / self.every, steps: moment.steps / self.every, ..moment })
    }

    fn at(&mut self, epoch: u64) -> Option<&mut Fed> {
        self.steps.iter_mut().rev().find(|(first, _)| *first <= epoch).map(|(_, step)| step)
    }
}

/// What an evaluation gives, by name.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// Sums of loss and weight of each objective.
    pub sums: Vec<[String; 2]>,
    pub predictions: Vec<String>,
    /// All rows are one batch, because something looks across it.
    pub at_once: bool,
}

impl Outcomes {
    pub fn of(programs: &Programs) -> Outcomes {
        let sums: Vec<[String; 2]> = programs
            .objectives
            .iter()
            .map(|objective| match &*objective.name {
                "" => ["loss_sum", "per_sum"].map(str::to_string),
                step => ["loss_sum", "per_sum"].map(|name| format!("{step}.{name}")),
            })
            .collect();
        let names = programs.eval.outputs.iter().map(|(name, _)| name.to_string());
        let predictions = names.filter(|name| !sums.iter().flatten().any(|sum| sum == name)).collect();
        Outcomes { sums, predictions, at_once: programs.eval_at_once }
    }
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
        let mut objectives = Vec::new();
        for (written, made) in prepared.train.objectives.iter().zip(&prepared.programs.objectives) {
            let mut steps = Vec::new();
            for (first, step) in made.steps.iter().filter(|_| with_step) {
                steps.push((*first, Fed::new(step, real, prepared)?));
            }
            objectives.push(Objective { every: written.every.max(1) as u64, steps, gradient: made.gradient.clone() });
        }
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
            objectives,
            eval,
            data: Arc::new(prepared.data.clone()),
            batch: prepared.train.batch.max(1) as usize,
            seed,
            weights,
            lengths: prepared.lengths.clone(),
            outputs: Outcomes::of(&prepared.programs),
            real,
        })
    }
}

impl CpuMachine {
    fn first_step(&self) -> Option<&Fed> {
        self.objectives.iter().flat_map(|objective| &objective.steps).map(|(_, step)| step).next()
    }

    /// The plan of the first training step.
    pub fn step_plan(&self) -> Option<Arc<Plan>> {
        self.first_step().map(|step| step.program.plan().clone())
    }

    /// Bytes that parameters, state, and the tensors of a step and of evaluation take at this batch size.
    pub fn predicted_bytes(&self, batch: usize) -> usize {
        let size = |name: &str| (name == bdl_equations::BATCH).then_some(batch as i64);
        let fed = self.first_step().unwrap_or(&self.eval);
        self.store.bytes() + bdl_execute::peak_bytes(fed.program.plan(), &size).unwrap_or(0)
    }

    /// Measures the launches of the first training step from now on.
    pub fn set_profile(&mut self, on: bool) {
        if let Some((_, step)) = self.objectives.iter_mut().flat_map(|objective| &mut objective.steps).next() {
            step.program.set_profile(on);
        }
    }

    /// Summed time of each launch since.
    pub fn profile(&self) -> Option<Vec<Duration>> {
        self.first_step()?.program.profile().map(<[Duration]>::to_vec)
    }
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
    fn step(&mut self, rows: &[u32], moment: Moment) -> RunResult<Vec<Sums>> {
        let mut all = Vec::new();
        for objective in &mut self.objectives {
            let Some(moment) = objective.turn(moment) else {
                all.push(Sums::default());
                continue;
            };
            let Some(step) = objective.at(moment.epoch) else {
                return Err(RunError::new(
                    "bug",
                    "this is a bug in bdl: a program without an optimiser was asked to train",
                ));
            };
            let outputs = step.run(&self.executor, &mut self.store, &self.data, rows, moment)?;
            all.push(sums(&outputs, "loss_sum", "per_sum"));
        }
        Ok(all)
    }

    fn evaluate(&mut self, rows: &[u32]) -> RunResult<Evaluation> {
        let data = self.data.clone();
        evaluate(&mut self.eval, &self.executor, &mut self.store, &data, rows, self.batch, self.seed, &self.outputs)
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
        for objective in &self.objectives {
            let Some(moment) = objective.turn(moment) else { continue };
            let program = observed(&objective.gradient);
            let compiled = crate::pipeline::compile(&program, self.real).ok()?;
            let mut fed = Fed::of(compiled, &self.data, &self.lengths).ok()?;
            let outputs = fed.run(&self.executor, &mut self.store, &self.data, rows, moment).ok()?;
            let found = program.outputs.iter().find_map(|(name, id)| {
                let values = outputs.numbers(name)?;
                let bad = values.iter().find(|value| !value.is_finite())?;
                Some(format!("`{}`, which holds {bad}{}", name, place(&program, *id)))
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

fn sums(outputs: &Outputs<'_>, loss: &str, per: &str) -> Sums {
    Sums { loss: outputs.number(loss).unwrap_or(f64::NAN), per: outputs.number(per).unwrap_or(f64::NAN) }
}

/// Losses and predictions of rows, batch by batch, in order.
pub fn evaluate(
    fed: &mut Fed,
    executor: &Executor,
    store: &mut Store,
    data: &Encoded,
    rows: &[u32],
    batch: usize,
    seed: u64,
    wanted: &Outcomes,
) -> RunResult<Evaluation> {
    let mut evaluation = Evaluation {
        sums: vec![Sums::default(); wanted.sums.len()],
        predictions: wanted
            .predictions
            .iter()
            .map(|name| PredictionValues { name: name.clone(), width: None, offsets: vec![0], values: Vec::new() })
            .collect(),
    };
    let at_once = if wanted.at_once { rows.len().max(1) } else { batch.max(EVALUATED_AT_ONCE) };
    for (at, rows) in rows.chunks(at_once).enumerate() {
        let moment = Moment { seed, first: (at * at_once) as u64, ..Moment::default() };
        let outputs = fed.run(executor, store, data, rows, moment)?;
        for (all, [loss, per]) in evaluation.sums.iter_mut().zip(&wanted.sums) {
            let part = sums(&outputs, loss, per);
            all.loss += part.loss;
            all.per += part.per;
        }
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
