//! The f32 functions, each written once for any lane width.
//!
//! Polynomials are weighted minimax fits (Remez exchange with 50 digits, coefficients rounded to f32 one by one and the
//! rest fitted again); the comment beside each gives the interval and the largest error of the fit relative to the
//! function. Reduction schemes are the classical ones of Cody and Waite 1980, "Software Manual for the Elementary
//! Functions", and Muller, "Elementary Functions". Error bounds in ulp are checked in `tests.rs` against f64.
//!
//! Common ranges take a path without special cases; a group of lanes with any value outside it takes a longer path that
//! gives the same bits where both apply, so a neighbour never changes a result.

use super::lanes::Lanes;

/// A function of one f32.
pub(crate) trait Unary32 {
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L;
}

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 = HI + LO; a product in an fma is exact, so HI needs no trailing zeros.
const LN2_HI: f32 = std::f32::consts::LN_2;
const LN2_LO: f32 = -1.904_654_2e-9;

/// c[0] + c[1] x + c[2] x² + ...
#[inline(always)]
pub(super) fn polynomial<L: Lanes, const N: usize>(x: L, c: [L::Elem; N]) -> L {
    let mut sum = L::splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        sum = sum.fma(x, L::splat(c[i]));
    }
    sum
}

/// x = n ln 2 + r, |r| <= ln 2 / 2, for |x| < 2²¹: (n, its bits low in each lane, r).
#[inline(always)]
fn reduce_exp<L: Lanes<Elem = f32>>(x: L) -> (L, L::Int, L) {
    let magic = L::from_bits(L::int(L::MAGIC));
    let shifted = x.fma(L::splat(LOG2_E), magic); // rounds to an integer, ties to even
    let n = shifted.sub(magic);
    let r = n.fnma(L::splat(LN2_LO), n.fnma(L::splat(LN2_HI), x));
    (n, shifted.bits(), r)
}

/// e^r - 1 = r + r² q(r) on |r| <= 0.34661; fit error 2^-28.2 of e^r.
#[inline(always)]
fn exp_tail<L: Lanes<Elem = f32>>(r: L) -> L {
    let q = polynomial(r, [0.499_999_94, 0.166_665_17, 0.041_668_102, 0.008_369_151_5, 0.001_383_754_9]);
    r.mul(r).fma(q, r)
}

/// e^x for |x| <= 87.3 (NaN gives NaN).
#[inline(always)]
fn exp_normal<L: Lanes<Elem = f32>>(x: L) -> L {
    let (_, bits, r) = reduce_exp(x);
    let scale = L::from_bits(L::int_add(L::mantissa_left(bits), L::int(L::ONE)));
    exp_tail(r).fma(scale, scale)
}

const EXP_NORMAL: f32 = 87.3;

/// e^x for all x.
#[inline(always)]
fn exp<L: Lanes<Elem = f32>>(x: L) -> L {
    if L::any(L::splat(EXP_NORMAL).lt(x.abs())) {
        // 2^n in two factors, so that subnormal results round once and large ones overflow.
        let x = L::splat(-104.0).max(L::splat(89.0).min(x));
        let (n, _, r) = reduce_exp(x);
        let half = n.mul(L::splat(0.5)).round();
        let (s, t) = (half.pow2(), n.sub(half).pow2());
        exp_tail(r).fma(s, s).mul(t)
    } else {
        exp_normal(x)
    }
}

/// e^x.  exp(-inf) = 0, exp(inf) = inf; overflows to inf above 88.723, goes through subnormals to 0 below -103.97.
pub(crate) struct Exp;
impl Unary32 for Exp {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        exp(x)
    }
}

/// e^x - 1, accurate near 0: 2^n (e^r - 1) + (2^n - 1).  expm1(-inf) = -1, expm1(±0) = ±0, expm1(inf) = inf.
pub(crate) struct Expm1;
impl Unary32 for Expm1 {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        let (n, _, r) = reduce_exp(L::splat(-18.0).max(L::splat(89.0).min(x)));
        // e^r - 1 on |r| <= 0.34661; fit error 2^-28.7 of r.
        let q = polynomial(r, [0.5, 0.166_666_67, 0.041_666_355, 0.008_333_273, 0.001_394_100_8, 0.000_199_142_03]);
        let p = r.mul(r).fma(q, r);
        // Half the result, since 2^128 is out of range.
        let s = n.sub(L::splat(1.0)).pow2();
        let half = p.fma(s, s.sub(L::splat(0.5)));
        // For n = 0 the result is p itself (half a subnormal would round).
        L::select(n.equal(L::splat(0.0)), p, half.add(half)).abs().with_sign(x)
    }
}

