//! Which part of the machine runs what of a kernel.
//!
//! A plan is written for a few processor threads: its grid may be the examples, the rest loops. A GPU wants tens of thousands of points at
//! once, so loops whose iterations do not touch each other join the grid, outermost first:
//!
//! ```text
//! for b in B {                                 point p of B * 200 * 300, one thread each
//!   for t in 0..200 {                     ->   c = p % 300, t = p / 300 % 200, b = p / 300 / 200
//!     for c in 0..300 lanes { .. }
//! ```
//!
//! What is left decides who runs a point:
//!
//! | left in the body | points | a point is |
//! |---|---|---|
//! | no loop, or short ones | | a thread, which takes several neighbours where it can (`wide`) |
//! | a long reduction that no `Lanes` loop holds | few | a lane of several warps, which share the reduction |
//! | a `Lanes` loop | many | a warp |
//! | a `Lanes` loop | few | a block |
//!
//! **Bits.** The choice looks at the kernel alone, never at the sizes of a batch, so that an example has the same numbers in every batch.

use bdl_dims::Dim;
use bdl_plan::{Access, Address, AddressTerm, BinaryOp, Bound, Kernel, LoopIndex, LoopMode, Stmt, ValueOp, VariableId};

/// What a size that is known only at run time is taken for.
pub const TYPICAL: i64 = 32;
/// Fewer points than this leave a processor of a hundred multiprocessors idle when each is one thread.
const FEW_THREADS: i64 = 1 << 16;
/// Fewer than this, when each is a warp.
const FEW_WARPS: i64 = 1 << 10;
/// Reductions over fewer elements are not worth sharing.
const LONG: i64 = 16;
/// Blocks that keep a GPU busy.
const BLOCKS: i64 = 512;
/// Blocks that share a reduction, at most: the last one adds up what all found.
const MOST_PARTS: i64 = 64;

/// What runs a grid point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Thread,
    /// The threads of so many warps that have the same lane, in so many blocks: each takes its part of the long reductions.
    Column {
        warps: u32,
        parts: u32,
    },
    Warp,
    Block,
}

pub struct Mapping {
    /// Loops under the grid that join it, outermost first.
    pub folded: Vec<LoopIndex>,
    /// Points for each index of the plan's grid.
    pub along: Dim,
    pub point: Point,
    /// Reductions that the warps of a `Column` share.
    pub shared: Vec<LoopIndex>,
}

impl Mapping {
    pub fn of(kernel: &Kernel) -> Mapping {
        let mut folded = Vec::new();
        let mut along = Dim::one();
        let mut body = kernel.body.as_slice();
        while let Some((index, extent, inner)) = foldable(kernel, body) {
            folded.push(index);
            along = along * extent;
            body = inner;
        }
        let points = typical(&(kernel.grid.clone() * along.clone()));
        let has_lanes = any_lanes(body);
        let point = if has_lanes && kernel.grid_mode == LoopMode::Serial {
            if points < FEW_WARPS { Point::Block } else { Point::Warp }
        } else if points < FEW_THREADS && is_shared(body) {
            let warps = if points < FEW_THREADS / 16 { 16 } else { 8 };
            Point::Column { warps, parts: parts(body, points, i64::from(warps)) }
        } else {
            Point::Thread
        };
        let shared = match point {
            Point::Column { .. } => {
                body.iter().filter(|stmt| shared_extent(stmt).is_some()).filter_map(index_of).collect()
            }
            Point::Thread | Point::Warp | Point::Block => Vec::new(),
        };
        Mapping { folded, along, point, shared }
    }

    /// The indices that a point stands for and how many values each has, the innermost last.
    pub fn levels(&self, kernel: &Kernel) -> Vec<(LoopIndex, Dim)> {
        let mut levels = vec![(LoopIndex(0), kernel.grid.clone())];
        let mut body = kernel.body.as_slice();
        for index in &self.folded {
            if let Some(Stmt::Loop { to: Bound::Size(extent), body: inner, .. }) = body.last() {
                levels.push((*index, extent.clone()));
                body = inner;
            }
        }
        levels
    }

    /// Of each of these indices: by how many points its next value is further.
    pub fn strides(&self, kernel: &Kernel) -> Vec<(LoopIndex, Dim)> {
        let mut stride = Dim::one();
        let mut strides = Vec::new();
        for (index, extent) in self.levels(kernel).into_iter().rev() {
            strides.push((index, stride.clone()));
            stride = stride * extent;
        }
        strides.reverse();
        strides
    }
}

