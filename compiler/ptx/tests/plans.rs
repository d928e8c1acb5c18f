//! Every file of tests/ptx/: run on the machine of the tests, compared with the interpreter of plans, and assembled by `ptxas` where it is.
//!
//! ```text
//! // batch: 5; T = 4 1 7 30 2; keys < 7     a batch: its size, per-example sizes, the bound of an integer input
//! // scans: 2                               so many scans are one function each (0 where it is not said)
//! // warpgroups: 2                          so many contractions are for four warps together on sm_90a (0 likewise)
//! ```
//!
//! Where `NAME.ptx` stands beside, the text must be equal to it (`UPDATE=1` writes it anew).

use bdl_execute::device::{DeviceProgram, Resident};
use bdl_execute::reference::{RunInputs, run_plan};
use bdl_execute::{Data, Inputs, Store};
use bdl_plan::{
    Argument, DType, DeviceCode, DeviceKernel, OF_EPILOGUE, Place, Plan, Products, SizeKind, parse_plan, verify,
};
use bdl_ptx::{Generation, Wanted};
use bdl_ptx_machine::Machine;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

#[derive(Default)]
struct Batch {
    size: usize,
    lengths: Vec<(String, Vec<i64>)>,
    below: Vec<(String, u64)>,
}

fn batches(text: &str) -> Vec<Batch> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("// batch: "));
    let batch = |line: &str| {
        let mut parts = line.split(';');
        let mut batch = Batch { size: parts.next().unwrap().trim().parse().unwrap(), ..Batch::default() };
        for part in parts {
            if let Some((name, lengths)) = part.split_once('=') {
                let lengths = lengths.split_whitespace().map(|n| n.parse().unwrap()).collect();
                batch.lengths.push((name.trim().into(), lengths));
            } else if let Some((name, below)) = part.split_once('<') {
                batch.below.push((name.trim().into(), below.trim().parse().unwrap()));
            }
        }
        batch
    };
    lines.map(batch).collect()
}

/// Deterministic numbers in [-1, 1).
fn numbers(len: usize, salt: u64) -> Vec<f64> {
    (0..len as u64)
        .map(|i| {
            let x = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd134_2543_de82_ef95);
            let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (x >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        })
        .collect()
}

/// The length of a buffer in a batch.
fn len_of(plan: &Plan, batch: &Batch, at: usize) -> usize {
    let of = |name: &str| plan.sizes.iter().find(|size| *size.name == *name);
    let size = |name: &str| match &of(name)?.kind {
        SizeKind::Batch => Some(batch.size as i64),
        SizeKind::Total(dim) => (0..batch.size)
            .map(|b| dim.eval(&|name| batch.lengths.iter().find(|(n, _)| n == name).map(|(_, l)| l[b])))
            .sum::<Option<i64>>(),
        SizeKind::Built | SizeKind::PerExample | SizeKind::Step | SizeKind::Running => None,
    };
    plan.buffers[at].len.eval(&size).unwrap() as usize
}

