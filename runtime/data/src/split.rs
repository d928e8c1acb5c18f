//! One way to split: a list of row numbers for each part, a function of the data, the request and the split's own seed.
//!
//! ```text
//! random(train: 0.7, valid: 0.15, test: 0.15, balance: site)     each class in the same proportions
//! random(.., groups: patient)                                    a group is never cut
//! kfold(5, repeats: 3)                                           15 pairs of train and test
//! given(part)                                                    a column says train, valid or test
//! by(chrom, valid: ["chr8"], test: ["chr9"])                     the named values of a column; all others train
//! time(day, valid: 0.1, test: 0.1, gap: 7)                       the last rows in time; 7 days or more lie between them and others
//! time(day, folds: 4)                                            each fold trains on what came before it
//! leave_one_out                                                  as many pairs as rows
//! identity(seq, below: 0.3, train: 0.8, test: 0.2)               similar sequences are never cut apart
//! scaffold(smiles, train: 0.8, test: 0.2)                        molecules of one scaffold are never cut apart
//! entries(y, train: 0.6, valid: 0.2, test: 0.2)                  the elements of a field; rows are in every part
//! ```
//!
//! Rows of a part are in the order of the file; shuffling within an epoch is the trainer's. Sizes are exact: fractions are
//! rounded by largest remainder, class by class, and what rounding took from a part in one class it gets back in the next.

use crate::dataset::Dataset;
use crate::error::{DataError, DataResult};
use crate::facts::Kind;
use crate::field::{MISSING_ID, MISSING_TRUTH, Values};
use crate::identity;
use crate::molecule;
use crate::summary::Warning;
use bdl_kernels::philox::permutation;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Row numbers of the three parts, each ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    pub train: Vec<u32>,
    pub valid: Vec<u32>,
    pub test: Vec<u32>,
}

impl Parts {
    /// Without a split all rows train.
    pub fn all(rows: usize) -> Self {
        Parts { train: (0..rows as u32).collect(), valid: vec![], test: vec![] }
    }

    /// The parts with their names.
    pub fn named(&self) -> [(&'static str, &[u32]); 3] {
        [("train", &self.train), ("valid", &self.valid), ("test", &self.test)]
    }
}

/// What `split` in a `train` block says.
#[derive(Clone, Debug, PartialEq)]
pub enum SplitSpec {
    /// No split: all rows train.
    None,
    Random(RandomSplit),
    Kfold(KfoldSplit),
    /// The field's text in each row is `train`, `valid` or `test`.
    Given {
        field: String,
    },
    /// The field's text in each row: one of these validates or tests, any other trains.
    By {
        field: String,
        valid: Vec<String>,
        test: Vec<String>,
    },
    Time(TimeSplit),
    /// One fold a row, which is tested.
    LeaveOneOut,
    Identity(IdentitySplit),
    Scaffold(ScaffoldSplit),
    Entries(EntriesSplit),
}

/// `identity(field, below:, train:, valid:, test:, balance:, seed:)`, or with `folds:` instead of shares.
#[derive(Clone, Debug, PartialEq)]
pub struct IdentitySplit {
    /// Letters.
    pub field: String,
    /// Rows whose sequences have at least this identity (see [`crate::identity`]) stay together.
    pub below: f64,
    pub train: f64,
    pub valid: f64,
    pub test: f64,
    /// Above 1: that many parts of equal size, each tested once.
    pub folds: usize,
    pub balance: Option<String>,
    pub seed: u64,
}

/// `scaffold(field, train:, valid:, test:, balance:, seed:)`, or with `folds:` instead of shares.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaffoldSplit {
    /// Molecules as SMILES. Those of one scaffold (see [`crate::molecule`]) stay together; those without rings have one, the empty one.
    pub field: String,
    pub train: f64,
    pub valid: f64,
    pub test: f64,
    /// Above 1: that many parts of equal size, each tested once.
    pub folds: usize,
    pub balance: Option<String>,
    pub seed: u64,
}

/// `entries(field, train:, valid:, test:, seed:)`: the elements of a field are shared out, class by class; every row is in every part.
#[derive(Clone, Debug, PartialEq)]
pub struct EntriesSplit {
    pub field: String,
    pub train: f64,
    pub valid: f64,
    pub test: f64,
    pub seed: u64,
}

