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

/// A count that only training reads is in the file of all that a run needs to go on, not among the best weights: predictions do without.
#[test]
fn predictions_do_without_a_state_that_only_training_reads() {
    let program = format!(
        "{NUMBER}\nmodel Net(x: f32) -> f32 {{ x * Number(x) }}\n\
         train t {{ model net = Net(); data D; loss mse(net(x), 1); optimizer sgd(0.1); epochs 2; batch 4; predict p = net(x) }}\n"
    );
    let folder = Folder::new(&[("t.bdl", &program), ("d.csv", &rows())]);
    folder.ok(&["train", "t.bdl", "--quiet", "--out", "run"]);
    let counts = |file: &str| scalars(&folder, file).into_keys().filter(|name| name.ends_with(".n")).count();
    assert_eq!((counts("run/best.safetensors"), counts("run/last.safetensors")), (0, 1));
    // Two steps an epoch, each w += 0.2 (1 - w).
    let w: f64 = 1.0 - 0.8f64.powi(4);
    let shown = folder.ok(&["predict", "run", "d.csv"]);
    let last: f64 = shown.trim().lines().last().and_then(|line| line.split('\t').next_back()).unwrap().parse().unwrap();
    assert!((last - w).abs() < 1e-5, "{shown}");
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
    // Six steps of four rows, two an epoch: a moves in the last of them, b in the last two.
    let both = block("frozen a until step 5\n frozen b until epoch 2").replace("batch 8", "batch 4");
    let found = trained(&both);
    assert_eq!((found["a.w"], found["a.n"], found["b.w"], found["b.n"]), (0.5, 1.0, 0.75, 2.0));
}

#[test]
fn the_average_of_the_weights_is_what_is_kept() {
    let folder = Folder::new(&[
        ("d.csv", &rows()),
        (
            "p.bdl",
            &format!(
                "{NUMBER}
                 train t {{
                   model a = Number()
                   data  D
                   loss  square(a(x) - 1)
                   optimizer sgd(0.25)
                   average 0.5
                   batch 8
                   epochs 3
                   predict w = a(x)
                 }}"
            ),
        ),
    ]);
    folder.ok(&["train", "p.bdl", "--quiet", "--out", "run", "--precision", "f64"]);
    let last = scalars(&folder, "run/last.safetensors");
    // w is 0.5, 0.75, 0.875; its average 0.5, 0.625, 0.75.
    assert_eq!((last["a.w"], last["average.a.w"]), (0.875, 0.75));
    let best = scalars(&folder, "run/best.safetensors");
    assert_eq!((best["a.w"], best.get("average.a.w")), (0.75, None));
    let loss = |said: &str| serde_json::from_str::<serde_json::Value>(said).unwrap()["train"]["loss"].as_f64();
    assert_eq!(loss(&folder.ok(&["eval", "run", "--json"])), Some(0.0625));
    std::fs::remove_file(folder.file("run/best.safetensors")).unwrap();
    assert_eq!(loss(&folder.ok(&["eval", "run", "--json"])), Some(0.0625), "the last epoch's average");
    assert!(folder.ok(&["predict", "run", "d.csv"]).contains("0.75"));
}

/// A small network with everything that a part of a batch could get wrong: a weighted loss, a penalty, clipping, draws, two objectives.
const PARTS: &str = r#"
data D = synthetic(rows: 40, seed: 3) {
  x = normal[4]
  y = normal
  k = bernoulli(0.6)
}
model Net(x: f32[C]) -> f32 { x |> Dense(6) |> tanh |> dropout(0.2) |> Neuron() }
train t {
  model net = Net()
  model other = Net()
  data  D
  step one over net {
    loss mse(net(x), y) * (if k then 1 else 0) per k
    penalty 0.01 * l2(net.dense_1.w)
    optimizer adam(1e-2)
    clip norm 0.5
  }
  step two over other every 2 { loss square(other(x) - freeze(net(x))); optimizer sgd(0.1) }
  batch 16
  epochs 3
}
"#;

#[test]
fn a_batch_in_parts_gives_the_numbers_of_the_whole() {
    let in_parts = PARTS.replace("batch 16", "batch 16 in 5 parts");
    let folder = Folder::new(&[("whole.bdl", PARTS), ("parts.bdl", &in_parts)]);
    for name in ["whole", "parts"] {
        let file = format!("{name}.bdl");
        folder.ok(&["train", &file, "--quiet", "--out", name, "--precision", "f64"]);
    }
    let number = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().unwrap());
    let (whole, parts) = (bytes(&folder, "whole/last.safetensors"), bytes(&folder, "parts/last.safetensors"));
    assert_eq!(whole.keys().collect::<Vec<_>>(), parts.keys().collect::<Vec<_>>());
    for (name, whole) in &whole {
        for (a, b) in whole.chunks_exact(8).map(number).zip(parts[name].chunks_exact(8).map(number)) {
            assert!((a - b).abs() <= 1e-11 * a.abs().max(1e-3), "{name}: {a} and {b}");
        }
    }
}

