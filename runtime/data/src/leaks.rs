//! Ways in which a test can know too much: what feeds a model's inputs and its targets, what stands on both sides of a split.
//!
//! Nothing here is an error. Each finding is a [`Warning`]; the rules look at the training rows and at which side of the split a row is,
//! never at what a model says.

use crate::dataset::Dataset;
use crate::facts::Kind;
use crate::field::{Field, Layout, MISSING_ID, MISSING_TRUTH, Values};
use crate::identity::{is_similar_to_any, limit};
use crate::seeds::Seeds;
use crate::split::Parts;
use crate::summary::{Warning, limited, thousands};
use std::collections::{HashMap, HashSet};

/// Which fields a `train` block uses for what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Roles<'a> {
    /// What the models and predictions read.
    pub inputs: &'a [String],
    /// What the loss reads beside them.
    pub targets: &'a [String],
    /// What a model reads and a metric measures its prediction of.
    pub scored: &'a [String],
    /// The field that the split keeps together.
    pub groups: Option<&'a str>,
}

/// One value or class of a row that the model is given and that it is scored on. (A sequence or a profile is made again by an autoencoder.)
fn given_and_scored(scored: &[&Field], found: &mut Vec<Warning>) {
    for field in scored.iter().filter(|field| field.facts.dims.is_empty()) {
        found.push(Warning {
            code: "label-in-inputs",
            field: Some(field.name.clone()),
            message: format!("`{}` is an input of the model and what its prediction is measured by", field.name),
            column: field.facts.columns.first().cloned(),
            help: "a model that is given the answer is not measured by it: leave it out of the inputs".to_string(),
        });
    }
}

/// An AUROC of one column above which it is suspicious.
const TOO_GOOD: f64 = 0.99;
/// Fewer training rows of a class than this say nothing.
const ENOUGH: usize = 10;
/// Values that are looked at for `too-good`; of longer columns every n-th row.
const LOOKED_AT: usize = 10_000_000;
/// Sequences of at least this identity are nearly the same.
const NEARLY: f64 = 0.95;
/// Numbers that differ by less than this, in standard deviations of the training rows, are nearly the same.
const NEARLY_EQUAL: f64 = 1e-3;
/// Rows of fewer numbers are alike by chance.
const FEWEST_NUMBERS: usize = 3;
/// Shorter sequences are alike by chance.
const FEWEST_LETTERS: usize = 20;
/// Pairs with a piece in common that are compared for `near-duplicates`.
const PAIRS: usize = 4_000_000;

/// Parts of the names of columns that say to whom a row belongs.
const BELONGING: [&str; 14] = [
    "patient",
    "subject",
    "donor",
    "individual",
    "participant",
    "person",
    "animal",
    "mouse",
    "family",
    "pedigree",
    "case_id",
    "case id",
    "sample_id",
    "sample id",
];

/// Is it the name of a column that says to whom a row belongs?
pub(crate) fn names_a_group(column: &str) -> bool {
    let name = column.to_lowercase();
    BELONGING.iter().any(|word| name.contains(word))
}

impl Dataset {
    /// What is suspicious about a split, given what its model reads.
    pub fn leaks(&self, roles: &Roles, parts: &Parts) -> Vec<Warning> {
        let mut found = vec![];
        let of = |names: &[String]| -> Vec<&Field> {
            self.fields.iter().filter(|field| names.contains(&field.name)).collect()
        };
        let (inputs, targets) = (of(roles.inputs), of(roles.targets));
        self.in_both(&inputs, &targets, &mut found);
        given_and_scored(&of(roles.scored), &mut found);
        self.straddling_groups(roles.groups, parts, &mut found);
        if parts.test.iter().all(|row| (*row as usize) < self.rows()) {
            self.other_strand(&inputs, parts, &mut found);
            self.nearly_the_same(&inputs, parts, &mut found);
            self.nearly_equal_numbers(&inputs, parts, &mut found);
        }
        self.too_good(&inputs, &targets, parts, &mut found);
        limited(found)
    }

