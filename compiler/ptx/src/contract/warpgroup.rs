//! Products of tf32 or bf16 on the tensor cores of sm_90a: four warps together multiply what lies in shared memory (`wgmma`), and go on meanwhile.
//!
//! ```text
//!              columns: up to 208        a warpgroup (128 threads) has 64 rows, all columns in registers: 64 x 200 are 100 a thread
//!            ┌─────────────┐
//!     rows   │  64         │  += A * B      a piece is 32 of the sum:   memory ──► registers ──► rounded ──► shared memory ──► tensor cores
//!            │  64         │                                           piece i + 2           piece i + 1               piece i
//!            └─────────────┘
//! ```
//!
//! Tensor cores read a piece in one way only, whatever way the operand lies in memory: along the sum, 32 of it a row, and eight rows a group, whose
//! chunks of sixteen bytes change places so that a column of them lies in different banks:
//!
//! | | a row | chunk c of row r lies at |
//! |---|---|---|
//! | tf32 | 128 bytes, 8 chunks of 4 | `c ^ (r mod 8)` |
//! | bf16 | 64 bytes, 4 chunks of 8 | `c ^ (r / 2 mod 4)` |
//!
//! An operand that lies along the rows is read in blocks of 4 x 4, one a thread, and turned by the choice of registers. Each value is rounded once, between
//! memory and shared memory: tensor cores would only cut it off.
//!
//! **Rows change places** within groups of 32, and columns, too: what stands at place 8j + r of a group is row 16 (r mod 2) + 4 (r / 2) + j. Then eight threads
//! that read 128 bytes of a line along the rows write into eight different banks, and a thread's results are four neighbours. What is left behind the last whole
//! group of columns stays in order.
//!
//! Three stages: while piece i is multiplied, piece i + 1 is written, and i - 1 may still be read by warps that are behind. Where values are written the next
//! ones are asked for at once, so that memory has the time of a whole piece to answer.
//!
//! **Order of a sum.** As `tensor`.

use super::copies::{Along, Copies, F32, Piece, RowInPiece, Spread, VECTOR};
use super::store::{Extent, InTile, Placed, Run};
use super::tensor::{Factor, Shape};
use super::{Contract, Gate, Of, is_batch};
use crate::text::{Class, Needs};
use bdl_plan::{AxisRole, ContractionAxis, Parts, Plan};

/// `wgmma`; the `a` means this generation and no later one.
pub const NEEDS: Needs = Needs { version: (8, 0), target: 90, only: true };
/// Of a GPU of this generation: blocks that run at once.
const PROCESSORS: u64 = 132;
/// Columns and terms of a sum, and terms of a part of it, that are worth it.
const FEWEST: u64 = 64;
const SHORTEST: u64 = 128;
const MOST_PARTS: u64 = 132;
/// Of the sum in one piece.
const DEPTH: u32 = 32;
const STAGES: u32 = 3;
/// Rows of a warpgroup, and of a block.
const OF_WARPGROUP: u32 = 64;
const ROWS: u32 = 128;
const WARPGROUP: u32 = 128;
const THREADS: u32 = ROWS / OF_WARPGROUP * WARPGROUP;
/// Columns at most: their sums, and what is on its way from memory, fill a thread's registers.
const MOST_COLUMNS: u32 = 208;
/// Rows whose chunks change places among one another.
const EIGHT: u32 = 8;
/// Rows, or columns, that change places among one another.
const GROUP: u32 = 32;
/// Of four along the sum in a piece.
const FOURS: u32 = DEPTH / VECTOR;
/// What a piece must begin at a multiple of.
pub const ALIGNMENT: u32 = 1024;

impl Factor {
    /// Bytes of a value in shared memory.
    fn bytes(self) -> u32 {
        match self {
            Factor::Tf32 => 4,
            Factor::Bf16 => 2,
        }
    }

    /// Of a row of a piece.
    fn row_bytes(self) -> u32 {
        DEPTH * self.bytes()
    }

    /// The upper half of a descriptor: how far groups of rows lie apart (in sixteens of bytes), and that their chunks change places within rows of
    /// 128 or 64 bytes (PTX ISA, "Matrix Descriptor Format").
    fn descriptor(self) -> u32 {
        let layout = match self {
            Factor::Tf32 => 1,
            Factor::Bf16 => 2,
        };
        layout << 30 | (EIGHT * self.row_bytes()) >> 4
    }

