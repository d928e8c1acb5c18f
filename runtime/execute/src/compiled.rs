//! A plan made ready to run: sizes by position, kernels' arguments by position, launches numbered.
//!
//! `F` is what a kernel's code is called by: an address of machine code, or a number of a device's function.

use crate::beside;
use crate::contract::{Form, FormAxis, FormClip};
use crate::error::Error;
use crate::nest::{MAX_AXES, MAX_CLIPS};
use crate::size::Size;
use bdl_dims::Dim;
use bdl_plan::blocks::{Group, Member};
use bdl_plan::image::{self, Image};
use bdl_plan::{
    Algorithm, AxisRole, Bound, BufferId, Contraction, ContractionAxis, DType, Distribution, Ends, Kernel, KernelFn,
    KernelId, KernelUse, Launch, LoopMode, Name, Op, Origin, Place, Plan, Products, Routine, Running, Scan, SizeKind,
    Stmt, Table,
};

use std::ops::Range;

pub struct Compiled<F = KernelFn> {
    pub names: Vec<Name>,
    pub kinds: Vec<CompiledKind>,
    pub buffers: Vec<CompiledBuffer>,
    pub slots: Vec<Size>,
    /// Slots that hold more than what passes from contractions to their epilogues.
    pub kept_slots: Vec<bool>,
    pub launches: Vec<CompiledLaunch<F>>,
    /// Which of the launches run block by block, in order.
    pub groups: Vec<CompiledGroup>,
    /// How many launches there are, those inside of loops included.
    pub launch_count: usize,
    /// Where each `iterate` came from.
    pub iterations: Vec<Origin>,
    pub contraction_count: usize,
}

impl<F> Compiled<F> {
    /// The iterations with their counts that are not 0, which start anew.
    pub fn take_unfinished(&self, counts: &mut [usize]) -> Vec<(Origin, usize)> {
        let taken = counts.iter_mut().map(std::mem::take);
        self.iterations.iter().cloned().zip(taken).filter(|(_, count)| *count > 0).collect()
    }
}

pub enum CompiledKind {
    Built,
    Batch,
    Total(Size),
    PerExample,
    Step,
    Running,
}

pub struct CompiledBuffer {
    pub dtype: DType,
    pub len: Size,
    pub shape: Vec<Size>,
    /// Elements of one example, where the first axis is the batch.
    pub each: Option<Size>,
    pub table: Option<CompiledTable>,
}

pub enum CompiledTable {
    Lengths(Size),
    Offsets(Size),
    Owner(Size),
    SortedBy { keys: usize, groups: Groups },
    Runs { keys: usize, groups: Groups },
    Positions,
}

/// What keys select from.
#[derive(Clone)]
pub enum Groups {
    /// One set for the whole batch.
    Shared(Size),
    /// Each example has its own, one after the other: keys are relative to the example's first.
    PerExample(Size),
    /// Unknown (no runs are wanted): sorted by value.
    Unknown,
}

pub struct CompiledLaunch<F = KernelFn> {
    /// Position in the profile.
    pub number: usize,
    pub op: CompiledOp<F>,
}

pub enum CompiledOp<F = KernelFn> {
    Kernel(CompiledUse<F>),
    Contract(Box<CompiledContraction<F>>),
    Draw {
        out: usize,
        distribution: Distribution,
        site: u32,
        steps: Vec<usize>,
        per_example: Option<Size>,
        offsets: Option<usize>,
    },
    Copy {
        from: usize,
        to: usize,
    },
    Clear {
        buffer: usize,
    },
    Order {
        out: usize,
        by: Size,
    },
    Scan {
        step: usize,
        extent: Size,
        reversed: bool,
        running: Option<CompiledRunning>,
        ends: Option<CompiledEnds>,
        body: Vec<CompiledLaunch<F>>,
    },
    Iterate(Box<CompiledIterate<F>>),
    Sort {
        out: usize,
        input: usize,
        offsets: Option<usize>,
        rows: Size,
        columns: Size,
        descending: bool,
    },
    Library {
        routine: Routine,
        out: usize,
        input: usize,
        rows: Size,
        columns: Size,
    },
}

