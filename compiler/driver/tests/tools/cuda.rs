//! `--device cuda` through NVIDIA's driver interface, on the driver of the tests: it interprets the PTX and checks every access. (No GPU is
//! asked: what a real one does with the same text is not tested here.)

use crate::common::{Folder, small_splice, stand_in_driver, text};
use bdl_train::checkpoint;
use std::process::Output;

/// Runs `bdl` where the stand-in is the driver.
fn on_stand_in(folder: &Folder, settings: &[(&str, &str)], args: &[&str]) -> Output {
    stand_in_driver(&mut folder.command(args)).envs(settings.iter().copied()).output().unwrap()
}

fn ok(folder: &Folder, args: &[&str]) -> String {
    let output = on_stand_in(folder, &[], args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "bdl {}\n{out}\n{err}", args.join(" "));
    out
}

/// What a command says that must fail with exit code 1 and this code.
fn fails(folder: &Folder, settings: &[(&str, &str)], args: &[&str], code: &str) -> String {
    let output = on_stand_in(folder, settings, args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "bdl {}\n{out}\n{err}", args.join(" "));
    assert!(err.contains(&format!("error[{code}]")), "{err}");
    err
}

/// Everything that a run's last checkpoint holds.
fn last(folder: &Folder, run: &str) -> Vec<(String, Vec<f64>)> {
    let (arrays, _) = checkpoint::load(&folder.file(&format!("{run}/last.safetensors"))).unwrap();
    arrays.into_iter().map(|array| (array.name, array.values.to_f64())).collect()
}

/// Numbers of a table, whatever stands around them.
fn numbers(table: &str) -> Vec<f64> {
    table.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// In f32, after a few steps of Adam: the order of sums over the lanes of a warp is not that over the lanes of a vector.
const TOLERANCE: f64 = 2e-4;

fn close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        assert!((x - y).abs() <= TOLERANCE * (1.0 + y.abs()), "{what}[{i}] is {x} on the GPU, {y} on the processor");
    }
}

#[test]
fn a_model_trains_on_a_gpu_as_on_the_processor() {
    let folder = small_splice(2);
    folder.ok(&["train", "splice.bdl", "--quiet", "--out", "cpu"]);
    let said = ok(&folder, &["train", "splice.bdl", "--device", "cuda", "--out", "gpu"]);
    assert!(said.contains("PTX machine of the tests, sm_80"), "{said}");
    for ((name, found), (other, expected)) in last(&folder, "gpu").iter().zip(&last(&folder, "cpu")) {
        assert_eq!(name, other);
        close(name, found, expected);
    }
    let file = |run: &str, name: &str| std::fs::read_to_string(folder.file(&format!("{run}/{name}"))).unwrap();
    close("predictions", &numbers(&file("gpu", "predictions.tsv")), &numbers(&file("cpu", "predictions.tsv")));
    assert!(file("gpu", "run.json").contains("PTX machine of the tests"), "run.json says where it ran");
    // Either's weights are read by the other.
    for args in [["eval", "gpu"], ["eval", "cpu"]] {
        let here = folder.ok(&args);
        let there = ok(&folder, &[args[0], args[1], "--device", "cuda"]);
        close("scores", &numbers(&there.replace(',', "")), &numbers(&here.replace(',', "")));
    }
    let predicted = ok(&folder, &["predict", "gpu", "splice.csv", "--device", "cuda:0"]);
    close("new predictions", &numbers(&predicted), &numbers(&folder.ok(&["predict", "gpu", "splice.csv"])));
    let bench = ok(&folder, &["bench", "splice.bdl", "--device", "cuda", "--seconds", "0.05", "--json"]);
    let bench: serde_json::Value = serde_json::from_str(&bench).unwrap();
    assert!(
        bench["gflop"].as_f64().is_some_and(|flop| flop > 0.0) && bench["device_mb"].as_f64() > Some(0.0),
        "{bench}"
    );
}

