//! `bdl new NAME`: a folder with a program, data and a README that runs at once.

use crate::error::Failure;
use bdl_kernels::philox::philox;
use std::fmt::Write as _;
use std::path::Path;

const ROWS: u32 = 600;
const LENGTH: usize = 40;
const MOTIF: &[u8] = b"TATAAAAG";

/// Makes the folder. An existing file or folder of that name is never touched.
pub fn run(path: &Path) -> Result<String, Failure> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return Err(Failure::user("bad-name", format!("`{}` is no name for a project", path.display()))
            .help("use letters, digits, `_` and `-`"));
    }
    if path.exists() {
        return Err(
            Failure::user("name-taken", format!("`{}` exists already", path.display())).help("choose another name")
        );
    }
    let made =
        |error: std::io::Error| Failure::user("run-folder", format!("could not make `{}`: {error}", path.display()));
    std::fs::create_dir_all(path).map_err(made)?;
    let word = name.replace('-', "_");
    for (file, text) in [
        (format!("{name}.bdl"), program(&word)),
        ("windows.csv".into(), windows()),
        ("README.md".into(), readme(&name)),
    ] {
        std::fs::write(path.join(file), text).map_err(made)?;
    }
    Ok(format!("made {0}/{name}.bdl, windows.csv, README.md   next: bdl train {0}/{name}.bdl\n", path.display()))
}

fn program(name: &str) -> String {
    format!(
        r#"//! Does this window of {LENGTH} bases hold a TATA box?

data Windows = csv("windows.csv") {{
  dna = onehot(column("sequence"), DNA)
  box = category(column("class"))
}}

model Motifs(width: dim = 16)(dna: f32[L, 4]) -> logit[2] {{
  dna |> Conv1d(width, kernel: 8) |> relu |> GlobalMaxPool() |> Dense(2)
}}

train {name}(lr: f32 = 1e-2) {{
  model     net = Motifs()
  data      Windows
  split     random(train: 0.7, valid: 0.15, test: 0.15, balance: box)
  loss      cross_entropy(net(dna), box)
  optimizer adam(lr)
  epochs    40
  batch     32
  stop      when valid.loss stalls for 8 epochs
  keep      best valid.loss
  predict   kind = softmax(net(dna))
  report    accuracy(kind, box), confusion(kind, box)
}}

expect {name} {{ test.accuracy >= 0.85 }}
"#
    )
}

fn readme(name: &str) -> String {
    format!(
        "# {name}\n\nFinds TATA boxes in windows of {LENGTH} bases. The windows are made up: half of them hold `{}` somewhere.\n\n\
         ```\nbdl check {name}.bdl     # shapes, parameters, memory\nbdl data  {name}.bdl     # what the data block reads\n\
         bdl train {name}.bdl     # train and test\nbdl test  {name}.bdl     # does the test accuracy hold?\n```\n",
        String::from_utf8_lossy(MOTIF)
    )
}

/// Random windows; every second one carries the motif at a random place.
fn windows() -> String {
    let mut text = String::from("class,sequence\n");
    for row in 0..ROWS {
        let mut bases = Vec::with_capacity(LENGTH);
        for block in 0..LENGTH.div_ceil(16) {
            let words = philox([row, block as u32, 0, 0], [2026, 0]);
            bases.extend((0..16).map(|at| b"ACGT"[(words[at / 4] >> (8 * (at % 4))) as usize & 3]));
        }
        bases.truncate(LENGTH);
        let holds = row % 2 == 0;
        if holds {
            let at = philox([row, 0, 1, 0], [2026, 0])[0] as usize % (LENGTH - MOTIF.len() + 1);
            bases[at..at + MOTIF.len()].copy_from_slice(MOTIF);
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{},{}", if holds { "tata" } else { "none" }, String::from_utf8_lossy(&bases));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tata-boxes");
        run(&path).unwrap();
        let rows = std::fs::read_to_string(path.join("windows.csv")).unwrap();
        assert_eq!(rows.lines().count(), 601);
        assert!(rows.lines().skip(1).all(|row| row.starts_with("none,") || row.contains("TATAAAAG")));
        assert!(run(&path).unwrap_err().to_string().contains("exists already"));
        assert!(std::fs::read_to_string(path.join("tata-boxes.bdl")).unwrap().contains("train tata_boxes("));
    }

    #[test]
    fn odd_names_are_refused() {
        assert!(run(Path::new("a b")).is_err());
        assert!(run(Path::new("..")).is_err());
    }
}
