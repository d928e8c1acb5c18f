//! The matrices of Winograd's F(2 x 2, 3 x 3), on vectors of channels.
//!
//! Written with indices and without closures: only so are the arrays registers, and the loads and sums instructions rather than calls.

#![allow(clippy::needless_range_loop, reason = "indices unroll into registers, iterators over parts do not")]

use super::{Filter, Image, Mode, PLACES, Places, SQUARE, TAPS};
use crate::vector_math::lanes::Lanes;
use std::ops::Range;

/// Positions along either side of a patch.
const PATCH: usize = 4;

/// `Bᵀ` of four.
#[inline(always)]
fn of_patch<L: Lanes>(d: [L; PATCH]) -> [L; PATCH] {
    [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3])]
}

/// `G` of three.
#[inline(always)]
fn of_filter<L: Lanes>(g: [L; TAPS], half: L) -> [L; PATCH] {
    let (ends, middle) = (g[0].add(g[2]).mul(half), g[1].mul(half));
    [g[0], ends.add(middle), ends.sub(middle), g[2]]
}

/// `A` of two.
#[inline(always)]
fn of_square<L: Lanes>(y: [L; SQUARE]) -> [L; PATCH] {
    [y[0], y[0].add(y[1]), y[0].sub(y[1]), y[1].neg()]
}

/// `Aᵀ` of four.
#[inline(always)]
fn to_square<L: Lanes>(m: [L; PATCH]) -> [L; SQUARE] {
    [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])]
}

/// `Gᵀ` of four.
#[inline(always)]
fn to_filter<L: Lanes>(s: [L; PATCH], half: L) -> [L; TAPS] {
    let (sum, difference) = (s[1].add(s[2]).mul(half), s[1].sub(s[2]).mul(half));
    [s[0].add(sum), difference, sum.add(s[3])]
}

/// `of` down the columns of a square array, then along its rows.
macro_rules! both_ways {
    ($d:expr, $from:ident, $to:ident, $of:expr) => {{
        let d: [[L; $from]; $from] = $d;
        let mut down = [[L::zero(); $from]; $to];
        for j in 0..$from {
            let mut column = [L::zero(); $from];
            for i in 0..$from {
                column[i] = d[i][j];
            }
            let column = $of(column);
            for i in 0..$to {
                down[i][j] = column[i];
            }
        }
        let mut both = [[L::zero(); $to]; $to];
        for i in 0..$to {
            both[i] = $of(down[i]);
        }
        both
    }};
}

/// `count` lanes, all of them where it is L::N.
#[inline(always)]
unsafe fn load<L: Lanes>(p: *const L::Elem, count: usize) -> L {
    // SAFETY: the caller's promise.
    unsafe { if count == L::N { L::load(p) } else { L::load_part(p, count) } }
}

#[inline(always)]
unsafe fn store<L: Lanes>(x: L, p: *mut L::Elem, count: usize) {
    // SAFETY: the caller's promise.
    unsafe { if count == L::N { x.store(p) } else { x.store_part(p, count) } }
}

/// The pointers to a square window of an image from (y, x) on, none where the image ends.
#[inline(always)]
fn window<T, const S: usize>(image: &Image<T>, y: isize, x: isize) -> [[*mut T; S]; S] {
    let mut at = [[std::ptr::null_mut(); S]; S];
    for (i, row) in at.iter_mut().enumerate() {
        for (j, p) in row.iter_mut().enumerate() {
            let (y, x) = (y + i as isize, x + j as isize);
            if (0..image.rows).contains(&y) && (0..image.columns).contains(&x) {
                *p = image.ptr.wrapping_offset(y * image.row + x * image.column);
            }
        }
    }
    at
}

/// The vectors of a window, 0 where the image ends.
///
/// # Safety
/// `lanes` channels from `first` on are readable at each position.
#[inline(always)]
unsafe fn read<L: Lanes, const S: usize>(
    at: &[[*mut L::Elem; S]; S],
    is_inside: bool,
    first: usize,
    lanes: usize,
) -> [[L; S]; S] {
    let mut d = [[L::zero(); S]; S];
    for i in 0..S {
        for j in 0..S {
            if is_inside || !at[i][j].is_null() {
                // SAFETY: the caller's promise.
                d[i][j] = unsafe { load::<L>(at[i][j].wrapping_add(first), lanes) };
            }
        }
    }
    d
}

