//! Values against a naive f64 product and the `gemm` crate; bits against the definition, written as three plain loops.

use super::*;
use crate::isa::with_isa;

/// Numbers in [-1, 1) from a position (the mixing steps of SplitMix64).
fn number(i: usize) -> f64 {
    let mut z = (i as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn numbers_f32(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| number(i + seed * 1_000_003) as f32).collect()
}

fn numbers_f64(n: usize, seed: usize) -> Vec<f64> {
    (0..n).map(|i| number(i + seed * 1_000_003) * (1.0 + 1e-9)).collect()
}

/// The definition, row-major.
fn definition(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32], mode: Mode) {
    for i in 0..m {
        for j in 0..n {
            let mut total = if mode == Mode::Add { Some(c[i * n + j]) } else { None };
            for from in (0..k).step_by(CHUNK) {
                let mut chain = 0.0f32;
                for q in from..k.min(from + CHUNK) {
                    chain = a[i * k + q].mul_add(b[q * n + j], chain);
                }
                total = Some(total.map_or(chain, |t| t + chain));
            }
            c[i * n + j] = total.unwrap_or(0.0);
        }
    }
}

const SHAPES: &[(usize, usize, usize)] = &[
    (1, 1, 1),
    (1, 1, 1500),
    (1, 7, 3),
    (1, 300, 40),
    (2, 1, 600),
    (3, 5, 7),
    (13, 31, 513),
    (14, 32, 512),
    (15, 33, 511),
    (16, 16, 16),
    (17, 64, 9),
    (29, 48, 65),
    (64, 10, 130),
    (5, 400, 20),
    (43, 17, 1030),
    (6, 16, 100),
    (7, 100, 33),
    (100, 3, 12),
];

#[test]
fn every_instruction_set_follows_the_definition_to_the_bit() {
    for &(m, n, k) in SHAPES {
        let (a, b, old) = (numbers_f32(m * k, 1), numbers_f32(k * n, 2), numbers_f32(m * n, 3));
        for mode in [Mode::Write, Mode::Add] {
            let mut expected = old.clone();
            definition(m, n, k, &a, &b, &mut expected, mode);
            for isa in Isa::available() {
                let mut c = old.clone();
                with_isa(isa, || product_f32(m, n, k, &a, &b, &mut c, mode));
                assert_eq!(c, expected, "{m} x {n} x {k} {mode:?} on {}", isa.name());
            }
        }
    }
}

#[test]
fn f64_is_the_same_on_every_instruction_set_and_right() {
    for &(m, n, k) in SHAPES {
        let (a, b) = (numbers_f64(m * k, 1), numbers_f64(k * n, 2));
        let run = |isa| {
            let mut c = vec![f64::NAN; m * n];
            with_isa(isa, || product_f64(m, n, k, &a, &b, &mut c, Mode::Write));
            c
        };
        let c = run(Isa::Portable);
        for isa in Isa::available() {
            assert_eq!(run(isa), c, "{m} x {n} x {k} on {}", isa.name());
        }
        for i in 0..m {
            for j in 0..n {
                let want: f64 = (0..k).map(|q| a[i * k + q] * b[q * n + j]).sum();
                assert!((c[i * n + j] - want).abs() <= 1e-15 * k as f64 + 1e-15, "{m} x {n} x {k} at {i}, {j}");
            }
        }
    }
}

