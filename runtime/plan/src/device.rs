//! Kernels as PTX text: what the back end for GPUs hands to the executor.
//!
//! ```text
//! launches of the plan                 code
//! run relu_bias(h, b)          ->      entry `kernel$relu_bias`, 256 threads a block, one grid point a thread
//! contract h = x * w           ->      entry `contract$h`, 256 threads a block, 64 x 64 results a block
//! draw noise                   ->      entry `draw_normal_f32`, 256 threads a block, 4 elements of an example a thread
//! ```
//!
//! The executor knows neither what stands in the text nor how it came to be: it fills in the arguments and counts the blocks.

use crate::data::{BufferId, Contraction, DType, Distribution, KernelId, Launch, Name, Op, Plan, Slice};
use bdl_dims::Dim;
use std::sync::Arc;

/// The code of a plan.
#[derive(Clone, Debug, Default)]
pub struct DeviceCode {
    /// By [`KernelId`]: the functions of a kernel, in the order in which they run.
    pub kernels: Vec<Vec<DeviceKernel>>,
    /// In the order of [`contractions`]; none for those that run inside of a recurrence alone.
    pub contractions: Vec<Option<DeviceKernel>>,
    /// For each way in which the plan draws.
    pub draws: Vec<((Distribution, DType), DeviceKernel)>,
    /// Scans that are one function each, by the number of their launch in the order of [`each_launch`]. Nothing of their bodies is launched.
    pub recurrences: Vec<(usize, Recurrence)>,
}

/// A scan as one function: every block takes some rows through all steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrence {
    /// Run before it.
    pub packs: Vec<Pack>,
    pub function: DeviceKernel,
    /// The function's buffers in order; behind them are the copies that `packs` make, and the order of the running rows where there is one.
    pub buffers: Vec<BufferId>,
    /// How many rows there are: the points of the launch.
    pub rows: Dim,
}

/// Weights that are laid out anew before the first step.
#[derive(Clone, Debug, PartialEq)]
pub struct Pack {
    pub from: Slice,
    /// Its buffers are the weights and the copy.
    pub kernel: DeviceKernel,
    /// Of the copy (f32): the points of the launch.
    pub elements: u32,
}

/// One function of a module of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceKernel {
    /// The function's name in the module.
    pub entry: Name,
    /// The module: PTX text. Equal kernels have equal texts but for comments.
    pub text: Arc<str>,
    /// One for each parameter of the function, in order.
    pub arguments: Vec<Argument>,
    /// Threads a block, in one dimension.
    pub threads: u32,
    /// Bytes of shared memory that a launch must ask for.
    pub shared: u32,
    /// Behind them, `shared_units` times so many bytes, or as many of them as a block can have: see [`Argument::SharedUnits`].
    pub shared_unit: u32,
    pub shared_units: u32,
    pub share: Share,
}

/// What a block computes: how many blocks there are follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Share {
    /// `each` points: blocks in one dimension. There are `along` points for each index of the launch's grid. So many blocks beside one another share
    /// the reductions of the same points; `bytes`: of what each found.
    Points { each: u32, along: Dim, parts: u32, bytes: u32 },
    /// So many rows and columns of a contraction's result. Blocks in x: for each element of the batch as many as the rows of the longest example
    /// need; in y: for the
    /// columns, and for the parts of each one's sum.
    /// `bytes`: of a tile's partial sums.
    Tile { rows: u32, columns: u32, parts: Parts, bytes: u32 },
}

/// How the sum of a contraction may be shared by blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Not at all.
    Whole,
    /// Always in parts of so many elements.
    Fixed { length: u32 },
    /// As a whole, or in parts of `unit` elements: the bits are the same.
    Each { unit: u32 },
    /// In parts of any multiple of `unit` elements, so that there are about `enough` blocks.
    Any { unit: u32, enough: u32 },
}

impl Parts {
    /// Parts that one block puts together, if there are no more; else each group of so many has a block that does, and then one does the groups'.
    pub const AT_ONCE: u32 = 16;
    pub const OF_GROUP: u32 = 12;