/// `time(field, valid:, test:, gap:)`, or `time(field, folds:, gap:)`.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeSplit {
    /// A number a row.
    pub field: String,
    /// Shares of the rows.
    pub valid: f64,
    pub test: f64,
    /// Rows closer than this before the first of a later part are left out, in units of the field.
    pub gap: f64,
    /// Above 1: that many test parts of equal size after a first part of that size, each tested by what came before it.
    pub folds: usize,
}

/// `random(train:, valid:, test:, balance:, groups:, seed:)`.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomSplit {
    pub train: f64,
    pub valid: f64,
    pub test: f64,
    /// A category or truth field whose classes are to have the same proportions in each part.
    pub balance: Option<String>,
    /// Rows with the same value of this field stay together.
    pub groups: Option<String>,
    pub seed: u64,
}

/// `kfold(k, repeats:, balance:, groups:, seed:)`.
#[derive(Clone, Debug, PartialEq)]
pub struct KfoldSplit {
    pub k: usize,
    pub repeats: usize,
    pub balance: Option<String>,
    pub groups: Option<String>,
    pub seed: u64,
}

/// Shuffles of splits are told apart from those of epochs, which count from 0.
const SPLIT_STREAM: u64 = 1 << 40;

impl Dataset {
    /// Splits the rows; one entry a fold (one for all but `kfold`).
    ///
    /// Errors: `bad-split`, `class-too-small`, `too-few-groups`, `too-few-rows`, `unknown-part`, `unknown-field`,
    /// `missing-value` where a row has no group or class.
    pub fn split(&self, split: &SplitSpec) -> DataResult<Vec<Parts>> {
        match split {
            SplitSpec::None => Ok(vec![Parts::all(self.rows())]),
            SplitSpec::Random(random) => Ok(vec![self.split_random(random)?]),
            SplitSpec::Kfold(kfold) => self.split_kfold(kfold),
            SplitSpec::Given { field } => Ok(vec![self.split_given(field)?]),
            SplitSpec::By { field, valid, test } => Ok(vec![self.split_by(field, valid, test)?]),
            SplitSpec::Time(time) => self.split_time(time),
            SplitSpec::Identity(identity) => self.split_identity(identity),
            SplitSpec::Scaffold(scaffold) => self.split_scaffold(scaffold),
            SplitSpec::Entries(_) => {
                // The rows once for each part; `Encoded::in_parts` makes them.
                let rows = self.rows() as u32;
                let copy = |part: u32| (part * rows..(part + 1) * rows).collect();
                Ok(vec![Parts { train: copy(0), valid: copy(1), test: copy(2) }])
            }
            SplitSpec::LeaveOneOut => {
                let rows = self.rows() as u32;
                let others = |row: u32| (0..rows).filter(|other| *other != row).collect();
                if rows < 2 {
                    return Err(DataError::new("too-few-rows", "`leave_one_out` needs at least two rows"));
                }
                Ok((0..rows).map(|row| Parts { train: others(row), valid: vec![], test: vec![row] }).collect())
            }
        }
    }

    /// What a reader has to know about a split: classes of a category that no training row has (`class-not-in-training`), among the fields of
    /// these names (what only says to which part a row belongs has such classes by its nature).
    pub fn split_warnings(&self, parts: &Parts, read: &[String]) -> Vec<Warning> {
        let mut found = vec![];
        for field in self.fields.iter().filter(|field| read.contains(&field.name)) {
            let (Values::Ids(ids), Kind::Category) = (&*field.values, &field.facts.kind) else { continue };
            // What training has not seen has a class of its own.
            if field.unknown.is_some() || field.hidden {
                continue;
            }
            let mut seen = vec![false; field.facts.classes.len()];
            for row in &parts.train {
                let ids = ids[field.layout.range(*row as usize)].iter().filter(|id| **id != MISSING_ID);
                ids.for_each(|id| seen[*id as usize] = true);
            }
            let unseen = field.facts.classes.iter().zip(&seen).filter(|(class, seen)| !**seen && class.count > 0);
            let unseen: Vec<&str> = unseen.map(|(class, _)| class.name.as_str()).collect();
            if unseen.is_empty() {
                continue;
            }
            let more = if unseen.len() > 4 { format!(" and {} more", unseen.len() - 4) } else { String::new() };
            found.push(Warning {
                code: "class-not-in-training",
                field: Some(field.name.clone()),
                column: field.facts.columns.first().cloned(),
                message: format!(
                    "no training row has `{}` {}{more}",
                    field.name,
                    unseen[..unseen.len().min(4)].join(", ")
                ),
                help: format!("split with `balance: {}`, or leave such rows out with `keep`", field.name),
            });
        }
        found
    }

