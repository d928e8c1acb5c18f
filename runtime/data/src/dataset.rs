//! A data set: the rows of a source that are used, as typed fields.
//!
//! [`Dataset::open`] reads the source as the `data` block says: header, columns of each field, rows, `keep`, encoders,
//! `distinct`. Nothing is fitted. [`Dataset::open_like`] reads another file for a model that was trained: columns, classes
//! and lengths must be those of the run ([`Fitted`]), every row is read (`keep` and `distinct` chose training material),
//! and only the fields that are asked for need to be there. [`Dataset::open_again`] reads a file to judge a model on: as the model
//! knows it, but with `keep` and `distinct`, as it was trained.

use crate::encode::{Schema, computed, encode};
use crate::error::{DataError, DataResult};
use crate::facts::DataFacts;
use crate::field::{Field, Places, Rows, Values, for_field};
use crate::fit::{Fitted, Replayed, encoded_values};
use crate::group;
use crate::join::Joins;
use crate::keep::{self, Test};
use crate::leaks;
use crate::repeats;
use crate::spec::{Column, DataSpec, Precision, Source, TableSource};
use crate::steps::{FieldPlan, From, plan_all};
use crate::table::{self, Columns, Table};
use crate::{batch::Encoded, batch::EncodedField, synthetic};
use std::sync::Arc;

/// Typed fields of the rows of a source, before anything is fitted.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub(crate) name: String,
    pub(crate) precision: Precision,
    pub(crate) rows_read: usize,
    pub(crate) places: Places,
    pub(crate) fields: Vec<Field>,
    absent: Vec<String>,
    /// Columns of the file that hold the keys of other tables.
    pub(crate) looked_up: Vec<usize>,
    /// Columns whose names say to whom a row belongs, with a number for each of them, by row.
    pub(crate) group_columns: Vec<(String, Vec<u32>)>,
}

impl Dataset {
    /// Reads a data block's source. Numbers are kept in the given precision.
    ///
    /// Errors: everything that can be wrong with a file or with what the block asks of it; see [`crate::error::CODES`].
    pub fn open(spec: &DataSpec, precision: Precision) -> DataResult<Self> {
        read(spec, precision, None)
            .map_err(|fault| if spec.pos.is_empty() { fault } else { fault.asked_by(&spec.name, &spec.pos) })
    }

    /// Reads another source of the same kind for a trained model: `spec.source` is the new file. Only the fields named in
    /// `needed` are read (all that are there, if None); of the others those without columns in the file are [`absent`].
    ///
    /// Errors: as [`Dataset::open`]; `absent-field` where a needed field has no column; `unknown-category` and
    /// `length-differs` where the file has what the model has not seen.
    ///
    /// [`absent`]: Dataset::absent
    pub fn open_like(
        spec: &DataSpec,
        fitted: &Fitted,
        needed: Option<&[&str]>,
        precision: Precision,
    ) -> DataResult<Self> {
        read(spec, precision, Some(Like { fitted, needed, chooses: false }))
    }

