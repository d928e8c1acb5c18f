//! Printing. One [`Printer`] serves the exact form and the one for people.

use super::*;
use crate::data::{
    Affine, Carried, Condition, Distribution, Ends, Expr, Index, Node, Origin, Piece, Program, Read, Role, SizeKind,
    Sub, TensorId,
};
use bdl_dims::Dim;
use std::fmt::Write;

/// The exact text form; [`parse`] gives the same program back.
pub fn print(program: &Program) -> String {
    let mut p = Printer { program, friendly: false, out: String::new(), depth: 0 };
    p.header();
    p.nodes(&program.nodes);
    p.footer();
    p.out
}

/// The program as bdl-like equations for people to read: what `bdl emit` shows. Does not parse back.
pub fn print_bdl(program: &Program) -> String {
    let mut p = Printer { program, friendly: true, out: String::new(), depth: 0 };
    p.header();
    p.nodes(&program.nodes);
    p.footer();
    p.out
}

/// One node in the exact form, without a newline at the end: for messages.
pub fn print_node(program: &Program, node: &Node) -> String {
    let mut p = Printer { program, friendly: false, out: String::new(), depth: 0 };
    p.node(node);
    p.out.trim_end().to_string()
}

struct Printer<'p> {
    program: &'p Program,
    friendly: bool,
    out: String,
    depth: usize,
}

const SELECT: u8 = 0;
const NOT: u8 = 3;
const COMPARISON: u8 = 4;
const SUM: u8 = 5;
const UNARY_MINUS: u8 = 7;

