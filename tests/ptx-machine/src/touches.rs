//! Who touched each piece of an allocation last, in the launch that runs: kept by pages, which begin to exist when they are touched.

use crate::Fault;
use crate::access::{Access, NOBODY, SEVERAL, SEVERAL_BLOCKS};
use crate::turns::Turns;

/// Bytes of a page: no access crosses its end, as allocations begin at multiples of it.
pub const PAGE: usize = 512;

/// What this launch does with a piece besides reading and writing.
mod flag {
    /// It is read as what does not change while the launch runs.
    pub const CONSTANT: u8 = 1;
    /// It is counted by atomic operations.
    pub const COUNTED: u8 = 2;
}

/// The last that happened to a page: all of it was done by this block, before it had passed more barriers.
#[derive(Clone, Copy)]
struct Last {
    block: u32,
    barriers: u32,
}

impl Last {
    const NEVER: Last = Last { block: NOBODY.block, barriers: 0 };

    /// Is all of it over before `now` begins, whichever threads and pieces it was?
    #[inline]
    fn is_before(&self, now: &Access) -> bool {
        self.block == NOBODY.block || self.block == now.block && self.barriers < now.barriers
    }

    #[inline]
    fn add(&mut self, now: &Access) {
        if self.block == NOBODY.block {
            *self = Last { block: now.block, barriers: now.barriers };
        } else if self.block == now.block {
            self.barriers = self.barriers.max(now.barriers);
        } else {
            self.block = SEVERAL_BLOCKS;
        }
    }
}

/// What is touched at once: by each of some lanes `len` bytes, `stride` behind those of the one before. All of it lies in one page.
#[derive(Clone, Copy)]
pub struct Run {
    pub at: usize,
    pub len: usize,
    pub lanes: usize,
    pub stride: usize,
}

impl Run {
    /// By one thread, or by several the same.
    pub fn single(at: usize, len: usize) -> Run {
        Run { at, len, lanes: 1, stride: len }
    }
}

/// A run in pieces of a page.
#[derive(Clone, Copy)]
struct Pieces {
    first: u16,
    count: u16,
    lanes: u16,
    stride: u16,
}

impl Pieces {
    /// The pieces of each lane, with who touches them; `first` touches the first.
    #[inline]
    fn of_lanes(self, first: Access) -> impl Iterator<Item = (std::ops::Range<usize>, Access)> {
        (0..self.lanes).map(move |lane| {
            let start = usize::from(self.first + lane * self.stride);
            // Several threads together have no number.
            let thread = if lane == 0 { first.thread } else { first.thread + lane };
            (start..start + usize::from(self.count), Access { thread, ..first })
        })
    }
}

/// Reads that are not entered yet.
struct Noted {
    pieces: Pieces,
    by: Access,
}

/// So many reads are noted before they are entered.
const MOST_NOTED: usize = 64;

struct Page {
    /// Bytes of a piece, the smallest that was ever touched: 4, 2 or 1.
    unit: usize,
    writes: Vec<Access>,
    /// When, as the allocation counts writes; empty where nobody asks.
    moments: Vec<u64>,
    reads: Vec<Access>,
    /// Reads that `reads` does not know yet: most are over before anybody asks who read a piece.
    noted: Vec<Noted>,
    flags: Vec<u8>,
    last_write: Last,
    last_read: Last,
    any_constant: bool,
    any_counted: bool,
}

impl Page {
    fn new(has_moments: bool) -> Page {
        let pieces = PAGE / 4;
        Page {
            unit: 4,
            writes: vec![NOBODY; pieces],
            moments: if has_moments { vec![0; pieces] } else { Vec::new() },
            reads: vec![NOBODY; pieces],
            noted: Vec::new(),
            flags: vec![0; pieces],
            last_write: Last::NEVER,
            last_read: Last::NEVER,
            any_constant: false,
            any_counted: false,
        }
    }

    fn restart(&mut self) {
        self.writes.fill(NOBODY);
        self.moments.fill(0);
        self.reads.fill(NOBODY);
        self.noted.clear();
        self.flags.fill(0);
        (self.last_write, self.last_read) = (Last::NEVER, Last::NEVER);
        (self.any_constant, self.any_counted) = (false, false);
    }

    #[cold]
    fn refine(&mut self, unit: usize) {
        fn finer<T: Copy>(pieces: &[T], by: usize) -> Vec<T> {
            pieces.iter().flat_map(|piece| std::iter::repeat_n(*piece, by)).collect()
        }
        self.enter();
        let by = self.unit / unit;
        (self.writes, self.moments) = (finer(&self.writes, by), finer(&self.moments, by));
        (self.reads, self.flags) = (finer(&self.reads, by), finer(&self.flags, by));
        self.unit = unit;
    }

