//! Runs that are made again as they were recorded, against the same runs launched one by one on the machine that interprets PTX: every bit.

mod support;

use bdl_execute::cuda::Cuda;
use bdl_execute::device::{Device, DeviceProgram, Resident};
use bdl_execute::{Data, Error, Inputs, Store};
use bdl_plan::{DType, parse_plan};
use bdl_ptx_machine::Machine;
use std::path::PathBuf;
use std::sync::Arc;
use support::with_driver;

/// A dense layer with noise in a loop, its loss, an update and a moving average of the weights.
const TRAIN: &str = r#"
plan train
size B batch
size s step
slot 80 * B
slot 80 * B
slot 4
slot 400
buffer x: f32[B, 5] len 5 * B; input per_example
buffer w: f32[5, 20] len 100; param
buffer average: f32[5, 20] len 100; state
buffer h: f32[B, 20] len 20 * B; slot 0
buffer e: f32[B, 20] len 20 * B; slot 1
buffer loss: f32[] len 1; slot 2
buffer g: f32[5, 20] len 100; slot 3
output loss = loss

kernel add(h: f32 update, e: f32 read) sizes(B) indices(r, c) {
  for r in B {
    for c in 0..20 lanes {
      %0: f32 = load h[r * 20 + c]
      %1: f32 = load e[r * 20 + c]
      %2: f32 = add %0, %1
      store h[r * 20 + c] = %2
    }
  }
}

kernel mean(h: f32 read, loss: f32 write) sizes(B) indices(g, i) {
  for g in 1 {
    %0: f32 = const 0.0
    variable @0: f32 = %0
    for i in 0..(20 * B) lanes {
      %1: f32 = load h[i]
      %2: f32 = mul %1, %1
      @0 sum= %2
    }
    %3: f32 = read @0
    store loss[0] = %3
  }
}

kernel update(w: f32 update, average: f32 update, g: f32 read) indices(i) {
  for i in 100 lanes {
    %0: f32 = load w[i]
    %1: f32 = load g[i]
    %2: f32 = const 0.001
    %3: f32 = mul %1, %2
    %4: f32 = sub %0, %3
    store w[i] = %4
    %5: f32 = load average[i]
    %6: f32 = sub %4, %5
    %7: f32 = const 0.25
    %8: f32 = mul %6, %7
    %9: f32 = add %5, %8
    store average[i] = %9
  }
}

scan s in 2 {
  draw e = normal site 1 steps s per_example 20;
  contract h = x * w {
    m b: B (out 20, a 5, b 0)
    n f: 20 (out 1, a 0, b 1)
    k c: 5 (out 0, a 1, b 20)
    then add(h, e)
  }
  contract g = x * h {
    m c: 5 (out 20, a 1, b 0)
    n f: 20 (out 1, a 0, b 1)
    k b: B (out 0, a 5, b 20)
  }
  run update(w, average, g)
}
run mean(h, loss)
"#;

const PREDICT: &str = r#"
plan predict
size B batch
slot 80 * B
buffer x: f32[B, 5] len 5 * B; input per_example
buffer w: f32[5, 20] len 100; param
buffer h: f32[B, 20] len 20 * B; slot 0
output h = h

contract h = x * w {
  m b: B (out 20, a 5, b 0)
  n f: 20 (out 1, a 0, b 1)
  k c: 5 (out 0, a 1, b 20)
}
"#;

/// Doubles until nothing is below 8: how often is decided by a look at what the device holds.
const DOUBLE: &str = r#"
plan double
size B batch
size i step
slot 4 * B
slot 1
buffer x: f32[B, 5] len 5 * B; input per_example
buffer w: f32[5, 20] len 100; param
buffer y: f32[B] len B; slot 0
buffer enough: bool[] len 1; slot 1
output y = y

kernel begin(x: f32 read, w: f32 read, y: f32 write) sizes(B) indices(b) {
  for b in B lanes {
    %0: f32 = load x[b * 5]
    %1: f32 = load w[0]
    %2: f32 = mul %0, %0
    %3: f32 = mul %1, %1
    %4: f32 = add %2, %3
    %5: f32 = const 0.5
    %6: f32 = add %4, %5
    store y[b] = %6
  }
}

