//! Data blocks from the file to the prediction: lists in cells, graphs, values that are missing.

mod common;
#[path = "data/training_rows.rs"]
mod training_rows;

use common::Folder;

const GRAPHS: &str = r#"
data Molecules = csv("rows.csv") {
  atoms = tokens(column("atoms"))
  src   = index(column("src"), of: atoms, missing: "")
  dst   = index(column("dst"), of: atoms, missing: "")
  order = numbers(column("order"), missing: "")
  place = numbers(column("place"), width: 2)
  y     = number(column("y"))
}

model Net(atoms: category(K)[V], src: index(V)[E], dst: index(V)[E], order: f32[E], place: f32[V, 2]) -> (y: f32, bonds: f32[V]) {
  let h = concat(onehot(atoms), place, axis: 1) |> Dense(6)
  let m[v, c] = h[v, c] + sum[e if dst[e] == v] order[e] * h[src[e], c]
  (y: (for c: mean[v else 0] relu(m[v, c])) |> Neuron, bonds: for v < V: sum[e if dst[e] == v] order[e])
}

train net {
  model     net = Net()
  data      Molecules
  loss      mse(net(atoms, src, dst, order, place).y, y)
  optimizer adam(1e-2)
  epochs    2
  batch     2
  predict   guess = net(atoms, src, dst, order, place).y
  predict   bonds = net(atoms, src, dst, order, place).bonds
}
"#;

const MOLECULES: &str = "atoms,src,dst,order,place,y\n\
    C C O,0 1 1 2,1 0 2 1,1 1 2 2,\"[[0, 1], [1, 1], [2, 0]]\",1.0\n\
    N,,,,0 1,0.5\n\
    C N,0;1,[1;0],3|3,0 0; 1 1,0.7\n";

fn graphs(rows: &str) -> Folder {
    Folder::new(&[("graphs.bdl", GRAPHS), ("rows.csv", rows)])
}

/// Predictions of `bdl predict`, by row.
fn predicted(folder: &Folder, file: &str) -> Vec<String> {
    let told = folder.ok(&["predict", "run", file]);
    // A tensor is columns where all rows have the same number of elements, and a list in one column where not.
    told.lines().skip(1).map(|line| line.split_once('\t').unwrap().1.replace(',', "\t")).collect()
}

#[test]
fn graphs_of_different_sizes_come_from_lists_in_cells() {
    let folder = graphs(MOLECULES);
    folder.ok(&["train", "graphs.bdl", "--out", "run"]);
    let all = predicted(&folder, "rows.csv");
    let bonds: Vec<&str> = all.iter().map(|row| row.split_once('\t').unwrap().1).collect();
    assert_eq!(bonds, ["1\t3\t2", "0", "3\t3"]);
    // Alone, a molecule has the same prediction to the last digit, also the one without bonds.
    let lines: Vec<&str> = MOLECULES.lines().collect();
    for (row, expected) in all.iter().enumerate() {
        std::fs::write(folder.file("one.csv"), format!("{}\n{}\n", lines[0], lines[row + 1])).unwrap();
        assert_eq!(&predicted(&folder, "one.csv")[0], expected, "row {row}");
    }
}

#[test]
fn an_edge_to_a_node_that_is_not_there_is_named_by_its_row() {
    let said = graphs(&MOLECULES.replace("0;1", "0;2")).fails(&["train", "graphs.bdl"]);
    insta::assert_snapshot!("edge_outside", said);
    let said = graphs(&MOLECULES.replace("N,,,,", "N,0,0,1,").replace("0;1", "0;x")).fails(&["check", "graphs.bdl"]);
    insta::assert_snapshot!("edge_no_number", said);
    let said = graphs(&MOLECULES.replace("0 0; 1 1", "0 0; 1")).fails(&["check", "graphs.bdl"]);
    insta::assert_snapshot!("rows_of_numbers", said);
}

#[test]
fn lists_that_do_not_fit_each_other_are_refused() {
    // Two edges from, one edge to.
    let said = graphs(&MOLECULES.replace("[1;0]", "[1]")).fails(&["train", "graphs.bdl"]);
    insta::assert_snapshot!("edges_unequal", said);
}

