//! Bits against the definition, on every instruction set; values against f64.

use super::*;
use crate::contraction::CHUNK;
use crate::isa::with_isa;

/// Numbers in [-1, 1) from a position (the mixing steps of SplitMix64).
fn number(i: usize) -> f64 {
    let mut z = (i as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| number(i + seed * 1_000_003) as f32).collect()
}

fn without_small(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0f32.copysign(x) } else { x }
}

/// The definition, row-major.
fn definition(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32], mode: Mode) {
    for i in 0..m {
        for j in 0..n {
            let mut total = if mode == Mode::Add { Some(c[i * n + j]) } else { None };
            for from in (0..k).step_by(CHUNK) {
                let end = k.min(from + CHUNK);
                let factors = |q: usize| {
                    if q < end { (rounded(a[i * k + q]), rounded(b[q * n + j])) } else { (0.0, 0.0) }
                };
                let mut sum = 0.0f32;
                for first in (from..end).step_by(2) {
                    for (x, y) in [factors(first + 1), factors(first)] {
                        sum = without_small(x.mul_add(y, sum));
                    }
                }
                total = Some(total.map_or(sum, |t| t + sum));
            }
            c[i * n + j] = total.unwrap_or(0.0);
        }
    }
}

const SHAPES: &[(usize, usize, usize)] = &[
    (1, 1, 1),
    (1, 1, 1501),
    (1, 7, 3),
    (1, 300, 40),
    (2, 1, 600),
    (3, 5, 7),
    (13, 31, 513),
    (14, 32, 512),
    (15, 33, 511),
    (16, 16, 16),
    (17, 64, 9),
    (64, 10, 130),
    (5, 400, 20),
    (43, 17, 1030),
    (170, 530, 33),
    (100, 3, 12),
];

fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        assert!(x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan(), "{what}: element {i} is {x:e}, not {y:e}");
    }
}

#[test]
fn every_instruction_set_follows_the_definition_to_the_bit() {
    for &(m, n, k) in SHAPES {
        let (a, b, old) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
        for mode in [Mode::Write, Mode::Add] {
            let mut expected = old.clone();
            definition(m, n, k, &a, &b, &mut expected, mode);
            for isa in Isa::available() {
                let mut c = old.clone();
                with_isa(isa, || product(m, n, k, &a, &b, &mut c, mode));
                assert_same(&c, &expected, &format!("{m} x {n} x {k} {mode:?} on {}", isa.name()));
            }
        }
    }
}

/// Numbers of every size, among them those whose products and sums are below the smallest normal number, infinities and NaN.
#[test]
fn small_and_large_numbers() {
    let (m, n, k) = (20, 40, 10);
    let any = |i: usize| {
        let x = (number(i) + 1.0) * 2f64.powi(31);
        f32::from_bits(x as u32)
    };
    let near_the_end = |i: usize| (number(i) as f32) * 2f32.powi(-63 - (i % 3) as i32);
    for make in [any as fn(usize) -> f32, near_the_end] {
        for round in 0..20 {
            let a: Vec<f32> = (0..m * k).map(|i| make(i + 5000 * round)).collect();
            let b: Vec<f32> = (0..k * n).map(|i| make(i + 5000 * round + 1_000_000)).collect();
            let mut expected = vec![0.0; m * n];
            definition(m, n, k, &a, &b, &mut expected, Mode::Write);
            for isa in Isa::available() {
                let mut c = vec![0.0; m * n];
                with_isa(isa, || product(m, n, k, &a, &b, &mut c, Mode::Write));
                assert_same(&c, &expected, isa.name());
            }
        }
    }
}

