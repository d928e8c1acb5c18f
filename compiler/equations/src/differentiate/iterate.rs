//! `iterate` before differentiation: the same loop as a `scan` of `at_most` steps in which finished examples keep their values.
//!
//! ```text
//! iterate n < 50 until done { .. next x = f(x) }
//! scan    n < 50            { .. next x = if done then x else f(x) }
//! ```
//!
//! Once `done` holds, the carried values no longer change and it keeps holding, so the last values are the same. The scan ends where it
//! holds for all examples, and so does its adjoint: both cost the steps of the example that needs most, not `at_most`. (Where `at_most` is a size of
//! the example, each runs its own number of steps.) Only loops through which a gradient flows are rewritten.
//!
//! A reduction over the batch takes the examples that still run, and with one in the loop `done` may cease to hold again (an example's own
//! values rest, the mean over the others does not). Such a loop carries which examples have stopped:
//!
//! ```text
//! iterate n < 50 until done { m = sum[b] x[b];  next x[b] = f(x[b], m) }
//! scan    n < 50 { carry stopped ..;  stopped' = stopped or done;  m = sum[b if not stopped'[b]] x[b];  next x[b] = if stopped'[b] then .. }
//! ```

use crate::builder::PieceBuilder;
use crate::data::{
    BinaryOp, Carried, CompareOp, Condition, DType, Ends, Equation, Expr, IndexId, Iterate, Node, Program, Scan,
    Tensor, TensorId, UnaryOp,
};
use crate::simplify::each_equation;

pub(super) fn unroll_active(program: &mut Program, nodes: Vec<Node>, active: &[bool]) -> Vec<Node> {
    let mut done = Vec::with_capacity(nodes.len());
    for node in nodes {
        let node = match node {
            Node::Iterate(mut n) => {
                n.body = unroll_active(program, n.body, active);
                if n.carried.iter().any(|c| active[c.last.0 as usize]) {
                    Node::Scan(unrolled(program, n, &mut done))
                } else {
                    Node::Iterate(n)
                }
            }
            Node::Scan(mut n) => {
                n.body = unroll_active(program, n.body, active);
                Node::Scan(n)
            }
            other @ (Node::Equation(_)
            | Node::Draw(_)
            | Node::View(_)
            | Node::Sort(_)
            | Node::Literal(_)
            | Node::Library(_)) => other,
        };
        done.push(node);
    }
    done
}

/// The loop as a scan; what it starts from goes to `before`.
fn unrolled(program: &mut Program, iterate: Iterate, before: &mut Vec<Node>) -> Scan {
    let origin = iterate.origin.clone();
    let (mut condition, mut rest) = (iterate.condition, iterate.body);
    let mut carried = Vec::new();
    let mut until = iterate.until;
    if program.is_per_example(until) && (over_batch(program, &mut condition) || over_batch(program, &mut rest)) {
        let stopped = stopping(program, before, until, &origin);
        among_running(program, &mut condition, stopped.inside);
        among_running(program, &mut rest, stopped.next);
        let either = |axes: Vec<IndexId>| {
            let [before, now] = [stopped.inside, until].map(|id| Expr::read(id, axes.iter().copied()));
            before.binary(BinaryOp::Or, now)
        };
        condition.push(equation(program, stopped.next, &either, &origin));
        until = stopped.next;
        carried.push(stopped);
    }
    let mut body = condition;
    body.extend(rest);
    // Where each example has its own bound, it ends there, holding its values until then.
    let is_shared = !program.is_per_example_size(&iterate.at_most);
    let ends = is_shared.then(|| ending(program, &mut body, until, &origin));
    for c in iterate.carried {
        let next = held(program, &mut body, &c, until, &iterate.origin);
        carried.push(Carried { next, ..c });
    }
    Scan {
        step: iterate.step,
        extent: iterate.at_most,
        reversed: false,
        carried,
        body,
        stacks: Vec::new(),
        checkpoint: None,
        ends,
        origin: iterate.origin,
    }
}

/// Is there a reduction over the batch, in loops inside of these too?
fn over_batch(program: &Program, nodes: &mut [Node]) -> bool {
    let mut found = false;
    each_equation(nodes, &mut |equation| found |= program.is_over_batch(equation));
    found
}

/// Which examples have stopped, carried from step to step: none at the start. What computes `next` is still to be written.
fn stopping(program: &mut Program, before: &mut Vec<Node>, until: TensorId, origin: &crate::Origin) -> Carried {
    let Tensor { name, shape, .. } = program.get(until).clone();
    let mut tensor = |what: &str| program.computed(&format!("{name}_{what}"), DType::Bool, shape.clone());
    let (start, inside) = (tensor("never"), tensor("before"));
    let (next, last) = (tensor("stopped"), tensor("last"));
    let never = |_| Expr::Const(0.0).compare(CompareOp::Ne, Expr::Const(0.0));
    before.push(equation(program, start, &never, origin));
    Carried { start, inside, next, last }
}

/// Reductions over the batch leave out the examples that have stopped.
fn among_running(program: &Program, nodes: &mut [Node], stopped: TensorId) {
    each_equation(nodes, &mut |equation| {
        for piece in &mut equation.pieces {
            let others: Vec<IndexId> = piece.bound_ids().filter(|i| program.is_batch(piece.range(*i))).collect();
            let runs = |b| Condition::Holds(Expr::read(stopped, [b]).unary(UnaryOp::Not));
            piece.filter.extend(others.into_iter().map(runs));
        }
    });
}

/// `out[axes] = value(axes)`
fn equation(program: &Program, out: TensorId, value: &dyn Fn(Vec<IndexId>) -> Expr, origin: &crate::Origin) -> Node {
    let mut piece = PieceBuilder::new();
    let axes = piece.free_axes(&program.get(out).shape);
    let pieces = vec![piece.sum(value(axes))];
    Node::Equation(Equation { out, pieces, origin: origin.clone() })
}

/// The loop ends where no example goes on; the stop condition is a value of the body of its own.
fn ending(program: &mut Program, body: &mut Vec<Node>, until: TensorId, origin: &crate::Origin) -> Ends {
    let tensor = program.get(until).clone();
    let out = program.computed(&format!("{}_now", tensor.name), tensor.dtype, tensor.shape);
    body.push(equation(program, out, &|axes| Expr::read(until, axes), origin));
    Ends::When { until: out, steps: program.computed(&format!("{}_steps", tensor.name), DType::I32, []) }
}

/// `if until then inside else next`.
fn held(program: &mut Program, body: &mut Vec<Node>, c: &Carried, until: TensorId, origin: &crate::Origin) -> TensorId {
    let tensor = program.get(c.inside).clone();
    let mut piece = PieceBuilder::new();
    let axes = piece.free_axes(&tensor.shape);
    let stop = if program.is_per_example(until) {
        Expr::read(until, axes.first().copied())
    } else {
        Expr::read(until, [0i64; 0])
    };
    let value = stop.select(Expr::read(c.inside, axes.iter().copied()), Expr::read(c.next, axes));
    let out = program.computed(&format!("{}_held", tensor.name), tensor.dtype, tensor.shape);
    body.push(Node::Equation(Equation { out, pieces: vec![piece.sum(value)], origin: origin.clone() }));
    out
}
