//! Convolutions of images by Winograd's algorithm (`bdl_kernels::winograd`).
//!
//! ```text
//! map:     filters G g Gᵀ ─┐  (once, shared by all)
//!          lines of squares ── a worker's, some squares at a time:
//!                             patches ─ 16 products ─ sums into rows of the map ─ epilogue of these rows
//! filter:  lines of squares ── in parts, a number that is a function of the extents alone:
//!                             patches, squares ─ 16 products, added to the part's places
//!          parts ── added, into taps
//! ```
//!
//! A *line* is two rows of positions of an image, lines of all images counted as one. What is made of patches and squares stays in the second-level cache.
//! A row of a map is the same to the bit whatever is computed with it; a filter's derivative, whoever computes it.

use crate::compiled::CompiledContraction;
use crate::contract::share;
use crate::launch::{Run, State, UNEVEN_CHUNKS, follow, kernel_range_with, nest_of_example, operand};
use crate::nest::Nest;
use crate::pool::{Gone, Worker};
use crate::program::clear_example;
use crate::real::{Real, Tiled};
use bdl_kernels::contraction::{Matrix, MatrixMut, Mode, Panels, Taps};
use bdl_kernels::winograd::{self as kernels, Filter, PLACES, Places, SQUARE, TAPS};
use bdl_plan::image::{Image, ImageSums};

/// Elements of what is made of patches and squares at a time: what stays in the second-level cache together with a part of the filters.
const AT_A_TIME: i64 = 128 << 10;
/// Squares at a time: fewer leave most of a tile empty, more fill the cache to no use.
const FEWEST: i64 = 28;
const MOST: i64 = 128;
/// Parts of the sum over positions, and their elements in all.
const MOST_PARTS: i64 = 16;
const FEWEST_PARTS: i64 = 4;
const OF_PARTS: i64 = 4 << 20;
/// From the matrix of a place to the next: a cache line longer than it is, because 16 lines are written at once.
const GAP: usize = 16;

/// The channels of image and map.
#[derive(Clone, Copy)]
struct Widths {
    channels: usize,
    columns: usize,
}

impl Widths {
    fn of(c: &CompiledContraction, image: &Image, sizes: &[i64]) -> Widths {
        let extent = |axis: usize| c.form.axes[axis].extent.at(sizes).max(0) as usize;
        Widths { channels: extent(image.channel), columns: extent(image.column) }
    }

    /// Squares at a time, whatever the size of an image.
    fn squares(&self) -> usize {
        let each = (PLACES * (self.channels + self.columns)).max(1) as i64;
        (AT_A_TIME / each).clamp(FEWEST, MOST) as usize
    }

    /// Elements from the patches (squares) of a place to the next.
    fn apart(&self, width: usize) -> usize {
        (self.squares() * width).next_multiple_of(GAP) + GAP
    }

    /// Elements of what a worker makes of patches, and of products or squares.
    fn room(&self) -> usize {
        PLACES * (self.apart(self.channels) + self.apart(self.columns))
    }

    /// That room: for patches, and for products or squares.
    fn places<T>(&self, own: *mut T) -> (Places<T>, Places<T>) {
        let [patches, others] = [self.channels, self.columns].map(|width| self.apart(width));
        let after = own.wrapping_add(PLACES * patches);
        (Places { ptr: own, apart: patches }, Places { ptr: after, apart: others })
    }

    /// Elements of a panel, and of all panels, of the filters of one place.
    fn panels<T: Real>(&self) -> (usize, usize) {
        let width = T::panel_width();
        let panel = self.channels * width;
        (panel, panel * self.columns.div_ceil(width))
    }

    /// Elements of the places of a part.
    fn part(&self) -> usize {
        PLACES * self.channels * self.columns
    }

    /// Elements of as many parts as there may be.
    fn room_of_parts(&self) -> usize {
        (self.part() * self.parts(MOST_PARTS)).next_multiple_of(GAP)
    }

    /// How many parts a sum over so many lines (examples) has.
    fn parts(&self, count: i64) -> usize {
        let fit = OF_PARTS / (self.part() as i64).max(1);
        fit.clamp(FEWEST_PARTS, MOST_PARTS).min(count).max(1) as usize
    }
}

/// A convolution with numbers for sizes.
struct Shape<'i> {
    nest: Nest,
    image: &'i Image,
}

