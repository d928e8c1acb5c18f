//! Fields that compute, other tables, and what is done to training rows only, from the file to the prediction.

use crate::common::Folder;

const BINDING: &str = r#"
let alleles = csv("alleles.csv", key: "name")

data Binding = csv("rows.csv") {
  let scale = 2 * 5
  allele = text(column("allele"))
  charge = number(alleles[allele].charge)
  ratio  = (number(column("a")) / number(column("b"))) |> standardize
  x: f32 = ratio * number(column("a")) / scale + (if column("kind") == "u" then charge else 0)
  y      = number(column("y"))
  keep column("a") * 2 < 100
}

model Net(x: f32, charge: f32) -> f32 { [x, charge] |> Neuron() }

train net {
  model     net = Net()
  data      Binding
  loss      mse(net(x, charge), y)
  optimizer sgd(0.01)
  epochs    2
  predict   guess = net(x, charge)
}
"#;

const ROWS: &str = "allele,a,b,kind,y\nA2,1,2,u,1\nB7,4,2,v,2\nA2,9,3,u,3\nB7,900,3,u,3\n";
const ALLELES: &str = "name,charge\nA2,0.5\nB7,1.5\n";

#[test]
fn a_run_computes_with_what_it_fitted_and_looks_up_the_same_table() {
    let folder = Folder::new(&[("b.bdl", BINDING), ("rows.csv", ROWS), ("alleles.csv", ALLELES)]);
    folder.ok(&["train", "b.bdl", "--out", "run"]);
    let all = folder.ok(&["predict", "run", "rows.csv"]);
    // Alone, in another file, without what only training needs, a row has the same prediction to the last digit.
    std::fs::write(folder.file("one.csv"), "kind,b,a,allele\nu,3,9,A2\n").unwrap();
    let one = folder.ok(&["predict", "run", "one.csv"]);
    let third = all.lines().nth(3).unwrap().split_once('\t').unwrap().1;
    assert_eq!(one.lines().nth(1).unwrap().split_once('\t').unwrap().1, third);
    // The row that `keep` left out took no part in the mean: the ratio was fitted on 0.5, 2 and 3.
    let fitted = std::fs::read_to_string(folder.file("run/fitted.json")).unwrap();
    let fitted: serde_json::Value = serde_json::from_str(&fitted).unwrap();
    let ratio = fitted["fields"].as_array().unwrap().iter().find(|field| field["name"] == "ratio").unwrap();
    let mean = ratio["steps"][0]["standardize"]["mean"][0].as_f64().unwrap();
    assert!((mean - 5.5 / 3.0).abs() < 1e-12, "{mean}");
    std::fs::write(folder.file("one.csv"), "kind,b,a,allele\nu,3,9,A3\n").unwrap();
    insta::assert_snapshot!("missing_key", folder.fails(&["predict", "run", "one.csv"]));
    std::fs::write(folder.file("rows.csv"), ROWS.replace("4,2,v", "4,0,v")).unwrap();
    insta::assert_snapshot!("not_defined", folder.fails(&["check", "b.bdl"]));
}

#[test]
fn a_written_type_is_held_against_the_data() {
    let wrong = BINDING.replace("x: f32 =", "x: f32[3] =").replace("y      =", "y: f32[T] =");
    let folder = Folder::new(&[("b.bdl", &wrong), ("rows.csv", ROWS), ("alleles.csv", ALLELES)]);
    insta::assert_snapshot!("declared", folder.fails(&["check", "b.bdl"]));
    let shared =
        "data D = csv(\"rows.csv\") {\n  a: f32[T] = numbers(column(\"a\"))\n  b: f32[T] = numbers(column(\"b\"))\n}\n";
    let folder = Folder::new(&[("d.bdl", shared), ("rows.csv", "a,b\n1 2,3 4\n1 2 3,4 5\n")]);
    insta::assert_snapshot!("declared_rows", folder.fails(&["check", "d.bdl"]));
}

fn augmented(how: &str) -> String {
    format!(
        "data D = csv(\"rows.csv\") {{\n  x = number(column(\"x\"))\n  y = number(column(\"y\"))\n  augment {{ x = {how} }}\n}}\n\
         model Net(x: f32) -> f32 {{ param w: f32 = zeros\n  w * x }}\n\
         train t {{\n  model net = Net()\n  data D\n  split given(part)\n  loss mse(net(x), y)\n  optimizer sgd(0.1)\n  epochs 30\n  batch 4\n  predict g = net(x)\n}}\n"
    )
    .replace("  augment", "  part = text(column(\"part\"))\n  augment")
}

