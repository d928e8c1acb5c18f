// pass: verify
program pieces
value y: real[4]

y[t < 4] = 1
also y[t < 4] = 2
----
invariant Pieces: two pieces write the same elements