impl Shape<'_> {
    fn extent(&self, axis: usize) -> i64 {
        self.nest.axes()[axis].extent
    }

    /// Lines of an image, and squares of a line.
    fn size(&self) -> (i64, i64) {
        let half = |axis: usize| (self.extent(axis) + 1) / SQUARE as i64;
        let [y, x] = self.image.positions;
        (half(y), half(x))
    }

    fn images(&self) -> i64 {
        self.image.images.iter().map(|axis| self.extent(*axis)).product()
    }

    fn lines(&self) -> i64 {
        self.images() * self.size().0
    }

    /// Multiply-adds by this algorithm.
    fn work(&self) -> i64 {
        let each = PLACES as i64 * self.extent(self.image.channel) * self.extent(self.image.column);
        self.lines() * self.size().1 * each
    }

    /// Where an image begins, by the steps of one operand.
    fn start(&self, mut number: i64, step: &dyn Fn(usize) -> i64) -> i64 {
        let mut at = 0;
        for axis in self.image.images.iter().rev() {
            let extent = self.extent(*axis).max(1);
            at += number % extent * step(*axis);
            number /= extent;
        }
        at
    }

    /// An image, and where its first patch begins.
    fn input<T>(&self, a: *const T, number: i64) -> (kernels::Image<T>, (isize, isize)) {
        let axes = self.nest.axes();
        let [y, x] = self.image.positions;
        let inside = |side: usize| match self.image.clips[side] {
            Some(clip) => (self.nest.clips()[clip].offset, self.nest.clips()[clip].extent),
            None => (0, self.extent(self.image.positions[side]) + TAPS as i64 - 1),
        };
        let ((top, rows), (left, columns)) = (inside(0), inside(1));
        let start = self.nest.a + self.start(number, &|axis| axes[axis].a) - top * axes[y].a - left * axes[x].a;
        let image = kernels::Image {
            ptr: a.cast_mut().wrapping_offset(start as isize),
            row: axes[y].a as isize,
            column: axes[x].a as isize,
            rows: rows as isize,
            columns: columns as isize,
        };
        (image, (top as isize, left as isize))
    }

    /// An image of the map, whose steps in an axis `step` gives.
    fn map<T>(&self, ptr: *mut T, first: i64, number: i64, step: &dyn Fn(usize) -> i64) -> kernels::Image<T> {
        let [y, x] = self.image.positions;
        kernels::Image {
            ptr: ptr.wrapping_offset((first + self.start(number, step)) as isize),
            row: step(y) as isize,
            column: step(x) as isize,
            rows: self.extent(y) as isize,
            columns: self.extent(x) as isize,
        }
    }

    fn filter<T>(&self, ptr: *mut T, first: i64, step: &dyn Fn(usize) -> i64) -> Filter<T> {
        let [k, l] = self.image.taps;
        Filter {
            ptr: ptr.wrapping_offset(first as isize),
            row: step(k) as isize,
            column: step(l) as isize,
            channel: step(self.image.channel) as isize,
        }
    }

    /// Goes through lines `from..to`, at most `most` squares at a time: `visit(run, squares)` for each run of neighbouring squares and where it begins
    /// among those at hand, then `done(count)`, and where whole lines are complete `complete(first line, line after the last)`.
    fn each(&self, from: i64, to: i64, most: usize, visitor: &mut dyn Visitor) {
        let (lines, squares) = self.size();
        let most = most as i64;
        if squares == 0 {
            return;
        }
        let run = |line: i64, first: i64, count: i64| Squares {
            image: line / lines,
            line: line % lines,
            first,
            count: count as usize,
        };
        let mut line = from;
        while line < to {
            // Some lines, or a part of one.
            let together = (most / squares).clamp(1, to - line);
            if squares <= most {
                (0..together).for_each(|i| visitor.run(&run(line + i, 0, squares), (i * squares) as usize));
                visitor.products((together * squares) as usize);
                (0..together).for_each(|i| visitor.sums(&run(line + i, 0, squares), (i * squares) as usize));
            } else {
                let turns = (squares + most - 1) / most;
                for turn in 0..turns {
                    let (first, end) = (squares * turn / turns, squares * (turn + 1) / turns);
                    visitor.run(&run(line, first, end - first), 0);
                    visitor.products((end - first) as usize);
                    visitor.sums(&run(line, first, end - first), 0);
                }
            }
            visitor.lines(line, line + together);
            line += together;
        }
    }
}

/// Squares next to each other on a line of an image.
struct Squares {
    image: i64,
    line: i64,
    first: i64,
    count: usize,
}

impl Squares {
    /// Where they begin.
    fn at(&self) -> (isize, isize) {
        (SQUARE as isize * self.line as isize, SQUARE as isize * self.first as isize)
    }
}

