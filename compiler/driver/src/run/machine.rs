//! The compiled programs of a `train` block over one store of parameters: what the training loop drives.

use super::engine::{Engine, Found};
use super::fed::Fed;
pub use super::fed::memory as memory_error;
use super::fed::{memory, memory_of_parameters};
use super::prepared::Prepared;
use crate::error::Failure;
use crate::memory::PROCESS_BYTES;
use crate::pipeline::{self, Compiled};
use bdl_check::hir::{Hir, Train};
use bdl_data::{Encoded, Parts};
use bdl_dims::Dim;
use bdl_elaborate::{Programs, Since};
use bdl_equations::convolution::Convolutions;
use bdl_equations::{Expr, Node, Program, Role, Tensor, TensorId};
use bdl_execute::{Executor, Inputs, Simulated, Store};
use bdl_plan::{DType, Name, Place, Plan, Products};
use bdl_schedule::Real;
use bdl_train::{Array, Evaluation, Machine, Moment, PredictionValues, RunError, RunResult, Sums, Values};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows that are evaluated at once, at least.
const EVALUATED_AT_ONCE: usize = 64;

/// Parameters, programs, and where they run.
pub struct ModelMachine {
    pub engine: Engine,
    /// As [`Machine::everything`] last brought it up to date, where a GPU runs the programs.
    pub store: Store,
    objectives: Vec<Objective>,
    /// What a trace of values that are not finite is made from.
    written: (Arc<Hir>, Train),
    pub eval: Fed,
    data: Arc<Encoded>,
    batch: usize,
    parts: usize,
    seed: u64,
    /// Names that prediction needs.
    weights: HashSet<String>,
    /// Parameters whose moving average is what is evaluated and kept.
    averaged: Vec<String>,
    lengths: crate::data::facts::Lengths,
    outputs: Outcomes,
    real: Real,
    /// What drawing the first values took.
    first_values: Duration,
}

/// The compiled steps of one objective.
struct Objective {
    /// It runs on every so many batches.
    every: u64,
    /// By the time from which each holds.
    steps: Vec<(Since, Step)>,
}

struct Step {
    /// What each part of a batch runs, where it is computed in parts.
    accumulate: Option<Fed>,
    step: Fed,
}

impl Step {
    fn main(&self) -> &Fed {
        self.accumulate.as_ref().unwrap_or(&self.step)
    }
}

impl Objective {
    /// The objective's own count of steps, if it runs on this batch.
    fn turn(&self, moment: Moment) -> Option<Moment> {
        let due = (moment.step + 1).is_multiple_of(self.every);
        due.then(|| Moment { step: moment.step / self.every, steps: moment.steps / self.every, ..moment })
    }

    fn at(&mut self, moment: Moment) -> Option<&mut Step> {
        let reached = |since: &Since| since.epoch <= moment.epoch && since.step <= moment.step;
        self.steps.iter_mut().rev().find(|(since, _)| reached(since)).map(|(_, step)| step)
    }
}

/// The sums over the rows of an objective's loss and of what each row counts, as a step gives them.
pub const SUMS: [&str; 2] = ["loss_sum", "per_sum"];

/// What an evaluation gives, by name.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// Sums of loss and weight of each objective.
    pub sums: Vec<[String; 2]>,
    pub predictions: Vec<Predicted>,
    /// All rows are one batch, because something looks across it.
    pub at_once: bool,
}

/// A prediction: its name and the sizes of an example's, `None` where all examples have the same one.
#[derive(Clone, Debug)]
pub struct Predicted {
    pub name: String,
    pub each: Option<Vec<Dim>>,
}