#[test]
fn a_gpu_draws_the_same_bits() {
    let program = "data D = synthetic(rows: 9, seed: 1) { x = normal[3] }\n\
         model Noise(x: f32[3]) -> f32[4] { let z = normal[4]; let u = uniform[4]; let b = bernoulli(0.3)[4]; \
         for i: z[i] + 8 * u[i] + (if b[i] then 100 else 0) + 0 * x[0] }\n\
         train t { model net = Noise(); data D; loss 0 * x[0]; predict noise = net(x) }\n";
    let folder = Folder::new(&[("noise.bdl", program)]);
    folder.ok(&["train", "noise.bdl", "--quiet", "--seed", "5", "--out", "cpu"]);
    ok(&folder, &["train", "noise.bdl", "--quiet", "--seed", "5", "--out", "gpu", "--device", "cuda"]);
    let noise = |run: &str| std::fs::read_to_string(folder.file(&format!("{run}/predictions.tsv"))).unwrap();
    assert_eq!(noise("gpu"), noise("cpu"));
    assert!(numbers(&noise("cpu")).len() > 36, "{}", noise("cpu"));
}

#[test]
fn a_gpu_that_is_lost_loses_nothing_that_was_saved() {
    let folder = small_splice(3);
    let train = ["train", "splice.bdl", "--quiet", "--device", "cuda", "--save-every", "0", "--out"];
    ok(&folder, &[&train[..], &["whole"]].concat());
    // In the middle of the second epoch or later, which one depends on the number of launches of a step.
    let file = folder.file("counts").display().to_string();
    let settings = [("BDL_STAND_IN_LOST_AFTER", "300"), ("BDL_STAND_IN_COUNTS", &file)];
    let said = fails(&folder, &settings, &[&train[..], &["cut"]].concat(), "device-failed");
    let counts = numbers(&std::fs::read_to_string(&file).unwrap());
    let [_, made, launched] = counts[..] else { panic!("{counts:?}") };
    assert!(made > 0.0 && launched > 2.0 * made, "steps were launched as they were recorded: {counts:?}");
    assert!(said.contains("unspecified launch failure") && said.contains("--resume goes on from there"), "{said}");
    let (_, position) = checkpoint::load(&folder.file("cut/last.safetensors")).unwrap();
    assert!(position.epoch >= 1 && position.epoch < 3, "lost in the middle, not in epoch {}", position.epoch);
    ok(&folder, &[&train[..], &["cut", "--resume"]].concat());
    assert_eq!(last(&folder, "cut"), last(&folder, "whole"), "to the bit");
}

#[test]
fn what_is_missing_is_said() {
    let folder = small_splice(1);
    let train = ["train", "splice.bdl", "--device", "cuda"];
    let no_gpu = fails(&folder, &[("BDL_STAND_IN_DEVICES", "0")], &train, "device-missing");
    assert!(no_gpu.contains("no CUDA-capable device") && no_gpu.contains("without `--device cuda`"), "{no_gpu}");
    let old = fails(&folder, &[("BDL_STAND_IN_VERSION", "11040")], &train, "device-missing");
    assert!(old.contains("knows CUDA 11.4, and bdl needs 12.0"), "{old}");
    let number = fails(&folder, &[], &["train", "splice.bdl", "--device", "cuda:3"], "device-missing");
    assert!(number.contains("no GPU number 3; there are 1"), "{number}");
    let small = fails(&folder, &[("BDL_STAND_IN_MEMORY", "100000")], &train, "out-of-memory");
    assert!(small.contains("on the GPU, where 100 kB of 100 kB are free") && small.contains("`batch "), "{small}");
    // What is predicted is what is taken.
    let need: f64 = small.split_once("needs ").and_then(|(_, rest)| rest.split_once(" kB")).unwrap().0.parse().unwrap();
    let enough = ((need + 1.0) * 1e3).to_string();
    let trained = on_stand_in(&folder, &[("BDL_STAND_IN_MEMORY", &enough)], &[&train[..], &["--out", "fits"]].concat());
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    let f64 = fails(&folder, &[], &["train", "splice.bdl", "--device", "cuda", "--precision", "f64"], "not-built-yet");
    assert!(f64.contains("in f64 is not there on a GPU") && f64.contains("leave out `--precision f64`"), "{f64}");
    assert!(!folder.file("runs/splice").exists() || !folder.file("runs/splice/latest/last.safetensors").exists());
    // A machine without the library, or with fewer GPUs.
    let mut bare = folder.command(&["train", "splice.bdl", "--device", "cuda:63"]);
    let bare = bare.env_remove("LD_LIBRARY_PATH").output().unwrap();
    assert_eq!(bare.status.code(), Some(1));
    assert!(text(&bare.stderr).contains("error[device-missing]"), "{}", text(&bare.stderr));
    let wrong = folder.run(&["train", "splice.bdl", "--device", "cuda:x"]);
    assert_eq!(wrong.status.code(), Some(2));
    for precision in ["tf32", "bf16"] {
        let train = ["train", "splice.bdl", "--device", "cuda", "--precision", precision];
        let said = fails(&folder, &[("BDL_STAND_IN_CAPABILITY", "75")], &train, "device-missing");
        assert!(said.contains(&format!("(sm_75) does not multiply in {precision}")), "{said}");
        assert!(said.contains(&format!("leave out `--precision {precision}`")), "{said}");
    }
}

