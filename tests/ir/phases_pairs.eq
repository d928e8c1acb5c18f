// pass: phases 2
// A convolution as three of half as many positions and taps.
program pairs
size B batch
input x: real[B, 20, 4] per example
param w: real[5, 4, 8]
value y: real[B, 20, 8]

y[b < B, t < 20, u < 8] = sum[k < 5, c < 4] x[b, t + k - 2, c else 0] * w[k, c, u]
output y = y
----
y.input[b < B, t < 12, c < 4] = x[b, 2 * t - 2, c else 0] - x[b, 2 * t - 1, c else 0]
y.product[b < B, t < 10, u < 8] = sum[k < 3, c < 4] y.input[b, t + k, c] * w[2 * k, c, u]
y.filter[k < 3, c < 4, u < 8] = w[2 * k, c, u] + w[2 * k + 1, c, u else 0]
y.product_2[b < B, t < 10, u < 8] = sum[k < 3, c < 4] x[b, 2 * t + 2 * k - 1, c else 0] * y.filter[k, c, u]
y.input_2[b < B, t < 11, c < 4] = x[b, 2 * t, c else 0] - x[b, 2 * t - 1, c else 0]
y.product_3[b < B, t < 10, u < 8] = sum[k < 2, c < 4] y.input_2[b, t + k, c] * w[2 * k + 1, c, u]
y.phases[b, t, 0, u for b < B, t < 10, u < 8] = y.product[b, t, u] + y.product_2[b, t, u]
also y.phases[b, t, 1, u for b < B, t < 10, u < 8] = y.product_2[b, t, u] + y.product_3[b, t, u]
view y = y.phases
output y = y
