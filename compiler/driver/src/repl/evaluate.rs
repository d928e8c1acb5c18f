//! One expression computed: equations, plan, machine code, one run.

use super::session::path_of;
use crate::error::{Failure, What};
use crate::interrupt;
use crate::pipeline::{self, Checked};
use crate::run::fed::memory_of_parameters;
use crate::run::machine::{arrays, initialise};
use crate::show::value::{Shown, inside};
use bdl_check::hir::{Entry, Type};
use bdl_equations::Program;
use bdl_execute::{Data, Executor, Inputs, Store};
use bdl_plan::{Place, Products};
use bdl_schedule::Real;
use bdl_train::Array;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A checked expression as code.
pub struct Made {
    ty: Type,
    /// Names of outputs of the equations, by path in the value.
    outputs: Vec<(String, String)>,
    init: Program,
    compiled: pipeline::Compiled,
    real: Real,
    products: Products,
}

/// How long things took.
pub struct Times {
    pub check: Duration,
    pub compile: Duration,
    /// Each run.
    pub runs: Vec<Duration>,
}

/// The equations of an entry for one example.
pub fn equations(checked: &Checked, entry: &Entry) -> Result<Program, Failure> {
    bdl_elaborate::entry(&checked.hir, entry, false)
        .map_err(|diagnostic| Failure::program(&[diagnostic], &checked.source.sources, false))
}

/// The type of what the entry gives.
pub fn type_of(checked: &Checked, entry: &Entry) -> Result<Type, Failure> {
    let function = checked.hir.functions.get(entry.function.0 as usize);
    function.map(|function| function.body.ty.clone()).ok_or_else(|| Failure::bug("an entry without function"))
}

pub fn compiled(checked: &Checked, entry: &Entry, real: Real, products: Products) -> Result<Made, Failure> {
    let ty = type_of(checked, entry)?;
    let program = bdl_equations::batch(&equations(checked, entry)?);
    let init = bdl_elaborate::entry_init(&checked.hir, entry)
        .map_err(|diagnostic| Failure::program(&[diagnostic], &checked.source.sources, false))?;
    let path = |name: &str| match &ty {
        // What is no record is called `y`.
        Type::Tensor(_) => name.strip_prefix('y').unwrap_or(name).trim_start_matches('.').to_string(),
        Type::Record(_) | Type::Error => name.to_string(),
    };
    let outputs = program.outputs.iter().map(|(name, _)| (path(name), name.to_string())).collect();
    Ok(Made { ty, outputs, init, compiled: pipeline::compile(&program, real)?, real, products })
}

/// Threads and the count of runs, which random numbers depend on.
pub struct Machine {
    executor: Executor,
    seed: u64,
    runs: u64,
}

impl Machine {
    pub fn new(threads: usize, seed: u64) -> Machine {
        let mut executor = Executor::new(threads);
        executor.interrupt_by(&interrupt::INTERRUPTED);
        Machine { executor, seed, runs: 0 }
    }

    /// Runs once. `weights` keeps the parameters from run to run.
    pub fn run(
        &mut self,
        made: &Made,
        weights: &mut Vec<Array>,
        values: &BTreeMap<String, Shown>,
    ) -> Result<Shown, Failure> {
        self.runs += 1;
        let mut store = self.store(made, weights)?;
        let mut program = made.program()?;
        let given = self.inputs(made, values);
        let outputs = program.run(&self.executor, &mut store, &given).map_err(failure)?;
        let parts = made.outputs.iter().map(|(path, name)| (path.clone(), outputs.numbers(name).unwrap_or_default()));
        let shown = Shown { ty: made.ty.clone(), parts: parts.collect() };
        for array in arrays(&store, |_| true) {
            weights.retain(|known| known.name != array.name);
            weights.push(array);
        }
        Ok(shown)
    }

    /// Runs until half a second has passed, at least three times.
    pub fn time(
        &mut self,
        made: &Made,
        weights: &mut [Array],
        values: &BTreeMap<String, Shown>,
    ) -> Result<Vec<Duration>, Failure> {
        let mut store = self.store(made, weights)?;
        let mut program = made.program()?;
        let given = self.inputs(made, values);
        let begun = Instant::now();
        let mut times = Vec::new();
        while times.len() < 3 || begun.elapsed() < Duration::from_millis(500) && times.len() < 100_000 {
            let start = Instant::now();
            program.run(&self.executor, &mut store, &given).map_err(failure)?;
            times.push(start.elapsed());
        }
        Ok(times)
    }

    fn store(&self, made: &Made, weights: &[Array]) -> Result<Store, Failure> {
        let mut store = Store::new();
        if made.init.outputs.is_empty() {
            return Ok(store);
        }
        initialise(&made.init, made.real, &self.executor, &mut store, self.seed)?;
        for array in arrays(&store, |_| true) {
            let Some(known) = weights.iter().find(|known| known.name == array.name) else { continue };
            if known.shape != array.shape {
                let instance = array.name.split('.').next().unwrap_or(&array.name);
                return Err(Failure::user(
                    "dim-mismatch",
                    format!("`{}` is {:?} already, and {:?} is needed here", array.name, known.shape, array.shape),
                )
                .help(format!("the sizes of `{instance}` stay what its first use made them; `let` makes a new one")));
            }
            store
                .set(&array.name, &known.values.to_f64())
                .map_err(|error| Failure::from(memory_of_parameters(error)))?;
        }
        Ok(store)
    }

