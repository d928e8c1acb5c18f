//! `bdl bench FILE --simulate 4,16,64`: what a step would take on more threads than there are, by how its work divides.
//!
//! One thread runs the shares of all and counts each (`bdl_execute`, `simulated`): a phase takes as long as its longest share. To that comes
//! what meetings cost: the measured cost of one on the threads that there are, and more in proportion to the team, for every thread counts itself
//! in at one place in memory. What memory and caches would say is not simulated; the bandwidth that a step would need stands beside it.

use super::{FEWEST, WARM_UP, Wanted, ms, profile};
use crate::command::{Context, print};
use crate::error::Failure;
use crate::pipeline::Checked;
use crate::run::{Device, Engine, ModelMachine, Prepared};
use bdl_check::hir::Train;
use bdl_execute::{Executor, Simulated};
use bdl_train::{Machine, Moment};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What a team would take for a step.
struct Row {
    threads: usize,
    longest: Duration,
    work: Duration,
    phases: u64,
    meetings: Duration,
}

impl Row {
    fn step(&self) -> Duration {
        self.longest + self.meetings
    }

    /// Of the threads' time, the part in which they wait for the longest share.
    fn uneven(&self) -> f64 {
        1.0 - self.work.as_secs_f64() / (self.longest.as_secs_f64() * self.threads as f64)
    }

    fn json(&self, one: Duration, bytes: f64) -> Value {
        let step = self.step().as_secs_f64();
        json!({
            "threads": self.threads, "step_ms": ms(self.step()), "speed_up": one.as_secs_f64() / step, "phases": self.phases,
            "uneven": self.uneven(), "work_ms": ms(self.work), "meetings_ms": ms(self.meetings), "gb_per_s": bytes / step / 1e9,
        })
    }
}

pub fn run(
    context: &Context,
    checked: &Checked,
    train: &Train,
    prepared: &Prepared,
    wanted: &Wanted,
    teams: &[usize],
) -> Result<u8, Failure> {
    if context.global.device != Device::Cpu {
        return Err(
            Failure::user("device-missing", "only threads of a processor are simulated").help("leave out `--device`")
        );
    }
    let batch = (train.batch.max(1) as usize).min(prepared.parts.train.len());
    let rows = &prepared.parts.train[..batch];
    let there = context.threads();
    let meeting = Executor::new(there).meeting();
    let of_team = |team: usize| meeting.mul_f64(if team == 1 { 0.0 } else { team as f64 / there.max(2) as f64 });
    let mut bytes = 0.0;
    let mut simulated = Vec::new();
    for threads in std::iter::once(1).chain(teams.iter().copied().filter(|team| *team > 1)) {
        let engine = Engine::Processor(Executor::simulating(threads), context.products);
        let mut machine = ModelMachine::new(prepared, context.real, engine, context.global.seed.unwrap_or(0), true)?;
        let mut step = 0;
        let mut one = |machine: &mut ModelMachine| -> Result<Simulated, Failure> {
            step += 1;
            machine.step(rows, Moment { step, steps: 1000, epochs: 1, ..Moment::default() })?;
            Ok(machine.simulated().unwrap_or_default())
        };
        for _ in 0..WARM_UP {
            one(&mut machine)?;
        }
        let (mut found, begun) = (Vec::new(), Instant::now());
        while found.len() < FEWEST || begun.elapsed().as_secs_f64() < wanted.seconds {
            found.push(one(&mut machine)?);
        }
        found.sort_by_key(|found| found.longest);
        let Simulated { longest, work, phases } = found[found.len() / 2];
        let meetings = of_team(threads).mul_f64(phases as f64);
        simulated.push(Row { threads, longest, work, phases, meetings });
        if let Some(plan) = machine.step_plan().filter(|_| bytes == 0.0) {
            let mut none = Vec::new();
            bdl_plan::each_launch(&plan.launches, &mut |_| none.push(Duration::ZERO));
            let sources = &checked.source.sources;
            let rows = profile::rows(&plan, &none, &[], 1, &machine.usual_sizes(batch), sources);
            // Loops that took no time hold what their launches move.
            bytes = rows.iter().map(|row| row.bytes).sum::<f64>();
        }
    }
    let one = simulated.first().map(Row::step).unwrap_or_default();
    let place = format!("{} · batch {batch} · simulated on one thread", train.name);
    let line = json!({
        "event": "done", "train": &*train.name, "batch": batch, "meeting_us": meeting.as_secs_f64() * 1e6, "measured_on": there,
        "bytes": bytes, "simulated": simulated.iter().map(|row| row.json(one, bytes)).collect::<Vec<Value>>(),
    });
    let mut text = format!(
        "{place}\n  a meeting of {there} threads takes {:.2} µs, and more in proportion\n  \
         threads    step ms  speed-up  waiting  meetings    phases  GB/s of memory that it needs\n",
        meeting.as_secs_f64() * 1e6
    );
    for row in &simulated {
        let step = row.step();
        text.push_str(&format!(
            "  {:>7}  {:>9.2}  {:>8.2}  {:>5.1} %  {:>6.1} %  {:>8}  {:.1}\n",
            row.threads,
            ms(step),
            one.as_secs_f64() / step.as_secs_f64(),
            100.0 * row.uneven().max(0.0),
            100.0 * row.meetings.as_secs_f64() / step.as_secs_f64(),
            row.phases,
            bytes / step.as_secs_f64() / 1e9,
        ));
    }
    print(&if context.global.json { format!("{line}\n") } else { text })
}
