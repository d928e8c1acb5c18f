//! Checkpoints: named tensors in a safetensors file, with a small manifest in its header.
//!
//! `best.safetensors` holds parameters and state of the best epoch; `last.safetensors` also holds the optimiser's state, so that
//! `--resume` goes on to the same bits. The manifest (key `bdl` of the header's metadata) is JSON: where the run stood; `bdl.sha256` beside it notices damage.

use crate::error::{RunError, RunResult};
use crate::folder::write_whole_by;
use bdl_execute::{Mapped, Store};
use bdl_plan::DType;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ops::Range;
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

impl Array {
    /// Name and shape.
    pub fn named(&self) -> (&str, &[usize]) {
        (&self.name, &self.shape)
    }
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

    /// As they stand in the file.
    fn bytes(&self) -> &[u8] {
        const { assert!(cfg!(target_endian = "little"), "files of tensors are little-endian") };
        match self {
            Values::F32(v) => bytemuck::cast_slice(v),
            Values::F64(v) => bytemuck::cast_slice(v),
            Values::I32(v) => bytemuck::cast_slice(v),
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

/// Writes `arrays` and `position` as one file, atomically, tensor by tensor: without a copy of them all.
pub fn save(path: &Path, arrays: &[Array], position: &Position) -> RunResult<()> {
    let mut views = Vec::with_capacity(arrays.len());
    for array in arrays {
        let view = TensorView::new(array.values.dtype(), array.shape.clone(), array.values.bytes())
            .map_err(|e| RunError::new("checkpoint-corrupted", format!("`{}` cannot be stored: {e}", array.name)))?;
        views.push((array.name.as_str(), view));
    }
    let manifest = serde_json::to_string(position)
        .map_err(|e| RunError::new("checkpoint-corrupted", format!("the manifest cannot be written: {e}")))?;
    let whole = digest(
        arrays.iter().map(|array| (array.name.as_str(), array.shape.as_slice(), array.values.bytes())),
        &manifest,
        || {},
    );
    let metadata = HashMap::from([
        ("bdl".to_string(), manifest),
        ("bdl.sha256".to_string(), whole),
        ("format".to_string(), "pt".to_string()),
    ]);
    write_whole_by(path, |beside| {
        // The library's file is its owner's alone; a checkpoint may be read by whoever may read other files of the run.
        let permissions = std::fs::File::create(beside)?.metadata()?.permissions();
        match safetensors::serialize_to_file(views, Some(metadata), beside) {
            Ok(()) => std::fs::set_permissions(beside, permissions),
            Err(SafeTensorError::IoError(error)) => Err(error),
            Err(error) => Err(std::io::Error::other(format!("the tensors cannot be stored: {error}"))),
        }
    })
}

/// SHA-256 over the tensors, by name, and the manifest: what a flipped bit changes. Files of other programs have none.
/// `seen` is called when some more of the tensors is done with.
fn digest<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>,
    manifest: &str,
    seen: impl Fn(),
) -> String {
    const PART: usize = 1 << 20;
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_by(|a, b| a.0.cmp(b.0));
    let mut hasher = Sha256::new();
    hasher.update(manifest);
    for (name, shape, bytes) in tensors {
        hasher.update(format!("\n{name} {shape:?} {}\n", bytes.len()));
        for part in bytes.chunks(PART) {
            hasher.update(part);
            seen();
        }
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file of tensors, mapped: its values are read where they lie.
pub struct Checkpoint {
    file: Mapped,
    tensors: Vec<Stored>,
    pub position: Position,
}

/// Where a tensor lies in the file.
#[derive(Clone, Debug)]
struct Stored {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: Range<usize>,
}

/// Reads a file written by [`save`], or any safetensors file (then the position is the default one), as a whole.
pub fn load(path: &Path) -> RunResult<(Vec<Array>, Position)> {
    let checkpoint = open(path)?;
    let arrays = checkpoint.tensors.iter().map(|tensor| {
        let (name, shape, values) = (tensor.name.clone(), tensor.shape.clone(), checkpoint.values(tensor));
        Array { name, shape, values }
    });
    Ok((arrays.collect(), checkpoint.position))
}

/// Opens a file as [`load`] does and looks whether it is intact; its tensors stay where they are.
pub fn open(path: &Path) -> RunResult<Checkpoint> {
    let file = Mapped::open(path).map_err(|e| RunError::io("read", path, &e))?;
    let bytes = file.bytes();
    let damaged = |what: String| {
        RunError::new("checkpoint-corrupted", format!("`{}` is not an intact checkpoint: {what}", path.display()))
            .help("use the other checkpoint of the run (best or last), or train again")
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(e.to_string()))?;
    let position = match header.metadata().as_ref().and_then(|metadata| metadata.get("bdl")) {
        Some(manifest) => serde_json::from_str(manifest).map_err(|e| damaged(format!("its manifest: {e}")))?,
        None => Position::default(),
    };
    let views = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?.tensors();
    if let Some(metadata) = header.metadata()
        && let (Some(manifest), Some(known)) = (metadata.get("bdl"), metadata.get("bdl.sha256"))
    {
        let tensors = views.iter().map(|(name, view)| (name.as_str(), view.shape(), view.data()));
        let found = digest(tensors, manifest, || file.release());
        if found != *known {
            return Err(damaged("its contents are not those that were written".to_string()));
        }
    }
    let mut tensors = Vec::new();
    for (name, view) in views {
        match view.dtype() {
            Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64 | Dtype::I32 => {}
            other => return Err(damaged(format!("`{name}` holds {other:?}; F16, BF16, F32, F64 and I32 can be read"))),
        }
        let start = view.data().as_ptr().addr() - bytes.as_ptr().addr();
        let bytes = start..start + view.data().len();
        tensors.push(Stored { name, shape: view.shape().to_vec(), dtype: view.dtype(), bytes });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Checkpoint { file, tensors, position })
}

impl Checkpoint {
    /// Names and shapes, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))
    }

    /// Leaves those tensors that are `kept`.
    pub fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        self.tensors.retain(|tensor| kept(&tensor.name));
    }

    /// What a run that was not finished keeps as moving averages takes the places of the tensors that they are averages of.
    pub fn take_averages(&mut self) {
        let averages: Vec<Stored> = self.tensors.extract_if(.., |tensor| tensor.name.starts_with(AVERAGE)).collect();
        for average in averages {
            if let Some(tensor) = self.tensors.iter_mut().find(|tensor| average.name[AVERAGE.len()..] == tensor.name) {
                (tensor.dtype, tensor.bytes) = (average.dtype, average.bytes);
            }
        }
    }

    fn values(&self, tensor: &Stored) -> Values {
        let data = &self.file.bytes()[tensor.bytes.clone()];
        match tensor.dtype {
            Dtype::I32 => {
                Values::I32(data.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
            }
            Dtype::F64 => Values::F64(
                data.chunks_exact(8)
                    .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
                    .collect(),
            ),
            // Half precision of either kind is exact in single.
            Dtype::F16 => Values::F32(halves(data).map(half).collect()),
            Dtype::BF16 => Values::F32(halves(data).map(|bits| f32::from_bits(u32::from(bits) << 16)).collect()),
            // `open` lets no other type in.
            _ => Values::F32(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        }
    }

    /// Gives the buffers of a store these values. Where a buffer has the type of the file, it lies in the file from now on.
    ///
    /// Errors: `checkpoint-mismatch`, with all differences from the store's names and shapes at once.
    pub fn into_store(self, store: &mut Store) -> RunResult<()> {
        let wanted: Vec<(String, Vec<usize>)> = store
            .iter()
            .map(|entry| (entry.name.to_string(), entry.shape.iter().map(|size| (*size).max(0) as usize).collect()))
            .collect();
        if let Some(error) = mismatches(&wanted, self.tensors()) {
            return Err(error);
        }
        let bug = |error: bdl_execute::Error| RunError::new("bug", format!("this is a bug in bdl: {error}"));
        let (mut names, mut pieces) = (Vec::new(), Vec::new());
        for tensor in &self.tensors {
            let is_single = store.get(&tensor.name).is_some_and(|buffer| buffer.dtype == DType::F32);
            let as_it_is = cfg!(target_endian = "little") && is_single && tensor.dtype == Dtype::F32;
            if as_it_is && !tensor.bytes.is_empty() && self.file.fits(DType::F32, &tensor.bytes) {
                names.push(tensor.name.clone());
                pieces.push((DType::F32, tensor.bytes.clone()));
            } else {
                store.set(&tensor.name, &self.values(tensor).to_f64()).map_err(bug)?;
            }
        }
        let buffers = self.file.buffers(&pieces);
        let buffers = buffers.ok_or_else(|| RunError::new("bug", "this is a bug in bdl: tensors that share bytes"))?;
        for (name, buffer) in names.iter().zip(buffers) {
            store.replace(name, buffer).map_err(bug)?;
        }
        Ok(())
    }
}

/// What the name of a parameter's moving average begins with.
const AVERAGE: &str = "average.";

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
pub fn mismatches<'f>(
    wanted: &[(String, Vec<usize>)],
    found: impl Iterator<Item = (&'f str, &'f [usize])>,
) -> Option<RunError> {
    let found: Vec<(&str, &[usize])> = found.collect();
    let mut lines = Vec::new();
    for (name, shape) in wanted {
        match found.iter().find(|(known, _)| known == name) {
            None => lines.push(format!("`{name}` {shape:?} is missing")),
            Some((_, in_file)) if in_file != shape => {
                lines.push(format!("`{name}` is {in_file:?} in the file, {shape:?} in the program"));
            }
            Some(_) => {}
        }
    }
    for (found, shape) in found {
        if !wanted.iter().any(|(name, _)| name == found) {
            lines.push(format!("`{found}` {shape:?} is not in the program"));
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
    #[cfg(unix)]
    fn a_checkpoint_may_be_read_by_whoever_may_read_the_run() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("last.safetensors"), folder.path().join("log"));
        save(&path, &arrays(), &position()).unwrap();
        std::fs::write(&other, "").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&other));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside");
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
    fn a_store_takes_its_values_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("best.safetensors");
        save(&path, &arrays(), &position()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut store = Store::new();
        store.insert("a.w", DType::F32, vec![2, 2]).unwrap();
        store.insert("b", DType::F64, vec![]).unwrap();
        open(&path).unwrap().into_store(&mut store).unwrap();
        let values = store.get("a.w").unwrap().slice::<f32>().unwrap();
        assert_eq!(
            values.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            [1.0, -0.0, f32::MIN_POSITIVE, 3.5].map(f32::to_bits)
        );
        assert_eq!(store.get("b").unwrap().number(0), 1e-300);
        // What is written stays here, and a file that is replaced changes nothing.
        store.set("a.w", &[2.0; 4]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        let mut store = Store::new();
        store.insert("a.w", DType::F64, vec![2, 2]).unwrap();
        store.insert("b", DType::F32, vec![]).unwrap();
        open(&path).unwrap().into_store(&mut store).unwrap();
        save(&path, &[], &position()).unwrap();
        assert_eq!(
            (store.get("a.w").unwrap().number(3), store.get("b").unwrap().number(0)),
            (3.5, 0.0),
            "1e-300 is 0 in f32"
        );
        let error = open(&path).unwrap().into_store(&mut store).unwrap_err();
        assert_eq!(error.code, "checkpoint-mismatch");
    }

    #[test]
    fn averages_take_the_places_of_what_they_are_averages_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let array = |name: &str, x: f32| Array { name: name.into(), shape: vec![1], values: Values::F32(vec![x]) };
        save(&path, &[array("w", 1.0), array("average.w", 2.0), array("v", 3.0)], &position()).unwrap();
        let mut checkpoint = open(&path).unwrap();
        checkpoint.take_averages();
        checkpoint.retain(|name| name != "v");
        assert_eq!(checkpoint.tensors().collect::<Vec<_>>(), [("w", [1].as_slice())]);
        let mut store = Store::new();
        store.insert("w", DType::F32, vec![1]).unwrap();
        checkpoint.into_store(&mut store).unwrap();
        assert_eq!(store.get("w").unwrap().number(0), 2.0);
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
        let arrays = arrays();
        let found = || arrays.iter().map(Array::named);
        let text = mismatches(&wanted, found()).unwrap().message;
        assert!(text.contains("`a.w` is [2, 2] in the file, [2, 3] in the program"), "{text}");
        assert!(text.contains("`c` [1] is missing") && text.contains("`b` [] is not in the program"), "{text}");
        assert_eq!(mismatches(&[("a.w".into(), vec![2, 2]), ("b".into(), vec![])], found()), None);
    }
}
