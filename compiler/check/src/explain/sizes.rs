//! Pages about sizes.

use super::Page;

pub(super) const PAGES: &[Page] = &[
    (
        "dim-mismatch",
        r#"
Two sizes that must be equal are not. Every size has an origin, and the message points at both: a number you wrote, a column count of
the file, or the layer that computes it.

    labels = truth(columns("label_*"))                 // the file has 164 such columns
    net    = .. |> Dense(919)                          // 919 comes from here
    loss     binary_cross_entropy(net(dna), labels)    // 919 meets 164: write Dense(164)

Element by element, shapes must be equal, or one the tail of the other: `f32[T, C] + f32[C]` is fine, `f32[T, C] + f32[T]` is not;
write `for t, c: a[t, c] + b[t]`.
"#,
    ),
    (
        "rank-mismatch",
        r#"
A tensor has more or fewer axes than its place asks for.

    dna |> Conv1d(32, kernel: 9) |> relu |> Dense(3)            // still one result for every position
    dna |> Conv1d(32, kernel: 9) |> relu |> flatten |> Dense(3) // one result for the window

A single number has no axes. `flatten` makes one axis of all; `mean[t] x[t]` removes one; `for t: f(x[t])` applies f along one.
"#,
    ),
    (
        "axis-names-differ",
        r#"
Two axes have the same length, but their elements have different names (genes, classes, assays) or another order, so that adding or
comparing them would mix them up. The message shows the first difference. `align(x, to: genes)` brings x into the order of the other.
"#,
    ),
    (
        "law-violated",
        r#"
A layer states what its sizes must satisfy (`where T >= K else "the sequence must be as long as the kernel"`), and here they do not.
The message is its author's; both the use and the law are shown with the sizes at hand.

Some expressions need something to be there without a law of yours: `mean[t] x[t]`, `max`, `argmax`, `x[clamp(t)]`, `x[mod(t)]`, `below(T)`, `categorical(p)`
have no value over nothing. Where the sizes do not say that there is something, each row of the data is held to it, and the message
names the first that breaks it. Say what the value is then (`mean[t else 0] x[t]`, `x[t else 0]`), or leave such rows out.

    model Net(x: f32[5, 4]) -> f32[1, 8] { x |> Conv1d(8, kernel: 9) }       // 5 positions, 9 taps
    x |> Conv1d(8, kernel: 9, pad: same)                                      // or pad
"#,
    ),
    (
        "negative-size",
        r#"
A size could be negative: nothing says that what is subtracted is small enough. State it as a law, with a message for whoever uses
the layer.

    layer Pairs(k: dim)(x: f32[T, C]) -> f32[T - k, C] { for t < T - k, c: x[t, c] * x[t + k, c] }
    layer Pairs(k: dim)(x: f32[T, C]) -> f32[T - k, C] where T >= k else "the sequence is shorter than the distance" { .. }
"#,
    ),
    (
        "not-a-size",
        r#"
A size is a natural number known when the model is built: a number, a size of the signature, a hyper-parameter of kind `dim`, or
`+ - * / %` of such (`/` rounds down here). Real numbers, indices and values of the running model are no sizes.
"#,
    ),
    (
        "shape-unknown",
        r#"
A constant or draw without brackets takes its shape from its place (`param b: f32[units] = zeros`), but here nothing says it. Write
it: `zeros[units]`, `normal[latent]`.
"#,
    ),
    (
        "no-pack",
        r#"
`..` stands for the leading dimensions that an input of the signature leaves open, and this signature has none.

    fn scale(x: f32[n]) -> f32[n] { for ..: 2 * x[..] }            // error
    fn scale(x: f32[..]) -> f32[..] { for ..: 2 * x[..] }
"#,
    ),
];
