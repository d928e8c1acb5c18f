//! `bdl bench FILE[:TRAIN]`: time per training step (or answer, see `predict`), arithmetic rate against this machine's, memory against the prediction.

mod picture;
mod predict;
mod profile;
mod simulate;

use super::{Context, print};
use crate::cli::target;
use crate::error::Failure;
use crate::memory::{self, peak_megabytes};
use crate::pipeline;
use crate::run::machine::memory_error;
use crate::run::{ModelMachine, prepare};
use crate::show::number;
use bdl_plan::Products;
use bdl_train::{Machine, Moment};
use serde_json::json;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Steps that are not counted: caches warm up, memory is touched first.
const WARM_UP: u64 = 3;
/// Steps that are counted, at least.
const FEWEST: usize = 5;

static STARTED: OnceLock<Instant> = OnceLock::new();

/// Called first thing by the binary: what `first_step_ms` counts from.
pub fn note_start() {
    STARTED.get_or_init(Instant::now);
}

/// What is to be measured and shown.
pub struct Wanted<'w> {
    pub seconds: f64,
    /// Time of each launch.
    pub profile: bool,
    /// Where the picture of the profile goes.
    pub picture: Option<&'w Path>,
    /// Predictions of so many rows at once instead of training steps.
    pub predict: Option<usize>,
    /// Teams of so many threads, by how the work divides.
    pub simulate: &'w [usize],
}

fn started() -> Instant {
    *STARTED.get_or_init(Instant::now)
}