/// How many blocks share a reduction: so many that each warp has a few iterations, and not more blocks than a GPU is glad of. Only one loop can be
/// shared so, since all blocks but the last of a group end with it.
fn parts(body: &[Stmt], points: i64, warps: i64) -> u32 {
    let own: Vec<i64> = body.iter().filter_map(iterations).collect();
    let [own] = own.as_slice() else { return 1 };
    let groups = (points + i64::from(super::WARP) - 1) / i64::from(super::WARP);
    (own / (warps * 8)).min(BLOCKS / groups).clamp(1, MOST_PARTS) as u32
}

/// Is there a long reduction for warps to share, and nothing stored before the last that they share?
fn is_shared(body: &[Stmt]) -> bool {
    let shared: Vec<Option<i64>> = body.iter().map(shared_extent).collect();
    let last = shared.iter().rposition(Option::is_some).unwrap_or(0);
    shared.iter().flatten().any(|extent| *extent >= LONG) && stores(&body[..last]).is_empty()
}

fn index_of(stmt: &Stmt) -> Option<LoopIndex> {
    if let Stmt::Loop { index, .. } = stmt { Some(*index) } else { None }
}

/// About how many.
pub fn typical(dim: &Dim) -> i64 {
    dim.eval(&|_| Some(TYPICAL)).unwrap_or(i64::MAX).max(1)
}

fn any_lanes(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::Loop { mode, body, .. } => *mode == LoopMode::Lanes || any_lanes(body),
        Stmt::If { body, .. } => any_lanes(body),
        Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } | Stmt::Store { .. } => {
            false
        }
    })
}

/// About how many iterations a loop has, and those of the loops inside, if several warps can share it: it only combines into variables from
/// outside.
pub fn shared_extent(stmt: &Stmt) -> Option<i64> {
    let own = iterations(stmt)?;
    let Stmt::Loop { body, .. } = stmt else { return None };
    let inside: i64 = body
        .iter()
        .filter_map(|stmt| match stmt {
            Stmt::Loop { from: Bound::Size(from), to: Bound::Size(to), .. } => Some(typical(to) - typical(from)),
            Stmt::Loop { .. } => Some(TYPICAL),
            Stmt::Let { .. }
            | Stmt::Variable { .. }
            | Stmt::Combine { .. }
            | Stmt::Assign { .. }
            | Stmt::Store { .. }
            | Stmt::If { .. } => None,
        })
        .sum();
    Some(own.saturating_mul(inside.max(1)))
}

/// About how many iterations of its own a loop has that several warps can share.
fn iterations(stmt: &Stmt) -> Option<i64> {
    let Stmt::Loop { from, to, mode: LoopMode::Serial, body, .. } = stmt else { return None };
    let outer = outer_variables(body);
    let only_combines = !outer.is_empty() && outer.iter().all(|(_, combines)| *combines) && stores(body).is_empty();
    let own = match (from, to) {
        (Bound::Size(_), Bound::Size(to)) => typical(to),
        (Bound::Size(_) | Bound::Value(_), _) => TYPICAL * TYPICAL,
    };
    // So that every warp has a part.
    (only_combines && own >= 16).then_some(own)
}

/// Variables from outside of a body that it changes, and whether only by combining.
fn outer_variables(body: &[Stmt]) -> Vec<(VariableId, bool)> {
    fn visit(body: &[Stmt], own: &mut Vec<VariableId>, found: &mut Vec<(VariableId, bool)>) {
        for stmt in body {
            let (variable, combines) = match stmt {
                Stmt::Variable { variable, .. } => {
                    own.push(*variable);
                    continue;
                }
                Stmt::Loop { body, .. } | Stmt::If { body, .. } => {
                    visit(body, own, found);
                    continue;
                }
                Stmt::Let { .. } | Stmt::Store { .. } => continue,
                Stmt::Combine { variable, .. } => (*variable, true),
                Stmt::Assign { variable, .. } => (*variable, false),
            };
            if !own.contains(&variable) {
                match found.iter_mut().find(|(known, _)| *known == variable) {
                    Some((_, all)) => *all &= combines,
                    None => found.push((variable, combines)),
                }
            }
        }
    }
    let (mut own, mut found) = (Vec::new(), Vec::new());
    visit(body, &mut own, &mut found);
    found
}

