// pass: differentiate loss by x w
// Two contractions: the weight gradient over overlapping views, the input gradient with a guarded read.
program convolution
size B batch
size T example
input x: real[B, T, 4] per example
param w: real[9, 4, 32]
input c: real[B, T - 8, 32] per example
value y: real[B, T - 8, 32]
value loss: real

y[b < B, t < T - 8, f < 32] = sum[k < 9, c1 < 4] x[b, t + k, c1] * w[k, c1, f]   // @0:1..2 convolution
loss = sum[b < B, t < T - 8, f < 32] y[b, t, f] * c[b, t, f]
----
d_x[b < B, t < T, c1 < 4] = sum[f < 32, k < 9] c[b, t - k, f else 0] * w[k, c1, f]   // @0:1..2 gradient of the convolution
d_w[k < 9, c1 < 4, f < 32] = sum[b < B, t < T - 8] c[b, t, f] * x[b, k + t, c1]   // @0:1..2 gradient of the convolution
