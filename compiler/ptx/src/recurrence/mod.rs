//! A scan as one function, where its rows keep to themselves.
//!
//! Launched one by one, a step of a recurrence is some microseconds of waiting for little work. Here a block takes a few rows through all steps; its
//! threads meet where one part of a step reads what another wrote, and blocks never wait for each other.
//!
//! ```text
//! scan t in 100 {                          block: rows 4 i .. 4 i + 4
//!   contract z = h * w  then cell(z, ..)     for t in 0..100 { product; meet; cell; meet; copy; meet }
//!   copy h = next
//! }
//! ```
//!
//! | module | job |
//! |---|---|
//! | `apart` | do rows keep to themselves? |
//! | `product` | products with weights that all rows share |
//! | `pack` | the weights as those read them |
//! | `synthetic` | copies and other products as kernels |
//! | `extents` | how far a kernel's loops reach |
//!
//! Whether a scan is one function is decided by the plan alone, so that an example has the same bits in every batch.

mod apart;
mod extents;
mod pack;
mod product;
mod synthetic;

use self::apart::{Apart, written};
use self::product::{Product, ROWS, THREADS};
use crate::contract::merged;
use crate::emit::Emit;
use crate::emit::mapping::{Mapping, loads, stores, typical};
use crate::emit::phase::{Around, phase, threads_a_row};
use crate::fission::pieces;
use crate::size::{Int, Sizes};
use crate::text::{Class, Needs, Writer, identifier};
use bdl_dims::Dim;
use bdl_plan::{
    Argument, BufferId, Contraction, DeviceKernel, Kernel, KernelUse, Launch, Name, Op, Origin, Pack, Place, Plan,
    Products, Recurrence, Scan, Share, SizeKind, Slice,
};

/// Points of a step that a block's threads take one after the other, at most; those and more keep a whole processor busy.
const MOST_POINTS: i64 = 8 << 10;
/// Products of one step for each row in a plain product.
const MOST_PRODUCTS: i64 = 1 << 16;
/// Elements of all weights: more take one multiprocessor longer to read at every step than launches take.
const MOST_WEIGHTS: i64 = 1 << 17;

/// The lines that stand above the code of what came from a place in the program.
type Note<'n> = &'n dyn Fn(&Origin) -> Vec<String>;

/// Scans that are one function, by the number of their launch (in the order of [`bdl_plan::each_launch`]).
pub fn recurrences(plan: &Plan, products: Products, note: Note) -> Vec<(usize, Recurrence)> {
    let batch = plan.sizes.iter().find(|size| size.kind == SizeKind::Batch).map(|size| size.name.clone());
    let Some(batch) = batch else { return Vec::new() };
    let mut found = Vec::new();
    look(plan, (products, note), &plan.launches, (&batch, &batch), &mut 0, &mut found);
    found
}

fn look(
    plan: &Plan,
    how: (Products, Note),
    list: &[Launch],
    (batch, rows): (&Name, &Name),
    number: &mut usize,
    found: &mut Vec<(usize, Recurrence)>,
) {
    for launch in list {
        let own = *number;
        *number += 1;
        match &launch.op {
            Op::Scan(scan) => {
                if let Some(made) = recurrence(plan, how, scan, (batch, rows), &launch.origin) {
                    found.push((own, made));
                    bdl_plan::each_launch(&scan.body, &mut |_| *number += 1);
                    continue;
                }
                let rows = scan.running.as_ref().map_or(rows, |running| &running.count);
                look(plan, how, &scan.body, (batch, rows), number, found);
            }
            Op::Iterate(iterate) => {
                let rows = iterate.running.as_ref().map_or(rows, |running| &running.count);
                look(plan, how, &iterate.condition, (batch, rows), number, found);
                look(plan, how, &iterate.body, (batch, rows), number, found);
            }
            Op::Kernel(_)
            | Op::Contract(_)
            | Op::Draw(_)
            | Op::Copy { .. }
            | Op::Clear { .. }
            | Op::Order { .. }
            | Op::Sort(_)
            | Op::Library { .. } => {}
        }
    }
}

