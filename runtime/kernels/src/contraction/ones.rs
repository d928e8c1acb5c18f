//! Left operands of zeros and ones: the letters of a sequence as rows with a single 1 (one-hot), of which a convolution reads overlapping windows.
//!
//! An element of C is then a sum of rows of B: an addition where a letter is, and nothing for the three (or nineteen) letters that are not. Whether
//! an operand is of this kind is found out by looking at it, chunk by chunk, up to the first element that is neither 0 nor 1; whoever wrote
//! the program says nothing. **The bits are those of the products**: a chain starts at +0, so adding ±0 never changes it, and a fused multiply-add of 1 is an
//! addition. Only where B is not finite is a product with 0 seen (NaN): such columns are multiplied.
//!
//! ```text
//! windows (a convolution)      A[i, k] = s[i * w + k]   one list of the ones in s; row i has those from i w on
//! turned (its gradient by w)   A[i, k] = s[i + k * w]   w lists, one for each letter; row i has those of letter i mod w from i / w on
//! ```
//!
//! The panels of B that a row's ones choose from lie in the first-level cache, two at a time: a chunk of a few hundred steps is taken in [`PIECE`]s, between which the
//! sums of all rows wait in memory.

use super::pack::{Chunk, Run, pack_b, run_at, scratch};
use super::tile::{Target, Tiles, finish};
use super::{CHUNK, Job};
use crate::vector_math::lanes::Lanes;

/// Steps whose rows of B, four vectors wide, fill the first-level cache; 64 and 96 were no faster.
const PIECE: usize = 128;
/// Rows whose sums may wait in memory between pieces.
const MOST_WAITING: usize = 512;
/// Ones among so many elements at most are worth a list.
const SPARSE: usize = 3;
/// Elements of A that are looked at in one go.
const MOST_ELEMENTS: usize = 1 << 16;
/// Vectors of multiply-adds for each element of A below which to look at it, and to add, would take as long.
const LOOK: usize = 3;
/// Elements that are looked at before anything else is done.
const FIRST_LOOK: usize = 32;

/// Where the ones of A are, in the steps of a chunk that belong to one tap.
#[derive(Clone, Copy)]
struct Ones {
    /// The first of these steps in the chunk, the tap, the first step in it, and how many there are.
    run: Run,
    /// The places of ones in each list, in order, and behind them [`END`].
    places: *const u32,
    /// From a list to the next.
    room: usize,
    /// Lists, which rows take in turn: row i has list i mod lists.
    lists: usize,
    /// From a row to the next of the same list, in places.
    row: usize,
}

/// Behind the last place of a list.
const END: u32 = u32::MAX;

impl Ones {
    const NOTHING: Ones = Ones { run: (0, 0, 0, 0), places: std::ptr::null(), room: 0, lists: 1, row: 0 };
}

/// The first place of a list, from `at` on, that is not below `from`.
///
/// # Safety
/// The list ends with [`END`], and `from` lies below that.
#[inline(always)]
unsafe fn skip(at: *const u32, from: usize) -> *const u32 {
    // Most rows begin where the one before does, or at the next place.
    // SAFETY: the caller's promise.
    unsafe {
        let mut at = at.add(usize::from(*at < from as u32));
        while *at < from as u32 {
            at = at.add(1);
        }
        at
    }
}

/// How the rows of a job read a sequence in a run of so many steps.
#[derive(Clone, Copy)]
struct Layout {
    lists: usize,
    /// From a row to the next of the same list, in places.
    row: usize,
    /// Places of a list.
    length: usize,
    /// The elements of A in the order of their places: lines of neighbours, one unless there are gaps between rows, or steps.
    lines: usize,
    line: usize,
    /// From a line to the next.
    stride: usize,
}

impl Layout {
    /// Numbers that the lists take: places, ends, and how many there are in each.
    #[inline(always)]
    fn memory(self) -> usize {
        self.lists * (self.length + 2)
    }

    #[inline(always)]
    fn elements(self) -> usize {
        self.lines * self.line
    }
}