    /// Reads the data of a trained model once more, or another source of the same kind, to judge the model on it: every field is
    /// needed, `keep` and `distinct` choose rows, and classes (with their order), columns and lengths are those of the run.
    ///
    /// Errors: those of [`Dataset::open_like`].
    pub fn open_again(spec: &DataSpec, fitted: &Fitted, precision: Precision) -> DataResult<Self> {
        let all: Vec<&str> = spec.fields.iter().map(|field| field.name.as_str()).collect();
        read(spec, precision, Some(Like { fitted, needed: Some(&all), chooses: true }))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Rows after `keep` and `distinct`.
    pub fn rows(&self) -> usize {
        self.places.rows.len()
    }

    /// The file, unless the data is synthetic.
    pub fn source(&self) -> Option<&TableSource> {
        self.places.source.as_ref()
    }

    /// Fields that the file has no columns for (only after [`Dataset::open_like`]).
    pub fn absent(&self) -> &[String] {
        &self.absent
    }

    /// For each row its row in the source, from 0 (the first row below the header).
    pub fn source_rows(&self) -> &[u32] {
        &self.places.rows
    }

    /// The types, sizes and names that the checker asks for.
    pub fn facts(&self) -> DataFacts {
        DataFacts {
            name: self.name.clone(),
            file: self.source().map(|source| source.path.clone()),
            rows: self.rows(),
            rows_read: self.rows_read,
            fields: self.fields.iter().filter(|field| !field.hidden).map(|field| field.facts.clone()).collect(),
        }
    }

    /// Replays what was fitted on all rows: values that batches can be made of.
    ///
    /// Errors: `wrong-fitted` if the values belong to another block, `out-of-domain`, `not-finite`.
    pub fn encode(&self, fitted: &Fitted) -> DataResult<Encoded> {
        let mut replayed = Replayed::default();
        let mut fields = vec![];
        for field in &self.fields {
            let stored = fitted.field(&field.name).ok_or_else(|| {
                DataError::new("wrong-fitted", format!("nothing was fitted for the field `{}`", field.name))
            })?;
            let field = replayed.current(self, field)?;
            replayed.note(self, &field, stored)?;
            if field.hidden {
                continue;
            }
            let values = match (&*field.values, field.unknown) {
                (Values::Ids(ids), Some(unknown)) if !stored.unseen.is_empty() => {
                    let known = |id: &u32| if stored.unseen.contains(id) { unknown } else { *id };
                    Arc::new(Values::Ids(ids.iter().map(known).collect()))
                }
                (Values::F64(_), _) if !field.tail.is_empty() || field.exact || field.computed.is_some() => {
                    Arc::new(encoded_values(&field, stored, &self.places, self.precision)?)
                }
                (Values::F32(_) | Values::F64(_) | Values::Truth(_) | Values::Ids(_) | Values::Letters(_), _) => {
                    Arc::clone(&field.values)
                }
            };
            fields.push(EncodedField::new(&field, values, self.rows()));
        }
        Ok(Encoded { rows: self.rows(), fields })
    }

    /// The field of that name. Errors: `absent-field`, `unknown-field` with the nearest name.
    pub(crate) fn field(&self, name: &str) -> DataResult<&Field> {
        if let Some(field) = self.fields.iter().find(|field| field.name == name) {
            return Ok(field);
        }
        if self.absent.iter().any(|absent| absent == name) {
            return Err(DataError::new("absent-field", format!("this file has no columns for the field `{name}`")));
        }
        let known: Vec<String> = self.fields.iter().map(|field| field.name.clone()).collect();
        let fault = DataError::new("unknown-field", format!("data `{}` has no field `{name}`", self.name));
        Err(match table::nearest(name, &known) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help(format!("its fields are {}", known.join(", "))),
        })
    }
}

/// What a trained model asks of another file.
struct Like<'a> {
    fitted: &'a Fitted,
    needed: Option<&'a [&'a str]>,
    /// Do `keep` and `distinct` choose rows?
    chooses: bool,
}

fn read(spec: &DataSpec, precision: Precision, like: Option<Like>) -> DataResult<Dataset> {
    match &spec.source {
        Source::Table(source) => read_table(spec, source, precision, like),
        Source::Synthetic { rows, seed } => {
            if *rows == 0 || *rows > u32::MAX as usize {
                return Err(DataError::new("bad-option", format!("`rows: {rows}` is not possible")));
            }
            let plans = plan_all(&spec.fields, true)?;
            let columns = Columns { names: vec![], named: false };
            let places = Places { source: None, columns, rows: (0..*rows as u32).collect(), joined: vec![] };
            let mut fields: Vec<Field> = vec![];
            for (site, plan) in plans.iter().enumerate() {
                let made = match &plan.from {
                    From::Formula(_) => computed(plan, *rows, &places, precision, &fields),
                    From::Column(_) | From::Columns { .. } | From::Draw { .. } => {
                        synthetic::draw(plan, *rows, *seed, site, precision)
                    }
                };
                fields.push(for_field(made, &plan.name, &plan.pos)?);
            }
            Ok(Dataset {
                name: spec.name.clone(),
                precision,
                rows_read: *rows,
                fields,
                places,
                absent: vec![],
                looked_up: vec![],
                group_columns: vec![],
            })
        }
    }
}