kernel all(y: f32 read, enough: bool write) sizes(B) indices(g, b) {
  for g in 1 {
    %0: f32 = const inf
    variable @0: f32 = %0
    for b in 0..B lanes {
      %1: f32 = load y[b]
      @0 min= %1
    }
    %2: f32 = read @0
    %3: f32 = const 8.0
    %4: bool = ge %2, %3
    store enough[0] = %4
  }
}

kernel twice(y: f32 update) sizes(B) indices(b) {
  for b in B lanes {
    %0: f32 = load y[b]
    %1: f32 = add %0, %0
    store y[b] = %1
  }
}

run begin(x, w, y)
iterate i in 20 until enough {
  run all(y, enough)
} else {
  run twice(y)
}
"#;

#[derive(Clone, Copy)]
enum Round {
    Train(usize),
    Predict(usize),
    Double(usize),
    /// The average takes the place of the weights, or the other way round.
    Swap,
}
use Round::{Double, Predict, Swap, Train};

fn numbers(len: usize, salt: usize) -> Vec<f64> {
    (0..len).map(|i| (((i + 7 * salt) * 37 % 101) as f64 / 50.0) - 1.0).collect()
}

fn ready<D: Device>(device: &mut D, text: &str) -> Result<DeviceProgram, Error> {
    let plan = Arc::new(parse_plan(text).unwrap_or_else(|e| panic!("{e}")));
    bdl_plan::verify(&plan).unwrap_or_else(|e| panic!("{e}"));
    let code = bdl_ptx::compile(&plan, bdl_ptx::Wanted::default(), &|_| Vec::new()).unwrap_or_else(|e| panic!("{e}"));
    DeviceProgram::new(device, plan, &code)
}

fn bits(numbers: Vec<f64>) -> Vec<u64> {
    numbers.into_iter().map(f64::to_bits).collect()
}

/// What each round gives, and the weights and their average at the end.
fn run<D: Device>(device: &mut D, rounds: &[Round]) -> Result<Vec<Vec<u64>>, Error> {
    let mut train = ready(device, TRAIN)?;
    let mut predict = ready(device, PREDICT)?;
    let mut double = ready(device, DOUBLE)?;
    let (mut resident, mut store) = (Resident::default(), Store::new());
    for name in ["w", "average"] {
        store.insert(name, DType::F32, vec![5, 20])?;
        store.set(name, &numbers(100, name.len()))?;
    }
    let mut found = Vec::new();
    for (step, round) in rounds.iter().enumerate() {
        let (program, output, batch) = match round {
            Train(batch) => (&mut train, "loss", *batch),
            Predict(batch) => (&mut predict, "h", *batch),
            Double(batch) => (&mut double, "y", *batch),
            Swap => {
                store.swap("w", "average");
                resident.swap("w", "average");
                continue;
            }
        };
        // Other examples, another step of the draws.
        let (x, step) = (numbers(5 * batch, step), step as u64);
        let inputs = Inputs { batch, step, seed: 3, buffers: vec![("x", Data::F64(&x))], ..Inputs::default() };
        let made = program.run(device, &mut resident, &mut store, &inputs)?;
        found.push(bits(made.numbers(output).unwrap()));
        // A product counts the same, recorded or not.
        let products = match round {
            Train(batch) => 2 * 2 * 2 * 5 * 20 * batch,
            Predict(batch) => 2 * 5 * 20 * batch,
            Double(_) | Swap => 0,
        };
        assert_eq!(program.flop().iter().sum::<u64>(), products as u64);
    }
    resident.fetch(device, &mut store)?;
    found.extend(["w", "average"].map(|name| bits(store.get(name).unwrap().to_f64())));
    for program in [&mut train, &mut predict, &mut double] {
        program.release(device);
    }
    resident.release(device);
    Ok(found)
}

