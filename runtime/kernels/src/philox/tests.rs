use super::*;

const KEY: DrawKey = DrawKey { seed: 42, step: 7, site: 3 };

#[test]
fn known_answers_of_random123() {
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    assert_eq!(
        philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
    );
}

#[test]
fn vectors_of_blocks_are_blocks_on_every_instruction_set() {
    use crate::isa::with_isa;
    let stream = Stream::new(KEY, 1 << 40 | 17);
    for first in [0, 5, u64::from(u32::MAX) - 3, FINER | 9] {
        let expected: Vec<u32> = (0..BLOCKS as u64).flat_map(|j| stream.block(first + j)).collect();
        for isa in Isa::available() {
            let mut words = [0; CHUNK];
            with_isa(isa, || stream.words(words_for_isa(), first, &mut words));
            assert_eq!(words[..], expected, "{} from {first}", isa.name());
        }
    }
}

#[test]
fn normal_draws_are_the_same_bits_on_every_instruction_set() {
    let run = |isa| {
        let mut out = vec![0.0f32; 1001];
        crate::isa::with_isa(isa, || fill_normal_f32(KEY, 3, 1, &mut out));
        out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let expected = run(Isa::Portable);
    assert!(Isa::available().all(|isa| run(isa) == expected));
    // A value is a format: it must never change.
    assert_eq!(expected[..4], [3211045972, 1059514303, 3214479015, 1058099446]);
}

/// Any way to cut a slice gives the same values.
fn assert_partition_free<T: Copy + Default + PartialEq + std::fmt::Debug>(fill: impl Fn(u64, &mut [T])) {
    let n = 3 * CHUNK + 5;
    let mut whole = vec![T::default(); n];
    fill(0, &mut whole);
    for start in [0, 1, 2, 3, 5, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3] {
        for len in [1, 2, 3, 7, CHUNK, CHUNK + 1] {
            if start + len <= n {
                let mut part = vec![T::default(); len];
                fill(start as u64, &mut part);
                assert_eq!(part, whole[start..start + len], "start {start} len {len}");
            }
        }
    }
}

#[test]
fn values_do_not_depend_on_the_partition() {
    assert_partition_free(|first, out: &mut [f32]| fill_uniform_f32(KEY, 9, first, out));
    assert_partition_free(|first, out: &mut [f64]| fill_uniform_f64(KEY, 9, first, out));
    assert_partition_free(|first, out: &mut [f32]| fill_normal_f32(KEY, 9, first, out));
    assert_partition_free(|first, out: &mut [f64]| fill_normal_f64(KEY, 9, first, out));
    assert_partition_free(|first, out: &mut [f32]| fill_bernoulli_f32(KEY, 9, first, 0.3, out));
    assert_partition_free(|first, out: &mut [i64]| fill_below(KEY, 9, first, 1000, out));
}

#[test]
fn every_part_of_the_key_matters() {
    let draw = |key: DrawKey, example: u64| {
        let mut out = [0.0f32; 8];
        fill_uniform_f32(key, example, 0, &mut out);
        out
    };
    let all = [
        draw(KEY, 0),
        draw(KEY, 1),
        draw(KEY, 1 << 32),
        draw(DrawKey { seed: 43, ..KEY }, 0),
        draw(DrawKey { seed: KEY.seed | 1 << 40, ..KEY }, 0),
        draw(DrawKey { step: 8, ..KEY }, 0),
        draw(DrawKey { step: KEY.step | 1 << 40, ..KEY }, 0),
        draw(DrawKey { site: 4, ..KEY }, 0),
    ];
    for i in 0..all.len() {
        for j in 0..i {
            assert!(all[i].iter().all(|x| !all[j].contains(x)), "{i} and {j} share values");
        }
    }
}

#[test]
fn f64_uniform_extends_f32_uniform() {
    let (mut a, mut b) = (vec![0.0f32; 1000], vec![0.0f64; 1000]);
    fill_uniform_f32(KEY, 0, 0, &mut a);
    fill_uniform_f64(KEY, 0, 0, &mut b);
    for (a, b) in a.iter().zip(&b) {
        let extra = b - f64::from(*a);
        assert!((0.0..5.97e-8).contains(&extra), "{a} {b}");
    }
    assert!(b.iter().any(|x| f64::from(*x as f32) != *x), "the further bits are used");
}

fn moments(x: &[f64]) -> [f64; 4] {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let central = |p: i32| x.iter().map(|x| (x - mean).powi(p)).sum::<f64>() / n;
    [mean, central(2), central(3), central(4)]
}

#[test]
fn uniform_has_its_moments() {
    let mut x = vec![0.0f64; 200_000];
    fill_uniform_f64(KEY, 0, 0, &mut x);
    assert!(x.iter().all(|x| (0.0..1.0).contains(x)));
    let [mean, variance, _, fourth] = moments(&x);
    // Five standard errors each.
    assert!((mean - 0.5).abs() < 5.0 * 0.289 / 447.0);
    assert!((variance - 1.0 / 12.0).abs() < 5.0 * 0.075 / 447.0);
    assert!((fourth - 1.0 / 80.0).abs() < 2e-4);
    // Every one of 64 bins near its expected count (3125, standard deviation 55).
    let mut bins = [0; 64];
    x.iter().for_each(|x| bins[(x * 64.0) as usize] += 1);
    assert!(bins.iter().all(|&c: &i32| (c - 3125).abs() < 5 * 56), "{bins:?}");
}

#[test]
fn normal_has_its_moments_and_tails() {
    let mut x = vec![0.0f32; 400_000];
    fill_normal_f32(KEY, 5, 0, &mut x);
    let y: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let [mean, variance, third, fourth] = moments(&y);
    assert!(mean.abs() < 5.0 / 632.0, "{mean}");
    assert!((variance - 1.0).abs() < 5.0 * 1.42 / 632.0, "{variance}");
    assert!(third.abs() < 5.0 * 3.9 / 632.0, "{third}");
    assert!((fourth - 3.0).abs() < 5.0 * 9.8 / 632.0, "{fourth}");
    let beyond = |z: f64| y.iter().filter(|y| y.abs() > z).count() as f64;
    assert!((beyond(1.0) - 126_924.0).abs() < 5.0 * 294.0);
    assert!((beyond(3.0) - 1079.9).abs() < 5.0 * 33.0);
    // Neighbours (one pair shares its radius) are uncorrelated.
    let pairs = y.chunks_exact(2).map(|p| p[0] * p[1]).sum::<f64>() / 200_000.0;
    assert!(pairs.abs() < 5.0 / 447.0, "{pairs}");
}

#[test]
fn f64_normal_is_near_f32_normal() {
    let (mut a, mut b) = (vec![0.0f32; 20_000], vec![0.0f64; 20_000]);
    fill_normal_f32(KEY, 0, 0, &mut a);
    fill_normal_f64(KEY, 0, 0, &mut b);
    for (a, b) in a.iter().zip(&b) {
        assert!((f64::from(*a) - b).abs() < 4e-6, "{a} {b}");
    }
}

#[test]
fn bernoulli_has_its_rate_and_its_ends() {
    let mut x = vec![0.0f32; 100_000];
    fill_bernoulli_f32(KEY, 0, 0, 0.1, &mut x);
    let ones = x.iter().sum::<f32>();
    assert!(x.iter().all(|&x| x == 0.0 || x == 1.0));
    assert!((ones - 10_000.0).abs() < 5.0 * 95.0, "{ones}");
    let mut y = vec![0.0f64; 100_000];
    fill_bernoulli_f64(KEY, 0, 0, 0.1, &mut y);
    assert!(x.iter().zip(&y).all(|(x, y)| f64::from(*x) == *y));
    for (p, expected) in [(0.0, 0.0), (-1.0, 0.0), (f64::NAN, 0.0), (1.0, 1.0), (2.0, 1.0)] {
        fill_bernoulli_f32(KEY, 0, 0, p, &mut x);
        assert!(x.iter().all(|&x| x == expected), "p = {p}");
    }
}

#[test]
fn below_covers_its_range_evenly() {
    let mut x = vec![0; 60_000];
    fill_below(KEY, 0, 0, 6, &mut x);
    let mut counts = [0; 6];
    x.iter().for_each(|&x| counts[x as usize] += 1);
    assert!(counts.iter().all(|&c: &i32| (c - 10_000).abs() < 5 * 92), "{counts:?}");
    assert_eq!(below(KEY, 0, 5, 6) as i64, x[5]);
    assert_eq!(below(KEY, 0, 5, 1), 0);
    assert_eq!(below(KEY, 0, 5, 0), 0);
}

#[test]
fn permutation_is_one_and_changes_with_the_epoch() {
    let a = permutation(1000, 1, 0);
    let mut seen = a.clone();
    seen.sort_unstable();
    assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    assert_eq!(a, permutation(1000, 1, 0));
    assert_ne!(a, permutation(1000, 1, 1));
    assert_ne!(a, permutation(1000, 2, 0));
    assert_eq!(permutation(0, 1, 0), Vec::<usize>::new());
    assert_eq!(permutation(1, 1, 0), [0]);
    // All six orders of three, about equally often.
    let mut counts = std::collections::HashMap::new();
    for epoch in 0..6000 {
        *counts.entry(permutation(3, 9, epoch)).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 6);
    assert!(counts.values().all(|&c: &i32| (c - 1000).abs() < 5 * 29), "{counts:?}");
}
