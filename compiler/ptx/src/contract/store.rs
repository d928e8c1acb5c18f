//! Results to their places.

use super::{Contract, Gate, Of};
use crate::text::Class;
use bdl_plan::{AxisRole, ContractionAxis};

/// Rows or columns of the result: the block's first (64 bits), how many there are in all, and their axes.
pub type Extent<'s, 'c> = (&'s str, &'s str, &'s [(usize, &'c ContractionAxis)]);

/// Where a block's tile lies in the result.
pub struct Placed<'s, 'c> {
    pub rows: Extent<'s, 'c>,
    pub columns: Extent<'s, 'c>,
}

/// A thread's results in the block's tile: all pairs of its rows and columns, a row's results in order.
pub struct InTile {
    /// In the tile (32 bits).
    pub rows: Vec<String>,
    pub columns: Vec<Run>,
}

/// Columns of a thread that have a register in common.
pub struct Run {
    /// The first, in the tile (32 bits), and how far behind it each is.
    pub first: String,
    pub offsets: Vec<u32>,
    /// So many of them lie side by side, from a multiple of that number on.
    pub together: usize,
}

/// Flat numbers of rows in the result (64 bits), how many there are, and their axes.
type Rows<'s, 'c> = (&'s [String], &'s str, &'s [(usize, &'c ContractionAxis)]);

/// A thread's columns in the result.
struct Columns<'s, 'c> {
    /// With the flat number of each run's first (64 bits).
    runs: Vec<(&'s Run, String)>,
    /// Of all.
    count: &'s str,
    axes: &'s [(usize, &'c ContractionAxis)],
}

/// More columns than a thread has.
const MANY: u32 = 1 << 20;

impl<'c> Contract<'c> {
    /// What becomes of a thread's results, in the order of its rows: through the epilogue, to their places.
    pub fn finish(
        &mut self,
        results: &[String],
        of_thread: &InTile,
        of_result: &Placed<'_, 'c>,
        tile: &str,
    ) -> Result<(), String> {
        let (first_row, row_count, row_axes) = of_result.rows;
        let (first_column, count, axes) = of_result.columns;
        if let Some(epilogue) = self.epilogue.take() {
            // Another warp may be at the last piece.
            self.w.line("bar.sync 0;");
            return self.run_epilogue(&epilogue, results, of_thread, (first_row, first_column), tile);
        }
        let mut place = |own: &str, first: &str| -> String {
            let own = self.w.set(Class::B64, "cvt.u64.u32", &[own]);
            self.w.set(Class::B64, "add.s64", &[&own, first])
        };
        let rows: Vec<String> = of_thread.rows.iter().map(|row| place(row, first_row)).collect();
        let runs = of_thread.columns.iter().map(|run| (run, place(&run.first, first_column))).collect();
        self.store(results, (&rows, row_count, row_axes), &Columns { runs, count, axes })
    }

    fn store(&mut self, results: &[String], rows: Rows<'_, 'c>, columns: &Columns<'_, 'c>) -> Result<(), String> {
        self.w.comment("the results to their places");
        let straight = match columns.axes {
            [(_, axis)] if self.clips(Gate::Result)?.is_empty() => axis.out.as_const(),
            [..] => None,
        };
        match straight {
            Some(stride) => self.store_straight(results, rows, columns, stride),
            None => self.store_each(results, rows, columns),
        }
    }

