//! What is measured and fitted: metrics of one's own, by group, of times to an event; units; thresholds and temperatures.

mod common;
mod real_data;

use common::Folder;
use serde_json::Value;

/// 100 rows: x from 0 to 99, time 100 - x, everybody's event seen but for every fifth; three sites in turn.
fn table() -> String {
    let rows = (0..100).map(|at| {
        let site = ["Bern", "Graz", "Ulm"][at % 3];
        format!("{at},{},{},{site}\n", 100 - at, i32::from(at % 5 > 0))
    });
    format!("x,time,event,site\n{}", rows.collect::<String>())
}

const DATA: &str = r#"
data D = csv("d.csv") {
  x     = number(column("x"))
  time  = number(column("time"))
  event = truth(column("event"))
  site  = text(column("site"))
  big   = number(column("x")) |> log1p |> standardize
}
layer Nothing(x: f32) -> f32 {
  param w: f32 = zeros
  x + w
}
"#;

fn metrics(block: &str) -> Value {
    let folder = Folder::new(&[("p.bdl", &format!("{DATA}\n{block}")), ("d.csv", &table())]);
    folder.ok(&["train", "p.bdl", "--quiet", "--out", "run", "--precision", "f64"]);
    serde_json::from_str(&std::fs::read_to_string(folder.file("run/metrics.json")).unwrap()).unwrap()
}

/// Loss, penalty, prediction, metric and state in f64 in a run of f32: the metric is the sum of (1e5 + x)^2 over x = 0 .. 99 to all its digits, and
/// the run can be repeated and predicts.
#[test]
fn what_is_asked_for_in_f64() {
    let block = "
        layer Far(x: f32) -> f32 {
          param w: f32 = zeros
          state seen: f64 = zeros
          update seen = seen + mean[batch] f64(x)
          x + w + 0 * f32(seen)
        }
        fn squares(p: f32) -> f64 { sum[batch] square(f64(p)) }
        train t {
          model     net = Far()
          data      D
          loss      square(f64(net(x)) - x)
          penalty   f64(0.5) * net.w
          optimizer sgd(0)
          epochs    1
          predict   p = f64(net(x)) + 100000
          report    squares(p)
        }";
    let folder = Folder::new(&[("p.bdl", &format!("{DATA}\n{block}")), ("d.csv", &table())]);
    folder.ok(&["train", "p.bdl", "--quiet", "--out", "run"]);
    let found: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.file("run/metrics.json")).unwrap()).unwrap();
    let squares: f64 = (0..100).map(|x| (1e5 + f64::from(x)).powi(2)).sum();
    assert_eq!(found["train"]["squares"]["value"].as_f64(), Some(squares), "{found}");
    folder.ok(&["repeat", "run"]);
    let predicted = folder.ok(&["predict", "run", "d.csv"]);
    assert!(predicted.contains("\n100\t100099"), "{predicted}");
}

/// A score that is no number in any epoch keeps the last one, and says so.
#[test]
fn a_score_that_is_never_a_number_is_said() {
    let block = "
        fn broken(p: f32) -> f32 { log(-1 - square(p)) }
        train t {
          model     net = Nothing()
          data      D
          split     random(train: 0.5, valid: 0.3, test: 0.2)
          loss      square(net(x))
          optimizer sgd(1e-5)
          epochs    3
          keep      best valid.broken
          predict   p = net(x)
          report    broken(p)
        }";
    let folder = Folder::new(&[("p.bdl", &format!("{DATA}\n{block}")), ("d.csv", &table())]);
    let said = folder.warned(&["train", "p.bdl", "--out", "run"]);
    assert!(said.contains("warning[undefined-score]: valid.broken was no number after any epoch"), "{said}");
    assert!(said.contains("the weights of the last epoch are kept"), "{said}");
}

