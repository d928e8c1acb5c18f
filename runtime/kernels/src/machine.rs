//! Questions about the machine: allowed processors, pinning, and its measured limits (for `bdl bench` and the banner).
//!
//! Workers that are not pinned are sometimes stacked on one core for many milliseconds when work comes in short bursts;
//! pinning inside the *allowed* set respects `taskset`, containers and cluster schedulers.
//!
//! Pinning works on Linux and does nothing elsewhere.

use crate::contraction::{Matrix, MatrixMut, Mode, Taps, bf16, contract_f32};
use crate::isa::Isa;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Name for people of the instruction set the kernels use: "AVX-512", "AVX2" or "portable".
pub fn isa_name() -> &'static str {
    Isa::current().name()
}

/// The processors this thread may run on, in increasing order; at least one.
#[cfg(target_os = "linux")]
pub fn allowed_processors() -> Vec<usize> {
    // SAFETY: `set` is a plain bit set that lives for the whole call, and the size passed is its size.
    let allowed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) == 0 {
            (0..libc::CPU_SETSIZE as usize).filter(|&p| libc::CPU_ISSET(p, &set)).collect()
        } else {
            Vec::new()
        }
    };
    if allowed.is_empty() { all_processors() } else { allowed }
}

/// The processors this thread may run on, in increasing order; at least one.
#[cfg(not(target_os = "linux"))]
pub fn allowed_processors() -> Vec<usize> {
    all_processors()
}

/// How many processors this thread may run on.
pub fn allowed_cpus() -> usize {
    allowed_processors().len()
}

fn all_processors() -> Vec<usize> {
    (0..std::thread::available_parallelism().map_or(1, |n| n.get())).collect()
}

/// Ties the calling thread to one processor. False where that is not possible or not allowed; the thread then stays free.
#[cfg(target_os = "linux")]
pub fn pin_this_thread(processor: usize) -> bool {
    if processor >= libc::CPU_SETSIZE as usize {
        return false;
    }
    // SAFETY: as in `allowed_processors`; CPU_SET is given a number below CPU_SETSIZE.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) == 0
    }
}

/// Ties the calling thread to one processor. False where that is not possible or not allowed; the thread then stays free.
#[cfg(not(target_os = "linux"))]
pub fn pin_this_thread(_processor: usize) -> bool {
    false
}

static SMALL_PAGES: AtomicBool = AtomicBool::new(false);

/// From now on, memory comes in small pages, even where somebody asked for large ones (2 MB): for a compiler, whose pieces are small and lie apart.
/// Until [`large_pages`]. Linux only.
pub fn small_pages() {
    SMALL_PAGES.store(true, Ordering::Relaxed);
    #[cfg(target_os = "linux")]
    // SAFETY: a flag of this process, without pointers; where the system does not know it, nothing happens.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// Ends what [`small_pages`] began, if it did: large tensors are about to come. What is there by now stays on small pages: the system would
/// otherwise go on to fill it up to large ones, little by little while a program trains.
pub fn large_pages() {
    if SMALL_PAGES.swap(false, Ordering::Relaxed) {
        #[cfg(target_os = "linux")]
        {
            keep_small();
            // SAFETY: as in `small_pages`.
            unsafe {
                libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0);
            }
        }
    }
}

/// Takes back every wish for large pages in this process's memory.
#[cfg(target_os = "linux")]
fn keep_small() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for line in maps.lines() {
        // 7f1c8000-7f1c9000 rw-p 00000000 00:00 0, and nothing behind it or `[heap]`: memory of no file.
        let mut fields = line.split_whitespace();
        let (Some(range), Some("rw-p"), Some(inode)) = (fields.next(), fields.next(), fields.nth(2)) else { continue };
        let ends = range.split_once('-').map(|(from, to)| [from, to].map(|end| usize::from_str_radix(end, 16)));
        let (Some([Ok(from), Ok(to)]), "0") = (ends, inode) else { continue };
        // SAFETY: advice changes no content, whatever lies there.
        unsafe {
            libc::madvise(std::ptr::without_provenance_mut(from), to - from, libc::MADV_NOHUGEPAGE);
        }
    }
}

