use super::*;
use crate::contraction::{Matrix, MatrixMut, Panels, Taps, contract_panels_f32, contract_taps_f32, panel_width};
use crate::isa::with_isa;

/// Numbers in (-1, 1).
fn numbers(len: usize, salt: u64) -> Vec<f32> {
    (0..len as u64)
        .map(|i| {
            let x = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt.wrapping_mul(0xd1b5_4a32_d192_ed03));
            let x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (x >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

struct Case {
    rows: usize,
    columns: usize,
    channels: usize,
    filters: usize,
}

impl Case {
    fn image<T>(&self, data: *mut T, channels: usize) -> Image<T> {
        Image {
            ptr: data,
            row: (self.columns * channels) as isize,
            column: channels as isize,
            rows: self.rows as isize,
            columns: self.columns as isize,
        }
    }

    fn filter<T>(&self, data: *mut T) -> Filter<T> {
        let channel = self.filters as isize;
        let column = self.channels as isize * channel;
        Filter { ptr: data, row: 3 * column, column, channel }
    }

    /// Of `f64`: the result as written and the derivative by the filter, of a result as large as the image.
    fn written(&self, x: &[f32], w: &[f32], dy: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let (mut y, mut dw) = (vec![0.0; dy.len()], vec![0.0; w.len()]);
        let taps = (0..3).flat_map(|k| (0..3).map(move |l| (k, l)));
        for (k, l) in taps {
            for i in 0..self.rows {
                for j in 0..self.columns {
                    let (u, v) = (i + k, j + l);
                    if u < 1 || v < 1 || u > self.rows || v > self.columns {
                        continue;
                    }
                    for c in 0..self.channels {
                        let x = f64::from(x[((u - 1) * self.columns + v - 1) * self.channels + c]);
                        for n in 0..self.filters {
                            let place = ((3 * k + l) * self.channels + c) * self.filters + n;
                            let at = (i * self.columns + j) * self.filters + n;
                            y[at] += x * f64::from(w[place]);
                            dw[place] += x * f64::from(dy[at]);
                        }
                    }
                }
            }
        }
        (y, dw)
    }

    /// As written, by contractions of f32 over an image with a border of zeros.
    fn direct(&self, x: &[f32], w: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (channels, filters, wide) = (self.channels, self.filters, self.columns + 2);
        let mut padded = vec![0.0; (self.rows + 2) * wide * channels];
        for (i, row) in x.chunks(self.columns * channels).enumerate() {
            let at = ((i + 1) * wide + 1) * channels;
            padded[at..at + row.len()].copy_from_slice(row);
        }
        let (mut y, mut dw) = (vec![0.0; dy.len()], vec![0.0; w.len()]);
        let (step, row) = ((wide * channels) as isize, filters as isize);
        // SAFETY: rows of the padded image, of the map and of the filter.
        unsafe {
            for i in 0..self.rows {
                let taps = Taps { count: 3, a: step, b: 3 * channels as isize * row };
                let left = Matrix { ptr: padded.as_ptr().offset(i as isize * step), row: channels as isize, col: 1 };
                let right = Matrix { ptr: w.as_ptr(), row, col: 1 };
                let to = MatrixMut { ptr: y.as_mut_ptr().add(i * self.columns * filters), row, col: 1 };
                contract_taps_f32(self.columns, filters, 3 * channels, taps, left, right, to, Mode::Write);
            }
            for tap in 0..9 {
                let first = (tap / 3 * wide + tap % 3) * channels;
                let left = Matrix { ptr: padded.as_ptr().add(first), row: 1, col: channels as isize };
                let right = Matrix { ptr: dy.as_ptr(), row, col: 1 };
                let to = MatrixMut { ptr: dw.as_mut_ptr().add(tap * channels * filters), row, col: 1 };
                let taps = Taps { count: self.rows, a: step, b: self.columns as isize * row };
                contract_taps_f32(channels, filters, self.columns, taps, left, right, to, Mode::Write);
            }
        }
        (y, dw)
    }

    /// By products of 16 places.
    fn fast(&self, x: &[f32], w: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (mut x, mut w, mut dy) = (x.to_vec(), w.to_vec(), dy.to_vec());
        let (channels, filters) = (self.channels, self.filters);
        let (high, wide) = (self.rows.div_ceil(2), self.columns.div_ceil(2));
        let tiles = high * wide;
        let width = panel_width(4);
        let panel = channels * width;
        let mut made = vec![f32::NAN; PLACES * panel * filters.div_ceil(width)];
        let mut patches = vec![f32::NAN; PLACES * tiles * channels];
        let mut squares = vec![f32::NAN; PLACES * tiles * filters];
        let mut products = vec![f32::NAN; PLACES * tiles * filters];
        let mut sums = vec![f32::NAN; PLACES * channels * filters];
        let mut y = vec![f32::NAN; dy.len()];
        let mut dw = vec![f32::NAN; w.len()];
        // Room for the rows of a line of squares, from that line on.
        let of_line = |data: &mut [f32], line: usize, channels: usize| Places {
            ptr: data.as_mut_ptr().wrapping_add(line * wide * channels),
            apart: tiles * channels,
        };
        let whole = |data: &mut [f32]| Places { ptr: data.as_mut_ptr(), apart: data.len() / PLACES };
        // SAFETY: every vector has room for what its shape says.
        unsafe {
            filters_f32(0..channels, filters, self.filter(w.as_mut_ptr()), whole(&mut made), panel);
            for line in 0..high {
                let at = 2 * line as isize;
                let image = self.image(x.as_mut_ptr(), channels);
                patches_f32(image, (at - 1, -1), wide, channels, of_line(&mut patches, line, channels));
                let image = self.image(dy.as_mut_ptr(), filters);
                squares_f32(image, (at, 0), wide, filters, of_line(&mut squares, line, filters));
            }
            for place in 0..PLACES {
                let a = patches.as_ptr().add(place * tiles * channels);
                let right = Panels { ptr: made.as_ptr().add(place * made.len() / PLACES), row: width as isize, panel };
                let left = Matrix { ptr: a, row: channels as isize, col: 1 };
                let row = filters as isize;
                let to = MatrixMut { ptr: products.as_mut_ptr().add(place * tiles * filters), row, col: 1 };
                contract_panels_f32(tiles, filters, channels, Taps::ONE, left, right, to, Mode::Write);
                let right = Matrix { ptr: squares.as_ptr().add(place * tiles * filters), row, col: 1 };
                let to = MatrixMut { ptr: sums.as_mut_ptr().add(place * channels * filters), row, col: 1 };
                contract_taps_f32(channels, filters, tiles, Taps::ONE, left.transposed(), right, to, Mode::Write);
            }
            for line in 0..high {
                let image = self.image(y.as_mut_ptr(), filters);
                let from = of_line(&mut products, line, filters);
                sums_f32(from, wide, filters, image, (2 * line as isize, 0), Mode::Write);
            }
            let filter = self.filter(dw.as_mut_ptr());
            taps_f32(whole(&mut sums), (1, 0), 0..channels, filters, filter, Mode::Write);
        }
        (y, dw)
    }
}

const CASES: [Case; 5] = [
    Case { rows: 8, columns: 10, channels: 32, filters: 32 },
    Case { rows: 5, columns: 7, channels: 20, filters: 33 },
    Case { rows: 1, columns: 2, channels: 3, filters: 1 },
    Case { rows: 2, columns: 1, channels: 17, filters: 70 },
    Case { rows: 13, columns: 6, channels: 1, filters: 16 },
];

/// The largest difference over the largest value.
fn error(found: &[f32], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let worst = found.iter().zip(expected).map(|(x, y)| (f64::from(*x) - y).abs());
    worst.fold(0.0, |most: f64, e| if e.is_nan() { f64::NAN } else { most.max(e) }) / largest
}

#[test]
fn the_same_convolution_and_derivative() {
    for case in &CASES {
        let x = numbers(case.rows * case.columns * case.channels, 1);
        let w = numbers(9 * case.channels * case.filters, 2);
        let dy = numbers(case.rows * case.columns * case.filters, 3);
        let (y, dw) = case.written(&x, &w, &dy);
        let (fast_y, fast_dw) = case.fast(&x, &w, &dy);
        assert!(error(&fast_y, &y) < 1e-6, "{} {}", case.rows, error(&fast_y, &y));
        assert!(error(&fast_dw, &dw) < 1e-6, "{} {}", case.rows, error(&fast_dw, &dw));
    }
}

/// The errors of 16 products beside those of 36, root mean squares over all elements.
#[test]
fn errors_are_like_those_of_sums_as_written() {
    let case = Case { rows: 24, columns: 24, channels: 64, filters: 48 };
    let x = numbers(case.rows * case.columns * case.channels, 11);
    let w = numbers(9 * case.channels * case.filters, 12);
    let dy = numbers(case.rows * case.columns * case.filters, 13);
    let (y, dw) = case.written(&x, &w, &dy);
    let fast = case.fast(&x, &w, &dy);
    let direct = case.direct(&x, &w, &dy);
    let error = |found: &[f32], expected: &[f64]| {
        let squares = found.iter().zip(expected).map(|(x, y)| (f64::from(*x) - y).powi(2)).sum::<f64>();
        (squares / expected.len() as f64).sqrt()
    };
    for (fast, direct, exact) in [(&fast.0, &direct.0, &y), (&fast.1, &direct.1, &dw)] {
        let (fast, direct) = (error(fast, exact), error(direct, exact));
        assert!(direct > 0.0 && fast < 1.5 * direct, "{fast:e} beside {direct:e}");
    }
}

#[test]
fn the_same_bits_on_every_instruction_set() {
    for case in &CASES {
        let x = numbers(case.rows * case.columns * case.channels, 4);
        let w = numbers(9 * case.channels * case.filters, 5);
        let dy = numbers(case.rows * case.columns * case.filters, 6);
        let all: Vec<_> = Isa::available().map(|isa| with_isa(isa, || case.fast(&x, &w, &dy))).collect();
        for (y, dw) in &all {
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!((bits(y), bits(dw)), (bits(&all[0].0), bits(&all[0].1)));
        }
    }
}

/// Small numbers make no rounding: then the products of 16 places are those of 36 to the bit, sums of parts and what was there included.
#[test]
fn exact_where_nothing_rounds() {
    let case = Case { rows: 6, columns: 5, channels: 18, filters: 19 };
    let whole = |len: usize, salt: u64| numbers(len, salt).iter().map(|x| (x * 8.0).round()).collect::<Vec<f32>>();
    let x = whole(case.rows * case.columns * case.channels, 7);
    let w = whole(9 * case.channels * case.filters, 8);
    let dy = whole(case.rows * case.columns * case.filters, 9);
    let (y, dw) = case.written(&x, &w, &dy);
    let (fast_y, fast_dw) = case.fast(&x, &w, &dy);
    assert_eq!(fast_y.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), y);
    assert_eq!(fast_dw.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), dw);
    // Two parts, added to what is there: three times the derivative of one part.
    let mut sums = whole(PLACES * case.channels * case.filters, 10);
    let (mut once, mut thrice) = (vec![0.0; w.len()], vec![0.0; w.len()]);
    let len = sums.len();
    sums.extend_from_within(..);
    let from = Places { ptr: sums.as_mut_ptr(), apart: len / PLACES };
    // SAFETY: both parts hold all places, and the filters have the shape.
    unsafe {
        let filter = case.filter(once.as_mut_ptr());
        taps_f32(from, (1, 0), 0..case.channels, case.filters, filter, Mode::Write);
        let filter = case.filter(thrice.as_mut_ptr());
        taps_f32(from, (2, len), 0..case.channels, case.filters, filter, Mode::Write);
        taps_f32(from, (1, 0), 0..case.channels, case.filters, filter, Mode::Add);
    }
    assert_eq!(thrice, once.iter().map(|x: &f32| 3.0 * x).collect::<Vec<_>>());
}
