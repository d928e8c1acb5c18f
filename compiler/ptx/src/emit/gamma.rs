//! log |gamma| and its derivatives in f64, rounded to f32 at the end: rare in models, so short comes before fast.
//!
//! Formulas, poles and special values are those of `bdl_kernels::vector_math::gamma`; results differ from the CPU's by the last bit of f32 at most.

use super::functions::series;
use crate::text::{Class, Writer, f64_literal};
use std::f64::consts::{LN_2, PI};

/// Arithmetic in f64 on registers.
struct Real<'w>(&'w mut Writer);

impl Real<'_> {
    fn number(&mut self, x: f64) -> String {
        self.0.set(Class::F64, "mov.f64", &[&f64_literal(x)])
    }
    fn op(&mut self, name: &str, x: &str, y: &str) -> String {
        self.0.set(Class::F64, &format!("{name}.rn.f64"), &[x, y])
    }
    fn add(&mut self, x: &str, y: &str) -> String {
        self.op("add", x, y)
    }
    fn sub(&mut self, x: &str, y: &str) -> String {
        self.op("sub", x, y)
    }
    fn mul(&mut self, x: &str, y: &str) -> String {
        self.op("mul", x, y)
    }
    fn div(&mut self, x: &str, y: &str) -> String {
        self.op("div", x, y)
    }
    fn fma(&mut self, x: &str, y: &str, z: &str) -> String {
        self.0.set(Class::F64, "fma.rn.f64", &[x, y, z])
    }
    fn compare(&mut self, how: &str, x: &str, y: f64) -> String {
        self.0.set(Class::Pred, &format!("setp.{how}.f64"), &[x, &f64_literal(y)])
    }
    fn select(&mut self, condition: &str, x: &str, y: &str) -> String {
        self.0.set(Class::F64, "selp.f64", &[x, y, condition])
    }

    /// Natural logarithm of a positive normal number: x = 2^e m, log m = 2 atanh((m - 1) / (m + 1)).
    fn log(&mut self, x: &str) -> String {
        const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
        const ONE: u64 = 0x3ff0_0000_0000_0000;
        let bits = self.0.set(Class::B64, "mov.b64", &[x]);
        let shifted = self.0.set(Class::B64, "add.s64", &[&bits, &(ONE - SQRT_HALF).to_string()]);
        let exponent = self.0.set(Class::B64, "shr.u64", &[&shifted, "52"]);
        let exponent = self.0.set(Class::B64, "sub.s64", &[&exponent, "1023"]);
        let e = self.0.set(Class::F64, "cvt.rn.f64.s64", &[&exponent]);
        let mantissa = self.0.set(Class::B64, "and.b64", &[&shifted, &0x000f_ffff_ffff_ffffu64.to_string()]);
        let mantissa = self.0.set(Class::B64, "add.s64", &[&mantissa, &SQRT_HALF.to_string()]);
        let m = self.0.set(Class::F64, "mov.b64", &[&mantissa]);
        let one = self.number(1.0);
        let (above, below) = (self.sub(&m, &one), self.add(&m, &one));
        let s = self.div(&above, &below);
        let z = self.mul(&s, &s);
        let terms: Vec<f64> = (0..11).map(|i| 2.0 / (2 * i + 1) as f64).collect();
        let sum = series(self.0, &z, &terms);
        let sum = self.mul(&sum, &s);
        self.fma(&e, &f64_literal(LN_2), &sum)
    }

    /// sin(pi r) and cos(pi r) for |r| <= 1/2, to 1e-12.
    fn half_turn(&mut self, r: &str) -> (String, String) {
        let angle = self.mul(r, &f64_literal(PI));
        let z = self.mul(&angle, &angle);
        // (-1)^i / n! for every other n.
        let terms = |first: i32| {
            let term = |i: i32| (1..=first + 2 * i).fold(if i % 2 == 0 { 1.0 } else { -1.0 }, |t, n| t / f64::from(n));
            (0..10).map(term).collect::<Vec<f64>>()
        };
        let sine = series(self.0, &z, &terms(1));
        let sine = self.mul(&sine, &angle);
        (sine, series(self.0, &z, &terms(0)))
    }

    /// Adds 1 to x until it is at least `limit`; `each` sees x before, and what it wrote to `sum`.
    fn raise(
        &mut self,
        x: &str,
        limit: f64,
        start: f64,
        each: impl Fn(&mut Self, &str, &str) -> String,
    ) -> (String, String) {
        let x = self.0.set(Class::F64, "mov.f64", &[x]);
        let sum = self.number(start);
        let (next, end) = (self.0.label("raise"), self.0.label("raised"));
        self.0.place(&next);
        // Also where x is NaN.
        let more = self.compare("lt", &x, limit);
        self.0.line(format!("@!{more} bra {end};"));
        let new = each(self, &sum, &x);
        self.0.line(format!("mov.f64 {sum}, {new};"));
        self.0.line(format!("add.rn.f64 {x}, {x}, {};", f64_literal(1.0)));
        self.0.line(format!("bra {next};"));
        self.0.place(&end);
        (x, sum)
    }
}