/// y = 2 x, eight rows to train on and one to validate.
fn doubled() -> String {
    let rows = (1..=8).map(|at| format!("{},{},train\n", f64::from(at) / 4.0, f64::from(at) / 2.0));
    format!("x,y,part\n{}1,2,valid\n", rows.collect::<String>())
}

#[test]
fn augmented_fields_are_seen_in_training_only() {
    // With the sign turned the weight becomes -2, and held-out rows are judged as they are.
    let folder = Folder::new(&[("a.bdl", &augmented("-x")), ("rows.csv", &doubled())]);
    folder.ok(&["train", "a.bdl", "--out", "run"]);
    let told = folder.ok(&["predict", "run", "rows.csv"]);
    let last: f64 = told.lines().nth(9).unwrap().split('\t').nth(1).unwrap().parse().unwrap();
    assert!((last + 2.0).abs() < 1e-3, "{told}");
    let eval: serde_json::Value = serde_json::from_str(folder.ok(&["eval", "run", "--json"]).trim()).unwrap();
    assert!((eval["valid"]["loss"].as_f64().unwrap() - 16.0).abs() < 0.01, "{eval}");
}

#[test]
fn draws_of_augment_are_new_in_each_step_and_the_same_on_any_number_of_threads() {
    let folder = Folder::new(&[("a.bdl", &augmented("if bernoulli(0.5) then -x else x")), ("rows.csv", &doubled())]);
    folder.ok(&["train", "a.bdl", "--out", "one", "--threads", "1"]);
    folder.ok(&["train", "a.bdl", "--out", "two", "--threads", "2"]);
    let weights = |run: &str| std::fs::read(folder.file(&format!("{run}/best.safetensors"))).unwrap();
    let numbers = |run: &str| folder.ok(&["predict", run, "rows.csv"]);
    assert_eq!(numbers("one"), numbers("two"));
    assert!(!weights("one").is_empty());
    // Half of the signs are turned, each time others: the weight stays near 0 and keeps moving.
    let losses: Vec<String> = std::fs::read_to_string(folder.file("one/log.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].to_string())
        .collect();
    let different: std::collections::HashSet<&String> = losses.iter().collect();
    assert!(different.len() > losses.len() / 2, "{losses:?}");
}

const CLASSES: &str = r#"
data D = csv("rows.csv") {
  x = number(columns("a", "b"))
  y = category(column("y"))
}
model Net(x: f32[2]) -> logit[2] { param b: f32[2] = zeros
  for k: b[k] + 1e-9 * x[0] }
train t {
  model     net = Net()
  data      D
  HOW
  loss      cross_entropy(net(x), y)
  optimizer sgd(0.5)
  epochs    200
  batch     64
  predict   p = softmax(net(x))
}
"#;

#[test]
fn classes_of_unequal_size_are_made_equal() {
    let rows: String =
        (0..24).map(|at| format!("{},{},{}\n", at, at * 7 % 5, if at % 4 == 0 { "rare" } else { "usual" })).collect();
    let rows = format!("a,b,y\n{rows}");
    // A model that knows nothing of a row learns how often each class counts: a quarter, or a half.
    let share = |how: &str| -> f64 {
        let folder = Folder::new(&[("c.bdl", &CLASSES.replace("HOW", how)), ("rows.csv", &rows)]);
        folder.ok(&["train", "c.bdl", "--out", "run"]);
        let told = folder.ok(&["predict", "run", "rows.csv"]);
        told.lines().nth(1).unwrap().split('\t').nth(2).unwrap().parse().unwrap()
    };
    for (how, wanted) in [
        ("", 0.25),
        ("weights balanced(y)", 0.5),
        ("rows oversample(y)", 0.5),
        ("rows undersample(y)", 0.5),
        ("rows smote(y, k: 3)", 0.5),
    ] {
        let found = share(how);
        assert!((found - wanted).abs() < 0.01, "{how}: {found}");
    }
    let both = CLASSES.replace("HOW", "rows oversample(y)\n  weights balanced(y)");
    let folder = Folder::new(&[("c.bdl", &both), ("rows.csv", &rows)]);
    let said = folder.warned(&["check", "c.bdl"]);
    assert!(said.contains("warning[weighted-twice]"), "{said}");
}

const NODES: &str = r#"
data Graph = csv("graph.csv") {
  x = numbers(column("x"))
  y = tokens(column("y"))
}
model Net(x: f32[V]) -> logit[V, 2] { param w: f32[2] = zeros
  for v, k: w[k] * x[v] }
train t {
  model     net = Net()
  data      Graph
  split     entries(y, train: 0.5, test: 0.5)
  let       z = net(x)
  loss      sum[v if known(y[v])] (cross_entropy(z[v], y[v]) else 0) per sum[v if known(y[v])] 1
  optimizer adam(0.1)
  epochs    60
  predict   p = softmax(z)
  report    accuracy(p, y)
}
expect t { test.accuracy == 1 }
"#;

#[test]
fn the_nodes_of_one_graph_train_and_test() {
    let x: Vec<&str> = (0..40).map(|at| if at % 3 == 0 { "1.5" } else { "-1" }).collect();
    let y: Vec<&str> = (0..40).map(|at| if at % 3 == 0 { "up" } else { "down" }).collect();
    let graph = format!("x,y\n{},{}\n", x.join(" "), y.join(" "));
    let folder = Folder::new(&[("g.bdl", NODES), ("graph.csv", &graph)]);
    let said = folder.ok(&["train", "g.bdl", "--out", "run"]);
    assert!(said.contains("elements of y: 50% train / 0% valid / 50% test"), "{said}");
    // 20 of the 40 were judged: 7 of the 14 that go up, 13 of the 26 that go down.
    let metrics: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.file("run/metrics.json")).unwrap()).unwrap();
    assert!(metrics.to_string().contains("accuracy"), "{metrics}");
}

