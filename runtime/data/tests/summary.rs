//! What `bdl data` shows, and which columns it calls suspicious.

mod common;

use bdl_data::{Alphabet, DataSpec, Missing, Source, Step, Summary, TableSource};
use common::{CATEGORY, Given, columns, csv, field};
use std::path::Path;

fn codes(given: &Given) -> Vec<(String, Option<String>)> {
    let warnings = given.data().warnings().expect("warnings");
    warnings.into_iter().map(|warning| (warning.code.to_string(), warning.column)).collect()
}

fn table(header: &str, row: impl Fn(usize) -> String) -> Given {
    let rows: Vec<String> = (0..100).map(row).collect();
    csv(format!("{header}\n{}\n", rows.join("\n")))
}

#[test]
fn the_splice_table_as_text() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/splice/splice.csv");
    let spec = DataSpec::new("Junctions", Source::Table(TableSource::csv(&path)))
        .field(field("dna", "sequence", Step::OneHotText(Alphabet::dna())))
        .field(field("site", "class", CATEGORY));
    let summary = Summary::of(&spec).expect("read");
    let text = summary.to_text().replace(&path.display().to_string(), "splice.csv");
    let wanted = "Junctions   splice.csv   3,186 rows
  dna   f32[60, 4]   `sequence`
  site  category(3)  `class`     EI 767 · IE 765 · N 1,654

  class  sequence
  N      CTAGGCTCCAGATAGCCATAGAAGAAC…
  N      GGTGTTGCTCTTAGGATGTATCCCCTC…
  N      GGCTGGACCGACCACAGCGCGTGCAGT…
  EI     TTCTATGAGAAACGTGGCATTGTGCGC…
";
    assert!(text.starts_with(wanted), "{text}");
    let end = "
warning[duplicates]: 185 rows repeat an earlier one in `dna`
  = help: `distinct dna` drops them
";
    assert!(text.ends_with(end), "{text}");
    let json = serde_json::to_value(&summary).expect("json");
    assert_eq!((&json["rows"], &json["fields"][1]["type"]), (&3186.into(), &"category(3)".into()));
}

#[test]
fn ranges_lengths_missing_and_unused_columns() {
    let given = csv("id,x,s,t\n1,0.5,ACG,\n2,,A,yes\n").field("dna", "s", Step::Letters(Alphabet::dna()));
    let given = given.and(field("x", "x", Step::Number).missing(Missing::Keep));
    let text = Summary::of(&given.spec()).expect("read").to_text();
    assert!(text.contains("dna  DNA[T]  `s`  lengths 1 to 3\n"), "{text}");
    assert!(text.contains("x    f32?    `x`  0.5 to 0.5, 1 missing\n"), "{text}");
    assert!(text.contains("not read: `id`, `t`\n"), "{text}");
}

#[test]
fn innocent_columns_are_not_suspected() {
    let given = table("x,n,k,s", |row| {
        format!(
            "{},{},{},{}",
            row as f64 / 7.0 - 3.0,
            row % 13,
            ["a", "b"][row % 2],
            ["ACDEF", "MKV"][row % 2].repeat(1 + row / 2)
        )
    });
    let given = given.and(columns("x", &["x", "n"], &[]).step(Step::Standardize));
    let given = given.field("k", "k", CATEGORY).field("s", "s", Step::OneHotText(Alphabet::protein()));
    assert_eq!(codes(&given), []);
}

#[test]
fn suspicious_columns() {
    let column = |name: &str| Some(name.to_string());
    let given = table("id,c,age,sex,name,p", |row| {
        let age = if row % 30 == 3 { -999 } else { 20 + row as i32 % 50 };
        format!("{},7,{age},{},n{row},{}", 90_001 + row * 3, 1 + row % 2, ["ACGT", "GGC"][row % 2].repeat(1 + row))
    });
    let given = given.and(columns("x", &["id", "c", "age", "sex"], &[]).step(Step::Number));
    let given = given.field("name", "name", CATEGORY).field("p", "p", Step::OneHotText(Alphabet::protein()));
    let wanted = [
        ("id-as-number", "id"),
        ("constant-column", "c"),
        ("sentinel", "age"),
        ("truth-as-1-2", "sex"),
        ("too-many-classes", "name"),
        ("protein-is-dna", "p"),
    ];
    assert_eq!(codes(&given), wanted.map(|(code, name)| (code.to_string(), column(name))));

    let given = table("gene", |row| if row == 5 { "1-Mar".into() } else { ["TP53", "BRCA1"][row % 2].into() });
    let given = given.field("gene", "gene", CATEGORY);
    let found: Vec<String> = codes(&given).into_iter().map(|(code, _)| code).collect();
    assert_eq!(found, ["rare-class", "genes-as-dates", "duplicates"]);
    let given =
        table("t,x", |row| format!("no,{}", row as f64 * 0.1)).field("t", "t", Step::Truth { yes: None, no: None });
    assert_eq!(codes(&given)[0].0, "constant-column");
}
