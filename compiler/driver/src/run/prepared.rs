//! A `train` block with its data: split, fitted on the training rows, encoded, and the program elaborated.

use super::machine::{Outcomes, SUMS};
use super::roles::Uses;
use super::scores::{self, Asked};
use crate::data::facts::Lengths;
use crate::error::Failure;
use crate::pipeline::{self, Checked};
use bdl_check::hir::{self, Score, Train};
use bdl_data::{
    Encoded, EntriesSplit, Fitted, IdentitySplit, KfoldSplit, Parts, RandomSplit, Repeats, ScaffoldSplit, Smote,
    SplitSpec, Straddling, TimeSplit, Units,
};
use bdl_elaborate::Programs;
use bdl_equations::Program;
use bdl_equations::simplify::drop_unused;
use bdl_train::Watch;
use bdl_train::metrics;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything that training, evaluation and benchmarks start from.
pub struct Prepared {
    pub train: Train,
    pub programs: Programs,
    pub data: Encoded,
    pub facts: bdl_data::DataFacts,
    pub fitted: Fitted,
    pub parts: Parts,
    /// The number of each row where rows are named to the user, from 0; see [`shown_rows`].
    pub shown_rows: Vec<u32>,
    pub lengths: Lengths,
    pub asked: Vec<Asked>,
    /// Predictions that are written in the units of a field.
    pub units: Vec<(String, Units)>,
    /// Rows whose inputs repeat an earlier row's.
    pub repeats: Repeats,
    pub straddling: Straddling,
    /// The parts with training rows repeated or left out, as `rows oversample(y)` says: what an epoch goes through.
    pub trained: Parts,
    /// Fields that the models and the predictions read.
    pub inputs: Vec<String>,
    /// What making the equation programs took.
    pub elaborating: Duration,
    pub hir: Arc<hir::Hir>,
}

/// What is suspicious about the data and about how they are split.
pub fn data_warnings(checked: &Checked, prepared: &Prepared) -> Result<Vec<bdl_data::Warning>, Failure> {
    let dataset = dataset(checked, &prepared.train)?;
    let mut found = dataset.warnings()?;
    // The banner counts rows that repeat others.
    found.retain(|warning| warning.code != "duplicates");
    let mut read = read_in_training(&prepared.programs);
    read.extend(prepared.inputs.iter().cloned());
    read.extend(Uses::of(&checked.hir, &prepared.train).scored);
    found.extend(dataset.split_warnings(&prepared.parts, &read));
    found.extend(leaks(checked, prepared)?);
    Ok(found)
}

/// Ways in which the test part may be known to the model.
pub fn leaks(checked: &Checked, prepared: &Prepared) -> Result<Vec<bdl_data::Warning>, Failure> {
    let train = &prepared.train;
    let inputs = &prepared.inputs;
    let uses = Uses::of(&checked.hir, train);
    let targets: Vec<String> = uses.beside_models.into_iter().filter(|name| !inputs.contains(name)).collect();
    let scored: Vec<String> = uses.scored.intersection(&uses.into_models).cloned().collect();
    let groups = match &train.split {
        Some(hir::Split::Random { groups, .. } | hir::Split::KFold { groups, .. }) => groups.as_deref(),
        Some(
            hir::Split::Given { .. }
            | hir::Split::LeaveOneOut
            | hir::Split::By { .. }
            | hir::Split::Time { .. }
            | hir::Split::Identity { .. }
            | hir::Split::Scaffold { .. }
            | hir::Split::Entries { .. },
        )
        | None => None,
    };
    let roles = bdl_data::Roles { inputs, targets: &targets, scored: &scored, groups };
    Ok(dataset(checked, train)?.leaks(&roles, &prepared.parts))
}

fn dataset<'c>(checked: &'c Checked, train: &Train) -> Result<&'c bdl_data::Dataset, Failure> {
    let block = checked.data(&train.data)?;
    block.dataset.as_ref().ok_or_else(|| Failure::bug(format!("the data `{}` was not read", train.data)))
}

/// How many folds the split has: 1 for a split into parts.
pub fn folds(checked: &Checked, train: &Train) -> Result<usize, Failure> {
    Ok(dataset(checked, train)?.split(&split_spec(train)?)?.len())
}