impl Printer<'_> {
    fn line(&mut self, text: &str) {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn header(&mut self) {
        self.line(&format!("program {}", quoted(&self.program.name)));
        for size in &self.program.sizes {
            let kind = match size.kind {
                SizeKind::Built => "built",
                SizeKind::Batch => "batch",
                SizeKind::PerExample => "example",
                SizeKind::Step => "step",
            };
            self.line(&format!("size {} {kind}", size.name));
        }
        for tensor in &self.program.tensors {
            let (role, note) = match tensor.role {
                Role::Input { per_example: true, one_hot: false } => ("input", " per example"),
                Role::Input { per_example: true, one_hot: true } => ("input", " per example one_hot"),
                Role::Input { per_example: false, one_hot: false } => ("input", ""),
                Role::Input { per_example: false, one_hot: true } => ("input", " one_hot"),
                Role::Param => ("param", ""),
                Role::State => ("state", ""),
                Role::Computed => ("value", ""),
            };
            if self.friendly && tensor.role == Role::Computed {
                continue;
            }
            let shape = dims(&tensor.shape);
            self.line(&format!("{role} {}: {}{shape}{note}", quoted(&tensor.name), word(&DTYPES, tensor.dtype)));
        }
        self.out.push('\n');
    }

    fn footer(&mut self) {
        for (name, id) in &self.program.outputs {
            self.line(&format!("output {} = {}", quoted(name), self.tensor(*id)));
        }
        for (target, value) in &self.program.updates {
            self.line(&format!("update {} = {}", self.tensor(*target), self.tensor(*value)));
        }
    }

    fn tensor(&self, id: TensorId) -> String {
        match self.program.tensors.get(id.0 as usize) {
            Some(tensor) => quoted(&tensor.name),
            None => format!("`tensor {}`", id.0),
        }
    }

    fn nodes(&mut self, nodes: &[Node]) {
        for node in nodes {
            self.node(node);
        }
    }

    fn node(&mut self, node: &Node) {
        let origin = self.origin(node.origin());
        match node {
            Node::Equation(equation) => {
                let last = equation.pieces.len().saturating_sub(1);
                if equation.pieces.is_empty() {
                    let text = format!("{} = zero{origin}", self.tensor(equation.out));
                    self.line(&text);
                }
                for (at, piece) in equation.pieces.iter().enumerate() {
                    let mut text = if at > 0 { "also ".to_string() } else { String::new() };
                    self.piece(&mut text, equation.out, piece);
                    if at == last {
                        text.push_str(&origin);
                    }
                    self.line(&text);
                }
            }
            Node::Scan(scan) => {
                let reversed = if scan.reversed { " reversed" } else { "" };
                let checkpoint = scan.checkpoint.as_ref().map(|n| format!(" checkpoint {n}")).unwrap_or_default();
                let ends = match scan.ends {
                    None => String::new(),
                    Some(Ends::When { until, steps }) => {
                        format!(" ends when {} as {}", self.tensor(until), self.tensor(steps))
                    }
                    Some(Ends::After(steps)) => format!(" ends after {}", self.tensor(steps)),
                };
                self.line(&format!("scan {} < {}{reversed}{checkpoint}{ends} {{{origin}", scan.step, scan.extent));
                self.depth += 1;
                self.carried(&scan.carried);
                self.nodes(&scan.body);
                for (inside, outside) in &scan.stacks {
                    self.line(&format!("stack {} as {}", self.tensor(*inside), self.tensor(*outside)));
                }
                self.close();
            }
            Node::Iterate(iterate) => {
                let until = self.tensor(iterate.until);
                self.line(&format!("iterate {} < {} until {until} {{{origin}", iterate.step, iterate.at_most));
                self.depth += 1;
                self.carried(&iterate.carried);
                self.line("condition {");
                self.depth += 1;
                self.nodes(&iterate.condition);
                self.close();
                self.nodes(&iterate.body);
                self.close();
            }
            Node::Draw(draw) => {
                let distribution = match draw.distribution {
                    Distribution::Normal => "normal",
                    Distribution::Uniform => "uniform",
                };
                self.line(&format!("draw {} = {distribution}({}){origin}", self.tensor(draw.out), draw.site));
            }
            Node::View(view) => {
                self.line(&format!("view {} = {}{origin}", self.tensor(view.out), self.tensor(view.input)));
            }
            Node::Sort(sort) => {
                let order = if sort.descending { " descending" } else { "" };
                self.line(&format!("sort {} = {}{order}{origin}", self.tensor(sort.out), self.tensor(sort.input)));
            }
            Node::Literal(literal) => {
                let values: Vec<String> = literal.values.iter().map(|v| number(*v)).collect();
                self.line(&format!("literal {} = [{}]{origin}", self.tensor(literal.out), values.join(", ")));
            }
            Node::Library(library) => {
                let inputs: Vec<String> = library.inputs.iter().map(|i| self.tensor(*i)).collect();
                let routine = word(&ROUTINES, library.routine);
                self.line(&format!("library {} = {routine}({}){origin}", self.tensor(library.out), inputs.join(", ")));
            }
        }
    }

    fn carried(&mut self, carried: &[Carried]) {
        for c in carried {
            let [start, inside, next, last] = [c.start, c.inside, c.next, c.last].map(|id| self.tensor(id));
            self.line(&format!("carry {inside} from {start} next {next} last {last}"));
        }
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.line("}");
    }

    fn origin(&self, origin: &Origin) -> String {
        let what = origin.what.as_deref();
        if self.friendly {
            return what.map(|w| format!("   // {w}")).unwrap_or_default();
        }
        if *origin == Origin::default() {
            return String::new();
        }
        let what = match what {
            None => String::new(),
            Some(w) if w.is_empty() || w.trim() != w || w.starts_with('"') || w.contains(char::is_control) => {
                format!(" {w:?}")
            }
            Some(w) => format!(" {w}"),
        };
        format!("   // @{}:{}..{}{what}", origin.file, origin.start, origin.end)
    }

    fn piece(&self, text: &mut String, out: TensorId, piece: &Piece) {
        let scope = Scope { printer: self, indices: &piece.indices };
        text.push_str(&self.tensor(out));
        let free: Vec<String> = piece.indices[..piece.free].iter().map(|i| scope.index(i)).collect();
        if !piece.is_plain() {
            let at: Vec<String> = piece.at.iter().map(|a| scope.affine(a)).collect();
            let _ = write!(text, "[{} for {}]", at.join(", "), free.join(", "));
        } else if piece.free > 0 {
            let _ = write!(text, "[{}]", free.join(", "));
        }
        text.push_str(" = ");
        let bare = piece.bound() == 0 && piece.filter.is_empty();
        if !bare || piece.monoid != Monoid::Sum || piece.empty.is_some() {
            scope.reduction(text, piece);
        }
        scope.expr(text, &piece.body, SELECT);
    }
}

