//! x^y in f32, computed as 2^(y log2 x) on f64 lanes.
//!
//! f64 makes the product y log2 x good to 2^-33 absolutely without double-word arithmetic, so the result is nearly always
//! the nearest f32. Lanes with x <= 0, or with anything infinite or NaN, are done again one at a time by `libm::pow`,
//! which knows the special cases of C99.

use super::lanes::Lanes;
use super::single::polynomial;

/// Elements per call of [`group`].
pub(super) const GROUP: usize = 16;

#[inline(always)]
pub(super) fn group<L: Lanes<Elem = f64>>(x: &[f32; GROUP], y: &[f32; GROUP]) -> [f32; GROUP] {
    let (xs, ys) = (x.map(f64::from), y.map(f64::from));
    let mut zs = [0.0f64; GROUP];
    for i in (0..GROUP).step_by(L::N) {
        // SAFETY: N divides GROUP for every width in use (1, 4, 8).
        unsafe { pow(L::load(xs.as_ptr().add(i)), L::load(ys.as_ptr().add(i))).store(zs.as_mut_ptr().add(i)) }
    }
    let mut z = zs.map(|z| z as f32);
    let usual =
        (0..GROUP).fold(true, |all, i| all & (x[i] > 0.0) & (x[i] < f32::INFINITY) & (y[i].abs() < f32::INFINITY));
    if !usual {
        one_by_one(x, y, &mut z);
    }
    z
}

#[cold]
#[inline(never)]
fn one_by_one(x: &[f32; GROUP], y: &[f32; GROUP], z: &mut [f32; GROUP]) {
    for i in 0..GROUP {
        let usual = x[i] > 0.0 && x[i] < f32::INFINITY && y[i].abs() < f32::INFINITY;
        if !usual {
            z[i] = libm::pow(f64::from(x[i]), f64::from(y[i])) as f32;
        }
    }
}

/// The bits of sqrt(1/2).
const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
const MANTISSA_MASK: u64 = 0x000f_ffff_ffff_ffff;

/// 2^(y log2 x) for x a positive f32 and y a finite one, held in f64 (where no f32 is subnormal).
#[inline(always)]
pub(super) fn pow<L: Lanes<Elem = f64>>(x: L, y: L) -> L {
    // x = 2^e m, s = (m - 1) / (m + 1), log2 m = s P(s²); fit error 2^-45 of the logarithm.
    let shifted = L::int_add(x.bits(), L::int(L::ONE - SQRT_HALF));
    let e = L::biased_exponent(shifted).sub(L::splat(1023.0));
    let m = L::from_bits(L::int_add(L::int_and(shifted, L::int(MANTISSA_MASK)), L::int(SQRT_HALF)));
    let one = L::splat(1.0);
    let s = m.sub(one).div(m.add(one));
    let p = polynomial(
        s.mul(s),
        [
            2.8853900817778495,
            0.9617966941139636,
            0.5770779421950423,
            0.4122092685091515,
            0.31990507296351045,
            0.2829086005530748,
        ],
    );
    let log2 = s.fma(p, e);
    // Beyond ±160 the f32 result is inf or 0.
    let t = y.mul(log2).min(L::splat(160.0)).max(L::splat(-160.0));
    let n = t.round();
    // 2^r on |r| <= 1/2; fit error 2^-34.5.
    let q = polynomial(
        t.sub(n),
        [
            0.9999999999616647,
            0.6931471807284757,
            0.24022651198241338,
            0.05550410353409295,
            0.009618027244179005,
            0.001333392255953763,
            0.0001546929404047707,
            1.5201929291663773e-05,
        ],
    );
    q.mul(n.pow2())
}
