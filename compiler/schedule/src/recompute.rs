//! What is computed again rather than kept: a value that is cheap, large and read once more long after its first use.
//!
//! ```text
//! y = (x - m) * r * gain + bias          ->   y, for the layer
//! ... the layers above, and their gradients ...
//! d_w = sum[b, t] y * d_q                     y.again = (x - m) * r * gain + bias, for the gradient of its weights
//! ```
//!
//! Between the two only `x`, `m` and `r` are kept, which are there for a gradient of their own. The value is the same to the bit: it is one equation twice.
//!
//! **What pays.** What is read again must be sums of products, and the second computation cost a small part of theirs ([`LEAST_WORK`]): the output of a
//! normalisation before dense layers does, that before a narrow convolution does not. Nothing is computed again whose own operands would have to be
//! kept for it.
//!
//! Or it is a few steps from a short product, and much larger than the product's factors: see [`chain`].

mod chain;

use crate::memory::typical;
use crate::nodes::Scheduler;
use bdl_equations as eq;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

/// Operations on an element that cost as much as bringing it and storing it.
const MEMORY: i64 = 64;
/// What reads the value again does at least this many multiply-adds for each operation of the second computation.
const LEAST_WORK: i64 = 10;
/// Smaller values are not worth a launch.
const LEAST_ELEMENTS: i64 = 1 << 20;
/// What is this many times smaller may be kept for it.
const SMALL: i64 = 64;
/// As many times the value's elements are written between its uses, or they are not far apart.
const FAR: i64 = 8;

/// For a second computation, what it waits for: else it would join the first one, whose operands it has.
pub(crate) type Late = HashMap<eq::TensorId, eq::TensorId>;

impl Scheduler {
    /// The nodes with second computations before the later readers, which read them.
    pub fn recompute(&mut self, nodes: Vec<eq::Node>, kept: &HashSet<eq::TensorId>) -> (Vec<eq::Node>, Late) {
        let uses = Uses::of(&nodes);
        let mut again: Vec<(usize, eq::Node)> = Vec::new();
        let mut late = Late::default();
        let mut gone = HashSet::default();
        let mut nodes = nodes;
        for at in 0..nodes.len() {
            if let Some(chain) = self.chain(&nodes, at, &uses, kept, &gone) {
                let more = self.chain_again(&mut nodes, &chain);
                again.extend(more.into_iter().map(|node| (chain.before, node)));
                gone.extend(chain.equations.iter().flat_map(|at| nodes[*at].writes()));
                continue;
            }
            let Some((far, waits)) = self.pays(&nodes, at, &uses, kept, &gone) else { continue };
            let eq::Node::Equation(first) = &nodes[at] else { continue };
            let name = format!("{}.again", self.program.tensors[first.out.0 as usize].name);
            let (old, mut second) = (first.out, first.clone());
            second.out = self.temporary(&name, old);
            let new = second.out;
            late.insert(new, waits);
            gone.insert(old);
            for reader in &far {
                read_instead(&mut nodes[*reader], old, new);
            }
            again.push((far[0], eq::Node::Equation(second)));
        }
        // From the last on, so that positions hold; those before the same node in their order.
        again.sort_by_key(|(before, _)| *before);
        for (before, node) in again.into_iter().rev() {
            nodes.insert(before, node);
        }
        (nodes, late)
    }

    /// Who reads what node `at` writes long afterwards, and what the first of them waits for, if to compute it again pays. `gone`: what is not there
    /// any more, because it is itself computed again.
    fn pays(
        &self,
        nodes: &[eq::Node],
        at: usize,
        uses: &Uses,
        kept: &HashSet<eq::TensorId>,
        gone: &HashSet<eq::TensorId>,
    ) -> Option<(Vec<usize>, eq::TensorId)> {
        let eq::Node::Equation(equation) = &nodes[at] else { return None };
        let [piece] = equation.pieces.as_slice() else { return None };
        let out = equation.out;
        let size = self.size(out);
        let operations = operations(&piece.body, &|_| None)?;
        if !piece.is_pointwise() {
            return None;
        }
        let far = self.far_readers(nodes, out, uses, kept, size.saturating_mul(FAR))?;
        let work = self.work(nodes, &far)?;
        if work / size < LEAST_WORK * (MEMORY + operations) {
            return None;
        }
        // The first reader's operand that is computed last; it must come from beyond the gap.
        let written = |t: &eq::TensorId| uses.writers.get(t).copied();
        let waits = nodes[far[0]].reads_deep().into_iter().max_by_key(written)?;
        let near = uses.readers.get(&out)?.iter().rfind(|reader| **reader < far[0])?;
        let from = written(&waits).filter(|at| at > near)?;
        // Gradients of weights stand last in a program and run as soon as they can, when what they wait for is there: so long are operands needed.
        let stays = |read: &&eq::Read| {
            let computed = self.program.tensors[read.tensor.0 as usize].role == eq::Role::Computed;
            let is_there = uses.readers.get(&read.tensor).is_some_and(|all| all.last() > Some(&from));
            let is_there = is_there && !gone.contains(&read.tensor);
            !computed || self.size(read.tensor) <= size / SMALL || is_there
        };
        piece.reads().iter().all(stays).then_some((far, waits))
    }

