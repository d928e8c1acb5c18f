//! Algorithms that are not equations: sorting rows, orthogonal matrices.

use crate::memory::{read_number, write_number};
use bdl_kernels::contraction::{Matrix, MatrixMut, Mode, contract_f64};
use bdl_plan::{DType, Routine};

/// `out[r, i]` is the position in row r of its i-th element in order. Stable; NaN comes last either way.
///
/// # Safety
/// Rows `begin..end` of `columns` elements are readable in `input` and writable in `out`.
pub unsafe fn sort_rows(
    input: *const u8,
    dtype: DType,
    out: *mut i32,
    begin: usize,
    end: usize,
    columns: usize,
    descending: bool,
) {
    for row in begin..end {
        // SAFETY: the caller's promise.
        let out = unsafe { std::slice::from_raw_parts_mut(out.add(row * columns), columns) };
        // SAFETY: as above.
        let key = |i: i32| unsafe { read_number(input, dtype, row * columns + i as usize) };
        order(out, &key, descending);
    }
}

/// The same for rows that lie side by side: element c of row r at `c * rows + r`, in both.
///
/// # Safety
/// `rows * columns` elements are readable in `input` and writable in `out`.
pub unsafe fn sort_side_by_side(
    input: *const u8,
    dtype: DType,
    out: *mut i32,
    rows: usize,
    columns: usize,
    descending: bool,
) {
    let mut positions = vec![0i32; columns];
    for row in 0..rows {
        // SAFETY: the caller's promise.
        let key = |i: i32| unsafe { read_number(input, dtype, i as usize * rows + row) };
        order(&mut positions, &key, descending);
        for (i, position) in positions.iter().enumerate() {
            // SAFETY: as above.
            unsafe { out.add(i * rows + row).write(*position) }
        }
    }
}

/// Positions by key.
fn order(positions: &mut [i32], key: &dyn Fn(i32) -> f64, descending: bool) {
    positions.iter_mut().enumerate().for_each(|(i, o)| *o = i as i32);
    // `sort_by` may allocate; rows are short and this is not on the path of a training step.
    positions.sort_by(|x, y| {
        let (x, y) = (key(*x), key(*y));
        match (x.is_nan(), y.is_nan()) {
            (false, false) if descending => y.total_cmp_numbers(x),
            (false, false) => x.total_cmp_numbers(y),
            (x, y) => x.cmp(&y),
        }
    });
}

trait CompareNumbers {
    fn total_cmp_numbers(self, other: Self) -> std::cmp::Ordering;
}

impl CompareNumbers for f64 {
    /// Order of numbers: -0 and 0 are alike.
    fn total_cmp_numbers(self, other: f64) -> std::cmp::Ordering {
        self.partial_cmp(&other).unwrap_or(std::cmp::Ordering::Equal)
    }
}

/// # Safety
/// Both buffers hold `rows * columns` elements of their types.
pub unsafe fn routine(
    routine: Routine,
    (input, from): (*const u8, DType),
    (out, to): (*mut u8, DType),
    rows: usize,
    columns: usize,
) {
    match routine {
        Routine::Orthogonal => {
            // SAFETY: the caller's promise.
            let x: Vec<f64> = (0..rows * columns).map(|i| unsafe { read_number(input, from, i) }).collect();
            for (i, q) in orthogonal(&x, rows, columns).into_iter().enumerate() {
                // SAFETY: as above.
                unsafe { write_number(out, to, i, q) }
            }
        }
    }
}

