//! Metrics: how good named predictions are, each with what a constant predictor would get.
//!
//! `report accuracy(kind, site)` becomes `score("accuracy", Guess { values, width: 3 }, Truth::Classes { .. }, &[])`. The
//! functions below are pure: slices in, a number out, the same bits on every machine with the same `ln`. Each equals
//! scikit-learn's (SciPy's, for correlations) on the cases of `tests/metrics/cases.json`.
//!
//! What cannot be said is NaN and comes with a sentence ([`Score::note`]): an AUROC where only one class occurs, an R² of a
//! constant truth. Where scikit-learn counts an undefined precision as 0, so do we, and say so.
//!
//! Deliberately absent: gradients (a loss has those) and any knowledge of files or models.
//!
//! ```
//! use bdl_train::metrics::{Guess, Truth, score};
//! let names = ["EI", "IE", "N"].map(String::from);
//! let guess = Guess { values: &[0.8, 0.1, 0.1, 0.2, 0.2, 0.6, 0.3, 0.3, 0.4, 0.1, 0.7, 0.2], width: 3 };
//! let truth = Truth::Classes { ids: &[0, 2, 2, 2], names: &names };
//! let accuracy = score("accuracy", guess, truth, &[])?;
//! assert_eq!((accuracy.value, accuracy.baseline, accuracy.constant.as_str()), (0.75, 0.75, "always N"));
//! # Ok::<(), bdl_train::RunError>(())
//! ```

mod classes;
mod interval;
mod probabilities;
mod quantities;
mod ranking;
mod times;

pub use classes::{Confusion, argmax};
pub use interval::{bootstrap, wilson};
pub use probabilities::{brier, brier_classes, log_loss, log_loss_classes};
pub use quantities::{mae, mean, mse, pearson, r2, spearman};
pub use ranking::{auprc, auroc, ranks};
pub use times::concordance;

use crate::error::{RunError, RunResult};

/// Predictions of all examples, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Guess<'a> {
    /// Probabilities for classes and yes/no questions, numbers in the units of the truth otherwise.
    pub values: &'a [f64],
    /// Numbers an example: K for one choice of K, the number of questions or quantities otherwise (1 for one).
    pub width: usize,
}

/// What is true. Only known entries belong here; the caller leaves out the missing ones.
#[derive(Clone, Copy, Debug)]
pub enum Truth<'a> {
    /// One of the named classes for each example; the guess has one probability a class.
    Classes { ids: &'a [u32], names: &'a [String] },
    /// Yes or no, `width` an example; the guess has the probability of yes for each.
    Yes(&'a [bool]),
    /// `width` numbers an example.
    Numbers(&'a [f64]),
    /// A time an example, and whether it is that of an event; otherwise nothing had happened by then.
    Times { times: &'a [f64], events: &'a [bool] },
}

/// A metric's value and what it is to be compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// NaN where it is not defined; `note` says why.
    pub value: f64,
    /// What the best constant predictor gets.
    pub baseline: f64,
    /// That predictor in words: `always N`.
    pub constant: String,
    /// 95 % interval, where there is one.
    pub interval: Option<(f64, f64)>,
    pub higher_is_better: bool,
    /// What the reader has to know about the value.
    pub note: Option<String>,
    /// For `confusion`, whose value is the share of its diagonal.
    pub confusion: Option<Confusion>,
}

/// What a metric is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Classes or yes/no questions.
    Choices,
    Quantities,
    /// Times to an event that not everybody reached.
    Times,
}

/// A metric by its name in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub about: About,
    pub higher_is_better: bool,
    /// One line for the reference.
    pub meaning: &'static str,
}

