//! `iterate`: a loop whose end is data.
//!
//! Before each step one worker reads for which rows the stop condition holds, writes the rows that are left into the order, and keeps the
//! decision; everyone goes on with what was decided.

use crate::compiled::{CompiledIterate, CompiledRunning};
use crate::launch::{Run, State, launches};
use crate::pool::{Gone, Worker};
use crate::program::{clear_example, set_example};
use crate::rows::{Decision, Rows};
use std::sync::atomic::Ordering;

pub(crate) fn run(run: &Run, worker: &mut Worker, state: &mut State, iterate: &CompiledIterate) -> Result<(), Gone> {
    let around = state.rows.last().cloned().unwrap_or_default();
    // Without rows of its own the loop has one condition for all.
    let rows = if iterate.running.is_some() { around.examples.len() } else { 1 };
    let limits: Vec<i64> = match &iterate.running {
        None => vec![iterate.at_most.at(&state.sizes)],
        Some(_) => {
            let of = |example: &u32| {
                set_example(&mut state.sizes, &run.lengths, *example as usize);
                iterate.at_most.at(&state.sizes)
            };
            let limits = around.examples.iter().map(of).collect();
            clear_example(&mut state.sizes, &run.lengths);
            limits
        }
    };
    let mut left: Vec<u32> = (0..rows as u32).collect();
    let mut step = 0;
    if let Some(running) = &iterate.running {
        worker.phase(1, |_| write_order(run, running, &left))?;
    }
    while !left.is_empty() {
        state.sizes[iterate.step] = step;
        within(run, worker, state, iterate, &around, &left, false)?;
        left = decide(run, worker, state, iterate, &limits, left, step)?;
        if left.is_empty() {
            break;
        }
        within(run, worker, state, iterate, &around, &left, true)?;
        step += 1;
    }
    Ok(())
}

/// Condition or body, for the rows that are left.
fn within(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    iterate: &CompiledIterate,
    around: &Rows,
    left: &[u32],
    is_body: bool,
) -> Result<(), Gone> {
    let list = if is_body { &iterate.body } else { &iterate.condition };
    let Some(running) = &iterate.running else { return launches(run, worker, state, list) };
    state.sizes[running.count] = left.len() as i64;
    state.rows.push(Rows { examples: left.iter().map(|row| around.examples[*row as usize]).collect() });
    let done = launches(run, worker, state, list);
    state.rows.pop();
    done
}

/// The rows that go on. Rows at their bound leave, and are counted where their condition does not hold.
fn decide(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    iterate: &CompiledIterate,
    limits: &[i64],
    left: Vec<u32>,
    step: i64,
) -> Result<Vec<u32>, Gone> {
    let mut decided = Vec::new();
    let alone = worker.count == 1;
    worker.phase(1, |_| {
        let until = run.pointers[iterate.until];
        // SAFETY: a truth value for each row that is left, written by the condition's launches.
        let goes_on = |place: usize| unsafe { *until.add(place) } == 0;
        let open = left.iter().enumerate().filter(|(place, _)| goes_on(*place)).map(|(_, row)| *row);
        let (next, stopped): (Vec<u32>, Vec<u32>) = open.partition(|row| step < limits[*row as usize]);
        run.unfinished[iterate.number].fetch_add(stopped.len(), Ordering::AcqRel);
        if let Some(running) = &iterate.running {
            write_order(run, running, &next);
        }
        if alone {
            decided = next;
        } else {
            run.decisions.keep(Decision { left: next });
        }
    })?;
    if !alone {
        decided = run.decisions.get(state.decided).map(|d| d.left.clone()).unwrap_or_default();
        state.decided += 1;
    }
    Ok(decided)
}

fn write_order(run: &Run, running: &CompiledRunning, rows: &[u32]) {
    let out = run.pointers[running.order].cast::<i32>();
    for (i, row) in rows.iter().enumerate() {
        // SAFETY: an order has room for all examples of the batch; only this chunk writes it.
        unsafe { out.add(i).write(*row as i32) }
    }
}
