//! A compiled program with the input buffers that batches are copied into.

use super::engine::{Engine, Found, Ready};
use super::machine::Predicted;
use super::prepared::Prepared;
use crate::data::facts::Length;
use crate::data::packed::PackedOrder;
use crate::error::Failure;
use bdl_data::Encoded;
use bdl_execute::device::Need;
use bdl_execute::{Data, Inputs, Store};
use bdl_plan::{DType, Name, Place, SizeKind};
use bdl_schedule::Real;
use bdl_train::{Moment, RunError, RunResult};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A program and its feeding. Buffers grow to the largest batch and stay.
pub struct Fed {
    pub program: Ready,
    inputs: Vec<FedInput>,
    lengths: Vec<FedLengths>,
    positions: Vec<i64>,
}

struct FedInput {
    name: Name,
    source: FedSource,
    dtype: DType,
    f32: Vec<f32>,
    f64: Vec<f64>,
    i32: Vec<i32>,
    bytes: Vec<u8>,
}

enum FedSource {
    Field(usize),
    /// Where an optional field is known.
    Known(usize),
    /// A number of the run, the same for all examples.
    Number(RunNumber),
}

#[derive(Clone, Copy)]
enum RunNumber {
    Step,
    Steps,
    Epoch,
    Epochs,
}

struct FedLengths {
    name: Name,
    of_row: Arc<Vec<u32>>,
    batch: Vec<i64>,
}

impl Fed {
    /// Compiles a program and finds where each of its inputs comes from.
    pub fn new(
        engine: &mut Engine,
        program: &bdl_equations::Program,
        real: Real,
        prepared: &Prepared,
    ) -> Result<Fed, Failure> {
        Fed::of(engine.compile(program, real)?, &prepared.data, &prepared.lengths)
    }

    pub fn of(program: Ready, data: &Encoded, lengths: &[Length]) -> Result<Fed, Failure> {
        let plan = program.plan().clone();
        let mut inputs = Vec::new();
        for buffer in &plan.buffers {
            let Place::Input { .. } = buffer.place else { continue };
            let number = match &*buffer.name {
                "step" => Some(RunNumber::Step),
                "steps" => Some(RunNumber::Steps),
                "epoch" => Some(RunNumber::Epoch),
                "epochs" => Some(RunNumber::Epochs),
                _ => None,
            };
            let field = |name: &str| data.fields().iter().position(|field| field.facts().name == *name);
            let known = buffer.name.strip_suffix(".known").and_then(field);
            let source = match (field(&buffer.name), known, number) {
                (Some(field), _, _) => FedSource::Field(field),
                (None, Some(field), _) => FedSource::Known(field),
                (None, None, Some(number)) => FedSource::Number(number),
                (None, None, None) => {
                    return Err(Failure::bug(format!("nothing gives the input `{}` its values", buffer.name)));
                }
            };
            inputs.push(FedInput {
                name: buffer.name.clone(),
                source,
                dtype: buffer.dtype,
                f32: Vec::new(),
                f64: Vec::new(),
                i32: Vec::new(),
                bytes: Vec::new(),
            });
        }
        let mut fed_lengths = Vec::new();
        for size in &plan.sizes {
            if size.kind != SizeKind::PerExample {
                continue;
            }
            let Some(Length { of_row, .. }) = lengths.iter().find(|length| length.name == size.name) else {
                return Err(Failure::bug(format!("nothing gives the size `{}` its values", size.name)));
            };
            fed_lengths.push(FedLengths { name: size.name.clone(), of_row: of_row.clone(), batch: Vec::new() });
        }
        Ok(Fed { program, inputs, lengths: fed_lengths, positions: Vec::new() })
    }

    /// The `count` rows of these that take most memory: the longest, where lengths differ.
    pub fn longest(&self, rows: &[u32], count: usize) -> Vec<u32> {
        let mut rows = rows.to_vec();
        let length = |row: &u32| self.lengths.iter().map(|of| u64::from(of.of_row[*row as usize])).sum::<u64>();
        rows.sort_by_key(|row| std::cmp::Reverse(length(row)));
        rows.truncate(count);
        rows
    }

    /// The plan's sizes for a batch of so many average rows, in one run of its loops' first step: for reports.
    pub fn usual_sizes(&self, batch: usize) -> BTreeMap<Name, i64> {
        let rows = self.lengths.first().map_or(0, |lengths| lengths.of_row.len()) as u32;
        self.sizes(&(0..rows).collect::<Vec<u32>>(), batch)
    }

