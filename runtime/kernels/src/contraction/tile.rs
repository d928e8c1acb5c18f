//! The innermost loop: R rows and V vectors of C live in registers while one chunk of k goes by.
//!
//! Each step loads V vectors of B and, for each row, one element of A into all lanes: R + V loads for R V multiply-adds.
//! Every element of C is its own chain, so neither R nor V nor the vector width shows in the result.

use super::ahead::{Ahead, STEPS, TURN};
use crate::vector_math::lanes::Lanes;
use std::array::from_fn;

/// Where the elements of A for one tile are: `len` steps, k of a tap, then on to the next tap.
#[derive(Clone, Copy)]
pub(super) struct Steps<T> {
    /// Row 0 at the first step.
    pub a: *const T,
    pub row: isize,
    pub col: isize,
    /// Steps of one tap, and which of them comes first.
    pub k: usize,
    pub first: usize,
    /// From a tap to the next.
    pub tap: isize,
    pub len: usize,
}

/// B for one tile: V vectors a step.
#[derive(Clone, Copy)]
pub(super) struct Panel<T> {
    pub b: *const T,
    /// From a step to the next.
    pub step: isize,
    /// What is added where a tap ends, from the step after its last one to the next tap's first.
    pub skip: isize,
}

/// The place in C of one tile.
#[derive(Clone, Copy)]
pub(super) struct Target<T> {
    pub c: *mut T,
    pub row: isize,
    pub col: isize,
    /// Columns that exist, at most V vectors.
    pub cols: usize,
    /// Add to C, or replace it.
    pub add: bool,
}

/// One tile.
///
/// # Safety
/// A is readable for R rows and all steps, B for V vectors at all steps, C writable for R rows and `cols` columns; the
/// instruction set of L is there.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "indices unroll into registers, iterators over parts do not")]
pub(super) unsafe fn tile<L: Lanes, const R: usize, const V: usize, const FETCHES: bool>(
    steps: &Steps<L::Elem>,
    panel: Panel<L::Elem>,
    target: &Target<L::Elem>,
    ahead: &Ahead<L::Elem>,
) {
    // SAFETY: the caller's promise; pointers step with wrapping arithmetic and are read only where a step is.
    unsafe {
        let mut sum = [[L::zero(); V]; R];
        let (row, col) = (steps.row, steps.col);
        let (mut a, mut b) = (steps.a, panel.b);
        let mut lines = ahead.lines;
        let mut turns = ahead.turns.iter();
        let mut turn = if !FETCHES || ahead.turns.is_empty() { steps.len } else { TURN };
        let (mut at, mut left) = (steps.first, steps.len);
        loop {
            let run = left.min(steps.k - at).min(turn);
            let mut p = a;
            for _ in 0..run {
                if V == 2 && !FETCHES {
                    L::prefetch(b.wrapping_offset(STEPS * panel.step));
                    L::prefetch(b.wrapping_offset(STEPS * panel.step).wrapping_add(L::N));
                }
                if V == 2 && FETCHES {
                    L::prefetch(lines.first);
                    L::prefetch(lines.first.wrapping_offset(lines.gap));
                    L::prefetch(lines.second);
                    lines.first = lines.first.wrapping_offset(lines.step);
                    lines.second = lines.second.wrapping_offset(lines.second_step);
                }
                let bv: [L; V] = from_fn(|v| L::load(b.add(v * L::N)));
                for r in 0..R {
                    let x = L::splat(*p.offset(r as isize * row));
                    for v in 0..V {
                        sum[r][v] = x.fma(bv[v], sum[r][v]);
                    }
                }
                p = p.wrapping_offset(col);
                b = b.wrapping_offset(panel.step);
            }
            left -= run;
            if left == 0 {
                break;
            }
            turn -= run;
            if turn == 0 {
                turn = TURN;
                lines = *turns.next().unwrap_or(&lines);
            }
            at += run;
            a = p;
            if at == steps.k {
                a = p.wrapping_offset(steps.tap - steps.k as isize * col);
                b = b.wrapping_offset(panel.skip);
                lines.first = lines.first.wrapping_offset(ahead.jumps.0);
                lines.second = lines.second.wrapping_offset(ahead.jumps.1);
                at = 0;
            }
        }
        finish(sum, target);
    }
}

