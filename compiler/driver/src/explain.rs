//! `bdl check --explain CODE`: a page for every code that any message carries.

use crate::error::Failure;

/// Codes of the commands themselves.
pub const CODES: &[(&str, &str)] = &[
    (
        "missing-file",
        "A file that was named is not there or cannot be read. Paths inside a program are relative to the program's file; \
paths on the command line to the folder you are in.",
    ),
    (
        "device-missing",
        "`--device cuda` found nothing to compute on: no NVIDIA driver on this machine (`libcuda.so`), one that is older than CUDA 12.0, no GPU \
(`nvidia-smi` lists them; `CUDA_VISIBLE_DEVICES` hides some), or no GPU of the number in `cuda:1`. No CUDA toolkit is needed, only the driver. \
Without `--device` bdl computes on the processor.",
    ),
    ("not-text", "A program is UTF-8 text. Save the file as UTF-8; a word processor's document does not work."),
    (
        "data-source",
        "A `data` block reads a source: `csv(\"file.csv\")`, `tsv(\"file.tsv\")`, gzipped or not, or makes rows with \
`synthetic(rows: 1000, seed: 1)`. Options: header, missing, comment, decimal.",
    ),
    (
        "data-expression",
        "A field of a `data` block is a column with an encoder and steps, such as \
`number(column(\"age\")) |> log1p |> standardize`. Anything else has to be computed in the model.",
    ),
    ("unknown-entry", "The block has no such entry. The message lists those there are."),
    ("unknown-option", "The source or encoder has no such option. The message lists those there are."),
    (
        "unknown-override",
        "`--set NAME=VALUE` gives a hyper-parameter of the `train` block (`lr`) or of a model in it (`net.width`) another \
value. The message lists the names there are.",
    ),
    (
        "built-length-differs",
        "A parameter depends on a size of the data, as when `flatten |> Dense(64)` needs a weight for every position, and the \
rows differ in that size. Reduce over the positions first (`GlobalMaxPool()`, `GlobalAvgPool()`), or leave such rows out with `keep`.",
    ),
    (
        "no-train",
        "The command needs a `train` block: `train NAME { model net = .. data .. loss .. optimizer .. epochs .. batch .. }`. `bdl bench` needs \
its `optimizer`, `bdl bench --predict` its `predict`.",
    ),
    ("which-train", "The file has several `train` blocks: say which, as FILE:NAME."),
    ("no-data", "The command looks at `data` blocks, and the file has none."),
    ("no-rows", "No rows are left: the file is empty, or `keep` and `distinct` dropped all of them."),
    (
        "empty-part",
        "A part of the split holds no rows, but the program needs it. Give it a share: \
`split random(train: 0.7, valid: 0.15, test: 0.15)`.",
    ),
    (
        "grad-across-batch",
        "`grad(f(x), x)` is the gradient of one example's value by that example's x. Where f looks across the batch, as BatchNorm does, \
other examples have a part in the value and there is no such gradient. Normalise within the example (`LayerNorm()`), as critics with a \
gradient penalty do, or take the gradient of a value that all examples share (`mean[batch] f(x)`).",
    ),
    ("no-expect", "`bdl test` judges `expect` blocks, and the file has none: `expect NAME { test.accuracy >= 0.9 }`."),
    (
        "expect",
        "An expectation names a score that the run does not measure. Add the metric to `report`, and give the part a share of the split.",
    ),
    (
        "inputs",
        "The inputs of `bdl grad` are an npz file: an array a field, the batch first, numbers as float32 or float64, categories, letters \
and indices as int32 from 0.",
    ),
    ("bad-name", "A project's name becomes a folder and a file: letters, digits, `_` and `-`."),
    ("name-taken", "Something of that name is there already; nothing is overwritten."),
    (
        "batch-in-parts",
        "`batch 64 in 4 parts` sums the gradient over parts of a batch, each looked at by itself. A loss that compares the examples of a \
batch (Cox, contrastive) needs all of them at once: leave out `in .. parts`, or take a smaller batch.",
    ),
    (
        "iterate-bound",
        "An `iterate .. until .. at most n` stopped at its bound before its condition held, for some examples. Their value is what was \
reached. Allow more steps, ask for less precision, or look at what does not converge.",
    ),
    (
        "undefined-score",
        "`keep best` names a score that was no number after any epoch: a correlation of constants, an AUROC where all rows are of one class, a metric \
that takes the logarithm of what is below 0. The weights of the last epoch are kept. Choose another score, or a validation part that has it.",
    ),
    (
        "no-derivative",
        "Training asks for the gradient of something that has none, such as an algorithm that is no equation. `freeze(x)` takes x as \
given; the rest is then differentiated.",
    ),
    (
        "no-folds",
        "`bdl cv` trains every fold of a split, and this one has parts instead. Write `split kfold(5)` or `split leave_one_out`.",
    ),
    (
        "size-not-given",
        "A parameter depends on a size of the signature that was not given to `Model::from_source`. Give it with the model: \
`(\"L\", 60)`.",
    ),
    (
        "class-not-in-training",
        "No training row has a class of the field, so the model cannot learn it, and test rows of that class count as wrong. \
`split random(.., balance: y)` gives every part its share of each class.",
    ),
    (
        "write-failed",
        "A file that a command was asked to write could not be written: its folder does not exist, or may not be written to.",
    ),
    (
        "unknown-code",
        "Codes stand in brackets behind `error` or `warning`: in `error[dim-mismatch]` it is dim-mismatch.",
    ),
    (
        "no-runs",
        "`bdl runs` lists the folders below `runs/` in the folder you are in. Another place is named: `bdl runs DIR`.",
    ),
    (
        "nothing-in-common",
        "`bdl compare` looks at rows that both runs held out, because a difference on other rows says nothing about the models. The two \
splits have no such row in common: give both runs the same `split` (and the same split seed).",
    ),
    (
        "other-data",
        "`bdl compare` looks at the same rows of the same file; the two runs read files of different content. `--data NAME=FILE` gives both the same one.",
    ),
    (
        "unknown-command",
        "At the prompt a word behind a colon is a command; `:help` lists them. The beginning of a word is enough where only one begins so: `:t` is not enough, `:ty` is.",
    ),
    ("unknown-row", "`:data NAME ROW` takes a row of the data block, from 1, counted after `keep` and `distinct`."),
    (
        "not-drawn",
        "`:plot` draws a vector as a curve, a matrix as a heat map, and a function over a range: `:plot tanh(x), x in -3 .. 3`. Of other shapes \
take a part: `:plot w[0]`.",
    ),
    (
        "terminal",
        "The terminal cannot be read line by line. Pipe a text into `bdl repl` instead: `bdl repl < session.txt`.",
    ),
];

