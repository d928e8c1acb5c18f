//! What holds for a plan that is worth running. [`verify`] reports the first thing that does not.
//!
//! **Names and sizes.** Names of sizes are unique, so are those of buffers. Every name in a size is declared. Per-example sizes occur only in
//! shapes, totals, tables, orders, extents of loops over running examples, and in a contraction that has an axis with offsets. The step of a
//! loop is declared as such, its number of rows as running, and both are named only inside that loop.
//!
//! **Buffers.** Slots exist. Lengths name neither per-example sizes nor steps. A literal has as many numbers as its length says. Lengths,
//! offsets and positions are `I64`; owners, sorted keys and runs `I32`; keys are integers known before the first launch. Nothing writes
//! an input, a literal or a table. What lies in blocks is touched by groups of products alone (see [`blocks`](crate::blocks)).
//!
//! **Launches.** Buffers and kernels exist; a kernel gets buffers of the types it declares, none that it writes twice. A contraction's operands are
//! of one real type; its axes move the operands that their role says and no others; at most one axis, of role `Batch`, has offsets; clips name
//! axes that exist; it has at most 11 axes and 6 clips, and is a convolution of an image with 3 x 3 taps where the algorithm is for these. Copies are between buffers of one type and length. Orders are written and `I32`,
//! stop conditions truth values.
//!
//! **Kernels.** Every value is defined once and used in its scope, every variable declared once; each loop has an index of its own; types fit operations
//! (see [`kernel`]); loads read what may be read and stores write what may be written. At most one `Lanes` loop lies on a path; inside, variables of
//! outside are only combined into, with one monoid.
//!
//! **Trusted**, as they cannot be seen from the text alone: that addresses are inside their buffers (the reference interpreter of
//! `bdl-execute` checks them), that iterations write apart, that buffers alive together do not share a slot.

mod kernel;

use crate::data::{
    Access, Algorithm, AxisRole, BufferId, Contraction, DType, Ends, Kernel, KernelUse, Launch, Name, Op, Place, Plan,
    Running, SizeKind, Slice, Table, Tables,
};
use bdl_dims::Dim;
use std::collections::HashSet;
use std::fmt;

/// Axes that a contraction may have; one less than the executor's limit, which needs one for itself.
const MAX_AXES: usize = 11;
const MAX_CLIPS: usize = 6;

/// An invariant that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// "kernel `relu`", "launch 3 (loss)", "buffer `x`".
    pub place: String,
    pub what: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for VerifyError {}

pub(crate) type Checked = Result<(), String>;

/// Checks all invariants of a plan.
pub fn verify(plan: &Plan) -> Result<(), VerifyError> {
    let at = |place: String| move |what: String| VerifyError { place, what };
    Sizes { plan, steps: Vec::new() }.declarations().map_err(at("sizes".to_string()))?;
    let mut names = HashSet::new();
    for (i, slot) in plan.slots.iter().enumerate() {
        Sizes { plan, steps: Vec::new() }.plain(slot).map_err(at(format!("slot {i}")))?;
    }
    for buffer in &plan.buffers {
        let place = format!("buffer `{}`", buffer.name);
        if !names.insert(&buffer.name) {
            return Err(VerifyError { place, what: "another buffer has this name".to_string() });
        }
        check_buffer(plan, buffer).map_err(at(place))?;
    }
    for (name, buffer) in &plan.outputs {
        exists(plan, *buffer).map_err(at(format!("output `{name}`")))?;
    }
    plan.kernels.iter().try_for_each(verify_kernel)?;
    let mut checker = Launches { plan, sizes: Sizes { plan, steps: Vec::new() }, number: 0 };
    checker.list(&plan.launches)?;
    crate::blocks::groups(plan).map(|_| ()).map_err(at("buffers in blocks".to_string()))
}

/// Checks one kernel by itself.
pub fn verify_kernel(kernel: &Kernel) -> Result<(), VerifyError> {
    kernel::check(kernel).map_err(|what| VerifyError { place: format!("kernel `{}`", kernel.name), what })
}

fn exists(plan: &Plan, buffer: BufferId) -> Checked {
    if (buffer.0 as usize) < plan.buffers.len() { Ok(()) } else { Err(format!("buffer {} does not exist", buffer.0)) }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

/// Which names a size may use.
struct Sizes<'p> {
    plan: &'p Plan,
    /// Steps and numbers of rows of the loops around.
    steps: Vec<Name>,
}

