//! Runs a program in the equations' interpreter, its plan in the plans' interpreter and as machine code on threads, and compares.
#![allow(dead_code)]

use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_equations::interpret::{Array, Value, World, interpret};
use bdl_execute::reference::{RunInputs, run_plan};
use bdl_plan as plan;
use std::collections::HashMap;
use std::sync::Arc;

/// Numbers to run a program with.
#[derive(Clone, Default)]
pub struct Numbers {
    /// Sizes of each example, one list an example; one empty list is a batch of one.
    pub examples: Vec<Vec<(&'static str, i64)>>,
    pub built: Vec<(&'static str, i64)>,
    /// Integers of an input are drawn below this.
    pub below: Vec<(&'static str, i64)>,
    /// Which example each one is, by the numbers it has; empty: the first is number 0 and so on.
    pub ids: Vec<usize>,
}

/// A batch of examples of different length.
pub fn lengths(name: &'static str, all: &[i64]) -> Numbers {
    Numbers { examples: all.iter().map(|n| vec![(name, *n)]).collect(), ..Numbers::default() }
}

pub fn batch(count: usize) -> Numbers {
    Numbers { examples: vec![Vec::new(); count], ..Numbers::default() }
}

/// Deterministic numbers in [-1, 1), different for each name.
pub fn noise(name: &str, at: usize) -> f64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    for byte in name.bytes().chain(at.to_le_bytes()) {
        h = (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    h ^= h >> 29;
    h = h.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h ^= h >> 32;
    (h % 2_000_003) as f64 / 1_000_001.5 - 1.0
}

pub fn parse(text: &str) -> eq::Program {
    let program = eq::text::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    if let Err(e) = eq::verify::verify(&program) {
        panic!("{e}\n{text}");
    }
    program
}

pub fn plan_of(program: &eq::Program) -> plan::Plan {
    plan_with(program, bdl_schedule::Real::F64)
}

pub fn plan_with(program: &eq::Program, real: bdl_schedule::Real) -> plan::Plan {
    let options = bdl_schedule::Options { real, ..Default::default() };
    let plan = bdl_schedule::schedule(program, &options).unwrap_or_else(|e| panic!("{e}"));
    plan::verify(&plan).unwrap_or_else(|e| panic!("{e}\n{plan}"));
    check_slots(&plan);
    plan
}

/// Buffers of one slot fit it and are never in use at the same launch, nor between two of each other's.
pub fn check_slots(plan: &plan::Plan) {
    let mut lives: HashMap<plan::BufferId, (usize, usize)> = HashMap::new();
    let mut touch = |buffer: plan::BufferId, at: usize| {
        let life = lives.entry(buffer).or_insert((at, at));
        life.1 = life.1.max(at);
    };
    for (at, launch) in plan.launches.iter().enumerate() {
        buffers_of(&launch.op, &mut |b| touch(b, at));
    }
    for (_, buffer) in &plan.outputs {
        touch(*buffer, 0);
        touch(*buffer, plan.launches.len());
    }
    let mut of_slot: HashMap<plan::SlotId, Vec<(plan::BufferId, (usize, usize))>> = HashMap::new();
    for (buffer, life) in lives {
        let b = &plan.buffers[buffer.0 as usize];
        let plan::Place::Slot(slot) = b.place else { continue };
        let width = match b.dtype {
            plan::DType::F64 | plan::DType::I64 => 8,
            plan::DType::F32 | plan::DType::I32 => 4,
            plan::DType::BF16 => 2,
            plan::DType::Bool => 1,
        };
        assert!(
            plan.slots[slot.0 as usize].dominates(&b.len.scale(width)),
            "`{}` does not fit its slot\n{plan}",
            b.name
        );
        let others = of_slot.entry(slot).or_default();
        for (other, theirs) in others.iter() {
            let apart = theirs.1 < life.0 || life.1 < theirs.0;
            assert!(apart, "`{}` and `{}` share a slot\n{plan}", b.name, plan.buffers[other.0 as usize].name);
        }
        others.push((buffer, life));
    }
}

fn buffers_of(op: &plan::Op, touch: &mut dyn FnMut(plan::BufferId)) {
    match op {
        plan::Op::Kernel(k) => k.buffers.iter().for_each(|s| touch(s.buffer)),
        plan::Op::Contract(c) => {
            [&c.out, &c.a, &c.b].into_iter().for_each(|s| touch(s.buffer));
            c.epilogue.iter().flat_map(|k| &k.buffers).for_each(|s| touch(s.buffer));
        }
        plan::Op::Draw(d) => {
            touch(d.out);
            d.offsets.iter().for_each(|b| touch(*b));
        }
        plan::Op::Copy { from, to } => [from, to].into_iter().for_each(|b| touch(*b)),
        plan::Op::Clear { buffer } => touch(*buffer),
        plan::Op::Order { out, .. } => touch(*out),
        plan::Op::Scan(scan) => {
            scan.running.iter().for_each(|r| touch(r.order));
            scan.body.iter().for_each(|l| buffers_of(&l.op, touch));
        }
        plan::Op::Iterate(n) => {
            n.running.iter().for_each(|r| touch(r.order));
            touch(n.until);
            n.condition.iter().chain(&n.body).for_each(|l| buffers_of(&l.op, touch));
        }
        plan::Op::Sort(s) => [s.out, s.input].into_iter().for_each(touch),
        plan::Op::Library { out, inputs, .. } => inputs.iter().chain([out]).for_each(|b| touch(*b)),
    }
}

/// Kernel and contraction launches and so on, one word each.
pub fn launches(plan: &plan::Plan) -> Vec<&'static str> {
    fn words(launches: &[plan::Launch], into: &mut Vec<&'static str>) {
        for launch in launches {
            match &launch.op {
                plan::Op::Kernel(_) => into.push("kernel"),
                plan::Op::Contract(c) if c.epilogue.is_some() => into.push("contract+epilogue"),
                plan::Op::Contract(_) => into.push("contract"),
                plan::Op::Draw(_) => into.push("draw"),
                plan::Op::Copy { .. } => into.push("copy"),
                plan::Op::Clear { .. } => into.push("clear"),
                plan::Op::Order { .. } => into.push("order"),
                plan::Op::Scan(scan) => {
                    into.push("scan");
                    words(&scan.body, into);
                    into.push("end");
                }
                plan::Op::Iterate(n) => {
                    into.push("until");
                    words(&n.condition, into);
                    into.push("iterate");
                    words(&n.body, into);
                    into.push("end");
                }
                plan::Op::Sort(_) => into.push("sort"),
                plan::Op::Library { .. } => into.push("library"),
            }
        }
    }
    let mut all = Vec::new();
    words(&plan.launches, &mut all);
    all
}

/// Interprets, schedules, runs and compares every output and update. Returns the plan.
pub fn same(text: &str, numbers: &Numbers) -> plan::Plan {
    same_program(&parse(text), numbers)
}

pub fn same_program(program: &eq::Program, numbers: &Numbers) -> plan::Plan {
    let plan = plan_of(program);
    compare(program, &plan, numbers);
    plan
}

fn size_of(numbers: &Numbers, dim: &Dim, example: Option<usize>) -> i64 {
    dim.eval(&|name| {
        let of = |list: &[(&str, i64)]| list.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        if name == "B" {
            return Some(numbers.examples.len() as i64);
        }
        of(&numbers.built).or_else(|| example.and_then(|e| of(&numbers.examples[e])))
    })
    .unwrap_or_else(|| panic!("no number for the size {dim}"))
}

fn value_of(program: &eq::Program, id: eq::TensorId, numbers: &Numbers) -> Value {
    let tensor = program.get(id);
    let number = |e: usize, i: usize| {
        let x = noise(&tensor.name, e * 100_000 + i);
        match tensor.dtype {
            eq::DType::I32 => {
                let below = numbers.below.iter().find(|(n, _)| *n == &*tensor.name).map_or(3, |(_, b)| *b);
                ((x + 1.0) / 2.0 * below as f64).floor()
            }
            eq::DType::Bool => f64::from(x > 0.0),
            eq::DType::Real | eq::DType::F32 | eq::DType::F64 | eq::DType::BF16 => x,
        }
    };
    let array = |dims: &[Dim], e: Option<usize>| {
        let shape: Vec<usize> = dims.iter().map(|d| size_of(numbers, d, e) as usize).collect();
        let len = shape.iter().product();
        let id = |e: usize| numbers.ids.get(e).copied().unwrap_or(e);
        Array::new(shape, (0..len).map(|i| number(e.map_or(0, id), i)).collect::<Vec<f64>>())
    };
    if program.is_per_example(id) {
        Value::PerExample((0..numbers.examples.len()).map(|e| array(&tensor.shape[1..], Some(e))).collect())
    } else {
        Value::Shared(array(&tensor.shape, None))
    }
}

/// The elements as they lie in a packed buffer: in every example an axis of per-example length outermost, if it is the only one.
pub fn packed(program: &eq::Program, id: eq::TensorId, value: &Value) -> Vec<f64> {
    let tensor = program.get(id);
    let Value::PerExample(arrays) = value else { return value.flat() };
    let ragged: Vec<bool> = tensor.shape[1..].iter().map(|d| program.is_per_example_size(d)).collect();
    let mut order: Vec<usize> = (0..ragged.len()).collect();
    if ragged.iter().filter(|own| **own).count() == 1 {
        order.sort_by_key(|a| !ragged[*a]);
    }
    let mut all = Vec::new();
    for array in arrays {
        let dims: Vec<usize> = order.iter().map(|a| array.shape[*a]).collect();
        for flat in 0..array.data.len() {
            let mut rest = flat;
            let mut subs = vec![0i64; dims.len()];
            for (at, dim) in dims.iter().enumerate().rev() {
                subs[order[at]] = (rest % dim) as i64;
                rest /= dim;
            }
            all.push(array.data[array.position(&subs).unwrap()]);
        }
    }
    all
}

pub fn compare(program: &eq::Program, plan: &plan::Plan, numbers: &Numbers) {
    let mut world = World::new();
    world.examples(numbers.examples.clone());
    for (name, n) in &numbers.built {
        world.size(name, *n);
    }
    let given: Vec<eq::TensorId> = program.ids().filter(|t| program.get(*t).role != eq::Role::Computed).collect();
    for id in &given {
        world.set(&program.get(*id).name, value_of(program, *id, numbers));
    }
    let expected = interpret(program, &world).unwrap_or_else(|e| panic!("{e}"));
    let mut wanted: Vec<(String, Vec<f64>)> = Vec::new();
    for (name, id) in &program.outputs {
        wanted.push((name.to_string(), packed(program, *id, expected.output(name).unwrap())));
    }
    for (name, value) in expected.updates() {
        wanted.push((name.to_string(), packed(program, program.find(name).unwrap(), value)));
    }
    let buffers: Vec<(String, Vec<f64>)> = given
        .iter()
        .map(|id| (program.get(*id).name.to_string(), packed(program, *id, &value_of(program, *id, numbers))))
        .collect();

    // The meaning of the plan.
    let mut lengths: HashMap<String, Vec<i64>> = HashMap::new();
    for (name, n) in numbers.examples.iter().flatten() {
        lengths.entry(name.to_string()).or_default().push(*n);
    }
    let inputs = RunInputs {
        batch: numbers.examples.len() as i64,
        lengths: lengths.clone(),
        sizes: numbers.built.iter().map(|(n, v)| (n.to_string(), *v)).collect(),
        buffers: buffers.iter().cloned().collect(),
        ..RunInputs::default()
    };
    let found = run_plan(plan, &inputs).unwrap_or_else(|e| panic!("{e}\n{}", text(plan)));
    for (name, values) in &wanted {
        let array = &found[name];
        let found: Vec<f64> = (0..array.len()).map(|i| array.at(i)).collect();
        close(&format!("{name} (reference)"), values, &found, plan);
    }

    // The machine code, on one thread and on two.
    let mut bits: Vec<Vec<u64>> = Vec::new();
    for threads in [1, 2] {
        let names: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
        let mut all = Vec::new();
        for (name, found) in run(program, plan, numbers, threads, &names) {
            let (_, values) = wanted.iter().find(|(n, _)| *n == name).unwrap();
            close(&format!("{name} (compiled, {threads} threads)"), values, &found, plan);
            all.extend(found.iter().map(|x| x.to_bits()));
        }
        bits.push(all);
    }
    assert_eq!(bits[0], bits[1], "one and two threads differ");
}

/// Runs the machine code; the values of outputs, parameters and state by name.
pub fn run(
    program: &eq::Program,
    plan: &plan::Plan,
    numbers: &Numbers,
    threads: usize,
    wanted: &[&str],
) -> Vec<(String, Vec<f64>)> {
    let mut lengths: HashMap<String, Vec<i64>> = HashMap::new();
    for (name, n) in numbers.examples.iter().flatten() {
        lengths.entry(name.to_string()).or_default().push(*n);
    }
    let given = program.ids().filter(|t| program.get(*t).role != eq::Role::Computed);
    let buffers: Vec<(String, Vec<f64>)> = given
        .map(|id| (program.get(id).name.to_string(), packed(program, id, &value_of(program, id, numbers))))
        .collect();
    let code = bdl_cranelift::compile(&plan.kernels).unwrap_or_else(|e| panic!("{e}\n{}", text(plan)));
    let executor = bdl_execute::Executor::new(threads);
    let mut run = bdl_execute::Program::new(Arc::new(plan.clone()), code.kernels()).unwrap_or_else(|e| panic!("{e}"));
    let mut store = bdl_execute::Store::new();
    for buffer in &plan.buffers {
        if matches!(buffer.place, plan::Place::Param | plan::Place::State) {
            let shape = buffer.shape.iter().map(|d| size_of(numbers, d, None)).collect();
            store.insert(&buffer.name, buffer.dtype, shape).unwrap();
            let (_, values) = buffers.iter().find(|(n, _)| **n == *buffer.name).unwrap();
            store.set(&buffer.name, values).unwrap();
        }
    }
    let positions: Vec<i64> = numbers.ids.iter().map(|id| *id as i64).collect();
    let inputs = bdl_execute::Inputs {
        positions: (!positions.is_empty()).then_some(&positions),
        batch: numbers.examples.len(),
        lengths: lengths.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect(),
        sizes: numbers.built.clone(),
        buffers: buffers
            .iter()
            .filter(|(n, _)| {
                plan.buffers.iter().any(|b| *b.name == **n && matches!(b.place, plan::Place::Input { .. }))
            })
            .map(|(n, v)| (n.as_str(), bdl_execute::Data::F64(v)))
            .collect(),
        ..Default::default()
    };
    let outputs = run.run(&executor, &mut store, &inputs).unwrap_or_else(|e| panic!("{e}\n{}", text(plan)));
    let mut results: Vec<(String, Vec<f64>)> = Vec::new();
    for name in wanted {
        if let Some(numbers) = outputs.numbers(name) {
            results.push((name.to_string(), numbers));
        }
    }
    for name in wanted {
        if plan.outputs.iter().all(|(n, _)| **n != **name) {
            let buffer = store.get(name).unwrap();
            results.push((name.to_string(), (0..buffer.len()).map(|i| buffer.number(i)).collect()));
        }
    }
    results
}

/// An example's results are the same bits alone, in this batch and in the batch turned round, on one thread and on three. `names` are
/// outputs with an axis of examples.
pub fn alone_as_together(program: &eq::Program, numbers: &Numbers, names: &[&str]) {
    let plan = plan_of(program);
    let count = numbers.examples.len();
    let part = |ids: Vec<usize>| {
        let examples = ids.iter().map(|e| numbers.examples[*e].clone()).collect();
        Numbers { examples, ids, ..numbers.clone() }
    };
    let runs = [(0..count).collect::<Vec<usize>>(), (0..count).rev().collect()].map(|ids| (part(ids), 1));
    let runs = runs.into_iter().chain([(part((0..count).collect()), 3)]);
    let runs = runs.chain((0..count).map(|e| (part(vec![e]), 1)));
    let mut known: HashMap<(usize, String), Vec<u64>> = HashMap::new();
    for (numbers, threads) in runs {
        for (name, values) in run(program, &plan, &numbers, threads, names) {
            let id = program.outputs.iter().find(|(n, _)| **n == *name).unwrap().1;
            let mut rest = values.as_slice();
            for (at, example) in numbers.ids.iter().enumerate() {
                let dims = &program.get(id).shape[1..];
                let len: i64 = dims.iter().map(|d| size_of(&numbers, d, Some(at))).product();
                let (own, others) = rest.split_at(len as usize);
                rest = others;
                let own: Vec<u64> = own.iter().map(|x| x.to_bits()).collect();
                let first = known.entry((*example, name.clone())).or_insert_with(|| own.clone());
                assert_eq!(*first, own, "`{name}` of example {example} differs in the batch {:?}", numbers.ids);
            }
            assert!(rest.is_empty());
        }
    }
}

fn text(plan: &plan::Plan) -> String {
    plan.to_string()
}

fn close(name: &str, expected: &[f64], found: &[f64], plan: &plan::Plan) {
    assert_eq!(expected.len(), found.len(), "`{name}` has another length");
    for (at, (e, f)) in expected.iter().zip(found).enumerate() {
        let same = e == f || (e.is_nan() && f.is_nan()) || (e - f).abs() <= 1e-9 * (1.0 + e.abs());
        let plan = || text(plan);
        assert!(
            same,
            "`{name}` element {at}: expected {e}, found {f}\nexpected {expected:?}\nfound {found:?}\n{}",
            plan()
        );
    }
}
