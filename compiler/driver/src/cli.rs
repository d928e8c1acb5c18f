//! The command line: what can be asked for. What is done about it stands in `command/`.

use crate::run::Device;
use bdl_kernels::isa::Isa;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Deep learning in biology from one file: checked, differentiated, compiled and trained by one program.
#[derive(Debug, Parser)]
#[command(name = "bdl", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: Global,
}

/// Options that every command takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// Where to compute: `cpu`, `cuda`, or `cuda:1` for the second GPU [default: cpu]
    #[arg(long, global = true, value_name = "DEVICE", value_parser = device, default_value = "cpu", hide_default_value = true)]
    pub device: Device,
    /// Threads to compute with [default: all that this process may use]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Real numbers; weights, state and all element-wise work are f32 but for `f64`
    #[arg(long, global = true, value_enum, default_value_t = Precision::F32)]
    pub precision: Precision,
    /// Seed of the run: initial weights, order of rows, random draws
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// Another value for a hyper-parameter: `--set net.width=64`
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub overrides: Vec<(String, String)>,
    /// Another file for a data block: `--data Junctions=new.csv`
    #[arg(long = "data", global = true, value_name = "NAME=PATH", value_parser = name_and_value)]
    pub data: Vec<(String, String)>,
    /// Results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results only
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32 bits
    #[default]
    F32,
    /// 64 bits
    F64,
    /// 32 bits; on a GPU, contractions multiply with 10 binary digits after the point, on tensor cores
    Tf32,
    /// 32 bits; contractions multiply with 7 binary digits after the point and add in f32
    Bf16,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a folder with a model, its data and a README, ready to run
    New { name: PathBuf },
    /// Check a program; print shapes, parameters, arithmetic and memory
    Check {
        #[arg(required_unless_present = "explain")]
        file: Option<PathBuf>,
        /// Print the page about a message's code: `--explain dim-mismatch`
        #[arg(long, value_name = "CODE")]
        explain: Option<String>,
    },
    /// Show what the data blocks read: schema, missing values, classes, first rows, suspicious columns
    Data { file: PathBuf },
    /// Put programs in canonical layout, comments kept
    Fmt {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Change nothing; list the files that would change and exit with 1 if there are any
        #[arg(long)]
        check: bool,
    },
    /// Train a model; write a run folder
    Train {
        /// FILE or FILE:NAME where the file has several `train` blocks
        target: String,
        /// The run folder [default: runs/NAME/HASH]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Go on where the run stopped
        #[arg(long)]
        resume: bool,
        /// Save at the end of an epoch when the last save is older than this; 0 saves every epoch [default: 0.5]
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        save_every: Option<Duration>,
    },
    /// Train and test every fold of a split; mean and deviation of each score
    Cv {
        /// FILE or FILE:NAME, with `split kfold(5)` or `split leave_one_out`
        target: String,
        /// The folder of the folds [default: runs/NAME/HASH]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Go on where the folds stopped
        #[arg(long)]
        resume: bool,
    },
    /// Metrics of a run on its held-out data
    Eval { run: PathBuf },
    /// Predictions of a run for new data, as TSV
    Predict {
        run: PathBuf,
        input: PathBuf,
        /// Write here instead of to the terminal
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print what a stage of the compiler made of a program
    Emit {
        /// FILE or FILE:NAME
        target: String,
        /// One or several, separated by commas
        #[arg(long, value_enum, value_delimiter = ',', required = true)]
        stage: Vec<Stage>,
        /// Only equations and kernels whose name contains this
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// For which GPUs PTX is
        #[arg(long, value_enum, default_value_t)]
        gpu: Gpu,
    },
    /// Outputs, loss and gradients for given weights and inputs
    Grad {
        /// FILE or FILE:NAME
        target: String,
        /// Weights by name (safetensors)
        #[arg(long, value_name = "FILE")]
        weights: PathBuf,
        /// Inputs by field name, the batch first (npz)
        #[arg(long, value_name = "FILE")]
        inputs: PathBuf,
        /// Where to write them (safetensors)
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Time per step or prediction, arithmetic rate, share of this machine's peak, peak memory
    Bench {
        /// FILE or FILE:NAME
        target: String,
        /// Seconds to measure
        #[arg(long, default_value_t = 3.0, value_name = "S")]
        seconds: f64,
        /// Time of each launch with its line, its rates against the machine's
        #[arg(long)]
        profile: bool,
        /// Write the profile as a picture (SVG): a step as a time line
        #[arg(long, value_name = "FILE.svg")]
        picture: Option<PathBuf>,
        /// Measure predictions of so many rows at once instead of training steps
        #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
        predict: Option<u32>,
        /// Say what a step would take on teams of so many threads, by how its work divides
        #[arg(long, value_name = "THREADS", value_delimiter = ',', conflicts_with_all = ["predict", "profile", "picture"],
              value_parser = clap::value_parser!(u16).range(1..=1024))]
        simulate: Vec<u16>,
        /// Use these instructions only, as a processor without wider ones does: avx512, avx2 or portable [default: the widest there are]
        #[arg(long, value_name = "SET", value_parser = instruction_set)]
        isa: Option<Isa>,
    },
    /// List run folders with what they scored
    Runs {
        /// Where to look [default: runs]
        folder: Option<PathBuf>,
    },
    /// Two runs on the rows that both held out: differences with intervals, and how the programs differ
    Compare { a: PathBuf, b: PathBuf },
    /// Train a run's program again: the same bits, or the first difference
    Repeat { run: PathBuf },
    /// A run as one self-contained page
    Report {
        run: PathBuf,
        /// Where to write it [default: RUN/report.html]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Signatures and doc comments of a program or of the standard library
    Doc {
        /// FILE, or `std` for the standard library
        of: String,
        /// Only this definition or module
        name: Option<String>,
        /// Write one self-contained page instead
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Definitions, values, shapes, gradients and pictures at a prompt
    Repl,
    /// Run the `expect` blocks of a file, training what they need
    Test { file: PathBuf },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Gpu {
    /// Each that has what a kernel says it needs
    #[default]
    Any,
    /// Hopper alone (sm_90a), with what no other has
    Hopper,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// What was written, in canonical layout
    Ast,
    /// Names, types and dimensions resolved
    Hir,
    /// The training step before differentiation
    Equations,
    /// The training step with its gradient
    Gradient,
    /// Kernels, buffers and launches
    Plan,
    /// Cranelift's intermediate code
    Clif,
    /// Machine code
    Asm,
    /// Code for GPUs
    Ptx,
}

fn instruction_set(text: &str) -> Result<Isa, String> {
    let isa = match text {
        "avx512" => Isa::Avx512,
        "avx2" => Isa::Avx2,
        "portable" => Isa::Portable,
        _other => return Err("there are avx512, avx2 and portable".into()),
    };
    if isa.is_available() { Ok(isa) } else { Err(format!("this processor has no {}", isa.name())) }
}

fn device(text: &str) -> Result<Device, String> {
    match text.split_once(':') {
        None if text == "cpu" => Ok(Device::Cpu),
        None if text == "cuda" => Ok(Device::Cuda(0)),
        Some(("cuda", number)) => {
            number.parse().map(Device::Cuda).map_err(|_| format!("`{number}` is no number of a GPU"))
        }
        None | Some(_) => Err("expected `cpu`, `cuda` or `cuda:1`".to_string()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wanted = "expected a number of seconds, 0 or more";
    let seconds: f64 = text.parse().map_err(|_| wanted.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wanted.to_string())
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        Some(_) | None => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

/// `FILE:NAME` in its parts. A colon belongs to the name only where a file of the whole name does not exist.
pub fn target(text: &str) -> (PathBuf, Option<String>) {
    match text.rsplit_once(':') {
        Some((file, name)) if !PathBuf::from(text).exists() && !file.is_empty() && !name.contains(['/', '\\']) => {
            (PathBuf::from(file), Some(name.to_string()))
        }
        Some(_) | None => (PathBuf::from(text), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn targets_name_a_file_and_a_block() {
        assert_eq!(target("a/net.bdl:gan"), (PathBuf::from("a/net.bdl"), Some("gan".into())));
        assert_eq!(target("net.bdl"), (PathBuf::from("net.bdl"), None));
        assert_eq!(target("C:\\net.bdl"), (PathBuf::from("C:\\net.bdl"), None));
    }
}
