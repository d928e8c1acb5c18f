//! A program as machine code in f64 on two threads, and as PTX in f32 on the machine of the tests: outputs and updates by name, as the
//! interpreter gives them.

use super::Given;
use bdl_dims::Dim;
use bdl_equations::interpret::{Array, Value};
use bdl_equations::{BATCH, Program, TensorId};
use bdl_execute::device::{Device, DeviceProgram, Resident};
use bdl_execute::{Inputs, Store};
use bdl_plan::{Place, Plan};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a tensor's elements lie in its packed buffer: the arrays of its examples in turn, a single per-example axis outermost. `f` is called
/// with example, row-major position in the example's array.
fn packed(program: &Program, id: TensorId, shapes: &[Vec<usize>], f: &mut dyn FnMut(usize, usize)) {
    let own = &program.get(id).shape[usize::from(program.is_per_example(id))..];
    let ragged: Vec<bool> = own.iter().map(|d| program.is_per_example_size(d)).collect();
    let mut order: Vec<usize> = (0..own.len()).collect();
    if ragged.iter().filter(|own| **own).count() == 1 {
        order.sort_by_key(|axis| !ragged[*axis]);
    }
    for (example, shape) in shapes.iter().enumerate() {
        let count: usize = shape.iter().product();
        for place in 0..count {
            let (mut rest, mut subs) = (place, vec![0; shape.len()]);
            for axis in order.iter().rev() {
                subs[*axis] = rest % shape[*axis];
                rest /= shape[*axis];
            }
            f(example, subs.iter().zip(shape).fold(0, |at, (sub, size)| at * size + sub));
        }
    }
}

fn shapes(program: &Program, id: TensorId, given: &Given) -> Vec<Vec<usize>> {
    let tensor = program.get(id);
    let eval = |dims: &[Dim], example: Option<&BTreeMap<String, i64>>| -> Vec<usize> {
        let size = |name: &str| {
            let own = example.and_then(|sizes| sizes.get(name)).or(given.built.get(name)).copied();
            own.or((name == BATCH).then_some(given.examples.len() as i64))
        };
        dims.iter().map(|d| d.eval(&size).unwrap() as usize).collect()
    };
    if program.is_per_example(id) {
        given.examples.iter().map(|sizes| eval(&tensor.shape[1..], Some(sizes))).collect()
    } else {
        vec![eval(&tensor.shape, None)]
    }
}

fn unpack(program: &Program, id: TensorId, given: &Given, numbers: &[f64]) -> Value {
    let shapes = shapes(program, id, given);
    let mut arrays: Vec<Array> = shapes.iter().map(|shape| Array::filled(shape.clone(), 0.0)).collect();
    let mut rest = numbers.iter();
    packed(program, id, &shapes, &mut |example, place| arrays[example].data[place] = *rest.next().unwrap());
    if program.is_per_example(id) { Value::PerExample(arrays) } else { Value::Shared(arrays.remove(0)) }
}

/// The numbers of inputs, parameters and state as they lie in buffers.
fn packed_numbers<'g>(program: &Program, given: &'g Given) -> Result<BTreeMap<&'g str, Vec<f64>>, String> {
    let mut flat: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, value) in &given.values {
        let id = program.find(name).ok_or(format!("no tensor `{name}`"))?;
        let (shapes, arrays) = (shapes(program, id, given), value.examples());
        let mut numbers = Vec::new();
        packed(program, id, &shapes, &mut |example, place| numbers.push(arrays[example].data[place]));
        flat.insert(name, numbers);
    }
    Ok(flat)
}

/// A store with the parameters and state of a plan.
fn stored(plan: &Plan, given: &Given, flat: &BTreeMap<&str, Vec<f64>>) -> Result<Store, String> {
    let mut store = Store::new();
    for buffer in plan.buffers.iter().filter(|b| matches!(b.place, Place::Param | Place::State)) {
        let size = |name: &str| given.built.get(name).copied();
        let shape = buffer.shape.iter().map(|d| d.eval(&size).unwrap()).collect();
        store.insert(&buffer.name, buffer.dtype, shape).map_err(|error| error.to_string())?;
        store.set(&buffer.name, &flat[&*buffer.name]).map_err(|error| error.to_string())?;
    }
    Ok(store)
}

/// What a run is given, for as long as `call` takes.
fn with_inputs<T>(
    plan: &Plan,
    given: &Given,
    flat: &BTreeMap<&str, Vec<f64>>,
    call: impl FnOnce(&Inputs) -> Result<T, String>,
) -> Result<T, String> {
    let mut lengths: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (name, size) in given.examples.iter().flatten() {
        lengths.entry(name).or_default().push(*size);
    }
    let is_input = |name: &str| plan.buffers.iter().any(|b| *b.name == *name && matches!(b.place, Place::Input { .. }));
    let inputs = Inputs {
        batch: given.examples.len(),
        lengths: lengths.iter().map(|(name, sizes)| (*name, sizes.as_slice())).collect(),
        sizes: given.built.iter().map(|(name, size)| (name.as_str(), *size)).collect(),
        buffers: flat
            .iter()
            .filter(|(name, _)| is_input(name))
            .map(|(name, numbers)| (*name, bdl_execute::Data::F64(numbers)))
            .collect(),
        ..Default::default()
    };
    call(&inputs)
}

