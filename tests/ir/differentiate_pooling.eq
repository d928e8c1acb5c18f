// pass: differentiate loss by x
// The gradient of a maximum flows to the first winner only.
program pooling
param x: real[60, 4]
param g: real[30, 4]
value y: real[30, 4]
value loss: real

y[t < 30, c < 4] = max[k < 2] x[2 * t + k, c]
loss = sum[t < 30, c < 4] y[t, c] * g[t, c]
----
winner[t < 30, c < 4] = argmax.0[k < 2] x[2 * t + k, c]   // @0:0..0 gradient of the maximum
d_x[2 * t, c for t < 30, c < 4] = sum[if 0 == winner[t, c]] g[t, c]
also d_x[2 * t + 1, c for t < 30, c < 4] = sum[if 1 == winner[t, c]] g[t, c]   // @0:0..0 gradient of the maximum