    fn in_both(&self, inputs: &[&Field], targets: &[&Field], found: &mut Vec<Warning>) {
        for target in targets {
            for input in inputs.iter().filter(|input| input.name != target.name) {
                let Some(column) = input.columns.iter().find(|column| target.columns.contains(column)) else {
                    continue;
                };
                let name = self.places.columns.names[*column].clone();
                found.push(Warning {
                    code: "label-in-inputs",
                    field: Some(input.name.clone()),
                    message: format!(
                        "column `{name}` feeds the input `{}` and the target `{}`",
                        input.name, target.name
                    ),
                    column: Some(name),
                    help: format!("leave it out of `{}`: `except` does so for `columns(..)`", input.name),
                });
            }
        }
    }

    fn straddling_groups(&self, kept: Option<&str>, parts: &Parts, found: &mut Vec<Warning>) {
        if parts.test.is_empty() && parts.valid.is_empty() {
            return;
        }
        let kept: Vec<&str> = kept
            .and_then(|name| self.fields.iter().find(|field| field.name == name))
            .map(|field| field.facts.columns.iter().map(String::as_str).collect())
            .unwrap_or_default();
        for (column, ids) in self.group_columns.iter().filter(|(column, _)| !kept.contains(&column.as_str())) {
            let side = |rows: &[u32]| -> HashSet<u32> {
                rows.iter().filter_map(|row| ids.get(*row as usize)).copied().filter(|id| *id != MISSING_ID).collect()
            };
            let train = side(&parts.train);
            let (rows, part) = if parts.test.is_empty() { (&parts.valid, "valid") } else { (&parts.test, "test") };
            let both = side(rows).intersection(&train).count();
            if both == 0 {
                continue;
            }
            let (verb, is) = if both == 1 { ("stands", "value") } else { ("stand", "values") };
            found.push(Warning {
                code: "group-straddles",
                field: None,
                column: Some(column.clone()),
                message: format!("{} {is} of column `{column}` {verb} in train and in {part}", thousands(both)),
                help: format!(
                    "rows of one of them resemble each other: read it, `who = text(column(\"{column}\"))`, and split with `groups: who`"
                ),
            });
        }
    }

    fn other_strand(&self, inputs: &[&Field], parts: &Parts, found: &mut Vec<Warning>) {
        for field in inputs {
            let Values::Letters(codes) = &*field.values else { continue };
            if !is_nucleic(field) {
                continue;
            }
            let train: HashSet<&[u8]> =
                parts.train.iter().map(|row| &codes[field.layout.range(*row as usize)]).collect();
            let turned = |row: &&u32| {
                let own = &codes[field.layout.range(**row as usize)];
                let other: Vec<u8> = own.iter().rev().map(|code| complement(*code)).collect();
                !own.is_empty() && !train.contains(own) && train.contains(other.as_slice())
            };
            let twins = parts.test.iter().filter(turned).count();
            if twins > 0 {
                let are = if twins == 1 { "test row is" } else { "test rows are" };
                found.push(Warning {
                    code: "rc-duplicate",
                    field: Some(field.name.clone()),
                    column: field.facts.columns.first().cloned(),
                    message: format!(
                        "{} {are} the reverse complement of a training row in `{}`",
                        thousands(twins),
                        field.name
                    ),
                    help: format!(
                        "they are the same molecule: keep them together, `split identity({0}, below: 0.95, ..)` after writing both on one strand, or by `groups:`",
                        field.name
                    ),
                });
            }
        }
    }