    /// Training rows in which the classes of a field come equally often: of a smaller class whole rounds of its rows and then some of
    /// them (`over`), or of a larger class some of its rows, drawn with the seed. Ascending. Errors: as for `balance:`.
    pub fn resampled(&self, rows: &[u32], field: &str, over: bool, seed: u64) -> DataResult<Vec<u32>> {
        let labels = self.labels(Some(field))?;
        let mut classes: Vec<Vec<u32>> = vec![vec![]; labels.classes];
        rows.iter().for_each(|row| classes[labels.of_row[*row as usize] as usize].push(*row));
        classes.retain(|rows| !rows.is_empty());
        let sizes = classes.iter().map(Vec::len);
        let wanted = if over { sizes.max() } else { sizes.min() }.unwrap_or(0);
        let mut chosen = vec![];
        for (class, rows) in classes.iter().enumerate() {
            (0..wanted / rows.len()).for_each(|_| chosen.extend_from_slice(rows));
            let order = permutation(rows.len(), seed, SPLIT_STREAM / 2 + class as u64);
            chosen.extend(order[..wanted % rows.len()].iter().map(|at| rows[*at]));
        }
        chosen.sort_unstable();
        Ok(chosen)
    }

    /// Which part (0 train, 1 valid, 2 test) each stored element of a field belongs to. Errors: `wrong-step`, `too-few-rows`.
    pub fn entry_parts(&self, split: &EntriesSplit) -> DataResult<Vec<u8>> {
        let field = self.field(&split.field)?;
        let wrong = |what: &str| DataError::new("wrong-step", format!("`entries({}, ..)` {what}", split.field));
        if field.facts.dims.is_empty() {
            return Err(wrong("needs a field with an axis, such as a label a node")
                .help("rows are split with `random(..)` or `kfold(..)`"));
        }
        if !field.tail.is_empty() || field.computed.is_some() {
            return Err(wrong("cannot share out a field that is fitted, since its elements are fitted together")
                .help("leave out the fitted step, and put one into the model"));
        }
        // The class of each element that is known; those that are not stay where they are.
        let (of, classes): (Vec<Option<u32>>, usize) = match &*field.values {
            Values::Ids(ids) => {
                (ids.iter().map(|id| (*id != MISSING_ID).then_some(*id)).collect(), field.facts.classes.len())
            }
            Values::Truth(values) => {
                (values.iter().map(|x| (*x != MISSING_TRUTH).then_some(u32::from(*x))).collect(), 2)
            }
            Values::F32(values) => (values.iter().map(|x| (!x.is_nan()).then_some(0)).collect(), 1),
            Values::F64(values) => (values.iter().map(|x| (!x.is_nan()).then_some(0)).collect(), 1),
            Values::Letters(_) => return Err(wrong("needs numbers, truth values or classes")),
        };
        let known: Vec<usize> = (0..of.len()).filter(|at| of[*at].is_some()).collect();
        let labels = Labels { of_row: known.iter().map(|at| of[*at].unwrap_or(0)).collect(), classes: classes.max(1) };
        let order = permutation(known.len(), split.seed, SPLIT_STREAM);
        let shares = [split.train, split.valid, split.test];
        let parts = by_rows(&shares, &labels, &order);
        for (part, (name, share)) in ["train", "valid", "test"].into_iter().zip(shares).enumerate() {
            if share > 0.0 && !parts.contains(&part) {
                let text = format!("`{name}: {share}` of {} elements leaves none for this part", known.len());
                return Err(DataError::new("too-few-rows", text).help("give the part a larger share, or 0"));
            }
        }
        let mut part_of = vec![0; of.len()];
        known.iter().zip(parts).for_each(|(at, part)| part_of[*at] = part as u8);
        Ok(part_of)
    }