#[test]
fn other_lengths_are_predicted_where_no_parameter_depends_on_the_length() {
    let program = |head: &str| {
        format!(
            "data D = csv(\"rows.csv\") {{\n  dna = onehot(column(\"s\"), DNA)\n  y = number(column(\"y\"))\n}}\n\
             model Net(dna: f32[L, 4]) -> f32 {{ dna {head} }}\n\
             train t {{ model net = Net(); data D; loss mse(net(dna), y); optimizer sgd(0.01); epochs 1; predict g = net(dna) }}\n"
        )
    };
    let rows = "s,y\nACGTAC,1\nGGGTTT,0\n";
    let pooled = program("|> Conv1d(3, kernel: 3) |> relu |> GlobalMaxPool() |> Neuron()");
    let folder = Folder::new(&[("d.bdl", &pooled), ("rows.csv", rows), ("new.csv", "s\nACGTAC\nACGTACGTT\nACG\n")]);
    folder.ok(&["train", "d.bdl", "--out", "run"]);
    let told = folder.ok(&["predict", "run", "new.csv"]);
    assert_eq!(
        told.lines().nth(1),
        folder.ok(&["predict", "run", "rows.csv"]).lines().nth(1),
        "the same to the last digit"
    );
    assert_eq!(told.lines().count(), 4);
    let flat = program("|> flatten |> Neuron()");
    let folder = Folder::new(&[("d.bdl", &flat), ("rows.csv", rows), ("new.csv", "s\nACGTAC\nACGTACGTT\n")]);
    folder.ok(&["train", "d.bdl", "--out", "run"]);
    let said = folder.fails(&["predict", "run", "new.csv"]);
    assert!(said.contains("error[length-differs]") && said.contains("new.csv:3"), "{said}");
}

#[test]
fn a_run_without_any_loss_says_so() {
    let program = "data D = csv(\"rows.csv\") {\n  x = number(column(\"x\"))\n  y = number(column(\"y\"), missing: keep)\n}\n\
        model Net(x: f32) -> f32 { param w: f32 = ones\n  w * x }\n\
        train t { model net = Net(); data D; loss mse(net(x), y); optimizer sgd(0.01); epochs 2 }\n";
    let folder = Folder::new(&[("d.bdl", program), ("rows.csv", "x,y\n1,\n2,\n")]);
    let said = folder.fails(&["train", "d.bdl"]);
    assert!(said.contains("error[no-loss]") && said.contains("no training row has a loss"), "{said}");
}