    /// The instruction without its operands, and what follows them.
    fn product(self, columns: u32) -> (String, &'static str) {
        match self {
            Factor::Tf32 => (format!("wgmma.mma_async.sync.aligned.m64n{columns}k8.f32.tf32.tf32"), "1, 1"),
            Factor::Bf16 => (format!("wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.bf16.bf16"), "1, 1, 0, 0"),
        }
    }
}

/// About how many cycles all blocks take: each runs alone on a processor, and all of a wave at once. Read off an H200.
fn time(tiles: u64, columns: u32, pieces: u64, parts: u64) -> u64 {
    let columns = u64::from(columns);
    // Behind the last whole group writes meet in banks.
    let of_piece = 750 + 4 * columns + 8 * (columns % u64::from(GROUP));
    let waves = (tiles * parts).div_ceil(PROCESSORS);
    let at_once = u64::from(Parts::AT_ONCE);
    let of_group = u64::from(Parts::OF_GROUP);
    let added = if parts > at_once { of_group + parts.div_ceil(of_group) } else { parts };
    let (of_part, putting_together) = if parts > 1 { (3_000, 5_000 + added * columns * columns / 11) } else { (0, 0) };
    waves * (4_000 + of_part + pieces.div_ceil(parts) * of_piece) + putting_together
}

/// What of a piece this thread brings from memory to shared memory.
struct Carried<'c> {
    copies: Copies<'c>,
    /// What it has read: of each place in the sum, of each row.
    values: Vec<[String; VECTOR as usize]>,
    /// Of four neighbours in the sum that have one address: bytes between them.
    apart: Option<i64>,
    zero: String,
    /// Where each row's values go in the first stage: one place along the sum, one for each of four rows along them; which a thread may not have.
    to: Vec<(Vec<At>, Option<String>)>,
}

/// A register (32 bits) and what is added to it.
type At = (String, u32);

impl<'c> Contract<'c> {
    /// How a block's work is laid out and in how many parts sums are, where this form of a kernel is the right one; looks at no batch but the usual.
    pub fn warpgroup_shape(&self, plan: &Plan) -> Result<Option<(Shape, Parts)>, String> {
        let axes = [AxisRole::M, AxisRole::N, AxisRole::K].map(|role| self.axes(role));
        let [m, n, k] = axes.each_ref().map(|axes| self.usual_extent(axes));
        let of_batch: Vec<_> = self.c.axes.iter().enumerate().filter(|(_, axis)| is_batch(axis)).collect();
        let elements = self.usual_extent(&of_batch);
        let is_vector = self.are_vectors(&axes)?;
        let is_half_empty = 2 * m <= m.next_multiple_of(u64::from(ROWS));
        if !is_vector || is_half_empty || n < FEWEST || k < FEWEST {
            return Ok(None);
        }
        let pieces = k.div_ceil(u64::from(DEPTH));
        let mut best: Option<(u64, u32, u64, u64)> = None;
        for across in n.div_ceil(u64::from(MOST_COLUMNS))..=n.div_ceil(FEWEST) {
            let tiles = elements * m.div_ceil(u64::from(ROWS)) * across;
            let columns = n.div_ceil(across) as u32;
            let columns = [EIGHT, GROUP].map(|unit| columns.next_multiple_of(unit));
            for columns in columns.into_iter().filter(|columns| *columns <= MOST_COLUMNS) {
                for parts in 1..=(k / SHORTEST).clamp(1, MOST_PARTS) {
                    let time = time(tiles, columns, pieces, parts);
                    if best.is_none_or(|(least, ..)| time < least) {
                        best = Some((time, columns, parts, tiles));
                    }
                }
            }
        }
        Ok(best.map(|(_, columns, parts, tiles)| {
            let length = pieces.div_ceil(parts) * u64::from(DEPTH);
            let parts = match parts {
                1 => Parts::Whole,
                // As many parts for a batch of another size.
                _ if self.is_over_batch(plan) => Parts::Any { unit: DEPTH, enough: (tiles * parts) as u32 },
                _ => Parts::Fixed { length: length as u32 },
            };
            (Shape::of_warpgroups(ROWS, columns), parts)
        }))
    }

