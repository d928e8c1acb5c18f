//! `checkpoint every n` before differentiation: the loop as a loop over blocks of n steps, with what is left at the end as a loop of its own.
//!
//! ```text
//! scan t < T checkpoint every 10 { carry h ..;  .. x[t, c] .. }
//!
//! scan k < floor(T / 10) checkpoint { carry h ..;  xs[i, c] = x[10 * k + i, c];  scan i < 10 { carry h ..;  .. xs[i, c] .. } }
//! scan i < T - 10 * floor(T / 10)   { carry h ..;  .. x[10 * floor(T / 10) + i, c] .. }
//! ```
//!
//! The adjoint of the outer loop keeps the carried values between blocks alone and runs a block's steps again before it goes backwards through
//! them: memory for T / n carried values and n whole steps. Every step does the same arithmetic in the same order, so the bits are the same.
//! Only loops through which a gradient flows are rewritten. A block as long as the loop is the loop itself.

use crate::builder::PieceBuilder;
use crate::data::{
    Affine, Carried, Equation, Expr, IndexId, Name, Node, Piece, Program, Scan, SizeKind, Sub, TensorId,
};
use crate::simplify::rename;
use bdl_dims::Dim;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

pub(super) fn cut_active(program: &mut Program, nodes: Vec<Node>, active: &[bool]) -> Vec<Node> {
    cut_in(program, nodes, active, false)
}