/// log(1 + f) + e ln 2 for f in [sqrt(1/2) - 1, sqrt(2) - 1].
///
/// log(1 + f) = f - f²/2 + f³ P(f); fit error 2^-27.0 of the logarithm.
#[inline(always)]
fn log_sum<L: Lanes<Elem = f32>>(e: L, f: L) -> L {
    let p = polynomial(
        f,
        [
            0.333_333_3,
            -0.250_008_23,
            0.200_012_6,
            -0.166_233_27,
            0.142_008_92,
            -0.131_589_23,
            0.127_658_52,
            -0.076_435_56,
        ],
    );
    let tail = f.mul(f).mul(f.fma(p, L::splat(-0.5)));
    e.fma(L::splat(LN2_HI), f.add(e.fma(L::splat(LN2_LO), tail)))
}

/// The bits of sqrt(1/2).
const SQRT_HALF: u64 = 0x3f35_04f3;
const MANTISSA_MASK: u64 = 0x007f_ffff;
const MIN_NORMAL: f32 = f32::MIN_POSITIVE;

/// x = 2^e m with m in [sqrt(1/2), sqrt(2)), for normal positive x: (e, bits of m).
#[inline(always)]
fn split<L: Lanes<Elem = f32>>(x: L) -> (L, L::Int) {
    let shifted = L::int_add(x.bits(), L::int(L::ONE - SQRT_HALF));
    let e = L::biased_exponent(shifted).sub(L::splat(127.0));
    (e, L::int_add(L::int_and(shifted, L::int(MANTISSA_MASK)), L::int(SQRT_HALF)))
}

/// log x for all x.
#[inline(always)]
fn log<L: Lanes<Elem = f32>>(x: L) -> L {
    let one = L::splat(1.0);
    let usual = x.equal(x.min(L::splat(f32::MAX)).max(L::splat(MIN_NORMAL)));
    if L::all(usual) {
        let (e, m) = split(x);
        log_sum(e, L::from_bits(m).sub(one))
    } else {
        let tiny = x.lt(L::splat(MIN_NORMAL));
        let (e, m) = split(L::select(tiny, x.mul(L::splat(8_388_608.0)), x));
        let e = L::select(tiny, e.sub(L::splat(23.0)), e);
        let y = log_sum(e, L::from_bits(m).sub(one));
        let zero = L::splat(0.0);
        let y = L::select(x.equal(zero), L::splat(f32::NEG_INFINITY), y);
        let y = L::select(x.lt(zero), L::splat(f32::NAN), y);
        let finite = x.lt(L::splat(f32::INFINITY)); // false for inf and NaN, which are their own logarithms
        L::select(finite, y, x)
    }
}

/// Natural logarithm.  log(±0) = -inf, log(x < 0) = NaN, log(inf) = inf; subnormals are exact in range.
pub(crate) struct Log;
impl Unary32 for Log {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        log(x)
    }
}

/// log(1 + x) for x in (-1, 2⁶⁰].
///
/// With 2^e the scale of 1 + x, f = 2^-e x + (2^-e - 1) is right to one rounding, whatever 1 + x lost.
#[inline(always)]
fn log1p_normal<L: Lanes<Elem = f32>>(x: L) -> L {
    let one = L::splat(1.0);
    let (e, _) = split(x.add(one));
    let scale = e.neg().pow2();
    log_sum(e, x.fma(scale, scale.sub(one))).abs().with_sign(x)
}

