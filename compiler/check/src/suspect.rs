//! What is right by its types and still hardly meant: warnings about a model, found from what its equations do.
//!
//! A definition (or a loss) is run once on [`Flow`]s instead of numbers: of every value, whether it depends on the example, whether it
//! can be negative, and whether it is still an affine map of something by parameters. No layer is known by name:
//!
//! - `nothing-between`: an affine map by parameters of an affine map by parameters, which is one affine map. A narrow middle is meant (it
//!   makes the whole of low rank), and whatever stands between (a residual, a pooling, a normalisation, messages) makes it something else.
//! - `logit-not-negative`: a logit that is never negative.
//! - `softmax-of-one`: x / sum of x over an axis of one element.
//! - `batch-of-one`: a mean over the batch alone, in batches (or parts of batches, `batch 64 in 4 parts`) of one example;
//!   `last-batch-of-one`: in what is left over, the last batch of an epoch or the last part of a batch.
//! - `part-of-batch`: who is compared with whom is decided by an order (everyone still at risk), and a batch holds only some of them.

use crate::hir::{
    self, BinaryOp, Builtin, Expr, ExprKind, Function, FunctionId, IndexKind, LocalId, Name, Reduction, Scalar, Sub,
    Type, UnaryOp,
};
use bdl_dims::Dim;
use bdl_grammar::{Diagnostic, Span};
use std::rc::Rc;

/// What is looked at, and where the user's text is.
pub(crate) struct Suspicion<'h> {
    functions: &'h [Function],
    /// Does the place belong to the user?
    own: &'h dyn Fn(Span) -> bool,
    rows: Rows,
    /// Applications that are open, outermost first.
    open: Vec<(Span, String)>,
    found: Vec<Diagnostic>,
}

/// What is known of the examples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rows {
    /// Examples a step.
    pub batch: Option<i64>,
    /// In how many parts a batch is computed: 1 for the whole at once.
    pub parts: i64,
    /// Rows that train, about.
    pub trained: Option<i64>,
    /// Examples of the last batch of an epoch, where they are known and fewer than in the others.
    pub last: Option<i64>,
}

/// Where one example is alone among those that are computed together.
#[derive(Clone, Copy)]
enum Alone {
    /// In every batch, or every part of one.
    Always,
    /// In the last part of each batch.
    PartOfEach { batch: i64 },
    /// In the last batch.
    LastBatch,
    /// In parts of the last batch, in all of them or in the last.
    PartOfLast { last: i64 },
}

#[derive(Clone, Debug, Default)]
struct Flow {
    /// It depends on the example.
    data: bool,
    param: bool,
    /// It is never negative.
    least: bool,
    /// An affine map by parameters, with nothing after it.
    mixed: Option<Rc<Mixed>>,
    /// A product of one value of the example with parameters, in this very term.
    scaled: bool,
}

#[derive(Debug)]
struct Mixed {
    /// The application that it is the result of, once that has ended.
    by: Option<By>,
    below: Option<Rc<Mixed>>,
}

#[derive(Clone, Debug)]
struct By {
    span: Span,
    shown: String,
    from: Option<Dim>,
    to: Option<Dim>,
}

#[derive(Clone, Debug)]
enum Value {
    One(Flow),
    Record(Vec<(Name, Value)>),
}

impl Value {
    /// All of it as one value.
    fn flow(&self) -> Flow {
        match self {
            Value::One(flow) => flow.clone(),
            Value::Record(fields) => {
                let all: Vec<Flow> = fields.iter().map(|(_, value)| value.flow()).collect();
                Flow { data: all.iter().any(|f| f.data), param: all.iter().any(|f| f.param), ..Flow::default() }
            }
        }
    }
}

impl Flow {
    fn raw() -> Flow {
        Flow { data: true, ..Flow::default() }
    }

    fn fixed(least: bool) -> Flow {
        Flow { least, ..Flow::default() }
    }

    /// Something of the example that is no affine map of it, or something without it.
    fn bent(parts: &[Flow], least: bool) -> Flow {
        Flow { data: parts.iter().any(|f| f.data), param: parts.iter().any(|f| f.param), least, ..Flow::default() }
    }

    /// Is what was said of it about a single term?
    fn named(self) -> Flow {
        Flow { scaled: false, ..self }
    }
}

