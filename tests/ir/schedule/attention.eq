// show: kernels
// Scores, their scaled copy, their exponentials and the weights lie in one buffer. What reads a row backwards gets one of its own.
program attention
size B batch
input q: real[B, 48, 8] per example
input k: real[B, 48, 8] per example
value score: real[B, 48, 48]
value x: real[B, 48, 48]
value m: real[B, 48]
value e: real[B, 48, 48]
value s: real[B, 48]
value a: real[B, 48, 48]
value back: real[B, 48, 48]
value y: real[B, 48, 48]

score[b < B, i < 48, j < 48] = sum[c < 8] q[b, i, c] * k[b, j, c]
x[b < B, i < 48, j < 48] = score[b, i, j] / 8
m[b < B, i < 48] = max[j < 48] x[b, i, j]
e[b < B, i < 48, j < 48] = exp(x[b, i, j] - m[b, i])
s[b < B, i < 48] = sum[j < 48] e[b, i, j]
a[b < B, i < 48, j < 48] = e[b, i, j] / s[b, i]
back[b < B, i < 48, j < 48] = exp(a[b, i, j])
y[b < B, i < 48, j < 48] = back[b, i, 47 - j]
output y = y
----
kernel y(score: f64 update, y: f64 write) sizes(B) indices(row, j, j, j, j) {
  for row in 48 * B {
    %0: f64 = const -inf
    variable @0: f64 = %0
    %1: f64 = const 8.0
    for j#1 in 0..48 lanes {
      %2: f64 = load score[row * 48 + j#1]
      %3: f64 = div %2, %1
      @0 max= %3
      store score[row * 48 + j#1] = %3
    }
    %4: f64 = read @0
    %5: f64 = const 0.0
    variable @1: f64 = %5
    for j#2 in 0..48 lanes {
      %6: f64 = load score[row * 48 + j#2]
      %7: f64 = sub %6, %4
      %8: f64 = exp %7
      @1 sum= %8
      store score[row * 48 + j#2] = %8
    }
    %9: f64 = read @1
    for j#3 in 0..48 lanes {
      %10: f64 = load score[row * 48 + j#3]
      %11: f64 = div %10, %9
      %12: f64 = exp %11
      store score[row * 48 + j#3] = %12
    }
    for j#4 in 0..48 lanes {
      %13: f64 = load score[row * 48 + j#4 * (-1) + 47]
      store y[row * 48 + j#4] = %13
    }
  }
}

contract score = q * k {
  batch b: B (out 2304, a 384, b 384)
  m i: 48 (out 48, a 8, b 0)
  n j: 48 (out 1, a 0, b 8)
  k c: 8 (out 0, a 1, b 1)
  then y(score, y)
} at "score" 0 0 0
