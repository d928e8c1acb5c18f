//! Rows of other tables: `alleles[allele].column("sequence")`, `rna[cell else missing].columns("*")`.

use super::{Lower, call, only, source};
use bdl_data::{Column, Lookup, Origin, Step};
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::{Arg, Expr, ExprKind, ItemKind, Name, Sub, SubKind};

/// `table[key].column(..)`, `.columns(..)` or `.name`.
pub(super) struct Written<'e> {
    table: &'e Name,
    subs: &'e [Sub],
    pub what: What<'e>,
}

pub(super) enum What<'e> {
    /// `.column("x")`.
    Column(&'e [Arg]),
    /// `.columns("x*")`.
    Columns,
    /// `.sequence`.
    Named(&'e Name),
    /// `.window(..)`, or nothing.
    Other,
}

/// Is it a value of another table's row?
pub(super) fn written(value: &Expr) -> Option<Written<'_>> {
    let (base, what) = if let ExprKind::Call { callee, .. } = &value.kind {
        let ExprKind::Field { base, field } = &callee.kind else { return None };
        (&**base, of_call(&field.text, value))
    } else if let ExprKind::Field { base, field } = &value.kind {
        (&**base, What::Named(field))
    } else {
        (value, What::Other)
    };
    let ExprKind::Subscript { base, subs } = &base.kind else { return None };
    let ExprKind::Name(table) = &base.kind else { return None };
    Some(Written { table, subs, what })
}

fn of_call<'e>(word: &str, value: &'e Expr) -> What<'e> {
    match (&value.kind, word) {
        (ExprKind::Call { args, .. }, "column") => What::Column(args),
        (ExprKind::Call { .. }, "columns") => What::Columns,
        (_, _) => What::Other,
    }
}

impl Lower<'_> {
    /// Is there a table of that name, in the block or in the file? One of the file becomes one of the block where it is first used.
    pub(super) fn is_table(&mut self, name: &str) -> bool {
        if self.tables.iter().any(|table| table.name == name) || self.broken_tables.iter().any(|broken| broken == name)
        {
            return true;
        }
        let items = self.items;
        let found = items.iter().find_map(|item| {
            let ItemKind::Let(binding) = &item.kind else { return None };
            (binding.name.text == name).then_some(&binding.value)
        });
        match found.and_then(|value| Some((value, call(value)?))) {
            Some((value, (word, args))) if source::is_source(word) => {
                self.side_table(name, value, word, args);
                if self.tables.iter().all(|table| table.name != name) {
                    self.broken_tables.push(name.to_string());
                }
                true
            }
            Some(_) | None => false,
        }
    }

    /// The column of another table. `None` after a message.
    pub(super) fn looked_up(&mut self, written: &Written) -> Option<Column> {
        if self.is_table(&written.table.text) && self.broken_tables.contains(&written.table.text) {
            return None;
        }
        let wanted = match &written.what {
            What::Column(args) => match only(args) {
                Some(column) => self.column(column)?,
                None => {
                    self.say(
                        written.table.span,
                        "data-expression",
                        "`column` takes a name or a number: `column(\"x\")`",
                    );
                    return None;
                }
            },
            What::Named(name) => Column::name(&name.text),
            What::Columns => {
                self.say(written.table.span, "data-expression", "one column is expected here: `.column(\"x\")`");
                return None;
            }
            What::Other => {
                let table = &written.table.text;
                self.diagnostics.push(
                    Diagnostic::error("data-expression", format!("this is a whole row of `{table}`"))
                        .primary(written.table.span, "which of its columns?")
                        .help(format!(
                            "write `{table}[..].column(\"sequence\")`, or `.columns(\"*\")` for all of them"
                        )),
                );
                return None;
            }
        };
        let lookup = self.lookup(written)?;
        Some(Column::Of(Box::new(lookup), Box::new(wanted)))
    }

    /// Which row.
    pub(super) fn lookup(&mut self, written: &Written) -> Option<Lookup> {
        let table = &written.table.text;
        if !self.is_table(table) {
            let known: Vec<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
            let help = match known.is_empty() {
                true => format!("name the file first: `let {table} = csv(\"{table}.csv\", key: \"name\")`"),
                false => format!("tables are {}", known.join(", ")),
            };
            self.diagnostics.push(
                Diagnostic::error("unknown-name", format!("there is no table `{table}`"))
                    .primary(written.table.span, "not a table")
                    .help(help),
            );
            return None;
        }
        let (key, optional) = match written.subs {
            [Sub { kind: SubKind::Expr(key), .. }] => (key, false),
            [Sub { kind: SubKind::Else { index, default }, .. }] => match &default.kind {
                ExprKind::Name(word) if word.text == "missing" => (index, true),
                _ => {
                    self.say(
                        default.span,
                        "data-expression",
                        "a row that is not there is `missing`: `table[key else missing]`",
                    );
                    return None;
                }
            },
            _ => {
                self.say(written.table.span, "data-expression", "a row is looked up by one key: `table[key]`");
                return None;
            }
        };
        if self.broken_tables.contains(table) {
            return None;
        }
        Some(Lookup { table: table.clone(), key: self.key(key)?, optional })
    }

    /// `column("allele")`, a field that is the text of a column, or a column that is looked up itself.
    fn key(&mut self, key: &Expr) -> Option<Column> {
        if let Some(column) = self.column_expr(key) {
            return column;
        }
        if let ExprKind::Name(name) = &key.kind {
            let Some(field) = self.made.iter().find(|field| field.name == name.text) else {
                self.unknown_field(key.span);
                return None;
            };
            let text = |step: &Step| matches!(step, Step::Text | Step::Category { .. });
            if let (Origin::Column(column), true) = (&field.origin, field.steps.iter().all(text)) {
                return Some(column.clone());
            }
        }
        self.say(
            key.span,
            "data-expression",
            "a key is a text: `column(\"x\")`, or a field that is `text(..)` or `category(..)` of one",
        );
        None
    }
}
