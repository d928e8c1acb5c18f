//! Every layer, loss and optimiser of the standard library against PyTorch's recorded values (tests/parity/layers.json), in f64 on
//! the interpreter and as machine code, in f32 as PTX on the machine of the tests: outputs, gradients by parameters and inputs, state after
//! the step, parameters after each of six steps.
//!
//! Tolerance: max|a - b| / max|b| <= 1e-8 a tensor; in f32 1e-4.

mod support;

use bdl_check::hir::{Axis, DataFacts, Field, Scalar, TensorType, Type};
use bdl_elaborate::{differentiable_entry, programs};
use bdl_equations::convolution::Convolutions;
use bdl_equations::interpret::{Value, World};
use bdl_equations::simplify::simplify;
use bdl_equations::{DType, Expr, IndexId, Origin, PieceBuilder, Program, Role, Sub, TensorId, batch, differentiate};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use support::{Given, Numbers, checked, close, machine, run, same_path};

const TOLERANCE: f64 = 1e-8;
const TOLERANCE_F32: f64 = 1e-4;

fn recorded() -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/layers.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(json: &Json) -> Numbers {
    let shape = json["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let values = json["values"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
    Numbers { shape, values }
}

fn table(json: &Json) -> BTreeMap<String, Numbers> {
    json.as_object().unwrap().iter().map(|(name, value)| (name.clone(), numbers(value))).collect()
}

/// sum(y * cotangent), as a node of a batched program.
fn add_loss(program: &mut Program, y: TensorId) -> TensorId {
    let shape = program.get(y).shape.clone();
    let cotangent =
        program.tensor("cotangent", DType::Real, shape.clone(), Role::Input { per_example: true, one_hot: false });
    let mut piece = PieceBuilder::new();
    let subs: Vec<IndexId> = shape.iter().map(|size| piece.bound("i", size.clone())).collect();
    let body = Expr::read(y, subs.iter().copied()) * Expr::read(cotangent, subs.into_iter().map(Sub::from));
    program.define("loss", DType::Real, piece.sum(body), Origin::default())
}

fn layer(case: &Json) -> Result<(), String> {
    let hir = checked("case.bdl", case["program"].as_str().unwrap(), &["M"], &[])?;
    let Some(asked) = hir.entries.first() else { return Err("no entry".into()) };
    let training = case["training"].as_bool().unwrap();
    let forward = differentiable_entry(&hir, asked, training).map_err(|d| format!("{}: {}", d.code, d.message))?;
    let mut program = batch(&forward);
    let (_, y) = program.outputs[0].clone();
    let loss = add_loss(&mut program, y);

    let mut inputs = table(&case["inputs"]);
    inputs.insert("cotangent".into(), numbers(&case["cotangent"]));
    let mut stored = table(&case["params"]);
    stored.extend(table(&case["states"]));
    let gradients = table(&case["gradients"]);

    let wanted: Vec<(TensorId, &Numbers)> = gradients
        .iter()
        .map(|(name, numbers)| {
            let same = |t: &&bdl_equations::Tensor| match t.role {
                Role::Input { .. } => *t.name == **name,
                Role::Param => same_path(&t.name, name),
                Role::State | Role::Computed => false,
            };
            let found = program.tensors.iter().find(same).ok_or(format!("no tensor for `{name}`"))?;
            Ok((program.find(&found.name).unwrap(), numbers))
        })
        .collect::<Result<_, String>>()?;
    let wrt: Vec<TensorId> = wanted.iter().map(|(id, _)| *id).collect();
    let found = differentiate(&mut program, loss, &wrt).map_err(|e| e.to_string())?;

    let given = Given::new(&program, &inputs, &stored)?;
    let mut world = given.world();
    let values = run(&program, &world);
    close("output", &values.tensor(y).unwrap().flat(), &numbers(&case["output"]).values, TOLERANCE)?;
    for ((wrt, wanted), gradient) in wanted.iter().zip(&found) {
        let name = &program.get(*wrt).name;
        close(&format!("gradient by {name}"), &values.tensor(*gradient).unwrap().flat(), &wanted.values, TOLERANCE)?;
        let slope = central_difference(&program, &mut world, *wrt, loss);
        let along = dot(&values.tensor(*gradient).unwrap().flat(), &direction(wanted.values.len()));
        close(&format!("central difference by {name}"), &[slope], &[along], 1e-6)?;
    }
    compiled(&program, &given, y, &wanted, &found, case)?;
    for (name, wanted) in table(&case["after"]) {
        let found = values.updates().iter().find(|(n, _)| same_path(n, &name));
        let (_, found) = found.ok_or(format!("`{name}` is not updated"))?;
        close(&format!("{name} after the step"), &found.flat(), &wanted.values, TOLERANCE)?;
    }
    Ok(())
}

/// The same as machine code and as PTX: output, gradients, state after the step.
fn compiled(
    program: &Program,
    given: &Given,
    y: TensorId,
    wanted: &[(TensorId, &Numbers)],
    gradients: &[TensorId],
    case: &Json,
) -> Result<(), String> {
    let mut program = program.clone();
    program.outputs = vec![("y".into(), y)];
    for ((wrt, _), gradient) in wanted.iter().zip(gradients) {
        program.outputs.push((format!("grad.{}", program.get(*wrt).name).into(), *gradient));
    }
    simplify(&mut program);
    let mut given = given.clone();
    given.values.retain(|name, _| program.find(name).is_some());
    let on_device = machine::run_ptx(&program, &given, 5)?;
    for (how, found, tolerance) in
        [("compiled", machine::run(&program, &given)?, TOLERANCE), ("PTX's", on_device, TOLERANCE_F32)]
    {
        close(&format!("{how} output"), &found["y"].flat(), &numbers(&case["output"]).values, tolerance)?;
        for ((_, wanted), (name, _)) in wanted.iter().zip(&program.outputs[1..]) {
            close(&format!("{how} {name}"), &found[&**name].flat(), &wanted.values, tolerance)?;
        }
        for (name, wanted) in table(&case["after"]) {
            let after = found.iter().find(|(n, _)| same_path(n, &name)).ok_or(format!("`{name}` is not updated"))?;
            close(&format!("{how} {name}"), &after.1.flat(), &wanted.values, tolerance)?;
        }
    }
    Ok(())
}

/// A direction that treats no two elements alike.
fn direction(len: usize) -> Vec<f64> {
    (0..len).map(|i| (1.0 + i as f64).sin()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The slope of the loss along `direction` at the values of one tensor.
fn central_difference(program: &Program, world: &mut World, wrt: TensorId, loss: TensorId) -> f64 {
    const STEP: f64 = 1e-6;
    let name = program.get(wrt).name.clone();
    let kept = world.get(&name).unwrap().clone();
    let mut at = |sign: f64| {
        let mut moved = kept.clone();
        let count = moved.flat().len();
        let by = direction(count);
        let numbers = moved.examples_mut().iter_mut().flat_map(|array| &mut array.data);
        numbers.zip(by).for_each(|(number, d)| *number += sign * STEP * d);
        world.set(&name, moved);
        run(program, world).tensor(loss).unwrap().scalar().unwrap()
    };
    let slope = (at(1.0) - at(-1.0)) / (2.0 * STEP);
    world.set(&name, kept);
    slope
}

fn failures(cases: &[Json], test: impl Fn(&Json) -> Result<(), String>) {
    let only = std::env::var("CASE").ok();
    let wanted = |case: &&Json| only.as_deref().is_none_or(|only| case["name"].as_str().unwrap().contains(only));
    let mut failed = Vec::new();
    for case in cases.iter().filter(wanted) {
        if let Err(why) = test(case) {
            failed.push(format!("## {}\n{why}", case["name"].as_str().unwrap()));
        }
    }
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn both_hold_through_a_driver() {
    machine::through_the_driver("layers_and_losses_equal_pytorch");
    machine::through_the_driver("optimisers_equal_pytorch");
}

#[test]
fn layers_and_losses_equal_pytorch() {
    let json = recorded();
    failures(json["layers"].as_array().unwrap(), layer);
}

fn facts() -> DataFacts {
    let axis = |size: i64| Axis { size: size.into(), names: None, origin: None };
    let ty = |size| Type::Tensor(TensorType { scalar: Scalar::F32, optional: false, shape: vec![axis(size)] });
    let field = |name: &str, size| Field { name: name.into(), ty: ty(size), one_hot: false };
    DataFacts { name: "D".into(), rows: Some(24), fields: vec![field("x", 3), field("y", 2)], texts: Vec::new() }
}

#[test]
fn optimisers_equal_pytorch() {
    let json = recorded();
    let start = table(&json["start"]);
    failures(json["optimisers"].as_array().unwrap(), |case| {
        let hir = checked("case.bdl", case["program"].as_str().unwrap(), &[], &[facts()])?;
        let Some(train) = hir.trains.first() else { return Err("no train block".into()) };
        let made = programs(&hir, train, Convolutions::AsWritten).map_err(|d| format!("{}: {}", d.code, d.message))?;
        let Some(step) = made.step() else { return Err("no step".into()) };
        let mut stored = start.clone();
        // Moments start at 0.
        for tensor in step.tensors.iter().filter(|t| t.role == Role::State) {
            let shape: Vec<usize> = tensor.shape.iter().map(|s| s.as_const().unwrap() as usize).collect();
            let values = vec![0.0; shape.iter().product()];
            stored.insert(tensor.name.to_string(), Numbers { shape, values });
        }
        for (number, after) in case["after"].as_array().unwrap().iter().enumerate() {
            let mut given = Given::new(step, &table(&json["batches"][number]), &stored)?;
            let (steps, epochs) = (case["steps"].as_f64().unwrap(), case["epochs"].as_f64().unwrap());
            let epoch = (number as f64 / (steps / epochs)).floor();
            let scalar = |v| Value::Shared(bdl_equations::interpret::Array::scalar(v));
            for (name, value) in [("step", number as f64), ("steps", steps), ("epoch", epoch), ("epochs", epochs)] {
                if step.find(name).is_some() {
                    given.values.insert(name.to_string(), scalar(value));
                }
            }
            let values = run(step, &given.world());
            let (compiled, on_device) = (machine::run(step, &given)?, machine::run_ptx(step, &given, number as u64)?);
            for (name, value) in values.updates() {
                close(&format!("compiled {name}"), &compiled[&**name].flat(), &value.flat(), TOLERANCE)?;
                close(&format!("PTX's {name}"), &on_device[&**name].flat(), &value.flat(), TOLERANCE_F32)?;
                let Some(old) = stored.iter_mut().find(|(path, _)| same_path(path, name)) else {
                    return Err(format!("`{name}` is updated but unknown"));
                };
                old.1.values = value.flat();
            }
            for (name, wanted) in table(after) {
                let (_, found) = stored.iter().find(|(path, _)| same_path(path, &name)).unwrap();
                close(&format!("{name} after step {number}"), &found.values, &wanted.values, TOLERANCE)?;
            }
        }
        Ok(())
    });
}
