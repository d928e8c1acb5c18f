//! A run folder opened again: its program, its fitted values, its weights.

use super::record;
use crate::data::facts::Shared;
use crate::error::Failure;
use bdl_data::Fitted;
use bdl_execute::Store;
use bdl_plan::Products;
use bdl_schedule::Real;
use bdl_train::checkpoint::{self, Checkpoint};
use bdl_train::{Array, RunError, RunFolder};
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// What `run.json` and `fitted.json` say, read back.
pub struct Stored {
    pub folder: RunFolder,
    pub program: PathBuf,
    pub train: String,
    pub fitted: Fitted,
    pub shared: Shared,
    pub seed: u64,
    pub real: Real,
    /// Of contractions.
    pub products: Products,
    /// The fold of the split that was held out.
    pub fold: usize,
}

/// Opens a run folder. Errors: `not-a-run`, `wrong-fitted`.
pub fn open(path: &Path) -> Result<Stored, Failure> {
    let folder = RunFolder::open(path)?;
    let damaged = |what: &str| {
        Failure::user("not-a-run", format!("`{}` is damaged: {what}", folder.file("run.json").display()))
            .help("train again")
    };
    let run: Value =
        serde_json::from_str(&folder.read_text("run.json")?).map_err(|error| damaged(&error.to_string()))?;
    let train = run["train"].as_str().ok_or_else(|| damaged("it names no `train` block"))?.to_string();
    let seed = run["seed"].as_u64().ok_or_else(|| damaged("it has no seed"))?;
    let fold = run["fold"].as_u64().unwrap_or(0) as usize;
    let precision = run["precision"].as_str().unwrap_or("f32");
    let (real, products) = record::precision_named(precision)
        .ok_or_else(|| damaged(&format!("it was computed in `{precision}`, which this version does not know")))?;
    let fitted = Fitted::from_json(&folder.read_text("fitted.json")?)?;
    let data = run["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_data = data.iter().find(|block| block["name"].as_str() == Some(&fitted.data));
    let lengths = of_data.map(|block| block["lengths"].clone()).unwrap_or_default();
    let shared: Shared = match lengths {
        Value::Null => Vec::new(),
        lengths => serde_json::from_value::<std::collections::BTreeMap<String, Vec<(String, usize)>>>(lengths)
            .map_err(|error| damaged(&error.to_string()))?
            .into_iter()
            .collect(),
    };
    Ok(Stored { program: folder.file("program.bdl"), train, fitted, shared, seed, real, products, fold, folder })
}

/// The weights of the best epoch (of the last one where no best is kept).
pub fn weights(folder: &RunFolder) -> Result<Vec<Array>, Failure> {
    let (mut arrays, _) = checkpoint::load(&weights_file(folder)?)?;
    // Of a run that was not finished, the averages are the weights.
    let averages: Vec<Array> = arrays.extract_if(.., |array| array.name.starts_with("average.")).collect();
    for average in averages {
        if let Some(array) = arrays.iter_mut().find(|array| average.name["average.".len()..] == array.name) {
            array.values = average.values;
        }
    }
    Ok(arrays)
}

/// The same, left in their file.
pub fn mapped_weights(folder: &RunFolder) -> Result<Checkpoint, Failure> {
    let mut weights = checkpoint::open(&weights_file(folder)?)?;
    weights.take_averages();
    Ok(weights)
}

fn weights_file(folder: &RunFolder) -> Result<PathBuf, Failure> {
    let name = if folder.has("best.safetensors") { "best.safetensors" } else { "last.safetensors" };
    if !folder.has(name) {
        return Err(Failure::user("not-a-run", format!("`{}` holds no weights yet", folder.path().display()))
            .help("let the run finish its first epoch, or train again"));
    }
    Ok(folder.file(name))
}

/// Puts weights into a store of which a program needs the wanted tensors. All mismatches are listed at once.
pub fn put_wanted(store: &mut Store, weights: &[Array], wanted: &[(String, Vec<usize>)]) -> Result<(), Failure> {
    if let Some(error) = checkpoint::mismatches(wanted, weights.iter().map(Array::named)) {
        return Err(Failure::from(error));
    }
    for array in weights {
        store
            .set(&array.name, &array.values.to_f64())
            .map_err(|error| Failure::from(RunError::new("bug", error.to_string())))?;
    }
    Ok(())
}

/// A store with a zero tensor for each parameter and state that a program reads.
pub fn empty_store(program: &bdl_equations::Program, real: Real) -> Result<Store, Failure> {
    let mut store = Store::new();
    let read: HashSet<bdl_equations::TensorId> =
        program.nodes.iter().flat_map(bdl_equations::Node::reads_deep).collect();
    for (i, tensor) in program.tensors.iter().enumerate() {
        let id = bdl_equations::TensorId(i as u32);
        let is_needed = match tensor.role {
            bdl_equations::Role::Param => true,
            // What only training reads may be in no file of weights.
            bdl_equations::Role::State => read.contains(&id),
            bdl_equations::Role::Input { .. } | bdl_equations::Role::Computed => false,
        };
        if !is_needed {
            continue;
        }
        let shape = tensor.shape.iter().map(|size| size.as_const()).collect::<Option<Vec<i64>>>();
        let shape = shape.ok_or_else(|| Failure::bug(format!("the size of `{}` is not known", tensor.name)))?;
        store
            .insert(&tensor.name, real.stored(tensor.dtype), shape)
            .map_err(|error| Failure::bug(error.to_string()))?;
    }
    Ok(store)
}
