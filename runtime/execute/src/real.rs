//! The types of elements that contractions exist for, each with its kernels of `bdl-kernels`.

use bdl_kernels::contraction::{
    Matrix, MatrixMut, Mode, Panels, Taps, bf16, contract_panels_f32, contract_panels_f64, contract_taps_f32,
    contract_taps_f64, pack_panels_f32, pack_panels_f64, panel_width,
};
use bdl_kernels::winograd::{self, Filter, Image, Places};
use std::ops::Range;

/// An element type that contractions exist for.
///
/// # Safety
/// `contract` reads and writes exactly the elements that the extents and strides describe.
pub unsafe trait Real: Copy + Default + std::ops::Add<Output = Self> + 'static {
    /// Steps of a sum that share a place in a panel.
    const STEPS: i64 = 1;

    /// Columns of a panel.
    fn panel_width() -> usize {
        panel_width(size_of::<Self>())
    }

    /// # Safety
    /// See `bdl_kernels::contraction`.
    #[allow(clippy::too_many_arguments)]
    unsafe fn contract(
        m: usize,
        n: usize,
        k: usize,
        taps: Taps,
        a: Matrix<Self>,
        b: Matrix<Self>,
        c: MatrixMut<Self>,
        mode: Mode,
    );

    /// # Safety
    /// See `bdl_kernels::contraction`.
    #[allow(clippy::too_many_arguments)]
    unsafe fn contract_panels(
        m: usize,
        n: usize,
        k: usize,
        taps: Taps,
        a: Matrix<Self>,
        b: Panels<Self>,
        c: MatrixMut<Self>,
        mode: Mode,
    );

    /// # Safety
    /// See `bdl_kernels::contraction`.
    unsafe fn pack(k: usize, n: usize, b: Matrix<Self>, out: *mut Self, panel: usize);
}

// SAFETY: passes on to the kernel of the type.
unsafe impl Real for f32 {
    #[allow(clippy::too_many_arguments)]
    unsafe fn contract(
        m: usize,
        n: usize,
        k: usize,
        taps: Taps,
        a: Matrix<f32>,
        b: Matrix<f32>,
        c: MatrixMut<f32>,
        mode: Mode,
    ) {
        // SAFETY: the caller's promise.
        unsafe { contract_taps_f32(m, n, k, taps, a, b, c, mode) }
    }

    #[allow(clippy::too_many_arguments)]
    unsafe fn contract_panels(
        m: usize,
        n: usize,
        k: usize,
        taps: Taps,
        a: Matrix<f32>,
        b: Panels<f32>,
        c: MatrixMut<f32>,
        mode: Mode,
    ) {
        // SAFETY: the caller's promise.
        unsafe { contract_panels_f32(m, n, k, taps, a, b, c, mode) }
    }

    unsafe fn pack(k: usize, n: usize, b: Matrix<f32>, out: *mut f32, panel: usize) {
        // SAFETY: the caller's promise.
        unsafe { pack_panels_f32(k, 0, n, b, out, panel) }
    }
}

// SAFETY: as above.
unsafe impl Real for f64 {
    #[allow(clippy::too_many_arguments)]
    unsafe fn contract(
        m: usize,
        n: usize,
        k: usize,
        taps: Taps,
        a: Matrix<f64>,
        b: Matrix<f64>,
        c: MatrixMut<f64>,
        mode: Mode,
    ) {
        // SAFETY: the caller's promise.
        unsafe { contract_taps_f64(m, n, k, taps, a, b, c, mode) }
    }

    #[allow(clippy::too_many_arguments)]
    unsafe fn contract_panels(
        m: usize,
        n: usize,
        k: usize,
        taps: Taps,
        a: Matrix<f64>,
        b: Panels<f64>,
        c: MatrixMut<f64>,
        mode: Mode,
    ) {
        // SAFETY: the caller's promise.
        unsafe { contract_panels_f64(m, n, k, taps, a, b, c, mode) }
    }

    unsafe fn pack(k: usize, n: usize, b: Matrix<f64>, out: *mut f64, panel: usize) {
        // SAFETY: the caller's promise.
        unsafe { pack_panels_f64(k, 0, n, b, out, panel) }
    }
}

