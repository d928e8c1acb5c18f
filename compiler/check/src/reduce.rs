//! `for`, `let y[i, j] =` and reductions: what binds indices.

use crate::checker::{Binding, Checker};
use crate::hir::{self, Builtin, ExprKind, IndexId, IndexKind, Reduction, Scalar, TensorType, Type};
use crate::operators::to_real;
use crate::value::{Value, axis, expr, scalar_type, show_tensor, show_type};
use bdl_dims::Dim;
use bdl_grammar::ast::{self, Binder, BinderKind};
use bdl_grammar::{Diagnostic, Span};

/// A reduction as written.
pub(crate) struct Parts<'a> {
    pub op: ast::Reduction,
    pub op_span: Span,
    pub binders: &'a [Binder],
    pub filter: Option<&'a ast::Expr>,
    pub default: Option<&'a ast::Expr>,
    pub body: &'a ast::Expr,
    pub span: Span,
}

fn op_of(op: ast::Reduction) -> Reduction {
    match op {
        ast::Reduction::Sum => Reduction::Sum,
        ast::Reduction::Prod => Reduction::Prod,
        ast::Reduction::Min => Reduction::Min,
        ast::Reduction::Max => Reduction::Max,
        ast::Reduction::Mean => Reduction::Mean,
        ast::Reduction::Any => Reduction::Any,
        ast::Reduction::All => Reduction::All,
        ast::Reduction::Argmax => Reduction::Argmax,
        ast::Reduction::Argmin => Reduction::Argmin,
        ast::Reduction::Logsumexp => Reduction::Logsumexp,
    }
}

/// The word `missing`.
fn is_missing(term: &hir::Expr) -> bool {
    matches!(term.kind, ExprKind::Builtin(Builtin::Missing, _))
}

/// Has it a value when there is nothing to reduce?
fn needs_something(op: Reduction) -> bool {
    match op {
        Reduction::Sum | Reduction::Prod | Reduction::Any | Reduction::All => false,
        Reduction::Min
        | Reduction::Max
        | Reduction::Mean
        | Reduction::Argmax
        | Reduction::Argmin
        | Reduction::Logsumexp => true,
    }
}

