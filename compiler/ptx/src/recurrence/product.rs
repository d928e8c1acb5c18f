//! `out[row, n] = sum over k of left[row, k] * weights[k, n]` for the few rows of a block.
//!
//! ```text
//! left[row, k] of the block's rows -> shared memory, [k][row]
//! thread (part, group):  columns group * V .. + V, k of its part;  rows x V sums in registers
//! parts -> shared memory, added in order
//! ```
//!
//! How fast one multiprocessor reads the weights at every step bounds a step. As many of them as it has room for stay in its shared memory, the
//! first of each part; the rest comes from the cache of the whole processor, once for all rows of a block.
//!
//! Factors are rounded as tensor cores round them where a program asks for that: the left ones when they are copied, weights when they are laid out.
//!
//! **Order of a sum.** With exact products one chain of fused multiply-adds for every 512 of k, as everywhere; otherwise a chain for each part.

use super::pack::rounded;
use crate::contract::CHAIN;
use crate::emit::Emit;
use crate::text::{Class, Writer};
use bdl_plan::{AxisRole, BufferId, Contraction, DType, Plan, Products};

/// Rows of a block, which share what is read of the weights.
pub const ROWS: i64 = 2;
/// Threads of a block.
pub const THREADS: i64 = 512;
/// Bytes of shared memory for parts of sums.
const MOST_PARTS: i64 = 32 << 10;
/// Elements of a row that are kept in shared memory.
const MOST_K: i64 = 512;
/// Products that a thread has on their way, and what stays in shared memory of each part of a sum is a multiple of.
pub const AT_ONCE: i64 = 8;

/// A product with weights that are the same for all rows and steps.
#[derive(Clone, Debug)]
pub struct Product {
    pub left_is_a: bool,
    pub n: i64,
    pub k: i64,
    /// Elements from one to the next.
    pub out_row: i64,
    pub out_column: i64,
    pub left_row: i64,
    pub left_k: i64,
    pub weights_k: i64,
    pub weights_n: i64,
    /// How factors are rounded.
    pub factors: Products,
    /// Columns of a thread, and parts of the sum.
    columns: i64,
    parts: i64,
}

impl Product {
    /// The contraction, whose axes are merged, as such a product. `rows`: the axis of the rows, one element each.
    pub fn of(
        plan: &Plan,
        c: &Contraction,
        rows: usize,
        step: &str,
        written: &[BufferId],
        products: Products,
    ) -> Option<Product> {
        let row = &c.axes[rows];
        let left_is_a = match (row.a.is_zero(), row.b.is_zero()) {
            (false, true) => true,
            (true, false) => false,
            (true, true) | (false, false) => return None,
        };
        let (left, right) = if left_is_a { (&c.a, &c.b) } else { (&c.b, &c.a) };
        let is_f32 = [&c.out, left, right].iter().all(|s| plan.buffers[s.buffer.0 as usize].dtype == DType::F32);
        if !is_f32 || written.contains(&right.buffer) || right.offset.mentions(step) {
            return None;
        }
        let mut others = c.axes.iter().enumerate().filter(|(i, _)| *i != rows).map(|(_, axis)| axis);
        let (one, two) = (others.next()?, others.next()?);
        if others.next().is_some() {
            return None;
        }
        let (n, k) = if two.role == AxisRole::K { (one, two) } else { (two, one) };
        let strides = |axis: &bdl_plan::ContractionAxis| {
            let (of_left, of_right) = if left_is_a { (&axis.a, &axis.b) } else { (&axis.b, &axis.a) };
            Some((axis.out.as_const()?, of_left.as_const()?, of_right.as_const()?))
        };
        let ((out_row, left_row, _), (out_column, n_left, weights_n), (k_out, left_k, weights_k)) =
            (strides(row)?, strides(n)?, strides(k)?);
        if k.role != AxisRole::K || n_left != 0 || k_out != 0 {
            return None;
        }
        let (n, k) = (n.extent.as_const()?, k.extent.as_const()?);
        if k > MOST_K || n < 1 || k < 1 {
            return None;
        }
        let (columns, parts) = shape(n, k, products);
        Some(Product {
            left_is_a,
            n,
            k,
            out_row,
            out_column,
            left_row,
            left_k,
            weights_k,
            weights_n,
            factors: products,
            columns,
            parts,
        })
    }

