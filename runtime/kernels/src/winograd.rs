//! Convolutions of images with 3 x 3 taps, two rows and two columns of positions at a time: Winograd's F(2 x 2, 3 x 3).
//!
//! A *square* is 2 x 2 positions of the result, a *patch* the 4 x 4 positions of the input that it is made of. Of both, and of the filter, 16
//! numbers are made for each channel; multiplied place by place they are 16 where 36 products were written:
//!
//! ```text
//! Y = Aᵀ [(G g Gᵀ) ∘ (Bᵀ d B)] A          Y: 2 x 2    g: 3 x 3    d: 4 x 4
//!
//!      1  0 -1  0         1   0   0
//! Bᵀ = 0  1  1  0    G =  1/2 1/2 1/2     Aᵀ = 1 1  1  0
//!      0 -1  1  0         1/2 -1/2 1/2         0 1 -1 -1
//!      0  1  0 -1         0   0   1
//! ```
//!
//! Channels are summed between the two: 16 products of matrices, [`contraction`](crate::contraction)'s, one for each place. With respect to the filter the
//! derivative is `Gᵀ [(A dY Aᵀ) ∘ (Bᵀ d B)] G`, summed over the squares. This module has what is made of patches, squares and filters,
//! and what is made of the sums; the caller multiplies.
//!
//! **Order of sums.** Bᵀ d first, then times B, and so for all: each element is a function of its patch (square, filter) alone, with the same bits on
//! every instruction set. Halves are exact. Sums of neighbours round before they are multiplied, but chains are a ninth as long: with 64 channels the
//! root mean square of a map's errors is 0.7 of that of the written sum in f32, of the derivative's by the filter 1.0 (compared in the tests). An
//! element that is infinite makes all results NaN whose patch it is in.
//!
//! Source: A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks (2016), after S. Winograd (1980).
//!
//! | file | job |
//! |---|---|
//! | `transform.rs` | the four matrices, on vectors of channels |

use crate::contraction::Mode;
use crate::isa::Isa;

mod transform;

/// The places of a patch: so many products of matrices.
pub const PLACES: usize = 16;
/// Positions that a square is wide and high.
pub const SQUARE: usize = 2;
/// Taps along either side of a filter.
pub const TAPS: usize = 3;

/// An image: the channels of position (y, x) lie side by side from `ptr + y * row + x * column` on. Beyond `rows` and `columns` it is 0.
#[derive(Clone, Copy, Debug)]
pub struct Image<T> {
    pub ptr: *mut T,
    pub row: isize,
    pub column: isize,
    pub rows: isize,
    pub columns: isize,
}

/// A filter: the columns (filters) of tap (k, l) and channel c lie side by side from `ptr + k * row + l * column + c * channel` on.
#[derive(Clone, Copy, Debug)]
pub struct Filter<T> {
    pub ptr: *mut T,
    pub row: isize,
    pub column: isize,
    pub channel: isize,
}

/// Matrices of the same shape, one for each place, `apart` elements from each other.
#[derive(Clone, Copy, Debug)]
pub struct Places<T> {
    pub ptr: *mut T,
    pub apart: usize,
}

impl<T> Places<T> {
    /// Where the matrix of a place begins.
    pub fn matrix(&self, place: usize) -> *mut T {
        self.ptr.wrapping_add(place * self.apart)
    }

    /// The same matrices from a later element on.
    pub fn from(&self, element: usize) -> Places<T> {
        Places { ptr: self.ptr.wrapping_add(element), apart: self.apart }
    }
}

