// pass: differentiate loss by w u
// A scan in the opposite direction over saved values; the weight gradients are contractions after it.
program recurrence
size B batch
size T example
size t step
input x: real[B, T, 2] per example
param w: real[2, 3]
param u: real[3, 3]
param h0: real[B, 3]
value h: real[B, 3]
value z: real[B, 3]
value h1: real[B, 3]
value hn: real[B, 3]
value loss: real

scan t < T {
  carry h from h0 next h1 last hn
  z[b < B, j < 3] = sum[i < 3] h[b, i] * u[i, j]
  h1[b < B, j < 3] = tanh(z[b, j] + x[b, t, 0] * w[0, j] + x[b, t, 1] * w[1, j])
}
loss = sum[b < B, j < 3] hn[b, j] * hn[b, j]
----
d_hn[b < B, i < 3] = 2 * hn[b, i]   // @0:0..0 gradient of the expression
scan t < T reversed {   // @0:0..0 gradient of the scan
  carry d_h_next from d_hn next d_h last d_h_start
  d_z[b < B, j < 3] = d_h_next[b, j] * (1 - h1_steps[b, t, j] * h1_steps[b, t, j])   // @0:0..0 gradient of the expression
  d_h[b < B, i < 3] = sum[j < 3] d_z[b, j] * u[i, j]   // @0:0..0 gradient of the sum
  stack d_h_next as d_h_next_steps
  stack d_z as d_z_steps
}
d_w[0, j for j < 3] = sum[b < B, t < T] d_h_next_steps[b, t, j] * (1 - h1_steps[b, t, j] * h1_steps[b, t, j]) * x[b, t, 0]
also d_w[1, j for j < 3] = sum[b < B, t < T] d_h_next_steps[b, t, j] * (1 - h1_steps[b, t, j] * h1_steps[b, t, j]) * x[b, t, 1]   // @0:0..0 gradient of the expression
d_u[i < 3, j < 3] = sum[b < B, t < T] d_z_steps[b, t, j] * h_steps[b, t, i]   // @0:0..0 gradient of the sum