/// Vectors of a tile whose columns run along k.
const TURNED_VECTORS: usize = 4;

/// One tile whose panel has its steps side by side: column j of B at `panel.b + j * panel.step`. Squares of 8 x 8 are turned
/// on the way.
///
/// # Safety
/// A is readable for R rows and all steps, which have one tap; B for the target's columns at all steps; C as for [`tile`].
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "as for `tile`")]
pub(super) unsafe fn turned_tile<L: Lanes, const R: usize>(
    steps: &Steps<L::Elem>,
    panel: Panel<L::Elem>,
    target: &Target<L::Elem>,
) {
    const V: usize = TURNED_VECTORS;
    /// Steps turned together.
    const SQUARE: usize = 8;
    let width = V * L::N;
    let mut sum = [[L::zero(); V]; R];
    let mut turned = [[L::zero(); V]; SQUARE];
    let lines: *mut L::Elem = turned.as_mut_ptr().cast();
    let mut done = 0;
    while done < steps.len {
        let run = SQUARE.min(steps.len - done);
        // SAFETY: squares lie inside the columns and steps that exist, `turned` holds 8 steps of the
        // whole width and is reached through `lines` alone.
        unsafe {
            let b = panel.b.wrapping_add(done);
            let whole = if run == SQUARE { target.cols / SQUARE * SQUARE } else { 0 };
            for j in (0..whole).step_by(SQUARE) {
                L::transpose_8(b.wrapping_offset(j as isize * panel.step), panel.step, lines.add(j), width);
            }
            for j in whole..target.cols {
                for i in 0..run {
                    *lines.add(i * width + j) = *b.offset(j as isize * panel.step + i as isize);
                }
            }
            for i in 0..run {
                let a = steps.a.wrapping_offset((done + i) as isize * steps.col);
                let bv: [L; V] = from_fn(|v| L::load(lines.add(i * width + v * L::N)));
                for r in 0..R {
                    let x = L::splat(*a.offset(r as isize * steps.row));
                    for v in 0..V {
                        sum[r][v] = x.fma(bv[v], sum[r][v]);
                    }
                }
            }
        }
        done += run;
    }
    // SAFETY: the caller's promise.
    unsafe { finish(sum, target) }
}

