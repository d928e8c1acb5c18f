//! A whole plan, launch by launch.

use super::{Array, Fault, kernel::run_kernel};
use bdl_dims::Dim;
use bdl_kernels::philox::DrawKey;
use bdl_plan::{
    BufferId, Clip, Contraction, DType, Ends, Iterate, Kernel, KernelUse, Launch, Name, Op, Place, Plan, Products,
    Scan, SizeKind, Slice, Table,
};
use std::collections::{BTreeMap, HashMap};

/// What the interpreter is given; the same as an executor's run.
#[derive(Clone, Debug, Default)]
pub struct RunInputs {
    pub batch: i64,
    pub lengths: HashMap<String, Vec<i64>>,
    pub sizes: HashMap<String, i64>,
    /// Inputs, parameters and state by name; parameters and state that are missing are zeros.
    pub buffers: HashMap<String, Vec<f64>>,
    pub seed: u64,
    pub step: u64,
    pub positions: Option<Vec<i64>>,
    /// How factors of contractions are rounded.
    pub products: Products,
}

/// Runs the plan. The result holds outputs and, after the run, parameters and state, by name.
pub fn run_plan(plan: &Plan, inputs: &RunInputs) -> Result<BTreeMap<String, Array>, Fault> {
    let mut machine =
        Machine { plan, inputs, sizes: HashMap::new(), example: None, rows: Vec::new(), arrays: Vec::new() };
    machine.rows.push((0..inputs.batch as usize).collect());
    machine.bind()?;
    machine.launches(&plan.launches)?;
    let mut result = BTreeMap::new();
    for (buffer, array) in plan.buffers.iter().zip(&machine.arrays) {
        if matches!(buffer.place, Place::Param | Place::State) {
            result.insert(buffer.name.to_string(), array.clone());
        }
    }
    for (name, buffer) in &plan.outputs {
        result.insert(name.to_string(), machine.arrays[buffer.0 as usize].clone());
    }
    Ok(result)
}

struct Machine<'p> {
    plan: &'p Plan,
    inputs: &'p RunInputs,
    sizes: HashMap<Name, i64>,
    /// Whose per-example sizes are meant.
    example: Option<usize>,
    /// The examples that are the rows of each open loop over running examples; first of all, the batch.
    rows: Vec<Vec<usize>>,
    arrays: Vec<Array>,
}

