//! Long sums in chains, in every kind of loop: compiled, as PTX and interpreted alike to the bit, and near the sum in f64.

use crate::common::{Random, check};
use crate::ptx;
use bdl_execute::reference::Array;
use bdl_plan::{DType, Kernel, parse_kernel};

/// Loops over `x` (N * M numbers) into `y`. The first number of `y` is the sum of all, where the kernel has one sum.
const KERNELS: [(&str, &str); 11] = [
    (
        "serial",
        "for g in 1 { %0: f32 = const 0.25 variable @0: f32 = %0 for i in 0..N { %1: f32 = load x[i] @0 sum= %1 } %2: f32 = read @0 store y[0] = %2 }",
    ),
    (
        "lanes",
        "for g in 1 { %0: f32 = const 0.25 variable @0: f32 = %0 for i in 0..N lanes { %1: f32 = load x[i] @0 sum= %1 } %2: f32 = read @0 store y[0] = %2 }",
    ),
    (
        "products",
        "for g in 1 { %0: f32 = const 0.25 variable @0: f32 = %0 for i in 0..N lanes { %1: f32 = load x[i] %3: f32 = load w[i] %4: f32 = mul %1, %3 @0 sum= %4 } %2: f32 = read @0 store y[0] = %2 }",
    ),
    (
        "each lane",
        "for c in 19 lanes { %0: f32 = const 0.25 variable @0: f32 = %0 for i in 0..N { %1: f32 = load x[i] @0 sum= %1 } %2: f32 = read @0 store y[c] = %2 }",
    ),
    (
        "lanes outside",
        "for g in 1 { %0: f32 = const 0.25 variable @0: f32 = %0 for c in 0..M lanes { for i in 0..N { %1: f32 = load x[c * N + i] @0 sum= %1 } } %2: f32 = read @0 store y[0] = %2 }",
    ),
    (
        "lanes inside",
        "for g in 1 { %0: f32 = const 0.25 variable @0: f32 = %0 for c in 0..M { for i in 0..N lanes { %1: f32 = load x[c * N + i] @0 sum= %1 } } %2: f32 = read @0 store y[0] = %2 }",
    ),
    (
        "nested",
        "for g in 1 { %0: f32 = const 0.25 variable @0: f32 = %0 for c in 0..M { for i in 0..N { %1: f32 = load x[c * N + i] @0 sum= %1 } } %2: f32 = read @0 store y[0] = %2 }",
    ),
    (
        "divergent",
        "for g in 1 { %0: f32 = const 0.25 variable @0: f32 = %0 for c in 0..M lanes { %3: f32 = load w[c] %4: f32 = const -9.0 %5: bool = gt %3, %4 if %5 { for i in 0..N { %1: f32 = load x[c * N + i] @0 sum= %1 } } } %2: f32 = read @0 store y[0] = %2 }",
    ),
    (
        "columns",
        "for g in 1 { %0: f32 = const 0.25 for c in 0..M lanes { variable @0: f32 = %0 for i in 0..N { %1: f32 = load x[i + c] @0 sum= %1 } %2: f32 = read @0 store y[c] = %2 } }",
    ),
    (
        "columns of two sums",
        "for g in 1 { %0: f32 = const 0.25 for c in 0..M lanes { variable @0: f32 = %0 variable @1: f32 = %0 variable @2: f32 = %0 for i in 0..N { %1: f32 = load x[i + c] %3: f32 = load w[i + c] @0 sum= %1 @2 max= %3 %4: f32 = mul %1, %3 @1 sum= %4 } %2: f32 = read @0 %5: f32 = read @1 %6: f32 = read @2 %7: f32 = add %2, %5 %8: f32 = add %7, %6 store y[c] = %8 } }",
    ),
    // What is read on the way has no chains.
    (
        "running",
        "for g in 1 { %0: f32 = const 0.25 variable @0: f32 = %0 for i in 0..N { %1: f32 = load x[i] @0 sum= %1 %2: f32 = read @0 store y[i] = %2 } }",
    ),
];

fn kernel(body: &str) -> Kernel {
    let indices = if body.contains("for c in 19") {
        "c, i"
    } else if body.contains("for c") {
        "g, c, i"
    } else {
        "g, i"
    };
    let text =
        format!("kernel sums(x: f32 read, w: f32 read, y: f32 write) sizes(N, M) indices({indices}) {{ {body} }}");
    parse_kernel(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn arrays(seed: u64, n: i64, m: i64) -> Vec<Array> {
    let mut random = Random::new(seed);
    let mut numbers =
        |count: i64| -> Vec<f64> { (0..count).map(|_| 1.0 + random.below(1000) as f64 / 1000.0).collect() };
    let (x, w) = (numbers(n * m), numbers((n * m).max(m)));
    vec![
        Array::from_f64(DType::F32, &x),
        Array::from_f64(DType::F32, &w),
        Array::from_f64(DType::F32, &vec![0.0; n.max(m).max(32) as usize]),
    ]
}

const SIZES: [(i64, i64); 10] =
    [(0, 3), (1, 1), (511, 2), (512, 3), (513, 9), (1025, 17), (4096, 2), (4097, 1), (4103, 3), (9001, 2)];

#[test]
fn compiled_as_interpreted() {
    for (name, body) in KERNELS {
        let kernel = kernel(body);
        for (at, (n, m)) in SIZES.into_iter().enumerate() {
            println!("{name} {n} {m}");
            check(&kernel, &arrays(at as u64, n, m), &[n, m]);
        }
        println!("{name} 3 5000");
        check(&kernel, &arrays(77, 3, 5000), &[3, 5000]);
    }
}

#[test]
fn as_ptx() {
    for (name, body) in KERNELS {
        let kernel = kernel(body);
        for (at, (n, m)) in [(0, 3), (1, 1), (511, 2), (513, 3), (1100, 2)].into_iter().enumerate() {
            println!("{name} {n} {m}");
            assert!(ptx::check(&kernel, &arrays(at as u64, n, m), &[n, m], at as u64));
        }
    }
    // Chains of a lane of a warp and of a thread of a block.
    let lanes = kernel(KERNELS[1].1);
    for n in [512 * 32 + 5, 512 * 256 + 300] {
        assert!(ptx::check(&lanes, &arrays(5, n, 1), &[n, 1], 3));
    }
}
