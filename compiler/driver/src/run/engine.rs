//! Where programs run: on the threads of the processor, or on a GPU that keeps the parameters.
//!
//! ```text
//! engine.compile(program)  ->  Ready        machine code, or PTX that the GPU's driver has loaded
//! ready.run(engine, store) ->  Found        its outputs
//! ```
//!
//! A GPU's copies of the store's buffers are made when a program first asks for them and stay from run to run; [`Engine::fetch`] brings the
//! store up to date, [`Engine::put`] the GPU.

use crate::error::Failure;
use crate::pipeline;
use crate::run::record;
use bdl_equations::Program as Equations;
use bdl_execute::cuda::Cuda;
use bdl_execute::device::{DeviceOutputs, DeviceProgram, Resident};
use bdl_execute::{Error, Executor, Inputs, Outputs, Program, Store};
use bdl_plan::Products;
use bdl_plan::{Origin, Plan};
use bdl_ptx::{Generation, Wanted};
use bdl_schedule::{Real, Target};
use std::sync::Arc;
use std::time::Duration;

/// What `--device` may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    #[default]
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

/// What a GPU's processor must be for products of tf32 and of bf16.
const TENSOR_CORES: (i32, i32) = (8, 0);

pub enum Engine {
    /// Its threads, and how exact the products of contractions are.
    Processor(Executor, Products),
    Gpu(Box<Gpu>),
}

/// An open GPU.
pub struct Gpu {
    cuda: Cuda,
    resident: Resident,
    /// How exact the products of contractions are.
    products: Products,
    /// Examples that a step has, as the program says: what its code is made for.
    batch: Option<u32>,
    /// It holds newer values than the store.
    is_ahead: bool,
}

impl Engine {
    /// Errors: `device-missing`.
    pub fn open(device: Device, threads: usize, products: Products) -> Result<Engine, Failure> {
        match device {
            Device::Cpu => Ok(Engine::Processor(Executor::new(threads), products)),
            Device::Cuda(number) => match Cuda::open(number) {
                Ok(cuda) if products != Products::Exact && cuda.capability < TENSOR_CORES => {
                    let (major, minor) = cuda.capability;
                    let named = record::precision(Real::F32, products);
                    let what = format!(
                        "{} (sm_{major}{minor}) does not multiply in {named}: that needs sm_80 or newer",
                        cuda.name
                    );
                    let help = format!("leave out `--precision {named}`: it computes in f32");
                    Err(Failure::user("device-missing", what).help(help))
                }
                Ok(cuda) => {
                    let resident = Resident::default();
                    Ok(Engine::Gpu(Box::new(Gpu { cuda, resident, products, batch: None, is_ahead: false })))
                }
                Err(error) => Err(Failure::user("device-missing", error.to_string())
                    .help("without `--device cuda` bdl computes on the processor")),
            },
        }
    }

    /// Code that is compiled from now on is for steps of so many examples.
    pub fn expect_batch(&mut self, batch: i64) {
        if let Engine::Gpu(gpu) = self {
            gpu.batch = u32::try_from(batch).ok();
        }
    }

    /// `NVIDIA H200, sm_90`; none on the processor.
    pub fn gpu(&self) -> Option<String> {
        match self {
            Engine::Processor(..) => None,
            Engine::Gpu(gpu) => {
                let (major, minor) = gpu.cuda.capability;
                Some(format!("{}, sm_{major}{minor}", gpu.cuda.name))
            }
        }
    }

    /// Bytes of a GPU's memory: free now, and all.
    pub fn gpu_memory(&self) -> Option<(usize, usize)> {
        match self {
            Engine::Processor(..) => None,
            Engine::Gpu(gpu) => gpu.cuda.memory().ok(),
        }
    }

    /// Bytes a second that a GPU's memory moves, measured; none on the processor.
    pub fn gpu_bandwidth(&mut self) -> Option<Result<f64, Error>> {
        match self {
            Engine::Processor(..) => None,
            Engine::Gpu(gpu) => Some(gpu.cuda.bandwidth()),
        }
    }

