//! Columns that cost people weeks: identifiers among the numbers, values that stand for "missing", constants, genes that a
//! spreadsheet turned into dates.
//!
//! Nothing here is an error. Each finding is a [`Warning`] with a word for a code, the column and what to try. A rule fires
//! only where an innocent explanation is unlikely; where it stands to reason that a user may know better, the text says so.

use crate::error::DataResult;
use crate::facts::Kind;
use crate::field::{Field, Layout, MISSING_ID, Values};
use crate::repeats::first_of_equals;
use crate::summary::{Warning, count, thousands};
use std::collections::{BTreeMap, HashSet};

/// Fewer rows than this say nothing about how a column is distributed.
const ENOUGH_ROWS: usize = 20;

/// Numbers of a field that are looked at.
const LOOKED_AT: usize = 4_000_000;

/// What people write where a number is not known.
const SENTINELS: [f64; 12] =
    [-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0, -32768.0];

/// Codes of warnings with the paragraph that `--explain` prints.
pub const WARNINGS: &[(&str, &str)] = &[
    (
        "id-as-number",
        "A numeric column holds whole numbers of which nearly every row has its own: it is probably an identifier. A model learns rows by heart from it.",
    ),
    (
        "class-not-in-training",
        "No training row has a class that other rows have: the model cannot learn it. Split with `balance:`, leave such rows out, or give what training has not seen a class, `unknown: \"other\"`.",
    ),
    ("constant-column", "All known values of a column are the same: it tells the rows apart by nothing."),
    (
        "sentinel",
        "A value such as -999 or 9999 stands far outside the rest of its column: it probably means that the value is not known. List it under `missing:` of the source.",
    ),
    (
        "already-log",
        "A column that is read as counts holds fractions or negative numbers: it was normalised, or its logarithm was taken, and taking the logarithm again would be wrong.",
    ),
    (
        "zero-is-missing",
        "A measured column is 0 in some rows and far from 0 in all others, as a blood pressure of 0 is: the 0 probably means that it was not measured. List it under `missing:` of the source.",
    ),
    (
        "mixed-names",
        "Names such as `chr1` and `1` stand in one column: they are probably the same chromosome, written by two conventions.",
    ),
    (
        "label-in-inputs",
        "A column of the file feeds an input of the model and its target, so that the model reads the answer. `columns(\"*\" except \"y\")` leaves it out.",
    ),
    (
        "group-straddles",
        "Rows of one patient (donor, animal, family) are in train and in test. They resemble each other, so the test is too good; `groups:` of the split keeps them together.",
    ),
    (
        "rc-duplicate",
        "A test sequence is the reverse complement of a training sequence: the same molecule, read from the other strand. The model has seen it.",
    ),
    (
        "near-duplicates",
        "A test sequence differs from a training sequence in at most 5 % of its letters, or all numbers of a test row are nearly those of a training row. `split identity(seq, below: 0.95, ..)` keeps such sequences together, `groups:` other rows.",
    ),
    (
        "too-good",
        "One column alone tells the classes apart with an AUROC above 0.99 on the training rows. Often it was measured after the outcome, or made from it.",
    ),
    (
        "truth-as-1-2",
        "A numeric column holds nothing but 1 and 2, the way some programs write no and yes. Read it with `truth(...)` or `category(...)`.",
    ),
    ("too-many-classes", "A category has nearly as many classes as rows: it is probably an identifier or a number."),
    ("rare-class", "A class has a single row: it cannot be learned and tested at once."),
    (
        "genes-as-dates",
        "Names such as `1-Mar` or `2-Sep` are genes (MARCHF1, SEPTIN2) that a spreadsheet turned into dates.",
    ),
    ("protein-is-dna", "A sequence that is read as protein holds the letters A, C, G and T only: it is probably DNA."),
    (
        "duplicates",
        "Some rows are identical. With a random split their twins stand on both sides, and the test is too good.",
    ),
];