/// A part of a step.
enum Part {
    /// With points for each row.
    Kernel {
        kernel: Kernel,
        buffers: Vec<Slice>,
        each: i64,
    },
    Product {
        product: Product,
        out: Slice,
        left: Slice,
        right: Slice,
        accumulate: bool,
    },
}

fn recurrence(
    plan: &Plan,
    (products, note): (Products, Note),
    scan: &Scan,
    (batch, rows): (&Name, &Name),
    origin: &Origin,
) -> Option<Recurrence> {
    // Running rows of running rows would need the order of the loop around.
    if scan.ends.is_some() || (scan.running.is_some() && rows != batch) {
        return None;
    }
    let apart = Apart {
        plan,
        rows: scan.running.as_ref().map_or(rows, |running| &running.count).clone(),
        step: scan.step.clone(),
        steps: scan.extent.as_const(),
        order: scan.running.as_ref().map(|running| running.order),
    };
    let parts = parts(plan, &apart, products, scan)?;
    let touched = touched(&parts);
    if !apart.holds(&scan.body, &touched) || !pays(&parts) {
        return None;
    }
    // A size that only launches know, a function that GPUs lack: launches say what is wrong.
    Made::new(plan, &apart, scan, &origin.what).function(&parts, touched, note(origin)).ok()
}

fn parts(plan: &Plan, apart: &Apart, products: Products, scan: &Scan) -> Option<Vec<Part>> {
    let written = written(plan, &scan.body);
    let mut parts = Vec::new();
    let of_kernel = |used: &KernelUse, parts: &mut Vec<Part>| {
        let kernel = &plan.kernels[used.kernel.0 as usize];
        let each = apart.per_row(&kernel.grid)?;
        for kernel in pieces(kernel) {
            parts.push(Part::Kernel { kernel, buffers: used.buffers.clone(), each });
        }
        Some(())
    };
    let whole = |buffer: &BufferId| Slice { buffer: *buffer, offset: Dim::zero() };
    for launch in &scan.body {
        match &launch.op {
            Op::Kernel(used) => of_kernel(used, &mut parts)?,
            Op::Contract(c) => {
                parts.push(product(plan, apart, products, &written, c)?);
                if let Some(used) = &c.epilogue {
                    of_kernel(used, &mut parts)?;
                }
            }
            Op::Copy { from, to } => {
                let buffer = &plan.buffers[to.0 as usize];
                let kernel = synthetic::copy(buffer.len.clone(), buffer.dtype);
                let each = apart.per_row(&buffer.len)?;
                parts.push(Part::Kernel { kernel, buffers: vec![whole(from), whole(to)], each });
            }
            Op::Clear { buffer: id } => {
                let buffer = &plan.buffers[id.0 as usize];
                let kernel = synthetic::clear(buffer.len.clone(), buffer.dtype);
                let each = apart.per_row(&buffer.len)?;
                parts.push(Part::Kernel { kernel, buffers: vec![whole(id)], each });
            }
            Op::Draw(_) | Op::Order { .. } | Op::Scan(_) | Op::Iterate(_) | Op::Sort(_) | Op::Library { .. } => {
                return None;
            }
        }
    }
    Some(parts)
}

fn product(plan: &Plan, apart: &Apart, products: Products, written: &[BufferId], c: &Contraction) -> Option<Part> {
    let c = merged::merged(c);
    let (rows, each) = apart.row_axis(&c)?;
    let product = (each == 1).then(|| Product::of(plan, &c, rows, &apart.step, written, products)).flatten();
    Some(match product {
        Some(product) => {
            let (left, right) = if product.left_is_a { (&c.a, &c.b) } else { (&c.b, &c.a) };
            let (left, right) = (left.clone(), right.clone());
            Part::Product { product, out: c.out.clone(), left, right, accumulate: c.accumulate }
        }
        // Its factors are not rounded.
        None if products != Products::Exact => return None,
        None => {
            let kernel = synthetic::contraction(&c, rows, plan.buffers[c.out.buffer.0 as usize].dtype);
            Part::Kernel { kernel, buffers: vec![c.out.clone(), c.a.clone(), c.b.clone()], each }
        }
    })
}

