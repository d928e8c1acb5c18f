//! The programs that bdl was designed for (tests/programs/): each becomes programs that verify, before and after printing.

mod support;

use bdl_check::hir::{DataFacts, Scalar};
use bdl_elaborate::{Programs, gradients, programs};
use bdl_equations::convolution::Convolutions;
use bdl_equations::{Node, Program, text, verify};
use support::{checked, field};

/// What the data blocks of the programs say, which the driver would find out.
fn facts(name: &str) -> DataFacts {
    let category = |k: i64| Scalar::Category(k.into(), None);
    let index = |n: i64| Scalar::Index(n.into());
    let fields = match name {
        "mlp" => vec![field("x", Scalar::F32, &[2000]), field("y", category(10), &[])],
        "basset" => vec![field("dna", Scalar::F32, &[600, 4]), field("opened", Scalar::Bool, &[164])],
        "splice" => vec![field("dna", Scalar::F32, &[5000, 4]), field("site", category(3), &[5000])],
        "transformer" => {
            vec![field("residues", Scalar::Letter("Protein".into(), 26), &[256]), field("target", category(26), &[256])]
        }
        "vae" => vec![field("x", Scalar::F32, &[2000])],
        "gin" => vec![
            field("atoms", Scalar::F32, &[24, 40]),
            field("src", index(24), &[52]),
            field("dst", index(24), &[52]),
            field("y", Scalar::F32, &[]),
        ],
        "cox" => {
            vec![field("x", Scalar::F32, &[9]), field("time", Scalar::F32, &[]), field("event", Scalar::Bool, &[])]
        }
        other => panic!("no facts for {other}"),
    };
    let block = if name == "cox" { "Patients" } else { "Random" };
    DataFacts { name: block.into(), rows: Some(1024), fields, texts: Vec::new() }
}

/// The programs, and the gradients of their losses.
fn made(name: &str) -> (Programs, Vec<Program>) {
    let path = format!("{}/../../tests/programs/{name}.bdl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let hir =
        checked(&format!("{name}.bdl"), &text, &[], &[facts(name)]).unwrap_or_else(|messages| panic!("{messages}"));
    let train = &hir.trains[0];
    let as_run = Convolutions::FewerProducts;
    let both = programs(&hir, train, as_run).and_then(|programs| Ok((programs, gradients(&hir, train, as_run)?)));
    both.unwrap_or_else(|d| panic!("{name}: {}: {}", d.code, d.message))
}

fn sound(name: &str) -> Programs {
    let (programs, gradients) = made(name);
    assert_eq!(gradients.len(), programs.objectives.len(), "{name}");
    for program in programs.all().chain(&gradients) {
        let printed = text::print(program);
        verify(program).unwrap_or_else(|error| panic!("{name}, {}: {error}\n{printed}", program.name));
        let again = text::parse(&printed).unwrap_or_else(|error| panic!("{name}, {}: {error}", program.name));
        assert_eq!(text::print(&again), printed, "{name}, {}", program.name);
    }
    programs
}

/// The parameters, and the number of equations in a step, so that a change of either is seen.
fn shape(programs: &Programs) -> (usize, usize) {
    let numbers = |p: &Program| {
        p.outputs
            .iter()
            .filter(|(n, _)| !n.starts_with("optimizer"))
            .map(|(_, t)| p.get(*t).shape.iter().map(|s| s.as_const().unwrap() as usize).product::<usize>())
            .sum()
    };
    (numbers(&programs.init), programs.step().map_or(0, |p| p.nodes.len()))
}

#[test]
fn mlp() {
    assert_eq!(shape(&sound("mlp")).0, 2000 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10);
}

#[test]
fn basset() {
    let parameters = 19 * 4 * 300 + 300 + 11 * 300 * 200 + 200 + 7 * 200 * 200 + 200 + 12 * 200 * 1000 + 1000 + 164_164;
    assert_eq!(shape(&sound("basset")).0, parameters);
}

#[test]
fn splice() {
    sound("splice");
}

#[test]
fn transformer() {
    sound("transformer");
}

#[test]
fn vae() {
    let programs = sound("vae");
    assert!(programs.eval.nodes.iter().any(|n| matches!(n, Node::Draw(_))), "the latent sample is drawn");
}

#[test]
fn gin() {
    sound("gin");
}

#[test]
fn cox() {
    sound("cox");
}
