//! The pipeline of ARCHITECTURE.md as code: text → syntax → HIR → equations → plan → machine code.
//!
//! Each stage is one function; [`Checked`], [`Elaborated`] and [`Compiled`] are what flows between them.

use crate::data::{block, constants, declared, facts, laws, lengths};
use crate::error::Failure;
use crate::load::{self, Source};
use crate::overrides;
use bdl_check::evaluation::Evaluation;
use bdl_check::hir::{DataFacts, Hir, Train};
use bdl_check::{EntryRequest, Options};
use bdl_data::{DataSpec, Dataset, Fitted};
use bdl_elaborate::Programs;
use bdl_equations::Program;
use bdl_equations::convolution::Convolutions;
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::{self, ItemKind};
use bdl_plan::Products;
use bdl_plan::{DeviceCode, Origin, Plan};
use bdl_ptx::Wanted;
use bdl_schedule::{Real, Target};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What the command line adds to a program.
#[derive(Clone, Debug)]
pub struct Request {
    /// Only this `train` block.
    pub train: Option<String>,
    /// `--set`
    pub overrides: Vec<(String, String)>,
    /// `--data`
    pub data: Vec<(String, PathBuf)>,
    pub real: Real,
    /// How the programs of a `train` block compute convolutions.
    pub convolutions: Convolutions,
    /// Are files of data read? Otherwise their fields have symbolic types.
    pub read_data: ReadData,
    /// Types of data that is not read, where an earlier run knows them.
    pub known: Vec<DataFacts>,
    /// What an earlier run fitted: its data is read as that run knows it, with the run's classes in their order.
    pub fitted: Option<Fitted>,
    pub entries: Vec<EntryRequest>,
    /// Statements to compute on their own.
    pub evaluation: Option<Evaluation>,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            train: None,
            overrides: Vec::new(),
            data: Vec::new(),
            real: Real::F32,
            convolutions: Convolutions::FewerProducts,
            read_data: ReadData::Always,
            known: Vec::new(),
            fitted: None,
            entries: Vec::new(),
            evaluation: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadData {
    /// A file that is not there is an error.
    Always,
    /// A file that is not there leaves types symbolic.
    WhereThere,
    Never,
}

/// A program that passed every check, or could not: `diagnostics` tells.
pub struct Checked {
    pub source: Source,
    pub convolutions: Convolutions,
    pub hir: Hir,
    pub diagnostics: Vec<Diagnostic>,
    /// Data blocks in the order of the file.
    pub data: Vec<DataBlock>,
    /// What parsing and checking took, without reading data.
    pub time: Duration,
}

/// A data block and, where its source was read, what is in it.
pub struct DataBlock {
    pub spec: DataSpec,
    pub dataset: Option<Dataset>,
    /// Sizes that belong to the example.
    pub lengths: facts::Lengths,
}

impl Checked {
    /// The `train` block asked for: by name, or the only one.
    pub fn train(&self, name: Option<&str>) -> Result<&Train, Failure> {
        let written = self.source.modules.main.items.iter();
        let names = written.filter_map(|item| {
            if let ItemKind::Train(block) = &item.kind { Some(block.name.text.as_str()) } else { None }
        });
        let names = names.collect::<Vec<_>>().join(", ");
        match (name, self.hir.trains.as_slice()) {
            (None, [train]) => Ok(train),
            (None, []) => Err(Failure::user("no-train", "the file has no `train` block")
                .help("add `train NAME { model .. data .. loss .. optimizer .. }`")),
            (None, _) => Err(Failure::user("which-train", "the file has several `train` blocks")
                .help(format!("say which, as FILE:NAME; there are {names}"))),
            (Some(name), trains) => trains.iter().find(|train| &*train.name == name).ok_or_else(|| {
                Failure::user("no-train", format!("the file has no `train` block called `{name}`"))
                    .help(format!("there are: {names}"))
            }),
        }
    }

