//! Metrics of decisions: everything that follows from how often each class is called each class.

use super::Outcome;
use super::interval::wilson;

/// Counts of examples: row = true class, column = decided class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    pub names: Vec<String>,
    pub counts: Vec<Vec<u64>>,
}

/// The most probable class; the first of equals.
pub fn argmax(probabilities: &[f64]) -> u32 {
    let mut best = 0;
    for (class, p) in probabilities.iter().enumerate() {
        if *p > probabilities[best] {
            best = class;
        }
    }
    best as u32
}

impl Confusion {
    /// Counts decisions. Ids are below `names.len()`.
    pub fn of(decided: &[u32], truth: &[u32], names: &[String]) -> Self {
        let mut counts = vec![vec![0; names.len()]; names.len()];
        truth.iter().zip(decided).for_each(|(truth, decided)| counts[*truth as usize][*decided as usize] += 1);
        Confusion { names: names.to_vec(), counts }
    }

    /// Examples of each class.
    pub fn true_counts(&self) -> Vec<u64> {
        self.counts.iter().map(|row| row.iter().sum()).collect()
    }

    /// How often each class is called.
    pub fn decided_counts(&self) -> Vec<u64> {
        (0..self.names.len()).map(|class| self.counts.iter().map(|row| row[class]).sum()).collect()
    }

    fn hits(&self) -> u64 {
        (0..self.names.len()).map(|class| self.counts[class][class]).sum()
    }

    fn examples(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Share of the diagonal.
    pub fn accuracy(&self) -> f64 {
        self.hits() as f64 / self.examples() as f64
    }

    /// Mean of the recalls of the classes that occur.
    pub fn balanced_accuracy(&self) -> f64 {
        let recalls = self.true_counts().into_iter().enumerate().filter(|(_, count)| *count > 0);
        let recalls: Vec<f64> = recalls.map(|(class, count)| self.counts[class][class] as f64 / count as f64).collect();
        recalls.iter().sum::<f64>() / recalls.len() as f64
    }

    /// Hits over calls of a class; NaN if it is never called.
    pub fn precision(&self, class: usize) -> f64 {
        self.counts[class][class] as f64 / self.decided_counts()[class] as f64
    }

    /// Hits over examples of a class; NaN if it does not occur.
    pub fn recall(&self, class: usize) -> f64 {
        self.counts[class][class] as f64 / self.true_counts()[class] as f64
    }

    /// 2 hits / (calls + examples); NaN if the class neither is called nor occurs.
    pub fn f1(&self, class: usize) -> f64 {
        2.0 * self.counts[class][class] as f64 / (self.decided_counts()[class] + self.true_counts()[class]) as f64
    }

    /// Matthews correlation coefficient for any number of classes; 0 where only one class occurs or is called.
    /// Source: Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006, eq. 8.
    pub fn mcc(&self) -> f64 {
        let n = self.examples() as f64;
        let (truth, decided) = (self.true_counts(), self.decided_counts());
        let dot = |a: &[u64], b: &[u64]| a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>();
        let above = self.hits() as f64 * n - dot(&truth, &decided);
        let below = (n * n - dot(&decided, &decided)) * (n * n - dot(&truth, &truth));
        if below == 0.0 { 0.0 } else { above / below.sqrt() }
    }

    /// The same examples, all called one class.
    fn always(&self, class: usize) -> Confusion {
        let counts = self.true_counts().into_iter().map(|count| {
            let mut row = vec![0; self.names.len()];
            row[class] = count;
            row
        });
        Confusion { names: self.names.clone(), counts: counts.collect() }
    }

    /// The class with most examples, the first of equals.
    fn most_frequent(&self) -> usize {
        let counts = self.true_counts();
        (0..counts.len()).fold(0, |best, class| if counts[class] > counts[best] { class } else { best })
    }

    /// Mean of a class measure over the classes that occur or are called, undefined ones counted as 0; for two classes
    /// called no and yes that of yes alone.
    fn mean(&self, measure: impl Fn(&Confusion, usize) -> f64) -> f64 {
        let or_zero = |value: f64| if value.is_nan() { 0.0 } else { value };
        if self.is_yes_no() {
            return or_zero(measure(self, 1));
        }
        let (truth, decided) = (self.true_counts(), self.decided_counts());
        let classes: Vec<usize> = (0..self.names.len()).filter(|class| truth[*class] + decided[*class] > 0).collect();
        classes.iter().map(|class| or_zero(measure(self, *class))).sum::<f64>() / classes.len() as f64
    }

    fn is_yes_no(&self) -> bool {
        self.names == ["no", "yes"]
    }

    /// A sentence about classes whose measure was undefined and counted as 0.
    fn zero_note(&self, what: &str, counts: &[u64]) -> Option<String> {
        let others = if what == "precision" { self.true_counts() } else { self.decided_counts() };
        let empty = |class: usize| counts[class] == 0 && (self.is_yes_no() || others[class] > 0);
        let classes = if self.is_yes_no() { 1..2 } else { 0..self.names.len() };
        let names: Vec<&str> = classes.filter(|class| empty(*class)).map(|class| self.names[class].as_str()).collect();
        let why = if what == "precision" { "never called" } else { "without examples" };
        (!names.is_empty()).then(|| format!("{} is {why}; its {what} is counted as 0", names.join(", ")))
    }
}

/// The metrics of decisions by name.
pub(super) fn by_name(name: &str, confusion: Confusion) -> Outcome {
    let majority = confusion.most_frequent();
    // What a constant gets is worth knowing where it is highest: for yes/no measures of yes, "always yes".
    let of_yes = matches!(name, "precision" | "recall" | "f1") && confusion.is_yes_no();
    let always = if of_yes { 1 } else { majority };
    let constant = confusion.always(always);
    let both = |measure: &dyn Fn(&Confusion) -> f64| (measure(&confusion), measure(&constant));
    let ((value, baseline), note) = match name {
        "balanced_accuracy" => (both(&Confusion::balanced_accuracy), absent_note(&confusion)),
        "precision" => {
            (both(&|c| c.mean(Confusion::precision)), confusion.zero_note("precision", &confusion.decided_counts()))
        }
        "recall" => (both(&|c| c.mean(Confusion::recall)), confusion.zero_note("recall", &confusion.true_counts())),
        "f1" => (both(&|c| c.mean(Confusion::f1)), None),
        "mcc" => (both(&Confusion::mcc), mcc_note(&confusion)),
        // `accuracy`, and `confusion`, whose number is the accuracy.
        _ => (both(&Confusion::accuracy), None),
    };
    let interval = (name == "accuracy").then(|| wilson(confusion.hits(), confusion.examples()));
    let constant = format!("always {}", confusion.names[always]);
    let confusion = (name == "confusion").then_some(confusion);
    Outcome { value, baseline, constant, interval, note, confusion }
}

fn absent_note(confusion: &Confusion) -> Option<String> {
    let counts = confusion.true_counts();
    let absent: Vec<&str> =
        (0..counts.len()).filter(|c| counts[*c] == 0).map(|c| confusion.names[c].as_str()).collect();
    (!absent.is_empty()).then(|| format!("without {}, of which there are no examples", absent.join(", ")))
}

fn mcc_note(confusion: &Confusion) -> Option<String> {
    let only_one = |counts: Vec<u64>| counts.iter().filter(|count| **count > 0).count() < 2;
    if only_one(confusion.true_counts()) {
        Some("not defined where the examples are all of one class; counted as 0".into())
    } else if only_one(confusion.decided_counts()) {
        Some("not defined where only one class is ever called; counted as 0".into())
    } else {
        None
    }
}
