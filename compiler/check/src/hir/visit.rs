//! Walks over the terms of the HIR.

use super::{Expr, ExprKind, Outside, Sub};

/// The terms directly inside a term.
pub fn children(expr: &Expr) -> Vec<&Expr> {
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
        | ExprKind::Ambient(_) => Vec::new(),
        ExprKind::Block { lets, value } => lets.iter().map(|l| &l.value).chain([&**value]).collect(),
        ExprKind::For { indices: _, body } => vec![body],
        ExprKind::Reduce { op: _, indices: _, filter, default, body } => {
            filter.iter().chain(default).map(|part| &**part).chain([&**body]).collect()
        }
        ExprKind::Subscript { base, subs } => std::iter::once(&**base).chain(subs.iter().flat_map(of_sub)).collect(),
        ExprKind::Unary(_, value) => vec![value],
        ExprKind::Binary(_, left, right) => vec![left, right],
        ExprKind::If(condition, then, other) => vec![condition, then, other],
        ExprKind::Record(fields) => fields.iter().map(|(_, value)| value).collect(),
        ExprKind::Field(value, _) | ExprKind::OfExample(_, value) => vec![value],
        ExprKind::Apply { function: _, args } | ExprKind::Builtin(_, args) | ExprKind::List(args) => {
            args.iter().collect()
        }
        ExprKind::Scan(scan) => {
            let starts = scan.carried.iter().map(|(_, start)| start);
            starts.chain(scan.lets.iter().map(|l| &l.value)).chain(&scan.next).chain(&scan.emit).collect()
        }
        ExprKind::Iterate(iterate) => {
            let starts = iterate.carried.iter().map(|(_, start)| start);
            starts.chain([&iterate.until]).chain(iterate.lets.iter().map(|l| &l.value)).chain(&iterate.next).collect()
        }
    }
}

fn of_sub(sub: &Sub) -> Vec<&Expr> {
    let (index, outside) = match sub {
        Sub::Affine { terms: _, offset: _, outside } => (None, Some(outside)),
        Sub::Data { index, outside } => (Some(&**index), Some(outside)),
        Sub::Range { .. } | Sub::All => (None, None),
    };
    let default = outside.and_then(|outside| match outside {
        Outside::Else(value) => Some(&**value),
        Outside::Never | Outside::Clamp | Outside::Mod => None,
    });
    index.into_iter().chain(default).collect()
}

/// Calls `seen` for the term and every term inside it, outermost first.
pub fn each<'e>(expr: &'e Expr, seen: &mut dyn FnMut(&'e Expr)) {
    seen(expr);
    for child in children(expr) {
        each(child, seen);
    }
}
