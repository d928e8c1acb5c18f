// pass: verify
// An f64 and a number of the working precision meet by a conversion only.
program types
param x: real[4]
param w: f64[4]
value y: f64[4]

y[t < 4] = x[t] * w[t]
----
invariant Types: Mul of Real and F64 (write `f64(..)`)
