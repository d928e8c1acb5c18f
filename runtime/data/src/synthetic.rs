//! `synthetic(rows: n, seed: s)`: fields that are drawn, for benchmarks and for programs without data.
//!
//! An element is a function of (seed, field's position in the block, row, element), so a row has the same values however
//! many rows are asked for. The numbers are Philox's (`bdl_kernels::philox`).

use crate::error::{DataError, DataResult};
use crate::facts::{Class, FieldDim, FieldFacts, Kind};
use crate::field::{Field, Layout, OneHot, Values};
use crate::spec::{Draw, Missing, Precision, Step};
use crate::steps::{FieldPlan, From};
use bdl_kernels::philox::{self, DrawKey};
use std::sync::Arc;

/// Draws one field. `site` is the field's position in the block.
pub(crate) fn draw(plan: &FieldPlan, rows: usize, seed: u64, site: usize, precision: Precision) -> DataResult<Field> {
    let From::Draw { draw, dims } = &plan.from else {
        return Err(DataError::new("bad-draw", "a synthetic source has no columns to read"));
    };
    let size = dims.iter().try_fold(1usize, |size, dim| size.checked_mul(*dim));
    let total = size.and_then(|size| size.checked_mul(rows)).filter(|total| *total <= isize::MAX as usize / 8);
    let (Some(size), Some(total)) = (size, total) else { return Err(no_memory(rows, dims)) };
    // f64 wherever arithmetic follows; the bits of f32 draws are those of f64 draws cut short.
    let wide = precision == Precision::F64 || !plan.before.is_empty() || !plan.after.is_empty() || plan.exact;
    let key = DrawKey { seed, step: 0, site: site as u32 };
    let mut classes = vec![];
    let mut table = vec![];
    let (mut values, kind, letters) = match draw {
        Draw::Normal if wide => {
            (Values::F64(by_row(rows, dims, |r, out| philox::fill_normal_f64(key, r, 0, out))?), Kind::Number, vec![])
        }
        Draw::Normal => {
            (Values::F32(by_row(rows, dims, |r, out| philox::fill_normal_f32(key, r, 0, out))?), Kind::Number, vec![])
        }
        Draw::Uniform if wide => {
            (Values::F64(by_row(rows, dims, |r, out| philox::fill_uniform_f64(key, r, 0, out))?), Kind::Number, vec![])
        }
        Draw::Uniform => {
            (Values::F32(by_row(rows, dims, |r, out| philox::fill_uniform_f32(key, r, 0, out))?), Kind::Number, vec![])
        }
        Draw::Bernoulli(p) => {
            if !(0.0..=1.0).contains(p) {
                return Err(DataError::new("bad-draw", format!("a probability lies between 0 and 1, not {p}")));
            }
            let mut drawn = vec![];
            let values: Vec<u8> = by_row(rows, dims, |row, out: &mut [u8]| {
                drawn.resize(out.len(), 0.0f32);
                philox::fill_bernoulli_f32(key, row, 0, *p, &mut drawn);
                out.iter_mut().zip(&drawn).for_each(|(y, x)| *y = u8::from(*x == 1.0));
            })?;
            let yes = values.iter().filter(|value| **value == 1).count();
            classes =
                vec![Class { name: "false".into(), count: total - yes }, Class { name: "true".into(), count: yes }];
            (Values::Truth(values), Kind::Truth, vec![])
        }
        Draw::Category(n) => {
            let ids = integers(key, rows, dims, *n)?;
            let mut counts = vec![0; *n];
            ids.iter().for_each(|id| counts[*id as usize] += 1);
            let names: Vec<String> = (0..*n).map(|id| id.to_string()).collect();
            classes = names.iter().zip(counts).map(|(name, count)| Class { name: name.clone(), count }).collect();
            (Values::Ids(ids), Kind::Category, names)
        }
        Draw::Index(n) => {
            let names = if plan.one_hot { (0..*n).map(|id| id.to_string()).collect() } else { vec![] };
            (Values::Ids(integers(key, rows, dims, *n)?), Kind::Index(*n), names)
        }
        Draw::Letters(alphabet) => {
            let codes = integers(key, rows, dims, alphabet.len())?.into_iter().map(|code| code as u8).collect();
            table = alphabet.one_hot_table();
            let kind = Kind::Letters { alphabet: alphabet.name().into(), letters: alphabet.len() };
            (Values::Letters(codes), kind, alphabet.letters().to_vec())
        }
    };
    change(&mut values, &plan.before, precision, plan.after.is_empty() && !plan.exact)?;
    let mut field_dims: Vec<FieldDim> = dims.iter().map(|dim| FieldDim::Fixed(*dim)).collect();
    let mut axis_names = vec![None; dims.len()];
    let (mut kind, mut one_hot) = (kind, None);
    if plan.one_hot {
        let width = letters.len();
        if table.is_empty() {
            table = (0..width * width).map(|at| f64::from(u8::from(at / width == at % width))).collect();
        }
        field_dims.push(FieldDim::Fixed(width));
        axis_names.push(Some(Arc::new(letters)));
        one_hot = Some(OneHot { table: Arc::new(table), width });
        kind = Kind::Number;
    }
    let facts = FieldFacts {
        name: plan.name.clone(),
        kind,
        dims: field_dims,
        axis_names,
        optional: plan.missing == Missing::Keep,
        missing: 0,
        classes,
        columns: vec![],
        one_hot: one_hot.is_some() && plan.after.is_empty(),
    };
    Ok(Field {
        name: plan.name.clone(),
        pos: plan.pos.clone(),
        values: Arc::new(values),
        layout: Layout::Fixed(size),
        one_hot,
        tail: plan.after.clone(),
        fitted_width: None,
        computed: None,
        exact: plan.exact,
        unknown: None,
        hidden: plan.hidden,
        counts: plan.counts && plan.before.is_empty(),
        columns: vec![],
        facts,
    })
}