    /// May sums of groups be added, or only part to part in order?
    pub fn may_be_grouped(self) -> bool {
        match self {
            Parts::Whole | Parts::Each { .. } => false,
            Parts::Fixed { .. } | Parts::Any { .. } => true,
        }
    }

    /// Counters that a tile needs, of which so many blocks share the sum: one for each group, and one for the groups.
    pub fn counters(self, parts: u32) -> u32 {
        if self.may_be_grouped() && parts > Parts::AT_ONCE { parts.div_ceil(Parts::OF_GROUP) + 1 } else { 1 }
    }
}

/// The first of a contraction's buffers that are its epilogue's.
pub const OF_EPILOGUE: u32 = 6;

/// A parameter of a function. Addresses and numbers have 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// The address of buffer number i of the launch, moved to its slice. Of a contraction: 0 is the result, 1 and 2 the operands, 3 to 5 their tables of
    /// a ragged axis, and from [`OF_EPILOGUE`] on those of its epilogue, if its code runs that too.
    Buffer(u32),
    /// The value of a size.
    Size(Name),
    /// The address of a per-example size's values: `I64[B]`.
    Lengths(Name),
    /// The number of points of a kernel, of elements of a draw.
    Grid,
    /// Of a contraction: the blocks for the rows of one element of the batch.
    RowBlocks,
    /// Of a contraction whose sum blocks share: in how many parts it is,
    Parts,
    /// how many elements of the sum a part has,
    PartLength,
    /// the address of room for the partial sums of all tiles,
    Partials,
    /// and that of a counter for each tile: `U32`, 0 before the launch and after it.
    Counters,
    /// The address of the moment of the run: `U64[2]`, its seed and its training step.
    Moment,
    /// The address of the examples' positions in the epoch: `I64[B]`.
    Positions,
    /// The site of a draw at the steps of the loops around it.
    Site,
    /// Elements an example of a draw, 0 where it is shared.
    PerExample,
    /// How many units of shared memory the launch has.
    SharedUnits,
}

impl DeviceKernel {
    /// How many units of shared memory a launch gets where a block may have `most` bytes.
    pub fn units_in(&self, most: u32) -> u32 {
        most.saturating_sub(self.shared).checked_div(self.shared_unit).map_or(0, |units| units.min(self.shared_units))
    }

    /// Bytes of shared memory of a launch there.
    pub fn shared_in(&self, most: u32) -> u32 {
        self.shared + self.shared_unit * self.units_in(most)
    }
}

/// All contractions of a plan: launches in order, those inside of a loop in its place.
pub fn contractions(plan: &Plan) -> Vec<(&Contraction, &Launch)> {
    let mut all = Vec::new();
    each_launch(&plan.launches, &mut |launch| {
        if let Op::Contract(contraction) = &launch.op {
            all.push((contraction, launch));
        }
    });
    all
}

/// Visits every launch; those inside of a loop after the loop itself.
pub fn each_launch<'p>(launches: &'p [Launch], visit: &mut impl FnMut(&'p Launch)) {
    for launch in launches {
        visit(launch);
        match &launch.op {
            Op::Scan(scan) => each_launch(&scan.body, visit),
            Op::Iterate(iterate) => {
                each_launch(&iterate.condition, visit);
                each_launch(&iterate.body, visit);
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

impl DeviceCode {
    pub fn kernel(&self, id: KernelId) -> Option<&[DeviceKernel]> {
        self.kernels.get(id.0 as usize).map(Vec::as_slice)
    }

    pub fn draw(&self, distribution: Distribution, dtype: DType) -> Option<&DeviceKernel> {
        self.draws.iter().find(|(of, _)| *of == (distribution, dtype)).map(|(_, kernel)| kernel)
    }

    /// Every function once.
    pub fn all(&self) -> impl Iterator<Item = &DeviceKernel> {
        let of_scans = self
            .recurrences
            .iter()
            .flat_map(|(_, made)| made.packs.iter().map(|pack| &pack.kernel).chain(std::iter::once(&made.function)));
        let draws = self.draws.iter().map(|(_, kernel)| kernel);
        self.kernels.iter().flatten().chain(self.contractions.iter().flatten()).chain(draws).chain(of_scans)
    }
}
