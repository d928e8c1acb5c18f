//! Worker threads for one parallel region a step.
//!
//! A join for each kernel costs tens of microseconds. Here workers enter one region and walk the same list of *phases*: a phase is a
//! number of chunks that whoever is there claims one by one, and it is over when all chunks are done.
//!
//! ```text
//! caller   phase 1: chunk 0   phase 2: chunk 0   chunk 1        phase 3: ..
//! worker   phase 1: chunk 1   (not running)                     phase 3: ..
//! ```
//!
//! A worker claims the chunks of its own share first, the same part of every phase, and those of others only when none of its own is left: what
//! it computed in one phase it mostly reads in the next, from its own caches.
//!
//! Nobody waits for a *thread*, only for chunks that were begun: on a busy machine, where a worker may not run for many milliseconds, the
//! others do its share, and it skips what is over when it comes back. On an idle machine a phase costs less than a microsecond,
//! because waiting threads spin before they sleep. What a chunk computes must not depend on who runs it, so results do not depend on
//! any of this.
//!
//! The caller is worker 0. Workers are pinned, one to a processor of the allowed set, and the caller while it is in a region: unpinned
//! threads that work in short bursts are sometimes stacked on one core. With more threads than processors nothing is pinned and
//! nobody spins.
//!
//! **When a region ends** the door closes, and the caller waits for workers that are inside. A worker that waits is outside: it comes in
//! again only through an open door. So a chunk, and the code between phases, runs only while the caller is in `region`; what a job
//! owns it owns through its `Arc`.
//!
//! A panic of one worker ends the region on all and goes on in the caller.

use crate::simulated::{Simulated, Simulation};
use bdl_kernels::machine;
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Rounds of spinning before a waiting thread yields; about 20 µs.
const SPINS: u32 = 6000;
/// Rounds of yielding before it sleeps.
const YIELDS: u32 = 50;

/// What all threads of a region run. A worker that finds the door closed leaves with [`Gone`].
pub trait Work: Send + Sync {
    fn run(&self, worker: &mut Worker) -> Result<(), Gone>;
}

impl<F: Fn(&mut Worker) -> Result<(), Gone> + Send + Sync> Work for F {
    fn run(&self, worker: &mut Worker) -> Result<(), Gone> {
        self(worker)
    }
}

pub type Job = Arc<dyn Work>;

/// The region ended while this worker was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

struct Shared {
    /// `number of the region << 16 | workers inside << 1 | open`.
    door: AtomicU64,
    /// The number of the phase. Only workers inside change it.
    phase: AtomicU64,
    /// For each worker's share `phase << 32 | how many of its chunks are claimed`; one of an earlier phase says that none is.
    claims: Vec<Claims>,
    /// Chunks of the current phase that are done.
    done: AtomicUsize,
    job: Mutex<Option<Job>>,
    stop: AtomicBool,
    broken: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleep: Sleep,
    spins: u32,
}

const OPEN: u64 = 1;
const INSIDE: u64 = 2;
const REGION: u64 = 1 << 16;

/// On a cache line of its own.
#[repr(align(128))]
struct Claims(AtomicU64);

/// What trying to claim a chunk of a share gave.
enum Claim {
    Chunk(usize),
    Nothing,
    /// The phase is over.
    Over,
}

impl Claims {
    /// The next chunk of a share of so many.
    fn claim(&self, phase: u64, share: usize) -> Claim {
        let mut found = self.0.load(Ordering::Acquire);
        loop {
            let claimed = match (found >> 32).cmp(&phase) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => (found & 0xffff_ffff) as usize,
                std::cmp::Ordering::Greater => return Claim::Over,
            };
            if claimed >= share {
                return Claim::Nothing;
            }
            let more = phase << 32 | (claimed + 1) as u64;
            match self.0.compare_exchange(found, more, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Claim::Chunk(claimed),
                Err(now) => found = now,
            }
        }
    }
}

impl Shared {
    fn region(&self) -> u64 {
        self.door.load(Ordering::Acquire) / REGION
    }

