//! `C[m, n] (+)= sum k: A[m, k] * B[k, n]` over any strides, with bits that do not depend on how the product was cut.
//!
//! **Definition.** k is taken in chunks of [`CHUNK`] = 512. Each chunk is one chain of fused multiply-adds in order of k
//! that starts at 0; chunk sums are added to C (to nothing, in [`Mode::Write`]) in order. So an element of C is a function
//! of its row of A, its column of B, k and its own old value. It has the same bits
//!
//! - alone or among any other rows and columns, hence on any number of threads, whether those share rows or columns;
//! - with any strides, with A and B exchanged for their transposes, packed or not;
//! - in AVX-512, AVX2 and portable code.
//!
//! Chains of 512 keep the error of long sums (a weight gradient over 10⁵ rows) near that of a pairwise sum.
//!
//! A and B may overlap themselves and each other in any way: a channels-last convolution is one call over rows that
//! overlap (`row = stride * channels`), and a dilated one is [`contract_taps_f32`]. C must overlap neither them nor itself.
//!
//! Threads are the caller's business: give each its own rows or columns of C. Every thread keeps one scratch buffer of
//! about 0.6 MB for panels.
//!
//! ```
//! use bdl_kernels::contraction::{product_f32, Mode};
//! let (a, b) = ([1.0, 2.0, 3.0, 4.0], [10.0, 20.0]);
//! let mut c = [0.0; 2];
//! product_f32(2, 1, 2, &a, &b, &mut c, Mode::Write);
//! assert_eq!(c, [50.0, 110.0]);
//! ```
//!
//! Measured with `examples/contraction_speed.rs` (one core of a Zen 4, AVX-512, GFLOP/s, ours / the `gemm` crate in the same
//! run): 64 x 512 x 2000 112 / 104, its input gradient 101 / 87, its weight gradient 113 / 103; 32-channel dilated convolution
//! 112 / 105; 1024³ 82-98 / 103; 1000 x 1 x 256 19 / 38 (a single column cannot use sums along k, which would change bits).
//!
//! | file | job |
//! |---|---|
//! | `blocks.rs` | the loops: chunks of k, blocks of rows, panels of columns |
//! | `ones.rs` | left operands of zeros and ones: sums instead of products |
//! | `pack.rs` | copies panels of B and blocks of A that lie badly |
//! | `ahead.rs` | what tiles bring into the cache meanwhile |
//! | `tile.rs` | the innermost loop: up to 14 x 32 elements of C in registers |
//! | [`bf16`] | the same with factors rounded to bf16 |

use crate::isa::Isa;

pub use ahead::{MOST_STRETCHES, Stretch, fetching};

mod ahead;
pub mod bf16;
mod blocks;
mod ones;
mod pack;
mod tile;

/// The longest chain of products; the sums of such chains are added to C one after the other.
pub const CHUNK: usize = 512;

/// A matrix to read: `self[i, j] = *(ptr + i * row + j * col)`, strides in elements, of any sign, rows may overlap.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<T> {
    pub ptr: *const T,
    pub row: isize,
    pub col: isize,
}

/// A matrix to write; distinct (i, j) must be distinct places.
#[derive(Clone, Copy, Debug)]
pub struct MatrixMut<T> {
    pub ptr: *mut T,
    pub row: isize,
    pub col: isize,
}

impl<T> Matrix<T> {
    /// Row-major with `cols` columns.
    pub fn rows(data: &[T], cols: usize) -> Self {
        Matrix { ptr: data.as_ptr(), row: cols as isize, col: 1 }
    }

    /// Rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Matrix { ptr: self.ptr, row: self.col, col: self.row }
    }
}

impl<T> MatrixMut<T> {
    /// Row-major with `cols` columns.
    pub fn rows(data: &mut [T], cols: usize) -> Self {
        MatrixMut { ptr: data.as_mut_ptr(), row: cols as isize, col: 1 }
    }

    /// Rows and columns exchanged.
    pub fn transposed(self) -> Self {
        MatrixMut { ptr: self.ptr, row: self.col, col: self.row }
    }
}

/// What happens to the old value of C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `C = A B`; C need not be initialised.
    Write,
    /// `C += A B`.
    Add,
}

/// An outer axis of the sum, as the taps of a dilated convolution: the product is
/// `C[m, n] (+)= sum t < count, k: A[t * a + (m, k)] * B[t * b + (k, n)]`, where (m, k) and (k, n) are strided as ever.
/// For chunks, the sum counts as one of length count * k, in order of t, then k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taps {
    pub count: usize,
    /// Elements from one tap to the next in A and in B.
    pub a: isize,
    pub b: isize,
}