/// Splits, takes one of the folds, fits, encodes, elaborates. `fitted` of an earlier run is replayed instead of fitting.
pub fn prepare(checked: &Checked, train: &Train, fitted: Option<Fitted>, fold: usize) -> Result<Prepared, Failure> {
    let block = checked.data(&train.data)?;
    let dataset = dataset(checked, train)?;
    if dataset.rows() == 0 {
        return Err(Failure::user("no-rows", format!("`{}` has no rows left to train on", train.data))
            .help("look at `keep` and `distinct` in the data block"));
    }
    let split = split_spec(train)?;
    let folds = dataset.split(&split)?;
    let Some(parts) = folds.into_iter().nth(fold) else {
        return Err(Failure::bug("a fold that the split does not have"));
    };
    let mut fitted = match fitted {
        Some(fitted) => fitted,
        None => dataset.fit(&parts.train)?,
    };
    let mut trained = parts.clone();
    let mut data = dataset.encode(&fitted)?;
    // For each row beyond those of the data the row that it is a copy of, as far as it is one.
    let mut copies: Vec<u32> = Vec::new();
    if let SplitSpec::Entries(entries) = &split {
        data.in_parts(&entries.field, &dataset.entry_parts(entries)?);
        copies = (0..2).flat_map(|_| 0..dataset.rows() as u32).collect();
    }
    let begun = Instant::now();
    let programs = pipeline::elaborate(checked, train)?;
    let elaborating = begun.elapsed();
    if train.parts > 1 && programs.loss_across {
        return Err(Failure::user(
            "batch-in-parts",
            "the loss compares the examples of a batch, which parts would cut",
        )
        .help("leave out `in .. parts`; a smaller `batch` needs less memory"));
    }
    let mut inputs = inputs_read(&programs.predict);
    let into_models = Uses::of(&checked.hir, train).into_models;
    inputs.extend(into_models.into_iter().filter(|name| !inputs.contains(name)).collect::<Vec<_>>());
    if let Some(field) = &train.weights {
        dataset.require_classes(field, &parts.train)?;
        fitted.weights = Some(data.balance(field, &parts.train, hir::ROW_WEIGHT)?);
    }
    if let Some(hir::Resample { field, how }) = &train.resample {
        match how {
            hir::ResampleHow::Over => {
                trained.train = dataset.resampled(&parts.train, field, true, split_seed(train))?
            }
            hir::ResampleHow::Under => {
                trained.train = dataset.resampled(&parts.train, field, false, split_seed(train))?
            }
            hir::ResampleHow::Smote { neighbours } => {
                let read = read_in_training(&programs);
                let inputs: Vec<&str> = read.iter().map(String::as_str).filter(|name| *name != &**field).collect();
                let smote = Smote { field, inputs: &inputs, neighbours: *neighbours as usize, seed: split_seed(train) };
                let first = data.rows() as u32;
                dataset.require_classes(field, &parts.train)?;
                let bases = data.smote(&smote, &parts.train)?;
                trained.train.extend(first..first + bases.len() as u32);
                copies.extend(bases);
            }
        }
    }
    let names: Vec<&str> = inputs.iter().map(String::as_str).filter(|name| data.field(name).is_ok()).collect();
    let repeats = dataset.repeats(&names)?;
    // Where a field's elements are split, every row is in every part.
    let straddling = match &split {
        SplitSpec::Entries(_) => Straddling::default(),
        SplitSpec::None
        | SplitSpec::Random(_)
        | SplitSpec::Kfold(_)
        | SplitSpec::Given { .. }
        | SplitSpec::By { .. }
        | SplitSpec::Time(_)
        | SplitSpec::LeaveOneOut
        | SplitSpec::Identity(_)
        | SplitSpec::Scaffold(_) => repeats.straddling(&parts),
    };
    let mut shown_rows = shown_rows(&block.spec, dataset);
    let mut lengths = block.lengths.clone();
    if !copies.is_empty() {
        shown_rows.extend(copies.iter().map(|row| shown_rows[*row as usize]).collect::<Vec<u32>>());
        for length in &mut lengths {
            let copied = copies.iter().map(|row| length.of_row[*row as usize]);
            length.of_row = Arc::new(length.of_row.iter().copied().chain(copied).collect());
        }
    }
    let units = units(train, &block.spec, &fitted)?;
    let mut asked = scores::asked(&train.reports)?;
    for asked in &mut asked {
        // Both sides in the units of the column, where that is what the prediction is in.
        let own = train.predictions.iter().find(|made| *made.name == *asked.prediction);
        if asked.truth.len() == 1 && own.is_some_and(|own| own.units_of.as_deref() == Some(asked.truth[0].as_str())) {
            asked.units = units.iter().find(|(name, _)| *name == asked.prediction).map(|(_, units)| units.clone());
        }
    }
    require_parts(train, &parts)?;
    Ok(Prepared {
        train: train.clone(),
        programs,
        data,
        facts: dataset.facts(),
        fitted,
        parts,
        shown_rows,
        lengths,
        asked,
        units,
        repeats,
        straddling,
        trained,
        inputs,
        elaborating,
        hir: Arc::new(checked.hir.clone()),
    })
}

