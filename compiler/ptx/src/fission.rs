//! A kernel as several, run one after the other, where its grid alone would leave most of a GPU idle.
//!
//! On a processor one thread runs all loops over an example while its values are in the cache. A GPU has room for every element of every example
//! at once, but only if the loops are apart: each can then join the grid.
//!
//! ```text
//! for b in B {                          for b in B { for t .. { for c .. { store x } } }
//!   for t .. { for c .. { store x } }   ->
//!   for c .. { for t .. { load x } }    for b in B { for c .. { for t .. { load x } } }
//! }
//! ```

use crate::emit::mapping::{is_few_points, loads, stores};
use bdl_plan::{Access, Kernel, LoopMode, Stmt, ValueOp};

/// The kernels that do the same, in order.
pub fn pieces(kernel: &Kernel) -> Vec<Kernel> {
    let loops = kernel.body.iter().filter(|stmt| matches!(stmt, Stmt::Loop { .. })).count();
    let is_fit = kernel.grid_mode == LoopMode::Serial
        && loops > 1
        && is_few_points(&kernel.grid)
        && kernel.body.iter().all(|stmt| is_loop(stmt) || is_known_everywhere(kernel, stmt));
    if !is_fit {
        return vec![kernel.clone()];
    }
    let mut made = Vec::new();
    for (at, stmt) in kernel.body.iter().enumerate() {
        if !is_loop(stmt) {
            continue;
        }
        let body: Vec<Stmt> = kernel.body[..at].iter().filter(|stmt| !is_loop(stmt)).chain([stmt]).cloned().collect();
        let mut piece = Kernel { body, ..kernel.clone() };
        for (i, buffer) in piece.buffers.iter_mut().enumerate() {
            let touched = |found: Vec<(u32, &bdl_plan::Address)>| found.iter().any(|(b, _)| *b as usize == i);
            buffer.access = match (touched(loads(&piece.body)), touched(stores(&piece.body))) {
                (true, true) => Access::Update,
                (false, true) => Access::Write,
                (_, false) => Access::Read,
            };
        }
        made.push(piece);
    }
    made
}

fn is_loop(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::Loop { .. })
}

/// A value that every piece can compute for itself: it reads nothing that the kernel stores.
fn is_known_everywhere(kernel: &Kernel, stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Let { op: ValueOp::Load { buffer, .. }, .. } => kernel.buffers[*buffer as usize].access == Access::Read,
        Stmt::Let { op: ValueOp::Variable(_), .. } => false,
        Stmt::Let { .. } => true,
        Stmt::Loop { .. }
        | Stmt::Variable { .. }
        | Stmt::Combine { .. }
        | Stmt::Assign { .. }
        | Stmt::Store { .. }
        | Stmt::If { .. } => false,
    }
}
