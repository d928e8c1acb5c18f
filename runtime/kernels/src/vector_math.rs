//! Functions of slices: `y[i] = f(x[i])`, the bits independent of instruction set, slice length and position in the slice.
//!
//! Generated code gets addresses from [`entry`]; Rust code calls the safe slice functions (`exp_f32`, `exp_f64`, ...).
//!
//! | function | largest error in f32 | special values |
//! |---|---|---|
//! | `exp`, `expm1` | 1.1, 1.5 ulp | expm1(±0) = ±0 |
//! | `log`, `log1p` | 1.0, 1.5 ulp | log 0 = -inf, log of a negative = NaN |
//! | `tanh`, `sigmoid`, `softplus` | 1.4, 2.2, 1.8 ulp | tanh(±0) = ±0 |
//! | `erf` | 1.1 ulp | erf(±inf) = ±1 |
//! | `sin`, `cos` | 1.6 ulp | NaN at ±inf; above 10⁵ one element at a time |
//! | `sqrt`, `rsqrt` | 0.5, 1.5 ulp | sqrt(-0) = -0 |
//! | `pow` | 0.51 ulp | as C99 |
//! | `lgamma`, `digamma`, `trigamma` | 0.6 ulp, near zeros absolute 1e-15 | see `gamma.rs` |
//!
//! NaN arguments give NaN (its sign and payload are not promised), subnormals are arguments and results like any other.
//! In f64 the errors are at most 3 ulp. The formulas stand with each function in `vector_math/`; `lanes.rs` says why
//! every width agrees.

use crate::Float;

mod double;
pub mod formula;
mod gamma;
pub(crate) mod lanes;
mod pow;
mod run;
mod single;

/// A function of one argument that exists as a slice kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    Exp,
    Expm1,
    Log,
    Log1p,
    Tanh,
    Sigmoid,
    Softplus,
    Erf,
    Sin,
    Cos,
    Sqrt,
    Rsqrt,
    Lgamma,
    Digamma,
    Trigamma,
}

impl Function {
    pub const ALL: [Function; 15] = [
        Function::Exp,
        Function::Expm1,
        Function::Log,
        Function::Log1p,
        Function::Tanh,
        Function::Sigmoid,
        Function::Softplus,
        Function::Erf,
        Function::Sin,
        Function::Cos,
        Function::Sqrt,
        Function::Rsqrt,
        Function::Lgamma,
        Function::Digamma,
        Function::Trigamma,
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
            Function::Softplus => "softplus",
            Function::Erf => "erf",
            Function::Sin => "sin",
            Function::Cos => "cos",
            Function::Sqrt => "sqrt",
            Function::Rsqrt => "rsqrt",
            Function::Lgamma => "lgamma",
            Function::Digamma => "digamma",
            Function::Trigamma => "trigamma",
        }
    }

    pub fn from_name(name: &str) -> Option<Function> {
        Function::ALL.into_iter().find(|f| f.name() == name)
    }
}

/// `y[i] = f(x[i])` for i < n, all n elements readable and writable; `y` may be `x`, but not otherwise overlap it.
pub type Unary<T> = unsafe extern "C" fn(n: usize, x: *const T, y: *mut T);
/// `z[i] = f(x[i], y[i])` for i < n, as [`Unary`]; `z` may be `x` or `y`, but not otherwise overlap them.
pub type Binary<T> = unsafe extern "C" fn(n: usize, x: *const T, y: *const T, z: *mut T);

/// The address generated code calls: a [`Unary`] of the element type, or a [`Binary`] for "pow". None for a name that is
/// not in the table above. The instruction set is the one current on this thread now, not when the address is called.
pub fn entry(name: &str, float: Float) -> Option<*const u8> {
    if name == "pow" {
        return Some(match float {
            Float::F32 => pow_entry_f32() as *const u8,
            Float::F64 => pow_entry_f64() as *const u8,
        });
    }
    let function = Function::from_name(name)?;
    Some(match float {
        Float::F32 => unary_f32(function) as *const u8,
        Float::F64 => unary_f64(function) as *const u8,
    })
}

/// How many arguments the function of [`entry`] has.
pub fn arguments(name: &str) -> Option<usize> {
    if name == "pow" { Some(2) } else { Function::from_name(name).map(|_| 1) }
}

/// The f32 kernel of a function.
pub fn unary_f32(function: Function) -> Unary<f32> {
    match function {
        Function::Exp => run::unary32::<single::Exp>(),
        Function::Expm1 => run::unary32::<single::Expm1>(),
        Function::Log => run::unary32::<single::Log>(),
        Function::Log1p => run::unary32::<single::Log1p>(),
        Function::Tanh => run::unary32::<single::Tanh>(),
        Function::Sigmoid => run::unary32::<single::Sigmoid>(),
        Function::Softplus => run::unary32::<single::Softplus>(),
        Function::Erf => run::unary32::<single::Erf>(),
        Function::Sin => run::unary32::<single::Sin>(),
        Function::Cos => run::unary32::<single::Cos>(),
        Function::Sqrt => run::unary32::<single::Sqrt>(),
        Function::Rsqrt => run::unary32::<single::Rsqrt>(),
        Function::Lgamma => run::lgamma32,
        Function::Digamma => run::digamma32,
        Function::Trigamma => run::trigamma32,
    }
}