macro_rules! winograd {
    ($T:ty, $filters:ident $patches:ident $squares:ident $sums:ident $taps:ident,
        $avx512:ident $avx2:ident $portable:ident) => {
        /// `G g Gᵀ` for channels `from..to` of a filter of so many columns, in panels as right operands of
        /// [`contraction`](crate::contraction): step c of panel p of a place at `out + p * panel + c * width`.
        ///
        /// # Safety
        /// The filter is readable; each place of `out` has room for the panels of all columns, `panel` elements apart.
        pub unsafe fn $filters(
            channels: std::ops::Range<usize>,
            columns: usize,
            filter: Filter<$T>,
            out: Places<$T>,
            panel: usize,
        ) {
            // SAFETY: the caller's promise about memory; `Isa::current` only names what the processor has.
            unsafe {
                match Isa::current() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => transform::$avx512::filters(channels, columns, filter, out, panel),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => transform::$avx2::filters(channels, columns, filter, out, panel),
                    #[cfg(not(target_arch = "x86_64"))]
                    Isa::Avx512 | Isa::Avx2 => transform::$portable::filters(channels, columns, filter, out, panel),
                    Isa::Portable => transform::$portable::filters(channels, columns, filter, out, panel),
                }
            }
        }

        /// `Bᵀ d B` for `count` patches next to each other: patch j begins at (y, x + 2 j) of the image and becomes row j of the places, as long as
        /// there are channels.
        ///
        /// # Safety
        /// The image's elements are readable, and the places have room for `count` rows.
        pub unsafe fn $patches(image: Image<$T>, at: (isize, isize), count: usize, channels: usize, out: Places<$T>) {
            // SAFETY: as above.
            unsafe {
                match Isa::current() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => transform::$avx512::patches(image, at, count, channels, out),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => transform::$avx2::patches(image, at, count, channels, out),
                    #[cfg(not(target_arch = "x86_64"))]
                    Isa::Avx512 | Isa::Avx2 => transform::$portable::patches(image, at, count, channels, out),
                    Isa::Portable => transform::$portable::patches(image, at, count, channels, out),
                }
            }
        }

        /// `A dY Aᵀ` for `count` squares next to each other, as [`patches`](self): for the derivative by the filter.
        ///
        /// # Safety
        /// As for patches.
        pub unsafe fn $squares(image: Image<$T>, at: (isize, isize), count: usize, columns: usize, out: Places<$T>) {
            // SAFETY: as above.
            unsafe {
                match Isa::current() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => transform::$avx512::squares(image, at, count, columns, out),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => transform::$avx2::squares(image, at, count, columns, out),
                    #[cfg(not(target_arch = "x86_64"))]
                    Isa::Avx512 | Isa::Avx2 => transform::$portable::squares(image, at, count, columns, out),
                    Isa::Portable => transform::$portable::squares(image, at, count, columns, out),
                }
            }
        }

        /// `Aᵀ m A` of rows `0..count` of the places: square j is written to the image from (y, x + 2 j) on, or added, as far as the image goes.
        ///
        /// # Safety
        /// The places have `count` rows of so many columns; the image's elements are writable, and initialised with [`Mode::Add`].
        pub unsafe fn $sums(
            from: Places<$T>,
            count: usize,
            columns: usize,
            image: Image<$T>,
            at: (isize, isize),
            mode: Mode,
        ) {
            // SAFETY: as above.
            unsafe {
                match Isa::current() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => transform::$avx512::sums(from, count, columns, image, at, mode),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => transform::$avx2::sums(from, count, columns, image, at, mode),
                    #[cfg(not(target_arch = "x86_64"))]
                    Isa::Avx512 | Isa::Avx2 => transform::$portable::sums(from, count, columns, image, at, mode),
                    Isa::Portable => transform::$portable::sums(from, count, columns, image, at, mode),
                }
            }
        }

        /// `Gᵀ s G` for channels `from..to`: what the derivative by the filter is, of places with a row for each channel. They come in so
        /// many parts, `part` elements apart, which are added in their order.
        ///
        /// # Safety
        /// All parts hold the places; the filter is writable, and initialised with [`Mode::Add`].
        pub unsafe fn $taps(
            from: Places<$T>,
            (parts, part): (usize, usize),
            channels: std::ops::Range<usize>,
            columns: usize,
            filter: Filter<$T>,
            mode: Mode,
        ) {
            // SAFETY: as above.
            unsafe {
                match Isa::current() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => transform::$avx512::taps(from, (parts, part), channels, columns, filter, mode),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => transform::$avx2::taps(from, (parts, part), channels, columns, filter, mode),
                    #[cfg(not(target_arch = "x86_64"))]
                    Isa::Avx512 | Isa::Avx2 => {
                        transform::$portable::taps(from, (parts, part), channels, columns, filter, mode)
                    }
                    Isa::Portable => transform::$portable::taps(from, (parts, part), channels, columns, filter, mode),
                }
            }
        }
    };
}
winograd!(f32, filters_f32 patches_f32 squares_f32 sums_f32 taps_f32, avx512_f32 avx2_f32 portable_f32);
winograd!(f64, filters_f64 patches_f64 squares_f64 sums_f64 taps_f64, avx512_f64 avx2_f64 portable_f64);

#[cfg(test)]
mod tests;