/// What is done with squares.
trait Visitor {
    /// Makes the operands' places of these squares, from a row on.
    fn run(&mut self, squares: &Squares, row: usize);
    /// Multiplies so many rows.
    fn products(&mut self, rows: usize);
    /// Takes the products of these squares, from a row on.
    fn sums(&mut self, squares: &Squares, row: usize);
    /// These lines are complete.
    fn lines(&mut self, first: i64, end: i64);
}

/// Elements of scratch that a contraction needs.
pub(crate) fn scratch<T: Real>(c: &CompiledContraction, image: &Image, sizes: &[i64], workers: usize) -> usize {
    let widths = Widths::of(c, image, sizes);
    match image.sums {
        ImageSums::Map => {
            let shape = Shape { nest: c.form.nest(sizes, 0, 0, 0), image };
            let shared = (PLACES * widths.panels::<T>().1).next_multiple_of(GAP);
            shared + room_of_map(c, &shape, &widths) * workers
        }
        ImageSums::Filter => {
            let passed = if c.is_passing { TAPS * TAPS * widths.channels * widths.columns } else { 0 };
            widths.room_of_parts() + widths.room().next_multiple_of(GAP) * workers + passed
        }
    }
}

/// Elements of scratch for each worker.
fn room_of_map(c: &CompiledContraction, shape: &Shape, widths: &Widths) -> usize {
    let passed = if c.is_passing { passing_rows(shape, widths) * widths.columns } else { 0 };
    (widths.room() + passed).next_multiple_of(GAP)
}

/// Rows of the map that are complete at a time.
fn passing_rows(shape: &Shape, widths: &Widths) -> usize {
    let squares = shape.size().1.max(1);
    let lines = (widths.squares() as i64 / squares).max(1);
    (lines * SQUARE as i64 * shape.extent(shape.image.positions[1])) as usize
}

/// Runs the contraction as phases of a region.
pub(crate) fn run<T: Tiled>(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    c: &CompiledContraction,
    image: &Image,
) -> Result<(), Gone> {
    match image.sums {
        ImageSums::Map => map::<T>(run, worker, state, c, image),
        ImageSums::Filter => filter::<T>(run, worker, state, c, image),
    }
}

fn map<T: Tiled>(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    c: &CompiledContraction,
    image: &Image,
) -> Result<(), Gone> {
    let widths = Widths::of(c, image, &state.sizes);
    let (panel, all) = widths.panels::<T>();
    let (chunks, index) = (worker.count, worker.index);
    let scratch: *mut T = run.scratch.cast();
    let filters = Places { ptr: scratch, apart: all };
    let whole = Shape { nest: c.form.nest(&state.sizes, 0, 0, 0), image };
    let filter = whole.filter(operand::<T>(run, &state.sizes, &c.b), 0, &|axis| whole.nest.axes()[axis].b);
    worker.phase(chunks, |chunk| {
        let (from, to) = share(widths.channels as i64, chunk, chunks, 1);
        // SAFETY: the plan's accesses are in bounds; the scratch has room for all panels, of which these channels are a chunk's own.
        unsafe { T::filters(from as usize..to as usize, widths.columns, filter, filters, panel) }
    })?;
    let own = (PLACES * all).next_multiple_of(GAP) + index * room_of_map(c, &whole, &widths);
    let own = scratch.wrapping_add(own);
    let mode = if c.form.accumulate { Mode::Add } else { Mode::Write };
    let Some((axis, tables)) = c.form.ragged() else {
        let a = operand::<T>(run, &state.sizes, &c.a).cast_const();
        let out = operand::<T>(run, &state.sizes, &c.out);
        if index == 0 {
            run.count(c, whole.work());
        }
        let lines = whole.lines();
        return worker.phase(chunks, |chunk| {
            let (from, to) = share(lines, chunk, chunks, 1);
            let passed = c.is_passing.then(|| own.wrapping_add(widths.room()));
            let mut epilogue = |begin, end, out: *mut T| {
                if let Some(epilogue) = &c.epilogue {
                    let passed = [(c.out.0, out.cast())];
                    let places: &[(usize, *mut u8)] = if c.is_passing { &passed } else { &[] };
                    // SAFETY: rows that are complete, each once.
                    unsafe { kernel_range_with(run, state, epilogue, begin, end, places) }
                }
            };
            let epilogue = &mut epilogue as &mut dyn FnMut(i64, i64, *mut T);
            let mut work = Map { shape: &whole, widths, filters, panel, own, a, out, mode, passed, epilogue };
            whole.each(from, to, widths.squares(), &mut work);
        });
    };
    let start = |buffer: usize| run.pointers[buffer].cast::<T>();
    let examples = c.form.axes[axis].extent.at(&state.sizes).max(0) as usize;
    // Examples go to whoever is there, a few at a time.
    let groups = examples.min(UNEVEN_CHUNKS * chunks);
    worker.phase(groups, |group| {
        for example in examples * group / groups..examples * (group + 1) / groups {
            let shape = Shape { nest: nest_of_example(run, state, c, (axis, tables), example), image };
            run.count(c, shape.work());
            let (a, out) = (start(c.a.0).cast_const(), start(c.out.0));
            let epilogue = &mut |_, _, _| {};
            let mut work = Map { shape: &shape, widths, filters, panel, own, a, out, mode, passed: None, epilogue };
            shape.each(0, shape.lines(), widths.squares(), &mut work);
        }
        clear_example(&mut state.sizes, &run.lengths);
    })?;
    follow(run, worker, state, c, &[])
}

