//! `grammar/README.md` says only what is so: every `bdl` block is run as if it were typed at the prompt.

use bdl::command::Context;
use bdl::repl::Repl;
use bdl::repl::script::{Unit, units};
use bdl_grammar::SourceMap;
use bdl_tests::{Block, Claim, blocks, claim, elements, root, same};

fn page() -> String {
    std::fs::read_to_string(root().join("grammar/README.md")).expect("the reference")
}

fn session() -> Repl {
    Repl::new(Context {
        global: bdl::cli::Global { threads: Some(1), ..Default::default() },
        coloured: false,
        real: bdl::Real::F64,
        products: Default::default(),
    })
}

/// The inputs of a block; definitions that follow each other are one, since their order does not matter.
fn inputs(text: &str) -> Vec<Unit> {
    let is_definition = |text: &str| {
        let sources = SourceMap::of("block", text);
        let (file, messages) = bdl_grammar::parse(&sources, bdl_grammar::FileId(0));
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

/// The inputs of a block, one after the other; what is not as it claims.
fn run(block: &Block) -> Vec<String> {
    let mut repl = session();
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

/// A program that must be refused with one message.
fn refused(block: &Block, code: &str) -> Vec<String> {
    let source = bdl::load::text_in("reference.bdl", &block.text, std::path::Path::new("")).expect("no file is needed");
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

fn parsed(block: &Block) -> Vec<String> {
    let sources = SourceMap::of("reference.bdl", block.text.as_str());
    let (_, messages) = bdl_grammar::parse(&sources, bdl_grammar::FileId(0));
    if messages.is_empty() { Vec::new() } else { vec![bdl_grammar::render_all(&messages, &sources, false)] }
}

#[test]
fn every_example_of_the_reference_is_so() {
    let blocks = blocks(&page(), "bdl");
    assert!(blocks.len() > 60, "only {} examples", blocks.len());
    let wrong: Vec<String> = blocks
        .iter()
        .flat_map(|block| match block.mark.split_once(' ') {
            Some(("refused", code)) => refused(block, code),
            None if block.mark.is_empty() => run(block),
            None if block.mark == "fragment" => parsed(block),
            Some(_) | None => vec![format!("grammar/README.md:{}: what is `{}`?", block.line, block.mark)],
        })
        .collect();
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// Each rule has its example: no section about the language is without one.
#[test]
fn every_section_has_an_example() {
    let page = page();
    let of_the_language = |heading: &str| {
        !["Command line", "The prompt", "Canonical layout", "Codes of messages", "The crate `bdl-grammar`"]
            .contains(&heading)
    };
    for section in page.split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap_or_default();
        assert!(!of_the_language(heading) || section.contains("```bdl"), "{heading} has no example");
    }
}

#[test]
fn a_claim_that_is_not_so_is_found() {
    let block = |text: &str| Block { line: 1, mark: String::new(), text: text.to_string() };
    assert_eq!(run(&block("1 + 1   //= 2\n[1, 2]   //: f32[2]\n")), Vec::<String>::new());
    assert_eq!(run(&block("1 + 1   //= 3\n")).len(), 1);
    assert_eq!(run(&block("[1, 2]   //: f32[3]\n")).len(), 1);
    assert_eq!(refused(&block("fn f(x: f32) -> f32 { x }\n"), "syntax").len(), 1);
}
