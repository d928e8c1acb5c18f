//! Cumulative sums: one pass over an axis instead of one sum for each of its places.
//!
//! ```text
//! y[b, t] = sum[s | s <= t] x[b, s]          total = 0
//!                                            for block of 512 places:
//!                                              chain = 0
//!                                              for t in block:  chain += x[b, t];  y[b, t] = total + chain
//!                                              total += chain
//! ```
//!
//! Sums are taken in chains as everywhere ([`bdl_plan::chains`]), so that the last of a million numbers has the digits of the first. The
//! adjoint, `sum[t | t >= s] d_y[b, t]`, is the same from the end.

use crate::builder::Builder;
use crate::element::Member;
use crate::error::Error;
use crate::form;
use crate::layout::Storage;
use crate::loops::{Part, loop_name};
use crate::nest::{self, Extent, Loop};
use crate::scalar::Writer;
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan::chains::CHAIN;
use bdl_plan::{self as plan, Bound, LoopMode, ValueOp, ValueType};
use rustc_hash::FxHashSet as HashSet;

/// Axes of no more places than this are summed as they are written, in vectors.
const SHORT: i64 = 32;

/// Which index of a piece runs, and which one is summed up to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cumulative {
    along: eq::IndexId,
    summed: eq::IndexId,
    /// From the last place on.
    reversed: bool,
}

/// Is the piece a sum up to (or from) each place of an axis, of something that does not depend on the place?
pub(crate) fn recognise(storage: &Storage, piece: &eq::Piece) -> Option<Cumulative> {
    let ([filter], 1) = (piece.filter.as_slice(), piece.bound()) else { return None };
    if piece.monoid != eq::Monoid::Sum || piece.empty.is_some_and(|e| e != 0.0) {
        return None;
    }
    let summed = piece.bound_ids().next()?;
    let eq::Condition::NonNegative(distance) = filter else { return None };
    let [(a, ca), (b, cb)] = distance.terms.as_slice() else { return None };
    let (along, own, other) = if *b == summed { (*a, *cb, *ca) } else { (*b, *ca, *cb) };
    let between = (*a == summed || *b == summed) && own.abs() == 1 && own == -other && distance.offset.is_zero();
    let free = (along.0 as usize) < piece.free;
    let [x, y] = [along, summed].map(|i| &piece.indices[i.0 as usize]);
    let long = x.range.as_const().is_none_or(|n| n > SHORT);
    if !between || !free || !long || x.range != y.range || x.example != y.example || piece.body.mentions(along) {
        return None;
    }
    // The grid needs a size that is known before any example is looked at.
    let first = piece.free_ids().find(|i| *i != along);
    let sized = |i: eq::IndexId| storage.names_example(piece.range(i));
    (!first.is_some_and(sized)).then_some(Cumulative { along, summed, reversed: own == 1 })
}

/// The kernel and the slices it is launched with.
pub(crate) fn kernel(
    program: &eq::Program,
    storage: &mut Storage,
    name: &str,
    part: &Part,
    found: Cumulative,
) -> Result<(plan::Kernel, Vec<plan::Slice>), Error> {
    let piece = part.piece;
    let others: Vec<eq::IndexId> = piece.free_ids().filter(|i| *i != found.along).collect();
    let mut loops = Vec::new();
    for index in others.iter().chain([&found.along]) {
        loops.extend(nest::merge(storage, piece, &[*index], &[], None));
    }
    let Some(along) = loops.pop() else { return Err(malformed(part, "a cumulative sum along no axis")) };
    let written = HashSet::from_iter([storage.place(program, part.out).buffer]);
    let (grid_name, grid) = match loops.first() {
        None => ("once".to_string(), Dim::one()),
        Some(first) => match &first.extent {
            Extent::Size(size) => (loop_name(piece, first), size.clone()),
            Extent::PerExample(_, _) | Extent::Rows(_) => {
                return Err(malformed(part, "a grid of an example's own size"));
            }
        },
    };
    let builder = Builder::new(name, &grid_name, grid, LoopMode::Serial, written);
    let written = crate::builder::value_type(storage.real);
    let mut writer = Writer { program, storage, builder, forwards: Vec::new(), written };
    let mut member = Member::new(part, Vec::new(), None);
    let mut opened = 0;
    for (at, l) in loops.iter().enumerate() {
        let counter = if at == 0 {
            Builder::GRID
        } else {
            opened += 1;
            let to = member.loop_bound(&mut writer, &l.extent)?;
            writer.builder.open_loop(&loop_name(piece, l), Bound::Size(Dim::zero()), to, LoopMode::Serial)
        };
        member.bind(&mut writer, l, &form::index(counter));
    }
    blocks(&mut writer, &mut member, &along, found)?;
    for _ in 0..opened {
        writer.builder.close();
    }
    Ok(writer.builder.finish())
}

/// The two loops over the axis.
fn blocks(writer: &mut Writer, member: &mut Member, along: &Loop, found: Cumulative) -> Result<(), Error> {
    let ty = member.sum_type(writer);
    let length = match &along.extent {
        Extent::Size(size) | Extent::Rows(size) => form::constant(size.clone()),
        Extent::PerExample(size, example) => writer.size_form(&member.env, size, Some(*example))?,
    };
    let total = writer.builder.variable(0.0, ty);
    let end = writer.builder.number(&length);
    let (chain_length, most) = (
        writer.builder.size(&Dim::from(CHAIN)),
        writer.builder.number(&form::add(length.clone(), &form::constant(Dim::from(CHAIN - 1)))),
    );
    let count = writer.builder.value(ValueOp::Binary(plan::BinaryOp::FloorDiv, most, chain_length), ValueType::I64);
    let block = writer.builder.open_loop("block", Bound::Size(Dim::zero()), Bound::Value(count), LoopMode::Serial);
    let from = form::scale(&form::index(block), &Dim::from(CHAIN));
    let until = writer.builder.number(&form::add(from.clone(), &form::constant(Dim::from(CHAIN))));
    let until = writer.builder.value(ValueOp::Binary(plan::BinaryOp::Min, until, end), ValueType::I64);
    let from = writer.builder.number(&from);
    let chain = writer.builder.variable(0.0, ty);
    let name = loop_name(member.env.piece, along);
    let counter = writer.builder.open_loop(&name, Bound::Value(from), Bound::Value(until), LoopMode::Serial);
    let counter = form::index(counter);
    let place = if found.reversed {
        let last = form::add(length, &form::constant(Dim::from(-1)));
        form::add(last, &form::scale(&counter, &Dim::from(-1)))
    } else {
        counter
    };
    for index in [found.along, found.summed] {
        member.env.bind[index.0 as usize] = place.clone();
        member.env.open[index.0 as usize] = true;
    }
    let value = member.summand(writer, ty)?;
    writer.builder.combine(chain, plan::Monoid::Sum, value);
    let (before, here) = (writer.builder.read_variable(total), writer.builder.read_variable(chain));
    let sum = writer.builder.value(ValueOp::Binary(plan::BinaryOp::Add, before, here), ty);
    let sum = member.to_element_type(writer, sum);
    let (buffer, at) = member.address(writer)?;
    writer.builder.store(buffer, at, sum);
    writer.builder.close();
    let done = writer.builder.read_variable(chain);
    writer.builder.combine(total, plan::Monoid::Sum, done);
    writer.builder.close();
    Ok(())
}

fn malformed(part: &Part, problem: &str) -> Error {
    Error::Malformed { problem: problem.to_string(), origin: part.origin.clone() }
}
