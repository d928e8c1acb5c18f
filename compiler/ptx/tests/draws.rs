//! Random numbers: the CPU's to the bit, whatever the batch and the rows in it, also where examples differ in length.

use bdl_execute::device::{DeviceProgram, Resident};
use bdl_execute::reference::{RunInputs, run_plan};
use bdl_execute::{Inputs, Store};
use bdl_plan::parse_plan;
use bdl_ptx_machine::Machine;
use std::collections::HashMap;
use std::sync::Arc;

/// Draws of both kinds: for each example, shared, and at the steps of a loop.
const DRAWS: &str = r#"
plan noise
size B batch
size T per_example
size rows_T total T
size s step
slot 28 * B
slot 28 * B
slot 44
slot 12 * B
slot 72 * B
slot 8 * rows_T
buffer u: f32[B, 7] len 7 * B; slot 0
buffer n: f32[B, 7] len 7 * B; slot 1
buffer alone: f32[11] len 11; slot 2
buffer now: f32[B, 3] len 3 * B; slot 3
buffer all: f32[6, B, 3] len 18 * B; slot 4
buffer off: i64[B + 1] len B + 1; offsets 2 * T
buffer ragged: f32[B, T, 2] len 2 * rows_T; slot 5
output u = u
output n = n
output alone = alone
output all = all
output ragged = ragged

kernel keep(now: f32 read, all: f32 write) sizes(B) indices(i) {
  for i in 3 * B lanes {
    %0: f32 = load now[i]
    store all[i] = %0
  }
}

draw u = uniform site 3 per_example 7;
draw n = normal site 4 per_example 7;
draw alone = normal site 9 shared
draw ragged = normal site 6 per_example 2 * T; offsets off
scan s in 6 {
  draw now = normal site 5 steps s per_example 3;
  run keep(now, all + (3 * B * s))
}
"#;

#[test]
fn draws_are_the_processors_to_the_bit() {
    let plan = parse_plan(DRAWS).unwrap_or_else(|e| panic!("{e}"));
    bdl_plan::verify(&plan).unwrap_or_else(|e| panic!("{e}"));
    let plan = Arc::new(plan);
    let code = bdl_ptx::compile(&plan, bdl_ptx::Wanted::default(), &|_| Vec::new()).unwrap_or_else(|e| panic!("{e}"));
    let mut machine = Machine::new(11);
    let mut program = DeviceProgram::new(&mut machine, plan.clone(), &code).unwrap();
    let (mut resident, mut store) = (Resident::default(), Store::new());
    for (batch, seed, step, first) in [(1, 1, 0, 0i64), (40, 1, 0, 0), (3, u64::MAX, 1 << 40, 1 << 33), (300, 7, 12, 5)]
    {
        let positions: Vec<i64> = (0..batch as i64).map(|i| first + i * 3).collect();
        let lengths: Vec<i64> = (0..batch as i64).map(|i| (i * 5 + 3) % 4).collect();
        let inputs = Inputs {
            batch,
            seed,
            step,
            positions: Some(&positions),
            lengths: vec![("T", &lengths)],
            ..Inputs::default()
        };
        let found = program.run(&mut machine, &mut resident, &mut store, &inputs).unwrap_or_else(|e| panic!("{e}"));
        let reference = RunInputs {
            batch: batch as i64,
            seed,
            step,
            positions: Some(positions.clone()),
            lengths: HashMap::from([("T".to_string(), lengths.clone())]),
            ..RunInputs::default()
        };
        let expected = run_plan(&plan, &reference).unwrap();
        for name in ["u", "n", "alone", "all", "ragged"] {
            let found = found.numbers(name).unwrap();
            assert!(found.len() == expected[name].len() && !found.is_empty());
            for (i, x) in found.iter().enumerate() {
                let y = expected[name].at(i);
                assert!(x.to_bits() == y.to_bits(), "{name}[{i}] is {x}, not {y}, in a batch of {batch}");
            }
        }
    }
}
