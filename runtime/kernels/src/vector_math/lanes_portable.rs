//! [`Lanes`] as an array and loops over it: the definition, and what the compiler may turn into NEON or anything else.

use super::Lanes;
use std::array::from_fn;

/// N elements in an array.
#[derive(Clone, Copy)]
pub(crate) struct Plain<T, const N: usize>([T; N]);

macro_rules! plain_lanes {
    ($T:ty, $Int:ty, $mantissa:expr) => {
        impl<const WIDTH: usize> Lanes for Plain<$T, WIDTH> {
            type Elem = $T;
            type Int = [$Int; WIDTH];
            type Mask = [bool; WIDTH];
            const N: usize = WIDTH;
            const SIGN: u64 = (-0.0 as $T).to_bits() as u64;
            const ONE: u64 = (1.0 as $T).to_bits() as u64;
            const MAGIC: u64 = (1.5 * (1u64 << $mantissa) as $T).to_bits() as u64;
            const TWO_POW_MANTISSA: u64 = ((1u64 << $mantissa) as $T).to_bits() as u64;

            #[inline(always)]
            unsafe fn load(p: *const $T) -> Self {
                // SAFETY: the caller promises N readable elements.
                Plain(from_fn(|i| unsafe { *p.add(i) }))
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $T) {
                for (i, x) in self.0.into_iter().enumerate() {
                    // SAFETY: the caller promises N writable elements.
                    unsafe { *p.add(i) = x }
                }
            }
            #[inline(always)]
            fn splat(x: $T) -> Self {
                Plain([x; WIDTH])
            }
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                Plain(from_fn(|i| self.0[i] + b.0[i]))
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                Plain(from_fn(|i| self.0[i] - b.0[i]))
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                Plain(from_fn(|i| self.0[i] * b.0[i]))
            }
            #[inline(always)]
            fn div(self, b: Self) -> Self {
                Plain(from_fn(|i| self.0[i] / b.0[i]))
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                Plain(self.0.map(|x| x.sqrt()))
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                Plain(from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
            }
            #[inline(always)]
            fn fnma(self, b: Self, c: Self) -> Self {
                Plain(from_fn(|i| (-self.0[i]).mul_add(b.0[i], c.0[i])))
            }
            #[inline(always)]
            fn min(self, b: Self) -> Self {
                Plain(from_fn(|i| if self.0[i] < b.0[i] { self.0[i] } else { b.0[i] }))
            }
            #[inline(always)]
            fn max(self, b: Self) -> Self {
                Plain(from_fn(|i| if self.0[i] > b.0[i] { self.0[i] } else { b.0[i] }))
            }
            #[inline(always)]
            fn round(self) -> Self {
                Plain(self.0.map(|x| x.round_ties_even()))
            }
            #[inline(always)]
            fn lt(self, b: Self) -> Self::Mask {
                from_fn(|i| self.0[i] < b.0[i])
            }
            #[inline(always)]
            fn le(self, b: Self) -> Self::Mask {
                from_fn(|i| self.0[i] <= b.0[i])
            }
            #[inline(always)]
            fn equal(self, b: Self) -> Self::Mask {
                from_fn(|i| self.0[i] == b.0[i])
            }
            #[inline(always)]
            fn select(mask: Self::Mask, a: Self, b: Self) -> Self {
                Plain(from_fn(|i| if mask[i] { a.0[i] } else { b.0[i] }))
            }
            #[inline(always)]
            fn set(mask: Self::Mask) -> u32 {
                mask.iter().rev().fold(0, |set, lane| set << 1 | u32::from(*lane))
            }
            #[inline(always)]
            fn any(mask: Self::Mask) -> bool {
                mask.contains(&true)
            }
            #[inline(always)]
            fn all(mask: Self::Mask) -> bool {
                !mask.contains(&false)
            }
            #[inline(always)]
            fn bits(self) -> Self::Int {
                self.0.map(<$T>::to_bits)
            }
            #[inline(always)]
            fn from_bits(bits: Self::Int) -> Self {
                Plain(bits.map(<$T>::from_bits))
            }
            #[inline(always)]
            fn int(x: u64) -> Self::Int {
                [x as $Int; WIDTH]
            }
            #[inline(always)]
            fn int_add(a: Self::Int, b: Self::Int) -> Self::Int {
                from_fn(|i| a[i].wrapping_add(b[i]))
            }
            #[inline(always)]
            fn int_and(a: Self::Int, b: Self::Int) -> Self::Int {
                from_fn(|i| a[i] & b[i])
            }
            #[inline(always)]
            fn int_or(a: Self::Int, b: Self::Int) -> Self::Int {
                from_fn(|i| a[i] | b[i])
            }
            #[inline(always)]
            fn int_is_zero(a: Self::Int) -> Self::Mask {
                a.map(|x| x == 0)
            }
            #[inline(always)]
            fn mantissa_left(a: Self::Int) -> Self::Int {
                a.map(|x| x << $mantissa)
            }
            #[inline(always)]
            fn mantissa_right(a: Self::Int) -> Self::Int {
                a.map(|x| x >> $mantissa)
            }
        }
    };
}
plain_lanes!(f32, u32, 23);
plain_lanes!(f64, u64, 52);
