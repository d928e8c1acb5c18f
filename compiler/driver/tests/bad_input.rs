//! Every line of bad input gives one clear message, exit code 1, no panic, and loses nothing.
//!
//! The messages are snapshots beside this file: read their differences.

mod common;

use common::{Folder, SPLICE, small_splice, windows};

/// The splice program on other data.
fn on(csv: &str) -> Folder {
    Folder::new(&[("splice.bdl", &SPLICE.replace("EPOCHS", "2")), ("splice.csv", csv)])
}

/// A table with a single row of class EI.
fn one_donor() -> String {
    let all = windows(60, 20);
    let mut seen = false;
    let keep = |line: &&str| !line.starts_with("EI") || !std::mem::replace(&mut seen, true);
    all.lines().filter(keep).map(|line| format!("{line}\n")).collect()
}

/// A table program on other data.
fn table(fields: &str, csv: &str) -> Folder {
    let program = format!(
        "data Rows = csv(\"rows.csv\") {{\n  {fields}\n}}\n\
         model Net(x: f32[2]) -> f32 {{ x |> Neuron() }}\n\
         train net {{\n  model net = Net()\n  data Rows\n  split random(train: 0.6, valid: 0.2, test: 0.2)\n  \
         loss square(net(x) - y)\n  optimizer adam(1e-3)\n  epochs 1\n  batch 1000\n  predict p = net(x)\n  report mse(p, y)\n}}\n"
    );
    Folder::new(&[("rows.bdl", &program), ("rows.csv", csv)])
}

const FIELDS: &str = "x = columns(\"a\", \"b\")\n  y = number(column(\"y\"))";

macro_rules! message {
    ($name:ident, $folder:expr, $args:expr) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), $folder.fails($args));
        }
    };
}

message!(no_program, Folder::new(&[]), &["train", "splice.bdl"]);
message!(no_data_file, Folder::new(&[("splice.bdl", SPLICE)]), &["train", "splice.bdl"]);
message!(empty_data_file, on(""), &["train", "splice.bdl"]);
message!(header_only, on("class,sequence\n"), &["train", "splice.bdl"]);
message!(missing_column, on(&windows(30, 20).replace("sequence", "seq")), &["train", "splice.bdl"]);
message!(letter_outside, on(&windows(30, 20).replacen("GTAA", "GT!A", 1)), &["train", "splice.bdl"]);
message!(lonely_class, on(&one_donor()), &["train", "splice.bdl"]);
message!(lengths_differ, on(&format!("{}N,ACGT\n", windows(30, 20))), &["train", "splice.bdl"]);
/// Sequences of any length under a kernel, one of them too short for it.
fn short_sequence(row: &str) -> Folder {
    let program = "data Reads = csv(\"reads.csv\") {\n  dna = onehot(column(\"dna\"), DNA)\n  y = number(column(\"y\"))\n}\n\
        model Net()(dna: f32[T, 4]) -> f32 { dna |> Conv1d(2, kernel: 5) |> GlobalMaxPool() |> Neuron() }\n\
        train net {\n  model net = Net()\n  data Reads\n  loss square(net(dna) - y)\n  optimizer adam(1e-3)\n  \
        epochs 1\n  batch 2\n  predict p = net(dna)\n}\n";
    Folder::new(&[("reads.bdl", program), ("reads.csv", &format!("dna,y\nACGTAC,1\n{row}ACGTA,0\nAACGTACCG,2\n"))])
}
message!(a_sequence_shorter_than_the_kernel, short_sequence("ACG,1\nA,1\n"), &["train", "reads.bdl"]);

#[test]
fn a_sequence_to_predict_that_is_too_short_is_named() {
    let folder = short_sequence("");
    folder.ok(&["train", "reads.bdl", "--out", "run"]);
    std::fs::write(folder.file("new.csv"), "dna\nACGTA\nACGT\n").unwrap();
    insta::assert_snapshot!(folder.fails(&["predict", "run", "new.csv"]));
}

