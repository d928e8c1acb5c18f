//! Which buffers a launch touches.

use crate::data::*;

/// Calls `visit(buffer, writes)` for each buffer that a launch, its body included, reads or writes; more than once where it does both, or in several places.
pub fn touches(plan: &Plan, launch: &Launch, visit: &mut dyn FnMut(BufferId, bool)) {
    match &launch.op {
        Op::Kernel(used) => kernel(plan, used, visit),
        Op::Contract(c) => {
            visit(c.out.buffer, true);
            [&c.a, &c.b].into_iter().for_each(|operand| visit(operand.buffer, false));
            c.axes.iter().filter_map(|axis| axis.offsets).flat_map(Tables::all).for_each(|table| visit(table, false));
            c.epilogue.iter().for_each(|used| kernel(plan, used, visit));
        }
        Op::Draw(draw) => {
            visit(draw.out, true);
            draw.offsets.iter().for_each(|table| visit(*table, false));
        }
        Op::Copy { from, to } => {
            visit(*from, false);
            visit(*to, true);
        }
        Op::Clear { buffer } => visit(*buffer, true),
        Op::Order { out, by: _ } => visit(*out, true),
        Op::Scan(scan) => {
            scan.running.iter().for_each(|running| visit(running.order, false));
            match scan.ends {
                None => {}
                Some(Ends::After(steps)) => visit(steps, false),
                Some(Ends::When { until, steps }) => {
                    visit(until, false);
                    visit(steps, true);
                }
            }
            scan.body.iter().for_each(|launch| touches(plan, launch, visit));
        }
        Op::Iterate(n) => {
            n.running.iter().for_each(|running| visit(running.order, true));
            visit(n.until, false);
            n.condition.iter().chain(&n.body).for_each(|launch| touches(plan, launch, visit));
        }
        Op::Sort(sort) => {
            visit(sort.out, true);
            visit(sort.input, false);
            sort.offsets.iter().for_each(|table| visit(*table, false));
        }
        Op::Library { out, inputs, .. } => {
            visit(*out, true);
            inputs.iter().for_each(|input| visit(*input, false));
        }
    }
}

fn kernel(plan: &Plan, used: &KernelUse, visit: &mut dyn FnMut(BufferId, bool)) {
    let kernel = plan.kernels.get(used.kernel.0 as usize);
    for (at, slice) in used.buffers.iter().enumerate() {
        let access = kernel.and_then(|kernel| kernel.buffers.get(at)).map(|buffer| buffer.access);
        visit(slice.buffer, !matches!(access, Some(Access::Read)));
    }
}
