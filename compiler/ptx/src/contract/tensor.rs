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

use super::copies::{Along, Copies, F32, Piece, RowInPiece, Spread, VECTOR};
use super::store::{InTile, Placed, Run};
use super::{Contract, Gate};
use crate::emit::mapping::typical;
use crate::text::{Class, Needs};
use bdl_dims::Dim;
use bdl_plan::AxisRole;

/// `cp.async`, and `mma.sync` of tf32 and bf16.
pub const NEEDS: Needs = Needs { version: (7, 0), target: 80, only: false };
/// Blocks that keep a large GPU busy, four times over: two run on a processor at once, and the last ones should be few among many.
pub const ENOUGH: u32 = 528;
/// Of the sum in one piece.
const DEPTH: u32 = 16;
/// Shared memory of a block that every processor with these tensor cores has.
const SHARED: u32 = 96 << 10;
/// Pieces at most: the one that is worked on, and those on their way.
const MOST_STAGES: u32 = 6;
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
    /// Warps one below the other, each with all columns.
    pub fn of_warpgroups(rows: u32, columns: u32) -> Shape {
        Shape { rows, columns, warp_rows: MMA.0, warp_columns: columns }
    }

    pub fn threads(self) -> u32 {
        32 * (self.rows / self.warp_rows) * (self.columns / self.warp_columns)
    }

    fn tiles_of_warp(self) -> (u32, u32) {
        (self.warp_rows / MMA.0, self.warp_columns / MMA.1)
    }
}

/// How a piece lies in shared memory.
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