    fn phase(&self) -> u64 {
        self.phase.load(Ordering::Acquire)
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Through the door of a region, if that is the current one and the door is open.
    fn come_in(&self, region: u64) -> bool {
        let mut door = self.door.load(Ordering::Acquire);
        loop {
            if door / REGION != region || door & OPEN == 0 {
                return false;
            }
            match self.door.compare_exchange_weak(door, door + INSIDE, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(found) => door = found,
            }
        }
    }

    fn go_out(&self) {
        let before = self.door.fetch_sub(INSIDE, Ordering::AcqRel);
        // The last one out of a closed door tells the caller.
        if before & OPEN == 0 && before % REGION == INSIDE {
            self.sleep.wake();
        }
    }
}

/// A pool of threads that run regions together.
pub struct Executor {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    one: Mutex<()>,
    /// The processor of the caller, and all that it may go back to.
    home: Option<(usize, affinity::Set)>,
    interrupt: Option<&'static AtomicBool>,
    /// A team that the caller stands for alone, and how large it is.
    simulated: Option<Box<(usize, Simulation)>>,
}

/// One thread of a region.
pub struct Worker<'r> {
    /// 0 is the caller.
    pub index: usize,
    pub count: usize,
    shared: &'r Shared,
    region: u64,
    phase: u64,
    is_inside: bool,
    simulation: Option<&'r Simulation>,
}

/// The chunks that are a worker's own.
pub(crate) fn share_of(worker: usize, count: usize, chunks: usize) -> Range<usize> {
    (worker * chunks).div_ceil(count)..((worker + 1) * chunks).div_ceil(count)
}

impl Worker<'_> {
    /// Runs `chunk(0)` to `chunk(chunks - 1)`, each once, by whichever workers are there; returns when all are done. Every worker must call it
    /// with the same number of chunks in the same order of phases.
    pub fn phase(&mut self, chunks: usize, mut chunk: impl FnMut(usize)) -> Result<(), Gone> {
        self.phase += 1;
        if let Some(simulation) = self.simulation {
            simulation.phase(self.count, chunks, chunk);
            return Ok(());
        }
        if self.count == 1 {
            (0..chunks).for_each(chunk);
            return Ok(());
        }
        if chunks == 0 {
            self.phase -= 1;
            return Ok(());
        }
        let shared = self.shared;
        loop {
            if shared.is_broken() {
                return self.interrupted();
            }
            if shared.phase() > self.phase {
                return Ok(());
            }
            match self.claim(chunks) {
                Claim::Chunk(claimed) => {
                    chunk(claimed);
                    if shared.done.fetch_add(1, Ordering::AcqRel) + 1 == chunks {
                        shared.done.store(0, Ordering::Relaxed);
                        shared.phase.store(self.phase + 1, Ordering::Release);
                        shared.sleep.wake();
                        return Ok(());
                    }
                }
                Claim::Over => return Ok(()),
                Claim::Nothing => self.wait()?,
            }
        }
    }

    /// A chunk of the worker's own share, or else of another's.
    fn claim(&self, chunks: usize) -> Claim {
        for worker in (self.index..self.count).chain(0..self.index) {
            let share = share_of(worker, self.count, chunks);
            match self.shared.claims[worker].claim(self.phase, share.len()) {
                Claim::Chunk(claimed) => return Claim::Chunk(share.start + claimed),
                Claim::Over => return Claim::Over,
                Claim::Nothing => {}
            }
        }
        Claim::Nothing
    }

    /// Until the phase is over; outside of the door meanwhile.
    fn wait(&mut self) -> Result<(), Gone> {
        let shared = self.shared;
        let is_caller = self.index == 0;
        if !is_caller {
            self.is_inside = false;
            shared.go_out();
        }
        let (phase, region) = (self.phase, self.region);
        shared.sleep.until(shared.spins, || {
            shared.is_broken() || !is_caller && shared.region() != region || shared.phase() > phase
        });
        self.is_inside = is_caller || shared.come_in(self.region);
        if self.is_inside { Ok(()) } else { Err(Gone) }
    }

    fn interrupted(&self) -> Result<(), Gone> {
        if self.index == 0 {
            resume_unwind(Box::new(Broken));
        }
        Err(Gone)
    }

    /// A team of one, for work inside of a chunk.
    pub fn alone() -> Worker<'static> {
        static NOBODY: Shared = Shared::new(0, Vec::new());
        Worker { index: 0, count: 1, shared: &NOBODY, region: 0, phase: 0, is_inside: true, simulation: None }
    }
}