/// Launches, graphs made, launches of graphs: the driver wrote them down when its device was closed.
fn counts() -> [u64; 3] {
    let text = std::fs::read_to_string(std::env::var_os("BDL_STAND_IN_COUNTS").unwrap()).unwrap();
    let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

/// A process with the driver, which says in a file of its own what it has counted.
fn with_counts(test: &str, settings: &[(&str, &str)], body: impl FnOnce()) {
    let file: PathBuf = std::env::temp_dir().join(format!("bdl-{}-{test}", std::process::id()));
    let name = file.display().to_string();
    with_driver(test, &[settings, &[("BDL_STAND_IN_COUNTS", &name)]].concat(), body);
    let _ = std::fs::remove_file(file);
}

/// The same bits on both devices, and so many graphs and launches of graphs.
fn same(rounds: &[Round], graphs: u64, launched: u64) {
    let mut cuda = Cuda::open(0).unwrap();
    let before = cuda.memory().unwrap();
    let recorded = run(&mut cuda, rounds).unwrap();
    assert_eq!(cuda.memory().unwrap(), before, "all memory was given back");
    drop(cuda);
    let by_one = run(&mut Machine::new(11), rounds).unwrap();
    for (at, (found, expected)) in recorded.iter().zip(&by_one).enumerate() {
        assert_eq!(found, expected, "round {at}");
    }
    assert_eq!(recorded.len(), by_one.len());
    let [_, made, replayed] = counts();
    assert_eq!((made, replayed), (graphs, launched));
}

#[test]
fn training_steps() {
    // The first is launched one by one; the second is recorded, and made as it was recorded from then on.
    with_counts("training_steps", &[], || same(&[Train(90); 6], 1, 5));
}

#[test]
fn batches_of_two_sizes() {
    let rounds = [Train(7), Train(90), Train(7), Train(90), Train(7), Train(90), Train(90)];
    // The second batch moves the memory for which the first was launched, which is new when it comes again; from the fourth on all is recorded.
    with_counts("batches_of_two_sizes", &[], || same(&rounds, 2, 4));
}

#[test]
fn more_sizes_than_recordings_are_kept() {
    let sizes = [90, 1, 2, 3, 4, 5];
    let rounds: Vec<Round> = sizes.iter().flat_map(|size| [Train(*size); 3]).chain([Train(90); 3]).collect();
    // Of each size one by one, recorded, as recorded; the first size was thrown away meanwhile.
    with_counts("more_sizes_than_recordings_are_kept", &[], || same(&rounds, 7, 14));
}

#[test]
fn weights_that_change_places() {
    let rounds = [
        &[Train(30); 3][..],
        &[Predict(30); 3],
        &[Swap],
        &[Predict(30); 3],
        &[Swap],
        &[Predict(30), Train(30), Swap, Predict(30), Swap, Predict(30)],
    ];
    // Training twice and once more; either place of the weights is recorded by itself.
    with_counts("weights_that_change_places", &[], || same(&rounds.concat(), 3, 3 + 2 + 2 + 3));
}

#[test]
fn a_program_that_looks_at_what_it_computes_is_not_recorded() {
    let rounds = [Train(9), Double(9), Train(9), Double(9), Double(9), Train(9), Double(9)];
    let test = "a_program_that_looks_at_what_it_computes_is_not_recorded";
    with_counts(test, &[], || same(&rounds, 1, 2));
}

#[test]
fn a_device_that_is_lost_while_it_repeats() {
    let test = "a_device_that_is_lost_while_it_repeats";
    // A step is ten launches or so.
    with_counts(test, &[("BDL_STAND_IN_LOST_AFTER", "60")], || {
        let mut cuda = Cuda::open(0).unwrap();
        let error = run(&mut cuda, &[Train(30); 20]).unwrap_err();
        drop(cuda);
        let said = error.to_string();
        assert!(matches!(error, Error::Device(_)), "{said}");
        assert!(
            said.contains("PTX machine of the tests: unspecified launch failure (CUDA_ERROR_LAUNCH_FAILED)"),
            "{said}"
        );
        let [launches, _, replayed] = counts();
        assert!(launches > 60 && replayed > 1 && replayed < 19, "{launches} launches, {replayed} of graphs");
    });
}

/// While times are measured, each launch is made by itself; those of a loop count in it, too.
#[test]
fn a_profile_records_nothing() {
    with_counts("a_profile_records_nothing", &[], || {
        let mut cuda = Cuda::open(0).unwrap();
        let mut program = ready(&mut cuda, TRAIN).unwrap();
        let (mut resident, mut store) = (Resident::default(), Store::new());
        let x = numbers(5 * 30, 1);
        let mut run = |program: &mut DeviceProgram, cuda: &mut Cuda| {
            let inputs = Inputs { batch: 30, buffers: vec![("x", Data::F64(&x))], ..Inputs::default() };
            program.run(cuda, &mut resident, &mut store, &inputs).unwrap();
        };
        (0..3).for_each(|_| run(&mut program, &mut cuda));
        assert!(program.profile().is_none());
        program.set_profile(true);
        (0..2).for_each(|_| run(&mut program, &mut cuda));
        let times = program.profile().unwrap().to_vec();
        // The loop, its four launches, the loss.
        assert_eq!(times.len(), 6);
        assert!(times.iter().all(|time| !time.is_zero()), "{times:?}");
        assert!(times[0] >= times[1..5].iter().sum(), "{times:?}");
        program.set_profile(false);
        run(&mut program, &mut cuda);
        program.release(&mut cuda);
        drop(cuda);
        assert_eq!(counts()[1..], [1, 3]);
    });
}

/// A padded convolution over sequences: how many blocks a launch has, the longest one says.
const RAGGED: &str = r#"
plan convolve
size B batch
size T per_example
size rows_T total T
slot 20 * rows_T
slot 4 * rows_T
buffer x: f32[B, T, 3] len 3 * rows_T; input per_example
buffer w: f32[3, 3, 5] len 45; param
buffer off: i64[B + 1] len B + 1; offsets T
buffer y: f32[B, T, 5] len 5 * rows_T; slot 0
buffer e: f32[B, T] len rows_T; slot 1
output y = y
output e = e

draw e = normal site 1 per_example T; offsets off
contract y = x + (-3) * w {
  batch b: B (out 5, a 3, b 0) offsets off
  m t: T (out 5, a 3, b 0)
  n f: 5 (out 1, a 0, b 1)
  k k: 3 (out 0, a 3, b 15)
  k c: 3 (out 0, a 1, b 5)
  clip 1 * #1 + 1 * #3 + (-1) < T;
}
"#;

fn convolved<D: Device>(device: &mut D, batches: &[[i64; 3]]) -> Vec<Vec<u64>> {
    let mut program = ready(device, RAGGED).unwrap();
    let (mut resident, mut store) = (Resident::default(), Store::new());
    store.insert("w", DType::F32, vec![3, 3, 5]).unwrap();
    store.set("w", &numbers(45, 1)).unwrap();
    let mut found = Vec::new();
    for (step, lengths) in batches.iter().enumerate() {
        let x = numbers(3 * lengths.iter().sum::<i64>() as usize, step);
        let inputs = Inputs {
            batch: 3,
            lengths: vec![("T", lengths)],
            buffers: vec![("x", Data::F64(&x))],
            ..Inputs::default()
        };
        let made = program.run(device, &mut resident, &mut store, &inputs).unwrap();
        found.extend(["y", "e"].map(|name| bits(made.numbers(name).unwrap())));
    }
    program.release(device);
    resident.release(device);
    found
}

#[test]
fn sequences_of_other_lengths_that_are_as_many_positions() {
    with_counts("sequences_of_other_lengths_that_are_as_many_positions", &[], || {
        let (even, uneven) = ([70, 70, 70], [5, 200, 5]);
        let batches = [even, even, uneven, even, uneven, uneven];
        let mut cuda = Cuda::open(0).unwrap();
        let recorded = convolved(&mut cuda, &batches);
        drop(cuda);
        for (at, (found, expected)) in recorded.iter().zip(convolved(&mut Machine::new(11), &batches)).enumerate() {
            assert_eq!(*found, expected, "output {at}");
        }
        let [_, made, replayed] = counts();
        assert_eq!((made, replayed), (2, 4));
    });
}
