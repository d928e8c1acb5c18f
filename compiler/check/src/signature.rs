//! Sizes of a signature that a call finds, and those that none can.
//!
//! A call finds a size where it stands alone (`f32[n]`), and where it is the only one unknown and stands to the first power
//! (`f32[2 * n + 1]` meets 9: n is 4). `f32[n * n]` by itself tells no call what n is, so it is refused where it is written.

use crate::checker::{Binding, Body, BodyKind, Checker};
use crate::scope::FileAt;
use crate::types::{Kind, Meeting, kind_of};
use crate::value::Value;
use crate::walk;
use bdl_dims::Dim;
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::{self, TypeKind};
use std::collections::HashSet;

/// `slope * unknown + offset`.
pub(crate) struct Linear {
    pub slope: Dim,
    pub offset: Dim,
}

impl<'a> Checker<'a> {
    /// The written size as a form in `name`, every other name bound. `None` if it is no size or not to the first power in it.
    pub fn linear_in(&mut self, written: &'a ast::Expr, name: &'a str) -> Option<Linear> {
        let unknown = Dim::var("?");
        let before = self.diagnostics.len();
        let size = self.scoped(|checker| {
            checker.body().bind(name, Binding::Value(Value::size(unknown.clone())));
            checker.try_size(written)
        });
        self.diagnostics.truncate(before);
        let size = size?.dim;
        let at = |value: i64| size.substitute(&|name| (name == "?").then(|| Dim::from(value)));
        let offset = at(0);
        let slope = at(1) - offset.clone();
        (size == slope.clone() * unknown + offset.clone() && !slope.is_zero()).then_some(Linear { slope, offset })
    }

    /// Says which size of a definition's inputs no call can find.
    pub fn sizes_can_be_found(
        &mut self,
        hyper: &'a [ast::Param],
        inputs: &'a [ast::Param],
        result: &'a ast::Type,
        file: FileAt,
    ) -> bool {
        let mut found: HashSet<&'a str> = hyper.iter().map(|param| param.name.text.as_str()).collect();
        let mut composite: Vec<&'a ast::Expr> = Vec::new();
        for param in hyper.iter().chain(inputs) {
            if kind_of(&param.ty) == Kind::Dim {
                found.insert(&param.name.text);
            }
            sizes_of(&param.ty, &mut found, &mut composite);
        }
        // What the place of use wants (`-> f32[n]`) binds names, too.
        sizes_of(result, &mut found, &mut Vec::new());
        let mut scratch = Body::new(file, BodyKind::Init, None);
        let mut names: Vec<&'a ast::Name> = Vec::new();
        composite.iter().for_each(|written| walk::names(written, &mut |name| names.push(name)));
        for name in &names {
            scratch.bind(&name.text, Binding::Value(Value::size(Dim::var(name.text.as_str()))));
        }
        self.bodies.push(scratch);
        let refused = loop {
            let known = found.len();
            let mut refused = None;
            for written in &composite {
                let mut open: Vec<&'a ast::Name> = Vec::new();
                walk::names(written, &mut |name| {
                    let is_size = !found.contains(name.text.as_str()) && !self.is_named_item(name, file);
                    if is_size && !open.iter().any(|known| known.text == name.text) {
                        open.push(name);
                    }
                });
                match open.as_slice() {
                    [] => {}
                    [name] if self.linear_in(written, &name.text).is_some() => {
                        found.insert(&name.text);
                    }
                    [name, ..] => refused = refused.or(Some((*written, *name, open.len()))),
                }
            }
            if found.len() == known {
                break refused;
            }
        };
        self.bodies.pop();
        let Some((written, name, open)) = refused else { return true };
        let why = match open {
            1 => format!("only this has `{name}`, and not to the first power"),
            _ => format!("`{name}` is not the only size that this leaves open"),
        };
        self.say(
            Diagnostic::error("not-a-size", format!("no call can find the size `{name}`"))
                .primary(written.span, why)
                .note("a size is found where it stands alone, `f32[n]`, or alone with numbers, `f32[2 * n + 1]`")
                .help(format!("name the whole, `f32[m]`, or let the caller give the size: an input `{name}: dim`")),
        );
        false
    }

    fn is_named_item(&self, name: &ast::Name, file: FileAt) -> bool {
        self.is_word(name) || self.items.find(file, &name.text).is_some()
    }

    /// `f32[2 * n]` meets 3: says that no whole n makes it so.
    pub fn refuses_size(&mut self, ty: &'a ast::Type, given: &[crate::hir::Axis], meeting: &Meeting) -> bool {
        let TypeKind::Word { dims: Some(dims), .. } = &ty.kind else { return false };
        if dims.len() != given.len() {
            return false;
        }
        for (dim, axis) in dims.iter().zip(given) {
            let ast::Dim::Expr(written) = dim else { continue };
            let mut open: Vec<&'a ast::Name> = Vec::new();
            walk::names(written, &mut |name| {
                if self.is_free(name) && !open.iter().any(|known| known.text == name.text) {
                    open.push(name);
                }
            });
            let [name] = open.as_slice() else { continue };
            if self.linear_in(written, &name.text).is_none() {
                continue;
            }
            let (text, size) = (self.text(written.span).to_string(), axis.size.clone());
            let what = match size.as_const() {
                Some(_) => format!("{size} is not {text} for a whole {name}"),
                None => format!("nothing says that {size} is {text} for a whole {name}"),
            };
            self.say(
                Diagnostic::error("dim-mismatch", format!("{} {}, but {what}", meeting.what, self.text(ty.span)))
                    .primary(meeting.span, format!("this axis has {size}"))
                    .secondary(written.span, format!("{name} is sought here")),
            );
            return true;
        }
        false
    }
}

/// The sizes of a type: those that stand alone, and those that are computed.
fn sizes_of<'a>(ty: &'a ast::Type, alone: &mut HashSet<&'a str>, composite: &mut Vec<&'a ast::Expr>) {
    let mut one = |written: &'a ast::Expr| {
        if let ast::ExprKind::Name(name) = &written.kind {
            alone.insert(&name.text);
        } else {
            composite.push(written);
        }
    };
    match &ty.kind {
        TypeKind::Word { name: _, args, optional: _, dims } => {
            args.iter().for_each(&mut one);
            for dim in dims.iter().flatten() {
                if let ast::Dim::Expr(written) = dim {
                    one(written);
                }
            }
        }
        TypeKind::Record(fields) => fields.iter().for_each(|field| sizes_of(&field.ty, alone, composite)),
        // What a layer that is given takes and gives binds names when it is applied.
        TypeKind::Layer { inputs, result } | TypeKind::Fn { inputs, result } => {
            inputs.iter().chain([&**result]).for_each(|ty| sizes_of(ty, alone, &mut Vec::new()));
        }
        TypeKind::List(inner) => sizes_of(inner, alone, composite),
        TypeKind::Error => {}
    }
}
