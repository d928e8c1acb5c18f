//! Whole programs: the standard library, and the programs that the language was designed on.

mod support;

use bdl_check::hir::{Store, Type};
use bdl_check::show_type;

const FIRST: &str = r#"
// data Junctions: dna = f32[60, 4], site = category(EI IE N)
data Junctions = csv("splice.csv") {
  dna  = onehot(column("sequence"), DNA)
  site = category(column("class"))
}

model SpliceNet(width: dim = 32, drop: f32 = 0.3)(dna: f32[L, 4]) -> logit[3] {
  dna
    |> Conv1d(width, kernel: 9)      |> relu |> MaxPool1d(2)
    |> Conv1d(2 * width, kernel: 5)  |> relu |> MaxPool1d(2)
    |> flatten
    |> Dense(64) |> relu |> dropout(drop)
    |> Dense(3)
}

train splice(lr: f32 = 1e-3) {
  model     net = SpliceNet()
  data      Junctions
  split     random(train: 0.7, valid: 0.15, test: 0.15, balance: site)
  loss      cross_entropy(net(dna), site)
  optimizer adamw(cosine(lr), weight_decay: 1e-2)
  epochs    40
  batch     64
  stop      when valid.loss stalls for 5 epochs
  keep      best valid.loss
  predict   kind = softmax(net(dna))
  report    accuracy(kind, site), auroc(kind, site), confusion(kind, site)
}

expect splice { test.accuracy >= 0.93 }
"#;

fn params(store: &Store) -> Vec<String> {
    store.params.iter().map(|p| format!("{} {}", p.path, show_type(&Type::Tensor(p.ty.clone())))).collect()
}

#[test]
fn the_first_program_of_the_language_page() {
    let checked = support::check_with("splice.bdl", FIRST, &[], &["SpliceNet"]);
    assert!(checked.diagnostics.is_empty(), "{}", checked.rendered());
    let train = &checked.hir.trains[0];
    assert_eq!(
        params(&train.store),
        [
            "net.conv1d_1.w f32[9, 4, 32]",
            "net.conv1d_1.b f32[32]",
            "net.conv1d_2.w f32[5, 32, 64]",
            "net.conv1d_2.b f32[64]",
            "net.dense_1.w f32[704, 64]",
            "net.dense_1.b f32[64]",
            "net.dense_2.w f32[64, 3]",
            "net.dense_2.b f32[3]",
        ]
    );
}

/// `by` holds for the metrics in front of it, back to the one before.
#[test]
fn each_metric_of_a_report_has_its_own_by() {
    let report = "accuracy(kind, site) by site, auroc(kind, site), confusion(kind, site)";
    for (report, expected) in [
        (report.to_string(), [Some("site"), None, None]),
        (report.replace(" by site", ""), [None, None, None]),
        (report.replace(" by site", "") + " by site", [Some("site"); 3]),
        (report.replace("auroc(kind, site)", "auroc(kind, site) by site"), [Some("site"), Some("site"), None]),
    ] {
        let text = FIRST.replace("accuracy(kind, site), auroc(kind, site), confusion(kind, site)", &report);
        let checked = support::check_with("splice.bdl", &text, &[], &[]);
        assert!(checked.diagnostics.is_empty(), "{}", checked.rendered());
        let found: Vec<Option<&str>> = checked.hir.trains[0].reports.iter().map(|r| r.by.as_deref()).collect();
        assert_eq!(found, expected, "{report}");
    }
}

/// Facts about the synthetic data of the design's programs.
fn with_facts(name: &str) -> &'static str {
    match name {
        "basset" => "// data Random: dna = f32[600, 4], opened = bool[164]\n",
        "cox" => "// data Patients: x = f32[9], time = f32, event = bool\n",
        "danq" => "// data Random: dna = f32[1000, 4], marks = bool[919]\n",
        "gin" => "// data Random: atoms = f32[24, 40], src = index(24)[52], dst = index(24)[52], y = f32\n",
        "mlp" => "// data Random: x = f32[2000], y = category(10)\n",
        "splice" => "// data Random: dna = f32[5000, 4], site = category(3)[5000]\n",
        "transformer" => "// data Random: residues = Protein[256], target = category(26)[256]\n",
        "vae" => "// data Random: x = f32[2000]\n",
        _ => "",
    }
}

const DESIGNED: [&str; 10] = ["basset", "cox", "danq", "gin", "mlp", "mps", "ode", "splice", "transformer", "vae"];

#[test]
fn the_programs_that_the_language_was_designed_on() {
    let folder = support::root().join("../shared/design/programs");
    if !folder.is_dir() {
        eprintln!("SKIPPED: the programs of the design are not beside this checkout");
        return;
    }
    let mut wrong = String::new();
    for name in DESIGNED {
        let text = std::fs::read_to_string(folder.join(format!("{name}.bdl"))).expect("a program");
        let text = format!("{}{text}", with_facts(name));
        let checked = support::check_with(&format!("{name}.bdl"), &text, &[], &[]);
        // It compares patients, of whom a batch of the default size holds some.
        let expected: &[&str] = if name == "cox" { &["part-of-batch"] } else { &[] };
        if checked.codes() != expected {
            wrong += &format!("---- {name}\n{}", checked.rendered());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Each file of the standard library, its definitions checked on their own with sizes as names.
#[test]
fn the_standard_library_holds_for_all_sizes() {
    let mut wrong = String::new();
    let names = "nn init loss optim attention graph protein vision vae ode tensor_network survival bio contrastive gan";
    for name in names.split(' ') {
        let text = std::fs::read_to_string(support::root().join(format!("stdlib/{name}.bdl"))).expect("a file");
        let checked = support::check_with(&format!("{name}.bdl"), &text, &[], &[]);
        if !checked.diagnostics.is_empty() {
            wrong += &format!("---- {name}\n{}", checked.rendered());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A function's arguments may make instances; those after them are still fresh, not second uses of the first.
#[test]
fn instances_made_in_a_functions_argument_are_their_own() {
    let text = r#"
// data D: x = f32[3], y = f32
data D = csv("d.csv") {
  x = columns("a", "b", "c")
  y = column("y")
}
fn act(x: f32[..]) -> f32[..] { tanh(x) }
model M()(x: f32[C]) -> f32 { act(x |> Dense(5)) |> Dense(5) |> act |> Dense(5) |> Neuron() }
train t {
  model net = M()
  data  D
  loss  mse(net(x), y)
  optimizer adam(1e-2)
  epochs 1
}
"#;
    let checked = support::check_with("d.bdl", text, &[], &[]);
    assert!(checked.diagnostics.iter().all(|d| d.code != "dim-mismatch"), "{}", checked.rendered());
    let dense: Vec<String> =
        params(&checked.hir.trains[0].store).into_iter().filter(|p| p.contains("dense") && p.contains(".w")).collect();
    assert_eq!(dense.len(), 3, "{dense:?}");
    assert_eq!(dense.iter().filter(|p| p.ends_with("f32[3, 5]")).count(), 1, "{dense:?}");
}
