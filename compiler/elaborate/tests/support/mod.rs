//! What the tests by value share: from the text of a program to its HIR, and from numbers to a world for the interpreter.

#![allow(dead_code)] // each test file uses its own part

pub mod machine;

use bdl_check::hir::{Axis, DataFacts, Field, Hir, Scalar, TensorType, Type};
use bdl_check::{EntryRequest, Modules, Options, StdFile, check};
use bdl_equations::interpret::{Array, DrawAt, DrawSource, InterpretError, Value, Values, World, interpret};
use bdl_equations::{Distribution, Program, Role, text};
use bdl_grammar::{SourceMap, parse, render_all};
use std::collections::BTreeMap;

const STDLIB: [(&str, &str); 6] = [
    ("init", include_str!("../../../../stdlib/init.bdl")),
    ("nn", include_str!("../../../../stdlib/nn.bdl")),
    ("loss", include_str!("../../../../stdlib/loss.bdl")),
    ("optim", include_str!("../../../../stdlib/optim.bdl")),
    ("recurrent", include_str!("../../../../stdlib/recurrent.bdl")),
    ("graph", include_str!("../../../../stdlib/graph.bdl")),
];

/// The checked program, or every message as one text.
pub fn checked(name: &str, program: &str, entries: &[&str], facts: &[DataFacts]) -> Result<Hir, String> {
    let mut sources = SourceMap::new();
    let main = sources.add(name, program);
    let (main, mut messages) = parse(&sources, main);
    let mut stdlib = Vec::new();
    for (name, text) in STDLIB {
        let id = sources.add(format!("std.{name}"), text);
        let (file, more) = parse(&sources, id);
        messages.extend(more);
        stdlib.push(StdFile { name: name.into(), file });
    }
    let modules = Modules { main, used: Vec::new(), links: Vec::new(), stdlib };
    let request = |name: &&str| EntryRequest { name: (*name).to_string(), sizes: Vec::new() };
    let options = Options { entries: entries.iter().map(request).collect(), ..Options::default() };
    let (hir, more) = check(&sources, &modules, facts, &options);
    messages.extend(more);
    messages.retain(|m| m.is_error());
    if messages.is_empty() { Ok(hir) } else { Err(render_all(&messages, &sources, false)) }
}

/// A field of the data of fixed shape.
pub fn field(name: &str, scalar: Scalar, shape: &[i64]) -> Field {
    let axis = |size: &i64| Axis { size: (*size).into(), names: None, origin: None };
    let ty = Type::Tensor(TensorType { scalar, optional: false, shape: shape.iter().map(axis).collect() });
    Field { name: name.into(), ty, one_hot: false }
}

/// A tensor as tests write it down: row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Numbers {
    pub fn array(&self) -> Array {
        Array::new(self.shape.clone(), self.values.clone())
    }
}

/// Do two paths name one parameter, also where one of them begins with the model's name? (Case and underscores aside.)
pub fn same_path(a: &str, b: &str) -> bool {
    let whole = |path: &str| path.replace('_', "").to_lowercase();
    let tail = |path: &str| path.split_once('.').map(|(_, tail)| whole(tail));
    whole(a) == whole(b) || tail(a) == Some(whole(b)) || Some(whole(a)) == tail(b)
}

/// Everything that a batched program is run with.
#[derive(Clone, Default)]
pub struct Given {
    pub values: BTreeMap<String, Value>,
    /// The sizes of each example.
    pub examples: Vec<BTreeMap<String, i64>>,
    pub built: BTreeMap<String, i64>,
}

impl Given {
    /// Inputs (batch first), parameters and state for `program`, and the sizes that the inputs' shapes say.
    pub fn new(
        program: &Program,
        inputs: &BTreeMap<String, Numbers>,
        stored: &BTreeMap<String, Numbers>,
    ) -> Result<Given, String> {
        let batch = inputs.values().next().map_or(1, |n| n.shape[0]);
        let mut examples = vec![BTreeMap::new(); batch];
        for (name, numbers) in inputs {
            let each = numbers.values.len() / batch.max(1);
            for (b, example) in examples.iter_mut().enumerate() {
                let values = numbers.values[b * each..(b + 1) * each].to_vec();
                example.insert(name.clone(), Numbers { shape: numbers.shape[1..].to_vec(), values });
            }
        }
        Given::each(program, &examples, stored)
    }

