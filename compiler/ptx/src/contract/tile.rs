//! Exact products: 64 x 64 results a block, from pieces of 64 x 16 and 16 x 64.
//!
//! ```text
//!            columns                      thread (ty, tx) of 16 x 16
//!          ┌────────────┐                 ├ copies 4 elements of each piece
//!   rows   │ 64 x 64    │ += A   *  B     ├ has 4 x 4 results in registers
//!          └────────────┘   64x16  16x64  └ adds 16 products to each for every pair of pieces
//! ```
//!
//! **Order of a sum.** One chain of fused multiply-adds for every 512 of k, the chains added in order: each result depends on its own row
//! and column alone, and is the CPU's to the bit where the CPU does not cut the sum.

use super::store::{InTile, Placed, Run};
use super::{Contract, Gate, Of};
use crate::text::Class;
use bdl_plan::AxisRole;

pub const THREADS: u32 = 256;
/// Rows and columns of a block's result.
pub const TILE: u32 = 64;
/// Of the sum in one piece.
const DEPTH: u32 = 16;
/// A row of A's piece in shared memory is longer than the tile, so that its writes fall into different banks.
const A_ROW: u32 = TILE + 4;
/// After so many of k a chain of sums ends, as on the processor.
pub const CHAIN: u32 = bdl_kernels::contraction::CHUNK as u32;
/// The place in a chain is found by a mask.
const _: () = assert!(CHAIN.is_power_of_two());