/// The vectors of a row of all places.
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn read_places<L: Lanes>(from: Places<L::Elem>, at: usize, lanes: usize) -> [[L; PATCH]; PATCH] {
    let mut m = [[L::zero(); PATCH]; PATCH];
    for i in 0..PATCH {
        for j in 0..PATCH {
            // SAFETY: the caller's promise.
            m[i][j] = unsafe { load::<L>(from.matrix(PATCH * i + j).wrapping_add(at), lanes) };
        }
    }
    m
}

/// # Safety
/// There is room for them.
#[inline(always)]
unsafe fn write_places<L: Lanes>(x: [[L; PATCH]; PATCH], to: Places<L::Elem>, at: usize, lanes: usize) {
    for i in 0..PATCH {
        for j in 0..PATCH {
            // SAFETY: the caller's promise.
            unsafe { store(x[i][j], to.matrix(PATCH * i + j).wrapping_add(at), lanes) }
        }
    }
}

/// What is made of windows next to each other, two columns apart: row after row of the places.
///
/// # Safety
/// The image is readable, the places have room; the instruction set of L is there.
#[inline(always)]
unsafe fn windows<L: Lanes, const S: usize>(
    image: Image<L::Elem>,
    (y, x): (isize, isize),
    count: usize,
    channels: usize,
    out: Places<L::Elem>,
    of: impl Fn([L; S]) -> [L; PATCH],
) {
    for tile in 0..count {
        let at = window::<_, S>(&image, y, x + (SQUARE * tile) as isize);
        let is_inside = at.iter().flatten().all(|p| !p.is_null());
        let mut first = 0;
        while first < channels {
            let lanes = L::N.min(channels - first);
            // SAFETY: positions inside the image, and a row of each place. Whole vectors of whole windows are apart for their speed.
            unsafe {
                let to = tile * channels + first;
                if is_inside && lanes == L::N {
                    write_places(both_ways!(read::<L, S>(&at, true, first, L::N), S, PATCH, of), out, to, L::N);
                } else {
                    write_places(both_ways!(read::<L, S>(&at, false, first, lanes), S, PATCH, of), out, to, lanes);
                }
            }
            first += lanes;
        }
    }
}

/// # Safety
/// [`super::sums_f32`]'s, and the instruction set of L is there.
#[inline(always)]
unsafe fn sums<L: Lanes>(
    from: Places<L::Elem>,
    count: usize,
    columns: usize,
    image: Image<L::Elem>,
    (y, x): (isize, isize),
    mode: Mode,
) {
    for tile in 0..count {
        let at = window::<_, SQUARE>(&image, y, x + (SQUARE * tile) as isize);
        let is_inside = at.iter().flatten().all(|p| !p.is_null());
        let mut first = 0;
        while first < columns {
            let lanes = L::N.min(columns - first);
            let row = tile * columns + first;
            // SAFETY: a row of each place, and positions inside the image.
            unsafe {
                if is_inside && lanes == L::N && mode == Mode::Write {
                    let square = both_ways!(read_places::<L>(from, row, L::N), PATCH, SQUARE, to_square);
                    for i in 0..SQUARE {
                        for j in 0..SQUARE {
                            square[i][j].store(at[i][j].wrapping_add(first));
                        }
                    }
                } else {
                    let square = both_ways!(read_places::<L>(from, row, lanes), PATCH, SQUARE, to_square);
                    for i in 0..SQUARE {
                        for j in 0..SQUARE {
                            if !at[i][j].is_null() {
                                put(square[i][j], at[i][j].wrapping_add(first), lanes, mode);
                            }
                        }
                    }
                }
            }
            first += lanes;
        }
    }
}

/// Writes or adds.
///
/// # Safety
/// The lanes are writable, and initialised where they are added to.
#[inline(always)]
unsafe fn put<L: Lanes>(x: L, p: *mut L::Elem, lanes: usize, mode: Mode) {
    // SAFETY: the caller's promise.
    unsafe {
        let x = if mode == Mode::Add { load::<L>(p, lanes).add(x) } else { x };
        store(x, p, lanes);
    }
}

impl<T> Filter<T> {
    /// Tap (k, l) of channel c from a column on.
    #[inline(always)]
    fn at(&self, k: usize, l: usize, c: usize, column: usize) -> *mut T {
        let at = k as isize * self.row + l as isize * self.column + c as isize * self.channel;
        self.ptr.wrapping_offset(at).wrapping_add(column)
    }
}

