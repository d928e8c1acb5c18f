//! Small programs that once gave other numbers than the interpreter, each found by a random one (`random.rs`).

mod support;

use bdl_equations as eq;
use support::{Numbers, batch, lengths, parse, same, same_program};

/// The program, simplified as for training, with the gradient of `loss` by each of these as outputs.
fn with_gradients(text: &str, by: &[&str]) -> eq::Program {
    let mut program = parse(text);
    let loss = program.find("loss").unwrap();
    let ids: Vec<eq::TensorId> = by.iter().map(|name| program.find(name).unwrap()).collect();
    let gradients = eq::differentiate(&mut program, loss, &ids).unwrap_or_else(|e| panic!("{e}"));
    for (name, gradient) in by.iter().zip(gradients) {
        program.outputs.push((format!("d_{name}").as_str().into(), gradient));
    }
    eq::simplify(&mut program);
    program
}

/// What the steps of an outer loop leave lay where each step makes the values of an inner one.
#[test]
fn what_a_step_leaves_does_not_lie_where_the_next_one_works() {
    let text = "program left
        size s step
        size t step
        param w: real[3]
        value h0: real
        value h: real
        value h1: real
        value h2: real
        value k0: real
        value k: real
        value k1: real
        value k2: real
        value ks: real[3]
        value all: real[3]
        h0 = w[0]
        scan s < 3 {
          carry h from h0 next h1 last h2
          k0 = h * w[1]
          scan t < 3 {
            carry k from k0 next k1 last k2
            k1 = sin(k + w[@t])
            stack k as ks
          }
          h1 = ks[@s] + w[2]
          stack h1 as all
        }
        output all = all";
    same(text, &Numbers { examples: vec![Vec::new()], ..Numbers::default() });
}

/// A row that a kernel overwrote (the cosine lies where its argument did) was taken to be what it was.
#[test]
fn what_a_kernel_overwrites_is_loaded_again() {
    let text = "program rows
        size N built
        param w: real[N]
        param v: real[1]
        value x: real[N, 1]
        value s: real[N]
        value c: real[N, 1]
        value d: real[N]
        value e: real[1, N]
        value y: real
        value z: real
        x[i < N, j < 1] = 2 * w[i + j] * v[j]
        s[i < N] = sin(x[i, 0])
        c[i < N, j < 1] = cos(x[i, j])
        d[i < N] = c[i, 0] * v[0]
        e[j < 1, i < N] = c[i, j] * w[j + i]
        y = sum[i < N] s[i] * 4
        z = sum[j < 1, i < N] e[j, i]
        output d = d
        output y = y
        output z = z";
    same(text, &Numbers { examples: vec![Vec::new()], built: vec![("N", 3)], ..Numbers::default() });
}

/// An index of an example's rows that stands on another axis was taken for the row.
#[test]
fn a_row_is_counted_on_its_own_axis() {
    let text = "program axes
        size B batch
        size T example
        input x: real[B, T, 1, 4] per example
        value z: real[B, T, 1]
        value y: real[B, T]
        z[b < B, i < T, k < 1] = tanh(x[b, 1, k, i else 0.5])
        y[b < B, i < T] = x[b, i, 0, i else 0.5]
        output z = z
        output y = y";
    same(text, &lengths("T", &[2, 4, 1, 6]));
}

/// The same in a sum over the rows of a key, which are found in the order of the keys.
#[test]
fn a_row_of_a_key_is_counted_on_its_own_axis() {
    let text = "program keys
        size B batch
        size T example
        input x: real[B, T, 2] per example
        input key: i32[B, T] per example
        value a: real[B, T, 2]
        value z: real[B, 3]
        a[b < B, t < T, i < 2] = x[b, t, i] * x[b, t, i]
        z[b < B, j < 3] = sum[i < T if j == key[b, i]] x[b, i, 0] + a[b, 0, i else 0.25]
        output z = z";
    same(text, &lengths("T", &[1, 3, 5, 2]));
}

