//! The prediction for an example is the same to the bit alone, in any batch, in any order, on any number of threads.
//!
//! Random models over sequences and graphs of any size, composed of the library's layers, on random examples.

use bdl::{Model, Results, Tensor};

/// Models of each kind.
const MODELS: u64 = 40;
/// Examples of each model: 40 models of 2 kinds with 20 examples are 1,600 cases.
const EXAMPLES: usize = 20;

/// A sequence of random numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n as u64) as usize
    }

    fn one_of<'a>(&mut self, these: &[&'a str]) -> &'a str {
        these[self.below(these.len())]
    }

    /// About normal: a sum of uniform numbers.
    fn number(&mut self) -> f32 {
        (0..6).map(|_| self.below(2001) as f32 / 1000.0 - 1.0).sum::<f32>() / 1.5
    }

    fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }
}

/// Layers of the test's own: order, running sums, loops that end by themselves, loops with blocks, sums by a key that is computed.
const LAYERS: &str = "
layer Sorted()(x: f32[T, C]) -> f32[T, C] {
  let s = for c: sort(for t: x[t, c])
  for t, c: s[c, t]
}
layer Ranked()(x: f32[T, C]) -> f32[T, C] {
  let r = for c: argsort(for t: x[t, c])
  for t, c: x[r[c, t], c] + 0.1 * r[c, t]
}
layer Summed()(x: f32[T, C]) -> f32[T, C] {
  let s = for c: cumsum(for t: x[t, c])
  for t, c: s[c, t] / (t + 1)
}
layer Settled()(x: f32[T, C]) -> f32[T, C] {
  let s = iterate from (y = x) until (max[t, c else 0] abs(y[t, c])) < 0.5 at most 9 {
    next y = for t, c: y[t, c] * 0.7 + 0.01 * tanh(y[t, c])
  }
  s.y
}
layer Fading()(x: f32[T, C]) -> f32[T, C] {
  scan t in T reversed from (h = zeros[C], n = 0) {
    next h = 0.5 * h + x[t] / (1 + n)
    next n = n + 0.25
    emit next h
  }
}
layer Grid()(x: f32[T, C]) -> f32[T, C] {
  let y = scan t in T from (h = zeros[C]) {
    let row = scan c in C from (a = 0) { next a = tanh(a + x[t, c]); emit next a }
    next h = 0.5 * h + row
    emit next h
  }
  y
}
layer Largest(k: dim)(x: f32[T, C]) -> f32[T, k] where C >= k { top_k(x, k).values }
layer ByKey()(x: f32[T, C]) -> f32[T, C] where C >= 1 {
  let k[t] = argmax[c] x[t, c]
  let s = for v < C, c: max[t if k[t] == v else 0] x[t, c]
  for t, c: s[k[t], c] - x[t, c]
}
";

/// How long a sequence must be for `n` positions to be left of it: `times * n + plus`.
struct Shortest {
    times: usize,
    plus: usize,
}

/// A layer over a sequence `[T, C]`, with what it makes of the number of channels and of the length.
fn sequence_layer(random: &mut Random, channels: &mut usize, shortest: &mut Shortest) -> String {
    match random.below(21) {
        0 => {
            let (kernel, dilation) = (1 + random.below(4), 1 + random.below(2));
            *channels = 2 + random.below(40);
            shortest.plus += shortest.times * (kernel - 1) * dilation;
            format!("Conv1d({channels}, kernel: {kernel}, dilation: {dilation})")
        }
        1 => {
            *channels = 2 + random.below(40);
            format!("Conv1d({channels}, kernel: {}, pad: same)", 1 + 2 * random.below(3))
        }
        2 => {
            shortest.times *= 2;
            "MaxPool1d(2)".into()
        }
        3 => {
            shortest.times *= 2;
            "AvgPool1d(2)".into()
        }
        4 => "LayerNorm()".into(),
        5 if *channels >= 2 && channels.is_multiple_of(2) => "SelfAttention(2)".into(),
        6 => "SelfAttention(1, causal: true)".into(),
        7 => random.one_of(&["relu", "tanh", "gelu", "sigmoid", "softmax", "silu"]).into(),
        8 => format!("Residual1d(kernel: {})", 1 + 2 * random.below(2)),
        9 => {
            *channels = 2 + random.below(12);
            format!("Lstm({channels}, reverse: {})", random.one_of(&["true", "false"]))
        }
        11 => "Sorted()".into(),
        12 => "Ranked()".into(),
        13 => "Summed()".into(),
        14 => "Settled()".into(),
        15 => "Fading()".into(),
        16 => "Grid()".into(),
        17 => {
            *channels = (*channels).min(2);
            format!("Largest({channels})")
        }
        18 => "ByKey()".into(),
        10 => {
            *channels = 2 + random.below(12);
            format!("Gru({channels}, reverse: {})", random.one_of(&["true", "false"]))
        }
        _ => {
            *channels = 2 + random.below(70);
            format!("Dense({channels})")
        }
    }
}

