//! Worker threads for one parallel region a step.
//!
//! A join for each kernel costs tens of microseconds; here the workers enter one region, run all launches of a plan in step, and meet
//! at a [`Barrier`] between them, which costs about a microsecond because they spin before they sleep.
//!
//! The caller is worker 0. Workers are pinned, one to a processor of the allowed set, and the caller while it is in a region:
//! unpinned threads that work in short bursts are sometimes stacked on one core. With more threads than processors
//! nothing is pinned and nobody spins.
//!
//! A panic of one worker ends the region on all and goes on in the caller.

use bdl_kernels::machine;
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// Rounds of spinning before a waiting thread yields; about 20 µs.
const SPINS: u32 = 6000;
/// Rounds of yielding before it sleeps.
const YIELDS: u32 = 50;

type Job = *const (dyn Fn(&Worker) + Sync);

struct Shared {
    /// The work of the current region; written before `epoch` moves, read after.
    job: UnsafeCell<Option<Job>>,
    /// Counts regions.
    epoch: AtomicU64,
    stop: AtomicBool,
    gate: Sleep,
    /// Between launches; a panic breaks it.
    barrier: Barrier,
    /// At the end of a region; everybody comes here, panic or not.
    end: Barrier,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    spins: u32,
}

// SAFETY: `job` is written only by the caller of `region` while all workers wait for the epoch to move (it holds the region lock and
// the last region has ended at the barrier), and read by workers only after they saw it move (release and acquire).
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is to a `Sync` closure.
unsafe impl Send for Shared {}

/// A pool of threads that run regions together.
pub struct Executor {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    region: Mutex<()>,
    /// The processor of the caller, and all that it may go back to.
    home: Option<(usize, affinity::Set)>,
}

/// One thread of a region.
pub struct Worker<'r> {
    /// 0 is the caller.
    pub index: usize,
    pub count: usize,
    shared: &'r Shared,
}

impl Worker<'_> {
    /// Waits until all workers of the region are here.
    pub fn barrier(&self) {
        if self.count > 1 {
            self.shared.barrier.wait(self.shared.spins);
        }
    }

    /// This worker as a team of one.
    pub fn alone(&self) -> Worker<'_> {
        Worker { index: 0, count: 1, shared: self.shared }
    }
}

impl Executor {
    /// A pool of `threads` threads in all, the caller included; 0 counts as the number of allowed processors.
    pub fn new(threads: usize) -> Executor {
        let processors = machine::allowed_processors();
        let threads = if threads == 0 { processors.len() } else { threads };
        let roomy = threads <= processors.len();
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(None),
            epoch: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            gate: Sleep::default(),
            barrier: Barrier::new(threads),
            end: Barrier::new(threads),
            panic: Mutex::new(None),
            spins: if roomy { SPINS } else { 0 },
        });
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
            drop(Executor { shared, workers, region: Mutex::new(()), home });
            return Executor::new(available);
        }
        Executor { shared, workers, region: Mutex::new(()), home }
    }

    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// The calling thread as a team of one.
    pub fn caller(&self) -> Worker<'_> {
        Worker { index: 0, count: 1, shared: &self.shared }
    }

    /// Runs `job` on all threads at once and returns when all are done.
    pub fn region(&self, job: &(dyn Fn(&Worker) + Sync)) {
        let threads = self.threads();
        if threads == 1 {
            job(&self.caller());
            return;
        }
        let _one = lock(&self.region);
        let _home = self.home.as_ref().map(|(processor, set)| affinity::Visit::to(*processor, set));
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed; the pointer is not used after this function, because every worker passes the last
        // barrier below after its last use.
        let erased: Job = unsafe { std::mem::transmute::<*const (dyn Fn(&Worker) + Sync), Job>(job) };
        // SAFETY: workers are waiting for the epoch (see `Shared`).
        unsafe { *shared.job.get() = Some(erased) };
        shared.epoch.fetch_add(1, Ordering::Release);
        shared.gate.wake();
        run_job(shared, erased, 0, threads);
        shared.end.wait(shared.spins);
        if shared.barrier.broken.load(Ordering::Acquire) {
            // All workers are past the end: nobody is at the broken barrier.
            shared.barrier.mend();
            if let Some(panic) = lock(&shared.panic).take() {
                resume_unwind(panic);
            }
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.epoch.fetch_add(1, Ordering::Release);
        self.shared.gate.wake();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn run_job(shared: &Shared, job: Job, index: usize, count: usize) {
    let worker = Worker { index, count, shared };
    // SAFETY: the closure lives until the region ends, which is after this call.
    let job = unsafe { &*job };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(&worker))) {
        // A worker that left because another broke the barrier brings no news.
        if !panic.is::<Broken>() {
            lock(&shared.panic).get_or_insert(panic);
        }
        shared.barrier.break_it();
    }
}