    fn nearly_the_same(&self, inputs: &[&Field], parts: &Parts, found: &mut Vec<Warning>) {
        for field in inputs {
            let Values::Letters(codes) = &*field.values else { continue };
            let of = |row: u32| &codes[field.layout.range(row as usize)];
            let mut exact: HashSet<&[u8]> = HashSet::new();
            let train: Vec<&[u8]> = parts.train.iter().map(|row| of(*row)).filter(|own| exact.insert(own)).collect();
            // Short sequences are alike by chance; equal ones are counted elsewhere.
            let mut rows: HashMap<&[u8], usize> = HashMap::new();
            for own in parts.test.iter().map(|row| of(*row)) {
                if own.len() >= FEWEST_LETTERS && !exact.contains(own) {
                    *rows.entry(own).or_insert(0) += 1;
                }
            }
            let mut own: Vec<(&[u8], usize)> = rows.into_iter().collect();
            own.sort_unstable();
            let sequences: Vec<&[u8]> = own.iter().map(|(own, _)| *own).collect();
            let (near, is_all) = nearly_in(&sequences, &train, PAIRS);
            let count: usize = own.iter().zip(near).filter(|(_, near)| *near).map(|((_, rows), _)| *rows).sum();
            if count > 0 {
                let least = if is_all { "" } else { "at least " };
                let are = if count == 1 { "test row" } else { "test rows" };
                let differ = if count == 1 { "differs" } else { "differ" };
                found.push(Warning {
                    code: "near-duplicates",
                    field: Some(field.name.clone()),
                    column: field.facts.columns.first().cloned(),
                    message: format!(
                        "{least}{} {are} {differ} from a training row in at most 5 % of `{}`",
                        thousands(count),
                        field.name
                    ),
                    help: format!("keep similar sequences together: `split identity({}, below: 0.95, ..)`", field.name),
                });
            }
        }
    }

    /// Rows of numbers, measured twice or rounded otherwise.
    fn nearly_equal_numbers(&self, inputs: &[&Field], parts: &Parts, found: &mut Vec<Warning>) {
        let mut columns: Vec<(&Field, usize, usize)> = vec![];
        for field in inputs {
            let Layout::Fixed(width) = field.layout else { return };
            let numbers = matches!(*field.values, Values::F32(_) | Values::F64(_)) && field.one_hot.is_none();
            if !numbers {
                return;
            }
            columns.extend((0..width).map(|column| (*field, width, column)));
        }
        if columns.len() < FEWEST_NUMBERS || parts.train.is_empty() {
            return;
        }
        let value = |(field, width, column): &(&Field, usize, usize), row: u32| match &*field.values {
            Values::F32(values) => f64::from(values[row as usize * width + column]),
            Values::F64(values) => values[row as usize * width + column],
            Values::Truth(_) | Values::Ids(_) | Values::Letters(_) => f64::NAN,
        };
        let spread = |column: &(&Field, usize, usize)| {
            let known: Vec<f64> = parts.train.iter().map(|row| value(column, *row)).filter(|x| !x.is_nan()).collect();
            let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
            (known.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / known.len().max(1) as f64).sqrt()
        };
        let limits: Vec<f64> = columns.iter().map(|column| NEARLY_EQUAL * spread(column)).collect();
        // Rows are found by the column in which most of them differ.
        let different = |column: &(&Field, usize, usize)| {
            parts.train.iter().map(|row| value(column, *row).to_bits()).collect::<HashSet<u64>>().len()
        };
        let some = columns.iter().take(64).enumerate();
        let Some((by, _)) = some.max_by_key(|(_, column)| different(column)) else { return };
        let mut order: Vec<(f64, u32)> = parts.train.iter().map(|row| (value(&columns[by], *row), *row)).collect();
        order.retain(|(x, _)| !x.is_nan());
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let twin = |row: &&u32| {
            let own = value(&columns[by], **row);
            let first = order.partition_point(|(x, _)| *x < own - limits[by]);
            let close = order[first..].iter().take_while(|(x, _)| *x <= own + limits[by]);
            let mut near = false;
            for (_, other) in close {
                let mut differs = false;
                let alike = columns.iter().zip(&limits).all(|(column, limit)| {
                    let (a, b) = (value(column, **row), value(column, *other));
                    differs |= a != b && !(a.is_nan() && b.is_nan());
                    (a - b).abs() <= *limit || a.is_nan() && b.is_nan()
                });
                if alike && !differs {
                    // An equal row is counted elsewhere.
                    return false;
                }
                near |= alike;
            }
            near
        };
        let count = parts.test.iter().filter(twin).count();
        if count > 0 {
            let (are, differ) = if count == 1 { ("test row", "differs") } else { ("test rows", "differ") };
            found.push(Warning {
                code: "near-duplicates",
                field: None,
                column: None,
                message: format!(
                    "{} {are} {differ} from a training row by less than a thousandth of a standard deviation in every column",
                    thousands(count)
                ),
                help: "were they measured twice, or rounded? keep them together with `groups:`, or leave one of each out".into(),
            });
        }
    }