/// The number of each row as files of results name it, from 0: that of the row in the source, whatever `keep` and `distinct` left out,
/// so that it can be looked up there. Examples of several rows (`rows per patient`) have no row of their own and are counted.
fn shown_rows(spec: &bdl_data::DataSpec, dataset: &bdl_data::Dataset) -> Vec<u32> {
    match spec.group {
        None => dataset.source_rows().to_vec(),
        Some(_) => (0..dataset.rows() as u32).collect(),
    }
}

/// The units of the predictions that are written `as` a field.
pub fn units(train: &Train, spec: &bdl_data::DataSpec, fitted: &Fitted) -> Result<Vec<(String, Units)>, Failure> {
    let written = train.predictions.iter().filter_map(|made| Some((made.name.to_string(), made.units_of.as_ref()?)));
    written.map(|(name, field)| Ok((name, Units::of(spec, fitted, field)?))).collect()
}

/// Does anything that the loss applies contain `freeze`, so that its slope and its gradient differ on purpose?
pub fn freezes(hir: &hir::Hir, objective: &hir::Objective) -> bool {
    let mut waiting: Vec<hir::FunctionId> =
        [objective.loss, objective.per].into_iter().chain(objective.penalties.iter().copied()).collect();
    let mut seen = std::collections::HashSet::new();
    let mut found = false;
    while let Some(id) = waiting.pop() {
        let Some(function) = hir.functions.get(id.0 as usize).filter(|_| seen.insert(id)) else { continue };
        hir::visit::each(&function.body, &mut |expr| {
            if let hir::ExprKind::Apply { function, .. } = &expr.kind {
                waiting.push(*function);
            }
            found |= matches!(&expr.kind, hir::ExprKind::Builtin(hir::Builtin::Freeze, _));
        });
    }
    found
}

