//! Models whose convolutions are wide enough to be computed with fewer products: predictions and gradients as machine code in f32 beside f64 as
//! it was written, and the same bits alone, in a batch and on any number of threads.

mod support;

use bdl_check::hir::{DataFacts, Scalar};
use bdl_elaborate::{Programs, gradients, programs};
use bdl_equations::Program;
use bdl_equations::convolution::Convolutions;
use bdl_schedule::Real;
use std::collections::BTreeMap;
use support::{Given, Numbers, checked, field, machine};

struct Model {
    source: &'static str,
    /// The shape of an example.
    x: &'static [i64],
}

/// A length that is a multiple of nothing, a dilation, a stride between them; the widths are worth two, four and eight phases.
const WIDE: Model = Model {
    x: &[2001, 32],
    source: "
model Wide(x: f32[2001, 32]) -> logit[5] {
  let h = x
    |> Conv1d(32, kernel: 11, pad: same) |> relu
    |> Conv1d(96, kernel: 11, dilation: 3, pad: same) |> relu
    |> Conv1d(160, kernel: 8, stride: 4, pad: valid) |> relu
    |> Conv1d(256, kernel: 16, pad: same) |> relu |> MaxPool1d(2)
  (for c: mean[t] h[t, c]) |> Dense(5)
}
train wide {
  model     net = Wide()
  data      Random
  loss      binary_cross_entropy(net(x), y)
  optimizer sgd(1e-2)
  predict   logit = net(x)
  batch     4
  epochs    1
}
data Random = synthetic(rows: 4, seed: 1) {
  x = normal()[2001, 32]
  y = bernoulli(0.5)[5]
}
",
};

/// Images by Winograd's algorithm: odd sides, padding and none, channels that fill no vector.
const IMAGES: Model = Model {
    x: &[33, 18, 24],
    source: "
model Images(x: f32[33, 18, 24]) -> logit[5] {
  let h = x
    |> Conv2d(40, kernel: 3, pad: same) |> relu
    |> Conv2d(33, kernel: 3, pad: valid) |> relu
    |> Conv2d(32, kernel: 3, pad: same) |> relu
  (for c: mean[i, j] h[i, j, c]) |> Dense(5)
}
train images {
  model     net = Images()
  data      Random
  loss      binary_cross_entropy(net(x), y)
  optimizer sgd(1e-2)
  predict   logit = net(x)
  batch     4
  epochs    1
}
data Random = synthetic(rows: 4, seed: 1) {
  x = normal()[33, 18, 24]
  y = bernoulli(0.5)[5]
}
",
};

/// About normal, repeatable.
fn numbers(shape: &[usize], seed: u64) -> Numbers {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f64 / (1u64 << 24) as f64
    };
    let count = shape.iter().product::<usize>();
    // Exact in f32, so that both precisions are given the same.
    let values = (0..count).map(|_| f64::from(((0..6).map(|_| uniform()).sum::<f64>() * 1.414 - 4.242) as f32));
    Numbers { shape: shape.to_vec(), values: values.collect() }
}

fn made(model: &Model, convolutions: Convolutions) -> (Programs, Program) {
    let fields = vec![field("x", Scalar::F32, model.x), field("y", Scalar::Bool, &[5])];
    let facts = DataFacts { name: "Random".into(), rows: Some(4), fields, texts: Vec::new() };
    let hir = checked("model.bdl", model.source, &[], &[facts]).unwrap_or_else(|messages| panic!("{messages}"));
    let train = &hir.trains[0];
    let programs = programs(&hir, train, convolutions).unwrap_or_else(|d| panic!("{}", d.message));
    let mut gradients = gradients(&hir, train, convolutions).unwrap_or_else(|d| panic!("{}", d.message));
    (programs, gradients.remove(0))
}

fn given(program: &Program, model: &Model, examples: &[usize]) -> Given {
    let stored: BTreeMap<String, Numbers> = program
        .tensors
        .iter()
        .filter(|t| t.role == bdl_equations::Role::Param)
        .enumerate()
        .map(|(at, tensor)| {
            let shape: Vec<usize> = tensor.shape.iter().map(|dim| dim.as_const().unwrap() as usize).collect();
            let inputs = shape[..shape.len() - 1].iter().product::<usize>().max(1) as f64;
            let mut drawn = numbers(&shape, 100 + at as u64);
            drawn.values.iter_mut().for_each(|w| *w = f64::from((*w / inputs.sqrt()) as f32));
            (tensor.name.to_string(), drawn)
        })
        .collect();
    let shape: Vec<usize> = model.x.iter().map(|side| *side as usize).collect();
    let example = |at: &usize| {
        let mut labels = numbers(&[5], 900 + *at as u64);
        labels.values.iter_mut().for_each(|y| *y = f64::from(u8::from(*y > 0.0)));
        BTreeMap::from([("x".to_string(), numbers(&shape, 7 + *at as u64)), ("y".to_string(), labels)])
    };
    let examples: Vec<_> = examples.iter().map(example).collect();
    Given::each(program, &examples, &stored).unwrap()
}