/// Looks at the fields as read. Columns of other tables follow the file's `own_columns`.
pub(crate) fn warnings(fields: &[Field], rows: usize, own_columns: usize) -> DataResult<Vec<Warning>> {
    let mut found = vec![];
    for field in fields.iter().filter(|field| !field.hidden) {
        match (&*field.values, &field.facts.kind) {
            (Values::F32(values), _) => numbers(field, &|at| f64::from(values[at]), rows, &mut found),
            (Values::F64(values), _) => numbers(field, &|at| values[at], rows, &mut found),
            (Values::Ids(ids), Kind::Category | Kind::Number) => classes(field, ids, rows, &mut found),
            (Values::Letters(codes), _) => letters(field, codes, &mut found),
            (Values::Truth(_), _) => constant_truth(field, &mut found),
            (Values::Ids(_), Kind::Truth | Kind::Letters { .. } | Kind::Index(_) | Kind::IndexOf(_) | Kind::Text) => {}
        }
        dates(field, &mut found);
        mixed_names(field, &mut found);
    }
    duplicates(fields, rows, own_columns, &mut found);
    Ok(found)
}

fn warning(code: &'static str, field: &Field, column: Option<usize>, message: String, help: &str) -> Warning {
    debug_assert!(WARNINGS.iter().any(|(known, _)| *known == code), "undocumented code {code}");
    let column = column.and_then(|at| field.facts.columns.get(at)).cloned();
    Warning { code, field: Some(field.name.clone()), column, message, help: help.into() }
}

fn numbers(field: &Field, value: &dyn Fn(usize) -> f64, rows: usize, found: &mut Vec<Warning>) {
    let Layout::Fixed(width) = field.layout else { return };
    if rows < ENOUGH_ROWS || field.facts.columns.is_empty() {
        return;
    }
    // Of a wide and long table the first rows tell enough.
    let rows = rows.min((LOOKED_AT / width.max(1)).max(200));
    for column in 0..width {
        let known: Vec<f64> = (0..rows).map(|row| value(row * width + column)).filter(|x| !x.is_nan()).collect();
        let name = &field.facts.columns[column.min(field.facts.columns.len() - 1)];
        let mut add = |code, message, help| found.push(warning(code, field, Some(column), message, help));
        let Some(first) = known.first() else {
            add("constant-column", format!("`{name}` is missing in every row"), "leave it out with `except`");
            continue;
        };
        if known.iter().all(|x| x == first) {
            add("constant-column", format!("`{name}` is {first} in every row"), "leave it out with `except`");
            continue;
        }
        let whole = known.iter().all(|x| x.fract() == 0.0);
        let distinct: HashSet<u64> = known.iter().map(|x| x.to_bits()).collect();
        if whole && distinct.len() * 20 >= known.len() * 19 {
            let text = format!(
                "`{name}` holds whole numbers, {} different ones in {} rows",
                thousands(distinct.len()),
                thousands(rows)
            );
            add("id-as-number", text, "if it is an identifier, leave it out; it may serve `groups:`");
        }
        if distinct.len() == 2 && known.iter().all(|x| *x == 1.0 || *x == 2.0) {
            add(
                "truth-as-1-2",
                format!("`{name}` holds nothing but 1 and 2"),
                "read it with `truth(..., yes: \"2\", no: \"1\")`",
            );
        }
        if field.counts && known.iter().any(|x| *x < 0.0 || x.fract() != 0.0) {
            let odd = known.iter().find(|x| **x < 0.0 || x.fract() != 0.0).copied().unwrap_or(0.0);
            add(
                "already-log",
                format!("`{name}` is read as counts and holds {odd}"),
                "if it was normalised or its logarithm taken, read it with `number(..)`",
            );
        }
        if let Some(times) = zeros_apart(&known) {
            add(
                "zero-is-missing",
                format!("`{name}` is 0 in {}, far from its other values", count(times, "row")),
                "if 0 means that it was not measured, list it under `missing:` of the source, or ask `if x > 0 then x else missing`",
            );
        }
        if let Some((sentinel, times)) = sentinel(&known) {
            let text = format!("`{name}` is {sentinel} in {}, far from its other values", count(times, "row"));
            add("sentinel", text, "if it means that the value is not known, list it under `missing:` of the source");
        }
    }
}