    fn too_good(&self, inputs: &[&Field], targets: &[&Field], parts: &Parts, found: &mut Vec<Warning>) {
        for target in targets.iter().filter(|target| target.facts.dims.is_empty()) {
            let classes: Vec<&str> = target.facts.classes.iter().map(|class| class.name.as_str()).collect();
            let class_of = |row: u32| match &*target.values {
                Values::Ids(ids) if target.facts.kind == Kind::Category => {
                    Some(ids[row as usize]).filter(|id| *id != MISSING_ID)
                }
                Values::Truth(values) => {
                    Some(u32::from(values[row as usize])).filter(|x| *x != u32::from(MISSING_TRUTH))
                }
                Values::Ids(_) | Values::F32(_) | Values::F64(_) | Values::Letters(_) => None,
            };
            let rows: Vec<(u32, u32)> = parts.train.iter().filter_map(|row| Some((*row, class_of(*row)?))).collect();
            if rows.is_empty() || classes.len() > 20 {
                continue;
            }
            // Of two classes one tells all.
            let asked = if classes.len() == 2 { 1..2 } else { 0..classes.len() as u32 };
            for input in inputs.iter().filter(|input| input.name != target.name && input.facts.kind == Kind::Number) {
                let Layout::Fixed(width) = input.layout else { continue };
                if input.one_hot.is_some() || !matches!(*input.values, Values::F32(_) | Values::F64(_)) {
                    continue;
                }
                let step = (rows.len() * width / LOOKED_AT).max(1);
                let some: Vec<(u32, u32)> = rows.iter().copied().step_by(step).collect();
                for column in 0..width {
                    let value = |row: u32| match &*input.values {
                        Values::F32(values) => f64::from(values[row as usize * width + column]),
                        Values::F64(values) => values[row as usize * width + column],
                        Values::Truth(_) | Values::Ids(_) | Values::Letters(_) => f64::NAN,
                    };
                    let known = some.iter().map(|(row, class)| (value(*row), *class)).filter(|(x, _)| !x.is_nan());
                    let mut known: Vec<(f64, u32)> = known.collect();
                    known.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
                    let best = asked.clone().filter_map(|class| Some((class, auroc(&known, class)?)));
                    let Some((class, area)) = best.max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
                    // A column that is the target itself is said to be so.
                    let own = input.columns.get(column).or(input.columns.first());
                    if area <= TOO_GOOD || own.is_some_and(|own| targets.iter().any(|t| t.columns.contains(own))) {
                        continue;
                    }
                    let name = input.facts.columns.get(column).or(input.facts.columns.first());
                    let name = name.cloned().unwrap_or_else(|| input.name.clone());
                    let which = if classes == ["false", "true"] {
                        String::new()
                    } else {
                        format!(" {}", classes[class as usize])
                    };
                    found.push(Warning {
                        code: "too-good",
                        field: Some(input.name.clone()),
                        message: format!("`{name}` alone tells `{}`{which} with an AUROC of {area:.3}", target.name),
                        column: Some(name),
                        help: "was it measured after the outcome, or made from it? leave it out if it is not known at prediction".into(),
                    });
                }
            }
        }
    }
}

/// Which of the sequences are nearly the same as one of the others, and whether all pairs were looked at that may be: about `most` are.
fn nearly_in(sequences: &[&[u8]], others: &[&[u8]], most: usize) -> (Vec<bool>, bool) {
    let edits = |own: &[u8]| limit((own.len() as f64 / NEARLY).floor() as usize, NEARLY).unwrap_or(0);
    let patterns: Vec<(&[u8], usize)> = sequences.iter().map(|own| (*own, edits(own))).collect();
    let mut near = vec![false; sequences.len()];
    if patterns.is_empty() {
        return (near, true);
    }
    let seeds = Seeds::of(&patterns);
    let mut pairs: Vec<(u32, u32)> = vec![];
    let mut seen = vec![usize::MAX; sequences.len()];
    for (at, other) in others.iter().enumerate() {
        if pairs.len() >= most {
            break;
        }
        seeds.each(other, &mut |own| {
            if std::mem::replace(&mut seen[own], at) != at
                && sequences[own].len().abs_diff(other.len()) <= patterns[own].1
            {
                pairs.push((own as u32, at as u32));
            }
        });
    }
    let is_all = pairs.len() < most;
    pairs.sort_unstable();
    for of in pairs.chunk_by(|a, b| a.0 == b.0) {
        let own = of[0].0 as usize;
        let alike: Vec<&[u8]> = of.iter().map(|(_, other)| others[*other as usize]).collect();
        near[own] = is_similar_to_any(sequences[own], &alike, NEARLY);
    }
    (near, is_all)
}

