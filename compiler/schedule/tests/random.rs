//! Random equations: what the plan computes as machine code in f64 is what the equations' interpreter computes.
//!
//! The bound is 2^20 units in the last place of the larger of 1 and the value (2.3e-10): sums run in another order than the
//! interpreter's, and functions of sums pass that on. Integers and truth values are equal.

mod support;

use bdl_equations as eq;
use bdl_equations::interpret::{Value, interpret};
use bdl_equations::random::{Case, Options};
use bdl_execute::reference::{RunInputs, run_plan};
use bdl_plan as plan;
use std::collections::HashMap;
use std::sync::Arc;

const EQUATIONS: usize = 4;
const BOUND: f64 = (1u64 << 20) as f64 * f64::EPSILON;

/// Every second case shows all its tensors, the others only their last value, so that everything before it may be fused away.
fn case(seed: u64) -> Case {
    let options = Options { batched: seed % 4 != 3, equations: EQUATIONS, ..Options::default() };
    let mut case = Case::new(seed, options);
    if seed.is_multiple_of(2) {
        for id in case
            .program
            .ids()
            .filter(|t| case.program.get(*t).role == eq::Role::Computed)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            let name = case.program.get(id).name.clone();
            if case.program.outputs.iter().all(|(n, t)| *n != name && *t != id) {
                case.program.outputs.push((name, id));
            }
        }
    }
    case
}

fn shift(launches: &mut [plan::Launch], by: u32) {
    for launch in launches {
        match &mut launch.op {
            plan::Op::Kernel(k) => k.kernel.0 += by,
            plan::Op::Contract(c) => c.epilogue.iter_mut().for_each(|k| k.kernel.0 += by),
            plan::Op::Scan(scan) => shift(&mut scan.body, by),
            plan::Op::Iterate(n) => {
                shift(&mut n.condition, by);
                shift(&mut n.body, by);
            }
            plan::Op::Draw(_)
            | plan::Op::Copy { .. }
            | plan::Op::Clear { .. }
            | plan::Op::Order { .. }
            | plan::Op::Sort(_)
            | plan::Op::Library { .. } => {}
        }
    }
}

fn describe(case: &Case, plan: &plan::Plan) -> String {
    format!("{}\n{:?} {:?}\n{:?}", eq::text::print(&case.program), case.sizes, case.examples, support::launches(plan))
}

/// What a case gives, as it lies in buffers.
struct Given {
    values: HashMap<String, Vec<f64>>,
    lengths: HashMap<String, Vec<i64>>,
}

impl Given {
    fn of(case: &Case) -> Given {
        let packed =
            |(n, v): &(String, _)| (n.clone(), support::packed(&case.program, case.program.find(n).unwrap(), v));
        let mut lengths: HashMap<String, Vec<i64>> = HashMap::new();
        for (name, n) in case.examples.iter().flatten() {
            lengths.entry(name.clone()).or_default().push(*n);
        }
        Given { values: case.values.iter().map(packed).collect(), lengths }
    }

    fn store(&self, case: &Case, plan: &plan::Plan) -> bdl_execute::Store {
        let mut store = bdl_execute::Store::new();
        for buffer in plan.buffers.iter().filter(|b| matches!(b.place, plan::Place::Param | plan::Place::State)) {
            let sizes = |name: &str| case.sizes.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
            let shape = buffer.shape.iter().map(|d| d.eval(&sizes).unwrap()).collect();
            store.insert(&buffer.name, buffer.dtype, shape).unwrap();
            store.set(&buffer.name, &self.values[&*buffer.name]).unwrap();
        }
        store
    }

    fn inputs<'g>(&'g self, case: &'g Case, plan: &plan::Plan) -> bdl_execute::Inputs<'g> {
        let is_input =
            |name: &str| plan.buffers.iter().any(|b| *b.name == *name && matches!(b.place, plan::Place::Input { .. }));
        let values = self.values.iter().filter(|(n, _)| is_input(n));
        bdl_execute::Inputs {
            batch: case.examples.len().max(1),
            lengths: self.lengths.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect(),
            sizes: case.sizes.iter().map(|(n, v)| (n.as_str(), *v)).collect(),
            buffers: values.map(|(n, v)| (n.as_str(), bdl_execute::Data::F64(v))).collect(),
            ..Default::default()
        }
    }
}

