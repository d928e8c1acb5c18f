//! A field in memory, before anything is fitted.
//!
//! Values lie row by row. A row of a field has either the same number of stored elements as every other row or its own
//! (sequences of different lengths, packed end to end). One-hot fields store a byte a letter or an id a class, and become
//! numbers only when a batch is filled: the splice windows take 60 bytes a row, not 960.
//!
//! ```text
//! onehot(column("sequence"), DNA)   ACG | TN      codes [0 1 2 | 3 14], starts [0 3 5], one_hot table [15, 4]
//! number(columns("x*"))             [1.0 2.0 | 3.0 NaN]                 NaN is missing
//! ```

use crate::error::{DataError, DataResult};
use crate::facts::FieldFacts;
use crate::formula::Formula;
use crate::join::{JoinedColumn, NO_ROW};
use crate::locate;
use crate::spec::{Precision, Step, TableSource};
use crate::table::{Columns, Table};
use std::sync::Arc;

/// The id of a missing category and the code of a missing truth value.
pub(crate) const MISSING_ID: u32 = u32::MAX;
pub(crate) const MISSING_TRUTH: u8 = 2;

/// Stored elements of all rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    /// NaN is missing.
    F32(Vec<f32>),
    /// NaN is missing. Used in double precision, and for what is yet to be fitted (a large offset would eat f32's digits).
    F64(Vec<f64>),
    /// 0, 1, or missing.
    Truth(Vec<u8>),
    /// Classes, words, integers below n, texts.
    Ids(Vec<u32>),
    /// Letter codes of an alphabet.
    Letters(Vec<u8>),
}

impl Values {
    pub fn bytes(&self) -> usize {
        match self {
            Values::F32(values) => size_of_val(values.as_slice()),
            Values::F64(values) => size_of_val(values.as_slice()),
            Values::Truth(values) | Values::Letters(values) => values.len(),
            Values::Ids(values) => size_of_val(values.as_slice()),
        }
    }
}

/// How many stored elements a row has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Layout {
    Fixed(usize),
    /// Where each row starts, and the end of the last: rows + 1 entries.
    PerRow(Arc<Vec<u64>>),
}

impl Layout {
    /// The stored elements of a row.
    pub fn range(&self, row: usize) -> std::ops::Range<usize> {
        match self {
            Layout::Fixed(size) => row * size..(row + 1) * size,
            Layout::PerRow(starts) => starts[row] as usize..starts[row + 1] as usize,
        }
    }

    /// The row of a stored element.
    pub fn row_of(&self, element: usize) -> usize {
        match self {
            Layout::Fixed(size) => element / (*size).max(1),
            Layout::PerRow(starts) => starts.partition_point(|start| *start <= element as u64) - 1,
        }
    }
}

/// What a stored code becomes in a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OneHot {
    /// One row of `width` numbers a code.
    pub table: Arc<Vec<f64>>,
    pub width: usize,
}

/// A field before fitting.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub name: String,
    pub pos: String,
    pub values: Arc<Values>,
    pub layout: Layout,
    pub one_hot: Option<OneHot>,
    /// The numeric steps from the first fitted one on; `values` are F64 if there are any.
    pub tail: Vec<Step>,
    /// Numbers that are fitted together, where that is not a row: lists of numbers, whose rows differ in length.
    pub fitted_width: Option<usize>,
    /// What is computed once other fields are fitted; until then `values` are those before fitting.
    pub computed: Option<Formula>,
    /// The working precision is yet to be taken: formulas read the numbers in f64.
    pub exact: bool,
    /// Classes that no training row has take this class (its id), the last.
    pub unknown: Option<u32>,
    /// Later fields read it, models do not see it.
    pub hidden: bool,
    /// Numbers of things counted.
    pub counts: bool,
    /// Positions in the file of the columns it is made of.
    pub columns: Vec<usize>,
    pub facts: FieldFacts,
}

impl Field {
    /// The column of the file that an element of a row comes from.
    pub fn column_of(&self, element: usize) -> Option<usize> {
        if self.columns.len() > 1 { self.columns.get(element).copied() } else { self.columns.first().copied() }
    }
}

/// Where rows come from, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub source: Option<TableSource>,
    pub columns: Columns,
    /// For each row its row in the file, from 0.
    pub rows: Vec<u32>,
    /// Columns of other tables; their positions follow those of the file.
    pub joined: Vec<Arc<JoinedColumn>>,
}

impl Places {
    /// The number of columns of the file itself.
    pub fn own_columns(&self) -> usize {
        self.columns.names.len() - self.joined.len()
    }

    /// The record of the file that holds a row.
    pub fn record(&self, row: usize) -> u64 {
        let header = self.source.as_ref().is_some_and(|source| source.header);
        u64::from(self.rows[row]) + u64::from(header)
    }

    /// The error with its place: a row, and a cell where one is known. `part`: first character and number of characters.
    pub fn fault(
        &self,
        fault: Box<DataError>,
        row: usize,
        column: Option<usize>,
        part: Option<(usize, usize)>,
    ) -> Box<DataError> {
        let Some(source) = &self.source else { return fault };
        let own = self.own_columns();
        if let Some(joined) = column.and_then(|column| self.joined.get(column.checked_sub(own)?)) {
            let there = joined.rows[self.rows[row] as usize];
            if there != NO_ROW {
                let (offset, width) = part.map_or((0, None), |(offset, width)| (offset, Some(width)));
                return joined.table.fault_at(fault, there as usize, joined.column, offset, width);
            }
            return self.fault(fault, row, None, None);
        }
        let (offset, width) = part.map_or((0, None), |(offset, width)| (offset, Some(width)));
        let place = locate::Place { record: self.record(row), column, offset, width };
        let label = match column {
            Some(at) if self.columns.named => format!("column {}, `{}`", at + 1, self.columns.names[at]),
            Some(at) => format!("column {}", at + 1),
            None => String::new(),
        };
        locate::placed(fault, source, &place, &label)
    }
}

/// The rows of a table that are to be encoded.
pub(crate) struct Rows<'a> {
    pub table: &'a Table,
    pub places: &'a Places,
}

impl Rows<'_> {
    pub fn len(&self) -> usize {
        self.places.rows.len()
    }

    pub fn cell(&self, row: usize, column: usize) -> &str {
        self.table.cell(self.places.rows[row] as usize, column)
    }

    pub fn is_missing(&self, row: usize, column: usize) -> bool {
        self.table.is_missing(self.places.rows[row] as usize, column)
    }
}

/// Numbers in the working precision. Errors: the position of a number that f32 cannot hold.
pub(crate) fn narrow(numbers: Vec<f64>, precision: Precision) -> Result<Values, usize> {
    match precision {
        Precision::F64 => Ok(Values::F64(numbers)),
        Precision::F32 => {
            let narrow: Vec<f32> = numbers.iter().map(|x| *x as f32).collect();
            match narrow.iter().position(|x| x.is_infinite()) {
                Some(at) => Err(at),
                None => Ok(Values::F32(narrow)),
            }
        }
    }
}

/// The error for a number that f32 cannot hold.
pub(crate) fn too_large(x: f64) -> Box<DataError> {
    DataError::new("not-finite", format!("{x} is too large for 32-bit numbers"))
        .help("scale the column (`_ / 1e6`), take its logarithm, or train with `--precision f64`")
}

/// `DataResult` with the field that asked.
pub(crate) fn for_field<T>(result: DataResult<T>, name: &str, pos: &str) -> DataResult<T> {
    result.map_err(|fault| fault.asked_by(name, pos))
}
