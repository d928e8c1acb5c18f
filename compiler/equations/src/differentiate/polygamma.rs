//! The derivative of trigamma as an expression: no operator needs a rule beyond it, and it may be differentiated as often as one likes.
//!
//! With ψ'' for the derivative of trigamma (Abramowitz and Stegun 6.4.6, 6.4.7, 6.4.14; B the Bernoulli numbers):
//!
//! ```text
//! x >= 0    ψ''(x) = -2 sum[k < 10] 1 / (x + k)^3 + ψ''(x + 10)                       no branch for small x, 20 roundings at most
//!           ψ''(y) = -(1/y^2 + 1/y^3 + sum[k = 1..8] (2k + 1) B_2k / y^(2k + 2))      1e-14 of it from y = 10 on
//! x < 0     ψ''(x) = ψ''(1 - x) - 2 π^3 cos(πx) / sin(πx)^3
//! ```

use crate::data::{CompareOp, Expr, UnaryOp};

/// Steps of the recurrence.
const SHIFT: u32 = 10;

/// (2k + 1) B_2k for k = 1, 2..
const SERIES: [f64; 8] =
    [1.0 / 2.0, -1.0 / 6.0, 1.0 / 6.0, -3.0 / 10.0, 5.0 / 6.0, -691.0 / 210.0, 35.0 / 2.0, -3617.0 / 30.0];

/// d trigamma / d x. At a pole (0, -1, ..) it is not finite.
pub fn tetragamma(x: Expr) -> Expr {
    let is_left = || x.clone().compare(CompareOp::Lt, Expr::Const(0.0));
    let right = is_left().select(Expr::Const(1.0) - x.clone(), x.clone());
    let angle = Expr::Const(std::f64::consts::PI) * x.clone();
    let sine = angle.clone().unary(UnaryOp::Sin);
    let mirrored = Expr::Const(2.0 * std::f64::consts::PI.powi(3)) * angle.unary(UnaryOp::Cos) / cubed(sine);
    to_the_right(right) - is_left().select(mirrored, Expr::Const(0.0))
}

fn to_the_right(x: Expr) -> Expr {
    let steps = (0..SHIFT).map(|k| Expr::Const(1.0) / cubed(x.clone() + Expr::Const(f64::from(k))));
    let steps = steps.reduce(|a, b| a + b).unwrap_or(Expr::Const(0.0));
    let inverse = Expr::Const(1.0) / (x + Expr::Const(f64::from(SHIFT)));
    let square = inverse.clone() * inverse.clone();
    let tail = SERIES.iter().rev().fold(Expr::Const(0.0), |sum, c| (sum + Expr::Const(*c)) * square.clone());
    Expr::Const(-2.0) * steps - square * (Expr::Const(1.0) + inverse + tail)
}

fn cubed(x: Expr) -> Expr {
    x.clone() * x.clone() * x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpret::scalar;

    /// The value of an expression without reads.
    fn value(e: &Expr) -> f64 {
        match e {
            Expr::Const(c) => *c,
            Expr::Unary(op, a) => scalar::unary(*op, value(a)),
            Expr::Binary(op, a, b) => scalar::binary(*op, value(a), value(b)),
            Expr::Compare(op, a, b) => scalar::compare(*op, value(a), value(b)),
            Expr::Select(c, a, b) => value(if value(c) != 0.0 { a } else { b }),
            Expr::Number(_) | Expr::Read(_) => unreachable!("constants only"),
        }
    }

    #[test]
    fn known_values() {
        // ψ''(1) = -2 ζ(3); ψ''(1/2) = -14 ζ(3); ψ''(x + 1) = ψ''(x) + 2 / x^3.
        let zeta = 1.202_056_903_159_594_2;
        let at = |x: f64| value(&tetragamma(Expr::Const(x)));
        for (x, expected) in
            [(1.0, -2.0 * zeta), (0.5, -14.0 * zeta), (2.0, 2.0 - 2.0 * zeta), (-0.5, 16.0 - 14.0 * zeta)]
        {
            assert!((at(x) - expected).abs() < 4e-14 * f64::abs(expected).max(1.0), "{x}: {} and {expected}", at(x));
        }
        // ψ''(y) = -1/y^2 - 1/y^3 - 1/(2 y^4) + .. far out.
        assert!((at(1e6) * 1e12 + 1.0 + 1e-6).abs() < 1e-12, "{}", at(1e6));
    }
}