/// The oracle rounds factors as tensor cores do, so every number is near. In a plan of several contractions a factor may lie on the other side of a
/// rounding, for sums have another order: a result is then off by one factor's unit among many products.
fn run(name: &str, text: &str, plan: &Arc<Plan>, products: Products, generation: Generation) {
    let wanted = Wanted { products, generation, batch: None };
    let code = bdl_ptx::compile(plan, wanted, &|_| Vec::new()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let scans = text.lines().find_map(|line| line.strip_prefix("// scans: "));
    let scans = scans.map_or(0, |count| count.parse().unwrap());
    assert_eq!(code.recurrences.len(), scans, "{name}: scans that are one function");
    let mut machine = Machine::new(5);
    let mut program = DeviceProgram::new(&mut machine, plan.clone(), &code).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (mut resident, mut store) = (Resident::default(), Store::new());
    let several = bdl_plan::contractions(plan).len() > 1;
    let batches = batches(text);
    assert!(!batches.is_empty(), "{name} says no batch");
    for (round, batch) in batches.iter().enumerate() {
        let mut given: HashMap<String, Vec<f64>> = HashMap::new();
        for (at, buffer) in plan.buffers.iter().enumerate() {
            let all = numbers(len_of(plan, batch, at), at as u64 + 10);
            match buffer.place {
                Place::Input { .. } => {
                    let below = batch.below.iter().find(|(n, _)| **n == *buffer.name).map_or(3, |(_, below)| *below);
                    let whole = matches!(buffer.dtype, DType::I32 | DType::I64 | DType::Bool);
                    let number = |x: f64| if whole { ((x + 1.0) / 2.0 * below as f64).floor() } else { x };
                    given.insert(buffer.name.to_string(), all.into_iter().map(number).collect());
                }
                Place::Param | Place::State if store.get(&buffer.name).is_none() => {
                    store.insert(&buffer.name, buffer.dtype, vec![all.len() as i64]).unwrap();
                    store.set(&buffer.name, &all).unwrap();
                }
                Place::Param | Place::State | Place::Slot(_) | Place::Blocks | Place::Literal(_) | Place::Table(_) => {}
            }
        }
        let inputs = Inputs {
            batch: batch.size,
            lengths: batch.lengths.iter().map(|(n, l)| (n.as_str(), l.as_slice())).collect(),
            buffers: given.iter().map(|(n, v)| (n.as_str(), Data::F64(v))).collect(),
            seed: 5,
            step: round as u64,
            ..Inputs::default()
        };
        let mut reference = RunInputs {
            batch: batch.size as i64,
            lengths: batch.lengths.iter().cloned().collect(),
            buffers: given.clone(),
            seed: 5,
            step: round as u64,
            products,
            ..RunInputs::default()
        };
        reference.buffers.extend(store.iter().map(|e| (e.name.to_string(), e.buffer.to_f64())));
        let expected = run_plan(plan, &reference).unwrap_or_else(|e| panic!("{name}: {e}"));
        let need = program.need(&inputs).unwrap();
        let made = program
            .run(&mut machine, &mut resident, &mut store, &inputs)
            .unwrap_or_else(|e| panic!("{name}, batch {round}: {e}"));
        // Later batches find room that an earlier, larger one took.
        assert!(round > 0 || program.bytes() <= need.own, "{name}: {} bytes, {} predicted", program.bytes(), need.own);
        resident.fetch(&mut machine, &mut store).unwrap();
        let outputs = plan.outputs.iter().map(|(name, _)| (name.to_string(), made.numbers(name).unwrap()));
        let stored = store.iter().map(|e| (e.name.to_string(), e.buffer.to_f64())).collect::<Vec<_>>();
        for (output, found) in outputs.chain(stored) {
            assert_eq!(found.len(), expected[&output].len(), "{name}: {output}");
            let largest = (0..found.len()).map(|i| expected[&output].at(i).abs()).fold(0.0, f64::max);
            for (i, x) in found.iter().enumerate() {
                let y = expected[&output].at(i);
                let tolerance = match products {
                    Products::Tf32 | Products::Bf16 if several => 1e-4 * (1.0 + largest),
                    Products::Exact | Products::Tf32 | Products::Bf16 => 2e-5 * (1.0 + y.abs()),
                };
                let near = (x - y).abs() <= tolerance || x.is_nan() && y.is_nan();
                assert!(near, "{name}: {output}[{i}] is {x}, not {y}; batch {round}");
            }
        }
    }
}

fn of_products(products: Products) -> Wanted {
    Wanted { products, ..Wanted::default() }
}

/// `ptxas`, where the environment or `target/ptxas` (see tests/assemble_ptx) has it.
fn ptxas() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("PTXAS") {
        return Some(path.into());
    }
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ptxas/lib");
    let python = std::fs::read_dir(venv).ok()?.next()?.ok()?.path();
    let path = python.join("site-packages/nvidia/cuda_nvcc/bin/ptxas");
    path.exists().then_some(path)
}

