//! [`Lanes`] as AVX-512 and AVX2 registers.

use super::{Lanes, Plain};
use std::arch::x86_64::*;

/// One type of register: the table at the end names an expression for each operation.
macro_rules! register_lanes {
    ($(#[$doc:meta])* $Name:ident $T:ty, $n:expr, $V:ty, $Int:ty, $Mask:ty;
     load $load:ident store $store:ident splat $splat:ident
     add $add:ident sub $sub:ident mul $mul:ident div $div:ident sqrt $sqrt:ident
     fma $fma:ident fnma $fnma:ident min $min:ident max $max:ident
     and $and:ident or $or:ident int_add $int_add:ident
     bits $bits:ident from_bits $from_bits:ident;
     round $rx:ident $round:expr;
     compare $ca:ident $cb:ident $lt:expr, $le:expr, $equal:expr;
     select $sm:ident $sa:ident $sb:ident $select:expr;
     set $am:ident $set:expr, $all:expr;
     int $ix:ident $int:expr;
     zero $zx:ident $zero:expr;
     left $lx:ident $left:expr;
     right $gx:ident $right:expr;
     transpose $transpose:ident;
     part $pc:ident $pp:ident $px:ident $load_part:expr, $store_part:expr;
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $Name(pub(crate) $V);

        // SAFETY of every block below: the instructions exist, since these types are only used inside functions entered
        // after a check of the processor (see the module above); register operations touch no memory.
        impl Lanes for $Name {
            type Elem = $T;
            type Int = $Int;
            type Mask = $Mask;
            const N: usize = $n;
            const SIGN: u64 = <Plain<$T, 1> as Lanes>::SIGN;
            const ONE: u64 = <Plain<$T, 1> as Lanes>::ONE;
            const MAGIC: u64 = <Plain<$T, 1> as Lanes>::MAGIC;
            const TWO_POW_MANTISSA: u64 = <Plain<$T, 1> as Lanes>::TWO_POW_MANTISSA;

            #[inline(always)]
            unsafe fn load(p: *const $T) -> Self {
                // SAFETY: above, and the caller promises N readable elements; the load needs no alignment.
                $Name(unsafe { $load(p) })
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $T) {
                // SAFETY: above, and the caller promises N writable elements; the store needs no alignment.
                unsafe { $store(p, self.0) }
            }
            #[inline(always)]
            unsafe fn transpose_8(from: *const $T, from_step: isize, to: *mut $T, to_step: usize) {
                // SAFETY: above, and the caller's promise.
                unsafe { $transpose(from, from_step, to, to_step) }
            }
            #[inline(always)]
            unsafe fn load_part($pp: *const $T, $pc: usize) -> Self {
                // SAFETY: above, and the caller's promise; masked lanes are not read.
                $Name(unsafe { $load_part })
            }
            #[inline(always)]
            unsafe fn store_part(self, $pp: *mut $T, $pc: usize) {
                let $px = self.0;
                // SAFETY: above, and the caller's promise; masked lanes are not written.
                unsafe { $store_part }
            }
            #[inline(always)]
            fn prefetch(p: *const $T) {
                // SAFETY: a prefetch of any address does nothing but touch the cache.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
            }
            #[inline(always)]
            fn splat(x: $T) -> Self {
                $Name(unsafe { $splat(x) })
            }
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                $Name(unsafe { $add(self.0, b.0) })
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                $Name(unsafe { $sub(self.0, b.0) })
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                $Name(unsafe { $mul(self.0, b.0) })
            }
            #[inline(always)]
            fn div(self, b: Self) -> Self {
                $Name(unsafe { $div(self.0, b.0) })
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $Name(unsafe { $sqrt(self.0) })
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                $Name(unsafe { $fma(self.0, b.0, c.0) })
            }
            #[inline(always)]
            fn fnma(self, b: Self, c: Self) -> Self {
                $Name(unsafe { $fnma(self.0, b.0, c.0) })
            }
            #[inline(always)]
            fn min(self, b: Self) -> Self {
                $Name(unsafe { $min(self.0, b.0) })
            }
            #[inline(always)]
            fn max(self, b: Self) -> Self {
                $Name(unsafe { $max(self.0, b.0) })
            }
            #[inline(always)]
            fn round(self) -> Self {
                let $rx = self.0;
                $Name(unsafe { $round })
            }
            #[inline(always)]
            fn lt(self, b: Self) -> Self::Mask {
                let ($ca, $cb) = (self.0, b.0);
                unsafe { $lt }
            }
            #[inline(always)]
            fn le(self, b: Self) -> Self::Mask {
                let ($ca, $cb) = (self.0, b.0);
                unsafe { $le }
            }
            #[inline(always)]
            fn equal(self, b: Self) -> Self::Mask {
                let ($ca, $cb) = (self.0, b.0);
                unsafe { $equal }
            }
            #[inline(always)]
            fn select($sm: Self::Mask, a: Self, b: Self) -> Self {
                let ($sa, $sb) = (a.0, b.0);
                $Name(unsafe { $select })
            }
            #[allow(unused_unsafe, reason = "AVX-512 masks are integers")]
            #[inline(always)]
            fn set($am: Self::Mask) -> u32 {
                unsafe { $set }
            }
            #[inline(always)]
            fn any(mask: Self::Mask) -> bool {
                Self::set(mask) != 0
            }
            #[inline(always)]
            fn all(mask: Self::Mask) -> bool {
                Self::set(mask) == $all
            }
            #[inline(always)]
            fn bits(self) -> Self::Int {
                unsafe { $bits(self.0) }
            }
            #[inline(always)]
            fn from_bits(bits: Self::Int) -> Self {
                $Name(unsafe { $from_bits(bits) })
            }
            #[inline(always)]
            fn int($ix: u64) -> Self::Int {
                unsafe { $int }
            }
            #[inline(always)]
            fn int_add(a: Self::Int, b: Self::Int) -> Self::Int {
                unsafe { $int_add(a, b) }
            }
            #[inline(always)]
            fn int_and(a: Self::Int, b: Self::Int) -> Self::Int {
                unsafe { $and(a, b) }
            }
            #[inline(always)]
            fn int_or(a: Self::Int, b: Self::Int) -> Self::Int {
                unsafe { $or(a, b) }
            }
            #[inline(always)]
            fn int_is_zero($zx: Self::Int) -> Self::Mask {
                unsafe { $zero }
            }
            #[inline(always)]
            fn mantissa_left($lx: Self::Int) -> Self::Int {
                unsafe { $left }
            }
            #[inline(always)]
            fn mantissa_right($gx: Self::Int) -> Self::Int {
                unsafe { $right }
            }
        }
    };
}

