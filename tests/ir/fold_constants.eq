// pass: fold
// Exact identities only: `0 * x` stays, because x may be infinite.
program fold
param x: real[4]
value y: real[4]

y[i < 4] = 0 * x[i] + (x[i] * 1 + 0) / 1 - -(2 + 3) * pow(x[i], 2) + (if 2 > 1 then --x[i] else log(x[i]))
----
y[i < 4] = 0 * x[i] + x[i] - -5 * (x[i] * x[i]) + x[i]
