//! Plans as text.

use super::{BINARY, COMPARE, DTYPES, MONOIDS, UNARY, VALUE_TYPES, displayed, quoted, word_of};
use crate::data::{
    Access, Address, AddressTerm, Algorithm, AxisRole, Bound, Contraction, Distribution, Ends, Kernel, KernelUse,
    Launch, LoopMode, Name, Op, Origin, Place, Plan, Routine, Running, SizeKind, Slice, Stmt, Table, Tables, ValueOp,
};
use bdl_dims::Dim;
use std::fmt::{self, Display, Formatter, Write};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {}", quoted(&self.name))?;
        for size in &self.sizes {
            let name = quoted(&size.name);
            match &size.kind {
                SizeKind::Built => writeln!(f, "size {name} built")?,
                SizeKind::Batch => writeln!(f, "size {name} batch")?,
                SizeKind::Total(dim) => writeln!(f, "size {name} total {dim}")?,
                SizeKind::PerExample => writeln!(f, "size {name} per_example")?,
                SizeKind::Step => writeln!(f, "size {name} step")?,
                SizeKind::Running => writeln!(f, "size {name} running")?,
            }
        }
        for slot in &self.slots {
            writeln!(f, "slot {slot}")?;
        }
        for buffer in &self.buffers {
            let shape: Vec<String> = buffer.shape.iter().map(Dim::to_string).collect();
            let (name, dtype) = (quoted(&buffer.name), word_of(&DTYPES, buffer.dtype));
            write!(f, "buffer {name}: {dtype}[{}] len {}", shape.join(", "), buffer.len)?;
            match &buffer.place {
                Place::Param => writeln!(f, "; param")?,
                Place::State => writeln!(f, "; state")?,
                Place::Input { per_example: true } => writeln!(f, "; input per_example")?,
                Place::Input { per_example: false } => writeln!(f, "; input shared")?,
                Place::Slot(slot) => writeln!(f, "; slot {}", slot.0)?,
                Place::Blocks => writeln!(f, "; blocks")?,
                Place::Literal(values) => {
                    let values: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
                    writeln!(f, "; literal [{}]", values.join(", "))?;
                }
                Place::Table(table) => match table {
                    Table::Lengths(dim) => writeln!(f, "; lengths {dim}")?,
                    Table::Offsets(dim) => writeln!(f, "; offsets {dim}")?,
                    Table::Owner(dim) => writeln!(f, "; owner {dim}")?,
                    Table::SortedBy { keys } => writeln!(f, "; sorted_by {}", self.buffer(keys.0))?,
                    Table::Runs { keys, groups } => writeln!(f, "; runs {}, {groups}", self.buffer(keys.0))?,
                    Table::Positions => writeln!(f, "; positions")?,
                },
            }
        }
        for (name, buffer) in &self.outputs {
            writeln!(f, "output {} = {}", quoted(name), self.buffer(buffer.0))?;
        }
        for kernel in &self.kernels {
            write!(f, "\n{kernel}")?;
        }
        writeln!(f)?;
        let printer = Printer { plan: self, kernels: displayed(&self.kernel_names(), &[]) };
        self.launches.iter().try_for_each(|launch| printer.launch(f, launch, 0))
    }
}

impl Plan {
    pub(crate) fn kernel_names(&self) -> Vec<Name> {
        self.kernels.iter().map(|k| k.name.clone()).collect()
    }

    fn buffer(&self, id: u32) -> String {
        self.buffers.get(id as usize).map_or_else(|| format!("?{id}"), |b| quoted(&b.name))
    }
}

struct Printer<'p> {
    plan: &'p Plan,
    kernels: Vec<String>,
}