/// Messages about one function applied to values of the example.
pub(crate) fn warnings(
    functions: &[Function],
    root: FunctionId,
    rows: Rows,
    own: &dyn Fn(Span) -> bool,
) -> Vec<Diagnostic> {
    let mut suspicion = Suspicion { functions, own, rows, open: Vec::new(), found: Vec::new() };
    if let Some(function) = functions.get(root.0 as usize) {
        let inputs = function.inputs.iter().map(|_| Value::One(Flow::raw())).collect();
        let value = suspicion.run(function, inputs);
        suspicion.of_result(function, &value);
    }
    suspicion.found
}

/// What is said of the last batch of an epoch once it is known how many rows train: `last-batch-of-one`.
pub fn last_batch(hir: &hir::Hir, train: &hir::Train, rows: usize) -> Vec<Diagnostic> {
    let own = |span: Span| !hir.library.contains(&span.file);
    let rows = Rows::of_epoch(train.batch, train.parts, rows as i64);
    let roots = train.objectives.iter().map(|objective| objective.loss);
    let found = roots.flat_map(|root| warnings(&hir.functions, root, rows, &own));
    found.filter(|diagnostic| diagnostic.code == "last-batch-of-one").collect()
}

impl Rows {
    /// So many rows that train, in batches that are computed in parts.
    pub(crate) fn of_epoch(batch: i64, parts: i64, rows: i64) -> Rows {
        // All rows are one batch where they are fewer; that is one row's trouble only if parts make it so.
        let last = match batch {
            2.. if rows > batch => Some(rows % batch),
            2.. if rows > 1 && parts > 1 => Some(rows),
            _ => None,
        };
        Rows { batch: Some(batch), parts, trained: Some(rows), last }
    }

    /// The rows of each part of a batch of so many, the last part apart.
    fn part(&self, batch: i64) -> i64 {
        let parts = self.parts.max(1);
        (batch + parts - 1) / parts
    }

    fn alone(&self) -> Option<Alone> {
        let leaves_one = |batch: i64| batch > 0 && (self.part(batch) == 1 || batch % self.part(batch) == 1);
        let full = self.batch.filter(|batch| self.trained.is_none_or(|rows| rows >= *batch));
        match (full, self.last) {
            (Some(batch), _) if self.part(batch) == 1 => Some(Alone::Always),
            (Some(batch), _) if leaves_one(batch) => Some(Alone::PartOfEach { batch }),
            (_, Some(1)) => Some(Alone::LastBatch),
            (_, Some(last)) if leaves_one(last) => Some(Alone::PartOfLast { last }),
            (_, _) => None,
        }
    }
}

