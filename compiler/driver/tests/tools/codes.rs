//! Messages of commands that no other test shows.

use crate::common::{Folder, SPLICE, small_splice, windows};
use bdl::Model;

/// A program on made-up rows.
fn small(loss: &str, body: &str) -> String {
    format!(
        "data D = synthetic(rows: 16, seed: 1) {{ x = normal[3] }}\nmodel Net(x: f32[C]) -> f32 {{ {body} }}\n\
         train t {{ model net = Net(); data D; loss {loss}; optimizer adam(1e-3); epochs 1; batch 8 }}\n"
    )
}

#[test]
fn commands_say_what_is_missing() {
    let two = format!(
        "{}\n{}",
        SPLICE.replace("EPOCHS", "1"),
        "train other { data Junctions; model net = SpliceNet(); loss cross_entropy(net(dna), site) }\n"
    );
    let folder = Folder::new(&[
        ("bare.bdl", "fn f(x: f32) -> f32 { x }\n"),
        ("two.bdl", &two),
        ("splice.csv", &windows(30, 20)),
        ("taken", ""),
        ("across.bdl", &small("square(norm(grad(net(x), x)) - 1)", "x |> Dense(4) |> BatchNorm() |> Neuron()")),
        ("small.bdl", &small("square(net(x))", "x |> Neuron()")),
        ("none.bdl", "data D = synthetic(rows: 0, seed: 1) { x = normal[2] }\n"),
    ]);
    std::fs::write(folder.file("latin.bdl"), b"// caf\xe9\n").unwrap();
    for (args, code) in [
        (vec!["check", "--explain", "nonsense"], "unknown-code"),
        (vec!["test", "bare.bdl"], "no-expect"),
        (vec!["data", "bare.bdl"], "no-data"),
        (vec!["train", "bare.bdl"], "no-train"),
        (vec!["train", "two.bdl"], "which-train"),
        (vec!["data", "none.bdl"], "bad-option"),
        (vec!["check", "latin.bdl"], "not-text"),
        (vec!["new", "9 lives"], "bad-name"),
        (vec!["new", "taken"], "name-taken"),
        (vec!["runs"], "no-runs"),
        (vec!["check", "across.bdl"], "grad-across-batch"),
        (vec!["bench", "small.bdl", "--seconds", "0.05", "--picture", "no/such/folder/x.svg"], "write-failed"),
        (vec!["doc", "std", "Nonsense"], "unknown-name"),
    ] {
        let said = folder.fails(&args);
        assert!(said.contains(&format!("error[{code}]")), "{args:?}: {said}");
    }
}

/// The user's own `grad` is pointed at, and what looks across the batch is named.
#[test]
fn a_gradient_across_the_batch() {
    let program = small("square(norm(grad(net(x), x)) - 1)", "x |> Dense(4) |> BatchNorm() |> Neuron()");
    let folder = Folder::new(&[("across.bdl", &program)]);
    insta::assert_snapshot!("a_gradient_across_the_batch", folder.fails(&["check", "across.bdl"]));
}

/// Of 16 rows 13 train, and batches of 4 leave one: known when the rows are split.
#[test]
fn a_last_batch_of_one_row() {
    let program = small("square(net(x))", "x |> Dense(4) |> BatchNorm() |> Neuron()");
    let split = "split random(train: 0.8125, test: 0.1875);";
    let one = program.replace("batch 8", &format!("{split} batch 4"));
    let folder = Folder::new(&[("one.bdl", &one), ("two.bdl", &one.replace("batch 4", "batch 11"))]);
    let said = folder.warned(&["train", "one.bdl", "--out", "one"]);
    assert!(said.contains("warning[last-batch-of-one]") && said.contains("13 = 3 * 4 + 1"), "{said}");
    let said = folder.warned(&["train", "two.bdl", "--out", "two"]);
    assert!(!said.contains("last-batch-of-one"), "{said}");
    // 13 = 8 + 5, and the 5 are computed as 2, 2 and 1.
    let parts = program.replace("batch 8", &format!("{split} batch 8 in 3 parts"));
    let folder = Folder::new(&[("parts.bdl", &parts), ("fine.bdl", &parts.replace("3 parts", "2 parts"))]);
    let said = folder.warned(&["train", "parts.bdl", "--out", "parts"]);
    assert!(
        said.contains("warning[last-batch-of-one]") && said.contains("5 rows, in 3 parts: 5 = 2 * 2 + 1"),
        "{said}"
    );
    let said = folder.warned(&["train", "fine.bdl", "--out", "fine"]);
    assert!(!said.contains("last-batch-of-one"), "{said}");
}

