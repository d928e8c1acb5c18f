//! Contractions against naive sums in f64, and the same bits on any number of threads.

use bdl_execute::reference::{RunInputs, run_plan};
use bdl_execute::{Executor, Inputs, Program, Store};
use bdl_plan::{CompiledKernels, Products, parse_plan};
use std::collections::HashMap;
use std::sync::Arc;

fn no_kernels() -> CompiledKernels {
    // SAFETY: there is nothing to call.
    unsafe { CompiledKernels::new(Vec::new(), Arc::new(())) }
}

/// Numbers in [-1, 1) that differ from place to place.
fn numbers(len: usize, salt: u64) -> Vec<f64> {
    (0..len as u64)
        .map(|i| {
            let x = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd134_2543_de82_ef95);
            let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (x >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        })
        .collect()
}

/// Runs `contract` of parameters a, b, out with these lengths on 1, 2 and 4 threads; results must be near the naive ones and alike.
/// Of `bf16`, buffers are f32 and factors rounded.
fn check(kind: &str, lens: [usize; 3], contract: &str) {
    let [out_len, a_len, b_len] = lens;
    let (dtype, products) = if kind == "bf16" { ("f32", Products::Bf16) } else { (kind, Products::Exact) };
    let text = format!(
        "plan p\nbuffer out: {dtype}[{out_len}] len {out_len}; state\nbuffer a: {dtype}[{a_len}] len {a_len}; param\n\
         buffer b: {dtype}[{b_len}] len {b_len}; param\noutput out = out\n{contract}"
    );
    let plan = parse_plan(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    bdl_plan::verify(&plan).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let buffers: HashMap<String, Vec<f64>> = [("out", out_len, 1), ("a", a_len, 2), ("b", b_len, 3)]
        .into_iter()
        .map(|(name, len, salt)| (name.to_string(), numbers(len, salt)))
        .collect();
    let expected = run_plan(&plan, &RunInputs { buffers: buffers.clone(), products, ..RunInputs::default() }).unwrap();
    let mut program = Program::with(Arc::new(plan), no_kernels(), products).unwrap();
    let mut first: Option<Vec<u64>> = None;
    for threads in [1, 2, 4] {
        let mut store = Store::new();
        for (name, values) in &buffers {
            let kind = if dtype == "f32" { bdl_plan::DType::F32 } else { bdl_plan::DType::F64 };
            store.insert(name, kind, vec![values.len() as i64]).unwrap();
            store.set(name, values).unwrap();
        }
        let executor = Executor::new(threads);
        let out = program.run(&executor, &mut store, &Inputs::default()).unwrap().numbers("out").unwrap();
        let tolerance = if dtype == "f32" { 3e-5 } else { 1e-12 };
        for (i, found) in out.iter().enumerate() {
            let expected = expected["out"].at(i);
            assert!(
                (found - expected).abs() <= tolerance * (1.0 + expected.abs()),
                "[{i}] {found} {expected}, {kind}\n{text}"
            );
        }
        let bits: Vec<u64> = out.iter().map(|x| x.to_bits()).collect();
        assert_eq!(first.get_or_insert_with(|| bits.clone()), &bits, "{threads} threads, {kind}\n{text}");
    }
}

fn check_all(lens: [usize; 3], contract: &str) {
    for kind in ["f32", "f64", "bf16"] {
        check(kind, lens, contract);
    }
}

fn matrix(m: usize, n: usize, k: usize) -> String {
    format!(
        "contract out = a * b {{\n m i: {m} (out {n}, a {k}, b 0)\n n j: {n} (out 1, a 0, b 1)\n k c: {k} (out 0, a 1, b {n})\n}}"
    )
}

#[test]
fn matrices_of_many_shapes() {
    for (m, n, k) in [
        (1, 1, 1),
        (1, 7, 5),
        (5, 1, 9),
        (7, 3, 0),
        (64, 33, 100),
        (3, 200, 17),
        (130, 40, 700),
        (16, 16, 3000),
        (40, 9, 1500),
    ] {
        for dtype in ["f32", "f64", "bf16"] {
            check(dtype, [m * n, m * k, k * n], &matrix(m, n, k));
            check(dtype, [m * n, m * k, k * n], &matrix(m, n, k).replace("out = a", "out += a"));
        }
    }
}

#[test]
fn transposed_operands_and_results() {
    let (m, n, k) = (50, 30, 70);
    let contract = format!(
        "contract out = a * b {{\n m i: {m} (out 1, a 1, b 0)\n n j: {n} (out {m}, a 0, b {k})\n k c: {k} (out 0, a {m}, b 1)\n}}"
    );
    check_all([m * n, m * k, k * n], &contract);
}

/// Few rows of a batch and a large right operand, which workers share by the chains of the sum: rows apart in the result, the operand in both
/// orders, added to what was there or not.
#[test]
fn chains_of_a_sum_are_shared() {
    let (m, n, k, gap) = (20usize, 150usize, 2040usize, 7usize);
    for (column, step) in [(1, n), (k, 1)] {
        for written in ["=", "+="] {
            let (out_len, a_len, b_len) = (m * (n + gap), m * k, k * n);
            let text = format!(
                "plan p\nsize B batch\nbuffer out: f32[{out_len}] len {out_len}; state\nbuffer a: f32[{a_len}] len {a_len}; param\n\
                 buffer b: f32[{b_len}] len {b_len}; param\noutput out = out\ncontract out {written} a * b {{\n m i: B (out {}, a {k}, b 0)\n \
                 n j: {n} (out 1, a 0, b {column})\n k c: {k} (out 0, a 1, b {step})\n}}",
                n + gap
            );
            let plan = Arc::new(parse_plan(&text).unwrap_or_else(|e| panic!("{e}\n{text}")));
            let (out, a, b) = (numbers(out_len, 1), numbers(a_len, 2), numbers(b_len, 3));
            let run = |threads: usize| {
                let mut program = Program::new(plan.clone(), no_kernels()).unwrap();
                let mut store = Store::new();
                for (name, values) in [("out", &out), ("a", &a), ("b", &b)] {
                    store.insert(name, bdl_plan::DType::F32, vec![values.len() as i64]).unwrap();
                    store.set(name, values).unwrap();
                }
                let inputs = Inputs { batch: m, ..Inputs::default() };
                program.run(&Executor::new(threads), &mut store, &inputs).unwrap().numbers("out").unwrap()
            };
            let one = run(1);
            for i in 0..m {
                for j in 0..n + gap {
                    let before = f64::from(out[i * (n + gap) + j] as f32);
                    let product = |c: usize| a[i * k + c] * b[j * column + c * step];
                    let expected = match (j < n, written) {
                        (false, _) => before,
                        (true, "=") => (0..k).map(product).sum::<f64>(),
                        (true, _) => before + (0..k).map(product).sum::<f64>(),
                    };
                    let found = one[i * (n + gap) + j];
                    assert!(
                        (found - expected).abs() < 3e-5 * (1.0 + expected.abs()),
                        "[{i}, {j}] {found} {expected}\n{text}"
                    );
                }
            }
            for threads in [2, 3, 4] {
                assert!(one == run(threads), "{threads} threads\n{text}");
            }
        }
    }
}

#[test]
fn batches_and_axes_that_do_not_merge() {
    // out[b, i, h, j] = sum[c, d] a[b, h, i, c, d] * b[b, h, c, j, d]
    let (b, h, i, j, c, d) = (3, 2, 13, 11, 5, 4);
    let contract = format!(
        "contract out = a * b {{\n batch b: {b} (out {}, a {}, b {})\n batch h: {h} (out {j}, a {}, b {})\n m i: {i} (out {}, a {}, b 0)\n \
         n j: {j} (out 1, a 0, b {d})\n k c: {c} (out 0, a {d}, b {})\n k d: {d} (out 0, a 1, b 1)\n}}",
        i * h * j,
        h * i * c * d,
        h * c * j * d,
        i * c * d,
        c * j * d,
        h * j,
        c * d,
        j * d,
    );
    check_all([b * i * h * j, b * h * i * c * d, b * h * c * j * d], &contract);
}

/// A convolution of x [B, T, C] and w [K, C, F] with padding P, stride S, dilation D.
struct Convolution {
    b: i64,
    t: i64,
    c: i64,
    f: i64,
    k: i64,
    padding: i64,
    stride: i64,
    dilation: i64,
}

impl Convolution {
    fn outputs(&self) -> i64 {
        (self.t + 2 * self.padding - self.dilation * (self.k - 1) - 1) / self.stride + 1
    }

    fn check(&self) {
        let Convolution { b, t, c, f, k, padding, stride, dilation } = *self;
        let o = self.outputs();
        let lens = |x: [i64; 3]| x.map(|n| n as usize);
        let slice =
            |name: &str, offset: i64| if offset == 0 { name.to_string() } else { format!("{name} + ({offset})") };
        let clip = |t_axis: usize, k_axis: usize| {
            if padding == 0 {
                String::new()
            } else {
                format!(" clip {stride} * #{t_axis} + {dilation} * #{k_axis} + (-{padding}) < {t};\n")
            }
        };
        // Forward: y[b, t, f] = sum[k, c] x[b, S t + D k - P, c] w[k, c, f].
        let forward = format!(
            "contract out = {} * b {{\n m b: {b} (out {}, a {}, b 0)\n m t: {o} (out {f}, a {}, b 0)\n n f: {f} (out 1, a 0, b 1)\n \
             k k: {k} (out 0, a {}, b {})\n k c: {c} (out 0, a 1, b {f})\n{}}}",
            slice("a", -padding * c),
            o * f,
            t * c,
            stride * c,
            dilation * c,
            c * f,
            clip(1, 3),
        );
        check_all(lens([b * o * f, b * t * c, k * c * f]), &forward);
        // Weights: w[k, c, f] = sum[b, t] x[b, S t + D k - P, c] y[b, t, f].
        let weights = format!(
            "contract out = {} * b {{\n m k: {k} (out {}, a {}, b 0)\n m c: {c} (out {f}, a 1, b 0)\n n f: {f} (out 1, a 0, b 1)\n \
             k b: {b} (out 0, a {}, b {})\n k t: {o} (out 0, a {}, b {f})\n{}}}",
            slice("a", -padding * c),
            c * f,
            dilation * c,
            t * c,
            o * f,
            stride * c,
            clip(4, 0),
        );
        check_all(lens([k * c * f, b * t * c, b * o * f]), &weights);
        if stride == 1 {
            // Input: x[b, t, c] = sum[k, f] y[b, t - D k + P, f] w[k, c, f].
            let input = format!(
                "contract out = {} * b {{\n m b: {b} (out {}, a {}, b 0)\n m t: {t} (out {c}, a {f}, b 0)\n n c: {c} (out 1, a 0, b {f})\n \
                 k k: {k} (out 0, a -{}, b {})\n k f: {f} (out 0, a 1, b 1)\n clip 1 * #1 + -{dilation} * #3 + {padding} < {o};\n}}",
                slice("a", padding * f),
                t * c,
                o * f,
                dilation * f,
                c * f,
            );
            check_all(lens([b * t * c, b * o * f, k * c * f]), &input);
        }
    }
}

#[test]
fn convolutions_forward_weights_and_inputs() {
    for (b, t, c, f, k, padding, stride, dilation) in [
        (3, 20, 4, 8, 9, 0, 1, 1),
        (3, 20, 4, 8, 9, 4, 1, 1),
        (4, 60, 4, 32, 9, 4, 1, 1),
        (2, 30, 3, 5, 5, 8, 1, 4),
        (2, 30, 3, 5, 4, 2, 2, 1),
        (5, 7, 2, 3, 9, 4, 1, 1),
        (40, 26, 8, 16, 5, 2, 1, 1),
        (1, 1, 1, 1, 3, 1, 1, 1),
        (2, 9, 3, 4, 3, 5, 3, 2),
        (20, 26, 3, 16, 5, 2, 1, 1),
        (20, 26, 1, 16, 5, 2, 1, 1),
        (6, 40, 16, 20, 5, 2, 1, 1),
        (3, 400, 20, 16, 7, 9, 1, 3),
    ] {
        Convolution { b, t, c, f, k, padding, stride, dilation }.check();
    }
}

/// Images, rows, columns, channels, filters.
type Images = (usize, usize, usize, usize, usize);

/// `y[b, h, w, f] = sum[i, j, c] x[b, h + i - 1, w + j - 1, c] k[i, j, c, f]`
fn convolution_2d((b, h, w, c, f): Images) -> String {
    format!(
        "contract out = a + (-{}) * b {{\n m b: {b} (out {}, a {}, b 0)\n m h: {h} (out {}, a {}, b 0)\n m w: {w} (out {f}, a {c}, b 0)\n \
         n f: {f} (out 1, a 0, b 1)\n k i: 3 (out 0, a {}, b {})\n k j: 3 (out 0, a {c}, b {})\n k c: {c} (out 0, a 1, b {f})\n \
         clip 1 * #1 + 1 * #4 + (-1) < {h};\n clip 1 * #2 + 1 * #5 + (-1) < {w};\n}}",
        w * c + c,
        h * w * f,
        h * w * c,
        w * f,
        w * c,
        w * c,
        3 * c * f,
        c * f,
    )
}

#[test]
fn two_dimensions_with_padding() {
    let (b, h, w, c, f) = (2, 6, 7, 3, 4);
    check_all([b * h * w * f, b * h * w * c, 9 * c * f], &convolution_2d((b, h, w, c, f)));
}

/// `dk[i, j, c, f] = sum[b, h, w] x[b, h + i - 1, w + j - 1, c] dy[b, h, w, f]`
fn by_filter_2d((b, h, w, c, f): Images) -> String {
    format!(
        "contract out = a + (-{}) * b {{\n m i: 3 (out {}, a {}, b 0)\n m j: 3 (out {}, a {c}, b 0)\n m c: {c} (out {f}, a 1, b 0)\n \
         n f: {f} (out 1, a 0, b 1)\n k b: {b} (out 0, a {}, b {})\n k h: {h} (out 0, a {}, b {})\n k w: {w} (out 0, a {c}, b {f})\n \
         clip 1 * #0 + 1 * #5 + (-1) < {h};\n clip 1 * #1 + 1 * #6 + (-1) < {w};\n}}",
        w * c + c,
        3 * c * f,
        w * c,
        c * f,
        h * w * c,
        h * w * f,
        w * c,
        w * f,
    )
}

#[test]
fn weights_of_two_dimensions_with_padding() {
    for (b, h, w, c, f) in [(2, 6, 7, 3, 4), (6, 12, 11, 16, 16)] {
        check_all([9 * c * f, b * h * w * c, b * h * w * f], &by_filter_2d((b, h, w, c, f)));
    }
}

/// Odd and even sides, one position, channels that fill no vector, lines of more squares than are made at a time, more lines than parts, no image at all;
/// into what was there and over it. Without clips the image has two rows and columns more.
#[test]
fn images_by_winograd() {
    for (b, h, w, c, f) in [
        (2, 6, 8, 32, 32),
        (3, 7, 5, 20, 33),
        (1, 1, 1, 5, 3),
        (1, 2, 1, 40, 16),
        (2, 1, 9, 16, 48),
        (1, 3, 300, 64, 70),
        (5, 34, 3, 16, 16),
        (0, 6, 6, 16, 16),
    ] {
        let (of_map, of_image, of_filter) = (b * h * w * f, b * h * w * c, 9 * c * f);
        let convolution = convolution_2d((b, h, w, c, f)).replace("\n}", "\n winograd\n}");
        let by_filter = by_filter_2d((b, h, w, c, f)).replace("\n}", "\n winograd\n}");
        for kind in ["f32", "f64"] {
            for (lens, contract) in
                [([of_map, of_image, of_filter], &convolution), ([of_filter, of_image, of_map], &by_filter)]
            {
                check(kind, lens, contract);
                check(kind, lens, &contract.replace("out = a", "out += a"));
            }
        }
        // y[b, h, w, f] = sum[i, j, c] x[b, h + i, w + j, c] k[i, j, c, f]
        let (high, wide) = (h + 2, w + 2);
        let whole = format!(
            "contract out = a * b {{\n m b: {b} (out {of}, a {oa}, b 0)\n m h: {h} (out {rf}, a {ra}, b 0)\n \
             m w: {w} (out {f}, a {c}, b 0)\n n f: {f} (out 1, a 0, b 1)\n k i: 3 (out 0, a {ra}, b {ib})\n \
             k j: 3 (out 0, a {c}, b {jb})\n k c: {c} (out 0, a 1, b {f})\n winograd\n}}",
            of = h * w * f,
            oa = high * wide * c,
            rf = w * f,
            ra = wide * c,
            ib = 3 * c * f,
            jb = c * f,
        );
        check("f32", [of_map, b * high * wide * c, of_filter], &whole);
    }
}

/// A row of a map is a function of its image.
#[test]
fn an_image_has_the_same_bits_alone_and_among_many() {
    let (h, w, c, f) = (9, 14, 24, 40);
    let run = |b: usize, threads: usize| {
        let lens = [("out", b * h * w * f, 1), ("a", b * h * w * c, 2), ("b", 9 * c * f, 3)];
        let buffer = |(name, len, _): &(&str, usize, u64)| format!("buffer {name}: f32[{len}] len {len}; state\n");
        let contract = convolution_2d((b, h, w, c, f)).replace("\n}", "\n winograd\n}");
        let buffers: String = lens.iter().map(buffer).collect();
        let plan = parse_plan(&format!("plan p\n{buffers}output out = out\n{contract}")).unwrap();
        let mut program = Program::with(Arc::new(plan), no_kernels(), Products::Exact).unwrap();
        let mut store = Store::new();
        for (name, len, salt) in lens {
            store.insert(name, bdl_plan::DType::F32, vec![len as i64]).unwrap();
            store.set(name, &numbers(len, salt)).unwrap();
        }
        program.run(&Executor::new(threads), &mut store, &Inputs::default()).unwrap().numbers("out").unwrap()
    };
    let alone = run(1, 1);
    for (images, threads) in [(2, 1), (7, 3), (12, 4)] {
        assert_eq!(alone, run(images, threads)[..alone.len()], "{images} images on {threads} threads");
    }
}

#[test]
fn a_clip_of_three_axes_and_a_clip_of_one() {
    let contract = "contract out = a * b {\n m i: 5 (out 6, a 3, b 0)\n n j: 6 (out 1, a 0, b 1)\n k c: 3 (out 0, a 1, b 6)\n \
                    clip 1 * #0 + 1 * #1 + -2 * #2 + (-1) < 4;\n clip 1 * #0 + (-1) < 3;\n}";
    check_all([30, 15, 18], contract);
}

/// Few rows read the right operand where it lies, many from a copy in panels: of convolutions with even and odd numbers of channels, and with ends.
#[test]
fn an_example_has_the_same_bits_alone_and_among_many() {
    let (t, f, k) = (26, 40, 5);
    for (c, padding) in [(8, 0), (8, 2), (3, 0), (3, 2), (1, 0), (1, 2)] {
        for products in [Products::Exact, Products::Bf16] {
            let o = t + 2 * padding - k + 1;
            let run = |b: usize| {
                let clip =
                    if padding == 0 { String::new() } else { format!(" clip 1 * #1 + 1 * #3 + (-{padding}) < {t};\n") };
                let text = format!(
                    "plan p\nbuffer out: f32[{0}] len {0}; state\nbuffer a: f32[{1}] len {1}; param\nbuffer b: f32[{2}] len {2}; param\n\
                     output out = out\ncontract out = a + (-{3}) * b {{\n m b: {b} (out {4}, a {5}, b 0)\n m t: {o} (out {f}, a {c}, b 0)\n \
                     n f: {f} (out 1, a 0, b 1)\n k k: {k} (out 0, a {c}, b {6})\n k c: {c} (out 0, a 1, b {f})\n{clip}}}",
                    b * o * f,
                    b * t * c,
                    k * c * f,
                    padding * c,
                    o * f,
                    t * c,
                    c * f,
                );
                let plan = parse_plan(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
                let mut program = Program::with(Arc::new(plan), no_kernels(), products).unwrap();
                let mut store = Store::new();
                for (name, len, salt) in [("out", b * o * f, 1), ("a", b * t * c, 2), ("b", k * c * f, 3)] {
                    store.insert(name, bdl_plan::DType::F32, vec![len as i64]).unwrap();
                    store.set(name, &numbers(len, salt)).unwrap();
                }
                program.run(&Executor::new(1), &mut store, &Inputs::default()).unwrap().numbers("out").unwrap()
            };
            let (alone, many) = (run(1), run(12));
            assert_eq!(alone, many[..alone.len()], "{c} channels, padding {padding}, {products:?}");
        }
    }
}

/// Sequences shorter than the window that passes over them: how their ends are cut must not depend on how many there are.
#[test]
fn a_short_sequence_has_the_same_bits_alone_and_among_many() {
    for (t, k, c, f) in [(5, 9, 8, 16), (3, 19, 4, 40), (1, 7, 32, 32)] {
        let padding = k / 2;
        let text = format!(
            "plan p\nsize B batch\nslot {0} * B\nbuffer out: f32[B, {1}] len {1} * B; slot 0\nbuffer a: f32[B, {2}] len {2} * B; input per_example\n\
             buffer b: f32[{3}] len {3}; param\noutput out = out\ncontract out = a + (-{4}) * b {{\n m b: B (out {1}, a {2}, b 0)\n \
             m t: {t} (out {f}, a {c}, b 0)\n n f: {f} (out 1, a 0, b 1)\n k k: {k} (out 0, a {c}, b {5})\n k c: {c} (out 0, a 1, b {f})\n \
             clip 1 * #1 + 1 * #3 + (-{padding}) < {t};\n}}",
            4 * t * f,
            t * f,
            t * c,
            k * c * f,
            padding * c,
            c * f,
        );
        let plan = Arc::new(parse_plan(&text).unwrap_or_else(|e| panic!("{e}\n{text}")));
        let examples: Vec<f32> = numbers(40 * t * c, 2).iter().map(|x| *x as f32).collect();
        let run = |batch: usize| {
            let mut program = Program::with(plan.clone(), no_kernels(), Products::Exact).unwrap();
            let mut store = Store::new();
            store.insert("b", bdl_plan::DType::F32, vec![(k * c * f) as i64]).unwrap();
            store.set("b", &numbers(k * c * f, 3)).unwrap();
            let buffers = vec![("a", bdl_execute::Data::F32(&examples[..batch * t * c]))];
            let inputs = Inputs { batch, buffers, ..Inputs::default() };
            program.run(&Executor::new(2), &mut store, &inputs).unwrap().numbers("out").unwrap()
        };
        let alone = run(1);
        for batch in [2, 15, 40] {
            assert_eq!(alone, run(batch)[..alone.len()], "{t} positions, {k} taps, {batch} examples");
        }
    }
}

/// Three axes of the sum, which lie in another order in the right operand than in its copy, and more than one chain.
#[test]
fn a_row_of_a_sum_over_three_axes_has_the_same_bits_alone_and_among_many() {
    let (h, w, f) = (6, 7, 40);
    for c in [100, 101] {
        for products in [Products::Exact, Products::Bf16] {
            let run = |b: usize| {
                // y[b, h, w, f] = sum[i, j, c] x[b, h + i, w + j, c] k[c, i, j, f]
                let (ih, iw) = (h + 2, w + 2);
                let text = format!(
                    "plan p\nbuffer out: f32[{0}] len {0}; state\nbuffer a: f32[{1}] len {1}; param\nbuffer b: f32[{2}] len {2}; param\n\
                     output out = out\ncontract out = a * b {{\n m b: {b} (out {3}, a {4}, b 0)\n m h: {h} (out {5}, a {6}, b 0)\n \
                     m w: {w} (out {f}, a {c}, b 0)\n n f: {f} (out 1, a 0, b 1)\n k i: 3 (out 0, a {6}, b {7})\n \
                     k j: 3 (out 0, a {c}, b {f})\n k c: {c} (out 0, a 1, b {8})\n}}",
                    b * h * w * f,
                    b * ih * iw * c,
                    9 * c * f,
                    h * w * f,
                    ih * iw * c,
                    w * f,
                    iw * c,
                    3 * f,
                    9 * f,
                );
                let plan = parse_plan(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
                let mut program = Program::with(Arc::new(plan), no_kernels(), products).unwrap();
                let mut store = Store::new();
                for (name, len, salt) in [("out", b * h * w * f, 1), ("a", b * ih * iw * c, 2), ("b", 9 * c * f, 3)] {
                    store.insert(name, bdl_plan::DType::F32, vec![len as i64]).unwrap();
                    store.set(name, &numbers(len, salt)).unwrap();
                }
                program.run(&Executor::new(1), &mut store, &Inputs::default()).unwrap().numbers("out").unwrap()
            };
            let (alone, many) = (run(1), run(12));
            let differ = alone.iter().zip(&many).filter(|(x, y)| x != y).count();
            assert_eq!(differ, 0, "{c} channels, {products:?}: of {}", alone.len());
        }
    }
}

#[test]
fn tf32_is_nothing_a_processor_has() {
    let plan = parse_plan(
        "plan p\nbuffer out: f32[1] len 1; state\nbuffer a: f32[1] len 1; param\noutput out = out\n\
         contract out = a * a {\n k c: 1 (out 0, a 1, b 1)\n}",
    );
    let error = Program::with(Arc::new(plan.unwrap()), no_kernels(), Products::Tf32).err().unwrap();
    assert!(error.to_string().contains("tf32"), "{error}");
}