#[test]
fn metrics_of_ones_own_are_averaged_and_see_the_whole_part() {
    let found = metrics(
        "fn near(guess: f32, truth: f32) -> bool { abs(guess - truth) < 25 }
         fn spread(x: f32) -> f32 { let m = mean[batch] x; square(x - m) }
         fn spread_by_steps(x: f32) -> f32 {
           let s = scan t in 2 from (h = x) {
             next h = h - (mean[batch] h)
             emit next h
           }
           square(s[1])
         }
         train t {
           model net = Nothing()
           data  D
           loss  square(net(x))
           batch 8
           predict p = net(x)
           predict half = p / 2
           report near(half, x), spread(p), spread_by_steps(p)
         }",
    );
    // |x / 2 - x| < 25 for x below 50; the variance of 0 .. 99 is (100² - 1) / 12, in batches of 8 or 64 it would be less.
    assert_eq!(found["train"]["near"]["value"], 0.5);
    for name in ["spread", "spread_by_steps"] {
        let spread = found["train"][name]["value"].as_f64().unwrap();
        assert!((spread - 9999.0 / 12.0).abs() < 1e-9, "{name} {spread}");
    }
}

#[test]
fn a_metric_of_ones_own_says_which_values_are_better() {
    // The weight grows by 1 an epoch.
    let kept = |better: &str| {
        let found = metrics(&format!(
            "fn weight(p: f32, x: f32) -> f32 {{ p - x }}
             train t {{
               model net = Nothing()
               data  D
               split random(train: 0.5, valid: 0.5)
               loss  x - net(x)
               optimizer sgd(1)
               batch 50
               epochs 3
               keep  best valid.weight
               predict p = net(x)
               report weight(p, x{better})
             }}"
        ));
        found["valid"]["weight"]["value"].as_f64()
    };
    assert_eq!(kept(""), Some(3.0));
    assert_eq!(kept(", better: higher"), Some(3.0));
    assert_eq!(kept(", better: lower"), Some(1.0));
}

#[test]
fn scores_by_group_and_of_times_to_an_event() {
    let found = metrics(
        "train t {
           model net = Nothing()
           data  D
           loss  square(net(x))
           predict risk = net(x)
           predict back = -risk
           predict p = if x < 60 then 0.2 else 0.8
           report concordance(risk, time, event), concordance(back, time, event)
           report mae(risk, time) by site
         }",
    );
    let found = &found["train"];
    assert_eq!(found["concordance(risk, time, event)"]["value"], 1.0);
    assert_eq!(found["concordance(back, time, event)"]["value"], 0.0);
    let of = |site: usize| -> f64 {
        let own = (0..100).filter(|at| at % 3 == site).map(|at| (2.0 * f64::from(at as u32) - 100.0).abs());
        let all: Vec<f64> = own.collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    for (at, site) in ["Bern", "Graz", "Ulm"].iter().enumerate() {
        let value = found[format!("mae(site = {site})")]["value"].as_f64().unwrap();
        assert!((value - of(at)).abs() < 1e-9, "{site}: {value}");
    }
    assert!(found["mae"]["value"].is_f64());
}

#[test]
fn a_metric_that_looks_across_the_part_looks_across_a_group_where_one_is_asked_for() {
    let found = metrics(
        "fn spread(x: f32) -> f32 { let m = mean[batch] x; square(x - m) }
         train t {
           model net = Nothing()
           data  D
           loss  square(net(x))
           predict p = net(x)
           report spread(p) by site
         }",
    );
    // Every third number: 9 (n² - 1) / 12, with 34 rows of Bern and 33 of each other.
    let value = |name: &str| found["train"][name]["value"].as_f64().unwrap_or(f64::NAN);
    assert!((value("spread") - 9999.0 / 12.0).abs() < 1e-6, "{found}");
    assert!((value("spread(site = Bern)") - 9.0 * 1155.0 / 12.0).abs() < 1e-6, "{found}");
    assert!((value("spread(site = Graz)") - 9.0 * 1088.0 / 12.0).abs() < 1e-6, "{found}");
}

#[test]
fn a_metric_of_ones_own_that_is_missing_leaves_the_example_out() {
    let found = metrics(
        "fn error_of_large(p: f32) -> f32? { if p < 90 then missing else p }
         fn never(p: f32) -> f32? { if p < 1000 then missing else p }
         train t {
           model net = Nothing()
           data  D
           loss  square(net(x))
           predict p = net(x)
           report error_of_large(p), never(p)
         }",
    );
    // Of 0 .. 99 those from 90 on count.
    assert_eq!(found["train"]["error_of_large"]["value"], 94.5);
    assert!(found["train"]["never"]["value"].is_null(), "{found}");
}

