//! How exact the products of contractions are. A plan means the same sums either way: this is said beside it, to whoever computes it.

/// How exact the products of contractions are. Everything else (weights, state, reductions, element-wise work) is of all digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Products {
    /// Of all digits.
    #[default]
    Exact,
    /// Of f32 rounded to 10 digits after the point (tf32; half away from zero), summed in f32. Of f64, of all digits. Tensor cores have it.
    Tf32,
    /// Of f32 rounded to 7 digits after the point (bf16; half to even), summed in f32. Of f64, of all digits.
    Bf16,
}