impl Sizes<'_> {
    fn declarations(&self) -> Checked {
        let mut names = HashSet::new();
        for size in &self.plan.sizes {
            ensure(names.insert(&size.name), || format!("`{}` is declared twice", size.name))?;
            if let SizeKind::Total(dim) = &size.kind {
                self.per_example(dim)?;
            }
        }
        Ok(())
    }

    fn check(&self, dim: &Dim, per_example: bool) -> Checked {
        for name in dim.names() {
            let Some(size) = self.plan.sizes.iter().find(|s| s.name == name) else {
                return Err(format!("the size `{name}` is not declared"));
            };
            match &size.kind {
                SizeKind::Built | SizeKind::Batch | SizeKind::Total(_) => {}
                SizeKind::PerExample => {
                    ensure(per_example, || format!("`{name}` differs from example to example and has no value here"))?;
                }
                SizeKind::Step => {
                    ensure(self.steps.contains(&name), || format!("the step `{name}` is named outside of its loop"))?;
                }
                SizeKind::Running => {
                    ensure(self.steps.contains(&name), || {
                        format!("the rows `{name}` are named outside of their loop")
                    })?;
                }
            }
        }
        Ok(())
    }

    /// One number for the whole batch.
    fn plain(&self, dim: &Dim) -> Checked {
        self.check(dim, false)
    }

    fn per_example(&self, dim: &Dim) -> Checked {
        self.check(dim, true)
    }
}

fn check_buffer(plan: &Plan, buffer: &crate::data::Buffer) -> Checked {
    let sizes = Sizes { plan, steps: Vec::new() };
    sizes.plain(&buffer.len)?;
    buffer.shape.iter().try_for_each(|dim| sizes.per_example(dim))?;
    let of_type = |wanted: DType| ensure(buffer.dtype == wanted, || format!("such a table is of {wanted:?}"));
    match &buffer.place {
        Place::Param | Place::State | Place::Input { .. } | Place::Blocks => Ok(()),
        Place::Slot(slot) => ensure((slot.0 as usize) < plan.slots.len(), || format!("slot {} does not exist", slot.0)),
        Place::Literal(values) => ensure(buffer.len.as_const() == Some(values.len() as i64), || {
            format!("has {} numbers and the length {}", values.len(), buffer.len)
        }),
        Place::Table(table) => match table {
            Table::Lengths(dim) | Table::Offsets(dim) => {
                sizes.per_example(dim)?;
                of_type(DType::I64)
            }
            Table::Owner(dim) => {
                sizes.per_example(dim)?;
                of_type(DType::I32)
            }
            Table::Positions => of_type(DType::I64),
            Table::SortedBy { keys } => {
                check_keys(plan, *keys)?;
                of_type(DType::I32)
            }
            Table::Runs { keys, groups } => {
                check_keys(plan, *keys)?;
                sizes.plain(groups)?;
                of_type(DType::I32)
            }
        },
    }
}

fn check_keys(plan: &Plan, keys: BufferId) -> Checked {
    exists(plan, keys)?;
    let keys = &plan.buffers[keys.0 as usize];
    ensure(matches!(keys.dtype, DType::I32 | DType::I64), || format!("the keys `{}` are no integers", keys.name))?;
    let early = matches!(keys.place, Place::Input { .. } | Place::State | Place::Literal(_));
    ensure(early, || format!("the keys `{}` are not known before the first launch", keys.name))
}

struct Launches<'p> {
    plan: &'p Plan,
    sizes: Sizes<'p>,
    number: usize,
}