/// Which derivative of log |gamma|.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Derivative {
    Zeroth,
    First,
    Second,
}

pub fn gamma(w: &mut Writer, which: Derivative, x: &str) -> String {
    let mut r = Real(w);
    let x = r.0.set(Class::F64, "cvt.f64.f32", &[x]);
    // Below 0 by reflection at 1/2: the function of 1 - x, and what the reflection adds.
    let one = r.number(1.0);
    let mirrored = r.sub(&one, &x);
    let is_left = r.compare("le", &x, 0.0);
    let argument = r.select(&is_left, &mirrored, &x);
    let nearest = r.0.set(Class::F64, "cvt.rni.f64.f64", &[&x]);
    let distance = r.sub(&x, &nearest);
    let (sine, cosine) = r.half_turn(&distance);
    let pi = r.number(PI);
    let value = match which {
        Derivative::Zeroth => {
            // Stirling's series at 10 and more; the product of what was stepped over.
            let (y, product) = r.raise(&argument, 10.0, 1.0, |r, product, x| r.mul(product, x));
            let (log_y, log_product) = (r.log(&y), r.log(&product));
            let half = r.number(0.5);
            let shifted = r.sub(&y, &half);
            let main = r.mul(&shifted, &log_y);
            let main = r.sub(&main, &y);
            let main = r.add(&main, &f64_literal(0.918_938_533_204_672_7));
            let inverse = r.div(&one, &y);
            let z = r.mul(&inverse, &inverse);
            let terms = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0];
            let tail = series(r.0, &z, &terms);
            let value = r.fma(&tail, &inverse, &main);
            let positive = r.sub(&value, &log_product);
            let size = r.0.set(Class::F64, "abs.f64", &[&sine]);
            let ratio = r.div(&pi, &size);
            let log_ratio = r.log(&ratio);
            let reflected = r.sub(&log_ratio, &positive);
            r.select(&is_left, &reflected, &positive)
        }
        Derivative::First => {
            let (y, shift) = r.raise(&argument, 10.0, 0.0, |r, sum, x| {
                let one = r.number(1.0);
                let inverse = r.div(&one, x);
                r.add(sum, &inverse)
            });
            let log_y = r.log(&y);
            let inverse = r.div(&one, &y);
            let z = r.mul(&inverse, &inverse);
            let terms =
                [0.0, 1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32760.0, 1.0 / 12.0];
            let tail = series(r.0, &z, &terms);
            let main = r.fma(&inverse, &f64_literal(-0.5), &log_y);
            let main = r.sub(&main, &tail);
            let positive = r.sub(&main, &shift);
            let cotangent = r.div(&cosine, &sine);
            let turned = r.mul(&pi, &cotangent);
            let reflected = r.sub(&positive, &turned);
            r.select(&is_left, &reflected, &positive)
        }
        Derivative::Second => {
            let (y, shift) = r.raise(&argument, 12.0, 0.0, |r, sum, x| {
                let one = r.number(1.0);
                let square = r.mul(x, x);
                let inverse = r.div(&one, &square);
                r.add(sum, &inverse)
            });
            let inverse = r.div(&one, &y);
            let z = r.mul(&inverse, &inverse);
            let terms = [1.0, 1.0 / 6.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 5.0 / 66.0, -691.0 / 2730.0, 7.0 / 6.0];
            let sum = series(r.0, &z, &terms);
            let main = r.mul(&sum, &inverse);
            let main = r.fma(&z, &f64_literal(0.5), &main);
            let positive = r.add(&main, &shift);
            let ratio = r.div(&pi, &sine);
            let square = r.mul(&ratio, &ratio);
            let reflected = r.sub(&square, &positive);
            r.select(&is_left, &reflected, &positive)
        }
    };
    // Poles, and what no series reaches.
    let whole = r.0.set(Class::Pred, "setp.eq.f64", &[&nearest, &x]);
    let pole = r.0.set(Class::Pred, "and.pred", &[&whole, &is_left]);
    let infinity = r.number(f64::INFINITY);
    let (nan, zero) = (r.number(f64::NAN), r.number(0.0));
    let right_end = r.compare("eq", &x, f64::INFINITY);
    let left_end = r.compare("eq", &x, f64::NEG_INFINITY);
    let (at_pole, at_right, at_left) = match which {
        Derivative::Zeroth => (&infinity, &infinity, &infinity),
        Derivative::First => (&nan, &infinity, &nan),
        Derivative::Second => (&infinity, &zero, &nan),
    };
    let value = r.select(&pole, at_pole, &value);
    let value = r.select(&right_end, at_right, &value);
    let value = r.select(&left_end, at_left, &value);
    let is_nan = r.0.set(Class::Pred, "setp.nan.f64", &[&x, &x]);
    let value = r.select(&is_nan, &x, &value);
    r.0.set(Class::F32, "cvt.rn.f32.f64", &[&value])
}