    #[inline]
    fn pieces(&mut self, run: Run) -> Pieces {
        let all = run.at | run.len | if run.lanes > 1 { run.stride } else { 0 };
        if !all.is_multiple_of(self.unit) {
            self.refine(if all.is_multiple_of(2) { 2 } else { 1 });
        }
        let shift = self.unit.trailing_zeros();
        let pieces = |bytes: usize| (bytes >> shift) as u16;
        Pieces {
            first: pieces(run.at % PAGE),
            count: pieces(run.len),
            lanes: run.lanes as u16,
            stride: pieces(run.stride),
        }
    }

    /// Enters the reads that are noted, all of them by blocks that had learnt nothing of others.
    #[cold]
    fn enter(&mut self) {
        for Noted { pieces, by } in self.noted.drain(..) {
            for (pieces, now) in pieces.of_lanes(by) {
                for read in &mut self.reads[pieces] {
                    *read = if read.is_before(&now) { now } else { read.with(&now) };
                }
            }
        }
    }

    /// In one launch a place is for atomic operations or for others.
    #[inline]
    fn not_counted(&self, what: &str, run: Run, pieces: Pieces) -> Result<(), Fault> {
        match self.any_counted {
            false => Ok(()),
            true => self.no_flag(flag::COUNTED, pieces).map_err(|()| {
                Fault::new(format!("{what} byte {}, where this launch counts by atomic operations", run.at))
            }),
        }
    }

    fn no_flag(&self, flag: u8, pieces: Pieces) -> Result<(), ()> {
        let has = |pieces: std::ops::Range<usize>| self.flags[pieces].iter().any(|own| own & flag != 0);
        if pieces.of_lanes(NOBODY).any(|(pieces, _)| has(pieces)) { Err(()) } else { Ok(()) }
    }
}

#[derive(Default)]
pub struct Touches {
    /// Of each page, its place among `pages` and one; made when first needed.
    places: Vec<u32>,
    /// Which pages there are, in the order of `pages`.
    used: Vec<u32>,
    /// Those in use, and behind them those that were.
    pages: Vec<Page>,
    /// One block alone touches it.
    is_shared: bool,
    /// It will be asked when a piece was written.
    has_moments: bool,
    /// Writes so far.
    writes: u64,
}

impl Touches {
    /// Of memory that a block has for itself. `has_moments`: it will be asked when a piece was written.
    pub fn shared(has_moments: bool) -> Touches {
        Touches { is_shared: true, has_moments, ..Touches::default() }
    }

    /// Another launch, or another block: all that was touched is over.
    pub fn restart(&mut self) {
        self.used.drain(..).for_each(|page| self.places[page as usize] = 0);
    }

    /// Writes so far: a moment.
    pub fn now(&self) -> u64 {
        self.writes
    }

    /// `bytes`: of the allocation.
    #[inline]
    fn page(&mut self, at: usize, bytes: usize) -> &mut Page {
        let number = at / PAGE;
        if self.places.is_empty() {
            self.places = vec![0; bytes.div_ceil(PAGE)];
        }
        if self.places[number] == 0 {
            self.begin(number);
        }
        &mut self.pages[self.places[number] as usize - 1]
    }

    #[cold]
    fn begin(&mut self, number: usize) {
        match self.pages.get_mut(self.used.len()) {
            Some(page) => page.restart(),
            None => self.pages.push(Page::new(self.has_moments)),
        }
        self.used.push(number as u32);
        self.places[number] = self.used.len() as u32;
    }

    /// Who wrote each piece last, and when.
    pub fn written(&mut self, at: usize, len: usize, bytes: usize) -> impl Iterator<Item = (Access, u64)> {
        let page = self.page(at, bytes);
        let Pieces { first, count, .. } = page.pieces(Run::single(at, len));
        let pieces = usize::from(first)..usize::from(first + count);
        let moments = page.moments.get(pieces.clone()).unwrap_or_default().iter().copied().chain(std::iter::repeat(0));
        page.writes[pieces].iter().copied().zip(moments)
    }

