//! The entries of `data`, `train` and `tune` as text.

use super::Printer;
use super::align::{Cell, Row};
use super::doc::{Doc, docs};
use super::expressions::{ADD, ANY, POST, quoted};
use crate::ast::*;

impl Printer<'_> {
    pub fn data(&mut self, data: &Data, end: u32) -> Doc {
        let source = self.expr(&data.source, ANY);
        let mut header = vec![docs!["data ", &data.name.text, " = ", source]];
        let mut from = data.source.span.end;
        if let Some(group) = &data.group {
            from = group.span.end;
            header.push(docs![" rows per ", self.expr(&group.per, ANY)]);
            if let Some(by) = &group.sorted_by {
                header.push(docs![" sorted by ", self.expr(by, ANY)]);
            }
        }
        let entries = self.braces((from, end), &data.entries, |entry| entry.span, Printer::data_entry);
        docs![header, " ", entries]
    }

    fn data_entry(&mut self, entry: &DataEntry) -> Row {
        match &entry.kind {
            DataEntryKind::Field(field) => self.data_field(field),
            DataEntryKind::Let(item) => self.definition(item),
            DataEntryKind::Keep(value) => Row::of(docs!["keep ", self.expr(value, ANY)]),
            DataEntryKind::Distinct(values) => Row::of(docs!["distinct ", self.values(values)]),
            DataEntryKind::Rows(value) => Row::of(docs!["rows ", self.expr(value, ANY)]),
            DataEntryKind::Weights(value) => Row::of(docs!["weights ", self.expr(value, ANY)]),
            DataEntryKind::Augment(fields) => self.augment(fields, entry.span.start, entry.span.end),
            DataEntryKind::Word { word, values } if values.is_empty() => Row::of(Doc::text(&word.text)),
            DataEntryKind::Word { word, values } => Row::of(docs![&word.text, " ", self.values(values)]),
            DataEntryKind::Error => Row::of(Doc::text(self.source(entry.span))),
        }
    }

    fn data_field(&mut self, field: &DataField) -> Row {
        match &field.ty {
            Some(ty) => self.typed(format!("{}:", field.name), ty, &field.value),
            None => self.defined(field.name.text.clone(), field.name.span.end, &field.value),
        }
    }

    fn augment(&mut self, fields: &[DataField], from: u32, to: u32) -> Row {
        let fields = self.braces((from, to), fields, |field| field.span, Printer::data_field);
        Row::of(docs!["augment ", fields])
    }

    /// Values after a word; a line may break after a comma.
    fn values(&mut self, values: &[Expr]) -> Doc {
        let all = values.iter().enumerate().map(|(at, value)| self.value_of_list(value, at == 0)).collect();
        Doc::Concat(all).indent()
    }

    /// A value of a list, behind its comma; as many to a line as fit.
    fn value_of_list(&mut self, value: &Expr, first: bool) -> Doc {
        if first {
            return self.expr(value, ANY);
        }
        let comments = self.comments_before(value.span.start);
        docs![",", comments, docs![Doc::Line, self.expr(value, ANY)].group()]
    }

    /// `report a, b by c, d`
    fn reported(&mut self, all: &[Reported]) -> Doc {
        let mut shown = Vec::new();
        for Reported { values, by } in all {
            for value in values {
                let first = shown.is_empty();
                shown.push(self.value_of_list(value, first));
            }
            if let Some(by) = by {
                shown.push(docs![" by ", self.expr(by, ANY)]);
            }
        }
        Doc::Concat(shown).indent()
    }

    pub fn train(&mut self, train: &Train, end: u32) -> Doc {
        let hyper = if train.hyper.is_empty() { Doc::nil() } else { self.params(&train.hyper) };
        let from = train.hyper.last().map_or(train.name.span.end, |param| param.span.end);
        docs!["train ", &train.name.text, hyper, " ", self.train_entries((from, end), &train.entries)]
    }

    fn train_entries(&mut self, span: (u32, u32), entries: &[TrainEntry]) -> Doc {
        self.braces(span, entries, |entry| entry.span, Printer::train_entry)
    }

    fn train_entry(&mut self, entry: &TrainEntry) -> Row {
        let one = |printer: &mut Self, word: &str, value: &Expr| Row::of(printer.expr(value, ANY)).word(word);
        match &entry.kind {
            TrainEntryKind::Model { name, value, from } => {
                let mut row = self.defined(name.text.clone(), name.span.end, value);
                if let Some(from) = from {
                    row.rest = docs![row.rest, self.transfer(from)];
                    row.braces = !from.map.is_empty();
                }
                row.word("model")
            }
            TrainEntryKind::Data(name) => Row::of(Doc::text(&name.text)).word("data"),
            TrainEntryKind::Let(item) => self.definition(item),
            TrainEntryKind::Split(value) => one(self, "split", value),
            TrainEntryKind::Loss { value, per } => {
                let mut loss = vec![self.expr(value, ANY)];
                if let Some(per) = per {
                    loss.push(docs![" per ", self.expr(per, ANY)]);
                }
                let braces = matches!(value.kind, ExprKind::Block(_));
                Row { braces, ..Row::of(Doc::Concat(loss)).word("loss") }
            }
            TrainEntryKind::Penalty(value) => one(self, "penalty", value),
            TrainEntryKind::Optimizer { value, over } => {
                let value = self.expr(value, ANY);
                Row::of(docs![value, self.over(over)]).word("optimizer")
            }
            TrainEntryKind::Epochs(value) => one(self, "epochs", value),
            TrainEntryKind::Batch { size, parts } => {
                let mut batch = vec![self.expr(size, ANY)];
                if let Some(parts) = parts {
                    batch.push(docs![" in ", self.expr(parts, ADD), " parts"]);
                }
                Row::of(Doc::Concat(batch)).word("batch")
            }
            TrainEntryKind::Average(value) => one(self, "average", value),
            TrainEntryKind::Stop { when, stalls } => {
                let mut stop = vec![docs!["when ", self.expr(when, ANY)]];
                if let Some(stall) = stalls {
                    stop.push(docs![" stalls for ", self.expr(&stall.count, ADD), " ", &stall.unit.text]);
                }
                Row::of(Doc::Concat(stop)).word("stop")
            }
            TrainEntryKind::Keep { word, value } => Row::of(docs![&word.text, " ", self.expr(value, ANY)]).word("keep"),
            TrainEntryKind::Clip { word, value } => Row::of(docs![&word.text, " ", self.expr(value, ANY)]).word("clip"),
            TrainEntryKind::Predict { name, value, units_of } => {
                let mut row = self.defined(name.text.clone(), name.span.end, value);
                if let Some(units_of) = units_of {
                    row.rest = docs![row.rest, " as ", self.expr(units_of, ANY)];
                }
                row.word("predict")
            }
            TrainEntryKind::Report(all) => Row::of(self.reported(all)).word("report"),
            TrainEntryKind::Fit { name, value, on } => {
                let mut row = self.defined(name.text.clone(), name.span.end, value);
                if let Some(on) = on {
                    row.rest = docs![row.rest, " on ", &on.text];
                }
                row.word("fit")
            }
            TrainEntryKind::Frozen { values, until } => {
                let mut frozen = vec![self.values(values)];
                if let Some(until) = until {
                    frozen.push(docs![" until ", &until.unit.text, " ", self.expr(&until.count, ADD)]);
                }
                Row::of(Doc::Concat(frozen)).word("frozen")
            }
            TrainEntryKind::Step { name, over, every, entries } => {
                let mut header = vec![docs!["step ", &name.text, self.over(over)]];
                let mut from = over.last().map_or(name.span.end, |part| part.span.end);
                if let Some(every) = every {
                    from = every.span.end;
                    header.push(docs![" every ", self.expr(every, ADD)]);
                }
                Row::of(docs![header, " ", self.train_entries((from, entry.span.end), entries)])
            }
            TrainEntryKind::Rows(value) => one(self, "rows", value),
            TrainEntryKind::Weights(value) => one(self, "weights", value),
            TrainEntryKind::Augment(fields) => self.augment(fields, entry.span.start, entry.span.end),
            TrainEntryKind::Word { word, values } => Row::of(self.values_or_none(values)).word(&word.text),
            TrainEntryKind::Error => Row::of(Doc::text(self.source(entry.span))),
        }
    }

    fn values_or_none(&mut self, values: &[Expr]) -> Doc {
        if values.is_empty() { Doc::nil() } else { self.values(values) }
    }

    fn over(&mut self, over: &[Expr]) -> Doc {
        if over.is_empty() {
            return Doc::nil();
        }
        let over: Vec<String> = over.iter().map(|part| self.unbroken(part, POST)).collect();
        docs![" over ", over.join(", ")]
    }

    fn transfer(&mut self, from: &Transfer) -> Doc {
        let header = docs![" from ", quoted(&from.file.text)];
        if from.map.is_empty() {
            return header;
        }
        let span = (from.file.span.end, from.span.end);
        let map = self.braces(
            span,
            &from.map,
            |renaming| renaming.span,
            |printer, renaming| {
                let path: Vec<&str> = renaming.path.iter().map(|name| name.text.as_str()).collect();
                let all = if renaming.all { ".*" } else { "" };
                let text = format!("{}{all}{}", path.join("."), bracketed(&renaming.indices));
                let end = renaming.path.last().map_or(renaming.span.start, |name| name.span.end);
                let next = printer.equals_between(end, renaming.stored.span.start);
                let stored = format!("= {}{}", quoted(&renaming.stored.text), bracketed(&renaming.stored_indices));
                Row::cells(vec![Cell { text, next }], Doc::text(stored))
            },
        );
        docs![header, " ", map]
    }

    pub fn tune_entries(&mut self, span: (u32, u32), entries: &[TuneEntry]) -> Doc {
        self.braces(
            span,
            entries,
            |entry| entry.span,
            |printer, entry| match &entry.kind {
                TuneEntryKind::Search(axes) => {
                    let mut all = Vec::new();
                    for (at, axis) in axes.iter().enumerate() {
                        if at > 0 {
                            all.extend([Doc::text(","), printer.comments_before(axis.span.start), Doc::Line]);
                        }
                        let path: Vec<&str> = axis.path.iter().map(|name| name.text.as_str()).collect();
                        let range = match &axis.range {
                            SearchRange::Among(values) => printer.expr(values, ANY),
                            SearchRange::Between { from, to } => {
                                docs![printer.expr(from, ADD), " .. ", printer.expr(to, ADD)]
                            }
                        };
                        all.push(docs![path.join("."), " in ", range]);
                    }
                    Row::of(Doc::Concat(all).indent().group()).word("search")
                }
                TuneEntryKind::Method(value) => Row::of(printer.expr(value, ANY)).word("method"),
                TuneEntryKind::Score { value, with, inside } => {
                    let mut score = vec![printer.expr(value, ANY)];
                    if let Some(with) = with {
                        score.push(docs![" with ", printer.expr(with, ANY)]);
                    }
                    score.extend(inside.as_ref().map(|inside| docs![" inside ", &inside.text]));
                    Row::of(Doc::Concat(score)).word("score")
                }
                TuneEntryKind::Word { word, values } => Row::of(printer.values_or_none(values)).word(&word.text),
                TuneEntryKind::Error => Row::of(Doc::text(printer.source(entry.span))),
            },
        )
    }
}

fn bracketed(names: &[Name]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.text.as_str()).collect();
    if names.is_empty() { String::new() } else { format!("[{}]", names.join(", ")) }
}
