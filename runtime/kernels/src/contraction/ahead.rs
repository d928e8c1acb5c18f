//! What is brought into the cache while a tile computes: three lines a step, for whoever comes next.
//!
//! | who comes next | lines |
//! |---|---|
//! | the same tile, eight steps on | of B |
//! | the next panel, where a panel has few tiles of rows | of B, beside those of this step |
//! | the tile below, where rows of A lie side by side | of A, beside those of this step |
//! | the end of the same tile, where B lies in a panel | of C |
//! | the next block of rows, likewise | of A |
//! | whoever comes after the product ([`fetching`]) | of what it reads and writes |
//!
//! A processor finds out by itself what is read in order, but not what is read a few lines at a time from rows that lie far apart, nor what will be
//! read once the product is there. A gradient of weights by few rows takes less time than its optimiser's step, which waits for memory; fetched
//! meanwhile, the two take the time of the longer one.
//!
//! A step of AVX2 has 12 multiply-adds, too few to hide three lines and their addresses: there tiles fetch their own columns only.

use super::tile::{Panel, Steps, Target};
use std::cell::Cell;

/// Steps that a tile is ahead of itself.
pub(super) const STEPS: isize = 8;
const LINE: usize = 64;

/// Steps after which a tile goes on to its next pieces.
pub(super) const TURN: usize = 32;
/// Turns of a tile at most.
pub(super) const MOST_TURNS: usize = super::CHUNK / TURN;

/// Where a tile fetches: at each step a line at `first`, at `first + gap` and at `second`.
#[derive(Clone, Copy)]
pub(super) struct Lines<T> {
    pub first: *const T,
    pub gap: isize,
    /// From a step to the next.
    pub step: isize,
    pub second: *const T,
    pub second_step: isize,
}

/// What a tile fetches.
#[derive(Clone, Copy)]
pub(super) struct Ahead<'p, T> {
    pub lines: Lines<T>,
    /// What is added where a tap ends, to `first` and to `second`.
    pub jumps: (isize, isize),
    /// The lines of the following turns.
    pub turns: &'p [Lines<T>],
}

impl<T> Lines<T> {
    pub const NOTHING: Lines<T> =
        Lines { first: std::ptr::null(), gap: 0, step: 0, second: std::ptr::null(), second_step: 0 };
}

impl<T> Ahead<'_, T> {
    /// Nothing that is not there already.
    pub fn nothing(steps: &Steps<T>) -> Self {
        let lines = Lines { first: steps.a, gap: 0, step: 0, second: steps.a, second_step: 0 };
        Ahead { lines, jumps: (0, 0), turns: &[] }
    }

    /// Of the operands themselves. `panel_width`: columns of a panel; `below`: how far the tile below begins, where rows lie side by side.
    pub fn operands(
        steps: &Steps<T>,
        panel: &Panel<T>,
        panel_width: usize,
        next_panel: bool,
        below: Option<usize>,
    ) -> Self {
        let steps_on = if next_panel { panel_width as isize } else { STEPS * panel.step };
        let lines = Lines {
            // The ends of the two vectors: where they begin, the panel before has been.
            first: panel.b.wrapping_offset(steps_on + panel_width as isize / 2 - 1),
            gap: panel_width as isize / 2,
            step: panel.step,
            second: steps.a.wrapping_add(below.map_or(0, |rows| 2 * rows - 1)),
            second_step: steps.col,
        };
        Ahead { lines, jumps: (panel.skip, steps.tap - steps.k as isize * steps.col), turns: &[] }
    }
}

impl<'p, T: Copy> Ahead<'p, T> {
    /// Where the tile's result goes, and a share of the rows that come next.
    pub fn result(
        steps: &Steps<T>,
        target: &Target<T>,
        rows: usize,
        next: &mut NextRows,
        turns: &'p mut [Lines<T>; MOST_TURNS],
    ) -> Self {
        let count = steps.len.div_ceil(TURN).min(MOST_TURNS);
        let rows_of_turn = rows.div_ceil(count.max(1));
        for (i, turn) in turns[..count].iter_mut().enumerate() {
            // Two vectors of a row, or of two.
            let row = (i * rows_of_turn).min(rows - 1) as isize;
            let first = target.c.wrapping_offset(row * target.row).cast_const();
            let gap = if rows_of_turn > 1 { target.row } else { 0 };
            let (second, bytes) = next.share().unwrap_or((first.cast(), 0));
            let second_step = (bytes / TURN / size_of::<T>()) as isize;
            *turn = Lines { first, gap, step: 1, second: second.cast(), second_step };
        }
        match turns[..count].split_first() {
            Some((first, rest)) => Ahead { lines: *first, jumps: (0, 0), turns: rest },
            None => Ahead::nothing(steps),
        }
    }
}

