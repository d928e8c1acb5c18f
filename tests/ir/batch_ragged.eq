// pass: batch
// Per-example tensors get the batch axis; what no example reaches stays shared; a reduction over the batch reads by subscript.
program mean
size B batch
size T example
input x: real[T, 4] per example
param w: real[4, 8]
value w2: real[4, 8]
value h: real[T, 8]
value m: real[8]
value n: real
value mean: real[8]

w2[c < 4, f < 8] = w[c, f] * 2
h[t < T, f < 8] = sum[c < 4] x[t, c] * w2[c, f]
m[f < 8] = sum[t < T] h[t, f] / T
n = sum[o < B, t < T of o] 1
mean[f < 8] = sum[o < B, t < T of o] h@o[t, f] / n
output m = m
output mean = mean
----
w2[c < 4, f < 8] = w[c, f] * 2
h[b < B, t < T, f < 8] = sum[c < 4] x[b, t, c] * w2[c, f]
m[b < B, f < 8] = sum[t < T] h[b, t, f] / T
n = sum[o < B, t < T of o] 1
mean[f < 8] = sum[o < B, t < T of o] h[o, t, f] / n
output m = m
output mean = mean
