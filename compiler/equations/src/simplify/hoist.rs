//! Out of loops: what does not depend on carried values is computed before the loop.
//!
//! ```text
//! scan t < T { carry h ..;  xw[j] = sum[i] x[t, i] * w[i, j];  z[j] = xw[j] + sum[..] h[..] .. }
//!
//! xw_steps[t < T, j] = sum[i] x[t, i] * w[i, j]
//! scan t < T { carry h ..;  z[j] = xw_steps[t, j] + .. }
//! ```
//!
//! What depends on the step is computed for all steps at once, one contraction instead of T small ones; what does not is computed once.
//! Cheap point-wise equations that depend on the step are left where they are: storing them for all steps would only cost memory. In a
//! loop with `checkpoint` nothing is stored for all steps.
//!
//! A view of something from outside is computed once, too.
//!
//! Deliberately absent: moving loops out of loops, and draws.

use super::Pass;
use super::invariant::stays_inside;
use super::merge::rename;
use crate::data::{Affine, Carried, Ends, Equation, Expr, IndexId, Monoid, Node, Piece, Program, Scan, TensorId};
use crate::lift::{Steps, lift};
use bdl_dims::Dim;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

/// Moves invariant equations of every loop in front of it.
pub fn hoist(program: &mut Program) -> Pass {
    let nodes = std::mem::take(&mut program.nodes);
    let mut changes = 0;
    let nodes = hoist_in(program, nodes, &mut changes);
    program.nodes = nodes;
    changes
}

fn hoist_in(program: &mut Program, nodes: Vec<Node>, changes: &mut Pass) -> Vec<Node> {
    let mut done = Vec::with_capacity(nodes.len());
    for node in nodes {
        match node {
            Node::Scan(mut scan) => {
                scan.body = hoist_in(program, std::mem::take(&mut scan.body), changes);
                let before = from_scan(program, &mut scan);
                *changes += before.len();
                done.extend(before);
                done.push(Node::Scan(scan));
            }
            other @ (Node::Equation(_)
            | Node::Iterate(_)
            | Node::Draw(_)
            | Node::View(_)
            | Node::Sort(_)
            | Node::Literal(_)
            | Node::Library(_)) => done.push(other),
        }
    }
    done
}

fn from_scan(program: &mut Program, scan: &mut Scan) -> Vec<Node> {
    // What varies with the carried values, and may not leave.
    let mut bound: HashSet<TensorId> = scan.carried.iter().map(|c| c.inside).collect();
    let mut hoisted: HashMap<TensorId, TensorId> = HashMap::default();
    let mut once: HashMap<TensorId, TensorId> = HashMap::default();
    let mut before = Vec::new();
    let mut body = Vec::new();
    let ragged = program.is_per_example_size(&scan.extent);
    for node in std::mem::take(&mut scan.body) {
        let stays = match &node {
            Node::Equation(n) => {
                n.reads().iter().any(|r| bound.contains(&r.tensor)) || ragged && program.is_over_batch(n)
            }
            Node::View(n) => bound.contains(&n.input) || hoisted.contains_key(&n.input),
            Node::Scan(_) | Node::Iterate(_) | Node::Draw(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_) => {
                true
            }
        };
        let moved = match &node {
            Node::Equation(n) if !stays => move_out(program, scan, n, &hoisted, &once, &mut before),
            Node::View(n) if !stays => {
                let mut node = node.clone();
                rename(&mut node, &once);
                before.push(node);
                Some(Moved::Once(n.out, n.out))
            }
            Node::Equation(_)
            | Node::Scan(_)
            | Node::Iterate(_)
            | Node::Draw(_)
            | Node::View(_)
            | Node::Sort(_)
            | Node::Literal(_)
            | Node::Library(_) => None,
        };
        match moved {
            Some(Moved::Once(from, to)) => {
                once.insert(from, to);
            }
            Some(Moved::EachStep(from, to)) => {
                hoisted.insert(from, to);
            }
            None => {
                bound.extend(node.writes());
                body.push(node);
            }
        }
    }
    read_hoisted(program, scan, body, &hoisted, &once);
    before
}

enum Moved {
    /// The same at every step: computed once.
    Once(TensorId, TensorId),
    /// Computed for all steps at once.
    EachStep(TensorId, TensorId),
}

