//! A run that is killed at any moment and resumed ends with the bits of one that was not, on any number of threads.

mod common;

use bdl_train::{Array, checkpoint};
use common::{Folder, small_splice};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Each is saved, however fast the machine is, so that there is a middle to resume from.
const EPOCHS: u32 = 100;
const KILLS: u32 = 20;

fn last(folder: &Folder, run: &str) -> Vec<Array> {
    let (arrays, position) = checkpoint::load(&folder.file(run).join("last.safetensors")).unwrap();
    assert!(position.finished, "{run} is not finished");
    arrays
}

fn train(folder: &Folder, run: &str, threads: &str, resume: bool) {
    let mut args = vec!["train", "splice.bdl", "--quiet", "--save-every", "0", "--out", run, "--threads", threads];
    if resume {
        args.push("--resume");
    }
    folder.ok(&args);
}

#[test]
fn killed_at_random_moments_and_resumed_ends_with_the_same_bits() {
    let folder = small_splice(EPOCHS);
    train(&folder, "whole", "1", false);
    let whole = last(&folder, "whole");
    assert!(
        whole.iter().any(|array| array.name.contains("conv1d")),
        "{:?}",
        whole.iter().map(|a| &a.name).collect::<Vec<_>>()
    );
    let (mut cut_short, mut in_the_middle) = (0, 0);
    for kill in 0..KILLS {
        let run = format!("cut{kill}");
        let threads = ["1", "2", "4"][kill as usize % 3];
        let mut child = folder
            .command(&["train", "splice.bdl", "--quiet", "--save-every", "0", "--out", &run, "--threads", threads])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Moments spread over the run: when so many epochs are in the log, and some milliseconds later. The sequence keeps the test
        // repeatable.
        let epochs = (kill * 13 % KILLS * EPOCHS / KILLS) as usize;
        let log = folder.file(&run).join("log.jsonl");
        let logged = || std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
        let begun = Instant::now();
        while logged() < epochs && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "no {epochs} epochs in a minute");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(u64::from(kill % 7)));
        child.kill().unwrap();
        child.wait().unwrap();
        let begun = folder.file(&run).join("last.safetensors").exists();
        if begun {
            let (_, position) = checkpoint::load(&folder.file(&run).join("last.safetensors")).unwrap();
            cut_short += u32::from(!position.finished);
            in_the_middle += u32::from(!position.finished && position.step > 0);
        }
        let other = ["2", "4", "1"][kill as usize % 3];
        train(&folder, &run, other, begun);
        assert!(last(&folder, &run) == whole, "killed after {epochs} epochs on {threads} threads, resumed on {other}");
    }
    assert!(cut_short > KILLS / 4, "only {cut_short} of {KILLS} runs were cut short");
    assert!(in_the_middle > KILLS / 4, "only {in_the_middle} of {KILLS} runs were resumed from their middle");
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_and_exits_with_130() {
    // More epochs than any machine ends before the signal comes. What it says goes to files: a pipe that nobody reads gets full and
    // stops the run.
    let folder = small_splice(10_000_000);
    let said = |name: &str| std::fs::File::create(folder.file(name)).unwrap();
    let mut child = folder
        .command(&["train", "splice.bdl", "--save-every", "0", "--out", "run"])
        .stdout(said("out.txt"))
        .stderr(said("err.txt"))
        .spawn()
        .unwrap();
    let wanted = folder.file("run/best.safetensors");
    let begun = Instant::now();
    while !wanted.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
        assert!(begun.elapsed() < Duration::from_secs(60), "no epoch in a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let said = std::fs::read_to_string(folder.file("err.txt")).unwrap();
    assert!(said.contains("everything is saved in run") && said.contains("--resume"), "{said}");
    let (_, position) = checkpoint::load(&folder.file("run/last.safetensors")).unwrap();
    assert!(!position.finished && position.step > 0);
}

#[test]
fn nothing_to_resume_is_said() {
    let folder = small_splice(1);
    let said = folder.fails(&["train", "splice.bdl", "--resume", "--out", "none"]);
    assert!(said.contains("nothing to resume"), "{said}");
}
