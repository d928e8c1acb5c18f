//! How fast plans run here: element-wise kernels against memcpy, functions on tiles, contractions, phases, compile time.
//!
//! `cargo run --release -p bdl-cranelift --example speed [threads | compile]`

use bdl_cranelift::compile;
use bdl_execute::{Executor, Inputs, Program, Store};
use bdl_plan::{Plan, parse_plan};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Shortest time of a run, in seconds.
fn best(mut run: impl FnMut()) -> f64 {
    run();
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < 0.4 {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn plan_time(executor: &Executor, text: &str) -> f64 {
    let plan: Plan = parse_plan(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    bdl_plan::verify(&plan).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let code = compile(&plan.kernels).expect("a valid kernel");
    let mut program = Program::new(Arc::new(plan), code.kernels()).expect("a valid plan");
    let mut store = Store::new();
    let inputs = Inputs::default();
    program.run(executor, &mut store, &inputs).expect("a run");
    for entry in store.iter_mut() {
        let len = entry.buffer.len();
        entry.buffer.set("", (0..len).map(|i| (i % 97) as f64 / 97.0 - 0.5)).expect("its length");
    }
    best(|| {
        black_box(program.run(executor, &mut store, &inputs).expect("a run"));
    })
}

fn element_wise(n: usize, body: &str) -> String {
    format!(
        "plan p\nbuffer x: f32[{n}] len {n}; state\nbuffer y: f32[{n}] len {n}; state\nbuffer z: f32[{n}] len {n}; state\n\
         kernel k(x: f32 read, y: f32 read, z: f32 write) indices(i) {{\n for i in {n} lanes {{\n %0: f32 = load x[i]\n %1: f32 = load y[i]\n{body}\n}}\n}}\nrun k(x, y, z)\n"
    )
}

fn matrix(m: usize, n: usize, k: usize) -> String {
    let (o, a, b) = (m * n, m * k, k * n);
    format!(
        "plan p\nbuffer o: f32[{o}] len {o}; state\nbuffer a: f32[{a}] len {a}; param\nbuffer b: f32[{b}] len {b}; param\n\
         contract o = a * b {{\n m i: {m} (out {n}, a {k}, b 0)\n n j: {n} (out 1, a 0, b 1)\n k c: {k} (out 0, a 1, b {n})\n}}\n"
    )
}

/// Forward, weight gradient and input gradient of a convolution with padding K / 2.
fn convolution(b: i64, t: i64, c: i64, f: i64, k: i64, padding: i64) -> [(&'static str, String); 3] {
    let o = t + 2 * padding - k + 1;
    let (x, y, w) = (b * t * c, b * o * f, k * c * f);
    let slice = |name: &str, offset: i64| if offset == 0 { name.to_string() } else { format!("{name} + ({offset})") };
    let head = format!(
        "plan p\nbuffer x: f32[{x}] len {x}; state\nbuffer y: f32[{y}] len {y}; state\nbuffer w: f32[{w}] len {w}; param\n"
    );
    let clip = |ta: usize, ka: usize| {
        if padding == 0 { String::new() } else { format!(" clip 1 * #{ta} + 1 * #{ka} + (-{padding}) < {t};\n") }
    };
    let forward = format!(
        "{head}contract y = {} * w {{\n m b: {b} (out {}, a {}, b 0)\n m t: {o} (out {f}, a {c}, b 0)\n n f: {f} (out 1, a 0, b 1)\n \
         k k: {k} (out 0, a {c}, b {})\n k c: {c} (out 0, a 1, b {f})\n{}}}\n",
        slice("x", -padding * c),
        o * f,
        t * c,
        c * f,
        clip(1, 3)
    );
    let weights = format!(
        "{head}contract w = {} * y {{\n m k: {k} (out {}, a {c}, b 0)\n m c: {c} (out {f}, a 1, b 0)\n n f: {f} (out 1, a 0, b 1)\n \
         k b: {b} (out 0, a {}, b {})\n k t: {o} (out 0, a {c}, b {f})\n{}}}\n",
        slice("x", -padding * c),
        c * f,
        t * c,
        o * f,
        clip(4, 0)
    );
    let inputs = format!(
        "{head}contract x = {} * w {{\n m b: {b} (out {}, a {}, b 0)\n m t: {t} (out {c}, a {f}, b 0)\n n c: {c} (out 1, a 0, b {f})\n \
         k k: {k} (out 0, a -{f}, b {})\n k f: {f} (out 0, a 1, b 1)\n clip 1 * #1 + -1 * #3 + {padding} < {o};\n}}\n",
        slice("y", padding * f),
        t * c,
        o * f,
        c * f
    );
    [("forward", forward), ("weights", weights), ("inputs", inputs)]
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("compile") {
        return compile_time();
    }
    let threads = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(0);
    let executor = Executor::new(threads);
    println!("{} threads, {}", executor.threads(), bdl_kernels::machine::isa_name());

    let rounds = 1000;
    let phases: bdl_execute::Job =
        Arc::new(move |w: &mut bdl_execute::Worker<'_>| (0..rounds).try_for_each(|_| w.phase(w.count, |_| {})));
    let phase = best(|| executor.region(phases.clone())) / f64::from(rounds);
    let empty: bdl_execute::Job = Arc::new(|_: &mut bdl_execute::Worker<'_>| Ok(()));
    let region = best(|| executor.region(empty.clone()));
    println!("phase {:.2} µs, empty region {:.2} µs", phase * 1e6, region * 1e6);

    for n in [4 << 10, 64 << 10, 1 << 20, 16 << 20] {
        let relu = " %2: f32 = add %0, %1\n %3: f32 = const 0\n %4: bool = gt %2, %3\n %5: f32 = select %4, %2, %3\n store z[i] = %5\n";
        let seconds = plan_time(&executor, &element_wise(n, relu));
        let (a, mut b) = (vec![1.0f32; n], vec![0.0f32; n]);
        let copy = best(|| black_box(&mut b).copy_from_slice(black_box(&a)));
        println!(
            "add-relu of {n:>8}: {:6.1} GB/s, {:.3} ns an element; memcpy on one thread {:6.1} GB/s",
            12e-9 * n as f64 / seconds,
            seconds * 1e9 / n as f64,
            8e-9 * n as f64 / copy
        );
    }
    for op in ["exp", "tanh", "sigmoid", "log"] {
        let n = 1 << 16;
        let body = format!(" %2: f32 = {op} %0\n %3: f32 = mul %2, %1\n store z[i] = %3\n");
        let seconds = plan_time(&executor, &element_wise(n, &body));
        println!("{op:>8} on tiles: {:.3} ns an element", seconds * 1e9 / n as f64);
    }
    for (m, n, k) in [
        (64, 512, 2000),
        (64, 256, 512),
        (64, 2000, 512),
        (2000, 512, 64),
        (1024, 1024, 1024),
        (4096, 256, 1024),
        (64, 3, 64),
    ] {
        let seconds = plan_time(&executor, &matrix(m, n, k));
        println!(
            "{m:>5} x {n:>4} x {k:>4}: {:6.1} GFLOP/s, {:.1} µs",
            2e-9 * (m * n * k) as f64 / seconds,
            seconds * 1e6
        );
    }
    for (b, t, c, f, k, padding) in [
        (64, 60, 4, 32, 9, 0),
        (64, 60, 4, 32, 9, 4),
        (64, 26, 32, 64, 5, 0),
        (64, 26, 32, 64, 5, 2),
        (64, 200, 32, 32, 11, 5),
    ] {
        for (what, text) in convolution(b, t, c, f, k, padding) {
            let seconds = plan_time(&executor, &text);
            let o = t + 2 * padding - k + 1;
            let flops = 2e-9 * (b * o * c * f * k) as f64;
            println!(
                "conv B {b} T {t} C {c} F {f} K {k} P {padding} {what:>8}: {:6.1} GFLOP/s, {:.1} µs",
                flops / seconds,
                seconds * 1e6
            );
        }
    }

    compile_time();
}

/// Distinct kernels of ordinary size.
fn compile_time() {
    let kernels: Vec<_> = (0..200)
        .map(|i| {
            let body = format!(" %2: f32 = add %0, %1\n %3: f32 = const {i}.5\n %4: f32 = max %2, %3\n %5: f32 = exp %4\n %6: f32 = mul %5, %1\n store z[i] = %6\n");
            parse_plan(&element_wise(1000, &body)).expect("a plan").kernels.remove(0)
        })
        .collect();
    let start = Instant::now();
    let code = compile(&kernels).expect("valid kernels");
    let time = start.elapsed().as_secs_f64();
    println!("compile {:.2} ms a kernel, {} bytes", time * 1e3 / kernels.len() as f64, code.bytes() / kernels.len());
}