/// log(1 + x), accurate near 0.  log1p(-1) = -inf, log1p(x < -1) = NaN, log1p(±0) = ±0, log1p(inf) = inf.
pub(crate) struct Log1p;
impl Unary32 for Log1p {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        const LARGE: f32 = 1_152_921_504_606_846_976.0; // 2^60: from here log(1 + x) is log x
        const ABOVE_MINUS_ONE: f32 = -0.999_999_94;
        let inside = x.min(L::splat(LARGE)).max(L::splat(ABOVE_MINUS_ONE));
        let y = log1p_normal(inside);
        if L::all(x.equal(inside)) {
            y
        } else {
            let large = L::splat(LARGE).lt(x);
            let y = L::select(large, log(L::select(large, x, L::splat(1.0))), y);
            let y = L::select(x.equal(L::splat(-1.0)), L::splat(f32::NEG_INFINITY), y);
            L::select(L::splat(-1.0).le(x), y, L::splat(f32::NAN)) // also where x is NaN
        }
    }
}

/// tanh x = x + x³ P(x²) for |x| < 0.625 (fit error 2^-27.8), else 1 - 2 / (e^2|x| + 1) with the sign of x.
pub(crate) struct Tanh;
impl Unary32 for Tanh {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        let (one, two) = (L::splat(1.0), L::splat(2.0));
        let a = L::splat(9.1).min(x.abs()); // tanh 9.02 rounds to 1; NaN stays
        let z = a.mul(a);
        let p = polynomial(z, [-0.333_332_84, 0.133_314_83, -0.053_742_774, 0.020_648_06, -0.005_714_055]);
        let small = a.mul(z).fma(p, a);
        let large = one.sub(two.div(exp_normal(a.add(a)).add(one)));
        L::select(a.lt(L::splat(0.625)), small, large).with_sign(x)
    }
}

/// 1 / (1 + e^-x), from e = e^-|x|: 1 / (1 + e) for x >= 0, e / (1 + e) below.  sigmoid(-inf) = 0, sigmoid(inf) = 1.
pub(crate) struct Sigmoid;
impl Unary32 for Sigmoid {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        let one = L::splat(1.0);
        let e = exp(minus_abs(x));
        L::select(x.lt(L::splat(0.0)), e, one).div(one.add(e))
    }
}

#[inline(always)]
fn minus_abs<L: Lanes<Elem = f32>>(x: L) -> L {
    L::from_bits(L::int_or(x.bits(), L::int(L::SIGN)))
}

/// log(1 + e^x) = max(x, 0) + log1p(e^-|x|).  softplus(-inf) = 0, softplus(inf) = inf.
pub(crate) struct Softplus;
impl Unary32 for Softplus {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        // `max` in this order passes NaN on.
        L::splat(0.0).max(x).add(log1p_normal(exp(minus_abs(x))))
    }
}

/// Gauss error function 2/sqrt(pi) integral[0..x] e^-t² dt.  erf(±inf) = ±1, erf(±0) = ±0.
///
/// x + x P(x²) for |x| < 0.92 (fit error 2^-29.9), else 1 - e^-Q(|x|) with the sign of x (2^-33.6, to |x| = 4).
pub(crate) struct Erf;
impl Unary32 for Erf {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        let one = L::splat(1.0);
        let a = L::splat(4.0).min(x.abs());
        let z = a.mul(a);
        let p = polynomial(
            z,
            [
                0.128_379_17,
                -0.376_126_3,
                0.112_836_24,
                -0.026_855_584,
                0.005_191_925,
                -0.000_804_340_3,
                0.000_079_670_21,
            ],
        );
        let small = a.fma(p, a);
        let q = polynomial(
            a,
            [
                -0.000_171_968_1,
                1.129_503_6,
                0.633_365_75,
                0.108_264_446,
                -0.025_113_07,
                0.004_170_271_6,
                -0.000_434_678_54,
                0.000_021_150_736,
            ],
        );
        let large = one.sub(exp_normal(q.neg()));
        L::select(a.lt(L::splat(0.92)), small, large).with_sign(x)
    }
}

/// Up to here three parts of pi/2 are enough; beyond, and for inf, each lane goes through scalar f64.
const SIN_COS_REDUCED: f32 = 100_000.0;