impl<'c> Contract<'c> {
    /// The largest tile that leaves enough of them; looks at no batch but the usual.
    pub fn tensor_shape(&self) -> Result<Shape, String> {
        let axes = [AxisRole::M, AxisRole::N, AxisRole::K].map(|role| self.axes(role));
        let [m, n] = [&axes[0], &axes[1]]
            .map(|axes| typical(&axes.iter().map(|(_, axis)| axis.extent.clone()).product::<Dim>()));
        let is_vector = self.are_vectors(&axes)?;
        let shape = |rows, columns, warp_rows, warp_columns| Shape { rows, columns, warp_rows, warp_columns };
        Ok(if n <= 32 {
            shape(128, 32, 32, 32)
        } else if self.usual_extent(&axes[0]) <= 32 && n >= 1024 {
            shape(32, 128, 32, 32)
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
        let a = self.piece("a_piece", Gate::A, (shape.rows, DEPTH), &m_axes, &k_axes)?;
        let b = self.piece("b_piece", Gate::B, (shape.columns, DEPTH), &n_axes, &k_axes)?;
        let stage_bytes = a.bytes() + b.bytes();
        let stages = (SHARED / stage_bytes).min(MOST_STAGES);
        self.w.take_registers();
        self.w.shared_by_launch("pieces", 16);
        self.shared = stages * stage_bytes;
        if self.epilogue.is_some() {
            self.shared = self.shared.max(self.tile_bytes());
        }

        let (first_row, first_column) = self.first_of_block(&m);
        let pieces = self.w.set(Class::B32, "mov.u32", &["pieces"]);
        let (spread, a_to, a_step) = self.spread(a, &pieces);
        let mut a = self.copies(a, Gate::A, (&first_row, &m), &m_axes, &spread)?;
        let b_pieces = self.w.set(Class::B32, "add.u32", &[&pieces, &a.piece.bytes().to_string()]);
        let (spread, b_to, b_step) = self.spread(b, &b_pieces);
        let mut b = self.copies(b, Gate::B, (&first_column, &n), &n_axes, &spread)?;

        self.w.comment("the results of this thread");
        let (own_row, first_column_of_warp, group, quad) = self.place_in_warp(shape);
        let own_column = self.w.set(Class::B32, "add.u32", &[&first_column_of_warp, &group]);
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
        for number in 0..stages - 1 {
            self.w.line(format!("mov.u32 {write}, {};", number * stage_bytes));
            for (copies, to, step) in [(&a, &a_to, a_step), (&b, &b_to, b_step)] {
                self.copy(copies, (to, step), &end_of_part, &write)?;
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
        for (copies, to, step) in [(&a, &a_to, a_step), (&b, &b_to, b_step)] {
            self.copy(copies, (to, step), &end_of_part, &write)?;
            self.advance(copies, &k_axes)?;
        }
        self.w.line("cp.async.commit_group;");
        self.products_of_piece((shape, factor), (a.piece, &a_from), (b.piece, &b_from), &read, &sums);
        self.w.line(format!("add.s64 {at_k}, {at_k}, {DEPTH};"));
        self.go_to_next_stage([&read, &write], stage_bytes, stages);
        self.w.line(format!("bra {next};"));
        self.w.shallower();
        self.w.place(&end);
        self.w.line("cp.async.wait_all;");

        let (down, over) = shape.tiles_of_warp();
        // Until here registers are dear.
        let results = by_rows(&self.whole_sum(sums)?, down, over);
        let rows: Vec<String> =
            (0..2 * down).map(|i| self.w.set(Class::B32, "add.u32", &[&own_row, &(8 * i).to_string()])).collect();
        let double = self.w.set(Class::B32, "shl.b32", &[&quad, "1"]);
        let column = self.w.set(Class::B32, "add.u32", &[&first_column_of_warp, &double]);
        let offsets: Vec<u32> = (0..2 * over).map(|i| MMA.1 * (i / 2) + i % 2).collect();
        let columns = vec![Run { first: column, offsets, together: 2 }];
        let of_result = Placed { rows: (&first_row, &m, &m_axes), columns: (&first_column, &n, &n_axes) };
        self.finish(&results, &InTile { rows, columns }, &of_result, &pieces)
    }

    /// This thread's first row in the tile, the first column of its warp, and which row and pair of columns of fragments it has.
    fn place_in_warp(&mut self, shape: &Shape) -> (String, String, String, String) {
        let lane = self.w.set(Class::B32, "and.b32", &["%thread", "31"]);
        let warp = self.w.set(Class::B32, "shr.u32", &["%thread", "5"]);
        let across = (shape.columns / shape.warp_columns).to_string();
        let warp_y = self.w.set(Class::B32, "div.u32", &[&warp, &across]);
        let warp_x = self.w.set(Class::B32, "rem.u32", &[&warp, &across]);
        let group = self.w.set(Class::B32, "shr.u32", &[&lane, "2"]);
        let quad = self.w.set(Class::B32, "and.b32", &[&lane, "3"]);
        let row = self.w.set(Class::B32, "mad.lo.u32", &[&warp_y, &shape.warp_rows.to_string(), &group]);
        let column = self.w.set(Class::B32, "mul.lo.u32", &[&warp_x, &shape.warp_columns.to_string()]);
        (row, column, group, quad)
    }

    /// Which copies are this thread's, and where the first one goes in the first stage (32 bits), and how much further each next one. `to`: the piece of the
    /// first stage.
    fn spread(&mut self, piece: Piece, to: &str) -> (Spread, String, u32) {
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
        let place = self.w.set(Class::B32, "mad.lo.u32", &[&first_line, &piece.pitch().to_string(), &in_line]);
        let to = self.w.set(Class::B32, "mad.lo.u32", &[&place, &F32.to_string(), to]);
        let spread = match piece.along {
            Along::Sum => {
                let row = |i: u32| RowInPiece {
                    number: self.w.set(Class::B32, "add.u32", &[&first_line, &(i * lines).to_string()]),
                    is_sure: (i + 1) * lines <= all_lines,
                };
                Spread { rows: (0..count).map(row).collect(), k: in_line, places: (1, 0), any_row: false }
            }
            Along::Rows => {
                let rows = vec![RowInPiece { number: in_line, is_sure: true }];
                Spread { rows, k: first_line, places: (count, lines), any_row: false }
            }
        };
        (spread, to, lines * piece.pitch() * F32)
    }

    /// Sends one piece on its way to a stage. `to`: the first copy's place in the first stage, and how much further each next one goes; `end`: of the sum
    /// (32 bits).
    fn copy(&mut self, copies: &Copies<'c>, (to, step): (&str, u32), end: &str, stage: &str) -> Result<(), String> {
        let to = self.w.set(Class::B32, "add.u32", &[to, stage]);
        let (bytes, mode) = match copies.piece.width {
            VECTOR => (16, "cg"),
            _one => (4, "ca"),
        };
        self.each_source(copies, None, end, |own, number, from| {
            // Of no bytes nothing is read, wherever the address points.
            let of_row = from.bytes.unwrap_or_else(|| bytes.to_string());
            let size = own.w.set(Class::B32, "selp.b32", &[&of_row, "0", &from.there]);
            let (address, offset) = (from.address, number as u32 * step);
            own.w.line(format!("cp.async.{mode}.shared.global [{to}+{offset}], [{address}], {bytes}, {size};"));
        })
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

    /// What `cvt.rna.tf32` gives, in a quarter of its time: half of the last bit that counts is added, and tensor cores leave out the bits behind it. A
    /// carry that leaves the exponent would make a number of a NaN, which then stays as it was; only the negative NaN whose fraction is all ones becomes
    /// a 0, and no instruction makes that one.
    pub fn rounded_to_tf32(&mut self, value: &str) -> String {
        let bits = self.w.set(Class::B32, "mov.b32", &[value]);
        let sum = self.w.set(Class::B32, "add.s32", &[&bits, "4096"]);
        self.w.set(Class::B32, "max.s32", &[&sum, &bits])
    }

    /// This thread's two registers of a row of a fragment, rounded.
    fn rounded(&mut self, factor: Factor, piece: Piece, from: &str, row: u32, k: u32) -> [String; 2] {
        match factor {
            Factor::Tf32 => self.pair(piece, from, row, k).map(|value| self.rounded_to_tf32(&value)),
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
