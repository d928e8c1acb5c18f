// show: launches
// Channels last: a row of x is 9 * 4 numbers long and begins 4 after the one before. The padding is a clip. Nothing is copied.
program convolution
size B batch
input x: real[B, 60, 4] per example
param w: real[9, 4, 32]
value y: real[B, 60, 32]

y[b < B, t < 60, f < 32] = sum[k < 9, c < 4] x[b, t + k - 4, c else 0] * w[k, c, f]
output y = y
----
contract y = x + (-16) * w {
  m b: B (out 1920, a 240, b 0)
  m t: 60 (out 32, a 4, b 0)
  n f: 32 (out 1, a 0, b 1)
  k k: 9 (out 0, a 4, b 128)
  k c: 4 (out 0, a 1, b 32)
  clip 1 * #1 + 1 * #3 + (-4) < 60;
} at "y" 0 0 0
