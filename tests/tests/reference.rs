//! `grammar/README.md` says only what is so: every `bdl` block is run, and nothing that the language has is without one.

use bdl::command::Context;
use bdl::command::train::{Manner, Run};
use bdl::repl::Repl;
use bdl::repl::script::{Unit, units};
use bdl_grammar::SourceMap;
use bdl_tests::rules::{RULES, Used};
use bdl_tests::{Block, Claim, TableRow, blocks, claim, code_spans, elements, root, same, table_rows};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn page() -> String {
    std::fs::read_to_string(root().join("grammar/README.md")).expect("the reference")
}

fn context() -> Context {
    Context {
        global: bdl::cli::Global { threads: Some(1), quiet: true, ..Default::default() },
        coloured: false,
        real: bdl::Real::F64,
        products: Default::default(),
    }
}

/// An empty folder for the files of the page.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder of the build");
    folder
}

fn parse(text: &str) -> (bdl_grammar::ast::File, String) {
    let sources = SourceMap::of("reference.bdl", text);
    let (file, messages) = bdl_grammar::parse(&sources, bdl_grammar::FileId(0));
    (file, bdl_grammar::render_all(&messages, &sources, false))
}

/// The inputs of a block; definitions that follow each other are one, since their order does not matter.
fn inputs(text: &str) -> Vec<Unit> {
    let is_definition = |text: &str| {
        let (file, messages) = parse(text);
        messages.is_empty() && file.items.iter().all(|item| !matches!(item.kind, bdl_grammar::ast::ItemKind::Let(_)))
    };
    let mut inputs: Vec<Unit> = Vec::new();
    for unit in units(text) {
        match inputs.last_mut() {
            Some(last) if is_definition(&last.text) && is_definition(&unit.text) => {
                last.text.push('\n');
                last.text.push_str(&unit.text);
            }
            Some(_) | None => inputs.push(unit),
        }
    }
    inputs
}

/// The inputs of a block as if they were typed at the prompt in a folder, one after the other; what is not as it claims.
fn run(block: &Block, folder: &Path) -> Vec<String> {
    let mut repl = Repl::new(context());
    repl.session.folder = folder.to_path_buf();
    let mut wrong = Vec::new();
    for unit in inputs(&block.text) {
        let place = format!("grammar/README.md:{}: {}", block.line + unit.line - 1, unit.text.trim());
        let answer = repl.answer(&unit.text);
        if answer.failed {
            wrong.push(format!("{place}\n{}", answer.text));
            continue;
        }
        match claim(&unit.text) {
            Some(Claim::Value(wanted)) => {
                let found: Vec<String> = repl.session.last_elements();
                let wanted = elements(&wanted);
                if found.len() != wanted.len() || !found.iter().zip(&wanted).all(|(a, b)| same(a, b)) {
                    wrong.push(format!("{place}\n  is {}\n", found.join(", ")));
                }
            }
            Some(Claim::Type(wanted)) => {
                let found = repl.session.last_type();
                if found != wanted {
                    wrong.push(format!("{place}\n  is {found}\n"));
                }
            }
            None => {}
        }
    }
    wrong
}

/// A program whose blocks are trained, and whose expectations are met; `weights` is where those of the last one are put.
fn program(block: &Block, folder: &Path, weights: Option<&str>) -> Vec<String> {
    let place = format!("grammar/README.md:{}", block.line);
    let (file, messages) = parse(&block.text);
    if !messages.is_empty() {
        return vec![format!("{place}\n{messages}")];
    }
    let path = folder.join(format!("program_{}.bdl", block.line));
    std::fs::write(&path, &block.text).expect("a file of the build");
    let mut wrong = Vec::new();
    let context = context();
    for item in &file.items {
        let bdl_grammar::ast::ItemKind::Train(train) = &item.kind else { continue };
        let name = train.name.text.clone();
        let out = folder.join(format!("run_{}_{name}", block.line));
        let manner = Manner { out: Some(out.clone()), ..Default::default() };
        let trained = Run::open(&context, &path, Some(name.clone())).and_then(|run| run.silently(&manner, 0));
        match trained {
            Ok(report) if report.expectations_missed => {
                wrong.push(format!("{place}: train {name} does not meet what is expected"));
            }
            Ok(_) => {
                if let Some(weights) = weights {
                    std::fs::copy(out.join("best.safetensors"), folder.join(weights)).expect("the weights of a run");
                }
            }
            Err(failure) => wrong.push(format!("{place}: train {name}\n{failure}")),
        }
    }
    wrong
}

/// A program that must be refused with one message.
fn refused(block: &Block, folder: &Path, code: &str) -> Vec<String> {
    let source = bdl::load::text_in("reference.bdl", &block.text, folder).expect("the text of a block");
    // Data are files of the page.
    let request = bdl::pipeline::Request { read_data: bdl::pipeline::ReadData::WhereThere, ..Default::default() };
    let checked = match bdl::pipeline::check_source(source, &request) {
        Ok(checked) => checked,
        Err(failure) => return vec![format!("grammar/README.md:{}: {failure}", block.line)],
    };
    let codes: Vec<&str> = checked.diagnostics.iter().map(|message| message.code).collect();
    if codes == [code] {
        return Vec::new();
    }
    let text = bdl_grammar::render_all(&checked.diagnostics, &checked.source.sources, false);
    vec![format!("grammar/README.md:{}: not {code} but {codes:?}\n{text}", block.line)]
}

