//! Plans from text.

use super::{BINARY, COMPARE, DTYPES, MONOIDS, UNARY, VALUE_TYPES, displayed, of_word};
use crate::data::{
    Access, Address, AddressTerm, Algorithm, AxisRole, Bound, Buffer, BufferId, Clip, Contraction, ContractionAxis,
    DType, Distribution, Draw, Ends, Guard, Iterate, Kernel, KernelBuffer, KernelId, KernelUse, Launch, LoopIndex,
    LoopMode, Name, Op, Origin, Place, Plan, Routine, Running, Scan, SizeKind, SizeName, Slice, SlotId, Sort, Stmt,
    Table, Tables, ValueId, ValueOp, ValueType, VariableId,
};
use bdl_dims::Dim;
use std::fmt;

/// Where a text is no plan: a line, counted from 1, and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub line: usize,
    pub expected: String,
    pub found: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {}, found `{}`", self.line, self.expected, self.found)
    }
}

impl std::error::Error for ParseError {}

type Parse<T> = Result<T, ParseError>;

/// A plan from its text.
pub fn parse_plan(text: &str) -> Parse<Plan> {
    let mut p = Parser { text, at: 0 };
    let plan = p.plan()?;
    p.end()?;
    Ok(plan)
}

/// A kernel from its text.
pub fn parse_kernel(text: &str) -> Parse<Kernel> {
    let mut p = Parser { text, at: 0 };
    p.expect("kernel")?;
    let kernel = p.kernel()?;
    p.end()?;
    Ok(kernel)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

/// Names of the kernel being parsed.
struct Scope {
    indices: Vec<String>,
    buffers: Vec<String>,
    values: Vec<Option<ValueType>>,
    variables: Vec<Option<ValueType>>,
}

impl<'t> Parser<'t> {
    // ---------------------------------------------------------------- words

    fn skip(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn rest(&mut self) -> &'t str {
        self.skip();
        &self.text[self.at..]
    }

    fn fail<T>(&mut self, expected: impl Into<String>) -> Parse<T> {
        let rest = self.rest();
        let line = self.text[..self.at].matches('\n').count() + 1;
        let found = rest.lines().next().unwrap_or("").chars().take(30).collect();
        Err(ParseError { line, expected: expected.into(), found })
    }

    fn end(&mut self) -> Parse<()> {
        if self.rest().is_empty() { Ok(()) } else { self.fail("the end") }
    }

    /// Eats a sign or a whole word.
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest();
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let whole = !token.ends_with(word) || !rest[token.len().min(rest.len())..].starts_with(word);
        let found = rest.starts_with(token) && whole;
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Parse<()> {
        if self.eat(token) { Ok(()) } else { self.fail(format!("`{token}`")) }
    }

    fn name(&mut self) -> Parse<Name> {
        let rest = self.rest();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices();
            while let Some((i, c)) = chars.next() {
                match c {
                    '"' => {
                        self.at += i + 2;
                        return Ok(name.into());
                    }
                    '\\' => match chars.next() {
                        Some((_, 'n')) => name.push('\n'),
                        Some((_, c)) => name.push(c),
                        None => break,
                    },
                    c => name.push(c),
                }
            }
            return self.fail("a closing quote");
        }
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '\'');
        let mut len = rest.find(|c| !word(c)).unwrap_or(rest.len());
        if let Some(dots) = rest[..len].find("..") {
            len = dots;
        }
        if len == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
            return self.fail("a name");
        }
        self.at += len;
        Ok(rest[..len].into())
    }

    /// A name as displayed, with its number where it has one.
    fn reference(&mut self, among: &[String], what: &str) -> Parse<u32> {
        let start = self.at;
        let mut shown = super::quoted(&self.name()?);
        if self.text[self.at..].starts_with('#') {
            self.at += 1;
            shown = format!("{shown}#{}", self.integer()?);
        }
        match among.iter().position(|name| *name == shown) {
            Some(at) => Ok(at as u32),
            None => {
                self.at = start;
                self.fail(what)
            }
        }
    }

    fn integer(&mut self) -> Parse<i64> {
        let rest = self.rest();
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let len = rest.len() - digits.len() + digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        match rest[..len].parse() {
            Ok(n) => {
                self.at += len;
                Ok(n)
            }
            Err(_) => self.fail("an integer"),
        }
    }

    fn small(&mut self) -> Parse<u32> {
        match u32::try_from(self.integer()?) {
            Ok(n) => Ok(n),
            Err(_) => self.fail("a number below 2^32"),
        }
    }

    fn number(&mut self) -> Parse<f64> {
        let rest = self.rest();
        let part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '+' | '.');
        let len = rest.find(|c| !part(c)).unwrap_or(rest.len());
        match rest[..len].parse() {
            Ok(n) => {
                self.at += len;
                Ok(n)
            }
            Err(_) => self.fail("a number"),
        }
    }

    /// One factor: a number, a name, or anything in parentheses.
    fn factor(&mut self) -> Parse<Dim> {
        let rest = self.rest();
        if rest.starts_with('(') {
            let mut depth = 0;
            for (i, c) in rest.char_indices() {
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    return self.dim_of(&rest[1..i], i + 1);
                }
            }
            return self.fail("a closing parenthesis");
        }
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Dim::from(self.integer()?));
        }
        Ok(Dim::var(self.name()?))
    }

    /// A size up to a sign that cannot be part of it, or the end of the line.
    fn dim(&mut self) -> Parse<Dim> {
        let rest = self.rest();
        let mut depth = 0;
        for (i, c) in rest.char_indices() {
            match c {
                '(' => depth += 1,
                ')' if depth == 0 => return self.dim_of(&rest[..i], i),
                ')' => depth -= 1,
                ',' | ']' | '{' | ';' | '\n' => return self.dim_of(&rest[..i], i),
                _ => {}
            }
        }
        self.dim_of(rest, rest.len())
    }

    fn dim_of(&mut self, text: &str, len: usize) -> Parse<Dim> {
        match text.parse() {
            Ok(dim) => {
                self.at += len;
                Ok(dim)
            }
            Err(error) => self.fail(format!("a size ({error})")),
        }
    }

    fn list<T>(&mut self, close: &str, mut item: impl FnMut(&mut Self) -> Parse<T>) -> Parse<Vec<T>> {
        let mut items = Vec::new();
        if self.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(close) {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }

    fn one_of<T: Copy>(&mut self, table: &[(T, &'static str)], what: &str) -> Parse<T> {
        let start = self.at;
        let word = self.name()?;
        match of_word(table, &word) {
            Some(found) => Ok(found),
            None => {
                self.at = start;
                self.fail(what)
            }
        }
    }

    // ---------------------------------------------------------------- plans

    fn plan(&mut self) -> Parse<Plan> {
        self.expect("plan")?;
        let name = self.name()?;
        let mut plan = Plan {
            name,
            sizes: Vec::new(),
            buffers: Vec::new(),
            slots: Vec::new(),
            kernels: Vec::new(),
            launches: Vec::new(),
            outputs: Vec::new(),
        };
        loop {
            if self.eat("size") {
                let name = self.name()?;
                let kind = if self.eat("built") {
                    SizeKind::Built
                } else if self.eat("batch") {
                    SizeKind::Batch
                } else if self.eat("total") {
                    SizeKind::Total(self.dim()?)
                } else if self.eat("per_example") {
                    SizeKind::PerExample
                } else if self.eat("step") {
                    SizeKind::Step
                } else if self.eat("running") {
                    SizeKind::Running
                } else {
                    return self.fail("built, batch, total, per_example, step or running");
                };
                plan.sizes.push(SizeName { name, kind });
            } else if self.eat("slot") {
                let slot = self.dim()?;
                plan.slots.push(slot);
            } else if self.eat("buffer") {
                let buffer = self.buffer(&plan)?;
                plan.buffers.push(buffer);
            } else if self.eat("output") {
                let name = self.name()?;
                self.expect("=")?;
                let buffer = self.buffer_id(&plan)?;
                plan.outputs.push((name, buffer));
            } else if self.eat("kernel") {
                let kernel = self.kernel()?;
                plan.kernels.push(kernel);
            } else {
                break;
            }
        }
        let kernels = displayed(&plan.kernel_names(), &[]);
        while !self.rest().is_empty() {
            let launch = self.launch(&plan, &kernels)?;
            plan.launches.push(launch);
        }
        Ok(plan)
    }

    fn buffer_id(&mut self, plan: &Plan) -> Parse<BufferId> {
        let start = self.at;
        let name = self.name()?;
        match plan.buffers.iter().position(|b| b.name == name) {
            Some(at) => Ok(BufferId(at as u32)),
            None => {
                self.at = start;
                self.fail("the name of a buffer")
            }
        }
    }

    fn buffer(&mut self, plan: &Plan) -> Parse<Buffer> {
        let name = self.name()?;
        self.expect(":")?;
        let dtype: DType = self.one_of(&DTYPES, "an element type")?;
        self.expect("[")?;
        let shape = self.list("]", Self::dim)?;
        self.expect("len")?;
        let len = self.dim()?;
        self.expect(";")?;
        let place = if self.eat("param") {
            Place::Param
        } else if self.eat("state") {
            Place::State
        } else if self.eat("input") {
            let per_example = self.eat("per_example");
            if !per_example {
                self.expect("shared")?;
            }
            Place::Input { per_example }
        } else if self.eat("slot") {
            Place::Slot(SlotId(self.small()?))
        } else if self.eat("blocks") {
            Place::Blocks
        } else if self.eat("literal") {
            self.expect("[")?;
            Place::Literal(self.list("]", Self::number)?.into())
        } else if self.eat("lengths") {
            Place::Table(Table::Lengths(self.dim()?))
        } else if self.eat("offsets") {
            Place::Table(Table::Offsets(self.dim()?))
        } else if self.eat("owner") {
            Place::Table(Table::Owner(self.dim()?))
        } else if self.eat("sorted_by") {
            Place::Table(Table::SortedBy { keys: self.buffer_id(plan)? })
        } else if self.eat("runs") {
            let keys = self.buffer_id(plan)?;
            self.expect(",")?;
            Place::Table(Table::Runs { keys, groups: self.dim()? })
        } else if self.eat("positions") {
            Place::Table(Table::Positions)
        } else {
            return self.fail("where the buffer lies");
        };
        Ok(Buffer { name, dtype, len, shape, place })
    }

    // ---------------------------------------------------------------- launches

    fn launch(&mut self, plan: &Plan, kernels: &[String]) -> Parse<Launch> {
        let op = if self.eat("run") {
            Op::Kernel(self.kernel_use(plan, kernels)?)
        } else if self.eat("contract") {
            Op::Contract(self.contraction(plan, kernels)?)
        } else if self.eat("draw") {
            self.draw(plan)?
        } else if self.eat("copy") {
            let to = self.buffer_id(plan)?;
            self.expect("=")?;
            Op::Copy { from: self.buffer_id(plan)?, to }
        } else if self.eat("clear") {
            Op::Clear { buffer: self.buffer_id(plan)? }
        } else if self.eat("order") {
            let out = self.buffer_id(plan)?;
            self.expect("by")?;
            let by = self.dim()?;
            self.expect(";")?;
            Op::Order { out, by }
        } else if self.eat("scan") {
            let step = self.name()?;
            self.expect("in")?;
            let extent = self.factor()?;
            let reversed = self.eat("reversed");
            let running = self.running(plan)?;
            let ends = if self.eat("ends") {
                Some(if self.eat("after") {
                    Ends::After(self.buffer_id(plan)?)
                } else {
                    self.expect("when")?;
                    let until = self.buffer_id(plan)?;
                    self.expect("as")?;
                    Ends::When { until, steps: self.buffer_id(plan)? }
                })
            } else {
                None
            };
            let body = self.body_of_loop(plan, kernels)?;
            Op::Scan(Scan { step, extent, reversed, running, ends, body })
        } else if self.eat("iterate") {
            let step = self.name()?;
            self.expect("in")?;
            let at_most = self.factor()?;
            let running = self.running(plan)?;
            self.expect("until")?;
            let until = self.buffer_id(plan)?;
            let condition = self.body_of_loop(plan, kernels)?;
            self.expect("else")?;
            let body = self.body_of_loop(plan, kernels)?;
            Op::Iterate(Iterate { step, at_most, running, condition, until, body })
        } else if self.eat("sort") {
            let out = self.buffer_id(plan)?;
            self.expect("=")?;
            let descending = self.eat("descending");
            if !descending {
                self.expect("ascending")?;
            }
            let input = self.buffer_id(plan)?;
            let (rows, columns) = self.rows_and_columns()?;
            let offsets = if self.eat("offsets") { Some(self.buffer_id(plan)?) } else { None };
            Op::Sort(Sort { out, input, offsets, rows, columns, descending })
        } else if self.eat("library") {
            let out = self.buffer_id(plan)?;
            self.expect("=")?;
            self.expect("orthogonal")?;
            self.expect("(")?;
            let inputs = self.list(")", |p| p.buffer_id(plan))?;
            let (rows, columns) = self.rows_and_columns()?;
            Op::Library { routine: Routine::Orthogonal, out, inputs, rows, columns }
        } else {
            return self.fail("a launch");
        };
        let mut origin = Origin::default();
        if self.eat("at") {
            origin = Origin { what: self.name()?, file: self.small()?, start: self.small()?, end: self.small()? };
        }
        Ok(Launch { op, origin })
    }

    fn running(&mut self, plan: &Plan) -> Parse<Option<Running>> {
        if !self.eat("rows") {
            return Ok(None);
        }
        let count = self.name()?;
        self.expect("of")?;
        Ok(Some(Running { order: self.buffer_id(plan)?, count }))
    }

    fn body_of_loop(&mut self, plan: &Plan, kernels: &[String]) -> Parse<Vec<Launch>> {
        self.expect("{")?;
        let mut body = Vec::new();
        while !self.eat("}") {
            body.push(self.launch(plan, kernels)?);
        }
        Ok(body)
    }

    fn rows_and_columns(&mut self) -> Parse<(Dim, Dim)> {
        self.expect("rows")?;
        let rows = self.dim()?;
        self.expect(";")?;
        self.expect("columns")?;
        let columns = self.dim()?;
        self.expect(";")?;
        Ok((rows, columns))
    }

    fn draw(&mut self, plan: &Plan) -> Parse<Op> {
        let out = self.buffer_id(plan)?;
        self.expect("=")?;
        let distribution = if self.eat("normal") {
            Distribution::Normal
        } else {
            self.expect("uniform")?;
            Distribution::Uniform
        };
        self.expect("site")?;
        let site = self.small()?;
        let mut steps = Vec::new();
        if self.eat("steps") {
            steps.push(self.name()?);
            while self.eat(",") {
                steps.push(self.name()?);
            }
        }
        let per_example = if self.eat("per_example") {
            let dim = self.dim()?;
            self.expect(";")?;
            Some(dim)
        } else {
            self.expect("shared")?;
            None
        };
        let offsets = if self.eat("offsets") { Some(self.buffer_id(plan)?) } else { None };
        Ok(Op::Draw(Draw { out, distribution, site, steps, per_example, offsets }))
    }

    fn slice(&mut self, plan: &Plan) -> Parse<Slice> {
        let buffer = self.buffer_id(plan)?;
        // `+=` belongs to a contraction.
        let offset = if !self.rest().starts_with("+=") && self.eat("+") { self.factor()? } else { Dim::zero() };
        Ok(Slice { buffer, offset })
    }

    fn kernel_use(&mut self, plan: &Plan, kernels: &[String]) -> Parse<KernelUse> {
        let kernel = KernelId(self.reference(kernels, "the name of a kernel")?);
        self.expect("(")?;
        Ok(KernelUse { kernel, buffers: self.list(")", |p| p.slice(plan))? })
    }

    fn contraction(&mut self, plan: &Plan, kernels: &[String]) -> Parse<Contraction> {
        let out = self.slice(plan)?;
        let accumulate = self.eat("+=");
        if !accumulate {
            self.expect("=")?;
        }
        let a = self.slice(plan)?;
        self.expect("*")?;
        let b = self.slice(plan)?;
        self.expect("{")?;
        let algorithm = Algorithm::AsWritten;
        let mut c =
            Contraction { out, a, b, axes: Vec::new(), clips: Vec::new(), accumulate, algorithm, epilogue: None };
        while !self.eat("}") {
            if self.eat("winograd") {
                c.algorithm = Algorithm::Winograd;
            } else if self.eat("then") {
                c.epilogue = Some(self.kernel_use(plan, kernels)?);
            } else if self.eat("clip") {
                let mut terms = Vec::new();
                while !self.rest().starts_with("+ ") || !terms.is_empty() {
                    let coefficient = self.integer()?;
                    self.expect("*")?;
                    self.expect("#")?;
                    terms.push((self.small()?, coefficient));
                    // The offset is the last term, and the only one without an axis.
                    let rest = self.rest();
                    let next = rest.strip_prefix('+').map(str::trim_start).unwrap_or_default();
                    let is_term = next.find(|c: char| !c.is_ascii_digit() && c != '-').is_some_and(|i| {
                        next[i..].trim_start().strip_prefix('*').is_some_and(|n| n.trim_start().starts_with('#'))
                    });
                    if !is_term {
                        break;
                    }
                    self.expect("+")?;
                }
                self.expect("+")?;
                let offset = self.factor()?;
                self.expect("<")?;
                let extent = self.dim()?;
                self.expect(";")?;
                c.clips.push(Clip { terms, offset, extent });
            } else {
                let axis = self.axis(plan)?;
                c.axes.push(axis);
            }
        }
        Ok(c)
    }

    fn axis(&mut self, plan: &Plan) -> Parse<ContractionAxis> {
        let roles = [(AxisRole::Batch, "batch"), (AxisRole::M, "m"), (AxisRole::N, "n"), (AxisRole::K, "k")];
        let role = self.one_of(&roles, "batch, m, n, k, clip, winograd or then")?;
        let name = self.name()?;
        self.expect(":")?;
        let extent = self.factor()?;
        self.expect("(")?;
        self.expect("out")?;
        let out = self.dim()?;
        self.expect(",")?;
        self.expect("a")?;
        let a = self.dim()?;
        self.expect(",")?;
        self.expect("b")?;
        let b = self.dim()?;
        self.expect(")")?;
        let offsets = if self.eat("offsets") { Some(self.tables(plan)?) } else { None };
        Ok(ContractionAxis { name, role, extent, out, a, b, offsets })
    }

    /// One table for all operands, or `(out X, a Y, b Z)`.
    fn tables(&mut self, plan: &Plan) -> Parse<Tables> {
        if !self.eat("(") {
            let all = self.buffer_id(plan)?;
            return Ok(Tables { out: all, a: all, b: all });
        }
        self.expect("out")?;
        let out = self.buffer_id(plan)?;
        self.expect(",")?;
        self.expect("a")?;
        let a = self.buffer_id(plan)?;
        self.expect(",")?;
        self.expect("b")?;
        let b = self.buffer_id(plan)?;
        self.expect(")")?;
        Ok(Tables { out, a, b })
    }

    // ---------------------------------------------------------------- kernels

    fn kernel(&mut self) -> Parse<Kernel> {
        let name = self.name()?;
        self.expect("(")?;
        let buffers = self.list(")", |p| {
            let name = p.name()?;
            p.expect(":")?;
            let dtype = p.one_of(&DTYPES, "an element type")?;
            let accesses = [(Access::Read, "read"), (Access::Write, "write"), (Access::Update, "update")];
            let access = p.one_of(&accesses, "read, write or update")?;
            Ok(KernelBuffer { name, dtype, access })
        })?;
        let mut sizes = Vec::new();
        if self.eat("sizes") {
            self.expect("(")?;
            sizes = self.list(")", Self::name)?;
        }
        self.expect("indices")?;
        self.expect("(")?;
        let indices = self.list(")", Self::name)?;
        self.expect("{")?;
        let names: Vec<Name> = buffers.iter().map(|b| b.name.clone()).collect();
        let mut scope = Scope {
            indices: displayed(&indices, &sizes),
            buffers: displayed(&names, &[]),
            values: Vec::new(),
            variables: Vec::new(),
        };
        self.expect("for")?;
        if self.reference(&scope.indices, "the grid's index")? != 0 {
            return self.fail("the grid's index");
        }
        self.expect("in")?;
        let (grid, grid_mode) = self.until_brace()?;
        let grid = self.dim_of(grid, 0)?;
        self.expect("{")?;
        let body = self.body(&mut scope)?;
        self.expect("}")?;
        let known = |types: Vec<Option<ValueType>>, p: &mut Self, what: &str| {
            let count = types.len();
            let types: Vec<ValueType> = types.into_iter().flatten().collect();
            if types.len() == count { Ok(types) } else { p.fail(format!("every {what} to be defined")) }
        };
        let values = known(scope.values, self, "value")?;
        let variables = known(scope.variables, self, "variable")?;
        Ok(Kernel { name, buffers, sizes, indices, grid, grid_mode, values, variables, body })
    }

    /// The text before the next brace, without `lanes` at its end; the brace is next.
    fn until_brace(&mut self) -> Parse<(&'t str, LoopMode)> {
        let rest = self.rest();
        let Some(len) = rest.find('{') else { return self.fail("`{`") };
        self.at += len;
        let text = rest[..len].trim_end();
        Ok(match text.strip_suffix("lanes") {
            Some(text) => (text, LoopMode::Lanes),
            None => (text, LoopMode::Serial),
        })
    }

    fn body(&mut self, scope: &mut Scope) -> Parse<Vec<Stmt>> {
        let mut body = Vec::new();
        while !self.eat("}") {
            body.push(self.stmt(scope)?);
        }
        Ok(body)
    }

    fn stmt(&mut self, scope: &mut Scope) -> Parse<Stmt> {
        if self.eat("for") {
            let index = LoopIndex(self.reference(&scope.indices, "a loop index")?);
            self.expect("in")?;
            let from = self.bound()?;
            self.expect("..")?;
            let to = self.bound()?;
            let mode = if self.eat("lanes") { LoopMode::Lanes } else { LoopMode::Serial };
            self.expect("{")?;
            return Ok(Stmt::Loop { index, from, to, mode, body: self.body(scope)? });
        }
        if self.eat("variable") {
            self.expect("@")?;
            let variable = VariableId(self.small()?);
            self.expect(":")?;
            let ty = self.one_of(&VALUE_TYPES, "a type")?;
            set(&mut scope.variables, variable.0, ty);
            self.expect("=")?;
            return Ok(Stmt::Variable { variable, start: self.value()? });
        }
        if self.eat("store") {
            let (buffer, at) = self.element(scope)?;
            self.expect("=")?;
            return Ok(Stmt::Store { buffer, at, value: self.value()? });
        }
        if self.eat("if") {
            let condition = self.value()?;
            self.expect("{")?;
            return Ok(Stmt::If { condition, body: self.body(scope)? });
        }
        if self.eat("@") {
            let variable = VariableId(self.small()?);
            if self.eat("=") {
                return Ok(Stmt::Assign { variable, value: self.value()? });
            }
            let monoid = self.one_of(&MONOIDS, "`=` or a monoid")?;
            self.expect("=")?;
            return Ok(Stmt::Combine { variable, monoid, value: self.value()? });
        }
        if self.rest().starts_with('%') {
            let value = self.value()?;
            self.expect(":")?;
            let ty = self.one_of(&VALUE_TYPES, "a type")?;
            set(&mut scope.values, value.0, ty);
            self.expect("=")?;
            return Ok(Stmt::Let { value, op: self.op(scope)? });
        }
        self.fail("a statement")
    }

    fn bound(&mut self) -> Parse<Bound> {
        if self.rest().starts_with('%') { Ok(Bound::Value(self.value()?)) } else { Ok(Bound::Size(self.factor()?)) }
    }

    fn value(&mut self) -> Parse<ValueId> {
        self.expect("%")?;
        Ok(ValueId(self.small()?))
    }

    fn element(&mut self, scope: &Scope) -> Parse<(u32, Address)> {
        let buffer = self.reference(&scope.buffers, "a buffer of the kernel")?;
        self.expect("[")?;
        Ok((buffer, self.address(scope)?))
    }

    /// After the opening bracket, up to the closing one.
    fn address(&mut self, scope: &Scope) -> Parse<Address> {
        let mut at = Address::default();
        loop {
            let start = self.at;
            let term = if self.rest().starts_with('%') {
                Some(AddressTerm::Value(self.value()?))
            } else {
                match self.reference(&scope.indices, "a loop index") {
                    Ok(index) => Some(AddressTerm::Index(LoopIndex(index))),
                    Err(_) => None,
                }
            };
            match term {
                Some(term) => {
                    let stride = if self.eat("*") { self.factor()? } else { Dim::one() };
                    at.terms.push((term, stride));
                }
                None => {
                    self.at = start;
                    at.offset = self.factor()?;
                }
            }
            if self.eat("]") {
                return Ok(at);
            }
            self.expect("+")?;
        }
    }

    fn op(&mut self, scope: &Scope) -> Parse<ValueOp> {
        if self.eat("const") {
            return Ok(ValueOp::Const(self.number()?));
        }
        if self.eat("size") {
            return Ok(ValueOp::Size(self.factor()?));
        }
        if self.eat("index") {
            return Ok(ValueOp::Index(LoopIndex(self.reference(&scope.indices, "a loop index")?)));
        }
        if self.eat("read") {
            self.expect("@")?;
            return Ok(ValueOp::Variable(VariableId(self.small()?)));
        }
        if self.eat("load") {
            let (buffer, at) = self.element(scope)?;
            let mut guards = Vec::new();
            while self.eat("guard") {
                self.expect("[")?;
                let form = self.address(scope)?;
                self.expect("<")?;
                guards.push(Guard { form, extent: self.factor()? });
            }
            let otherwise = if self.eat("else") { self.number()? } else { 0.0 };
            return Ok(ValueOp::Load { buffer, at, guards, otherwise });
        }
        if self.eat("select") {
            let (c, a, b) = (self.value()?, self.comma_value()?, self.comma_value()?);
            return Ok(ValueOp::Select(c, a, b));
        }
        if self.eat("convert") {
            return Ok(ValueOp::Convert(self.value()?));
        }
        let start = self.at;
        let word = self.name()?;
        if let Some(op) = of_word(&UNARY, &word) {
            return Ok(ValueOp::Unary(op, self.value()?));
        }
        if let Some(op) = of_word(&BINARY, &word) {
            return Ok(ValueOp::Binary(op, self.value()?, self.comma_value()?));
        }
        if let Some(op) = of_word(&COMPARE, &word) {
            return Ok(ValueOp::Compare(op, self.value()?, self.comma_value()?));
        }
        self.at = start;
        self.fail("an operation")
    }

    fn comma_value(&mut self) -> Parse<ValueId> {
        self.expect(",")?;
        self.value()
    }
}

fn set(types: &mut Vec<Option<ValueType>>, id: u32, ty: ValueType) {
    let id = id as usize;
    // A text with a number of a value far beyond the others is no reason to take all memory.
    if id < (1 << 20) {
        if types.len() <= id {
            types.resize(id + 1, None);
        }
        types[id] = Some(ty);
    }
}
