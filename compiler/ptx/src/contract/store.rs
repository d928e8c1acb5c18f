//! Results to their places.

use super::{At, Contract, Gate};
use crate::text::Class;
use bdl_plan::{AxisRole, ContractionAxis};

/// Flat numbers of rows or columns (64 bits), how many there are, and their axes.
type Side<'s, 'c> = (&'s [String], &'s str, &'s [(usize, &'c ContractionAxis)]);

impl<'c> Contract<'c> {
    /// The results of a thread: all pairs of its rows and columns, a row's results in order. Every second column follows the one before, which is
    /// even, where `in_twos`.
    pub fn store(
        &mut self,
        results: &[String],
        rows: Side<'_, 'c>,
        columns: Side<'_, 'c>,
        in_twos: bool,
    ) -> Result<(), String> {
        self.w.comment("the results to their places");
        let word = self.word;
        let base = self.base("%out", |axis| &axis.out)?;
        let clips = self.clips(Gate::Result)?;
        let in_twos = in_twos && clips.is_empty() && self.holds_twos();
        let (row_count, column_count) = (rows.1, columns.1);
        let rows = self.places(rows)?;
        let columns = self.places(columns)?;
        for (i, (row, row_at, row_elements)) in rows.iter().enumerate() {
            // Predicates are few: none is kept from one row to the next.
            let row_there = self.w.set(Class::Pred, "setp.lt.s64", &[row, row_count]);
            let row_base = match row_elements {
                None => base.clone(),
                Some(elements) => self.address(&base, elements),
            };
            for (j, (column, column_at, column_elements)) in columns.iter().enumerate() {
                if in_twos && j % 2 == 1 {
                    continue;
                }
                let there = self.w.set(Class::Pred, "setp.lt.and.s64", &[column, column_count, &row_there]);
                let address = match column_elements {
                    None => row_base.clone(),
                    Some(elements) => self.address(&row_base, elements),
                };
                if in_twos {
                    let two = results[columns.len() * i + j..][..2].join(", ");
                    self.w.line(format!("@{there} st.global.v2.{word} [{address}], {{{two}}};"));
                    continue;
                }
                let mut result = results[columns.len() * i + j].clone();
                for (clip, start) in &clips {
                    let form = self.form(clip, Some(start), row_at).unwrap_or_else(|| start.clone());
                    let form = self.form(clip, Some(&form), column_at).unwrap_or(form);
                    let extent = self.size(&clip.extent)?.text();
                    let above = self.w.set(Class::Pred, "setp.ge.s64", &[&form, "0"]);
                    let inside = self.w.set(Class::Pred, "setp.lt.and.s64", &[&form, &extent, &above]);
                    let zero = if self.class == Class::F64 { "0d0000000000000000" } else { "0f00000000" };
                    result = self.w.set(self.class, &format!("selp.{word}"), &[&result, zero, &inside]);
                }
                if self.c.accumulate {
                    let old = self.w.set(self.class, &format!("mov.{word}"), &[&result]);
                    self.w.line(format!("@{there} ld.global.{word} {old}, [{address}];"));
                    result = self.w.set(self.class, &format!("add.rn.{word}"), &[&old, &result]);
                }
                self.w.line(format!("@{there} st.global.{word} [{address}], {result};"));
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

    /// The number of each, its indices, and what it adds to a place in the result.
    #[allow(clippy::type_complexity)]
    fn places(
        &mut self,
        (numbers, _, axes): Side<'_, 'c>,
    ) -> Result<Vec<(String, Vec<At<'c>>, Option<String>)>, String> {
        let mut found = Vec::new();
        for number in numbers {
            let at = self.apart(number, axes)?;
            let elements = self.offset(None, &at, |axis| &axis.out)?;
            found.push((number.clone(), at, elements));
        }
        Ok(found)
    }
}
