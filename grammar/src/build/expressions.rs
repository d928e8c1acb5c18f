//! Nodes of expressions.

use super::Context;
use crate::ast::*;
use crate::diagnostic::Diagnostic;

impl Context {
    pub fn unary(&self, start: u32, op: UnaryOp, value: Expr, end: u32) -> Expr {
        self.expr(start, ExprKind::Unary { op, value: Box::new(value) }, end)
    }

    pub fn binary(&self, start: u32, left: Expr, op: BinaryOp, right: Expr, end: u32) -> Expr {
        self.expr(start, ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }, end)
    }

    pub fn pipe(&self, start: u32, value: Expr, into: Expr, end: u32) -> Expr {
        self.expr(start, ExprKind::Pipe { value: Box::new(value), into: Box::new(into) }, end)
    }

    pub fn missing(&self, start: u32, value: Expr, default: Expr, end: u32) -> Expr {
        self.expr(start, ExprKind::Else { value: Box::new(value), default: Box::new(default) }, end)
    }

    pub fn for_each(&self, start: u32, binders: Vec<Binder>, body: Expr, end: u32) -> Expr {
        self.expr(start, ExprKind::For { binders, body: Box::new(body) }, end)
    }

    pub fn if_then(&self, start: u32, condition: Expr, then: Expr, other: Expr, end: u32) -> Expr {
        let (condition, then, other) = (Box::new(condition), Box::new(then), Box::new(other));
        self.expr(start, ExprKind::If { condition, then, other }, end)
    }

    pub fn reduce(
        &self,
        start: u32,
        op: Reduction,
        op_end: u32,
        (binders, filter, default): (Vec<Binder>, Option<Expr>, Option<Expr>),
        body: Expr,
        end: u32,
    ) -> Expr {
        let kind = ExprKind::Reduce {
            op,
            op_span: self.span(start, op_end),
            binders,
            filter: filter.map(Box::new),
            default: default.map(Box::new),
            body: Box::new(body),
        };
        self.expr(start, kind, end)
    }

    pub fn call(&self, start: u32, callee: Expr, args: Vec<Arg>, end: u32) -> Expr {
        self.expr(start, ExprKind::Call { callee: Box::new(callee), args: gather_except(args) }, end)
    }

    /// `max(a, b)`: the name is an ordinary name here.
    pub fn call_reduction(&self, start: u32, op: Reduction, op_end: u32, args: Vec<Arg>, end: u32) -> Expr {
        let callee = self.expr(start, ExprKind::Name(self.name(start, op.text(), op_end)), op_end);
        self.call(start, callee, args, end)
    }

    /// `impute(mean)`: the name stands alone as an argument.
    pub fn reduction_word(&self, start: u32, op: Reduction, end: u32) -> Expr {
        self.expr(start, ExprKind::Name(self.name(start, op.text(), end)), end)
    }

    pub fn subscript(&self, start: u32, base: Expr, subs: Vec<Sub>, end: u32) -> Expr {
        self.expr(start, ExprKind::Subscript { base: Box::new(base), subs }, end)
    }

    pub fn field(&self, start: u32, base: Expr, field: Name, end: u32) -> Expr {
        self.expr(start, ExprKind::Field { base: Box::new(base), field }, end)
    }

    /// `(x)` is `x`, remembered as written in parentheses; `(x, y)`, `(a: x)` and `(x,)` are records.
    pub fn parentheses(&mut self, start: u32, mut fields: Vec<RecordField>, comma: bool, end: u32) -> Expr {
        match fields.pop() {
            Some(RecordField { name: None, value, .. }) if fields.is_empty() && !comma => {
                self.parentheses.push((value.span.start, value.span.end));
                value
            }
            last => {
                fields.extend(last);
                self.expr(start, ExprKind::Record(fields), end)
            }
        }
    }

    pub fn except(&self, start: u32, value: Expr, except: Expr, end: u32) -> Expr {
        self.expr(start, ExprKind::Except { value: Box::new(value), except: vec![except] }, end)
    }

    /// Between the brackets of a subscript `e else d` guards a read; `(e else d)` is a value like any other.
    pub fn sub(&self, expr: Expr) -> SubKind {
        let written_alone = !self.parentheses.contains(&(expr.span.start, expr.span.end));
        if written_alone && let ExprKind::Else { value, default } = expr.kind {
            return SubKind::Else { index: *value, default: *default };
        }
        SubKind::Expr(expr)
    }

    /// `kernel = 9` as an argument: said to be wrong, and read as `kernel: 9`.
    pub fn equals_argument(&mut self, name: Name, start: u32, end: u32, value: Expr) -> ArgKind {
        self.diagnostics.push(
            Diagnostic::error("syntax", format!("a named argument is written `{name}: ...`"))
                .primary(self.span(start, end), "write `:` here")
                .help("`=` defines, `:` names an argument, `==` compares"),
        );
        ArgKind::Named { name, value }
    }

    pub fn binder(name: Name) -> BinderKind {
        if name.text == "batch" { BinderKind::Batch } else { BinderKind::Name(name) }
    }
}

/// Texts that follow `"*" except "y"` are exceptions too.
fn gather_except(args: Vec<Arg>) -> Vec<Arg> {
    let mut gathered: Vec<Arg> = Vec::with_capacity(args.len());
    for arg in args {
        if let ArgKind::Positional(Expr { kind: ExprKind::Str(_), .. }) = &arg.kind
            && let Some(Arg { kind: ArgKind::Positional(last), span }) = gathered.last_mut()
            && let ExprKind::Except { except, .. } = &mut last.kind
            && let ArgKind::Positional(text) = arg.kind
        {
            last.span = last.span.to(text.span);
            *span = span.to(text.span);
            except.push(text);
            continue;
        }
        gathered.push(arg);
    }
    gathered
}
