//! `iterate` before differentiation: the same loop as a `scan` of `at_most` steps in which finished examples keep their values.
//!
//! ```text
//! iterate n < 50 until done { .. next x = f(x) }
//! scan    n < 50            { .. next x = if done then x else f(x) }
//! ```
//!
//! Once `done` holds, the carried values no longer change and it keeps holding, so the last values are the same. The scan ends where it
//! holds for all examples, and so does its adjoint: both cost the steps of the example that needs most, not `at_most`. Only loops through
//! which a gradient flows are rewritten.

use crate::builder::PieceBuilder;
use crate::data::{Carried, DType, Ends, Equation, Expr, Iterate, Node, Program, Scan, TensorId};

pub(super) fn unroll_active(program: &mut Program, nodes: &mut [Node], active: &[bool]) {
    for node in nodes {
        match node {
            Node::Iterate(n) => {
                unroll_active(program, &mut n.body, active);
                if n.carried.iter().any(|c| active[c.last.0 as usize]) {
                    *node = Node::Scan(unrolled(program, n.clone()));
                }
            }
            Node::Scan(n) => unroll_active(program, &mut n.body, active),
            Node::Equation(_) | Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_) => {
            }
        }
    }
}

fn unrolled(program: &mut Program, iterate: Iterate) -> Scan {
    let mut body = iterate.condition;
    body.extend(iterate.body);
    let mut carried = Vec::new();
    let origin = iterate.origin.clone();
    let ends = ending(program, &mut body, iterate.until, &origin);
    for c in iterate.carried {
        let next = held(program, &mut body, &c, iterate.until, &iterate.origin);
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
        ends: Some(ends),
        origin: iterate.origin,
    }
}

/// The loop ends where no example goes on; the stop condition is a value of the body of its own.
fn ending(program: &mut Program, body: &mut Vec<Node>, until: TensorId, origin: &crate::Origin) -> Ends {
    let tensor = program.get(until).clone();
    let mut piece = PieceBuilder::new();
    let axes = piece.free_axes(&tensor.shape);
    let out = program.computed(&format!("{}_now", tensor.name), tensor.dtype, tensor.shape);
    let pieces = vec![piece.sum(Expr::read(until, axes))];
    body.push(Node::Equation(Equation { out, pieces, origin: origin.clone() }));
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