    pub fn warpgroup_body(&mut self, shape: &Shape, factor: Factor) -> Result<(), String> {
        let (m_axes, n_axes, k_axes) = (self.axes(AxisRole::M), self.axes(AxisRole::N), self.axes(AxisRole::K));
        let m = self.extent(&m_axes, "m")?;
        let n = self.extent(&n_axes, "n")?;
        let k = self.extent(&k_axes, "k")?;
        let a = self.piece("a_piece", Gate::A, (shape.rows, DEPTH), &m_axes, &k_axes)?;
        let b = self.piece("b_piece", Gate::B, (shape.columns, DEPTH), &n_axes, &k_axes)?;
        let [a_bytes, b_bytes] = [shape.rows, shape.columns].map(|rows| rows * factor.row_bytes());
        let stage_bytes = a_bytes + b_bytes.next_multiple_of(ALIGNMENT);
        self.w.take_registers();
        self.w.shared_by_launch("stages", ALIGNMENT);
        self.shared = STAGES * stage_bytes;
        if self.epilogue.is_some() {
            self.shared = self.shared.max(self.tile_bytes());
        }

        let (first_row, first_column) = self.first_of_block(&m);
        let pieces = self.w.set(Class::B32, "mov.u32", &["stages"]);
        let b_pieces = self.w.set(Class::B32, "add.u32", &[&pieces, &a_bytes.to_string()]);
        let mut a = self.carried(factor, (a, Gate::A), (&first_row, &m, &m_axes), &k_axes, &pieces)?;
        let mut b = self.carried(factor, (b, Gate::B), (&first_column, &n, &n_axes), &k_axes, &b_pieces)?;

        self.w.comment("the pieces as tensor cores are told of them, and the results of this thread");
        let warpgroup = self.w.set(Class::B32, "div.u32", &["%thread", &WARPGROUP.to_string()]);
        let own_rows = (OF_WARPGROUP * factor.row_bytes()).to_string();
        let a_of_warpgroup = self.w.set(Class::B32, "mad.lo.u32", &[&warpgroup, &own_rows, &pieces]);
        // Lengths and addresses there are in sixteens of bytes.
        let [a_from, b_from] = [&a_of_warpgroup, &b_pieces].map(|from| {
            let sixteens = self.w.set(Class::B32, "shr.u32", &[from, "4"]);
            self.w.set(Class::B32, "or.b32", &[&sixteens, &(1 << 16).to_string()])
        });
        let sums: Vec<String> =
            (0..shape.columns / 2).map(|i| self.w.named(Class::F32, &format!("sum_{}_{}", i / 4, i % 4))).collect();
        for sum in &sums {
            self.w.line(format!("mov.f32 {sum}, 0f00000000;"));
        }
        let adds = self.w.set(Class::Pred, "setp.eq.u32", &["0", "0"]);

        self.w.comment("the first pieces");
        let (first_k, end_k) = self.part_of_sum(&k);
        let end_of_part = self.w.set(Class::B32, "cvt.u32.u64", &[&end_k]);
        let write = self.w.named(Class::B32, "write");
        let read = self.w.named(Class::B32, "read");
        self.w.line(format!("mov.u32 {write}, 0;"));
        for carried in [&mut a, &mut b] {
            self.begin(&mut carried.copies, &k_axes, &first_k)?;
        }
        for carried in [&a, &b] {
            for row in 0..carried.to.len() {
                self.bring(carried, row, &end_of_part)?;
            }
            self.advance(&carried.copies, &k_axes)?;
        }
        self.go_on_with_pieces(factor, [&a, &b], &write, &end_of_part, &k_axes)?;
        self.w.line("fence.proxy.async.shared::cta;");
        self.w.line("bar.sync 0;");
        self.w.line(format!("mov.u32 {write}, {stage_bytes};"));
        self.w.line(format!("mov.u32 {read}, 0;"));

        self.w.comment("for pieces of the sum");
        let at_k = self.w.named(Class::B32, "at_k");
        let (next, end) = (self.w.label("next_piece"), self.w.label("end_of_sum"));
        match first_k.starts_with('%') {
            true => self.w.line(format!("cvt.u32.u64 {at_k}, {first_k};")),
            false => self.w.line(format!("mov.u32 {at_k}, {first_k};")),
        }
        self.w.place(&next);
        let done = self.w.set(Class::Pred, "setp.ge.u32", &[&at_k, &end_of_part]);
        self.w.line(format!("@{done} bra {end};"));
        self.w.deeper();
        self.products_of_stage((shape, factor), [&a_from, &b_from], &read, &sums, &adds);
        self.go_on_with_pieces(factor, [&a, &b], &write, &end_of_part, &k_axes)?;
        self.w.line("fence.proxy.async.shared::cta;");
        // The piece before this one is multiplied: its stage is the next to be written.
        self.w.line("wgmma.wait_group.sync.aligned 1;");
        self.w.line("bar.sync 0;");
        self.w.line(format!("add.u32 {at_k}, {at_k}, {DEPTH};"));
        self.go_to_next_stage([&read, &write], stage_bytes, STAGES);
        self.w.line(format!("bra {next};"));
        self.w.shallower();
        self.w.place(&end);
        self.w.line("wgmma.wait_group.sync.aligned 0;");
        let of_result = Placed { rows: (&first_row, &m, &m_axes), columns: (&first_column, &n, &n_axes) };
        let results = by_rows(&self.whole_sum(sums)?, shape.columns);
        let of_thread = self.results_in_tile(shape.columns);
        self.finish(&results, &of_thread, &of_result, &pieces)
    }