fn assemble(name: &str, text: &str, generations: &[&str]) {
    let Some(ptxas) = ptxas() else {
        eprintln!("!! SKIPPED: no ptxas, so {name} was not assembled (tests/assemble_ptx installs it)");
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("{name}.ptx"));
    std::fs::write(&file, text).unwrap();
    for arch in generations {
        let mut command = Command::new(&ptxas);
        command.args(["-v", &format!("-arch={arch}")]).arg(&file).arg("-o").arg(folder.join(format!("{name}.cubin")));
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{name} for {arch}:\n{said}");
        let spills = said.lines().filter(|line| line.contains("spill") && !line.contains("0 bytes spill stores"));
        assert_eq!(spills.count(), 0, "{name} for {arch}:\n{said}");
    }
}

#[test]
fn plans_run_as_ptx() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ptx");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "plan"));
    files.sort();
    assert!(files.len() >= 5);
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let body: String =
            text.lines().filter(|line| !line.starts_with("// ")).map(|line| format!("{line}\n")).collect();
        let plan = parse_plan(&body).unwrap_or_else(|e| panic!("{name}: {e}"));
        verify(&plan).unwrap_or_else(|e| panic!("{name}: {e}"));
        let plan = Arc::new(plan);
        run(&name, &text, &plan, Products::Exact, Generation::Any);
        let note = |origin: &bdl_plan::Origin| vec![origin.what.to_string()];
        let of_warpgroups = text.lines().find_map(|line| line.strip_prefix("// warpgroups: "));
        let of_warpgroups = of_warpgroups.map_or(0, |count| count.parse().unwrap());
        for products in [Products::Tf32, Products::Bf16] {
            run(&name, &text, &plan, products, Generation::Any);
            let code = bdl_ptx::compile(&plan, of_products(products), &note).unwrap();
            assemble(&name, &bdl_ptx::module(&code), &["sm_80", "sm_90", "sm_120"]);
            let wanted = Wanted { generation: Generation::Hopper, ..of_products(products) };
            let code = bdl_ptx::compile(&plan, wanted, &note).unwrap();
            let count = code.contractions.iter().flatten().filter(|kernel| kernel.text.contains("wgmma")).count();
            assert_eq!(count, of_warpgroups, "{name}: contractions of warpgroups");
            if count > 0 {
                run(&name, &text, &plan, products, Generation::Hopper);
                assemble(&name, &bdl_ptx::module(&code), &["sm_90a"]);
            }
        }
        let code = bdl_ptx::compile(&plan, Wanted::default(), &note).unwrap();
        let module = bdl_ptx::module(&code);
        assemble(&name, &module, &["sm_75", "sm_80", "sm_90", "sm_120"]);
        let golden = file.with_extension("ptx");
        if std::env::var_os("UPDATE").is_some() && golden.exists() {
            std::fs::write(&golden, &module).unwrap();
        }
        if let Ok(expected) = std::fs::read_to_string(&golden) {
            assert_eq!(module, expected, "{name}.ptx has changed: read the difference, then UPDATE=1");
        }
    }
}

/// The text of a plan of tests/ptx, without its batches.
fn text_of(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/ptx/{name}.plan"));
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().filter(|line| !line.starts_with("// ")).map(|line| format!("{line}\n")).collect()
}

/// The plan in which a thread takes several points.
fn neighbours() -> Arc<Plan> {
    Arc::new(parse_plan(&text_of("neighbours")).unwrap())
}

