// show: kernels of f32
// What a loop reads step by step (s) lies where the values of these steps (hs) come to lie. What every step reads (first) and what is read again
// later (again) stay what they are.
program overwrite
size B batch
size t step
size o step
input x: real[B, 6, 3] per example
param w: real[3, 4]
param v: real[3, 4]
param u: real[4, 4]
value s: real[B, 6, 4]
value again: real[B, 6, 4]
value first: real[B, 4]
value h0: real[B, 4]
value h: real[B, 4]
value r: real[B, 4]
value h1: real[B, 4]
value h2: real[B, 4]
value hs: real[B, 6, 4]
value k: real[B, 4]
value q: real[B, 4]
value k1: real[B, 4]
value k2: real[B, 4]
value y: real[4, 4]
value z: real[3, 4]
s[b < B, t < 6, j < 4] = sum[i < 3] x[b, t, i] * w[i, j]
again[b < B, t < 6, j < 4] = sum[i < 3] x[b, t, i] * v[i, j]
first[b < B, j < 4] = sum[i < 3] x[b, 0, i] * w[i, j]
h0[b < B, j < 4] = 0
scan t < 6 {
  carry h from h0 next h1 last h2
  r[b < B, j < 4] = sum[i < 4] h[b, i] * u[i, j]
  h1[b < B, j < 4] = s[b, @t, j] + r[b, j]
  stack h1 as hs
}
scan o < 6 {
  carry k from h0 next k1 last k2
  q[b < B, j < 4] = sum[i < 4] k[b, i] * u[i, j]
  k1[b < B, j < 4] = again[b, @o, j] + q[b, j] + first[b, j]
}
y[i < 4, j < 4] = sum[b < B, t < 6] hs[b, t, i] * k2[b, j]
z[i < 3, j < 4] = sum[b < B, t < 6] x[b, t, i] * again[b, t, j]
output y = y
output z = z
----
kernel s_again(x: f32 read, w: f32 read, s: f32 write, v: f32 read, again: f32 write) sizes(B) indices(b_t, j) {
  for b_t in 6 * B {
    %0: f32 = const 0.0
    %1: f32 = load x[b_t * 3]
    %2: f32 = load x[b_t * 3 + 1]
    %3: f32 = load x[b_t * 3 + 2]
    for j in 0..4 lanes {
      variable @0: f32 = %0
      %4: f32 = load w[j]
      %5: f32 = mul %1, %4
      @0 sum= %5
      %6: f32 = load w[j + 4]
      %7: f32 = mul %2, %6
      @0 sum= %7
      %8: f32 = load w[j + 8]
      %9: f32 = mul %3, %8
      @0 sum= %9
      %10: f32 = read @0
      variable @1: f32 = %0
      %11: f32 = load v[j]
      %12: f32 = mul %1, %11
      @1 sum= %12
      %13: f32 = load v[j + 4]
      %14: f32 = mul %2, %13
      @1 sum= %14
      %15: f32 = load v[j + 8]
      %16: f32 = mul %3, %15
      @1 sum= %16
      %17: f32 = read @1
      store s[b_t * 4 + j] = %10
      store again[b_t * 4 + j] = %17
    }
  }
}

kernel first(x: f32 read, w: f32 read, first: f32 write) sizes(B) indices(b, j) {
  for b in B {
    %0: f32 = const 0.0
    %1: f32 = load x[b * 18]
    %2: f32 = load x[b * 18 + 1]
    %3: f32 = load x[b * 18 + 2]
    for j in 0..4 lanes {
      variable @0: f32 = %0
      %4: f32 = load w[j]
      %5: f32 = mul %1, %4
      @0 sum= %5
      %6: f32 = load w[j + 4]
      %7: f32 = mul %2, %6
      @0 sum= %7
      %8: f32 = load w[j + 8]
      %9: f32 = mul %3, %8
      @0 sum= %9
      %10: f32 = read @0
      store first[b * 4 + j] = %10
    }
  }
}

kernel h0(h0: f32 write) sizes(B) indices(b_j) {
  for b_j in 4 * B lanes {
    %0: f32 = const 0.0
    store h0[b_j] = %0
  }
}

kernel h1(r: f32 read, hs: f32 update) sizes(B, t) indices(row, j) {
  for row in B {
    for j in 0..4 lanes {
      %0: f32 = load hs[row * 24 + j]
      %1: f32 = load r[row * 4 + j]
      %2: f32 = add %0, %1
      store hs[row * 24 + j] = %2
    }
  }
}

kernel h(hs: f32 read, h: f32 write) sizes(B) indices(i0, i1) {
  for i0 in B {
    for i1 in 0..4 lanes {
      %0: f32 = load hs[i0 * 24 + i1]
      store h[i0 * 4 + i1] = %0
    }
  }
}

kernel k1(again: f32 read, q: f32 update, first: f32 read) sizes(B, o) indices(row, j) {
  for row in B {
    for j in 0..4 lanes {
      %0: f32 = load again[row * 24 + j + (4 * o)]
      %1: f32 = load q[row * 4 + j]
      %2: f32 = add %0, %1
      %3: f32 = load first[row * 4 + j]
      %4: f32 = add %2, %3
      store q[row * 4 + j] = %4
    }
  }
}

kernel y(hs: f32 read, k: f32 read, y: f32 write) sizes(B) indices(i, j, b, t) {
  for i in 4 {
    %0: f32 = const 0.0
    for j in 0..4 lanes {
      variable @0: f32 = %0
      for b in 0..B {
        %1: f32 = load k[j + b * 4]
        for t in 0..6 {
          %2: f32 = load hs[i + b * 24 + t * 4]
          %3: f32 = mul %2, %1
          @0 sum= %3
        }
      }
      %4: f32 = read @0
      store y[i * 4 + j] = %4
    }
  }
}

run s_again(x, w, s, v, again) at "s_again" 0 0 0
run first(x, w, first) at "first" 0 0 0
run h0(h0) at "h0" 0 0 0
copy h = h0 at "copy" 0 0 0
scan t in 6 {
  contract r = h * u {
    m b: B (out 4, a 4, b 0)
    n j: 4 (out 1, a 0, b 1)
    k i: 4 (out 0, a 1, b 4)
    then h1(r, s + (4 * t))
  } at "r" 0 0 0
  run h(s + (4 * t), h) at "h" 0 0 0
} at "scan" 0 0 0
copy k = h0 at "copy" 0 0 0
scan o in 6 {
  contract q = k * u {
    m b: B (out 4, a 4, b 0)
    n j: 4 (out 1, a 0, b 1)
    k i: 4 (out 0, a 1, b 4)
    then k1(again, q, first)
  } at "q" 0 0 0
  copy k = q at "copy" 0 0 0
} at "scan" 0 0 0
run y(s, k, y) at "y" 0 0 0
contract z = x * again {
  m i: 3 (out 4, a 1, b 0)
  n j: 4 (out 1, a 0, b 1)
  k b_t: (6 * B) (out 0, a 3, b 4)
} at "z" 0 0 0
