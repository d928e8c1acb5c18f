//! Several objectives, groups of parameters, frozen parts: what moves when, by numbers that can be followed by hand.

mod common;

use common::Folder;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Eight equal rows: every batch is the same, and the mean over it is any row's.
fn rows() -> String {
    format!("x\n{}", "1\n".repeat(8))
}

/// One number that is trained, and how often it was.
const NUMBER: &str = r#"
data D = csv("d.csv") { x = number(column("x")) }

layer Number(x: f32) -> f32 {
  param w: f32 = zeros
  state n: f32 = zeros
  update n = n + (if training then 1 else 0)
  w
}
"#;

/// The scalars of a file of weights.
fn scalars(folder: &Folder, file: &str) -> BTreeMap<String, f64> {
    let bytes = std::fs::read(folder.file(file)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let number = |data: &[u8]| match data.len() {
        4 => f64::from(f32::from_le_bytes(data.try_into().unwrap())),
        _ => f64::from_le_bytes(data.try_into().unwrap()),
    };
    file.tensors().into_iter().filter(|(_, view)| view.shape().is_empty()).map(|(n, v)| (n, number(v.data()))).collect()
}

/// Every tensor's bytes by name.
fn bytes(folder: &Folder, file: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(folder.file(file)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

fn trained(block: &str) -> BTreeMap<String, f64> {
    let folder = Folder::new(&[("p.bdl", &format!("{NUMBER}\n{block}")), ("d.csv", &rows())]);
    folder.ok(&["train", "p.bdl", "--quiet", "--out", "run", "--precision", "f64"]);
    scalars(&folder, "run/last.safetensors")
}

#[test]
fn each_step_moves_its_own_parameters_and_state_at_its_own_pace() {
    let found = trained(
        "train t {
           model a = Number()
           model b = Number()
           data  D
           step one over a { loss square(a(x) - 1); optimizer sgd(0.5) }
           step two over b every 2 { loss square(b(x) - a(x)); optimizer sgd(0.25) }
           batch 2
           epochs 1
         }",
    );
    // Four batches: `a` reaches 1 in the first; `b` goes half the way to it in the second and in the fourth.
    assert_eq!((found["a.w"], found["b.w"]), (1.0, 0.75));
    // `two` applies `a` as well, but it is not its own.
    assert_eq!((found["a.n"], found["b.n"]), (4.0, 2.0));
}

#[test]
fn a_step_counts_its_own_steps() {
    let found = trained(
        "optimizer counting(lr: schedule)(w: f32[..], g: f32[..]) { update w = w + lr * (step + 1) + 0 * g }
         train t {
           model a = Number()
           data  D
           step one every 2 { loss a(x); optimizer counting(1) }
           batch 2
           epochs 1
         }",
    );
    assert_eq!(found["a.w"], 3.0, "1 and 2, although the batches are the second and the fourth");
}

#[test]
fn an_optimizer_without_over_takes_what_no_other_takes() {
    let found = trained(
        "train t {
           model a = Number()
           model b = Number()
           data  D
           loss  square(a(x) - 1) + square(b(x) - 1)
           optimizer sgd(0.5) over a
           optimizer sgd(0.25)
           batch 8
           epochs 2
         }",
    );
    assert_eq!((found["a.w"], found["b.w"]), (1.0, 0.75));
}

#[test]
fn what_is_frozen_stays_and_runs_as_if_not_training() {
    let block = |frozen: &str| {
        format!(
            "train t {{
               model a = Number()
               model b = Number()
               data  D
               loss  square(a(x) - 1) + square(b(x) - 1)
               optimizer sgd(0.25)
               {frozen}
               batch 8
               epochs 3
             }}"
        )
    };
    let found = trained(&block("frozen a"));
    assert_eq!((found["a.w"], found["a.n"], found["b.w"], found["b.n"]), (0.0, 0.0, 0.875, 3.0));
    let found = trained(&block("frozen a until epoch 2"));
    assert_eq!((found["a.w"], found["a.n"], found["b.w"], found["b.n"]), (0.5, 1.0, 0.875, 3.0));
}

const GAN: &str = r#"
data Cells = synthetic(rows: 48, seed: 3) { expr = normal[4] }

model Generator(width: dim)(z: f32[Z]) -> f32[4] { z |> Dense(width) |> relu |> BatchNorm() |> Dense(4) }
model Critic(x: f32[G]) -> f32 { x |> Dense(8) |> tanh |> Neuron() }

train gan(lr: f32 = 1e-3) {
  model  make  = Generator(8)
  model  judge = Critic()
  data   Cells
  step critic over judge {
    let fake = freeze(make(normal[5]))
    let mix  = lerp(fake, expr, uniform())
    loss judge(fake) - judge(expr) + 10 * square(norm(grad(judge(mix), mix)) - 1)
    optimizer adam(lr, beta1: 0)
  }
  step generator over make every 3 {
    loss -judge(make(normal[5]))
    optimizer adam(lr, beta1: 0)
  }
  epochs  6
  batch   8
  predict profile = make(normal[5])
}
"#;

#[test]
fn a_wgan_with_gradient_penalty_trains_and_resumes_to_the_same_bits() {
    let folder = Folder::new(&[("gan.bdl", GAN)]);
    folder.ok(&["train", "gan.bdl", "--quiet", "--out", "whole"]);
    let whole = bytes(&folder, "whole/last.safetensors");
    // Killed after two epochs, with the optimisers' states in the checkpoint.
    let mut child = folder
        .command(&["train", "gan.bdl", "--json", "--out", "cut", "--save-every", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let epoch = lines.by_ref().map(Result::unwrap).filter(|line| line.contains("\"epoch\"")).nth(1).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let epoch: serde_json::Value = serde_json::from_str(&epoch).unwrap();
    assert!(epoch["loss"]["critic"].is_f64() && epoch["loss"]["generator"].is_f64(), "{epoch}");
    folder.ok(&["train", "gan.bdl", "--quiet", "--out", "cut", "--resume"]);
    assert!(bytes(&folder, "cut/last.safetensors") == whole);
    let metrics = std::fs::read_to_string(folder.file("whole/metrics.json")).unwrap();
    assert!(metrics.contains("\"critic\"") && metrics.contains("\"generator\""), "{metrics}");
}