/// Products that run block by block: see [`bdl_plan::blocks`].
pub struct CompiledGroup {
    pub launches: Range<usize>,
    /// Extents of the axes of the matrices, outermost first, and of their rows.
    pub matrices: Vec<Size>,
    pub rows: Size,
    /// The buffers in blocks, and elements of a row of each.
    pub buffers: Vec<(usize, Size)>,
    /// For each launch, its axes.
    pub members: Vec<Member>,
    /// Does a product sum over rows?
    pub sums_rows: bool,
}

/// Buffers of [`Ends`].
#[derive(Clone, Copy)]
pub enum CompiledEnds {
    When { until: usize, steps: usize },
    After { steps: usize },
}

pub struct CompiledRunning {
    pub order: usize,
    /// Position of the size that counts the rows.
    pub count: usize,
}

pub struct CompiledIterate<F = KernelFn> {
    /// Among all iterations of the plan.
    pub number: usize,
    pub step: usize,
    pub at_most: Size,
    pub running: Option<CompiledRunning>,
    pub condition: Vec<CompiledLaunch<F>>,
    pub until: usize,
    pub body: Vec<CompiledLaunch<F>>,
}

pub struct CompiledUse<F = KernelFn> {
    pub function: F,
    pub buffers: Vec<(usize, Size)>,
    pub sizes: Vec<usize>,
    pub grid: Size,
    /// Simple operations for each grid point, about.
    pub cost: Size,
    pub lanes: bool,
    /// Its rows have loops of lengths of their own.
    pub is_uneven: bool,
}

/// What a contraction multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factors {
    F32,
    F64,
    /// Numbers that are f32 in memory, rounded.
    Bf16,
}

impl Factors {
    /// Of a number in memory.
    pub fn bytes(self) -> usize {
        match self {
            Factors::F32 | Factors::Bf16 => 4,
            Factors::F64 => 8,
        }
    }
}

/// Rows of a buffer: see [`beside`](crate::beside).
#[derive(Clone)]
pub struct CompiledRows {
    pub buffer: usize,
    pub offset: Size,
    pub stride: Size,
    pub pieces: Vec<(Size, Size)>,
}

/// A step of a loop that is `by` from the one at hand.
pub struct NextStep {
    pub step: usize,
    pub by: i64,
    pub extent: Size,
}

pub struct CompiledContraction<F = KernelFn> {
    pub factors: Factors,
    pub out: (usize, Size),
    pub a: (usize, Size),
    pub b: (usize, Size),
    pub form: Form,
    pub epilogue: Option<CompiledUse<F>>,
    /// As the convolution that it is, where Winograd's algorithm computes it.
    pub winograd: Option<Image>,
    /// What the kernel after it goes through row by row, be it the epilogue or another one in a loop: see [`beside`](crate::beside).
    pub beside: Vec<CompiledRows>,
    /// That kernel is the next step's of the loop around.
    pub beside_next: Option<NextStep>,
    /// The result has no memory of its own.
    pub is_passing: bool,
    /// The right operand is the same in all steps of the loop around, which may hold a copy of it in panels; where there is none, no launch of the
    /// plan writes it.
    pub is_fixed: bool,
    /// Among all contractions of the plan, in the order of the launches.
    pub number: usize,
}

struct Compiler<'p, F> {
    plan: &'p Plan,
    products: Products,
    function: &'p dyn Fn(KernelId) -> Option<F>,
    names: Vec<Name>,
    /// By buffer.
    passing: Vec<bool>,
    launch_count: usize,
    iterations: Vec<Origin>,
    contraction_count: usize,
}

