//! Random kernels: compiled equals interpreted, to the bit, at sizes around every block and tile boundary.

#[path = "common/chains.rs"]
mod chains;
mod common;
#[path = "common/ptx.rs"]
mod ptx;

use bdl_cranelift::compile;
use bdl_execute::reference::{Array, run_kernel};
use bdl_kernels::isa::{Isa, with_isa};
use bdl_plan::{DType, LoopMode};
use common::{Generator, Mix, Random, Style, arrays, check_code};

const SIZES: [i64; 16] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 67];

fn run(style: Style, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let (kernel, stores) = Generator::new(seed, style).finish();
        // On vectors of 512 and 256 bits where there are any, and without.
        for isa in Isa::available() {
            let code = with_isa(isa, || compile(std::slice::from_ref(&kernel)));
            let code = code.unwrap_or_else(|e| panic!("{e}\n{kernel}"));
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
}

/// Most of these loops run on vectors of 512 or 256 bits where there are any.
#[test]
fn wide_loops() {
    let styles =
        [(false, LoopMode::Lanes), (true, LoopMode::Lanes), (false, LoopMode::Serial), (true, LoopMode::Serial)];
    for (number, (calls, grid)) in styles.into_iter().enumerate() {
        let style = Style { mix: Mix::Wide, calls, grid };
        let seeds = 5000 + 1000 * number as u64..5150 + 1000 * number as u64;
        run(style, seeds.clone());
        for isa in Isa::available().filter(|isa| *isa != Isa::Portable) {
            let text = |seed| bdl_cranelift::asm_text(&Generator::new(seed, style).finish().0).unwrap();
            let is_wide = |seed: &u64| with_isa(isa, || text(*seed)).contains("; u0:0");
            let wide = seeds.clone().filter(is_wide).count();
            assert!(wide > 100, "{wide} of 150 kernels are wide on {}", isa.name());
        }
    }
}

#[test]
fn element_wise() {
    run(Style { mix: Mix::Plain, calls: false, grid: LoopMode::Lanes }, 0..100);
}

#[test]
fn element_wise_with_calls() {
    run(Style { mix: Mix::Plain, calls: true, grid: LoopMode::Lanes }, 1000..1100);
}

#[test]
fn element_wise_of_all_types() {
    run(Style { mix: Mix::All, calls: true, grid: LoopMode::Lanes }, 2000..2100);
}

#[test]
fn rows_with_lanes_inside() {
    run(Style { mix: Mix::Plain, calls: false, grid: LoopMode::Serial }, 3000..3100);
}

#[test]
fn rows_of_all_types_with_calls() {
    run(Style { mix: Mix::All, calls: true, grid: LoopMode::Serial }, 4000..4100);
}

/// Every sign, exponent and kept digit, with the digits that are dropped just below, at and above the half.
fn around_halves(every: usize) -> Vec<f32> {
    let upper = (0..=0xffffu32).step_by(every);
    let lower = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
    upper.flat_map(|upper| lower.map(|lower| f32::from_bits(upper << 16 | lower))).collect()
}

/// The nearer of the two bf16 around a number, of equally near ones the even one; beyond the largest stands 2^128, which is infinite.
fn nearest_bf16(x: f32) -> f32 {
    if !x.is_finite() {
        return x;
    }
    let number = |upper: u32| match upper & 0x7fff {
        0x7f80 => 2f64.powi(128),
        _ => f64::from(f32::from_bits((upper & 0x7fff) << 16)),
    };
    let (size, below) = (f64::from(x.abs()), x.to_bits() >> 16);
    let (down, up) = (size - number(below), number(below + 1) - size);
    let upper = if down < up || down == up && below & 1 == 0 { below } else { below + 1 };
    f32::from_bits(upper << 16)
}

const ROUNDING: &str = "
plan p
size B batch
slot 4 * B
slot 2 * B
buffer x: f32[B] len B; input per_example
buffer y: f32[B] len B; slot 0
buffer h: bf16[B] len B; slot 1

kernel near(x: f32 read, y: f32 write, h: bf16 write) sizes(B) indices(i) {
  for i in B lanes {
    %0: f32 = load x[i]
    %1: f32 = bf16 %0
    store y[i] = %1
    store h[i] = %0
  }
}

run near(x, y, h)
";

#[test]
fn rounding_to_bf16_is_what_a_store_does() {
    for text in [ROUNDING.to_string(), ROUNDING.replace(" lanes", "")] {
        let plan = bdl_plan::parse_plan(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        bdl_plan::verify(&plan).unwrap_or_else(|e| panic!("{e}"));
        let kernel = &plan.kernels[0];
        let code = compile(&plan.kernels).unwrap();
        // A few blocks of vectors and a rest.
        for (x, on_gpu) in [(around_halves(1), false), (around_halves(97), true)] {
            let n = x.len();
            let arrays = [Array::F32(x.clone()), Array::F32(vec![0.5; n]), Array::BF16(vec![1; n])];
            check_code(&code, kernel, &arrays, &[n as i64]);
            if on_gpu {
                assert!(ptx::check(kernel, &arrays, &[n as i64], 3));
            }
            let mut found = arrays.to_vec();
            let buffers: Vec<(usize, i64)> = (0..3).map(|i| (i, 0)).collect();
            run_kernel(kernel, &mut found, &buffers, &|_| Some(n as i64), 0, n as i64).unwrap();
            for (i, x) in x.iter().enumerate() {
                let (rounded, stored, expected) = (found[1].at(i), found[2].at(i), f64::from(nearest_bf16(*x)));
                let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                assert!(
                    same(rounded, expected) && same(stored, expected),
                    "{x:e}: {rounded:e} {stored:e} {expected:e}"
                );
            }
        }
    }
}

/// Sums over the neighbours of a node, for each of N features: rows found by numbers that the loop reads, some of them outside.
const NEIGHBOURS: &str = "
kernel neighbours(runs: i32 read, sorted: i32 read, of: i32 read, x: f32 read, scale: f32 read, y: f32 write) sizes(N) indices(v, c, n, d, m) {
  for v in 7 {
    %0: f32 = const 0.5
    %1: i32 = load runs[v]
    %2: i32 = load runs[v + 1]
    %3: i64 = convert %1
    %4: i64 = convert %2
    for c in 0..N lanes {
      variable @0: f32 = %0
      variable @1: f32 = %0
      for n in %3..%4 {
        %5: i32 = load sorted[n]
        %6: i32 = load of[%5 * 2 + 1]
        %7: f32 = load x[c + %6 * 70 + 140]
        %8: f32 = load scale[n]
        %9: f32 = load scale[%5 * 3 + 1]
        %10: f32 = mul %7, %8
        @0 sum= %10
        %11: f32 = load x[c + %6 * 70] guard [%6 + (-1)] < 4 else -2.5
        @1 max= %11
      }
      %12: f32 = read @0
      %13: f32 = read @1
      %14: f32 = sub %12, %13
      store y[v * N + c] = %14
    }
    for d in 0..N lanes {
      variable @2: f32 = %0
      for m in 0..5 {
        %15: f32 = load x[d + m * 70 + v]
        %16: f32 = load scale[m + v]
        %17: f32 = mul %15, %16
        %18: i32 = load of[m + v]
        %19: i32 = load runs[v]
        %20: bool = le %18, %19
        %21: f32 = select %20, %17, %0
        @2 sum= %21
      }
      %22: f32 = read @2
      store y[v * N + d + (7 * N)] = %22
    }
  }
}
";

#[test]
fn rows_of_numbers_that_a_loop_reads() {
    // One number of such a row for all lanes is not for wide code.
    let shared = NEIGHBOURS.replace("load scale[%5 * 3 + 1]", "load scale[n + 1]");
    for (text, is_wide) in [(NEIGHBOURS, false), (&shared, true)] {
        let kernel = bdl_plan::parse_kernel(text);
        let kernel = kernel.unwrap_or_else(|e| panic!("{e}"));
        if Isa::detect() == Isa::Avx512 {
            let text = bdl_cranelift::asm_text(&kernel).unwrap();
            assert_eq!(text.contains("imul rax"), is_wide, "{text}");
        }
        for isa in Isa::available() {
            let code = with_isa(isa, || compile(std::slice::from_ref(&kernel))).unwrap();
            for n in SIZES {
                let mut random = Random::new(n as u64);
                let mut some = |count: usize, below: usize| -> Vec<f64> {
                    (0..count).map(|_| random.below(below) as f64).collect()
                };
                let runs = [0.0, 3.0, 3.0, 4.0, 9.0, 12.0, 12.0, 20.0];
                let arrays = [
                    Array::from_f64(DType::I32, &runs),
                    Array::from_f64(DType::I32, &some(20, 20)),
                    Array::from_f64(DType::I32, &some(41, 6)),
                    Array::from_f64(DType::F32, &some(8 * 70 + 70, 1000)),
                    Array::from_f64(DType::F32, &some(70, 100)),
                    Array::from_f64(DType::F32, &vec![0.0; 14 * n as usize + 1]),
                ];
                check_code(&code, &kernel, &arrays, &[n]);
            }
        }
    }
}