/// What a plan gives for a batch of numbers of ours, and what it leaves in the store, to the bit.
fn found(plan: &Arc<Plan>, code: &DeviceCode, size: usize) -> Result<Vec<Vec<u64>>, String> {
    let mut machine = Machine::new(1);
    let mut program = DeviceProgram::new(&mut machine, plan.clone(), code).unwrap();
    let (mut store, batch) = (Store::new(), Batch { size, ..Batch::default() });
    let mut given: Vec<(String, Vec<f64>)> = Vec::new();
    for (at, buffer) in plan.buffers.iter().enumerate() {
        let all = numbers(len_of(plan, &batch, at), at as u64);
        match buffer.place {
            Place::Param | Place::State => {
                store.insert(&buffer.name, buffer.dtype, vec![all.len() as i64]).unwrap();
                store.set(&buffer.name, &all).unwrap();
            }
            Place::Input { .. } => {
                let whole = |x: f64| if buffer.dtype == DType::I32 { (2.0 * x).floor().abs() } else { x };
                given.push((buffer.name.to_string(), all.into_iter().map(whole).collect()));
            }
            Place::Slot(_) | Place::Blocks | Place::Literal(_) | Place::Table(_) => {}
        }
    }
    let buffers = given.iter().map(|(name, numbers)| (name.as_str(), Data::F64(numbers))).collect();
    let inputs = Inputs { batch: size, buffers, ..Inputs::default() };
    let mut resident = Resident::default();
    let made = program.run(&mut machine, &mut resident, &mut store, &inputs).map_err(|e| e.to_string())?;
    resident.fetch(&mut machine, &mut store).unwrap();
    let outputs = plan.outputs.iter().map(|(name, _)| made.numbers(name).unwrap());
    let all: Vec<Vec<f64>> = outputs.chain(store.iter().map(|entry| entry.buffer.to_f64())).collect();
    Ok(all.into_iter().map(|numbers| numbers.iter().map(|x| x.to_bits()).collect()).collect())
}

/// Does a line lead to where points are taken one by one?
fn asks(line: &&str) -> bool {
    line.contains("bra $one_by_one")
}

/// A kernel's text with other lines in the place of those that ask whether its points can be taken together.
fn with_lines(kernel: &mut DeviceKernel, line: impl Fn(&str) -> String) {
    assert!(kernel.text.lines().any(|line| asks(&line)));
    let change = |old: &str| if asks(&old) { line(old) } else { format!("{old}\n") };
    kernel.text = kernel.text.lines().map(change).collect::<String>().into();
}

/// How many elements a thread takes, by kernel; and what a thread would do to a place that is not aligned, if the text did not ask first.
#[test]
fn neighbours_are_taken_together_where_memory_allows() {
    let plan = neighbours();
    let mut code = bdl_ptx::compile(&plan, Wanted::default(), &|_| Vec::new()).unwrap();
    let taken =
        |text: &str| [4, 2].into_iter().find(|n| text.contains(&format!("one thread for {n} neighbours"))).unwrap_or(1);
    let counts: Vec<(&str, usize)> = plan
        .kernels
        .iter()
        .zip(&code.kernels)
        .map(|(kernel, pieces)| (&*kernel.name, taken(&pieces[0].text)))
        .collect();
    let expected = [
        ("flat", 4),
        ("types", 4),
        ("types_back", 4),
        ("pool", 2),
        ("columns", 4),
        ("moving", 4),
        ("uneven", 4),
        ("near", 4),
        ("odd", 4),
        ("planes", 4),
        ("steps", 4),
        ("once", 1),
    ];
    assert_eq!(counts, expected);
    // What is moved by one instruction: a place that is one element off stays alone.
    let count = |kernel: usize, what: &str| code.kernels[kernel][0].text.matches(what).count();
    assert_eq!((count(1, "ld.global.v4.f32"), count(1, "st.global.v2.f64"), count(1, "st.global.v4.u8")), (4, 2, 1));
    assert_eq!((count(2, "ld.global.v4.u16"), count(2, "ld.global.v4.b32"), count(3, "ld.global.v2.f32")), (1, 1, 3));
    assert_eq!((count(6, "ld.global.v4.f32"), count(6, "ld.global.f32"), count(6, "st.global.v4.f32")), (1, 6, 1));
    // Loops whose steps are the same for all.
    assert_eq!((count(7, "ld.global.v4.f32"), count(7, "ld.global.f32"), count(7, "fma.rn.f32")), (3, 3, 5));
    // Rows of 43 and planes of 36: neighbours of one row or of two.
    assert_eq!((count(8, "ld.global.v4.f32"), count(8, "ld.global.f32"), count(8, "st.global.v4.f32")), (1, 11, 1));
    assert_eq!((count(9, "ld.global.v4.f32"), count(9, "ld.global.f32"), count(9, "st.global.v4.f32")), (1, 3, 1));
    // Without the test at the head.
    for (kernel, what) in [(0, "4 bytes at 12276 of memory that has 12276"), (5, "is not aligned")] {
        let whole = code.kernels[kernel][0].text.clone();
        with_lines(&mut code.kernels[kernel][0], |_| String::new());
        let fault = found(&plan, &code, 3).err().unwrap_or_else(|| panic!("kernel {kernel} runs"));
        assert!(fault.contains(what), "{fault}");
        code.kernels[kernel][0].text = whole;
    }
}