/// How well values tell one class from the others, whichever side is larger. `known` in ascending order.
fn auroc(known: &[(f64, u32)], class: u32) -> Option<f64> {
    let yes = known.iter().filter(|(_, own)| *own == class).count();
    let no = known.len() - yes;
    if yes < ENOUGH || no < ENOUGH {
        return None;
    }
    let (mut below, mut won) = (0.0, 0.0);
    for tied in known.chunk_by(|a, b| a.0 == b.0) {
        let own = tied.iter().filter(|(_, own)| *own == class).count() as f64;
        let others = tied.len() as f64 - own;
        won += own * (below + others / 2.0);
        below += others;
    }
    let area = won / (yes as f64 * no as f64);
    Some(area.max(1.0 - area))
}

fn is_nucleic(field: &Field) -> bool {
    let names = |letters: &[String]| matches!(letters, [a, c, g, t] if a == "A" && c == "C" && g == "G" && (t == "T" || t == "U"));
    match &field.facts.kind {
        Kind::Letters { alphabet, .. } => alphabet == "DNA" || alphabet == "RNA",
        Kind::Number => field.facts.axis_names.last().and_then(Option::as_ref).is_some_and(|letters| names(letters)),
        Kind::Truth | Kind::Category | Kind::Index(_) | Kind::IndexOf(_) | Kind::Text => false,
    }
}

/// The other base of the pair; of an ambiguity code the code of the others. Codes are those of [`crate::alphabet`]: A C G T, then
/// R Y S W K M B D H V N.
fn complement(code: u8) -> u8 {
    const OF_CODES: [u8; 15] = [3, 2, 1, 0, 5, 4, 6, 7, 9, 8, 13, 12, 11, 10, 14];
    OF_CODES.get(usize::from(code)).copied().unwrap_or(code)
}

/// The values of columns that say to whom a row belongs, numbered; columns in which every row is somebody else say nothing.
pub(crate) fn groups_of(cells: impl Iterator<Item = Option<String>>) -> Option<Vec<u32>> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut ids = vec![];
    for cell in cells {
        ids.push(match cell {
            None => MISSING_ID,
            Some(text) => {
                let next = seen.len() as u32;
                *seen.entry(text).or_insert(next)
            }
        });
    }
    let known = ids.iter().filter(|id| **id != MISSING_ID).count();
    (seen.len() > 1 && seen.len() * 10 < known * 9).then_some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_that_are_nearly_the_same_are_found_and_those_left_out_are_said() {
        let letters = |len: usize, step: usize| -> Vec<u8> { (0..len).map(|i| (i * i / step % 4) as u8).collect() };
        let (a, b) = (letters(60, 3), letters(41, 5));
        let mut changed = a.clone();
        (changed[7], changed[30], changed[59]) = (9, 9, 9);
        let mut too_much = b.clone();
        (too_much[1], too_much[14], too_much[35]) = (9, 9, 9);
        let mut shorter = b.clone();
        shorter.remove(20);
        let sequences: [&[u8]; 2] = [&a, &b];
        assert_eq!(nearly_in(&sequences, &[&changed, &too_much], PAIRS), (vec![true, false], true));
        assert_eq!(nearly_in(&sequences, &[&too_much, &shorter], PAIRS), (vec![false, true], true));
        // One pair is looked at, and there may be more.
        assert_eq!(nearly_in(&sequences, &[&changed, &shorter], 1), (vec![true, false], false));
        assert_eq!(nearly_in(&[], &[&a], PAIRS), (vec![], true));
        assert_eq!(nearly_in(&sequences, &[], PAIRS), (vec![false, false], true));
    }
}
