//! What is done to training rows only: classes that weigh the same, rows made up between neighbours (SMOTE), and, for problems of one
//! graph, elements of a field shared out among train, valid and test.
//!
//! All of it works on [`Encoded`] values: what a model sees.

use crate::batch::Encoded;
use crate::dataset::Dataset;
use crate::error::{DataError, DataResult};
use crate::facts::Kind;
use crate::field::{Layout, MISSING_ID, MISSING_TRUTH, Values};
use bdl_kernels::philox::{DrawKey, fill_uniform_f64, permutation};
use serde::{Deserialize, Serialize};

/// What the rows of each class count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassWeights {
    pub field: String,
    /// Class and weight, in the order of the classes; classes without training rows are left out.
    pub classes: Vec<(String, f64)>,
}

/// `rows smote(y, k: 5)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smote<'a> {
    pub field: &'a str,
    /// The fields that a model sees beside `field`: all of them numbers.
    pub inputs: &'a [&'a str],
    pub neighbours: usize,
    pub seed: u64,
}

/// Draws of splits and resampling are told apart from those of models by their site.
const SMOTE_SITE: u32 = 0x5307;

impl Encoded {
    /// `weights balanced(y)`: a row of class c counts  n / (K n_c),  n being the number of training rows, n_c those of the class and K the
    /// number of classes that have any; so all classes together count as much as the rows do. Rows that do not train count 1.
    ///
    /// Adds the weights as a field of that `name`. Source: King and Zeng 2001, doi:10.1093/oxfordjournals.pan.a004868; scikit-learn's
    /// `class_weight="balanced"`. Errors: `wrong-step`, `missing-value`.
    pub fn balance(&mut self, field: &str, train: &[u32], name: &str) -> DataResult<ClassWeights> {
        let (of_row, classes) = self.classes_of(field)?;
        let mut counts = vec![0usize; classes.len()];
        for row in train {
            match counts.get_mut(of_row[*row as usize] as usize) {
                Some(count) => *count += 1,
                None => return Err(no_class(field)),
            }
        }
        let there = counts.iter().filter(|count| **count > 0).count();
        let weight = |class: usize| train.len() as f64 / (there as f64 * counts[class] as f64);
        let mut weights = vec![1.0; self.rows];
        train.iter().for_each(|row| weights[*row as usize] = weight(of_row[*row as usize] as usize));
        self.push_numbers(name, weights);
        let known = classes.into_iter().enumerate().filter(|(class, _)| counts[*class] > 0);
        Ok(ClassWeights { field: field.into(), classes: known.map(|(class, name)| (name, weight(class))).collect() })
    }

    /// Synthetic minority oversampling: for each class new rows until it has as many training rows as the largest. A new row is
    /// x + u (x' - x),  x being a training row of the class, x' one of its k nearest in the class by Euclidean distance, and u uniform in
    /// [0, 1). Every row of the class is taken in turn, the last round for some of them drawn with the seed. Other fields are those of x.
    ///
    /// Returns for each new row (they follow the rows there are) the row x. Source: Chawla, Bowyer, Hall and Kegelmeyer 2002,
    /// doi:10.1613/jair.953, section 4.2, with one u a row ("along the line segment"). Errors: `smote-needs-numbers`, `class-too-small`.
    pub fn smote(&mut self, smote: &Smote, train: &[u32]) -> DataResult<Vec<u32>> {
        let (of_row, classes) = self.classes_of(smote.field)?;
        let mut members: Vec<Vec<u32>> = vec![vec![]; classes.len()];
        for row in train {
            match members.get_mut(of_row[*row as usize] as usize) {
                Some(rows) => rows.push(*row),
                None => return Err(no_class(smote.field)),
            }
        }
        let matrix = self.matrix(smote.inputs)?;
        let most = members.iter().map(Vec::len).max().unwrap_or(0);
        let (mut bases, mut made) = (vec![], vec![]);
        for (class, rows) in members.iter().enumerate().filter(|(_, rows)| !rows.is_empty() && rows.len() < most) {
            if rows.len() < 2 {
                let text = format!(
                    "class `{}` of `{}` has one training row, and SMOTE needs two",
                    classes[class], smote.field
                );
                return Err(DataError::new("class-too-small", text)
                    .help("leave the class out with `keep`, merge it with another, or use `rows oversample(..)`"));
            }
            let nearest = nearest(&matrix, rows, smote.neighbours);
            let order = permutation(rows.len(), smote.seed, (1 << 39) + class as u64);
            for number in 0..most - rows.len() {
                let at = if number < (most - rows.len()) / rows.len() * rows.len() {
                    number % rows.len()
                } else {
                    order[number % rows.len()]
                };
                let mut drawn = [0.0; 2];
                let key = DrawKey { seed: smote.seed, step: class as u64, site: SMOTE_SITE };
                fill_uniform_f64(key, number as u64, 0, &mut drawn);
                let near = &nearest[at];
                let other = near[((drawn[0] * near.len() as f64) as usize).min(near.len() - 1)];
                let (x, y) = (matrix.row(rows[at]), matrix.row(other));
                made.push(x.iter().zip(y).map(|(x, y)| x + drawn[1] * (y - x)).collect::<Vec<f64>>());
                bases.push(rows[at]);
            }
        }
        let first = self.rows;
        self.repeat(&bases);
        let mut from = 0;
        for (name, width) in &matrix.fields {
            let values: Vec<f64> = made.iter().flat_map(|row| row[from..from + width].iter().copied()).collect();
            self.overwrite(name, first, &values);
            from += width;
        }
        Ok(bases)
    }