    /// The data block of that name.
    pub fn data(&self, name: &str) -> Result<&DataBlock, Failure> {
        self.data
            .iter()
            .find(|block| block.spec.name == name)
            .ok_or_else(|| Failure::bug(format!("no data block `{name}` was kept")))
    }

    /// An error if any message is one.
    pub fn require_sound(&self, coloured: bool) -> Result<(), Failure> {
        if self.diagnostics.iter().any(Diagnostic::is_error) {
            return Err(Failure::program(&self.diagnostics, &self.source.sources, coloured));
        }
        Ok(())
    }
}

/// Text → syntax → HIR, with the data's types where they are known.
pub fn check(path: &Path, request: &Request) -> Result<Checked, Failure> {
    let begun = Instant::now();
    let mut source = load::file(path)?;
    if !request.overrides.is_empty() {
        let edited = overrides::apply(&source.text, request.train.as_deref(), &request.overrides)?;
        source = load::text_in(&path.display().to_string(), &edited, &source.folder)?;
    }
    let loading = begun.elapsed();
    let mut checked = check_source(source, request)?;
    checked.time += loading;
    Ok(checked)
}

/// The same from text that is already parsed. Overrides of the request are not looked at.
pub fn check_source(source: Source, request: &Request) -> Result<Checked, Failure> {
    let mut diagnostics = source.diagnostics.clone();
    if diagnostics.iter().any(Diagnostic::is_error) {
        // What was not understood would only be missed elsewhere: one mistake, one message.
        return Ok(Checked {
            source,
            convolutions: request.convolutions,
            hir: Hir::default(),
            diagnostics,
            data: Vec::new(),
            time: Duration::ZERO,
        });
    }
    block::require_known(&request.data, &source.modules.main.items)?;
    let mut data = Vec::new();
    let mut types = Vec::new();
    for item in &source.modules.main.items {
        let ItemKind::Data(written) = &item.kind else { continue };
        let (spec, messages) =
            block::lower(written, &source.sources, &source.folder, &request.data, &source.modules.main.items);
        diagnostics.extend(messages);
        let Some(spec) = spec else { continue };
        let dataset = if wanted(&source.modules.main, written, request) { open(&spec, request)? } else { None };
        let lengths = match &dataset {
            Some(dataset) => {
                let of_data = dataset.facts();
                diagnostics.extend(declared::differences(written, &of_data, dataset.source_rows()));
                let (facts, lengths) = facts::of_data(&of_data);
                types.push(facts);
                lengths
            }
            None => {
                let known = request.known.iter().find(|facts| *facts.name == *spec.name);
                types.push(known.cloned().unwrap_or_else(|| facts::symbolic(&spec)));
                Vec::new()
            }
        };
        data.push(DataBlock { spec, dataset, lengths });
    }
    let (files, wrong) = constants::tables(&source);
    if !wrong.is_empty() {
        diagnostics.extend(wrong);
        return Ok(Checked {
            source,
            convolutions: request.convolutions,
            hir: Hir::default(),
            diagnostics,
            data,
            time: Duration::ZERO,
        });
    }
    let begun = Instant::now();
    let options = Options {
        entries: request.entries.clone(),
        evaluation: request.evaluation.clone(),
        train: request.train.clone(),
        files,
    };
    let (hir, messages) = bdl_check::check(&source.sources, &source.modules, &types, &options);
    let time = begun.elapsed();
    diagnostics.extend(messages);
    if !diagnostics.iter().any(Diagnostic::is_error) {
        diagnostics.extend(lengths::built_sizes_that_differ(&hir, &data, &source));
    }
    if !diagnostics.iter().any(Diagnostic::is_error) {
        diagnostics.extend(laws::rows_that_break_laws(&hir, &data));
    }
    Ok(Checked { source, convolutions: request.convolutions, hir, diagnostics, data, time })
}

/// Is the block read by the `train` block asked for? (Other files of the program need not be there.)
fn wanted(file: &ast::File, data: &ast::Data, request: &Request) -> bool {
    let Some(train) = &request.train else { return true };
    file.items.iter().any(|item| {
        let ItemKind::Train(block) = &item.kind else { return false };
        block.name.text == *train
            && block
                .entries
                .iter()
                .any(|entry| matches!(&entry.kind, ast::TrainEntryKind::Data(name) if name.text == data.name.text))
    })
}

fn open(spec: &DataSpec, request: &Request) -> Result<Option<Dataset>, Failure> {
    let there = spec.files().all(Path::exists);
    let read = match request.read_data {
        ReadData::Always => true,
        ReadData::WhereThere => there,
        ReadData::Never => false,
    };
    let precision = match request.real {
        Real::F32 => bdl_data::Precision::F32,
        Real::F64 => bdl_data::Precision::F64,
    };
    if !read {
        return Ok(None);
    }
    Ok(Some(match request.fitted.as_ref().filter(|fitted| fitted.data == spec.name) {
        Some(fitted) => Dataset::open_again(spec, fitted, precision)?,
        None => Dataset::open(spec, precision)?,
    }))
}

/// HIR → the equation programs of a `train` block.
pub fn elaborate(checked: &Checked, train: &Train) -> Result<Programs, Failure> {
    could_be_held(checked, train)?;
    bdl_elaborate::programs(&checked.hir, train, checked.convolutions)
        .map_err(|diagnostic| Failure::program(&[diagnostic], &checked.source.sources, false))
}

/// HIR → the equations of a `train` block's predictions.
pub fn predict(checked: &Checked, train: &Train) -> Result<Program, Failure> {
    could_be_held(checked, train)?;
    bdl_elaborate::predict(&checked.hir, train)
        .map_err(|diagnostic| Failure::program(&[diagnostic], &checked.source.sources, false))
}

/// HIR → the first values of what a program of a `train` block stores.
pub fn first_values(checked: &Checked, train: &Train, program: &Program) -> Result<Program, Failure> {
    bdl_elaborate::first_values(&checked.hir, train, program)
        .map_err(|diagnostic| Failure::program(&[diagnostic], &checked.source.sources, false))
}

/// HIR → the gradient programs of a `train` block, one an objective.
pub fn gradients(checked: &Checked, train: &Train) -> Result<Vec<Program>, Failure> {
    could_be_held(checked, train)?;
    bdl_elaborate::gradients(&checked.hir, train, checked.convolutions)
        .map_err(|diagnostic| Failure::program(&[diagnostic], &checked.source.sources, false))
}

/// Both results: what a command runs, and the gradients that it looks at, which are made meanwhile.
pub fn beside_gradients<T>(
    checked: &Checked,
    train: &Train,
    others: impl FnOnce() -> Result<T, Failure>,
) -> Result<(T, Vec<Program>), Failure> {
    let gradients = || gradients(checked, train);
    thread::scope(|scope| {
        let gradients = bdl_check::stack::start(scope, &gradients);
        let others = others();
        let gradients = gradients();
        Ok((others?, gradients?))
    })
}

/// More numbers than any machine holds, and few enough that bytes and operations are still counted in 64 bits.
const MOST_NUMBERS: i64 = 1 << 55;

/// Parameters and state that no memory could hold are refused before anything is computed from their sizes.
fn could_be_held(checked: &Checked, train: &Train) -> Result<(), Failure> {
    let params = train.store.params.iter().map(|param| (&param.path, &param.ty, param.span));
    let states = train.store.states.iter().map(|state| (&state.path, &state.ty, state.span));
    let mut total = 0i64;
    for (path, ty, span) in params.chain(states) {
        let sizes = ty.shape.iter().map(|axis| axis.size.as_const().unwrap_or(1));
        let numbers = sizes.fold(1i64, i64::saturating_mul);
        total = total.saturating_add(numbers);
        if total > MOST_NUMBERS {
            let message = Diagnostic::error("out-of-memory", format!("no memory holds `{path}`"))
                .primary(span, format!("{} numbers", crate::show::number::short(numbers as f64)))
                .help("write a smaller shape");
            return Err(Failure::program(&[message], &checked.source.sources, false));
        }
    }
    Ok(())
}

/// A program ready to be run by the executor.
pub struct Compiled {
    pub plan: Plan,
    pub code: bdl_cranelift::Code,
}

/// Equations → plan → machine code. Verified between stages in builds with assertions.
pub fn compile(program: &Program, real: Real) -> Result<Compiled, Failure> {
    code(plan(program, real, Target::Processor)?, threads())
}

/// How many threads make code, where nothing else is made at the time.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get()).min(4)
}