/// Fields of the data that the loss of any objective reads.
fn read_in_training(programs: &Programs) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (objective, of_eval) in programs.objectives.iter().zip(Outcomes::of(programs).sums) {
        let (program, sums) = match objective.steps.last() {
            Some((_, step)) => (step.main(), SUMS.map(str::to_string)),
            None => (&programs.eval, of_eval),
        };
        let sums = program.outputs.iter().filter(|(name, _)| sums.contains(&name.to_string()));
        let mut loss = Program { outputs: sums.cloned().collect(), updates: Vec::new(), ..program.clone() };
        drop_unused(&mut loss);
        for name in inputs_read(&loss) {
            if name != hir::ROW_WEIGHT && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Fields of the data that a program reads, in the order of its tensors.
pub fn inputs_read(program: &Program) -> Vec<String> {
    let mut read: std::collections::HashSet<_> =
        program.nodes.iter().flat_map(bdl_equations::Node::reads_deep).collect();
    // `predict p = x` needs no equation.
    read.extend(program.outputs.iter().map(|(_, tensor)| *tensor));
    let of_data =
        |tensor: &bdl_equations::Tensor| matches!(tensor.role, bdl_equations::Role::Input { per_example: true, .. });
    let tensors = program.tensors.iter().enumerate();
    let inputs = tensors.filter(|(at, tensor)| of_data(tensor) && read.contains(&bdl_equations::TensorId(*at as u32)));
    let mut names: Vec<String> = Vec::new();
    for (_, tensor) in inputs {
        // Of an optional field two tensors are read.
        let name = tensor.name.strip_suffix(".known").unwrap_or(&tensor.name);
        if !names.iter().any(|known| known == name) {
            names.push(name.to_string());
        }
    }
    names
}

/// The seed of the split; that of the run leaves it alone.
fn split_seed(train: &Train) -> u64 {
    match &train.split {
        Some(
            hir::Split::Random { seed, .. }
            | hir::Split::KFold { seed, .. }
            | hir::Split::Identity { seed, .. }
            | hir::Split::Scaffold { seed, .. }
            | hir::Split::Entries { seed, .. },
        ) => *seed,
        Some(hir::Split::Given { .. } | hir::Split::LeaveOneOut | hir::Split::By { .. } | hir::Split::Time { .. })
        | None => 0,
    }
}

fn split_spec(train: &Train) -> Result<SplitSpec, Failure> {
    let text = |name: &Option<hir::Name>| name.as_ref().map(|name| name.to_string());
    Ok(match &train.split {
        None => SplitSpec::None,
        Some(hir::Split::Random { train, valid, test, balance, groups, seed }) => SplitSpec::Random(RandomSplit {
            train: *train,
            valid: *valid,
            test: *test,
            balance: text(balance),
            groups: text(groups),
            seed: *seed,
        }),
        Some(hir::Split::Given { field }) => SplitSpec::Given { field: field.to_string() },
        Some(hir::Split::KFold { folds, repeats, balance, groups, seed }) => SplitSpec::Kfold(KfoldSplit {
            k: *folds as usize,
            repeats: *repeats as usize,
            balance: text(balance),
            groups: text(groups),
            seed: *seed,
        }),
        Some(hir::Split::LeaveOneOut) => SplitSpec::LeaveOneOut,
        Some(hir::Split::By { field, valid, test }) => {
            SplitSpec::By { field: field.to_string(), valid: valid.clone(), test: test.clone() }
        }
        Some(hir::Split::Time { field, valid, test, gap, folds }) => SplitSpec::Time(TimeSplit {
            field: field.to_string(),
            valid: *valid,
            test: *test,
            gap: *gap,
            folds: *folds as usize,
        }),
        Some(hir::Split::Identity { field, below, train, valid, test, folds, balance, seed }) => {
            SplitSpec::Identity(IdentitySplit {
                field: field.to_string(),
                below: *below,
                train: *train,
                valid: *valid,
                test: *test,
                folds: *folds as usize,
                balance: text(balance),
                seed: *seed,
            })
        }
        Some(hir::Split::Scaffold { field, train, valid, test, folds, balance, seed }) => {
            SplitSpec::Scaffold(ScaffoldSplit {
                field: field.to_string(),
                train: *train,
                valid: *valid,
                test: *test,
                folds: *folds as usize,
                balance: text(balance),
                seed: *seed,
            })
        }
        Some(hir::Split::Entries { field, train, valid, test, seed }) => SplitSpec::Entries(EntriesSplit {
            field: field.to_string(),
            train: *train,
            valid: *valid,
            test: *test,
            seed: *seed,
        }),
    })
}

/// `stop` and `keep` look at a part; it must not be empty.
fn require_parts(train: &Train, parts: &Parts) -> Result<(), Failure> {
    let scores = train.keep.iter().chain(train.stop.iter().map(|stop| &stop.score));
    for score in scores {
        let rows = match score.part {
            hir::Part::Train => &parts.train,
            hir::Part::Valid => &parts.valid,
            hir::Part::Test => &parts.test,
        };
        if rows.is_empty() {
            let shown = shown(score);
            return Err(Failure::user(
                "empty-part",
                format!("`{shown}` is watched, but that part of the split has no rows"),
            )
            .help("give the part a share: `split random(train: 0.7, valid: 0.15, test: 0.15)`"));
        }
    }
    Ok(())
}

/// `valid.loss`
pub fn shown(score: &Score) -> String {
    let part = match score.part {
        hir::Part::Train => "train",
        hir::Part::Valid => "valid",
        hir::Part::Test => "test",
    };
    format!("{part}.{}", score.metric)
}

/// A score as the training loop watches it.
pub fn watch(score: &Score, losses: &[String], reports: &[hir::Report]) -> Watch {
    // A loss is better when lower, a metric of one's own when it says so.
    let own = reports.iter().find(|report| report.own.is_some() && report.metric == score.metric);
    let higher_is_better = match (own, metrics::by_name(&score.metric)) {
        (Some(report), _) => !report.lower_is_better,
        (None, Some(metric)) => metric.higher_is_better,
        (None, None) => !losses.contains(&score.metric.to_string()),
    };
    Watch { name: shown(score), higher_is_better }
}
