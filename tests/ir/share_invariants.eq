// pass: share
// The schedule's cosine once a step, the root once a channel; a quotient of numbers stays.
program share
size B batch
size T example
input x: real[B, T, 8] per example
input step: real
param w: real[64, 32]
state v: real[8]
value w1: real[64, 32]
value y: real[B, T, 8]
value z: real[B]

w1[i < 64, j < 32] = w[i, j] * (1 - (1 + cos(step / 100)) * 0.01) / B
y[b < B, t < T, c < 8] = x[b, t, c] / sqrt(v[c] + 0.001) * exp(T / 100)
z[b < B] = sum[t < T, c < 8] x[b, t, c] * tanh(x[b, t, 0])
output w1 = w1
----
once = 1 - (1 + cos(step / 100)) * 0.01
w1[i < 64, j < 32] = w[i, j] * once / B
once_2[c < 8] = sqrt(v[c] + 0.001)
once_3[b < B] = exp(T / 100)
y[b < B, t < T, c < 8] = x[b, t, c] / once_2[c] * once_3[b]
once_4[b < B, t < T] = tanh(x[b, t, 0])
z[b < B] = sum[t < T, c < 8] x[b, t, c] * once_4[b, t]
output w1 = w1