#[inline(always)]
fn layout<E>(job: &Job<E>, steps: usize) -> Option<Layout> {
    let (row, col) = (usize::try_from(job.a.row).ok()?, usize::try_from(job.a.col).ok()?);
    if col == 1 && row > steps {
        let length = job.m * steps;
        Some(Layout { lists: 1, row: steps, length, lines: job.m, line: steps, stride: row })
    } else if col == 1 && row > 0 {
        let length = (job.m - 1) * row + steps;
        Some(Layout { lists: 1, row, length, lines: 1, line: length, stride: 0 })
    } else if row == 1 && col > job.m {
        Some(Layout { lists: job.m, row: 1, length: steps, lines: steps, line: job.m, stride: col })
    } else if row == 1 && col > 0 {
        let (length, line) = ((job.m - 1) / col + steps, (steps - 1) * col + job.m);
        Some(Layout { lists: col, row: 1, length, lines: 1, line, stride: 0 })
    } else {
        None
    }
}

/// Most runs of a chunk.
const MOST_RUNS: usize = 8;

/// Finds the ones of a chunk of A, if it has nothing but zeros and a few ones, and if to look takes little of the time of the products.
/// How many runs there are, 0 if it is not so, and scratch for so many elements, behind which the lists are.
///
/// # Safety
/// A is readable.
#[inline(always)]
unsafe fn find<L: Lanes>(
    job: &Job<L::Elem>,
    chunk: Chunk,
    runs: &mut [Ones; MOST_RUNS],
    beside: usize,
) -> (usize, *mut L::Elem) {
    let nothing = (0, std::ptr::null_mut());
    let (mut done, mut count, mut elements, mut room) = (0, 0, 0, 0);
    while done < chunk.len {
        let run = run_at(chunk, job.k, done);
        let Some(layout) = layout(job, run.3).filter(|_| count < MOST_RUNS) else { return nothing };
        // SAFETY: the elements of a line are A's.
        if done == 0 && !unsafe { begins_with_letters::<L>(start_of(job, run), layout.line) } {
            return nothing;
        }
        runs[count].run = run;
        elements += layout.elements();
        room += layout.memory();
        count += 1;
        done += run.3;
    }
    if elements > MOST_ELEMENTS || elements * LOOK > job.m * chunk.len * (job.n / L::N) {
        return nothing;
    }
    // Elements are no smaller than the numbers of a list.
    let scratch: *mut L::Elem = scratch(beside + room);
    let mut memory: *mut u32 = scratch.wrapping_add(beside).cast();
    for ones in &mut runs[..count] {
        let Some(layout) = layout(job, ones.run.3) else { return nothing };
        // SAFETY: as above; what is left of the memory has room.
        let Some(found) = (unsafe { list::<L>(start_of(job, ones.run), layout, ones.run, memory) }) else {
            return nothing;
        };
        *ones = found;
        memory = memory.wrapping_add(layout.memory());
    }
    (count, scratch)
}

/// The first element of A in a run.
#[inline(always)]
fn start_of<E>(job: &Job<E>, (_, tap, at, _): Run) -> *const E {
    job.a.ptr.wrapping_offset(tap as isize * job.taps.a + at as isize * job.a.col)
}

/// Are the first elements zeros and ones? That they are not says of most operands that nobody needs to look further.
///
/// # Safety
/// The elements are readable.
#[inline(always)]
unsafe fn begins_with_letters<L: Lanes>(start: *const L::Elem, elements: usize) -> bool {
    let (zero, one) = (L::Elem::default(), L::Elem::from(1));
    for i in 0..elements.min(FIRST_LOOK) {
        // SAFETY: the caller's promise.
        let x = unsafe { *start.add(i) };
        if x != zero && x != one {
            return false;
        }
    }
    true
}

/// Lists the ones of a run, if there is nothing else than zeros beside them, and few of them.
///
/// # Safety
/// The layout's elements are readable; `memory` has as much room as the layout says.
#[inline(always)]
unsafe fn list<L: Lanes>(start: *const L::Elem, layout: Layout, run: Run, memory: *mut u32) -> Option<Ones> {
    let (zero, one) = (L::zero(), L::splat(L::Elem::from(1)));
    let Layout { lists, row, length, lines, line, stride } = layout;
    let room = length + 1;
    let (places, counts) = (memory, memory.wrapping_add(lists * room));
    for list in 0..lists {
        // SAFETY: the caller's promise.
        unsafe { *counts.add(list) = 0 }
    }
    // Elements are fewer than 2^16: a product with this is the quotient, exactly.
    let inverse = (1u64 << 32).div_ceil(lists as u64);
    let mut all = 0;
    for index in 0..lines {
        for first in (0..line).step_by(L::N) {
            let count = (line - first).min(L::N);
            // SAFETY: elements of A; of a list with room for each of its places there are as many ones at most.
            unsafe {
                let start = start.add(index * stride + first);
                let x = if count == L::N { L::load(start) } else { L::load_part(start, count) };
                let mut ones = L::set(x.equal(one));
                if ones | L::set(x.equal(zero)) != (1 << L::N) - 1 {
                    return None;
                }
                all += ones.count_ones() as usize;
                while ones != 0 {
                    let at = index * line + first + ones.trailing_zeros() as usize;
                    ones &= ones - 1;
                    let place = ((at as u64 * inverse) >> 32) as usize;
                    let list = at - place * lists;
                    let count = counts.add(list);
                    *places.add(list * room + *count as usize) = place as u32;
                    *count += 1;
                }
            }
        }
    }
    if all * SPARSE > layout.elements() {
        return None;
    }
    for list in 0..lists {
        // SAFETY: a list has room for its end.
        unsafe { *places.add(list * room + *counts.add(list) as usize) = END }
    }
    Some(Ones { run, places, room, lists, row })
}

