//! Elaboration of HIR that is written down here: what becomes an equation, over which indices, and what it is worth.

#![allow(clippy::cloned_ref_to_slice_refs)] // shapes of one axis are written like those of several

use bdl_check::hir::*;
use bdl_dims::Dim;
use bdl_elaborate::entry;
use bdl_equations::interpret::{Array, World, interpret};
use bdl_equations::{batch, text, verify};
use bdl_grammar::Span;

fn ty(shape: &[Dim]) -> Type {
    let axis = |size: &Dim| Axis { size: size.clone(), names: None, origin: None };
    Type::Tensor(TensorType { scalar: Scalar::F32, optional: false, shape: shape.iter().map(axis).collect() })
}

fn e(kind: ExprKind, shape: &[Dim]) -> Expr {
    Expr { kind, ty: ty(shape), span: Span::default() }
}

fn local(id: u32, shape: &[Dim]) -> Expr {
    e(ExprKind::Local(LocalId(id)), shape)
}

fn at(base: Expr, subs: Vec<Sub>) -> Expr {
    e(ExprKind::Subscript { base: Box::new(base), subs }, &[])
}

fn sub(terms: &[(u32, i64)], offset: i64, outside: Outside) -> Sub {
    let terms = terms.iter().map(|(i, c)| (IndexId(*i), *c)).collect();
    Sub::Affine { terms, offset: offset.into(), outside }
}

fn i(index: u32) -> Sub {
    sub(&[(index, 1)], 0, Outside::Never)
}

fn reduce(op: Reduction, indices: &[u32], body: Expr) -> Expr {
    let indices = indices.iter().map(|i| IndexId(*i)).collect();
    e(ExprKind::Reduce { op, indices, filter: None, default: None, body: Box::new(body) }, &[])
}

fn binary(op: BinaryOp, a: Expr, b: Expr) -> Expr {
    e(ExprKind::Binary(op, Box::new(a), Box::new(b)), &[])
}

fn each(indices: &[u32], shape: &[Dim], body: Expr) -> Expr {
    e(ExprKind::For { indices: indices.iter().map(|i| IndexId(*i)).collect(), body: Box::new(body) }, shape)
}

fn function(inputs: &[&[Dim]], indices: &[(&str, Dim)], body: Expr) -> Function {
    let locals = inputs.iter().enumerate();
    let locals = locals.map(|(n, shape)| Local { name: format!("x{n}").into(), ty: ty(shape), span: Span::default() });
    let index = |(name, size): &(&str, Dim)| IndexVar {
        name: (*name).into(),
        kind: if *name == "batch" { IndexKind::Batch } else { IndexKind::Range(size.clone()) },
        span: Span::default(),
    };
    Function {
        name: "f".into(),
        shown: "f".into(),
        path: None,
        locals: locals.collect(),
        indices: indices.iter().map(index).collect(),
        inputs: (0..inputs.len() as u32).map(LocalId).collect(),
        body,
        updates: Vec::new(),
        span: Span::default(),
    }
}

fn run(function: Function, inputs: &[(&[usize], &[f64])], sizes: &[(&str, SizeKind, i64)]) -> (Vec<f64>, String) {
    let sizes_of = sizes.iter().map(|(n, k, _)| ((*n).into(), *k)).collect();
    let hir = Hir { functions: vec![function], sizes: sizes_of, ..Hir::default() };
    let asked = Entry { name: "f".into(), function: FunctionId(0), store: Store::default() };
    let program = entry(&hir, &asked, true).unwrap_or_else(|d| panic!("{}", d.message));
    verify(&program).unwrap_or_else(|error| panic!("{error}\n{}", text::print(&program)));
    let batched = batch(&program);
    verify(&batched).unwrap_or_else(|error| panic!("{error}\n{}", text::print(&batched)));
    let mut world = World::new();
    world.examples(vec![sizes.iter().map(|(n, _, v)| (*n, *v)).collect()]);
    for (n, (shape, data)) in inputs.iter().enumerate() {
        let value = vec![Array::new(*shape, *data)];
        world.set(&format!("x{n}"), bdl_equations::interpret::Value::PerExample(value));
    }
    let printed = text::print(&program);
    let values = interpret(&batched, &world).unwrap_or_else(|error| panic!("{error}\n{}", text::print(&batched)));
    (values.output("y").unwrap().flat(), printed)
}