/// The derivative of a read at place 1, which only a filter says is there, was written at place 1 of examples that have none.
#[test]
fn a_derivative_stays_inside_a_short_example() {
    let text = "program short
        size B batch
        size T example
        input x: real[B, 4, T] per example
        param w: real
        value v: real[B, 4, T]
        value y: real[B]
        value loss: real
        v[b < B, i < 4, j < T] = x[b, i, j] * w
        y[b < B] = sum[s < 4 if T - 2 - s >= 0] sin(v[b, s, 1 else 0]) * x[b, s, 0]
        loss = sum[b < B] y[b]
        output loss = loss";
    for lengths_of in [&[1, 2, 4][..], &[3, 1, 1, 2], &[1]] {
        same_program(&with_gradients(text, &["w", "x"]), &lengths("T", lengths_of));
    }
}

/// Steps that a loop did not run, whose kept values are 0, were divided by in what is worked out after it.
#[test]
fn steps_that_are_not_run_are_not_divided_by() {
    let text = "program early
        size B batch
        size n step
        param w: real[9]
        input a: real[B] per example
        value x0: real[B]
        value x: real[B]
        value done: bool[B]
        value r: real[B]
        value x1: real[B]
        value root: real[B]
        value loss: real
        x0[b < B] = 2 + a[b]
        iterate n < 9 until done {
          carry x from x0 next x1 last root
          condition {
            done[b < B] = x[b] < 0.4
          }
          r[b < B] = sqrt(x[b] * x[b] + w[@n] * w[@n])
          x1[b < B] = r[b] * 0.5
        }
        loss = sum[b < B] root[b] * root[b]
        output loss = loss";
    let power = text.replace("sqrt(x[b] * x[b] + w[@n] * w[@n])", "pow(x[b] * (1 + w[@n] * w[@n]), 0.5)");
    for (text, count) in [(text, 1), (text, 3), (&*power, 3)] {
        let program = with_gradients(text, &["w", "a"]);
        let numbers = batch(count);
        let plan = same_program(&program, &numbers);
        let found = support::run(&program, &plan, &numbers, 1, &["d_w"]);
        assert!(found.iter().flat_map(|(_, values)| values).all(|x| x.is_finite()), "{found:?}");
    }
}

/// A loop that each example ends by itself has no number of steps that all share.
#[test]
fn an_iteration_of_the_examples_own_lengths_is_differentiated() {
    let text = "program own
        size B batch
        size T example
        size n step
        param w: real
        input a: real[B] per example
        input g: real[B, T] per example
        value x0: real[B]
        value x: real[B]
        value done: bool[B]
        value x1: real[B]
        value root: real[B]
        value loss: real
        x0[b < B] = 2 + a[b]
        iterate n < T until done {
          carry x from x0 next x1 last root
          condition {
            done[b < B] = x[b] < 0.4
          }
          x1[b < B] = sqrt(x[b] * x[b] + w * w) * 0.5 + x[b] / (w * w + g[b, @n] * g[b, @n] + 4)
        }
        loss = sum[b < B] root[b] * root[b]
        output loss = loss";
    same_program(&with_gradients(text, &["w", "g"]), &lengths("T", &[3, 9, 1, 5]));
}

/// A filter that reads with data stood before the one that says that the data are in range.
#[test]
fn data_are_checked_before_they_are_read_with() {
    let text = "program winners
        size B batch
        size T example
        param w: real[2]
        input key: i32[B, 2] per example
        value y: real[2]
        value loss: real
        y[i < 2] = max[b < B, k < T, m < 2 if i == key[b, m] else 0.25] w[m] * w[m] - 0.1 * number(k)
        loss = y[0] * y[0] + 2 * y[1]
        output loss = loss";
    let program = with_gradients(text, &["w"]);
    let numbers = Numbers { below: vec![("key", 2)], ..lengths("T", &[3, 1, 2]) };
    same_program(&program, &numbers);
    // In the interpreter a key that is no group's drops its points.
    let mut world = eq::interpret::World::new();
    world.examples(vec![vec![("T", 2)]]);
    world.set("w", eq::interpret::Value::Shared(eq::interpret::Array::new(vec![2], vec![0.5, 1.5])));
    let keys = eq::interpret::Array::new(vec![2], vec![2.0, 1.0]);
    world.set("key", eq::interpret::Value::PerExample(vec![keys]));
    let values = eq::interpret::interpret(&program, &world).unwrap();
    assert_eq!(values.output("d_w").unwrap().flat(), [0.0, 6.0]);
}