    fn inputs<'v>(&self, made: &'v Made, values: &'v BTreeMap<String, Shown>) -> Inputs<'v> {
        let mut buffers: Vec<(&str, Data<'v>)> = Vec::new();
        for buffer in &made.compiled.plan.buffers {
            let Place::Input { .. } = buffer.place else { continue };
            let found = values.iter().find_map(|(name, value)| {
                let part = value.parts.iter().find(|(part, _)| *path_of(name, part) == *buffer.name)?;
                Some(Data::F64(part.1.as_slice()))
            });
            match (found, &*buffer.name) {
                (Some(data), name) => buffers.push((name, data)),
                // Outside of training nothing has been done and nothing will be.
                (None, name @ ("step" | "epoch")) => buffers.push((name, Data::F64(&[0.0]))),
                (None, name @ ("steps" | "epochs")) => buffers.push((name, Data::F64(&[1.0]))),
                (None, _) => {}
            }
        }
        Inputs { batch: 1, buffers, seed: self.seed, step: self.runs, ..Inputs::default() }
    }
}

impl Made {
    fn program(&self) -> Result<bdl_execute::Program, Failure> {
        let plan = Arc::new(self.compiled.plan.clone());
        bdl_execute::Program::with(plan, self.compiled.code.kernels(), self.products)
            .map_err(|error| Failure::bug(error.to_string()))
    }
}

fn failure(error: bdl_execute::Error) -> Failure {
    match error {
        bdl_execute::Error::Interrupted => Failure { what: What::Interrupted("interrupted".into()) },
        bdl_execute::Error::Memory { bytes } => {
            let needed = crate::show::number::bytes(bytes as f64);
            Failure::user("out-of-memory", format!("this needs {needed} more than there are"))
        }
        bdl_execute::Error::Plan(_)
        | bdl_execute::Error::Missing { .. }
        | bdl_execute::Error::Length { .. }
        | bdl_execute::Error::Type { .. }
        | bdl_execute::Error::Key { .. }
        | bdl_execute::Error::Device(_) => Failure::bug(error.to_string()),
    }
}

/// Fields of one row of a data set, by name.
pub fn row_values(
    dataset: &bdl_data::Dataset,
    facts: &bdl_check::hir::DataFacts,
    lengths: &crate::data::facts::Lengths,
    row: u32,
) -> Result<Vec<(String, Shown)>, Failure> {
    let all: Vec<u32> = (0..dataset.rows() as u32).collect();
    let encoded = dataset.encode(&dataset.fit(&all)?)?;
    let size = |name: &str| {
        let length = lengths.iter().find(|length| &*length.name == name)?;
        length.of_row.get(row as usize).map(|size| i64::from(*size))
    };
    let mut found = Vec::new();
    for field in &facts.fields {
        let Type::Tensor(tensor) = &field.ty else { continue };
        let encoded = encoded.field(&field.name)?;
        let mut tensor = tensor.clone();
        for axis in &mut tensor.shape {
            axis.size = axis.size.eval(&size).unwrap_or(0).into();
        }
        if let bdl_check::hir::Scalar::Index(below) = &mut tensor.scalar {
            *below = below.eval(&size).unwrap_or(0).into();
        }
        let count = encoded.size(&[row]);
        let values = match tensor.scalar {
            bdl_check::hir::Scalar::Bool => {
                let mut values = vec![0u8; count];
                encoded.fill_bool(&[row], &mut values);
                values.into_iter().map(f64::from).collect()
            }
            bdl_check::hir::Scalar::Category(_, _)
            | bdl_check::hir::Scalar::Letter(_, _)
            | bdl_check::hir::Scalar::Index(_)
            | bdl_check::hir::Scalar::I32 => {
                let mut values = vec![0i32; count];
                encoded.fill_i32(&[row], &mut values);
                values.into_iter().map(f64::from).collect()
            }
            bdl_check::hir::Scalar::F32
            | bdl_check::hir::Scalar::F64
            | bdl_check::hir::Scalar::BF16
            | bdl_check::hir::Scalar::Logit
            | bdl_check::hir::Scalar::Prob
            | bdl_check::hir::Scalar::Count => {
                let mut values = vec![0f64; count];
                encoded.fill_f64(&[row], &mut values);
                values
            }
        };
        let mut parts: Vec<(String, Vec<f64>)> = vec![(String::new(), values)];
        if tensor.optional {
            let mut known = vec![0u8; count];
            encoded.fill_known(&[row], &mut known);
            parts.push((inside("", "known"), known.into_iter().map(f64::from).collect()));
        }
        found.push((field.name.to_string(), Shown { ty: Type::Tensor(tensor), parts }));
    }
    Ok(found)
}
