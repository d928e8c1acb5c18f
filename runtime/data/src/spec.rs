//! What a `data` block says, as plain data.
//!
//! The driver translates the checked `data` block into a [`DataSpec`]; nothing here is computed. Positions in the user's
//! program are carried as ready text (`model.bdl:4:10`), because this crate knows no source map.
//!
//! `site = category(column("class"))` is
//! `FieldSpec { name: "site", origin: Column("class"), steps: [Category], .. }`, and
//! `open = number(column(5)) |> log1p |> standardize` is `origin: Column(5), steps: [Number, Log1p, Standardize]`.

use crate::alphabet::Alphabet;
use crate::formula::Formula;
use std::path::{Path, PathBuf};

/// A `data` block: a source and the fields made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSpec {
    pub name: String,
    /// Where the block stands in the user's program, for messages; may be empty.
    pub pos: String,
    pub source: Source,
    pub fields: Vec<FieldSpec>,
    /// Other tables, whose rows are looked up by key.
    pub tables: Vec<SideTable>,
    /// Rows for which one of these is false or unknown are left out.
    pub keep: Vec<Condition>,
    /// The same for conditions that compute with fields; looked at after [`DataSpec::keep`].
    pub keep_where: Vec<Formula>,
    /// Of rows that agree in all of these fields only the first is kept. Empty: keep repeats.
    pub distinct: Vec<String>,
    /// One example of several rows.
    pub group: Option<crate::group::RowGroup>,
}

impl DataSpec {
    /// A block without fields, filters or position.
    pub fn new(name: &str, source: Source) -> Self {
        DataSpec {
            name: name.into(),
            pos: String::new(),
            source,
            fields: vec![],
            tables: vec![],
            keep: vec![],
            keep_where: vec![],
            distinct: vec![],
            group: None,
        }
    }

    /// The files that it reads.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let own = match &self.source {
            Source::Table(table) => Some(table.path.as_path()),
            Source::Synthetic { .. } => None,
        };
        own.into_iter().chain(self.tables.iter().map(|table| table.source.path.as_path()))
    }

    /// The same block with one more field.
    pub fn field(mut self, field: FieldSpec) -> Self {
        self.fields.push(field);
        self
    }
}

/// `let alleles = csv("alleles.csv", key: "name")`: a table whose rows are looked up by key.
#[derive(Clone, Debug, PartialEq)]
pub struct SideTable {
    pub name: String,
    pub source: TableSource,
    /// No two rows have the same text here.
    pub key: Column,
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `csv(...)` or `tsv(...)`, gzipped or not (told by content, not by name).
    Table(TableSource),
    /// `synthetic(rows: n, seed: s)`: fields are draws.
    Synthetic { rows: usize, seed: u64 },
}

/// A text table and how it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSource {
    /// Already resolved against the folder of the `.bdl` file.
    pub path: PathBuf,
    pub separator: Separator,
    /// The first line names the columns. Without it columns are called by number only.
    pub header: bool,
    /// A cell that equals one of these (blanks around it aside) is missing.
    pub missing: Vec<String>,
    /// Lines that begin with this character are skipped.
    pub comment: Option<char>,
    /// The decimal mark of numbers: `.` or `,`.
    pub decimal: char,
}

impl TableSource {
    /// A comma-separated table with the defaults of `csv("path")`.
    pub fn csv(path: &Path) -> Self {
        TableSource {
            path: path.to_path_buf(),
            separator: Separator::Comma,
            header: true,
            missing: vec![String::new()],
            comment: None,
            decimal: '.',
        }
    }

    /// A tab-separated table with the defaults of `tsv("path")`.
    pub fn tsv(path: &Path) -> Self {
        TableSource { separator: Separator::Tab, ..TableSource::csv(path) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    Comma,
    Tab,
    /// Another character of one byte, such as `;`.
    Other(u8),
}

impl Separator {
    /// The byte between two cells.
    pub fn byte(self) -> u8 {
        match self {
            Separator::Comma => b',',
            Separator::Tab => b'\t',
            Separator::Other(byte) => byte,
        }
    }
}

/// The width at which numbers are kept: the run's working precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F32,
    F64,
}

/// One field of a `data` block.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldSpec {
    pub name: String,
    /// Where the field stands in the user's program (`model.bdl:4:3`); may be empty.
    pub pos: String,
    pub origin: Origin,
    /// Applied from left to right. Column text that meets a numeric step first is read as [`Step::Number`].
    pub steps: Vec<Step>,
    /// What a missing cell means. An [`Step::Impute`] among the steps takes missing values by itself.
    pub missing: Missing,
    /// A `let`, or a part of an expression: later fields read it, models do not see it.
    pub hidden: bool,
}

impl FieldSpec {
    /// A field without steps or position, for which a missing cell is an error.
    pub fn new(name: &str, origin: Origin) -> Self {
        FieldSpec {
            name: name.into(),
            pos: String::new(),
            origin,
            steps: vec![],
            missing: Missing::Error,
            hidden: false,
        }
    }

    /// The same field with one more step.
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The same field with another rule for missing cells.
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }
}