/// What takes the first rows of a value in pieces was computed for all of its rows, and written behind its own.
#[test]
fn the_first_rows_of_a_value_in_pieces_are_no_more() {
    let text = "program first
        size B batch
        input x: real[B, 6, 2] per example
        value h: real[B, 12, 2]
        value y: real[B, 5, 2]
        value z: real[B, 12, 2]
        value k: real[B, 12, 2]
        h[b, 2 * t, c for b < B, t < 6, c < 2] = x[b, t, c] * 2
        also h[b, 2 * t + 1, c for b < B, t < 6, c < 2] = x[b, t, c] * 3
        y[b < B, t < 5, c < 2] = tanh(h[b, t, c])
        k[b, 2 * t, c for b < B, t < 6, c < 2] = x[b, t, c] * 4
        also k[b, 2 * t + 1, c for b < B, t < 6, c < 2] = x[b, t, c] * 5
        z[b < B, t < 12, c < 2] = tanh(k[b, t, c])
        output y = y
        output z = z";
    let plan = same(text, &batch(3));
    // One that takes all of them is computed in the same pieces, and the value itself is not there.
    assert!(plan.buffers.iter().any(|b| &*b.name == "h") && !plan.buffers.iter().any(|b| &*b.name == "k"), "{plan}");
}

/// A read that is guarded by all three indices of a product of matrices, one of which moves it nowhere (its last axis has one place): a GPU had no
/// kernel for that.
#[test]
fn a_guard_of_every_product_is_no_products_of_matrices_on_a_gpu() {
    let text = "program band
        param x: real[4, 4]
        param y: real[4, 4, 1]
        value d: real[14, 5]
        d[i < 14, j < 5] = sum[k < 4] x[k, i - 3 * k - 1 else 0] * y[k, i - 3 * k - 1, j + 3 * k - i else 0]
        output d = d";
    let numbers = Numbers { examples: vec![Vec::new()], ..Numbers::default() };
    let is_contraction = |plan: &bdl_plan::Plan| plan.to_string().contains("contract");
    assert!(is_contraction(&same(text, &numbers)));
    let program = parse(text);
    let options = bdl_schedule::Options { real: bdl_schedule::Real::F32, target: bdl_schedule::Target::Gpu };
    let plan = bdl_schedule::schedule(&program, &options).unwrap();
    assert!(!is_contraction(&plan), "{plan}");
    bdl_ptx::compile(&plan, bdl_ptx::Wanted::default(), &|_| Vec::new()).unwrap_or_else(|e| panic!("{e}"));
}

/// A key that a filter over the sum's index says is there was read before the sum, for places where it is not.
#[test]
fn a_key_is_read_where_the_filter_lets_it() {
    let text = "program keyed
        size N built
        param w: real[2]
        param y: real[N, 6]
        input key: i32[3]
        value d: real[N, 6]
        d[k < N, j < 6] = sum[i < 2 if -2 * k - i >= 0 and j == key[-k]] w[i] * y[k, j]
        output d = d";
    let numbers =
        Numbers { examples: vec![Vec::new()], built: vec![("N", 5)], below: vec![("key", 6)], ..Numbers::default() };
    same(text, &numbers);
}

/// That the rows of `w` are read by stays inside of them followed from the limit of the inner index; which became a question to data, read outside.
#[test]
fn a_bound_on_what_becomes_data_still_bounds_the_rest() {
    let text = "program winners
        param w: real[6]
        param v: real[2]
        value y: real[4]
        value loss: real
        y[i < 4] = min[k < 3, m < 2 if 2 * m - i >= 0 else 0.25] w[i + k] * v[m]
        loss = sum[i < 4] sin(y[i])
        output loss = loss";
    let numbers = Numbers { examples: vec![Vec::new()], ..Numbers::default() };
    same_program(&with_gradients(text, &["w", "v"]), &numbers);
}
