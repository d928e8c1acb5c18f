//! Runs a program in the equations' interpreter and its plan on the slow [`machine`], and compares.
#![allow(dead_code)]

pub mod machine;

use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_equations::interpret::{Array, DrawAt, DrawSource, Value, World, interpret, scalar};
use bdl_plan as plan;
use machine::Machine;

/// Numbers to run a program with.
#[derive(Clone, Default)]
pub struct Numbers {
    /// Sizes of each example, one list an example; one empty list is a batch of one.
    pub examples: Vec<Vec<(&'static str, i64)>>,
    pub built: Vec<(&'static str, i64)>,
    /// Integers of an input are drawn below this.
    pub below: Vec<(&'static str, i64)>,
}

pub fn batch(count: usize) -> Numbers {
    Numbers { examples: vec![Vec::new(); count], ..Numbers::default() }
}

/// Deterministic numbers in [-1, 1), different for each name.
pub fn noise(name: &str, at: usize) -> f64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    for byte in name.bytes().chain(at.to_le_bytes()) {
        h = (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    h ^= h >> 29;
    h = h.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h ^= h >> 32;
    (h % 2_000_003) as f64 / 1_000_001.5 - 1.0
}

struct Source;

impl DrawSource for Source {
    fn draw(&self, at: &DrawAt) -> f64 {
        assert!(at.steps.is_empty());
        draw_number(at.site, at.example.unwrap_or(0), at.element)
    }
}

fn draw_number(site: u32, example: usize, element: usize) -> f64 {
    noise("draw", (site as usize * 64 + example) * 4096 + element).abs()
}

pub fn parse(text: &str) -> eq::Program {
    let program = eq::text::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    if let Err(e) = eq::verify::verify(&program) {
        panic!("{e}\n{text}");
    }
    program
}

pub fn plan_of(program: &eq::Program) -> plan::Plan {
    let options = bdl_schedule::Options { real: bdl_schedule::Real::F64 };
    bdl_schedule::schedule(program, &options).unwrap_or_else(|e| panic!("{e}"))
}

/// Kernel and contraction launches and so on, one word each.
pub fn launches(plan: &plan::Plan) -> Vec<&'static str> {
    fn words(launches: &[plan::Launch], into: &mut Vec<&'static str>) {
        for launch in launches {
            match &launch.op {
                plan::Op::Kernel(_) => into.push("kernel"),
                plan::Op::Contract(c) if c.epilogue.is_some() => into.push("contract+epilogue"),
                plan::Op::Contract(_) => into.push("contract"),
                plan::Op::Draw(_) => into.push("draw"),
                plan::Op::Copy { .. } => into.push("copy"),
                plan::Op::Clear { .. } => into.push("clear"),
                plan::Op::Scan(scan) => {
                    into.push("scan");
                    words(&scan.body, into);
                    into.push("end");
                }
                plan::Op::Sort(_) => into.push("sort"),
                plan::Op::Library { .. } => into.push("library"),
            }
        }
    }
    let mut all = Vec::new();
    words(&plan.launches, &mut all);
    all
}

/// Interprets, schedules, runs and compares every output and update. Returns the plan.
pub fn same(text: &str, numbers: &Numbers) -> plan::Plan {
    same_program(&parse(text), numbers)
}

pub fn same_program(program: &eq::Program, numbers: &Numbers) -> plan::Plan {
    let plan = plan_of(program);
    compare(program, &plan, numbers);
    plan
}

fn size_of(numbers: &Numbers, dim: &Dim, example: Option<usize>) -> i64 {
    dim.eval(&|name| {
        let of = |list: &[(&str, i64)]| list.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        if name == "B" {
            return Some(numbers.examples.len() as i64);
        }
        of(&numbers.built).or_else(|| example.and_then(|e| of(&numbers.examples[e])))
    })
    .unwrap_or_else(|| panic!("no number for the size {dim}"))
}

fn value_of(program: &eq::Program, id: eq::TensorId, numbers: &Numbers) -> Value {
    let tensor = program.get(id);
    let number = |e: usize, i: usize| {
        let x = noise(&tensor.name, e * 100_000 + i);
        match tensor.dtype {
            eq::DType::I32 => {
                let below = numbers.below.iter().find(|(n, _)| *n == &*tensor.name).map_or(3, |(_, b)| *b);
                ((x + 1.0) / 2.0 * below as f64).floor()
            }
            eq::DType::Bool => f64::from(x > 0.0),
            eq::DType::Real | eq::DType::F32 | eq::DType::F64 | eq::DType::BF16 => x,
        }
    };
    let array = |dims: &[Dim], e: Option<usize>| {
        let shape: Vec<usize> = dims.iter().map(|d| size_of(numbers, d, e) as usize).collect();
        let len = shape.iter().product();
        Array::new(shape, (0..len).map(|i| number(e.unwrap_or(0), i)).collect::<Vec<f64>>())
    };
    if program.is_per_example(id) {
        Value::PerExample((0..numbers.examples.len()).map(|e| array(&tensor.shape[1..], Some(e))).collect())
    } else {
        Value::Shared(array(&tensor.shape, None))
    }
}

/// The elements as they lie in a packed buffer: in every example the per-example axes outermost.
fn packed(program: &eq::Program, id: eq::TensorId, value: &Value) -> Vec<f64> {
    let tensor = program.get(id);
    let Value::PerExample(arrays) = value else { return value.flat() };
    let ragged: Vec<bool> = tensor.shape[1..].iter().map(|d| program.is_per_example_size(d)).collect();
    let mut order: Vec<usize> = (0..ragged.len()).collect();
    order.sort_by_key(|a| !ragged[*a]);
    let mut all = Vec::new();
    for array in arrays {
        let dims: Vec<usize> = order.iter().map(|a| array.shape[*a]).collect();
        for flat in 0..array.data.len() {
            let mut rest = flat;
            let mut subs = vec![0i64; dims.len()];
            for (at, dim) in dims.iter().enumerate().rev() {
                subs[order[at]] = (rest % dim) as i64;
                rest /= dim;
            }
            all.push(array.data[array.position(&subs).unwrap()]);
        }
    }
    all
}

pub fn compare(program: &eq::Program, plan: &plan::Plan, numbers: &Numbers) {
    let mut world = World::new();
    world.examples(numbers.examples.clone());
    for (name, n) in &numbers.built {
        world.size(name, *n);
    }
    world.draws(&Source);
    let given: Vec<eq::TensorId> = program.ids().filter(|t| program.get(*t).role != eq::Role::Computed).collect();
    for id in &given {
        world.set(&program.get(*id).name, value_of(program, *id, numbers));
    }
    let expected = interpret(program, &world).unwrap_or_else(|e| panic!("{e}"));

    let examples: Vec<Vec<(&str, i64)>> = numbers.examples.iter().map(|e| e.to_vec()).collect();
    let mut machine = Machine::new(plan, &numbers.built, &examples);
    machine.draws = |_, site, e, i| draw_number(site, e, i);
    for id in &given {
        let name = &program.get(*id).name;
        let value = value_of(program, *id, numbers);
        if let Some(at) = plan.buffers.iter().position(|b| b.name == *name) {
            machine.own[at] = packed(program, *id, &value);
        }
    }
    machine.run();
    for (name, id) in &program.outputs {
        let (_, buffer) = plan.outputs.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no output `{name}`"));
        let value = expected.output(name).unwrap();
        close(name, &packed(program, *id, value), &machine.read(*buffer));
    }
    for (name, value) in expected.updates() {
        let id = program.find(name).unwrap();
        let at = plan.buffers.iter().position(|b| b.name == *name).unwrap_or_else(|| panic!("no buffer `{name}`"));
        close(name, &packed(program, id, value), &machine.own[at]);
    }
}

fn close(name: &str, expected: &[f64], found: &[f64]) {
    assert_eq!(expected.len(), found.len(), "`{name}` has another length");
    for (at, (e, f)) in expected.iter().zip(found).enumerate() {
        let same = e == f || (e.is_nan() && f.is_nan()) || (e - f).abs() <= 1e-9 * (1.0 + e.abs());
        assert!(same, "`{name}` element {at}: expected {e}, found {f}\nexpected {expected:?}\nfound {found:?}");
    }
}

fn unary(op: plan::UnaryOp, x: f64) -> f64 {
    use eq::UnaryOp as E;
    use plan::UnaryOp as P;
    let op = match op {
        P::Neg => E::Neg,
        P::Not => E::Not,
        P::Abs => E::Abs,
        P::Floor => E::Floor,
        P::Round => E::Round,
        P::Sign => E::Sign,
        P::Sqrt => E::Sqrt,
        P::Exp => E::Exp,
        P::Expm1 => E::Expm1,
        P::Log => E::Log,
        P::Log1p => E::Log1p,
        P::Tanh => E::Tanh,
        P::Sigmoid => E::Sigmoid,
        P::Softplus => E::Softplus,
        P::Erf => E::Erf,
        P::Sin => E::Sin,
        P::Cos => E::Cos,
        P::Lgamma => E::Lgamma,
        P::Digamma => E::Digamma,
        P::Trigamma => E::Trigamma,
    };
    scalar::unary(op, x)
}

fn binary(op: plan::BinaryOp, a: f64, b: f64) -> f64 {
    use eq::BinaryOp as E;
    use plan::BinaryOp as P;
    let op = match op {
        P::Add => E::Add,
        P::Sub => E::Sub,
        P::Mul => E::Mul,
        P::Div => E::Div,
        P::FloorDiv => E::FloorDiv,
        P::Rem => E::Rem,
        P::Pow => E::Pow,
        P::Min => E::Min,
        P::Max => E::Max,
        P::And => E::And,
        P::Or => E::Or,
    };
    scalar::binary(op, a, b)
}

/// A launch in one line, for people.
pub fn line(plan: &plan::Plan, launch: &plan::Launch) -> String {
    let name = |b: plan::BufferId| plan.buffers[b.0 as usize].name.to_string();
    let kernel = |k: &plan::KernelUse| {
        let kernel = &plan.kernels[k.kernel.0 as usize];
        let args: Vec<String> = k
            .buffers
            .iter()
            .zip(&kernel.buffers)
            .map(|(s, b)| format!("{}{}", match b.access { plan::Access::Read => "", plan::Access::Write => ">", plan::Access::Update => "<>" }, name(s.buffer)))
            .collect();
        format!("{}[{} {:?}]({})", kernel.name, kernel.grid, kernel.grid_mode, args.join(", "))
    };
    match &launch.op {
        plan::Op::Kernel(k) => format!("kernel {}", kernel(k)),
        plan::Op::Contract(c) => {
            let axes: Vec<String> = c.axes.iter().map(|a| format!("{:?} {} {} ({}, {}, {})", a.role, a.name, a.extent, a.out, a.a, a.b)).collect();
            let then = c.epilogue.as_ref().map_or(String::new(), |k| format!("\n    then {}", kernel(k)));
            format!("contract {} = {} * {}: {}; {} clips{then}", name(c.out.buffer), name(c.a.buffer), name(c.b.buffer), axes.join(", "), c.clips.len())
        }
        other => format!("{other:?}"),
    }
}
