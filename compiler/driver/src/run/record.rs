//! What identifies a run and what is written about it: the hash that names its folder, and `run.json`.

use crate::pipeline::DataBlock;
use bdl_data::Source;
use bdl_plan::Products;
use bdl_schedule::Real;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Hex digits of the hash in a run folder's name.
const SHOWN: usize = 8;

/// The hash of effective program, data, files of first weights, seed, precision and version. The text may differ in nothing, not even a comment.
pub fn hash(
    program: &str,
    data: &[DataBlock],
    files: &[std::path::PathBuf],
    seed: u64,
    precision: &str,
) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(env!("CARGO_PKG_VERSION"));
    hasher.update(program);
    hasher.update(seed.to_le_bytes());
    hasher.update(precision);
    for block in data {
        hasher.update(&block.spec.name);
        hasher.update(data_hash(&block.spec.source)?);
        for table in &block.spec.tables {
            hasher.update(file_hash(&table.source.path)?);
        }
    }
    for file in files {
        hasher.update(file_hash(file)?);
    }
    Ok(hex(&hasher.finalize())[..SHOWN].to_string())
}

/// The hash of what a source holds.
pub fn data_hash(source: &Source) -> std::io::Result<String> {
    match source {
        Source::Table(table) => file_hash(&table.path),
        Source::Synthetic { rows, seed } => Ok(format!("synthetic {rows} {seed}")),
    }
}

fn file_hash(path: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = std::fs::File::open(path)?;
    std::io::copy(&mut file, &mut hasher)?;
    Ok(hex(&hasher.finalize()))
}

/// The hash of any text, for names of cached facts.
pub fn text_hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))[..16].to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of a precision, as `--precision` has it.
pub fn precision(real: Real, products: Products) -> &'static str {
    match (real, products) {
        (Real::F32, Products::Exact) => "f32",
        (Real::F32, Products::Tf32) => "tf32",
        (Real::F32, Products::Bf16) => "bf16",
        (Real::F64, Products::Exact | Products::Tf32 | Products::Bf16) => "f64",
    }
}

/// What [`precision`] names so.
pub fn precision_named(name: &str) -> Option<(Real, Products)> {
    match name {
        "f32" => Some((Real::F32, Products::Exact)),
        "tf32" => Some((Real::F32, Products::Tf32)),
        "bf16" => Some((Real::F32, Products::Bf16)),
        "f64" => Some((Real::F64, Products::Exact)),
        _ => None,
    }
}

/// What `run.json` says: enough to repeat the run, and to see on what it ran.
pub fn run_json(
    train: &str,
    hash: &str,
    seed: u64,
    precision: &str,
    threads: usize,
    gpu: Option<&str>,
    hyper: &[(String, String)],
    data: &[DataBlock],
) -> Value {
    let sources: Vec<Value> = data
        .iter()
        .map(|block| {
            let file = match &block.spec.source {
                Source::Table(table) => Some(table.path.display().to_string()),
                Source::Synthetic { .. } => None,
            };
            let lengths: serde_json::Map<String, Value> =
                block.lengths.iter().map(|length| (length.name.to_string(), json!(length.axes))).collect();
            let tables: Vec<Value> = block
                .spec
                .tables
                .iter()
                .map(|table| {
                    let path = &table.source.path;
                    json!({"name": table.name, "file": path.display().to_string(), "sha256": file_hash(path).ok()})
                })
                .collect();
            let mut made = json!({"name": block.spec.name, "file": file, "sha256": data_hash(&block.spec.source).ok(), "lengths": lengths});
            if !tables.is_empty() {
                made["tables"] = Value::Array(tables);
            }
            made
        })
        .collect();
    let hyper: serde_json::Map<String, Value> =
        hyper.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    json!({
        "bdl": env!("CARGO_PKG_VERSION"),
        "train": train,
        "hash": hash,
        "seed": seed,
        "precision": precision,
        "device": gpu.unwrap_or("cpu"),
        "threads": threads,
        "instructions": bdl_kernels::machine::isa_name(),
        "hyper": hyper,
        "data": sources,
    })
}