register_lanes! {
    /// 16 x f32.
    Avx512F32 f32, 16, __m512, __m512i, __mmask16;
    load _mm512_loadu_ps store _mm512_storeu_ps splat _mm512_set1_ps
    add _mm512_add_ps sub _mm512_sub_ps mul _mm512_mul_ps div _mm512_div_ps sqrt _mm512_sqrt_ps
    fma _mm512_fmadd_ps fnma _mm512_fnmadd_ps min _mm512_min_ps max _mm512_max_ps
    and _mm512_and_si512 or _mm512_or_si512 int_add _mm512_add_epi32
    bits _mm512_castps_si512 from_bits _mm512_castsi512_ps;
    round x _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    compare a b _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b), _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b);
    select m a b _mm512_mask_blend_ps(m, b, a);
    set m m as u32, 0xffff;
    int x _mm512_set1_epi32(x as u32 as i32);
    zero x _mm512_cmpeq_epi32_mask(x, _mm512_setzero_si512());
    left x _mm512_slli_epi32::<23>(x);
    right x _mm512_srli_epi32::<23>(x);
    transpose transpose_8_f32;
    part count p x _mm512_maskz_loadu_ps(((1u32 << count) - 1) as __mmask16, p), _mm512_mask_storeu_ps(p, ((1u32 << count) - 1) as __mmask16, x);
}