const PATIENTS: &str = r#"
data Patients = csv("rows.csv") {
  age = number(column("age"), missing: keep)
  y   = number(column("y"), missing: keep)
}

model Net(age: f32?) -> f32 { [if known(age) then 0 else 1, age else 0] |> Neuron() }

train net {
  model     net = Net()
  data      Patients
  loss      mse(net(age), y)
  optimizer sgd(0.1)
  epochs    200
  batch     8
  predict   guess = net(age)
}
"#;

#[test]
fn what_is_missing_is_missing_at_prediction_too_and_missing_labels_teach_nothing() {
    // y is age, and -1 without an age; a third of the labels is not there, one whole batch has none.
    let mut rows = String::from("age,y\n");
    for at in 0..24 {
        let age = if at % 4 == 0 { String::new() } else { format!("{}", f64::from(at % 4) / 2.0) };
        let y = if at % 4 == 0 { -1.0 } else { f64::from(at % 4) / 2.0 };
        rows += &if at % 3 == 0 { format!("{age},\n") } else { format!("{age},{y}\n") };
    }
    let folder = Folder::new(&[("patients.bdl", PATIENTS), ("rows.csv", &rows), ("new.csv", "age\n1.5\n\n0.5\n")]);
    folder.ok(&["train", "patients.bdl", "--out", "run"]);
    std::fs::write(folder.file("new.csv"), "age,other\n1.5,a\n,b\n0.5,c\n").unwrap();
    let guesses: Vec<f64> = predicted(&folder, "new.csv").iter().map(|row| row.parse().unwrap()).collect();
    for (guess, wanted) in guesses.iter().zip([1.5, -1.0, 0.5]) {
        assert!((guess - wanted).abs() < 0.01, "{guesses:?}");
    }
}

const CELLS: &str = r#"
//! Fixed knowledge beside the data: gene sets in another order than the columns, a matrix, letters of one's own.
alphabet Codon = "AAA" "AAC" "AAG"
const table = csv("table.csv")

data Cells = csv("rows.csv") {
  expr   = number(columns("*" except "y", "codons", "donor"))
  codons = letters(column("codons"), Codon)
  donor  = text(column("donor"))
  y      = number(column("y"))
}

model Sets(expr: f32[G], codons: Codon[L]) -> (y: f32, sets: f32[P], table: f32, last: f32[3]) {
  const mask: bool[H, P] = gmt("sets.gmt")
  let m = align(mask, to: expr)
  param w: f32[G, P] = ones
  let sets[p] = sum[g if m[g, p]] w[g, p] * expr[g]
  (y: sets |> Neuron, sets: sets, table: (sum[i, j] table[i, j]), last: for a < 3: onehot(codons)[last else 0, a])
}

train net {
  model     net = Sets()
  data      Cells
  split     by(donor, test: ["d2"])
  loss      mse(net(expr, codons).y, y)
  optimizer sgd(0)
  epochs    1
  predict   sets  = net(expr, codons).sets
  predict   table = net(expr, codons).table
  predict   last  = net(expr, codons).last
}
"#;

fn cells(sets: &str) -> Folder {
    let rows = "TP53,MYC,KRAS,y,codons,donor\n1,20,300,1,AAAAAC,d1\n2,30,400,0,AACAAG,d2\n5,10,200,0,AAGAAG,d1\n";
    let table = "name,a,b\nr1,1,2\nr2,3,4\n";
    Folder::new(&[("cells.bdl", CELLS), ("rows.csv", rows), ("sets.gmt", sets), ("table.csv", table)])
}

#[test]
fn constants_come_from_files_and_are_aligned_by_name() {
    let folder = cells("GROWTH\tx\tMYC\tKRAS\nGUARD\tx\tTP53\n");
    folder.ok(&["train", "cells.bdl", "--out", "run"]);
    let made = predicted(&folder, "rows.csv");
    assert_eq!(made[0], "320\t1\t10\t0\t1\t0");
    assert_eq!(made[2], "210\t5\t10\t0\t0\t1");
    let split = std::fs::read_to_string(folder.file("run/split.tsv")).unwrap();
    assert_eq!(split, "row\tpart\n1\ttrain\n2\ttest\n3\ttrain\n");
}