/// The map of some lines.
struct Map<'m, T> {
    shape: &'m Shape<'m>,
    widths: Widths,
    filters: Places<T>,
    panel: usize,
    /// Room for patches and products.
    own: *mut T,
    a: *const T,
    out: *mut T,
    mode: Mode,
    /// Room for rows that nobody else sees.
    passed: Option<*mut T>,
    epilogue: &'m mut dyn FnMut(i64, i64, *mut T),
}

impl<T: Tiled> Map<'_, T> {
    /// The first row of a line, of all.
    fn row(&self, line: i64) -> i64 {
        let (lines, _) = self.shape.size();
        let [y, x] = self.shape.image.positions.map(|axis| self.shape.extent(axis));
        (line / lines * y + (line % lines * SQUARE as i64).min(y)) * x
    }

    /// Where the result begins, or would, if all rows were there before those that are complete next.
    fn out(&self, line: i64) -> *mut T {
        let columns = self.widths.columns as i64;
        self.passed.map_or(self.out, |passed| passed.wrapping_offset(-(self.row(line) * columns) as isize))
    }
}

impl<T: Tiled> Visitor for Map<'_, T> {
    fn run(&mut self, squares: &Squares, row: usize) {
        let channels = self.widths.channels;
        let (image, (top, left)) = self.shape.input(self.a, squares.image);
        let at = (squares.at().0 + top, squares.at().1 + left);
        let (patches, _) = self.widths.places(self.own);
        // SAFETY: the plan's accesses are in bounds, and positions outside of the image are not read; there is room for the rows at hand.
        unsafe { T::patches(image, at, squares.count, channels, patches.from(row * channels)) }
    }

    fn products(&mut self, rows: usize) {
        let Widths { channels, columns } = self.widths;
        let (patches, made) = self.widths.places(self.own);
        for place in 0..PLACES {
            let left = Matrix { ptr: patches.matrix(place).cast_const(), row: channels as isize, col: 1 };
            let right = self.filters.matrix(place).cast_const();
            let right = Panels { ptr: right, row: T::panel_width() as isize, panel: self.panel };
            let to = MatrixMut { ptr: made.matrix(place), row: columns as isize, col: 1 };
            // SAFETY: what was made of patches and filters, and room for as many rows.
            unsafe { T::contract_panels(rows, columns, channels, Taps::ONE, left, right, to, Mode::Write) }
        }
    }

    fn sums(&mut self, squares: &Squares, row: usize) {
        let columns = self.widths.columns;
        let (lines, per_line) = self.shape.size();
        // The first line of those at hand.
        let line = squares.image * lines + squares.line - row as i64 / per_line;
        let axes = self.shape.nest.axes();
        let map = self.shape.map(self.out(line), self.shape.nest.out, squares.image, &|axis| axes[axis].out);
        let (_, made) = self.widths.places(self.own);
        let from = made.from(row * columns);
        // SAFETY: the plan's accesses are in bounds; a chunk's lines are its own.
        unsafe { T::sums(from, squares.count, columns, map, squares.at(), self.mode) }
    }

    fn lines(&mut self, first: i64, end: i64) {
        let (begin, end, out) = (self.row(first), self.row(end), self.out(first));
        (self.epilogue)(begin, end, out);
    }
}

