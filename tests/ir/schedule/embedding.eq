// show: kernels
// The gradient of a gather sums runs of positions that are sorted by key once a batch.
program embedding
size B batch
input tok: i32[B, 7] per example
input dy: real[B, 7, 16] per example
value dw: real[30, 16]

dw[v < 30, d < 16] = sum[b < B, t < 7 if v == tok[b, t]] dy[b, t, d]
output dw = dw
----
kernel dw(runs_tok: i32 read, sorted_by_tok: i32 read, dy: f64 read, dw: f64 write) indices(v, d, n) {
  for v in 30 {
    %0: f64 = const 0.0
    %1: i32 = load runs_tok[v]
    %2: i32 = load runs_tok[v + 1]
    %3: i64 = convert %1
    %4: i64 = convert %2
    for d in 0..16 lanes {
      variable @0: f64 = %0
      for n in %3..%4 {
        %5: i32 = load sorted_by_tok[n]
        %6: f64 = load dy[d + %5 * 16]
        @0 sum= %6
      }
      %7: f64 = read @0
      store dw[v * 16 + d] = %7
    }
  }
}

run dw(runs_tok, sorted_by_tok, dy, dw) at "dw" 0 0 0
