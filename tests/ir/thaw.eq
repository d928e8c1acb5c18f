// pass: thaw
program thaw
param x: real[4]
value y: real[4]

y[i < 4] = x[i] * freeze(x[i] + freeze(x[3 - i]))
----
y[i < 4] = x[i] * (x[i] + x[-i + 3])
