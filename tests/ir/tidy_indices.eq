// pass: tidy
// Needless filters and indices: always true, one point, not named.
program needless
param x: real[4]
value y: real[4]
value z: real[4]

y[i < 4] = sum[k < 1, j < 5, l < 3 if i + k >= 0 and 3 - i >= 0] x[i + k] * number(l)
z[i < 4] = sum[if -i - 1 >= 0] x[i]
----
y[i < 4] = sum[l < 3] x[i] * l * 5
z[i < 4] = 0