/// A label among the inputs is found whether or not something is reported.
#[test]
fn leaks_are_looked_for_without_a_report() {
    let rows: String = (0..60).map(|at| format!("{},{},{}\n", at * 37 % 60, at * 11 % 60, at % 7)).collect();
    let program = |rest: &str| {
        format!(
            "data D = csv(\"d.csv\") {{ x = columns(\"a\", \"b\"); y = number(column(\"b\")); n = number(column(\"n\")) }}
             model Both(x: f32[C], n: f32) -> f32 {{ (x |> Neuron()) + n }}
             train t {{
               model net = Neuron()
               model both = Both()
               data  D
               split random(train: 0.7, valid: 0.3)
               {rest}
               optimizer sgd(0)
               epochs 1
             }}"
        )
    };
    let said = |rest: &str| {
        let folder = Folder::new(&[("p.bdl", &program(rest)), ("d.csv", &format!("a,b,n\n{rows}"))]);
        let output = folder.run(&["train", "p.bdl", "--out", "run"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).to_string()
    };
    let in_both = "warning[label-in-inputs]: column `b` feeds the input `x` and the target `y`";
    assert!(said("loss mse(net(x), y)").contains(in_both));
    assert!(!said("loss mse(net(x), n)").contains("label-in-inputs"));
    // Given and scored; a profile that is made again is an autoencoder's business, and so is what only the loss weighs.
    let given = "warning[label-in-inputs]: `n` is an input of the model and what its prediction is measured by";
    assert!(said("loss mse(both(x, n), n)\n predict p = both(x, n)\n report rmse(p, n)").contains(given));
    assert!(!said("loss mse(both(x, n), n)").contains("label-in-inputs"));
}

#[test]
fn predictions_and_their_scores_are_in_the_units_of_a_column() {
    let folder = Folder::new(&[("d.csv", &table())]);
    let block = "train t {
        model net = Nothing()
        data  D
        loss  square(net(big))
        predict y = net(big) as big
        report  mae(y, big)
      }";
    std::fs::write(folder.file("p.bdl"), format!("{DATA}\n{block}")).unwrap();
    folder.ok(&["train", "p.bdl", "--quiet", "--out", "run", "--precision", "f64"]);
    let found: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.file("run/metrics.json")).unwrap()).unwrap();
    let mae = &found["train"]["mae"];
    assert!(mae["value"].as_f64().unwrap() < 1e-12 && (mae["baseline"].as_f64().unwrap() - 25.0).abs() < 1e-9, "{mae}");
    let predictions = std::fs::read_to_string(folder.file("run/predictions.tsv")).unwrap();
    let last = predictions.lines().last().unwrap();
    assert_eq!(last.split('\t').nth(2), Some("99"), "{last}");
}