#[test]
fn factors_are_rounded_half_to_even() {
    for (x, expected) in [
        (1.0 + 1.0 / 256.0, 1.0),
        (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
        (-1.0 - 1.5 / 256.0, -1.0 - 2.0 / 256.0),
        (f32::MAX, f32::INFINITY),
        (f32::MIN_POSITIVE, f32::MIN_POSITIVE),
        (f32::MIN_POSITIVE / 2.0, 0.0),
        (-f32::MIN_POSITIVE / 2.0, -0.0),
        (f32::INFINITY, f32::INFINITY),
    ] {
        assert_eq!(rounded(x).to_bits(), expected.to_bits(), "{x:e}");
        let mut c = [0.0];
        product(1, 1, 1, &[x], &[1.0], &mut c, Mode::Write);
        assert_eq!(c, [expected], "{x:e}");
    }
    assert!(rounded(f32::from_bits(0x7f80_0001)).is_nan());
}

/// Any operand layout: row-major, column-major, spread out, backwards; C too.
#[test]
fn strides_do_not_change_the_bits() {
    let (m, n, k) = (19, 37, 531);
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let mut expected = numbers(m * n, 3);
    definition(m, n, k, &a, &b, &mut expected, Mode::Add);
    // (row stride, column stride, offset) of an r x c matrix in a buffer of 4 r c.
    let layouts = |r: usize, c: usize| {
        let (r, c) = (r as isize, c as isize);
        [(c, 1, 0), (1, r, 0), (2 * c, 2, 1), (2, 2 * r, 0), (c + 3, 1, 2), (-c, 1, (r - 1) * c), (-1, -r, r * c - 1)]
    };
    let place = |data: &[f32], r: usize, c: usize, (row, col, offset): (isize, isize, isize)| {
        let mut out = vec![f32::NAN; 4 * r * c + 64];
        for i in 0..r {
            for j in 0..c {
                out[(offset + i as isize * row + j as isize * col) as usize] = data[i * c + j];
            }
        }
        out
    };
    let old = numbers(m * n, 3);
    for isa in Isa::available() {
        for (x, &la) in layouts(m, k).iter().enumerate() {
            for (y, &lb) in layouts(k, n).iter().enumerate() {
                let lc = layouts(m, n)[(x + 2 * y) % 7];
                let (pa, pb, mut pc) = (place(&a, m, k, la), place(&b, k, n, lb), place(&old, m, n, lc));
                let before = pc.clone();
                // SAFETY: the layouts lie inside their buffers.
                unsafe {
                    let a = Matrix { ptr: pa.as_ptr().offset(la.2), row: la.0, col: la.1 };
                    let b = Matrix { ptr: pb.as_ptr().offset(lb.2), row: lb.0, col: lb.1 };
                    let c = MatrixMut { ptr: pc.as_mut_ptr().offset(lc.2), row: lc.0, col: lc.1 };
                    with_isa(isa, || contract_taps(m, n, k, Taps::ONE, a, b, c, Mode::Add));
                }
                let mut touched = vec![false; pc.len()];
                for i in 0..m {
                    for j in 0..n {
                        let at = (lc.2 + i as isize * lc.0 + j as isize * lc.1) as usize;
                        touched[at] = true;
                        assert_eq!(pc[at], expected[i * n + j], "A {la:?} B {lb:?} C {lc:?} at {i}, {j}");
                    }
                }
                let outside = (0..pc.len()).all(|i| touched[i] || pc[i].to_bits() == before[i].to_bits());
                assert!(outside, "wrote outside of C {lc:?} on {}", isa.name());
            }
        }
    }
}

/// A row and a block have the same bits alone as in the whole product.
#[test]
fn any_cut_of_the_product_gives_the_same_bits() {
    for (m, n, k) in [(45, 70, 1101), (30, 1, 700), (1, 90, 700), (70, 2, 33), (180, 300, 100)] {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let mut whole = vec![0.0f32; m * n];
        product(m, n, k, &a, &b, &mut whole, Mode::Write);
        let block = |rows: std::ops::Range<usize>, cols: std::ops::Range<usize>| {
            let mut c = vec![0.0f32; rows.len() * cols.len()];
            // SAFETY: the block lies inside the matrices.
            unsafe {
                let a = Matrix { ptr: a.as_ptr().add(rows.start * k), row: k as isize, col: 1 };
                let b = Matrix { ptr: b.as_ptr().add(cols.start), row: n as isize, col: 1 };
                let c = MatrixMut::rows(&mut c, cols.len());
                contract_taps(rows.len(), cols.len(), k, Taps::ONE, a, b, c, Mode::Write);
            }
            for (x, i) in rows.enumerate() {
                for (y, j) in cols.clone().enumerate() {
                    assert_eq!(c[x * cols.len() + y].to_bits(), whole[i * n + j].to_bits(), "{i}, {j}");
                }
            }
        };
        for i in 0..m {
            block(i..i + 1, 0..n);
        }
        for j in 0..n {
            block(0..m, j..j + 1);
        }
        block(m / 3..m - m / 4, n / 3..n - n / 4);
    }
}

/// A convolution reads overlapping rows and steps over taps; with the weights in panels too, where pairs do not cross taps.
#[test]
fn overlapping_rows_taps_and_panels() {
    for (length, channels, filters, taps, dilation) in
        [(40, 4, 20, 5, 1), (60, 32, 70, 20, 2), (30, 1, 3, 3, 2), (25, 101, 7, 6, 3), (25, 7, 40, 1, 1)]
    {
        let rows = length - (taps - 1) * dilation;
        let x = numbers(length * channels, 1);
        let w = numbers(taps * channels * filters, 2);
        // The same rows copied out one after the other.
        let copied: Vec<f32> = (0..rows)
            .flat_map(|i| (0..taps).map(move |t| i + t * dilation))
            .flat_map(|at| x[at * channels..(at + 1) * channels].to_vec())
            .collect();
        let mut expected = vec![0.0; rows * filters];
        definition(rows, filters, taps * channels, &copied, &w, &mut expected, Mode::Write);
        for isa in Isa::available() {
            with_isa(isa, || {
                let (a, b) = (Matrix::rows(&x, channels), Matrix::rows(&w, filters));
                let mut c = vec![0.0f32; rows * filters];
                let strides = Taps { count: taps, a: (dilation * channels) as isize, b: (channels * filters) as isize };
                // SAFETY: the last row's last tap ends at the end of x.
                unsafe {
                    let c = MatrixMut::rows(&mut c, filters);
                    contract_taps(rows, filters, channels, strides, a, b, c, Mode::Write);
                }
                assert_same(&c, &expected, &format!("{taps} taps of {channels} on {}", isa.name()));
                if taps > 1 && channels % 2 == 1 {
                    return;
                }
                let width = panel_width();
                let panel = (taps * channels).div_ceil(2) * width;
                let mut panels = vec![f32::NAN; panel * filters.div_ceil(width)];
                let mut c = vec![0.0f32; rows * filters];
                // SAFETY: as above; the panels have room for all steps.
                unsafe {
                    pack_panels(taps * channels, filters, b, panels.as_mut_ptr(), panel);
                    let half = (width / 2) as isize;
                    let b = Panels { ptr: panels.as_ptr(), row: half, panel };
                    let strides = Taps { b: channels as isize * half, ..strides };
                    let c = MatrixMut::rows(&mut c, filters);
                    contract_panels(rows, filters, channels, strides, a, b, c, Mode::Write);
                }
                assert_same(&c, &expected, &format!("panels of {taps} taps of {channels} on {}", isa.name()));
            });
        }
    }
}

#[test]
fn near_f64_and_off_by_the_rounding_of_factors() {
    let (m, n, k) = (31, 57, 900);
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let mut c = vec![0.0f32; m * n];
    product(m, n, k, &a, &b, &mut c, Mode::Write);
    let mut is_rounded = false;
    for i in 0..m {
        for j in 0..n {
            let of = |near: &dyn Fn(f32) -> f32| -> (f64, f64) {
                let terms = (0..k).map(|q| f64::from(near(a[i * k + q])) * f64::from(near(b[q * n + j])));
                terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()))
            };
            let ((rounded, size), (exact, _)) = (of(&rounded), of(&|x| x));
            let found = f64::from(c[i * n + j]);
            assert!((found - rounded).abs() < 4e-7 * size, "{i}, {j}: {found} {rounded}");
            // Each factor is off by 2^-9 of itself at most.
            assert!((found - exact).abs() < 2.01 * 2f64.powi(-9) * size, "{i}, {j}: {found} {exact}");
            is_rounded |= (found - exact).abs() > 1e-5 * size;
        }
    }
    assert!(is_rounded, "products of all digits");
}

#[test]
fn nothing_to_sum_is_zero_and_nothing_to_write_writes_nothing() {
    let mut c = [1.0f32; 6];
    product(2, 3, 0, &[], &[], &mut c, Mode::Add);
    assert_eq!(c, [1.0; 6]);
    product(2, 3, 0, &[], &[], &mut c, Mode::Write);
    assert_eq!(c, [0.0; 6]);
    product(0, 3, 2, &[], &[1.0; 6], &mut [], Mode::Write);
    product(2, 0, 2, &[1.0; 4], &[], &mut [], Mode::Add);
}
