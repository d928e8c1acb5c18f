//! First values from a file of weights: `model net = Net() from "trunk.safetensors" { .. }`.
//!
//! The map says which tensor of the file each parameter is, and in which order the file has its axes. Everything that does not fit is
//! listed at once, before anything is trained; what the map leaves out, on either side, is said.

use crate::error::Failure;
use bdl_check::hir::{Renaming, Store, TensorType, Train, Transfer, is_under};
use bdl_train::{Array, RunError, Values, checkpoint};
use std::path::{Path, PathBuf};

/// What a transfer gives.
#[derive(Debug)]
pub struct Transferred {
    /// Under the program's names.
    pub arrays: Vec<Array>,
    /// A line for each file.
    pub said: Vec<String>,
}

/// The path of a transfer's file: relative to the program.
pub fn file(transfer: &Transfer, folder: &Path) -> PathBuf {
    folder.join(&transfer.file)
}

/// Reads every file that the block's models begin from. Errors: `transfer-mismatch`, a file that cannot be read.
pub fn read(train: &Train, folder: &Path) -> Result<Transferred, Failure> {
    let mut all = Transferred { arrays: Vec::new(), said: Vec::new() };
    for transfer in &train.transfers {
        let path = file(transfer, folder);
        if !path.exists() {
            return Err(Failure::user("missing-file", format!("there is no file `{}`", path.display()))
                .help(format!("`{}` begins from it; paths are relative to the program", transfer.model)));
        }
        let (found, _) = checkpoint::load(&path)?;
        let one = matched(&train.store, transfer, &found)?;
        all.arrays.extend(one.arrays);
        all.said.extend(one.said);
    }
    Ok(all)
}

fn matched(store: &Store, transfer: &Transfer, found: &[Array]) -> Result<Transferred, Failure> {
    let params = store.params.iter().map(|param| (&*param.path, &param.ty));
    let states = store.states.iter().map(|state| (&*state.path, &state.ty));
    let (mut arrays, mut wrong, mut left) = (Vec::new(), Vec::new(), Vec::new());
    let mut used: Vec<&str> = Vec::new();
    for (path, ty) in params.chain(states).filter(|(path, _)| is_under(path, &transfer.model)) {
        let Some((name, renaming)) = stored_name(&transfer.map, path) else {
            left.push(path);
            continue;
        };
        let shape = shape(ty);
        let Some(array) = found.iter().find(|array| array.name == name) else {
            wrong.push(format!("`{path}` {shape:?} of the model would be `{name}`, which is not in the file"));
            continue;
        };
        used.push(&array.name);
        match ordered(array, renaming.and_then(|renaming| renaming.axes.as_deref())) {
            Some(array) if array.shape == shape => arrays.push(Array { name: path.to_string(), ..array }),
            Some(array) if renaming.is_some_and(|renaming| renaming.axes.is_some()) => {
                wrong.push(format!(
                    "`{path}` of the model is {shape:?}, but `{name}` of the file is {:?} in this order of axes",
                    array.shape
                ));
            }
            Some(_) | None => {
                wrong.push(format!("`{path}` of the model is {shape:?}, but `{name}` of the file is {:?}", array.shape))
            }
        }
    }
    if !wrong.is_empty() {
        let rest: Vec<&str> = found.iter().map(|array| &*array.name).filter(|name| !used.contains(name)).collect();
        let mut help = "give each parameter its tensor in the map: `net.w[k, c] = \"stem.weight\"[c, k]`".to_string();
        if !rest.is_empty() {
            help = format!("the file also holds {}\n          {help}", rest.join(", "));
        }
        return Err(Failure::from(
            RunError::new(
                "transfer-mismatch",
                format!("`{}` does not fit `{}`:\n     {}", transfer.file, transfer.model, wrong.join("\n     ")),
            )
            .help(help),
        ));
    }
    let mut said = vec![format!("{} · {} tensors of {}", transfer.file, arrays.len(), transfer.model)];
    if !left.is_empty() {
        said.push(format!("not in the map, begin as new: {}", left.join(", ")));
    }
    let rest: Vec<&str> = found.iter().map(|array| &*array.name).filter(|name| !used.contains(name)).collect();
    // A checkpoint of ours holds the optimizer's state beside the weights, twice as many names as these.
    let (state, rest): (Vec<&str>, Vec<&str>) = rest.into_iter().partition(|name| name.starts_with("optimizer."));
    let state = (!state.is_empty()).then_some("the optimizer's state");
    let rest: Vec<&str> = rest.into_iter().chain(state).collect();
    if !rest.is_empty() {
        said.push(format!("not used of the file: {}", rest.join(", ")));
    }
    Ok(Transferred { arrays, said })
}