message!(uneven_rows, table(FIELDS, "a,b,y\n1,2,3\n1,2\n"), &["train", "rows.bdl"]);
message!(nan_in_data, table(FIELDS, "a,b,y\n1,2,3\n1,nan,3\n"), &["train", "rows.bdl"]);
message!(not_a_number, table(FIELDS, "a,b,y\n1,2,3\n1,NA,3\n"), &["train", "rows.bdl"]);
message!(
    nothing_left,
    table(&format!("{FIELDS}\n  keep column(\"a\") > 100"), "a,b,y\n1,2,3\n4,5,6\n"),
    &["train", "rows.bdl"]
);
message!(unknown_override, small_splice(1), &["train", "splice.bdl", "--set", "net.depth=3"]);
message!(unknown_train, small_splice(1), &["train", "splice.bdl:other"]);
message!(
    syntax_error,
    Folder::new(&[("a.bdl", "model M(x: f32[4]) -> f32 {\n  sum[i x[i]\n}\n")]),
    &["check", "a.bdl"]
);
message!(
    unknown_name,
    Folder::new(&[("a.bdl", "model M(x: f32[4]) -> f32 {\n  sum[i] y[i]\n}\n")]),
    &["check", "a.bdl"]
);
message!(
    dims_differ,
    Folder::new(&[("a.bdl", "model M(x: f32[4], y: f32[5]) -> f32[4] {\n  x + y\n}\n")]),
    &["check", "a.bdl"]
);
message!(
    range_unknown,
    Folder::new(&[("a.bdl", "fn f(x: f32[T], w: f32[K]) -> f32[T] {\n  for t: sum[k] x[t + k else 0] * w[k]\n}\n")]),
    &["check", "a.bdl"]
);
message!(
    unguarded_read,
    Folder::new(&[("a.bdl", "fn f(x: f32[T]) -> f32[T] {\n  for t < T: x[t + 1]\n}\n")]),
    &["check", "a.bdl"]
);
message!(not_a_run, Folder::new(&[("a.csv", "x\n1\n")]), &["predict", ".", "a.csv"]);

#[test]
fn text_in_a_numeric_column_at_row_one_million() {
    let mut csv = String::from("a,b,y\n");
    for _ in 0..999_999 {
        csv.push_str("1,2,3\n");
    }
    csv.push_str("1,two,3\n");
    let message = table(FIELDS, &csv).fails(&["train", "rows.bdl"]);
    assert!(message.contains("rows.csv:1000001:3"), "{message}");
    insta::assert_snapshot!(message);
}

#[test]
fn a_batch_larger_than_the_data_is_the_whole_data() {
    let csv = "a,b,y\n1,2,3\n2,3,5\n3,4,7\n4,5,9\n5,6,11\n6,7,13\n7,8,15\n8,9,17\n9,1,10\n1,9,10\n";
    table(FIELDS, csv).ok(&["train", "rows.bdl", "--quiet"]);
}

#[test]
fn an_unknown_category_at_prediction_names_its_row() {
    let folder = table(
        "x = columns(\"a\", \"b\")\n  c = category(column(\"c\"))\n  y = number(column(\"y\"))",
        "a,b,c,y\n1,2,u,3\n2,3,v,5\n3,4,u,7\n4,5,v,9\n5,6,u,11\n",
    );
    let program = std::fs::read_to_string(folder.file("rows.bdl")).unwrap();
    let program = program
        .replace(
            "model Net(x: f32[2]) -> f32 { x |> Neuron() }",
            "model Net(x: f32[2], c: category(K)) -> f32 { concat(x, onehot(c)) |> Neuron() }",
        )
        .replace("net(x)", "net(x, c)");
    std::fs::write(folder.file("rows.bdl"), program).unwrap();
    folder.ok(&["train", "rows.bdl", "--quiet", "--out", "run"]);
    std::fs::write(folder.file("new.csv"), "a,b,c\n1,2,u\n1,2,w\n").unwrap();
    insta::assert_snapshot!(folder.fails(&["predict", "run", "new.csv"]));
}