    /// Columns that are one axis: one address for each row and run.
    fn store_straight(
        &mut self,
        mut results: &[String],
        (rows, row_count, row_axes): Rows<'_, 'c>,
        columns: &Columns<'_, 'c>,
        stride: i64,
    ) -> Result<(), String> {
        let word = self.word;
        let base = self.base(Of::Out)?;
        let step = stride * i64::from(self.bytes);
        let mut runs = Vec::new();
        for (run, first) in &columns.runs {
            let bytes = self.w.set(Class::B64, "mul.lo.s64", &[first, &step.to_string()]);
            let base = self.w.set(Class::B64, "add.s64", &[&base, &bytes]);
            let left = self.w.set(Class::B64, "sub.s64", &[columns.count, first]);
            let left = self.w.set(Class::B64, "min.s64", &[&left, &MANY.to_string()]);
            let left = self.w.set(Class::B32, "cvt.u32.u64", &[&left]);
            let together = if self.holds(run.together as i64) { run.together } else { 1 };
            runs.push((*run, base, left, together));
        }
        for row in rows {
            // Predicates are few: none is kept from one row to the next.
            let row_there = self.w.set(Class::Pred, "setp.lt.s64", &[row, row_count]);
            let at = self.apart(row, row_axes)?;
            let elements = self.offset(None, &at, Of::Out)?;
            for (run, base, left, together) in &runs {
                let address = match &elements {
                    None => base.clone(),
                    Some(elements) => self.address(base, elements),
                };
                let (own, rest) = results.split_at(run.offsets.len());
                results = rest;
                for (offsets, results) in run.offsets.chunks(*together).zip(own.chunks(*together)) {
                    let there =
                        self.w.set(Class::Pred, "setp.gt.and.s32", &[left, &offsets[0].to_string(), &row_there]);
                    let place = format!("[{address}+{}]", i64::from(offsets[0]) * step);
                    match results {
                        [one] => self.store_one(&there, &place, one),
                        [..] => {
                            let (count, list) = (results.len(), results.join(", "));
                            self.w.line(format!("@{there} st.global.v{count}.{word} {place}, {{{list}}};"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn store_one(&mut self, there: &str, place: &str, result: &str) {
        let word = self.word;
        let mut result = result.to_string();
        if self.c.accumulate {
            let old = self.w.set(self.class, &format!("mov.{word}"), &[&result]);
            self.w.line(format!("@{there} ld.global.{word} {old}, {place};"));
            result = self.w.set(self.class, &format!("add.rn.{word}"), &[&old, &result]);
        }
        self.w.line(format!("@{there} st.global.{word} {place}, {result};"));
    }

    /// Columns that lie anywhere.
    fn store_each(
        &mut self,
        results: &[String],
        (rows, row_count, row_axes): Rows<'_, 'c>,
        columns: &Columns<'_, 'c>,
    ) -> Result<(), String> {
        let word = self.word;
        let base = self.base(Of::Out)?;
        let clips = self.clips(Gate::Result)?;
        let mut places = Vec::new();
        for (run, first) in &columns.runs {
            for offset in &run.offsets {
                let number = self.w.set(Class::B64, "add.s64", &[first, &offset.to_string()]);
                let at = self.apart(&number, columns.axes)?;
                let elements = self.offset(None, &at, Of::Out)?;
                places.push((number, at, elements));
            }
        }
        for (i, row) in rows.iter().enumerate() {
            let row_there = self.w.set(Class::Pred, "setp.lt.s64", &[row, row_count]);
            let row_at = self.apart(row, row_axes)?;
            let row_base = match self.offset(None, &row_at, Of::Out)? {
                None => base.clone(),
                Some(elements) => self.address(&base, &elements),
            };
            for (j, (column, column_at, column_elements)) in places.iter().enumerate() {
                let there = self.w.set(Class::Pred, "setp.lt.and.s64", &[column, columns.count, &row_there]);
                let address = match column_elements {
                    None => row_base.clone(),
                    Some(elements) => self.address(&row_base, elements),
                };
                let mut result = results[places.len() * i + j].clone();
                for (clip, start) in &clips {
                    let form = self.form(clip, Some(start), &row_at).unwrap_or_else(|| start.clone());
                    let form = self.form(clip, Some(&form), column_at).unwrap_or(form);
                    let extent = self.size(&clip.extent)?.text();
                    let above = self.w.set(Class::Pred, "setp.ge.s64", &[&form, "0"]);
                    let inside = self.w.set(Class::Pred, "setp.lt.and.s64", &[&form, &extent, &above]);
                    let zero = if self.class == Class::F64 { "0d0000000000000000" } else { "0f00000000" };
                    result = self.w.set(self.class, &format!("selp.{word}"), &[&result, zero, &inside]);
                }
                self.store_one(&there, &format!("[{address}]"), &result);
            }
        }
        Ok(())
    }

    /// Do so many columns, from a multiple of that number on, lie side by side in the result, at a place that is such a multiple?
    fn holds(&self, together: i64) -> bool {
        let is_multiple = |dim: &bdl_dims::Dim| dim.terms().all(|(_, coefficient)| coefficient % together == 0);
        let Some((last, axis)) = self.axes(AxisRole::N).pop() else { return false };
        let others = self.c.axes.iter().enumerate().filter(|(at, _)| *at != last);
        self.class == Class::F32
            && !self.c.accumulate
            && axis.out.as_const() == Some(1)
            && axis.extent.as_const().is_some_and(|extent| extent % together == 0)
            && is_multiple(&self.c.out.offset)
            && others.into_iter().all(|(_, axis)| is_multiple(&axis.out))
    }
}