    /// Compiles a program for where it will run.
    ///
    /// Errors: `not-built-yet` for what a GPU cannot run yet, `device-missing` where its driver refuses the code.
    pub fn compile(&mut self, program: &Equations, real: Real) -> Result<Ready, Failure> {
        self.ready(Made::Plan(pipeline::plan(program, real, self.target())?), real)
    }

    /// As [`compile`](Engine::compile), several programs side by side, up to what [`ready`](Engine::ready) makes ready.
    pub fn compile_all(&self, programs: &[&Equations], real: Real) -> Result<Vec<Made>, Failure> {
        let of = (real, self.target());
        match self {
            Engine::Processor(..) => {
                pipeline::side_by_side(programs, of, |plan, threads| Ok(Made::Code(pipeline::code(plan, threads)?)))
            }
            Engine::Gpu(_) => pipeline::side_by_side(programs, of, |plan, _| Ok(Made::Plan(plan))),
        }
    }

    /// What plans are made for.
    fn target(&self) -> Target {
        match self {
            Engine::Processor(..) => Target::Processor,
            Engine::Gpu(_) => Target::Gpu,
        }
    }

    /// What was compiled, where it will run.
    pub fn ready(&mut self, made: Made, real: Real) -> Result<Ready, Failure> {
        match self {
            Engine::Processor(_, products) => {
                Ok(Ready::Processor(Box::new(pipeline::program(made.compiled()?, *products)?)))
            }
            Engine::Gpu(gpu) => {
                let plan = made.plan();
                let generation = Generation::of(gpu.cuda.capability);
                let wanted = Wanted { products: gpu.products, generation, batch: gpu.batch };
                let code = pipeline::ptx(&plan, real, wanted, &|_| Vec::new())?;
                let ready = DeviceProgram::new(&mut gpu.cuda, Arc::new(plan), &code);
                Ok(Ready::Gpu(Box::new(ready.map_err(|error| match error {
                    Error::Device(said) => Failure::user("device-missing", said),
                    error @ (Error::Plan(_)
                    | Error::Missing { .. }
                    | Error::Length { .. }
                    | Error::Type { .. }
                    | Error::Key { .. }
                    | Error::Memory { .. }
                    | Error::Interrupted) => Failure::bug(error.to_string()),
                })?)))
            }
        }
    }

    /// Brings the store up to what a GPU holds.
    pub fn fetch(&mut self, store: &mut Store) -> Result<(), Error> {
        if let Engine::Gpu(gpu) = self
            && gpu.is_ahead
        {
            gpu.resident.fetch(&mut gpu.cuda, store)?;
            gpu.is_ahead = false;
        }
        Ok(())
    }

    /// Brings a GPU up to what the store holds; [`fetch`](Engine::fetch) comes before the store is changed.
    pub fn put(&mut self, store: &Store) -> Result<(), Error> {
        match self {
            Engine::Processor(..) => Ok(()),
            Engine::Gpu(gpu) => gpu.resident.put(&mut gpu.cuda, store),
        }
    }

    /// Gives a GPU's copies of the store back: what runs next copies a store anew.
    pub fn forget(&mut self) {
        if let Engine::Gpu(gpu) = self {
            gpu.resident.release(&mut gpu.cuda);
            gpu.is_ahead = false;
        }
    }

    /// Two buffers of one type and length change places, here and in the store.
    pub fn swap(&mut self, store: &mut Store, one: &str, other: &str) {
        store.swap(one, other);
        if let Engine::Gpu(gpu) = self {
            gpu.resident.swap(one, other);
        }
    }
}

/// A program on its way to where it will run.
pub enum Made {
    /// With the processor's code.
    Code(pipeline::Compiled),
    Plan(Plan),
}

impl Made {
    /// With the processor's code, whatever it was made for.
    pub fn compiled(self) -> Result<pipeline::Compiled, Failure> {
        match self {
            Made::Code(compiled) => Ok(compiled),
            Made::Plan(plan) => pipeline::code(plan, pipeline::threads()),
        }
    }

