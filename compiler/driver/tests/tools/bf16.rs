//! bf16: `--precision bf16` on the processor (what is kept of it, and what does not depend on it), and bf16 as a type of values.

use crate::common::{Folder, small_splice};
use bdl_train::checkpoint;

fn weights(folder: &Folder, run: &str) -> Vec<(String, Vec<f64>)> {
    let (arrays, _) = checkpoint::load(&folder.file(&format!("{run}/last.safetensors"))).unwrap();
    arrays.into_iter().map(|array| (array.name, array.values.to_f64())).collect()
}

fn about(folder: &Folder, run: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(folder.file(&format!("{run}/run.json"))).unwrap()).unwrap()
}

#[test]
fn a_run_keeps_it() {
    let folder = small_splice(2);
    let train = ["train", "splice.bdl", "--quiet", "--save-every", "0", "--out"];
    let bf16 = ["--precision", "bf16"];
    folder.ok(&[&train[..], &["run"], &bf16].concat());
    folder.ok(&[&train[..], &["exact"]].concat());
    assert_ne!(weights(&folder, "run"), weights(&folder, "exact"), "bf16 makes no difference here");
    assert_eq!(
        (&about(&folder, "run")["precision"], &about(&folder, "exact")["precision"]),
        (&"bf16".into(), &"f32".into())
    );
    assert_ne!(about(&folder, "run")["hash"], about(&folder, "exact")["hash"], "they are not one run");
    // Weights are f32: some have digits that no bf16 has.
    let narrow = |x: &f64| (*x as f32).to_bits() & 0xffff == 0;
    assert!(weights(&folder, "run").iter().any(|(_, values)| !values.iter().all(narrow)));

    let predicted = |run: &str, more: &[&str]| folder.ok(&[&["predict", run, "splice.csv"], more].concat());
    let so = predicted("run", &[]);
    assert_eq!(so, predicted("run", &bf16));
    assert_eq!(so, predicted("run", &["--threads", "1"]));
    let repeated = folder.ok(&["repeat", "run", "--threads", "3"]);
    assert!(repeated.contains("bf16") && repeated.contains("the same bits"), "{repeated}");
    let scored = folder.ok(&["eval", "run", "--json"]);

    // Another seed, or another precision, is another run.
    let other = folder.run(&[&train[..], &["run", "--resume"]].concat());
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(
        said.contains("checkpoint-mismatch") && said.contains("the seed and the precision must be those of the run"),
        "{said}"
    );
    folder.ok(&[&train[..], &["run", "--resume"], &bf16].concat());

    // Taken for a run in f32 it predicts in f32, and in bf16 where that is asked for.
    let file = folder.file("run/run.json");
    let record = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, record.replace("\"bf16\"", "\"f32\"")).unwrap();
    assert_ne!(predicted("run", &[]), so);
    assert_ne!(folder.ok(&["eval", "run", "--json"]), scored);
    assert_eq!(predicted("run", &bf16), so, "asked for");
}

/// Convolutions with ends and a recurrence, over lengths of the example's own: on other threads, and each row alone.
#[test]
fn bits_depend_neither_on_threads_nor_on_the_batch() {
    let program = "data D = csv(\"d.csv\") { dna = letters(column(\"dna\"), DNA); y = number(column(\"y\")) }\n\
         model Net(dna: DNA[L]) -> f32[1] {\n  let h = onehot(dna) |> Conv1d(12, kernel: 5, pad: same) |> relu |> Lstm(7) |> Conv1d(9, kernel: 3, pad: same) |> relu\n  \
         (for c: mean[t] h[t, c]) |> Dense(1)\n}\n\
         train t { model net = Net(); data D; loss mse(net(dna), [y]); optimizer adam(1e-2); epochs 2; batch 16; predict p = net(dna) }\n";
    let mut state = 7u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut rows = String::from("dna,y\n");
    for i in 0..60 {
        let length = 1 + below(40);
        let bases: String = (0..length).map(|_| ["A", "C", "G", "T"][below(4) as usize]).collect();
        rows.push_str(&format!("{bases},{}\n", f64::from(i) / 60.0));
    }
    let folder = Folder::new(&[("net.bdl", program), ("d.csv", &rows)]);
    let train = ["train", "net.bdl", "--quiet", "--precision", "bf16", "--out"];
    folder.ok(&[&train[..], &["one", "--threads", "1"]].concat());
    folder.ok(&[&train[..], &["four", "--threads", "4"]].concat());
    assert_eq!(weights(&folder, "one"), weights(&folder, "four"), "to the bit");
    let together = folder.ok(&["predict", "one", "d.csv"]);
    let mut lines = together.lines();
    let head = lines.next().unwrap();
    for (i, (row, expected)) in rows.lines().skip(1).zip(lines).enumerate().step_by(7) {
        std::fs::write(folder.file("alone.csv"), format!("dna,y\n{row}\n")).unwrap();
        let alone = folder.ok(&["predict", "one", "alone.csv"]);
        assert_eq!(alone.lines().next(), Some(head));
        let own = |line: &str| line.split_once('\t').map(|(_, rest)| rest.to_string());
        assert_eq!(own(alone.lines().nth(1).unwrap()), own(expected), "row {i}");
    }
}

