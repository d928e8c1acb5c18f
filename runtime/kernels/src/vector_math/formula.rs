//! The functions as data: the steps that every implementation of [`Lanes`] goes through, one after the other.
//!
//! A back end that cannot call a slice function (a GPU) writes these steps instead; since each is exactly rounded everywhere, it gives the
//! same bits. Nothing is written twice: [`formula`] runs the function once on lanes that only take notes.
//!
//! ```text
//! sqrt:   0: argument 0    1: sqrt 0
//! ```
//!
//! Where a function has a short path for usual arguments and a long one for all, the steps are those of the long one, which
//! gives the same bits where both apply.

use super::lanes::Lanes;
use super::single::{self, Unary32};
use super::{Function, pow};
use std::cell::RefCell;
use std::marker::PhantomData;

/// The number of an earlier step, whose value is meant.
pub type At = u32;

/// One operation. Reals are f32 in the formula of a function, f64 in that of `pow`; integers are the bits of a real, as wide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The function's argument of this number.
    Argument(u32),
    /// A real constant, exact in the formula's type.
    Real(f64),
    Add(At, At),
    Sub(At, At),
    Mul(At, At),
    Div(At, At),
    Sqrt(At),
    /// `a * b + c`, rounded once.
    Fma(At, At, At),
    /// `c - a * b`, rounded once.
    Fnma(At, At, At),
    /// `if a < b { a } else { b }`
    Min(At, At),
    /// `if a > b { a } else { b }`
    Max(At, At),
    /// To the nearest integer, ties to even.
    Round(At),
    /// Truth: false where either is NaN, like the next two.
    Lt(At, At),
    Le(At, At),
    Equal(At, At),
    /// `mask ? a : b`
    Select(At, At, At),
    /// The integer of a real's bits.
    Bits(At),
    /// The real of these bits.
    FromBits(At),
    /// An integer constant.
    Int(u64),
    IntAdd(At, At),
    IntAnd(At, At),
    IntOr(At, At),
    /// Truth.
    IntIsZero(At),
    /// Shifts by the width of the mantissa field, filling with zeros.
    MantissaLeft(At),
    MantissaRight(At),
    /// `far ? sin(x + quarter pi/2) : y`, for an x too large for the steps before: computed in f64.
    FarTurn {
        x: At,
        y: At,
        far: At,
        quarter: u64,
    },
}

impl Step {
    /// The step with other numbers for the steps that it uses.
    fn map(self, mut at: impl FnMut(At) -> At) -> Step {
        match self {
            Step::Argument(_) | Step::Real(_) | Step::Int(_) => self,
            Step::Add(a, b) => Step::Add(at(a), at(b)),
            Step::Sub(a, b) => Step::Sub(at(a), at(b)),
            Step::Mul(a, b) => Step::Mul(at(a), at(b)),
            Step::Div(a, b) => Step::Div(at(a), at(b)),
            Step::Sqrt(a) => Step::Sqrt(at(a)),
            Step::Fma(a, b, c) => Step::Fma(at(a), at(b), at(c)),
            Step::Fnma(a, b, c) => Step::Fnma(at(a), at(b), at(c)),
            Step::Min(a, b) => Step::Min(at(a), at(b)),
            Step::Max(a, b) => Step::Max(at(a), at(b)),
            Step::Round(a) => Step::Round(at(a)),
            Step::Lt(a, b) => Step::Lt(at(a), at(b)),
            Step::Le(a, b) => Step::Le(at(a), at(b)),
            Step::Equal(a, b) => Step::Equal(at(a), at(b)),
            Step::Select(mask, a, b) => Step::Select(at(mask), at(a), at(b)),
            Step::Bits(a) => Step::Bits(at(a)),
            Step::FromBits(a) => Step::FromBits(at(a)),
            Step::IntAdd(a, b) => Step::IntAdd(at(a), at(b)),
            Step::IntAnd(a, b) => Step::IntAnd(at(a), at(b)),
            Step::IntOr(a, b) => Step::IntOr(at(a), at(b)),
            Step::IntIsZero(a) => Step::IntIsZero(at(a)),
            Step::MantissaLeft(a) => Step::MantissaLeft(at(a)),
            Step::MantissaRight(a) => Step::MantissaRight(at(a)),
            Step::FarTurn { x, y, far, quarter } => Step::FarTurn { x: at(x), y: at(y), far: at(far), quarter },
        }
    }
}