    /// As [`Given::new`], the inputs one example at a time.
    pub fn each(
        program: &Program,
        examples: &[BTreeMap<String, Numbers>],
        stored: &BTreeMap<String, Numbers>,
    ) -> Result<Given, String> {
        let mut given = Given { examples: vec![BTreeMap::new(); examples.len()], ..Given::default() };
        for tensor in &program.tensors {
            match tensor.role {
                Role::Input { per_example: true, .. } => {
                    let own = &tensor.shape[1..];
                    let mut arrays = Vec::new();
                    for (example, sizes) in examples.iter().zip(&mut given.examples) {
                        let numbers = example.get(&*tensor.name).ok_or(format!("no value for `{}`", tensor.name))?;
                        let empty = numbers.values.is_empty();
                        let shape = if empty { vec![0; own.len()] } else { numbers.shape.clone() };
                        for (dim, size) in own.iter().zip(&shape) {
                            match dim.as_var() {
                                Some(name) if program.is_per_example_size(dim) => {
                                    sizes.insert(name.to_string(), *size as i64);
                                }
                                Some(name) => {
                                    given.built.insert(name.to_string(), *size as i64);
                                }
                                None => {}
                            }
                        }
                        arrays.push(Array::new(shape, numbers.values.clone()));
                    }
                    given.values.insert(tensor.name.to_string(), Value::PerExample(arrays));
                }
                Role::Param | Role::State => {
                    let found = stored.iter().find(|(path, _)| same_path(path, &tensor.name));
                    let (_, numbers) = found.ok_or(format!("no value for `{}`", tensor.name))?;
                    given.values.insert(tensor.name.to_string(), Value::Shared(numbers.array()));
                }
                Role::Input { per_example: false, .. } | Role::Computed => {}
            }
        }
        Ok(given)
    }

    pub fn world(&self) -> World<'static> {
        let mut world = World::new();
        world.draws(&Hashed);
        let of = |sizes: &BTreeMap<String, i64>| sizes.clone().into_iter().collect::<Vec<_>>();
        let own: Vec<Vec<(String, i64)>> = self.examples.iter().map(of).collect();
        world.examples(own.iter().map(|of| of.iter().map(|(n, v)| (n.as_str(), *v)).collect()).collect());
        self.built.iter().for_each(|(name, size)| world.size(name, *size));
        self.values.iter().for_each(|(name, value)| world.set(name, value.clone()));
        world
    }
}

/// The outputs of an entry of `program` for these examples, by name, with [`Hashed`] draws.
pub fn outputs(program: &str, training: bool, inputs: &[(&str, &[usize], &[f64])]) -> BTreeMap<String, Vec<Array>> {
    let hir = checked("test.bdl", program, &["M"], &[]).unwrap_or_else(|messages| panic!("{messages}"));
    let made = bdl_elaborate::entry(&hir, &hir.entries[0], training).unwrap_or_else(|d| panic!("{}", d.message));
    let made = bdl_equations::batch(&made);
    let inputs = inputs
        .iter()
        .map(|(name, shape, values)| ((*name).to_string(), Numbers { shape: shape.to_vec(), values: values.to_vec() }));
    let given = Given::new(&made, &inputs.collect(), &BTreeMap::new()).unwrap();
    let values = run(&made, &given.world());
    let each =
        made.outputs.iter().map(|(name, _)| (name.to_string(), values.output(name).unwrap().examples().to_vec()));
    each.collect()
}

pub fn run(program: &Program, world: &World) -> Values {
    bdl_equations::verify(program).unwrap_or_else(|error| panic!("{error}\n{}", text::print(program)));
    let found: Result<Values, InterpretError> = interpret(program, world);
    found.unwrap_or_else(|error| panic!("{error}\n{}", text::print(program)))
}

/// max|a - b| / max|b| within `tolerance` (absolutely where b is 0), or what differs.
pub fn close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) -> Result<(), String> {
    if found.len() != wanted.len() {
        return Err(format!("{what}: {} numbers instead of {}", found.len(), wanted.len()));
    }
    let scale = wanted.iter().fold(0.0f64, |m, b| m.max(b.abs()));
    let scale = if scale == 0.0 { 1.0 } else { scale };
    let worst = found
        .iter()
        .zip(wanted)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |m, d| if d.is_nan() { d } else { f64::max(m, d) });
    if worst / scale <= tolerance {
        return Ok(());
    }
    Err(format!("{what}: off by {:.1e}\n  found  {found:?}\n  wanted {wanted:?}", worst / scale))
}

/// Random numbers for tests: a hash of everything that a draw depends on.
pub struct Hashed;

impl DrawSource for Hashed {
    fn draw(&self, at: &DrawAt) -> f64 {
        let uniform = |salt: u64| {
            let mut h = 0x9e37_79b9_7f4a_7c15u64 ^ salt;
            let parts = [u64::from(at.site), at.example.map_or(u64::MAX, |e| e as u64), at.element as u64];
            for part in parts.into_iter().chain(at.steps.iter().map(|s| *s as u64)) {
                h = (h ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                h ^= h >> 29;
            }
            h = h.wrapping_mul(0x94d0_49bb_1331_11eb);
            ((h ^ (h >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        };
        match at.distribution {
            Distribution::Uniform => uniform(0),
            Distribution::Normal => {
                (-2.0 * (1.0 - uniform(1)).ln()).sqrt() * (std::f64::consts::TAU * uniform(2)).cos()
            }
        }
    }
}