/// `function` gives the code of each kernel. Errors: [`Error::Plan`] for a malformed plan, and for products of tf32, which no processor has.
pub fn compile<F>(
    plan: &Plan,
    products: Products,
    function: &dyn Fn(KernelId) -> Option<F>,
) -> Result<Compiled<F>, Error> {
    let names: Vec<Name> = plan.sizes.iter().map(|s| s.name.clone()).collect();
    let passing = bdl_plan::passing(plan);
    let mut c = Compiler {
        plan,
        products,
        function,
        names,
        passing,
        launch_count: 0,
        iterations: Vec::new(),
        contraction_count: 0,
    };
    let kinds = plan
        .sizes
        .iter()
        .map(|s| {
            Ok(match &s.kind {
                SizeKind::Built => CompiledKind::Built,
                SizeKind::Batch => CompiledKind::Batch,
                SizeKind::Total(dim) => CompiledKind::Total(c.size(dim)?),
                SizeKind::PerExample => CompiledKind::PerExample,
                SizeKind::Step => CompiledKind::Step,
                SizeKind::Running => CompiledKind::Running,
            })
        })
        .collect::<Result<_, Error>>()?;
    let buffers = plan.buffers.iter().map(|b| c.buffer(b)).collect::<Result<_, _>>()?;
    let slots = plan.slots.iter().map(|s| c.size(s)).collect::<Result<_, _>>()?;
    let mut launches = c.launches(&plan.launches)?;
    mark_fixed(&plan.launches, &mut launches, &[]);
    let groups = bdl_plan::blocks::groups(plan).map_err(Error::Plan)?;
    let groups = groups.into_iter().map(|group| c.group(group)).collect::<Result<_, _>>()?;
    let Compiler { names, launch_count, iterations, contraction_count, .. } = c;
    let kept_slots = bdl_plan::kept_slots(plan);
    Ok(Compiled {
        names,
        kinds,
        buffers,
        slots,
        kept_slots,
        launches,
        groups,
        launch_count,
        iterations,
        contraction_count,
    })
}