impl Printer<'_> {
    fn launch(&self, f: &mut Formatter<'_>, launch: &Launch, indent: usize) -> fmt::Result {
        let pad = "  ".repeat(indent);
        let name = |id: &crate::data::BufferId| self.plan.buffer(id.0);
        match &launch.op {
            Op::Kernel(used) => write!(f, "{pad}run {}", self.kernel_use(used))?,
            Op::Contract(contraction) => self.contraction(f, contraction, indent)?,
            Op::Draw(draw) => {
                let distribution = match draw.distribution {
                    Distribution::Normal => "normal",
                    Distribution::Uniform => "uniform",
                };
                write!(f, "{pad}draw {} = {distribution} site {}", name(&draw.out), draw.site)?;
                if !draw.steps.is_empty() {
                    let steps: Vec<String> = draw.steps.iter().map(|s| quoted(s)).collect();
                    write!(f, " steps {}", steps.join(", "))?;
                }
                match &draw.per_example {
                    Some(dim) => write!(f, " per_example {dim};")?,
                    None => write!(f, " shared")?,
                }
                if let Some(table) = &draw.offsets {
                    write!(f, " offsets {}", name(table))?;
                }
            }
            Op::Copy { from, to } => write!(f, "{pad}copy {} = {}", name(to), name(from))?,
            Op::Clear { buffer } => write!(f, "{pad}clear {}", name(buffer))?,
            Op::Order { out, by } => write!(f, "{pad}order {} by {by};", name(out))?,
            Op::Scan(scan) => {
                let reversed = if scan.reversed { " reversed" } else { "" };
                write!(f, "{pad}scan {} in {}{reversed}", quoted(&scan.step), in_parens(&scan.extent))?;
                self.running(f, &scan.running)?;
                match &scan.ends {
                    None => {}
                    Some(Ends::When { until, steps }) => write!(f, " ends when {} as {}", name(until), name(steps))?,
                    Some(Ends::After(steps)) => write!(f, " ends after {}", name(steps))?,
                }
                writeln!(f, " {{")?;
                scan.body.iter().try_for_each(|inner| self.launch(f, inner, indent + 1))?;
                write!(f, "{pad}}}")?;
            }
            Op::Iterate(iterate) => {
                write!(f, "{pad}iterate {} in {}", quoted(&iterate.step), in_parens(&iterate.at_most))?;
                self.running(f, &iterate.running)?;
                writeln!(f, " until {} {{", name(&iterate.until))?;
                iterate.condition.iter().try_for_each(|inner| self.launch(f, inner, indent + 1))?;
                writeln!(f, "{pad}}} else {{")?;
                iterate.body.iter().try_for_each(|inner| self.launch(f, inner, indent + 1))?;
                write!(f, "{pad}}}")?;
            }
            Op::Sort(sort) => {
                let order = if sort.descending { "descending" } else { "ascending" };
                let (out, input) = (name(&sort.out), name(&sort.input));
                write!(f, "{pad}sort {out} = {order} {input} rows {}; columns {};", sort.rows, sort.columns)?;
                if let Some(offsets) = &sort.offsets {
                    write!(f, " offsets {}", name(offsets))?;
                }
            }
            Op::Library { routine, out, inputs, rows, columns } => {
                let routine = match routine {
                    Routine::Orthogonal => "orthogonal",
                };
                let inputs: Vec<String> = inputs.iter().map(name).collect();
                let inputs = inputs.join(", ");
                write!(f, "{pad}library {} = {routine}({inputs}) rows {rows}; columns {columns};", name(out))?;
            }
        }
        let origin = &launch.origin;
        if *origin != Origin::default() {
            let what = quoted(&format!(" {}", origin.what)).replacen("\" ", "\"", 1);
            write!(f, " at {what} {} {} {}", origin.file, origin.start, origin.end)?;
        }
        writeln!(f)
    }

    fn running(&self, f: &mut Formatter<'_>, running: &Option<Running>) -> fmt::Result {
        let Some(running) = running else { return Ok(()) };
        write!(f, " rows {} of {}", quoted(&running.count), self.plan.buffer(running.order.0))
    }

    fn slice(&self, slice: &Slice) -> String {
        let name = self.plan.buffer(slice.buffer.0);
        if slice.offset.is_zero() { name } else { format!("{name} + {}", in_parens(&slice.offset)) }
    }

    fn kernel_use(&self, used: &KernelUse) -> String {
        let buffers: Vec<String> = used.buffers.iter().map(|s| self.slice(s)).collect();
        let unknown = format!("?{}", used.kernel.0);
        let kernel = self.kernels.get(used.kernel.0 as usize).unwrap_or(&unknown);
        format!("{kernel}({})", buffers.join(", "))
    }

    fn contraction(&self, f: &mut Formatter<'_>, c: &Contraction, indent: usize) -> fmt::Result {
        let pad = "  ".repeat(indent);
        let sign = if c.accumulate { "+=" } else { "=" };
        writeln!(f, "{pad}contract {} {sign} {} * {} {{", self.slice(&c.out), self.slice(&c.a), self.slice(&c.b))?;
        for axis in &c.axes {
            let role = match axis.role {
                AxisRole::Batch => "batch",
                AxisRole::M => "m",
                AxisRole::N => "n",
                AxisRole::K => "k",
            };
            write!(f, "{pad}  {role} {}: {} ", quoted(&axis.name), in_parens(&axis.extent))?;
            write!(f, "(out {}, a {}, b {})", axis.out, axis.a, axis.b)?;
            match axis.offsets {
                Some(Tables { out, a, b }) if out == a && a == b => {
                    writeln!(f, " offsets {}", self.plan.buffer(out.0))?
                }
                Some(tables) => {
                    let [out, a, b] = tables.all().map(|table| self.plan.buffer(table.0));
                    writeln!(f, " offsets (out {out}, a {a}, b {b})")?;
                }
                None => writeln!(f)?,
            }
        }
        for clip in &c.clips {
            let terms: Vec<String> = clip.terms.iter().map(|(axis, k)| format!("{k} * #{axis}")).collect();
            let terms = terms.join(" + ");
            writeln!(f, "{pad}  clip {terms} + {} < {};", in_parens(&clip.offset), clip.extent)?;
        }
        match c.algorithm {
            Algorithm::AsWritten => {}
            Algorithm::Winograd => writeln!(f, "{pad}  winograd")?,
        }
        if let Some(epilogue) = &c.epilogue {
            writeln!(f, "{pad}  then {}", self.kernel_use(epilogue))?;
        }
        write!(f, "{pad}}}")
    }
}

