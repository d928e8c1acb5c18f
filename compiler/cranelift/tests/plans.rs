//! Whole plans: the executor with generated code against the interpreter, on 1, 2 and 4 threads, batches of changing size in one arena; and as
//! PTX on the machine of the tests.

use bdl_cranelift::compile;
use bdl_execute::device::{DeviceProgram, Resident};
use bdl_execute::reference::{RunInputs, run_plan};
use bdl_execute::{Data, Error, Executor, Inputs, Program, Store, peak_bytes};
use bdl_kernels::isa::{Isa, with_isa};
use bdl_plan::{DType, Place, Plan, parse_plan, verify};
use bdl_ptx_machine::Machine;
use std::collections::HashMap;
use std::sync::Arc;

fn numbers(len: usize, salt: u64) -> Vec<f64> {
    (0..len as u64)
        .map(|i| {
            let x = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd134_2543_de82_ef95);
            let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (x >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        })
        .collect()
}

/// One batch: its size, per-example sizes, integer inputs.
#[derive(Clone, Default)]
struct Batch {
    size: usize,
    lengths: Vec<(&'static str, Vec<i64>)>,
    integers: Vec<(&'static str, Vec<f64>)>,
}

/// The sizes of a batch that lengths of buffers may name.
fn sizes(plan: &Plan, batch: &Batch) -> HashMap<String, i64> {
    let mut sizes = HashMap::new();
    for size in &plan.sizes {
        match &size.kind {
            bdl_plan::SizeKind::Batch => {
                sizes.insert(size.name.to_string(), batch.size as i64);
            }
            bdl_plan::SizeKind::Total(dim) => {
                let of = |b: usize| {
                    dim.eval(&|name| batch.lengths.iter().find(|(n, _)| *n == name).map(|(_, l)| l[b]))
                        .expect("a length")
                };
                sizes.insert(size.name.to_string(), (0..batch.size).map(of).sum());
            }
            bdl_plan::SizeKind::Built
            | bdl_plan::SizeKind::PerExample
            | bdl_plan::SizeKind::Step
            | bdl_plan::SizeKind::Running => {}
        }
    }
    sizes
}

/// Runs all batches one after the other on each number of threads; every output must be near the interpreter's and alike on all.
fn check(text: &str, batches: &[Batch]) {
    let plan = parse_plan(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify(&plan).unwrap_or_else(|e| panic!("{e}"));
    let code = compile(&plan.kernels).unwrap_or_else(|e| panic!("{e}"));
    let plan = Arc::new(plan);
    let mut first: Option<Vec<Vec<u64>>> = None;
    for threads in [1, 2, 4] {
        let executor = Executor::new(threads);
        let mut program = Program::new(plan.clone(), code.kernels()).unwrap();
        let mut store = Store::new();
        let mut all_bits = Vec::new();
        for (round, batch) in batches.iter().enumerate() {
            let known = sizes(&plan, batch);
            for (i, buffer) in plan.buffers.iter().enumerate() {
                if round == 0 && matches!(buffer.place, Place::Param | Place::State) {
                    let len = buffer.len.eval(&|name| known.get(name).copied()).unwrap() as usize;
                    store.insert(&buffer.name, buffer.dtype, vec![len as i64]).unwrap();
                    store.set(&buffer.name, &numbers(len, i as u64 + 10)).unwrap();
                }
            }
            let given = given(&plan, batch);
            let (inputs, mut reference) = inputs(batch, &given, round);
            reference.buffers.extend(store.iter().map(|e| (e.name.to_string(), e.buffer.to_f64())));
            let expected = run_plan(&plan, &reference).unwrap_or_else(|e| panic!("{e}"));
            let outputs = program.run(&executor, &mut store, &inputs).unwrap_or_else(|e| panic!("{e}"));
            for (name, _) in &plan.outputs {
                let found = outputs.numbers(name).unwrap();
                assert_eq!(found.len(), expected[&**name].len(), "{name}");
                for (i, x) in found.iter().enumerate() {
                    let y = expected[&**name].at(i);
                    let near = (x - y).abs() <= 2e-5 * (1.0 + y.abs()) || x == &y || x.is_nan() && y.is_nan();
                    assert!(near, "{name}[{i}] is {x}, not {y}; batch {round}, {threads} threads");
                }
                all_bits.push(found.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
            }
        }
        assert!(first.get_or_insert_with(|| all_bits.clone()) == &all_bits, "{threads} threads give other bits");
    }
    check_ptx(&plan, batches);
}

/// Larger batches take the machine of the tests too long.
const MOST_ON_MACHINE: usize = 64;

/// The same as PTX on the machine of the tests, one program for all batches; f64 has no element functions there.
fn check_ptx(plan: &Arc<Plan>, batches: &[Batch]) {
    if plan.buffers.iter().any(|buffer| buffer.place == Place::Blocks) {
        return;
    }
    let code = match bdl_ptx::compile(plan, bdl_ptx::Wanted::default(), &|_| Vec::new()) {
        Ok(code) => code,
        Err(error) if error.what.contains("is not there on a GPU") => return,
        Err(error) => panic!("{error}"),
    };
    let mut machine = Machine::new(3);
    let mut resident = Resident::default();
    let mut store = Store::new();
    let mut program = DeviceProgram::new(&mut machine, plan.clone(), &code).unwrap_or_else(|e| panic!("{e}"));
    for (round, batch) in batches.iter().enumerate().filter(|(_, batch)| batch.size <= MOST_ON_MACHINE) {
        let given = given(plan, batch);
        for (i, buffer) in plan.buffers.iter().enumerate() {
            if matches!(buffer.place, Place::Param | Place::State) && store.get(&buffer.name).is_none() {
                let known = sizes(plan, batch);
                let len = buffer.len.eval(&|name| known.get(name).copied()).unwrap() as usize;
                store.insert(&buffer.name, buffer.dtype, vec![len as i64]).unwrap();
                store.set(&buffer.name, &numbers(len, i as u64 + 10)).unwrap();
            }
        }
        let (inputs, mut reference) = inputs(batch, &given, round);
        reference.buffers.extend(store.iter().map(|e| (e.name.to_string(), e.buffer.to_f64())));
        let expected = run_plan(plan, &reference).unwrap_or_else(|e| panic!("{e}"));
        let outputs =
            program.run(&mut machine, &mut resident, &mut store, &inputs).unwrap_or_else(|e| panic!("{e}\n{plan}"));
        resident.fetch(&mut machine, &mut store).unwrap();
        let found = plan.outputs.iter().map(|(name, _)| (name.to_string(), outputs.numbers(name).unwrap()));
        let stored = store.iter().map(|e| (e.name.to_string(), e.buffer.to_f64())).collect::<Vec<_>>();
        for (name, found) in found.chain(stored) {
            assert_eq!(found.len(), expected[&name].len(), "{name}");
            for (i, x) in found.iter().enumerate() {
                let y = expected[&name].at(i);
                let near = (x - y).abs() <= 2e-5 * (1.0 + y.abs()) || *x == y || x.is_nan() && y.is_nan();
                assert!(near, "PTX's {name}[{i}] is {x}, not {y}; batch {round}");
            }
        }
    }
}

/// Inputs of a batch.
fn given(plan: &Plan, batch: &Batch) -> HashMap<String, Vec<f64>> {
    let known = sizes(plan, batch);
    let mut given = HashMap::new();
    for (i, buffer) in plan.buffers.iter().enumerate() {
        if matches!(buffer.place, Place::Input { .. }) {
            let len = buffer.len.eval(&|name| known.get(name).copied()).unwrap() as usize;
            let own = batch.integers.iter().find(|(n, _)| *n == &*buffer.name).map(|(_, v)| v.clone());
            given.insert(buffer.name.to_string(), own.unwrap_or_else(|| numbers(len, i as u64 + 10)));
        }
    }
    given
}

/// What the executor and the interpreter of plans are given.
fn inputs<'i>(batch: &'i Batch, given: &'i HashMap<String, Vec<f64>>, round: usize) -> (Inputs<'i>, RunInputs) {
    let inputs = Inputs {
        batch: batch.size,
        lengths: batch.lengths.iter().map(|(n, l)| (*n, l.as_slice())).collect(),
        buffers: given.iter().map(|(n, v)| (n.as_str(), Data::F64(v))).collect(),
        seed: 5,
        step: round as u64,
        ..Inputs::default()
    };
    let reference = RunInputs {
        batch: batch.size as i64,
        lengths: batch.lengths.iter().map(|(n, l)| (n.to_string(), l.clone())).collect(),
        buffers: given.clone(),
        seed: 5,
        step: round as u64,
        ..RunInputs::default()
    };
    (inputs, reference)
}

/// Scores of attention: matrices of a batch, whose right operand lies the other way round and serves several blocks of rows, each followed by its
/// epilogue.
const SCORES: &str = r#"
plan p
size B batch
slot 480000 * B
buffer q: f32[B, 200, 4] len 800 * B; input per_example
buffer k: f32[B, 600, 4] len 2400 * B; input per_example
buffer s: f32[B, 200, 600] len 120000 * B; slot 0
output s = s

kernel centred(s: f32 update) sizes(B) indices(row, j, j) {
  for row in 200 * B {
    %0: f32 = const -inf
    variable @0: f32 = %0
    for j#1 in 0..600 lanes {
      %1: f32 = load s[row * 600 + j#1]
      @0 max= %1
    }
    %2: f32 = read @0
    for j#2 in 0..600 lanes {
      %3: f32 = load s[row * 600 + j#2]
      %4: f32 = sub %3, %2
      store s[row * 600 + j#2] = %4
    }
  }
}

contract s = q * k {
  batch b: B (out 120000, a 800, b 2400)
  m i: 200 (out 600, a 4, b 0)
  n j: 600 (out 1, a 0, b 4)
  k e: 4 (out 0, a 1, b 1)
  then centred(s)
}
"#;

#[test]
fn matrices_of_a_batch_with_blocks_of_rows() {
    check(SCORES, &[batch(3), batch(1), batch(2)]);
}

/// A dense layer with its epilogue, softmax by rows, a loss, and its update: slots are shared.
const TRAINING: &str = r#"
plan step
size B batch
slot 160 * B
slot 160 * B
slot 4 * B
slot 4
slot 12000
buffer x: f32[B, 75] len 75 * B; input per_example
buffer w: f32[75, 40] len 3000; param
buffer bias: f32[40] len 40; param
buffer moment: f32[75, 40] len 3000; state
buffer h: f32[B, 40] len 40 * B; slot 0
buffer p: f32[B, 40] len 40 * B; slot 1
buffer row: f32[B] len B; slot 2
buffer loss: f32[] len 1; slot 3
buffer gw: f32[75, 40] len 3000; slot 4
output h = h
output p = p
output loss = loss
output gw = gw

kernel relu_bias(h: f32 update, bias: f32 read) sizes(B) indices(r, c) {
  for r in B {
    for c in 0..40 lanes {
      %0: f32 = load h[r * 40 + c]
      %1: f32 = load bias[c]
      %2: f32 = add %0, %1
      %3: f32 = const 0.0
      %4: bool = gt %2, %3
      %5: f32 = select %4, %2, %3
      store h[r * 40 + c] = %5
    }
  }
}

kernel softmax(h: f32 read, p: f32 write, row: f32 write) sizes(B) indices(r, c, d, e) {
  for r in B {
    %0: f32 = const -inf
    variable @0: f32 = %0
    for c in 0..40 lanes {
      %1: f32 = load h[r * 40 + c]
      @0 max= %1
    }
    %2: f32 = read @0
    %3: f32 = const 0.0
    variable @1: f32 = %3
    for d in 0..40 lanes {
      %4: f32 = load h[r * 40 + d]
      %5: f32 = sub %4, %2
      %6: f32 = exp %5
      store p[r * 40 + d] = %6
      @1 sum= %6
    }
    %7: f32 = read @1
    for e in 0..40 lanes {
      %8: f32 = load h[r * 40 + e]
      %9: f32 = sub %8, %2
      %10: f32 = exp %9
      %11: f32 = div %10, %7
      store p[r * 40 + e] = %11
    }
    %12: f32 = log %7
    store row[r] = %12
  }
}

kernel mean(row: f32 read, loss: f32 write) sizes(B) indices(g, b) {
  for g in 1 {
    %0: f32 = const 0.0
    variable @0: f32 = %0
    for b in 0..B lanes {
      %1: f32 = load row[b]
      @0 sum= %1
    }
    %2: f32 = read @0
    %3: i64 = size B
    %4: f32 = convert %3
    %5: f32 = div %2, %4
    store loss[0] = %5
  }
}

kernel momentum(w: f32 update, m: f32 update, g: f32 read) indices(i) {
  for i in 3000 lanes {
    %0: f32 = load m[i]
    %1: f32 = const 0.9
    %2: f32 = mul %0, %1
    %3: f32 = load g[i]
    %4: f32 = add %2, %3
    store m[i] = %4
    %5: f32 = const 0.01
    %6: f32 = mul %4, %5
    %7: f32 = load w[i]
    %8: f32 = sub %7, %6
    store w[i] = %8
  }
}

contract h = x * w {
  m b: B (out 40, a 75, b 0)
  n f: 40 (out 1, a 0, b 1)
  k c: 75 (out 0, a 1, b 40)
  then relu_bias(h, bias)
} at "dense" 0 3 9
run softmax(h, p, row)
run mean(row, loss)
contract gw = x * p {
  m c: 75 (out 40, a 1, b 0)
  n f: 40 (out 1, a 0, b 1)
  k b: B (out 0, a 75, b 40)
}
run momentum(w, moment, gw)
"#;

const IN_BLOCKS: &str = "plan p
size B batch
slot 4160 * B
slot 16640 * B
slot 16640 * B
buffer q: f32[B, 520, 2, 4] len 4160 * B; input per_example
buffer k: f32[B, 520, 2, 4] len 4160 * B; input per_example
buffer v: f32[B, 520, 2, 4] len 4160 * B; input per_example
buffer p: f32[B, 2, 520, 520] len 540800 * B; blocks
buffer m: f32[B, 2, 520] len 1040 * B; slot 0
buffer o: f32[B, 520, 2, 4] len 4160 * B; slot 1
buffer g: f32[B, 520, 2, 4] len 4160 * B; slot 2
output o = o
output m = m
output g = g

kernel weights(p: f32 update, m: f32 write) sizes(B) indices(row, j, j) {
  for row in 1040 * B {
    %0: f32 = const 0.0
    variable @0: f32 = %0
    for j#1 in 0..520 lanes {
      %1: f32 = load p[row * 520 + j#1]
      %2: f32 = exp %1
      @0 sum= %2
      store p[row * 520 + j#1] = %2
    }
    %3: f32 = read @0
    for j#2 in 0..520 lanes {
      %4: f32 = load p[row * 520 + j#2]
      %5: f32 = div %4, %3
      store p[row * 520 + j#2] = %5
    }
    store m[row] = %3
  }
}

contract p = q * k {
  batch b: B (out 540800, a 4160, b 4160)
  batch h: 2 (out 270400, a 4, b 4)
  m i: 520 (out 520, a 8, b 0)
  n j: 520 (out 1, a 0, b 8)
  k e: 4 (out 0, a 1, b 1)
  then weights(p, m)
} at \"scores\" 0 0 0
contract o = p * v {
  batch b: B (out 4160, a 540800, b 4160)
  m i: 520 (out 8, a 520, b 0)
  batch h: 2 (out 4, a 270400, b 4)
  n e: 4 (out 1, a 0, b 1)
  k j: 520 (out 0, a 1, b 8)
} at \"mean\" 0 0 0
";

/// Sums over the rows of a block go on in the next one.
const SUM_OF_ROWS: &str = "contract g = p * q {
  batch b: B (out 4160, a 540800, b 4160)
  m j: 520 (out 8, a 1, b 0)
  batch h: 2 (out 4, a 270400, b 4)
  n e: 4 (out 1, a 0, b 1)
  k i: 520 (out 0, a 520, b 8)
} at \"gradient\" 0 0 0
";

/// Four workers have too few matrices of one example, and share products; of two examples each has its own.
#[test]
fn products_in_blocks() {
    let batches = [batch(1), batch(2), batch(3), batch(1)];
    check(&format!("{IN_BLOCKS}{SUM_OF_ROWS}"), &batches);
    check(&IN_BLOCKS.replace("output g = g\n", ""), &batches);
}

/// A block's bits are those of the whole.
#[test]
fn blocks_change_no_bit() {
    let text = format!("{IN_BLOCKS}{SUM_OF_ROWS}");
    let slots = "slot 16640 * B\n".repeat(2);
    let whole = text.replace("; blocks", "; slot 3").replacen(&slots, &format!("{slots}slot 2163200 * B\n"), 1);
    let bits = |text: &str| -> Vec<Vec<u64>> {
        let plan = parse_plan(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        verify(&plan).unwrap_or_else(|e| panic!("{e}"));
        let code = compile(&plan.kernels).unwrap_or_else(|e| panic!("{e}"));
        let mut program = Program::new(Arc::new(plan.clone()), code.kernels()).unwrap();
        let batch = batch(3);
        let given = given(&plan, &batch);
        let (inputs, _) = inputs(&batch, &given, 0);
        let mut store = Store::new();
        let outputs = program.run(&Executor::new(2), &mut store, &inputs).unwrap();
        let of = |name: &str| outputs.numbers(name).unwrap().iter().map(|x| x.to_bits()).collect();
        ["o", "m", "g"].map(of).to_vec()
    };
    assert!(bits(&text) == bits(&whole));
    let predicted = |text: &str| peak_bytes(&parse_plan(text).unwrap(), &|_| Some(3)).unwrap();
    assert_eq!(predicted(&whole) - predicted(&text), 3 * 2_163_200);
}

fn batch(size: usize) -> Batch {
    Batch { size, ..Batch::default() }
}

#[test]
fn a_training_step_with_batches_of_changing_size() {
    check(TRAINING, &[batch(64), batch(5), batch(1), batch(300), batch(64), batch(700), batch(17)]);
}

#[test]
fn f64_throughout() {
    check(
        &TRAINING
            .replace("f32", "f64")
            .replace("slot 160 * B", "slot 320 * B")
            .replace("slot 12000", "slot 24000")
            .replace("slot 4", "slot 8")
            .replace("; slot 8", "; slot 4"),
        &[batch(33), batch(150)],
    );
}

/// Sequences of different length: offsets, owners, lengths, a padded convolution that respects each end, a mean by example.
const RAGGED: &str = r#"
plan predict
size B batch
size T per_example
size rows_T total T
slot 20 * rows_T
slot 20 * B
slot 20 * rows_T
buffer x: f32[B, T, 3] len 3 * rows_T; input per_example
buffer w: f32[3, 3, 5] len 45; param
buffer off: i64[B + 1] len B + 1; offsets T
buffer own: i32[rows_T] len rows_T; owner T
buffer len: i64[B] len B; lengths 2 * T + 1
buffer at: i64[B] len B; positions
buffer y: f32[B, T, 5] len 5 * rows_T; slot 0
buffer m: f32[B, 5] len 5 * B; slot 1
buffer z: f32[B, T, 5] len 5 * rows_T; slot 2
output y = y
output m = m
output z = z

kernel mean(y: f32 read, off: i64 read, m: f32 write) sizes(B) indices(b, c, t) {
  for b in B {
    %0: i64 = load off[b]
    %1: i64 = load off[b + 1]
    %2: i64 = sub %1, %0
    %3: f32 = convert %2
    for c in 0..5 lanes {
      %4: f32 = const 0.0
      variable @0: f32 = %4
      for t in %0..%1 {
        %5: f32 = load y[t * 5 + c]
        @0 sum= %5
      }
      %6: f32 = read @0
      %7: f32 = div %6, %3
      store m[b * 5 + c] = %7
    }
  }
}

kernel centre(y: f32 read, m: f32 read, own: i32 read, len: i64 read, at: i64 read, z: f32 write) sizes(rows_T) indices(r, c) {
  for r in rows_T {
    %0: i32 = load own[r]
    %6: i64 = load len[%0]
    %7: i64 = load at[%0]
    %8: i64 = add %6, %7
    %9: f32 = convert %8
    for c in 0..5 lanes {
      %1: f32 = load y[r * 5 + c]
      %2: f32 = load m[%0 * 5 + c]
      %3: f32 = sub %1, %2
      %4: f32 = tanh %3
      %5: f32 = add %4, %9
      store z[r * 5 + c] = %5
    }
  }
}

kernel scale(y: f32 update) sizes(rows_T) indices(r, c) {
  for r in rows_T {
    for c in 0..5 lanes {
      %0: f32 = load y[r * 5 + c]
      %1: f32 = add %0, %0
      store y[r * 5 + c] = %1
    }
  }
}

contract y = x + (-3) * w {
  batch b: B (out 5, a 3, b 0) offsets off
  m t: T (out 5, a 3, b 0)
  n f: 5 (out 1, a 0, b 1)
  k k: 3 (out 0, a 3, b 15)
  k c: 3 (out 0, a 1, b 5)
  clip 1 * #1 + 1 * #3 + (-1) < T;
  then scale(y)
}
run mean(y, off, m)
run centre(y, m, own, len, at, z)
"#;

#[test]
fn sequences_of_different_length() {
    let lengths = |l: &[i64]| Batch { size: l.len(), lengths: vec![("T", l.to_vec())], ..Batch::default() };
    check(
        RAGGED,
        &[lengths(&[4, 1, 7, 30, 2]), lengths(&[1]), lengths(&[300, 3, 800]), lengths(&[5, 5, 5, 5, 5, 5, 5, 5])],
    );
}

/// Long sums over examples of different length: each belongs to one worker, whole.
const LONG_SUMS: &str = r#"
plan long
size B batch
size T per_example
size rows_T total T
slot 20 * rows_T
buffer x: f32[B, T, 500] len 500 * rows_T; input per_example
buffer w: f32[3, 500, 5] len 7500; param
buffer off: i64[B + 1] len B + 1; offsets T
buffer y: f32[B, T, 5] len 5 * rows_T; slot 0
output y = y
contract y = x + (-500) * w {
  batch b: B (out 5, a 500, b 0) offsets off
  m t: T (out 5, a 500, b 0)
  n f: 5 (out 1, a 0, b 1)
  k k: 3 (out 0, a 500, b 2500)
  k c: 500 (out 0, a 1, b 5)
  clip 1 * #1 + 1 * #3 + (-1) < T;
}
"#;

#[test]
fn long_sums_over_examples_of_different_length() {
    let lengths = |l: &[i64]| Batch { size: l.len(), lengths: vec![("T", l.to_vec())], ..Batch::default() };
    check(LONG_SUMS, &[lengths(&[4, 1, 0, 30, 2, 9, 12]), lengths(&[17; 12])]);
}

/// Images of sides of their own, and images of one size, by Winograd's algorithm: a map that a kernel follows, and the derivative by the filter.
const IMAGES: &str = r#"
plan images
size B batch
size T per_example
size rows_T total T
size rows_TT total T * T
slot 80 * rows_TT
slot 14400
buffer x: f32[B, T, T, 20] len 20 * rows_TT; input per_example
buffer w: f32[3, 3, 20, 20] len 3600; param
buffer off: i64[B + 1] len B + 1; offsets T * T
buffer y: f32[B, T, T, 20] len 20 * rows_TT; slot 0
buffer dw: f32[3, 3, 20, 20] len 3600; slot 1
output y = y
output dw = dw

kernel scale(y: f32 update) sizes(rows_TT) indices(r, c) {
  for r in rows_TT {
    for c in 0..20 lanes {
      %0: f32 = load y[r * 20 + c]
      %1: f32 = const 0.0625
      %2: f32 = mul %0, %1
      store y[r * 20 + c] = %2
    }
  }
}

contract y = x + (-20 * T - 20) * w {
  batch b: B (out 20, a 20, b 0) offsets off
  m i: T (out 20 * T, a 20 * T, b 0)
  m j: T (out 20, a 20, b 0)
  n f: 20 (out 1, a 0, b 1)
  k k: 3 (out 0, a 20 * T, b 1200)
  k l: 3 (out 0, a 20, b 400)
  k c: 20 (out 0, a 1, b 20)
  clip 1 * #1 + 1 * #4 + (-1) < T;
  clip 1 * #2 + 1 * #5 + (-1) < T;
  winograd
  then scale(y)
}
contract dw = x + (-20 * T - 20) * y {
  k b: B (out 0, a 20, b 20) offsets off
  m k: 3 (out 1200, a 20 * T, b 0)
  m l: 3 (out 400, a 20, b 0)
  m c: 20 (out 20, a 1, b 0)
  n f: 20 (out 1, a 0, b 1)
  k i: T (out 0, a 20 * T, b 20 * T)
  k j: T (out 0, a 20, b 20)
  clip 1 * #1 + 1 * #5 + (-1) < T;
  clip 1 * #2 + 1 * #6 + (-1) < T;
  winograd
}
"#;

/// A map and a filter that only pass to the kernels after them: neither has memory of its own.
const PASSING_IMAGES: &str = r#"
plan images
size B batch
slot 36000 * B
slot 36000 * B
slot 25920
buffer x: f32[B, 10, 30, 24] len 7200 * B; input per_example
buffer w: f32[3, 3, 24, 30] len 6480; param
buffer y: f32[B, 10, 30, 30] len 9000 * B; slot 0
buffer z: f32[B, 10, 30, 30] len 9000 * B; slot 1
buffer dw: f32[3, 3, 24, 30] len 6480; slot 2
buffer sum: f32[3, 3, 24, 30] len 6480; state
output z = z
output sum = sum

kernel scaled(y: f32 read, z: f32 write) sizes(B) indices(r, c) {
  for r in 300 * B {
    for c in 0..30 lanes {
      %0: f32 = load y[r * 30 + c]
      %1: f32 = const 0.0625
      %2: f32 = mul %0, %1
      store z[r * 30 + c] = %2
    }
  }
}

kernel added(dw: f32 read, sum: f32 update) indices(r, c) {
  for r in 216 {
    for c in 0..30 lanes {
      %0: f32 = load dw[r * 30 + c]
      %1: f32 = load sum[r * 30 + c]
      %2: f32 = const 0.01
      %3: f32 = mul %0, %2
      %4: f32 = add %3, %1
      store sum[r * 30 + c] = %4
    }
  }
}

contract y = x + (-744) * w {
  m b: B (out 9000, a 7200, b 0)
  m i: 10 (out 900, a 720, b 0)
  m j: 30 (out 30, a 24, b 0)
  n f: 30 (out 1, a 0, b 1)
  k k: 3 (out 0, a 720, b 2160)
  k l: 3 (out 0, a 24, b 720)
  k c: 24 (out 0, a 1, b 30)
  clip 1 * #1 + 1 * #4 + (-1) < 10;
  clip 1 * #2 + 1 * #5 + (-1) < 30;
  winograd
  then scaled(y, z)
}
contract dw = x + (-744) * z {
  m k: 3 (out 2160, a 720, b 0)
  m l: 3 (out 720, a 24, b 0)
  m c: 24 (out 30, a 1, b 0)
  n f: 30 (out 1, a 0, b 1)
  k b: B (out 0, a 7200, b 9000)
  k i: 10 (out 0, a 720, b 900)
  k j: 30 (out 0, a 24, b 30)
  clip 1 * #0 + 1 * #5 + (-1) < 10;
  clip 1 * #1 + 1 * #6 + (-1) < 30;
  winograd
  then added(dw, sum)
}
"#;

#[test]
fn images_that_only_pass_by_winograd() {
    let plan = parse_plan(PASSING_IMAGES).unwrap_or_else(|e| panic!("{e}"));
    let passing = bdl_plan::passing(&plan);
    assert_eq!(passing.iter().filter(|passes| **passes).count(), 2);
    let images = |size: usize| Batch { size, ..Batch::default() };
    check(PASSING_IMAGES, &[images(3), images(1), images(9)]);
}

#[test]
fn images_of_different_size_by_winograd() {
    let lengths = |l: &[i64]| Batch { size: l.len(), lengths: vec![("T", l.to_vec())], ..Batch::default() };
    check(IMAGES, &[lengths(&[4, 1, 7, 12, 0, 2]), lengths(&[1]), lengths(&[0, 0]), lengths(&[3; 20])]);
}

/// Draws, scans in both directions, copies, clears, sorting, orthogonal matrices, sums over sorted keys.
const OTHERS: &str = r#"
plan others
size B batch
size s step
slot 40 * B
slot 40 * B
slot 40 * B
slot 1536
slot 1536
slot 40 * B
slot 64
slot 24 * B
buffer x: f32[B, 10] len 10 * B; input per_example
buffer keys: i32[B, 2] len 2 * B; input per_example
buffer order: i32[2 * B] len 2 * B; sorted_by keys
buffer runs: i32[9] len 9; runs keys, 8
buffer noise: f32[B, 10] len 10 * B; slot 0
buffer shared: f32[10] len 10; slot 6
buffer sums: f32[B, 10] len 10 * B; slot 1
buffer carry: f32[B] len B; slot 2
buffer draws: f32[16, 24] len 384; slot 3
buffer q: f32[16, 24] len 384; slot 4
buffer rank: i32[B, 10] len 10 * B; slot 5
buffer by_key: f32[8] len 8; slot 6
buffer pairs: f32[3, 2 * B] len 6 * B; slot 7
output noise = noise
output sums = sums
output q = q
output rank = rank
output by_key = by_key
output pairs = pairs

kernel cumulate(noise: f32 read, carry: f32 update, sums: f32 write) sizes(B, s) indices(b) {
  for b in B lanes {
    %0: f32 = load carry[b]
    %1: f32 = load noise[b * 10 + s]
    %2: f32 = add %0, %1
    store carry[b] = %2
    store sums[b * 10 + s] = %2
  }
}

kernel gather(x: f32 read, order: i32 read, runs: i32 read, out: f32 write) indices(v, j) {
  for v in 8 {
    %0: i32 = load runs[v]
    %1: i32 = load runs[v + 1]
    %2: f32 = const 0.0
    variable @0: f32 = %2
    for j in %0..%1 {
      %3: i32 = load order[j]
      %4: f32 = load x[%3 * 5]
      @0 sum= %4
    }
    %5: f32 = read @0
    store out[v] = %5
  }
}

kernel fill(out: f32 update) sizes(B, s) indices(i) {
  for i in 2 * B lanes {
    %0: i64 = size s
    %1: f32 = convert %0
    %2: f32 = load out[i]
    %3: f32 = add %2, %1
    store out[i] = %3
  }
}

draw noise = normal site 3 per_example 10;
draw shared = uniform site 4 shared
clear carry
scan s in 10 {
  run cumulate(noise, carry, sums)
}
scan s in 10 reversed {
  run cumulate(sums, carry, sums)
}
draw draws = normal site 9 shared
library q = orthogonal(draws) rows 16; columns 24;
sort rank = descending x rows B; columns 10;
run gather(x, order, runs, by_key)
clear pairs
scan s in 3 {
  run fill(pairs + (2 * B * s))
}
copy noise = sums
"#;

#[test]
fn draws_scans_sorts_and_sums_by_key() {
    let text = OTHERS.replace("run cumulate(sums, carry, sums)", "run cumulate(noise, carry, sums)");
    let keys = |n: usize| Batch {
        size: n,
        integers: vec![("keys", (0..2 * n).map(|i| ((i * 5 + i / 3) % 7) as f64).collect())],
        ..Batch::default()
    };
    check(&text, &[keys(6), keys(1), keys(300), keys(40)]);
}

fn program(text: &str) -> Program {
    let plan = parse_plan(text).unwrap();
    let code = compile(&plan.kernels).unwrap();
    Program::new(Arc::new(plan), code.kernels()).unwrap()
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let executor = Executor::new(1);
    let mut step = program(TRAINING);
    let mut store = Store::new();
    let x = vec![0.0f32; 150];
    let run = |step: &mut Program, store: &mut Store, inputs: Inputs| {
        step.run(&executor, store, &inputs).map(|_| ()).unwrap_err()
    };
    let inputs = |buffers| Inputs { batch: 2, buffers, ..Inputs::default() };
    assert_eq!(run(&mut step, &mut store, inputs(vec![])).to_string(), "no input `x` was given");
    assert_eq!(
        run(&mut step, &mut store, inputs(vec![("x", Data::F32(&x[1..]))])),
        Error::Length { name: "x".into(), expected: 150, found: 149 }
    );
    let mut other = Store::new();
    other.insert("w", DType::F64, vec![75, 40]).unwrap();
    assert_eq!(
        run(&mut step, &mut other, inputs(vec![("x", Data::F32(&x))])).to_string(),
        "`w` holds f64 where the plan expects f32"
    );
    let mut ragged = program(RAGGED);
    assert_eq!(run(&mut ragged, &mut store, inputs(vec![])).to_string(), "no list of sizes `T` was given");
    let mut others = program(OTHERS);
    let keys = [0i32, 1, 9, 3];
    let bad = inputs(vec![("x", Data::F32(&x[..20])), ("keys", Data::I32(&keys))]);
    assert_eq!(
        run(&mut others, &mut Store::new(), bad).to_string(),
        "`keys` holds 9 at position 2; it must be in 0..8"
    );
}

#[test]
fn a_draw_belongs_to_its_example_wherever_it_stands_in_the_batch() {
    let executor = Executor::new(2);
    let mut others = program(OTHERS);
    let keys = [0i32; 8];
    let x = [0.0f32; 40];
    let mut noise = |positions: &[i64]| {
        let inputs = Inputs {
            batch: positions.len(),
            buffers: vec![
                ("x", Data::F32(&x[..10 * positions.len()])),
                ("keys", Data::I32(&keys[..2 * positions.len()])),
            ],
            positions: Some(positions),
            ..Inputs::default()
        };
        others.run(&executor, &mut Store::new(), &inputs).unwrap().slice::<f32>("sums").unwrap().to_vec()
    };
    let (all, one) = (noise(&[7, 3, 9, 0]), noise(&[9]));
    assert_eq!(all[20..30], one[..]);
    assert_ne!(all[..10], one[..]);
}

#[test]
fn memory_is_predicted_and_kept() {
    let mut step = program(TRAINING);
    let executor = Executor::new(1);
    let mut store = Store::new();
    let x = vec![0.0f32; 75 * 500];
    for batch in [500, 20, 500] {
        step.run(
            &executor,
            &mut store,
            &Inputs { batch, buffers: vec![("x", Data::F32(&x[..75 * batch]))], ..Inputs::default() },
        )
        .unwrap();
    }
    let predicted = peak_bytes(step.plan(), &|name| (name == "B").then_some(500)).unwrap();
    // Empty buffers take a line each.
    let kept = step.bytes() - step.scratch_bytes();
    assert!(kept.abs_diff(predicted) <= 64 * (2 + step.plan().buffers.len()), "{kept} {predicted}");
    // A copy of the largest right operand, its columns rounded up to panels.
    assert!(step.scratch_bytes() <= 4 * 75 * 64 + 64, "{}", step.scratch_bytes());
}

#[test]
fn a_profile_has_a_time_for_each_launch() {
    let mut step = program(TRAINING);
    step.set_profile(true);
    let x = vec![0.5f32; 75 * 64];
    for threads in [1, 2] {
        let executor = Executor::new(threads);
        step.run(
            &executor,
            &mut Store::new(),
            &Inputs { batch: 64, buffers: vec![("x", Data::F32(&x))], ..Inputs::default() },
        )
        .unwrap();
    }
    let times = step.profile().unwrap();
    assert_eq!(times.len(), 5);
    assert!(times.iter().all(|t| t.as_nanos() > 0));
}

#[test]
fn equal_kernels_are_compiled_once() {
    let mut plan = parse_plan(TRAINING).unwrap();
    let mut twin = plan.kernels[0].clone();
    twin.name = "other".into();
    twin.buffers[0].name = "another".into();
    plan.kernels.push(twin);
    let code = compile(&plan.kernels).unwrap();
    assert_eq!((code.kernels().len(), code.distinct()), (5, 4));
    // Another program with the same kernels compiles nothing; when all code is gone, it does again.
    let unlike_others = |text: &str| text.replace("const 0.9\n", "const 0.8765\n");
    let plan = parse_plan(&unlike_others(TRAINING)).unwrap();
    let first = compile(&plan.kernels[3..]).unwrap();
    let again = compile(&plan.kernels[3..]).unwrap();
    assert_eq!((first.fresh(), again.fresh(), again.distinct()), (1, 0, 1));
    drop(first);
    let kept = again.kernels();
    drop(again);
    assert_eq!(compile(&plan.kernels[3..]).unwrap().fresh(), 0);
    drop(kept);
    assert_eq!(compile(&plan.kernels[3..]).unwrap().fresh(), 1);
}

#[test]
fn emitted_texts_show_the_loop() {
    let kernel = &parse_plan(TRAINING).unwrap().kernels[0];
    with_isa(Isa::Portable, || {
        let clif = bdl_cranelift::clif_text(kernel).unwrap();
        assert!(clif.contains("fadd") && clif.contains("f32x4"), "{clif}");
    });
    let asm = bdl_cranelift::asm_text(kernel).unwrap();
    assert!(asm.lines().count() > 10, "{asm}");
    // A long loop is in a function of its own, where there are vectors of more than 128 bits.
    let long = "kernel long(x: f32 read, y: f32 write) sizes(N) indices(i) {
        for i in N lanes { %0: f32 = load x[i] %1: f32 = add %0, %0 store y[i] = %1 } }";
    let long = bdl_plan::parse_kernel(long).unwrap();
    for (isa, expected) in [(Isa::Avx512, "vaddps zmm"), (Isa::Avx2, "vaddps ymm")] {
        let text = with_isa(isa, || bdl_cranelift::asm_text(&long).unwrap());
        assert_eq!(text.contains("; u0:0") && text.contains(expected), isa.is_available(), "{text}");
    }
}