register_lanes! {
    /// 8 x f64.
    Avx512F64 f64, 8, __m512d, __m512i, __mmask8;
    load _mm512_loadu_pd store _mm512_storeu_pd splat _mm512_set1_pd
    add _mm512_add_pd sub _mm512_sub_pd mul _mm512_mul_pd div _mm512_div_pd sqrt _mm512_sqrt_pd
    fma _mm512_fmadd_pd fnma _mm512_fnmadd_pd min _mm512_min_pd max _mm512_max_pd
    and _mm512_and_si512 or _mm512_or_si512 int_add _mm512_add_epi64
    bits _mm512_castpd_si512 from_bits _mm512_castsi512_pd;
    round x _mm512_roundscale_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    compare a b _mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, b), _mm512_cmp_pd_mask::<_CMP_LE_OQ>(a, b), _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(a, b);
    select m a b _mm512_mask_blend_pd(m, b, a);
    set m m as u32, 0xff;
    int x _mm512_set1_epi64(x as i64);
    zero x _mm512_cmpeq_epi64_mask(x, _mm512_setzero_si512());
    left x _mm512_slli_epi64::<52>(x);
    right x _mm512_srli_epi64::<52>(x);
    transpose transpose_8_f64;
    part count p x _mm512_maskz_loadu_pd(((1u32 << count) - 1) as __mmask8, p), _mm512_mask_storeu_pd(p, ((1u32 << count) - 1) as __mmask8, x);
}

register_lanes! {
    /// 8 x f32.
    Avx2F32 f32, 8, __m256, __m256i, __m256;
    load _mm256_loadu_ps store _mm256_storeu_ps splat _mm256_set1_ps
    add _mm256_add_ps sub _mm256_sub_ps mul _mm256_mul_ps div _mm256_div_ps sqrt _mm256_sqrt_ps
    fma _mm256_fmadd_ps fnma _mm256_fnmadd_ps min _mm256_min_ps max _mm256_max_ps
    and _mm256_and_si256 or _mm256_or_si256 int_add _mm256_add_epi32
    bits _mm256_castps_si256 from_bits _mm256_castsi256_ps;
    round x _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    compare a b _mm256_cmp_ps::<_CMP_LT_OQ>(a, b), _mm256_cmp_ps::<_CMP_LE_OQ>(a, b), _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b);
    select m a b _mm256_blendv_ps(b, a, m);
    set m _mm256_movemask_ps(m) as u32, 0xff;
    int x _mm256_set1_epi32(x as u32 as i32);
    zero x _mm256_castsi256_ps(_mm256_cmpeq_epi32(x, _mm256_setzero_si256()));
    left x _mm256_slli_epi32::<23>(x);
    right x _mm256_srli_epi32::<23>(x);
    transpose transpose_8_f32;
    part count p x _mm256_maskload_ps(p, first_f32(count)), _mm256_maskstore_ps(p, first_f32(count), x);
}

register_lanes! {
    /// 4 x f64.
    Avx2F64 f64, 4, __m256d, __m256i, __m256d;
    load _mm256_loadu_pd store _mm256_storeu_pd splat _mm256_set1_pd
    add _mm256_add_pd sub _mm256_sub_pd mul _mm256_mul_pd div _mm256_div_pd sqrt _mm256_sqrt_pd
    fma _mm256_fmadd_pd fnma _mm256_fnmadd_pd min _mm256_min_pd max _mm256_max_pd
    and _mm256_and_si256 or _mm256_or_si256 int_add _mm256_add_epi64
    bits _mm256_castpd_si256 from_bits _mm256_castsi256_pd;
    round x _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    compare a b _mm256_cmp_pd::<_CMP_LT_OQ>(a, b), _mm256_cmp_pd::<_CMP_LE_OQ>(a, b), _mm256_cmp_pd::<_CMP_EQ_OQ>(a, b);
    select m a b _mm256_blendv_pd(b, a, m);
    set m _mm256_movemask_pd(m) as u32, 0xf;
    int x _mm256_set1_epi64x(x as i64);
    zero x _mm256_castsi256_pd(_mm256_cmpeq_epi64(x, _mm256_setzero_si256()));
    left x _mm256_slli_epi64::<52>(x);
    right x _mm256_srli_epi64::<52>(x);
    transpose transpose_8_f64;
    part count p x _mm256_maskload_pd(p, first_f64(count)), _mm256_maskstore_pd(p, first_f64(count), x);
}