/// A function without branches: its value is that of the last step.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    pub steps: Vec<Step>,
}

/// The formula of an f32 function; `None` for those that are computed in f64 with loops (see `gamma.rs`).
pub fn formula(function: Function) -> Option<Formula> {
    Some(match function {
        Function::Exp => trace::<single::Exp>(),
        Function::Expm1 => trace::<single::Expm1>(),
        Function::Log => trace::<single::Log>(),
        Function::Log1p => trace::<single::Log1p>(),
        Function::Tanh => trace::<single::Tanh>(),
        Function::Sigmoid => trace::<single::Sigmoid>(),
        Function::Softplus => trace::<single::Softplus>(),
        Function::Erf => trace::<single::Erf>(),
        Function::Sin => trace::<single::Sin>(),
        Function::Cos => trace::<single::Cos>(),
        Function::Sqrt => trace::<single::Sqrt>(),
        Function::Rsqrt => trace::<single::Rsqrt>(),
        Function::Lgamma | Function::Digamma | Function::Trigamma => return None,
    })
}

/// `x^y` in f64 for two f32 held in f64, x positive and finite, y finite: arguments 0 and 1.
pub fn pow_formula() -> Formula {
    record(|| {
        let (x, y) = (Traced::<f64>::note(Step::Argument(0)), Traced::<f64>::note(Step::Argument(1)));
        pow::pow(x, y);
    })
}

fn trace<F: Unary32>() -> Formula {
    record(|| {
        F::eval(Traced::<f32>::note(Step::Argument(0)));
    })
}

thread_local! {
    static NOTES: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
}

fn record(function: impl FnOnce()) -> Formula {
    NOTES.with_borrow_mut(Vec::clear);
    function();
    Formula { steps: needed(&NOTES.with_borrow_mut(std::mem::take)) }
}

/// Only the steps that the last one needs: tests for unusual arguments are noted, and then always taken to hold.
fn needed(steps: &[Step]) -> Vec<Step> {
    let mut is_needed = vec![false; steps.len()];
    if let Some(last) = is_needed.last_mut() {
        *last = true;
    }
    for at in (0..steps.len()).rev() {
        if is_needed[at] {
            steps[at].map(|from| {
                is_needed[from as usize] = true;
                from
            });
        }
    }
    let mut number = vec![0; steps.len()];
    let mut kept = Vec::new();
    for (at, step) in steps.iter().enumerate().filter(|(at, _)| is_needed[*at]) {
        number[at] = kept.len() as At;
        kept.push(step.map(|from| number[from as usize]));
    }
    kept
}

fn note(step: Step) -> At {
    NOTES.with_borrow_mut(|notes| {
        // Constants are noted once.
        let known = notes.iter().position(|noted| match (*noted, step) {
            (Step::Real(x), Step::Real(y)) => x.to_bits() == y.to_bits(),
            (Step::Int(x), Step::Int(y)) => x == y,
            (_, _) => false,
        });
        known.unwrap_or_else(|| {
            notes.push(step);
            notes.len() - 1
        }) as At
    })
}

/// Lanes that hold no numbers: each operation notes itself.
#[derive(Clone, Copy)]
struct Traced<T>(At, PhantomData<T>);

#[derive(Clone, Copy)]
struct TracedInt(At);

#[derive(Clone, Copy)]
struct TracedMask(At);

impl<T> Traced<T> {
    fn note(step: Step) -> Traced<T> {
        Traced(note(step), PhantomData)
    }
}

