//! Functions of the compiler: those that no equation of the standard library could say.

use crate::checker::{Binding, Checker};
use crate::draw;
use crate::hir::{Axis, BinaryOp, Builtin, Expr, ExprKind, Scalar, TensorType, Type, UnaryOp};
use crate::operators::to_real;
use crate::value::{Callable, Value, axis, expr, scalar_type, show_tensor, show_type, tensor};
use bdl_dims::Dim;
use bdl_grammar::ast;
use bdl_grammar::{Diagnostic, Span};

/// Every function of the compiler, draws included.
pub const NAMES: [&str; 52] = [
    "exp",
    "expm1",
    "log",
    "log1p",
    "sqrt",
    "tanh",
    "sigmoid",
    "softplus",
    "erf",
    "sin",
    "cos",
    "abs",
    "floor",
    "round",
    "sign",
    "lgamma",
    "digamma",
    "pow",
    "min",
    "max",
    "div",
    "concat",
    "stack",
    "reshape",
    "flatten",
    "transpose",
    "top_k",
    "sort",
    "argsort",
    "cumsum",
    "onehot",
    "known",
    "freeze",
    "grad",
    "align",
    "chain",
    "f32",
    "f64",
    "bf16",
    "i32",
    "orthogonal",
    "normal",
    "uniform",
    "bernoulli",
    "below",
    "categorical",
    "permutation",
    "zeros",
    "ones",
    "eye",
    "training",
    "inf",
];

pub(crate) fn name_of(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|known| **known == name).copied()
}

fn unary_of(name: &str) -> Option<(UnaryOp, Scalar)> {
    Some(match name {
        "exp" => (UnaryOp::Exp, Scalar::F32),
        "expm1" => (UnaryOp::Expm1, Scalar::F32),
        "log" => (UnaryOp::Log, Scalar::F32),
        "log1p" => (UnaryOp::Log1p, Scalar::F32),
        "sqrt" => (UnaryOp::Sqrt, Scalar::F32),
        "tanh" => (UnaryOp::Tanh, Scalar::F32),
        "sigmoid" => (UnaryOp::Sigmoid, Scalar::Prob),
        "softplus" => (UnaryOp::Softplus, Scalar::F32),
        "erf" => (UnaryOp::Erf, Scalar::F32),
        "sin" => (UnaryOp::Sin, Scalar::F32),
        "cos" => (UnaryOp::Cos, Scalar::F32),
        "abs" => (UnaryOp::Abs, Scalar::F32),
        "floor" => (UnaryOp::Floor, Scalar::F32),
        "round" => (UnaryOp::Round, Scalar::F32),
        "sign" => (UnaryOp::Sign, Scalar::F32),
        "lgamma" => (UnaryOp::Lgamma, Scalar::F32),
        "digamma" => (UnaryOp::Digamma, Scalar::F32),
        _ => return None,
    })
}

/// The value where the argument is a number known now.
fn unary_now(name: &str, x: f64) -> Option<f64> {
    Some(match name {
        "exp" => x.exp(),
        "expm1" => x.exp_m1(),
        "log" => x.ln(),
        "log1p" => x.ln_1p(),
        "sqrt" => x.sqrt(),
        "tanh" => x.tanh(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "abs" => x.abs(),
        "floor" => x.floor(),
        "sign" => {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                0.0
            }
        }
        _ => return None,
    })
}

/// An argument: its name if it was named, its value and its place.
pub(crate) struct Given<'a> {
    pub name: Option<&'a ast::Name>,
    pub value: Value<'a>,
    pub span: Span,
}

