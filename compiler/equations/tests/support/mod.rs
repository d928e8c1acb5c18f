//! What the tests share: worlds with random values, and gradients against central differences.
#![allow(dead_code)]

use bdl_equations::interpret::{Array, Value, World, interpret};
use bdl_equations::{
    Affine, Expr, PieceBuilder, Program, Role, SizeKind, TensorId, differentiate, text, types, verify,
};

/// A small generator of repeatable numbers (Marsaglia 2003, xorshift64*).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Roughly normal: spread enough, and no two equal.
    pub fn normal(&mut self) -> f64 {
        (0..6).map(|_| self.uniform()).sum::<f64>() * 1.414 - 4.242
    }
}

pub fn parse(source: &str) -> Program {
    text::parse(source).unwrap_or_else(|e| panic!("{e}\n{source}"))
}

/// A world with random real values for everything that has none yet. Sizes must be set.
pub fn fill(program: &Program, world: &mut World, examples: &[Vec<(&str, i64)>], seed: u64) {
    let mut numbers = Numbers::new(seed);
    world.examples(examples.to_vec());
    let shape = |dims: &[bdl_dims::Dim], e: usize| -> Vec<usize> {
        let size = |name: &str| match program.size_kind(name)? {
            SizeKind::Batch => Some(examples.len().max(1) as i64),
            SizeKind::PerExample => examples.get(e)?.iter().find(|(n, _)| *n == name).map(|(_, v)| *v),
            SizeKind::Built | SizeKind::Step => None,
        };
        dims.iter().map(|d| d.eval(&size).unwrap_or_else(|| panic!("size {d}")) as usize).collect()
    };
    for id in program.ids() {
        let tensor = program.get(id);
        if tensor.role == Role::Computed || world.get(&tensor.name).is_some() {
            continue;
        }
        let mut random = |shape: Vec<usize>| {
            let count = shape.iter().product::<usize>();
            Array::new(shape, (0..count).map(|_| numbers.normal()).collect::<Vec<f64>>())
        };
        let value = if program.is_per_example(id) {
            Value::PerExample((0..examples.len().max(1)).map(|e| random(shape(&tensor.shape[1..], e))).collect())
        } else {
            Value::Shared(random(shape(&tensor.shape, 0)))
        };
        world.set(&tensor.name, value);
    }
}

pub fn run(program: &Program, world: &World, of: TensorId) -> Value {
    let values = interpret(program, world).unwrap_or_else(|e| panic!("{e}\n{}", text::print(program)));
    values.tensor(of).unwrap_or_else(|| panic!("no value")).clone()
}

fn total(value: &Value) -> f64 {
    value.flat().iter().sum()
}

/// d (sum of `of`) / d `by`, by central differences.
pub fn differences(program: &Program, world: &mut World, of: TensorId, by: &str) -> Vec<f64> {
    let step = 1e-5;
    let count = world.get(by).unwrap_or_else(|| panic!("{by}")).flat().len();
    let mut slopes = Vec::with_capacity(count);
    let nudge = |world: &mut World, at: usize, by_how_much: f64| {
        let mut left = at;
        for array in world.get_mut(by).into_iter().flat_map(|v| v.examples_mut()) {
            if left < array.data.len() {
                array.data[left] += by_how_much;
                return;
            }
            left -= array.data.len();
        }
    };
    for at in 0..count {
        nudge(world, at, step);
        let up = total(&run(program, world, of));
        nudge(world, at, -2.0 * step);
        let down = total(&run(program, world, of));
        nudge(world, at, step);
        slopes.push((up - down) / (2.0 * step));
    }
    slopes
}

/// max |a - b| / max |b|
pub fn error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
    found.iter().zip(expected).fold(0.0f64, |m, (a, b)| {
        let gap = (a - b).abs();
        if gap.is_nan() { f64::INFINITY } else { m.max(gap) }
    }) / largest
}

pub fn check_prints(program: &Program) {
    let printed = text::print(program);
    let parsed = text::parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert!(&parsed == program, "does not read back:\n{printed}\n{}", text::print(&parsed));
}

pub fn check_valid(program: &Program) {
    verify(program).unwrap_or_else(|e| panic!("{e}\n{}", text::print(program)));
    check_prints(program);
}

/// Differentiates the output `loss` by `wrt` and compares with central differences. Gives the program with its gradients.
pub fn check_gradient<'w>(
    source: &str,
    world: &mut World<'w>,
    examples: &[Vec<(&str, i64)>],
    wrt: &[&str],
) -> (Program, Vec<TensorId>) {
    let mut program = parse(source);
    check_valid(&program);
    fill(&program, world, examples, 7);
    let found = check_gradient_of(&mut program, world, "loss", wrt, 1e-7);
    (program, found)
}

pub fn check_gradient_of(
    program: &mut Program,
    world: &mut World,
    loss: &str,
    wrt: &[&str],
    tolerance: f64,
) -> Vec<TensorId> {
    let loss = program.find(loss).unwrap_or_else(|| panic!("no `{loss}`"));
    let ids: Vec<TensorId> = wrt.iter().map(|n| program.find(n).unwrap_or_else(|| panic!("no `{n}`"))).collect();
    let before = program.clone();
    let found = differentiate(program, loss, &ids).unwrap_or_else(|e| panic!("{e}\n{}", text::print(program)));
    check_valid(program);
    for (name, id) in wrt.iter().zip(&found) {
        let expected = differences(&before, world, loss, name);
        let gradient = run(program, world, *id).flat();
        let worst = error(&gradient, &expected);
        assert!(
            worst < tolerance,
            "d {name}: error {worst:e}\nfound    {gradient:?}\nexpected {expected:?}\n{}",
            text::print(program)
        );
    }
    found
}

/// The gradient penalty: d/d`by` of the sum of squares of `gradient`.
pub fn check_second(program: &mut Program, world: &mut World, gradient: TensorId, by: &[&str]) {
    let shape = program.get(gradient).shape.clone();
    let mut piece = PieceBuilder::new();
    let axes: Vec<_> = shape.iter().map(|d| piece.bound("z", d.clone())).collect();
    let axes: Vec<Affine> = axes.into_iter().map(Affine::from).collect();
    let square = Expr::read(gradient, axes).squared();
    let penalty = program.define("penalty", program.get(gradient).dtype, piece.sum(square), Default::default());
    assert!(types::of_dtype(program.get(penalty).dtype).is_real());
    check_gradient_of(program, world, "penalty", by, 1e-6);
}