/// Runs a case on the code of its chunk and gives the largest difference.
fn run(
    seed: u64,
    case: &Case,
    plan: &plan::Plan,
    kernels: bdl_plan::CompiledKernels,
    executor: &bdl_execute::Executor,
) -> f64 {
    let expected = interpret(&case.program, &case.world()).unwrap_or_else(|e| panic!("case {seed}: {e}"));
    let given = Given::of(case);
    let mut store = given.store(case, plan);
    let inputs = given.inputs(case, plan);
    let mut program = bdl_execute::Program::new(Arc::new(plan.clone()), kernels).unwrap();
    let outputs = match program.run(executor, &mut store, &inputs) {
        Ok(outputs) => outputs,
        // A filtered sum over keys that belong to no group: the runtime takes such an input for wrong.
        Err(bdl_execute::Error::Key { .. }) => return 0.0,
        Err(e) => panic!("case {seed}: {e}\n{}", describe(case, plan)),
    };
    let mut worst: f64 = 0.0;
    // The loss last: what is wrong shows where it begins.
    for (name, id) in case.program.outputs.iter().rev() {
        let wanted = support::packed(&case.program, *id, expected.output(name).unwrap());
        let found = outputs.numbers(name).unwrap();
        assert_eq!(wanted.len(), found.len(), "case {seed}: `{name}`");
        for (at, (w, f)) in wanted.iter().zip(&found).enumerate() {
            let difference = if w == f || (w.is_nan() && f.is_nan()) { 0.0 } else { (w - f).abs() / w.abs().max(1.0) };
            let exact = !matches!(case.program.get(*id).dtype, eq::DType::Real);
            assert!(
                difference <= if exact { 0.0 } else { BOUND },
                "case {seed}: `{name}` element {at} is {f}, the interpreter says {w}\n{}",
                describe(case, plan)
            );
            worst = worst.max(difference);
        }
    }
    worst
}

/// The plan for a GPU, in the plans' interpreter: what it computes is what the equations' interpreter computes. False for keys that belong to no
/// group: plans take such an input for wrong.
fn interpret_for_gpu(seed: u64, case: &Case) -> bool {
    let expected = interpret(&case.program, &case.world()).unwrap_or_else(|e| panic!("case {seed}: {e}"));
    let options = bdl_schedule::Options { real: bdl_schedule::Real::F64, target: bdl_schedule::Target::Gpu };
    let plan = bdl_schedule::schedule(&case.program, &options).unwrap_or_else(|e| panic!("case {seed}: {e}"));
    plan::verify(&plan).unwrap_or_else(|e| panic!("case {seed}: {e}\n{plan}"));
    let given = Given::of(case);
    let inputs = RunInputs {
        batch: case.examples.len().max(1) as i64,
        sizes: case.sizes.iter().cloned().collect(),
        buffers: given.values,
        lengths: given.lengths,
        ..RunInputs::default()
    };
    let found = match run_plan(&plan, &inputs) {
        Ok(found) => found,
        Err(error) if error.to_string().contains("a key ") => {
            return false;
        }
        Err(error) => panic!("case {seed}: {error}\n{}", describe(case, &plan)),
    };
    for (name, id) in &case.program.outputs {
        let wanted = support::packed(&case.program, *id, expected.output(name).unwrap());
        let found = &found[&**name];
        for (at, w) in wanted.iter().enumerate() {
            let f = found.at(at);
            let near = f == *w || (w.is_nan() && f.is_nan()) || (w - f).abs() <= BOUND * w.abs().max(1.0);
            assert!(near, "case {seed}: `{name}` element {at} is {f} for a GPU, not {w}\n{}", describe(case, &plan));
        }
    }
    true
}

/// How far f32 may be off, relative to the larger of 1 and the value.
const BOUND_F32: f64 = 1e-3;

/// The case with real numbers that differ by some roundings of f32.
fn moved(case: &Case) -> Case {
    let mut case = case.clone();
    for (name, value) in &mut case.values {
        if case.program.get(case.program.find(name).unwrap()).dtype != eq::DType::Real {
            continue;
        }
        let arrays = match value {
            Value::Shared(array) => std::slice::from_mut(array),
            Value::PerExample(arrays) => arrays.as_mut_slice(),
        };
        arrays.iter_mut().flat_map(|array| &mut array.data).for_each(|x| *x *= 1.0 + 1e-6);
    }
    case
}