fn read_table(spec: &DataSpec, source: &TableSource, precision: Precision, like: Option<Like>) -> DataResult<Dataset> {
    let plans = plan_all(&spec.fields, false)?;
    let reader = table::open(source)?;
    let mut joins = Joins::new(&spec.tables, reader.columns.names.len());
    let needed = like.as_ref().and_then(|like| like.needed).map(|needed| with_what_they_read(needed, &plans));
    let (mut chosen, mut absent): (Vec<(FieldPlan, Vec<usize>)>, Vec<String>) = (vec![], vec![]);
    for plan in plans {
        let lacks = |name: &&str| absent.iter().any(|absent| absent == name);
        if plan.reads().iter().any(lacks) {
            absent.push(plan.name);
            continue;
        }
        match columns_of(&plan, &reader.columns, source, like.as_ref(), needed.as_deref(), &mut joins) {
            Ok(Some(columns)) => chosen.push((plan, columns)),
            Ok(None) => absent.push(plan.name),
            Err(fault) => return Err(fault.asked_by(&plan.name, &plan.pos)),
        }
    }
    let chooses = like.as_ref().is_none_or(|like| like.chooses);
    let tests = if chooses {
        let find = |column: &Column| reader.columns.find(column, source);
        let tests = spec.keep.iter().map(|condition| keep::resolve(condition, &find, &spec.fields));
        tests.collect::<DataResult<Vec<Test>>>()?
    } else {
        vec![]
    };
    let own = reader.columns.names.len();
    let mut wanted: Vec<usize> = chosen.iter().flat_map(|(_, columns)| columns.clone()).collect();
    tests.iter().for_each(|test| test.columns(&mut wanted));
    let group = match &spec.group {
        None => None,
        Some(group) => {
            let by = reader.columns.find(&group.by, source)?;
            Some((by, group.sorted.as_ref().map(|column| reader.columns.find(column, source)).transpose()?))
        }
    };
    wanted.extend(group.iter().flat_map(|(by, sorted)| std::iter::once(*by).chain(*sorted)));
    wanted.extend(joins.keys());
    wanted.retain(|at| *at < own);
    wanted.sort_unstable();
    wanted.dedup();
    let looked_up: Vec<usize> = joins.keys().collect();
    let belonging: Vec<usize> = match (&like, &spec.group) {
        (None, None) => (0..own).filter(|at| leaks::names_a_group(&reader.columns.names[*at])).take(8).collect(),
        (Some(_), _) | (_, Some(_)) => vec![],
    };
    wanted.extend(&belonging);
    wanted.sort_unstable();
    wanted.dedup();
    let mut table = reader.read(&wanted)?;
    let required = joins.read(&mut table)?;
    let rows = kept_rows(&table, &tests)?;
    let mut places =
        Places { source: Some(source.clone()), columns: table.columns.clone(), rows, joined: table.joined.clone() };
    for required in &required {
        required.holds(&table, &places)?;
    }
    // A row of the file has no axis over the rows of its group yet.
    let mut of_rows = like.as_ref().map(|like| like.fitted.clone());
    if let (Some(fitted), Some(_)) = (&mut of_rows, &spec.group) {
        for field in fitted.fields.iter_mut().filter(|field| !field.dims.is_empty()) {
            field.dims.remove(0);
        }
    }
    let schema = |plan: &FieldPlan| -> Schema { of_rows.as_ref().and_then(|fitted| fitted.field(&plan.name)) };
    let encode_all = |places: &Places, only: Option<&[&str]>| {
        let wanted = only.map(|names| with_what_they_read_of(names, chosen.iter().map(|(plan, _)| plan)));
        let mut fields: Vec<Field> = vec![];
        for (plan, columns) in &chosen {
            if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&plan.name)) {
                continue;
            }
            let rows = Rows { table: &table, places };
            let field = encode(plan, &rows, columns.clone(), schema(plan), precision, &fields);
            fields.push(for_field(field, &plan.name, &plan.pos)?);
        }
        Ok::<_, Box<DataError>>(fields)
    };
    if chooses && !spec.keep_where.is_empty() {
        let read: Vec<&str> = spec.keep_where.iter().flat_map(|formula| formula.fields()).collect();
        let waits = |plan: &FieldPlan| read.contains(&plan.name.as_str()) && (plan.waits || !plan.after.is_empty());
        if let Some((plan, _)) = chosen.iter().find(|(plan, _)| waits(plan)) {
            let text = format!("`keep` cannot look at `{}`, which is fitted on the rows that are kept", plan.name);
            return Err(DataError::new("wrong-step", text).help("compare the value before it is fitted"));
        }
        let fields = encode_all(&places, Some(&read))?;
        places.rows = keep::rows_where(&spec.keep_where, &fields, &places)?;
    }
    if !spec.distinct.is_empty() && chooses {
        for name in &spec.distinct {
            if !spec.fields.iter().any(|field| field.name == *name) {
                return Err(DataError::new("unknown-field", format!("`distinct` names `{name}`, which is no field")));
            }
        }
        let names: Vec<&str> = spec.distinct.iter().map(String::as_str).collect();
        let fields = encode_all(&places, Some(&names))?;
        let named = |field: &&Field| spec.distinct.contains(&field.name);
        let first = repeats::first_of_equals(&fields.iter().filter(named).collect::<Vec<_>>(), places.rows.len());
        let keep: Vec<u32> =
            places.rows.iter().enumerate().filter(|(row, _)| first[*row] == *row as u32).map(|(_, row)| *row).collect();
        places.rows = keep;
    }
    let mut fields = encode_all(&places, None)?;
    let group_columns = belonging.iter().filter_map(|at| {
        let rows = Rows { table: &table, places: &places };
        let cell = |row: usize| (!rows.is_missing(row, *at)).then(|| rows.cell(row, *at).to_string());
        Some((table.columns.names[*at].clone(), leaks::groups_of((0..rows.len()).map(cell))?))
    });
    let group_columns: Vec<(String, Vec<u32>)> = group_columns.collect();
    if let Some((by, sorted)) = group {
        let groups = group::groups(&Rows { table: &table, places: &places }, by, sorted)?;
        fields = fields.into_iter().map(|field| group::grouped(field, &groups)).collect::<DataResult<_>>()?;
        places.rows = groups.iter().filter_map(|group| Some(places.rows[*group.first()? as usize])).collect();
    }
    Ok(Dataset {
        name: spec.name.clone(),
        precision,
        rows_read: table.rows(),
        places,
        fields,
        absent,
        looked_up,
        group_columns,
    })
}