impl<'a> Checker<'a> {
    /// `for binders: body`, also the right side of `let y[binders] = body`.
    pub fn for_each(&mut self, binders: &'a [Binder], body: &'a ast::Expr, span: Span) -> Value<'a> {
        let first = self.here().indices.len();
        let depth = self.here().pack_indices.len();
        let term = self.scoped(|checker| {
            let indices = checker.open(binders, false)?;
            let body = checker.in_block(|checker| checker.run(body, None));
            checker.excuse(first, body.is_error());
            checker.resolve_from(&indices, first);
            Some((indices, body))
        });
        self.body().pack_indices.truncate(depth);
        let Some((indices, body)) = term else { return Value::Error };
        if indices.is_empty() {
            return if body.is_error() { Value::Error } else { Value::Run(body) };
        }
        let inner = match &body.ty {
            Type::Tensor(tensor) => tensor.clone(),
            Type::Record(_) => {
                return self.fail(
                    Diagnostic::error("type-mismatch", "a `for` collects numbers, not records")
                        .primary(body.span, format!("this is {}", show_type(&body.ty)))
                        .help("collect each field by itself"),
                );
            }
            Type::Error => return Value::Error,
        };
        let mut shape = Vec::new();
        for &id in &indices {
            let info = self.here().index(id);
            match &info.range {
                Some(range) if !info.failed => shape.push(range.clone()),
                // Said to have no range, or two that differ.
                Some(_) | None => return Value::Error,
            }
        }
        shape.extend(inner.shape);
        let ty = Type::Tensor(TensorType { scalar: inner.scalar, optional: inner.optional, shape });
        Value::Run(expr(ExprKind::For { indices, body: Box::new(body) }, ty, span))
    }

    pub fn reduce(&mut self, parts: &Parts<'a>) -> Value<'a> {
        let op = op_of(parts.op);
        let first = self.here().indices.len();
        let depth = self.here().pack_indices.len();
        let mut default = parts.default.map(|default| self.run(default, None));
        let term = self.scoped(|checker| {
            let indices = checker.open(parts.binders, true)?;
            let filter = parts.filter.map(|filter| checker.in_block(|checker| checker.run(filter, None)));
            let body = checker.in_block(|checker| checker.run(parts.body, None));
            Some((indices, filter, body))
        });
        self.body().pack_indices.truncate(depth);
        let Some((indices, mut filter, body)) = term else { return Value::Error };
        if matches!(&filter, Some(hir::Expr { kind: ExprKind::Bool(true), .. })) {
            // `if known(y[k])` of a y that is always there.
            filter = None;
            default = default.filter(|default| !is_missing(default));
        }
        self.excuse(first, body.is_error());
        let at_top = self.here().blocks.len() == 1 && self.here().pack_indices.is_empty();
        let argument = matches!(op, Reduction::Argmax | Reduction::Argmin);
        if at_top || argument {
            self.resolve_from(&indices, first);
        } else {
            self.resolve(&indices, false);
        }
        if body.is_error()
            || filter.as_ref().is_some_and(hir::Expr::is_error)
            || default.as_ref().is_some_and(hir::Expr::is_error)
        {
            return Value::Error;
        }
        if let Some(filter) = &filter
            && !matches!(&filter.ty, Type::Tensor(TensorType { scalar: Scalar::Bool, optional: false, shape }) if shape.is_empty())
        {
            return self.fail(
                Diagnostic::error("type-mismatch", "a filter is a truth value")
                    .primary(filter.span, format!("this is {}", show_type(&filter.ty))),
            );
        }
        if needs_something(op) && default.is_none() {
            let over_batch =
                indices.iter().any(|&id| matches!(self.here().index(id).kind, IndexKind::Batch | IndexKind::Other));
            let text = parts.op.text();
            match &filter {
                Some(filter) if !over_batch => {
                    let span = filter.span;
                    self.say(
                        Diagnostic::error(
                            "empty-reduction",
                            format!("this `{text}` may be over nothing, and then it has no value"),
                        )
                        .primary(span, "nothing may satisfy this")
                        .help(format!("say what it is then: `{text}[.. if {} else 0] ..`", self.text(span))),
                    );
                }
                Some(_) => {}
                None if !indices.is_empty() => {
                    self.need_some(&indices, format!("`{text}` of nothing"), parts.op_span);
                }
                None => {}
            }
        }
        self.reduced(op, indices, filter, default, body, parts)
    }

    fn reduced(
        &mut self,
        op: Reduction,
        indices: Vec<IndexId>,
        filter: Option<hir::Expr>,
        default: Option<hir::Expr>,
        body: hir::Expr,
        parts: &Parts<'a>,
    ) -> Value<'a> {
        let Some(inner) = body.tensor().cloned() else {
            return self.fail(
                Diagnostic::error("type-mismatch", format!("`{}` needs numbers", parts.op.text()))
                    .primary(body.span, format!("this is {}", show_type(&body.ty)))
                    .help("read one of its fields with a dot"),
            );
        };
        if inner.optional {
            return self.fail(
                Diagnostic::error("optional-value", "this value may be missing")
                    .primary(body.span, format!("this is {}", show_tensor(&inner)))
                    .help("keep to the known ones, `sum[k if known(y[k])] (y[k] else 0)`, or say what a missing one counts"),
            );
        }
        let truth = matches!(op, Reduction::Any | Reduction::All);
        if truth != (inner.scalar == Scalar::Bool) || (!truth && !inner.scalar.is_real() && !inner.scalar.is_whole()) {
            let text = self.text(body.span);
            let help = if truth {
                format!("compare it, in parentheses: `{}[..] ({text} > 0)`", parts.op.text())
            } else if inner.scalar == Scalar::Bool {
                format!("write `f32({text})` to count yes as 1 and no as 0")
            } else {
                format!("`onehot({text})` gives one number for each class or letter")
            };
            return self.fail(
                Diagnostic::error(
                    "type-mismatch",
                    format!("`{}` needs {}", parts.op.text(), if truth { "truth values" } else { "numbers" }),
                )
                .primary(body.span, format!("this is {}", show_tensor(&inner)))
                .help(help),
            );
        }
        let real = matches!(op, Reduction::Mean | Reduction::Logsumexp);
        let (body, scalar) = match op {
            Reduction::Any | Reduction::All => (body, Scalar::Bool),
            Reduction::Argmax | Reduction::Argmin => {
                let sizes: Option<Vec<Dim>> = indices.iter().map(|id| self.range_of(*id)).collect();
                let Some(size) = sizes.map(|sizes| sizes.into_iter().product()) else {
                    return self.fail(
                        Diagnostic::error(
                            "type-mismatch",
                            format!("`{}` over the batch has no meaning", parts.op.text()),
                        )
                        .primary(parts.op_span, "an index of an axis is expected"),
                    );
                };
                // Of several indices their row-major number.
                (body, Scalar::Index(size))
            }
            Reduction::Sum
            | Reduction::Prod
            | Reduction::Min
            | Reduction::Max
            | Reduction::Mean
            | Reduction::Logsumexp => {
                let whole = inner.scalar.is_whole() && !real;
                let own = matches!(inner.scalar, Scalar::F64 | Scalar::BF16);
                let scalar = match (whole, own) {
                    (true, _) => Scalar::I32,
                    (false, true) => inner.scalar.clone(),
                    (false, false) => Scalar::F32,
                };
                (if whole { body } else { to_real(body) }, scalar)
            }
        };
        if indices.is_empty() && filter.is_none() {
            // `mean[..]` of a single number is that number.
            return match op {
                Reduction::Argmax | Reduction::Argmin => Value::Error,
                Reduction::Sum
                | Reduction::Prod
                | Reduction::Min
                | Reduction::Max
                | Reduction::Mean
                | Reduction::Any
                | Reduction::All
                | Reduction::Logsumexp => {
                    let ty = Type::Tensor(TensorType { scalar, ..inner });
                    Value::Run(hir::Expr { ty, ..body })
                }
            };
        }
        // What stands for the winner where there is none must be an index of the same axis; otherwise the result is only a number.
        let scalar = match (&default, scalar) {
            (Some(default), Scalar::Index(size)) if !is_missing(default) => {
                let what = format!("`{}` may give", parts.op.text());
                if self.is_below(default, &size, &what) { Scalar::Index(size) } else { Scalar::I32 }
            }
            (_, scalar) => scalar,
        };
        let default = match default {
            Some(default) => {
                let fits = default.tensor().is_some_and(|t| {
                    t.shape.is_empty() && (t.scalar.is_real() || t.scalar.is_whole() || t.scalar == scalar)
                });
                if !fits {
                    return self.fail(
                        Diagnostic::error("type-mismatch", "what an empty reduction gives is a single number")
                            .primary(default.span, format!("this is {}", show_type(&default.ty))),
                    );
                }
                Some(Box::new(default))
            }
            None => None,
        };
        if !self.one_shape(&indices, &inner, parts.op.text(), body.span) {
            return Value::Error;
        }
        let ty = TensorType { scalar, optional: false, shape: inner.shape };
        let gaps = default.as_ref().is_some_and(|default| is_missing(default));
        if !gaps {
            let kind = ExprKind::Reduce { op, indices, filter: filter.map(Box::new), default, body: Box::new(body) };
            return Value::Run(expr(kind, Type::Tensor(ty), parts.span));
        }
        // `mean[k if known(y[k]) else missing] ..`: there where anything takes part.
        let filter = filter.map(Box::new);
        let some = ExprKind::Reduce {
            op: Reduction::Any,
            indices: indices.clone(),
            filter: filter.clone(),
            default: None,
            body: Box::new(expr(ExprKind::Bool(true), scalar_type(Scalar::Bool), parts.span)),
        };
        let some = expr(some, scalar_type(Scalar::Bool), parts.span);
        let zero = expr(ExprKind::Number(0.0), scalar_type(Scalar::F32), parts.span);
        let kind = ExprKind::Reduce { op, indices, filter, default: Some(Box::new(zero)), body: Box::new(body) };
        let value = expr(kind, Type::Tensor(ty.clone()), parts.span);
        let absent = TensorType { scalar: ty.scalar.clone(), optional: true, shape: Vec::new() };
        let absent = expr(ExprKind::Builtin(Builtin::Missing, Vec::new()), Type::Tensor(absent), parts.span);
        let ty = Type::Tensor(TensorType { optional: true, ..ty });
        let kind = ExprKind::If(Box::new(some), Box::new(value), Box::new(absent));
        Value::Run(expr(kind, ty, parts.span))
    }

    /// Makes the indices of binders and binds their names in the current scope. `None` after a message.
    fn open(&mut self, binders: &'a [Binder], reduction: bool) -> Option<Vec<IndexId>> {
        let mut indices = Vec::new();
        let range = |size: Dim| IndexKind::Range(size);
        for binder in binders {
            match &binder.kind {
                BinderKind::Rest => {
                    let Some(pack) = self.here().pack.clone() else {
                        self.say(
                            Diagnostic::error("no-pack", "`..` stands for nothing here")
                                .primary(binder.span, "no input of this signature has leading dimensions `..`")
                                .help("give an input the type `f32[.., n]`, or name every index"),
                        );
                        return None;
                    };
                    let many = pack.len() > 1;
                    let ids: Vec<IndexId> = pack
                        .iter()
                        .enumerate()
                        .map(|(at, axis)| {
                            let name = if many { format!("p{}", at + 1) } else { "p".to_string() };
                            self.body().new_index(
                                &name,
                                range(axis.size.clone()),
                                Some(axis.clone()),
                                false,
                                binder.span,
                            )
                        })
                        .collect();
                    self.body().pack_indices.push(ids.clone());
                    indices.extend(ids);
                }
                BinderKind::Name(name) => {
                    self.not_open(name)?;
                    let id = self.body().new_index(&name.text, range(Dim::var("?")), None, false, name.span);
                    self.body().bind(&name.text, Binding::Index(id));
                    indices.push(id);
                }
                BinderKind::Bounded { name, bound } => {
                    self.not_open(name)?;
                    let id = self.written(name, bound)?;
                    indices.push(id);
                }
                BinderKind::In { name, extent } => {
                    self.not_open(name)?;
                    let batch = matches!(&extent.kind, ast::ExprKind::Name(word) if word.text == "batch");
                    if !batch {
                        let id = self.written(name, extent)?;
                        indices.push(id);
                        continue;
                    }
                    if !reduction {
                        return self.batch_in_for(binder.span);
                    }
                    let unique = self.other_name(&name.text);
                    let id = self.body().new_index(&unique, IndexKind::Other, None, true, name.span);
                    self.body().bind(&name.text, Binding::Other(id));
                    indices.push(id);
                }
                BinderKind::Batch => {
                    if !reduction {
                        return self.batch_in_for(binder.span);
                    }
                    indices.push(self.body().new_index("batch", IndexKind::Batch, None, true, binder.span));
                }
            }
        }
        Some(indices)
    }

    /// Where the body holds a mistake already, its indices need no range.
    fn excuse(&mut self, first: usize, wrong: bool) {
        if wrong {
            for info in &mut self.body().indices[first..] {
                info.failed |= info.range.is_none();
            }
        }
    }

    fn batch_in_for(&mut self, span: Span) -> Option<Vec<IndexId>> {
        self.say(
            Diagnostic::error("reserved-word", "the batch is never an axis")
                .primary(span, "a model is a function of one example")
                .help("reduce over it: `mean[batch] x`"),
        );
        None
    }

    /// `t < n` or `t in n`.
    fn written(&mut self, name: &'a ast::Name, bound: &'a ast::Expr) -> Option<IndexId> {
        let size = self.size(bound)?;
        if !self.facts().proves(&size.dim) {
            let shown = size.dim.to_string();
            self.say(
                Diagnostic::error("negative-size", format!("`{name}` runs to {shown}, which may be negative"))
                    .primary(bound.span, "nothing says that this is at least 0")
                    .help(format!(
                        "state what the sizes must satisfy after the result's type: `where {shown} >= 0 else \"..\"`"
                    )),
            );
            return None;
        }
        let range = hir::Axis { origin: size.origin, ..axis(size.dim.clone()) };
        let id = self.body().new_index(&name.text, IndexKind::Range(size.dim), Some(range), true, name.span);
        self.body().bind(&name.text, Binding::Index(id));
        Some(id)
    }

    /// An index may not be bound again where it is open.
    fn not_open(&mut self, name: &'a ast::Name) -> Option<()> {
        let open = match self.here().find(&name.text) {
            Some(Binding::Index(id) | Binding::Other(id)) => {
                let id = *id;
                // Which of the two a read means is anybody's guess.
                self.body().indices[id.0 as usize].failed = true;
                self.here().index(id).span
            }
            Some(Binding::Value(_) | Binding::Declared(_)) | None => return Some(()),
        };
        self.say(
            Diagnostic::error("index-rebound", format!("`{name}` is already an index here"))
                .primary(name.span, "bound again inside its own range")
                .secondary(open, "bound here")
                .help("choose another letter for the inner one"),
        );
        None
    }
}
