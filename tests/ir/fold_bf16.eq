// pass: fold
// Constants are rounded, what is rounded is not rounded again, and nothing else drops a rounding.
program fold
param x: real[4]
value y: real[4]
value z: real[4]

y[i < 4] = bf16(0.1) + bf16(257) * bf16(bf16(x[i])) + bf16(-bf16(x[i])) + bf16(if x[i] > 0 then bf16(x[i]) else 2)
z[i < 4] = bf16(x[i] * 1) + bf16(bf16(x[i]) + bf16(x[i]))
----
y[i < 4] = 0.10009765625 + 256 * bf16(x[i]) - bf16(x[i]) + (if x[i] > 0 then bf16(x[i]) else 2)
z[i < 4] = bf16(x[i]) + bf16(bf16(x[i]) + bf16(x[i]))