type Found = BTreeMap<String, Vec<f64>>;

fn run(real: Real, program: &Program, model: &Model, examples: &[usize], threads: usize) -> Found {
    let found = machine::run_in(real, program, &given(program, model, examples), threads).unwrap();
    found.into_iter().map(|(name, value)| (name, value.flat())).collect()
}

/// The largest difference over the largest value.
fn gap(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    found.iter().zip(expected).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / scale
}

#[test]
fn gradients_are_as_exact_as_their_f32_allows() {
    let ((_, written), (_, fast)) = (made(&WIDE, Convolutions::AsWritten), made(&WIDE, Convolutions::FewerProducts));
    let of_phases = fast.tensors.iter().filter(|t| t.name.ends_with(".phases") && !t.name.starts_with("d_"));
    let phases: Vec<i64> = of_phases.map(|t| t.shape[2].as_const().unwrap()).collect();
    assert_eq!(phases, [2, 4, 8]);
    let run = |real, program: &Program| run(real, program, &WIDE, &[0, 1, 2, 3], 2);
    let expected = run(Real::F64, &written);
    let (as_written, found) = (run(Real::F32, &written), run(Real::F32, &fast));
    for (name, expected) in &expected {
        let (plain, fast) = (gap(&as_written[name], expected), gap(&found[name], expected));
        // Each doubling of the phases adds half a binary digit.
        assert!(fast < 4.0 * plain.max(2e-7), "{name}: {fast:e}, as written {plain:e}");
    }
    // And in f64 both are the same but for the last digits.
    for (name, found) in run(Real::F64, &fast) {
        assert!(gap(&found, &expected[&name]) < 1e-12, "{name}");
    }
}

#[test]
fn gradients_of_images_are_as_exact_as_those_as_written() {
    let (_, gradient) = made(&IMAGES, Convolutions::FewerProducts);
    let options = bdl_schedule::Options { real: Real::F32, target: bdl_schedule::Target::Processor };
    let plan = bdl_schedule::schedule(&gradient, &options).unwrap();
    let mut written = plan.clone();
    let mut count = 0;
    for launch in &mut written.launches {
        if let bdl_plan::Op::Contract(c) = &mut launch.op
            && std::mem::take(&mut c.algorithm) == bdl_plan::Algorithm::Winograd
        {
            count += 1;
        }
    }
    // Three layers, their filters, and the inputs of two.
    assert_eq!(count, 8, "{plan}");
    let given = given(&gradient, &IMAGES, &[0, 1, 2, 3]);
    let run_plan = |plan| -> Found {
        let found = machine::run_plan(plan, &gradient, &given, 2).unwrap();
        found.into_iter().map(|(name, value)| (name, value.flat())).collect()
    };
    let expected = run(Real::F64, &gradient, &IMAGES, &[0, 1, 2, 3], 2);
    let (as_written, found) = (run_plan(written), run_plan(plan));
    for (name, expected) in &expected {
        let (plain, fast) = (gap(&as_written[name], expected), gap(&found[name], expected));
        assert!(fast < 3.0 * plain.max(2e-7), "{name}: {fast:e}, as written {plain:e}");
    }
}

#[test]
fn alone_and_in_a_batch_bits_are_the_same() {
    for model in [&WIDE, &IMAGES] {
        let (programs, gradient) = made(model, Convolutions::FewerProducts);
        let logits =
            |examples: &[usize], threads| run(Real::F32, &programs.eval, model, examples, threads)["logit"].clone();
        let together = logits(&[0, 1, 2, 3, 4, 5, 6], 2);
        for example in [0, 3, 6] {
            assert_eq!(logits(&[example], 1), together[5 * example..5 * (example + 1)], "{example}");
        }
        assert_eq!(logits(&[6, 5, 4, 3, 2, 1, 0], 4)[..5], together[30..]);
        let one = run(Real::F32, &gradient, model, &[0, 1, 2, 3], 1);
        for threads in [2, 3, 4] {
            assert!(one == run(Real::F32, &gradient, model, &[0, 1, 2, 3], threads), "{threads} threads");
        }
    }
}
