//! Element functions, as the steps that `bdl-kernels` notes: the same operations in the same order, hence the CPU's bits.
//!
//! Three things have no such steps. Sine and cosine of arguments beyond 10⁵ are reduced by as many bits of 2/pi as they need. `pow` at the special
//! cases of C99 is chosen by comparisons. lgamma, digamma and trigamma are
//! computed in f64 by [`gamma`](super::gamma).

use super::gamma::{Derivative, gamma};
use super::{Emit, Emitter};
use crate::text::{Class, Writer, f32_literal, f64_literal};
use bdl_kernels::vector_math::Function;
use bdl_kernels::vector_math::formula::{Formula, Step, formula as formula_of, pow_formula};
use bdl_plan::ValueType;

/// Writes a formula's steps; the register of its value. Reals are f32 or f64 by `class`.
pub fn formula(w: &mut Writer, formula: &Formula, arguments: &[&str], class: Class) -> String {
    let (real, bits, mantissa) = match class {
        Class::F64 => ("f64", Class::B64, "52"),
        Class::F32 | Class::Pred | Class::B16 | Class::B32 | Class::B64 => ("f32", Class::B32, "23"),
    };
    let int = if bits == Class::B64 { "64" } else { "32" };
    let mut at: Vec<String> = Vec::with_capacity(formula.steps.len());
    for step in &formula.steps {
        let of = |i: u32| at[i as usize].as_str();
        let value = match *step {
            Step::Argument(i) => arguments[i as usize].to_string(),
            Step::Real(x) if class == Class::F64 => f64_literal(x),
            Step::Real(x) => f32_literal(x as f32),
            Step::Int(x) => x.to_string(),
            Step::Add(a, b) => w.set(class, &format!("add.rn.{real}"), &[of(a), of(b)]),
            Step::Sub(a, b) => w.set(class, &format!("sub.rn.{real}"), &[of(a), of(b)]),
            Step::Mul(a, b) => w.set(class, &format!("mul.rn.{real}"), &[of(a), of(b)]),
            Step::Div(a, b) => w.set(class, &format!("div.rn.{real}"), &[of(a), of(b)]),
            Step::Sqrt(a) => w.set(class, &format!("sqrt.rn.{real}"), &[of(a)]),
            Step::Fma(a, b, c) => w.set(class, &format!("fma.rn.{real}"), &[of(a), of(b), of(c)]),
            Step::Fnma(a, b, c) => {
                let minus = w.set(class, &format!("neg.{real}"), &[of(a)]);
                w.set(class, &format!("fma.rn.{real}"), &[&minus, of(b), of(c)])
            }
            Step::Min(a, b) => {
                let less = w.set(Class::Pred, &format!("setp.lt.{real}"), &[of(a), of(b)]);
                w.set(class, &format!("selp.{real}"), &[of(a), of(b), &less])
            }
            Step::Max(a, b) => {
                let more = w.set(Class::Pred, &format!("setp.gt.{real}"), &[of(a), of(b)]);
                w.set(class, &format!("selp.{real}"), &[of(a), of(b), &more])
            }
            Step::Round(a) => w.set(class, &format!("cvt.rni.{real}.{real}"), &[of(a)]),
            Step::Lt(a, b) => w.set(Class::Pred, &format!("setp.lt.{real}"), &[of(a), of(b)]),
            Step::Le(a, b) => w.set(Class::Pred, &format!("setp.le.{real}"), &[of(a), of(b)]),
            Step::Equal(a, b) => w.set(Class::Pred, &format!("setp.eq.{real}"), &[of(a), of(b)]),
            Step::Select(mask, a, b) => w.set(class, &format!("selp.{real}"), &[of(a), of(b), of(mask)]),
            Step::Bits(a) => w.set(bits, &format!("mov.b{int}"), &[of(a)]),
            Step::FromBits(a) => w.set(class, &format!("mov.b{int}"), &[of(a)]),
            Step::IntAdd(a, b) => w.set(bits, &format!("add.s{int}"), &[of(a), of(b)]),
            Step::IntAnd(a, b) => w.set(bits, &format!("and.b{int}"), &[of(a), of(b)]),
            Step::IntOr(a, b) => w.set(bits, &format!("or.b{int}"), &[of(a), of(b)]),
            Step::IntIsZero(a) => w.set(Class::Pred, &format!("setp.eq.s{int}"), &[of(a), "0"]),
            Step::MantissaLeft(a) => w.set(bits, &format!("shl.b{int}"), &[of(a), mantissa]),
            Step::MantissaRight(a) => w.set(bits, &format!("shr.u{int}"), &[of(a), mantissa]),
            Step::FarTurn { x, y, far, quarter } => far_turn(w, of(x), of(y), of(far), quarter),
        };
        at.push(value);
    }
    at.pop().unwrap_or_default()
}