impl Contract<'_> {
    pub fn tile_body(&mut self) -> Result<(), String> {
        let (word, class, bytes) = (self.word, self.class, self.bytes);
        let zero = if class == Class::F64 { "0d0000000000000000" } else { "0f00000000" };
        let (m_axes, n_axes, k_axes) = (self.axes(AxisRole::M), self.axes(AxisRole::N), self.axes(AxisRole::K));
        let m = self.extent(&m_axes, "m")?;
        let n = self.extent(&n_axes, "n")?;
        let k = self.extent(&k_axes, "k")?;
        // The tile takes its place at the end.
        let of_tile = self.epilogue.as_ref().map_or(0, |_| self.tile_bytes() / bytes);
        self.w.shared("a_piece", class, of_tile.max(DEPTH * A_ROW));
        self.w.shared("b_piece", class, DEPTH * TILE);
        let tile = TILE.to_string();
        let wide = |c: &mut Self, x: &str| c.w.set(Class::B64, "cvt.u64.u32", &[x]);

        let (first_row, first_column) = self.first_of_block(&m);

        self.w.comment("this thread copies a[row, 4 of k] ..");
        let a_row = self.w.set(Class::B32, "shr.u32", &["%thread", "2"]);
        let a_k = self.w.set(Class::B32, "and.b32", &["%thread", "3"]);
        let a_k = self.w.set(Class::B32, "shl.b32", &[&a_k, "2"]);
        let row = wide(self, &a_row);
        let row = self.w.set(Class::B64, "add.s64", &[&row, &first_row]);
        let row_there = self.w.set(Class::Pred, "setp.lt.s64", &[&row, &m]);
        let a_base = self.base(Of::A)?;
        let a_clips = self.clips(Gate::A)?;
        let at_row = self.apart(&row, &m_axes)?;
        let a_base = match self.offset(None, &at_row, Of::A)? {
            None => a_base,
            Some(elements) => self.address(&a_base, &elements),
        };
        let mut a_forms = Vec::new();
        for (clip, start) in a_clips {
            let form = self.form(clip, Some(&start), &at_row).unwrap_or(start);
            a_forms.push((clip, form));
        }
        let a_piece = self.w.set(Class::B32, "mov.u32", &["a_piece"]);
        let a_to = self.w.set(Class::B32, "mad.lo.u32", &[&a_k, &A_ROW.to_string(), &a_row]);
        let a_to = self.w.set(Class::B32, "mad.lo.u32", &[&a_to, &bytes.to_string(), &a_piece]);
        let a_k = wide(self, &a_k);

        self.w.comment(".. and b[one of k, 4 columns]");
        let b_k = self.w.set(Class::B32, "shr.u32", &["%thread", "4"]);
        let b_column = self.w.set(Class::B32, "and.b32", &["%thread", "15"]);
        let b_column = self.w.set(Class::B32, "shl.b32", &[&b_column, "2"]);
        let b_base = self.base(Of::B)?;
        let b_clips = self.clips(Gate::B)?;
        let column = wide(self, &b_column);
        let column = self.w.set(Class::B64, "add.s64", &[&column, &first_column]);
        let mut columns = Vec::new();
        for j in 0..4 {
            let own =
                if j == 0 { column.clone() } else { self.w.set(Class::B64, "add.s64", &[&column, &j.to_string()]) };
            let there = self.w.set(Class::Pred, "setp.lt.s64", &[&own, &n]);
            let at = self.apart(&own, &n_axes)?;
            let base = match self.offset(None, &at, Of::B)? {
                None => b_base.clone(),
                Some(elements) => self.address(&b_base, &elements),
            };
            let mut forms = Vec::new();
            for (clip, start) in &b_clips {
                let form = self.form(clip, Some(start), &at).unwrap_or_else(|| start.clone());
                forms.push((*clip, form));
            }
            columns.push((there, base, forms));
        }
        let b_piece = self.w.set(Class::B32, "mov.u32", &["b_piece"]);
        let b_to = self.w.set(Class::B32, "mad.lo.u32", &[&b_k, &tile, &b_column]);
        let b_to = self.w.set(Class::B32, "mad.lo.u32", &[&b_to, &bytes.to_string(), &b_piece]);
        let b_k = wide(self, &b_k);

        self.w.comment("its 4 x 4 results");
        let ty = self.w.set(Class::B32, "shr.u32", &["%thread", "4"]);
        let tx = self.w.set(Class::B32, "and.b32", &["%thread", "15"]);
        let four = (4 * bytes).to_string();
        let a_from = self.w.set(Class::B32, "mad.lo.u32", &[&ty, &four, &a_piece]);
        let b_from = self.w.set(Class::B32, "mad.lo.u32", &[&tx, &four, &b_piece]);
        let sums: Vec<String> = (0..16).map(|i| self.w.named(class, &format!("sum_{}_{}", i / 4, i % 4))).collect();
        for sum in &sums {
            self.w.line(format!("mov.{word} {sum}, {zero};"));
        }
        // A short sum is one chain.
        let product = k_axes.iter().map(|(_, axis)| axis.extent.clone()).product::<bdl_dims::Dim>();
        let is_long = product.as_const().is_none_or(|k| k > i64::from(CHAIN));
        let totals: Vec<String> = match is_long {
            true => (0..16).map(|i| self.w.named(class, &format!("total_{}_{}", i / 4, i % 4))).collect(),
            false => Vec::new(),
        };
        for total in &totals {
            self.w.line(format!("mov.{word} {total}, {zero};"));
        }

        self.w.comment("for pieces of the sum");
        let k0 = self.w.named(Class::B64, "k_piece");
        let (next, end) = (self.w.label("next_piece"), self.w.label("end_of_sum"));
        let (first_k, k) = self.part_of_sum(&k);
        self.w.line(format!("mov.b64 {k0}, {first_k};"));
        self.w.place(&next);
        let done = self.w.set(Class::Pred, "setp.ge.s64", &[&k0, &k]);
        self.w.line(format!("@{done} bra {end};"));
        self.w.deeper();
        if is_long {
            self.w.comment("a chain ends");
            let skip = self.w.label("same_chain");
            let in_chain = self.w.set(Class::B64, "and.b64", &[&k0, &(CHAIN - 1).to_string()]);
            let inside = self.w.set(Class::Pred, "setp.ne.s64", &[&in_chain, "0"]);
            self.w.line(format!("@{inside} bra {skip};"));
            for (total, sum) in totals.iter().zip(&sums) {
                self.w.line(format!("add.rn.{word} {total}, {total}, {sum};"));
                self.w.line(format!("mov.{word} {sum}, {zero};"));
            }
            self.w.place(&skip);
        }
        let own_k = self.w.set(Class::B64, "add.s64", &[&k0, &a_k]);
        for i in 0..4u32 {
            let own = if i == 0 { own_k.clone() } else { self.w.set(Class::B64, "add.s64", &[&own_k, &i.to_string()]) };
            let there = self.w.set(Class::Pred, "setp.lt.and.s64", &[&own, &k, &row_there]);
            let at = self.apart(&own, &k_axes)?;
            let there = self.inside(&there, &a_forms, &at)?;
            let address = match self.offset(None, &at, Of::A)? {
                None => a_base.clone(),
                Some(elements) => self.address(&a_base, &elements),
            };
            let element = self.w.set(class, &format!("mov.{word}"), &[zero]);
            self.w.line(format!("@{there} ld.global.{word} {element}, [{address}];"));
            self.w.line(format!("st.shared.{word} [{a_to}+{}], {element};", i * A_ROW * bytes));
        }
        let own = self.w.set(Class::B64, "add.s64", &[&k0, &b_k]);
        let k_there = self.w.set(Class::Pred, "setp.lt.s64", &[&own, &k]);
        let at = self.apart(&own, &k_axes)?;
        let along = self.offset(None, &at, Of::B)?;
        for (j, (there, base, forms)) in columns.iter().enumerate() {
            let there = self.w.set(Class::Pred, "and.pred", &[there, &k_there]);
            let there = self.inside(&there, forms, &at)?;
            let address = match &along {
                None => base.clone(),
                Some(elements) => self.address(base, elements),
            };
            let element = self.w.set(class, &format!("mov.{word}"), &[zero]);
            self.w.line(format!("@{there} ld.global.{word} {element}, [{address}];"));
            self.w.line(format!("st.shared.{word} [{b_to}+{}], {element};", j as u32 * bytes));
        }
        self.w.line("bar.sync 0;");
        self.products(&a_from, &b_from, &sums);
        self.w.line("bar.sync 0;");
        self.w.line(format!("add.s64 {k0}, {k0}, {DEPTH};"));
        self.w.line(format!("bra {next};"));
        self.w.shallower();
        self.w.place(&end);
        let results = match is_long {
            true => {
                for (total, sum) in totals.iter().zip(&sums) {
                    self.w.line(format!("add.rn.{word} {total}, {total}, {sum};"));
                }
                totals
            }
            false => sums,
        };
        let results = self.whole_sum(results)?;
        let [row, column] = [&ty, &tx].map(|own| self.w.set(Class::B32, "shl.b32", &[own, "2"]));
        let rows = (0..4).map(|i: u32| self.w.set(Class::B32, "add.u32", &[&row, &i.to_string()])).collect();
        let columns = vec![Run { first: column, offsets: vec![0, 1, 2, 3], together: 4 }];
        let of_result = Placed { rows: (&first_row, &m, &m_axes), columns: (&first_column, &n, &n_axes) };
        self.finish(&results, &InTile { rows, columns }, &of_result, &a_piece)
    }

    /// The products of one pair of pieces, in the order of the sum.
    fn products(&mut self, a_from: &str, b_from: &str, sums: &[String]) {
        /// Of a piece, written out.
        const STEPS: u32 = 4;
        let (word, class, bytes) = (self.word, self.class, self.bytes);
        let (a_row, b_row) = (A_ROW * bytes, TILE * bytes);
        let (a_at, b_at) = (self.w.named(Class::B32, "a_at"), self.w.named(Class::B32, "b_at"));
        let count = self.w.named(Class::B32, "step");
        self.w.line(format!("mov.u32 {a_at}, {a_from};"));
        self.w.line(format!("mov.u32 {b_at}, {b_from};"));
        self.w.line(format!("mov.u32 {count}, 0;"));
        let next = self.w.label("next_products");
        self.w.place(&next);
        for step in 0..STEPS {
            let a: Vec<String> = (0..4).map(|_| self.w.temp(class)).collect();
            let b: Vec<String> = (0..4).map(|_| self.w.temp(class)).collect();
            for (registers, from, row) in [(&a, &a_at, a_row), (&b, &b_at, b_row)] {
                // Sixteen bytes at a time.
                let wide = (16 / bytes) as usize;
                for (part, registers) in registers.chunks(wide).enumerate() {
                    let at = step * row + part as u32 * 16;
                    let list = registers.join(", ");
                    self.w.line(format!("ld.shared.v{wide}.{word} {{{list}}}, [{from}+{at}];"));
                }
            }
            for (i, sum) in sums.iter().enumerate() {
                self.w.line(format!("fma.rn.{word} {sum}, {}, {}, {sum};", a[i / 4], b[i % 4]));
            }
        }
        self.w.line(format!("add.u32 {a_at}, {a_at}, {};", STEPS * a_row));
        self.w.line(format!("add.u32 {b_at}, {b_at}, {};", STEPS * b_row));
        self.w.line(format!("add.u32 {count}, {count}, {STEPS};"));
        let more = self.w.set(Class::Pred, "setp.lt.u32", &[&count, &DEPTH.to_string()]);
        self.w.line(format!("@{more} bra {next};"));
    }
}