#[test]
fn a_run_keeps_the_precision_of_its_products() {
    let folder = small_splice(2);
    let train = ["train", "splice.bdl", "--quiet", "--device", "cuda", "--save-every", "0", "--out"];
    let tf32 = ["--precision", "tf32"];
    ok(&folder, &[&train[..], &["run"], &tf32].concat());
    ok(&folder, &[&train[..], &["exact"]].concat());
    assert_ne!(last(&folder, "run"), last(&folder, "exact"), "tf32 makes no difference here");
    let about = |run: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(folder.file(&format!("{run}/run.json"))).unwrap()).unwrap()
    };
    assert_eq!((&about("run")["precision"], &about("exact")["precision"]), (&"tf32".into(), &"f32".into()));
    assert_ne!(about("run")["hash"], about("exact")["hash"], "they are not one run");

    // What is computed from its weights on a GPU is computed so; without a word about it, and with one.
    let predicted =
        |run: &str, more: &[&str]| ok(&folder, &[&["predict", run, "splice.csv", "--device", "cuda"], more].concat());
    let so = predicted("run", &[]);
    assert_eq!(so, predicted("run", &tf32));
    let repeated = ok(&folder, &["repeat", "run", "--device", "cuda"]);
    assert!(repeated.contains("tf32") && repeated.contains("the same bits"), "{repeated}");
    let scored = ok(&folder, &["eval", "run", "--device", "cuda", "--json"]);

    // On the processor, and of a run whose record is older, in f32.
    let here = folder.ok(&["predict", "run", "splice.csv"]);
    let (scored_here, file) = (folder.ok(&["eval", "run", "--json"]), folder.file("run/run.json"));
    let record = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, record.replace("\"tf32\"", "\"f32\"")).unwrap();
    assert_eq!(folder.ok(&["predict", "run", "splice.csv"]), here);
    assert_eq!(folder.ok(&["eval", "run", "--json"]), scored_here);
    assert_ne!(predicted("run", &[]), so);
    assert_ne!(ok(&folder, &["eval", "run", "--device", "cuda", "--json"]), scored);
    assert_eq!(predicted("run", &tf32), so, "asked for");
    std::fs::write(&file, record.replace("\"tf32\"", "\"f8\"")).unwrap();
    let unknown = fails(&folder, &[], &["predict", "run", "splice.csv"], "not-a-run");
    assert!(unknown.contains("it was computed in `f8`, which this version does not know"), "{unknown}");
}