#[test]
fn a_constant_of_the_models_genes_is_brought_into_their_order() {
    // No set holds KRAS; MYC and TP53 stand in another order, and OTHER is no column.
    let program = CELLS
        .replace("bool[H, P] = gmt", "bool[G, P] = gmt")
        .replace("  let m = align(mask, to: expr)\n", "  let m = mask\n");
    let rows = "TP53,MYC,KRAS,y,codons,donor\n1,20,300,1,AAAAAC,d1\n2,30,400,0,AACAAG,d2\n5,10,200,0,AAGAAG,d1\n";
    let table = "name,a,b\nr1,1,2\nr2,3,4\n";
    let sets = "GROWTH\tx\tMYC\tOTHER\nGUARD\tx\tTP53\tMYC\n";
    let files = [("cells.bdl", program.as_str()), ("rows.csv", rows), ("sets.gmt", sets), ("table.csv", table)];
    let folder = Folder::new(&files);
    folder.ok(&["train", "cells.bdl", "--out", "run"]);
    let made = predicted(&folder, "rows.csv");
    assert_eq!(made[0], "20\t21\t10\t0\t1\t0");
    assert_eq!(made[2], "10\t15\t10\t0\t0\t1");
    // No gene of the data is in any set: another naming was meant.
    let sets = "GROWTH\tx\tENSG1\nGUARD\tx\tENSG2\n";
    let folder =
        Folder::new(&[("cells.bdl", program.as_str()), ("rows.csv", rows), ("sets.gmt", sets), ("table.csv", table)]);
    insta::assert_snapshot!("no_gene_in_any_set", folder.fails(&["check", "cells.bdl"]));
}

#[test]
fn constants_that_do_not_fit_say_so() {
    let said = cells("GROWTH\tx\tMYC\tKRS\nGUARD\tx\tTP53\n").fails(&["check", "cells.bdl"]);
    insta::assert_snapshot!("align_lacks_a_gene", said);
    let folder = cells("GROWTH\tx\tMYC\n");
    std::fs::remove_file(folder.file("sets.gmt")).unwrap();
    insta::assert_snapshot!("constant_without_file", folder.fails(&["check", "cells.bdl"]));
    let folder = cells("GROWTH\tx\tMYC\n");
    std::fs::write(folder.file("table.csv"), "a,b\n1,2\n3\n").unwrap();
    insta::assert_snapshot!("constant_uneven", folder.fails(&["check", "cells.bdl"]));
}

#[test]
fn files_that_use_each_other_are_one_mistake() {
    let main = "use \"./blocks.bdl\"\nmodel M(x: f32[4]) -> f32 { x |> Block(3) |> Neuron }\n";
    let blocks = "use \"./main.bdl\"\nlayer Block(n: dim)(x: f32[C]) -> f32[n] { x |> Dense(n) |> relu }\n";
    let said = Folder::new(&[("main.bdl", main), ("blocks.bdl", blocks)]).fails(&["check", "main.bdl"]);
    insta::assert_snapshot!("files_in_a_circle", said);
}

const VISITS: &str = r#"
data Visits = csv("visits.csv", separator: ";", decimal: ",") rows per patient sorted by day {
  dose   = number(column("dose")) |> standardize
  sex    = truth(column("sex"), yes: "F")
  clinic = text(column("clinic"))
  y      = number(column("y"))
}

model Sum(dose: f32[T], sex: bool[T]) -> (y: f32, doses: f32[T], first: f32) {
  param w: f32 = 1
  (y: sum[t] w * dose[t], doses: dose, first: if (sex[0 else false]) then 1 else 0)
}

train net {
  model     net = Sum()
  data      Visits
  split     by(clinic, test: ["south"])
  loss      mse(net(dose, sex).y, y[last else 0])
  optimizer sgd(0)
  epochs    1
  predict   y     = net(dose, sex).y
  predict   doses = net(dose, sex).doses
  predict   first = net(dose, sex).first
}
"#;