macro_rules! traced_lanes {
    ($T:ty, $Int:ty, $mantissa:expr) => {
        impl Lanes for Traced<$T> {
            type Elem = $T;
            type Int = TracedInt;
            type Mask = TracedMask;
            const N: usize = 1;
            const SIGN: u64 = (-0.0 as $T).to_bits() as u64;
            const ONE: u64 = (1.0 as $T).to_bits() as u64;
            const MAGIC: u64 = (1.5 * (1u64 << $mantissa) as $T).to_bits() as u64;
            const TWO_POW_MANTISSA: u64 = ((1u64 << $mantissa) as $T).to_bits() as u64;

            unsafe fn load(_: *const $T) -> Self {
                unreachable!("a formula reads no memory")
            }
            unsafe fn store(self, _: *mut $T) {
                unreachable!("a formula writes no memory")
            }
            fn splat(x: $T) -> Self {
                Self::note(Step::Real(f64::from(x)))
            }
            fn add(self, b: Self) -> Self {
                Self::note(Step::Add(self.0, b.0))
            }
            fn sub(self, b: Self) -> Self {
                Self::note(Step::Sub(self.0, b.0))
            }
            fn mul(self, b: Self) -> Self {
                Self::note(Step::Mul(self.0, b.0))
            }
            fn div(self, b: Self) -> Self {
                Self::note(Step::Div(self.0, b.0))
            }
            fn sqrt(self) -> Self {
                Self::note(Step::Sqrt(self.0))
            }
            fn fma(self, b: Self, c: Self) -> Self {
                Self::note(Step::Fma(self.0, b.0, c.0))
            }
            fn fnma(self, b: Self, c: Self) -> Self {
                Self::note(Step::Fnma(self.0, b.0, c.0))
            }
            fn min(self, b: Self) -> Self {
                Self::note(Step::Min(self.0, b.0))
            }
            fn max(self, b: Self) -> Self {
                Self::note(Step::Max(self.0, b.0))
            }
            fn round(self) -> Self {
                Self::note(Step::Round(self.0))
            }
            fn lt(self, b: Self) -> TracedMask {
                TracedMask(note(Step::Lt(self.0, b.0)))
            }
            fn le(self, b: Self) -> TracedMask {
                TracedMask(note(Step::Le(self.0, b.0)))
            }
            fn equal(self, b: Self) -> TracedMask {
                TracedMask(note(Step::Equal(self.0, b.0)))
            }
            fn select(mask: TracedMask, a: Self, b: Self) -> Self {
                Self::note(Step::Select(mask.0, a.0, b.0))
            }
            fn set(_: TracedMask) -> u32 {
                unreachable!("a formula knows no lanes")
            }
            /// Any lane may be unusual: the long path.
            fn any(_: TracedMask) -> bool {
                true
            }
            fn all(_: TracedMask) -> bool {
                false
            }
            fn bits(self) -> TracedInt {
                TracedInt(note(Step::Bits(self.0)))
            }
            fn from_bits(bits: TracedInt) -> Self {
                Self::note(Step::FromBits(bits.0))
            }
            fn int(x: u64) -> TracedInt {
                TracedInt(note(Step::Int(u64::from(x as $Int))))
            }
            fn int_add(a: TracedInt, b: TracedInt) -> TracedInt {
                TracedInt(note(Step::IntAdd(a.0, b.0)))
            }
            fn int_and(a: TracedInt, b: TracedInt) -> TracedInt {
                TracedInt(note(Step::IntAnd(a.0, b.0)))
            }
            fn int_or(a: TracedInt, b: TracedInt) -> TracedInt {
                TracedInt(note(Step::IntOr(a.0, b.0)))
            }
            fn int_is_zero(a: TracedInt) -> TracedMask {
                TracedMask(note(Step::IntIsZero(a.0)))
            }
            fn mantissa_left(a: TracedInt) -> TracedInt {
                TracedInt(note(Step::MantissaLeft(a.0)))
            }
            fn mantissa_right(a: TracedInt) -> TracedInt {
                TracedInt(note(Step::MantissaRight(a.0)))
            }
            fn note_far_turn(x: Self, y: Self, far: TracedMask, quarter: u64) -> Option<Self> {
                Some(Self::note(Step::FarTurn { x: x.0, y: y.0, far: far.0, quarter }))
            }
        }
    };
}
traced_lanes!(f32, u32, 23);
traced_lanes!(f64, u64, 52);

