//! What a team of more threads than there are would take: one thread runs the chunks of all of them, one after the other, and each counts the
//! time of its own.
//!
//! A phase takes as long as the worker with the longest share, and a region the sum over its phases. Chunks that nobody else runs, work that
//! does not divide, and shares that are not even show; caches and a memory that all threads share do not, nor what a meeting costs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The sums of the regions so far.
#[derive(Debug, Default)]
pub(crate) struct Simulation {
    longest: AtomicU64,
    work: AtomicU64,
    phases: AtomicU64,
}

/// Times of a simulated team.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// Of the worker that each phase waits for.
    pub longest: Duration,
    /// Of all workers together.
    pub work: Duration,
    pub phases: u64,
}

impl Simulation {
    /// Runs the chunks of a phase, of which each of the team's workers has the same share as in a region of threads.
    pub fn phase(&self, count: usize, chunks: usize, mut chunk: impl FnMut(usize)) {
        let (mut longest, mut work) = (Duration::ZERO, Duration::ZERO);
        for worker in 0..count {
            let begun = Instant::now();
            let share = crate::pool::share_of(worker, count, chunks);
            let is_empty = share.is_empty();
            share.for_each(&mut chunk);
            let time = if is_empty { Duration::ZERO } else { begun.elapsed() };
            longest = longest.max(time);
            work += time;
        }
        let add = |sum: &AtomicU64, time: Duration| sum.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        add(&self.longest, longest);
        add(&self.work, work);
        self.phases.fetch_add(1, Ordering::Relaxed);
    }

    /// The sums since the last call.
    pub fn take(&self) -> Simulated {
        let time = |sum: &AtomicU64| Duration::from_nanos(sum.swap(0, Ordering::Relaxed));
        Simulated {
            longest: time(&self.longest),
            work: time(&self.work),
            phases: self.phases.swap(0, Ordering::Relaxed),
        }
    }
}