impl Machine<'_> {
    fn size(&self, name: &str) -> Option<i64> {
        if let Some(n) = self.sizes.get(name) {
            return Some(*n);
        }
        let example = self.example?;
        self.inputs.lengths.get(name)?.get(example).copied()
    }

    fn dim(&self, dim: &Dim) -> Result<i64, Fault> {
        dim.eval(&|name| self.size(name)).ok_or_else(|| Fault(format!("the size {dim} is not known")))
    }

    fn of_example(&mut self, dim: &Dim, example: usize) -> Result<i64, Fault> {
        self.example = Some(example);
        let n = self.dim(dim);
        self.example = None;
        n
    }

    fn bind(&mut self) -> Result<(), Fault> {
        for size in &self.plan.sizes {
            let value = match &size.kind {
                SizeKind::Built => {
                    let found = self.inputs.sizes.get(&*size.name).copied();
                    found.ok_or_else(|| Fault(format!("the size {} is not given", size.name)))?
                }
                SizeKind::Batch => self.inputs.batch,
                SizeKind::Total(dim) => {
                    let mut total = 0;
                    for example in 0..self.inputs.batch as usize {
                        total += self.of_example(dim, example)?;
                    }
                    total
                }
                SizeKind::PerExample | SizeKind::Step | SizeKind::Running => continue,
            };
            self.sizes.insert(size.name.clone(), value);
        }
        for buffer in &self.plan.buffers {
            let len = self.dim(&buffer.len)?.max(0) as usize;
            let given = self.inputs.buffers.get(&*buffer.name);
            let array = match (&buffer.place, given) {
                (Place::Param | Place::State | Place::Input { .. }, Some(numbers)) => {
                    Array::from_f64(buffer.dtype, numbers)
                }
                (Place::Param | Place::State, None) => Array::from_f64(buffer.dtype, &vec![0.0; len]),
                (Place::Input { .. }, None) => return Err(Fault(format!("the input {} is not given", buffer.name))),
                (Place::Slot(_) | Place::Blocks, _) => Array::unwritten(buffer.dtype, len),
                (Place::Literal(values), _) => Array::from_f64(buffer.dtype, values),
                (Place::Table(table), _) => self.table(table, buffer.dtype)?,
            };
            if array.len() != len {
                return Err(Fault(format!("`{}` has {} elements, not {len}", buffer.name, array.len())));
            }
            self.arrays.push(array);
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, dtype: DType) -> Result<Array, Fault> {
        let batch = self.inputs.batch as usize;
        let mut values: Vec<f64> = Vec::new();
        match table {
            Table::Lengths(dim) => {
                for b in 0..batch {
                    values.push(self.of_example(dim, b)? as f64);
                }
            }
            Table::Offsets(dim) => {
                let mut total = 0;
                values.push(0.0);
                for b in 0..batch {
                    total += self.of_example(dim, b)?;
                    values.push(total as f64);
                }
            }
            Table::Owner(dim) => {
                for b in 0..batch {
                    let n = self.of_example(dim, b)? as usize;
                    values.extend(vec![b as f64; n]);
                }
            }
            Table::Positions => match &self.inputs.positions {
                Some(positions) => values.extend(positions.iter().map(|p| *p as f64)),
                None => values.extend((0..batch).map(|b| b as f64)),
            },
            Table::SortedBy { keys } => {
                let keys = self.counted_keys(*keys, self.plan.groups_of(*keys))?;
                let mut order: Vec<usize> = (0..keys.len()).collect();
                order.sort_by_key(|at| keys[*at]);
                values.extend(order.into_iter().map(|i| i as f64));
            }
            Table::Runs { keys, groups } => {
                let keys = self.counted_keys(*keys, Some(groups))?;
                for group in 0..=self.dim(groups)? {
                    let below = keys.iter().filter(|key| **key < group).count();
                    values.push(below as f64);
                }
            }
        }
        Ok(Array::from_f64(dtype, &values))
    }

    /// Keys, counted over the groups of all examples where each has its own.
    fn counted_keys(&mut self, keys: BufferId, groups: Option<&Dim>) -> Result<Vec<i64>, Fault> {
        let array = &self.arrays[keys.0 as usize];
        let mut all: Vec<i64> = (0..array.len()).map(|at| array.at(at) as i64).collect();
        let Some(own) = groups.and_then(|groups| self.plan.groups_of_each(groups)) else { return Ok(all) };
        let count: Dim =
            self.plan.buffers[keys.0 as usize].shape.get(1..).unwrap_or_default().iter().cloned().product();
        let (mut at, mut before) = (0, 0);
        for b in 0..self.inputs.batch as usize {
            let (keys, groups) = (self.of_example(&count, b)?, self.of_example(&own, b)?);
            for key in all.iter_mut().skip(at).take(keys as usize) {
                if !(0..groups).contains(key) {
                    return Err(Fault(format!("a key {key} where an example has {groups} of them")));
                }
                *key += before;
            }
            (at, before) = (at + keys as usize, before + groups);
        }
        Ok(all)
    }

    fn launches(&mut self, list: &[Launch]) -> Result<(), Fault> {
        for launch in list {
            self.launch(&launch.op).map_err(|Fault(what)| Fault(format!("{}: {what}", launch.origin.what)))?;
        }
        Ok(())
    }

    fn launch(&mut self, op: &Op) -> Result<(), Fault> {
        match op {
            Op::Kernel(used) => self.kernel(used),
            Op::Contract(c) => self.contract(c),
            Op::Draw(draw) => {
                let starts: Option<Vec<i64>> = draw.offsets.map(|table| {
                    let table = &self.arrays[table.0 as usize];
                    (0..table.len()).map(|i| table.at(i) as i64).collect()
                });
                let examples = match (&draw.per_example, &starts) {
                    (None, _) => crate::draw::Examples::Shared,
                    (Some(_), Some(starts)) => crate::draw::Examples::From(starts),
                    (Some(count), None) => crate::draw::Examples::Equal(self.dim(count)?),
                };
                let steps: Vec<i64> = draw.steps.iter().filter_map(|step| self.size(step)).collect();
                let site = crate::draw::site_at(draw.site, steps.into_iter());
                let out = &mut self.arrays[draw.out.0 as usize];
                let positions: Vec<i64> =
                    self.inputs.positions.clone().unwrap_or_else(|| (0..self.inputs.batch).collect());
                let key = DrawKey { seed: self.inputs.seed, step: self.inputs.step, site };
                let (dtype, len) = (out.dtype(), out.len());
                // SAFETY: the array holds `len` elements of its type.
                unsafe {
                    crate::draw::fill(out.pointer(), dtype, draw.distribution, key, examples, &positions, 0, len)
                };
                Ok(())
            }
            Op::Copy { from, to } => {
                let source = self.arrays[from.0 as usize].clone();
                let target = &mut self.arrays[to.0 as usize];
                if source.len() != target.len() || source.dtype() != target.dtype() {
                    return Err(Fault("a copy between buffers that differ".to_string()));
                }
                *target = source;
                Ok(())
            }
            Op::Clear { buffer } => {
                let array = &mut self.arrays[buffer.0 as usize];
                *array = Array::from_f64(array.dtype(), &vec![0.0; array.len()]);
                Ok(())
            }
            Op::Order { out, by } => {
                let order = self.longest_first(by)?;
                let out = &mut self.arrays[out.0 as usize];
                order.iter().enumerate().for_each(|(i, (row, _))| out.put(i, *row as f64));
                Ok(())
            }
            Op::Scan(scan) => self.scan(scan),
            Op::Iterate(iterate) => self.iterate(iterate),
            Op::Sort(sort) => {
                let rows = self.dim(&sort.rows)? as usize;
                // Where a row begins, its length, and from one of its elements to the next.
                let mut lists: Vec<(usize, usize, usize)> = Vec::new();
                match sort.offsets {
                    None => {
                        let columns = self.dim(&sort.columns)? as usize;
                        lists.extend((0..rows).map(|row| (row * columns, columns, 1)));
                    }
                    Some(table) => {
                        for example in 0..self.inputs.batch as usize {
                            let columns = self.of_example(&sort.columns, example)? as usize;
                            let first = self.arrays[table.0 as usize].at(example) as usize * rows;
                            lists.extend((0..rows).map(|row| (first + row, columns, rows)));
                        }
                    }
                }
                let input = self.arrays[sort.input.0 as usize].clone();
                let out = &mut self.arrays[sort.out.0 as usize];
                for (first, columns, step) in lists {
                    let mut order: Vec<usize> = (0..columns).collect();
                    order.sort_by(|a, b| {
                        let (a, b) = (input.at(first + a * step), input.at(first + b * step));
                        let (a, b) = if sort.descending && !a.is_nan() && !b.is_nan() { (b, a) } else { (a, b) };
                        a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
                    });
                    order.into_iter().enumerate().for_each(|(i, at)| out.put(first + i * step, at as f64));
                }
                Ok(())
            }
            Op::Library { routine: _, out, inputs, rows, columns } => {
                let (rows, columns) = (self.dim(rows)? as usize, self.dim(columns)? as usize);
                let [input] = inputs.as_slice() else { return Err(Fault("one input is expected".to_string())) };
                let input = &self.arrays[input.0 as usize];
                let x: Vec<f64> = (0..input.len()).map(|i| input.at(i)).collect();
                let q = crate::library::orthogonal(&x, rows, columns);
                let out = &mut self.arrays[out.0 as usize];
                q.into_iter().enumerate().for_each(|(i, q)| out.put(i, q));
                Ok(())
            }
        }
    }

    /// Rows of the loop around with their lengths, longest first.
    fn longest_first(&mut self, by: &Dim) -> Result<Vec<(usize, i64)>, Fault> {
        let mut order = Vec::new();
        for (row, example) in self.around().into_iter().enumerate() {
            order.push((row, self.of_example(by, example)?));
        }
        order.sort_by_key(|(_, length)| -length);
        Ok(order)
    }

    fn around(&self) -> Vec<usize> {
        self.rows.last().cloned().unwrap_or_default()
    }

    fn scan(&mut self, scan: &Scan) -> Result<(), Fault> {
        let order = match &scan.running {
            Some(_) => self.longest_first(&scan.extent)?,
            None => Vec::new(),
        };
        let extent = match &scan.running {
            Some(_) => order.first().map_or(0, |(_, length)| *length),
            None => self.dim(&scan.extent)?,
        };
        let extent = match scan.ends {
            Some(Ends::After(steps)) => extent.min(self.arrays[steps.0 as usize].at(0) as i64),
            Some(Ends::When { .. }) | None => extent,
        };
        let around = self.around();
        let mut steps_made = extent;
        for i in 0..extent {
            let step = if scan.reversed { extent - 1 - i } else { i };
            self.sizes.insert(scan.step.clone(), step);
            if let Some(running) = &scan.running {
                let rows: Vec<usize> =
                    order.iter().filter(|(_, length)| *length > step).map(|(row, _)| around[*row]).collect();
                self.sizes.insert(running.count.clone(), rows.len() as i64);
                self.rows.push(rows);
            }
            self.launches(&scan.body)?;
            if scan.running.is_some() {
                self.rows.pop();
            }
            if let Some(Ends::When { until, .. }) = scan.ends {
                let until = &self.arrays[until.0 as usize];
                let rows = around.len().min(until.len());
                if (0..rows).all(|row| until.at(row) != 0.0) {
                    steps_made = i;
                    break;
                }
            }
        }
        if let Some(Ends::When { steps, .. }) = scan.ends {
            self.arrays[steps.0 as usize].put(0, steps_made as f64);
        }
        self.sizes.remove(&scan.step);
        Ok(())
    }

    fn iterate(&mut self, iterate: &Iterate) -> Result<(), Fault> {
        let around = self.around();
        let mut order: Vec<usize> = (0..around.len()).collect();
        for step in 0.. {
            self.sizes.insert(iterate.step.clone(), step);
            let Some(running) = &iterate.running else {
                if step >= self.dim(&iterate.at_most)? {
                    break;
                }
                self.launches(&iterate.condition)?;
                if self.arrays[iterate.until.0 as usize].at(0) != 0.0 {
                    break;
                }
                self.launches(&iterate.body)?;
                continue;
            };
            let mut left = Vec::new();
            for row in order {
                if step < self.of_example(&iterate.at_most, around[row])? {
                    left.push(row);
                }
            }
            self.enter(running, &left, &around);
            self.launches(&iterate.condition)?;
            self.rows.pop();
            let until = &self.arrays[iterate.until.0 as usize];
            order = left.iter().enumerate().filter(|(i, _)| until.at(*i) == 0.0).map(|(_, row)| *row).collect();
            if order.is_empty() {
                break;
            }
            self.enter(running, &order, &around);
            self.launches(&iterate.body)?;
            self.rows.pop();
        }
        self.sizes.remove(&iterate.step);
        Ok(())
    }

    /// These rows of the loop around take part.
    fn enter(&mut self, running: &bdl_plan::Running, order: &[usize], around: &[usize]) {
        let out = &mut self.arrays[running.order.0 as usize];
        order.iter().enumerate().for_each(|(i, row)| out.put(i, *row as f64));
        self.sizes.insert(running.count.clone(), order.len() as i64);
        self.rows.push(order.iter().map(|row| around[*row]).collect());
    }

    fn slice(&self, slice: &Slice) -> Result<(usize, i64), Fault> {
        Ok((slice.buffer.0 as usize, self.dim(&slice.offset)?))
    }

    fn kernel(&mut self, used: &KernelUse) -> Result<(), Fault> {
        let kernel: &Kernel = self
            .plan
            .kernels
            .get(used.kernel.0 as usize)
            .ok_or_else(|| Fault(format!("kernel {} does not exist", used.kernel.0)))?;
        let buffers = used.buffers.iter().map(|s| self.slice(s)).collect::<Result<Vec<_>, _>>()?;
        let grid = self.dim(&kernel.grid)?;
        let mut arrays = std::mem::take(&mut self.arrays);
        // Only declared sizes reach a kernel.
        let sizes = |name: &str| kernel.sizes.iter().any(|n| &**n == name).then(|| self.size(name)).flatten();
        let result = run_kernel(kernel, &mut arrays, &buffers, &sizes, 0, grid);
        self.arrays = arrays;
        result
    }

    fn contract(&mut self, c: &Contraction) -> Result<(), Fault> {
        let ragged = c.axes.iter().position(|a| a.offsets.is_some());
        let out = c.out.buffer.0 as usize;
        let examples = match ragged {
            Some(axis) => self.dim(&c.axes[axis].extent)?,
            None => 1,
        };
        // Results first, so that operands are read as they were.
        let mut results: BTreeMap<i64, f64> = BTreeMap::new();
        for example in 0..examples {
            self.example = ragged.map(|_| example as usize);
            let start = |table: bdl_plan::BufferId| self.arrays[table.0 as usize].at(example as usize) as i64;
            let mut extents = Vec::new();
            let mut strides = Vec::new();
            let mut base = [self.dim(&c.out.offset)?, self.dim(&c.a.offset)?, self.dim(&c.b.offset)?];
            for axis in &c.axes {
                let stride = [self.dim(&axis.out)?, self.dim(&axis.a)?, self.dim(&axis.b)?];
                if let Some(tables) = axis.offsets {
                    let first = tables.all().map(start);
                    base.iter_mut().zip(first.iter().zip(stride)).for_each(|(b, (first, s))| *b += first * s);
                    extents.push(1);
                } else {
                    extents.push(self.dim(&axis.extent)?.max(0));
                }
                strides.push(stride);
            }
            let clips = c
                .clips
                .iter()
                .map(|c| Ok((c, self.dim(&c.offset)?, self.dim(&c.extent)?)))
                .collect::<Result<Vec<_>, Fault>>()?;
            self.example = None;
            let sums: Vec<bool> = c.axes.iter().map(|a| a.role == bdl_plan::AxisRole::K).collect();
            self.points(c, &extents, &strides, base, &sums, &clips, &mut results)?;
        }
        for (at, sum) in results {
            let array = &mut self.arrays[out];
            if at < 0 || at as usize >= array.len() {
                return Err(Fault(format!("a contraction writes element {at} of {}", array.len())));
            }
            let old = if c.accumulate { array.at(at as usize) } else { 0.0 };
            array.put(at as usize, old + sum);
        }
        match &c.epilogue {
            Some(epilogue) => self.kernel(epilogue),
            None => Ok(()),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn points(
        &self,
        c: &Contraction,
        extents: &[i64],
        strides: &[[i64; 3]],
        base: [i64; 3],
        sums: &[bool],
        clips: &[(&Clip, i64, i64)],
        results: &mut BTreeMap<i64, f64>,
    ) -> Result<(), Fault> {
        // A result whose sum is empty is 0: visit the output's axes first.
        let mut at = vec![0i64; extents.len()];
        let output_empty = extents.iter().zip(sums).any(|(e, sum)| !sum && *e == 0);
        if output_empty {
            return Ok(());
        }
        loop {
            let mut place = base;
            for (i, stride) in at.iter().zip(strides) {
                place.iter_mut().zip(stride).for_each(|(p, s)| *p += i * s);
            }
            let empty = extents.iter().zip(sums).any(|(e, sum)| *sum && *e == 0);
            let inside = !empty
                && clips.iter().all(|(clip, offset, extent)| {
                    let form: i64 = offset + clip.terms.iter().map(|(axis, k)| at[*axis as usize] * k).sum::<i64>();
                    (0..*extent).contains(&form)
                });
            let sum = results.entry(place[0]).or_insert(0.0);
            if inside {
                let read = |slice: &Slice, i: i64| {
                    let array = &self.arrays[slice.buffer.0 as usize];
                    if (0..array.len() as i64).contains(&i) {
                        let is_f32 = array.dtype() == DType::F32;
                        Ok(factor(array.at(i as usize), if is_f32 { self.inputs.products } else { Products::Exact }))
                    } else {
                        let name = &self.plan.buffers[slice.buffer.0 as usize].name;
                        Err(Fault(format!("a contraction reads element {i} of `{name}`, which has {}", array.len())))
                    }
                };
                *sum += read(&c.a, place[1])? * read(&c.b, place[2])?;
            }
            let mut axis = extents.len();
            loop {
                if axis == 0 {
                    return Ok(());
                }
                axis -= 1;
                at[axis] += 1;
                if at[axis] < extents[axis] {
                    break;
                }
                at[axis] = 0;
            }
        }
    }
}

/// A factor of a contraction as it is multiplied.
fn factor(x: f64, products: Products) -> f64 {
    let narrow = x as f32;
    match products {
        Products::Exact => x,
        // 13 digits fewer, half away from zero; a carry reaches the exponent.
        Products::Tf32 if narrow.is_finite() => {
            f64::from(f32::from_bits(narrow.to_bits().wrapping_add(0x1000) & 0xffff_e000))
        }
        Products::Tf32 => x,
        Products::Bf16 => f64::from(bdl_kernels::contraction::bf16::rounded(narrow)),
    }
}
