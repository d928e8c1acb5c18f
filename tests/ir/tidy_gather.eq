// pass: tidy
// A bound index that equals data is that data: a gather, never a loop over nodes and edges.
program messages
size V built
size E built
param dm: real[V, 8]
input dst: i32[E]
input src: i32[E]
value dh: real[V, 8]

dh[u < V, d < 8] = sum[v < V, e < E if v == dst[e] and u == src[e]] dm[v, d]
----
dh[u < V, d < 8] = sum[e < E if u == src[e]] dm[dst[e], d else 0]