/// A size as one factor: a number, a name, or anything in parentheses.
fn in_parens(dim: &Dim) -> String {
    match (dim.as_const(), dim.as_var()) {
        (Some(n), _) if n >= 0 => n.to_string(),
        (_, Some(name)) => name.to_string(),
        (_, _) => format!("({dim})"),
    }
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names: Vec<Name> = self.buffers.iter().map(|b| b.name.clone()).collect();
        let p = KernelPrinter {
            kernel: self,
            indices: displayed(&self.indices, &self.sizes),
            buffers: displayed(&names, &[]),
        };
        let buffers: Vec<String> = self
            .buffers
            .iter()
            .map(|b| {
                let access = match b.access {
                    Access::Read => "read",
                    Access::Write => "write",
                    Access::Update => "update",
                };
                format!("{}: {} {access}", quoted(&b.name), word_of(&DTYPES, b.dtype))
            })
            .collect();
        write!(f, "kernel {}({})", quoted(&self.name), buffers.join(", "))?;
        let list = |names: &[Name]| names.iter().map(|n| quoted(n)).collect::<Vec<_>>().join(", ");
        if !self.sizes.is_empty() {
            write!(f, " sizes({})", list(&self.sizes))?;
        }
        writeln!(f, " indices({}) {{", list(&self.indices))?;
        let grid = p.indices.first().map_or("?", String::as_str);
        writeln!(f, "  for {grid} in {}{} {{", self.grid, lanes(self.grid_mode))?;
        let mut text = String::new();
        p.body(&mut text, &self.body, 2)?;
        write!(f, "{text}  }}\n}}\n")
    }
}

fn lanes(mode: LoopMode) -> &'static str {
    match mode {
        LoopMode::Serial => "",
        LoopMode::Lanes => " lanes",
    }
}

struct KernelPrinter<'k> {
    kernel: &'k Kernel,
    indices: Vec<String>,
    buffers: Vec<String>,
}