#[test]
fn tf32_is_refused_and_the_others_named() {
    let folder = small_splice(1);
    let said = folder.run(&["train", "splice.bdl", "--precision", "tf32"]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1));
    assert!(text.contains("error[device-missing]") && text.contains("f32, f64 and bf16"), "{text}");
}

/// The opening line says in what the products are.
#[test]
fn the_opening_line_names_it() {
    let folder = small_splice(1);
    let said = folder.ok(&["train", "splice.bdl", "--precision", "bf16", "--out", "run"]);
    assert!(said.lines().next().unwrap().contains(", bf16"), "{said}");
    let said = folder.ok(&["train", "splice.bdl", "--out", "other"]);
    assert!(!said.lines().next().unwrap().contains("bf16"), "{said}");
}

/// bf16 as the type of what a layer computes: the check of the gradient sees no steps, weights keep all digits, a state and predictions have 8, and
/// bits do not depend on threads.
#[test]
fn a_program_with_values_of_bf16_trains() {
    let program = r#"
data D = csv("d.csv") {
  x = number(column("x"))
  y = number(column("y"))
}
layer Net()(x: f32) -> f32 {
  param w: f32[8] = normal[8]
  param b: f32[8] = normal[8]
  param v: f32[8] = normal[8]
  state seen: bf16 = 0
  update seen = 0.9 * seen + 0.1 * mean[batch] x
  let h = for i < 8: bf16(tanh(w[i] * x + b[i]))
  let k = for i < 8: h[i] * bf16(v[i])
  sum[i] f32(k[i]) + 0.1 * seen
}
train t {
  model     net = Net()
  data      D
  loss      square(net(x) - y)
  optimizer sgd(0.05)
  epochs    3
  predict   p = bf16(net(x))
}
"#;
    let rows: String = (0..90).map(|i| format!("{},{}\n", i as f64 / 30.0 - 1.5, (i as f64 / 15.0).sin())).collect();
    let folder = Folder::new(&[("p.bdl", program), ("d.csv", &format!("x,y\n{rows}"))]);
    for precision in ["f32", "f64"] {
        let said = folder.ok(&["train", "p.bdl", "--precision", precision, "--out", precision]);
        assert!(said.contains("gradients agree with finite differences"), "{said}");
        let narrow = |x: &f64| (*x as f32).to_bits() & 0xffff == 0 && f64::from(*x as f32) == *x;
        for (name, values) in weights(&folder, precision) {
            assert_eq!(values.iter().all(narrow), name == "net.seen", "{name}: {values:?}");
        }
        let predicted = folder.ok(&["predict", precision, "d.csv"]);
        assert_eq!(predicted, folder.ok(&["predict", precision, "d.csv", "--threads", "1"]));
        let at = predicted.lines().next().unwrap().split('\t').position(|name| name == "p").unwrap();
        let numbers = predicted.lines().skip(1).map(|line| line.split('\t').nth(at).unwrap().parse::<f64>().unwrap());
        let numbers: Vec<f64> = numbers.collect();
        // They are printed with 6 digits, to which a number of 24 binary digits is hardly ever one of 8.
        let near = |x: &f64| {
            (x - bdl_equations::interpret::scalar::stored(bdl_equations::DType::BF16, *x)).abs() <= 5.1e-6 * x.abs()
        };
        assert!(numbers.len() == 90 && numbers.iter().all(near), "{numbers:?}");
        let repeated = folder.ok(&["repeat", precision, "--threads", "3"]);
        assert!(repeated.contains("the same bits"), "{repeated}");
    }
}
