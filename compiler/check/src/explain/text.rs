//! Pages about the text of a program.

use super::Page;

pub(super) const PAGES: &[Page] = &[
    (
        "syntax",
        r#"
The text does not follow the grammar at this place. The message says what was found and what could stand there.

    let y[t] = sum[k] x[t + k] w[k]        // error: `w` after a complete value
    let y[t] = sum[k] x[t + k] * w[k]

A line ends a statement unless a bracket is open or the next line begins with `|>`, an operator, `then` or `else`.
"#,
    ),
    (
        "bad-letter",
        r#"
A letter that means nothing in a program stands here, often pasted from a word processor: a curly quote, a long dash, a blank
that is none.

    data D = csv(“cells.csv”) { .. }       // error: curly quotes
    data D = csv("cells.csv") { .. }
"#,
    ),
    (
        "bad-number",
        r#"
This is almost a number. Whole numbers are digits with `_` between them, real numbers have a point or an exponent.

    epochs 1_000
    optimizer adam(1e-3)
    let eps = 0.5                          // not `.5` and not `0,5`
"#,
    ),
    (
        "unclosed-bracket",
        r#"
A bracket was opened and never closed. The message points at the opening one; the item after it is read as if it had been closed.

    model Net(x: f32[C]) -> logit[3] { x |> Dense(3          // `)` is missing
"#,
    ),
    (
        "unopened-bracket",
        r#"
A closing bracket stands where none is open, or another kind of bracket is open. Delete it or open one before it.
"#,
    ),
    (
        "unclosed-text",
        r#"
A text in quotes does not end on its line. Put the closing `"` at its end; a quote inside a text is written `\"`.
"#,
    ),
    (
        "too-deep",
        r#"
Brackets, operators or blocks are nested deeper than any program needs, and reading on could exhaust the machine. Name parts with
`let` and use the names.
"#,
    ),
    (
        "reserved-word",
        r#"
The word has a meaning of its own and cannot be used as a value or name here. The names of reductions (`sum mean max ..`) and
`batch` are such words.

    data Plates = csv("plates.csv") { batch = category(column("batch")) }     // error
    data Plates = csv("plates.csv") { plate = category(column("batch")) }

A model is a function of one example: `batch` appears only inside a reduction, as in `mean[batch] x`, and never as an axis.
"#,
    ),
];
