//! What is read, by value: numbers, truth, categories, letters, filters, fitting, prediction input, batches.

mod common;
#[path = "values/computed.rs"]
mod computed;
#[path = "values/lookups.rs"]
mod lookups;

use bdl_data::{
    Alphabet, Arith, Class, Column, Comparison, Condition, Constant, DataSpec, Dataset, Draw, FieldDim, FieldSpec,
    Fitted, FittedStep, Impute, Kind, Missing, Operand, Origin, Precision, Separator, Source, Step, TableSource,
};
use common::{CATEGORY, columns, csv, field, ids, numbers};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

#[test]
fn columns_become_an_axis_with_names() {
    let x = columns("x", &["x*"], &["x9"]);
    let data = csv("x2,y,x1,x9\n1,a,2,3\n4,b, 5 ,6\n").and(x).field("y", "y", CATEGORY).data();
    assert_eq!(numbers(&data, "x", &[1, 0]), [4.0, 5.0, 1.0, 2.0]);
    let facts = data.facts();
    let x = facts.field("x").expect("a field");
    assert_eq!((&x.kind, x.dims.as_slice()), (&Kind::Number, [FieldDim::Fixed(2)].as_slice()));
    assert_eq!(x.axis_names, [Some(Arc::new(vec!["x2".to_string(), "x1".to_string()]))]);
    assert_eq!((facts.rows, facts.rows_read, x.missing, x.optional), (2, 2, 0, false));
}