/// The f64 kernel of a function.
pub fn unary_f64(function: Function) -> Unary<f64> {
    match function {
        Function::Exp => run::unary64::<double::Exp>(),
        Function::Expm1 => run::unary64::<double::Expm1>(),
        Function::Log => run::unary64::<double::Log>(),
        Function::Log1p => run::unary64::<double::Log1p>(),
        Function::Tanh => run::unary64::<double::Tanh>(),
        Function::Sigmoid => run::unary64::<double::Sigmoid>(),
        Function::Softplus => run::unary64::<double::Softplus>(),
        Function::Erf => run::unary64::<double::Erf>(),
        Function::Sin => run::unary64::<double::Sin>(),
        Function::Cos => run::unary64::<double::Cos>(),
        Function::Sqrt => run::unary64::<double::Sqrt>(),
        Function::Rsqrt => run::unary64::<double::Rsqrt>(),
        Function::Lgamma => run::lgamma64,
        Function::Digamma => run::digamma64,
        Function::Trigamma => run::trigamma64,
    }
}

/// The f32 kernel of `pow`.
pub fn pow_entry_f32() -> Binary<f32> {
    run::pow32()
}

/// The f64 kernel of `pow`.
pub fn pow_entry_f64() -> Binary<f64> {
    run::pow64
}

/// A safe function of slices for each kernel.
macro_rules! slice_functions {
    ($($f32:ident $f64:ident $Function:ident $what:literal;)*) => {$(
        #[doc = concat!("`y[i] = ", $what, "` in f32.\n\n# Panics\nIf the lengths differ.")]
        pub fn $f32(x: &[f32], y: &mut [f32]) {
            assert_eq!(x.len(), y.len(), "as many results as arguments");
            // SAFETY: both slices hold n elements, and a shared and a unique borrow do not overlap.
            unsafe { unary_f32(Function::$Function)(x.len(), x.as_ptr(), y.as_mut_ptr()) }
        }
        #[doc = concat!("`y[i] = ", $what, "` in f64.\n\n# Panics\nIf the lengths differ.")]
        pub fn $f64(x: &[f64], y: &mut [f64]) {
            assert_eq!(x.len(), y.len(), "as many results as arguments");
            // SAFETY: as above.
            unsafe { unary_f64(Function::$Function)(x.len(), x.as_ptr(), y.as_mut_ptr()) }
        }
    )*};
}
slice_functions! {
    exp_f32 exp_f64 Exp "e^x[i]";
    expm1_f32 expm1_f64 Expm1 "e^x[i] - 1";
    log_f32 log_f64 Log "log x[i]";
    log1p_f32 log1p_f64 Log1p "log(1 + x[i])";
    tanh_f32 tanh_f64 Tanh "tanh x[i]";
    sigmoid_f32 sigmoid_f64 Sigmoid "1 / (1 + e^-x[i])";
    softplus_f32 softplus_f64 Softplus "log(1 + e^x[i])";
    erf_f32 erf_f64 Erf "erf x[i]";
    sin_f32 sin_f64 Sin "sin x[i]";
    cos_f32 cos_f64 Cos "cos x[i]";
    sqrt_f32 sqrt_f64 Sqrt "sqrt x[i]";
    rsqrt_f32 rsqrt_f64 Rsqrt "1 / sqrt x[i]";
    lgamma_f32 lgamma_f64 Lgamma "log |gamma(x[i])|";
    digamma_f32 digamma_f64 Digamma "digamma(x[i])";
    trigamma_f32 trigamma_f64 Trigamma "trigamma(x[i])";
}

/// `z[i] = x[i]^y[i]` in f32.
///
/// # Panics
/// If the lengths differ.
pub fn pow_f32(x: &[f32], y: &[f32], z: &mut [f32]) {
    assert!(x.len() == y.len() && x.len() == z.len(), "as many results as arguments");
    // SAFETY: all slices hold n elements, and shared and unique borrows do not overlap.
    unsafe { pow_entry_f32()(x.len(), x.as_ptr(), y.as_ptr(), z.as_mut_ptr()) }
}

/// `z[i] = x[i]^y[i]` in f64.
///
/// # Panics
/// If the lengths differ.
pub fn pow_f64(x: &[f64], y: &[f64], z: &mut [f64]) {
    assert!(x.len() == y.len() && x.len() == z.len(), "as many results as arguments");
    // SAFETY: as above.
    unsafe { pow_entry_f64()(x.len(), x.as_ptr(), y.as_ptr(), z.as_mut_ptr()) }
}

#[cfg(test)]
mod tests;