    fn split_identity(&self, split: &IdentitySplit) -> DataResult<Vec<Parts>> {
        let field = self.field(&split.field)?;
        let Values::Letters(codes) = &*field.values else {
            let text = format!("`identity({}, ..)` needs sequences of letters", split.field);
            return Err(DataError::new("wrong-step", text)
                .help("read the column with `onehot(column(..), Protein)` or `letters(..)`"));
        };
        let sequences: Vec<&[u8]> = (0..self.rows()).map(|row| &codes[field.layout.range(row)]).collect();
        let groups = identity::clusters(&sequences, split.below);
        let shares = [split.train, split.valid, split.test];
        self.split_groups(&groups, shares, split.folds, split.balance.as_deref(), split.seed).map_err(|fault| {
            let number = groups.iter().max().map_or(0, |group| group + 1);
            let text =
                format!("the {} sequences form {number} clusters below an identity of {}", self.rows(), split.below);
            Box::new(DataError { message: format!("{text}: {}", fault.message), ..*fault }).help(
                "unrelated proteins have an identity of about 0.2, unrelated DNA of about 0.5: take a larger `below:`",
            )
        })
    }

    fn split_scaffold(&self, split: &ScaffoldSplit) -> DataResult<Vec<Parts>> {
        let field = self.field(&split.field)?;
        let (Values::Ids(ids), Kind::Text, []) = (&*field.values, &field.facts.kind, field.facts.dims.as_slice())
        else {
            let text = format!("`scaffold({}, ..)` needs molecules as text, in SMILES", split.field);
            return Err(DataError::new("wrong-step", text).help("read the column with `text(column(..))`"));
        };
        let (mut known, mut groups) = (HashMap::new(), Vec::with_capacity(ids.len()));
        // Each text once: tables repeat molecules.
        let mut of_text: HashMap<u32, usize> = HashMap::new();
        for (row, id) in ids.iter().enumerate() {
            if let Some(group) = of_text.get(id) {
                groups.push(*group);
                continue;
            }
            let Some(text) = field.facts.classes.get(*id as usize).map(|class| class.name.as_str()) else {
                let fault =
                    DataError::new("missing-value", format!("`{}` is missing, so it has no scaffold", field.name));
                let fault = fault.help("leave such rows out: `keep known(..)`");
                return Err(self.places.fault(fault, row, field.column_of(0), None));
            };
            let molecule = molecule::read(text).map_err(|wrong| {
                let fault = DataError::new("not-a-molecule", format!("`{text}` is no SMILES: {wrong}"));
                self.places.fault(fault, row, field.column_of(0), None)
            })?;
            let next = known.len();
            let group = *known.entry(molecule::scaffold(&molecule)).or_insert(next);
            of_text.insert(*id, group);
            groups.push(group);
        }
        let shares = [split.train, split.valid, split.test];
        self.split_groups(&groups, shares, split.folds, split.balance.as_deref(), split.seed).map_err(|fault| {
            let text = format!("the {} molecules have {} scaffolds", self.rows(), known.len());
            Box::new(DataError { message: format!("{text}: {}", fault.message), ..*fault })
        })
    }

    /// Whole groups into shares, or into folds of equal size.
    fn split_groups(
        &self,
        groups: &[usize],
        shares: [f64; 3],
        folds: usize,
        balance: Option<&str>,
        seed: u64,
    ) -> DataResult<Vec<Parts>> {
        let labels = self.labels(balance)?;
        let order = permutation(self.rows(), seed, SPLIT_STREAM);
        let fractions = match folds {
            0 | 1 => shares.to_vec(),
            folds => vec![1.0 / folds as f64; folds],
        };
        let part_of = by_groups(&fractions, &labels, groups, &order)?;
        if folds > 1 {
            let fold = |fold: usize| {
                let (test, train) = (0..self.rows() as u32).partition(|row| part_of[*row as usize] == fold);
                Parts { train, valid: vec![], test }
            };
            return Ok((0..folds).map(fold).collect());
        }
        let mut parts = [vec![], vec![], vec![]];
        part_of.iter().enumerate().for_each(|(row, part)| parts[*part].push(row as u32));
        let [train, valid, test] = parts;
        Ok(vec![Parts { train, valid, test }])
    }