/// Plan → machine code.
pub fn code(plan: Plan, threads: usize) -> Result<Compiled, Failure> {
    let code = bdl_cranelift::compile_on(&plan.kernels, threads).map_err(|error| Failure::bug(error.to_string()))?;
    Ok(Compiled { plan, code })
}

/// Plan and machine code, ready to be run.
pub fn program(Compiled { plan, code }: Compiled, products: Products) -> Result<bdl_execute::Program, Failure> {
    bdl_execute::Program::with(Arc::new(plan), code.kernels(), products)
        .map_err(|error| Failure::bug(error.to_string()))
}

/// Plan → PTX, with the lines that `note` gives above what came from a place in the program.
///
/// Errors: `not-built-yet` for what a GPU cannot compute yet.
pub fn ptx(
    plan: &Plan,
    real: Real,
    wanted: Wanted,
    note: &dyn Fn(&Origin) -> Vec<String>,
) -> Result<DeviceCode, Failure> {
    bdl_ptx::compile(plan, wanted, note).map_err(|error| {
        let help = match real {
            Real::F32 => "the processor computes it: leave out `--device cuda`",
            Real::F64 => {
                "GPUs compute in f32: leave out `--precision f64`, or `--device cuda` for f64 on the processor"
            }
        };
        Failure::user("not-built-yet", format!("this is not built for GPUs yet: {}", error.what)).help(help)
    })
}

