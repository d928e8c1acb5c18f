//! Which names an expression mentions, whatever they mean.

use bdl_grammar::ast::{
    Arg, ArgKind, Binder, BinderKind, Block, Dim, Expr, ExprKind, Fn, Name, Reversed, Stmt, StmtKind, Sub, SubKind,
    Type, TypeKind,
};

/// Calls `seen` for every name in the expression, names of fields included (`other.time`).
pub fn names<'a>(expr: &'a Expr, seen: &mut dyn FnMut(&'a Name)) {
    match &expr.kind {
        ExprKind::Name(name) | ExprKind::Next(name) => seen(name),
        ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Str(_) | ExprKind::Bool(_) | ExprKind::Error => {}
        ExprKind::Quantity { value, unit: _ } => names(value, seen),
        ExprKind::Unary { op: _, value } => names(value, seen),
        ExprKind::Binary { op: _, left, right } => {
            names(left, seen);
            names(right, seen);
        }
        ExprKind::Pipe { value, into } => {
            names(value, seen);
            names(into, seen);
        }
        ExprKind::Call { callee, args } => {
            names(callee, seen);
            for arg in args {
                argument(arg, seen);
            }
        }
        ExprKind::Subscript { base, subs } => {
            names(base, seen);
            for sub in subs {
                subscript(sub, seen);
            }
        }
        ExprKind::Field { base, field } => {
            names(base, seen);
            seen(field);
        }
        ExprKind::List(items) => items.iter().for_each(|item| names(item, seen)),
        ExprKind::Record(fields) => fields.iter().for_each(|field| names(&field.value, seen)),
        ExprKind::For { binders: bound, body } => {
            binders(bound, seen);
            names(body, seen);
        }
        ExprKind::Reduce { op: _, op_span: _, binders: bound, filter, default, body } => {
            binders(bound, seen);
            for part in filter.iter().chain(default) {
                names(part, seen);
            }
            names(body, seen);
        }
        ExprKind::If { condition, then, other } => {
            names(condition, seen);
            names(then, seen);
            names(other, seen);
        }
        ExprKind::Else { value, default } => {
            names(value, seen);
            names(default, seen);
        }
        ExprKind::Except { value, except } => {
            names(value, seen);
            except.iter().for_each(|item| names(item, seen));
        }
        ExprKind::Block(body) => block(body, seen),
        ExprKind::Scan(scan) => {
            names(&scan.extent, seen);
            if let Reversed::If(condition) = &scan.reversed {
                names(condition, seen);
            }
            scan.carried.iter().for_each(|carried| names(&carried.init, seen));
            if let Some(every) = &scan.checkpoint {
                names(every, seen);
            }
            block(&scan.body, seen);
        }
        ExprKind::Iterate(iterate) => {
            iterate.carried.iter().for_each(|carried| names(&carried.init, seen));
            names(&iterate.until, seen);
            names(&iterate.at_most, seen);
            block(&iterate.body, seen);
        }
    }
}

/// As [`names`], for every statement of a block.
pub fn block<'a>(block: &'a Block, seen: &mut dyn FnMut(&'a Name)) {
    for statement in &block.stmts {
        stmt(statement, seen);
    }
}

fn stmt<'a>(stmt: &'a Stmt, seen: &mut dyn FnMut(&'a Name)) {
    match &stmt.kind {
        StmtKind::Let(binding) => {
            if let Some(bound) = &binding.binders {
                binders(bound, seen);
            }
            names(&binding.value, seen);
        }
        StmtKind::Param(declare) | StmtKind::State(declare) => {
            type_names(&declare.ty, seen);
            names(&declare.init, seen);
        }
        StmtKind::Const(constant) => names(&constant.value, seen),
        StmtKind::Fn(def) => function(def, seen),
        StmtKind::Update { name, value } | StmtKind::Next { name, value } => {
            seen(name);
            names(value, seen);
        }
        StmtKind::Emit(value) | StmtKind::Expr(value) => names(value, seen),
        StmtKind::Error => {}
    }
}

