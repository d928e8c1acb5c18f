//! What is learned from training rows, and its replay.
//!
//! [`Dataset::fit`] is the only place where numbers of rows are summarised, and it is given the rows it may look at. The
//! result is plain data, stored with the run as json and read back to the same bits, so that another file is treated
//! exactly as the training rows were.
//!
//! Steps are fitted in the order in which they stand: after `impute(median) |> standardize` the mean is that of the filled
//! column. The *names* of classes are part of the type and come from the whole table (or the program): a class that no training
//! row has is reported, never dropped, since dropping it would change the model's shape from fold to fold. Where the program says
//! `unknown: "other"`, which classes the training rows have is fitted: the rest counts as that class, here and at prediction.

use crate::dataset::Dataset;
use crate::error::{DataError, DataResult};
use crate::facts::{FieldDim, FieldFacts, Kind};
use crate::field::{Field, Layout, MISSING_ID, MISSING_TRUTH, Places, Values, too_large};
use crate::formula::{self, Read};
use crate::numbers;
use crate::spec::{Impute, Precision, Step};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Everything about a data set that was learned from training rows or must hold for other files too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// The data block's name.
    pub data: String,
    /// How many rows were fitted on.
    pub rows: usize,
    pub fields: Vec<FittedField>,
    /// What the training rows of each class counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<crate::training_rows::ClassWeights>,
}

/// What is fixed about one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedField {
    pub name: String,
    pub kind: Kind,
    /// The columns by name; empty for draws.
    pub columns: Vec<String>,
    /// One entry an axis; None where each row has its own length.
    pub dims: Vec<Option<usize>>,
    /// Values may be missing (`f32?`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Rows with a single 1, as its encoder makes them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_hot: bool,
    /// In the order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Classes (ids) that no training row has and that therefore count as the class `unknown:`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<u32>,
    /// One entry a fitted step, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<FittedStep>,
}

/// The numbers of a fitted step, one a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FittedStep {
    /// y = (x - mean) / sd
    Standardize { mean: Vec<f64>, sd: Vec<f64> },
    /// y = (x - min) / range
    MinMax { min: Vec<f64>, range: Vec<f64> },
    /// y = value where x is missing
    Impute { value: Vec<f64> },
}