/// The fields of these names and all that they read, directly or not.
fn with_what_they_read(names: &[&str], plans: &[FieldPlan]) -> Vec<String> {
    with_what_they_read_of(names, plans.iter())
}

fn with_what_they_read_of<'p>(names: &[&str], plans: impl DoubleEndedIterator<Item = &'p FieldPlan>) -> Vec<String> {
    let mut wanted: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    // A field reads earlier ones only.
    for plan in plans.rev() {
        if wanted.contains(&plan.name) {
            wanted.extend(plan.reads().into_iter().map(String::from));
        }
    }
    wanted
}

/// The columns of a field; None if a trained model's file may lack them.
fn columns_of(
    plan: &FieldPlan,
    columns: &Columns,
    source: &TableSource,
    like: Option<&Like>,
    needed: Option<&[String]>,
    joins: &mut Joins,
) -> DataResult<Option<Vec<usize>>> {
    let Some(like) = like else {
        return Ok(Some(match &plan.from {
            From::Column(column) => vec![joins.find(column, columns, source)?],
            From::Columns { of: None, include, except } => columns.matching(include, except, source)?,
            From::Columns { of: Some(of), include, except } => joins.matching(of, include, except, columns, source)?,
            From::Draw { .. } | From::Formula(_) => vec![],
        }));
    };
    if needed.is_some_and(|needed| !needed.contains(&plan.name)) {
        return Ok(None);
    }
    let Some(fitted) = like.fitted.field(&plan.name) else { return Ok(None) };
    // The run's columns by name, whatever else the file has: `columns("*")` must not take in a new column.
    let mut find = |name: &String| match &plan.from {
        From::Column(column @ Column::Of(..)) => joins.find(column, columns, source),
        From::Columns { of: Some(of), .. } => joins.named(of, name, columns, source),
        From::Column(Column::Name(_) | Column::Number(_))
        | From::Columns { of: None, .. }
        | From::Draw { .. }
        | From::Formula(_) => {
            let by_number = name.parse().ok().filter(|_| !columns.named).map(Column::Number);
            columns.find(&by_number.unwrap_or(Column::Name(name.clone())), source)
        }
    };
    let found: DataResult<Vec<usize>> = match &plan.from {
        // It is made of fields, not of columns.
        From::Formula(_) | From::Draw { .. } => Ok(vec![]),
        From::Column(_) | From::Columns { .. } => fitted.columns.iter().map(&mut find).collect(),
    };
    match found {
        Ok(found) => Ok(Some(found)),
        Err(_) if like.needed.is_none() => Ok(None),
        Err(fault) => {
            let needs = format!("the model needs the field `{}`, but {}", plan.name, fault.message);
            let fault = DataError { code: "absent-field", message: needs, ..*fault };
            Err(Box::new(fault))
        }
    }
}

