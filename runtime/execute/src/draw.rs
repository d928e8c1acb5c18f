//! Random buffers: any part of one can be filled on its own, so that values depend on neither threads nor batches.

use bdl_kernels::philox::{DrawKey, fill_normal_f32, fill_normal_f64, fill_uniform_f32, fill_uniform_f64};
use bdl_plan::{DType, Distribution};

/// The site of a draw at these steps of the loops around it. Mixed like the end of MurmurHash3 (Appleby 2011).
pub fn site_at(site: u32, steps: impl Iterator<Item = i64>) -> u32 {
    steps.fold(site, |site, step| {
        let mut x = site ^ (step as u32).wrapping_add(1).wrapping_mul(0x9e37_79b9);
        x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
        x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        x ^ (x >> 16)
    })
}

/// Which elements of a draw belong to which example.
#[derive(Clone, Copy)]
pub enum Examples<'a> {
    /// All to example 0.
    Shared,
    /// So many to each.
    Equal(i64),
    /// Those of example b begin at element `offsets[b]`.
    From(&'a [i64]),
}

impl Examples<'_> {
    /// The example that element `at` belongs to, where it begins and where it ends.
    fn around(self, at: usize) -> Option<(usize, usize, usize)> {
        match self {
            Examples::Shared => None,
            Examples::Equal(n) => {
                let n = n.max(1) as usize;
                Some((at / n, at / n * n, (at / n + 1) * n))
            }
            Examples::From(offsets) => {
                // Examples without elements begin where the next one does: the last of them holds `at`.
                let example = offsets.partition_point(|begin| *begin <= at as i64) - 1;
                let end = offsets.get(example + 1).map_or(usize::MAX, |end| *end as usize);
                Some((example, offsets[example] as usize, end))
            }
        }
    }
}

/// Fills elements `begin..end` of a buffer. An example's number in the draw is its position in the epoch.
///
/// # Safety
/// The buffer is writable from `begin` to `end`, and no other thread touches that part.
#[allow(clippy::too_many_arguments)]
pub unsafe fn fill(
    pointer: *mut u8,
    dtype: DType,
    distribution: Distribution,
    key: DrawKey,
    examples: Examples,
    positions: &[i64],
    begin: usize,
    end: usize,
) {
    let mut at = begin;
    while at < end {
        let (example, first, stop) = match examples.around(at) {
            None => (0, at, end),
            Some((example, start, stop)) => {
                (positions.get(example).copied().unwrap_or(0) as u64, at - start, stop.min(end))
            }
        };
        let n = stop - at;
        // SAFETY: inside the caller's part.
        unsafe {
            match dtype {
                DType::F64 => {
                    let out = std::slice::from_raw_parts_mut(pointer.cast::<f64>().add(at), n);
                    match distribution {
                        Distribution::Normal => fill_normal_f64(key, example, first as u64, out),
                        Distribution::Uniform => fill_uniform_f64(key, example, first as u64, out),
                    }
                }
                DType::F32 => {
                    let out = std::slice::from_raw_parts_mut(pointer.cast::<f32>().add(at), n);
                    match distribution {
                        Distribution::Normal => fill_normal_f32(key, example, first as u64, out),
                        Distribution::Uniform => fill_uniform_f32(key, example, first as u64, out),
                    }
                }
                DType::BF16 | DType::I32 | DType::I64 | DType::Bool => {
                    let mut piece = [0.0f32; 256];
                    let mut done = 0;
                    while done < n {
                        let part = &mut piece[..(n - done).min(256)];
                        match distribution {
                            Distribution::Normal => fill_normal_f32(key, example, (first + done) as u64, part),
                            Distribution::Uniform => fill_uniform_f32(key, example, (first + done) as u64, part),
                        }
                        for (i, x) in part.iter().enumerate() {
                            crate::memory::write_number(pointer, dtype, at + done + i, f64::from(*x));
                        }
                        done += part.len();
                    }
                }
            }
        }
        at = stop;
    }
}
