//! The same random kernels as PTX on the machine of the tests: the interpreter's bits, in any order of threads.

use crate::common::{Generator, Mix, Random, Style, arrays};
use bdl_execute::device::Device;
use bdl_execute::reference::{Array, Order, run_kernel_in};
use bdl_plan::{Argument, Kernel, LoopMode, Share};
use bdl_ptx_machine::Machine;

const SIZES: [i64; 7] = [0, 1, 7, 31, 33, 64, 67];

fn bytes(array: &mut Array) -> &mut [u8] {
    let width = match array {
        Array::F64(_) | Array::I64(_) => 8,
        Array::F32(_) | Array::I32(_) => 4,
        Array::BF16(_) => 2,
        Array::Bool(_) => 1,
    };
    let len = array.len() * width;
    // SAFETY: the elements of the array.
    unsafe { std::slice::from_raw_parts_mut(array.pointer(), len) }
}

/// Runs a kernel's PTX; `None` if a GPU has no such function.
fn on_machine(kernel: &Kernel, arrays: &[Array], sizes: &[i64], grid: i64, order: u64) -> Option<Vec<Array>> {
    let made = match bdl_ptx::kernels(kernel) {
        Ok(made) => made,
        Err(error) if error.what.contains("is not there on a GPU") => return None,
        Err(error) => panic!("{error}\n{kernel}"),
    };
    let mut machine = Machine::new(order);
    let text = made.iter().map(|function| &*function.text).collect::<String>();
    let shown = |error: bdl_execute::Error| -> ! { panic!("{error}\n{kernel}\n{text}") };
    let mut found = arrays.to_vec();
    let addresses: Vec<u64> = found
        .iter_mut()
        .map(|array| {
            let bytes = bytes(array);
            let address = machine.allocate(bytes.len()).unwrap();
            machine.write(address, bytes).unwrap();
            address
        })
        .collect();
    let named = |name: &str| kernel.sizes.iter().position(|n| &**n == name).map(|i| sizes[i]);
    for function in &made {
        let loaded = machine.load(&[function]).unwrap_or_else(|e| shown(e))[0];
        let Share::Points { each, along, parts, bytes } = &function.share else { panic!("a kernel runs points") };
        let points = grid * along.eval(&named).unwrap();
        let groups = (points as u32).div_ceil(*each);
        let partials = machine.allocate((groups * parts * bytes).max(1) as usize).unwrap();
        let counters = machine.allocate((4 * groups).max(4) as usize).unwrap();
        machine.clear(counters, (4 * groups).max(4) as usize).unwrap();
        let parameters: Vec<u64> = function
            .arguments
            .iter()
            .map(|argument| match argument {
                Argument::Buffer(i) => addresses[*i as usize],
                Argument::Size(name) => named(name).unwrap() as u64,
                Argument::Grid => points as u64,
                Argument::Partials => partials,
                Argument::Counters => counters,
                other => panic!("{other:?} of a kernel"),
            })
            .collect();
        let blocks = groups * parts;
        if blocks > 0 {
            machine.launch(loaded, [blocks, 1], function.threads, &parameters).unwrap_or_else(|e| shown(e));
        }
    }
    for (array, address) in found.iter_mut().zip(addresses) {
        machine.read(address, bytes(array)).unwrap();
    }
    Some(found)
}

/// Runs a kernel's PTX against the interpreter, to the bit; `false` if a GPU has no such function.
pub fn check(kernel: &Kernel, arrays: &[Array], sizes: &[i64], order: u64) -> bool {
    let named = |name: &str| kernel.sizes.iter().position(|n| &**n == name).map(|i| sizes[i]);
    let grid = kernel.grid.eval(&named).unwrap();
    let Some(found) = on_machine(kernel, arrays, sizes, grid, order) else { return false };
    let mut expected = arrays.to_vec();
    let buffers: Vec<(usize, i64)> = (0..arrays.len()).map(|i| (i, 0)).collect();
    let gpu = Order::Gpu(bdl_ptx::accumulators(kernel));
    run_kernel_in(gpu, kernel, &mut expected, &buffers, &named, 0, grid).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        if found.same_bits(expected) {
            continue;
        }
        let differ = |at: &usize| {
            let (x, y) = (found.at(*at), expected.at(*at));
            x.to_bits() != y.to_bits() && !(x.is_nan() && y.is_nan())
        };
        let at = (0..found.len()).find(differ).unwrap_or(0);
        let (x, y) = (found.at(at), expected.at(at));
        let text =
            bdl_ptx::kernels(kernel).map(|made| made.iter().map(|f| &*f.text).collect::<String>()).unwrap_or_default();
        panic!(
            "`{}` at sizes {sizes:?}: {} [{at}] is {x} and should be {y}\n{kernel}\n{text}",
            kernel.name, kernel.buffers[i].name,
        );
    }
    true
}

fn run(style: Style, seeds: std::ops::Range<u64>, at_least: usize) {
    let mut ran = 0;
    for seed in seeds {
        let (kernel, stores) = Generator::new(seed, style).finish();
        for n in SIZES {
            let mut random = Random::new(seed * 1000 + n as u64);
            let arrays = arrays(&mut random, &kernel, stores, n);
            ran += usize::from(check(&kernel, &arrays, &[n, 3, 2], seed * 31 + n as u64));
        }
    }
    assert!(ran >= at_least, "only {ran} runs");
}

#[test]
fn element_wise() {
    run(Style { mix: Mix::Plain, calls: true, grid: LoopMode::Lanes }, 1000..1060, 200);
}

#[test]
fn element_wise_of_all_types() {
    run(Style { mix: Mix::All, calls: false, grid: LoopMode::Lanes }, 2000..2060, 200);
}

#[test]
fn rows_with_lanes_inside() {
    run(Style { mix: Mix::Plain, calls: true, grid: LoopMode::Serial }, 3000..3060, 200);
}

#[test]
fn rows_of_all_types() {
    run(Style { mix: Mix::All, calls: false, grid: LoopMode::Serial }, 4000..4060, 200);
}
