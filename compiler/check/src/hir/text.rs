//! The HIR as text that reads like bdl, for `bdl emit --stage hir`.
//!
//! ```text
//! fn 7 Dense(3) at net.dense_2 (x: f32[64]) -> f32[3]
//!   for u < 3: (sum[c < 64] x[c] * net.dense_2.w[c, u]) + net.dense_2.b[u]
//! ```
//!
//! Parameters are shown by the paths of the program that the function belongs to. The text is for reading and does not parse back.

use super::{
    Ambient, BinaryOp, Builtin, Expr, ExprKind, Function, FunctionId, Hir, IndexId, IndexKind, Let, LocalId, Outside,
    Reduction, Scalar, Store, Sub, Train, Type, UnaryOp, Until, visit,
};
use crate::value::{show_scalar, show_shape, show_type};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The whole HIR: each program with the functions that it reaches, in the order in which they are first applied.
pub fn print(hir: &Hir) -> String {
    let mut out = String::new();
    for law in &hir.laws {
        let _ = writeln!(out, "law {} >= 0    // {}: {}", law.least, law.shown, law.message);
    }
    for (name, kind) in &hir.sizes {
        let _ = writeln!(out, "size {name} {}", if *kind == super::SizeKind::Built { "built" } else { "per example" });
    }
    for train in &hir.trains {
        print_train(&mut out, hir, train);
    }
    for entry in &hir.entries {
        let _ = writeln!(out, "\nentry {} = fn {}", entry.name, entry.function.0);
        print_store(&mut out, &entry.store);
        print_functions(&mut out, hir, &entry.store, &[entry.function]);
    }
    out
}

/// One function on its own; `store` names its parameters.
pub fn print_function(hir: &Hir, store: &Store, id: FunctionId) -> String {
    let mut out = String::new();
    if let Some(function) = hir.functions.get(id.0 as usize) {
        Printer { function, hir, store }.function(&mut out, id);
    }
    out
}

fn print_train(out: &mut String, hir: &Hir, train: &Train) {
    let _ = writeln!(out, "\ntrain {}", train.name);
    for (name, value) in &train.hyper {
        let _ = writeln!(out, "  hyper {name} = {value}");
    }
    for (name, shown) in &train.models {
        let _ = writeln!(out, "  model {name} = {shown}");
    }
    let _ = writeln!(out, "  data {}", train.data);
    for field in &train.inputs {
        let _ = writeln!(out, "  field {}: {}", field.name, show_type(&field.ty));
    }
    for objective in &train.objectives {
        let name = if objective.name.is_empty() { String::new() } else { format!("step {} ", objective.name) };
        let over =
            if objective.over.is_empty() { String::new() } else { format!(" over {}", objective.over.join(", ")) };
        let every = if objective.every == 1 { String::new() } else { format!(" every {}", objective.every) };
        let _ = writeln!(out, "  {name}loss fn {} per fn {}{over}{every}", objective.loss.0, objective.per.0);
        for penalty in &objective.penalties {
            let _ = writeln!(out, "  penalty fn {}", penalty.0);
        }
    }
    for prediction in &train.predictions {
        let _ = writeln!(
            out,
            "  predict {} = fn {}    // {}",
            prediction.name,
            prediction.function.0,
            show_type(&prediction.ty)
        );
    }
    let optimizers: Vec<_> = train.objectives.iter().filter_map(|objective| objective.optimizer.as_ref()).collect();
    for optimizer in &optimizers {
        let _ = writeln!(out, "  optimizer {}", optimizer.shown);
    }
    for frozen in &train.frozen {
        let until = match frozen.until {
            Some(Until::Epoch(count)) => format!(" until epoch {count}"),
            Some(Until::Step(count)) => format!(" until step {count}"),
            None => String::new(),
        };
        let _ = writeln!(out, "  frozen {}{until}", frozen.path);
    }
    let _ = writeln!(out, "  epochs {}  batch {}", train.epochs, train.batch);
    print_store(out, &train.store);
    let mut roots: Vec<FunctionId> = train.roots().collect();
    roots.extend(optimizers.iter().flat_map(|optimizer| optimizer.parts.iter().map(|part| part.function)));
    roots.extend(train.store.params.iter().map(|param| param.init));
    roots.extend(train.store.states.iter().map(|state| state.init));
    print_functions(out, hir, &train.store, &roots);
}

