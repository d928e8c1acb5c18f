// pass: verify
program bounds
size T example
param x: real[T]
value y: real[T]

y[t < T] = x[t + 1]
----
invariant Bounds: a read of `x` without `else` leaves it