#[test]
fn agrees_with_f64_and_with_gemm() {
    for (m, n, k) in [(64, 100, 2000), (130, 70, 700), (31, 257, 90)] {
        let (a, b) = (numbers_f32(m * k, 1), numbers_f32(k * n, 2));
        let mut c = vec![0.0f32; m * n];
        product_f32(m, n, k, &a, &b, &mut c, Mode::Write);
        let mut other = vec![0.0f32; m * n];
        // SAFETY: row-major matrices of these sizes.
        unsafe {
            let (ci, ki) = (n as isize, k as isize);
            let none = gemm::Parallelism::None;
            gemm::gemm(
                m,
                n,
                k,
                other.as_mut_ptr(),
                1,
                ci,
                false,
                a.as_ptr(),
                1,
                ki,
                b.as_ptr(),
                1,
                ci,
                0.0,
                1.0,
                false,
                false,
                false,
                none,
            );
        }
        for i in 0..m {
            for j in 0..n {
                let terms = (0..k).map(|q| f64::from(a[i * k + q]) * f64::from(b[q * n + j]));
                let want: f64 = terms.clone().sum();
                let bound = 4e-7 * terms.map(f64::abs).sum::<f64>();
                assert!(
                    (f64::from(c[i * n + j]) - want).abs() < bound,
                    "{m} x {n} x {k} at {i}, {j}: {} {want} {bound}",
                    c[i * n + j]
                );
                let difference = (c[i * n + j] - other[i * n + j]).abs();
                assert!(
                    difference < 2.0 * bound as f32,
                    "{m} x {n} x {k} at {i}, {j}: {} {}",
                    c[i * n + j],
                    other[i * n + j]
                );
            }
        }
    }
}

/// Any operand layout: row-major, column-major, spread out, backwards; C too.
#[test]
fn strides_do_not_change_the_bits() {
    let (m, n, k) = (19, 37, 530);
    let (a, b) = (numbers_f32(m * k, 1), numbers_f32(k * n, 2));
    let mut expected = numbers_f32(m * n, 3);
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
    let old = numbers_f32(m * n, 3);
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
                    with_isa(isa, || contract_f32(m, n, k, a, b, c, Mode::Add));
                }
                let mut touched = vec![false; pc.len()];
                for i in 0..m {
                    for j in 0..n {
                        let at = (lc.2 + i as isize * lc.0 + j as isize * lc.1) as usize;
                        touched[at] = true;
                        assert_eq!(
                            pc[at],
                            expected[i * n + j],
                            "A {la:?} B {lb:?} C {lc:?} at {i}, {j} on {}",
                            isa.name()
                        );
                    }
                }
                let outside = (0..pc.len()).all(|i| touched[i] || pc[i].to_bits() == before[i].to_bits());
                assert!(outside, "wrote outside of C {lc:?} on {}", isa.name());
            }
        }
    }
}

/// `dy wᵀ` of few rows and many columns, for which the roles are exchanged; alone a row is not.
#[test]
fn a_turned_product_has_the_same_bits() {
    for (m, n, k) in [(16, 40, 512), (33, 70, 1023), (64, 130, 600)] {
        let (a, b, old) = (numbers_f32(m * k, 1), numbers_f32(k * n, 2), numbers_f32(m * n, 3));
        let turned: Vec<f32> = (0..n * k).map(|at| b[at % k * n + at / k]).collect();
        for (mode, isa) in [Mode::Write, Mode::Add].into_iter().flat_map(|m| Isa::available().map(move |isa| (m, isa)))
        {
            let mut expected = old.clone();
            definition(m, n, k, &a, &b, &mut expected, mode);
            for rows in [m, 1] {
                let mut c = old.clone();
                // SAFETY: the matrices fill their slices.
                with_isa(isa, || unsafe {
                    let b = Matrix::rows(&turned, k).transposed();
                    contract_f32(rows, n, k, Matrix::rows(&a, k), b, MatrixMut::rows(&mut c, n), mode);
                });
                assert_eq!(c[..rows * n], expected[..rows * n], "{rows} of {m} x {n} x {k} {mode:?} on {}", isa.name());
            }
        }
    }
}

/// Whatever is fetched meanwhile, be it there or not.
#[test]
fn fetching_changes_no_bit() {
    let (m, n, k) = (45, 100, 1100);
    let (a, b, other) = (numbers_f32(m * k, 1), numbers_f32(k * n, 2), numbers_f32(10_000, 3));
    let mut expected = vec![0.0f32; m * n];
    definition(m, n, k, &a, &b, &mut expected, Mode::Write);
    let there = Stretch { at: other.as_ptr().cast(), bytes: 300, stride: 800, rows: 50 };
    let nowhere = Stretch { at: std::ptr::null(), bytes: 4000, stride: 4000, rows: 1000 };
    for isa in Isa::available() {
        for stretches in [&[][..], &[there], &[there, nowhere], &[nowhere; MOST_STRETCHES + 1]] {
            let mut c = vec![0.0f32; m * n];
            with_isa(isa, || fetching(stretches, || product_f32(m, n, k, &a, &b, &mut c, Mode::Write)));
            assert_eq!(c, expected, "{} stretches on {}", stretches.len(), isa.name());
        }
    }
}

