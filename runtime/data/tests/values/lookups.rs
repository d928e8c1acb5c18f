//! Rows of other tables, looked up by key.

use crate::common::{Given, csv, numbers};
use bdl_data::{
    Alphabet, Column, DataSpec, Dataset, FieldSpec, Lookup, Missing, Origin, Precision, SideTable, Step, TableSource,
};

const BINDING: &str = "peptide,allele\nLLF,A2\nILK,B7\nGIL,A2\n";
const ALLELES: &str = "name,sequence,charge,gene\nB7,GSY,0.5,g1\nA2,GSH,1.5,g2\n";

struct Tables {
    given: Given,
    tables: Vec<SideTable>,
}

fn tables(binding: &str, alleles: &str) -> Tables {
    let given = csv(binding);
    let source = TableSource::csv(&given.beside("alleles.csv", alleles));
    let table = SideTable { name: "alleles".into(), source, key: Column::name("name") };
    Tables { given, tables: vec![table] }
}

fn lookup(optional: bool) -> Lookup {
    Lookup { table: "alleles".into(), key: Column::name("allele"), optional }
}

fn of(name: &str, column: &str, optional: bool) -> FieldSpec {
    FieldSpec::new(name, Origin::Column(Column::Of(Box::new(lookup(optional)), Box::new(Column::name(column)))))
}

impl Tables {
    fn spec(&self, fields: Vec<FieldSpec>) -> DataSpec {
        DataSpec { fields, tables: self.tables.clone(), ..self.given.spec() }
    }

    fn open(&self, fields: Vec<FieldSpec>) -> Result<Dataset, Box<bdl_data::DataError>> {
        Dataset::open(&self.spec(fields), Precision::F64)
    }
}

#[test]
fn cells_of_the_row_with_the_key_are_read_like_any_other() {
    let given = tables(BINDING, ALLELES);
    let charge = of("charge", "charge", false).step(Step::Number);
    let letters = of("mhc", "sequence", false).step(Step::Letters(Alphabet::protein()));
    let all = Origin::Columns {
        of: Some(lookup(false)),
        include: vec!["*".into()],
        except: vec!["sequence".into(), "gene".into()],
    };
    let data = given.open(vec![charge, letters, FieldSpec::new("all", all)]).unwrap();
    assert_eq!(numbers(&data, "charge", &[0, 1, 2]), [1.5, 0.5, 1.5]);
    assert_eq!(numbers(&data, "all", &[0, 1, 2]), [1.5, 0.5, 1.5], "the key is not among the columns");
    let facts = data.facts();
    assert_eq!(facts.field("mhc").unwrap().columns, ["alleles.sequence"]);
}

#[test]
fn a_key_that_is_not_there_is_an_error_with_its_row_or_missing() {
    let given = tables("peptide,allele\nLLF,A2\nILK,B8\n", ALLELES);
    let fault = given.open(vec![of("charge", "charge", false).step(Step::Number)]).unwrap_err();
    assert_eq!((fault.code, fault.line), ("missing-key", Some(3)));
    assert!(fault.to_string().contains("did you mean `B7`?"), "{fault}");
    let data = given.open(vec![of("charge", "charge", true).step(Step::Number)]).unwrap();
    assert!(data.facts().field("charge").unwrap().optional);
    let filled = of("charge", "charge", true).step(Step::Number).missing(Missing::Number(7.0));
    assert_eq!(numbers(&given.open(vec![filled]).unwrap(), "charge", &[0, 1]), [1.5, 7.0]);
}

#[test]
fn faults_are_shown_in_the_file_that_they_are_in() {
    let given = tables(BINDING, "name,charge\nA2,1.5\nB7,high\n");
    let fault = given.open(vec![of("charge", "charge", false).step(Step::Number)]).unwrap_err();
    assert_eq!((fault.code, fault.line), ("text-in-number", Some(3)));
    assert!(fault.file.as_ref().is_some_and(|file| file.ends_with("alleles.csv")), "{fault}");
    let given = tables(BINDING, "name,charge\nA2,1.5\nA2,2\n");
    assert_eq!(given.open(vec![of("charge", "charge", false).step(Step::Number)]).unwrap_err().code, "duplicate-key");
    let given = tables(BINDING, ALLELES);
    assert_eq!(given.open(vec![of("x", "charg", false).step(Step::Number)]).unwrap_err().code, "missing-column");
}

#[test]
fn a_run_looks_up_rows_of_new_files_and_a_key_may_be_looked_up_itself() {
    let mut given = tables(BINDING, ALLELES);
    let genes = TableSource::csv(&given.given.beside("genes.csv", "id,length\ng1,10\ng2,20\n"));
    given.tables.push(SideTable { name: "genes".into(), source: genes, key: Column::Number(1) });
    let gene = Column::Of(Box::new(lookup(false)), Box::new(Column::name("gene")));
    let by_gene = Lookup { table: "genes".into(), key: gene, optional: false };
    let origin = Origin::Column(Column::Of(Box::new(by_gene), Box::new(Column::name("length"))));
    let spec = given.spec(vec![FieldSpec::new("length", origin).step(Step::Number)]);
    let data = Dataset::open(&spec, Precision::F64).unwrap();
    assert_eq!(numbers(&data, "length", &[0, 1, 2]), [20.0, 10.0, 20.0]);
    let fitted = data.fit(&[0, 1, 2]).unwrap();
    let path = given.given.beside("new.csv", "allele\nB7\n");
    let new = DataSpec { source: bdl_data::Source::Table(TableSource::csv(&path)), ..spec };
    let new = Dataset::open_like(&new, &fitted, Some(&["length"]), Precision::F64).unwrap();
    assert_eq!(numbers(&new, "length", &[0]), [10.0]);
}