impl<F> Compiler<'_, F> {
    fn size(&self, dim: &Dim) -> Result<Size, Error> {
        Size::new(dim, &self.names)
    }

    fn id(&self, buffer: BufferId) -> Result<usize, Error> {
        let at = buffer.0 as usize;
        if at < self.plan.buffers.len() { Ok(at) } else { Err(Error::Plan(format!("buffer {at} does not exist"))) }
    }

    fn buffer(&self, buffer: &bdl_plan::Buffer) -> Result<CompiledBuffer, Error> {
        let table = match &buffer.place {
            Place::Param | Place::State | Place::Input { .. } | Place::Blocks | Place::Literal(_) => None,
            Place::Slot(slot) => {
                if slot.0 as usize >= self.plan.slots.len() {
                    return Err(Error::Plan(format!("slot {} does not exist", slot.0)));
                }
                None
            }
            Place::Table(table) => Some(match table {
                Table::Lengths(dim) => CompiledTable::Lengths(self.size(dim)?),
                Table::Offsets(dim) => CompiledTable::Offsets(self.size(dim)?),
                Table::Owner(dim) => CompiledTable::Owner(self.size(dim)?),
                Table::SortedBy { keys } => {
                    CompiledTable::SortedBy { keys: self.id(*keys)?, groups: self.groups_of(*keys)? }
                }
                Table::Runs { keys, groups } => {
                    CompiledTable::Runs { keys: self.id(*keys)?, groups: self.groups(groups)? }
                }
                Table::Positions => CompiledTable::Positions,
            }),
        };
        Ok(CompiledBuffer {
            dtype: buffer.dtype,
            len: self.size(&buffer.len)?,
            // Shapes are for reports and may name sizes of examples.
            shape: buffer.shape.iter().map(|d| self.size(d)).collect::<Result<_, _>>().unwrap_or_default(),
            each: self.size(&buffer.shape.get(1..).unwrap_or_default().iter().cloned().product()).ok(),
            table,
        })
    }

    /// The groups that the runs over these keys have; sorted keys and runs must agree.
    fn groups_of(&self, keys: BufferId) -> Result<Groups, Error> {
        self.plan.groups_of(keys).map_or(Ok(Groups::Unknown), |groups| self.groups(groups))
    }

    fn groups(&self, groups: &Dim) -> Result<Groups, Error> {
        match self.plan.groups_of_each(groups) {
            Some(own) => Ok(Groups::PerExample(self.size(&own)?)),
            None => Ok(Groups::Shared(self.size(groups)?)),
        }
    }

    fn launches(&mut self, launches: &[Launch]) -> Result<Vec<CompiledLaunch<F>>, Error> {
        launches
            .iter()
            .map(|launch| {
                let number = self.launch_count;
                self.launch_count += 1;
                Ok(CompiledLaunch { number, op: self.op(&launch.op, &launch.origin)? })
            })
            .collect()
    }

    fn running(&self, running: &Option<Running>) -> Result<Option<CompiledRunning>, Error> {
        let Some(running) = running else { return Ok(None) };
        Ok(Some(CompiledRunning { order: self.id(running.order)?, count: self.position(&running.count)? }))
    }

    fn op(&mut self, op: &Op, origin: &Origin) -> Result<CompiledOp<F>, Error> {
        Ok(match op {
            Op::Kernel(kernel) => CompiledOp::Kernel(self.kernel_use(kernel)?),
            Op::Contract(contraction) => CompiledOp::Contract(Box::new(self.contraction(contraction)?)),
            Op::Draw(draw) => CompiledOp::Draw {
                out: self.id(draw.out)?,
                distribution: draw.distribution,
                site: draw.site,
                steps: draw.steps.iter().map(|step| self.position(step)).collect::<Result<_, _>>()?,
                per_example: draw.per_example.as_ref().map(|d| self.size(d)).transpose()?,
                offsets: draw.offsets.map(|table| self.id(table)).transpose()?,
            },
            Op::Copy { from, to } => CompiledOp::Copy { from: self.id(*from)?, to: self.id(*to)? },
            Op::Clear { buffer } => CompiledOp::Clear { buffer: self.id(*buffer)? },
            Op::Scan(scan) => {
                let step = self.position(&scan.step)?;
                let mut body = self.launches(&scan.body)?;
                let running = self.running(&scan.running)?;
                let changing: Vec<usize> = [step].into_iter().chain(running.as_ref().map(|r| r.count)).collect();
                mark_fixed(&scan.body, &mut body, &changing);
                self.look_ahead(scan, step, &mut body)?;
                let ends = match scan.ends {
                    None => None,
                    Some(Ends::After(steps)) => Some(CompiledEnds::After { steps: self.id(steps)? }),
                    Some(Ends::When { until, steps }) => {
                        Some(CompiledEnds::When { until: self.id(until)?, steps: self.id(steps)? })
                    }
                };
                let (extent, reversed) = (self.size(&scan.extent)?, scan.reversed);
                CompiledOp::Scan { step, extent, reversed, running, ends, body }
            }
            Op::Order { out, by } => CompiledOp::Order { out: self.id(*out)?, by: self.size(by)? },
            Op::Iterate(iterate) => {
                self.iterations.push(origin.clone());
                CompiledOp::Iterate(Box::new(CompiledIterate {
                    number: self.iterations.len() - 1,
                    step: self.position(&iterate.step)?,
                    at_most: self.size(&iterate.at_most)?,
                    running: self.running(&iterate.running)?,
                    condition: self.launches(&iterate.condition)?,
                    until: self.id(iterate.until)?,
                    body: self.launches(&iterate.body)?,
                }))
            }
            Op::Sort(sort) => CompiledOp::Sort {
                out: self.id(sort.out)?,
                input: self.id(sort.input)?,
                offsets: sort.offsets.map(|table| self.id(table)).transpose()?,
                rows: self.size(&sort.rows)?,
                columns: self.size(&sort.columns)?,
                descending: sort.descending,
            },
            Op::Library { routine, out, inputs, rows, columns } => {
                let [input] = inputs.as_slice() else {
                    return Err(Error::Plan(format!("{routine:?} has {} inputs", inputs.len())));
                };
                CompiledOp::Library {
                    routine: *routine,
                    out: self.id(*out)?,
                    input: self.id(*input)?,
                    rows: self.size(rows)?,
                    columns: self.size(columns)?,
                }
            }
        })
    }

    fn group(&self, group: Group) -> Result<CompiledGroup, Error> {
        let is_sum = |(launch, member): (&Launch, &Member)| match &launch.op {
            Op::Contract(c) => c.axes[member.rows].role == AxisRole::K,
            Op::Kernel(_)
            | Op::Draw(_)
            | Op::Copy { .. }
            | Op::Clear { .. }
            | Op::Order { .. }
            | Op::Scan(_)
            | Op::Iterate(_)
            | Op::Sort(_)
            | Op::Library { .. } => false,
        };
        Ok(CompiledGroup {
            sums_rows: self.plan.launches[group.launches.clone()].iter().zip(&group.members).any(is_sum),
            launches: group.launches,
            matrices: group.matrices.iter().map(|extent| self.size(extent)).collect::<Result<_, _>>()?,
            rows: self.size(&group.rows)?,
            buffers: group
                .buffers
                .iter()
                .map(|(buffer, columns)| Ok((self.id(*buffer)?, self.size(columns)?)))
                .collect::<Result<_, Error>>()?,
            members: group.members,
        })
    }

    fn position(&self, name: &Name) -> Result<usize, Error> {
        self.names
            .iter()
            .position(|n| n == name)
            .ok_or_else(|| Error::Plan(format!("the size `{name}` is not declared")))
    }

    fn slice(&self, slice: &bdl_plan::Slice) -> Result<(usize, Size), Error> {
        Ok((self.id(slice.buffer)?, self.size(&slice.offset)?))
    }

    fn kernel_use(&mut self, used: &KernelUse) -> Result<CompiledUse<F>, Error> {
        let missing = || Error::Plan(format!("kernel {} does not exist", used.kernel.0));
        let kernel = self.plan.kernels.get(used.kernel.0 as usize).ok_or_else(missing)?;
        let function = (self.function)(used.kernel).ok_or_else(missing)?;
        if kernel.buffers.len() != used.buffers.len() {
            return Err(Error::Plan(format!("kernel `{}` is given {} buffers", kernel.name, used.buffers.len())));
        }
        Ok(CompiledUse {
            function,
            buffers: used.buffers.iter().map(|s| self.slice(s)).collect::<Result<_, _>>()?,
            sizes: kernel.sizes.iter().map(|n| self.position(n)).collect::<Result<_, _>>()?,
            grid: self.size(&kernel.grid)?,
            cost: self.size(&cost(kernel))?,
            lanes: kernel.grid_mode == LoopMode::Lanes,
            is_uneven: is_uneven(&kernel.body),
        })
    }

    /// What a kernel goes through row by row, but for a buffer that is in cache.
    fn beside(&self, used: &KernelUse, in_cache: Option<BufferId>) -> Result<Vec<CompiledRows>, Error> {
        let mut all = Vec::new();
        for rows in self.plan.kernels.get(used.kernel.0 as usize).map(beside::rows).unwrap_or_default() {
            let Some(slice) = used.buffers.get(rows.buffer) else { continue };
            if Some(slice.buffer) == in_cache {
                continue;
            }
            let (buffer, offset) = self.slice(slice)?;
            let pieces = rows.pieces.iter().map(|(at, len)| Ok((self.size(at)?, self.size(len)?)));
            let pieces = pieces.collect::<Result<_, Error>>()?;
            all.push(CompiledRows { buffer, offset, stride: self.size(&rows.stride)?, pieces });
        }
        Ok(all)
    }

    /// Gives each product of a loop's body that has no epilogue the rows of the kernel that comes next, at last the first one of the next step.
    fn look_ahead(&self, scan: &Scan, step: usize, body: &mut [CompiledLaunch<F>]) -> Result<(), Error> {
        let extent = self.size(&scan.extent)?;
        let kernel = |launch: &Launch| match &launch.op {
            Op::Kernel(used) => self.beside(used, None).map(Some),
            Op::Contract(_)
            | Op::Draw(_)
            | Op::Copy { .. }
            | Op::Clear { .. }
            | Op::Sort(_)
            | Op::Library { .. }
            | Op::Order { .. }
            | Op::Scan(_)
            | Op::Iterate(_) => Ok(None),
        };
        let mut rows = scan.body.iter().map(kernel).collect::<Result<Vec<_>, _>>()?;
        // What is the same place in every step is in cache.
        for rows in rows.iter_mut().flatten() {
            rows.retain(|r| r.offset.mentions(step) || r.pieces.iter().any(|(at, _)| at.mentions(step)));
        }
        let known = |rows: &&Option<Vec<CompiledRows>>| rows.as_ref().is_some_and(|rows| !rows.is_empty());
        for (at, launch) in body.iter_mut().enumerate() {
            let CompiledOp::Contract(c) = &mut launch.op else { continue };
            if c.epilogue.is_some() {
                continue;
            }
            let (before, after) = rows.split_at(at);
            let here = after.iter().find(known).cloned().flatten();
            let by = if scan.reversed { -1 } else { 1 };
            match (here, before.iter().find(known).cloned().flatten()) {
                (Some(rows), _) => c.beside = rows,
                (None, Some(rows)) => {
                    c.beside = rows;
                    c.beside_next = Some(NextStep { step, by, extent: extent.clone() });
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn contraction(&mut self, c: &Contraction) -> Result<CompiledContraction<F>, Error> {
        if c.axes.len() >= MAX_AXES || c.clips.len() > MAX_CLIPS {
            return Err(Error::Plan(format!("a contraction with {} axes and {} clips", c.axes.len(), c.clips.len())));
        }
        let mut axes = c
            .axes
            .iter()
            .map(|axis| {
                Ok(FormAxis {
                    role: axis.role,
                    extent: self.size(&axis.extent)?,
                    out: self.size(&axis.out)?,
                    a: self.size(&axis.a)?,
                    b: self.size(&axis.b)?,
                    offsets: match axis.offsets.map(bdl_plan::Tables::all) {
                        None => None,
                        Some([out, a, b]) => Some([self.id(out)?, self.id(a)?, self.id(b)?]),
                    },
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let mut clips = c
            .clips
            .iter()
            .map(|clip| {
                let terms = clip.terms.iter().map(|(axis, k)| (*axis as usize, *k)).collect::<Vec<_>>();
                if terms.iter().any(|(axis, _)| *axis >= c.axes.len()) {
                    return Err(Error::Plan("a clip of an axis that does not exist".to_string()));
                }
                Ok(FormClip { terms, offset: self.size(&clip.offset)?, extent: self.size(&clip.extent)? })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let (out, a, b) = (self.slice(&c.out)?, self.slice(&c.a)?, self.slice(&c.b)?);
        let dtype = self.plan.buffers[out.0].dtype;
        for operand in [out.0, a.0, b.0] {
            let found = self.plan.buffers[operand].dtype;
            if found != dtype || !matches!(found, DType::F32 | DType::F64) {
                return Err(Error::Plan(format!("a contraction of {found:?} into {dtype:?}")));
            }
        }
        let factors = match (dtype, self.products) {
            (DType::F64, _) => Factors::F64,
            (_, Products::Exact) => Factors::F32,
            (_, Products::Bf16) => Factors::Bf16,
            (_, Products::Tf32) => return Err(Error::Plan("products of tf32 on a processor".to_string())),
        };
        if factors == Factors::Bf16 {
            sum_along_left(c, &mut axes, &mut clips);
        }
        let winograd = match c.algorithm {
            Algorithm::AsWritten => None,
            Algorithm::Winograd if factors == Factors::Bf16 => None,
            Algorithm::Winograd => {
                let wrong = || Error::Plan("Winograd's algorithm for what is no convolution of an image".to_string());
                Some(image::image(c).ok_or_else(wrong)?)
            }
        };
        let is_passing = self.passing[out.0] && c.epilogue.is_some();
        let beside = match &c.epilogue {
            Some(used) => self.beside(used, Some(c.out.buffer))?,
            None => Vec::new(),
        };
        self.contraction_count += 1;
        Ok(CompiledContraction {
            number: self.contraction_count - 1,
            factors,
            out,
            a,
            b,
            form: Form { axes, clips, accumulate: c.accumulate },
            epilogue: c.epilogue.as_ref().map(|e| self.kernel_use(e)).transpose()?,
            winograd,
            beside,
            beside_next: None,
            is_passing,
            is_fixed: false,
        })
    }
}

/// Pairs of steps are made of neighbours: the axis of the sum whose steps lie side by side in the left operand becomes the innermost. (In the
/// gradient of a convolution by its input the plan has the taps there.)
fn sum_along_left(c: &Contraction, axes: &mut Vec<FormAxis>, clips: &mut [FormClip]) {
    let is_neighbour = |axis: &ContractionAxis| axis.role == AxisRole::K && axis.a.as_const() == Some(1);
    let Some(at) = c.axes.iter().rposition(is_neighbour) else { return };
    let axis = axes.remove(at);
    axes.push(axis);
    let last = axes.len() - 1;
    for (axis, _) in clips.iter_mut().flat_map(|clip| &mut clip.terms) {
        *axis = match *axis {
            moved if moved == at => last,
            behind if behind > at => behind - 1,
            before => before,
        };
    }
}

/// Marks the contractions of a plan or of a loop's body, not those of loops inside, whose right operand nothing there writes or moves.
fn mark_fixed<F>(launches: &[Launch], body: &mut [CompiledLaunch<F>], changing: &[usize]) {
    let mut written = Vec::new();
    launches.iter().for_each(|launch| writes(&launch.op, &mut written));
    for launch in body {
        let CompiledOp::Contract(c) = &mut launch.op else { continue };
        let moves = |size: &Size| changing.iter().any(|at| size.mentions(*at));
        let right = c.form.axes.iter().filter(|axis| matches!(axis.role, AxisRole::N | AxisRole::K));
        let same_sizes = right.clone().all(|axis| !moves(&axis.extent) && !moves(&axis.b));
        c.is_fixed = same_sizes && !moves(&c.b.1) && !written.contains(&(c.b.0 as u32)) && c.form.ragged().is_none();
    }
}

/// The buffers that an operation writes, or may write.
fn writes(op: &Op, all: &mut Vec<u32>) {
    let kernel = |used: &KernelUse| used.buffers.iter().map(|slice| slice.buffer.0).collect::<Vec<_>>();
    match op {
        // Also what it only reads: a kernel's right operand is seldom a contraction's.
        Op::Kernel(used) => all.extend(kernel(used)),
        Op::Contract(c) => {
            all.push(c.out.buffer.0);
            all.extend(c.epilogue.iter().flat_map(kernel));
        }
        Op::Draw(draw) => all.push(draw.out.0),
        Op::Copy { to, .. } => all.push(to.0),
        Op::Clear { buffer } => all.push(buffer.0),
        Op::Order { out, .. } => all.push(out.0),
        Op::Scan(scan) => {
            all.extend(scan.ends.iter().flat_map(|ends| ends.buffers()).map(|buffer| buffer.0));
            scan.body.iter().for_each(|launch| writes(&launch.op, all));
        }
        Op::Iterate(n) => {
            all.push(n.until.0);
            n.condition.iter().chain(&n.body).for_each(|launch| writes(&launch.op, all));
        }
        Op::Sort(sort) => all.push(sort.out.0),
        Op::Library { out, .. } => all.push(out.0),
    }
}

/// Do the kernel's rows have loops of lengths of their own?
fn is_uneven(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::Loop { from: Bound::Size(_), to: Bound::Size(_), body, .. } | Stmt::If { body, .. } => is_uneven(body),
        Stmt::Loop { .. } => true,
        Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } | Stmt::Store { .. } => {
            false
        }
    })
}

/// About how many simple operations a grid point of a kernel takes: to tell small launches, nothing more.
fn cost(kernel: &Kernel) -> Dim {
    /// Rounds of a loop whose bounds are data.
    const UNKNOWN: i64 = 32;
    fn body(stmts: &[Stmt]) -> Dim {
        stmts
            .iter()
            .map(|stmt| match stmt {
                Stmt::Loop { from, to, body: inner, .. } => {
                    let rounds = match (from, to) {
                        (Bound::Size(from), Bound::Size(to)) => to.clone() - from.clone(),
                        (Bound::Size(_) | Bound::Value(_), Bound::Size(_) | Bound::Value(_)) => Dim::from(UNKNOWN),
                    };
                    rounds * (body(inner) + Dim::one())
                }
                Stmt::If { body: inner, .. } => body(inner) + Dim::one(),
                Stmt::Let { .. }
                | Stmt::Variable { .. }
                | Stmt::Combine { .. }
                | Stmt::Assign { .. }
                | Stmt::Store { .. } => Dim::one(),
            })
            .sum()
    }
    body(&kernel.body)
}
