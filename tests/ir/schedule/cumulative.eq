// show: kernels
// A sum up to each place is one pass in chains; its adjoint, from the end, another one.
program cumulative
size B batch
size T example
input x: real[B, T] per example
value y: real[B, T]
value d: real[B, T]

y[b < B, t < T] = sum[s < T if t - s >= 0] x[b, s]
d[b < B, s < T] = sum[t < T if t - s >= 0] y[b, t]
output d = d
----
kernel y(lengths_T: i64 read, offsets_T: i64 read, x: f64 read, y: f64 write) sizes(B) indices(b, block, t) {
  for b in B {
    %0: i64 = load lengths_T[b]
    %1: f64 = const 0.0
    variable @0: f64 = %1
    %2: i64 = const 512.0
    %3: i64 = const 511.0
    %4: i64 = add %0, %3
    %5: i64 = floordiv %4, %2
    %6: i64 = load offsets_T[b]
    for block in 0..%5 {
      %7: i64 = index block
      %8: i64 = mul %7, %2
      %9: i64 = add %8, %2
      %10: i64 = min %9, %0
      variable @1: f64 = %1
      for t in %8..%10 {
        %11: f64 = load x[t + %6]
        @1 sum= %11
        %12: f64 = read @0
        %13: f64 = read @1
        %14: f64 = add %12, %13
        store y[t + %6] = %14
      }
      %15: f64 = read @1
      @0 sum= %15
    }
  }
}

kernel d(lengths_T: i64 read, offsets_T: i64 read, d: f64 update) sizes(B) indices(b, block, s) {
  for b in B {
    %0: i64 = load lengths_T[b]
    %1: f64 = const 0.0
    variable @0: f64 = %1
    %2: i64 = const 512.0
    %3: i64 = const 511.0
    %4: i64 = add %0, %3
    %5: i64 = floordiv %4, %2
    %6: i64 = load offsets_T[b]
    for block in 0..%5 {
      %7: i64 = index block
      %8: i64 = mul %7, %2
      %9: i64 = add %8, %2
      %10: i64 = min %9, %0
      variable @1: f64 = %1
      for s in %8..%10 {
        %11: f64 = load d[s * (-1) + %0 + %6 + (-1)]
        @1 sum= %11
        %12: f64 = read @0
        %13: f64 = read @1
        %14: f64 = add %12, %13
        store d[s * (-1) + %0 + %6 + (-1)] = %14
      }
      %15: f64 = read @1
      @0 sum= %15
    }
  }
}

run y(lengths_T, offsets_T, x, y) at "y" 0 0 0
run d(lengths_T, offsets_T, y) at "d" 0 0 0