/// Rows of memory, in shares for the turns of tiles.
pub(super) struct NextRows {
    rows: Stretch,
    at: Cursor,
    /// Bytes of a share.
    share: usize,
}

impl NextRows {
    /// In equal shares for so many tiles.
    pub fn new(rows: Stretch, tiles: usize, steps: usize) -> Self {
        let turns = tiles * steps.div_ceil(TURN);
        let share = (rows.bytes * rows.rows).div_ceil(turns.max(1)).next_multiple_of(2 * LINE);
        NextRows { rows, at: Cursor::default(), share }
    }

    /// Where the next share begins, and its bytes: no more than a row has left.
    fn share(&mut self) -> Option<(*const u8, usize)> {
        self.at.piece(&self.rows, self.share)
    }
}

/// Rows of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub at: *const u8,
    /// Bytes of a row, and from a row to the next.
    pub bytes: usize,
    pub stride: usize,
    pub rows: usize,
}

impl Stretch {
    pub const NOTHING: Stretch = Stretch { at: std::ptr::null(), bytes: 0, stride: 0, rows: 0 };
}

/// How far a stretch has been fetched.
#[derive(Clone, Copy, Default)]
struct Cursor {
    row: usize,
    done: usize,
}

impl Cursor {
    /// At most `most` bytes of a row, from where. None when all has been fetched.
    fn piece(&mut self, stretch: &Stretch, most: usize) -> Option<(*const u8, usize)> {
        if self.row >= stretch.rows || stretch.bytes == 0 {
            return None;
        }
        let from = stretch.at.wrapping_add(self.row * stretch.stride + self.done);
        let bytes = most.min(stretch.bytes - self.done);
        self.done += bytes;
        if self.done == stretch.bytes {
            *self = Cursor { row: self.row + 1, done: 0 };
        }
        Some((from, bytes))
    }
}

/// Stretches at most; of more, the first ones.
pub const MOST_STRETCHES: usize = 6;

/// What the thread fetches beside its products, and how far it has come.
#[derive(Clone, Copy)]
pub(super) struct Stretches {
    all: [Stretch; MOST_STRETCHES],
    count: usize,
    at: usize,
    cursor: Cursor,
}

impl Stretches {
    /// At most `most` bytes, from where.
    fn piece(&mut self, most: usize) -> Option<(*const u8, usize)> {
        while let Some(stretch) = self.all[..self.count].get(self.at) {
            if let Some(piece) = self.cursor.piece(stretch, most) {
                return Some(piece);
            }
            (self.at, self.cursor) = (self.at + 1, Cursor::default());
        }
        None
    }

    /// What a tile of so many steps fetches, turn by turn: three pieces each, or the last one more than once. None when all has been fetched.
    pub fn next<'p, T: Copy>(
        &mut self,
        steps: &Steps<T>,
        turns: &'p mut [Lines<T>; MOST_TURNS],
    ) -> Option<Ahead<'p, T>> {
        let mut count = 0;
        for turn in turns.iter_mut().take(steps.len.div_ceil(TURN)) {
            let length = TURN.min(steps.len - count * TURN);
            let Some(first) = self.piece(length * LINE) else { break };
            let gap = self.piece(length * LINE).unwrap_or(first);
            let second = self.piece(length * LINE).unwrap_or(gap);
            // A short piece is fetched more slowly, rather than something beyond it.
            let step = |bytes: usize| bytes.div_ceil(length).div_ceil(size_of::<T>()) as isize;
            *turn = Lines {
                first: first.0.cast(),
                gap: (gap.0 as isize).wrapping_sub(first.0 as isize) / size_of::<T>() as isize,
                step: step(first.1.max(gap.1)),
                second: second.0.cast(),
                second_step: step(second.1),
            };
            count += 1;
        }
        let (first, rest) = turns[..count].split_first()?;
        Some(Ahead { lines: *first, jumps: (0, 0), turns: rest })
    }
}

thread_local! {
    static STRETCHES: Cell<Option<Stretches>> = const { Cell::new(None) };
}

/// Those that there are, for a while: [`put_back`] them.
pub(super) fn stretches() -> Option<Stretches> {
    STRETCHES.get()
}

pub(super) fn put_back(stretches: Option<Stretches>) {
    STRETCHES.set(stretches);
}