    fn split_random(&self, split: &RandomSplit) -> DataResult<Parts> {
        let fractions = [split.train, split.valid, split.test];
        let sum: f64 = fractions.iter().sum();
        if fractions.iter().any(|f| !(0.0..=1.0).contains(f)) || (sum - 1.0).abs() > 1e-9 {
            let text = format!(
                "`random(train: {}, valid: {}, test: {})` sums to {sum:.6}",
                split.train, split.valid, split.test
            );
            return Err(DataError::new("bad-split", text).help("fractions lie between 0 and 1 and sum to 1"));
        }
        if split.train == 0.0 {
            return Err(DataError::new("bad-split", "`train:` must be above 0").help("fractions sum to 1"));
        }
        let labels = self.labels(split.balance.as_deref())?;
        let order = permutation(self.rows(), split.seed, SPLIT_STREAM);
        let part_of = match &split.groups {
            Some(groups) => by_groups(&fractions, &labels, &self.groups(groups)?, &order)?,
            None => by_rows(&fractions, &labels, &order),
        };
        let mut parts = [vec![], vec![], vec![]];
        part_of.iter().enumerate().for_each(|(row, part)| parts[*part].push(row as u32));
        for ((name, fraction), part) in ["train", "valid", "test"].into_iter().zip(fractions).zip(&parts) {
            if fraction > 0.0 && part.is_empty() {
                let text = format!("`{name}: {fraction}` of {} rows leaves no row for this part", self.rows());
                return Err(DataError::new("too-few-rows", text).help("give the part a larger fraction, or 0"));
            }
        }
        let [train, valid, test] = parts;
        Ok(Parts { train, valid, test })
    }

    fn split_kfold(&self, split: &KfoldSplit) -> DataResult<Vec<Parts>> {
        let KfoldSplit { k, repeats, seed, .. } = *split;
        if k < 2 || k > self.rows() {
            let text = format!("`kfold({k})` is not possible with {} rows", self.rows());
            return Err(DataError::new("bad-split", text).help("use at least 2 folds and at most one a row"));
        }
        if repeats == 0 {
            return Err(DataError::new("bad-split", "`repeats:` must be at least 1"));
        }
        let labels = self.labels(split.balance.as_deref())?;
        let groups = split.groups.as_deref().map(|field| self.groups(field)).transpose()?;
        let fractions = vec![1.0 / k as f64; k];
        let mut folds = vec![];
        for repeat in 0..repeats {
            let order = permutation(self.rows(), seed, SPLIT_STREAM + repeat as u64);
            let fold_of = match &groups {
                Some(groups) => by_groups(&fractions, &labels, groups, &order)?,
                None => by_rows(&fractions, &labels, &order),
            };
            for fold in 0..k {
                let (test, train) = (0..self.rows() as u32).partition(|row| fold_of[*row as usize] == fold);
                folds.push(Parts { train, valid: vec![], test });
            }
        }
        Ok(folds)
    }

    fn split_given(&self, name: &str) -> DataResult<Parts> {
        let field = self.field(name)?;
        let (Values::Ids(ids), Kind::Text | Kind::Category, []) =
            (&*field.values, &field.facts.kind, field.facts.dims.as_slice())
        else {
            return Err(DataError::new("wrong-step", format!("`given({name})` needs a field of text or a category")));
        };
        let mut parts = Parts::default();
        for (row, id) in ids.iter().enumerate() {
            let text = field.facts.classes.get(*id as usize).map_or("", |class| class.name.as_str());
            match text.to_ascii_lowercase().as_str() {
                "train" | "training" => parts.train.push(row as u32),
                "valid" | "validation" | "val" | "dev" => parts.valid.push(row as u32),
                "test" | "testing" => parts.test.push(row as u32),
                _ => {
                    let fault = DataError::new("unknown-part", format!("`{text}` is no part of a split"))
                        .help("each row says `train`, `valid` or `test`; rows of no part are left out with `keep`");
                    return Err(self.places.fault(fault, row, field.column_of(0), None));
                }
            }
        }
        if parts.train.is_empty() {
            return Err(DataError::new("too-few-rows", format!("no row of `{name}` says `train`")));
        }
        Ok(parts)
    }

