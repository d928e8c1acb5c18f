//! Random numbers: what a draw varies with, that distributions are what they say, and the initial values.

mod support;

use bdl_elaborate::entry_init;
use bdl_equations::interpret::{World, interpret};
use support::{Hashed, checked, outputs};

/// One example without inputs that matter.
fn drawn(program: &str, name: &str) -> Vec<f64> {
    outputs(program, true, &[("x", &[1], &[0.0])])[name][0].data.clone()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    let m = mean(values);
    mean(&values.iter().map(|v| (v - m) * (v - m)).collect::<Vec<_>>())
}

#[test]
fn draws_have_their_distributions() {
    let program = "fn M(x: f32) -> (n: f32[4000], u: f32[4000], b: f32[4000], k: f32[4000], p: index(9)[9]) {
        (n: normal[4000], u: uniform[4000], b: for i < 4000: if bernoulli(0.3) then 1 else 0,
         k: for i < 4000: if below(5) == 2 then 1 else 0, p: permutation(9))
    }";
    let of = |name| drawn(program, name);
    assert!(mean(&of("n")).abs() < 0.05 && (variance(&of("n")) - 1.0).abs() < 0.08);
    assert!((mean(&of("u")) - 0.5).abs() < 0.02 && (variance(&of("u")) - 1.0 / 12.0).abs() < 0.005);
    assert!((mean(&of("b")) - 0.3).abs() < 0.03);
    assert!((mean(&of("k")) - 0.2).abs() < 0.03);
    let mut order = of("p");
    order.sort_by(f64::total_cmp);
    assert_eq!(order, (0..9).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn a_choice_follows_its_probabilities() {
    let program = "fn M(x: f32) -> f32[4000, 3] {
        let p[k < 3] = if k == 0 then 0.5 else if k == 1 then 0.2 else 0.3
        let c = categorical(p)[4000]
        for i, k < 3: if c[i] == k then 1 else 0
    }";
    let hot = drawn(program, "y");
    for (k, p) in [0.5, 0.2, 0.3].into_iter().enumerate() {
        let share = mean(&hot.iter().skip(k).step_by(3).copied().collect::<Vec<_>>());
        assert!((share - p).abs() < 0.03, "{k}: {share}");
    }
}

#[test]
fn dropout_keeps_the_mean_and_is_off_outside_training() {
    let program = "fn M(x: f32) -> f32[4000] { (for i < 4000: 2 + x) |> dropout(0.25) }";
    let values = drawn(program, "y");
    assert!(values.iter().all(|v| *v == 0.0 || (v - 2.0 / 0.75).abs() < 1e-12));
    assert!((mean(&values) - 2.0).abs() < 0.06);
    let off = outputs(program, false, &[("x", &[1], &[0.0])])["y"][0].data.clone();
    assert!(off.iter().all(|v| *v == 2.0));
}

/// A draw varies with the `for` indices around it, with what its call depends on, and with the example; a named one is one draw.
#[test]
fn a_draw_belongs_to_its_binding() {
    let program = "fn noise(x: f32) -> f32 { x + uniform() }
    fn M(x: f32) -> (here: f32[3], called: f32[3], once: f32[3], twice: f32) {
        let z = uniform()
        (here: for i < 3: uniform(), called: for i < 3: noise(i + 0 * x) - i, once: for i < 3: noise(x) + 0 * i, twice: z - z)
    }";
    let found = outputs(program, true, &[("x", &[2], &[0.0, 0.0])]);
    let differ = |v: &[f64]| v[0] != v[1] && v[1] != v[2] && v[0] != v[2];
    assert!(differ(&found["here"][0].data), "{:?}", found["here"]);
    assert!(differ(&found["called"][0].data), "{:?}", found["called"]);
    assert!(found["once"][0].data.iter().all(|v| *v == found["once"][0].data[0]));
    assert_eq!(found["twice"][0].data, [0.0]);
    assert_ne!(found["here"][0], found["here"][1], "examples draw their own numbers");
}

/// Every initial value: spread, limits, structure.
#[test]
fn initial_values() {
    let init = |call: &str, shape: &str| {
        let program = format!(
            "layer P()(x: f32[2]) -> f32[{shape}] {{ param w: f32[{shape}] = {call}; w }}
            model M(x: f32[2]) -> f32[{shape}] {{ x |> P() }}"
        );
        let hir = checked("init.bdl", &program, &["M"], &[]).unwrap_or_else(|messages| panic!("{messages}"));
        let made = entry_init(&hir, &hir.entries[0]).unwrap_or_else(|d| panic!("{}", d.message));
        bdl_equations::verify(&made).unwrap();
        let mut world = World::new();
        world.draws(&Hashed);
        interpret(&made, &world).unwrap().output(&made.outputs[0].0).unwrap().flat()
    };
    let spread = |call: &str, wanted: f64| {
        let values = init(call, "60, 50");
        assert!(mean(&values).abs() < 0.1 * wanted.sqrt() && (variance(&values) / wanted - 1.0).abs() < 0.1, "{call}");
    };
    spread("he_normal(fan_in: 60)", 2.0 / 60.0);
    spread("he_uniform(fan_in: 60)", 2.0 / 60.0);
    spread("fan_in_uniform(fan_in: 60)", 1.0 / 180.0);
    spread("glorot_normal(fan_in: 60, fan_out: 50)", 2.0 / 110.0);
    spread("glorot_uniform(fan_in: 60, fan_out: 50)", 2.0 / 110.0);
    spread("lecun_normal(fan_in: 60)", 1.0 / 60.0);
    spread("normal_init(0.5)", 0.25);
    spread("uniform_init(0.5)", 0.25 / 3.0);
    assert!(init("constant_init(1.5)", "4").iter().all(|v| *v == 1.5));
    assert!(init("zeros", "4").iter().all(|v| *v == 0.0) && init("ones", "4").iter().all(|v| *v == 1.0));
    let near = init("identity_plus_noise(0.01)", "5, 5");
    assert!(near.iter().enumerate().all(|(n, v)| (v - f64::from(n % 6 == 0)).abs() < 0.06 && *v != 0.0));
    // Columns of an orthogonal matrix, also when its rows are several axes.
    let columns = init("orthogonal", "3, 2, 4");
    for i in 0..4 {
        for j in 0..4 {
            let product: f64 = (0..6).map(|r| columns[4 * r + i] * columns[4 * r + j]).sum();
            assert!((product - f64::from(i == j)).abs() < 1e-12, "{i} {j}: {product}");
        }
    }
}