/// A metric that looks across the batch makes the loss no other one, in parts of a batch or not.
#[test]
fn a_metric_across_the_batch_is_not_the_loss() {
    let program = "
        data D = synthetic(rows: 16, seed: 1) { x = normal[3]; y = normal[1] }
        model Net(x: f32[C]) -> f32 { x |> Neuron() }
        fn wide(p: f32) -> f32 { let m = mean[batch] p; square(p - m) }
        train t { model net = Net(); data D; loss square(net(x) - y[0]); optimizer adam(1e-3); epochs 1; batch 8 in 2 parts
          predict p = net(x)
          report wide(p)
        }\n";
    let folder = Folder::new(&[("t.bdl", program)]);
    let said = folder.ok(&["train", "t.bdl", "--out", "run"]);
    assert!(said.contains("wide") && !said.contains("compares the examples"), "{said}");
}

/// A block without an optimizer evaluates and predicts with the weights that it has: those of a file, or the first ones.
#[test]
fn a_block_without_an_optimizer_predicts() {
    let program = "
        data D = csv(\"d.csv\") { x = columns(\"a\", \"b\"); y = number(column(\"y\")) }
        model Net(x: f32[2]) -> f32 { param w: f32[2] = ones; sum[i] w[i] * x[i] }
        train t { model net = Net(); data D; loss square(net(x) - y); predict total = net(x) }\n";
    let folder =
        Folder::new(&[("t.bdl", program), ("d.csv", "a,b,y\n1,2,3\n3,4,7\n"), ("new.csv", "a,b\n10,20\n5,6\n")]);
    folder.ok(&["train", "t.bdl", "--out", "run"]);
    let made = folder.ok(&["predict", "run", "new.csv"]);
    let rows: Vec<Vec<&str>> = made.lines().map(|line| line.split('\t').collect()).collect();
    let at = rows[0].iter().position(|name| *name == "total").expect("a column `total`");
    assert_eq!((rows[1][at], rows[2][at]), ("30", "11"), "{made}");
    assert!(folder.ok(&["eval", "run", "--data", "D=d.csv"]).contains("loss"), "no loss");
}

#[test]
fn a_size_that_parameters_need_is_asked_for() {
    let source = "model M(x: f32[L, 4]) -> f32 { x |> flatten |> Neuron() }";
    let said = Model::from_source(source, "M", &[]).err().unwrap().to_string();
    assert!(said.contains("size-not-given"), "{said}");
    assert!(Model::from_source(source, "M", &[("L", 5)]).is_ok());
}

#[test]
fn documentation_of_a_file_and_of_the_library() {
    let folder = small_splice(1);
    let all = folder.ok(&["doc", "std"]);
    assert!(all.contains("layer Dense(units: dim, bias: bool = true)(x: f32[.., C]) -> f32[.., units]"), "{all}");
    let one = folder.ok(&["doc", "std", "softmax"]);
    assert!(
        one.starts_with("fn softmax(x: f32[.., n]) -> prob[.., n]\n") && one.contains("logsumexp")
            || one.contains("exp(x"),
        "{one}"
    );
    assert!(folder.ok(&["doc", "splice.bdl"]).contains("model SpliceNet"));
    let lines = folder.ok(&["doc", "std", "relu", "--json"]);
    let json: serde_json::Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((json["kind"].as_str(), json["module"].as_str()), (Some("fn"), Some("nn")));
    folder.ok(&["doc", "std", "--html", "doc.html"]);
    let page = std::fs::read_to_string(folder.file("doc.html")).unwrap();
    assert!(
        page.contains("id=search")
            && page.contains("id=\"nn.Dense\"")
            && !page.contains("http://")
            && !page.contains("src=")
    );
}
