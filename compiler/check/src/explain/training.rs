//! Pages about `train` and `expect`.

use super::Page;

pub(super) const PAGES: &[Page] = &[
    (
        "test-leak",
        r#"
The test part was read before training ended. If the test rows decide when to stop or which weights to keep, their score says nothing
about new data any more. `report` and `expect` may read `test`; everything that steers uses `valid`.

    keep best test.auroc                               // error
    keep best valid.auroc
"#,
    ),
    (
        "unknown-entry",
        r#"
A `train` block has no entry of this name. Its entries are model, data, let, split, loss, penalty, optimizer, epochs, batch, stop,
average, keep, clip, predict, report, fit, frozen and step.
"#,
    ),
    (
        "missing-entry",
        r#"
A `train` block needs data, a loss, and, if it has an optimizer, a number of epochs.

    train splice {
      model     net = SpliceNet()
      data      Junctions
      loss      cross_entropy(net(dna), site)
      optimizer adam(1e-3)
      epochs    40
    }
"#,
    ),
    (
        "unknown-metric",
        r#"
There is no metric of this name, or the score was never reported. `keep`, `stop` and `expect` may read `loss` and every metric that
`report` names.

    report accuracy(kind, site)
    keep   best valid.auroc                            // error: add auroc(kind, site) to the report
"#,
    ),
    (
        "metric-argument",
        r#"
A metric compares a named prediction with a field of the data. Metrics of choices (accuracy, auroc, log_loss, ..) take probabilities
and classes or truth values; metrics of quantities (mse, r2, pearson, ..) take numbers. Shapes must fit: one probability a class.

    predict kind = softmax(net(dna))                   // prob[3]
    report  accuracy(kind, site)                       // site: category(3)
"#,
    ),
    (
        "no-such-part",
        r#"
A score is asked for on a part of the data that the split does not make. Give the part a share of the rows:

    split random(train: 0.7, valid: 0.15, test: 0.15)
"#,
    ),
    (
        "wrong-number",
        r#"
A number is outside what is possible: epochs and batch are at least 1, shares of a split lie between 0 and 1 and sum to 1,
what `clip` keeps gradients within is above 0.
"#,
    ),
    (
        "no-gradient",
        r#"
A prediction reads parameters that the loss does not, so nothing trains them and they keep their first, random values. Usually the
prediction builds a second instance of the model instead of using the trained one.

    model   net = Net()
    loss    mse(net(x), y)
    predict guess = Net()(x)                           // another instance
    predict guess = net(x)
"#,
    ),
    (
        "weighted-twice",
        r#"
Classes of unequal size are made up for in two ways at once: rows of small classes are repeated or made up, and each of them also
counts more in the loss. Together they turn the small class into the large one. One of the two is enough:

    rows    smote(y)
    weights balanced(y)                                // either, not both
"#,
    ),
];
