//! A `data` block of the syntax tree as the plain [`DataSpec`] that the reader takes.
//!
//! `site = category(column("class"))` becomes origin `class` and the step `Category`; `|>` adds steps from left to right.
//! Everything that the language page lists but the reader does not know yet is said to be so (`not-built-yet`).

use bdl_data::{
    Alphabet, Arith, Column, Comparison, Condition, Constant, DataSpec, Draw, FieldSpec, Impute, Missing, Operand,
    Origin, Resample, RowGroup, Separator, Source, Step, TableSource,
};
use bdl_grammar::ast::{Arg, ArgKind, BinaryOp, Data, DataEntryKind, Expr, ExprKind, Item, ItemKind, SubKind, UnaryOp};
use bdl_grammar::{Diagnostic, SourceMap, Span};
use std::path::Path;

/// A block's spec, as far as it makes sense, and what is wrong with it. `folder` is where relative paths begin.
/// `path` replaces the file the block names (`--data NAME=PATH`).
pub fn lower(
    data: &Data,
    sources: &SourceMap,
    folder: &Path,
    path: Option<&Path>,
    items: &[Item],
) -> (Option<DataSpec>, Vec<Diagnostic>) {
    let mut lower = Lower { sources, folder, items, diagnostics: Vec::new(), fields: Vec::new() };
    let source = lower.source(&data.source, path);
    let group = data.group.as_ref().and_then(|group| {
        let by = lower.column_named(&group.per)?;
        let sorted = match &group.sorted_by {
            Some(sorted) => Some(lower.column_named(sorted)?),
            None => None,
        };
        if !matches!(source, Some(Source::Table(_))) {
            lower.say(group.span, "data-source", "`rows per` needs a table");
        }
        Some(RowGroup { by, sorted })
    });
    let Some(source) = source else { return (None, lower.diagnostics) };
    let mut spec = DataSpec::new(&data.name.text, source);
    spec.pos = lower.position(data.name.span);
    spec.group = group;
    for entry in &data.entries {
        match &entry.kind {
            DataEntryKind::Field(field) => {
                if lower.fields.contains(&field.name.text) {
                    let message = format!("`{}` already has a field called `{}`", data.name.text, field.name.text);
                    lower.diagnostics.push(
                        Diagnostic::error("name-taken", message)
                            .primary(field.name.span, "the second field of that name"),
                    );
                    continue;
                }
                if let Some(mut made) = lower.field(&field.name.text, &field.value) {
                    made.pos = lower.position(field.name.span);
                    spec.fields.push(made);
                }
                lower.fields.push(field.name.text.clone());
            }
            DataEntryKind::Keep(condition) => spec.keep.extend(lower.condition(condition)),
            DataEntryKind::Distinct(names) => {
                for name in names {
                    match &name.kind {
                        ExprKind::Name(name) if lower.fields.contains(&name.text) => {
                            spec.distinct.push(name.text.clone())
                        }
                        ExprKind::Name(_) => lower.unknown_field(name.span),
                        _ => lower.say(name.span, "data-expression", "`distinct` takes names of fields"),
                    }
                }
            }
            DataEntryKind::Let(_) => lower.not_built(entry.span, "`let` in a data block"),
            DataEntryKind::Rows(how) => match call(how) {
                Some((word @ ("oversample" | "undersample"), [Arg { kind: ArgKind::Positional(field), .. }])) => {
                    match &field.kind {
                        ExprKind::Name(name) if lower.fields.contains(&name.text) => {
                            spec.resample = Some(Resample { field: name.text.clone(), over: word == "oversample" });
                        }
                        _ => lower.unknown_field(field.span),
                    }
                }
                _ => lower.not_built(entry.span, "`rows` of another kind than `oversample(y)` and `undersample(y)`"),
            },
            DataEntryKind::Weights(_) => lower.not_built(entry.span, "`weights`"),
            DataEntryKind::Augment(_) => lower.not_built(entry.span, "`augment`"),
            DataEntryKind::Word { word, .. } => {
                let message = format!("a data block has no entry `{}`", word.text);
                lower.diagnostics.push(
                    Diagnostic::error("unknown-entry", message)
                        .primary(word.span, "not known here")
                        .help("a data block holds fields `NAME = ...`, `keep CONDITION` and `distinct FIELD`"),
                );
            }
            DataEntryKind::Error => {}
        }
    }
    let wrong = lower.diagnostics.iter().any(Diagnostic::is_error);
    ((!wrong).then_some(spec), lower.diagnostics)
}

