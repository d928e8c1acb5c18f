//! `bdl grad FILE[:TRAIN]`: outputs, loss and every parameter's gradient for given weights and inputs, so that any other framework can
//! be compared.
//!
//! The inputs are an npz file with an array a field, the batch first; a field whose examples differ in length is packed end to end, with its
//! lengths beside it (`dna` and `dna.len`).
//!
//! The file written holds each prediction by its name, `loss` (the mean over the batch, with penalties), and `grad.<path>` for each
//! parameter; of a block with steps, `critic.loss` and `critic.grad.<path>` for each step and the parameters that it trains. Predictions are
//! those of evaluation (`training` is false); loss and gradients those of a training step.

use super::{Context, print};
use crate::cli::target;
use crate::data::facts::Length;
use crate::data::laws;
use crate::error::Failure;
use crate::npz;
use crate::pipeline;
use crate::run::{Engine, machine, prepare, stored};
use bdl_check::hir::{SizeLaw, TensorType, Type};
use bdl_equations::Program;
use bdl_execute::{Data, Executor, Inputs, Store};
use bdl_plan::{DType, Place, SizeKind};
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
    let (prepared, gradients) = pipeline::beside_gradients(&checked, train, || prepare(&checked, train, None, 0))?;
    let (weights, _) = checkpoint::load(weights)?;
    let given = npz::read(inputs)
        .map_err(|what| Failure::user("inputs", what).help("numpy.savez(FILE, field=array, ...), the batch first"))?;
    let sizes: Vec<&str> = prepared.lengths.iter().map(|length| &*length.name).collect();
    let batch = batch_size(&given, &sizes)?;
    let lengths = lengths_of(&given, &sizes, &checked.hir.laws)?;
    for field in &train.inputs {
        let Type::Tensor(ty) = &field.ty else { continue };
        let Some(array) = given.iter().find(|array| *array.name == *field.name) else {
            let known: Vec<&str> = given.iter().map(|array| array.name.as_str()).collect();
            return Err(Failure::user("inputs", format!("the inputs lack `{}`", field.name))
                .help(format!("the file holds {}", known.join(", "))));
        };
        let fixed: Option<Vec<usize>> =
            ty.shape.iter().map(|axis| axis.size.as_const().map(|size| size as usize)).collect();
        if let Some(shape) = fixed
            && (array.shape.first() != Some(&batch) || array.shape[1..] != shape)
        {
            return Err(Failure::user(
                "inputs",
                format!(
                    "`{}` is {:?} in the inputs; the program wants {shape:?} for each of {batch} examples",
                    field.name, array.shape
                ),
            ));
        }
        in_range(&field.name, ty, array, batch, &lengths)?;
    }

    let executor = Executor::new(context.threads());
    let mut engine = context.engine()?;
    engine.expect_batch(train.batch);
    let names = prepared.programs.objectives.iter().map(|objective| &*objective.name);
    let gradients = names.zip(&gradients);
    let programs: Vec<(&str, &Program)> = std::iter::once(("", &prepared.programs.predict)).chain(gradients).collect();
    let mut wanted: Vec<(String, Vec<usize>)> = Vec::new();
    for (_, program) in &programs {
        let read = machine::arrays(&stored::empty_store(program, context.real)?, |_| true);
        wanted.extend(read.into_iter().map(|array| (array.name, array.shape)));
    }
    wanted.sort();
    wanted.dedup();
    let mut result = Vec::new();
    for (objective, program) in programs {
        let mut store = Store::new();
        machine::initialise(&prepared.programs.init, context.real, &executor, &mut store, 0)?;
        stored::put_wanted(&mut store, &weights, &wanted)?;
        engine.forget();
        let mut found = outputs(program, context.real, &mut engine, &mut store, &given, batch)?;
        found.retain(|array| array.name != "loss_sum" && array.name != "per_sum");
        if !objective.is_empty() {
            found.iter_mut().for_each(|array| array.name = format!("{objective}.{}", array.name));
        }
        result.extend(found);
    }
    checkpoint::save(out, &result, &Position::default())?;
    if context.global.json {
        let mut done = json!({"event": "done", "out": out.display().to_string()});
        for array in result.iter().filter(|array| array.name == "loss" || array.name.ends_with(".loss")) {
            done[&array.name] = json!(array.values.to_f64().first());
        }
        return print(&format!("{done}\n"));
    }
    Ok(0)
}

