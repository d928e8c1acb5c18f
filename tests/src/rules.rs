//! The rules of the grammar, and which of them a text follows.
//!
//! A rule is a form that the syntax tree tells apart: a kind of node, or a kind of node with or without one of its parts. The walk meets every
//! kind of the tree without a wildcard, so a form that is added to the language does not compile here before it has a name and, by the test of
//! the reference, an example.

use bdl_grammar::ast::*;
use std::collections::BTreeSet;

/// Every rule, in the order of the reference.
pub const RULES: &[&str] = &[
    "the file's comment",
    "an item's comment",
    "use MODULE",
    "use FILE",
    "let as an item",
    "const",
    "const with a type",
    "type",
    "type with sizes",
    "alphabet",
    "fn",
    "layer with hyper-parameters",
    "layer with inputs alone",
    "model",
    "optimizer",
    "data",
    "train",
    "train with hyper-parameters",
    "tune",
    "expect",
    "a parameter's default",
    "where",
    "where with else",
    "type: a word",
    "type with arguments",
    "type with a shape",
    "type that may be missing",
    "type: a record",
    "type: a list",
    "type: a layer",
    "type: a function",
    "a dimension that is an expression",
    "a pack of dimensions",
    "let",
    "let with indices",
    "param",
    "several parameters in one line",
    "state",
    "const in a block",
    "fn in a block",
    "update",
    "next as a statement",
    "emit",
    "a value as a statement",
    "a name",
    "a whole number",
    "a number with a point",
    "a text",
    "true or false",
    "a number with a unit",
    "next as a value",
    "- x",
    "not",
    "or",
    "and",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "|>",
    "a call",
    "a subscript",
    "a field",
    "a list",
    "a record with names",
    "a record without names",
    "for",
    "if",
    "x else d",
    "except",
    "a block",
    "a named argument",
    "name in list: body",
    "_ in count: body",
    "_ for the piped value",
    "x[i]",
    "x[last]",
    "x[i else d]",
    "x[clamp(i)]",
    "x[mod(i)]",
    "x[..]",
    "x[a..b]",
    "an index",
    "an index below a bound",
    "an index in a size",
    "indices of a pack",
    "batch as an index",
    "other in batch",
    "sum",
    "prod",
    "min",
    "max",
    "mean",
    "any",
    "all",
    "argmax",
    "argmin",
    "logsumexp",
    "a reduction with a filter",
    "a reduction with a default",
    "a reduction's name as a function",
    "scan",
    "scan reversed",
    "scan reversed if",
    "scan checkpoint every",
    "several carried values",
    "iterate",
    "data: rows per",
    "data: rows per sorted by",
    "data: a field",
    "data: a field with a type",
    "data: let",
    "data: keep",
    "data: distinct",
    "data: rows",
    "data: weights",
    "data: augment",
    "train: model",
    "train: model from",
    "train: from with a map",
    "train: from with a star",
    "train: from with axes",
    "train: data",
    "train: let",
    "train: split",
    "train: loss",
    "train: loss per",
    "train: penalty",
    "train: optimizer",
    "train: optimizer over",
    "train: epochs",
    "train: batch",
    "train: batch in parts",
    "train: average",
    "train: stop when",
    "train: stop when stalls for",
    "train: keep",
    "train: clip",
    "train: predict",
    "train: predict as",
    "train: report",
    "train: report by",
    "train: fit",
    "train: fit on",
    "train: frozen",
    "train: frozen until",
    "train: step",
    "train: step over",
    "train: step every",
    "train: rows",
    "train: weights",
    "train: augment",
    "tune: search among",
    "tune: search between",
    "tune: method",
    "tune: score",
    "tune: score with",
    "tune: score inside",
];

/// What a text does: its rules, and the words that it uses as names (of functions, options, fields, ..).
#[derive(Clone, Debug, Default)]
pub struct Used {
    pub rules: BTreeSet<&'static str>,
    pub words: BTreeSet<String>,
}

