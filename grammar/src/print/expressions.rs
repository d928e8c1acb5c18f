//! Expressions and types as text, with the parentheses they need and those that were written.
//!
//! A level is how tightly something binds; the numbers mirror the ladder in `bdl.lalrpop`. A node whose level is below what
//! its place asks for gets parentheses. Lines break only where the lexer reads on: inside brackets, before `|>`, `then`,
//! `else` and binary operators.

use super::Printer;
use super::doc::{Doc, docs};
use crate::ast::*;

/// Everything.
pub const ANY: u8 = 0;
/// No bare `x else d`: between `then` and `else`.
pub const PLAIN: u8 = 1;
pub const PIPE: u8 = 2;
pub const OR: u8 = 3;
const AND: u8 = 4;
const NOT: u8 = 5;
const COMPARISON: u8 = 6;
pub const ADD: u8 = 7;
const TERM: u8 = 8;
const PRODUCT: u8 = 9;
const UNARY: u8 = 10;
pub const POST: u8 = 11;
const PRIMARY: u8 = 12;

impl Printer<'_> {
    /// An expression at a place that asks for `level` or tighter.
    pub fn expr(&mut self, expr: &Expr, level: u8) -> Doc {
        if self.in_parentheses(expr) || self.level(expr) < level {
            let inside = self.bare(expr, ANY);
            return docs!["(", inside.indent(), ")"];
        }
        self.bare(expr, level)
    }

    /// An expression in a header, on one line.
    pub fn unbroken(&mut self, expr: &Expr, level: u8) -> String {
        self.hold += 1;
        let text = self.expr(expr, level).flat();
        self.hold -= 1;
        text
    }

    fn in_parentheses(&self, expr: &Expr) -> bool {
        self.layout.parentheses.contains(&(expr.span.start, expr.span.end))
    }

    /// A reduction, or its negative, not in parentheses: as a factor it must be the last.
    fn is_bare_reduction(&self, expr: &Expr) -> bool {
        if self.in_parentheses(expr) {
            return false;
        }
        match &expr.kind {
            ExprKind::Unary { op: UnaryOp::Neg, value } => self.is_bare_reduction(value),
            kind => matches!(kind, ExprKind::Reduce { .. }),
        }
    }

    fn level(&self, expr: &Expr) -> u8 {
        match &expr.kind {
            ExprKind::Else { .. } => ANY,
            ExprKind::If { .. } | ExprKind::For { .. } => PLAIN,
            ExprKind::Pipe { .. } | ExprKind::Except { .. } => PIPE,
            ExprKind::Binary { op, right, .. } => match op {
                BinaryOp::Or => OR,
                BinaryOp::And => AND,
                BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => COMPARISON,
                BinaryOp::Add | BinaryOp::Sub => ADD,
                BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem if self.is_bare_reduction(right) => TERM,
                BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => PRODUCT,
            },
            ExprKind::Unary { op: UnaryOp::Not, .. } => NOT,
            ExprKind::Unary { op: UnaryOp::Neg, value } if self.is_bare_reduction(value) => TERM,
            ExprKind::Unary { op: UnaryOp::Neg, .. } => UNARY,
            ExprKind::Reduce { .. } => TERM,
            ExprKind::Call { .. } | ExprKind::Subscript { .. } | ExprKind::Field { .. } => POST,
            ExprKind::Name(_) | ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Str(_) | ExprKind::Bool(_) => PRIMARY,
            ExprKind::Quantity { .. } | ExprKind::Next(_) | ExprKind::List(_) | ExprKind::Record(_) => PRIMARY,
            ExprKind::Block(_) | ExprKind::Scan(_) | ExprKind::Iterate(_) | ExprKind::Error => PRIMARY,
        }
    }

    /// Without parentheses around the whole.
    fn bare(&mut self, expr: &Expr, level: u8) -> Doc {
        match &expr.kind {
            ExprKind::Name(name) => Doc::text(&name.text),
            ExprKind::Int(value) => {
                Doc::text(self.spelling(expr, |text| text.parse() == Ok(*value), value.to_string()))
            }
            ExprKind::Float(value) => {
                Doc::text(self.spelling(expr, |text| text.parse() == Ok(*value), format!("{value:?}")))
            }
            ExprKind::Str(text) => Doc::text(quoted(text)),
            ExprKind::Bool(value) => Doc::text(value.to_string()),
            ExprKind::Quantity { value, unit } => docs![self.expr(value, PRIMARY), " ", &unit.text],
            ExprKind::Next(name) => docs!["next ", &name.text],
            ExprKind::Unary { op: UnaryOp::Not, value } => docs!["not ", self.expr(value, NOT)],
            ExprKind::Unary { op: UnaryOp::Neg, value } if self.is_bare_reduction(value) => {
                docs!["-", self.expr(value, TERM)]
            }
            ExprKind::Unary { op: UnaryOp::Neg, value } => docs!["-", self.expr(value, UNARY)],
            ExprKind::Binary { .. } => self.binary(expr),
            ExprKind::Pipe { .. } => self.pipe(expr),
            ExprKind::Call { callee, args } => {
                let callee = self.expr(callee, POST);
                docs![callee, self.args(args)]
            }
            ExprKind::Subscript { base, subs } => {
                let base = self.expr(base, POST);
                let subs = self.each(subs, |sub| sub.span.start, Printer::sub);
                docs![base, enclosed("[", subs, "]")]
            }
            ExprKind::Field { base, field } => docs![self.expr(base, POST), ".", &field.text],
            ExprKind::List(values) => {
                let values = self.each(values, |value| value.span.start, |printer, value| printer.expr(value, ANY));
                enclosed("[", values, "]")
            }
            ExprKind::Record(fields) => self.record(fields),
            ExprKind::For { binders, body } => {
                let binders = self.binders(binders);
                docs!["for ", binders, ": ", self.expr(body, level.min(PLAIN))]
            }
            ExprKind::Reduce { op, binders, filter, default, body, .. } => {
                let mut bound = vec![Doc::text(self.binders(binders))];
                if let Some(filter) = filter {
                    bound.push(docs![" if ", self.expr(filter, OR)]);
                }
                if let Some(default) = default {
                    bound.push(docs![" else ", self.expr(default, ADD)]);
                }
                docs![op.text(), "[", bound, "] ", self.expr(body, TERM)]
            }
            ExprKind::If { condition, then, other } => {
                let condition = self.expr(condition, PIPE);
                let before_then = self.comments_before(then.span.start);
                let then = self.expr(then, PLAIN);
                let before_else = self.comments_before(other.span.start);
                let other = self.expr(other, level.min(PLAIN));
                let branches = docs![before_then, Doc::Line, "then ", then, before_else, Doc::Line, "else ", other];
                docs!["if ", condition, branches.indent()].group()
            }
            ExprKind::Else { value, default } => {
                let value = self.expr(value, PIPE);
                docs![value, docs![Doc::Line, "else ", self.expr(default, ANY)].indent()].group()
            }
            ExprKind::Except { value, except } => {
                let value = self.expr(value, PIPE);
                let except = self.each(except, |text| text.span.start, |printer, text| printer.expr(text, PIPE));
                let except: Vec<String> = except.iter().map(|part| part.doc.flat()).collect();
                docs![value, " except ", except.join(", ")]
            }
            ExprKind::Block(block) => self.block(block),
            ExprKind::Scan(scan) => self.scan(scan),
            ExprKind::Iterate(iterate) => {
                let carried = self.carried(&iterate.carried);
                let until = self.unbroken(&iterate.until, OR);
                let at_most = self.unbroken(&iterate.at_most, ADD);
                docs!["iterate from ", carried, " until ", until, " at most ", at_most, " ", self.block(&iterate.body)]
            }
            ExprKind::Error => Doc::text(self.source(expr.span)),
        }
    }

    /// `a + b - c`: one group, a line before each operator of the same rung.
    fn binary(&mut self, expr: &Expr) -> Doc {
        let level = self.level(expr);
        let mut links = Vec::new();
        let mut first = expr;
        let (left_level, right_level) = match rung_of(expr) {
            OR => (OR, AND),
            AND => (AND, NOT),
            COMPARISON => (ADD, ADD),
            ADD => (ADD, TERM),
            _ => (PRODUCT, UNARY),
        };
        while let ExprKind::Binary { op, left, right } = &first.kind
            && rung(*op) == rung_of(expr)
            && (std::ptr::eq(first, expr) || !self.in_parentheses(first) && self.level(first) >= left_level)
        {
            links.push((*op, right.as_ref()));
            first = left;
        }
        links.reverse();
        let first_doc = self.expr(first, left_level);
        let last = links.len() - 1;
        let mut more = Vec::new();
        let mut end = first.span.end;
        let mut hug = false;
        for (at, (op, right)) in links.into_iter().enumerate() {
            let comments = self.comments_before(right.span.start);
            // A bare reduction may be the last factor of a product that stands where a term may.
            let bare = at == last && level == TERM && self.is_bare_reduction(right);
            let breaks_before = first_doc.must_break() || comments.must_break() || more.iter().any(Doc::must_break);
            let right_doc = self.expr(right, if bare { TERM } else { right_level });
            // `x + (x |> f` that goes on below: only the last operand breaks, so its operator stays where it is.
            hug = right_doc.must_break() && !breaks_before && !self.begins_line_between(end, right.span.start);
            end = right.span.end;
            more.extend([comments, Doc::Line, Doc::text(op.text()), Doc::text(" "), right_doc]);
        }
        if hug {
            let more = more.into_iter().map(|doc| if doc == Doc::Line { Doc::text(" ") } else { doc });
            return docs![first_doc, Doc::Concat(more.collect())];
        }
        docs![first_doc, Doc::Concat(more).indent()].group()
    }

    /// `x |> f |> g`: lines begin with `|>` where they did, or each with one where the line is too long.
    fn pipe(&mut self, expr: &Expr) -> Doc {
        let mut links = Vec::new();
        let mut first = expr;
        while let ExprKind::Pipe { value, into } = &first.kind
            && (std::ptr::eq(first, expr) || !self.in_parentheses(first))
        {
            links.push((value.span.end, into.as_ref()));
            first = value;
        }
        links.reverse();
        let kept = links.iter().any(|(end, into)| self.begins_line_between(*end, into.span.start));
        let head = self.expr(first, PIPE);
        let mut more = Vec::new();
        for (end, into) in links {
            let comments = self.comments_before(into.span.start);
            let breaks = self.begins_line_between(end, into.span.start) || comments.must_break();
            let line = if breaks { Doc::Hard } else { Doc::Line };
            let link = docs![line, "|> ", self.expr(into, OR)];
            // Lines that were laid out by hand break elsewhere only where they must.
            more.push(docs![comments, if kept { link.group() } else { link }]);
        }
        docs![head, Doc::Concat(more).indent()].group()
    }

    fn args(&mut self, args: &[Arg]) -> Doc {
        let args = self.each(
            args,
            |arg| arg.span.start,
            |printer, arg| match &arg.kind {
                ArgKind::Positional(value) => printer.expr(value, ANY),
                ArgKind::Named { name, value } => docs![&name.text, ": ", printer.expr(value, ANY)],
                ArgKind::Each { binder, list, body } => {
                    let binder = binder.as_ref().map_or("_", |name| &name.text);
                    docs![binder, " in ", printer.expr(list, ANY), ": ", printer.expr(body, ANY)]
                }
                ArgKind::Hole => Doc::text("_"),
            },
        );
        enclosed("(", args, ")")
    }

    fn sub(&mut self, sub: &Sub) -> Doc {
        match &sub.kind {
            // `x[(a else b)]` reads at a value that may be missing, `x[a else b]` guards the read.
            SubKind::Expr(index) => self.expr(index, PLAIN),
            SubKind::Else { index, default } => docs![self.expr(index, PIPE), " else ", self.expr(default, ANY)],
            SubKind::Rest => Doc::text(".."),
            SubKind::Range { from, to } => docs![self.expr(from, ADD), "..", self.expr(to, ADD)],
        }
    }

    fn record(&mut self, fields: &[RecordField]) -> Doc {
        let single = matches!(fields, [RecordField { name: None, .. }]);
        let mut fields = self.each(
            fields,
            |field| field.span.start,
            |printer, field| match &field.name {
                Some(name) => docs![&name.text, ": ", printer.expr(&field.value, ANY)],
                None => printer.expr(&field.value, ANY),
            },
        );
        match fields.pop() {
            Some(only) if single => docs!["(", only.doc, ",)"],
            last => {
                fields.extend(last);
                enclosed("(", fields, ")")
            }
        }
    }

    fn scan(&mut self, scan: &Scan) -> Doc {
        let mut all = vec![docs!["scan ", &scan.index.text, " in ", self.unbroken(&scan.extent, ADD)]];
        match &scan.reversed {
            Reversed::No => {}
            Reversed::Always(_) => all.push(Doc::text(" reversed")),
            Reversed::If(condition) => all.push(docs![" reversed if ", self.unbroken(condition, OR)]),
        }
        all.push(docs![" from ", self.carried(&scan.carried)]);
        if let Some(every) = &scan.checkpoint {
            all.push(docs![" checkpoint every ", self.unbroken(every, ADD)]);
        }
        all.push(docs![" ", self.block(&scan.body)]);
        Doc::Concat(all)
    }

    fn carried(&mut self, carried: &[Carried]) -> Doc {
        let carried = self.each(
            carried,
            |carried| carried.span.start,
            |printer, carried| docs![&carried.name.text, " = ", printer.expr(&carried.init, ANY)],
        );
        enclosed("(", carried, ")")
    }

    /// On one line: outside brackets a line may end after a comma, but it reads badly.
    pub fn binders(&mut self, binders: &[Binder]) -> String {
        let binders = binders.iter().map(|binder| match &binder.kind {
            BinderKind::Rest => "..".to_string(),
            BinderKind::Name(name) => name.text.clone(),
            BinderKind::Bounded { name, bound } => format!("{name} < {}", self.unbroken(bound, ADD)),
            BinderKind::In { name, extent } => format!("{name} in {}", self.unbroken(extent, ADD)),
            BinderKind::Batch => "batch".to_string(),
        });
        binders.collect::<Vec<_>>().join(", ")
    }

    pub fn ty(&mut self, ty: &Type) -> Doc {
        match &ty.kind {
            TypeKind::Word { name, args, optional, dims } => {
                let mut all = vec![Doc::text(&name.text)];
                if !args.is_empty() {
                    let args = args.iter().map(|arg| self.unbroken(arg, ADD)).collect::<Vec<_>>().join(", ");
                    all.push(Doc::text(format!("({args})")));
                }
                if *optional {
                    all.push(Doc::text("?"));
                }
                if let Some(dims) = dims {
                    let dims = dims.iter().map(|dim| match dim {
                        Dim::Rest(_) => "..".to_string(),
                        Dim::Expr(expr) => self.unbroken(expr, ADD),
                    });
                    all.push(Doc::text(format!("[{}]", dims.collect::<Vec<_>>().join(", "))));
                }
                Doc::Concat(all)
            }
            TypeKind::Record(fields) => {
                let fields = self.each(
                    fields,
                    |field| field.span.start,
                    |printer, field| docs![&field.name.text, ": ", printer.ty(&field.ty)],
                );
                enclosed("(", fields, ")")
            }
            TypeKind::List(ty) => docs!["[", self.ty(ty), "]"],
            TypeKind::Layer { inputs, result } => self.arrow("layer", inputs, result),
            TypeKind::Fn { inputs, result } => self.arrow("fn", inputs, result),
            TypeKind::Error => Doc::text(self.source(ty.span)),
        }
    }

    fn arrow(&mut self, word: &str, inputs: &[Type], result: &Type) -> Doc {
        let inputs = self.each(inputs, |ty| ty.span.start, Printer::ty);
        docs![word, enclosed("(", inputs, ")"), " -> ", self.ty(result)]
    }

    /// The parts of a bracket, each with the comments around it.
    pub fn each<T>(
        &mut self,
        parts: &[T],
        start: impl std::ops::Fn(&T) -> u32,
        mut print: impl FnMut(&mut Self, &T) -> Doc,
    ) -> Vec<Part> {
        let mut printed: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            let mut before = Vec::new();
            for comment in self.take_comments(start(part)) {
                match printed.last_mut() {
                    Some(last) if !comment.own_line && before.is_empty() => last.after.push(Doc::Comment(comment.text)),
                    _ => before.extend([Doc::Comment(comment.text), Doc::Hard]),
                }
            }
            let doc = print(self, part);
            printed.push(Part { doc: docs![before, doc], after: Vec::new() });
        }
        printed
    }
}

