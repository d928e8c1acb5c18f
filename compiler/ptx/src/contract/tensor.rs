//! Products of tf32 or bf16 on tensor cores, summed in f32.
//!
//! ```text
//!              columns                 warps side by side, each with 64 x 32 or 32 x 32 results in registers
//!            ┌─────────────┐
//!     rows   │ 128 x 128   │  += A * B      a piece is 16 of the sum; the next pieces are on their way to shared memory
//!            └─────────────┘                (`cp.async`) while tensor cores work on this one
//! ```
//!
//! A piece lies in shared memory as it is read from the operand, along the sum or along the rows, sixteen bytes at a time where the operand's
//! strides allow it; its rows are padded so that a warp's reads of a fragment fall into different banks.
//!
//! | piece | row | padding |
//! |---|---|---|
//! | along the sum | 16 of the sum | 8 |
//! | along the rows | 16 rows of all rows of the tile | 4 |
//!
//! An `mma` of tf32 takes 8 of the sum; a thread has numbers t and t + 4 of them. Which eight these are is free, as long as both operands agree:
//! here t is 2t, t + 4 is 2t + 1, so that a thread's two lie side by side in a piece along the sum. One of bf16 takes 16, and a thread has 2t, 2t +
//! 1 (two halves of a register) and 2t + 8, 2t + 9: pairs as they lie.
//!
//! Values are f32 in shared memory and rounded when they leave it: to tf32 half away from zero, to bf16 half to even. What lies behind the end of a
//! sum or is clipped is copied as zeros.
//!
//! **Order of a sum.** As the tensor cores add eight (sixteen) products to a result, in order of k; parts as `partial` says.

use super::epilogue::InTile;
use super::store::Columns;
use super::{At, Contract, Gate, Of};
use crate::emit::mapping::typical;
use crate::size::Int;
use crate::text::{Class, Needs};
use bdl_dims::Dim;
use bdl_plan::{AxisRole, Clip, ContractionAxis};

/// `cp.async`, and `mma.sync` of tf32 and bf16.
pub const NEEDS: Needs = Needs { version: (7, 0), target: 80 };
/// Of the sum in one piece.
const DEPTH: u32 = 16;
/// Shared memory of a block that every processor with these tensor cores has.
const SHARED: u32 = 96 << 10;
/// Pieces at most: the one that is worked on, and those on their way.
const MOST_STAGES: u32 = 6;
/// Elements that one copy of sixteen bytes moves.
const VECTOR: u32 = 4;
const F32: u32 = 4;
/// Results of one `mma`: 16 rows and 8 columns.
const MMA: (u32, u32) = (16, 8);

/// What tensor cores multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    Tf32,
    Bf16,
}

impl Factor {
    /// Of the sum in one `mma`.
    fn depth(self) -> u32 {
        match self {
            Factor::Tf32 => 8,
            Factor::Bf16 => 16,
        }
    }

    /// The instruction without its operands.
    fn mma(self) -> &'static str {
        match self {
            Factor::Tf32 => "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
            Factor::Bf16 => "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        }
    }
}

/// How a block's work is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub rows: u32,
    pub columns: u32,
    /// Of one warp.
    warp_rows: u32,
    warp_columns: u32,
}

impl Shape {
    pub fn threads(self) -> u32 {
        32 * (self.rows / self.warp_rows) * (self.columns / self.warp_columns)
    }