impl Taps {
    pub const ONE: Taps = Taps { count: 1, a: 0, b: 0 };
}

/// One call, all of it.
#[derive(Clone, Copy)]
struct Job<T> {
    m: usize,
    n: usize,
    k: usize,
    taps: Taps,
    a: Matrix<T>,
    b: Matrix<T>,
    c: MatrixMut<T>,
    add: bool,
}

impl<T> Job<T> {
    /// Fewest taps.
    fn join_taps(&mut self) {
        let Taps { count, a, b } = self.taps;
        if count > 1 && a == self.k as isize * self.a.col && b == self.k as isize * self.b.row {
            (self.k, self.taps) = (self.k * count, Taps::ONE);
        } else if self.k == 1 {
            (self.k, self.taps, self.a.col, self.b.row) = (count, Taps::ONE, a, b);
        }
    }

    /// Few rows, many columns that run along k, as in `dy wᵀ`: a copy of B that turns it would take a large part of the time. With the roles
    /// exchanged B is read where it lies, and the few rows are copied. C is then written in columns, once for each chunk of the sum: more than two cost
    /// more than is won.
    fn is_better_turned(&self) -> bool {
        let along_k = self.b.row == 1 && self.b.col != 1 && self.a.col == 1 && self.c.col == 1;
        along_k && (16..=64).contains(&self.m) && self.n >= 2 * self.m && (CHUNK..=2 * CHUNK).contains(&self.k)
    }

    /// The same sums, in the form the loops like best: fewest taps, C with contiguous rows if it has contiguous anything.
    fn normalised(mut self) -> Job<T> {
        self.join_taps();
        // A product with a few columns is run as one with a few rows: then vectors hold rows of A.
        let few_columns = self.n <= 4 && self.m >= 8;
        if few_columns || (self.c.col != 1 && self.c.row == 1 && self.m > 4) || self.is_better_turned() {
            let taps = Taps { count: self.taps.count, a: self.taps.b, b: self.taps.a };
            self = Job {
                m: self.n,
                n: self.m,
                taps,
                a: self.b.transposed(),
                b: self.a.transposed(),
                c: self.c.transposed(),
                ..self
            };
        }
        self
    }
}

/// A right operand that was copied into panels by a `pack` function: panel p holds columns `p * width` and on, step after step, `width`
/// side by side, zeros beyond the last column. Step k of it is at `ptr + p * panel + k * width`, where a step may be any row of the copied
/// matrix: [`Taps::b`] and [`row`](Panels::row) then count in elements as ever.
#[derive(Clone, Copy, Debug)]
pub struct Panels<T> {
    pub ptr: *const T,
    /// From a step to the next, within a tap: a multiple of the width.
    pub row: isize,
    /// From a panel to the next.
    pub panel: usize,
}

/// Columns of a panel on this processor, for elements of so many bytes.
pub fn panel_width(bytes: usize) -> usize {
    let vector = match Isa::current() {
        Isa::Avx512 => 64,
        Isa::Avx2 | Isa::Portable => 32,
    };
    2 * vector / bytes
}