/// A row (and a column, and a block) has the same bits alone as in the whole product.
#[test]
fn any_cut_of_the_product_gives_the_same_bits() {
    for (m, n, k) in [(45, 70, 1100), (30, 1, 700), (1, 90, 700), (70, 2, 33), (64, 256, 100)] {
        let (a, b) = (numbers_f32(m * k, 1), numbers_f32(k * n, 2));
        let mut whole = vec![0.0f32; m * n];
        product_f32(m, n, k, &a, &b, &mut whole, Mode::Write);
        let block = |rows: std::ops::Range<usize>, cols: std::ops::Range<usize>| {
            let mut c = vec![0.0f32; rows.len() * cols.len()];
            // SAFETY: the block lies inside the matrices.
            unsafe {
                let a = Matrix { ptr: a.as_ptr().add(rows.start * k), row: k as isize, col: 1 };
                let b = Matrix { ptr: b.as_ptr().add(cols.start), row: n as isize, col: 1 };
                contract_f32(rows.len(), cols.len(), k, a, b, MatrixMut::rows(&mut c, cols.len()), Mode::Write);
            }
            for (x, i) in rows.enumerate() {
                for (y, j) in cols.clone().enumerate() {
                    assert_eq!(
                        c[x * cols.len() + y].to_bits(),
                        whole[i * n + j].to_bits(),
                        "{m} x {n} x {k} at {i}, {j}"
                    );
                }
            }
        };
        for i in 0..m {
            block(i..i + 1, 0..n);
        }
        for j in 0..n {
            block(0..m, j..j + 1);
        }
        for threads in 2..6 {
            for t in 0..threads {
                block(t * m / threads..(t + 1) * m / threads, 0..n);
                block(0..m, t * n / threads..(t + 1) * n / threads);
            }
        }
        block(m / 3..m - m / 4, n / 3..n - n / 4);
    }
}

/// A convolution reads overlapping rows; a dilated one also steps over taps.
#[test]
fn overlapping_rows_and_taps() {
    for (length, channels, filters, taps, dilation) in
        [(40, 4, 20, 5, 1), (60, 32, 32, 11, 4), (30, 1, 3, 3, 2), (25, 100, 7, 6, 3)]
    {
        let rows = length - (taps - 1) * dilation;
        let x = numbers_f32(length * channels, 1);
        let w = numbers_f32(taps * channels * filters, 2);
        // The same rows copied out one after the other.
        let copied: Vec<f32> = (0..rows)
            .flat_map(|i| (0..taps).map(move |t| i + t * dilation))
            .flat_map(|at| x[at * channels..(at + 1) * channels].to_vec())
            .collect();
        let mut expected = vec![0.0; rows * filters];
        definition(rows, filters, taps * channels, &copied, &w, &mut expected, Mode::Write);
        for isa in Isa::available() {
            let mut c = vec![0.0f32; rows * filters];
            let taps = Taps { count: taps, a: (dilation * channels) as isize, b: (channels * filters) as isize };
            // SAFETY: the last row's last tap ends at the end of x.
            unsafe {
                let (a, b) = (Matrix::rows(&x, channels), Matrix::rows(&w, filters));
                with_isa(isa, || {
                    contract_taps_f32(
                        rows,
                        filters,
                        channels,
                        taps,
                        a,
                        b,
                        MatrixMut::rows(&mut c, filters),
                        Mode::Write,
                    )
                });
            }
            assert_eq!(c, expected, "{taps:?} {channels} channels on {}", isa.name());
        }
        // The weight gradient of one tap reads x transposed: dw[c, f] = sum over rows of x[row, c] dy[row, f].
        let dy = numbers_f32(rows * filters, 4);
        let turned: Vec<f32> =
            (0..channels).flat_map(|c| (0..rows).map(move |i| (i, c))).map(|(i, c)| x[i * channels + c]).collect();
        let mut expected = vec![0.0; channels * filters];
        definition(channels, filters, rows, &turned, &dy, &mut expected, Mode::Write);
        let mut dw = vec![0.0f32; channels * filters];
        // SAFETY: rows of x and dy.
        unsafe {
            let a = Matrix::rows(&x, channels).transposed();
            contract_f32(
                channels,
                filters,
                rows,
                a,
                Matrix::rows(&dy, filters),
                MatrixMut::rows(&mut dw, filters),
                Mode::Write,
            );
        }
        assert_eq!(dw, expected);
    }
}

