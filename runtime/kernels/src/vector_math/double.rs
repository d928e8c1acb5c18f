//! The f64 functions: `libm`'s algorithms one lane at a time (they are plain f64 arithmetic, so the same everywhere).
//!
//! f64 serves gradient checks and the reference runs, where bits matter more than speed; only the square roots are vectors.

use super::lanes::Lanes;

/// A function of one f64.
pub(crate) trait Unary64 {
    fn eval<L: Lanes<Elem = f64>>(x: L) -> L;
}

#[inline(always)]
fn by_lane<L: Lanes<Elem = f64>>(x: L, f: impl Fn(f64) -> f64) -> L {
    let mut xs = [0.0f64; 16];
    // SAFETY: no vector is longer than 16.
    unsafe {
        x.store(xs.as_mut_ptr());
        for x in &mut xs[..L::N] {
            *x = f(*x);
        }
        L::load(xs.as_ptr())
    }
}

macro_rules! scalar {
    ($($(#[$doc:meta])* $Name:ident $f:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $Name;
        impl Unary64 for $Name {
            #[inline(always)]
            fn eval<L: Lanes<Elem = f64>>(x: L) -> L {
                by_lane(x, $f)
            }
        }
    )*};
}
scalar! {
    /// e^x, below 1 ulp.
    Exp libm::exp;
    /// e^x - 1, below 1 ulp.
    Expm1 libm::expm1;
    /// Natural logarithm, below 1 ulp.
    Log libm::log;
    /// log(1 + x), below 1 ulp.
    Log1p libm::log1p;
    /// Hyperbolic tangent, below 2 ulp.
    Tanh libm::tanh;
    /// Gauss error function, below 1 ulp.
    Erf libm::erf;
    /// Sine, below 1 ulp.
    Sin libm::sin;
    /// Cosine, below 1 ulp.
    Cos libm::cos;
    /// 1 / (1 + e^-x) as e / (1 + e) or 1 / (1 + e) with e = e^-|x|, below 3 ulp.
    Sigmoid |x: f64| {
        let e = libm::exp(-x.abs());
        (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
    };
    /// log(1 + e^x) = max(x, 0) + log1p(e^-|x|), below 3 ulp.
    Softplus |x: f64| (if x > 0.0 { x } else if x <= 0.0 { 0.0 } else { x }) + libm::log1p(libm::exp(-x.abs()));
}

/// Square root, exactly rounded.
pub(crate) struct Sqrt;
impl Unary64 for Sqrt {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f64>>(x: L) -> L {
        x.sqrt()
    }
}

/// 1 / sqrt(x), both exactly rounded.
pub(crate) struct Rsqrt;
impl Unary64 for Rsqrt {
    #[inline(always)]
    fn eval<L: Lanes<Elem = f64>>(x: L) -> L {
        L::splat(1.0).div(x.sqrt())
    }
}
