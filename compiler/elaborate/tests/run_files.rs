//! Programs with their values: every file of tests/run/, on the interpreter of equations, as machine code, and as PTX on the machine
//! of the tests.
//!
//! The header of a file says what to run and what to expect, arrays as nested lists:
//!
//! ```text
//! // entry: M                              the model or function
//! // per example: T V                       sizes that differ from example to example
//! // training: true                        the value of `training` (false unless said)
//! // given: dense_1.w = [[1], [2]]         parameters and state, by path without the model's name
//! // example: x = [[1, 2], [3, 4]]; n = 2  one line an example of the batch
//! // expect: y = [5]                       one line an example, in order
//! // update: batchnorm_1.mu = [0.5]        state after the step
//! // precision: f32                        also as machine code in f32, and all of them to the tolerance (f64 unless said)
//! // tolerance: 1e-12                      of max|a - b| / max|b| (1e-12 unless said)
//! // only: interpreter                     not as machine code (the header line says why)
//! // fails: unguarded-read                 instead of values: the code of the first message
//! ```
//!
//! The result of a model that gives a record is expected by field; otherwise it is `y`. Lists of unequal lengths make examples of
//! unequal sizes.

mod support;

use bdl_elaborate::entry;
use bdl_equations::interpret::Value;
use bdl_equations::{Program, batch};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use support::{Given, Numbers, checked, close, machine, run, same_path};

#[derive(Default)]
struct Header {
    entry: String,
    training: bool,
    interpreted: bool,
    in_f32: bool,
    ragged: Vec<String>,
    given: BTreeMap<String, Numbers>,
    examples: Vec<BTreeMap<String, Numbers>>,
    expected: Vec<BTreeMap<String, Numbers>>,
    updates: BTreeMap<String, Numbers>,
    tolerance: Option<f64>,
    fails: Option<String>,
}

fn header(text: &str) -> Result<Header, String> {
    let mut header = Header { entry: "M".into(), ..Header::default() };
    for line in text.lines() {
        let Some((key, value)) = line.strip_prefix("// ").and_then(|l| l.split_once(": ")) else { continue };
        let value = value.trim();
        match key {
            "entry" => header.entry = value.into(),
            "only" => header.interpreted = value == "interpreter",
            "per example" => header.ragged = value.split(' ').map(String::from).collect(),
            "precision" => header.in_f32 = value == "f32",
            "training" => header.training = value == "true",
            "given" => header.given.extend(assignments(value)?),
            "example" => header.examples.push(assignments(value)?),
            "expect" => header.expected.push(assignments(value)?),
            "update" => header.updates.extend(assignments(value)?),
            "tolerance" => header.tolerance = value.parse().ok(),
            "fails" => header.fails = Some(value.into()),
            other => return Err(format!("unknown header `{other}`")),
        }
    }
    Ok(header)
}

/// `a = [1, 2]; b = 3`
fn assignments(text: &str) -> Result<BTreeMap<String, Numbers>, String> {
    let mut found = BTreeMap::new();
    for part in text.split(';').filter(|p| !p.trim().is_empty()) {
        let (name, value) = part.split_once('=').ok_or(format!("`{part}` is not `name = value`"))?;
        let json: Json = serde_json::from_str(value.trim()).map_err(|e| format!("`{value}`: {e}"))?;
        let mut numbers = Numbers { shape: Vec::new(), values: Vec::new() };
        collect(&json, 0, &mut numbers)?;
        found.insert(name.trim().to_string(), numbers);
    }
    Ok(found)
}

fn collect(json: &Json, depth: usize, into: &mut Numbers) -> Result<(), String> {
    match json {
        Json::Array(items) => {
            if into.shape.len() == depth {
                into.shape.push(items.len());
            }
            if into.shape[depth] != items.len() {
                return Err("a list whose rows differ in length".into());
            }
            items.iter().try_for_each(|item| collect(item, depth + 1, into))
        }
        Json::Number(number) => {
            into.values.push(number.as_f64().unwrap_or(f64::NAN));
            Ok(())
        }
        Json::Bool(truth) => {
            into.values.push(f64::from(*truth));
            Ok(())
        }
        Json::Null | Json::String(_) | Json::Object(_) => Err("neither number nor list".into()),
    }
}

