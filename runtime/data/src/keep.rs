//! `keep CONDITION`: which rows of a table are used.
//!
//! Comparing with a missing cell is neither true nor false (Kleene's three values, as in SQL), so `keep not (age > 90)`
//! leaves out a row without an age just as `keep age > 90` does. A row is kept only where the condition is true.

use crate::error::{DataError, DataResult};
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
        Origin::Column(_) | Origin::Columns { .. } | Origin::Field(_) | Origin::Draw { .. } => Err(DataError::new(
            "wrong-step",
            format!("`keep` cannot compare `{name}`, which is more than the text of one column"),
        )
        .help("compare the column itself: `keep column(\"...\") > 0`")),
    }
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
            Test::Known(column) => Some(!table.is_missing(table.cell(row, *column))),
            Test::Compare { column, comparison, right } => {
                let cell = table.cell(row, *column);
                if table.is_missing(cell) {
                    return Ok(None);
                }
                let order = match right {
                    Constant::Text(text) => Some(cell.cmp(text.as_str())),
                    Constant::Number(number) => {
                        let decimal = table.source.decimal;
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