    /// Who reads a large value long after the others do: so many elements are written in between.
    fn far_readers(
        &self,
        nodes: &[eq::Node],
        out: eq::TensorId,
        uses: &Uses,
        kept: &HashSet<eq::TensorId>,
        between: i64,
    ) -> Option<Vec<usize>> {
        let size = self.size(out);
        let is_real = self.program.tensors[out.0 as usize].dtype == eq::DType::Real;
        if !is_real || kept.contains(&out) || size < LEAST_ELEMENTS {
            return None;
        }
        // The widest gap between two readers.
        let readers = uses.readers.get(&out)?;
        let gap = (1..readers.len()).max_by_key(|i| readers[*i] - readers[*i - 1])?;
        let nodes = &nodes[readers[gap - 1] + 1..readers[gap]];
        let written = nodes.iter().flat_map(eq::Node::writes).map(|t| self.size(t));
        let is_far = written.fold(0, i64::saturating_add) >= between;
        is_far.then(|| readers[gap..].to_vec())
    }

    /// Multiply-adds of nodes, if they are equations.
    fn work(&self, nodes: &[eq::Node], of: &[usize]) -> Option<i64> {
        let mut work = 0i64;
        for at in of {
            let eq::Node::Equation(equation) = &nodes[*at] else { return None };
            for piece in &equation.pieces {
                let all = piece.indices.iter().map(|index| index.range.clone()).product();
                work = work.saturating_add(if piece.bound() > 0 { typical(&all) } else { 0 });
            }
        }
        Some(work)
    }

    fn size(&self, tensor: eq::TensorId) -> i64 {
        typical(&self.program.tensors[tensor.0 as usize].shape.iter().cloned().product())
    }
}

/// Positions of nodes.
struct Uses {
    writers: HashMap<eq::TensorId, usize>,
    /// In order, each once.
    readers: HashMap<eq::TensorId, Vec<usize>>,
}

impl Uses {
    fn of(nodes: &[eq::Node]) -> Uses {
        let mut uses = Uses { writers: HashMap::default(), readers: HashMap::default() };
        for (at, node) in nodes.iter().enumerate() {
            for tensor in node.writes() {
                uses.writers.insert(tensor, at);
            }
            for tensor in node.reads_deep() {
                let readers: &mut Vec<usize> = uses.readers.entry(tensor).or_default();
                if readers.last() != Some(&at) {
                    readers.push(at);
                }
            }
        }
        uses
    }
}

/// Operations on each element, if they are arithmetic on what is read in order; what `function` says for anything else.
fn operations(body: &eq::Expr, function: &dyn Fn(&eq::Expr) -> Option<i64>) -> Option<i64> {
    let mut count = Some(0);
    body.visit(&mut |e| {
        let more = match e {
            eq::Expr::Const(_) | eq::Expr::Number(_) => Some(0),
            eq::Expr::Read(read) => read.subs.iter().all(|sub| matches!(sub, eq::Sub::Affine(_))).then_some(0),
            eq::Expr::Unary(eq::UnaryOp::Neg, _) | eq::Expr::Compare(_, _, _) | eq::Expr::Select(_, _, _) => Some(1),
            eq::Expr::Binary(op, _, _) => match op {
                eq::BinaryOp::Add | eq::BinaryOp::Sub | eq::BinaryOp::Mul => Some(1),
                eq::BinaryOp::Min | eq::BinaryOp::Max | eq::BinaryOp::And | eq::BinaryOp::Or => Some(1),
                eq::BinaryOp::Div | eq::BinaryOp::FloorDiv | eq::BinaryOp::Rem | eq::BinaryOp::Pow => function(e),
            },
            eq::Expr::Unary(_, _) => function(e),
        };
        count = count.zip(more).map(|(count, more)| count + more);
    });
    count
}

fn read_instead(node: &mut eq::Node, old: eq::TensorId, new: eq::TensorId) {
    let eq::Node::Equation(equation) = node else { return };
    for piece in &mut equation.pieces {
        *piece = piece.clone().map_exprs(&mut |e| {
            e.map_reads(&mut |read| {
                let tensor = if read.tensor == old { new } else { read.tensor };
                eq::Expr::Read(eq::Read { tensor, ..read })
            })
        });
    }
}