/// x = n pi/2 + r, |r| <= pi/4 (a little more for large x), for |x| <= 10⁵: (bits of n, r).
#[inline(always)]
fn reduce_quarter_turns<L: Lanes<Elem = f32>>(x: L) -> (L::Int, L) {
    let magic = L::from_bits(L::int(L::MAGIC));
    let shifted = x.fma(L::splat(std::f32::consts::FRAC_2_PI), magic);
    let n = shifted.sub(magic);
    // pi/2 as a sum of three f32; the first subtraction is exact.
    let r = n.fnma(L::splat(std::f32::consts::FRAC_PI_2), x);
    let r = n.fnma(L::splat(-4.371_139e-8), r);
    let r = n.fnma(L::splat(-1.715_124_5e-15), r);
    (shifted.bits(), r)
}

/// sin r = r + r³ S(r²) on |r| <= pi/4; fit error 2^-28.0.
#[inline(always)]
fn sin_near_zero<L: Lanes<Elem = f32>>(r: L) -> L {
    let z = r.mul(r);
    let s = polynomial(z, [-0.166_666_55, 0.008_332_191, -0.000_195_186]);
    r.mul(z).fma(s, r)
}

/// cos r = 1 - r²/2 + r⁴ C(r²) on |r| <= pi/4; fit error 2^-33.1.
#[inline(always)]
fn cos_near_zero<L: Lanes<Elem = f32>>(r: L) -> L {
    let z = r.mul(r);
    let c = polynomial(z, [0.041_666_646, -0.001_388_730_1, 0.000_024_430_67]);
    z.mul(z).fma(c, z.fma(L::splat(-0.5), L::splat(1.0)))
}

/// sin(x + quarter pi/2).
#[inline(always)]
fn sin_turned<L: Lanes<Elem = f32>>(x: L, quarter: u64, scalar: fn(f64) -> f64) -> L {
    let (n, r) = reduce_quarter_turns(x);
    let n = L::int_add(n, L::int(quarter));
    let even = L::int_is_zero(L::int_and(n, L::int(1)));
    let y = L::select(even, sin_near_zero(r), cos_near_zero(r));
    let y = L::select(L::int_is_zero(L::int_and(n, L::int(2))), y, y.neg());
    let far = L::splat(SIN_COS_REDUCED).lt(x.abs());
    if let Some(noted) = L::note_far_turn(x, y, far, quarter) {
        return noted;
    }
    if L::any(far) { by_lane(x, y, far, scalar) } else { y }
}

/// `f` in f64 where `mask`, else `y`.
#[cold]
#[inline(never)]
fn by_lane<L: Lanes<Elem = f32>>(x: L, y: L, mask: L::Mask, f: fn(f64) -> f64) -> L {
    let (mut xs, mut ys, mut ms) = ([0.0f32; 16], [0.0f32; 16], [0.0f32; 16]);
    assert!(L::N <= 16);
    // SAFETY: the arrays hold at least N elements.
    unsafe {
        x.store(xs.as_mut_ptr());
        y.store(ys.as_mut_ptr());
        L::select(mask, L::splat(1.0), L::splat(0.0)).store(ms.as_mut_ptr());
        for i in 0..L::N {
            if ms[i] != 0.0 {
                ys[i] = f(f64::from(xs[i])) as f32;
            }
        }
        L::load(ys.as_ptr())
    }
}

/// Sine of radians.  sin(±0) = ±0, sin(±inf) = NaN.
pub(crate) struct Sin;
impl Unary32 for Sin {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        let y = sin_turned(x, 0, libm::sin);
        // The reduction turns -0 into +0.
        L::select(x.equal(L::splat(0.0)), x, y)
    }
}

/// Cosine of radians.  cos(±inf) = NaN.
pub(crate) struct Cos;
impl Unary32 for Cos {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        sin_turned(x, 1, libm::cos)
    }
}

/// Square root, exactly rounded.  sqrt(-0) = -0, sqrt(x < 0) = NaN.
pub(crate) struct Sqrt;
impl Unary32 for Sqrt {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        x.sqrt()
    }
}

/// 1 / sqrt(x), both exactly rounded.  rsqrt(±0) = ±inf, rsqrt(inf) = 0, rsqrt(x < 0) = NaN.
pub(crate) struct Rsqrt;
impl Unary32 for Rsqrt {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f32>>(x: L) -> L {
        L::splat(1.0).div(x.sqrt())
    }
}
