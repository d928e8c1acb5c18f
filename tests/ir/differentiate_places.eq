// pass: differentiate loss by x
// What several readers contribute to the same places is added there; a sum among it is stored at that size.
program places
param x: real[12]
param w: real[2, 6]
param g: real[3, 6]
value d: real[6]
value e: real[2]
value loss: real

d[t < 6] = x[2 * t] - x[2 * t + 1]
e[k < 2] = sum[t < 6] w[k, t] * x[2 * t]
loss = sum[t < 6] d[t] * g[0, t] + x[2 * t + 1] * g[1, t] + e[0] * e[1] * g[2, t]
----
d_e[0 for ] = sum[t < 6] g[2, t] * e[1]
also d_e[1 for ] = sum[t < 6] g[2, t] * e[0]   // @0:0..0 gradient of the sum
d_x_part[t < 6] = sum[k < 2] d_e[k] * w[k, t]   // @0:0..0 gradient of the sum
d_x[2 * t + 1 for t < 6] = g[1, t] - g[0, t]
also d_x[2 * t for t < 6] = d_x_part[t] + g[0, t]   // @0:0..0 gradient of the sum
