//! The programs of `tests/speed`, with fewer and shorter examples: the gradients of one step on a GPU, and on the processor in f32, against f64's.
//!
//! Gradients are what Adam's first moment is after one step: `m = 0.1 g`. The measure is that of the recorded models ([`super::differences`]).

use super::models::{largest, replaced};
use super::{Tensors, differences, read};
use crate::common::{Folder, ok_on_its_device};
use std::path::Path;

const F32: f64 = 1e-4;

/// With what is written differently: of two examples, and short where a second on the machine of the tests would not be enough.
pub const PROGRAMS: [(&str, &[(&str, &str)]); 9] = [
    ("basset", &[("rows: 256", "rows: 2"), ("[600]", "[150]")]),
    ("danq", &[("rows: 64", "rows: 2"), ("[1000]", "[64]")]),
    ("gin", &[("rows: 512", "rows: 2")]),
    ("lstm", &[("rows: 512", "rows: 2")]),
    ("mlp", &[("rows: 512", "rows: 2")]),
    ("resnet2d", &[("rows: 4", "rows: 2"), ("[128, 128", "[20, 20")]),
    ("splice", &[("rows: 24", "rows: 2"), ("[5000]", "[120]")]),
    ("transformer", &[("rows: 256", "rows: 2"), ("[256]", "[24]")]),
    ("vae", &[("rows: 512", "rows: 2")]),
];

fn program(name: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/speed").join(format!("{name}.bdl"));
    replaced(name, std::fs::read_to_string(&path).unwrap(), changes.iter().copied())
}

/// The gradients of the only step, as `grad.` and the path of what they are by.
fn gradients(folder: &Folder, options: &[&str]) -> Tensors {
    let mut args = vec!["train", "program.bdl", "--quiet", "--out", "run"];
    args.extend(options);
    ok_on_its_device(folder, &args);
    let stored = read(&folder.file("run/last.safetensors"));
    std::fs::remove_dir_all(folder.file("run")).unwrap();
    let of_path = |name: &str| Some(format!("grad.{}", name.strip_prefix("optimizer.")?.strip_suffix(".m")?));
    stored.into_iter().filter_map(|(name, tensor)| Some((of_path(&name)?, tensor))).collect()
}

pub fn compare(name: &str, changes: &[(&str, &str)]) -> Vec<String> {
    let folder = Folder::new(&[("program.bdl", &program(name, changes))]);
    let mut exact = gradients(&folder, &["--precision", "f64"]);
    assert!(exact.len() > 3, "{name}: {} gradients", exact.len());
    // What is 0 in exact arithmetic (biases before a normalisation) is rounding here.
    let overall = exact.values().map(|(_, values)| largest(values)).fold(0.0, f64::max);
    for (_, values) in exact.values_mut().filter(|(_, values)| largest(values) < 1e-13 * overall) {
        values.fill(0.0);
    }
    let mut wrong = Vec::new();
    for (where_, options) in [("f32", &[][..]), ("PTX", &["--device", "cuda"])] {
        let found = differences(&gradients(&folder, options), &exact, F32);
        wrong.extend(found.into_iter().map(|what| format!("{name}: {where_}: {what}")));
    }
    wrong
}