#[test]
fn nothing_to_sum_is_zero_and_nothing_to_write_writes_nothing() {
    let mut c = [1.0f32; 6];
    product_f32(2, 3, 0, &[], &[], &mut c, Mode::Add);
    assert_eq!(c, [1.0; 6]);
    product_f32(2, 3, 0, &[], &[], &mut c, Mode::Write);
    assert_eq!(c, [0.0; 6]);
    product_f32(0, 3, 2, &[], &[1.0; 6], &mut [], Mode::Write);
    product_f32(2, 0, 2, &[1.0; 4], &[], &mut [], Mode::Add);
}

#[test]
fn infinities_and_nan_pass_through_their_own_elements_only() {
    let (a, mut b) = (vec![1.0f32; 20 * 40], vec![1.0f32; 40 * 20]);
    b[7] = f32::INFINITY; // column 7
    b[8] = f32::NAN; // column 8
    let mut c = vec![0.0f32; 400];
    product_f32(20, 20, 40, &a, &b, &mut c, Mode::Write);
    for (i, &x) in c.iter().enumerate() {
        match i % 20 {
            7 => assert_eq!(x, f32::INFINITY),
            8 => assert!(x.is_nan()),
            _ => assert_eq!(x, 40.0),
        }
    }
}

/// Letters as rows with a single 1, or none, from a position and a seed; where there is another number, some are 2.
fn letters(positions: usize, alphabet: usize, seed: usize, others: bool) -> Vec<f32> {
    let letter = |p: usize| ((number(p + seed * 7919) + 1.0) * 0.5 * (alphabet as f64 + 0.5)) as usize;
    let one = |p: usize, c: usize| {
        if letter(p) != c {
            // A zero may have a sign.
            if (p + c).is_multiple_of(5) { -0.0 } else { 0.0 }
        } else if others && p % 40 == 39 {
            2.0
        } else {
            1.0
        }
    };
    (0..positions).flat_map(|p| (0..alphabet).map(move |c| one(p, c))).collect()
}