/// How often a column is 0, if 0 stands apart: all other values are above 0, there are ten different ones or more, and the hundredth part
/// of them from below is farther from 0 than from their median.
fn zeros_apart(known: &[f64]) -> Option<usize> {
    let zeros = known.iter().filter(|x| **x == 0.0).count();
    let mut rest: Vec<f64> = known.iter().copied().filter(|x| *x != 0.0).collect();
    if zeros == 0 || zeros * 5 > known.len() * 3 || rest.iter().any(|x| *x < 0.0) {
        return None;
    }
    rest.sort_unstable_by(f64::total_cmp);
    let different = 1 + rest.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let (low, middle) = (rest[rest.len() / 100], rest[rest.len() / 2]);
    (different >= 10 && rest[0] > 0.2 * low && low > middle - low).then_some(zeros)
}

/// A value from the list that is the smallest or largest, and farther from the rest than the rest is wide.
fn sentinel(known: &[f64]) -> Option<(f64, usize)> {
    SENTINELS.iter().find_map(|sentinel| {
        let times = known.iter().filter(|x| *x == sentinel).count();
        let rest = || known.iter().filter(|x| *x != sentinel);
        let low = rest().copied().fold(f64::INFINITY, f64::min);
        let high = rest().copied().fold(f64::NEG_INFINITY, f64::max);
        // -1 and -9 are ordinary numbers unless everything else is on the other side of 0 and there are several of them.
        let small = sentinel.abs() < 50.0;
        let apart = (low - sentinel).max(sentinel - high);
        let far = if small { low >= 0.0 && apart > 0.5 * (high - low) && times > 1 } else { apart > high - low };
        (times > 0 && times < known.len() && far).then_some((*sentinel, times))
    })
}

fn classes(field: &Field, ids: &[u32], rows: usize, found: &mut Vec<Warning>) {
    let known = ids.iter().filter(|id| **id != MISSING_ID).count();
    let classes = &field.facts.classes;
    if classes.is_empty() || field.facts.columns.is_empty() {
        return;
    }
    let name = &field.facts.columns[0];
    if field.facts.dims.is_empty() && rows >= ENOUGH_ROWS && classes.len() * 2 > known {
        let text = format!("`{name}` has {} classes in {} rows", thousands(classes.len()), thousands(rows));
        found.push(warning(
            "too-many-classes",
            field,
            Some(0),
            text,
            "read it with `number(...)`, or keep it for `groups:`",
        ));
        return;
    }
    let rare: Vec<&str> = classes.iter().filter(|class| class.count == 1).map(|class| class.name.as_str()).collect();
    if !rare.is_empty() && field.facts.dims.is_empty() && rows >= ENOUGH_ROWS {
        let more = if rare.len() > 4 { format!(" and {} more", rare.len() - 4) } else { String::new() };
        let text = format!("one row only has `{name}` {}{more}", rare[..rare.len().min(4)].join(", "));
        found.push(warning("rare-class", field, Some(0), text, "leave such rows out with `keep`, or merge classes"));
    }
}

/// `chr1` and `1` in one column.
fn mixed_names(field: &Field, found: &mut Vec<Warning>) {
    let names: HashSet<&str> = field.facts.classes.iter().map(|class| class.name.as_str()).collect();
    let both =
        field.facts.classes.iter().filter_map(|class| class.name.strip_prefix("chr")).find(|bare| names.contains(bare));
    if let (Some(bare), Some(column)) = (both, field.facts.columns.first()) {
        let text = format!("`{column}` has `chr{bare}` and `{bare}`");
        found.push(warning("mixed-names", field, Some(0), text, "write one of the two everywhere"));
    }
}

