//! Values ready for batches: [`Encoded`] copies the rows of a batch into the input buffers of a step.
//!
//! Buffers hold the rows one after another, row-major inside. A field whose rows differ in length is packed end to end;
//! [`EncodedField::lengths`] gives the sizes from which the step's offsets follow. One-hot rows are written here, from a
//! byte a letter, so memory holds the small form only.
//!
//! ```text
//! rows [2, 0] of a field with lengths 3, 1, 2 and 4 letters:  buffer [ row 2: 2 x 4 | row 0: 3 x 4 ],  lengths [2, 3]
//! ```
//!
//! Filling allocates nothing and cannot fail. Asking for the wrong type is a fault of the caller, not of the user, and
//! panics with both names.

use crate::error::{DataError, DataResult};
use crate::facts::{FieldDim, FieldFacts, Kind};
use crate::field::{Field, Layout, MISSING_ID, MISSING_TRUTH, OneHot, Values};
use std::sync::Arc;

/// A data set after fitting.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub(crate) rows: usize,
    pub(crate) fields: Vec<EncodedField>,
}

impl Encoded {
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn fields(&self) -> &[EncodedField] {
        &self.fields
    }

    /// Bytes of the values in memory.
    pub fn bytes(&self) -> usize {
        self.fields.iter().map(|field| field.values.bytes()).sum()
    }

    /// The field of that name. Errors: `unknown-field`.
    pub fn field(&self, name: &str) -> DataResult<&EncodedField> {
        let known = || self.fields.iter().map(|field| field.facts.name.as_str()).collect::<Vec<_>>().join(", ");
        self.fields.iter().find(|field| field.facts.name == name).ok_or_else(|| {
            DataError::new("unknown-field", format!("the data has no field `{name}`"))
                .help(format!("its fields are {}", known()))
        })
    }
}

impl Encoded {
    /// Adds rows that are copies of these.
    pub(crate) fn repeat(&mut self, bases: &[u32]) {
        for field in &mut self.fields {
            let all = (0..self.rows as u32).chain(bases.iter().copied());
            field.choose(all);
        }
        self.rows += bases.len();
    }

    /// Adds a field of one number a row.
    pub(crate) fn push_numbers(&mut self, name: &str, values: Vec<f64>) {
        let facts = FieldFacts {
            name: name.into(),
            kind: Kind::Number,
            dims: vec![],
            axis_names: vec![],
            optional: false,
            missing: 0,
            classes: vec![],
            columns: vec![],
            one_hot: false,
        };
        let (layout, rows) = (Layout::Fixed(1), self.rows);
        let values = Arc::new(Values::F64(values));
        self.fields.push(EncodedField { facts, values, layout, one_hot: None, table_f32: vec![], rows });
    }

    /// Replaces the numbers of a field from a row on.
    pub(crate) fn overwrite(&mut self, name: &str, first: usize, numbers: &[f64]) {
        let Some(field) = self.fields.iter_mut().find(|field| field.facts.name == name) else { return };
        let from = field.layout.range(first).start;
        match Arc::make_mut(&mut field.values) {
            Values::F32(values) => {
                values[from..].iter_mut().zip(numbers).for_each(|(value, number)| *value = *number as f32)
            }
            Values::F64(values) => values[from..].copy_from_slice(numbers),
            Values::Truth(_) | Values::Ids(_) | Values::Letters(_) => {}
        }
    }

    /// Of rows that stand three times, elements that do not belong to a copy's part become missing.
    pub(crate) fn hide_elements(&mut self, name: &str, rows: usize, part_of: &[u8]) {
        let Some(field) = self.fields.iter_mut().find(|field| field.facts.name == name) else { return };
        field.facts.optional = true;
        let layout = field.layout.clone();
        let values = Arc::make_mut(&mut field.values);
        for row in 0..3 * rows {
            let (own, first) = (layout.range(row), layout.range(row % rows).start);
            for (at, element) in own.enumerate() {
                if usize::from(part_of[first + at]) == row / rows {
                    continue;
                }
                match values {
                    Values::F32(values) => values[element] = f32::NAN,
                    Values::F64(values) => values[element] = f64::NAN,
                    Values::Truth(values) => values[element] = MISSING_TRUTH,
                    Values::Ids(values) => values[element] = MISSING_ID,
                    Values::Letters(_) => {}
                }
            }
        }
    }
}

