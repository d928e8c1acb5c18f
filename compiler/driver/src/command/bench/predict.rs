//! `bdl bench FILE --predict ROWS`: the time of one answer for so many rows at once, by a process that stays.

use super::{FEWEST, WARM_UP, Wanted, ms, picture, profile, started};
use crate::command::{Context, print};
use crate::error::Failure;
use crate::memory::{self, PROCESS_BYTES, peak_megabytes};
use crate::pipeline::{self, Checked};
use crate::run::fed::Fed;
use crate::run::machine::initialise;
use crate::run::machine::memory_error;
use crate::show::number;
use bdl_check::hir::Train;
use bdl_execute::{Executor, Store};
use bdl_plan::Products;
use bdl_train::Moment;
use serde_json::json;
use std::time::{Duration, Instant};

pub fn run(context: &Context, checked: &Checked, train: &Train, wanted: &Wanted, rows: usize) -> Result<u8, Failure> {
    let block = checked.data(&train.data)?;
    let dataset = block.dataset.as_ref().ok_or_else(|| Failure::bug("data that was not read"))?;
    let all: Vec<u32> = (0..dataset.rows() as u32).collect();
    let data = dataset.encode(&dataset.fit(&all)?)?;

    let compiling = Instant::now();
    let program = pipeline::predict(checked, train)?;
    if program.outputs.is_empty() {
        return Err(Failure::user("no-train", "the block predicts nothing, so there is no answer to measure")
            .help("add `predict NAME = ..` to the `train` block"));
    }
    let mut engine = context.engine()?;
    engine.expect_batch(train.batch);
    let ready = engine.compile(&program, context.real)?;
    let mut compile = checked.time + compiling.elapsed();
    let compiling = Instant::now();
    let init = pipeline::first_values(checked, train, &program)?;
    bdl_kernels::machine::large_pages();
    let mut store = Store::new();
    let seed = context.global.seed.unwrap_or(0);
    let drawing = initialise(&init, context.real, &Executor::new(0), &mut store, seed)?;
    compile += compiling.elapsed().saturating_sub(drawing);
    let mut fed = Fed::of(ready, &data, &block.lengths)?;
    fed.program.keep_weights();

    memory::collect();
    let rows = rows.min(all.len());
    let batches = all.len() / rows.max(1);
    let mut asked = 0;
    let mut answer = |fed: &mut Fed| -> Result<Duration, Failure> {
        let first = asked % batches.max(1) * rows;
        asked += 1;
        let begun = Instant::now();
        fed.run(&mut engine, &mut store, &data, &all[first..first + rows], Moment { seed, ..Moment::default() })?;
        Ok(begun.elapsed())
    };
    answer(&mut fed)?;
    let first = started().elapsed();
    for _ in 0..WARM_UP {
        answer(&mut fed)?;
    }
    let is_profiled = wanted.profile || wanted.picture.is_some();
    fed.program.set_profile(is_profiled);
    let (mut times, begun) = (Vec::new(), Instant::now());
    while times.len() < FEWEST || begun.elapsed().as_secs_f64() < wanted.seconds {
        times.push(answer(&mut fed)?);
    }
    times.sort_unstable();
    let median = times[times.len() / 2];

    let gpu = engine.gpu();
    let threads = context.threads();
    let place = gpu.clone().unwrap_or_else(|| format!("{threads} threads"));
    let flops = fed.program.flop().to_vec();
    let gflops = flops.iter().sum::<u64>() as f64 / median.as_secs_f64() / 1e9;
    let predicted = store.bytes() + fed.tensor_bytes(rows) + data.bytes() + fed.copied_bytes() + PROCESS_BYTES;
    let peak = peak_megabytes();
    let mut line = json!({
        "event": "done", "train": &*train.name, "precision": context.precision(), "rows": rows, "answers": times.len(),
        "answer_ms": ms(median), "answer_ms_min": ms(times[0]), "first_answer_ms": ms(first), "compile_ms": ms(compile),
        "gflop": flops.iter().sum::<u64>() as f64 / 1e9, "gflops": gflops, "launches": fed.program.plan().launches.len(),
        "peak_mb": peak, "predicted_peak_mb": predicted as f64 / 1e6,
    });
    let mut text = format!(
        "{} · {rows} rows at once · {place} · {} answers\n  answer    {:.3} ms (fastest {:.3}) · {} rows/s\n  \
         first     {:.0} ms from process start, of which compiling {:.0} ms\n  rate      {gflops:.1} GFLOP/s in contractions\n  \
         memory    {:.0} MB at the peak, {:.0} MB predicted\n",
        train.name,
        times.len(),
        ms(median),
        ms(times[0]),
        number::short(rows as f64 / median.as_secs_f64()),
        ms(first),
        ms(compile),
        peak.unwrap_or(f64::NAN),
        predicted as f64 / 1e6,
    );
    match &gpu {
        Some(gpu) => line["device"] = json!(gpu),
        None => line["threads"] = json!(threads),
    }
    if let Some(launches) = fed.program.profile().map(<[Duration]>::to_vec) {
        let gflops = gpu.is_none().then(|| match context.products {
            Products::Exact | Products::Tf32 => bdl_kernels::machine::measure_gflops(threads),
            Products::Bf16 => bdl_kernels::machine::measure_gflops_bf16(threads),
        });
        let gigabytes = match engine.gpu_bandwidth() {
            Some(measured) => measured.map_err(memory_error)? / 1e9,
            None => bdl_kernels::machine::measure_bandwidth(threads),
        };
        let limits = profile::Limits { gflops, gigabytes };
        let plan = fed.program.plan().clone();
        let sizes = fed.usual_sizes(rows);
        let launches = profile::rows(&plan, &launches, &flops, times.len(), &sizes, &checked.source.sources);
        if let Some(path) = wanted.picture {
            picture::write(path, &format!("{} · {rows} rows · {place}", train.name), &launches, &limits)?;
        }
        line["machine_gb_per_s"] = json!(limits.gigabytes);
        line["profile"] = launches.iter().map(profile::Row::json).collect();
        text.push_str(&profile::table(&launches, &limits));
    }
    print(&if context.global.json { format!("{line}\n") } else { text })
}
