//! Prints GFLOP/s of the contraction on one thread for shapes that models have, beside the `gemm` crate and beside products of bf16 in the same run.
//!
//! `cargo run --release -p bdl-kernels --example contraction_speed [avx512|avx2|portable [PART]]`: the instructions that ours uses, and a part of the names
//! of those to measure.

use bdl_kernels::contraction::{
    Matrix, MatrixMut, Mode, Panels, Taps, bf16, contract_f32, contract_panels_f32, contract_taps_f32, pack_panels_f32,
    panel_width,
};
use bdl_kernels::isa::{Isa, with_isa};
use std::time::Instant;

/// Time this thread has run, so that what else the machine does counts less.
#[cfg(target_os = "linux")]
fn processor_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(not(target_os = "linux"))]
fn processor_seconds() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}

/// GFLOP/s of three ways to do the same work: the best of many short windows, taken in turn, so that neighbours on the
/// machine disturb both alike.
fn best_of(flop: f64, mut works: [&mut dyn FnMut(); 3]) -> [f64; 3] {
    let mut best = [f64::INFINITY; 3];
    let begin = Instant::now();
    let mut windows = 0;
    while windows < 8 || (windows < 60 && begin.elapsed().as_secs_f64() < 0.5) {
        for (work, best) in works.iter_mut().zip(&mut best) {
            let (start, mut calls) = (processor_seconds(), 0);
            while processor_seconds() - start < 0.001 {
                for _ in 0..if flop < 1e5 { 100 } else { 1 } {
                    work();
                    calls += 1;
                }
            }
            *best = best.min((processor_seconds() - start) / f64::from(calls));
        }
        windows += 1;
    }
    best.map(|best| flop / best / 1e9)
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Row, column strides of A, B.
enum Layout {
    /// `x w`
    Forward,
    /// `dy wᵀ`
    InputGradient,
    /// `xᵀ dy`
    WeightGradient,
}

fn main() {
    let isa = match std::env::args().nth(1).as_deref() {
        Some("avx2") => Isa::Avx2,
        Some("portable") => Isa::Portable,
        _ => Isa::detect(),
    };
    let part = std::env::args().nth(2).unwrap_or_default();
    with_isa(isa, || measure(&part));
}

fn measure(part: &str) {
    println!("{}, GFLOP/s on one thread {:>40}", Isa::current().name(), "ours    gemm    bf16");
    let shapes = [
        (64, 2000, 512),
        (64, 512, 2000),
        (64, 512, 512),
        (32, 925, 48000),
        (1024, 1024, 1024),
        (256, 64, 256),
        (4096, 1024, 256),
        (32, 512, 128),
        (16, 1280, 320),
        (1, 1024, 2400),
        (2, 1024, 2400),
        (64, 10, 512),
        (64, 1, 64),
        (1000, 1, 256),
        (4, 4, 4),
        (8, 8, 8),
        (16, 16, 16),
        (32, 32, 32),
        (13440, 200, 330),
    ];
    for (name, layout) in
        [("x w", Layout::Forward), ("dy w^T", Layout::InputGradient), ("x^T dy", Layout::WeightGradient)]
    {
        for (m, n, k) in shapes {
            let named = format!("{name:8} {m:6} x {n:5} x {k:5}");
            if !named.contains(part) {
                continue;
            }
            let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0f32; m * n]);
            let (am, bm) = match layout {
                Layout::Forward => (Matrix::rows(&a, k), Matrix::rows(&b, n)),
                Layout::InputGradient => (Matrix::rows(&a, k), Matrix::rows(&b, k).transposed()),
                Layout::WeightGradient => (Matrix::rows(&a, m).transposed(), Matrix::rows(&b, n)),
            };
            let flop = 2.0 * (m * n * k) as f64;
            let cm = MatrixMut::rows(&mut c, n);
            // SAFETY: buffers of exactly these matrices.
            let mut own = || unsafe { contract_f32(m, n, k, am, bm, cm, Mode::Write) };
            // SAFETY: as above.
            let mut half = || unsafe { bf16::contract_taps(m, n, k, Taps::ONE, am, bm, cm, Mode::Write) };
            let works: [&mut dyn FnMut(); 3] = [&mut own, &mut || gemm_f32(m, n, k, am, bm, cm, false), &mut half];
            let [ours, gemm, half] = best_of(flop, works);
            println!("{named} {ours:32.1} {gemm:7.1} {half:7.1}");
        }
    }
    // Many rows with a right operand in panels, as the executor has it.
    for (m, n, k) in [(168, 256, 512), (2048, 256, 1024), (2048, 1024, 256), (2048, 64, 2048)] {
        let named = format!("panels   {m:6} x {n:5} x {k:5}");
        if !named.contains(part) {
            continue;
        }
        let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0f32; m * n]);
        let (width, panel) = (panel_width(size_of::<f32>()), k * panel_width(size_of::<f32>()));
        let mut packed = vec![0.0f32; panel * n.div_ceil(width)];
        let (am, bm, cm) = (Matrix::rows(&a, k), Matrix::rows(&b, n), MatrixMut::rows(&mut c, n));
        // SAFETY: buffers of exactly these matrices and panels.
        unsafe { pack_panels_f32(k, 0, n, bm, packed.as_mut_ptr(), panel) };
        let panels = Panels { ptr: packed.as_ptr(), row: width as isize, panel };
        // SAFETY: as above.
        let mut own = || unsafe { contract_panels_f32(m, n, k, Taps::ONE, am, panels, cm, Mode::Write) };
        // SAFETY: as above.
        let mut half = || unsafe { bf16::contract_taps(m, n, k, Taps::ONE, am, bm, cm, Mode::Write) };
        let flop = 2.0 * (m * n * k) as f64;
        let [ours, gemm, half] = best_of(flop, [&mut own, &mut || gemm_f32(m, n, k, am, bm, cm, false), &mut half]);
        println!("{named} {ours:32.1} {gemm:7.1} {half:7.1}");
    }
    let convolutions = [
        ("splice 32 ch k11 dilation 1", 30000, 32, 32, 11, 1),
        ("splice 32 ch k11 dilation 4", 30000, 32, 32, 11, 4),
        ("basset 4 -> 320 k19", 38400, 320, 4, 19, 1),
        ("the same, of letters", 38400, 320, 4, 19, 1),
        ("protein letters 20 -> 128 k15", 19200, 128, 20, 15, 1),
        ("basset 300 -> 192 k11", 12800, 192, 300, 11, 1),
    ];
    for (name, m, n, channels, count, dilation) in
        convolutions.into_iter().filter(|convolution| convolution.0.contains(part))
    {
        let (mut x, w, mut c) =
            (numbers((m + count * dilation) * channels), numbers(count * channels * n), vec![0.0f32; m * n]);
        if name.contains("letters") {
            for letter in x.chunks_mut(channels) {
                let one = ((letter[0] + 1.0) * 0.5 * channels as f32) as usize;
                letter.iter_mut().enumerate().for_each(|(at, x)| *x = if at == one { 1.0 } else { 0.0 });
            }
        }
        let dy = numbers(m * n);
        let mut dw = vec![0.0f32; count * channels * n];
        let flop = 2.0 * (m * n * channels * count) as f64;
        let (a, b, cm) = (Matrix::rows(&x, channels), Matrix::rows(&w, n), MatrixMut::rows(&mut c, n));
        let taps = Taps { count, a: (dilation * channels) as isize, b: (channels * n) as isize };
        // SAFETY: x holds the rows of all taps.
        let mut own = || unsafe { contract_taps_f32(m, n, channels, taps, a, b, cm, Mode::Write) };
        let shifted = |t: usize| Matrix { ptr: a.ptr.wrapping_add(t * dilation * channels), ..a };
        let mut peer = || {
            if dilation == 1 {
                gemm_f32(m, n, channels * count, a, b, cm, false);
            } else {
                for t in 0..count {
                    gemm_f32(
                        m,
                        n,
                        channels,
                        shifted(t),
                        Matrix { ptr: b.ptr.wrapping_add(t * channels * n), ..b },
                        cm,
                        t > 0,
                    );
                }
            }
        };
        // SAFETY: as above.
        let mut half = || unsafe { bf16::contract_taps(m, n, channels, taps, a, b, cm, Mode::Write) };
        let [ours, gemm, half] = best_of(flop, [&mut own, &mut peer, &mut half]);
        println!("{name:36} {ours:25.1} {gemm:7.1} {half:7.1}");
        let tap = |t: usize| MatrixMut {
            ptr: dw.as_ptr().cast_mut().wrapping_add(t * channels * n),
            row: n as isize,
            col: 1,
        };
        let dy = Matrix::rows(&dy, n);
        let run = |way: usize| {
            let (calls, rows) = if dilation == 1 { (1, channels * count) } else { (count, channels) };
            for t in 0..calls {
                let x = shifted(t).transposed();
                match way {
                    // SAFETY: as above.
                    0 => unsafe { contract_f32(rows, n, m, x, dy, tap(t), Mode::Write) },
                    1 => gemm_f32(rows, n, m, x, dy, tap(t), false),
                    // SAFETY: as above.
                    _ => unsafe { bf16::contract_taps(rows, n, m, Taps::ONE, x, dy, tap(t), Mode::Write) },
                }
            }
        };
        let [ours, gemm, half] = best_of(flop, [&mut || run(0), &mut || run(1), &mut || run(2)]);
        println!("{:36} {ours:25.1} {gemm:7.1} {half:7.1}", format!("{name}, dw"));
        std::hint::black_box(&mut dw);
    }
}

fn gemm_f32(m: usize, n: usize, k: usize, a: Matrix<f32>, b: Matrix<f32>, c: MatrixMut<f32>, add: bool) {
    let none = gemm::Parallelism::None;
    let alpha = if add { 1.0 } else { 0.0 };
    // SAFETY: the caller's matrices.
    unsafe {
        gemm::gemm(
            m, n, k, c.ptr, c.col, c.row, add, a.ptr, a.col, a.row, b.ptr, b.col, b.row, alpha, 1.0, false, false,
            false, none,
        );
    }
}