impl Suspicion<'_> {
    fn run(&mut self, function: &Function, inputs: Vec<Value>) -> Value {
        let mut locals: Vec<Option<Value>> = vec![None; function.locals.len()];
        for (local, value) in function.inputs.iter().zip(inputs) {
            locals[local.0 as usize] = Some(value);
        }
        let value = self.value(&function.body, function, &mut locals);
        for (_, update) in &function.updates {
            self.value(update, function, &mut locals);
        }
        value
    }

    fn flow(&mut self, e: &Expr, function: &Function, locals: &mut Vec<Option<Value>>) -> Flow {
        self.value(e, function, locals).flow()
    }

    fn flows(&mut self, all: &[Expr], function: &Function, locals: &mut Vec<Option<Value>>) -> Vec<Flow> {
        all.iter().map(|e| self.flow(e, function, locals)).collect()
    }

    fn bind(&mut self, lets: &[hir::Let], function: &Function, locals: &mut Vec<Option<Value>>) {
        for binding in lets {
            let value = match self.value(&binding.value, function, locals) {
                Value::One(flow) => Value::One(flow.named()),
                value @ Value::Record(_) => value,
            };
            locals[binding.local.0 as usize] = Some(value);
        }
    }

    fn value(&mut self, e: &Expr, function: &Function, locals: &mut Vec<Option<Value>>) -> Value {
        let flow = match &e.kind {
            ExprKind::Number(number) => Flow::fixed(*number >= 0.0),
            ExprKind::Bool(_) | ExprKind::Size(_) | ExprKind::Index(_) | ExprKind::Ambient(_) => Flow::fixed(true),
            ExprKind::Param(_) => Flow { param: true, ..Flow::default() },
            ExprKind::State(_) | ExprKind::Const(_) => Flow::default(),
            ExprKind::NextState(_) => Flow::raw(),
            ExprKind::Local(id) => return locals[id.0 as usize].clone().unwrap_or(Value::One(Flow::raw())),
            ExprKind::Block { lets, value } => {
                self.bind(lets, function, locals);
                return self.value(value, function, locals);
            }
            ExprKind::For { indices: _, body } => return self.value(body, function, locals),
            ExprKind::Record(fields) => {
                let fields = fields.iter().map(|(name, e)| (name.clone(), self.value(e, function, locals)));
                return Value::Record(fields.collect());
            }
            ExprKind::Field(base, field) => match self.value(base, function, locals) {
                Value::Record(fields) => {
                    let found = fields.into_iter().find(|(name, _)| name == field);
                    return found.map_or(Value::One(Flow::raw()), |(_, value)| value);
                }
                Value::One(flow) => flow,
            },
            ExprKind::Reduce { op, indices, filter, default, body } => {
                self.at_risk(e, indices, filter.as_deref(), function);
                let body = self.flow(body, function, locals);
                let others = filter.iter().chain(default).map(|e| &**e);
                let others: Vec<Flow> = others.map(|e| self.flow(e, function, locals)).collect();
                self.reduced(*op, indices, body, others, function)
            }
            ExprKind::Subscript { base, subs } => {
                let base = self.flow(base, function, locals);
                let mut by_data = Vec::new();
                let mut outside = Vec::new();
                for sub in subs {
                    match sub {
                        Sub::Data { index, outside: _ } => by_data.push(self.flow(index, function, locals)),
                        Sub::Affine { terms: _, offset: _, outside: hir::Outside::Else(value) } => {
                            outside.push(self.flow(value, function, locals));
                        }
                        Sub::Affine { .. } | Sub::Range { .. } | Sub::All => {}
                    }
                }
                if by_data.iter().chain(&outside).any(|flow| flow.data) {
                    let least = base.least && outside.iter().all(|flow| flow.least);
                    by_data.push(base);
                    Flow::bent(&by_data, least)
                } else {
                    Flow { least: base.least && outside.iter().all(|flow| flow.least), ..base }
                }
            }
            ExprKind::Unary(op, value) => {
                let value = self.flow(value, function, locals);
                unary(*op, value)
            }
            ExprKind::Binary(op, left, right) => {
                let (a, b) = (self.flow(left, function, locals), self.flow(right, function, locals));
                if *op == BinaryOp::Div {
                    self.part_of_itself(left, right, function);
                }
                binary(*op, a, b)
            }
            ExprKind::If(condition, then, other) => {
                let by = self.flow(condition, function, locals);
                let (a, b) = (self.flow(then, function, locals), self.flow(other, function, locals));
                let least = b.least && (a.least || is_positive(condition, then));
                match (by.data, a.data, b.data) {
                    (false, true, false) => Flow { least, ..a },
                    (false, false, true) => Flow { least, ..b },
                    // The same affine map either way, as dropout has it.
                    (false, true, true) if same_map(&a, &b) => Flow { least, ..a },
                    (_, _, _) => Flow::bent(&[by, a, b], least),
                }
            }
            ExprKind::OfExample(_, value) => {
                let value = self.flow(value, function, locals);
                Flow::bent(&[value.clone(), Flow::raw()], value.least)
            }
            ExprKind::Apply { function: callee, args } => return self.applied(*callee, args, e, function, locals),
            ExprKind::Builtin(builtin, args) => {
                let args = self.flows(args, function, locals);
                of_builtin(builtin, args)
            }
            ExprKind::List(items) => {
                let items = self.flows(items, function, locals);
                Flow::bent(&items, items.iter().all(|flow| flow.least))
            }
            ExprKind::Scan(scan) => {
                self.carry(&scan.carried, function, locals);
                self.bind(&scan.lets, function, locals);
                for e in scan.next.iter().chain(&scan.emit) {
                    self.value(e, function, locals);
                }
                Flow::raw()
            }
            ExprKind::Iterate(iterate) => {
                self.carry(&iterate.carried, function, locals);
                self.value(&iterate.until, function, locals);
                self.bind(&iterate.lets, function, locals);
                for e in &iterate.next {
                    self.value(e, function, locals);
                }
                Flow::raw()
            }
        };
        Value::One(flow)
    }

    fn carry(&mut self, carried: &[(LocalId, Expr)], function: &Function, locals: &mut Vec<Option<Value>>) {
        for (local, start) in carried {
            self.value(start, function, locals);
            locals[local.0 as usize] = Some(Value::One(Flow::raw()));
        }
    }

    fn applied(
        &mut self,
        callee: FunctionId,
        args: &[Expr],
        e: &Expr,
        function: &Function,
        locals: &mut Vec<Option<Value>>,
    ) -> Value {
        let functions = self.functions;
        let Some(called) = functions.get(callee.0 as usize) else { return Value::One(Flow::raw()) };
        let inputs: Vec<Value> = args
            .iter()
            .map(|arg| match self.value(arg, function, locals) {
                Value::One(flow) => Value::One(flow.named()),
                value @ Value::Record(_) => value,
            })
            .collect();
        self.open.push((e.span, called.shown.clone()));
        let value = self.run(called, inputs);
        self.of_result(called, &value);
        self.open.pop();
        let Value::One(flow) = value else { return value };
        let flow = flow.named();
        let Some(mixed) =
            flow.mixed.as_ref().filter(|mixed| mixed.by.is_none() && called.path.is_some() && (self.own)(e.span))
        else {
            return Value::One(flow);
        };
        let by = By {
            span: e.span,
            shown: called.shown.clone(),
            from: args.first().and_then(|arg| last_axis(&arg.ty)),
            to: to_axis(args.first().map(|arg| &arg.ty), &e.ty),
        };
        if let Some(first) = mixed.below.as_ref().and_then(|below| below.by.as_ref())
            && !is_narrow(first, &by)
        {
            self.found.push(
                Diagnostic::warning(
                    "nothing-between",
                    format!(
                        "`{}` and `{}` have nothing between them, so they are one affine map",
                        first.shown, by.shown
                    ),
                )
                .primary(by.span, "multiplies what was only multiplied and added")
                .secondary(first.span, "by this")
                .help("put something that bends between them, such as `|> relu`, or leave one of them out"),
            );
        }
        let mixed = Some(Rc::new(Mixed { by: Some(by), below: mixed.below.clone() }));
        Value::One(Flow { mixed, ..flow })
    }

    /// A result that is declared as a logit and never negative.
    fn of_result(&mut self, function: &Function, value: &Value) {
        let each = |ty: &Type, value: &Value| match (ty, value) {
            (Type::Tensor(tensor), Value::One(flow)) => tensor.scalar == Scalar::Logit && flow.data && flow.least,
            (_, _) => false,
        };
        let wrong = match (&function.body.ty, value) {
            (Type::Record(types), Value::Record(values)) => {
                types.iter().zip(values).any(|((_, ty), (_, value))| each(ty, value))
            }
            (ty, value) => each(ty, value),
        };
        let mut last = &function.body;
        while let ExprKind::Block { lets: _, value } = &last.kind {
            last = value;
        }
        if wrong && (self.own)(last.span) {
            self.found.push(
                Diagnostic::warning(
                    "logit-not-negative",
                    format!("the logits of `{}` are never negative", function.name),
                )
                .primary(last.span, "this is 0 or more, so no probability can fall below that of a logit of 0")
                .help("end with the affine map itself: a logit may be any number"),
            );
        }
    }

    /// `e[j] / sum[k] e[k]` where k has one value.
    fn part_of_itself(&mut self, left: &Expr, right: &Expr, function: &Function) {
        let ExprKind::Reduce { op: Reduction::Sum, indices, filter: None, default: _, body } = &right.kind else {
            return;
        };
        let one = |id: &hir::IndexId| match &function.indices[id.0 as usize].kind {
            IndexKind::Range(size) => size.as_const() == Some(1),
            IndexKind::Batch | IndexKind::Other | IndexKind::Step(_) => false,
        };
        if indices.is_empty() || !indices.iter().all(one) || read_of(left).is_none() || read_of(left) != read_of(body) {
            return;
        }
        let Some((span, shown)) = self.users_application() else { return };
        self.found.push(
            Diagnostic::warning("softmax-of-one", format!("`{shown}` of one value is 1, whatever the value"))
                .primary(span, "divides one number by itself")
                .help("one question with two answers is a single logit: `logit` with `binary_cross_entropy` and `sigmoid`"),
        );
    }

    fn reduced(
        &mut self,
        op: Reduction,
        indices: &[hir::IndexId],
        body: Flow,
        others: Vec<Flow>,
        function: &Function,
    ) -> Flow {
        let kinds: Vec<&IndexKind> = indices.iter().map(|id| &function.indices[id.0 as usize].kind).collect();
        let over_batch = kinds.iter().any(|kind| matches!(kind, IndexKind::Batch));
        if let Some(where_alone) = self.rows.alone()
            && over_batch
            && op == Reduction::Mean
            && function.path.is_some()
        {
            let alone = kinds.iter().all(|kind| match kind {
                IndexKind::Batch => true,
                IndexKind::Range(size) | IndexKind::Step(size) => size.as_const() == Some(1),
                IndexKind::Other => false,
            });
            if let (true, Some((span, shown))) = (alone, self.users_application()) {
                self.found.push(self.alone_in(where_alone, &shown, span));
            }
        }
        let by_data = others.iter().any(|flow| flow.data);
        if op == Reduction::Sum && body.scaled && body.data && !by_data && !over_batch {
            // What was mixed inside this layer is a part of it.
            let below = match &body.mixed {
                Some(mixed) if mixed.by.is_none() => mixed.below.clone(),
                mixed => mixed.clone(),
            };
            return Flow { mixed: Some(Rc::new(Mixed { by: None, below })), scaled: false, ..body };
        }
        let least = body.least && others.iter().all(|flow| flow.least) || matches!(op, Reduction::Any | Reduction::All);
        let least = least && op != Reduction::Logsumexp || matches!(op, Reduction::Argmax | Reduction::Argmin);
        let mut parts = others;
        parts.push(body);
        Flow::bent(&parts, least)
    }

    /// `logsumexp[other in batch if other.time >= time] ..` over a part of those it should be taken over.
    fn at_risk(&mut self, e: &Expr, indices: &[hir::IndexId], filter: Option<&Expr>, function: &Function) {
        let (Some(batch), Some(trained), Some(filter)) = (self.rows.batch, self.rows.trained, filter) else { return };
        let others = indices.iter().any(|id| matches!(function.indices[id.0 as usize].kind, IndexKind::Other));
        let mut ordered = false;
        hir::visit::each(filter, &mut |part| {
            if let ExprKind::Binary(BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge, left, right) = &part.kind
            {
                let of_other = |side: &Expr| {
                    let mut found = false;
                    hir::visit::each(side, &mut |part| found |= matches!(part.kind, ExprKind::OfExample(_, _)));
                    found
                };
                ordered |= of_other(left) != of_other(right);
            }
        });
        if !others || !ordered || batch >= trained {
            return;
        }
        let place = Some((e.span, String::new())).filter(|(span, _)| (self.own)(*span));
        let Some((span, _)) = place.or_else(|| self.users_application()) else { return };
        self.found.push(
            Diagnostic::warning(
                "part-of-batch",
                format!("this compares each example with {batch} of the {trained} that train"),
            )
            .primary(span, "whoever is not in the batch is taken not to be at risk")
            .help(format!("compare all of them: `batch {trained}`; with smaller batches the loss is another one")),
        );
    }

    /// `batch-of-one` and `last-batch-of-one`.
    fn alone_in(&self, place: Alone, shown: &str, span: Span) -> Diagnostic {
        let other = "or normalise within the example: `LayerNorm()`";
        let parts = self.rows.parts;
        // 36 = 4 * 8 + 1: so many groups, and one row more.
        let sum = |rows: i64, each: i64| format!("{rows} = {} * {each} + 1", rows / each.max(1));
        let last = |what: &str| {
            Diagnostic::warning("last-batch-of-one", format!("{what} is one example, and `{shown}` takes its mean"))
                .primary(span, "there each value is compared with itself")
        };
        let fewer = format!("choose fewer parts, or a `batch` that leaves no single row in {parts} parts, {other}");
        match place {
            Alone::Always => {
                let (what, help) = if parts > 1 {
                    ("one example: a part of the batch holds no more", format!("train in fewer parts, {other}"))
                } else {
                    ("a batch of one example", format!("train on larger batches (`batch 32`), {other}"))
                };
                Diagnostic::warning("batch-of-one", format!("`{shown}` takes the mean of {what}"))
                    .primary(span, "each value is compared with itself")
                    .help(help)
            }
            Alone::PartOfEach { batch } => last("the last part of a batch")
                .note(format!("a batch of {batch} in {parts} parts: {}", sum(batch, self.rows.part(batch))))
                .help(fewer),
            Alone::LastBatch => {
                let why = match (self.rows.trained, self.rows.batch) {
                    (Some(rows), Some(batch)) => format!("{rows} rows train, and {}", sum(rows, batch)),
                    (_, _) => "one row is left over".to_string(),
                };
                last("the last batch of an epoch")
                    .note(why)
                    .help(format!("choose a `batch` that leaves no single row, {other}"))
            }
            Alone::PartOfLast { last: rows } => {
                let each = self.rows.part(rows);
                let (what, how) = if each == 1 {
                    ("each part of the last batch", format!("{rows} parts of 1"))
                } else {
                    ("the last part of the last batch", sum(rows, each))
                };
                last(what)
                    .note(format!("the last batch of an epoch has {rows} rows, in {parts} parts: {how}"))
                    .help(fewer)
            }
        }
    }

    /// The innermost open application that stands in the user's text.
    fn users_application(&self) -> Option<(Span, String)> {
        self.open.iter().rev().find(|(span, _)| (self.own)(*span)).cloned()
    }
}

