//! `bdl grad FILE[:TRAIN]`: outputs, loss and every parameter's gradient for given weights and inputs, so that any other framework can
//! be compared.
//!
//! The file written holds each prediction by its name, `loss` (the mean over the batch, with penalties), and `grad.<path>` for each
//! parameter. Predictions are those of evaluation (`training` is false); loss and gradients those of a training step.

use super::{Context, print};
use crate::cli::target;
use crate::error::Failure;
use crate::npz;
use crate::pipeline;
use crate::run::{machine, prepare, stored};
use bdl_check::hir::{Scalar, Type};
use bdl_equations::Program;
use bdl_execute::{Data, Executor, Inputs, Store};
use bdl_plan::{Place, SizeKind};
use bdl_schedule::Real;
use bdl_train::{Array, Position, Values, checkpoint};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

pub fn run(context: &Context, written: &str, weights: &Path, inputs: &Path, out: &Path) -> Result<u8, Failure> {
    let (file, name) = target(written);
    let checked = pipeline::check(&file, &context.request(name.clone()))?;
    checked.require_sound(context.coloured)?;
    let train = checked.train(name.as_deref())?;
    let prepared = prepare(&checked, train, None)?;
    let (weights, _) = checkpoint::load(weights)?;
    let given = npz::read(inputs).map_err(|what| Failure::user("inputs", what).help("numpy.savez(FILE, field=array, ...), the batch first"))?;
    let batch = batch_size(&given)?;
    for field in &train.inputs {
        let Type::Tensor(ty) = &field.ty else { continue };
        let Some(array) = given.iter().find(|array| *array.name == *field.name) else {
            let known: Vec<&str> = given.iter().map(|array| array.name.as_str()).collect();
            return Err(Failure::user("inputs", format!("the inputs lack `{}`", field.name)).help(format!("the file holds {}", known.join(", "))));
        };
        let fixed: Option<Vec<usize>> = ty.shape.iter().map(|axis| axis.size.as_const().map(|size| size as usize)).collect();
        if let Some(shape) = fixed
            && array.shape[1..] != shape
        {
            return Err(Failure::user(
                "inputs",
                format!("`{}` is {:?} in the inputs; the program wants {shape:?} for each example", field.name, &array.shape[1..]),
            ));
        }
        in_range(&field.name, &ty.scalar, array)?;
    }

    let executor = Executor::new(context.threads());
    let mut result = Vec::new();
    for program in [&prepared.programs.predict, &prepared.programs.gradient] {
        let mut store = Store::new();
        machine::initialise(&prepared.programs.init, context.real, &executor, &mut store, 0)?;
        let wanted: Vec<(String, Vec<usize>)> =
            machine::arrays(&store, |_| true).into_iter().map(|array| (array.name, array.shape)).collect();
        stored::put_wanted(&mut store, &weights, &wanted)?;
        result.extend(outputs(program, context.real, &executor, &mut store, &given, batch)?);
    }
    result.retain(|array| array.name != "loss_sum" && array.name != "per_sum");
    checkpoint::save(out, &result, &Position::default())?;
    if context.global.json {
        let loss = result.iter().find(|array| array.name == "loss").map(|array| array.values.to_f64());
        return print(&format!("{}\n", json!({"event": "done", "out": out.display().to_string(), "loss": loss.and_then(|l| l.first().copied())})));
    }
    Ok(0)
}

fn batch_size(given: &[Array]) -> Result<usize, Failure> {
    let sizes: Vec<Option<usize>> = given.iter().map(|array| array.shape.first().copied()).collect();
    match sizes.first() {
        Some(Some(batch)) if sizes.iter().all(|size| *size == Some(*batch)) && *batch > 0 => Ok(*batch),
        _ => Err(Failure::user("inputs", "the inputs differ in their first axis, which is the batch")),
    }
}

/// Categories, letters and indices must name something.
fn in_range(name: &str, scalar: &Scalar, array: &Array) -> Result<(), Failure> {
    let below = match scalar {
        Scalar::Category(classes, _) => classes.as_const(),
        Scalar::Index(below) => below.as_const(),
        Scalar::Letter(_, letters) => Some(*letters),
        Scalar::F32 | Scalar::F64 | Scalar::BF16 | Scalar::I32 | Scalar::Bool | Scalar::Logit | Scalar::Prob | Scalar::Count => None,
    };
    let Some(below) = below else { return Ok(()) };
    match array.values.to_f64().iter().find(|value| !(0.0..below as f64).contains(*value)) {
        Some(value) => Err(Failure::user("inputs", format!("`{name}` holds {value}; it must be from 0 to {}", below - 1))),
        None => Ok(()),
    }
}

fn outputs(
    program: &Program,
    real: Real,
    executor: &Executor,
    store: &mut Store,
    given: &[Array],
    batch: usize,
) -> Result<Vec<Array>, Failure> {
    let compiled = pipeline::compile(program, real)?;
    let plan = Arc::new(compiled.plan);
    if plan.sizes.iter().any(|size| size.kind == SizeKind::PerExample) {
        return Err(Failure::user("not-built-yet", "`bdl grad` of examples that differ in length is not built yet")
            .help("give the program inputs of one length"));
    }
    let mut runnable = bdl_execute::Program::new(plan.clone(), compiled.code.kernels()).map_err(|error| Failure::bug(error.to_string()))?;
    let zero = [0.0f64];
    let one = [1.0f64];
    let mut buffers = Vec::new();
    for buffer in &plan.buffers {
        let Place::Input { .. } = buffer.place else { continue };
        let data = match given.iter().find(|array| *array.name == *buffer.name).map(|array| &array.values) {
            Some(Values::F32(values)) => Data::F32(values),
            Some(Values::F64(values)) => Data::F64(values),
            Some(Values::I32(values)) => Data::I32(values),
            None => match &*buffer.name {
                "step" | "epoch" => Data::F64(&zero),
                "steps" | "epochs" => Data::F64(&one),
                other => return Err(Failure::user("inputs", format!("the inputs lack `{other}`"))),
            },
        };
        buffers.push((&*buffer.name, data));
    }
    let inputs = Inputs { batch, buffers, ..Inputs::default() };
    let made = runnable.run(executor, store, &inputs).map_err(|error| Failure::from(machine::memory_error(error)))?;
    let mut arrays = Vec::new();
    for (name, id) in &program.outputs {
        let shape: Option<Vec<usize>> = program.tensors[id.0 as usize]
            .shape
            .iter()
            .map(|size| size.eval(&|name| (name == bdl_equations::BATCH).then_some(batch as i64)).map(|size| size as usize))
            .collect();
        let values = made.numbers(name).unwrap_or_default();
        let values = match real {
            Real::F32 => Values::F32(values.into_iter().map(|value| value as f32).collect()),
            Real::F64 => Values::F64(values),
        };
        let shape = shape.unwrap_or_else(|| vec![values.len()]);
        arrays.push(Array { name: name.to_string(), shape, values });
    }
    Ok(arrays)
}
