//! Subscripts: `x[2 * t + k - 3, c]`, `table[token[t], d]`, `z[1]`, `x[a..b]`, `x[last]`, and what stands there outside.

use crate::checker::{Binding, Checker};
use crate::draw;
use crate::hir::{self, Axis, BinaryOp, ExprKind, Outside, Scalar, TensorType, Type};
use crate::operators::size_expr;
use crate::range::{Affine, Ix, Read};
use crate::value::{Callable, Value, expr, scalar_type, show_tensor, show_type};
use crate::walk;
use bdl_dims::Dim;
use bdl_grammar::ast::{self, Sub, SubKind};
use bdl_grammar::{Diagnostic, Span};

/// A subscript while it is read: affine as far as possible, terms of the program inside.
enum Term {
    Affine(Affine),
    Div(Box<Term>, Dim),
    Rem(Box<Term>, Dim),
    Add(Box<Term>, Box<Term>),
    Times(Box<Term>, Dim),
    Data(hir::Expr),
}

impl Term {
    fn ix(&self) -> Ix {
        match self {
            Term::Affine(affine) => Ix::Affine(affine.clone()),
            Term::Div(inner, by) => Ix::Div(Box::new(inner.ix()), by.clone()),
            Term::Rem(inner, by) => Ix::Rem(Box::new(inner.ix()), by.clone()),
            Term::Add(left, right) => Ix::Add(Box::new(left.ix()), Box::new(right.ix())),
            Term::Times(inner, by) => Ix::Times(Box::new(inner.ix()), by.clone()),
            Term::Data(value) => Ix::Data(value.tensor().and_then(|tensor| tensor.scalar.below())),
        }
    }

    fn plus(self, other: Term) -> Term {
        match (self, other) {
            (Term::Affine(a), Term::Affine(b)) => Term::Affine(a.plus(&b)),
            (a, b) => Term::Add(Box::new(a), Box::new(b)),
        }
    }

    fn times(self, by: &Dim) -> Term {
        match self {
            Term::Affine(affine) => Term::Affine(affine.times(by)),
            other => Term::Times(Box::new(other), by.clone()),
        }
    }

    fn as_size(&self) -> Option<Dim> {
        match self {
            Term::Affine(affine) if affine.terms.is_empty() => Some(affine.offset.clone()),
            Term::Affine(_)
            | Term::Div(_, _)
            | Term::Rem(_, _)
            | Term::Add(_, _)
            | Term::Times(_, _)
            | Term::Data(_) => None,
        }
    }
}

