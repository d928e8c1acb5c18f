//! The commands, one file each: they call the library and decide what is shown.

pub mod bench;
pub mod check;
pub mod compare;
pub mod cv;
pub mod data;
pub mod doc;
pub mod emit;
pub mod eval;
pub mod fmt;
pub mod grad;
pub mod new;
pub mod predict;
pub mod repeat;
pub mod report;
pub mod runs;
pub mod test;
pub mod train;

use crate::cli::{Cli, Command, Global, Precision};
use crate::error::Failure;
use crate::pipeline::Request;
use crate::run::stored::Stored;
use crate::run::{Device, Engine, record};
use bdl_equations::convolution::Convolutions;
use bdl_kernels::isa::Isa;
use bdl_plan::Products;
use bdl_schedule::{Real, Target};
use std::io::Write;
use std::path::PathBuf;

/// What commands are given beside their own arguments.
#[derive(Clone, Debug)]
pub struct Context {
    pub global: Global,
    /// Messages may use colours.
    pub coloured: bool,
    pub real: Real,
    /// Of contractions.
    pub products: Products,
}

impl Context {
    /// Shows messages beside the results, where people look at them.
    pub fn warn(&self, messages: &[bdl_grammar::Diagnostic], sources: &bdl_grammar::SourceMap) {
        if !messages.is_empty() && !self.global.quiet && !self.global.json {
            eprintln!("{}", bdl_grammar::render_all(messages, sources, self.coloured).trim_end());
        }
    }

    fn new(global: Global, coloured: bool) -> Result<Context, Failure> {
        let real = match global.precision {
            Precision::F32 | Precision::Tf32 | Precision::Bf16 => Real::F32,
            Precision::F64 => Real::F64,
        };
        if global.precision == Precision::Tf32 && global.device == Device::Cpu {
            return Err(Failure::user("device-missing", "`tf32` is how a GPU multiplies: it needs `--device cuda`")
                .help("the processor computes in f32, f64 and bf16"));
        }
        let products = match global.precision {
            Precision::F32 | Precision::F64 => Products::Exact,
            Precision::Tf32 => Products::Tf32,
            Precision::Bf16 => Products::Bf16,
        };
        Ok(Context { global, coloured, real, products })
    }

    /// As this, in the precision of a stored run. What only a GPU can do so, the processor does in f32.
    pub fn of_run(&self, stored: &Stored) -> Context {
        let products = match (self.global.device, stored.products) {
            (Device::Cpu, Products::Tf32) => Products::Exact,
            // Asked for, where the run itself did without.
            (Device::Cpu | Device::Cuda(_), Products::Exact) => self.products,
            (Device::Cuda(_), Products::Tf32) => Products::Tf32,
            (Device::Cpu | Device::Cuda(_), Products::Bf16) => Products::Bf16,
        };
        Context { real: stored.real, products, ..self.clone() }
    }

    /// `f32`
    pub fn precision(&self) -> &'static str {
        record::precision(self.real, self.products)
    }

    /// The request of a command about one `train` block.
    pub fn request(&self, train: Option<String>) -> Request {
        Request {
            train,
            overrides: self.global.overrides.clone(),
            data: self.global.data.iter().map(|(name, path)| (name.clone(), PathBuf::from(path))).collect(),
            real: self.real,
            convolutions: self.convolutions(),
            ..Request::default()
        }
    }

    /// Sums of neighbours would be rounded before they are multiplied in fewer digits, and a GPU's tensor cores are not what waits.
    fn convolutions(&self) -> Convolutions {
        match (self.global.device, self.products) {
            (Device::Cpu, Products::Exact) => Convolutions::FewerProducts,
            (Device::Cpu, Products::Tf32 | Products::Bf16) | (Device::Cuda(_), _) => Convolutions::AsWritten,
        }
    }

    /// What plans are made for.
    fn target(&self) -> Target {
        match self.global.device {
            Device::Cpu => Target::Processor,
            Device::Cuda(_) => Target::Gpu,
        }
    }

    /// Where to compute, opened. Errors: `device-missing`.
    pub fn engine(&self) -> Result<Engine, Failure> {
        Engine::open(self.global.device, self.threads(), self.products)
    }

    pub fn threads(&self) -> usize {
        self.global.threads.map_or_else(bdl_kernels::machine::allowed_cpus, usize::from)
    }
}

/// Runs a command; the exit code where it has a result.
pub fn run(cli: Cli, coloured: bool) -> Result<u8, Failure> {
    let context = Context::new(cli.global, coloured)?;
    match cli.command {
        Command::New { name } => print(&new::run(&name)?),
        Command::Check { file, explain } => check::run(&context, file.as_deref(), explain.as_deref()),
        Command::Data { file } => data::run(&context, &file),
        Command::Fmt { files, check } => fmt::run(&context, &files, check),
        Command::Emit { target, stage, only, gpu } => emit::run(&context, &target, &stage, only.as_deref(), gpu),
        Command::Train { target, out, resume, save_every } => {
            train::run(&context, &target, &train::Manner { out, resume, save_every })
        }
        Command::Cv { target, out, resume } => {
            cv::run(&context, &target, &train::Manner { out, resume, save_every: None })
        }
        Command::Eval { run } => eval::run(&context, &run),
        Command::Predict { run, input, out } => predict::run(&context, &run, &input, out.as_deref()),
        Command::Grad { target, weights, inputs, out } => grad::run(&context, &target, &weights, &inputs, &out),
        Command::Runs { folder } => runs::run(&context, folder.as_deref()),
        Command::Compare { a, b } => compare::run(&context, &a, &b),
        Command::Repeat { run } => repeat::run(&context, &run),
        Command::Report { run, out } => report::run(&context, &run, out.as_deref()),
        Command::Doc { of, name, html } => doc::run(&context, &of, name.as_deref(), html.as_deref()),
        Command::Repl => crate::repl::run(&context),
        Command::Test { file } => test::run(&context, &file),
        Command::Bench { target, seconds, profile, picture, predict, simulate, isa } => {
            if isa.is_some_and(|isa| !Isa::decide(isa)) {
                return Err(Failure::bug("kernels were asked for before their instructions were decided"));
            }
            let (picture, predict) = (picture.as_deref(), predict.map(|rows| rows as usize));
            let simulate: Vec<usize> = simulate.into_iter().map(usize::from).collect();
            bench::run(&context, &target, &bench::Wanted { seconds, profile, picture, predict, simulate: &simulate })
        }
    }
}

/// Writes a result to standard output. A reader that went away (`bdl check | head`) is no error.
pub fn print(text: &str) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(0)
}
