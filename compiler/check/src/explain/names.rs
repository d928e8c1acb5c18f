//! Pages about names and applications.

use super::Page;

pub(super) const PAGES: &[Page] = &[
    (
        "unknown-name",
        r#"
Nothing of this name is known at this place. If a name is near, the message suggests it.

    x |> Desne(64)                         // did you mean `Dense`?

Known are: inputs, hyper-parameters, sizes of the signature, `let`s before this line, indices of the enclosing `for` and
reductions, definitions of the file and of files it uses, and the standard library.
"#,
    ),
    (
        "duplicate-name",
        r#"
One name is given twice where it may stand once. A `let` never changes its value, so a second one needs a name of its own.

    let h = x |> Dense(64)
    let h = h |> relu                      // error: `h` again
    let a = h |> relu
"#,
    ),
    (
        "private-name",
        r#"
A name that begins with `_` belongs to its file. Drop the `_` there to share it, or write a public definition that uses it.
"#,
    ),
    (
        "use-cycle",
        r#"
Two files use each other, directly or through others. Move what both need into a third file that uses neither.
"#,
    ),
    (
        "unknown-module",
        r#"
`use std.NAME` names a part of the standard library that does not exist. The standard library is in scope without `use`; files of
your own are used by path: `use "./blocks.bdl"`.
"#,
    ),
    (
        "recursion",
        r#"
A function or layer applies itself. Since all sizes are known when a model is built, it would be unrolled for ever.

    layer Deep(n: dim)(x: f32[C]) -> f32[C] { x |> Dense(C) |> Deep(n - 1) }        // error
    layer Deep(n: dim)(x: f32[C]) -> f32[C] { x |> chain(_ in n: Dense(C)) }

What is carried from step to step along a sequence is a `scan`; what runs until a condition holds is an `iterate`.

Constants and types stand for what is written in their place, so they may not be made of themselves either, directly or through others.

    const k = k + 1        // error
    type A = (b: A)        // error
"#,
    ),
    (
        "unknown-argument",
        r#"
The layer or function has no hyper-parameter or input of this name. The message lists those it has.

    x |> Conv1d(32, kernal: 9)             // did you mean `kernel`?

Hyper-parameters stand in the first bracket of a layer; inputs are what it is applied to.
"#,
    ),
    (
        "missing-argument",
        r#"
A hyper-parameter or input without a default was left out.

    x |> Conv1d(32)                        // error: `Conv1d` needs `kernel`
    x |> Conv1d(32, kernel: 9)
"#,
    ),
    (
        "wrong-arguments",
        r#"
The arguments do not fit what is applied: too many, of the wrong kind, or without the name they need. Only the first
hyper-parameter of a layer may stand without its name.

    x |> Conv1d(32, 9)                     // which one is 9?
    x |> Conv1d(32, kernel: 9)
"#,
    ),
    (
        "not-a-function",
        r#"
Something is applied that is neither a function nor a layer.

    let w = x(3)                           // x is a tensor: its elements are read with brackets
    let w = x[3]
"#,
    ),
    (
        "unknown-field",
        r#"
The record has no field of this name; the message lists those it has.

    let q = net(x)                         // (mean: f32[10], log_var: f32[10])
    q.variance                             // error: the field is called `log_var`
"#,
    ),
    (
        "misplaced-statement",
        r#"
A statement stands where it has no meaning. `param` and `state` belong to the outermost level of a layer or model, `update` too;
`next` and `emit` belong to a `scan`.

    fn scale(x: f32[C]) -> f32[C] { param w: f32[C] = ones; x * w }       // error: a `fn` owns no parameters
    layer Scale()(x: f32[C]) -> f32[C] { param w: f32[C] = ones; x * w }
"#,
    ),
    (
        "no-value",
        r#"
A body or block ends with a statement and so has no value. The value is its last expression.

    fn centre(x: f32[C]) -> f32[C] { let m = mean[c] x[c] }               // error
    fn centre(x: f32[C]) -> f32[C] { let m = mean[c] x[c]; x - m }
"#,
    ),
    (
        "unused-value",
        r#"
An expression stands alone on its line and nothing reads it: only the last expression of a block is its value. Often a `|>` at the
start of the next line is missing.
"#,
    ),
    (
        "unused-input",
        r#"
A layer or model has an input that nothing in its body reads, so the result cannot depend on it. That is rarely meant; if it is,
let the name begin with `_`.
"#,
    ),
    (
        "unused-hyper",
        r#"
A layer or model has a hyper-parameter that nothing reads: whatever it is set to, the model stays the same. Searching over it would
compare chance with chance.
"#,
    ),
    (
        "not-built-yet",
        r#"
This belongs to the language but this version of bdl does not have it. The message names a way to do without, where there is one.
"#,
    ),
];
