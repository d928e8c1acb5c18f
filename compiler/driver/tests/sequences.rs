//! Sequences of different length, as a user has them: labels at every position, empty rows, loops that end by themselves.

mod common;

use common::{Folder, text};

const LABELS: &str = r#"
data Reads = csv("reads.csv") {
  dna:   f32[T, 4] = onehot(column("sequence"), DNA)
  state: DNA[T]    = letters(column("state"), DNA)
}

model Labeller(dna: f32[T, 4]) -> f32[T, 4] { dna |> Gru(8) |> Dense(4) }

train labels {
  model     net = Labeller()
  data      Reads
  split     random(train: 0.8, test: 0.2)
  loss      { let y = net(dna); sum[t] (logsumexp[k] y[t, k] - y[t, state[t]]) } per T
  optimizer adam(2e-2)
  epochs    12
  batch     BATCH
  predict   score = net(dna)
}
"#;

/// Reads of 1 to 23 bases; the state is G from an A to the next T, else C.
fn reads(rows: usize) -> String {
    let mut all = String::from("sequence,state\n");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for row in 0..rows {
        let (mut bases, mut labels, mut inside) = (String::new(), String::new(), false);
        for _ in 0..1 + row * 7 % 23 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let base = ['A', 'C', 'G', 'T'][(state >> 61) as usize & 3];
            inside = base == 'A' || inside && base != 'T';
            bases.push(base);
            labels.push(if inside { 'G' } else { 'C' });
        }
        all.push_str(&format!("{bases},{labels}\n"));
    }
    all
}

fn last_loss(log: &str) -> f64 {
    let line = log.lines().rev().find(|line| line.contains("\"loss\"")).unwrap_or_else(|| panic!("{log}"));
    let rest = &line[line.find("\"loss\":").unwrap() + 7..];
    rest[..rest.find([',', '}']).unwrap()].parse().unwrap()
}

#[test]
fn a_label_at_every_position_is_learned_and_predicted_for_its_own_row() {
    let table = reads(160);
    let folder = Folder::new(&[("labels.bdl", &LABELS.replace("BATCH", "16")), ("reads.csv", &table)]);
    folder.ok(&["train", "labels.bdl", "--out", "run"]);
    let loss = last_loss(&std::fs::read_to_string(folder.file("run/log.jsonl")).unwrap());
    assert!(loss < 0.25, "{loss}");
    let together = folder.ok(&["predict", "run", "reads.csv"]);
    let mut right = (0, 0);
    for (line, read) in together.lines().skip(1).zip(table.lines().skip(1)) {
        let labels = read.split(',').nth(1).unwrap();
        let scores: Vec<f64> = line.split('\t').nth(1).unwrap().split(',').map(|x| x.parse().unwrap()).collect();
        assert_eq!(scores.len(), 4 * labels.len(), "{line}");
        for (scores, label) in scores.chunks(4).zip(labels.chars()) {
            let best = (0..4).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
            right.0 += usize::from("ACGT".as_bytes()[best] as char == label);
            right.1 += 1;
        }
    }
    assert!(right.0 * 100 > right.1 * 90, "{right:?}");
    // In other company a read gets the same numbers.
    let few: Vec<&str> = [0, 8, 5].into_iter().map(|at| table.lines().nth(at).unwrap()).collect();
    std::fs::write(folder.file("few.csv"), few.join("\n") + "\n").unwrap();
    let apart = folder.ok(&["predict", "run", "few.csv"]);
    let numbers = |text: &str, line: usize| text.lines().nth(line).unwrap().split('\t').nth(1).unwrap().to_string();
    assert_eq!((numbers(&apart, 1), numbers(&apart, 2)), (numbers(&together, 8), numbers(&together, 5)));
}

#[test]
fn dropout_has_the_length_of_the_example() {
    // On positions, and on the weights of an attention: an axis of its own length twice, behind one that all share.
    let model = "model Labeller(dna: f32[T, 4]) -> f32[T, 4] where T >= 1 {
  let h = dna |> Dense(8) |> tanh |> dropout(0.1)
  let s[k < 2, i, j] = h[i, k] * h[j, k + 2]
  let a = dropout(softmax(s), 0.1)
  let m[t, c] = h[t, c] + (sum[j] a[0, t, j] * h[j, c]) + (sum[j] a[1, t, j] * h[j, c])
  m |> Gru(8) |> Dense(4)
}";
    let program = LABELS.replace("BATCH", "16");
    let start = program.find("model Labeller").unwrap();
    let end = start + program[start..].find('\n').unwrap();
    let program = format!("{}{model}{}", &program[..start], &program[end..]);
    let folder = Folder::new(&[("labels.bdl", &program), ("reads.csv", &reads(160))]);
    for threads in ["1", "3"] {
        folder.ok(&["train", "labels.bdl", "--out", &format!("run{threads}"), "--threads", threads]);
    }
    // The numbers; the header also says how long the run took.
    let weights = |run: &str| {
        let bytes = std::fs::read(folder.file(run).join("last.safetensors")).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    assert!(weights("run1") == weights("run3"), "the bits depend on the threads");
    let loss = last_loss(&std::fs::read_to_string(folder.file("run1/log.jsonl")).unwrap());
    assert!(loss < 0.5, "{loss}");
    // In training numbers differ, in prediction they do not.
    assert_eq!(folder.ok(&["predict", "run1", "reads.csv"]), folder.ok(&["predict", "run3", "reads.csv"]));
}