/// Additions of what letters choose have the bits of products, forwards (with panels and without) and by the weights, in one tap or several, cut by a
/// chunk or by pieces, with numbers that are neither 0 nor 1 somewhere, and where weights are not finite.
#[test]
fn letters_give_the_bits_of_products() {
    let bits = |values: &[f32]| -> Vec<u32> {
        values.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
    };
    for (alphabet, taps, rows, n, examples) in [
        (4, 19, 90, 300, 3),
        (4, 26, 700, 40, 1),
        (20, 9, 75, 64, 2),
        (20, 30, 60, 96, 1),
        (3, 7, 33, 17, 2),
        (1, 40, 50, 32, 1),
        (25, 1, 600, 48, 1),
        (6, 3, 20, 16, 12),
        (30, 2, 4500, 16, 1),
    ] {
        for (others, special) in [
            (false, None),
            (true, None),
            (false, Some(f32::NAN)),
            (false, Some(f32::NEG_INFINITY)),
            (false, Some(-0.0)),
        ] {
            let (k, positions) = (alphabet * taps, rows + taps - 1);
            // Examples lie a little further apart than they are long.
            let gap = positions * alphabet + 3;
            let mut x = vec![f32::NAN; gap * examples];
            for (example, x) in x.chunks_mut(gap).enumerate() {
                x[..positions * alphabet].copy_from_slice(&letters(positions, alphabet, example, others));
            }
            let (mut w, mut dy) = (numbers_f32(k * n, 2), numbers_f32(examples * rows * n, 4));
            if let Some(special) = special {
                (w[n + 2], dy[n + 3], dy[rows * n - 1]) = (special, special, special);
            }
            let window = |e: usize, i: usize| x[e * gap + i * alphabet..e * gap + i * alphabet + k].to_vec();
            let windows: Vec<f32> =
                (0..examples).flat_map(|e| (0..rows).map(move |i| (e, i))).flat_map(|(e, i)| window(e, i)).collect();
            for (mode, isa) in
                [Mode::Write, Mode::Add].into_iter().flat_map(|m| Isa::available().map(move |isa| (m, isa)))
            {
                let case = format!(
                    "{alphabet} letters, {taps} taps, {rows} x {n}, others {others}, {special:?}, {mode:?} on {}",
                    isa.name()
                );
                let old = numbers_f32(rows * n, 3);
                let mut expected = old.clone();
                definition(rows, n, k, &windows[..rows * k], &w, &mut expected, mode);
                let (mut c, mut of_panels) = (old.clone(), old.clone());
                // SAFETY: x holds the windows; buffers of exactly these matrices and panels.
                with_isa(isa, || unsafe {
                    let (a, b) = (Matrix { ptr: x.as_ptr(), row: alphabet as isize, col: 1 }, Matrix::rows(&w, n));
                    contract_f32(rows, n, k, a, b, MatrixMut::rows(&mut c, n), mode);
                    let width = panel_width(size_of::<f32>());
                    let mut packed = vec![f32::NAN; k * width * n.div_ceil(width)];
                    pack_panels_f32(k, 0, n, b, packed.as_mut_ptr(), k * width);
                    let panels = Panels { ptr: packed.as_ptr(), row: width as isize, panel: k * width };
                    contract_panels_f32(rows, n, k, Taps::ONE, a, panels, MatrixMut::rows(&mut of_panels, n), mode);
                });
                assert_eq!(bits(&c), bits(&expected), "{case}");
                assert_eq!(bits(&of_panels), bits(&expected), "in panels, {case}");
                // By the weights: a sum over the rows of all examples.
                let old = numbers_f32(k * n, 5);
                let mut expected = old.clone();
                let steps = examples * rows;
                let turned: Vec<f32> =
                    (0..k).flat_map(|q| (0..steps).map(move |s| (q, s))).map(|(q, s)| windows[s * k + q]).collect();
                definition(k, n, steps, &turned, &dy, &mut expected, mode);
                let mut dw = old.clone();
                let taps = Taps { count: examples, a: gap as isize, b: (rows * n) as isize };
                // SAFETY: as above.
                with_isa(isa, || unsafe {
                    let a = Matrix { ptr: x.as_ptr(), row: 1, col: alphabet as isize };
                    contract_taps_f32(k, n, rows, taps, a, Matrix::rows(&dy, n), MatrixMut::rows(&mut dw, n), mode);
                });
                assert_eq!(bits(&dw), bits(&expected), "by the weights, {case}");
                // Some letters of one tap alone, as one of several workers has them: what lies between them is not for it to read.
                let some = alphabet.div_ceil(2);
                let mut dw = old.clone();
                // SAFETY: as above.
                with_isa(isa, || unsafe {
                    let a = Matrix { ptr: x.as_ptr(), row: 1, col: alphabet as isize };
                    contract_taps_f32(some, n, rows, taps, a, Matrix::rows(&dy, n), MatrixMut::rows(&mut dw, n), mode);
                });
                assert_eq!(bits(&dw[..some * n]), bits(&expected[..some * n]), "{some} letters of one tap, {case}");
            }
        }
    }
}
