// pass: tidy
// Where a filter becomes a guard, what is subscripted by data and an index that the filter kept small is guarded, too.
program guard_data
size N built
input key: i32[3]
param a: real[N]
param w: real[N + 6]
value d: real[N + 2]
value e: real[N + 2]

d[l < N + 2] = sum[m < 3 if l - m >= 0 and m - l + N - 1 >= 0] a[l - m] * w[data(2 * key[m] + number(l - m))]
e[l < N + 2] = sum[m < 3 if l - m >= 0 and m - l + N - 1 >= 0] a[l - m] * w[key[m]]
----
d[l < N + 2] = sum[m < 3] a[l - m else 0] * w[data(2 * key[m] + number(l - m)) else 0]
e[l < N + 2] = sum[m < 3] a[l - m else 0] * w[key[m]]