/// All metrics.
pub const METRICS: &[Metric] = &[
    choice("accuracy", true, "share of examples whose most probable class is the true one"),
    choice("balanced_accuracy", true, "mean over classes of the share that is recognised"),
    choice(
        "precision",
        true,
        "share of what is called a class that is one; mean over classes if there are more than two",
    ),
    choice("recall", true, "share of a class that is called so; mean over classes if there are more than two"),
    choice("f1", true, "harmonic mean of precision and recall; mean over classes if there are more than two"),
    choice("mcc", true, "Matthews correlation of guess and truth: 1 perfect, 0 no better than chance"),
    choice("auroc", true, "probability that a yes is ranked above a no; mean over classes, one against the rest"),
    choice("auprc", true, "average precision over all thresholds; mean over classes, one against the rest"),
    choice("log_loss", false, "mean of minus the log of the probability of what is true, in nats"),
    choice(
        "brier",
        false,
        "mean squared difference of probabilities and truth; summed over classes if there are more than two",
    ),
    choice("confusion", true, "how often each class is called each class; as a number, the accuracy"),
    quantity("mse", false, "mean squared error"),
    quantity("rmse", false, "root of the mean squared error"),
    quantity("mae", false, "mean absolute error"),
    quantity("r2", true, "share of the variance that is explained"),
    quantity("pearson", true, "linear correlation"),
    quantity("spearman", true, "correlation of ranks"),
    Metric {
        name: "concordance",
        about: About::Times,
        higher_is_better: true,
        meaning: "share of pairs, one of which had its event first, in which that one has the higher risk",
    },
];

const fn choice(name: &'static str, higher_is_better: bool, meaning: &'static str) -> Metric {
    Metric { name, about: About::Choices, higher_is_better, meaning }
}

const fn quantity(name: &'static str, higher_is_better: bool, meaning: &'static str) -> Metric {
    Metric { name, about: About::Quantities, higher_is_better, meaning }
}

/// The metric of that name.
pub fn by_name(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// Computes a metric. Options: `threshold` (default 0.5) for what is decided of a yes/no question.
///
/// Errors: code `metric` for an unknown name or option, for truth of the wrong kind, for sizes that do not fit and for no
/// examples at all.
pub fn score(name: &str, guess: Guess, truth: Truth, options: &[(&str, f64)]) -> RunResult<Score> {
    let Some(metric) = by_name(name) else {
        let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        return Err(RunError::new("metric", format!("there is no metric `{name}`"))
            .help(format!("metrics: {}", names.join(", "))));
    };
    let threshold = threshold(name, options)?;
    check_sizes(name, guess, truth)?;
    let higher_is_better = metric.higher_is_better;
    if guess.values.iter().any(|value| value.is_nan()) {
        let note = Some("some predictions are not a number (NaN)".to_string());
        let (baseline, constant) = (f64::NAN, String::new());
        return Ok(Score {
            value: f64::NAN,
            baseline,
            constant,
            interval: None,
            higher_is_better,
            note,
            confusion: None,
        });
    }
    let outcome = match (metric.about, truth) {
        (About::Choices, Truth::Classes { ids, names }) => classes_score(name, guess, ids, names),
        (About::Choices, Truth::Yes(yes)) => yes_score(name, guess, yes, threshold),
        (About::Quantities, Truth::Numbers(numbers)) => quantities::by_name(name, guess, numbers),
        (About::Times, Truth::Times { times, events }) => times::outcome(guess.values, times, events),
        (About::Times, Truth::Classes { .. } | Truth::Yes(_) | Truth::Numbers(_)) => {
            return Err(RunError::new("metric", format!("`{name}` compares with times and events"))
                .help("write `concordance(risk, time, event)`"));
        }
        (About::Choices | About::Quantities, Truth::Times { .. }) => {
            return Err(RunError::new("metric", format!("`{name}` does not compare with times to an event"))
                .help("there is `concordance(risk, time, event)`"));
        }
        (About::Choices, Truth::Numbers(_)) => {
            return Err(RunError::new(
                "metric",
                format!("`{name}` compares with a category or truth value, not with numbers"),
            )
            .help("for numbers there are mse, rmse, mae, r2, pearson and spearman"));
        }
        (About::Quantities, Truth::Classes { .. } | Truth::Yes(_)) => {
            return Err(RunError::new("metric", format!("`{name}` compares with numbers, not with classes"))
                .help("for classes there are accuracy, auroc, f1, mcc, log_loss and others"));
        }
    };
    let Outcome { value, baseline, constant, interval, note, confusion } = outcome;
    Ok(Score { value, baseline, constant, interval, higher_is_better, note, confusion })
}

/// A score without what is known of the metric beforehand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub value: f64,
    pub baseline: f64,
    pub constant: String,
    pub interval: Option<(f64, f64)>,
    pub note: Option<String>,
    pub confusion: Option<Confusion>,
}