/// y[t] = sum[k] x[t + k - 1 else 0] * w[k]
#[test]
fn a_guarded_convolution_is_one_equation() {
    let (t, k) = (Dim::var("T"), Dim::from(3));
    let x = at(
        local(0, std::slice::from_ref(&t)),
        vec![sub(&[(0, 1), (1, 1)], -1, Outside::Else(Box::new(e(ExprKind::Number(0.0), &[]))))],
    );
    let w = at(local(1, std::slice::from_ref(&k)), vec![i(1)]);
    let body = each(&[0], &[t.clone()], reduce(Reduction::Sum, &[1], binary(BinaryOp::Mul, x, w)));
    let f = function(&[&[t.clone()], &[k.clone()]], &[("t", t), ("k", k)], body);
    let (y, text) =
        run(f, &[(&[4], &[1.0, 2.0, 3.0, 4.0]), (&[3], &[1.0, 10.0, 100.0])], &[("T", SizeKind::PerExample, 4)]);
    assert_eq!(y, [210.0, 321.0, 432.0, 43.0], "{text}");
    assert_eq!(text.matches(" = sum[").count(), 1, "{text}");
}

/// for i: sum[j] x[i] * logsumexp[k] z[k]: what does not depend on i is computed once.
#[test]
fn a_reduction_runs_over_what_it_mentions() {
    let n = Dim::from(2);
    let inner = reduce(Reduction::Logsumexp, &[1], at(local(1, std::slice::from_ref(&n)), vec![i(1)]));
    let body =
        each(&[0], &[n.clone()], binary(BinaryOp::Mul, at(local(0, std::slice::from_ref(&n)), vec![i(0)]), inner));
    let f = function(&[&[n.clone()], &[n.clone()]], &[("i", n.clone()), ("k", n)], body);
    let (y, text) = run(f, &[(&[2], &[1.0, 2.0]), (&[2], &[1000.0, 1000.0])], &[]);
    let lse = 1000.0 + 2f64.ln();
    assert_eq!(y, [lse, 2.0 * lse], "{text}");
}

/// for c: mean[batch, t] x[t, c] over examples of different lengths is the mean over all positions.
#[test]
fn a_mean_over_the_batch_counts_positions() {
    let (t, c) = (Dim::var("T"), Dim::from(1));
    let x = at(local(0, &[t.clone(), c.clone()]), vec![i(1), i(2)]);
    let body = each(&[2], std::slice::from_ref(&c), reduce(Reduction::Mean, &[0, 1], x));
    let f = function(&[&[t.clone(), c.clone()]], &[("batch", Dim::zero()), ("t", t), ("c", c)], body);
    let hir = Hir { functions: vec![f], sizes: vec![("T".into(), SizeKind::PerExample)], ..Hir::default() };
    let asked = Entry { name: "f".into(), function: FunctionId(0), store: Store::default() };
    let program = batch(&entry(&hir, &asked, true).unwrap());
    verify(&program).unwrap_or_else(|error| panic!("{error}\n{}", text::print(&program)));
    let mut world = World::new();
    world.examples(vec![vec![("T", 1)], vec![("T", 3)]]);
    let values = vec![Array::new([1, 1], [5.0]), Array::new([3, 1], [1.0, 2.0, 4.0])];
    world.set("x0", bdl_equations::interpret::Value::PerExample(values));
    let found = interpret(&program, &world).unwrap_or_else(|error| panic!("{error}\n{}", text::print(&program)));
    assert_eq!(found.output("y").unwrap().flat(), [3.0], "{}", text::print(&program));
}