    fn tiles_of_warp(self) -> (u32, u32) {
        (self.warp_rows / MMA.0, self.warp_columns / MMA.1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Along {
    Sum,
    Rows,
}

/// Pieces of one operand.
#[derive(Clone, Copy)]
struct Piece {
    name: &'static str,
    along: Along,
    /// Elements a copy moves: 1 or [`VECTOR`].
    width: u32,
    /// Of the tile: rows of A, columns of B.
    rows: u32,
}

impl Piece {
    /// Elements from one line in shared memory to the next.
    fn pitch(self) -> u32 {
        match self.along {
            Along::Sum => DEPTH + 8,
            Along::Rows => self.rows + 4,
        }
    }

    fn bytes(self) -> u32 {
        F32 * match self.along {
            Along::Sum => self.rows * self.pitch(),
            Along::Rows => DEPTH * self.pitch(),
        }
    }

    /// Where an element lies in the piece.
    fn place(self, row: u32, k: u32) -> u32 {
        F32 * match self.along {
            Along::Sum => row * self.pitch() + k,
            Along::Rows => k * self.pitch() + row,
        }
    }
}

/// What a thread copies of an operand's pieces: `count` copies, which have the place in the sum in common (along it) or the row.
struct Copies<'c> {
    piece: Piece,
    operand: Of,
    /// Where in the sum copies are.
    places: Vec<PlaceInSum>,
    /// Of each row that is copied: the bytes of a copy (32 bits; 0 where the row is not there: predicates are few), its address without the sum, and the
    /// forms of clips.
    rows: Vec<(String, String, Vec<String>)>,
    /// The clips of this operand, in the order of those forms.
    clips: Vec<&'c Clip>,
    /// Where the first copy goes in the piece (32 bits), and how much further each next one.
    to: String,
    step: u32,
}

/// A place in the sum that copies of one piece have in common. What follows from it is kept from piece to piece, not computed anew.
struct PlaceInSum {
    /// Inside of a piece (64 bits).
    k: String,
    /// In the whole sum (32 bits).
    own: String,
    /// The index of each axis but the outermost, innermost first (32 bits).
    digits: Vec<String>,
    /// What it adds to an address: bytes (64 bits).
    bytes: Option<String>,
    /// What it adds to each clip's form (32 bits).
    forms: Vec<Option<String>>,
}

impl<'c> Contract<'c> {
    /// The largest tile that leaves enough of them; looks at no size of a batch.
    pub fn tensor_shape(&self) -> Result<Shape, String> {
        let axes = [AxisRole::M, AxisRole::N, AxisRole::K].map(|role| self.axes(role));
        let [m, n] = [&axes[0], &axes[1]]
            .map(|axes| typical(&axes.iter().map(|(_, axis)| axis.extent.clone()).product::<Dim>()));
        let is_vector = self.piece("a", Gate::A, 0, &axes[0], &axes[2])?.width == VECTOR
            && self.piece("b", Gate::B, 0, &axes[1], &axes[2])?.width == VECTOR;
        let shape = |rows, columns, warp_rows, warp_columns| Shape { rows, columns, warp_rows, warp_columns };
        Ok(if n <= 32 {
            shape(128, 32, 32, 32)
        } else if n > 64 && m * n >= 64 * 128 * 128 && is_vector {
            shape(128, 128, 64, 64)
        } else if m * n >= 64 * 128 * 64 {
            // Single elements to copy take registers that results could have.
            shape(128, 64, if is_vector { 64 } else { 32 }, 32)
        } else {
            shape(64, 64, 32, 32)
        })
    }

    pub fn tensor_body(&mut self, shape: &Shape, factor: Factor) -> Result<(), String> {
        let (m_axes, n_axes, k_axes) = (self.axes(AxisRole::M), self.axes(AxisRole::N), self.axes(AxisRole::K));
        let m = self.extent(&m_axes, "m")?;
        let n = self.extent(&n_axes, "n")?;
        let k = self.extent(&k_axes, "k")?;
        let a = self.piece("a_piece", Gate::A, shape.rows, &m_axes, &k_axes)?;
        let b = self.piece("b_piece", Gate::B, shape.columns, &n_axes, &k_axes)?;
        let stage_bytes = a.bytes() + b.bytes();
        let stages = (SHARED / stage_bytes).min(MOST_STAGES);
        self.w.take_registers();
        self.w.shared_by_launch("pieces");
        self.shared = stages * stage_bytes;
        if self.epilogue.is_some() {
            self.shared = self.shared.max(self.tile_bytes());
        }

        self.w.comment("the rows and columns of this block; rows behind the last are nobody's");
        let first_row = self.w.set(Class::B64, "mul.wide.u32", &["%row_block", &shape.rows.to_string()]);
        let first_column = self.w.set(Class::B64, "mul.wide.u32", &["%column_block", &shape.columns.to_string()]);
        let outside = self.w.set(Class::Pred, "setp.ge.s64", &[&first_row, &m]);
        self.w.line(format!("@{outside} ret;"));
        let pieces = self.w.set(Class::B32, "mov.u32", &["pieces"]);
        let mut a = self.copies(a, Gate::A, (&first_row, &m), &m_axes, &pieces)?;
        let b_pieces = self.w.set(Class::B32, "add.u32", &[&pieces, &a.piece.bytes().to_string()]);
        let mut b = self.copies(b, Gate::B, (&first_column, &n), &n_axes, &b_pieces)?;

        self.w.comment("the results of this thread");
        let lane = self.w.set(Class::B32, "and.b32", &["%thread", "31"]);
        let warp = self.w.set(Class::B32, "shr.u32", &["%thread", "5"]);
        let across = (shape.columns / shape.warp_columns).to_string();
        let warp_y = self.w.set(Class::B32, "div.u32", &[&warp, &across]);
        let warp_x = self.w.set(Class::B32, "rem.u32", &[&warp, &across]);
        let group = self.w.set(Class::B32, "shr.u32", &[&lane, "2"]);
        let quad = self.w.set(Class::B32, "and.b32", &[&lane, "3"]);
        let own_row = self.w.set(Class::B32, "mad.lo.u32", &[&warp_y, &shape.warp_rows.to_string(), &group]);
        let own_column = self.w.set(Class::B32, "mad.lo.u32", &[&warp_x, &shape.warp_columns.to_string(), &group]);
        let a_from = self.fragment(a.piece, &own_row, &quad, &pieces);
        let b_from = self.fragment(b.piece, &own_column, &quad, &b_pieces);
        let (down, over) = shape.tiles_of_warp();
        let sums: Vec<String> = (0..down * over * 4)
            .map(|i| self.w.named(Class::F32, &format!("sum_{}_{}_{}", i / 4 / over, i / 4 % over, i % 4)))
            .collect();
        for sum in &sums {
            self.w.line(format!("mov.f32 {sum}, 0f00000000;"));
        }

        self.w.comment("the first pieces");
        let (first_k, end_k) = self.part_of_sum(&k);
        let end_of_part = self.w.set(Class::B32, "cvt.u32.u64", &[&end_k]);
        for copies in [&mut a, &mut b] {
            self.begin(copies, &k_axes, &first_k)?;
        }
        let write = self.w.named(Class::B32, "write");
        let read = self.w.named(Class::B32, "read");
        let stage = stage_bytes.to_string();
        for number in 0..stages - 1 {
            self.w.line(format!("mov.u32 {write}, {};", number * stage_bytes));
            for copies in [&a, &b] {
                self.copy(copies, &end_of_part, &write)?;
                self.advance(copies, &k_axes)?;
            }
            self.w.line("cp.async.commit_group;");
        }
        self.w.line(format!("mov.u32 {write}, {};", (stages - 1) * stage_bytes));
        self.w.line(format!("mov.u32 {read}, 0;"));

        self.w.comment("for pieces of the sum");
        let at_k = self.w.named(Class::B64, "at_k");
        let (next, end) = (self.w.label("next_piece"), self.w.label("end_of_sum"));
        self.w.line(format!("mov.b64 {at_k}, {first_k};"));
        self.w.place(&next);
        let done = self.w.set(Class::Pred, "setp.ge.s64", &[&at_k, &end_k]);
        self.w.line(format!("@{done} bra {end};"));
        self.w.deeper();
        self.w.line(format!("cp.async.wait_group {};", stages - 2));
        self.w.line("bar.sync 0;");
        for copies in [&a, &b] {
            self.copy(copies, &end_of_part, &write)?;
            self.advance(copies, &k_axes)?;
        }
        self.w.line("cp.async.commit_group;");
        self.products_of_piece((shape, factor), (a.piece, &a_from), (b.piece, &b_from), &read, &sums);
        self.w.line(format!("add.s64 {at_k}, {at_k}, {DEPTH};"));
        for place in [&read, &write] {
            self.w.line(format!("add.u32 {place}, {place}, {stage};"));
            let past = self.w.set(Class::Pred, "setp.ge.u32", &[place, &(stages * stage_bytes).to_string()]);
            self.w.line(format!("@{past} mov.u32 {place}, 0;"));
        }
        self.w.line(format!("bra {next};"));
        self.w.shallower();
        self.w.place(&end);
        self.w.line("cp.async.wait_all;");

        let results = self.whole_sum(sums)?;
        let results = by_rows(&results, down, over);
        let double = self.w.set(Class::B32, "shl.b32", &[&quad, "1"]);
        let columns = self.w.set(Class::B32, "mad.lo.u32", &[&warp_x, &shape.warp_columns.to_string(), &double]);
        let offsets: Vec<u32> = (0..2 * over).map(|i| MMA.1 * (i / 2) + i % 2).collect();
        if let Some(epilogue) = self.epilogue.take() {
            // Another warp may be at the last piece.
            self.w.line("bar.sync 0;");
            let rows: Vec<String> =
                (0..2 * down).map(|i| self.w.set(Class::B32, "add.u32", &[&own_row, &(8 * i).to_string()])).collect();
            let of_thread = InTile { rows: &rows, column: &columns, offsets: &offsets, together: 2 };
            return self.run_epilogue(&epilogue, &results, &of_thread, (&first_row, &first_column), &pieces);
        }
        let mut place = |own: &str, first: &str| -> String {
            let own = self.w.set(Class::B64, "cvt.u64.u32", &[own]);
            self.w.set(Class::B64, "add.s64", &[&own, first])
        };
        let (row, column) = (place(&own_row, &first_row), place(&columns, &first_column));
        let rows: Vec<String> =
            (0..2 * down).map(|i| self.w.set(Class::B64, "add.s64", &[&row, &(8 * i).to_string()])).collect();
        let columns = Columns { first: &column, offsets: &offsets, count: &n, axes: &n_axes, in_twos: true };
        self.store(&results, (&rows, &m, &m_axes), &columns)
    }

    /// How an operand's pieces are copied.
    fn piece(
        &self,
        name: &'static str,
        gate: Gate,
        rows: u32,
        row_axes: &[(usize, &'c ContractionAxis)],
        k_axes: &[(usize, &'c ContractionAxis)],
    ) -> Result<Piece, String> {
        let (slice, operand) = match gate {
            Gate::A => (&self.c.a, Of::A),
            Gate::B => (&self.c.b, Of::B),
            Gate::Result => return Err("the result is no operand".to_string()),
        };
        let is_step = |axes: &[(usize, &ContractionAxis)]| {
            axes.last().is_some_and(|(_, axis)| operand.stride(axis).as_const() == Some(1))
        };
        let along = if is_step(k_axes) || !is_step(row_axes) { Along::Sum } else { Along::Rows };
        let inner = match along {
            Along::Sum => k_axes.last(),
            Along::Rows => row_axes.last(),
        };
        let is_fourfold = |dim: &Dim| dim.terms().all(|(_, coefficient)| coefficient % i64::from(VECTOR) == 0);
        let mut is_vector = is_fourfold(&slice.offset);
        if let Some((inner, axis)) = inner {
            is_vector &= operand.stride(axis).as_const() == Some(1);
            is_vector &= axis.extent.as_const().is_some_and(|n| n % i64::from(VECTOR) == 0);
            for clip in &self.c.clips {
                let names_inner = clip.terms.iter().any(|(axis, k)| *axis as usize == *inner && *k != 0);
                is_vector &= !(names_inner && self.gate(clip)? == gate);
            }
            for (number, axis) in self.c.axes.iter().enumerate() {
                is_vector &= number == *inner || is_fourfold(operand.stride(axis));
            }
        } else {
            is_vector = false;
        }
        Ok(Piece { name, along, width: if is_vector { VECTOR } else { 1 }, rows })
    }

    /// What this thread copies. `of_rows`: the block's first row and how many there are in all; `to`: the piece of the first stage.
    fn copies(
        &mut self,
        piece: Piece,
        gate: Gate,
        of_rows: (&str, &str),
        row_axes: &[(usize, &'c ContractionAxis)],
        to: &str,
    ) -> Result<Copies<'c>, String> {
        let operand = match gate {
            Gate::A => Of::A,
            Gate::B | Gate::Result => Of::B,
        };
        let threads = self.threads;
        // Copies side by side in a line, and lines that all threads copy at once.
        let line = match piece.along {
            Along::Sum => DEPTH / piece.width,
            Along::Rows => piece.rows / piece.width,
        };
        let (lines, all_lines) = match piece.along {
            Along::Sum => (threads / line, piece.rows),
            Along::Rows => (threads / line, DEPTH),
        };
        let count = all_lines.div_ceil(lines);
        self.w
            .comment(&format!("this thread copies {count} times {} of {}, {:?}", piece.width, piece.name, piece.along));
        let in_line = self.w.set(Class::B32, "rem.u32", &["%thread", &line.to_string()]);
        let in_line = self.w.set(Class::B32, "mul.lo.u32", &[&in_line, &piece.width.to_string()]);
        let first_line = self.w.set(Class::B32, "div.u32", &["%thread", &line.to_string()]);
        let (row, k) = match piece.along {
            Along::Sum => (first_line.clone(), in_line.clone()),
            Along::Rows => (in_line.clone(), first_line.clone()),
        };
        let place = self.w.set(Class::B32, "mad.lo.u32", &[&first_line, &piece.pitch().to_string(), &in_line]);
        let to = self.w.set(Class::B32, "mad.lo.u32", &[&place, &F32.to_string(), to]);
        let step = lines * piece.pitch() * F32;
        let (rows, ks) = match piece.along {
            Along::Sum => (count, 1),
            Along::Rows => (1, count),
        };
        let base = self.base(operand)?;
        let clips = self.clips(gate)?;
        let wide = self.w.set(Class::B64, "cvt.u64.u32", &[&row]);
        let first = self.w.set(Class::B64, "add.s64", &[&wide, of_rows.0]);
        let mut of_each = Vec::new();
        for i in 0..rows {
            let own = self.w.set(Class::B64, "add.s64", &[&first, &(i * lines).to_string()]);
            let mut there = self.w.set(Class::Pred, "setp.lt.s64", &[&own, of_rows.1]);
            // More lines than the piece has.
            if piece.along == Along::Sum && (i + 1) * lines > all_lines {
                let in_piece = self.w.set(Class::B32, "add.u32", &[&row, &(i * lines).to_string()]);
                there = self.w.set(Class::Pred, "setp.lt.and.u32", &[&in_piece, &all_lines.to_string(), &there]);
            }
            let at = self.apart(&own, row_axes)?;
            let address = match self.offset(None, &at, operand)? {
                None => base.clone(),
                Some(elements) => self.address(&base, &elements),
            };
            let mut forms = Vec::new();
            for (clip, start) in &clips {
                let form = self.form(clip, Some(start), &at).unwrap_or_else(|| start.clone());
                forms.push(self.w.set(Class::B32, "cvt.u32.u64", &[&form]));
            }
            let bytes = (F32 * piece.width).to_string();
            of_each.push((self.w.set(Class::B32, "selp.b32", &[&bytes, "0", &there]), address, forms));
        }
        let k = self.w.set(Class::B64, "cvt.u64.u32", &[&k]);
        let mut places = Vec::new();
        for i in 0..ks {
            let k = self.w.set(Class::B64, "add.s64", &[&k, &(i * lines).to_string()]);
            places.push(PlaceInSum { k, own: String::new(), digits: Vec::new(), bytes: None, forms: Vec::new() });
        }
        let clips = clips.into_iter().map(|(clip, _)| clip).collect();
        Ok(Copies { piece, operand, places, rows: of_each, clips, to, step })
    }

    /// Where the copies of the first piece are in the sum.
    fn begin(
        &mut self,
        copies: &mut Copies<'c>,
        k_axes: &[(usize, &'c ContractionAxis)],
        first_k: &str,
    ) -> Result<(), String> {
        let operand = copies.operand;
        for place in &mut copies.places {
            let own = self.w.set(Class::B64, "add.s64", &[first_k, &place.k]);
            place.own = self.w.set(Class::B32, "cvt.u32.u64", &[&own]);
            let at: Vec<At<'c>> = self.apart(&own, k_axes)?;
            place.bytes = match self.offset(None, &at, operand)? {
                None => None,
                Some(elements) => Some(self.w.set(Class::B64, "shl.b64", &[&elements, "2"])),
            };
            let inner = at.iter().take(k_axes.len().saturating_sub(1));
            place.digits = inner.map(|at| self.w.set(Class::B32, "cvt.u32.u64", &[&at.index])).collect();
            for clip in &copies.clips {
                let form = self.form(clip, None, &at);
                place.forms.push(form.map(|form| self.w.set(Class::B32, "cvt.u32.u64", &[&form])));
            }
        }
        Ok(())
    }

    /// Goes on by the depth of a piece: as numbers with several digits are added, the innermost axis first.
    ///
    /// ```text
    /// sum over (tap of 11, channel of 300):  channel += 16;  from 300 on: channel -= 300, and one tap further
    /// ```
    fn advance(&mut self, copies: &Copies<'c>, k_axes: &[(usize, &'c ContractionAxis)]) -> Result<(), String> {
        let operand = copies.operand;
        let inner_first: Vec<(usize, &ContractionAxis)> = k_axes.iter().rev().copied().collect();
        let coefficient = |clip: &Clip, number: usize| -> i64 {
            clip.terms.iter().filter(|(axis, _)| *axis as usize == number).map(|(_, k)| *k).sum()
        };
        let Some(((outermost, outer_axis), inner)) = inner_first.split_last() else { return Ok(()) };
        // The digits of the depth, where the extents are numbers; those that are known only at run time are looked at in the head.
        let mut rest = Dim::from(i64::from(DEPTH));
        let (mut digits, mut step, mut form_steps) = (Vec::new(), Dim::zero(), vec![Dim::zero(); copies.clips.len()]);
        for (number, axis) in inner {
            let digit = rest.rem(&axis.extent);
            rest = rest.floor_div(&axis.extent);
            step = step + digit.clone() * operand.stride(axis).clone();
            for (form, clip) in form_steps.iter_mut().zip(&copies.clips) {
                *form = form.clone() + digit.scale(coefficient(clip, *number));
            }
            digits.push(digit);
        }
        step = step + rest.clone() * operand.stride(outer_axis).clone();
        for (form, clip) in form_steps.iter_mut().zip(&copies.clips) {
            *form = form.clone() + rest.scale(coefficient(clip, *outermost));
        }
        let bytes = |dim: &Dim| dim.scale(i64::from(F32));
        for place in &copies.places {
            let own = &place.own;
            self.w.line(format!("add.u32 {own}, {own}, {DEPTH};"));
            self.go_on("", place.bytes.as_deref(), &bytes(&step))?;
            for (form, step) in place.forms.iter().zip(&form_steps) {
                self.go_on_narrow("", form.as_deref(), step)?;
            }
            let mut carry: Option<String> = None;
            for (level, (number, axis)) in inner.iter().enumerate() {
                let digit = &place.digits[level];
                self.go_on_narrow("", Some(digit), &digits[level])?;
                if let Some(carry) = &carry {
                    self.w.line(format!("@{carry} add.u32 {digit}, {digit}, 1;"));
                } else if digits[level].is_zero() {
                    continue;
                }
                let extent = self.narrow(&axis.extent)?;
                let over = self.w.set(Class::Pred, "setp.ge.u32", &[digit, &extent]);
                let when = format!("@{over} ");
                self.w.line(format!("{when}sub.u32 {digit}, {digit}, {extent};"));
                let (next_number, next) = inner_first[level + 1];
                let back = axis.extent.clone() * operand.stride(axis).clone();
                self.go_on(&when, place.bytes.as_deref(), &bytes(&(operand.stride(next).clone() - back)))?;
                for (form, clip) in place.forms.iter().zip(&copies.clips) {
                    let back = axis.extent.scale(coefficient(clip, *number));
                    let by = Dim::from(coefficient(clip, next_number)) - back;
                    self.go_on_narrow(&when, form.as_deref(), &by)?;
                }
                carry = Some(over);
            }
        }
        Ok(())
    }

    /// Adds a size to a register of 64 bits.
    fn go_on(&mut self, when: &str, register: Option<&str>, by: &Dim) -> Result<(), String> {
        if let Some(register) = register.filter(|_| !by.is_zero()) {
            let by = self.size(by)?.text();
            self.w.line(format!("{when}add.s64 {register}, {register}, {by};"));
        }
        Ok(())
    }

    /// The same with 32 bits: forms and indices have no more.
    fn go_on_narrow(&mut self, when: &str, register: Option<&str>, by: &Dim) -> Result<(), String> {
        if let Some(register) = register.filter(|_| !by.is_zero()) {
            let by = self.narrow(by)?;
            self.w.line(format!("{when}add.s32 {register}, {register}, {by};"));
        }
        Ok(())
    }

    /// A size in 32 bits.
    fn narrow(&mut self, dim: &Dim) -> Result<String, String> {
        Ok(match self.size(dim)? {
            Int::Const(number) => number.to_string(),
            Int::Register(register) => self.w.set(Class::B32, "cvt.u32.u64", &[&register]),
        })
    }

    /// Sends one piece on its way to a stage. `end`: of the sum (32 bits).
    fn copy(&mut self, copies: &Copies<'c>, end: &str, stage: &str) -> Result<(), String> {
        let to = self.w.set(Class::B32, "add.u32", &[&copies.to, stage]);
        let (bytes, mode) = match copies.piece.width {
            VECTOR => (16, "cg"),
            _one => (4, "ca"),
        };
        let mut number = 0;
        for place in &copies.places {
            let in_sum = self.w.set(Class::Pred, "setp.lt.u32", &[&place.own, end]);
            for (own_bytes, base, forms) in &copies.rows {
                let mut there = in_sum.clone();
                for ((own, form), clip) in forms.iter().zip(&place.forms).zip(&copies.clips) {
                    let form = match form {
                        None => own.clone(),
                        Some(form) => self.w.set(Class::B32, "add.u32", &[own, form]),
                    };
                    let extent = self.narrow(&clip.extent)?;
                    // Below 0 is far above, without a sign.
                    there = self.w.set(Class::Pred, "setp.lt.and.u32", &[&form, &extent, &there]);
                }
                let address = match &place.bytes {
                    None => base.clone(),
                    Some(bytes) => self.w.set(Class::B64, "add.s64", &[base, bytes]),
                };
                // Of no bytes nothing is read, wherever the address points.
                let size = self.w.set(Class::B32, "selp.b32", &[own_bytes, "0", &there]);
                let offset = number * copies.step;
                self.w.line(format!("cp.async.{mode}.shared.global [{to}+{offset}], [{address}], {bytes}, {size};"));
                number += 1;
            }
        }
        Ok(())
    }

    /// Where a thread's part of the first fragment lies: row `row`, place `2 * quad` in the sum.
    fn fragment(&mut self, piece: Piece, row: &str, quad: &str, start: &str) -> String {
        let pitch = piece.pitch().to_string();
        let k = self.w.set(Class::B32, "shl.b32", &[quad, "1"]);
        let (line, in_line) = match piece.along {
            Along::Sum => (row, k.as_str()),
            Along::Rows => (k.as_str(), row),
        };
        let place = self.w.set(Class::B32, "mad.lo.u32", &[line, &pitch, in_line]);
        self.w.set(Class::B32, "mad.lo.u32", &[&place, &F32.to_string(), start])
    }

    /// Two values of a row that follow one another in the sum.
    fn pair(&mut self, piece: Piece, from: &str, row: u32, k: u32) -> [String; 2] {
        match piece.along {
            Along::Sum => {
                let values = [self.w.temp(Class::F32), self.w.temp(Class::F32)];
                let list = values.join(", ");
                self.w.line(format!("ld.shared.v2.f32 {{{list}}}, [{from}+{}];", piece.place(row, k)));
                values
            }
            Along::Rows => [k, k + 1]
                .map(|k| self.w.set(Class::F32, "ld.shared.f32", &[&format!("[{from}+{}]", piece.place(row, k))])),
        }
    }

    /// This thread's two registers of a row of a fragment, rounded.
    fn rounded(&mut self, factor: Factor, piece: Piece, from: &str, row: u32, k: u32) -> [String; 2] {
        match factor {
            // What `cvt.rna.tf32` gives, in a quarter of its time: half of the last bit that counts is added, and tensor cores leave out the bits
            // behind it. A carry that leaves the exponent would make a number of a NaN, which then stays as it was; only the negative NaN whose
            // fraction is all ones becomes a 0, and no instruction makes that one.
            Factor::Tf32 => self.pair(piece, from, row, k).map(|value| {
                let bits = self.w.set(Class::B32, "mov.b32", &[&value]);
                let sum = self.w.set(Class::B32, "add.s32", &[&bits, "4096"]);
                self.w.set(Class::B32, "max.s32", &[&sum, &bits])
            }),
            Factor::Bf16 => [k, k + 8].map(|k| {
                let [low, high] = self.pair(piece, from, row, k);
                self.w.set(Class::B32, "cvt.rn.bf16x2.f32", &[&high, &low])
            }),
        }
    }

    /// The products of one pair of pieces.
    fn products_of_piece(
        &mut self,
        (shape, factor): (&Shape, Factor),
        (a, a_from): (Piece, &str),
        (b, b_from): (Piece, &str),
        stage: &str,
        sums: &[String],
    ) {
        let (down, over) = shape.tiles_of_warp();
        let a_at = self.w.set(Class::B32, "add.u32", &[a_from, stage]);
        let b_at = self.w.set(Class::B32, "add.u32", &[b_from, stage]);
        for k in (0..DEPTH).step_by(factor.depth() as usize) {
            let a_fragments: Vec<[String; 4]> = (0..down)
                .map(|i| {
                    let [upper, lower] = [0, 8].map(|row| self.rounded(factor, a, &a_at, i * MMA.0 + row, k));
                    let ([a0, a2], [a1, a3]) = (upper, lower);
                    [a0, a1, a2, a3]
                })
                .collect();
            let b_fragments: Vec<[String; 2]> =
                (0..over).map(|j| self.rounded(factor, b, &b_at, j * MMA.1, k)).collect();
            for (i, a) in a_fragments.iter().enumerate() {
                for (j, b) in b_fragments.iter().enumerate() {
                    let first = 4 * (i * over as usize + j);
                    let sums = sums[first..first + 4].join(", ");
                    let (a, b) = (a.join(", "), b.join(", "));
                    self.w.line(format!("{} {{{sums}}}, {{{a}}}, {{{b}}}, {{{sums}}};", factor.mma()));
                }
            }
        }
    }
}

/// Results of fragments, by rows: each fragment has two rows of two columns.
fn by_rows(results: &[String], down: u32, over: u32) -> Vec<String> {
    let mut rows = Vec::new();
    for i in 0..down {
        for half in 0..2 {
            for j in 0..over {
                let first = (4 * (i * over + j) + 2 * half) as usize;
                rows.extend_from_slice(&results[first..first + 2]);
            }
        }
    }
    rows
}
