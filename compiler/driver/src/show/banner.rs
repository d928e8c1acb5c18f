//! The first lines of a run: on what it runs, what the data holds, how it is split.

use super::number::grouped;
use crate::run::Prepared;
use bdl_check::hir::{Name, ResampleHow, Split};
use bdl_data::Kind;
use bdl_plan::Products;
use std::path::Path;

/// ```text
/// bdl 0.1.0 · splice.bdl · cpu, 2 threads, AVX-512
///   data    Junctions  3,186 rows · EI 767, IE 765, N 1,654 · 185 rows are duplicates (`distinct dna` drops them)
///   split   2,230 train / 478 valid / 478 test, balanced by site, split seed 0 · 31 test rows also stand in train
/// ```
///
/// Products of bf16 are named, and where the processor has no instruction for them. `gpu` is what computes instead of the processor; `all` the
/// number of folds where each of them will be trained.
pub fn opening(
    file: &Path,
    threads: usize,
    products: Products,
    gpu: Option<&str>,
    prepared: &Prepared,
    all: Option<usize>,
) -> String {
    let name = file.file_name().map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into_owned());
    let plural = if threads == 1 { "" } else { "s" };
    let isa = bdl_kernels::machine::isa_name();
    let bf16 = match (products, bdl_kernels::contraction::bf16::is_native()) {
        (Products::Exact | Products::Tf32, _) => "",
        (Products::Bf16, true) => ", bf16",
        (Products::Bf16, false) => ", bf16 without an instruction for it: slower than f32, the same bits as with it",
    };
    let place = gpu.map_or_else(|| format!("cpu, {threads} thread{plural}, {isa}{bf16}"), |gpu| format!("cuda, {gpu}"));
    format!(
        "bdl {} · {name} · {place}\n  data    {}\n  split   {}\n",
        env!("CARGO_PKG_VERSION"),
        data(prepared),
        split(prepared, all)
    )
}

fn data(prepared: &Prepared) -> String {
    let facts = &prepared.facts;
    let mut text = format!("{}  {} rows", facts.name, grouped(facts.rows as u64));
    for field in &facts.fields {
        let one_each = field.dims.is_empty() && matches!(field.kind, Kind::Category | Kind::Truth);
        if one_each && (2..=6).contains(&field.classes.len()) {
            let counts: Vec<String> =
                field.classes.iter().map(|class| format!("{} {}", class.name, grouped(class.count as u64))).collect();
            text.push_str(&format!(" · {}", counts.join(", ")));
        }
    }
    let repeats = prepared.repeats.count();
    if repeats > 0 && !prepared.inputs.is_empty() {
        let (are, fields) =
            (if repeats == 1 { "row is a duplicate" } else { "rows are duplicates" }, prepared.inputs.join(", "));
        text.push_str(&format!(" · {} {are} (`distinct {fields}` drops them)", grouped(repeats as u64)));
    }
    text
}

/// `all` is the number of folds where each of them will be trained.
fn split(prepared: &Prepared, all: Option<usize>) -> String {
    let parts = &prepared.parts;
    let Some(split) = &prepared.train.split else {
        return format!(
            "none: all {} rows train, nothing is held out (add `split random(...)`)",
            grouped(parts.train.len() as u64)
        );
    };
    let count = |rows: &[u32]| grouped(rows.len() as u64);
    let mut text = match all {
        Some(folds) => format!("{folds} folds"),
        None => format!("{} train / {} valid / {} test", count(&parts.train), count(&parts.valid), count(&parts.test)),
    };
    let first = |folds: i64| match all {
        Some(_) => String::new(),
        None => format!(", the first of {folds} folds (`bdl cv` trains them all)"),
    };
    let balanced = |balance: &Option<Name>, groups: &Option<Name>, seed: u64| {
        let balance = balance.iter().map(|field| format!(", balanced by {field}")).collect::<String>();
        let groups = groups.iter().map(|field| format!(", {field} kept together")).collect::<String>();
        format!("{balance}{groups}, split seed {seed}")
    };
    match split {
        Split::Random { balance, groups, seed, .. } => text.push_str(&balanced(balance, groups, *seed)),
        Split::Given { field } => text.push_str(&format!(", given by {field}")),
        Split::KFold { folds, repeats, balance, groups, seed } => {
            let repeats = if *repeats > 1 { format!(", {folds} in each of {repeats} repeats") } else { String::new() };
            text.push_str(&format!("{repeats}{}{}", balanced(balance, groups, *seed), first(*folds)));
        }
        Split::LeaveOneOut if all.is_some() => text.push_str(", each row left out once"),
        Split::LeaveOneOut => text.push_str(", leaving the first row out (`bdl cv` leaves out each)"),
        Split::By { field, .. } => text.push_str(&format!(", by {field}")),
        Split::Time { field, folds, .. } if *folds > 1 => {
            text.push_str(&format!(", in the order of {field}{}", first(*folds)))
        }
        Split::Time { field, .. } => text.push_str(&format!(", in the order of {field}")),
        Split::Identity { field, below, folds, balance, seed, .. } => {
            text.push_str(&format!(", {field} apart below an identity of {below}{}", balanced(balance, &None, *seed)));
            if *folds > 1 {
                text.push_str(&first(*folds));
            }
        }
        Split::Scaffold { field, folds, balance, seed, .. } => {
            text.push_str(&format!(", scaffolds of {field} apart{}", balanced(balance, &None, *seed)));
            if *folds > 1 {
                text.push_str(&first(*folds));
            }
        }
        Split::Entries { field, train, valid, test, seed } => {
            let percent = |share: f64| format!("{}%", (share * 1000.0).round() / 10.0);
            text = format!(
                "elements of {field}: {} train / {} valid / {} test, split seed {seed}",
                percent(*train),
                percent(*valid),
                percent(*test)
            );
        }
    }
    if let Some(resample) = &prepared.train.resample {
        let how = match resample.how {
            ResampleHow::Over => "rows of small classes repeated",
            ResampleHow::Under => "rows of large classes left out",
            ResampleHow::Smote { .. } => "rows of small classes made up (SMOTE)",
        };
        text.push_str(&format!(" · {} rows an epoch: {how}", grouped(prepared.trained.train.len() as u64)));
    }
    if let Some(weights) = &prepared.fitted.weights {
        let each: Vec<String> = weights
            .classes
            .iter()
            .take(6)
            .map(|(name, weight)| format!("{name} {}", super::number::short(*weight)))
            .collect();
        text.push_str(&format!(" · a row counts: {}", each.join(", ")));
    }
    if all.is_some() {
        return text;
    }
    let twins = prepared.straddling.test_in_train;
    if twins > 0 {
        let verb = if twins == 1 { "row also stands" } else { "rows also stand" };
        text.push_str(&format!(" · {} test {verb} in train", grouped(twins as u64)));
    }
    text
}
