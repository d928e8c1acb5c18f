// pass: verify
// What is stored as a bf16 is rounded before, so that it is the same number for who reads it and for who computes it in place.
program types
param x: bf16[4]
value y: bf16[4]

y[t < 4] = x[t] * x[t]
----
invariant Types: `y` is bf16 but its body is not rounded (write `bf16(..)`)