    /// Do the weights lie as the threads read them? `offset`: of their first element.
    pub fn is_packed(&self, offset: Option<i64>) -> bool {
        self.factors == Products::Exact
            && self.weights_n == 1
            && self.weights_k == self.n
            && offset.is_some_and(|offset| offset % self.columns == 0)
    }

    /// Floats of shared memory: for the rows, for parts of sums.
    pub fn shared(&self) -> (i64, i64) {
        (self.k * ROWS, if self.parts > 1 { self.parts * self.n * ROWS } else { 0 })
    }

    /// Of a part of the sum.
    fn own(&self) -> i64 {
        self.k / self.parts
    }

    /// How many times [`AT_ONCE`] of each part can stay in shared memory, and the bytes of each.
    pub fn residents(&self) -> (i64, i64) {
        if self.own() % AT_ONCE == 0 && self.columns == 4 {
            (self.own() / AT_ONCE, AT_ONCE * self.parts * self.n * 4)
        } else {
            (0, 0)
        }
    }

    /// Copies what stays: `[part][k][n]`, from `resident` on in shared memory. `%residents`: how many of [`AT_ONCE`] there is room for.
    pub fn keep(&self, w: &mut Writer, weights: &str, resident: &str) {
        let (most, _) = self.residents();
        if most == 0 {
            return;
        }
        w.comment("the weights that stay");
        let own = w.named(Class::B32, "kept_k");
        w.line(format!("min.u32 {own}, %residents, {most};"));
        w.line(format!("mul.lo.u32 {own}, {own}, {AT_ONCE};"));
        let quads = self.n / 4;
        let count = w.set(Class::B32, "mul.lo.u32", &[&own, &(self.parts * quads).to_string()]);
        let at = w.named(Class::B32, "kept");
        w.line(format!("mov.u32 {at}, %thread;"));
        let (next, end) = (w.label("keep"), w.label("end_keep"));
        w.place(&next);
        let past = w.set(Class::Pred, "setp.ge.u32", &[&at, &count]);
        w.line(format!("@{past} bra {end};"));
        w.deeper();
        let line = w.set(Class::B32, "div.u32", &[&at, &quads.to_string()]);
        let quad = w.set(Class::B32, "rem.u32", &[&at, &quads.to_string()]);
        let part = w.set(Class::B32, "div.u32", &[&line, &own]);
        let k = w.set(Class::B32, "rem.u32", &[&line, &own]);
        let before = self.before_kept(w, &part, &own);
        let k = w.set(Class::B32, "add.u32", &[&k, &before]);
        let k = w.set(Class::B32, "mad.lo.u32", &[&part, &self.own().to_string(), &k]);
        let from = w.set(Class::B32, "mad.lo.u32", &[&k, &quads.to_string(), &quad]);
        let from = w.set(Class::B64, "mul.wide.u32", &[&from, "16"]);
        let from = w.set(Class::B64, "add.s64", &[&from, weights]);
        let list: Vec<String> = (0..4).map(|_| w.temp(Class::F32)).collect();
        w.line(format!("ld.global.v4.f32 {{{}}}, [{from}];", list.join(", ")));
        let to = w.set(Class::B32, "mad.lo.u32", &[&at, "16", resident]);
        w.line(format!("st.shared.v4.f32 [{to}], {{{}}};", list.join(", ")));
        w.shallower();
        w.line(format!("add.u32 {at}, {at}, {THREADS};"));
        w.line(format!("bra {next};"));
        w.place(&end);
    }