impl Used {
    pub fn file(&mut self, file: &File) {
        self.when(!file.doc.is_empty(), "the file's comment");
        for item in &file.items {
            self.when(!item.doc.is_empty(), "an item's comment");
            self.item(&item.kind);
        }
    }

    pub fn extend(&mut self, other: Used) {
        self.rules.extend(other.rules);
        self.words.extend(other.words);
    }

    fn add(&mut self, rule: &'static str) {
        self.rules.insert(rule);
    }

    fn when(&mut self, holds: bool, rule: &'static str) {
        if holds {
            self.add(rule);
        }
    }

    fn word(&mut self, name: &Name) {
        self.words.insert(name.text.clone());
    }

    // ------------------------------------------------------------------------------------------------------------- items

    fn item(&mut self, item: &ItemKind) {
        match item {
            ItemKind::Use(Use::Module(path)) => {
                self.add("use MODULE");
                path.iter().for_each(|name| self.word(name));
            }
            ItemKind::Use(Use::File(_)) => self.add("use FILE"),
            ItemKind::Data(data) => self.data(data),
            ItemKind::Fn(function) => {
                self.add("fn");
                self.function(function);
            }
            ItemKind::Layer(layer) => {
                let two = layer.hyper_written;
                self.add(if two { "layer with hyper-parameters" } else { "layer with inputs alone" });
                self.layer(layer);
            }
            ItemKind::Model(layer) => {
                self.add("model");
                self.layer(layer);
            }
            ItemKind::Optimizer(optimizer) => {
                self.add("optimizer");
                self.params(&optimizer.hyper);
                self.params(&optimizer.inputs);
                self.laws(&optimizer.laws);
                self.block(&optimizer.body);
            }
            ItemKind::Train(train) => {
                self.add("train");
                self.when(!train.hyper.is_empty(), "train with hyper-parameters");
                self.params(&train.hyper);
                train.entries.iter().for_each(|entry| self.train(&entry.kind));
            }
            ItemKind::Tune(tune) => {
                self.add("tune");
                tune.entries.iter().for_each(|entry| self.tune(&entry.kind));
            }
            ItemKind::Expect(expect) => {
                self.add("expect");
                expect.conditions.iter().for_each(|condition| self.expr(condition));
            }
            ItemKind::Type(alias) => {
                self.add("type");
                self.when(!alias.dims.is_empty(), "type with sizes");
                self.ty(&alias.ty);
            }
            ItemKind::Alphabet(_) => self.add("alphabet"),
            ItemKind::Const(constant) => self.constant(constant),
            ItemKind::Let(binding) => {
                self.add("let as an item");
                self.binding(binding);
            }
            ItemKind::Error => {}
        }
    }

    fn function(&mut self, function: &Fn) {
        self.params(&function.inputs);
        self.ty(&function.result);
        self.laws(&function.laws);
        self.block(&function.body);
    }

    fn layer(&mut self, layer: &Layer) {
        self.params(&layer.hyper);
        self.params(&layer.inputs);
        self.ty(&layer.result);
        self.laws(&layer.laws);
        self.block(&layer.body);
    }

    fn constant(&mut self, constant: &Const) {
        self.add("const");
        if let Some(ty) = &constant.ty {
            self.add("const with a type");
            self.ty(ty);
        }
        self.expr(&constant.value);
    }

    fn params(&mut self, params: &[Param]) {
        for param in params {
            self.ty(&param.ty);
            if let Some(default) = &param.default {
                self.add("a parameter's default");
                self.expr(default);
            }
        }
    }

    fn laws(&mut self, laws: &[Law]) {
        for law in laws {
            self.add("where");
            self.when(law.message.is_some(), "where with else");
            self.expr(&law.condition);
        }
    }