/// Several programs → what `make` makes of their plans, side by side. The largest is planned longest and comes last, when the others are
/// made: it finds their code there. `make` is told how many threads it has.
pub fn side_by_side<T: Send>(
    programs: &[&Program],
    (real, target): (Real, Target),
    make: impl Fn(Plan, usize) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    let largest = (0..programs.len()).max_by_key(|at| programs[*at].nodes.len());
    let make = &make;
    let work: Vec<_> = programs.iter().map(|program| move || make(plan(program, real, target)?, 1)).collect();
    thread::scope(|scope| {
        let others = work.iter().enumerate().filter(|(at, _)| Some(*at) != largest);
        let others: Vec<_> = others.map(|(at, work)| (at, bdl_check::stack::start(scope, work))).collect();
        let planned = largest.map(|at| (at, plan(programs[at], real, target)));
        let mut made: Vec<(usize, Result<T, Failure>)> =
            others.into_iter().map(|(at, finish)| (at, finish())).collect();
        made.extend(planned.map(|(at, plan)| (at, plan.and_then(|plan| make(plan, threads())))));
        made.sort_by_key(|(at, _)| *at);
        made.into_iter().map(|(_, made)| made).collect()
    })
}

/// Equations → plan.
pub fn plan(program: &Program, real: Real, target: Target) -> Result<Plan, Failure> {
    if cfg!(debug_assertions) {
        bdl_equations::verify(program)
            .map_err(|error| Failure::bug(format!("equations of `{}`: {error}", program.name)))?;
    }
    let plan =
        bdl_schedule::schedule(program, &bdl_schedule::Options { real, target }).map_err(|error| match error {
            bdl_schedule::Error::NotBuilt { construct, .. } => {
                Failure::user("not-built-yet", format!("{construct} is part of the language but not built yet"))
            }
            bdl_schedule::Error::Malformed { .. } => Failure::bug(format!("schedule of `{}`: {error}", program.name)),
        })?;
    if cfg!(debug_assertions) {
        bdl_plan::verify(&plan).map_err(|error| Failure::bug(format!("plan of `{}`: {error}", program.name)))?;
    }
    Ok(plan)
}