/// Is a metric of several questions (or numbers) an example the mean of the metric of each, as opposed to one count of all answers?
pub fn is_mean_over_questions(name: &str) -> bool {
    matches!(name, "auroc" | "auprc" | "mse" | "rmse" | "mae" | "r2" | "spearman" | "pearson")
}

fn threshold(name: &str, options: &[(&str, f64)]) -> RunResult<f64> {
    let mut threshold = 0.5;
    for (option, value) in options {
        match *option {
            "threshold" => threshold = *value,
            other => {
                return Err(
                    RunError::new("metric", format!("`{name}` has no option `{other}`")).help("there is `threshold:`")
                );
            }
        }
    }
    Ok(threshold)
}

fn check_sizes(name: &str, guess: Guess, truth: Truth) -> RunResult<()> {
    let (entries, wanted, what) = match truth {
        Truth::Classes { ids, names } => (ids.len(), ids.len() * names.len(), "one probability a class"),
        Truth::Yes(yes) => (yes.len(), yes.len(), "one probability a question"),
        Truth::Numbers(numbers) => (numbers.len(), numbers.len(), "one number for each that is true"),
        Truth::Times { times, .. } => (times.len(), times.len(), "one risk an example"),
    };
    if entries == 0 {
        return Err(RunError::new("metric", format!("`{name}` has no examples to look at")));
    }
    if let Truth::Classes { ids, names } = truth
        && (names.len() != guess.width || ids.iter().any(|id| *id as usize >= names.len()))
    {
        let text = format!("`{name}` compares {} classes with {} probabilities an example", names.len(), guess.width);
        return Err(RunError::new("metric", text).help("predict `softmax(...)` over the classes of the field"));
    }
    if guess.values.len() != wanted || guess.width == 0 || !guess.values.len().is_multiple_of(guess.width) {
        let text = format!("`{name}` needs {what}: {wanted} numbers, and got {}", guess.values.len());
        return Err(RunError::new("metric", text));
    }
    Ok(())
}

/// One choice of K.
fn classes_score(name: &str, guess: Guess, ids: &[u32], names: &[String]) -> Outcome {
    let decided: Vec<u32> = guess.values.chunks(guess.width).map(argmax).collect();
    let confusion = Confusion::of(&decided, ids, names);
    let k = names.len();
    let shares: Vec<f64> = confusion.true_counts().iter().map(|count| *count as f64 / ids.len() as f64).collect();
    let one_against_rest = |measure: &dyn Fn(&[f64], &[bool]) -> f64| {
        let each = (0..k).map(|class| {
            let p: Vec<f64> = guess.values.iter().skip(class).step_by(k).copied().collect();
            let yes: Vec<bool> = ids.iter().map(|id| *id as usize == class).collect();
            measure(&p, &yes)
        });
        mean_of_defined(each, |class| format!("class {}", names[class]))
    };
    match name {
        "auroc" => {
            let (value, note) = one_against_rest(&auroc);
            Outcome { value, baseline: 0.5, constant: "the same for all".into(), note, ..Outcome::default() }
        }
        "auprc" => {
            let (value, note) = one_against_rest(&auprc);
            let present = shares.iter().filter(|share| **share > 0.0);
            let baseline = present.clone().sum::<f64>() / present.count() as f64;
            Outcome { value, baseline, constant: "the same for all".into(), note, ..Outcome::default() }
        }
        "log_loss" => {
            let baseline = shares.iter().filter(|share| **share > 0.0).map(|share| -share * share.ln()).sum();
            let value = log_loss_classes(guess.values, ids, k);
            Outcome { value, baseline, constant: "always the classes' shares".into(), ..Outcome::default() }
        }
        "brier" => {
            let baseline = 1.0 - shares.iter().map(|share| share * share).sum::<f64>();
            let value = brier_classes(guess.values, ids, k);
            Outcome { value, baseline, constant: "always the classes' shares".into(), ..Outcome::default() }
        }
        _ => classes::by_name(name, confusion),
    }
}

