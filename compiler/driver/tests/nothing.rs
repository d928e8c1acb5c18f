//! Rows in which an axis has nothing: what needs an element there is said by its row, and nothing reads what stands beside the axis.

mod common;

use common::Folder;

const ROWS: &str = "v,y\n7 8,1\n,1\n5 6,1\n";

/// A model of a sequence that may be empty.
fn on(body: &str, csv: &str) -> Folder {
    let program = format!(
        "data D = csv(\"d.csv\") {{\n  a: f32[T] = numbers(column(\"v\"), missing: \"\")\n  y = number(column(\"y\"))\n}}\n\
         model M(a: f32[T]) -> f32 {{\n  {body}\n}}\n\
         train t {{\n  model net = M()\n  data D\n  loss square(net(a) - y)\n  predict p = net(a)\n}}\n"
    );
    Folder::new(&[("d.bdl", &program), ("d.csv", csv)])
}

/// What needs an element: the body, and what is said.
const NEEDS: [(&str, &str); 16] = [
    ("mean[t] a[t]", "`mean` of nothing"),
    ("max[t] a[t]", "`max` of nothing"),
    ("min[t] a[t]", "`min` of nothing"),
    ("logsumexp[t] a[t]", "`logsumexp` of nothing"),
    ("let i = argmax[t] a[t]\n  a[i]", "`argmax` of nothing"),
    ("f32(argmin[t] a[t])", "`argmin` of nothing"),
    ("mean[batch, t] a[t]", "`mean` of nothing"),
    ("a[clamp(0)]", "`clamp(0)` reads nothing where `a` is empty"),
    ("a[mod(3)]", "`mod(3)` reads nothing where `a` is empty"),
    ("sum[v < 3] a[mod(v - 7)]", "`mod(v - 7)` reads nothing where `a` is empty"),
    ("a[below(T)]", "there is no number below 0"),
    ("a[categorical(softmax(a))]", "`categorical` has nothing to choose from"),
    ("a[argmax[t if a[t] > 9 else 0] a[t]]", "`argmax` may give 0, which must be below a.len"),
    ("fn f(x: f32[n]) -> f32 { mean[i] x[i] }\n  f(a)", "`mean` of nothing"),
    ("sum[v < 3] (max[t] a[t] * v)", "`max` of nothing"),
    ("mse(a, a)", "`mean` of nothing"),
];

#[test]
fn what_needs_an_element_names_the_row_without_one() {
    for (body, what) in NEEDS {
        let said = on(body, ROWS).fails(&["train", "d.bdl"]);
        assert!(said.contains("error[law-violated]"), "{body}:\n{said}");
        assert!(said.contains(what), "{body}: `{what}` is not said:\n{said}");
        let row = "row 2 has a.len 0, but `a.len >= 1` is needed";
        assert!(said.contains(row), "{body}:\n{said}");
        // The same program on rows that all have one.
        on(body, &ROWS.replace("\n,1", "\n9,1")).ok(&["train", "d.bdl"]);
    }
}

#[test]
fn rows_to_predict_are_held_to_the_same() {
    for (body, what) in NEEDS {
        let folder = on(body, "v,y\n7 8,1\n5 6,1\n");
        folder.ok(&["train", "d.bdl", "--out", "run"]);
        std::fs::write(folder.file("new.csv"), "v,w\n7,1\n,1\n").unwrap();
        let said = folder.fails(&["predict", "run", "new.csv"]);
        assert!(said.contains(what) && said.contains("row 2 has a.len 0"), "{body}:\n{said}");
    }
}

/// What is there all the same where there is nothing, or read for elements only: the body, and the three predictions.
const FINE: [(&str, [f64; 3]); 10] = [
    ("sum[t] a[t]", [15.0, 0.0, 11.0]),
    ("prod[t] a[t]", [56.0, 1.0, 30.0]),
    ("mean[t else 4] a[t]", [7.5, 4.0, 5.5]),
    ("max[t else 4] a[t]", [8.0, 4.0, 6.0]),
    ("mean[t if a[t] > 5 else 4] a[t]", [7.5, 4.0, 6.0]),
    ("a[0 else 4]", [7.0, 4.0, 5.0]),
    ("sum[t < T] a[clamp(t - 1)]", [14.0, 0.0, 10.0]),
    ("sum[t] (a[clamp(0)] + a[t])", [29.0, 0.0, 21.0]),
    ("sum[t] (a[t] - (mean[s] a[s]))", [0.0, 0.0, 0.0]),
    ("let p = softmax(a)\n  sum[t] p[t] * (if a[t] > 6 then 1 else 1)", [1.0, 0.0, 1.0]),
];

#[test]
fn what_is_read_for_each_element_may_have_none() {
    for (body, expected) in FINE {
        let folder = on(body, ROWS);
        folder.ok(&["train", "d.bdl", "--out", "run"]);
        let text = std::fs::read_to_string(folder.file("run/predictions.tsv")).unwrap();
        let found: Vec<f64> =
            text.lines().skip(1).map(|line| line.rsplit('\t').next().unwrap().parse().unwrap()).collect();
        assert_eq!(found.len(), 3, "{text}");
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{body}: {found:?}, not {expected:?}");
        }
    }
}

