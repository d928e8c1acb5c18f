//! Loops over slices, compiled once for each instruction set: the only place that enters AVX code.
//!
//! A tail shorter than a vector is copied to a padded one, so that each element goes through the same operations
//! wherever it stands.

use super::double::Unary64;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2F32, Avx2F64, Avx512F32, Avx512F64};
use super::lanes::{Lanes, Plain};
use super::pow::{self, GROUP};
use super::single::Unary32;
use super::{Binary, Unary};
use crate::isa::Isa;

/// # Safety
/// [`Unary`]'s contract.
#[inline(always)]
unsafe fn each<L: Lanes>(n: usize, x: *const L::Elem, y: *mut L::Elem, f: impl Fn(L) -> L) {
    let mut i = 0;
    // SAFETY: full vectors lie inside the first n elements; the rest goes through arrays of N elements.
    unsafe {
        while i + L::N <= n {
            f(L::load(x.add(i))).store(y.add(i));
            i += L::N;
        }
        if i < n {
            let mut tail = [L::Elem::default(); 16];
            std::ptr::copy_nonoverlapping(x.add(i), tail.as_mut_ptr(), n - i);
            let result = f(L::load(tail.as_ptr()));
            result.store(tail.as_mut_ptr());
            std::ptr::copy_nonoverlapping(tail.as_ptr(), y.add(i), n - i);
        }
    }
}

/// # Safety
/// [`Binary`]'s contract.
#[inline(always)]
unsafe fn each_pow<L: Lanes<Elem = f64>>(n: usize, x: *const f32, y: *const f32, z: *mut f32) {
    let mut i = 0;
    while i < n {
        let len = (n - i).min(GROUP);
        let (mut xs, mut ys) = ([1.0; GROUP], [1.0; GROUP]);
        // SAFETY: i + len <= n, and len <= GROUP.
        unsafe {
            if len == GROUP {
                std::ptr::copy_nonoverlapping(x.add(i), xs.as_mut_ptr(), GROUP);
                std::ptr::copy_nonoverlapping(y.add(i), ys.as_mut_ptr(), GROUP);
                let zs = pow::group::<L>(&xs, &ys);
                std::ptr::copy_nonoverlapping(zs.as_ptr(), z.add(i), GROUP);
            } else {
                std::ptr::copy_nonoverlapping(x.add(i), xs.as_mut_ptr(), len);
                std::ptr::copy_nonoverlapping(y.add(i), ys.as_mut_ptr(), len);
                let zs = pow::group::<L>(&xs, &ys);
                std::ptr::copy_nonoverlapping(zs.as_ptr(), z.add(i), len);
            }
        }
        i += len;
    }
}

macro_rules! compiled_for {
    ($(#[$feature:meta])* $unary32:ident $unary64:ident $pow32:ident $F32:ty, $F64:ty) => {
        /// # Safety
        /// [`Unary`]'s contract, on a processor with this instruction set.
        $(#[$feature])*
        unsafe extern "C" fn $unary32<F: Unary32>(n: usize, x: *const f32, y: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { each::<$F32>(n, x, y, #[inline(always)] |x| F::eval(x)) }
        }
        /// # Safety
        /// [`Unary`]'s contract, on a processor with this instruction set.
        $(#[$feature])*
        unsafe extern "C" fn $unary64<F: Unary64>(n: usize, x: *const f64, y: *mut f64) {
            // SAFETY: the caller's promise.
            unsafe { each::<$F64>(n, x, y, #[inline(always)] |x| F::eval(x)) }
        }
        /// # Safety
        /// [`Binary`]'s contract, on a processor with this instruction set.
        $(#[$feature])*
        unsafe extern "C" fn $pow32(n: usize, x: *const f32, y: *const f32, z: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { each_pow::<$F64>(n, x, y, z) }
        }
    };
}
#[cfg(target_arch = "x86_64")]
compiled_for! {
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    unary32_avx512 unary64_avx512 pow32_avx512 Avx512F32, Avx512F64
}
#[cfg(target_arch = "x86_64")]
compiled_for! {
    #[target_feature(enable = "avx2,fma")]
    unary32_avx2 unary64_avx2 pow32_avx2 Avx2F32, Avx2F64
}
compiled_for! { unary32_portable unary64_portable pow32_portable Plain<f32, 8>, Plain<f64, 4> }

/// Picks one of three functions by the current instruction set; `Isa::current` only returns one the processor has.
macro_rules! pick {
    ($avx512:expr, $avx2:expr, $portable:expr) => {
        match Isa::current() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => $avx512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => $avx2,
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => $portable,
            Isa::Portable => $portable,
        }
    };
}

pub(super) fn unary32<F: Unary32>() -> Unary<f32> {
    pick!(unary32_avx512::<F>, unary32_avx2::<F>, unary32_portable::<F>)
}

pub(super) fn unary64<F: Unary64>() -> Unary<f64> {
    pick!(unary64_avx512::<F>, unary64_avx2::<F>, unary64_portable::<F>)
}

pub(super) fn pow32() -> Binary<f32> {
    pick!(pow32_avx512, pow32_avx2, pow32_portable)
}

/// A function that exists one value at a time, as a slice function.
macro_rules! scalar_entry {
    ($name:ident, $T:ty, $f:expr) => {
        /// # Safety
        /// [`Unary`]'s contract.
        pub(super) unsafe extern "C" fn $name(n: usize, x: *const $T, y: *mut $T) {
            for i in 0..n {
                // SAFETY: i < n.
                unsafe { *y.add(i) = $f(*x.add(i)) }
            }
        }
    };
}
scalar_entry!(lgamma32, f32, |x: f32| super::gamma::lgamma(f64::from(x)) as f32);
scalar_entry!(lgamma64, f64, super::gamma::lgamma);
scalar_entry!(digamma32, f32, |x: f32| super::gamma::digamma(f64::from(x)) as f32);
scalar_entry!(digamma64, f64, super::gamma::digamma);
scalar_entry!(trigamma32, f32, |x: f32| super::gamma::trigamma(f64::from(x)) as f32);
scalar_entry!(trigamma64, f64, super::gamma::trigamma);

/// # Safety
/// [`Binary`]'s contract.
pub(super) unsafe extern "C" fn pow64(n: usize, x: *const f64, y: *const f64, z: *mut f64) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *z.add(i) = libm::pow(*x.add(i), *y.add(i)) }
    }
}