/// The plan for a GPU in f32, as PTX on the machine of the tests. False for keys that belong to no group, and where PTX lacks something.
fn run_as_ptx(seed: u64, case: &Case) -> bool {
    let expected = interpret(&case.program, &case.world()).unwrap_or_else(|e| panic!("case {seed}: {e}"));
    let options = bdl_schedule::Options { real: bdl_schedule::Real::F32, target: bdl_schedule::Target::Gpu };
    let plan = bdl_schedule::schedule(&case.program, &options).unwrap_or_else(|e| panic!("case {seed}: {e}"));
    let code = match bdl_ptx::compile(&plan, bdl_ptx::Wanted::default(), &|_| Vec::new()) {
        Ok(code) => code,
        Err(error) if error.what.contains("is not there on a GPU") => return false,
        Err(error) => panic!("case {seed}: {error}"),
    };
    let given = Given::of(case);
    let plan = Arc::new(plan);
    let mut machine = bdl_ptx_machine::Machine::new(seed);
    let mut resident = bdl_execute::device::Resident::default();
    let mut store = given.store(case, &plan);
    let mut program = bdl_execute::device::DeviceProgram::new(&mut machine, plan.clone(), &code)
        .unwrap_or_else(|e| panic!("case {seed}: {e}"));
    let outputs = match program.run(&mut machine, &mut resident, &mut store, &given.inputs(case, &plan)) {
        Ok(outputs) => outputs,
        Err(bdl_execute::Error::Key { .. }) => return false,
        Err(e) => panic!("case {seed}: {e}\n{}", describe(case, &plan)),
    };
    let beside = moved(case);
    let beside = interpret(&beside.program, &beside.world()).unwrap_or_else(|e| panic!("case {seed}: {e}"));
    for (name, id) in &case.program.outputs {
        let [wanted, beside] =
            [&expected, &beside].map(|values| support::packed(&case.program, *id, values.output(name).unwrap()));
        for (at, f) in outputs.numbers(name).unwrap().into_iter().enumerate() {
            let (w, bound) = (wanted[at], BOUND_F32 * wanted[at].abs().max(1.0));
            // What a rounding turns into another number says nothing.
            let is_sure = (w - beside[at]).abs() <= bound / 32.0;
            let near = f == w || (w.is_nan() && f.is_nan()) || (w - f).abs() <= bound;
            assert!(
                near || !is_sure,
                "case {seed}: `{name}` element {at} is {f} as PTX, not {w}\n{}",
                describe(case, &plan)
            );
        }
    }
    true
}

/// Schedules, compiles in chunks and runs; gives the number of equations.
fn run_all(seeds: std::ops::Range<u64>, made: &dyn Fn(u64) -> Case) -> usize {
    // Alone, and in teams.
    let executors = [1, 2, 3].map(bdl_execute::Executor::new);
    let (mut equations, mut worst): (usize, f64) = (0, 0.0);
    let all: Vec<u64> = seeds.collect();
    for seeds in all.chunks(50) {
        let mut plans = Vec::new();
        let mut kernels: Vec<plan::Kernel> = Vec::new();
        for seed in seeds {
            let case = made(*seed);
            equations += case.program.nodes.len();
            let options = bdl_schedule::Options { real: bdl_schedule::Real::F64, ..Default::default() };
            let mut plan = bdl_schedule::schedule(&case.program, &options)
                .unwrap_or_else(|e| panic!("case {seed}: {e}\n{}", eq::text::print(&case.program)));
            plan::verify(&plan).unwrap_or_else(|e| panic!("case {seed}: {e}\n{plan}"));
            support::check_slots(&plan);
            shift(&mut plan.launches, kernels.len() as u32);
            kernels.append(&mut plan.kernels);
            plans.push((case, plan));
        }
        let code = bdl_cranelift::compile(&kernels).unwrap_or_else(|e| panic!("cases {seeds:?}: {e}"));
        for (seed, (case, mut plan)) in seeds.iter().zip(plans) {
            plan.kernels = kernels.clone();
            worst = worst.max(run(*seed, &case, &plan, code.kernels(), &executors[*seed as usize % 3]));
        }
    }
    println!("{equations} equations, largest difference {worst:e}");
    equations
}

