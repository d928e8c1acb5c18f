//! Training steps of the nine programs of `tests/speed`: the same bits on any number of threads, no allocation after the first step but
//! the few lists that it hands out, nothing touched outside of buffers.

use bdl::pipeline::{self, Request};
use bdl::run::{Device, Engine, ModelMachine, Prepared, prepare};
use bdl_schedule::Real;
use bdl_train::{Machine, Moment};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is allocated, on all threads.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counting, and guarding memory, are of the whole process: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

/// Workload, examples of a batch, steps. Batches are small, so that the tests are quick; sizes and lengths are those of the benchmark.
const WORKLOADS: [(&str, usize, u64); 9] = [
    ("mlp", 64, 20),
    ("basset", 3, 4),
    ("danq", 2, 3),
    ("transformer", 2, 3),
    ("vae", 96, 20),
    ("splice", 2, 3),
    ("lstm", 24, 4),
    ("gin", 40, 10),
    ("resnet2d", 2, 3),
];

fn prepared(workload: &str) -> Prepared {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/speed/{workload}.bdl"));
    let checked = pipeline::check(&file, &Request::default()).unwrap();
    checked.require_sound(false).unwrap();
    prepare(&checked, checked.train(None).unwrap(), None, 0).unwrap()
}

fn machine(prepared: &Prepared, threads: usize) -> ModelMachine {
    let engine = Engine::open(Device::Cpu, threads, Default::default()).unwrap();
    ModelMachine::new(prepared, Real::F32, engine, 1, true).unwrap()
}

fn step(machine: &mut ModelMachine, prepared: &Prepared, batch: usize, step: u64) -> f64 {
    let rows = &prepared.parts.train;
    let first = step as usize * batch % (rows.len() - batch + 1);
    let moment = Moment { step, steps: 100, epochs: 1, seed: 1, ..Moment::default() };
    machine.step(&rows[first..first + batch], moment).unwrap()[0].loss
}

/// Everything that training has changed.
fn state(machine: &ModelMachine) -> Vec<(String, Vec<u8>)> {
    let bytes = |entry: &bdl_execute::Buffer| match entry.slice::<f32>() {
        Some(values) => values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect(),
        None => entry.to_f64().iter().flat_map(|value| value.to_bits().to_le_bytes()).collect(),
    };
    machine.store.iter().map(|entry| (entry.name.to_string(), bytes(&entry.buffer))).collect()
}

#[test]
fn bits_do_not_depend_on_threads() {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (workload, batch, steps) in WORKLOADS {
        let prepared = prepared(workload);
        let run = |threads| {
            let mut machine = machine(&prepared, threads);
            let losses: Vec<u64> = (0..steps).map(|at| step(&mut machine, &prepared, batch, at).to_bits()).collect();
            (losses, state(&machine))
        };
        let alone = run(1);
        assert!(f64::from_bits(alone.0[0]).is_finite(), "{workload}");
        for threads in [2, 4] {
            let found = run(threads);
            assert_eq!(found.0, alone.0, "{workload}: losses on {threads} threads");
            for (found, alone) in found.1.iter().zip(&alone.1) {
                assert!(found == alone, "{workload}: `{}` on {threads} threads", alone.0);
            }
        }
    }
}

#[test]
fn a_step_after_the_first_allocates_only_the_lists_that_it_hands_out() {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (workload, batch, _) in WORKLOADS {
        let prepared = prepared(workload);
        for threads in [1, 2] {
            let mut machine = machine(&prepared, threads);
            // A worker that slept through the end of a run keeps its lists; then a second set comes into being, once.
            let mut counts = Vec::new();
            for at in 0..6 {
                let before = ALLOCATIONS.load(Ordering::Relaxed);
                step(&mut machine, &prepared, batch, at);
                counts.push(ALLOCATIONS.load(Ordering::Relaxed) - before);
            }
            // What `Machine::step` hands out and passes on: the sums, and the lists of inputs and lengths.
            let own = 4;
            let after_the_first = counts[1..].iter().filter(|count| **count > own).count();
            assert!(after_the_first <= 1, "{workload} on {threads} threads: allocations {counts:?}");
        }
    }
}

#[test]
fn nothing_is_touched_outside_of_buffers() {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    bdl_execute::guard_memory(true);
    for (workload, batch, _) in WORKLOADS {
        let prepared = prepared(workload);
        let mut machine = machine(&prepared, 2);
        for (at, batch) in [batch, batch - 1, 1].into_iter().enumerate() {
            let loss = step(&mut machine, &prepared, batch, at as u64);
            assert!(loss.is_finite(), "{workload}, batch {batch}");
        }
        let rows = &prepared.parts.train[..batch];
        let found = machine.evaluate(rows).unwrap();
        assert!(found.sums[0].loss.is_finite(), "{workload}");
    }
    bdl_execute::guard_memory(false);
}
