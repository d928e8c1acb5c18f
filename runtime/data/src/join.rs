//! Rows of other tables, looked up by key: `alleles[allele].column("sequence")`.
//!
//! A looked-up column stands behind the columns of the file, as if each row of the file had one more cell:
//!
//! ```text
//! binding.csv              alleles.csv                     what an encoder sees
//! peptide,allele           name,sequence                   peptide, allele, alleles.sequence
//! LLFGYPVYV,A2             A2,GSHSMRYFF                    LLFGYPVYV, A2, GSHSMRYFF
//! ILKEPVHGV,A2             B7,GSHSMRYFY                    ILKEPVHGV, A2, GSHSMRYFF
//! ```
//!
//! The key may itself be looked up in a third table. A key that is not there is an error with its row, unless the program says
//! `alleles[allele else missing]`; then the cell is missing.

use crate::error::{DataError, DataResult};
use crate::field::Places;
use crate::spec::{Column, Lookup, SideTable, TableSource};
use crate::table::{self, Columns, Table, TableReader, nearest};
use std::collections::HashMap;
use std::sync::Arc;

/// The row of a key that is not there.
pub(crate) const NO_ROW: u32 = u32::MAX;

/// A column of another table, one cell for each row of the file.
#[derive(Debug)]
pub(crate) struct JoinedColumn {
    pub table: Arc<Table>,
    pub column: usize,
    /// For each row of the file its row there, or [`NO_ROW`].
    pub rows: Arc<Vec<u32>>,
}

impl JoinedColumn {
    pub fn cell(&self, row: usize) -> &str {
        match self.rows[row] {
            NO_ROW => "",
            at => self.table.cell(at as usize, self.column),
        }
    }

    pub fn is_missing(&self, row: usize) -> bool {
        match self.rows[row] {
            NO_ROW => true,
            at => self.table.is_missing(at as usize, self.column),
        }
    }
}

/// The looked-up columns that a block asks for, while its files are opened.
pub(crate) struct Joins<'s> {
    tables: &'s [SideTable],
    readers: Vec<Option<TableReader>>,
    /// In the order of their positions behind those of the file.
    asked: Vec<Asked>,
    /// The number of columns of the file itself.
    own: usize,
}

struct Asked {
    table: usize,
    /// Position of the key's column, in the file or looked up itself.
    key: usize,
    /// Position in the other table.
    column: usize,
    optional: bool,
    name: String,
}

impl<'s> Joins<'s> {
    pub fn new(tables: &'s [SideTable], own: usize) -> Self {
        Joins { tables, readers: tables.iter().map(|_| None).collect(), asked: vec![], own }
    }

    /// The position of a column, of the file or looked up. Errors: `missing-column`.
    pub fn find(&mut self, column: &Column, columns: &Columns, source: &TableSource) -> DataResult<usize> {
        match column {
            Column::Name(_) | Column::Number(_) => columns.find(column, source),
            Column::Of(lookup, wanted) => {
                let (table, key) = self.lookup(lookup, columns, source)?;
                let side = &self.tables[table];
                let at = self.reader(table)?.columns.find(wanted, &side.source)?;
                Ok(self.ask(table, key, at, lookup.optional))
            }
        }
    }

    /// The positions of `table[key].columns(..)`. Errors: `missing-column`.
    pub fn matching(
        &mut self,
        lookup: &Lookup,
        include: &[String],
        except: &[String],
        columns: &Columns,
        source: &TableSource,
    ) -> DataResult<Vec<usize>> {
        let (table, key) = self.lookup(lookup, columns, source)?;
        let side = &self.tables[table];
        let own_key = self.reader(table)?.columns.find(&side.key, &side.source)?;
        let found = self.reader(table)?.columns.matching(include, except, &side.source)?;
        // `columns("*")` means what is known about the key, not the key.
        let found = found.into_iter().filter(|at| *at != own_key);
        Ok(found.map(|at| self.ask(table, key, at, lookup.optional)).collect())
    }

    /// The position of a looked-up column by the name that it has in messages and in a run: `alleles.sequence`.
    pub fn named(&mut self, lookup: &Lookup, name: &str, columns: &Columns, source: &TableSource) -> DataResult<usize> {
        let wanted = name.strip_prefix(&format!("{}.", lookup.table)).unwrap_or(name);
        self.find(&Column::Of(Box::new(lookup.clone()), Box::new(Column::name(wanted))), columns, source)
    }

    fn lookup(&mut self, lookup: &Lookup, columns: &Columns, source: &TableSource) -> DataResult<(usize, usize)> {
        let Some(table) = self.tables.iter().position(|table| table.name == lookup.table) else {
            return Err(DataError::new("missing-column", format!("there is no table `{}`", lookup.table)));
        };
        Ok((table, self.find(&lookup.key, columns, source)?))
    }

    fn reader(&mut self, table: usize) -> DataResult<&TableReader> {
        let slot = &mut self.readers[table];
        if slot.is_none() {
            *slot = Some(table::open(&self.tables[table].source)?);
        }
        slot.as_ref().ok_or_else(|| DataError::new("missing-column", "a table that was not opened"))
    }