/// So many, or others to look further: `BDL_RANDOM_FIRST=100000 BDL_RANDOM_CASES=20000 cargo test -p bdl-schedule --test random`.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let from = |name: &str, usual: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let first = from("BDL_RANDOM_FIRST", 0);
    first..first + from("BDL_RANDOM_CASES", usual)
}

#[test]
fn compiled_is_interpreted_for_random_equations() {
    let seeds = seeds(1_250);
    let equations = run_all(seeds.clone(), &case);
    assert!(seeds.end - seeds.start < 1_250 || equations >= 10_000, "only {equations} equations");
}

/// Loops over lengths of the example's own and of the model's, nested, and iterations; every tensor outside of loops is shown.
fn with_loops(seed: u64) -> Case {
    let mut case = Case::new(seed, Options { batched: seed % 8 != 7, equations: 3, loops: 60, ..Options::default() });
    for tensor in case.program.nodes.iter().flat_map(eq::Node::writes).collect::<Vec<_>>() {
        let name = case.program.get(tensor).name.clone();
        if case.program.outputs.iter().all(|(n, t)| *n != name && *t != tensor) {
            case.program.outputs.push((name, tensor));
        }
    }
    case
}

#[test]
fn loops_are_what_the_interpreter_says() {
    run_all(seeds(250), &with_loops);
}

/// The derivatives as outputs; none where there is no derivative, which is rare (`bdl-equations` counts how rare).
fn show_gradients(program: &mut eq::Program, loss: eq::TensorId, params: &[eq::TensorId]) {
    let gradients = match eq::differentiate(program, loss, params) {
        Ok(gradients) => gradients,
        Err(eq::DifferentiateError::NoDerivative { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    for gradient in gradients {
        let name = program.get(gradient).name.clone();
        if program.outputs.iter().all(|(n, t)| *n != name && *t != gradient) {
            program.outputs.push((name, gradient));
        }
    }
}

/// As above, with derivatives and simplified as for training; a loop that shares values has none.
#[test]
fn gradients_of_loops_are_what_the_interpreter_says() {
    run_all(seeds(120), &|seed| {
        let mut case = Case::new(seed, Options { batched: seed % 8 != 7, smooth: true, equations: 2, loops: 70 });
        let program = &mut case.program;
        if seed.is_multiple_of(2) {
            eq::simplify::rounds(program);
        }
        let loss = program.find("loss").unwrap();
        let params: Vec<eq::TensorId> = program.ids().filter(|t| program.get(*t).role == eq::Role::Param).collect();
        show_gradients(program, loss, &params);
        eq::simplify(program);
        case
    });
}

/// The loss of a random program with its derivative by every parameter, every second time simplified as for training.
fn with_gradients(seed: u64) -> Case {
    let mut case = Case::new(seed, Options { batched: seed % 4 != 3, smooth: true, equations: 3, loops: 0 });
    let program = &mut case.program;
    let loss = program.find("loss").unwrap();
    let params: Vec<eq::TensorId> = program.ids().filter(|t| program.get(*t).role == eq::Role::Param).collect();
    show_gradients(program, loss, &params);
    if seed.is_multiple_of(2) {
        eq::simplify(program);
    }
    case
}

#[test]
fn gradients_of_random_equations_are_what_the_interpreter_says() {
    run_all(seeds(250), &with_gradients);
}

#[test]
fn plans_for_gpus_are_what_the_interpreter_says() {
    let seeds = seeds(120);
    let kinds: [&dyn Fn(u64) -> Case; 3] = [&case, &with_loops, &with_gradients];
    let all = kinds.iter().flat_map(|made| seeds.clone().map(|seed| interpret_for_gpu(seed, &made(seed))));
    let (count, known) = all.fold((0, 0), |(count, known), is_known| (count + 1, known + usize::from(is_known)));
    assert!(known * 10 > count * 9, "only {known} of {count}");
}

#[test]
fn ptx_is_what_the_interpreter_says() {
    let (mut count, mut known) = (0, 0);
    for seed in seeds(60) {
        (count, known) = (count + 1, known + usize::from(run_as_ptx(seed, &with_gradients(seed))));
    }
    assert!(known * 10 > count * 8, "only {known} of {count}");
}