/// As [`names`], for the types, laws and body of a function.
pub fn function<'a>(def: &'a Fn, seen: &mut dyn FnMut(&'a Name)) {
    for input in &def.inputs {
        type_names(&input.ty, seen);
        input.default.iter().for_each(|default| names(default, seen));
    }
    type_names(&def.result, seen);
    def.laws.iter().for_each(|law| names(&law.condition, seen));
    block(&def.body, seen);
}

fn argument<'a>(arg: &'a Arg, seen: &mut dyn FnMut(&'a Name)) {
    match &arg.kind {
        ArgKind::Positional(value) | ArgKind::Named { name: _, value } => names(value, seen),
        ArgKind::Each { binder: _, list, body } => {
            names(list, seen);
            names(body, seen);
        }
        ArgKind::Hole => {}
    }
}

fn subscript<'a>(sub: &'a Sub, seen: &mut dyn FnMut(&'a Name)) {
    match &sub.kind {
        SubKind::Expr(index) => names(index, seen),
        SubKind::Else { index, default } => {
            names(index, seen);
            names(default, seen);
        }
        SubKind::Rest => {}
        SubKind::Range { from, to } => {
            names(from, seen);
            names(to, seen);
        }
    }
}

fn binders<'a>(binders: &'a [Binder], seen: &mut dyn FnMut(&'a Name)) {
    for binder in binders {
        match &binder.kind {
            BinderKind::Rest | BinderKind::Name(_) | BinderKind::Batch => {}
            BinderKind::Bounded { name: _, bound } => names(bound, seen),
            BinderKind::In { name: _, extent } => names(extent, seen),
        }
    }
}

/// As [`names`], for the dimensions and arguments of a type and of the types inside it. Statements of a block declare types too;
/// [`block`] looks into them.
pub fn type_names<'a>(ty: &'a Type, seen: &mut dyn FnMut(&'a Name)) {
    match &ty.kind {
        TypeKind::Word { name: _, args, optional: _, dims } => {
            args.iter().for_each(|arg| names(arg, seen));
            for dim in dims.iter().flatten() {
                if let Dim::Expr(e) = dim {
                    names(e, seen);
                }
            }
        }
        TypeKind::Record(fields) => fields.iter().for_each(|field| type_names(&field.ty, seen)),
        TypeKind::List(inner) => type_names(inner, seen),
        TypeKind::Layer { inputs, result } | TypeKind::Fn { inputs, result } => {
            inputs.iter().for_each(|input| type_names(input, seen));
            type_names(result, seen);
        }
        TypeKind::Error => {}
    }
}

/// Calls `seen` for the word of the type and of the types inside it: `f32`, `DNA`, or the name of another type.
pub fn type_words<'a>(ty: &'a Type, seen: &mut dyn FnMut(&'a Name)) {
    match &ty.kind {
        TypeKind::Word { name, args: _, optional: _, dims: _ } => seen(name),
        TypeKind::Record(fields) => fields.iter().for_each(|field| type_words(&field.ty, seen)),
        TypeKind::List(inner) => type_words(inner, seen),
        TypeKind::Layer { inputs, result } | TypeKind::Fn { inputs, result } => {
            inputs.iter().for_each(|input| type_words(input, seen));
            type_words(result, seen);
        }
        TypeKind::Error => {}
    }
}

/// The name that an expression is, if it is nothing but a name.
pub fn as_name(e: &Expr) -> Option<&Name> {
    if let ExprKind::Name(name) = &e.kind { Some(name) } else { None }
}

/// `random(train: 0.7)` or `leave_one_out`: a name and what it is applied to.
pub fn application(e: &Expr) -> Option<(&Name, &[Arg])> {
    if let ExprKind::Call { callee, args } = &e.kind {
        return Some((as_name(callee)?, args));
    }
    Some((as_name(e)?, &[]))
}