/// A size of a field of which nothing else is read.
#[test]
fn a_size_alone_is_known_at_prediction() {
    let folder = on("sum[i < T] 2", ROWS);
    folder.ok(&["train", "d.bdl", "--out", "run"]);
    let found = folder.ok(&["predict", "run", "d.csv"]);
    let numbers: Vec<&str> = found.lines().skip(1).map(|line| line.rsplit('\t').next().unwrap()).collect();
    assert_eq!(numbers, ["4", "0", "4"], "{found}");
}

/// A size that is a number and 0 is refused where it stands.
#[test]
fn nothing_at_all_is_refused_where_it_stands() {
    for (body, code) in [
        ("let z = zeros[0]\n  mean[i] z[i]", "empty-reduction"),
        ("let z = zeros[0]\n  z[clamp(0)]", "out-of-range"),
        ("let z = zeros[0]\n  z[mod(0)]", "out-of-range"),
        ("f32(below(0))", "out-of-range"),
        ("f32(below(0 - 1))", "out-of-range"),
        ("f32(categorical(zeros[0]))", "out-of-range"),
    ] {
        let said = on(body, "v,y\n7 8,1\n").fails(&["check", "d.bdl"]);
        assert!(said.contains(code), "{body}:\n{said}");
    }
}

/// Ways to an index that is not below the size in its type.
#[test]
fn an_index_is_below_its_size() {
    let refused = [
        ("let i = argmax[t if a[t] > 9 else 4000000000] [1, 2, 3][t]\n  [1, 2, 3][i]", "out-of-range"),
        ("let x = [1, 2, a[0 else 1]]\n  let i = argmax[k if x[k] > 9 else 3] x[k]\n  x[i]", "out-of-range"),
        ("let x = [1, 2, a[0 else 1]]\n  let i = argmax[k if x[k] > 9 else 0 - 2] x[k]\n  x[i]", "out-of-range"),
        ("let x = [1, 2, a[0 else 1]]\n  let i = argmax[k if x[k] > 9 else 1.5] x[k]\n  x[i]", "out-of-range"),
        ("let x = [1, 2, 3, a[0 else 1]]\n  let i = argsort(x)\n  let y = x[0..2]\n  y[i[3]]", "out-of-range"),
        ("let i = argsort([3, 1, 2, a[0 else 1]])\n  let x = [1, 2]\n  x[i[9 else 1]]", "out-of-range"),
        ("let i = argsort([3, a[0 else 1]])\n  let x = [1, 2]\n  x[i[9 else 7]]", "out-of-range"),
        (
            "let i = concat(argsort([1, a[0 else 1]]), argsort([1, 2, a[0 else 1]]))\n  let x = [1, 2]\n  x[i[4]]",
            "out-of-range",
        ),
        (
            "let i = stack(argmax[k] [1, 2, a[0 else 1]][k], argmax[k] [1, a[0 else 1]][k])\n  let x = [1, 2]\n  x[i[0]]",
            "out-of-range",
        ),
        ("let i = cumsum(argsort([3, a[0 else 1]]))\n  let x = [1, 2]\n  x[i[1]]", "out-of-range"),
        (
            "let x = [1, 2]\n  let i = argmax[k] [1, a[0 else 1]][k]\n  let j = argmax[k] [1, 2, 3, a[0 else 1]][k]\n  \
             let r = if a[0 else 1] > 3 then (i: i, n: 1) else (i: j, n: 2)\n  x[r.i]",
            "out-of-range",
        ),
        ("let x = [1, 2]\n  let i = argmax[k] [1, a[0 else 1]][k]\n  x[i + 1]", "out-of-range"),
        (
            "let x = [1, 2]\n  let i = argmax[k] [1, a[0 else 1]][k]\n  let j = argmax[k] [1, 2, a[0 else 1]][k]\n  \
             x[if a[0 else 1] > 3 then i else j]",
            "out-of-range",
        ),
        ("let x = [1, 2, a[0 else 1]]\n  let top = top_k(x, 4)\n  x[top.indices[3]]", "out-of-range"),
    ];
    for (body, code) in refused {
        let said = on(body, "v,y\n7 8,1\n").fails(&["check", "d.bdl"]);
        assert!(said.contains(code), "{body}:\n{said}");
    }
    // Within.
    for body in [
        "let x = [1, 2, a[0 else 1]]\n  let i = argmax[k if x[k] > 9 else 2] x[k]\n  x[i]",
        "let i = argsort([3, a[0 else 1]])\n  let x = [1, 2]\n  x[i[9 else 1]]",
        "let x = [1, 2, a[0 else 1]]\n  let i = argmax[k if x[k] > 9 else 7] x[k]\n  x[clamp(i)]",
        "let x = [1, 2, a[0 else 1]]\n  let j = argmin[k] x[k]\n  let i = argmax[k if x[k] > 9 else j] x[k]\n  x[i]",
    ] {
        on(body, "v,y\n7 8,1\n").ok(&["check", "d.bdl"]);
    }
}
