//! Properties over random programs.

mod support;

use bdl_equations::interpret::interpret;
use bdl_equations::random::{Case, Options};
use bdl_equations::{DifferentiateError, Program, Role, differentiate, simplify, text, verify};
use support::{check_gradient_of, check_prints};

/// So many, or others to look further: `BDL_RANDOM_FIRST=100000 BDL_RANDOM_CASES=20000 cargo test -p bdl-equations --test random_programs`.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let from = |name: &str, usual: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let first = from("BDL_RANDOM_FIRST", 0);
    first..first + from("BDL_RANDOM_CASES", usual)
}

fn cases(usual: u64, options: impl Fn(u64) -> Options) -> impl Iterator<Item = Case> {
    seeds(usual).map(move |seed| Case::new(seed, options(seed)))
}

fn mixed(seed: u64) -> Options {
    let (batched, smooth) = (!seed.is_multiple_of(3), seed.is_multiple_of(2));
    Options { batched, smooth, equations: 2 + (seed % 4) as usize, loops: 0 }
}

/// Programs with loops.
fn looped(seed: u64) -> Options {
    Options { loops: 50, ..mixed(seed) }
}

#[test]
fn valid_printed_and_finite() {
    for case in cases(2000, mixed).chain(cases(300, looped)) {
        verify(&case.program).unwrap_or_else(|e| panic!("{e}\n{}", text::print(&case.program)));
        check_prints(&case.program);
        let values =
            interpret(&case.program, &case.world()).unwrap_or_else(|e| panic!("{e}\n{}", text::print(&case.program)));
        let loss = values.output("loss").and_then(|v| v.scalar());
        assert!(loss.is_some_and(f64::is_finite), "{loss:?}\n{}", text::print(&case.program));
    }
}

#[test]
fn gradients_equal_central_differences() {
    let (mut checked, mut count) = (0, 0);
    for case in cases(500, |seed| Options { smooth: true, ..mixed(seed) }) {
        count += 1;
        let mut program = case.program.clone();
        let mut world = case.world();
        let names: Vec<String> = program
            .ids()
            .map(|id| program.get(id))
            .filter(|t| t.role != Role::Computed && t.dtype == bdl_equations::DType::Real)
            .map(|t| t.name.to_string())
            .collect();
        let wrt: Vec<&str> = names.iter().map(String::as_str).take(6).collect();
        // A gradient that would need sizes of two examples in one equation is refused, and rare.
        let loss = program.find("loss").expect("loss");
        let ids: Vec<_> = wrt.iter().filter_map(|n| program.find(n)).collect();
        match differentiate(&mut program.clone(), loss, &ids) {
            Err(DifferentiateError::NoDerivative { .. }) => continue,
            Ok(_) | Err(_) => checked += 1,
        }
        check_gradient_of(&mut program, &mut world, "loss", &wrt, 1e-5);
    }
    assert!(checked * 100 > count * 97, "{checked} of {count}");
}

#[test]
fn simplification_keeps_the_value() {
    for case in cases(800, mixed).chain(cases(120, looped)) {
        let mut program = case.program.clone();
        let names: Vec<String> = case
            .program
            .ids()
            .map(|id| program.get(id))
            .filter(|t| t.role != Role::Computed && t.dtype == bdl_equations::DType::Real)
            .map(|t| t.name.to_string())
            .collect();
        let wrt: Vec<_> = names.iter().filter_map(|n| program.find(n)).collect();
        let loss = program.find("loss").expect("loss");
        // Simplified before and after differentiation, as the pipeline does.
        let mut early = program.clone();
        bdl_equations::simplify::rounds(&mut early);
        check_same(&case, &program, &early);
        let (Ok(plain), Ok(found)) = (differentiate(&mut program, loss, &wrt), differentiate(&mut early, loss, &wrt))
        else {
            continue;
        };
        for (program, found) in [(&mut program, plain), (&mut early, found)] {
            for (name, id) in names.iter().zip(found) {
                program.outputs.push((format!("d {name}").into(), id));
            }
        }
        check_same(&case, &program, &early);
        simplify(&mut early);
        check_same(&case, &program, &early);
        assert!(!text::print(&early).contains("freeze"));
    }
}

fn check_same(case: &Case, original: &Program, simplified: &Program) {
    let show = || format!("{}\n---- simplified\n{}", text::print(original), text::print(simplified));
    verify(simplified).unwrap_or_else(|e| panic!("{e}\n{}", show()));
    check_prints(simplified);
    let before = interpret(original, &case.world()).unwrap_or_else(|e| panic!("{e}\n{}", show()));
    let after = interpret(simplified, &case.world()).unwrap_or_else(|e| panic!("simplified: {e}\n{}", show()));
    for (name, _) in &original.outputs {
        let (a, b) = (before.output(name).expect("a value").flat(), after.output(name).expect("a value").flat());
        let worst = support::error(&b, &a);
        assert!(worst < 1e-9, "{name}: {worst:e}\n{a:?}\n{b:?}\n{}", show());
    }
}
