//! A scan that ends before its extent: what one worker reads of the data, all go by.
//!
//! A worker may come back after others have gone on, when buffers hold other values: so the number is found once and kept, as the rows of
//! an iteration are.

use crate::compiled::CompiledEnds;
use crate::launch::{Run, State};
use crate::pool::{Gone, Worker};
use crate::rows::Decision;

/// Before the loop: how many steps there are at most.
pub(crate) fn first(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    ends: &Option<CompiledEnds>,
    extent: i64,
) -> Result<i64, Gone> {
    match ends {
        None => Ok(extent),
        Some(CompiledEnds::After { steps }) => {
            let count = run.pointers[*steps].cast::<i32>();
            // SAFETY: one number, which nothing writes while the loop runs.
            let found = agreed(run, worker, state, &|| unsafe { *count }.max(0) as u32)?;
            Ok(extent.min(i64::from(found)))
        }
        Some(CompiledEnds::When { steps, .. }) => {
            let count = run.pointers[*steps].cast::<i32>();
            worker.phase(1, |_| {
                // SAFETY: one number, which this chunk alone writes.
                unsafe { count.write(extent.max(0) as i32) }
            })?;
            Ok(extent)
        }
    }
}

/// After step `step`: was it the last?
pub(crate) fn after(
    run: &Run,
    worker: &mut Worker,
    state: &mut State,
    ends: &Option<CompiledEnds>,
    step: i64,
) -> Result<bool, Gone> {
    let Some(CompiledEnds::When { until, steps }) = ends else { return Ok(false) };
    let rows = state.rows.last().map_or(1, |rows| rows.examples.len()).min(run.lens[*until]);
    let (until, count) = (run.pointers[*until], run.pointers[*steps].cast::<i32>());
    let find = || {
        // SAFETY: a truth value for each row, or one, written by the body's launches.
        let ended = (0..rows).all(|row| unsafe { *until.add(row) } != 0);
        if ended {
            // SAFETY: one number, which this chunk alone writes.
            unsafe { count.write(step as i32) }
        }
        u32::from(ended)
    };
    Ok(agreed(run, worker, state, &find)? != 0)
}

/// What one worker finds, for all of them.
fn agreed(run: &Run, worker: &mut Worker, state: &mut State, find: &dyn Fn() -> u32) -> Result<u32, Gone> {
    let alone = worker.count == 1;
    let mut found = 0;
    worker.phase(1, |_| {
        let now = find();
        if alone {
            found = now;
        } else {
            run.decisions.keep(Decision { left: vec![now] });
        }
    })?;
    if !alone {
        found = run.decisions.get(state.decided).and_then(|d| d.left.first().copied()).unwrap_or(0);
        state.decided += 1;
    }
    Ok(found)
}