const ROOTS: &str = r#"
data Numbers = csv("numbers.csv") {
  a = number(column("a"))
  b = number(column("b"))
}

model Root(a: f32) -> f32 {
  let r = iterate from (x = a + 1) until abs(x * x - a) < 1e-3 at most 4 { next x = 0.5 * (x + a / x) }
  param scale: f32[1] = ones
  r.x * scale[0]
}

train roots {
  model     net = Root()
  data      Numbers
  loss      square(net(a) - b)
  optimizer adam(1e-3)
  epochs    1
  batch     8
  predict   p = net(a)
}
"#;

#[test]
fn an_iteration_at_its_bound_is_a_warning_with_the_count() {
    let rows: String = (1..40).map(|n| format!("{},{n}\n", n * n * 50)).collect();
    let folder = Folder::new(&[("roots.bdl", ROOTS), ("numbers.csv", &format!("a,b\n{rows}"))]);
    folder.ok(&["train", "roots.bdl", "--out", "run"]);
    let shown = text(&folder.run(&["predict", "run", "numbers.csv"]).stderr);
    assert!(shown.contains("warning[iterate-bound]: an `iterate` stopped at its bound 39 times"), "{shown}");
    assert!(shown.contains("program.bdl:8:11"), "{shown}");
    std::fs::write(folder.file("few.csv"), "a,b\n1,1\n").unwrap();
    assert_eq!(text(&folder.run(&["predict", "run", "few.csv"]).stderr), "");
}

/// Row-major, as the type says, also where the example's own size stands last.
#[test]
fn predictions_of_any_shape_are_row_major() {
    let program = "data D = csv(\"d.csv\") {\n  a = numbers(column(\"a\"))\n  y = number(column(\"y\"))\n}\n\
        model Net()(a: f32[T]) -> f32 { mean[t] a[t] }\n\
        train t {\n  model net = Net()\n  data D\n  loss square(net(a) - y)\n  epochs 1\n  batch 4\n  \
        predict p = (for c < 2, t: a[t] * (10 * c + 1))\n}\n";
    let folder = Folder::new(&[("d.bdl", program), ("d.csv", "a,y\n1 2 3,1\n4,2\n5 6,3\n")]);
    folder.ok(&["train", "d.bdl", "--out", "run"]);
    let written = std::fs::read_to_string(folder.file("run/predictions.tsv")).unwrap();
    assert_eq!(written, "row\tpart\tp\n1\ttrain\t1,2,3,11,22,33\n2\ttrain\t4,44\n3\ttrain\t5,6,55,66\n");
    // There are no weights, and none are needed.
    let said = folder.ok(&["predict", "run", "d.csv"]);
    assert_eq!(said, "row\tp\n1\t1,2,3,11,22,33\n2\t4,44\n3\t5,6,55,66\n");
}

/// Whether elements have columns of their own is a matter of the type, not of the lengths that some rows happen to have; so are questions.
#[test]
fn equal_lengths_by_chance_change_nothing() {
    let program = "data D = csv(\"d.csv\") {\n  v = numbers(column(\"v\"))\n  y = numbers(column(\"y\"))\n  part = category(column(\"part\"))\n}\n\
        layer Same()(v: f32[T]) -> f32[T] { param w: f32 = zeros; for t: w + v[t] }\n\
        train t {\n  model net = Same()\n  data D\n  split given(part)\n  loss square(sum[t] net(v)[t])\n  \
        predict o = net(v)\n  report pearson(o, y)\n}\n";
    let run = |table: &str| {
        let folder = Folder::new(&[("d.bdl", program), ("d.csv", table)]);
        folder.ok(&["train", "d.bdl", "--out", "run", "--precision", "f64"]);
        let metrics = std::fs::read_to_string(folder.file("run/metrics.json")).unwrap();
        let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
        let rows = std::fs::read_to_string(folder.file("run/predictions.tsv")).unwrap();
        (metrics["test"]["pearson"]["value"].as_f64().unwrap(), rows)
    };
    // The same four pairs as rows of lengths 2 and 2, and 1 and 3.
    let (even, rows) = run("v,y,part\n7,7,train\n6 5 4,6 5 4,train\n1 2,2 1,test\n3 4,4 7,test\n");
    let (uneven, _) = run("v,y,part\n7,7,train\n6 5 4,6 5 4,train\n1,2,test\n2 3 4,1 4 7,test\n");
    assert_eq!(even, uneven);
    assert_eq!(rows, "row\tpart\to\n1\ttrain\t7\n2\ttrain\t6,5,4\n3\ttest\t1,2\n4\ttest\t3,4\n");
}