fn print_store(out: &mut String, store: &Store) {
    for param in &store.params {
        let _ = writeln!(
            out,
            "  param {}: {} = fn {}",
            param.path,
            show_type(&Type::Tensor(param.ty.clone())),
            param.init.0
        );
    }
    for state in &store.states {
        let _ = writeln!(
            out,
            "  state {}: {} = fn {}",
            state.path,
            show_type(&Type::Tensor(state.ty.clone())),
            state.init.0
        );
    }
}

fn print_functions(out: &mut String, hir: &Hir, store: &Store, roots: &[FunctionId]) {
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<FunctionId> = roots.iter().rev().copied().collect();
    while let Some(id) = waiting.pop() {
        let Some(function) = hir.functions.get(id.0 as usize) else { continue };
        if !seen.insert(id) {
            continue;
        }
        out.push('\n');
        Printer { function, hir, store }.function(out, id);
        let mut called = Vec::new();
        let bodies = std::iter::once(&function.body).chain(function.updates.iter().map(|(_, value)| value));
        for body in bodies {
            visit::each(body, &mut |part| {
                if let ExprKind::Apply { function, .. } = &part.kind {
                    called.push(*function);
                }
            });
        }
        waiting.extend(called.into_iter().rev());
    }
}

struct Printer<'h> {
    function: &'h Function,
    hir: &'h Hir,
    store: &'h Store,
}