#[test]
fn a_run_is_resumed_in_its_precision() {
    for precision in ["tf32", "bf16"] {
        let folder = small_splice(3);
        let train = ["train", "splice.bdl", "--quiet", "--device", "cuda", "--save-every", "0", "--out"];
        let so = ["--precision", precision];
        ok(&folder, &[&train[..], &["whole"], &so].concat());
        let settings = [("BDL_STAND_IN_LOST_AFTER", "300")];
        fails(&folder, &settings, &[&train[..], &["cut"], &so].concat(), "device-failed");
        let other = fails(&folder, &[], &[&train[..], &["cut", "--resume"]].concat(), "checkpoint-mismatch");
        assert!(other.contains("the seed and the precision must be those of the run"), "{other}");
        ok(&folder, &[&train[..], &["cut", "--resume"], &so].concat());
        assert_eq!(last(&folder, "cut"), last(&folder, "whole"), "to the bit, in {precision}");
    }
}

/// On sm_90 four warps multiply together, on others one: they give what the others give, as near as roundings are.
#[test]
fn a_hopper_multiplies_with_warpgroups() {
    let program = "data Random = synthetic(rows: 160, seed: 1) {\n  x = normal[136]\n  y = category(3)\n}\n\n\
        model Net(x: f32[136]) -> logit[3] { x |> Dense(128) |> relu |> Dense(3) }\n\n\
        train wide {\n  model net = Net()\n  data Random\n  loss cross_entropy(net(x), y)\n  optimizer adam(1e-3)\n  batch 80\n  epochs 2\n}\n";
    let folder = Folder::new(&[("wide.bdl", program)]);
    let of = |gpu: &str| {
        folder.ok(&["emit", "wide.bdl", "--stage", "ptx", "--device", "cuda", "--precision", "tf32", "--gpu", gpu])
    };
    assert!(!of("any").contains("wgmma") && of("hopper").contains("wgmma") && of("hopper").contains(".target sm_90a"));
    for precision in ["tf32", "bf16"] {
        let train = ["train", "wide.bdl", "--quiet", "--device", "cuda", "--precision", precision, "--out"];
        ok(&folder, &[&train[..], &["any"]].concat());
        let hopper = on_stand_in(&folder, &[("BDL_STAND_IN_CAPABILITY", "90")], &[&train[..], &["hopper"]].concat());
        assert!(hopper.status.success(), "{}", text(&hopper.stderr));
        for ((name, found), (_, expected)) in last(&folder, "hopper").iter().zip(&last(&folder, "any")) {
            close(name, found, expected);
        }
        for run in ["any", "hopper"] {
            std::fs::remove_dir_all(folder.file(run)).unwrap();
        }
    }
}

/// A processor has bf16 too: what a GPU did so is continued, predicted and repeated there in bf16, near but not to the bit.
#[test]
fn a_run_in_bf16_is_in_bf16_on_either() {
    let folder = small_splice(2);
    let train = ["train", "splice.bdl", "--quiet", "--save-every", "0", "--out"];
    let (bf16, cuda) = (["--precision", "bf16"], ["--device", "cuda"]);
    folder.ok(&[&train[..], &["cpu"], &bf16].concat());
    ok(&folder, &[&train[..], &["gpu"], &bf16, &cuda].concat());
    for ((name, found), (_, expected)) in last(&folder, "gpu").iter().zip(&last(&folder, "cpu")) {
        close(name, found, expected);
    }
    let there = ok(&folder, &[&["predict", "gpu", "splice.csv"][..], &cuda].concat());
    let here = folder.ok(&["predict", "gpu", "splice.csv"]);
    close("predictions", &numbers(&here), &numbers(&there));
    // In f32 they are further away.
    let file = folder.file("gpu/run.json");
    let record = std::fs::read_to_string(&file).unwrap();
    assert!(record.contains("\"bf16\""), "{record}");
    std::fs::write(&file, record.replace("\"bf16\"", "\"f32\"")).unwrap();
    assert_ne!(folder.ok(&["predict", "gpu", "splice.csv"]), here);
    assert_eq!(folder.ok(&[&["predict", "gpu", "splice.csv"][..], &bf16].concat()), here, "asked for");
}

