//! Every way in which a data file can be wrong has one message with its place and a way out, and none panics.

mod common;

use bdl_data::{
    Alphabet, Arith, Column, Comparison, Condition, Constant, DataSpec, Dataset, FieldSpec, Fitted, Operand, Origin,
    Precision, RandomSplit, Source, SplitSpec, Step, TableSource,
};
use common::{CATEGORY, columns, csv, field};
use std::io::Write;

#[test]
fn a_missing_file_names_its_neighbour() {
    let given = csv("a\n1\n").with(|source| source.path.set_file_name("tt.csv")).field("a", "a", Step::Number);
    let fault = given.fault();
    assert_eq!(fault.code, "file-not-found");
    assert_eq!(fault.help.as_deref(), Some("its folder has `t.csv`"));
    let fault = csv("a\n1\n").with(|source| source.path.push("x")).fault();
    assert_eq!(fault.code, "unreadable-file");
    let folder = csv("a\n1\n").with(|source| {
        source.path.pop();
    });
    assert_eq!(folder.fault().code, "unreadable-file");
}

#[test]
fn empty_files_and_files_without_rows() {
    for text in ["", "\n\n", "\u{feff}"] {
        let given = csv(text).field("a", "a", Step::Number);
        assert_eq!(given.fault().code, "empty-file", "{text:?}");
    }
    assert_eq!(csv("a,b\n").field("a", "a", Step::Number).fault().code, "no-rows");
    assert_eq!(csv("# only\n").with(|source| source.comment = Some('#')).fault().code, "empty-file");
}

#[test]
fn a_missing_column_suggests_the_nearest() {
    let given = csv("class,sequence\nEI,ACGT\n").field("dna", "sequense", Step::OneHotText(Alphabet::dna()));
    assert_eq!(
        given.message(),
        "error[missing-column]: the file has no column `sequense`
   ┌─ t.csv:1
   │
   = asked for by `dna` at m.bdl:2:3
   = help: did you mean `sequence`?"
    );
    let fault = csv("a;b\n1;2\n").field("a", "a", Step::Number).fault();
    assert!(fault.help.as_deref().is_some_and(|help| help.contains("separated by `;`")), "{fault}");
    let fault = csv("a\tb\n1\t2\n").field("a", "a", Step::Number).fault();
    assert!(fault.help.as_deref().is_some_and(|help| help.contains("tsv(")), "{fault}");
    let fault = csv("a,b\n1,2\n").and(FieldSpec::new("x", Origin::Column(Column::Number(3)))).fault();
    assert!(fault.message.contains("there is no column 3"), "{fault}");
    assert_eq!(csv("a,b\n1,2\n").and(columns("x", &["z*"], &[])).fault().code, "missing-column");
    assert_eq!(csv("a,b\n1,2\n").and(columns("x", &["*"], &["c"])).fault().code, "missing-column");
}

#[test]
fn text_in_a_number_shows_the_cell() {
    let given = csv("name,sex,age\nanna,f,31\nbert,m,NA\n").field("age", "age", Step::Number);
    assert_eq!(
        given.message(),
        "error[text-in-number]: `NA` is not a number
   ┌─ t.csv:3:8
   │
 3 │ bert,m,NA
   │        ^^ column 3, `age`
   │
   = asked for by `age` at m.bdl:2:3
   = help: if it means that the value is not known, write `missing: [\"\", \"NA\"]` in the source"
    );
    // Quotes, quoted line ends, comments and blank lines before the fault do not confuse the place.
    let text = "# made by hand\n\nid,note,x\n1,\"a \"\"quoted\"\" note, long\",5\n\n2,\"two\nlines\",6\n# more\n3,\"c,d\", tall \n";
    let given = csv(text).with(|source| source.comment = Some('#')).field("x", "x", Step::Number);
    let fault = given.fault();
    assert_eq!((fault.code, fault.line, fault.column), ("text-in-number", Some(9), Some(10)), "{fault}");
    assert_eq!(fault.excerpt.as_ref().map(|excerpt| excerpt.text.as_str()), Some("3,\"c,d\", tall "));
    let windows = csv("x,y\r\n1,2\r\n\r\n3,four\r\n").field("y", "y", Step::Number).fault();
    assert_eq!((windows.line, windows.column), (Some(4), Some(3)), "{windows}");
}