#[test]
fn what_is_fitted_after_training_is_kept_with_the_weights() {
    let folder = Folder::new(&[("d.csv", &table())]);
    let block = "data E = csv(\"d.csv\") {
        x     = number(column(\"x\"))
        event = truth(column(\"event\"))
        site  = category(column(\"site\"))
      }
      fn logits(x: f32) -> logit[3] { for k < 3: x * k / 100 }
      train t {
        model net = Nothing()
        data  E
        split random(train: 0.5, valid: 0.5)
        loss  square(net(x))
        optimizer sgd(0)
        epochs 1
        predict p = sigmoid(net(x) / 1000)
        fit cut = threshold(p, event, recall: 1.0) on train
        predict call = p >= cut
        fit q = conformal(net(x), x, 0.9)
        predict width = q
        fit heat = temperature(logits(net(x)), site)
        predict heated = heat
      }";
    std::fs::write(folder.file("p.bdl"), format!("{DATA}\n{block}")).unwrap();
    let output = folder.run(&["train", "p.bdl", "--out", "run", "--precision", "f64"]);
    let said = common::text(&output.stdout);
    assert!(said.contains("fit     cut = 0.5") && said.contains("(recall 1 on train)"), "{said}");
    assert!(said.contains("q = 0") && said.contains("(covers 0.9 on valid)"), "{said}");
    let first = folder.ok(&["predict", "run", "d.csv"]);
    let line = |row: usize| first.lines().nth(row).unwrap().split('\t').map(str::to_string).collect::<Vec<_>>();
    assert_eq!(line(0)[1..], ["p", "call", "width", "heated"]);
    assert_eq!((line(100)[2].as_str(), line(100)[3].as_str()), ("1", "0"), "{first}");
    assert_ne!(line(100)[4], "1", "the temperature is not the one before it was fitted");
}

/// Two questions with their own threshold between no and yes; `gap` empties one answer, and site C knows none of the second.
fn two_questions(gap: &str) -> Value {
    let program = r#"
data D = csv("d.csv") {
  x    = columns("x1", "x2")
  y    = truth(columns("y1", "y2"), missing: keep)
  z    = number(column("z"), missing: keep)
  site = category(column("site"))
}
layer Same()(x: f32[2]) -> f32[2] { param w: f32 = zeros; for c < 2: w + x[c] }
train t {
  model net = Same()
  data  D
  loss  square(sum[c] net(x)[c])
  predict p = sigmoid(net(x))
  predict q = net(x)[0]
  report auroc(p, y), accuracy(p, y), mse(q, z) by site
}
"#;
    // The first question ranks perfectly around -5, the second around 5: pooled, neither does.
    let table = format!("x1,x2,y1,y2,z,site\n-9,1,0,0,1,A\n-8,2,0,0,2,A\n-2,8,1,1,3,B\n-1,{gap},3,B\n-7,3,0,0,,C\n");
    let folder = Folder::new(&[("p.bdl", program), ("d.csv", &table)]);
    folder.ok(&["train", "p.bdl", "--quiet", "--out", "run", "--precision", "f64"]);
    serde_json::from_str(&std::fs::read_to_string(folder.file("run/metrics.json")).unwrap()).unwrap()
}

#[test]
fn a_missing_answer_leaves_the_metric_what_it_is() {
    let (whole, with_gap) = (two_questions("9,1,1"), two_questions("9,1,"));
    assert_eq!(whole["train"]["auroc"]["value"], 1.0);
    assert_eq!(with_gap["train"]["auroc"]["value"], 1.0);
    // By sign: the first question is wrong twice (-2, -1), the second three times (1, 2, 3), of 10 and of 9 answers.
    assert_eq!(whole["train"]["accuracy"]["value"], 0.5);
    assert_eq!(with_gap["train"]["accuracy"]["value"], 4.0 / 9.0);
    // A group of which nothing is known has no score, and nothing is lost for it.
    assert!(whole["train"]["mse(site = C)"]["value"].is_null(), "{whole}");
    assert_eq!(whole["train"]["mse(site = A)"]["value"], 100.0);
}

#[test]
fn what_is_missing_is_no_prediction_and_decisions_can_be_counted() {
    let program = r#"
data D = csv("d.csv") {
  x = number(column("x"))
  y = number(column("y"), missing: keep)
  t = truth(column("t"), yes: "1", no: "0")
}
layer Same()(x: f32) -> f32 { param w: f32 = zeros; x + w }
train t {
  model net = Same()
  data  D
  loss  square(net(x))
  predict q = y
  predict call = net(x) > 2
  report mse(q, x), accuracy(call, t), recall(call, t)
}
"#;
    let folder = Folder::new(&[("p.bdl", program), ("d.csv", "x,y,t\n1,11,0\n2,,1\n3,5,1\n4,,1\n")]);
    folder.ok(&["train", "p.bdl", "--quiet", "--out", "run", "--precision", "f64"]);
    let text = std::fs::read_to_string(folder.file("run/metrics.json")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    // (10² + 2²) / 2 over the two rows that have a y.
    assert_eq!(found["train"]["mse"]["value"], 52.0);
    assert_eq!(found["train"]["accuracy"]["value"], 0.75);
    assert_eq!(found["train"]["recall"]["value"], 2.0 / 3.0);
    let rows = std::fs::read_to_string(folder.file("run/predictions.tsv")).unwrap();
    assert_eq!(rows, "row\tpart\tq\tcall\n1\ttrain\t11\t0\n2\ttrain\t\t0\n3\ttrain\t5\t1\n4\ttrain\t\t1\n");
}