/// Runs `work` on `threads` pinned threads again and again for `time`, all starting each round together.
/// The shortest round in seconds.
fn best_round(threads: usize, time: Duration, make_work: impl Fn() -> Box<dyn FnMut()> + Sync) -> f64 {
    let processors = allowed_processors();
    let threads = threads.clamp(1, processors.len());
    let barrier = Barrier::new(threads);
    let best = std::sync::Mutex::new(f64::INFINITY);
    // Rounds are counted, not timed, by the threads, so that all take part in the same number.
    let rounds = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        for (t, &processor) in processors.iter().enumerate().take(threads) {
            let (barrier, best, rounds, make_work) = (&barrier, &best, &rounds, &make_work);
            scope.spawn(move || {
                pin_this_thread(processor);
                let mut work = make_work();
                work();
                barrier.wait();
                let begin = Instant::now();
                loop {
                    barrier.wait();
                    let start = Instant::now();
                    work();
                    barrier.wait();
                    if t == 0 {
                        let mut best = best.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                        *best = best.min(start.elapsed().as_secs_f64());
                        rounds.store(begin.elapsed() < time, std::sync::atomic::Ordering::Relaxed);
                    }
                    barrier.wait();
                    if !rounds.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
    });
    best.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// f32 GFLOP/s of the contraction kernel: the best round of 512³ products on each of `threads` pinned threads, in about 0.1 s.
pub fn measure_gflops(threads: usize) -> f64 {
    // SAFETY: the caller of a product promises what the kernel asks for.
    gflops(threads, |a, b, c| unsafe { contract_f32(N, N, N, a, b, c, Mode::Write) })
}

/// The same of the kernel for factors of bf16.
pub fn measure_gflops_bf16(threads: usize) -> f64 {
    // SAFETY: the caller of a product promises what the kernel asks for.
    gflops(threads, |a, b, c| unsafe { bf16::contract_taps(N, N, N, Taps::ONE, a, b, c, Mode::Write) })
}

/// Rows and columns of the matrices that are multiplied to measure.
const N: usize = 512;

/// `product` needs matrices of N x N that do not overlap.
fn gflops(threads: usize, product: unsafe fn(Matrix<f32>, Matrix<f32>, MatrixMut<f32>)) -> f64 {
    let threads = threads.clamp(1, allowed_processors().len());
    let seconds = best_round(threads, Duration::from_millis(80), || {
        let (a, b, mut c) = (vec![1.0f32; N * N], vec![0.5f32; N * N], vec![0.0f32; N * N]);
        Box::new(move || {
            // SAFETY: the three buffers hold N x N elements each and do not overlap.
            unsafe { product(Matrix::rows(&a, N), Matrix::rows(&b, N), MatrixMut::rows(&mut c, N)) }
        })
    });
    threads as f64 * 2.0 * (N * N * N) as f64 / seconds / 1e9
}

/// Memory bandwidth in GB/s (bytes read plus bytes written): the best round of copying 64 MB on `threads` pinned threads.
pub fn measure_bandwidth(threads: usize) -> f64 {
    const BYTES: usize = 64 << 20;
    let threads = threads.clamp(1, allowed_processors().len());
    let part = BYTES / 8 / threads;
    let seconds = best_round(threads, Duration::from_millis(80), || {
        let (from, mut to) = (vec![1u64; part], vec![0u64; part]);
        Box::new(move || {
            to.copy_from_slice(&from);
            std::hint::black_box(&mut to);
        })
    });
    (2 * 8 * part * threads) as f64 / seconds / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinning_stays_inside_the_allowed_set() {
        let allowed = allowed_processors();
        assert!(!allowed.is_empty());
        assert_eq!(allowed_cpus(), allowed.len());
        std::thread::spawn(move || {
            if pin_this_thread(allowed[0]) {
                assert_eq!(allowed_processors(), [allowed[0]]);
            }
            assert!(!pin_this_thread(usize::MAX));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn measurements_are_positive_and_finite() {
        for value in [measure_gflops(1), measure_gflops(usize::MAX), measure_gflops_bf16(1), measure_bandwidth(1)] {
            assert!(value > 0.01 && value < 1e6, "{value}");
        }
    }

    /// What `/proc/self/smaps` says of the mapping that holds an address: `hg` asks for large pages, `nh` for none.
    #[cfg(target_os = "linux")]
    fn flags_at(address: usize) -> Option<String> {
        let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let holds = |line: &str| {
            let ends = line.split(' ').next()?.split_once('-')?;
            let [from, to] = [ends.0, ends.1].map(|end| usize::from_str_radix(end, 16).ok());
            Some((from?..to?).contains(&address))
        };
        let mut lines = smaps.lines().skip_while(|line| holds(line) != Some(true));
        lines.find_map(|line| line.strip_prefix("VmFlags:")).map(str::to_string)
    }

    /// The system goes on to fill memory that asks for large pages while a program trains: 8 MB in 40 seconds for the smallest of `tests/speed`.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_there_while_pages_were_small_never_asks_for_large_ones() {
        const BYTES: usize = 8 << 20;
        // SAFETY: new pages of our own.
        let block = unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let block = libc::mmap(std::ptr::null_mut(), BYTES, access, kind, -1, 0);
            assert_ne!(block, libc::MAP_FAILED);
            libc::madvise(block, BYTES, libc::MADV_HUGEPAGE);
            block as usize
        };
        let asks = |flag: &str| flags_at(block).is_some_and(|flags| flags.split(' ').any(|f| f == flag));
        if !asks("hg") {
            eprintln!("skipped: this system does not say what memory asks for");
            return;
        }
        small_pages();
        large_pages();
        assert!(asks("nh") && !asks("hg"), "{:?}", flags_at(block));
        // Tensors come later.
        // SAFETY: as above.
        unsafe { libc::madvise(block as *mut libc::c_void, BYTES, libc::MADV_HUGEPAGE) };
        assert!(asks("hg"), "{:?}", flags_at(block));
    }
}
