//! `rows per patient sorted by day`: one example of several rows.
//!
//! Every row is encoded by itself; then the rows of one key become one example, in the order of their first appearance in the file, each
//! field with one axis more in front, whose size is the example's own:
//!
//! ```text
//! anna,3,0.7      rows per name sorted by day      anna: dose [0.2, 0.7]
//! ben,1,0.4                                        ben:  dose [0.4]
//! anna,1,0.2
//! ```
//!
//! A text stays one value an example, that of its first row, so that splits may name it.

use crate::error::{DataError, DataResult};
use crate::facts::{FieldDim, Kind};
use crate::field::{Field, Layout, Rows, Values};
use crate::spec::Column;
use std::collections::HashMap;
use std::sync::Arc;

/// What `rows per` says.
#[derive(Clone, Debug, PartialEq)]
pub struct RowGroup {
    pub by: Column,
    /// Ascending, as numbers where all are numbers, as texts otherwise; without it the order of the file.
    pub sorted: Option<Column>,
}

/// The rows of each example (positions among the rows that are used). Errors: `missing-value` for a row without a key or place.
pub(crate) fn groups(rows: &Rows, by: usize, sorted: Option<usize>) -> DataResult<Vec<Vec<u32>>> {
    let missing = |row: usize, column: usize, what: &str| {
        let fault = DataError::new("missing-value", format!("a row without {what}"));
        rows.places.fault(fault.help("leave such rows out: `keep known(column(..))`"), row, Some(column), None)
    };
    let (mut place, mut groups): (HashMap<&str, usize>, Vec<Vec<u32>>) = (HashMap::new(), vec![]);
    for row in 0..rows.len() {
        let key = rows.cell(row, by);
        if rows.is_missing(row, by) {
            return Err(missing(row, by, "the key that says which example it belongs to"));
        }
        let at = *place.entry(key).or_insert(groups.len());
        if at == groups.len() {
            groups.push(vec![]);
        }
        groups[at].push(row as u32);
    }
    let Some(sorted) = sorted else { return Ok(groups) };
    let mut numbers = Vec::with_capacity(rows.len());
    for row in 0..rows.len() {
        let cell = rows.cell(row, sorted);
        if rows.is_missing(row, sorted) {
            return Err(missing(row, sorted, "a place in the order"));
        }
        numbers.push(crate::numbers::parse(cell, rows.table.decimal(sorted)).ok());
    }
    let all: Option<Vec<f64>> = numbers.into_iter().collect();
    for group in &mut groups {
        match &all {
            Some(numbers) => group.sort_by(|a, b| numbers[*a as usize].total_cmp(&numbers[*b as usize])),
            None => group.sort_by_key(|row| rows.cell(*row as usize, sorted)),
        }
    }
    Ok(groups)
}

/// A field of rows as one of examples.
pub(crate) fn grouped(field: Field, groups: &[Vec<u32>]) -> DataResult<Field> {
    let Layout::Fixed(width) = field.layout else {
        let text = "a list in each of several rows of an example is not built yet";
        return Err(DataError::new("wrong-step", text).asked_by(&field.name, &field.pos));
    };
    let first = field.facts.kind == Kind::Text;
    let chosen: Vec<Vec<u32>> = match first {
        true => groups.iter().map(|group| group[..1].to_vec()).collect(),
        false => groups.to_vec(),
    };
    let values = match &*field.values {
        Values::F32(values) => Values::F32(take(values, width, &chosen)),
        Values::F64(values) => Values::F64(take(values, width, &chosen)),
        Values::Truth(values) => Values::Truth(take(values, width, &chosen)),
        Values::Ids(values) => Values::Ids(take(values, width, &chosen)),
        Values::Letters(values) => Values::Letters(take(values, width, &chosen)),
    };
    let mut made = Field { values: Arc::new(values), ..field };
    if first {
        return Ok(made);
    }
    let mut starts = vec![0u64];
    for group in groups {
        starts.push(starts[starts.len() - 1] + (group.len() * width) as u64);
    }
    let lengths = groups.iter().map(|group| group.len() as u32).collect();
    made.layout = Layout::PerRow(Arc::new(starts));
    made.facts.dims.insert(0, FieldDim::PerRow(Arc::new(lengths)));
    made.facts.axis_names.insert(0, None);
    Ok(made)
}

fn take<T: Copy>(values: &[T], width: usize, groups: &[Vec<u32>]) -> Vec<T> {
    let rows = groups.iter().flatten();
    rows.flat_map(|row| &values[*row as usize * width..][..width]).copied().collect()
}
