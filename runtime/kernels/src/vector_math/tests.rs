//! Errors against f64 over dense samples of the whole range, special values, and equality of all instruction sets.

use super::*;
use crate::isa::{Isa, with_isa};

/// Every 2^k-th f32 of both signs from 0 to inf, plus neighbours of landmarks.
fn whole_range() -> Vec<f32> {
    let mut x: Vec<f32> =
        (0..=0x7f80_0000u32).step_by(2039).flat_map(|b| [f32::from_bits(b), -f32::from_bits(b)]).collect();
    let landmarks = [
        0.0,
        1.0,
        0.5,
        0.625,
        0.92,
        2.0,
        4.0,
        9.1,
        10.0,
        87.3,
        88.722_84,
        88.722_85,
        89.0,
        103.97,
        104.0,
        1e5,
        f32::MIN_POSITIVE,
        f32::MAX,
        std::f32::consts::LN_2,
        std::f32::consts::FRAC_PI_2,
        std::f32::consts::PI,
        std::f32::consts::FRAC_1_SQRT_2,
        std::f32::consts::SQRT_2,
    ];
    for landmark in landmarks {
        for d in -40i32..=40 {
            let b = (landmark.to_bits() as i32 + d).clamp(0, 0x7f80_0000) as u32;
            x.extend([f32::from_bits(b), -f32::from_bits(b)]);
        }
    }
    x
}

/// `count` values evenly spaced over [lo, hi].
fn between(lo: f64, hi: f64, count: usize) -> Vec<f32> {
    (0..count).map(|i| (lo + (hi - lo) * i as f64 / (count - 1) as f64) as f32).collect()
}