/// # Safety
/// [`super::filters_f32`]'s, and the instruction set of L is there.
#[inline(always)]
unsafe fn filters<L: Lanes>(
    half: L::Elem,
    channels: Range<usize>,
    columns: usize,
    filter: Filter<L::Elem>,
    out: Places<L::Elem>,
    panel: usize,
) {
    let (width, half) = (2 * L::N, L::splat(half));
    for c in channels {
        let mut first = 0;
        while first < columns.next_multiple_of(width) {
            let lanes = columns.saturating_sub(first).min(L::N);
            // SAFETY: columns of the filter that exist, and a vector of a panel, which there is room for.
            unsafe {
                let mut g = [[L::zero(); TAPS]; TAPS];
                for k in 0..TAPS {
                    for l in 0..TAPS {
                        g[k][l] = load::<L>(filter.at(k, l, c, first), lanes);
                    }
                }
                let made = both_ways!(g, TAPS, PATCH, |g| of_filter(g, half));
                write_places(made, out, first / width * panel + c * width + first % width, L::N);
            }
            first += L::N;
        }
    }
}

/// # Safety
/// [`super::taps_f32`]'s, and the instruction set of L is there.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "those of the kernel, and a constant of the type")]
unsafe fn taps<L: Lanes>(
    half: L::Elem,
    from: Places<L::Elem>,
    (parts, part): (usize, usize),
    channels: Range<usize>,
    columns: usize,
    filter: Filter<L::Elem>,
    mode: Mode,
) {
    let half = L::splat(half);
    for c in channels {
        let mut first = 0;
        while first < columns {
            let lanes = L::N.min(columns - first);
            // SAFETY: a row of each place of each part, and elements of the filter.
            unsafe {
                let mut s = read_places::<L>(from, c * columns + first, lanes);
                for p in 1..parts {
                    let more = read_places::<L>(from.from(p * part), c * columns + first, lanes);
                    for i in 0..PATCH {
                        for j in 0..PATCH {
                            s[i][j] = s[i][j].add(more[i][j]);
                        }
                    }
                }
                let made = both_ways!(s, PATCH, TAPS, |s| to_filter(s, half));
                for k in 0..TAPS {
                    for l in 0..TAPS {
                        put(made[k][l], filter.at(k, l, c, first), lanes, mode);
                    }
                }
            }
            first += lanes;
        }
    }
}

macro_rules! compiled_for {
    ($(#[$feature:meta])* $name:ident $L:ty) => {
        /// # Safety
        /// Each function has the contract of its namesake in [`super`]; the processor has the instruction set.
        pub(super) mod $name {
            use super::*;
            type E = <$L as Lanes>::Elem;

            $(#[$feature])*
            pub unsafe fn filters(channels: Range<usize>, columns: usize, filter: Filter<E>, out: Places<E>, panel: usize) {
                // SAFETY: the caller's promise.
                unsafe { super::filters::<$L>(0.5, channels, columns, filter, out, panel) }
            }

            $(#[$feature])*
            pub unsafe fn patches(image: Image<E>, at: (isize, isize), count: usize, channels: usize, out: Places<E>) {
                // SAFETY: the caller's promise.
                unsafe { super::windows::<$L, PATCH>(image, at, count, channels, out, of_patch) }
            }

            $(#[$feature])*
            pub unsafe fn squares(image: Image<E>, at: (isize, isize), count: usize, columns: usize, out: Places<E>) {
                // SAFETY: the caller's promise.
                unsafe { super::windows::<$L, SQUARE>(image, at, count, columns, out, of_square) }
            }

            $(#[$feature])*
            pub unsafe fn sums(from: Places<E>, count: usize, columns: usize, image: Image<E>, at: (isize, isize), mode: Mode) {
                // SAFETY: the caller's promise.
                unsafe { super::sums::<$L>(from, count, columns, image, at, mode) }
            }

            $(#[$feature])*
            pub unsafe fn taps(
                from: Places<E>,
                parts: (usize, usize),
                channels: Range<usize>,
                columns: usize,
                filter: Filter<E>,
                mode: Mode,
            ) {
                // SAFETY: the caller's promise.
                unsafe { super::taps::<$L>(0.5, from, parts, channels, columns, filter, mode) }
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")] avx512_f32 crate::vector_math::lanes::Avx512F32 }
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")] avx512_f64 crate::vector_math::lanes::Avx512F64 }
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx2,fma")] avx2_f32 crate::vector_math::lanes::Avx2F32 }
#[cfg(target_arch = "x86_64")]
compiled_for! { #[target_feature(enable = "avx2,fma")] avx2_f64 crate::vector_math::lanes::Avx2F64 }
compiled_for! { portable_f32 crate::vector_math::lanes::Plain<f32, 8> }
compiled_for! { portable_f64 crate::vector_math::lanes::Plain<f64, 4> }

/// As many as the caller multiplies.
const _: () = assert!(PATCH * PATCH == PLACES);