/// Whichever way a thread takes.
#[test]
fn neighbours_have_the_bits_of_single_points() {
    let plan = neighbours();
    let code = bdl_ptx::compile(&plan, Wanted::default(), &|_| Vec::new()).unwrap();
    let mut one_by_one = code.clone();
    // The last has a single point.
    let (_, wide) = one_by_one.kernels.split_last_mut().unwrap();
    for kernel in wide.iter_mut().flatten() {
        with_lines(kernel, |line| format!("{}\n", &line[line.find("bra").unwrap()..]));
    }
    for size in [1, 3, 4] {
        let (together, alone) = (found(&plan, &code, size).unwrap(), found(&plan, &one_by_one, size).unwrap());
        for (i, (name, _)) in plan.outputs.iter().enumerate() {
            assert!(!together[i].is_empty());
            assert_eq!(together[i], alone[i], "{name} of {size} examples");
        }
    }
}

/// The plan with each epilogue as a launch of its own.
fn apart(text: &str) -> String {
    let mut after = None;
    let mut lines = String::new();
    for line in text.lines() {
        match line.strip_prefix("  then ") {
            Some(launch) => after = Some(launch),
            None => lines.push_str(&format!("{line}\n")),
        }
        if let (true, Some(launch)) = (line == "}", after) {
            lines.push_str(&format!("run {launch}\n"));
            after = None;
        }
    }
    lines
}

/// Which contractions run what follows them, and that it gives the bits that two launches give.
#[test]
fn epilogues_run_in_their_contractions() {
    let text = text_of("epilogue");
    let together = Arc::new(parse_plan(&text).unwrap());
    let two = Arc::new(parse_plan(&apart(&text)).unwrap());
    assert_eq!(bdl_plan::contractions(&two).iter().filter(|(c, _)| c.epilogue.is_some()).count(), 0);
    for products in [Products::Exact, Products::Tf32, Products::Bf16] {
        let code = bdl_ptx::compile(&together, of_products(products), &|_| Vec::new()).unwrap();
        let of_two = bdl_ptx::compile(&two, of_products(products), &|_| Vec::new()).unwrap();
        let is_inside = |kernel: &DeviceKernel| {
            kernel.arguments.iter().any(|argument| matches!(argument, Argument::Buffer(i) if *i >= OF_EPILOGUE))
        };
        let name = |(c, _): &(&bdl_plan::Contraction, _)| together.buffers[c.out.buffer.0 as usize].name.to_string();
        let all = bdl_plan::contractions(&together);
        let alone: Vec<String> = all
            .iter()
            .zip(&code.contractions)
            .filter(|(_, code)| !code.as_ref().is_some_and(is_inside))
            .map(|(c, _)| name(c))
            .collect();
        assert_eq!(alone, ["shifted", "norm"]);
        // What a contraction runs has no function of its own.
        for (kernel, pieces) in together.kernels.iter().zip(&code.kernels) {
            assert_eq!(pieces.is_empty(), !["from_the_left", "normed"].contains(&&*kernel.name), "{}", kernel.name);
        }
        for size in [1, 3, 5] {
            let (found, expected) = (found(&together, &code, size).unwrap(), found(&two, &of_two, size).unwrap());
            assert_eq!(found.len(), expected.len());
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let name = together.outputs.get(i).map_or("of the store", |(name, _)| &**name);
                assert_eq!(found, expected, "{name} of {size} examples, {products:?}");
            }
        }
        // A result that nobody else reads is not stored, one that is an output is.
        let is_stored = |out: &str| {
            let at = all.iter().position(|c| name(c) == out).unwrap();
            let body =
                code.contractions[at].as_ref().unwrap().text.split_once("// the tile to shared memory").unwrap().1;
            body.contains(", %out;")
        };
        assert_eq!(["h", "p", "heads", "both"].map(is_stored), [false, true, false, false], "{products:?}");
    }
}