#[test]
fn text_in_row_a_million_is_found_at_its_line() {
    let mut text = String::from("id,x\n");
    for row in 1..=1_000_000 {
        text.push_str(if row == 1_000_000 { "1000000,abc\n" } else { "7,1.5\n" });
    }
    let started = std::time::Instant::now();
    let given = csv(&text).field("x", "x", Step::Number);
    let fault = given.fault();
    assert_eq!((fault.code, fault.line, fault.column), ("text-in-number", Some(1_000_001), Some(9)));
    assert!(given.said(&fault).contains("1000001 │ 1000000,abc"), "{fault}");
    // Well under a second where nothing else runs; the bound only catches a quadratic reader.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn rows_of_unequal_length() {
    let given = csv("a,b\n1,2\n3,4,5\n").field("a", "a", Step::Number);
    assert_eq!(
        given.message(),
        "error[unequal-rows]: this row has 3 cells, the header has 2 cells
   ┌─ t.csv:3:5
   │
 3 │ 3,4,5
   │     ^ the first cell too many
   │
   = help: put quotes around a cell that holds the separator"
    );
    let fault = csv("a,b,c\n1,2\n").field("a", "a", Step::Number).fault();
    assert_eq!((fault.code, fault.line), ("unequal-rows", Some(2)));
    let fault = csv("a,b\nr1,1,2\n").field("a", "a", Step::Number).fault();
    assert!(fault.help.as_deref().is_some_and(|help| help.contains("row.names")), "{fault}");
}

#[test]
fn nan_and_infinity_in_the_data() {
    for cell in ["NaN", "inf", "-Infinity", "1e999"] {
        let fault = csv(format!("x\n1\n{cell}\n")).field("x", "x", Step::Number).fault();
        assert_eq!((fault.code, fault.line), ("not-finite", Some(3)), "{cell}");
        assert!(fault.help.is_some());
    }
    let given = csv("x\n1\nNaN\n").with(|source| source.missing.push("NaN".into()));
    let given = given.and(field("x", "x", Step::Number).missing(bdl_data::Missing::Number(0.5)));
    assert_eq!(common::numbers(&given.data(), "x", &[0, 1]), [1.0, 0.5]);
    let given = csv("x\n1e300\n").field("x", "x", Step::Number);
    let fault = Dataset::open(&given.spec(), Precision::F32).expect_err("too large for f32");
    assert!(fault.code == "not-finite" && fault.message.contains("32-bit"), "{fault}");
}

#[test]
fn steps_that_leave_the_finite_numbers() {
    let log = field("x", "x", Step::Number).step(Step::Log);
    let fault = csv("x\n1\n0\n").and(log).fault();
    assert_eq!((fault.code, fault.line), ("out-of-domain", Some(3)));
    assert_eq!(fault.help.as_deref(), Some("`log1p` is defined at 0"));
    let large = csv("x\n1e308\n1.5e308\n").and(field("x", "x", Step::Standardize));
    assert_eq!(large.data().fit(&[0, 1]).map_err(|fault| fault.code), Err("not-finite"));
    let divided = field("x", "x", Step::Number).step(Step::Standardize).step(Step::Arith(Arith::DivideInto(1.0)));
    let given = csv("x\n1\n2\n3\n").and(divided);
    let fault = given.data().fit(&[0, 1, 2]).expect_err("1 / 0");
    assert_eq!((fault.code, fault.line), ("out-of-domain", Some(3)), "{fault}");
}

#[test]
fn letters_outside_the_alphabet() {
    let given = csv("class,sequence\nEI,ACGT\nIE,ACUT\n").field("dna", "sequence", Step::OneHotText(Alphabet::dna()));
    assert_eq!(
        given.message(),
        "error[unknown-letter]: `U` at position 3 of the sequence is not in the alphabet DNA
   ┌─ t.csv:3:6
   │
 3 │ IE,ACUT
   │      ^ column 2, `sequence`
   │
   = asked for by `dna` at m.bdl:2:3
   = help: U stands in RNA; use the alphabet `RNA`, or write T"
    );
    let long = format!("s\n{}é{}\n", "A".repeat(500), "C".repeat(500));
    let given = csv(&long).field("dna", "s", Step::OneHotText(Alphabet::dna()));
    let fault = given.fault();
    assert_eq!(fault.column, Some(501));
    let excerpt = fault.excerpt.as_ref().expect("an excerpt");
    assert!(excerpt.text.chars().count() < 80 && excerpt.text.chars().nth(excerpt.start) == Some('é'), "{fault}");
    let fault = csv("s\nACNT\n").field("dna", "s", Step::Letters(Alphabet::dna())).fault();
    assert_eq!((fault.code, fault.column), ("ambiguous-letter", Some(3)), "{fault}");
}

