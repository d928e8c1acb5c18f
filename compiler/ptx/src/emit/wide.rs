//! Several neighbouring elements a thread, where a kernel computes each element from others of the same place.
//!
//! Memory is fastest when a thread asks for 16 bytes at once. So where points follow one another in memory, a thread takes four of them (two where
//! four do not fit): what lies side by side is moved by one instruction, all else is computed for each element as ever, so that the bits are the
//! same.
//!
//! ```text
//! for row in B { for u in 0..300 lanes {       row, u = 4 * thread / 300, 4 * thread % 300
//!   %0 = load x[row * 300 + u]            ->   ld.global.v4.f32 {%v0, %v0_1, %v0_2, %v0_3}, [..]
//!   %1 = load b[row]                           ld.global.f32 %v1, [..]                   alike for all four
//!   %2 = add %0, %1                            add.rn.f32 %v2, %v0, %v1;  add.rn.f32 %v2_1, %v0_1, %v1; ..
//!   store y[row * 300 + u] = %2                st.global.v4.f32 [..], {%v2, %v2_1, %v2_2, %v2_3}
//! ```
//!
//! **Which points are neighbours.** Those that differ in the innermost index, where its extent is divisible by four. Where it is not (rows of 301),
//! those that follow one another in the innermost indices together: each of them then finds its own indices, and the thread at the end takes what is
//! left.
//!
//! **Alignment.** Addresses of buffers and sizes are known at run time only: one test at the head says whether all that this needs is so. Where it
//! is not, the same threads take the points one by one, a block's width apart. What the plan's numbers rule out is decided here.
//!
//! **Bits.** They do not depend on which way was taken: loops inside make the same steps for all neighbours, each of which combines its own in order
//! and in chains of its own.

use super::live::most_live;
use super::mapping::{Mapping, Point, typical};
use super::memory::{MOST_BYTES, bytes_of};
use super::{Emit, Emitter, THREADS};
use crate::text::Class;
use bdl_dims::Dim;
use bdl_plan::{
    Address, AddressTerm, BinaryOp, Bound, Guard, Kernel, LoopIndex, LoopMode, Stmt, UnaryOp, ValueId, ValueOp,
};

/// Fewer points than this that loop are better shared by more processors.
const FEW_POINTS: i64 = 1 << 16;
/// More registers of values than this at once leave too few threads to a processor.
const MOST_REGISTERS: usize = 80;

/// How a kernel's points are taken several at a time.
#[derive(Clone)]
pub struct Wide {
    /// Neighbours that a thread takes.
    pub count: usize,
    /// Indices in which neighbours differ, with the strides of points that follow one another in them; the innermost last.
    strides: Vec<(LoopIndex, Dim)>,
    /// Neighbours differ in all indices, and those at the end of the grid are fewer.
    has_rest: bool,
    /// Values that differ from neighbour to neighbour.
    varies: Vec<bool>,
    /// Loads of which the neighbours lie side by side.
    loads: Vec<ValueId>,
    /// Buffers of which neighbours are moved at once, and the alignment in bytes that all of them need.
    buffers: Vec<u32>,
    alignment: i64,
    /// Sizes that must be divisible by `count`.
    sizes: Vec<Dim>,
}

/// Loads and stores of neighbours that lie side by side, and loads of those that do not.
#[derive(Default)]
struct Found {
    together: usize,
    apart: usize,
}

impl Found {
    /// Instructions for each point, in quarters. Neighbours that lie apart are as many instructions as before.
    fn each(&self, count: usize) -> usize {
        4 * self.together / count + 4 * self.apart
    }
}

impl Wide {
    /// `None`: the kernel is better, or can only be, taken point by point.
    pub fn of(kernel: &Kernel, mapping: &Mapping) -> Option<Wide> {
        let points = kernel.grid.clone() * mapping.along.clone();
        // A block's points take as long as one of them does.
        if mapping.point != Point::Thread || points.as_const().is_some_and(|points| points <= i64::from(THREADS)) {
            return None;
        }
        if has_loops(&kernel.body, mapping.folded.len()) && typical(&points) < FEW_POINTS {
            return None;
        }
        let levels = mapping.levels(kernel).len();
        let ways = [4, 2].into_iter().flat_map(|count| (1..=levels).map(move |indices| (count, indices)));
        let found = ways.filter_map(|(count, indices)| Wide::with(kernel, mapping, count, indices));
        // The first of the best.
        let best =
            found.reduce(|best, next| if next.1.each(next.0.count) < best.1.each(best.0.count) { next } else { best });
        best.filter(|(wide, found)| 4 * found.each(wide.count) <= 3 * found.each(1)).map(|(wide, _)| wide)
    }

