//! `bdl runs [FOLDER]`: the run folders with what they scored.

use super::train::RUNS;
use super::{Context, print};
use crate::error::Failure;
use crate::show::number;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What is known of a run from its files alone.
struct Listed {
    path: PathBuf,
    train: String,
    seed: u64,
    fold: u64,
    hyper: Vec<(String, String)>,
    epochs: usize,
    /// When it last wrote.
    when: SystemTime,
    /// The part held out furthest, its scores, and whether the run ended.
    part: Option<String>,
    scores: Vec<(String, f64)>,
}

pub fn run(context: &Context, folder: Option<&Path>) -> Result<u8, Failure> {
    let base = folder.unwrap_or(Path::new(RUNS));
    let mut runs: Vec<Listed> = found(base, 0).iter().filter_map(|path| listed(path)).collect();
    if runs.is_empty() {
        return Err(Failure::user("no-runs", format!("there are no runs in `{}`", base.display()))
            .help("`bdl train FILE` makes one; `bdl runs DIR` looks elsewhere"));
    }
    runs.sort_by(|a, b| (&a.train, b.when).cmp(&(&b.train, a.when)));
    if context.global.json {
        let lines = runs.iter().map(|run| {
            let scores: serde_json::Map<String, Value> =
                run.scores.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            let hyper: serde_json::Map<String, Value> =
                run.hyper.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            format!(
                "{}\n",
                json!({"run": run.path.display().to_string(), "train": run.train, "seed": run.seed, "fold": run.fold,
                "hyper": hyper, "epochs": run.epochs, "part": run.part, "scores": scores})
            )
        });
        return print(&lines.collect::<String>());
    }
    let mut out = String::new();
    let mut names: Vec<&str> = runs.iter().map(|run| run.train.as_str()).collect();
    names.dedup();
    for name in names {
        let own: Vec<&Listed> = runs.iter().filter(|run| run.train == name).collect();
        out.push_str(&table(name, &own));
    }
    print(&out)
}

/// Folders with `run.json`, links not followed.
fn found(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut runs = Vec::new();
    if folder.join("run.json").is_file() {
        runs.push(folder.to_path_buf());
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return runs };
    let mut inner: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    inner.sort();
    for path in inner {
        if depth < 4 && path.is_dir() && !path.is_symlink() {
            runs.extend(found(&path, depth + 1));
        }
    }
    runs
}

fn listed(path: &Path) -> Option<Listed> {
    let read = |name: &str| -> Option<Value> { serde_json::from_slice(&std::fs::read(path.join(name)).ok()?).ok() };
    let run = read("run.json")?;
    let epochs = std::fs::read_to_string(path.join("log.jsonl")).map_or(0, |log| {
        let number = |line: &str| serde_json::from_str::<Value>(line).ok()?["epoch"].as_u64();
        log.lines().filter_map(number).max().unwrap_or(0) as usize
    });
    let metrics = read("metrics.json");
    let part = metrics.as_ref().and_then(Value::as_object).and_then(|parts| parts.iter().next_back());
    let mut scores = Vec::new();
    if let Some((_, Value::Object(all))) = part {
        for (name, score) in all {
            let value = if score.is_object() { &score["value"] } else { score };
            if let (Some(value), true) = (value.as_f64(), name != "rows" && score["counts"].is_null()) {
                scores.push((name.clone(), value));
            }
        }
    }
    let hyper = run["hyper"].as_object().into_iter().flatten();
    Some(Listed {
        path: path.to_path_buf(),
        train: run["train"].as_str()?.to_string(),
        seed: run["seed"].as_u64().unwrap_or(0),
        fold: run["fold"].as_u64().unwrap_or(0),
        hyper: hyper.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_string())).collect(),
        epochs,
        when: std::fs::metadata(path.join("run.json"))
            .and_then(|about| about.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH),
        part: part.map(|(name, _)| name.clone()),
        scores,
    })
}

/// The runs of one block; columns of hyper-parameters are those in which they differ.
fn table(name: &str, runs: &[&Listed]) -> String {
    let mut heads: Vec<String> = vec!["run".into(), "age".into(), "seed".into()];
    let mut hyper: Vec<&str> = runs.iter().flat_map(|run| run.hyper.iter().map(|(name, _)| name.as_str())).collect();
    hyper.sort_unstable();
    hyper.dedup();
    fn value<'r>(run: &'r Listed, name: &str) -> &'r str {
        run.hyper.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }
    hyper.retain(|name| runs.iter().any(|run| value(run, name) != value(runs[0], name)));
    heads.extend(hyper.iter().map(|name| (*name).to_string()));
    heads.push("epochs".into());
    let mut scores: Vec<&str> = Vec::new();
    for (score, _) in runs.iter().flat_map(|run| &run.scores) {
        if !scores.contains(&score.as_str()) {
            scores.push(score);
        }
    }
    // A narrow screen has room for a few.
    scores.truncate(5);
    let part = runs.iter().find_map(|run| run.part.clone()).unwrap_or_default();
    heads.extend(scores.iter().map(|score| format!("{part}.{score}")));
    let mut rows = vec![heads];
    for run in runs {
        let mut row = vec![run.path.display().to_string(), age(run.when), run.seed.to_string()];
        row.extend(hyper.iter().map(|name| value(run, name).to_string()));
        row.push(run.epochs.to_string());
        for score in &scores {
            let found = run.scores.iter().find(|(known, _)| known == score);
            row.push(
                found.map_or(if run.part.is_none() { "unfinished".into() } else { String::new() }, |(_, value)| {
                    number::score(*value)
                }),
            );
        }
        rows.push(row);
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = format!("{name}\n");
    for row in &rows {
        let mut line = format!("  {:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `5 min`, `3 h`, `12 d`.
fn age(when: SystemTime) -> String {
    let seconds = SystemTime::now().duration_since(when).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}
