//! Commands as a user meets them.

mod common;
mod tools;

use common::{Folder, SPLICE, small_splice, windows};

#[test]
fn fmt_keeps_comments_and_refuses_mistakes() {
    let folder = Folder::new(&[
        ("a.bdl", "fn f(x:f32[n])->f32{ sum[i] x[i] } // all of it\n"),
        ("b.bdl", "fn f(x: f32[n]) -> f32 { sum[i x[i] }\n"),
    ]);
    assert_eq!(folder.run(&["fmt", "--check", "a.bdl"]).status.code(), Some(1));
    folder.ok(&["fmt", "a.bdl"]);
    let text = std::fs::read_to_string(folder.file("a.bdl")).unwrap();
    assert!(text.contains("fn f(x: f32[n]) -> f32 {") && text.contains("// all of it"), "{text}");
    folder.ok(&["fmt", "--check", "a.bdl"]);
    let before = std::fs::read_to_string(folder.file("b.bdl")).unwrap();
    assert!(folder.fails(&["fmt", "b.bdl"]).contains("unclosed-bracket"));
    assert_eq!(std::fs::read_to_string(folder.file("b.bdl")).unwrap(), before);
}

#[test]
fn a_new_project_trains_and_meets_its_expectation() {
    let folder = Folder::new(&[]);
    folder.ok(&["new", "tata"]);
    let said = folder.ok(&["test", "tata/tata.bdl"]);
    assert!(said.ends_with("1 of 1 expect blocks hold\n"), "{said}");
}

/// Also where no `train` block applies it; a definition that cannot be looked at alone hides nothing of the others.
#[test]
fn check_says_what_of_a_definition_is_not_built() {
    let program = "fn f(x: f32[2]) -> f32[2] {\n  let y = for c: x[c] * x[c]\n  for i < 2: grad(y[i] * x[i], x)[i]\n}\n\
                   layer Wrap(inner: layer(f32[C]) -> f32[C])(x: f32[C]) -> f32[C] { x |> inner }\n";
    let said = Folder::new(&[("p.bdl", program)]).fails(&["check", "p.bdl"]);
    assert!(said.contains("error[not-built-yet]") && said.contains("p.bdl:3:14"), "{said}");
    let folder = Folder::new(&[("p.bdl", "fn half(x: f32[2 * n]) -> f32[n] { for i < n: x[2 * i] }\n")]);
    assert!(folder.ok(&["check", "p.bdl"]).contains("no mistakes found"));
}

#[test]
fn check_prints_shapes_parameters_and_memory() {
    let said = small_splice(1).ok(&["check", "splice.bdl"]);
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..2], ["dna", "f32[20,"], "{said}");
    // 5 * 4 * 8 weights and 8 biases; 16 positions, 8 channels, 20 taps: two operations each, and the bias.
    assert_eq!(rows[2], ["Conv1d(8,", "kernel:", "5)", "f32[16,", "8]", "168", "5.2", "k", "512", "B"], "{said}");
    assert_eq!(rows[6][..3], ["total", "1,259", "7.9"], "{said}");
    assert!(said.contains("one step at batch B:"), "{said}");
}

#[test]
fn without_the_data_file_sizes_stay_symbolic() {
    let folder = small_splice(1);
    std::fs::remove_file(folder.file("splice.csv")).unwrap();
    let said = folder.ok(&["check", "splice.bdl"]);
    assert!(said.contains("f32[dna.len? - 4, 8]") && said.contains("note: there is no file `splice.csv`"), "{said}");
}

