//! Another example of the batch: `other.x`, and the sizes that it has of its own.
//!
//! Where T may differ from example to example, `other.x` of an x with T elements has `other.T` elements. That is another size than T for
//! every proof here: `x[t] * other.x[t]` gives t two ranges that nothing makes equal, and `sum[s] other.x[s]` gives s the range `other.T`.
//! What holds for the sizes of every example (a `where` law, a dimension that is at least 1) holds for those of the other one, too; what a
//! branch is about (`if T > 3`) does not.
//!
//! A size that a parameter depends on is one number for all examples, and so is every size of a definition that is checked by itself: there
//! nothing is known about what the sizes will be.

use crate::checker::{Checker, IndexInfo};
use crate::hir::{Axis, ExprKind, IndexId, IndexKind, Name, OtherSize, Scalar, SizeOrigin, TensorType, Type};
use crate::value::{Size, Value, expr, show_tensor};
use bdl_dims::Dim;
use bdl_grammar::{Diagnostic, Span, ast};
use std::sync::Arc;

impl<'a> Checker<'a> {
    /// `other.x`: x of the example that the index names.
    pub fn of_other(&mut self, id: IndexId, field: &'a ast::Name, span: Span) -> Value<'a> {
        let value = match self.name(field, field.span, None) {
            Value::Size(size) => return Value::Size(Size { dim: self.other_size(id, &size.dim), ..size }),
            value => self.term_of(value, field.span, None),
        };
        if value.is_error() {
            return Value::Error;
        }
        let ty = self.other_type(id, &value.ty);
        Value::Run(expr(ExprKind::OfExample(id, Box::new(value)), ty, span))
    }

    fn other_type(&mut self, id: IndexId, ty: &Type) -> Type {
        match ty {
            Type::Tensor(tensor) => {
                let scalar = match &tensor.scalar {
                    Scalar::Index(below) => Scalar::Index(self.other_size(id, below)),
                    Scalar::Category(count, names) => Scalar::Category(self.other_size(id, count), names.clone()),
                    same @ (Scalar::F32
                    | Scalar::F64
                    | Scalar::BF16
                    | Scalar::I32
                    | Scalar::Bool
                    | Scalar::Letter(_, _)
                    | Scalar::Logit
                    | Scalar::Prob
                    | Scalar::Count) => same.clone(),
                };
                let shape = tensor.shape.iter().map(|axis| self.other_axis(id, axis)).collect();
                Type::Tensor(TensorType { scalar, shape, optional: tensor.optional })
            }
            Type::Record(fields) => {
                Type::Record(fields.iter().map(|(name, ty)| (name.clone(), self.other_type(id, ty))).collect())
            }
            Type::Error => Type::Error,
        }
    }

    fn other_axis(&mut self, id: IndexId, axis: &Axis) -> Axis {
        let size = self.other_size(id, &axis.size);
        let origin = if size == axis.size { axis.origin.clone() } else { of_another(axis.origin.as_ref()) };
        Axis { size, origin, names: axis.names.clone() }
    }

    /// The size as the other example has it.
    fn other_size(&mut self, id: IndexId, dim: &Dim) -> Dim {
        let example = self.here().index(id).name.clone();
        let sizes: Vec<(Name, Name)> = dim
            .names()
            .into_iter()
            .filter(|name| self.may_differ(name))
            .map(|name| {
                let other: Name = format!("{example}.{name}").into();
                (name, other)
            })
            .collect();
        if sizes.is_empty() {
            return dim.clone();
        }
        for (of, name) in &sizes {
            if self.hir.others.iter().all(|known| known.name != *name) {
                let (name, of) = (name.clone(), of.clone());
                self.hir.others.push(OtherSize { name, of, example: example.clone() });
            }
        }
        self.body().laws.hold_for(&sizes);
        dim.substitute(&|name| sizes.iter().find(|(of, _)| **of == *name).map(|(_, other)| Dim::var(other.clone())))
    }

    /// May the named size differ from example to example? (A name with a question mark is a size that only the absent data know.)
    fn may_differ(&self, name: &str) -> bool {
        let types = || {
            let store = &self.store;
            let params = store.params.iter().map(|p| &p.ty);
            params.chain(store.states.iter().map(|s| &s.ty)).chain(store.consts.iter().map(|c| &c.ty))
        };
        !self.generic
            && !name.contains('?')
            && !self.is_other(name)
            && !types().any(|ty| ty.shape.iter().any(|axis| axis.size.mentions(name)))
    }

    fn is_other(&self, name: &str) -> bool {
        self.hir.others.iter().any(|other| *other.name == *name)
    }

    /// Does the size belong to another example?
    pub fn is_of_other(&self, dim: &Dim) -> bool {
        dim.mentions_any(&|name| self.is_other(name))
    }

    /// The size that the example at hand has where the other one has this.
    pub fn own_size(&self, dim: &Dim) -> Dim {
        let mut dim = dim.clone();
        while self.is_of_other(&dim) {
            dim = dim.substitute(&|name| {
                let other = self.hir.others.iter().find(|other| *other.name == *name)?;
                Some(Dim::var(other.of.clone()))
            });
        }
        dim
    }

    /// Does the size mention those of two examples?
    pub fn mixes_examples(&self, dim: &Dim) -> bool {
        let owner = |name: &Name| self.hir.others.iter().find(|other| other.name == *name).map(|other| &other.example);
        let names = dim.names();
        let mut owners = names.iter().filter(|name| self.is_other(name) || self.may_differ(name)).map(owner);
        let first = owners.next();
        owners.any(|other| Some(other) != first)
    }

    /// What to say where two sizes that should be one belong to two examples.
    pub fn own_length(&self, a: &Dim, b: &Dim) -> Option<String> {
        if self.is_of_other(a) == self.is_of_other(b) {
            return None;
        }
        let of = |name: &Name| self.hir.others.iter().find(|other| other.name == *name);
        let example =
            a.names().iter().chain(&b.names()).find_map(|name| of(name).map(|other| other.example.clone()))?;
        Some(format!(
            "each example has its own length: give what is read of `{example}` an index of its own, `sum[s] {example}.x[s]`, or say what \
             stands beyond its end, `{example}.x[t else 0]`"
        ))
    }

    /// The name of a batch index, another one where a caller's has it: sizes are named after it.
    pub fn other_name(&self, written: &str) -> Name {
        let taken = |name: &str| {
            let is = |info: &IndexInfo| info.kind == IndexKind::Other && *info.name == *name;
            self.bodies.iter().rev().skip(1).any(|body| body.indices.iter().any(is))
        };
        let mut name: Name = written.into();
        let mut number = 1;
        while taken(&name) {
            number += 1;
            name = format!("{written}{number}").into();
        }
        name
    }

    /// A reduction over examples gives one shape for all of them. Says so where the body's is that of one.
    pub fn one_shape(&mut self, indices: &[IndexId], inner: &TensorType, op: &str, span: Span) -> bool {
        let others: Vec<Name> = indices
            .iter()
            .map(|id| self.here().index(*id))
            .filter(|info| info.kind == IndexKind::Other)
            .map(|info| info.name.clone())
            .collect();
        let leaves =
            |name: &str| self.hir.others.iter().any(|other| *other.name == *name && others.contains(&other.example));
        let Some(axis) = inner.shape.iter().find(|axis| axis.size.mentions_any(&leaves)) else { return true };
        let size = self.own_size(&axis.size);
        let help =
            format!("reduce it along its own axis first, in parentheses: `{op}[{}] (sum[s] ..)`", shown(&others));
        let diagnostic = Diagnostic::error(
            "dim-mismatch",
            format!("`{op}` over examples gives one shape, but each of them has its own {size}"),
        )
        .primary(span, format!("this is {}", show_tensor(inner)))
        .help(help);
        self.say(diagnostic);
        false
    }
}

fn shown(others: &[Name]) -> String {
    let names: Vec<String> = others.iter().map(|name| format!("{name} in batch")).collect();
    names.join(", ")
}

/// Where the other example's size comes from: from where the example's own does.
fn of_another(origin: Option<&Arc<SizeOrigin>>) -> Option<Arc<SizeOrigin>> {
    let origin = origin?;
    Some(Arc::new(SizeOrigin {
        span: origin.span,
        why: "each example has its own".into(),
        before: origin.before.clone(),
    }))
}