/// The Q of the QR decomposition with a positive diagonal of R: orthonormal columns where there are no more columns than rows, else
/// orthonormal rows (the transpose's Q). From normal draws this is uniform over such matrices.
///
/// Block Gram-Schmidt in f64: a block of vectors is made orthogonal to all before it by two products, then within itself, and all of that
/// twice ("twice is enough", Giraud, Langou and Rozloznik 2005).
pub fn orthogonal(x: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    const BLOCK: usize = 32;
    let (count, len) = (rows.min(columns), rows.max(columns));
    // Vector v, element e.
    let at = |v: usize, e: usize| if columns <= rows { e * columns + v } else { v * columns + e };
    let mut vectors: Vec<f64> = (0..count * len).map(|i| x[at(i / len, i % len)]).collect();
    let mut shares = vec![0.0; BLOCK * count];
    for first in (0..count).step_by(BLOCK) {
        let size = BLOCK.min(count - first);
        let (done, rest) = vectors.split_at_mut(first * len);
        let block = &mut rest[..size * len];
        for _ in 0..2 {
            if first > 0 {
                let shares = &mut shares[..size * first];
                let done = Matrix::rows(done, len);
                // SAFETY: `done` holds `first` vectors, `block` and `shares` as many rows as their shapes say; the borrows are distinct.
                unsafe {
                    let block = Matrix::rows(block, len);
                    let shares = MatrixMut::rows(shares, first);
                    contract_f64(size, first, len, block, done.transposed(), shares, Mode::Write);
                }
                shares.iter_mut().for_each(|share| *share = -*share);
                // SAFETY: as above.
                unsafe {
                    let shares = Matrix::rows(shares, first);
                    contract_f64(size, len, first, shares, done, MatrixMut::rows(block, len), Mode::Add);
                }
            }
            orthogonal_within(block, len);
        }
    }
    let mut q = vec![0.0; rows * columns];
    for (i, value) in vectors.into_iter().enumerate() {
        q[at(i / len, i % len)] = value;
    }
    q
}

/// Each vector of `len` made orthogonal to those before it, and of length 1.
fn orthogonal_within(vectors: &mut [f64], len: usize) {
    for v in 0..vectors.len() / len.max(1) {
        let (done, rest) = vectors.split_at_mut(v * len);
        let own = &mut rest[..len];
        for other in done.chunks_exact(len) {
            let dot = dot(own, other);
            own.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
        }
        let norm = dot(own, own).sqrt();
        if norm > 0.0 {
            own.iter_mut().for_each(|a| *a /= norm);
        }
    }
}

/// Sum of products in eight interleaved chains, added pairwise: an order of its own, which vectors can follow.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut chains = [0.0; 8];
    let (a_blocks, b_blocks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for (chain, (a, b)) in chains.iter_mut().zip(a.iter().zip(b)) {
            *chain += a * b;
        }
    }
    let [a, b, c, d, e, f, g, h] = chains;
    ((a + b) + (c + d)) + ((e + f) + (g + h)) + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_or_rows_are_orthonormal() {
        for (rows, columns) in [(5, 3), (3, 5), (4, 4), (1, 6), (6, 1), (0, 3), (70, 70), (100, 40), (33, 200)] {
            let mut x = vec![0.0; rows * columns];
            bdl_kernels::philox::fill_normal_f64(
                bdl_kernels::philox::DrawKey { seed: 1, step: 0, site: 0 },
                0,
                0,
                &mut x,
            );
            let q = orthogonal(&x, rows, columns);
            let vectors: Vec<Vec<f64>> = if columns <= rows {
                (0..columns).map(|c| (0..rows).map(|r| q[r * columns + c]).collect()).collect()
            } else {
                q.chunks(columns).map(<[f64]>::to_vec).collect()
            };
            for (i, a) in vectors.iter().enumerate() {
                for (j, b) in vectors.iter().enumerate() {
                    let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12);
                }
                // R's diagonal is positive: a vector keeps the side of what it came from.
                let own: f64 = a
                    .iter()
                    .enumerate()
                    .map(|(e, a)| a * if columns <= rows { x[e * columns + i] } else { x[i * columns + e] })
                    .sum();
                assert!(own > 0.0);
            }
        }
    }

    #[test]
    fn sorting_is_stable_and_puts_nan_last() {
        let x = [2.0f32, f32::NAN, -1.0, 2.0, 0.0, -0.0];
        let mut out = [0i32; 6];
        // SAFETY: one row of six.
        unsafe { sort_rows(x.as_ptr().cast(), DType::F32, out.as_mut_ptr(), 0, 1, 6, false) };
        assert_eq!(out, [2, 4, 5, 0, 3, 1]);
        // SAFETY: as above.
        unsafe { sort_rows(x.as_ptr().cast(), DType::F32, out.as_mut_ptr(), 0, 1, 6, true) };
        assert_eq!(out, [0, 3, 4, 5, 2, 1]);
    }
}