#[test]
fn json_is_one_object_a_line_and_ends_with_the_result() {
    let folder = small_splice(2);
    let said = folder.ok(&["train", "splice.bdl", "--json", "--out", "run"]);
    let lines: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.first().unwrap()["event"], "start");
    assert_eq!(lines.iter().filter(|line| line["event"] == "epoch").count(), 2);
    let done = lines.last().unwrap();
    assert_eq!(done["event"], "done");
    assert!(done["test"]["accuracy"].is_f64() && done["seconds"].is_f64() && done["run"] == "run", "{done}");
    let bench: serde_json::Value =
        serde_json::from_str(&folder.ok(&["bench", "splice.bdl", "--json", "--seconds", "0.1"])).unwrap();
    for key in ["step_ms", "first_step_ms", "compile_ms", "gflops", "machine_gflops", "predicted_peak_mb"] {
        assert!(bench[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {bench}");
    }
    // The vectors of another processor: every one runs portable code.
    let bench = ["bench", "splice.bdl", "--json", "--seconds", "0.1", "--isa", "portable"];
    let bench: serde_json::Value = serde_json::from_str(&folder.ok(&bench)).unwrap();
    assert_eq!(bench["isa"], "portable");
    let said = folder.run(&["bench", "splice.bdl", "--isa", "mmx"]);
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("there are avx512, avx2 and portable"), "{said}");
    let bench = ["bench", "splice.bdl", "--simulate", "4,16", "--json", "--seconds", "0.1"];
    let bench: serde_json::Value = serde_json::from_str(&folder.ok(&bench)).unwrap();
    let teams = bench["simulated"].as_array().unwrap_or_else(|| panic!("{bench}"));
    assert_eq!(teams.iter().map(|team| team["threads"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(4), Some(16)]);
    assert_eq!((&teams[0]["speed_up"], &teams[0]["meetings_ms"]), (&1.0.into(), &0.0.into()), "{bench}");
    for team in teams {
        let (threads, step) = (team["threads"].as_f64().unwrap(), team["step_ms"].as_f64().unwrap());
        // Nobody does more than his part of all, and none of it is done twice.
        assert!(step * threads * 1.001 >= team["work_ms"].as_f64().unwrap() && step > 0.0, "{team}");
        assert!(team["phases"].as_u64().unwrap() > 0 && team["gb_per_s"].as_f64().unwrap() > 0.0, "{team}");
    }
    let bench = ["bench", "splice.bdl", "--predict", "3", "--json", "--seconds", "0.1", "--profile"];
    let bench: serde_json::Value = serde_json::from_str(&folder.ok(&bench)).unwrap();
    assert_eq!(bench["rows"], 3);
    for key in ["answer_ms", "first_answer_ms", "compile_ms", "gflops", "predicted_peak_mb", "machine_gb_per_s"] {
        assert!(bench[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {bench}");
    }
    assert!(bench["profile"].as_array().is_some_and(|launches| !launches.is_empty()), "{bench}");
}

#[test]
fn predictions_name_classes_and_do_not_need_the_target() {
    let folder = small_splice(8);
    folder.ok(&["train", "splice.bdl", "--quiet", "--out", "run"]);
    let rows = std::fs::read_to_string(folder.file("splice.csv")).unwrap();
    let sequences: String = rows.lines().map(|line| format!("extra,{}\n", line.split(',').nth(1).unwrap())).collect();
    std::fs::write(folder.file("new.csv"), sequences.replacen("extra,sequence", "id,sequence", 1)).unwrap();
    let new = folder.ok(&["predict", "run", "new.csv"]);
    assert_eq!(new, folder.ok(&["predict", "run", "splice.csv"]));
    let lines: Vec<&str> = new.lines().collect();
    assert_eq!(lines[0], "row\tkind\tkind.EI\tkind.IE\tkind.N");
    assert_eq!(lines.len(), 121);
    for line in &lines[1..] {
        let cells: Vec<&str> = line.split('\t').collect();
        let p: Vec<f64> = cells[2..].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-4, "{line}");
        let best = (0..3).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
        assert_eq!(cells[1], ["EI", "IE", "N"][best], "{line}");
    }
    // The run folder holds the same predictions, by part.
    let kept = std::fs::read_to_string(folder.file("run/predictions.tsv")).unwrap();
    assert_eq!(kept.lines().count(), 121);
}

#[test]
fn a_loss_that_is_not_finite_names_its_equation() {
    let folder = small_splice(3);
    let said = folder.fails(&["train", "splice.bdl", "--set", "lr=1e30"]);
    assert!(said.contains("not-finite") && said.contains("the first such value is in `net."), "{said}");
}

#[test]
fn overrides_make_another_run_that_runs_from_its_folder() {
    let folder = small_splice(1);
    folder.ok(&["train", "splice.bdl", "--quiet", "--out", "a", "--set", "net.width=5", "--set", "lr=0.02"]);
    let program = std::fs::read_to_string(folder.file("a/program.bdl")).unwrap();
    assert!(program.contains("SpliceNet(width: 5)") && program.contains("lr: f32 = 0.02"), "{program}");
    folder.ok(&["train", "a/program.bdl", "--quiet", "--out", "b"]);
    let best = |run: &str| bdl_train::checkpoint::load(&folder.file(run).join("best.safetensors")).unwrap().0;
    assert!(best("a") == best("b"));
}

#[test]
fn every_stage_is_shown_and_names_where_it_came_from() {
    let folder = small_splice(1);
    let stages = [
        ("ast", "model SpliceNet"),
        ("hir", "train splice"),
        ("equations", "splice.bdl:9:"),
        ("gradient", "d_net.conv1d_1.w["),
        ("plan", "contract net.conv1d_1"),
        ("clif", "function"),
        ("asm", "pushq"),
    ];
    for (stage, wanted) in stages {
        let said = folder.ok(&["emit", "splice.bdl", "--stage", stage]);
        assert!(said.contains(wanted), "{stage}:\n{said}");
    }
}

/// The small splice program with folds in place of parts.
fn in_folds() -> Folder {
    let program = SPLICE
        .replace("EPOCHS", "3")
        .replace("random(train: 0.7, valid: 0.15, test: 0.15, balance: site)", "kfold(4, balance: site)")
        .replace("  keep      best valid.loss\n", "");
    let expect = "expect splice { test.accuracy >= 0.0 }\n";
    Folder::new(&[("splice.bdl", &format!("{program}{expect}")), ("splice.csv", &windows(120, 20))])
}

#[test]
fn cv_trains_every_fold_on_rows_of_its_own() {
    let folder = in_folds();
    let said = folder.ok(&["cv", "splice.bdl", "--out", "run"]);
    assert!(said.contains("  split   4 folds, balanced by site, split seed 0\n"), "{said}");
    let summary: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.file("run/cv.json")).unwrap()).unwrap();
    let accuracy = &summary["test"]["accuracy"];
    let values: Vec<f64> = accuracy["folds"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(values.len(), 4);
    let mean = values.iter().sum::<f64>() / 4.0;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
    assert!((accuracy["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
    assert!((accuracy["deviation"].as_f64().unwrap() - deviation).abs() < 1e-12);
    assert!(said.contains("  test    of 4 folds   mean ± deviation"), "{said}");
    assert!(said.contains("  expect  mean of test.accuracy >= 0"), "{said}");

    // Every row is tested once.
    let mut tested = Vec::new();
    for fold in 1..=4 {
        assert!(said.contains(&format!("  fold {fold}/4   ")), "{said}");
        let split = std::fs::read_to_string(folder.file(&format!("run/fold-{fold}/split.tsv"))).unwrap();
        tested.extend(split.lines().filter(|line| line.ends_with("test")).map(str::to_string));
    }
    tested.sort();
    tested.dedup();
    assert_eq!(tested.len(), 120);

    // A fold that is looked at again is judged on the rows that it did not see.
    for fold in [1, 3] {
        let again = folder.ok(&["eval", &format!("run/fold-{fold}"), "--json"]);
        let again: serde_json::Value = serde_json::from_str(again.trim()).unwrap();
        let loss = summary["test"]["loss"]["folds"][fold - 1].as_f64().unwrap();
        assert_eq!(again["test"]["loss"].as_f64().unwrap(), loss);
    }
    assert_ne!(summary["test"]["loss"]["folds"][0], summary["test"]["loss"]["folds"][2]);

    // Resumed, finished folds are only measured again, and the missing one is trained.
    std::fs::remove_dir_all(folder.file("run/fold-4")).unwrap();
    let resumed = folder.ok(&["cv", "splice.bdl", "--out", "run", "--resume"]);
    let folds =
        |text: &str| text.lines().filter(|line| line.starts_with("  fold")).map(str::to_string).collect::<Vec<_>>();
    assert_eq!(folds(&resumed), folds(&said));
}

#[test]
fn cv_without_folds_says_what_to_write() {
    let said = small_splice(1).fails(&["cv", "splice.bdl"]);
    assert!(said.contains("no-folds") && said.contains("split kfold(5)"), "{said}");
}

/// Every program that the language was designed on trains, on a few small examples.
#[test]
fn the_programs_of_the_design_train() {
    let programs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/design/programs");
    let Ok(entries) = std::fs::read_dir(&programs) else {
        eprintln!("SKIPPED: the programs of the design are not beside this checkout");
        return;
    };
    let names = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut names: Vec<_> = names.filter(|path| path.extension().is_some_and(|e| e == "bdl")).collect();
    names.sort();
    assert!(names.len() >= 10, "{names:?}");
    let smaller = [
        ("[5000]", "[60]"),
        ("[2000]", "[40]"),
        ("letters(DNA)[1000]", "letters(DNA)[120]"),
        ("letters(DNA)[600]", "letters(DNA)[60]"),
        ("[256]", "[12]"),
        ("Conv1d(300,", "Conv1d(30,"),
        ("Conv1d(200,", "Conv1d(20,"),
        ("Dense(1000)", "Dense(100)"),
        ("Dense(925)", "Dense(90)"),
        ("Lstm(320", "Lstm(16"),
        ("Conv1d(320,", "Conv1d(32,"),
    ];
    let patients: String = (0..24)
        .map(|at| {
            format!("{},{},{},{},{}\n", at % 7, if at % 5 > 0 { "0.5" } else { "" }, at % 3, 1 + at * 5 % 17, at % 2)
        })
        .collect();
    let patients = format!("x0,x1,x2,duration,event\n{patients}");
    for path in names {
        let name = path.file_stem().unwrap().to_string_lossy().to_string();
        let mut text = std::fs::read_to_string(&path).unwrap();
        for (from, to) in smaller {
            text = text.replace(from, to);
        }
        // Few rows, two steps.
        let lines = text.lines().map(|line| match line.trim_start() {
            entry if entry.starts_with("batch ") => "  batch 2".to_string(),
            entry if entry.starts_with("epochs ") => "  epochs 1".to_string(),
            entry if entry.starts_with("data ") => match (line.find("rows: "), line.find(", seed")) {
                (Some(from), Some(to)) => format!("{}rows: 4{}", &line[..from], &line[to..]),
                (_, _) => line.to_string(),
            },
            _ => line.to_string(),
        });
        let mut text = lines.collect::<Vec<_>>().join("\n");
        text.push_str(match name.as_str() {
            "mps" => {
                "
data R = synthetic(rows: 4, seed: 1) { dna = onehot(letters(DNA)[60]); y = category(3) }
train t { model net = Mps(); data R; loss cross_entropy(net(dna), y); optimizer adam(1e-3); batch 2; epochs 1 }
"
            }
            "ode" => {
                "
data R = synthetic(rows: 4, seed: 1) { y0 = normal[3] }
train t {
  model net = Rk4(4, field: Flow(8), dt: 0.1)
  data R
  loss sum[t, g] square(net(y0)[t, g])
  optimizer adam(1e-3)
  batch 2
  epochs 1
}
"
            }
            _ => "\n",
        });
        let folder = Folder::new(&[("program.bdl", &text), ("metabric.csv", &patients)]);
        folder.ok(&["train", "program.bdl", "--quiet", "--out", "run"]);
        assert!(folder.file("run/last.safetensors").exists(), "{name}");
    }
}