/// What a block of the page is for.
enum Shows<'a> {
    /// `csv patients.csv`, `bdl file blocks.bdl`: a file that later blocks read.
    File(&'a str),
    /// `npy shifts.npy`: a matrix in NumPy's format, written here as rows of numbers.
    Matrix(&'a str),
    /// `bdl`: inputs at the prompt.
    Prompt,
    /// `bdl program`, `bdl program weights trunk.safetensors`.
    Program(Option<&'a str>),
    /// `bdl refused dim-mismatch`.
    Refused(&'a str),
    /// Other languages.
    Nothing,
    Unknown,
}

fn shows(block: &Block) -> Shows<'_> {
    let words: Vec<&str> = block.mark.split_whitespace().collect();
    match (block.language.as_str(), words.as_slice()) {
        ("csv" | "text", [name]) | ("bdl", ["file", name]) => Shows::File(name),
        ("npy", [name]) => Shows::Matrix(name),
        ("bdl", []) => Shows::Prompt,
        ("bdl", ["program"]) => Shows::Program(None),
        ("bdl", ["program", "weights", name]) => Shows::Program(Some(name)),
        ("bdl", ["refused", code]) => Shows::Refused(code),
        ("bdl", _) => Shows::Unknown,
        _ => Shows::Nothing,
    }
}

/// Rows of numbers as the bytes of a `.npy` file (version 1.0, f64, row-major).
fn npy(text: &str) -> Vec<u8> {
    let rows: Vec<Vec<f64>> = text
        .lines()
        .map(|row| row.split_whitespace().map(|cell| cell.parse().expect("a number of the reference")).collect())
        .collect();
    let columns = rows.first().map_or(0, Vec::len);
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}, {columns}), }}", rows.len());
    // Magic, version, length and header fill a multiple of 64 bytes, the last of them a line end.
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(rows.iter().flatten().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[test]
fn every_example_of_the_reference_is_so() {
    let folder = folder("reference");
    let blocks = blocks(&page());
    let mut wrong = Vec::new();
    let mut examples = 0;
    for block in &blocks {
        match shows(block) {
            Shows::File(name) => std::fs::write(folder.join(name), &block.text).expect("a file of the build"),
            Shows::Matrix(name) => std::fs::write(folder.join(name), npy(&block.text)).expect("a file of the build"),
            Shows::Prompt => wrong.extend(run(block, &folder)),
            Shows::Program(weights) => wrong.extend(program(block, &folder, weights)),
            Shows::Refused(code) => wrong.extend(refused(block, &folder, code)),
            Shows::Unknown => {
                wrong.push(format!("grammar/README.md:{}: what is `{}`?", block.line, block.mark));
            }
            Shows::Nothing => continue,
        }
        examples += 1;
    }
    assert!(examples > 90, "only {examples} examples");
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// What the examples that run use. `tune` is refused, so its example is one that is.
fn used() -> Used {
    let mut used = Used::default();
    for block in blocks(&page()) {
        match shows(&block) {
            Shows::Prompt => {
                for unit in units(&block.text).iter().filter(|unit| !unit.text.starts_with(':')) {
                    used.file(&parse(&unit.text).0);
                    // A value at the prompt is no item.
                    used.file(&parse(&format!("fn shown() -> f32 {{\n{}\n}}", unit.text)).0);
                }
                used.file(&parse(&block.text).0);
            }
            Shows::Program(_) | Shows::File(_) | Shows::Refused("not-built-yet") => used.file(&parse(&block.text).0),
            Shows::Refused(_) | Shows::Matrix(_) | Shows::Nothing | Shows::Unknown => {}
        }
    }
    used
}

/// Each rule of the grammar has an example that is run.
#[test]
fn every_rule_has_an_example() {
    let used = used();
    let named: BTreeSet<&str> = RULES.iter().copied().collect();
    assert_eq!(named.len(), RULES.len(), "a rule stands twice");
    let unnamed: Vec<&&str> = used.rules.difference(&named).collect();
    assert!(unnamed.is_empty(), "rules without a place in the list: {unnamed:?}");
    let without: Vec<&&str> = named.difference(&used.rules).collect();
    assert!(without.is_empty(), "{} rules without an example: {without:#?}", without.len());
}

/// And each word that the language gives a meaning: functions, sources, encoders, splits, fits, metrics.
#[test]
fn every_word_has_an_example() {
    let used = used();
    let functions = bdl_data::Function::NAMES.map(|(name, _)| name);
    let metrics: Vec<&str> = bdl_train::metrics::METRICS.iter().map(|metric| metric.name).collect();
    let lists: [(&str, &[&str]); 8] = [
        ("function", &bdl_check::BUILT_IN),
        ("source of data", &bdl::data::block::SOURCES),
        ("encoder", &bdl::data::block::ENCODERS),
        ("function of data", &functions),
        ("constant's file", &bdl_check::fixed::FILE_SOURCES),
        ("split", &bdl_check::SPLITS),
        ("fit", &bdl_check::FITS),
        ("metric", &metrics),
    ];
    let without: Vec<String> = lists
        .iter()
        .flat_map(|(kind, words)| words.iter().map(move |word| (kind, word)))
        .filter(|(_, word)| !used.words.contains(**word))
        .map(|(kind, word)| format!("{kind} {word}"))
        .collect();
    assert!(without.is_empty(), "{} words without an example: {}", without.len(), without.join(", "));
}

/// What the tables give as an example is read where it may stand.
#[test]
fn every_example_in_a_table_is_read() {
    let rows = table_rows(&page(), "example");
    assert!(rows.len() > 40, "only {} rows", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let TableRow { line, section, first, cell } = row;
        for span in code_spans(cell).into_iter().filter(|span| is_example(section, span)) {
            let text = match section.as_str() {
                "Items" => span.replace("{ ... }", "{ x }"),
                "Types" => format!("type Shown = {span}\n"),
                "Statements" => format!("fn shown() -> f32 {{ {span} }}\n"),
                "Data" => format!("data Shown = csv(\"shown.csv\") {{ {span} }}\n"),
                "Train" => format!("train shown {{ {span} }}\n"),
                other => panic!("{other}: a table of examples without a place"),
            };
            let (_, messages) = parse(&text);
            if !messages.is_empty() {
                wrong.push(format!("grammar/README.md:{line}: {first}: {span}\n{messages}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A word in passing (`..`, `?`) is none.
fn is_example(section: &str, span: &str) -> bool {
    span.contains(|c: char| c.is_alphabetic()) && (section != "Items" || span.contains(' '))
}

/// The tables of words are those that the compiler knows.
#[test]
fn the_tables_of_words_are_complete() {
    let page = page();
    let first_words = |column: &str| -> BTreeSet<String> {
        let word = |cell: &str| cell.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let headed: Vec<&str> =
            page.split("\n\n").filter(|part| part.trim_start().starts_with(&format!("| {column} |"))).collect();
        assert_eq!(headed.len(), 1, "one table of {column}s");
        let rows = headed[0].trim().lines().skip(2);
        rows.flat_map(|row| code_spans(row.split('|').nth(1).unwrap_or_default())).map(word).collect()
    };
    let of = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<BTreeSet<String>>();
    assert_eq!(first_words("split"), of(&bdl_check::SPLITS));
    let steps = ["log1p", "log", "sqrt", "standardize", "minmax", "impute"];
    let mut encoders = of(&bdl::data::block::ENCODERS);
    encoders.retain(|word| !steps.contains(&word.as_str()));
    assert_eq!(first_words("encoder"), encoders);
    for metric in bdl_train::metrics::METRICS {
        let row = format!("| `{}` | {} |", metric.name, metric.meaning);
        assert!(page.contains(&row), "the reference lacks: {row}");
    }
    assert_eq!(first_words("metric"), of(&bdl_train::metrics::METRICS.iter().map(|m| m.name).collect::<Vec<_>>()));
    for command in <bdl::cli::Cli as clap::CommandFactory>::command().get_subcommands() {
        assert!(page.contains(&format!("`bdl {}", command.get_name())), "no line about `bdl {}`", command.get_name());
    }
    for command in &bdl::repl::commands::COMMANDS {
        assert!(page.contains(&format!("`:{}", command.word)), "no line about `:{}`", command.word);
    }
}

#[test]
fn a_claim_that_is_not_so_is_found() {
    let folder = folder("reference_claims");
    let block =
        |text: &str| Block { line: 1, language: "bdl".to_string(), mark: String::new(), text: text.to_string() };
    let run = |block: &Block| run(block, &folder);
    assert_eq!(run(&block("1 + 1   //= 2\n[1, 2]   //: f32[2]\n")), Vec::<String>::new());
    assert_eq!(run(&block("1 + 1   //= 3\n")).len(), 1);
    assert_eq!(run(&block("[1, 2]   //: f32[3]\n")).len(), 1);
    assert_eq!(refused(&block("fn f(x: f32) -> f32 { x }\n"), Path::new(""), "syntax").len(), 1);
    let missed = "data D = synthetic(rows: 4, seed: 1) { x = normal[2] }\nmodel N(x: f32[C]) -> f32 { x |> Neuron() }\n\
                  train t { model n = N(); data D; split random(train: 0.5, test: 0.5); loss square(n(x) - 1); optimizer sgd(0.1); epochs 1 }\n\
                  expect t { test.loss < 0 }\n";
    assert_eq!(program(&block(missed), &folder, None).len(), 1);
}
