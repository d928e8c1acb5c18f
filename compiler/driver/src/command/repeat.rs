//! `bdl repeat RUN`: trains the run's program once more and says whether every bit is the same, or what differs first.

use super::train::{Manner, Run};
use super::{Context, print};
use crate::cli::Global;
use crate::error::Failure;
use crate::run::stored;
use bdl_train::{Array, RunFolder, checkpoint};
use serde_json::{Value, json};
use std::path::Path;

pub fn run(context: &Context, path: &Path) -> Result<u8, Failure> {
    let stored = stored::open(path)?;
    if !stored.folder.has("last.safetensors") || !stored.folder.has("metrics.json") {
        return Err(Failure::user(
            "not-a-run",
            format!("`{}` was not finished, so there is nothing to repeat", path.display()),
        )
        .help("`bdl train .. --resume` finishes it"));
    }
    let again = path.join("repeat");
    let quiet = Context {
        global: Global {
            seed: Some(stored.seed),
            quiet: true,
            json: false,
            overrides: Vec::new(),
            ..context.global.clone()
        },
        ..context.of_run(&stored)
    };
    let manner = Manner { out: Some(again.clone()), resume: false, save_every: None };
    if !context.global.quiet && !context.global.json {
        print(&format!(
            "trains `{}` again: seed {}, {}, {} threads\n",
            stored.train,
            stored.seed,
            quiet.precision(),
            context.threads()
        ))?;
    }
    let trained = Run::open(&quiet, &stored.program, Some(stored.train.clone()))?;
    trained.silently(&manner, stored.fold)?;
    let (first, second) = (&stored.folder, &RunFolder::open(&again)?);
    let found = difference(first, second)?;
    if context.global.json {
        print(&format!(
            "{}\n",
            json!({"run": path.display().to_string(), "same": found.is_none(), "difference": found})
        ))?;
    } else {
        print(&match &found {
            None => format!("the same bits: {}\n", counted(first)?),
            Some(difference) => format!("{difference}\nthe second run is kept in {}\n", again.display()),
        })?;
    }
    if found.is_none() {
        // What is the same need not be kept.
        let _ = std::fs::remove_dir_all(&again);
    }
    Ok(u8::from(found.is_some()))
}

/// What differs first: the loss of an epoch, a weight, a prediction.
fn difference(first: &RunFolder, second: &RunFolder) -> Result<Option<String>, Failure> {
    let log = |folder: &RunFolder| -> Vec<(Value, Value, Value)> {
        let text = folder.read_text("log.jsonl").unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|line| (line["epoch"].clone(), line["loss"].clone(), line["scores"].clone())).collect()
    };
    let (a, b) = (log(first), log(second));
    for ((epoch, loss, scores), (_, other_loss, other_scores)) in a.iter().zip(&b) {
        if loss != other_loss {
            return Ok(Some(format!("the loss of epoch {epoch} differs: {loss}, and again {other_loss}")));
        }
        if scores != other_scores {
            return Ok(Some(format!("the scores of epoch {epoch} differ: {scores}, and again {other_scores}")));
        }
    }
    if a.len() != b.len() {
        return Ok(Some(format!("the run took {} epochs, and again {}", a.len(), b.len())));
    }
    for name in ["last.safetensors", "best.safetensors"] {
        if first.has(name) && second.has(name) {
            let (a, b) = (checkpoint::load(&first.file(name))?.0, checkpoint::load(&second.file(name))?.0);
            if let Some(found) = arrays(name, &a, &b) {
                return Ok(Some(found));
            }
        }
    }
    for name in ["predictions.tsv", "metrics.json", "split.tsv"] {
        let (a, b) = (first.read_text(name)?, second.read_text(name)?);
        if let Some(at) = a.lines().zip(b.lines()).position(|(a, b)| a != b) {
            return Ok(Some(format!("line {} of {name} differs", at + 1)));
        }
    }
    Ok(None)
}

fn arrays(file: &str, a: &[Array], b: &[Array]) -> Option<String> {
    for one in a {
        let Some(other) = b.iter().find(|other| other.name == one.name) else {
            return Some(format!("{file}: `{}` is not there again", one.name));
        };
        let (x, y) = (one.values.to_f64(), other.values.to_f64());
        if let Some(at) = x.iter().zip(&y).position(|(a, b)| a.to_bits() != b.to_bits()) {
            return Some(format!("{file}: element {at} of `{}` is {}, and again {}", one.name, x[at], y[at]));
        }
    }
    None
}

/// `8 tensors, 69,123 numbers, 17 epochs`
fn counted(folder: &RunFolder) -> Result<String, Failure> {
    let (arrays, position) = checkpoint::load(&folder.file("last.safetensors"))?;
    let numbers: usize = arrays.iter().map(|array| array.shape.iter().product::<usize>()).sum();
    Ok(format!(
        "{} tensors with {} numbers after {} epochs, and every prediction",
        arrays.len(),
        crate::show::number::grouped(numbers as u64),
        position.epoch
    ))
}
