//! Runs the `bdl` binary in a folder of its own.

// Each test file is a crate of its own and uses what it needs.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A temporary folder with files.
pub struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub fn new(files: &[(&str, &str)]) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Folder { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bdl"));
        command.args(args).current_dir(self.path()).env_remove("RUST_BACKTRACE");
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a command that must end well.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "bdl {} ended with {:?}\n{out}\n{err}", args.join(" "), output.status.code());
        out
    }

    /// Standard error of a command that must end well.
    pub fn warned(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let err = text(&output.stderr);
        assert!(output.status.success(), "bdl {}\n{err}", args.join(" "));
        err
    }

    /// What a command that must fail with exit code 1 says, with the folder's name taken out.
    pub fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "bdl {}\n{out}\n{err}", args.join(" "));
        err.replace(&format!("{}/", self.path().display()), "").replace(&self.path().display().to_string(), ".")
    }
}

/// The command finds the driver of the tests where it looks for NVIDIA's; or NVIDIA's, where the environment says BDL_GPU (tests/gpu.sh).
pub fn stand_in_driver(command: &mut Command) -> &mut Command {
    if std::env::var_os("BDL_GPU").is_some() {
        return command;
    }
    let own = std::env::current_exe().unwrap();
    let libraries = own.parent().unwrap();
    assert!(libraries.join("libcuda.so").exists(), "no libcuda.so in {}", libraries.display());
    command.env("LD_LIBRARY_PATH", libraries)
}

/// Runs `bdl`, which must succeed; with `--device cuda` where [`stand_in_driver`] says.
pub fn ok_on_its_device(folder: &Folder, args: &[&str]) {
    let mut command = folder.command(args);
    let command = if args.contains(&"cuda") { stand_in_driver(&mut command) } else { &mut command };
    let output = command.output().unwrap();
    assert!(output.status.success(), "bdl {}\n{}", args.join(" "), text(&output.stderr));
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The splice program of the language page on a small table of its own.
pub fn small_splice(epochs: u32) -> Folder {
    let program = SPLICE.replace("EPOCHS", &epochs.to_string());
    Folder::new(&[("splice.bdl", &program), ("splice.csv", &windows(120, 20))])
}

/// `rows` windows of `length` bases in three classes that a small network can tell apart.
pub fn windows(rows: usize, length: usize) -> String {
    let mut text = String::from("class,sequence\n");
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for row in 0..rows {
        let mut bases: Vec<u8> = (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                b"ACGT"[(state >> 33) as usize & 3]
            })
            .collect();
        let class = ["EI", "IE", "N"][row % 3];
        let middle = length / 2;
        match class {
            "EI" => bases[middle..middle + 4].copy_from_slice(b"GTAA"),
            "IE" => bases[middle - 4..middle].copy_from_slice(b"TTAG"),
            _ => {}
        }
        text.push_str(&format!("{class},{}\n", String::from_utf8(bases).unwrap()));
    }
    text
}

pub const SPLICE: &str = r#"
data Junctions = csv("splice.csv") {
  dna  = onehot(column("sequence"), DNA)
  site = category(column("class"))
}

model SpliceNet(width: dim = 8, drop: f32 = 0.3)(dna: f32[L, 4]) -> logit[3] {
  dna
    |> Conv1d(width, kernel: 5) |> relu |> MaxPool1d(2)
    |> flatten
    |> Dense(16) |> relu |> dropout(drop)
    |> Dense(3)
}

train splice(lr: f32 = 1e-2) {
  model     net = SpliceNet()
  data      Junctions
  split     random(train: 0.7, valid: 0.15, test: 0.15, balance: site)
  loss      cross_entropy(net(dna), site)
  optimizer adamw(cosine(lr), weight_decay: 1e-2)
  epochs    EPOCHS
  batch     16
  keep      best valid.loss
  predict   kind = softmax(net(dna))
  report    accuracy(kind, site), auroc(kind, site), confusion(kind, site)
}

expect splice { test.accuracy >= 0.1 }
"#;