/// One field after fitting.
#[derive(Clone, Debug)]
pub struct EncodedField {
    facts: FieldFacts,
    values: Arc<Values>,
    layout: Layout,
    one_hot: Option<OneHot>,
    /// The one-hot rows again in the other precision, so that a batch is copied without conversion.
    table_f32: Vec<f32>,
    rows: usize,
}

impl EncodedField {
    pub(crate) fn new(field: &Field, values: Arc<Values>, rows: usize) -> Self {
        let table = field.one_hot.iter().flat_map(|one_hot| one_hot.table.iter());
        EncodedField {
            facts: field.facts.clone(),
            values,
            layout: field.layout.clone(),
            table_f32: table.map(|x| *x as f32).collect(),
            one_hot: field.one_hot.clone(),
            rows,
        }
    }

    pub fn facts(&self) -> &FieldFacts {
        &self.facts
    }

    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Becomes the field of these rows, in this order.
    fn choose(&mut self, rows: impl Iterator<Item = u32> + Clone) {
        fn taken<T: Copy>(values: &[T], layout: &Layout, rows: impl Iterator<Item = u32>) -> Vec<T> {
            rows.flat_map(|row| values[layout.range(row as usize)].iter().copied()).collect()
        }
        let layout = &self.layout;
        let values = match &*self.values {
            Values::F32(values) => Values::F32(taken(values, layout, rows.clone())),
            Values::F64(values) => Values::F64(taken(values, layout, rows.clone())),
            Values::Truth(values) => Values::Truth(taken(values, layout, rows.clone())),
            Values::Ids(values) => Values::Ids(taken(values, layout, rows.clone())),
            Values::Letters(values) => Values::Letters(taken(values, layout, rows.clone())),
        };
        if let Layout::PerRow(_) = layout {
            let mut starts = vec![0u64];
            for row in rows.clone() {
                starts.push(starts[starts.len() - 1] + layout.range(row as usize).len() as u64);
            }
            self.layout = Layout::PerRow(Arc::new(starts));
        }
        for dim in &mut self.facts.dims {
            if let FieldDim::PerRow(lengths) = dim {
                *dim = FieldDim::PerRow(Arc::new(rows.clone().map(|row| lengths[row as usize]).collect()));
            }
        }
        self.rows = rows.count();
        self.values = Arc::new(values);
    }

    /// Elements of one row in a batch.
    pub fn row_size(&self, row: u32) -> usize {
        self.layout.range(row as usize).len() * self.one_hot.as_ref().map_or(1, |one_hot| one_hot.width)
    }

    /// Elements of these rows in a batch: what `fill_*` needs.
    pub fn size(&self, rows: &[u32]) -> usize {
        match &self.layout {
            Layout::Fixed(_) => rows.len() * if self.rows == 0 { 0 } else { self.row_size(0) },
            Layout::PerRow(_) => rows.iter().map(|row| self.row_size(*row)).sum(),
        }
    }

    /// The size of one axis in each of these rows.
    pub fn lengths(&self, axis: usize, rows: &[u32], out: &mut [i64]) {
        let dim = &self.facts.dims[axis];
        out.iter_mut().zip(rows).for_each(|(out, row)| *out = dim.size(*row as usize) as i64);
    }

    /// Where each row starts along a per-row axis when these rows are packed, and the end: `rows.len() + 1` entries.
    pub fn offsets(&self, axis: usize, rows: &[u32], out: &mut [i64]) {
        let dim = &self.facts.dims[axis];
        let mut at = 0;
        for (out, row) in out.iter_mut().zip(rows) {
            *out = at;
            at += dim.size(*row as usize) as i64;
        }
        if let Some(last) = out.get_mut(rows.len()) {
            *last = at;
        }
    }

    /// Does an axis differ from row to row?
    pub fn is_per_row(&self) -> bool {
        self.facts.dims.iter().any(|dim| matches!(dim, FieldDim::PerRow(_)))
    }

    /// Copies numbers (0 where missing), one-hot rows or truth values as 0 and 1.
    pub fn fill_f32(&self, rows: &[u32], out: &mut [f32]) {
        if let Some(one_hot) = &self.one_hot {
            return self.fill_one_hot(&self.table_f32, one_hot.width, rows, out);
        }
        match &*self.values {
            Values::F32(values) => self.copy(values, rows, out, known_f32),
            Values::F64(values) => self.copy(values, rows, out, |x| known_f64(x) as f32),
            Values::Truth(values) => self.copy(values, rows, out, |x| f32::from(u8::from(x == 1))),
            Values::Ids(_) | Values::Letters(_) => self.not_a("number"),
        }
    }