impl Formula {
    /// The value in plain Rust: what a back end's code must give, for tests. `f32` formulas only.
    pub fn evaluate_f32(&self, x: f32) -> f32 {
        // Reals and integers as bits, truth as 0 and 1.
        let mut values: Vec<u32> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let bits = |at: At| values[at as usize];
            let real = |at: At| f32::from_bits(values[at as usize]);
            let value = match *step {
                Step::Argument(_) => x.to_bits(),
                Step::Real(x) => (x as f32).to_bits(),
                Step::Add(a, b) => (real(a) + real(b)).to_bits(),
                Step::Sub(a, b) => (real(a) - real(b)).to_bits(),
                Step::Mul(a, b) => (real(a) * real(b)).to_bits(),
                Step::Div(a, b) => (real(a) / real(b)).to_bits(),
                Step::Sqrt(a) => real(a).sqrt().to_bits(),
                Step::Fma(a, b, c) => real(a).mul_add(real(b), real(c)).to_bits(),
                Step::Fnma(a, b, c) => (-real(a)).mul_add(real(b), real(c)).to_bits(),
                Step::Min(a, b) => (if real(a) < real(b) { real(a) } else { real(b) }).to_bits(),
                Step::Max(a, b) => (if real(a) > real(b) { real(a) } else { real(b) }).to_bits(),
                Step::Round(a) => real(a).round_ties_even().to_bits(),
                Step::Lt(a, b) => u32::from(real(a) < real(b)),
                Step::Le(a, b) => u32::from(real(a) <= real(b)),
                Step::Equal(a, b) => u32::from(real(a) == real(b)),
                Step::Select(mask, a, b) => bits(if bits(mask) != 0 { a } else { b }),
                Step::Bits(a) | Step::FromBits(a) => bits(a),
                Step::Int(x) => x as u32,
                Step::IntAdd(a, b) => bits(a).wrapping_add(bits(b)),
                Step::IntAnd(a, b) => bits(a) & bits(b),
                Step::IntOr(a, b) => bits(a) | bits(b),
                Step::IntIsZero(a) => u32::from(bits(a) == 0),
                Step::MantissaLeft(a) => bits(a) << 23,
                Step::MantissaRight(a) => bits(a) >> 23,
                Step::FarTurn { x, y, far, quarter } => {
                    let turned = if quarter == 0 { libm::sin } else { libm::cos };
                    if bits(far) != 0 { (turned(f64::from(real(x))) as f32).to_bits() } else { bits(y) }
                }
            };
            values.push(value);
        }
        values.last().map_or(f32::NAN, |bits| f32::from_bits(*bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_gives_the_bits_of_its_function() {
        let special = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1e-40,
            -1e-40,
            3e38,
            88.0,
            -104.5,
            1e5,
            -3e7,
        ];
        let spread = (0..20_000u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9)));
        let near = (0..4000).map(|i| (i - 2000) as f32 * 0.01);
        let xs: Vec<f32> = special.into_iter().chain(spread).chain(near).collect();
        for function in Function::ALL {
            let Some(formula) = formula(function) else { continue };
            let mut expected = vec![0.0; xs.len()];
            // SAFETY: both slices hold as many elements.
            unsafe { super::super::unary_f32(function)(xs.len(), xs.as_ptr(), expected.as_mut_ptr()) };
            for (x, y) in xs.iter().zip(&expected) {
                let found = formula.evaluate_f32(*x);
                let alike = found.to_bits() == y.to_bits() || found.is_nan() && y.is_nan();
                assert!(alike, "{} of {x:e} is {y:e}, the formula gives {found:e}", function.name());
            }
        }
    }
}