fn test(name: &str, text: &str) -> Result<(), String> {
    let header = header(text)?;
    let mut hir = match (checked(name, text, &[&header.entry], &[]), &header.fails) {
        (Ok(hir), None) => hir,
        // What lengths are whose is decided below.
        (Ok(hir), Some(_)) => hir,
        (Err(messages), Some(code)) if messages.contains(&format!("[{code}]")) => return Ok(()),
        (Err(messages), _) => return Err(messages),
    };
    hir.sizes.retain(|(size, _)| header.ragged.iter().all(|name| **name != **size));
    hir.sizes.extend(header.ragged.iter().map(|name| (name.as_str().into(), bdl_check::hir::SizeKind::PerExample)));
    let Some(asked) = hir.entries.first() else { return Err("no entry".into()) };
    let made = match (entry(&hir, asked, header.training), &header.fails) {
        (Ok(_), Some(code)) => return Err(format!("it should fail with `{code}`")),
        (Err(message), Some(code)) if message.code == code => return Ok(()),
        (made, _) => made.map_err(|d| format!("{}: {}", d.code, d.message))?,
    };
    let program = batch(&made);

    let given = Given::each(&program, &header.examples, &header.given)?;
    let values = run(&program, &given.world());
    let compiled = if header.interpreted { None } else { Some(machine::run(&program, &given)?) };
    let in_f32 = if header.in_f32 { Some(machine::run_in_f32(&program, &given)?) } else { None };
    let on_device = if header.interpreted { None } else { Some(on_device(&program, &given)?) };
    let tolerance = header.tolerance.unwrap_or(1e-12);
    // In f32.
    let device_tolerance = if header.in_f32 { tolerance } else { tolerance.max(1e-5) };
    for (number, expected) in header.expected.iter().enumerate() {
        for (name, wanted) in expected {
            let found = values.output(name).ok_or(format!("there is no output `{name}`"))?;
            let example = found.examples().get(number).or(found.examples().first());
            let example = example.ok_or(format!("`{name}` has no examples"))?;
            close(&format!("{name} of example {number}"), &example.data, &wanted.values, tolerance)?;
            if let Some(compiled) = &compiled {
                let arrays = compiled[name].examples();
                let found = arrays.get(number).or(arrays.first()).ok_or("no examples")?;
                let tolerance = tolerance.max(1e-12);
                close(&format!("compiled {name} of example {number}"), &found.data, &wanted.values, tolerance)?;
            }
            if let Some(in_f32) = &in_f32 {
                let arrays = in_f32[name].examples();
                let found = arrays.get(number).or(arrays.first()).ok_or("no examples")?;
                close(&format!("{name} of example {number} in f32"), &found.data, &wanted.values, tolerance)?;
            }
            if let Some(on_device) = &on_device {
                let arrays = on_device[name].examples();
                let found = arrays.get(number).or(arrays.first()).ok_or("no examples")?;
                close(&format!("PTX's {name} of example {number}"), &found.data, &wanted.values, device_tolerance)?;
            }
            if example.shape != wanted.shape && !wanted.values.is_empty() {
                return Err(format!("{name} has shape {:?}, not {:?}", example.shape, wanted.shape));
            }
        }
    }
    for (name, wanted) in &header.updates {
        let found = values.updates().iter().find(|(n, _)| same_path(n, name));
        let (_, found) = found.ok_or(format!("`{name}` is not updated"))?;
        close(name, &found.flat(), &wanted.values, tolerance)?;
        if let Some(compiled) = &compiled {
            let found = compiled.iter().find(|(n, _)| same_path(n, name)).ok_or(format!("`{name}` is not updated"))?;
            close(&format!("compiled {name}"), &found.1.flat(), &wanted.values, tolerance.max(1e-12))?;
        }
        if let Some(on_device) = &on_device {
            let found = on_device.iter().find(|(n, _)| same_path(n, name)).ok_or(format!("`{name}` is not updated"))?;
            close(&format!("PTX's {name}"), &found.1.flat(), &wanted.values, device_tolerance)?;
        }
    }
    Ok(())
}

/// Twice, in different orders of threads: to the bit the same.
fn on_device(program: &Program, given: &Given) -> Result<BTreeMap<String, Value>, String> {
    let (first, second) = (machine::run_ptx(program, given, 0)?, machine::run_ptx(program, given, 7)?);
    for (name, value) in &first {
        let bits = |value: &Value| value.flat().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        if bits(value) != bits(&second[name]) {
            return Err(format!("PTX's {name} depends on the order of threads"));
        }
    }
    Ok(first)
}

#[test]
fn programs_have_their_values_through_a_driver() {
    machine::through_the_driver("programs_have_their_values");
}

#[test]
fn programs_have_their_values() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/run");
    let only = std::env::var("CASE").ok();
    let mut failed = Vec::new();
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    names.sort();
    names.retain(|path| path.extension().is_some_and(|e| e == "bdl"));
    assert!(!names.is_empty());
    for path in &names {
        let name = path.file_name().unwrap().to_string_lossy();
        if only.as_deref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        match std::panic::catch_unwind(|| test(&name, &text)) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => failed.push(format!("## {name}\n{why}")),
            Err(_) => failed.push(format!("## {name}\npanicked, see above")),
        }
    }
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), names.len(), failed.join("\n"));
}