    /// `count` neighbours of a row for a function that has no other way: what they need holds for all sizes. `is_aligned`: of each buffer.
    pub fn within(kernel: &Kernel, mapping: &Mapping, count: usize, is_aligned: &[bool]) -> Option<Wide> {
        let (wide, _) = Wide::with(kernel, mapping, count, 1)?;
        let holds = wide.sizes.is_empty() && wide.buffers.iter().all(|buffer| is_aligned[*buffer as usize]);
        holds.then_some(wide)
    }

    /// Registers that the values of all neighbours take at once.
    pub fn live(&self, kernel: &Kernel) -> usize {
        most_live(kernel, &self.varies, self.count)
    }

    /// `count` neighbours that differ in so many indices.
    fn with(kernel: &Kernel, mapping: &Mapping, count: usize, indices: usize) -> Option<(Wide, Found)> {
        let (levels, strides) = (mapping.levels(kernel), mapping.strides(kernel));
        let first = levels.len() - indices;
        let all: Dim = levels[first..].iter().map(|(_, extent)| extent.clone()).product();
        let mut wide = Wide {
            count,
            strides: strides[first..].to_vec(),
            has_rest: first == 0,
            varies: vec![false; kernel.values.len()],
            loads: Vec::new(),
            buffers: Vec::new(),
            alignment: 1,
            sizes: Vec::new(),
        };
        if !wide.has_rest {
            wide.divisible(&all)?;
        }
        let mut found = Found::default();
        wide.look(kernel, &kernel.body, mapping.folded.len(), &mut found)?;
        (wide.live(kernel) <= MOST_REGISTERS).then_some((wide, found))
    }

