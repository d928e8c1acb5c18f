//! Prints nanoseconds per element of every slice function, for each instruction set of this machine.
//!
//! `cargo run --release -p bdl-kernels --example vector_math_speed`

use bdl_kernels::isa::{Isa, with_isa};
use bdl_kernels::philox::{DrawKey, fill_bernoulli_f32, fill_normal_f32, fill_uniform_f32};
use bdl_kernels::vector_math::{Function, pow_f32, unary_f32, unary_f64};
use std::time::Instant;

/// Elements of a slice: inputs and results stay in the first-level cache.
const N: usize = 2048;

/// Best of several runs, in nanoseconds an element.
fn best(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..15 {
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed().as_secs_f64() < 0.002 {
            for _ in 0..8 {
                work();
            }
            calls += 8;
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(calls));
    }
    best / N as f64 * 1e9
}

fn main() {
    let isas: Vec<Isa> = Isa::available().collect();
    print!("{:20}", "ns per element");
    isas.iter().for_each(|isa| print!("{:>10}", isa.name()));
    println!();
    let row = |name: &str, work: &mut dyn FnMut()| {
        print!("{name:20}");
        for &isa in &isas {
            print!("{:10.2}", with_isa(isa, || best(&mut *work)));
        }
        println!();
    };
    let x: Vec<f32> = (0..N).map(|i| 0.05 + i as f32 * (8.0 / N as f32)).collect();
    let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let (mut y, mut z) = (vec![0.0f32; N], vec![0.0f64; N]);
    for function in Function::ALL {
        // SAFETY: both hold N elements.
        row(function.name(), &mut || unsafe { unary_f32(function)(N, x.as_ptr(), y.as_mut_ptr()) });
    }
    row("pow", &mut || pow_f32(&x, &x, &mut y));
    for function in Function::ALL {
        // SAFETY: both hold N elements.
        row(&format!("{} f64", function.name()), &mut || unsafe {
            unary_f64(function)(N, wide.as_ptr(), z.as_mut_ptr())
        });
    }
    let key = DrawKey { seed: 1, step: 2, site: 3 };
    row("uniform", &mut || fill_uniform_f32(key, 0, 0, &mut y));
    row("bernoulli", &mut || fill_bernoulli_f32(key, 0, 0, 0.5, &mut y));
    row("normal", &mut || fill_normal_f32(key, 0, 0, &mut y));
}