/// All ones in the first `count` lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn first_f32(count: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// All ones in the first `count` lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn first_f64(count: usize) -> __m256i {
    _mm256_cmpgt_epi64(_mm256_set1_epi64x(count as i64), _mm256_setr_epi64x(0, 1, 2, 3))
}

/// Eight rows of eight, through eight registers.
///
/// # Safety
/// [`Lanes::transpose_8`]'s contract and AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transpose_8_f32(from: *const f32, from_step: isize, to: *mut f32, to_step: usize) {
    // SAFETY: the caller's promise: eight rows of eight elements each.
    unsafe {
        let x: [__m256; 8] = std::array::from_fn(|j| _mm256_loadu_ps(from.offset(j as isize * from_step)));
        // Pairs of rows, then of pairs, then of halves.
        let t = [
            _mm256_unpacklo_ps(x[0], x[1]),
            _mm256_unpackhi_ps(x[0], x[1]),
            _mm256_unpacklo_ps(x[2], x[3]),
            _mm256_unpackhi_ps(x[2], x[3]),
            _mm256_unpacklo_ps(x[4], x[5]),
            _mm256_unpackhi_ps(x[4], x[5]),
            _mm256_unpacklo_ps(x[6], x[7]),
            _mm256_unpackhi_ps(x[6], x[7]),
        ];
        let u = [
            _mm256_shuffle_ps::<0x44>(t[0], t[2]),
            _mm256_shuffle_ps::<0xee>(t[0], t[2]),
            _mm256_shuffle_ps::<0x44>(t[1], t[3]),
            _mm256_shuffle_ps::<0xee>(t[1], t[3]),
            _mm256_shuffle_ps::<0x44>(t[4], t[6]),
            _mm256_shuffle_ps::<0xee>(t[4], t[6]),
            _mm256_shuffle_ps::<0x44>(t[5], t[7]),
            _mm256_shuffle_ps::<0xee>(t[5], t[7]),
        ];
        for i in 0..4 {
            _mm256_storeu_ps(to.add(i * to_step), _mm256_permute2f128_ps::<0x20>(u[i], u[i + 4]));
            _mm256_storeu_ps(to.add((i + 4) * to_step), _mm256_permute2f128_ps::<0x31>(u[i], u[i + 4]));
        }
    }
}

/// Four times four rows of four.
///
/// # Safety
/// [`Lanes::transpose_8`]'s contract and AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transpose_8_f64(from: *const f64, from_step: isize, to: *mut f64, to_step: usize) {
    for (down, right) in [(0, 0), (0, 4), (4, 0), (4, 4)] {
        // SAFETY: the caller's promise; the four blocks lie inside the eight by eight.
        unsafe {
            let from = from.offset(down as isize * from_step).add(right);
            let to = to.add(right * to_step + down);
            let x: [__m256d; 4] = std::array::from_fn(|j| _mm256_loadu_pd(from.offset(j as isize * from_step)));
            let t = [
                _mm256_unpacklo_pd(x[0], x[1]),
                _mm256_unpackhi_pd(x[0], x[1]),
                _mm256_unpacklo_pd(x[2], x[3]),
                _mm256_unpackhi_pd(x[2], x[3]),
            ];
            _mm256_storeu_pd(to, _mm256_permute2f128_pd::<0x20>(t[0], t[2]));
            _mm256_storeu_pd(to.add(to_step), _mm256_permute2f128_pd::<0x20>(t[1], t[3]));
            _mm256_storeu_pd(to.add(2 * to_step), _mm256_permute2f128_pd::<0x31>(t[0], t[2]));
            _mm256_storeu_pd(to.add(3 * to_step), _mm256_permute2f128_pd::<0x31>(t[1], t[3]));
        }
    }
}