fn work(shared: &Shared, index: usize, count: usize) {
    let mut seen = 0;
    loop {
        shared.gate.until(shared.spins, || shared.epoch.load(Ordering::Acquire) != seen);
        seen += 1;
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        // SAFETY: the epoch moved, so the job was written and stays until this worker passes the barrier.
        if let Some(job) = unsafe { *shared.job.get() } {
            run_job(shared, job, index, count);
        }
        shared.end.wait(shared.spins);
    }
}

/// Waiting: spin, then yield, then sleep.
#[derive(Default)]
struct Sleep {
    lock: Mutex<()>,
    bell: Condvar,
    sleepers: AtomicUsize,
}

impl Sleep {
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

/// The payload of the panic that takes workers out of a broken barrier.
struct Broken;

/// A meeting point that can be used again and again. Counts generations; the last to arrive opens it.
struct Barrier {
    threads: usize,
    arrived: AtomicUsize,
    generation: AtomicU64,
    broken: AtomicBool,
    sleep: Sleep,
}

impl Barrier {
    fn new(threads: usize) -> Barrier {
        Barrier {
            threads,
            arrived: AtomicUsize::new(0),
            generation: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            sleep: Sleep::default(),
        }
    }

    fn wait(&self, spins: u32) {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation + 1, Ordering::Release);
            self.sleep.wake();
            return;
        }
        self.sleep.until(spins, || {
            self.generation.load(Ordering::Acquire) != generation || self.broken.load(Ordering::Acquire)
        });
        if self.broken.load(Ordering::Acquire) {
            resume_unwind(Box::new(Broken));
        }
    }

    fn break_it(&self) {
        self.broken.store(true, Ordering::Release);
        self.sleep.wake();
    }

    fn mend(&self) {
        self.arrived.store(0, Ordering::Relaxed);
        self.broken.store(false, Ordering::Release);
    }
}

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

    #[test]
    fn every_worker_runs_and_meets_the_others() {
        for threads in [1, 2, 4] {
            let executor = Executor::new(threads);
            assert_eq!(executor.threads(), threads);
            for _ in 0..50 {
                let (before, after) = (AtomicU32::new(0), AtomicU32::new(0));
                executor.region(&|worker| {
                    assert_eq!(worker.count, threads);
                    for round in 1..=3 {
                        before.fetch_add(1, Ordering::SeqCst);
                        worker.barrier();
                        assert_eq!(before.load(Ordering::SeqCst), round * threads as u32);
                        worker.barrier();
                    }
                    after.fetch_add(1 << worker.index, Ordering::SeqCst);
                });
                assert_eq!(after.into_inner(), (1 << threads) - 1);
            }
        }
    }

    #[test]
    fn a_panic_ends_the_region_and_the_pool_lives_on() {
        let executor = Executor::new(3);
        for guilty in 0..3 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                executor.region(&|worker| {
                    if worker.index == guilty {
                        resume_unwind(Box::new("on purpose"));
                    }
                    worker.barrier();
                });
            }));
            assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
            let count = AtomicU32::new(0);
            executor.region(&|worker| {
                count.fetch_add(1, Ordering::SeqCst);
                worker.barrier();
            });
            assert_eq!(count.into_inner(), 3);
        }
    }

    #[test]
    fn the_caller_may_go_anywhere_afterwards() {
        let before = machine::allowed_processors();
        Executor::new(2).region(&|_| {});
        assert_eq!(machine::allowed_processors(), before);
    }
}