/// Runs `work`; its contractions on this thread bring the stretches of memory into the cache, as far as they come. Changes no result, and addresses
/// that cannot be read do no harm.
pub fn fetching<R>(stretches: &[Stretch], work: impl FnOnce() -> R) -> R {
    let mut all = Stretches { all: [Stretch::NOTHING; MOST_STRETCHES], count: 0, at: 0, cursor: Cursor::default() };
    for stretch in stretches.iter().filter(|s| s.bytes > 0 && s.rows > 0) {
        if let Some(place) = all.all.get_mut(all.count) {
            // Rows without gaps are one.
            *place = if stretch.bytes >= stretch.stride {
                Stretch { bytes: stretch.bytes + (stretch.rows - 1) * stretch.stride, rows: 1, ..*stretch }
            } else {
                *stretch
            };
            all.count += 1;
        }
    }
    if all.count > 0 {
        STRETCHES.set(Some(all));
    }
    let result = work();
    STRETCHES.set(None);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_rows_once() {
        let at = 4096 as *const u8;
        let rows = Stretch { at, bytes: 200, stride: 1000, rows: 2 };
        let mut all = Stretches { all: [rows; MOST_STRETCHES], count: 1, at: 0, cursor: Cursor::default() };
        let pieces: Vec<(usize, usize)> =
            std::iter::from_fn(|| all.piece(128)).map(|(at, bytes)| (at as usize - 4096, bytes)).collect();
        assert_eq!(pieces, [(0, 128), (128, 72), (1000, 128), (1128, 72)]);
    }

    #[test]
    fn a_tile_walks_its_pieces_and_then_rests() {
        let at = 4096 as *const u8;
        let found = fetching(&[Stretch { at, bytes: 640, stride: 640, rows: 2 }], || {
            let mut all = stretches().unwrap();
            let mut turns = [Lines::NOTHING; MOST_TURNS];
            let steps = Steps::<f32> { a: std::ptr::null(), row: 1, col: 1, k: 8, first: 0, tap: 0, len: 8 };
            let mut next = || {
                let Ahead { lines, turns, .. } = all.next(&steps, &mut turns)?;
                Some((
                    lines.first as usize,
                    lines.gap,
                    lines.step,
                    lines.second as usize,
                    lines.second_step,
                    turns.len(),
                ))
            };
            [next(), next()]
        });
        // 1280 bytes: two and a half pieces of 512.
        assert_eq!(found, [Some((4096, 128, 16, 5120, 8, 0)), None]);
        assert!(stretches().is_none(), "only meanwhile");
    }

    #[test]
    fn a_tile_fetches_its_result_and_a_share_of_the_rows_that_come_next() {
        // 14 rows of C, 1000 elements apart, in 256 steps: 8 turns of two rows, the last one's again. 16 rows of 1024 bytes for two tiles: 8 for each.
        let next = Stretch { at: 4096 as *const u8, bytes: 1024, stride: 5000, rows: 16 };
        let mut next = NextRows::new(next, 2, 256);
        let steps = Steps::<f32> { a: std::ptr::null(), row: 1, col: 1, k: 256, first: 0, tap: 0, len: 256 };
        let target = Target::<f32> { c: 65536 as *mut f32, row: 1000, col: 1, cols: 32, add: false };
        let mut fetched = 0;
        for tile in 0..2 {
            let mut turns = [Lines::NOTHING; MOST_TURNS];
            let ahead = Ahead::result(&steps, &target, 14, &mut next, &mut turns);
            let all = [ahead.lines].into_iter().chain(ahead.turns.iter().copied()).collect::<Vec<_>>();
            let rows: Vec<usize> = all.iter().map(|l| (l.first as usize - 65536) / 4000).collect();
            assert_eq!(rows, [0, 2, 4, 6, 8, 10, 12, 13]);
            // A turn's 32 steps go through both vectors of a row.
            assert!(all.iter().all(|l| (l.gap, l.step) == (1000, 1)));
            for line in &all {
                let from = line.second as usize - 4096;
                assert_eq!((from / 5000 * 1024 + from % 5000, fetched % 1024), (fetched, from % 5000), "tile {tile}");
                fetched += line.second_step as usize * TURN * size_of::<f32>();
            }
        }
        assert_eq!(fetched, 16 * 1024);
    }

    #[test]
    fn a_long_tile_goes_through_many_rows() {
        let at = 4096 as *const u8;
        let found = fetching(&[Stretch { at, bytes: 512, stride: 10_000, rows: 5 }], || {
            let mut all = stretches().unwrap();
            let mut turns = [Lines::NOTHING; MOST_TURNS];
            let steps = Steps::<f32> { a: std::ptr::null(), row: 1, col: 1, k: 512, first: 0, tap: 0, len: 512 };
            let Some(Ahead { lines, turns, .. }) = all.next(&steps, &mut turns) else { return Vec::new() };
            [lines]
                .iter()
                .chain(turns)
                .map(|l| (l.first as usize - 4096, l.second as usize - 4096, l.step))
                .collect::<Vec<_>>()
        });
        // Each piece of 512 bytes takes a turn of 32 steps, 16 bytes a step; of the last two rows, the second is fetched twice.
        assert_eq!(found, [(0, 20_000, 4), (30_000, 40_000, 4)]);
    }
}