/// Codes of the lexer and parser.
pub const SYNTAX: &[(&str, &str)] = &[
    (
        "syntax",
        "The text is not bdl at this place. The message says what was found and what may stand there; `grammar/README.md` has every \
construct with an example. Parsing goes on after the statement, so several mistakes give several messages.",
    ),
    (
        "unclosed-bracket",
        "A bracket is opened and never closed. A line that begins with `let`, `param` or an item word ends open brackets, so the \
mistake stays in its statement.",
    ),
    ("unopened-bracket", "A bracket closes that was never opened, or opened as another kind."),
    ("unclosed-text", "A text in quotes does not end on its line. Write `\\\"` for a quote inside."),
    (
        "bad-letter",
        "A character that no bdl text can hold outside of comments and texts, such as a typographic quote or minus.",
    ),
    (
        "bad-number",
        "A number that cannot be read: too large for 64 bits, or digits mixed with letters. `1_000`, `0.5`, `1e-3` are numbers.",
    ),
    (
        "reserved-word",
        "The names of reductions (sum, prod, min, max, mean, any, all, argmax, argmin, logsumexp) and words such as `if`, `for`, \
`batch` cannot name a field or a variable. They stay legal after a dot and as named arguments.",
    ),
    ("too-deep", "Brackets or operators are nested more than 500 deep; give parts names with `let`."),
    (
        "not-built-yet",
        "The language has this construct and this version of bdl does not compile it yet. The message names it; leave it out for now.",
    ),
];

/// The page of a code.
pub fn page(code: &str) -> Result<String, Failure> {
    if let Some(page) = bdl_check::explain(code) {
        return Ok(format!("{}\n", page.trim_end()));
    }
    if let Some((code, text)) = SYNTAX.iter().find(|(known, _)| *known == code) {
        return Ok(format!("{code}\n\n{}\n", wrapped(text, 100)));
    }
    let warnings = bdl_data::summary::WARNINGS;
    let tables = [CODES, bdl_data::error::CODES, bdl_train::error::CODES, warnings];
    let found = tables.iter().flat_map(|table| table.iter()).find(|(known, _)| *known == code);
    match found {
        Some((code, text)) => Ok(format!("{code}\n\n{}\n", wrapped(text, 100))),
        None => Err(Failure::user("unknown-code", format!("there is no code `{code}`"))
            .help("codes stand in brackets: error[dim-mismatch]")),
    }
}

/// Breaks text at blanks so that no line is longer than `width`.
fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let letters = word.chars().count();
        if length > 0 && length + 1 + letters > width {
            out.push('\n');
            length = 0;
        } else if length > 0 {
            out.push(' ');
            length += 1;
        }
        out.push_str(word);
        length += letters;
    }
    out
}