/// 2/pi = 0.28be60db.. * 4 in words of 32 bits, behind a zero.
const TWO_OVER_PI: [u32; 9] =
    [0, 0x28be_60db, 0x9391_054a, 0x7f09_d5f4, 0x7d4d_3770, 0x36d8_a566, 0x4f10_e410, 0x7f94_58ea, 0xf7ae_f158];

/// `far ? sin(x + quarter pi/2) : y` in f64, jumped over where no thread needs it.
///
/// |x| = n pi/2 + r by the method of Payne and Hanek 1983: of the product of x's 24 bits with 2/pi only those bits are computed that are left
/// when whole turns are taken out, 2 of the quadrant and 94 of the fraction.
fn far_turn(w: &mut Writer, x: &str, y: &str, far: &str, quarter: u64) -> String {
    let result = w.set(Class::F32, "mov.f32", &[y]);
    let near = w.label("near");
    w.line(format!("@!{far} bra {near};"));
    let bits = w.set(Class::B32, "mov.b32", &[x]);
    let exponent = w.set(Class::B32, "shr.u32", &[&bits, "23"]);
    let exponent = w.set(Class::B32, "and.b32", &[&exponent, "255"]);
    let e = w.set(Class::B32, "sub.u32", &[&exponent, "126"]);
    let mantissa = w.set(Class::B32, "shl.b32", &[&bits, "8"]);
    let mantissa = w.set(Class::B32, "or.b32", &[&mantissa, &(1u32 << 31).to_string()]);
    // Five words of 2/pi from bit e on.
    let word = w.set(Class::B32, "shr.u32", &[&e, "5"]);
    let shift = w.set(Class::B32, "and.b32", &[&e, "31"]);
    let is_word: Vec<String> = (1..5u32).map(|i| w.set(Class::Pred, "setp.eq.u32", &[&word, &i.to_string()])).collect();
    let words: Vec<String> = (0..5)
        .map(|at| {
            let mut chosen = TWO_OVER_PI[at].to_string();
            for (i, is_word) in is_word.iter().enumerate() {
                chosen = w.set(Class::B32, "selp.b32", &[&TWO_OVER_PI[at + i + 1].to_string(), &chosen, is_word]);
            }
            chosen
        })
        .collect();
    let back = w.set(Class::B32, "sub.u32", &["32", &shift]);
    let moved: Vec<String> = words
        .windows(2)
        .map(|pair| {
            let high = w.set(Class::B32, "shl.b32", &[&pair[0], &shift]);
            // Nothing where all 32 bits are shifted out.
            let low = w.set(Class::B32, "shr.u32", &[&pair[1], &back]);
            w.set(Class::B32, "or.b32", &[&high, &low])
        })
        .collect();
    // mantissa * (four words), from the last to the first; whole turns overflow.
    let last = w.set(Class::B64, "mul.wide.u32", &[&mantissa, &moved[3]]);
    let carry = w.set(Class::B64, "shr.u64", &[&last, "32"]);
    let third = w.set(Class::B64, "mad.wide.u32", &[&mantissa, &moved[2], &carry]);
    let carry = w.set(Class::B64, "shr.u64", &[&third, "32"]);
    let second = w.set(Class::B64, "mad.wide.u32", &[&mantissa, &moved[1], &carry]);
    let first = w.set(Class::B64, "mul.wide.u32", &[&mantissa, &moved[0]]);
    let first = w.set(Class::B64, "shl.b64", &[&first, "32"]);
    let turns = w.set(Class::B64, "add.s64", &[&second, &first]);
    // The quadrant, and the fraction from -1/2 to 1/2 of one.
    let rounded = w.set(Class::B64, "add.s64", &[&turns, &(1i64 << 61).to_string()]);
    let n = w.set(Class::B64, "shr.u64", &[&rounded, "62"]);
    let fraction = w.set(Class::B64, "shl.b64", &[&turns, "2"]);
    let fraction = w.set(Class::F64, "cvt.rn.f64.s64", &[&fraction]);
    let rest = w.set(Class::B64, "and.b64", &[&third, &u32::MAX.to_string()]);
    let rest = w.set(Class::F64, "cvt.rn.f64.s64", &[&rest]);
    let fraction = w.set(Class::F64, "fma.rn.f64", &[&rest, &f64_literal(2f64.powi(-30)), &fraction]);
    let turn = f64_literal(std::f64::consts::FRAC_PI_2 * 2f64.powi(-64));
    let r = w.set(Class::F64, "mul.rn.f64", &[&fraction, &turn]);
    // The other way round for a negative x.
    let is_negative = w.set(Class::Pred, "setp.lt.s32", &[&bits, "0"]);
    let minus = w.set(Class::F64, "neg.f64", &[&r]);
    let r = w.set(Class::F64, "selp.f64", &[&minus, &r, &is_negative]);
    let minus = w.set(Class::B64, "neg.s64", &[&n]);
    let n = w.set(Class::B64, "selp.b64", &[&minus, &n, &is_negative]);
    let whole = w.set(Class::B64, "add.s64", &[&n, &quarter.to_string()]);
    let z = w.set(Class::F64, "mul.rn.f64", &[&r, &r]);
    // Taylor's series: to 1e-13 on |r| <= pi/4.
    let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
    let terms = |from: u32| -> Vec<f64> {
        (0..7)
            .map(|i| if i % 2 == 0 { 1.0 / factorial(from + 2 * i) } else { -1.0 / factorial(from + 2 * i) })
            .collect()
    };
    let sine = series(w, &z, &terms(1));
    let sine = w.set(Class::F64, "mul.rn.f64", &[&sine, &r]);
    let cosine = series(w, &z, &[terms(0), vec![-1.0 / factorial(14)]].concat());
    let odd = w.set(Class::B64, "and.b64", &[&whole, "1"]);
    let is_odd = w.set(Class::Pred, "setp.ne.s64", &[&odd, "0"]);
    let value = w.set(Class::F64, "selp.f64", &[&cosine, &sine, &is_odd]);
    let second = w.set(Class::B64, "and.b64", &[&whole, "2"]);
    let is_second = w.set(Class::Pred, "setp.ne.s64", &[&second, "0"]);
    let negated = w.set(Class::F64, "neg.f64", &[&value]);
    let value = w.set(Class::F64, "selp.f64", &[&negated, &value, &is_second]);
    let value = w.set(Class::F32, "cvt.rn.f32.f64", &[&value]);
    // Infinity has no sine: inf - inf is no number.
    let zero = w.set(Class::F32, "sub.rn.f32", &[x, x]);
    w.line(format!("add.rn.f32 {result}, {value}, {zero};"));
    w.place(&near);
    result
}

