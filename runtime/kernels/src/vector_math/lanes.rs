//! A vector of floats and the few operations the functions are written in.
//!
//! Every operation is exactly rounded (or exact) on every implementation, so a function written once gives the same
//! bits at every width. That is why there are no reciprocal estimates, no horizontal sums and no `exp2` instructions here,
//! and why `min` and `max` spell out what happens to NaN.
//!
//! The x86 implementations are made of intrinsics and are only sound inside code compiled for that instruction set;
//! [`run`](super::run) is the one place that enters such code, after [`Isa`](crate::isa::Isa) has checked the processor.

/// N floats of one type.
pub(crate) trait Lanes: Copy {
    type Elem: Copy + Default + PartialEq + From<u8> + std::ops::Add<Output = Self::Elem>;
    /// The same bits as integers.
    type Int: Copy;
    type Mask: Copy;
    const N: usize;

    /// # Safety
    /// N elements from `p` are readable.
    unsafe fn load(p: *const Self::Elem) -> Self;
    /// # Safety
    /// N elements from `p` are writable.
    unsafe fn store(self, p: *mut Self::Elem);
    /// The first `count` lanes from memory, the others 0.
    ///
    /// # Safety
    /// `count` elements from `p` are readable, count <= N.
    #[inline(always)]
    unsafe fn load_part(p: *const Self::Elem, count: usize) -> Self {
        let mut line = [Self::Elem::default(); 16];
        // SAFETY: the caller's promise; no vector is longer than the line.
        unsafe {
            std::ptr::copy_nonoverlapping(p, line.as_mut_ptr(), count);
            Self::load(line.as_ptr())
        }
    }
    /// Only the first `count` lanes.
    ///
    /// # Safety
    /// `count` elements from `p` are writable, count <= N.
    #[inline(always)]
    unsafe fn store_part(self, p: *mut Self::Elem, count: usize) {
        let mut line = [Self::Elem::default(); 16];
        // SAFETY: the caller's promise; no vector is longer than the line.
        unsafe {
            self.store(line.as_mut_ptr());
            std::ptr::copy_nonoverlapping(line.as_ptr(), p, count);
        }
    }
    /// Asks for the cache line of an address that will be read soon; the address need not exist.
    #[inline(always)]
    fn prefetch(_p: *const Self::Elem) {}
    fn splat(x: Self::Elem) -> Self;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    fn sqrt(self) -> Self;
    /// `self * b + c` with one rounding.
    fn fma(self, b: Self, c: Self) -> Self;
    /// `c - self * b` with one rounding.
    fn fnma(self, b: Self, c: Self) -> Self;
    /// `if self < b { self } else { b }`: b where either is NaN.
    fn min(self, b: Self) -> Self;
    /// `if self > b { self } else { b }`: b where either is NaN.
    fn max(self, b: Self) -> Self;
    /// To the nearest integer, ties to even.
    fn round(self) -> Self;
    /// Ordered comparisons: false where either is NaN.
    fn lt(self, b: Self) -> Self::Mask;
    fn le(self, b: Self) -> Self::Mask;
    fn equal(self, b: Self) -> Self::Mask;
    /// `mask ? a : b` lane by lane.
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self;
    /// The lanes that are true, as bits from the lowest on.
    fn set(mask: Self::Mask) -> u32;
    fn any(mask: Self::Mask) -> bool;
    fn all(mask: Self::Mask) -> bool;
    fn bits(self) -> Self::Int;
    fn from_bits(bits: Self::Int) -> Self;
    /// An integer constant in every lane (the low 32 bits for f32).
    fn int(x: u64) -> Self::Int;
    fn int_add(a: Self::Int, b: Self::Int) -> Self::Int;
    fn int_and(a: Self::Int, b: Self::Int) -> Self::Int;
    fn int_or(a: Self::Int, b: Self::Int) -> Self::Int;
    fn int_is_zero(a: Self::Int) -> Self::Mask;
    /// Shifts by the width of the mantissa field (23 or 52), filling with zeros.
    fn mantissa_left(a: Self::Int) -> Self::Int;
    fn mantissa_right(a: Self::Int) -> Self::Int;

    /// Lanes that take notes instead of computing (see `formula`) note a sine or cosine of far arguments as one step.
    #[inline(always)]
    fn note_far_turn(_x: Self, _y: Self, _far: Self::Mask, _quarter: u64) -> Option<Self> {
        None
    }

    /// `to[i * to_step + j] = from[j * from_step + i]` for i, j < 8.
    ///
    /// # Safety
    /// Those elements are readable and writable.
    #[inline(always)]
    unsafe fn transpose_8(from: *const Self::Elem, from_step: isize, to: *mut Self::Elem, to_step: usize) {
        for j in 0..8 {
            for i in 0..8 {
                // SAFETY: the caller's promise.
                unsafe { *to.add(i * to_step + j) = *from.offset(j as isize * from_step).add(i) }
            }
        }
    }

    // What follows is written in the operations above; `SIGN`, `EXPONENT_ONE` and `MAGIC` tell the two formats apart.

    /// The sign bit.
    const SIGN: u64;
    /// The bits of 1.0.
    const ONE: u64;
    /// The bits of 1.5 * 2^mantissa: adding it puts a small integer into the low bits.
    const MAGIC: u64;
    /// The bits of 2^mantissa.
    const TWO_POW_MANTISSA: u64;

    #[inline(always)]
    fn zero() -> Self {
        Self::from_bits(Self::int(0))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self::from_bits(Self::int_and(self.bits(), Self::int(!Self::SIGN)))
    }

    #[inline(always)]
    fn neg(self) -> Self {
        // Not 0 - x, which would lose the sign of zero.
        self.mul(Self::from_bits(Self::int(Self::ONE | Self::SIGN)))
    }

    /// `self`, which must be non-negative (or NaN), with the sign of `of`.
    #[inline(always)]
    fn with_sign(self, of: Self) -> Self {
        Self::from_bits(Self::int_or(self.bits(), Self::int_and(of.bits(), Self::int(Self::SIGN))))
    }

    /// The bits of the integer value `self` (|self| < 2^(mantissa - 1)) in the low bits of each lane.
    #[inline(always)]
    fn small_int_bits(self) -> Self::Int {
        self.add(Self::from_bits(Self::int(Self::MAGIC))).bits()
    }

    /// 2^self for integer values with a normal result.
    #[inline(always)]
    fn pow2(self) -> Self {
        // The shift pushes the magic constant's own bits out of the word.
        Self::from_bits(Self::int_add(Self::mantissa_left(self.small_int_bits()), Self::int(Self::ONE)))
    }

    /// The exponent field of a non-negative float as a float (biased).
    #[inline(always)]
    fn biased_exponent(bits: Self::Int) -> Self {
        let offset = Self::int(Self::TWO_POW_MANTISSA);
        Self::from_bits(Self::int_or(Self::mantissa_right(bits), offset)).sub(Self::from_bits(offset))
    }
}

#[path = "lanes_portable.rs"]
mod portable;
#[cfg(target_arch = "x86_64")]
#[path = "lanes_x86.rs"]
mod x86;

pub(crate) use portable::Plain;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2F32, Avx2F64, Avx512F32, Avx512F64};
