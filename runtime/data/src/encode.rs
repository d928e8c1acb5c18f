//! Cells to values: the encoders `number`, `truth`, `category`, `text`, `letters`, `onehot` and `tokens`.
//!
//! Each reads the cells of its columns row by row and either gives a [`Field`] or the first fault with its place.
//! Nothing is learned here except which classes there are; at prediction those are given ([`Schema`]).

use crate::alphabet::Alphabet;
use crate::error::{DataError, DataResult};
use crate::facts::{Class, FieldDim, FieldFacts, Kind};
use crate::field::{Field, Layout, MISSING_ID, MISSING_TRUTH, OneHot, Places, Rows, Values, narrow, too_large};
use crate::fit::FittedField;
use crate::formula::{self, Read};
use crate::numbers;
use crate::spec::{Column, Missing, Precision};
use crate::steps::{Encoder, FieldPlan, From};
use crate::table::nearest;
use std::collections::HashMap;
use std::sync::Arc;

/// What an earlier reading (the one that was trained on) prescribes.
pub(crate) type Schema<'a> = Option<&'a FittedField>;

/// Reads one field from its columns (positions in the file).
pub(crate) fn encode(
    plan: &FieldPlan,
    rows: &Rows,
    columns: Vec<usize>,
    schema: Schema,
    precision: Precision,
    earlier: &[Field],
) -> DataResult<Field> {
    let reading = Reading { plan, rows, columns: &columns, schema };
    let mut parts = match &plan.encoder {
        Encoder::Number => reading.numbers(precision)?,
        Encoder::Truth { yes, no } => reading.truth(yes.as_deref(), no.as_deref())?,
        Encoder::Category { classes, unknown } => reading.category(classes.as_deref(), unknown.as_deref())?,
        Encoder::Text => reading.text(),
        Encoder::Letters(alphabet) => reading.letters(alphabet)?,
        Encoder::Tokens { classes, unknown } => reading.tokens(classes.as_deref(), unknown.as_deref())?,
        Encoder::Numbers { width } => reading.lists(*width, precision)?,
        Encoder::Indices { of, first } => reading.indices(of, *first, earlier)?,
        Encoder::Drawn => return Err(DataError::new("bad-draw", "a draw needs the source `synthetic(...)`")),
        Encoder::Computed { .. } => return computed(plan, rows.len(), rows.places, precision, earlier),
    };
    let names: Vec<String> = columns.iter().map(|at| rows.table.columns.names[*at].clone()).collect();
    let mut axis_names = vec![None; parts.dims.len()];
    if matches!(plan.from, From::Columns { .. }) {
        axis_names[0] = Some(Arc::new(names.clone()));
    }
    let mut kind = parts.kind;
    if plan.one_hot {
        parts.dims.push(FieldDim::Fixed(parts.letters.len()));
        axis_names.push(Some(Arc::new(parts.letters.clone())));
        kind = Kind::Number;
    }
    let width = parts.letters.len();
    let one_hot = plan.one_hot.then(|| OneHot { table: Arc::new(parts.table), width });
    let facts = FieldFacts {
        name: plan.name.clone(),
        kind,
        dims: parts.dims,
        axis_names,
        optional: (plan.missing == Missing::Keep || looked_up_with_gaps(&plan.from)) && !plan.imputes(),
        missing: parts.missing,
        classes: parts.classes,
        columns: names,
        one_hot: plan.one_hot && plan.after.is_empty(),
    };
    Ok(Field {
        name: plan.name.clone(),
        pos: plan.pos.clone(),
        values: Arc::new(parts.values),
        layout: parts.layout,
        one_hot,
        tail: plan.after.clone(),
        fitted_width: match &plan.encoder {
            Encoder::Numbers { width } => Some(width.unwrap_or(1)),
            Encoder::Number
            | Encoder::Truth { .. }
            | Encoder::Category { .. }
            | Encoder::Text
            | Encoder::Letters(_)
            | Encoder::Tokens { .. }
            | Encoder::Indices { .. }
            | Encoder::Drawn
            | Encoder::Computed { .. } => None,
        },
        computed: None,
        exact: plan.exact,
        unknown: parts.unknown,
        hidden: plan.hidden,
        counts: plan.counts && plan.before.is_empty(),
        columns,
        facts,
    })
}

