//! Pairs of bf16 in words of 32 bits, the first step in the lower half: how they are made, and how two of them are multiplied.

use crate::vector_math::lanes::{Lanes, Plain};

/// The bits of the nearest bf16, half to even. A NaN stays one; what is smaller than the smallest normal number becomes zero, as in `vcvtneps2bf16`.
#[inline(always)]
pub fn bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let near = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let tiny = bits & 0x7f80_0000 == 0;
    let nan = bits & 0x7fff_ffff > 0x7f80_0000;
    let sign = bits >> 16 & 0x8000;
    (if tiny {
        sign
    } else if nan {
        bits >> 16 | 0x40
    } else {
        near
    }) as u16
}

/// The nearest bf16: see [`bits`].
pub fn rounded(x: f32) -> f32 {
    f32::from_bits(u32::from(bits(x)) << 16)
}

/// How pairs are made and multiplied with one instruction set.
pub(super) trait Pairs {
    /// Sums.
    type L: Lanes<Elem = f32>;
    /// N pairs.
    type B: Copy;
    /// Most rows of a tile.
    const ROWS: usize;

    /// # Safety
    /// N pairs from `p` are readable.
    unsafe fn load(p: *const u32) -> Self::B;
    fn splat(pair: u32) -> Self::B;
    /// `sum + a.1 * b.1`, then `+ a.0 * b.0`, each rounded once, small numbers to zero.
    fn dot(a: Self::B, b: Self::B, sum: Self::L) -> Self::L;
    /// N pairs of N elements at `first` and at `second`.
    ///
    /// # Safety
    /// N elements from both are readable and N pairs from `out` writable.
    unsafe fn interleave(first: *const f32, second: *const f32, out: *mut u32);
    /// `count` elements one after the other.
    ///
    /// # Safety
    /// `count` elements from `from` are readable, as many halves from `out` writable.
    unsafe fn line(from: *const f32, count: usize, out: *mut u16);
}

/// Two multiply-adds for each pair, in code that is vectorised for whatever instruction set it is compiled for.
pub(super) struct MultiplyAdds;

const WIDTH: usize = 8;

impl Pairs for MultiplyAdds {
    type L = Plain<f32, WIDTH>;
    type B = (Plain<f32, WIDTH>, Plain<f32, WIDTH>);
    const ROWS: usize = 3;

    #[inline(always)]
    unsafe fn load(p: *const u32) -> Self::B {
        // SAFETY: the caller's promise.
        let pairs: [u32; WIDTH] = unsafe { p.cast::<[u32; WIDTH]>().read_unaligned() };
        (Plain::from_bits(pairs.map(|x| x << 16)), Plain::from_bits(pairs.map(|x| x & 0xffff_0000)))
    }
    #[inline(always)]
    fn splat(pair: u32) -> Self::B {
        (Plain::splat(f32::from_bits(pair << 16)), Plain::splat(f32::from_bits(pair & 0xffff_0000)))
    }
    #[inline(always)]
    fn dot(a: Self::B, b: Self::B, sum: Self::L) -> Self::L {
        let sum = without_small(a.1.fma(b.1, sum));
        without_small(a.0.fma(b.0, sum))
    }
    #[inline(always)]
    unsafe fn interleave(first: *const f32, second: *const f32, out: *mut u32) {
        for i in 0..WIDTH {
            // SAFETY: the caller's promise.
            unsafe { *out.add(i) = u32::from(bits(*first.add(i))) | u32::from(bits(*second.add(i))) << 16 }
        }
    }
    #[inline(always)]
    unsafe fn line(from: *const f32, count: usize, out: *mut u16) {
        for i in 0..count {
            // SAFETY: the caller's promise.
            unsafe { *out.add(i) = bits(*from.add(i)) }
        }
    }
}

/// Zero of the same sign for what is smaller than the smallest normal number.
#[inline(always)]
fn without_small(x: Plain<f32, WIDTH>) -> Plain<f32, WIDTH> {
    Plain::from_bits(x.bits().map(|x| if x & 0x7f80_0000 == 0 { x & 0x8000_0000 } else { x }))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Pairs;
    use crate::vector_math::lanes::Avx512F32;
    use std::arch::x86_64::*;

    /// `vdpbf16ps` and `vcvtne2ps2bf16`.
    pub(in crate::contraction::bf16) struct Dot;

    // SAFETY of every block below: the instructions exist, since `Dot` is only used inside functions that are entered after a check of the
    // processor (see `code`); register operations touch no memory, and the three kinds of registers have the same 64 bytes.
    impl Pairs for Dot {
        type L = Avx512F32;
        type B = __m512bh;
        // 14 x 2 sums, 2 vectors of B and 1 of A: 31 of 32 registers.
        const ROWS: usize = 14;

        #[inline(always)]
        unsafe fn load(p: *const u32) -> __m512bh {
            // SAFETY: above, and the caller promises 16 readable words; the load needs no alignment.
            unsafe { std::mem::transmute(_mm512_loadu_si512(p.cast())) }
        }
        #[inline(always)]
        fn splat(pair: u32) -> __m512bh {
            unsafe { std::mem::transmute(_mm512_set1_epi32(pair as i32)) }
        }
        #[inline(always)]
        fn dot(a: __m512bh, b: __m512bh, sum: Avx512F32) -> Avx512F32 {
            Avx512F32(unsafe { _mm512_dpbf16_ps(sum.0, a, b) })
        }
        #[inline(always)]
        unsafe fn interleave(first: *const f32, second: *const f32, out: *mut u32) {
            // SAFETY: above, and the caller's promise; neither load nor store needs alignment.
            unsafe {
                let halves = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(second), _mm512_loadu_ps(first));
                let places = _mm512_or_si512(
                    _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                    _mm512_slli_epi32::<16>(_mm512_setr_epi32(
                        16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
                    )),
                );
                let pairs = _mm512_permutexvar_epi16(places, std::mem::transmute::<__m512bh, __m512i>(halves));
                _mm512_storeu_si512(out.cast(), pairs);
            }
        }
        #[inline(always)]
        unsafe fn line(from: *const f32, count: usize, out: *mut u16) {
            let mut done = 0;
            // SAFETY: above, and the caller's promise; masked lanes are neither read nor written.
            unsafe {
                while done + 32 <= count {
                    let (low, high) = (_mm512_loadu_ps(from.add(done)), _mm512_loadu_ps(from.add(done + 16)));
                    let halves: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                    _mm512_storeu_si512(out.add(done).cast(), halves);
                    done += 32;
                }
                while done < count {
                    let part = (count - done).min(16);
                    let mask = ((1u32 << part) - 1) as __mmask16;
                    let halves: __m256i =
                        std::mem::transmute(_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, from.add(done))));
                    _mm256_mask_storeu_epi16(out.add(done).cast(), mask, halves);
                    done += part;
                }
            }
        }
    }
}
#[cfg(target_arch = "x86_64")]
pub(super) use x86::Dot;
