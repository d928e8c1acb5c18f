// pass: differentiate loss by x
// A stride splits into phases with unit coefficients.
program convolution
size T built
param x: real[T, 4]
param w: real[3, 4, 8]
param g: real[(T - 1) / 2, 8]
value y: real[(T - 1) / 2, 8]
value loss: real

y[t < (T - 1) / 2, f < 8] = sum[k < 3, c < 4] x[2 * t + k, c] * w[k, c, f]
loss = sum[t < (T - 1) / 2, f < 8] y[t, f] * g[t, f]
----
d_x[2 * t, c for t < (T + 1) / 2, c < 4] = sum[f < 8, k < 2] g[t - k, f else 0] * w[2 * k, c, f]
also d_x[2 * t + 1, c for t < T / 2, c < 4] = sum[f < 8] g[t, f else 0] * w[1, c, f]   // @0:0..0 gradient of the sum