/// A field that is computed from earlier ones.
pub(crate) fn computed(
    plan: &FieldPlan,
    rows: usize,
    places: &Places,
    precision: Precision,
    earlier: &[Field],
) -> DataResult<Field> {
    let (From::Formula(formula), Encoder::Computed { truth }) = (&plan.from, &plan.encoder) else {
        return Err(DataError::new("unknown-field", "a formula without fields"));
    };
    let find = |name: &str| match earlier.iter().find(|field| field.name == name) {
        Some(field) => Ok(Read { field, fitted: None }),
        None => Err(DataError::new("unknown-field", format!("there is no field `{name}` before this one"))),
    };
    let mut made = formula::compute(formula, rows, &find)?;
    if !plan.waits {
        formula::require_defined(&plan.name, formula, &made, places, &find)?;
    }
    let read = |name: &str| earlier.iter().any(|field| field.name == name && field.facts.optional);
    let optional = (formula.is_optional(&read) || plan.missing == Missing::Keep) && !plan.imputes();
    let missing = made.values.iter().filter(|x| x.is_nan()).count();
    if !optional
        && !plan.imputes()
        && let Some(at) = made.values.iter().position(|x| x.is_nan())
    {
        let text = format!("`{}` is missing in this row, because a value that it is computed from is", plan.name);
        let fault = DataError::new("missing-value", text)
            .help("fill it: `(..) else 0`; ask `known(..)`; or leave such rows out with `keep`");
        return Err(places.fault(fault, made.layout.row_of(at), None, None));
    }
    let mut classes = vec![];
    let values = if *truth {
        let code = |x: &f64| if x.is_nan() { MISSING_TRUTH } else { u8::from(*x == 1.0) };
        let values: Vec<u8> = made.values.iter().map(code).collect();
        let count = |code: u8| values.iter().filter(|value| **value == code).count();
        classes = vec![Class { name: "false".into(), count: count(0) }, Class { name: "true".into(), count: count(1) }];
        Values::Truth(values)
    } else {
        for step in &plan.before {
            for at in 0..made.values.len() {
                let x = made.values[at];
                made.values[at] = numbers::apply(step, x)
                    .ok_or_else(|| places.fault(numbers::domain_fault(step, x), made.layout.row_of(at), None, None))?;
            }
        }
        let later = plan.exact || plan.waits || !plan.after.is_empty();
        narrow(made.values, if later { Precision::F64 } else { precision })
            .map_err(|at| places.fault(too_large(f64::INFINITY), made.layout.row_of(at), None, None))?
    };
    let fitted_width = match &made.layout {
        Layout::Fixed(_) => None,
        Layout::PerRow(_) => Some(made.dims.iter().skip(1).map(|dim| dim.size(0)).product()),
    };
    let facts = FieldFacts {
        name: plan.name.clone(),
        kind: if *truth { Kind::Truth } else { Kind::Number },
        dims: made.dims,
        axis_names: made.axis_names,
        optional,
        missing,
        classes,
        columns: made.columns,
        one_hot: false,
    };
    Ok(Field {
        name: plan.name.clone(),
        pos: plan.pos.clone(),
        values: Arc::new(values),
        layout: made.layout,
        one_hot: None,
        tail: plan.after.clone(),
        fitted_width,
        computed: plan.waits.then(|| formula.clone()),
        exact: plan.exact,
        unknown: None,
        hidden: plan.hidden,
        counts: plan.counts && plan.before.is_empty(),
        columns: made.positions,
        facts,
    })
}

/// `alleles[allele else missing]` may find nothing.
fn looked_up_with_gaps(from: &From) -> bool {
    match from {
        From::Column(Column::Of(lookup, _)) => lookup.optional,
        From::Columns { of, .. } => of.as_ref().is_some_and(|lookup| lookup.optional),
        From::Column(Column::Name(_) | Column::Number(_)) | From::Draw { .. } | From::Formula(_) => false,
    }
}