/// A model of a sequence, and the shortest one that it takes.
fn sequence_model(random: &mut Random) -> (String, usize) {
    let (mut channels, mut shortest) = (3, Shortest { times: 1, plus: 0 });
    let mut text = String::from("x");
    for _ in 0..1 + random.below(5) {
        let layer = sequence_layer(random, &mut channels, &mut shortest);
        text.push_str(&format!(" |> {layer}"));
    }
    let shortest = shortest.times + shortest.plus;
    let mut ends = vec![
        ("f32[5]", "let s[c] = sum[t] h[t, c]\n  s |> Dense(5)"),
        ("prob[3]", "let m[c] = mean[t] h[t, c]\n  m |> Dense(3) |> softmax"),
        ("f32[2]", "let l[c] = logsumexp[t] h[t, c]\n  l |> Dense(2)"),
        ("f32", "h |> GlobalMaxPool() |> Neuron()"),
        ("f32", "sum[t, c] square(h[t, c])"),
    ];
    if shortest == 1 {
        // The length is the input's: there may be a result for each position.
        ends.extend([("f32[T, 4]", "h |> Dense(4)"), ("f32[T]", "h |> Neuron()")]);
    }
    let (ty, end) = ends[random.below(ends.len())];
    (format!("{LAYERS}layer Random()(x: f32[T, 3]) -> {ty} {{\n  let h = {text}\n  {end}\n}}"), shortest)
}

fn graph_model(random: &mut Random) -> String {
    let mut text = String::from("x");
    for _ in 0..1 + random.below(3) {
        let units = 1 + random.below(20);
        let layer = match random.below(5) {
            0 => format!("GcnLayer({units})"),
            1 => format!("SageLayer({units})"),
            2 => format!("GinLayer({units})"),
            3 => format!("GatLayer({units}, heads: 2)"),
            _ => {
                text.push_str(&format!(" |> MessageLayer({units})(_, bonds, src, dst)"));
                continue;
            }
        };
        text.push_str(&format!(" |> {layer}(_, src, dst)"));
    }
    let end = random.one_of(&["sum_readout", "mean_readout", "max_readout", "AttentionReadout()"]);
    format!(
        "layer Random()(x: f32[V, 3], bonds: f32[E, 2], src: index(V)[E], dst: index(V)[E]) -> f32[4] {{\n  {text} |> {end} |> Dense(4)\n}}"
    )
}

fn bits(results: &Results) -> Vec<(String, Vec<u32>)> {
    results.iter().map(|(name, tensor)| (name.clone(), tensor.values.iter().map(|x| x.to_bits()).collect())).collect()
}