    fn plan(self) -> Plan {
        match self {
            Made::Code(compiled) => compiled.plan,
            Made::Plan(plan) => plan,
        }
    }
}

/// A program that its engine has compiled.
pub enum Ready {
    Processor(Box<Program>),
    Gpu(Box<DeviceProgram>),
}

impl Ready {
    pub fn plan(&self) -> &Arc<Plan> {
        match self {
            Ready::Processor(program) => program.plan(),
            Ready::Gpu(program) => program.plan(),
        }
    }

    /// Runs on the engine that compiled it.
    pub fn run<'r>(
        &'r mut self,
        engine: &mut Engine,
        store: &'r mut Store,
        inputs: &Inputs,
    ) -> Result<Found<'r>, Error> {
        match (self, engine) {
            (Ready::Processor(program), Engine::Processor(executor, _)) => {
                Ok(Found::Processor(program.run(executor, store, inputs)?))
            }
            (Ready::Gpu(program), Engine::Gpu(gpu)) => {
                let Gpu { cuda, resident, is_ahead, .. } = &mut **gpu;
                *is_ahead = true;
                Ok(Found::Gpu(program.run(cuda, resident, store, inputs)?))
            }
            (Ready::Processor(_), Engine::Gpu(_)) | (Ready::Gpu(_), Engine::Processor(..)) => {
                Err(Error::Plan("a program runs where it was not compiled for".to_string()))
            }
        }
    }

    /// Gives a GPU's memory for the program back, where the engine goes on to another one.
    pub fn release(&mut self, engine: &mut Engine) {
        if let (Ready::Gpu(program), Engine::Gpu(gpu)) = (self, engine) {
            program.release(&mut gpu.cuda);
        }
    }

    /// Iterations that stopped at their bound, and for how many examples, since this was last asked.
    pub fn take_unfinished(&mut self) -> Vec<(Origin, usize)> {
        match self {
            Ready::Processor(program) => program.take_unfinished(),
            Ready::Gpu(program) => program.take_unfinished(),
        }
    }

    /// From now on, weights have the values that they have at the next run (see [`Program::keep_weights`]); a GPU reads them as they are.
    pub fn keep_weights(&mut self) {
        match self {
            Ready::Processor(program) => program.keep_weights(),
            Ready::Gpu(_) => {}
        }
    }

    /// Bytes of copies that contractions work with, as of the last run; a GPU's are counted with its memory.
    pub fn copied_bytes(&self) -> usize {
        match self {
            Ready::Processor(program) => program.copied_bytes(),
            Ready::Gpu(_) => 0,
        }
    }

    /// Floating-point operations of the last run in each contraction.
    pub fn flop(&self) -> &[u64] {
        match self {
            Ready::Processor(program) => program.flop(),
            Ready::Gpu(program) => program.flop(),
        }
    }

    /// Measure the time of each launch from now on, or stop.
    pub fn set_profile(&mut self, on: bool) {
        match self {
            Ready::Processor(program) => program.set_profile(on),
            Ready::Gpu(program) => program.set_profile(on),
        }
    }

    /// The summed time of each launch since.
    pub fn profile(&self) -> Option<&[Duration]> {
        match self {
            Ready::Processor(program) => program.profile(),
            Ready::Gpu(program) => program.profile(),
        }
    }
}

/// What a run gave.
pub enum Found<'r> {
    Processor(Outputs<'r>),
    Gpu(DeviceOutputs),
}

impl Found<'_> {
    /// The first element of an output: a loss, a count.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self {
            Found::Processor(outputs) => outputs.number(name),
            Found::Gpu(outputs) => outputs.number(name),
        }
    }

    /// An output as numbers.
    pub fn numbers(&self, name: &str) -> Option<Vec<f64>> {
        match self {
            Found::Processor(outputs) => outputs.numbers(name),
            Found::Gpu(outputs) => outputs.numbers(name),
        }
    }

    pub fn names(&self) -> Vec<Arc<str>> {
        match self {
            Found::Processor(outputs) => outputs.names().cloned().collect(),
            Found::Gpu(outputs) => outputs.names().cloned().collect(),
        }
    }
}