/// Rows of B in a run, some columns of them: two vectors to a panel.
#[derive(Clone, Copy)]
struct Rows<E> {
    /// Step 0 of the run.
    b: *const E,
    /// From a step to the next, and from a panel to the next.
    step: isize,
    panel: usize,
}

impl<E> Rows<E> {
    /// Vector v of a step.
    ///
    /// # Safety
    /// It is readable.
    #[inline(always)]
    unsafe fn load<L: Lanes<Elem = E>>(&self, step: isize, v: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load(self.b.wrapping_offset(step * self.step).wrapping_add(v / 2 * self.panel + v % 2 * L::N)) }
    }
}

/// Are all elements of so many steps finite?
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn is_finite<L: Lanes, const V: usize>(rows: Rows<L::Elem>, steps: usize) -> bool {
    let mut sum = [L::zero(); V];
    for k in 0..steps as isize {
        for (v, sum) in sum.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *sum = L::zero().fma(unsafe { rows.load::<L>(k, v) }, *sum);
        }
    }
    sum.iter().all(|sum| L::all(sum.equal(L::zero())))
}

/// Adds the rows of B that a row's ones choose: places from `at` on, before `to`, less `first`.
///
/// # Safety
/// The list ends with [`END`]; these are steps of B.
#[inline(always)]
unsafe fn add_rows<L: Lanes, const V: usize>(
    mut at: *const u32,
    first: usize,
    to: usize,
    rows: Rows<L::Elem>,
    mut sum: [L; V],
) -> [L; V] {
    // SAFETY: the caller's promise.
    unsafe {
        while *at < to as u32 {
            let step = *at as isize - first as isize;
            for (v, sum) in sum.iter_mut().enumerate() {
                *sum = sum.add(rows.load(step, v));
            }
            at = at.add(1);
        }
    }
    sum
}

/// The same with products, of all steps.
///
/// # Safety
/// These steps of B and of A, `col` apart, are readable.
#[inline(always)]
unsafe fn multiply_rows<L: Lanes, const V: usize>(
    (a, col): (*const L::Elem, isize),
    steps: std::ops::Range<usize>,
    rows: Rows<L::Elem>,
    mut sum: [L; V],
) -> [L; V] {
    for k in steps.start as isize..steps.end as isize {
        // SAFETY: the caller's promise.
        unsafe {
            let x = L::splat(*a.offset(k * col));
            for (v, sum) in sum.iter_mut().enumerate() {
                *sum = x.fma(rows.load(k, v), *sum);
            }
        }
    }
    sum
}

/// Some columns of C, and of B in all runs.
#[derive(Clone, Copy)]
struct Columns<E> {
    first: usize,
    count: usize,
    /// Step 0 of tap 0.
    rows: Rows<E>,
    /// From a tap to the next.
    tap: isize,
}