impl Printer<'_> {
    fn function(&self, out: &mut String, id: FunctionId) {
        let inputs: Vec<String> = self
            .function
            .inputs
            .iter()
            .map(|id| {
                let local = &self.function.locals[id.0 as usize];
                format!("{}: {}", local.name, show_type(&local.ty))
            })
            .collect();
        let at = self
            .function
            .path
            .as_ref()
            .filter(|path| !path.is_empty())
            .map(|path| format!(" at {path}"))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "fn {} {}{at} ({}) -> {}",
            id.0,
            self.function.shown,
            inputs.join(", "),
            show_type(&self.function.body.ty)
        );
        self.statement(out, &self.function.body, 1);
        for (state, value) in &self.function.updates {
            let _ = writeln!(out, "  update {} = {}", self.state(state.0), self.expr(value, 0));
        }
    }

    fn statement(&self, out: &mut String, expr: &Expr, depth: usize) {
        let pad = "  ".repeat(depth);
        if let ExprKind::Block { lets, value } = &expr.kind {
            for binding in lets {
                self.binding(out, binding, depth);
            }
            self.statement(out, value, depth);
            return;
        }
        let _ = writeln!(out, "{pad}{}", self.expr(expr, 0));
    }

    fn binding(&self, out: &mut String, binding: &Let, depth: usize) {
        let pad = "  ".repeat(depth);
        let name = self.local(binding.local);
        if let ExprKind::Scan(scan) = &binding.value.kind {
            let starts: Vec<String> = scan
                .carried
                .iter()
                .map(|(local, start)| format!("{} = {}", self.local(*local), self.expr(start, 0)))
                .collect();
            let reversed = if scan.reversed { " reversed" } else { "" };
            let index = self.index(scan.index);
            let _ = writeln!(
                out,
                "{pad}let {name} = scan {index} in {}{reversed} from ({}) {{",
                scan.extent,
                starts.join(", ")
            );
            for inner in &scan.lets {
                self.binding(out, inner, depth + 1);
            }
            if let Some(emit) = &scan.emit {
                let _ = writeln!(out, "{pad}  emit {}", self.expr(emit, 0));
            }
            let _ = writeln!(out, "{pad}}}");
            return;
        }
        let _ = writeln!(out, "{pad}let {name} = {}", self.expr(&binding.value, 0));
    }

    fn local(&self, id: LocalId) -> String {
        let Some(local) = self.function.locals.get(id.0 as usize) else { return format!("?{}", id.0) };
        let twice = self.function.locals.iter().filter(|other| other.name == local.name).count() > 1;
        if twice { format!("{}#{}", local.name, id.0) } else { local.name.to_string() }
    }

    fn index(&self, id: IndexId) -> String {
        self.function.indices.get(id.0 as usize).map_or_else(|| format!("?{}", id.0), |index| index.name.to_string())
    }

    fn ranges(&self, indices: &[IndexId]) -> String {
        let shown = indices.iter().map(|id| match self.function.indices.get(id.0 as usize).map(|index| &index.kind) {
            Some(IndexKind::Range(size) | IndexKind::Step(size)) => format!("{} < {size}", self.index(*id)),
            Some(IndexKind::Batch) => "batch".to_string(),
            Some(IndexKind::Other) => format!("{} in batch", self.index(*id)),
            None => format!("?{}", id.0),
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    fn state(&self, at: u32) -> String {
        self.store.states.get(at as usize).map_or_else(|| format!("state {at}"), |state| state.path.to_string())
    }

    fn list(&self, exprs: &[Expr]) -> String {
        exprs.iter().map(|e| self.expr(e, 0)).collect::<Vec<_>>().join(", ")
    }

    /// `strength` is how tightly the place binds: 0 anything, 4 an operand of `+`, 5 of `*`, 6 a unary, 7 a base.
    fn expr(&self, expr: &Expr, strength: u8) -> String {
        let (text, own) = self.bare(expr);
        if own < strength { format!("({text})") } else { text }
    }

    fn bare(&self, expr: &Expr) -> (String, u8) {
        match &expr.kind {
            ExprKind::Number(value) => (value.to_string(), if *value < 0.0 { 6 } else { 9 }),
            ExprKind::Bool(truth) => (truth.to_string(), 9),
            ExprKind::Size(dim) => (dim.to_string(), if dim.as_var().is_some() { 9 } else { 4 }),
            ExprKind::Index(id) => (self.index(*id), 9),
            ExprKind::Local(id) => (self.local(*id), 9),
            ExprKind::Param(id) => (
                self.store
                    .params
                    .get(id.0 as usize)
                    .map_or_else(|| format!("param {}", id.0), |param| param.path.to_string()),
                9,
            ),
            ExprKind::State(id) => (self.state(id.0), 9),
            ExprKind::NextState(id) => (format!("next {}", self.state(id.0)), 6),
            ExprKind::Const(id) => (format!("const {}", id.0), 9),
            ExprKind::Ambient(ambient) => (ambient_text(*ambient).to_string(), 9),
            ExprKind::Block { lets, value } => {
                let lets: Vec<String> = lets
                    .iter()
                    .map(|binding| format!("let {} = {}", self.local(binding.local), self.expr(&binding.value, 0)))
                    .collect();
                (format!("{{ {}; {} }}", lets.join("; "), self.expr(value, 0)), 9)
            }
            ExprKind::For { indices, body } => (format!("for {}: {}", self.ranges(indices), self.expr(body, 0)), 0),
            ExprKind::Reduce { op, indices, filter, default, body } => {
                let filter = filter.as_ref().map(|f| format!(" if {}", self.expr(f, 0))).unwrap_or_default();
                let default = default.as_ref().map(|d| format!(" else {}", self.expr(d, 0))).unwrap_or_default();
                (
                    format!(
                        "{}[{}{filter}{default}] {}",
                        reduction_text(*op),
                        self.ranges(indices),
                        self.expr(body, 5)
                    ),
                    4,
                )
            }
            ExprKind::Subscript { base, subs } => {
                let subs: Vec<String> = subs.iter().map(|sub| self.sub(sub)).collect();
                (format!("{}[{}]", self.expr(base, 7), subs.join(", ")), 8)
            }
            ExprKind::Unary(UnaryOp::ToReal, value)
                if let Some(own @ (Scalar::F64 | Scalar::BF16)) = expr.tensor().map(|tensor| &tensor.scalar) =>
            {
                (format!("{}({})", show_scalar(own), self.expr(value, 0)), 8)
            }
            ExprKind::Unary(op, value) => self.unary(*op, value),
            ExprKind::Binary(op, left, right) => self.binary(*op, left, right),
            ExprKind::If(condition, then, other) => {
                (format!("if {} then {} else {}", self.expr(condition, 1), self.expr(then, 1), self.expr(other, 0)), 0)
            }
            ExprKind::Record(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}: {}", self.expr(value, 0))).collect();
                (format!("({})", fields.join(", ")), 9)
            }
            ExprKind::Field(value, name) => (format!("{}.{name}", self.expr(value, 7)), 8),
            ExprKind::OfExample(id, value) => (format!("{}.{}", self.index(*id), self.expr(value, 7)), 8),
            ExprKind::Apply { function, args } => {
                let shown = self.hir.functions.get(function.0 as usize).map_or("?", |function| function.shown.as_str());
                (format!("{shown}<fn {}>({})", function.0, self.list(args)), 8)
            }
            ExprKind::Builtin(builtin, args) => {
                let shape = match &expr.ty {
                    Type::Tensor(tensor) => format!("{}{}", show_scalar(&tensor.scalar), show_shape(&tensor.shape)),
                    Type::Record(_) | Type::Error => show_type(&expr.ty),
                };
                (format!("{}({}) as {shape}", builtin_text(builtin), self.list(args)), 1)
            }
            ExprKind::List(items) => (format!("[{}]", self.list(items)), 9),
            ExprKind::Scan(scan) => {
                let emit = scan.emit.as_ref().map(|emit| format!(" emit {}", self.expr(emit, 0))).unwrap_or_default();
                (format!("scan {} in {} {{ ..{emit} }}", self.index(scan.index), scan.extent), 9)
            }
            ExprKind::Iterate(iterate) => {
                (format!("iterate until {} at most {} {{ .. }}", self.expr(&iterate.until, 0), iterate.at_most), 9)
            }
        }
    }

    fn unary(&self, op: UnaryOp, value: &Expr) -> (String, u8) {
        match op {
            UnaryOp::Neg => (format!("-{}", self.expr(value, 6)), 6),
            UnaryOp::Not => (format!("not {}", self.expr(value, 6)), 3),
            UnaryOp::ToReal => (format!("f32({})", self.expr(value, 0)), 8),
            UnaryOp::ToInt => (format!("i32({})", self.expr(value, 0)), 8),
            UnaryOp::Exp
            | UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log1p
            | UnaryOp::Sqrt
            | UnaryOp::Tanh
            | UnaryOp::Sigmoid
            | UnaryOp::Softplus
            | UnaryOp::Erf
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Abs
            | UnaryOp::Floor
            | UnaryOp::Round
            | UnaryOp::Sign
            | UnaryOp::Lgamma
            | UnaryOp::Digamma => (format!("{}({})", format!("{op:?}").to_lowercase(), self.expr(value, 0)), 8),
        }
    }

    fn binary(&self, op: BinaryOp, left: &Expr, right: &Expr) -> (String, u8) {
        let (sign, own) = match op {
            BinaryOp::Add => ("+", 4),
            BinaryOp::Sub => ("-", 4),
            BinaryOp::Mul => ("*", 5),
            BinaryOp::Div => ("/", 5),
            BinaryOp::Rem => ("%", 5),
            BinaryOp::And => ("and", 2),
            BinaryOp::Or => ("or", 1),
            BinaryOp::Eq => ("==", 3),
            BinaryOp::Ne => ("!=", 3),
            BinaryOp::Lt => ("<", 3),
            BinaryOp::Le => ("<=", 3),
            BinaryOp::Gt => (">", 3),
            BinaryOp::Ge => (">=", 3),
            BinaryOp::FloorDiv => return (format!("div({}, {})", self.expr(left, 0), self.expr(right, 0)), 8),
            BinaryOp::Pow => return (format!("pow({}, {})", self.expr(left, 0), self.expr(right, 0)), 8),
            BinaryOp::Min => return (format!("min({}, {})", self.expr(left, 0), self.expr(right, 0)), 8),
            BinaryOp::Max => return (format!("max({}, {})", self.expr(left, 0), self.expr(right, 0)), 8),
        };
        (format!("{} {sign} {}", self.expr(left, own), self.expr(right, own + 1)), own)
    }

    fn sub(&self, sub: &Sub) -> String {
        match sub {
            Sub::All => "..".to_string(),
            Sub::Range { from, len } => format!("{from}..{}", from.clone() + len.clone()),
            Sub::Data { index, outside } => self.outside(self.expr(index, 0), outside),
            Sub::Affine { terms, offset, outside } => {
                let mut text = String::new();
                for (index, coefficient) in terms {
                    let sign = if *coefficient < 0 { "-" } else { "+" };
                    let name = self.index(*index);
                    let factor = coefficient.unsigned_abs();
                    let term = if factor == 1 { name } else { format!("{factor} * {name}") };
                    match (text.is_empty(), *coefficient < 0) {
                        (true, false) => text = term,
                        (true, true) => text = format!("-{term}"),
                        (false, _) => text = format!("{text} {sign} {term}"),
                    }
                }
                if text.is_empty() {
                    text = offset.to_string();
                } else if let Some(constant) = offset.as_const() {
                    match constant {
                        0 => {}
                        1.. => text = format!("{text} + {constant}"),
                        _ => text = format!("{text} - {}", -constant),
                    }
                } else {
                    text = format!("{text} + {offset}");
                }
                self.outside(text, outside)
            }
        }
    }

    fn outside(&self, text: String, outside: &Outside) -> String {
        match outside {
            Outside::Never => text,
            Outside::Else(value) => format!("{text} else {}", self.expr(value, 1)),
            Outside::Clamp => format!("clamp({text})"),
            Outside::Mod => format!("mod({text})"),
        }
    }
}

fn ambient_text(ambient: Ambient) -> &'static str {
    match ambient {
        Ambient::Training => "training",
        Ambient::Step => "step",
        Ambient::Steps => "steps",
        Ambient::Epoch => "epoch",
        Ambient::Epochs => "epochs",
        Ambient::BatchSize => "batch size",
    }
}