    fn ask(&mut self, table: usize, key: usize, column: usize, optional: bool) -> usize {
        let same =
            |asked: &Asked| (asked.table, asked.key, asked.column, asked.optional) == (table, key, column, optional);
        let at = self.asked.iter().position(same).unwrap_or_else(|| {
            let names = self.readers[table].as_ref().map(|reader| reader.columns.names[column].clone());
            let name = format!("{}.{}", self.tables[table].name, names.unwrap_or_default());
            self.asked.push(Asked { table, key, column, optional, name });
            self.asked.len() - 1
        });
        self.own + at
    }

    /// The columns of the file itself that keys are read from.
    pub fn keys(&self) -> impl Iterator<Item = usize> {
        self.asked.iter().map(|asked| asked.key).filter(|key| *key < self.own)
    }

    /// Reads the other tables and puts their columns behind those of the file.
    ///
    /// Errors: those of reading a table, `duplicate-key`.
    pub fn read(self, table: &mut Table) -> DataResult<Vec<Required>> {
        let mut sides: Vec<Option<(Arc<Table>, HashMap<String, u32>)>> = vec![];
        for (at, (side, reader)) in self.tables.iter().zip(self.readers).enumerate() {
            let Some(reader) = reader else {
                sides.push(None);
                continue;
            };
            let key = reader.columns.find(&side.key, &side.source)?;
            let of_this = self.asked.iter().filter(|asked| asked.table == at).map(|asked| asked.column);
            let mut wanted: Vec<usize> = of_this.chain([key]).collect();
            wanted.sort_unstable();
            wanted.dedup();
            let read = reader.read(&wanted)?;
            let rows = row_of_key(&read, side, key)?;
            sides.push(Some((Arc::new(read), rows)));
        }
        let mut of_key: HashMap<(usize, usize), Arc<Vec<u32>>> = HashMap::new();
        let mut required = vec![];
        for asked in self.asked {
            let Some((side, row_of_key)) = &sides[asked.table] else { continue };
            let rows = match of_key.get(&(asked.table, asked.key)) {
                Some(rows) => rows.clone(),
                None => {
                    let find = |row: usize| {
                        let key = table.cell(row, asked.key);
                        let found = row_of_key.get(key).copied();
                        if table.is_missing(row, asked.key) { NO_ROW } else { found.unwrap_or(NO_ROW) }
                    };
                    let rows = Arc::new((0..table.rows()).map(find).collect::<Vec<u32>>());
                    of_key.insert((asked.table, asked.key), rows.clone());
                    rows
                }
            };
            if !asked.optional {
                let mut keys: Vec<String> = row_of_key.keys().cloned().collect();
                keys.sort_unstable();
                let name = self.tables[asked.table].name.clone();
                required.push(Required { table: name, keys, key: asked.key, rows: rows.clone() });
            }
            table.columns.names.push(asked.name);
            table.joined.push(Arc::new(JoinedColumn { table: side.clone(), column: asked.column, rows }));
        }
        Ok(required)
    }
}

/// A look-up that every row has to find.
pub(crate) struct Required {
    table: String,
    keys: Vec<String>,
    key: usize,
    rows: Arc<Vec<u32>>,
}

impl Required {
    /// Errors: `missing-key` for the first row that is used and whose key is not there, `missing-value` if it has none.
    pub fn holds(&self, table: &Table, places: &Places) -> DataResult<()> {
        let Some(row) = places.rows.iter().position(|row| self.rows[*row as usize] == NO_ROW) else { return Ok(()) };
        let at = places.rows[row] as usize;
        let key = table.cell(at, self.key);
        let lost = places.rows.iter().filter(|row| self.rows[**row as usize] == NO_ROW).count();
        let more = if lost > 1 {
            format!(" ({} rows have no partner there)", crate::summary::thousands(lost))
        } else {
            String::new()
        };
        let fault = if table.is_missing(at, self.key) {
            DataError::new("missing-value", format!("a row without a key for `{}`{more}", self.table))
        } else {
            DataError::new("missing-key", format!("`{}` has no row `{key}`{more}", self.table))
        };
        let way = format!("`{}[.. else missing]` makes it missing; or leave such rows out with `keep`", self.table);
        let fault = match nearest(key, &self.keys) {
            Some(near) => fault.help(format!("did you mean `{near}`? {way}")),
            None => fault.help(way),
        };
        Err(places.fault(fault, row, Some(self.key), None))
    }
}

fn row_of_key(table: &Table, side: &SideTable, key: usize) -> DataResult<HashMap<String, u32>> {
    let mut rows = HashMap::with_capacity(table.rows());
    for row in 0..table.rows() {
        if table.is_missing(row, key) {
            continue;
        }
        let text = table.cell(row, key);
        if let Some(first) = rows.insert(text.to_string(), row as u32) {
            let first = table.record_of(first as usize) + 1;
            let text = format!("two rows of `{}` have the key `{text}`, the first in record {first}", side.name);
            let fault = DataError::new("duplicate-key", text)
                .help("each key stands in one row; `key:` of the table says which column it is");
            return Err(table.fault_at(fault, row, key, 0, None));
        }
    }
    Ok(rows)
}