    /// `now`: the first lane's thread.
    #[inline]
    pub fn read(&mut self, run: Run, bytes: usize, now: &Access, turns: &Turns) -> Result<(), Fault> {
        let is_shared = self.is_shared;
        let page = self.page(run.at, bytes);
        let pieces = page.pieces(run);
        page.not_counted("reads", run, pieces)?;
        if !page.last_write.is_before(now) {
            for (pieces, now) in pieces.of_lanes(*now) {
                let unordered = |write: &&Access| !write.is_before(&now) && !turns.knows(write, &now);
                if let Some(write) = page.writes[pieces].iter().find(unordered) {
                    return Err(unordered_read(write, run.at));
                }
            }
        }
        if is_shared && page.last_read.is_before(now) {
            // What was noted cannot matter any more.
            page.noted.clear();
        }
        page.last_read.add(now);
        if turns.has_learnt() {
            page.enter();
            for (pieces, now) in pieces.of_lanes(*now) {
                for read in &mut page.reads[pieces] {
                    let is_over = read.is_before(&now) || read.block != now.block && turns.knows(read, &now);
                    *read = if is_over { now } else { read.with(&now) };
                }
            }
            return Ok(());
        }
        page.noted.push(Noted { pieces, by: *now });
        if page.noted.len() == MOST_NOTED {
            page.enter();
        }
        Ok(())
    }

    /// As [`Touches::read`], of what nobody writes in this launch, neither before nor behind.
    #[inline]
    pub fn read_constant(&mut self, run: Run, bytes: usize) -> Result<(), Fault> {
        let page = self.page(run.at, bytes);
        let pieces = page.pieces(run);
        page.not_counted("reads", run, pieces)?;
        page.any_constant = true;
        let any_written = page.last_write.block != NOBODY.block;
        for (pieces, _) in pieces.of_lanes(NOBODY) {
            if any_written && page.writes[pieces.clone()].iter().any(|write| !write.is_of_nobody()) {
                let what = format!("reads byte {} as what does not change, but this launch wrote it", run.at);
                return Err(Fault::new(what));
            }
            page.flags[pieces].iter_mut().for_each(|own| *own |= flag::CONSTANT);
        }
        Ok(())
    }

    /// `now`: the first lane's thread.
    #[inline]
    pub fn write(&mut self, run: Run, bytes: usize, now: &Access, turns: &Turns) -> Result<(), Fault> {
        self.writes += 1;
        let moment = self.writes;
        let at = run.at;
        let page = self.page(at, bytes);
        let pieces = page.pieces(run);
        page.not_counted("writes", run, pieces)?;
        if page.any_constant && page.no_flag(flag::CONSTANT, pieces).is_err() {
            return Err(Fault::new(format!("writes byte {at}, which this launch reads as what does not change")));
        }
        // Whether or not it was these pieces, and whoever it was.
        let (writes_are_over, reads_are_over) = (page.last_write.is_before(now), page.last_read.is_before(now));
        if !reads_are_over && !page.noted.is_empty() {
            page.enter();
        }
        for (pieces, now) in pieces.of_lanes(*now) {
            let is_over = |before: &Access| before.is_before(&now) || turns.knows(before, &now);
            if !writes_are_over && let Some(before) = page.writes[pieces.clone()].iter().find(|w| !is_over(w)) {
                return Err(unordered_write("wrote", before, at));
            }
            if !reads_are_over && let Some(before) = page.reads[pieces.clone()].iter().find(|r| !is_over(r)) {
                return Err(unordered_write("read", before, at));
            }
            if let Some(moments) = page.moments.get_mut(pieces.clone()) {
                moments.fill(moment);
            }
            page.writes[pieces].fill(now);
        }
        page.last_write.add(now);
        Ok(())
    }

    /// An atomic operation on four bytes.
    pub fn count(&mut self, at: usize, bytes: usize) -> Result<(), Fault> {
        let page = self.page(at, bytes);
        let Pieces { first, count, .. } = page.pieces(Run::single(at, 4));
        page.enter();
        page.any_counted = true;
        for i in usize::from(first)..usize::from(first + count) {
            let is_touched = !page.writes[i].is_of_nobody() || !page.reads[i].is_of_nobody();
            if is_touched || page.flags[i] & flag::CONSTANT != 0 {
                return Err(Fault::new(format!(
                    "counts at byte {at} by an atomic operation, where this launch reads or writes without one"
                )));
            }
            page.flags[i] |= flag::COUNTED;
        }
        Ok(())
    }
}

#[cold]
fn unordered_read(Access { block, thread, .. }: &Access, at: usize) -> Fault {
    Fault::new(format!("reads byte {at}, which thread {thread} of block {block} wrote, and no barrier lies between"))
}

#[cold]
fn unordered_write(what: &str, before: &Access, at: usize) -> Fault {
    let who = match (before.thread, before.block) {
        (SEVERAL, _) => "other threads".to_string(),
        (thread, block) => format!("thread {thread} of block {block}"),
    };
    Fault::new(format!("writes byte {at}, which {who} {what}, and no barrier lies between"))
}
