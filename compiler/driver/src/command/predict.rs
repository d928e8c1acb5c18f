//! `bdl predict RUN INPUT`: predictions of a trained model for new rows.

use super::{Context, print};
use crate::data::facts::Shared;
use crate::data::{facts, laws};
use crate::error::Failure;
use crate::memory;
use crate::pipeline::{self, Checked, ReadData};
use crate::predictions;
use crate::run::fed::Fed;
use crate::run::prepared::{inputs_read, units};
use crate::run::stored::Stored;
use crate::run::{machine, outputs, stored};
use crate::show::unfinished;
use bdl_check::hir::Train;
use bdl_data::{DataError, DataSpec, Dataset, Fitted, Precision, Source, TableSource};
use bdl_equations::Program;
use bdl_execute::Store;
use bdl_schedule::Real;
use bdl_train::checkpoint::Checkpoint;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;
use std::thread;

/// Rows that are predicted at once.
const BATCH: usize = 256;
/// Rows from which on their tensors are worth large pages.
const MANY: usize = 16;

pub fn run(context: &Context, run: &Path, input: &Path, out: Option<&Path>) -> Result<u8, Failure> {
    let stored = stored::open(run)?;
    let context = &context.of_run(&stored);
    thread::scope(|scope| {
        // Whether the weights are intact is found out while the program is compiled.
        let weights = scope.spawn(|| stored::mapped_weights(&stored.folder));
        predict(context, &stored, input, out, || {
            weights.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

fn predict(
    context: &Context,
    stored: &Stored,
    input: &Path,
    out: Option<&Path>,
    weights: impl FnOnce() -> Result<Checkpoint, Failure>,
) -> Result<u8, Failure> {
    let mut shared = stored.shared.clone();
    let mut known = stored.fitted.clone();
    let opened = match opened(context, stored, input, &known, &shared) {
        Ok(opened) => opened,
        // The training rows had one length. A model without a weight for each position takes others too.
        Err(Opening::Length(fault)) => {
            free_lengths(&mut known, &mut shared);
            match opened(context, stored, input, &known, &shared) {
                Ok(opened) if !has_a_weight_for_each(&opened.checked, &stored.train, &shared)? => opened,
                Ok(_) | Err(Opening::Length(_) | Opening::Failure(_)) => return Err(fault.into()),
            }
        }
        Err(Opening::Failure(failure)) => return Err(*failure),
    };
    let Opened { checked, program, spec, dataset } = opened;
    let train = checked.train(Some(&stored.train))?.clone();
    let mut fitted = known;
    fitted.fields.retain(|field| !dataset.absent().contains(&field.name));
    let data = dataset.encode(&fitted)?;
    let lengths = facts::lengths_like(&shared, &dataset.facts());
    laws::require(&checked.hir.laws, &lengths, dataset.source_rows())?;

    let mut engine = context.engine()?;
    engine.expect_batch(train.batch);
    let ready = engine.compile(&program, stored.real)?;
    if dataset.rows() >= MANY {
        bdl_kernels::machine::large_pages();
    }
    let mut store = stored::empty_store(&program, stored.real)?;
    // A model without parameters has none to read.
    if !store.is_empty() {
        relevant(weights()?, &store, &train).into_store(&mut store)?;
    }
    let mut fed = Fed::of(ready, &data, &lengths)?;
    let names = machine::Outcomes { predictions: machine::predicted(&program), ..machine::Outcomes::default() };
    let rows: Vec<u32> = (0..dataset.rows() as u32).collect();
    // What the compiler needed makes room for tensors.
    let sources = checked.source.sources;
    drop((checked.source.modules, checked.hir, checked.data));
    memory::collect();
    let made = machine::evaluate(&mut fed, &mut engine, &mut store, &data, &rows, BATCH, stored.seed, &names)?;
    context.warn(&unfinished::warnings(fed.program.take_unfinished()), &sources);
    let made = outputs::predicted(&made, &units(&train, &spec, &stored.fitted)?);

    let text = if context.global.json {
        let lines = rows.iter().map(|row| {
            let mut line = json!({"row": row + 1});
            for prediction in &made.predictions {
                let at = *row as usize;
                let range = prediction.offsets[at]..prediction.offsets[at + 1];
                let is_known = |at: usize| prediction.known.as_ref().is_none_or(|known| known[at]);
                let values: Vec<Option<f64>> = range.map(|at| is_known(at).then_some(prediction.values[at])).collect();
                line[&prediction.name] = json!(values);
            }
            format!("{line}\n")
        });
        lines.collect()
    } else {
        let mut text = String::new();
        predictions::tsv(&mut text, &train.predictions, &made, &rows, None, true);
        text
    };
    match out {
        None => print(&text),
        Some(path) => {
            bdl_train::folder::write_whole(path, text.as_bytes())?;
            if context.global.json { print(&format!("{}\n", done(path, rows.len()))) } else { Ok(0) }
        }
    }
}

/// Why the new rows could not be opened.
enum Opening {
    /// A row has another length than those that the model was trained on.
    Length(Box<DataError>),
    Failure(Box<Failure>),
}

impl From<Failure> for Opening {
    fn from(failure: Failure) -> Opening {
        Opening::Failure(Box::new(failure))
    }
}

struct Opened {
    checked: Checked,
    /// The predictions alone.
    program: Program,
    spec: DataSpec,
    dataset: Dataset,
}

/// The program of a run and the new rows, as a run knows its data.
fn opened(
    context: &Context,
    stored: &Stored,
    input: &Path,
    known: &Fitted,
    shared: &Shared,
) -> Result<Opened, Opening> {
    let mut request = context.request(Some(stored.train.clone()));
    request.read_data = ReadData::Never;
    request.known = vec![facts::of_fitted(known, shared)];
    let checked = pipeline::check(&stored.program, &request)?;
    checked.require_sound(context.coloured)?;
    let train = checked.train(Some(&stored.train))?;
    let program = pipeline::predict(&checked, train)?;
    let mut needed = inputs_read(&program);
    // A size of the example is that of some field, also where nothing of the field itself is read.
    for size in program.sizes.iter().filter(|size| size.kind == bdl_equations::SizeKind::PerExample) {
        let of =
            shared.iter().find(|(name, _)| **name == *size.name).map(|(_, axes)| axes.as_slice()).unwrap_or_default();
        if let (Some((first, _)), false) = (of.first(), of.iter().any(|(field, _)| needed.contains(field))) {
            needed.push(first.clone());
        }
    }
    let needed: Vec<&str> = needed.iter().map(String::as_str).collect();

    let mut spec = checked.data(&train.data)?.spec.clone();
    spec.source = match &spec.source {
        Source::Table(table) => Source::Table(TableSource { path: input.to_path_buf(), ..table.clone() }),
        Source::Synthetic { .. } => {
            return Err(Opening::from(Failure::user(
                "data-source",
                format!("`{}` is synthetic: there is no kind of file to predict for", train.data),
            )));
        }
    };
    let precision = match stored.real {
        Real::F32 => Precision::F32,
        Real::F64 => Precision::F64,
    };
    match Dataset::open_like(&spec, known, Some(&needed), precision) {
        Ok(dataset) => Ok(Opened { checked, program, spec, dataset }),
        Err(fault) if fault.code == "length-differs" => Err(Opening::Length(fault)),
        Err(fault) => Err(Opening::from(Failure::from(fault))),
    }
}

/// Sequences may have any length from here on.
fn free_lengths(fitted: &mut Fitted, shared: &mut Shared) {
    for field in &mut fitted.fields {
        // Of several columns the axis is their number.
        if field.columns.len() == 1
            && let Some(size @ Some(_)) = field.dims.first_mut()
        {
            *size = None;
            shared.push((format!("{}.len", field.name), vec![(field.name.clone(), 0)]));
        }
    }
}

/// Does a parameter depend on one of these lengths?
fn has_a_weight_for_each(checked: &Checked, train: &str, shared: &Shared) -> Result<bool, Failure> {
    let params = &checked.train(Some(train))?.store.params;
    let depends = |name: &str| params.iter().any(|param| param.ty.shape.iter().any(|axis| axis.size.mentions(name)));
    Ok(shared.iter().any(|(name, _)| depends(name)))
}

fn done(path: &Path, rows: usize) -> Value {
    json!({"event": "done", "out": path.display().to_string(), "rows": rows})
}

/// The stored tensors that prediction reads: those of evaluation hold also what only the loss reads, which is left out when the
/// program has it. What the program does not have at all stays, so that it is reported.
fn relevant(mut weights: Checkpoint, store: &Store, train: &Train) -> Checkpoint {
    let params = train.store.params.iter().map(|param| &param.path);
    let known: HashSet<&str> =
        params.chain(train.store.states.iter().map(|state| &state.path)).map(|path| &**path).collect();
    weights.retain(|name| store.entry(name).is_some() || !known.contains(name));
    weights
}
