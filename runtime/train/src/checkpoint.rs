//! Checkpoints: named tensors in a safetensors file, with a small manifest in its header.
//!
//! `best.safetensors` holds parameters and state of the best epoch; `last.safetensors` also holds the optimiser's state, so that
//! `--resume` goes on to the same bits. The manifest (key `bdl` of the header's metadata) is JSON: where the run stood; `bdl.sha256` beside it notices damage.

use crate::error::{RunError, RunResult};
use crate::folder::write_whole;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// A named array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Values,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Values::F32(v) => v.len(),
            Values::F64(v) => v.len(),
            Values::I32(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Values::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Values::F64(v) => v.clone(),
            Values::I32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        }
    }

    pub fn is_finite(&self) -> bool {
        match self {
            Values::F32(v) => v.iter().all(|x| x.is_finite()),
            Values::F64(v) => v.iter().all(|x| x.is_finite()),
            Values::I32(_) => true,
        }
    }

    fn dtype(&self) -> Dtype {
        match self {
            Values::F32(_) => Dtype::F32,
            Values::F64(_) => Dtype::F64,
            Values::I32(_) => Dtype::I32,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Values::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Values::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Values::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

/// Where a run stood when a checkpoint was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs that are complete.
    pub epoch: u64,
    /// Batches done in the epoch that is not.
    pub batch: u64,
    /// Optimiser steps done.
    pub step: u64,
    /// Loss and weight of each objective summed over the batches of the incomplete epoch.
    #[serde(default)]
    pub sums: Vec<crate::training::Sums>,
    /// The best score so far, and the epoch that reached it (counted from 1; 0 for none).
    pub best: Option<f64>,
    pub best_epoch: u64,
    /// Epochs since the score that `stop` watches improved, and that score.
    pub stalled: u64,
    pub watched: Option<f64>,
    /// The run ended: by its last epoch or by `stop`.
    pub finished: bool,
    pub stopped_early: bool,
    /// Seconds of training so far.
    pub seconds: f64,
}

/// Writes `arrays` and `position` as one file, atomically.
pub fn save(path: &Path, arrays: &[Array], position: &Position) -> RunResult<()> {
    let bytes: Vec<Vec<u8>> = arrays.iter().map(|array| array.values.bytes()).collect();
    let mut views = Vec::with_capacity(arrays.len());
    for (array, bytes) in arrays.iter().zip(&bytes) {
        let view = TensorView::new(array.values.dtype(), array.shape.clone(), bytes)
            .map_err(|e| RunError::new("checkpoint-corrupted", format!("`{}` cannot be stored: {e}", array.name)))?;
        views.push((array.name.as_str(), view));
    }
    let manifest = serde_json::to_string(position)
        .map_err(|e| RunError::new("checkpoint-corrupted", format!("the manifest cannot be written: {e}")))?;
    let whole = digest(
        arrays.iter().zip(&bytes).map(|(array, bytes)| (array.name.as_str(), array.shape.as_slice(), bytes.as_slice())),
        &manifest,
    );
    let metadata = HashMap::from([
        ("bdl".to_string(), manifest),
        ("bdl.sha256".to_string(), whole),
        ("format".to_string(), "pt".to_string()),
    ]);
    let file = safetensors::serialize(views, Some(metadata))
        .map_err(|e| RunError::new("checkpoint-corrupted", format!("the tensors cannot be stored: {e}")))?;
    write_whole(path, &file)
}

/// SHA-256 over the tensors, by name, and the manifest: what a flipped bit changes. Files of other programs have none.
fn digest<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>, manifest: &str) -> String {
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_by(|a, b| a.0.cmp(b.0));
    let mut hasher = Sha256::new();
    hasher.update(manifest);
    for (name, shape, bytes) in tensors {
        hasher.update(format!("\n{name} {shape:?} {}\n", bytes.len()));
        hasher.update(bytes);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a file written by [`save`], or any safetensors file (then the position is the default one).
pub fn load(path: &Path) -> RunResult<(Vec<Array>, Position)> {
    let bytes = std::fs::read(path).map_err(|e| RunError::io("read", path, &e))?;
    let damaged = |what: String| {
        RunError::new("checkpoint-corrupted", format!("`{}` is not an intact checkpoint: {what}", path.display()))
            .help("use the other checkpoint of the run (best or last), or train again")
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
    let position = match header.metadata().as_ref().and_then(|metadata| metadata.get("bdl")) {
        Some(manifest) => serde_json::from_str(manifest).map_err(|e| damaged(format!("its manifest: {e}")))?,
        None => Position::default(),
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    if let Some(metadata) = header.metadata()
        && let (Some(manifest), Some(known)) = (metadata.get("bdl"), metadata.get("bdl.sha256"))
    {
        let tensors = file.tensors();
        let found = digest(tensors.iter().map(|(name, view)| (name.as_str(), view.shape(), view.data())), manifest);
        if found != *known {
            return Err(damaged("its contents are not those that were written".to_string()));
        }
    }
    let mut arrays = Vec::new();
    for (name, view) in file.tensors() {
        let values = match view.dtype() {
            Dtype::F32 => {
                Values::F32(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
            }
            Dtype::I32 => {
                Values::I32(view.data().chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
            }
            Dtype::F64 => Values::F64(
                view.data()
                    .chunks_exact(8)
                    .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
                    .collect(),
            ),
            // Half precision of either kind is exact in single.
            Dtype::F16 => Values::F32(halves(view.data()).map(half).collect()),
            Dtype::BF16 => Values::F32(halves(view.data()).map(|bits| f32::from_bits(u32::from(bits) << 16)).collect()),
            other => return Err(damaged(format!("`{name}` holds {other:?}; F16, BF16, F32, F64 and I32 can be read"))),
        };
        arrays.push(Array { name, shape: view.shape().to_vec(), values });
    }
    arrays.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((arrays, position))
}

fn halves(data: &[u8]) -> impl Iterator<Item = u16> + '_ {
    data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
}

/// The number that IEEE 754 half-precision bits stand for.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 31);
    let fraction = f32::from(bits & 1023);
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

/// Lists everything in which `found` differs from `wanted` (names with shapes), all at once.
pub fn mismatches(wanted: &[(String, Vec<usize>)], found: &[Array]) -> Option<RunError> {
    let mut lines = Vec::new();
    for (name, shape) in wanted {
        match found.iter().find(|array| array.name == *name) {
            None => lines.push(format!("`{name}` {shape:?} is missing")),
            Some(array) if array.shape != *shape => {
                lines.push(format!("`{name}` is {:?} in the file, {shape:?} in the program", array.shape));
            }
            Some(_) => {}
        }
    }
    for array in found {
        if !wanted.iter().any(|(name, _)| *name == array.name) {
            lines.push(format!("`{}` {:?} is not in the program", array.name, array.shape));
        }
    }
    (!lines.is_empty()).then(|| {
        RunError::new(
            "checkpoint-mismatch",
            format!("the weights do not fit the program:\n     {}", lines.join("\n     ")),
        )
        .help("the program was changed after the run, or the file belongs to another model")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrays() -> Vec<Array> {
        vec![
            Array {
                name: "a.w".into(),
                shape: vec![2, 2],
                values: Values::F32(vec![1.0, -0.0, f32::MIN_POSITIVE, 3.5]),
            },
            Array { name: "b".into(), shape: vec![], values: Values::F64(vec![1e-300]) },
        ]
    }

    fn position() -> Position {
        Position { epoch: 3, step: 42, best: Some(0.125), best_epoch: 2, seconds: 1.5, ..Position::default() }
    }

    #[test]
    fn what_is_saved_is_loaded_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        save(&path, &arrays(), &position()).unwrap();
        assert_eq!(load(&path).unwrap(), (arrays(), position()));
    }

    #[test]
    fn half_precision_is_read_exactly() {
        let known =
            [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (0x0001, 2f32.powi(-24)), (0x7bff, 65504.0)];
        for (bits, value) in known {
            assert_eq!(half(bits), value, "{bits:#x}");
        }
        assert!(half(0x7c00) == f32::INFINITY && half(0xfe00).is_nan() && half(0x8000).is_sign_negative());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("half.safetensors");
        let data = [0x80, 0x3f, 0x40, 0xc0];
        let view = TensorView::new(Dtype::BF16, vec![2], &data).unwrap();
        std::fs::write(&path, safetensors::serialize([("w", view)], None).unwrap()).unwrap();
        assert_eq!(load(&path).unwrap().0[0].values, Values::F32(vec![1.0, -3.0]));
    }

    #[test]
    fn every_truncation_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        save(&path, &arrays(), &position()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = load(&path).unwrap_err();
            assert_eq!(error.code, "checkpoint-corrupted", "cut to {length}: {error}");
        }
    }

    #[test]
    fn every_flipped_bit_of_the_tensors_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("best.safetensors");
        save(&path, &arrays(), &position()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let data = 4 * 4 + 8;
        for at in whole.len() - data..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(load(&path).unwrap_err().code, "checkpoint-corrupted", "byte {at}");
        }
    }

    #[test]
    fn a_foreign_file_is_refused_and_a_missing_one_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("best.safetensors");
        std::fs::write(&path, b"PK\x03\x04 this is a zip file, not a checkpoint at all").unwrap();
        assert_eq!(load(&path).unwrap_err().code, "checkpoint-corrupted");
        let missing = load(&folder.path().join("none.safetensors")).unwrap_err();
        assert!(missing.message.contains("there is no such file"), "{missing}");
    }

    #[test]
    fn all_mismatches_are_listed_at_once() {
        let wanted = [("a.w".to_string(), vec![2, 3]), ("c".to_string(), vec![1])];
        let text = mismatches(&wanted, &arrays()).unwrap().message;
        assert!(text.contains("`a.w` is [2, 2] in the file, [2, 3] in the program"), "{text}");
        assert!(text.contains("`c` [1] is missing") && text.contains("`b` [] is not in the program"), "{text}");
        assert_eq!(mismatches(&[("a.w".into(), vec![2, 2]), ("b".into(), vec![])], &arrays()), None);
    }
}