struct Lower<'s> {
    sources: &'s SourceMap,
    folder: &'s Path,
    /// The program's items: alphabets of its own.
    items: &'s [Item],
    diagnostics: Vec<Diagnostic>,
    fields: Vec<String>,
}

impl Lower<'_> {
    fn position(&self, span: Span) -> String {
        let (line, column) = self.sources.line_column(span.file, span.start);
        format!("{}:{line}:{column}", self.sources.name(span.file))
    }

    fn say(&mut self, span: Span, code: &'static str, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(code, message).primary(span, ""));
    }

    fn not_built(&mut self, span: Span, what: &str) {
        self.diagnostics.push(
            Diagnostic::error("not-built-yet", format!("{what} is part of the language but not built yet"))
                .primary(span, "not built yet"),
        );
    }

    fn unknown_field(&mut self, span: Span) {
        let known = self.fields.join(", ");
        let message = format!("no field `{}` stands above", self.sources.slice(span));
        let help =
            if known.is_empty() { "fields may use those above them".into() } else { format!("fields so far: {known}") };
        self.diagnostics.push(Diagnostic::error("unknown-name", message).primary(span, "not a field").help(help));
    }

    // -------------------------------------------------------------------------------------------- sources

    fn source(&mut self, source: &Expr, replaced: Option<&Path>) -> Option<Source> {
        let Some((word, args)) = call(source) else {
            self.say(source.span, "data-source", "data comes from a source such as `csv(\"file.csv\")`");
            return None;
        };
        match word {
            "csv" | "tsv" => self.table(source, word, args, replaced),
            "synthetic" => {
                let (mut rows, mut seed) = (None, 0);
                for arg in args {
                    match &arg.kind {
                        ArgKind::Named { name, value } if name.text == "rows" => rows = self.natural(value),
                        ArgKind::Named { name, value } if name.text == "seed" => seed = self.natural(value)?,
                        ArgKind::Named { .. } | ArgKind::Positional(_) | ArgKind::Each { .. } | ArgKind::Hole => {
                            self.say(arg.span, "data-source", "`synthetic` takes `rows:` and `seed:`")
                        }
                    }
                }
                let Some(rows) = rows else {
                    self.say(source.span, "data-source", "`synthetic` needs `rows: N`");
                    return None;
                };
                Some(Source::Synthetic { rows: rows as usize, seed })
            }
            "fasta" | "fastq" | "bed" | "vcf" | "bigwig" | "h5ad" | "mtx" | "npy" | "parquet" | "pdb" | "a3m"
            | "png" | "tiff" => {
                self.not_built(source.span, &format!("the source `{word}`"));
                None
            }
            other => {
                self.diagnostics.push(
                    Diagnostic::error("unknown-name", format!("there is no data source `{other}`"))
                        .primary(source.span, "not a source")
                        .help("sources are csv, tsv and synthetic"),
                );
                None
            }
        }
    }

    fn table(&mut self, source: &Expr, word: &str, args: &[Arg], replaced: Option<&Path>) -> Option<Source> {
        let mut table = if word == "csv" { TableSource::csv(Path::new("")) } else { TableSource::tsv(Path::new("")) };
        let mut file = None;
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(value) => file = self.text(value),
                ArgKind::Named { name, value } => match name.text.as_str() {
                    "header" => table.header = self.truth(value)?,
                    "missing" => table.missing = self.texts(value)?,
                    "comment" => table.comment = Some(self.letter(value)?),
                    "decimal" => table.decimal = self.letter(value)?,
                    "separator" => {
                        table.separator = match self.text(value)?.as_bytes() {
                            b"," => Separator::Comma,
                            b"\t" => Separator::Tab,
                            [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\n\r".contains(byte) => {
                                Separator::Other(*byte)
                            }
                            _ => {
                                self.say(
                                    value.span,
                                    "data-source",
                                    "a separator is one character, such as \";\" or \"\\t\"",
                                );
                                return None;
                            }
                        }
                    }
                    _ => {
                        self.diagnostics.push(
                            Diagnostic::error("unknown-option", format!("`{word}` has no option `{}`", name.text))
                                .primary(name.span, "not an option")
                                .help("options are header, missing, comment, decimal and separator"),
                        );
                        return None;
                    }
                },
                ArgKind::Each { .. } | ArgKind::Hole => {
                    self.say(arg.span, "data-source", format!("`{word}` takes a file name and options"))
                }
            }
        }
        let Some(file) = file else {
            self.say(source.span, "data-source", format!("`{word}` needs a file name: `{word}(\"data.{word}\")`"));
            return None;
        };
        table.path = replaced.map_or_else(|| self.folder.join(file), Path::to_path_buf);
        Some(Source::Table(table))
    }

    // -------------------------------------------------------------------------------------------- fields

    fn field(&mut self, name: &str, value: &Expr) -> Option<FieldSpec> {
        match &value.kind {
            ExprKind::Pipe { value: inner, into } => {
                let field = self.field(name, inner)?;
                let (word, args) = match &into.kind {
                    ExprKind::Name(word) => (word.text.as_str(), [].as_slice()),
                    _ => match call(into) {
                        Some(parts) => parts,
                        None => {
                            self.say(into.span, "data-expression", "after `|>` comes an encoder such as `standardize`");
                            return None;
                        }
                    },
                };
                self.step(field, word, args, into.span)
            }
            ExprKind::Binary { op, left, right } => self.arithmetic(name, *op, left, right, value.span),
            ExprKind::Name(field) if self.fields.contains(&field.text) => {
                Some(FieldSpec::new(name, Origin::Field(field.text.clone())))
            }
            ExprKind::Name(word) if matches!(word.text.as_str(), "normal" | "uniform") => self.draw(name, value, &[]),
            ExprKind::Name(_) => {
                self.unknown_field(value.span);
                None
            }
            ExprKind::Subscript { base, subs } => {
                let mut dims = Vec::new();
                for sub in subs {
                    match &sub.kind {
                        SubKind::Expr(size) => dims.push(self.natural(size)? as usize),
                        SubKind::Else { .. } | SubKind::Rest | SubKind::Range { .. } => {
                            self.say(sub.span, "data-expression", "the shape of a draw is written in numbers");
                            return None;
                        }
                    }
                }
                self.draw(name, base, &dims)
            }
            ExprKind::Call { .. } => self.encoder(name, value),
            _ => {
                self.say(value.span, "data-expression", "a field is a column with an encoder: `number(column(\"x\"))`");
                None
            }
        }
    }

    fn encoder(&mut self, name: &str, value: &Expr) -> Option<FieldSpec> {
        let (word, args) = call(value)?;
        match word {
            "column" => match args {
                [Arg { kind: ArgKind::Positional(column), .. }] => {
                    Some(FieldSpec::new(name, Origin::Column(self.column(column)?)))
                }
                _ => {
                    self.say(value.span, "data-expression", "`column` takes a name or a number: `column(\"x\")`");
                    None
                }
            },
            "columns" => self.columns(name, args),
            "normal" | "uniform" | "bernoulli" => self.draw(name, value, &[]),
            "category" | "letters" | "index" if matches!(args, [Arg { kind: ArgKind::Positional(first), .. }] if !is_cells(first)) => {
                self.draw(name, value, &[])
            }
            _ => {
                let Some((Arg { kind: ArgKind::Positional(inner), .. }, rest)) = args.split_first() else {
                    self.say(
                        value.span,
                        "data-expression",
                        format!("`{word}` needs a column: `{word}(column(\"x\"))`"),
                    );
                    return None;
                };
                let field = self.field(name, inner)?;
                self.step(field, word, rest, value.span)
            }
        }
    }

    fn columns(&mut self, name: &str, args: &[Arg]) -> Option<FieldSpec> {
        let (mut include, mut except) = (Vec::new(), Vec::new());
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(Expr { kind: ExprKind::Except { value, except: left_out }, .. }) => {
                    include.push(self.text(value)?);
                    for text in left_out {
                        except.push(self.text(text)?);
                    }
                }
                ArgKind::Positional(text) => include.push(self.text(text)?),
                ArgKind::Named { .. } | ArgKind::Each { .. } | ArgKind::Hole => {
                    self.say(arg.span, "data-expression", "`columns` takes patterns: `columns(\"x*\" except \"x9\")`");
                    return None;
                }
            }
        }
        Some(FieldSpec::new(name, Origin::Columns { include, except }))
    }

    /// Adds the step `word(args)` to a field.
    fn step(&mut self, mut field: FieldSpec, word: &str, args: &[Arg], span: Span) -> Option<FieldSpec> {
        let mut positional = Vec::new();
        let mut named = Vec::new();
        for arg in args {
            match &arg.kind {
                ArgKind::Named { name, value } if name.text == "missing" => field.missing = self.missing(value)?,
                ArgKind::Named { name, value } => named.push((name, value)),
                ArgKind::Positional(value) => positional.push(value),
                ArgKind::Each { .. } | ArgKind::Hole => {
                    self.say(arg.span, "data-expression", format!("not an argument of `{word}`"));
                    return None;
                }
            }
        }
        let step = match word {
            "number" | "counts" => Step::Number,
            "text" => Step::Text,
            "truth" => {
                let (mut yes, mut no) = (None, None);
                for (name, value) in std::mem::take(&mut named) {
                    match name.text.as_str() {
                        "yes" => yes = Some(self.cell(value)?),
                        "no" => no = Some(self.cell(value)?),
                        _ => named.push((name, value)),
                    }
                }
                Step::Truth { yes, no }
            }
            "category" | "tokens" => {
                let mut classes = None;
                for (name, value) in std::mem::take(&mut named) {
                    match name.text.as_str() {
                        "classes" => classes = Some(self.texts(value)?),
                        _ => named.push((name, value)),
                    }
                }
                if word == "category" { Step::Category { classes } } else { Step::Tokens { classes } }
            }
            "numbers" => {
                let mut width = None;
                for (name, value) in std::mem::take(&mut named) {
                    match name.text.as_str() {
                        "width" => width = Some(self.natural(value)?.max(1) as usize),
                        _ => named.push((name, value)),
                    }
                }
                Step::Numbers { width }
            }
            "index" => {
                let (mut of, mut first) = (None, 0);
                for (name, value) in std::mem::take(&mut named) {
                    match (name.text.as_str(), &value.kind) {
                        ("of", ExprKind::Name(field)) if self.fields.contains(&field.text) => of = Some(&field.text),
                        ("of", _) => {
                            self.unknown_field(value.span);
                            return None;
                        }
                        ("first", _) => first = self.natural(value)? as i64,
                        (_, _) => named.push((name, value)),
                    }
                }
                let Some(of) = of else {
                    self.say(
                        span,
                        "data-expression",
                        "into which field do they point: `index(column(\"src\"), of: atoms)`",
                    );
                    return None;
                };
                Step::Indices { of: of.clone(), first }
            }
            "onehot" => match positional.pop() {
                Some(alphabet) => Step::OneHotText(self.alphabet(alphabet)?),
                None => Step::OneHot,
            },
            "letters" => match positional.pop() {
                Some(alphabet) => Step::Letters(self.alphabet(alphabet)?),
                None => {
                    self.say(span, "data-expression", "which letters: `letters(column(\"s\"), Protein)`");
                    return None;
                }
            },
            "log1p" => Step::Log1p,
            "log" => Step::Log,
            "sqrt" => Step::Sqrt,
            "standardize" => Step::Standardize,
            "minmax" => Step::MinMax,
            "impute" => {
                let Some(how) = positional.pop() else {
                    self.say(span, "data-expression", "with what: `impute(mean)`, `impute(median)` or `impute(0)`");
                    return None;
                };
                Step::Impute(match &how.kind {
                    ExprKind::Name(name) if name.text == "mean" => Impute::Mean,
                    ExprKind::Name(name) if name.text == "median" => Impute::Median,
                    _ => Impute::Constant(self.number(how)?),
                })
            }
            "molecule" | "pca" | "window" | "most_variable" => {
                self.not_built(span, &format!("the encoder `{word}`"));
                return None;
            }
            other => {
                self.diagnostics.push(
                    Diagnostic::error("unknown-name", format!("there is no encoder `{other}`")).primary(span, "not an encoder").help(
                        "encoders are number, numbers, text, truth, category, tokens, index, onehot, letters, counts, log1p, log, sqrt, \
                         standardize, minmax and impute",
                    ),
                );
                return None;
            }
        };
        if let Some(extra) = positional.first() {
            self.say(extra.span, "data-expression", format!("`{word}` takes no such argument"));
            return None;
        }
        if let Some((name, _)) = named.first() {
            self.say(name.span, "unknown-option", format!("`{word}` has no option `{}`", name.text));
            return None;
        }
        field.steps.push(step);
        Some(field)
    }

    fn arithmetic(&mut self, name: &str, op: BinaryOp, left: &Expr, right: &Expr, span: Span) -> Option<FieldSpec> {
        let (field, constant, field_first) = match (self.constant(left), self.constant(right)) {
            (None, Some(c)) => (self.field(name, left)?, c, true),
            (Some(c), None) => (self.field(name, right)?, c, false),
            (Some(_), Some(_)) | (None, None) => {
                self.not_built(span, "arithmetic between two columns");
                return None;
            }
        };
        let arith = match (op, field_first) {
            (BinaryOp::Add, _) => Arith::Add(constant),
            (BinaryOp::Sub, true) => Arith::Add(-constant),
            (BinaryOp::Sub, false) => Arith::SubtractFrom(constant),
            (BinaryOp::Mul, _) => Arith::Multiply(constant),
            (BinaryOp::Div, true) => Arith::Divide(constant),
            (BinaryOp::Div, false) => Arith::DivideInto(constant),
            (
                BinaryOp::Rem
                | BinaryOp::Eq
                | BinaryOp::Ne
                | BinaryOp::Lt
                | BinaryOp::Le
                | BinaryOp::Gt
                | BinaryOp::Ge
                | BinaryOp::And
                | BinaryOp::Or,
                _,
            ) => {
                self.not_built(span, &format!("`{}` in a data field", op.text()));
                return None;
            }
        };
        Some(field.step(Step::Arith(arith)))
    }

    fn draw(&mut self, name: &str, value: &Expr, dims: &[usize]) -> Option<FieldSpec> {
        let (word, args) = match &value.kind {
            ExprKind::Name(word) => (word.text.as_str(), [].as_slice()),
            _ => match call(value) {
                Some(parts) => parts,
                None => {
                    self.say(value.span, "data-expression", "only a draw has a shape here: `normal[24, 40]`");
                    return None;
                }
            },
        };
        let positional: Vec<&Expr> = args
            .iter()
            .filter_map(|arg| match &arg.kind {
                ArgKind::Positional(value) => Some(value),
                ArgKind::Named { .. } | ArgKind::Each { .. } | ArgKind::Hole => None,
            })
            .collect();
        let draw = match (word, positional.as_slice()) {
            ("normal", []) => Draw::Normal,
            ("uniform", []) => Draw::Uniform,
            ("bernoulli", [p]) => Draw::Bernoulli(self.number(p)?),
            ("category", [k]) => Draw::Category(self.natural(k)? as usize),
            ("index", [n]) => Draw::Index(self.natural(n)? as usize),
            ("letters", [alphabet]) => Draw::Letters(self.alphabet(alphabet)?),
            (_, _) => {
                self.say(value.span, "data-expression", "not a draw; synthetic fields are normal, uniform, bernoulli(p), category(k), index(n) or letters(DNA)");
                return None;
            }
        };
        Some(FieldSpec::new(name, Origin::Draw { draw, dims: dims.to_vec() }))
    }

    // -------------------------------------------------------------------------------------------- conditions

    fn condition(&mut self, condition: &Expr) -> Option<Condition> {
        match &condition.kind {
            ExprKind::Binary { op: BinaryOp::And, left, right } => {
                Some(Condition::And(vec![self.condition(left)?, self.condition(right)?]))
            }
            ExprKind::Binary { op: BinaryOp::Or, left, right } => {
                Some(Condition::Or(vec![self.condition(left)?, self.condition(right)?]))
            }
            ExprKind::Unary { op: UnaryOp::Not, value } => Some(Condition::Not(Box::new(self.condition(value)?))),
            ExprKind::Binary { op, left, right } => {
                let comparison = match op {
                    BinaryOp::Eq => Comparison::Equal,
                    BinaryOp::Ne => Comparison::NotEqual,
                    BinaryOp::Lt => Comparison::Less,
                    BinaryOp::Le => Comparison::LessEqual,
                    BinaryOp::Gt => Comparison::Greater,
                    BinaryOp::Ge => Comparison::GreaterEqual,
                    BinaryOp::Add
                    | BinaryOp::Sub
                    | BinaryOp::Mul
                    | BinaryOp::Div
                    | BinaryOp::Rem
                    | BinaryOp::And
                    | BinaryOp::Or => {
                        self.say(condition.span, "data-expression", "`keep` takes a comparison: `keep score > 100`");
                        return None;
                    }
                };
                let left = self.operand(left)?;
                let right = match &right.kind {
                    ExprKind::Str(text) => Constant::Text(text.clone()),
                    _ => Constant::Number(self.number(right)?),
                };
                Some(Condition::Compare { left, comparison, right })
            }
            ExprKind::Call { .. } => match call(condition) {
                Some(("known", [Arg { kind: ArgKind::Positional(value), .. }])) => {
                    Some(Condition::Known(self.operand(value)?))
                }
                _ => {
                    self.say(condition.span, "data-expression", "`keep` takes a comparison or `known(...)`");
                    None
                }
            },
            _ => {
                self.say(condition.span, "data-expression", "`keep` takes a comparison: `keep score > 100`");
                None
            }
        }
    }

    fn operand(&mut self, value: &Expr) -> Option<Operand> {
        match &value.kind {
            ExprKind::Name(name) if self.fields.contains(&name.text) => Some(Operand::Field(name.text.clone())),
            ExprKind::Name(_) => {
                self.unknown_field(value.span);
                None
            }
            ExprKind::Call { .. } => match call(value) {
                Some(("column", [Arg { kind: ArgKind::Positional(column), .. }])) => {
                    Some(Operand::Column(self.column(column)?))
                }
                _ => {
                    self.say(value.span, "data-expression", "`keep` looks at `column(..)` or at a field above");
                    None
                }
            },
            _ => {
                self.say(value.span, "data-expression", "`keep` looks at `column(..)` or at a field above");
                None
            }
        }
    }

    // -------------------------------------------------------------------------------------------- constants

    fn column(&mut self, column: &Expr) -> Option<Column> {
        match &column.kind {
            ExprKind::Str(name) => Some(Column::Name(name.clone())),
            ExprKind::Int(number) if *number >= 1 => Some(Column::Number(*number as usize)),
            _ => {
                self.say(column.span, "data-expression", "a column is named by a text, or numbered from 1");
                None
            }
        }
    }

    /// `patient`, `"patient id"` or `column("patient")`.
    fn column_named(&mut self, value: &Expr) -> Option<Column> {
        match (&value.kind, call(value)) {
            (ExprKind::Name(name), _) => Some(Column::name(&name.text)),
            (_, Some(("column", [Arg { kind: ArgKind::Positional(column), .. }]))) => self.column(column),
            (_, _) => self.column(value),
        }
    }

    fn alphabet(&mut self, name: &Expr) -> Option<Alphabet> {
        if let ExprKind::Name(word) = &name.kind {
            let own = self.items.iter().find_map(|item| match &item.kind {
                ItemKind::Alphabet(own) if own.name.text == word.text => Some(own),
                _ => None,
            });
            if let Some(own) = own {
                let letters: Vec<String> = own.letters.iter().map(|letter| letter.text.clone()).collect();
                return Alphabet::custom(&own.name.text, &letters)
                    .map_err(|what| self.say(name.span, "data-expression", what))
                    .ok();
            }
            if let Some(alphabet) = Alphabet::by_name(&word.text) {
                return Some(alphabet);
            }
        }
        self.diagnostics.push(
            Diagnostic::error("unknown-name", format!("there is no alphabet `{}`", self.sources.slice(name.span)))
                .primary(name.span, "not an alphabet")
                .help("alphabets are DNA, RNA, Protein and those that the file defines: `alphabet Codon = \"AAA\" \"AAC\" ..`"),
        );
        None
    }

    fn missing(&mut self, value: &Expr) -> Option<Missing> {
        Some(match &value.kind {
            ExprKind::Name(word) if word.text == "error" => Missing::Error,
            ExprKind::Name(word) if word.text == "keep" => Missing::Keep,
            ExprKind::Str(text) => Missing::Text(text.clone()),
            _ => Missing::Number(self.number(value)?),
        })
    }

    /// A value as it stands in a cell: `yes: "M"`, `yes: 1`.
    fn cell(&mut self, value: &Expr) -> Option<String> {
        match &value.kind {
            ExprKind::Str(text) => Some(text.clone()),
            ExprKind::Int(number) => Some(number.to_string()),
            _ => self.text(value),
        }
    }

    fn text(&mut self, value: &Expr) -> Option<String> {
        if let ExprKind::Str(text) = &value.kind {
            return Some(text.clone());
        }
        self.say(value.span, "data-expression", "a text in quotes is expected here");
        None
    }

    fn texts(&mut self, value: &Expr) -> Option<Vec<String>> {
        match &value.kind {
            ExprKind::List(items) => items.iter().map(|item| self.text(item)).collect(),
            _ => Some(vec![self.text(value)?]),
        }
    }

    fn letter(&mut self, value: &Expr) -> Option<char> {
        let text = self.text(value)?;
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => Some(letter),
            (_, _) => {
                self.say(value.span, "data-expression", "one character is expected here");
                None
            }
        }
    }

    fn truth(&mut self, value: &Expr) -> Option<bool> {
        if let ExprKind::Bool(truth) = value.kind {
            return Some(truth);
        }
        self.say(value.span, "data-expression", "`true` or `false` is expected here");
        None
    }

    fn natural(&mut self, value: &Expr) -> Option<u64> {
        if let ExprKind::Int(number) = value.kind
            && number >= 0
        {
            return Some(number as u64);
        }
        self.say(value.span, "data-expression", "a whole number is expected here");
        None
    }

    fn number(&mut self, value: &Expr) -> Option<f64> {
        let number = self.constant(value);
        if number.is_none() {
            self.say(value.span, "data-expression", "a number is expected here");
        }
        number
    }

    fn constant(&self, value: &Expr) -> Option<f64> {
        match &value.kind {
            ExprKind::Int(number) => Some(*number as f64),
            ExprKind::Float(number) => Some(*number),
            ExprKind::Unary { op: UnaryOp::Neg, value } => Some(-self.constant(value)?),
            _ => None,
        }
    }
}

/// `word(args)` as its parts.
fn call(value: &Expr) -> Option<(&str, &[Arg])> {
    let ExprKind::Call { callee, args } = &value.kind else { return None };
    let ExprKind::Name(word) = &callee.kind else { return None };
    Some((&word.text, args))
}

/// Does the expression come from cells of a file (rather than being the number of a draw)?
fn is_cells(value: &Expr) -> bool {
    match &value.kind {
        ExprKind::Call { .. } | ExprKind::Pipe { .. } | ExprKind::Binary { .. } => true,
        ExprKind::Name(name) => Alphabet::by_name(&name.text).is_none(),
        _ => false,
    }
}
