// show: launches
// The maximum and its place in one kernel; the gradient in two pieces, with relu's, on the rows of the contraction it comes from.
program pooling
size B batch
input h: real[B, 20, 8] per example
input dz: real[B, 6] per example
param w: real[6, 10, 8]
value p: real[B, 10, 8]
value a: i32[B, 10, 8]
value dp: real[B, 10, 8]
value dh: real[B, 20, 8]
value ds: real[B, 20, 8]

p[b < B, t < 10, c < 8] = max[k < 2] h[b, 2 * t + k, c]
a[b < B, t < 10, c < 8] = argmax.0[k < 2] h[b, 2 * t + k, c]
dp[b < B, t < 10, c < 8] = sum[f < 6] dz[b, f] * w[f, t, c]
dh[b, 2 * u, c for b < B, u < 10, c < 8] = sum[if 0 == a[b, u, c]] dp[b, u, c]
also dh[b, 2 * u + 1, c for b < B, u < 10, c < 8] = sum[if 1 == a[b, u, c]] dp[b, u, c]
ds[b < B, t < 20, c < 8] = if h[b, t, c] > 0 then dh[b, t, c] else 0
output p = p
output ds = ds
----
run p_a(h, p, a) at "p_a" 0 0 0
contract dp = dz * w {
  m b: B (out 80, a 6, b 0)
  n t_c: 80 (out 1, a 0, b 1)
  k f: 6 (out 0, a 1, b 80)
  then ds(h, a, dp, ds)
} at "dp" 0 0 0