    fn split_by(&self, name: &str, valid: &[String], test: &[String]) -> DataResult<Parts> {
        let field = self.field(name)?;
        let known: Vec<&str> = field.facts.classes.iter().map(|class| class.name.as_str()).collect();
        if known.is_empty() || !field.facts.dims.is_empty() {
            let text = format!("`by({name}, ..)` needs a text, a category or a truth value in each row");
            return Err(DataError::new("wrong-step", text).help("read the column with `text(..)` or `category(..)`"));
        }
        for wanted in valid.iter().chain(test) {
            if !known.contains(&wanted.as_str()) {
                let shown = known.iter().take(12).copied().collect::<Vec<_>>().join(", ");
                let fault = DataError::new("unknown-category", format!("no row has `{wanted}` as its `{name}`"));
                return Err(fault.help(format!("there are {shown}{}", if known.len() > 12 { ", .." } else { "" })));
            }
        }
        let text = |row: usize| match (&*field.values, field.facts.dims.as_slice()) {
            (Values::Ids(ids), []) => known.get(ids[row] as usize).copied(),
            (Values::Truth(truths), []) => known.get(truths[row] as usize).copied(),
            (Values::Ids(_) | Values::Truth(_) | Values::F32(_) | Values::F64(_) | Values::Letters(_), _) => None,
        };
        let mut parts = Parts::default();
        for row in 0..self.rows() {
            let Some(text) = text(row) else {
                let fault =
                    DataError::new("wrong-step", format!("`by({name}, ..)` needs a text or category in each row"));
                return Err(self.places.fault(fault, row, field.column_of(0), None));
            };
            let is = |names: &[String]| names.iter().any(|name| name == text);
            let part = if is(test) {
                &mut parts.test
            } else if is(valid) {
                &mut parts.valid
            } else {
                &mut parts.train
            };
            part.push(row as u32);
        }
        if parts.train.is_empty() {
            return Err(DataError::new("too-few-rows", format!("`by({name}, ..)` leaves no row to train on")));
        }
        Ok(parts)
    }

    fn split_time(&self, split: &TimeSplit) -> DataResult<Vec<Parts>> {
        let field = self.field(&split.field)?;
        let times: Vec<f64> = match (&*field.values, field.facts.dims.as_slice()) {
            (Values::F32(values), []) => values.iter().map(|x| f64::from(*x)).collect(),
            (Values::F64(values), []) => values.clone(),
            (Values::Ids(_) | Values::Truth(_) | Values::F32(_) | Values::F64(_) | Values::Letters(_), _) => {
                let fault = DataError::new("wrong-step", format!("`time({}, ..)` needs one number a row", split.field));
                return Err(fault.help("read the column with `number(column(..))`: days, hours or years since a start"));
            }
        };
        if let Some(row) = times.iter().position(|time| time.is_nan()) {
            let fault =
                DataError::new("missing-value", format!("a row without `{}` has no place in time", split.field));
            return Err(self.places.fault(fault, row, field.column_of(0), None));
        }
        let mut order: Vec<u32> = (0..self.rows() as u32).collect();
        order.sort_by(|a, b| times[*a as usize].total_cmp(&times[*b as usize]).then(a.cmp(b)));
        let rows = order.len();
        // Rows of one time are never cut: a cut moves to where its time begins.
        let cut =
            |at: usize| order.partition_point(|row| at < rows && times[*row as usize] < times[order[at] as usize]);
        let cut = |at: usize| if at >= rows { rows } else { cut(at) };
        let before = |from: usize, to: usize, next: usize| -> Vec<u32> {
            let limit = order.get(next).map_or(f64::INFINITY, |row| times[*row as usize] - split.gap);
            let far = |row: &&u32| split.gap == 0.0 || times[**row as usize] <= limit;
            let mut part: Vec<u32> = order[from..to].iter().filter(far).copied().collect();
            part.sort_unstable();
            part
        };
        let whole = |from: usize, to: usize| before(from, to, rows);
        let share = |part: f64| (part * rows as f64).round() as usize;
        let folds: Vec<Parts> = if split.folds > 1 {
            let bounds: Vec<usize> = (0..=split.folds + 1).map(|at| cut(at * rows / (split.folds + 1))).collect();
            let fold = |at: usize| Parts {
                train: before(0, bounds[at], bounds[at]),
                valid: vec![],
                test: whole(bounds[at], bounds[at + 1]),
            };
            (1..=split.folds).map(fold).collect()
        } else {
            let test = cut(rows - share(split.test).min(rows));
            let valid = cut(test - share(split.valid).min(test));
            let (train, valid_rows) = match (valid < test, test < rows) {
                (true, _) => (before(0, valid, valid), before(valid, test, test)),
                (false, _) => (before(0, test, test), vec![]),
            };
            vec![Parts { train, valid: valid_rows, test: whole(test, rows) }]
        };
        let wanted = |parts: &Parts| {
            let lacks = |share: f64, part: &[u32]| share > 0.0 && part.is_empty();
            parts.train.is_empty()
                || lacks(split.valid, &parts.valid)
                || lacks(split.test, &parts.test)
                || (split.folds > 1 && parts.test.is_empty())
        };
        if folds.iter().any(wanted) {
            let text = format!("`time({}, ..)` leaves a part without rows", split.field);
            return Err(
                DataError::new("too-few-rows", text).help("take a smaller `gap:`, larger shares or fewer folds")
            );
        }
        Ok(folds)
    }