/// One part of a bracket.
pub struct Part {
    pub doc: Doc,
    /// Comments that end its line, after the comma.
    pub after: Vec<Doc>,
}

/// Parts between brackets: on one line, or each on its own.
pub fn enclosed(open: &str, parts: Vec<Part>, close: &str) -> Doc {
    if parts.is_empty() {
        return docs![open, close];
    }
    let mut inside = vec![Doc::Soft];
    for (at, Part { doc, after }) in parts.into_iter().enumerate() {
        if at > 0 {
            inside.push(Doc::Line);
        }
        inside.extend([doc, Doc::text(","), Doc::Concat(after)]);
    }
    // The last part has its comma only where it stands on a line of its own.
    if let Some(at) = inside.iter().rposition(|doc| *doc == Doc::text(",")) {
        inside[at] = Doc::TrailingComma;
    }
    docs![open, Doc::Concat(inside).indent(), Doc::Soft, close].group()
}

fn rung(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => OR,
        BinaryOp::And => AND,
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => COMPARISON,
        BinaryOp::Add | BinaryOp::Sub => ADD,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => PRODUCT,
    }
}

fn rung_of(expr: &Expr) -> u8 {
    let ExprKind::Binary { op, .. } = &expr.kind else { return PRIMARY };
    rung(*op)
}

/// A text literal.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}