impl<'a> Checker<'a> {
    pub fn subscript(&mut self, base: &'a ast::Expr, subs: &'a [Sub], span: Span, want: Option<&Type>) -> Value<'a> {
        if let Some(drawn) = self.shaped(base, subs, span) {
            return drawn;
        }
        let _ = want;
        let value = self.eval(base, None);
        match value {
            Value::Error => {
                // Mistakes inside the subscripts are mistakes of their own.
                for sub in subs {
                    if let SubKind::Expr(index) | SubKind::Else { index, .. } = &sub.kind {
                        let _ = self.try_size(index);
                    }
                }
                Value::Error
            }
            Value::List(items) => self.list_element(items, subs, base, span),
            value => {
                let mut tensor = self.term_of(value, base.span, None);
                if tensor.is_error() {
                    return Value::Error;
                }
                let applied = matches!(tensor.kind, ExprKind::Apply { .. } | ExprKind::Scan(_) | ExprKind::Iterate(_));
                if applied && self.here().depth_of(&tensor) < self.here().blocks.len() {
                    tensor = self.hoist("value", tensor);
                }
                self.subscript_run(tensor, subs, base, span)
            }
        }
    }

    /// `normal[Z]`, `zeros[H]`, `bernoulli(p)[C]`: brackets say the shape of a draw or constant.
    fn shaped(&mut self, base: &'a ast::Expr, subs: &'a [Sub], span: Span) -> Option<Value<'a>> {
        let (name, args) = walk::application(base)?;
        if !draw::is_draw(&name.text) || self.here().find(&name.text).is_some() {
            return None;
        }
        if self.items.find(self.here().file, &name.text).is_some() {
            return None;
        }
        let mut shape = Vec::new();
        for sub in subs {
            match &sub.kind {
                SubKind::Expr(written) => {
                    let size = self.size(written);
                    match size.filter(|size| self.need_natural(&size.dim, written.span).is_some()) {
                        Some(size) => shape.push(size.axis()),
                        None => return Some(Value::Error),
                    }
                }
                SubKind::Rest => match self.here().pack.clone() {
                    Some(pack) => shape.extend(pack),
                    None => {
                        return Some(
                            self.fail(
                                Diagnostic::error("no-pack", "`..` stands for nothing here")
                                    .primary(sub.span, "no input has leading dimensions `..`"),
                            ),
                        );
                    }
                },
                SubKind::Else { .. } | SubKind::Range { .. } => {
                    return Some(
                        self.fail(
                            Diagnostic::error("type-mismatch", "the brackets of a draw or constant hold its shape")
                                .primary(sub.span, "a size is expected"),
                        ),
                    );
                }
            }
        }
        Some(self.draw(name, args, shape, span))
    }

    fn list_element(&mut self, items: Vec<Value<'a>>, subs: &'a [Sub], base: &'a ast::Expr, span: Span) -> Value<'a> {
        if let [Sub { kind: SubKind::Expr(index), .. }] = subs
            && let Some(at) = self.try_size(index).and_then(|size| size.dim.as_const())
        {
            // How many an unknown list holds is not known: one stands for all.
            let at_most = if self.generic && matches!(items.as_slice(), [item] if is_unknown(item)) { 0 } else { at };
            return match usize::try_from(at_most.min(at)).ok().and_then(|at| items.get(at).cloned()) {
                Some(item) => item,
                None => self.fail(
                    Diagnostic::error("out-of-range", format!("this list has {} elements", items.len()))
                        .primary(index.span, format!("element {at} is not among them")),
                ),
            };
        }
        if items.iter().any(|item| matches!(item, Value::Callable(_))) {
            return self.fail(
                Diagnostic::error("not-static", "which layer or function it is must be known when the model is built")
                    .primary(span, "one number in brackets is expected: `parts[0]`")
                    .help("`chain(f in parts: f)` applies all of them, one after the other"),
            );
        }
        let tensor = self.term_of(Value::List(items), base.span, None);
        if tensor.is_error() {
            return Value::Error;
        }
        self.subscript_run(tensor, subs, base, span)
    }

    fn subscript_run(&mut self, base: hir::Expr, subs: &'a [Sub], written: &'a ast::Expr, span: Span) -> Value<'a> {
        let Some(tensor) = base.tensor().cloned() else {
            let shown = show_type(&base.ty);
            return self.fail(
                Diagnostic::error("type-mismatch", "only a tensor has subscripts")
                    .primary(base.span, format!("this is {shown}"))
                    .help("read one of its fields with a dot"),
            );
        };
        let rank = tensor.shape.len();
        let named = subs.iter().filter(|sub| !matches!(sub.kind, SubKind::Rest)).count();
        let rest = if named < subs.len() {
            match self.here().pack_indices.last() {
                Some(indices) => indices.len(),
                None => rank.saturating_sub(named),
            }
        } else {
            0
        };
        if named + rest > rank {
            let text = self.text(written.span);
            return self.fail(
                Diagnostic::error(
                    "rank-mismatch",
                    format!("`{text}` has {}, but {} subscripts", axes(rank), named + rest),
                )
                .primary(span, format!("`{text}` is {}", show_tensor(&tensor))),
            );
        }
        let mut made = Vec::new();
        let mut tensor = tensor;
        let mut shape: Vec<Axis> = Vec::new();
        for sub in subs {
            let axis = tensor.shape.get(made.len()).cloned().unwrap_or_else(|| crate::value::axis(Dim::one()));
            match &sub.kind {
                SubKind::Rest => {
                    let open = self.here().pack_indices.last().cloned();
                    for position in 0..rest {
                        let axis = tensor.shape[made.len()].clone();
                        match open.as_ref().and_then(|indices| indices.get(position)) {
                            Some(&id) => {
                                let affine = Affine::of_index(id);
                                self.read(Ix::Affine(affine.clone()), axis, sub.span, written);
                                made.push(self.affine_sub(affine, Outside::Never, sub.span));
                            }
                            None => {
                                shape.push(axis);
                                made.push(hir::Sub::All);
                            }
                        }
                    }
                }
                SubKind::Range { from, to } => {
                    let Some((sub, axis)) = self.range_sub(from, to, &axis, written) else { return Value::Error };
                    shape.push(axis);
                    made.push(sub);
                }
                SubKind::Else { index, default } => {
                    let last =
                        walk::as_name(index).is_some_and(|n| n.text == "last" && self.here().find("last").is_none());
                    let term = match last {
                        true => Some(Term::Affine(Affine::of_size(axis.size.clone() - Dim::one()))),
                        false => self.term(index),
                    };
                    let Some(term) = term else { return Value::Error };
                    let element = TensorType { shape: Vec::new(), ..tensor.clone() };
                    let default = self.run(default, Some(&Type::Tensor(element.clone())));
                    match self.with_default(&default, &element) {
                        Some(scalar) => tensor.scalar = scalar,
                        None => return Value::Error,
                    }
                    made.push(self.term_sub(term, Outside::Else(Box::new(default)), index.span));
                }
                SubKind::Expr(index) => {
                    let Some(sub) = self.plain_sub(index, &axis, written) else { return Value::Error };
                    made.push(sub);
                }
            }
        }
        while made.len() < rank {
            shape.push(tensor.shape[made.len()].clone());
            made.push(hir::Sub::All);
        }
        let ty = Type::Tensor(TensorType { scalar: tensor.scalar, optional: tensor.optional, shape });
        Value::Run(expr(ExprKind::Subscript { base: Box::new(base), subs: made }, ty, span))
    }

    /// The kind of what is read, or stands outside. `None` after a message.
    fn with_default(&mut self, default: &hir::Expr, element: &TensorType) -> Option<Scalar> {
        let given = default.tensor()?;
        let whole = |scalar: &Scalar| scalar.is_whole();
        let written = matches!(&default.kind, ExprKind::Number(number) if number.fract() == 0.0);
        let scalar = match (&element.scalar, &given.scalar) {
            (element, given) if element == given => Some(element.clone()),
            (element, given) if element.is_real() && (given.is_real() || given.is_whole()) => Some(element.clone()),
            (Scalar::I32, given) if given.is_real() || given.is_whole() => Some(Scalar::I32),
            (Scalar::Index(below), given) if written || whole(given) => {
                let kept = self.is_below(default, below, "outside stands");
                Some(if kept { element.scalar.clone() } else { Scalar::I32 })
            }
            (element, _) if written && given.shape.is_empty() => {
                let below = element.below();
                below.is_none_or(|below| self.is_below(default, &below, "outside stands")).then(|| element.clone())
            }
            (_, _) => None,
        };
        if given.shape.is_empty() && scalar.is_some() {
            return scalar;
        }
        let shown = show_tensor(given);
        self.say(
            Diagnostic::error("type-mismatch", "what stands outside is one element")
                .primary(default.span, format!("this is {shown}, but an element is {}", show_tensor(element))),
        );
        None
    }

    fn plain_sub(&mut self, index: &'a ast::Expr, axis: &Axis, written: &'a ast::Expr) -> Option<hir::Sub> {
        if let ast::ExprKind::Name(name) = &index.kind
            && name.text == "last"
            && self.here().find("last").is_none()
        {
            let affine = Affine::of_size(axis.size.clone() - Dim::one());
            self.read(Ix::Affine(affine.clone()), axis.clone(), index.span, written);
            return Some(self.affine_sub(affine, Outside::Never, index.span));
        }
        if let ast::ExprKind::Call { callee, args } = &index.kind
            && let ast::ExprKind::Name(name) = &callee.kind
            && let [ast::Arg { kind: ast::ArgKind::Positional(inner), .. }] = args.as_slice()
        {
            let outside = match name.text.as_str() {
                "clamp" => Some(Outside::Clamp),
                "mod" => Some(Outside::Mod),
                _ => None,
            };
            if let Some(outside) = outside {
                let term = self.term(inner)?;
                let what =
                    format!("`{}` reads nothing where `{}` is empty", self.text(index.span), self.text(written.span));
                self.need_positive(&axis.size, what, index.span);
                return Some(self.term_sub(term, outside, index.span));
            }
        }
        let term = self.term(index)?;
        if let Term::Data(value) = &term
            && value.tensor().is_some_and(|tensor| tensor.scalar.below().is_none())
        {
            let text = self.text(index.span);
            self.say(
                Diagnostic::error(
                    "out-of-range",
                    format!("nothing says that `{text}` stays inside `{}`", self.text(written.span)),
                )
                .primary(index.span, format!("a whole number without a limit; the axis has {}", axis.size))
                .help(format!(
                    "say what is there: `{text} else 0` or `clamp({text})`; or give the data the type `index({})`",
                    axis.size
                )),
            );
            return None;
        }
        self.read(term.ix(), axis.clone(), index.span, written);
        Some(self.term_sub(term, Outside::Never, index.span))
    }

    fn range_sub(
        &mut self,
        from: &'a ast::Expr,
        to: &'a ast::Expr,
        axis: &Axis,
        written: &'a ast::Expr,
    ) -> Option<(hir::Sub, Axis)> {
        let (low, high) = (self.size(from)?, self.size(to)?);
        let len = high.dim.clone() - low.dim.clone();
        for (least, span, what) in [
            (low.dim.clone(), from.span, format!("`{}` may be negative", low.dim)),
            (len.clone(), to.span, format!("`{}` may be before `{}`", high.dim, low.dim)),
            (
                axis.size.clone() - high.dim.clone(),
                to.span,
                format!("`{}` may be beyond the {} of this axis", high.dim, axis.size),
            ),
        ] {
            if !self.facts().proves(&least) {
                let tensor = self.text(written.span);
                let diagnostic =
                    Diagnostic::error("out-of-range", format!("this range may leave `{tensor}`")).primary(span, what);
                self.say(crate::range::with_origin(diagnostic, axis).help(format!(
                    "state what the sizes must satisfy after the result's type: `where {least} >= 0 else \"..\"`"
                )));
                return None;
            }
        }
        let names = match (&axis.names, low.dim.as_const(), high.dim.as_const()) {
            (Some(names), Some(low), Some(high)) => {
                names.get(low as usize..high as usize).map(|part| part.to_vec().into())
            }
            (_, _, _) => None,
        };
        let result = Axis { size: len.clone(), names, origin: crate::checker::because(from.span.to(to.span), "") };
        Some((hir::Sub::Range { from: low.dim, len }, result))
    }

    fn read(&mut self, index: Ix, axis: Axis, span: Span, written: &'a ast::Expr) {
        let tensor = self.text(written.span).to_string();
        self.body().reads.push(Read { index, axis, span, tensor, only_range: false });
    }

    fn affine_sub(&mut self, affine: Affine, outside: Outside, span: Span) -> hir::Sub {
        let terms: Option<Vec<(hir::IndexId, i64)>> =
            affine.terms.iter().map(|(index, coefficient)| coefficient.as_const().map(|c| (*index, c))).collect();
        match terms {
            Some(terms) => hir::Sub::Affine { terms, offset: affine.offset, outside },
            None => {
                let index = self.affine_expr(&affine, span);
                hir::Sub::Data { index: Box::new(index), outside }
            }
        }
    }

    fn term_sub(&mut self, term: Term, outside: Outside, span: Span) -> hir::Sub {
        match term {
            Term::Affine(affine) => self.affine_sub(affine, outside, span),
            other => {
                let index = self.term_expr(other, span);
                hir::Sub::Data { index: Box::new(index), outside }
            }
        }
    }

    fn affine_expr(&self, affine: &Affine, span: Span) -> hir::Expr {
        let whole = |kind| expr(kind, scalar_type(Scalar::I32), span);
        let offset = size_expr(affine.offset.clone(), Scalar::I32, span);
        affine.terms.iter().fold(offset, |sum, (index, coefficient)| {
            let factor = size_expr(coefficient.clone(), Scalar::I32, span);
            let index = self.index_value(*index, span);
            let product = whole(ExprKind::Binary(BinaryOp::Mul, Box::new(factor), Box::new(index)));
            whole(ExprKind::Binary(BinaryOp::Add, Box::new(sum), Box::new(product)))
        })
    }

    fn term_expr(&self, term: Term, span: Span) -> hir::Expr {
        let whole = |kind| expr(kind, scalar_type(Scalar::I32), span);
        let with_size = |op, inner: Term, by: Dim| {
            let inner = self.term_expr(inner, span);
            whole(ExprKind::Binary(op, Box::new(inner), Box::new(size_expr(by, Scalar::I32, span))))
        };
        match term {
            Term::Affine(affine) => self.affine_expr(&affine, span),
            Term::Div(inner, by) => with_size(BinaryOp::FloorDiv, *inner, by),
            Term::Rem(inner, by) => with_size(BinaryOp::Rem, *inner, by),
            Term::Times(inner, by) => with_size(BinaryOp::Mul, *inner, by),
            Term::Add(left, right) => {
                let (left, right) = (self.term_expr(*left, span), self.term_expr(*right, span));
                whole(ExprKind::Binary(BinaryOp::Add, Box::new(left), Box::new(right)))
            }
            Term::Data(value) => value,
        }
    }

    /// A subscript expression: sizes, indices, `+ - *`, `/` and `%` by sizes; anything else is data.
    fn term(&mut self, e: &'a ast::Expr) -> Option<Term> {
        match &e.kind {
            ast::ExprKind::Name(name) => {
                if let Some(Binding::Index(id)) = self.here().find(&name.text) {
                    return Some(Term::Affine(Affine::of_index(*id)));
                }
                self.data_term(e)
            }
            ast::ExprKind::Unary { op: ast::UnaryOp::Neg, value } => Some(self.term(value)?.times(&Dim::from(-1))),
            ast::ExprKind::Binary { op, left, right } => match op {
                ast::BinaryOp::Add => Some(self.term(left)?.plus(self.term(right)?)),
                ast::BinaryOp::Sub => Some(self.term(left)?.plus(self.term(right)?.times(&Dim::from(-1)))),
                ast::BinaryOp::Mul => {
                    let (a, b) = (self.term(left)?, self.term(right)?);
                    match (a.as_size(), b.as_size()) {
                        (Some(size), _) => Some(b.times(&size)),
                        (None, Some(size)) => Some(a.times(&size)),
                        (None, None) => self.not_affine(e),
                    }
                }
                ast::BinaryOp::Div => self.divided(left, right, e, false),
                ast::BinaryOp::Rem => self.divided(left, right, e, true),
                ast::BinaryOp::Eq
                | ast::BinaryOp::Ne
                | ast::BinaryOp::Lt
                | ast::BinaryOp::Le
                | ast::BinaryOp::Gt
                | ast::BinaryOp::Ge
                | ast::BinaryOp::And
                | ast::BinaryOp::Or => self.data_term(e),
            },
            ast::ExprKind::Call { callee, args } => {
                if let (ast::ExprKind::Name(name), [a, b]) = (&callee.kind, args.as_slice())
                    && name.text == "div"
                    && let (ast::ArgKind::Positional(left), ast::ArgKind::Positional(right)) = (&a.kind, &b.kind)
                {
                    return self.divided(left, right, e, false);
                }
                self.data_term(e)
            }
            ast::ExprKind::Int(_)
            | ast::ExprKind::Float(_)
            | ast::ExprKind::Str(_)
            | ast::ExprKind::Bool(_)
            | ast::ExprKind::Quantity { .. }
            | ast::ExprKind::Next(_)
            | ast::ExprKind::Pipe { .. }
            | ast::ExprKind::Subscript { .. }
            | ast::ExprKind::Field { .. }
            | ast::ExprKind::List(_)
            | ast::ExprKind::Record(_)
            | ast::ExprKind::For { .. }
            | ast::ExprKind::Reduce { .. }
            | ast::ExprKind::If { .. }
            | ast::ExprKind::Else { .. }
            | ast::ExprKind::Except { .. }
            | ast::ExprKind::Block(_)
            | ast::ExprKind::Scan(_)
            | ast::ExprKind::Iterate(_)
            | ast::ExprKind::Unary { op: ast::UnaryOp::Not, .. }
            | ast::ExprKind::Error => self.data_term(e),
        }
    }

    fn divided(&mut self, left: &'a ast::Expr, right: &'a ast::Expr, e: &'a ast::Expr, rem: bool) -> Option<Term> {
        let (a, b) = (self.term(left)?, self.term(right)?);
        let Some(by) = b.as_size() else { return self.not_affine(e) };
        if by.as_const().is_some_and(|by| by <= 0) {
            self.say(
                Diagnostic::error("not-a-size", format!("division by {by}")).primary(right.span, "must be at least 1"),
            );
            return None;
        }
        if let Some(size) = a.as_size() {
            return Some(Term::Affine(Affine::of_size(if rem { size.rem(&by) } else { size.floor_div(&by) })));
        }
        Some(if rem { Term::Rem(Box::new(a), by) } else { Term::Div(Box::new(a), by) })
    }

    fn not_affine(&mut self, e: &'a ast::Expr) -> Option<Term> {
        self.say(
            Diagnostic::error("not-affine", "a subscript may not multiply or divide by an index")
                .primary(e.span, "sums of indices times sizes are read")
                .help("write two subscripts, or `reshape` the tensor"),
        );
        None
    }

    fn data_term(&mut self, e: &'a ast::Expr) -> Option<Term> {
        match self.eval(e, None) {
            Value::Error => None,
            Value::Run(value) => {
                if let ExprKind::Size(dim) = &value.kind {
                    return Some(Term::Affine(Affine::of_size(dim.clone())));
                }
                let tensor = value.tensor()?.clone();
                let whole = tensor.scalar.is_whole() || tensor.scalar.below().is_some();
                if whole && tensor.shape.is_empty() && !tensor.optional {
                    return Some(Term::Data(value));
                }
                let mut diagnostic = Diagnostic::error("type-mismatch", "a subscript is a whole number")
                    .primary(e.span, format!("this is {}", show_tensor(&tensor)));
                if whole && !tensor.optional {
                    diagnostic = diagnostic.help(format!("take one of them: `for i: x[{}[i]]`", self.text(e.span)));
                }
                self.say(diagnostic);
                None
            }
            value => match crate::expr::size_value(&value) {
                Some(size) => Some(Term::Affine(Affine::of_size(size.dim))),
                None => {
                    self.say(
                        Diagnostic::error("type-mismatch", "a subscript is a whole number")
                            .primary(e.span, format!("this is {}", value.shown())),
                    );
                    None
                }
            },
        }
    }
}

fn axes(count: usize) -> String {
    if count == 1 { "1 axis".to_string() } else { format!("{count} axes") }
}

/// The element of a hyper-parameter's list in a definition that is checked on its own.
fn is_unknown(item: &Value) -> bool {
    match item {
        Value::Callable(callable) => matches!(**callable, Callable::Unknown { .. }),
        Value::Size(size) => size.dim.as_var().is_some(),
        Value::Run(term) => matches!(term.kind, ExprKind::Number(number) if number.is_nan()),
        Value::Number(_) | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Error => false,
    }
}
