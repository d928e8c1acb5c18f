//! The innermost loop: R rows and V vectors of C live in registers while one chunk of pairs goes by.
//!
//! A step is a pair: V vectors of B and, for each row, one pair of A in all lanes, for 2 R V N products.

use super::super::tile::{Target, finish};
use super::pairs::Pairs;
use crate::vector_math::lanes::Lanes;
use std::array::from_fn;

/// Pairs of A for one tile: row r, pair s at `ptr + r * row + s * step`.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub ptr: *const u32,
    pub row: isize,
    pub step: isize,
}

/// Pairs of B for one tile: V vectors a pair. Taps have `of_tap` pairs each, the first one `first` fewer.
#[derive(Clone, Copy)]
pub(super) struct Right {
    pub ptr: *const u32,
    /// From a pair to the next within a tap.
    pub step: isize,
    pub first: usize,
    pub of_tap: usize,
    /// What is added where a tap ends.
    pub skip: isize,
}

/// One tile.
///
/// # Safety
/// A is readable for R rows and all pairs, B for V vectors at all pairs, C writable for R rows and the target's columns; the instruction set of P
/// is there.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "indices unroll into registers, iterators over parts do not")]
pub(super) unsafe fn tile<P: Pairs, const R: usize, const V: usize>(
    left: Left,
    right: Right,
    pairs: usize,
    target: &Target<f32>,
) {
    // SAFETY: the caller's promise; pointers step with wrapping arithmetic and are read only where a pair is.
    unsafe {
        let mut sum = [[P::L::zero(); V]; R];
        let (mut a, mut b) = (left.ptr, right.ptr);
        let (mut at, mut rest) = (right.first, pairs);
        loop {
            let run = rest.min(right.of_tap - at);
            for _ in 0..run {
                if V == 2 {
                    P::L::prefetch(b.wrapping_offset(8 * right.step).cast());
                    P::L::prefetch(b.wrapping_offset(8 * right.step).wrapping_add(P::L::N).cast());
                }
                let bv: [P::B; V] = from_fn(|v| P::load(b.add(v * P::L::N)));
                for r in 0..R {
                    let x = P::splat(*a.offset(r as isize * left.row));
                    for v in 0..V {
                        sum[r][v] = P::dot(x, bv[v], sum[r][v]);
                    }
                }
                a = a.wrapping_offset(left.step);
                b = b.wrapping_offset(right.step);
            }
            rest -= run;
            if rest == 0 {
                break;
            }
            b = b.wrapping_offset(right.skip);
            at = 0;
        }
        finish(sum, target);
    }
}

/// Tiles compiled for one instruction set, by number of rows and vectors.
pub(super) trait Tiles {
    type P: Pairs;

    /// # Safety
    /// [`tile`]'s contract with R = rows in 1..=ROWS and V = vectors in 1..=2.
    unsafe fn run(rows: usize, vectors: usize, left: Left, right: Right, pairs: usize, target: &Target<f32>);
}

macro_rules! tiles {
    ($(#[$feature:meta])* $Name:ident $P:ty, $tile:ident; $($r:literal)*) => {
        /// # Safety
        /// [`tile`]'s contract, on a processor with this instruction set.
        $(#[$feature])*
        #[inline(never)]
        unsafe fn $tile<const R: usize, const V: usize>(left: Left, right: Right, pairs: usize, target: &Target<f32>) {
            // SAFETY: the caller's promise.
            unsafe { tile::<$P, R, V>(left, right, pairs, target) }
        }

        pub(super) struct $Name;

        impl Tiles for $Name {
            type P = $P;

            #[inline(always)]
            unsafe fn run(rows: usize, vectors: usize, left: Left, right: Right, pairs: usize, target: &Target<f32>) {
                // SAFETY: the caller's promise.
                unsafe {
                    match (rows, vectors) {
                        $(
                            ($r, 1) => $tile::<$r, 1>(left, right, pairs, target),
                            ($r, 2) => $tile::<$r, 2>(left, right, pairs, target),
                        )*
                        (_, _) => unreachable!("no tile of {rows} rows and {vectors} vectors"),
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tiles! {
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
    DotTiles super::pairs::Dot, tile_dot; 1 2 3 4 5 6 7 8 9 10 11 12 13 14
}
#[cfg(target_arch = "x86_64")]
tiles! { #[target_feature(enable = "avx2,fma")] Avx2Tiles super::pairs::MultiplyAdds, tile_avx2; 1 2 3 }
tiles! { PortableTiles super::pairs::MultiplyAdds, tile_portable; 1 2 3 }