/// |got - want| in units of the spacing of f32 at `want`.
fn ulps(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if rounded.is_infinite() || got.is_infinite() {
        // Just below the overflow threshold both neighbours are fine.
        return if rounded == got || (want.abs() < 3.402_823_7e38 * 1.000_000_1 && got.abs() >= f32::MAX) {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let exponent = if want == 0.0 { -126 } else { (libm::ilogb(want)).clamp(-126, 127) };
    (f64::from(got) - want).abs() / libm::exp2(f64::from(exponent - 23))
}

fn worst(function: Function, x: &[f32], want: impl Fn(f64) -> f64) -> (f64, f32) {
    let mut y = vec![0.0; x.len()];
    // SAFETY: both hold n elements.
    unsafe { unary_f32(function)(x.len(), x.as_ptr(), y.as_mut_ptr()) };
    let mut worst = (0.0, 0.0);
    for (&x, &y) in x.iter().zip(&y) {
        let error = ulps(y, want(f64::from(x)));
        if error > worst.0 {
            worst = (error, x);
        }
    }
    worst
}

fn sigmoid(x: f64) -> f64 {
    if x < 0.0 { libm::exp(x) / (1.0 + libm::exp(x)) } else { 1.0 / (1.0 + libm::exp(-x)) }
}

fn softplus(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + libm::log1p(libm::exp(-x.abs())) }
}

type Oracle = fn(f64) -> f64;

#[test]
fn f32_errors_stay_within_the_stated_bounds() {
    let cases: [(Function, Oracle, f64, f64, f64); 12] = [
        (Function::Exp, libm::exp, -105.0, 90.0, 1.1),
        (Function::Expm1, libm::expm1, -20.0, 90.0, 1.5),
        (Function::Log, libm::log, 0.0, 4.0, 1.0),
        (Function::Log1p, libm::log1p, -1.0, 4.0, 1.5),
        (Function::Tanh, libm::tanh, -10.0, 10.0, 1.4),
        (Function::Sigmoid, sigmoid, -105.0, 20.0, 2.2),
        (Function::Softplus, softplus, -105.0, 20.0, 1.8),
        (Function::Erf, libm::erf, -4.0, 4.0, 1.1),
        (Function::Sin, libm::sin, -200.0, 200.0, 1.6),
        (Function::Cos, libm::cos, -200.0, 200.0, 1.6),
        (Function::Sqrt, f64::sqrt, 0.0, 10.0, 0.5),
        (Function::Rsqrt, |x| 1.0 / x.sqrt(), 0.0, 10.0, 1.5),
    ];
    let whole = whole_range();
    let mut report = String::new();
    let mut bad = false;
    for (function, oracle, lo, hi, bound) in cases {
        let mut x = whole.clone();
        x.extend(between(lo, hi, 1_500_000));
        let (error, at) = worst(function, &x, oracle);
        report += &format!("{:10} {error:.3} ulp at {at:e} (bound {bound})\n", function.name());
        bad |= error > bound;
    }
    println!("{report}");
    assert!(!bad, "\n{report}");
}

#[test]
fn sine_and_cosine_of_large_arguments() {
    let x: Vec<f32> = between(-3e5, 3e5, 300_001);
    for (function, oracle) in [(Function::Sin, libm::sin as Oracle), (Function::Cos, libm::cos)] {
        let (error, at) = worst(function, &x, oracle);
        assert!(error <= 1.6, "{} {error} ulp at {at}", function.name());
    }
    let mut y = [0.0; 2];
    sin_f32(&[1e30, 1.0], &mut y);
    // sin(1e30f32): the value of 1000000015047466219876688855040 by mpmath.
    assert!(ulps(y[0], SIN_1E30) <= 1.0, "{}", y[0]);
    assert!(ulps(y[1], 1.0f64.sin()) <= 1.0);
}

const SIN_1E30: f64 = -0.7911634385219837;

#[test]
fn pow_is_within_its_bound_and_knows_special_cases() {
    let bases = [
        1e-45f32,
        1e-40,
        1e-30,
        0.001,
        0.5,
        0.99,
        0.999_999_94,
        1.0,
        1.000_000_1,
        1.5,
        2.0,
        3.0,
        10.0,
        12345.678,
        1e30,
        f32::MAX,
    ];
    let mut worst = 0.0f64;
    for x in bases {
        let y: Vec<f32> = between(-160.0, 160.0, 20_001);
        let mut z = vec![0.0; y.len()];
        pow_f32(&vec![x; y.len()], &y, &mut z);
        for (&y, &z) in y.iter().zip(&z) {
            worst = worst.max(ulps(z, libm::pow(f64::from(x), f64::from(y))));
        }
    }
    assert!(worst <= 0.51, "{worst}");

    let nan = f32::NAN;
    let inf = f32::INFINITY;
    let cases = [
        (2.0, 3.0, 8.0),
        (9.0, 0.5, 3.0),
        (0.0, 2.0, 0.0),
        (0.0, 0.0, 1.0),
        (0.0, -1.0, inf),
        (-0.0, -1.0, -inf),
        (-0.0, 3.0, -0.0),
        (-2.0, 3.0, -8.0),
        (-2.0, 2.0, 4.0),
        (-2.0, 0.5, nan),
        (nan, 0.0, 1.0),
        (1.0, nan, 1.0),
        (nan, 1.0, nan),
        (2.0, nan, nan),
        (inf, 2.0, inf),
        (inf, -2.0, 0.0),
        (-inf, 3.0, -inf),
        (2.0, inf, inf),
        (2.0, -inf, 0.0),
        (0.5, inf, 0.0),
        (-1.0, inf, 1.0),
        (2.0, 200.0, inf),
        (2.0, -200.0, 0.0),
        (2.0, -149.0, 1e-45),
    ];
    let (x, y): (Vec<f32>, Vec<f32>) = cases.iter().map(|&(x, y, _)| (x, y)).unzip();
    let mut z = vec![0.0; cases.len()];
    pow_f32(&x, &y, &mut z);
    for ((x, y, want), z) in cases.into_iter().zip(z) {
        assert!(z.to_bits() == want.to_bits() || (z.is_nan() && want.is_nan()), "{x}^{y} = {z}, not {want}");
    }
    let mut z = [0.0; 3];
    pow_f64(&[2.0, -2.0, 2.0], &[0.5, 3.0, -1074.0], &mut z);
    assert_eq!(z, [std::f64::consts::SQRT_2, -8.0, 5e-324]);
}

/// (function, x, value) by mpmath with 40 digits.
const KNOWN: &[(Function, f64, f64)] = &[
    (Function::Exp, 1.0, std::f64::consts::E),
    (Function::Exp, -2.5, 0.0820849986238988),
    (Function::Exp, 80.0, 5.54062238439351e+34),
    (Function::Expm1, 1e-09, 1.0000000005000001e-09),
    (Function::Expm1, 0.25, 0.2840254166877415),
    (Function::Expm1, -3.0, -0.950212931632136),
    (Function::Log, 0.75, -0.2876820724517809),
    (Function::Log, 3.0, 1.0986122886681098),
    (Function::Log, 1e+300, 690.7755278982137),
    (Function::Log1p, 1e-12, 9.999999999995e-13),
    (Function::Log1p, 0.25, 0.22314355131420976),
    (Function::Log1p, -0.875, -2.0794415416798357),
    (Function::Tanh, 0.125, 0.12435300177159621),
    (Function::Tanh, 0.7, 0.6043677771171635),
    (Function::Tanh, -3.0, -0.9950547536867305),
    (Function::Sigmoid, 0.5, 0.6224593312018546),
    (Function::Sigmoid, -40.0, 4.248354255291589e-18),
    (Function::Sigmoid, 3.0, 0.9525741268224333),
    (Function::Softplus, 0.5, 0.9740769841801067),
    (Function::Softplus, -40.0, 4.248354255291589e-18),
    (Function::Softplus, 3.0, 3.048587351573742),
    (Function::Erf, 0.25, 0.27632639016823696),
    (Function::Erf, 1.5, 0.9661051464753108),
    (Function::Erf, -3.0, -0.9999779095030014),
    (Function::Sin, 0.5, 0.479425538604203),
    (Function::Sin, 3.0, 0.1411200080598672),
    (Function::Sin, 1000.0, 0.8268795405320025),
    (Function::Cos, 0.5, 0.8775825618903728),
    (Function::Cos, 3.0, -0.9899924966004454),
    (Function::Cos, 1000.0, 0.5623790762907029),
    (Function::Sqrt, 2.0, std::f64::consts::SQRT_2),
    (Function::Sqrt, 1e-300, 1e-150),
    (Function::Rsqrt, 2.0, std::f64::consts::FRAC_1_SQRT_2),
    (Function::Rsqrt, 1e-300, 1e+150),
    (Function::Lgamma, 0.25, 1.2880225246980774),
    (Function::Lgamma, 3.5, 1.2009736023470743),
    (Function::Lgamma, 100.0, 359.1342053695754),
    (Function::Lgamma, -0.5, 1.2655121234846454),
    (Function::Lgamma, -3.25, -0.6231534513209986),
    (Function::Digamma, 0.25, -4.2274535333762655),
    (Function::Digamma, 1.0, -0.5772156649015329),
    (Function::Digamma, 1.5, 0.03648997397857652),
    (Function::Digamma, 10.0, 2.251752589066721),
    (Function::Digamma, 123.5, 4.812187109433143),
    (Function::Digamma, -0.5, 0.03648997397857652),
    (Function::Digamma, -3.25, 4.46627587235028),
    (Function::Digamma, 1000000.0, 13.815510057964191),
    (Function::Trigamma, 0.25, 17.197329154507113),
    (Function::Trigamma, 1.0, 1.6449340668482264),
    (Function::Trigamma, 10.0, 0.10516633568168575),
    (Function::Trigamma, -0.5, 8.934802200544679),
];

#[test]
fn known_values_in_both_types() {
    for &(function, x, want) in KNOWN {
        let mut y = [0.0f64];
        // SAFETY: one element each.
        unsafe { unary_f64(function)(1, [x].as_ptr(), y.as_mut_ptr()) };
        let error = (y[0] - want).abs();
        assert!(
            error <= 4.0 * f64::EPSILON * want.abs().max(if function == Function::Digamma { 1.0 } else { 0.0 }),
            "{}({x}) = {}, not {want}",
            function.name(),
            y[0]
        );
        if f64::from(x as f32) == x {
            let mut y = [0.0f32];
            // SAFETY: one element each.
            unsafe { unary_f32(function)(1, [x as f32].as_ptr(), y.as_mut_ptr()) };
            assert!(ulps(y[0], want) <= 2.2, "{}({x}) = {}, not {want}", function.name(), y[0]);
        }
    }
}

#[test]
fn special_values() {
    let (nan, inf, min) = (f32::NAN, f32::INFINITY, 1e-45f32);
    let ln2 = std::f32::consts::LN_2;
    let cases: [(Function, &[(f32, f32)]); 15] = [
        (
            Function::Exp,
            &[(0.0, 1.0), (-0.0, 1.0), (inf, inf), (-inf, 0.0), (89.0, inf), (-104.0, 0.0), (-103.0, min), (min, 1.0)],
        ),
        (
            Function::Expm1,
            &[(0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -1.0), (-50.0, -1.0), (89.0, inf), (min, min), (-min, -min)],
        ),
        (
            Function::Log,
            &[(1.0, 0.0), (0.0, -inf), (-0.0, -inf), (-1.0, nan), (-inf, nan), (inf, inf), (min, -103.278_93)],
        ),
        (
            Function::Log1p,
            &[
                (0.0, 0.0),
                (-0.0, -0.0),
                (-1.0, -inf),
                (-1.5, nan),
                (-inf, nan),
                (inf, inf),
                (min, min),
                (-min, -min),
                (f32::MAX, 88.722_84),
            ],
        ),
        (
            Function::Tanh,
            &[(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (20.0, 1.0), (-20.0, -1.0), (min, min), (-min, -min)],
        ),
        (
            Function::Sigmoid,
            &[(0.0, 0.5), (-0.0, 0.5), (inf, 1.0), (-inf, 0.0), (100.0, 1.0), (-103.0, min), (-104.0, 0.0)],
        ),
        (Function::Softplus, &[(0.0, ln2), (inf, inf), (-inf, 0.0), (100.0, 100.0), (-103.0, min)]),
        (Function::Erf, &[(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (5.0, 1.0), (-5.0, -1.0), (min, min)]),
        (Function::Sin, &[(0.0, 0.0), (-0.0, -0.0), (inf, nan), (-inf, nan), (min, min)]),
        (Function::Cos, &[(0.0, 1.0), (-0.0, 1.0), (inf, nan), (-inf, nan), (min, 1.0)]),
        (Function::Sqrt, &[(0.0, 0.0), (-0.0, -0.0), (inf, inf), (-1.0, nan), (4.0, 2.0)]),
        (Function::Rsqrt, &[(0.0, inf), (-0.0, -inf), (inf, 0.0), (-1.0, nan), (4.0, 0.5)]),
        (Function::Lgamma, &[(1.0, 0.0), (2.0, 0.0), (0.0, inf), (-1.0, inf), (inf, inf), (-inf, inf)]),
        (Function::Digamma, &[(0.0, nan), (-1.0, nan), (-inf, nan), (inf, inf)]),
        (Function::Trigamma, &[(0.0, inf), (-1.0, inf), (-inf, nan), (inf, 0.0)]),
    ];
    for (function, values) in cases {
        for &(x, want) in values.iter().chain(&[(nan, nan)]) {
            for isa in Isa::available() {
                // Among ordinary neighbours, so that both paths meet it.
                let mut y = [0.5, x, 0.5];
                // SAFETY: three elements, in place.
                with_isa(isa, || unsafe { unary_f32(function)(3, y.as_ptr(), y.as_mut_ptr()) });
                let same = y[1].to_bits() == want.to_bits() || (y[1].is_nan() && want.is_nan());
                assert!(same, "{}({x}) = {}, not {want}, on {}", function.name(), y[1], isa.name());
                let mut y = [f64::from(x)];
                // SAFETY: one element, in place.
                unsafe { unary_f64(function)(1, y.as_ptr(), y.as_mut_ptr()) };
                if want.is_nan() || want.is_infinite() && x.is_infinite() || want == 0.0 && x == 0.0 {
                    let want = f64::from(want);
                    assert!(
                        y[0].to_bits() == want.to_bits() || (y[0].is_nan() && want.is_nan()),
                        "f64 {}({x}) = {}",
                        function.name(),
                        y[0]
                    );
                }
            }
        }
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let mut x: Vec<f32> = whole_range().into_iter().step_by(7).collect();
    x.extend(between(-12.0, 12.0, 50_001));
    x.push(f32::NAN);
    let wide: Vec<f64> = x.iter().map(|&x| f64::from(x) * 1.000_000_000_1).collect();
    for function in Function::ALL {
        let run = |isa| {
            with_isa(isa, || {
                let (mut y, mut z) = (vec![0.0f32; x.len()], vec![0.0f64; x.len()]);
                // SAFETY: all hold n elements.
                unsafe {
                    unary_f32(function)(x.len(), x.as_ptr(), y.as_mut_ptr());
                    unary_f64(function)(wide.len(), wide.as_ptr(), z.as_mut_ptr());
                }
                (y, z)
            })
        };
        let (y, z) = run(Isa::Portable);
        for isa in Isa::available() {
            let (y2, z2) = run(isa);
            assert!(same_bits(&y, &y2), "{} in f32 on {}", function.name(), isa.name());
            let same = z.iter().zip(&z2).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()));
            assert!(same, "{} in f64 on {}", function.name(), isa.name());
        }
    }
    let exponents: Vec<f32> = x.iter().rev().map(|y| y % 40.0).collect();
    let positive: Vec<f32> = x.iter().map(|x| x.abs()).collect();
    let run = |isa| {
        let mut z = vec![0.0; x.len()];
        with_isa(isa, || pow_f32(&positive, &exponents, &mut z));
        z
    };
    let z = run(Isa::Portable);
    for isa in Isa::available() {
        assert!(same_bits(&z, &run(isa)), "pow on {}", isa.name());
    }
}

#[test]
fn a_value_does_not_depend_on_its_neighbours_or_place() {
    // Ordinary values beside every special one.
    let x: Vec<f32> =
        (0..97)
            .map(|i| {
                if i % 11 == 0 {
                    [1e-41, -3e6, 1e38, f32::NAN, 95.0, 0.0][i / 11 % 6]
                } else {
                    (i as f32 - 48.0) * 0.37
                }
            })
            .collect();
    for function in Function::ALL {
        let call = |x: &[f32]| {
            let mut y = vec![0.0; x.len()];
            // SAFETY: both hold n elements.
            unsafe { unary_f32(function)(x.len(), x.as_ptr(), y.as_mut_ptr()) };
            y
        };
        let whole = call(&x);
        for i in 0..x.len() {
            assert!(same_bits(&whole[i..=i], &call(&x[i..=i])), "{} at {i}", function.name());
        }
        for (from, to) in [(0, 16), (1, 17), (3, 36), (5, 96), (0, 0)] {
            assert!(same_bits(&whole[from..to], &call(&x[from..to])), "{} on {from}..{to}", function.name());
        }
        let mut in_place = x.clone();
        // SAFETY: n elements, in place.
        unsafe { unary_f32(function)(in_place.len(), in_place.as_ptr(), in_place.as_mut_ptr()) };
        assert!(same_bits(&whole, &in_place), "{} in place", function.name());
    }
}

#[test]
fn names_lead_to_entries() {
    for function in Function::ALL {
        assert_eq!(Function::from_name(function.name()), Some(function));
        assert_eq!(arguments(function.name()), Some(1));
        assert_eq!(entry(function.name(), Float::F32), Some(unary_f32(function) as *const u8));
        assert_ne!(entry(function.name(), Float::F32), entry(function.name(), Float::F64));
    }
    assert_eq!(arguments("pow"), Some(2));
    assert!(entry("pow", Float::F32).is_some() && entry("pow", Float::F64).is_some());
    assert_eq!(entry("gamma", Float::F32), None);
    assert_eq!(arguments("gamma"), None);
}
