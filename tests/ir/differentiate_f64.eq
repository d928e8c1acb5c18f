// pass: differentiate loss by x w
// A conversion's adjoint is converted back, and each adjoint has the precision of its tensor.
program wide
size B batch
input x: real[B, 3] per example
param w: real[3]
value h: f64[B, 3]
value y: real[B]
value loss: f64

h[b < B, c < 3] = f64(x[b, c]) * f64(w[c])   // @0:10..30 product
y[b < B] = sum[c < 3] real(h[b, c])   // @0:40..50
loss = sum[b < B] f64(y[b]) * f64(y[b])   // @0:60..70 loss
----
d_y[b < B] = 2 * real(f64(y[b]))   // @0:60..70 gradient of the loss
d_h[b < B, c < 3] = f64(d_y[b])   // @0:40..50 gradient of the sum
d_x[b < B, c < 3] = real(d_h[b, c] * f64(w[c]))   // @0:10..30 gradient of the product
d_w[c < 3] = sum[b < B] real(d_h[b, c] * f64(x[b, c]))   // @0:10..30 gradient of the product