/// Yes/no questions, `width` of them an example.
fn yes_score(name: &str, guess: Guess, yes: &[bool], threshold: f64) -> Outcome {
    let (p, questions) = (guess.values, guess.width);
    let share = yes.iter().filter(|yes| **yes).count() as f64 / yes.len() as f64;
    let each_question = |measure: &dyn Fn(&[f64], &[bool]) -> f64| {
        let each = (0..questions).map(|question| {
            let p: Vec<f64> = p.iter().skip(question).step_by(questions).copied().collect();
            let yes: Vec<bool> = yes.iter().skip(question).step_by(questions).copied().collect();
            measure(&p, &yes)
        });
        mean_of_defined(each, |question| format!("question {}", question + 1))
    };
    match name {
        "auroc" => {
            let (value, note) = each_question(&auroc);
            Outcome { value, baseline: 0.5, constant: "the same for all".into(), note, ..Outcome::default() }
        }
        "auprc" => {
            let (value, note) = each_question(&auprc);
            let shares = each_question(&|_, yes| {
                let share = yes.iter().filter(|yes| **yes).count() as f64 / yes.len() as f64;
                if share > 0.0 { share } else { f64::NAN }
            });
            Outcome { value, baseline: shares.0, constant: "the same for all".into(), note, ..Outcome::default() }
        }
        "log_loss" => {
            let baseline =
                [share, 1.0 - share].iter().filter(|share| **share > 0.0).map(|share| -share * share.ln()).sum();
            Outcome { value: log_loss(p, yes), baseline, constant: format!("always {share:.3}"), ..Outcome::default() }
        }
        "brier" => {
            let baseline = share * (1.0 - share);
            Outcome { value: brier(p, yes), baseline, constant: format!("always {share:.3}"), ..Outcome::default() }
        }
        _ => {
            let decided: Vec<u32> = p.iter().map(|p| u32::from(*p >= threshold)).collect();
            let truth: Vec<u32> = yes.iter().map(|yes| u32::from(*yes)).collect();
            let outcome =
                classes::by_name(name, Confusion::of(&decided, &truth, &["no".to_string(), "yes".to_string()]));
            // Several answers of one example are not independent, which an interval for a share takes for granted.
            Outcome { interval: outcome.interval.filter(|_| questions == 1), ..outcome }
        }
    }
}

/// The mean of the values that are defined, and a sentence about those that are not.
fn mean_of_defined(each: impl Iterator<Item = f64>, label: impl Fn(usize) -> String) -> (f64, Option<String>) {
    let values: Vec<f64> = each.collect();
    let undefined: Vec<usize> = (0..values.len()).filter(|at| values[*at].is_nan()).collect();
    let defined = values.len() - undefined.len();
    let value = values.iter().filter(|value| !value.is_nan()).sum::<f64>() / defined as f64;
    let note = match (undefined.as_slice(), values.len()) {
        ([], _) => None,
        (_, 1) => Some("not defined: the examples are all of one class".to_string()),
        (_, n) if defined == 0 => Some(format!("not defined: for each of the {n} classes the examples are all alike")),
        (some, _) => {
            let shown: Vec<String> = some.iter().take(4).map(|at| label(*at)).collect();
            let more = if some.len() > 4 { format!(" and {} more", some.len() - 4) } else { String::new() };
            Some(format!("without {}{more}, of which there are no examples or nothing else", shown.join(", ")))
        }
    };
    (value, note)
}
