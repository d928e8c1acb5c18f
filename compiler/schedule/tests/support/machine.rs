//! A slow machine for plans: every buffer holds f64, every kernel is walked statement by statement, contractions are plain loops.
//! It follows the words of `bdl_plan::data` and nothing else, so that a plan is checked apart from any back end. Slots are shared as
//! the plan says, and memory starts as NaN, so that a value used too late or too early shows.

use bdl_dims::Dim;
use bdl_plan::*;
use std::collections::HashMap;

pub struct Machine<'p> {
    pub plan: &'p Plan,
    pub sizes: HashMap<String, i64>,
    /// Per-example sizes of each example.
    pub examples: Vec<HashMap<String, i64>>,
    pub slots: Vec<Vec<f64>>,
    pub own: Vec<Vec<f64>>,
    /// `(distribution, site, example, element) -> number`.
    pub draws: fn(Distribution, u32, usize, usize) -> f64,
    pub launches: usize,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Reg {
    Unset,
    Is(f64),
}

impl<'p> Machine<'p> {
    pub fn new(plan: &'p Plan, sizes: &[(&str, i64)], examples: &[Vec<(&str, i64)>]) -> Machine<'p> {
        let examples: Vec<HashMap<String, i64>> =
            examples.iter().map(|e| e.iter().map(|(n, v)| (n.to_string(), *v)).collect()).collect();
        let mut machine = Machine {
            plan,
            sizes: sizes.iter().map(|(n, v)| (n.to_string(), *v)).collect(),
            examples,
            slots: Vec::new(),
            own: Vec::new(),
            draws: |_, _, _, _| panic!("no draws"),
            launches: 0,
        };
        for size in &plan.sizes {
            match &size.kind {
                SizeKind::Batch => {
                    machine.sizes.insert(size.name.to_string(), machine.examples.len() as i64);
                }
                SizeKind::Total(of) => {
                    let total = (0..machine.examples.len()).map(|e| machine.of_example(of, e)).sum();
                    machine.sizes.insert(size.name.to_string(), total);
                }
                SizeKind::Built | SizeKind::PerExample | SizeKind::Step => {}
            }
        }
        for slot in &plan.slots {
            let bytes = machine.size(slot);
            machine.slots.push(vec![f64::NAN; bytes.max(0) as usize]);
        }
        for buffer in &plan.buffers {
            let len = machine.size(&buffer.len) as usize;
            machine.own.push(match &buffer.place {
                Place::Literal(values) => values.to_vec(),
                Place::Table(table) => machine.table(table),
                Place::Slot(slot) => {
                    let width = match buffer.dtype {
                        DType::F64 | DType::I64 => 8,
                        DType::F32 | DType::I32 => 4,
                        DType::BF16 => 2,
                        DType::Bool => 1,
                    };
                    assert!(len * width <= machine.slots[slot.0 as usize].len(), "`{}` does not fit its slot", buffer.name);
                    Vec::new()
                }
                Place::Param | Place::State | Place::Input { .. } => vec![f64::NAN; len],
            });
        }
        machine
    }

    pub fn size(&self, dim: &Dim) -> i64 {
        dim.eval(&|name| self.sizes.get(name).copied()).unwrap_or_else(|| panic!("size {dim} is not known"))
    }

    fn of_example(&self, dim: &Dim, example: usize) -> i64 {
        dim.eval(&|name| self.examples[example].get(name).or_else(|| self.sizes.get(name)).copied())
            .unwrap_or_else(|| panic!("size {dim} of an example is not known"))
    }

    fn table(&self, table: &Table) -> Vec<f64> {
        let lengths = |of: &Dim| -> Vec<i64> { (0..self.examples.len()).map(|e| self.of_example(of, e)).collect() };
        match table {
            Table::Lengths(of) => lengths(of).into_iter().map(|n| n as f64).collect(),
            Table::Offsets(of) => {
                let mut sums = vec![0.0];
                for n in lengths(of) {
                    sums.push(sums[sums.len() - 1] + n as f64);
                }
                sums
            }
            Table::Owner(of) => {
                let each = lengths(of).into_iter().enumerate();
                each.flat_map(|(e, n)| std::iter::repeat_n(e as f64, n as usize)).collect()
            }
            // Filled once the keys are known, see `keys`.
            Table::SortedBy { .. } | Table::Runs { .. } => Vec::new(),
            Table::Positions => (0..self.examples.len()).map(|e| e as f64).collect(),
        }
    }

    /// Key tables, after the inputs are set.
    fn keys(&mut self) {
        for at in 0..self.plan.buffers.len() {
            match &self.plan.buffers[at].place {
                Place::Table(Table::SortedBy { keys }) => {
                    let keys = self.read(*keys);
                    let mut order: Vec<usize> = (0..keys.len()).collect();
                    order.sort_by(|a, b| keys[*a].total_cmp(&keys[*b]));
                    self.own[at] = order.into_iter().map(|n| n as f64).collect();
                }
                Place::Table(Table::Runs { keys, groups }) => {
                    let (keys, groups) = (self.read(*keys), self.size(groups));
                    self.own[at] = (0..=groups).map(|g| keys.iter().filter(|k| **k < g as f64).count() as f64).collect();
                }
                _other => {}
            }
        }
    }

    fn memory(&mut self, buffer: BufferId) -> &mut Vec<f64> {
        match &self.plan.buffers[buffer.0 as usize].place {
            Place::Slot(slot) => &mut self.slots[slot.0 as usize],
            _other => &mut self.own[buffer.0 as usize],
        }
    }

    fn len(&self, buffer: BufferId) -> usize {
        self.size(&self.plan.buffers[buffer.0 as usize].len) as usize
    }

    pub fn read(&mut self, buffer: BufferId) -> Vec<f64> {
        let len = self.len(buffer);
        self.memory(buffer)[..len].to_vec()
    }

    fn at(&mut self, slice: &Slice, element: i64) -> &mut f64 {
        let at = self.size(&slice.offset) + element;
        let (len, plan) = (self.len(slice.buffer) as i64, self.plan);
        assert!((0..len).contains(&at), "element {at} of `{}`, which has {len}", plan.buffers[slice.buffer.0 as usize].name);
        &mut self.memory(slice.buffer)[at as usize]
    }

    pub fn run(&mut self) {
        self.keys();
        let plan = self.plan;
        self.ops(&plan.launches);
    }

    fn ops(&mut self, launches: &[Launch]) {
        for launch in launches {
            self.launches += 1;
            match &launch.op {
                Op::Kernel(k) => {
                    let grid = self.size(&self.plan.kernels[k.kernel.0 as usize].grid);
                    self.kernel(k, grid);
                }
                Op::Contract(c) => self.contract(c),
                Op::Draw(draw) => {
                    let (len, examples) = (self.len(draw.out), self.examples.len());
                    let mut numbers = Vec::new();
                    match &draw.per_example {
                        None => numbers.extend((0..len).map(|i| (self.draws)(draw.distribution, draw.site, 0, i))),
                        Some(rows) => {
                            for e in 0..examples {
                                let rows = self.of_example(rows, e) as usize;
                                numbers.extend((0..rows).map(|i| (self.draws)(draw.distribution, draw.site, e, i)));
                            }
                        }
                    }
                    self.memory(draw.out)[..len].copy_from_slice(&numbers);
                }
                Op::Copy { from, to } => {
                    let values = self.read(*from);
                    assert_eq!(values.len(), self.len(*to));
                    self.memory(*to)[..values.len()].copy_from_slice(&values);
                }
                Op::Clear { buffer } => {
                    let len = self.len(*buffer);
                    self.memory(*buffer)[..len].fill(0.0);
                }
                Op::Scan(scan) => {
                    let extent = self.size(&scan.extent);
                    for n in 0..extent {
                        let step = if scan.reversed { extent - 1 - n } else { n };
                        self.sizes.insert(scan.step.to_string(), step);
                        self.ops(&scan.body);
                    }
                    self.sizes.remove(&*scan.step);
                }
                Op::Sort(sort) => {
                    let (rows, columns) = (self.size(&sort.rows) as usize, self.size(&sort.columns) as usize);
                    let input = self.read(sort.input);
                    for row in 0..rows {
                        let of = &input[row * columns..(row + 1) * columns];
                        let mut order: Vec<usize> = (0..columns).collect();
                        order.sort_by(|a, b| {
                            let by = of[*a].partial_cmp(&of[*b]).unwrap();
                            if sort.descending { by.reverse() } else { by }
                        });
                        for (i, n) in order.into_iter().enumerate() {
                            self.memory(sort.out)[row * columns + i] = n as f64;
                        }
                    }
                }
                Op::Library { .. } => panic!("library calls are tested with the executor"),
            }
        }
    }

    fn contract(&mut self, c: &Contraction) {
        let outer: Vec<usize> = (0..c.axes.len()).filter(|a| c.axes[*a].role != AxisRole::K).collect();
        let sums: Vec<usize> = (0..c.axes.len()).filter(|a| c.axes[*a].role == AxisRole::K).collect();
        let mut at = vec![0i64; c.axes.len()];
        self.axes(c, &outer, &sums, 0, &mut at, None);
        if let Some(epilogue) = &c.epilogue {
            let mut rows = 1;
            for axis in c.axes.iter().filter(|a| matches!(a.role, AxisRole::Batch | AxisRole::M)) {
                rows *= self.size(&axis.extent);
            }
            let grid = self.size(&self.plan.kernels[epilogue.kernel.0 as usize].grid);
            assert_eq!(rows, grid, "the epilogue's grid is not the rows of the contraction");
            self.kernel(epilogue, grid);
        }
    }

    fn extent(&self, c: &Contraction, dim: &Dim, at: &[i64]) -> i64 {
        let example = c.axes.iter().position(|a| a.offsets.is_some()).map(|a| at[a] as usize);
        match example {
            Some(e) => self.of_example(dim, e),
            None => self.size(dim),
        }
    }

    fn axes(&mut self, c: &Contraction, outer: &[usize], sums: &[usize], depth: usize, at: &mut Vec<i64>, sum: Option<&mut f64>) {
        if depth == outer.len() && sum.is_none() {
            let mut total = 0.0;
            self.axes(c, outer, sums, depth, at, Some(&mut total));
            let place = self.place(c, &c.out, at, |a| &a.out);
            let out = self.at(&c.out, place);
            *out = if c.accumulate { *out + total } else { total };
            return;
        }
        let Some(axis) = outer.iter().chain(sums).nth(depth) else {
            let clipped = c.clips.iter().any(|clip| {
                let form: i64 = clip.terms.iter().map(|(a, k)| at[*a as usize] * k).sum::<i64>() + self.extent(c, &clip.offset, at);
                !(0..self.extent(c, &clip.extent, at)).contains(&form)
            });
            if let (false, Some(sum)) = (clipped, sum) {
                let (a, b) = (self.place(c, &c.a, at, |a| &a.a), self.place(c, &c.b, at, |a| &a.b));
                *sum += *self.at(&c.a, a) * *self.at(&c.b, b);
            }
            return;
        };
        let extent = self.extent(c, &c.axes[*axis].extent, at);
        match sum {
            None => {
                for n in 0..extent {
                    at[*axis] = n;
                    self.axes(c, outer, sums, depth + 1, at, None);
                }
            }
            Some(sum) => {
                for n in 0..extent {
                    at[*axis] = n;
                    self.axes(c, outer, sums, depth + 1, at, Some(&mut *sum));
                }
            }
        }
    }

    fn place(&mut self, c: &Contraction, _slice: &Slice, at: &[i64], stride: fn(&ContractionAxis) -> &Dim) -> i64 {
        let mut place = 0;
        for (axis, n) in c.axes.iter().zip(at) {
            let stride = self.extent(c, stride(axis), at);
            let n = match axis.offsets {
                Some(offsets) if stride != 0 => self.own[offsets.0 as usize][*n as usize] as i64,
                _plain => *n,
            };
            place += stride * n;
        }
        place
    }

    // ------------------------------------------------------------------------------------------------ kernels

    fn kernel(&mut self, used: &KernelUse, grid: i64) {
        let kernel = &self.plan.kernels[used.kernel.0 as usize];
        for name in &kernel.sizes {
            assert!(self.sizes.contains_key(&**name), "kernel `{}` asks for the size {name}", kernel.name);
        }
        let mut run = Run {
            kernel,
            slices: &used.buffers,
            indices: vec![0; kernel.indices.len()],
            values: vec![Reg::Unset; kernel.values.len()],
            variables: vec![Reg::Unset; kernel.variables.len()],
        };
        for row in 0..grid {
            run.values.fill(Reg::Unset);
            run.variables.fill(Reg::Unset);
            run.indices[0] = row;
            self.body(&mut run, &kernel.body);
        }
    }

    fn body(&mut self, run: &mut Run, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Loop { index, from, to, body, .. } => {
                    let bound = |b: &Bound, run: &Run| match b {
                        Bound::Size(size) => self.size(size),
                        Bound::Value(v) => run.value(*v) as i64,
                    };
                    for n in bound(from, run)..bound(to, run) {
                        run.indices[index.0 as usize] = n;
                        self.body(run, body);
                    }
                }
                Stmt::Let { value, op } => {
                    let result = self.value(run, op, run.kernel.values[value.0 as usize]);
                    run.values[value.0 as usize] = Reg::Is(result);
                }
                Stmt::Variable { variable, start } => run.variables[variable.0 as usize] = Reg::Is(run.value(*start)),
                Stmt::Combine { variable, monoid, value } => {
                    let (a, b) = (run.variable(*variable), run.value(*value));
                    run.variables[variable.0 as usize] = Reg::Is(match monoid {
                        Monoid::Sum => a + b,
                        Monoid::Prod => a * b,
                        Monoid::Max => larger(a, b),
                        Monoid::Min => -larger(-a, -b),
                        Monoid::Any => f64::from(a != 0.0 || b != 0.0),
                        Monoid::All => f64::from(a != 0.0 && b != 0.0),
                    });
                }
                Stmt::Assign { variable, value } => run.variables[variable.0 as usize] = Reg::Is(run.value(*value)),
                Stmt::Store { buffer, at, value } => {
                    let parameter = &run.kernel.buffers[*buffer as usize];
                    assert_ne!(parameter.access, Access::Read, "kernel `{}` writes `{}`", run.kernel.name, parameter.name);
                    let (at, value) = (self.address(run, at), run.value(*value));
                    *self.at(&run.slices[*buffer as usize], at) = value;
                }
                Stmt::If { condition, body } => {
                    if run.value(*condition) != 0.0 {
                        self.body(run, body);
                    }
                }
            }
        }
    }

    fn address(&self, run: &Run, address: &Address) -> i64 {
        let term = |t: &AddressTerm| match t {
            AddressTerm::Index(i) => run.indices[i.0 as usize],
            AddressTerm::Value(v) => run.value(*v) as i64,
        };
        address.terms.iter().map(|(t, c)| term(t) * self.size(c)).sum::<i64>() + self.size(&address.offset)
    }

    fn value(&mut self, run: &Run, op: &ValueOp, ty: ValueType) -> f64 {
        match op {
            ValueOp::Const(x) => *x,
            ValueOp::Size(size) => self.size(size) as f64,
            ValueOp::Index(i) => run.indices[i.0 as usize] as f64,
            ValueOp::Variable(v) => run.variable(*v),
            ValueOp::Load { buffer, at, guards, otherwise } => {
                let outside = guards.iter().any(|g| !(0..self.size(&g.extent)).contains(&self.address(run, &g.form)));
                let parameter = &run.kernel.buffers[*buffer as usize];
                assert_ne!(parameter.access, Access::Write, "kernel `{}` reads `{}`", run.kernel.name, parameter.name);
                if outside {
                    *otherwise
                } else {
                    let at = self.address(run, at);
                    *self.at(&run.slices[*buffer as usize], at)
                }
            }
            ValueOp::Unary(op, a) => super::unary(*op, run.value(*a)),
            ValueOp::Binary(op, a, b) => super::binary(*op, run.value(*a), run.value(*b)),
            ValueOp::Compare(op, a, b) => {
                let (a, b) = (run.value(*a), run.value(*b));
                f64::from(match op {
                    CompareOp::Eq => a == b,
                    CompareOp::Ne => a != b,
                    CompareOp::Lt => a < b,
                    CompareOp::Le => a <= b,
                    CompareOp::Gt => a > b,
                    CompareOp::Ge => a >= b,
                })
            }
            ValueOp::Select(c, a, b) => run.value(if run.value(*c) != 0.0 { *a } else { *b }),
            ValueOp::Convert(a) => match ty {
                ValueType::I32 | ValueType::I64 => run.value(*a).floor(),
                ValueType::F32 | ValueType::F64 | ValueType::Bool => run.value(*a),
            },
        }
    }
}

fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else if b > a { b } else { a }
}

struct Run<'p> {
    kernel: &'p Kernel,
    slices: &'p [Slice],
    indices: Vec<i64>,
    values: Vec<Reg>,
    variables: Vec<Reg>,
}

impl Run<'_> {
    fn value(&self, value: ValueId) -> f64 {
        match self.values[value.0 as usize] {
            Reg::Is(x) => x,
            Reg::Unset => panic!("kernel `{}` uses %{} before it is computed", self.kernel.name, value.0),
        }
    }

    fn variable(&self, variable: VariableId) -> f64 {
        match self.variables[variable.0 as usize] {
            Reg::Is(x) => x,
            Reg::Unset => panic!("kernel `{}` uses variable {} before it is declared", self.kernel.name, variable.0),
        }
    }
}