    /// The same for the rows that take most memory.
    pub fn largest_sizes(&self, batch: usize) -> BTreeMap<Name, i64> {
        let rows = self.lengths.first().map_or(0, |lengths| lengths.of_row.len()) as u32;
        self.sizes(&self.longest(&(0..rows).collect::<Vec<u32>>(), batch), batch)
    }

    /// Sizes of a batch of so many rows, as long as these are on average.
    fn sizes(&self, rows: &[u32], batch: usize) -> BTreeMap<Name, i64> {
        let total = |dim: &bdl_dims::Dim| -> f64 {
            let of_row = |row: &u32| {
                let length = |name: &str| {
                    let lengths = self.lengths.iter().find(|lengths| *lengths.name == *name)?;
                    lengths.of_row.get(*row as usize).map(|length| i64::from(*length))
                };
                dim.eval(&length).unwrap_or(0) as f64
            };
            rows.iter().map(of_row).sum::<f64>() / rows.len().max(1) as f64
        };
        let mut sizes = BTreeMap::new();
        for size in &self.program.plan().sizes {
            let value = match &size.kind {
                SizeKind::Batch | SizeKind::Running => batch as i64,
                SizeKind::Step => 0,
                SizeKind::Total(dim) => (total(dim) * batch as f64).ceil() as i64,
                SizeKind::PerExample => total(&bdl_dims::Dim::var(size.name.clone())).ceil() as i64,
                SizeKind::Built => continue,
            };
            sizes.insert(size.name.clone(), value);
        }
        sizes
    }

    /// Bytes of the tensors of a run on the rows that take most memory.
    pub fn tensor_bytes(&self, batch: usize) -> usize {
        let sizes = self.largest_sizes(batch);
        bdl_execute::peak_bytes(self.program.plan(), &|name| sizes.get(name).copied()).unwrap_or(0)
    }

    /// What a run on these rows takes on a GPU; nothing on the processor.
    pub fn need(&mut self, rows: &[u32]) -> RunResult<Need> {
        let Ready::Gpu(program) = &mut self.program else { return Ok(Need::default()) };
        let mut lengths: Vec<(Name, Vec<i64>)> = Vec::new();
        for own in &self.lengths {
            lengths.push((own.name.clone(), rows.iter().map(|row| i64::from(own.of_row[*row as usize])).collect()));
        }
        let lengths = lengths.iter().map(|(name, of_rows)| (&**name, of_rows.as_slice())).collect();
        program.need(&Inputs { batch: rows.len(), lengths, ..Inputs::default() }).map_err(memory)
    }

    /// Bytes of the batch as the program reads it, and of the copies that the program works with, as of the last run.
    pub fn copied_bytes(&self) -> usize {
        let of = |input: &FedInput| {
            4 * (input.f32.capacity() + input.i32.capacity()) + 8 * input.f64.capacity() + input.bytes.capacity()
        };
        self.inputs.iter().map(of).sum::<usize>() + self.program.copied_bytes()
    }

    /// The shape of a prediction in each row; `None` where it is the same tensor for all.
    pub fn shapes(&self, made: &Predicted, rows: &[u32]) -> Option<Vec<Vec<usize>>> {
        let each = made.each.as_ref()?;
        let of_row = |row: &u32| {
            let length = |name: &str| {
                let lengths = self.lengths.iter().find(|lengths| *lengths.name == *name)?;
                lengths.of_row.get(*row as usize).map(|length| i64::from(*length))
            };
            each.iter().map(|size| size.eval(&length).unwrap_or(0).max(0) as usize).collect()
        };
        Some(rows.iter().map(of_row).collect())
    }

    /// The order in which a prediction lies in its buffer, if it is not row-major.
    pub fn packed_order(&self, made: &Predicted) -> Option<PackedOrder> {
        let is_own = |name: &str| self.lengths.iter().any(|lengths| &*lengths.name == name);
        PackedOrder::of(made.each.as_ref()?, is_own)
    }

