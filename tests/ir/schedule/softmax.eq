// show: kernels
// One kernel over rows; the exponentials are stored once, the sum runs along.
program softmax
size B batch
input x: real[B, 40] per example
value m: real[B]
value e: real[B, 40]
value s: real[B]
value y: real[B, 40]

m[b < B] = max[j < 40] x[b, j]
e[b < B, j < 40] = exp(x[b, j] - m[b])
s[b < B] = sum[j < 40] e[b, j]
y[b < B, j < 40] = e[b, j] / s[b]
output y = y
----
kernel y(x: f64 read, y: f64 update) sizes(B) indices(b, j, j, j) {
  for b in B {
    %0: f64 = const -inf
    variable @0: f64 = %0
    for j#1 in 0..40 lanes {
      %1: f64 = load x[b * 40 + j#1]
      @0 max= %1
    }
    %2: f64 = read @0
    %3: f64 = const 0.0
    variable @1: f64 = %3
    for j#2 in 0..40 lanes {
      %4: f64 = load x[b * 40 + j#2]
      %5: f64 = sub %4, %2
      %6: f64 = exp %5
      @1 sum= %6
      store y[b * 40 + j#2] = %6
    }
    %7: f64 = read @1
    for j#3 in 0..40 lanes {
      %8: f64 = load y[b * 40 + j#3]
      %9: f64 = div %8, %7
      store y[b * 40 + j#3] = %9
    }
  }
}

run y(x, y) at "y" 0 0 0
