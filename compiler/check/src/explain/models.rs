//! Pages about models that are right by their types and hardly meant.

use super::Page;

pub(super) const PAGES: &[Page] = &[
    (
        "nothing-between",
        r#"
Two layers that only multiply and add stand next to each other. An affine map of an affine map is an affine map: the two together can do
nothing that one of them could not, they only cost twice and train worse. Usually an activation was forgotten.

    x |> Dense(128) |> Dense(64)                       // one map from x to 64 numbers, at the price of two
    x |> Dense(128) |> relu |> Dense(64)

No warning is given where the numbers between are fewer than those on both sides: such a pair is a map of low rank, and meant.
"#,
    ),
    (
        "logit-not-negative",
        r#"
A logit is the logarithm of odds and may be any number: below 0 the answer is rather no. A model whose logits are cut at 0, or squared,
or exponentiated, can never say no: every probability is at least one half, and in a choice no class can be ruled out.

    model Net(x: f32[C]) -> logit[3] { x |> Dense(3) |> relu }     // an activation too many
    model Net(x: f32[C]) -> logit[3] { x |> Dense(3) }
"#,
    ),
    (
        "softmax-of-one",
        r#"
`softmax` divides each of several numbers by their sum. Of one number that is 1, whatever the number, and nothing trains through it.

    model Net(x: f32[C]) -> logit[1] { x |> Dense(1) }
    predict p = softmax(net(x))                        // always 1
    model Net(x: f32[C]) -> logit { x |> Neuron() }    // one question: yes or no
    predict p = sigmoid(net(x))
"#,
    ),
    (
        "part-of-batch",
        r#"
Cox's partial likelihood compares each patient who had the event with everyone who was still at risk then. In a batch that holds only some
of the patients the risk sets are incomplete, and the loss is another one in every batch. Take all rows that train as one batch; a survival
data set is rarely so large that this does not fit.

    let rest = logsumexp[other in batch if other.time >= time] other.risk
    batch 32                                           // of 1,300 patients: 32 are compared
    batch 1300
"#,
    ),
    (
        "last-batch-of-one",
        r#"
The rows that train do not divide into batches, and the last batch of every epoch is a single row. A layer that compares each value with its
mean over the batch, as BatchNorm does, has nothing to compare it with there: the difference is 0, the variance is 0, and that step trains
on noise. Every other size of the last batch is fine. A batch that is computed in parts has its statistics part by part: the last part of a
batch may be a single row as well.

    batch 33                                           // of 100 rows: 33, 33, 33 and 1
    batch 32                                           // 32, 32, 32 and 4
    batch 7 in 3 parts                                 // 3, 3 and 1
    batch 8 in 3 parts                                 // 3, 3 and 2
    x |> Dense(64) |> LayerNorm()                      // needs no other example
"#,
    ),
    (
        "batch-of-one",
        r#"
A layer compares each value with its mean over the batch, and the batch is one example: the difference is 0 and nothing of the value is
left. Train on larger batches, or normalise within the example.

    batch 1                                            // with BatchNorm() after a dense layer: always 0
    batch 4 in 4 parts                                 // the same: the statistics are those of a part
    batch 32
    x |> Dense(64) |> LayerNorm()                      // needs no other example
"#,
    ),
];
