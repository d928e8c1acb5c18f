//! Results to their places.

use super::{Contract, Gate, Of};
use crate::text::Class;
use bdl_plan::{AxisRole, ContractionAxis};

/// Flat numbers of rows (64 bits), how many there are, and their axes.
type Rows<'s, 'c> = (&'s [String], &'s str, &'s [(usize, &'c ContractionAxis)]);

/// A thread's columns.
pub struct Columns<'s, 'c> {
    /// The flat number of the first (64 bits), and how far behind it the others are.
    pub first: &'s str,
    pub offsets: &'s [u32],
    /// Of all.
    pub count: &'s str,
    pub axes: &'s [(usize, &'c ContractionAxis)],
    /// Every second column follows the one before, which is even.
    pub in_twos: bool,
}

/// More columns than a thread has.
const MANY: u32 = 1 << 20;

impl<'c> Contract<'c> {
    /// The results of a thread: all pairs of its rows and columns, a row's results in order.
    pub fn store(&mut self, results: &[String], rows: Rows<'_, 'c>, columns: &Columns<'_, 'c>) -> Result<(), String> {
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

    /// Columns that are one axis: one address for each row.
    fn store_straight(
        &mut self,
        results: &[String],
        (rows, row_count, row_axes): Rows<'_, 'c>,
        columns: &Columns<'_, 'c>,
        stride: i64,
    ) -> Result<(), String> {
        let word = self.word;
        let base = self.base(Of::Out)?;
        let step = stride * i64::from(self.bytes);
        let bytes = self.w.set(Class::B64, "mul.lo.s64", &[columns.first, &step.to_string()]);
        let base = self.w.set(Class::B64, "add.s64", &[&base, &bytes]);
        let left = self.w.set(Class::B64, "sub.s64", &[columns.count, columns.first]);
        let left = self.w.set(Class::B64, "min.s64", &[&left, &MANY.to_string()]);
        let left = self.w.set(Class::B32, "cvt.u32.u64", &[&left]);
        let in_twos = columns.in_twos && self.holds_twos();
        for (i, row) in rows.iter().enumerate() {
            // Predicates are few: none is kept from one row to the next.
            let row_there = self.w.set(Class::Pred, "setp.lt.s64", &[row, row_count]);
            let at = self.apart(row, row_axes)?;
            let address = match self.offset(None, &at, Of::Out)? {
                None => base.clone(),
                Some(elements) => self.address(&base, &elements),
            };
            for (j, offset) in columns.offsets.iter().enumerate() {
                if in_twos && j % 2 == 1 {
                    continue;
                }
                let there = self.w.set(Class::Pred, "setp.gt.and.s32", &[&left, &offset.to_string(), &row_there]);
                let place = format!("[{address}+{}]", i64::from(*offset) * step);
                let result = &results[columns.offsets.len() * i + j..];
                if in_twos {
                    self.w.line(format!("@{there} st.global.v2.{word} {place}, {{{}}};", result[..2].join(", ")));
                } else {
                    self.store_one(&there, &place, &result[0]);
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
        for offset in columns.offsets {
            let number = self.w.set(Class::B64, "add.s64", &[columns.first, &offset.to_string()]);
            let at = self.apart(&number, columns.axes)?;
            let elements = self.offset(None, &at, Of::Out)?;
            places.push((number, at, elements));
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

    /// Do an even column and the next one lie side by side in the result, at a place that is a multiple of two?
    fn holds_twos(&self) -> bool {
        let is_even = |dim: &bdl_dims::Dim| dim.terms().all(|(_, coefficient)| coefficient % 2 == 0);
        let Some((last, axis)) = self.axes(AxisRole::N).pop() else { return false };
        let others = self.c.axes.iter().enumerate().filter(|(at, _)| *at != last);
        self.class == Class::F32
            && !self.c.accumulate
            && axis.out.as_const() == Some(1)
            && axis.extent.as_const().is_some_and(|extent| extent % 2 == 0)
            && is_even(&self.c.out.offset)
            && others.into_iter().all(|(_, axis)| is_even(&axis.out))
    }
}
