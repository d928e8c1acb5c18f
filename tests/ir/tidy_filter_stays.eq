// pass: tidy
// The filter stays where a factor need not be finite outside.
program guard
size T built
param dy: real[T]
param x: real[T]
value dx: real[T]

dx[s < T] = sum[k < 9 if s - k >= 0] dy[s - k] / x[s - k]
----
dx[s < T] = sum[k < 9 if s - k >= 0] dy[s - k] / x[s - k]