    /// Takes note of all that differs. `folded`: so many loops that the body ends with joined the grid. `None`: something cannot be done for
    /// neighbours together.
    fn look(&mut self, kernel: &Kernel, body: &[Stmt], folded: usize, found: &mut Found) -> Option<()> {
        for (i, stmt) in body.iter().enumerate() {
            match stmt {
                Stmt::Let { value, op } => {
                    if !self.differs(op)? {
                        continue;
                    }
                    self.varies[value.0 as usize] = true;
                    if let ValueOp::Load { buffer, at, guards, .. } = op {
                        if !self.any_guard(guards) && self.needs(kernel, *buffer, at).is_some() {
                            self.loads.push(*value);
                            found.together += 1;
                        } else {
                            found.apart += 1;
                        }
                    }
                }
                Stmt::Store { buffer, at, .. } => {
                    self.needs(kernel, *buffer, at)?;
                    found.together += 1;
                }
                // Each neighbour has its own.
                Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } => {}
                Stmt::Loop { body: inner, .. } if folded > 0 && i + 1 == body.len() => {
                    self.look(kernel, inner, folded - 1, found)?;
                }
                // All make the same steps, each for itself in the order in which it made them alone.
                Stmt::Loop { from, to, mode: LoopMode::Serial, body, .. } => {
                    if [from, to].into_iter().any(|bound| matches!(bound, Bound::Value(v) if self.varies[v.0 as usize]))
                    {
                        return None;
                    }
                    self.look(kernel, body, 0, found)?;
                }
                Stmt::If { condition, body } => {
                    if self.varies[condition.0 as usize] {
                        return None;
                    }
                    self.look(kernel, body, 0, found)?;
                }
                Stmt::Loop { mode: LoopMode::Lanes, .. } => return None,
            }
        }
        Some(())
    }

    /// Does a value differ from neighbour to neighbour? `None`: it takes so long to compute that memory does not matter.
    fn differs(&self, op: &ValueOp) -> Option<bool> {
        let of = |values: &[&ValueId]| values.iter().any(|value| self.varies[value.0 as usize]);
        let differs = match op {
            ValueOp::Const(_) | ValueOp::Size(_) => false,
            ValueOp::Index(index) => self.index_differs(*index),
            ValueOp::Variable(_) => true,
            ValueOp::Load { at, guards, .. } => self.moves(at) || self.any_guard(guards),
            ValueOp::Unary(_, a) | ValueOp::Convert(a) => of(&[a]),
            ValueOp::Binary(_, a, b) | ValueOp::Compare(_, a, b) => of(&[a, b]),
            ValueOp::Select(c, a, b) => of(&[c, a, b]),
        };
        (!differs || !is_long(op)).then_some(differs)
    }

    fn index_differs(&self, index: LoopIndex) -> bool {
        self.strides.iter().any(|(known, _)| *known == index)
    }

    fn term_moves(&self, term: &AddressTerm) -> bool {
        match term {
            AddressTerm::Index(index) => self.index_differs(*index),
            AddressTerm::Value(value) => self.varies[value.0 as usize],
        }
    }

    /// Does an address differ from neighbour to neighbour?
    fn moves(&self, at: &Address) -> bool {
        at.terms.iter().any(|(term, _)| self.term_moves(term))
    }

    fn any_guard(&self, guards: &[Guard]) -> bool {
        guards.iter().any(|guard| self.moves(&guard.form))
    }

    /// Does the next neighbour lie one element further?
    fn is_along(&self, at: &Address) -> bool {
        let moving = at.terms.iter().filter(|(term, _)| self.term_moves(term));
        let known = moving.map(|(term, stride)| match term {
            AddressTerm::Index(index) => self.strides.iter().position(|own| *own == (*index, stride.clone())),
            AddressTerm::Value(_) => None,
        });
        let Some(mut places) = known.collect::<Option<Vec<usize>>>() else { return false };
        places.sort_unstable();
        places.iter().copied().eq(0..self.strides.len())
    }

    /// Neighbours lie side by side, if what is noted holds at run time. `None`: they do not.
    fn needs(&mut self, kernel: &Kernel, buffer: u32, at: &Address) -> Option<()> {
        if !self.is_along(at) {
            return None;
        }
        let others = at.terms.iter().filter(|(term, _)| !self.term_moves(term)).map(|(_, stride)| stride.clone());
        let sizes: Vec<Dim> = others.chain([at.offset.clone()]).collect();
        if sizes.iter().any(|size| size.as_const().is_some_and(|c| c % self.count as i64 != 0)) {
            return None;
        }
        sizes.iter().try_for_each(|size| self.divisible(size))?;
        if !self.buffers.contains(&buffer) {
            self.buffers.push(buffer);
        }
        let bytes = self.count as i64 * bytes_of(kernel.buffers[buffer as usize].dtype);
        self.alignment = self.alignment.max(bytes.min(MOST_BYTES));
        Some(())
    }

    /// A size must be divisible by the number of neighbours. `None`: it is not.
    fn divisible(&mut self, size: &Dim) -> Option<()> {
        let count = self.count as i64;
        if let Some(number) = size.as_const() {
            return (number % count == 0).then_some(());
        }
        if size.terms().any(|(_, coefficient)| coefficient % count != 0) && !self.sizes.contains(size) {
            self.sizes.push(size.clone());
        }
        Some(())
    }
}

/// Is an operation a loop or a page of code of its own?
pub fn is_long(op: &ValueOp) -> bool {
    matches!(
        op,
        ValueOp::Unary(UnaryOp::Lgamma | UnaryOp::Digamma | UnaryOp::Trigamma, _)
            | ValueOp::Binary(BinaryOp::Pow, _, _)
    )
}

/// Is there a loop that did not join the grid?
pub fn has_loops(body: &[Stmt], folded: usize) -> bool {
    body.iter().enumerate().any(|(i, stmt)| match stmt {
        Stmt::Loop { body: inner, .. } if folded > 0 && i + 1 == body.len() => has_loops(inner, folded - 1),
        Stmt::Loop { .. } => true,
        Stmt::If { body, .. } => has_loops(body, 0),
        Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } | Stmt::Store { .. } => {
            false
        }
    })
}

/// The points of a thread. The emitter is at the first of them.
pub struct Neighbours {
    wide: Wide,
    each: Vec<Neighbour>,
}

/// Registers of indices.
type Indices = Vec<(LoopIndex, Option<String>)>;

/// What one of the points of a thread knows for itself: registers or numbers.
struct Neighbour {
    values: Vec<Option<String>>,
    variables: Vec<Option<String>>,
    indices: Indices,
    flat: Option<(Vec<(LoopIndex, Dim)>, String)>,
}