impl KernelPrinter<'_> {
    fn body(&self, f: &mut String, body: &[Stmt], indent: usize) -> fmt::Result {
        body.iter().try_for_each(|stmt| self.stmt(f, stmt, indent))
    }

    fn stmt(&self, f: &mut String, stmt: &Stmt, indent: usize) -> fmt::Result {
        let pad = "  ".repeat(indent);
        match stmt {
            Stmt::Loop { index, from, to, mode, body } => {
                let (from, to) = (bound(from), bound(to));
                writeln!(f, "{pad}for {} in {from}..{to}{} {{", self.index(index.0), lanes(*mode))?;
                self.body(f, body, indent + 1)?;
                writeln!(f, "{pad}}}")
            }
            Stmt::Let { value, op } => {
                let ty = self.kernel.values.get(value.0 as usize).map_or("?", |t| word_of(&VALUE_TYPES, *t));
                writeln!(f, "{pad}%{}: {ty} = {}", value.0, self.op(op))
            }
            Stmt::Variable { variable, start } => {
                let ty = self.kernel.variables.get(variable.0 as usize).map_or("?", |t| word_of(&VALUE_TYPES, *t));
                writeln!(f, "{pad}variable @{}: {ty} = %{}", variable.0, start.0)
            }
            Stmt::Combine { variable, monoid, value } => {
                writeln!(f, "{pad}@{} {}= %{}", variable.0, word_of(&MONOIDS, *monoid), value.0)
            }
            Stmt::Assign { variable, value } => writeln!(f, "{pad}@{} = %{}", variable.0, value.0),
            Stmt::Store { buffer, at, value } => {
                writeln!(f, "{pad}store {} = %{}", self.element(*buffer, at), value.0)
            }
            Stmt::If { condition, body } => {
                writeln!(f, "{pad}if %{} {{", condition.0)?;
                self.body(f, body, indent + 1)?;
                writeln!(f, "{pad}}}")
            }
        }
    }

    fn index(&self, id: u32) -> String {
        self.indices.get(id as usize).cloned().unwrap_or_else(|| format!("?{id}"))
    }

    fn element(&self, buffer: u32, at: &Address) -> String {
        let name = self.buffers.get(buffer as usize).cloned().unwrap_or_else(|| format!("?{buffer}"));
        format!("{name}[{}]", self.address(at))
    }

    fn address(&self, at: &Address) -> String {
        let mut terms: Vec<String> = at
            .terms
            .iter()
            .map(|(term, stride)| {
                let term = match term {
                    AddressTerm::Index(index) => self.index(index.0),
                    AddressTerm::Value(value) => format!("%{}", value.0),
                };
                if stride.as_const() == Some(1) { term } else { format!("{term} * {}", in_parens(stride)) }
            })
            .collect();
        if terms.is_empty() || !at.offset.is_zero() {
            terms.push(in_parens(&at.offset));
        }
        terms.join(" + ")
    }

    fn op(&self, op: &ValueOp) -> String {
        match op {
            ValueOp::Const(value) => format!("const {value:?}"),
            ValueOp::Size(dim) => format!("size {}", in_parens(dim)),
            ValueOp::Index(index) => format!("index {}", self.index(index.0)),
            ValueOp::Variable(variable) => format!("read @{}", variable.0),
            ValueOp::Load { buffer, at, guards, otherwise } => {
                let mut text = format!("load {}", self.element(*buffer, at));
                for guard in guards {
                    // Writing to a string does not fail.
                    let _ = write!(text, " guard [{}] < {}", self.address(&guard.form), in_parens(&guard.extent));
                }
                if !guards.is_empty() || *otherwise != 0.0 || otherwise.is_sign_negative() {
                    let _ = write!(text, " else {otherwise:?}");
                }
                text
            }
            ValueOp::Unary(op, a) => format!("{} %{}", word_of(&UNARY, *op), a.0),
            ValueOp::Binary(op, a, b) => format!("{} %{}, %{}", word_of(&BINARY, *op), a.0, b.0),
            ValueOp::Compare(op, a, b) => format!("{} %{}, %{}", word_of(&COMPARE, *op), a.0, b.0),
            ValueOp::Select(c, a, b) => format!("select %{}, %{}, %{}", c.0, a.0, b.0),
            ValueOp::Convert(a) => format!("convert %{}", a.0),
        }
    }
}

fn bound(bound: &Bound) -> String {
    match bound {
        Bound::Size(dim) => in_parens(dim),
        Bound::Value(value) => format!("%{}", value.0),
    }
}