/// What a field starts from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// `column("x")` or `column(5)`: one cell a row, a field of rank 0.
    Column(Column),
    /// `columns("x*" except "x9")`: one axis, named by the columns. `*` stands for any run of characters.
    /// Of another table, `rna[cell].columns("*")`, where `of` says which of its rows.
    Columns { of: Option<Lookup>, include: Vec<String>, except: Vec<String> },
    /// The value of an earlier field, before or after which further steps stand.
    Field(String),
    /// What is computed from earlier fields, element by element.
    Formula(Formula),
    /// A draw a row of the given shape (synthetic sources only).
    Draw { draw: Draw, dims: Vec<usize> },
}

/// A column by name or by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    Name(String),
    /// Counted from 1.
    Number(usize),
    /// A column of another table: `alleles[allele].column("sequence")`.
    Of(Box<Lookup>, Box<Column>),
}

/// Which row of another table: the one whose key is the text of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The name of a [`SideTable`].
    pub table: String,
    pub key: Column,
    /// A key that is not there makes the cell missing instead of being an error.
    pub optional: bool,
}

impl Column {
    /// The column of that name.
    pub fn name(name: &str) -> Self {
        Column::Name(name.into())
    }
}

/// What a synthetic field draws, one value an element.
#[derive(Clone, Debug, PartialEq)]
pub enum Draw {
    /// Standard normal numbers.
    Normal,
    /// Numbers in [0, 1).
    Uniform,
    /// True with this probability.
    Bernoulli(f64),
    /// One of this many classes, equally likely, named `0`, `1`, ...
    Category(usize),
    /// One letter of the alphabet, equally likely, without ambiguity codes.
    Letters(Alphabet),
    /// An integer below this, equally likely.
    Index(usize),
}

/// One step of an encoder chain.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Text to a number.
    Number,
    /// Text to a number of things counted: negative numbers and fractions are suspicious.
    Counts,
    /// Text to a truth value. With both `None`: true/false, yes/no, t/f, y/n, 1/0, in any case. A column may give `yes`
    /// alone, then everything else is false, or both.
    Truth {
        yes: Option<String>,
        no: Option<String>,
    },
    /// Text to one of K classes: those listed, or those found, sorted by name.
    Category {
        classes: Option<Vec<String>>,
        /// A class more, for texts that no training row has.
        unknown: Option<String>,
    },
    /// Text kept as text, for `groups:`, `given(..)` and the like; no model input.
    Text,
    /// Text to letter indices, one axis.
    Letters(Alphabet),
    /// Text to one-hot letters [T, K], ambiguity codes as fractions.
    OneHotText(Alphabet),
    /// Letters or categories to one-hot, one axis more.
    OneHot,
    /// Words between blanks to classes, one axis; classes listed or those found, sorted by name.
    Tokens {
        classes: Option<Vec<String>>,
        /// A word more, for words that no training row has.
        unknown: Option<String>,
    },
    /// A list of numbers in one cell (`0.1 0.2`, `[0.1, 0.2]`), one axis; with a width, rows of so many numbers, two axes.
    Numbers {
        width: Option<usize>,
    },
    /// A list of positions along the first axis of another field, one axis: `src = index(column("src"), of: atoms)`.
    Indices {
        of: String,
        /// How the first position is written: 0 or 1.
        first: i64,
    },
    /// ln(1 + x).
    Log1p,
    /// ln x.
    Log,
    Sqrt,
    /// Arithmetic with a constant.
    Arith(Arith),
    /// (x - mean) / sd of the training rows, per column; sd with denominator n; a constant column is only centred.
    Standardize,
    /// (x - min) / (max - min) of the training rows, per column; a constant column is only shifted to 0.
    MinMax,
    /// Missing numbers are replaced.
    Impute(Impute),
}

impl Step {
    /// Does the step learn something from the training rows?
    pub fn is_fitted(&self) -> bool {
        match self {
            Step::Standardize | Step::MinMax | Step::Impute(Impute::Mean | Impute::Median) => true,
            Step::Impute(Impute::Constant(_)) => false,
            Step::Number
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
            | Step::Arith(_) => false,
        }
    }
}

/// x with a constant c.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arith {
    /// x + c
    Add(f64),
    /// c - x
    SubtractFrom(f64),
    /// x * c
    Multiply(f64),
    /// x / c
    Divide(f64),
    /// c / x
    DivideInto(f64),
}

/// What replaces a missing number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Impute {
    /// The column's mean over training rows that know it.
    Mean,
    /// The column's median over training rows that know it (mean of the middle two).
    Median,
    Constant(f64),
}

/// What a missing cell means to a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Missing {
    Error,
    /// The field becomes optional (`f32?`).
    Keep,
    Number(f64),
    /// A class, a truth value or a sequence, written as in the file.
    Text(String),
}

/// A condition of `keep`. Comparing with a missing cell is unknown; a row is kept only where the whole is true.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    Compare {
        left: Operand,
        comparison: Comparison,
        right: Constant,
    },
    /// `known(x)`: the cell is not missing.
    Known(Operand),
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
}

/// What a condition reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Column(Column),
    /// A field that is one column with an encoder only (`number`, `truth`, `category`, `text`, letters).
    Field(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// What a condition compares with.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    Number(f64),
    Text(String),
}
