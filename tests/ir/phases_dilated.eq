// pass: phases 2
// A dilation is an axis beside the position; positions beyond the last are computed and left out.
program dilated
param x: real[20, 4]
param w: real[3, 4, 8]
value y: real[20, 8]

y[t < 20, u < 8] = sum[k < 3, c < 4] x[t + 3 * k - 3, c else 0] * w[k, c, u]
output y = y
----
y.input[t < 5, r < 3, c < 4] = x[6 * t + r - 3, c else 0] - x[6 * t + r, c else 0]
y.product[t < 4, r < 3, u < 8] = sum[k < 2, c < 4] y.input[t + k, r, c] * w[2 * k, c, u]
y.filter[k < 2, c < 4, u < 8] = w[2 * k, c, u] + w[2 * k + 1, c, u else 0]
y.product_2[t < 4, r < 3, u < 8] = sum[k < 2, c < 4] x[6 * t + r + 6 * k, c else 0] * y.filter[k, c, u]
y.input_2[t < 4, r < 3, c < 4] = x[6 * t + r + 3, c else 0] - x[6 * t + r, c else 0]
y.product_3[t < 4, r < 3, u < 8] = sum[k < 1, c < 4] y.input_2[t + k, r, c] * w[2 * k + 1, c, u]
y.phases[t, 0, r, u for t < 4, r < 3, u < 8] = y.product[t, r, u] + y.product_2[t, r, u]
also y.phases[t, 1, r, u for t < 4, r < 3, u < 8] = y.product_2[t, r, u] + y.product_3[t, r, u]
view y.more = y.phases
y[t < 20, u < 8] = y.more[t, u]
output y = y
