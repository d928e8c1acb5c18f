// pass: simplify
program small
param x: real[4]
value y: real[4]
value z: real[4]
value again: real[4]
value loss: real

y[i < 4] = freeze(x[i] * 1)
z[i < 4] = y[3 - i]
again[j < 4] = x[j]
loss = sum[i < 4, k < 1] pow(z[i] - again[i], 2) * (if 1 > 0 then 3 else y[i])
output loss = loss
----
loss = sum[i < 4] (x[-i + 3] - x[i]) * (x[-i + 3] - x[i]) * 3
output loss = loss
