// show: launches
// Each step's value lies in its place of the stack; a step ends by making the next value current.
program recurrence
size B batch
size t step
input x: real[B, 6, 4] per example
param w: real[4, 4]
value h0: real[B, 4]
value h: real[B, 4]
value s: real[B, 4]
value next: real[B, 4]
value last: real[B, 4]
value all: real[B, 6, 4]

h0[b < B, i < 4] = x[b, 0, i]
scan t < 6 {
  carry h from h0 next next last last
  s[b < B, i < 4] = sum[j < 4] h[b, j] * w[j, i]
  next[b < B, i < 4] = tanh(s[b, i] + x[b, @t, i])
  stack next as all
}
output last = last
output all = all
----
run h0(x, h0) at "h0" 0 0 0
copy h = h0 at "copy" 0 0 0
scan t in 6 {
  contract s = h * w {
    m b: B (out 4, a 4, b 0)
    n i: 4 (out 1, a 0, b 1)
    k j: 4 (out 0, a 1, b 4)
    then next(s, x, all + (4 * t))
  } at "s" 0 0 0
  run h0(all + (4 * t), h) at "h" 0 0 0
} at "scan" 0 0 0