/// Each example alone, against all of them in both orders on one, two and four threads.
fn require_same(model: &mut Model, text: &str, examples: &[Vec<(&str, Tensor)>]) {
    model.use_threads(1);
    let alone: Vec<_> = examples.iter().map(|example| bits(&model.run_each(&[example]).unwrap()[0])).collect();
    assert!(
        alone.iter().any(|results| results.iter().any(|(_, values)| values.iter().any(|bits| *bits != 0))),
        "{text}"
    );
    for threads in [1, 2, 4] {
        model.use_threads(threads);
        for reversed in [false, true] {
            let mut order: Vec<usize> = (0..examples.len()).collect();
            if reversed {
                order.reverse();
            }
            let batch: Vec<&[(&str, Tensor)]> = order.iter().map(|at| examples[*at].as_slice()).collect();
            for (at, results) in order.iter().zip(model.run_each(&batch).unwrap()) {
                assert_eq!(
                    bits(&results),
                    alone[*at],
                    "example {at} differs in a batch ({threads} threads, reversed: {reversed})\n{text}"
                );
            }
        }
    }
}

#[test]
fn a_sequence_is_predicted_alike_alone_and_in_any_batch() {
    for seed in 0..MODELS {
        let mut random = Random::new(seed + 1);
        let (text, shortest) = sequence_model(&mut random);
        let mut model = Model::from_source(&text, "Random", &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let examples: Vec<Vec<(&str, Tensor)>> = (0..EXAMPLES)
            .map(|_| {
                let length = shortest + random.below(60);
                vec![("x", Tensor { shape: vec![length, 3], values: random.numbers(3 * length) })]
            })
            .collect();
        require_same(&mut model, &text, &examples);
    }
}

#[test]
fn a_graph_is_predicted_alike_alone_and_in_any_batch() {
    for seed in 0..MODELS {
        let mut random = Random::new(1000 + seed);
        let text = graph_model(&mut random);
        let mut model = Model::from_source(&text, "Random", &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let examples: Vec<Vec<(&str, Tensor)>> = (0..EXAMPLES)
            .map(|_| {
                // Also graphs without edges.
                let (atoms, bonds) = (1 + random.below(20), random.below(40));
                let ends = |random: &mut Random| {
                    let values = (0..bonds).map(|_| random.below(atoms) as f32).collect();
                    Tensor { shape: vec![bonds], values }
                };
                vec![
                    ("x", Tensor { shape: vec![atoms, 3], values: random.numbers(3 * atoms) }),
                    ("bonds", Tensor { shape: vec![bonds, 2], values: random.numbers(2 * bonds) }),
                    ("src", ends(&mut random)),
                    ("dst", ends(&mut random)),
                ]
            })
            .collect();
        require_same(&mut model, &text, &examples);
    }
}

/// No example is padded: a batch costs what its examples cost.
#[test]
fn a_batch_takes_the_arithmetic_of_its_examples() {
    let text = "layer Net()(x: f32[T, 4]) -> f32 {
      x |> Conv1d(16, kernel: 9) |> relu |> Lstm(8) |> Gru(8, reverse: true) |> SelfAttention(2) |> Dense(32) |> GlobalMaxPool() |> Neuron()
    }";
    let mut model = Model::from_source(text, "Net", &[]).unwrap();
    let mut random = Random::new(7);
    let examples: Vec<[(&str, Tensor); 1]> = (0..12)
        .map(|_| {
            let length = 100 + random.below(901);
            [("x", Tensor { shape: vec![length, 4], values: random.numbers(4 * length) })]
        })
        .collect();
    let mut alone = 0;
    for example in &examples {
        model.run_each(&[example]).unwrap();
        alone += model.flop();
    }
    let batch: Vec<&[(&str, Tensor)]> = examples.iter().map(|example| example.as_slice()).collect();
    model.run_each(&batch).unwrap();
    let together = model.flop();
    // At least the convolution: 2 * 9 * 4 * 16 operations a position.
    let positions: usize = examples.iter().map(|example| example[0].1.shape[0] - 8).sum();
    assert!(together > 1152 * positions as u64, "{together} operations");
    assert!(together.abs_diff(alone) as f64 <= 0.02 * alone as f64, "{together} operations in a batch, {alone} alone");
}

const TWO: &str = "layer Net()(x: f32[T, 2], y: f32[T]) -> f32 { (x |> Conv1d(3, kernel: 4) |> GlobalMaxPool() |> Neuron()) + sum[t] y[t] }";

/// What a caller gets wrong is said, and the model works on.
#[test]
fn wrong_inputs_are_refused() {
    let mut model = Model::from_source(TWO, "Net", &[]).unwrap();
    let tensor = |shape: &[usize]| Tensor { shape: shape.to_vec(), values: vec![1.0; shape.iter().product()] };
    let said = |model: &mut Model, inputs: &[(&str, Tensor)]| model.run_each(&[inputs]).unwrap_err().to_string();
    let short = said(&mut model, &[("x", tensor(&[3, 2])), ("y", tensor(&[3]))]);
    assert!(short.contains("example 1 has T 3, but `T >= 4` is needed"), "{short}");
    let differ = said(&mut model, &[("x", tensor(&[5, 2])), ("y", tensor(&[6]))]);
    assert!(differ.contains("`y` is [T], where T is 5, but an example of shape [6] was given"), "{differ}");
    let rank = said(&mut model, &[("x", tensor(&[5])), ("y", tensor(&[5]))]);
    assert!(rank.contains("`x` is [T, 2], but an example of shape [5] was given"), "{rank}");
    let missing = said(&mut model, &[("x", tensor(&[5, 2]))]);
    assert!(missing.contains("the input `y` is not given"), "{missing}");
    let unknown = said(&mut model, &[("z", tensor(&[5, 2]))]);
    assert!(unknown.contains("there is no input `z`; there are `x`, `y`"), "{unknown}");
    assert!(model.run_each(&[&[("x", tensor(&[5, 2])), ("y", tensor(&[5]))]]).is_ok());

    let mut lookup = Model::from_source(
        "layer Net()(k: index(7)[T]) -> f32 { k |> Embedding(2, vocabulary: 7) |> GlobalMaxPool() |> Neuron() }",
        "Net",
        &[],
    )
    .unwrap();
    let outside = said(&mut lookup, &[("k", Tensor::new(&[2], &[3.0, 7.0]))]);
    assert!(outside.contains("`k` holds 7; it must be a whole number from 0 to 6"), "{outside}");

    let open =
        Model::from_source("layer Net()(x: f32[L]) -> f32[3] { x |> Dense(3) }", "Net", &[]).err().unwrap().to_string();
    assert!(open.contains("depends on `L`, which is not given"), "{open}");
    assert!(Model::from_source("layer Net()(x: f32[L]) -> f32[3] { x |> Dense(3) }", "Net", &[("L", 4)]).is_ok());
}

/// Tensors are row-major for the caller, whichever of their axes belongs to the example.
#[test]
fn sizes_of_the_example_may_stand_behind_others() {
    let text = "fn Net(x: f32[2, T]) -> (y: f32[3, T], z: f32[T, 2]) {
      (y: (for c < 3, t: 10 * c + x[0, t]), z: (for t, c: x[c, t]))
    }";
    let mut model = Model::from_source(text, "Net", &[]).unwrap();
    let short = [("x", Tensor::new(&[2, 1], &[7.0, 8.0]))];
    let long = [("x", Tensor::new(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))];
    let results = model.run_each(&[&short, &long]).unwrap();
    assert_eq!(results[0][0].1, Tensor::new(&[3, 1], &[7.0, 17.0, 27.0]));
    assert_eq!(results[0][1].1, Tensor::new(&[1, 2], &[7.0, 8.0]));
    assert_eq!(results[1][0].1, Tensor::new(&[3, 3], &[1.0, 2.0, 3.0, 11.0, 12.0, 13.0, 21.0, 22.0, 23.0]));
    assert_eq!(results[1][1].1, Tensor::new(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    // As a batch of two.
    let x = Tensor::new(&[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let batch = model.run(&[("x", x)]).unwrap();
    assert_eq!(
        batch[0].1,
        Tensor::new(&[2, 3, 2], &[1.0, 2.0, 11.0, 12.0, 21.0, 22.0, 5.0, 6.0, 15.0, 16.0, 25.0, 26.0])
    );
    assert_eq!(batch[1].1, Tensor::new(&[2, 2, 2], &[1.0, 3.0, 2.0, 4.0, 5.0, 7.0, 6.0, 8.0]));
}