pub fn run(context: &Context, written: &str, wanted: &Wanted) -> Result<u8, Failure> {
    let profile = wanted.profile || wanted.picture.is_some();
    let started = started();
    let (file, name) = target(written);
    let checked = pipeline::check(&file, &context.request(name.clone()))?;
    checked.require_sound(context.coloured)?;
    let train = checked.train(name.as_deref())?;
    if let Some(rows) = wanted.predict {
        return predict::run(context, &checked, train, wanted, rows);
    }
    let prepared = prepare(&checked, train, None, 0)?;
    if prepared.programs.step().is_none() {
        return Err(Failure::user("no-train", "the block has no optimizer, so there is no training step to measure"));
    }
    if !wanted.simulate.is_empty() {
        return simulate::run(context, &checked, train, &prepared, wanted, wanted.simulate);
    }
    let threads = context.threads();
    let engine = context.engine()?;
    let gpu = engine.gpu();
    let compiling = Instant::now();
    let mut machine = ModelMachine::new(&prepared, context.real, engine, context.global.seed.unwrap_or(0), true)?;
    let first_values = machine.time_of_first_values();
    // From the text of the program to machine code.
    let generating = compiling.elapsed().saturating_sub(first_values);
    let compile = checked.time + prepared.elaborating + generating;

    let (name, batch) = (train.name.clone(), (train.batch.max(1) as usize).min(prepared.parts.train.len()));
    let (trained, elaborating) = (prepared.parts.train.clone(), prepared.elaborating);
    let (checking, sources) = (checked.time, checked.source.sources);
    // What the compiler needed is not there while steps are measured.
    drop((checked.source.modules, checked.hir, checked.data, prepared));
    memory::collect();
    let batches = trained.len() / batch;
    let rows = |step: u64| {
        let first = step as usize % batches * batch;
        &trained[first..first + batch]
    };
    let moment = |step: u64| Moment { step, steps: 1000, epochs: 1, ..Moment::default() };
    machine.step(rows(0), moment(0))?;
    let first = started.elapsed();
    for step in 1..=WARM_UP {
        machine.step(rows(step), moment(step))?;
    }
    // Each call measures other steps.
    let mut step = WARM_UP;
    // Of each contraction, in all steps: examples of different length have different products.
    let (mut flops, mut counted) = (Vec::<u64>::new(), 0);
    let mut measured = |machine: &mut ModelMachine| -> Result<Vec<Duration>, Failure> {
        let (mut times, begun) = (Vec::new(), Instant::now());
        while times.len() < FEWEST || begun.elapsed().as_secs_f64() < wanted.seconds {
            step += 1;
            let one = Instant::now();
            machine.step(rows(step), moment(step))?;
            times.push(one.elapsed());
            let of_step = machine.flop();
            flops.resize(of_step.len(), 0);
            flops.iter_mut().zip(&of_step).for_each(|(all, one)| *all += one);
            counted += 1;
        }
        Ok(times)
    };
    if profile && gpu.is_none() {
        machine.set_profile(true);
    }
    let mut times = measured(&mut machine)?;
    let mut profiled = times.len();
    if profile && gpu.is_some() {
        // A GPU's step is measured as it is; for the profile its launches are made one by one.
        machine.set_profile(true);
        profiled = measured(&mut machine)?.len();
    }
    let launches = machine.profile();
    times.sort_unstable();
    let median = times[times.len() / 2];

    let plan = machine.step_plan().ok_or_else(|| Failure::bug("the step has no plan"))?;
    flops.iter_mut().for_each(|all| *all /= counted);
    let flop = flops.iter().sum::<u64>() as f64;
    let gflops = flop / median.as_secs_f64() / 1e9;
    let place = gpu.clone().unwrap_or_else(|| format!("{threads} threads"));
    let mut line = json!({
        "event": "done", "train": &*name, "precision": context.precision(), "batch": batch, "steps": times.len(),
        "step_ms": ms(median), "step_ms_min": ms(times[0]), "first_step_ms": ms(first), "compile_ms": ms(compile),
        "check_ms": ms(checking), "elaborate_ms": ms(elaborating), "generate_ms": ms(generating),
        "first_values_ms": ms(first_values), "examples_per_second": batch as f64 / median.as_secs_f64(),
        "gflop": flop / 1e9, "gflops": gflops, "launches": plan.launches.len(),
    });
    let mut text = format!(
        "{} · batch {batch} · {place} · {} steps\n  step      {:.2} ms (fastest {:.2}) · {} examples/s\n  \
         first     {:.0} ms from process start, of which compiling {:.0} ms and drawing first values {:.0} ms\n  \
         rate      {gflops:.1} GFLOP/s in contractions",
        name,
        times.len(),
        ms(median),
        ms(times[0]),
        number::short(batch as f64 / median.as_secs_f64()),
        ms(first),
        ms(compile),
        ms(first_values),
    );
    // Before the machine is measured, which takes memory, too.
    let peak = peak_megabytes();
    let measured = || match context.products {
        Products::Exact | Products::Tf32 => bdl_kernels::machine::measure_gflops(threads),
        Products::Bf16 => bdl_kernels::machine::measure_gflops_bf16(threads),
    };
    let machine_gflops = gpu.is_none().then(measured);
    let isa = bdl_kernels::machine::isa_name();
    if let Some(machine_gflops) = machine_gflops {
        let predicted = machine.predicted_bytes(batch) as f64 / 1e6;
        (line["threads"], line["machine_gflops"], line["isa"]) = (json!(threads), json!(machine_gflops), json!(isa));
        (line["peak_mb"], line["predicted_peak_mb"]) = (json!(peak), json!(predicted));
        text.push_str(&format!(
            ", {:.0} % of the {machine_gflops:.0} this machine reaches with {isa}\n  \
             memory    {:.0} MB at the peak, {predicted:.0} MB predicted\n",
            100.0 * gflops / machine_gflops,
            peak.unwrap_or(f64::NAN),
        ));
    } else {
        let (free, all) = machine.engine.gpu_memory().unwrap_or_default();
        let used = (all - free) as f64;
        (line["device"], line["device_mb"]) = (json!(gpu), json!(used / 1e6));
        text.push_str(&format!("\n  memory    {} of the GPU's are taken\n", number::bytes(used)));
    }
    if let Some(launches) = launches {
        let gigabytes = match machine.engine.gpu_bandwidth() {
            Some(measured) => measured.map_err(memory_error)? / 1e9,
            None => bdl_kernels::machine::measure_bandwidth(threads),
        };
        let limits = profile::Limits { gflops: machine_gflops, gigabytes };
        let rows = profile::rows(&plan, &launches, &flops, profiled, &machine.usual_sizes(batch), &sources);
        if let Some(path) = wanted.picture {
            picture::write(path, &format!("{name} · batch {batch} · {place}"), &rows, &limits)?;
        }
        line["machine_gb_per_s"] = json!(limits.gigabytes);
        line["profile"] = rows.iter().map(profile::Row::json).collect();
        text.push_str(&profile::table(&rows, &limits));
    }
    print(&if context.global.json { format!("{line}\n") } else { text })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
