// show: launches of f32
// By the input of a convolution over maps whose sides are an example's own: the filter is copied in reverse here too, and 16 products stand for 36.
program ragged_map_gradient
size B batch
size T example
input dy: real[B, T, T, 32] per example
param w: real[3, 3, 24, 32]
value dx: real[B, T, T, 24]

dx[b < B, h < T, v < T, c < 24] = sum[f < 32, i < 3, j < 3] dy[b, h - i + 1, v - j + 1, f else 0] * w[i, j, c, f]
output dx = dx
----
run w_repacked(w, w_repacked) at "w_repacked" 0 0 0
contract dx = dy + (-32 * T - 32) * w_repacked {
  batch b: B (out 24, a 32, b 0) offsets offsets_TT
  m h: T (out 24 * T, a 32 * T, b 0)
  m v: T (out 24, a 32, b 0)
  n c: 24 (out 1, a 0, b 1)
  k i: 3 (out 0, a 32 * T, b 2304)
  k j: 3 (out 0, a 32, b 768)
  k f: 32 (out 0, a 1, b 24)
  clip 1 * #1 + 1 * #4 + (-1) < T;
  clip 1 * #2 + 1 * #5 + (-1) < T;
  winograd
} at "dx" 0 0 0