macro_rules! contraction {
    ($plain:ident $taps:ident $safe:ident $panels:ident $pack:ident $T:ty, $avx512:ident $avx2:ident $portable:ident,
        $avx512_panels:ident $avx2_panels:ident $portable_panels:ident, $avx512_pack:ident $avx2_pack:ident $portable_pack:ident) => {
        /// Copies rows `0..k` and columns `from..from + n` of B into panels (see [`Panels`]), the first of them to `out`. `from` need not be a
        /// multiple of the width, but where panels are packed in several calls all but the last take whole ones.
        ///
        /// # Safety
        /// Those elements of B are readable, and `out` has room for `k * width` elements in each panel, which `panel` lies apart.
        pub unsafe fn $pack(k: usize, from: usize, n: usize, b: Matrix<$T>, out: *mut $T, panel: usize) {
            let (a, c) = (
                Matrix { ptr: std::ptr::null(), row: 0, col: 0 },
                MatrixMut { ptr: std::ptr::null_mut(), row: 0, col: 0 },
            );
            let job = Job { m: 0, n, k, taps: Taps::ONE, a, b, c, add: false };
            // SAFETY: the caller's promise about memory; `Isa::current` only names what the processor has.
            unsafe {
                match Isa::current() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => blocks::$avx512_pack(&job, from, n, out, panel),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => blocks::$avx2_pack(&job, from, n, out, panel),
                    #[cfg(not(target_arch = "x86_64"))]
                    Isa::Avx512 | Isa::Avx2 => blocks::$portable_pack(&job, from, n, out, panel),
                    Isa::Portable => blocks::$portable_pack(&job, from, n, out, panel),
                }
            }
        }

        /// The contraction with a right operand in panels: the same bits as without.
        ///
        /// # Safety
        /// As for the contraction with taps; B was packed on this processor for at least n columns.
        #[allow(clippy::too_many_arguments, reason = "extents, operands, mode: a struct would only rename them")]
        pub unsafe fn $panels(
            m: usize,
            n: usize,
            k: usize,
            taps: Taps,
            a: Matrix<$T>,
            b: Panels<$T>,
            c: MatrixMut<$T>,
            mode: Mode,
        ) {
            let panel = b.panel;
            let b = Matrix { ptr: b.ptr, row: b.row, col: 1 };
            let mut job = Job { m, n, k, taps, a, b, c, add: mode == Mode::Add };
            job.join_taps();
            // SAFETY: the caller's promise about memory; `Isa::current` only names what the processor has.
            unsafe {
                match Isa::current() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => blocks::$avx512_panels(&job, panel),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => blocks::$avx2_panels(&job, panel),
                    #[cfg(not(target_arch = "x86_64"))]
                    Isa::Avx512 | Isa::Avx2 => blocks::$portable_panels(&job, panel),
                    Isa::Portable => blocks::$portable_panels(&job, panel),
                }
            }
        }

        /// The contraction with one summed axis (see the module).
        ///
        /// # Safety
        /// Every `A[i, k]`, `B[k, j]` is readable and every `C[i, j]` writable for i < m, j < n, k < `k`; elements of C
        /// are distinct and not part of A or B; with [`Mode::Add`] C is initialised.
        pub unsafe fn $plain(m: usize, n: usize, k: usize, a: Matrix<$T>, b: Matrix<$T>, c: MatrixMut<$T>, mode: Mode) {
            // SAFETY: the caller's promise.
            unsafe { $taps(m, n, k, Taps::ONE, a, b, c, mode) }
        }

        /// The contraction with an outer summed axis (see [`Taps`]).
        ///
        /// # Safety
        /// As for the plain contraction, for every tap.
        #[allow(clippy::too_many_arguments, reason = "extents, operands, mode: a struct would only rename them")]
        pub unsafe fn $taps(
            m: usize,
            n: usize,
            k: usize,
            taps: Taps,
            a: Matrix<$T>,
            b: Matrix<$T>,
            c: MatrixMut<$T>,
            mode: Mode,
        ) {
            let job = Job { m, n, k, taps, a, b, c, add: mode == Mode::Add }.normalised();
            // SAFETY: the caller's promise about memory; `Isa::current` only names what the processor has.
            unsafe {
                match Isa::current() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => blocks::$avx512(&job),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => blocks::$avx2(&job),
                    #[cfg(not(target_arch = "x86_64"))]
                    Isa::Avx512 | Isa::Avx2 => blocks::$portable(&job),
                    Isa::Portable => blocks::$portable(&job),
                }
            }
        }

        /// The contraction of row-major slices: A [m, k], B [k, n], C [m, n].
        ///
        /// # Panics
        /// If a slice does not have the length its shape says.
        pub fn $safe(m: usize, n: usize, k: usize, a: &[$T], b: &[$T], c: &mut [$T], mode: Mode) {
            assert_eq!((a.len(), b.len(), c.len()), (m * k, k * n, m * n), "slices hold their matrices");
            // SAFETY: the lengths were checked, and a unique borrow overlaps nothing.
            unsafe { $plain(m, n, k, Matrix::rows(a, k), Matrix::rows(b, n), MatrixMut::rows(c, n), mode) }
        }
    };
}
contraction!(contract_f32 contract_taps_f32 product_f32 contract_panels_f32 pack_panels_f32 f32, avx512_f32 avx2_f32 portable_f32,
    avx512_panels_f32 avx2_panels_f32 portable_panels_f32, avx512_pack_f32 avx2_pack_f32 portable_pack_f32);
contraction!(contract_f64 contract_taps_f64 product_f64 contract_panels_f64 pack_panels_f64 f64, avx512_f64 avx2_f64 portable_f64,
    avx512_panels_f64 avx2_panels_f64 portable_panels_f64, avx512_pack_f64 avx2_pack_f64 portable_pack_f64);

#[cfg(test)]
mod tests;