/// What an encoder found.
struct Parts {
    values: Values,
    layout: Layout,
    kind: Kind,
    dims: Vec<FieldDim>,
    missing: usize,
    classes: Vec<Class>,
    /// Names along the axis that one-hot would add, and its rows.
    letters: Vec<String>,
    table: Vec<f64>,
    /// The class of what no training row has.
    unknown: Option<u32>,
}

struct Reading<'a> {
    plan: &'a FieldPlan,
    rows: &'a Rows<'a>,
    columns: &'a [usize],
    schema: Schema<'a>,
}

impl Reading<'_> {
    fn fault(&self, fault: Box<DataError>, row: usize, column: usize, part: Option<(usize, usize)>) -> Box<DataError> {
        self.rows.places.fault(fault, row, Some(column), part)
    }

    fn missing_fault(&self, row: usize, column: usize, way: &str) -> Box<DataError> {
        let cell = self.rows.cell(row, column);
        let what = if cell.is_empty() { "an empty cell".to_string() } else { format!("`{cell}`") };
        let fault = DataError::new(
            "missing-value",
            format!("{what} is a missing value, and the field does not say what that means"),
        );
        self.fault(fault.help(way), row, column, None)
    }

    /// One axis for `columns(...)`, none for `column(...)`.
    fn column_dims(&self) -> Vec<FieldDim> {
        match self.plan.from {
            From::Columns { .. } => vec![FieldDim::Fixed(self.columns.len())],
            From::Column(_) | From::Draw { .. } | From::Formula(_) => vec![],
        }
    }

    /// What a missing cell means: a key that is not there is no value without more being said.
    fn missing(&self) -> &Missing {
        match &self.plan.missing {
            Missing::Error if looked_up_with_gaps(&self.plan.from) => &Missing::Keep,
            missing => missing,
        }
    }

    fn of_columns(&self, values: Values, kind: Kind, missing: usize) -> Parts {
        Parts {
            values,
            layout: Layout::Fixed(self.columns.len()),
            kind,
            dims: self.column_dims(),
            missing,
            classes: vec![],
            letters: vec![],
            table: vec![],
            unknown: None,
        }
    }

    fn numbers(&self, precision: Precision) -> DataResult<Parts> {
        let decimal = self.rows.table.decimal(self.columns[0]);
        let imputes = self.plan.imputes();
        let before = &self.plan.before;
        let mut missing = 0;
        let mut values = Vec::with_capacity(self.rows.len() * self.columns.len());
        for row in 0..self.rows.len() {
            for column in self.columns {
                let cell = self.rows.cell(row, *column);
                let mut x = if self.rows.is_missing(row, *column) {
                    missing += 1;
                    match self.missing() {
                        Missing::Number(value) => *value,
                        Missing::Keep => f64::NAN,
                        Missing::Error | Missing::Text(_) if imputes => f64::NAN,
                        Missing::Error | Missing::Text(_) => {
                            let way = "use `|> impute(median)`, `missing: keep`, or `missing: 0` (a number that it stands for)";
                            return Err(self.missing_fault(row, *column, way));
                        }
                    }
                } else {
                    numbers::parse(cell, decimal)
                        .map_err(|kind| self.fault(numbers::fault(cell, decimal, kind), row, *column, None))?
                };
                for step in before {
                    x = numbers::apply(step, x)
                        .ok_or_else(|| self.fault(numbers::domain_fault(step, x), row, *column, None))?;
                }
                values.push(x);
            }
        }
        let later = self.plan.exact || !self.plan.after.is_empty();
        let kept = if later { Precision::F64 } else { precision };
        let values = narrow(values, kept).map_err(|at| {
            let (row, column) = (at / self.columns.len(), self.columns[at % self.columns.len()]);
            let x = numbers::parse(self.rows.cell(row, column), decimal).unwrap_or(f64::INFINITY);
            self.fault(too_large(x), row, column, None)
        })?;
        Ok(self.of_columns(values, Kind::Number, missing))
    }

    fn truth(&self, yes: Option<&str>, no: Option<&str>) -> DataResult<Parts> {
        let read = |cell: &str| match (yes, no) {
            (None, None) => match cell.to_ascii_lowercase().as_str() {
                "true" | "yes" | "t" | "y" | "1" => Some(1),
                "false" | "no" | "f" | "n" | "0" => Some(0),
                _ => None,
            },
            (Some(yes), None) => Some(u8::from(cell == yes)),
            (None, Some(no)) => Some(u8::from(cell != no)),
            (Some(yes), Some(no)) => (cell == yes).then_some(1).or((cell == no).then_some(0)),
        };
        let (mut missing, mut counts) = (0, [0; 3]);
        let mut values = Vec::with_capacity(self.rows.len() * self.columns.len());
        for row in 0..self.rows.len() {
            for column in self.columns {
                let cell = self.rows.cell(row, *column);
                let read_or_fault =
                    |cell: &str| read(cell).ok_or_else(|| self.truth_fault(cell, yes, no, row, *column));
                let value = if self.rows.is_missing(row, *column) {
                    missing += 1;
                    match self.missing() {
                        Missing::Keep => MISSING_TRUTH,
                        Missing::Number(value) => u8::from(*value != 0.0),
                        Missing::Text(text) => read_or_fault(text)?,
                        Missing::Error => {
                            let way = "use `missing: keep`, or `missing: false` (what it stands for)";
                            return Err(self.missing_fault(row, *column, way));
                        }
                    }
                } else {
                    read_or_fault(cell)?
                };
                counts[value as usize] += 1;
                values.push(value);
            }
        }
        let mut parts = self.of_columns(Values::Truth(values), Kind::Truth, missing);
        let class = |name: &str, count| Class { name: name.into(), count };
        parts.classes = vec![class("false", counts[0]), class("true", counts[1])];
        Ok(parts)
    }

    fn truth_fault(
        &self,
        cell: &str,
        yes: Option<&str>,
        no: Option<&str>,
        row: usize,
        column: usize,
    ) -> Box<DataError> {
        let fault = match (yes, no) {
            (Some(yes), Some(no)) => DataError::new(
                "unknown-truth",
                format!("`{cell}` is neither `{yes}` (yes) nor `{no}` (no)"),
            )
            .help(
                "`truth(yes: \"...\")` alone takes everything else as no; more than two answers are a `category(...)`",
            ),
            _ => DataError::new("unknown-truth", format!("`{cell}` is neither true nor false")).help(if cell == "2" {
                "write `truth(yes: \"1\", no: \"2\")`, or the other way round"
            } else {
                "name the two texts: `truth(column(...), yes: \"case\", no: \"control\")`"
            }),
        };
        self.fault(fault, row, column, None)
    }

    /// The classes that are prescribed, by the program or by the run.
    fn prescribed<'b>(&'b self, listed: Option<&'b [String]>) -> Option<&'b [String]> {
        self.schema.map(|schema| schema.classes.as_slice()).or(listed)
    }

    fn category(&self, listed: Option<&[String]>, unknown: Option<&str>) -> DataResult<Parts> {
        let mut classes = Classes::new(self.prescribed(listed), unknown);
        let mut missing = 0;
        let mut ids = Vec::with_capacity(self.rows.len() * self.columns.len());
        for row in 0..self.rows.len() {
            for column in self.columns {
                let cell = self.rows.cell(row, *column);
                let mut text = cell;
                let number;
                if self.rows.is_missing(row, *column) {
                    missing += 1;
                    match self.missing() {
                        Missing::Keep => {
                            ids.push(MISSING_ID);
                            continue;
                        }
                        Missing::Text(value) => text = value,
                        Missing::Number(value) => {
                            number = value.to_string();
                            text = &number;
                        }
                        Missing::Error => {
                            let way = "use `missing: keep`, or `missing: \"unknown\"` to make it a class of its own";
                            return Err(self.missing_fault(row, *column, way));
                        }
                    }
                }
                match classes.id(text) {
                    Some(id) => ids.push(id),
                    None => return Err(self.unknown_class(text, &classes.names, row, *column, None)),
                }
            }
        }
        let unknown = classes.unknown.is_some();
        let classes = classes.finish(&mut ids);
        let mut parts = self.of_columns(Values::Ids(ids), Kind::Category, missing);
        parts.unknown = unknown.then(|| classes.len() as u32 - 1);
        parts.letters = classes.iter().map(|class| class.name.clone()).collect();
        parts.table = if self.plan.one_hot { identity(classes.len()) } else { vec![] };
        parts.classes = classes;
        Ok(parts)
    }

    fn unknown_class(
        &self,
        text: &str,
        known: &[String],
        row: usize,
        column: usize,
        part: Option<(usize, usize)>,
    ) -> Box<DataError> {
        let by = if self.schema.is_some() { "the classes that the model was trained on" } else { "the classes listed" };
        let shown: Vec<&str> = known.iter().take(12).map(String::as_str).collect();
        let more = if known.len() > 12 { format!(" and {} more", known.len() - 12) } else { String::new() };
        let fault =
            DataError::new("unknown-category", format!("`{text}` is not one of {by}: {}{more}", shown.join(", ")));
        let fault = match nearest(text, known) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None if self.schema.is_some() => fault.help(
                "leave the row out, or train again: with rows of this class, or with a class for what is not known, `unknown: \"other\"`",
            ),
            None => fault.help("add it to `classes:`, leave the row out with `keep`, or give such rows a class: `unknown: \"other\"`"),
        };
        self.fault(fault, row, column, part)
    }

    /// Text by first appearance; missing text has no id.
    fn text(&self) -> Parts {
        let mut classes = Classes::new(None, None);
        let mut missing = 0;
        let mut ids = Vec::with_capacity(self.rows.len() * self.columns.len());
        for row in 0..self.rows.len() {
            for column in self.columns {
                let cell = self.rows.cell(row, *column);
                let is_missing = self.rows.is_missing(row, *column);
                missing += usize::from(is_missing);
                ids.push(if is_missing { MISSING_ID } else { classes.id(cell).unwrap_or(MISSING_ID) });
            }
        }
        let classes = classes.finish(&mut ids);
        let mut parts = self.of_columns(Values::Ids(ids), Kind::Text, missing);
        parts.classes = classes;
        parts
    }

    fn letters(&self, alphabet: &Alphabet) -> DataResult<Parts> {
        let (mut codes, mut ends, mut missing) = (vec![], vec![], 0);
        let column = self.columns[0];
        for row in 0..self.rows.len() {
            let mut text = self.rows.cell(row, column);
            if self.rows.is_missing(row, column) {
                missing += 1;
                text = self.sequence_for_missing(row, column)?;
            }
            let start = codes.len();
            alphabet.encode(text, &mut codes).map_err(|fault| {
                let (first, shown) = (fault.position * alphabet.width(), &fault.found);
                let text = format!(
                    "`{shown}` at position {} of the sequence is not in the alphabet {}",
                    fault.position + 1,
                    alphabet.name()
                );
                let error = DataError::new("unknown-letter", text).help(alphabet.suggestion(shown));
                self.fault(error, row, column, Some((first, alphabet.width())))
            })?;
            if !self.plan.one_hot
                && let Some(at) = codes[start..].iter().position(|code| !alphabet.is_letter(*code))
            {
                let shown = alphabet.text_of(codes[start + at]);
                let text = format!(
                    "`{shown}` at position {} of the sequence stands for several letters of {}",
                    at + 1,
                    alphabet.name()
                );
                let error = DataError::new("ambiguous-letter", text).help(
                    "`onehot(...)` shares it out as fractions; `letters(...)` needs one letter; or leave the row out",
                );
                return Err(self.fault(error, row, column, Some((at, 1))));
            }
            ends.push(codes.len() as u64);
        }
        let kind = Kind::Letters { alphabet: alphabet.name().into(), letters: alphabet.len() };
        let mut parts = self.of_sequences(Values::Letters(codes), ends, kind, missing, ("letters", 1))?;
        parts.letters = alphabet.letters().to_vec();
        parts.table = if self.plan.one_hot { alphabet.one_hot_table() } else { vec![] };
        Ok(parts)
    }

    fn tokens(&self, listed: Option<&[String]>, unknown: Option<&str>) -> DataResult<Parts> {
        let mut classes = Classes::new(self.prescribed(listed), unknown);
        let (mut ids, mut ends, mut missing) = (vec![], vec![], 0);
        let column = self.columns[0];
        for row in 0..self.rows.len() {
            let mut text = self.rows.cell(row, column);
            if self.rows.is_missing(row, column) {
                missing += 1;
                text = self.sequence_for_missing(row, column)?;
            }
            for word in text.split_whitespace() {
                match classes.id(word) {
                    Some(id) => ids.push(id),
                    None => {
                        let first = text[..word.as_ptr() as usize - text.as_ptr() as usize].chars().count();
                        let part = Some((first, word.chars().count()));
                        return Err(self.unknown_class(word, &classes.names, row, column, part));
                    }
                }
            }
            ends.push(ids.len() as u64);
        }
        let unknown = classes.unknown.is_some();
        let classes = classes.finish(&mut ids);
        let mut parts = self.of_sequences(Values::Ids(ids), ends, Kind::Category, missing, ("words", 1))?;
        parts.unknown = unknown.then(|| classes.len() as u32 - 1);
        parts.letters = classes.iter().map(|class| class.name.clone()).collect();
        parts.table = if self.plan.one_hot { identity(classes.len()) } else { vec![] };
        parts.classes = classes;
        Ok(parts)
    }

    /// Lists of numbers, one axis; with a width two.
    fn lists(&self, width: Option<usize>, precision: Precision) -> DataResult<Parts> {
        let decimal = self.rows.table.decimal(self.columns[0]);
        let (mut values, mut ends, mut missing) = (vec![], vec![], 0);
        let column = self.columns[0];
        for row in 0..self.rows.len() {
            let mut text = self.rows.cell(row, column);
            if self.rows.is_missing(row, column) {
                missing += 1;
                text = self.list_for_missing(row, column)?;
            }
            let start = values.len();
            for (part, word) in items(text, decimal) {
                let fault = |fault: Box<DataError>| self.fault(fault, row, column, Some(part));
                let mut x = numbers::parse(word, decimal).map_err(|kind| fault(numbers::fault(word, decimal, kind)))?;
                for step in &self.plan.before {
                    x = numbers::apply(step, x).ok_or_else(|| fault(numbers::domain_fault(step, x)))?;
                }
                if precision == Precision::F32 && (x as f32).is_infinite() {
                    return Err(fault(too_large(x)));
                }
                values.push(x);
            }
            let count = values.len() - start;
            if let Some(width) = width
                && count % width != 0
            {
                let text = format!("{count} numbers cannot stand in rows of {width}");
                let fault = DataError::new("length-differs", text).help("`width:` is how many numbers belong together");
                return Err(self.fault(fault, row, column, None));
            }
            ends.push(values.len() as u64);
        }
        let later = self.plan.exact || !self.plan.after.is_empty();
        let kept = if later { Precision::F64 } else { precision };
        let values = narrow(values, kept).map_err(|_| too_large(f64::INFINITY))?;
        let unit = if width.is_some() { "rows of numbers" } else { "numbers" };
        let mut parts = self.of_sequences(values, ends, Kind::Number, missing, (unit, width.unwrap_or(1)))?;
        parts.dims.extend(width.map(FieldDim::Fixed));
        Ok(parts)
    }

    /// Lists of positions in another field, each checked against that field's length in the same row.
    fn indices(&self, of: &str, first: i64, earlier: &[Field]) -> DataResult<Parts> {
        let Some(target) = earlier.iter().find(|field| field.name == of) else {
            let fault = DataError::new("unknown-field", format!("`of: {of}` names no field before this one"));
            return Err(fault.help("the field that the numbers point into stands first"));
        };
        let Some(dim) = target.facts.dims.first() else {
            let fault = DataError::new("wrong-step", format!("`{of}` has no axis that numbers could point into"));
            return Err(fault.help("it is one value a row; `tokens`, `letters` and `numbers` give several"));
        };
        let (mut ids, mut ends, mut missing) = (vec![], vec![], 0);
        let column = self.columns[0];
        for row in 0..self.rows.len() {
            let mut text = self.rows.cell(row, column);
            if self.rows.is_missing(row, column) {
                missing += 1;
                text = self.list_for_missing(row, column)?;
            }
            let count = dim.size(row) as i64;
            for (part, word) in items(text, '.') {
                let Some(at) = word.parse::<i64>().ok().map(|at| at - first) else {
                    let fault = DataError::new("text-in-number", format!("`{word}` is no whole number"))
                        .help(format!("a list of positions in `{of}`, such as `{first} {}`", first + 1));
                    return Err(self.fault(fault, row, column, Some(part)));
                };
                if !(0..count).contains(&at) {
                    let range = match count {
                        0 => format!("`{of}` is empty in this row"),
                        _ => format!("`{of}` has {count} here, {first} to {}", first + count - 1),
                    };
                    let fault = DataError::new("index-outside", format!("`{word}` points to nothing: {range}"));
                    let fault = match first {
                        0 if at == count => fault.help("if the file counts from 1, say so: `first: 1`"),
                        _ => fault.help("correct the row, or leave it out with `keep`"),
                    };
                    return Err(self.fault(fault, row, column, Some(part)));
                }
                ids.push(at as u32);
            }
            ends.push(ids.len() as u64);
        }
        self.of_sequences(Values::Ids(ids), ends, Kind::IndexOf(of.into()), missing, ("positions", 1))
    }

    /// An empty cell is the empty list where the field says so: `missing: ""`.
    fn list_for_missing(&self, row: usize, column: usize) -> DataResult<&str> {
        match &self.plan.missing {
            Missing::Text(text) => Ok(text),
            Missing::Error | Missing::Keep | Missing::Number(_) => {
                let way = "an empty list is `missing: \"\"`; or leave the row out with `keep known(...)`";
                Err(self.missing_fault(row, column, way))
            }
        }
    }

    fn sequence_for_missing(&self, row: usize, column: usize) -> DataResult<&str> {
        match &self.plan.missing {
            Missing::Text(text) => Ok(text),
            Missing::Error | Missing::Keep | Missing::Number(_) => {
                let way = "leave the row out with `keep known(...)`, or give a sequence: `missing: \"NNNN\"`";
                Err(self.missing_fault(row, column, way))
            }
        }
    }

    /// One axis of the sequences' lengths: fixed if all are equal, unless the run knows it as each row's own.
    fn of_sequences(
        &self,
        values: Values,
        ends: Vec<u64>,
        kind: Kind,
        missing: usize,
        (unit, width): (&str, usize),
    ) -> DataResult<Parts> {
        let length = |row: usize| (ends[row] - if row == 0 { 0 } else { ends[row - 1] }) as usize / width;
        let all_equal = (1..ends.len()).all(|row| length(row) == length(0));
        let prescribed = self.schema.and_then(|schema| schema.dims.first().copied());
        if let Some(Some(wanted)) = prescribed
            && let Some(row) = (0..ends.len()).find(|row| length(*row) != wanted)
        {
            let text =
                format!("this sequence has {} {unit}, the model was trained on sequences of {wanted}", length(row));
            let fault = DataError::new("length-differs", text).help(format!("give windows of {wanted} {unit}"));
            return Err(self.fault(fault, row, self.columns[0], None));
        }
        let fixed = all_equal && prescribed != Some(None) && !ends.is_empty();
        let (layout, dim) = if fixed {
            (Layout::Fixed(length(0) * width), FieldDim::Fixed(length(0)))
        } else {
            let lengths: Vec<u32> = (0..ends.len()).map(|row| length(row) as u32).collect();
            let starts = Arc::new([0].into_iter().chain(ends.iter().copied()).collect::<Vec<u64>>());
            (Layout::PerRow(starts), FieldDim::PerRow(Arc::new(lengths)))
        };
        let (classes, letters, table) = (vec![], vec![], vec![]);
        Ok(Parts { values, layout, kind, dims: vec![dim], missing, classes, letters, table, unknown: None })
    }
}

