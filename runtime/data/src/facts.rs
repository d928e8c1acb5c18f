//! What is known about a data set once its file was read: the types, sizes and names that the checker asks for.
//!
//! `dna = onehot(column("sequence"), DNA)` on the splice table has the facts
//! `Number [60, 4]`, second axis named A C G T. Facts hold no values of the model's inputs.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// What a data set holds.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFacts {
    pub name: String,
    /// None for a synthetic source.
    pub file: Option<PathBuf>,
    /// Rows after `keep` and `distinct`.
    pub rows: usize,
    /// Rows of the file.
    pub rows_read: usize,
    pub fields: Vec<FieldFacts>,
}

impl DataFacts {
    /// The facts of one field.
    pub fn field(&self, name: &str) -> Option<&FieldFacts> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// What one field holds.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldFacts {
    pub name: String,
    pub kind: Kind,
    /// One entry an axis; empty for one value a row.
    pub dims: Vec<FieldDim>,
    /// Names along each axis, where the data gives any (columns, letters, classes).
    pub axis_names: Vec<Option<Arc<Vec<String>>>>,
    /// Missing values remain and the type is optional (`f32?`).
    pub optional: bool,
    /// Elements that are missing in the file, whatever is done about them.
    pub missing: usize,
    /// The classes of a category or truth field and how often each stands in the rows, in the order of their ids.
    pub classes: Vec<Class>,
    /// The columns of the file that the field is made of.
    pub columns: Vec<String>,
    /// Its rows, along the last axis, have a single 1 (letters that stand for several have parts of it), and nothing was done to them since.
    pub one_hot: bool,
}

/// A class and its number of elements.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Class {
    pub name: String,
    pub count: usize,
}

/// What the elements of a field are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `f32` (or `f64`).
    Number,
    /// `bool`.
    Truth,
    /// `category(K)`; K is the number of classes in the facts.
    Category,
    /// Letters of the named alphabet with this many letters.
    Letters { alphabet: String, letters: usize },
    /// `index(V)`.
    Index(usize),
    /// `index(V)`, V being the size of the named field's first axis in the same row.
    IndexOf(String),
    /// Text, which no model can take.
    Text,
}

/// The size of one axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldDim {
    /// The same for all rows.
    Fixed(usize),
    /// Each row has its own; one entry a row.
    PerRow(Arc<Vec<u32>>),
}

impl FieldDim {
    /// The size in one row.
    pub fn size(&self, row: usize) -> usize {
        match self {
            FieldDim::Fixed(size) => *size,
            FieldDim::PerRow(lengths) => lengths[row] as usize,
        }
    }
}
