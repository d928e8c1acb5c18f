//! Reading data: tables of text in, typed columns, splits and batches out.
//!
//! A `data` block of a bdl program arrives here as a [`DataSpec`], plain data that the driver fills in. What happens to it:
//!
//! ```text
//! DataSpec ── Dataset::open ──> Dataset      typed fields, nothing fitted yet; its `facts()` type the model
//!   Dataset ── split ─────────> Parts        row numbers of train, valid and test
//!   Dataset ── fit(train) ────> Fitted       means, medians, ranges, class names: stored with the run as json
//!   Dataset ── encode(Fitted) > Encoded      values ready to be copied into the input buffers of a step
//!   Encoded ── fill_f32(rows) > batch
//! ```
//!
//! Only `fit` looks at numbers to learn something, and it is given the rows it may look at. This crate knows no compiler
//! crate, no model and no loss: which fields are inputs is told by the caller where it matters (duplicates).
//!
//! ```
//! use bdl_data::{Column, DataSpec, Dataset, FieldSpec, Origin, Precision, Source, Step, TableSource};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("t.csv");
//! std::fs::write(&path, "height,kind\n1.5,oak\n2.5,elm\n")?;
//! let spec = DataSpec::new("Trees", Source::Table(TableSource::csv(&path)))
//!     .field(FieldSpec::new("h", Origin::Column(Column::name("height"))).step(Step::Standardize))
//!     .field(FieldSpec::new("kind", Origin::Column(Column::name("kind"))).step(Step::Category { classes: None, unknown: None }));
//! let data = Dataset::open(&spec, Precision::F32)?;
//! let fitted = data.fit(&[0, 1])?;
//! let encoded = data.encode(&fitted)?;
//! let (mut h, mut kind) = ([0.0f32; 2], [0i32; 2]);
//! encoded.field("h")?.fill_f32(&[0, 1], &mut h);
//! encoded.field("kind")?.fill_i32(&[0, 1], &mut kind);
//! assert_eq!((h, kind), ([-1.0, 1.0], [1, 0]));
//! # Ok(())
//! # }
//! ```

pub mod alphabet;
pub mod batch;
pub mod dataset;
mod encode;
pub mod error;
pub mod facts;
mod field;
pub mod fit;
pub mod formula;
mod group;
pub mod identity;
mod join;
mod keep;
pub mod leaks;
mod locate;
pub mod molecule;
mod numbers;
pub mod repeats;
mod seeds;
pub mod spec;
pub mod split;
mod steps;
pub mod summary;
mod suspicious;
mod synthetic;
pub mod table;
pub mod training_rows;
pub mod units;

pub use alphabet::Alphabet;
pub use batch::{Encoded, EncodedField};
pub use dataset::Dataset;
pub use error::{DataError, DataResult};
pub use facts::{Class, DataFacts, FieldDim, FieldFacts, Kind};
pub use fit::{Fitted, FittedField, FittedStep};
pub use formula::{Formula, Function, Operator};
pub use group::RowGroup;
pub use leaks::Roles;
pub use repeats::{Repeats, Straddling};
pub use spec::{
    Arith, Column, Comparison, Condition, Constant, DataSpec, Draw, FieldSpec, Impute, Lookup, Missing, Operand,
    Origin, Precision, Separator, SideTable, Source, Step, TableSource,
};
pub use split::{EntriesSplit, IdentitySplit, KfoldSplit, Parts, RandomSplit, ScaffoldSplit, SplitSpec, TimeSplit};
pub use summary::{Summary, Warning};
pub use training_rows::{ClassWeights, Smote};
pub use units::Units;
