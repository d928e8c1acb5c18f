//! Common subexpressions: nodes that compute the same become one.
//!
//! Two equations are the same when they differ in the names of indices only. A node inside a loop may equal one outside, unless it reduces
//! over the batch and the loop is one over running examples. Draws differ by their site and are left alone, and so are loops.

use super::Pass;
use crate::data::{Affine, Condition, Expr, Index, Node, Piece, Program, Role, Sub, TensorId};
use rustc_hash::{FxHashMap as HashMap, FxHasher};
use std::hash::{Hash, Hasher};

/// Replaces every use of a node's tensor by that of an equal node before it, and removes the node.
pub fn merge_equal(program: &mut Program) -> Pass {
    let mut nodes = std::mem::take(&mut program.nodes);
    let mut merging = Merging {
        program,
        levels: Vec::new(),
        seen: HashMap::default(),
        same: HashMap::default(),
        running: 0,
        loops: 0,
    };
    merging.nodes(&mut nodes);
    let same = merging.same;
    let changes = same.len();
    program.nodes = nodes;
    let ends = program.outputs.iter_mut().map(|(_, id)| id).chain(program.updates.iter_mut().map(|(_, id)| id));
    for id in ends {
        *id = same.get(id).copied().unwrap_or(*id);
    }
    changes
}

struct Merging<'p> {
    program: &'p Program,
    /// The nodes kept so far, of the program and of each loop around this place.
    levels: Vec<Vec<Node>>,
    /// Nodes that may be used here, by their hash: level and position, and the loop over running examples that each is about.
    seen: HashMap<u64, Vec<(usize, usize, u32)>>,
    same: HashMap<TensorId, TensorId>,
    /// The innermost loop over running examples that is open, 0 outside of them.
    running: u32,
    loops: u32,
}

impl Merging<'_> {
    fn nodes(&mut self, nodes: &mut Vec<Node>) {
        let mut here: Vec<u64> = Vec::new();
        let level = self.levels.len();
        self.levels.push(Vec::with_capacity(nodes.len()));
        for mut node in std::mem::take(nodes) {
            rename(&mut node, &self.same);
            match &mut node {
                Node::Scan(n) => {
                    if self.program.is_per_example_size(&n.extent) {
                        self.running_nodes(&mut n.body);
                    } else {
                        self.nodes(&mut n.body);
                    }
                    let same = &self.same;
                    let now = |id: TensorId| same.get(&id).copied().unwrap_or(id);
                    n.ends = n.ends.map(|ends| ends.map_reads(&now));
                    for (inside, _) in &mut n.stacks {
                        *inside = now(*inside);
                    }
                    for c in &mut n.carried {
                        c.next = self.same.get(&c.next).copied().unwrap_or(c.next);
                    }
                }
                Node::Iterate(n) => {
                    // Fewer examples are left for the body than for the condition.
                    self.running_nodes(&mut n.condition);
                    self.running_nodes(&mut n.body);
                    n.until = self.same.get(&n.until).copied().unwrap_or(n.until);
                    for c in &mut n.carried {
                        c.next = self.same.get(&c.next).copied().unwrap_or(c.next);
                    }
                }
                Node::Equation(_)
                | Node::Draw(_)
                | Node::View(_)
                | Node::Sort(_)
                | Node::Literal(_)
                | Node::Library(_) => {}
            }
            if let Some(out) = self.may_be_merged(&node) {
                let mut hasher = FxHasher::default();
                hash_node(&node, &mut hasher);
                let hash = hasher.finish();
                let about = match &node {
                    Node::Equation(n) if self.program.is_over_batch(n) => self.running,
                    Node::Equation(_)
                    | Node::Scan(_)
                    | Node::Iterate(_)
                    | Node::Draw(_)
                    | Node::View(_)
                    | Node::Sort(_)
                    | Node::Literal(_)
                    | Node::Library(_) => 0,
                };
                let list = self.seen.entry(hash).or_default();
                let tensor = self.program.get(out);
                let equal = list.iter().find_map(|(level, at, rows)| {
                    let other = &self.levels[*level][*at];
                    let id = written(other)?;
                    let like = self.program.get(id);
                    let fits = *rows == about && like.dtype == tensor.dtype && like.shape == tensor.shape;
                    (fits && equal_but_for_names(other, &node)).then_some(id)
                });
                if let Some(first) = equal {
                    self.same.insert(out, first);
                    continue;
                }
                list.push((level, self.levels[level].len(), about));
                here.push(hash);
            }
            self.levels[level].push(node);
        }
        // What a loop's body computed cannot be used after it.
        for hash in here.into_iter().rev() {
            if let Some(list) = self.seen.get_mut(&hash) {
                list.pop();
            }
        }
        *nodes = self.levels.pop().unwrap_or_default();
    }

    fn running_nodes(&mut self, nodes: &mut Vec<Node>) {
        self.loops += 1;
        let around = std::mem::replace(&mut self.running, self.loops);
        self.nodes(nodes);
        self.running = around;
    }

    /// The tensor that the node writes, if another may stand for it.
    fn may_be_merged(&self, node: &Node) -> Option<TensorId> {
        written(node).filter(|out| self.program.get(*out).role == Role::Computed)
    }
}