impl Shared {
    const fn new(spins: u32, claims: Vec<Claims>) -> Shared {
        Shared {
            door: AtomicU64::new(0),
            phase: AtomicU64::new(0),
            claims,
            done: AtomicUsize::new(0),
            job: Mutex::new(None),
            stop: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            panic: Mutex::new(None),
            sleep: Sleep::new(),
            spins,
        }
    }
}

impl Executor {
    /// A pool of `threads` threads in all, the caller included; 0 counts as the number of allowed processors.
    pub fn new(threads: usize) -> Executor {
        let processors = machine::allowed_processors();
        let threads = if threads == 0 { processors.len() } else { threads };
        let roomy = threads <= processors.len();
        let claims = (0..threads).map(|_| Claims(AtomicU64::new(0))).collect();
        let shared = Arc::new(Shared::new(if roomy { SPINS } else { 0 }, claims));
        let workers = (1..threads)
            .filter_map(|index| {
                let shared = shared.clone();
                let processor = processors.get(index).copied().filter(|_| roomy);
                std::thread::Builder::new()
                    .name(format!("bdl-worker-{index}"))
                    .spawn(move || {
                        if let Some(processor) = processor {
                            machine::pin_this_thread(processor);
                        }
                        work(&shared, index, threads);
                    })
                    .ok()
            })
            .collect::<Vec<_>>();
        let home = (roomy && threads > 1).then(|| (processors[0], affinity::current()));
        if workers.len() + 1 < threads {
            // The system gave fewer threads than asked: start over with those that exist.
            let available = workers.len() + 1;
            drop(Executor { shared, workers, one: Mutex::new(()), home, interrupt: None, simulated: None });
            return Executor::new(available);
        }
        Executor { shared, workers, one: Mutex::new(()), home, interrupt: None, simulated: None }
    }

    /// The caller alone, which runs the work of so many threads and counts what each would take: see [`simulated`](Executor::simulated).
    pub fn simulating(threads: usize) -> Executor {
        let mut executor = Executor::new(1);
        executor.simulated = Some(Box::new((threads.max(1), Simulation::default())));
        executor
    }

    /// What the regions since the last call would have taken; nothing of an executor that does not simulate.
    pub fn simulated(&self) -> Option<Simulated> {
        self.simulated.as_ref().map(|team| team.1.take())
    }

    /// What it costs that all threads wait for each other once, beside what they do between.
    pub fn meeting(&self) -> Duration {
        const MEETINGS: u32 = 500;
        // Long enough that each takes its own.
        const CHUNK: Duration = Duration::from_micros(4);
        let job: Job = Arc::new(|worker: &mut Worker<'_>| {
            let chunk = |_| {
                let begun = Instant::now();
                while begun.elapsed() < CHUNK {}
            };
            (0..MEETINGS).try_for_each(|_| worker.phase(worker.count, chunk))
        });
        let times = (0..7).map(|_| {
            let begun = Instant::now();
            self.region(job.clone());
            (begun.elapsed() / MEETINGS).saturating_sub(CHUNK)
        });
        times.min().unwrap_or_default()
    }

    /// Runs end with [`Error::Interrupted`](crate::Error::Interrupted) soon after the flag is set: before the next launch or step of a loop.
    pub fn interrupt_by(&mut self, flag: &'static AtomicBool) {
        self.interrupt = Some(flag);
    }

    pub(crate) fn interrupt(&self) -> Option<&'static AtomicBool> {
        self.interrupt
    }

    pub fn threads(&self) -> usize {
        self.simulated.as_ref().map_or(self.workers.len() + 1, |team| team.0)
    }

    /// Runs `job` on all threads that come, and returns when the caller is through and nobody is inside any more.
    pub fn region(&self, job: Job) {
        let threads = self.threads();
        let shared = &*self.shared;
        if threads == 1 || self.simulated.is_some() {
            let simulation = self.simulated.as_ref().map(|team| &team.1);
            let _ = job.run(&mut Worker {
                index: 0,
                count: threads,
                shared,
                region: 0,
                phase: 0,
                is_inside: true,
                simulation,
            });
            return;
        }
        let _one = lock(&self.one);
        let _home = self.home.as_ref().map(|(processor, set)| affinity::Visit::to(*processor, set));
        let region = shared.region() + 1;
        *lock(&shared.job) = Some(job.clone());
        shared.done.store(0, Ordering::Relaxed);
        shared.claims.iter().for_each(|claims| claims.0.store(0, Ordering::Relaxed));
        shared.phase.store(1, Ordering::Relaxed);
        shared.door.store(region * REGION + OPEN, Ordering::Release);
        shared.sleep.wake();
        let mut worker =
            Worker { index: 0, count: threads, shared, region, phase: 0, is_inside: true, simulation: None };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job.run(&mut worker))) {
            shared.keep(panic);
        }
        shared.door.fetch_sub(OPEN, Ordering::AcqRel);
        shared.sleep.until(shared.spins, || shared.door.load(Ordering::Acquire).is_multiple_of(REGION));
        *lock(&shared.job) = None;
        if shared.broken.swap(false, Ordering::AcqRel)
            && let Some(panic) = lock(&shared.panic).take()
        {
            resume_unwind(panic);
        }
    }
}