/// Up to two panels of columns. `waiting` holds the sums of all rows where there is more than one piece.
///
/// # Safety
/// [`by_ones`]'s, with room for these sums.
#[inline(always)]
unsafe fn columns<L: Lanes, const V: usize>(
    job: &Job<L::Elem>,
    chunk: Chunk,
    runs: &[Ones],
    columns: Columns<L::Elem>,
    piece: usize,
    waiting: *mut L::Elem,
) {
    for ones in runs {
        let (before, tap, at, len) = ones.run;
        let mut rows = columns.rows;
        rows.b = rows.b.wrapping_offset(tap as isize * columns.tap + at as isize * rows.step);
        // SAFETY: the caller's promise.
        let is_finite = unsafe { is_finite::<L, V>(rows, len) };
        let mut from = 0;
        while from < len {
            let to = (from + piece).min(len);
            let (is_first, is_last) = (before + from == 0, before + to == chunk.len);
            for list in 0..ones.lists {
                let mut at = ones.places.wrapping_add(list * ones.room);
                for (index, row) in (list..job.m).step_by(ones.lists).enumerate() {
                    let wait = waiting.wrapping_add(row * V * L::N);
                    let mut sum = [L::zero(); V];
                    // SAFETY: the caller's promise.
                    unsafe {
                        if !is_first {
                            for (v, sum) in sum.iter_mut().enumerate() {
                                *sum = L::load(wait.add(v * L::N));
                            }
                        }
                        if is_finite {
                            let first = index * ones.row;
                            at = skip(at, first + from);
                            sum = add_rows::<L, V>(at, first, first + to, rows, sum);
                        } else {
                            let a = start_of(job, ones.run).wrapping_offset(row as isize * job.a.row);
                            sum = multiply_rows::<L, V>((a, job.a.col), from..to, rows, sum);
                        }
                        if is_last {
                            let c = job.c.ptr.wrapping_offset(row as isize * job.c.row + columns.first as isize);
                            let add = job.add || chunk.from > 0;
                            finish::<L, 1, V>([sum], &Target { c, row: job.c.row, col: 1, cols: columns.count, add });
                        } else {
                            for (v, sum) in sum.iter().enumerate() {
                                sum.store(wait.add(v * L::N));
                            }
                        }
                    }
                }
            }
            from = to;
        }
    }
}

/// Rows that are looked at together: all of them, unless they are windows of a long sequence of letters, as far as its first elements say.
///
/// # Safety
/// A is readable, and has an element.
#[inline(always)]
pub(super) unsafe fn rows_at_once<L: Lanes>(job: &Job<L::Elem>) -> usize {
    match layout(job, job.k) {
        // SAFETY: the caller's promise.
        Some(layout)
            if layout.lists == 1
                && layout.elements() > MOST_ELEMENTS
                && unsafe { begins_with_letters::<L>(job.a.ptr, layout.line) } =>
        {
            (MOST_ELEMENTS / 2).saturating_sub(job.k.min(CHUNK)) / layout.row
        }
        _ => job.m,
    }
    .max(1)
}