fn unary(op: UnaryOp, value: Flow) -> Flow {
    match op {
        UnaryOp::Neg => Flow { least: false, ..value },
        UnaryOp::ToReal | UnaryOp::ToInt => value,
        UnaryOp::Exp | UnaryOp::Sqrt | UnaryOp::Sigmoid | UnaryOp::Softplus | UnaryOp::Abs | UnaryOp::Not => {
            Flow::bent(&[value], true)
        }
        // Those that keep the sign of what they are applied to.
        UnaryOp::Expm1
        | UnaryOp::Log1p
        | UnaryOp::Tanh
        | UnaryOp::Erf
        | UnaryOp::Floor
        | UnaryOp::Round
        | UnaryOp::Sign => {
            let least = value.least;
            Flow::bent(&[value], least)
        }
        UnaryOp::Log | UnaryOp::Sin | UnaryOp::Cos | UnaryOp::Lgamma | UnaryOp::Digamma => Flow::bent(&[value], false),
    }
}

fn binary(op: BinaryOp, a: Flow, b: Flow) -> Flow {
    let least = a.least && b.least;
    match op {
        BinaryOp::Add | BinaryOp::Sub => {
            let least = least && op == BinaryOp::Add;
            match (a.data, b.data) {
                (true, false) => Flow { least, scaled: false, ..a },
                (false, true) => Flow { least, scaled: false, ..b },
                (_, _) => Flow::bent(&[a, b], least),
            }
        }
        BinaryOp::Mul => match (a.data, b.data) {
            (true, false) => Flow { least, scaled: a.scaled || b.param, ..a },
            (false, true) => Flow { least, scaled: b.scaled || a.param, ..b },
            (_, _) => Flow::bent(&[a, b], least),
        },
        BinaryOp::Div => match (a.data, b.data) {
            (true, false) => Flow { least, ..a },
            (_, _) => Flow::bent(&[a, b], least),
        },
        BinaryOp::Max => {
            let either = a.least || b.least;
            Flow::bent(&[a, b], either)
        }
        BinaryOp::Min | BinaryOp::Pow => Flow::bent(&[a, b], least),
        BinaryOp::FloorDiv | BinaryOp::Rem => Flow::bent(&[a, b], least),
        BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Eq
        | BinaryOp::Ne
        | BinaryOp::Lt
        | BinaryOp::Le
        | BinaryOp::Gt
        | BinaryOp::Ge => Flow::bent(&[a, b], true),
    }
}

