// pass: drop
// Nodes, carried values and stacks that nothing needs.
program drop
size t step
param x: real[4]
value a: real
value s: real
value s1: real
value sn: real
value r: real
value r1: real
value rn: real
value ss: real[4]
value rs: real[4]
value y: real

a = sum[i < 4] exp(x[i])
scan t < 4 {
  carry s from a next s1 last sn
  carry r from a next r1 last rn
  s1 = s + x[t]
  r1 = r * x[t] + s
  stack s1 as ss
  stack r1 as rs
}
y = sum[i < 4] ss[i]
output y = y
----
a = sum[i < 4] exp(x[i])
scan t < 4 {
  carry s from a next s1 last sn
  s1 = s + x[t]
  stack s1 as ss
}
y = sum[i < 4] ss[i]
output y = y