    /// The class of each row and the classes' names; one class for all without `balance`.
    fn labels(&self, balance: Option<&str>) -> DataResult<Labels> {
        let Some(name) = balance else { return Ok(Labels { of_row: vec![0; self.rows()], classes: 1 }) };
        let field = self.field(name)?;
        let of_row: Vec<u32> = match (&*field.values, field.facts.dims.as_slice()) {
            (Values::Ids(ids), []) if field.one_hot.is_none() => ids.clone(),
            (Values::Truth(values), []) => values
                .iter()
                .map(|value| if *value == MISSING_TRUTH { MISSING_ID } else { u32::from(*value) })
                .collect(),
            (Values::Ids(_) | Values::Truth(_) | Values::F32(_) | Values::F64(_) | Values::Letters(_), _) => {
                return Err(DataError::new(
                    "wrong-step",
                    format!("`balance: {name}` needs one category or truth value a row"),
                ));
            }
        };
        if let Some(row) = of_row.iter().position(|id| *id == MISSING_ID) {
            let fault = DataError::new("missing-value", format!("a row without `{name}` cannot be balanced"))
                .help("leave such rows out: `keep known(...)`");
            return Err(self.places.fault(fault, row, field.column_of(0), None));
        }
        let mut counts = vec![0; field.facts.classes.len()];
        of_row.iter().for_each(|label| counts[*label as usize] += 1);
        if let Some(row) = of_row.iter().position(|label| counts[*label as usize] == 1) {
            let class = &field.facts.classes[of_row[row] as usize].name;
            let text = format!("class `{class}` of `{name}` has one row, and a balanced split needs two");
            let fault = DataError::new("class-too-small", text)
                .help("leave the class out with `keep`, merge it with another, or split without `balance:`");
            return Err(self.places.fault(fault, row, field.column_of(0), None));
        }
        Ok(Labels { of_row, classes: field.facts.classes.len() })
    }

    /// The group of each row, numbered by first appearance.
    fn groups(&self, name: &str) -> DataResult<Vec<usize>> {
        let field = self.field(name)?;
        if !field.facts.dims.is_empty() {
            return Err(DataError::new("wrong-step", format!("`groups: {name}` needs one value a row")));
        }
        let key = |row: usize| match &*field.values {
            Values::F32(values) => (!values[row].is_nan()).then(|| u64::from(values[row].to_bits())),
            Values::F64(values) => (!values[row].is_nan()).then(|| values[row].to_bits()),
            Values::Truth(values) => (values[row] != MISSING_TRUTH).then(|| u64::from(values[row])),
            Values::Ids(values) => (values[row] != MISSING_ID).then(|| u64::from(values[row])),
            Values::Letters(values) => Some(u64::from(values[row])),
        };
        let mut seen = HashMap::new();
        let mut groups = Vec::with_capacity(self.rows());
        for row in 0..self.rows() {
            let Some(key) = key(row) else {
                let fault = DataError::new("missing-value", format!("a row without `{name}` belongs to no group"))
                    .help("leave such rows out: `keep known(...)`");
                return Err(self.places.fault(fault, row, field.column_of(0), None));
            };
            let next = seen.len();
            groups.push(*seen.entry(key).or_insert(next));
        }
        Ok(groups)
    }
}

struct Labels {
    of_row: Vec<u32>,
    classes: usize,
}

/// The part of each row. Within a class the rows, in random order, fill the parts one after the other.
fn by_rows(fractions: &[f64], labels: &Labels, order: &[usize]) -> Vec<usize> {
    let mut members: Vec<Vec<usize>> = vec![vec![]; labels.classes];
    order.iter().for_each(|row| members[labels.of_row[*row] as usize].push(*row));
    let mut part_of = vec![0; order.len()];
    let mut owed = vec![0.0; fractions.len()];
    for members in members {
        let mut rows = members.iter();
        for (part, size) in sizes(fractions, members.len(), &mut owed).into_iter().enumerate() {
            rows.by_ref().take(size).for_each(|row| part_of[*row] = part);
        }
    }
    part_of
}