/// Adds the sums of a tile to C, or writes them.
///
/// # Safety
/// C is writable for R rows and the target's columns.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "as for `tile`")]
pub(super) unsafe fn finish<L: Lanes, const R: usize, const V: usize>(mut sum: [[L; V]; R], target: &Target<L::Elem>) {
    // SAFETY: the caller's promise.
    unsafe {
        // Only loops with constant bounds and small bodies may touch `sum`: anything else would keep it in memory.
        if target.col == 1 && target.cols == V * L::N {
            if target.add {
                for r in 0..R {
                    for v in 0..V {
                        sum[r][v] = L::load(target.c.offset(r as isize * target.row).add(v * L::N)).add(sum[r][v]);
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    sum[r][v].store(target.c.offset(r as isize * target.row).add(v * L::N));
                }
            }
        } else {
            let mut lines = [L::zero(); 28];
            for r in 0..R {
                for v in 0..V {
                    lines[r * V + v] = sum[r][v];
                }
            }
            if target.col == 1 {
                store_part(&lines, R, V, target);
            } else {
                store_scattered(lines.as_ptr().cast(), V * L::N, R, target);
            }
        }
    }
}

/// Writes the columns of a tile that exist, where they are neighbours.
///
/// # Safety
/// The tile's contract.
#[inline(always)]
unsafe fn store_part<L: Lanes>(lines: &[L; 28], rows: usize, vectors: usize, target: &Target<L::Elem>) {
    for r in 0..rows {
        for v in 0..vectors {
            // SAFETY: `count` columns from v N on exist (none, where the pointer lies beyond the row).
            unsafe {
                let c = target.c.offset(r as isize * target.row).wrapping_add(v * L::N);
                let count = target.cols.saturating_sub(v * L::N).min(L::N);
                let x = lines[r * vectors + v];
                let value = if target.add { L::load_part(c, count).add(x) } else { x };
                value.store_part(c, count);
            }
        }
    }
}

/// Writes the columns of a tile that exist, anywhere: `rows` rows of `width` elements lie at `lines`.
///
/// # Safety
/// The tile's contract.
#[inline(never)]
unsafe fn store_scattered<E: Copy + std::ops::Add<Output = E>>(
    lines: *const E,
    width: usize,
    rows: usize,
    target: &Target<E>,
) {
    for r in 0..rows {
        for j in 0..target.cols {
            // SAFETY: r and j count elements of the tile that exist.
            unsafe {
                let x = *lines.add(r * width + j);
                let c = target.c.offset(r as isize * target.row + j as isize * target.col);
                *c = if target.add { *c + x } else { x };
            }
        }
    }
}

/// Tiles compiled for one instruction set and one type, by number of rows and vectors.
pub(super) trait Tiles {
    type L: Lanes;
    /// Columns of a turned tile.
    const TURNED_WIDTH: usize;
    /// Most rows of a tile of two vectors.
    const ROWS: usize;
    /// Vectors of a tile of at most three rows.
    const WIDE: usize;
    /// Is a step long enough for a tile to fetch what it is told to ([`Ahead`])? Short ones fetch their own columns, eight steps ahead.
    const FETCHES: bool;

    /// # Safety
    /// [`tile`]'s contract with R = rows in 1..=ROWS and V = vectors in 1..=2, or rows in 1..=3 and V = vectors = WIDE.
    unsafe fn run(
        rows: usize,
        vectors: usize,
        steps: &Steps<<Self::L as Lanes>::Elem>,
        panel: Panel<<Self::L as Lanes>::Elem>,
        target: &Target<<Self::L as Lanes>::Elem>,
        ahead: &Ahead<<Self::L as Lanes>::Elem>,
    );

    /// A tile of TURNED_VECTORS vectors of at most 256 bits: what was stored as squares of 8 is loaded again at once, and
    /// only loads of what one instruction stored are fast.
    ///
    /// # Safety
    /// [`turned_tile`]'s contract with R = rows in 1..=3.
    unsafe fn run_turned(
        rows: usize,
        steps: &Steps<<Self::L as Lanes>::Elem>,
        panel: Panel<<Self::L as Lanes>::Elem>,
        target: &Target<<Self::L as Lanes>::Elem>,
    );
}

macro_rules! tiles {
    ($(#[$feature:meta])* $Name:ident $tile:ident $turned:ident $L:ty, $Turned:ty, $rows:literal, $wide:literal, $fetches:literal; $($r:literal)*) => {
        pub(in crate::contraction) struct $Name;

        /// # Safety
        /// [`tile`]'s contract, on a processor with this instruction set.
        $(#[$feature])*
        #[inline(never)]
        unsafe fn $tile<const R: usize, const V: usize>(
            steps: &Steps<<$L as Lanes>::Elem>,
            panel: Panel<<$L as Lanes>::Elem>,
            target: &Target<<$L as Lanes>::Elem>,
            ahead: &Ahead<<$L as Lanes>::Elem>,
        ) {
            // SAFETY: the caller's promise.
            unsafe { tile::<$L, R, V, $fetches>(steps, panel, target, ahead) }
        }

        /// # Safety
        /// [`turned_tile`]'s contract, on a processor with this instruction set.
        $(#[$feature])*
        #[inline(never)]
        unsafe fn $turned<const R: usize>(
            steps: &Steps<<$L as Lanes>::Elem>,
            panel: Panel<<$L as Lanes>::Elem>,
            target: &Target<<$L as Lanes>::Elem>,
        ) {
            // SAFETY: the caller's promise.
            unsafe { turned_tile::<$Turned, R>(steps, panel, target) }
        }

        impl Tiles for $Name {
            type L = $L;
            const TURNED_WIDTH: usize = TURNED_VECTORS * <$Turned as Lanes>::N;
            const ROWS: usize = $rows;
            const WIDE: usize = $wide;
            const FETCHES: bool = $fetches;

            #[inline(always)]
            unsafe fn run(
                rows: usize,
                vectors: usize,
                steps: &Steps<<$L as Lanes>::Elem>,
                panel: Panel<<$L as Lanes>::Elem>,
                target: &Target<<$L as Lanes>::Elem>,
                ahead: &Ahead<<$L as Lanes>::Elem>,
            ) {
                // SAFETY: the caller's promise.
                unsafe {
                    match (rows, vectors) {
                        $(
                            ($r, 1) => $tile::<$r, 1>(steps, panel, target, ahead),
                            ($r, 2) => $tile::<$r, 2>(steps, panel, target, ahead),
                        )*
                        (1, $wide) => $tile::<1, $wide>(steps, panel, target, ahead),
                        (2, $wide) => $tile::<2, $wide>(steps, panel, target, ahead),
                        (3, $wide) => $tile::<3, $wide>(steps, panel, target, ahead),
                        (_, _) => unreachable!("no tile of {rows} rows and {vectors} vectors"),
                    }
                }
            }

            #[inline(always)]
            unsafe fn run_turned(
                rows: usize,
                steps: &Steps<<$L as Lanes>::Elem>,
                panel: Panel<<$L as Lanes>::Elem>,
                target: &Target<<$L as Lanes>::Elem>,
            ) {
                // SAFETY: the caller's promise.
                unsafe {
                    match rows {
                        1 => $turned::<1>(steps, panel, target),
                        2 => $turned::<2>(steps, panel, target),
                        3 => $turned::<3>(steps, panel, target),
                        _ => unreachable!("no turned tile of {rows} rows"),
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use crate::vector_math::lanes::{Avx2F32, Avx2F64, Avx512F32, Avx512F64};

    // 14 x 2 sums, 2 vectors of B and 1 of A: 31 of 32 registers.
    tiles! {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
        Avx512TilesF32 tile_avx512_f32 turned_avx512_f32 Avx512F32, Avx2F32, 14, 8, true; 1 2 3 4 5 6 7 8 9 10 11 12 13 14
    }
    tiles! {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
        Avx512TilesF64 tile_avx512_f64 turned_avx512_f64 Avx512F64, Avx2F64, 14, 8, true; 1 2 3 4 5 6 7 8 9 10 11 12 13 14
    }
    // 6 x 2 sums, 2 vectors of B and 1 of A: 15 of 16 registers.
    tiles! { #[target_feature(enable = "avx2,fma")] Avx2TilesF32 tile_avx2_f32 turned_avx2_f32 Avx2F32, Avx2F32, 6, 4, false; 1 2 3 4 5 6 }
    tiles! { #[target_feature(enable = "avx2,fma")] Avx2TilesF64 tile_avx2_f64 turned_avx2_f64 Avx2F64, Avx2F64, 6, 4, false; 1 2 3 4 5 6 }
}
#[cfg(target_arch = "x86_64")]
pub(super) use x86::*;

use crate::vector_math::lanes::Plain;
tiles! { PortableTilesF32 tile_portable_f32 turned_portable_f32 Plain<f32, 8>, Plain<f32, 8>, 6, 4, false; 1 2 3 4 5 6 }
tiles! { PortableTilesF64 tile_portable_f64 turned_portable_f64 Plain<f64, 4>, Plain<f64, 4>, 6, 4, false; 1 2 3 4 5 6 }
