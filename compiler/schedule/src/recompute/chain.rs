//! A value that is a few steps from a short product: the weights of attention.
//!
//! ```text
//! s = sum[e] q[i, e] * k[j, e]    a = exp(s / 8 - max) / sum    o = a v      ->   s, a, o, and long afterwards   s.again, a.again   for the gradients
//! ```
//!
//! Scores grow with the square of the positions, their factors with the positions. So what pays is told by three ratios: the value is many times as
//! large as the factors ([`WIDE`]); the product is so short that it takes about the time of writing and reading its result
//! ([`MOST_SUM`]); and what reads the value late multiplies at least as much. Rows' maxima and sums are kept, as what is small is.

use super::{MEMORY, Uses, operations, read_instead};
use crate::memory::typical;
use crate::nodes::Scheduler;
use bdl_equations as eq;
use rustc_hash::FxHashSet as HashSet;

/// As many times as large as its factors.
const WIDE: i64 = 4;
/// Steps of the product's sum.
const MOST_SUM: i64 = 128;

/// Equations that are computed again before what reads the last of them.
pub(crate) struct Chain {
    /// Positions of the equations, in order.
    pub equations: Vec<usize>,
    pub far: Vec<usize>,
    /// What they come before.
    pub before: usize,
}

impl Scheduler {
    /// The chain that ends with what node `at` writes, if to compute it again pays.
    pub(super) fn chain(
        &self,
        nodes: &[eq::Node],
        at: usize,
        uses: &Uses,
        kept: &HashSet<eq::TensorId>,
        gone: &HashSet<eq::TensorId>,
    ) -> Option<Chain> {
        let out = single(&nodes[at]).filter(|(_, piece)| piece.is_pointwise())?.0;
        // Products over examples of different length are not taken block by block, and then it does not pay.
        let shape = &self.program.tensors[out.0 as usize].shape;
        if shape.iter().any(|dim| self.storage.names_example(dim)) {
            return None;
        }
        let (size, far) = (self.size(out), self.far_readers(nodes, out, uses, kept, self.size(out) / WIDE)?);
        let mut equations = vec![at];
        let mut product: Option<&eq::Piece> = None;
        let mut cost = 0;
        let mut next = 0;
        while next < equations.len() {
            let (_, piece) = single(&nodes[equations[next]])?;
            next += 1;
            if piece.is_pointwise() {
                cost += operations(&piece.body, &function)?;
            }
            for read in piece.reads() {
                let is_there = || {
                    let late = |reader: &usize| *reader >= far[0] && !far.contains(reader);
                    uses.readers.get(&read.tensor).is_some_and(|readers| readers.iter().any(late))
                };
                let computed = self.program.tensors[read.tensor.0 as usize].role == eq::Role::Computed;
                let stays =
                    !gone.contains(&read.tensor) && (self.size(read.tensor) <= size / super::SMALL || is_there());
                if !computed || stays {
                    continue;
                }
                let writer = *uses.writers.get(&read.tensor)?;
                let (written, piece) = single(&nodes[writer])?;
                let is_product = piece.bound() > 0;
                if equations.contains(&writer) {
                    continue;
                }
                if kept.contains(&written) || gone.contains(&written) || is_product && product.is_some() {
                    return None;
                }
                product = product.or(Some(piece).filter(|_| is_product));
                equations.push(writer);
            }
        }
        let product = product?;
        let is_value = |read: &eq::Read| self.program.tensors[read.tensor.0 as usize].role == eq::Role::Computed;
        let factors: i64 = product.reads().iter().map(|read| self.size(read.tensor)).sum();
        let steps = typical(&product.indices[product.free..].iter().map(|index| index.range.clone()).product());
        let pays = product.monoid == eq::Monoid::Sum
            && product.reads().len() == 2
            && product.reads().iter().all(|read| is_value(read))
            && size >= factors.saturating_mul(WIDE)
            && steps <= MOST_SUM
            && cost <= MEMORY
            && self.work(nodes, &far)? / size >= steps;
        equations.sort();
        // Before the product that the first reader reads with it, which it then follows.
        let near = uses.readers.get(&out)?.iter().rfind(|reader| **reader < far[0])?;
        let operands = nodes[far[0]].reads_deep().into_iter().filter_map(|operand| uses.writers.get(&operand).copied());
        let before = operands.filter(|writer| writer > near).max().unwrap_or(far[0]);
        pays.then_some(Chain { equations, far, before })
    }

    /// The nodes of a chain once more, for its late readers, which read them now.
    pub(super) fn chain_again(&mut self, nodes: &mut [eq::Node], chain: &Chain) -> Vec<eq::Node> {
        let mut again = Vec::new();
        let mut renamed = Vec::new();
        for at in &chain.equations {
            let eq::Node::Equation(first) = &nodes[*at] else { continue };
            let name = format!("{}.again", self.program.tensors[first.out.0 as usize].name);
            let (old, mut second) = (first.out, first.clone());
            second.out = self.temporary(&name, old);
            renamed.push((old, second.out));
            let mut node = eq::Node::Equation(second);
            renamed.iter().for_each(|(old, new)| read_instead(&mut node, *old, *new));
            again.push(node);
        }
        if let Some((old, new)) = renamed.last() {
            chain.far.iter().for_each(|reader| read_instead(&mut nodes[*reader], *old, *new));
        }
        again
    }
}

/// The result and the piece of an equation that has one.
fn single(node: &eq::Node) -> Option<(eq::TensorId, &eq::Piece)> {
    let eq::Node::Equation(equation) = node else { return None };
    match equation.pieces.as_slice() {
        [piece] => Some((equation.out, piece)),
        _ => None,
    }
}

/// Operations that a function is worth, for those that may stand in a chain.
fn function(e: &eq::Expr) -> Option<i64> {
    match e {
        eq::Expr::Binary(eq::BinaryOp::Div, _, _) => Some(4),
        eq::Expr::Unary(eq::UnaryOp::Exp, _) => Some(16),
        eq::Expr::Const(_)
        | eq::Expr::Number(_)
        | eq::Expr::Read(_)
        | eq::Expr::Unary(_, _)
        | eq::Expr::Binary(_, _, _)
        | eq::Expr::Compare(_, _, _)
        | eq::Expr::Select(_, _, _) => None,
    }
}