/// The items of a list in one cell, with their places (first character, number of characters): between blanks, commas (unless they are
/// the decimal mark), semicolons and bars, in brackets or not.
fn items(text: &str, decimal: char) -> Vec<((usize, usize), &str)> {
    let apart = |c: char| c.is_whitespace() || (c == ',' && decimal != ',') || ";|[](){}".contains(c);
    let words = text.split(apart).filter(|word| !word.is_empty());
    let place = |word: &str| text[..word.as_ptr() as usize - text.as_ptr() as usize].chars().count();
    words.map(|word| ((place(word), word.chars().count()), word)).collect()
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|at| f64::from(u8::from(at / n == at % n))).collect()
}

/// Texts to ids.
struct Classes {
    names: Vec<String>,
    ids: HashMap<String, u32>,
    closed: bool,
    /// The name of the class for what is in no training row, always the last; what is not known is of this class.
    unknown: Option<String>,
}

impl Classes {
    fn new(prescribed: Option<&[String]>, unknown: Option<&str>) -> Self {
        let mut names = prescribed.unwrap_or_default().to_vec();
        if prescribed.is_some() {
            // A run's classes end with it already.
            names.retain(|name| Some(name.as_str()) != unknown);
            names.extend(unknown.map(String::from));
        }
        let ids = names.iter().enumerate().map(|(id, name)| (name.clone(), id as u32)).collect();
        Classes { names, ids, closed: prescribed.is_some(), unknown: unknown.map(String::from) }
    }

