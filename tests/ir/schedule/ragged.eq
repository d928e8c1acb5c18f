// show: kernels
// A dense layer runs over all packed rows of the batch; a mean over the positions of an example walks its own rows.
program ragged
size B batch
size T example
input x: real[B, T, 20] per example
param w: real[20, 8]
value s: real[B, T, 8]
value h: real[B, T, 8]
value y: real[B, 8]

s[b < B, t < T, f < 8] = sum[c < 20] x[b, t, c] * w[c, f]
h[b < B, t < T, f < 8] = tanh(s[b, t, f])
y[b < B, f < 8] = sum[t < T] h[b, t, f] / T
output y = y
----
kernel h(s: f64 update) sizes(rows_T) indices(row, f) {
  for row in rows_T {
    for f in 0..8 lanes {
      %0: f64 = load s[row * 8 + f]
      %1: f64 = tanh %0
      store s[row * 8 + f] = %1
    }
  }
}

kernel y(lengths_T: i64 read, offsets_T: i64 read, s: f64 read, y: f64 write) sizes(B) indices(b, f, t) {
  for b in B {
    %0: f64 = const 0.0
    %1: i64 = load lengths_T[b]
    %2: i64 = load offsets_T[b]
    %3: f64 = convert %1
    for f in 0..8 lanes {
      variable @0: f64 = %0
      for t in 0..%1 {
        %4: f64 = load s[f + t * 8 + %2 * 8]
        %5: f64 = div %4, %3
        @0 sum= %5
      }
      %6: f64 = read @0
      store y[b * 8 + f] = %6
    }
  }
}

contract s = x * w {
  m b_t: rows_T (out 8, a 20, b 0)
  n f: 8 (out 1, a 0, b 1)
  k c: 20 (out 0, a 1, b 8)
  then h(s)
} at "s" 0 0 0
run y(lengths_T, offsets_T, s, y) at "y" 0 0 0
