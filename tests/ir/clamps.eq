// pass: clamps
// Sums by a distance: diagonals where the clamp does nothing, a corner at each end. A clamp whose index is used otherwise stays.
program distances
size B batch
size T example
input d: real[B, 4, T, T] per example
value g: real[4, 9]
value back: real[4, 9]
value twice: real[9]
g[h < 4, r < 9] = sum[b < B, i < T, j < T if r == min(max(number(j - i + 4), 0), 8)] d[b, h, i, j]
back[h < 4, r < 9] = sum[b < B, i < T, j < T if r == min(max(number(-j + i + 4), 0), 8)] d[b, h, i, j]
twice[r < 9] = sum[b < B, i < T, j < T if r == min(max(number(j - i + 4), 0), 8)] d[b, 0, i, j] * number(r)
----
g[h, 0 for h < 4] = sum[b < B, i < T, j < T if i - j - 4 >= 0] d[b, h, i, j]
also g[h, r + 1 for h < 4, r < 7] = sum[b < B, i < T if r + i - 3 >= 0 and -r - i + T + 2 >= 0] d[b, h, i, r + i - 3]
also g[h, 8 for h < 4] = sum[b < B, i < T, j < T if j - i - 4 >= 0] d[b, h, i, j]
back[h, 0 for h < 4] = sum[b < B, i < T, j < T if j - i - 4 >= 0] d[b, h, i, j]
also back[h, r + 1 for h < 4, r < 7] = sum[b < B, i < T if i - r + 3 >= 0 and r - i + T - 4 >= 0] d[b, h, i, i - r + 3]
also back[h, 8 for h < 4] = sum[b < B, i < T, j < T if i - j - 4 >= 0] d[b, h, i, j]
twice[r < 9] = sum[b < B, i < T, j < T if r == min(max(number(j - i + 4), 0), 8)] d[b, 0, i, j] * r
