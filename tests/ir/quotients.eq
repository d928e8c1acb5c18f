// pass: quotients
// The gradient of a softmax reads the softmax. A quotient by another sum, or one that nothing behind reads, changes nothing.
program softmax
size B batch
input x: real[B, 4, 8] per example
input d_a: real[B, 4, 8] per example
value e: real[B, 4, 8]
value s: real[B, 4]
value a: real[B, 4, 8]
value d_x: real[B, 8, 4]
value f: real[B, 4, 8]
value t: real[B]
value c: real[B, 4, 8]
value u: real[B, 4]
value g: real[B, 4, 8]
value h: real[B, 4, 8]
value both: real[B]

e[b < B, i < 4, j < 8] = exp(x[b, i, j])
s[b < B, i < 4] = sum[k < 8] e[b, i, k]
a[b < B, i < 4, j < 8] = e[b, i, j] / s[b, i]
d_x[b < B, j < 8, i < 4] = d_a[b, i, j] * e[b, i, j] + a[b, i, j]
f[b < B, i < 4, j < 8] = exp(-x[b, i, j])
t[b < B] = sum[i < 4, k < 8] f[b, i, k]
c[b < B, i < 4, j < 8] = f[b, i, j] / t[b]
g[b < B, i < 4, j < 8] = exp(d_a[b, i, j])
u[b < B, i < 4] = sum[k < 8] g[b, i, k]
h[b < B, i < 4, j < 8] = g[b, i, j] / u[b, i]
both[b < B] = sum[i < 4, j < 8] f[b, i, j] * c[b, i, j] * g[b, i, j]
----
e[b < B, i < 4, j < 8] = exp(x[b, i, j])
s[b < B, i < 4] = sum[k < 8] e[b, i, k]
a[b < B, i < 4, j < 8] = e[b, i, j] / s[b, i]
d_x[b < B, j < 8, i < 4] = d_a[b, i, j] * (a[b, i, j] * s[b, i]) + a[b, i, j]
f[b < B, i < 4, j < 8] = exp(-x[b, i, j])
t[b < B] = sum[i < 4, k < 8] f[b, i, k]
c[b < B, i < 4, j < 8] = f[b, i, j] / t[b]
g[b < B, i < 4, j < 8] = exp(d_a[b, i, j])
u[b < B, i < 4] = sum[k < 8] g[b, i, k]
h[b < B, i < 4, j < 8] = g[b, i, j] / u[b, i]
both[b < B] = sum[i < 4, j < 8] f[b, i, j] * c[b, i, j] * g[b, i, j]
