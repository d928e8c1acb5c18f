//! Random draws and constants of a shape: `normal[Z]`, `bernoulli(p)[C]`, `zeros[H]`, `eye[n]`.
//!
//! A draw has a site: a hash of the instance's path, of which application of the instance this is, and of its ordinal in it.

use crate::checker::Checker;
use crate::hir::{self, Axis, Builtin, ExprKind, Scalar, TensorType, Type};
use crate::value::{Value, error_expr, expr, scalar_type, show_tensor, tensor};
use bdl_grammar::ast;
use bdl_grammar::{Diagnostic, Span};

pub(crate) const DRAWS: [&str; 9] =
    ["normal", "uniform", "bernoulli", "below", "categorical", "permutation", "zeros", "ones", "eye"];

pub(crate) fn is_draw(name: &str) -> bool {
    DRAWS.contains(&name)
}

impl<'a> Checker<'a> {
    pub fn draw(&mut self, name: &'a ast::Name, args: &'a [ast::Arg], shape: Vec<Axis>, span: Span) -> Value<'a> {
        let mut given = Vec::new();
        for arg in args {
            match &arg.kind {
                ast::ArgKind::Positional(value) | ast::ArgKind::Named { name: _, value } => given.push(value),
                ast::ArgKind::Each { .. } | ast::ArgKind::Hole => {
                    return self.fail(wants(name, arg.span, "plain arguments"));
                }
            }
        }
        let expected = match name.text.as_str() {
            "bernoulli" | "below" | "categorical" | "permutation" => 1,
            _ => 0,
        };
        if given.len() != expected {
            let what = if expected == 0 { "nothing in parentheses; brackets say the shape" } else { "one argument" };
            return self.fail(wants(name, span, what));
        }
        let simple = |kind: Builtin, scalar: Scalar| {
            Value::Run(expr(ExprKind::Builtin(kind, Vec::new()), tensor(scalar, shape.clone()), span))
        };
        match name.text.as_str() {
            "zeros" => simple(Builtin::Fill(0.0), Scalar::F32),
            "ones" => simple(Builtin::Fill(1.0), Scalar::F32),
            "eye" => {
                let square = match shape.as_slice() {
                    [n] => vec![n.clone(), n.clone()],
                    [n, m] if n.size == m.size => shape.clone(),
                    _ => return self.fail(wants(name, span, "one size: `eye[n]` is n × n")),
                };
                Value::Run(expr(ExprKind::Builtin(Builtin::Eye, Vec::new()), tensor(Scalar::F32, square), span))
            }
            "normal" => {
                let site = self.next_site();
                simple(Builtin::Normal { site }, Scalar::F32)
            }
            "uniform" => {
                let site = self.next_site();
                simple(Builtin::Uniform { site }, Scalar::F32)
            }
            "permutation" => {
                let Some(size) = self.size(given[0]) else { return Value::Error };
                if !shape.is_empty() {
                    return self.fail(wants(name, span, "no brackets: it is an axis of its own"));
                }
                if self.need_natural(&size.dim, given[0].span).is_none() {
                    return Value::Error;
                }
                let site = self.next_site();
                let ty = tensor(Scalar::Index(size.dim.clone()), vec![size.axis()]);
                Value::Run(expr(ExprKind::Builtin(Builtin::Permutation { site }, Vec::new()), ty, span))
            }
            "below" => {
                let Some(size) = self.size(given[0]) else { return Value::Error };
                self.need_positive(&size.dim, "there is no number below 0".to_string(), span);
                let limit = crate::operators::size_expr(size.dim.clone(), Scalar::I32, given[0].span);
                let site = self.next_site();
                Value::Run(expr(
                    ExprKind::Builtin(Builtin::Below { site }, vec![limit]),
                    tensor(Scalar::Index(size.dim), shape),
                    span,
                ))
            }
            "bernoulli" => {
                let p = self.run(given[0], None);
                let Some(ty) = p.tensor().cloned() else { return Value::Error };
                if !ty.scalar.is_real() || ty.optional {
                    return self.fail(wants(name, p.span, "a probability"));
                }
                let Some(shape) = self.broadcast(&shape, &ty.shape, span, p.span, span) else { return Value::Error };
                let site = self.next_site();
                Value::Run(expr(
                    ExprKind::Builtin(Builtin::Bernoulli { site }, vec![p]),
                    tensor(Scalar::Bool, shape),
                    span,
                ))
            }
            "categorical" => {
                let p = self.run(given[0], None);
                let Some(TensorType { scalar, optional: false, shape: of }) = p.tensor().cloned() else {
                    return Value::Error;
                };
                let (Some((last, leading)), true) = (of.split_last(), scalar.is_real()) else {
                    return self.fail(wants(name, p.span, "probabilities along an axis"));
                };
                self.need_positive(&last.size, "`categorical` has nothing to choose from".to_string(), span);
                let mut result = shape;
                result.extend(leading.to_vec());
                let site = self.next_site();
                let ty = tensor(Scalar::Index(last.size.clone()), result);
                Value::Run(expr(ExprKind::Builtin(Builtin::Categorical { site }, vec![p]), ty, span))
            }
            _ => Value::Error,
        }
    }

    /// `orthogonal` as an initial value: the shape is the declared one.
    pub fn orthogonal(&mut self, span: Span, want: Option<&Type>) -> hir::Expr {
        match want {
            Some(Type::Tensor(wanted)) if wanted.shape.len() >= 2 => {
                let site = self.next_site();
                let ty = Type::Tensor(TensorType { scalar: Scalar::F32, optional: false, shape: wanted.shape.clone() });
                expr(ExprKind::Builtin(Builtin::Orthogonal { site }, Vec::new()), ty, span)
            }
            Some(Type::Tensor(wanted)) => {
                let shown = show_tensor(wanted);
                self.fail_expr(
                    Diagnostic::error("rank-mismatch", "`orthogonal` makes a matrix")
                        .primary(span, format!("{shown} has fewer than two axes")),
                    span,
                )
            }
            Some(Type::Record(_) | Type::Error) | None => {
                let _ = scalar_type;
                self.say(
                    Diagnostic::error("shape-unknown", "`orthogonal` of which shape?")
                        .primary(span, "nothing here says it")
                        .help("it is an initial value: `param u: f32[n, n] = orthogonal`"),
                );
                error_expr(span)
            }
        }
    }
}

fn wants(name: &ast::Name, span: Span, what: &str) -> Diagnostic {
    Diagnostic::error("wrong-arguments", format!("`{name}` takes {what}")).primary(span, "given otherwise")
}