/// The number of examples: entries of the array of lengths where examples differ in length (`dna.len`, with `dna` packed end to end), the
/// first axis otherwise.
fn batch_size(given: &[Array], lengths: &[&str]) -> Result<usize, Failure> {
    let of_lengths = given.iter().find(|array| lengths.contains(&array.name.as_str()));
    match of_lengths.or(given.first()).and_then(|array| array.shape.first()) {
        Some(batch) if *batch > 0 => Ok(*batch),
        Some(_) | None => Err(Failure::user("inputs", "the inputs hold no examples")),
    }
}

/// The sizes of each example, from the arrays that hold them; an error where an example breaks a law.
fn lengths_of(given: &[Array], names: &[&str], laws: &[SizeLaw]) -> Result<Vec<Length>, Failure> {
    let of = |name: &&str| given.iter().find(|array| array.name == **name);
    let lengths: Vec<Length> = names
        .iter()
        .filter_map(|name| {
            let of_row = of(name)?.values.to_f64().into_iter().map(|length| length as u32).collect();
            Some(Length { name: (*name).into(), of_row: Arc::new(of_row), axes: Vec::new() })
        })
        .collect();
    match laws::broken(laws, &lengths).first() {
        Some(broken) => {
            let what = broken.what("example", broken.example + 1);
            Err(Failure::user("law-violated", format!("{}: {what}", broken.law.message)))
        }
        None => Ok(lengths),
    }
}

/// Categories, letters and indices must name something, also below a size that differs from example to example.
fn in_range(name: &str, ty: &TensorType, array: &Array, batch: usize, lengths: &[Length]) -> Result<(), Failure> {
    let Some(below) = ty.scalar.below() else { return Ok(()) };
    let values = array.values.to_f64();
    let mut rest = values.as_slice();
    for example in 0..batch {
        let size = |name: &str| {
            let own = lengths.iter().find(|length| &*length.name == name)?;
            own.of_row.get(example).map(|size| i64::from(*size))
        };
        let count: Option<i64> = ty.shape.iter().map(|axis| axis.size.eval(&size)).product();
        // An array of another shape is said to be so where it is taken.
        let (Some(below), Some(count)) = (below.eval(&size), count) else { return Ok(()) };
        let (own, others) = rest.split_at((count.max(0) as usize).min(rest.len()));
        if let Some(value) = own.iter().find(|value| !(0.0..below as f64).contains(*value) || value.fract() != 0.0) {
            let what =
                format!("`{name}` holds {value} in example {}; it must be a whole number below {below}", example + 1);
            return Err(Failure::user("inputs", what));
        }
        rest = others;
    }
    Ok(())
}

fn outputs(
    program: &Program,
    real: Real,
    engine: &mut Engine,
    store: &mut Store,
    given: &[Array],
    batch: usize,
) -> Result<Vec<Array>, Failure> {
    let mut runnable = engine.compile(program, real)?;
    let plan = runnable.plan().clone();
    let mut lengths = Vec::new();
    for size in &plan.sizes {
        if size.kind != SizeKind::PerExample {
            continue;
        }
        let Some(array) = given.iter().find(|array| *array.name == *size.name) else {
            return Err(Failure::user("inputs", format!("the inputs lack `{}`: the size of each example", size.name)));
        };
        lengths
            .push((&*size.name, array.values.to_f64().into_iter().map(|length| length as i64).collect::<Vec<i64>>()));
    }
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
    let lengths = lengths.iter().map(|(name, lengths)| (*name, lengths.as_slice())).collect();
    let inputs = Inputs { batch, lengths, buffers, ..Inputs::default() };
    let made = runnable.run(engine, store, &inputs).map_err(|error| Failure::from(machine::memory_error(error)))?;
    let mut arrays = Vec::new();
    for (name, id) in &program.outputs {
        let shape: Option<Vec<usize>> = program.tensors[id.0 as usize]
            .shape
            .iter()
            .map(|size| {
                size.eval(&|name| (name == bdl_equations::BATCH).then_some(batch as i64)).map(|size| size as usize)
            })
            .collect();
        let values = made.numbers(name).unwrap_or_default();
        let values = match real.stored(program.get(*id).dtype) {
            DType::F64 => Values::F64(values),
            DType::F32 | DType::BF16 | DType::I32 | DType::I64 | DType::Bool => {
                Values::F32(values.into_iter().map(|value| value as f32).collect())
            }
        };
        let shape = shape.unwrap_or_else(|| vec![values.len()]);
        arrays.push(Array { name: name.to_string(), shape, values });
    }
    runnable.release(engine);
    Ok(arrays)
}
