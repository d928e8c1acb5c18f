// pass: merge
// Names of indices and origins do not matter; draws are never merged.
program merge
size t step
param x: real[4]
value a: real[4]
value b: real[4]
value n: real[4]
value m: real[4]
value h: real[4]
value h1: real[4]
value hn: real[4]
value c: real[4]
value y: real[4]

a[i < 4] = exp(x[i])   // @0:1..2 first
b[j < 4] = exp(x[j])   // @0:3..4 second
draw n = normal(1)
draw m = normal(1)
scan t < 3 {
  carry h from b next h1 last hn
  c[k < 4] = exp(x[k])
  h1[i < 4] = h[i] * c[i]
}
y[i < 4] = a[i] + b[i] + n[i] + m[i] + hn[i]
output y = y
----
a[i < 4] = exp(x[i])   // @0:1..2 first
draw n = normal(1)
draw m = normal(1)
scan t < 3 {
  carry h from a next h1 last hn
  h1[i < 4] = h[i] * a[i]
}
y[i < 4] = a[i] + a[i] + n[i] + m[i] + hn[i]
output y = y
