// pass: hoist
// The product with the input leaves the loop as one contraction over all steps; what is the same at every step is computed once.
program hoist
size B batch
size T example
size t step
input x: real[B, T, 2] per example
param w: real[2, 3]
param u: real[3, 3]
param h0: real[B, 3]
value u2: real[3, 3]
value xw: real[B, 3]
value z: real[B, 3]
value h: real[B, 3]
value h1: real[B, 3]
value hn: real[B, 3]

scan t < T {
  carry h from h0 next h1 last hn
  u2[i < 3, j < 3] = u[i, j] * u[j, i]
  xw[b < B, j < 3] = sum[c < 2] x[b, t, c] * w[c, j]
  z[b < B, j < 3] = sum[i < 3] h[b, i] * u2[i, j]
  h1[b < B, j < 3] = tanh(xw[b, j] + z[b, j])
}
output hn = hn
----
u2[i < 3, j < 3] = u[i, j] * u[j, i]
xw_steps[b < B, t < T, j < 3] = sum[c < 2] x[b, t, c] * w[c, j]
scan t < T {
  carry h from h0 next h1 last hn
  z[b < B, j < 3] = sum[i < 3] h[b, i] * u2[i, j]
  h1[b < B, j < 3] = tanh(xw_steps[b, t, j] + z[b, j])
}
output hn = hn