/// The outputs of a batched program as predictions.
pub fn predicted(program: &Program) -> Vec<Predicted> {
    let of_batch = |size: &Dim| size.as_var().is_some_and(|name| &**name == bdl_equations::BATCH);
    let outputs = program.outputs.iter().map(|(name, id)| {
        let shape = &program.tensors[id.0 as usize].shape;
        let each = shape.split_first().filter(|(first, _)| of_batch(first)).map(|(_, rest)| rest.to_vec());
        Predicted { name: name.to_string(), each }
    });
    outputs.collect()
}

impl Outcomes {
    pub fn of(programs: &Programs) -> Outcomes {
        let sums: Vec<[String; 2]> = programs
            .objectives
            .iter()
            .map(|objective| match &*objective.name {
                "" => SUMS.map(str::to_string),
                step => SUMS.map(|name| format!("{step}.{name}")),
            })
            .collect();
        let mut predictions = predicted(&programs.eval);
        predictions.retain(|made| !sums.iter().flatten().any(|sum| *sum == made.name));
        Outcomes { sums, predictions, at_once: programs.eval_at_once }
    }
}

impl ModelMachine {
    /// Compiles step and evaluation, and gives parameters and state their first values.
    pub fn new(
        prepared: &Prepared,
        real: Real,
        mut engine: Engine,
        seed: u64,
        with_step: bool,
    ) -> Result<ModelMachine, Failure> {
        engine.expect_batch(prepared.train.batch);
        let mut store = Store::new();
        let made = &prepared.programs;
        let init = as_updates(&made.init);
        let steps = made.objectives.iter().flat_map(|objective| &objective.steps).filter(|_| with_step);
        let of_steps = steps.flat_map(|(_, step)| step.accumulate.iter().chain([&step.step]));
        let programs: Vec<&Program> = [&init, &made.eval].into_iter().chain(of_steps).collect();
        let mut compiled = engine.compile_all(&programs, real)?.into_iter();
        bdl_kernels::machine::large_pages();
        let mut next = || compiled.next().ok_or_else(|| Failure::bug("a program was not compiled"));
        let first_values = match &engine {
            Engine::Processor(executor, _) => fill(&made.init, next()?.compiled()?, real, executor, &mut store, seed)?,
            // Drawn on the processor, to the same bits.
            Engine::Gpu(_) => fill(&made.init, next()?.compiled()?, real, &Executor::new(0), &mut store, seed)?,
        };
        let mut fed = || Fed::of(engine.ready(next()?, real)?, &prepared.data, &prepared.lengths);
        let eval = fed()?;
        let mut objectives = Vec::new();
        for (written, made) in prepared.train.objectives.iter().zip(&made.objectives) {
            let mut steps = Vec::new();
            for (first, step) in made.steps.iter().filter(|_| with_step) {
                let accumulate = step.accumulate.as_ref().map(|_| fed()).transpose()?;
                steps.push((*first, Step { accumulate, step: fed()? }));
            }
            objectives.push(Objective { every: written.every.max(1) as u64, steps });
        }
        let shared = |fed: &Fed| {
            let buffers = fed.program.plan().buffers.iter();
            let names = buffers
                .filter(|buffer| matches!(buffer.place, Place::Param | Place::State))
                .map(|b| b.name.to_string());
            names.collect::<HashSet<_>>()
        };
        let weights = shared(&eval);
        let averaged =
            store.iter().filter_map(|entry| entry.name.strip_prefix("average.").map(str::to_string)).collect();
        let mut machine = ModelMachine {
            engine,
            store,
            objectives,
            written: (prepared.hir.clone(), prepared.train.clone()),
            eval,
            data: Arc::new(prepared.data.clone()),
            batch: prepared.train.batch.max(1) as usize,
            parts: prepared.train.parts.max(1) as usize,
            seed,
            weights,
            averaged,
            lengths: prepared.lengths.clone(),
            outputs: Outcomes::of(&prepared.programs),
            real,
            first_values,
        };
        machine.require_memory(prepared)?;
        Ok(machine)
    }
}

impl ModelMachine {
    /// The part of making this machine that was not compiling: drawing the first values of parameters and state.
    pub fn time_of_first_values(&self) -> Duration {
        self.first_values
    }