#[test]
fn a_loss_that_compares_examples_is_not_cut_into_parts() {
    let program = "data D = synthetic(rows: 8, seed: 1) { time = uniform(); event = bernoulli(0.5); x = normal[2] }
        model Net(x: f32[C]) -> f32 { x |> Neuron() }
        train t {
          model net = Net()
          data  D
          loss  cox(net(x), time, event) per event
          optimizer adam(1e-3)
          batch 8 in 2 parts
          epochs 1
        }";
    let folder = Folder::new(&[("p.bdl", program)]);
    let said = folder.fails(&["train", "p.bdl", "--quiet"]);
    assert!(said.contains("batch-in-parts"), "{said}");
}

/// Writes a file of weights: names, shapes and numbers.
fn stored(folder: &Folder, name: &str, tensors: &[(&str, &[usize], &[f32])]) {
    use safetensors::tensor::{Dtype, TensorView};
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.to_string(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    std::fs::write(folder.file(name), safetensors::serialize(views, None).unwrap()).unwrap();
}

const TRANSFER: &str = r#"
data D = csv("d.csv") { x = columns("a", "b") }
layer Trunk(x: f32[C]) -> f32[3] {
  param w: f32[C, 3] = zeros
  param b: f32[3] = zeros
  for u: sum[c] x[c] * w[c, u] + b[u]
}
model Net(x: f32[C]) -> f32 {
  let trunk = Trunk()
  let head = Neuron()
  x |> trunk |> head
}
train t {
  model net = Net() from "trunk.safetensors" {
    net.trunk.w[c, u] = "stem.weight"[u, c]
    net.trunk.* = "stem.*"
  }
  data  D
  loss  square(net(x))
  optimizer sgd(0.1) over net.head
  frozen net.trunk
  batch 8
  epochs 1
}
"#;

#[test]
fn first_values_come_from_a_file_by_a_map() {
    let folder = Folder::new(&[("p.bdl", TRANSFER), ("d.csv", "a,b\n1,2\n3,4\n")]);
    let (weight, bias) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [7.0, 8.0, 9.0]);
    let tensors: &[(&str, &[usize], &[f32])] =
        &[("stem.weight", &[3, 2], &weight), ("stem.b", &[3], &bias), ("old.head", &[1], &[0.0])];
    stored(&folder, "trunk.safetensors", tensors);
    let output = folder.run(&["train", "p.bdl", "--out", "run"]);
    let said = common::text(&output.stdout) + &common::text(&output.stderr);
    assert!(said.contains("trunk.safetensors · 2 tensors of net"), "{said}");
    assert!(
        said.contains("begin as new: net.head.w, net.head.b") && said.contains("not used of the file: old.head"),
        "{said}"
    );
    let numbers = |name: &str| -> Vec<f32> {
        let all = bytes(&folder, "run/best.safetensors");
        all[name].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    assert_eq!((numbers("net.trunk.w"), numbers("net.trunk.b")), (vec![1.0, 3.0, 5.0, 2.0, 4.0, 6.0], bias.to_vec()));
    // The run's own program finds the file from anywhere.
    folder.ok(&["eval", "run"]);
    // Another file is another run.
    let hash = |run: &str| std::fs::read_to_string(folder.file(&format!("{run}/run.json"))).unwrap();
    let first: serde_json::Value = serde_json::from_str(&hash("run")).unwrap();
    stored(&folder, "trunk.safetensors", &tensors[..2]);
    folder.ok(&["train", "p.bdl", "--quiet", "--out", "again"]);
    let second: serde_json::Value = serde_json::from_str(&hash("again")).unwrap();
    assert_ne!(first["hash"], second["hash"]);
}

#[test]
fn everything_that_does_not_fit_is_listed_at_once() {
    let folder = Folder::new(&[("p.bdl", TRANSFER), ("d.csv", "a,b\n1,2\n3,4\n")]);
    stored(&folder, "trunk.safetensors", &[("stem.weight", &[2, 3], &[0.0; 6]), ("stem.bias", &[3], &[0.0; 3])]);
    let said = folder.fails(&["train", "p.bdl", "--quiet", "--out", "run"]);
    insta::assert_snapshot!(said);
    assert!(!folder.file("run").exists());
}

#[test]
fn a_run_stops_where_a_score_is_reached_and_says_what_never_moves() {
    let block = "train t {
        model a = Number()
        model b = Number()
        data  D
        loss  square(a(x) - 1) + freeze(b(x))
        optimizer sgd(0.25)
        batch 8
        epochs 30
        stop when train.loss <= 0.0625
      }";
    let folder = Folder::new(&[("p.bdl", &format!("{NUMBER}\n{block}")), ("d.csv", &rows())]);
    let output = folder.run(&["train", "p.bdl", "--out", "run"]);
    let (said, warned) = (common::text(&output.stdout), common::text(&output.stderr));
    // The losses are 1, 1/4, 1/16.
    assert!(said.contains("stopped at epoch 3: train.loss has reached 0.0625"), "{said}{warned}");
    assert!(warned.contains("warning[no-gradient]: the gradient of `b.w` is 0"), "{warned}");
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