    /// Which part of a piece is this thread's, and where it goes. `to`: the piece of the first stage.
    fn carried(
        &mut self,
        factor: Factor,
        (piece, gate): (Piece, Gate),
        (first_row, row_count, row_axes): Extent<'_, 'c>,
        k_axes: &[(usize, &'c ContractionAxis)],
        to: &str,
    ) -> Result<Carried<'c>, String> {
        self.w.comment(&format!("what this thread brings of {}, {:?}", piece.name, piece.along));
        let (four, rows, places) = match piece.along {
            Along::Sum => self.lines_along_sum(factor, piece, to),
            Along::Rows => self.blocks_along_rows(factor, piece, to),
        };
        let k = self.w.set(Class::B32, "shl.b32", &[&four, "2"]);
        let apart = match piece.along {
            Along::Sum => None,
            Along::Rows => self.step_of_four(gate, k_axes)?,
        };
        let places_in_sum = match (piece.along, apart) {
            (Along::Sum, _) | (Along::Rows, Some(_)) => (1, 0),
            (Along::Rows, None) => (VECTOR, 1),
        };
        let to = places
            .into_iter()
            .zip(&rows)
            .map(|(places, row)| (places, (!row.is_sure).then(|| row.number.clone())))
            .collect();
        let count = match piece.along {
            Along::Sum => rows.len(),
            Along::Rows => rows.len() * VECTOR as usize,
        };
        let spread = Spread { rows, k, places: places_in_sum, any_row: true };
        let copies = self.copies(piece, gate, (first_row, row_count), row_axes, &spread)?;
        let value = |i: usize| [0, 1, 2, 3].map(|j| self.w.named(Class::F32, &format!("{}_{i}_{j}", piece.name)));
        let values = (0..count).map(value).collect();
        Ok(Carried { copies, values, apart, zero: self.zero(), to })
    }

    /// Bytes between neighbours in the sum, where four of them (from a multiple of four on) are always there together, and as far apart.
    fn step_of_four(&self, gate: Gate, k_axes: &[(usize, &'c ContractionAxis)]) -> Result<Option<i64>, String> {
        let operand = match gate {
            Gate::A => Of::A,
            Gate::B | Gate::Result => Of::B,
        };
        let Some((number, axis)) = k_axes.last() else { return Ok(None) };
        let is_fourfold = axis.extent.terms().all(|(_, coefficient)| coefficient % i64::from(VECTOR) == 0);
        for clip in &self.c.clips {
            if self.gate(clip)? == gate && clip.terms.iter().any(|(axis, k)| *axis as usize == *number && *k != 0) {
                return Ok(None);
            }
        }
        Ok(operand.stride(axis).as_const().filter(|_| is_fourfold).map(|stride| stride * i64::from(F32)))
    }

    /// A 0 that NVIDIA's compiler cannot tell from another number: where it saw zeros that loads may take the place of, that of CUDA 12.9 crashed.
    fn zero(&mut self) -> String {
        // No launch has 2^63 blocks.
        let zero = self.w.set(Class::B64, "shr.u64", &["%row_blocks", "63"]);
        self.w.set(Class::B32, "cvt.u32.u64", &[&zero])
    }

    fn number(&mut self, op: &str, a: &str, b: u32) -> String {
        self.w.set(Class::B32, op, &[a, &b.to_string()])
    }

    /// The row of a group that stands at place 8j + r, less j.
    fn row_at(&mut self, r: &str) -> String {
        let odd = self.number("and.b32", r, 1);
        let half = self.number("shr.u32", r, 1);
        let half = self.number("shl.b32", &half, 2);
        self.w.set(Class::B32, "mad.lo.u32", &[&odd, "16", &half])
    }

    /// Eight threads have a row, all of them a group: which four of the sum are a thread's, its rows, and where they go.
    fn lines_along_sum(&mut self, factor: Factor, piece: Piece, to: &str) -> (String, Vec<RowInPiece>, Vec<Vec<At>>) {
        let four = self.number("rem.u32", "%thread", FOURS);
        let own = self.number("div.u32", "%thread", FOURS);
        let r = self.number("and.b32", &own, 7);
        let j = self.number("shr.u32", &own, 3);
        let row = self.row_at(&r);
        let row = self.w.set(Class::B32, "add.u32", &[&row, &j]);
        let place = self.place_of_four(factor, &own, &four, to);
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for i in 0..piece.rows.div_ceil(GROUP) {
            let is_sure = (i + 1) * GROUP <= piece.rows;
            let number = self.number("add.u32", if is_sure { &row } else { &own }, i * GROUP);
            rows.push(RowInPiece { number, is_sure });
            places.push(vec![(place.clone(), i * GROUP * factor.row_bytes())]);
        }
        (four, rows, places)
    }

    /// A thread has 4 x 4 of every 128 rows: which four of the sum, the first of four rows each, and where they go.
    fn blocks_along_rows(&mut self, factor: Factor, piece: Piece, to: &str) -> (String, Vec<RowInPiece>, Vec<Vec<At>>) {
        /// Rows that all threads bring at once.
        const AT_ONCE: u32 = THREADS / FOURS * VECTOR;
        let r = self.number("and.b32", "%thread", 7);
        let low = self.number("shr.u32", "%thread", 3);
        let low = self.number("and.b32", &low, 3);
        let high = self.number("shr.u32", "%thread", 3);
        let high = self.number("and.b32", &high, 4);
        let four = self.w.set(Class::B32, "or.b32", &[&low, &high]);
        let group = self.number("shr.u32", "%thread", 6);
        let own = self.row_at(&r);
        let row = self.w.set(Class::B32, "mad.lo.u32", &[&group, &GROUP.to_string(), &own]);
        let place = self.w.set(Class::B32, "mad.lo.u32", &[&group, &GROUP.to_string(), &r]);
        let place = self.place_of_four(factor, &place, &four, to);
        let whole = |i: u32| (0..VECTOR).map(move |j| (i * AT_ONCE + EIGHT * j) * factor.row_bytes());
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for i in 0..piece.rows.div_ceil(AT_ONCE) {
            if (i + 1) * AT_ONCE <= piece.rows {
                rows.push(RowInPiece { number: self.number("add.u32", &row, i * AT_ONCE), is_sure: true });
                places.push(whole(i).map(|at| (place.clone(), at)).collect());
                continue;
            }
            // Some threads have a whole group, some what is left, in order, and some nothing.
            let first = self.w.set(Class::B32, "mad.lo.u32", &[&group, &GROUP.to_string(), &(i * AT_ONCE).to_string()]);
            let is_whole = self.number("add.u32", &first, GROUP);
            let is_whole = self.w.set(Class::Pred, "setp.le.u32", &[&is_whole, &piece.rows.to_string()]);
            let in_order = self.w.set(Class::B32, "mad.lo.u32", &[&r, "4", &first]);
            let changed = self.number("add.u32", &row, i * AT_ONCE);
            let number = self.w.set(Class::B32, "selp.b32", &[&changed, &in_order, &is_whole]);
            let mut own = Vec::new();
            for (j, at) in whole(i).enumerate() {
                let in_order = self.number("add.u32", &in_order, j as u32);
                let in_order = self.place_of_four(factor, &in_order, &four, to);
                let changed = self.number("add.u32", &place, at);
                own.push((self.w.set(Class::B32, "selp.b32", &[&changed, &in_order, &is_whole]), 0));
            }
            rows.push(RowInPiece { number, is_sure: false });
            places.push(own);
        }
        (four, rows, places)
    }

    /// Where four values along the sum lie that stand at a place among the rows of a piece that begins at `start`.
    fn place_of_four(&mut self, factor: Factor, place: &str, four: &str, start: &str) -> String {
        let line = self.w.set(Class::B32, "mad.lo.u32", &[place, &factor.row_bytes().to_string(), start]);
        match factor {
            Factor::Tf32 => {
                let turn = self.number("and.b32", place, 7);
                let chunk = self.w.set(Class::B32, "xor.b32", &[four, &turn]);
                self.w.set(Class::B32, "mad.lo.u32", &[&chunk, "16", &line])
            }
            Factor::Bf16 => {
                let turn = self.number("shr.u32", place, 1);
                let turn = self.number("and.b32", &turn, 3);
                let chunk = self.number("shr.u32", four, 1);
                let chunk = self.w.set(Class::B32, "xor.b32", &[&chunk, &turn]);
                let line = self.w.set(Class::B32, "mad.lo.u32", &[&chunk, "16", &line]);
                let half = self.number("and.b32", four, 1);
                self.w.set(Class::B32, "mad.lo.u32", &[&half, "8", &line])
            }
        }
    }

    /// Reads of the next piece what belongs to one of this thread's rows. `end`: of the sum (32 bits).
    fn bring(&mut self, carried: &Carried<'c>, row: usize, end: &str) -> Result<(), String> {
        let rows = carried.to.len();
        let neighbours = if carried.apart.is_some() { VECTOR as usize } else { 1 };
        self.each_source(&carried.copies, Some(row), end, |own, number, from| {
            for i in 0..neighbours {
                let values = &carried.values[number + i * rows];
                for value in values {
                    own.w.line(format!("mov.b32 {value}, {};", carried.zero));
                }
                let (list, at) = (values.join(", "), carried.apart.unwrap_or(0) * i as i64);
                own.w.line(format!("@{} ld.global.v4.f32 {{{list}}}, [{}+{at}];", from.there, from.address));
            }
        })
    }

    /// Writes what was read to a stage, and reads the piece behind it. `end`: of the sum (32 bits).
    fn go_on_with_pieces(
        &mut self,
        factor: Factor,
        pieces: [&Carried<'c>; 2],
        stage: &str,
        end: &str,
        k_axes: &[(usize, &'c ContractionAxis)],
    ) -> Result<(), String> {
        for carried in pieces {
            for row in 0..carried.to.len() {
                self.put_down(factor, carried, row, stage);
                self.bring(carried, row, end)?;
            }
            self.advance(&carried.copies, k_axes)?;
        }
        Ok(())
    }

    /// Writes what was read of one of this thread's rows to a stage, rounded.
    fn put_down(&mut self, factor: Factor, carried: &Carried<'c>, row: usize, stage: &str) {
        let piece = carried.copies.piece;
        let values = &carried.values;
        let (to, number) = &carried.to[row];
        let guard = match number {
            None => String::new(),
            Some(number) => {
                let there = self.w.set(Class::Pred, "setp.lt.u32", &[number, &piece.rows.to_string()]);
                format!("@{there} ")
            }
        };
        for (j, (to, at)) in to.iter().enumerate() {
            let four: [&String; VECTOR as usize] = match piece.along {
                Along::Sum => values[row].each_ref(),
                // One of the four rows at four places in the sum.
                Along::Rows => [0, 1, 2, 3].map(|place| &values[place * carried.to.len() + row][j]),
            };
            let to = self.w.set(Class::B32, "add.u32", &[to, stage]);
            match factor {
                Factor::Tf32 => {
                    let rounded = four.map(|value| self.rounded_to_tf32(value)).join(", ");
                    self.w.line(format!("{guard}st.shared.v4.b32 [{to}+{at}], {{{rounded}}};"));
                }
                Factor::Bf16 => {
                    let [low, high] = [0, 2].map(|first| {
                        let pair = [four[first + 1].as_str(), four[first].as_str()];
                        self.w.set(Class::B32, "cvt.rn.bf16x2.f32", &pair)
                    });
                    self.w.line(format!("{guard}st.shared.v2.b32 [{to}+{at}], {{{low}, {high}}};"));
                }
            }
        }
    }

    /// Sends the products of one stage on their way. `from`: where pieces begin, in descriptors.
    fn products_of_stage(
        &mut self,
        (shape, factor): (&Shape, Factor),
        from: [&str; 2],
        stage: &str,
        sums: &[String],
        adds: &str,
    ) {
        let sixteens = self.number("shr.u32", stage, 4);
        let upper = self.w.set(Class::B32, "mov.u32", &[&factor.descriptor().to_string()]);
        let from = from.map(|from| self.w.set(Class::B32, "add.u32", &[from, &sixteens]));
        let (product, rest) = factor.product(shape.columns);
        self.w.line("wgmma.fence.sync.aligned;");
        // An instruction takes 32 bytes of each row.
        for k in (0..factor.row_bytes()).step_by(32) {
            let [a, b] = from.each_ref().map(|from| {
                let lower = self.number("add.u32", from, k / 16);
                let descriptor = self.w.temp(Class::B64);
                self.w.line(format!("mov.b64 {descriptor}, {{{lower}, {upper}}};"));
                descriptor
            });
            self.w.line(format!("{product} {{{}}}, {a}, {b}, {adds}, {rest};", sums.join(", ")));
        }
        self.w.line("wgmma.commit_group.sync.aligned;");
    }

    /// Which rows and columns of the tile this thread's sums are: a warp has places 16 w to 16 w + 15, a thread places g and g + 8 of these, and of every eight
    /// columns' places 2t and 2t + 1.
    fn results_in_tile(&mut self, columns: u32) -> InTile {
        let lane = self.number("and.b32", "%thread", 31);
        let warp = self.number("shr.u32", "%thread", 5);
        let g = self.number("shr.u32", &lane, 2);
        let t = self.number("and.b32", &lane, 3);
        let pair = self.number("shr.u32", &warp, 1);
        let j = self.number("and.b32", &warp, 1);
        let j = self.number("shl.b32", &j, 1);
        let row = self.row_at(&g);
        let row = self.w.set(Class::B32, "mad.lo.u32", &[&pair, &GROUP.to_string(), &row]);
        let row = self.w.set(Class::B32, "add.u32", &[&row, &j]);
        let next = self.number("add.u32", &row, 1);
        let (whole, left) = (columns / GROUP, columns % GROUP / EIGHT);
        let mut runs = Vec::new();
        if whole > 0 {
            let offsets = (0..whole).flat_map(|group| [0, 16].map(|half| GROUP * group + half));
            let offsets = offsets.flat_map(|first| [0, 1, 2, 3].map(|j| first + j)).collect();
            runs.push(Run { first: self.number("shl.b32", &t, 2), offsets, together: 4 });
        }
        if left > 0 {
            let offsets = (0..left).flat_map(|eight| [0, 1].map(|next| GROUP * whole + EIGHT * eight + next)).collect();
            runs.push(Run { first: self.number("shl.b32", &t, 1), offsets, together: 2 });
        }
        InTile { rows: vec![row, next], columns: runs }
    }
}

/// A thread's sums in the order of rows and [`Contract::results_in_tile`]'s columns: there are two of its first row, two of its second, of every eight columns.
fn by_rows(sums: &[String], columns: u32) -> Vec<String> {
    let (whole, left) = (columns / GROUP, columns % GROUP / EIGHT);
    let sum = |eight: u32, row: u32, next: u32| sums[(4 * eight + 2 * row + next) as usize].clone();
    let mut rows = Vec::new();
    for row in 0..2 {
        for group in 0..whole {
            for next in 0..2 {
                rows.extend((0..4).map(|j| sum(4 * group + j, row, next)));
            }
        }
        for eight in 0..left {
            rows.extend((0..2).map(|next| sum(4 * whole + eight, row, next)));
        }
    }
    rows
}

const _: () = assert!(VECTOR * F32 == 16 && THREADS / FOURS == GROUP);