/// Without the barrier behind the tile in shared memory, and with elements of a row that is not there.
#[test]
fn faults_of_epilogues_are_found() {
    let plan = Arc::new(parse_plan(&text_of("epilogue")).unwrap());
    let fault = |change: &dyn Fn(&str) -> String| {
        let mut code = bdl_ptx::compile(&plan, Wanted::default(), &|_| Vec::new()).unwrap();
        let text = code.contractions[0].as_ref().unwrap().text.to_string();
        let changed = change(&text);
        assert_ne!(text, changed);
        code.contractions[0].as_mut().unwrap().text = changed.into();
        found(&plan, &code, 1).expect_err("a fault")
    };
    let no_barrier = fault(&|text| {
        let (before, behind) = text.split_once("// the tile to shared memory").unwrap();
        format!("{before}{}", behind.replacen("bar.sync 0;", "", 1))
    });
    assert!(no_barrier.contains("no barrier lies between") || no_barrier.contains("nobody wrote"), "{no_barrier}");
    let no_end = fault(&|text| {
        let there = text.lines().find(|line| line.contains("bra $no_elements")).unwrap();
        text.replacen(there, "", 1)
    });
    assert!(no_end.contains("of memory that has"), "{no_end}");
}

fn for_hopper(plan: &Plan, products: Products) -> DeviceCode {
    bdl_ptx::compile(plan, Wanted { generation: Generation::Hopper, ..of_products(products) }, &|_| Vec::new()).unwrap()
}

/// Results of one example alone are those in a batch, to the bit.
#[test]
fn warpgroups_give_an_example_the_same_bits_in_every_batch() {
    let plan = Arc::new(parse_plan(&text_of("warpgroups")).unwrap());
    for products in [Products::Tf32, Products::Bf16] {
        let code = for_hopper(&plan, products);
        let (alone, together) = (found(&plan, &code, 1).unwrap(), found(&plan, &code, 3).unwrap());
        for name in ["h", "z", "s"] {
            let own = plan.outputs.iter().position(|(output, _)| **output == *name).unwrap();
            assert!(!alone[own].is_empty() && alone[own] == together[own][..alone[own].len()], "{name}, {products:?}");
        }
    }
}

/// In kernels of warpgroups: without what tells tensor cores of shared memory, the barrier behind it, the wait before a stage is written again, the end of
/// the sum, and with the first load one element further.
#[test]
fn faults_of_warpgroups_are_found() {
    let plan = Arc::new(parse_plan(&text_of("warpgroups")).unwrap());
    let fault = |change: &dyn Fn(&str) -> String| {
        let mut code = for_hopper(&plan, Products::Tf32);
        let kernel = code.contractions[0].as_mut().unwrap();
        let (text, changed) = (kernel.text.to_string(), change(&kernel.text));
        assert_ne!(text, changed);
        kernel.text = changed.into();
        found(&plan, &code, 1).expect_err("a fault")
    };
    // In the loop.
    let without = |line: &'static str| {
        move |text: &str| {
            let (before, behind) = text.split_once("// for pieces of the sum").unwrap();
            format!("{before}// for pieces of the sum{}", behind.replacen(line, "", 1))
        }
    };
    for (line, said) in [
        ("fence.proxy.async.shared::cta;", "no `fence.proxy.async` and barrier lie between"),
        ("bar.sync 0;", "barrier lie"),
        ("wgmma.wait_group.sync.aligned 1;", "was written before its warpgroup waited for it"),
        ("wgmma.wait_group.sync.aligned 0;", "has not waited for the product"),
        ("wgmma.commit_group.sync.aligned;", "has not waited for the product"),
    ] {
        let found = fault(&without(line));
        assert!(found.contains(said), "without {line}: {found}");
    }
    let first = fault(&|text| text.replacen("wgmma.fence.sync.aligned;", "", 1));
    assert!(first.contains("without a `wgmma.fence` before it"), "{first}");
    let further = fault(&|text| {
        let load = text.lines().find(|line| line.contains("ld.global.v4.f32 {%a_piece")).unwrap();
        text.replacen(load, &load.replace("+0]", "+4]"), 1)
    });
    assert!(further.contains("not aligned"), "{further}");
    // Places that a clip takes out lie before the first example.
    let unclipped = fault(&|text| {
        let lines = text.lines().map(|line| match line.trim_start().strip_prefix("setp.lt.and.u32 ") {
            Some(rest) if rest.contains(", 30, ") => {
                let (to, rest) = rest.split_once(',').unwrap();
                format!("setp.ge.or.u32 {to}, 0, 0, {};", rest.rsplit_once(' ').unwrap().1.trim_end_matches(';'))
            }
            Some(_) | None => line.to_string(),
        });
        lines.map(|line| line + "\n").collect()
    });
    assert!(unclipped.contains("lies in no allocation") || unclipped.contains("of memory that has"), "{unclipped}");
}