/// c[0] + c[1] z + c[2] z² + ... in f64.
pub fn series(w: &mut Writer, z: &str, c: &[f64]) -> String {
    let mut sum = w.set(Class::F64, "mov.f64", &[&f64_literal(c.last().copied().unwrap_or(0.0))]);
    for c in c.iter().rev().skip(1) {
        sum = w.set(Class::F64, "fma.rn.f64", &[&sum, z, &f64_literal(*c)]);
    }
    sum
}

/// As `--precision` writes it.
fn word(ty: ValueType) -> &'static str {
    match ty {
        ValueType::F32 => "f32",
        ValueType::F64 => "f64",
        ValueType::I32 => "i32",
        ValueType::I64 => "i64",
        ValueType::Bool => "bool",
    }
}

impl Emitter<'_> {
    pub fn function(&mut self, function: Function, x: &str, ty: ValueType) -> Emit<String> {
        if ty != ValueType::F32 {
            return Err(format!("`{}` in {} is not there on a GPU", function.name(), word(ty)));
        }
        match function {
            Function::Lgamma => return Ok(gamma(&mut self.w, Derivative::Zeroth, x)),
            Function::Digamma => return Ok(gamma(&mut self.w, Derivative::First, x)),
            Function::Trigamma => return Ok(gamma(&mut self.w, Derivative::Second, x)),
            Function::Exp
            | Function::Expm1
            | Function::Log
            | Function::Log1p
            | Function::Tanh
            | Function::Sigmoid
            | Function::Softplus
            | Function::Erf
            | Function::Sin
            | Function::Cos
            | Function::Sqrt
            | Function::Rsqrt => {}
        }
        let steps = formula_of(function).ok_or_else(|| format!("`{}` has no formula", function.name()))?;
        Ok(formula(&mut self.w, &steps, &[x], Class::F32))
    }

    /// x^y of f32, as C99 has it: 2^(y log2 |x|) in f64, then what is special.
    pub fn pow(&mut self, x: &str, y: &str, ty: ValueType) -> Emit<String> {
        if ty != ValueType::F32 {
            return Err(format!("`pow` in {} is not there on a GPU", word(ty)));
        }
        let (x, y) = (self.in_register(x, ty), self.in_register(y, ty));
        let w = &mut self.w;
        let (zero, one, infinity) = (f32_literal(0.0), f32_literal(1.0), f32_literal(f32::INFINITY));
        let size = w.set(Class::F32, "abs.f32", &[&x]);
        // Within the formula's range whatever x and y are; what is not, is chosen below.
        let fits = w.set(Class::Pred, "setp.gt.f32", &[&size, &zero]);
        let fits = w.set(Class::Pred, "setp.lt.and.f32", &[&size, &infinity, &fits]);
        let exponent_size = w.set(Class::F32, "abs.f32", &[&y]);
        let fits = w.set(Class::Pred, "setp.lt.and.f32", &[&exponent_size, &infinity, &fits]);
        let base = w.set(Class::F32, "selp.f32", &[&size, &one, &fits]);
        let exponent = w.set(Class::F32, "selp.f32", &[&y, &one, &fits]);
        let wide_base = w.set(Class::F64, "cvt.f64.f32", &[&base]);
        let wide_exponent = w.set(Class::F64, "cvt.f64.f32", &[&exponent]);
        let power = formula(w, &pow_formula(), &[&wide_base, &wide_exponent], Class::F64);
        let power = w.set(Class::F32, "cvt.rn.f32.f64", &[&power]);
        // |x| is 0 or infinite, or y is infinite: the power is 0, 1 or infinite.
        let below_one = w.set(Class::Pred, "setp.lt.f32", &[&size, &one]);
        let is_one = w.set(Class::Pred, "setp.eq.f32", &[&size, &one]);
        let y_negative = w.set(Class::Pred, "setp.lt.f32", &[&y, &zero]);
        let shrinks = w.set(Class::Pred, "xor.pred", &[&below_one, &y_negative]);
        let extreme = w.set(Class::F32, "selp.f32", &[&zero, &infinity, &shrinks]);
        let extreme = w.set(Class::F32, "selp.f32", &[&one, &extreme, &is_one]);
        let value = w.set(Class::F32, "selp.f32", &[&power, &extreme, &fits]);
        // A negative base: the sign of an odd power, and no value of a broken one.
        let floor = w.set(Class::F32, "cvt.rmi.f32.f32", &[&y]);
        let whole = w.set(Class::Pred, "setp.eq.f32", &[&floor, &y]);
        let half = w.set(Class::F32, "mul.rn.f32", &[&y, &f32_literal(0.5)]);
        let half_floor = w.set(Class::F32, "cvt.rmi.f32.f32", &[&half]);
        let odd = w.set(Class::Pred, "setp.neu.f32", &[&half_floor, &half]);
        let odd = w.set(Class::Pred, "and.pred", &[&odd, &whole]);
        let bits = w.set(Class::B32, "mov.b32", &[&x]);
        let x_signed = w.set(Class::Pred, "setp.lt.s32", &[&bits, "0"]);
        let flips = w.set(Class::Pred, "and.pred", &[&odd, &x_signed]);
        let negated = w.set(Class::F32, "neg.f32", &[&value]);
        let value = w.set(Class::F32, "selp.f32", &[&negated, &value, &flips]);
        let broken = w.set(Class::Pred, "not.pred", &[&whole]);
        let broken = w.set(Class::Pred, "setp.lt.and.f32", &[&x, &zero, &broken]);
        let broken = w.set(Class::Pred, "setp.lt.and.f32", &[&size, &infinity, &broken]);
        let nan = w.set(Class::Pred, "setp.nan.or.f32", &[&x, &y, &broken]);
        let value = w.set(Class::F32, "selp.f32", &[&f32_literal(f32::NAN), &value, &nan]);
        // 1 to any power, and anything to the power 0.
        let always = w.set(Class::Pred, "setp.eq.f32", &[&y, &zero]);
        let always = w.set(Class::Pred, "setp.eq.or.f32", &[&x, &one, &always]);
        Ok(w.set(Class::F32, "selp.f32", &[&one, &value, &always]))
    }
}
