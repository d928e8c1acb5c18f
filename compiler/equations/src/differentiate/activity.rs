//! Which tensors change, other than in jumps, when one of the tensors that a program is differentiated by changes.

use super::rules;
use crate::data::{Carried, Node, Program, Read, TensorId};
use crate::types;

/// One flag a tensor.
pub(super) fn active(program: &Program, nodes: &[Node], wrt: &[TensorId]) -> Vec<bool> {
    let mut flags = vec![false; program.tensors.len()];
    for id in wrt {
        flags[id.0 as usize] = true;
    }
    loop {
        let before = flags.clone();
        mark(program, nodes, &mut flags);
        if flags == before {
            return flags;
        }
    }
}

fn mark(program: &Program, nodes: &[Node], flags: &mut [bool]) {
    let is = |flags: &[bool], id: TensorId| flags[id.0 as usize];
    let real = |id: TensorId| types::of_dtype(program.get(id).dtype).is_real();
    for node in nodes {
        match node {
            Node::Equation(n) => {
                let reads = |read: &Read| is(flags, read.tensor);
                let moved = n.pieces.iter().any(|p| rules::touches(&p.body, &reads));
                flags[n.out.0 as usize] |= moved && real(n.out);
            }
            Node::View(n) => flags[n.out.0 as usize] |= is(flags, n.input),
            Node::Library(n) => flags[n.out.0 as usize] |= n.inputs.iter().any(|i| is(flags, *i)),
            Node::Draw(_) | Node::Sort(_) | Node::Literal(_) => {}
            Node::Scan(n) => {
                carry(&n.carried, flags, &real);
                mark(program, &n.body, flags);
                carry(&n.carried, flags, &real);
                for (inside, outside) in &n.stacks {
                    flags[outside.0 as usize] |= is(flags, *inside);
                }
            }
            Node::Iterate(n) => {
                carry(&n.carried, flags, &real);
                mark(program, &n.condition, flags);
                mark(program, &n.body, flags);
                carry(&n.carried, flags, &real);
            }
        }
    }
}

fn carry(carried: &[Carried], flags: &mut [bool], real: &dyn Fn(TensorId) -> bool) {
    for c in carried {
        let moved = flags[c.start.0 as usize] || flags[c.next.0 as usize] || flags[c.inside.0 as usize];
        flags[c.inside.0 as usize] |= moved && real(c.inside);
        flags[c.last.0 as usize] |= moved && real(c.last);
    }
}
