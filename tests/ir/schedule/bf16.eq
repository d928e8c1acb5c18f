// show: kernels
// A bf16 that is computed and used in one kernel is the one that is stored.
program near
size B batch
input x: real[B, 3] per example
param w: real[3]
value h: bf16[B, 3]
value y: real[B, 3]
output h = h
output y = y

h[b < B, c < 3] = bf16(x[b, c] * w[c])
y[b < B, c < 3] = h[b, c] * 256
----
kernel h_y(x: f64 read, w: f64 read, h: bf16 write, y: f64 write) sizes(B) indices(b, c) {
  for b in B {
    %0: f64 = const 256.0
    for c in 0..3 lanes {
      %1: f64 = load x[b * 3 + c]
      %2: f64 = load w[c]
      %3: f64 = mul %1, %2
      %4: f32 = convert %3
      %5: f32 = bf16 %4
      %6: f64 = convert %5
      %7: f32 = convert %6
      %8: f64 = convert %7
      %9: f64 = mul %8, %0
      store h[b * 3 + c] = %7
      store y[b * 3 + c] = %9
    }
  }
}

run h_y(x, w, h, y) at "h_y" 0 0 0