impl Shared {
    /// The first panic of a region, to go on in the caller.
    fn keep(&self, panic: Box<dyn Any + Send>) {
        // A worker that left because another broke the region brings no news.
        if !panic.is::<Broken>() {
            lock(&self.panic).get_or_insert(panic);
        }
        self.broken.store(true, Ordering::Release);
        self.sleep.wake();
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.sleep.wake();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The life of a worker.
fn work(shared: &Shared, index: usize, count: usize) {
    let mut seen = 0;
    loop {
        shared.sleep.until(shared.spins, || {
            let door = shared.door.load(Ordering::Acquire);
            shared.stop.load(Ordering::Acquire) || door / REGION != seen && door & OPEN != 0
        });
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let region = shared.region();
        seen = region;
        if !shared.come_in(region) {
            continue;
        }
        // Inside, so the job is that of this region.
        let job = lock(&shared.job).clone();
        let Some(job) = job else {
            shared.go_out();
            continue;
        };
        let mut worker = Worker { index, count, shared, region, phase: 0, is_inside: true, simulation: None };
        let done = catch_unwind(AssertUnwindSafe(|| job.run(&mut worker)));
        // Before it goes out, so that the caller finds the job its own again.
        drop(job);
        match done {
            Ok(Ok(())) => shared.go_out(),
            // It broke off while outside, or inside because the region is broken.
            Ok(Err(Gone)) => {
                if worker.is_inside {
                    shared.go_out();
                }
            }
            Err(panic) => {
                shared.keep(panic);
                shared.go_out();
            }
        }
    }
}

/// Waiting: spin, then yield, then sleep.
struct Sleep {
    lock: Mutex<()>,
    bell: Condvar,
    sleepers: AtomicUsize,
}

impl Sleep {
    const fn new() -> Sleep {
        Sleep { lock: Mutex::new(()), bell: Condvar::new(), sleepers: AtomicUsize::new(0) }
    }

    fn until(&self, spins: u32, done: impl Fn() -> bool) {
        for _ in 0..spins {
            if done() {
                return;
            }
            std::hint::spin_loop();
        }
        for _ in 0..YIELDS {
            if done() {
                return;
            }
            std::thread::yield_now();
        }
        let mut guard = lock(&self.lock);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        // Whoever makes `done` true after this sees the sleeper; see `wake`.
        std::sync::atomic::fence(Ordering::SeqCst);
        while !done() {
            guard = self.bell.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// To be called after the condition became true.
    fn wake(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = lock(&self.lock);
            self.bell.notify_all();
        }
    }
}

/// The payload of the panic that takes the caller out of a broken region.
struct Broken;

/// Tying the caller to a processor while it is in a region.
mod affinity {
    #[cfg(target_os = "linux")]
    pub struct Set(Option<libc::cpu_set_t>);

    /// The processors this thread may run on now.
    #[cfg(target_os = "linux")]
    pub fn current() -> Set {
        // SAFETY: `set` is a plain bit set that lives for the call, and the size passed is its size.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            Set((libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) == 0).then_some(set))
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub struct Set;

    #[cfg(not(target_os = "linux"))]
    pub fn current() -> Set {
        Set
    }

    /// On a processor until dropped.
    pub struct Visit<'s>(&'s Set);

    impl<'s> Visit<'s> {
        pub fn to(processor: usize, back: &'s Set) -> Visit<'s> {
            bdl_kernels::machine::pin_this_thread(processor);
            Visit(back)
        }
    }

    impl Drop for Visit<'_> {
        fn drop(&mut self) {
            #[cfg(target_os = "linux")]
            if let Some(set) = &self.0.0 {
                // SAFETY: as in `current`.
                unsafe {
                    libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// A closure as a job; said as a function, so that its argument has a type.
    fn job(run: impl Fn(&mut Worker<'_>) -> Result<(), Gone> + Send + Sync + 'static) -> Job {
        Arc::new(run)
    }

    #[test]
    fn every_chunk_runs_once_and_phases_follow_each_other() {
        for threads in [1, 2, 4] {
            let executor = Executor::new(threads);
            assert_eq!(executor.threads(), threads);
            for round in 0..50 {
                let counts: Arc<Vec<AtomicU32>> = Arc::new((0..40).map(|_| AtomicU32::new(0)).collect());
                let seen = counts.clone();
                executor.region(job(move |worker| {
                    for phase in 0..8 {
                        worker.phase(5, |chunk| {
                            // All of the phase before are done.
                            let before = if phase == 0 { &seen[..0] } else { &seen[5 * (phase - 1)..5 * phase] };
                            assert!(before.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                            seen[5 * phase + chunk].fetch_add(1, Ordering::Relaxed);
                        })?;
                        worker.phase(0, |_| unreachable!())?;
                    }
                    Ok(())
                }));
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} threads, round {round}");
            }
        }
    }

    /// A worker that is asleep holds up nobody, and does nothing once the region is over.
    #[test]
    fn nobody_waits_for_a_thread_that_does_not_come() {
        let executor = Executor::new(2);
        let late = Arc::new(AtomicU32::new(0));
        let start = std::time::Instant::now();
        for _ in 0..5 {
            let late = late.clone();
            let chunks = Arc::new(AtomicU32::new(0));
            let count = chunks.clone();
            executor.region(job(move |worker| {
                for _ in 0..20 {
                    worker.phase(2, |_| {
                        count.fetch_add(1, Ordering::Relaxed);
                    })?;
                }
                if worker.index > 0 {
                    late.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
            assert_eq!(chunks.load(Ordering::Relaxed), 40);
        }
        assert!(start.elapsed().as_secs() < 20);
    }

    #[test]
    fn a_panic_ends_the_region_and_the_pool_lives_on() {
        let executor = Executor::new(3);
        for guilty in 0..3 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                executor.region(job(move |worker| {
                    worker.phase(3, |chunk| {
                        if chunk == guilty {
                            resume_unwind(Box::new("on purpose"));
                        }
                    })?;
                    worker.phase(3, |_| {})
                }));
            }));
            assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
            let count = Arc::new(AtomicU32::new(0));
            let seen = count.clone();
            executor.region(job(move |worker| {
                worker.phase(7, |_| {
                    seen.fetch_add(1, Ordering::SeqCst);
                })
            }));
            assert_eq!(count.load(Ordering::SeqCst), 7);
        }
    }

    #[test]
    fn a_simulated_team_runs_every_chunk_and_waits_for_the_longest_share() {
        let executor = Executor::simulating(4);
        assert_eq!(executor.threads(), 4);
        let seen: Arc<[AtomicU32; 7]> = Arc::new(std::array::from_fn(|_| AtomicU32::new(0)));
        let counted = seen.clone();
        executor.region(job(move |worker| {
            assert_eq!(worker.count, 4);
            worker.phase(7, |chunk| {
                counted[chunk].fetch_add(1, Ordering::Relaxed);
                // The last worker has the last chunk alone.
                std::thread::sleep(Duration::from_millis(if chunk == 6 { 40 } else { 1 }));
            })?;
            worker.phase(1, |_| {})
        }));
        assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        let found = executor.simulated().unwrap_or_default();
        assert_eq!(found.phases, 2);
        assert!(found.longest >= Duration::from_millis(40) && found.work >= found.longest + Duration::from_millis(6));
        assert_eq!(executor.simulated(), Some(Simulated::default()));
        assert_eq!(Executor::new(1).simulated(), None);
    }

    #[test]
    fn the_caller_may_go_anywhere_afterwards() {
        let before = machine::allowed_processors();
        Executor::new(2).region(job(|_| Ok(())));
        assert_eq!(machine::allowed_processors(), before);
    }
}
