//! Simplification: passes that keep every value and make programs smaller.
//!
//! | pass | does |
//! |---|---|
//! | [`fold`] | arithmetic on constants, exact identities |
//! | [`tidy_pieces`] | needless filters and indices, ties to data, guards instead of filters (see [`tidy`]) |
//! | [`split_clamps`] | a sum by a clamped index becomes one over diagonals and two over corners |
//! | [`inline_copies`] | a tensor that only repeats another, a constant or a slice is read where that is |
//! | [`share_invariants`] | an expensive expression that misses an index is computed once for all its values |
//! | [`merge_equal`] | equal nodes become one |
//! | [`hoist`] | what does not depend on a loop's carried values is computed before the loop, for all steps at once |
//! | [`drop_unused`] | nodes, carried values and stacks that nothing needs |
//! | [`thaw`] | `freeze(x)` is x once nothing is differentiated any more |
//! | [`read_quotients`] | a softmax that is kept makes its numerator needless |
//!
//! Draws are neither merged nor moved. Each pass gives the number of its changes. [`simplify`] runs them all, the last two once, at the end.
//!
//! Deliberately absent: fusion and anything that depends on a machine.

mod clamp;
mod fold;
mod hoist;
mod inline;
mod invariant;
mod merge;
mod quotient;
mod tidy;
mod unused;

pub use clamp::split_clamps;
pub use fold::{fold, fold_expr, truth};
pub use hoist::hoist;
pub use inline::inline_copies;
pub use invariant::share_invariants;
pub use merge::merge_equal;
pub(crate) use merge::rename;
pub use quotient::read_quotients;
use tidy::is_tidy;
pub use tidy::{Known, apart, replace_index, tidy, vanishes};
pub use unused::{compact, drop_unused};

use crate::builder::PieceBuilder;
use crate::data::{DType, Expr, Node, Program, UnaryOp};
use bdl_dims::Dim;

/// How many changes a pass made.
pub type Pass = usize;

/// All passes, until none finds anything; then those for programs that are not differentiated any more. Tensor ids change: find tensors by name, outputs and updates afterwards.
pub fn simplify(program: &mut Program) {
    rounds(program);
    if thaw(program) + read_quotients(program) > 0 {
        rounds(program);
    }
    compact(program);
}

/// All passes that leave `freeze` alone, so that the program may still be differentiated. Tensor ids stay as they are.
pub fn rounds(program: &mut Program) {
    // Every pass makes the program smaller, so this ends; the bound only keeps a mistake from hanging.
    const PASSES: [fn(&mut Program) -> Pass; 8] =
        [fold, tidy_pieces, split_clamps, inline_copies, share_invariants, merge_equal, hoist, drop_unused];
    let mut without = 0;
    for pass in PASSES.iter().cycle().take(20 * PASSES.len()) {
        // A pass that every other one has followed without a change would find the program that it left.
        without = if pass(program) == 0 { without + 1 } else { 0 };
        if without == PASSES.len() {
            return;
        }
    }
}

/// `freeze(x)` becomes x.
pub fn thaw(program: &mut Program) -> Pass {
    replace_unary(program, UnaryOp::Freeze, &|inner| inner)
}

/// The program in which nothing is a bf16: a function that has the derivative which rounding is given, where the rounded one has steps.
pub fn unrounded(program: &Program) -> Program {
    let mut program = program.clone();
    for tensor in program.tensors.iter_mut().filter(|tensor| tensor.dtype == DType::BF16) {
        tensor.dtype = DType::Real;
    }
    // What is written becomes a real, too.
    replace_unary(&mut program, UnaryOp::ToBf16, &|inner| inner.unary(UnaryOp::ToReal));
    program
}

/// Every `op(x)` becomes `by(x)`.
fn replace_unary(program: &mut Program, op: UnaryOp, by: &dyn Fn(Expr) -> Expr) -> Pass {
    map_exprs(program, &mut |e| {
        e.rewrite(&mut |e| match e {
            Expr::Unary(found, inner) if found == op => by(*inner),
            other @ (Expr::Const(_)
            | Expr::Number(_)
            | Expr::Read(_)
            | Expr::Unary(_, _)
            | Expr::Binary(_, _, _)
            | Expr::Compare(_, _, _)
            | Expr::Select(_, _, _)) => other,
        })
    })
}

/// Rewrites every expression of every equation.
pub(crate) fn map_exprs(program: &mut Program, f: &mut dyn FnMut(Expr) -> Expr) -> Pass {
    let mut changes = 0;
    each_equation(&mut program.nodes, &mut |equation| {
        for piece in &mut equation.pieces {
            let new = piece.clone().map_exprs(f);
            if new != *piece {
                changes += 1;
                *piece = new;
            }
        }
    });
    changes
}

/// Calls `f` on every equation, also inside loops.
pub(crate) fn each_equation(nodes: &mut [Node], f: &mut dyn FnMut(&mut crate::Equation)) {
    for node in nodes {
        match node {
            Node::Equation(n) => f(n),
            Node::Scan(n) => each_equation(&mut n.body, f),
            Node::Iterate(n) => {
                each_equation(&mut n.condition, f);
                each_equation(&mut n.body, f);
            }
            Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_) => {}
        }
    }
}

/// [`tidy`] on every piece.
pub fn tidy_pieces(program: &mut Program) -> Pass {
    let mut nodes = std::mem::take(&mut program.nodes);
    let mut known = Known::default();
    let changes = tidy_nodes(program, &mut nodes, &mut known);
    program.nodes = nodes;
    changes
}

fn tidy_nodes(program: &Program, nodes: &mut [Node], known: &mut Known) -> Pass {
    let mut changes = 0;
    for node in nodes {
        match node {
            // A program has far more of these than of others.
            Node::Equation(n) if !n.pieces.is_empty() && n.pieces.iter().all(|piece| is_tidy(program, piece)) => {
                known.note(n);
            }
            Node::Equation(n) => {
                let mut pieces = Vec::new();
                for piece in &n.pieces {
                    pieces.extend(tidy(program, piece.clone(), known));
                }
                if pieces.is_empty() {
                    let mut zero = PieceBuilder::new();
                    zero.free_axes(&program.get(n.out).shape);
                    pieces.push(zero.sum(Expr::Const(0.0)));
                    // Zeros of a truth value stay as they were written.
                    if crate::types::of_dtype(program.get(n.out).dtype) == crate::types::Kind::Truth {
                        pieces.clone_from(&n.pieces);
                    }
                }
                if pieces != n.pieces && !same_zero(&pieces, &n.pieces) {
                    changes += 1;
                    n.pieces = pieces;
                }
                known.note(n);
            }
            Node::Scan(n) => {
                known.sizes.push(n.extent.clone() - Dim::one() - Dim::var(n.step.clone()));
                changes += tidy_nodes(program, &mut n.body, known);
                known.sizes.pop();
            }
            Node::Iterate(n) => {
                known.sizes.push(n.at_most.clone() - Dim::one() - Dim::var(n.step.clone()));
                changes += tidy_nodes(program, &mut n.condition, known);
                changes += tidy_nodes(program, &mut n.body, known);
                known.sizes.pop();
            }
            Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_) => {}
        }
    }
    changes
}

/// Both write nothing but zeros, perhaps under other index names.
fn same_zero(a: &[crate::Piece], b: &[crate::Piece]) -> bool {
    let zero = |pieces: &[crate::Piece]| match pieces {
        [piece] => piece.is_pointwise() && piece.body == Expr::Const(0.0),
        _ => false,
    };
    zero(a) && zero(b)
}
