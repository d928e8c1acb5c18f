//! Pages about index notation.

use super::Page;

pub(super) const PAGES: &[Page] = &[
    (
        "range-unknown",
        r#"
An index is bound, but no read says how far it runs. Indices get their ranges from the tensors they read: in `x[t, c]` t runs along
the first axis of x. A read with `else`, `clamp` or `mod` says nothing, since it may go beyond.

    for t: x[t - 1 else 0]                             // error
    for t < T: x[t - 1 else 0]

If one read holds two indices that stand nowhere alone (`x[i + j]`), one of them needs a written range.
"#,
    ),
    (
        "range-differs",
        r#"
Two reads give one index different ranges. Nothing is ever cut to the shorter of two lengths in silence.

    for t: x[t + 1] - x[t]                             // t < T - 1 by one, t < T by the other
    for t < T - 1: x[t + 1] - x[t]

If the two lengths should be equal, the sizes themselves are the mistake; the message shows where each comes from.
"#,
    ),
    (
        "out-of-range",
        r#"
A read could leave its tensor. bdl proves of every read that it stays inside, for all sizes that the laws allow; a read that may go
beyond says what is there.

    x[t + k - 4, c]                                    // negative at the start
    x[t + k - 4 else 0, c]                             // zeros outside
    x[clamp(t + k - 4), c]                             // the nearest element
    x[last]                                            // needs at least one element: where T >= 1

An index that comes from data (`table[token[t]]`) has the type `index(n)` with n the size of the axis, so that it cannot leave.
What stands for such an index where there is none (`argmax[k if c else 0]`, `word[t else 0]`) must be below n too, or the result is a plain whole
number. An axis that is empty has no nearest element: `clamp` and `mod` need a size of at least 1, and so do `below(n)` and `categorical(p)`.
An `if` protects no read.
"#,
    ),
    (
        "index-rebound",
        r#"
An index is bound again where it is already open, so that the outer one could not be meant any more.

    let y[t] = sum[t] x[t]                             // error
    let y[t] = sum[s] x[s] * w[t, s]
"#,
    ),
    (
        "empty-reduction",
        r#"
The mean, largest or smallest of nothing has no value (a sum of nothing is 0). If nothing may be left after the filter, say what
the value is then.

    max[e if dst[e] == v] h[src[e], c]                 // an atom without bonds?
    max[e if dst[e] == v else 0] h[src[e], c]

Without a filter the size must be at least 1. Where only the data can tell, every example is held to it (`law-violated` names the row);
a law has words of its own: `where T >= 1 else "an empty sequence"`.
"#,
    ),
    (
        "not-affine",
        r#"
A subscript multiplies or divides by an index. Subscripts are sums of indices times sizes (`2 * t + k - 3`), quotients and remainders
by sizes (`t / 2`, `t % 3`), or data.
"#,
    ),
];
