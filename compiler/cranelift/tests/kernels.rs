//! Random kernels: compiled equals interpreted, to the bit, at sizes around every block and tile boundary.

#[path = "common/chains.rs"]
mod chains;
mod common;
#[path = "common/ptx.rs"]
mod ptx;

use bdl_cranelift::compile;
use bdl_plan::LoopMode;
use common::{Generator, Random, Style, arrays, check_code};

const SIZES: [i64; 16] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 67];

fn run(style: Style, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let (kernel, stores) = Generator::new(seed, style).finish();
        let code = compile(std::slice::from_ref(&kernel)).unwrap_or_else(|e| panic!("{e}\n{kernel:#?}"));
        for n in SIZES {
            let mut random = Random::new(seed * 1000 + n as u64);
            check_code(&code, &kernel, &arrays(&mut random, &kernel, stores, n), &[n, 3, 2]);
        }
        if style.calls && seed % 16 == 0 {
            // Several tiles.
            let mut random = Random::new(seed);
            check_code(&code, &kernel, &arrays(&mut random, &kernel, stores, 600), &[600, 2, 2]);
        }
    }
}

#[test]
fn element_wise() {
    run(Style { plain: true, calls: false, grid: LoopMode::Lanes }, 0..100);
}

#[test]
fn element_wise_with_calls() {
    run(Style { plain: true, calls: true, grid: LoopMode::Lanes }, 1000..1100);
}

#[test]
fn element_wise_of_all_types() {
    run(Style { plain: false, calls: true, grid: LoopMode::Lanes }, 2000..2100);
}

#[test]
fn rows_with_lanes_inside() {
    run(Style { plain: true, calls: false, grid: LoopMode::Serial }, 3000..3100);
}

#[test]
fn rows_of_all_types_with_calls() {
    run(Style { plain: false, calls: true, grid: LoopMode::Serial }, 4000..4100);
}