/// The rows of a profile: the plan is one, whatever runs it. A recurrence that is one function on a GPU is one row, of all that its steps do.
#[test]
fn every_launch_of_a_step_is_measured() {
    let program = "data D = synthetic(rows: 12, seed: 1) { x = normal[6, 3]; y = normal[1] }\n\
         model Net(x: f32[T, 3]) -> f32[1] {\n\
           let h = x |> Lstm(4)\n\
           let noisy = scan t in T from (s = 0) { let d = x[t] |> dropout(0.2); next s = s + sum[c] d[c] }\n\
           (for c: noisy.s + mean[t] h[t, c]) |> dropout(0.2) |> Dense(1)\n\
         }\n\
         train t { model net = Net(); data D; loss mse(net(x), y); optimizer adam(1e-3); epochs 1; batch 4; predict p = net(x) }\n";
    let folder = Folder::new(&[("net.bdl", program)]);
    let bench = ["bench", "net.bdl", "--profile", "--seconds", "0.05", "--device"];
    let profile = |device: &str| -> serde_json::Value {
        let args = [&bench[..], &[device, "--json"]].concat();
        // Room for a small copy is enough to measure one.
        let output = on_stand_in(&folder, &[("BDL_STAND_IN_MEMORY", "50000000")], &args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (here, there) = (profile("cpu"), profile("cuda"));
    let rows = |profile: &serde_json::Value| profile["profile"].as_array().unwrap().clone();
    let number = |row: &serde_json::Value, what: &str| row[what].as_f64().unwrap();
    let depth = |row: &serde_json::Value| row["depth"].as_u64().unwrap();
    let (on_cpu, on_gpu) = (rows(&here), rows(&there));
    let mut others = on_cpu.iter().peekable();
    let mut as_one = 0;
    for (i, row) in on_gpu.iter().enumerate() {
        let other = others.next().unwrap();
        for what in ["what", "origin", "line", "depth"] {
            assert_eq!(row[what], other[what], "{row}");
        }
        let (mut flop, mut bytes) = (number(other, "flop"), number(other, "bytes"));
        if row["what"].as_str().unwrap().starts_with("scan")
            && on_gpu.get(i + 1).is_none_or(|next| depth(next) <= depth(row))
        {
            as_one += 1;
            while let Some(inner) = others.next_if(|inner| depth(inner) > depth(row)) {
                flop += number(inner, "flop");
                bytes += number(inner, "bytes");
            }
            assert!(flop > 0.0);
        }
        assert_eq!((number(row, "flop"), number(row, "bytes")), (flop, bytes), "{row}");
        // One that was not measured has the smallest time that is shown.
        assert!(row["ms"].as_f64() > Some(1e-6), "{row}");
    }
    assert_eq!((others.next(), as_one), (None, 2));
    let depths: Vec<u64> = rows(&there).iter().map(|row| row["depth"].as_u64().unwrap()).collect();
    assert!(depths.contains(&1), "the loop's launches are rows, too");
    // A loop takes as long as what it holds, at least.
    let ms = |row: &serde_json::Value| row["ms"].as_f64().unwrap();
    for (at, depth) in depths.iter().enumerate() {
        let inside: f64 =
            rows(&there)[at + 1..].iter().take_while(|row| row["depth"].as_u64() > Some(*depth)).map(ms).sum();
        assert!(ms(&rows(&there)[at]) >= 0.99 * inside, "{}", rows(&there)[at]);
    }
    assert!(there["machine_gb_per_s"].as_f64() > Some(0.0), "{there}");
    assert!(there["machine_gflops"].is_null(), "what a GPU's contractions reach is not measured");
    // The step itself is recorded, and not made one by one.
    let shown = ok(&folder, &[&bench[..], &["cuda", "--picture", "step.svg"]].concat());
    assert!(
        shown.contains("GB/s in a copy within the GPU's memory") && shown.contains("launches, slowest first"),
        "{shown}"
    );
    assert!(shown.contains("net.bdl:5") && shown.contains("(contract "), "{shown}");
    assert!(std::fs::read_to_string(folder.file("step.svg")).unwrap().contains("contractions"));
}