fn constant_truth(field: &Field, found: &mut Vec<Warning>) {
    if let [no, yes] = field.facts.classes.as_slice()
        && field.facts.dims.is_empty()
        && no.count + yes.count >= ENOUGH_ROWS
        && (no.count == 0 || yes.count == 0)
    {
        let all = if yes.count == 0 { "false" } else { "true" };
        let text = format!("`{}` is {all} in every row", field.name);
        found.push(warning("constant-column", field, Some(0), text, "check the words that mean yes and no"));
    }
}

fn letters(field: &Field, codes: &[u8], found: &mut Vec<Warning>) {
    // A C G T in the order of the protein alphabet.
    const NUCLEOTIDES: [u8; 4] = [0, 1, 5, 16];
    let names = field.facts.axis_names.last().and_then(Option::as_ref);
    let is_protein = match &field.facts.kind {
        Kind::Letters { alphabet, .. } => alphabet == "Protein",
        Kind::Number => names.is_some_and(|names| names.len() == 20 && names[19] == "Y"),
        Kind::Truth | Kind::Category | Kind::Index(_) | Kind::IndexOf(_) | Kind::Text => false,
    };
    if is_protein
        && !field.columns.is_empty()
        && codes.len() >= 100
        && codes.iter().all(|code| NUCLEOTIDES.contains(code))
    {
        let text = format!("`{}` is read as protein and holds only A, C, G and T", field.facts.columns[0]);
        found.push(warning("protein-is-dna", field, Some(0), text, "use the alphabet `DNA`"));
    }
}

fn dates(field: &Field, found: &mut Vec<Warning>) {
    let is_date = |name: &str| {
        let (day, month) = name.split_once('-').unwrap_or_default();
        (1..=2).contains(&day.len())
            && day.bytes().all(|byte| byte.is_ascii_digit())
            && ["mar", "sep", "sept", "dec", "oct", "feb"].contains(&month.to_lowercase().as_str())
    };
    let classes = field.facts.classes.iter().map(|class| class.name.as_str());
    let names: Vec<&str> =
        field.facts.columns.iter().map(String::as_str).chain(classes).filter(|name| is_date(name)).collect();
    if let Some(first) = names.first() {
        let text = format!(
            "`{first}`{} looks like a gene that became a date",
            if names.len() > 1 { " and others" } else { "" }
        );
        found.push(warning(
            "genes-as-dates",
            field,
            None,
            text,
            "write the table again from the original, with text columns",
        ));
    }
}

/// Identical sequences of each letters field; without one, rows identical in all fields.
fn duplicates(fields: &[Field], rows: usize, own_columns: usize, found: &mut Vec<Warning>) {
    let sequences: BTreeMap<&str, Vec<&Field>> = fields
        .iter()
        .filter(|field| matches!(*field.values, Values::Letters(_)) && !field.columns.is_empty() && !field.hidden)
        // Of a table in which rows are looked up, every row may be met many times.
        .filter(|field| field.columns.iter().all(|column| *column < own_columns))
        .map(|field| (field.name.as_str(), vec![field]))
        .collect();
    let real: Vec<&Field> = fields.iter().filter(|field| !field.columns.is_empty()).collect();
    let sets = if sequences.is_empty() { vec![("", real)] } else { sequences.into_iter().collect() };
    for (name, set) in sets {
        let first = first_of_equals(&set, rows);
        let repeats = first.iter().enumerate().filter(|(row, first)| **first != *row as u32).count();
        if repeats > 0 {
            let (what, help) = if name.is_empty() {
                ("in all fields".to_string(), "list the inputs in `distinct` to drop repeats".to_string())
            } else {
                (format!("in `{name}`"), format!("`distinct {name}` drops them"))
            };
            let text = format!("{} rows repeat an earlier one {what}", thousands(repeats));
            let field = (!name.is_empty()).then(|| name.to_string());
            found.push(Warning { code: "duplicates", field, column: None, message: text, help });
        }
    }
}
