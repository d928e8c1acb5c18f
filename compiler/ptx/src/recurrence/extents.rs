//! What a kernel's text says about its loops and values.

use bdl_plan::{Bound, Kernel, LoopIndex, Stmt, ValueOp};

/// By loop: how many iterations it has at the most, where that is a number.
pub struct Extents(Vec<Option<i64>>);

impl Extents {
    pub fn of(kernel: &Kernel) -> Extents {
        let mut found = vec![None; kernel.indices.len()];
        visit(&kernel.body, &mut |stmt| {
            if let Stmt::Loop { index, from: Bound::Size(from), to: Bound::Size(to), .. } = stmt
                && from.as_const().is_some_and(|from| from >= 0)
            {
                found[index.0 as usize] = to.as_const();
            }
        });
        Extents(found)
    }

    pub fn of_index(&self, index: LoopIndex) -> Option<i64> {
        self.0.get(index.0 as usize).copied().flatten()
    }
}

/// By value: the operation that defines it.
pub fn value_ops(kernel: &Kernel) -> Vec<Option<&ValueOp>> {
    let mut found = vec![None; kernel.values.len()];
    visit(&kernel.body, &mut |stmt| {
        if let Stmt::Let { value, op } = stmt {
            found[value.0 as usize] = Some(op);
        }
    });
    found
}

fn visit<'k>(body: &'k [Stmt], see: &mut dyn FnMut(&'k Stmt)) {
    for stmt in body {
        see(stmt);
        match stmt {
            Stmt::Loop { body, .. } | Stmt::If { body, .. } => visit(body, see),
            Stmt::Let { .. }
            | Stmt::Variable { .. }
            | Stmt::Combine { .. }
            | Stmt::Assign { .. }
            | Stmt::Store { .. } => {}
        }
    }
}
