//! log |gamma| and its derivatives, one f64 at a time: rare in models, so right and the same everywhere comes before fast.

/// log |gamma(x)|.  +inf at 0, -1, -2, ... and at ±inf; near its zeros (1, 2, and between the negative poles) the error
/// is absolute, about 1e-15.  Source: the FreeBSD algorithm, through the `libm` crate.
pub(super) fn lgamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// Digamma, d/dx log gamma(x).
///
/// x >= 10: log x - 1/(2x) - sum B_2k / (2k x^2k), k = 1..8.  Below, psi(x) = psi(x + 1) - 1/x.  x < 0: the reflection
/// psi(x) = psi(1 - x) - pi / tan(pi x).  NaN at 0, -1, -2, ... and at -inf (a pole of both signs has no value).
/// Error below 4e-15 max(1, |psi|), apart from the neighbourhood of poles, where it grows with 1 / distance in x.
/// Source: Abramowitz and Stegun 6.3.5, 6.3.7, 6.3.18.
pub(super) fn digamma(x: f64) -> f64 {
    if x <= 0.0 {
        if x == x.trunc() {
            return f64::NAN;
        }
        // pi times the distance to the nearest integer, exact up to the product.
        let nearest = x.round_ties_even();
        return digamma_positive(1.0 - x) - std::f64::consts::PI / libm::tan(std::f64::consts::PI * (x - nearest));
    }
    digamma_positive(x)
}

fn digamma_positive(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 10.0 {
        shift += 1.0 / x;
        x += 1.0;
    }
    if x == f64::INFINITY {
        return x;
    }
    // B_2k / 2k, k = 8 down to 1.
    const TERMS: [f64; 8] = [
        -3617.0 / 8160.0,
        1.0 / 12.0,
        -691.0 / 32760.0,
        1.0 / 132.0,
        -1.0 / 240.0,
        1.0 / 252.0,
        -1.0 / 120.0,
        1.0 / 12.0,
    ];
    let t = 1.0 / (x * x);
    let sum = TERMS.into_iter().fold(0.0, |sum, term| (sum + term) * t);
    libm::log(x) - 0.5 / x - sum - shift
}

/// Trigamma, the derivative of digamma.
///
/// x >= 12: 1/x + 1/(2x²) + sum B_2k / x^(2k+1), k = 1..8.  Below, psi'(x) = psi'(x + 1) + 1/x².  x < 0: the reflection
/// psi'(x) = pi² / sin²(pi x) - psi'(1 - x).  +inf at 0, -1, -2, ..., NaN at -inf.  Error below 2e-15 |psi'|, apart from
/// the neighbourhood of poles, where it grows with 1 / distance in x.
/// Source: Abramowitz and Stegun 6.4.6, 6.4.7, 6.4.12.
pub(super) fn trigamma(x: f64) -> f64 {
    if x <= 0.0 {
        if x == f64::NEG_INFINITY {
            return f64::NAN;
        }
        if x == x.trunc() {
            return f64::INFINITY;
        }
        let sin = libm::sin(std::f64::consts::PI * (x - x.round_ties_even()));
        let ratio = std::f64::consts::PI / sin;
        return ratio * ratio - trigamma_positive(1.0 - x);
    }
    trigamma_positive(x)
}

fn trigamma_positive(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 12.0 {
        shift += 1.0 / (x * x);
        x += 1.0;
    }
    if x == f64::INFINITY {
        return 0.0;
    }
    // B_2k, k = 8 down to 1.
    const TERMS: [f64; 8] =
        [-3617.0 / 510.0, 7.0 / 6.0, -691.0 / 2730.0, 5.0 / 66.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 1.0 / 6.0];
    let t = 1.0 / (x * x);
    let sum = TERMS.into_iter().fold(0.0, |sum, term| (sum + term) * t);
    shift + (1.0 + sum) / x + 0.5 * t
}