    /// Writes the product. `out`, `left` and `weights`: addresses; the weights lie row by row, those that stay from `resident` on. `%a_rows` and
    /// `%parts` are in shared memory.
    pub fn emit(
        &self,
        w: &mut Writer,
        (out, left, weights): (&str, &str, &str),
        resident: &str,
        accumulate: bool,
    ) -> Emit<()> {
        w.comment("rows of the left operand to shared memory; those that are nobody's are 0");
        self.stage(w, left);
        w.line("bar.sync 0;");
        let groups = self.n / self.columns;
        let group = w.named(Class::B32, "group");
        let part = w.named(Class::B32, "part");
        if self.parts > 1 {
            w.line(format!("div.u32 {part}, %thread, {groups};"));
            w.line(format!("rem.u32 {group}, %thread, {groups};"));
        } else {
            w.line(format!("mov.u32 {group}, %thread;"));
            w.line(format!("mov.u32 {part}, 0;"));
        }
        let (next, end) = (w.label("columns"), w.label("end_columns"));
        w.place(&next);
        let past = match self.parts {
            1 => w.set(Class::Pred, "setp.ge.u32", &[&group, &groups.to_string()]),
            parts => w.set(Class::Pred, "setp.ge.u32", &[&part, &parts.to_string()]),
        };
        w.line(format!("@{past} bra {end};"));
        w.deeper();
        let sums = self.sums(w, &group, &part, (weights, resident));
        if self.parts > 1 {
            self.leave_parts(w, &group, &part, &sums);
        } else {
            let first = w.set(Class::B32, "mul.lo.u32", &[&group, &self.columns.to_string()]);
            for (j, sums) in sums.chunks(ROWS as usize).enumerate() {
                let column = w.set(Class::B32, "add.u32", &[&first, &j.to_string()]);
                for (row, sum) in sums.iter().enumerate() {
                    self.store(w, out, &row.to_string(), &column, sum, accumulate);
                }
            }
            w.line(format!("add.u32 {group}, {group}, {THREADS};"));
            w.line(format!("bra {next};"));
        }
        w.shallower();
        w.place(&end);
        if self.parts > 1 {
            w.line("bar.sync 0;");
            self.add_parts(w, out, accumulate);
        }
        Ok(())
    }

    fn stage(&self, w: &mut Writer, left: &str) {
        let at = w.named(Class::B32, "staged");
        w.line(format!("mov.u32 {at}, %thread;"));
        let (next, end) = (w.label("stage"), w.label("end_stage"));
        w.place(&next);
        let past = w.set(Class::Pred, "setp.ge.u32", &[&at, &(self.k * ROWS).to_string()]);
        w.line(format!("@{past} bra {end};"));
        w.deeper();
        let row = w.set(Class::B32, "div.u32", &[&at, &self.k.to_string()]);
        let k = w.set(Class::B32, "rem.u32", &[&at, &self.k.to_string()]);
        let there = w.set(Class::Pred, "setp.lt.u32", &[&row, "%narrow_count"]);
        let wide = w.set(Class::B64, "cvt.u64.u32", &[&row]);
        let wide = w.set(Class::B64, "add.s64", &[&wide, "%first"]);
        let place = w.set(Class::B64, "mad.lo.s64", &[&wide, &(4 * self.left_row).to_string(), left]);
        let wide = w.set(Class::B64, "cvt.u64.u32", &[&k]);
        let place = w.set(Class::B64, "mad.lo.s64", &[&wide, &(4 * self.left_k).to_string(), &place]);
        let value = w.set(Class::F32, "mov.f32", &["0f00000000"]);
        w.line(format!("@{there} ld.global.f32 {value}, [{place}];"));
        let value = rounded(w, self.factors, &value);
        let to = w.set(Class::B32, "mad.lo.u32", &[&k, &ROWS.to_string(), &row]);
        let to = w.set(Class::B32, "mad.lo.u32", &[&to, "4", "%a_rows"]);
        w.line(format!("st.shared.f32 [{to}], {value};"));
        w.shallower();
        w.line(format!("add.u32 {at}, {at}, {THREADS};"));
        w.line(format!("bra {next};"));
        w.place(&end);
    }

