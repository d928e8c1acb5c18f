// pass: tidy
// A filter that is the bounds of a read becomes its guard: the input gradient of a convolution is one guarded contraction.
program guard
size B batch
size T example
input dy: real[B, T - 8, 32]
param w: real[9, 4, 32]
value dx: real[B, T, 4]

dx[b < B, s < T, c < 4] = sum[k < 9, f < 32 if s - k >= 0 and T - 9 - s + k >= 0] dy[b, s - k, f] * w[k, c, f]
----
dx[b < B, s < T, c < 4] = sum[k < 9, f < 32] dy[b, s - k, f else 0] * w[k, c, f]