fn filter<T: Tiled>(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    c: &CompiledContraction,
    image: &Image,
) -> Result<(), Gone> {
    let widths = Widths::of(c, image, &state.sizes);
    let (chunks, index) = (worker.count, worker.index);
    let whole = Shape { nest: c.form.nest(&state.sizes, 0, 0, 0), image };
    let ragged = c.form.ragged();
    let count = match ragged {
        Some((axis, _)) => c.form.axes[axis].extent.at(&state.sizes).max(0),
        None => whole.lines(),
    };
    let parts = widths.parts(count);
    let scratch: *mut T = run.scratch.cast();
    let room = widths.room().next_multiple_of(GAP);
    let own = scratch.wrapping_add(widths.room_of_parts() + index * room);
    // The filter, where only the epilogue sees it.
    let passed = c.is_passing.then(|| scratch.wrapping_add(widths.room_of_parts() + chunks * room));
    let places = |part: usize| {
        let ptr = scratch.wrapping_add(part * widths.part());
        Places { ptr, apart: widths.channels * widths.columns }
    };
    if index == 0 && ragged.is_none() {
        run.count(c, whole.work());
    }
    worker.phase(parts, |part| {
        let sums = places(part);
        // SAFETY: the part's own places.
        unsafe { std::ptr::write_bytes(sums.ptr, 0, widths.part()) };
        let (from, to) = share(count, part, parts, 1);
        let Some((axis, tables)) = ragged else {
            let a = operand::<T>(run, &state.sizes, &c.a).cast_const();
            let b = operand::<T>(run, &state.sizes, &c.b).cast_const();
            whole.each(from, to, widths.squares(), &mut ByFilter { shape: &whole, widths, own, a, b, sums });
            return;
        };
        for example in from..to {
            let shape = Shape { nest: nest_of_example(run, state, c, (axis, tables), example as usize), image };
            run.count(c, shape.work());
            let start = |buffer: usize| run.pointers[buffer].cast::<T>().cast_const();
            let (a, b) = (start(c.a.0), start(c.b.0));
            let mut work = ByFilter { shape: &shape, widths, own, a, b, sums };
            shape.each(0, shape.lines(), widths.squares(), &mut work);
        }
        clear_example(&mut state.sizes, &run.lengths);
    })?;
    let mode = if c.form.accumulate { Mode::Add } else { Mode::Write };
    let result = passed.unwrap_or_else(|| operand::<T>(run, &state.sizes, &c.out));
    let out = whole.filter(result, 0, &|axis| whole.nest.axes()[axis].out);
    worker.phase(chunks, |chunk| {
        let (from, to) = share(widths.channels as i64, chunk, chunks, 1);
        let channels = from as usize..to as usize;
        // SAFETY: all parts are complete; a chunk's channels of the filter are its own.
        unsafe { T::taps(places(0), (parts, widths.part()), channels, widths.columns, out, mode) }
    })?;
    follow(run, worker, state, c, passed.map(|passed| (c.out.0, passed.cast())).as_slice())
}

/// The derivative by the filter, of some lines, added to the places of a part.
struct ByFilter<'m, T> {
    shape: &'m Shape<'m>,
    widths: Widths,
    /// Room for patches and squares.
    own: *mut T,
    a: *const T,
    b: *const T,
    sums: Places<T>,
}

impl<T: Tiled> Visitor for ByFilter<'_, T> {
    fn run(&mut self, squares: &Squares, row: usize) {
        let Widths { channels, columns } = self.widths;
        let (image, (top, left)) = self.shape.input(self.a, squares.image);
        let at = (squares.at().0 + top, squares.at().1 + left);
        let axes = self.shape.nest.axes();
        let map = self.shape.map(self.b.cast_mut(), self.shape.nest.b, squares.image, &|axis| axes[axis].b);
        let (patches, made) = self.widths.places(self.own);
        // SAFETY: the plan's accesses are in bounds, and positions outside of image and map are not read; there is room for the rows at hand.
        unsafe {
            T::patches(image, at, squares.count, channels, patches.from(row * channels));
            T::squares(map, squares.at(), squares.count, columns, made.from(row * columns));
        }
    }

    fn products(&mut self, rows: usize) {
        let Widths { channels, columns } = self.widths;
        let (patches, made) = self.widths.places(self.own);
        for place in 0..PLACES {
            let left = Matrix { ptr: patches.matrix(place).cast_const(), row: 1, col: channels as isize };
            let right = Matrix { ptr: made.matrix(place).cast_const(), row: columns as isize, col: 1 };
            let to = MatrixMut { ptr: self.sums.matrix(place), row: columns as isize, col: 1 };
            // SAFETY: what was made of patches and squares, and the part's own places.
            unsafe { T::contract(channels, columns, rows, Taps::ONE, left, right, to, Mode::Add) }
        }
    }

    fn sums(&mut self, _squares: &Squares, _row: usize) {}

    fn lines(&mut self, _first: i64, _end: i64) {}
}