    fn ty(&mut self, ty: &Type) {
        match &ty.kind {
            TypeKind::Word { name, args, optional, dims } => {
                self.add("type: a word");
                self.word(name);
                self.when(!args.is_empty(), "type with arguments");
                self.when(*optional, "type that may be missing");
                self.when(dims.is_some(), "type with a shape");
                args.iter().for_each(|arg| self.expr(arg));
                for dim in dims.iter().flatten() {
                    match dim {
                        Dim::Rest(_) => self.add("a pack of dimensions"),
                        Dim::Expr(dim) => {
                            self.add("a dimension that is an expression");
                            self.expr(dim);
                        }
                    }
                }
            }
            TypeKind::Record(fields) => {
                self.add("type: a record");
                fields.iter().for_each(|field| self.ty(&field.ty));
            }
            TypeKind::List(of) => {
                self.add("type: a list");
                self.ty(of);
            }
            TypeKind::Layer { inputs, result } => {
                self.add("type: a layer");
                inputs.iter().for_each(|input| self.ty(input));
                self.ty(result);
            }
            TypeKind::Fn { inputs, result } => {
                self.add("type: a function");
                inputs.iter().for_each(|input| self.ty(input));
                self.ty(result);
            }
            TypeKind::Error => {}
        }
    }

    // -------------------------------------------------------------------------------------------------------- statements

    fn block(&mut self, block: &Block) {
        block.stmts.iter().for_each(|stmt| self.stmt(&stmt.kind));
    }

    fn stmt(&mut self, stmt: &StmtKind) {
        match stmt {
            StmtKind::Let(binding) => self.binding(binding),
            StmtKind::Param(declared) => {
                self.add("param");
                self.when(declared.names.len() > 1, "several parameters in one line");
                self.declared(declared);
            }
            StmtKind::State(declared) => {
                self.add("state");
                self.declared(declared);
            }
            StmtKind::Const(constant) => {
                self.add("const in a block");
                self.constant(constant);
            }
            StmtKind::Fn(function) => {
                self.add("fn in a block");
                self.function(function);
            }
            StmtKind::Update { name: _, value } => {
                self.add("update");
                self.expr(value);
            }
            StmtKind::Next { name: _, value } => {
                self.add("next as a statement");
                self.expr(value);
            }
            StmtKind::Emit(value) => {
                self.add("emit");
                self.expr(value);
            }
            StmtKind::Expr(value) => {
                self.add("a value as a statement");
                self.expr(value);
            }
            StmtKind::Error => {}
        }
    }

    fn declared(&mut self, declared: &Declare) {
        self.ty(&declared.ty);
        self.expr(&declared.init);
    }

    fn binding(&mut self, binding: &Let) {
        self.add("let");
        if let Some(binders) = &binding.binders {
            self.add("let with indices");
            self.binders(binders);
        }
        self.expr(&binding.value);
    }