    fn first_step(&self) -> Option<&Fed> {
        self.objectives.iter().flat_map(|objective| &objective.steps).map(|(_, step)| step.main()).next()
    }

    /// Averages take the places of their parameters, and the other way round.
    fn swap_averages(&mut self) {
        for path in &self.averaged {
            self.engine.swap(&mut self.store, path, &format!("average.{path}"));
        }
    }

    /// Iterations of all programs that stopped at their bound, since this was last asked.
    pub fn take_unfinished(&mut self) -> Vec<(bdl_plan::Origin, usize)> {
        let steps = self.objectives.iter_mut().flat_map(|objective| &mut objective.steps);
        let feds = steps.flat_map(|(_, step)| step.accumulate.iter_mut().chain([&mut step.step]));
        feds.chain([&mut self.eval]).flat_map(|fed| fed.program.take_unfinished()).collect()
    }

    /// What a simulated team would have taken since the last call.
    pub fn simulated(&self) -> Option<Simulated> {
        match &self.engine {
            Engine::Processor(executor, _) => executor.simulated(),
            Engine::Gpu(_) => None,
        }
    }

    /// The plan of the first training step.
    pub fn step_plan(&self) -> Option<Arc<Plan>> {
        self.first_step().map(|step| step.program.plan().clone())
    }

    /// The sizes of an average training step at this batch size.
    pub fn usual_sizes(&self, batch: usize) -> BTreeMap<Name, i64> {
        self.first_step().unwrap_or(&self.eval).usual_sizes(batch)
    }

    /// Bytes that the process takes when it trains at this batch size, on the longest examples: parameters, state and the tensors of a step; the data; the batch and the copies
    /// that a step works with, once it was run; and the process itself.
    pub fn predicted_bytes(&self, batch: usize) -> usize {
        let fed = self.first_step().unwrap_or(&self.eval);
        self.store.bytes() + fed.tensor_bytes(batch) + self.data.bytes() + fed.copied_bytes() + PROCESS_BYTES
    }

    /// The store with the values of now, wherever they are computed.
    pub fn values(&mut self) -> RunResult<&Store> {
        self.engine.fetch(&mut self.store).map_err(memory)?;
        Ok(&self.store)
    }

    /// A number that was found outside of the programs takes its place in the state, if the model has it.
    pub fn set(&mut self, name: &str, values: &[f64]) -> RunResult<()> {
        if self.store.entry(name).is_none() {
            return Ok(());
        }
        self.engine.fetch(&mut self.store).map_err(memory)?;
        self.store.set(name, values).map_err(memory)?;
        self.engine.put(&self.store).map_err(memory)
    }

    /// Bytes on a GPU that training (or evaluation alone) takes at this size of a batch, everything counted.
    fn gpu_bytes(&mut self, parts: &Parts, batch: usize) -> RunResult<usize> {
        let evaluated: Vec<u32> = parts.named().into_iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
        let largest = parts.named().into_iter().map(|(_, rows)| rows.len()).max().unwrap_or(0);
        let at_once = if self.outputs.at_once { largest } else { batch.max(EVALUATED_AT_ONCE) };
        let part = batch.div_ceil(self.parts).max(1);
        let mut shared: BTreeMap<Name, usize> = BTreeMap::new();
        let mut total = 0;
        let steps = self.objectives.iter_mut().flat_map(|objective| &mut objective.steps);
        let mut add = |fed: &mut Fed, rows: &[u32], count: usize| -> RunResult<()> {
            let rows = fed.longest(rows, count);
            let need = fed.need(&rows)?;
            total += need.own;
            shared.extend(need.shared);
            Ok(())
        };
        for (_, step) in steps {
            match &mut step.accumulate {
                Some(accumulate) => {
                    add(accumulate, &parts.train, part)?;
                    add(&mut step.step, &[], 0)?;
                }
                None => add(&mut step.step, &parts.train, batch)?,
            }
        }
        add(&mut self.eval, &evaluated, at_once)?;
        Ok(total + shared.values().sum::<usize>())
    }