/// Rows for which all conditions hold. Errors: `no-rows-left`.
fn kept_rows(table: &Table, tests: &[Test]) -> DataResult<Vec<u32>> {
    let rows = u32::try_from(table.rows())
        .map_err(|_| DataError::new("unreadable-file", "the table has more than 4 billion rows"))?;
    if tests.is_empty() {
        return Ok((0..rows).collect());
    }
    let mut kept = vec![];
    for row in 0..rows {
        let mut holds = true;
        for test in tests {
            holds &= test.holds(table, row as usize)? == Some(true);
        }
        if holds {
            kept.push(row);
        }
    }
    if kept.is_empty() {
        let text = format!("none of the {rows} rows meets the `keep` conditions");
        return Err(DataError::new("no-rows-left", text)
            .in_file(&table.source.path)
            .help("compare with a value that the column has; `bdl data` shows the first rows"));
    }
    Ok(kept)
}

/// Bytes that are equal exactly if two rows of a field are equal.
pub(crate) fn append_bytes(field: &Field, row: usize, bytes: &mut Vec<u8>) {
    let range = field.layout.range(row);
    bytes.extend((range.len() as u64).to_le_bytes());
    match &*field.values {
        Values::F32(values) => values[range].iter().for_each(|x| bytes.extend((x + 0.0).to_le_bytes())),
        Values::F64(values) => values[range].iter().for_each(|x| bytes.extend((x + 0.0).to_le_bytes())),
        Values::Truth(values) | Values::Letters(values) => bytes.extend(&values[range]),
        Values::Ids(values) => values[range].iter().for_each(|x| bytes.extend(x.to_le_bytes())),
    }
}