impl Launches<'_> {
    fn list(&mut self, launches: &[Launch]) -> Result<(), VerifyError> {
        for launch in launches {
            let place = format!("launch {} ({})", self.number, launch.origin.what);
            self.number += 1;
            self.op(&launch.op).map_err(|what| VerifyError { place, what })?;
            match &launch.op {
                Op::Scan(scan) => self.inside(&scan.step, &scan.running, &[&scan.body])?,
                Op::Iterate(n) => self.inside(&n.step, &n.running, &[&n.condition, &n.body])?,
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
        Ok(())
    }

    fn is_offsets(&self, table: BufferId) -> Checked {
        exists(self.plan, table)?;
        let table = &self.plan.buffers[table.0 as usize];
        let offsets = matches!(table.place, Place::Table(Table::Offsets(_)));
        ensure(offsets, || format!("`{}` is no table of offsets", table.name))
    }

    /// What runs inside of a loop.
    fn inside(&mut self, step: &Name, running: &Option<Running>, lists: &[&[Launch]]) -> Result<(), VerifyError> {
        let before = self.sizes.steps.len();
        self.sizes.steps.push(step.clone());
        self.sizes.steps.extend(running.iter().map(|r| r.count.clone()));
        lists.iter().try_for_each(|list| self.list(list))?;
        self.sizes.steps.truncate(before);
        Ok(())
    }

    /// The names and the order of a loop.
    fn header(&self, step: &Name, extent: &Dim, running: &Option<Running>) -> Checked {
        let declared = |name: &Name, kind: SizeKind| self.plan.sizes.iter().any(|s| s.name == *name && s.kind == kind);
        self.sizes.check(extent, running.is_some())?;
        ensure(declared(step, SizeKind::Step), || format!("`{step}` is not declared as a step"))?;
        let Some(running) = running else { return Ok(()) };
        let count = &running.count;
        ensure(declared(count, SizeKind::Running), || format!("`{count}` is not declared as running"))?;
        self.order(running.order)
    }

    fn order(&self, order: BufferId) -> Checked {
        ensure(self.dtype(order)? == DType::I32, || "an order is of I32".to_string())?;
        self.written(order)
    }

    fn dtype(&self, buffer: BufferId) -> Result<DType, String> {
        exists(self.plan, buffer)?;
        Ok(self.plan.buffers[buffer.0 as usize].dtype)
    }

    fn is_real(&self, buffer: BufferId) -> Checked {
        let dtype = self.dtype(buffer)?;
        ensure(matches!(dtype, DType::F32 | DType::F64 | DType::BF16), || format!("{dtype:?} where a real is meant"))
    }

    fn written(&self, buffer: BufferId) -> Checked {
        exists(self.plan, buffer)?;
        let buffer = &self.plan.buffers[buffer.0 as usize];
        let writable = match buffer.place {
            Place::Param | Place::State | Place::Slot(_) | Place::Blocks => true,
            Place::Input { .. } | Place::Literal(_) | Place::Table(_) => false,
        };
        ensure(writable, || format!("`{}` is written", buffer.name))
    }

    fn slice(&self, slice: &Slice) -> Checked {
        exists(self.plan, slice.buffer)?;
        self.sizes.plain(&slice.offset)
    }

    fn op(&self, op: &Op) -> Checked {
        match op {
            Op::Kernel(used) => self.kernel_use(used),
            Op::Contract(contraction) => self.contraction(contraction),
            Op::Draw(draw) => {
                self.written(draw.out)?;
                self.is_real(draw.out)?;
                draw.steps.iter().try_for_each(|step| self.sizes.plain(&Dim::var(step.clone())))?;
                draw.per_example.iter().try_for_each(|dim| self.sizes.check(dim, draw.offsets.is_some()))?;
                draw.offsets.iter().try_for_each(|table| self.is_offsets(*table))
            }
            Op::Copy { from, to } => {
                self.written(*to)?;
                exists(self.plan, *from)?;
                let (from, to) = (&self.plan.buffers[from.0 as usize], &self.plan.buffers[to.0 as usize]);
                ensure(from.dtype == to.dtype && from.len == to.len, || {
                    format!("`{}` is copied to `{}`, which differs in type or length", from.name, to.name)
                })
            }
            Op::Clear { buffer } => self.written(*buffer),
            Op::Order { out, by } => {
                self.sizes.per_example(by)?;
                self.order(*out)
            }
            Op::Scan(scan) => {
                self.header(&scan.step, &scan.extent, &scan.running)?;
                let count = |buffer: BufferId| -> Checked {
                    ensure(self.dtype(buffer)? == DType::I32, || "a number of steps is of I32".to_string())
                };
                match scan.ends {
                    None => Ok(()),
                    Some(Ends::When { until, steps }) => {
                        ensure(self.dtype(until)? == DType::Bool, || "a stop condition is of Bool".to_string())?;
                        count(steps)?;
                        self.written(steps)
                    }
                    Some(Ends::After(steps)) => count(steps),
                }
            }
            Op::Iterate(iterate) => {
                self.header(&iterate.step, &iterate.at_most, &iterate.running)?;
                ensure(self.dtype(iterate.until)? == DType::Bool, || "a stop condition is of Bool".to_string())
            }
            Op::Sort(sort) => {
                self.written(sort.out)?;
                ensure(self.dtype(sort.out)? == DType::I32, || "positions are of I32".to_string())?;
                exists(self.plan, sort.input)?;
                self.sizes.plain(&sort.rows)?;
                self.sizes.check(&sort.columns, sort.offsets.is_some())?;
                sort.offsets.iter().try_for_each(|table| self.is_offsets(*table))
            }
            Op::Library { routine: _, out, inputs, rows, columns } => {
                self.written(*out)?;
                self.is_real(*out)?;
                inputs.iter().try_for_each(|input| self.is_real(*input))?;
                ensure(inputs.len() == 1, || format!("{} inputs where one is meant", inputs.len()))?;
                self.sizes.plain(rows)?;
                self.sizes.plain(columns)
            }
        }
    }

    fn kernel_use(&self, used: &KernelUse) -> Checked {
        let Some(kernel) = self.plan.kernels.get(used.kernel.0 as usize) else {
            return Err(format!("kernel {} does not exist", used.kernel.0));
        };
        ensure(kernel.buffers.len() == used.buffers.len(), || {
            format!("`{}` takes {} buffers and is given {}", kernel.name, kernel.buffers.len(), used.buffers.len())
        })?;
        for (slice, declared) in used.buffers.iter().zip(&kernel.buffers) {
            self.slice(slice)?;
            let buffer = &self.plan.buffers[slice.buffer.0 as usize];
            ensure(buffer.dtype == declared.dtype, || {
                format!(
                    "`{}` is of {:?}, `{}` of `{}` of {:?}",
                    buffer.name, buffer.dtype, declared.name, kernel.name, declared.dtype
                )
            })?;
            match declared.access {
                Access::Read => {}
                Access::Write | Access::Update => self.written(slice.buffer)?,
            }
        }
        for (i, (slice, declared)) in used.buffers.iter().zip(&kernel.buffers).enumerate() {
            let again = used.buffers[..i]
                .iter()
                .zip(&kernel.buffers)
                .any(|(other, d)| other == slice && (d.access != Access::Read || declared.access != Access::Read));
            ensure(!again, || {
                let name = &self.plan.buffers[slice.buffer.0 as usize].name;
                format!("`{name}` is given to `{}` twice and written", kernel.name)
            })?;
        }
        kernel.sizes.iter().try_for_each(|name| self.sizes.plain(&Dim::var(name.clone())))
    }

    fn contraction(&self, c: &Contraction) -> Checked {
        let ragged = c.axes.iter().filter(|a| a.offsets.is_some()).count();
        ensure(ragged <= 1, || "two axes over examples of different length".to_string())?;
        for slice in [&c.out, &c.a, &c.b] {
            exists(self.plan, slice.buffer)?;
            self.sizes.check(&slice.offset, ragged > 0)?;
        }
        self.written(c.out.buffer)?;
        let dtype = self.dtype(c.out.buffer)?;
        ensure(matches!(dtype, DType::F32 | DType::F64), || format!("a contraction of {dtype:?}"))?;
        for operand in [c.a.buffer, c.b.buffer] {
            let found = self.dtype(operand)?;
            ensure(found == dtype, || format!("a contraction of {found:?} into {dtype:?}"))?;
        }
        ensure(c.axes.len() <= MAX_AXES && c.clips.len() <= MAX_CLIPS, || {
            format!("a contraction with {} axes and {} clips", c.axes.len(), c.clips.len())
        })?;
        for axis in &c.axes {
            for dim in [&axis.extent, &axis.out, &axis.a, &axis.b] {
                self.sizes.check(dim, ragged > 0).map_err(|what| format!("axis `{}`: {what}", axis.name))?;
            }
            let (out, a, b) = (!axis.out.is_zero(), !axis.a.is_zero(), !axis.b.is_zero());
            let fits = match axis.role {
                AxisRole::Batch => out && (a || b),
                AxisRole::M => out && !b,
                AxisRole::N => out && !a,
                AxisRole::K => !out,
            };
            ensure(fits, || format!("axis `{}` of role {:?} steps through the wrong operands", axis.name, axis.role))?;
            for table in axis.offsets.into_iter().flat_map(Tables::all) {
                exists(self.plan, table)?;
                let of_examples = matches!(axis.role, AxisRole::Batch | AxisRole::K);
                ensure(of_examples, || format!("axis `{}` has offsets and is no batch or sum", axis.name))?;
                let table = &self.plan.buffers[table.0 as usize];
                let offsets = matches!(table.place, Place::Table(Table::Offsets(_)));
                ensure(offsets, || format!("`{}` is no table of offsets", table.name))?;
            }
        }
        for clip in &c.clips {
            ensure(clip.terms.iter().all(|(axis, _)| (*axis as usize) < c.axes.len()), || {
                "a clip names an axis that does not exist".to_string()
            })?;
            self.sizes.check(&clip.offset, ragged > 0)?;
            self.sizes.check(&clip.extent, ragged > 0)?;
        }
        match c.algorithm {
            Algorithm::AsWritten => {}
            Algorithm::Winograd => ensure(crate::image::image(c).is_some(), || {
                "a contraction by Winograd's algorithm that is no convolution of an image with 3 x 3 taps".to_string()
            })?,
        }
        c.epilogue.iter().try_for_each(|used| self.kernel_use(used))
    }
}

#[cfg(test)]
mod tests;
