//! The scalar functions in f64. Constant folding uses the same ones.

use crate::data::{BinaryOp, CompareOp, DType, UnaryOp};

pub fn unary(op: UnaryOp, x: f64) -> f64 {
    match op {
        UnaryOp::Neg => -x,
        UnaryOp::Not => truth(x == 0.0),
        UnaryOp::Exp => x.exp(),
        UnaryOp::Expm1 => x.exp_m1(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Log1p => x.ln_1p(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Sigmoid => sigmoid(x),
        UnaryOp::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 },
        UnaryOp::Erf => libm::erf(x),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Abs => x.abs(),
        UnaryOp::Floor | UnaryOp::ToInt => x.floor(),
        UnaryOp::Round => x.round_ties_even(),
        UnaryOp::Sign => match x.partial_cmp(&0.0) {
            Some(order) => order as i8 as f64,
            None => x,
        },
        UnaryOp::Lgamma => libm::lgamma(x),
        UnaryOp::Digamma => digamma(x),
        UnaryOp::Trigamma => trigamma(x),
        UnaryOp::ToBf16 => stored(DType::BF16, x),
        UnaryOp::ToReal | UnaryOp::ToF64 | UnaryOp::Freeze => x,
    }
}

pub fn binary(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::FloorDiv => (a / b).floor(),
        BinaryOp::Rem => a - b * (a / b).floor(),
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Min => min(a, b),
        BinaryOp::Max => max(a, b),
        BinaryOp::And => truth(a != 0.0 && b != 0.0),
        BinaryOp::Or => truth(a != 0.0 || b != 0.0),
    }
}

pub fn compare(op: CompareOp, a: f64, b: f64) -> f64 {
    truth(match op {
        CompareOp::Eq => a == b,
        CompareOp::Ne => a != b,
        CompareOp::Lt => a < b,
        CompareOp::Le => a <= b,
        CompareOp::Gt => a > b,
        CompareOp::Ge => a >= b,
    })
}

pub fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// The first of equal ones; NaN is passed on.
pub fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if b > a { b } else { a }
}

/// The first of equal ones; NaN is passed on.
pub fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if b < a { b } else { a }
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// The derivative of lgamma: recurrence up to 10, then the asymptotic series (Abramowitz and Stegun 6.3.5, 6.3.18).
pub fn digamma(x: f64) -> f64 {
    if x <= 0.0 {
        if x.floor() == x {
            return f64::NAN;
        }
        return digamma(1.0 - x) - std::f64::consts::PI / (std::f64::consts::PI * x).tan();
    }
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift -= 1.0 / x;
        x += 1.0;
    }
    // B_2n / 2n
    const SERIES: [f64; 7] =
        [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32760.0, 1.0 / 12.0];
    let square = 1.0 / (x * x);
    let tail = SERIES.iter().rev().fold(0.0, |sum, c| (sum + c) * square);
    shift + x.ln() - 0.5 / x - tail
}

/// The derivative of digamma (Abramowitz and Stegun 6.4.6, 6.4.12).
pub fn trigamma(x: f64) -> f64 {
    if x <= 0.0 {
        if x.floor() == x {
            return f64::NAN;
        }
        let sine = (std::f64::consts::PI * x).sin();
        return std::f64::consts::PI.powi(2) / (sine * sine) - trigamma(1.0 - x);
    }
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift += 1.0 / (x * x);
        x += 1.0;
    }
    // B_2n
    const SERIES: [f64; 7] = [1.0 / 6.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 5.0 / 66.0, -691.0 / 2730.0, 7.0 / 6.0];
    let square = 1.0 / (x * x);
    let tail = SERIES.iter().rev().fold(0.0, |sum, c| (sum + c) * square);
    shift + 1.0 / x + 0.5 * square + tail / x
}

/// What a tensor of this type keeps of a number.
pub fn stored(dtype: DType, value: f64) -> f64 {
    match dtype {
        DType::Real | DType::F64 | DType::I32 | DType::Bool => value,
        DType::F32 => f64::from(value as f32),
        DType::BF16 => {
            let bits = (value as f32).to_bits();
            if (value as f32).is_nan() {
                return value;
            }
            // Round to the nearest, ties to even, on the upper 16 bits.
            let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
            f64::from(f32::from_bits(rounded))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_functions() {
        // Euler's constant, and the closed forms at 1/2.
        let euler = 0.577_215_664_901_532_9;
        assert!((digamma(1.0) + euler).abs() < 1e-14);
        assert!((digamma(0.5) + euler + 2.0 * 2f64.ln()).abs() < 1e-14);
        assert!((trigamma(1.0) - std::f64::consts::PI.powi(2) / 6.0).abs() < 1e-14);
        assert!((trigamma(0.5) - std::f64::consts::PI.powi(2) / 2.0).abs() < 1e-13);
        // psi(-1/2) = psi(1/2) + 2
        assert!((digamma(-0.5) - digamma(0.5) - 2.0).abs() < 1e-13);
        // psi'(-1/2) = psi'(1/2) + 4
        assert!((trigamma(-0.5) - trigamma(0.5) - 4.0).abs() < 1e-12);
        assert!((unary(UnaryOp::Erf, 0.5) - 0.520_499_877_813_046_5).abs() < 1e-15);
    }

    #[test]
    fn ties_and_nan() {
        assert!(max(f64::NAN, 1.0).is_nan() && max(1.0, f64::NAN).is_nan());
        assert!(max(0.0, -0.0).is_sign_positive() && max(-0.0, 0.0).is_sign_negative());
        assert_eq!(unary(UnaryOp::Round, 2.5), 2.0);
        assert_eq!(binary(BinaryOp::FloorDiv, -7.0, 2.0), -4.0);
        assert_eq!(binary(BinaryOp::Rem, -7.0, 2.0), 1.0);
        assert_eq!(unary(UnaryOp::Softplus, 800.0), 800.0);
        assert!(unary(UnaryOp::Softplus, f64::NAN).is_nan());
        assert_eq!(unary(UnaryOp::Sigmoid, -800.0), 0.0);
        assert_eq!(stored(DType::BF16, 1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(stored(DType::BF16, 1.0 + 3.0 / 256.0), 1.0 + 2.0 / 128.0);
    }

    #[test]
    fn numbers_of_bf16() {
        let rounded = |x| unary(UnaryOp::ToBf16, x);
        let smallest = 2f64.powi(-133);
        let largest = 2f64.powi(128) - 2f64.powi(120);
        for (x, expected) in [
            // Halfway between two: the even one.
            (257.0, 256.0),
            (259.0, 260.0),
            (-257.0, -256.0),
            (257.0 + 1e-4, 258.0),
            (0.1, 0.100_097_656_25),
            // Numbers below 2^-126 keep their place, not their digits.
            (smallest, smallest),
            (1.5 * smallest, 2.0 * smallest),
            (0.5 * smallest, 0.0),
            (largest, largest),
            // Halfway to 2^128 and beyond.
            (largest + 2f64.powi(119), f64::INFINITY),
            (-1e300, f64::NEG_INFINITY),
            (f64::INFINITY, f64::INFINITY),
        ] {
            assert_eq!(rounded(x), expected, "{x:e}");
            assert_eq!(rounded(rounded(x)), expected);
        }
        assert!(rounded(f64::NAN).is_nan());
        assert!(rounded(-0.0).is_sign_negative());
    }
}