impl<'k> Emitter<'k> {
    /// All points: `wide.count` a thread.
    pub fn wide_points(&mut self, grid: &str, mapping: &Mapping, wide: Wide) -> Emit<()> {
        let lines = self.lines.clone();
        let (one_by_one, count) = (self.w.label("one_by_one"), wide.count.to_string());
        let of_block = (THREADS * wide.count as u32).to_string();
        self.w.comment(&format!("one thread for {count} neighbours of {}", self.names_of(mapping)));
        let (step, end) = (self.w.named(Class::B64, "step"), self.w.named(Class::B64, "end"));
        let block = self.w.set(Class::B32, "mov.u32", &["%ctaid.x"]);
        let thread = self.w.set(Class::B32, "mov.u32", &["%tid.x"]);
        let first = self.w.set(Class::B64, "mul.wide.u32", &[&block, &of_block]);
        // Where they do not fit: the block's points, a block's width apart.
        let apart = self.w.set(Class::B64, "cvt.u64.u32", &[&thread]);
        let apart = self.w.set(Class::B64, "add.s64", &[&apart, &first]);
        self.w.line(format!("mov.b64 {step}, {THREADS};"));
        self.w.line(format!("add.s64 {end}, {apart}, {of_block};"));
        self.w.line(format!("min.s64 {end}, {end}, {grid};"));
        let point = self.w.named(Class::B64, "point");
        self.w.line(format!("mov.b64 {point}, {apart};"));
        if let Some(fits) = self.fits(&wide)? {
            self.w.line(format!("@!{fits} bra {one_by_one};"));
        }
        let number = self.w.set(Class::B64, "mul.wide.u32", &[&thread, &count]);
        self.w.line(format!("add.s64 {point}, {number}, {first};"));
        self.ends_behind(&point, grid);
        if wide.has_rest {
            self.w.line(format!("mov.b64 {step}, 1;"));
            self.w.line(format!("mov.b64 {end}, {grid};"));
            let behind = self.w.set(Class::B64, "add.s64", &[&point, &count]);
            let is_rest = self.w.set(Class::Pred, "setp.gt.s64", &[&behind, grid]);
            self.w.line(format!("@{is_rest} bra {one_by_one};"));
        }
        self.neighbours = Some(self.found_neighbours(&point, mapping, wide)?);
        let body = self.folded(&self.kernel.body, mapping.folded.len())?;
        self.body(body)?;
        self.neighbours = None;
        self.w.line("ret;");

        self.w.place(&one_by_one);
        self.lines = lines;
        let next = self.w.label("next_point");
        self.w.place(&next);
        self.ends_behind(&point, &end);
        self.coordinates(&point, mapping)?;
        let body = self.folded(&self.kernel.body, mapping.folded.len())?;
        self.body(body)?;
        self.w.line(format!("add.s64 {point}, {point}, {step};"));
        self.w.line(format!("bra {next};"));
        Ok(())
    }

    fn ends_behind(&mut self, point: &str, end: &str) {
        let outside = self.w.set(Class::Pred, "setp.ge.s64", &[point, end]);
        self.w.line(format!("@{outside} ret;"));
    }

    /// Are all addresses aligned, and all sizes divisible?
    fn fits(&mut self, wide: &Wide) -> Emit<Option<String>> {
        let addresses = wide.buffers.iter().map(|buffer| self.buffers[*buffer as usize].clone()).collect();
        let mut sizes = Vec::new();
        for size in &wide.sizes {
            sizes.push(self.size(size)?.text());
        }
        let mut rest: Option<String> = None;
        for (registers, divisor) in [(addresses, wide.alignment), (sizes, wide.count as i64)] {
            let joined = registers.into_iter().reduce(|all, one| self.w.set(Class::B64, "or.b64", &[&all, &one]));
            let Some(joined) = joined else { continue };
            let own = self.w.set(Class::B64, "and.b64", &[&joined, &(divisor - 1).to_string()]);
            rest = Some(match rest {
                None => own,
                Some(rest) => self.w.set(Class::B64, "or.b64", &[&rest, &own]),
            });
        }
        Ok(rest.map(|rest| self.w.set(Class::Pred, "setp.eq.s64", &[&rest, "0"])))
    }

    /// The points from this one on; the emitter is at the first of them.
    fn found_neighbours(&mut self, point: &str, mapping: &Mapping, wide: Wide) -> Emit<Neighbours> {
        if wide.strides.len() == 1 {
            self.coordinates(point, mapping)?;
            return self.neighbours_of(point, mapping, wide);
        }
        let own = |e: &Self| -> Indices {
            wide.strides.iter().map(|(index, _)| (*index, e.indices[index.0 as usize].clone())).collect()
        };
        let mut found = Vec::new();
        // The first one last, for the emitter is then there.
        for i in (0..wide.count as u32).rev() {
            let point = match i {
                0 => point.to_string(),
                _ => self.w.set(Class::B64, "add.s64", &[point, &i.to_string()]),
            };
            self.coordinates(&point, mapping)?;
            found.push((own(self), point));
        }
        found.reverse();
        Ok(self.with_own(found, mapping, wide))
    }