    // ------------------------------------------------------------------------------------------------------- expressions

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Name(name) => {
                self.add("a name");
                self.word(name);
            }
            ExprKind::Int(_) => self.add("a whole number"),
            ExprKind::Float(_) => self.add("a number with a point"),
            ExprKind::Str(_) => self.add("a text"),
            ExprKind::Bool(_) => self.add("true or false"),
            ExprKind::Quantity { value, unit } => {
                self.add("a number with a unit");
                self.expr(value);
                self.word(unit);
            }
            ExprKind::Next(_) => self.add("next as a value"),
            ExprKind::Unary { op, value } => {
                self.add(match op {
                    UnaryOp::Neg => "- x",
                    UnaryOp::Not => "not",
                });
                self.expr(value);
            }
            ExprKind::Binary { op, left, right } => {
                self.add(op.text());
                self.expr(left);
                self.expr(right);
            }
            ExprKind::Pipe { value, into } => {
                self.add("|>");
                self.expr(value);
                self.expr(into);
            }
            ExprKind::Call { callee, args } => {
                self.add("a call");
                if let ExprKind::Name(name) = &callee.kind {
                    self.when(Reduction::from_text(&name.text).is_some(), "a reduction's name as a function");
                }
                self.expr(callee);
                args.iter().for_each(|arg| self.arg(&arg.kind));
            }
            ExprKind::Subscript { base, subs } => {
                self.add("a subscript");
                self.expr(base);
                subs.iter().for_each(|sub| self.sub(&sub.kind));
            }
            ExprKind::Field { base, field } => {
                self.add("a field");
                self.expr(base);
                self.word(field);
            }
            ExprKind::List(elements) => {
                self.add("a list");
                elements.iter().for_each(|element| self.expr(element));
            }
            ExprKind::Record(fields) => {
                for field in fields {
                    self.add(if field.name.is_some() { "a record with names" } else { "a record without names" });
                    self.expr(&field.value);
                }
            }
            ExprKind::For { binders, body } => {
                self.add("for");
                self.binders(binders);
                self.expr(body);
            }
            ExprKind::Reduce { op, op_span: _, binders, filter, default, body } => {
                self.add(op.text());
                self.binders(binders);
                if let Some(filter) = filter {
                    self.add("a reduction with a filter");
                    self.expr(filter);
                }
                if let Some(default) = default {
                    self.add("a reduction with a default");
                    self.expr(default);
                }
                self.expr(body);
            }
            ExprKind::If { condition, then, other } => {
                self.add("if");
                self.expr(condition);
                self.expr(then);
                self.expr(other);
            }
            ExprKind::Else { value, default } => {
                self.add("x else d");
                self.expr(value);
                self.expr(default);
            }
            ExprKind::Except { value, except } => {
                self.add("except");
                self.expr(value);
                except.iter().for_each(|value| self.expr(value));
            }
            ExprKind::Block(block) => {
                self.add("a block");
                self.block(block);
            }
            ExprKind::Scan(scan) => {
                self.add("scan");
                self.expr(&scan.extent);
                match &scan.reversed {
                    Reversed::No => {}
                    Reversed::Always(_) => self.add("scan reversed"),
                    Reversed::If(condition) => {
                        self.add("scan reversed if");
                        self.expr(condition);
                    }
                }
                self.carried(&scan.carried);
                if let Some(every) = &scan.checkpoint {
                    self.add("scan checkpoint every");
                    self.expr(every);
                }
                self.block(&scan.body);
            }
            ExprKind::Iterate(iterate) => {
                self.add("iterate");
                self.carried(&iterate.carried);
                self.expr(&iterate.until);
                self.expr(&iterate.at_most);
                self.block(&iterate.body);
            }
            ExprKind::Error => {}
        }
    }

    fn carried(&mut self, carried: &[Carried]) {
        self.when(carried.len() > 1, "several carried values");
        carried.iter().for_each(|value| self.expr(&value.init));
    }

    fn arg(&mut self, arg: &ArgKind) {
        match arg {
            ArgKind::Positional(value) => self.expr(value),
            ArgKind::Named { name, value } => {
                self.add("a named argument");
                self.word(name);
                self.expr(value);
            }
            ArgKind::Each { binder, list, body } => {
                self.add(if binder.is_some() { "name in list: body" } else { "_ in count: body" });
                self.expr(list);
                self.expr(body);
            }
            ArgKind::Hole => self.add("_ for the piped value"),
        }
    }

    fn sub(&mut self, sub: &SubKind) {
        match sub {
            SubKind::Expr(index) => {
                self.add(read(index));
                self.expr(index);
            }
            SubKind::Else { index, default } => {
                self.add("x[i else d]");
                self.expr(index);
                self.expr(default);
            }
            SubKind::Rest => self.add("x[..]"),
            SubKind::Range { from, to } => {
                self.add("x[a..b]");
                self.expr(from);
                self.expr(to);
            }
        }
    }

    fn binders(&mut self, binders: &[Binder]) {
        for binder in binders {
            match &binder.kind {
                BinderKind::Rest => self.add("indices of a pack"),
                BinderKind::Name(_) => self.add("an index"),
                BinderKind::Bounded { name: _, bound } => {
                    self.add("an index below a bound");
                    self.expr(bound);
                }
                BinderKind::In { name: _, extent } => {
                    let is_batch = matches!(&extent.kind, ExprKind::Name(name) if name.text == "batch");
                    self.add(if is_batch { "other in batch" } else { "an index in a size" });
                    self.expr(extent);
                }
                BinderKind::Batch => self.add("batch as an index"),
            }
        }
    }

    // ------------------------------------------------------------------------------------------------- data, train, tune

    fn data(&mut self, data: &Data) {
        self.add("data");
        self.expr(&data.source);
        if let Some(group) = &data.group {
            self.add("data: rows per");
            self.expr(&group.per);
            if let Some(sorted) = &group.sorted_by {
                self.add("data: rows per sorted by");
                self.expr(sorted);
            }
        }
        for entry in &data.entries {
            match &entry.kind {
                DataEntryKind::Field(field) => {
                    self.add("data: a field");
                    self.when(field.ty.is_some(), "data: a field with a type");
                    self.field(field);
                }
                DataEntryKind::Let(binding) => {
                    self.add("data: let");
                    self.binding(binding);
                }
                DataEntryKind::Keep(condition) => {
                    self.add("data: keep");
                    self.expr(condition);
                }
                DataEntryKind::Distinct(fields) => {
                    self.add("data: distinct");
                    fields.iter().for_each(|field| self.expr(field));
                }
                DataEntryKind::Rows(how) => {
                    self.add("data: rows");
                    self.expr(how);
                }
                DataEntryKind::Weights(how) => {
                    self.add("data: weights");
                    self.expr(how);
                }
                DataEntryKind::Augment(fields) => {
                    self.add("data: augment");
                    fields.iter().for_each(|field| self.field(field));
                }
                DataEntryKind::Word { word, values } => {
                    self.word(word);
                    values.iter().for_each(|value| self.expr(value));
                }
                DataEntryKind::Error => {}
            }
        }
    }

    fn field(&mut self, field: &DataField) {
        if let Some(ty) = &field.ty {
            self.ty(ty);
        }
        self.expr(&field.value);
    }

    fn over(&mut self, over: &[Expr], rule: &'static str) {
        self.when(!over.is_empty(), rule);
        over.iter().for_each(|value| self.expr(value));
    }

    fn train(&mut self, entry: &TrainEntryKind) {
        match entry {
            TrainEntryKind::Model { name: _, value, from } => {
                self.add("train: model");
                self.expr(value);
                if let Some(from) = from {
                    self.add("train: model from");
                    for line in &from.map {
                        self.add(if line.all { "train: from with a star" } else { "train: from with a map" });
                        self.when(!line.indices.is_empty(), "train: from with axes");
                    }
                }
            }
            TrainEntryKind::Data(_) => self.add("train: data"),
            TrainEntryKind::Let(binding) => {
                self.add("train: let");
                self.binding(binding);
            }
            TrainEntryKind::Split(split) => {
                self.add("train: split");
                self.expr(split);
            }
            TrainEntryKind::Loss { value, per } => {
                self.add("train: loss");
                self.expr(value);
                if let Some(per) = per {
                    self.add("train: loss per");
                    self.expr(per);
                }
            }
            TrainEntryKind::Penalty(value) => {
                self.add("train: penalty");
                self.expr(value);
            }
            TrainEntryKind::Optimizer { value, over } => {
                self.add("train: optimizer");
                self.expr(value);
                self.over(over, "train: optimizer over");
            }
            TrainEntryKind::Epochs(count) => {
                self.add("train: epochs");
                self.expr(count);
            }
            TrainEntryKind::Batch { size, parts } => {
                self.add("train: batch");
                self.expr(size);
                if let Some(parts) = parts {
                    self.add("train: batch in parts");
                    self.expr(parts);
                }
            }
            TrainEntryKind::Average(value) => {
                self.add("train: average");
                self.expr(value);
            }
            TrainEntryKind::Stop { when, stalls } => {
                self.add(if stalls.is_some() { "train: stop when stalls for" } else { "train: stop when" });
                self.expr(when);
            }
            TrainEntryKind::Keep { word, value } => {
                self.add("train: keep");
                self.word(word);
                self.expr(value);
            }
            TrainEntryKind::Clip { word, value } => {
                self.add("train: clip");
                self.word(word);
                self.expr(value);
            }
            TrainEntryKind::Predict { name: _, value, units_of } => {
                self.add("train: predict");
                self.expr(value);
                if let Some(field) = units_of {
                    self.add("train: predict as");
                    self.expr(field);
                }
            }
            TrainEntryKind::Report(all) => {
                for reported in all {
                    self.add("train: report");
                    reported.values.iter().for_each(|value| self.expr(value));
                    if let Some(by) = &reported.by {
                        self.add("train: report by");
                        self.expr(by);
                    }
                }
            }
            TrainEntryKind::Fit { name: _, value, on } => {
                self.add("train: fit");
                self.when(on.is_some(), "train: fit on");
                self.expr(value);
            }
            TrainEntryKind::Frozen { values, until } => {
                self.add(if until.is_some() { "train: frozen until" } else { "train: frozen" });
                values.iter().for_each(|value| self.expr(value));
            }
            TrainEntryKind::Step { name: _, over, every, entries } => {
                self.add("train: step");
                self.over(over, "train: step over");
                if let Some(every) = every {
                    self.add("train: step every");
                    self.expr(every);
                }
                entries.iter().for_each(|entry| self.train(&entry.kind));
            }
            TrainEntryKind::Rows(how) => {
                self.add("train: rows");
                self.expr(how);
            }
            TrainEntryKind::Weights(how) => {
                self.add("train: weights");
                self.expr(how);
            }
            TrainEntryKind::Augment(fields) => {
                self.add("train: augment");
                fields.iter().for_each(|field| self.field(field));
            }
            TrainEntryKind::Word { word, values } => {
                self.word(word);
                values.iter().for_each(|value| self.expr(value));
            }
            TrainEntryKind::Error => {}
        }
    }

    fn tune(&mut self, entry: &TuneEntryKind) {
        match entry {
            TuneEntryKind::Search(axes) => {
                for axis in axes {
                    match &axis.range {
                        SearchRange::Among(values) => {
                            self.add("tune: search among");
                            self.expr(values);
                        }
                        SearchRange::Between { from, to } => {
                            self.add("tune: search between");
                            self.expr(from);
                            self.expr(to);
                        }
                    }
                }
            }
            TuneEntryKind::Method(method) => {
                self.add("tune: method");
                self.expr(method);
            }
            TuneEntryKind::Score { value, with, inside } => {
                self.add("tune: score");
                self.expr(value);
                if let Some(with) = with {
                    self.add("tune: score with");
                    self.expr(with);
                }
                self.when(inside.is_some(), "tune: score inside");
            }
            TuneEntryKind::Word { word, values } => {
                self.word(word);
                values.iter().for_each(|value| self.expr(value));
            }
            TuneEntryKind::Error => {}
        }
    }
}

/// The rule of what stands alone between the brackets of a subscript.
fn read(index: &Expr) -> &'static str {
    if let ExprKind::Name(name) = &index.kind
        && name.text == "last"
    {
        return "x[last]";
    }
    if let ExprKind::Call { callee, args: _ } = &index.kind
        && let ExprKind::Name(name) = &callee.kind
    {
        match name.text.as_str() {
            "clamp" => return "x[clamp(i)]",
            "mod" => return "x[mod(i)]",
            _ => {}
        }
    }
    "x[i]"
}
