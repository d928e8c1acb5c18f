// show: kernels
// Bias and relu run on the rows of the contraction while they are in cache, and lie where its result did.
program dense
size B batch
input x: real[B, 100] per example
param w: real[100, 64]
param v: real[64]
value s: real[B, 64]
value h: real[B, 64]
value y: real[B, 64]

s[b < B, f < 64] = sum[c < 100] x[b, c] * w[c, f]
h[b < B, f < 64] = s[b, f] + v[f]
y[b < B, f < 64] = if h[b, f] > 0 then h[b, f] else 0
output y = y
----
kernel y(s: f64 update, v: f64 read) sizes(B) indices(row, f) {
  for row in B {
    %0: f64 = const 0.0
    for f in 0..64 lanes {
      %1: f64 = load s[row * 64 + f]
      %2: f64 = load v[f]
      %3: f64 = add %1, %2
      %4: bool = gt %3, %0
      %5: f64 = select %4, %3, %0
      store s[row * 64 + f] = %5
    }
  }
}

contract s = x * w {
  m b: B (out 64, a 100, b 0)
  n f: 64 (out 1, a 0, b 1)
  k c: 100 (out 0, a 1, b 64)
  then y(s, v)
} at "s" 0 0 0
