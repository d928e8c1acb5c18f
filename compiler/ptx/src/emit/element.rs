//! A kernel's body inside of another function: the epilogue of a contraction, for elements that the contraction has at hand.
//!
//! ```text
//! for row in 50 * B { for u in 0..200 lanes {      the function knows row, u and their flat number, and has sum[row, u] in registers
//!   %1 = load sum[row * 200 + u]               ->  %1 is that register
//!   %2 = load b[u]                                 ld.global.v4.f32 ..       as in a kernel of its own (`wide`)
//!   ..
//! ```
//!
//! Only a body that computes each element from what lies at fixed places beside it: no loops, no reductions, and of the result nothing but its own
//! element.

use super::live::most_live;
use super::mapping::{Mapping, Point, loads, stores};
use super::memory::is_flat;
use super::wide::{Wide, has_loops, is_long};
use super::{Emit, Emitter};
use crate::size::Sizes;
use crate::text::Writer;
use bdl_dims::Dim;
use bdl_plan::{Address, Kernel, LoopIndex, Stmt, ValueOp};

/// An epilogue that can stand inside of its contraction.
pub struct Element<'k> {
    kernel: &'k Kernel,
    mapping: Mapping,
    wide: Option<Wide>,
    /// Buffers of the kernel that are the result.
    is_result: Vec<bool>,
}

/// A place of the result: registers of 64 bits, and what the function has there, one value for each neighbour.
pub struct Place {
    pub row: String,
    pub column: String,
    /// `row * columns + column`.
    pub flat: String,
    pub result: Vec<String>,
}

impl<'k> Element<'k> {
    /// `is_aligned`: of each buffer, whether it begins at a multiple of sixteen bytes. `None`: the kernel has another form.
    pub fn of(kernel: &'k Kernel, is_result: Vec<bool>, is_aligned: &[bool]) -> Option<Element<'k>> {
        let mapping = Mapping::of(kernel);
        if mapping.point != Point::Thread || mapping.folded.len() != 1 || has_loops(&kernel.body, 1) {
            return None;
        }
        // What takes long, and many registers, is better shared by all threads than by those of a tile.
        if takes_long(&kernel.body) {
            return None;
        }
        let strides = mapping.strides(kernel);
        let is_own = |at: &Address| at.terms.len() == strides.len() && at.offset.is_zero() && is_flat(at, &strides);
        let of_result = |(buffer, _): &(u32, &Address)| is_result[*buffer as usize];
        let touched = [loads(&kernel.body), stores(&kernel.body)];
        let fits = touched.iter().flatten().filter(|access| of_result(access)).all(|(_, at)| is_own(at));
        if !fits || !reads_before_it_stores(&kernel.body, &is_result, &mut false) {
            return None;
        }
        let wide = [4, 2].into_iter().find_map(|count| Wide::within(kernel, &mapping, count, is_aligned));
        Some(Element { kernel, mapping, wide, is_result })
    }

    /// Elements side by side in a row that are taken together; rows have a multiple of so many.
    pub fn count(&self) -> u32 {
        self.wide.as_ref().map_or(1, |wide| wide.count as u32)
    }

    /// Rows and columns of the result, as the kernel sees it.
    pub fn extents(&self) -> Option<(Dim, Dim)> {
        match self.mapping.levels(self.kernel).as_slice() {
            [(_, rows), (_, columns)] => Some((rows.clone(), columns.clone())),
            [..] => None,
        }
    }

    /// Does it put something else in the place of every element?
    pub fn overwrites(&self) -> bool {
        let Some(Stmt::Loop { body, .. }) = self.kernel.body.last() else { return false };
        body.iter().any(|stmt| matches!(stmt, Stmt::Store { buffer, .. } if self.is_result[*buffer as usize]))
    }

    /// How many places are better taken together, of `rounds` in all: their loads are then all on their way before the first is waited for.
    /// `registers`: so many may be alive.
    pub fn together(&self, rounds: u32, registers: usize) -> u32 {
        let varies = vec![false; self.kernel.values.len()];
        let live = self.wide.as_ref().map_or_else(|| most_live(self.kernel, &varies, 1), |wide| wide.live(self.kernel));
        // An address is two.
        let each = live + 2 * self.kernel.buffers.len();
        let fits = |places: &u32| rounds.is_multiple_of(*places) && *places as usize * each <= registers;
        [4, 2].into_iter().find(fits).unwrap_or(1)
    }

    /// The code of `count` elements at each of several places, statement by statement. `buffers`: registers of the addresses.
    pub fn code(&self, w: &mut Writer, sizes: &mut Sizes, buffers: &[String], places: Vec<Place>) -> Emit<()> {
        let Some((Stmt::Loop { body, .. }, before)) = self.kernel.body.split_last() else {
            return Err("an epilogue without its loop".to_string());
        };
        let mut all = Vec::new();
        for place in places {
            let mut e = Emitter::new(Writer::default(), self.kernel, Point::Thread);
            e.buffers = buffers.to_vec();
            // The plan's text stands once.
            if !all.is_empty() {
                e.lines = Vec::new().into_iter();
            }
            with_loan(&mut e, w, sizes, |e| self.begin(e, place))?;
            all.push(e);
        }
        for stmt in before {
            all.iter_mut().try_for_each(|e| with_loan(e, w, sizes, |e| e.stmt(stmt)))?;
        }
        for e in &mut all {
            e.lines.next();
        }
        for stmt in body {
            all.iter_mut().try_for_each(|e| with_loan(e, w, sizes, |e| e.stmt(stmt)))?;
        }
        Ok(())
    }

    fn begin(&self, e: &mut Emitter<'k>, place: Place) -> Emit<()> {
        let column = *self.mapping.folded.first().ok_or("no columns")?;
        for (index, register) in [(LoopIndex(0), place.row), (column, place.column)] {
            e.indices[index.0 as usize] = Some(register);
        }
        e.flat = Some((self.mapping.strides(self.kernel), place.flat.clone()));
        e.given = Some((self.is_result.clone(), place.result));
        if let Some(wide) = &self.wide {
            e.neighbours = Some(e.neighbours_of(&place.flat, &self.mapping, wide.clone())?);
        }
        Ok(())
    }
}

/// Several write one text, one after the other.
fn with_loan<'k>(
    e: &mut Emitter<'k>,
    w: &mut Writer,
    sizes: &mut Sizes,
    write: impl FnOnce(&mut Emitter<'k>) -> Emit<()>,
) -> Emit<()> {
    std::mem::swap(&mut e.w, w);
    std::mem::swap(&mut e.sizes, sizes);
    let done = write(e);
    std::mem::swap(&mut e.w, w);
    std::mem::swap(&mut e.sizes, sizes);
    done
}

fn takes_long(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::Let { op, .. } => is_long(op),
        Stmt::Loop { body, .. } | Stmt::If { body, .. } => takes_long(body),
        Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } | Stmt::Store { .. } => false,
    })
}

/// Is the result read only where nothing was stored to it before, and without conditions?
fn reads_before_it_stores(body: &[Stmt], is_result: &[bool], stored: &mut bool) -> bool {
    body.iter().all(|stmt| match stmt {
        Stmt::Let { op: ValueOp::Load { buffer, guards, .. }, .. } => {
            !is_result[*buffer as usize] || !*stored && guards.is_empty()
        }
        Stmt::Store { buffer, .. } => {
            *stored |= is_result[*buffer as usize];
            true
        }
        Stmt::Loop { body, .. } | Stmt::If { body, .. } => reads_before_it_stores(body, is_result, stored),
        Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } => true,
    })
}