#[test]
fn damaged_checkpoints_are_refused_and_kept() {
    let folder = small_splice(1);
    folder.ok(&["train", "splice.bdl", "--quiet", "--out", "run"]);
    let path = folder.file("run/best.safetensors");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    insta::assert_snapshot!("checkpoint_cut_short", folder.fails(&["predict", "run", "splice.csv"]));
    std::fs::write(&path, b"\x89PNG\r\n\x1a\n and nothing of ours").unwrap();
    insta::assert_snapshot!("checkpoint_foreign", folder.fails(&["predict", "run", "splice.csv"]));
    assert!(folder.file("run/last.safetensors").exists());
}

#[test]
fn weights_of_another_program_are_listed() {
    let folder = small_splice(1);
    folder.ok(&["train", "splice.bdl", "--quiet", "--out", "run"]);
    folder.ok(&["train", "splice.bdl", "--quiet", "--out", "wide", "--set", "net.width=9"]);
    std::fs::copy(folder.file("wide/best.safetensors"), folder.file("run/best.safetensors")).unwrap();
    insta::assert_snapshot!(folder.fails(&["predict", "run", "splice.csv"]));
}

#[test]
fn a_run_of_another_program_is_not_resumed() {
    let folder = small_splice(1);
    folder.ok(&["train", "splice.bdl", "--quiet", "--out", "run"]);
    folder.ok(&["train", "splice.bdl", "--quiet", "--out", "wide", "--set", "net.width=9"]);
    let before = std::fs::read(folder.file("run/program.bdl")).unwrap();
    let resume = ["train", "splice.bdl", "--quiet", "--out", "run", "--resume"];
    let message = folder.fails(&[&resume[..], &["--set", "net.width=9"]].concat());
    assert!(message.contains("`run` is not a run of this program with this data and seed"), "{message}");
    assert_eq!(std::fs::read(folder.file("run/program.bdl")).unwrap(), before);
    std::fs::copy(folder.file("wide/last.safetensors"), folder.file("run/last.safetensors")).unwrap();
    let message = folder.fails(&resume);
    assert!(message.contains("the weights do not fit the program"), "{message}");
}

#[test]
fn a_run_folder_that_cannot_be_made_is_said_before_training() {
    let folder = small_splice(1);
    std::fs::write(folder.file("blocked"), "a file where a folder should be").unwrap();
    insta::assert_snapshot!(folder.fails(&["train", "splice.bdl", "--quiet", "--out", "blocked/run"]));
}

/// A file system of 64 kB, where that can be mounted; elsewhere the test says that it did not run.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_keeps_what_was_saved() {
    let folder = small_splice(3);
    let disk = folder.file("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=40k", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        eprintln!("SKIPPED: a small file system cannot be mounted here");
        return;
    }
    let message = folder.fails(&["train", "splice.bdl", "--quiet", "--out", "disk/run"]);
    let left: Vec<String> = std::fs::read_dir(disk.join("run"))
        .unwrap()
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let unmounted = std::process::Command::new("umount").arg(&disk).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert!(message.contains("the disk is full"), "{message}");
    assert!(!left.iter().any(|name| name.ends_with(".partial")), "{left:?}");
}

/// A model with a parameter of this shape.
fn large_parameter(shape: &str) -> Folder {
    let program = format!(
        "data Rows = csv(\"rows.csv\") {{ x = number(column(\"x\")); y = number(column(\"y\")) }}\n\
         model Net()(x: f32) -> f32 {{\n  param w: f32[{shape}] = ones\n  sum[i, j] w[i, j] * x\n}}\n\
         train t {{ model net = Net(); data Rows; loss square(net(x) - y); optimizer sgd(0.0); epochs 1 }}\n"
    );
    Folder::new(&[("rows.bdl", &program), ("rows.csv", "x,y\n1,2\n3,4\n")])
}
message!(parameters_larger_than_the_memory, large_parameter("99999999, 99999999"), &["train", "rows.bdl"]);
message!(a_parameter_that_no_memory_holds, large_parameter("9223372036854775807, 1"), &["train", "rows.bdl"]);
message!(a_parameter_whose_size_is_no_number, large_parameter("9223372036854775807, 9"), &["check", "rows.bdl"]);
