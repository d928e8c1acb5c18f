// show: launches
// By the input of a convolution over a map: the lines of the window stay apart, but along a line taps and channels run together, so w is copied
// in reverse here too.
program convolution2d_gradient
size B batch
input dy: real[B, 20, 30, 32] per example
param w: real[3, 3, 16, 32]
value dx: real[B, 20, 30, 16]

dx[b < B, h < 20, v < 30, c < 16] = sum[f < 32, i < 3, j < 3] dy[b, h - i + 1, v - j + 1, f else 0] * w[i, j, c, f]
output dx = dx
----
run w_repacked(w, w_repacked) at "w_repacked" 0 0 0
contract dx = dy + (-992) * w_repacked {
  m b: B (out 9600, a 19200, b 0)
  m h: 20 (out 480, a 960, b 0)
  m v: 30 (out 16, a 32, b 0)
  n c: 16 (out 1, a 0, b 1)
  k i: 3 (out 0, a 960, b 1536)
  k j: 3 (out 0, a 32, b 512)
  k f: 32 (out 0, a 1, b 16)
  clip 1 * #1 + 1 * #4 + (-1) < 20;
  clip 1 * #2 + 1 * #5 + (-1) < 30;
} at "dx" 0 0 0
