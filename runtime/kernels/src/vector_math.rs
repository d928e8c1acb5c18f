//! Functions of slices: `y[i] = f(x[i])`, the bits independent of instruction set, slice length and position in the slice.
//!
//! Generated code calls the raw entries ([`entry`]); Rust code the safe slice functions (`exp_f32`, `exp_f64`, ...).

use crate::Float;

/// A function of one or two inputs that exists as a slice kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    Exp,
    Expm1,
    Log,
    Log1p,
    Tanh,
    Sigmoid,
    Erf,
    Sin,
    Cos,
    Sqrt,
    Rsqrt,
    Softplus,
    Lgamma,
    Digamma,
    Pow,
}

impl Function {
    pub const ALL: [Function; 15] = [
        Function::Exp,
        Function::Expm1,
        Function::Log,
        Function::Log1p,
        Function::Tanh,
        Function::Sigmoid,
        Function::Erf,
        Function::Sin,
        Function::Cos,
        Function::Sqrt,
        Function::Rsqrt,
        Function::Softplus,
        Function::Lgamma,
        Function::Digamma,
        Function::Pow,
    ];

    /// The name in plans and in [`entry`].
    pub fn name(self) -> &'static str {
        match self {
            Function::Exp => "exp",
            Function::Expm1 => "expm1",
            Function::Log => "log",
            Function::Log1p => "log1p",
            Function::Tanh => "tanh",
            Function::Sigmoid => "sigmoid",
            Function::Erf => "erf",
            Function::Sin => "sin",
            Function::Cos => "cos",
            Function::Sqrt => "sqrt",
            Function::Rsqrt => "rsqrt",
            Function::Softplus => "softplus",
            Function::Lgamma => "lgamma",
            Function::Digamma => "digamma",
            Function::Pow => "pow",
        }
    }

    pub fn from_name(name: &str) -> Option<Function> {
        Function::ALL.into_iter().find(|f| f.name() == name)
    }

    /// How many inputs: 2 for `pow`, 1 for all others.
    pub fn inputs(self) -> usize {
        if self == Function::Pow { 2 } else { 1 }
    }
}

/// `y[i] = f(x[i])` for i < n; `y` may be `x`, but not otherwise overlap it.
pub type Unary<T> = unsafe extern "C" fn(n: usize, x: *const T, y: *mut T);
/// `z[i] = f(x[i], y[i])` for i < n; `z` may be `x` or `y`, but not otherwise overlap them.
pub type Binary<T> = unsafe extern "C" fn(n: usize, x: *const T, y: *const T, z: *mut T);

fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}
fn digamma(mut x: f64) -> f64 {
    let mut result = 0.0;
    while x < 10.0 {
        result -= 1.0 / x;
        x += 1.0;
    }
    let t = 1.0 / (x * x);
    result + libm::log(x) - 0.5 / x - t * (1.0 / 12.0 - t * (1.0 / 120.0 - t * (1.0 / 252.0 - t * (1.0 / 240.0))))
}

macro_rules! unary {
    ($($variant:ident $name32:ident $name64:ident $f:expr;)*) => {
        $(
            #[doc = concat!("`y[i] = ", stringify!($variant), "(x[i])`. Panics if the lengths differ.")]
            pub fn $name32(x: &[f32], y: &mut [f32]) {
                assert_eq!(x.len(), y.len());
                for (x, y) in x.iter().zip(y) { *y = $f(f64::from(*x)) as f32; }
            }
            #[doc = concat!("`y[i] = ", stringify!($variant), "(x[i])`. Panics if the lengths differ.")]
            pub fn $name64(x: &[f64], y: &mut [f64]) {
                assert_eq!(x.len(), y.len());
                for (x, y) in x.iter().zip(y) { *y = $f(*x); }
            }
        )*
        fn unary_entry(function: Function, float: Float) -> Option<*const u8> {
            match function {
                $(Function::$variant => {
                    unsafe extern "C" fn run32(n: usize, x: *const f32, y: *mut f32) {
                        // SAFETY: `Unary`'s contract.
                        for i in 0..n { unsafe { *y.add(i) = $f(f64::from(*x.add(i))) as f32; } }
                    }
                    unsafe extern "C" fn run64(n: usize, x: *const f64, y: *mut f64) {
                        // SAFETY: `Unary`'s contract.
                        for i in 0..n { unsafe { *y.add(i) = $f(*x.add(i)); } }
                    }
                    Some(match float { Float::F32 => run32 as Unary<f32> as *const u8, Float::F64 => run64 as Unary<f64> as *const u8 })
                })*
                Function::Pow => None,
            }
        }
    };
}
unary! {
    Exp exp_f32 exp_f64 libm::exp;
    Expm1 expm1_f32 expm1_f64 libm::expm1;
    Log log_f32 log_f64 libm::log;
    Log1p log1p_f32 log1p_f64 libm::log1p;
    Tanh tanh_f32 tanh_f64 libm::tanh;
    Sigmoid sigmoid_f32 sigmoid_f64 sigmoid;
    Erf erf_f32 erf_f64 libm::erf;
    Sin sin_f32 sin_f64 libm::sin;
    Cos cos_f32 cos_f64 libm::cos;
    Sqrt sqrt_f32 sqrt_f64 libm::sqrt;
    Rsqrt rsqrt_f32 rsqrt_f64 |x: f64| 1.0 / x.sqrt();
    Softplus softplus_f32 softplus_f64 softplus;
    Lgamma lgamma_f32 lgamma_f64 libm::lgamma;
    Digamma digamma_f32 digamma_f64 digamma;
}

unsafe extern "C" fn pow_run32(n: usize, x: *const f32, y: *const f32, z: *mut f32) {
    for i in 0..n {
        // SAFETY: `Binary`'s contract.
        unsafe { *z.add(i) = libm::pow(f64::from(*x.add(i)), f64::from(*y.add(i))) as f32 }
    }
}
unsafe extern "C" fn pow_run64(n: usize, x: *const f64, y: *const f64, z: *mut f64) {
    for i in 0..n {
        // SAFETY: `Binary`'s contract.
        unsafe { *z.add(i) = libm::pow(*x.add(i), *y.add(i)) }
    }
}

/// The address generated code calls: a [`Unary`] (or for `pow` a [`Binary`]) of the element type, for the instruction set
/// current on this thread. None for an unknown name.
pub fn entry(name: &str, float: Float) -> Option<*const u8> {
    match (Function::from_name(name)?, float) {
        (Function::Pow, Float::F32) => Some(pow_run32 as Binary<f32> as *const u8),
        (Function::Pow, Float::F64) => Some(pow_run64 as Binary<f64> as *const u8),
        (function, float) => unary_entry(function, float),
    }
}
