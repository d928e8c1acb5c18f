//! Transcripts: `tests/repl/NAME.in` is piped into `bdl repl`, and the screen beside it is what must come out.

use crate::common::{Folder, SPLICE, text, windows};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The screen after these inputs, and the exit code.
fn screen(folder: &Folder, input: &str, more: &[&str]) -> (String, Option<i32>) {
    let mut args = vec!["repl", "--threads", "1"];
    args.extend(more);
    let mut command = folder.command(&args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (text(&output.stdout), output.status.code())
}

#[test]
fn transcripts() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/repl");
    let program = SPLICE.replace("EPOCHS", "3");
    let mut names: Vec<String> = std::fs::read_dir(&beside)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_string_lossy().strip_suffix(".in").map(str::to_string))
        .collect();
    names.sort();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let folder = Folder::new(&[("splice.bdl", &program), ("splice.csv", &windows(120, 20))]);
        let input = std::fs::read_to_string(beside.join(format!("{name}.in"))).unwrap();
        let (shown, code) = screen(&folder, &input, &[]);
        assert_eq!(code, Some(i32::from(shown.contains("error["))), "{name}\n{shown}");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&beside);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.remove_input_file();
        settings.add_filter(r"\d+(\.\d+)? (ns|µs|ms|s)\b", "[time]");
        settings.add_filter(r"runs/(\w+)/[0-9a-f]{8}", "runs/$1/[hash]");
        settings.add_filter(r"cpu, .*", "cpu, [machine]");
        // The library grows without changing what a message says.
        settings.add_filter("codes stand in brackets.*", "codes stand in brackets [..]");
        settings.bind(|| insta::assert_snapshot!(name.as_str(), shown));
    }
}

#[test]
fn quiet_prints_answers_alone() {
    let folder = Folder::new(&[]);
    assert_eq!(
        screen(&folder, "1 + 1\nlet x = [1, 2]\nx\n", &["--quiet"]),
        ("2   f32\nx: f32[2]\nf32[2]   1  2\n".into(), Some(0))
    );
    assert_eq!(screen(&folder, "0.1 + 0.2 == 0.3\n", &["--quiet", "--precision", "f64"]).0, "false   bool\n");
}

/// Ctrl-C ends what runs, and the session goes on.
#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_long_computation_and_keeps_the_session() {
    let folder = Folder::new(&[]);
    for (long, threads) in [
        ("scan t in 2000000000 from (h = 0.5) { next h = sin(h) + 0.1 }", "1"),
        ("iterate from (x = 0.5) until x > 2 at most 2000000000 { next x = sin(x) }", "1"),
        (
            "scan t in 2000000000 from (h = ones[300]) { next h = for j < 300: sum[i] sin(h[i]) * cos(i + j) / 300 }",
            "2",
        ),
    ] {
        let mut command = folder.command(&["repl", "--quiet", "--threads", threads]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = format!("let a = 41\n{long}\na + 1\n");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        // Until it is inside the loop; one signal more does no harm.
        let started = Instant::now();
        let id = child.id().to_string();
        std::thread::sleep(Duration::from_millis(700));
        while child.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_secs(40) {
            std::process::Command::new("kill").args(["-INT", &id]).status().unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        let ended = child.try_wait().unwrap().is_some();
        if !ended {
            child.kill().unwrap();
        }
        let shown = text(&child.wait_with_output().unwrap().stdout);
        assert!(ended, "{long} was not interrupted");
        assert!(shown.contains("interrupted\n") && shown.contains("42   f32"), "{shown}");
    }
}