/// What a parameter is called in the file: by its own line, else by the longest `*` that covers it.
fn stored_name<'m>(map: &'m [Renaming], path: &str) -> Option<(String, Option<&'m Renaming>)> {
    if map.is_empty() {
        return Some((path.to_string(), None));
    }
    if let Some(own) = map.iter().find(|renaming| !renaming.all && *renaming.path == *path) {
        return Some((own.stored.clone(), Some(own)));
    }
    let covering =
        map.iter().filter(|renaming| renaming.all && is_under(path, &renaming.path) && *renaming.path != *path);
    let longest = covering.max_by_key(|renaming| renaming.path.len())?;
    let rest = &path[longest.path.len() + 1..];
    Some((format!("{}{rest}", longest.stored.trim_end_matches('*')), Some(longest)))
}

fn shape(ty: &TensorType) -> Vec<usize> {
    ty.shape.iter().map(|axis| axis.size.as_const().unwrap_or(0).max(0) as usize).collect()
}

/// The array with its axes in another order: axis i of the result is axis `axes[i]`. `None` where it has another number of axes.
fn ordered(array: &Array, axes: Option<&[usize]>) -> Option<Array> {
    let Some(axes) = axes else { return Some(array.clone()) };
    if axes.len() != array.shape.len() {
        return None;
    }
    let shape: Vec<usize> = axes.iter().map(|axis| array.shape[*axis]).collect();
    let mut strides = vec![1; array.shape.len()];
    for axis in (1..array.shape.len()).rev() {
        strides[axis - 1] = strides[axis] * array.shape[axis];
    }
    let steps: Vec<usize> = axes.iter().map(|axis| strides[*axis]).collect();
    let places = (0..array.values.len()).map(|at| {
        let mut rest = at;
        let mut place = 0;
        for axis in (0..shape.len()).rev() {
            place += rest % shape[axis] * steps[axis];
            rest /= shape[axis];
        }
        place
    });
    let values = match &array.values {
        Values::F32(v) => Values::F32(places.map(|at| v[at]).collect()),
        Values::F64(v) => Values::F64(places.map(|at| v[at]).collect()),
        Values::I32(v) => Values::I32(places.map(|at| v[at]).collect()),
    };
    Some(Array { name: array.name.clone(), shape, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renaming(path: &str, all: bool, stored: &str) -> Renaming {
        Renaming { path: path.into(), all, stored: stored.into(), axes: None }
    }

    #[test]
    fn axes_take_the_order_of_the_parameter() {
        let values = Values::F32((0..6).map(|n| n as f32).collect());
        let array = Array { name: "w".into(), shape: vec![2, 3], values };
        let turned = ordered(&array, Some(&[1, 0])).unwrap();
        assert_eq!(turned.shape, [3, 2]);
        assert_eq!(turned.values, Values::F32(vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
        assert_eq!(ordered(&array, Some(&[0])), None);
    }

    #[test]
    fn an_own_line_comes_before_a_star_and_a_longer_star_before_a_shorter() {
        let map = [
            renaming("net", true, "*"),
            renaming("net.trunk", true, "stem.*"),
            renaming("net.trunk.w", false, "first"),
        ];
        let name = |path: &str| stored_name(&map, path).unwrap().0;
        assert_eq!(
            (name("net.trunk.w"), name("net.trunk.b"), name("net.head.b")),
            ("first".into(), "stem.b".into(), "head.b".into())
        );
        assert!(stored_name(&map[1..], "net.head.b").is_none());
    }
}