pub fn stores(body: &[Stmt]) -> Vec<(u32, &Address)> {
    let mut found = Vec::new();
    for stmt in body {
        match stmt {
            Stmt::Store { buffer, at, .. } => found.push((*buffer, at)),
            Stmt::Loop { body, .. } | Stmt::If { body, .. } => found.extend(stores(body)),
            Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } => {}
        }
    }
    found
}

pub fn loads(body: &[Stmt]) -> Vec<(u32, &Address)> {
    let mut found = Vec::new();
    for stmt in body {
        match stmt {
            Stmt::Let { op: ValueOp::Load { buffer, at, .. }, .. } => found.push((*buffer, at)),
            Stmt::Loop { body, .. } | Stmt::If { body, .. } => found.extend(loads(body)),
            Stmt::Let { .. }
            | Stmt::Variable { .. }
            | Stmt::Combine { .. }
            | Stmt::Assign { .. }
            | Stmt::Store { .. } => {}
        }
    }
    found
}

/// The loop that a body ends with, if every iteration can be a point of its own.
fn foldable<'k>(kernel: &Kernel, body: &'k [Stmt]) -> Option<(LoopIndex, Dim, &'k [Stmt])> {
    let (last, before) = body.split_last()?;
    let Stmt::Loop { index, from: Bound::Size(from), to: Bound::Size(extent), mode, body: inner } = last else {
        return None;
    };
    if !from.is_zero() || !before.iter().all(|stmt| is_cheap(kernel, stmt)) || !outer_variables(inner).is_empty() {
        return None;
    }
    match mode {
        LoopMode::Lanes => {}
        LoopMode::Serial if is_apart(kernel, inner, (*index, extent)) => {}
        LoopMode::Serial => return None,
    }
    Some((*index, extent.clone(), inner))
}

/// What every point can as well compute for itself. Nothing that another point may store.
fn is_cheap(kernel: &Kernel, stmt: &Stmt) -> bool {
    let Stmt::Let { op, .. } = stmt else { return false };
    match op {
        ValueOp::Const(_) | ValueOp::Size(_) | ValueOp::Index(_) | ValueOp::Convert(_) | ValueOp::Compare(..) => true,
        ValueOp::Select(..) => true,
        ValueOp::Load { buffer, .. } => kernel.buffers[*buffer as usize].access == Access::Read,
        ValueOp::Binary(op, _, _) => match op {
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Min | BinaryOp::Max => true,
            BinaryOp::And | BinaryOp::Or => true,
            BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Rem | BinaryOp::Pow => false,
        },
        ValueOp::Unary(..) | ValueOp::Variable(_) => false,
    }
}

/// Do different iterations of a loop store to different places, and read nothing that another one stores?
fn is_apart(kernel: &Kernel, body: &[Stmt], of: (LoopIndex, &Dim)) -> bool {
    let stores = stores(body);
    let mut inner = Vec::new();
    inner_loops(body, &mut inner);
    // Places in one buffer that differ by a number only: the elements of an iteration.
    let spread = |buffer: u32| {
        let offsets = stores.iter().filter(|(other, _)| *other == buffer).map(|(_, at)| at.offset.clone());
        let offsets: Vec<i64> =
            offsets.map(|offset| (offset - stores_first(&stores, buffer)).as_const()).collect::<Option<_>>()?;
        Some(offsets.iter().max()? - offsets.iter().min()?)
    };
    let all_apart =
        stores.iter().all(|(buffer, at)| spread(*buffer).is_some_and(|spread| steps_over(at, of, spread, &inner)));
    let own = loads(body).into_iter().all(|(buffer, at)| {
        kernel.buffers[buffer as usize].access == Access::Read
            || stores.iter().all(|(stored, to)| *stored != buffer || *to == at)
    });
    let one_form =
        stores.iter().all(|(buffer, at)| stores.iter().all(|(other, to)| other != buffer || to.terms == at.terms));
    all_apart && own && one_form && !stores.is_empty()
}

fn stores_first(stores: &[(u32, &Address)], buffer: u32) -> Dim {
    stores.iter().find(|(other, _)| *other == buffer).map_or_else(Dim::zero, |(_, at)| at.offset.clone())
}

fn inner_loops(body: &[Stmt], found: &mut Vec<(LoopIndex, Option<Dim>)>) {
    for stmt in body {
        match stmt {
            Stmt::Loop { index, from, to, body, .. } => {
                let extent = match (from, to) {
                    (Bound::Size(from), Bound::Size(to)) if from.is_zero() => Some(to.clone()),
                    (_, _) => None,
                };
                found.push((*index, extent));
                inner_loops(body, found);
            }
            Stmt::If { body, .. } => inner_loops(body, found),
            Stmt::Let { .. }
            | Stmt::Variable { .. }
            | Stmt::Combine { .. }
            | Stmt::Assign { .. }
            | Stmt::Store { .. } => {}
        }
    }
}

