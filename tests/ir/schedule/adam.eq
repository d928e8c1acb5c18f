// show: launches
// The gradient of a dense layer and its whole update in one launch, in place.
program adam
size B batch
input x: real[B, 100] per example
input dy: real[B, 64] per example
param w: real[100, 64]
state m: real[100, 64]
state v: real[100, 64]
value g: real[100, 64]
value m2: real[100, 64]
value v2: real[100, 64]
value w2: real[100, 64]

g[c < 100, f < 64] = sum[b < B] x[b, c] * dy[b, f]
m2[c < 100, f < 64] = 0.9 * m[c, f] + 0.1 * g[c, f]
v2[c < 100, f < 64] = 0.999 * v[c, f] + 0.001 * g[c, f] * g[c, f]
w2[c < 100, f < 64] = w[c, f] - 0.01 * m2[c, f] / (sqrt(v2[c, f]) + 1e-8)
update w = w2
update m = m2
update v = v2
----
contract g = x * dy {
  m c: 100 (out 64, a 1, b 0)
  n f: 64 (out 1, a 0, b 1)
  k b: B (out 0, a 100, b 64)
  then m2_v2_w2(m, g, v, w)
} at "g" 0 0 0
