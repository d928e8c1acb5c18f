//! Which bonds lie in rings, and the smallest ring through each of them.

use super::Molecule;
use std::collections::VecDeque;

/// For each bond: is it in a ring? (It is not where taking it away cuts the molecule: Tarjan's bridges, 1974, without recursion.)
pub fn ring_bonds(molecule: &Molecule) -> Vec<bool> {
    let bonds_of = molecule.bonds_of();
    let atoms = molecule.atoms.len();
    let mut in_ring = vec![true; molecule.bonds.len()];
    let (mut found, mut low) = (vec![usize::MAX; atoms], vec![usize::MAX; atoms]);
    let mut time = 0;
    for root in 0..atoms {
        if found[root] != usize::MAX {
            continue;
        }
        // Atom, the bond by which it was reached, and which of its bonds comes next.
        let mut path: Vec<(usize, usize, usize)> = vec![(root, usize::MAX, 0)];
        (found[root], low[root]) = (time, time);
        time += 1;
        while let Some((atom, by, next)) = path.last_mut() {
            let (atom, by) = (*atom, *by);
            if let Some(bond) = bonds_of[atom].get(*next).copied() {
                *next += 1;
                let other = molecule.bonds[bond].other(atom);
                if bond == by {
                    continue;
                }
                if found[other] != usize::MAX {
                    low[atom] = low[atom].min(found[other]);
                    continue;
                }
                (found[other], low[other]) = (time, time);
                time += 1;
                path.push((other, bond, 0));
                continue;
            }
            path.pop();
            if let Some((before, _, _)) = path.last() {
                low[*before] = low[*before].min(low[atom]);
                if low[atom] > found[*before] {
                    in_ring[by] = false;
                }
            }
        }
    }
    in_ring
}

/// A ring: its bonds and its atoms, both ascending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ring {
    pub bonds: Vec<usize>,
    pub atoms: Vec<usize>,
}

/// The smallest rings through each bond, each ring once. (All of the smallest: a bond of cubane has two.)
pub fn smallest_rings(molecule: &Molecule, in_ring: &[bool]) -> Vec<Ring> {
    let bonds_of = molecule.bonds_of();
    let mut rings: Vec<Ring> = Vec::new();
    for bond in (0..molecule.bonds.len()).filter(|bond| in_ring[*bond]) {
        let [from, to] = molecule.bonds[bond].ends;
        // Steps from the far end, without the bond itself.
        let mut far = vec![usize::MAX; molecule.atoms.len()];
        far[to] = 0;
        let mut waiting = VecDeque::from([to]);
        while let Some(atom) = waiting.pop_front() {
            for next in bonds_of[atom].iter().filter(|b| **b != bond && in_ring[**b]) {
                let other = molecule.bonds[*next].other(atom);
                if far[other] == usize::MAX {
                    far[other] = far[atom] + 1;
                    waiting.push_back(other);
                }
            }
        }
        if far[from] == usize::MAX {
            continue;
        }
        let mut paths: Vec<(usize, Vec<usize>)> = vec![(from, vec![bond])];
        for left in (0..far[from]).rev() {
            let mut longer = Vec::new();
            for (atom, path) in paths {
                for next in bonds_of[atom].iter().filter(|b| **b != bond && in_ring[**b]) {
                    let other = molecule.bonds[*next].other(atom);
                    // A cage may have many; no decision needs more than a few.
                    if far[other] == left && longer.len() < 16 {
                        let mut path = path.clone();
                        path.push(*next);
                        longer.push((other, path));
                    }
                }
            }
            paths = longer;
        }
        for (_, mut bonds) in paths {
            bonds.sort_unstable();
            let mut atoms: Vec<usize> = bonds.iter().flat_map(|b| molecule.bonds[*b].ends).collect();
            atoms.sort_unstable();
            atoms.dedup();
            let ring = Ring { bonds, atoms };
            if !rings.contains(&ring) {
                rings.push(ring);
            }
        }
    }
    rings.sort();
    rings
}
