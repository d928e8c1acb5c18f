//! The time of each launch of a plan that was printed by `bdl emit --stage plan`, on made-up numbers.
//!
//! `cargo run --release -p bdl-cranelift --example profile -- PLAN [batch [threads]]`

use bdl_cranelift::compile;
use bdl_execute::{Data, Executor, Inputs, Program, Store};
use bdl_plan::{DType, Launch, Op, Place, parse_plan, verify};
use std::sync::Arc;
use std::time::Instant;

/// Launches in the order of the profile: those of a loop after it.
fn flat<'p>(launches: &'p [Launch], into: &mut Vec<&'p Launch>) {
    for launch in launches {
        into.push(launch);
        if let Op::Scan(scan) = &launch.op {
            flat(&scan.body, into);
        }
        if let Op::Iterate(iterate) = &launch.op {
            flat(&iterate.condition, into);
            flat(&iterate.body, into);
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize, otherwise: usize| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(otherwise);
    let path = args.get(1).expect("the path of a plan");
    let text = std::fs::read_to_string(path).expect("a readable file");
    let plan = parse_plan(&text).unwrap_or_else(|e| panic!("{e}"));
    verify(&plan).unwrap_or_else(|e| panic!("{e}"));
    let start = Instant::now();
    let code = compile(&plan.kernels).unwrap_or_else(|e| panic!("{e}"));
    let compiled = start.elapsed();
    let (batch, executor) = (number(2, 64), Executor::new(number(3, 0)));
    let plan = Arc::new(plan);
    let size = |name: &str| plan.sizes.iter().any(|s| &*s.name == name).then_some(batch as i64);
    let data: Vec<(&str, Vec<f32>, Vec<i32>)> = plan
        .buffers
        .iter()
        .filter(|b| matches!(b.place, Place::Input { .. }))
        .map(|b| {
            let len = b.len.eval(&size).unwrap_or(0) as usize;
            (&*b.name, (0..len).map(|i| (i * 7 % 11) as f32 / 11.0 + 0.01).collect(), vec![0; len])
        })
        .collect();
    let is_integer = |name: &str| plan.buffers.iter().any(|b| &*b.name == name && b.dtype == DType::I32);
    let buffers = data.iter().map(|(n, x, i)| (*n, if is_integer(n) { Data::I32(i) } else { Data::F32(x) })).collect();
    let inputs = Inputs { batch, buffers, ..Inputs::default() };
    let mut program = Program::new(plan.clone(), code.kernels()).unwrap_or_else(|e| panic!("{e}"));
    let mut store = Store::new();
    let mut run = |program: &mut Program| {
        let start = Instant::now();
        program.run(&executor, &mut store, &inputs).unwrap_or_else(|e| panic!("{e}"));
        start.elapsed().as_secs_f64()
    };
    let rounds = 300;
    let mut times: Vec<f64> = (0..rounds).map(|_| run(&mut program)).collect();
    times.sort_by(f64::total_cmp);
    // The fastest of several profiles, launch by launch.
    let mut launches = Vec::new();
    flat(&plan.launches, &mut launches);
    let mut fastest = vec![f64::INFINITY; launches.len()];
    for _ in 0..rounds {
        program.set_profile(true);
        run(&mut program);
        for (fastest, time) in fastest.iter_mut().zip(program.profile().unwrap_or_default()) {
            *fastest = fastest.min(time.as_secs_f64());
        }
    }
    println!(
        "{} kernels ({} distinct) compiled in {:.1} ms; a run takes {:.1} µs (median {:.1}), {:.1} µs launch by launch, on {} threads",
        plan.kernels.len(),
        code.distinct(),
        compiled.as_secs_f64() * 1e3,
        times[0] * 1e6,
        times[rounds / 2] * 1e6,
        fastest.iter().sum::<f64>() * 1e6,
        executor.threads()
    );
    let mut order: Vec<usize> = (0..launches.len()).collect();
    order.sort_by(|a, b| fastest[*b].total_cmp(&fastest[*a]));
    for i in order.into_iter().take(40) {
        let what = match &launches[i].op {
            Op::Kernel(used) => format!("run {}", plan.kernels[used.kernel.0 as usize].name),
            Op::Contract(c) => {
                let extents: Vec<String> = c.axes.iter().map(|a| format!("{:?} {}", a.role, a.extent)).collect();
                let then = if c.epilogue.is_some() { " then .." } else { "" };
                format!("contract {} ({}){then}", plan.buffers[c.out.buffer.0 as usize].name, extents.join(", "))
            }
            Op::Draw(_) => "draw".to_string(),
            Op::Copy { .. } => "copy".to_string(),
            Op::Clear { .. } => "clear".to_string(),
            Op::Scan(scan) => format!("scan {}", scan.step),
            Op::Order { .. } => "order".to_string(),
            Op::Iterate(_) => "iterate".to_string(),
            Op::Sort(_) => "sort".to_string(),
            Op::Library { .. } => "library".to_string(),
        };
        println!("{:8.1} µs  {i:3} {what} — {}", fastest[i] * 1e6, launches[i].origin.what);
    }
}
