// pass: verify
program order
value y: real[4]
value z: real[4]

y[i < 4] = z[i]
z[i < 4] = 1
----
invariant Order: `z` is read before it is written
