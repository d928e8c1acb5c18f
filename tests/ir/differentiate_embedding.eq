// pass: differentiate loss by w
// A gather and a filtered sum are each other's adjoints.
program embedding
size B batch
size T example
param w: real[25, 8]
input tok: i32[B, T] per example
input g: real[B, T, 8] per example
value y: real[B, T, 8]
value loss: real

y[b < B, t < T, d < 8] = w[tok[b, t], d]
loss = sum[b < B, t < T, d < 8] y[b, t, d] * g[b, t, d]
----
d_w[i < 25, d < 8] = sum[b < B, t < T if i == tok[b, t]] g[b, t, d]   // @0:0..0 gradient of the expression