/// Over the whole range of f32, and where functions change their way: the bits of the CPU's functions.
#[test]
fn element_functions_give_the_cpus_bits() {
    let special = [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, f32::MAX, f32::MIN, 9.9e4];
    let spread = (0..3000u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9)));
    let near = (0..500).map(|i| (i - 250) as f32 * 0.08);
    // Where a sine needs many bits of 2/pi: 2^127 and its neighbours, and the f32 nearest to a multiple of pi/2.
    let far = (20..128).flat_map(|e| [1.0, 1.9, -1.3].map(|m| m * 2f32.powi(e))).chain([16_367_173.0 * 2f32.powi(72)]);
    let xs: Vec<f64> = special.into_iter().chain(spread).chain(near).chain(far).map(f64::from).collect();
    for function in bdl_kernels::vector_math::Function::ALL {
        let name = function.name();
        // lgamma and its derivatives are loops in f64, compared where layers use them; a plan has no rsqrt.
        if bdl_kernels::vector_math::formula::formula(function).is_none() || name == "rsqrt" {
            continue;
        }
        let text = format!(
            "plan p\nsize B batch\nslot 4 * B\nbuffer x: f32[B] len B; input per_example\nbuffer y: f32[B] len B; slot 0\n\
             output y = y\n\nkernel k(x: f32 read, y: f32 write) sizes(B) indices(i) {{\n  for i in B lanes {{\n    \
             %0: f32 = load x[i]\n    %1: f32 = {name} %0\n    store y[i] = %1\n  }}\n}}\n\nrun k(x, y)\n"
        );
        let plan = Arc::new(parse_plan(&text).unwrap_or_else(|e| panic!("{e}\n{text}")));
        let code = bdl_ptx::compile(&plan, Wanted::default(), &|_| Vec::new()).unwrap();
        let mut machine = Machine::new(3);
        let mut program = DeviceProgram::new(&mut machine, plan.clone(), &code).unwrap();
        let inputs = Inputs { batch: xs.len(), buffers: vec![("x", Data::F64(&xs))], ..Inputs::default() };
        let found = program.run(&mut machine, &mut Resident::default(), &mut Store::new(), &inputs).unwrap();
        let buffers = HashMap::from([("x".to_string(), xs.clone())]);
        let reference = RunInputs { batch: xs.len() as i64, buffers, ..RunInputs::default() };
        let expected = run_plan(&plan, &reference).unwrap();
        for (i, (x, found)) in xs.iter().zip(found.numbers("y").unwrap()).enumerate() {
            let y = expected["y"].at(i);
            let alike = found.to_bits() == y.to_bits() || found.is_nan() && y.is_nan();
            assert!(alike, "{name} of {x:e} is {y:e}, PTX gives {found:e}");
        }
    }
}
