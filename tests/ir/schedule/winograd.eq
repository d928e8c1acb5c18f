// show: launches of f32
// Images of enough channels are computed with 16 products for 36, and so are both derivatives; not what has few channels (w2), few positions (y3)
// or other taps (w4). Without padding (y5) taps and channels stay apart all the same.
program winograd
size B batch
input x: real[B, 20, 30, 32] per example
input dy: real[B, 20, 30, 24] per example
input small: real[B, 7, 7, 64] per example
param w: real[3, 3, 32, 24]
param w2: real[3, 3, 32, 16]
param w3: real[3, 3, 64, 64]
param w4: real[5, 3, 32, 32]
value y: real[B, 20, 30, 24]
value dw: real[3, 3, 32, 24]
value dx: real[B, 20, 30, 32]
value y2: real[B, 20, 30, 16]
value y3: real[B, 7, 7, 64]
value y4: real[B, 20, 30, 32]
value y5: real[B, 18, 28, 24]

y[b < B, h < 20, v < 30, f < 24] = sum[i < 3, j < 3, c < 32] x[b, h + i - 1, v + j - 1, c else 0] * w[i, j, c, f]
dw[i < 3, j < 3, c < 32, f < 24] = sum[b < B, h < 20, v < 30] x[b, h + i - 1, v + j - 1, c else 0] * dy[b, h, v, f]
dx[b < B, h < 20, v < 30, c < 32] = sum[f < 24, i < 3, j < 3] dy[b, h - i + 1, v - j + 1, f else 0] * w[i, j, c, f]
y2[b < B, h < 20, v < 30, f < 16] = sum[i < 3, j < 3, c < 32] x[b, h + i - 1, v + j - 1, c else 0] * w2[i, j, c, f]
y3[b < B, h < 7, v < 7, f < 64] = sum[i < 3, j < 3, c < 64] small[b, h + i - 1, v + j - 1, c else 0] * w3[i, j, c, f]
y4[b < B, h < 20, v < 30, f < 32] = sum[i < 5, j < 3, c < 32] x[b, h + i - 2, v + j - 1, c else 0] * w4[i, j, c, f]
y5[b < B, h < 18, v < 28, f < 24] = sum[i < 3, j < 3, c < 32] x[b, h + i, v + j, c] * w[i, j, c, f]
output y = y
output dw = dw
output dx = dx
output y2 = y2
output y3 = y3
output y4 = y4
output y5 = y5
----
contract y = x + (-992) * w {
  m b: B (out 14400, a 19200, b 0)
  m h: 20 (out 720, a 960, b 0)
  m v: 30 (out 24, a 32, b 0)
  n f: 24 (out 1, a 0, b 1)
  k i: 3 (out 0, a 960, b 2304)
  k j: 3 (out 0, a 32, b 768)
  k c: 32 (out 0, a 1, b 24)
  clip 1 * #1 + 1 * #4 + (-1) < 20;
  clip 1 * #2 + 1 * #5 + (-1) < 30;
  winograd
} at "y" 0 0 0
contract dw = x + (-992) * dy {
  m i: 3 (out 2304, a 960, b 0)
  m j: 3 (out 768, a 32, b 0)
  m c: 32 (out 24, a 1, b 0)
  n f: 24 (out 1, a 0, b 1)
  k b: B (out 0, a 19200, b 14400)
  k h: 20 (out 0, a 960, b 720)
  k v: 30 (out 0, a 32, b 24)
  clip 1 * #0 + 1 * #5 + (-1) < 20;
  clip 1 * #1 + 1 * #6 + (-1) < 30;
  winograd
} at "dw" 0 0 0
run w_repacked(w, w_repacked) at "w_repacked" 0 0 0
contract dx = dy + (-744) * w_repacked {
  m b: B (out 19200, a 14400, b 0)
  m h: 20 (out 960, a 720, b 0)
  m v: 30 (out 32, a 24, b 0)
  n c: 32 (out 1, a 0, b 1)
  k i: 3 (out 0, a 720, b 2304)
  k j: 3 (out 0, a 24, b 768)
  k f: 24 (out 0, a 1, b 32)
  clip 1 * #1 + 1 * #4 + (-1) < 20;
  clip 1 * #2 + 1 * #5 + (-1) < 30;
  winograd
} at "dx" 0 0 0
contract y2 = x + (-992) * w2 {
  m b: B (out 9600, a 19200, b 0)
  m h: 20 (out 480, a 960, b 0)
  m v: 30 (out 16, a 32, b 0)
  n f: 16 (out 1, a 0, b 1)
  k i: 3 (out 0, a 960, b 1536)
  k j: 3 (out 0, a 32, b 512)
  k c: 32 (out 0, a 1, b 16)
  clip 1 * #1 + 1 * #4 + (-1) < 20;
  clip 1 * #2 + 1 * #5 + (-1) < 30;
} at "y2" 0 0 0
contract y3 = small + (-512) * w3 {
  m b: B (out 3136, a 3136, b 0)
  m h: 7 (out 448, a 448, b 0)
  m v: 7 (out 64, a 64, b 0)
  n f: 64 (out 1, a 0, b 1)
  k i: 3 (out 0, a 448, b 12288)
  k j: 3 (out 0, a 64, b 4096)
  k c: 64 (out 0, a 1, b 64)
  clip 1 * #1 + 1 * #4 + (-1) < 7;
  clip 1 * #2 + 1 * #5 + (-1) < 7;
} at "y3" 0 0 0
contract y4 = x + (-1952) * w4 {
  m b: B (out 19200, a 19200, b 0)
  m h: 20 (out 960, a 960, b 0)
  m v: 30 (out 32, a 32, b 0)
  n f: 32 (out 1, a 0, b 1)
  k i: 5 (out 0, a 960, b 3072)
  k j: 3 (out 0, a 32, b 1024)
  k c: 32 (out 0, a 1, b 32)
  clip 1 * #1 + 1 * #4 + (-2) < 20;
  clip 1 * #2 + 1 * #5 + (-1) < 30;
} at "y4" 0 0 0
contract y5 = x * w {
  m b: B (out 12096, a 19200, b 0)
  m h: 18 (out 672, a 960, b 0)
  m v: 28 (out 24, a 32, b 0)
  n f: 24 (out 1, a 0, b 1)
  k i: 3 (out 0, a 960, b 2304)
  k j: 3 (out 0, a 32, b 768)
  k c: 32 (out 0, a 1, b 24)
  winograd
} at "y5" 0 0 0