#[test]
fn bad_text_and_duplicate_headers() {
    let fault = csv(b"name,x\nJos\xe9,1\n").field("x", "x", Step::Number).fault();
    assert_eq!((fault.code, fault.line), ("bad-utf8", Some(2)), "{fault}");
    let wide: Vec<u8> = "a,b\n1,2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let fault = csv([&[0xff, 0xfe][..], &wide].concat()).field("x", "x", Step::Number).fault();
    assert!(fault.code == "bad-utf8" && fault.help.as_deref().is_some_and(|help| help.contains("UTF-16")), "{fault}");
    let fault = csv("x,y, x\n1,2,3\n").field("x", "x", Step::Number).fault();
    assert_eq!((fault.code, fault.line, fault.column), ("duplicate-header", Some(1), Some(6)), "{fault}");
    assert!(fault.message.contains("columns 1 and 3"), "{fault}");
}

#[test]
fn damaged_gzip_files() {
    let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    (0..20_000).for_each(|row| writeln!(gz, "{row},{}", row * 7919 % 10_007).expect("in memory"));
    let whole = gz.finish().expect("in memory");
    let cut = csv(&whole[..whole.len() / 2]).with(|source| source.header = false);
    let fault = cut.and(FieldSpec::new("x", Origin::Column(Column::Number(1))).step(Step::Number)).fault();
    assert_eq!(fault.code, "bad-gzip", "{fault}");
    let mut broken = whole;
    let middle = broken.len() / 2;
    broken[middle..middle + 20].fill(0);
    let broken = csv(&broken).with(|source| source.header = false);
    let fault = broken.and(FieldSpec::new("x", Origin::Column(Column::Number(1))).step(Step::Number)).fault();
    assert!(["bad-gzip", "bad-utf8", "unequal-rows", "text-in-number"].contains(&fault.code), "{fault}");
}

#[test]
fn missing_cells_need_a_meaning() {
    let fault = csv("a,x\n1,\n").field("x", "x", Step::Number).fault();
    assert_eq!((fault.code, fault.line, fault.column), ("missing-value", Some(2), Some(3)), "{fault}");
    assert!(fault.help.as_deref().is_some_and(|help| help.contains("impute")), "{fault}");
    assert_eq!(csv("a,x\n1,\n").field("x", "x", CATEGORY).fault().code, "missing-value");
    assert_eq!(csv("a,x\n1,\n").field("x", "x", Step::OneHotText(Alphabet::dna())).fault().code, "missing-value");
    let imputed = field("x", "x", Step::Impute(bdl_data::Impute::Mean));
    let fault = csv("a,x\n1,\n2,\n").and(imputed).data().fit(&[0, 1]).expect_err("nothing is known");
    assert!(fault.code == "nothing-known" && fault.message.contains("column `x`"), "{fault}");
}

#[test]
fn truth_values_that_are_none() {
    let fault = csv("x\nyes\nmaybe\n").field("x", "x", Step::Truth { yes: None, no: None }).fault();
    assert_eq!((fault.code, fault.line), ("unknown-truth", Some(3)));
    let fault = csv("x\n1\n2\n").field("x", "x", Step::Truth { yes: None, no: None }).fault();
    assert!(fault.help.as_deref().is_some_and(|help| help.contains("yes: \"1\", no: \"2\"")), "{fault}");
}

#[test]
fn unknown_categories_at_prediction() {
    let given = csv("k,x\nelm,1\noak,2\n").field("k", "k", CATEGORY).field("x", "x", Step::Number);
    let fitted = given.data().fit(&[0, 1]).expect("fitted");
    let path = given.beside("new.csv", "x,k\n1,oak\n2,ook\n3,birch\n");
    let spec = DataSpec { source: Source::Table(TableSource::csv(&path)), ..given.spec() };
    let fault = Dataset::open_like(&spec, &fitted, None, Precision::F32).expect_err("unknown class");
    assert_eq!(
        given.said(&fault),
        "error[unknown-category]: `ook` is not one of the classes that the model was trained on: elm, oak
   ┌─ new.csv:3:3
   │
 3 │ 2,ook
   │   ^^^ column 2, `k`
   │
   = asked for by `k` at m.bdl:2:3
   = help: did you mean `oak`?"
    );
    let path = given.beside("no_x.csv", "k\noak\n");
    let spec = DataSpec { source: Source::Table(TableSource::csv(&path)), ..given.spec() };
    let fault = Dataset::open_like(&spec, &fitted, Some(&["x"]), Precision::F32).expect_err("no column x");
    assert!(fault.code == "absent-field" && fault.message.contains("needs the field `x`"), "{fault}");
}