fn of_builtin(builtin: &Builtin, args: Vec<Flow>) -> Flow {
    let least = args.iter().all(|flow| flow.least);
    match builtin {
        // The same numbers in another order.
        Builtin::Reshape | Builtin::Transpose(_) | Builtin::Freeze => {
            args.into_iter().next().map_or_else(Flow::raw, Flow::named)
        }
        Builtin::Concat(_) | Builtin::Stack(_) => match &args[..] {
            [one] => one.clone(),
            [] | [_, ..] => Flow::bent(&args, least),
        },
        Builtin::Fill(value) => Flow::fixed(*value >= 0.0),
        Builtin::Eye => Flow::fixed(true),
        // Draws are other numbers than the example's.
        Builtin::Normal { .. } | Builtin::Orthogonal { .. } => Flow::default(),
        Builtin::Uniform { .. }
        | Builtin::Bernoulli { .. }
        | Builtin::Below { .. }
        | Builtin::Categorical { .. }
        | Builtin::Permutation { .. } => Flow::bent(&args, true),
        Builtin::OneHot | Builtin::Argsort | Builtin::Known => Flow::bent(&args, true),
        Builtin::TopK(_) | Builtin::Sort | Builtin::Cumsum | Builtin::OrElse => Flow::bent(&args, least),
        Builtin::Grad => Flow::raw(),
        Builtin::Missing => Flow::fixed(true),
    }
}

