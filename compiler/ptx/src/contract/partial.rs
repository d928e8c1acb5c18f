//! Sums that several blocks share, where the tiles of a result are too few to keep a GPU busy.
//!
//! ```text
//! block of part p     its tile's sum over part p of k  ──>  partials[tile, p]
//!                     counters[tile] += 1
//! the block that counts last                           <──  partials[tile, 0] + partials[tile, 1] + ..
//! ```
//!
//! Of many parts, the last block of each group of twelve puts that group's together first, so that no block reads them all: a hundred parts took longer to
//! add than to compute. Which block comes last changes from run to run; the order of the additions does not. A counter is 0 again when its tile is done.

use super::tensor::{ENOUGH, Shape};
use super::{Contract, is_batch};
use crate::emit::mapping::typical;
use crate::text::Class;
use crate::turn::last_goes_on;
use bdl_dims::Dim;
use bdl_plan::{AxisRole, Parts, Plan, SizeKind};

/// Results of a thread at most whose parts are put together in two rounds: more of them leave no registers for it on every generation.
const MOST_IN_GROUPS: usize = 104;
/// Shortest part of a sum on tensor cores.
const SHORTEST: u64 = 128;

impl Contract<'_> {
    /// What may be cut where partial sums are chains that the whole sum has too.
    pub fn parts_of_chains(&self, plan: &Plan, chain: u32) -> Parts {
        match self.sum().as_const() {
            Some(k) if k <= i64::from(chain) => Parts::Whole,
            Some(_) | None if self.is_over_batch(plan) => Parts::Any { unit: chain, enough: ENOUGH },
            Some(_) | None => Parts::Each { unit: chain },
        }
    }

    /// What may be cut on tensor cores: a sum over the batch as the sizes suggest, another the same for every batch.
    pub fn parts_on_tensor_cores(&self, plan: &Plan, shape: &Shape) -> Parts {
        let sum = self.sum();
        if self.is_over_batch(plan) {
            return Parts::Any { unit: SHORTEST as u32, enough: ENOUGH };
        }
        let extent = |role: AxisRole| {
            let axes = self.c.axes.iter().filter(|axis| match is_batch(axis) {
                true => role == AxisRole::Batch,
                false => axis.role == role,
            });
            typical(&axes.map(|axis| axis.extent.clone()).product::<Dim>()).unsigned_abs()
        };
        let rows = extent(AxisRole::M).div_ceil(u64::from(shape.rows));
        let columns = extent(AxisRole::N).div_ceil(u64::from(shape.columns));
        let tiles = rows * columns * extent(AxisRole::Batch);
        match sum.as_const() {
            Some(k) if k >= 2 * SHORTEST as i64 && tiles < u64::from(ENOUGH / 4) => {
                let k = k.unsigned_abs();
                let parts = (u64::from(ENOUGH / 2) / tiles.max(1)).clamp(1, k / SHORTEST);
                let length = k.div_ceil(parts).next_multiple_of(16);
                if length < k { Parts::Fixed { length: length as u32 } } else { Parts::Whole }
            }
            Some(_) | None => Parts::Whole,
        }
    }

    fn sum(&self) -> Dim {
        self.axes(AxisRole::K).into_iter().map(|(_, axis)| axis.extent.clone()).product()
    }

    /// Does the sum run over examples, so that no result belongs to one of them?
    pub fn is_over_batch(&self, plan: &Plan) -> bool {
        let of_examples = |dim: &Dim| {
            dim.names().iter().any(|name| {
                let kind = plan.sizes.iter().find(|size| size.name == *name).map(|size| &size.kind);
                matches!(kind, Some(SizeKind::Batch | SizeKind::Total(_) | SizeKind::Running))
            })
        };
        self.axes(AxisRole::K).iter().any(|(_, axis)| of_examples(&axis.extent))
    }

    /// First and end of the sum of this block.
    pub fn part_of_sum(&mut self, k: &str) -> (String, String) {
        if self.parts == Parts::Whole {
            return ("0".to_string(), k.to_string());
        }
        let number = self.w.set(Class::B64, "cvt.u64.u32", &["%part_number"]);
        let first = self.w.set(Class::B64, "mul.lo.s64", &[&number, "%part"]);
        let end = self.w.set(Class::B64, "add.s64", &[&first, "%part"]);
        let end = self.w.set(Class::B64, "min.s64", &[&end, k]);
        (first, end)
    }

    /// From the results over this block's part those over all; blocks that are not the last of their tile end here.
    pub fn whole_sum(&mut self, results: Vec<String>) -> Result<Vec<String>, String> {
        if self.parts == Parts::Whole {
            return Ok(results);
        }
        let (word, step) = (self.word, self.threads * self.bytes);
        self.w.comment("the sum over all parts");
        let done = self.w.label("whole_sum");
        let alone = self.w.set(Class::Pred, "setp.eq.u32", &["%narrow_parts", "1"]);
        self.w.line(format!("@{alone} bra {done};"));
        let columns = self.w.set(Class::B32, "cvt.u32.u64", &["%n"]);
        let columns = self.w.set(Class::B32, "add.u32", &[&columns, &(self.columns - 1).to_string()]);
        let columns = self.w.set(Class::B32, "div.u32", &[&columns, &self.columns.to_string()]);
        let tile = self.w.set(Class::B32, "mad.lo.u32", &["%block", &columns, "%column_block"]);
        let first = self.w.set(Class::B32, "mul.lo.u32", &[&tile, "%narrow_parts"]);
        let size = step * results.len() as u32;
        let own = self.w.set(Class::B32, "add.u32", &[&first, "%part_number"]);
        let to = self.place_of_part(&own, size);
        for (i, result) in results.iter().enumerate() {
            self.w.line(format!("st.global.{word} [{to}+{}], {result};", i as u32 * step));
        }
        if !self.parts.may_be_grouped() || results.len() > MOST_IN_GROUPS {
            last_goes_on(&mut self.w, &tile, "%narrow_parts", "%thread");
            self.add_parts(&results, &first, "%narrow_parts", 1);
            self.w.place(&done);
            return Ok(results);
        }
        // Parts of the group that this one is in: all of them, or so many.
        let (at_once, of_group) = (Parts::AT_ONCE.to_string(), Parts::OF_GROUP.to_string());
        let are_few = self.w.set(Class::Pred, "setp.le.u32", &["%narrow_parts", &at_once]);
        let most = self.w.set(Class::B32, "selp.b32", &["%narrow_parts", &of_group, &are_few]);
        let groups = self.w.set(Class::B32, "add.u32", &["%narrow_parts", &most]);
        let groups = self.w.set(Class::B32, "sub.u32", &[&groups, "1"]);
        let groups = self.w.set(Class::B32, "div.u32", &[&groups, &most]);
        let group = self.w.set(Class::B32, "div.u32", &["%part_number", &most]);
        let first_of_group = self.w.set(Class::B32, "mul.lo.u32", &[&group, &most]);
        let count = self.w.set(Class::B32, "sub.u32", &["%narrow_parts", &first_of_group]);
        let count = self.w.set(Class::B32, "min.u32", &[&count, &most]);
        let counters = self.w.set(Class::B32, "add.u32", &[&groups, "1"]);
        let counters = self.w.set(Class::B32, "selp.b32", &["1", &counters, &are_few]);
        let counters = self.w.set(Class::B32, "mul.lo.u32", &[&tile, &counters]);
        let counter = self.w.set(Class::B32, "add.u32", &[&counters, &group]);
        last_goes_on(&mut self.w, &counter, &count, "%thread");
        let own = self.w.set(Class::B32, "add.u32", &[&first, &first_of_group]);
        self.add_parts(&results, &own, &count, 1);
        self.w.line(format!("@{are_few} bra {done};"));
        self.w.comment("the sums of groups");
        let to = self.place_of_part(&own, size);
        for (i, result) in results.iter().enumerate() {
            self.w.line(format!("st.global.{word} [{to}+{}], {result};", i as u32 * step));
        }
        let counter = self.w.set(Class::B32, "add.u32", &[&counters, &groups]);
        last_goes_on(&mut self.w, &counter, &groups, "%thread");
        self.add_parts(&results, &first, &groups, Parts::OF_GROUP);
        self.w.place(&done);
        Ok(results)
    }

    /// Where this thread's results of a part lie, of `size` bytes for all threads.
    fn place_of_part(&mut self, number: &str, size: u32) -> String {
        let bytes = self.w.set(Class::B64, "mul.wide.u32", &[number, &size.to_string()]);
        let at = self.w.set(Class::B64, "add.s64", &[&bytes, "%partials"]);
        let thread = self.w.set(Class::B64, "mul.wide.u32", &["%thread", &self.bytes.to_string()]);
        self.w.set(Class::B64, "add.s64", &[&at, &thread])
    }

    /// The results of `count` parts in order, the first of them number `first` and each so many behind the one before.
    fn add_parts(&mut self, results: &[String], first: &str, count: &str, apart: u32) {
        let (word, class, step) = (self.word, self.class, self.threads * self.bytes);
        let size = step * results.len() as u32;
        let from = self.place_of_part(first, size);
        let zero = if class == Class::F64 { "0d0000000000000000" } else { "0f00000000" };
        for result in results {
            self.w.line(format!("mov.{word} {result}, {zero};"));
        }
        let (next, number) = (self.w.label("next_part"), self.w.named(Class::B32, "partial"));
        self.w.line(format!("mov.u32 {number}, 0;"));
        self.w.place(&next);
        for (i, result) in results.iter().enumerate() {
            let part = self.w.set(class, &format!("ld.global.{word}"), &[&format!("[{from}+{}]", i as u32 * step)]);
            self.w.line(format!("add.rn.{word} {result}, {result}, {part};"));
        }
        self.w.line(format!("add.s64 {from}, {from}, {};", u64::from(apart) * u64::from(size)));
        self.w.line(format!("add.u32 {number}, {number}, 1;"));
        let more = self.w.set(Class::Pred, "setp.lt.u32", &[&number, count]);
        self.w.line(format!("@{more} bra {next};"));
    }
}