    /// The id of a text; a new one if the classes are not prescribed.
    fn id(&mut self, text: &str) -> Option<u32> {
        match self.ids.get(text) {
            Some(id) => Some(*id),
            None if self.closed => self.unknown.is_some().then(|| self.names.len() as u32 - 1),
            None => {
                let id = self.names.len() as u32;
                self.names.push(text.into());
                self.ids.insert(text.into(), id);
                Some(id)
            }
        }
    }

    /// Orders classes that were found by name (names that are all integers as integers), renumbers the ids, and counts.
    fn finish(mut self, ids: &mut [u32]) -> Vec<Class> {
        if !self.closed {
            if let Some(unknown) = self.unknown.clone() {
                self.id(&unknown);
            }
            let mut names = self.names;
            let of_data = names.iter().filter(|name| Some(*name) != self.unknown.as_ref());
            let integers = of_data.clone().all(|name| name.parse::<i64>().is_ok());
            let mut order: Vec<usize> = (0..names.len()).collect();
            let last = |at: &usize| Some(&names[*at]) == self.unknown.as_ref();
            if integers {
                order.sort_by_key(|at| (last(at), names[*at].parse::<i64>().unwrap_or(i64::MAX)));
            } else {
                order.sort_by(|a, b| (last(a), &names[*a]).cmp(&(last(b), &names[*b])));
            }
            let mut renumbered = vec![0; names.len()];
            for (new, old) in order.iter().enumerate() {
                renumbered[*old] = new as u32;
            }
            ids.iter_mut().filter(|id| **id != MISSING_ID).for_each(|id| *id = renumbered[*id as usize]);
            self.names = order.into_iter().map(|at| std::mem::take(&mut names[at])).collect();
        }
        let mut counts = vec![0; self.names.len()];
        ids.iter().filter(|id| **id != MISSING_ID).for_each(|id| counts[*id as usize] += 1);
        self.names.into_iter().zip(counts).map(|(name, count)| Class { name, count }).collect()
    }
}