fn reduction_text(op: Reduction) -> &'static str {
    match op {
        Reduction::Sum => "sum",
        Reduction::Prod => "prod",
        Reduction::Min => "min",
        Reduction::Max => "max",
        Reduction::Mean => "mean",
        Reduction::Any => "any",
        Reduction::All => "all",
        Reduction::Argmax => "argmax",
        Reduction::Argmin => "argmin",
        Reduction::Logsumexp => "logsumexp",
    }
}

fn builtin_text(builtin: &Builtin) -> String {
    match builtin {
        Builtin::Concat(axis) => format!("concat along {axis}"),
        Builtin::Stack(axis) => format!("stack along {axis}"),
        Builtin::Reshape => "reshape".to_string(),
        Builtin::Transpose(order) => format!("transpose {order:?}"),
        Builtin::Fill(value) => format!("fill {value}"),
        Builtin::Eye => "eye".to_string(),
        Builtin::Normal { site } => format!("normal#{site:08x}"),
        Builtin::Uniform { site } => format!("uniform#{site:08x}"),
        Builtin::Bernoulli { site } => format!("bernoulli#{site:08x}"),
        Builtin::Below { site } => format!("below#{site:08x}"),
        Builtin::Categorical { site } => format!("categorical#{site:08x}"),
        Builtin::Permutation { site } => format!("permutation#{site:08x}"),
        Builtin::Orthogonal { site } => format!("orthogonal#{site:08x}"),
        Builtin::OneHot => "onehot".to_string(),
        Builtin::TopK(count) => format!("top_{count}"),
        Builtin::Sort => "sort".to_string(),
        Builtin::Argsort => "argsort".to_string(),
        Builtin::Cumsum => "cumsum".to_string(),
        Builtin::Freeze => "freeze".to_string(),
        Builtin::Grad => "grad".to_string(),
        Builtin::Known => "known".to_string(),
        Builtin::OrElse => "or_else".to_string(),
        Builtin::Missing => "missing".to_string(),
    }
}