    /// The sums of a thread over its part of k, the rows of a column beside one another.
    fn sums(&self, w: &mut Writer, group: &str, part: &str, (weights, resident): (&str, &str)) -> Vec<String> {
        let own = self.own();
        let count = (self.columns * ROWS) as usize;
        let totals: Vec<String> = (0..count).map(|_| w.set(Class::F32, "mov.f32", &["0f00000000"])).collect();
        let first_k = w.set(Class::B32, "mul.lo.u32", &[part, &own.to_string()]);
        let column = w.set(Class::B32, "mul.lo.u32", &[group, &self.columns.to_string()]);
        let rows = w.set(Class::B32, "mad.lo.u32", &[&first_k, &(4 * ROWS).to_string(), "%a_rows"]);
        let end = w.set(Class::B32, "add.u32", &[&rows, &(4 * ROWS * own).to_string()]);
        let elements = w.set(Class::B32, "mad.lo.u32", &[&first_k, &self.n.to_string(), &column]);
        let from = w.set(Class::B64, "mul.wide.u32", &[&elements, "4"]);
        let from = w.set(Class::B64, "add.s64", &[&from, weights]);
        let (most, _) = self.residents();
        if most > 0 {
            // Every second part begins with what does not stay, so that some warps wait for the cache while others compute.
            let kept = w.named(Class::B32, "kept_of_part");
            w.line(format!("min.u32 {kept}, %residents, {most};"));
            w.line(format!("mul.lo.u32 {kept}, {kept}, {AT_ONCE};"));
            let line = w.set(Class::B32, "mul.lo.u32", &[part, &kept]);
            let place = w.set(Class::B32, "mad.lo.u32", &[&line, &self.n.to_string(), &column]);
            let place = w.set(Class::B32, "mad.lo.u32", &[&place, "4", resident]);
            let before = self.before_kept(w, part, &kept);
            let until = w.set(Class::B32, "mad.lo.u32", &[&before, &(4 * ROWS).to_string(), &rows]);
            self.products(w, ("global", &from), (&rows, &until), &totals);
            let until = w.set(Class::B32, "mad.lo.u32", &[&kept, &(4 * ROWS).to_string(), &rows]);
            self.products(w, ("shared", &place), (&rows, &until), &totals);
            let passed = w.set(Class::B64, "mul.wide.u32", &[&kept, &(4 * self.n).to_string()]);
            w.line(format!("add.s64 {from}, {from}, {passed};"));
        }
        self.products(w, ("global", &from), (&rows, &end), &totals);
        totals
    }

    /// How much of k comes before what stays of a part: nothing in even ones, all that does not stay in odd ones.
    fn before_kept(&self, w: &mut Writer, part: &str, kept: &str) -> String {
        let odd = w.set(Class::B32, "and.b32", &[part, "1"]);
        let rest = w.temp(Class::B32);
        w.line(format!("sub.u32 {rest}, {}, {kept};", self.own()));
        w.set(Class::B32, "mul.lo.u32", &[&odd, &rest])
    }

    /// Adds products with the weights from an address on, until the left factors' address reaches its end.
    fn products(&self, w: &mut Writer, (space, from): (&str, &str), (rows, end): (&str, &str), totals: &[String]) {
        let at_once = (1..=AT_ONCE).rev().find(|n| self.own() % n == 0).unwrap_or(1);
        let (next, done) = (w.label("sum"), w.label("end_sum"));
        w.place(&next);
        let past = w.set(Class::Pred, "setp.ge.u32", &[rows, end]);
        w.line(format!("@{past} bra {done};"));
        w.deeper();
        let mut right = Vec::new();
        for i in 0..at_once {
            let own: Vec<String> = (0..self.columns).map(|_| w.temp(Class::F32)).collect();
            w.line(format!("ld.{space}.{} {}, [{from}+{}];", vector(own.len()), list(&own), 4 * i * self.n));
            right.push(own);
        }
        for (i, right) in right.iter().enumerate() {
            let left: Vec<String> = (0..ROWS).map(|_| w.temp(Class::F32)).collect();
            let place = 4 * ROWS as usize * i;
            w.line(format!("ld.shared.{} {}, [{rows}+{place}];", vector(left.len()), list(&left)));
            for (column, right) in right.iter().enumerate() {
                for (row, left) in left.iter().enumerate() {
                    let total = &totals[column * ROWS as usize + row];
                    w.line(format!("fma.rn.f32 {total}, {left}, {right}, {total};"));
                }
            }
        }
        let step = 4 * at_once * self.n;
        match space {
            "shared" => w.line(format!("add.u32 {from}, {from}, {step};")),
            _ => w.line(format!("add.s64 {from}, {from}, {step};")),
        }
        w.line(format!("add.u32 {rows}, {rows}, {};", 4 * ROWS * at_once));
        w.shallower();
        w.line(format!("bra {next};"));
        w.place(&done);
    }

    fn leave_parts(&self, w: &mut Writer, group: &str, part: &str, sums: &[String]) {
        let column = w.set(Class::B32, "mul.lo.u32", &[group, &self.columns.to_string()]);
        let place = w.set(Class::B32, "mad.lo.u32", &[part, &self.n.to_string(), &column]);
        let place = w.set(Class::B32, "mad.lo.u32", &[&place, &(4 * ROWS).to_string(), "%parts"]);
        for (j, sums) in sums.chunks(ROWS as usize).enumerate() {
            let to = 4 * ROWS as usize * j;
            w.line(format!("st.shared.{} [{place}+{to}], {};", vector(sums.len()), list(sums)));
        }
    }