    /// The rows three times: once for train, where the elements of `field` that belong to other parts are missing, once for valid and
    /// once for test. `part_of`: for each stored element of the field 0, 1 or 2.
    pub fn in_parts(&mut self, field: &str, part_of: &[u8]) {
        let rows = self.rows as u32;
        let again: Vec<u32> = (0..2).flat_map(|_| 0..rows).collect();
        self.repeat(&again);
        self.hide_elements(field, rows as usize, part_of);
    }

    /// The class of each row and the names of the classes; a row without one has a number above them.
    fn classes_of(&self, name: &str) -> DataResult<(Vec<u32>, Vec<String>)> {
        let field = self.field(name)?;
        let names = field.facts().classes.iter().map(|class| class.name.clone()).collect();
        let of_row = match (field.values(), field.facts().dims.as_slice()) {
            (Values::Ids(ids), []) if field.facts().kind == Kind::Category => ids.clone(),
            (Values::Truth(values), []) => {
                values.iter().map(|x| if *x == MISSING_TRUTH { MISSING_ID } else { u32::from(*x) }).collect()
            }
            (Values::Ids(_) | Values::Truth(_) | Values::F32(_) | Values::F64(_) | Values::Letters(_), _) => {
                let text = format!("`{name}` is not one class or truth value a row");
                return Err(DataError::new("wrong-step", text).help("read it with `category(..)` or `truth(..)`"));
            }
        };
        Ok((of_row, names))
    }

    fn matrix(&self, inputs: &[&str]) -> DataResult<Matrix> {
        let mut fields = vec![];
        let mut parts = vec![];
        for name in inputs {
            let field = self.field(name)?;
            let numbers: Option<Vec<f64>> = match (field.values(), field.layout(), field.facts().kind == Kind::Number) {
                (Values::F32(values), Layout::Fixed(_), true) => Some(values.iter().map(|x| f64::from(*x)).collect()),
                (Values::F64(values), Layout::Fixed(_), true) => Some(values.clone()),
                (Values::F32(_) | Values::F64(_) | Values::Truth(_) | Values::Ids(_) | Values::Letters(_), _, _) => {
                    None
                }
            };
            let Some(numbers) = numbers else {
                let text = format!("SMOTE makes rows up between others, and `{name}` is not made of numbers");
                return Err(
                    DataError::new("smote-needs-numbers", text).help("`rows oversample(..)` repeats rows as they are")
                );
            };
            if numbers.iter().any(|x| x.is_nan()) {
                let text = format!("SMOTE needs distances between rows, and values of `{name}` are missing");
                return Err(DataError::new("smote-needs-numbers", text).help("fill them: `|> impute(median)`"));
            }
            let width = numbers.len() / self.rows.max(1);
            fields.push((name.to_string(), width));
            parts.push((numbers, width));
        }
        let width: usize = parts.iter().map(|(_, width)| width).sum();
        if width == 0 {
            return Err(DataError::new("smote-needs-numbers", "SMOTE needs fields of numbers that the model reads")
                .help("`rows oversample(..)` repeats rows as they are"));
        }
        let mut values = Vec::with_capacity(width * self.rows);
        for row in 0..self.rows {
            parts
                .iter()
                .for_each(|(numbers, width)| values.extend_from_slice(&numbers[row * width..(row + 1) * width]));
        }
        Ok(Matrix { fields, values, width })
    }
}

impl Dataset {
    /// That each of these rows has a class or truth value in the field. Errors: `missing-value`, with the place in the file.
    pub fn require_classes(&self, name: &str, rows: &[u32]) -> DataResult<()> {
        let field = self.field(name)?;
        let lacks = |row: usize| match &*field.values {
            Values::Ids(ids) => ids.get(row) == Some(&MISSING_ID),
            Values::Truth(values) => values.get(row) == Some(&MISSING_TRUTH),
            Values::F32(_) | Values::F64(_) | Values::Letters(_) => false,
        };
        match rows.iter().map(|row| *row as usize).find(|row| lacks(*row)) {
            Some(row) => Err(self.places.fault(no_class(name), row, field.column_of(0), None)),
            None => Ok(()),
        }
    }
}

fn no_class(field: &str) -> Box<DataError> {
    DataError::new("missing-value", format!("a training row without `{field}` has no class"))
        .help("leave such rows out: `keep known(...)`")
}

/// The numbers of all rows, those of one row side by side.
struct Matrix {
    /// Names and numbers a row.
    fields: Vec<(String, usize)>,
    values: Vec<f64>,
    width: usize,
}

impl Matrix {
    fn row(&self, row: u32) -> &[f64] {
        &self.values[row as usize * self.width..][..self.width]
    }
}

/// For each of the rows its `k` nearest among them, nearest first, the first of equals.
fn nearest(matrix: &Matrix, rows: &[u32], k: usize) -> Vec<Vec<u32>> {
    let k = k.min(rows.len() - 1);
    let of = |row: &u32| {
        let own = matrix.row(*row);
        let mut best: Vec<(f64, u32)> = Vec::with_capacity(k + 1);
        for other in rows.iter().filter(|other| *other != row) {
            let distance: f64 = own.iter().zip(matrix.row(*other)).map(|(a, b)| (a - b) * (a - b)).sum();
            if best.len() < k || distance < best[k - 1].0 {
                let at = best.partition_point(|(known, _)| *known <= distance);
                best.insert(at, (distance, *other));
                best.truncate(k);
            }
        }
        best.into_iter().map(|(_, row)| row).collect()
    };
    rows.iter().map(of).collect()
}