fn written(node: &Node) -> Option<TensorId> {
    match node {
        Node::Equation(n) => Some(n.out),
        Node::View(n) => Some(n.out),
        Node::Sort(n) => Some(n.out),
        Node::Literal(n) => Some(n.out),
        Node::Draw(_) | Node::Library(_) | Node::Scan(_) | Node::Iterate(_) => None,
    }
}

/// Do both compute the same? What they are called, and where they come from, does not count.
fn equal_but_for_names(a: &Node, b: &Node) -> bool {
    match (a, b) {
        (Node::Equation(a), Node::Equation(b)) => {
            a.pieces.len() == b.pieces.len() && a.pieces.iter().zip(&b.pieces).all(|(a, b)| equal_pieces(a, b))
        }
        (Node::View(a), Node::View(b)) => a.input == b.input,
        (Node::Sort(a), Node::Sort(b)) => (a.input, a.descending) == (b.input, b.descending),
        (Node::Literal(a), Node::Literal(b)) => a.values == b.values,
        (
            Node::Equation(_)
            | Node::View(_)
            | Node::Sort(_)
            | Node::Literal(_)
            | Node::Draw(_)
            | Node::Library(_)
            | Node::Scan(_)
            | Node::Iterate(_),
            _,
        ) => false,
    }
}

fn equal_pieces(a: &Piece, b: &Piece) -> bool {
    let Piece { indices, free, at, monoid, filter, body, empty } = a;
    let same_index = |(a, b): (&Index, &Index)| a.range == b.range && a.example == b.example;
    (free, monoid, empty) == (&b.free, &b.monoid, &b.empty)
        && indices.len() == b.indices.len()
        && indices.iter().zip(&b.indices).all(same_index)
        && (at, filter, body) == (&b.at, &b.filter, &b.body)
}

/// Makes a node read `to` wherever it read `from`.
pub(crate) fn rename(node: &mut Node, same: &HashMap<TensorId, TensorId>) {
    if same.is_empty() {
        return;
    }
    let now = |id: TensorId| same.get(&id).copied().unwrap_or(id);
    match node {
        Node::Equation(n) => {
            for piece in &mut n.pieces {
                if piece.reads().iter().any(|r| same.contains_key(&r.tensor)) {
                    *piece = piece.clone().map_exprs(&mut |e| {
                        e.map_reads(&mut |mut read| {
                            read.tensor = now(read.tensor);
                            Expr::Read(read)
                        })
                    });
                }
            }
        }
        Node::View(n) => n.input = now(n.input),
        Node::Sort(n) => n.input = now(n.input),
        Node::Library(n) => n.inputs.iter_mut().for_each(|i| *i = now(*i)),
        Node::Draw(_) | Node::Literal(_) => {}
        Node::Scan(n) => {
            for c in &mut n.carried {
                (c.start, c.next) = (now(c.start), now(c.next));
            }
            for (inside, _) in &mut n.stacks {
                *inside = now(*inside);
            }
            n.ends = n.ends.map(|ends| ends.map_reads(&now));
            n.body.iter_mut().for_each(|node| rename(node, same));
        }
        Node::Iterate(n) => {
            for c in &mut n.carried {
                (c.start, c.next) = (now(c.start), now(c.next));
            }
            n.until = now(n.until);
            n.condition.iter_mut().chain(&mut n.body).for_each(|node| rename(node, same));
        }
    }
}

// ------------------------------------------------------------------------------------------------ hashing

fn hash_node(node: &Node, state: &mut FxHasher) {
    std::mem::discriminant(node).hash(state);
    match node {
        Node::Equation(n) => n.pieces.iter().for_each(|p| hash_piece(p, state)),
        Node::View(n) => n.input.hash(state),
        Node::Sort(n) => (n.input, n.descending).hash(state),
        Node::Literal(n) => n.values.iter().for_each(|v| v.to_bits().hash(state)),
        Node::Draw(_) | Node::Library(_) | Node::Scan(_) | Node::Iterate(_) => {}
    }
}

fn hash_piece(piece: &Piece, state: &mut FxHasher) {
    (piece.free, piece.monoid).hash(state);
    for index in &piece.indices {
        index.range.hash(state);
    }
    for form in &piece.at {
        form.hash(state);
    }
    for condition in &piece.filter {
        match condition {
            Condition::NonNegative(form) => form.hash(state),
            Condition::Equal(form, e) => {
                form.hash(state);
                hash_expr(e, state);
            }
            Condition::Holds(e) => hash_expr(e, state),
        }
    }
    hash_expr(&piece.body, state);
}

fn hash_expr(e: &Expr, state: &mut FxHasher) {
    e.visit(&mut |e| {
        std::mem::discriminant(e).hash(state);
        match e {
            Expr::Const(value) => value.to_bits().hash(state),
            Expr::Number(form) => form.hash(state),
            Expr::Read(read) => {
                read.tensor.hash(state);
                for sub in &read.subs {
                    match sub {
                        Sub::Affine(form) => Affine::hash(form, state),
                        Sub::Data(_) => 0u8.hash(state),
                    }
                }
            }
            Expr::Unary(op, _) => op.hash(state),
            Expr::Binary(op, _, _) => op.hash(state),
            Expr::Compare(op, _, _) => op.hash(state),
            Expr::Select(_, _, _) => {}
        }
    });
}