fn move_out(
    program: &mut Program,
    scan: &Scan,
    equation: &Equation,
    hoisted: &HashMap<TensorId, TensorId>,
    once: &HashMap<TensorId, TensorId>,
    before: &mut Vec<Node>,
) -> Option<Moved> {
    let tensor = program.get(equation.out).clone();
    let names_step = |piece: &Piece| {
        let mut found = piece.indices.iter().any(|i| i.range.mentions(&scan.step));
        piece.visit_affine(&mut |form| found |= form.mentions_size(&scan.step));
        found || piece.reads().iter().any(|r| hoisted.contains_key(&r.tensor))
    };
    let mut node = Node::Equation(equation.clone());
    if !equation.pieces.iter().any(names_step) {
        // A loop without steps never reads what might not be there.
        if !equation.pieces.iter().all(|p| stays_inside(program, p)) {
            return None;
        }
        rename(&mut node, once);
        before.push(node);
        return Some(Moved::Once(equation.out, equation.out));
    }
    let own = program.is_per_example(equation.out);
    let ragged = program.is_per_example_size(&scan.extent);
    let reduces = equation.pieces.iter().any(|p| p.bound() > 0 && p.monoid == Monoid::Sum);
    // A stack for all steps pays where the steps together are one contraction, and memory is not what matters most.
    // Of several examples, one may have no step where another one has.
    let several = |p: &Piece| p.ids().filter(|i| program.is_batch(p.range(*i))).count() > 1;
    let apart = ragged && (!own || equation.pieces.iter().any(several));
    if !reduces || scan.checkpoint.is_some() || apart || tensor.shape.iter().any(|d| d.mentions(&scan.step)) {
        return None;
    }
    let steps = Steps { step: &scan.step, extent: &scan.extent };
    let pieces = equation.pieces.iter().map(|p| lift(program, p, steps, own, hoisted));
    let pieces: Vec<Piece> = pieces.collect::<Option<_>>()?;
    let mut shape: Vec<Dim> = tensor.shape;
    shape.insert(usize::from(own), scan.extent.clone());
    let out = program.computed(&format!("{}_steps", tensor.name), tensor.dtype, shape);
    let mut node = Node::Equation(Equation { out, pieces, origin: equation.origin.clone() });
    rename(&mut node, once);
    before.push(node);
    Some(Moved::EachStep(equation.out, out))
}

/// The rest of the body reads the hoisted values at its step.
fn read_hoisted(
    program: &mut Program,
    scan: &mut Scan,
    body: Vec<Node>,
    hoisted: &HashMap<TensorId, TensorId>,
    once: &HashMap<TensorId, TensorId>,
) {
    let step = Affine::from(Dim::var(scan.step.clone()));
    let mut copies: HashMap<TensorId, TensorId> = HashMap::default();
    let mut front = Vec::new();
    // A tensor that is needed as a whole is copied out of the stack.
    let ends = scan.ends.map(Ends::reads);
    let whole: Vec<TensorId> = whole_uses(&body, &scan.carried, &scan.stacks).chain(ends).collect();
    for id in whole {
        let Some(stack) = hoisted.get(&id) else { continue };
        if copies.contains_key(&id) {
            continue;
        }
        let tensor = program.get(id).clone();
        let own = usize::from(program.is_per_example(id));
        let mut piece = crate::PieceBuilder::new();
        let mut subs: Vec<Affine> = piece.free_axes(&tensor.shape).into_iter().map(|i: IndexId| i.into()).collect();
        subs.insert(own, step.clone());
        let out = program.computed(&format!("{}_now", tensor.name), tensor.dtype, tensor.shape);
        let pieces = vec![piece.sum(Expr::read(*stack, subs))];
        front.push(Node::Equation(Equation { out, pieces, origin: Default::default() }));
        copies.insert(id, out);
    }
    let mut body = body;
    super::each_equation(&mut body, &mut |equation| {
        for piece in &mut equation.pieces {
            if piece.reads().iter().any(|r| hoisted.contains_key(&r.tensor)) {
                *piece = piece.clone().map_exprs(&mut |e| {
                    e.map_reads(&mut |mut read| {
                        if let Some(stack) = hoisted.get(&read.tensor) {
                            read.subs.insert(usize::from(program.is_per_example(read.tensor)), step.clone().into());
                            read.tensor = *stack;
                        }
                        Expr::Read(read)
                    })
                });
            }
        }
    });
    front.extend(body);
    let mut all: HashMap<TensorId, TensorId> = once.clone();
    all.extend(copies);
    for node in &mut front {
        // The copies themselves read stacks, which have no other name.
        rename(node, &all);
    }
    for c in &mut scan.carried {
        c.next = all.get(&c.next).copied().unwrap_or(c.next);
    }
    for (inside, _) in &mut scan.stacks {
        *inside = all.get(inside).copied().unwrap_or(*inside);
    }
    scan.ends = scan.ends.map(|ends| ends.map_reads(&|id| all.get(&id).copied().unwrap_or(id)));
    scan.body = front;
}

/// Tensors that something other than an equation reads.
fn whole_uses<'n>(
    body: &'n [Node],
    carried: &'n [Carried],
    stacks: &'n [(TensorId, TensorId)],
) -> impl Iterator<Item = TensorId> + 'n {
    fn of(node: &Node) -> Vec<TensorId> {
        match node {
            Node::Equation(_) | Node::Draw(_) | Node::Literal(_) => Vec::new(),
            Node::View(n) => vec![n.input],
            Node::Sort(n) => vec![n.input],
            Node::Library(n) => n.inputs.clone(),
            Node::Scan(n) => {
                let own = n.carried.iter().flat_map(|c| [c.start, c.next]).chain(n.stacks.iter().map(|(i, _)| *i));
                own.chain(n.ends.map(Ends::reads)).chain(n.body.iter().flat_map(of)).collect()
            }
            Node::Iterate(n) => {
                let own = n.carried.iter().flat_map(|c| [c.start, c.next]).chain([n.until]);
                own.chain(n.condition.iter().chain(&n.body).flat_map(of)).collect()
            }
        }
    }
    let ends = carried.iter().map(|c| c.next).chain(stacks.iter().map(|(inside, _)| *inside));
    body.iter().flat_map(of).chain(ends)
}