/// Does a step of the loop lead over all places that the loops inside reach in one iteration, `spread` apart at the most? The loops around stay
/// where they are.
fn steps_over(
    at: &Address,
    (index, extent): (LoopIndex, &Dim),
    spread: i64,
    inner: &[(LoopIndex, Option<Dim>)],
) -> bool {
    let mut digits: Vec<(Dim, Dim)> = Vec::new();
    let mut own = None;
    for (term, stride) in &at.terms {
        let AddressTerm::Index(i) = term else { return false };
        if *i == index {
            own = Some(stride.clone());
        } else if let Some((_, extent)) = inner.iter().find(|(known, _)| known == i) {
            let Some(extent) = extent else { return false };
            digits.push((stride.clone(), extent.clone()));
        }
    }
    let Some(own) = own else { return extent.as_const() == Some(1) };
    // Shorter steps first. Those that are longer than the loop's own must lead over all of it.
    digits.sort_by_key(|(stride, _)| (stride.as_const().is_none(), typical(stride)));
    let longer = |(stride, _): &(Dim, Dim)| {
        (stride.as_const().is_none(), typical(stride)) > (own.as_const().is_none(), typical(&own))
    };
    let at = digits.iter().position(longer).unwrap_or(digits.len());
    digits.insert(at, (own.clone(), extent.clone()));
    let mut reach = Dim::from(1 + spread);
    for (i, (stride, extent)) in digits.into_iter().enumerate() {
        let numbers = (stride.as_const(), extent.as_const(), reach.as_const());
        let leads_over = match numbers {
            (Some(stride), _, Some(reach)) => stride >= reach,
            (_, _, _) => stride == reach,
        };
        if i >= at && !leads_over {
            return false;
        }
        reach = match numbers {
            (Some(stride), Some(extent), Some(reach)) if stride >= 0 => Dim::from(stride * (extent - 1) + reach),
            (_, _, _) if leads_over => stride * extent,
            (_, _, _) => return false,
        };
    }
    true
}

/// Does a grid of this size leave most of a GPU idle, when each of its points is a warp?
pub fn is_few_points(grid: &Dim) -> bool {
    typical(grid) < FEW_WARPS
}

/// For every loop of which a reduction goes to several accumulators: how many, and how many of them are joined first. Those of a `Lanes` loop are
/// joined by halves in each warp, all others in order.
pub fn accumulators(kernel: &Kernel) -> Vec<(LoopIndex, usize, usize)> {
    fn lanes(body: &[Stmt], count: usize, found: &mut Vec<(LoopIndex, usize, usize)>) {
        for stmt in body {
            match stmt {
                Stmt::Loop { index, mode: LoopMode::Lanes, .. } => found.push((*index, count, super::WARP as usize)),
                Stmt::Loop { mode: LoopMode::Serial, body, .. } | Stmt::If { body, .. } => lanes(body, count, found),
                Stmt::Let { .. }
                | Stmt::Variable { .. }
                | Stmt::Combine { .. }
                | Stmt::Assign { .. }
                | Stmt::Store { .. } => {}
            }
        }
    }
    let mut found = Vec::new();
    for piece in crate::fission::pieces(kernel) {
        let mapping = Mapping::of(&piece);
        match mapping.point {
            Point::Thread => {}
            Point::Column { warps, parts } => {
                found.extend(mapping.shared.iter().map(|index| (*index, (warps * parts) as usize, warps as usize)));
            }
            Point::Warp => lanes(&piece.body, super::WARP as usize, &mut found),
            Point::Block => lanes(&piece.body, super::THREADS as usize, &mut found),
        }
    }
    found
}

impl Point {
    /// Threads a block.
    pub fn threads(self) -> u32 {
        match self {
            Point::Thread | Point::Warp | Point::Block => super::THREADS,
            Point::Column { warps, .. } => warps * super::WARP,
        }
    }

    /// Points a block.
    pub fn points(self) -> u32 {
        match self {
            Point::Thread => super::THREADS,
            Point::Warp => super::THREADS / super::WARP,
            Point::Column { .. } => super::WARP,
            Point::Block => 1,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Point::Thread => "thread",
            Point::Column { .. } => "lane of a block's warps",
            Point::Warp => "warp",
            Point::Block => "block",
        }
    }
}