fn slices(part: &Part) -> Vec<&Slice> {
    match part {
        Part::Kernel { buffers, .. } => buffers.iter().collect(),
        Part::Product { out, left, right, .. } => vec![out, left, right],
    }
}

fn touched(parts: &[Part]) -> Vec<BufferId> {
    let mut found: Vec<BufferId> = parts.iter().flat_map(slices).map(|slice| slice.buffer).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Rows of a block.
fn rows_of(parts: &[Part]) -> i64 {
    if parts.iter().any(|part| matches!(part, Part::Product { .. })) { ROWS } else { 1 }
}

/// Is a step little enough work for one block?
fn pays(parts: &[Part]) -> bool {
    let rows = rows_of(parts);
    let mut weights = 0;
    let all = parts.iter().all(|part| match part {
        Part::Kernel { kernel, each, .. } => {
            let mapping = Mapping::of(kernel);
            let points = rows * each * typical(&mapping.along);
            let loops = inner_work(kernel, mapping.folded.len());
            points <= MOST_POINTS && points.saturating_mul(loops) <= rows * MOST_PRODUCTS
        }
        Part::Product { product, .. } => {
            weights += product.n * product.k;
            true
        }
    });
    all && weights <= MOST_WEIGHTS
}

/// About how many iterations the loops of a point have, one inside of the other.
fn inner_work(kernel: &Kernel, folded: usize) -> i64 {
    fn most(body: &[bdl_plan::Stmt]) -> i64 {
        let of = |stmt: &bdl_plan::Stmt| match stmt {
            bdl_plan::Stmt::Loop { to, body, .. } => {
                let own = match to {
                    bdl_plan::Bound::Size(to) => typical(to),
                    bdl_plan::Bound::Value(_) => typical(&Dim::var("n")),
                };
                own.saturating_mul(most(body))
            }
            bdl_plan::Stmt::If { body, .. } => most(body),
            bdl_plan::Stmt::Let { .. }
            | bdl_plan::Stmt::Variable { .. }
            | bdl_plan::Stmt::Combine { .. }
            | bdl_plan::Stmt::Assign { .. }
            | bdl_plan::Stmt::Store { .. } => 1,
        };
        body.iter().map(of).max().unwrap_or(1)
    }
    let mut body = kernel.body.as_slice();
    for _ in 0..folded {
        if let Some(bdl_plan::Stmt::Loop { body: inner, .. }) = body.last() {
            body = inner;
        }
    }
    most(body)
}

/// The function while it is made.
struct Made<'p> {
    plan: &'p Plan,
    apart: &'p Apart<'p>,
    scan: &'p Scan,
    what: &'p Name,
    w: Writer,
    parameters: Vec<String>,
    arguments: Vec<Argument>,
    /// Registers of sizes.
    sizes: Vec<(Name, String)>,
    /// Lists of sizes of the example.
    lists: Vec<(Name, String)>,
}