impl Fitted {
    /// The fitted values as json text.
    pub fn to_json(&self) -> String {
        // Strings, integers and finite numbers only: writing cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads what [`Fitted::to_json`] wrote, to the same bits. Errors: `wrong-fitted`.
    pub fn from_json(text: &str) -> DataResult<Self> {
        serde_json::from_str(text)
            .map_err(|error| DataError::new("wrong-fitted", format!("the stored fitted values are damaged: {error}")))
    }

    /// What is fixed about a field.
    pub fn field(&self, name: &str) -> Option<&FittedField> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Dataset {
    /// Fits everything that is to be fitted on the given rows (positions in the data set), and nothing else.
    ///
    /// Errors: `nothing-known` if no given row knows a column whose mean or the like is needed, `out-of-domain`.
    pub fn fit(&self, rows: &[u32]) -> DataResult<Fitted> {
        if rows.is_empty() {
            return Err(DataError::new("too-few-rows", "there is no training row to fit on"));
        }
        let mut replayed = Replayed::default();
        let mut fields = vec![];
        for field in &self.fields {
            let field = replayed.current(self, field)?;
            let fitted = fit_field(&field, &self.places, rows)?;
            replayed.note(self, &field, &fitted)?;
            fields.push(fitted);
        }
        Ok(Fitted { data: self.name.clone(), rows: rows.len(), fields, weights: None })
    }
}

/// Fitted values, in f64, of the fields that formulas read.
#[derive(Default)]
pub(crate) struct Replayed {
    values: HashMap<String, Vec<f64>>,
}

impl Replayed {
    /// The field, and if it is a formula that waited for fitted fields, its values.
    pub fn current<'d>(&self, data: &'d Dataset, field: &'d Field) -> DataResult<Cow<'d, Field>> {
        let Some(formula) = &field.computed else { return Ok(Cow::Borrowed(field)) };
        let find = |name: &str| {
            let field = data.field(name)?;
            Ok(Read { field, fitted: self.values.get(name).map(Vec::as_slice) })
        };
        let asked = |fault: Box<DataError>| fault.asked_by(&field.name, &field.pos);
        let made = formula::compute(formula, data.rows(), &find).map_err(asked)?;
        formula::require_defined(&field.name, formula, &made, &data.places, &find).map_err(asked)?;
        let values = match field.facts.kind {
            Kind::Truth => {
                let code = |x: &f64| if x.is_nan() { MISSING_TRUTH } else { u8::from(*x == 1.0) };
                Values::Truth(made.values.iter().map(code).collect())
            }
            Kind::Number | Kind::Category | Kind::Letters { .. } | Kind::Index(_) | Kind::IndexOf(_) | Kind::Text => {
                Values::F64(made.values)
            }
        };
        Ok(Cow::Owned(Field { values: Arc::new(values), ..field.clone() }))
    }

    /// Keeps the fitted values of a field that a later formula reads.
    pub fn note(&mut self, data: &Dataset, field: &Field, fitted: &FittedField) -> DataResult<()> {
        let read = |other: &Field| {
            other.computed.as_ref().is_some_and(|formula| formula.fields().contains(&field.name.as_str()))
        };
        let waited = field.computed.is_some() || !field.tail.is_empty();
        if !waited || !data.fields.iter().any(read) {
            return Ok(());
        }
        let values = match &*field.values {
            Values::Truth(values) => {
                values.iter().map(|x| if *x == MISSING_TRUTH { f64::NAN } else { f64::from(*x) }).collect()
            }
            Values::F64(_) => match encoded_values(field, fitted, &data.places, Precision::F64)? {
                Values::F64(values) => values,
                Values::F32(_) | Values::Truth(_) | Values::Ids(_) | Values::Letters(_) => vec![],
            },
            Values::F32(_) | Values::Ids(_) | Values::Letters(_) => return Ok(()),
        };
        self.values.insert(field.name.clone(), values);
        Ok(())
    }
}

fn fit_field(field: &Field, places: &Places, rows: &[u32]) -> DataResult<FittedField> {
    let mut steps = vec![];
    if !field.tail.is_empty() {
        // Only training rows are looked at, and only they are changed between one fitted step and the next.
        let mut work = Work::of_rows(field, rows)?;
        for step in &field.tail {
            let fitted = fit_step(step, &work, field)?;
            work.apply(step, fitted.as_ref(), field, places)?;
            steps.extend(fitted);
        }
    }
    let facts = &field.facts;
    let unseen = match (&*field.values, field.unknown) {
        (Values::Ids(ids), Some(unknown)) => {
            let mut seen = vec![false; facts.classes.len()];
            for row in rows {
                let known = ids[field.layout.range(*row as usize)].iter().filter(|id| **id != MISSING_ID);
                known.for_each(|id| seen[*id as usize] = true);
            }
            (0..unknown).filter(|id| !seen[*id as usize]).collect()
        }
        (Values::Ids(_), None) | (Values::F32(_) | Values::F64(_) | Values::Truth(_) | Values::Letters(_), _) => vec![],
    };
    Ok(FittedField {
        name: facts.name.clone(),
        kind: facts.kind.clone(),
        columns: facts.columns.clone(),
        dims: facts.dims.iter().map(fixed).collect(),
        optional: facts.optional,
        one_hot: facts.one_hot,
        classes: classes(facts),
        unseen,
        steps,
    })
}

fn fixed(dim: &FieldDim) -> Option<usize> {
    match dim {
        FieldDim::Fixed(size) => Some(*size),
        FieldDim::PerRow(_) => None,
    }
}

fn classes(facts: &FieldFacts) -> Vec<String> {
    match facts.kind {
        // Text is not an input, and its list may be as long as the table; truth has its two texts in the program.
        Kind::Text | Kind::Truth => vec![],
        Kind::Number | Kind::Category | Kind::Letters { .. } | Kind::Index(_) | Kind::IndexOf(_) => {
            facts.classes.iter().map(|class| class.name.clone()).collect()
        }
    }
}

/// Columns that are gathered together: those of one cache line, so that a wide table is not read once a column.
const COLUMNS_AT_ONCE: usize = 8;

/// Numbers of some rows on their way through the fitted steps.
struct Work {
    numbers: Vec<f64>,
    /// Numbers a row.
    width: usize,
    /// For each `width` numbers here their row in the data set.
    rows: Vec<u32>,
}

impl Work {
    fn of_rows(field: &Field, rows: &[u32]) -> DataResult<Self> {
        let (all, width) = numbers_of(field)?;
        let (mut numbers, mut of) = (vec![], vec![]);
        for row in rows {
            let own = &all[field.layout.range(*row as usize)];
            numbers.extend_from_slice(own);
            of.resize(of.len() + own.len() / width.max(1), *row);
        }
        Ok(Work { numbers, width, rows: of })
    }

    /// The known numbers of up to [`COLUMNS_AT_ONCE`] columns from the given one on.
    fn known(&self, first: usize) -> Vec<Vec<f64>> {
        let last = self.width.min(first + COLUMNS_AT_ONCE);
        let mut columns = vec![vec![]; last - first];
        for row in self.numbers.chunks(self.width) {
            for (column, x) in columns.iter_mut().zip(&row[first..last]).filter(|(_, x)| !x.is_nan()) {
                column.push(*x);
            }
        }
        columns
    }

    fn apply(&mut self, step: &Step, fitted: Option<&FittedStep>, field: &Field, places: &Places) -> DataResult<()> {
        for (at, row) in self.numbers.chunks_mut(self.width.max(1)).enumerate() {
            apply_to_row(step, fitted, row, self.rows[at] as usize, field, places)?;
        }
        Ok(())
    }
}

/// One step on one row of the data set, in place. Errors: `out-of-domain` with the place.
fn apply_to_row(
    step: &Step,
    fitted: Option<&FittedStep>,
    numbers: &mut [f64],
    row: usize,
    field: &Field,
    places: &Places,
) -> DataResult<()> {
    if let Some(fitted) = fitted {
        replay(fitted, numbers);
        return Ok(());
    }
    for (element, x) in numbers.iter_mut().enumerate() {
        *x = numbers::apply(step, *x).ok_or_else(|| {
            let fault = places.fault(numbers::domain_fault(step, *x), row, field.column_of(element), None);
            fault.asked_by(&field.name, &field.pos)
        })?;
    }
    Ok(())
}

/// The numbers and how many of them are fitted apart: those of a row, or, where an example has several rows, those of one of them; of a
/// list, its columns.
fn numbers_of(field: &Field) -> DataResult<(&[f64], usize)> {
    if let (Values::F64(numbers), Some(width)) = (&*field.values, field.fitted_width) {
        return Ok((numbers, width));
    }
    match (&*field.values, &field.layout) {
        (Values::F64(numbers), Layout::Fixed(width)) => Ok((numbers, *width)),
        (Values::F64(numbers), Layout::PerRow(_)) => {
            let fixed = field.facts.dims.iter().filter_map(fixed);
            Ok((numbers, fixed.product()))
        }
        (Values::F32(_) | Values::Truth(_) | Values::Ids(_) | Values::Letters(_), _) => {
            Err(DataError::new("wrong-step", "only numbers can be fitted").asked_by(&field.name, &field.pos))
        }
    }
}

/// y for one row, in place.
fn replay(fitted: &FittedStep, row: &mut [f64]) {
    match fitted {
        FittedStep::Standardize { mean, sd } => {
            row.iter_mut().zip(mean).zip(sd).for_each(|((x, mean), sd)| *x = (*x - mean) / sd);
        }
        FittedStep::MinMax { min, range } => {
            row.iter_mut().zip(min).zip(range).for_each(|((x, min), range)| *x = (*x - min) / range);
        }
        FittedStep::Impute { value } => {
            row.iter_mut().zip(value).filter(|(x, _)| x.is_nan()).for_each(|(x, value)| *x = *value);
        }
    }
}

fn fit_step(step: &Step, work: &Work, field: &Field) -> DataResult<Option<FittedStep>> {
    let fit = |one: &dyn Fn(&[f64]) -> (f64, f64)| -> DataResult<(Vec<f64>, Vec<f64>)> {
        let mut fitted = Vec::with_capacity(work.width);
        for first in (0..work.width).step_by(COLUMNS_AT_ONCE) {
            for (column, known) in (first..).zip(work.known(first)) {
                if known.is_empty() {
                    return Err(nothing_known(step, field, column));
                }
                let (a, b) = one(&known);
                if !(a.is_finite() && b.is_finite()) {
                    return Err(overflow(step, field, column));
                }
                fitted.push((a, b));
            }
        }
        Ok(fitted.into_iter().unzip())
    };
    Ok(match step {
        Step::Standardize => {
            let (mean, sd) = fit(&mean_and_sd)?;
            Some(FittedStep::Standardize { mean, sd })
        }
        Step::MinMax => {
            let (min, range) = fit(&min_and_range)?;
            Some(FittedStep::MinMax { min, range })
        }
        Step::Impute(Impute::Mean) => Some(FittedStep::Impute { value: fit(&|known| (mean_and_sd(known).0, 0.0))?.0 }),
        Step::Impute(Impute::Median) => Some(FittedStep::Impute { value: fit(&|known| (median(known), 0.0))?.0 }),
        Step::Impute(Impute::Constant(_))
        | Step::Number
        | Step::Counts
        | Step::Truth { .. }
        | Step::Category { .. }
        | Step::Text
        | Step::Letters(_)
        | Step::OneHotText(_)
        | Step::OneHot
        | Step::Tokens { .. }
        | Step::Numbers { .. }
        | Step::Indices { .. }
        | Step::Log1p
        | Step::Log
        | Step::Sqrt
        | Step::Arith(_) => None,
    })
}

fn nothing_known(step: &Step, field: &Field, column: usize) -> Box<DataError> {
    let (step, column) = (numbers::step_name(step), column_name(field, column));
    DataError::new("nothing-known", format!("`{step}` has nothing to go by: no training row knows {column}"))
        .help("leave the column out (`except`), or fill it with `impute(0)`")
        .asked_by(&field.name, &field.pos)
}

fn overflow(step: &Step, field: &Field, column: usize) -> Box<DataError> {
    let (step, column) = (numbers::step_name(step), column_name(field, column));
    DataError::new("not-finite", format!("the numbers of {column} are too large for `{step}`"))
        .help("scale the column (`_ / 1e200`) or take its logarithm")
        .asked_by(&field.name, &field.pos)
}

fn column_name(field: &Field, column: usize) -> String {
    match field.facts.columns.get(column) {
        Some(name) => format!("column `{name}`"),
        None => format!("element {}", column + 1),
    }
}

/// Mean and population standard deviation (denominator n), in f64, in two passes. A standard deviation that is only
/// rounding error of a constant column (Chan, Golub and LeVeque 1983, eq. 3.6: n eps |mean|) becomes 1.
fn mean_and_sd(known: &[f64]) -> (f64, f64) {
    let n = known.len() as f64;
    let mean = known.iter().sum::<f64>() / n;
    let variance = known.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    let constant = variance <= n * f64::EPSILON * variance + (n * mean * f64::EPSILON).powi(2);
    (mean, if constant { 1.0 } else { variance.sqrt() })
}

fn min_and_range(known: &[f64]) -> (f64, f64) {
    let (min, max) =
        known.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
    (min, if max > min { max - min } else { 1.0 })
}

/// The middle value, or the mean of the middle two.
fn median(known: &[f64]) -> f64 {
    let mut known = known.to_vec();
    let (middle, odd) = (known.len() / 2, known.len() % 2 == 1);
    let (below, upper, _) = known.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if odd {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    lower + (upper - lower) / 2.0
}

/// The field's numbers after all fitted steps, in the working precision. Row by row, so that a large table is not held a
/// third time.
pub(crate) fn encoded_values(
    field: &Field,
    fitted: &FittedField,
    places: &Places,
    precision: Precision,
) -> DataResult<Values> {
    let (all, width) = numbers_of(field)?;
    let mut stored = fitted.steps.iter();
    let mut steps = vec![];
    for step in &field.tail {
        let fitted = if step.is_fitted() { Some(stored.next().ok_or_else(|| wrong_fitted(field))?) } else { None };
        let fits = match fitted {
            Some(FittedStep::Standardize { mean, sd }) => mean.len() == width && sd.len() == width,
            Some(FittedStep::MinMax { min, range }) => min.len() == width && range.len() == width,
            Some(FittedStep::Impute { value }) => value.len() == width,
            None => true,
        };
        if !fits {
            return Err(wrong_fitted(field));
        }
        steps.push((step, fitted));
    }
    let (mut single, mut double) = (vec![], vec![]);
    match precision {
        Precision::F32 => single.reserve_exact(all.len()),
        Precision::F64 => double.reserve_exact(all.len()),
    }
    let mut work = vec![0.0; width];
    let row_of = |at: usize| field.layout.row_of(at * width);
    for (at, numbers) in all.chunks(width.max(1)).enumerate() {
        let row = row_of(at);
        work.copy_from_slice(numbers);
        for (step, fitted) in &steps {
            apply_to_row(step, *fitted, &mut work, row, field, places)?;
        }
        match precision {
            Precision::F64 => double.extend_from_slice(&work),
            Precision::F32 => single.extend(work.iter().map(|x| *x as f32)),
        }
        // What f64 holds and f32 does not; a file that differs much from the training rows may bring this about.
        let limit = if precision == Precision::F32 { f64::from(f32::MAX) } else { f64::MAX };
        if let Some(element) = work.iter().position(|x| x.abs() > limit) {
            let fault = places.fault(too_large(work[element]), row, field.column_of(element), None);
            return Err(fault.asked_by(&field.name, &field.pos));
        }
    }
    Ok(match precision {
        Precision::F32 => Values::F32(single),
        Precision::F64 => Values::F64(double),
    })
}

fn wrong_fitted(field: &Field) -> Box<DataError> {
    DataError::new("wrong-fitted", format!("the stored fitted values of `{}` do not fit its steps", field.name))
        .help("the program was changed after the run; train again")
}