fn same_map(a: &Flow, b: &Flow) -> bool {
    matches!((&a.mixed, &b.mixed), (Some(a), Some(b)) if Rc::ptr_eq(a, b))
}

/// `if x > 0 then x`.
fn is_positive(condition: &Expr, then: &Expr) -> bool {
    let ExprKind::Binary(BinaryOp::Gt | BinaryOp::Ge, left, right) = &condition.kind else { return false };
    let number = if let ExprKind::Number(number) = &right.kind { Some(*number) } else { None };
    let size = if let ExprKind::Size(size) = &right.kind { size.as_const().map(|size| size as f64) } else { None };
    let zero = number.or(size).is_some_and(|limit| limit >= 0.0);
    zero && read_of(left).is_some() && read_of(left) == read_of(then)
}

/// The local that a term reads an element of, whatever the indices are called.
fn read_of(e: &Expr) -> Option<LocalId> {
    match &e.kind {
        ExprKind::Local(id) => Some(*id),
        ExprKind::Subscript { base, subs }
            if subs.iter().all(|sub| matches!(sub, Sub::Affine { .. } | Sub::All | Sub::Range { .. })) =>
        {
            read_of(base)
        }
        ExprKind::Number(_)
        | ExprKind::Bool(_)
        | ExprKind::Size(_)
        | ExprKind::Index(_)
        | ExprKind::Param(_)
        | ExprKind::State(_)
        | ExprKind::NextState(_)
        | ExprKind::Const(_)
        | ExprKind::Ambient(_)
        | ExprKind::Block { .. }
        | ExprKind::For { .. }
        | ExprKind::Reduce { .. }
        | ExprKind::Subscript { .. }
        | ExprKind::Unary(_, _)
        | ExprKind::Binary(_, _, _)
        | ExprKind::If(_, _, _)
        | ExprKind::Record(_)
        | ExprKind::Field(_, _)
        | ExprKind::OfExample(_, _)
        | ExprKind::Apply { .. }
        | ExprKind::Builtin(_, _)
        | ExprKind::List(_)
        | ExprKind::Scan(_)
        | ExprKind::Iterate(_) => None,
    }
}

