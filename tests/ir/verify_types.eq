// pass: verify
program types
param x: real[4]
input k: i32[4]
value y: real[4]

y[t < 4] = x[t] * k[t]
----
invariant Types: Mul of Real and Integer (write `real(..)`)
