//! Items and statements as text.

use super::Printer;
use super::align::{Cell, Row};
use super::doc::{self, Doc, docs};
use super::expressions::{ANY, OR, enclosed, quoted};
use crate::ast::*;

impl Printer<'_> {
    pub fn file(&mut self, file: &File) -> Doc {
        let mut docs: Vec<Doc> = Vec::new();
        for line in &file.doc {
            docs.extend([Doc::text(format!("//! {line}").trim_end()), Doc::Hard]);
        }
        // Whether what came last wants an empty line after it.
        let mut before_long = !docs.is_empty();
        for item in &file.items {
            let comments = self.comment_lines(item.span.start, docs.is_empty());
            let start = self.start_with_doc(item);
            let printed = self.item(item);
            let layout = self.layout;
            let (last_line, _) = self.line_column(item.span.end);
            let after = self.take_comments_while(|comment| {
                let start = comment.span.start;
                let line = layout.text.get(..start as usize).unwrap_or("").matches('\n').count();
                start < item.span.end || (!comment.own_line && line == last_line)
            });
            // One-line items may stand together.
            let long = !item.doc.is_empty() || printed.must_break() || printed.flat().chars().count() > doc::WIDTH;
            if !docs.is_empty() && (before_long || (long && comments.is_empty())) {
                docs.push(Doc::Blank);
            }
            let commented = !comments.is_empty();
            docs.extend(comments);
            if !docs.is_empty() && (commented || !long) && self.after_blank(start) {
                docs.push(Doc::Blank);
            }
            for line in &item.doc {
                docs.extend([Doc::text(format!("/// {line}").trim_end()), Doc::Hard]);
            }
            docs.push(printed);
            docs.extend(after.into_iter().map(|comment| Doc::Comment(comment.text)));
            docs.push(Doc::Hard);
            before_long = long;
        }
        docs.extend(self.comment_lines(u32::MAX, docs.is_empty()));
        Doc::Concat(docs)
    }

    /// Where an item begins, its documentation included.
    fn start_with_doc(&self, item: &Item) -> u32 {
        let text = self.layout.text.get(..item.span.start as usize).unwrap_or("");
        let mut start = text.len();
        for _ in &item.doc {
            start = text[..start].rfind("///").unwrap_or(start);
        }
        start as u32
    }

    fn item(&mut self, item: &Item) -> Doc {
        match &item.kind {
            ItemKind::Use(Use::Module(path)) => {
                let path: Vec<&str> = path.iter().map(|name| name.text.as_str()).collect();
                Doc::text(format!("use {}", path.join(".")))
            }
            ItemKind::Use(Use::File(text)) => Doc::text(format!("use {}", quoted(&text.text))),
            ItemKind::Data(data) => self.data(data, item.span.end),
            ItemKind::Fn(item) => self.function(item),
            ItemKind::Layer(layer) => docs!["layer ", self.layer(layer)],
            ItemKind::Model(layer) => docs!["model ", self.layer(layer)],
            ItemKind::Optimizer(item) => {
                let hyper = self.params(&item.hyper);
                let inputs = self.params(&item.inputs);
                let laws = self.laws(&item.laws);
                docs!["optimizer ", &item.name.text, hyper, inputs, laws, " ", self.block(&item.body)]
            }
            ItemKind::Train(train) => self.train(train, item.span.end),
            ItemKind::Tune(tune) => {
                let span = (tune.name.span.end, item.span.end);
                docs!["tune ", &tune.name.text, " ", self.tune_entries(span, &tune.entries)]
            }
            ItemKind::Expect(expect) => {
                let span = (expect.name.span.end, item.span.end);
                let conditions = self.braces(
                    span,
                    &expect.conditions,
                    |expr| expr.span,
                    |printer, condition| Row::of(printer.statement_expr(condition)),
                );
                docs!["expect ", &expect.name.text, " ", conditions]
            }
            ItemKind::Type(alias) => {
                let mut name = alias.name.text.clone();
                if !alias.dims.is_empty() {
                    let dims: Vec<&str> = alias.dims.iter().map(|dim| dim.text.as_str()).collect();
                    name = format!("{name}[{}]", dims.join(", "));
                }
                docs!["type ", name, " = ", self.ty(&alias.ty)]
            }
            ItemKind::Alphabet(alphabet) => {
                let mut letters = Vec::new();
                for (at, letter) in alphabet.letters.iter().enumerate() {
                    let line = if at == 0 { Doc::nil() } else { Doc::Line };
                    letters.push(docs![line, quoted(&letter.text)].group());
                }
                docs!["alphabet ", &alphabet.name.text, " = ", Doc::Concat(letters).indent()]
            }
            ItemKind::Const(item) => self.constant(item).finish(),
            ItemKind::Let(item) => self.definition(item).finish(),
            ItemKind::Error => Doc::text(self.source(item.span)),
        }
    }

    fn function(&mut self, item: &Fn) -> Doc {
        let inputs = self.params(&item.inputs);
        let result = docs![" -> ", self.ty(&item.result)];
        docs!["fn ", &item.name.text, inputs, result, self.laws(&item.laws), " ", self.block(&item.body)]
    }

    fn layer(&mut self, layer: &Layer) -> Doc {
        let hyper = if layer.hyper_written || !layer.hyper.is_empty() { self.params(&layer.hyper) } else { Doc::nil() };
        let inputs = self.params(&layer.inputs);
        let result = docs![" -> ", self.ty(&layer.result)];
        docs![&layer.name.text, hyper, inputs, result, self.laws(&layer.laws), " ", self.block(&layer.body)]
    }

    pub fn params(&mut self, params: &[Param]) -> Doc {
        let params = self.each(
            params,
            |param| param.span.start,
            |printer, param| {
                let mut doc = vec![docs![&param.name.text, ": ", printer.ty(&param.ty)]];
                if let Some(default) = &param.default {
                    doc.push(docs![" = ", printer.expr(default, ANY)]);
                }
                Doc::Concat(doc)
            },
        );
        enclosed("(", params, ")")
    }

    fn laws(&mut self, laws: &[Law]) -> Doc {
        if laws.is_empty() {
            return Doc::nil();
        }
        let mut all = vec![Doc::Line, Doc::text("where ")];
        for (at, law) in laws.iter().enumerate() {
            if at > 0 {
                all.extend([Doc::text(","), Doc::Line]);
            }
            all.push(self.expr(&law.condition, OR));
            all.extend(law.message.as_ref().map(|message| Doc::text(format!(" else {}", quoted(&message.text)))));
        }
        Doc::Concat(all).indent().group()
    }

    pub fn block(&mut self, block: &Block) -> Doc {
        let span = (block.span.start, block.span.end);
        self.braces(span, &block.stmts, |stmt| stmt.span, Printer::stmt)
    }

    fn stmt(&mut self, stmt: &Stmt) -> Row {
        match &stmt.kind {
            StmtKind::Let(item) => self.definition(item),
            StmtKind::Param(declare) => self.declare("param", declare),
            StmtKind::State(declare) => self.declare("state", declare),
            StmtKind::Const(item) => self.constant(item),
            StmtKind::Fn(item) => Row::of(self.function(item)),
            StmtKind::Update { name, value } => self.defined(format!("update {name}"), name.span.end, value),
            StmtKind::Next { name, value } => self.defined(format!("next {name}"), name.span.end, value),
            StmtKind::Emit(value) => Row::of(docs!["emit ", self.expr(value, ANY)]),
            StmtKind::Expr(value) => Row::of(self.statement_expr(value)),
            StmtKind::Error => Row::of(Doc::text(self.source(stmt.span))),
        }
    }

    /// An expression as a statement: in parentheses if its first word would go on with the line before.
    fn statement_expr(&mut self, expr: &Expr) -> Doc {
        const GO_ON: [&str; 15] = [
            "per",
            "from",
            "until",
            "at",
            "most",
            "reversed",
            "checkpoint",
            "every",
            "over",
            "with",
            "inside",
            "as",
            "by",
            "on",
            "sorted",
        ];
        let doc = self.expr(expr, ANY);
        let flat = doc.flat();
        let first = flat.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap_or("");
        if GO_ON.contains(&first) || first == "stalls" { docs!["(", doc.indent(), ")"] } else { doc }
    }

    pub fn definition(&mut self, item: &Let) -> Row {
        let mut name = format!("let {}", item.name);
        let mut end = item.name.span.end;
        if let Some(binders) = &item.binders {
            end = binders.last().map_or(end, |binder| binder.span.end);
            name = format!("{name}[{}]", self.binders(binders));
        }
        self.defined(name, end, &item.value)
    }

    /// `name = value`, where the name ends at `end`.
    pub fn defined(&mut self, name: String, end: u32, value: &Expr) -> Row {
        let next = self.equals_between(end, value.span.start);
        Row::cells(vec![Cell { text: name, next }], docs!["= ", self.expr(value, ANY)])
    }

    fn declare(&mut self, word: &str, declare: &Declare) -> Row {
        let names: Vec<&str> = declare.names.iter().map(|name| name.text.as_str()).collect();
        self.typed(format!("{word} {}:", names.join(", ")), &declare.ty, &declare.init)
    }

    /// `name: type = value`, where `name` brings its colon.
    pub fn typed(&mut self, name: String, ty: &Type, value: &Expr) -> Row {
        let next = self.equals_between(ty.span.end, value.span.start);
        self.hold += 1;
        let cells = vec![Cell { text: name, next: ty.span.start }, Cell { text: self.ty(ty).flat(), next }];
        self.hold -= 1;
        Row::cells(cells, docs!["= ", self.expr(value, ANY)])
    }

    fn constant(&mut self, item: &Const) -> Row {
        match &item.ty {
            Some(ty) => self.typed(format!("const {}:", item.name), ty, &item.value),
            None => self.defined(format!("const {}", item.name), item.name.span.end, &item.value),
        }
    }

    /// Where the `=` between two places stands.
    pub fn equals_between(&self, from: u32, to: u32) -> u32 {
        let between = self.layout.text.get(from as usize..to as usize).unwrap_or("");
        from + between.find('=').unwrap_or(0) as u32
    }
}
