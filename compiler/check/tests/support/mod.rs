//! What the tests share: the standard library from its folder, and facts about data written in a program's header.
//!
//! `// data Junctions: dna = f32[60, 4], site = category(EI IE N), y = bool?[12], text = part` stands for what a reader of the file
//! would have found.
#![allow(dead_code)]

use bdl_check::hir::{Axis, DataFacts, Field, Hir, Scalar, TensorType, Type};
use bdl_check::{EntryRequest, Link, Modules, Options, StdFile};
use bdl_dims::Dim;
use bdl_grammar::{Diagnostic, FileId, SourceMap, parse};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The program, the files of `others` beside it (by the path in `use`), and the standard library.
pub fn load(name: &str, text: &str, others: &[(&str, &str)]) -> (SourceMap, Modules, Vec<Diagnostic>) {
    let mut sources = SourceMap::new();
    let mut diagnostics = Vec::new();
    let mut read = |sources: &mut SourceMap, name: &str, text: &str| {
        let id = sources.add(name, text);
        let (file, messages) = parse(sources, id);
        diagnostics.extend(messages);
        (id, file)
    };
    let (main_id, main) = read(&mut sources, name, text);
    let mut ids = vec![(String::new(), main_id)];
    let mut used = Vec::new();
    for (path, text) in others {
        let (id, file) = read(&mut sources, path, text);
        ids.push((path.to_string(), id));
        used.push(file);
    }
    let mut stdlib = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("stdlib"))
        .expect("the standard library")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "bdl")) {
        let stem = path.file_stem().expect("a name").to_string_lossy().to_string();
        let text = std::fs::read_to_string(path).expect("readable");
        let (_, file) = read(&mut sources, &format!("stdlib/{stem}.bdl"), &text);
        stdlib.push(StdFile { name: stem, file });
    }
    let mut links = Vec::new();
    for file in std::iter::once(&main).chain(&used) {
        for path in bdl_check::uses(file) {
            let key = path.path.trim_start_matches("./");
            let to: Option<FileId> = ids.iter().find(|(known, _)| known == key).map(|(_, id)| *id);
            let to = to.or_else(|| (key == name).then_some(main_id));
            links.extend(to.map(|to| Link { from: file.span.file, path: path.path.clone(), to }));
        }
    }
    (sources, Modules { main, used, links, stdlib }, diagnostics)
}

pub struct Checked {
    pub sources: SourceMap,
    pub hir: Hir,
    pub diagnostics: Vec<Diagnostic>,
}

impl Checked {
    pub fn rendered(&self) -> String {
        bdl_grammar::render_all(&self.diagnostics, &self.sources, false)
    }

    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.is_error()).count()
    }

    pub fn codes(&self) -> Vec<&'static str> {
        self.diagnostics.iter().map(|d| d.code).collect()
    }
}

pub fn check_with(name: &str, text: &str, others: &[(&str, &str)], entries: &[&str]) -> Checked {
    let (sources, modules, mut diagnostics) = load(name, text, others);
    let entries = entries.iter().map(|name| EntryRequest { name: name.to_string(), sizes: Vec::new() }).collect();
    let options = Options { entries, ..Options::default() };
    let (hir, messages) = bdl_check::check(&sources, &modules, &facts(text), &options);
    diagnostics.extend(messages);
    Checked { sources, hir, diagnostics }
}

pub fn check(text: &str) -> Checked {
    check_with("test.bdl", text, &[], &[])
}

/// Checks, asks for one entry, and wants no message at all.
pub fn entry(text: &str, name: &str) -> Checked {
    let checked = check_with("test.bdl", text, &[], &[name]);
    assert!(checked.diagnostics.is_empty(), "{}", checked.rendered());
    checked
}

/// The `// data` lines of a program.
pub fn facts(text: &str) -> Vec<DataFacts> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("// data "));
    let blocks = lines.map(|line| {
        let (name, fields) = line.split_once(": ").expect("`// data NAME: field = type`");
        let mut facts = DataFacts { name: name.into(), rows: Some(100), fields: Vec::new(), texts: Vec::new() };
        for field in split(fields) {
            let (name, ty) = field.split_once(" = ").expect("`field = type`");
            if name == "text" {
                facts.texts.push(ty.into());
            } else {
                facts.fields.push(Field { name: name.into(), ty: Type::Tensor(tensor(ty)), one_hot: false });
            }
        }
        facts
    });
    blocks.collect()
}

fn split(fields: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in fields.char_indices() {
        match letter {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(fields[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(fields[start..].trim());
    parts
}

fn tensor(text: &str) -> TensorType {
    let (head, dims) = match text.split_once('[') {
        Some((head, dims)) => (head, dims.trim_end_matches(']').split(", ").map(axis).collect()),
        None => (text, Vec::new()),
    };
    let optional = head.ends_with('?');
    let head = head.trim_end_matches('?');
    let (word, inside) = head.split_once('(').map_or((head, ""), |(word, inside)| (word, inside.trim_end_matches(')')));
    let scalar = match word {
        "f32" => Scalar::F32,
        "bool" => Scalar::Bool,
        "DNA" => Scalar::Letter("DNA".into(), 4),
        "Protein" => Scalar::Letter("Protein".into(), 20),
        "index" => Scalar::Index(inside.parse().expect("a size")),
        "category" => match inside.parse::<Dim>() {
            Ok(count) => Scalar::Category(count, None),
            Err(_) => {
                let names: Vec<String> = inside.split(' ').map(String::from).collect();
                Scalar::Category(Dim::from(names.len() as i64), Some(Arc::new(names)))
            }
        },
        other => panic!("no scalar {other}"),
    };
    TensorType { scalar, optional, shape: dims }
}

/// `60`, `T`, or names: `{BRCA1 TP53}`.
fn axis(text: &str) -> Axis {
    match text.strip_prefix('{') {
        Some(names) => {
            let names: Vec<String> = names.trim_end_matches('}').split(' ').map(String::from).collect();
            Axis { size: Dim::from(names.len() as i64), names: Some(Arc::new(names)), origin: None }
        }
        None => Axis { size: text.parse().expect("a size"), names: None, origin: None },
    }
}