#[test]
fn sequences_of_another_length_at_prediction() {
    let given = csv("s\nACGT\nAAAA\n").field("dna", "s", Step::OneHotText(Alphabet::dna()));
    let fitted = given.data().fit(&[0, 1]).expect("fitted");
    let path = given.beside("new.csv", "s\nACGT\nACG\n");
    let spec = DataSpec { source: Source::Table(TableSource::csv(&path)), ..given.spec() };
    let fault = Dataset::open_like(&spec, &fitted, None, Precision::F32).expect_err("another length");
    assert_eq!((fault.code, fault.line), ("length-differs", Some(3)), "{fault}");
}

#[test]
fn no_rows_after_a_filter() {
    let mut spec = csv("x\n1\n2\n").field("x", "x", Step::Number);
    let keep = Condition::Compare {
        left: Operand::Field("x".into()),
        comparison: Comparison::Greater,
        right: Constant::Number(10.0),
    };
    let data = DataSpec { keep: vec![keep], ..spec.spec() };
    let fault = Dataset::open(&data, Precision::F32).expect_err("no rows");
    assert_eq!(
        (fault.code, fault.message.as_str()),
        ("no-rows-left", "none of the 2 rows meets the `keep` conditions")
    );
    spec.fields.clear();
    let unknown = DataSpec { keep: vec![Condition::Known(Operand::Field("y".into()))], ..spec.spec() };
    assert_eq!(Dataset::open(&unknown, Precision::F32).map(|_| ()).map_err(|fault| fault.code), Err("unknown-field"));
}

#[test]
fn a_class_with_one_member_under_a_balanced_split() {
    let given = csv("k\na\na\nb\na\n").field("k", "k", CATEGORY);
    let split = RandomSplit { train: 0.5, valid: 0.0, test: 0.5, balance: Some("k".into()), groups: None, seed: 0 };
    let fault = given.data().split(&SplitSpec::Random(split)).expect_err("a class of one");
    assert_eq!((fault.code, fault.line), ("class-too-small", Some(4)));
    assert!(fault.message.contains("class `b` of `k` has one row"), "{fault}");
}

#[test]
fn steps_that_do_not_fit_and_names_that_do_not_exist() {
    let text_log = field("x", "x", CATEGORY).step(Step::Log1p);
    assert_eq!(csv("x\na\n").and(text_log).fault().code, "wrong-step");
    let late = field("x", "x", Step::Number).step(CATEGORY);
    assert_eq!(csv("x\n1\n").and(late).fault().code, "wrong-step");
    let draw = FieldSpec::new("x", Origin::Draw { draw: bdl_data::Draw::Normal, dims: vec![] });
    assert_eq!(csv("x\n1\n").and(draw).fault().code, "bad-draw");
    let later = FieldSpec::new("x", Origin::Field("y".into()));
    assert_eq!(csv("x\n1\n").and(later).fault().code, "unknown-field");
    assert_eq!(Fitted::from_json("{").map_err(|fault| fault.code), Err("wrong-fitted"));
}

#[test]
fn random_bytes_never_panic() {
    // A thousand short files of the bytes that matter to a reader; what comes out must be a table or a message.
    let bytes = b"a,b\n\r\"\"ACGU10.#\t \xff\xc3\xa9;-\x1f\x8b\x00";
    for seed in 0..1000u64 {
        let size = bdl_kernels::philox::permutation(40, seed, 0)[0];
        let text: Vec<u8> =
            (0..size as u64).map(|at| bytes[bdl_kernels::philox::permutation(bytes.len(), seed, at + 1)[0]]).collect();
        let mut source = csv(&text).with(|source| source.header = seed % 2 == 0);
        if seed % 3 == 0 {
            source.source.comment = Some('#');
        }
        let number = FieldSpec::new("x", Origin::Column(Column::Number(1))).step(Step::Number);
        let dna = FieldSpec::new("y", Origin::Column(Column::Number(2))).step(Step::OneHotText(Alphabet::dna()));
        if let Err(fault) = source.and(number).and(dna).open() {
            assert!(!fault.to_string().is_empty());
        }
    }
}
