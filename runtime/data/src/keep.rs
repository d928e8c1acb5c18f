//! `keep CONDITION`: which rows of a table are used.
//!
//! Comparing with a missing cell is neither true nor false (Kleene's three values, as in SQL), so `keep not (age > 90)`
//! leaves out a row without an age just as `keep age > 90` does. A row is kept only where the condition is true.

use crate::error::{DataError, DataResult};
use crate::field::{Field, Places};
use crate::formula::{self, Formula, Read};
use crate::numbers;
use crate::spec::{Column, Comparison, Condition, Constant, FieldSpec, Operand, Origin, Step};
use crate::table::Table;
use std::cmp::Ordering;

/// A condition whose columns are positions in the file.
pub(crate) enum Test {
    Compare { column: usize, comparison: Comparison, right: Constant },
    Known(usize),
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
}

/// Finds the columns of a condition. Errors: `missing-column`, `unknown-field`, `wrong-step`.
pub(crate) fn resolve(
    condition: &Condition,
    find: &dyn Fn(&Column) -> DataResult<usize>,
    fields: &[FieldSpec],
) -> DataResult<Test> {
    let all =
        |parts: &[Condition]| parts.iter().map(|part| resolve(part, find, fields)).collect::<DataResult<Vec<_>>>();
    Ok(match condition {
        Condition::Compare { left, comparison, right } => {
            if matches!((right, comparison), (Constant::Text(_), Comparison::Less | Comparison::LessEqual))
                || matches!((right, comparison), (Constant::Text(_), Comparison::Greater | Comparison::GreaterEqual))
            {
                return Err(DataError::new("wrong-step", "texts are compared with `==` and `!=` only"));
            }
            Test::Compare { column: operand(left, find, fields)?, comparison: *comparison, right: right.clone() }
        }
        Condition::Known(left) => Test::Known(operand(left, find, fields)?),
        Condition::And(parts) => Test::And(all(parts)?),
        Condition::Or(parts) => Test::Or(all(parts)?),
        Condition::Not(part) => Test::Not(Box::new(resolve(part, find, fields)?)),
    })
}

fn operand(operand: &Operand, find: &dyn Fn(&Column) -> DataResult<usize>, fields: &[FieldSpec]) -> DataResult<usize> {
    let name = match operand {
        Operand::Column(column) => return find(column),
        Operand::Field(name) => name,
    };
    let Some(field) = fields.iter().find(|field| field.name == *name) else {
        return Err(DataError::new("unknown-field", format!("`keep` names `{name}`, which is no field"))
            .help(format!("a column is written `column(\"{name}\")`")));
    };
    let plain = field.steps.iter().all(|step| {
        matches!(
            step,
            Step::Number
                | Step::Counts
                | Step::Truth { .. }
                | Step::Category { .. }
                | Step::Text
                | Step::Letters(_)
                | Step::OneHotText(_)
        )
    });
    match &field.origin {
        Origin::Column(column) if plain => find(column),
        Origin::Field(earlier) if plain => self::operand(&Operand::Field(earlier.clone()), find, fields),
        Origin::Column(_) | Origin::Columns { .. } | Origin::Field(_) | Origin::Formula(_) | Origin::Draw { .. } => {
            Err(DataError::new(
                "wrong-step",
                format!("`keep` cannot compare `{name}`, which is more than the text of one column"),
            )
            .help("compare the column itself: `keep column(\"...\") > 0`"))
        }
    }
}

/// The rows for which all formulas over these fields are true, as rows of the file. Errors: `wrong-step`, `no-rows-left`.
pub(crate) fn rows_where(formulas: &[Formula], fields: &[Field], places: &Places) -> DataResult<Vec<u32>> {
    let find = |name: &str| match fields.iter().find(|field| field.name == name) {
        Some(field) => Ok(Read { field, fitted: None }),
        None => Err(DataError::new("unknown-field", format!("`keep` names `{name}`, which is no field"))),
    };
    let asked = |fault: Box<DataError>| fault.asked_by("keep", "");
    let mut kept = vec![true; places.rows.len()];
    for formula in formulas {
        let made = formula::compute(formula, places.rows.len(), &find).map_err(asked)?;
        if !made.dims.is_empty() {
            let fault = DataError::new("wrong-step", "`keep` takes one truth value a row, and this is several");
            return Err(asked(fault));
        }
        formula::require_defined("keep", formula, &made, places, &find).map_err(asked)?;
        kept.iter_mut().zip(&made.values).for_each(|(kept, holds)| *kept &= *holds == 1.0);
    }
    let rows: Vec<u32> = places.rows.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(row, _)| *row).collect();
    if rows.is_empty() {
        let text = format!("none of the {} rows meets the `keep` conditions", kept.len());
        return Err(DataError::new("no-rows-left", text)
            .help("compare with a value that the field has; `bdl data` shows the first rows"));
    }
    Ok(rows)
}

impl Test {
    /// The columns read.
    pub fn columns(&self, into: &mut Vec<usize>) {
        match self {
            Test::Compare { column, .. } | Test::Known(column) => into.push(*column),
            Test::And(parts) | Test::Or(parts) => parts.iter().for_each(|part| part.columns(into)),
            Test::Not(part) => part.columns(into),
        }
    }

    /// True, false, or None for unknown. Errors: `text-in-number` where a number is compared with text.
    pub fn holds(&self, table: &Table, row: usize) -> DataResult<Option<bool>> {
        Ok(match self {
            Test::Known(column) => Some(!table.is_missing(row, *column)),
            Test::Compare { column, comparison, right } => {
                let cell = table.cell(row, *column);
                if table.is_missing(row, *column) {
                    return Ok(None);
                }
                let order = match right {
                    Constant::Text(text) => Some(cell.cmp(text.as_str())),
                    Constant::Number(number) => {
                        let decimal = table.decimal(*column);
                        let value = numbers::parse(cell, decimal).map_err(|kind| {
                            table
                                .fault_at(numbers::fault(cell, decimal, kind), row, *column, 0, None)
                                .asked_by("keep", "")
                        })?;
                        value.partial_cmp(number)
                    }
                };
                order.map(|order| fits(order, *comparison))
            }
            Test::Not(part) => part.holds(table, row)?.map(|holds| !holds),
            Test::And(parts) => {
                let mut result = Some(true);
                for part in parts {
                    match part.holds(table, row)? {
                        Some(false) => return Ok(Some(false)),
                        Some(true) => {}
                        None => result = None,
                    }
                }
                result
            }
            Test::Or(parts) => {
                let mut result = Some(false);
                for part in parts {
                    match part.holds(table, row)? {
                        Some(true) => return Ok(Some(true)),
                        Some(false) => {}
                        None => result = None,
                    }
                }
                result
            }
        })
    }
}

fn fits(order: Ordering, comparison: Comparison) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterEqual => order.is_ge(),
    }
}