fn last_axis(ty: &Type) -> Option<Dim> {
    match ty {
        Type::Tensor(tensor) => Some(tensor.shape.last().map_or(Dim::from(1), |axis| axis.size.clone())),
        Type::Record(_) | Type::Error => None,
    }
}

/// How many numbers a layer gives in the place of those that it mixes.
fn to_axis(from: Option<&Type>, to: &Type) -> Option<Dim> {
    let rank = |ty: &Type| match ty {
        Type::Tensor(tensor) => Some(tensor.shape.len()),
        Type::Record(_) | Type::Error => None,
    };
    match (from.and_then(rank), rank(to)) {
        (Some(before), Some(after)) if after < before => Some(Dim::from(1)),
        (_, _) => last_axis(to),
    }
}

/// A middle narrower than what it takes and what follows is a map of low rank, which is meant; so may be one whose sizes are not known.
fn is_narrow(first: &By, second: &By) -> bool {
    let at_least = |a: &Option<Dim>, b: &Option<Dim>| match (a, b) {
        (Some(a), Some(b)) => a == b || matches!((a.as_const(), b.as_const()), (Some(a), Some(b)) if a >= b),
        (_, _) => false,
    };
    !(at_least(&first.to, &first.from) || at_least(&first.to, &second.to))
}
