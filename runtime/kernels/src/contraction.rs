//! `C[m, n] (+)= sum k: A[m, k] * B[k, n]` over any strides, with bits that do not depend on how the product was cut.
//!
//! **Definition.** k is taken in chunks of 512. Each chunk is one chain of fused multiply-adds in order of k, starting at
//! 0; chunk sums are added to C in order. Every element of C is thus a function of its row of A, its column of B and its
//! own old value.
//!
//! A and B may overlap in any way (a convolution reads overlapping rows); C must not overlap them nor itself.

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

macro_rules! contract {
    ($name:ident, $T:ty) => {
        /// The contraction (see the module).
        ///
        /// # Safety
        /// Every `A[i, k]`, `B[k, j]` is readable and every `C[i, j]` writable for i < m, j < n, k < `k`; elements of C
        /// are distinct and not part of A or B.
        pub unsafe fn $name(m: usize, n: usize, k: usize, a: Matrix<$T>, b: Matrix<$T>, c: MatrixMut<$T>, mode: Mode) {
            if m == 0 || n == 0 {
                return;
            }
            let mut at = 0;
            loop {
                let len = (k - at).min(CHUNK);
                let (ap, bp) = (a.ptr.wrapping_offset(at as isize * a.col), b.ptr.wrapping_offset(at as isize * b.row));
                // SAFETY: the caller's promise, for the part of k from `at`.
                unsafe {
                    gemm::gemm(
                        m,
                        n,
                        len,
                        c.ptr,
                        c.col,
                        c.row,
                        at > 0 || mode == Mode::Add,
                        ap,
                        a.col,
                        a.row,
                        bp,
                        b.col,
                        b.row,
                        1.0,
                        1.0,
                        false,
                        false,
                        false,
                        gemm::Parallelism::None,
                    );
                }
                at += len;
                if at >= k {
                    break;
                }
            }
        }
    };
}
contract!(contract_f32, f32);
contract!(contract_f64, f64);
