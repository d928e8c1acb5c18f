// pass: differentiate loss by x w v
program dense
size B batch
input x: real[B, 3] per example
param w: real[3, 4]
param v: real[4]
value h: real[B, 4]
value y: real[B, 4]
value loss: real

h[b < B, f < 4] = sum[c < 3] x[b, c] * w[c, f]   // @0:10..30 product
y[b < B, f < 4] = tanh(h[b, f] + v[f])   // @0:40..50
loss = sum[b < B, f < 4] y[b, f] * y[b, f] / B   // @0:60..70 loss
----
d_y[b < B, f < 4] = 2 * (1 / B * y[b, f])   // @0:60..70 gradient of the loss
d_h[b < B, f < 4] = d_y[b, f] * (1 - y[b, f] * y[b, f])   // @0:40..50 gradient of the expression
d_x[b < B, c < 3] = sum[f < 4] d_h[b, f] * w[c, f]   // @0:10..30 gradient of the product
d_w[c < 3, f < 4] = sum[b < B] d_h[b, f] * x[b, c]   // @0:10..30 gradient of the product
d_v[f < 4] = sum[b < B] d_y[b, f] * (1 - y[b, f] * y[b, f])   // @0:40..50 gradient of the expression
