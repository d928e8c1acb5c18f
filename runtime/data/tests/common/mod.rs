//! A folder with a table in it, and short spellings of specifications.
#![allow(dead_code)] // each test file uses its own part of this

use bdl_data::{Column, DataError, DataSpec, Dataset, FieldSpec, Origin, Precision, Source, Step, TableSource};
use std::path::PathBuf;
use tempfile::TempDir;

pub struct Given {
    folder: TempDir,
    pub source: TableSource,
    pub fields: Vec<FieldSpec>,
}

/// A csv file `t.csv` with this text.
pub fn csv(text: impl AsRef<[u8]>) -> Given {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.csv");
    std::fs::write(&path, text).expect("written");
    Given { source: TableSource::csv(&path), folder, fields: vec![] }
}

impl Given {
    pub fn with(mut self, change: impl FnOnce(&mut TableSource)) -> Self {
        change(&mut self.source);
        self
    }

    /// A field of one column with one step.
    pub fn field(mut self, name: &str, column: &str, step: Step) -> Self {
        self.fields.push(FieldSpec { pos: "m.bdl:2:3".into(), ..field(name, column, step) });
        self
    }

    pub fn and(mut self, field: FieldSpec) -> Self {
        self.fields.push(field);
        self
    }

    pub fn spec(&self) -> DataSpec {
        DataSpec { fields: self.fields.clone(), ..DataSpec::new("T", Source::Table(self.source.clone())) }
    }

    pub fn open(&self) -> Result<Dataset, Box<DataError>> {
        Dataset::open(&self.spec(), Precision::F64)
    }

    pub fn data(&self) -> Dataset {
        self.open().unwrap_or_else(|fault| panic!("{fault}"))
    }

    pub fn fault(&self) -> Box<DataError> {
        self.open().expect_err("a fault")
    }

    /// The message of the fault, without the folder of this test.
    pub fn message(&self) -> String {
        self.said(&self.fault())
    }

    pub fn said(&self, fault: &DataError) -> String {
        fault.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// Another file beside it.
    pub fn beside(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }
}

pub fn field(name: &str, column: &str, step: Step) -> FieldSpec {
    FieldSpec::new(name, Origin::Column(Column::name(column))).step(step)
}

pub fn columns(name: &str, include: &[&str], except: &[&str]) -> FieldSpec {
    let texts = |list: &[&str]| list.iter().map(|text| text.to_string()).collect();
    FieldSpec::new(name, Origin::Columns { of: None, include: texts(include), except: texts(except) })
}

pub const CATEGORY: Step = Step::Category { classes: None, unknown: None };

/// The values of a field in the given rows after fitting on all rows.
pub fn numbers(data: &Dataset, field: &str, rows: &[u32]) -> Vec<f64> {
    let all: Vec<u32> = (0..data.rows() as u32).collect();
    let encoded = data.encode(&data.fit(&all).expect("fitted")).expect("encoded");
    let field = encoded.field(field).expect("a field");
    let mut out = vec![0.0; field.size(rows)];
    field.fill_f64(rows, &mut out);
    out
}

pub fn ids(data: &Dataset, field: &str) -> Vec<i32> {
    let all: Vec<u32> = (0..data.rows() as u32).collect();
    let encoded = data.encode(&data.fit(&all).expect("fitted")).expect("encoded");
    let field = encoded.field(field).expect("a field");
    let mut out = vec![0; field.size(&all)];
    field.fill_i32(&all, &mut out);
    out
}
