//! The executor on a GPU's driver that stands in for NVIDIA's: unmodified cudarc finds it as `libcuda.so`, loads PTX, launches, copies.

mod support;

use bdl_execute::cuda::Cuda;
use bdl_execute::device::{Device, DeviceProgram, Resident};
use bdl_execute::reference::{RunInputs, run_plan};
use bdl_execute::{Data, Error, Inputs, Store};
use bdl_plan::{Argument, DeviceKernel, Share, parse_plan};
use std::collections::HashMap;
use std::sync::Arc;
use support::with_driver;

/// A dense layer with noise, its gradient and an update, over steps of a loop.
const STEP: &str = r#"
plan step
size B batch
size s step
slot 80 * B
slot 80 * B
slot 4
slot 400
buffer x: f32[B, 5] len 5 * B; input per_example
buffer w: f32[5, 20] len 100; param
buffer h: f32[B, 20] len 20 * B; slot 0
buffer e: f32[B, 20] len 20 * B; slot 1
buffer loss: f32[] len 1; slot 2
buffer g: f32[5, 20] len 100; slot 3
output loss = loss
output h = h

kernel relu(h: f32 update, e: f32 read) sizes(B) indices(r, c) {
  for r in B {
    for c in 0..20 lanes {
      %0: f32 = load h[r * 20 + c]
      %1: f32 = load e[r * 20 + c]
      %2: f32 = add %0, %1
      %3: f32 = sigmoid %2
      store h[r * 20 + c] = %3
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

kernel update(w: f32 update, g: f32 read) indices(i) {
  for i in 100 lanes {
    %0: f32 = load w[i]
    %1: f32 = load g[i]
    %2: f32 = const 0.001
    %3: f32 = mul %1, %2
    %4: f32 = sub %0, %3
    store w[i] = %4
  }
}

scan s in 2 {
  draw e = normal site 1 steps s per_example 20;
  contract h = x * w {
    m b: B (out 20, a 5, b 0)
    n f: 20 (out 1, a 0, b 1)
    k c: 5 (out 0, a 1, b 20)
    then relu(h, e)
  }
  contract g = x * h {
    m c: 5 (out 20, a 1, b 0)
    n f: 20 (out 1, a 0, b 1)
    k b: B (out 0, a 5, b 20)
  }
  run update(w, g)
}
run mean(h, loss)
"#;

fn numbers(len: usize) -> Vec<f64> {
    (0..len).map(|i| ((i * 37 % 101) as f64 / 50.0) - 1.0).collect()
}

/// Runs the step twice on the driver; what the interpreter of plans says must come out.
fn run_steps(cuda: &mut Cuda) -> Result<(), Error> {
    let plan = Arc::new(parse_plan(STEP).unwrap_or_else(|e| panic!("{e}")));
    bdl_plan::verify(&plan).unwrap_or_else(|e| panic!("{e}"));
    let code = bdl_ptx::compile(&plan, bdl_ptx::Wanted::default(), &|_| Vec::new()).unwrap_or_else(|e| panic!("{e}"));
    let mut program = DeviceProgram::new(cuda, plan.clone(), &code)?;
    let (mut resident, mut store) = (Resident::default(), Store::new());
    store.insert("w", bdl_plan::DType::F32, vec![5, 20]).unwrap();
    store.set("w", &numbers(100)).unwrap();
    for (step, batch) in [(0, 7), (1, 90)] {
        let x = numbers(5 * batch);
        let inputs = Inputs { batch, step, buffers: vec![("x", Data::F64(&x))], ..Inputs::default() };
        resident.fetch(cuda, &mut store)?;
        let reference = RunInputs {
            batch: batch as i64,
            step,
            buffers: HashMap::from([("x".to_string(), x.clone()), ("w".to_string(), store.get("w").unwrap().to_f64())]),
            ..RunInputs::default()
        };
        let expected = run_plan(&plan, &reference).unwrap();
        let made = program.run(cuda, &mut resident, &mut store, &inputs)?;
        resident.fetch(cuda, &mut store)?;
        let found = [
            ("h", made.numbers("h").unwrap()),
            ("loss", made.numbers("loss").unwrap()),
            ("w", store.get("w").unwrap().to_f64()),
        ];
        for (name, found) in found {
            for (i, x) in found.iter().enumerate() {
                let y = expected[name].at(i);
                assert!((x - y).abs() <= 1e-5 * (1.0 + y.abs()), "{name}[{i}] is {x}, not {y}");
            }
        }
    }
    program.release(cuda);
    resident.release(cuda);
    Ok(())
}

#[test]
fn a_plan_runs_through_the_driver() {
    with_driver("a_plan_runs_through_the_driver", &[], || {
        let mut cuda = Cuda::open(0).unwrap();
        assert_eq!(cuda.capability, (8, 0));
        let before = cuda.memory().unwrap();
        run_steps(&mut cuda).unwrap();
        assert_eq!(cuda.memory().unwrap(), before, "all memory was given back");
    });
}

#[test]
fn a_machine_without_a_gpu() {
    with_driver("a_machine_without_a_gpu", &[("BDL_STAND_IN_DEVICES", "0")], || {
        let error = Cuda::open(0).err().unwrap().to_string();
        assert!(error.contains("no CUDA-capable device"), "{error}");
    });
}

#[test]
fn a_device_that_is_not_there() {
    with_driver("a_device_that_is_not_there", &[], || {
        let error = Cuda::open(3).err().unwrap().to_string();
        assert!(error.contains("no GPU number 3; there are 1"), "{error}");
    });
}

#[test]
fn a_driver_that_is_too_old() {
    with_driver("a_driver_that_is_too_old", &[("BDL_STAND_IN_VERSION", "11040")], || {
        let error = Cuda::open(0).err().unwrap().to_string();
        assert!(error.contains("knows CUDA 11.4, and bdl needs 12.0"), "{error}");
    });
}

#[test]
fn memory_that_is_too_small() {
    with_driver("memory_that_is_too_small", &[("BDL_STAND_IN_MEMORY", "3000")], || {
        let error = run_steps(&mut Cuda::open(0).unwrap()).unwrap_err();
        assert!(matches!(error, Error::Memory { .. }), "{error}");
    });
}

#[test]
fn a_device_that_is_lost_in_the_middle() {
    with_driver("a_device_that_is_lost_in_the_middle", &[("BDL_STAND_IN_LOST_AFTER", "5")], || {
        let error = run_steps(&mut Cuda::open(0).unwrap()).unwrap_err().to_string();
        assert!(error.contains("unspecified launch failure"), "{error}");
    });
}

#[test]
fn code_that_the_driver_refuses() {
    with_driver("code_that_the_driver_refuses", &[], || {
        let mut cuda = Cuda::open(0).unwrap();
        let text = ".version 6.0\n.target sm_50\n.address_size 64\n\n.visible .entry k(\n    .param .u64 n\n)\n.maxntid 32, 1, 1\n{\n    nonsense;\n}\n";
        let kernel = DeviceKernel {
            entry: "k".into(),
            text: text.into(),
            arguments: vec![Argument::Grid],
            threads: 32,
            shared: 0,
            shared_unit: 0,
            shared_units: 0,
            share: Share::Points { each: 32, along: bdl_dims::Dim::one(), parts: 1, bytes: 0 },
        };
        let error = cuda.load(&[&kernel]).unwrap_err().to_string();
        assert!(error.contains("line 10") && error.contains("nonsense"), "{error}");
    });
}

#[test]
fn without_a_driver_the_message_says_so() {
    // On a machine that has one, there is a device instead.
    if let Err(error) = Cuda::open(0) {
        let error = error.to_string();
        assert!(error.contains("there is no NVIDIA driver") || error.contains("NVIDIA driver"), "{error}");
    }
}
