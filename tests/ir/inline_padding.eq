// pass: inline
// Padding and slicing as tensors of their own are read through.
program padding
param x: real[10]
value p: real[14]
value s: real[6]
value y: real[6]

p[t < 14] = x[t - 2 else 0]
s[t < 6] = p[2 * t + 1]
y[t < 6] = s[5 - t] + p[t]
----
p[t < 14] = x[t - 2 else 0]
s[t < 6] = x[2 * t - 1 else 0]
y[t < 6] = x[-2 * t + 9 else 0] + x[t - 2 else 0]
