//! The prologue: lengths, offsets, owners, sorted keys and positions of a batch.
//!
//! Keys come from inputs (or state), so that they are known before the first launch; they are checked here, once a batch, so that no
//! launch does. A bad key names the input and its position.

use crate::compiled::{Compiled, CompiledTable, Groups};
use crate::error::Error;
use crate::memory::{Buffer, read_number};
use crate::program::{Inputs, set_example};
use bdl_kernels::sort::{SortedKeys, sort_by_key_into};
use bdl_plan::{DType, Place, Plan};
use std::collections::HashMap;

/// Lists that are used again batch after batch.
#[derive(Default)]
pub struct Scratch {
    sizes: Vec<i64>,
    values: Vec<i64>,
    keys: Vec<i64>,
    sorted: SortedKeys,
}

#[allow(clippy::too_many_arguments)]
pub fn fill<F>(
    compiled: &Compiled<F>,
    plan: &Plan,
    sizes: &[i64],
    lengths: &HashMap<usize, Vec<i64>>,
    inputs: &Inputs,
    owned: &mut [Option<Buffer>],
    pointers: &mut [*mut u8],
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let Scratch { sizes: example_sizes, values, keys: global, sorted } = scratch;
    example_sizes.clear();
    example_sizes.extend_from_slice(sizes);
    for (at, buffer) in compiled.buffers.iter().enumerate() {
        let Some(table) = &buffer.table else { continue };
        let len = buffer.len.at(sizes).max(0) as usize;
        let mut per_example = |size: &crate::size::Size, example: usize| {
            set_example(example_sizes, lengths, example);
            size.at(example_sizes).max(0)
        };
        values.clear();
        match table {
            CompiledTable::Lengths(dim) => values.extend((0..inputs.batch).map(|b| per_example(dim, b))),
            CompiledTable::Offsets(dim) => {
                let mut total = 0;
                values.push(0);
                for b in 0..inputs.batch {
                    total += per_example(dim, b);
                    values.push(total);
                }
            }
            CompiledTable::Owner(dim) => {
                for b in 0..inputs.batch {
                    let n = per_example(dim, b) as usize;
                    values.extend(std::iter::repeat_n(b as i64, n));
                }
            }
            CompiledTable::Positions => match inputs.positions {
                Some(positions) => values.extend_from_slice(positions),
                None => values.extend(0..inputs.batch as i64),
            },
            CompiledTable::SortedBy { keys, groups } | CompiledTable::Runs { keys, groups } => {
                let count =
                    global_keys(compiled, plan, sizes, *keys, groups, pointers, inputs, &mut per_example, global)?;
                sort_by_key_into(global, count, sorted)
                    .map_err(|bad| key_error(plan, *keys, bad.position, bad.key, count as i64))?;
                let chosen = match table {
                    CompiledTable::SortedBy { .. } => &sorted.order,
                    CompiledTable::Runs { .. }
                    | CompiledTable::Lengths(_)
                    | CompiledTable::Offsets(_)
                    | CompiledTable::Owner(_)
                    | CompiledTable::Positions => &sorted.offsets,
                };
                values.extend(chosen.iter().map(|x| i64::from(*x)));
            }
        }
        let name = &plan.buffers[at].name;
        if values.len() != len {
            return Err(Error::Length { name: name.to_string(), expected: len as i64, found: values.len() as i64 });
        }
        let Some(memory) = &mut owned[at] else { return Err(Error::Plan(format!("`{name}` has no memory"))) };
        pointers[at] = memory.pointer();
        match buffer.dtype {
            DType::I32 => {
                if let Some(to) = memory.slice_mut::<i32>() {
                    to.iter_mut().zip(&*values).for_each(|(to, v)| *to = *v as i32);
                }
            }
            DType::I64 => {
                if let Some(to) = memory.slice_mut::<i64>() {
                    to.iter_mut().zip(&*values).for_each(|(to, v)| *to = *v);
                }
            }
            DType::F32 | DType::F64 | DType::BF16 | DType::Bool => {
                return Err(Error::Plan(format!("table `{name}` is not of integers")));
            }
        }
    }
    Ok(())
}

fn key_error(plan: &Plan, keys: usize, position: usize, key: i64, count: i64) -> Error {
    Error::Key { name: plan.buffers[keys].name.to_string(), position, key, keys: count }
}

/// `values`: the keys counted over all groups of the batch. Gives how many groups there are.
#[allow(clippy::too_many_arguments)]
fn global_keys<F>(
    compiled: &Compiled<F>,
    plan: &Plan,
    sizes: &[i64],
    keys: usize,
    groups: &Groups,
    pointers: &[*mut u8],
    inputs: &Inputs,
    per_example: &mut impl FnMut(&crate::size::Size, usize) -> i64,
    values: &mut Vec<i64>,
) -> Result<usize, Error> {
    match plan.buffers[keys].place {
        Place::Input { .. } | Place::State | Place::Literal(_) => {}
        Place::Param | Place::Slot(_) | Place::Blocks | Place::Table(_) => {
            let name = &plan.buffers[keys].name;
            return Err(Error::Plan(format!("the keys `{name}` are not known before the first launch")));
        }
    }
    let len = compiled.buffers[keys].len.at(sizes).max(0) as usize;
    let (pointer, dtype) = (pointers[keys], compiled.buffers[keys].dtype);
    // SAFETY: the buffer was bound with `len` elements of its type.
    let all = (0..len).map(|i| unsafe { read_number(pointer, dtype, i) } as i64);
    values.clear();
    values.extend(all);
    match groups {
        Groups::Shared(count) => Ok(count.at(sizes).max(0) as usize),
        Groups::Unknown => {
            let most = values.iter().copied().max().unwrap_or(-1);
            Ok((most + 1).max(0) as usize)
        }
        Groups::PerExample(count) => {
            // How many keys each example has: its share of the packed buffer, or of the batch.
            let own = compiled.buffers[keys].each.as_ref();
            let own = own.ok_or_else(|| Error::Plan(format!("`{}` has no shape", plan.buffers[keys].name)))?;
            let (mut at, mut first) = (0usize, 0i64);
            for example in 0..inputs.batch {
                let n = per_example(own, example) as usize;
                let mine = per_example(count, example);
                let end = (at + n).min(values.len());
                for (offset, value) in values[at..end].iter_mut().enumerate() {
                    if !(0..mine).contains(value) {
                        return Err(key_error(plan, keys, at + offset, *value, mine));
                    }
                    *value += first;
                }
                (at, first) = (end, first + mine);
            }
            Ok(first.max(0) as usize)
        }
    }
}
