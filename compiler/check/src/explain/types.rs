//! Pages about kinds of values.

use super::Page;

pub(super) const PAGES: &[Page] = &[
    (
        "type-mismatch",
        r#"
A value is of another kind than its place asks for: letters where numbers are expected, a truth value in a sum, a record where a
tensor is expected.

    sum[t] (dna[t] == "A")                 // truth values are not added
    sum[t] f32(dna[t] == "A")              // yes counts as 1

Numbers are `f32`; classes are `category(K)`, compared by name; positions are `index(V)`; sequences are letters (`DNA[T]`), which
`onehot` turns into numbers and `Embedding` into learned rows.
"#,
    ),
    (
        "probabilities-to-logit-loss",
        r#"
A loss that expects logits (scores before softmax or sigmoid) was given probabilities. It would apply softmax or sigmoid a second
time: training would go on, slowly and to a worse end, and nothing would tell.

    loss    cross_entropy(softmax(net(x)), y)          // error
    loss    cross_entropy(net(x), y)
    predict kind = softmax(net(x))                     // where probabilities belong
"#,
    ),
    (
        "choice-or-questions",
        r#"
One choice among K classes and K separate yes-or-no questions are different targets with different losses.

    site   = category(column("class"))                 // each window is EI, IE or N: one choice
    loss     cross_entropy(net(dna), site)

    marks  = truth(columns("mark_*"))                  // a window may carry several marks: questions
    loss     binary_cross_entropy(net(dna), marks)
"#,
    ),
    (
        "optional-value",
        r#"
A value that may be missing (`f32?`) is used as if it were there. Say what it is when it is missing, or count only what is known.

    age + 1                                            // error if some patients have no age
    (age else 50) + 1
    sum[k if known(y[k])] square(p[k] - (y[k] else 0))
"#,
    ),
    (
        "unknown-type",
        r#"
There is no type of this name. Values are `f32`, `f64`, `i32`, `bool`, `category(3)`, `index(V)`, letters `DNA RNA Protein`, and
`logit`, `prob`, `count`; the shape follows in brackets: `f32[T, 4]`. Records are defined with `type`.
"#,
    ),
    (
        "unknown-class",
        r#"
A category or letter is compared with a name it does not have. The message lists the names.

    if site == "ei" then 1 else 0                      // the classes are EI, IE, N
    if site == "EI" then 1 else 0
"#,
    ),
    (
        "not-static",
        r#"
A value that only the running model knows stands where the model is being built: a hyper-parameter, the length of a `chain`, the
direction of a `scan`. Hyper-parameters are fixed before training starts; what depends on an example is an input.

    x |> Dense(sum[t] x[t])                            // error: how many outputs would that be?
"#,
    ),
    (
        "per-example-update",
        r#"
`update` gives a state its next value, one for all examples, but this value differs from example to example. Make it one number of
the batch first.

    update mu = 0.9 * mu + 0.1 * (mean[t] x[t])               // error
    update mu = 0.9 * mu + 0.1 * (mean[batch, t] x[t])
"#,
    ),
    (
        "missing-next",
        r#"
A `scan` or `iterate` carries a value, but no step says what it becomes. Add `next NAME = ..`, or use a plain `let` before the loop
for what never changes.
"#,
    ),
    (
        "loss-not-a-number",
        r#"
A loss is one number for one example. A loss at every position is summed or averaged first.

    loss cross_entropy(net(dna)[t], site[t])                  // which t?
    loss sum[t] cross_entropy(net(dna)[t], site[t]) per T     // all, divided by the number of positions
"#,
    ),
];
