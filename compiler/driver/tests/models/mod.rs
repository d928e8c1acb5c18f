//! The published models of `tests/models/` at their own sizes against PyTorch.
//!
//! Weights follow a rule and PyTorch's gradients are stored as digests, so that a model of 31 million weights costs the repository a few
//! kilobytes; both are described in `tests/models/rule.py`. The test makes the weights, stores them as safetensors, and runs `bdl grad`:
//!
//! - in f64 every tensor has PyTorch's digest: all elements of a small one, and of a large one four sums in which every element has a weight
//!   of at least 1/2. All agree to 1e-8 of the tensor's largest element;
//! - in f32 every element of every tensor agrees with f64's to 1e-4 of the tensor's largest, on the processor and as PTX behind the driver of
//!   the tests.

use super::{Tensors, case, differences, read};
use crate::common::{Folder, ok_on_its_device};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const F64: f64 = 1e-8;
const F32: f64 = 1e-4;

pub fn folder() -> PathBuf {
    case("").join("../models")
}

/// What the recording scripts wrote beside a model.
pub fn recorded(name: &str) -> Json {
    let path = folder().join(format!("{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// SplitMix64 (Steele, Lea and Flood 2014), seeded by the 64-bit FNV-1a hash of the stream's name.
fn words(stream: &str) -> impl Iterator<Item = u64> + use<> {
    let hashed = |seed: u64, byte: &u8| (seed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut state = stream.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, hashed);
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

fn shape(json: &Json) -> Vec<usize> {
    json["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn numbers(json: &Json) -> Option<Vec<f64>> {
    Some(json.as_array()?.iter().map(|n| n.as_f64().unwrap()).collect())
}

/// The weights of the rule, as a safetensors file.
fn store_weights(rules: &Json, to: &Path) {
    let mut made: BTreeMap<&str, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for (path, rule) in rules.as_object().unwrap() {
        let (scale, shift) = (rule["scale"].as_f64().unwrap(), rule["shift"].as_f64().unwrap());
        let shape = shape(rule);
        let count = shape.iter().product();
        let value = |word: u64| (shift + scale * ((word >> 40) as f64 / 8_388_608.0 - 1.0)) as f32;
        made.insert(path, (shape, words(path).take(count).flat_map(|word| value(word).to_le_bytes()).collect()));
    }
    let views =
        made.iter().map(|(path, (shape, bytes))| (path, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, to).unwrap();
}

/// The four sums of a digest.
pub fn sums(name: &str, values: &[f64]) -> [f64; 4] {
    let mut sums = [0.0; 4];
    let mut stream = words(&format!("check {name}"));
    // Sums of parts, so that rounding stays far below what is looked for.
    for part in values.chunks(4096) {
        let mut part_sums = [0.0; 4];
        for (value, word) in part.iter().zip(&mut stream) {
            for (j, sum) in part_sums.iter_mut().enumerate() {
                let half = (word >> (16 * j)) & 0xffff;
                let weight = 0.5 + (half >> 1) as f64 / 32768.0;
                *sum += if half & 1 == 1 { -weight * value } else { weight * value };
            }
        }
        sums.iter_mut().zip(part_sums).for_each(|(sum, part)| *sum += part);
    }
    sums
}

pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most: f64, value| most.max(value.abs()))
}

fn is_gradient(name: &str) -> bool {
    name.starts_with("grad.") || name.contains(".grad.")
}

/// Every tensor that is missing, too many, or has another digest.
pub fn digests_differ(made: &Tensors, expected: &Json) -> Vec<String> {
    let mut wrong = Vec::new();
    let expected = expected.as_object().unwrap();
    let magnitude = |digest: &Json| match numbers(&digest["values"]) {
        Some(values) => largest(&values),
        None => digest["largest"].as_f64().unwrap(),
    };
    let overall = expected.iter().filter(|(name, _)| is_gradient(name)).map(|(_, digest)| magnitude(digest));
    let overall = overall.fold(0.0, f64::max);
    for (name, digest) in expected {
        let Some((found_shape, found)) = made.get(name) else {
            wrong.push(format!("`{name}` is missing"));
            continue;
        };
        if *found_shape != shape(digest) {
            wrong.push(format!("`{name}` is {found_shape:?}, PyTorch's {:?}", shape(digest)));
            continue;
        }
        let scale = if magnitude(digest) == 0.0 { overall } else { magnitude(digest) };
        let pairs: Vec<(f64, f64)> = match (numbers(&digest["values"]), numbers(&digest["sums"])) {
            (Some(values), _) => found.iter().copied().zip(values).collect(),
            // An element counts at least half in a sum.
            (None, Some(wanted)) => {
                let doubled = sums(name, found).into_iter().zip(wanted).map(|(a, b)| (2.0 * a, 2.0 * b));
                doubled.chain([(largest(found), magnitude(digest))]).collect()
            }
            (None, None) => panic!("`{name}` has no digest"),
        };
        let apart =
            pairs.iter().map(|(a, b)| if a.is_nan() { f64::INFINITY } else { (a - b).abs() }).fold(0.0, f64::max);
        if apart > F64 * scale {
            wrong.push(format!("`{name}` differs by {:.1e} of its largest element", apart / scale));
        }
    }
    let too_many = made.keys().filter(|name| is_gradient(name) && !expected.contains_key(*name));
    wrong.extend(too_many.map(|name| format!("`{name}` is not among PyTorch's")));
    wrong
}

/// The program of this name, each of these written differently.
pub fn replaced<'c>(name: &str, program: String, changes: impl Iterator<Item = (&'c str, &'c str)>) -> String {
    changes.fold(program, |program, (from, to)| {
        assert!(program.contains(from), "{name}.bdl does not contain `{from}`");
        program.replace(from, to)
    })
}

/// What differs from PyTorch, in both precisions, and on a GPU.
pub fn compare(name: &str) -> Vec<String> {
    let recorded = recorded(name);
    let folder_of_run = Folder::new(&[]);
    let file = |name: &str| folder_of_run.file(name);
    let program = std::fs::read_to_string(folder().join(format!("{name}.bdl"))).unwrap();
    let changes = recorded["replace"].as_array().unwrap().iter();
    let changes = changes.map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
    std::fs::write(file("model.bdl"), replaced(name, program, changes)).unwrap();
    for entry in std::fs::read_dir(folder()).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|kind| kind == "csv") {
            std::fs::copy(entry.path(), folder_of_run.path().join(entry.file_name())).unwrap();
        }
    }
    store_weights(&recorded["weights"], &file("weights.safetensors"));
    let inputs = folder().join(format!("{name}.npz")).display().to_string();
    let settings: Vec<&str> = recorded["set"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let computed = |options: &[&str]| {
        let mut args = vec![
            "grad",
            "model.bdl",
            "--weights",
            "weights.safetensors",
            "--inputs",
            &inputs,
            "--out",
            "made.safetensors",
        ];
        args.extend(options);
        settings.iter().for_each(|setting| args.extend(["--set", setting]));
        ok_on_its_device(&folder_of_run, &args);
        read(&file("made.safetensors"))
    };
    let double = computed(&["--precision", "f64"]);
    let mut wrong: Vec<String> =
        digests_differ(&double, &recorded["expected"]).into_iter().map(|what| format!("{name}: {what}")).collect();
    if wrong.is_empty() {
        // What is 0 in exact arithmetic is rounding here: PyTorch's digest says which those are.
        let mut exact = double.clone();
        for (path, digest) in recorded["expected"].as_object().unwrap() {
            let zero = digest["largest"].as_f64() == Some(0.0)
                || numbers(&digest["values"]).is_some_and(|values| largest(&values) == 0.0);
            if zero && let Some((_, values)) = exact.get_mut(path) {
                values.iter_mut().for_each(|value| *value = 0.0);
            }
        }
        let single = differences(&computed(&[]), &exact, F32);
        wrong.extend(single.into_iter().map(|what| format!("{name}: f32: {what}")));
        let single = differences(&computed(&["--device", "cuda"]), &exact, F32);
        wrong.extend(single.into_iter().map(|what| format!("{name}: PTX: {what}")));
    }
    wrong
}