    /// [`EncodedField::fill_f32`] in f64.
    pub fn fill_f64(&self, rows: &[u32], out: &mut [f64]) {
        if let Some(one_hot) = &self.one_hot {
            return self.fill_one_hot(&one_hot.table, one_hot.width, rows, out);
        }
        match &*self.values {
            Values::F32(values) => self.copy(values, rows, out, |x| f64::from(known_f32(x))),
            Values::F64(values) => self.copy(values, rows, out, known_f64),
            Values::Truth(values) => self.copy(values, rows, out, |x| f64::from(u8::from(x == 1))),
            Values::Ids(_) | Values::Letters(_) => self.not_a("number"),
        }
    }

    /// Copies ids of classes, letters, indices, or truth values; 0 where missing.
    pub fn fill_i32(&self, rows: &[u32], out: &mut [i32]) {
        match &*self.values {
            Values::Ids(values) if self.one_hot.is_none() => {
                self.copy(values, rows, out, |id| if id == MISSING_ID { 0 } else { id as i32 });
            }
            Values::Letters(values) if self.one_hot.is_none() => self.copy(values, rows, out, i32::from),
            Values::Truth(values) => self.copy(values, rows, out, |x| i32::from(x == 1)),
            Values::F32(_) | Values::F64(_) | Values::Ids(_) | Values::Letters(_) => self.not_a("integer"),
        }
    }

    /// Copies truth values as bytes 0 and 1; 0 where missing.
    pub fn fill_bool(&self, rows: &[u32], out: &mut [u8]) {
        match &*self.values {
            Values::Truth(values) => self.copy(values, rows, out, |x| u8::from(x == 1)),
            Values::F32(_) | Values::F64(_) | Values::Ids(_) | Values::Letters(_) => self.not_a("truth value"),
        }
    }

    /// Writes 1 for each element that is known, 0 where it is missing.
    pub fn fill_known(&self, rows: &[u32], out: &mut [u8]) {
        let width = self.one_hot.as_ref().map_or(1, |one_hot| one_hot.width);
        let mut at = 0;
        for row in rows {
            for element in self.layout.range(*row as usize) {
                let known = match &*self.values {
                    Values::F32(values) => !values[element].is_nan(),
                    Values::F64(values) => !values[element].is_nan(),
                    Values::Truth(values) => values[element] != MISSING_TRUTH,
                    Values::Ids(values) => values[element] != MISSING_ID,
                    Values::Letters(_) => true,
                };
                out[at..at + width].fill(u8::from(known));
                at += width;
            }
        }
    }

    fn copy<S: Copy, T>(&self, values: &[S], rows: &[u32], out: &mut [T], convert: impl Fn(S) -> T) {
        let mut rest = out;
        for row in rows {
            let from = &values[self.layout.range(*row as usize)];
            let (to, tail) = rest.split_at_mut(from.len());
            to.iter_mut().zip(from).for_each(|(to, from)| *to = convert(*from));
            rest = tail;
        }
    }

    fn fill_one_hot<T: Copy + Default>(&self, table: &[T], width: usize, rows: &[u32], out: &mut [T]) {
        let mut rest = out;
        let mut put = |code: usize| {
            let (to, tail) = std::mem::take(&mut rest).split_at_mut(width);
            match table.get(code * width..(code + 1) * width) {
                Some(row) => to.copy_from_slice(row),
                None => to.fill(T::default()), // a missing class
            }
            rest = tail;
        };
        match &*self.values {
            Values::Letters(codes) => {
                rows.iter().for_each(|row| {
                    codes[self.layout.range(*row as usize)].iter().for_each(|code| put(*code as usize))
                });
            }
            Values::Ids(ids) => {
                rows.iter()
                    .for_each(|row| ids[self.layout.range(*row as usize)].iter().for_each(|id| put(*id as usize)));
            }
            Values::F32(_) | Values::F64(_) | Values::Truth(_) => self.not_a("one-hot field"),
        }
    }

    fn not_a(&self, what: &str) -> ! {
        let kind = match &self.facts.kind {
            Kind::Number => "numbers",
            Kind::Truth => "truth values",
            Kind::Category => "categories",
            Kind::Letters { .. } => "letters",
            Kind::Index(_) | Kind::IndexOf(_) => "indices",
            Kind::Text => "text",
        };
        panic!("a bug in bdl: field `{}` holds {kind}, and a {what} was asked for", self.facts.name)
    }
}

fn known_f32(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x }
}

fn known_f64(x: f64) -> f64 {
    if x.is_nan() { 0.0 } else { x }
}