struct Scope<'p> {
    printer: &'p Printer<'p>,
    indices: &'p [Index],
}

impl Scope<'_> {
    fn index(&self, index: &Index) -> String {
        let of = index.example.map(|e| format!(" of {}", self.name(e.0))).unwrap_or_default();
        format!("{} < {}{of}", quoted(&index.name), index.range)
    }

    fn name(&self, index: u32) -> String {
        self.indices.get(index as usize).map_or_else(|| format!("`index {index}`"), |i| quoted(&i.name))
    }

    fn is_index(&self, name: &str) -> bool {
        self.indices.iter().any(|i| &*i.name == name)
    }

    /// A size that an index hides is written with an `@`.
    fn size(&self, dim: &Dim) -> String {
        dim.substitute(&|name| self.is_index(name).then(|| Dim::var(format!("@{name}")))).to_string()
    }

    fn affine(&self, form: &Affine) -> String {
        let mut text = String::new();
        // Positive terms first: `s - k`, not `-k + s`.
        let mut terms = form.terms.clone();
        terms.sort_by_key(|(_, c)| *c < 0);
        for (index, coefficient) in &terms {
            match (text.is_empty(), *coefficient < 0) {
                (true, false) => {}
                (true, true) => text.push('-'),
                (false, false) => text.push_str(" + "),
                (false, true) => text.push_str(" - "),
            }
            if coefficient.unsigned_abs() != 1 {
                let _ = write!(text, "{} * ", coefficient.unsigned_abs());
            }
            text.push_str(&self.name(index.0));
        }
        if text.is_empty() {
            return self.size(&form.offset);
        }
        if !form.offset.is_zero() {
            let offset = self.size(&form.offset);
            match offset.strip_prefix('-') {
                Some(rest) => text.push_str(&format!(" - {rest}")),
                None => text.push_str(&format!(" + {offset}")),
            }
        }
        text
    }

    fn reduction(&self, text: &mut String, piece: &Piece) {
        match piece.monoid {
            Monoid::ArgMax(n) => {
                let _ = write!(text, "argmax.{n}");
            }
            Monoid::ArgMin(n) => {
                let _ = write!(text, "argmin.{n}");
            }
            plain @ (Monoid::Sum | Monoid::Prod | Monoid::Max | Monoid::Min | Monoid::Any | Monoid::All) => {
                text.push_str(word(&MONOIDS, plain));
            }
        }
        text.push('[');
        let bound: Vec<String> = piece.indices[piece.free..].iter().map(|i| self.index(i)).collect();
        text.push_str(&bound.join(", "));
        let mut space = if bound.is_empty() { "" } else { " " };
        if !piece.filter.is_empty() {
            let conditions: Vec<String> = piece.filter.iter().map(|c| self.condition(c)).collect();
            let _ = write!(text, "{space}if {}", conditions.join(" and "));
            space = " ";
        }
        if let Some(empty) = piece.empty {
            let _ = write!(text, "{space}else {}", number(empty));
        }
        text.push_str("] ");
    }

    fn condition(&self, condition: &Condition) -> String {
        let mut text = String::new();
        match condition {
            Condition::NonNegative(form) => text = format!("{} >= 0", self.affine(form)),
            Condition::Equal(form, data) => {
                text = format!("{} == ", self.affine(form));
                self.expr(&mut text, data, SUM);
            }
            Condition::Holds(e) if self.printer.friendly => self.expr(&mut text, e, NOT),
            Condition::Holds(e) => {
                text.push_str("holds(");
                self.expr(&mut text, e, SELECT);
                text.push(')');
            }
        }
        text
    }

    fn read(&self, text: &mut String, read: &Read) {
        text.push_str(&self.printer.tensor(read.tensor));
        if let Some(example) = read.example {
            let _ = write!(text, "@{}", self.name(example.0));
        }
        let name = self.printer.program.tensors.get(read.tensor.0 as usize).map_or("", |t| &*t.name);
        let hidden = self.is_index(name) || self.printer.program.size_kind(name).is_some();
        if read.subs.is_empty() && read.otherwise.is_none() && !hidden && read.example.is_none() {
            return;
        }
        text.push('[');
        for (axis, sub) in read.subs.iter().enumerate() {
            if axis > 0 {
                text.push_str(", ");
            }
            match sub {
                Sub::Affine(form) => text.push_str(&self.affine(form)),
                Sub::Data(data) => match &**data {
                    Expr::Read(inner) => self.read(text, inner),
                    other if self.printer.friendly => self.expr(text, other, SELECT),
                    other => {
                        text.push_str("data(");
                        self.expr(text, other, SELECT);
                        text.push(')');
                    }
                },
            }
        }
        if let Some(otherwise) = read.otherwise {
            let space = if read.subs.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}else {}", number(otherwise));
        }
        text.push(']');
    }

    /// Prints in a place where operators that bind looser than `level` need brackets.
    fn expr(&self, text: &mut String, e: &Expr, level: u8) {
        match e {
            Expr::Const(value) => text.push_str(&number(*value)),
            Expr::Number(form) => {
                let bare = form.as_index().is_some()
                    || form.as_dim().and_then(Dim::as_var).is_some_and(|name| !self.is_index(name));
                if bare {
                    text.push_str(&self.affine(form));
                } else if self.printer.friendly {
                    let _ = write!(text, "({})", self.affine(form));
                } else {
                    let _ = write!(text, "number({})", self.affine(form));
                }
            }
            Expr::Read(read) => self.read(text, read),
            Expr::Unary(UnaryOp::Neg, a) => bracketed(text, level > UNARY_MINUS, |text| {
                text.push('-');
                let constant = matches!(**a, Expr::Const(_));
                bracketed(text, constant, |text| self.expr(text, a, UNARY_MINUS));
            }),
            Expr::Unary(UnaryOp::Not, a) => bracketed(text, level > NOT, |text| {
                text.push_str("not ");
                self.expr(text, a, NOT);
            }),
            Expr::Unary(op, a) => {
                text.push_str(word(&UNARY, *op));
                bracketed(text, true, |text| self.expr(text, a, SELECT));
            }
            Expr::Binary(op, a, b) => match INFIX.iter().find(|(o, _, _)| o == op) {
                Some((_, sign, own)) => bracketed(text, level > *own, |text| {
                    self.expr(text, a, *own);
                    let _ = write!(text, " {sign} ");
                    self.expr(text, b, own + 1);
                }),
                None => {
                    text.push_str(word(&CALLS, *op));
                    bracketed(text, true, |text| {
                        self.expr(text, a, SELECT);
                        text.push_str(", ");
                        self.expr(text, b, SELECT);
                    });
                }
            },
            Expr::Compare(op, a, b) => bracketed(text, level > COMPARISON, |text| {
                self.expr(text, a, SUM);
                let _ = write!(text, " {} ", word(&COMPARE, *op));
                self.expr(text, b, SUM);
            }),
            Expr::Select(c, a, b) => bracketed(text, level > SELECT, |text| {
                text.push_str("if ");
                self.expr(text, c, SELECT);
                text.push_str(" then ");
                self.expr(text, a, SELECT);
                text.push_str(" else ");
                self.expr(text, b, SELECT);
            }),
        }
    }
}

fn bracketed(text: &mut String, brackets: bool, inside: impl FnOnce(&mut String)) {
    if brackets {
        text.push('(');
    }
    inside(text);
    if brackets {
        text.push(')');
    }
}

fn dims(shape: &[Dim]) -> String {
    if shape.is_empty() {
        return String::new();
    }
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}

fn quoted(name: &str) -> String {
    if is_word(name) && !is_reserved(name) { name.to_string() } else { format!("`{name}`") }
}

/// The shortest decimal that reads back as the same number.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e15).contains(&size) { format!("{value:e}") } else { format!("{value}") }
}
