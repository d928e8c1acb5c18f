//! What a kernel reads and writes row by row: fetched while the product before it is computed, for it would wait for it.
//!
//! ```text
//! contract dw = x dy -> kernel adam(dw, w, m, v)                    the rows of w, m, v
//! scan t { contract s = h u -> kernel gates(s, x_steps[t], ..) }    those of x_steps[t], which lie a sequence apart
//! scan t reversed { kernel gates(z_steps[t], ..); contract .. }     those of z_steps[t - 1], while the last product of step t runs
//! ```

use bdl_dims::Dim;
use bdl_plan::{Address, AddressTerm, Bound, Kernel, LoopIndex, Stmt, ValueOp};

/// What a kernel touches of one of its buffers in each row of its grid.
pub struct Rows {
    /// The buffer's position in the kernel.
    pub buffer: usize,
    /// From a row to the next.
    pub stride: Dim,
    /// Stretches of a row: where each begins, and how many elements it has.
    pub pieces: Vec<(Dim, Dim)>,
}

/// The buffers whose rows a kernel goes through along a loop.
pub fn rows(kernel: &Kernel) -> Vec<Rows> {
    let mut found = Found { extents: vec![None; kernel.indices.len()], rows: Vec::new() };
    found.body(&kernel.body);
    found.rows
}

struct Found {
    /// By loop index, where it begins at 0 and ends at a size.
    extents: Vec<Option<Dim>>,
    rows: Vec<Rows>,
}

impl Found {
    fn body(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            match stmt {
                Stmt::Loop { index, from, to, body, .. } => {
                    let extent = match (from, to) {
                        (Bound::Size(from), Bound::Size(to)) if from.is_zero() => Some(to.clone()),
                        (Bound::Size(_) | Bound::Value(_), Bound::Size(_) | Bound::Value(_)) => None,
                    };
                    if let Some(known) = self.extents.get_mut(index.0 as usize) {
                        *known = extent;
                    }
                    self.body(body);
                }
                Stmt::If { body, .. } => self.body(body),
                Stmt::Let { op: ValueOp::Load { buffer, at, .. }, .. } | Stmt::Store { buffer, at, .. } => {
                    self.access(*buffer as usize, at);
                }
                Stmt::Let { .. } | Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } => {}
            }
        }
    }

    fn access(&mut self, buffer: usize, at: &Address) {
        let [(AddressTerm::Index(LoopIndex(0)), stride), (AddressTerm::Index(inner), one)] = at.terms.as_slice() else {
            return;
        };
        let extent = self.extents.get(inner.0 as usize).cloned().flatten();
        let Some(extent) = extent.filter(|_| one.as_const() == Some(1)) else { return };
        let piece = (at.offset.clone(), extent);
        match self.rows.iter_mut().find(|rows| rows.buffer == buffer) {
            Some(rows) if rows.stride == *stride && !rows.pieces.contains(&piece) => rows.pieces.push(piece),
            Some(_) => {}
            None => self.rows.push(Rows { buffer, stride: stride.clone(), pieces: vec![piece] }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_a_kernel_goes_through() {
        let plan = bdl_plan::parse_plan(
            "plan step
size B batch
size t step
buffer z: f32[B, 10, 32] len 320 * B; slot 0
buffer w: f32[16] len 16; param
buffer y: f32[B, 16] len 16 * B; slot 1
slot 1280 * B
slot 64 * B

kernel k(z: f32 read, w: f32 read, y: f32 write) sizes(B, t) indices(b, i) {
  for b in B {
    for i in 0..16 lanes {
      %0: f32 = load z[b * 320 + i + (32 * t)]
      %1: f32 = load z[b * 320 + i + (32 * t + 16)]
      %2: f32 = load w[i]
      %3: f32 = add %0, %1
      %4: f32 = add %3, %2
      store y[b * 16 + i] = %4
    }
  }
}
",
        );
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        let found: Vec<(usize, String, Vec<(String, String)>)> = rows(&plan.kernels[0])
            .iter()
            .map(|r| {
                let pieces = r.pieces.iter().map(|(at, len)| (at.to_string(), len.to_string())).collect();
                (r.buffer, r.stride.to_string(), pieces)
            })
            .collect();
        let piece = |at: &str| (at.to_string(), "16".to_string());
        // The weights are the same in all rows.
        assert_eq!(
            found,
            [
                (0, "320".to_string(), vec![piece("32 * t"), piece("32 * t + 16")]),
                (2, "16".to_string(), vec![piece("0")])
            ]
        );
    }
}