    /// Refuses what a GPU's memory cannot hold before anything is computed.
    ///
    /// Errors: `out-of-memory`.
    fn require_memory(&mut self, prepared: &Prepared) -> Result<(), Failure> {
        let Some((free, all)) = self.engine.gpu_memory() else { return Ok(()) };
        let need = self.gpu_bytes(&prepared.trained, self.batch)?;
        if need <= free {
            return Ok(());
        }
        // The largest batch that fits, by halves.
        let (mut fits, mut not) = (0, self.batch);
        while not - fits > 1 {
            let middle = fits + (not - fits) / 2;
            if self.gpu_bytes(&prepared.trained, middle)? <= free { fits = middle } else { not = middle }
        }
        let shown = |bytes: usize| crate::show::number::bytes(bytes as f64);
        let message =
            format!("this needs {} on the GPU, where {} of {} are free", shown(need), shown(free), shown(all));
        Err(Failure::user("out-of-memory", message).help(match fits {
            0 => "not even one example at a time fits: take a smaller model, or `--device cpu`".to_string(),
            fits => {
                format!("`batch {fits}` fits; `batch {} in .. parts` computes a large batch piece by piece", self.batch)
            }
        }))
    }

    /// Measures the launches of the first training step from now on.
    pub fn set_profile(&mut self, on: bool) {
        if let Some((_, step)) = self.objectives.iter_mut().flat_map(|objective| &mut objective.steps).next() {
            step.accumulate.as_mut().unwrap_or(&mut step.step).program.set_profile(on);
        }
    }

    /// Floating-point operations of the last step in each of its contractions.
    pub fn flop(&self) -> Vec<u64> {
        self.first_step().map(|step| step.program.flop().to_vec()).unwrap_or_default()
    }

    /// Summed time of each launch since.
    pub fn profile(&self) -> Option<Vec<Duration>> {
        self.first_step()?.program.profile().map(<[Duration]>::to_vec)
    }
}

/// Runs `init`, whose outputs are the first values of what the store holds. Gives the time of the run itself.
pub fn initialise(
    init: &Program,
    real: Real,
    executor: &Executor,
    store: &mut Store,
    seed: u64,
) -> Result<Duration, Failure> {
    fill(init, pipeline::compile(&as_updates(init), real)?, real, executor, store, seed)
}

/// As [`initialise`], by the code of what [`as_updates`] gives.
fn fill(
    init: &Program,
    compiled: Compiled,
    real: Real,
    executor: &Executor,
    store: &mut Store,
    seed: u64,
) -> Result<Duration, Failure> {
    let mut program = pipeline::program(compiled, Products::Exact)?;
    let begun = Instant::now();
    for (name, id) in &init.outputs {
        let shape = init.get(*id).shape.iter().map(|size| size.as_const().unwrap_or(1)).collect();
        let dtype = real.stored(init.get(*id).dtype);
        store.insert(name, dtype, shape).map_err(|error| Failure::from(memory_of_parameters(error)))?;
    }
    let given = Inputs { seed, ..Inputs::default() };
    program.run(executor, store, &given).map_err(|error| Failure::from(memory_of_parameters(error)))?;
    Ok(begun.elapsed())
}

/// The program with its outputs as updates of state of that name: the schedule then writes them where they stay, and a large layer's values
/// are not held twice. What is zero is left out, because a fresh store is.
fn as_updates(init: &Program) -> Program {
    let mut program = init.clone();
    for (name, value) in std::mem::take(&mut program.outputs) {
        if is_zero(init, value) {
            continue;
        }
        for tensor in program.tensors.iter_mut().filter(|tensor| tensor.name == name) {
            tensor.name = format!("{name}.first").into();
        }
        let state = TensorId(program.tensors.len() as u32);
        program.tensors.push(Tensor { name, role: Role::State, ..program.get(value).clone() });
        program.updates.push((state, value));
    }
    program
}

