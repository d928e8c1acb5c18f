// pass: verify
// A sum is rounded by an equation of its own.
program types
param x: bf16[4]
value y: bf16

y = sum[t < 4] x[t]
----
invariant Types: `y` is bf16 but its body is not rounded (write `bf16(..)`)