/// An element type that Winograd's algorithm exists for.
///
/// # Safety
/// As for [`Real`]: each function has the contract of its namesake in `bdl_kernels::winograd`.
pub unsafe trait Tiled: Real {
    /// # Safety
    /// See `bdl_kernels::winograd`.
    unsafe fn filters(channels: Range<usize>, columns: usize, filter: Filter<Self>, out: Places<Self>, panel: usize);
    /// # Safety
    /// See `bdl_kernels::winograd`.
    unsafe fn patches(image: Image<Self>, at: (isize, isize), count: usize, channels: usize, out: Places<Self>);
    /// # Safety
    /// See `bdl_kernels::winograd`.
    unsafe fn squares(image: Image<Self>, at: (isize, isize), count: usize, columns: usize, out: Places<Self>);
    /// # Safety
    /// See `bdl_kernels::winograd`.
    unsafe fn sums(
        from: Places<Self>,
        count: usize,
        columns: usize,
        image: Image<Self>,
        at: (isize, isize),
        mode: Mode,
    );
    /// # Safety
    /// See `bdl_kernels::winograd`.
    unsafe fn taps(
        from: Places<Self>,
        parts: (usize, usize),
        channels: Range<usize>,
        columns: usize,
        filter: Filter<Self>,
        mode: Mode,
    );
}

macro_rules! tiled {
    ($T:ty, $filters:ident $patches:ident $squares:ident $sums:ident $taps:ident) => {
        // SAFETY: passes on to the kernels of the type.
        unsafe impl Tiled for $T {
            unsafe fn filters(
                channels: Range<usize>,
                columns: usize,
                filter: Filter<$T>,
                out: Places<$T>,
                panel: usize,
            ) {
                // SAFETY: the caller's promise.
                unsafe { winograd::$filters(channels, columns, filter, out, panel) }
            }

            unsafe fn patches(image: Image<$T>, at: (isize, isize), count: usize, channels: usize, out: Places<$T>) {
                // SAFETY: the caller's promise.
                unsafe { winograd::$patches(image, at, count, channels, out) }
            }

            unsafe fn squares(image: Image<$T>, at: (isize, isize), count: usize, columns: usize, out: Places<$T>) {
                // SAFETY: the caller's promise.
                unsafe { winograd::$squares(image, at, count, columns, out) }
            }

            unsafe fn sums(
                from: Places<$T>,
                count: usize,
                columns: usize,
                image: Image<$T>,
                at: (isize, isize),
                mode: Mode,
            ) {
                // SAFETY: the caller's promise.
                unsafe { winograd::$sums(from, count, columns, image, at, mode) }
            }

            unsafe fn taps(
                from: Places<$T>,
                parts: (usize, usize),
                channels: Range<usize>,
                columns: usize,
                filter: Filter<$T>,
                mode: Mode,
            ) {
                // SAFETY: the caller's promise.
                unsafe { winograd::$taps(from, parts, channels, columns, filter, mode) }
            }
        }
    };
}
tiled!(f32, filters_f32 patches_f32 squares_f32 sums_f32 taps_f32);
tiled!(f64, filters_f64 patches_f64 squares_f64 sums_f64 taps_f64);

/// An f32 that is rounded to bf16 where it is a factor.
#[derive(Clone, Copy, Debug, Default)]
#[repr(transparent)]
pub struct Rounded(f32);

impl std::ops::Add for Rounded {
    type Output = Rounded;

    fn add(self, other: Rounded) -> Rounded {
        Rounded(self.0 + other.0)
    }
}

fn wide(matrix: Matrix<Rounded>) -> Matrix<f32> {
    Matrix { ptr: matrix.ptr.cast(), row: matrix.row, col: matrix.col }
}

// SAFETY: passes on to the kernel of bf16, which reads and writes f32.
unsafe impl Real for Rounded {
    const STEPS: i64 = 2;

    fn panel_width() -> usize {
        bf16::panel_width()
    }

    #[allow(clippy::too_many_arguments)]
    unsafe fn contract(
        m: usize,
        n: usize,
        k: usize,
        taps: Taps,
        a: Matrix<Rounded>,
        b: Matrix<Rounded>,
        c: MatrixMut<Rounded>,
        mode: Mode,
    ) {
        let c = MatrixMut { ptr: c.ptr.cast(), row: c.row, col: c.col };
        // SAFETY: the caller's promise; a `Rounded` lies in memory as an f32.
        unsafe { bf16::contract_taps(m, n, k, taps, wide(a), wide(b), c, mode) }
    }

    #[allow(clippy::too_many_arguments)]
    unsafe fn contract_panels(
        m: usize,
        n: usize,
        k: usize,
        taps: Taps,
        a: Matrix<Rounded>,
        b: Panels<Rounded>,
        c: MatrixMut<Rounded>,
        mode: Mode,
    ) {
        let b = Panels { ptr: b.ptr.cast(), row: b.row, panel: b.panel };
        let c = MatrixMut { ptr: c.ptr.cast(), row: c.row, col: c.col };
        // SAFETY: as above; panels hold pairs of bf16, of the same size.
        unsafe { bf16::contract_panels(m, n, k, taps, wide(a), b, c, mode) }
    }

    unsafe fn pack(k: usize, n: usize, b: Matrix<Rounded>, out: *mut Rounded, panel: usize) {
        // SAFETY: as above.
        unsafe { bf16::pack_panels(k, n, wide(b), out.cast(), panel) }
    }
}