/// Sizes that sum to n: the whole numbers below the exact ones, and one more for the parts that are owed most (the first,
/// among equals). `owed` carries what rounding withheld from one class to the next.
fn sizes(fractions: &[f64], n: usize, owed: &mut [f64]) -> Vec<usize> {
    // The small addition keeps 0.7 * 10 from being 6.999...
    let mut sizes: Vec<usize> =
        fractions.iter().map(|fraction| (fraction * n as f64 + 1e-9).floor() as usize).collect();
    for (part, fraction) in fractions.iter().enumerate() {
        owed[part] += fraction * n as f64 - sizes[part] as f64;
    }
    while sizes.iter().sum::<usize>() < n {
        let mut most = 0;
        for part in 1..owed.len() {
            if owed[part] > owed[most] + 1e-9 {
                most = part;
            }
        }
        sizes[most] += 1;
        owed[most] -= 1.0;
    }
    sizes
}

/// The part of each row when groups stay whole. Groups are taken from large to small (equal ones in random order) and each
/// goes where most of its rows are still wanted, as a share of what the part wants, among the parts that have room for it.
fn by_groups(fractions: &[f64], labels: &Labels, groups: &[usize], order: &[usize]) -> DataResult<Vec<usize>> {
    let number = groups.iter().max().map_or(0, |group| group + 1);
    let wanted_parts = fractions.iter().filter(|fraction| **fraction > 0.0).count();
    if number < wanted_parts {
        let text = format!("{number} groups cannot fill {wanted_parts} parts");
        return Err(DataError::new("too-few-groups", text).help("a group is never cut; ask for fewer parts"));
    }
    let mut counts = vec![vec![0.0f64; labels.classes]; number];
    groups.iter().zip(&labels.of_row).for_each(|(group, label)| counts[*group][*label as usize] += 1.0);
    let mut totals = vec![0.0; labels.classes];
    labels.of_row.iter().for_each(|label| totals[*label as usize] += 1.0);
    let mut rank = vec![usize::MAX; number];
    order.iter().enumerate().for_each(|(at, row)| rank[groups[*row]] = rank[groups[*row]].min(at));
    let size = |group: usize| counts[group].iter().sum::<f64>();
    let mut queue: Vec<usize> = (0..number).collect();
    queue.sort_by(|a, b| size(*b).total_cmp(&size(*a)).then(rank[*a].cmp(&rank[*b])));
    let mut has = vec![vec![0.0f64; labels.classes]; fractions.len()];
    let mut taken = vec![0; fractions.len()];
    let mut part_of_group = vec![0; number];
    for (position, group) in queue.iter().enumerate() {
        let empty = taken.iter().zip(fractions).filter(|(taken, fraction)| **taken == 0 && **fraction > 0.0).count();
        let must_fill = number - position <= empty;
        // A group larger than what a part still lacks goes elsewhere, as long as it fits anywhere.
        let rows = groups.len() as f64;
        let fits = |part: usize| has[part].iter().sum::<f64>() + size(*group) <= fractions[part] * rows + 0.5;
        let any_fits = (0..fractions.len()).any(fits);
        let mut best: Option<(usize, f64)> = None;
        for (part, fraction) in fractions.iter().enumerate() {
            if *fraction == 0.0 || (must_fill && taken[part] > 0) || (any_fits && !must_fill && !fits(part)) {
                continue;
            }
            let need: f64 = (0..labels.classes)
                .filter(|class| counts[*group][*class] > 0.0)
                .map(|class| counts[*group][class] * (1.0 - has[part][class] / (fraction * totals[class])))
                .sum();
            if best.is_none_or(|(_, most)| need > most + 1e-12) {
                best = Some((part, need));
            }
        }
        let part = best.map_or(0, |(part, _)| part);
        taken[part] += 1;
        part_of_group[*group] = part;
        counts[*group].iter().enumerate().for_each(|(class, count)| has[part][class] += count);
    }
    Ok(groups.iter().map(|group| part_of_group[*group]).collect())
}