    /// Runs the program on rows of the data.
    pub fn run<'r>(
        &'r mut self,
        engine: &mut Engine,
        store: &'r mut Store,
        data: &Encoded,
        rows: &[u32],
        moment: Moment,
    ) -> RunResult<Found<'r>> {
        for input in &mut self.inputs {
            input.fill(data, rows, moment);
        }
        for lengths in &mut self.lengths {
            lengths.batch.clear();
            lengths.batch.extend(rows.iter().map(|row| i64::from(lengths.of_row[*row as usize])));
        }
        self.positions.clear();
        self.positions.extend((0..rows.len() as i64).map(|at| moment.first as i64 + at));
        let given = Inputs {
            batch: rows.len(),
            lengths: self.lengths.iter().map(|lengths| (&*lengths.name, lengths.batch.as_slice())).collect(),
            sizes: Vec::new(),
            buffers: self.inputs.iter().map(|input| (&*input.name, input.data())).collect(),
            seed: moment.seed,
            step: moment.step,
            positions: Some(&self.positions),
        };
        self.program.run(engine, store, &given).map_err(memory)
    }
}

impl FedInput {
    fn fill(&mut self, data: &Encoded, rows: &[u32], moment: Moment) {
        let field = match self.source {
            FedSource::Field(at) => &data.fields()[at],
            FedSource::Known(at) => {
                let field = &data.fields()[at];
                self.bytes.resize(field.size(rows), 0);
                return field.fill_known(rows, &mut self.bytes);
            }
            FedSource::Number(number) => {
                let value = match number {
                    RunNumber::Step => moment.step,
                    RunNumber::Steps => moment.steps,
                    RunNumber::Epoch => moment.epoch,
                    RunNumber::Epochs => moment.epochs,
                } as f64;
                self.f32.clear();
                self.f32.push(value as f32);
                self.f64.clear();
                self.f64.push(value);
                self.i32.clear();
                self.i32.push(value as i32);
                return;
            }
        };
        let size = field.size(rows);
        match self.dtype {
            DType::F32 | DType::BF16 => {
                self.f32.resize(size, 0.0);
                field.fill_f32(rows, &mut self.f32);
            }
            DType::F64 => {
                self.f64.resize(size, 0.0);
                field.fill_f64(rows, &mut self.f64);
            }
            DType::I32 | DType::I64 => {
                self.i32.resize(size, 0);
                field.fill_i32(rows, &mut self.i32);
            }
            DType::Bool => {
                self.bytes.resize(size, 0);
                field.fill_bool(rows, &mut self.bytes);
            }
        }
    }

    fn data(&self) -> Data<'_> {
        match self.dtype {
            DType::F32 | DType::BF16 => Data::F32(&self.f32),
            DType::F64 => Data::F64(&self.f64),
            DType::I32 | DType::I64 => Data::I32(&self.i32),
            DType::Bool => Data::Bool(&self.bytes),
        }
    }
}

/// The executor's errors as the user's: only memory and what a GPU says are.
pub fn memory(error: bdl_execute::Error) -> RunError {
    match error {
        bdl_execute::Error::Memory { bytes } => {
            RunError::new("out-of-memory", format!("a batch needs {} MB more than there are", bytes >> 20))
                .help("take a smaller `batch`, or a smaller model")
        }
        bdl_execute::Error::Device(said) => RunError::new("device-failed", format!("the GPU failed: {said}")).help(
            "once it works again, run the same command again; without `--device cuda` bdl computes on the processor",
        ),
        error @ (bdl_execute::Error::Plan(_)
        | bdl_execute::Error::Missing { .. }
        | bdl_execute::Error::Length { .. }
        | bdl_execute::Error::Type { .. }
        | bdl_execute::Error::Key { .. }
        | bdl_execute::Error::Interrupted) => RunError::new("bug", format!("this is a bug in bdl: {error}")),
    }
}

/// As [`memory`], where the first values of parameters and state are made.
pub fn memory_of_parameters(error: bdl_execute::Error) -> RunError {
    match error {
        bdl_execute::Error::Memory { bytes } => {
            let shown = crate::show::number::bytes(bytes as f64);
            RunError::new(
                "out-of-memory",
                format!("the parameters need more memory than there is: no room for {shown}"),
            )
            .help("take a smaller model; `bdl check` prints what each layer takes")
        }
        error @ (bdl_execute::Error::Plan(_)
        | bdl_execute::Error::Missing { .. }
        | bdl_execute::Error::Length { .. }
        | bdl_execute::Error::Type { .. }
        | bdl_execute::Error::Device(_)
        | bdl_execute::Error::Key { .. }
        | bdl_execute::Error::Interrupted) => memory(error),
    }
}