/// Is the tensor made of zeros? The moments of an optimiser are, and may be most of the memory.
fn is_zero(program: &Program, tensor: TensorId) -> bool {
    program.nodes.iter().any(|node| {
        matches!(node, Node::Equation(equation) if equation.out == tensor
            && equation.pieces.iter().all(|piece| piece.indices.len() == piece.free && piece.body == Expr::Const(0.0)))
    })
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

impl Machine for ModelMachine {
    fn step(&mut self, rows: &[u32], moment: Moment) -> RunResult<Vec<Sums>> {
        let mut all = Vec::new();
        for objective in &mut self.objectives {
            let of_run = moment;
            let Some(moment) = objective.turn(of_run) else {
                all.push(Sums::default());
                continue;
            };
            let Some(step) = objective.at(of_run) else {
                return Err(RunError::new(
                    "bug",
                    "this is a bug in bdl: a program without an optimiser was asked to train",
                ));
            };
            let Some(accumulate) = &mut step.accumulate else {
                let outputs = step.step.run(&mut self.engine, &mut self.store, &self.data, rows, moment)?;
                all.push(sums(&outputs, "loss_sum", "per_sum"));
                continue;
            };
            let mut whole = Sums::default();
            let part = rows.len().div_ceil(self.parts).max(1);
            for (at, rows) in rows.chunks(part).enumerate() {
                // Draws belong to an example's position in the epoch, so they are those of the undivided batch.
                let moment = Moment { first: moment.first + (at * part) as u64, ..moment };
                let outputs = accumulate.run(&mut self.engine, &mut self.store, &self.data, rows, moment)?;
                let sums = sums(&outputs, "loss_sum", "per_sum");
                whole.loss += sums.loss;
                whole.per += sums.per;
            }
            step.step.run(&mut self.engine, &mut self.store, &self.data, &[], moment)?;
            all.push(whole);
        }
        Ok(all)
    }

    fn evaluate(&mut self, rows: &[u32]) -> RunResult<Evaluation> {
        let data = self.data.clone();
        self.swap_averages();
        let outputs = &self.outputs;
        let (batch, seed) = (self.batch, self.seed);
        let found = evaluate(&mut self.eval, &mut self.engine, &mut self.store, &data, rows, batch, seed, outputs);
        self.swap_averages();
        found
    }

    fn everything(&mut self) -> RunResult<Vec<Array>> {
        self.engine.fetch(&mut self.store).map_err(memory)?;
        // The sums over the parts of a batch are zero between steps.
        Ok(arrays(&self.store, |name| !name.starts_with("accumulated.")))
    }

    fn weights(&mut self) -> RunResult<Vec<Array>> {
        self.engine.fetch(&mut self.store).map_err(memory)?;
        let averaged = |name: &str| self.averaged.iter().any(|known| known == name);
        let mut all = arrays(&self.store, |name| self.weights.contains(name) && !averaged(name));
        for mut average in arrays(&self.store, |name| name.strip_prefix("average.").is_some_and(averaged)) {
            average.name = average.name.replacen("average.", "", 1);
            all.push(average);
        }
        Ok(all)
    }

    fn restore(&mut self, arrays: &[Array]) -> RunResult<()> {
        self.engine.fetch(&mut self.store).map_err(memory)?;
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
        // Weights without their averages are averages: those that were kept, or first values from elsewhere.
        for path in &self.averaged {
            let average = format!("average.{path}");
            if let Some(array) = arrays.iter().find(|array| array.name == *path)
                && !arrays.iter().any(|array| array.name == average)
            {
                self.store.set(&average, &array.values.to_f64()).map_err(memory)?;
            }
        }
        self.engine.put(&self.store).map_err(memory)
    }

    fn first_not_finite(&mut self, rows: &[u32], moment: Moment) -> Option<String> {
        let (hir, train) = &self.written;
        // What is named is what was written.
        let gradients = bdl_elaborate::gradients(hir, train, Convolutions::AsWritten).ok()?;
        for (objective, gradient) in self.objectives.iter().zip(&gradients) {
            let Some(moment) = objective.turn(moment) else { continue };
            let program = observed(gradient);
            let compiled = self.engine.compile(&program, self.real).ok()?;
            let mut fed = Fed::of(compiled, &self.data, &self.lengths).ok()?;
            let outputs = fed.run(&mut self.engine, &mut self.store, &self.data, rows, moment).ok()?;
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

fn sums(outputs: &Found<'_>, loss: &str, per: &str) -> Sums {
    Sums { loss: outputs.number(loss).unwrap_or(f64::NAN), per: outputs.number(per).unwrap_or(f64::NAN) }
}

/// Losses and predictions of rows, batch by batch, in order.
pub fn evaluate(
    fed: &mut Fed,
    engine: &mut Engine,
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
            .map(|made| PredictionValues {
                name: made.name.clone(),
                width: None,
                offsets: vec![0],
                values: Vec::new(),
                known: None,
            })
            .collect(),
    };
    let at_once = if wanted.at_once { rows.len().max(1) } else { batch.max(EVALUATED_AT_ONCE) };
    for (at, rows) in rows.chunks(at_once).enumerate() {
        let moment = Moment { seed, first: (at * at_once) as u64, ..Moment::default() };
        let shapes: Vec<_> =
            wanted.predictions.iter().map(|made| (fed.shapes(made, rows), fed.packed_order(made))).collect();
        let outputs = fed.run(engine, store, data, rows, moment)?;
        for (all, [loss, per]) in evaluation.sums.iter_mut().zip(&wanted.sums) {
            let part = sums(&outputs, loss, per);
            all.loss += part.loss;
            all.per += part.per;
        }
        for (made, (shapes, order)) in evaluation.predictions.iter_mut().zip(shapes) {
            let values = outputs.numbers(&made.name).unwrap_or_default();
            match shapes {
                // The same for all examples: each has it.
                None => {
                    for _ in rows {
                        made.values.extend(&values);
                        made.offsets.push(made.values.len());
                    }
                }
                Some(shapes) => {
                    let mut rest = values.as_slice();
                    for shape in shapes {
                        let (own, others) = rest.split_at(shape.iter().product::<usize>().min(rest.len()));
                        match &order {
                            Some(order) => made.values.extend(order.unpack(own, &shape)),
                            None => made.values.extend(own),
                        }
                        made.offsets.push(made.values.len());
                        rest = others;
                    }
                }
            }
        }
    }
    for (made, wanted) in evaluation.predictions.iter_mut().zip(&wanted.predictions) {
        made.width = match &wanted.each {
            // By type, not by the sizes that these rows happen to have.
            Some(each) => each.iter().map(|size| size.as_const().map(|size| size.max(0) as usize)).product(),
            None => made.offsets.get(1).copied(),
        };
    }
    join_known(&mut evaluation.predictions);
    Ok(evaluation)
}

/// What may be missing comes as two outputs, `q` and `q.known`: they are one prediction.
fn join_known(predictions: &mut Vec<PredictionValues>) {
    let of_others: Vec<PredictionValues> = predictions.extract_if(.., |made| made.name.ends_with(".known")).collect();
    for known in of_others {
        let there = known.values.iter().map(|value| *value != 0.0).collect();
        match predictions.iter_mut().find(|made| known.name == format!("{}.known", made.name)) {
            Some(made) if made.values.len() == known.values.len() => made.known = Some(there),
            Some(_) | None => predictions.push(known),
        }
    }
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