#[test]
fn rows_of_one_patient_are_one_example_in_the_order_of_days() {
    // The north's doses have mean 2 and standard deviation 1; the south's are not looked at.
    let rows = "patient;day;dose;sex;clinic;y\nanna;10;3,0;F;north;5\nben;1;1,0;M;north;2\nanna;9;1,0;F;north;4\n\
                cora;3;40,5;F;south;0\nben;2;3,0;M;north;1\n";
    let folder = Folder::new(&[("visits.bdl", VISITS), ("visits.csv", rows)]);
    folder.ok(&["train", "visits.bdl", "--out", "run"]);
    assert_eq!(predicted(&folder, "visits.csv"), ["0\t-1\t1\t1", "0\t-1\t1\t0", "38.5\t38.5\t1"]);
    let split = std::fs::read_to_string(folder.file("run/split.tsv")).unwrap();
    assert_eq!(split, "row\tpart\n1\ttrain\n2\ttrain\n3\ttest\n");
    std::fs::write(folder.file("visits.csv"), rows.replace("ben;2;", "ben;;")).unwrap();
    insta::assert_snapshot!("visit_without_day", folder.fails(&["check", "visits.bdl"]));
}

const RARE: &str = r#"
data Cases = csv("rows.csv") {
  x = number(column("x"))
  y = truth(column("y"))
  rows WAY
}
model Mean(x: f32) -> logit { param b: f32 = 0
  b + 0 * x }
train net {
  model     net = Mean()
  data      Cases
  split     by(y, test: [])
  loss      binary_cross_entropy(net(x), y)
  optimizer sgd(1)
  epochs    60
  batch     100
  predict   p = sigmoid(net(x))
}
"#;

#[test]
fn classes_come_equally_often_where_that_is_asked_for() {
    let rows: String = (0..40).map(|at| format!("{at},{}\n", u8::from(at % 10 == 0))).collect();
    for way in ["oversample(y)", "undersample(y)"] {
        let program = RARE.replace("WAY", way).replace("  split     by(y, test: [])\n", "");
        let folder = Folder::new(&[("rare.bdl", &program), ("rows.csv", &format!("x,y\n{rows}"))]);
        folder.ok(&["train", "rare.bdl", "--out", "run"]);
        let p: f64 = predicted(&folder, "rows.csv")[0].parse().unwrap();
        assert!((p - 0.5).abs() < 1e-3, "{way}: {p}");
    }
}

const KEPT: &str = r#"
data Kept = csv("rows.csv") {
  x    = number(column("x"))
  y    = number(column("y"))
  part = text(column("part"))
  WHICH
}
model Scale(x: f32) -> f32 { param w: f32 = 1
  w * x }
train net {
  model     net = Scale()
  data      Kept
  split     by(part, test: ["b"])
  loss      mse(net(x), y)
  optimizer sgd(0)
  epochs    1
  predict   p = net(x)
}
"#;

/// The columns `row` and `part` of a file of a run, and `p` where it has one.
fn rows_told(folder: &Folder, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.file(file)).unwrap();
    let mut lines: Vec<String> = text.lines().skip(1).map(|line| line.replace('\t', " ")).collect();
    lines.sort();
    lines
}

#[test]
fn rows_of_a_run_have_their_numbers_in_the_file() {
    // Rows 2 and 4 are left out; each x is ten times its row (row 4 repeats row 1).
    let rows = "x,y,part\n10,0,a\n-20,0,b\n30,0,b\n10,0,a\n50,0,a\n60,0,b\n";
    for (which, left_out) in [("keep column(\"x\") >= 0\n  distinct x", [2, 4].as_slice()), ("distinct x", &[4])] {
        let folder = Folder::new(&[("kept.bdl", &KEPT.replace("WHICH", which)), ("rows.csv", rows)]);
        folder.ok(&["train", "kept.bdl", "--out", "run"]);
        let used: Vec<usize> = (1..=6).filter(|row| !left_out.contains(row)).collect();
        let part = |row: usize| if [2, 3, 6].contains(&row) { "test" } else { "train" };
        let split: Vec<String> = used.iter().map(|row| format!("{row} {}", part(*row))).collect();
        assert_eq!(rows_told(&folder, "run/split.tsv"), split, "{which}");
        let x = |row: usize| if row == 2 { -20 } else { row as i64 * 10 };
        let predicted: Vec<String> = used.iter().map(|row| format!("{row} {} {}", part(*row), x(*row))).collect();
        assert_eq!(rows_told(&folder, "run/predictions.tsv"), predicted, "{which}");
        // `bdl predict` reads every row of the same file, and calls each what the run calls it.
        let all = folder.ok(&["predict", "run", "rows.csv"]);
        let all: Vec<&str> = all.lines().skip(1).collect();
        for row in used {
            assert_eq!(all[row - 1], format!("{row}\t{}", x(row)), "{which}");
        }
    }
}