impl<'a> Checker<'a> {
    /// Applies a function of the compiler to arguments that have been evaluated.
    pub fn apply_builtin(
        &mut self,
        name: &'static str,
        args: Vec<Given<'a>>,
        span: Span,
        want: Option<&Type>,
    ) -> Value<'a> {
        if args.iter().any(|arg| matches!(arg.value, Value::Error)) {
            return Value::Error;
        }
        if let Some((op, gives)) = unary_of(name) {
            let Some([arg]) = exactly::<1>(args) else { return self.fail(arity(name, span, "one argument")) };
            if let Some(known) = arg.value.as_number().and_then(|x| unary_now(name, x)) {
                return Value::Number(known);
            }
            let operand = self.term_of(arg.value, arg.span, None);
            return self.unary_real(op, operand, gives, span);
        }
        match name {
            "pow" | "min" | "max" | "div" => {
                let op = match name {
                    "pow" => BinaryOp::Pow,
                    "min" => BinaryOp::Min,
                    "max" => BinaryOp::Max,
                    _ => BinaryOp::FloorDiv,
                };
                let Some([a, b]) = exactly::<2>(args) else { return self.fail(arity(name, span, "two arguments")) };
                self.binary(op, (a.value, a.span), (b.value, b.span), span)
            }
            "concat" => self.concat(args, span),
            "stack" => self.stack(args, span),
            "reshape" => self.reshape(args, span),
            "flatten" => self.flatten(args, span),
            "transpose" => self.transpose(args, span),
            "top_k" => self.top_k(args, span),
            "sort" | "argsort" | "cumsum" => self.along_last(name, args, span),
            "onehot" => self.onehot(args, span),
            "known" => self.known(args, span),
            "freeze" => {
                let Some([x]) = exactly::<1>(args) else { return self.fail(arity(name, span, "one argument")) };
                let value = self.term_of(x.value, x.span, None);
                let ty = value.ty.clone();
                if value.is_error() {
                    Value::Error
                } else {
                    Value::Run(expr(ExprKind::Builtin(Builtin::Freeze, vec![value]), ty, span))
                }
            }
            "grad" => self.gradient(args, span),
            "f32" | "f64" | "bf16" => {
                let Some([x]) = exactly::<1>(args) else { return self.fail(arity(name, span, "one argument")) };
                let to = match name {
                    "f64" => Scalar::F64,
                    "bf16" => Scalar::BF16,
                    _ => Scalar::F32,
                };
                self.convert(x, to, span)
            }
            "i32" => {
                let Some([x]) = exactly::<1>(args) else { return self.fail(arity(name, span, "one argument")) };
                let Some((value, ty)) = self.tensor_arg(x) else { return Value::Error };
                let result = Type::Tensor(TensorType { scalar: Scalar::I32, ..ty });
                Value::Run(expr(ExprKind::Unary(UnaryOp::ToInt, Box::new(value)), result, span))
            }
            "orthogonal" => {
                let value = self.orthogonal(span, want);
                if value.is_error() { Value::Error } else { Value::Run(value) }
            }
            "align" => self.align(args, span),
            name if draw::is_draw(name) => self.fail(arity(name, span, "its arguments where it stands")),
            name => self.fail(
                Diagnostic::error("wrong-arguments", format!("`{name}` cannot be applied here"))
                    .primary(span, "not a function of values"),
            ),
        }
    }

    pub fn tensor_arg(&mut self, arg: Given<'a>) -> Option<(Expr, TensorType)> {
        let value = self.term_of(arg.value, arg.span, None);
        match &value.ty {
            Type::Tensor(ty) if ty.optional => {
                self.say(
                    Diagnostic::error("optional-value", "this value may be missing")
                        .primary(arg.span, format!("this is {}", show_tensor(ty)))
                        .help("say what it is then: `(x else 0)`"),
                );
                None
            }
            Type::Tensor(ty) => {
                let ty = ty.clone();
                Some((value, ty))
            }
            Type::Record(_) => {
                self.say(
                    Diagnostic::error("type-mismatch", "a tensor is expected")
                        .primary(arg.span, format!("this is {}", show_type(&value.ty)))
                        .help("read one of its fields with a dot"),
                );
                None
            }
            Type::Error => None,
        }
    }

    /// An optional `axis: n` among the arguments.
    fn take_axis(&mut self, args: &mut Vec<Given<'a>>, rank: usize, default: usize) -> Option<usize> {
        let Some(at) = args.iter().position(|arg| arg.name.is_some_and(|name| name.text == "axis")) else {
            return Some(default);
        };
        let arg = args.remove(at);
        let number = arg.value.as_number().filter(|n| n.fract() == 0.0);
        let number =
            number.map(|n| if n < 0.0 { n + rank as f64 } else { n }).filter(|n| *n >= 0.0 && *n < rank as f64);
        match number {
            Some(number) => Some(number as usize),
            None => {
                self.say(
                    Diagnostic::error("rank-mismatch", format!("there is no axis {}", arg.value.shown()))
                        .primary(arg.span, format!("axes are 0 to {}", rank.saturating_sub(1))),
                );
                None
            }
        }
    }

    /// `concat(a, b)` along the last axis, or along `axis: n`.
    fn concat(&mut self, mut args: Vec<Given<'a>>, span: Span) -> Value<'a> {
        let axis_args: Vec<Given<'a>> = {
            let (named, plain): (Vec<_>, Vec<_>) = args.drain(..).partition(|arg| arg.name.is_some());
            args = plain;
            named
        };
        let mut tensors = Vec::new();
        for arg in args {
            match self.tensor_arg(arg) {
                Some(pair) => tensors.push(pair),
                None => return Value::Error,
            }
        }
        let Some((first, first_ty)) = tensors.first().cloned() else {
            return self.fail(arity("concat", span, "at least one tensor"));
        };
        let rank = first_ty.shape.len();
        if rank == 0 {
            return self.fail(
                Diagnostic::error("rank-mismatch", "`concat` joins axes, and a single number has none")
                    .primary(first.span, "a single number")
                    .help("`stack(a, b)` makes an axis of numbers"),
            );
        }
        let mut named = axis_args;
        let Some(along) = self.take_axis(&mut named, rank, rank - 1) else { return Value::Error };
        let mut total = Dim::zero();
        for (value, ty) in &tensors {
            if ty.shape.len() != rank || ty.scalar.is_real() != first_ty.scalar.is_real() {
                return self.fail(
                    Diagnostic::error(
                        "rank-mismatch",
                        "`concat` joins tensors of one kind with the same number of axes",
                    )
                    .primary(value.span, format!("this is {}", show_tensor(ty)))
                    .secondary(first.span, format!("this is {}", show_tensor(&first_ty))),
                );
            }
            for (position, (a, b)) in ty.shape.iter().zip(&first_ty.shape).enumerate() {
                if position != along && !self.proves_equal(&a.size, &b.size) {
                    let diagnostic = Diagnostic::error(
                        "dim-mismatch",
                        format!("`concat` along axis {along} needs equal sizes on the other axes"),
                    )
                    .primary(value.span, format!("{} meets {}", a.size, b.size))
                    .secondary(first.span, format!("this is {}", show_tensor(&first_ty)));
                    let diagnostic = crate::range::with_origin(crate::range::with_origin(diagnostic, a), b);
                    return self.fail(diagnostic);
                }
            }
            total = total + ty.shape[along].size.clone();
        }
        let mut shape = first_ty.shape.clone();
        shape[along] = Axis { origin: crate::checker::because(span, ""), ..axis(total) };
        let Some((values, scalar)) = self.of_one_kind(tensors) else { return Value::Error };
        Value::Run(expr(ExprKind::Builtin(Builtin::Concat(along), values), tensor(scalar, shape), span))
    }

    /// `stack(a, b)`: a new first axis, or `axis: n`.
    fn stack(&mut self, args: Vec<Given<'a>>, span: Span) -> Value<'a> {
        let (mut named, plain): (Vec<_>, Vec<_>) = args.into_iter().partition(|arg| arg.name.is_some());
        let mut tensors = Vec::new();
        for arg in plain {
            match self.tensor_arg(arg) {
                Some(pair) => tensors.push(pair),
                None => return Value::Error,
            }
        }
        let Some((first, first_ty)) = tensors.first().cloned() else {
            return self.fail(arity("stack", span, "at least one value"));
        };
        for (value, ty) in &tensors {
            if ty.shape.len() != first_ty.shape.len() {
                return self.fail(
                    Diagnostic::error("rank-mismatch", "`stack` needs equal shapes")
                        .primary(value.span, format!("this is {}", show_tensor(ty)))
                        .secondary(first.span, format!("this is {}", show_tensor(&first_ty))),
                );
            }
            if self.broadcast(&ty.shape, &first_ty.shape, value.span, first.span, span).is_none() {
                return Value::Error;
            }
        }
        let Some(at) = self.take_axis(&mut named, first_ty.shape.len() + 1, 0) else { return Value::Error };
        let mut shape = first_ty.shape.clone();
        shape.insert(at, axis(Dim::from(tensors.len() as i64)));
        let Some((values, scalar)) = self.of_one_kind(tensors) else { return Value::Error };
        Value::Run(expr(ExprKind::Builtin(Builtin::Stack(at), values), tensor(scalar, shape), span))
    }

    /// Values that become parts of one tensor, and the kind of its elements: indices of different axes are whole numbers together.
    fn of_one_kind(&mut self, tensors: Vec<(Expr, TensorType)>) -> Option<(Vec<Expr>, Scalar)> {
        let (mut values, mut scalar): (Vec<Expr>, Option<Scalar>) = (Vec::new(), None);
        for (value, ty) in tensors {
            let joined = match &scalar {
                None => Some(ty.scalar.clone()),
                Some(known) => self.joined_scalar(known, &ty.scalar),
            };
            let Some(joined) = joined else {
                let first = values.first().map_or(value.span, |first: &Expr| first.span);
                self.say(
                    Diagnostic::error("type-mismatch", "the parts of one tensor are of one kind")
                        .primary(value.span, format!("this is {}", show_tensor(&ty)))
                        .secondary(first, "the first is of another kind"),
                );
                return None;
            };
            scalar = Some(joined);
            values.push(value);
        }
        let scalar = scalar?;
        if scalar.is_real() {
            values = values.into_iter().map(to_real).collect();
        }
        Some((values, scalar))
    }

    /// `reshape(x, [h, w, c])`: the same elements in the same order.
    fn reshape(&mut self, args: Vec<Given<'a>>, span: Span) -> Value<'a> {
        let Some([x, shape]) = exactly::<2>(args) else {
            return self.fail(arity("reshape", span, "a tensor and its new shape"));
        };
        let Some((value, ty)) = self.tensor_arg(x) else { return Value::Error };
        let Value::List(sizes) = shape.value else {
            return self.fail(arity("reshape", shape.span, "the new shape in brackets: `reshape(x, [h, w])`"));
        };
        let mut axes = Vec::new();
        for size in &sizes {
            match crate::expr::size_value(size) {
                Some(size) => {
                    if self.need_natural(&size.dim, shape.span).is_none() {
                        return Value::Error;
                    }
                    axes.push(size.axis());
                }
                None => return self.fail(arity("reshape", shape.span, "sizes")),
            }
        }
        let old: Dim = ty.shape.iter().map(|axis| axis.size.clone()).product();
        let new: Dim = axes.iter().map(|axis| axis.size.clone()).product();
        if !self.proves_equal(&old, &new) {
            return self.fail(
                Diagnostic::error("dim-mismatch", format!("{old} elements cannot take the shape of {new}"))
                    .primary(span, format!("{} becomes {}", show_tensor(&ty), crate::value::show_shape(&axes)))
                    .help("the product of the sizes stays the same"),
            );
        }
        Value::Run(expr(ExprKind::Builtin(Builtin::Reshape, vec![value]), tensor(ty.scalar, axes), span))
    }

    /// All axes as one, row by row.
    fn flatten(&mut self, args: Vec<Given<'a>>, span: Span) -> Value<'a> {
        let Some([x]) = exactly::<1>(args) else { return self.fail(arity("flatten", span, "one tensor")) };
        let Some((value, ty)) = self.tensor_arg(x) else { return Value::Error };
        let size: Dim = ty.shape.iter().map(|axis| axis.size.clone()).product();
        let origin = crate::checker::because(span, format!("{} flattened", show_tensor(&ty)));
        let shape = vec![Axis { origin, ..axis(size) }];
        Value::Run(expr(ExprKind::Builtin(Builtin::Reshape, vec![value]), tensor(ty.scalar, shape), span))
    }

    /// `transpose(x)` reverses the axes; `transpose(x, [1, 0, 2])` says their order.
    fn transpose(&mut self, args: Vec<Given<'a>>, span: Span) -> Value<'a> {
        let mut args = args.into_iter();
        let (Some(x), order, None) = (args.next(), args.next(), args.next()) else {
            return self.fail(arity("transpose", span, "a tensor and, if not reversed, the order of its axes"));
        };
        let Some((value, ty)) = self.tensor_arg(x) else { return Value::Error };
        let rank = ty.shape.len();
        let order: Vec<usize> = match order {
            None => (0..rank).rev().collect(),
            Some(order) => {
                let Value::List(items) = &order.value else {
                    return self.fail(arity("transpose", order.span, "the order in brackets: `transpose(x, [1, 0])`"));
                };
                let positions: Option<Vec<usize>> = items
                    .iter()
                    .map(|item| item.as_number().filter(|n| *n >= 0.0 && n.fract() == 0.0).map(|n| n as usize))
                    .collect();
                let mut sorted = positions.clone().unwrap_or_default();
                sorted.sort_unstable();
                match positions {
                    Some(positions) if sorted.iter().copied().eq(0..rank) => positions,
                    Some(_) | None => {
                        return self.fail(
                            Diagnostic::error(
                                "rank-mismatch",
                                format!("the order must hold each of the axes 0 to {} once", rank.saturating_sub(1)),
                            )
                            .primary(order.span, "it does not"),
                        );
                    }
                }
            }
        };
        let shape = order.iter().map(|&at| ty.shape[at].clone()).collect();
        Value::Run(expr(ExprKind::Builtin(Builtin::Transpose(order), vec![value]), tensor(ty.scalar, shape), span))
    }

    fn top_k(&mut self, args: Vec<Given<'a>>, span: Span) -> Value<'a> {
        let Some([x, k]) = exactly::<2>(args) else { return self.fail(arity("top_k", span, "a tensor and how many")) };
        let Some((value, ty)) = self.tensor_arg(x) else { return Value::Error };
        let size = crate::expr::size_value(&k.value).map(|size| size.dim);
        // In a definition that is checked on its own a hyper-parameter is a size of its own name.
        let known = |size: &Dim| size.as_const().or(if self.generic { Some(1) } else { None });
        let count = size.as_ref().and_then(known);
        let (Some(size), Some(count), Some((last, leading))) = (size, count, ty.shape.split_last()) else {
            return self.fail(arity(
                "top_k",
                k.span,
                "a tensor with an axis, and a number known when the model is built",
            ));
        };
        if count < 1 || !self.facts().proves(&(last.size.clone() - size.clone())) {
            return self.fail(
                Diagnostic::error("out-of-range", format!("the last axis may have fewer than {size} elements"))
                    .primary(span, format!("it has {}", last.size))
                    .help(format!("state the law on sizes: `where {} >= {size} else \"..\"`", last.size)),
            );
        }
        let mut shape = leading.to_vec();
        shape.push(axis(size));
        let record = Type::Record(vec![
            ("values".into(), tensor(ty.scalar.clone(), shape.clone())),
            ("indices".into(), tensor(Scalar::Index(last.size.clone()), shape)),
        ]);
        Value::Run(expr(ExprKind::Builtin(Builtin::TopK(count), vec![value]), record, span))
    }

    fn along_last(&mut self, name: &'static str, args: Vec<Given<'a>>, span: Span) -> Value<'a> {
        let Some([x]) = exactly::<1>(args) else { return self.fail(arity(name, span, "one tensor")) };
        let Some((value, ty)) = self.tensor_arg(x) else { return Value::Error };
        let Some(last) = ty.shape.last().cloned() else {
            return self.fail(
                Diagnostic::error("rank-mismatch", format!("`{name}` goes along an axis"))
                    .primary(span, "a single number has none"),
            );
        };
        let (builtin, scalar) = match name {
            "sort" => (Builtin::Sort, ty.scalar),
            "argsort" => (Builtin::Argsort, Scalar::Index(last.size)),
            _ if matches!(ty.scalar, Scalar::F64 | Scalar::BF16) => (Builtin::Cumsum, ty.scalar),
            _ if ty.scalar.is_real() => (Builtin::Cumsum, Scalar::F32),
            _ if ty.scalar.is_whole() => (Builtin::Cumsum, Scalar::I32),
            _ => {
                return self.fail(
                    Diagnostic::error("type-mismatch", "`cumsum` needs numbers")
                        .primary(value.span, format!("this is {}", show_tensor(&ty))),
                );
            }
        };
        Value::Run(expr(ExprKind::Builtin(builtin, vec![value]), tensor(scalar, ty.shape), span))
    }

    /// Letters or categories to one axis more.
    fn onehot(&mut self, args: Vec<Given<'a>>, span: Span) -> Value<'a> {
        let Some([x]) = exactly::<1>(args) else {
            return self.fail(arity("onehot", span, "one tensor of letters or categories"));
        };
        let Some((value, ty)) = self.tensor_arg(x) else { return Value::Error };
        let Some(count) = ty.scalar.below() else {
            return self.fail(
                Diagnostic::error("type-mismatch", "`onehot` takes letters, categories or indices")
                    .primary(value.span, format!("this is {}", show_tensor(&ty))),
            );
        };
        let names = if let Scalar::Category(_, names) = &ty.scalar { names.clone() } else { None };
        let mut shape = ty.shape;
        shape.push(Axis { names, ..axis(count) });
        Value::Run(expr(ExprKind::Builtin(Builtin::OneHot, vec![value]), tensor(Scalar::F32, shape), span))
    }

    /// Is the value there? Known to be so where its type does not say otherwise.
    fn known(&mut self, args: Vec<Given<'a>>, span: Span) -> Value<'a> {
        let Some([x]) = exactly::<1>(args) else { return self.fail(arity("known", span, "one value")) };
        let value = self.term_of(x.value, x.span, None);
        let Some(ty) = value.tensor().cloned() else { return Value::Error };
        if !ty.optional && ty.shape.is_empty() {
            return Value::Bool(true);
        }
        let result = tensor(Scalar::Bool, ty.shape);
        if !ty.optional {
            return Value::Run(expr(ExprKind::Builtin(Builtin::Fill(1.0), Vec::new()), result, span));
        }
        Value::Run(expr(ExprKind::Builtin(Builtin::Known, vec![value]), result, span))
    }

    fn convert(&mut self, x: Given<'a>, to: Scalar, span: Span) -> Value<'a> {
        let number = x.value.as_number();
        if let (Some(number), Scalar::F32) = (number, &to) {
            return Value::Number(number);
        }
        let Some((value, ty)) = self.tensor_arg(x) else { return Value::Error };
        if let Some(number) = number {
            return Value::Run(expr(ExprKind::Number(number), scalar_type(to), span));
        }
        if let Scalar::Letter(_, _) | Scalar::Category(_, _) = ty.scalar {
            return self.fail(
                Diagnostic::error("type-mismatch", "letters and categories are no numbers")
                    .primary(value.span, format!("this is {}", show_tensor(&ty)))
                    .help("`onehot` gives one number for each"),
            );
        }
        let result = Type::Tensor(TensorType { scalar: to.clone(), ..ty.clone() });
        let is_plain = |scalar: &Scalar| !matches!(scalar, Scalar::F64 | Scalar::BF16);
        if ty.scalar.is_real() && (ty.scalar == to || is_plain(&ty.scalar) && is_plain(&to)) {
            return Value::Run(Expr { ty: result, ..value });
        }
        if ty.scalar.is_real() {
            return Value::Run(expr(ExprKind::Unary(UnaryOp::ToReal, Box::new(value)), result, span));
        }
        let value = to_real(value);
        Value::Run(Expr { ty: result, span, ..value })
    }

    /// `grad(f(x), x)`: the derivative of a number with respect to a local or parameter.
    fn gradient(&mut self, args: Vec<Given<'a>>, span: Span) -> Value<'a> {
        let Some([of, by]) = exactly::<2>(args) else {
            return self.fail(arity("grad", span, "a value and what to differentiate by"));
        };
        let Some((value, ty)) = self.tensor_arg(of) else { return Value::Error };
        let Some((with, with_ty)) = self.tensor_arg(by) else { return Value::Error };
        if !ty.shape.is_empty() || !ty.scalar.is_real() {
            return self.fail(
                Diagnostic::error("type-mismatch", "`grad` differentiates a single number")
                    .primary(value.span, format!("this is {}", show_tensor(&ty)))
                    .help("sum it first: `grad(sum[c] y[c], x)`"),
            );
        }
        if !matches!(with.kind, ExprKind::Local(_) | ExprKind::Param(_)) {
            return self.fail(
                Diagnostic::error("type-mismatch", "`grad` differentiates by a named value")
                    .primary(with.span, "this is an expression")
                    .help("name it with `let` and use the name in both places"),
            );
        }
        let scalar = if with_ty.scalar == Scalar::F64 { Scalar::F64 } else { Scalar::F32 };
        let result = Type::Tensor(TensorType { scalar, ..with_ty });
        Value::Run(expr(ExprKind::Builtin(Builtin::Grad, vec![value, with]), result, span))
    }

    /// Functions that look at their arguments before these are evaluated.
    pub fn special_call(&mut self, name: &'static str, args: &'a [ast::Arg], span: Span) -> Option<Value<'a>> {
        match name {
            "chain" => Some(self.chain(args, span)),
            _ => None,
        }
    }

    /// `chain(d in [1, 1, 4]: Residual(32, dilation: d))`, `chain(_ in 6: Block(256))`, `chain(Dense(3), relu)`.
    fn chain(&mut self, args: &'a [ast::Arg], span: Span) -> Value<'a> {
        let mut layers = Vec::new();
        for arg in args {
            match &arg.kind {
                ast::ArgKind::Each { binder, list, body } => {
                    let Some(values) = self.repeats(list) else { return Value::Error };
                    for value in values {
                        let layer = self.scoped(|checker| {
                            if let Some(name) = binder {
                                checker.body().bind(&name.text, Binding::Value(value));
                            }
                            checker.eval(body, None)
                        });
                        if matches!(layer, Value::Error) {
                            return Value::Error;
                        }
                        layers.push(layer);
                    }
                }
                ast::ArgKind::Positional(body) => match self.eval(body, None) {
                    Value::Error => return Value::Error,
                    layer => layers.push(layer),
                },
                ast::ArgKind::Named { .. } | ast::ArgKind::Hole => {
                    return self.fail(arity("chain", arg.span, "layers: `chain(_ in 6: Block(256))`"));
                }
            }
        }
        for layer in &layers {
            if !matches!(layer, Value::Callable(_)) {
                let shown = layer.shown();
                return self.fail(
                    Diagnostic::error("type-mismatch", "`chain` takes layers")
                        .primary(span, format!("this holds {shown}")),
                );
            }
        }
        Value::callable(Callable::Chain(layers))
    }

    /// The list after `in`: its elements, or that many times.
    fn repeats(&mut self, list: &'a ast::Expr) -> Option<Vec<Value<'a>>> {
        const MOST: i64 = 10_000;
        let value = self.eval(list, None);
        match &value {
            Value::Error => return None,
            Value::List(items) => return Some(items.clone()),
            Value::Size(size) => {
                if let Some(count) = size.dim.as_const().filter(|count| (0..=MOST).contains(count)) {
                    return Some((0..count).map(|at| Value::size(Dim::from(at))).collect());
                }
                if self.generic && size.dim.as_const().is_none() {
                    // How many there will be is not known: one stands for all.
                    return Some(vec![Value::size(Dim::zero())]);
                }
            }
            Value::Run(_) | Value::Number(_) | Value::Bool(_) | Value::Text(_) | Value::Callable(_) => {}
        }
        let shown = value.shown();
        self.say(
            Diagnostic::error("not-static", "`chain` repeats over a list or a number known when the model is built")
                .primary(list.span, format!("this is {shown}"))
                .help("write `chain(_ in 6: ..)` or `chain(d in [1, 2, 4]: ..)`"),
        );
        None
    }
}

fn exactly<const N: usize>(args: Vec<Given<'_>>) -> Option<[Given<'_>; N]> {
    args.try_into().ok()
}

fn arity(name: &str, span: Span, wants: &str) -> Diagnostic {
    Diagnostic::error("wrong-arguments", format!("`{name}` takes {wants}")).primary(span, "given otherwise")
}
