// show: launches
// By the weights: sums over examples and positions. By the input: the sum walks backwards through dy, so w is copied in reverse and
// the taps and channels run together.
program convolution_gradient
size B batch
input x: real[B, 60, 8] per example
input dy: real[B, 60, 32] per example
param w: real[9, 8, 32]
value dw: real[9, 8, 32]
value dx: real[B, 60, 8]

dw[k < 9, c < 8, f < 32] = sum[b < B, t < 60] dy[b, t, f] * x[b, t + k - 4, c else 0]
dx[b < B, t < 60, c < 8] = sum[k < 9, f < 32] dy[b, t - k + 4, f else 0] * w[k, c, f]
output dw = dw
output dx = dx
----
contract dw = x + (-32) * dy {
  m k: 9 (out 256, a 8, b 0)
  m c: 8 (out 32, a 1, b 0)
  n f: 32 (out 1, a 0, b 1)
  k b: B (out 0, a 480, b 1920)
  k t: 60 (out 0, a 8, b 32)
  clip 1 * #0 + 1 * #4 + (-4) < 60;
} at "dw" 0 0 0
run w_repacked(w, w_repacked) at "w_repacked" 0 0 0
contract dx = dy + (-128) * w_repacked {
  m b: B (out 480, a 1920, b 0)
  m t: 60 (out 8, a 32, b 0)
  n c: 8 (out 1, a 0, b 1)
  k k: 9 (out 0, a 32, b 256)
  k f: 32 (out 0, a 1, b 8)
  clip 1 * #1 + 1 * #3 + (-4) < 60;
} at "dx" 0 0 0