/// `dims` of each row, whose product with `rows` is a number. Errors: `bad-draw` where memory does not hold as many.
fn by_row<T: Copy + Default>(rows: usize, dims: &[usize], mut fill: impl FnMut(u64, &mut [T])) -> DataResult<Vec<T>> {
    let size: usize = dims.iter().product();
    let mut values = vec![];
    values.try_reserve_exact(rows * size).map_err(|_| no_memory(rows, dims))?;
    values.resize(rows * size, T::default());
    if size > 0 {
        values.chunks_mut(size).enumerate().for_each(|(row, out)| fill(row as u64, out));
    }
    Ok(values)
}

fn no_memory(rows: usize, dims: &[usize]) -> Box<DataError> {
    let shape: Vec<String> = dims.iter().map(usize::to_string).collect();
    DataError::new("bad-draw", format!("{rows} rows of [{}] do not fit into memory", shape.join(", ")))
}

fn integers(key: DrawKey, rows: usize, dims: &[usize], n: usize) -> DataResult<Vec<u32>> {
    if n == 0 || n >= u32::MAX as usize {
        return Err(DataError::new("bad-draw", format!("one of {n} cannot be drawn")));
    }
    // A row longer than memory is refused before room for one is asked for.
    let mut drawn = vec![];
    by_row(rows, dims, |row, out: &mut [u32]| {
        drawn.resize(out.len(), 0);
        philox::fill_below(key, row, 0, n as u64, &mut drawn);
        out.iter_mut().zip(&drawn).for_each(|(y, x)| *y = *x as u32);
    })
}

/// Applies numeric steps, and narrows when nothing is left to be fitted.
fn change(values: &mut Values, steps: &[Step], precision: Precision, done: bool) -> DataResult<()> {
    let Values::F64(numbers) = values else { return Ok(()) };
    for step in steps {
        for x in numbers.iter_mut() {
            *x = crate::numbers::apply(step, *x).ok_or_else(|| crate::numbers::domain_fault(step, *x))?;
        }
    }
    if done {
        let numbers = std::mem::take(numbers);
        *values = crate::field::narrow(numbers, precision)
            .map_err(|_| DataError::new("not-finite", "a drawn number is too large for 32-bit numbers"))?;
    }
    Ok(())
}
