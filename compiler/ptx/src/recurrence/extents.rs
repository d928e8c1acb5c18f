//! How many iterations a kernel's loops have.

use bdl_plan::{Bound, Kernel, LoopIndex, Stmt};

/// By index: how many iterations its loops have at the most, where that is a number for all of them.
pub struct Extents(Vec<Option<i64>>);

impl Extents {
    pub fn of(kernel: &Kernel) -> Extents {
        // No loop yet: nothing is reached.
        let mut found = vec![Some(0); kernel.indices.len()];
        visit(&kernel.body, &mut found);
        Extents(found)
    }

    pub fn of_index(&self, index: LoopIndex) -> Option<i64> {
        self.0.get(index.0 as usize).copied().flatten()
    }
}

fn visit(body: &[Stmt], found: &mut [Option<i64>]) {
    for stmt in body {
        match stmt {
            Stmt::Loop { index, from, to, body, .. } => {
                let own = match (from, to) {
                    (Bound::Size(from), Bound::Size(to)) if from.as_const().is_some_and(|from| from >= 0) => {
                        to.as_const()
                    }
                    (Bound::Size(_) | Bound::Value(_), _) => None,
                };
                let known = &mut found[index.0 as usize];
                *known = known.zip(own).map(|(known, own)| known.max(own));
                visit(body, found);
            }
            Stmt::If { body, .. } => visit(body, found),
            Stmt::Let { .. }
            | Stmt::Variable { .. }
            | Stmt::Combine { .. }
            | Stmt::Assign { .. }
            | Stmt::Store { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two loops of one index: the longer one counts, and a length that only the data know is none.
    #[test]
    fn an_index_reaches_as_far_as_its_longest_loop() {
        let kernel = |first: &str, second: &str| {
            let text = format!(
                "kernel k(x: f32 write) sizes(B, T) indices(row, j) {{\n  for row in B {{\n    %0: f32 = const 0.0\n    \
                 for j in 0..{first} lanes {{\n      store x[row * 90 + j] = %0\n    }}\n    \
                 for j in 0..{second} lanes {{\n      store x[row * 90 + j] = %0\n    }}\n  }}\n}}\n"
            );
            let kernel = bdl_plan::parse_kernel(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            Extents::of(&kernel).of_index(LoopIndex(1))
        };
        assert_eq!(kernel("9", "3"), Some(9));
        assert_eq!(kernel("3", "9"), Some(9));
        assert_eq!(kernel("T", "3"), None);
        assert_eq!(kernel("3", "T"), None);
    }
}