/// `own_steps`: inside a loop whose steps are the example's own. There no loop is cut, because its blocks may take slices that all examples share,
/// and such a value has no derivative there.
fn cut_in(program: &mut Program, nodes: Vec<Node>, active: &[bool], own_steps: bool) -> Vec<Node> {
    let mut done = Vec::with_capacity(nodes.len());
    for node in nodes {
        match node {
            Node::Scan(mut n) => {
                let own = own_steps || program.is_per_example_size(&n.extent);
                n.body = cut_in(program, n.body, active, own);
                let flows = |id: &TensorId| active.get(id.0 as usize).copied().unwrap_or(false);
                let reached = n.carried.iter().any(|c| flows(&c.last)) || n.stacks.iter().any(|(_, out)| flows(out));
                // A draw knows its step by the loops around it, and is kept: cutting them would draw other numbers.
                let draws = n.body.iter().any(has_draw);
                let every =
                    n.checkpoint.as_ref().and_then(Dim::as_const).filter(|every| *every > 1 && !draws && !own_steps);
                match every {
                    Some(every) if reached && n.extent.as_const().is_some_and(|extent| extent <= every) => {
                        done.push(Node::Scan(Scan { checkpoint: None, ..n }));
                    }
                    Some(every) if reached => cut(program, &n, every, active, &mut done),
                    Some(_) | None => done.push(Node::Scan(n)),
                }
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

/// A part of the loop with tensors of its own.
struct Copied {
    scan: Scan,
    /// The stacks, in the order of the loop's.
    stacks: Vec<TensorId>,
}

fn cut(program: &mut Program, scan: &Scan, every: i64, active: &[bool], done: &mut Vec<Node>) {
    let block = step_name(program, "block");
    let full = scan.extent.floor_div(&Dim::from(every));
    let rest = scan.extent.clone() - full.scale(every);

    // One block: the steps k * every + i.
    let first = Dim::var(block.clone()).scale(every);
    let mut inner = copy(program, scan, Dim::from(every), &first);
    let mut body = slices(program, scan, &mut inner.scan, active);
    let mut carried = Vec::new();
    for (c, part) in scan.carried.iter().zip(&mut inner.scan.carried) {
        let tensor = program.get(c.inside).clone();
        let inside = program.computed(&tensor.name, tensor.dtype, tensor.shape.iter().cloned());
        let last = program.computed(&format!("{}_blocks", tensor.name), tensor.dtype, tensor.shape);
        part.start = inside;
        carried.push(Carried { start: c.start, inside, next: part.last, last });
    }
    let mut stacks = Vec::new();
    for inside in &inner.stacks {
        let tensor = program.get(*inside).clone();
        let mut shape = tensor.shape;
        shape.insert(usize::from(program.is_per_example(*inside)), full.clone());
        stacks.push((*inside, program.computed(&format!("{}_blocks", tensor.name), tensor.dtype, shape)));
    }
    body.push(Node::Scan(inner.scan));
    let mut blocks = Scan {
        step: block,
        extent: full.clone(),
        reversed: scan.reversed,
        carried,
        body,
        stacks,
        checkpoint: Some(Dim::one()),
        ends: None,
        origin: scan.origin.clone(),
    };

    let mut tail_stacks = Vec::new();
    if rest.is_zero() {
        for (c, of) in blocks.carried.iter_mut().zip(&scan.carried) {
            c.last = of.last;
        }
        done.push(Node::Scan(blocks.clone()));
    } else {
        let mut tail = copy(program, scan, rest.clone(), &full.scale(every));
        tail_stacks = tail.stacks;
        // What runs second begins with what the first leaves.
        let (first, second) = if scan.reversed {
            (&mut tail.scan.carried, &mut blocks.carried)
        } else {
            (&mut blocks.carried, &mut tail.scan.carried)
        };
        for ((a, b), of) in first.iter_mut().zip(second.iter_mut()).zip(&scan.carried) {
            (a.start, b.start, b.last) = (of.start, a.last, of.last);
        }
        let (tail, blocks) = (Node::Scan(tail.scan), Node::Scan(blocks.clone()));
        done.extend(if scan.reversed { [tail, blocks] } else { [blocks, tail] });
    }

    // What the loop emits, from the blocks and the tail.
    for (at, (_, outside)) in scan.stacks.iter().enumerate() {
        let tensor = program.get(*outside).clone();
        let own = usize::from(program.is_per_example(*outside));
        let part = |from: TensorId, in_blocks: bool| -> Piece {
            let mut piece = PieceBuilder::new();
            let mut subs: Vec<IndexId> = (0..own).map(|_| piece.free("b", tensor.shape[0].clone())).collect();
            let mut to: Vec<Affine> = subs.iter().map(|i| Affine::from(*i)).collect();
            if in_blocks {
                let (k, i) = (piece.free("k", full.clone()), piece.free("i", every));
                subs.extend([k, i]);
                to.push(Affine::from(k).scale(every) + i.into());
            } else {
                let i = piece.free("i", rest.clone());
                subs.push(i);
                to.push(Affine::from(full.scale(every)) + i.into());
            }
            let axes = piece.free_axes(&tensor.shape[own + 1..]);
            subs.extend(&axes);
            to.extend(axes.into_iter().map(Affine::from));
            piece.at(to);
            piece.sum(Expr::read(from, subs))
        };
        let mut pieces = vec![part(blocks.stacks[at].1, true)];
        pieces.extend(tail_stacks.get(at).map(|from| part(*from, false)));
        done.push(Node::Equation(Equation { out: *outside, pieces, origin: scan.origin.clone() }));
    }
}

/// The loop over `extent` steps from `first` on, with tensors of its own. Its carried values start where the loop's do.
fn copy(program: &mut Program, scan: &Scan, extent: Dim, first: &Dim) -> Copied {
    let step = step_name(program, &scan.step);
    let now = first.clone() + Dim::var(step.clone());
    let node = Node::Scan(Scan { step: step.clone(), extent: extent.clone(), checkpoint: None, ..scan.clone() });
    let Node::Scan(mut copied) = copied(program, &node, &mut HashMap::default()) else {
        // A copy of a scan is one.
        return Copied { scan: scan.clone(), stacks: Vec::new() };
    };
    let with = |name: &str| (*name == *scan.step).then(|| now.clone());
    copied.body = copied.body.into_iter().map(|node| at_step(program, node, &with)).collect();
    let mut stacks = Vec::new();
    for (inside, outside) in &mut copied.stacks {
        let axis = usize::from(program.is_per_example(*inside));
        let tensor = &mut program.tensors[outside.0 as usize];
        tensor.shape[axis] = extent.clone();
        stacks.push(*outside);
    }
    Copied { scan: copied, stacks }
}

/// Tensors that the body reads at its own step, and through which a gradient flows: the block's part of each is a tensor of its own, so that
/// its adjoint is as long as a block.
fn slices(program: &mut Program, scan: &Scan, inner: &mut Scan, active: &[bool]) -> Vec<Node> {
    let own: HashSet<TensorId> = inner.body.iter().flat_map(Node::writes_deep).collect();
    let step = Dim::var(inner.step.clone());
    let mut parts: HashMap<(TensorId, usize), TensorId> = HashMap::default();
    let mut made = Vec::new();
    // Where the step stands in a read, if it stands there alone.
    let place = |subs: &[Sub]| {
        let mut places = subs.iter().enumerate().filter(|(_, sub)| match sub {
            Sub::Affine(form) => form.mentions_size(&inner.step),
            Sub::Data(_) => false,
        });
        let (axis, sub) = places.next()?;
        let alone = match sub {
            Sub::Affine(form) => form.as_dim().cloned().map(|dim| dim - step.clone()),
            Sub::Data(_) => None,
        };
        let start = alone.filter(|start| !start.mentions(&inner.step))?;
        places.next().is_none().then_some((axis, start))
    };
    let body = std::mem::take(&mut inner.body);
    let mut after = Vec::new();
    for node in body {
        let Node::Equation(equation) = node else {
            after.push(node);
            continue;
        };
        let pieces = equation.pieces.into_iter().map(|piece| {
            piece.map_exprs(&mut |e| {
                e.map_reads(&mut |mut read| {
                    let flows = active.get(read.tensor.0 as usize).copied().unwrap_or(false);
                    if !flows || own.contains(&read.tensor) || read.otherwise.is_some() {
                        return Expr::Read(read);
                    }
                    let Some((axis, start)) = place(&read.subs) else { return Expr::Read(read) };
                    let part = *parts.entry((read.tensor, axis)).or_insert_with(|| {
                        let tensor = program.get(read.tensor).clone();
                        let mut shape = tensor.shape.clone();
                        shape[axis] = inner.extent.clone();
                        let mut piece = PieceBuilder::new();
                        let axes = piece.free_axes(&shape);
                        let mut from: Vec<Affine> = axes.iter().map(|i| Affine::from(*i)).collect();
                        from[axis] = Affine::from(axes[axis]) + Affine::from(start.clone());
                        let piece = piece.sum(Expr::read(read.tensor, from));
                        let out = program.computed(&format!("{}_block", tensor.name), tensor.dtype, shape);
                        made.push(Node::Equation(Equation { out, pieces: vec![piece], origin: scan.origin.clone() }));
                        out
                    });
                    read.tensor = part;
                    read.subs[axis] = Sub::Affine(Affine::from(step.clone()));
                    Expr::Read(read)
                })
            })
        });
        let pieces = pieces.collect();
        after.push(Node::Equation(Equation { pieces, ..equation }));
    }
    inner.body = after;
    made
}

/// A copy of a node that writes tensors of its own; `names` learns which.
pub(super) fn copied(program: &mut Program, node: &Node, names: &mut HashMap<TensorId, TensorId>) -> Node {
    for id in node.writes_deep() {
        let tensor = program.get(id).clone();
        let fresh = program.computed(&tensor.name, tensor.dtype, tensor.shape);
        names.insert(id, fresh);
    }
    let mut node = node.clone();
    rename(&mut node, names);
    rewritten(&mut node, names);
    node
}

/// Makes a node write other tensors.
fn rewritten(node: &mut Node, names: &HashMap<TensorId, TensorId>) {
    let now = |id: TensorId| names.get(&id).copied().unwrap_or(id);
    let carried = |carried: &mut Vec<Carried>| {
        for c in carried {
            (c.inside, c.last) = (now(c.inside), now(c.last));
        }
    };
    match node {
        Node::Equation(n) => n.out = now(n.out),
        Node::Draw(n) => n.out = now(n.out),
        Node::View(n) => n.out = now(n.out),
        Node::Sort(n) => n.out = now(n.out),
        Node::Literal(n) => n.out = now(n.out),
        Node::Library(n) => n.out = now(n.out),
        Node::Scan(n) => {
            carried(&mut n.carried);
            n.stacks.iter_mut().for_each(|(_, outside)| *outside = now(*outside));
            n.ends = n.ends.map(|ends| ends.map_writes(&now));
            n.body.iter_mut().for_each(|node| rewritten(node, names));
        }
        Node::Iterate(n) => {
            carried(&mut n.carried);
            n.condition.iter_mut().chain(&mut n.body).for_each(|node| rewritten(node, names));
        }
    }
}

/// The node with sizes replaced, also inside loops and in the shapes of what it writes.
fn at_step(program: &mut Program, node: Node, with: &dyn Fn(&str) -> Option<Dim>) -> Node {
    for id in node.writes() {
        let shape = &mut program.tensors[id.0 as usize].shape;
        shape.iter_mut().for_each(|dim| *dim = dim.substitute(with));
    }
    match node {
        Node::Equation(n) => {
            let pieces = n.pieces.into_iter().map(|piece| piece_at_step(piece, with)).collect();
            Node::Equation(Equation { pieces, ..n })
        }
        Node::Scan(mut n) => {
            n.extent = n.extent.substitute(with);
            n.body = n.body.into_iter().map(|node| at_step(program, node, with)).collect();
            Node::Scan(n)
        }
        Node::Iterate(mut n) => {
            n.at_most = n.at_most.substitute(with);
            n.condition = n.condition.into_iter().map(|node| at_step(program, node, with)).collect();
            n.body = n.body.into_iter().map(|node| at_step(program, node, with)).collect();
            Node::Iterate(n)
        }
        same @ (Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_)) => same,
    }
}

fn piece_at_step(mut piece: Piece, with: &dyn Fn(&str) -> Option<Dim>) -> Piece {
    let form = |a: &Affine| a.replace_sizes(with);
    for index in &mut piece.indices {
        index.range = index.range.substitute(with);
    }
    piece.at = piece.at.iter().map(form).collect();
    let mut expr = |e: Expr| e.map_affine(&form);
    piece.filter = piece.filter.into_iter().map(|c| c.map(&form, &mut expr)).collect();
    piece.body = expr(piece.body);
    piece
}

fn has_draw(node: &Node) -> bool {
    matches!(node, Node::Draw(_)) || node.inner().any(has_draw)
}

fn step_name(program: &mut Program, hint: &str) -> Name {
    let mut number = 1u32;
    let mut name: Name = hint.into();
    while program.size_kind(&name).is_some() {
        number += 1;
        name = format!("{hint}_{number}").into();
    }
    program.size(name.clone(), SizeKind::Step);
    name
}
