//! Visiting every expression of a function's body.

use bdl_check::hir::{Expr, ExprKind, Let, Outside, Sub};

/// Calls `f` on the expression and everything inside it, outer first; not on the bodies of applied functions.
pub(crate) fn visit<'e>(expr: &'e Expr, f: &mut dyn FnMut(&'e Expr)) {
    f(expr);
    match &expr.kind {
        ExprKind::Number(_)
        | ExprKind::Bool(_)
        | ExprKind::Size(_)
        | ExprKind::Index(_)
        | ExprKind::Local(_)
        | ExprKind::Param(_)
        | ExprKind::State(_)
        | ExprKind::NextState(_)
        | ExprKind::Const(_)
        | ExprKind::Ambient(_) => {}
        ExprKind::Block { lets, value } => {
            visit_lets(lets, f);
            visit(value, f);
        }
        ExprKind::For { body, .. } => visit(body, f),
        ExprKind::Reduce { filter, default, body, .. } => {
            [filter, default].into_iter().flatten().for_each(|e| visit(e, f));
            visit(body, f);
        }
        ExprKind::Subscript { base, subs } => {
            visit(base, f);
            subs.iter().for_each(|sub| visit_sub(sub, f));
        }
        ExprKind::Unary(_, a) | ExprKind::Field(a, _) | ExprKind::OfExample(_, a) => visit(a, f),
        ExprKind::Binary(_, a, b) => {
            visit(a, f);
            visit(b, f);
        }
        ExprKind::If(c, a, b) => {
            visit(c, f);
            visit(a, f);
            visit(b, f);
        }
        ExprKind::Record(fields) => fields.iter().for_each(|(_, e)| visit(e, f)),
        ExprKind::Apply { args, .. } | ExprKind::Builtin(_, args) | ExprKind::List(args) => {
            args.iter().for_each(|e| visit(e, f));
        }
        ExprKind::Scan(scan) => {
            scan.carried.iter().for_each(|(_, e)| visit(e, f));
            visit_lets(&scan.lets, f);
            scan.next.iter().chain(&scan.emit).for_each(|e| visit(e, f));
        }
        ExprKind::Iterate(iterate) => {
            iterate.carried.iter().for_each(|(_, e)| visit(e, f));
            visit(&iterate.until, f);
            visit_lets(&iterate.lets, f);
            iterate.next.iter().for_each(|e| visit(e, f));
        }
    }
}

fn visit_lets<'e>(lets: &'e [Let], f: &mut dyn FnMut(&'e Expr)) {
    lets.iter().for_each(|l| visit(&l.value, f));
}

fn visit_sub<'e>(sub: &'e Sub, f: &mut dyn FnMut(&'e Expr)) {
    let outside = match sub {
        Sub::Affine { outside, .. } => outside,
        Sub::Data { index, outside } => {
            visit(index, f);
            outside
        }
        Sub::Range { .. } | Sub::All => return,
    };
    match outside {
        Outside::Never | Outside::Clamp | Outside::Mod => {}
        Outside::Else(e) => visit(e, f),
    }
}