#[test]
fn categories_are_sorted_and_counted() {
    let data = csv("k\nIE\nN\nEI\n N\n").field("k", "k", CATEGORY).data();
    let class = |name: &str, count| Class { name: name.into(), count };
    assert_eq!(data.facts().fields[0].classes, [class("EI", 1), class("IE", 1), class("N", 2)]);
    assert_eq!(ids(&data, "k"), [1, 2, 0, 2]);
    let integers = csv("k\n10\n9\n-1\n").field("k", "k", CATEGORY).data();
    assert_eq!(ids(&integers, "k"), [2, 1, 0]);
    let listed = Step::Category { classes: Some(vec!["N".into(), "EI".into(), "IE".into()]), unknown: None };
    assert_eq!(ids(&csv("k\nIE\nN\n").field("k", "k", listed.clone()).data(), "k"), [2, 0]);
    let fault = csv("k\nIE\nX\n").field("k", "k", listed).fault();
    assert_eq!((fault.code, fault.line), ("unknown-category", Some(3)));
    let one_hot = field("k", "k", CATEGORY).step(Step::OneHot).missing(Missing::Keep);
    let data = csv("j,k\n1,b\n1,a\n1,\n").and(one_hot).data();
    assert_eq!(numbers(&data, "k", &[0, 1, 2]), [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn truth_in_several_spellings() {
    let plain = Step::Truth { yes: None, no: None };
    assert_eq!(ids(&csv("t\nTrue\nno\n1\nF\n").field("t", "t", plain).data(), "t"), [1, 0, 1, 0]);
    let named = Step::Truth { yes: Some("case".into()), no: Some("control".into()) };
    assert_eq!(ids(&csv("t\ncase\ncontrol\n").field("t", "t", named).data(), "t"), [1, 0]);
    let one = Step::Truth { yes: Some("M".into()), no: None };
    let data = csv("t\nM\nB\n?\n").field("t", "t", one).data();
    assert_eq!(ids(&data, "t"), [1, 0, 0]);
    assert_eq!(data.facts().fields[0].classes[1], Class { name: "true".into(), count: 1 });
}

#[test]
fn missing_values_are_kept_replaced_or_imputed() {
    let source = "x,t\n1,yes\n,\n4,no\n";
    let keep = |step| field("v", if step == Step::Number { "x" } else { "t" }, step).missing(Missing::Keep);
    let data = csv(source).and(keep(Step::Number)).data();
    let facts = data.facts();
    assert_eq!((facts.fields[0].optional, facts.fields[0].missing), (true, 1));
    let encoded = data.encode(&data.fit(&[0, 1, 2]).expect("fitted")).expect("encoded");
    let v = encoded.field("v").expect("a field");
    let (mut values, mut known) = ([9.0f32; 3], [9; 3]);
    v.fill_f32(&[0, 1, 2], &mut values);
    v.fill_known(&[0, 1, 2], &mut known);
    assert_eq!((values, known), ([1.0, 0.0, 4.0], [1, 0, 1]));
    let data = csv(source).and(keep(Step::Truth { yes: None, no: None })).data();
    assert_eq!(ids(&data, "v"), [1, 0, 0]);
    let mean = field("v", "x", Step::Impute(Impute::Mean));
    assert_eq!(numbers(&csv(source).and(mean).data(), "v", &[0, 1, 2]), [1.0, 2.5, 4.0]);
    let constant = field("v", "x", Step::Impute(Impute::Constant(-1.0))).step(Step::Arith(Arith::Multiply(2.0)));
    assert_eq!(numbers(&csv(source).and(constant).data(), "v", &[0, 1, 2]), [2.0, -2.0, 8.0]);
    let text = field("v", "t", CATEGORY).missing(Missing::Text("unknown".into()));
    assert_eq!(ids(&csv(source).and(text).data(), "v"), [2, 1, 0]);
}

#[test]
fn nothing_is_fitted_on_other_than_the_given_rows() {
    // Row 3 would change every one of these values if it were looked at.
    let given = csv("a,b\n1,5\n2,\n6,9\n1000,-1000\n")
        .and(columns("x", &["*"], &[]).step(Step::Impute(Impute::Median)).step(Step::Standardize));
    let given = given.and(columns("m", &["a"], &[]).step(Step::MinMax));
    let data = given.data();
    let fitted = data.fit(&[0, 1, 2]).expect("fitted");
    let x = &fitted.field("x").expect("x").steps;
    assert_eq!(x[0], FittedStep::Impute { value: vec![2.0, 7.0] });
    let sd = ((4.0 + 1.0 + 9.0) / 3.0f64).sqrt();
    let FittedStep::Standardize { mean, sd: found } = &x[1] else { panic!("{x:?}") };
    assert_eq!((mean.as_slice(), found[0]), ([3.0, 7.0].as_slice(), sd));
    assert_eq!(fitted.field("m").expect("m").steps, [FittedStep::MinMax { min: vec![1.0], range: vec![5.0] }]);
    let encoded = data.encode(&fitted).expect("encoded");
    let (mut x, mut m) = ([0.0; 4], [0.0; 1]);
    encoded.field("x").expect("x").fill_f64(&[1, 3], &mut x);
    encoded.field("m").expect("m").fill_f64(&[3], &mut m);
    assert_eq!(x[0], (2.0 - 3.0) / sd);
    assert_eq!((x[1], x[2], m[0]), (0.0, (1000.0 - 3.0) / sd, 999.0 / 5.0));

    // What is stored comes back to the same bits and gives the same values for a file with other columns.
    let again = Fitted::from_json(&fitted.to_json()).expect("read");
    assert_eq!(again, fitted);
    let path = given.beside("new.csv", "extra,b,a\n7,,2\n");
    let spec = DataSpec { source: Source::Table(TableSource::csv(&path)), ..given.spec() };
    let new = Dataset::open_like(&spec, &again, None, Precision::F64).expect("opened");
    let mut y = [0.0; 2];
    new.encode(&again).expect("encoded").field("x").expect("x").fill_f64(&[0], &mut y);
    assert_eq!(y, [x[0], x[1]]);
}

#[test]
fn constant_columns_are_centred_only() {
    let data = csv("x\n0.1\n0.1\n0.1\n").and(field("x", "x", Step::Standardize)).data();
    let fitted = data.fit(&[0, 1, 2]).expect("fitted");
    let FittedStep::Standardize { sd, .. } = &fitted.fields[0].steps[0] else { panic!("{fitted:?}") };
    assert_eq!(sd[0], 1.0);
    assert!(numbers(&data, "x", &[0, 1, 2]).iter().all(|x| x.abs() < 1e-15));
}

#[test]
fn large_offsets_keep_their_digits_in_single_precision() {
    let given =
        csv("x\n1600000001\n1600000002\n1600000003\n").and(field("x", "x", Step::Number).step(Step::Standardize));
    let data = Dataset::open(&given.spec(), Precision::F32).expect("opened");
    let x = numbers(&data, "x", &[0, 1, 2]);
    assert!((x[2] - 1.5f64.sqrt()).abs() < 1e-6 && x[1] == 0.0, "{x:?}");
}

#[test]
fn fields_of_fields_and_arithmetic() {
    let given = csv("x\n1\n3\n").field("x", "x", Step::Number).and(
        FieldSpec::new("y", Origin::Field("x".into()))
            .step(Step::Arith(Arith::Add(1.0)))
            .step(Step::Arith(Arith::Divide(4.0)))
            .step(Step::Arith(Arith::SubtractFrom(1.0))),
    );
    assert_eq!(numbers(&given.data(), "y", &[0, 1]), [0.5, 0.0]);
}

#[test]
fn sequences_of_one_length_and_of_several() {
    let given = csv("s\nACG\nnnn\n").field("dna", "s", Step::OneHotText(Alphabet::dna()));
    let data = given.data();
    let facts = data.facts();
    assert_eq!(facts.fields[0].dims, [FieldDim::Fixed(3), FieldDim::Fixed(4)]);
    let letters: Vec<String> = ["A", "C", "G", "T"].map(String::from).to_vec();
    assert_eq!(facts.fields[0].axis_names, [None, Some(Arc::new(letters))]);
    assert!(facts.fields[0].one_hot);
    assert_eq!(numbers(&data, "dna", &[1]), [0.25; 12]);

    let data = csv("s\nACG\nT\nGG\n").field("dna", "s", Step::OneHotText(Alphabet::dna())).data();
    assert_eq!(data.facts().fields[0].dims, [FieldDim::PerRow(Arc::new(vec![3, 1, 2])), FieldDim::Fixed(4)]);
    let encoded = data.encode(&data.fit(&[0]).expect("fitted")).expect("encoded");
    let dna = encoded.field("dna").expect("dna");
    let rows = [2, 1];
    let (mut lengths, mut offsets, mut values) = ([0; 2], [0; 3], [9.0f32; 12]);
    assert_eq!((dna.size(&rows), dna.is_per_row()), (12, true));
    dna.lengths(0, &rows, &mut lengths);
    dna.offsets(0, &rows, &mut offsets);
    dna.fill_f32(&rows, &mut values);
    assert_eq!((lengths, offsets), ([2, 1], [0, 2, 3]));
    assert_eq!(values, [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn a_ragged_model_reads_rows_of_one_length() {
    let given = csv("s\nACG\nT\n").field("s", "s", Step::Letters(Alphabet::dna()));
    let fitted = given.data().fit(&[0, 1]).expect("fitted");
    let path = given.beside("new.csv", "s\nAC\nGT\n");
    let spec = DataSpec { source: Source::Table(TableSource::csv(&path)), ..given.spec() };
    let new = Dataset::open_like(&spec, &fitted, None, Precision::F32).expect("opened");
    assert_eq!(new.facts().fields[0].dims, [FieldDim::PerRow(Arc::new(vec![2, 2]))]);
    assert_eq!(ids(&new, "s"), [0, 1, 2, 3]);
}

#[test]
fn words_become_classes() {
    let data = csv("s\nb a\nc  b\n").field("s", "s", Step::Tokens { classes: None, unknown: None }).data();
    assert_eq!(ids(&data, "s"), [1, 0, 2, 1]);
    assert_eq!(data.facts().fields[0].dims, [FieldDim::Fixed(2)]);
}

#[test]
fn other_ways_to_write_a_table() {
    let options = |source: &mut TableSource| {
        source.separator = Separator::Tab;
        source.decimal = ',';
        source.comment = Some('#');
        source.header = false;
    };
    let second = FieldSpec::new("x", Origin::Column(Column::Number(2))).step(Step::Number);
    let data = csv("# c\na\t1,5\nb\t-2\n").with(options).and(second).data();
    assert_eq!(numbers(&data, "x", &[0, 1]), [1.5, -2.0]);

    let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gz.write_all(b"\xef\xbb\xbfx,y\r\n1,\"a,b\"\r\n2,c").expect("in memory");
    // Several gzip members one after the other, as bgzip writes them.
    let mut bytes = gz.finish().expect("in memory");
    let mut more = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    more.write_all(b"\n3,d\n").expect("in memory");
    bytes.extend(more.finish().expect("in memory"));
    let data = csv(bytes).field("x", "x", Step::Number).field("y", "y", CATEGORY).data();
    assert_eq!(numbers(&data, "x", &[0, 1, 2]), [1.0, 2.0, 3.0]);
    assert_eq!(data.facts().fields[1].classes[0].name, "a,b");
}

#[test]
fn keep_and_distinct_choose_rows() {
    let given = csv("x,k\n1,a\n5,b\n,a\n7,a\n5,c\n").field("k", "k", CATEGORY);
    let x = field("x", "x", Step::Number).missing(Missing::Keep);
    let compare = |comparison, right| Condition::Compare { left: Operand::Field("x".into()), comparison, right };
    let kept = |keep: Vec<Condition>, distinct: &[&str]| {
        let distinct = distinct.iter().map(|name| name.to_string()).collect();
        let spec = DataSpec { keep, distinct, ..given.spec() }.field(x.clone());
        Dataset::open(&spec, Precision::F64).expect("opened").source_rows().to_vec()
    };
    let above_two = compare(Comparison::Greater, Constant::Number(2.0));
    assert_eq!(kept(vec![above_two.clone()], &[]), [1, 3, 4]);
    assert_eq!(kept(vec![Condition::Not(Box::new(above_two.clone()))], &[]), [0]); // missing is neither
    assert_eq!(kept(vec![Condition::Known(Operand::Column(Column::name("x")))], &[]), [0, 1, 3, 4]);
    let text = |name: &str| Condition::Compare {
        left: Operand::Column(Column::name("k")),
        comparison: Comparison::Equal,
        right: Constant::Text(name.into()),
    };
    assert_eq!(kept(vec![Condition::Or(vec![text("b"), text("c")])], &[]), [1, 4]);
    assert_eq!(kept(vec![Condition::And(vec![above_two, text("a")])], &[]), [3]);
    assert_eq!(kept(vec![], &["x"]), [0, 1, 2, 3]);
    assert_eq!(kept(vec![], &["k"]), [0, 1, 4]);
    assert_eq!(kept(vec![], &["x", "k"]), [0, 1, 2, 3, 4]);
    let spec =
        DataSpec { keep: vec![compare(Comparison::LessEqual, Constant::Number(5.0))], ..given.spec() }.field(x.clone());
    let data = Dataset::open(&spec, Precision::F64).expect("opened");
    assert_eq!(numbers(&data, "x", &[0, 1, 2]), [1.0, 5.0, 5.0]);
    assert_eq!((data.facts().rows, data.facts().rows_read), (3, 5));
}

#[test]
fn prediction_reads_every_row_and_only_what_is_needed() {
    let given = csv("x,k\n1,a\n5,b\n7,a\n").field("x", "x", Step::Standardize).field("k", "k", CATEGORY);
    let keep = Condition::Known(Operand::Column(Column::name("k")));
    let spec = DataSpec { keep: vec![keep], distinct: vec!["x".into()], ..given.spec() };
    let data = Dataset::open(&spec, Precision::F32).expect("opened");
    let fitted = data.fit(&[0, 1, 2]).expect("fitted");
    let path = given.beside("new.csv", "x\n5\n5\n");
    let spec = DataSpec { source: Source::Table(TableSource::csv(&path)), ..spec };
    let new = Dataset::open_like(&spec, &fitted, Some(&["x"]), Precision::F32).expect("opened");
    assert_eq!((new.rows(), new.absent()), (2, ["k".to_string()].as_slice()));
    assert_eq!(
        new.split(&bdl_data::SplitSpec::Given { field: "k".into() }).map_err(|fault| fault.code),
        Err("absent-field")
    );
}

#[test]
fn synthetic_fields_are_functions_of_seed_row_and_element() {
    let open = |rows, seed, precision| {
        let draw = |name: &str, draw, dims: &[usize]| FieldSpec::new(name, Origin::Draw { draw, dims: dims.to_vec() });
        let spec = DataSpec::new("R", Source::Synthetic { rows, seed })
            .field(draw("x", Draw::Normal, &[3, 5]))
            .field(draw("u", Draw::Uniform, &[]))
            .field(draw("b", Draw::Bernoulli(0.25), &[40]))
            .field(draw("y", Draw::Category(10), &[]))
            .field(draw("dna", Draw::Letters(Alphabet::dna()), &[20]).step(Step::OneHot))
            .field(draw("i", Draw::Index(24), &[52]));
        Dataset::open(&spec, precision).expect("drawn")
    };
    let (few, many) = (open(4, 1, Precision::F32), open(400, 1, Precision::F32));
    for name in ["x", "u", "b", "dna"] {
        assert_eq!(numbers(&few, name, &[0, 3]), numbers(&many, name, &[0, 3]), "{name}");
    }
    assert_ne!(numbers(&few, "x", &[0]), numbers(&open(4, 2, Precision::F32), "x", &[0]));
    let all: Vec<u32> = (0..400).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let x = numbers(&many, "x", &all);
    let squares: Vec<f64> = x.iter().map(|x| x * x).collect();
    assert!(mean(&x).abs() < 0.05 && (mean(&squares) - 1.0).abs() < 0.08);
    assert!((mean(&numbers(&many, "u", &all)) - 0.5).abs() < 0.06);
    assert!((mean(&numbers(&many, "b", &all)) - 0.25).abs() < 0.02);
    assert!(numbers(&many, "dna", &all).chunks(4).all(|row| row.iter().sum::<f64>() == 1.0));
    assert!(ids(&many, "i").iter().all(|i| (0..24).contains(i)));
    let facts = many.facts();
    assert_eq!(facts.field("dna").map(|dna| dna.dims.clone()), Some(vec![FieldDim::Fixed(20), FieldDim::Fixed(4)]));
    assert_eq!(facts.field("y").map(|y| y.classes.len()), Some(10));
    let wide = numbers(&open(4, 1, Precision::F64), "x", &[2]);
    assert!(wide.iter().zip(numbers(&few, "x", &[2])).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn more_than_memory_holds_is_a_message() {
    for (draw, dims) in [
        (Draw::Normal, vec![1 << 25, 1 << 20]),
        (Draw::Uniform, vec![usize::MAX, 2]),
        (Draw::Bernoulli(0.5), vec![1 << 47]),
        (Draw::Category(3), vec![1 << 46]),
        (Draw::Letters(Alphabet::dna()), vec![1 << 31, 1 << 15]),
    ] {
        let field = FieldSpec::new("x", Origin::Draw { draw, dims });
        let fault =
            Dataset::open(&DataSpec::new("R", Source::Synthetic { rows: 3, seed: 1 }).field(field), Precision::F32)
                .map(|_| ())
                .expect_err("petabytes");
        assert_eq!((fault.code, fault.message.contains("memory")), ("bad-draw", true), "{fault}");
    }
}

#[test]
fn the_example_tables() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let spec = DataSpec::new("Junctions", Source::Table(TableSource::csv(&root.join("splice/splice.csv"))))
        .field(field("dna", "sequence", Step::OneHotText(Alphabet::dna())))
        .field(field("site", "class", CATEGORY));
    let data = Dataset::open(&spec, Precision::F32).expect("splice.csv");
    let facts = data.facts();
    assert_eq!(
        (facts.rows, facts.fields[0].dims.as_slice()),
        (3186, [FieldDim::Fixed(60), FieldDim::Fixed(4)].as_slice())
    );
    let classes: Vec<(&str, usize)> =
        facts.fields[1].classes.iter().map(|class| (class.name.as_str(), class.count)).collect();
    assert_eq!(classes, [("EI", 767), ("IE", 765), ("N", 1654)]);
    assert_eq!(data.repeats(&["dna"]).expect("dna").count(), 185);
    let distinct =
        Dataset::open(&DataSpec { distinct: vec!["dna".into()], ..spec }, Precision::F32).expect("splice.csv");
    assert_eq!(distinct.rows(), 3001);

    let spec = DataSpec::new("Aspirates", Source::Table(TableSource::csv(&root.join("wdbc/wdbc.csv"))))
        .field(columns("x", &["*"], &["diagnosis"]).step(Step::Standardize));
    let data = Dataset::open(&spec, Precision::F32).expect("wdbc.csv");
    let all: Vec<u32> = (0..569).collect();
    let x = numbers(&data, "x", &all);
    let variance = x.iter().skip(3).step_by(30).map(|x| x * x).sum::<f64>() / 569.0;
    assert!((x.len(), (variance - 1.0).abs() < 1e-5) == (569 * 30, true), "{variance}");
}