/// Outputs by `numbers`, updates from the store.
fn found(
    program: &Program,
    given: &Given,
    numbers: &dyn Fn(&str) -> Option<Vec<f64>>,
    store: &Store,
) -> Result<BTreeMap<String, Value>, String> {
    let mut found = BTreeMap::new();
    for (name, id) in &program.outputs {
        let numbers = numbers(name).ok_or(format!("no output `{name}`"))?;
        found.insert(name.to_string(), unpack(program, *id, given, &numbers));
    }
    for (target, _) in &program.updates {
        let name = program.get(*target).name.to_string();
        let buffer = store.get(&name).ok_or(format!("no buffer `{name}`"))?;
        let numbers: Vec<f64> = (0..buffer.len()).map(|at| buffer.number(at)).collect();
        found.insert(name, unpack(program, *target, given, &numbers));
    }
    Ok(found)
}

/// Compiles and runs; errors of the schedule are returned, anything else is a bug.
pub fn run(program: &Program, given: &Given) -> Result<BTreeMap<String, Value>, String> {
    run_on_threads(program, given, 2)
}

/// The same in f32.
pub fn run_in_f32(program: &Program, given: &Given) -> Result<BTreeMap<String, Value>, String> {
    run_in(bdl_schedule::Real::F32, program, given, 2)
}

pub fn run_on_threads(program: &Program, given: &Given, threads: usize) -> Result<BTreeMap<String, Value>, String> {
    run_in(bdl_schedule::Real::F64, program, given, threads)
}

pub fn run_in(
    real: bdl_schedule::Real,
    program: &Program,
    given: &Given,
    threads: usize,
) -> Result<BTreeMap<String, Value>, String> {
    let options = bdl_schedule::Options { real, target: bdl_schedule::Target::Processor };
    let plan = bdl_schedule::schedule(program, &options).map_err(|error| error.to_string())?;
    run_plan(plan, program, given, threads)
}

/// A plan of the program.
pub fn run_plan(
    plan: bdl_plan::Plan,
    program: &Program,
    given: &Given,
    threads: usize,
) -> Result<BTreeMap<String, Value>, String> {
    let code = bdl_cranelift::compile(&plan.kernels).map_err(|error| error.to_string())?;
    let plan = Arc::new(plan);
    let mut compiled = bdl_execute::Program::new(plan.clone(), code.kernels()).map_err(|error| error.to_string())?;
    let flat = packed_numbers(program, given)?;
    let mut store = stored(&plan, given, &flat)?;
    let executor = bdl_execute::Executor::new(threads);
    let outputs: BTreeMap<String, Vec<f64>> = with_inputs(&plan, given, &flat, |inputs| {
        let made = compiled.run(&executor, &mut store, inputs).map_err(|error| error.to_string())?;
        Ok(program.outputs.iter().filter_map(|(name, _)| Some((name.to_string(), made.numbers(name)?))).collect())
    })?;
    found(program, given, &|name| outputs.get(name).cloned(), &store)
}

/// The same as PTX in f32, every access checked, threads in an order that `order` shuffles. Where the environment says BDL_GPU (tests/gpu.sh),
/// on the first GPU instead.
pub fn run_ptx(program: &Program, given: &Given, order: u64) -> Result<BTreeMap<String, Value>, String> {
    if std::env::var_os("BDL_GPU").is_some() {
        let mut gpu = bdl_execute::cuda::Cuda::open(0).map_err(|error| error.to_string())?;
        return run_on(&mut gpu, program, given);
    }
    run_on(&mut bdl_ptx_machine::Machine::new(order), program, given)
}

/// Runs a test of this program once more, in a process that finds the driver of the tests where it looks for NVIDIA's: what runs as PTX goes through
/// cudarc and that driver. (Where libraries are looked for is settled when a process starts.)
pub fn through_the_driver(test: &str) {
    // On a GPU, everything goes through a driver anyway.
    if std::env::var_os("BDL_GPU").is_some() {
        return;
    }
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().unwrap();
    assert!(folder.join("libcuda.so").exists(), "no libcuda.so in {}", folder.display());
    let mut child = std::process::Command::new(&own);
    child.args([test, "--exact", "--nocapture"]).env("BDL_GPU", "1").env("LD_LIBRARY_PATH", folder);
    let done = child.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
}

fn run_on<D: Device>(device: &mut D, program: &Program, given: &Given) -> Result<BTreeMap<String, Value>, String> {
    let options = bdl_schedule::Options { real: bdl_schedule::Real::F32, target: bdl_schedule::Target::Gpu };
    let plan = bdl_schedule::schedule(program, &options).map_err(|error| error.to_string())?;
    let code =
        bdl_ptx::compile(&plan, bdl_ptx::Wanted::default(), &|_| Vec::new()).map_err(|error| error.to_string())?;
    let plan = Arc::new(plan);
    let flat = packed_numbers(program, given)?;
    let mut store = stored(&plan, given, &flat)?;
    let mut resident = Resident::default();
    let mut ready = DeviceProgram::new(device, plan.clone(), &code).map_err(|error| error.to_string())?;
    let outputs = with_inputs(&plan, given, &flat, |inputs| {
        let made = ready.run(device, &mut resident, &mut store, inputs).map_err(|error| error.to_string())?;
        resident.fetch(device, &mut store).map_err(|error| error.to_string())?;
        Ok(made)
    })?;
    found(program, given, &|name| outputs.numbers(name), &store)
}