const KINDS: &str = r#"
data Kinds = csv("rows.csv") {
  x    = number(column("x"))
  kind = category(column("kind"))
  part = text(column("part"))
  keep column("x") >= 0
}
model Own(x: f32) -> logit[3] { param w: f32[3] = 1
  for k < 3: 0 - w[k] * square(x - (if k == 0 then 0 else if k == 1 then 5 else 10)) }
train net {
  model     net = Own()
  data      Kinds
  split     by(part, test: ["b"])
  loss      cross_entropy(net(x), kind)
  optimizer sgd(0)
  epochs    1
  predict   p = softmax(net(x))
  report    accuracy(p, kind), confusion(p, kind)
}
"#;

/// What `bdl eval` scores on the test part.
fn judged(folder: &Folder, file: &str) -> serde_json::Value {
    let said = folder.ok(&["eval", "run", "--data", &format!("Kinds={file}"), "--json"]);
    serde_json::from_str::<serde_json::Value>(said.trim()).unwrap()["test"].clone()
}

#[test]
fn a_model_is_judged_by_the_classes_it_was_trained_on() {
    let rows = "x,kind,part\n0,A,a\n5,B,a\n10,C,a\n0,A,b\n5,B,b\n10,C,b\n";
    let folder = Folder::new(&[("kinds.bdl", KINDS), ("rows.csv", rows)]);
    folder.ok(&["train", "kinds.bdl", "--out", "run"]);
    assert_eq!(judged(&folder, "rows.csv")["accuracy"], 1.0);
    // Without class A the others keep their places; the row that `keep` leaves out may have any class.
    std::fs::write(folder.file("few.csv"), "x,kind,part\n5,B,a\n5,B,b\n10,C,b\n10,C,b\n-1,Z,b\n").unwrap();
    let few = judged(&folder, "few.csv");
    assert_eq!(few["accuracy"], 1.0, "{few}");
    assert_eq!(few["confusion"]["classes"], serde_json::json!(["A", "B", "C"]));
    assert_eq!(few["confusion"]["counts"], serde_json::json!([[0, 0, 0], [0, 1, 0], [0, 0, 2]]));
    // A class that the model does not know is refused, also where the number of classes is the same.
    std::fs::write(folder.file("new.csv"), rows.replace('A', "X")).unwrap();
    insta::assert_snapshot!("judged_by_unknown_class", folder.fails(&["eval", "run", "--data", "Kinds=new.csv"]));
    std::fs::write(folder.file("less.csv"), "x,part\n1,a\n2,b\n").unwrap();
    let said = folder.fails(&["eval", "run", "--data", "Kinds=less.csv"]);
    assert!(said.contains("error[absent-field]") && said.contains("`kind`"), "{said}");
}

/// Several rows an example, of sequences of one length: a row has an axis less than the example.
#[test]
fn grouped_rows_are_measured_and_predicted_again() {
    let program = "data V = csv(\"g.csv\") rows per p sorted by d {\n  dna = onehot(column(\"s\"), DNA)\n  y = number(column(\"y\"))\n}\n\
        model Net(dna: f32[T, L, 4]) -> f32 { param w: f32 = ones\n  sum[t, l] w * dna[t, l, 0] }\n\
        train t { model net = Net(); data V; loss mse(net(dna), y[0 else 0]); optimizer sgd(0); epochs 1; predict n = net(dna) }\n";
    let table = "p,d,s,y\na,1,AAG,1\nb,1,GGG,2\na,2,ACA,3\n";
    let folder = Folder::new(&[("g.bdl", program), ("g.csv", table)]);
    folder.ok(&["train", "g.bdl", "--out", "run"]);
    assert_eq!(folder.ok(&["predict", "run", "g.csv"]), "row\tn\n1\t4\n2\t0\n");
    let eval: serde_json::Value = serde_json::from_str(folder.ok(&["eval", "run", "--json"]).trim()).unwrap();
    // (4 - 1)² and (0 - 2)², halved.
    assert_eq!(eval["train"]["loss"], 6.5);
}
