// pass: differentiate loss by x w
// Rounding has the derivative 1, and what is added up for a bf16 is not rounded.
program near
size B batch
input x: bf16[B, 3] per example
param w: real[3]
value h: bf16[B, 3]
value y: bf16[B]
value s: real[B]
value loss: real

h[b < B, c < 3] = bf16(x[b, c] * w[c])   // @0:10..30 product
s[b < B] = sum[c < 3] h[b, c]   // @0:40..50
y[b < B] = bf16(s[b])   // @0:40..50
loss = sum[b < B] bf16(y[b] * y[b])   // @0:60..70 loss
----
d_x[b < B, c < 3] = 2 * y[b] * w[c]   // @0:10..30 gradient of the product
d_w[c < 3] = sum[b < B] 2 * y[b] * x[b, c]   // @0:10..30 gradient of the product