    fn add_parts(&self, w: &mut Writer, out: &str, accumulate: bool) {
        let at = w.named(Class::B32, "added");
        w.line(format!("mov.u32 {at}, %thread;"));
        let (next, end) = (w.label("add"), w.label("end_add"));
        w.place(&next);
        let past = w.set(Class::Pred, "setp.ge.u32", &[&at, &(self.n * ROWS).to_string()]);
        w.line(format!("@{past} bra {end};"));
        w.deeper();
        // Neighbours are columns of a row.
        let row = w.set(Class::B32, "div.u32", &[&at, &self.n.to_string()]);
        let column = w.set(Class::B32, "rem.u32", &[&at, &self.n.to_string()]);
        let place = w.set(Class::B32, "mad.lo.u32", &[&column, &ROWS.to_string(), &row]);
        let place = w.set(Class::B32, "mad.lo.u32", &[&place, "4", "%parts"]);
        let mut total: Option<String> = None;
        for part in 0..self.parts {
            let own = w.set(Class::F32, "ld.shared.f32", &[&format!("[{place}+{}]", 4 * part * self.n * ROWS)]);
            total = Some(match total {
                None => own,
                Some(total) => w.set(Class::F32, "add.rn.f32", &[&total, &own]),
            });
        }
        if let Some(total) = total {
            self.store(w, out, &row, &column, &total, accumulate);
        }
        w.shallower();
        w.line(format!("add.u32 {at}, {at}, {THREADS};"));
        w.line(format!("bra {next};"));
        w.place(&end);
    }

    fn store(&self, w: &mut Writer, out: &str, row: &str, column: &str, sum: &str, accumulate: bool) {
        let there = w.set(Class::Pred, "setp.gt.u32", &["%narrow_count", row]);
        let wide = w.temp(Class::B64);
        match row.parse::<i64>() {
            Ok(row) => w.line(format!("add.s64 {wide}, %first, {row};")),
            Err(_) => {
                w.line(format!("cvt.u64.u32 {wide}, {row};"));
                w.line(format!("add.s64 {wide}, {wide}, %first;"));
            }
        }
        let place = w.set(Class::B64, "mad.lo.s64", &[&wide, &(4 * self.out_row).to_string(), out]);
        let wide = w.set(Class::B64, "cvt.u64.u32", &[column]);
        let place = w.set(Class::B64, "mad.lo.s64", &[&wide, &(4 * self.out_column).to_string(), &place]);
        let mut sum = sum.to_string();
        if accumulate {
            let old = w.set(Class::F32, "mov.f32", &["0f00000000"]);
            w.line(format!("@{there} ld.global.f32 {old}, [{place}];"));
            sum = w.set(Class::F32, "add.rn.f32", &[&old, &sum]);
        }
        w.line(format!("@{there} st.global.f32 [{place}], {sum};"));
    }
}

/// The type of so many f32 beside one another.
fn vector(count: usize) -> String {
    if count == 1 { "f32".to_string() } else { format!("v{count}.f32") }
}

fn list(names: &[String]) -> String {
    if let [name] = names { name.clone() } else { format!("{{{}}}", names.join(", ")) }
}

/// Columns of a thread and parts of the sum.
fn shape(n: i64, k: i64, products: Products) -> (i64, i64) {
    let fits = |columns: i64| n % columns == 0;
    match products {
        // One chain: the bits are those of one row's sum in order.
        Products::Exact => ([4, 2].into_iter().find(|c| fits(*c) && n / c >= THREADS / 4).unwrap_or(1), 1),
        Products::Tf32 | Products::Bf16 => {
            let columns = [4, 2, 1].into_iter().find(|c| fits(*c)).unwrap_or(1);
            let groups = n / columns;
            let is_good = |parts: &i64| {
                k % parts == 0
                    && k / parts >= AT_ONCE
                    && groups * parts <= THREADS
                    && parts * n * ROWS * 4 <= MOST_PARTS
            };
            (columns, [16, 8, 4, 2].into_iter().find(is_good).unwrap_or(1))
        }
    }
}

/// So long is a chain, and no row is longer.
const _: () = assert!(MOST_K <= CHAIN as i64);