impl<'p> Made<'p> {
    fn new(plan: &'p Plan, apart: &'p Apart<'p>, scan: &'p Scan, what: &'p Name) -> Made<'p> {
        let (w, sizes, lists) = (Writer::default(), Vec::new(), Vec::new());
        Made { plan, apart, scan, what, w, parameters: Vec::new(), arguments: Vec::new(), sizes, lists }
    }

    fn parameter(&mut self, name: &str, argument: Argument) -> String {
        self.parameters.push(format!(".param .u64 {name}"));
        self.arguments.push(argument);
        let register = self.w.named(Class::B64, name);
        self.w.head(format!("ld.param.u64 {register}, [{name}];"));
        register
    }

    fn address(&mut self, name: &str, number: usize) -> String {
        let register = self.parameter(name, Argument::Buffer(number as u32));
        self.w.head(format!("cvta.to.global.u64 {register}, {register};"));
        register
    }

    fn function(mut self, parts: &[Part], touched: Vec<BufferId>, mut comments: Vec<String>) -> Emit<Recurrence> {
        let rows = rows_of(parts);
        // One block at a time is enough for a processor.
        self.w.take_registers();
        let mut addresses = Vec::new();
        for (i, buffer) in touched.iter().enumerate() {
            let name = identifier(&self.plan.buffers[buffer.0 as usize].name);
            addresses.push(self.address(&format!("{name}_{i}"), i));
        }
        // Weights that lie otherwise than threads read them are laid out anew before the first step.
        let (mut packs, mut packed) = (Vec::new(), Vec::new());
        for part in parts {
            let Part::Product { product, right, .. } = part else {
                packed.push(None);
                continue;
            };
            if product.is_packed(right.offset.as_const()) {
                packed.push(None);
                continue;
            }
            let number = touched.len() + packs.len();
            packed.push(Some(self.address(&format!("weights_{number}"), number)));
            let elements = (product.n * product.k) as u32;
            packs.push(Pack { from: right.clone(), kernel: pack::pack(product), elements });
        }
        self.sizes_of(parts)?;
        let all_rows = match &self.scan.running {
            Some(_) => self.batch_rows()?,
            None => Dim::var(self.apart.rows.clone()),
        };
        let grid = self.parameter("grid", Argument::Grid);
        self.begin(rows, &grid);
        let steps = self.steps(rows)?;
        let (fixed, unit, units) = self.scratch(parts);
        self.walk(parts, &touched, &addresses, &packed, &steps)?;
        let entry = format!("scan${}", identifier(self.what));
        let factors = parts.iter().find_map(|part| match part {
            Part::Product { product, .. } => Some(product.factors),
            Part::Kernel { .. } => None,
        });
        let needs = factors.map_or(Needs::LEAST, pack::needs);
        comments.push(format!("a scan as one function, {rows} rows a block"));
        let text = self.w.module(&comments, &entry, &self.parameters, THREADS as u32, needs);
        let share = Share::Points { each: rows as u32, along: Dim::one(), parts: 1, bytes: 0 };
        let function = DeviceKernel {
            entry: entry.into(),
            text: text.into(),
            arguments: self.arguments,
            threads: THREADS as u32,
            shared: fixed as u32,
            shared_unit: unit as u32,
            shared_units: units as u32,
            share,
        };
        Ok(Recurrence { packs, function, buffers: touched, rows: all_rows })
    }

    /// All rows of a loop over running examples: the examples.
    fn batch_rows(&self) -> Emit<Dim> {
        let batch = self.plan.sizes.iter().find(|size| size.kind == SizeKind::Batch);
        batch.map(|size| Dim::var(size.name.clone())).ok_or_else(|| "a plan without a batch".to_string())
    }

    /// Registers of every size that is mentioned.
    fn sizes_of(&mut self, parts: &[Part]) -> Emit<()> {
        let mut names: Vec<Name> = self.scan.extent.names();
        for part in parts {
            names.extend(slices(part).iter().flat_map(|slice| slice.offset.names()));
            if let Part::Kernel { kernel, .. } = part {
                names.extend(kernel.sizes.iter().cloned());
            }
        }
        names.sort();
        names.dedup();
        for (i, name) in names.into_iter().enumerate() {
            if name == self.scan.step || self.scan.running.as_ref().is_some_and(|running| running.count == name) {
                continue;
            }
            let kind = self.plan.sizes.iter().find(|size| size.name == name).map(|size| &size.kind);
            match kind {
                Some(SizeKind::PerExample) => {
                    let list =
                        self.parameter(&format!("lengths_{}_{i}", identifier(&name)), Argument::Lengths(name.clone()));
                    self.w.head(format!("cvta.to.global.u64 {list}, {list};"));
                    self.lists.push((name, list));
                }
                Some(SizeKind::Built | SizeKind::Batch | SizeKind::Total(_) | SizeKind::Step | SizeKind::Running) => {
                    let register =
                        self.parameter(&format!("size_{}_{i}", identifier(&name)), Argument::Size(name.clone()));
                    self.sizes.push((name, register));
                }
                None => return Err(format!("the size `{name}` is not declared")),
            }
        }
        let step = self.w.named(Class::B64, "step");
        self.sizes.push((self.scan.step.clone(), step));
        Ok(())
    }

    /// Which rows are this block's.
    fn begin(&mut self, rows: i64, grid: &str) {
        let w = &mut self.w;
        for name in ["first", "own", "count"] {
            w.named(Class::B64, name);
        }
        for name in ["thread", "narrow_count"] {
            w.named(Class::B32, name);
        }
        w.comment(&format!("{rows} rows for each block"));
        w.line("mov.u32 %thread, %tid.x;");
        let block = w.set(Class::B32, "mov.u32", &["%ctaid.x"]);
        w.line(format!("mul.wide.u32 %first, {block}, {rows};"));
        w.line(format!("sub.s64 %own, {grid}, %first;"));
        w.line(format!("min.s64 %own, %own, {rows};"));
    }

    /// How many steps the block has. With running rows the lengths of each are in registers.
    fn steps(&mut self, rows: i64) -> Emit<String> {
        let Some(running) = &self.scan.running else {
            let mut sizes = Sizes::default();
            self.sizes.iter().for_each(|(name, register)| sizes.bind(name, register.clone()));
            return Ok(sizes.get(&mut self.w, &self.scan.extent)?.text());
        };
        let order = self.plan.buffers[running.order.0 as usize].name.clone();
        let order = {
            let register = self.w.named(Class::B64, "order");
            self.parameters.push(format!(".param .u64 order /* {} */", identifier(&order)));
            let number = self.order_number();
            self.arguments.push(Argument::Buffer(number as u32));
            self.w.head(format!("ld.param.u64 {register}, [order];"));
            self.w.head(format!("cvta.to.global.u64 {register}, {register};"));
            register
        };
        self.w.comment("the steps of each row; the first has the most");
        for row in 0..rows {
            let outer = self.w.begin_part(&format!("row{row}_"));
            let example = self.w.named(Class::B64, "example");
            let there = self.w.temp(Class::Pred);
            let (place, narrow) = (self.w.temp(Class::B64), self.w.temp(Class::B32));
            self.w.head(format!("setp.gt.s64 {there}, %own, {row};"));
            self.w.head(format!("add.s64 {place}, %first, {row};"));
            self.w.head(format!("mad.lo.s64 {place}, {place}, 4, {order};"));
            self.w.head(format!("mov.u32 {narrow}, 0;"));
            self.w.head(format!("@{there} ld.global.b32 {narrow}, [{place}];"));
            self.w.head(format!("cvt.u64.u32 {example}, {narrow};"));
            let mut sizes = Sizes::default();
            self.sizes.iter().for_each(|(name, register)| sizes.bind(name, register.clone()));
            for (i, (name, list)) in self.lists.iter().enumerate() {
                let own = self.w.named(Class::B64, &format!("length_{i}"));
                let place = self.w.temp(Class::B64);
                self.w.head(format!("mad.lo.s64 {place}, {example}, 8, {list};"));
                self.w.head(format!("ld.global.b64 {own}, [{place}];"));
                sizes.bind(name, own);
            }
            let extent = sizes.get(&mut self.w, &self.scan.extent)?.text();
            let steps = self.w.named(Class::B64, "steps");
            self.w.line(format!("selp.b64 {steps}, {extent}, 0, {there};"));
            self.w.end_part(outer);
        }
        Ok("%row0_steps".to_string())
    }

    /// The place of the order among the buffers: behind all others.
    fn order_number(&self) -> usize {
        self.arguments.iter().filter(|argument| matches!(argument, Argument::Buffer(_))).count()
    }

    /// Shared memory of the products: rows, parts of sums, and weights that stay. Gives the fixed bytes, then unit and units of the rest.
    fn scratch(&mut self, parts: &[Part]) -> (i64, i64, i64) {
        let products = || {
            parts.iter().enumerate().filter_map(|(i, part)| match part {
                Part::Product { product, .. } => Some((i, product)),
                Part::Kernel { .. } => None,
            })
        };
        let most = |pick: fn((i64, i64)) -> i64| products().map(|(_, p)| pick(p.shared())).max().unwrap_or(0) * 4;
        let (rows, sums) = (most(|(rows, _)| rows), most(|(_, sums)| sums));
        // Sixteen bytes are read at once.
        let (sums_at, fixed) = ((rows + 15) / 16 * 16, (rows + 15) / 16 * 16 + (sums + 15) / 16 * 16);
        if fixed == 0 {
            return (0, 0, 0);
        }
        self.w.shared_by_launch("memory", 16);
        for (name, at) in [("a_rows", 0), ("parts", sums_at)] {
            let register = self.w.named(Class::B32, name);
            self.w.head(format!("mov.u32 {register}, memory;"));
            self.w.head(format!("add.u32 {register}, {register}, {at};"));
        }
        let units = products().map(|(_, product)| product.residents().0).max().unwrap_or(0);
        if units > 0 {
            let given = self.parameter("shared_units", Argument::SharedUnits);
            let residents = self.w.named(Class::B32, "residents");
            self.w.head(format!("cvt.u32.u64 {residents}, {given};"));
        }
        let mut unit = 0;
        for (i, product) in products() {
            let register = self.w.named(Class::B32, &format!("resident_{i}"));
            let (count, bytes) = product.residents();
            if count > 0 {
                self.w.head(format!("mad.lo.u32 {register}, %residents, {unit}, {fixed};"));
                self.w.head(format!("add.u32 {register}, {register}, %a_rows;"));
            }
            unit += bytes;
        }
        (fixed, unit, units)
    }

    /// Copies the weights that stay.
    fn keep(&mut self, parts: &[Part], base: &dyn Fn(&Slice) -> String, packed: &[Option<String>]) -> Emit<()> {
        for (i, part) in parts.iter().enumerate() {
            let Part::Product { product, right, .. } = part else { continue };
            let outer = self.w.begin_part(&format!("keep{i}_"));
            let weights = match &packed[i] {
                Some(packed) => packed.clone(),
                None => self.moved(&base(right), &right.offset)?,
            };
            product.keep(&mut self.w, &weights, &format!("%resident_{i}"));
            self.w.end_part(outer);
        }
        Ok(())
    }

    fn walk(
        &mut self,
        parts: &[Part],
        touched: &[BufferId],
        addresses: &[String],
        packed: &[Option<String>],
        steps: &str,
    ) -> Emit<()> {
        let base = |slice: &Slice| {
            let at = touched.iter().position(|buffer| *buffer == slice.buffer).unwrap_or(0);
            addresses[at].clone()
        };
        self.keep(parts, &base, packed)?;
        let reversed = self.scan.reversed;
        if reversed {
            self.w.line(format!("sub.s64 %step, {steps}, 1;"));
        } else {
            self.w.line("mov.b64 %step, 0;");
        }
        let (next, end) = (self.w.label("step"), self.w.label("end_steps"));
        self.w.place(&next);
        let past = match reversed {
            true => self.w.set(Class::Pred, "setp.lt.s64", &["%step", "0"]),
            false => self.w.set(Class::Pred, "setp.ge.s64", &["%step", steps]),
        };
        self.w.line(format!("@{past} bra {end};"));
        self.w.deeper();
        self.count(rows_of(parts));
        let mut seen = Seen::default();
        // Behind the threads that are busy since all met.
        let mut free: i64 = 0;
        for (i, part) in parts.iter().enumerate() {
            let (reads, writes) = self.places(part);
            if seen.must_meet(reads, writes) {
                self.w.line("bar.sync 0;");
                free = 0;
            }
            let prefix = format!("p{i}_");
            match part {
                Part::Kernel { kernel, buffers, each } => {
                    self.w.comment(&kernel.name);
                    let around = Around {
                        first: "%first",
                        count: "%count",
                        each: *each,
                        threads: THREADS as u32,
                        first_thread: free as u32,
                        buffers: buffers.iter().map(|slice| (base(slice), slice.offset.clone())).collect(),
                        sizes: &self.sizes,
                    };
                    self.w = phase(std::mem::take(&mut self.w), kernel, &prefix, &around)?;
                    let busy = threads_a_row(kernel, *each).saturating_mul(rows_of(parts)).saturating_add(31) / 32 * 32;
                    free = free.saturating_add(busy) % THREADS;
                }
                Part::Product { product, out, left, right, accumulate } => {
                    self.w.comment("product with weights");
                    let outer = self.w.begin_part(&prefix);
                    let out = self.moved(&base(out), &out.offset)?;
                    let left = self.moved(&base(left), &left.offset)?;
                    let weights = match &packed[i] {
                        Some(packed) => packed.clone(),
                        None => self.moved(&base(right), &right.offset)?,
                    };
                    let resident = format!("%resident_{i}");
                    product.emit(&mut self.w, (&out, &left, &weights), &resident, *accumulate)?;
                    self.w.end_part(outer);
                    free = 0;
                }
            }
        }
        self.w.line("bar.sync 0;");
        self.w.shallower();
        self.w.line(format!("add.s64 %step, %step, {};", if reversed { -1 } else { 1 }));
        self.w.line(format!("bra {next};"));
        self.w.place(&end);
        Ok(())
    }

    /// The rows that take part in this step.
    fn count(&mut self, rows: i64) {
        if self.scan.running.is_none() {
            self.w.line("mov.b64 %count, %own;");
        } else {
            self.w.line("mov.b64 %count, 0;");
            for row in 0..rows {
                let runs = self.w.set(Class::Pred, "setp.gt.s64", &[&format!("%row{row}_steps"), "%step"]);
                self.w.line(format!("@{runs} add.s64 %count, %count, 1;"));
            }
        }
        self.w.line("cvt.u32.u64 %narrow_count, %count;");
    }

    /// An address (f32) moved by elements.
    fn moved(&mut self, base: &str, offset: &Dim) -> Emit<String> {
        let mut sizes = Sizes::default();
        self.sizes.iter().for_each(|(name, register)| sizes.bind(name, register.clone()));
        let offset = sizes.get(&mut self.w, offset)?;
        let register = self.w.temp(Class::B64);
        match offset {
            Int::Const(0) => return Ok(base.to_string()),
            Int::Const(offset) => self.w.head(format!("add.s64 {register}, {base}, {};", 4 * offset)),
            Int::Register(offset) => self.w.head(format!("mad.lo.s64 {register}, {offset}, 4, {base};")),
        }
        Ok(register)
    }

    /// What a part reads and writes: slots, and buffers that have none.
    fn places(&self, part: &Part) -> (Vec<u64>, Vec<u64>) {
        let place = |slice: &Slice| match &self.plan.buffers[slice.buffer.0 as usize].place {
            Place::Slot(slot) => u64::from(slot.0),
            Place::Param | Place::State | Place::Input { .. } | Place::Blocks | Place::Literal(_) | Place::Table(_) => {
                u64::from(slice.buffer.0) + (1 << 32)
            }
        };
        match part {
            Part::Kernel { kernel, buffers, .. } => {
                let of = |found: Vec<(u32, &bdl_plan::Address)>| {
                    found.into_iter().map(|(buffer, _)| place(&buffers[buffer as usize])).collect()
                };
                (of(loads(&kernel.body)), of(stores(&kernel.body)))
            }
            Part::Product { out, left, right, accumulate, .. } => {
                let mut reads = vec![place(left), place(right)];
                if *accumulate {
                    reads.push(place(out));
                }
                (reads, vec![place(out)])
            }
        }
    }
}

/// What the block's threads read and wrote since they met.
#[derive(Default)]
struct Seen {
    reads: Vec<u64>,
    writes: Vec<u64>,
}

impl Seen {
    /// Must they meet before a part that reads and writes these?
    fn must_meet(&mut self, reads: Vec<u64>, writes: Vec<u64>) -> bool {
        let any = |of: &[u64], known: &[u64]| of.iter().any(|place| known.contains(place));
        let meets = any(&reads, &self.writes) || any(&writes, &self.reads) || any(&writes, &self.writes);
        if meets {
            *self = Seen::default();
        }
        self.reads.extend(reads);
        self.writes.extend(writes);
        meets
    }
}