    /// Those of one row, from the one on where the emitter is.
    pub fn neighbours_of(&mut self, point: &str, mapping: &Mapping, wide: Wide) -> Emit<Neighbours> {
        let [(index, _)] = wide.strides.as_slice() else { return Err("neighbours of several rows".to_string()) };
        let index = *index;
        let first = self.indices[index.0 as usize].clone().ok_or("no innermost index")?;
        let mut found = vec![(vec![(index, Some(first.clone()))], point.to_string())];
        for i in 1..wide.count {
            let [next, point] = [&first, point].map(|from| self.w.set(Class::B64, "add.s64", &[from, &i.to_string()]));
            found.push((vec![(index, Some(next))], point));
        }
        Ok(self.with_own(found, mapping, wide))
    }

    fn with_own(&self, found: Vec<(Indices, String)>, mapping: &Mapping, wide: Wide) -> Neighbours {
        let strides = mapping.strides(self.kernel);
        let each = found.into_iter().map(|(indices, point)| Neighbour {
            values: self.values.clone(),
            variables: self.variables.clone(),
            indices,
            flat: Some((strides.clone(), point)),
        });
        Neighbours { each: each.collect(), wide }
    }

    /// A statement without a body for all neighbours.
    pub fn plain_of_all(&mut self, stmt: &'k Stmt, neighbours: &mut Neighbours) -> Emit<()> {
        match stmt {
            Stmt::Let { value, op } => {
                let found = self.values_of_all(*value, op, neighbours)?;
                self.values[value.0 as usize] = found.first().cloned();
                for (neighbour, found) in neighbours.each.iter_mut().zip(found) {
                    neighbour.values[value.0 as usize] = Some(found);
                }
            }
            Stmt::Store { buffer, at, value } => {
                let values = self.of_each(&mut neighbours.each, |e| e.value(*value))?;
                self.store_several(*buffer, at, &values)?;
            }
            Stmt::Variable { .. }
            | Stmt::Combine { .. }
            | Stmt::Assign { .. }
            | Stmt::Loop { .. }
            | Stmt::If { .. } => {
                self.of_each(&mut neighbours.each, |e| e.plain(stmt))?;
            }
        }
        Ok(())
    }

    /// The value of each neighbour.
    fn values_of_all(&mut self, value: ValueId, op: &'k ValueOp, neighbours: &mut Neighbours) -> Emit<Vec<String>> {
        let wide = &neighbours.wide;
        if !wide.varies[value.0 as usize] {
            let alike = self.op(value, op)?;
            return Ok(vec![alike; wide.count]);
        }
        if let ValueOp::Load { buffer, at, guards, otherwise } = op
            && wide.loads.contains(&value)
        {
            return self.load_several(value, *buffer, at, guards, *otherwise, wide.count);
        }
        self.of_each(&mut neighbours.each, |e| e.op(value, op))
    }

    /// One thing for each point of the thread.
    pub fn of_all<T>(&mut self, mut make: impl FnMut(&mut Self) -> Emit<T>) -> Emit<Vec<T>> {
        match self.neighbours.take() {
            None => Ok(vec![make(self)?]),
            Some(mut neighbours) => {
                let made = self.of_each(&mut neighbours.each, make);
                self.neighbours = Some(neighbours);
                made
            }
        }
    }

    /// One thing for each neighbour, with what it knows.
    fn of_each<T>(&mut self, neighbours: &mut [Neighbour], mut make: impl FnMut(&mut Self) -> Emit<T>) -> Emit<Vec<T>> {
        let mut made = Vec::new();
        for neighbour in neighbours {
            self.change_places(neighbour);
            let own = make(self);
            self.change_places(neighbour);
            made.push(own?);
        }
        Ok(made)
    }

    fn change_places(&mut self, neighbour: &mut Neighbour) {
        std::mem::swap(&mut self.values, &mut neighbour.values);
        std::mem::swap(&mut self.variables, &mut neighbour.variables);
        std::mem::swap(&mut self.flat, &mut neighbour.flat);
        for (index, own) in &mut neighbour.indices {
            std::mem::swap(&mut self.indices[index.0 as usize], own);
        }
    }
}