/// One chunk of a product, if A is of zeros and ones: `false` if it is not, with C as it was. `panels`: from a panel of B to the next, if B lies in
/// panels already.
///
/// # Safety
/// The contract of a contraction.
#[inline(always)]
pub(super) unsafe fn by_ones<T: Tiles>(job: &Job<<T::L as Lanes>::Elem>, chunk: Chunk, panels: Option<usize>) -> bool {
    let n = T::L::N;
    let (width, group) = (2 * n, 4 * n);
    if job.c.col != 1 || job.n < n {
        return false;
    }
    let may_wait = job.m <= MOST_WAITING;
    let copied = if panels.is_some() { 0 } else { chunk.len * width };
    let beside = 2 * copied + if may_wait { job.m * group } else { 0 };
    let mut runs = [Ones::NOTHING; MOST_RUNS];
    // SAFETY: the caller's promise.
    let (count, copy) = unsafe { find::<T::L>(job, chunk, &mut runs, beside) };
    if count == 0 || count > 1 && !may_wait {
        return false;
    }
    let runs = &runs[..count];
    let piece = if may_wait { PIECE } else { chunk.len };
    let waiting = copy.wrapping_add(2 * copied);
    for first in (0..job.n).step_by(group) {
        let count = (job.n - first).min(group);
        let part = match panels {
            Some(panel) => {
                let b = job.b.ptr.wrapping_add(first / width * panel);
                Columns { first, count, rows: Rows { b, step: job.b.row, panel }, tap: job.taps.b }
            }
            None => {
                // SAFETY: the scratch holds two panels.
                unsafe { pack_b::<T::L>(job, chunk, first, count, width, copy, copied) }
                // Step after step, whatever tap they belong to.
                let b = copy.cast_const().wrapping_sub(chunk.from * width);
                let rows = Rows { b, step: width as isize, panel: copied };
                Columns { first, count, rows, tap: (job.k * width) as isize }
            }
        };
        // SAFETY: the caller's promise; a panel is two vectors wide, whatever of it are columns.
        unsafe {
            match count.div_ceil(n) {
                1 => columns::<T::L, 1>(job, chunk, runs, part, piece, waiting),
                2 => columns::<T::L, 2>(job, chunk, runs, part, piece, waiting),
                3 => columns::<T::L, 3>(job, chunk, runs, part, piece, waiting),
                _ => columns::<T::L, 4>(job, chunk, runs, part, piece, waiting),
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::{Matrix, MatrixMut, Taps};
    use super::*;
    use crate::vector_math::lanes::Plain;

    /// A product of m rows, k steps and 64 columns whose left operand reads `x` with these strides.
    fn job(m: usize, k: usize, x: &[f32], row: isize, col: isize) -> Job<f32> {
        let a = Matrix { ptr: x.as_ptr(), row, col };
        let (b, c) =
            (Matrix { ptr: x.as_ptr(), row: 0, col: 0 }, MatrixMut { ptr: std::ptr::null_mut(), row: 0, col: 0 });
        Job { m, n: 64, k, taps: Taps::ONE, a, b, c, add: false }
    }

    /// The ones that were found, as (row, step); none where products are to be computed.
    fn found(job: &Job<f32>) -> Option<Vec<(usize, usize)>> {
        let (chunk, mut runs) = (Chunk { from: 0, len: job.k }, [Ones::NOTHING; MOST_RUNS]);
        // SAFETY: the jobs of these tests read inside of their slices.
        let (count, _) = unsafe { find::<Plain<f32, 8>>(job, chunk, &mut runs, 100) };
        let mut all = Vec::new();
        for list in 0..runs[0].lists {
            for (index, row) in (list..job.m).step_by(runs[0].lists).enumerate().filter(|_| count == 1) {
                let first = index * runs[0].row;
                // SAFETY: a row and steps of the job; places are inside of the lists.
                unsafe {
                    let mut at = skip(runs[0].places.add(list * runs[0].room), first);
                    while *at < (first + job.k) as u32 {
                        all.push((row, *at as usize - first));
                        at = at.add(1);
                    }
                }
            }
        }
        all.sort_unstable();
        (count > 0).then_some(all)
    }

    fn written(job: &Job<f32>) -> Vec<(usize, usize)> {
        let all = (0..job.m).flat_map(|i| (0..job.k).map(move |k| (i, k)));
        let at = |(i, k): &(usize, usize)| *i as isize * job.a.row + *k as isize * job.a.col;
        // SAFETY: as above.
        all.filter(|place| unsafe { *job.a.ptr.offset(at(place)) } == 1.0).collect()
    }

    #[test]
    fn ones_are_found_where_windows_and_turned_windows_read_letters() {
        let mut x: Vec<f32> = (0..400).map(|i| if i % 4 == (i / 4) * (i / 4) % 3 { 1.0 } else { -0.0 }).collect();
        for (m, k, row, col) in [
            (80, 76, 4, 1),
            (76, 80, 1, 4),
            (40, 40, 1, 1),
            (20, 10, 10, 1),
            (6, 60, 1, 6),
            (5, 60, 72, 1),
            (20, 36, 1, 10),
            (3, 90, 1, 4),
        ] {
            let job = job(m, k, &x, row, col);
            assert_eq!(found(&job), Some(written(&job)), "{m} rows, {k} steps, {row} and {col} apart");
        }
        let windows = |x: &[f32]| found(&job(80, 76, x, 4, 1)).is_some();
        let turned = |x: &[f32]| found(&job(76, 80, x, 1, 4)).is_some();
        assert!(windows(&x) && turned(&x));
        // Strides that go back or that are not of neighbours.
        for (m, k, row, col) in [(20, 20, 5, 3), (80, 76, -4, 1)] {
            assert_eq!(found(&job(m, k, &x[..], row, col)), None, "{row} and {col} apart");
        }
        // Another number, at the end, in the middle, and at once.
        for at in [391, 200, 0] {
            let old = std::mem::replace(&mut x[at], 0.5);
            assert!(!windows(&x) && !turned(&x), "0.5 at {at}");
            x[at] = old;
        }
        // Too many ones, none at all, and nothing worth a look.
        let (full, empty) = (vec![1.0; 400], vec![0.0; 400]);
        assert!(!windows(&full) && !turned(&full));
        assert!(windows(&empty) && turned(&empty));
        assert_eq!(found(&Job { n: 8, ..job(3, 4, &x, 4, 1) }), None);
    }
}
